"""A parallel iterator is an ordinary iterator: it is its own, so that nobody takes it for a container."""

from __future__ import annotations

import array
import asyncio
import copy
import gc
import itertools
import pickle
import statistics
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy
import pytest
import toolz
from laws import LOCAL

import mrpy
from mrpy.iterators.lift import lift

over_local = pytest.mark.parametrize("backend", LOCAL)


def made(backend: str = "serial", items: Iterable[int] = range(6), **options: Any) -> mrpy.ParallelIterator:
    return mrpy.pmap(abs, items, backend=backend, workers=2, **options)


@over_local
def test_it_is_its_own_iterator_before_during_and_after(backend: str) -> None:
    run = made(backend, chunksize=2)
    assert iter(run) is run
    assert next(run) == 0 and iter(run) is run
    assert list(run) == [1, 2, 3, 4, 5] and iter(run) is run
    assert list(run) == [] and next(run, None) is None


def test_that_of_a_job_is_too() -> None:
    class Count(mrpy.Job):
        def map(self, record: Any) -> Iterator[tuple[Any, int]]:
            yield record, 1

        def reduce(self, key: Any, values: Iterator[int]) -> Iterator[int]:
            yield sum(values)

    run = Count().run("abba", backend="serial")
    assert iter(run) is run and dict(run) == {"a": 2, "b": 2}


def fieldnames_of_3_12(names: Any) -> list[Any]:
    """What `csv.DictWriter` does there: it reads an iterator once, and a container as often as it needs."""
    if iter(names) is names:
        names = list(names)
    return [list(names), list(names)]


@over_local
def test_libraries_see_that_it_can_be_gone_through_but_once(backend: str) -> None:
    assert fieldnames_of_3_12(made(backend, range(3))) == [[0, 1, 2], [0, 1, 2]]
    assert statistics.harmonic_mean(mrpy.pmap(abs, [1, 4, 4], backend=backend)) == 2
    assert not toolz.isdistinct(mrpy.pmap(abs, [1, -1], backend=backend))


@over_local
def test_two_loops_over_one_share_its_items(backend: str) -> None:
    run = made(backend, range(8), chunksize=3)
    assert list(zip(run, run, strict=True)) == [(0, 1), (2, 3), (4, 5), (6, 7)]


@over_local
def test_a_loop_and_a_chain_on_what_is_left_share_them_too(backend: str) -> None:
    run = made(backend, range(12), chunksize=5)
    assert next(run) == 0
    rest = run.map(lambda x: x)
    other = run.take(100)  # of the same
    assert [next(run), next(run)] == [1, 2]
    begun = iter(mrpy.stream(run, backend="serial"))
    assert [next(begun), next(run), next(begun), next(run), next(begun), next(run)] == [3, 4, 5, 6, 7, 8]
    assert list(rest) == [9, 10, 11]
    assert [*other, *run, *begun] == []


TAKEN_OVER: dict[str, Callable[[Any], Any]] = {
    "generator": lambda run: (x + 1 for x in run),
    "map": lambda run: map(abs, run),
    "filter": lambda run: filter(None, run),
    "itself": lambda run: run,
}


@pytest.mark.parametrize("name", TAKEN_OVER)
def test_one_that_has_not_begun_is_a_program(name: str) -> None:
    run = mrpy.pmap(abs, [1, 2], backend="serial")
    around = TAKEN_OVER[name](iter(run))
    assert str(lift(around, {"backend": "serial"})).startswith("2 items of a list -> map abs")
    assert list(run) == []


@pytest.mark.parametrize("name", TAKEN_OVER)
def test_one_that_has_options_of_its_own_is_a_source(name: str) -> None:
    run = mrpy.pmap(int, ["1", "x", "3"], backend="serial", on_error="skip")
    assert len(list(mrpy.pmap(str, TAKEN_OVER[name](run), backend="serial"))) == 2
    assert run.skipped.count == 1


def test_one_that_has_begun_is_a_source() -> None:
    run = mrpy.pmap(abs, [1, 2, 3], backend="serial")
    assert next(run) == 1
    assert list(mrpy.parallel((x + 1 for x in run), backend="serial")) == [3, 4]


def test_a_body_that_takes_from_it_is_refused() -> None:
    run = mrpy.pmap(abs, range(6), backend="serial")
    with pytest.raises(mrpy.errors.LiftError, match="takes items"):
        mrpy.parallel(((x, next(run)) for x in run), backend="serial")
    assert list(mrpy.parallel(zip(run, run, strict=False), backend="serial")) == [(0, 1), (2, 3), (4, 5)]


def test_what_is_left_of_it_is_not_zipped_with_itself() -> None:
    run = mrpy.pmap(abs, range(6), backend="serial")
    assert next(run) == 0
    for other in (run, zip(run, "abc", strict=False), run.map(abs)):
        with pytest.raises(ValueError, match="take from one iterator"):
            run.map(abs).zip(other)


@over_local
def test_runs_that_have_not_begun_are_sent_and_others_are_refused(backend: str) -> None:
    assert list(pickle.loads(pickle.dumps(made(backend)))) == [0, 1, 2, 3, 4, 5]
    with pytest.raises(mrpy.errors.SerializationError, match="has begun"):
        pickle.dumps(iter(made(backend)))


def test_next_says_each_time_why_it_cannot_begin() -> None:
    run = made()

    async def begun() -> None:
        async for _ in run:
            break

    asyncio.run(begun())
    for _ in range(2):
        with pytest.raises(TypeError, match="async for"):
            next(run)
        with pytest.raises(TypeError, match="async for"):
            iter(run)


@over_local
def test_an_error_is_raised_once_and_ends_it(backend: str) -> None:
    run = mrpy.pmap(int, ["1", "x", "3"], backend=backend)
    assert next(run) == 1
    with pytest.raises(ValueError, match="x"):
        next(run)
    assert list(run) == [] and iter(run) is run


@over_local
def test_who_lets_go_of_it_closes_its_source_at_once(backend: str) -> None:
    closed: list[int] = []

    def source() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            closed.append(threading.get_ident())

    gc.disable()
    try:
        for take in (lambda run: next(run), lambda run: [x for x, _ in zip(run, "abc", strict=False)]):
            run = mrpy.pmap(abs, source(), backend=backend, workers=2)
            take(run)
            gone = weakref.ref(run)
            del run
            assert gone() is None and closed.pop() == threading.get_ident()
        for run in (made(backend), iter(made(backend))):
            gone = weakref.ref(run)
            del run
    finally:
        gc.enable()
    assert closed == []


@pytest.mark.parametrize("begin", [lambda run: None, iter, next], ids=["not", "made", "begun"])
def test_nothing_refers_to_it_in_a_circle(begin: Callable[[Any], Any]) -> None:
    gc.disable()
    try:
        run = made()
        begin(run)
        gone = weakref.ref(run)
        del run
        assert gone() is None
    finally:
        gc.enable()


def test_threads_that_begin_it_by_next_share_its_items() -> None:
    for _ in range(50):
        run, together, got = made(items=range(40), chunksize=3), threading.Barrier(3), list[int]()

        def take(run: Any = run, together: Any = together, got: Any = got) -> None:
            together.wait(timeout=10)
            while (item := next(run, None)) is not None:
                got.append(item)

        threads = [threading.Thread(target=take) for _ in range(3)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(timeout=30)
        assert sorted(got) == list(range(40))


def test_what_it_inherits_is_hidden() -> None:
    assert not hasattr(made(), "from_iterable")
    assert "from_iterable" not in dir(made())
    with pytest.raises(AttributeError, match="stream"):
        mrpy.ParallelIterator.from_iterable([[1]])  # type: ignore[operator]


def test_a_subclass_may_say_what_next_gives() -> None:
    class Doubled(mrpy.ParallelIterator):
        def __next__(self) -> Any:
            return 2 * super().__next__()

    run = made(items=range(3))
    assert list(Doubled(run._plan, run._given)) == [0, 2, 4]


WITHOUT_STEPS: dict[str, Callable[[], Iterable[Any]]] = {
    "list": lambda: [1, 2, 3, 4],
    "tuple": lambda: (1, 2, 3, 4),
    "range": lambda: range(1, 200),
    "bytes": lambda: bytes(range(1, 100)),
    "array": lambda: array.array("i", range(1, 100)),
    "numpy": lambda: numpy.arange(1, 100),
    "iter(list)": lambda: iter([1, 2, 3, 4]),
    "zip": lambda: zip(range(1, 200), range(200), strict=False),
    "generator": lambda: (x for x in range(1, 200)),
    "source": lambda: map(abs, iter(set(range(1, 200)))),
}  # fmt: skip


def is_closed(run: Any) -> None:
    run.close()


def leaves_its_block(run: Any) -> None:
    with run:
        pass


def ends_what_goes_through_it(run: Any) -> None:
    def through() -> Iterator[Any]:
        yield from run

    items = through()
    next(items)
    items.close()


@pytest.mark.parametrize("ends", [is_closed, leaves_its_block, ends_what_goes_through_it])
@pytest.mark.parametrize("source", WITHOUT_STEPS)
def test_one_without_steps_gives_nothing_more_when_it_is_closed(source: str, ends: Callable[[Any], None]) -> None:
    for options in ({}, {"buffersize": 2}):
        run = mrpy.stream(WITHOUT_STEPS[source](), backend="serial", **options)
        items = iter(run)
        next(run)
        ends(run)
        assert [*run, *items] == []


def test_one_without_steps_gives_nothing_more_when_a_loop_of_asyncio_has_closed_it() -> None:
    async def left() -> list[int]:
        async with mrpy.stream(range(100)) as run:
            async for _ in run:
                break
        return [item async for item in run]

    assert asyncio.run(left()) == []


@over_local
@pytest.mark.parametrize("begun", [False, True])
def test_tee_of_itertools_makes_two_of_it(backend: str, begun: bool) -> None:
    run = made(backend)
    expected = [0, 1, 2, 3, 4, 5][next(run) + 1 if begun else 0 :]
    one, other = itertools.tee(run)
    assert list(one) == list(other) == expected
    assert list(toolz.sliding_window(2, made(backend, range(3)))) == [(0, 1), (1, 2)]


def test_who_copies_it_is_told_how_to_have_two() -> None:
    for run in (made(), mrpy.stream([1]).batch(1)):
        with pytest.raises(TypeError, match="consumed once, .*tee"):
            copy.copy(run)
        next(run)
        with pytest.raises(TypeError, match="consumed once, .*tee"):
            copy.copy(run)
        with pytest.raises(TypeError, match="has begun"):
            copy.deepcopy(run)


@pytest.mark.parametrize(
    "use",
    [
        numpy.array, numpy.asarray, numpy.argmax, numpy.unique, numpy.ndim, lambda run: numpy.asarray(run, float),
        lambda run: numpy.save("unused.npy", run), lambda run: numpy.isin([1], run),
    ],
)  # fmt: skip
def test_numpy_takes_it_for_no_single_thing(use: Callable[[Any], Any], tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    lines = mrpy.Job().run([(1, 2)], backend="serial")
    for run in (made(), made().batch(2), lines):
        with pytest.raises(TypeError, match=r"no array: write numpy\.array\(list\(this\)\), or numpy\.fromiter\("):
            use(run)
    assert list(lines) == [(1, 2)]


def test_what_goes_through_it_item_by_item_still_does() -> None:
    assert numpy.fromiter(made(), int).tolist() == list(range(6)) == numpy.array(list(made())).tolist()
    run = made()
    assert not hasattr(run, "__array__")  # whom pandas and others ask before they go through its items
    for number in (numpy.int64(3), numpy.float64(3), numpy.array([3, 4]), numpy.array(3)):
        assert number not in [run] and run not in [number] and run != number
    assert list(pickle.loads(pickle.dumps(run))) == list(run) == list(range(6))


def test_frames_of_pandas_are_made_of_it_as_ever() -> None:
    pandas = pytest.importorskip("pandas")
    pairs = lambda: mrpy.pmap(lambda n: (n, str(n)), range(2), backend="serial")
    assert pandas.DataFrame(pairs(), columns=["n", "text"]).to_dict("list") == {"n": [0, 1], "text": ["0", "1"]}
    assert pandas.Series(made()).tolist() == pandas.Index(made()).tolist() == list(range(6))

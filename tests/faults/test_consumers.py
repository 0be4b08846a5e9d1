"""Rows 12 and 13: sources that raise, sources without an end, and consumers that go away or fall asleep."""

from __future__ import annotations

import asyncio
import gc
import itertools
import operator
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from laws import BACKENDS, CONCURRENT, LOCAL, eventually, when

import mrpy
from mrpy.errors import Cancelled, ItemTimeout

over_all = pytest.mark.parametrize("backend", BACKENDS)
over_local = pytest.mark.parametrize("backend", LOCAL)
over_concurrent = pytest.mark.parametrize("backend", CONCURRENT)

MANY: dict[str, Callable[..., Any]] = {  # verbs that return many things, each the identity of its source
    "pmap": lambda source, **options: mrpy.pmap(lambda x: x, source, **options),
    "pstarmap": lambda source, **options: mrpy.pstarmap(lambda x: x, ((x,) for x in source), **options),
    "pfilter": lambda source, **options: mrpy.pfilter(lambda x: True, source, **options),
    "parallel": lambda source, **options: mrpy.parallel((x for x in source), **options),
    "stage": lambda source, **options: mrpy.stage(passing_on)(mrpy.stream(source, **options)),
    "stream": lambda source, **options: mrpy.stream(source, **options).map(abs).filter(lambda x: True),
    "two runs": lambda source, **options: mrpy.stream(source, **options).map(abs).enumerate().starmap(lambda n, x: x),
}
ONE: dict[str, Callable[..., Any]] = {  # verbs that return one thing, or all of it at once
    "preduce": lambda source, **options: mrpy.preduce(operator.add, source, **options),
    "pfold": lambda source, **options: mrpy.pfold(operator.add, source, 0, **options),
    "mapreduce": lambda source, **options: list(
        mrpy.mapreduce(lambda x: (x % 2, 1), lambda key, ones: sum(ones), source, **options)
    ),
    "a combiner": lambda source, **options: list(
        mrpy.mapreduce(
            lambda x: (x % 2, 1), lambda key, ones: sum(ones), source, combiner=lambda key, ones: sum(ones), **options
        )
    ),
    "foreach": lambda source, **options: mrpy.stream(source, **options).foreach(abs),
}  # fmt: skip


def passing_on(items: Any) -> Iterator[Any]:
    yield from items


class Broke(Exception):
    def __init__(self, where: int, why: str) -> None:
        super().__init__(f"{why} at {where}")
        self.where = where


def breaking(where: int) -> Iterator[int]:
    yield from range(where)
    raise Broke(where, "the disk is gone")


# ---- a source that raises ----------------------------------------------------------------------------


@pytest.mark.fault(12)
@over_local
@pytest.mark.parametrize("verb", MANY)
def test_what_came_before_a_broken_source_is_delivered_then_its_error(verb: str, backend: str) -> None:
    for where, chunksize, ordered in itertools.product((0, 1, 30), ("auto", 1, 7), (True, False)):
        got: list[int] = []
        options = {"backend": backend, "workers": 2, "chunksize": chunksize, "ordered": ordered}
        with pytest.raises(Broke) as caught:
            for item in MANY[verb](breaking(where), **options):
                got.append(item)  # noqa: PERF402
        assert (got if ordered else sorted(got)) == list(range(where))
        assert caught.value.where == where
        assert "breaking" in [entry.name for entry in caught.traceback], "the traceback shows the source"


@pytest.mark.fault(12)
@over_local
@pytest.mark.parametrize("verb", ONE)
def test_an_answer_from_a_broken_source_is_its_error(verb: str, backend: str) -> None:
    for where in (0, 1, 300):
        with pytest.raises(Broke, match=f"the disk is gone at {where}"):
            ONE[verb](breaking(where), backend=backend, workers=2)


@pytest.mark.fault(12)
@pytest.mark.skipif(len(BACKENDS) < 4, reason="no dask backend")
def test_the_same_on_a_cluster() -> None:
    with mrpy.session("dask", workers=1):
        for verb in ("pmap", "two runs"):
            got: list[int] = []
            with pytest.raises(Broke):
                for item in MANY[verb](breaking(20), chunksize=7):
                    got.append(item)  # noqa: PERF402
            assert got == list(range(20))
        for verb in ("preduce", "mapreduce"):
            with pytest.raises(Broke):
                ONE[verb](breaking(20))


@pytest.mark.fault(12)
@over_local
@pytest.mark.parametrize("on_error", ["skip", "return", repr])
def test_no_rule_for_failing_items_hides_a_broken_source(on_error: Any, backend: str) -> None:
    got: list[int] = []
    with pytest.raises(Broke):
        for item in mrpy.pmap(abs, breaking(9), backend=backend, workers=2, on_error=on_error, retries=2):
            got.append(item)  # noqa: PERF402
    assert got == list(range(9))
    if on_error != "return":  # exceptions among the items cannot be reduced
        with pytest.raises(Broke):
            mrpy.preduce(operator.add, breaking(9), backend=backend, workers=2, on_error=on_error)


@pytest.mark.fault(12)
@over_local
def test_an_item_that_fails_before_the_source_does_is_the_error(backend: str) -> None:
    def check(x: int) -> int:
        return 1 // (5 - x)

    with pytest.raises(ZeroDivisionError) as caught:
        list(mrpy.pmap(check, breaking(9), backend=backend, workers=2, chunksize=3))
    assert caught.value.mrpy_item.position == 5


@pytest.mark.fault(12)
@over_local
def test_an_iterator_that_ended_with_an_error_has_ended(backend: str) -> None:
    run = mrpy.pmap(abs, breaking(3), backend=backend, workers=2)
    with pytest.raises(Broke):
        list(run)
    with pytest.raises(StopIteration):
        next(run)


@pytest.mark.fault(12)
@over_local
def test_a_broken_source_of_an_asynchronous_loop_is_the_same(backend: str) -> None:
    got: list[int] = []

    async def consume() -> None:
        async for item in mrpy.pmap(abs, breaking(12), backend=backend, workers=2, chunksize=5):
            got.append(item)

    with pytest.raises(Broke):
        asyncio.run(consume())
    assert got == list(range(12))


# ---- a source without an end ---------------------------------------------------------------------------


class Counted(Iterator[int]):
    """An endless source that knows how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __next__(self) -> int:
        self.asked += 1
        return self.asked - 1


@pytest.mark.fault(13)
@over_all
def test_five_of_an_endless_source_are_five(backend: str) -> None:
    source = Counted()
    run = mrpy.stream(source, backend=backend, workers=2, buffersize=40).map(lambda x: x * x).take(5)
    assert list(run) == [0, 1, 4, 9, 16]
    assert source.asked <= 45
    assert list(mrpy.pmap(abs, [-1], backend=backend, workers=2)) == [1]


@pytest.mark.fault(13)
@over_local
@pytest.mark.parametrize("verb", MANY)
def test_every_verb_can_be_left_in_the_middle_of_an_endless_source(verb: str, backend: str) -> None:
    source = Counted()
    for item in MANY[verb](source, backend=backend, workers=2, buffersize=40):
        if item == 4:
            break
    asked = source.asked
    assert asked <= 45
    assert list(itertools.islice(MANY[verb](itertools.count(), backend=backend, workers=2), 3)) == [0, 1, 2]
    assert source.asked == asked, "nobody pulls for a loop that was left"


# ---- a consumer that goes away ------------------------------------------------------------------------


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@pytest.mark.fault(13)
@pytest.mark.parametrize("backend", CONCURRENT[:2])
@pytest.mark.parametrize("way", ["break", "close", "del", "with", "raise"])
def test_after_a_loop_is_left_the_next_call_does_not_wait_for_what_ran(way: str, backend: str) -> None:
    with mrpy.session(backend, workers=2) as session:
        run = mrpy.pmap(nap, [0, *[60] * 20], chunksize=1)
        began = time.monotonic()
        if way == "break":
            for _ in run:
                break
        elif way == "with":
            with run:
                next(run)
        elif way == "raise":
            with pytest.raises(Broke):  # noqa: PT012
                for _ in run:
                    raise Broke(0, "enough")
        else:
            next(run)
            run.close() if way == "close" else None
        del run
        assert list(mrpy.pmap(nap, [0, 0, 0], chunksize=1)) == [0, 0, 0]
        assert time.monotonic() - began < 10, "the next call waited for tasks that nobody wants"
        assert eventually(lambda: not session.driver.scheduler.records)


@pytest.mark.fault(13)
@pytest.mark.parametrize("backend", CONCURRENT[:2])
def test_a_consumer_that_fails_inside_another_threads_loop_frees_the_workers(backend: str) -> None:
    with mrpy.session(backend, workers=1):

        def consume() -> None:
            for _ in mrpy.pmap(nap, [0, 60, 60], chunksize=1):
                return

        thread = threading.Thread(target=consume)
        thread.start()
        thread.join(20)
        assert not thread.is_alive()
        assert mrpy.submit(abs, -1).result(20) == 1


@pytest.mark.fault(13)
def test_a_call_that_goes_on_holds_up_no_other_run_while_a_worker_is_free(session: Any) -> None:
    """Also where tasks were so short before that they are queued ahead."""
    for _ in range(3):
        assert list(mrpy.pmap(abs, range(200), chunksize=1)) == list(range(200))
        pending = mrpy.submit(nap, 50)
        assert list(mrpy.pmap(abs, range(40), chunksize=1)) == list(range(40))
        assert mrpy.preduce(operator.add, range(4000), chunksize=10) == sum(range(4000))
        assert not pending.done()
        pending.cancel()


# ---- several that ask ----------------------------------------------------------------------------------


@pytest.mark.fault(13)
@over_concurrent
def test_a_task_that_is_stopped_as_it_takes_from_an_iterator_ends_it_for_nobody_in_silence(
    backend: str, tmp_path: Path
) -> None:
    """A thread beside it would have had fewer items, and not known."""
    with mrpy.session(backend, workers=2):
        rows = iter(mrpy.pmap(when, [tmp_path / "now"] * 3, chunksize=1))
        [stopped] = mrpy.pmap(lambda _: list(rows), [0], backend="threads", timeout=0.2, on_error="return")
        assert isinstance(stopped, ItemTimeout)
        for _ in range(2):
            with pytest.raises(Cancelled, match="a task that was stopped"):
                list(rows)


@over_local
@pytest.mark.parametrize("together", [False, True], ids=["begun", "beginning"])
def test_threads_that_ask_one_iterator_share_its_items(backend: str, together: bool) -> None:
    with mrpy.pmap(nap_a_little, range(100), backend=backend, workers=2, chunksize=4) as run:
        got = [] if together else [next(run)]
        threads = [threading.Thread(target=lambda: got.extend(run)) for _ in range(3)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(20)
    assert sorted(got) == list(range(100))


def test_an_iterator_that_is_asked_by_its_own_source_says_so_and_goes_on() -> None:
    def source() -> Iterator[int]:
        yield 1
        with pytest.raises(ValueError, match="asks for an item of that run"):
            next(run)
        yield from (2, 3)

    run = mrpy.pmap(abs, source(), backend="serial", chunksize=1)
    assert list(run) == [1, 2, 3]


# ---- a consumer that sleeps -----------------------------------------------------------------------------


@pytest.mark.fault(13)
@over_all
def test_nothing_more_is_pulled_while_the_consumer_sleeps(backend: str) -> None:
    source = Counted()
    with mrpy.pmap(abs, source, backend=backend, workers=2, buffersize=30) as run:
        assert [next(run) for _ in range(7)] == list(range(7))
        asked = source.asked
        time.sleep(0.3)  # not to wait for anything: this is the consumer that sleeps
        assert source.asked == asked <= 37
        assert [next(run) for _ in range(54)] == list(range(7, 61))


@pytest.mark.fault(13)
@over_concurrent
def test_without_a_buffersize_the_pull_is_bounded_too(backend: str) -> None:
    source = Counted()
    with mrpy.pmap(nap_a_little, source, backend=backend, workers=2) as run:
        for _ in range(6):
            next(run)
        asked = source.asked
        time.sleep(0.3)  # as above
        assert source.asked == asked < 2000


def nap_a_little(x: int) -> int:
    time.sleep(0.001)
    return x


def opened(closed: list[int]) -> Iterator[int]:
    try:
        yield from range(1000)
    finally:
        closed.append(1)


@pytest.mark.fault(13)
@over_local
def test_a_run_that_is_closed_lets_go_of_its_source(backend: str) -> None:
    """As a plain generator expression: whoever holds the iterator does not hold the files that its source has open."""
    closed: list[int] = []
    held: list[Any] = []
    gc.disable()
    try:
        run = mrpy.parallel((x for x in opened(closed)), backend=backend, workers=2)
        assert next(run) == 0
        run.close()
        held.append(run)
        assert len(closed) == 1
        with mrpy.pmap(abs, opened(closed), backend=backend, workers=2) as run:
            assert next(run) == 0
        held.append(run)
        assert len(closed) == 2
        for _ in mrpy.pmap(abs, opened(closed), backend=backend, workers=2):
            break
        assert eventually(lambda: len(closed) == 3)
        for run in held:
            assert "items of a generator" in str(run) and list(run) == []

        async def some() -> None:
            async with mrpy.pmap(abs, opened(closed), backend=backend, workers=2) as run:
                assert await anext(aiter(run)) == 0
            held.append(run)

        asyncio.run(some())
        assert eventually(lambda: len(closed) == 4)
        mine = opened(closed)
        run = mrpy.pmap(abs, mine, backend=backend, workers=2, chunksize=1, buffersize=1)
        assert next(run) == 0
        run.close()
        assert len(closed) == 4
        assert next(mine) > 0
    finally:
        gc.enable()


class _Bad(Exception):
    """Of an item."""


def _refused(number: int) -> int:
    if number == 50:
        raise _Bad
    return number


WAYS: dict[str, Callable[[Iterator[int]], object]] = {
    "a loop": lambda source: [x for x in mrpy.parallel(_refused(x) for x in source)],
    "one by one": lambda source: list(mrpy.pmap(_refused, source, chunksize=1)),
    "unordered": lambda source: list(mrpy.pmap(_refused, source, ordered=False)),
    "with the time kept": lambda source: list(mrpy.pmap(_refused, source, timeout=60)),
    "parts": lambda source: list(mrpy.parallel((i, x) for i, x in enumerate(_refused(x) for x in source))),
    "a sum": lambda source: mrpy.pmap(_refused, source).sum(),
    "a narrow one": lambda source: mrpy.pmap(_refused, source, buffersize=2).sum(),
    "a reduction": lambda source: mrpy.preduce(operator.add, mrpy.pmap(_refused, source)),
    "by key": lambda source: list(mrpy.pmap(_refused, source).reduce_by(abs, operator.add)),
    "sorted": lambda source: list(mrpy.pmap(_refused, source).sorted()),
}


@pytest.mark.parametrize("way", WAYS)
@over_local
def test_a_source_is_closed_as_soon_as_an_error_of_an_item_was_dealt_with(backend: str, way: str) -> None:
    """And not when the garbage collector comes: there may be a lock in it."""
    closed = threading.Event()

    def source() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            closed.set()

    gc.collect()
    gc.disable()
    try:
        with mrpy.session(backend, workers=2):
            with pytest.raises(_Bad) as raised:
                WAYS[way](source())
            del raised
            assert closed.wait(10), "something has hold of it"
    finally:
        gc.enable()


def test_what_is_there_does_not_wait_for_a_slow_source_because_one_item_before_it_took_long() -> None:
    seen: list[int] = []
    in_time: list[bool] = []

    def slow() -> Iterator[int]:
        for number in range(5):
            in_time.append(number - 1 in seen)
            time.sleep(0.5)
            yield number

    def first_loads(number: int) -> int:
        if number == 0:
            time.sleep(0.1)  # a model, say
        return number

    for number in mrpy.pmap(first_loads, slow(), backend="threads", workers=2):
        seen.append(number)
    assert seen == [0, 1, 2, 3, 4]
    assert sum(in_time) >= 2, "each came when the next one did"

"""`on_error` is about items of the whole program, also where parts of it are run by themselves: what a plain loop
makes of the same program, whose functions give their failures as values, is what there is to be."""

from __future__ import annotations

import asyncio
import itertools
import operator
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from laws import BACKENDS, LOCAL, with_chunks

import mrpy
from mrpy.errors import ItemTimeout, OptionError, TooManyErrors, WorkerCrashed
from mrpy.mapreduce.marks import Mark

over_local = pytest.mark.parametrize("backend", LOCAL)

LABELS = "abcdefghijkl"
Function = Callable[..., Any]


def inner(n: int) -> int:
    if n % 4 == 2:
        raise ValueError(f"no {n}")
    return n


def outer(*args: Any) -> Any:
    """It must not see a failure of what is inside."""
    assert not any(isinstance(arg, Mark | Exception) for arg in args)
    if sum(arg for arg in args if isinstance(arg, int)) % 5 == 4:
        raise LookupError(*args)
    return args


PROGRAMS: dict[str, Callable[[Function, Function], Iterable[Any]]] = {
    "zip": lambda i, o: (o(n, a) for n, a in zip((i(n) for n in range(12)), LABELS)),
    "zip of two": lambda i, o: (o(n, m) for n, m in zip(map(i, range(12)), (i(m) for m in range(3, 12)))),
    "map of two": lambda i, o: map(o, map(i, range(12)), LABELS),
    "enumerate": lambda i, o: (o(at, n) for at, n in enumerate(i(n) for n in range(12))),
    "islice": lambda i, o: map(o, itertools.islice(map(i, range(12)), 1, 11, 2)),
    "islice of bad": lambda i, o: map(o, itertools.islice(map(i, range(12)), 2, 9)),
    "chain": lambda i, o: map(o, itertools.chain(map(i, range(12)), [3, 4], map(i, range(9)))),
    "chain of some": lambda i, o: map(o, itertools.chain.from_iterable([map(i, range(7)), map(i, range(4))])),
    "zip of enumerate": lambda i, o: (o(n, a) for (_, n), a in zip(enumerate(map(i, range(12))), LABELS)),
    "twice": lambda i, o: (o(at, n) for at, n in enumerate(o(n, a) for n, a in zip(map(i, range(12)), LABELS))),
    "zip alone": lambda i, o: zip(map(i, range(12)), LABELS),
    "zip of two alone": lambda i, o: zip(map(i, range(12)), map(i, range(1, 12))),
    "enumerate alone": lambda i, o: enumerate(map(i, range(12)), 5),
    "chain alone": lambda i, o: itertools.chain(map(i, range(7)), map(i, range(4))),
    "zip of zip alone": lambda i, o: zip(zip(map(i, range(12)), LABELS), range(12)),
}  # fmt: skip


class Bad:
    """A failure as a value."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def giving(function: Function, *args: Any) -> Any:
    if (bad := first_bad(args)) is not None:
        return bad
    try:
        return function(*args)
    except Exception as error:
        return Bad(error)


def first_bad(value: Any) -> Bad | None:
    if isinstance(value, Bad):
        return value
    return next(filter(None, map(first_bad, value)), None) if isinstance(value, tuple) else None


def plain(name: str) -> list[Any]:
    """What a plain loop makes of it: values, and failures at their places."""
    made = PROGRAMS[name](partial(giving, inner), partial(giving, outer))
    return [first_bad(item) or item for item in made]


def shown(item: Any) -> Any:
    return (type(item), item.args) if isinstance(item, Exception) else item


def replaced(error: BaseException) -> Any:
    return "replaced", type(error), error.args


@pytest.mark.parametrize(("backend", "chunksize"), with_chunks(1, "auto"))
def test_what_fails_in_a_part_is_an_item_of_the_whole(backend: str, chunksize: Any) -> None:
    with mrpy.session(backend, workers=2, chunksize=chunksize):
        for name in PROGRAMS:
            want = plain(name)
            bad = [item.error for item in want if isinstance(item, Bad)]
            good = [item for item in want if not isinstance(item, Bad)]

            def run(name: str, on_error: Any, **options: Any) -> Any:
                return mrpy.parallel(PROGRAMS[name](inner, outer), on_error=on_error, **options)

            skipping = run(name, "skip", max_errors=len(bad))
            assert list(skipping) == good, name
            assert skipping.skipped.count == len(bad), name
            kinds = sorted(failure.type_name for failure in skipping.skipped.failures)
            assert set(kinds) <= {type(error).__name__ for error in bad}, name
            assert sorted(map(repr, run(name, "skip", ordered=False))) == sorted(map(repr, good)), name
            with pytest.raises(TooManyErrors):
                list(run(name, "skip", max_errors=len(bad) - 1))

            returned = list(run(name, "return"))
            errors = [item.error if isinstance(item, Bad) else item for item in want]
            assert [shown(item) for item in returned] == [shown(item) for item in errors], name
            assert all(item.mrpy_item for item in returned if isinstance(item, Exception)), name
            instead = [replaced(item.error) if isinstance(item, Bad) else item for item in want]
            assert list(run(name, replaced)) == instead, name

            assert drained(run(name, "raise")) == drained(PROGRAMS[name](inner, outer)), name


def drained(items: Iterable[Any]) -> tuple[list[Any], Any]:
    """What comes, and the error at its end."""
    got: list[Any] = []
    try:
        got.extend(items)
    except Exception as error:
        return got, shown(error)
    return got, None


def test_what_a_slice_passes_over_is_not_counted() -> None:
    run = mrpy.parallel(PROGRAMS["islice"](inner, outer), backend="serial", on_error="skip", max_errors=1)
    assert list(run) == [(1,), (3,), (5,), (7,)]
    assert [str(failure.item) for failure in run.skipped.failures] == ["item 4: 9"]


@over_local
def test_an_item_that_failed_in_a_part_is_tried_there_only_and_asked_about_once(backend: str, tmp_path: Path) -> None:
    def counted(name: str, at: object) -> None:
        with (tmp_path / name).open("a") as file:
            file.write(f"{at}\n")

    def load(n: int) -> int:
        counted("loaded", n)
        return 6 // n

    def used(n: int, label: str) -> str:
        counted("used", label)
        return label * n

    def asked(error: BaseException) -> str:
        counted("asked", error.mrpy_item)
        return type(error).__name__

    pairs = (used(n, a) for n, a in zip((load(n) for n in (3, 0, 2)), "abc", strict=False))
    run = mrpy.parallel(pairs, backend=backend, workers=1, retries=2, on_error=asked)
    assert list(run) == ["aa", "ZeroDivisionError", "ccc"]
    assert sorted((tmp_path / "loaded").read_text().split()) == ["0", "0", "0", "2", "3"]
    assert (tmp_path / "used").read_text().split() == ["a", "c"]
    assert (tmp_path / "asked").read_text() == "item 1: 0\n"


def numbered(function: Function, items: Iterable[Any]) -> Iterator[Any]:
    return ((at, n) for at, n in enumerate(map(function, items)))


REDUCED: dict[str, Callable[[mrpy.ParallelIterator], Any]] = {
    "count": lambda s: s.count(),
    "sum": lambda s: s.starmap(operator.mul).sum(),
    "reduce": lambda s: s.reduce(operator.add),
    "frequencies": lambda s: list(s.frequencies()),
    "sorted": lambda s: list(s.sorted(operator.itemgetter(1), reverse=True)),
    "topk": lambda s: list(s.topk(3)),
    "count_by": lambda s: list(s.count_by(lambda pair: pair[1] % 3)),
    "repartition": lambda s: sorted(itertools.chain.from_iterable(s.repartition(2))),
    "mapreduce": lambda s: list(mrpy.mapreduce(lambda pair: [(pair[1] % 3, pair[0])], lambda _, places: sum(places), s)),
    "batch": lambda s: list(s.batch(2)),
    "zip": lambda s: list(s.zip("abcdef")),
}  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_made_of_all_items_is_made_of_those_that_are_left(backend: str) -> None:
    left = [(n, n) for n in range(12) if n % 4 != 2]
    with mrpy.session(backend, workers=2, on_error="skip"):
        for over in (iter, partial(map, tuple)):
            for name, reduced in REDUCED.items():
                items = mrpy.stream(over(numbered(inner, range(12))))
                assert reduced(items) == reduced(mrpy.stream(left)), name
        items = mrpy.stream(enumerate(map(inner, range(12))))
        assert (items.count(), items.skipped.count) == (9, 3)


def test_with_a_function_what_it_returns_is_what_is_reduced() -> None:
    numbers = zip(map(inner, range(12)), range(12), strict=False)
    assert mrpy.stream(numbers, backend="serial", on_error=lambda error: (0, 1)).starmap(operator.mul).count() == 12
    items = mrpy.stream((n for _, n in numbered(inner, range(12))), backend="serial", on_error=lambda error: 100)
    assert items.sum() == sum(n for n in range(12) if n % 4 != 2) + 300


@pytest.mark.parametrize("backend", LOCAL[1:])
def test_an_item_of_a_part_that_takes_too_long_is_an_item_of_the_whole(backend: str) -> None:
    def slow(n: int) -> int:
        threading.Event().wait(60 if n == 2 else 0)
        return n

    run = mrpy.parallel(zip(map(slow, range(4)), "abcd"), backend=backend, workers=2, timeout=0.4, on_error="return")  # noqa: B905
    got = list(run)
    assert [type(one) for one in got] == [tuple, tuple, ItemTimeout, tuple]
    assert got[3] == (3, "d")


@pytest.mark.skipif(sys.platform != "linux", reason="kills workers")
def test_an_item_of_a_part_that_kills_its_worker_is_an_item_of_the_whole() -> None:
    def deadly(n: int) -> int:
        if n == 2:
            os._exit(3)
        return n

    run = mrpy.parallel(map(operator.mul, map(deadly, range(4)), "abcd"), backend="processes", workers=2, on_error="return")
    got = list(run)
    assert type(got.pop(2)) is WorkerCrashed
    assert got == ["", "b", "ddd"]


class Odd(Exception):
    """It can be pickled, and not opened."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(one + other)
        self.lock = threading.Lock()


@over_local
def test_what_cannot_travel_is_no_reason_to_leave_out_another(backend: str) -> None:
    def load(n: int) -> Any:
        if n == 1:
            raise Odd(n, n)
        return threading.Lock() if n == 2 else n

    lock = threading.Lock()
    options: dict[str, Any] = {"backend": backend, "workers": 2}
    pairs = list(mrpy.parallel(zip(map(load, range(4)), itertools.repeat(lock)), on_error="skip", **options))  # noqa: B905
    assert all(one is lock for _, one in pairs), "what nothing is done to goes nowhere"
    left = [n for n, _ in pairs]
    assert (left[0], left[-1], len(left)) == (0, 3, 2 if backend == "processes" else 3)
    errors = list(mrpy.parallel((n for _, n in enumerate(load(n) for n in range(4))), on_error="return", **options))
    assert (errors[0], errors[3]) == (0, 3)
    assert type(errors[1]) is Odd
    assert str(errors[1]) == "2"
    assert isinstance(errors[2], TypeError) == (backend == "processes")


@over_local
def test_the_window_is_that_of_the_whole_where_failures_pass_it(backend: str) -> None:
    pulled = 0

    def source() -> Iterator[int]:
        nonlocal pulled
        for n in range(200):
            pulled += 1
            yield n

    programs: list[Any] = [
        enumerate(map(inner, source())), numbered(inner, source()), itertools.chain(map(inner, source()))
    ]  # fmt: skip
    for program in programs:
        pulled = ahead = 0
        run = mrpy.parallel(program, backend=backend, workers=2, buffersize=5, on_error="return")
        for at, _ in enumerate(run):
            ahead = max(ahead, pulled - at)
        assert at == 199
        assert ahead <= 6


@over_local
def test_a_source_that_is_slow_is_not_waited_for_to_have_more(backend: str) -> None:
    began = time.monotonic()
    go = threading.Event()

    def source() -> Iterator[int]:
        yield from range(3)
        go.wait(60)
        yield 3

    run = mrpy.parallel(enumerate(map(inner, source())), backend=backend, workers=2, buffersize=1, on_error="skip")
    assert next(run) == (0, 0)
    assert next(run) == (1, 1)
    go.set()
    assert list(run) == [(3, 3)]
    assert time.monotonic() - began < 30


@over_local
def test_check_looks_at_items_that_have_not_failed(backend: str) -> None:
    run = mrpy.parallel(numbered(inner, range(9)), backend=backend, workers=2, on_error="skip", check=True)
    assert list(run) == [(n, n) for n in range(9) if n % 4 != 2]


@over_local
def test_a_part_that_fails_has_no_checkpoint_with_on_error_either(backend: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="a part that is run by itself"):
        list(mrpy.parallel(numbered(inner, range(9)), backend=backend, on_error="skip", checkpoint=tmp_path / "kept"))


def test_a_checkpoint_over_parts_that_have_no_steps_is_that_of_another_on_error(tmp_path: Path) -> None:
    def run(on_error: Any) -> Any:
        parts = itertools.chain.from_iterable([range(4), range(3)])
        return mrpy.parallel((inner(n) for n in parts), backend="serial", checkpoint=tmp_path / "kept", on_error=on_error)

    with pytest.raises(ValueError, match="no 2"):
        list(run("raise"))
    assert list(run("skip")) == [0, 1, 3, 0, 1]


@over_local
def test_asynchronous_iterators_leave_out_the_same(backend: str) -> None:
    async def read(items: Any) -> list[Any]:
        return [item async for item in items]

    for program in (numbered(inner, range(9)), enumerate(map(inner, range(9)))):
        run = mrpy.parallel(program, backend=backend, workers=2, on_error="skip")
        assert asyncio.run(read(run)) == [(n, n) for n in range(9) if n % 4 != 2]


@over_local
def test_a_run_that_was_told_itself_what_to_do_does_that_itself(backend: str) -> None:
    options: dict[str, Any] = {"backend": backend, "workers": 2}
    own = mrpy.pmap(inner, range(9), on_error="skip", **options)
    assert list(mrpy.pmap(max, own, range(9), **options)) == [0, 1, 3, 4, 5, 7, 8]
    loaded = mrpy.pmap(inner, range(9), **options)
    assert list(mrpy.pmap(pow, loaded, range(9), on_error="skip", **options)) == [n**n for n in range(9) if n % 4 != 2]
    chained = mrpy.stream(range(9), on_error="skip", **options).map(inner).zip(range(9))
    assert list(chained) == list(zip((n for n in range(9) if n % 4 != 2), range(9), strict=False))

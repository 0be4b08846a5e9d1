"""Iterators of libraries that begin again when they are asked for themselves (``iter(it)``), as those over a file of
molecules or over the groups of a table do: they are asked once, as by a loop, and so give each item once."""

from __future__ import annotations

import asyncio
import itertools
import operator
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from laws import LOCAL, with_chunks

import mrpy
from mrpy.errors import LiftError


class Again:
    """An iterator that begins again each time it is asked for itself."""

    def __init__(self, items: Iterable[Any] = range(1, 20)) -> None:
        self.items = [*items]
        self.place = self.asked = 0

    def __iter__(self) -> Iterator[Any]:
        self.asked += 1
        if self.asked > 100:
            raise RecursionError("it is asked at every pull, and never ends")
        self.place = 0
        return self

    def __next__(self) -> Any:
        if self.place == len(self.items):
            raise StopIteration
        self.place += 1
        return self.items[self.place - 1]


class Anew(Again):
    """Not an iterator, but something that makes one."""

    def __iter__(self) -> Iterator[Any]:
        self.asked += 1
        return iter(self.items)

    __next__ = None  # type: ignore[assignment]


class Counting(Again):
    """Its items are how often it was asked for itself."""

    def __next__(self) -> int:
        super().__next__()
        return self.asked


def double(x: Any) -> Any:
    return x * 2


@mrpy.stage
def plus_one(items: Iterable[int]) -> Iterator[int]:
    for item in items:
        yield item + 1


def begun(iterator: Iterator[Any]) -> Iterator[Any]:
    """It has given an item already."""
    next(iterator)
    return iterator


# What Python does with one, in a loop; each is run in parallel, too.
PROGRAMS: dict[str, Callable[[Any], Iterator[Any]]] = {
    "generator expression": lambda it: (x * 2 for x in it if x % 2),
    "within another": lambda it: (x + 1 for x in (y * 2 for y in it)),
    "map": lambda it: map(double, it),
    "map of two": lambda it: map(operator.add, it, range(100)),
    "filter": lambda it: filter(None, it),
    "zip": lambda it: (a + b for a, b in zip(it, range(100))),
    "zip of a program": lambda it: (a + b for a, b in zip((x + 1 for x in it), range(100))),
    "zip with itself": lambda it: (a + b for a, b in zip(it, it)),
    "enumerate": lambda it: (a * b for a, b in enumerate(it)),
    "enumerate of a program": lambda it: (a * b for a, b in enumerate(x + 1 for x in it)),
    "chain": lambda it: (x + 1 for x in itertools.chain(range(3), it, map(double, range(3)))),
    "chain.from_iterable": lambda it: (x + 1 for x in itertools.chain.from_iterable([it, range(3)])),
    "chain.from_iterable of it": lambda it: (x + 1 for x in itertools.chain.from_iterable(map(range, it))),
    "islice": lambda it: (x + 1 for x in itertools.islice(it, 2, 9)),
    "starmap": lambda it: itertools.starmap(operator.add, zip(it, range(100))),
    "groupby": lambda it: ((key, sum(group)) for key, group in itertools.groupby(it, lambda x: x // 4)),
    "takewhile": lambda it: (x + 1 for x in itertools.takewhile(lambda x: x < 9, it)),
    "tee": lambda it: (a + b for a, b in zip(*itertools.tee(it))),
    "map, begun": lambda it: begun(map(double, it)),
    "in a begun map": lambda it: (x + 1 for x in begun(map(double, it))),
    "filter, begun": lambda it: begun(filter(None, it)),
    "zip, begun": lambda it: (a + b for a, b in begun(zip(it, range(100)))),
    "enumerate, begun": lambda it: (a * b for a, b in begun(enumerate(it))),
    "chain, begun": lambda it: (x + 1 for x in begun(itertools.chain(it, range(3)))),
    "chain.from_iterable, begun": lambda it: (x + 1 for x in begun(itertools.chain.from_iterable([it, range(3)]))),
    "chain.from_iterable of it, begun": lambda it: (
        x + 1 for x in begun(begun(itertools.chain.from_iterable(map(range, it))))
    ),
    "islice, begun": lambda it: (x + 1 for x in begun(itertools.islice(it, 2, 9))),
}  # fmt: skip


@pytest.mark.parametrize(("backend", "chunksize"), with_chunks(1, 3, "auto"))
@pytest.mark.parametrize("kind", [Again, Anew])
def test_a_program_asks_it_as_often_as_python_does(kind: Any, backend: str, chunksize: Any) -> None:
    with mrpy.session(backend, workers=2, chunksize=chunksize):
        for name, program in PROGRAMS.items():
            expected, found = kind(), kind()
            wanted = list(program(expected))
            assert list(mrpy.parallel(program(found))) == wanted, name
            assert found.asked == expected.asked, name


def peeked(run: Any) -> list[Any]:
    first, rest = run.peek()
    return [first, *rest]


def teed(run: Any) -> list[Any]:
    return [list(each) for each in run.tee()]


def in_a_loop(run: Any) -> list[Any]:
    async def all_of_it() -> list[Any]:
        return [item async for item in run]

    return asyncio.run(all_of_it())


def by_hand(run: Any) -> list[Any]:
    return [next(run), next(run), *run]


def explained(run: Any) -> list[Any]:
    told = run.map(double)
    assert str(told) and told.explain() and told.graph()
    items = list(told)
    assert told.explain()
    return items


CHAINS: dict[str, Callable[[Any], Any]] = {
    "list": list,
    "next": by_hand,
    "map": lambda run: list(run.map(double)),
    "filter": lambda run: list(run.filter(None)),
    "flat_map": lambda run: list(run.flat_map(range)),
    "stage": lambda run: list(plus_one(run)),
    "sum": lambda run: run.sum(),
    "max": lambda run: run.map(double).max(),
    "mean": lambda run: run.mean(),
    "count": lambda run: run.count(),
    "reduce": lambda run: run.map(double).reduce(operator.add),
    "fold": lambda run: run.fold(operator.add, 0),
    "frequencies": lambda run: sorted(run.map(lambda x: x % 2).frequencies()),
    "topk": lambda run: list(run.topk(3)),
    "distinct": lambda run: list(run.distinct()),
    "sorted": lambda run: list(run.sorted(reverse=True)),
    "group_by": lambda run: sorted((key, list(items)) for key, items in run.group_by(lambda x: x % 2)),
    "reduce_by": lambda run: sorted(run.reduce_by(lambda x: x % 2, operator.add)),
    "join": lambda run: sorted(run.join([1, 2, 3], key=double)),
    "sample": lambda run: run.sample(3) and None,
    "repartition": lambda run: sorted(run.repartition(2)),
    "take": lambda run: list(run.take(5)),
    "skip": lambda run: list(run.skip(5)),
    "take_while": lambda run: list(run.take_while(lambda x: x < 9)),
    "first": lambda run: run.first(),
    "peek": peeked,
    "tee": teed,
    "batch": lambda run: list(run.batch(2)),
    "window": lambda run: list(run.window(2)),
    "enumerate": lambda run: list(run.enumerate()),
    "zip": lambda run: list(run.map(double).zip(range(9)).map(list)),
    "chain": lambda run: list(run.chain([1])),
    "async": in_a_loop,
    "map, async": lambda run: in_a_loop(run.map(double)),
    "explain": explained,
}  # fmt: skip


@pytest.mark.parametrize(("backend", "chunksize"), with_chunks(1, "auto"))
@pytest.mark.parametrize("kind", [Again, Anew])
def test_a_chain_asks_it_once(kind: Any, backend: str, chunksize: Any) -> None:
    with mrpy.session(backend, workers=2, chunksize=chunksize):
        for name, chain in CHAINS.items():
            source = kind()
            wanted = chain(mrpy.stream(range(1, 20)))
            assert (chain(mrpy.stream(source)), source.asked) == (wanted, 1), name


CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "pmap": lambda it, given: list(mrpy.pmap(double, it, **given)),
    "pmap of two": lambda it, given: list(mrpy.pmap(operator.add, range(9), it, **given)),
    "pmap of a program": lambda it, given: list(mrpy.pmap(operator.add, (x for x in range(9)), it, **given)),
    "pstarmap": lambda it, given: list(mrpy.pstarmap(operator.add, zip(range(9), it), **given)),
    "pfilter": lambda it, given: list(mrpy.pfilter(None, it, **given)),
    "preduce": lambda it, given: mrpy.preduce(operator.add, it, **given),
    "pfold": lambda it, given: mrpy.pfold(operator.add, it, 0, **given),
    "mapreduce": lambda it, given: sorted(
        mrpy.mapreduce(lambda x: [(x % 2, x)], lambda key, values: sum(values), it, **given)
    ),
    "unordered": lambda it, given: sorted(mrpy.pmap(double, it, ordered=False, **given)),
    "a window": lambda it, given: list(mrpy.pmap(double, it, buffersize=3, **given)),
    "a window over nothing": lambda it, given: list(mrpy.stream(it, buffersize=3, **given)),
    "bytes": lambda it, given: list(mrpy.pmap(double, it, buffer_bytes=3000, **given)),
    "skip": lambda it, given: list(mrpy.pmap(double, it, on_error="skip", **given)),
    "skip in parts": lambda it, given: list(
        mrpy.parallel((a + b for a, b in zip((x + 1 for x in it), range(9))), on_error="skip", **given)
    ),
    "retries": lambda it, given: list(mrpy.pmap(double, it, retries=1, timeout=60, **given)),
    "check": lambda it, given: list(mrpy.pmap(double, it, check=True, **given)),
    "check of an operator": lambda it, given: mrpy.check(operator.add, it),
    "progress": lambda it, given: list(mrpy.pmap(double, it, progress=True, **given)),
    "zip": lambda it, given: list(mrpy.stream(range(9), **given).zip(it)),
    "chain": lambda it, given: list(mrpy.stream(range(9), **given).map(double).chain(it)),
    "join": lambda it, given: sorted(mrpy.stream(range(9), **given).join(it, key=lambda x: x)),
    "outer join": lambda it, given: sorted(
        mrpy.stream(range(9), **given).join(it, key=lambda x: x, how="outer"), key=repr
    ),
    "cogroup": lambda it, given: sorted(mrpy.stream(range(9), **given).cogroup(it, key=lambda x: x % 2)),
    "Executor.map": lambda it, given: list(mrpy.Executor(2, backend=given["backend"]).map(double, it, chunksize=2)),
}  # fmt: skip


@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize("kind", [Again, Anew])
def test_a_call_asks_it_once(kind: Any, backend: str) -> None:
    for name, call in CALLS.items():
        source = kind()
        wanted = call(range(1, 20), {"backend": "serial"})
        assert (call(source, {"backend": backend}), source.asked) == (wanted, 1), name


def test_paths_and_pending_results_are_asked_for_once(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text(f"{number}\n")
    paths = Again(tmp_path / f"{number}.txt" for number in range(3))
    with mrpy.session("threads", workers=2):
        assert (list(mrpy.read_text(paths)), paths.asked) == (["0", "1", "2"], 1)
        for wait in (mrpy.gather, mrpy.as_completed, mrpy.wait):
            pending = Again(mrpy.submit(abs, number) for number in range(3))
            list(wait(pending))
            assert pending.asked == 1


@pytest.mark.parametrize("backend", LOCAL)
def test_what_a_stage_returns_is_asked_for_once(backend: str) -> None:
    @mrpy.stage
    def as_they_are(items: Iterable[int]) -> Iterable[int]:
        return Again(items)

    @mrpy.stage
    def how_often(items: Iterable[int]) -> Iterable[int]:
        return Counting(items)

    with mrpy.session(backend, workers=2, chunksize=10):
        assert list(how_often(range(3))) == list(how_often(range(3)).map(abs)) == [1, 1, 1]
        for name, chain in CHAINS.items():
            wanted = chain(mrpy.stream(range(1, 20)))
            assert chain(as_they_are(range(1, 20))) == wanted, name


def test_that_two_take_from_one_is_seen() -> None:
    both = Again()
    for one, other in ((mrpy.stream(both), mrpy.stream(both)), [mrpy.parallel(x for x in both) for _ in range(2)]):
        with pytest.raises(ValueError, match="take from one iterator \\(items of a Again\\)"):
            one.map(double).zip(other.map(double))
    assert str(mrpy.parallel(x for x in both)) == "items of a Again -> (x for x in both)"
    with pytest.raises(LiftError, match="takes items from what it goes over"):
        mrpy.parallel(x + next(both) for x in both)


def test_it_is_let_go_of_with_the_run() -> None:
    source = Again()
    run = mrpy.parallel((x for x in source), backend="serial")
    assert next(run) == 1
    run.close()
    del run
    assert sys.getrefcount(source) == 2

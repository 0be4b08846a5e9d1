"""Programs that are right, and what type checkers make of them. `make lint` checks them, and the tests run them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import operator
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, assert_type

import numpy

import mrpy
from mrpy import ParallelIterator, PendingResult


class Sale(NamedTuple):
    what: str
    paid: float


SALES = [Sale("ale", 2.5), Sale("rye", 4.0), Sale("ale", 3.5)]


def square(n: int) -> int:
    return n * n


def is_odd(n: int) -> bool:
    return n % 2 == 1


def unannotated(x):  # type: ignore[no-untyped-def]
    return x


def verbs() -> None:
    assert_type(mrpy.parallel(square(n) for n in range(3)), ParallelIterator[int])
    assert_type(mrpy.stream(["a"]), ParallelIterator[str])
    assert_type(list(mrpy.pmap(square, [1, 2])), list[int])
    assert_type(next(mrpy.pmap(str, [1, 2])), str)
    for n in mrpy.pmap(lambda word: len(word) + 1, ["a"]):
        assert_type(n, int)
    assert_type(mrpy.pmap(pow, [2, 3], [1, 2]), ParallelIterator[Any])
    assert_type(mrpy.pmap(lambda n, word: word[:n], [1, 2], "ab"), ParallelIterator[str])
    assert_type(mrpy.pmap(lambda a, b, c: f"{a}{b}{c}", [1], [2], [3]), ParallelIterator[str])
    assert_type(mrpy.pstarmap(square, [(1,)]), ParallelIterator[int])
    assert_type(mrpy.pfilter(is_odd, range(3)), ParallelIterator[int])
    assert_type(mrpy.pfilter(None, [1, None]), ParallelIterator[int])
    assert_type(mrpy.preduce(operator.add, ["a", "b"]), str)
    assert_type(mrpy.preduce(lambda a, b: a + b, [1, 2]), int)
    assert_type(mrpy.preduce(max, [1, 2]), int)
    assert_type(mrpy.pfold(lambda n, word: int(n) + len(word), ["a"], 0), int)
    lines = ["a b", "b"]
    pairs = mrpy.mapreduce(lambda line: ((word, 1) for word in line.split()), lambda _, ones: sum(ones), lines)
    assert_type(pairs, ParallelIterator[tuple[Any, Any]])
    counts: dict[str, int] = dict(pairs)
    assert counts == {"a": 1, "b": 2}


def functions_of_all_kinds() -> None:
    mrpy.pmap(int, ["1"], chunksize=1)
    mrpy.pmap(len, ["a", [1], {1: 2}])
    mrpy.pmap(sum, [[1], [2]]).map(float)
    mrpy.pmap(round, [1.5])
    mrpy.pmap(numpy.sqrt, [1.0])
    mrpy.pmap(numpy.mean, [numpy.arange(3)])
    mrpy.pmap(numpy.array, [[1], [2]]).map(numpy.sum)
    mrpy.pmap(functools.partial(pow, 2), [1])
    mrpy.pmap(operator.itemgetter(0), ["ab"]).map(str.upper)
    mrpy.pmap(operator.attrgetter("what"), SALES)
    mrpy.pmap(Path, ["a"]).map(os.fspath).map(len)
    mrpy.pmap(unannotated, [1]).map(len)
    columns = [[2, 3], [1, 2]]
    mrpy.pmap(pow, *columns)
    mrpy.pmap(max, *columns, *columns)
    mrpy.preduce(numpy.maximum, [numpy.arange(3)]).mean()
    mrpy.preduce(operator.add, (numpy.arange(n) for n in [3, 3]), 0).mean()
    mrpy.preduce(lambda left, right: left | right, [{1}], set())
    mrpy.stream([{1}]).reduce(set.union).add(3)
    mrpy.stream([1, 2]).fold(lambda total, n: total + n / 2, 0)
    mrpy.stream([1, 2]).reduce(lambda a, b: a / b)
    mrpy.stream(numpy.arange(3)).map(numpy.sqrt).filter(lambda x: x > 1)


def bare(items: ParallelIterator) -> PendingResult:
    """Those of anything."""
    return mrpy.submit(len, items.to_list())


def chains() -> None:
    numbers: ParallelIterator[int] = mrpy.stream([3, 1, 2], name="numbers")
    wider: ParallelIterator[float] = numbers
    assert_type(numbers.map(str), ParallelIterator[str])
    assert_type(numbers.map(lambda n: n / 2), ParallelIterator[float])
    assert_type(mrpy.stream(["a b"]).flat_map(str.split).filter(str.isalpha), ParallelIterator[str])
    assert_type(mrpy.stream([(1, "a")]).starmap(lambda n, text: f"{n}{text}"), ParallelIterator[str])
    assert_type(mrpy.stream([1, None]).filter(None).map(square).to_list(), list[int])
    assert_type(numbers.take(3).skip(1).take_while(is_odd).distinct(), ParallelIterator[int])
    assert_type(numbers.enumerate(), ParallelIterator[tuple[int, int]])
    assert_type(numbers.zip("abc"), ParallelIterator[tuple[int, str]])
    assert_type(numbers.zip("abc", [1.5, 2.5, 3.5], strict=True), ParallelIterator[tuple[int, str, float]])
    assert_type(numbers.zip("abc", "abc", "abc"), ParallelIterator[tuple[Any, ...]])
    assert_type(numbers.chain([4], range(3)), ParallelIterator[int])
    assert_type(numbers.batch(2), ParallelIterator[tuple[int, ...]])
    assert_type(numbers.batch(2).unbatch(), ParallelIterator[int])
    assert_type(numbers.window(2).map(max), ParallelIterator[int])
    assert_type(numbers.sorted(reverse=True), ParallelIterator[int])
    assert_type(numbers.sorted(key=lambda n: -n).topk(2, lambda n: -n), ParallelIterator[int])
    assert_type(mrpy.stream(SALES).sorted("paid").topk(1, key=1), ParallelIterator[Sale])
    assert_type(mrpy.stream("banana").frequencies().topk(1, key=1).to_list(), list[tuple[str, int]])
    once, again = numbers.tee()
    assert_type(once, ParallelIterator[int])
    first, everything = again.peek()
    assert_type(first, int)
    assert_type(everything, ParallelIterator[int])
    assert wider is numbers


def answers() -> None:
    numbers = mrpy.stream([3, 1, 2])
    assert_type(numbers.reduce(max), int)
    assert_type(numbers.reduce(lambda a, b: a + b), int)
    assert_type(numbers.fold(lambda text, n: f"{text}{n}", ""), str)
    assert_type(numbers.count(), int)
    assert_type(numbers.min(), int)
    assert_type(numbers.max(key=lambda n: -n, default=None), int | None)
    assert_type(numbers.sample(2, seed=1), list[int])
    total: float = numbers.sum()
    assert_type(numbers.map(square).first(), int)
    assert_type(numbers.to_list(), list[int])
    assert total == 6


def by_key() -> None:
    numbers, sales = mrpy.stream([3, 1, 2]), mrpy.stream(SALES)
    assert_type(numbers.group_by(lambda n: n % 2), ParallelIterator[tuple[Any, list[int]]])
    assert_type(sales.group_by("what"), ParallelIterator[tuple[Any, list[Sale]]])
    assert_type(sales.count_by(["what", 1]), ParallelIterator[tuple[Any, int]])
    assert_type(numbers.reduce_by(is_odd, max), ParallelIterator[tuple[Any, int]])
    assert_type(sales.reduce_by("what", lambda first, _: first), ParallelIterator[tuple[Any, Sale]])
    assert_type(numbers.fold_by(is_odd, lambda text, n: f"{text}{n}", ""), ParallelIterator[tuple[Any, str]])
    answers = sales.aggregate_by("what", sold="count", paid=("paid", "sum"))
    assert_type(answers, ParallelIterator[tuple[Any, dict[str, Any]]])
    assert_type(sales.topk_by("what", 2, "paid"), ParallelIterator[tuple[Any, list[Sale]]])
    towns = [("ale", 7)]
    assert_type(sales.join(towns, 0), ParallelIterator[tuple[Sale, tuple[str, int]]])
    assert_type(sales.join(towns, "what", 0, "anti"), ParallelIterator[Sale])
    assert_type(sales.join(towns, lambda sale: sale.what, lambda town: town[0], how="semi"), ParallelIterator[Sale])
    for sale, town in sales.join(towns, "what", 0, how="left"):
        print(sale.what, None if town is None else town[1])
    grouped = sales.cogroup(towns, "what", 0)
    assert_type(grouped, ParallelIterator[tuple[Any, tuple[list[Sale], list[tuple[str, int]]]]])
    assert_type(sales.repartition(2, "what"), ParallelIterator[Sale])


def single_calls() -> None:
    pending = mrpy.submit(square, 3)
    assert_type(pending, PendingResult[int])
    assert_type(pending.result(timeout=60), int)
    assert_type(mrpy.submit(int, "3"), PendingResult[int])
    assert_type(mrpy.submit(pow, 2, 10), PendingResult[int])
    assert_type(mrpy.submit(sorted, ["a"], reverse=True), PendingResult[list[str]])
    assert_type(mrpy.gather(mrpy.submit(square, n) for n in range(3)), list[int])
    for each in mrpy.as_completed([pending]):
        assert_type(each, PendingResult[int])
    done, not_done = mrpy.wait([pending], return_when=concurrent.futures.FIRST_COMPLETED)
    assert_type(done, set[PendingResult[int]])
    assert mrpy.wait([pending]).not_done == not_done
    pending.add_done_callback(lambda ended: print(ended.result() + 1))
    wider: PendingResult[float] = pending
    assert wider.done()
    with mrpy.Executor(workers=1) as executor:
        assert_type(executor.submit(square, 3).result(), int)
        assert_type(list(executor.map(len, ["a"])), list[int])
        plain: concurrent.futures.Executor = executor
        plain.submit(int, "3")


async def in_a_loop() -> None:
    assert_type(await mrpy.submit(square, 3), int)
    async for n in mrpy.pmap(square, [1]):
        assert_type(n, int)
    async with mrpy.stream(["a"]) as texts:
        items: AsyncIterator[str] = aiter(texts)
        assert await anext(items) == "a"


@mrpy.stage
def digits(numbers: Iterable[int]) -> Iterator[int]:
    for n in numbers:
        yield from map(int, str(n))


@mrpy.stage(setup=lambda: 10)
def scaled(numbers: Iterable[int], factor: int, more: float = 0) -> Iterator[float]:
    for n in numbers:
        yield n * factor + more


class Scale:
    @mrpy.stage
    def apply(self, numbers: Iterable[int]) -> Iterator[int]:
        yield from numbers

    @mrpy.stage
    @classmethod
    def named(cls, numbers: Iterable[int]) -> Iterator[str]:
        for n in numbers:
            yield f"{cls.__name__} {n}"


def stages() -> None:
    assert_type(digits([12]), ParallelIterator[int])
    assert_type(scaled(digits([12]), more=0.5), ParallelIterator[float])
    assert_type(digits.with_options(workers=2)([12]).to_list(), list[int])
    assert_type(Scale().apply([1]), ParallelIterator[int])
    assert_type(Scale.apply(Scale(), [1]), ParallelIterator[int])
    assert_type(Scale.named([1]), ParallelIterator[str])


class CountWords(mrpy.Job):
    def map(self, line: str) -> Iterator[tuple[str, int]]:
        self.count("lines")
        for word in line.split():
            yield word, 1

    def reduce(self, word: str, ones: Iterable[int]) -> int:
        return sum(ones)

    combine = reduce


class Sorted(mrpy.Job):
    options: ClassVar[dict[str, Any]] = {"workers": 2}
    partitions = 2

    def __init__(self, sort: bool) -> None:
        self.sort = sort

    def combine(self, key: str, values: Iterator[int]) -> int:
        return max(values)

    def reduce(self, key: str, values: Iterator[int]) -> int:
        return max(values)


class InParts(mrpy.Job):
    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self.options = {"workers": 1}


def jobs() -> None:
    pairs = CountWords().run(["a b", "b"], retries=1)
    counts: dict[str, int] = dict(pairs)
    assert_type(pairs.counters, dict[str, int])
    run = (CountWords() | Sorted(sort=True)).run(["a b", "b"])
    top = run.map(lambda pair: pair[1]).filter(None).topk(1)
    assert list(top) == [2] and counts == {"a": 1, "b": 2}
    assert_type(top.counters, dict[str, int])
    assert_type(run.skip(1).enumerate().batch(2).counters, dict[str, int])
    job = InParts(2)
    job.partitions, job.sort = 3, True
    assert list(job.run([(1, 2)])) == [(1, 2)]


def files(folder: Path) -> None:
    text = folder / "lines.txt"
    written = mrpy.stream(["a", "b"]).to_text(text)
    assert_type(written.records, int)
    assert_type(mrpy.read_text([text]).map(str.upper), ParallelIterator[str])
    for row in mrpy.read_csv(text):
        assert_type(row, dict[str, Any])


def options(backend: str) -> None:
    """Given in a dictionary, they have no better type than what is common to all: so checkers leave them alone."""
    common = {"workers": 2, "retries": 1}
    mixed = {"workers": 2, "name": "mine"}
    assert_type(mrpy.pmap(square, [1], **common), ParallelIterator[int])
    assert_type(mrpy.pmap(max, [1], [2], **mixed), ParallelIterator[int])
    mrpy.preduce(operator.add, [1], **mixed)
    mrpy.preduce(operator.add, [1], 0, **mixed)
    mrpy.stream([1], backend=backend, **mixed).map(str)
    with mrpy.session(backend, workers=2) as session:
        assert session is not None
    mrpy.configure(**common)
    mrpy.configure()
    try:
        mrpy.pmap(square, [1], wrokers=2)
    except mrpy.errors.OptionError as error:
        assert_type(error, mrpy.errors.OptionError)
    assert mrpy.options.Options().workers is None


def main(folder: Path) -> None:
    """What runs of it does so here and now."""
    with mrpy.session("serial"):
        for run in (verbs, functions_of_all_kinds, chains, answers, by_key, single_calls, stages, jobs):
            run()
        files(folder)
        options("serial")
        asyncio.run(in_a_loop())

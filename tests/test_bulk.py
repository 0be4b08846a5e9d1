"""Values that take much memory each, wherever they are among others."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import pytest

import mrpy
from mrpy.mapreduce.bulk import BULK, BULKY

MB = 1 << 20


def peak_of(work: Callable[[], Any]) -> float:
    """The most memory that Python holds meanwhile, in MB."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / MB
    finally:
        tracemalloc.stop()


KINDS: dict[str, Callable[[int], Any]] = {
    "bytes": lambda n: bytes(n),
    "str": lambda n: "x" * n,
    "bytearray": bytearray,
    "list": lambda n: [None] * (n // 8),
    "array": lambda n: numpy.zeros(n // 8),
    "array in a tuple": lambda n: ("name", numpy.zeros(n // 8)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_large_values_behind_many_small_ones_stay_within_memory(kind: str) -> None:
    make = KINDS[kind]

    def values(_: int) -> Iterator[tuple[int, Any]]:
        for n in range(1000):
            yield n % 2, n
        for n in range(40):
            yield n % 2, make(2 * MB)

    def count(key: int, group: Iterator[Any]) -> int:
        return sum(1 for _ in group)

    def work() -> None:
        run = mrpy.mapreduce(values, count, range(1), backend="serial", memory=45_000_000)
        assert sorted(run) == [(0, 520), (1, 520)]

    assert peak_of(work) < 50, "all of them are 80 MB"


@pytest.mark.parametrize("kind", ["array", "list"])
def test_large_values_of_one_record_are_combined_as_they_come(kind: str) -> None:
    make = KINDS[kind]

    def values(_: int) -> Iterator[tuple[int, Any]]:
        for n in range(60):
            yield n % 2, make(2 * MB)

    def last(key: int, group: Iterator[Any]) -> Any:
        *_, value = group
        return value

    def work() -> None:
        run = mrpy.mapreduce(values, last, range(2), combiner=last, backend="serial")
        assert sorted(key for key, _ in run) == [0, 1]

    assert peak_of(work) < 60, "all of them are 240 MB, and those of one record half of that"


def test_sums_of_large_values_are_the_same_wherever_they_are_made() -> None:
    def values(n: int) -> Iterator[tuple[int, Any]]:
        random = numpy.random.default_rng(n)
        for place in range(40):
            yield place % 2, random.standard_normal(1 << 16)

    def add(key: int, group: Iterator[Any]) -> Any:
        return sum(group, start=numpy.zeros(1 << 16))

    found = set()
    for options in (
        {"backend": "serial"},
        {"workers": 2},
        {"workers": 2, "chunksize": 1},
        {"workers": 1, "memory": 1},
    ):
        pairs = mrpy.mapreduce(values, add, range(5), combiner=add, **options)
        found.add(tuple(sum_.tobytes() for _, sum_ in sorted(pairs, key=lambda pair: pair[0])))
    assert len(found) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_much_is_seen(kind: str) -> None:
    for size, much in ((BULKY // 2, False), (2 * BULKY, True)):
        value = KINDS[kind](size)
        measure = BULK[type(value)]
        assert measure is not None
        assert (measure(value) > BULKY) is much


@pytest.mark.parametrize("value", [1, 1.5, None, True, numpy.float64(1), object()])
def test_most_values_are_not_looked_at(value: Any) -> None:
    measure = BULK[type(value)]
    assert measure is None or measure(value) < BULKY

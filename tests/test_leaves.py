"""The leaves of a reduction, where items are large: they do not grow, in the same way everywhere, and nothing of the
source is held for longer than it takes."""

from __future__ import annotations

import functools
import gc
import math
import operator
import statistics
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from laws import BACKENDS, LOCAL, Alive

import mrpy
from mrpy.mapreduce.tree import BYTES, Growth, Node, combine, leaf_end, leaf_index, leaf_size, total
from mrpy.scheduler.backends.segments import Held

over_all = pytest.mark.parametrize("backend", BACKENDS)

LARGE = BYTES // 8 + 1  # bytes: of such items seven are a leaf at most, so four


def bracketed(left: str, right: str) -> str:
    """Says in which order it was called."""
    return f"({left} {right})"


def by_hand(count: int, largest: int) -> str:
    """The same of numbers from 0, along the tree."""
    nodes, position = [], 0
    while position < count:
        end = min(count, leaf_end(position, largest))
        value = str(position)
        for number in range(position + 1, end):
            value = bracketed(value, str(number))
        nodes.append(Node(0, leaf_index(position, largest), value))
        position = end
    return str(total(combine(nodes, bracketed), bracketed))


def blocks(count: int, nbytes: int = LARGE) -> Iterator[np.ndarray[Any, Any]]:
    """Arrays that know their number. What is not written to takes no memory."""
    for number in range(count):
        block = np.empty(nbytes, np.uint8)
        block[:4] = np.frombuffer(number.to_bytes(4, "little"), np.uint8)
        yield block


def number_of(block: np.ndarray[Any, Any]) -> str:
    """Of such an array."""
    return str(int.from_bytes(block[:4].tobytes(), "little"))


@over_all
@pytest.mark.parametrize("more", [{}, {"chunksize": 5}, {"buffersize": 3}, {"buffersize": 40}])
def test_leaves_of_large_items_stay_small_and_are_the_same_everywhere(backend: str, more: dict[str, Any]) -> None:
    count = 150 if backend == "dask" else 700
    with mrpy.session(backend=backend, workers=2):
        got = mrpy.stream(blocks(count), **more).map(number_of).reduce(bracketed)
    assert got == by_hand(count, 4)
    assert count < 300 or got != by_hand(count, 4096)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda block: block,
        bytes,
        lambda block: ("name", block),
        lambda block: {"name": 1, "data": [block]},
        lambda block: [block, 1],
        lambda block: "x" * len(block),
    ],
)
def test_large_items_are_seen_in_whatever_they_are(wrap: Any) -> None:
    growth = Growth()
    growth.see(0, [wrap(block) for block in blocks(600)])
    assert growth.largest == 4


@pytest.mark.parametrize("turns", [2, 3, 4, 8])
def test_what_comes_in_turns_is_seen(turns: int) -> None:
    for which in range(turns):
        growth = Growth()
        growth.see(0, [block if number % turns == which else "" for number, block in enumerate(blocks(600))])
        assert growth.largest == 4


@pytest.mark.parametrize("backend", LOCAL)
def test_what_a_task_puts_into_an_object_shows_nowhere(backend: str) -> None:
    """A data set that is read at the first use, and goes with every item: elsewhere it is another one."""

    class DataSet:
        @functools.cached_property
        def data(self) -> bytes:
            return bytes(LARGE)

    def read(pair: tuple[DataSet, int]) -> str:
        return str(pair[1] + 0 * len(pair[0].data))

    def run(backend: str, **more: Any) -> str:
        data = DataSet()
        stream = mrpy.stream([(data, n) for n in range(600)], backend=backend, workers=2, **more)
        return str(stream.map(read).reduce(bracketed))

    assert run(backend) == run(backend, chunksize=1) == by_hand(600, 4096)


def test_what_cannot_be_seen_is_small_and_raises_nothing() -> None:
    class Hostile:
        @property
        def nbytes(self) -> int:
            raise OSError("not here")

    class Endless(list[Any]):
        pass

    within = Endless()
    within.append(within)
    growth = Growth()
    growth.see(0, [Hostile(), object(), within, within.append, type, operator, None] * 100)
    assert growth.largest == 4096


@pytest.mark.parametrize("backend", LOCAL)
def test_items_that_do_not_tell_their_size_are_items_as_others(backend: str) -> None:
    class Closed:
        @property
        def nbytes(self) -> int:
            raise OSError("closed")

    source = iter([Closed() for _ in range(9000)])
    assert sum(mrpy.pmap(lambda item: 1, source, backend=backend, workers=2)) == 9000


@pytest.mark.parametrize("cuts", [[1], [7, 3], [126, 1, 1, 200], [127, 1], [128, 128], [1000, 5], [64]])
def test_it_does_not_matter_in_what_stretches_they_come(cuts: list[int]) -> None:
    small, large = bytes(10), bytes(LARGE)
    items = [large if number > 1000 else small for number in range(3000)]
    growth, first = Growth(), 0
    while first < len(items):
        for cut in cuts:
            growth.see(first, items[first : first + cut])
            first += cut
    assert growth.largest == 8  # at 1022 large ones are seen: 16 of them would be too much


def test_small_items_grow_to_the_largest_leaf_and_it_stays() -> None:
    growth = Growth()
    for first in range(0, 1 << 21, 1 << 14):
        growth.see(first, range(first, first + (1 << 14)))
    assert growth.largest == 4096 == leaf_size(1 << 30, growth.largest)


@pytest.mark.parametrize("largest", [1, 2, 16, 4096])
def test_leaves_have_numbers_one_after_the_other(largest: int) -> None:
    position, number = 0, 0
    while position < 20_000:
        assert leaf_index(position, largest) == number
        assert {leaf_index(p, largest) for p in range(position, leaf_end(position, largest))} == {number}
        position, number = leaf_end(position, largest), number + 1


@pytest.mark.parametrize("backend", ["serial", "threads"])
@pytest.mark.parametrize("verb", ["reduce", "reduce_by"])
def test_a_long_source_of_large_items_is_reduced_in_bounded_memory(backend: str, verb: str) -> None:
    alive = Alive()
    run = mrpy.stream(map(alive.see, blocks(30_000)), backend=backend, workers=2).map(number_of).map(int)
    if verb == "reduce":
        assert run.reduce(max) == 29_999
    else:
        assert dict(run.reduce_by(lambda n: n % 2, max)) == {0: 29_998, 1: 29_999}
    assert alive.most < 300  # it was more than a thousand, as large as the leaf was


@pytest.mark.parametrize("backend", LOCAL)
def test_what_was_mapped_is_not_held_until_it_is_reduced(backend: str) -> None:
    """400 MB go by."""
    known: list[Any] = []

    def source() -> Iterator[np.ndarray[Any, Any]]:
        for block in blocks(400):
            known.append(weakref.ref(block))
            yield block

    with mrpy.session(backend=backend, workers=2):
        run = mrpy.stream(source()).map(number_of).map(int)
        rows = iter(run.group_by(lambda n: n % 10))
        next(rows)
        gc.collect()
        assert len(known) == 400
        assert sum(ref() is not None for ref in known) < 100
        assert sum(thing.segment.size for thing in gc.get_objects() if type(thing) is Held) < 200 << 20
        assert len(list(rows)) == 9


@pytest.mark.parametrize("backend", ["serial", "threads"])
def test_large_items_behind_very_many_small_ones_are_not_pulled_in_as_many(backend: str) -> None:
    """A chunk may have 65,536 small items; of the first large ones so many would not fit into memory."""
    alive = Alive()

    def source() -> Iterator[Any]:
        yield from (f"{number}" for number in range(300_000))
        yield from map(alive.see, blocks(6000))

    run = mrpy.stream(source(), backend=backend, workers=2).map(len)
    assert sum(run) == sum(len(f"{n}") for n in range(300_000)) + 6000 * LARGE
    assert alive.most < 3000


class Tasks:
    """The names of the tasks of a session."""

    def __init__(self, session: Any) -> None:
        self.names: set[str] = set()
        session.job().driver.observe(self)

    def __call__(self, moved: Any) -> None:
        self.names.add(moved.task.call.code.name)


class Money(int):
    def __add__(self, other: int) -> Money:
        return Money(int(self) + int(other))

    __radd__ = __add__


def longer(left: str, right: str) -> str:
    return max(left, right, key=len)


@pytest.mark.parametrize("backend", LOCAL)
def test_a_few_numbers_are_combined_by_who_waits_for_them(backend: str) -> None:
    with mrpy.session(backend, workers=2) as session:
        tasks = Tasks(session)
        numbers = [n * 0.1 for n in range(20)]
        several = mrpy.stream(numbers, chunksize=3)
        assert several.sum() == math.fsum(numbers)
        assert mrpy.stream(numbers, chunksize=3).count() == 20
        assert mrpy.stream(numbers, chunksize=3).mean() == statistics.fmean(numbers)
        assert mrpy.stream(numbers, chunksize=3).max() == max(numbers)
        assert mrpy.preduce(operator.mul, range(1, 20), chunksize=3) == math.factorial(19)
        assert mrpy.preduce(operator.add, [], 5) == 5
        assert not [name for name in tasks.names if name.startswith("finish")]


@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize(
    ("run", "answer"),
    [
        (lambda: mrpy.preduce(longer, ["a", "bcd", "ef"], chunksize=1), "bcd"),
        (lambda: mrpy.preduce(operator.add, map(Money, range(9)), chunksize=1), 36),
        (lambda: mrpy.stream([-3, 2, 1], chunksize=1).max(key=abs), -3),
        (lambda: mrpy.preduce(operator.add, ["x" * 5000, "y" * 5000], chunksize=1), "x" * 5000 + "y" * 5000),
        (lambda: mrpy.stream([3, 1, 2], chunksize=1).topk(2).to_list(), [3, 2]),
    ],
)  # fmt: skip
def test_whatever_else_there_is_to_combine_is_left_to_the_workers(backend: str, run: Any, answer: Any) -> None:
    with mrpy.session(backend, workers=2) as session:
        tasks = Tasks(session)
        assert run() == answer
        assert [name for name in tasks.names if name.startswith("finish")]


@pytest.mark.parametrize("backend", LOCAL)
def test_what_cannot_be_combined_fails_on_the_workers(backend: str) -> None:
    with mrpy.session(backend, workers=2), pytest.raises(TypeError, match="unsupported operand"):
        mrpy.preduce(operator.add, [1, "a"], chunksize=1)
    with mrpy.session(backend, workers=2), pytest.raises(ValueError, match="argument is empty"):
        mrpy.stream([]).max()

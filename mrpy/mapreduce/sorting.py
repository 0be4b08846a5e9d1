"""Sorting what may not fit into memory: what of it runs on workers.

A chunk of the source is sorted where it is made; if there is too much of it, it is written to disk as a run
of blocks (``sorted_runs.py``). All runs are then cut at the same keys into ranges that fit into memory, and
each range is brought together by itself, on any worker: what all runs have of it, in the order of the source,
is sorted once more. That finds the runs and merges them, stably, at the speed of the builtin. It comes back
in batches, as bytes, of which the consumer opens one at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from time import perf_counter

from mrpy.errors import pin
from mrpy.light import TYPE_CHECKING, Any, Frozen, NamedTuple
from mrpy.mapreduce.bounds import Bound, cuts
from mrpy.mapreduce.chunks import Chunk, partly
from mrpy.mapreduce.folds import take_in
from mrpy.mapreduce.kernels import Announce
from mrpy.mapreduce.keys import key_among, key_function, key_name
from mrpy.mapreduce.rules import Rules
from mrpy.mapreduce.skipped import Skipped
from mrpy.mapreduce.sorted_runs import PLAIN, SortedRun, Stretch, packed, unpacked, write_sorted
from mrpy.mapreduce.spill import Store
from mrpy.mapreduce.steps import Step
from mrpy.mapreduce.tree import NOTHING, Nothing
from mrpy.scheduler.sizes import estimated, weight

if TYPE_CHECKING:
    from typing import TypeAlias

LOOKS = 32  # at what a task has taken in, before its memory is full
COSTLY = 2e-6  # seconds that a key takes which is carried, and not made once more
BATCH = 1 << 20  # bytes of memory of the items that the consumer opens at a time, about

Part: TypeAlias = "list[Any] | SortedRun"  # sorted
Place: TypeAlias = tuple[int, int]


class Down:
    """A key, where the largest comes first."""

    __slots__ = ("key",)

    def __init__(self, key: Any) -> None:
        self.key = key

    def __lt__(self, other: Any) -> bool:
        if type(other) is not Down:
            return NotImplemented
        return bool(other.key < self.key)


class Order(Frozen):
    """By which key, and in which direction."""

    key: Callable[[Any], Any] | None
    reverse: bool

    def rank(self, item: Any) -> Any:
        """What items are compared by, the first one being the least."""
        key = item if self.key is None else self.key(item)
        return Down(key) if self.reverse else key

    def sort(self, items: list[Any]) -> None:
        """Sort a list in place, stably."""
        items.sort(key=None if self.key is None else key_among(self.key, items), reverse=self.reverse)

    def weight(self, item: Any) -> int:
        """About how many bytes its key takes, where that is made for the sort."""
        if self.key is None:
            return 0
        with suppress(Exception):  # it is raised where the items are sorted
            key = self.key(item)
            if key is not self.key(item):
                return weight(key)
        return 0

    def ranked(self, items: list[Any]) -> list[Any]:
        """Items, sorted; with their keys where these cost more than to carry them, and can be carried."""
        if self.key is None or not self._is_costly(items[-1]):
            self.sort(items)
            return items
        keys = self._keys(items)
        places = self._places(keys)
        items = [items[place] for place in places]
        return Ranked(items, [keys[place] for place in places]) if all(map(_is_plain, keys)) else items

    def _is_costly(self, item: Any) -> bool:
        began = perf_counter()
        with suppress(Exception):
            self.key(item)  # type: ignore[misc]
        return perf_counter() - began > COSTLY

    def _keys(self, items: list[Any]) -> list[Any]:
        key = None if self.key is None else key_among(self.key, items)
        return items if key is None else [key(item) for item in items]  # `map` would end at a StopIteration

    def _places(self, keys: list[Any]) -> list[int]:
        return sorted(range(len(keys)), key=keys.__getitem__, reverse=self.reverse)

    def together(self, parts: Iterable[Any]) -> list[Any]:
        """Sorted lists as one."""
        items: list[Any] = []
        keys: list[Any] | None = None
        for part in parts:
            if type(part) is Ranked and keys is None:
                keys = self._keys(items)
            if keys is not None:
                keys += part.keys if type(part) is Ranked else self._keys(part)
            items += part
        if keys is not None:
            return [items[place] for place in self._places(keys)]
        self.sort(items)  # finds the lists, and merges them
        return items


def _is_plain(key: Any) -> bool:
    kind = type(key)
    return kind in PLAIN or (kind is tuple and PLAIN.issuperset(map(type, key)))


class Ranked(list[Any]):
    """Items with their keys, side by side."""

    def __init__(self, items: list[Any], keys: list[Any]) -> None:
        super().__init__(items)
        self.keys = keys

    @property
    def nbytes(self) -> int:
        """About how many bytes they take."""
        return estimated(list(self)) + estimated(self.keys)

    def __reduce__(self) -> tuple[Any, ...]:
        return Ranked, (list(self), self.keys)


def by(key: Any, reverse: bool) -> Order:
    """The order that `sorted` means by these. ``key``: a function, an index, or None."""
    return Order(None if key is None else key_function(key), reverse)


class Taken:
    """What a task has taken in: the leaf of a fold over all of its chunk. What does not fit into memory is
    written as it comes."""

    def __init__(self, order: Order, chunk: Chunk, store: Store | None) -> None:
        self._order, self._chunk, self._store = order, chunk, store
        self._parts: list[Part] = []
        self._items: list[Any] = []
        self._size = 0  # bytes
        self._count = 1  # items until the next look
        self._key = 0  # bytes of a key, at the last look
        self._keys_at = 1  # items until that is looked at again

    def leaf(self, items: Iterator[Any]) -> Nothing:
        """Take these in."""
        if self._store is None:
            self._items += items
            return NOTHING
        memory = int(min(self._store.memory, self._store.run))
        while some := list(islice(items, self._count)):
            self._items += some
            if len(self._items) >= self._keys_at:  # not each time: a key may take long
                self._key, self._keys_at = self._order.weight(some[-1]), max(64, 2 * len(self._items))
            each = max(1, estimated(some) // len(some) + self._key)
            self._size += each * len(some)
            if self._size > memory:
                self._write(self._store)
            if len(some) == self._count:
                self._count = max(1, min(2 * self._count, memory // LOOKS // each))
        return NOTHING

    def parts(self) -> list[Part]:
        """All of it. What is not on disk comes last."""
        store = self._store
        if self._items and store is not None and not store.keeps(self._size):
            self._write(store)
        if self._items:
            with self._pinned():
                self._parts.append(self._order.ranked(self._items))
        return self._parts

    def _write(self, store: Store) -> None:
        with self._pinned():
            self._order.sort(self._items)
        each = self._size // len(self._items)
        self._parts.append(write_sorted(store, self._items, self._order.rank, self._chunk.first, each))
        self._items, self._size, self._keys_at = [], 0, 1

    @contextmanager
    def _pinned(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            pin(error, self._chunk.some_item())
            raise


class SortTask(Frozen):
    """The kernel of the first part: a chunk to sorted parts. All but the last are runs."""

    steps: tuple[Step, ...]
    order: Order
    rules: Rules
    store: Store | None
    in_leaves = True  # see `mrpy.mapreduce.cut_again`

    def __call__(self, chunk: Chunk, announce: Announce | None = None) -> Any:
        skipped = Skipped(self.rules.max_errors)
        taken = Taken(self.order, chunk, self.store)
        done = take_in(taken.leaf, self.steps, self.rules, chunk, skipped, announce)
        return partly(skipped.beside(taken.parts()), done)


class Range(NamedTuple):
    """Items from a rank on (None: from the first) up to one (None: to the last), and where they are: in the
    order of the source."""

    begin: Bound | None
    end: Bound | None
    stretches: tuple[Stretch, ...]


def ranges(runs: Sequence[SortedRun], memory: int) -> Iterator[Range]:
    """Cut the runs into ranges that fit into memory. Items of one rank are in the order of the source
    already: where they alone do not fit, each stretch of a run that does is a range of its own."""
    begin: Bound | None = None
    for end, large in cuts((span for run in runs for span in run.spans()), memory):
        most = memory if large else math.inf
        parts = tuple(part for run in runs for part in run.stretches(begin, end, most))
        yield from (Range(begin, end, each) for each in (((part,) for part in parts) if large else (parts,)))
        begin = end


class Edges(NamedTuple):
    """Of each stretch of a range the path of its run, and from where to where that was taken: the offset of a
    block, and a place in it."""

    of_stretches: list[tuple[str, Place, Place]]


class MergeTask(Frozen):
    """The step of the second part: a range to its edges, and its items, sorted, in batches. ``packs``: as
    bytes."""

    order: Order
    packs: bool

    def __call__(self, range: Range) -> list[Any]:
        edges = Edges([])
        parts = (part for stretch in range.stretches for part in self._within(stretch, range, edges))
        items = self.order.together(parts)
        return [edges, *(_batches(items) if self.packs and items else [items])]

    def _within(self, stretch: Stretch, range: Range, edges: Edges) -> Iterator[list[Any]]:
        """Of the blocks what is in the range. Only the first and the last of them are cut: those between are
        not even looked at, for they were cut nowhere when the ranges beside this one were."""
        rank, last = self.order.rank, len(stretch.lengths) - 1
        first, behind = (stretch.offset, 0), (stretch.offset + sum(stretch.lengths), 0)
        for number, items in enumerate(stretch.read()):
            begin, end = 0, len(items)
            if number == 0 and stretch.begins and range.begin is not None:
                begin = range.begin.place(items, key=rank)
                first = stretch.offset, begin
            if number == last and stretch.ends and range.end is not None:
                end = range.end.place(items, key=rank)
                behind = behind[0] - stretch.lengths[-1], end
            yield items[begin:end] if (begin, end) != (0, len(items)) else items
        edges.of_stretches.append((stretch.path, first, behind))


def each_once(batches: Iterable[Any], runs: Sequence[SortedRun], order: Order) -> Iterator[list[Any]]:
    """The items of all ranges, batch by batch. Both ranges beside a cut ask for the keys of what lies there,
    so a key that gives another answer each time may have them both take an item, or neither: `ValueError`."""
    reached = {run.path: (run.offsets[0], 0) for run in runs}
    for batch in batches:
        if type(batch) is not Edges:
            yield opened(batch)
            continue
        for path, begin, end in batch.of_stretches:
            if not reached[path] == begin <= end:
                raise ValueError(_asked_again(order.key))
            reached[path] = end


def _asked_again(key: Any) -> str:
    again = "once more where they do not fit into memory=, and got another answer than before"
    if key is None:
        return f"sorted() compares items {again}"
    return (
        f"sorted() asks {key_name(key)} for the keys of items {again}; have the keys travel with the items, "
        "as in .map(lambda item: (key(item), item)).sorted(0)"
    )


def _batches(items: list[Any]) -> list[Any]:
    """As bytes. What is packed is let go."""
    count = max(1, BATCH // max(1, estimated(items) // len(items)))
    batches: list[Any] = []
    while items:
        begin = (len(items) - 1) // count * count
        batches.append(packed(items[begin:]))
        del items[begin:]
    batches.reverse()
    return batches


def opened(batch: Any) -> list[Any]:
    """The items of a batch."""
    return batch if type(batch) is list else unpacked(batch)

"""Sorting what may not fit into memory: what of it runs on workers.

A chunk of the source is sorted where it is made; if there is too much of it, it is written to disk as a run
of blocks (``spill.py``). All runs are then cut at the same keys into ranges that fit into memory, and each
range is brought together by itself, on any worker: what all runs have of it, in the order of the source, is
sorted once more. That finds the runs and merges them, stably, at the speed of the builtin.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, cast

from mrpy.errors import Item, pin
from mrpy.mapreduce.account import Account
from mrpy.mapreduce.checkpoint import checkpoint_for
from mrpy.mapreduce.chunks import Chunk
from mrpy.mapreduce.compile import Slot
from mrpy.mapreduce.folds import Fold, FoldChunk, leaves, shifted
from mrpy.mapreduce.kernels import Announce, Rules
from mrpy.mapreduce.plan import Plan, Step
from mrpy.mapreduce.skipped import Skipped
from mrpy.mapreduce.slices import slices
from mrpy.mapreduce.spill import Block, Run, RunFile, Store
from mrpy.mapreduce.spilling import SpillingFeeder
from mrpy.mapreduce.statistics import key_function
from mrpy.mapreduce.tree import NOTHING
from mrpy.options import Options
from mrpy.scheduler.calls import Code
from mrpy.scheduler.job import Job
from mrpy.scheduler.sizes import estimated

Part: TypeAlias = "list[Any] | Run"  # sorted


class Down:
    """A key, where the largest comes first."""

    __slots__ = ("key",)

    def __init__(self, key: Any) -> None:
        self.key = key

    def __lt__(self, other: Any) -> bool:
        if type(other) is not Down:
            return NotImplemented
        return bool(other.key < self.key)


@dataclass(frozen=True, slots=True)
class Order:
    """By which key, and in which direction."""

    key: Callable[[Any], Any] | None
    reverse: bool

    def rank(self, item: Any) -> Any:
        """What items are compared by, the first one being the least."""
        key = item if self.key is None else self.key(item)
        return Down(key) if self.reverse else key

    def sort(self, items: list[Any]) -> None:
        """Sort a list in place, stably."""
        items.sort(key=self.key, reverse=self.reverse)

    def together(self, parts: Iterable[Any]) -> list[Any]:
        """Sorted lists as one."""
        items: list[Any] = []
        for part in parts:
            items += part
        self.sort(items)  # finds the lists, and merges them
        return items


def by(key: Any, reverse: bool) -> Order:
    """The order that `sorted` means by these. ``key``: a function, an index, or None."""
    return Order(None if key is None else key_function(key), reverse)


def _both(left: list[Any], right: list[Any]) -> list[Any]:
    left += right
    return left


def _as_it_is(value: Any) -> Any:
    return value


LISTS = Fold(list, _both, _as_it_is, "list")


@dataclass(frozen=True, slots=True)
class SortTask:
    """The kernel of the first part: a chunk to sorted parts. All but the last are runs."""

    steps: tuple[Step, ...]
    order: Order
    rules: Rules
    store: Store | None

    def __call__(self, chunk: Chunk, announce: Announce | None = None) -> Any:
        skipped = Skipped(self.rules.max_errors)
        parts: list[Part] = []
        items: list[Any] = []
        kernel, store = FoldChunk(self.steps, LISTS, self.rules), self.store
        for leaf in leaves(chunk):
            for node in kernel.nodes(leaf, skipped, shifted(announce, chunk, leaf)):
                items += () if node.value is NOTHING else node.value
            if store is not None and estimated(items) > store.memory:
                parts.append(self._sorted(items, chunk, store))
                items = []
        if items:
            keeps = store is None or store.keeps(estimated(items))
            parts.append(self._sorted(items, chunk, None if keeps else store))
        return skipped.beside(parts)

    def _sorted(self, items: list[Any], chunk: Chunk, store: Store | None) -> Part:
        try:
            self.order.sort(items)
        except Exception as error:
            pin(error, Item(chunk.first, f"or one of the {len(chunk.data) - 1} after it"))
            raise
        if store is None:
            return items
        with RunFile(store.folder) as file:
            return write_sorted(file, items, self.order, chunk.first, store.block)


def write_sorted(file: RunFile, items: list[Any], order: Order, first: int, size: int) -> Run:
    """A run of these, in blocks of about this size."""
    blocks: list[Block] = []
    each = max(1, estimated(items) // max(1, len(items)))
    count = max(1, size // each)
    for begin in range(0, len(items), count):
        part = items[begin : begin + count]
        blocks.append(file.add(order.rank(part[0]), order.rank(part[-1]), part, each * len(part)))
    return Run(file.path, tuple(blocks), first)


def runs_of(
    plan: Plan, order: Order, job: Job, options: Options, account: Account, store: Store | None
) -> list[Part]:
    """The source, sorted in parts."""
    rules = Rules.of(options)

    def code_for(store: Store | None) -> Code:
        return Code(SortTask(plan.steps, order, rules, store), options.name or "sort", announce=True)

    slots: list[Slot] = []
    feeder = SpillingFeeder(job, plan, options, account, store, code_for)
    with (
        feeder,
        checkpoint_for(options.checkpoint, (*plan.steps, order.key), "sorted") as feeder.checkpoint,
        account.running(job.driver.backend.name, job.driver.backend.workers),
    ):
        for _ in feeder.completed(slots.append):
            pass
    return [part for slot in slots for part in cast("list[Part]", slot.result)]


def all_runs(parts: list[Part], order: Order, store: Store) -> tuple[Run, ...]:
    """The same, all of it on disk."""
    runs: list[Run] = []
    for part in parts:
        if isinstance(part, Run):
            runs.append(part)
            continue
        with RunFile(store.folder) as file:
            runs.append(write_sorted(file, part, order, 0, store.block))
    return tuple(runs)


class Range(NamedTuple):
    """Items of some runs, from a rank on (None: from the first) up to one (None: to the last). ``runs``:
    those from one number on and up to another."""

    begin: Any
    end: Any
    runs: tuple[int, int]


def ranges(runs: Sequence[Run], memory: int) -> list[Range]:
    """Cut the runs into ranges that fit into memory. Items of one rank are in the order of the source
    already: where they alone do not fit, each run is a range of its own."""
    found: list[Range] = []
    begin: Any = None
    for end, large in slices(runs, memory):
        parts = [(number, number + 1) for number in range(len(runs))] if large else [(0, len(runs))]
        found += [Range(begin, end, part) for part in parts]
        begin = end
    return found


@dataclass(frozen=True, slots=True)
class MergeTask:
    """The step of the second part: a range to its items, sorted."""

    runs: tuple[Run, ...]
    order: Order

    def __call__(self, range: Range) -> list[Any]:
        runs = self.runs[slice(*range.runs)]
        return self.order.together(part for run in runs for part in self._of(run, range))

    def _of(self, run: Run, range: Range) -> Iterator[list[Any]]:
        for block in run.blocks:
            if range.end is not None and not block.low < range.end:
                return
            if range.begin is not None and block.high < range.begin:
                continue
            items = run.read(block)
            rank = self.order.rank
            begin = 0 if range.begin is None else bisect_left(items, range.begin, key=rank)
            end = len(items) if range.end is None else bisect_left(items, range.end, begin, key=rank)
            yield items[begin:end]

"""The first part of a sort, as the consumer sees it: chunks come back sorted, and go to disk if need be."""

from __future__ import annotations

from bisect import insort
from contextlib import ExitStack
from functools import partial
from itertools import groupby, takewhile
from typing import Any, cast

from mrpy.mapreduce.account import Account
from mrpy.mapreduce.checkpoint import checkpoint_for
from mrpy.mapreduce.kept_runs import kept_for
from mrpy.mapreduce.made_again import Files, results_again
from mrpy.mapreduce.plan import Plan, ready
from mrpy.mapreduce.slots import Slot, first_of
from mrpy.mapreduce.sorted_runs import SortedRun, write_sorted
from mrpy.mapreduce.sorting import Order, Part, SortTask
from mrpy.mapreduce.sources import Source
from mrpy.mapreduce.spill import Store
from mrpy.mapreduce.spilling import SpillingFeeder
from mrpy.mapreduce.turns import completed
from mrpy.options import Options
from mrpy.scheduler.calls import Code
from mrpy.scheduler.driver import Delivery
from mrpy.scheduler.job import Job
from mrpy.scheduler.sizes import estimated

MANY = 64  # runs, after which they become larger: few are merged faster, small ones are sorted faster
MOST = 1 << 20  # bytes of a result that is kept in memory, once there is more of them than fits


class SortingFeeder(SpillingFeeder):
    """As that; but what is held here goes to disk from here, since it may be very many small parts."""

    part = 0.5  # workers wait while it is written

    def __init__(self, written: Written, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._written = written
        self._parts: list[tuple[Part, Slot]] = []  # those of the first slots, which are on disk
        self._sent: list[Slot] = []  # the others
        self._runs = 0  # since they became larger

    def take(self, delivery: Delivery) -> Slot | None:
        slot, store = super().take(delivery), self._store
        if slot is not None and store is not None and isinstance(slot.result, list):
            self._runs += sum(type(part) is SortedRun for part in slot.result)
            if self._runs >= MANY and store.run < store.memory:
                self.spill_to(store.replaced(run=2 * store.run))
                self._runs = 0
        return slot

    def parts(self) -> list[tuple[Part, Slot]]:
        """The source, sorted in parts, each with what it came of."""
        for _ in completed(self, partial(insort, self._sent, key=first_of)):
            pass
        self._retire(len(self._sent))
        for _, slot in self._parts:  # which stays; its parts are to go as soon as they are merged
            slot.result = []
        return self._parts

    def has_too_much(self, store: Store) -> None:
        if store.most > MOST:
            self.spill_to(store.replaced(most=MOST))
        held: list[Slot] = []  # slots that follow each other, with nothing but a list in all but the first
        end = 0  # of the last one
        for slot in self._sent:
            parts = cast("list[Part]", slot.result) if slot.done else []
            if not slot.done or slot.chunk.first != end or (parts and type(parts[0]) is SortedRun):
                self._write(held)
                held = []
            if parts and type(parts[-1]) is not SortedRun:
                held.append(slot)
            end = slot.end
        self._write(held)
        self.held = 0
        done = takewhile(lambda slot: slot.done and not self.has_a_gap(slot.chunk.first), self._sent)
        self._retire(sum(1 for _ in done))

    def _retire(self, count: int) -> None:
        for slot in self._sent[:count]:
            self._written.by_task(slot)
            self._parts += [(part, slot) for part in cast("list[Part]", slot.result)]
        del self._sent[:count]

    def _write(self, slots: list[Slot]) -> None:
        if slots:
            parts: list[Any] = [cast("list[Part]", slot.result).pop() for slot in slots]
            cast("list[Part]", slots[0].result).append(self._written.together(parts, slots))


class Written:
    """What is on disk of a sort: written by tasks, or here, and made again of the same items if need be.

    ``store``  for what is written here: that of the tasks may be a checkpoint's
    ``files``  all of it
    """

    def __init__(
        self, order: Order, store: Store | None, source: Source, options: Options, account: Account
    ) -> None:
        self.files = Files()
        self._order, self._store = order, store
        self._again = source, options, account

    def by_task(self, slot: Slot) -> None:
        """What the task of a chunk has written."""
        self.files.of_task(slot.result, slot, *self._again)

    def together(self, parts: list[list[Any]], slots: list[Slot]) -> SortedRun:
        """Sorted lists that follow each other, each the last part of what a task has made, on disk."""
        run = self._run_of(parts, slots)
        self.files.add([run.path], partial(self._together_again, slots))
        return run

    def _together_again(self, slots: list[Slot]) -> list[str]:
        parts: list[Any] = [made[-1] if made else None for made in results_again(slots, *self._again)]
        whole = len(parts) == len(slots) and all(isinstance(part, list) for part in parts)
        return [self._run_of(parts, slots).path] if whole else []

    def _run_of(self, parts: list[list[Any]], slots: list[Slot]) -> SortedRun:
        assert self._store is not None
        items = self._order.together(parts)
        each = estimated(items) // len(items) + self._order.weight(items[-1])
        return write_sorted(self._store, items, self._order.rank, slots[0].chunk.first, each)

    def all_runs(self, parts: list[tuple[Part, Slot]]) -> list[SortedRun]:
        """The parts, all of them on disk."""
        runs: list[Any] = []
        for in_memory, group in groupby(parts, lambda each: type(each[0]) is not SortedRun):
            several, slots = map(list, zip(*group, strict=True))
            runs += [self.together(several, slots)] if in_memory else several
        return runs


def runs_of(
    plan: Plan,
    order: Order,
    job: Job,
    options: Options,
    account: Account,
    store: Store | None,
    stack: ExitStack,
) -> tuple[list[tuple[Part, Slot]], Written]:
    """The source, sorted in parts, and what of it is on disk. A checkpoint that has some of that is in use
    until `stack` is closed."""
    plan, rules = ready(plan, options, job)
    tasks_store, runs = kept_for(options.checkpoint, store)
    program = (*plan.program, order.key, *(("reverse",) if order.reverse else ()))
    checkpoint = stack.enter_context(checkpoint_for(options, program, "sorted", runs))

    def code_for(store: Store | None) -> Code:
        return Code(SortTask(plan.steps, order, rules, store), options.name or "sort", announce=True)

    written = Written(order, store, plan.source, options, account)
    with (
        SortingFeeder(written, job, plan, options, account, tasks_store, code_for) as feeder,
        account.running(job),
    ):
        feeder.checkpoint = checkpoint
        parts = feeder.parts()
    if checkpoint is not None:
        checkpoint.finished()
    return parts, written

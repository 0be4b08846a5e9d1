"""The first part of a sort, as the consumer sees it: chunks come back sorted, and go to disk if need be."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import groupby, takewhile
from typing import Any, cast

from mrpy.mapreduce.account import Account
from mrpy.mapreduce.checkpoint import checkpoint_for
from mrpy.mapreduce.kept_runs import kept_for
from mrpy.mapreduce.plan import Plan
from mrpy.mapreduce.rules import ready
from mrpy.mapreduce.slots import Slot, first_of
from mrpy.mapreduce.sorted_runs import SortedRun, write_sorted
from mrpy.mapreduce.sorting import Order, Part, SortTask
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

    def __init__(self, order: Order, folder: str, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._order = order
        self._folder = folder  # for what is written here
        self._parts: list[Part] = []  # those of the first slots, which are on disk
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

    def parts(self) -> list[Part]:
        """The source, sorted in parts."""
        for _ in completed(self, partial(insort, self._sent, key=first_of)):
            pass
        self._retire(len(self._sent))
        return self._parts

    def has_too_much(self, store: Store) -> None:
        if store.most > MOST:
            self.spill_to(store.replaced(most=MOST))
        held: list[Slot] = []  # slots that follow each other, with nothing but a list in all but the first
        end = 0  # of the last one
        for slot in self._sent:
            parts = cast("list[Part]", slot.result) if slot.done else []
            if not slot.done or slot.chunk.first != end or (parts and type(parts[0]) is SortedRun):
                self._write(held, store)
                held = []
            if parts and type(parts[-1]) is not SortedRun:
                held.append(slot)
            end = slot.end
        self._write(held, store)
        self.held = 0
        done = takewhile(lambda slot: slot.done and not self.has_a_gap(slot.chunk.first), self._sent)
        self._retire(sum(1 for _ in done))

    def _retire(self, count: int) -> None:
        self._parts += [part for slot in self._sent[:count] for part in cast("list[Part]", slot.result)]
        del self._sent[:count]

    def _write(self, slots: list[Slot], store: Store) -> None:
        if slots:
            parts: list[Any] = [cast("list[Part]", slot.result).pop() for slot in slots]
            first = cast("list[Part]", slots[0].result)
            store = store.replaced(folder=self._folder)  # that of the tasks may be a checkpoint's
            first.append(as_run(parts, self._order, store, slots[0].chunk.first))


def runs_of(
    plan: Plan,
    order: Order,
    job: Job,
    options: Options,
    account: Account,
    store: Store | None,
    stack: ExitStack,
) -> list[Part]:
    """The source, sorted in parts. A checkpoint that has some of them on disk is in use until `stack` is
    closed."""
    plan, rules = ready(plan, options, job)
    tasks_store, runs = kept_for(options.checkpoint, store)
    program = (*plan.steps, order.key, *(("reverse",) if order.reverse else ()))
    checkpoint = stack.enter_context(checkpoint_for(options, program, "sorted", runs))

    def code_for(store: Store | None) -> Code:
        return Code(SortTask(plan.steps, order, rules, store), options.name or "sort", announce=True)

    folder = store.folder if store is not None else ""
    with (
        SortingFeeder(order, folder, job, plan, options, account, tasks_store, code_for) as feeder,
        account.running(job),
    ):
        feeder.checkpoint = checkpoint
        parts = feeder.parts()
    if checkpoint is not None:
        checkpoint.finished()
    return parts


def all_runs(parts: list[Part], order: Order, store: Store) -> list[SortedRun]:
    """The same, all of it on disk."""
    runs: list[SortedRun] = []
    for in_memory, group in groupby(parts, lambda part: type(part) is not SortedRun):
        if in_memory:
            runs.append(as_run(cast("list[list[Any]]", list(group)), order, store, 0))
        else:
            runs += cast("Iterator[SortedRun]", group)
    return runs


def as_run(parts: list[list[Any]], order: Order, store: Store, chunk: int) -> SortedRun:
    """Sorted lists that follow each other, on disk."""
    items = order.together(parts)
    each = estimated(items) // len(items) + order.weight(items[-1])
    return write_sorted(store, items, order.rank, chunk, each)

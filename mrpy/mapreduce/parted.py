"""Items in so many parts, as the consumer sees it: what workers have packed, and the source of the parts."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from typing import Any, cast

from mrpy.mapreduce.account import Account
from mrpy.mapreduce.batches import Batch
from mrpy.mapreduce.made_again import Files
from mrpy.mapreduce.plan import Plan, ready
from mrpy.mapreduce.repartition import PackTask
from mrpy.mapreduce.slots import Slot, first_of
from mrpy.mapreduce.sources import Pulled, Pulls, Reader
from mrpy.mapreduce.spill import SpillFolder, Store, store_for
from mrpy.mapreduce.spilling import SpillingFeeder
from mrpy.mapreduce.turns import completed
from mrpy.options import Options
from mrpy.scheduler.calls import Code
from mrpy.scheduler.job import Job


class PartSource(Pulled):
    """A source of such parts. Each is a task by itself: they are as large as the user wants them to be."""

    most = 1  # items of a chunk

    def reader(self) -> Reader:
        """As that of any iterator; but how many bytes a part has here depends on where it was made. What is
        on disk is gone when the reader is closed."""
        parted: Any = self.iterable
        folder, files = SpillFolder(), Files()
        reader = Pulls(parted.into(folder, files))
        reader.sealed, reader.close, reader.mend = True, folder.close, files.mend
        return reader


def batches_of(
    plan: Plan, job: Job, options: Options, account: Account, folder: SpillFolder, files: Files
) -> deque[Batch]:
    """What a plan yields, in batches. `folder`: for what does not fit into memory; `files`: these."""
    plan, rules = ready(plan, options, job)
    name, remote = options.name or "repartition", job.driver.backend.remote
    slots: list[Slot] = []

    def code_for(store: Store | None) -> Code:
        return Code(PackTask(plan.steps, rules, remote, store), name, announce=True)

    with ExitStack() as stack:
        store = store_for(job, options, stack, folder=folder)
        with (
            SpillingFeeder(job, plan, options, account, store, code_for) as feeder,
            account.running(job),
        ):
            for _ in completed(feeder, slots.append):
                pass
    batches: deque[Batch] = deque()
    for slot in sorted(slots, key=first_of):
        made, slot.result = cast("list[Batch]", slot.result), []
        files.of_task(made, slot, plan.source, options, account)
        batches += made
    return batches

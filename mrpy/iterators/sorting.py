"""Sorting: chunks first, each sorted by itself on a worker, and then the items, range by range."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from typing import Any, cast

from mrpy.iterators.arguments import see_that_all_are_items
from mrpy.iterators.reductions import OfAll
from mrpy.mapreduce.plan import Plan
from mrpy.mapreduce.sort_feeder import runs_of
from mrpy.mapreduce.sort_memory import sort_memory
from mrpy.mapreduce.sorted_runs import SortedRun
from mrpy.mapreduce.sorting import MergeTask, Order, each_once, ranges
from mrpy.mapreduce.sources import Pulled
from mrpy.mapreduce.steps import FlatMap
from mrpy.progress import watched
from mrpy.scheduler.current import job_for

PLACE = ("backend", "workers", "name")  # options of the whole that its second part takes over
ALONE = {  # it is run as if nothing had been said of the others: not even in a session
    "on_error": "raise", "max_errors": None, "retries": 0, "timeout": None, "buffer_bytes": None,
    "checkpoint": None, "check": False, "ordered": True,
}  # fmt: skip


class Sorted(OfAll):
    """All items in order, sorted when somebody asks for the first of them."""

    def __init__(self, items: Any, order: Order) -> None:
        super().__init__(items, "sorted")
        self._order = order

    def __iter__(self) -> Generator[Any, None, None]:
        items, order = self._items, self._order
        see_that_all_are_items(items._options(), "nothing to be sorted")
        plan, options = items._taken().then(*items._probes(order.key)), items._starting(reducing=True)
        with ExitStack() as stack:
            with job_for(options) as job, watched(job, plan, options):
                memory, remote = sort_memory(options, job), job.driver.backend.remote
                store = memory.store(job, options, stack)
                parts, written = runs_of(plan, order, job, options, items._account, store, stack)
            if store is None or not any(type(part) is SortedRun for part, _ in parts):
                yield from order.together(cast("list[Any]", part) for part, _ in parts)
                return
            runs = written.all_runs(parts)
            parts.clear()
            cut = ranges(runs, memory.for_a_range(runs))
            given = {name: value for name, value in items._given.items() if name in PLACE}
            given |= ALONE | {"chunksize": 1, "buffersize": options.worker_count + 1}
            mend = written.files.mend if options.checkpoint is None else None
            merged = type(items)(Plan(Pulled(cut, mend), (FlatMap(MergeTask(order, remote)),)), given)
            for batch in each_once(merged, runs, order):
                yield from batch

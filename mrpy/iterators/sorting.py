"""Sorting: chunks first, each sorted by itself on a worker, and then the items, range by range."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from typing import Any, cast

from mrpy.errors import OptionError
from mrpy.iterators.reductions import Reduced
from mrpy.mapreduce.plan import FlatMap, Plan
from mrpy.mapreduce.sorting import MergeTask, Order, all_runs, ranges, runs_of
from mrpy.mapreduce.sources import Sliced
from mrpy.mapreduce.spill import Run, store_for
from mrpy.progress import watched
from mrpy.scheduler.current import job_for

PLACE = ("backend", "workers", "name")  # options of the whole that its second part takes over
AT_ONCE = 2  # ranges that fit into a worker's memory: one is merged, others are sent or wait to be read


class Sorted(Reduced):
    """All items in order, sorted when somebody asks for the first of them."""

    label = "sorted"

    def __init__(self, items: Any, order: Order) -> None:
        self._items = items
        self._order = order

    def __iter__(self) -> Generator[Any, None, None]:
        items: Any = self._items
        order = self._order
        if items._options().on_error == "return":
            raise OptionError("on_error='return' puts exceptions among the items: nothing to be sorted")
        plan, options = items._taken(), items._starting(reducing=True)
        with ExitStack() as stack:
            with job_for(options) as job, watched(job, plan, options):
                store = store_for(job, options, stack)
                parts = runs_of(plan, order, job, options, items._account, store)
            if store is None or not any(type(part) is Run for part in parts):
                yield from order.together(cast("list[list[Any]]", parts))
                return
            runs = all_runs(parts, order, store)
            cut = ranges(runs, store.memory // AT_ONCE)
            given = {name: value for name, value in items._given.items() if name in PLACE}
            given |= {"chunksize": 1, "buffersize": options.worker_count + 1}
            yield from type(items)(Plan(Sliced(cut), (FlatMap(MergeTask(runs, order)),)), given)

    def __str__(self) -> str:
        return f"{self._items} -> sorted"

"""How much of its memory a sort takes for what: an account of all that its processes hold.

In its first part every worker gathers items, and the consumer keeps results that are small, and what is known
of the runs: equal shares. In its second part a worker has a range of the items, some of it as bytes already;
and the consumer has the bytes of the ranges that were merged ahead of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from mrpy.light import Frozen
from mrpy.mapreduce.sorted_runs import SortedRun
from mrpy.mapreduce.spill import AT_LEAST, RESULTS, Store, allowed, besides, store_for
from mrpy.options import Options
from mrpy.scheduler.job import Job

BARE = 25_000_000  # bytes that a process takes which sorts, before it has any items
LEAST = 1 << 16  # bytes of items that a task holds, however little memory there is
RUN = 1 << 25  # bytes of items that are enough for a run: what is much larger than the cache is sorted slowly
RANGE = 1 << 24  # likewise for a range
PER_BLOCK = 3  # of them, of each run, are in a range: both ends of it lie within one, which is read twice
GATHERED = 1.3  # of the items that a worker gathers, what it takes to sort and to write them
MERGED = 1.2  # likewise of those that it merges, besides them as bytes
AHEAD = 5  # ranges as bytes, besides one for each worker: one is read, one comes in, and is copied on its way


class Memory(Frozen):
    """Bytes for items, in all processes together."""

    items: int
    workers: int

    def store(self, job: Job, options: Options, stack: ExitStack) -> Store | None:
        """As `store_for`: what a task gathers before it writes a run, at most and at first."""
        memory = max(LEAST, int(self.items / GATHERED) // (self.workers + 1))
        store = store_for(job, options, stack, memory)
        return store and store.replaced(run=max(RUN, memory // RESULTS))

    def for_a_range(self, runs: Sequence[SortedRun]) -> int:
        """Bytes of items of these runs that a worker merges at a time."""
        known = sum(run.weight() for run in runs)
        items = sum(sum(run.sizes) for run in runs)
        written = sum(run.offsets[-1] for run in runs if not run.packed)
        share = written / items if written else 1.0
        parts = self.workers * (MERGED + share) + (self.workers + AHEAD) * share
        most = int(max(self.items - known, self.items // AT_LEAST) / parts)
        enough = max(RANGE, sum(PER_BLOCK * max(run.sizes) for run in runs))
        return max(LEAST, min(most, enough))


def sort_memory(options: Options, job: Job) -> Memory:
    """What a sort may take."""
    workers = job.driver.backend.workers
    processes = workers + 1 if job.driver.backend.remote else 1
    return Memory(besides(allowed(options), processes, BARE), workers)

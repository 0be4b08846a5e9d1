"""Results back into the user's for-loop: in the order of their items, or as they are completed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from mrpy.mapreduce.chunks import Outcome
from mrpy.mapreduce.compile import Feeder, Slot
from mrpy.mapreduce.kernels import MapChunk, Rules
from mrpy.mapreduce.plan import Plan
from mrpy.options import Options
from mrpy.progress import watched
from mrpy.scheduler.calls import Code
from mrpy.scheduler.current import job_for


def run_map(plan: Plan, options: Options) -> Iterator[Any]:
    """Run a plan; yield its results. Closing the iterator stops what is still running."""
    if not plan.steps:
        yield from _as_it_is(plan)
        return
    with job_for(options) as job, watched(job, plan, options):
        rules = Rules(options.on_error, options.retries)
        code = Code(MapChunk(plan.steps, rules), options.name or str(plan.steps[-1]), announce=True)
        feeder = Feeder(job, plan, options, code)
        slots = _in_order(feeder) if options.ordered else _as_completed(feeder)
        for slot in slots:
            if type(slot.result) is list:
                yield from slot.result
            else:
                yield from _with_failures(slot)
            feeder.settle(slot)  # only now: unread results count as pulled
        if feeder.error is not None:
            raise feeder.error


def _as_it_is(plan: Plan) -> Iterator[Any]:
    """A source without steps: there is nothing to send anywhere."""
    reader = plan.source.reader()
    while len(items := reader.take(1)):
        yield from items


def _in_order(feeder: Feeder) -> Iterator[Slot]:
    waiting: deque[Slot] = deque()
    while True:
        waiting.extend(feeder.top_up())
        if not waiting:
            return
        while not waiting[0].done:
            feeder.take(feeder.job.next())
        yield waiting.popleft()


def _as_completed(feeder: Feeder) -> Iterator[Slot]:
    waiting = 0
    while True:
        waiting += len(feeder.top_up())
        if not waiting:
            return
        slot = feeder.take(feeder.job.next())
        if slot is not None:
            waiting -= 1
            yield slot


def _with_failures(slot: Slot) -> Iterator[Any]:
    """The results of a chunk in which not all went well."""
    if slot.failure is not None:
        raise slot.failure.exception()
    result = slot.result
    assert isinstance(result, Outcome)
    last = len(result.values) - 1
    for index, value in enumerate(result.values):
        failure = result.failures.get(index)
        if failure is None:
            yield value
        elif result.ended and index == last:
            raise failure.exception()
        else:
            yield failure.exception()

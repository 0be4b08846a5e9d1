"""Results back into the user's for-loop: in the order of their items, or as they are completed.

What to yield next is decided once, by generators that hand out either a chunk that is done or `WAIT`,
when they cannot go on without the end of another task. Whoever runs them waits in his own way: a plain
loop blocks, an asynchronous one awaits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any, TypeAlias

from mrpy.mapreduce.checkpoint import checkpoint_for
from mrpy.mapreduce.chunks import Outcome
from mrpy.mapreduce.compile import Feeder, Slot
from mrpy.mapreduce.kernels import MapChunk, Rules
from mrpy.mapreduce.plan import Plan
from mrpy.options import Options
from mrpy.progress import watched
from mrpy.scheduler.calls import Code
from mrpy.scheduler.current import job_for
from mrpy.scheduler.driver import Delivery


class Wait(Enum):
    """What a run says when it needs one more delivery; it is sent in."""

    WAIT = "wait"


WAIT = Wait.WAIT
Slots: TypeAlias = Generator[Slot | Wait, Delivery | None, None]


def run_map(plan: Plan, options: Options) -> Generator[Any, None, None]:
    """Run a plan; yield its results. Closing the iterator stops what is still running."""
    if not plan.steps:
        yield from _as_it_is(plan)
        return
    with _feeding(plan, options) as feeder:
        slots = _in_order(feeder) if options.ordered else _as_completed(feeder)
        delivery: Delivery | None = None
        while (slot := _advance(slots, delivery)) is not None:
            if slot is WAIT:
                delivery = feeder.job.next()
                continue
            delivery = None
            if type(slot.result) is list and slot.failure is None:
                yield from slot.result
            else:
                yield from _with_failures(slot)
            feeder.settle(slot)  # only now: unread results count as pulled
        if feeder.error is not None:
            raise feeder.error


async def run_map_async(plan: Plan, options: Options) -> AsyncGenerator[Any, None]:
    """As `run_map`, in an event loop. The source is pulled in the loop's thread, as everything else."""
    if not plan.steps:
        for item in _as_it_is(plan):
            yield item
        return
    with _feeding(plan, options) as feeder:
        slots = _in_order(feeder) if options.ordered else _as_completed(feeder)
        delivery: Delivery | None = None
        while (slot := _advance(slots, delivery)) is not None:
            if slot is WAIT:
                delivery = await feeder.job.next_async()
                continue
            delivery = None
            for item in _with_failures(slot):
                yield item
            feeder.settle(slot)
        if feeder.error is not None:
            raise feeder.error


@contextmanager
def _feeding(plan: Plan, options: Options) -> Iterator[Feeder]:
    """All that is open while a plan runs."""
    with (
        job_for(options) as job,
        watched(job, plan, options),
        checkpoint_for(options.checkpoint, plan.steps, "map") as checkpoint,
    ):
        kernel = MapChunk(plan.steps, Rules.of(options))
        code = Code(kernel, options.name or str(plan.steps[-1]), announce=True)
        feeder = Feeder(job, plan, options, code)
        feeder.checkpoint = checkpoint
        yield feeder


def _as_it_is(plan: Plan) -> Iterator[Any]:
    """A source without steps: there is nothing to send anywhere."""
    reader = plan.source.reader()
    while len(items := reader.take(1)):
        yield from items


def _advance(slots: Slots, delivery: Delivery | None) -> Any:
    """The next slot or WAIT; None at the end."""
    try:
        return slots.send(delivery)
    except StopIteration:
        return None


def _in_order(feeder: Feeder) -> Slots:
    waiting: deque[Slot] = deque()
    while True:
        waiting.extend(feeder.top_up())
        if not waiting:
            return
        while not waiting[0].done:
            delivery = yield WAIT
            assert delivery is not None
            feeder.take(delivery)
        yield waiting.popleft()


def _as_completed(feeder: Feeder) -> Slots:
    waiting = 0
    while True:
        fresh = feeder.top_up()
        for slot in fresh:
            if slot.done:  # it was in the checkpoint
                yield slot
            else:
                waiting += 1
        if not waiting:
            if fresh:
                continue
            return
        delivery = yield WAIT
        assert delivery is not None
        done = feeder.take(delivery)
        if done is not None:
            waiting -= 1
            yield done


def _with_failures(slot: Slot) -> Iterator[Any]:
    """The results of a chunk in which not all went well."""
    if slot.failure is not None:
        raise slot.failure.exception()
    result = slot.result
    if not isinstance(result, Outcome):
        yield from result
        return
    last = len(result.values) - 1
    for index, value in enumerate(result.values):
        failure = result.failures.get(index)
        if failure is None:
            yield value
        elif result.ended and index == last:
            raise failure.exception()
        else:
            yield failure.exception()

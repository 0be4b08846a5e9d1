"""Results back into the user's for-loop: in the order of their items, or as they are completed.

What to yield next is decided once, by generators that hand out either a chunk that is done or `WAIT`,
when they cannot go on without the end of another task. Whoever runs them waits in his own way: a plain
loop blocks, an asynchronous one awaits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import ExitStack
from contextvars import copy_context
from enum import Enum
from typing import Any, TypeAlias

from mrpy.mapreduce.account import Account
from mrpy.mapreduce.check import ON_A_RUN, check_steps
from mrpy.mapreduce.checkpoint import checkpoint_for
from mrpy.mapreduce.chunks import Outcome
from mrpy.mapreduce.compile import Feeder, Slot
from mrpy.mapreduce.kernels import MapChunk, Rules
from mrpy.mapreduce.plan import Plan
from mrpy.mapreduce.sources import Pulled, is_run
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


def run_map(plan: Plan, options: Options, account: Account | None = None) -> Generator[Any, None, None]:
    """Run a plan; yield its results. Closing the iterator stops what is still running."""
    if not plan.steps:
        yield from _as_it_is(plan)
        return
    with _feeding(plan, options, account or Account()) as feeder:
        slots = _in_order(feeder) if options.ordered else _as_completed(feeder)
        delivery: Delivery | None = None
        while (slot := _advance(slots, delivery)) is not None:
            if slot is WAIT:
                delivery = feeder.next()
                continue
            delivery = None
            if type(slot.result) is list and slot.failure is None:
                yield from slot.result
            else:
                yield from _with_failures(slot)
            feeder.settle(slot)  # only now: unread results count as pulled
        if feeder.error is not None:
            raise feeder.error


async def run_map_async(
    plan: Plan, options: Options, account: Account | None = None
) -> AsyncGenerator[Any, None]:
    """As `run_map`, in an event loop. The source is pulled in the loop's thread, as everything else;
    but where the source is another run, that one and this are iterated in a thread of their own."""
    if not plan.steps or (isinstance(plan.source, Pulled) and is_run(plan.source.iterable)):
        async for item in _in_thread(run_map(plan, options, account)):
            yield item
        return
    with _feeding(plan, options, account or Account()) as feeder:
        slots = _in_order(feeder) if options.ordered else _as_completed(feeder)
        delivery: Delivery | None = None
        while (slot := _advance(slots, delivery)) is not None:
            if slot is WAIT:
                delivery = await feeder.next_async()
                continue
            delivery = None
            for item in _with_failures(slot):
                yield item
            feeder.settle(slot)
        if feeder.error is not None:
            raise feeder.error


async def _in_thread(run: Generator[Any, None, None]) -> AsyncGenerator[Any, None]:
    """An ordinary run, asked for its items in one thread from begin to end."""
    import asyncio  # heavy, and only for those who run a loop already
    from concurrent.futures import ThreadPoolExecutor

    loop = asyncio.get_running_loop()
    context = copy_context()  # the open session, as seen from here
    end = object()

    def advance() -> Any:
        return next(run, end)

    with ThreadPoolExecutor(1, "mrpy-async") as thread:
        try:
            while (item := await loop.run_in_executor(thread, context.run, advance)) is not end:
                yield item
        finally:
            await asyncio.shield(loop.run_in_executor(thread, context.run, run.close))


class _feeding:
    """All that is open while a plan runs. A class and no generator: what the user's code raises passes
    through it untouched, even an exception that lets nobody set its traceback."""

    def __init__(self, plan: Plan, options: Options, account: Account) -> None:
        self._arguments = plan, options, account
        self._open = ExitStack()

    def __enter__(self) -> Feeder:
        plan, options, account = self._arguments
        with ExitStack() as entering:
            job = entering.enter_context(job_for(options))
            entering.enter_context(watched(job, plan, options))
            checkpoint = entering.enter_context(checkpoint_for(options.checkpoint, plan.steps, "map"))
            kernel = MapChunk(plan.steps, Rules.of(options))
            code = Code(kernel, options.name or str(plan.steps[-1]), announce=True)
            feeder = Feeder(job, plan, options, code, account)
            feeder.checkpoint = checkpoint
            if options.check:
                check_steps(plan.steps, feeder.sample(ON_A_RUN))
            entering.enter_context(account.running(job.driver.backend.name, job.driver.backend.workers))
            self._open = entering.pop_all()
        return feeder

    def __exit__(self, *problem: Any) -> None:
        self._open.__exit__(*problem)


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

"""Results back into the user's for-loop: in the order of their items, or as they are completed."""

from __future__ import annotations

from _thread import RLock
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, suppress
from contextvars import copy_context
from itertools import chain, islice

from mrpy.errors import Cancelled, SerializationError
from mrpy.inside import carried
from mrpy.iterators.builtin import Items
from mrpy.light import TYPE_CHECKING, later
from mrpy.mapreduce.account import Account
from mrpy.mapreduce.checkpoint import checkpoint_for
from mrpy.mapreduce.compile import Feeder
from mrpy.mapreduce.kernels import MapChunk
from mrpy.mapreduce.marks import Settled
from mrpy.mapreduce.plan import Plan, for_records, of_single_items, ready
from mrpy.mapreduce.rules import Rules
from mrpy.mapreduce.slots import Slot
from mrpy.mapreduce.sources import Pulled, is_run
from mrpy.mapreduce.steps import Body, Filter, FlatMap, Map, StarMap, looks_at_single_items
from mrpy.mapreduce.turns import WAIT, advance, blocking, results_of, turns
from mrpy.mapreduce.window import Window
from mrpy.options import Options
from mrpy.progress import watched
from mrpy.scheduler.calls import Code, TaskStopped
from mrpy.scheduler.current import Stopper, job_for, session_for
from mrpy.scheduler.driver import Delivery
from mrpy.scheduler.reuse import code_for

if TYPE_CHECKING:
    from typing import Any, Self

    from mrpy.iterators.builtin import Given
    from mrpy.mapreduce import check
    from mrpy.mapreduce.steps import Step
else:
    check = later("mrpy.mapreduce.check")

_FUNCTION: dict[Any, str] = {
    Map: "function", StarMap: "function", FlatMap: "function", Filter: "predicate", Body: "function",
}  # fmt: skip
_OF_A_LIST: type[Any] = type(iter([]))
AT_ONCE = 64  # items of a source that is cut without being walked, where nothing is done to them
_STOPPED = "a task that was stopped, for its timeout= say, as it took from this run has ended it for all"
AT_ITS_END = 0.01  # seconds in which an event loop waits for the end of a run: it may be about to end too


class Run:
    """A plan that runs: its results, one by one, and it can be closed.

    ``items`` is an iterator over the same, for those who ask for very many: it goes through the results of a
    chunk in C, and comes back here only for the next chunk.

    ``options``  what says which, when the first item is asked for: this may be made before a session is open
    """

    def __init__(
        self,
        plan: Plan,
        options: Callable[[], Options],
        account: Account | None = None,
        given: Given | None = None,
    ) -> None:
        account = account or Account()
        self._stopper = Stopper()
        self._blocks = _blocks(plan, options, account, self._stopper)
        self.shared = Shared(self._blocks)
        self.items = Items.of(self.shared, plan, given, account)

    def __next__(self) -> Any:
        return next(self.items)

    @property
    def has_ended(self) -> bool:
        """Whether there is nothing more to come: it is exhausted, has failed, or was closed."""
        return self.shared.blocks.gi_frame is None

    def close(self) -> None:
        """Stop what is still running, and end the iterator. Where another thread waits for an item of it, it
        ends there."""
        try:
            self._blocks.close()
        except ValueError as error:
            if str(error) != "generator already executing":
                raise
            self._stopper.stop()


class Shared:
    """The blocks of a run as `chain` wants them, when several threads ask: who comes while another is at the
    next block waits for him, and goes on with the same. ``chain`` would be at its end for all of them if this
    raised, and forget the block that another has begun, so an error is a block too, and a block is left
    only when nothing is in it.
    """

    def __init__(self, blocks: Generator[Iterable[Any], None, None]) -> None:
        self.blocks: Any = blocks  # it also says whether it is at work
        self._turn = RLock()
        self._block: Iterator[Any] = iter(())  # the last one
        self._stopped = False  # it was a task that asked, and its end has ended this for all others

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Iterator[Any]:
        try:
            with self._turn:
                for item in self._block:
                    self._block = chain((item,), self._block)
                    return self._block
                if self.blocks.gi_running:
                    raise ValueError("the source of a run, or a signal handler, asks for an item of that run")
                try:
                    self._block = iter(next(self.blocks))
                except TaskStopped:
                    self._stopped = self.blocks.gi_frame is None  # before it is another's turn
                    raise
                return self._block
        except StopIteration:
            if self._stopped:
                return raising([Cancelled(_STOPPED)])
            raise
        except BaseException as error:
            return raising([error])

    def some(self) -> list[Any]:
        """The next items, as many as are there at once, or one that is computed first; none at the end."""
        for block in self:
            if items := list(block if type(block) is _OF_A_LIST else islice(block, 1)):
                return items
        return []


def raising(error: list[BaseException]) -> Iterator[Any]:
    """An iterator that raises the one that is there, and then ends. This frame does not hold it."""
    raise error.pop()
    yield


def _blocks(
    plan: Plan, says: Callable[[], Options], account: Account, stopper: Stopper
) -> Generator[Iterable[Any], None, None]:
    """The results, chunk by chunk. ``stopper``: by which it is ended while it waits."""
    options = says()
    plan = of_single_items(plan, options)
    if not plan.steps:
        yield from _as_it_is(plan, options, stopper)
        return
    if len(plan.steps) == 1 and type(plan.steps[0]) is Settled:  # only looked at, so none need travel
        options = options.replaced(backend="serial", timeout=None, progress=False)
    with _feeding(plan, options, account) as feeder:
        stopper.add(feeder.job)
        for slot in _until(stopper, blocking(feeder, ordered=options.ordered)):
            results, error = results_of(slot)
            hands_over = feeder.hands_over()
            try:
                yield _handed_over(results, slot, feeder) if hands_over else results
            except GeneratorExit:
                results.clear()  # whoever still holds the iterator gets no more of them
                raise
            if error:
                raise error.pop()
            if not hands_over:
                feeder.settle(slot)  # only now: unread results count as pulled


def _until(stopper: Stopper, slots: Iterator[Slot]) -> Iterator[Slot]:
    """These; they end where another thread has had them stopped."""
    try:
        yield from slots
    except Cancelled:
        if not stopper.stopped:
            raise


async def run_map_async(
    plan: Plan, says: Callable[[], Options], account: Account, stopper: Stopper
) -> AsyncGenerator[Any, None]:
    """As `Run`, in an event loop. The source is pulled in the loop's thread, as everything else; but what
    would block it has a thread of its own: a run whose source is another run, or which has to have the answer
    of one before it begins, with that one; one whose source reads files; one on Dask, where results are
    fetched from afar; and a serial run, which computes in the thread that asks.
    ``stopper``: by which it is ended while it waits, and told to have begun."""
    stopper.begun = True
    options = says()
    plan = for_records(plan)
    apart = isinstance(plan.source, Pulled) and is_run(plan.source.iterable)
    # By its name, before there is a session to ask: that starts a cluster, for which the loop would wait.
    apart = apart or getattr(plan.source, "is_read", False) or options.backend == "dask"
    apart = apart or any(hasattr(step, "ready") for step in plan.steps)
    if apart or not plan.steps or not session_for(options).driver.backend.threaded:
        there = _InThread(Run(plan, lambda: options, account), stopper)
        del plan  # there its source is closed, too
        try:  # and no generator within this one: nobody would wait for the end of that
            while items := await there.some():
                for item in items:
                    yield item
        except Cancelled:
            if not stopper.stopped:
                raise
        finally:
            await there.close()
        return
    with _feeding(plan, options, account) as feeder:
        stopper.add(feeder.job)
        feeder.in_a_loop = True
        slots = turns(feeder, ordered=options.ordered)
        delivery: Delivery | None = None
        while (slot := advance(slots, delivery)) is not None:
            if slot is WAIT:
                try:
                    delivery = await feeder.next_async()
                except Cancelled:
                    if stopper.stopped:
                        return
                    raise
                continue
            delivery = None
            results, error = results_of(slot)
            for item in results:
                yield item
            if error:
                raise error.pop()
            feeder.settle(slot)
        feeder.ends()


class _InThread:
    """An ordinary run, asked for some items at a time in one thread from begin to end. Who is cancelled while
    he waits for one does not wait for its end: the thread gives up what it waits for, and closes the run."""

    def __init__(self, run: Run, stopper: Stopper) -> None:
        from concurrent.futures import ThreadPoolExecutor  # heavy, and only for those who run a loop already

        self._context = copy_context()  # the open session, as seen from here
        self._context.run(stopper.watch)
        self._run: Run | None = run
        self._stopper = stopper
        self._thread = ThreadPoolExecutor(1, "mrpy-async", carried())
        self._asked: Any = None

    async def some(self) -> list[Any]:
        """What there is, and at least one item; none at the end."""
        from asyncio import wrap_future

        assert self._run is not None, "it is not closed"
        self._asked = self._thread.submit(self._context.run, self._run.shared.some)
        items: list[Any] = await wrap_future(self._asked)
        return items

    async def close(self) -> None:
        """Let go of it, as a traceback may hold this."""
        from asyncio import shield, wrap_future
        from concurrent.futures import wait

        run, self._run = self._run, None
        assert run is not None, "it is closed once"
        if self._asked is None:  # there was no thread to be had
            self._thread.shutdown(wait=False)
            run.close()
            return
        idle = self._asked.done()
        if not idle:
            self._stopper.stop()
        closing = self._thread.submit(self._context.run, run.close)
        del run
        self._thread.shutdown(wait=False)
        if idle and not self._stopper.stopped and not wait([closing], AT_ITS_END).done:
            await shield(wrap_future(closing))


def stays_here(run: object) -> SerializationError:
    """What is wrong where a run that has begun is to be pickled."""
    return SerializationError(
        f"the run of {run} has begun, and stays in its own process, where its results arrive. Give these "
        "instead, in a list, or an iterator that has not begun"
    )


def close_async(running: AsyncGenerator[Any, None], stopper: Stopper) -> None:
    """Close it without an event loop. What it would wait for is on its way to its end. If it is at work just
    now, or somebody waits for an item, it ends there."""
    stopper.stop()  # so that it waits for nothing
    with suppress(StopIteration, RuntimeError):  # it is through; it is at work just now
        running.aclose().send(None)


class _feeding:
    """All that is open while a plan runs. A class and no generator: what the user's code raises passes
    through it untouched, even an exception that lets nobody set its traceback."""

    def __init__(self, plan: Plan, options: Options, account: Account) -> None:
        self._arguments = plan, options, account

    def __enter__(self) -> Feeder:
        plan, options, account = self._arguments
        with ExitStack() as entering:
            job = entering.enter_context(job_for(options))
            entering.enter_context(watched(job, plan, options))
            plan, rules = ready(for_records(plan), options, job)
            checkpoint = entering.enter_context(checkpoint_for(options, plan.program, "map"))
            backend, name = job.driver.backend, options.name or str(plan.steps[-1])
            code = _code(plan.steps, name, rules.replaced(seed=0), travels=backend.remote)
            feeder = entering.enter_context(Feeder(job, plan, options, code, account))
            feeder.seed = rules.seed
            feeder.checkpoint = checkpoint
            if options.check:
                check.check_steps(plan.steps, feeder.sample(check.ON_A_RUN))
            entering.enter_context(account.running(job))
            self._open = entering.pop_all()
        return feeder

    def __exit__(self, *problem: Any) -> None:
        self._open.__exit__(*problem)


def _code(steps: tuple[Step, ...], name: str, rules: Rules, *, travels: bool = True) -> Code:
    """The code of a map: that of the last run, if it was the same."""

    def make() -> Code:
        return Code(MapChunk(steps, rules), name, announce=True)

    known = all(type(step) in _FUNCTION and looks_at_single_items(step) for step in steps)
    if not (travels and known):
        return make()
    functions = [getattr(step, _FUNCTION[type(step)]) for step in steps]
    also = rules.on_error, rules.retries, rules.timeout, rules.max_errors
    kinds = (type(step).__name__ for step in steps)
    return code_for(functions, make, name, *also, *kinds, afresh=True)


def _one_by_one(items: Iterable[Any], stopper: Stopper) -> Generator[Any, None, None]:
    """These; they end where another thread has closed the run."""
    for item in items:
        if stopper.stopped:
            return
        yield item


def _as_it_is(plan: Plan, options: Options, stopper: Stopper) -> Iterator[Iterable[Any]]:
    """A source without steps: there is nothing to send anywhere."""
    free = options.buffersize == "auto" and options.buffer_bytes is None
    if free and isinstance(plan.source, Pulled):
        one_by_one = _one_by_one(plan.source.iterable, stopper)
        try:
            yield one_by_one
        finally:
            one_by_one.close()  # whoever still holds the iterator gets no more
        return
    reader = plan.source.reader()
    if free:
        while block := list(reader.take(AT_ONCE)):
            try:
                yield block
            finally:
                block.clear()  # as above; else all of them have been taken
        return
    window = Window(options, 1)
    while True:
        with window:
            items = reader.take(1)
        if len(items) == 0 or stopper.stopped:
            return
        window.sent(1, 0, awaited=False)
        receipts = window.cut(1)
        if window.puller() is None:
            yield items
            window.settled(1, 0, receipts)
        else:
            window.settled(1, 0, receipts)
            yield items


def _handed_over(results: list[Any], slot: Slot, feeder: Feeder) -> Iterator[Any]:
    """The results of a chunk for another run: each is settled before it has it, since that is in its account
    as soon as it has it."""
    for place, item in enumerate(results, 1):
        if place < len(results):
            feeder.passing(slot, place / len(results))
        else:
            feeder.settle(slot)
        yield item
    if not results:
        feeder.settle(slot)

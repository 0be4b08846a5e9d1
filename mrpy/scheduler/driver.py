"""The driver: between the pure scheduler and the world. It has the clock, the inbox and the loop.

    any thread                    driver's thread (or, for a serial backend, whoever waits)
      add, abandon ──inbox──┐
                            ├─> turn: facts ──> Scheduler.handle ──> orders ─┬─> backend.start, stop, release
      backend.wait ─────────┘                                                └─> Report ──> receiver

Guaranteed: one thread at a time is inside `turn`. A receiver is called once per task, in that thread, and
must neither block nor raise. If the loop itself breaks - a bug of ours - every receiver is told, now
and for all that is added later: nobody waits for ever.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from mrpy.errors import MrpyError, SchedulerError, SessionClosed
from mrpy.scheduler import messages as m
from mrpy.scheduler.backends.base import Backend, Value
from mrpy.scheduler.failure import Failure, format_trace, of
from mrpy.scheduler.policy import LONGEST_WAIT
from mrpy.scheduler.scheduler import Observer, Scheduler
from mrpy.scheduler.shield import Shield
from mrpy.scheduler.states import State
from mrpy.scheduler.trace import Trace

_LOST = "a Ctrl-C has cost this session what it was to do next; open another"


class Delivery(NamedTuple):
    """How a task ended, as its adder is told."""

    key: m.Key
    state: State
    failure: Failure | None
    seconds: float
    value: Value | None  # None unless it is DONE and was not to be kept
    pickling: float = 0.0  # seconds that the worker took to open and write what travelled
    nbytes: int = 0  # of the value, about, also where it is kept


Receiver = Callable[[Delivery], None]


class Driver:
    """Runs one scheduler over one backend."""

    def __init__(self, backend: Backend, trace: Trace | None = None) -> None:
        self.backend = backend
        self.observers: list[Observer] = []
        self._trace = trace
        if trace is not None:
            self.observers.append(trace)
        self._scheduler = Scheduler(observer=self._observed)
        self._inbox: deque[m.Fact] = deque()
        self._receivers: dict[m.Key, tuple[Receiver, bool]] = {}
        self._wake_at: float | None = None
        self._end: MrpyError | None = None  # why nothing is taken in any more
        self._turning = threading.RLock()
        self._inline = threading.Lock()  # whoever has it drives, where any thread may
        self._shield = Shield()
        self._deciding = False
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    # ---- for any thread --------------------------------------------------------------------------

    def add(self, tasks: Sequence[m.Task], receiver: Receiver) -> None:
        """Have these tasks run. The receiver is told once of each."""
        self.check_owner()
        for task in tasks:
            self._receivers[task.key] = (receiver, task.keep)
        self._tell(m.Added(tuple(tasks)))
        if self._end is not None:
            self._give_up(self._end)

    def check_owner(self) -> None:
        """Raises `SessionClosed` in a forked child, where nothing ever arrives."""
        if os.getpid() != self._pid:
            raise SessionClosed("this session belongs to the parent process; open one after the fork")

    def abandon(self, keys: Iterable[m.Key]) -> None:
        """Nobody wants these any more; their receivers may still be told."""
        self._tell(m.Abandoned(tuple(keys)))
        if not self.backend.threaded and self._end is None and self._turning.acquire(blocking=False):
            try:
                if not self._deciding:  # it may be the garbage collector that lets go of an iterator here
                    self._let_go()
            finally:
                self._turning.release()

    def observe(self, observer: Observer) -> None:
        """Have `observer` told of every move of every task, in the driver's thread."""
        self.observers.append(observer)

    def unobserve(self, observer: Observer) -> None:
        """The opposite. An observer that is not there is fine: it may have been dropped."""
        if observer in self.observers:
            self.observers.remove(observer)

    def close(self) -> None:
        """Stop everything. Whoever still waits is told so. The driver's thread does it where there is one:
        a Ctrl-C, which comes to the main thread, ends the waiting for it and nothing else."""
        if os.getpid() != self._pid:
            return  # a forked child: nothing of this is its own
        if self._end is None:
            self._end = SessionClosed("the session was closed before this was done")
        with self._turning:
            thread = self._thread
            if thread is None:
                self._shut(self._end)
        if thread is not None and thread is not threading.current_thread():
            self.backend.wake()
            thread.join()

    @property
    def closed(self) -> bool:
        """Whether nothing can be added any more."""
        return self._end is not None

    def wait_for(self, arrived: Callable[[], bool]) -> None:
        """Where the backend has no thread of its own: run until `arrived` says so."""
        while not arrived():
            with self._turning:
                if not arrived() and not self._turn():
                    self._end = SessionClosed(_LOST)
                    self._give_up(self._end)

    def look(self) -> None:
        """Take in what has come, if nobody does just now. Does not block."""
        if self.backend.inline and self._thread is not None:
            self._turn_here()

    def _tell(self, fact: m.Fact) -> None:
        self._inbox.append(fact)
        if self.backend.threaded:
            if self._thread is None:
                self._start_thread()
            if type(fact) is not m.Added or not self._turn_here():
                self.backend.wake()

    def _turn_here(self) -> bool:
        """Drive in this thread, if no other does just now; say whether all that was said is taken in."""
        if not self.backend.inline:
            return False
        try:
            with self._shield:
                if not self._inline.acquire(blocking=False):
                    return False
                try:
                    self._turn_over()
                finally:
                    self._inline.release()
        except RecursionError:  # there was no room left to begin
            return False
        return not self._inbox and self._end is None

    def _turn_over(self) -> None:
        """Take in what there is until there is nothing more. For whoever has the lock."""
        try:
            while self._end is None:
                facts = [] if self._inbox else self.backend.wait(0)
                if not facts and not self._inbox and self._patience() != 0:
                    break
                self._decide(facts)
        except BaseException as error:
            self._end = _broken(error)

    # ---- the loop --------------------------------------------------------------------------------

    def _start_thread(self) -> None:
        with self._turning:
            if self._thread is None and self._end is None:
                thread = threading.Thread(target=self._loop, name="mrpy-driver", daemon=True)
                thread.start()
                self._thread = thread

    def _loop(self) -> None:
        with self._turning:
            # A Ctrl-C may come when the thread has started and before that is noted, or the other way round.
            # So each notes it himself, and one too many goes.
            if self._thread not in (None, threading.current_thread()):
                return
            self._thread = threading.current_thread()
        try:
            while self._end is None:
                self._turn_and_sleep() if self.backend.inline else self._turn()
        except BaseException as error:
            self._end = _broken(error)
        self._shut(self._end)

    def _turn_and_sleep(self) -> None:
        with self._inline:
            self._turn_over()
        if self._end is None:
            self.backend.block(0 if self._inbox else self._patience())

    def _turn(self) -> bool:
        """Take in what happened, decide, carry out. Say whether anything has happened, or will in time."""
        patience = 0 if self._inbox else self._patience()
        facts = self.backend.wait(patience)
        happens = patience is not None or bool(facts)
        self._decide(facts)
        return happens

    def _let_go(self) -> None:
        """Where nobody has to wait here ever again: take in now what was abandoned."""
        orders = self._decide([])
        if any(isinstance(order, m.Stop) for order in orders):  # what was about to run has stopped already
            self._decide(self.backend.wait(0))

    def _decide(self, facts: list[m.Fact]) -> list[m.Order]:
        while self._inbox:
            facts.append(self._inbox.popleft())
        now = time.monotonic()
        if self._trace is not None:
            self._trace.told(facts, now)
        self._deciding = True
        try:
            orders = self._scheduler.handle(facts, now)
            for order in orders:
                self._carry_out(order)
        finally:
            self._deciding = False
        return orders

    def _patience(self) -> float | None:
        if self._wake_at is None:
            return None
        return min(LONGEST_WAIT, max(0.0, self._wake_at - time.monotonic()))

    def _carry_out(self, order: m.Order) -> None:
        match order:
            case m.Start():
                self.backend.start(order)
            case m.Report():
                self._report(order)
            case m.Release():
                self.backend.release(order.key)
            case m.Stop():
                self.backend.stop(order.key, order.attempt)
            case m.WakeAt():
                self._wake_at = order.time
                if self.backend.inline and order.time is not None:
                    self.backend.wake()  # whoever sleeps does not know of it

    def _report(self, order: m.Report) -> None:
        receiver, keep = self._receivers.pop(order.key)
        key, state, failure, seconds, pickling = order
        value = self.backend.fetch(key) if state is State.DONE else None
        nbytes = value.nbytes if value is not None else 0
        receiver(Delivery(key, state, failure, seconds, None if keep else value, pickling, nbytes))

    def _observed(self, moved: m.Moved) -> None:
        """Tell the observers. One that raises is dropped: observers never steer."""
        for observer in tuple(self.observers):
            try:
                observer(moved)
            except Exception as error:
                self.observers.remove(observer)
                print(f"mrpy: an observer was dropped: {error!r}", file=sys.stderr)

    def _shut(self, why: MrpyError) -> None:
        with self._inline, self._turning:  # nobody is amid a turn of what is closed here
            self.backend.close()
            self._give_up(why)

    def _give_up(self, why: MrpyError) -> None:
        failure = of(why)
        while self._receivers:
            try:
                key, (receiver, _) = self._receivers.popitem()
            except KeyError:  # another thread took the last one
                return
            receiver(Delivery(key, State.FAILED, failure, 0.0, None))


def _broken(error: BaseException) -> MrpyError:
    text = f"the scheduler's loop broke, which is a bug in mrpy:\n{format_trace(error)}"
    return SchedulerError(text)

"""The driver: between the pure scheduler and the world. It has the clock, the inbox and the loop.

    any thread                    driver's thread (or, for a serial backend, whoever waits)
      add, abandon ──inbox──┐
                            ├─> turn: facts ──> Scheduler.handle ──> orders ─┬─> backend.start, stop, release
      backend.wait ─────────┘                                                └─> Report ──> receiver

Guaranteed: one thread at a time is inside `turn`. A receiver is called once per task, in that thread, and
must neither block nor raise. If the loop itself breaks - a bug of ours - every receiver is told, now
and for all that is added later: nobody waits for ever.
Where no thread can be started (by 3.12 none is when the main one has ended) only those who wait drive.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial

from mrpy.errors import BackendError, MrpyError, SchedulerError, SessionClosed
from mrpy.inside import LOOK_EVERY, inside
from mrpy.light import Any, NamedTuple
from mrpy.scheduler import messages as m
from mrpy.scheduler.aside import Aside, threads_start
from mrpy.scheduler.backends.base import Backend, Value
from mrpy.scheduler.failure import Failure, loop_broke, of
from mrpy.scheduler.policy import LONGEST_WAIT
from mrpy.scheduler.queues import sooner
from mrpy.scheduler.scheduler import Observer, Scheduler
from mrpy.scheduler.shield import Shield
from mrpy.scheduler.states import State
from mrpy.scheduler.trace import tell

A_TURN = 0.01  # seconds that the driver's thread may take to let go of the lock; most take 0.1 ms
SOON = 0.0005  # seconds; so long who adds one task after the other need not look after the workers
_AMID = "what is called while a session decides (a finalizer, an observer) cannot wait for a run in it"
_LOST = "a Ctrl-C has cost this session what it was to do next; open another"
_NO_THREAD = "no thread can be started (there are too many, or Python ends): backend='processes' needs none"


class Delivery(NamedTuple):
    """How a task ended, as its adder is told."""

    key: m.Key
    state: State
    failure: Failure | None
    seconds: float
    value: Value | None  # None unless it is DONE and was not to be kept
    pickling: float = 0.0  # seconds that the worker took to open and write what travelled
    nbytes: int = 0  # of the value, about, also where it is kept
    note: Any = None  # what the call said beside its value, likewise

Receiver = Callable[[Delivery], None]
_TOLD: tuple[Receiver, bool] = (lambda _: None), True  # by another thread, which has found that this ends

_FOR_HERE = (m.Report, m.Release, m.WakeAt)  # orders with which the backend has nothing to do
_yes, _no = partial(bool, True), partial(bool, False)


class Driver:
    """Runs one scheduler over one backend."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.observers: list[Observer] = []
        self.scheduler = Scheduler()
        self._inbox: deque[m.Fact] = deque()
        self._receivers: dict[m.Key, tuple[Receiver, bool]] = {}
        self._wake_at: float | None = None
        self.end: MrpyError | None = None  # why nothing is taken in any more
        self._turning = threading.RLock()
        self._inline = threading.Lock()  # whoever has it drives, where any thread may
        self._leader: int | None = None  # who that is
        self._leader_sleeps = False
        self._sleeps_until = 0.0  # the driver's thread, where others drive: the time of the clock
        self.shield = Shield(backend.wake)
        self._deciding = False
        self._decided = -math.inf  # when, the last time
        self._thread: threading.Thread | None = None
        self.threadless = False  # no thread can be started: who waits has to drive
        self.aside = Aside()
        self._pid = os.getpid()

    # ---- for any thread --------------------------------------------------------------------------

    def add(self, tasks: Sequence[m.Task], receiver: Receiver) -> None:
        """Have these tasks run. The receiver is told once of each."""
        self.check_owner()
        for task in tasks:
            self._receivers[task.key] = (receiver, task.keep)
        self._tell(m.Added(tuple(tasks)))
        if self.end is not None:
            self._give_up(self.end)

    def check_owner(self) -> None:
        """Raises `SessionClosed` in a forked child, where nothing ever arrives."""
        if os.getpid() != self._pid:
            raise SessionClosed("this session belongs to the parent process; open one after the fork")

    def abandon(self, keys: Iterable[m.Key]) -> None:
        """Nobody wants these any more; their receivers may still be told."""
        self._tell(m.Abandoned(tuple(keys)))
        if not self.backend.threaded and self.end is None and self._turning.acquire(blocking=False):
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
        with suppress(ValueError):  # at any moment: also between a look and this
            self.observers.remove(observer)

    def close(self) -> None:
        """Stop everything. Whoever still waits is told so. The driver's thread does it where there is one:
        a Ctrl-C, which comes to the main thread, ends the waiting for it and nothing else."""
        if os.getpid() != self._pid:
            return  # a forked child: nothing of this is its own
        if self.end is None:
            self.end = SessionClosed("the session was closed before this was done")
        leads = self._leader == threading.get_ident()  # then it is closed when this thread drives no more
        with self._turning:
            thread = self._thread
            self.backend.wake()
            if thread is None and not leads:
                self._shut(self.end)
        if not (leads or thread in (None, threading.current_thread())):
            thread.join(0.0 if self.backend.deaf else None)
        if not leads:
            self.backend.said.end(hurried=self.backend.hurried)
            self.aside.catch_up()

    @property
    def closed(self) -> bool:
        """Whether nothing can be added any more."""
        return self.end is not None

    def wait_for(self, arrived: Callable[[], bool]) -> None:
        """Where the backend has no thread of its own: run until `arrived` says so."""
        try:
            while not arrived():
                with self._turning:
                    if not arrived() and not self._turn():
                        self.end = SessionClosed(_LOST)
                        self._give_up(self.end)
        finally:
            del arrived  # it has whoever waits, and he what is raised here, and that would have this frame

    def lead(self, arrived: Callable[[], bool], until: float | None = None) -> None:
        """Drive until `arrived` says so or it is `until`, where several may sleep at the workers. Returns at
        once where another drives: then he, or the driver's thread after him, tells the receivers.

        Whoever waits for a result sleeps at the workers himself, since to be woken by another thread, and to
        get the interpreter lock from it, takes long. Others put what they add into the inbox, and wake him.
        Not in a thread that runs a task: there an exception may be thrown (`TaskStopped`), even amid a turn.
        """
        if self._thread is not None and self._thread.ident == threading.get_ident():
            raise SchedulerError(_AMID)
        if self.threadless or (self._thread is not None and self.backend.led and not inside.task):
            while self.end is None and not arrived() and (until is None or time.monotonic() < until):
                if not self._drive(arrived, until) and not self._waited_to_lead(until):
                    break
            if self.threadless and self.end is not None:
                self._give_up(self.end)
        if self.aside:
            self.aside.catch_up()

    def _tell(self, fact: m.Fact) -> None:
        self._inbox.append(fact)
        if self.backend.threaded:
            if self._thread is None and not self.threadless:
                self._start_thread()
            drives = self.backend.inline and (type(fact) is m.Added or self.threadless)
            if drives and not self.threadless and self._is_taken_in_soon():
                return
            if not drives or self._inline.locked() or not self._drive() or self._inbox:
                self.backend.wake()

    def _is_taken_in_soon(self) -> bool:
        """Whether what was just added can wait: every worker has something to do, and to do next. The next
        answer brings it on. Who takes that in may have to wait for the interpreter lock, 5 ms where somebody
        adds in a loop; so that one looks himself from time to time."""
        scheduler = self.scheduler  # another thread may be deciding: it looks into the inbox once more
        enough = 0 < min(scheduler.slots, 2 * self.backend.workers) <= scheduler.busy
        return enough and time.monotonic() < self._decided + SOON

    def _drive(self, arrived: Callable[[], bool] = _yes, until: float | None = None) -> bool:
        """Drive in this thread, if no other does just now: take in what was added, and go on until `arrived`
        says so, or it is `until`, or a signal came, whose handler is called on the way out. Say whether it
        could be done."""
        try:
            with self.shield:
                if not self._inline.acquire(blocking=False) and not self._take_over(arrived):
                    return False
                self._leader = threading.get_ident()
                try:
                    if self._inbox:
                        self._turn_over()
                    while not (arrived() or self.end is not None or self.shield.noted):
                        if not self._sleep_as_leader(until):
                            break
                        self._turn_over(arrived)
                finally:
                    self._resign()
        except RecursionError:  # there was no room left to begin
            if self.threadless and arrived is not _yes:
                raise
            return False
        return True

    def _take_over(self, arrived: Callable[[], bool]) -> bool:
        """Get the lock, for one who wants to wait, from the driver's thread, which never sleeps with it."""
        if arrived is _yes:
            return False
        holder = self._leader  # None: it changes hands just now
        if holder == threading.get_ident():
            raise SchedulerError(_AMID)  # else it would wait for ever, for itself
        thread = self._thread
        return thread is not None and holder in (None, thread.ident) and self._inline.acquire(timeout=A_TURN)

    def _waited_to_lead(self, until: float | None) -> bool:
        """Where there is no thread to do so after whoever leads, wait until he has what he waits for."""
        left = max(0.0, (until or math.inf) - time.monotonic())
        if self.threadless and self._inline.acquire(timeout=min(left, LONGEST_WAIT)):
            self._inline.release()
        return self.threadless

    def _sleep_as_leader(self, until: float | None) -> bool:
        """Until something happens, or has to. False: it is `until`."""
        now = time.monotonic()
        if until is not None and now >= until:
            return False
        patience = sooner(sooner(LOOK_EVERY, self._due(), now), until, now)
        self._leader_sleeps = True
        try:
            self.backend.block(patience, leading=True)
        except Exception as error:
            self.end = self.end or loop_broke(error)
        self._leader_sleeps = False
        return True

    def _resign(self) -> None:
        """Let another drive; and see to it that the driver's thread knows of what is left to it."""
        self._leader_sleeps, self._leader = False, None
        try:
            due = self._due()
            if self.end is not None or (due is not None and due < self._sleeps_until):
                self.backend.wake()
            self.backend.pass_on()
        finally:
            self._inline.release()

    def _turn_over(self, arrived: Callable[[], bool] = _no) -> None:
        """Take in what there is until there is nothing more, or what is waited for has come. For whoever has
        the lock."""
        try:
            while self.end is None:
                facts = [] if self._inbox else self.backend.wait(0)
                if not facts and not self._inbox and self._patience() != 0:
                    break
                orders = self._decide(facts)
                if arrived() and not self._inbox and all(type(order) in _FOR_HERE for order in orders):
                    break  # whoever drives next looks for more
        except BaseException as error:
            self.end = self.end or loop_broke(error)

    # ---- the loop --------------------------------------------------------------------------------

    def _start_thread(self) -> None:
        with self.shield, self._turning:  # a handler that uses us would wait for the thread, and that for us
            if self._thread is None and self.end is None and not self.threadless:
                thread = threading.Thread(target=self._loop, name="mrpy-driver", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    if threads_start():  # a Ctrl-C came amid that, and Python makes this of it
                        raise
                    self.threadless = True
                    self.end = None if self.backend.inline else BackendError(_NO_THREAD)
                else:
                    self._thread = thread

    def _loop(self) -> None:
        with self._turning:
            # A Ctrl-C may come when the thread has started and before that is noted, or the other way round.
            # So each notes it himself, and one too many goes.
            if self._thread not in (None, threading.current_thread()):
                return
            self._thread = threading.current_thread()
        try:
            while self.end is None:
                self._turn_and_sleep() if self.backend.inline else self._turn()
        except BaseException as error:
            self.end = self.end or loop_broke(error)
        self._shut(self.end)

    def _turn_and_sleep(self) -> None:
        with self._inline:  # as long as another leads there is nothing to do
            self._leader = threading.get_ident()
            self._turn_over()
            self._leader = None
            due = self._due()
            self._sleeps_until = math.inf if due is None else due
        if self.end is None:
            self.backend.block(sooner(LONGEST_WAIT, due, time.monotonic()))
            self._sleeps_until = 0.0  # it is awake, and will look for itself
            if self._leader_sleeps:
                self.backend.pass_on()

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
        self._decided = now = time.monotonic()
        if self._wake_at is not None and now >= self._wake_at and self.backend.threaded:
            self.backend.listen()  # who was away for long hears first what has come meanwhile
            while heard := self.backend.wait(0):
                facts += heard
        self._deciding = True
        self.scheduler.observer = partial(tell, self.observers) if self.observers else None
        try:
            orders = self.scheduler.handle(facts, now)
            for order in orders:
                self._carry_out(order)
        finally:
            self._deciding = False
        return orders

    def _patience(self) -> float | None:
        return None if self._wake_at is None else sooner(LONGEST_WAIT, self._wake_at, time.monotonic())

    def _due(self) -> float | None:
        """When somebody has to turn, at the latest."""
        theirs = self.backend.due()
        if self._wake_at is None or theirs is None:
            return theirs if self._wake_at is None else self._wake_at
        return min(theirs, self._wake_at)

    def _carry_out(self, order: m.Order) -> None:
        if type(order) is m.Start:  # the common ones first; a match statement takes each three times as long
            self.backend.start(order)
        elif type(order) is m.Report:
            self._report(order)
        elif type(order) is m.Release:
            self.backend.release(order.key)
        elif type(order) is m.Stop:
            self.backend.stop(order.key, order.attempt)
        elif type(order) is m.WakeAt:
            self._wake_at = order.time

    def _report(self, order: m.Report) -> None:
        receiver, keep = self._receivers.pop(order.key, _TOLD)
        key, state, failure, seconds, pickling = order
        value = self.backend.fetch(key) if state is State.DONE else None
        nbytes, note = (value.nbytes, value.note) if value is not None else (0, None)
        receiver(Delivery(key, state, failure, seconds, None if keep else value, pickling, nbytes, note))

    def _shut(self, why: MrpyError) -> None:
        with self._inline, self._turning:  # who leads has been woken, and gives it up
            try:
                self.backend.close()
            finally:
                self._give_up(why)

    def _give_up(self, why: MrpyError) -> None:
        failure = of(why)
        while self._receivers:
            try:
                key, (receiver, _) = self._receivers.popitem()
            except KeyError:  # another thread took the last one
                return
            receiver(Delivery(key, State.FAILED, failure, 0.0, None))

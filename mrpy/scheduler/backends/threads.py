"""Threads of this process: for work that waits, or that leaves the interpreter lock to others.

    driver's thread                              worker threads
      start ──> a Lane's box (SimpleQueue) ──────> perform
      wait  <── facts (Inbox) <─────────────────── Succeeded / Failed / Began

Python threads cannot be killed. A task that is stopped gets an exception thrown into it, which ends
pure-Python loops at once; whether or not that works, its lane is given up - the thread ends with its
task and nobody listens to it any more - and a new lane takes its place.

A task that waits for the result of another gives its slot away meanwhile: else all lanes could wait for
tasks that wait for a lane. A task may also wait for a thread of the user's own that runs a loop here. Of that
we see nothing: neither that it waits nor who started the thread. So every thread that has tasks here has one
of them running at any time, be it beyond the slots (``Task.waiter``). Then whoever waits moves on, at any
depth, unless two wait for each other; and there are at most as many lanes more as there are such threads.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from mrpy.errors import BackendError
from mrpy.inside import Place, inside
from mrpy.scheduler import policy, rests
from mrpy.scheduler.backends.alarm import SOON, throws_into
from mrpy.scheduler.backends.base import Backend, Value
from mrpy.scheduler.backends.memory import Store
from mrpy.scheduler.calls import Call, TaskStopped, Watch, perform
from mrpy.scheduler.failure import At, capture, stack_text
from mrpy.scheduler.inbox import Inbox
from mrpy.scheduler.messages import Began, Fact, Failed, Key, Slots, Start, Stopped, Succeeded
from mrpy.scoped import current_frames


class _GivesWay(NamedTuple):
    """The task lets so many more run; with -1 it is back."""

    key: Key
    attempt: int
    slots: int


class _Lane:
    """A thread, its box of work, and what it works on. Only the driver's thread changes `order` and the like.

    ``waits``   how many slots its task gave away, while it waits for others
    """

    def __init__(self, number: int, outcome: Inbox[Any]) -> None:
        self.box: SimpleQueue[tuple[Start, list[Any]] | None] = SimpleQueue()
        self.order: Start | None = None
        self.waits = 0
        self.thread = threading.Thread(
            target=_serve, args=(self, outcome), name=f"mrpy-worker-{number}", daemon=True
        )
        self.thread.start()

    def stack(self) -> str:
        """Where it is in the user's code."""
        frame = current_frames().get(self.thread.ident or 0)
        return stack_text(traceback.extract_stack(frame)) if frame is not None else ""

    def ends_now(self) -> bool:
        """Whether it could be told to end, whatever it does."""
        if self.thread.ident is not None and not throws_into(self.thread.ident, TaskStopped):
            return False
        self.box.put(None)  # not before: when the lane has ended, another thread may have its number
        return True

    def end(self) -> None:
        """Tell it to, as soon as that can be."""
        while not self.ends_now():
            time.sleep(SOON)


class ThreadsBackend(Backend):
    """As many tasks at once as `workers`, all in this process."""

    name = "threads"
    remote = False
    elastic = True

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._store = Store()
        self._outcome: Inbox[Any] = Inbox()
        self._facts: list[Fact] = [Slots(workers)]
        self._idle: list[_Lane] = []
        self._busy: dict[Key, _Lane] = {}
        self._queued: dict[Key, tuple[Start, list[Any]]] = {}  # where no lane is free, and no more can be had
        self._made = 0
        self._waiting = 0  # tasks that wait for others, and gave their slots away
        with suppress(BackendError):  # Python may end before the driver's thread begins
            self._idle.append(self._new_lane())

    def start(self, order: Start) -> None:
        try:
            inputs = self._store.inputs(order.task.inputs)
        except Exception as error:
            self._failed(order, error)
        else:
            self._hand(order, inputs)

    def _hand(self, order: Start, inputs: list[Any]) -> None:
        """To a lane. Where none is free, and no thread to be had, it waits for one that ends its task."""
        try:
            lane = self._idle.pop() if self._idle else self._new_lane()
        except BackendError as error:
            if len(self._busy) > self._waiting:
                self._queued[order.task.key] = order, inputs
            else:
                self._failed(order, error)
            return
        lane.order = order
        self._busy[order.task.key] = lane
        lane.box.put((order, inputs))

    def _hand_queued(self) -> None:
        if self._queued:
            queued, self._queued = self._queued, {}
            for order, inputs in queued.values():
                self._hand(order, inputs)

    def _failed(self, order: Start, error: Exception) -> None:
        self._facts.append(Failed(order.task.key, order.attempt, capture(error, travels=False)))

    def stop(self, key: Key, attempt: int) -> None:
        lane = self._busy.get(key)
        if lane is not None and lane.order is not None and lane.order.attempt == attempt:
            trace = lane.stack()
            self._give_up(key)
            self._facts.append(Stopped(key, attempt, trace))
            self._hand_queued()
        elif key in self._queued and self._queued[key][0].attempt == attempt:
            del self._queued[key]
            self._facts.append(Stopped(key, attempt, ""))

    def ask_back(self, key: Key) -> bool:
        lane = self._busy.get(key)
        if lane is None or len(self._busy) >= self.workers + self._waiting:
            return False
        rests.ask(lane.thread.ident)
        return True

    def runs_here(self, key: Key) -> bool:
        lane = self._busy.get(key)
        return lane is not None and lane.thread.ident == threading.get_ident()

    def wait(self, timeout: float | None) -> list[Fact]:
        if not self._facts:
            self._take(timeout)
        while self._outcome:
            self._take(0)
        facts, self._facts = self._facts, []
        return facts

    def wake(self) -> None:
        self._outcome.put(None)

    def fetch(self, key: Key) -> Value:
        return self._store.fetch(key)

    def release(self, key: Key) -> None:
        self._store.release(key)

    def close(self) -> None:
        self._queued.clear()
        for key in list(self._busy):
            self._give_up(key)
        idle, self._idle = self._idle, []
        for lane in idle:
            lane.box.put(None)
        for lane in idle:
            lane.thread.join(1.0)  # they wait at their box, so this is quick
        self._store = Store()

    def _give_up(self, key: Key) -> None:
        lane = self._busy.pop(key)
        self._is_through(lane)
        if not lane.ends_now():
            with suppress(RuntimeError):  # no thread can be started: it goes on to its end
                threading.Thread(target=lane.end, name="mrpy-end", daemon=True).start()

    def _is_through(self, lane: _Lane) -> None:
        lane.order = None
        if lane.waits:  # it never said that it is back: what ended it, or a run in it, came just before that
            self._waits(lane, -lane.waits)

    def _waits(self, lane: _Lane, change: int) -> None:
        """So many tasks more wait there, and others run meanwhile."""
        lane.waits += change
        self._waiting += change
        self._facts.append(Slots(self.workers + self._waiting))

    def _new_lane(self) -> _Lane:
        self._made += 1
        try:
            return _Lane(self._made, self._outcome)
        except RuntimeError as error:  # there are too many, or Python ends
            raise BackendError(f"the task could not be handed to a thread: {error}") from error

    def _take(self, timeout: float | None) -> None:
        """Take in one message of a lane, if there is one in time."""
        try:
            message = self._outcome.get(timeout)
        except Empty:
            return
        if message is None:
            return
        lane, fact, value = message
        order = lane.order
        if order is None or (fact.key, fact.attempt) != (order.task.key, order.attempt):
            return  # of a lane that was given up, or a thread that has outlived the task it worked for
        if isinstance(fact, _GivesWay):
            self._waits(lane, fact.slots)
            self._hand_queued()
            return
        if not isinstance(fact, Began):
            self._is_through(lane)
            del self._busy[fact.key]
            self._idle.append(lane)
            if isinstance(fact, Succeeded):
                self._store.put(fact.key, value)
        self._facts.append(fact)
        self._hand_queued()


def _serve(lane: _Lane, outcome: Inbox[Any]) -> None:
    """The life of a worker thread."""
    try:
        while (work := lane.box.get()) is not None:
            order, inputs = work
            fact, value = _run(lane, order, inputs, outcome)
            del work, inputs
            outcome.put((lane, fact, value))
            del value, fact, order  # hold nothing of the user's while waiting
    except TaskStopped:
        return  # it came too late, when the task was already through


def _run(lane: _Lane, order: Start, inputs: list[Any], outcome: Inbox[Any]) -> tuple[Fact, Any]:
    task, attempt = order.task, order.attempt
    call: Call = task.call
    key = task.key  # and not the task, which is the user's: who outlives it may have this
    inside.give_way = lambda slots: outcome.put((lane, _GivesWay(key, attempt, slots), None))
    inside.waiters = [0]  # the task before may have been struck as it began to wait, or ceased to
    announce: Callable[[At | None], None] | None = None
    watch = None
    if order.careful and call.code.announce:

        def announce(item: At | None) -> None:
            outcome.put((lane, Began(task.key, attempt, item), None))

        if task.timeout is not None:
            rest = policy.DEFAULT.rest(task.timeout, task.size)
            announce = watch = Watch(announce, task.timeout, rest)

    began = time.perf_counter()
    try:
        value = call.code.context_here().run(
            perform, call.code.function, call.data, inputs, announce, Place.THREAD, call.code.settings
        )
        failure = None
    except BaseException as error:
        failure = capture(error, travels=False)
    if watch is not None and watch.is_late():
        failure = watch.overran()
    if failure is not None:
        return Failed(task.key, attempt, failure), None
    return Succeeded(task.key, attempt, time.perf_counter() - began), value

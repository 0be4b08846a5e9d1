"""Jobs: one consumer's share of a session, with keys and an inbox of its own."""

from __future__ import annotations

import contextlib
import time
from _queue import Empty
from _thread import LockType, allocate_lock
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count
from threading import get_ident

from mrpy.errors import BackendError, Cancelled
from mrpy.inside import LOOK_EVERY, waiting
from mrpy.light import TYPE_CHECKING, Any, R
from mrpy.scheduler.calls import Call
from mrpy.scheduler.driver import Delivery, Driver
from mrpy.scheduler.inbox import Inbox
from mrpy.scheduler.messages import Input, Key, Task
from mrpy.scheduler.said import PATIENCE, Said

if TYPE_CHECKING:
    import asyncio

_job_numbers = count(1)


class Job:
    """One consumer's tasks in a session: add some, take their deliveries, and close."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.number = next(_job_numbers)
        self._inbox: Inbox[Delivery | None] = Inbox()  # None: nobody is to wait any more
        self._numbers = count()
        self._alive: set[Key] = set()  # added, and not yet delivered or, if kept, not yet dropped
        self._closed = False
        self._on_arrival: Callable[[], object] | None = None

    def task(self, call: Call, inputs: Iterable[Input] = (), **settings: Any) -> Task:
        """Make a task of this job. Raises `SerializationError` where its data cannot travel."""
        backend = self.driver.backend
        packed = backend.pack(call)
        if backend.elastic:
            settings["waiter"] = get_ident()
        return Task((self.number, next(self._numbers)), packed, tuple(inputs), **settings)

    def add(self, *tasks: Task) -> None:
        """Have tasks run."""
        self._alive.update(task.key for task in tasks)
        self.driver.add(tasks, self._receive)

    def next(self) -> Delivery:
        """Block until one more task has ended; say how. Raises `Cancelled` after an `interrupt`."""
        delivery = self.next_within(None)
        assert delivery is not None, "there is no end to this patience"
        return delivery

    def next_within(self, patience: float | None) -> Delivery | None:
        """The same; None after so many seconds, where there is a thread to wait for."""
        until = None if patience is None else time.monotonic() + patience
        self.driver.check_owner()
        if not self.driver.backend.threaded:
            self.driver.wait_for(lambda: bool(self._inbox))
        elif not self._inbox:
            self.driver.lead(lambda: bool(self._inbox), until)
        try:
            delivery = waiting(lambda: next_of(self._inbox, until))
        except Empty:
            return None
        self.driver.backend.said.wait()  # what the task has said is seen before its result
        return self._taken(delivery)

    async def next_async(self, patience: float | None) -> Delivery | None:
        """As `next_within`, without blocking the event loop. For backends that have a thread of their own."""
        import asyncio  # heavy, and only for those who run a loop already

        self.driver.check_owner()
        if self.driver.threadless:
            self.driver.lead(lambda: bool(self._inbox))
        if not self._inbox:
            gate = LoopGate()
            self._on_arrival = gate.release
            try:
                if not self._inbox:  # it may have come in between
                    await asyncio.wait((gate.opened,), timeout=patience)
            finally:
                self._on_arrival = None
        try:
            delivery = self._inbox.get(None if patience is None else 0)
        except Empty:
            return None
        await shown(self.driver.backend.said)
        return self._taken(delivery)

    @property
    def arrived(self) -> bool:
        """Whether `next` need not wait."""
        return bool(self._inbox)

    def comes_within(self, seconds: float) -> bool:
        """Whether there is a delivery so soon. It is not taken."""
        until = time.monotonic() + seconds
        if not self.arrived and seconds > 0:
            self.driver.lead(lambda: bool(self._inbox), until)
        if not self.arrived and seconds > 0:
            gate = allocate_lock()  # not an event: a handler may come while its own lock is held
            gate.acquire()
            self._on_arrival = partial(_open, gate)
            try:
                if not self._inbox:  # it may have come in between
                    waiting(lambda: gate.acquire(timeout=max(0.0, until - time.monotonic())))
            finally:
                self._on_arrival = None
        return self.arrived

    def ask_back(self, key: Key) -> bool:
        """See `Backend.ask_back`."""
        return self.driver.backend.ask_back(key)

    def interrupt(self) -> None:
        """For any thread: who waits for a delivery is to give it up."""
        self._receive(None)
        self.driver.backend.wake()

    def load(self, key: Key) -> Any:
        """Open the value of a task of ours that is done and kept: until it is dropped."""
        try:
            return self.driver.backend.fetch(key).load()
        except (KeyError, BackendError):  # it may have gone with the session, even while it came here
            if self.driver.end is None:
                raise
            raise self.driver.end from None

    def drop(self, keys: Iterable[Key]) -> None:
        """These tasks, or their kept values, are no longer wanted."""
        dropped = tuple(keys)
        self._alive.difference_update(dropped)
        self.driver.abandon(dropped)

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Abandon whatever is left. May be called twice."""
        if self._closed:
            return
        self._closed = True
        if self._alive and not self.driver.closed:
            self.driver.abandon(self._alive)
            self._alive = set()

    def _receive(self, delivery: Delivery | None) -> None:
        self._inbox.put(delivery)
        if (on_arrival := self._on_arrival) is not None:
            on_arrival()

    def _taken(self, delivery: Delivery | None) -> Delivery:
        if delivery is None:
            raise Cancelled("the run was cancelled")
        if delivery.value is not None:
            self._alive.discard(delivery.key)  # a failure may be kept, as a value: `close` lets go of it
        return delivery


def _open(gate: LockType) -> None:
    with contextlib.suppress(RuntimeError):  # it is open already
        gate.release()


def next_of(inbox: Inbox[R], until: float | None) -> R:
    """What comes next. Raises `Empty` when it is `until`."""
    while True:
        left = LOOK_EVERY if until is None else max(0.0, until - time.monotonic())
        try:
            return inbox.get(min(left, LOOK_EVERY))
        except Empty:
            if left <= LOOK_EVERY and until is not None:
                raise


class LoopGate:
    """What a coroutine waits for, and another thread opens, as a lock: ``await gate.opened``."""

    def __init__(self) -> None:
        import asyncio

        self._loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = self._loop.create_future()

    def release(self) -> None:
        """Open it, from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits there any more
            self._loop.call_soon_threadsafe(self._open)

    def _open(self) -> None:
        if not self.opened.done():
            self.opened.set_result(None)


async def shown(said: Said) -> None:
    """Wait until all is shown that was said up to now, if that does not stand still, and block nothing."""
    import asyncio

    gate = LoopGate()
    if said.then(gate.release):
        await asyncio.wait((gate.opened,), timeout=PATIENCE)

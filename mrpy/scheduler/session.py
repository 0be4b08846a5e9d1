"""Sessions: a backend with its driver, kept warm; and jobs: one consumer's share of it.

A session may carry any number of jobs at once, from any thread. Each job has keys and an inbox of its
own. The sessions made for verbs that name no session are kept for the life of the process, one per
backend and number of workers, and closed at its end. A forked child starts with none.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections.abc import Callable, Iterable
from itertools import count
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from mrpy.errors import SessionClosed
from mrpy.scheduler.backends import make
from mrpy.scheduler.calls import Call, inside
from mrpy.scheduler.driver import Delivery, Driver
from mrpy.scheduler.messages import Input, Key, Task
from mrpy.scheduler.scheduler import Observer
from mrpy.scheduler.trace import Trace

if TYPE_CHECKING:
    import asyncio

_job_numbers = count(1)


class Session:
    """A backend and its driver. Made at the first use; closed by `close` or the end of the process."""

    def __init__(
        self, backend: str, workers: int, settings: dict[str, Any] | None = None, trace: bool = False
    ) -> None:
        self.trace = Trace() if trace else None
        self.driver = Driver(make(backend, workers, **(settings or {})), self.trace)

    @property
    def workers(self) -> int:
        """How many tasks can run at the same moment."""
        return self.driver.backend.workers

    def job(self) -> Job:
        """Open a share of this session for one consumer."""
        if self.driver.closed:
            raise SessionClosed("this session is closed; open another with mrpy.session(...)")
        return Job(self)

    def observe(self, observer: Observer) -> None:
        """Have `observer` told of every move of every task, in the driver's thread."""
        self.driver.observers.append(observer)

    def unobserve(self, observer: Observer) -> None:
        """The opposite. An observer that is not there is fine: it may have been dropped."""
        if observer in self.driver.observers:
            self.driver.observers.remove(observer)

    def close(self) -> None:
        """Stop the workers. Work that is under way fails with `SessionClosed`."""
        self.driver.close()


class Job:
    """One consumer's tasks in a session: add some, take their deliveries, and close."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.number = next(_job_numbers)
        self._driver = session.driver
        self._inbox: SimpleQueue[Delivery] = SimpleQueue()
        self._numbers = count()
        self._alive: set[Key] = set()  # added, and not yet delivered or, if kept, not yet dropped
        self._closed = False
        self._on_arrival: Callable[[], object] | None = None

    def task(self, call: Call, inputs: Iterable[Input] = (), **settings: Any) -> Task:
        """Make a task of this job. Raises `SerializationError` where its data cannot travel."""
        packed = self._driver.backend.pack(call)
        return Task((self.number, next(self._numbers)), packed, tuple(inputs), **settings)

    def add(self, *tasks: Task) -> None:
        """Have tasks run."""
        self._alive.update(task.key for task in tasks)
        self._driver.add(tasks, self._receive)

    def next(self) -> Delivery:
        """Block until one more task has ended; say how."""
        if not self._driver.backend.threaded:
            self._driver.wait_for(lambda: not self._inbox.empty())
        return self._taken(self._inbox.get())

    async def next_async(self) -> Delivery:
        """As `next`, without blocking the event loop."""
        import asyncio  # heavy, and only for those who run a loop already

        if not self._driver.backend.threaded:
            await asyncio.sleep(0)  # a serial backend works here and now; let the others have a turn
            return self.next()
        if self._inbox.empty():
            loop = asyncio.get_running_loop()
            arrived = loop.create_future()
            self._on_arrival = lambda: loop.call_soon_threadsafe(_settle, arrived)
            try:
                if self._inbox.empty():  # it may have come in between
                    await arrived
            finally:
                self._on_arrival = None
        return self._taken(self._inbox.get())

    def drop(self, keys: Iterable[Key]) -> None:
        """These tasks, or their kept values, are no longer wanted."""
        dropped = tuple(keys)
        self._alive.difference_update(dropped)
        self._driver.abandon(dropped)

    def close(self) -> None:
        """Abandon whatever is left. May be called twice."""
        if self._closed:
            return
        self._closed = True
        if self._alive and not self._driver.closed:
            self._driver.abandon(self._alive)
            self._alive = set()

    def _receive(self, delivery: Delivery) -> None:
        self._inbox.put(delivery)
        if (on_arrival := self._on_arrival) is not None:
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits there any more
                on_arrival()

    def _taken(self, delivery: Delivery) -> Delivery:
        if delivery.value is not None or delivery.failure is not None:
            self._alive.discard(delivery.key)
        return delivery


def _settle(arrived: asyncio.Future[None]) -> None:
    if not arrived.done():
        arrived.set_result(None)


# ---- the sessions of this process ----------------------------------------------------------------

_shared: dict[tuple[str, int], Session] = {}
_lock = threading.Lock()


def shared(backend: str, workers: int) -> Session:
    """The process's own session for this backend, made at the first use. Inside a task it is always a
    new serial one: inner loops share the outer budget by adding nothing to it."""
    if inside.task or backend == "serial":
        return Session("serial", 1)
    with _lock:
        session = _shared.get((backend, workers))
        if session is None or session.driver.closed:
            session = _shared[backend, workers] = Session(backend, workers)
        return session


def close_shared() -> None:
    """Close them all: at the end of the process, or to begin afresh."""
    with _lock:
        sessions = list(_shared.values())
        _shared.clear()
    for session in sessions:
        session.close()


def _forget_after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _shared.clear()


atexit.register(close_shared)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)

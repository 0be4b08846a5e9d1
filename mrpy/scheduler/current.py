"""Which session a run belongs to: the innermost open one, or the process's own for its options."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar
from itertools import count
from weakref import WeakSet

from mrpy.inside import inside
from mrpy.light import R
from mrpy.options import Options
from mrpy.scheduler.job import Job
from mrpy.scheduler.session import Session, shared
from mrpy.scoped import Scoped

SingleCall = tuple[Job, int]
_submits = count()
_open = Scoped("mrpy_session")  # of a session and its options


def opened(session: Session, options: Options) -> AbstractContextManager[None]:
    """For a ``with`` block, runs use `session`, unless they ask for another backend."""
    return _open.set((session, options))


def session_for(options: Options) -> Session:
    """The session in which a run with these options takes place."""
    return opened_for(options) or shared(options.backend, options.workers)


def opened_for(options: Options) -> Session | None:
    """The open one, if it is such a session."""
    current = _open.get()
    if current is not None and not inside.task:
        session: Session
        session, theirs = current
        if (options.backend, options.workers) == (theirs.backend, theirs.workers):
            return session
    return None


def single_call(options: Options) -> SingleCall:
    """The job of a single call, and how many were made before it, in the open session or in this process."""
    return single_call_of(opened_for(options), options)


def single_call_of(session: Session | None, options: Options) -> SingleCall:
    """The same in this session, whichever is open; with None in the process's own."""
    if session is not None:
        return session.singles(), next(session.submits)
    return shared(options.backend, options.workers).singles(), next(_submits)


def job_for(options: Options) -> Job:
    """A job in that session. Closed, at the end of its ``with`` block, it stops whatever is left of it."""
    job = session_for(options).job()
    if (stopper := _stopper.get()) is not None:
        stopper.add(job)
    return job


class Stopper:
    """Ends, from any thread, whatever jobs a context has opened: those who wait for them get `Cancelled`."""

    def __init__(self) -> None:
        self._jobs: WeakSet[Job] = WeakSet()
        self._lock = threading.RLock()  # a signal handler may come
        self.begun = False  # what it stops, as that says itself
        self.stopped = False

    def watch(self) -> None:
        """Have it be of this context."""
        _stopper.set(self)

    def add(self, job: Job) -> None:
        """One more."""
        with self._lock:
            self._jobs.add(job)
            stopped = self.stopped
        if stopped:
            job.interrupt()

    def stop(self) -> None:
        """End them, and all that are opened after this."""
        with self._lock:
            self.stopped = True
            jobs = list(self._jobs)
        for job in jobs:
            job.interrupt()


_stopper: ContextVar[Stopper | None] = ContextVar("mrpy_stopper", default=None)


def next_for_all(items: Iterator[R]) -> R:
    """The next of these. Others have them, too: what is opened for them is not for this context to stop."""
    token = _stopper.set(None)
    try:
        return next(items)
    finally:
        _stopper.reset(token)

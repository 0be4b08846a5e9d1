"""Sessions: a backend with its driver, kept warm.

A session may carry any number of jobs (``job.py``) at once, from any thread. The sessions made for verbs
that name no session are kept for the life of the process, one per backend and number of workers, and
closed at its end. A forked child starts with none.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import warnings
from itertools import count
from weakref import WeakMethod, WeakSet

from mrpy.errors import SerializationError, SessionClosed
from mrpy.inside import inside
from mrpy.light import TYPE_CHECKING, Any
from mrpy.machine import cpu_count
from mrpy.scheduler.aside import threads_start
from mrpy.scheduler.backends import make
from mrpy.scheduler.driver import Driver
from mrpy.scheduler.job import Job
from mrpy.scheduler.unraisable import hear_of

_AS_SERIAL = "Python ends, and nothing can be started on backend={!r} any more: this runs serially instead"

_ONE = "{} call of mrpy.submit had not ended and was stopped with the {} ({})"
_SEVERAL = "{} calls of mrpy.submit had not ended and were stopped with the {} (the first: {})"
_LEFT = ": wait for them (mrpy.wait, .result()), or cancel() them; an mrpy.Executor waits by itself"


class Session:
    """A backend and its driver. Made at the first use; closed by `close` or the end of the process."""

    _for_one = False  # job, which has its driver

    def __init__(self, backend: str, workers: int, settings: dict[str, Any] | None = None) -> None:
        if not starts(backend):
            warnings.warn(_AS_SERIAL.format(backend), RuntimeWarning, stacklevel=2)
            backend, settings = "serial", None
        self.submits = count()  # numbers its single calls, for their random numbers
        self.driver = Driver(make(backend, workers, **(settings or {})))
        self._singles = Job(self.driver)
        self._of_jobs = WeakSet[Driver]()  # those of them that have their own
        self.driver.backend.end_in_order = WeakMethod(self.close_at_exit)

    @property
    def workers(self) -> int:
        """How many tasks can run at the same moment."""
        return self.driver.backend.workers

    def job(self) -> Job:
        """Open a share of this session for one consumer."""
        self._check_open()
        hear_of()
        own = not (self.driver.backend.threaded or self._for_one)
        return Job(self._driver_of_its_own() if own else self.driver)

    def singles(self) -> Job:
        """The share of all its single calls. Each of them looks after itself."""
        self._check_open()
        hear_of()
        return self._singles if self.driver.backend.threaded else self.job()

    def _driver_of_its_own(self) -> Driver:
        """Who waits here runs what he waits for. Others would wait for that, and it may wait for them."""
        driver = Driver(make("serial", 1))
        driver.observers = self.driver.observers
        self._of_jobs.add(driver)
        return driver

    def _check_open(self) -> None:
        if self.driver.closed:
            raise SessionClosed("this session is closed; open another with mrpy.session(...)")

    if not TYPE_CHECKING:  # type checkers would take any name for one of its own

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(not_of_session(name))

    def __reduce__(self) -> Any:
        raise stays_here()

    def close(self, *, hurry: bool = False) -> None:
        """Stop the workers. Work that is under way fails with `SessionClosed`. ``hurry``: without waiting for
        jobs to be torn down; so does Ctrl-C."""
        if hurry and not self.driver.closed:
            self.driver.backend.hurry()
        try:
            self._close_all()
        except KeyboardInterrupt:  # it may have come before the driver was told
            self.driver.backend.hurry()
            self._close_all()
            raise

    def close_at_exit(self) -> None:
        """At the end of the process: in a hurry, if a Ctrl-C has ended the program."""
        _hush()
        _close_at_exit([self])

    def left(self) -> list[str]:
        """The names of its single calls that are under way while nobody has said that he waits for them."""
        if os.getpid() != self.driver._pid:  # they go on in the process that has forked this one
            return []
        told: Any = self.driver._receivers.copy()
        singles = [receiver for key, (receiver, _) in told.items() if key[0] == self._singles.number]
        names = (receiver.__self__._left() for receiver in singles)
        return [name for name in names if name is not None]

    def _close_all(self) -> None:
        self.driver.close()
        for driver in list(self._of_jobs):
            driver.close()


def not_of_session(name: str) -> str:
    """What to say to somebody who asked a session for `name`."""
    return (
        f"a session has no attribute {name!r}: what runs in its block uses it. Write "
        "`with mrpy.session(...):`, and mrpy.pmap(...) inside"
    )


def stays_here() -> SerializationError:
    """What is wrong where an open session is to be pickled."""
    return SerializationError(
        "a session that is open stays in its own process. What runs in its block uses it, and need not hold "
        "it: keep it outside of what is sent, or leave it out in __getstate__"
    )


def starts(backend: str) -> bool:
    """Whether what runs there can be started. When the main thread has ended (in functions of `atexit`, and
    in threads that outlive it) Python 3.12 starts no thread, and no Python takes calls for a pool of threads,
    as Dask has. Processes do without: there whoever waits can drive; and Dask, once it has started."""
    # `main_thread().is_alive()` must not be asked: a Ctrl-C that comes amid that makes `threading` think, up
    # to 3.12, that the main thread has ended. Where the flag has another name this is found out by failing.
    if not getattr(threading, "_SHUTTING_DOWN", False) or backend not in ("threads", "dask"):
        return True
    return backend == "threads" and threads_start()


# ---- the sessions of this process ----------------------------------------------------------------

_shared: dict[tuple[str, int], Session] = {}
_lock = threading.RLock()  # a signal handler, or a finalizer, may come amid what is done with it


def shared(backend: str, workers: int | None) -> Session:
    """The process's own session for this backend, made at the first use. Inside a task it is always a
    new serial one: inner loops share the outer budget by adding nothing to it. ``workers``: see `Options`."""
    if inside.task or backend == "serial":
        once = Session("serial", 1)
        once._for_one = True
        return once
    workers = cpu_count() if workers is None else workers
    with _lock:
        session = _found(backend, workers)
        if not (starts(backend) or _has_its_threads(session)):
            return Session(backend, workers)
        if session is None:
            made = Session(backend, workers)
            session = _found(backend, workers)  # a handler that came amid that has made one for itself
            if session is None:
                session = _shared[backend, workers] = made
            else:
                made.close()
        return session


def _has_its_threads(session: Session | None) -> bool:
    """Dask has, once it has run something; what runs on threads may need one more."""
    if session is None or session.driver.backend.name != "dask":
        return False
    return session.driver._thread is not None


def _found(backend: str, workers: int) -> Session | None:
    session = _shared.get((backend, workers))
    return None if session is None or session.driver.closed else session


def close_shared() -> None:
    """Close them all: at the end of the process, or to begin afresh."""
    sessions = []
    with _lock:
        while _shared:
            sessions.append(_shared.popitem()[1])
    _close_at_exit(sessions)


def _close_at_exit(sessions: list[Session]) -> None:
    raised = program_ended_by()
    left = [name for session in sessions if raised is None for name in session.left()]
    for session in sessions:
        session.close(hurry=raised is KeyboardInterrupt)
    warn_of_left(left, "program", stacklevel=99)  # no line of anybody has brought it about


def _close_shared_at_exit() -> None:
    _hush()
    close_shared()


def _hush() -> None:
    """Have threads end in silence that still wait, daemons: nobody is there who would care, and what Python
    prints of them while it goes down is cut off anywhere."""
    hook = threading.excepthook
    threading.excepthook = lambda told: None if told.exc_type is SessionClosed else hook(told)


def program_ended_by() -> type[BaseException] | None:
    """What was raised and has ended the program, if anything was: at a prompt it has ended a line."""
    return None if hasattr(sys, "ps1") else getattr(sys, "last_type", None)


def warn_of_left(names: list[str], ended: str, stacklevel: int = 3) -> None:
    """Say that these calls were stopped with what has ended, if there are any. They would be lost in silence
    where somebody comes from an executor, which waits for its calls."""
    if names:
        told = _ONE if len(names) == 1 else _SEVERAL
        text = told.format(len(names), ended, names[0]) + _LEFT
        warnings.warn(text, RuntimeWarning, stacklevel)


def _forget_after_fork() -> None:
    global _lock
    _lock = threading.RLock()
    _shared.clear()


atexit.register(_close_shared_at_exit)
os.register_at_fork(after_in_child=_forget_after_fork)

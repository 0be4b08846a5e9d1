"""Keeps the time of items that run in the very thread that waits for them: what the serial backend needs.

In the main thread a timer signal interrupts whatever goes on, a system call or a sleep too. In any other
thread, or where that signal is blocked, an exception is thrown in by a watchdog; it arrives with the next
line of Python. Either way it is a `TaskStopped` of this alarm's own, so that of nested runs the right one
takes notice. An item may catch it, or be where nothing may be thrown: then it is raised when the item ends.

There is one timer of this kind, and one handler. An item that sets one of them itself has taken the alarm
away, and is not interrupted any more; the next item has it again.
"""

from __future__ import annotations

import _weakrefset
import signal
import sys
import threading
import time
import weakref
from _thread import LockType, allocate_lock, start_new_thread
from collections.abc import Callable
from types import FrameType

from mrpy.errors import BackendError
from mrpy.scheduler.calls import TaskStopped
from mrpy.scheduler.failure import At
from mrpy.scheduler.policy import LONGEST_WAIT
from mrpy.scoped import current_frames

AGAIN = 0.2  # seconds until it rings once more, should the user's code have caught the first
_IMPORTING, _FINALIZING = "<frozen importlib", {weakref.__file__, _weakrefset.__file__}
THROWN = 1.0  # seconds until somebody else must have thrown it: at the end of Python a thread may not begin
SOON = 0.01  # seconds until it is tried again, where nothing may be thrown just now


def alarm(seconds: float, rest: float) -> Alarm:
    """The alarm that can interrupt this thread."""
    in_main = threading.current_thread() is threading.main_thread()
    if in_main and not _is_blocked() and (_ours or _nobody_uses_it()):
        return _BySignal(seconds, rest)
    return _ByWatchdog(seconds, rest)


class Alarm:
    """For one task, from `set` to `end`: each call of `begin` gives an item `seconds` from now, and `rest` to
    what is no item's.

    ``item``      the one that began last
    ``rings``     the exception that interrupts it
    """

    def __init__(self, seconds: float, rest: float) -> None:
        self.item: At | None = 0
        self.rings: type[TaskStopped] = type("TaskStopped", (TaskStopped,), {})
        self.deadline = float("inf")
        self._seconds, self._rest = seconds, rest
        self.within = len(_frames(sys._getframe()))  # those of whoever runs this task: he may be importing

    def set(self) -> None:
        """The task begins. A signal handler that raises amid that leaves nothing that `end` does not end."""

    def begin(self, item: At | None) -> None:
        """An item begins; or, with None, what comes after the last. Interrupts the one before, should it have
        run over its time and ended all the same."""
        now = time.monotonic()
        if now >= self.deadline:
            raise self.rings
        self.deadline = now + (self._rest if item is None else self._seconds)  # first: it may ring just here
        self.item = item

    def end(self) -> None:
        """The task is over. May be called twice: the alarm may interrupt the first call."""
        self.deadline = float("inf")


# ---- in the main thread ------------------------------------------------------------------------------

_ours: list[_BySignal] = []  # those that are set, of nested runs: the innermost last


class _BySignal(Alarm):
    def set(self) -> None:
        if not _ours:
            signal.signal(signal.SIGALRM, _ring)
        _ours.append(self)

    def begin(self, item: At | None) -> None:
        super().begin(item)
        if _ours == [self]:  # the same as below, in less time: for each item
            seconds = self._rest if item is None else self._seconds
            signal.setitimer(signal.ITIMER_REAL, min(LONGEST_WAIT, max(1e-6, seconds)), AGAIN)
        else:
            _set_timer()

    def end(self) -> None:
        super().end()
        if self in _ours:
            _ours.remove(self)
        _set_timer()
        if not _ours:
            signal.signal(signal.SIGALRM, signal.SIG_IGN)  # an item may have blocked it: one may still come
            signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _set_timer() -> None:
    first = min((each.deadline for each in _ours), default=float("inf"))
    left = min(LONGEST_WAIT, max(1e-6, first - time.monotonic())) if first < float("inf") else 0.0
    signal.setitimer(signal.ITIMER_REAL, left, AGAIN if left else 0.0)


def _ring(signum: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    for each in _ours:  # the outermost first: its end is the end of those within
        if each.deadline <= now:
            if is_closed(frame, each.within):
                signal.setitimer(signal.ITIMER_REAL, SOON, AGAIN)
                return
            raise each.rings
    _set_timer()  # it was the longest wait that was over


def _nobody_uses_it() -> bool:
    return signal.getitimer(signal.ITIMER_REAL)[0] == 0 and signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


def _is_blocked() -> bool:
    return signal.SIGALRM in signal.pthread_sigmask(signal.SIG_BLOCK, ())


# ---- in any other thread -----------------------------------------------------------------------------


class _ByWatchdog(Alarm):
    """What is thrown in may arrive amid any Python, but not amid C. So these are bare locks: a `Condition`
    may stay taken by a thread that is out of it."""

    def __init__(self, seconds: float, rest: float) -> None:
        super().__init__(seconds, rest)
        self._thread = threading.get_ident()
        self._lock = allocate_lock()
        self._changed = allocate_lock()  # opened where the watchdog is to look once more
        self._changed.acquire()
        self._over = self._has_thrown = False

    def set(self) -> None:
        begun = allocate_lock()
        begun.acquire()
        try:  # no `Thread`: a Ctrl-C that comes as it waits for its beginning may break its locks
            start_new_thread(self._watch, (begun,))
            begun.acquire()  # until then what is thrown into this one may go there
        except RuntimeError as error:  # there are too many, or Python ends
            raise BackendError(f"nobody can keep the time of this (timeout=): {error}") from error

    def begin(self, item: At | None) -> None:
        with self._lock:
            before = self.deadline
            super().begin(item)
            if self.deadline < before:  # else it wakes in time, and sees that the deadline moved
                self._wake()

    def end(self) -> None:
        with self._lock:
            super().end()
            self._over = True
            self._wake()
            if self._has_thrown:  # what has not arrived shall not arrive later
                take_back(self._thread)

    def _wake(self) -> None:
        if self._changed.locked():
            self._changed.release()

    def _watch(self, begun: LockType) -> None:
        begun.release()
        while True:
            with self._lock:
                if self._over:
                    return
                left = self.deadline - time.monotonic()
                if left <= 0:
                    thrown = throws_into(self._thread, self.rings, self.within)
                    left = AGAIN if thrown else SOON
                    self._has_thrown = self._has_thrown or thrown
            self._changed.acquire(timeout=min(left, LONGEST_WAIT))


def _frames(frame: FrameType | None) -> list[FrameType]:
    """The frames that have called this one, the outermost first, and it."""
    found = []
    while frame is not None:
        found.append(frame)
        frame = frame.f_back
    return found[::-1]


def is_closed(frame: FrameType | None, within: int = 0) -> bool:
    """Whether nothing may be thrown in there just now, as far as frames deeper than so many say. Where a
    module is imported, an exception out of nothing may leave a lock of the import system taken for good, on
    which all threads would wait then, or a module half made. From a finalizer none comes out."""
    codes = [each.f_code for each in _frames(frame)[within:]]
    files = {code.co_filename for code in codes}
    imports = any(file.startswith(_IMPORTING) for file in files)
    return imports or not _FINALIZING.isdisjoint(files) or any(code.co_name == "__del__" for code in codes)


def throws_into(thread: int, exception: type[BaseException], within: int = 0) -> bool:
    """Throw an exception into a thread, unless that `is_closed` to it just now; say whether it was thrown."""
    return _from_aside(lambda: _throws(thread, exception, within))


def take_back(thread: int) -> None:
    """What was thrown into a thread and has not arrived yet."""
    _from_aside(lambda: _throw(thread, None))


def _throws(thread: int, exception: type[BaseException], within: int) -> bool:
    import ctypes  # noqa: F401 - now: it may give the interpreter lock away, and between these two nobody may

    return not is_closed(current_frames().get(thread), within) and _throw(thread, exception)


def _throw(thread: int, exception: type[BaseException] | None) -> bool:
    import ctypes  # slow to import, and hardly ever needed

    what = None if exception is None else ctypes.py_object(exception)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), what)
    return True


def _from_aside(act: Callable[[], bool]) -> bool:
    """Do that, and have all others go on as if nothing was thrown: whom it is meant for looks again when it
    has the interpreter lock. Before 3.13 all look at each call whether it is for them, until one such
    exception has arrived somewhere: for good, where it was taken back, and as long as the thread is in a
    system call, where it is. That makes calls slower, and on 3.11 one that is traced (by a debugger, a
    profiler, coverage) looks for ever and does nothing else. So one arrives, at once, in a thread that is
    made for it: that is not traced, as this one may be (debuggers put their own in the place of what starts
    threads, so it has to be seen to), and has started no other thread, to which it might go."""
    if sys.version_info >= (3, 13):
        return act()
    said: list[bool] = []
    done = allocate_lock()
    done.acquire()
    try:
        start_new_thread(_act_and_look_no_more, (act, said, done))
        done.acquire(timeout=THROWN)
    except RuntimeError:  # no thread can be started
        return act()
    return said[0] if said else True  # it may still come


class _Here(BaseException):
    """Thrown by a thread into itself."""


def _act_and_look_no_more(act: Callable[[], bool], said: list[bool], done: LockType) -> None:
    import ctypes  # as above

    ctypes.pythonapi.PyEval_SetTrace(None, None)  # `sys.settrace` may be a debugger's, too
    ctypes.pythonapi.PyEval_SetProfile(None, None)
    try:
        said.append(act())
        _throw(threading.get_ident(), _Here)
        _nothing()
    except _Here:
        done.release()


def _nothing() -> None:
    """What was thrown arrives when it begins."""

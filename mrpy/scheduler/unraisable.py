"""What is raised in a finalizer, where Python has nobody to raise it to: it says that it is ignored.

A Ctrl-C may come there, as between any two instructions: while a result is freed, a generator is closed by
the garbage collector, or the lock of a module is freed that was imported. The program would go on as if
nobody had pressed. So it is pressed once more, a moment later. And what stops a task on threads may arrive in
a finalizer that runs there. Of that nothing is said: nobody listens to this task any more.

This is the first that is imported when something of mrpy is used: so it imports nothing that takes time.
"""

from __future__ import annotations

import sys
import time
from _thread import get_ident, start_new_thread
from collections.abc import Callable

from mrpy.light import Any, signal

A_MOMENT = 0.001  # seconds, in which a finalizer that was interrupted is left


class _Hook:
    """Instead of `sys.unraisablehook`, and before it."""

    def __init__(self, before: Callable[[Any], object]) -> None:
        self._before = before

    def __call__(self, told: Any) -> None:
        kind = told.exc_type or Exception  # it may be called by hand
        if sys is None:  # at the very end of Python modules are emptied, and this one was
            self._before(told)
        elif issubclass(kind, KeyboardInterrupt) and _in_main() and _is_heard():
            start_new_thread(_press, (get_ident(),))
        elif not issubclass(kind, _of("mrpy.scheduler.calls", "TaskStopped") or ()):
            self._before(told)


def hear_of() -> None:
    """From now on. May be called any number of times: others set and reset this hook too."""
    if type(sys.unraisablehook) is not _Hook:
        sys.unraisablehook = _Hook(sys.unraisablehook)


def _in_main() -> bool:
    main_thread = _of("threading", "main_thread")  # without it there is but one
    return main_thread is None or get_ident() == main_thread().ident


def _of(module: str, name: str) -> Any:
    """This, or None where nobody has imported it: amid an import is no time to do so."""
    return getattr(sys.modules.get(module), name, None)


def _is_heard() -> bool:
    """Whether Python would hear one: at its end it would be killed."""
    return not sys.is_finalizing() and callable(signal.getsignal(signal.SIGINT))


def _press(main: int) -> None:
    time.sleep(A_MOMENT)
    if _is_heard():
        signal.pthread_kill(main, signal.SIGINT)

"""Keeps signal handlers of the user from breaking into what must not be left half done.

Python runs signal handlers in the main thread, between any two instructions, and a handler may raise: Ctrl-C
does. Where the scheduler's loop is turned in the main thread that would leave its state in pieces. So while
it is, the handlers that may raise are replaced by one that takes note, and what was noted is raised again
when the turn is over. That is far less than a millisecond: whatever blocks is done outside.
"""

from __future__ import annotations

# What `signal` wraps, and is ten times as fast without: this goes around every turn.
import _signal as signal  # type: ignore[import-not-found]
import threading
from types import FrameType

_MAY_RAISE = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGALRM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGVTALRM", "SIGPROF")
    if hasattr(signal, name)
]
_DEPTH = 40  # calls; a turn takes about half of them


class Shield:
    """To be used in a ``with`` statement, in any thread; only in the main one is there anything to do."""

    def __init__(self) -> None:
        self._replaced: list[tuple[int, object]] = []
        self._noted: list[int] = []

    def __enter__(self) -> None:
        _needs(_DEPTH)  # a RecursionError comes now, or not at all
        if not _in_main():
            return
        try:
            for number in _MAY_RAISE:
                handler = signal.getsignal(number)
                if callable(handler):
                    self._replaced.append((number, handler))
                    signal.signal(number, self._note)
        except BaseException:  # of a handler that was not replaced yet
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        if not _in_main():
            return
        try:
            while self._replaced:
                number, handler = self._replaced[-1]
                signal.signal(number, handler)
                self._replaced.pop()
        except BaseException:  # of a handler that is back; the others have to be, too
            self.__exit__()
            raise
        noted, self._noted = self._noted, []
        for number in noted:
            signal.raise_signal(number)

    def _note(self, number: int, _: FrameType | None) -> None:
        self._noted.append(number)


def _in_main() -> bool:
    return threading.get_ident() == threading.main_thread().ident


def _needs(depth: int) -> None:
    """Raises RecursionError where so many calls do not fit on the stack any more."""
    if depth:
        _needs(depth - 1)

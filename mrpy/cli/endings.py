"""SIGTERM and SIGHUP: what is prepared beside a file, and what lies on disk, has to go before they end the
process. So they are a Ctrl-C to all that runs, and end it behind that."""

from __future__ import annotations

import atexit
import signal
import threading

_ENDINGS = (signal.SIGTERM, signal.SIGHUP)
_told: list[int] = []


def hear_of() -> None:
    """From now on, and before anything else that is to be done at the end."""
    atexit.register(_end)
    if threading.current_thread() is threading.main_thread():
        for number in _ENDINGS:
            if signal.getsignal(number) is signal.SIG_DFL:  # not behind `nohup`
                signal.signal(number, _hear)


def _hear(number: int, _: object) -> None:
    signal.signal(number, signal.SIG_DFL)  # the next one ends it at once
    _told.append(number)
    raise KeyboardInterrupt


def _end() -> None:
    for number in _told:
        signal.raise_signal(number)

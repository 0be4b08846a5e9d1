"""SIGTERM and SIGHUP: what is prepared beside a file, and what lies on disk, has to go before they end the
process. So they are a Ctrl-C to all that runs, and end it behind that; a second one ends it at once."""

from __future__ import annotations

import atexit
import os
import signal
import threading

_ENDINGS = (signal.SIGTERM, signal.SIGHUP)
_told: list[int] = []
_mask = threading.local()  # of signals, of a thread that forks


def take_as_ctrl_c() -> None:
    """From now on, and before anything else that is to be done at the end."""
    atexit.register(_end)
    os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=_leave)
    if threading.current_thread() is threading.main_thread():
        for number in _ENDINGS:
            if signal.getsignal(number) is signal.SIG_DFL:  # not behind `nohup`
                signal.signal(number, _hear)


def _leave() -> None:
    """A child that a job has forked has nothing of ours: a pool of `multiprocessing` ends its own so."""
    _told.clear()
    for number in _ENDINGS:
        if signal.getsignal(number) is _hear:
            signal.signal(number, signal.SIG_DFL)
    _let_go()


def _hold() -> None:
    """What comes before a child has left would be lost: it is noted for a handler that is not there then."""
    _mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)


def _let_go() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask.before)


def _hear(number: int, _: object) -> None:
    signal.signal(number, signal.SIG_DFL)  # the next one ends it at once
    _told.append(number)
    raise KeyboardInterrupt


def _end() -> None:
    for number in _told:
        signal.raise_signal(number)

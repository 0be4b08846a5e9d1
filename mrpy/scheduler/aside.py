"""What is called aside: in a thread of its own, so that it holds up nobody, and one call after the other.

There may be no thread to be had: 3.12 starts none when the main thread has ended. Then whoever waits for a
result, or closes the session, calls it when he holds nothing of ours.
"""

from __future__ import annotations

import os
import threading
from _queue import Empty, SimpleQueue
from _thread import RLock, allocate_lock, get_ident, start_new_thread
from collections.abc import Callable

from mrpy.inside import LOOK_EVERY
from mrpy.light import Any
from mrpy.scheduler.shield import Shield

LINGER = 0.05  # seconds that the thread waits for more to call
A_MOMENT = 0.2  # seconds that who calls something himself waits for what is being called

_generation = 0  # of processes: a forked child has none of the threads that call something


def threads_start() -> bool:
    """Whether a thread can be started now."""
    try:
        start_new_thread(int, ())
    except RuntimeError:
        return False
    return True


class Aside:
    """What a session has to do aside. For any thread."""

    def __init__(self, shield: Shield) -> None:
        self.callbacks = Lane()  # of users
        self.settling = Lane()  # of futures, which do not wait for these
        self._shield = shield

    def catch_up(self) -> None:
        """Do it here, where no thread could be started for it."""
        if self.settling.threadless or self.callbacks.threadless:
            with self._shield:  # whoever has taken a future to settle it has to do so
                self.settling.catch_up()
            self.callbacks.catch_up()


class Lane:
    """Calls what it is given, one after the other, in that order."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._serving = allocate_lock()  # whoever has it calls what waits
        self._turn: Any = RLock()  # whoever has it is calling something
        self._is_slow = False  # what is being called: somebody has waited in vain
        self._generation = _generation
        self.threadless = False  # no thread could be started

    @property
    def amid(self) -> bool:
        """Whether it is what is called here that asks."""
        return bool(self._turn._is_owned())

    def call(self, what: Callable[[], object]) -> None:
        """Have it called, behind what was given before. What it raises is shown."""
        self._waiting.put(what)
        if not self._serving.locked():  # else who has it looks once more when he has given it back
            try:
                threading.Thread(target=self._serve, daemon=True, name="mrpy-callback").start()
            except RuntimeError:
                self.threadless = True

    def now(self, what: Callable[[], object]) -> None:
        """Call it here, as soon as nothing else is being called; if that takes long, have it called behind
        that, which may wait for a lock that is held here."""
        if self.amid or self._generation != _generation:
            what()
            return
        try:
            if self._turn.acquire(timeout=0 if self._is_slow else A_MOMENT):
                what()
            else:
                self._is_slow = True
                self.call(what)
        finally:
            try:
                self._end_turn()
            finally:  # a handler may have raised amid that
                self._end_turn()

    def wait(self) -> None:
        """Wait until all is called that was given up to now; but not where it would wait for itself."""
        there = not self._waiting.empty() or self._serving.locked()  # in this order
        if not there or self.amid or self._generation != _generation:
            return
        gate = allocate_lock()
        gate.acquire()
        self.call(gate.release)
        self.catch_up()
        while not gate.acquire(timeout=LOOK_EVERY):
            self.catch_up()

    def catch_up(self) -> None:
        """Call here what waits, where no thread could be started to do so."""
        if self.threadless:
            self._serve(patience=0)

    def _serve(self, patience: float = LINGER) -> None:
        """Unless another does."""
        while not self._waiting.empty() and self._serving.acquire(blocking=False):
            _busy.add(self)
            try:
                while True:
                    self._call(self._waiting.get(timeout=patience))
            except Empty:
                pass
            finally:
                _busy.discard(self)
                self._serving.release()

    def _call(self, what: Callable[[], object]) -> None:
        with self._turn:
            self._is_slow = False
            try:
                what()
            except BaseException as error:
                if not isinstance(error, Exception) and get_ident() == threading.main_thread().ident:
                    raise  # a Ctrl-C, say, where no thread could be started
                _show(error)

    def _end_turn(self) -> None:
        if self.amid:
            self._turn.release()


def _show(error: BaseException) -> None:
    """As of a thread that it has ended."""
    told = type(error), error, error.__traceback__, threading.current_thread()
    threading.excepthook(threading.ExceptHookArgs(told))


_busy: set[Lane] = set()  # those that call something


def finish_all() -> None:
    """At the end of the program wait for those whose session nobody has closed."""
    for lane in list(_busy):
        lane.wait()


def _note_fork() -> None:
    global _generation
    _generation += 1


os.register_at_fork(after_in_child=_note_fork)

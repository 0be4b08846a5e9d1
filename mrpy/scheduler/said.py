"""What tasks have said on the way, and nobody has seen yet.

To show it is to call what is the user's: a stream, the handlers of a logger. That may take long, or wait for
a lock that somebody holds who waits for a result. So a thread of its own does it, which holds nothing of ours
and ends when all is shown. Whoever takes a result waits for what was said before it, as long as that goes on.
"""

from __future__ import annotations

import atexit
import math
import os
import time
from _thread import LockType, allocate_lock, get_ident, start_new_thread
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from weakref import WeakSet

from mrpy.scheduler.shield import Shield

PATIENCE = 1.0  # seconds without anything shown, after which nobody waits for what is
A_MOMENT = 0.2  # seconds
MUCH = 1 << 16  # bytes that wait, before who says more has to wait too, as long as it goes on
TOO_MUCH = 1 << 26  # bytes, before he has to wait in any case
A_CALL = 256  # bytes of one, about, without its text

_all: WeakSet[Said] = WeakSet()


class Said:
    """Calls that show it, in their order. `show` is for whoever drives a session, the rest for any thread."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[[], object], int]] = deque()
        self._shield = Shield()
        self._turn = allocate_lock()  # whoever has it shows what there is
        self._shower: int | None = None
        self._said = self._shown = 0  # bytes
        self._stands_still = False  # somebody has waited in vain
        self._next: LockType | None = None  # to be opened when one more is shown
        self._given_up = False
        _all.add(self)

    def show(self, call: Callable[[], object], nbytes: int = 0) -> None:
        """Have this called behind what was said before."""
        self._add(call, nbytes)
        if self._said - self._shown > MUCH and self._shower != get_ident():
            self._wait_for_room()

    def wait(self, until: float = math.inf) -> bool:
        """Wait until all is shown that was said up to now, or it is `until`, or nothing goes on. Say whether
        it is shown."""
        if self._shower is None and not self._waiting:  # most tasks say nothing
            return True
        if not self._is_worth_waiting():
            return not self._stands_still
        gate = allocate_lock()
        gate.acquire()
        with self._shield:
            self._add(gate.release, 0)
        while not self._stands_still:
            shown, left = self._shown, until - time.monotonic()
            if gate.acquire(timeout=max(0.0, min(PATIENCE, left))):
                return True
            if left <= PATIENCE:
                return False
            self._stands_still = self._shown == shown
        return False

    def then(self, call: Callable[[], object]) -> bool:
        """Have this called when all is shown that was said up to now. False: there is nothing to wait for."""
        if not self._is_worth_waiting():
            return False
        with self._shield:
            self._add(call, 0)
        return True

    def end(self, *, hurried: bool) -> None:
        """As `wait`, where nothing more is said; who is `hurried` waits for a moment only. That it stood
        still is no reason not to: who held it up may just have let go."""
        self._stands_still = False
        self._given_up = not self.wait(time.monotonic() + A_MOMENT if hurried else math.inf) and hurried

    def finish(self) -> None:
        """At the end of the program: wait for all of it, unless its end was hurried."""
        while not (self._given_up or self.wait()):
            self._stands_still = False

    def _is_worth_waiting(self) -> bool:
        there = bool(self._waiting) or self._shower is not None
        return there and not self._stands_still and self._shower != get_ident()

    def _wait_for_room(self) -> None:
        """Until one more is shown; not for ever, if a lock may be what that waits for."""
        gate = allocate_lock()
        gate.acquire()
        self._next = gate
        left = self._said - self._shown  # not before: what is shown from here on opens the gate
        if left > TOO_MUCH:
            gate.acquire()
        elif left > MUCH and not self._stands_still:
            self._stands_still = not gate.acquire(timeout=PATIENCE)

    def _add(self, call: Callable[[], object], nbytes: int) -> None:
        self._waiting.append((call, nbytes))
        self._said += nbytes + A_CALL
        if not self._turn.acquire(blocking=False):  # who has it looks once more when he has given it back
            return
        try:
            start_new_thread(self._show_all, ())
        except RuntimeError:  # there is none to be had
            self._show_all()

    def _show_all(self) -> None:
        while True:
            self._shower = get_ident()
            while self._waiting:
                call, nbytes = self._waiting.popleft()
                with suppress(BaseException):  # whatever a stream may do: the next one may be better
                    call()
                self._shown += nbytes + A_CALL
                self._stands_still = False
                gate, self._next = self._next, None
                if gate is not None:
                    gate.release()
            self._shower = None
            self._turn.release()
            if not self._waiting or not self._turn.acquire(blocking=False):
                return


os.register_at_fork(after_in_child=_all.clear)  # there is no thread that shows anything


@atexit.register
def _finish() -> None:
    """After the sessions, since this was registered first. What is not shown now never will be."""
    for said in list(_all):
        said.finish()

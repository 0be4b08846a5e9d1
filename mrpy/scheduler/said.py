"""What tasks have said on the way, and nobody has seen yet.

To show it is to call what is the user's: a stream, the handlers of a logger. That may take long, or wait for
a lock that somebody holds who waits for a result. So a thread of its own does it, which holds nothing of ours
and ends when all is shown; whoever takes a result waits a little for what was said before it.
"""

from __future__ import annotations

import math
import time
from _thread import LockType, allocate_lock, get_ident, start_new_thread
from collections import deque
from collections.abc import Callable

from mrpy.scheduler.shield import Shield

PATIENCE = 1.0  # seconds without anything shown, after which nobody waits for what is
A_MOMENT = 0.2  # seconds
MUCH = 1 << 16  # bytes that wait, before who says more has to wait too,
A_WHILE = 0.05  # so many seconds for each, and no more: he holds what others need
A_CALL = 256  # bytes of one, about, without its text


class Said:
    """Calls that show it, in their order. `show` is for whoever drives the session, `wait` for any thread."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[[], object], int]] = deque()
        self._shield = Shield()
        self._turn = allocate_lock()  # whoever has it shows what there is
        self._shower: int | None = None
        self._said = self._shown = 0  # bytes
        self._stands_still = False  # somebody has waited in vain

    def show(self, call: Callable[[], object], nbytes: int = 0) -> None:
        """Have this called behind what was said before."""
        self._add(call, nbytes)
        if self._said - self._shown > MUCH and self._shower != get_ident():
            self._gate().acquire(timeout=A_WHILE)

    def wait(self, until: float = math.inf) -> bool:
        """Wait until all is shown that was said up to now, or it is `until`, or nothing goes on. Say whether
        it is shown."""
        if (not self._waiting and self._shower is None) or self._shower == get_ident():
            return True
        if self._stands_still:
            return False
        gate = self._gate()
        while not self._stands_still:
            shown, left = self._shown, until - time.monotonic()
            if gate.acquire(timeout=max(0.0, min(PATIENCE, left))):
                return True
            if left <= PATIENCE:
                return False
            self._stands_still = self._shown == shown
        return False

    def end(self, *, hurried: bool) -> None:
        """The same where nothing more is said; who is `hurried` waits for a moment only."""
        self.wait(time.monotonic() + A_MOMENT if hurried else math.inf)

    def _gate(self) -> LockType:
        """What is opened when all is shown that was said up to now."""
        gate = allocate_lock()
        gate.acquire()
        with self._shield:
            self._add(gate.release, 0)
        return gate

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
                call()
                self._shown += nbytes + A_CALL
                self._stands_still = False
            self._shower = None
            self._turn.release()
            if not self._waiting or not self._turn.acquire(blocking=False):
                return

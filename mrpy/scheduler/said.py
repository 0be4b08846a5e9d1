"""What tasks have said on the way, and nobody has seen yet.

To show it is to call what is the user's: a stream, the handlers of a logger. That may take long, or wait for
a lock that somebody holds who waits for a result. So a thread of its own does it, which holds nothing of ours
and ends when all is shown; whoever takes a result waits a little for what was said before it.
"""

from __future__ import annotations

import time
from _thread import allocate_lock, get_ident, start_new_thread
from collections import deque
from collections.abc import Callable

from mrpy.scheduler.shield import Shield

PATIENCE = 0.2  # seconds that a result waits
AT_THE_END = 1.0  # seconds that the end of a session waits, as long as nothing is shown meanwhile
MUCH = 1 << 24  # bytes that wait, before who says more has to wait too,
A_WHILE = 0.05  # so many seconds for each
A_CALL = 256  # bytes of one, about, without its text


class Said:
    """Calls that show it, in their order. `show` is for whoever drives the session, `wait` for any thread."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[[], object], int]] = deque()
        self._shield = Shield()
        self._turn = allocate_lock()  # whoever has it shows what there is
        self._shower: int | None = None
        self._said = self._shown = 0  # bytes
        self._takes_long = False  # what is being shown: somebody has waited for it in vain

    def show(self, call: Callable[[], object], nbytes: int = 0) -> None:
        """Have this called behind what was said before."""
        self._waiting.append((call, nbytes))
        self._said += nbytes + A_CALL
        if not self._turn.acquire(blocking=False):  # who has it looks once more when he has given it back
            if self._said - self._shown > MUCH:
                time.sleep(A_WHILE)
            return
        try:
            start_new_thread(self._show_all, ())
        except RuntimeError:  # there is none to be had
            self._show_all()

    def wait(self, patience: float | None = None) -> bool:
        """Wait until all is shown that was said up to now. False: that takes long; or it is known to, where
        nobody says how much patience he has."""
        if (not self._waiting and self._shower is None) or self._shower == get_ident():
            return True
        if patience is None and self._takes_long:
            return False
        gate = allocate_lock()
        gate.acquire()
        with self._shield:
            self.show(gate.release)
        done = gate.acquire(timeout=PATIENCE if patience is None else patience)
        self._takes_long = self._takes_long or not done
        return done

    def end(self, *, hurried: bool = False) -> None:
        """Wait for all of it, as long as it goes on; who is `hurried` waits for a moment only."""
        if hurried:
            self.wait()
            return
        before = -1
        while before < self._shown:
            before = self._shown
            if self.wait(AT_THE_END):
                return

    def _show_all(self) -> None:
        while True:
            self._shower = get_ident()
            while self._waiting:
                call, nbytes = self._waiting.popleft()
                call()
                self._shown += nbytes + A_CALL
                self._takes_long = False
            self._shower = None
            self._turn.release()
            if not self._waiting or not self._turn.acquire(blocking=False):
                return

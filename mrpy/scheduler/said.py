"""What tasks have said on the way, and nobody has seen yet.

To show it is to call what is the user's: a stream, the handlers of a logger. That may take long, or wait for
a lock that somebody holds who waits for a result. So it is done by who holds nothing of ours: whoever comes
for a result does it first, and else the driver's thread, between two turns.
"""

from __future__ import annotations

from _thread import allocate_lock, get_ident
from collections import deque
from collections.abc import Callable

from mrpy.scheduler.shield import Shield

PATIENCE = 0.2  # seconds for what another thread is about to show, so that it is seen before the result


def _yes() -> bool:
    return True


class Said(deque[Callable[[], object]]):
    """Calls that show it, in their order. For any thread; one at a time shows something.

    ``shower``  the thread that does just now
    """

    def __init__(self) -> None:
        super().__init__()
        self.shower: int | None = None
        self._takes_long = False  # what that shows: somebody has waited for it in vain
        self._shield = Shield()
        self._turn = allocate_lock()

    @property
    def waits(self) -> bool:
        """Whether there is something that nobody is about to show."""
        return bool(self) and self.shower is None

    def show(self, wanted: Callable[[], bool] = _yes) -> None:
        """Show it here and now, as long as that is `wanted`. Signal handlers may come, and raise."""
        if (self or self.shower is not None) and self.shower != get_ident():
            while self._showed(wanted) and self.waits and wanted():  # more may have come while we resigned
                pass

    def _showed(self, wanted: Callable[[], bool]) -> bool:
        """Show all there is. False: another thread is at it, and takes long."""
        mine = False
        try:
            with self._shield:
                mine = self._turn.acquire(timeout=0 if self._takes_long else PATIENCE)
                if mine:
                    self.shower = get_ident()
                else:
                    self._takes_long = True
            while mine and wanted() and self:
                self.popleft()()
                self._takes_long = False
        finally:
            if mine:
                with self._shield:
                    self.shower = None
                    self._turn.release()
        return mine

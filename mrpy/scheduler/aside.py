"""What is called aside: in a thread of its own, so that it holds up nobody.

There may be no thread to be had: 3.12 starts none when the main thread has ended. Then whoever waits for a
result, or closes the session, calls it when he holds nothing of ours.
"""

from __future__ import annotations

import sys
import threading
from _thread import start_new_thread
from collections import deque
from collections.abc import Callable


def threads_start() -> bool:
    """Whether a thread can be started now."""
    try:
        start_new_thread(int, ())
    except RuntimeError:
        return False
    return True


class Aside(deque[Callable[[], object]]):
    """What is left to be called, of one session. For any thread."""

    def call(self, what: Callable[[], object]) -> None:
        """Have it called."""
        try:
            threading.Thread(target=what, daemon=True, name="mrpy-callback").start()
        except RuntimeError:
            self.append(what)

    def catch_up(self) -> None:
        """Call it here and now. What it raises is shown, as of a thread."""
        while self:
            try:
                what = self.popleft()
            except IndexError:  # another thread took the last one
                return
            self.here(what)

    def here(self, what: Callable[[], object]) -> None:
        """Call this here and now, likewise."""
        try:
            what()
        except Exception:
            sys.excepthook(*sys.exc_info())

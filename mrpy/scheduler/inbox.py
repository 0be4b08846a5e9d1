"""Inboxes: what some put, others take, and wait for. For any threads; and a signal handler may come amid
anything here and use the same one, since no lock is held meanwhile.

They stand for `queue.SimpleQueue`, whose ``get(timeout=...)`` waits for ever on 3.11 and 3.12 where its time
is over while it looks once more: amid a signal handler that takes long, or at once where that time is short.
"""

from __future__ import annotations

from _queue import Empty
from _thread import allocate_lock
from collections import deque

from mrpy.light import R


class Inbox(deque[R]):
    """What was put, in its order. True where there is something."""

    def __init__(self) -> None:
        super().__init__()
        self._news = allocate_lock()  # open: something was put since somebody last waited

    def put(self, what: R) -> None:
        """Have it taken, by one who waits or who comes later."""
        self.append(what)
        try:  # no `suppress`, which takes five times as long
            self._news.release()
        except RuntimeError:  # it is open already
            pass

    def get(self, timeout: float | None) -> R:
        """Take what comes next. Raises `Empty` after so many seconds; None: there is no end to waiting."""
        while True:
            try:
                return self.popleft()
            except IndexError:  # no wait in here: what is raised amid one would have this as its context
                pass
            # if that was news of what is taken already, it is none the second time
            if not self._news.acquire(timeout=-1 if timeout is None else max(0.0, timeout)):
                raise Empty
            if len(self) > 1:  # it was news for another who waits, too
                try:
                    self._news.release()
                except RuntimeError:
                    pass

"""Whether this thread runs a task just now, where, and on which item. The lowest room: everyone may look."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum


class Place(Enum):
    """Where a task runs, seen from the user who asked for it."""

    NOWHERE = "nowhere"  # no task runs in this thread
    HERE = "here"  # in the user's own thread: a serial backend
    THREAD = "thread"  # in another thread of his process
    ELSEWHERE = "elsewhere"  # in another process: whatever leaves the task is pickled


class _Inside(threading.local):
    """What this thread is doing."""

    place = Place.NOWHERE
    position: Callable[[], int] | None = None  # asked, it says which item is at work

    @property
    def task(self) -> bool:
        """Whether a task runs in this thread."""
        return self.place is not Place.NOWHERE


inside = _Inside()

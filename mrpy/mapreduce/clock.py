"""How many items of a chunk are run next, where it has a budget of time."""

from __future__ import annotations

import time

from mrpy.light import TYPE_CHECKING
from mrpy.mapreduce.chunks import visible_bytes

if TYPE_CHECKING:
    from typing import Any

GROWTH = 64  # at most so many times the last stretch
MOST = 1 << 23  # bytes of results, as `mrpy.mapreduce.chunking` wants them


class Clock:
    """For a chunk with a budget: how many items are run next, before somebody looks at the clock again.
    Stretches grow from one item as far as the rest of the budget goes."""

    def __init__(self, budget: float, items: int) -> None:
        self._left = items
        self._size = 0
        self._began = time.perf_counter()
        self._ends = self._began + budget

    def stretch(self, left: int, values: list[Any]) -> int:
        """Of so many items that are left; 0: the budget is spent, or the results begin to take much memory,
        or cannot be seen to take little."""
        now = time.perf_counter()
        if self._size == 0:
            self._size = 1
        else:
            nbytes = visible_bytes(values)
            if left == 0 or now >= self._ends or nbytes is None or nbytes >= MOST:
                return 0
            cost = max(now - self._began, 1e-9) / max(1, self._left - left)
            self._size = max(1, min(self._size * GROWTH, int((self._ends - now) / cost)))
        self._left, self._began = left, now
        return self._size

"""How many items of a chunk are run next, before somebody looks at the clock, and at what they have made.

A chunk is as large as its items were thought to cost little. So one that was cut before anybody knew has a
budget of time. And what the items of any chunk make may take far more memory than what others made before.
"""

from __future__ import annotations

import time
from math import inf

from mrpy.inside import Place, inside
from mrpy.light import TYPE_CHECKING, later
from mrpy.mapreduce.chunks import PLAIN, visible_bytes

if TYPE_CHECKING:
    from typing import Any

    from mrpy.scheduler import sizes
else:
    sizes = later("mrpy.scheduler.sizes")

GROWTH = 64  # at most so many times the last stretch
CAREFUL = 2  # likewise, where nobody knows what an item costs: dear ones may stand behind trivial ones
MOST = 1 << 23  # bytes of results, as `mrpy.mapreduce.chunking` wants them
MUCH = 4 * MOST  # which no chunk reaches whose results are as large as was thought
LOOK = 5e-5  # seconds between two looks at results at least: most take less than a microsecond
SHARE = 20  # times what the last look took, likewise: one at deep containers, or tables, takes 100


class Stretches:
    """Those of one chunk: they grow from one item. ``values``: where its results are, if they are to be
    looked at. ``budget``: seconds; where there is one, nothing is known of the results either."""

    def __init__(self, items: int, values: list[Any] | None = None, budget: float | None = None) -> None:
        self._left = items
        self._values = values
        # in this process a chunk of one item would say no more, and as many as these would be next
        alike = items <= GROWTH and inside.place is not Place.ELSEWHERE
        self._guessed = budget is not None and not alike
        self._much = MUCH if budget is None else MOST
        self._size = self._made = self._nbytes = 0
        self._began = time.perf_counter()
        self._ends = inf if budget is None else self._began + budget
        self._growth = GROWTH if budget is None else CAREFUL

    def next(self, left: int) -> int:
        """Of so many items that are left; 0: the budget is spent, or the results take much memory."""
        now = looked = time.perf_counter()
        if self._size == 0:
            self._size = 1
        else:
            if left == 0 or now >= self._ends:
                return 0
            until = self._ends - now
            if (values := self._values) is not None:
                made, self._made = len(values) - self._made, len(values)
                if made > 0 and self._is_much(values, made):
                    return 0
                look = LOOK
                if made > 0 and type(values[-1]) not in PLAIN:
                    looked = time.perf_counter()
                    look = max(LOOK, SHARE * (looked - now))
                until = look if look < until else until
            cost = max(now - self._began, 1e-9) / max(1, self._left - left)
            self._size = max(1, min(self._size * self._growth, int(until / cost)))
        self._left, self._began = left, looked
        return self._size

    def _is_much(self, values: list[Any], made: int) -> bool:
        """The last result speaks for all since the last look. Of a first chunk they are, where that cannot be
        seen, since they are objects of the user's, which may hold anything."""
        last, before = values[-1], values[-2] if len(values) > 1 else None
        if type(last) in PLAIN:
            self._nbytes += 0 if last is before else made * last.__sizeof__()
        elif self._guessed:
            seen = visible_bytes((last,))
            if seen is None:
                return True
            self._nbytes += made * seen
        elif last is not before:
            self._nbytes += made * sizes.beside(last, before)
        return self._nbytes >= self._much

"""Where sorted ranks are cut.

Ranks may be keys of the user's own, so they are compared with each other only, and by ``<`` only: a class
whose `__lt__` asks for `other.x` can do nothing with ours. And they may be in no total order (NaN, sets).
Then what is sorted is in no order that anybody could name, and a cut is wherever the bisection ends; but of
two cuts in a list the later one must not lie before the earlier one, lest something is lost, or there
twice. It does not: where the ranks of the bounds ascend, and ``<`` is transitive, what lies below a bound
lies below the next, so the second bisection goes to the right wherever the first one did. Both have to look
at the whole list.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mrpy.mapreduce.tree import NOTHING


class Bound(NamedTuple):
    """Below it is all that is less than `rank`, and all that is not greater than `last`; `NOTHING`: there is
    none. ``last``: the last rank that was cut off behind it."""

    rank: Any
    last: Any = NOTHING

    def is_above(self, rank: Any) -> bool:
        """Whether this one lies below."""
        if self.rank is not NOTHING and rank < self.rank:
            return True
        return self.last is not NOTHING and not self.last < rank

    def place(self, items: Sequence[Any], begin: int = 0, key: Callable[[Any], Any] | None = None) -> int:
        """The first of these, from `begin` on, that is not below."""
        if key is None:
            return bisect_left(items, True, begin, key=lambda rank: not self.is_above(rank))
        return bisect_left(items, True, begin, key=lambda item: not self.is_above(key(item)))

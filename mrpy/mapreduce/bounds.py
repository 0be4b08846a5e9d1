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
from collections.abc import Callable, Iterable, Iterator, Sequence

from mrpy.light import Any, NamedTuple
from mrpy.mapreduce.spill import Block
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


class Span(NamedTuple):
    """The ranks of a block: not below `low`, and none above `high`; one only, where these are the same.
    ``size``: about how many bytes of memory its items take."""

    low: Any
    high: Any
    size: int


class Slice(NamedTuple):
    """The ranks below `end`, down to the slice before; None: all the rest. ``large``: they are one rank,
    of which there is more than fits into memory."""

    end: Bound | None
    large: bool


def cuts(blocks: Iterable[Block | Span], memory: int) -> Iterator[Slice]:
    """Cut the ranks of blocks, which are in any order, so that a slice takes no more than `memory`, but
    for single ranks."""
    size, begun, last = 0, False, NOTHING
    for low, same in _by_low(sorted(blocks, key=lambda block: block.low)):
        here, alone = _sizes(same, low)
        if begun and size + here > memory:
            yield Slice(Bound(low, last), False)
            size, begun = 0, False
        if alone > memory:
            yield Slice(Bound(low, last), False)  # also what is left of blocks that began before
            last = low
            yield Slice(Bound(NOTHING, last), True)
            size, begun = here - alone, here > alone
            continue
        size, begun = size + here, True
    yield Slice(None, False)


def _by_low(blocks: list[Block | Span]) -> Iterator[tuple[Any, list[Block | Span]]]:
    """Those that begin with the same rank. Only ``<`` is asked for, as sorting does."""
    same: list[Block | Span] = []
    for block in blocks:
        if same and same[0].low < block.low:
            yield same[0].low, same
            same = []
        same.append(block)
    if same:
        yield same[0].low, same


def _sizes(blocks: Iterable[Block | Span], low: Any) -> tuple[int, int]:
    """How large these are, and those of them that have one rank only."""
    all_of_them = alone = 0
    for block in blocks:
        all_of_them += block.size
        if not low < block.high:
            alone += block.size
    return all_of_them, alone

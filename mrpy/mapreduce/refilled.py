"""Sources that fill the same object again and again, and give it out for one item after the other: of what
was read ahead, all but the last item have changed by then. A plain loop uses each before the next."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from itertools import islice
from zlib import crc32

from mrpy.light import Any, pickle
from mrpy.scheduler import codec

LOOKED_AT = 1 << 20  # bytes of an item, at most; out of the air
_NEVER = frozenset((int, float, complex, bool, str, bytes, type(None)))
_TEXT = (
    "the source gives the same {} again and again, and fills it anew: items change before they are used. "
    "Have it give copies, from a generator function: `for item in source: yield item.copy()`"
)


def watched(iterator: Iterator[Any]) -> Iterator[Any]:
    """The first items of an iterator that is read ahead, as many as it takes to see that they are not filled
    anew: one or two, of most. Warns where they are."""
    first: Any = None
    contents: list[int | None] = []  # of what came again
    for item in islice(iterator, 3):
        if first is None:
            first = item
        elif item is first:
            contents.append(_content(item))
        if None not in contents and len(set(contents)) > 1:
            warnings.warn(_TEXT.format(type(item).__name__), RuntimeWarning, _outside())
        yield item
        if item is not first or type(item) in _NEVER:
            return


def _content(item: Any) -> int | None:
    """By which it is seen to have changed; None where that cannot be told."""
    begin = _Begin()
    try:
        pickle.Pickler(begin, 5).dump(item)
    except _Enough:
        pass
    except codec.REFUSALS as problem:
        codec.let_through(problem)
        return None
    return begin.sum


class _Enough(Exception):
    """Of a pickle."""


class _Begin:
    """A file of which only the sum of its begin is kept."""

    def __init__(self) -> None:
        self.sum, self._left = 0, LOOKED_AT

    def write(self, data: Any) -> None:
        self.sum = crc32(memoryview(data)[: self._left], self.sum)
        self._left -= len(data)
        if self._left <= 0:
            raise _Enough


def _outside() -> int:
    """How far up whoever asks for the items is."""
    level, frame = 2, sys._getframe(2)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "mrpy":
        level, frame = level + 1, frame.f_back
    return level

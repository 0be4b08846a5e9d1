"""Sources that fill the same object again and again, and give it out for one item after the other: of what
was read ahead, all but the last item have changed by then. A plain loop uses each before the next."""

from __future__ import annotations

import sys
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from zlib import crc32

from mrpy.light import Any, pickle
from mrpy.scheduler import codec

FEW = 4  # items that are looked at where each is another object; there may be a header, say
MANY = 32  # where it is the same, while nobody minds: each was used, or copied, before the next is asked for
PARTS = 8  # of an item that is a tuple, from `zip` or `enumerate` say; all out of the air
LOOKED_AT = 1 << 20  # bytes of an item, at most; out of the air
_NEVER = frozenset((int, float, complex, bool, str, bytes, type(None)))
_TEXT = (
    "the source gives the same {} again and again, and fills it anew: items change before they are used. "
    "Have it give copies, from a generator function: `for item in source: yield item.copy()`"
)


class Watch:
    """Looks at the first items of an iterator that is read ahead, as many as it takes to see that they are
    not filled anew: a few, of most. Warns where they are. It keeps none alive meanwhile, if it can."""

    def __init__(self) -> None:
        self.over = False
        self._seen = 0
        self._last: list[Callable[[], Any]] = []  # of the item before, what may be filled
        self._again: list[Callable[[], Any]] = []  # of that, what the one before it had, too

    def over_it(self, iterator: Iterator[Any], *, waiting: bool) -> Iterator[Any]:
        """The next items. ``waiting``: those before are still to be used, as they are then."""
        return chain.from_iterable(self._stretches(iterator, waiting))

    def _stretches(self, iterator: Iterator[Any], waiting: bool) -> Iterator[Iterable[Any]]:
        """One by one, and what is not looked at. What has changed from before the source was asked until
        behind it was changed by the source; or by a function in another thread, which has the object, too."""
        while not self.over:
            suspects = self._suspects() if waiting and self._again else ()
            try:
                item = next(iterator)
            except StopIteration:
                return
            self._note(item)
            self.over = bool(suspects and self._again) or self._seen >= (MANY if self._again else FEW)
            if suspects:
                self._compare(suspects)
            if self.over:  # before: nobody may ask for more
                self._last, self._again = [], []
            yield (item,)
            waiting = True
        yield iterator

    def _note(self, item: Any) -> None:
        self._seen += 1
        if type(item) in _NEVER:
            self._last = self._again = []
            return
        parts = list(tuple.__iter__(item))[:PARTS] if issubclass(type(item), tuple) else [item]
        last = [each() for each in self._last]
        now = [(part, _reference(part)) for part in parts if type(part) not in _NEVER]
        self._last = [reference for _, reference in now]
        self._again = [reference for part, reference in now if any(part is each for each in last)]

    def _suspects(self) -> Sequence[tuple[Any, int | None]]:
        return [(part, _content(part)) for each in self._again if (part := each()) is not None]

    def _compare(self, suspects: Sequence[tuple[Any, int | None]]) -> None:
        again = {id(each()) for each in self._again}
        for part, content in suspects:
            if id(part) in again and content is not None and _content(part) not in (None, content):
                warnings.warn(_TEXT.format(type(part).__name__), RuntimeWarning, _outside())
                break


def _reference(thing: Any) -> Callable[[], Any]:
    try:
        return weakref.ref(thing)
    except TypeError:  # of a list, say: at most the last of the first few items is kept
        return lambda: thing


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

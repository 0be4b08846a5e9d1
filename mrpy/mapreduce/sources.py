"""Where items come from, and how a source is cut.

A source makes a `Reader`, which gives out stretches in order. A `Sliced` source is cut without being
walked; a `Pulled` one is walked by the consumer, in the consumer's thread, as far as the window allows.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from time import perf_counter

from mrpy.light import TYPE_CHECKING, Frozen, later

if TYPE_CHECKING:
    from typing import Any, Protocol, Self

    from mrpy.mapreduce import batches as made_of
    from mrpy.mapreduce import refilled
    from mrpy.scheduler import failure, sizes
else:
    made_of, sizes = later("mrpy.mapreduce.batches"), later("mrpy.scheduler.sizes")
    failure, refilled = later("mrpy.scheduler.failure"), later("mrpy.mapreduce.refilled")
    Protocol = object


AT_ONCE = 256  # items that are pulled without a look at their size, at most


class Reader(Protocol):
    """Gives out a source, stretch by stretch."""

    def take(self, count: int) -> Sequence[Any]:
        """The next items, `count` at most; none at the end. If the source raises half-way, the items
        before that are given out first, and the error on the next call."""

    def remaining(self) -> int | None:
        """How many are left, where that is known."""


class Source(Protocol):
    """Where items come from."""

    def reader(self) -> Reader:
        """Begin to read."""

    def is_empty(self) -> bool:
        """Whether it is known to have no items."""

    def __str__(self) -> str: ...


class Sliced(Frozen):
    """A sequence, or anything else with a length and cheap slices, from `start` on."""

    sequence: Any
    start: int = 0

    def reader(self) -> Reader:
        return _Slices(self.sequence, self.start)

    def is_empty(self) -> bool:
        return self.reader().remaining() == 0

    def __str__(self) -> str:
        if isinstance(self.sequence, range):
            return failure.short_repr(self.sequence[self.start :])
        kind = getattr(self.sequence, "kind", type(self.sequence).__name__)
        number = len(self.sequence) - self.start
        return f"{number} item{'' if number == 1 else 's'} of a {kind}"


class Backwards:
    """A sequence that may change, from a place on to its begin, as ``reversed`` goes through it."""

    def __init__(self, sequence: Any, position: int) -> None:
        self._sequence, self._position = sequence, position
        self.kind = f"reversed {type(sequence).__name__}"

    def __len__(self) -> int:
        return self._position + 1 if self._position < len(self._sequence) else 0

    def __getitem__(self, part: slice) -> Any:
        begin, end, _ = part.indices(len(self))
        first, behind = self._position - begin, self._position - end
        return self._sequence[first : behind if behind >= 0 else None : -1] if begin < end else []


class Counted(Sliced):
    """The numbers from one on, to no end that is ever reached."""

    def __str__(self) -> str:
        return f"count({self.sequence.start + self.start})"


class Zipped(Frozen):
    """Several such sources side by side, as `zip` does it: up to the end of the shortest."""

    sources: tuple[Sliced | Zipped, ...]

    def reader(self) -> Reader:
        return _ZippedSlices([source.reader() for source in self.sources])

    def is_empty(self) -> bool:
        return self.reader().remaining() == 0

    def __str__(self) -> str:
        parts = (f"[{part}]" if isinstance(part, Zipped) else str(part) for part in self.sources)
        return f"zip of {', '.join(parts)}"


class Pulled(Frozen):
    """Any iterable. It is pulled only while the consumer asks. ``mend``: see `Limited`."""

    iterable: Iterable[Any]
    mend: Callable[..., bool] | None = None

    def reader(self) -> Reader:
        make = getattr(self.iterable, "batches", None) if is_run(self.iterable) else None
        batches = make() if make is not None else None
        items = iter(self.iterable) if batches is None else batches
        reader = Pulls(asked(items)) if batches is None else made_of.BatchReader(batches)
        reader.mend = self.mend or reader.mend
        if is_run(self.iterable) and items is not self.iterable:  # else somebody else may go on with it
            reader.close = getattr(items, "close", int)
        return reader

    def is_empty(self) -> bool:
        return False

    def __str__(self) -> str:
        if shows_its_plan(self.iterable):
            return str(self.iterable)
        return f"items of a {type(_bare(self.iterable)).__name__}"


class Asked:
    """An iterator that was asked for itself already. Those of some libraries begin again when they are asked
    once more, which a loop, or who holds one in C, never does; `islice`, which pulls here, does each time."""

    __slots__ = ("__next__", "iterator")

    def __init__(self, iterator: Iterator[Any]) -> None:
        self.iterator = iterator
        self.__next__ = iterator.__next__  # looked up in the class, and found here: so it is called from C

    def __iter__(self) -> Self:
        return self


def asked(iterator: Any) -> Any:
    """An iterator that others have asked for itself, or that was just asked, so that it is not asked again.
    Those of Python and of runs are themselves always."""
    kind = type(iterator)
    if kind is Asked or not hasattr(kind, "__next__") or shows_its_plan(iterator):
        return iterator
    return iterator if is_of_library(kind) else Asked(iterator)


def is_of_library(thing: Any) -> bool:
    """Whether a class, or a function, is one of Python's own."""
    return str(thing.__module__).partition(".")[0] in sys.stdlib_module_names


def _bare(iterable: Any) -> Any:
    return iterable.iterator if type(iterable) is Asked else iterable


class _Slices:
    def __init__(self, sequence: Any, start: int) -> None:
        self._sequence = sequence
        self._position = start

    def take(self, count: int) -> Sequence[Any]:
        # A list that grows while it is read is read to its new end, as a plain loop would.
        begin = self._position
        part: Sequence[Any] = self._sequence[begin : begin + count]
        self._position = begin + len(part)
        return part

    def remaining(self) -> int | None:
        try:
            return max(0, len(self._sequence) - self._position)
        except OverflowError:  # a range of more than 2**63
            return None


class _ZippedSlices:
    def __init__(self, readers: list[Reader]) -> None:
        self._readers = readers

    def take(self, count: int) -> Sequence[Any]:
        left = self.remaining()
        count = count if left is None else min(count, left)
        return list(zip(*(reader.take(count) for reader in self._readers), strict=True))

    def remaining(self) -> int | None:
        known = [left for reader in self._readers if (left := reader.remaining()) is not None]
        return min(known, default=None)


class Limited:
    """What readers have that give out fewer items than they are asked for where these are large.

    ``enough``    bytes that are given out at a time, about
    ``patience``  seconds after which what has come is enough, where so many bytes are
    ``rest``      how many items have to follow so many, even then
    ``nbytes``    bytes of the items that were given out last, about, if there is a limit to them
    ``waiting``   what was given out before is still to be used, as it is then
    ``sealed``    what is given out is not to be looked at
    ``close``     to be called when nothing of it is needed any more
    ``mend``      to be asked where a task has failed: whether what it was given can be read now
    """

    enough = math.inf
    patience = math.inf
    rest: Callable[[int], int] = staticmethod(lambda _: 0)
    nbytes = 0
    waiting = False
    sealed = False
    close: Callable[[], object] = staticmethod(int)
    mend: Callable[..., bool] = staticmethod(lambda *_: False)


class Pulls(Limited):
    """Gives out an iterator, as far as it is asked to."""

    def __init__(self, iterator: Iterator[Any]) -> None:
        self._iterator = iterator
        self._error: list[BaseException] = []  # one at most: whoever raises it lets go of it
        self._ended = False
        self._watch: refilled.Watch | None = None

    def take(self, count: int) -> Sequence[Any]:
        if self._error:
            self._ended = True
            raise self._error.pop()
        items: list[Any] = []
        if self._ended:  # an iterator that has ended is not asked again
            return items
        iterator, watch = self._iterator, self._watch or refilled.Watch()
        if not watch.over:
            self._watch, iterator = watch, watch.over_it(iterator, waiting=self.waiting)
        try:
            self._ended = self._pull(iterator, items, count)  # keeps what came before an error
        except BaseException as error:
            if not items or not waits_its_turn(error):
                self._ended = True
                raise
            self._error.append(error)
        return items

    def _pull(self, iterator: Iterator[Any], items: list[Any], count: int) -> bool:
        """Add so many, or as many as are enough; whether the iterator has ended."""
        looks, large, self.nbytes = self.enough < math.inf, count > AT_ONCE, 0
        end = perf_counter() + self.patience
        while len(items) < count:
            before, behind = len(items), min(count, len(items) + AT_ONCE) if looks else count
            if not looks:
                items.extend(islice(iterator, behind - before))
            elif _pull_until(end, iterator, items, behind - before):
                behind = len(items)  # the rest may take long
            if len(items) < behind:
                return True
            if looks:
                # what the first has too, all have, and it is here once; two neighbours alone may share it
                each = sizes.contents_beside(items[-1], items[before]) if large else 0
                self.nbytes += (behind - before) * each
                if self.nbytes > self.enough or perf_counter() > end:
                    count, looks = min(count, len(items) + self.rest(len(items))), False
        return False

    def remaining(self) -> int | None:
        return None if not self._ended or self._error else 0


def _pull_until(end: float, iterator: Iterator[Any], items: list[Any], count: int) -> bool:
    """Add so many, or those that come until then; whether it was too late for more. The clock is looked at
    for each: what was fast may stand still at any item."""
    add, now = items.append, perf_counter
    for item in islice(iterator, count):
        add(item)
        if now() > end:
            return True
    return False


def is_run(iterable: object) -> bool:
    """Whether it is a run of its own, that prints its own plan: what ``run_of_its_own`` is set on."""
    return getattr(type(iterable), "run_of_its_own", False) is True


def shows_its_plan(iterable: object) -> bool:
    """Whether it is made here, from other runs: it prints their plans, has them as its `upstream`, and says
    how many stages there are in them, one after the other, as ``_stages``, and what `taken_by` is about as
    ``_takes``, unless it is an iterator."""
    return is_run(iterable) or getattr(type(iterable), "shows_plan", False) is True


def run_of(iterable: Any) -> Any:
    """What is left of a parallel iterator that is its own iterator already: its run, a program until that
    begins. Anything else as it is."""
    return iterable._mrpy_run if hasattr(type(iterable), "_mrpy_run") else iterable


def stages_of(source: object) -> int:
    """How many stages of runs have made what it gives out."""
    iterable: Any = source.iterable if isinstance(source, Pulled) else None
    return int(iterable._stages) if shows_its_plan(iterable) else 0


ON_DEMAND, AHEAD, LEFT = range(3)  # how an iterator is gone through: see `taken_by`


def taken_by(source: object) -> list[tuple[Any, int]]:
    """The iterators whose items a source, or an iterable, takes, and how it goes through each:

    ``ON_DEMAND``  an item is pulled when one is asked for
    ``AHEAD``      before, and to its end
    ``LEFT``       before, and perhaps not to its end: what was pulled is lost then
    """
    iterable: Any = source.iterable if isinstance(source, Pulled) else source
    itself = [(_bare(iterable), ON_DEMAND)] if hasattr(type(iterable), "__next__") else []
    return list(getattr(iterable, "_takes", itself)) if shows_its_plan(iterable) else itself


def ahead(taken: list[tuple[Any, int]]) -> list[tuple[Any, int]]:
    """The same where that is done for what is computed ahead."""
    return [(iterator, max(how, AHEAD)) for iterator, how in taken]


def is_once(source: object) -> bool:
    """Whether a source, or an iterable, has its items but once: an iterator, or what is made of one."""
    return bool(taken_by(source))


class PutBack:
    """A reader that has looked at its first items already: they are given out once more."""

    def __init__(self, reader: Reader, count: int) -> None:
        self._reader = reader
        self.kept = reader.take(count)
        self._given = 0

    def take(self, count: int) -> Sequence[Any]:
        if self._given >= len(self.kept):
            return self._reader.take(count)
        part = self.kept[self._given : self._given + count]
        self._given += len(part)
        return part

    def remaining(self) -> int | None:
        rest = self._reader.remaining()
        return None if rest is None else rest + len(self.kept) - self._given


_SLICEABLE = (list, tuple, range, str, bytes, bytearray)
_SNAPSHOTS: tuple[type, ...] = (dict, set, frozenset, type({}.keys()), type({}.values()), type({}.items()))


def can_be_sliced(thing: Any) -> bool:
    """Whether a stretch of it can be taken without walking it."""
    kind = type(thing)
    if kind in _SLICEABLE:
        return True
    if (kind.__module__, kind.__name__) in (("array", "array"), ("numpy", "ndarray")):
        return bool(getattr(thing, "ndim", 1) > 0)
    return False


def source_of(iterable: Iterable[Any]) -> Source:
    """The best source for a plain iterable. Dictionaries and sets, which cannot be cut, are listed.

    >>> str(source_of(range(10))), str(source_of({1, 2}))
    ('range(0, 10)', '2 items of a list')
    """
    if can_be_sliced(iterable):
        return Sliced(iterable)
    if type(iterable) in _SNAPSHOTS:
        return Sliced(list(iterable))
    if not hasattr(type(iterable), "__iter__") and not hasattr(type(iterable), "__getitem__"):
        iter(iterable)  # raises now, as the builtins do, and not at the first item
    return Pulled(iterable)


def waits_its_turn(error: BaseException) -> bool:
    """Whether what a source raises comes behind what it gave before. Ctrl-C does not; but where the source is
    another run, an interrupt that is raised by an item is that item's failure."""
    return isinstance(error, Exception) or hasattr(error, "mrpy_item")

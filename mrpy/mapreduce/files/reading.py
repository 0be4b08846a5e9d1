"""The step that reads: from blocks to the records in them, on the worker.

It is the first step of a plan, and stays when a later one raises: an iterator that goes on behind a record
that cannot be read, and behind one of which a step made an error. So one bad record is one error, at its
place.
Between two records there is nothing but C: `itertools.chain` over what a piece of a file was cut into.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from operator import length_hint

from mrpy.light import TYPE_CHECKING, Frozen
from mrpy.mapreduce.files.opening import Opening

if TYPE_CHECKING:
    from typing import Any, Protocol

    from mrpy.mapreduce.files.blocks import Block

else:
    Protocol = object


class Place(Protocol):
    """Where a piece stands: at the record that was given out last."""

    def where(self) -> str:
        """What to call it."""

    def number(self) -> int:
        """A number that no other record of the piece has, and that it has each time."""


class Among:
    """Where rows stand that come from a list, of which the last is the one before the `end`-th."""

    def __init__(self, name: str, end: int, rows: Iterator[Any]) -> None:
        self._name = name
        self._end = end
        self._rows = rows

    def where(self) -> str:
        """What to call the row that was given out last."""
        return f"row {self.number():,} of {self._name}"

    def number(self) -> int:
        """Its number."""
        return max(0, self._end - length_hint(self._rows) - 1)


class Format(Protocol):
    """What records look like."""

    def pieces(self, block: Block, opening: Opening) -> Iterator[tuple[Iterator[Any], Place]]:
        """The records of a block, several at a time: iterators that go on behind a record they raise at."""

    def __str__(self) -> str: ...


class Reads(Frozen):
    """From blocks to records.

    ``files``  a number that is another one when the files or their cuts are: a checkpoint of other data is
               refused
    """

    format: Format
    opening: Opening = Opening()
    files: int = 0

    def begin(self, blocks: Iterator[Block]) -> Reading:
        """Begin to read, in a way that can be asked where it is."""
        return Reading(self, blocks)

    def over(self, items: Iterator[Any]) -> Iterator[Any]:
        return chain.from_iterable(self.begin(items))

    def __str__(self) -> str:
        return str(self.format)


class Reading:
    """An iterator over pieces, as `chain` wants it: each an iterator over records. It raises nothing itself,
    since `chain` would end: a piece that cannot be had is an iterator that raises."""

    def __init__(self, step: Reads, blocks: Iterator[Block]) -> None:
        self._step = step
        self._blocks = blocks
        self._block: Block | None = None
        self._pieces: Iterator[tuple[Iterator[Any], Place]] = iter(())
        self._place: Place | None = None
        self._count = 0  # of the pieces of this block
        self._unread: Exception | None = None  # what kept the block from being read at all

    def __iter__(self) -> Iterator[Iterator[Any]]:
        return self

    def __next__(self) -> Iterator[Any]:
        self._place = None  # what it knows does not stay in memory
        while True:
            self._count += 1
            try:
                piece = next(self._pieces, None)
            except Exception as error:
                self._pieces = iter(())
                self._unread = error if self._count == 1 and isinstance(error, OSError) else None
                return Raising(error)
            if piece is not None:
                records, self._place = piece
                return records
            self._block, self._count = next(self._blocks), 0
            self._pieces = self._step.format.pieces(self._block, self._step.opening)

    def again(self, error: BaseException) -> bool:
        """Begin the block once more, if it was this that kept it from being read: a network may be back."""
        if self._unread is not error or self._block is None or self._block.is_read:
            return False
        self._pieces, self._count = self._step.format.pieces(self._block, self._step.opening), 0
        return True

    def lost(self, error: BaseException) -> bool:
        """Whether it was more than one record that could not be read."""
        return getattr(self._place, "broken", None) is error

    def where(self) -> str:
        """What to call the record that was given out last, or that could not be read."""
        try:
            return self._place.where() if self._place is not None else repr(self._block)
        except Exception:  # the file may be gone; that is not what the error at hand is about
            return repr(self._block)

    def number(self) -> int:
        """A number of that record, which no other of its block has: what random numbers go by."""
        return (self._count << 40) + (self._place.number() if self._place is not None else 0)


class Raising:
    """An iterator that raises once."""

    def __init__(self, error: Exception) -> None:
        self._error: Exception | None = error

    def __iter__(self) -> Iterator[Any]:
        return self

    def __length_hint__(self) -> int:
        return int(self._error is not None)

    def __next__(self) -> Any:
        if self._error is None:
            raise StopIteration
        error, self._error = self._error, None
        raise error

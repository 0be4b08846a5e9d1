"""Items in so many parts: what of it runs on workers, and how the parts are cut.

What a chunk makes is packed in batches, or goes to disk. When all of it is there, and so counted, the
consumer cuts it into parts of the same number of items, in their order, without looking inside. A part is an
item of the next run; what it holds are the records of that item, as the lines of a block of a file are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain, count
from operator import length_hint
from typing import Any, NamedTuple

from mrpy.light import Frozen
from mrpy.mapreduce.batches import Batch, rows_of
from mrpy.mapreduce.chunks import Chunk, partly
from mrpy.mapreduce.files.opening import Opening
from mrpy.mapreduce.files.reading import Place
from mrpy.mapreduce.folds import take_in
from mrpy.mapreduce.kernels import Announce
from mrpy.mapreduce.keys import Key, key_name
from mrpy.mapreduce.output import Output
from mrpy.mapreduce.partition import canonical, parts_of, stable_hash
from mrpy.mapreduce.rules import Rules
from mrpy.mapreduce.shuffle import OnePair
from mrpy.mapreduce.skipped import Skipped
from mrpy.mapreduce.spill import Store
from mrpy.mapreduce.steps import Step


class Cut(NamedTuple):
    """Of a batch the rows from one on up to another."""

    batch: Batch
    begin: int
    end: int

    def rows(self) -> list[Any]:
        """These."""
        rows = rows_of(self.batch)
        return rows if (self.begin, self.end) == (0, len(rows)) else rows[self.begin : self.end]


class Part:
    """One of the parts."""

    __slots__ = ("cuts", "number", "of")

    def __init__(self, number: int, of: int, cuts: list[Cut]) -> None:
        self.number, self.of, self.cuts = number, of, cuts

    @property
    def nbytes(self) -> int:
        """How many bytes it will travel with, as far as that is known."""
        return sum(getattr(cut.batch, "nbytes", 0) for cut in self.cuts)

    def __reduce__(self) -> tuple[Any, ...]:
        return Part, (self.number, self.of, self.cuts)

    def __repr__(self) -> str:
        return f"part {self.number} of {self.of}"


class Records(Frozen):
    """The format of a part: see `mrpy.mapreduce.files.reading`."""

    def pieces(self, part: Any, _: Opening) -> Iterator[tuple[Iterator[Any], Place]]:
        """Its records, as one: batches are cut as it happens, and their numbers must not show it."""
        at = _At(part)
        yield chain.from_iterable(at.batches()), at

    def __str__(self) -> str:
        return "records"


class _At:
    """Where the reading of a part has come to."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.broken: BaseException | None = None
        self._behind = 0  # the number of the first record behind this batch
        self._records: Iterator[Any] = iter(())

    def batches(self) -> Iterator[Iterator[Any]]:
        """The records, batch by batch."""
        for piece in self.part.cuts:
            try:
                rows = piece.rows()
            except BaseException as error:
                self.broken = error
                raise
            self._behind += len(rows)
            self._records = iter(rows)
            yield self._records

    def where(self) -> str:
        return repr(self.part) if self.broken else f"record {self.number()} of {self.part!r}"

    def number(self) -> int:
        return self._behind - length_hint(self._records) - 1


# ---- without a key --------------------------------------------------------------------------------


class PackTask(Frozen):
    """The kernel: a chunk to batches of what its items come to."""

    steps: tuple[Step, ...]
    rules: Rules
    packs: bool
    store: Store | None
    in_leaves = True  # see `mrpy.mapreduce.cut_again`

    def __call__(self, chunk: Chunk, announce: Announce | None = None) -> Any:
        skipped = Skipped(self.rules.max_errors)
        with Output(self.store, chunk.first) as out:
            done = take_in(out.leaf, self.steps, self.rules, chunk, skipped, announce)
            out.to_disk()
        return partly(skipped.beside(out.batches(pack=self.packs)), done)


def cut(batches: deque[Batch], parts: int) -> Iterator[list[Cut]]:
    """Parts of the same number of rows, the first ones of one more, as `numpy.array_split` has them. Batches
    are let go of when they were cut.

    >>> [[piece.rows() for piece in part] for part in cut(deque([[1, 2], [3, 4, 5]]), 2)]
    [[[1, 2], [3]], [[4, 5]]]
    """
    least, larger = divmod(sum(map(len, batches)), parts)
    begin = 0  # of the first batch
    for number in range(parts):
        wanted = least + (number < larger)
        cuts: list[Cut] = []
        while wanted:
            batch = batches[0]
            taken = min(wanted, len(batch) - begin)
            if taken:
                cuts.append(Cut(batch, begin, begin + taken))
            wanted -= taken
            begin += taken
            if begin == len(batch):
                batches.popleft()
                begin = 0
        yield cuts


# ---- with a key -----------------------------------------------------------------------------------


class WithPart(OnePair):
    """From an item to a number that stands for its part, and the item."""

    __slots__ = ("__qualname__", "key", "numbers")

    def __init__(self, key: Key, parts: int) -> None:
        self.key, self.numbers = key, _one_of_each(parts)
        self.__qualname__ = f"(part of {key_name(key)}, item)"

    def __call__(self, item: Any) -> tuple[int, Any]:
        [part] = parts_of([stable_hash(canonical(self.key(item)))], len(self.numbers))
        return self.numbers[part], item

    def over(self, records: Iterator[Any]) -> Iterator[tuple[int, Any]]:
        return (self(item) for item in records)


def _one_of_each(parts: int) -> list[int]:
    """Keys, one of each part."""
    found: dict[int, int] = {}
    numbers = count()
    while len(found) < parts:
        number = next(numbers)
        [part] = parts_of([number], parts)
        found.setdefault(part, number)
    return [found[part] for part in range(parts)]


def passing(part: int, items: Iterator[Any]) -> Iterator[Any]:
    """The reducer: all items of a part."""
    yield from items

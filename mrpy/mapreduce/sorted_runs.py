"""Runs of sorted items on disk: what is known of them, and how stretches of them are read.

The blocks of a run are many, so what is known of them is kept in columns: of each block its first rank, where
it lies and what it hashes to. All of that stays with the consumer. A task that reads is told of the blocks it
needs, as a `Stretch` of each run: blocks that follow each other, which are read in one go.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator
from itertools import pairwise

from mrpy.light import Any, NamedTuple, pickle
from mrpy.mapreduce.bounds import Bound, Span
from mrpy.mapreduce.spill import DIGEST, RunFile, Store, opened, read_from
from mrpy.scheduler import codec
from mrpy.scheduler.sizes import estimated

PLAIN = frozenset({str, bytes, int, float, bool, type(None)})  # their pickles name nothing of the main module

PER_BLOCK = 1 + 8 + 8 + DIGEST  # bytes of what is known of it, besides its rank


class Stretch(NamedTuple):
    """Blocks of a run that follow each other. ``chunk``: as in `SortedRun`.

    ``begins``, ``ends``  whether the range for which they are read begins within the first of them, or at it;
                          and whether it ends within the last, or behind it
    """

    path: str
    offset: int
    lengths: tuple[int, ...]
    digests: bytes
    packed: bool
    chunk: int
    begins: bool
    ends: bool

    def read(self) -> Iterator[list[Any]]:
        """The items, block by block. Raises `SpillError` where they are not what was written."""
        data = memoryview(read_from(self.path, self.offset, sum(self.lengths), self.chunk))
        begin = 0
        for number, length in enumerate(self.lengths):
            digest = self.digests[number * DIGEST : (number + 1) * DIGEST]
            where = self.path, self.offset + begin, self.chunk
            yield unpacked(opened(data[begin : begin + length], digest, self.packed, where))
            begin += length


class SortedRun(NamedTuple):
    """What is known of a run of items. ``chunk``: the first item of those that it was made from.

    ``lows``     the ranks of the first item of each block; ``high``: that of the last of all
    ``flat``     for each block, whether it has one rank only
    ``sizes``    about how many bytes of memory their items take
    ``offsets``  of the blocks in the file, and of its end
    """

    path: str
    chunk: int
    lows: list[Any]
    high: Any
    flat: bytes
    sizes: array[int]
    offsets: array[int]
    digests: bytes
    packed: bool

    def pieces(self) -> Iterator[tuple[int, int, bytes, bool]]:
        """Of each block where it lies, its length, what it hashes to, and whether it is packed."""
        for number, (offset, behind) in enumerate(pairwise(self.offsets)):
            digest = self.digests[number * DIGEST : (number + 1) * DIGEST]
            yield offset, behind - offset, digest, self.packed

    def weight(self) -> int:
        """About how many bytes all this takes."""
        return len(self.lows) * PER_BLOCK + estimated(self.lows)

    def spans(self) -> Iterator[Span]:
        """Its blocks, as ranks."""
        for number, low in enumerate(self.lows):
            above = self.lows[number + 1] if number + 1 < len(self.lows) else self.high
            yield Span(low, low if self.flat[number] else above, self.sizes[number])

    def stretches(
        self, begin: Bound | None, end: Bound | None, memory: float = math.inf
    ) -> Iterator[Stretch]:
        """The blocks in which there may be items of a rank from `begin` on and below `end` (None: all), in
        stretches that fit into memory, if a block does."""
        above = 0 if begin is None else begin.place(self.lows)
        behind = len(self.lows) if end is None else end.place(self.lows)
        first, begins, nbytes = max(0, above - 1), above > 0, 0
        for number in range(first, behind):
            if number > first and nbytes + self.sizes[number] > memory:
                yield self._stretch(first, number, begins, False)
                first, begins, nbytes = number, False, 0
            nbytes += self.sizes[number]
        if first < behind:
            yield self._stretch(first, behind, begins, end is not None)

    def _stretch(self, first: int, behind: int, begins: bool, ends: bool) -> Stretch:
        offsets = self.offsets[first : behind + 1]
        lengths = tuple(after - before for before, after in pairwise(offsets))
        digests = self.digests[first * DIGEST : behind * DIGEST]
        return Stretch(self.path, offsets[0], lengths, digests, self.packed, self.chunk, begins, ends)


def write_sorted(
    store: Store, items: list[Any], rank: Callable[[Any], Any], chunk: int, each: int
) -> SortedRun:
    """A run of these, of which each takes about so many bytes of memory."""
    count = max(1, store.block // max(1, each))
    lows: list[Any] = []
    flat, digests = bytearray(), bytearray()
    offsets, sizes = array("q"), array("q")
    with RunFile(store.folder) as file:
        for begin in range(0, len(items), count):
            part = items[begin : begin + count]
            data = packed(part)
            offset, digest = file.put(data)
            lows.append(rank(part[0]))
            flat.append(not lows[-1] < (high := rank(part[-1])))
            sizes.append(max(each * len(part), len(data)))
            offsets.append(offset)
            digests += digest
        offsets.append(file.offset)
    lows, high = _apart(lows), _apart([high])[0]
    return SortedRun(file.path, chunk, lows, high, bytes(flat), sizes, offsets, bytes(digests), file.packs)


def _apart(ranks: list[Any]) -> list[Any]:
    """Copies of plain ranks: objects that lie among the items would keep the memory of all of these."""
    return unpacked(packed(ranks)) if set(map(type, ranks)) <= PLAIN else ranks


def packed(items: list[Any]) -> bytes | bytearray | memoryview:
    """A list as bytes. They need not be searched for names where there can be none, which takes as long."""
    if set(map(type, items)) <= PLAIN:
        return pickle.dumps(items, 5)
    return codec.encode(items, whole=True, back=True).body


def unpacked(data: Any) -> list[Any]:
    """The opposite."""
    items: list[Any] = codec.decode(codec.Payload(data))
    return items

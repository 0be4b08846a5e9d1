"""The window of law 3: how much may be pulled from the source and not yet be with the consumer.

In items (``buffersize``), in bytes (``buffer_bytes``), or, where neither is given, in chunks. Unread
results count until the consumer asks for what comes behind them.
"""

from __future__ import annotations

import sys
from typing import Any

from mrpy.mapreduce.chunking import Chunker
from mrpy.mapreduce.tree import leaf_end
from mrpy.options import Options


class Window:
    """The account of what is out, and how much more may follow."""

    def __init__(self, options: Options, workers: int) -> None:
        self.counts_bytes = options.buffer_bytes is not None
        self._options = options
        self._workers = workers
        self._items = 0
        self._chunks = 0
        self._bytes = 0
        self._bytes_per_item = 0.0  # lately: the next chunk is expected to be alike

    def room(self, chunker: Chunker, remaining: int | None) -> int:
        """How many items the next chunk may take; 0: none before something is settled."""
        size = chunker.size(remaining)
        limit = self._options.buffersize
        if isinstance(limit, int):
            if self._options.chunksize == "auto":
                size = min(size, max(1, limit // (2 * self._workers)))
            size = min(size, limit - self._items)
        elif self._chunks >= chunker.ahead():
            return 0
        if self._options.buffer_bytes is not None:
            size = min(size, self._room_in_bytes(self._options.buffer_bytes))
        return size

    def _room_in_bytes(self, limit: int) -> int:
        if self._chunks == 0:
            left: float = limit
            least = 1  # one item has to go, however large it is
        else:
            left, least = limit - self._bytes, 0
        if self._bytes_per_item <= 0:
            return max(least, 1 if left > 0 else 0)
        return max(least, int(left / self._bytes_per_item))

    def aligned(self, size: int, position: int) -> int:
        """The same where chunks end as leaves do: one leaf at least, if nothing is out."""
        if size <= 0 and self._items > 0:
            return 0
        return leaf_end(position + max(1, size) - 1) - position

    def sent(self, items: int) -> None:
        """A chunk went out."""
        self._items += items
        self._chunks += 1

    def weighed(self, items: int, grew: int, total: int) -> None:
        """A chunk of so many items became larger by `grew` bytes (its results came): `total` now."""
        self._bytes += grew
        per_item = total / max(1, items)
        self._bytes_per_item = max(per_item, 0.5 * (self._bytes_per_item + per_item))

    def settled(self, items: int, nbytes: int) -> None:
        """A chunk's results are with the consumer."""
        self._items -= items
        self._chunks -= 1
        self._bytes -= nbytes


def size_of(value: Any) -> int:
    """About how many bytes a chunk or its results take: exact for pickles and arrays."""
    nbytes = getattr(value, "nbytes", None)
    if isinstance(nbytes, int):
        return nbytes
    if isinstance(value, list | tuple):
        return sys.getsizeof(value) + sum(_size_of_one(member) for member in value)
    return _size_of_one(value)


def _size_of_one(value: Any) -> int:
    nbytes = getattr(value, "nbytes", None)
    return nbytes if isinstance(nbytes, int) else sys.getsizeof(value, 64)

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
        self._awaited = 0  # items whose results are not here yet
        self._going = self._coming = 0.0  # bytes per item, out and back, lately: the next are expected alike

    def room(self, chunker: Chunker, remaining: int | None) -> int:
        """How many items the next chunk may take; 0: none before something is settled."""
        size = chunker.size(remaining)
        limit = self._options.buffersize
        if (limit == "auto" or self._options.chunksize == "auto") and self._chunks >= chunker.ahead():
            return 0
        if isinstance(limit, int):
            size = self._room_in_items(size, limit)
        if self._options.buffer_bytes is not None:
            size = min(size, self._room_in_bytes(self._options.buffer_bytes))
        return size

    def _room_in_items(self, size: int, limit: int) -> int:
        left = limit - self._items
        if self._options.chunksize != "auto":
            return min(size, left)
        # Chunks are not made smaller to fill what is left: small ones would free little room in their
        # turn, and stay small for ever (as TCP segments did: Clark, RFC 813).
        size = min(size, max(1, limit // (2 * self._workers)))
        return size if size <= left else 0

    def _room_in_bytes(self, limit: int) -> int:
        least = 1 if self._chunks == 0 else 0  # one item has to go, however large it is
        left = limit - self._bytes - self._awaited * self._coming
        per_item = self._going + self._coming
        return max(least, int(left / per_item) if per_item else int(left > 0))

    def aligned(self, size: int, position: int) -> int:
        """The same where chunks end as leaves do: one leaf at least, if nothing is out."""
        if size <= 0 and self._items > 0:
            return 0
        return leaf_end(position + max(1, size) - 1) - position

    def sent(self, items: int, nbytes: int, *, awaited: bool) -> None:
        """A chunk was pulled, and is on its way where its results are not here already."""
        self._items += items
        self._chunks += 1
        if awaited:
            self._awaited += items
            self._going = _lately(self._going, nbytes / max(1, items))
        self._bytes += nbytes

    def arrived(self, items: int, nbytes: int) -> None:
        """A chunk has ended; its results take so many bytes."""
        self._awaited -= items
        self._bytes += nbytes
        self._coming = _lately(self._coming, nbytes / max(1, items))

    def settled(self, items: int, nbytes: int) -> None:
        """A chunk's results are with the consumer."""
        self._items -= items
        self._chunks -= 1
        self._bytes -= nbytes


def _lately(before: float, now: float) -> float:
    """An estimate that rises at once and falls slowly."""
    return max(now, 0.5 * (before + now))


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

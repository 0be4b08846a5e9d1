"""Rows as a task makes them, in batches: what is too much to be held goes to a file of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice

from mrpy.light import Any, Frozen
from mrpy.mapreduce.batches import Batch, packed
from mrpy.mapreduce.spill import Block, Run, RunFile, Store
from mrpy.mapreduce.tree import NOTHING, Nothing
from mrpy.scheduler.sizes import estimated, weight

AT_HAND = 8  # a task sends back at most so small a part of its memory; the rest is read from its file
AT_ONCE = 16  # rows between two looks, at most: they may be large where those before were small


class OnDisk(Frozen):
    """A batch of rows in a file. ``chunk``: the first item of those that they were made from."""

    path: str
    block: Block
    count: int
    chunk: int

    def __len__(self) -> int:
        return self.count

    def rows(self) -> list[Any]:
        """The rows. Raises `SpillError` where they are not what was written."""
        rows: list[Any] = Run(self.path, (), self.chunk).read(self.block)
        return rows


class Output:
    """Rows as they are made: what is too much to be sent goes to a file.

    ``rows``     to be added to; when they are ``look_at``, call `look`
    """

    def __init__(self, store: Store | None, chunk: int = 0) -> None:
        self.rows: list[Any] = []
        self.look_at = sys.maxsize if store is None else 1
        self._store, self._chunk = store, chunk
        self._size = self._weighed = 0  # bytes of the rows at hand, and for how many of them that is
        self._estimate_at = 1
        self._file: RunFile | None = None
        self._written: list[Batch] = []

    def leaf(self, items: Iterator[Any]) -> Nothing:
        """Take these in: the leaf of a fold over a whole chunk."""
        if self._store is None:
            self.rows += items
            return NOTHING
        while some := list(islice(items, self.look_at - len(self.rows))):
            self.rows += some
            if len(self.rows) >= self.look_at:
                self.look()
        return NOTHING

    def look(self) -> None:
        """Now and then, see how much it is. The last row speaks for those since the last look; if that seems
        to be too much, many of them for all."""
        rows, store = self.rows, self._store
        assert store is not None
        self._size += (len(rows) - self._weighed) * weight(rows[-1])
        self._weighed = len(rows)
        # Of blocks one by one each row would be weighed: that took three quarters of the time
        most = max(store.memory / AT_HAND, 0 if self._file is None else store.block)
        if len(rows) >= self._estimate_at or self._size >= most:
            size = max(self._size, estimated(rows))
            if size >= most:
                self._write(store, size)
                return
            self._estimate_at = 2 * len(rows)
        self.look_at = min(self._estimate_at, len(rows) + AT_ONCE)

    def _write(self, store: Store, size: int) -> None:
        rows, file = self.rows, self._file or RunFile(store.folder)
        self._file = file
        count = max(1, len(rows) * store.block // max(1, size))
        for begin in range(0, len(rows), count):
            part = rows[begin : begin + count]
            block = file.add(None, None, part, size * len(part) // len(rows))
            self._written.append(OnDisk(file.path, block, len(part), self._chunk))
        rows.clear()
        self._size = self._weighed = 0
        self.look_at = self._estimate_at = 1

    def __enter__(self) -> Output:
        return self

    def __exit__(self, *failed: object) -> None:
        if self._file is not None:
            self._file.__exit__(*failed)

    def batches(self, *, pack: bool) -> list[Batch]:
        """All of it: first what is on disk, then what is at hand. To be asked for when it is closed."""
        return [*self._written, *(packed(self.rows) if pack else [self.rows] if self.rows else [])]

    def to_disk(self) -> None:
        """What is at hand goes to disk as well, if this is too much to be held."""
        if self.rows and self._store is not None and not self._store.keeps(size := estimated(self.rows)):
            self._write(self._store, size)

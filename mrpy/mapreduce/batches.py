"""Rows that one run makes and another takes: in batches, which the consumer passes on without looking inside.

What a reduce task makes may be what the next run maps. The consumer cuts it into chunks; for that he has to
know how many rows there are, and no more. So a worker pickles them batch by batch. Batches that lie in a
chunk as a whole travel on as they are, and only one that is cut is opened on the way. Where nothing travels,
and where rows are on disk, a batch is a list.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain

from mrpy.errors import SerializationError
from mrpy.light import TYPE_CHECKING, Any, pickle
from mrpy.mapreduce.sources import Limited, waits_its_turn
from mrpy.scheduler import codec
from mrpy.scheduler.codec import Payload
from mrpy.scheduler.sizes import about, estimated

if TYPE_CHECKING:
    from typing import TypeAlias, overload

    from mrpy.mapreduce.output import OnDisk

BYTES = 1 << 16  # of a batch: one of a chunk is opened for nothing, and each is a pickle of its own
GROWTH = 4  # times the rows of the last batch that the next one has at most


class Packed:
    """A batch of rows, still pickled. Opened where someone asks for a row, and then it stays open."""

    __slots__ = ("_count", "_payload", "_rows")

    def __init__(self, payload: Payload, count: int) -> None:
        self._payload, self._count = payload, count
        self._rows: list[Any] | None = None

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """How many bytes will travel."""
        return self._payload.nbytes

    def rows(self) -> list[Any]:
        """The rows."""
        if self._rows is None:
            self._rows = codec.opened(self._payload)
        return self._rows

    def __reduce_ex__(self, _: Any) -> tuple[Any, ...]:
        apart = [pickle.PickleBuffer(buffer) for buffer in self._payload.buffers]
        return _packed, (pickle.PickleBuffer(self._payload.body), apart, self._count)


def _packed(body: Any, buffers: list[Any], count: int) -> Packed:
    return Packed(Payload(body, tuple(buffers)), count)


Batch: TypeAlias = "list[Any] | Packed | OnDisk"


def packed(rows: list[Any]) -> list[Packed]:
    """Rows as batches of about `BYTES`; larger ones where the rows have something large in common, which each
    batch repeats. Raises `SerializationError`, which names the row, where one cannot be pickled."""
    batches: list[Packed] = []
    begin, count = 0, 1
    while begin < len(rows):
        batch = _pack(rows[begin : begin + count])
        begin += len(batch)
        batches.append(batch)
        short, long = sorted(batches[-2:], key=len) if len(batches) > 1 else (batch, batch)
        if _share(short, long):
            count = GROWTH * len(long)
            continue
        count = max(1, min(GROWTH * len(batch), len(batch) * BYTES // batch.nbytes))
        if count == len(batch):  # see whether this many more take as much more
            count *= 2
    return batches


def _pack(rows: list[Any]) -> Packed:
    try:
        return Packed(codec.encode(rows, back=True), len(rows))
    except SerializationError:
        for row in rows:
            codec.encode(row, back=True)
        raise


def _share(short: Packed, long: Packed) -> bool:
    """Whether many rows take much less than so many times the bytes of few."""
    return 4 * long.nbytes * len(short) < 3 * short.nbytes * len(long)


def rows_of(batch: Batch) -> list[Any]:
    """The rows of a batch."""
    return batch if isinstance(batch, list) else batch.rows()


def nbytes_of(batch: Any) -> int:
    """About how many bytes a batch, or a list of anything, takes here."""
    if type(batch) is list:
        return estimated(batch)
    return getattr(batch, "nbytes", 0)  # what is on disk has none


class Rows(Sequence[Any]):
    """The rows of some batches, one after the other. Where it is unpickled it is a list."""

    __slots__ = ("_batches", "_count")

    def __init__(self, batches: list[Batch]) -> None:
        self._batches = batches
        self._count = sum(map(len, batches))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(map(rows_of, self._batches))

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, where: int) -> Any: ...

        @overload
        def __getitem__(self, where: slice) -> Sequence[Any]: ...

    def __getitem__(self, where: int | slice) -> Any:
        if isinstance(where, slice):
            begin, end, step = where.indices(self._count)
            return Rows(self._between(begin, end)) if step == 1 else list(self)[where]
        if len(self._batches) != 1 or type(self._batches[0]) is Packed:
            self._batches = [list(self)]  # who asks for one row will ask for others
        return rows_of(self._batches[0])[where]

    def _between(self, begin: int, end: int) -> list[Batch]:
        taken: list[Batch] = []
        first = 0  # of the batch
        for batch in self._batches:
            low, high = max(begin - first, 0), min(end - first, len(batch))
            if low < high:
                taken.append(batch if high - low == len(batch) else rows_of(batch)[low:high])
            first += len(batch)
        return taken

    @property
    def nbytes(self) -> int:
        """About how many bytes will travel."""
        return sum(batch.nbytes if type(batch) is Packed else about(batch) for batch in self._batches)

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (self._batches,)


def _opened(batches: list[Batch]) -> list[Any]:
    return list(chain.from_iterable(map(rows_of, batches)))


class BatchReader(Limited):
    """A reader of such batches (see `Reader` in `mrpy.mapreduce.sources`)."""

    sealed = True

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches
        self._cut: list[Any] = []  # the rows of the batch that was cut last
        self._place = 0  # of the first one that was not given out
        self._error: list[BaseException] = []
        self._ended = False

    def take(self, count: int) -> Sequence[Any]:
        """The next rows, `count` at most."""
        taken: list[Batch] = []
        nbytes, given, enough = 0, 0, self.enough
        while count:
            if nbytes >= enough:
                count, enough = min(count, self.rest(given)), math.inf
                continue
            if self._place == len(self._cut):
                batch = self._next(first=not taken)
                if batch is None:
                    break
                if not len(batch):  # nothing has come before an error that is behind it
                    continue
                if len(batch) <= count:
                    nbytes += self._bytes_of(batch)
                    taken.append(batch)
                    given += len(batch)
                    count -= len(batch)
                    continue
                self._cut, self._place = rows_of(batch), 0
            part = self._cut[self._place : self._place + count]
            nbytes += self._bytes_of(part)
            taken.append(part)
            self._place += len(part)
            given += len(part)
            count -= len(part)
        self.nbytes = nbytes
        return Rows(taken) if any(type(batch) is Packed for batch in taken) else _opened(taken)

    def _bytes_of(self, batch: Batch) -> int:
        return 0 if self.enough == math.inf else nbytes_of(batch)

    def _next(self, *, first: bool) -> Batch | None:
        """The next batch. What is raised behind others is kept for the next time."""
        if self._error and first:
            self._ended = True
            raise self._error.pop()
        if self._ended or self._error:
            return None
        try:
            batch = next(self._batches, None)
        except BaseException as problem:
            if first or not waits_its_turn(problem):
                self._ended = True
                raise
            self._error.append(problem)
            return None
        self._ended = batch is None
        return batch

    def remaining(self) -> int | None:
        """Known at the end only."""
        return 0 if self._ended and self._place == len(self._cut) else None

"""Large buffers between processes: anonymous shared memory, lent by the one that wrote it to another.

    lender                                           borrower
      copies buffers into a segment (memfd)
      loan: number, places        ─── with a frame ──>  maps it, hands out views of it
      and its descriptor
      may write into it again     <── "returned" ─────  when nothing refers to the views any more

A segment has no name, so there is nothing to leak: it is gone with the last process that maps it. Fresh pages
are what costs - writing into a new segment takes nine times as long as into one that was written before - so
segments are kept to be used again. Nobody counts references across the border: the borrower sees when the
last of its own views is gone, and says so with its next frame. The one who wrote a segment may lend it to
several: they map it privately, so that what one writes into its views no other sees.
"""

from __future__ import annotations

import errno
import mmap
import os
import sys
from _thread import RLock
from _weakref import ref
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count

from mrpy.light import TYPE_CHECKING, NamedTuple, later
from mrpy.scheduler.backends.copying import copy

if TYPE_CHECKING:
    import resource
    from typing import Any, TypeAlias

    from mrpy.scheduler.codec import Payload
else:
    resource = later("resource")

SHARED = 256 * 1024  # bytes; smaller buffers go through the socket, which is then no slower
ALIGNED = 64  # bytes; what vector instructions like
KEPT = 1 << 28  # bytes of segments not in use that are kept to be used again; none larger than a quarter
MAPPED = 256  # segments that a process maps at the same time: before 3.13 each costs it a descriptor
MOST = 1024  # segments of a pool; out of the air
AT_ONCE = 32  # segments that one frame lends

AVAILABLE = hasattr(os, "memfd_create")
# Before 3.13 a mapping keeps a descriptor, and closes it in the end; in a forked child that has closed all
# that it inherited, as daemons do, the number may be another file's by then.
_BARE: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}

# What the borrower is told of one segment: the loan's number, and for each part in it (index of the part,
# offset, length). The descriptors come with the frame, in the order of the loans.
Loan: TypeAlias = tuple[int, list[tuple[int, int, int]]]


def most() -> int:
    """How many segments a pool may have: each costs two descriptors, and a third of all has to do."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(limit // 6, MOST) if limit != resource.RLIM_INFINITY else MOST


class Segment:
    """Shared memory that this process has made."""

    __slots__ = ("fd", "map", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.fd = os.memfd_create("mrpy")
        try:
            os.ftruncate(self.fd, self.size)
            self.map = mmap.mmap(self.fd, self.size, **_BARE)
        except BaseException:
            os.close(self.fd)
            raise

    def close(self) -> None:
        """Give it up. Others may still map it."""
        os.close(self.fd)
        try:
            self.map.close()
        except BufferError:  # a thread that has copied into it is just about to end: it closes with that
            pass


class Held:
    """A segment in use. When nobody refers to this any more, the pool has the segment back."""

    __slots__ = ("_pool", "segment")

    def __init__(self, segment: Segment, pool: Pool) -> None:
        self.segment = segment
        self._pool = pool

    def __del__(self) -> None:
        self._pool.take_back(self.segment)


class Shelved(NamedTuple):
    """A buffer that lies in a segment."""

    held: Held
    offset: int
    nbytes: int
    readonly: bool

    def bytes(self) -> bytes:
        """A copy."""
        return self.held.segment.map[self.offset : self.offset + self.nbytes]


class Pool:
    """The segments of a process: makes them, and keeps those that are not in use, up to `KEPT` bytes and half
    as many as there may be. ``threads``: how many copy into one."""

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._pid = os.getpid()
        self._free: deque[Segment] = deque()
        self._kept = 0
        self._made = 0  # that are there
        self._lock = RLock()  # a `Held` may be collected while this very thread has it

    def shelve(self, payload: Payload) -> Payload:
        """The same payload, its large buffers copied into a segment; as it is where there can be none."""
        if not payload.buffers:
            return payload
        large = [view for view in payload.buffers if isinstance(view, memoryview) and view.nbytes >= SHARED]
        if not large or not AVAILABLE:
            return payload
        try:
            held = Held(self._segment(sum(_aligned(view.nbytes) for view in large)), self)
        except OSError:  # too many of them, too little memory: then by the socket
            return payload
        offset = 0
        shelved: list[Any] = []
        for view in payload.buffers:
            if not isinstance(view, memoryview) or view.nbytes < SHARED:
                shelved.append(view)
                continue
            copy(held, offset, view, self._threads)
            shelved.append(Shelved(held, offset, view.nbytes, view.readonly))
            offset += _aligned(view.nbytes)
        return payload._replace(buffers=tuple(shelved))

    def take_back(self, segment: Segment) -> None:
        """Keep a segment that is not in use any more, and give up the oldest that are too many."""
        if os.getpid() != self._pid:
            return  # a forked child, in which the lock may be held for ever by a thread that is not there
        with self._lock:
            if segment.size > KEPT // 4:
                self._give_up(segment)
                return
            self._free.append(segment)
            self._kept += segment.size
            while self._free and (self._kept > KEPT or len(self._free) > most() // 2):
                self._give_up_oldest()

    def close(self) -> None:
        """Give up all that is not in use."""
        with self._lock:
            self._kept += KEPT + 1  # nothing is kept from now on
            while self._free:
                self._give_up_oldest()

    def _segment(self, size: int) -> Segment:
        """One of at least this size. Sizes are powers of two, so that one fits the next message too; what
        was never written to takes no memory."""
        size = 1 << (size - 1).bit_length()
        with self._lock:
            for segment in tuple(reversed(self._free)):  # a `Held` that is collected here adds to it
                if segment.size == size:
                    self._free.remove(segment)
                    self._kept -= size
                    return segment
            limit = most()
            while self._free and self._made >= limit:
                self._give_up_oldest()
            if self._made >= limit:
                raise OSError(errno.EMFILE, "as many as there may be are in use")
            segment = Segment(size)
            self._made += 1
            return segment

    def _give_up_oldest(self) -> None:
        oldest = self._free.popleft()
        self._kept -= oldest.size
        self._give_up(oldest)

    def _give_up(self, segment: Segment) -> None:
        segment.close()
        self._made -= 1


def _aligned(length: int) -> int:
    return -(-length // ALIGNED) * ALIGNED


class Lent(NamedTuple):
    """The parts of a message, taken apart: loans, what travels as it is, descriptors that go with it."""

    loans: list[Loan]
    others: list[Any]
    fds: list[int]


class Lender:
    """What one other process has of this one's segments."""

    def __init__(self) -> None:
        self._out: dict[int, Held] = {}
        self._numbers = count(1)

    def lend(self, parts: Sequence[Any]) -> Lent:
        """Take the parts that lie in segments out of a message, to be mapped by the other."""
        lent = Lent([], [], [])
        loans: dict[Held, Loan] = {}
        for index, part in enumerate(parts):
            if type(part) is not Shelved:
                lent.others.append(part)
                continue
            loan = loans.get(part.held)
            if loan is None:
                if len(loans) == AT_ONCE:
                    lent.others.append(part.bytes())
                    continue
                loan = loans[part.held] = (next(self._numbers), [])
                self._out[loan[0]] = part.held
                lent.loans.append(loan)
                lent.fds.append(part.held.segment.fd)
            loan[1].append((index, part.offset, part.nbytes))
        return lent

    def returned(self, numbers: Sequence[int]) -> None:
        """These loans are not used by the other any more."""
        for number in numbers:
            self._out.pop(number, None)

    def close(self) -> None:
        """The other process is gone, or will be."""
        self._out.clear()


class _Watch(ref["Any"]):
    """Of a mapping, on which all views of a loan hang: when it dies, none of them is left."""

    __slots__ = ("borrower", "number", "wakes")

    borrower: Borrower
    number: int
    wakes: Any


_watches: dict[int, _Watch] = {}  # of all that is mapped here, by their ids
GONE: deque[_Watch] = deque()  # those of what is mapped no more, and nobody has looked since


class Borrower:
    """The segments of one other process that are mapped here. ``tell`` is called when one is not used any
    more, in any thread; where a Ctrl-C comes at that moment, it is not."""

    def __init__(self, tell: Callable[[], None] | None = None) -> None:
        self._unused: deque[int] = deque()  # loans; the other was not told yet
        self._tell = tell

    @staticmethod
    def mapped() -> int:
        """How many segments are, by all borrowers of this process."""
        while GONE:
            try:
                watch = GONE.popleft()
            except IndexError:  # another thread looks, too
                break
            del _watches[id(watch)]
            watch.borrower._unused.append(watch.number)
        return len(_watches)

    def parts(self, loans: Sequence[Loan], others: Sequence[Any], fds: deque[int]) -> Sequence[Any]:
        """All parts of a message. Raises OSError where a segment cannot be mapped."""
        if not loans:
            return others
        mine = [fds.popleft() for _ in loans]
        lent: dict[int, Any] = {}
        try:
            for (number, places), fd in zip(loans, mine, strict=True):
                extent = max(offset + length for _, offset, length in places)
                whole = memoryview(mmap.mmap(fd, extent, access=mmap.ACCESS_COPY, **_BARE))
                views = [(index, whole[offset : offset + length]) for index, offset, length in places]
                if self.mapped() < MAPPED:
                    self._watch(number, whole.obj)
                    lent.update(views)
                else:
                    lent.update((index, memoryview(bytearray(view))) for index, view in views)
                    self._unused.append(number)
                    self._say()
                del whole, views
        finally:
            for fd in mine:
                os.close(fd)
        rest = iter(others)
        return [lent[index] if index in lent else next(rest) for index in range(len(others) + len(lent))]

    def unused(self) -> list[int]:
        """Which loans were given back since this was asked last."""
        numbers = []
        while self.has_unused():
            numbers.append(self._unused.popleft())
        return numbers

    def has_unused(self) -> bool:
        """Whether there is something to say."""
        self.mapped()
        return bool(self._unused)

    def _watch(self, number: int, mapping: Any) -> None:
        """No Python runs where it is noted that a mapping is gone: a Ctrl-C would end that anywhere, and the
        loan would be out for ever. What wakes the other may be lost. It is called after that: the callbacks
        of the youngest reference come first."""
        wakes = ref(mapping, self._say) if self._tell is not None else None
        watch = _Watch(mapping, GONE.append)
        watch.borrower, watch.number, watch.wakes = self, number, wakes
        _watches[id(watch)] = watch

    def _say(self, _: object = None) -> None:
        if self._tell is not None:
            self._tell()

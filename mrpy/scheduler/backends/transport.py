"""Frames on a socket pair between the parent and one worker. Nothing here knows what they mean.

    frame :=  mark u8 | kind u8 | parts u32 | number u64 | length u64 * parts | the parts

The parent's end never blocks: what cannot be written yet waits in a queue, what has come only half is
kept until the rest arrives, and a torn frame is simply never complete. The worker's end blocks: a worker
has nothing else to do. Large parts are received into their final place and sent from where they lie.
Descriptors go with the first byte of a frame, and are there when it is.
"""

from __future__ import annotations

import _socket
import errno
import os
import select
import struct
from _socket import CMSG_SPACE, MSG_CTRUNC, SCM_RIGHTS, SOL_SOCKET  # `socket` takes workers 3 ms
from _thread import allocate_lock
from collections import deque
from collections.abc import Sequence
from functools import partial

from mrpy.light import TYPE_CHECKING, NamedTuple
from mrpy.scheduler.backends.brief import Brief

if TYPE_CHECKING:
    from _socket import socket
    from typing import Any

# Somebody else may have written into the socket: no text begins like a frame, and none of ours has more.
MARK = 0xF9  # in no text of UTF-8
MOST_PARTS = 1 << 27
LONGEST = 1 << 48  # bytes
HEAD = struct.Struct("<BBIQ")
READ = 64 * 1024  # bytes per read; small frames come many at a time
GATHER = 64  # buffers per sendmsg; the kernel's own limit is 1024
SMALL = 32 * 1024  # bytes; parts below are joined into one write


class Frame(NamedTuple):
    """One message: what it is, what it is about, and its parts."""

    kind: int
    number: int
    parts: list[Any]


def pack(kind: int, number: int, parts: Sequence[Any]) -> list[bytes | memoryview]:
    """The buffers to write for a frame, small ones joined."""
    views = [part if isinstance(part, bytes) else memoryview(part).cast("B") for part in parts]
    lengths = [len(view) for view in views]
    head = struct.pack(f"<BBIQ{len(views)}Q", MARK, kind, len(views), number, *lengths)
    small: list[bytes | memoryview] = [head]
    if sum(lengths) < SMALL:
        return [b"".join(small + views)]
    out: list[bytes | memoryview] = []
    for view in views:
        if len(view) < SMALL:
            small.append(view)
        else:
            out += [b"".join(small), view]
            small = []
    if small:
        out.append(b"".join(small))
    return out


class Parser:
    """Bytes in, frames out, whatever the cuts. Lengths come first, so large parts land in their place."""

    def __init__(self) -> None:
        self.broken = False  # what came last is no frame: what was before it counts
        self._pending = bytearray()
        self._frame: Frame | None = None  # its head has come
        self._lengths: tuple[int, ...] = ()
        self._part: memoryview | None = None  # a large part that is being filled
        self._filled = 0

    def room(self) -> memoryview | None:
        """Where the next bytes belong, if a large part is being filled; else None: give them to `feed`."""
        return None if self._part is None else self._part[self._filled :]

    def filled(self, count: int) -> list[Frame]:
        """So many bytes were written to `room`."""
        self._filled += count
        return self._frames(_NOTHING)[0]

    def feed(self, data: memoryview) -> list[Frame]:
        """Take in bytes; return the frames that are now complete. Nothing of `data` is kept."""
        if not self._pending:
            done, position = self._frames(data)
            if position < len(data):
                self._pending += data[position:]
            return done
        self._pending += data
        with memoryview(self._pending) as view:
            done, position = self._frames(view)
        del self._pending[:position]
        return done

    def _frames(self, view: memoryview) -> tuple[list[Frame], int]:
        """The frames that are complete, and how far the bytes were read."""
        done: list[Frame] = []
        position, end = 0, len(view)
        while True:
            if self._frame is None:
                body = position + HEAD.size
                if position < end and view[position] != MARK:
                    self.broken = True
                    return done, end
                if body > end:
                    return done, position
                _, kind, count, number = HEAD.unpack_from(view, position)
                if count > MOST_PARTS:
                    self.broken = True
                    return done, end
                if body + 8 * count > end:
                    return done, position
                lengths = struct.unpack_from(f"<{count}Q", view, body)
                position = body + 8 * count
                frame = Frame(kind, number, [])
                if position + sum(lengths) <= end:  # all of it is here, as a rule
                    for length in lengths:
                        frame.parts.append(bytearray(view[position : position + length]))
                        position += length
                    done.append(frame)
                    continue
                if sum(lengths) > LONGEST:
                    self.broken = True
                    return done, end
                self._frame, self._lengths = frame, lengths
            position, more = self._body(view, position)
            if not more:
                return done, position
            if len(self._frame.parts) == len(self._lengths):
                done.append(self._frame)
                self._frame = None

    def _body(self, view: memoryview, position: int) -> tuple[int, bool]:
        """Move one part from the pending bytes to the frame, if it is there."""
        frame = self._frame
        assert frame is not None
        length = self._lengths[len(frame.parts)]
        if self._part is not None:
            if self._filled < length:
                return position, False
            frame.parts.append(self._part)
            self._part, self._filled = None, 0
            return position, True
        available = len(view) - position
        if available >= length:
            frame.parts.append(bytearray(view[position : position + length]))
            return position + length, True
        if length >= SMALL:
            self._part = memoryview(bytearray(length))
            self._part[:available] = view[position:]
            self._filled = available
            return len(view), False
        return position, False


_NOTHING = memoryview(b"")
_PASSED = 64  # descriptors that come with one read, at most
_ANCILLARY = CMSG_SPACE(_PASSED * struct.calcsize("i"))
_OURS = getattr(_socket, "MSG_CMSG_CLOEXEC", 0)  # not for what is started meanwhile
_QUIET = getattr(_socket, "MSG_NOSIGNAL", 0)  # scripts that print to `head` let SIGPIPE end them


def _with_fds(fds: Sequence[int]) -> list[tuple[int, int, Any]]:
    return [(SOL_SOCKET, SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))] if fds else []


class _End:
    """What both ends have in common: reading."""

    def __init__(self, sock: socket) -> None:
        self.sock = sock
        self.fds: deque[int] = deque()  # descriptors that have come, in their order
        self._parser = Parser()
        self._buffer = memoryview(bytearray(READ))

    def _read(self) -> tuple[int, list[Frame], bool]:
        """Read once: how many bytes, which frames are complete now, and whether there may be more."""
        room = self._parser.room()
        count, ancillary, flags, _ = self.sock.recvmsg_into([room or self._buffer], _ANCILLARY, _OURS)
        for _, _, data in ancillary:
            self.fds.extend(fd for (fd,) in struct.iter_unpack("i", data))
        if flags & MSG_CTRUNC:  # some were lost: nobody could tell which of them belong to what
            raise OSError(errno.EMFILE, "a descriptor could not be received: too many are open")
        # The kernel ends a read behind bytes that descriptors came with, though there may be others.
        if room is not None:
            return count, self._parser.filled(count), True
        return count, self._parser.feed(self._buffer[:count]), count == READ or bool(ancillary)

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()
        while self.fds:
            os.close(self.fds.popleft())


class ParentEnd(_End):
    """The parent's side: never blocks."""

    def __init__(self, sock: socket) -> None:
        sock.setblocking(False)
        super().__init__(sock)
        self.gone = False  # there is nothing more to read, ever
        self._waiting: deque[bytes | memoryview] = deque()
        self._going: dict[int, Sequence[int]] = {}  # descriptors, by the id of the buffer that they go with

    def send(self, kind: int, number: int, parts: Sequence[Any], fds: Sequence[int] = ()) -> None:
        """Queue a frame for `flush`. Its descriptors must stay open until it was received."""
        buffers = pack(kind, number, parts)
        if fds:
            self._going[id(buffers[0])] = fds
        self._waiting.extend(buffers)

    def flush(self) -> None:
        """Write as much as goes without blocking. Raises OSError when the other end is gone."""
        while self._waiting:
            try:
                sent = self._write()
            except BlockingIOError:
                return
            while self._waiting and sent >= len(self._waiting[0]):
                sent -= len(self._waiting.popleft())
            if sent:
                self._waiting[0] = memoryview(self._waiting[0])[sent:]

    def _write(self) -> int:
        """Write once: up to the next buffer that descriptors go with."""
        if len(self._waiting) == 1 and not self._going:
            return self.sock.send(self._waiting[0], _QUIET)
        some = [self._waiting[0]]
        for place in range(1, min(GATHER, len(self._waiting))):
            if self._going and id(self._waiting[place]) in self._going:
                break
            some.append(self._waiting[place])
        fds = self._going.get(id(some[0]), ())
        sent = self.sock.sendmsg(some, _with_fds(fds), _QUIET)
        if fds:
            del self._going[id(some[0])]
        return sent

    @property
    def clogged(self) -> bool:
        """Whether something waits to be written."""
        return bool(self._waiting)

    def receive(self) -> list[Frame] | None:
        """Read all that is there; None when the other end is gone."""
        frames: list[Frame] = []
        more = not self.gone
        while more:
            try:
                count, new, more = self._read()
            except BlockingIOError:
                return frames
            except OSError:
                count, new = 0, []
            if count == 0:
                self.gone = True  # nobody may say so again: see `poller.py`
                return frames or None
            frames += new
            if self._parser.broken:
                self.gone = True
                return frames or None
        return frames if frames or not self.gone else None


class WorkerEnd(_End):
    """The worker's side: blocks."""

    def __init__(self, sock: socket) -> None:
        super().__init__(sock)
        self._frames: deque[Frame] = deque()
        self._out: deque[tuple[list[Any], Sequence[int]]] = deque()  # frames to write, in their order
        self._turn = allocate_lock()  # whoever has it writes them
        # Who sleeps in a read is woken, for nothing, each time that the other end has read what he sent: by
        # the kernel, which tells him that he may write. It cost the other end 10 us. A poll can say what for.
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        self._sleep = poll.poll
        self._brief = Brief(partial(poll.poll, 0))

    def receive(self) -> Frame | None:
        """The next frame; None when the parent is gone."""
        while not self._frames:
            self._brief.wait(self._sleep)
            count, new, _ = self._read()
            self._frames.extend(new)
            if count == 0 or self._parser.broken:
                return None
        return self._frames.popleft()

    def send(self, kind: int, number: int, parts: Sequence[Any], fds: Sequence[int] = ()) -> None:
        """Write a whole frame."""
        self._out.append((pack(kind, number, parts), fds))
        with self._turn:
            self._write_all()
        self._write_rest()

    def post(self, kind: int, number: int, parts: Sequence[Any]) -> None:
        """The same for any thread, and for what may come amid a write: a signal handler that prints, say.
        Where somebody is writing already the frame is left to him."""
        self._out.append((pack(kind, number, parts), ()))
        self._write_rest()

    def _write_rest(self) -> None:
        while self._out and self._turn.acquire(blocking=False):
            try:
                self._write_all()
            finally:
                self._turn.release()

    def _write_all(self) -> None:
        while self._out:
            self._write(*self._out.popleft())

    def _write(self, waiting: list[bytes | memoryview], fds: Sequence[int]) -> None:
        while waiting:
            if fds or len(waiting) > 1:
                sent = self.sock.sendmsg(waiting[:GATHER], _with_fds(fds), _QUIET)
                fds = ()
            else:
                sent = self.sock.send(waiting[0], _QUIET)
            while waiting and sent >= len(waiting[0]):
                sent -= len(waiting.pop(0))
            if sent:
                waiting[0] = memoryview(waiting[0])[sent:]

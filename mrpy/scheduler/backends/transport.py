"""Frames on a socket pair between the parent and one worker. Nothing here knows what they mean.

    frame :=  kind u8 | parts u32 | number u64 | length u64 * parts | the parts

The parent's end never blocks: what cannot be written yet waits in a queue, what has come only half is
kept until the rest arrives, and a torn frame is simply never complete. The worker's end blocks: a worker
has nothing else to do. Large parts are received into their final place and sent from where they lie.
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

HEAD = struct.Struct("<BIQ")
READ = 64 * 1024  # bytes per read; small frames come many at a time
GATHER = 64  # buffers per sendmsg; the kernel's own limit is 1024
SMALL = 32 * 1024  # bytes; parts below are joined into one write


class Frame(NamedTuple):
    """One message: what it is, what it is about, and its parts."""

    kind: int
    number: int
    parts: list[Any]


def pack(kind: int, number: int, parts: Sequence[Any]) -> list[Any]:
    """The buffers to write for a frame, small ones joined."""
    views = [part if isinstance(part, bytes) else memoryview(part).cast("B") for part in parts]
    lengths = struct.pack(f"<{len(views)}Q", *map(len, views))
    out: list[Any] = []
    small = [HEAD.pack(kind, len(views), number), lengths]
    for view in views:
        if len(view) < SMALL:
            small.append(view)  # type: ignore[arg-type]
        else:
            out += [b"".join(small), view]
            small = []
    if small:
        out.append(b"".join(small))
    return out


class Parser:
    """Bytes in, frames out, whatever the cuts. Lengths come first, so large parts land in their place."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._frame: Frame | None = None  # its head has come
        self._lengths: list[int] = []
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
        position = 0
        while True:
            if self._frame is None:
                position, more = self._head(view, position)
            else:
                position, more = self._body(view, position)
            if more and self._frame is not None and len(self._frame.parts) == len(self._lengths):
                done.append(self._frame)
                self._frame = None
            if not more:
                return done, position

    def _head(self, view: memoryview, position: int) -> tuple[int, bool]:
        if len(view) - position < HEAD.size:
            return position, False
        kind, parts, number = HEAD.unpack_from(view, position)
        end = position + HEAD.size + 8 * parts
        if len(view) < end:
            return position, False
        self._lengths = list(struct.unpack_from(f"<{parts}Q", view, position + HEAD.size))
        self._frame = Frame(kind, number, [])
        return end, True

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


class ParentEnd:
    """The parent's side: never blocks."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._parser = Parser()
        self._buffer = memoryview(bytearray(READ))
        self._waiting: deque[memoryview] = deque()

    def send(self, kind: int, number: int, parts: Sequence[Any]) -> None:
        """Queue a frame for `flush`."""
        self._waiting.extend(memoryview(buffer) for buffer in pack(kind, number, parts))

    def flush(self) -> None:
        """Write as much as goes without blocking. Raises OSError when the other end is gone."""
        while self._waiting:
            try:
                sent = self.sock.sendmsg([self._waiting[i] for i in range(min(GATHER, len(self._waiting)))])
            except BlockingIOError:
                return
            while self._waiting and sent >= len(self._waiting[0]):
                sent -= len(self._waiting.popleft())
            if sent:
                self._waiting[0] = self._waiting[0][sent:]

    @property
    def clogged(self) -> bool:
        """Whether something waits to be written."""
        return bool(self._waiting)

    def receive(self) -> list[Frame] | None:
        """Read what is there; None when the other end is gone."""
        frames: list[Frame] = []
        while True:
            room = self._parser.room()
            try:
                if room is not None:
                    count = self.sock.recv_into(room)
                    frames += self._parser.filled(count) if count else []
                else:
                    count = self.sock.recv_into(self._buffer)
                    frames += self._parser.feed(self._buffer[:count])
            except BlockingIOError:
                return frames
            except OSError:
                count = 0
            if count == 0:
                return frames or None
            if room is None and count < READ:
                return frames

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()


class WorkerEnd:
    """The worker's side: blocks."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._parser = Parser()
        self._buffer = memoryview(bytearray(READ))
        self._frames: deque[Frame] = deque()

    def receive(self) -> Frame | None:
        """The next frame; None when the parent is gone."""
        while not self._frames:
            room = self._parser.room()
            if room is not None:
                count = self._sock.recv_into(room)
                self._frames.extend(self._parser.filled(count))
            else:
                count = self._sock.recv_into(self._buffer)
                self._frames.extend(self._parser.feed(self._buffer[:count]))
            if count == 0:
                return None
        return self._frames.popleft()

    def send(self, kind: int, number: int, parts: Sequence[Any]) -> None:
        """Write a whole frame."""
        waiting = [memoryview(buffer) for buffer in pack(kind, number, parts)]
        while waiting:
            sent = self._sock.sendmsg(waiting[:GATHER])
            while waiting and sent >= len(waiting[0]):
                sent -= len(waiting.pop(0))
            if sent:
                waiting[0] = waiting[0][sent:]

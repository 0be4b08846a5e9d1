"""The bytes of a block, piece by piece, each of whole records.

A record belongs to the block in which its first byte lies. So a worker passes over what is left of a record
that began before its block, and reads on behind the end of its block until its last record is whole. Two
neighbours agree on where a record begins since both ask the same rule.

A *rule* ``rule(data, at, final)`` says where, at ``at >= 1`` or behind it, the first record begins in these
bytes: an index (``len(data)`` where it begins behind them), `NONE`, or `UNSURE` where more bytes may tell.
``final``: there are no more.

Pieces are small, however large the block is: what is read, decoded and cut stays in the processor's cache.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator

from mrpy.errors import DataError
from mrpy.light import TYPE_CHECKING
from mrpy.mapreduce.files.found import is_url, origin_of
from mrpy.mapreduce.files.opening import Opening, is_damage

if TYPE_CHECKING:
    from typing import IO, TypeAlias

    from mrpy.mapreduce.files.blocks import Block

    Rule: TypeAlias = Callable[[bytes, int, bool], int]

NONE, UNSURE = -1, -2
PIECE = 1 << 18  # bytes; measured: lines of text are cut up to a half faster than from pieces of 16 MB
BEHIND = 1 << 12  # bytes behind a block, for its last record; out of the air


def line_start(data: bytes, at: int, final: bool) -> int:
    r"""The rule of lines, which end as `open` has it: with ``\\n``, ``\\r\\n`` or ``\\r``.

    >>> line_start(b"one\r\ntwo", 1, True), line_start(b"one\r", 1, False) == UNSURE
    (5, True)
    """
    newline = data.find(b"\n", at - 1)
    carriage = data.find(b"\r", at - 1, newline if newline >= 0 else len(data))
    if carriage < 0:
        return newline + 1 if newline >= 0 else NONE
    if carriage + 1 == len(data):
        return len(data) if final else UNSURE
    return carriage + 2 if data[carriage + 1] == 10 else carriage + 1


def pieces(block: Block, rule: Rule, opening: Opening) -> Generator[tuple[int, bytes], None, None]:
    """The records of a block, several at a time, with the offset of the first. What cannot be read is raised
    behind what could: a `DataError` for a damaged file, an `OSError` for any other reason."""
    if block.is_read:
        yield block.read_here()
        return
    packed = opening.is_packed(block.path)
    with named(block.path, packed), opening.open(block.path) as file:
        see_that_it_is_there(block, file)
        read = reading(file, packed)
        to_the_end = not packed and not is_url(block.path)
        stretch = _Stretch(block, rule, read, to_the_end=to_the_end, packed=file if packed else None)
        if block.start:
            file.seek(stretch.position)
            if not stretch.at_first_record():
                return
        try:
            yield from stretch.records()
        except Exception as error:
            if not packed or not is_damage(error, packed=True):
                raise
            yield from stretch.cut_off()
            raise damaged(block.path, stretch.position + len(stretch.data), error) from error


def whole(block: Block, opening: Opening) -> bytes:
    """All bytes of a file."""
    packed = opening.is_packed(block.path)
    with named(block.path, packed), opening.open(block.path) as file:
        see_that_it_is_there(block, file)
        data = file.read()
        if packed and has_shrunk(block, file):
            raise shrunk(block.path, len(data))
        return data


class named:
    """While this is open, what goes wrong with a file says with which: a read does not."""

    def __init__(self, path: str, packed: bool) -> None:
        self._path = path
        self._packed = packed

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, DataError) or not isinstance(error, Exception):
            return
        if is_damage(error, packed=self._packed):
            raise damaged(self._path, None, error) from error
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            raise OSError(error.errno, error.strerror, self._path) from error


def reading(file: IO[bytes], packed: bool) -> Callable[[int], bytes]:
    """How to read on. Of a file that turns out to be damaged nothing is lost that can be unpacked before."""
    read: Callable[[int], bytes] = getattr(file, "read1", file.read) if packed else file.read
    return read


def damaged(path: str, offset: int | None, error: Exception) -> DataError:
    """What to raise for a file that cannot be unpacked."""
    why = str(error).rstrip(".") or type(error).__name__
    return DataError(path, offset, f"it cannot be unpacked: {why}")


def is_text_in_part(error: DataError) -> bool:
    """Whether it is about a file of which some could be unpacked and decoded, or one that was cut off before
    that, and was whole once. What is damaged from its first byte on is something else by that name."""
    cause = error.__cause__
    return isinstance(cause, EOFError) or (bool(error.offset) and not isinstance(cause, UnicodeError))


def see_that_it_is_there(block: Block, file: IO[bytes] | str) -> None:
    """Raise where another file has its name by now: what is read in parts would be of two. It is open."""
    if block.origin is None:
        return
    if block.origin.has_gone(origin_of(os.stat(file if isinstance(file, str) else file.fileno()))):
        why = "it is another file than when the run was made: has somebody replaced it?"
        raise DataError(block.path, None, why)


def has_shrunk(block: Block, file: IO[bytes]) -> bool:
    """Whether a packed file, of which the end was read, had more bytes when the run was made. If it was cut
    where a stream ends, or to nothing, what is left of it can be unpacked."""
    origin = block.origin
    return origin is not None and origin.has_shrunk(origin_of(os.stat(file.fileno())))


def shrunk(path: str, size: int) -> DataError:
    """What to raise for a file that has so many bytes, and had more."""
    why = "it ends here, and was longer when the run was made: is somebody writing to it?"
    return DataError(path, size, why)


class _Stretch:
    """A stretch of a file: `data`, of which the first byte has the offset `position`. ``to_the_end``: where
    less is read than was asked for the file ends. ``packed``: the file, if it is."""

    def __init__(
        self,
        block: Block,
        rule: Rule,
        read: Callable[[int], bytes],
        *,
        to_the_end: bool,
        packed: IO[bytes] | None,
    ) -> None:
        self._read = read
        self._packed = packed
        self._to_the_end = to_the_end
        self._block = block
        self._rule = rule
        self._final = False
        self.position = max(0, block.start - 1)  # the byte before may have to say that a record begins here
        self.data = b""
        self._size = self._at_once()  # bytes that are read at once

    def at_first_record(self) -> bool:
        """Go to the first record that begins in the block, if there is one."""
        end = self._block.end
        assert end is not None, "who begins within a file ends somewhere"
        while True:
            self._more()
            at = self._rule(self.data, 1, self._final)
            if at >= 0:
                self._advance(at)
                self._size = self._at_once()
                return self.position < end
            if self._final:
                self._see_that_all_is_there()
                return False
            if at == UNSURE:
                self._size *= 2
                continue
            self._advance(len(self.data) - 1)  # the last byte may say that a record begins behind it
            if self.position >= end - 1:
                return False

    def records(self) -> Iterator[tuple[int, bytes]]:
        """The pieces of the block, from the first record on."""
        end = self._block.end
        while end is None or self.position < end:
            self._more()
            length = len(self.data)
            last = end is not None and self.position + length > end
            if last and end is not None:
                at = self._rule(self.data, end - self.position, self._final)
            elif self._final:
                at = NONE
            else:
                at = self._rule(self.data, max(1, length * 7 // 8), False)
            if at < 0 and not self._final:
                self._size *= 2  # so that a very long record is not gone through again and again
                continue
            if at < 0 and self._has_shrunk():
                yield from self.cut_off()
                if not self.data and end is not None and self.position >= end:
                    return  # nothing is missing here, and whoever reads behind it will say so
                self._see_that_all_is_there()
            yield from self._given(at if at >= 0 else length)
            self._size = self._at_once()
            if self._final and not last:
                return

    def cut_off(self) -> Iterator[tuple[int, bytes]]:
        """Of what was read before it went wrong, the records that are whole."""
        at = 0
        while at < len(self.data) and (following := self._rule(self.data, at + 1, False)) > at:
            at = following
        yield from self._given(at)

    def _given(self, count: int) -> Iterator[tuple[int, bytes]]:
        position, data = self.position, self.data[:count]
        self._advance(count)
        if data:
            yield position, data

    def _advance(self, count: int) -> None:
        self.position += count
        self.data = self.data[count:]

    def _at_once(self) -> int:
        """How much to read: of a small block not much more than is left of it."""
        end = self._block.end
        if end is None:
            return PIECE
        return min(PIECE, max(0, end - self.position - len(self.data)) + BEHIND)

    def _more(self) -> None:
        """Read on. What has come before something goes wrong is kept."""
        got = [self.data]
        left = self._size
        try:
            while left > 0:
                part = self._read(wanted := min(left, PIECE))
                got.append(part)
                if not part or (self._to_the_end and len(part) < wanted):
                    self._final = True
                    break
                left -= len(part)
        finally:
            self.data = b"".join(got)

    def _has_shrunk(self) -> bool:
        """Whether the file, of which the end was read, had more when the run was made."""
        if self._packed is not None:  # what was read of it are other bytes than those on the disk
            return has_shrunk(self._block, self._packed)
        end, origin = self._block.end, self._block.origin
        if end is None:
            return False
        return self.position + len(self.data) < max(end, origin.size if origin is not None else 0)

    def _see_that_all_is_there(self) -> None:
        if self._has_shrunk():
            raise shrunk(self._block.path, self.position + len(self.data))

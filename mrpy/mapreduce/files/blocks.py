"""Where files are cut: at offsets that depend on the files alone.

So the same files are the same items on every backend and with any number of workers, and a reduction over
them has the same bits. Mostly it is their sizes that say where, and nothing is read for it: that a block has
whole records is seen to by the worker that reads it (`mrpy.mapreduce.files.pieces`). Others the consumer cuts
as he reads them (`mrpy.mapreduce.files.handed`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator

from mrpy.errors import OptionError
from mrpy.light import TYPE_CHECKING, Frozen
from mrpy.mapreduce.files.found import File, Origin, is_url
from mrpy.mapreduce.sources import Pulls, Reader, Sliced

if TYPE_CHECKING:
    from typing import Any

LARGEST = 1 << 24  # bytes of a block: some tens of milliseconds, and some ten times that in objects
LARGEST_IN_ORDER = 1 << 21  # bytes of rows of CSV, likewise: they become dictionaries
SMALLEST = 1 << 7  # bytes; some lines: each may stand for an hour of work
SMALLEST_REMOTE = 1 << 22  # bytes of what takes a request over a network
BLOCKS = 128  # in all, at least: they spread over many workers, and cost some milliseconds together


class Block(Frozen):
    """The records of a file that begin at ``start <= offset < end``; all of them where there is no `end`.

    What has no bytes counts in other units: groups of rows, ranges of a `key`. ``weight``: how much of the
    whole it is, in bytes about, for a progress bar. ``found``: as in `File`

    ``cut``              the consumer reads it, and cuts it into blocks of about so many bytes; 0: he does not
    ``cut_for_records``  likewise, where its records come to him: they are too many for a worker to hold
    ``data``             the bytes, where he has read them
    ``names``            of the columns of its file, where he knows them: then there are whole rows in it
    ``error``            it is what kept him from reading on
    ``origin``           which file it is, or is a part of
    """

    path: str
    start: int = 0
    end: int | None = None
    weight: int = 0
    key: Any = None
    found: bool = False
    cut: int = 0
    cut_for_records: int = 0
    data: bytes | None = None
    names: tuple[Any, ...] | None = None
    error: Exception | None = None
    origin: Origin | None = None

    @property
    def nbytes(self) -> int | None:
        """The bytes that travel with it, if some do: how many records they are is not known."""
        return None if self.data is None else len(self.data)

    @property
    def is_read(self) -> bool:
        """Whether the consumer has read it."""
        return self.data is not None or self.error is not None

    def uncut(self) -> Block:
        """All of the file that it is a part of."""
        return Block(self.path, origin=self.origin)

    def read_here(self) -> tuple[int, bytes]:
        """What he has read, and where that begins. Raises what went wrong."""
        if self.error is not None:
            raise self.error
        return self.start, self.data or b""

    def __repr__(self) -> str:
        if self.key is not None:
            return f"{self.path!r}, key {self.key!r}"
        if self.end is None:
            return repr(self.path)
        return f"{self.path!r} from {self.start:,} to {self.end:,}"


class Blocks(Frozen):
    """The source of a plan that reads: blocks, in order."""

    blocks: tuple[Block, ...]
    files: int
    unit: str = "file"
    parts: Callable[[Block], Iterator[Block]] | None = None

    @property
    def is_read(self) -> bool:
        """Whether the consumer reads some of it."""
        return any(block.cut for block in self.blocks)

    def for_records(self) -> Blocks:
        """These where all records come to the consumer."""
        if not any(block.cut_for_records for block in self.blocks):
            return self
        blocks = (
            block.replaced(cut=block.cut_for_records, cut_for_records=0) if block.cut_for_records else block
            for block in self.blocks
        )
        return self.replaced(blocks=tuple(blocks))

    def reader(self) -> Reader:
        if not self.is_read:
            return Sliced(self.blocks).reader()
        blocks = self._read()
        reader = Pulls(blocks)
        reader.close = blocks.close
        return reader

    def _read(self) -> Generator[Block, None, None]:
        """The blocks, and those that are cut in the place of others."""
        for block in self.blocks:
            if block.cut and self.parts is not None:
                yield from self.parts(block)
            else:
                yield block

    def is_empty(self) -> bool:
        return not self.blocks

    def weight(self, blocks: Iterable[Block]) -> int:
        """How much of the whole these are."""
        return sum(block.weight for block in blocks)

    def __str__(self) -> str:
        if self.files == 1 and self.blocks:
            what = repr(self.blocks[0].path)
        else:
            what = f"{self.files:,} {self.unit}s"
        if self.is_read:
            return f"blocks of {what}, cut as it is read"
        return f"{len(self.blocks):,} block{'s' * (len(self.blocks) != 1)} of {what}"


def cut(
    files: Iterable[File],
    blocksize: int | str | None,
    whole: Callable[[File], object],
    unit: int = 1,
    *,
    in_order: bool = False,
) -> Iterator[Block]:
    """The blocks of files, each of a multiple of `unit` bytes. ``whole(file)``: that one is one block. So is
    each with ``blocksize=None``, and a file of no bytes, which may have some: those of /proc do.

    ``in_order``: where to cut a file is seen by reading it from its beginning. Over a network that is done
    for nobody; who asks for a size there knows that it can be cut anywhere.
    """
    files = list(files)
    sizes = [0 if blocksize is None or whole(file) else file.size or 0 for file in files]
    largest = LARGEST_IN_ORDER if in_order else LARGEST
    size = blocksize if isinstance(blocksize, int) else _automatic(files, sum(sizes), largest)
    size = max(unit, size - size % unit)
    for file, length in zip(files, sizes, strict=True):
        if not length or (in_order and (length <= size or (blocksize == "auto" and is_url(file.path)))):
            yield Block(file.path, weight=file.size or 0, found=file.found, origin=file.origin)
            continue
        if in_order and not is_url(file.path):
            yield Block(file.path, weight=length, found=file.found, cut=size, origin=file.origin)
            continue
        for begin in range(0, length, size):
            end = min(begin + size, length)
            yield Block(file.path, begin, end, end - begin, found=file.found, origin=file.origin)


def _automatic(files: list[File], total: int, largest: int) -> int:
    least = SMALLEST_REMOTE if any(is_url(file.path) for file in files) else SMALLEST
    return min(largest, max(least, -(-total // BLOCKS)))


def blocksize_for(verb: str, value: Any) -> int | str | None:
    """The block size, if it is one."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if value in ("auto", None) or (whole and value >= 1):
        return value  # type: ignore[no-any-return]
    raise OptionError(
        f"blocksize={value!r}: {verb}() needs a number of bytes from 1 up, 'auto', or None for whole files"
    )

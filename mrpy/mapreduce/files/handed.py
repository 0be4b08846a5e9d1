"""Files that are read in the consumer's process, in order, and handed to the workers in parts.

A compressed file can be read from its beginning only, and so can CSV: a field may hold the ends of lines, and
one has to come from the first row to know where another begins. Left to a worker such a file is one item, of
which all records are held before the first of them is seen. So a large one is read by the consumer, as far as
the window allows, and a worker gets a part of its bytes; of CSV that is not compressed only where to read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing

from mrpy.light import TYPE_CHECKING, NamedTuple
from mrpy.mapreduce.files.blocks import Block
from mrpy.mapreduce.files.found import is_url
from mrpy.mapreduce.files.opening import Opening
from mrpy.mapreduce.files.pieces import PIECE

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any, TypeAlias

    BytesOf: TypeAlias = Callable[[Block, Opening], Generator[tuple[int, bytes], None, None]]

LARGE = 1 << 20  # bytes of a compressed file: of a smaller one all records can be held
FEW = 8  # larger ones: more of them are read side by side, each as a whole; out of the air
HUGE = 1 << 22  # bytes of one of which no worker is to hold all records, however many there are: 200 MB, say


def large(blocks: list[Block], packed: set[str]) -> list[Block]:
    """These blocks, of which the large ones of compressed files are to be handed, if they are few; else those
    that are huge, where their records come to the consumer."""

    def is_over(size: int, block: Block) -> bool:
        return block.weight > size and block.path in packed and not is_url(block.path)

    if sum(is_over(LARGE, block) for block in blocks) <= FEW:
        return [block.replaced(cut=PIECE) if is_over(LARGE, block) else block for block in blocks]
    return [block.replaced(cut_for_records=PIECE) if is_over(HUGE, block) else block for block in blocks]


class Part(NamedTuple):
    """Whole records of a file, the first of which begins at `start`. ``data``: their bytes, unless the worker
    is to read them."""

    start: int
    end: int
    data: bytes | None


def parts(bytes_of: BytesOf, opening: Opening, block: Block) -> Iterator[Block]:
    """The bytes of a compressed file, as blocks of whole records."""
    watching = opening.watching()
    with closing(bytes_of(block.uncut(), watching)) as pieces:
        each = (Part(position, position + len(data), data) for position, data in pieces)
        yield from handed(block, each, watching)


def handed(
    block: Block, parts: Iterable[Part], opening: Opening, names: tuple[Any, ...] | None = None
) -> Iterator[Block]:
    """Parts of a file, as blocks. What goes wrong before the first is left to whoever reads the block as a
    whole then; what goes wrong later is a block that cannot be read. ``names``: of the columns, if there are
    some."""
    end = weight = 0
    try:
        for start, end, data in parts:
            before, weight = weight, max(weight, opening.bytes_read() if data is not None else end)
            yield Block(block.path, start, end, weight - before, data=data, names=names, origin=block.origin)
    except MemoryError:
        raise
    except Exception as error:
        yield block.replaced(cut=0) if not end else Block(block.path, end, end, error=error)

"""Records of a fixed size: bytes, or what NumPy makes of them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

from mrpy.errors import DataError
from mrpy.light import TYPE_CHECKING, Frozen
from mrpy.mapreduce.files.opening import Opening, is_damage
from mrpy.mapreduce.files.pieces import (
    PIECE,
    damaged,
    has_shrunk,
    named,
    reading,
    see_that_it_is_there,
    shrunk,
)
from mrpy.mapreduce.files.reading import Among

if TYPE_CHECKING:
    from typing import Any

    from mrpy.mapreduce.files.blocks import Block
    from mrpy.mapreduce.files.reading import Place


class Records(Frozen):
    """Records of so many bytes each; with a NumPy dtype they are its scalars."""

    size: int
    dtype: Any = None

    def pieces(self, block: Block, opening: Opening) -> Iterator[tuple[Iterator[Any], Place]]:
        size = self.size
        for position, data in self.bytes_of(block, opening):
            left = len(data) % size
            if whole := len(data) - left:
                records = iter(self._records(data[:whole]))
                yield records, _Place(block.path, position, size, whole // size, records)
            if left:
                raise self._cut_off(block, position + whole, left)

    def bytes_of(self, block: Block, opening: Opening) -> Generator[tuple[int, bytes], None, None]:
        """The bytes of a block, in pieces of whole records, but where the file ends within one."""
        if block.is_read:
            yield block.read_here()
            return
        size, position = self.size, block.start
        packed = opening.is_packed(block.path)
        with named(block.path, packed), opening.open(block.path) as file:
            see_that_it_is_there(block, file)
            read = reading(file, packed)
            if position:
                file.seek(position)
            at_once = max(1, PIECE // size) * size
            while block.end is None or position < block.end:
                wanted = at_once if block.end is None else min(at_once, block.end - position)
                data, problem = _read(read, wanted)
                if problem is not None:
                    data = data[: len(data) - len(data) % size]
                if data:
                    yield position, data
                position += len(data)
                if problem is not None:
                    if not packed or not is_damage(problem, packed=True):
                        raise problem
                    raise damaged(block.path, position, problem) from problem
                if len(data) < wanted:
                    if block.end is not None:
                        raise self._cut_off(block, position, 0)
                    if packed and has_shrunk(block, file):
                        raise shrunk(block.path, position)
                    return

    def _cut_off(self, block: Block, position: int, left: int) -> DataError:
        where = f"{left:,} byte{'' if left == 1 else 's'} into a record of {self.size:,}"
        return DataError(block.path, position, f"it ends {where}")

    def _records(self, data: bytes) -> Any:
        if self.dtype is None:
            return [data[at : at + self.size] for at in range(0, len(data), self.size)]
        import numpy  # heavy, and only for those who gave a dtype

        return list(numpy.frombuffer(data, self.dtype))

    def __str__(self) -> str:
        return f"records of {self.size:,} bytes" if self.dtype is None else f"records of {self.dtype}"


def _read(read: Callable[[int], bytes], count: int) -> tuple[bytes, Exception | None]:
    """So many bytes, or all that come before something goes wrong; and what that is."""
    got: list[bytes] = []
    try:
        while count > 0 and (part := read(min(count, PIECE))):
            got.append(part)
            count -= len(part)
    except Exception as error:
        return b"".join(got), error
    return b"".join(got), None


class _Place(Among):
    """The same of records of so many bytes, the first of which begins at an offset."""

    def __init__(self, path: str, offset: int, size: int, count: int, records: Iterator[Any]) -> None:
        super().__init__(repr(path), count, records)
        self._offset = offset
        self._size = size

    def where(self) -> str:
        return f"{self._name}, byte {self._offset + self.number() * self._size:,}"

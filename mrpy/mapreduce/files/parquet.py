"""Rows of Parquet and Arrow files, as dictionaries. Needs the package ``pyarrow``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from mrpy.errors import DataError
from mrpy.light import TYPE_CHECKING, Frozen, later
from mrpy.mapreduce.files.blocks import Block
from mrpy.mapreduce.files.found import File, is_url
from mrpy.mapreduce.files.opening import Opening
from mrpy.mapreduce.files.pieces import see_that_it_is_there
from mrpy.mapreduce.files.reading import Among
from mrpy.scheduler.failure import short_repr

if TYPE_CHECKING:
    from typing import Any

    import pyarrow
    from pyarrow import ipc, parquet

    from mrpy.mapreduce.files.reading import Place
else:
    pyarrow = later("pyarrow")  # optional: the extra "parquet"
    ipc, parquet = later("pyarrow.ipc"), later("pyarrow.parquet")

ROWS = 4096  # that are made into objects at once
MAPPED = 1 << 26  # bytes: a larger batch of Arrow, which cannot be read in parts, is mapped; out of the air
ARROW = b"ARROW1"  # what a file of Arrow's own format begins with
STREAM = b"\xff\xff\xff\xff"  # and a stream of it, which has no groups that could be found


def is_mark(file: File) -> bool:
    """Whether it was found beside files of rows and is none, but what a program has left there for others."""
    return file.found and os.path.basename(file.path).startswith("_")


class Columns(Frozen):
    """The rows of some row groups of a Parquet file, or record batches of an Arrow file."""

    columns: Sequence[str] | None = None

    def cut(self, file: File, opening: Opening) -> Iterator[Block]:
        """The blocks of a file: its groups of rows. Its footer is read for that."""
        with _named(file.path), _opened(Block(file.path, origin=file.origin), opening) as opened:
            if _is_arrow(opened):
                whole = _arrow(opened)
                self._check(file.path, whole.schema.names)
            else:
                whole = parquet.ParquetFile(opened)
                self._check(file.path, whole.schema_arrow.names, whole.schema)
            weights = [_weight(whole, opened, at) for at in range(_groups(whole))]
        for at, weight in enumerate(weights):
            yield Block(file.path, at, at + 1, weight, origin=file.origin)

    def _check(self, path: str, names: list[str], leaves: Any = ()) -> None:
        """Raise where a column is not there: pyarrow leaves it out in silence. ``leaves``: what there is
        within columns, which can be read by itself."""
        for name in self.columns or ():
            within = any(name.startswith(f"{outer}.") for outer in names)
            inner = within and any(f"{leaf.path}.".startswith(f"{name}.") for leaf in leaves)
            if name not in names and not inner:
                raise DataError(path, None, f"it has no column {name!r}, but {short_repr(names)}")
        twice = [name for name, count in Counter(names).items() if count > 1]
        for name in twice if self.columns is None else set(twice).intersection(self.columns):
            raise DataError(path, None, f"it has several columns {name!r}, and a row has room for one")

    def pieces(self, block: Block, opening: Opening) -> Iterator[tuple[Iterator[Any], Place]]:
        begun, group = 0, f"group {block.start:,} of {block.path!r}"
        with _named(block.path), _opened(block, opening) as opened:
            for batch in self._batches(opened, block, opening):
                rows = _rows(batch, block.path, f"row {{:,}} of group {block.start:,}", begun)
                yield rows, Among(group, begun + batch.num_rows, rows)
                begun += batch.num_rows

    def _batches(self, opened: Any, block: Block, opening: Opening) -> Iterator[Any]:
        of_arrow = _is_arrow(opened)
        if of_arrow and block.weight > MAPPED and not is_url(block.path):
            with _mapped(block, opening) as mapped:
                yield from self._read(mapped, block, of_arrow)
        else:
            yield from self._read(opened, block, of_arrow)

    def _read(self, opened: Any, block: Block, of_arrow: bool) -> Iterable[Any]:
        columns = None if self.columns is None else list(self.columns)
        whole = _arrow(opened, columns) if of_arrow else parquet.ParquetFile(opened)
        if block.start >= _groups(whole) or _weight(whole, opened, block.start) != block.weight:
            why = "its groups of rows are others than when the run was made: is somebody writing to it?"
            raise DataError(block.path, None, why)
        if not of_arrow:
            return whole.iter_batches(ROWS, [block.start], columns)  # type: ignore[no-any-return]
        batch = whole.get_batch(block.start)
        batch = batch if columns is None else batch.select(columns)
        return (batch.slice(begin, ROWS) for begin in range(0, batch.num_rows, ROWS))

    def __str__(self) -> str:
        return "rows" if self.columns is None else f"rows of {', '.join(self.columns)}"


def _rows(batch: Any, path: str, name: str, begun: int) -> Iterator[Any]:
    """The rows of a batch, at once if Python has a place for all of their values."""
    try:
        return iter(batch.to_pylist())
    except Exception:  # Arrow's, and those of whatever it makes: dates, text
        return _OneByOne(batch, path, name, begun)


class _OneByOne:
    """The rows of a batch: an iterator that goes on behind a row of which a value cannot be had.

    ``name``   what to call a row, with its number
    ``begun``  the number of the first one
    """

    def __init__(self, batch: Any, path: str, name: str, begun: int) -> None:
        self._columns = list(zip(batch.schema.names, batch.columns, strict=True))
        self._rows: int = batch.num_rows
        self._path = path
        self._name = name
        self._begun = begun
        self._next = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __length_hint__(self) -> int:
        return self._rows - self._next

    def __next__(self) -> Any:
        at = self._next
        if at == self._rows:
            raise StopIteration
        self._next += 1
        made = {}
        for name, column in self._columns:
            try:
                made[name] = column[at].as_py()
            except Exception as error:
                where = f"{self._name.format(self._begun + at)}, column {name!r}"
                raise DataError(self._path, None, f"{where}: {error}") from error
        return made


def needed() -> None:
    """Raise `ImportError`, which says how to get it, where there is no pyarrow."""
    try:
        import pyarrow.parquet  # noqa: F401 - optional: the extra "parquet"
    except ImportError as error:
        raise ImportError("Parquet files need pyarrow: pip install pyarrow") from error


@contextmanager
def _named(path: str) -> Iterator[None]:
    """What Arrow says of the bytes of a file, said with its name."""
    try:
        yield
    except pyarrow.ArrowException as error:
        raise DataError(path, None, str(error)) from error
    except OSError as error:
        if error.errno is not None and error.filename is None and path not in str(error):
            raise OSError(error.errno, error.strerror, path) from error
        if error.errno is not None or type(error) is not OSError:  # of a system; of fsspec
            raise
        raise DataError(path, None, str(error)) from error


def _opened(block: Block, opening: Opening) -> Any:
    return opening.open(block.path) if is_url(block.path) else _local(pyarrow.OSFile, block, opening)


def _mapped(block: Block, opening: Opening) -> Any:
    """A file of which what is read needs no room in memory. If somebody cuts it off meanwhile the process is
    killed (SIGBUS), and on serial and threads that is the user's: so it is for very large batches only."""
    return _local(pyarrow.memory_map, block, opening)


def _local(opened: Callable[[bytes], Any], block: Block, opening: Opening) -> Any:
    """A file of this machine, opened so, if it is still the one. It is closed in C: a task that is stopped
    would not come to code of ours that does so."""
    file = opened(os.fsencode(place := opening.place(block.path)))
    try:
        see_that_it_is_there(block, place)  # by its name: in old versions of pyarrow a file has no number
    except BaseException:
        file.close()
        raise
    return file


def _is_arrow(opened: Any) -> bool:
    begin: bytes = opened.read(len(ARROW))
    opened.seek(0)
    if begin.startswith(STREAM):
        why = "it is a stream of Arrow's; pyarrow.ipc.new_file writes what can be read in parts"
        raise pyarrow.ArrowInvalid(why)
    return begin == ARROW


def _groups(whole: Any) -> int:
    """How many groups of rows there are."""
    batches = getattr(whole, "num_record_batches", None)  # of Arrow's own format
    return int(whole.metadata.num_row_groups if batches is None else batches)


def _weight(whole: Any, opened: Any, group: int) -> int:
    """The bytes of a group of rows, in memory or, of Arrow's own format, in the file: an equal share."""
    if hasattr(whole, "num_record_batches"):
        return int(opened.seek(0, 2)) // _groups(whole)
    return int(whole.metadata.row_group(group).total_byte_size)


def _arrow(opened: Any, columns: list[str] | None = None) -> Any:
    """The whole of it. Only these columns are read where that is known."""
    whole = ipc.open_file(opened)
    if columns is None:
        return whole
    places = [at for at, name in enumerate(whole.schema.names) if name in columns]
    return ipc.open_file(opened, options=ipc.IpcReadOptions(included_fields=places))

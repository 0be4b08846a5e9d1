"""Formats whose records are lines: text, JSON Lines, CSV. Compressed or not."""

from __future__ import annotations

import codecs
import csv
import io
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

from mrpy.light import TYPE_CHECKING, Any, Frozen
from mrpy.mapreduce.files.opening import Opening
from mrpy.mapreduce.own_file import own
from mrpy.mapreduce.sinks.columns import Columns
from mrpy.mapreduce.sinks.parts import PartFile, batches
from mrpy.mapreduce.steps import name_of

if TYPE_CHECKING:
    from typing import TypeAlias

SUFFIXES = {None: "", "gzip": ".gz", "bz2": ".bz2", "xz": ".xz"}
BUFFER = 1 << 18  # bytes; out of the air
_LIKE_ASCII = ("utf-8", "utf-8-sig", "ascii", "iso8859-1")  # in which its characters are the same bytes
LEVEL = 6  # of gzip: the program's own default, and twice as fast as Python's

Liner: TypeAlias = Callable[[Any], str]


class Text(Frozen):
    """Strings, each a line."""

    encoding: str
    compression: str | None
    label, streams = "to_text", True

    @property
    def suffix(self) -> str:
        return f".txt{SUFFIXES[self.compression]}"

    def writer(self, file: PartFile) -> LineWriter:
        return _TextWriter(file, _text, self.encoding, self.compression)


class JsonLines(Frozen):
    """Whatever `json` knows, each a line."""

    compression: str | None
    label, streams = "to_jsonl", True

    @property
    def suffix(self) -> str:
        return f".jsonl{SUFFIXES[self.compression]}"

    def writer(self, file: PartFile) -> LineWriter:
        encode = json.JSONEncoder(ensure_ascii=False).encode
        liner: Liner = lambda record: f"{encode(record)}\n"  # noqa: E731
        # What UTF-8 cannot hold, as names of files may, stands in a string, where JSON has the same escapes.
        return LineWriter(file, liner, "utf-8", self.compression, "backslashreplace")


class Csv(Frozen):
    """Rows, with the names of the columns above them where they are known."""

    fields: tuple[str, ...] | None
    delimiter: str
    encoding: str
    compression: str | None
    label, streams = "to_csv", True

    @property
    def suffix(self) -> str:
        return f".csv{SUFFIXES[self.compression]}"

    def writer(self, file: PartFile) -> LineWriter:
        return _CsvWriter(file, self.line(), self.encoding, self.compression, Columns(self.fields))

    def line(self) -> Any:
        """What makes a line of values. Raises what `csv` raises for a delimiter that is none."""
        # By the end of line that it writes `csv` decides what to quote: a "\r" by itself ends one, too.
        return csv.writer(_Echo(), delimiter=self.delimiter, lineterminator="\r\n").writerow


class LineWriter:
    """Writes a part that consists of lines."""

    columns: tuple[str, ...] | None = None
    problem: Exception | None = None

    def __init__(
        self, file: PartFile, liner: Liner, encoding: str, compression: str | None, errors: str = "strict"
    ) -> None:
        self._liner = liner
        self._encoding = encoding
        self._errors = errors
        self._mark = "".encode(encoding)  # of the byte order, which some begin with: once is enough
        self._is_like_ascii = codecs.lookup(encoding).name in _LIKE_ASCII
        self._opening = Opening(compression)
        self._buffer = io.BufferedWriter(file, BUFFER)
        self._out: Any = _compressed(self._buffer, compression)
        self._begun = False

    def encode(self, record: Any) -> str | bytes:
        return self._line(self._liner(record))

    def over(self, items: Iterator[Any]) -> Iterator[str | bytes]:
        liner, like_ascii = self._liner, self._is_like_ascii
        for item in items:
            line = liner(item)
            yield line if like_ascii and line.isascii() else self._line(line)

    def _line(self, text: str) -> str | bytes:
        """A line in bytes; or as it is, where it has no character that could not be written: many of these
        are encoded at once."""
        if self._is_like_ascii and text.isascii():
            return text
        return text.encode(self._encoding, self._errors)[len(self._mark) :]

    def write(self, items: Iterator[Any]) -> int:
        count = 0
        for lines in batches(items):
            if not self._begun:
                self._begun = True
                self._out.write(self._head())
            self._out.write(_joined(lines))
            count += len(lines)
        return count

    def _head(self) -> bytes:
        """What stands above all records."""
        return self._mark

    def join(self, paths: Sequence[str], columns: tuple[Any, ...] | None) -> None:
        head = len(self._head())
        for number, path in enumerate(paths):
            with self._opening.open(path) as part:
                if number:
                    part.read(head)
                shutil.copyfileobj(part, self._out)

    def finish(self) -> None:
        if self._out is not self._buffer:
            self._out.close()
        self._buffer.flush()

    def abandon(self) -> None:
        for each in (self._out, self._buffer):
            with suppress(Exception):
                each.close()


class _TextWriter(LineWriter):
    def over(self, items: Iterator[Any]) -> Iterator[str | bytes]:
        like_ascii = self._is_like_ascii
        for item in items:
            usual = like_ascii and type(item) is str and item.isascii()
            yield f"{item}\n" if usual else self.encode(item)


class _CsvWriter(LineWriter):
    """``row``: from values to a line, which it ends with "\\r\\n"."""

    def __init__(
        self,
        file: PartFile,
        row: Callable[[Iterable[Any]], str],
        encoding: str,
        compression: str | None,
        columns: Columns,
    ) -> None:
        super().__init__(file, lambda record: row(columns.row(record))[:-2] + "\n", encoding, compression)
        self._row = row
        self._columns = columns

    @property
    def columns(self) -> tuple[str, ...] | None:  # type: ignore[override]
        return self._columns.names

    @property
    def problem(self) -> Exception | None:  # type: ignore[override]
        return self._columns.problem

    def encode(self, record: Any) -> str | bytes:
        line = super().encode(record)
        self._columns.keep()
        return line

    def over(self, items: Iterator[Any]) -> Iterator[str | bytes]:
        columns, row, like_ascii = self._columns, self._row, self._is_like_ascii
        for record in items:
            if type(record) is dict and tuple(record) == columns.names:
                line = row(record.values())[:-2] + "\n"
                yield line if like_ascii and line.isascii() else self._line(line)
            else:
                yield self.encode(record)

    def join(self, paths: Sequence[str], columns: tuple[Any, ...] | None) -> None:
        self._columns.names = columns
        super().join(paths, columns)

    def _head(self) -> bytes:
        names = self._columns.names
        header = [] if names is None else [self.encode(dict(zip(names, names, strict=True)))]
        return self._mark + _joined(header)


class _Echo:
    """A file for `csv` that hands back what is written: `writerow` returns it."""

    def write(self, text: str) -> str:
        return text


def _joined(lines: list[Any]) -> bytes:
    """Lines, of which some may be in bytes."""
    try:
        return "".join(lines).encode()
    except TypeError:
        return b"".join(line if type(line) is bytes else line.encode() for line in lines)


def _text(record: Any) -> str:
    if not isinstance(record, str):
        kind = name_of(type(record))
        raise TypeError(f"to_text() writes strings, not {kind}: map(str) makes one of it")
    return f"{record}\n"


def _compressed(file: Any, compression: str | None) -> Any:
    if compression == "gzip":
        import gzip

        return own(gzip.GzipFile)("", "wb", LEVEL, file, mtime=0)  # the same bytes at any time
    if compression == "bz2":
        import bz2

        return own(bz2.BZ2File)(file, "wb")
    if compression == "xz":
        import lzma

        return own(lzma.LZMAFile)(file, "wb")
    return file

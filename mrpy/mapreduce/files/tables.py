"""Rows of CSV, as `csv.DictReader` gives them."""

from __future__ import annotations

import csv
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from io import StringIO
from itertools import chain

from mrpy.errors import DataError
from mrpy.inside import Place as RunsAt
from mrpy.inside import inside
from mrpy.light import TYPE_CHECKING, Frozen
from mrpy.mapreduce.files.blocks import Block
from mrpy.mapreduce.files.lines import MARK, Lines, steps_to
from mrpy.mapreduce.files.opening import Opening
from mrpy.mapreduce.files.pieces import line_start

if TYPE_CHECKING:
    from typing import Any

    from mrpy.mapreduce.files.reading import Place

PARAMETERS = (  # of a dialect, as far as readers look at them
    "delimiter", "quotechar", "escapechar", "doublequote", "skipinitialspace", "quoting", "strict",
)  # fmt: skip
ALSO = ("dialect", "lineterminator")  # what else a reader is given


def given_names(fieldnames: Any) -> tuple[str, ...] | None:
    """The names of fields, if some are given. A text would be a name per letter, and bytes one per byte."""
    if fieldnames is None:
        return None
    if isinstance(fieldnames, str | bytes | bytearray) or not hasattr(fieldnames, "__iter__"):
        name = fieldnames if isinstance(fieldnames, str) else "name"
        given = f"{type(fieldnames).__name__} {fieldnames!r:.60}"
        raise TypeError(f"read_csv() needs fieldnames=[{name!r}], a list of names, not {given}")
    return tuple(fieldnames)


class Rows(Frozen):
    """Rows as dictionaries, by the names in the first row of each file, or by those that were given."""

    lines: Lines
    fieldnames: Sequence[str] | None
    restkey: Any
    restval: Any
    parameters: Mapping[str, Any]
    limit: int  # characters of a field: `csv.field_size_limit` of whoever asks

    def pieces(self, block: Block, opening: Opening) -> Iterator[tuple[Iterator[Any], Place]]:
        rows = _Reader(self, block, opening)
        names = self.fieldnames
        if names is None and not block.start:
            names = next(rows, None)
        elif names is None and block.names is not None:
            names = block.names
        elif names is None:
            names, offset = self.names_of(block, opening)
            if offset is not None and offset >= block.start:
                next(rows, None)  # it is that row, or there is none: only empty lines were before it
        if names is not None:
            rows.names = list(names)
            yield rows, rows

    def names_of(self, block: Block, opening: Opening) -> tuple[Any, int | None]:
        """The first row of the file of a block, and where the last line of it begins."""
        with closing(_Reader(self, block.uncut(), opening)) as head:
            return next(head, None), head.offset()

    def reader(self, lines: Iterable[str]) -> Any:
        """What `csv` makes of lines. The limit of a process is one for all that it reads. In one of ours each
        reader sets that of its own run, whatever the worker was told by another. In the user's it is his."""
        ours = inside.place is RunsAt.ELSEWHERE
        csv.field_size_limit(self.limit if ours else max(self.limit, csv.field_size_limit()))
        return csv.reader(lines, **self.parameters)

    def marks(self) -> list[bytes]:
        """The bytes without which every line begins a row."""
        quote = self.parameters["quotechar"] if self.parameters["quoting"] != csv.QUOTE_NONE else None
        encoding = self.lines.text.behind(1)
        marks = [mark.encode(encoding, "ignore") for mark in (quote, self.parameters["escapechar"]) if mark]
        return list(filter(None, marks))

    def __str__(self) -> str:
        return "CSV rows"


def parameters_of(dialect: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a dialect, which may be known by its name in this process alone. Raises what `csv`
    raises for wrong ones."""
    if isinstance(dialect, str) and dialect not in csv.list_dialects():
        raise csv.Error(f"dialect={dialect!r}: there are {', '.join(map(repr, csv.list_dialects()))}")
    made = csv.reader((), dialect, **given).dialect
    return {name: getattr(made, name) for name in PARAMETERS}


def limit() -> int:
    """How long a field may be."""
    return csv.field_size_limit()


class _Reader:
    """The rows of a block: an iterator that goes on behind a row that is none."""

    def __init__(self, format: Rows, block: Block, opening: Opening) -> None:
        self.names: list[str] | None = None  # until it is known: the rows as they are
        self._format = format
        self._path = block.path
        self._cut = block.end is not None and block.names is None
        self._offset = 0  # of the bytes that are read
        self._data = b""
        self._before = 0  # lines that were read before these
        self._count = 0
        self._asked = 0, 0  # the line of the last `offset`, and where it begins: the next is behind it
        self._marked = False
        self._ended = False
        self._texts = self._texts_of(block, opening)
        self._rows = format.reader(chain(chain.from_iterable(self._texts), self._at_end()))

    def close(self) -> None:
        """Close the file, if not all of it was read. Else that would be left to the garbage collector."""
        self._texts.close()

    def _texts_of(self, block: Block, opening: Opening) -> Generator[StringIO, None, None]:
        for offset, data in self._format.lines.bytes_of(block, opening):
            text, marked = self._format.lines.text.decoded(self._path, offset, data)
            self._marked |= marked
            self._offset, self._data = offset, data
            self._before, self._asked = self._rows.line_num, (0, 0)
            yield StringIO(text, newline="")

    def _at_end(self) -> Iterator[str]:
        self._ended = True
        yield from ()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self._count += 1
        while True:
            try:
                row = next(self._rows)
            except csv.Error as error:
                raise DataError(self._path, self.offset(), str(error)) from error
            except DataError:
                raise
            except ValueError as error:
                raise self._no_number(error) from error
            if row:
                break
        if self._marked and (bad := next((field for field in row if MARK in str(field)), None)):
            raise self._format.lines.text.refused(self._path, bad)
        if self._ended and self._cut:
            why = "a quoted field goes on behind the end of its block; blocksize=None reads a file as a whole"
            raise DataError(self._path, self.offset(), why)
        return row if self.names is None else self._named(row, self.names)

    def _no_number(self, error: ValueError) -> DataError:
        """What to raise where QUOTE_NONNUMERIC has a field without quotes that is none."""
        if self._marked:
            text = str(error).encode("ascii", "backslashreplace").decode("unicode_escape")  # it has a repr
            if MARK in text:
                return self._format.lines.text.refused(self._path, text)
        return DataError(self._path, self.offset(), str(error))

    def _named(self, row: list[Any], names: list[str]) -> dict[Any, Any]:
        made: dict[Any, Any] = dict(zip(names, row, strict=False))
        if len(row) > len(names):
            made[self._format.restkey] = row[len(names) :]
        else:
            for name in names[len(row) :]:
                made[name] = self._format.restval
        return made

    def offset(self) -> int | None:
        """Where the line begins that was read last."""
        if not self._format.lines.cuttable:
            return None
        number = max(0, self._rows.line_num - self._before - 1)
        self._asked = steps_to(number, self._asked, self._data, line_start)
        return self._offset + self._asked[1]

    def number(self) -> int:
        """How many rows were asked for: not of lines, since what ends the file may come behind none."""
        return self._count

    def where(self) -> str:
        """What to call the row that was given out last."""
        at = self.offset()
        return f"{self._path!r}, " + (f"line {self._rows.line_num:,}" if at is None else f"byte {at:,}")

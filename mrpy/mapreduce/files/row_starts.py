"""Where the rows of a CSV file begin.

Most lines begin a row. Where there is a quote, or what escapes one, the file is read as the worker will read
it, to see which do. Nothing but `csv` knows: within a field that has none around it a quote is a character.
"""

from __future__ import annotations

import codecs
import csv
from bisect import bisect_left
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from io import StringIO
from itertools import accumulate

from mrpy.errors import DataError
from mrpy.light import TYPE_CHECKING, Frozen, NamedTuple, later
from mrpy.mapreduce.files.blocks import Block
from mrpy.mapreduce.files.handed import Part, handed
from mrpy.mapreduce.files.opening import Opening
from mrpy.mapreduce.files.pieces import line_start

if TYPE_CHECKING:
    from typing import Any

    import numpy

    from mrpy.mapreduce.files.tables import Rows
else:
    numpy = later("numpy")  # only for those whose fields have quotes

_AS_ASCII = frozenset({"utf-8", "ascii", "iso8859-1", "cp1252", "iso8859-15"})  # in what is ASCII


class Span(NamedTuple):
    """Whole rows, the first of which begins at `offset`. ``starts``: where each does, and where they end,
    counted from there; None: each line begins one."""

    offset: int
    data: bytes
    starts: Sequence[int] | None

    @property
    def end(self) -> int:
        """Where they end."""
        return self.offset + len(self.data)

    def start_from(self, at: int) -> int:
        """Where the first row begins that begins there or behind it, or where they end."""
        within = max(0, at - self.offset)
        if within == 0:
            return self.offset
        if self.starts is not None:
            return self.offset + int(self.starts[bisect_left(self.starts, within)])
        found = line_start(self.data, within, True)
        return self.end if found < 0 else self.offset + found


def parts(rows: Rows, opening: Opening, block: Block) -> Iterator[Block]:
    """A CSV file as blocks of whole rows."""
    watching = opening.watching()
    try:
        names, head = rows.names_of(block.path, opening)
    except Exception:  # whoever reads it will say why
        names, head = None, None
    if names is None:
        yield block.replaced(cut=0)
        return
    with closing(_parts(rows, block, watching, head or 0)) as cut:
        yield from handed(block, (each._replace(names=tuple(names)) for each in cut), watching)


def _parts(rows: Rows, block: Block, opening: Opening, head: int) -> Generator[Part, None, None]:
    """Its parts. The first has all of the row with the names, of which a line begins at `head`."""
    packed, size = opening.is_packed(block.path), block.cut
    begin = end = 0
    sought = max(size, head + 1)
    held: list[bytes] = []  # of a compressed file, from `begin` on
    problem: Exception | None = None
    with closing(spans(rows, block.path, opening)) as found:
        try:
            for span in found:
                end, kept = span.end, span.offset
                while sought <= end and (at := span.start_from(sought)) > begin:
                    held += [span.data[kept - span.offset : at - span.offset]] * packed
                    yield Part(begin, at, b"".join(held) if packed else None)
                    begin = kept = at
                    sought = at - at % size + size
                    held.clear()
                held += [span.data[kept - span.offset :]] * packed
        except Exception as error:
            problem = error
    if begin < end:
        yield Part(begin, end, b"".join(held) if packed else None)
    if problem is not None:
        raise problem


def spans(rows: Rows, path: str, opening: Opening) -> Generator[Span, None, None]:
    """The rows of a file, several at a time."""
    marks, simple = rows.marks(), Simple.quotes(rows)
    begun = b""  # the first lines of a row
    with closing(rows.bytes_of(Block(path), opening)) as pieces:
        for offset, data in pieces:
            offset, data, begun = offset - len(begun), begun + data, b""
            if not any(mark in data for mark in marks):
                yield Span(offset, data, None)
            elif simple is None or (starts := simple.starts(data)) is None:
                yield from _parsed(rows, path, offset, data, pieces)
            else:
                whole = int(starts[-1])
                if whole:
                    yield Span(offset, data[:whole], starts)
                begun = data[whole:]
        if begun:
            yield Span(offset + len(data) - len(begun), begun, (0, len(begun)))


class Simple(Frozen):
    """Quotes that are seen to stand around fields: then it is enough to look at them and at the ends of
    lines, of many rows at a time. That takes a quarter of the time that `csv` takes."""

    quote: int
    delimiter: int
    limit: int  # bytes of a row: none of its fields is too long then

    @classmethod
    def quotes(cls, rows: Rows) -> Simple | None:
        """Those of a dialect, if they may be."""
        parameters, encoding = rows.parameters, codecs.lookup(rows.lines.text.behind(1)).name
        quote, delimiter = (parameters[name] or "" for name in ("quotechar", "delimiter"))
        usual = parameters["quoting"] in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL) and parameters["doublequote"]
        if not usual or parameters["strict"] or parameters["escapechar"] is not None:
            return None
        in_ascii = encoding in _AS_ASCII and quote.isascii() and delimiter.isascii()
        if not in_ascii or len({quote, delimiter, "", "\r", "\n"}) < 5:
            return None
        return cls(ord(quote), ord(delimiter), csv.field_size_limit())

    def starts(self, data: bytes) -> Sequence[int] | None:
        """Where rows begin in these bytes, of which the first begins one, and where the last one ends; None
        where only `csv` can tell."""
        each = numpy.frombuffer(data, numpy.uint8)
        quotes = numpy.flatnonzero(each == self.quote)
        opening = quotes[::2]
        before = each[opening[opening > 0] - 1]  # of a quote within quotes, of which there are two, it is one
        known = (before == self.delimiter) | (before == 10) | (before == 13) | (before == self.quote)
        if not known.all():
            return None
        ends = numpy.flatnonzero(each == 10)
        if b"\r" in data:
            returns = numpy.flatnonzero(each == 13)
            alone = returns[each[numpy.minimum(returns + 1, len(each) - 1)] != 10]
            if len(alone):
                ends = numpy.sort(numpy.concatenate((ends, alone)))
        outside = numpy.searchsorted(quotes, ends) % 2 == 0
        starts: Any = numpy.concatenate(([0], ends[outside] + 1))
        rows = numpy.diff(starts, append=len(data))
        return starts if rows.max() <= self.limit else None


def _parsed(
    rows: Rows, path: str, offset: int, data: bytes, pieces: Iterator[tuple[int, bytes]]
) -> Iterator[Span]:
    """Some rows, from a piece on in which one may go on in the next line, up to the end of a piece."""
    held: list[bytes] = []
    ends = [0]  # of rows, in lines
    problem: Exception | None = None

    def lines() -> Iterator[str]:
        piece: tuple[int, bytes] | None = offset, data
        while piece is not None:
            text, _ = rows.lines.text.decoded(path, *piece)
            held.append(piece[1])
            yield from StringIO(text, newline="")
            if ends[-1] == reader.line_num:
                return
            piece = next(pieces, None)

    reader = rows.reader(lines())
    while True:
        try:
            for _ in reader:
                ends.append(reader.line_num)
            break
        except Exception as error:
            if isinstance(error, DataError) or not isinstance(error, csv.Error | ValueError):
                problem = error
                break
            ends.append(reader.line_num)  # it was no row; the next line begins another
    whole = b"".join(held)
    begins = [0, *accumulate(map(len, whole.splitlines(keepends=True)))]
    if len(begins) == reader.line_num + 1:
        starts = [begins[end] for end in ends]
        yield Span(offset, whole[: starts[-1]], starts)
    else:  # what takes bad bytes for text has taken the end of a line too
        yield Span(offset, whole, (0, len(whole)))
    if problem is not None:
        raise problem

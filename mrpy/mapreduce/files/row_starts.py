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
from mrpy.mapreduce.files.pieces import PIECE, line_start, shrunk
from mrpy.mapreduce.files.reading import Raising

if TYPE_CHECKING:
    from typing import Any

    import numpy

    from mrpy.mapreduce.files.tables import Rows
else:
    numpy = later("numpy")  # only for those whose fields have quotes


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
    names, head = rows.fieldnames, 0
    if names is None:
        try:
            names, begin = rows.names_of(block, opening)
            head = begin or 0
        except Exception:  # whoever reads it will say why
            names = None
    if names is None:
        yield block.replaced(cut=0)
        return
    with closing(_parts(rows, block, watching, head)) as cut:
        yield from handed(block, cut, watching, tuple(names))


def _parts(rows: Rows, block: Block, opening: Opening, head: int) -> Generator[Part, None, None]:
    """Its parts. The first has all of the row with the names, of which a line begins at `head`."""
    packed, size = opening.is_packed(block.path), block.cut
    begin = end = 0
    sought = max(size, head + 1)
    held: list[bytes] = []  # of a compressed file, from `begin` on
    problem: Exception | None = None
    with closing(spans(rows, block, opening)) as found:
        try:
            for span in found:
                end, kept = span.end, span.offset
                while sought <= end and (at := span.start_from(sought)) > begin:
                    if packed:
                        held.append(span.data[kept - span.offset : at - span.offset])
                    yield Part(begin, at, b"".join(held) if packed else None)
                    begin = kept = at
                    sought = at - at % size + size
                    held.clear()
                if packed:
                    held.append(span.data[kept - span.offset :])
        except Exception as error:
            problem = error
    if begin < end:
        yield Part(begin, end, b"".join(held) if packed else None)
    if problem is None and not packed and end < block.weight:
        problem = shrunk(block.path, end)
    if problem is not None:
        raise problem


def spans(rows: Rows, block: Block, opening: Opening) -> Generator[Span, None, None]:
    """The rows of the file of a block, several at a time."""
    path, marks, quotes = block.path, rows.marks(), Quotes.around_fields(rows)
    begun, end = b"", 0  # rows that may not be whole, and where they end
    with closing(rows.lines.bytes_of(block.uncut(), opening)) as pieces:
        try:
            for offset, data in pieces:
                offset, data, end = offset - len(begun), begun + data, offset + len(data)
                begun = b""
                if not any(mark in data for mark in marks):
                    yield Span(offset, data, None)
                elif quotes is None or (starts := quotes.starts(data)) is None:
                    begun, end = yield from _parsed(rows, path, offset, data, pieces)
                else:
                    whole = int(starts[-1])
                    if whole:
                        yield Span(offset, data[:whole], starts)
                    begun = data[whole:]
        except Exception as error:
            if begun:
                yield from _parsed(rows, path, end - len(begun), begun, Raising(error))
            raise
        if begun:
            yield from _parsed(rows, path, end - len(begun), begun, iter(()))


class Quotes(Frozen):
    """Quotes that are seen to stand around fields: then it is enough to look at them and at the ends of
    lines, of many rows at a time. That takes a quarter of the time that `csv` takes."""

    quote: int
    delimiter: int
    limit: int  # bytes of a row: none of its fields is too long then, nor it gone through too often

    @classmethod
    def around_fields(cls, rows: Rows) -> Quotes | None:
        """Those of a dialect, if they may be."""
        parameters, encoding = rows.parameters, codecs.lookup(rows.lines.text.behind(1)).name
        quote, delimiter = (parameters[name] or "" for name in ("quotechar", "delimiter"))
        usual = parameters["quoting"] in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL) and parameters["doublequote"]
        if not usual or parameters["strict"] or parameters["escapechar"] is not None:
            return None
        in_ascii = _is_ascii_and_more(encoding) and quote.isascii() and delimiter.isascii()
        if not in_ascii or len({quote, delimiter, "", "\r", "\n"}) < 5:
            return None
        return cls(ord(quote), ord(delimiter), min(rows.limit, 4 * PIECE))

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


def _is_ascii_and_more(encoding: str) -> bool:
    """Whether a byte below 128 is a character of ASCII, wherever it stands."""
    each = bytes(range(256)).decode(encoding, "replace")
    return encoding == "utf-8" or (len(each) == 256 and each[:128] == bytes(range(128)).decode("ascii"))


def _parsed(
    rows: Rows, path: str, offset: int, data: bytes, pieces: Iterator[tuple[int, bytes]]
) -> Generator[Span, None, tuple[bytes, int]]:
    """The rows that begin in a piece, of which the last may end in another one. Returns what is left of that,
    and where it ends."""
    held: list[bytes] = []
    begins, ends = [0], [0]  # of lines, in bytes; of rows, in lines
    alike = True  # lines of text are those of the bytes: bad bytes may take the end of a line with them
    problem: Exception | None = None

    def lines() -> Iterator[str]:
        nonlocal alike
        piece: tuple[int, bytes] | None = offset, data
        while piece is not None:
            text = list(StringIO(rows.lines.text.decoded(path, *piece)[0], newline=""))
            sizes = list(map(len, piece[1].splitlines(keepends=True)))
            alike &= len(text) == len(sizes)
            begins.extend(accumulate(sizes[1:], initial=begins[-1] + sizes[0]))
            held.append(piece[1])
            yield from text
            if ends[-1] == reader.line_num:
                return
            piece = next(pieces, None)

    reader = rows.reader(lines())
    while len(held) < 2 or not alike:
        try:
            if next(reader, None) is None:
                break
        except Exception as error:
            if isinstance(error, DataError) or not isinstance(error, csv.Error | ValueError):
                problem = error
                break
            # else it was no row, and the next line begins another
        ends.append(reader.line_num)
    whole = b"".join(held)
    starts = [begins[end] for end in ends] if alike else [0, len(whole)]
    yield Span(offset, whole[: starts[-1]], starts)
    if problem is not None:
        raise problem
    return whole[starts[-1] :], offset + len(whole)

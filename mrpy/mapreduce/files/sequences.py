"""Sequences: FASTA and FASTQ."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from operator import length_hint

from mrpy.errors import DataError
from mrpy.light import TYPE_CHECKING, Frozen, NamedTuple
from mrpy.mapreduce.files.lines import MARK, Text, steps_to, with_newlines
from mrpy.mapreduce.files.opening import Opening
from mrpy.mapreduce.files.pieces import NONE, UNSURE, line_start, pieces
from mrpy.scheduler.failure import short_repr

if TYPE_CHECKING:
    from typing import Any

    from mrpy.mapreduce.files.blocks import Block
    from mrpy.mapreduce.files.reading import Place


LINES = 64  # in which a record of FASTQ is looked for: seven will do, unless some are damaged


class FastaRecord(NamedTuple):
    """A sequence, and what stands in the line above it: a name, and what follows behind a space."""

    name: str
    description: str
    sequence: str


class FastqRecord(NamedTuple):
    """A read with its qualities, as they stand there."""

    name: str
    description: str
    sequence: str
    quality: str


def fasta_start(data: bytes, at: int, final: bool) -> int:
    r"""The rule of FASTA: a record begins with a ``>`` at the begin of a line.

    >>> fasta_start(b">a >b\nAC\n>c", 1, True)
    9
    """
    newline = data.find(b"\n>", at - 1)
    carriage = data.find(b"\r>", at - 1, newline if newline >= 0 else len(data))
    place = carriage if carriage >= 0 else newline
    return place + 1 if place >= 0 else NONE


def fastq_start(data: bytes, at: int, final: bool) -> int:
    r"""The rule of FASTQ: a record begins with an ``@`` at the begin of a line, and the next line but one
    with a ``+``. A line of qualities may begin with an ``@``, but then the next but one is a sequence, and
    that begins with neither. Whoever takes a piece apart asks the same (`_Fastq._begins`): so where lines are
    lost, too, it is the same records wherever the file is cut. Where no such line comes for long it is cut
    all the same, at one that is in no record.

    >>> fastq_start(b"@a\nAC\n+\n@@\n@b\nGT\n+\n!!\n", 1, True)
    11
    """
    none = NONE if final else UNSURE
    starts: list[int] = []
    while True:
        at = line_start(data, at, final)
        if at < 0 or at >= len(data):
            return NONE if at == NONE and not starts else none
        starts.append(at)
        if len(starts) > 2 and data[at] == 43 and data[starts[-3]] == 64 and data[starts[-2]] not in b"@+":
            return starts[-3]
        if len(starts) == LINES:
            return starts[-2]  # the last two may yet begin a record
        at += 1


class Fasta(Frozen):
    """Records of FASTA."""

    text: Text = Text()

    def pieces(self, block: Block, opening: Opening) -> Iterator[tuple[Iterator[Any], Place]]:
        for offset, data in self.bytes_of(block, opening):
            records = _Fasta(self, block.path, offset, data)
            yield records, records

    def bytes_of(self, block: Block, opening: Opening) -> Generator[tuple[int, bytes], None, None]:
        return pieces(block, fasta_start, opening)

    def __str__(self) -> str:
        return "FASTA records"


class _Fasta:
    """The records of a piece."""

    def __init__(self, format: Fasta, path: str, offset: int, data: bytes) -> None:
        text, self._marked = format.text.decoded(path, offset, data)
        before, *parts = f"\n{with_newlines(text)}".split("\n>")
        self._format = format
        self._path = path
        self._offset = offset
        self._data = data
        self._before = before.strip()  # what no record begins with
        self._count = len(parts)
        # before one with which the text begins there may be a signature
        first = data.find(b">") if text[:1] == ">" else fasta_start(data, 1, True)
        self._asked = 0, first  # the record of the last `where`, and where it begins: the next is behind it
        self._parts = iter(parts)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._before:
            before, self._before = self._before, ""
            if MARK in before:
                raise self._format.text.refused(self._path, before)
            why = f"{short_repr(before)} where a '>' should begin a record"
            raise DataError(self._path, self._offset, why)
        part = next(self._parts)
        if self._marked and MARK in part:
            raise self._format.text.refused(self._path, part)
        head, _, body = part.partition("\n")
        return FastaRecord(*_named(head), "".join(body.split()))

    def where(self) -> str:
        """What to call the record that was given out last."""
        number = self.number()
        self._asked = steps_to(max(0, number - 1), self._asked, self._data, fasta_start)
        return f"{self._path!r}, byte {self._offset + (max(0, self._asked[1]) if number else 0):,}"

    def number(self) -> int:
        """Its number in this piece, from 1 on: 0 is what no record begins with."""
        return self._count - length_hint(self._parts)


class Fastq(Frozen):
    """Records of FASTQ, of four lines each."""

    text: Text = Text()

    def pieces(self, block: Block, opening: Opening) -> Iterator[tuple[Iterator[Any], Place]]:
        for offset, data in self.bytes_of(block, opening):
            records = _Fastq(self, block.path, offset, data)
            yield records, records

    def bytes_of(self, block: Block, opening: Opening) -> Generator[tuple[int, bytes], None, None]:
        return pieces(block, fastq_start, opening)

    def __str__(self) -> str:
        return "FASTQ records"


class _Fastq:
    """The records of a piece. Behind lines that are none it goes on with the next that can be one."""

    def __init__(self, format: Fastq, path: str, offset: int, data: bytes) -> None:
        text, self._marked = format.text.decoded(path, offset, data)
        self._lines = [*with_newlines(text).split("\n"), "", "", ""]  # which the last record may have lost
        self._format = format
        self._path = path
        self._offset = offset
        self._data = data
        self._begin = 0  # of the record that was given out last, in lines
        self._asked = 0, 0  # the line of the last `offset`, and where it begins
        self._next = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        lines, at = self._lines, self._next
        while at < len(lines) and not lines[at]:
            at += 1
        if at == len(lines):
            raise StopIteration
        self._begin, self._next = at, at + 4
        head, sequence, plus, quality = lines[at : at + 4]
        if quality[:1] == "@" and self._begins(at + 3):
            quality, self._next = "", at + 3  # the line is lost, and this is the next record
        problem = self._problem(head, sequence, plus, quality)
        if problem:
            self._next = self._following(at + 1)
        if self._marked and MARK in (text := "".join(lines[at : self._next])):
            raise self._format.text.refused(self._path, text)
        if problem:
            raise DataError(self._path, self.offset(), problem)
        return FastqRecord(*_named(head[1:]), sequence, quality)

    def _problem(self, head: str, sequence: str, plus: str, quality: str) -> str:
        if head[0] != "@":
            return f"{short_repr(head)} where an '@' should begin a record of four lines"
        if plus[:1] != "+":
            return f"the record {short_repr(head)} has no line with a '+' behind its sequence"
        if sequence[:1] in ("@", "+"):
            return f"the record {short_repr(head)} has {short_repr(sequence)} where its sequence should be"
        if len(sequence) != len(quality) and MARK not in sequence + quality:  # it is longer than its bytes
            lengths = f"{len(sequence):,} bases and {len(quality):,} qualities"
            return f"the record {short_repr(head)} has {lengths}"
        return ""

    def _following(self, at: int) -> int:
        """The next line with which a record can begin."""
        while at < len(self._lines) and not self._begins(at):
            at += 1
        return at

    def _begins(self, at: int) -> bool:
        """Whether a record begins with this line: the rule of `fastq_start`."""
        lines = self._lines
        if lines[at][:1] != "@" or at + 2 >= len(lines):
            return False
        return lines[at + 2][:1] == "+" and lines[at + 1][:1] not in ("@", "+")

    def offset(self) -> int:
        """Where the record begins that was given out last."""
        self._asked = steps_to(self._begin, self._asked, self._data, line_start)
        return self._offset + self._asked[1]

    def where(self) -> str:
        """What to call it."""
        return f"{self._path!r}, byte {self.offset():,}"

    def number(self) -> int:
        """The number of its first line in this piece."""
        return self._begin


def _named(head: str) -> tuple[str, str]:
    """The name in a line, and the rest of it.

    >>> _named("chr1 of a mouse")
    ('chr1', 'of a mouse')
    """
    name, description, *_ = *head.split(None, 1), "", ""
    return name, description.rstrip()

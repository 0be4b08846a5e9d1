"""Lines of text, and what is one line each: JSON."""

from __future__ import annotations

import codecs
import re
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from operator import length_hint, methodcaller

from mrpy.errors import DataError, OptionError
from mrpy.light import TYPE_CHECKING, Frozen, later
from mrpy.mapreduce.files.opening import Opening
from mrpy.mapreduce.files.pieces import is_text_in_part, line_start, pieces, whole
from mrpy.scheduler.failure import short_repr

if TYPE_CHECKING:
    import json
    from typing import Any

    from mrpy.mapreduce.files.blocks import Block
    from mrpy.mapreduce.files.pieces import Rule
    from mrpy.mapreduce.files.reading import Place
else:
    json = later("json")

# Bad bytes leave a mark in the text: where they are, and why they are bad. All of it is surrogates, which no
# text has that was decoded strictly. So nothing that takes a line apart, at blanks say, takes a mark apart.
MARK = "\udcff"  # its begin and its end
_MARKED = "mrpy-marked"
_PLAIN = re.compile(f"{MARK}([0-9]+)([^{MARK}]*){MARK}")
_HIGH = bytes(range(128, 256)) * 2  # from ASCII to the bytes that "surrogateescape" makes surrogates of
_LOW = bytes(range(128)) * 2
_SIGNED = {  # without a signature nobody knows the order of their bytes: `str` takes that of the machine
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
}
_WITH_STATE = ("utf_7", "iso2022", "hz", "punycode", "idna")  # a line may depend on what came before it


def has_newlines(encoding: str) -> bool:
    """Whether the end of a line is a byte of its own, which no other character has a part in.

    >>> [has_newlines(name) for name in ("utf-8", "cp1252", "gb18030", "utf-16", "iso2022_jp")]
    [True, True, True, False, False]
    """
    try:
        plain = "\r\n".encode(encoding).removeprefix(codecs.BOM_UTF8) == b"\r\n"
    except UnicodeError:
        return False
    name = codecs.lookup(encoding).name.replace("-", "_")
    return plain and not name.startswith(_WITH_STATE)


class Text(Frozen):
    """How bytes become text."""

    encoding: str = "utf-8"
    errors: str = "strict"
    nul: bool = True  # whether it may have one

    def decoded(self, path: str, offset: int, data: bytes) -> tuple[str, bool]:
        """The text of bytes that begin at an offset, and whether some were none: they are marked there."""
        encoding = self.behind(offset)
        name = codecs.lookup(encoding).name
        signatures = () if offset else _SIGNED.get(name, ())
        if signatures and len(data) >= len(signatures[0]) and not data.startswith(signatures):
            why = f"no signature (BOM) is at its beginning; {name}-le and {name}-be are without one"
            raise DataError(path, 0, why)
        try:
            return str(data, encoding, self.errors), False
        except UnicodeError as error:
            if self.errors != "strict" or not isinstance(error, UnicodeDecodeError):
                raise DataError(path, offset, f"{error}") from error
        codecs.register_error(_MARKED, _mark)
        marked = str(data, encoding, _MARKED)
        # places in what has a signature are counted from behind it
        begin = offset + 3 * (encoding != self.behind(1) and data.startswith(codecs.BOM_UTF8))

        def in_surrogates(found: re.Match[str]) -> str:
            text = f"{begin + int(found[1])}{found[2]}".encode("ascii", "replace")
            return f"{MARK}{text.translate(_HIGH).decode('ascii', 'surrogateescape')}{MARK}"

        return _PLAIN.sub(in_surrogates, marked), True

    def behind(self, offset: int) -> str:
        """The encoding of what begins there: a signature is at the beginning of the file only."""
        signed = offset and codecs.lookup(self.encoding).name == "utf-8-sig"
        return "utf-8" if signed else self.encoding

    def refused(self, path: str, text: str) -> DataError:
        """What to raise for text with a mark in it."""
        mark = text.split(MARK, 2)[1].encode("ascii", "surrogateescape").translate(_LOW).decode()
        at, why = mark.split(" ", 1)
        return DataError(path, int(at), f"{why} for {self.encoding} (errors='replace' reads it all the same)")


def _mark(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return f"{MARK}{error.start} {error.reason}{MARK}", error.end


class Lines(Frozen):
    """Lines of text, without their ends: as ``open(path)`` gives them, and ``line.rstrip("\\n")``."""

    text: Text = Text()
    cuttable: bool = True  # whether the ends of lines can be seen in the bytes; else a file is read whole

    def pieces(self, block: Block, opening: Opening) -> Iterator[tuple[Iterator[Any], Place]]:
        for piece in self.read(block, opening):
            yield piece.strict(), piece

    def read(self, block: Block, opening: Opening) -> Iterator[Piece]:
        """The text of a block, in pieces of whole lines."""
        for offset, data in self.bytes_of(block, opening):
            yield Piece(self, block.path, offset, data)

    def bytes_of(self, block: Block, opening: Opening) -> Generator[tuple[int, bytes], None, None]:
        """The bytes of a block, in pieces of whole lines."""
        if self.cuttable:
            return pieces(block, line_start, opening)
        return _at_once(block, opening)

    def __str__(self) -> str:
        return "lines"


def _at_once(block: Block, opening: Opening) -> Generator[tuple[int, bytes], None, None]:
    yield 0, whole(block, opening)


def lines_for(encoding: str, errors: str, nul: bool = True) -> Lines:
    """Lines in this encoding, if it is one."""
    try:
        codecs.lookup_error(errors)
        "".encode(encoding)
    except (LookupError, TypeError) as error:
        raise OptionError(f"encoding={encoding!r}, errors={errors!r}: {error}") from None
    return Lines(Text(encoding, errors, nul), has_newlines(encoding))


HELD = 16  # pieces of text, of which a file may have no more where it is read once only: 4 MB


class OnlyText(Frozen):
    """The same of those files that are text. One that was found in a directory, and is none, is passed over:
    all of it, so it is read before anything of it is given out; and a large one twice. One that cannot be
    read, or not to its end, may well be text, and is an error."""

    lines: Lines

    def pieces(self, block: Block, opening: Opening) -> Iterator[tuple[Iterator[Any], Place]]:
        for piece in self.read(block, opening) or ():
            yield piece.strict(), piece

    def read(self, block: Block, opening: Opening) -> Iterable[Piece] | None:
        """The text of a block, in pieces of whole lines; None: it is passed over."""
        pieces = self.lines.read(block, opening)
        if not block.found:
            return pieces
        held: list[Piece] = []
        number = 0
        try:
            for number, piece in enumerate(pieces, 1):
                if piece.marked:
                    return None
                if number <= HELD:
                    held.append(piece)
                else:
                    held.clear()
        except DataError as error:
            if is_text_in_part(error):
                raise
            return None
        return held if number <= HELD else self.lines.read(block, opening)

    def __str__(self) -> str:
        return str(self.lines)


class Piece:
    """Some lines of a file. It knows how many of them were given out."""

    def __init__(self, format: Lines, path: str, offset: int, data: bytes) -> None:
        self._text, self._has_marks = format.text.decoded(path, offset, data)
        self.marked = self._has_marks or (not format.text.nul and "\0" in self._text)
        self._format = format
        self._path = path
        self._offset = offset
        self._data = data
        self._count = 0
        self._lines: Iterator[str] = iter(())
        self._asked = 0, 0  # the line of the last `offset`, and where it begins: the next is behind it

    def whole(self) -> str:
        """The text. Raises where some of it is none."""
        if self.marked:
            deque(self.strict(), maxlen=0)
        return self._text

    def strict(self) -> Iterator[str]:
        """The lines; each that is no text raises."""
        text, self._text = self._text, ""  # not kept beside its lines
        lines = with_newlines(text).split("\n")
        if not lines[-1]:
            lines.pop()
        self._count = len(lines)
        self._lines = iter(lines)
        return map(self._checked, self._lines) if self.marked else self._lines

    def _checked(self, line: str) -> str:
        if self._has_marks and MARK in line:  # else "surrogateescape" has made one of a byte
            raise self._format.text.refused(self._path, line)
        if "\0" in line and not self._format.text.nul:
            at = self.offset()
            nul = None if at is None else self._offset + self._data.find(0, at - self._offset)
            raise DataError(self._path, nul, "a NUL, as in binary files")
        return line

    def offset(self) -> int | None:
        """Where the line begins that was given out last."""
        if not self._format.cuttable:
            return None
        self._asked = steps_to(self.number(), self._asked, self._data, line_start)
        return self._offset + self._asked[1]

    def number(self) -> int:
        """Its number in this piece."""
        return max(0, self._count - length_hint(self._lines) - 1)

    def where(self) -> str:
        """What to call it."""
        at = self.offset()
        return f"{self._path!r}, " + (f"line {self.number() + 1:,}" if at is None else f"byte {at:,}")


def with_newlines(text: str) -> str:
    """The text with ends of lines as `open` gives them."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def steps_to(number: int, known: tuple[int, int], data: bytes, rule: Rule) -> tuple[int, int]:
    """The number of a record, not below that of the one that is known, and where it begins by this rule."""
    at = known[1]
    for _ in range(number - known[0]):
        at = rule(data, at + 1, True)
    return number, at


_strip = methodcaller("strip", " \t\r\n")  # the blanks of JSON; others are an error there


class Parsed(Frozen):
    """Lines of which each stands for something. Those with nothing in them are passed over."""

    lines: Lines
    parse: Callable[[str], Any]
    name: str

    def pieces(self, block: Block, opening: Opening) -> Iterator[tuple[Iterator[Any], Place]]:
        for piece in self.lines.read(block, opening):
            strict = filter(_strip, piece.strict())
            yield map(_Parse(self.parse, block.path, piece), strict), piece

    def __str__(self) -> str:
        return self.name


class _Parse:
    """A parser whose errors say where they were."""

    def __init__(self, parse: Callable[[str], Any], path: str, piece: Piece) -> None:
        self._parse = parse
        self._path = path
        self._piece = piece

    def __call__(self, line: str) -> Any:
        try:
            return self._parse(line)
        except (ValueError, RecursionError) as error:  # or it is nested too deeply
            why = f"{error} in {short_repr(line)}"
            raise DataError(self._path, self._piece.offset(), why) from error


def from_json(line: str) -> Any:
    """The value of a line of JSON."""
    return json.loads(line)

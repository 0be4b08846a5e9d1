"""What runs on a worker: from a batch of pieces of text to the counts of their words, or to their lines."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BufferedReader
from typing import NamedTuple

SKIPPED = ""  # no word is empty: under this key stands how many files were passed over
SNIFF = 1 << 16  # bytes; what has no NUL in them is taken for text, and read to its end
_WORD = re.compile(r"[^\W\d_]+")


class Piece(NamedTuple):
    """The lines of a file that begin in ``begin <= offset < end``. No ``end``: all of the file.

    ``found``: somebody named its directory, not the file itself; if it is no text it is passed over.
    """

    path: str
    begin: int = 0
    end: int | None = None
    found: bool = False

    def __repr__(self) -> str:  # as errors show it
        return self.path if self.end is None else f"{self.path}, bytes {self.begin:,} to {self.end:,}"


class NotText(Exception):
    """A file that was named, and cannot be read as text."""

    def __init__(self, path: str, offset: int | None, why: str) -> None:
        super().__init__(path, offset, why)  # as many arguments as here: so it can be pickled

    def __str__(self) -> str:
        path, offset, why = self.args
        where = "" if offset is None else f" at byte {offset:,}"
        return f"{path} is not text{where}: {why}"


@dataclass(frozen=True, slots=True)
class CountWords:
    """The mapper, and the plain loop as well: both count this way, one batch by batch, one all at once."""

    encoding: str = "utf-8"
    errors: str = "strict"

    def __call__(self, batch: Iterable[Piece]) -> Counter[str]:
        counts: Counter[str] = Counter()
        for piece in batch:
            try:
                text = decoded(piece, self.encoding, self.errors)
            except (NotText, OSError):
                if not piece.found:
                    raise
                counts[SKIPPED] += 1
            else:
                counts.update(words(text))
        return counts


@dataclass(frozen=True, slots=True)
class Lines:
    """From a piece to its lines, without their ends. A file that was found and is no text has none."""

    encoding: str = "utf-8"
    errors: str = "strict"

    def __call__(self, piece: Piece) -> Iterator[str]:
        try:
            text = decoded(piece, self.encoding, self.errors)
        except (NotText, OSError):
            if not piece.found:
                raise
            return
        for line in io.StringIO(text, newline=None):  # as a file that is opened as text: all ends are \n
            yield line.removesuffix("\n")


def decoded(piece: Piece, encoding: str, errors: str) -> str:
    """The text of a piece. Raises `NotText`."""
    first, data = read(piece, binary="\0".encode(encoding) == b"\0")
    try:
        return data.decode(encoding, errors)
    except UnicodeDecodeError as error:
        if isinstance(error.object, bytes | bytearray) and len(error.object) == len(data):
            first += error.start
        why = f"{error.reason} for {encoding}"
        raise NotText(piece.path, first, f"{why} (--errors replace reads it all the same)") from None


def words(text: str) -> list[str]:
    """The words of a text: runs of letters, in lower case.

    >>> words("It's 2 o'clock, über_all")
    ['it', 's', 'o', 'clock', 'über', 'all']
    """
    return _WORD.findall(text.lower())


def total(word: str, counts: Iterator[int]) -> int:
    """The combiner and the reducer."""
    return sum(counts)


def read(piece: Piece, binary: bool) -> tuple[int, bytes]:
    """The bytes of a piece, and where in the file they begin. `binary`: refuse those with a NUL in them."""
    try:
        with _opened(piece.path) as file:
            first = _first(piece, file)
            data = file.read(SNIFF) if piece.end is None else file.read(max(0, piece.end - first))
            _refuse_nul(piece, first, data, binary)
            if piece.end is None:
                data += file.read()
            elif data and not data.endswith(b"\n"):
                data += file.readline()
            _refuse_nul(piece, first, data, binary)
            return first, data
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        why = str(error).rstrip(".")
        raise NotText(piece.path, None, f"it cannot be unpacked, {why[:1].lower()}{why[1:]}") from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, piece.path) from None  # a read does not name its file


def _opened(path: str) -> gzip.GzipFile | BufferedReader:
    return gzip.open(path) if path.endswith(".gz") else open(path, "rb")


def _first(piece: Piece, file: gzip.GzipFile | BufferedReader) -> int:
    """Where the first line begins that is the piece's own; there the file stands afterwards."""
    if piece.begin:
        file.seek(piece.begin - 1)
        file.readline()
    return file.tell()


def _refuse_nul(piece: Piece, first: int, data: bytes, binary: bool) -> None:
    at = data.find(0) if binary else -1
    if at >= 0:
        raise NotText(piece.path, first + at, "a NUL, as in binary files")

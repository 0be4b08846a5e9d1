"""Which files are meant, and how they are put into batches of about the same cost."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import select
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from typing import Any

import mrpy
from mrpy.cli.words import OPENING, CountWords
from mrpy.errors import DataError
from mrpy.light import Frozen
from mrpy.mapreduce.files.blocks import Block, cut
from mrpy.mapreduce.files.found import File, is_url, walked
from mrpy.mapreduce.files.found import files_of as files_of_paths
from mrpy.mapreduce.files.lines import Lines, Piece, lines_for
from mrpy.mapreduce.files.pieces import is_text_in_part, named, reading

TEXTS = (".md", ".py", ".rst", ".txt")  # of Python's own files, these are texts
CAP = 60_000_000  # bytes of them: some seconds of work
CUT = 1 << 20  # bytes; larger files that were named are cut here, at the ends of lines
LARGEST, SMALLEST = 4 << 20, 1 << 18  # bytes of a batch
SHARE = 8  # a batch is at most this part of what is left, so that all workers end at the same time
READ = 1 << 16  # bytes of standard input
BEGIN = 1 << 12  # bytes of a file by which it is seen whether it is text
UNPACKED = 4  # times as large as what is compressed, for a guess


class NoInput(Exception):
    """A path that stands for nothing that could be counted."""


def files_of(paths: Sequence[str]) -> list[File]:
    """All files that these paths mean, Python's own where there are none. Raises `NoInput`."""
    if not paths:
        return list(_own_texts())
    with _no_input():
        return files_of_paths("mrpy", paths, only_text=True)


def lines_of(
    paths: Sequence[str], encoding: str, errors: str
) -> tuple[mrpy.ParallelIterator[str], list[str]]:
    """The lines of these files, or of standard input; and which files in directories do not begin as text:
    their lines are not among them. What is wrong further on, of a file that does, is an error. Raises
    `NoInput`."""
    if list(paths) == ["-"]:
        return mrpy.stream(_standard_input(encoding, errors)).map(_decoded), []
    with _no_input():
        texts: list[Any] = []
        others = []
        for file in files_of_paths("mrpy", paths):
            if not file.found or is_url(file.path):  # what lies elsewhere is not opened for that
                texts.append(file)
            elif _begins_as_text(file.path, encoding, errors):
                texts.append(file.replaced(found=False))
            else:
                others.append(file.path)
        if not texts:
            raise NoInput(f"there is no text in {', '.join(paths)}")
        return mrpy.read_text(texts, encoding, errors, only_text=True), others


def _begins_as_text(path: str, encoding: str, errors: str) -> bool:
    """Whether its beginning can be unpacked and decoded."""
    packed = OPENING.is_packed(path)
    try:
        with named(path, packed), OPENING.open(path) as file:
            begin = reading(file, packed)(BEGIN)
        whole = not packed and len(begin) < BEGIN
        return "\0" not in codecs.getincrementaldecoder(encoding)(errors).decode(begin, whole)
    except UnicodeError:
        return False
    except DataError as error:
        return is_text_in_part(error)


class Undecoded(Frozen):
    """A line that is no text. It stands among those that are, and fails where they are looked at: so it is
    skipped as any other line is of which something is raised."""

    error: DataError
    where: str

    def __repr__(self) -> str:
        return self.where


def _decoded(line: str | Undecoded) -> str:
    if type(line) is Undecoded:
        raise line.error
    return line  # type: ignore[return-value]


def _standard_input(encoding: str, errors: str) -> Iterator[str | Undecoded]:
    if sys.stdin is None:
        raise NoInput("standard input is closed")
    lines = lines_for(encoding, errors)
    file: Any = sys.stdin.buffer
    with contextlib.suppress(OSError):  # it is no file of the system
        if not os.get_blocking(file.fileno()):
            file = io.BufferedReader(_Waiting(file.fileno()))
    if lines.cuttable:
        yield from standard_input(file, lines)
        return
    try:
        for line in io.TextIOWrapper(file, encoding, errors):
            yield line.removesuffix("\n")
    except UnicodeError as error:  # where its line ends cannot be seen either
        why = f"{error} (--errors replace reads it all the same)"
        raise NoInput(f"standard input is not text: {why}") from None


def standard_input(file: io.BufferedIOBase, lines: Lines) -> Iterator[str | Undecoded]:
    """The lines of what can be read once only, each as soon as it is there."""
    for offset, data in _whole_lines(file):
        piece = Piece(lines, "standard input", offset, data)
        strict = piece.strict()
        while True:
            try:
                yield next(strict)
            except StopIteration:
                break
            except DataError as error:
                yield Undecoded(error, piece.where())


def _whole_lines(file: io.BufferedIOBase) -> Iterator[tuple[int, bytes]]:
    """What comes, up to the end of a line, and where it begins."""
    offset, begun = 0, list[bytes]()
    while data := file.read1(READ):
        end = data.rfind(b"\n") + 1
        if end:
            yield offset, (whole := b"".join((*begun, data[:end])))
            offset, begun = offset + len(whole), []
        begun.append(data[end:])
    if rest := b"".join(begun):
        yield offset, rest


class _Waiting(io.RawIOBase):
    """Reads a descriptor, and waits for what comes although somebody who has it, too, has asked that nobody
    waits. To him nothing is changed."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            try:
                return os.readv(self._descriptor, [buffer])
            except BlockingIOError:
                select.select([self._descriptor], [], [])


@contextlib.contextmanager
def _no_input() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NoInput(_why(error)) from None


def _why(error: OSError) -> str:
    path, what = error.filename, error.strerror or type(error).__name__
    if path is None:  # of whatever fsspec asks, which has its own words
        return str(error) or what
    if what == os.strerror(errno.ENOENT):
        hint = "; standard input is for mrpy run, where - stands alone" if path == "-" else ""
        return f"there is no file {path}{hint}"
    if error.errno == errno.ENOENT:
        return f"{what} {path}"
    return f"{path} is {what}" if error.errno == errno.EINVAL else f"{path} cannot be read: {what.lower()}"


def _own_texts() -> Iterator[File]:
    """The sources and texts of the Python that runs this, up to `CAP` bytes."""
    library, packages = sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")
    inside = os.path.commonpath([library, packages]) == library
    left = CAP
    for folder in [library] if inside else [library, packages]:
        for file in walked(folder, check=False):
            if not file.path.endswith(TEXTS):
                continue
            left -= file.size or 0
            if left < 0:
                return
            yield file


def batches_of(files: Sequence[File], count: CountWords) -> list[list[Block]]:
    """The blocks of files in batches, large first, smaller towards the end: each a counter of its own, and
    there may be very many files."""

    def whole(file: File) -> bool:
        packed = OPENING.packed(file.path) is not None
        return file.found or packed or not count.texts.lines.cuttable or (file.size or 0) <= CUT

    blocks = list(cut(files, CUT, whole))
    costs = [block.weight * (UNPACKED if OPENING.packed(block.path) else 1) for block in blocks]
    left = sum(costs)
    batches: list[list[Block]] = []
    room = 0
    for block, cost in zip(blocks, costs, strict=True):
        if room <= 0:
            batches.append([])
            room = max(SMALLEST, min(LARGEST, left // SHARE))
        batches[-1].append(block)
        room -= cost
        left -= cost
    return batches

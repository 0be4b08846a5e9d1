"""Which files are meant, and how they are cut into batches of about the same cost."""

from __future__ import annotations

import glob
import os
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mrpy.cli.words import Piece

TEXTS = (".md", ".py", ".rst", ".txt")  # of Python's own files, these are texts
CAP = 60_000_000  # bytes of them: some seconds of work
CUT = 1 << 20  # bytes; larger files that were named are cut here, at the ends of lines
LARGEST, SMALLEST = 4 << 20, 1 << 18  # bytes of a batch
SHARE = 8  # a batch is at most this part of what is left, so that all workers end at the same time
UNPACKED = 4  # times as large as its .gz, for a guess


class NoInput(Exception):
    """A path that stands for nothing that could be counted."""


@dataclass(frozen=True, slots=True)
class File:
    """A file to read; `found` as in `Piece`."""

    path: str
    size: int
    found: bool


def files_of(paths: Sequence[str]) -> list[File]:
    """All files that these paths mean, Python's own where there are none. Raises `NoInput`."""
    if not paths:
        return list(_own_texts())
    files = [file for path in paths for file in _files(path)]
    if not files:
        raise NoInput(f"there is no file in {', '.join(paths)}")
    return files


def _files(path: str) -> Iterator[File]:
    if os.path.isdir(path):
        yield from _walked(path)
    elif os.path.lexists(path):
        yield _named(path)
    elif glob.has_magic(path):
        matches = sorted(glob.glob(path, recursive=True))
        if not matches:
            raise NoInput(f"no file matches {path}")
        for match in matches:
            yield from _walked(match) if os.path.isdir(match) else [_named(match)]
    else:
        raise NoInput(f"there is no file {path}")


def _named(path: str) -> File:
    try:
        size = os.stat(path).st_size
    except OSError as error:
        raise NoInput(f"{path} cannot be read: {_why(error)}") from None
    if not os.path.isfile(path):
        raise NoInput(f"{path} is neither a file nor a directory")
    if not os.access(path, os.R_OK):
        raise NoInput(f"{path} cannot be read: permission denied")
    return File(path, size, found=False)


def _walked(folder: str, suffixes: tuple[str, ...] = ("",)) -> Iterator[File]:
    """The files below a directory, hidden ones left out, in an order that does not change."""
    try:
        with os.scandir(folder) as entries:
            seen = sorted((each for each in entries if not each.name.startswith(".")), key=_name)
    except OSError as error:
        raise NoInput(f"{folder} cannot be read: {_why(error)}") from None
    for entry in seen:
        if entry.name.endswith(suffixes) and entry.is_file():
            yield File(entry.path, entry.stat().st_size, found=True)
    for entry in seen:
        if entry.is_dir(follow_symlinks=False) and entry.name != "__pycache__":
            yield from _walked(entry.path, suffixes)


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _why(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


def _own_texts() -> Iterator[File]:
    """The sources and texts of the Python that runs this, up to `CAP` bytes."""
    library, packages = sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")
    inside = os.path.commonpath([library, packages]) == library
    left = CAP
    for folder in [library] if inside else [library, packages]:
        for file in _walked(folder, TEXTS):
            left -= file.size
            if left < 0:
                return
            yield file


def batches_of(files: Iterable[File], cut: bool) -> list[list[Piece]]:
    """The files in batches, large first, smaller towards the end. `cut`: lines end where a byte says so."""
    pieces = [each for file in files for each in _pieces(file, cut)]
    left = sum(cost for _, cost in pieces)
    batches: list[list[Piece]] = []
    room = 0
    for piece, cost in pieces:
        if room <= 0:
            batches.append([])
            room = max(SMALLEST, min(LARGEST, left // SHARE))
        batches[-1].append(piece)
        room -= cost
        left -= cost
    return batches


def pieces_of(files: Iterable[File], cut: bool) -> list[Piece]:
    """The same one by one, in the order of the files."""
    return [piece for file in files for piece, _ in _pieces(file, cut)]


def _pieces(file: File, cut: bool) -> list[tuple[Piece, int]]:
    if file.path.endswith(".gz"):
        return [(Piece(file.path, found=file.found), file.size * UNPACKED)]
    if file.found or not cut or file.size <= CUT:  # a file that may be passed over is not cut: all or nothing
        return [(Piece(file.path, found=file.found), file.size)]
    return [
        (Piece(file.path, begin, min(begin + CUT, file.size)), min(CUT, file.size - begin))
        for begin in range(0, file.size, CUT)
    ]

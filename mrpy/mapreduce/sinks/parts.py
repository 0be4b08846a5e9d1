"""What a task writes: an attempt at a part, in a file of its own, and the receipt for it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice

from mrpy.errors import of_no_item
from mrpy.light import TYPE_CHECKING, NamedTuple
from mrpy.mapreduce.files.pieces import named
from mrpy.mapreduce.own_file import OwnFile, for_the_owner
from mrpy.mapreduce.own_folder import no_room
from mrpy.mapreduce.sinks.columns import different
from mrpy.mapreduce.steps import Step

if TYPE_CHECKING:
    from typing import Any, Protocol
else:
    Protocol = object

BATCH = 1024  # records that are written at once; out of the air
SMALL = 1 << 22  # bytes; an output of no more is one part: to copy it takes some milliseconds


class Part(NamedTuple):
    """The receipt for a part.

    ``name``     of its file, among the attempts
    ``columns``  what all parts of an output have to agree upon: the names of its columns, and their types
                 (None: what it is only the others can say)
    """

    name: str
    records: int
    nbytes: int
    columns: tuple[Any, ...] | None


class Written(NamedTuple):
    """What a sink has written: its files, in the order of the records, and how many records and bytes."""

    paths: tuple[str, ...]
    records: int
    bytes: int


class Format(Protocol):
    """How records become a file. Frozen: it travels to the workers."""

    @property
    def label(self) -> str:
        """What it is called."""

    @property
    def suffix(self) -> str:
        """At the end of the name of a file."""

    @property
    def streams(self) -> bool:
        """Whether records are written as they come, and need not be in memory together."""

    def writer(self, file: PartFile) -> Writer:
        """Begin a part."""


class Merging(Format, Protocol):
    """One whose columns have types, which those of one part may say more of than those of another."""

    @property
    def columns(self) -> tuple[Any, ...] | None:
        """See `Part`."""

    def merged(self, paths: Sequence[str]) -> Merging:
        """The format of all of these parts together. Raises `ValueError` if there is none."""


class Writer(Step, Protocol):
    """Writes one part."""

    @property
    def columns(self) -> tuple[Any, ...] | None:
        """See `Part`."""

    @property
    def problem(self) -> Exception | None:
        """What `encode` has raised, if that is an error of the run, and not of the item."""

    def encode(self, record: Any) -> Any:
        """A record as `write` takes it."""

    def over(self, items: Iterator[Any]) -> Iterator[Any]:
        """``map(self.encode, items)``, one by one: it is the last step, so that what it raises is the item's
        error. A loop of its own, in which usual records take no call, is several times as fast."""

    def write(self, items: Iterator[Any]) -> int:
        """Write some records, which are encoded; say how many."""

    def finish(self) -> None:
        """Write what is left."""

    def abandon(self) -> None:
        """Let go of everything. Never raises."""


class Joiner(Writer, Protocol):
    """A writer of a sink that joins."""

    def join(self, paths: Sequence[str], columns: tuple[Any, ...] | None) -> None:
        """Write what is in several parts, instead of records."""


class PartFile(OwnFile):
    """A file for one attempt. ``output``: what it is a part of, as the user knows it."""

    def __init__(self, folder: str, first: int, output: str) -> None:
        self.path = os.path.join(folder, f"{first}-{os.urandom(8).hex()}")
        self.output = output
        try:
            super().__init__(self.path, "xb", opener=for_the_owner)
        except OSError as error:
            raise explained(error, self.output, 1) from None

    def write(self, data: Any) -> int:  # the buffered files around this come here
        try:
            return super().write(data) or 0
        except OSError as error:
            raise explained(error, self.output, len(data)) from error

    def synced(self) -> int:
        """Have it on the disk; say how many bytes it has."""
        try:
            os.fsync(self.fileno())
            return os.fstat(self.fileno()).st_size
        except OSError as error:
            raise explained(error, self.output, 1) from error


def explained(error: OSError, output: str, needed: int) -> OSError:
    """The same error, which is no item's, and has a name; one of a disk that is full says how much room there
    is, and what it needs."""
    problem = no_room(error, os.path.dirname(output), needed)
    if problem is not None:
        return of_no_item(OSError(error.errno, f"no room to write: {problem}", output))
    if error.errno is not None and error.filename is None:
        return of_no_item(OSError(error.errno, error.strerror, output))
    return of_no_item(error)


def path_of(part: Part, folder: str, output: str) -> str:
    """Where a part lies that is to count. Raises `OSError` where it has other bytes than its task wrote."""
    path = os.path.join(folder, part.name)
    if (size := os.stat(path).st_size) != part.nbytes:
        text = f"a part of {part.nbytes} bytes was written, and has {size} now: has somebody changed it?"
        raise OSError(errno.EIO, text, output)
    return path


def batches(items: Iterator[Any]) -> Iterator[list[Any]]:
    """Encoded records, many at a time."""
    while batch := list(islice(items, BATCH)):
        yield batch


def settled(parts: list[Part], format: Format, folder: str, output: str, *, joins: bool) -> list[Part]:
    """These with the same columns. Raises `ValueError` where they have others. ``joins``: they are one, where
    all of them together are small."""
    merged = _merged(parts, format, folder, output)
    if joins and len(parts) > 1 and sum(part.nbytes for part in parts) <= SMALL:
        return [_joined(parts, merged or format, folder, output)]
    if merged is None:
        return parts
    others = {part for part in parts if part.columns != merged.columns}
    return [_joined([part], merged, folder, output) if part in others else part for part in parts]


def _merged(parts: list[Part], format: Format, folder: str, output: str) -> Merging | None:
    """The format of all of these, if the types of their columns differ."""
    kinds: dict[tuple[Any, ...] | None, Part] = {}
    for part in parts:
        kinds.setdefault(part.columns, part)
    if len(kinds) < 2 and not any(map(_is_open, kinds)):
        return None
    names = list({_names(part.columns): None for part in parts})
    if len(names) > 1:
        raise different(*names[:2])
    merging: Any = format  # a `Merging`: else columns are their names
    merged: Merging = merging.merged([path_of(part, folder, output) for part in kinds.values()])
    return merged


def _is_open(columns: tuple[Any, ...] | None) -> bool:
    """Whether the types of some are not known."""
    return any(each[1] is None for each in columns or () if not isinstance(each, str))


def _names(columns: tuple[Any, ...] | None) -> tuple[str, ...] | None:
    """Those of columns, which may have types beside them."""
    return columns and tuple(each if isinstance(each, str) else each[0] for each in columns)


def _joined(parts: list[Part], format: Format, folder: str, output: str) -> Part:
    """These in one, which takes their place."""
    file = PartFile(folder, 0, output)
    try:
        writer: Joiner = format.writer(file)  # type: ignore[assignment]  # of a sink that joins
        try:
            paths = [path_of(part, folder, output) for part in parts]
            with named(output, packed=False):
                writer.join(paths, parts[0].columns)
            writer.finish()
            records = sum(part.records for part in parts)
            made = Part(os.path.basename(file.path), records, file.synced(), writer.columns)
            for path in paths:
                with suppress(OSError):  # it goes with the folder
                    os.unlink(path)
            return made
        finally:
            writer.abandon()
    finally:
        file.close()

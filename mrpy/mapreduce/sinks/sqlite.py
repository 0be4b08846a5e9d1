"""Rows into a table of an SQLite database.

Tasks write small databases of their own; the consumer copies their rows, in order, in one transaction. A new
database is made beside its place and gets its name when it is complete. In one that is there the transaction
sees to it that all rows are there, or none.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from typing import Any

from mrpy.light import Frozen
from mrpy.mapreduce.own_file import own
from mrpy.mapreduce.plan import name_of
from mrpy.mapreduce.sinks.columns import Columns, Row
from mrpy.mapreduce.sinks.parts import Part, PartFile, Written, batches, explained
from mrpy.mapreduce.sinks.staging import Staging, place_of, publish_file, sync_folder
from mrpy.options import truth

ROWS = "rows"  # the table in the database of a part
PATIENCE = 60  # seconds that another writer may hold a database
_LARGEST = 1 << 63
_FITS = frozenset((type(None), bool, float, bytes))  # whatever the value is


class Rows(Frozen):
    """The format of the parts: rows that can stand in a table."""

    fields: tuple[str, ...] | None
    label, suffix, streams = "to_sqlite", ".db", True

    def writer(self, file: PartFile) -> RowWriter:
        return RowWriter(file, Columns(self.fields, named=True))


class RowWriter:
    """Writes rows into a database of its own."""

    def __init__(self, file: PartFile, columns: Columns) -> None:
        self._file = file
        self._columns = columns
        self._database = _opened(file.path)
        for setting in ("journal_mode = off", "synchronous = off"):  # what breaks off is thrown away
            self._database.execute(f"pragma {setting}")
        self._insert = ""

    @property
    def columns(self) -> tuple[str, ...] | None:
        return self._columns.names

    @property
    def problem(self) -> Exception | None:
        return self._columns.problem

    def encode(self, record: Any) -> Row:
        row = self._columns.row(record)
        for value in row:
            kind = type(value)
            fits = kind in _FITS or (kind is str and value.isascii())
            if not fits and not (kind is int and -_LARGEST <= value < _LARGEST):
                self._check(row)
                break
        self._columns.keep()
        return row

    def _check(self, row: Row) -> None:
        """Raise where a value does not fit: the first one."""
        for name, value in zip(self._columns.last or (), row, strict=True):
            if not (value is None or isinstance(value, int | float | str | bytes)):
                raise TypeError(f"SQLite has no place for a {name_of(type(value))}, which {name!r} is")
            if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
                raise OverflowError(f"{name!r} is too large a number for SQLite: {value}")
            if isinstance(value, str) and not value.isascii():
                value.encode()  # raises where it is no text, as names of files may be

    def write(self, items: Iterator[Any]) -> int:
        count = 0
        for rows in batches(items):
            with self._no_room():
                if not self._insert:
                    self._begin()
                self._database.executemany(self._insert, rows)
            count += len(rows)
        return count

    def _begin(self) -> None:
        names = self._columns.names or ()
        _see_that_it_can_be(ROWS, names)
        self._database.execute(f"create table {ROWS} ({', '.join(f'c{n}' for n in range(len(names)))})")
        self._insert = _inserting(ROWS, len(names))
        self._database.execute("begin")

    def finish(self) -> None:
        with self._no_room():
            if self._insert:
                self._database.execute("commit")
            self._database.close()

    def _no_room(self) -> AbstractContextManager[None]:
        return _no_room(self._file.output, self._file.path, os.path.dirname(self._file.path))

    def abandon(self) -> None:
        with suppress(Exception):
            self._database.close()


class Table:
    """A table of a database as a sink. Only its owner has it, until it is complete."""

    joins = False  # there is but one file

    def __init__(self, path: str | os.PathLike[str], table: str, format: Rows, *, overwrite: bool) -> None:
        self.path = place_of(path)
        self.format = format
        self._table = table
        self._overwrite = truth("overwrite", overwrite)
        _see_that_it_can_be(table, format.fields or ("a column",))
        if os.path.isdir(self.path):
            raise IsADirectoryError(errno.EISDIR, "a database is a file", self.path)
        if os.path.lexists(self.path):
            with _named(self.path), closing(_opened(self.path)) as database:
                self._check(database)

    def staging(self) -> Staging:
        """Where it is prepared."""
        return Staging(self.path)

    def commit(self, staging: Staging, parts: Sequence[Part]) -> Written:
        """Make these the table."""
        if os.path.lexists(self.path) or not self._is_new(staging, parts):
            self._load(self.path, staging, parts)
        return Written((self.path,), sum(part.records for part in parts), os.stat(self.path).st_size)

    def _is_new(self, staging: Staging, parts: Sequence[Part]) -> bool:
        """Whether a new database could be made, and nobody else has made one meanwhile."""
        fresh = os.path.join(staging.attempts, "new")
        self._load(fresh, staging, parts)
        try:
            publish_file(fresh, self.path)
        except FileExistsError:
            return False
        sync_folder(os.path.dirname(self.path))
        return True

    def _load(self, path: str, staging: Staging, parts: Sequence[Part]) -> None:
        """All rows, in one transaction."""
        names = parts[0].columns if parts else self.format.fields
        if names is None:
            raise ValueError("there are no records to tell which columns the table has: fields= says it")
        table = _quoted(self._table)
        room = _no_room(self.path, path, staging.attempts, sum(part.nbytes for part in parts))
        with _named(self.path), closing(_opened(path)) as database, room:
            database.execute("begin immediate")
            self._check(database)  # once more: nobody else can make it from here on
            database.execute(f"drop table if exists {table}")
            database.execute(_creating(self._table, names))
            insert = _inserting(table, len(names))
            for part in parts:
                with closing(_opened(os.path.join(staging.attempts, part.name))) as source:
                    database.executemany(insert, source.execute(f"select * from {ROWS} order by rowid"))
            database.execute("commit")

    def _check(self, database: sqlite3.Connection) -> None:
        kinds = "select type from sqlite_master where lower(name) = lower(?) and type <> 'trigger'"
        found = database.execute(kinds, (self._table,)).fetchone()
        if found and not (self._overwrite and found[0] == "table"):
            article = "an" if found[0] == "index" else "a"
            text = f"there is {article} {found[0]} {self._table!r} already"
            cure = " (overwrite=True replaces it)" if found[0] == "table" else ""
            raise FileExistsError(errno.EEXIST, text + cure, self.path)


def _opened(path: str) -> sqlite3.Connection:
    kind: type[sqlite3.Connection] = own(sqlite3.Connection)
    return sqlite3.connect(
        path, timeout=PATIENCE, isolation_level=None, check_same_thread=False, factory=kind
    )


def _see_that_it_can_be(table: str, names: Sequence[str]) -> None:
    """Raise what SQLite raises where a table of this name, or with these columns, is none."""
    if not isinstance(table, str):
        raise TypeError(f"table={table!r}: must be a string")
    with closing(_opened(":memory:")) as database:
        database.execute(_creating(table, names))


def _creating(table: str, names: Sequence[str]) -> str:
    return f"create table {_quoted(table)} ({', '.join(map(_quoted, names))})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _inserting(table: str, columns: int) -> str:
    return f"insert into {table} values ({', '.join('?' * columns)})"


@contextmanager
def _named(output: str) -> Iterator[None]:
    """What goes wrong with a database says with which: SQLite does not."""
    try:
        yield
    except sqlite3.Error as error:
        error.args = (f"{error}: {output!r}",)
        raise


@contextmanager
def _no_room(output: str, path: str, folder: str, needed: int = 1) -> Iterator[None]:
    """An error of SQLite that says that a database could not be written becomes the one that all sinks raise.
    ``folder``: where something may be tried."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            number = errno.ENOSPC
        elif error.sqlite_errorcode == sqlite3.SQLITE_IOERR_WRITE:
            number = _refusal(output, folder, os.stat(path).st_size + needed)
        else:
            raise
        raise explained(OSError(number, str(error), output), output, needed) from error


def _refusal(output: str, folder: str, at: int) -> int:
    """Why the system writes nothing there: a quota, or files may not be so large. SQLite keeps that to
    itself, so the same is tried with another file. Where that can be written it was the disk."""
    try:
        with PartFile(folder, 0, output) as file:
            file.seek(at)
            file.write(b"\0")
    except OSError as error:
        return error.errno or errno.EIO
    return errno.EIO

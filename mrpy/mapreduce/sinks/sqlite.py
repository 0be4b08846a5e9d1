"""Rows into a table of an SQLite database.

Tasks write small databases of their own. The consumer has SQLite copy their rows, in order, into one beside
the place of the output, which gets its name when it is complete. Where there is a database already the rows
are copied once more, in one transaction: all of them are there, or none.
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
from mrpy.mapreduce.sinks.columns import Columns, Row
from mrpy.mapreduce.sinks.parts import Part, PartFile, Written, batches, explained, path_of
from mrpy.mapreduce.sinks.staging import Staging, place_of, publish_file, sync_folder
from mrpy.mapreduce.steps import name_of
from mrpy.options import truth

ROWS = "rows"  # the table in the database of a part
AT_ONCE, BYTES_AT_ONCE = 100_000, 1 << 24  # rows that are copied before a Ctrl-C is heard: 0.1 s
_ALL_AT_ONCE: Sequence[Sequence[int]] = ((),)
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
        self._database = _begun(file.path)
        self._insert = ""

    @property
    def columns(self) -> tuple[str, ...] | None:
        return self._columns.names

    @property
    def problem(self) -> Exception | None:
        return self._columns.problem

    def encode(self, record: Any) -> Row:
        row = self._columns.row(record)
        self._check(row)
        self._columns.keep()
        return row

    def over(self, items: Iterator[Any]) -> Iterator[Row]:
        return self._columns.over(items, self.encode, self._check)

    def _check(self, row: Row) -> None:
        """Raise where a value does not fit."""
        for value in row:
            kind = type(value)
            fits = kind in _FITS or (kind is str and value.isascii())
            if not fits and not (kind is int and -_LARGEST <= value < _LARGEST):
                self._look_at_each(row)
                break

    def _look_at_each(self, row: Row) -> None:
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
        names = parts[0].columns if parts else self.format.fields
        if names is None:
            raise ValueError("there are no records to tell which columns the table has: fields= says it")
        creating, records = _creating(self._table, names), sum(part.records for part in parts)
        made = self._joined(creating, staging, parts)
        if os.path.lexists(self.path) or not self._published(made):
            self._insert(creating, made)
        return Written((self.path,), records, os.stat(self.path).st_size)

    def _joined(self, creating: str, staging: Staging, parts: Sequence[Part]) -> str:
        """A new database with all rows. Each part goes as soon as its rows are there."""
        made = os.path.join(staging.attempts, "new")
        room = _no_room(self.path, made, staging.attempts, sum(part.nbytes for part in parts))
        with _named(self.path), closing(_begun(made)) as database, room:
            database.execute(creating)
            for part in parts:
                path = path_of(part, staging.attempts, self.path)
                _copy(database, path, ROWS, self._table)
                database.execute("detach other")
                with suppress(OSError):  # else it goes with the folder
                    os.unlink(path)
        return made

    def _published(self, made: str) -> bool:
        """Whether it could become the output: nobody else has made one meanwhile."""
        try:
            with open(made, "rb") as file:
                os.fsync(file.fileno())
        except OSError as error:
            raise explained(error, self.path, 1) from error
        try:
            publish_file(made, self.path)
        except FileExistsError:
            return False
        sync_folder(os.path.dirname(self.path))
        return True

    def _insert(self, creating: str, made: str) -> None:
        """All rows into the database that is there, in one transaction."""
        room = _no_room(self.path, self.path, os.path.dirname(made), os.stat(made).st_size)
        with _named(self.path), closing(_opened(self.path)) as database, room:
            database.execute("begin immediate")
            self._check(database)  # once more: nobody else can make it from here on
            database.execute(f"drop table if exists {_quoted(self._table)}")
            database.execute(creating)
            _copy(database, made, self._table, self._table)
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


def _begun(path: str) -> sqlite3.Connection:
    """One that is thrown away if what is written into it breaks off."""
    database = _opened(path)
    for setting in ("journal_mode = off", "synchronous = off"):
        database.execute(f"pragma {setting}")
    return database


def _copy(database: sqlite3.Connection, path: str, theirs: str, ours: str) -> None:
    """Add the rows of a table of ours in another file, in their order. The file is `other` from here on, if
    both write text alike: else SQLite cannot have both open, and the rows come by here."""
    theirs, ours = _quoted(theirs), f"main.{_quoted(ours)}"
    with closing(_opened(path)) as source:
        some, ranges = f"select * from {{}}.{theirs}", _ALL_AT_ONCE
        if number := _row_number(source, theirs):  # else all at once, in the order in which they lie
            some += f" where {number} > ? and {number} <= ? order by {number}"
            ranges = _ranges(source.execute(f"select max({number}) from {theirs}").fetchone()[0] or 0, path)
        if database.execute("pragma encoding").fetchone() == ("UTF-8",):
            database.execute("attach ? as other", (os.fsencode(path),))  # a name need not be UTF-8
            for each in ranges:
                database.execute(f"insert into {ours} {some.format('other')}", each)
            return
        for each in ranges:
            rows = source.execute(some.format("main"), each)
            database.executemany(_inserting(ours, len(rows.description)), rows)


def _row_number(database: sqlite3.Connection, table: str) -> str | None:
    """What SQLite calls the number of a row, unless a column is called so."""
    described = database.execute(f"select * from {table} limit 0").description
    columns = {column.lower() for column, *_ in described}
    return next((name for name in ("rowid", "_rowid_", "oid") if name not in columns), None)


def _ranges(last: int, path: str) -> Sequence[Sequence[int]]:
    """The numbers of rows up to the last, as many at a time as are copied soon."""
    at_once = max(1, min(AT_ONCE, last * BYTES_AT_ONCE // max(1, os.stat(path).st_size)))
    return [(first, first + at_once) for first in range(0, last, at_once)]


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

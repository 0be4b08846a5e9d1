"""Finished chunks in a file, so that a run that was cut short can be resumed.

The file is an SQLite database with one row per finished chunk: where in the source it begins, how many
items it spans, its results as a pickle, and a checksum of all that and of the program. It says which program
it belongs to (``program.py``), which files that reads and with what seed, and is refused for others. A row
whose checksum is wrong is computed again. What is too much for memory lies in files beside this one, and the
row says where (``kept_runs.py``). One run at a time uses a file: until it ends any other is refused, in
whatever process. Pickles can run code when they are opened, so a file that others may write, or that is
somebody else's, is refused.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress

from mrpy.errors import CheckpointError
from mrpy.light import TYPE_CHECKING, later
from mrpy.scheduler import codec, views
from mrpy.scheduler.importable import end_of_names, mentions_pipes

if TYPE_CHECKING:
    import hashlib
    import resource
    import sqlite3
    from typing import Any

    from mrpy.mapreduce import kept_runs, program
    from mrpy.mapreduce.kept_runs import KeptRuns
    from mrpy.options import Options
else:
    kept_runs, program = later("mrpy.mapreduce.kept_runs"), later("mrpy.mapreduce.program")
    # Only for those who ask for a checkpoint.
    hashlib, resource, sqlite3 = later("hashlib"), later("resource"), later("sqlite3")

_TABLES = """
create table if not exists run (program text not null, version integer not null);
create table if not exists chunk (first integer primary key, count integer, body blob, digest blob);
create table if not exists file (name text primary key, first integer not null, writer text not null);
"""
VERSION = 4
_OTHER_PROGRAM = (
    "another program: its functions were changed since, or their parameters, or the verb; or it was written "
    "by another Python"
)
_OTHERS = (  # by what differs in what is known of it
    _OTHER_PROGRAM,
    "a run over other files or rows: they were changed since, or others are read now",
    "a run with another seed=",
    "a run with another buffersize= or buffer_bytes=, which has kept what it was folded from",
)


class Checkpoint:
    """The finished chunks of one run. ``runs``: where what is large of them lies, if it may lie on disk.
    Raises `CheckpointError` where the file cannot be used."""

    def __init__(self, path: str | os.PathLike[str], program: str, runs: KeptRuns | None = None) -> None:
        self._path = os.fspath(path)
        self._program = program
        self._runs = runs
        _make_private(self._path)
        try:
            path = os.path.abspath(self._path)  # ":memory:" and "file:..." are no files to SQLite
            self._file = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
            with ExitStack() as otherwise:
                otherwise.callback(self._file.close)
                self._begin()
                self._open = otherwise.pop_all()
        except sqlite3.Error as error:
            if _code_of(error) == sqlite3.SQLITE_BUSY:
                raise CheckpointError(
                    f"the checkpoint {self._path} is in use by another run; end or close() that one, or name "
                    "another file"
                ) from error
            cure = "; if it was one, remove it, and begin afresh" if _is_damage(error) else ""
            text = f"{self._path} cannot be used as a checkpoint: {_said(error)}{cure}"
            raise CheckpointError(text) from error

    def _begin(self) -> None:
        self._file.execute("pragma locking_mode = exclusive")  # until it is closed
        self._file.execute("pragma journal_mode = wal")
        self._file.execute("pragma synchronous = normal")
        self._file.executescript(_TABLES)
        self._check()

    def _check(self) -> None:
        row = self._file.execute("select program, version from run").fetchone()
        if row is None:
            self._file.execute("insert into run values (?, ?)", (self._program, VERSION))
        elif row != (self._program, VERSION):
            parts = zip(row[0].split(), self._program.split(), _OTHERS, strict=False)  # whatever was there
            whose = next((why for then, now, why in parts if then != now), _OTHER_PROGRAM)
            raise CheckpointError(
                f"{self._path} is the checkpoint of {whose}; remove it, or name another file"
            )

    def get(self, first: int) -> tuple[int, Any] | None:
        """How many items the chunk that begins at `first` spans, and its results, if they are there."""
        row = self._row("select count, body, digest from chunk where first = ?", first)
        if row is None or not isinstance(row[1], bytes) or self._digest(first, *row[:2]) != row[2]:
            return None
        try:
            results = codec.decode(codec.Payload(row[1]))
        except Exception:  # written by other versions of the user's classes: compute it again
            return None
        if self._runs is not None:
            results = self._runs.recalled(results, lambda name: self._writer(name, first))
            if results is None:
                return None
        return row[0], results

    def _writer(self, name: str, first: int) -> str | None:
        """Who wrote a file of this chunk. None: it is not said to be one, and would be swept away."""
        row = self._row("select writer from file where name = ? and first = ?", name, first)
        return row and str(row[0])

    def _row(self, query: str, *of: object) -> Any:
        try:
            return self._file.execute(query, of).fetchone()
        except sqlite3.Error:  # damaged where it was
            return None

    def _digest(self, first: int, count: object, body: bytes) -> bytes:
        """What a row hashes to: all of it, and the program that it is of."""
        digest = hashlib.blake2b(f"{self._program} {first} {count!r} ".encode(), digest_size=16)
        digest.update(body)
        return digest.digest()

    def put(self, first: int, count: int, results: Any) -> None:
        """Keep a finished chunk. Raises `CheckpointError` where the disk is full, say."""
        body = self._pickled(results)
        files = self._runs.names(results) if self._runs is not None else ()
        try:
            with self._file:
                self._file.execute("begin")
                row = (first, count, body, self._digest(first, count, body))
                self._file.execute("insert or replace into chunk values (?, ?, ?, ?)", row)
                self._file.execute("delete from file where first = ?", (first,))
                rows = ((name, first, kept_runs.this_process()) for name in files)
                self._file.executemany("insert or replace into file values (?, ?, ?)", rows)
        except sqlite3.Error as error:
            cure = "; remove it, and begin afresh" if _is_damage(error) else ""
            raise CheckpointError(f"{self._path} cannot be written: {_said(error)}{cure}") from error

    def _pickled(self, results: Any) -> bytes:
        """Classes of the main module by name, where that goes: who resumes has a main module of his own, with
        the same classes, and no use for copies of those that once were."""
        with suppress(*codec.REFUSALS):
            body = views.dumps(results)
            if not mentions_pipes(body, end_of_names(body)):
                return body
        from mrpy.scheduler import byvalue  # heavy: only where plain pickle does not do

        try:
            return byvalue.dumps(results)
        except codec.REFUSALS as error:
            raise CheckpointError(f"results cannot be written to {self._path}: {error}") from error

    def finished(self) -> None:
        """All chunks are there: what was left by those that were cut short may go. If nothing of them is on
        disk, the file is free for another run."""
        if self._runs is not None:
            with suppress(sqlite3.Error):  # damaged: nobody knows what may go
                self._runs.sweep({name for (name,) in self._file.execute("select name from file")})
        if self._runs is None or not self._runs.referred:
            self.close()

    def __enter__(self) -> Checkpoint:
        with ExitStack() as otherwise:
            otherwise.callback(self.close)
            if self._runs is not None:
                self._runs.open()
                self._open.callback(self._runs.close)  # first, as long as the file is ours
            otherwise.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. May be called twice."""
        self._open.close()


def checkpoint_for(
    options: Options,
    steps: Iterable[object],
    kind: str,
    runs: KeptRuns | None = None,
    *,
    in_pieces: bool = False,
) -> AbstractContextManager[Checkpoint | None]:
    """The checkpoint of a run, if it is to have one, for a ``with`` statement. ``in_pieces``: it keeps items
    that are folded later."""
    if options.checkpoint is None:
        return nullcontext()
    of = program.program_of(steps, kind), options.seed, "items" if in_pieces else "results"
    return Checkpoint(options.checkpoint, " ".join(map(str, of)), runs)


def _code_of(error: sqlite3.Error) -> int:
    """What happened, without in what way. Text that is none is found by Python, which has no code for it."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _is_damage(error: sqlite3.Error) -> bool:
    return _code_of(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _said(error: sqlite3.Error) -> str:
    """What SQLite says of it. It takes a limit of the shell for a broken disk."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    failed = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_WRITE
    if not failed or limit == resource.RLIM_INFINITY:
        return str(error)
    return f"{error}; files may be no larger than {limit} bytes (ulimit -f)"


def _make_private(path: str) -> None:
    """Create the file for its owner alone, or see that it is so. One that is there is not opened: to close it
    would let go of the lock that a run of this process has on it, as POSIX wants it."""
    try:
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        found = os.lstat(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be used as a checkpoint: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):
        raise CheckpointError(f"{path} cannot be used as a checkpoint: it is no ordinary file")
    refuse_others(f"the checkpoint {path}", found)


def refuse_others(what: str, found: os.stat_result) -> None:
    """Raises `CheckpointError` where it is not its user's alone to write."""
    if found.st_uid != os.getuid():
        raise CheckpointError(f"{what} belongs to somebody else")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise CheckpointError(f"{what} may be written by others (mode {found.st_mode & 0o777:o})")

"""Where the job of ``mrpy run`` is found, and where its pairs go."""

from __future__ import annotations

import codecs
import contextlib
import errno
import importlib.util
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any, TextIO

import mrpy
from mrpy.errors import item_of
from mrpy.mapreduce.groups import key_said
from mrpy.mapreduce.sinks.parts import explained
from mrpy.mapreduce.sinks.staging import Staging, clear_stale, publish_file

# What would end a field or a line early, and what says so.
_ESCAPES = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r", "\\": "\\\\"})

_AS_BYTES = "mrpy-as-bytes"  # how what has come of bytes that are no text is written


class NoJob(Exception):
    """A name that stands for no job."""


class BrokenModule(Exception):
    """A module that raised something while it was imported."""


def job_of(target: str) -> mrpy.Job:
    """The job that ``module:name`` or ``file.py:name`` means. Raises `NoJob`, `BrokenModule`."""
    where, colon, name = target.rpartition(":")
    if not (where and colon and name):
        raise NoJob(f"{target} names no job; write module:Job, or file.py:Job")
    module = _imported(where)
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if isinstance(found, type) and issubclass(found, mrpy.Job):
        try:
            return found()
        except TypeError as error:
            raise NoJob(f"{target} cannot be made without arguments: {error}; name an instance") from error
    if isinstance(found, mrpy.Job):
        return found
    problem = f"has no {name}" if found is None else f"has {name}, which is no mrpy.Job"
    there = [each for each, value in vars(module).items() if _is_job(value) and value is not mrpy.Job]
    raise NoJob(f"{where} {problem}" + (f"; there is {', '.join(there)}" if there else ""))


def _is_job(value: Any) -> bool:
    return isinstance(value, mrpy.Job) or (isinstance(value, type) and issubclass(value, mrpy.Job))


def _imported(where: str) -> ModuleType:
    """A module by its name, looked for in the working directory first, or by its file. Workers import it too,
    for they get our import path."""
    folder, name = os.getcwd(), where
    if where.endswith(".py") or os.sep in where:
        if not os.path.isfile(where):
            raise NoJob(f"there is no file {where}")
        folder, file = os.path.split(os.path.abspath(where))
        name = file.removesuffix(".py")
        if "." in name:  # an import would look for a package
            raise NoJob(f"{where}: the name of a module has no dot in it; rename the file")
    sys.path.insert(0, folder)
    if _is_hidden(name.partition(".")[0], folder, where if name != where else None):
        raise NoJob(f"{where} is hidden by another module of that name; rename it")
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise NoJob(f"there is no module {name}") from error
        raise BrokenModule(f"{where} cannot be imported: {type(error).__name__}: {error}") from error


def _is_hidden(name: str, folder: str, file: str | None) -> bool:
    """Whether an import of a name gives something else than what there is of it in a folder, or than this
    file in it: built-in modules, and what is imported already, are not looked for."""
    wanted = file or (name and getattr(PathFinder.find_spec(name, [folder]), "origin", None))
    if not wanted:
        return False
    there = sys.modules.get(name)
    found = importlib.util.find_spec(name) if there is None else there.__spec__
    return os.path.realpath(getattr(found, "origin", None) or os.devnull) != os.path.realpath(wanted)


def write(pairs: Iterable[tuple[Any, Any]], file: TextIO) -> int:
    """One line per pair: key, tab, value. How many there were."""
    number = 0
    for key, value in pairs:
        file.write(f"{_field(key)}\t{_field(value)}\n")
        number += 1
    return number


def _field(value: Any) -> str:
    """A value as a field of a line.

    >>> _field("a\\tb"), _field(1.5)
    ('a\\\\tb', '1.5')
    """
    return str(value).translate(_ESCAPES)


@contextlib.contextmanager
def output(path: str | None, *, overwrite: bool) -> Iterator[TextIO]:
    """The terminal, or a file, which is there when all of it was written and not before. Raises OSError where
    it is there already, or in the end, unless it is to be replaced. It is prepared in a folder beside it."""
    if path is None or path == "-":
        if sys.stdout is None:
            raise OSError(errno.EBADF, "standard output is closed")
        yield sys.stdout
        sys.stdout.flush()
        return
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe, say; a folder is refused
        with _opened(path) as file:
            yield file
        return
    if path.endswith(os.sep):
        raise NotADirectoryError(errno.ENOTDIR, "there is no such folder, and it would be no file", path)
    if os.path.lexists(path) and not overwrite:
        raise FileExistsError(errno.EEXIST, "there already; --overwrite replaces it", path)
    target = os.path.realpath(path)  # where a link leads to
    with contextlib.ExitStack() as stack:
        try:
            clear_stale(target)
            staging = stack.enter_context(Staging(target))
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None  # and not the name of the folder
        part = os.path.join(staging.attempts, "part")
        with _told_of_room(path), _opened(part) as file:
            with contextlib.suppress(OSError):  # who could not read the old one shall not read this
                os.chmod(part, stat.S_IMODE(os.stat(target).st_mode))
            yield file
        if overwrite:
            os.replace(part, target)
        else:
            publish_file(part, target)  # what was not there at the begin may be there now


def _opened(path: str) -> TextIO:
    codecs.register_error(_AS_BYTES, _as_bytes)
    return open(path, "w", encoding="utf-8", errors=_AS_BYTES)


def _as_bytes(error: UnicodeError) -> tuple[str | bytes, int]:
    """The byte that a file name, say, had there; half a character is written out, as on the terminal."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    error.end = error.start + 1  # of several that cannot be encoded each by itself
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


@contextlib.contextmanager
def _told_of_room(path: str) -> Iterator[None]:
    """Have an error of a disk that is full say for which file, and how much room there is. One that the job
    has raised says itself what it is about."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or item_of(error) or key_said(error):
            raise
        raise explained(error, os.path.abspath(path), 1) from None

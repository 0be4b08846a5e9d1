"""Which files are meant: paths, patterns, directories and URLs, in an order that does not change.

All of it is looked up at once, in the consumer: what does not exist is an error on the user's own line. Of
what the files hold nothing is read here.
"""

from __future__ import annotations

import errno
import glob
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from zlib import crc32

from mrpy.light import TYPE_CHECKING, Frozen, later
from mrpy.mapreduce.own_folder import IN_PREPARATION

if TYPE_CHECKING:
    from typing import Any

    from mrpy.mapreduce.files import opening
else:
    opening = later("mrpy.mapreduce.files.opening")


class Origin(Frozen):
    """Which file a name stands for on a machine as long as it is not given to another, and its bytes then."""

    machine: str
    device: int
    inode: int
    changed: int
    size: int = 0

    def has_gone(self, now: Origin) -> bool:
        """Whether another file has got its name by a rename, as is the custom: where it was removed first,
        the other may have its number, too. Of other machines, which may have a copy, nothing is known, and
        some file systems have new numbers for a file that was not changed."""
        same_place = (self.machine, self.device) == (now.machine, now.device)
        return same_place and self.inode != now.inode and self.changed != now.changed

    def has_shrunk(self, now: Origin) -> bool:
        """Whether it has fewer bytes by now. A copy on another machine may be packed in another way."""
        return self.machine == now.machine and now.size < self.size


def origin_of(about: os.stat_result) -> Origin:
    """That of the file which this is about."""
    return Origin(_machine(), about.st_dev, about.st_ino, about.st_mtime_ns, about.st_size)


@cache
def _machine() -> str:
    return os.uname().nodename


class File(Frozen):
    """A file: its bytes, where they are known, and a number that is another one when it was changed.

    ``found``   nobody named it, but a directory that it is in
    ``origin``  which file of this machine it is
    """

    path: str
    size: int | None
    version: int = 0
    found: bool = False
    origin: Origin | None = None

    def __repr__(self) -> str:  # asked of each of very many, for the fingerprint of them all
        size, version, found = self.size, self.version, self.found
        return f"File(path={self.path!r}, size={size!r}, version={version!r}, found={found!r})"


def files_of(
    verb: str, paths: Any, storage: Mapping[str, Any] | None = None, only_text: bool = False
) -> list[File]:
    """All files that these paths mean; those among them that are a `File` already, as they are. Raises
    `FileNotFoundError` and its like for those that mean none.
    ``only_text``: who is found may turn out to be none of those that are meant, so he is not refused here."""
    files: list[File] = []
    for path in _listed(verb, paths):
        files += [path] if isinstance(path, File) else _files(path, storage, only_text)
    if not files:
        raise FileNotFoundError(errno.ENOENT, f"{verb}() was given no path at all")
    return files


def _listed(verb: str, paths: Any) -> list[str | File]:
    many = [paths] if isinstance(paths, str | bytes | os.PathLike) or hasattr(paths, "read") else paths
    try:
        return [_path(verb, path) for path in many]
    except TypeError as error:
        if not hasattr(many, "__iter__"):
            raise TypeError(f"{verb}() needs a path, or several, not {type(paths).__name__}") from None
        raise error


def _path(verb: str, path: Any) -> str | File:
    if isinstance(path, File):
        return path
    try:
        name = os.fspath(path)
    except TypeError:
        raise TypeError(
            f"{verb}() needs paths, not {type(path).__name__}: workers open the files themselves"
        ) from None
    return os.fsdecode(name)


def is_url(path: str) -> bool:
    """Whether fsspec is to open it.

    >>> is_url("s3://bucket/key"), is_url("data/a.txt"), is_url("simplecache::http://example.org/a")
    (True, False, True)
    """
    return "://" in path


def _files(path: str, storage: Mapping[str, Any] | None, only_text: bool) -> Iterator[File]:
    if is_url(path):
        yield from _remote(path, storage)
    elif os.path.lexists(path) or not glob.has_magic(path):  # a file may have a star in its name
        yield from _below(path, only_text)
    else:
        yield from _matching(path, only_text)


def _matching(pattern: str, only_text: bool) -> Iterator[File]:
    """The files that match, or all below the directories where only these do."""
    matches = sorted(_matches(pattern))
    files = [match for match in matches if not os.path.isdir(match)]
    if not matches:
        raise FileNotFoundError(errno.ENOENT, "no file matches", pattern)
    for match in files or matches:
        yield from _below(match, only_text)


def _matches(pattern: str) -> set[str]:
    """What matches as `glob.glob` has it with ``recursive=True``; without what is hidden, prepared, or below
    a link to a folder, unless the pattern names that: links may lead in circles."""
    parts = pattern.split("/")
    first = next(at for at, part in enumerate(parts) if glob.has_magic(part))
    if parts[-1] == "**":
        parts.append("*")
    return set(_expanded("".join(f"{part}/" for part in parts[:first]), parts[first:]))


def _expanded(folder: str, parts: Sequence[str]) -> Iterator[str]:
    """What matches these parts of a pattern below a folder, whose name ends in a slash."""
    part, *rest = parts
    if part == "**":
        for each in _folders(folder):
            yield from _expanded(each, rest)
        return
    for match in _named(folder, part):
        if rest:
            yield from _expanded(f"{match}/", rest)
        else:
            yield match


def _folders(folder: str) -> Iterator[str]:
    """A folder, and those below it."""
    yield folder
    with suppress(OSError), os.scandir(folder or ".") as entries:  # as `glob`: it may be a file, or closed
        inner = [each.name for each in entries if _is_shown(each.name) and each.is_dir(follow_symlinks=False)]
        for name in inner:
            yield from _folders(f"{folder}{name}/")


def _named(folder: str, part: str) -> Iterator[str]:
    """What is in a folder, of a name that is said or matches."""
    if not glob.has_magic(part):
        yield from [folder + part] * os.path.lexists(folder + part)
        return
    for match in glob.iglob(glob.escape(folder) + part):
        if _hidden(os.path.basename(match)) <= _hidden(part) and not _is_linked_folder(match):
            yield match


def _is_linked_folder(path: str) -> bool:
    return os.path.islink(path) and os.path.isdir(path)


def _below(path: str, only_text: bool) -> Iterator[File]:
    """The file of this name, or all in the directory of this name."""
    about = os.stat(path)
    if not stat.S_ISDIR(about.st_mode):
        _check(path, about)
        named = _for_others(path, about) if path.startswith(_OF_A_PROCESS) else path
        yield File(named, _size(about), about.st_mtime_ns, origin=_origin(about))
        return
    files = list(walked(path, check=not only_text))
    if not files:
        raise FileNotFoundError(errno.ENOENT, "there is no file in the directory", path)
    yield from files


_OF_A_PROCESS = ("/dev/stdin", "/dev/fd/")  # a worker has others of that name


def _for_others(path: str, about: os.stat_result) -> str:
    """What other processes call it."""
    real = os.path.realpath(path)
    with suppress(OSError):
        if os.path.samestat(os.stat(real), about):
            return real
    number = path.removeprefix("/dev/fd/").replace("/dev/stdin", "0")
    return f"/proc/{os.getpid()}/fd/{number}"  # it has no name any more


_PREPARED = re.compile(f".+{IN_PREPARATION}")


def walked(folder: str, check: bool = True) -> Iterator[File]:
    """What is in a directory, without what is hidden; first its files, then what is in those below it.
    ``check``: that they can be read, and which they are; else others will do that are there by then."""
    with os.scandir(folder) as entries:
        seen = sorted((each for each in entries if _is_shown(each.name)), key=lambda each: each.name)
    for entry in seen:
        if _is_file(entry):
            about = entry.stat()
            if check:
                _check(entry.path, about)
            yield File(entry.path, _size(about), about.st_mtime_ns, True, _origin(about) if check else None)
    for entry in seen:
        if entry.is_dir(follow_symlinks=False):
            yield from walked(entry.path, check)


def _is_shown(name: str) -> bool:
    """Whether it is neither hidden nor an output that is being prepared, or that a killed run has left so."""
    return name in (".", "..") or not (name.startswith(".") or _PREPARED.fullmatch(name))


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link that leads to itself
        return False


def _origin(about: os.stat_result) -> Origin | None:
    """That of a file. Those of /proc have no bytes, and may be others in each process."""
    return origin_of(about) if _size(about) else None


def _size(about: os.stat_result) -> int:
    """Its bytes; 0 of one of /sys, of which each says that it has a page, and is on no disk."""
    return 0 if about.st_blocks == 0 and about.st_size == os.sysconf("SC_PAGE_SIZE") else about.st_size


def _check(path: str, about: os.stat_result) -> None:
    if not stat.S_ISREG(about.st_mode):
        raise OSError(errno.EINVAL, "neither a file nor a directory", path)
    if not os.access(path, os.R_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


def _remote(url: str, storage: Mapping[str, Any] | None) -> Iterator[File]:
    files, inner = opening.file_system(url, storage)
    if glob.has_magic(inner):
        matches, found, problem = files.glob(inner, detail=True), False, "no file matches"
    elif files.isdir(inner):
        matches, found, problem = files.find(inner, detail=True), True, "there is no file in the directory"
    else:
        try:
            yield _described(url, files.info(inner))
        except FileNotFoundError as error:
            if error.errno is not None:
                raise
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), url) from error
        return
    asked = _hidden(inner)
    shown = sorted(name for name in matches if _hidden(name) <= asked)
    names = [name for name in shown if _is_remote_file(files, name, matches[name], found)]
    if not names:
        raise FileNotFoundError(errno.ENOENT, problem, url)
    for name in names:
        if "::" in name:
            raise OSError(errno.EINVAL, "a name with '::' in it, which fsspec takes apart", name)
        about = matches[name]
        whole = about if about.get("size") is not None else files.info(name)  # a list may not say
        yield _described(_match_of(url, name), whole, found)


def _hidden(path: str) -> int:
    """How many parts of a path are hidden: who has more of them than was asked for is not meant."""
    return sum(not _is_shown(part) for part in path.split("/"))


def _is_remote_file(files: Any, name: str, about: Mapping[str, Any], found: bool) -> bool:
    kind = about.get("type", "file")
    if kind in ("file", "directory"):
        return bool(kind == "file")
    return bool(files.isfile(name) if found else not files.isdir(name))  # a link, say: one is asked for


_CHANGES = ("mtime", "LastModified", "ETag", "etag", "updated", "CRC")  # what file systems have of these


def _described(url: str, about: Mapping[str, Any], found: bool = False) -> File:
    changed = repr([about.get(name) for name in _CHANGES])
    return File(url, about.get("size"), crc32(changed.encode()), found)


def _match_of(url: str, match: str) -> str:
    """The URL of a file that was found by `url`, of which a part is a pattern or a directory.

    >>> _match_of("s3://bucket/*.gz", "bucket/a.gz"), _match_of("simplecache::s3://b/*", "b/c")
    ('s3://bucket/a.gz', 'simplecache::s3://b/c')
    """
    if "://" in match:
        return match
    parts = url.split("::")
    place = next((at for at, part in enumerate(parts) if "://" in part), 0)
    protocol = parts[place].split("://")[0]
    return "::".join([*parts[:place], f"{protocol}://{match}", *parts[place + 1 :]])

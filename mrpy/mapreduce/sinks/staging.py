"""A folder beside the output, in which it is prepared, and the one step that makes it the output.

    out.3f9c0a1b2c4d5e6f.tmp/    only its owner can enter it
        alive                    locked as long as its run is
        attempts/                what tasks write: each attempt at a part is a file of its own
        parts/                   those that count, under their last names: this becomes ``out``
        old/                     what it replaces, for a moment, where the two cannot be exchanged

Only the consumer knows which attempts count. So a task may be run twice, or come late, and its output is
there once; whoever writes when all is over finds his folder gone. A run that ends in whatever way removes its
folder. What a run has left that was killed, the next one clears that writes to the same place.
"""

from __future__ import annotations

import errno
import os
import re
import weakref
from contextlib import suppress

from mrpy.mapreduce import own_folder
from mrpy.mapreduce.files.found import is_url

ATTEMPTS, PARTS, OLD = "attempts", "parts", "old"
MEANWHILE = "another run has written there meanwhile"
_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)
_HERE = -100  # AT_FDCWD
_IN_THE_WAY = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)


class Staging:
    """The folder of one run that writes to `target`: made at the begin of a ``with`` block and gone at its
    end, or at the latest with the object or the process."""

    def __init__(self, target: str) -> None:
        self.target = target
        self._path = ""
        self._end: weakref.finalize[[str, str, int, int], Staging] | None = None

    def __enter__(self) -> Staging:
        with own_folder.undisturbed():
            self._make()
        return self

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        removed = isinstance(error, FileNotFoundError) and not os.path.lexists(self._path)
        if self._end is not None:
            with own_folder.undisturbed():
                self._end()
        if removed:
            text = f"somebody else has removed the folder in which it was made, {self._path}"
            raise FileNotFoundError(errno.ENOENT, text, self.target) from error

    @property
    def attempts(self) -> str:
        """The folder in which tasks write."""
        return os.path.join(self._path, ATTEMPTS)

    @property
    def parts(self) -> str:
        """Where what is to be published is put together."""
        return os.path.join(self._path, PARTS)

    def _make(self) -> None:
        try:
            self._path, lock = own_folder.make(lambda: _fresh(self.target))
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            text = "nothing may be written into its folder, where it is prepared"
            raise OSError(error.errno, text, self.target) from None
        self._end = weakref.finalize(self, _ended, self._path, self.target, lock, os.getpid())
        try:
            os.mkdir(self.attempts, 0o700)
        except OSError:
            self._end()
            raise

    def publish(self, *, replace: bool) -> None:
        """Make `parts` the output, in one step."""
        sync_folder(self.parts)
        if replace and os.path.lexists(self.target):
            if not _exchanged(self.parts, self.target):
                os.rename(self.target, os.path.join(self._path, OLD))
                os.rename(self.parts, self.target)  # if it comes to nothing, `discard` puts the old one back
        else:
            try:
                os.rename(self.parts, self.target)
            except OSError as error:
                if error.errno not in _IN_THE_WAY:
                    raise
                raise FileExistsError(errno.EEXIST, MEANWHILE, self.target) from None
        sync_folder(os.path.dirname(self.target))


def publish_file(fresh: str, target: str) -> None:
    """Give a file that is complete its name, in one step. Raises `FileExistsError` where there is something:
    a rename would replace it."""
    try:
        os.link(fresh, target)
    except OSError as error:
        if isinstance(error, FileExistsError) or os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, MEANWHILE, target) from None
        os.rename(fresh, target)  # a file system without links
    else:
        with suppress(OSError):  # it has its name, and the other one goes with the folder
            os.unlink(fresh)


def _ended(path: str, target: str, lock: int, owner: int) -> None:
    if os.getpid() == owner:  # to a forked child it does not belong
        with suppress(OSError):
            discard(path, target)
    with suppress(OSError):
        os.close(lock)


def place_of(path: str | os.PathLike[str]) -> str:
    """Where an output goes: from any working directory, and behind links. What was left there is cleared."""
    if not os.fsdecode(path):  # the working directory, to `realpath`
        raise ValueError(f"an output needs a name: {path!r}")
    if is_url(os.fsdecode(path)):
        raise ValueError(f"outputs go to folders and files of this machine, and not to URLs: {path!r}")
    target = os.path.realpath(os.fsdecode(path))
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "the folder to write into does not exist", folder)
    clear_stale(target)
    return target


def clear_stale(target: str) -> None:
    """Remove what runs that were killed have left beside an output: our own user's only."""
    folder, name = os.path.split(target)
    ours = re.compile(re.escape(name) + own_folder.IN_PREPARATION)
    with os.scandir(folder) as entries:
        found = [entry for entry in entries if ours.fullmatch(entry.name)]
    own_folder.clear(found, lambda path: discard(path, target))


def discard(path: str, target: str) -> None:
    """Remove a folder that was prepared, and put back the output that was to be replaced, if it had come to
    that."""
    old = os.path.join(path, OLD)
    if os.path.lexists(old) and not os.path.lexists(target):
        os.rename(old, target)
    own_folder.discard(path, _fresh(target))


def sync_folder(path: str) -> None:
    """Have the names in a folder on the disk, where that goes: some file systems cannot, some folders may not
    be read, and whoever asks for it last has published already."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _fresh(target: str) -> str:
    return f"{target}.{os.urandom(8).hex()}.tmp"


def _exchanged(one: str, other: str) -> bool:
    """Whether two names could be exchanged in one step, as most file systems of Linux can."""
    import ctypes

    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is None:
        return False
    return bool(rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0)

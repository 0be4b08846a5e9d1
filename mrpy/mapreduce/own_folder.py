"""Folders on disk that belong to one run, and a disk that is full.

Only its owner can enter such a folder. A file in it is locked as long as the run is alive; the kernel frees
the lock of a process that was killed. So the next run knows what may go (`clear`). Between the moments at
which a folder is made and is locked, another run may take it for one that was left: whoever makes one sees to
it that he still has it.
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress

from mrpy.light import TYPE_CHECKING

if TYPE_CHECKING:
    from mrpy.scheduler.shield import Shield

LOCK = "alive"
TRIES = 10  # out of the air; one is enough unless another run clears up at the same moment
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

IN_PREPARATION = r"\.[0-9a-f]{16}\.tmp"  # how folders end in which an output is prepared: a pattern


def make(name: Callable[[], str]) -> tuple[str, int]:
    """A new folder under a fresh name, and its lock: it is free again when that is closed."""
    for _ in range(TRIES):
        path = name()
        os.mkdir(path, 0o700)
        try:
            return path, _new_lock(path)
        except (FileNotFoundError, BlockingIOError):  # another run took it for something that was left
            continue
        except OSError:  # no lock, and so no run that it is of
            with suppress(OSError):
                os.rmdir(path)
            raise
    raise FileNotFoundError(errno.ENOENT, "a folder that was just made is gone", path)


def undisturbed() -> Shield:
    """As a ``with`` statement: a Ctrl-C waits until its end. Who removes what is made has to know of it."""
    from mrpy.scheduler.shield import Shield  # workers, which have no such folder, import nothing of it

    return Shield()


def clear(entries: Iterable[os.DirEntry[str]], remove: Callable[[str], object]) -> None:
    """Remove those folders of which the run was killed: our own user's only."""
    for path in [entry.path for entry in entries if _is_ours(entry)]:
        with suppress(OSError):  # it is alive, or somebody else clears it
            try:
                lock = os.open(os.path.join(path, LOCK), os.O_RDWR | os.O_NOFOLLOW)
            except FileNotFoundError:
                os.rmdir(path)  # killed when it had just been made, or was nearly gone
                continue
            try:
                _lock(lock)
                remove(path)
            finally:
                os.close(lock)


def discard(path: str, gone: str) -> None:
    """Remove a folder, under another name: tasks that are still at work can make no new files in it. Where
    that fails, since too many files are open, say, it is tried once more when the program ends."""
    try:
        os.rename(path, gone)
    except OSError:  # it may take room that the disk has not: under its own name, then
        gone = path
    _remove(gone)
    if os.path.lexists(gone):
        atexit.register(_remove, gone)


def _remove(folder: str) -> None:
    with suppress(OSError):
        for name in os.listdir(folder):
            inner = os.path.join(folder, name)
            if name == LOCK:
                continue
            if os.path.isdir(inner) and not os.path.islink(inner):
                shutil.rmtree(inner, ignore_errors=True)
            else:
                with suppress(OSError):
                    os.unlink(inner)
        if set(os.listdir(folder)) <= {LOCK}:  # it goes last: what is left before that is still cleared later
            shutil.rmtree(folder, ignore_errors=True)


def no_room(error: OSError, folder: str, needed: int) -> str | None:
    """What to say where a disk is full: how much more it takes, at least, and how much is free; None where it
    is something else."""
    if error.errno not in _NO_ROOM:
        return None
    needed = max(1, needed)
    text = f"at least {needed} more bytes are needed"
    if error.errno == errno.EDQUOT:
        return f"{text} than the quota allows"
    with suppress(OSError):
        free = shutil.disk_usage(folder).free
        if error.errno == errno.ENOSPC and free >= needed:  # others have removed what they had written
            return f"the disk was full; {free} bytes are free there again"
        text += f", and {free} are free there"
    return text if error.errno != errno.EFBIG else f"{text}; but files may be no larger (ulimit -f)"


def _is_ours(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_uid == os.getuid()
    except FileNotFoundError:  # another run has ended meanwhile
        return False


def _new_lock(path: str) -> int:
    """The lock of a new folder, taken. BlockingIOError, FileNotFoundError: somebody else removes it."""
    handle = os.open(os.path.join(path, LOCK), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    try:
        _lock(handle)
        if not os.fstat(handle).st_nlink:
            raise FileNotFoundError(errno.ENOENT, "removed before it was locked", path)
    except (BlockingIOError, FileNotFoundError):
        os.close(handle)
        raise
    except OSError:  # a file system without locks: what is left there nobody clears
        pass
    return handle


def _lock(handle: int) -> None:
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

"""The resource tracker of `multiprocessing`: workers share the one of the program, as children of a pool do.

It is a process that unlinks shared memory and semaphores when all that may have registered them have ended. A
worker with one of its own would have the user's shared memory unlinked at its end: to attach registers, too.
None is started for that. Where the program has one, workers get the end that is written to, before the next
task; it may have been started, or started again, since the last.
"""

from __future__ import annotations

import os
import sys
from _stat import S_ISFIFO

from mrpy.light import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, TypeAlias

Tracker: TypeAlias = "tuple[int, int | None]"  # its descriptor; its pid, where this process has started it

TRACKING = "multiprocessing.resource_tracker"

_given: int | None = None  # in a worker: the descriptor of the program's


def tracker() -> Tracker | None:
    """That of this process, if there is one."""
    there: Any = getattr(sys.modules.get(TRACKING), "_resource_tracker", None)
    fd = getattr(there, "_fd", None)  # another thread may be importing it
    return None if fd is None else (fd, there._pid)


def is_open(there: Tracker) -> bool:
    """Whether its descriptor is a pipe still: who becomes a daemon closes all that there are."""
    try:
        return S_ISFIFO(os.fstat(there[0]).st_mode)
    except OSError:
        return False


def share(fd: int) -> None:
    """In a worker: have this be the tracker, as `multiprocessing.spawn` does. If it has one of its own, that
    stays until the worker ends, for the sake of what is registered there."""
    global _given
    from multiprocessing import resource_tracker  # not light, and only for those who have one

    there: Any = resource_tracker._resource_tracker
    with there._lock:
        before, there._fd, there._pid = there._fd, fd, None
    if before is not None and before == _given:
        os.close(before)
    _given = fd

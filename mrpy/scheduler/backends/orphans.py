"""What workers leave running when they end: children of their tasks, those of each worker a process group.

They were asked to end, and have a while for it: the resource trackers of `multiprocessing` and `loky` hear no
SIGTERM. When they see that they serve nobody any more, they clear shared memory away, and go. What is left
then is killed. Nobody waits for that but whoever closes the session. (If this process is killed meanwhile,
those that hear no SIGTERM stay.)
"""

from __future__ import annotations

import contextlib
import os
import time

from mrpy.light import signal

CHILDREN = 0.3  # seconds that those of a worker have for their end; out of the air
LOOK = 0.01  # seconds from one look to the next: a number is no other group's that soon


class Orphans:
    """Process groups whose leader, the worker, has ended.

    ``look_at``  when to `look` at them next; None: there are none
    """

    def __init__(self) -> None:
        self.look_at: float | None = None
        self._until: dict[int, float] = {}  # how long each has

    def add(self, group: int) -> None:
        """This worker has ended, and was waited for. Mostly it has left nothing."""
        if _is_left(group):
            now = time.monotonic()
            self._until[group] = now + CHILDREN
            self.look_at = self.look_at or now + LOOK

    def look(self) -> None:
        """If it is time: see which are gone; kill those whose time is over."""
        now = time.monotonic()
        if self.look_at is None or now < self.look_at:
            return
        for group, until in list(self._until.items()):
            if _is_over(group, now - until):
                del self._until[group]
        self.look_at = now + LOOK if self._until else None

    def end(self) -> None:
        """The same, until there are none."""
        try:
            while self._until:
                time.sleep(LOOK)
                self.look()
        finally:  # a Ctrl-C may come
            for group in self._until:
                kill(group)


def _is_over(group: int, late: float) -> bool:
    """Look at one that is so many seconds over its time: kill it if it is, and say whether that was the last
    look. One that we are to wait for has another; but not for ever, as it may hang."""
    if not _is_left(group):
        return True
    if late < 0:
        return False
    kill(group)
    return late > CHILDREN or not _reap(group)


def _is_left(group: int) -> bool:
    _reap(group)
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    if _has_ended(group):
        kill(group)  # where the main thread of one has ended, others of it may go on
        return _reap(group)
    return True


def _has_ended(group: int) -> bool:
    """Whether all of it have, though whoever has to wait for them has not, as in many containers. False where
    that cannot be told."""
    try:
        numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return False
    states = [state(pid) for pid in numbers if _group_of(pid) == group]
    return bool(states) and all(each in (b"Z", b"X") for each in states)


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:  # it is gone
        return None


def state(pid: int) -> bytes:
    """The letter that Linux has for what a process does. Empty where that cannot be told."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0]
    except OSError:
        return b""


def _reap(group: int) -> bool:
    """Where orphans become ours, since this is the first process of a container, say: have those go that have
    ended. Whether there are others of ours."""
    try:
        while os.waitpid(-group, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def kill(group: int) -> None:
    """All of it, if it is there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)

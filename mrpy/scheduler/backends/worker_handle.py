"""The parent's view of one worker process: start it, talk to it, see that it died, kill it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections import OrderedDict, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from weakref import WeakSet

from mrpy.scheduler.backends.transport import Frame, ParentEnd
from mrpy.scheduler.backends.worker_main import CODE, FORGET
from mrpy.scheduler.calls import Code
from mrpy.scheduler.messages import Key

CODES_KEPT = 64  # functions a worker holds; out of the air
_HOME = str(Path(__file__).resolve().parents[3])  # the folder that holds the package
_BOOT = (
    "import sys; sys.path.append({home!r}); "
    "from mrpy.scheduler.backends.worker_main import main; main({channel}, {lifeline})"
)


_alive: WeakSet[WorkerHandle] = WeakSet()


def _let_go_after_fork() -> None:
    """A forked child holds copies of our ends. While it had them, workers would outlive their parent."""
    for worker in list(_alive):
        worker.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_after_fork)


class Ticket:
    """One attempt that a worker owes an answer for."""

    __slots__ = ("attempt", "item", "key", "number", "stopping", "worker")

    def __init__(self, number: int, key: Key, attempt: int, worker: WorkerHandle) -> None:
        self.number = number
        self.key = key
        self.attempt = attempt
        self.worker = worker
        self.item: int | None = None  # the last one announced
        self.stopping = False


class WorkerHandle:
    """A live worker process. Raises OSError where it cannot be started."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.lifeline, line = socket.socketpair()
        try:
            self.process = _spawn(theirs.fileno(), line.fileno())
        except BaseException:
            ours.close()
            self.lifeline.close()
            raise
        finally:
            theirs.close()
            line.close()
        self.end = ParentEnd(ours)
        self.pid = self.process.pid
        self.exit_watch = _pidfd(self.pid)
        self.ready = False  # it has said that it is up
        self.queue: deque[Ticket] = deque()  # in the order it will answer; the first one runs
        self.seconds = 0.0  # how long tasks took here lately
        self.kill_at: float | None = None  # a task of its is being stopped: its grace ends then
        self._codes: OrderedDict[int, None] = OrderedDict()
        _alive.add(self)

    def send_code(self, code: Code) -> None:
        """See that the worker has this function."""
        if code.number in self._codes:
            self._codes.move_to_end(code.number)
            return
        self.end.send(CODE, code.number, [code.blob()])
        self._codes[code.number] = None
        while len(self._codes) > CODES_KEPT:
            old, _ = self._codes.popitem(last=False)
            self.end.send(FORGET, old, [])

    def send(self, kind: int, number: int, parts: Sequence[Any]) -> None:
        """Queue a frame."""
        self.end.send(kind, number, parts)

    def receive(self) -> list[Frame] | None:
        """What has come; None when it is dead."""
        return self.end.receive()

    def exited(self) -> bool:
        """Whether the process has ended, even if a child of its still holds the socket."""
        return self.process.poll() is not None

    def kill(self) -> str:
        """End it and all its children, and say how it died."""
        self.process.poll()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)  # its children are its process group, and may outlive it
        code = self.process.wait()
        self.close()
        return how_it_died(code)

    def close(self) -> None:
        """Give back the descriptors. The worker, if alive, is killed by the kernel."""
        self.end.close()
        self.lifeline.close()
        if self.exit_watch is not None:
            os.close(self.exit_watch)
            self.exit_watch = None


def how_it_died(code: int) -> str:
    """An exit code in words.

    >>> how_it_died(-9)
    'killed by SIGKILL'
    """
    if code < 0:
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"
    return f"exited with code {code}"


def _spawn(channel: int, lifeline: int) -> subprocess.Popen[bytes]:
    """Start a fresh interpreter: not a fork, since the user's process may have threads and locks."""
    boot = _BOOT.format(home=_HOME, channel=channel, lifeline=lifeline)
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return subprocess.Popen(
        [sys.executable, *flags, "-S", "-P", "-c", boot],
        stdin=subprocess.DEVNULL,
        pass_fds=(channel, lifeline),
        start_new_session=True,
    )


def _pidfd(pid: int) -> int | None:
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:  # an old kernel: the end of the socket has to do
        return None

"""Where a worker was in the user's code when it died, or when it was stopped.

Each worker writes its stack into a file without a name that it shares with the parent: `faulthandler` does
so in the moment of a fatal signal, and when the parent asks for it by `ASK`. The parent reads what was
written last. Nothing can be had where a process ends without a word: by SIGKILL, or by ``os._exit``.
"""

from __future__ import annotations

import os

from mrpy.light import signal

ASK: int | None = signal.SIGRTMIN + 7 if hasattr(signal, "SIGRTMIN") else None  # out of the air: nobody's
LIMIT = 20_000  # bytes

_FRAME = r'^  File "(.*)", line (\d+) in (.*)$'


def keep(fd: int) -> None:
    """In the worker: from now on, write the stack to `fd` when there is reason to."""
    import faulthandler

    faulthandler.enable(fd, all_threads=False)
    faulthandler.register(signal.SIGTERM, fd, all_threads=False, chain=True)
    if ASK is not None:
        faulthandler.register(ASK, fd, all_threads=False)

    def forget() -> None:  # what a child of a task dies of is not our stack
        faulthandler.disable()
        faulthandler.unregister(signal.SIGTERM)

    os.register_at_fork(after_in_child=forget)


class LastStack:
    """In the parent: the file of one worker."""

    def __init__(self) -> None:
        self.fd = _nameless_file()

    def ask(self, pid: int) -> None:
        """Have the worker write down where it is."""
        self.clear()
        if ASK is not None:
            try:
                os.kill(pid, ASK)
            except ProcessLookupError:
                pass

    def clear(self) -> None:
        """Forget what was written. The place to write at is shared with the worker."""
        os.lseek(self.fd, 0, os.SEEK_SET)
        os.ftruncate(self.fd, 0)

    def text(self) -> str:
        """What was written, as a traceback; empty where there is nothing."""
        return as_traceback(os.pread(self.fd, LIMIT, 0).decode("utf-8", "replace"))

    def close(self) -> None:
        """Give back the descriptor, once."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def _nameless_file() -> int:
    try:
        return os.memfd_create("mrpy-stack")
    except (AttributeError, OSError):  # there is none on this system, or in this container
        import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def get_ready() -> None:
    """Import what makes a text of a report, where time is kept. For all it would be too slow; behind a Ctrl-C
    it would be too late, as Python 3.11 then forgets that it was ended by one."""
    import re  # noqa: F401
    import tokenize  # noqa: F401  # from 3.13 on, traceback brings it in when it has lines to show
    import traceback  # noqa: F401


def as_traceback(report: str) -> str:
    """A report of `faulthandler` as Python prints a traceback, without the frames of mrpy.

    >>> print(as_traceback('Fatal Python error: Aborted\\n\\nStack (most recent call first):\\n'
    ...                    '  File "<stdin>", line 3 in f\\n  File "<stdin>", line 8 in g\\n'))
    It was here (most recent call last):
      File "<stdin>", line 8, in g
      File "<stdin>", line 3, in f
    Fatal Python error: Aborted
    """
    if not report:
        return ""
    import re  # see `get_ready`
    import traceback

    from mrpy.scheduler.failure import stack_text

    matches = [match for line in report.splitlines() if (match := re.match(_FRAME, line))]
    frames = [traceback.FrameSummary(match[1], int(match[2]), match[3]) for match in reversed(matches)]
    first = report.split("\n", 1)[0]
    return stack_text(frames) + (first if first.startswith("Fatal") else "")

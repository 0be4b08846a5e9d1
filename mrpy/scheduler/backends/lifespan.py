"""How long a worker is kept: so many tasks, or until it has grown too large."""

from __future__ import annotations

from mrpy.light import NamedTuple
from mrpy.options import checked, whole_from


class Lifespan(NamedTuple):
    """After that a worker gets no more tasks, and is replaced when those it has are done.

    ``max_tasks``     tasks, which are chunks of items; None: any number
    ``memory_limit``  bytes of resident memory, looked at after each task; None: any
    """

    max_tasks: int | None = None
    memory_limit: int | None = None

    @classmethod
    def of(cls, max_tasks_per_worker: object, memory_limit: object) -> Lifespan:
        """From the settings of a session. Raises `OptionError`."""
        tasks = checked("max_tasks_per_worker", max_tasks_per_worker, whole_from(1, None))
        return cls(tasks, checked("memory_limit", memory_limit, whole_from(1, None, of=" of bytes")))

    def is_over(self, pid: int, tasks: int) -> bool:
        """Whether the worker with this pid, which was given so many tasks, has had its time."""
        if self.max_tasks is not None and tasks >= self.max_tasks:
            return True
        return self.memory_limit is not None and _resident(pid) > self.memory_limit


def _resident(pid: int) -> int:
    import psutil  # only for those who set a limit

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:  # it is gone: that is noticed elsewhere
        return 0

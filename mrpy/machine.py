"""What this process may use of its machine: processors, and memory.

That is less than there is in a container, in a job of a cluster's queue, in a service: Linux puts these into
*control groups* (cgroups), which have limits of their own. Who starts a worker for each processor of the
machine has them wait for each other there; who fills its memory is killed.

    /proc/self/cgroup          the groups of this process: one tree for all (version 2), or one for each
                               controller (version 1); in a container they may be named as from outside
    /sys/fs/cgroup/...         their limits; those of the groups around hold as well
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from functools import cache
from itertools import chain

MEMBERSHIP, GROUPS = "/proc/self/cgroup", "/sys/fs/cgroup"


def cpu_count() -> int:
    """The processors that this process may use: a share of one is one."""
    if hasattr(os, "process_cpu_count"):  # 3.13; it looks at PYTHON_CPU_COUNT, too
        count = os.process_cpu_count() or 1
    elif hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return max(1, math.ceil(min(count, granted_processors())))


def free_memory() -> int:
    """Bytes that this process and its children may still take."""
    import psutil  # only for those who sort or group

    free = float(psutil.virtual_memory().available)
    for folder in _groups("memory"):
        limits = (_numbers(folder, name) for name in ("memory.max", "memory.high", "memory.limit_in_bytes"))
        limit = min(chain.from_iterable(limits), default=math.inf)
        if limit < math.inf:
            free = min(free, limit - _used(folder))
    return max(0, int(min(free, _limit_of_a_process())))


@cache  # it is asked for before each sleep, and hardly ever changes
def granted_processors() -> float:
    """How many processors' time the groups of this process grant it."""
    least = math.inf
    for folder in _groups("cpu"):
        quota = _numbers(folder, "cpu.max")
        if not quota:
            quota = [*_numbers(folder, "cpu.cfs_quota_us"), *_numbers(folder, "cpu.cfs_period_us")]
        if len(quota) == 2 and quota[0] > 0 and quota[1] > 0:  # -1: no limit
            least = min(least, quota[0] / quota[1])
    return least


def _used(folder: str) -> float:
    """Without what is read from files, and may be dropped."""
    used = _numbers(folder, "memory.current") or _numbers(folder, "memory.usage_in_bytes")
    words = _text(folder, "memory.stat").split()
    lines = dict(zip(words[::2], words[1::2], strict=False))
    cached = lines.get("total_inactive_file") or lines.get("inactive_file", "")
    return sum(used) - sum(_as_numbers(cached))


def _limit_of_a_process() -> float:
    import resource  # as above

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return math.inf if limit == resource.RLIM_INFINITY else limit


def _groups(controller: str) -> Iterator[str]:
    """The folders of the groups that this process is in: its own, those around it."""
    for line in _text(MEMBERSHIP).split("\n")[:-1]:  # `splitlines` would cut names, too
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        names = [name for name in path.split("/") if name not in ("", "..")]
        top = f"{GROUPS}/{controller}" if controllers else GROUPS
        for depth in range(len(names), -1, -1):
            yield "/".join([top, *names[:depth]])


def _text(*path: str) -> str:
    try:
        with open("/".join(path), "rb") as file:
            return os.fsdecode(file.read())
    except OSError:  # another system, or a group as seen from outside
        return ""


def _numbers(folder: str, name: str) -> list[float]:
    return _as_numbers(_text(folder, name))


def _as_numbers(text: str) -> list[float]:
    """What is none, in a kind of file that is not known here, is left out."""
    kept = [word for word in text.split() if word == "max" or word.lstrip("-").isdecimal()]
    return [math.inf if word == "max" else int(word) for word in kept]

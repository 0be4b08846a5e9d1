"""What a run has left behind: processes, descriptors, threads, records - and how large this process is."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from pathlib import Path
from typing import Any, NamedTuple

from laws import eventually

MARK = "MRPY_SOAK"  # in the environment of all that this process starts, and of what those start
os.environ[MARK] = f"{os.getpid()}."
_MARKED = f"{MARK}={os.getpid()}.".encode()


class Holdings(NamedTuple):
    """What this process holds."""

    descriptors: int
    threads: int

    @classmethod
    def now(cls) -> Holdings:
        """Looked at now. The collector runs first: what is in cycles is not held."""
        gc.collect()
        return cls(len(os.listdir("/proc/self/fd")), threading.active_count())

    def fits(self, other: Holdings) -> bool:
        """Whether nothing here is more than there."""
        return self.descriptors <= other.descriptors and self.threads <= other.threads


def resident() -> int:
    """The bytes of memory that this process holds."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def offspring() -> dict[int, int]:
    """All live processes that this one started, or those started, even if they have lost their parents: their
    numbers, and those of their process groups."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or entry.name == str(os.getpid()):
            continue
        with contextlib.suppress(OSError):
            if _MARKED in (entry / "environ").read_bytes():  # empty for one that has ended
                found[int(entry.name)] = os.getpgid(int(entry.name))
    return found


def orphans(teams: set[int]) -> dict[int, int]:
    """Those that belong to none of these workers."""
    return {pid: group for pid, group in offspring().items() if group not in teams}


def records_of(session: Any) -> dict[str, int]:
    """What a session still keeps of work that is over."""
    driver, backend = session.driver, session.driver.backend
    kept = {
        "records": driver.scheduler.records, "receivers": driver._receivers,
        "tickets": backend._tickets, "values": backend._values,
    }  # fmt: skip
    return {name: len(what) for name, what in kept.items() if what}


def never_comes_back(holdings: Holdings, seconds: float = 5.0) -> str:
    """What is more than it was, after so many seconds. Empty: nothing is."""
    if eventually(lambda: Holdings.now().fits(holdings), seconds):
        return ""
    links = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            links.append(os.readlink(f"/proc/self/fd/{fd}"))
    names = [thread.name for thread in threading.enumerate()]
    return f"{Holdings.now()} instead of {holdings}; open: {sorted(links)}; threads: {names}"

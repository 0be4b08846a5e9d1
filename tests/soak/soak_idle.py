"""Waiting costs nothing: who waits sleeps in the kernel until something happens. Nothing polls.

    python tests/soak/soak_idle.py [--seconds 5]

Three ways of waiting, each for some seconds: an idle pool, a consumer that waits for a slow item, a consumer that
pauses. The processor time and the context switches of this process and of the workers stay below what is stated
here; a loop that polls every 10 ms would have a hundred switches a second.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from left import offspring

import mrpy

CPU = 0.02  # seconds of processor time in one way of waiting, of one process; clock ticks are 0.01
SWITCHES = 20  # context switches in the same, of all threads of one process; both out of the air

TICKS = os.sysconf("SC_CLK_TCK")


class Used(NamedTuple):
    """What a process has used so far."""

    cpu: float
    switches: int

    @classmethod
    def by(cls, pid: int) -> Used:
        """Of all its threads."""
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        switches = 0
        for status in Path(f"/proc/{pid}/task").glob("*/status"):
            lines = [line for line in status.read_text().splitlines() if line.startswith("voluntary_ctxt")]
            switches += sum(int(line.split()[1]) for line in lines)
        return cls((int(fields[11]) + int(fields[12])) / TICKS, switches)


def watch(name: str, seconds: float, wait: Callable[[float], object]) -> bool:
    """One way of waiting: what it used, and whether that was little."""
    pids = {"parent": os.getpid(), **{f"worker {n}": pid for n, pid in enumerate(offspring(), 1)}}
    before = {who: Used.by(pid) for who, pid in pids.items()}
    wait(seconds)
    little = True
    for who, pid in pids.items():
        after = Used.by(pid)
        cpu, switches = after.cpu - before[who].cpu, after.switches - before[who].switches
        fine = cpu <= CPU and switches <= SWITCHES
        verdict = "" if fine else "  TOO MUCH"
        print(f"{name:<22} {who:<9} {seconds:g} s: {cpu:.2f} s of processor time, {switches} switches{verdict}", flush=True)
        little &= fine
    return little


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    seconds = parser.parse_args().seconds
    mrpy.configure(backend="processes", workers=2)
    assert sum(mrpy.pmap(nap, [0.3] * 8, chunksize=1)) > 2  # both workers are up
    little = [
        watch("an idle pool", seconds, time.sleep),
        watch("a slow item", seconds, lambda s: list(mrpy.pmap(nap, [s, s]))),
        watch("a slow item, timed", seconds, lambda s: list(mrpy.pmap(nap, [s], timeout=60))),
        watch("a slow call", seconds, lambda s: mrpy.submit(nap, s).result()),
        watch("a slow call, timed", seconds, lambda s: mrpy.submit(nap, s).result(60)),
    ]
    loop = mrpy.pmap(abs, iter(range(10**9)), buffersize=100)
    assert next(loop) == 0
    time.sleep(0.5)  # the window fills
    little.append(watch("a consumer that pauses", seconds, time.sleep))
    loop.close()
    return 0 if all(little) else 1


if __name__ == "__main__":
    sys.exit(main())

"""A hundred thousand small loops, opened and closed: do descriptors, threads and memory stay level?

    python tests/soak/soak_loops.py [--loops 100000] [--sessions 300]

On a warm pool: whole loops, loops that are left after the first item, single calls, in turn. Then whole sessions
opened, used and closed. What is held is looked at after the first tenth and at the end; ends with 1 where it has grown.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from laws import eventually
from left import Holdings, offspring, records_of, resident

import mrpy
from mrpy.scheduler import session as sessions

ALLOWED = 12 * 2**20  # bytes that this process may grow by after the first tenth; out of the air
A_WORKER = 24 * 2**20  # the same for the workers; they keep up to 64 functions, and see the next ones come


def whole() -> None:
    assert list(mrpy.pmap(abs, range(-3, 0))) == [3, 2, 1]


def left_early() -> None:
    for x in mrpy.pmap(lambda n: n + 1, range(3), chunksize=1):
        assert x == 1
        break


def left_open() -> None:
    loop = mrpy.pmap(str, range(1000), chunksize=10)
    assert next(loop) == "0"
    loop.close()


def single() -> None:
    assert mrpy.submit(abs, -1).result() == 1


def reduced() -> None:
    assert mrpy.preduce(max, (n * n for n in range(4))) == 9


def failing() -> None:
    assert [type(e) for e in mrpy.pmap(int, ["1", "x"], on_error="return")] == [int, ValueError]


def opened() -> None:
    with mrpy.session("processes", workers=1):
        assert list(mrpy.pmap(abs, range(-3, 0))) == [3, 2, 1]


LOOPS = [whole, whole, whole, whole, left_early, left_early, left_open, single, single, reduced, failing]


def used_by(pids: list[int]) -> int:
    """The bytes of memory that the largest of these processes holds."""
    import psutil

    return max((psutil.Process(pid).memory_info().rss for pid in pids), default=0)


def soak(name: str, count: int, turn: Callable[[int], None], workers: Callable[[], list[int]]) -> bool:
    """So many turns. Says what was held early and late, and whether it was level."""
    began = time.monotonic()
    early = worker = -1
    before = Holdings(0, 0)
    for number in range(count):
        turn(number)
        if number == count // 10:
            early, worker, before = resident(), used_by(workers()), Holdings.now()
    level = eventually(lambda: Holdings.now().fits(before), 2)
    grown, worker_grown = resident() - early, used_by(workers()) - worker
    level = level and grown < ALLOWED and worker_grown < A_WORKER
    now = Holdings.now()
    print(
        f"{name:<9} {count:,} in {time.monotonic() - began:.0f} s: {before.descriptors} descriptors then "
        f"{now.descriptors}, {before.threads} threads then {now.threads}, {early / 2**20:.1f} MB {grown / 2**20:+.1f}, "
        f"workers {worker / 2**20:.1f} MB {worker_grown / 2**20:+.1f}: {'level' if level else 'NOT level'}",
        flush=True,
    )
    return level


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loops", type=int, default=100_000)
    parser.add_argument("--sessions", type=int, default=300)
    given = parser.parse_args()
    mrpy.configure(backend="processes", workers=2)
    whole()
    shared = sessions.shared("processes", 2)
    team = shared.driver.backend._team
    level = soak("loops", given.loops, lambda n: LOOPS[n % len(LOOPS)](), lambda: [w.pid for w in team])
    assert eventually(lambda: not records_of(shared)), records_of(shared)
    sessions.close_shared()
    level &= soak("sessions", given.sessions, lambda n: opened(), lambda: [])
    assert eventually(lambda: not offspring()), f"still alive: {offspring()}"
    return 0 if level else 1


if __name__ == "__main__":
    sys.exit(main())

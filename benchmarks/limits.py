"""What the machine itself gives, measured in the same run: how far mrpy is from it.

``bare`` is done by the least program that does the work at all, with no errors, crashes or laziness in mind.
"""

from __future__ import annotations

import os
import pickle
import socket
import statistics
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Any

from peers import WORKERS
from tables import seconds

ARRAY_BYTES = 1 << 24

Figures = dict[str, float]


def round_trip() -> float:
    """Microseconds for a byte to a bare process and back, over a socket pair."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        while data := theirs.recv(64):
            theirs.send(data)
        os._exit(0)
    theirs.close()
    times = []
    for _ in range(2000):
        began = perf_counter()
        ours.send(b"x")
        ours.recv(64)
        times.append(perf_counter() - began)
    ours.close()
    os.waitpid(pid, 0)
    return statistics.median(times) * 1e6


def bare_forks(work: Callable[[int], Any], costs: list[int]) -> None:
    """The work dealt out in advance to bare processes that tell nobody anything: no pool can be faster."""
    pids = []
    for k in range(WORKERS):
        pid = os.fork()
        if pid == 0:
            for each in costs[k::WORKERS]:
                work(each)
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)


class BareMap:
    """The least program that maps a sequence in two processes: forked, warm, a socket pair each, an eighth of
    it at a time, the answers read in order. No pool can be much faster."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def __enter__(self) -> BareMap:
        self._pids, self._ends = [], []
        for _ in range(WORKERS):
            ours, theirs = socket.socketpair()
            pid = os.fork()
            if pid == 0:
                ours.close()
                with theirs.makefile("rwb") as end:
                    while (chunk := _read(end)) is not None:
                        _write(end, list(map(self._function, chunk)))
                os._exit(0)
            theirs.close()
            self._pids.append(pid)
            self._ends.append(ours.makefile("rwb"))
            ours.close()
        return self

    def __call__(self, xs: Any) -> list[Any]:
        size, results = -(-len(xs) // 8), []
        for n in range(8):
            _write(self._ends[n % WORKERS], xs[n * size : (n + 1) * size])
        for n in range(8):
            results += _read(self._ends[n % WORKERS])
        return results

    def __exit__(self, *_: object) -> None:
        for end in self._ends:
            end.close()
        for pid in self._pids:
            os.waitpid(pid, 0)


def _write(end: Any, value: Any) -> None:
    data = pickle.dumps(value, 5)
    end.write(len(data).to_bytes(8, "little") + data)
    end.flush()


def _read(end: Any) -> Any:
    head = end.read(8)
    return pickle.loads(end.read(int.from_bytes(head, "little"))) if head else None


def bare_map(function: Callable[[Any], Any], xs: Any) -> float:
    """Microseconds per item of that."""
    with BareMap(function) as mapped:
        return statistics.median(seconds(lambda: deque(mapped(xs), 0)) for _ in range(15)) / len(xs) * 1e6


def memcpy() -> float:
    """GB/s of copying into memory that is mapped already."""
    import numpy

    one, other = numpy.ones(ARRAY_BYTES // 8), numpy.ones(ARRAY_BYTES // 8)
    return ARRAY_BYTES / 1e9 / min(seconds(lambda: numpy.copyto(other, one)) for _ in range(9))


def limits(found: dict[str, Figures], trivial: Callable[[Any], Any], many: int) -> None:
    """Print them, and mrpy beside them."""
    xs = list(range(many))
    serial = min(seconds(lambda: list(map(trivial, xs))) for _ in range(9)) / many * 1e6
    bare, least = bare_map(trivial, xs), bare_map(trivial, range(many))
    half, trip, copy = serial / WORKERS, round_trip(), memcpy()
    both = found.get("even", {}).get("bare forks", 2.0)
    print("\nthe machine's own limits, and mrpy beside them")
    rows = [
        ("bare round trip over a socket pair", trip, "us", "submit", lambda ours: ours / trip),
        ("plain map, divided by the workers", half, "us/item", "list", lambda ours: ours / half),
        ("the least program, of the list", bare, "us/item", "list", lambda ours: ours / bare),
        ("the least program, of the range", least, "us/item", "range", lambda ours: ours / least),
        ("two bare forks, half of it each", both, "x serial", "even", lambda ours: both / ours),
        ("memcpy", copy, "GB/s", "in", lambda ours: copy / ours),
    ]
    for what, limit, unit, name, times in rows:
        ours = found.get(name, {}).get("mrpy")
        beside = f"mrpy {ours:8.4g}: {times(ours):.2f} times the limit" if ours else ""
        print(f"    {what:<40} {limit:>9.4g} {unit:<9} {beside}")

"""Ten million items past a slow consumer: does memory stay flat? Run by hand; prints a verdict for each backend.

    python tests/soak/soak_window.py [--items 10000000] [--backends serial,threads,processes]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import mrpy

ALLOWED = 24 * 2**20  # bytes that this process may grow by after the first tenth; out of the air


def resident() -> int:
    """The bytes of memory that this process holds."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def source(count: int) -> Iterator[bytes]:
    for n in range(count):
        yield n.to_bytes(8, "little") * 16


def soak(backend: str, count: int) -> bool:
    """One run. Says how memory went, and whether it was flat."""
    began = time.monotonic()
    early = worst = total = 0
    step = max(1, count // 200)
    for number, value in enumerate(mrpy.pmap(len, source(count), backend=backend, workers=2, buffersize=20_000)):
        total += value
        if number % step == 0:
            time.sleep(0.001)  # slower than the workers
            now = resident()
            worst = max(worst, now)
            if number <= count // 10:
                early = max(early, now)
    grown = worst - early
    flat = grown < ALLOWED and total == 128 * count
    seconds, verdict = time.monotonic() - began, "flat" if flat else "NOT level"
    print(
        f"{backend:<10} {count:,} items in {seconds:.1f} s, {early / 2**20:.0f} MB early, "
        f"{grown / 2**20:+.1f} MB later: {verdict}"
    )
    return flat


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=10_000_000)
    parser.add_argument("--backends", default="serial,threads,processes")
    given = parser.parse_args()
    return 0 if all([soak(backend, given.items) for backend in given.backends.split(",")]) else 1


if __name__ == "__main__":
    sys.exit(main())

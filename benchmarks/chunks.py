"""Chunks that adapt, beside all fixed sizes: whatever an item costs, nobody has to choose. Run by hand.

    python benchmarks/chunks.py [--rounds 5] [--seconds 0.6]

Items of 0.1 microseconds to a second, and cheap ones before, among and behind dear ones: the time with
``chunksize="auto"`` over that of the best fixed size, each the median of its rounds, taken in turns. Exits
with 1 where adapting costs more than 15 %.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable
from typing import Any

from tables import Bars, in_turns, seconds

import mrpy

WORKERS = 2
COSTS = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # seconds
SIZES = (1, 2, 8, 32, 128, 512, 2048, 8192, 32768, 131072)
MOST = 1_000_000  # items
BAR = 1.15


def spin(loops: int) -> int:
    total = 0
    for n in range(loops):
        total += n & 7
    return total


def consume(items: Any) -> None:
    for _ in items:
        pass


def loops_per_second() -> float:
    return 400_000 / min(seconds(lambda: spin(400_000)) for _ in range(5))


def workloads(given: float) -> dict[str, list[float]]:
    """Seconds of each item, by what to call them."""
    even = {f"{cost * 1e6:g} us": [cost] * min(MOST, max(8, int(given / cost))) for cost in COSTS}
    cheap, dear = [1e-6] * 1000, [0.02] * int(given / 0.02)
    among = [*cheap, *dear]
    random.Random(3).shuffle(among)
    mixed = {"few cheap, dear": cheap[:50] + dear, "cheap, dear": cheap + dear, "dear, cheap": dear + cheap}
    return {**even, **mixed, "at random": among}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.6, help="of work in a run, about")
    given = parser.parse_args()
    bars, speed = Bars(), loops_per_second()
    with mrpy.session("processes", workers=WORKERS):
        consume(mrpy.pmap(spin, [1] * 8, chunksize=1))
        for name, costs in workloads(given.seconds).items():
            n, items = len(costs), [int(speed * cost) for cost in costs]
            sides: dict[str, Callable[[], float]] = {
                str(size): lambda size=size, items=items: seconds(
                    lambda: consume(mrpy.pmap(spin, items, chunksize=size))
                )
                for size in ("auto", *SIZES)
                if size == "auto" or (size <= max(1, n // WORKERS) and n / size <= 20_000)
            }
            longest = max(costs)
            figures = in_turns(sides, given.rounds if longest < 0.1 else 1 + (longest < 1))
            best = min((each, size) for size, each in figures.items() if size != "auto")
            shown = ", ".join(f"{size}: {each * 1e3:.1f}" for size, each in figures.items())
            print(f"\n{n:,} items, {name}; milliseconds by chunk size: {shown}")
            what = f"{name}: auto against the best, {best[1]}"
            bars.check(what, figures["auto"] / best[0], BAR, at_most=True)
    return bars.end()


if __name__ == "__main__":
    sys.exit(main())

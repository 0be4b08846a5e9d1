"""Generators in parallel: what lifting costs, what fusing saves, sums, and streams beside the built-in pool.

Every row is measured in the same run, the sides in turn; the figure is the median, the ratio that of medians.
Run by hand: ``make bench``, or ``python benchmarks/generators.py [--quick]``.
"""

from __future__ import annotations

import multiprocessing
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import mrpy
from mrpy.iterators.lift import lift

QUICK = "--quick" in sys.argv
REPEATS = 3 if QUICK else 7
WORKERS = 2


def seconds(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def side_by_side(*functions: Callable[[], Any]) -> list[float]:
    """The median of each, measured in turns after a round that does not count."""
    rounds = [[seconds(function) for function in functions] for _ in range(REPEATS + 1)][1:]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def row(name: str, ours: float, theirs: float, bar: str = "") -> None:
    print(f"{name:<58} {ours * 1e3:>10.2f} {theirs * 1e3:>10.2f} {theirs / ours:>8.2f}x  {bar}")


def consume(items: Iterable[Any]) -> None:
    for _ in items:
        pass


def lifting() -> None:
    repeats = 2000

    def lifts() -> None:
        for n in range(repeats):
            lift(x * n for x in range(10) if x)

    def makes() -> None:
        for n in range(repeats):
            iter(x * n for x in range(10) if x)

    def verbs() -> None:
        for n in range(repeats):
            mrpy.parallel(x * n for x in range(10) if x)

    lifted, made, verb = side_by_side(lifts, makes, verbs)
    costs = [f"{each / repeats * 1e6:.1f} us" for each in (made, lifted, verb)]
    print("a generator expression: made in {}, lifted in {}, with mrpy.parallel around it {}".format(*costs))


def fusing() -> None:
    n = 300_000

    def fused() -> None:
        consume(mrpy.stream(range(n), workers=WORKERS).map(abs).map(float).filter(bool).map(str))

    def unfused() -> None:
        first = mrpy.pmap(abs, range(n), workers=WORKERS)
        second = mrpy.pmap(float, iter(consumed(first)), workers=WORKERS)
        third = mrpy.pfilter(bool, iter(consumed(second)), workers=WORKERS)
        consume(mrpy.pmap(str, iter(consumed(third)), workers=WORKERS))

    row("four steps: fused / one run for each", *side_by_side(fused, unfused))


def consumed(items: Iterable[Any]) -> Iterable[Any]:
    """A plain generator: keeps mrpy from fusing what is around it."""
    yield from items


def sums() -> None:
    n = 10**7

    def ours() -> None:
        mrpy.stream((x * x for x in range(n)), workers=WORKERS).sum()

    def builtin() -> None:
        sum(x * x for x in range(n))

    def halves() -> None:
        """What this machine can do at best: two bare processes, each with half of it."""
        code = f"sum(x * x for x in range({n // 2}))"
        both = [subprocess.Popen([sys.executable, "-S", "-c", code]) for _ in range(WORKERS)]
        for process in both:
            process.wait()

    mine, plain, limit = side_by_side(ours, builtin, halves)
    row("sum(x*x for x in range(10**7)): mrpy / builtin", mine, plain, "bar 1.8x")
    row("the same by two bare processes / builtin: the machine's limit", limit, plain)


def succ(x: int) -> int:
    return x + 1


def streams() -> None:
    n = 1_000_000
    with multiprocessing.Pool(WORKERS) as pool:

        def ours() -> None:
            consume(mrpy.pmap(succ, range(n), workers=WORKERS))

        def pool_map() -> None:
            consume(pool.map(succ, range(n)))

        def pool_imap() -> None:
            consume(pool.imap(succ, range(n // 20)))

        mine, mapped, lazily = side_by_side(ours, pool_map, pool_imap)
    row("a million items, lazily in order: mrpy / Pool.map (eager)", mine, mapped)
    row("the same / Pool.imap (a twentieth of it, times 20)", mine, lazily * 20)


if __name__ == "__main__":
    print(f"{'milliseconds, median of ' + str(REPEATS):<58} {'mrpy':>10} {'other':>10} {'ratio':>9}")
    for part in (lifting, fusing, sums, streams):
        part()

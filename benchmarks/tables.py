"""What the benchmarks share: sides measured in turns, medians, and a table that says which bars are met."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any


def seconds(function: Callable[[], Any]) -> float:
    """How long a call takes."""
    began = perf_counter()
    function()
    return perf_counter() - began


def in_turns(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median of each side, measured A B C, A B C, ... One that raises is left out, and says why."""
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name in list(figures):
            try:
                figures[name].append(sides[name]())
            except Exception as problem:
                print(f"  ({name} is left out: {type(problem).__name__}: {problem!s:.100})", file=sys.stderr)
                del figures[name]
    return {name: statistics.median(each) for name, each in figures.items()}


class Bars:
    """The verdicts of a run. Its exit code is 1 where a bar was missed."""

    def __init__(self) -> None:
        self.missed: list[str] = []
        self.lines: list[str] = []

    def check(self, what: str, has: float, needs: float, unit: str = "x", *, at_most: bool = False) -> None:
        """One bar: `has` must be at least (or at most) `needs`."""
        met = has <= needs if at_most else has >= needs
        sign = "<=" if at_most else ">="
        line = f"{'met   ' if met else 'MISSED'}  {what}: {has:.3g}{unit} (bar {sign} {needs:g}{unit})"
        print("    " + line)
        self.lines.append(line)
        if not met:
            self.missed.append(what)

    def end(self) -> int:
        """Print the sum of it; the exit code."""
        print(f"\n{len(self.lines) - len(self.missed)} of {len(self.lines)} bars met")
        for what in self.missed:
            print(f"  missed: {what}")
        return 1 if self.missed else 0


def show(title: str, figures: Mapping[str, float], unit: str, *, first: str = "mrpy") -> None:
    """One workload, all sides in a line, each with its ratio to ours."""
    print(f"\n{title}")
    ours = figures.get(first)
    for name, figure in figures.items():
        ratio = f"{figure / ours:8.2f}x" if ours else ""
        print(f"    {name:<24} {figure:>12.4g} {unit:<10} {ratio}")


def sizes_for(cost: Callable[[int], float], most: int, budget: float, least: int = 200) -> int:
    """How many items to take, so that a side that is slow takes about `budget` seconds."""
    n = least
    while n < most:
        took = cost(n)
        if took * 4 > budget:
            return max(least, min(most, int(n * budget / took)))
        n *= 8
    return most


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so large a share of them does not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]

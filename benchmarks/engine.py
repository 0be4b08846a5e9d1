"""The local engine beside its peers: cold and warm, large and small, in one run. Run by hand.

    python benchmarks/engine.py [--only cold,list,...] [--peers Pool,Executor,...] [--light] [--rounds 5]

Each workload is measured in turns over all sides; a figure is the median of its rounds, a ratio that of
medians. Libraries with servers of their own come in a second part, with mrpy and Pool beside them once more.
At the end the machine's own limits, and how far from them mrpy is. Exits with 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from limits import ARRAY_BYTES, Figures, bare_forks, limits
from peers import ALL, Mrpy, Peer, Pool
from tables import Bars, in_turns, percentile, seconds, show, sizes_for

MANY = 100_000
SINGLES = 10_000
CALLS = 400
ARRAYS = 24
LATE = 0.25  # seconds that a slow side may take in a round of the warm workloads

Sides = dict[str, Peer]
Measures = dict[str, Callable[[], float]]


KEEPING = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def trivial(x: int) -> int:
    return x + 1


def work(loops: int) -> int:
    """Pure Python that takes as long as it takes: not until a clock says so."""
    total = 0
    for n in range(loops):
        total += n & 7
    return total


def total_of(array: Any) -> float:
    return float(array[::4096].sum())


def doubled(array: Any) -> Any:
    return array * 2


def consume(items: Any) -> None:
    for _ in items:
        pass


def loops_for(duration: float) -> int:
    """How many loops of `work` take so long here."""
    return int(200_000 * duration / min(seconds(lambda: work(200_000)) for _ in range(5)))


class Engine:
    """The workloads. Each prints its table, and checks its bars where mrpy's own peers are beside it."""

    def __init__(self, sides: Sides, rounds: int, bars: Bars | None) -> None:
        self.sides = sides
        self.rounds = rounds
        self.bars = bars
        self.found: dict[str, Figures] = {}

    def _run(self, name: str, title: str, unit: str, sides: Measures, rounds: int) -> Figures:
        figures = self.found[name] = in_turns(sides, rounds)
        show(title, figures, unit)
        return figures

    def _warm(self, name: str, title: str, way: str, make: Callable[[int], Any], most: int) -> Figures:
        """Microseconds per item. A slow side gets fewer of them."""
        sides: Measures = {}
        for side, peer in self.sides.items():
            ours = "lazy" if isinstance(peer, Mrpy) and way == "eager" else way
            if not peer.has(ours):
                continue
            run = getattr(peer, ours)
            try:
                n = sizes_for(lambda n, run=run: seconds(lambda: consume(run(trivial, make(n)))), most, LATE)
            except Exception as problem:
                print(f"  ({side} is left out: {problem!r:.100})", file=sys.stderr)
                continue
            xs = make(n)
            sides[side] = lambda run=run, xs=xs, n=n: seconds(lambda: consume(run(trivial, xs))) / n * 1e6
        return self._run(name, title, "us/item", sides, self.rounds)

    # ---- the workloads -----------------------------------------------------------------------------

    def cold(self) -> None:
        sides: Measures = {}
        with tempfile.TemporaryDirectory() as folder:
            for side, peer in self.sides.items():
                script = Path(folder, f"{peer.name.replace('.', '_')}_script.py")
                script.write_text(f"xs = range(100)\ndef f(x):\n    return x + 1\n{peer.BEGIN}\n")

                def start(script: Path = script) -> float:
                    took = perf_counter()
                    command = [sys.executable, script]
                    done = subprocess.run(
                        command, capture_output=True, text=True, check=True, timeout=120, env=KEEPING
                    )
                    took = perf_counter() - took
                    assert done.stdout.strip() == "5050", done
                    return took * 1e3

                sides[side] = start
            rounds = self.rounds * 3 if self.bars else 2
            for start in sides.values():
                start()  # compiles what is not compiled yet
            title = "cold: python script.py, 100 trivial items, whole process"
            figures = self._run("cold", title, "ms", sides, rounds)
        if self.bars:
            ratio = figures["mrpy"] / figures["Executor"]
            self.bars.check("cold, against Executor", ratio, 1.0, at_most=True)

    def list(self) -> None:
        title = f"warm, {MANY:,} trivial items of a list, defaults; mrpy lazily in order, the others "
        eager = self._warm("list", title + "eagerly", "eager", lambda n: list(range(n)), MANY)
        lazy = self._warm("lazy", title + "lazily in order", "lazy", lambda n: list(range(n)), MANY)
        if self.bars:
            best = min(figure for side, figure in lazy.items() if side != "mrpy")
            self.bars.check("list, against Pool.map", eager["mrpy"] / eager["Pool"], 0.7, at_most=True)
            self.bars.check("list, the best lazy peer against mrpy", best / lazy["mrpy"], 5)

    def range(self) -> None:
        title = f"warm, {MANY:,} trivial items of a range, defaults; mrpy lazily in order, the others eagerly"
        figures = self._warm("range", title, "eager", range, MANY)
        if self.bars:
            self.bars.check("range, against Pool.map", figures["mrpy"] / figures["Pool"], 0.6, at_most=True)

    def single(self) -> None:
        title = f"one item per task, {SINGLES:,} trivial items"
        figures = self._warm("single", title, "each", lambda n: list(range(n)), SINGLES)
        if self.bars:
            ratio = figures["mrpy"] / figures["Pool"]
            self.bars.check("chunksize=1, against Pool.map(chunksize=1)", ratio, 0.6, at_most=True)

    def submit(self) -> None:
        last: Figures = {}
        sides: Measures = {}
        for side, peer in self.sides.items():
            if not peer.has("one"):
                continue

            def calls(peer: Peer = peer, side: str = side) -> float:
                n = CALLS if not peer.heavy else CALLS // 4
                times = [seconds(lambda: peer.one(trivial, 1)) * 1e6 for _ in range(n)]
                last.setdefault(side, math.inf)
                last[side] = min(last[side], percentile(times, 0.99) / statistics.median(times))
                return statistics.median(times)

            sides[side] = calls
        figures = self._run("submit", "one call at a time, and its result: median", "us", sides, self.rounds)
        tails = ", ".join(f"{side} {each:.1f}" for side, each in last.items())
        print(f"    99th percentile / median, the best round: {tails}")
        if self.bars:
            ratio = figures["mrpy"] / figures["Pool"]
            self.bars.check("submit, against Pool.apply", ratio, 1.0, at_most=True)
            self.bars.check("submit, 99th percentile / median", last["mrpy"], 3, at_most=True)

    def _speed_up(self, name: str, title: str, costs: list[int], *, bare: bool = False) -> Figures:
        """Times of serial. `bare` puts beside them what the machine itself gives to two processes."""
        sides: Measures = {}
        sides["serial"] = lambda: seconds(lambda: [work(each) for each in costs])
        if bare:
            sides["bare forks"] = lambda: seconds(lambda: bare_forks(work, costs))
        for side, peer in self.sides.items():
            run = peer.eager if peer.has("eager") else peer.lazy
            sides[side] = lambda run=run: seconds(lambda: consume(run(work, costs)))
        took = in_turns(sides, self.rounds)
        figures = self.found[name] = {side: took["serial"] / each for side, each in took.items()}
        show(title, figures, "x serial")
        return figures

    def even(self) -> None:
        figures = self._speed_up("even", "10 ms of pure Python x 100", [loops_for(0.01)] * 100, bare=True)
        if self.bars:
            self.bars.check("10 ms x 100, speed-up", figures["mrpy"], 1.95)

    def uneven(self) -> None:
        draw = random.Random(7)
        costs = [draw.lognormvariate(0, 1) for _ in range(200)]
        costs.append(costs.pop(costs.index(max(costs))))
        unit = loops_for(0.01 * len(costs) / sum(costs))  # 10 ms on average
        limit = 2 * sum(costs) / (sum(costs) + costs[-1])
        title = f"log-normal durations, the longest last, 200 items (limit {limit:.2f})"
        figures = self._speed_up("uneven", title, [max(1, int(unit * cost)) for cost in costs])
        if self.bars:
            self.bars.check("log-normal, speed-up", figures["mrpy"], 1.85)
            best = max(figure for side, figure in figures.items() if side != "mrpy")
            self.bars.check("log-normal, against the best peer", figures["mrpy"] / best, 1.0)

    def arrays(self) -> None:
        import numpy

        given = [numpy.full(ARRAY_BYTES // 8, float(n)) for n in range(ARRAYS)]
        for name, f, ways, title in (
            ("in", total_of, 1, "16 MB arrays in, scalars out"),
            ("in and out", doubled, 2, "16 MB arrays in and out"),
        ):
            amount = ways * ARRAYS * ARRAY_BYTES / 1e9
            sides = {
                side: lambda peer=peer, f=f, amount=amount: amount / seconds(lambda: consume(
                    (peer.lazy if isinstance(peer, Mrpy) else peer.eager)(f, given)))
                for side, peer in self.sides.items()
            }  # fmt: skip
            figures = self._run(name, title, "GB/s", sides, max(3, self.rounds - 2))
            if self.bars:
                best = max(figures.get(side, 0.0) for side in ("Pool", "Executor", "joblib", "mpire"))
                what = f"arrays {name}, against the best of Pool, executors, joblib, mpire"
                self.bars.check(what, figures["mrpy"] / best, 3)
            elif "ray" in figures:
                self.found[f"ray {name}"] = figures


WORKLOADS = ("cold", "list", "range", "single", "submit", "even", "uneven", "arrays")


def opened(kinds: list[type[Peer]]) -> Sides:
    sides: Sides = {}
    for kind in kinds:
        if not kind.available():
            print(f"({kind.name} is skipped: it is not installed)")
            continue
        peer = kind()
        try:
            peer.open()
        except Exception as problem:
            print(f"({kind.name} is skipped: it does not start: {problem!r:.200})")
        else:
            sides[kind.name] = peer
    return sides


def part(kinds: list[type[Peer]], workloads: list[str], rounds: int, bars: Bars | None) -> dict[str, Figures]:
    sides = opened(kinds)
    engine = Engine(sides, rounds, bars)
    try:
        for name in workloads:
            getattr(engine, name)()
    finally:
        for peer in reversed(sides.values()):
            peer.close()
    return engine.found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(WORKLOADS))
    parser.add_argument("--peers", default=",".join(kind.name for kind in ALL))
    parser.add_argument("--light", action="store_true", help="leave out what has servers of its own")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    chosen = [kind for kind in ALL if kind.name in [*given.peers.split(","), "mrpy", "Pool", "Executor"]]
    workloads = given.only.split(",")
    bars = Bars()
    found = part([kind for kind in chosen if not kind.heavy], workloads, given.rounds, bars)
    limits(found, trivial, MANY)
    heavy = [kind for kind in chosen if kind.heavy]
    if heavy and not given.light:
        print("\n---- beside those that have servers of their own ----")
        beside = part([Mrpy, Pool, *heavy], workloads, max(3, given.rounds - 2), None)
        for way in ("in", "in and out"):
            if "ray" in (theirs := beside.get(way, {})):
                bars.check(f"arrays {way}, against ray", theirs["mrpy"] / theirs["ray"], 1.0)
        if "ray" in (uneven := beside.get("uneven", {})):
            best = max(each for side, each in uneven.items() if side != "mrpy")
            bars.check("log-normal, against the best of these too", uneven["mrpy"] / best, 1.0)
    return bars.end()


if __name__ == "__main__":
    sys.exit(main())

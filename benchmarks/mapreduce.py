"""MapReduce beside a plain loop, a hand-written pool, dask.bag and PySpark: in one run. Run by hand.

    python benchmarks/mapreduce.py [--only wordcount,...] [--peers dask.bag,PySpark] [--light] [--rounds 3]

Each workload is measured in turns over all sides; a figure is the median of its rounds, a ratio that of
medians. All sides must come to the same answer. What is larger than memory is measured once, one side after
the other, each in a process of its own. `--light` takes a tenth of the sizes, though no less memory than the
processes need by themselves. PySpark has the heap that it takes by default, and is not held to the memory.
Exits with 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import mapreduce_inputs as inputs
import psutil
from engine import opened
from mapreduce_programs import ALL, Mrpy, Plain, Spark
from peers import Peer
from tables import Bars, in_turns, seconds, show

from mrpy.cli.corpus import files_of

MB = 1_000_000
TEXT, BASES, LINES, PAGES = 120 * MB, 10 * MB, 2 * MB, 100_000  # bytes, bases, lines, pages
GROUPED, SORTED, MEMORY = 4_000 * MB, 2_000 * MB, 512 * MB  # bytes
LEAST = 160 * MB  # of memory: three processes and their modules take half of that
SAMPLED = 0.05  # seconds between two looks at the memory
TIMES = {"dask.bag": 5.0, "PySpark": 3.0}  # so much faster each word count; all else 1
IN_TURNS = ("wordcount", "splits", "index", "grep", "kmers", "sessions", "pagerank")
ALONE = ("groupby", "sort")


class Workloads:
    """Each is a method. `size` is the share of the full sizes."""

    def __init__(self, sides: dict[str, Peer], folder: Path, rounds: int, size: float, bars: Bars) -> None:
        self.sides = sides
        self.folder = folder
        self.rounds = rounds
        self.size = size
        self.bars = bars
        self.spark = False

    def wordcount(self) -> None:
        self._words("wordcount", "word count")

    def splits(self) -> None:
        self._words("splits", "word count by str.split, line by line")

    def _words(self, name: str, title: str) -> None:
        paths = inputs.corpus(self.folder, int(TEXT * self.size))
        figures = self._beside(name, f"{title}, of {_amount(paths)} of text", paths, _fingerprint)
        ours = figures["mrpy"]
        self.bars.check(f"{name}, against the plain loop", figures["plain loop"] / ours, 1.9)
        if "Pool" in figures:
            self.bars.check(f"{name}, against a pool and Counter", figures["Pool"] / ours, 1.0)

    def index(self) -> None:
        paths = [file.path for file in files_of([])]
        paths = paths[: int(len(paths) * self.size)]
        title = f"inverted index of {len(paths):,} files, {_amount(paths)}"
        self._beside("index", title, paths, lambda found: _fingerprint((w, *p) for w, p in found.items()))

    def grep(self) -> None:
        paths = inputs.corpus(self.folder, int(TEXT * self.size))
        self._beside("grep", f"grep in {_amount(paths)} of text", paths, lambda found: hash(tuple(found)))

    def kmers(self) -> None:
        paths = inputs.reads(self.folder, int(BASES * self.size))
        self._beside("kmers", f"k-mers of {_amount(paths)} of FASTA", paths, _fingerprint)

    def sessions(self) -> None:
        paths = inputs.logs(self.folder, int(LINES * self.size))
        self._beside("sessions", f"sessions in {_amount(paths)} of logs", paths, _fingerprint)

    def pagerank(self) -> None:
        links = inputs.links(int(PAGES * self.size))
        title = f"PageRank of {len(links):,} pages, five rounds"
        self._beside("pagerank", title, links, lambda found: (len(found), round(sum(found.values()), 3)))

    def _beside(self, name: str, title: str, given: Any, brief: Callable[[Any], Any]) -> dict[str, float]:
        answers: dict[str, Any] = {}
        measures = {}
        for side, peer in self.sides.items():
            if hasattr(peer, name):
                run = getattr(peer, name)
                measures[side] = lambda run=run, side=side: _timed(run, given, side, answers, brief)
        figures = in_turns(measures, self.rounds)
        show(title, figures, "s")
        for side, answer in answers.items():
            assert answer == answers["mrpy"], f"{side} comes to another answer"
        for side in ("dask.bag", "PySpark"):
            if side in figures:
                needs = TIMES[side] if name in ("wordcount", "splits") else 1.0
                self.bars.check(f"{name}, against {side}", figures[side] / figures["mrpy"], needs)
        return figures

    # ---- what is larger than memory -----------------------------------------------------------------

    def groupby(self) -> None:
        size, memory = int(GROUPED * self.size), max(LEAST, int(MEMORY * self.size))
        sides = ["mrpy", *(["PySpark"] if self.spark else [])]
        found = {side: self._alone("groupby", side, str(size), str(memory)) for side in sides}
        _show_alone(f"group-by of {size // MB:,} MB within {memory // MB} MB", found)
        assert all(each["answer"] == found["mrpy"]["answer"] for each in found.values()), "the answers differ"
        held = found["mrpy"]["peak"] / memory
        self.bars.check("groupby, peak of all processes against its memory", held, 1.0, at_most=True)
        self._check_alone("groupby", found, "PySpark", 1.0)

    def sort(self) -> None:
        size, memory = int(SORTED * self.size), max(LEAST, int(MEMORY * self.size))
        source = self.folder / "lines.txt"
        inputs.lines(source, size)
        targets = {side: str(self.folder / f"{side} sorted.txt") for side in ("mrpy", "GNU sort")}
        found = {
            side: self._alone("sort", side, str(source), target, str(memory))
            for side, target in targets.items()
        }
        _show_alone(f"sort of {size // MB:,} MB of lines within {memory // MB} MB", found)
        same = subprocess.run(["cmp", *targets.values()], check=False).returncode == 0
        assert same, "the sorted files differ"
        held = found["mrpy"]["peak"] / memory
        self.bars.check("sort, peak of all processes against its memory", held, 1.0, at_most=True)
        self._check_alone("sort", found, "GNU sort", 1 / 3)

    def _check_alone(self, name: str, found: dict[str, Any], side: str, needs: float) -> None:
        if side in found:
            ratio = found[side]["seconds"] / found["mrpy"]["seconds"]
            self.bars.check(f"{name}, against {side}", ratio, needs)

    def _alone(self, *arguments: str) -> dict[str, Any]:
        """Run `larger.py`; what it prints, and the peak of what it and its children held."""
        command = [sys.executable, str(Path(__file__).with_name("larger.py")), *arguments]
        environment = {**os.environ, "TMPDIR": str(self.folder)}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            watch = Watch(process.pid)
            out, _ = process.communicate()
            peak = watch.end()
        if process.returncode:
            raise SystemExit(f"{' '.join(arguments[:2])} ended with {process.returncode}")
        return {**json.loads(out.splitlines()[-1]), "peak": peak}


class Watch:
    """Looks at the memory of a process and all below it, now and then, in a thread. What they share counts
    once."""

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._process = psutil.Process(pid)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(SAMPLED):
            try:
                family = [self._process, *self._process.children(recursive=True)]
            except psutil.Error:
                return  # it is over
            self.peak = max(self.peak, sum(map(_held, family)))

    def end(self) -> int:
        """The most that they held together, in bytes."""
        self._over.set()
        self._thread.join()
        return self.peak


def _held(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


def _timed(run: Callable[[Any], Any], given: Any, side: str, answers: dict[str, Any], brief: Any) -> float:
    answer: Any = None

    def call() -> None:
        nonlocal answer
        answer = run(given)

    took = seconds(call)
    if side not in answers:
        answers[side] = brief(answer)
    del answer
    gc.collect()
    return took


def _fingerprint(found: Any) -> int:
    """The same for the same pairs in any order."""
    return hash(frozenset(found.items() if hasattr(found, "items") else found))


def _amount(paths: Iterable[str]) -> str:
    return f"{sum(map(os.path.getsize, paths)) / MB:.0f} MB"


def _show_alone(title: str, found: dict[str, dict[str, Any]]) -> None:
    show(title, {side: each["seconds"] for side, each in found.items()}, "s")
    for side, each in found.items():
        start = f", and {each['start']:.1f} s to start its JVM" if "start" in each else ""
        print(f"    {side}: {each['peak'] / MB:.0f} MB at most in all its processes{start}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join([*IN_TURNS, *ALONE]))
    parser.add_argument("--peers", default=",".join(kind.name for kind in ALL))
    parser.add_argument("--light", action="store_true", help="a tenth of the sizes")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    names = [name for name in given.only.split(",") if name in IN_TURNS + ALONE]
    kinds = [kind for kind in ALL if kind.name in given.peers.split(",") or kind in (Mrpy, Plain)]
    if not set(names) & set(IN_TURNS):
        kinds = []  # what is alone in its process starts there
    bars = Bars()
    with tempfile.TemporaryDirectory() as folder:
        sides = opened(kinds)
        for side, peer in sides.items():
            if hasattr(peer, "start"):
                print(f"({side} took {peer.start:.1f} s to start, which is left out)")
        try:
            for name in names:
                with tempfile.TemporaryDirectory(dir=folder) as inner:
                    size = 0.1 if given.light else 1.0
                    run = Workloads(sides, Path(inner), given.rounds, size, bars)
                    run.spark = Spark.name in given.peers and Spark.available()
                    getattr(run, name)()
        finally:
            for peer in reversed(sides.values()):
                peer.close()
    return bars.end()


if __name__ == "__main__":
    sys.exit(main())

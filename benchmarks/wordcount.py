"""The job of `mrpy wordcount`: in a plain loop, in two bare processes without an answer, and with mrpy.

The second is what this machine can give: each of two forks counts every other batch, and drops what it has.
Nothing is sent, grouped or merged. The bar: with its workers' start and the merged answer mrpy takes at most
1.4 times as long as that. The three run in turns; the least of each counts, since other work on the machine
only ever adds. Exits with 1 where the bar is missed.

    python benchmarks/wordcount.py [RUNS]
"""

from __future__ import annotations

import multiprocessing
import sys
from collections import Counter
from time import perf_counter

import mrpy
from mrpy.cli.corpus import batches_of, files_of
from mrpy.cli.words import CountWords, total
from mrpy.mapreduce.files.blocks import Block

BAR = 1.4
RUNS = 5
WORKERS = 2
Batches = list[list[Block]]
COUNT = CountWords()


def plain(batches: Batches) -> Counter[str]:
    """One process, one Counter."""
    return COUNT(block for batch in batches for block in batch)


def bare(batches: Batches) -> None:
    """The work alone, on as many processes."""
    fork = multiprocessing.get_context("fork")
    forks = [fork.Process(target=count_all, args=(batches[n::WORKERS],)) for n in range(WORKERS)]
    for each in forks:
        each.start()
    for each in forks:
        each.join()


def count_all(batches: Batches) -> None:
    """What each of the bare processes does."""
    for batch in batches:
        COUNT(batch)


def parallel(batches: Batches) -> dict[str, int]:
    """The whole job, from workers that are not there yet to the answer."""
    with mrpy.session("processes", WORKERS):
        return dict(mrpy.mapreduce(COUNT, total, batches, combiner=total))


def main(runs: int = RUNS) -> int:
    """Measure, print, judge."""
    files = files_of([])
    batches = batches_of(files, COUNT)
    programs = {"plain loop": plain, f"{WORKERS} bare processes": bare, f"mrpy, {WORKERS} workers": parallel}
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(runs):
        answers = []
        for name, program in programs.items():
            began = perf_counter()
            answers.append(program(batches))  # type: ignore[operator]
            times[name].append(perf_counter() - began)
        assert answers[0] == answers[2], "the answers differ"
    size = sum(file.size or 0 for file in files) / 1e6
    print(f"{len(files):,} files, {size:.0f} MB; the least of {runs} runs, seconds\n")
    least = {name: min(each) for name, each in times.items()}
    for name, seconds in least.items():
        print(f"{name:20}{seconds:8.2f}   {least['plain loop'] / seconds:.2f} x the plain loop")
    _, work, ours = least.values()
    print(f"\nmrpy takes {ours / work:.2f} times the work alone; the bar is {BAR}: ", end="")
    print("kept" if ours <= BAR * work else "MISSED")
    return 0 if ours <= BAR * work else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))

"""Memory: one large array for a thousand small tasks, a consumer slower than the workers, and a long source
of large items that is reduced. Run by hand.

    python benchmarks/sharing.py [--tasks 1000] [--items 1000000] [--frames 20000]

Memory is that of this process and all below it, pages that several share counted once (PSS). Exits with 1
where a bar is missed.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from typing import Any

import numpy
import psutil
from tables import Bars, seconds

import mrpy

WORKERS = 2
MB = 2**20
ARRAY = 200 * MB
LEAD = 150_000  # items taken before memory is looked at first: by then the window, of 128 MB, was full
PEERS_FOR = 3.0  # seconds that a peer's consumer takes its time
FRAME = 500_000  # bytes of an image


def held() -> float:
    """Megabytes of this process and those below it, shared pages counted once."""
    total = 0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total / MB


def shared(bars: Bars, tasks: int) -> None:
    array = numpy.ones(ARRAY // 8)
    array.flags.writeable = False

    def by_closure(n: int) -> float:
        return float(array[n] + len(array))

    def by_argument(pair: tuple[int, Any]) -> float:
        return float(pair[1][pair[0]] + len(pair[1]))

    print(f"a read-only array of {ARRAY // MB} MB for {tasks:,} small tasks")
    runs: dict[str, Callable[[], Iterable[float]]] = {
        "closure": lambda: mrpy.pmap(by_closure, range(tasks), chunksize=1),
        "argument": lambda: mrpy.pmap(by_argument, ((n, array) for n in range(tasks)), chunksize=1),
    }
    with mrpy.session("processes", workers=WORKERS):
        list(mrpy.pmap(abs, range(8), chunksize=1))
        for name, run in runs.items():
            before = held()
            peak = 0.0
            began = time.perf_counter()
            for n, _ in enumerate(run()):
                if n in (tasks // 2, tasks - 1):
                    peak = max(peak, held() - before)
            took = time.perf_counter() - began
            each = took / tasks * 1e6
            print(f"    {name:<10} {took:6.2f} s, {each:8.0f} us a task, {peak:6.0f} MB more held")
            bars.check(f"{name}: more held, in arrays", peak / (ARRAY / MB), 1.15, at_most=True)
    few = max(2, tasks // 250)
    with multiprocessing.get_context("fork").Pool(WORKERS) as pool:
        took = seconds(lambda: pool.map(_first, [array] * few, chunksize=1)) / few
    print(f"    Pool, as an argument: {took * 1e6:,.0f} us a task (measured over {few})")


def _first(array: Any) -> float:
    return float(array[0])


def kilobyte(n: int) -> bytes:
    return n.to_bytes(8, "little") * 128


def slowly(results: Iterable[bytes], count: int | None, until: float | None) -> int:
    """Take results, slower than they are made; return how many."""
    taken = 0
    for _ in islice(results, count):
        taken += 1
        if taken % 200 == 0:
            time.sleep(0.001)
        if until is not None and time.perf_counter() > until:
            break
    return taken


def pulled(items: int, seen: list[int]) -> Iterator[int]:
    for n in range(items):
        seen[0] = n
        yield n


def slow_consumer(bars: Bars, items: int) -> None:
    print(f"\n{items:,} results of 1 kB, and a consumer that is slower than the workers")
    with mrpy.session("processes", workers=WORKERS):
        list(mrpy.pmap(abs, range(8), chunksize=1))
        results = iter(mrpy.pmap(kilobyte, pulled(items, [0])))
        slowly(results, LEAD, None)
        early = held()
        worst = 0.0
        while slowly(results, items // 10, None):
            worst = max(worst, held() - early)
        print(f"    mrpy, all of them       {worst:8.1f} MB more than after the first {LEAD:,}")
        bars.check("slow consumer: more held", worst, 24, " MB", at_most=True)
    fork = multiprocessing.get_context("fork")
    with fork.Pool(WORKERS) as pool:
        _peer("Pool.imap", lambda source: pool.imap(kilobyte, source, chunksize=64), items)
        pool.terminate()
    with ProcessPoolExecutor(WORKERS, fork) as executor:  # it pulls all of its source before it begins
        _peer("Executor.map", lambda source: executor.map(kilobyte, source, chunksize=64), items // 10)
        executor.shutdown(cancel_futures=True)


def _peer(name: str, run: Callable[[Iterator[int]], Iterable[bytes]], items: int) -> None:
    before, seen = held(), [0]
    taken = slowly(run(pulled(items, seen)), None, time.perf_counter() + PEERS_FOR)
    grown = held() - before
    print(f"    {name:<23} {grown:8.1f} MB more after {taken:,} of {seen[0] + 1:,} that it has pulled")


def frames(count: int) -> Iterator[Any]:
    """Images, as a detector gives them: each is new."""
    frame = numpy.ones(FRAME // 8)
    for _ in range(count):
        yield frame.copy()


def mean(frame: Any) -> float:
    return float(frame.mean())


def long_source(bars: Bars, count: int) -> None:
    print(f"\n{count:,} arrays of {FRAME // 1000} kB from a generator, {count * FRAME / 1e9:.0f} GB in all")
    runs: dict[str, Callable[[Any], Any]] = {
        "plain loop of means": lambda source: sum(map(mean, source)),
        "mrpy, sum of means": lambda source: mrpy.stream(source).map(mean).sum(),
        "mrpy, preduce": lambda source: mrpy.preduce(numpy.add, source),
        "mrpy, reduce_by": lambda source: list(mrpy.stream(source).map(mean).reduce_by(first_digit, max)),
    }
    with mrpy.session("processes", workers=WORKERS):
        list(mrpy.pmap(abs, range(8), chunksize=1))
        for name, run in runs.items():
            worst = _watched(name, functools.partial(run, frames(count)))
            if name.startswith("mrpy"):
                bars.check(f"long source, {name[6:]}: more held", worst, 512, " MB", at_most=True)
    with multiprocessing.get_context("fork").Pool(WORKERS) as pool:
        few = max(1, count // 20)  # it pulls all of its source at once: as much as that is held
        _watched(f"Pool.imap, of {few:,}", lambda: sum(pool.imap(mean, frames(few), chunksize=16)))


def first_digit(number: float) -> int:
    return int(number) % 10


def _watched(name: str, run: Callable[[], Any]) -> float:
    """Run it; the most that was held meanwhile, and not before."""
    worst = before = held()
    over = threading.Event()

    def watch() -> None:
        nonlocal worst
        while not over.wait(0.1):
            worst = max(worst, held())

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        took = seconds(run)
    finally:
        over.set()
        watching.join()
    print(f"    {name:<23} {took:6.2f} s, {worst - before:6.0f} MB more held at most")
    return worst - before


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--frames", type=int, default=20_000)
    given = parser.parse_args()
    bars = Bars()
    shared(bars, given.tasks)
    slow_consumer(bars, given.items)
    long_source(bars, given.frames)
    code = bars.end()
    sys.stdout.flush()
    os._exit(code)  # the executor may still have much to do


if __name__ == "__main__":
    main()

"""The scheduler alone: facts and times go in, orders come out, and nothing runs anywhere.

Three parts. The first simulates a cluster, with a heap of finish times for a clock: durations are log-normal,
and every attempt is lost with a probability of 1 %, somewhere on its way. Tasks are fed in a window, as a run
feeds them, so memory does not grow with their number. The second lets 10,000 to 1,000,000 tasks of several
shapes live their whole lives, and shows that one costs the same however many there are. The third weighs a
live task.

A lost attempt is told without blame, as of a machine that was taken away: the task runs again. (Blamed losses
count as deaths of the task, and the third is its own fault: of ten million tasks with 1 % losses about ten
would be condemned that did nothing.) A window counts tasks that are not reported yet, as with
``ordered=False``; who wants results in order waits for the slowest of a window as well.

    python benchmarks/scheduler.py [--quick] [--tasks N] [--workers N] [--seed N]
                                   [--only simulation,shapes,bytes]

Exits with 1 where a bar is missed. The whole takes about four minutes, `--quick` some seconds.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import tracemalloc
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from heapq import heappop, heappush
from time import perf_counter
from typing import Any

from tables import Bars

from mrpy.scheduler.calls import Call, Code
from mrpy.scheduler.failure import Failure
from mrpy.scheduler.messages import (
    Abandoned,
    Added,
    Fact,
    Input,
    Lost,
    Order,
    Report,
    Slots,
    Start,
    Succeeded,
    Task,
)
from mrpy.scheduler.scheduler import Scheduler
from mrpy.scheduler.states import State

MICROSECONDS = 20.0  # of the scheduler, for all of a task's life
# Times the cost of a task where there are a hundred times as many. Where all are alive at once, the caches
# hold few of them, and the garbage collector walks over the old ones too (without it: 1.2).
LINEAR = 2.0
MAKESPAN = 1.05  # times the lower bound
FLAT = 1.1  # times the memory after a tenth of the tasks
LOSS = 0.01
WINDOW = 4  # tasks per worker that are out: enough that none is ever idle while there is work
SIGMA = 0.5  # of the logarithm of a duration; the longest of ten million is then 12 times the mean
SLOTS = 16
CODE = Code(len, "len")
DEAD = Failure("WorkerCrashed", "the machine is gone")


class Clocked:
    """A scheduler, and the seconds that were spent inside it."""

    def __init__(self, slots: int) -> None:
        self.scheduler = Scheduler()
        self.seconds = 0.0
        self.handle([Slots(slots)])

    def handle(self, facts: Iterable[Fact], now: float = 0.0) -> list[Order]:
        began = perf_counter()
        orders = self.scheduler.handle(facts, now)
        self.seconds += perf_counter() - began
        return orders


def task(number: int, *inputs: int, **settings: Any) -> Task:
    """As a job makes them: a key of two numbers, a call of a shared code."""
    needed = tuple([Input((1, key)) for key in inputs])
    return Task((1, number), Call(CODE, number), needed, **settings)


# ---- shapes: whole lives -------------------------------------------------------------------------


def one_by_one(count: int) -> Clocked:
    """Independent tasks in a window; every fact comes alone."""
    clocked, running = Clocked(SLOTS), deque[Start]()
    for number in range(count + WINDOW * SLOTS):
        if number < count:
            take(clocked.handle([Added((task(number),))]), running)
        if number >= WINDOW * SLOTS:
            take(clocked.handle([succeeded(running.popleft())]), running)
    return clocked


def in_batches(count: int) -> Clocked:
    """Independent tasks, all alive at once; their ends come in batches."""
    return all_at_once([task(number) for number in range(count)], 256)


def in_a_chain(count: int) -> Clocked:
    """Each needs the one before; all alive at once."""
    return all_at_once([task(0), *(task(number, number - 1) for number in range(1, count))], 1)


def as_a_tree(count: int) -> Clocked:
    """Chunks whose values are kept, and urgent merges of two; inputs are dropped once a merge is added."""
    clocked, running = Clocked(SLOTS), deque[Start]()
    fresh, done = 0, deque[int]()
    while fresh < count or running:
        facts: list[Fact] = []
        if len(done) >= 2 and fresh < count:
            left, right = done.popleft(), done.popleft()
            facts.append(Added((task(fresh, left, right, keep=True, urgent=True),)))
            facts.append(Abandoned(((1, left), (1, right))))
            fresh += 1
        elif fresh < count and len(running) < SLOTS:
            facts.append(Added((task(fresh, keep=True),)))
            fresh += 1
        else:
            ended = running.popleft()
            done.append(ended.task.key[1])  # type: ignore[index]
            facts.append(succeeded(ended))
        take(clocked.handle(facts), running)
    clocked.handle([Abandoned(tuple((1, number) for number in done))])
    return clocked


def all_at_once(tasks: list[Task], batch: int) -> Clocked:
    """Add all, then let them succeed in the order in which they were started, `batch` at a time."""
    clocked, running = Clocked(max(SLOTS, batch)), deque[Start]()
    take(clocked.handle([Added(tuple(tasks))]), running)
    tasks.clear()
    while running:
        ended = [succeeded(running.popleft()) for _ in range(min(batch, len(running)))]
        take(clocked.handle(ended), running)
    return clocked


def take(orders: list[Order], running: deque[Start]) -> None:
    running.extend(order for order in orders if type(order) is Start)


def succeeded(start: Start) -> Succeeded:
    return Succeeded(start.task.key, start.attempt, 0.01, 0.001)


SHAPES: dict[str, Callable[[int], Clocked]] = {
    "independent, one by one": one_by_one,
    "independent, in batches": in_batches,
    "a chain": in_a_chain,
    "a merge tree, kept inputs": as_a_tree,
}


def shapes(bars: Bars, sizes: list[int]) -> None:
    """The second part. The least of several runs where they are short, since other work only ever adds."""
    print("\nWhole lives (add, start, succeed, report, release): us per task, inside the scheduler\n")
    print(f"    {'':28}" + "".join(f"{size:>12,}" for size in sizes) + "   tasks/s   all told")
    worst = steepest = 0.0
    for name, shape in SHAPES.items():
        inside, whole = zip(*(measured(shape, size) for size in sizes), strict=True)
        row = "".join(f"{each:12.2f}" for each in inside)
        print(f"    {name:28}{row}{1e6 / inside[-1]:10,.0f}{whole[-1]:9.2f} us")
        worst, steepest = max(worst, *inside), max(steepest, inside[-1] / inside[0])
    print()
    bars.check("scheduler, the dearest shape", worst, MICROSECONDS, " us a task", at_most=True)
    bars.check("scheduler, growth of a task's cost with their number", steepest, LINEAR, at_most=True)


def measured(shape: Callable[[int], Clocked], size: int) -> tuple[float, float]:
    """Microseconds per task, inside the scheduler and with the making of tasks and facts."""
    inside, whole = [], []
    for _ in range(max(1, min(5, 200_000 // size))):
        began = perf_counter()
        clocked = shape(size)
        whole.append(perf_counter() - began)
        inside.append(clocked.seconds)
        assert not clocked.scheduler.records, "something is still alive"
    return 1e6 * min(inside) / size, 1e6 * min(whole) / size


# ---- bytes: what a live task weighs --------------------------------------------------------------


def weights(count: int) -> None:
    """The third part. A chain waits, but for its head; the others are independent."""
    print("\nBytes per live task\n")
    loose = [task(number) for number in range(count)]
    for name, slots, tasks in (
        ("ready", 0, loose),
        ("running", count, loose),
        ("waiting for one input", 0, [task(0), *(task(number, number - 1) for number in range(1, count))]),
    ):
        tracemalloc.start()
        scheduler = Scheduler()
        scheduler.handle([Slots(slots), Added(tuple(tasks))], 0.0)
        ours = tracemalloc.get_traced_memory()[0] / count
        tracemalloc.stop()
        assert len(scheduler.records) == count
        print(f"    {name:28}{ours:10.0f}   in the scheduler")
    tracemalloc.start()
    kept = [task(number) for number in range(count)]
    theirs = tracemalloc.get_traced_memory()[0] / len(kept)
    tracemalloc.stop()
    print(f"    {'Task, key and Call':28}{theirs:10.0f}   with whoever made them")


# ---- the simulated cluster -----------------------------------------------------------------------


class Cluster:
    """Workers that are a heap of finish times, a source, and a consumer that counts what it is told."""

    def __init__(self, workers: int, tasks: int, seed: int) -> None:
        self.clocked = Clocked(workers)
        self.workers, self.tasks, self.window = workers, tasks, WINDOW * workers
        self._random = random.Random(seed)
        self._ends: list[tuple[float, int, Start, bool]] = []  # when, a number, what, and whether it is lost
        self._starts = self._fed = self._told = 0
        self._reports = bytearray(tasks)
        self.states: Counter[State] = Counter()
        self.attempts: Counter[int] = Counter()
        self.now = self.work = self.longest = 0.0
        self.memory: list[int] = []

    def run(self) -> None:
        """Until every task was reported."""
        self.carry_out(self.clocked.handle([Added(tuple(self.feed(self.window)))], 0.0))
        while self._ends:
            self.now, _, start, lost = heappop(self._ends)
            key, attempt = start.task.key, start.attempt
            fact = Lost(key, attempt, DEAD, blame=False) if lost else Succeeded(key, attempt)
            self.carry_out(self.clocked.handle([fact], self.now))
            if self._fed < min(self.tasks, self._told + self.window):
                self.carry_out(self.clocked.handle([Added(tuple(self.feed(1)))], self.now))

    def feed(self, count: int) -> Iterator[Task]:
        """The next tasks of the source. Each carries its duration."""
        for number in range(self._fed, min(self.tasks, self._fed + count)):
            self._fed += 1
            yield Task((1, number), self._random.lognormvariate(0.0, SIGMA))

    def carry_out(self, orders: list[Order]) -> None:
        """What a driver, a backend and a consumer would do."""
        for order in orders:
            if type(order) is Start:
                self.start(order)
            elif type(order) is Report:
                self.report(order)

    def start(self, order: Start) -> None:
        self._starts += 1
        seconds = order.task.call
        lost = self._random.random() < LOSS
        if lost:
            seconds *= self._random.random()
        self.work += seconds
        self.longest = max(self.longest, seconds)
        heappush(self._ends, (self.now + seconds, self._starts, order, lost))
        self.attempts[order.attempt] += 1

    def report(self, order: Report) -> None:
        self._reports[order.key[1]] += 1  # type: ignore[index]
        self.states[order.state] += 1
        self._told += 1
        if self._told % (self.tasks // 10) == 0:
            self.memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

    def check(self) -> None:
        """Every task once, and nothing left."""
        assert self._reports == b"\1" * self.tasks, "a task was not reported once"
        assert self.states == {State.DONE: self.tasks}, self.states
        assert not self.clocked.scheduler.records and self.clocked.scheduler.busy == 0


def simulation(bars: Bars, workers: int, tasks: int, seed: int) -> None:
    """The first part."""
    print(f"\n{workers:,} simulated workers, {tasks:,} tasks, {LOSS:.0%} of attempts lost, seed {seed}\n")
    cluster = Cluster(workers, tasks, seed)
    began = perf_counter()
    cluster.run()
    whole = perf_counter() - began
    cluster.check()
    lost = [f"{cluster.attempts[attempt]:,}" for attempt in sorted(cluster.attempts) if attempt > 1]
    print(f"    each reported once, all done; lost once or more, twice or more, ...: {'; '.join(lost)}")
    inside = cluster.clocked.seconds
    print(f"    {1e6 * inside / tasks:.2f} us a task inside the scheduler, ", end="")
    print(f"{1e6 * whole / tasks:.2f} us with the simulation")
    print(f"    {whole:.0f} s for {cluster.now:,.0f} s of the cluster; {tasks / inside:,.0f} tasks/s")
    first, last = cluster.memory[0], cluster.memory[-1]
    print(f"    peak memory {last / 1024:.0f} MB, after a tenth of the tasks {first / 1024:.0f} MB")
    bound = max(cluster.work / workers, cluster.longest)
    print(f"    makespan {cluster.now:,.2f} s, lower bound {bound:,.2f} s\n")
    bars.check("simulation, scheduler", 1e6 * inside / tasks, MICROSECONDS, " us a task", at_most=True)
    bars.check("simulation, makespan over its lower bound", cluster.now / bound, MAKESPAN, at_most=True)
    bars.check("simulation, memory over that after a tenth", last / first, FLAT, at_most=True)


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a hundredth of everything")
    parser.add_argument("--tasks", type=int, help="simulated tasks")
    parser.add_argument("--workers", type=int, help="simulated workers; else a thousandth of the tasks")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="simulation,shapes,bytes")
    options = parser.parse_args()
    tasks = options.tasks or (100_000 if options.quick else 10_000_000)
    bars = Bars()
    if "simulation" in options.only:  # the first: later parts raise the peak of memory
        simulation(bars, options.workers or max(1, tasks // 1000), tasks, options.seed)
    if "shapes" in options.only:
        shapes(bars, [1_000, 10_000] if options.quick else [10_000, 100_000, 1_000_000])
    if "bytes" in options.only:
        weights(10_000 if options.quick else 100_000)
    return bars.end()


if __name__ == "__main__":
    sys.exit(main())

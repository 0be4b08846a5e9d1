"""Running a MapReduce: map tasks over the source, then a reduce task per partition, then the pairs."""

from __future__ import annotations

import copy
import heapq
from collections.abc import Callable, Generator, Iterator
from operator import itemgetter
from time import perf_counter
from typing import Any, cast

from mrpy.errors import OptionError
from mrpy.iterators import explain, graph
from mrpy.iterators.graph import Graph
from mrpy.iterators.stream import ParallelIterator
from mrpy.mapreduce import check
from mrpy.mapreduce.account import Account
from mrpy.mapreduce.checkpoint import checkpoint_for
from mrpy.mapreduce.compile import Feeder, Slot
from mrpy.mapreduce.kernels import Rules, through
from mrpy.mapreduce.partition import DEFAULT, shown
from mrpy.mapreduce.plan import FlatMap, Map, Plan, name_of
from mrpy.mapreduce.shuffle import MapTask, Pairs, ReduceTask, grouping
from mrpy.mapreduce.sources import Pulled
from mrpy.options import Options, resolve
from mrpy.progress import watched
from mrpy.scheduler.calls import Call, Code, Parts
from mrpy.scheduler.current import job_for
from mrpy.scheduler.driver import Delivery
from mrpy.scheduler.job import Job
from mrpy.scheduler.messages import Input

Functions = tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any] | None]


class Keyed:
    """A MapReduce that is iterated once: the source of a parallel iterator."""

    run_of_its_own = True

    def __init__(
        self, plan: Plan, functions: Functions, partitions: int, sort: bool, given: dict[str, Any]
    ) -> None:
        self._plan = plan
        self._mapper, self._reducer, self._combiner = functions
        self._partitions = partitions
        self._sort = sort
        self._given = given
        self._mapping, self._reducing = Account(), Account()

    def __str__(self) -> str:
        return f"{self._plan} -> map {name_of(self._mapper)} -> by key -> reduce {name_of(self._reducer)}"

    def __iter__(self) -> Generator[tuple[Any, Any], None, None]:
        options = resolve(self._given)
        with job_for(options) as job:
            where = job.driver.backend.name, job.driver.backend.workers
            with watched(job, self._plan, options), self._mapping.running(*where):
                slots = self._map(job, options)
            with self._reducing.running(*where):
                yield from self._reduce(job, slots, options.checkpoint is not None)

    def explain(self) -> str:
        """The text of `explain`: what is before the shuffle, and what is behind it."""
        options, plan = resolve(self._given), self._map_plan()
        rows = [("parts", f"{self._partitions}, by the value of the key")]
        if self._combiner is not None:
            rows.insert(0, ("combiner", f"{name_of(self._combiner)}, within a chunk and over its results"))
        order = "sorted by key" if self._sort else "part by part, and in each as keys first came"
        return "\n\n".join([
            *(source.explain() for source in explain.upstream(plan)),
            explain.stage(plan, options, self._given, self._mapping, rows),
            explain.reduce_stage(self._reduce_name(), order, options, self._given, self._reducing),
        ])  # fmt: skip

    def _draw(self, drawn: Graph) -> str:
        return graph.draw_shuffle(self._map_plan(), drawn, self._reduce_name())

    def _map_plan(self) -> Plan:
        return self._plan.then(Map(self._mapper))  # to be shown: a mapper may yield many pairs

    def _reduce_name(self) -> str:
        return f"reduce {name_of(self._reducer)}"

    def _map(self, job: Job, options: Options) -> list[Slot]:
        rules = Rules.of(options)
        kernel = MapTask(self._plan.steps, self._mapper, self._combiner, self._partitions, rules)
        code = Code(kernel, options.name or f"map {name_of(self._mapper)}", announce=True)
        functions = (*self._plan.steps, self._mapper, self._combiner, self._partitions)
        slots: list[Slot] = []
        with (
            Feeder(job, self._plan, options, code, self._mapping) as feeder,
            checkpoint_for(options.checkpoint, functions, "mapreduce") as feeder.checkpoint,
        ):
            if options.check:
                self._check(feeder.sample(check.ON_A_RUN))
            feeder.aligned = self._combiner is not None  # without one the cuts do not show in the answer
            feeder.keep = options.checkpoint is None  # else the groups come here, to be written down
            for _ in feeder.completed(slots.append):
                pass
        return slots

    def _check(self, sample: list[Any]) -> None:
        """See on some items that the answer does not depend on the cut."""
        steps = self._plan.steps
        check.check_steps(steps, sample)
        if self._combiner is None:  # then the reducer has all the values of a key
            return
        pairs = through((*steps, FlatMap(Pairs(self._mapper))), iter(copy.deepcopy(sample)))
        for key, group in grouping(None).leaf(pairs).items():
            name = key if type(key) is str else shown(key)
            values = group if type(group) is list else [group]
            check.check_combiner(self._combiner, self._reducer, name, values)

    def _reduce(self, job: Job, slots: list[Slot], at_hand: bool) -> Iterator[tuple[Any, Any]]:
        kernel = ReduceTask(self._reducer, self._combiner, self._sort)
        code = Code(kernel, self._reduce_name())
        tasks = []
        for part in range(self._partitions):
            rows = [cast("Parts", slot.result)[part] for slot in slots] if at_hand else None
            inputs = [] if at_hand else [Input(slot.key, part) for slot in slots]
            tasks.append(job.task(Call(code, rows), inputs))
        self._reducing.tasks = len(tasks)
        job.add(*tasks)
        job.drop(slot.key for slot in slots)
        return self._merged(job, [task.key for task in tasks])

    def _merged(self, job: Job, keys: list[Any]) -> Iterator[tuple[Any, Any]]:
        arrived: dict[Any, list[tuple[Any, Any]]] = {}

        def partition(key: Any) -> list[tuple[Any, Any]]:
            while key not in arrived:
                delivery = self._next(job)
                if delivery.failure is not None:
                    raise delivery.failure.exception()
                if delivery.key in keys and delivery.value is not None:
                    began = perf_counter()
                    arrived[delivery.key] = delivery.value.load()
                    self._reducing.pickling += perf_counter() - began
            return arrived.pop(key)

        if self._sort:
            yield from heapq.merge(*[partition(key) for key in keys], key=itemgetter(0))
        else:
            for key in keys:
                yield from partition(key)

    def _next(self, job: Job) -> Delivery:
        began, account = perf_counter(), self._reducing
        delivery = job.next()
        account.waiting += perf_counter() - began
        account.computing += delivery.seconds
        account.unpacking += delivery.pickling
        return delivery


def keyed(
    plan: Plan, functions: Functions, partitions: int | str, sort: bool, given: dict[str, Any]
) -> ParallelIterator:
    """A MapReduce as a parallel iterator of (key, value) pairs."""
    if partitions == "auto":
        partitions = DEFAULT
    if not isinstance(partitions, int) or isinstance(partitions, bool) or partitions < 1:
        raise OptionError(f"partitions={partitions!r}: must be a whole number from 1 up, or 'auto'")
    resolve(given)  # all of it: a wrong option is an error here
    behind = {**given, "checkpoint": None}  # the file is the map side's, and not for what runs over the pairs
    return ParallelIterator(Plan(Pulled(Keyed(plan, functions, partitions, sort, given))), behind)

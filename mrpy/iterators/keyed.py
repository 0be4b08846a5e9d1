"""Running a MapReduce: map tasks over the source, then a reduce task per partition, then the pairs."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain, count
from typing import Any, TypeAlias

from mrpy.errors import OptionError
from mrpy.iterators import explain, graph
from mrpy.iterators.arguments import see_that_all_are_items
from mrpy.iterators.graph import Graph
from mrpy.iterators.parts import Mapped, ReduceTasks
from mrpy.iterators.stream import ParallelIterator
from mrpy.light import Frozen
from mrpy.mapreduce import check
from mrpy.mapreduce.account import Account
from mrpy.mapreduce.batches import Batch, rows_of
from mrpy.mapreduce.checkpoint import Checkpoint, checkpoint_for
from mrpy.mapreduce.groups import Reducer, grouping, is_exact
from mrpy.mapreduce.job_tasks import Method
from mrpy.mapreduce.kept_runs import kept_for
from mrpy.mapreduce.partition import DEFAULT, canonical, shown
from mrpy.mapreduce.plan import Plan, ready
from mrpy.mapreduce.rules import Rules, stage_seed
from mrpy.mapreduce.shuffle import MapTask, ReduceTask, kept_apart, no_order, step_of
from mrpy.mapreduce.skipped import Skipped
from mrpy.mapreduce.slots import Slot, first_of
from mrpy.mapreduce.sources import Pulled, ahead, stages_of, taken_by
from mrpy.mapreduce.spill import SpillFolder, Store, store_for
from mrpy.mapreduce.spilling import SpillingFeeder
from mrpy.mapreduce.steps import Map, name_of
from mrpy.mapreduce.tree import NOTHING
from mrpy.mapreduce.turns import completed
from mrpy.options import Options, checked, plain, resolve, truth, whole_from
from mrpy.progress import watched
from mrpy.scheduler.calls import Code
from mrpy.scheduler.current import job_for
from mrpy.scheduler.job import Job

Row: TypeAlias = tuple[Any, Any]


class Side(Frozen):
    """One input of a shuffle. Where there are two, the values of its mapper say which one this is: they are
    (0, value) or (1, value)."""

    plan: Plan
    mapper: Callable[[Any], Any]

    def to_be_shown(self) -> Plan:
        """The plan with the mapper, though that may yield many pairs."""
        return self.plan.then(Map(self.mapper))


class Shuffle(Frozen):
    """What becomes of the pairs of all sides. Of each key the values of the left one come first.

    ``partitions``  into how many tasks the keys are divided: in a run it is a number
    ``with_keys``   (key, value) pairs are made; else the values alone
    """

    reducer: Reducer
    combiner: Reducer | None = None
    partitions: Any = "auto"
    sort: bool = False
    with_keys: bool = True


class Keyed:
    """A MapReduce that is iterated once: the source of a parallel iterator."""

    run_of_its_own = True

    def __init__(self, sides: Sequence[Side], shuffle: Shuffle, given: Mapping[str, Any]) -> None:
        self._sides, self._shuffle, self._given = sides, shuffle, given
        self._parts = shuffle.partitions + (kept_apart(sides[0].mapper, shuffle.sort) is not None)
        self._mapping, self._reducing = [Account() for _ in sides], Account()
        for account in self._mapping:  # what they skip counts together
            account.of_the_run = self._mapping

    def __str__(self) -> str:
        sides = " and ".join(f"{side.plan} -> map {name_of(side.mapper)}" for side in self._sides)
        rows = "" if self._shuffle.with_keys else " -> rows"
        return f"{sides} -> by key -> {self._reduce_name()}{rows}"

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(self._run(self._rows, pack=False))

    def batches(self) -> Iterator[Batch] | None:
        """What it yields, for another run; None where that is put together row by row."""
        return None if self._shuffle.sort else self._run(self._rows, pack=True)

    def parts(self, folder: SpillFolder) -> Iterator[list[Batch]]:
        """Its parts, one after the other: in batches, some of them perhaps in this folder."""
        return self._run(self._by_part, pack=True, folder=folder)

    def _run(
        self,
        made_of: Callable[[ReduceTasks], Iterator[Any]],
        *,
        pack: bool,
        folder: SpillFolder | None = None,
    ) -> Generator[Any, None, None]:
        """What is made of the reduce tasks. ``pack``: their rows are for others, who may be elsewhere."""
        options = resolve(self._given)
        for account in self._mapping:
            account.skipped = Skipped()
        with job_for(options) as job, ExitStack() as stack:
            store = store_for(job, options, stack, folder=folder)
            maps_store, runs = kept_for(options.checkpoint, store)
            program = self._program(options)
            checkpoint = stack.enter_context(checkpoint_for(options, program, "mapreduce", runs))
            made: list[Mapped] = []
            for side, account in zip(self._sides, self._mapping, strict=True):
                with watched(job, side.plan, options), account.running(job):
                    made += self._map(side, account, job, options, maps_store, checkpoint)
            if checkpoint is not None:
                checkpoint.finished()
            with self._reducing.running(job):
                yield from made_of(self._reduce(job, made, checkpoint is not None, store, pack=pack))

    def _program(self, options: Options) -> tuple[Any, ...]:
        """By what a checkpoint knows this."""
        if options.checkpoint is not None and len(self._sides) > 1:
            raise OptionError("two inputs are brought together by key, and there is no checkpoint for that")
        side, how = self._sides[0], self._shuffle
        order = ("sort", "apart")[: how.sort + (self._parts > how.partitions)]
        program = *side.plan.program, side.mapper, how.combiner, how.partitions, *order
        # What a job holds counts, too.
        return (*program, side.mapper.worker.job) if isinstance(side.mapper, Method) else program

    @property
    def _stages(self) -> int:
        return 2 + max(stages_of(side.plan.source) for side in self._sides)

    @property
    def _takes(self) -> list[tuple[Any, int]]:
        return [each for side in self._sides for each in ahead(taken_by(side.plan.source))]

    def explain(self) -> str:
        """The text of `explain`: what is before the shuffle, and what is behind it."""
        options, how = resolve(self._given), self._shuffle
        rows = [("parts", f"{how.partitions}, by the value of the key")]
        if how.combiner is not None:
            rows.insert(0, ("combiner", f"{name_of(how.combiner)}, within a chunk and over its results"))
        order = "sorted by key" if how.sort else "part by part, and in each by the hash of the key"
        text: list[str] = []
        for side, account in zip(self._sides, self._mapping, strict=True):
            plan = side.to_be_shown()
            text += [source.explain() for source in explain.upstream(plan)]
            text.append(explain.stage(plan, options, self._given, account, rows))
        text.append(explain.reduce_stage(self._reduce_name(), order, options, self._given, self._reducing))
        return "\n\n".join(text)

    def _skips(self) -> list[Skipped]:
        sides = zip(self._sides, self._mapping, strict=True)
        return [each for side, account in sides for each in explain.skips(side.plan, account)]

    def _draw(self, drawn: Graph) -> str:
        plans = [side.to_be_shown() for side in self._sides]
        made = "pairs" if self._shuffle.with_keys else "rows"
        return graph.draw_shuffle(plans, drawn, self._reduce_name(), made)

    def _reduce_name(self) -> str:
        return f"reduce {name_of(self._shuffle.reducer)}"

    def _map(
        self,
        side: Side,
        account: Account,
        job: Job,
        options: Options,
        store: Store | None,
        checkpoint: Checkpoint | None,
    ) -> list[Mapped]:
        plan, rules = ready(side.plan, options, job)
        side = Side(plan, side.mapper)

        def code_for(store: Store | None) -> Code:
            return self._code(side, options, rules, store)

        slots: list[Slot] = []
        made: dict[Slot, Mapped] = {}
        with SpillingFeeder(job, side.plan, options, account, store, code_for) as feeder:
            if options.check:
                self._check(side, feeder.sample(check.ON_A_RUN))
            feeder.aligned = not is_exact(self._shuffle.combiner)
            feeder.checkpoint = checkpoint
            feeder.keep = checkpoint is None  # else the groups come here, to be written down
            for slot in completed(feeder, slots.append):
                made[slot] = Mapped(plan.source, slot, options.timeout)
        return [made[slot] for slot in sorted(slots, key=first_of)]

    def _code(self, side: Side, options: Options, rules: Rules, store: Store | None) -> Code:
        steps, mapper, how = side.plan.steps, side.mapper, self._shuffle
        kernel = MapTask(steps, mapper, how.combiner, how.partitions, rules, how.sort, store)
        name = options.name or f"map {name_of(mapper)}"
        return Code(kernel, name, announce=True, torn_down=isinstance(mapper, Method))

    def _check(self, side: Side, sample: list[Any]) -> None:
        """See on some items that the answer does not depend on the cut."""
        steps, items = check.read(side.plan.steps, sample)
        check.check_steps(steps, items)
        reducer, combiner = self._shuffle.reducer, self._shuffle.combiner
        fold = getattr(combiner, "fold", None)
        if combiner is None or (fold is not None and not check.is_theirs(fold)):
            return  # the reducer has all the values of a key, or what combines them is ours
        to_pairs = (*steps, step_of(side.mapper))
        pairs = check.made_of(to_pairs, check.passing(to_pairs, items))
        for key, group in grouping(None).leaf(iter(pairs)).items():
            name = key if type(key) is str else shown(key)
            values = group[: check.ON_A_RUN] if type(group) is list else [group]
            check.check_combiner(combiner, reducer, name, values)

    def _reduce(
        self, job: Job, made: list[Mapped], at_hand: bool, store: Store | None, *, pack: bool
    ) -> ReduceTasks:
        pack, how = pack and job.driver.backend.remote, self._shuffle
        seed = stage_seed(resolve(self._given), self._stages - 1)
        kernel = ReduceTask(how.reducer, how.combiner, how.sort, seed, store, how.with_keys, pack)
        code = Code(kernel, self._reduce_name(), announce=True, torn_down=isinstance(how.reducer, Method))
        return ReduceTasks(job, code, made, self._parts, at_hand, self._reducing)

    def _rows(self, parts: ReduceTasks) -> Iterator[Any]:
        """The rows, many at a time: lists and the like, or such as are packed."""
        if self._shuffle.sort:
            partitions = self._shuffle.partitions
            for part in range(partitions, self._parts):
                yield from parts.opened(part)
            each = (map(rows_of, parts.opened(part)) for part in range(partitions))
            yield _in_order([chain.from_iterable(rows) for rows in each])
        else:
            for part in range(self._parts):
                yield from parts.opened(part)

    def _by_part(self, parts: ReduceTasks) -> Iterator[list[Batch]]:
        return map(parts.batches, range(self._parts))


def _in_order(parts: list[Iterator[Row]]) -> Iterator[Row]:
    """The rows of parts, each sorted by key, as one. Raises TypeError where keys of two parts have no order:
    those of one part were looked at where it was made."""
    return parts[0] if len(parts) == 1 else _merged(parts)


def _merged(parts: list[Iterator[Row]]) -> Iterator[Row]:
    before: Any = NOTHING
    for rank, _, row in heapq.merge(*map(_ranked, count(), parts)):
        if before is not NOTHING and not before < rank and before != rank:
            raise no_order(before, rank)
        before = rank
        yield row


def _ranked(part: int, rows: Iterator[Row]) -> Iterator[tuple[Any, int, Row]]:
    """With what heapq compares: the rank and, where neither of two is less, the number of the part. These
    differ, so that no rows are compared."""
    return ((canonical(row[0]), part, row) for row in rows)


def keyed(sides: Sequence[Side], shuffle: Shuffle, given: dict[str, Any]) -> ParallelIterator[Any]:
    """A MapReduce as a parallel iterator of what it makes."""
    partitions = checked("partitions", plain(shuffle.partitions), whole_from(1, "auto"))
    partitions = DEFAULT if partitions == "auto" else partitions
    see_that_all_have_keys(resolve(given))  # and a wrong option is an error here
    behind = {**given, "checkpoint": None}  # the file is the map side's, and not for what runs over the pairs
    shuffle = shuffle.replaced(partitions=partitions, sort=truth("sort", shuffle.sort))
    return ParallelIterator(Plan(Pulled(Keyed(sides, shuffle, given))), behind)


def see_that_all_have_keys(options: Options) -> None:
    """Raises `OptionError` where exceptions would stand among the items."""
    see_that_all_are_items(options, "they have no key")

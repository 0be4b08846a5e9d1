"""Running a fold: leaves on the workers, then merges, then the answer - as tasks, wherever values lie.

Partial values do not pass through the consumer: a merge names its inputs by key, and the backend brings
them together (on a cluster they never leave it). Merges are added while the source is still being read,
as soon as enough neighbours are done, so that few partial values are alive at any time. Only where all that
is left are a few numbers, the consumer combines them himself.

The parts of an exact fold may be about as large as its answer, which the consumer gets in any case. There he,
who would only wait, merges what is done of the beginning himself, while the workers work. What he does not
keep up with is merged on the workers.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from time import perf_counter
from typing import Any, cast

from mrpy.errors import Item, pin
from mrpy.mapreduce.account import Account
from mrpy.mapreduce.check import ON_A_RUN, check_fold
from mrpy.mapreduce.checkpoint import checkpoint_for
from mrpy.mapreduce.compile import Feeder
from mrpy.mapreduce.folds import Finish, Fold, FoldChunk, MergeNodes, is_plain, is_quick
from mrpy.mapreduce.kernels import MapChunk
from mrpy.mapreduce.plan import Plan, ready
from mrpy.mapreduce.random import ahead_of
from mrpy.mapreduce.rules import Rules
from mrpy.mapreduce.slots import Slot
from mrpy.mapreduce.tree import NOTHING, Node, combine, leaf_end, leaf_index, merged, total
from mrpy.mapreduce.turns import blocking, completed, results_of
from mrpy.options import Options
from mrpy.scheduler.calls import Call, Code
from mrpy.scheduler.driver import Delivery
from mrpy.scheduler.job import Job
from mrpy.scheduler.messages import Input, Key
from mrpy.scheduler.reuse import code_for, parts_of

AT_ONCE = 1.0  # seconds of a chunk where there are to be few partial values, each of which may be large
LARGE = 1 << 18  # bytes of what is made of a chunk; about as long on its way as half a chunk takes
FEW = 1 << 13  # bytes of partial values that the consumer combines; out of the air
SMALL = 1 << 10  # bytes of what is made of a chunk, where that is a few numbers
FAN_IN = 8  # partial results per merge; where the cuts fall does not matter to the answer
FAN_IN_OF_FEW = 32  # the same where the consumer is likely to combine what is left by himself


def run_fold(plan: Plan, fold: Fold, job: Job, options: Options, account: Account) -> Any:
    """Reduce a plan to one value."""
    plan, rules = ready(plan, options, job)
    leaves = _code(FoldChunk(plan.steps, fold, rules.replaced(seed=0)), fold.name, job, announce=True)
    with Feeder(job, plan, options, leaves, account) as feeder:
        feeder.seed = rules.seed
        if options.check:
            check_fold(plan.steps, fold, feeder.sample(ON_A_RUN))
        in_pieces = feeder.narrower_than_a_leaf()
        if in_pieces:
            feeder.use(Code(MapChunk(plan.steps, rules), fold.name, announce=True))
        functions = (*plan.program, fold.leaf, fold.merge)
        with (
            checkpoint_for(options, functions, fold.name, in_pieces=in_pieces) as feeder.checkpoint,
            account.running(job),
        ):
            try:
                return _in_pieces(feeder, fold, rules) if in_pieces else _in_tasks(feeder, fold)
            except StopIteration as error:  # of a merge here; it would end a loop around us in silence
                raise RuntimeError(f"a function raised {error!r}") from error


def _code(kernel: Any, name: str, job: Job, *, announce: bool = False) -> Code:
    """The code of a kernel: that of the last run, if it was the same."""

    def make() -> Code:
        return Code(kernel, name, announce=announce)

    return code_for(parts_of(kernel), make, name, afresh=True) if job.driver.backend.remote else make()


def _in_tasks(feeder: Feeder, fold: Fold) -> Any:
    """A task for each chunk makes partial values of it, which are merged meanwhile."""
    feeder.aligned = not fold.exact
    if fold.exact:
        feeder.aim(AT_ONCE)
    if feeder.checkpoint is not None:
        return _at_hand(feeder, fold)
    feeder.keep = True
    tree = (_MergedHere if fold.exact else _MergeTree)(feeder, fold)
    for slot in completed(feeder, tree.grow, tree.merged):
        if feeder.kept > LARGE:
            feeder.aim(AT_ONCE)
        tree.done(slot)
    return tree.answer()


def _at_hand(feeder: Feeder, fold: Fold) -> Any:
    """With a checkpoint the partial values come to the consumer, to be written down."""
    slots: list[Slot] = []
    for _ in completed(feeder, slots.append):
        pass
    nodes = [node for slot in slots for node in cast("list[Node]", slot.result)]
    if fold.exact:
        return fold.whole(nodes)
    return _MergeTree(feeder, fold).answer(nodes)


def _in_pieces(feeder: Feeder, fold: Fold, rules: Rules) -> Any:
    """Where the window is narrower than a leaf: the items are computed on the workers, and the leaves are
    folded here, from the same items in the same order, so to the same bits. An item is through when it
    was folded."""
    feeder.within_leaves = True
    slots = blocking(feeder, ordered=True)
    nodes: list[Node] = []
    for slot in slots:
        first, largest = slot.chunk.first, slot.chunk.largest
        pulled = _Pulled(slots)
        items = _of_a_leaf(slot, pulled, feeder)
        try:
            with ahead_of(first, rules.seed):
                value = fold.leaf(items)
        except Exception as error:
            if error is not pulled.error:
                pin(error, Item(first, "or a later one of its leaf"))
            pulled.error = None  # whose frames hold this one
            raise
        for _ in items:  # a leaf may have seen enough
            pass
        nodes = combine([*nodes, Node(0, leaf_index(first, largest), value)], fold.merge)
    return fold.finish(total(nodes, fold.merge))


class _Pulled:
    """Chunks, and what was raised instead of one: by the source, which no item is to blame for."""

    def __init__(self, slots: Iterator[Slot]) -> None:
        self._slots = slots
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[Slot]:
        return self

    def __next__(self) -> Slot:
        try:
            return next(self._slots)
        except StopIteration:
            raise
        except BaseException as error:
            self.error = error
            raise


def _of_a_leaf(slot: Slot, slots: Iterator[Slot], feeder: Feeder) -> Iterator[Any]:
    """The items of the leaf that begins with this slot."""
    end = leaf_end(slot.chunk.first, slot.chunk.largest)
    while True:
        results, error = results_of(slot)
        yield from results
        if error:
            raise error.pop()
        feeder.settle(slot)
        if slot.chunk.first + len(slot.chunk.data) >= end:
            return
        following = next(slots, None)
        if following is None:
            return
        slot = following


class _Branch:
    """A task whose value is a row of nodes: a chunk's, or a merge's. They are of the items from `first` to
    `end`, which is known when it is done."""

    __slots__ = ("done", "end", "first", "key")

    def __init__(self, first: int, end: int = 0, key: Key = None) -> None:
        self.first, self.end = first, end
        self.key = key
        self.done = False


class _MergeTree:
    """The rows of branches that are not merged yet: `rows[0]` are chunks, `rows[1]` merges of
    so many of them, and so on; what stands in a higher row comes before what stands in a lower one."""

    def __init__(self, feeder: Feeder, fold: Fold) -> None:
        self._feeder = feeder
        self._job = feeder.job
        self._fold = fold
        self._rows: list[list[_Branch]] = [[]]
        self._end = 0  # of what is in higher rows, or through
        self._few = feeder.job.driver.backend.remote and not fold.exact and self._is_quick
        self._by_slot: dict[int, _Branch] = {}
        self._by_key: dict[Key, _Branch] = {}

    @cached_property
    def _merge(self) -> Code:
        return _code(MergeNodes(self._fold), f"merge of {self._fold.name}", self._job)

    def grow(self, slot: Slot) -> None:
        """A chunk was sent."""
        branch = _Branch(slot.chunk.first)
        insort(self._rows[0], branch, key=_first)  # it may have been put back
        self._by_slot[id(slot)] = branch

    def done(self, slot: Slot) -> None:
        """A chunk is done."""
        branch = self._by_slot.pop(id(slot))
        branch.key, branch.end, branch.done = slot.key, slot.end, True
        self._merge_row(0)

    def merged(self, delivery: Delivery) -> None:
        """A merge has ended."""
        self._ended(delivery)
        self._by_key.pop(delivery.key).done = True
        for level in range(1, len(self._rows)):
            self._merge_row(level)

    def _ended(self, delivery: Delivery) -> None:
        if delivery.failure is not None:
            raise delivery.failure.thrown()
        self._feeder.account.took(delivery)

    def _merge_row(self, level: int) -> None:
        while len(several := self._neighbours(level)) == self._fan_in:
            self._leave(level, several)
            keys = [branch.key for branch in several]
            task = self._job.task(Call(self._merge, None), map(Input, keys), keep=True, urgent=True)
            self._job.add(task)
            self._job.drop(keys)
            if len(self._rows) == level + 1:
                self._rows.append([])
            merge = self._by_key[task.key] = _Branch(several[0].first, several[-1].end, task.key)
            self._rows[level + 1].append(merge)

    @property
    def _fan_in(self) -> int:
        return FAN_IN_OF_FEW if self._few and self._feeder.kept <= SMALL else FAN_IN

    def _neighbours(self, level: int) -> list[_Branch]:
        """What is done of the beginning of a row, as many as are merged at a time."""
        row, found = self._rows[level], list[_Branch]()
        end = self._end if level == 0 or not row else row[0].first
        for branch in islice(row, self._fan_in):
            if not branch.done or branch.first != end:
                break
            found.append(branch)
            end = branch.end
        return found

    def _leave(self, level: int, several: list[_Branch]) -> None:
        """These neighbours are not in their row any more."""
        del self._rows[level][: len(several)]
        if level == 0:
            self._end = several[-1].end

    def answer(self, nodes: list[Node] | None = None) -> Any:
        """All chunks are done: the last task, over whatever is left (or over these nodes). Where that is less
        work than to have it done, it is done here."""
        keys = [branch.key for row in reversed(self._rows) for branch in row]
        if nodes is None and (answer := self._at_once(keys)) is not NOTHING:
            self._job.drop(keys)
            return answer
        finish = _code(Finish(self._fold), f"finish of {self._fold.name}", self._job)
        task = self._job.task(Call(finish, nodes), map(Input, keys))
        self._job.add(task)
        self._job.drop(keys)
        while True:
            delivery = self._feeder.next()
            self._ended(delivery)
            if delivery.key == task.key:
                assert delivery.value is not None
                return delivery.value.load()

    @cached_property
    def _is_quick(self) -> bool:
        return self._job.driver.backend.near and is_quick(self._fold.merge, self._fold.finish)

    def _at_once(self, keys: list[Key]) -> Any:
        """The answer, where all that is left are a few numbers and what is done to them is no code of the
        user's. NOTHING: a task is to find it, or whatever is wrong."""
        fold, backend = self._fold, self._job.driver.backend
        if not self._is_quick:
            return NOTHING
        try:
            values = [backend.fetch(key) for key in keys]
            if sum(value.nbytes for value in values) > FEW:
                return NOTHING
            nodes = [node for value in values for node in value.load()]
            return fold.whole(nodes) if all(is_plain(node.value) for node in nodes) else NOTHING
        except Exception:
            return NOTHING


def _first(branch: _Branch) -> int:
    return branch.first


class _MergedHere(_MergeTree):
    """Of an exact fold, whose merge is ours: the consumer takes branch after branch from the first on. What
    has just come is looked at before, since enough may be done then for a merge on a worker."""

    def __init__(self, feeder: Feeder, fold: Fold) -> None:
        super().__init__(feeder, fold)
        self._value: Any = NOTHING

    def done(self, slot: Slot) -> None:
        super().done(slot)
        self._take()

    def merged(self, delivery: Delivery) -> None:
        super().merged(delivery)
        self._take()

    def _take(self) -> None:
        while not self._job.arrived:
            level = next((level for level in reversed(range(len(self._rows))) if self._rows[level]), 0)
            if not (first := self._neighbours(level)[:1]):
                return
            self._leave(level, first)
            self._add(first[0].key)

    def _add(self, key: Key) -> None:
        began = perf_counter()
        nodes = self._job.load(key)
        self._feeder.account.pickling += perf_counter() - began
        self._job.drop([key])
        for node in nodes:
            self._value = merged(self._value, node.value, self._fold.merge)

    def answer(self, nodes: list[Node] | None = None) -> Any:
        while any(self._rows):
            self.merged(self._feeder.next())
        return self._fold.finish(self._value)

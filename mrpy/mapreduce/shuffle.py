"""Map, group by key, reduce: what of it runs on workers.

A map task takes a chunk of records through the steps and the mapper and groups what comes out, by
partition and key. Its value is in `Parts`, one per partition; a reduce task takes its part of every map
task's value, brings the groups together in the order of the records, and reduces them.

Without a combiner a group holds all its values. With one, each leaf of the source is combined by itself
and neighbours are combined along the tree of positions, so that the answer does not depend on where the
chunks end.

A group is the list of its values; where there is one only, and it is not itself a list, the value stands
there bare. Most groups are like that once they are combined, and a dict of strings and numbers is nothing
to the garbage collector and travels several times faster than one of short lists. In the word count of
``benchmarks/wordcount.py`` this halved the time for all that is not counting.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from operator import itemgetter
from types import GeneratorType
from typing import Any, TypeAlias
from zlib import crc32

from mrpy.errors import Item, pin
from mrpy.inside import Place, inside
from mrpy.mapreduce.chunks import Chunk
from mrpy.mapreduce.folds import Fold, FoldChunk, leaves, shifted
from mrpy.mapreduce.kernels import Announce, Rules
from mrpy.mapreduce.partition import NESTING, canonical, refusal, shown, stable_hash
from mrpy.mapreduce.plan import FlatMap, Step
from mrpy.mapreduce.skipped import Skipped
from mrpy.mapreduce.slices import Group, Groups, Streamed, merged, piece
from mrpy.mapreduce.spill import Block, Run, RunFile, Store, write_entries
from mrpy.mapreduce.tree import NOTHING, Node, combine, leaf_index
from mrpy.scheduler.calls import Parts
from mrpy.scheduler.failure import short_repr
from mrpy.scheduler.sizes import estimated

BATCH = 1 << 16  # pairs of a leaf that are grouped, and combined, at a time
AT_HAND = 8  # a reduce task sends back at most so small a part of its memory; the rest is read from its file

Reducer: TypeAlias = Callable[[Any, Iterator[Any]], Any]


@dataclass(frozen=True, slots=True)
class Pairs:
    """A mapper as a function that always yields pairs: it may return one, return many, or yield them."""

    mapper: Callable[[Any], Any]

    def __call__(self, record: Any) -> Any:
        made = self.mapper(record)
        if isinstance(made, tuple) and len(made) == 2:
            return (made,)
        if isinstance(made, dict):
            return made.items()
        if made is None:
            raise TypeError("the mapper returned None; it returns or yields (key, value) pairs")
        return made


@dataclass(frozen=True, slots=True)
class _Group:
    """The leaf of the fold: pairs to groups."""

    combiner: Reducer | None

    def __call__(self, pairs: Iterator[Any]) -> Groups:
        groups: Groups = {}
        get = groups.get
        for pair in pairs:
            try:
                key, value = pair
            except (TypeError, ValueError):
                problem = f"the mapper must give (key, value) pairs, not {short_repr(pair)}"
                raise TypeError(problem) from None
            if isinstance(key, NESTING):
                key = canonical(key)
            try:
                group = get(key, NOTHING)
            except TypeError:
                raise TypeError(refusal(key)) from None
            if group is NOTHING:
                groups[key] = [value] if type(value) is list else value
            elif type(group) is list:
                group.append(value)
            else:
                groups[key] = [group, value]
        return groups if self.combiner is None else _combined(self.combiner, groups)


def _combined(combiner: Reducer, groups: Groups) -> Groups:
    for key, group in groups.items():
        if type(group) is list and len(group) > 1:
            groups[key] = reduced(combiner, key, group)
    return groups


@dataclass(frozen=True, slots=True)
class _Join:
    """The merge of the fold: groups of neighbours. The left ones are ours to change."""

    combiner: Reducer | None

    def __call__(self, left: Groups, right: Groups) -> Groups:
        combiner, get = self.combiner, left.get
        for key, theirs in right.items():
            mine = get(key, NOTHING)
            if mine is NOTHING:
                left[key] = theirs
            elif combiner is None:
                left[key] = _both(mine, theirs)
            else:
                left[key] = reduced(combiner, key, _both(mine, theirs))
        return left


def _both(left: Group, right: Group) -> list[Any]:
    """All values of two groups. The left one is ours to change."""
    if type(left) is not list:
        left = [left]
    if type(right) is list:
        left += right
    else:
        left.append(right)
    return left  # type: ignore[no-any-return]


def _same(value: Any) -> Any:
    return {} if value is NOTHING else value


def grouping(combiner: Reducer | None) -> Fold:
    """The fold that groups pairs by key."""
    return Fold(_Group(combiner), _Join(combiner), _same, "group")


@dataclass(frozen=True, slots=True)
class ByRank:
    """The order of keys: by their hash, or by themselves."""

    sort: bool

    def __call__(self, key: Any) -> Any:
        if self.sort:
            return key
        # Most keys are strings: for them the call of stable_hash would cost as much as the hash.
        return crc32(key.encode("utf-8", "surrogatepass")) if type(key) is str else stable_hash(key)


@dataclass(frozen=True, slots=True)
class MapTask:
    """The kernel of the map side: a chunk to nodes of groups, in one part per partition. Where they do not
    fit into memory, the values of nodes are runs in a file."""

    steps: tuple[Step, ...]
    mapper: Callable[[Any], Any]
    combiner: Reducer | None
    partitions: int
    rules: Rules
    sort: bool = False
    store: Store | None = None

    def __call__(self, chunk: Chunk, announce: Announce | None = None) -> Any:
        skipped = Skipped(self.rules.max_errors)
        steps = (*self.steps, FlatMap(Pairs(self.mapper)))
        made = _Made(self, chunk)
        kernel = FoldChunk(steps, replace(grouping(self.combiner), leaf=made.leaf), self.rules)
        for part in leaves(chunk):
            made.place = leaf_index(part.first)
            for node in kernel.nodes(part, skipped, shifted(announce, chunk, part)):
                made.add(node)
        if self.store is not None and not self.store.keeps(made.size):
            made.spill()
        return skipped.beside(made.parts())


class Weighed(Parts):
    """Parts that stay in this process, and say how many bytes they take."""

    def __new__(cls, parts: list[Any], nbytes: int) -> Weighed:
        made = super().__new__(cls, parts)
        made.nbytes = nbytes
        return made

    nbytes: int

    def __reduce__(self) -> tuple[Any, ...]:
        return Parts, (list(self),)


class _Made:
    """What a map task has made: nodes that are in memory, and behind them, per partition, those on disk."""

    def __init__(self, task: MapTask, chunk: Chunk) -> None:
        self.place = 0  # of the leaf that is being made
        self._cut_up = False  # whether the first pieces of it are on disk
        self._task = task
        self._chunk = chunk
        self._group, self._join = _Group(task.combiner), _Join(task.combiner)
        self._nodes: list[Node] = []
        self.size = 0  # of the nodes, in bytes
        self._done: list[list[Node]] = [[] for _ in range(task.partitions)]

    def leaf(self, pairs: Iterator[Any]) -> Groups:
        """The groups of a leaf. It is grouped in batches that end at fixed places; what does not fit into
        memory is spilled between them."""
        self._cut_up = False
        groups = self._group(islice(pairs, BATCH))
        more = self._group(islice(pairs, BATCH)) if groups else {}
        while more:
            if self._cut_up or self.size + estimated(list(groups.items())) > self._memory:
                self._nodes.append(piece(self.place, groups))
                self.spill()
                groups, self._cut_up = more, True
            else:
                groups = self._join(groups, more)
            more = self._group(islice(pairs, BATCH))
        return groups

    def add(self, node: Node) -> None:
        """A leaf is done."""
        self._nodes.append(piece(self.place, node.value) if self._cut_up else node)
        if self._task.store is None:
            return
        self.size += estimated(list(node.value.items()))
        if self.size > self._memory:
            self.spill()

    def spill(self) -> None:
        """Write what is in memory to disk."""
        store, task = self._task.store, self._task
        assert store is not None
        rank = ByRank(task.sort)
        with RunFile(store.folder) as file:
            for node, split in self._split():
                for done, groups in zip(self._done, split, strict=True):
                    entries = [(rank(key), key, group) for key, group in groups.items()]
                    entries.sort(key=itemgetter(0))
                    run = write_entries(file, entries, self._chunk.first, store.block)
                    done.append(node._replace(value=run))

    def parts(self) -> Parts:
        """All of it, by partition."""
        size = self.size
        for node, split in self._split():
            for done, groups in zip(self._done, split, strict=True):
                done.append(node._replace(value=groups))
        return Parts(self._done) if inside.place is Place.ELSEWHERE else Weighed(self._done, size)

    @property
    def _memory(self) -> float:
        return math.inf if self._task.store is None else self._task.store.memory

    def _split(self) -> Iterator[tuple[Node, list[Groups]]]:
        """The nodes in memory, each with its groups by partition. They are not here any more then."""
        nodes, self._nodes, self.size = combine(self._nodes, self._join), [], 0
        rank, number = ByRank(False), self._task.partitions
        for node in nodes:
            split: list[Groups] = [{} for _ in range(number)]
            try:
                for key, group in node.value.items():
                    split[rank(key) % number][key] = group
            except TypeError as error:
                pin(error, Item(self._chunk.first, f"or one of the {len(self._chunk.data) - 1} after it"))
                raise
            yield node._replace(value=None), split


@dataclass(frozen=True, slots=True)
class ReduceTask:
    """The kernel of the reduce side: one partition's nodes of all map tasks to (key, value) pairs, in the
    order of rank. The rows of nodes are the values of the map tasks, or come from the consumer, who had them
    from a checkpoint. What does not fit into memory goes to a file: see `Written`."""

    reducer: Reducer
    combiner: Reducer | None
    sort: bool
    store: Store | None = None

    def __call__(self, at_hand: list[list[Node]] | None, *rows: list[Node]) -> Written:
        nodes = [node for row in at_hand or rows for node in row]
        memory = self.store.memory if self.store is not None else 0
        groups = merged(nodes, ByRank(self.sort), _Join(self.combiner), self.combiner is not None, memory)
        with _Output(self.store) as out:
            for key, group in groups:
                name = key if type(key) is str else shown(key)
                made = self.reducer(name, _values(group))
                if type(made) is GeneratorType:
                    for value in made:
                        out.add((name, value))
                else:
                    out.add((name, made))
        return out.written()


def _values(group: Group) -> Iterator[Any]:
    if type(group) is list:
        return iter(group)
    return group.values if type(group) is Streamed else iter((group,))


@dataclass(frozen=True, slots=True)
class Written:
    """Pairs: first those on disk, then those at hand."""

    run: Run | None
    pairs: list[tuple[Any, Any]]

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        if self.run is not None:
            for block in self.run.blocks:
                yield from self.run.read(block)
        yield from self.pairs


class _Output:
    """Pairs as they are made: what is too much to be sent goes to a file."""

    def __init__(self, store: Store | None) -> None:
        self._store = store
        self._pairs: list[tuple[Any, Any]] = []
        self._look_at = 1
        self._file: RunFile | None = None
        self._blocks: list[Block] = []

    def add(self, pair: tuple[Any, Any]) -> None:
        """One more."""
        self._pairs.append(pair)
        if self._store is not None and len(self._pairs) >= self._look_at:
            self._look()

    def _look(self) -> None:
        """Now and then, see how much it is."""
        assert self._store is not None
        size = estimated(self._pairs)
        if size < self._store.block if self._file is not None else size < self._store.memory / AT_HAND:
            self._look_at = 2 * len(self._pairs)
            return
        if self._file is None:
            self._file = RunFile(self._store.folder)
        count = max(1, len(self._pairs) * self._store.block // size)
        for begin in range(0, len(self._pairs), count):
            part = self._pairs[begin : begin + count]
            self._blocks.append(self._file.add(None, None, part, size * len(part) // len(self._pairs)))
        self._pairs, self._look_at = [], 1

    def __enter__(self) -> _Output:
        return self

    def __exit__(self, *failed: object) -> None:
        if self._file is not None:
            self._file.__exit__(*failed)

    def written(self) -> Written:
        """All of it."""
        run = Run(self._file.path, tuple(self._blocks)) if self._file is not None else None
        return Written(run, self._pairs)


def reduced(combiner: Reducer, key: Any, values: list[Any]) -> Group:
    """What a combiner makes of a group: it returns one value, or yields several."""
    made = combiner(key, iter(values))
    if type(made) is GeneratorType:
        return list(made)
    return [made] if type(made) is list else made

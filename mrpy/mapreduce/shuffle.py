"""Map, group by key, reduce: what of it runs on workers.

A map task takes a chunk of records through the steps and the mapper and groups what comes out, by
partition and key. Its value is in `Parts`, one per partition; a reduce task takes its part of every map
task's value, brings the groups together in the order of the records, and reduces them.

Without a combiner a group is the list of its values. With one, each leaf of the source is combined by
itself and neighbours are combined along the tree of positions, so that the answer does not depend on
where the chunks end.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from types import GeneratorType
from typing import Any, TypeAlias

from mrpy.errors import Item, pin
from mrpy.mapreduce.chunks import Chunk
from mrpy.mapreduce.folds import Fold, FoldChunk
from mrpy.mapreduce.kernels import Announce, Rules
from mrpy.mapreduce.partition import canonical, shown, stable_hash
from mrpy.mapreduce.plan import FlatMap, Step
from mrpy.mapreduce.tree import NOTHING, Node, total
from mrpy.scheduler.calls import Parts
from mrpy.scheduler.failure import short_repr

Groups: TypeAlias = dict[Hashable, list[Any]]
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
        for pair in pairs:
            try:
                key, value = pair
            except (TypeError, ValueError):
                problem = f"the mapper must give (key, value) pairs, not {short_repr(pair)}"
                raise TypeError(problem) from None
            if key != key:
                key = canonical(key)
            try:
                groups[key].append(value)
            except KeyError:
                groups[key] = [value]
        if self.combiner is not None:
            for key, values in groups.items():
                if len(values) > 1:
                    groups[key] = reduced(self.combiner, key, values)
        return groups


@dataclass(frozen=True, slots=True)
class _Join:
    """The merge of the fold: groups of neighbours. The left ones are ours to change."""

    combiner: Reducer | None

    def __call__(self, left: Groups, right: Groups) -> Groups:
        for key, values in right.items():
            mine = left.get(key)
            if mine is None:
                left[key] = values
            elif self.combiner is None:
                mine += values
            else:
                left[key] = reduced(self.combiner, key, mine + values)
        return left


def _same(value: Any) -> Any:
    return {} if value is NOTHING else value


def grouping(combiner: Reducer | None) -> Fold:
    """The fold that groups pairs by key."""
    return Fold(_Group(combiner), _Join(combiner), _same, "group")


@dataclass(frozen=True, slots=True)
class MapTask:
    """The kernel of the map side: a chunk to nodes of groups, in one part per partition."""

    steps: tuple[Step, ...]
    mapper: Callable[[Any], Any]
    combiner: Reducer | None
    partitions: int
    rules: Rules

    def __call__(self, chunk: Chunk, announce: Announce | None = None) -> Parts:
        steps = (*self.steps, FlatMap(Pairs(self.mapper)))
        nodes = FoldChunk(steps, grouping(self.combiner), self.rules)(chunk, announce)
        parts: list[list[Node]] = [[] for _ in range(self.partitions)]
        for node in nodes:
            for part, groups in zip(parts, self._split(node.value, chunk), strict=True):
                part.append(Node(node.level, node.index, groups))
        return Parts(parts)

    def _split(self, groups: Groups, chunk: Chunk) -> list[Groups]:
        split: list[Groups] = [{} for _ in range(self.partitions)]
        for key, values in groups.items():
            try:
                split[stable_hash(key) % self.partitions][key] = values
            except TypeError as error:
                pin(error, Item(chunk.first, f"or one of the {len(chunk.data) - 1} after it"))
                raise
        return split


@dataclass(frozen=True, slots=True)
class ReduceTask:
    """The kernel of the reduce side: one partition's nodes of all map tasks to (key, value) pairs."""

    reducer: Reducer
    combiner: Reducer | None
    sort: bool

    def __call__(self, _: None, *rows: list[Node]) -> list[tuple[Any, Any]]:
        groups: Groups = _same(total([node for row in rows for node in row], _Join(self.combiner)))
        keys = sorted(groups) if self.sort else list(groups)  # type: ignore[type-var]
        out: list[tuple[Any, Any]] = []
        for key in keys:
            name = shown(key)
            out += [(name, value) for value in reduced(self.reducer, name, groups.pop(key))]
        return out


def reduced(reducer: Reducer, key: Any, values: list[Any]) -> list[Any]:
    """What a reducer or combiner makes of a group: it returns one value, or yields several."""
    made = reducer(key, iter(values))
    return list(made) if isinstance(made, GeneratorType) else [made]

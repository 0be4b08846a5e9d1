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

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from types import GeneratorType
from typing import Any, TypeAlias
from zlib import crc32

from mrpy.errors import Item, pin
from mrpy.mapreduce.chunks import Chunk
from mrpy.mapreduce.folds import Fold, FoldChunk
from mrpy.mapreduce.kernels import Announce, Rules
from mrpy.mapreduce.partition import NESTING, canonical, refusal, shown, stable_hash
from mrpy.mapreduce.plan import FlatMap, Step
from mrpy.mapreduce.tree import NOTHING, Node, total
from mrpy.scheduler.calls import Parts
from mrpy.scheduler.failure import short_repr

Group: TypeAlias = Any  # see above
Groups: TypeAlias = dict[Hashable, Group]
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
                part.append(Node(node.level, node.place, groups))
        return Parts(parts)

    def _split(self, groups: Groups, chunk: Chunk) -> list[Groups]:
        split: list[Groups] = [{} for _ in range(self.partitions)]
        try:
            for key, group in groups.items():
                # Most keys are strings: for them the call of stable_hash would cost as much as the hash.
                number = crc32(key.encode("utf-8", "surrogatepass")) if type(key) is str else stable_hash(key)
                split[number % self.partitions][key] = group
        except TypeError as error:
            pin(error, Item(chunk.first, f"or one of the {len(chunk.data) - 1} after it"))
            raise
        return split


@dataclass(frozen=True, slots=True)
class ReduceTask:
    """The kernel of the reduce side: one partition's nodes of all map tasks to (key, value) pairs. The rows
    of nodes are the values of the map tasks, or come from the consumer, who had them from a checkpoint."""

    reducer: Reducer
    combiner: Reducer | None
    sort: bool

    def __call__(self, at_hand: list[list[Node]] | None, *rows: list[Node]) -> list[tuple[Any, Any]]:
        nodes = [node for row in at_hand or rows for node in row]
        groups: Groups = _same(total(nodes, _Join(self.combiner)))
        keys = sorted(groups) if self.sort else list(groups)  # type: ignore[type-var]
        out: list[tuple[Any, Any]] = []
        for key in keys:
            name = key if type(key) is str else shown(key)
            group = groups.pop(key)
            made = self.reducer(name, iter(group if type(group) is list else (group,)))
            if type(made) is GeneratorType:
                out += [(name, value) for value in made]
            else:
                out.append((name, made))
        return out


def reduced(combiner: Reducer, key: Any, values: list[Any]) -> Group:
    """What a combiner makes of a group: it returns one value, or yields several."""
    made = combiner(key, iter(values))
    if type(made) is GeneratorType:
        return list(made)
    return [made] if type(made) is list else made

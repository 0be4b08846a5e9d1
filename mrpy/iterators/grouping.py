"""The part of the chain that goes by key: items whose keys are equal meet, on whatever worker they were.

All of these are MapReduces, run by ``keyed.py``; but a join with what is small is a step like others (see
``beside.py``). Whatever can be folded is folded on the workers before it travels. They are lazy; the first
result comes when all items were looked at. Keys come in an order that depends on the keys alone, the same
everywhere. Keys that are equal in Python (``1``, ``1.0``, ``True``) are one key, shown as the first of them;
all NaN are one key, shown as a float, and None is one.
"""

from __future__ import annotations

import functools
import operator
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping

from mrpy.errors import OptionError
from mrpy.iterators.arguments import all_iterable, at_least, function_for
from mrpy.iterators.inner import ByItself
from mrpy.iterators.reshaping import Chainable
from mrpy.iterators.sharing import see_that_they_are_apart
from mrpy.light import TYPE_CHECKING, Any, R, S, T, later, overload
from mrpy.mapreduce.plan import Plan, is_said_of_items
from mrpy.mapreduce.sources import Pulled
from mrpy.mapreduce.steps import Step

if TYPE_CHECKING:
    from typing import Literal

    from mrpy.iterators import beside, keyed, repartition, stream
    from mrpy.mapreduce import by_key, folds, groups, keys, lookup, statistics
else:
    keyed, stream = later("mrpy.iterators.keyed"), later("mrpy.iterators.stream")
    beside, repartition = later("mrpy.iterators.beside"), later("mrpy.iterators.repartition")
    by_key, folds = later("mrpy.mapreduce.by_key"), later("mrpy.mapreduce.folds")
    groups, statistics = later("mrpy.mapreduce.groups"), later("mrpy.mapreduce.statistics")
    keys, lookup = later("mrpy.mapreduce.keys"), later("mrpy.mapreduce.lookup")

Partitions = int | str


class Grouping(Chainable[T]):
    """What brings items together by key.

    A ``key`` is a function of an item, or what to look up in it (an index, or a name: that of a column, or of
    an attribute in a named tuple or an object), or a list of these, for a tuple. A key that cannot be hashed,
    or not to the same number in every process, is a TypeError that names it. ``partitions``: into how many
    tasks the keys are divided; by default eight.
    """

    _given: dict[str, Any]

    @abstractmethod
    def _taken(self) -> Plan:
        """The plan, to build upon."""

    @abstractmethod
    def _probes(self, key: Callable[[Any], Any] | None) -> tuple[Step, ...]:
        """The step that asks items for their keys, where it matters whose error that is."""

    @abstractmethod
    def _behind(self) -> dict[str, Any]:
        """The options of a run over the results of this one."""

    def group_by(
        self, key: Callable[[T], Any] | object, *, partitions: Partitions = "auto"
    ) -> stream.ParallelIterator[tuple[Any, list[T]]]:
        """``toolz.groupby(key, self).items()``: pairs of a key and the list of its items, in their order. All
        items travel: where they are folded in the end, one of the others takes less.

        In plain Python: ``for item in items: groups.setdefault(key(item), []).append(item)``.

        >>> import mrpy
        >>> sorted(mrpy.stream(["a", "bc", "d"], backend="serial").group_by(len))
        [(1, ['a', 'd']), (2, ['bc'])]
        """
        mapper = by_key.WithItem(keys.key_of("group_by", key))
        return self._keyed(mapper, keyed.Shuffle(by_key.listed, None, partitions))

    def count_by(
        self, key: Callable[[T], Any] | object, *, partitions: Partitions = "auto"
    ) -> stream.ParallelIterator[tuple[Any, int]]:
        """``toolz.countby(key, self).items()``: pairs of a key and the number of its items.

        In plain Python: ``collections.Counter(map(key, items)).items()``.

        >>> import mrpy
        >>> sorted(mrpy.stream(["a", "bc", "d"], backend="serial").count_by(len))
        [(1, 2), (2, 1)]
        """
        mapper = by_key.WithConstant(keys.key_of("count_by", key), 1)
        return self._keyed(mapper, keyed.Shuffle(groups.total, groups.total, partitions))

    def reduce_by(
        self,
        key: Callable[[T], Any] | object,
        operator: Callable[[T, T], T | R],
        *,
        partitions: Partitions = "auto",
    ) -> stream.ParallelIterator[tuple[Any, T | R]]:
        """Pairs of a key and ``functools.reduce(operator, its items)``, for an associative operator. Floats
        come to the same bits everywhere, which need not be those of a loop: see `mrpy.preduce`.

        In plain Python: ``toolz.reduceby(key, operator, items).items()``.

        >>> import mrpy
        >>> dict(mrpy.stream([1, 2, 3, 4, 5], backend="serial").reduce_by(lambda n: n % 2, max))
        {0: 4, 1: 5}
        """
        fold = by_key.Reduce(function_for("reduce_by", operator))
        mapper = by_key.WithItem(keys.key_of("reduce_by", key))
        return self._keyed(mapper, keyed.Shuffle(fold, fold, partitions))

    def fold_by(
        self,
        key: Callable[[T], Any] | object,
        step: Callable[[Any, T], R],
        initial: Any,
        combine: Callable[[Any, Any], Any] = operator.add,
        *,
        partitions: Partitions = "auto",
    ) -> stream.ParallelIterator[tuple[Any, R]]:
        """Pairs of a key and ``functools.reduce(step, its items, initial)``, where partial results can be
        combined. `initial` must be neutral: every part starts with a copy of it, which `step` may change.

        In plain Python: ``toolz.reduceby(key, step, items, lambda: deepcopy(initial)).items()``.

        >>> import mrpy
        >>> words = mrpy.stream(["a", "bc", "ac"], backend="serial")
        >>> dict(words.fold_by(len, lambda seen, word: seen | set(word), set(), set.union))[1]
        {'a'}
        """
        checked = function_for("fold_by", step), initial, function_for("fold_by", combine)
        return self._folded("fold_by", key, folds.folding(*checked), partitions)

    def aggregate_by(
        self, key: Callable[[T], Any] | object, /, *, partitions: Partitions = "auto", **aggregates: Any
    ) -> stream.ParallelIterator[tuple[Any, dict[str, Any]]]:
        """Pairs of a key and a dict of answers, all from one pass: ``name="count"``, or
        ``name=(field, "sum")``, where a field is given as a key is. There are count, sum, mean, std (the
        divisor is the number of items), min, max, first and last; without a field they look at the items
        themselves. Floats are added as `sum`, `mean` and `std` of the chain do it.

        In plain Python: `group_by`, and then ``sum(...)``, ``statistics.fmean(...)`` and so on of each list.
        In pandas: ``frame.groupby(key).agg(name=(column, "sum"))``.

        >>> import mrpy
        >>> sold = mrpy.stream([("ale", 2.5), ("rye", 4.0), ("ale", 3.5)], backend="serial")
        >>> dict(sold.aggregate_by(0, cups="count", paid=(1, "sum"), usual=(1, "mean")))["ale"]
        {'cups': 2, 'paid': 6.0, 'usual': 3.0}
        """
        fields, fold = by_key.aggregating(aggregates)
        mapper = by_key.WithFields(keys.key_of("aggregate_by", key), fields)
        return self._keyed(mapper, keyed.Shuffle(by_key.Finish(fold), by_key.Combine(fold), partitions))

    def topk_by(
        self,
        key: Callable[[T], Any] | object,
        count: int,
        order: Callable[[T], Any] | object = None,
        *,
        partitions: Partitions = "auto",
    ) -> stream.ParallelIterator[tuple[Any, list[T]]]:
        """Pairs of a key and ``heapq.nlargest(count, its items, key=order)``: the largest first. `order`:
        what of an item is compared, a function, an index or a name; by default the item itself.

        >>> import mrpy
        >>> sorted(mrpy.stream(["a", "bc", "ad", "ab"], backend="serial").topk_by(len, 2))
        [(1, ['a']), (2, ['bc', 'ad'])]
        """
        fold = statistics.largest(at_least("topk_by", count, 0), order)
        probes = self._probes(folds.key_of(fold))
        return self._folded("topk_by", key, fold, partitions, *probes)

    @overload
    def join(
        self,
        other: Iterable[S],
        key: Callable[[T], Any] | object,
        other_key: Callable[[S], Any] | object = ...,
        how: Literal["inner"] = ...,
        *,
        default: Any = ...,
        partitions: Partitions = ...,
    ) -> stream.ParallelIterator[tuple[T, S]]: ...
    @overload
    def join(
        self,
        other: Iterable[S],
        key: Callable[[T], Any] | object,
        other_key: Callable[[S], Any] | object = ...,
        how: Literal["semi", "anti"] = ...,
        *,
        default: Any = ...,
        partitions: Partitions = ...,
    ) -> stream.ParallelIterator[T]: ...
    @overload
    def join(
        self,
        other: Iterable[S],
        key: Callable[[T], Any] | object,
        other_key: Callable[[S], Any] | object = ...,
        how: Literal["left", "right", "outer"] = ...,
        *,
        default: Any = ...,
        partitions: Partitions = ...,
    ) -> stream.ParallelIterator[Any]: ...

    def join(
        self,
        other: Iterable[Any],
        key: Any,
        other_key: Any = None,
        how: str = "inner",
        *,
        default: Any = None,
        partitions: Partitions = "auto",
    ) -> stream.ParallelIterator[Any]:
        """Pairs of an item of this one and an item of the other one whose keys are equal, as ``toolz.join``.
        `other_key` is the key of the other's items, by default the same.

        ``how="inner"``   only where both have the key
        ``how="left"``    also items of this one that have no match: ``(item, default)``
        ``how="right"``   also items of the other one that have none: ``(default, item)``
        ``how="outer"``   both
        ``how="semi"``    items of this one that have a match, by themselves and once
        ``how="anti"``    items of this one that have none

        An `other` that is a list, tuple, range, dict, set or array of 32 MB at most goes to every worker, and
        each item looks up its matches there (a *broadcast* join): nothing is shuffled, the first rows come at
        once, and they come in the order of this one's items, for each of them those of the other's in theirs.
        All rows of an item are computed by one task. So are inner, left, semi and anti joins, unless there
        are `partitions`, or `on_error`, `retries` or a `timeout`, which are about single rows behind it.

        Else both are brought together by key, and the order is key by key; of a key, the other's items in
        their order, and for each of them those of this one in theirs. So the items of this one that have the
        same key have to fit into a worker's memory; the other's need not. There can be no checkpoint.

        None and NaN match their like. Where `other` is this very iterator, it is computed once. An `other`
        that was given options of its own is a run of its own.

        In plain Python: ``[(a, b) for a in this for b in other if key(a) == other_key(b)]``, up to the order.

        >>> import mrpy
        >>> ages, towns = [("Ann", 31), ("Bob", 25)], [("Bob", "Oslo"), ("Eve", "Rome")]
        >>> mrpy.stream(ages, backend="serial").join(towns, 0).to_list()
        [(('Bob', 25), ('Bob', 'Oslo'))]
        >>> mrpy.stream(ages, backend="serial").join(towns, 0, how="anti").to_list()
        [('Ann', 31)]
        """
        if how not in by_key.HOW:
            raise OptionError(f"join(how={how!r}): must be one of {', '.join(by_key.HOW)}")
        mappers = self._mappers("join", key, other_key)
        if how in ("semi", "anti"):
            mappers = mappers[0], by_key.WithConstant(mappers[1].key, None, side=1)
        reducer = by_key.Join(how, default)
        looked_up: Any = None
        if partitions == "auto" and how in lookup.HOW and not is_said_of_items(self._options()):
            looked_up = functools.partial(lookup.Lookup, mappers[0].key, how, default)
        shuffle = keyed.Shuffle(reducer, None, partitions, with_keys=False)
        return self._keyed_with("join", other, mappers, shuffle, looked_up)

    def cogroup(
        self,
        other: Iterable[S],
        key: Callable[[T], Any] | object,
        other_key: Callable[[S], Any] | object = None,
        *,
        partitions: Partitions = "auto",
    ) -> stream.ParallelIterator[tuple[Any, tuple[list[T], list[S]]]]:
        """``(key, (items, others))`` for each key that this one or the other one has: two lists, either of
        which may be empty. All else is as with `join`.

        In plain Python: `toolz.groupby` of both, and ``left.get(key, []), right.get(key, [])`` of all keys.

        >>> import mrpy
        >>> sorted(mrpy.stream(["a", "bc"], backend="serial").cogroup(["d", "efg"], len))
        [(1, (['a'], ['d'])), (2, (['bc'], [])), (3, ([], ['efg']))]
        """
        mappers = self._mappers("cogroup", key, other_key)
        shuffle = keyed.Shuffle(by_key.cogrouped, None, partitions)
        return self._keyed_with("cogroup", other, mappers, shuffle)

    def repartition(
        self, partitions: int, key: Callable[[T], Any] | object = None
    ) -> stream.ParallelIterator[T]:
        """The same items in the same order, as ``chain(*numpy.array_split(items, partitions))``, but what
        follows is computed part by part, each by one task: where a `filter` or a `flat_map` has left much of
        the work in few places. What is written behind it has a file for each part that is not empty. With a
        `key` all items of a key are in one part, by its hash: the parts follow each other, and in each the
        items are in their order.

        The first result comes when all items are there. They are packed on the workers, go to disk beyond
        ``memory=`` (not on Dask), and are opened where they are computed. A ``chunksize`` or ``buffersize``
        given before ends here.

        >>> import mrpy
        >>> mrpy.stream(range(4), backend="serial").flat_map(range).repartition(3).map(str).to_list()
        ['0', '0', '1', '0', '1', '2']
        >>> mrpy.stream(["a", "bc", "d", "ef"], backend="serial").repartition(2, key=len).to_list()
        ['a', 'd', 'bc', 'ef']
        """
        count = at_least("repartition", partitions, 1)
        if key is None:
            run: Any = repartition.InOrder(self, count)
        else:
            self._to_key()
            run = repartition.ByKey(self, count, keys.key_of("repartition", key))
        given = {**self._behind(), "chunksize": "auto", "buffersize": "auto"}
        return stream.ParallelIterator(run.plan(), given)

    # ---- how they are run ----------------------------------------------------------------------------

    def _to_key(self) -> Plan:
        """The plan, to build upon, if all of its items have keys."""
        keyed.see_that_all_have_keys(self._options())
        return self._taken()

    def _keyed(self, mapper: Any, shuffle: keyed.Shuffle, *steps: Step) -> stream.ParallelIterator[Any]:
        return keyed.keyed([keyed.Side(self._to_key().then(*steps), mapper)], shuffle, self._given)

    def _folded(
        self, name: str, key: Any, fold: folds.Fold, partitions: Partitions, *steps: Step
    ) -> stream.ParallelIterator[Any]:
        mapper = by_key.WithItem(keys.key_of(name, key))
        shuffle = keyed.Shuffle(by_key.Finish(fold), by_key.Combine(fold), partitions)
        return self._keyed(mapper, shuffle, *steps)

    def _mappers(self, name: str, key: Any, other_key: Any) -> tuple[Any, Any]:
        both = key, key if other_key is None else other_key
        left, right = (by_key.WithItem(keys.key_of(name, each), side) for side, each in enumerate(both))
        return left, right

    def _keyed_with(
        self,
        name: str,
        other: Any,
        mappers: tuple[Any, Any],
        shuffle: keyed.Shuffle,
        looked_up: Callable[[beside.Small], Step] | None = None,
    ) -> stream.ParallelIterator[Any]:
        """``looked_up``: the step that does the same where all workers can have all of the other input."""
        itself: bool = other is self
        if itself:
            left_first = shuffle.replaced(reducer=by_key.LeftFirst(shuffle.reducer))
            return self._keyed(by_key.OnBothSides(*mappers), left_first)
        see_that_they_are_apart(name, [self, *all_iterable(name, (other,))], lambda one, other: True)
        left, right = self._to_key(), _plan_of(other, self._given)

        def shuffled(left: Plan, given: dict[str, Any]) -> stream.ParallelIterator[Any]:
            sides = keyed.Side(left, mappers[0]), keyed.Side(right, mappers[1])
            return keyed.keyed(sides, shuffle, given)

        if looked_up is not None and lookup.is_small(right):
            given = {**self._given, "checkpoint": None}
            alone = isinstance(mappers[1], by_key.WithConstant)
            again = functools.partial(shuffled, given=given)
            small = beside.Small(right, mappers[1].key, given, again, alone=alone)
            return self._then(looked_up(small))
        if self._options().checkpoint is not None:
            raise OptionError(
                f"{name}() has two large inputs, or is told to treat them so (by partitions=, on_error=, "
                "retries= or timeout=), and there is no checkpoint for that"
            )
        return shuffled(left, self._given)


def _plan_of(other: Any, given: Mapping[str, Any]) -> Plan:
    """The other input, for a run with these options. One that has options of its own runs by itself."""
    if not isinstance(other, stream.ParallelIterator):
        return stream.stream_of(other, dict(given))._taken()
    keyed.see_that_all_have_keys(other._options())
    own, ours = _told(other._given), _told(given)
    if not (own and own != ours and other._plan.steps):
        return other._taken()
    return Plan(Pulled(ByItself(other)))


def _told(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}

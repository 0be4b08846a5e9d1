"""The mappers, combiners and reducers behind `group_by`, `reduce_by`, `join` and their like.

Those that fold run a `Fold` once per key: a combiner gets values as they were mapped, and what earlier calls
made of such, which is marked as `Partial`. So a value that is the only one of its key travels as it is, and
whatever a fold makes of values of one type may be of another.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from itertools import chain, repeat

from mrpy.light import Any, NamedTuple
from mrpy.mapreduce import moments, statistics
from mrpy.mapreduce.folds import Fold
from mrpy.mapreduce.groups import Waiting
from mrpy.mapreduce.keys import (
    Fields,
    Key,
    Named,
    behind_keys,
    key_name,
    key_of,
    looked_up,
    names_of,
    quick,
)
from mrpy.mapreduce.shuffle import OnePair, Ours
from mrpy.mapreduce.steps import name_of
from mrpy.mapreduce.tree import NOTHING, merged

LEAST = 16  # values folded at once; of a thousand keys `aggregate_by` took half as long as with 1


# ---- mappers -------------------------------------------------------------------------------------


class WithItem(OnePair):
    """From an item to its key and the item."""

    __slots__ = ("__qualname__", "key", "side")  # the name that plans show; values say which of two sides

    def __init__(self, key: Key, side: int | None = None) -> None:
        self.key, self.side = key, side
        self.__qualname__ = f"({key_name(key)}, item)"

    def __call__(self, item: Any) -> tuple[Any, Any]:
        return self.key(item), item if self.side is None else (self.side, item)

    def over(self, records: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
        side = self.side
        if side is None:
            return behind_keys(self.key, records)
        key = quick(self.key)
        return ((key(item), (side, item)) for item in records)


class WithFields(OnePair):
    """From an item to its key and some values made of the item: a tuple."""

    __slots__ = ("__qualname__", "fields", "key")

    def __init__(self, key: Key, fields: tuple[Key, ...]) -> None:
        self.key, self.fields = key, fields
        self.__qualname__ = f"({', '.join(map(key_name, (key, *fields)))})"

    def __call__(self, item: Any) -> tuple[Any, Any]:
        return self.key(item), tuple([field(item) for field in self.fields])

    def over(self, records: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
        key, fields = self.key, self.fields
        if all(field is _nothing for field in fields):
            return WithConstant(key, (None,) * len(fields)).over(records)
        indexes = _indexes_of(fields)
        if type(key) is Named and indexes is not None:
            return self._looked_up(operator.itemgetter(key.name), operator.itemgetter(*indexes), records)
        key = quick(key)
        if len(fields) == 1:
            field = quick(fields[0])
            return ((key(item), (field(item),)) for item in records)
        if indexes is not None:
            row = quick(Fields(indexes))
            return ((key(item), row(item)) for item in records)
        return ((key(item), tuple([field(item) for field in fields])) for item in records)

    def _looked_up(self, key: Key, row: Key, records: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
        """The same at once; of an item that takes no names, one by one."""
        single = len(self.fields) == 1
        for item in records:
            try:
                pair = key(item), (row(item),) if single else row(item)
            except TypeError:
                pair = self(item)
            yield pair


def _indexes_of(fields: tuple[Key, ...]) -> list[Any] | None:
    """What to look up for these fields, if that is all. For who counts any of them does."""
    wanted = [looked_up(field, NOTHING) for field in fields if field is not _nothing]
    if any(index is NOTHING for index in wanted):  # not `in`: an index may be an array
        return None
    indexes = iter(wanted)
    return [wanted[0] if field is _nothing else next(indexes) for field in fields]


class WithConstant(OnePair):
    """From an item to its key and always the same value."""

    __slots__ = ("__qualname__", "key", "value")

    def __init__(self, key: Key, value: Any, side: int | None = None) -> None:
        self.key, self.value = key, value if side is None else (side, value)
        self.__qualname__ = f"({key_name(key)}, {value!r})"

    def __call__(self, item: Any) -> tuple[Any, Any]:
        return self.key(item), self.value

    def over(self, records: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
        key, value = self.key, self.value
        if type(key) is Named:
            return zip(names_of(key, records), repeat(value), strict=False)
        key = quick(key)
        return ((key(item), value) for item in records)


class OnBothSides(Ours):
    """From an item to two pairs, where an input is joined with itself: one as of the left side, one as of the
    right."""

    __slots__ = ("__qualname__", "left", "right")

    def __init__(self, left: Callable[[Any], Any], right: Callable[[Any], Any]) -> None:
        self.left, self.right = left, right
        self.__qualname__ = f"{name_of(left)}, {name_of(right)}"

    def __call__(self, item: Any) -> list[tuple[Any, Any]]:
        return [self.left(item), self.right(item)]


# ---- folds, one per key ---------------------------------------------------------------------------


class Partial(NamedTuple):
    """What a fold has made of some values of a key."""

    value: Any


class Combine(Waiting):
    """The combiner of a fold. It waits for some values: to fold two at a time would take longer than the rest
    of the run, and send as much."""

    __slots__ = ("__qualname__", "fold")
    least = LEAST

    def __init__(self, fold: Fold) -> None:
        self.fold = fold
        self.__qualname__ = fold.name

    def __call__(self, key: Any, values: Iterator[Any]) -> Any:
        return Partial(_partial(self.fold, values))


class Finish:
    """Its reducer."""

    __slots__ = ("__qualname__", "fold")

    def __init__(self, fold: Fold) -> None:
        self.fold = fold
        self.__qualname__ = fold.name

    def __call__(self, key: Any, values: Iterator[Any]) -> Any:
        return self.fold.finish(_partial(self.fold, values))


def _partial(fold: Fold, values: Iterator[Any]) -> Any:
    """Neighbours that are not folded yet are a leaf; from there on there are merges."""
    whole: Any = NOTHING
    plain: list[Any] = []
    for value in values:
        if type(value) is not Partial:
            plain.append(value)
            continue
        if plain:
            whole, plain = merged(whole, fold.leaf(iter(plain)), fold.merge), []
        whole = merged(whole, value.value, fold.merge)
    return merged(whole, fold.leaf(iter(plain)), fold.merge) if plain else whole


class Reduce:
    """Combiner and reducer of `reduce_by`: values and what becomes of them are the same to the operator."""

    __slots__ = ("__qualname__", "operator")

    def __init__(self, operator: Callable[[Any, Any], Any]) -> None:
        self.operator = operator
        self.__qualname__ = name_of(operator)

    def __call__(self, key: Any, values: Iterator[Any]) -> Any:
        return reduce(self.operator, values)


def listed(key: Any, values: Iterator[Any]) -> list[Any]:
    """The reducer of `group_by`."""
    return list(values)


# ---- several folds in one pass --------------------------------------------------------------------


def _first_leaf(items: Iterator[Any]) -> Any:
    return next(items, NOTHING)


def _first(left: Any, right: Any) -> Any:
    return left


def _last_leaf(items: Iterator[Any]) -> Any:
    last: Any = NOTHING
    for item in items:
        last = item
    return last


def _last(left: Any, right: Any) -> Any:
    return right


def _as_it_is(value: Any) -> Any:
    return value


AGGREGATES: Mapping[str, Fold] = {
    "count": statistics.COUNT,
    "sum": statistics.total_from(0),
    "mean": statistics.MEAN,
    "std": moments.deviation(0),
    "min": statistics.extreme(min, None, NOTHING),
    "max": statistics.extreme(max, None, NOTHING),
    "first": Fold(_first_leaf, _first, _as_it_is, "first"),
    "last": Fold(_last_leaf, _last, _as_it_is, "last"),
}


class Aggregates:
    """Several folds over the fields of rows, as one fold. Its answer is a dict.

    It is the leaf itself: so a checkpoint knows which folds these are. Of a method it sees the code alone."""

    __slots__ = ("folds", "names")

    def __init__(self, names: tuple[str, ...], folds: tuple[Fold, ...]) -> None:
        self.names, self.folds = names, folds

    def __call__(self, rows: Iterator[tuple[Any, ...]]) -> tuple[Any, ...]:
        """Column by column."""
        listed = list(rows)
        made: list[Any] = []
        try:
            for place, fold in enumerate(self.folds):
                made.append(fold.leaf(map(operator.itemgetter(place), listed)))
        except TypeError as error:
            error.add_note(f"mrpy: raised for {self.names[len(made)]}= of aggregate_by()")
            raise
        return tuple(made)

    def merge(self, left: tuple[Any, ...], right: tuple[Any, ...]) -> tuple[Any, ...]:
        """The same."""
        return tuple([fold.merge(a, b) for fold, a, b in zip(self.folds, left, right, strict=True)])

    def finish(self, values: tuple[Any, ...]) -> dict[str, Any]:
        """The answers by name."""
        made = zip(self.names, self.folds, values, strict=True)
        return {name: fold.finish(value) for name, fold, value in made}


def aggregating(given: Mapping[str, Any]) -> tuple[tuple[Key, ...], Fold]:
    """The fields to look at and the fold over them, of ``name="count"`` or ``name=(field, "sum")``."""
    if not given:
        raise TypeError("aggregate_by() needs aggregates: n='count', total=(field, 'sum')")
    fields, folds = [], []
    for name, each in given.items():
        field, how = each if isinstance(each, tuple) and len(each) == 2 else (_as_it_is, each)
        fold = AGGREGATES.get(how) if isinstance(how, str) else None
        if fold is None:
            there = ", ".join(AGGREGATES)
            problem = f"no such aggregate; write one of {there}, or (field, one of them)"
            raise ValueError(f"aggregate_by({name}={each!r}): {problem}")
        fields.append(key_of("aggregate_by", field) if how != "count" else _nothing)
        folds.append(fold)
    made = Aggregates(tuple(given), tuple(folds))
    return tuple(fields), Fold(made, made.merge, made.finish, "aggregate")


def _nothing(item: Any) -> None:
    """What there is to look at for who counts."""


# ---- two inputs -----------------------------------------------------------------------------------


class Join:
    """The reducer of `join`: rows of a key. Those of the left side are held, those of the right one pass."""

    __slots__ = ("__qualname__", "default", "how")

    def __init__(self, how: str, default: Any) -> None:
        self.how, self.default = how, default
        self.__qualname__ = f"{how} join"

    def __call__(self, key: Any, values: Iterator[tuple[int, Any]]) -> Iterator[Any]:
        return _both_sides(values) if self.how == "inner" else self._rows(values)

    def _rows(self, values: Iterator[tuple[int, Any]]) -> Iterator[Any]:
        lefts, rights = sides_of(values)
        matched = next(rights, NOTHING)
        if self.how in ("semi", "anti"):
            if (matched is NOTHING) == (self.how == "anti"):
                yield from lefts
        elif matched is NOTHING:
            if self.how in ("left", "outer"):
                yield from ((left, self.default) for left in lefts)
        elif lefts:
            yield from ((left, right) for right in chain((matched,), rights) for left in lefts)
        elif self.how in ("right", "outer"):
            yield from ((self.default, right) for right in chain((matched,), rights))


def _both_sides(values: Iterator[tuple[int, Any]]) -> Iterator[Any]:
    lefts: list[Any] = []
    for side, value in values:
        if not side:
            lefts.append(value)
        elif not lefts:
            return
        else:
            for left in lefts:
                yield left, value


HOW = ("inner", "left", "right", "outer", "semi", "anti")


def cogrouped(key: Any, values: Iterator[tuple[int, Any]]) -> tuple[list[Any], list[Any]]:
    """The reducer of `cogroup`."""
    lefts, rights = sides_of(values)
    return lefts, list(rights)


class LeftFirst:
    """A reducer of two sides over values in whose order the sides are mixed."""

    __slots__ = ("__qualname__", "reducer")

    def __init__(self, reducer: Any) -> None:
        self.reducer = reducer
        self.__qualname__ = name_of(reducer)

    def __call__(self, key: Any, values: Iterator[tuple[int, Any]]) -> Any:
        return self.reducer(key, iter(sorted(values, key=operator.itemgetter(0))))


def sides_of(values: Iterator[tuple[int, Any]]) -> tuple[list[Any], Iterator[Any]]:
    """The values of the left side, which come first, and an iterator over those of the right one."""
    lefts: list[Any] = []
    for side, value in values:
        if side:
            return lefts, chain((value,), (value for _, value in values))
        lefts.append(value)
    return lefts, iter(())

"""The folds behind `sum`, `mean`, `min` and their like.

Each leaf of the source is folded with the most exact means that the standard library has, and neighbours
are merged along the tree of positions: the same bits everywhere, and an error that grows with the
logarithm of the number of items where a plain loop's grows with the number itself.
"""

from __future__ import annotations

import heapq
import math
import operator
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import chain, count

from mrpy.light import Any, Frozen, NamedTuple
from mrpy.mapreduce.folds import Fold, exact_kind
from mrpy.mapreduce.keys import behind_keys, key_function
from mrpy.mapreduce.random import leaf_random
from mrpy.mapreduce.tree import NOTHING

Key = Callable[[Any], Any] | None


# ---- sums ----------------------------------------------------------------------------------------


class Compensated(NamedTuple):
    """A float sum and the part of it that did not fit (Neumaier, ZAMM 54, 1974)."""

    high: float
    low: float


def sum_leaf(items: Iterator[Any], verb: str = "sum") -> Any:
    """The sum of a leaf: exact for integers, correctly rounded for floats. If it begins with an integer it is
    that of `sum`: to hold integers, in case that there is a float among them, takes a third longer. ``verb``:
    for what it is."""
    for first in items:
        kind = type(first)
        if kind is int:
            return sum(items, first)
        if kind is float or (isinstance(first, float) and kind.__module__ == "numpy"):
            return _float_sum([first, *items], kind)
        try:
            first = 0 + first  # as `sum` begins: of booleans it counts those that are true
        except Exception:  # of its own `__radd__`, which takes its own kind only
            if isinstance(first, str | bytes | bytearray):
                text = f"{verb}() needs numbers, not {type(first).__name__} {first!r:.60}"
                raise TypeError(f"{text}: make numbers of text in a map() before") from None
        return sum(items, start=first)
    return NOTHING


def widened(items: Iterator[Any]) -> list[Any]:
    """Items for a mean, which is not to overflow."""
    values = list(items)
    if any(hasattr(kind, "dtype") for kind in set(map(type, values))):
        return list(map(_wide, values))
    return values


def _wide(value: Any) -> Any:
    """A number of NumPy as a float, as `statistics.fmean` takes it, and arrays of small ones likewise, as
    ``numpy.mean`` does."""
    of: Any = type(value)
    if not _is_of_numpy(of):
        return value
    kind, size = value.dtype.kind, value.itemsize
    if value.ndim == 0 and of.__module__ == "numpy":  # others may have a unit
        return float(value) if kind in "biu" or (kind == "f" and size <= 8) else value
    return value.astype(float) if kind in "biu" or (kind == "f" and size < 4) else value


@lru_cache(maxsize=100)
def _is_of_numpy(kind: type) -> bool:
    import numpy

    return issubclass(kind, numpy.ndarray | numpy.generic)


def _float_sum(values: list[Any], kind: type[float]) -> Any:
    """Of values that begin with a float of this kind: correctly rounded if the sum of all is one, else
    (`fsum` would make floats of what is none) that of Python."""
    # NumPy's take longer to add than to be asked what they are; Python's do not
    alike = kind is not float and set(map(type, values)) == {kind}
    total = None if alike else sum(values)
    if alike or isinstance(total, kind):
        with suppress(TypeError, ValueError, OverflowError):  # of no real number; inf - inf; too large
            return Compensated(kind(math.fsum(values)), 0.0)
    return sum(values) if alike else total


def sum_merge(left: Any, right: Any) -> Any:
    """The sum of two neighbours; what is lost to rounding is kept apart."""
    if not isinstance(left, Compensated) and not isinstance(right, Compensated):
        return left + right
    (a, low_a), (b, low_b) = _as_compensated(left), _as_compensated(right)
    high = a + b
    if not (isinstance(high, float) and math.isfinite(high)):
        return Compensated(high, 0.0)
    lost = (a - high) + b if abs(a) >= abs(b) else (b - high) + a
    return Compensated(high, low_a + low_b + lost)


def _as_compensated(value: Any) -> tuple[Any, Any]:
    return value if isinstance(value, Compensated) else (value, 0.0)


def sum_finish(value: Any) -> Any:
    """The number."""
    if value is NOTHING:
        return 0
    return value.high + value.low if isinstance(value, Compensated) else value


class _FromStart(Frozen):
    start: Any

    def __call__(self, value: Any) -> Any:
        return self.start if value is NOTHING else self.start + sum_finish(value)


class _Widened(Frozen):
    """`sum_leaf` where numbers and arrays of NumPy are added in the type they have with `start`, as the loop
    does that begins with it: bytes do not overflow, and tuples beside an array are added, not joined."""

    zero: Any

    def __call__(self, items: Iterator[Any]) -> Any:
        for first in items:
            rest: Any = list(items) if type(first) is int else items  # behind a plain 0 there may be others
            kinds = set(map(type, rest)) if type(first) is int else {type(first)}
            if any(self._meets(kind) for kind in kinds):
                first = self.zero + first
            return sum_leaf(chain((first,), rest))
        return NOTHING

    def _meets(self, kind: type) -> bool:
        """Whether zero and such an item make an array, or a number of NumPy."""
        return hasattr(kind, "dtype") or (hasattr(self.zero, "dtype") and issubclass(kind, list | tuple))


def _zero_of(start: Any) -> Any:
    """Zero, of a type that may be wider than that of items; else None."""
    exact = exact_kind(start)
    if exact is not None:
        return exact()
    if type(start) in (float, complex):
        return type(start)()
    of: Any = type(start)
    if not hasattr(of, "dtype") or not _is_of_numpy(of) or start.dtype.kind not in "biufcm":
        return None  # there is no zero among dates
    import numpy

    return numpy.zeros_like(start)


def total_from(start: Any) -> Fold:
    """``sum(items, start)``."""
    sum((), start=start)  # refuses what it refuses: strings
    zero = _zero_of(start)
    leaf = sum_leaf if zero is None else _Widened(zero)
    return Fold(leaf, sum_merge, _FromStart(start), "sum")


# ---- means ---------------------------------------------------------------------------------------


def mean_leaf(items: Iterator[Any]) -> Any:
    """How many, and their sum."""
    values = widened(items)
    if not values:
        return NOTHING
    total = sum_leaf(iter(values), "mean")
    return len(values), _float_sum(values, float) if type(total) is float else total


def mean_merge(left: tuple[int, Any], right: tuple[int, Any]) -> tuple[int, Any]:
    """Both, added."""
    return left[0] + right[0], sum_merge(left[1], right[1])


def mean_finish(value: Any) -> Any:
    """The mean."""
    if value is NOTHING:
        raise ValueError("mean() of no items")
    return sum_finish(value[1]) / value[0]


MEAN = Fold(mean_leaf, mean_merge, mean_finish, "mean")


# ---- counting and choosing -----------------------------------------------------------------------


def count_leaf(items: Iterator[Any]) -> int:
    """How many."""
    number = count()
    deque(zip(items, number, strict=False), maxlen=0)  # in C
    return next(number)


def or_zero(value: Any) -> Any:
    """A count."""
    return 0 if value is NOTHING else value


COUNT = Fold(count_leaf, operator.add, or_zero, "count")


# With a key a partial value has it beside the item: a key may cost more than all else, and is asked for once.
_RANK = operator.itemgetter(0)


class _Extreme(Frozen):
    choose: Any  # min or max: both keep the first of equals
    key: Any

    def __call__(self, items: Iterator[Any]) -> Any:
        if self.key is None:
            return self.choose(items, default=NOTHING)
        key = self.key
        return self.choose(((key(item), item) for item in items), key=_RANK, default=NOTHING)

    def merge(self, left: Any, right: Any) -> Any:
        return self.choose((left, right), key=None if self.key is None else _RANK)


class _OrDefault(Frozen):
    name: str
    default: Any
    ranked: bool

    def __call__(self, value: Any) -> Any:
        if value is not NOTHING:
            return value[1] if self.ranked else value
        if self.default is NOTHING:
            raise ValueError(f"{self.name}() iterable argument is empty")
        return self.default


def extreme(choose: Any, key: Key, default: Any) -> Fold:
    """``min(items, key=key, default=default)``, or `max`."""
    best = _Extreme(choose, key)
    return Fold(best, best.merge, _OrDefault(choose.__name__, default, key is not None), choose.__name__)


def or_empty(value: Any) -> Any:
    """A list."""
    return [] if value is NOTHING else value


class _Largest(Frozen):
    count: int
    key: Any

    def __call__(self, items: Iterator[Any]) -> list[Any]:
        return self._best(items if self.key is None else behind_keys(self.key, items))

    def merge(self, left: list[Any], right: list[Any]) -> list[Any]:
        return self._best(iter(left + right))

    def _best(self, items: Iterator[Any]) -> list[Any]:
        """The first of equal ones come first. `heapq` looks for these by ``==``, which may know of more than
        ``<`` does: there it gives others than `sorted`, which is what it is said to be equal to."""
        key = None if self.key is None else _RANK
        first: Any = next(items, NOTHING)
        if first is NOTHING:
            return []
        rank = first if self.key is None else _RANK(first)
        items = chain((first,), items)
        if not _is_of_python(rank):
            return sorted(items, key=key, reverse=True)[: self.count]
        return heapq.nlargest(self.count, items, key=key)

    def finish(self, value: Any) -> list[Any]:
        """The items alone."""
        found = or_empty(value)
        return found if self.key is None else [item for _, item in found]


def _is_of_python(rank: Any) -> bool:
    """Whether what is compared is of Python's own kinds: also what stands in a tuple, or in a list."""
    if type(rank) in (tuple, list):
        return all(map(_is_of_python, rank))
    return type(rank).__module__ == "builtins"


def largest(count: int, key: Any) -> Fold:
    """``heapq.nlargest(count, items, key=key)``."""
    best = _Largest(count, None if key is None else key_function(key))
    return Fold(best, best.merge, best.finish, "topk")


# ---- histograms and samples ------------------------------------------------------------------------


class _Histogram(Frozen):
    bins: Any
    limits: tuple[float, float] | None

    def __call__(self, items: Iterator[Any]) -> Any:
        """How many there are in each bin, and the edges. These have the type of the items, as NumPy has it:
        an edge at 0.1 is another one for floats of half the size."""
        import numpy  # heavy, and only for those who ask

        values = numpy.asarray(list(items))
        if values.dtype.kind == "O" and None in values.ravel().tolist():  # which would become a NaN
            raise TypeError("histogram() needs numbers, not 'NoneType'")
        if values.dtype.kind in "Ob":
            values = values.astype(float if values.dtype.kind == "O" else "u1")
        return numpy.histogram(values, self.bins, self.limits)

    def merge(self, left: Any, right: Any) -> Any:
        """Both, added."""
        finer = left if left[1].itemsize >= right[1].itemsize else right
        return left[0] + right[0], finer[1]

    def finish(self, counted: Any) -> Any:
        """What there is, if nothing was counted."""
        return self(iter(())) if counted is NOTHING else counted


def histogram(bins: int | Sequence[float], limits: tuple[float, float] | None) -> Fold:
    """``numpy.histogram(items, bins, limits)``; refused by NumPy where the bins make no sense."""
    count = _Histogram(bins, limits)
    count(iter(()))
    return Fold(count, count.merge, count.finish, "histogram")


class _Sample(Frozen):
    count: int
    seed: int

    def __call__(self, items: Iterator[Any]) -> list[tuple[float, int, int, Any]]:
        """Each item draws a number that depends on its place alone; the smallest ones are taken."""
        draw, leaf = leaf_random(self.seed)
        drawn = ((draw(), leaf, place, item) for place, item in enumerate(items))
        return heapq.nsmallest(self.count, drawn, key=operator.itemgetter(0, 1, 2))

    def merge(self, left: list[Any], right: list[Any]) -> list[Any]:
        return heapq.nsmallest(self.count, left + right, key=operator.itemgetter(0, 1, 2))


def in_place(drawn: Any) -> list[Any]:
    """The sample in the order of the source."""
    return [item for *_, item in sorted(or_empty(drawn), key=operator.itemgetter(1, 2))]


def sample(count: int, seed: int) -> Fold:
    """Some items, each with the same chance (Efraimidis and Spirakis, Inf. Proc. Letters 97, 2006)."""
    take = _Sample(count, seed)
    return Fold(take, take.merge, in_place, "sample")

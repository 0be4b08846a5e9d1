"""The part of the chain that comes to one answer: folds along the tree of positions.

Each runs when it is called, on the workers, without its items passing through the consumer. Those whose
answer is many things again (`frequencies`, `sorted`, `topk`) are lazy and chain on.
"""

from __future__ import annotations

import builtins
import operator
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence

from mrpy.errors import OptionError
from mrpy.iterators.arguments import at_least, function_for, key_for
from mrpy.iterators.elsewhere import none_of
from mrpy.iterators.reshaping import Chainable
from mrpy.light import TYPE_CHECKING, Any, R, T, later, overload
from mrpy.mapreduce.random import fresh_seed
from mrpy.mapreduce.sources import ahead
from mrpy.mapreduce.steps import Map
from mrpy.mapreduce.tree import MISSING
from mrpy.options import plain

if TYPE_CHECKING:
    from mrpy.iterators import sorting, stream
    from mrpy.mapreduce import folds, frequencies, moments, statistics
    from mrpy.mapreduce import sorting as sorts
    from mrpy.mapreduce.folds import Fold
    from mrpy.mapreduce.steps import Step
else:
    folds, statistics = later("mrpy.mapreduce.folds"), later("mrpy.mapreduce.statistics")
    frequencies, moments = later("mrpy.mapreduce.frequencies"), later("mrpy.mapreduce.moments")
    stream = later("mrpy.iterators.stream")
    sorting, sorts = later("mrpy.iterators.sorting"), later("mrpy.mapreduce.sorting")


class Reductions(Chainable[T]):
    """What reduces a parallel iterator."""

    @abstractmethod
    def _fold(self, fold: Fold, *steps: Step) -> Any:
        """Run a fold over what the steps make of the items."""

    @overload
    def reduce(self, operator: Callable[[T, T], T | R]) -> T | R: ...
    @overload
    def reduce(self, operator: Callable[[Any, Any], R], initial: Any) -> R: ...

    def reduce(self, operator: Callable[[Any, Any], Any], initial: Any = MISSING) -> Any:
        """``functools.reduce(operator, self, initial)`` for an associative operator.

        >>> import mrpy
        >>> mrpy.stream(["a", "bc", "d"], backend="serial").reduce(lambda left, right: left + right)
        'abcd'
        """
        return self._fold(folds.reduction(function_for("reduce", operator), initial))

    def fold(
        self,
        step: Callable[[Any, T], R],
        initial: Any,
        combine: Callable[[Any, Any], Any] = operator.add,
    ) -> R:
        """``functools.reduce(step, self, initial)`` where partial results can be combined. `initial`
        must be neutral: every part starts with a copy of it.

        >>> import mrpy
        >>> mrpy.stream(["a", "bc"], backend="serial").fold(lambda n, word: n + len(word), 0)
        3
        """
        checked = function_for("fold", step), initial, function_for("fold", combine)
        answer: R = self._fold(folds.folding(*checked))
        return answer

    def count(self) -> int:
        """``sum(1 for _ in self)``: the number of items.

        >>> import mrpy
        >>> mrpy.stream("abba", backend="serial").filter("a".__eq__).count()
        2
        """
        return int(self._fold(statistics.COUNT))

    def sum(self, start: Any = 0) -> Any:
        """``sum(self, start)``, to the same bits on every backend. Floats, and doubles of NumPy, are added
        with compensation, except in stretches of the source that begin with an integer.

        >>> import mrpy
        >>> mrpy.stream([0.1] * 10, backend="serial").sum()
        1.0
        """
        return self._fold(statistics.total_from(start))

    def __array_function__(self, *_: Any) -> Any:
        """``numpy.mean(self)`` would call `mean` with what only arrays take."""
        raise none_of("__array_struct__")

    def mean(self) -> Any:
        """``statistics.fmean(self)``. Raises ValueError where there are no items. Infinite where the sum of
        floats is too large for one: there `fmean` raises.

        >>> import mrpy
        >>> mrpy.stream([1, 2, 6], backend="serial").mean()
        3.0
        """
        return self._fold(statistics.MEAN)

    def std(self, ddof: int = 0) -> Any:
        """``statistics.pstdev(self)``, or ``statistics.stdev(self)`` with ``ddof=1``: the divisor is the
        number of items less `ddof`. Of arrays it is ``numpy.std(list(self), axis=0, ddof=ddof)``, an array of
        their shape; so it is of complex numbers. Of others it is a float, whose last digit may be another
        than in `statistics`, which rounds but once. Raises ValueError where the divisor is not above zero,
        and OverflowError where the deviation is too large for a float; that of decimals is infinite then.

        >>> import mrpy
        >>> mrpy.stream([1, 3], backend="serial").std()
        1.0
        """
        return self._fold(moments.deviation(ddof))

    @overload
    def min(self, key: Callable[[T], Any] | None = ...) -> T: ...
    @overload
    def min(self, key: Callable[[T], Any] | None = ..., default: R = ...) -> T | R: ...

    def min(self, key: Callable[[T], Any] | None = None, default: Any = MISSING) -> Any:
        """``min(self, key=key, default=default)``.

        >>> import mrpy
        >>> mrpy.stream([3, -1, 2], backend="serial").min(), mrpy.stream([], backend="serial").min(default=0)
        (-1, 0)
        """
        return self._fold(statistics.extreme(builtins.min, key_for("min", key), default))

    @overload
    def max(self, key: Callable[[T], Any] | None = ...) -> T: ...
    @overload
    def max(self, key: Callable[[T], Any] | None = ..., default: R = ...) -> T | R: ...

    def max(self, key: Callable[[T], Any] | None = None, default: Any = MISSING) -> Any:
        """``max(self, key=key, default=default)``.

        >>> import mrpy
        >>> mrpy.stream(["a", "quick", "fox"], backend="serial").max(key=len)
        'quick'
        """
        return self._fold(statistics.extreme(builtins.max, key_for("max", key), default))

    def histogram(
        self, bins: int | Sequence[float] = 10, range: tuple[float, float] | None = None
    ) -> tuple[Any, Any]:
        """``numpy.histogram(list(self), bins, range)``: the counts, shape (bins,), and the edges, shape
        (bins + 1,). With a number of bins it needs a range: the items are looked at only once. Of arrays all
        elements are counted.

        >>> import mrpy
        >>> counts, edges = mrpy.stream([1, 2, 7], backend="serial").histogram(2, range=(0, 10))
        >>> counts.tolist(), edges.tolist()
        ([2, 1], [0.0, 5.0, 10.0])
        """
        bins = plain(bins)
        if isinstance(bins, str):
            raise OptionError("histogram() looks at items once: bins= is a number, with range=, or the edges")
        if isinstance(bins, int) and range is None:
            raise OptionError("histogram() with a number of bins needs range=(low, high)")
        counts, limits = self._fold(statistics.histogram(bins, range))
        return counts, limits

    def sample(self, count: int, seed: int | None = None) -> list[T]:
        """``random.sample(list(self), count)``: some items, each with the same chance, in the order of
        the source; all where there are fewer. The same seed takes the same ones everywhere; None: that of
        the run, if it has one; with a `checkpoint` it has to be there.

        >>> import mrpy
        >>> mrpy.stream(range(100), backend="serial").sample(3, seed=1)
        [19, 30, 64]
        """
        count = at_least("sample", count, 0)
        seed = self._options().seed if seed is None else at_least("sample", seed, 0, " as seed")
        if seed is None and self._options().checkpoint is not None:
            raise OptionError("sample() with checkpoint= needs a seed: the next run would choose other items")
        chosen = fresh_seed() if seed is None else seed
        return list(self._fold(statistics.sample(count, chosen)))

    def foreach(self, function: Callable[[T], Any]) -> None:
        """``for item in self: function(item)``, on the workers; what it returns is dropped there.

        >>> import mrpy
        >>> mrpy.stream("ab", backend="serial").foreach(print)
        a
        b
        """
        self._fold(statistics.COUNT, Map(function_for("foreach", function)))

    def frequencies(self) -> stream.ParallelIterator[tuple[T, int]]:
        """``collections.Counter(self).items()``: pairs of an item and how often it came, in the order in
        which items first came. All NaN are one item, as they are one key, which is shown as a float.

        >>> import mrpy
        >>> mrpy.stream("banana", backend="serial").frequencies().to_list()
        [('b', 1), ('a', 3), ('n', 2)]
        """
        return self._after(Reduced(self, frequencies.FREQUENCIES))

    def sorted(
        self, key: Callable[[T], Any] | object = None, reverse: bool = False
    ) -> stream.ParallelIterator[T]:
        """``sorted(self, key=key, reverse=reverse)``: stable; `key` a function, an index or a name. What does
        not fit into `memory` is sorted on disk; `key` is asked for it more than once, and where the answer is
        another each time, as that of `random.random` is, that is a ValueError.

        >>> import mrpy
        >>> mrpy.stream(["bb", "a", "cc"], backend="serial").sorted(len, reverse=True).to_list()
        ['bb', 'cc', 'a']
        """
        reverse = plain(reverse)
        if not isinstance(reverse, int):
            raise TypeError(f"sorted() needs reverse=True or reverse=False, not {reverse!r:.60}")
        return self._after(sorting.Sorted(self, sorts.by(key, bool(reverse))))

    def topk(self, count: int, key: Callable[[T], Any] | object = None) -> stream.ParallelIterator[T]:
        """``heapq.nlargest(count, self, key=key)``: the largest first; `key` a function, an index or a
        name.

        >>> import mrpy
        >>> mrpy.stream("banana", backend="serial").frequencies().topk(1, key=1).to_list()
        [('a', 3)]
        """
        return self._after(Reduced(self, statistics.largest(at_least("topk", count, 0), key)))


class OfAll:
    """What is made of all items of a run when somebody asks for the first of it: of the run as it was when
    this was made, see `_to_run` of a parallel iterator."""

    run_of_its_own = True

    def __init__(self, items: Any, label: str) -> None:
        self._items, self.label = items._to_run(), label

    @property
    def upstream(self) -> list[Any]:
        return [self._items]

    @property
    def _stages(self) -> int:
        return int(self._items._stages + 1)

    @property
    def _takes(self) -> list[tuple[Any, int]]:
        return [each for run in self.upstream for each in ahead(run._takes)]

    def __str__(self) -> str:
        return f"{self._items} -> {self.label}"


class Reduced(OfAll):
    """The answer of a fold."""

    def __init__(self, items: Reductions[Any], fold: Fold) -> None:
        super().__init__(items, fold.name)
        self._fold = fold

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items._fold(self._fold))

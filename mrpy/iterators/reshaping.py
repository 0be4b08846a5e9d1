"""The part of the chain that looks at several items at once: done as results come, by the consumer.

Each takes the results of what is before it, in order and within its window, and is itself the source of
what comes after it.
"""

from __future__ import annotations

import builtins
import itertools
import operator
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator

from mrpy.iterators.arguments import all_iterable, at_least, function_for, key_for, see_that_all_are_items
from mrpy.iterators.handed import see_that_it_is_new
from mrpy.iterators.sharing import see_that_they_are_apart
from mrpy.light import TYPE_CHECKING, Any, Generic, R, S, Self, T, later, overload
from mrpy.mapreduce.sources import AHEAD, LEFT, taken_by
from mrpy.mapreduce.steps import Body, FlatMap

if TYPE_CHECKING:
    from mrpy.iterators import branches, explain, kept, stream
    from mrpy.mapreduce import partition
    from mrpy.options import Options
else:
    explain, stream = later("mrpy.iterators.explain"), later("mrpy.iterators.stream")
    partition, kept = later("mrpy.mapreduce.partition"), later("mrpy.iterators.kept")
    branches = later("mrpy.iterators.branches")


class Chainable(ABC, Generic[T]):
    """What each part of the chain asks of the parallel iterator."""

    @property
    @abstractmethod
    def _stages(self) -> int:
        """How many stages the items have been through."""

    @property
    @abstractmethod
    def _takes(self) -> list[tuple[Any, int]]:
        """The iterators that this takes its items from: see `mrpy.mapreduce.sources.taken_by`."""

    @abstractmethod
    def _has_begun(self) -> bool:
        """Whether somebody iterates over it."""

    @abstractmethod
    def _to_run(self) -> Self:
        """What is run by a chain on this one."""

    @abstractmethod
    def _options(self) -> Options:
        """The options of the run."""

    @abstractmethod
    def _after(self, items: Iterable[R]) -> stream.ParallelIterator[R]:
        """A parallel iterator over what `items` yields, with the same options."""

    @abstractmethod
    def _then(self, step: Any) -> stream.ParallelIterator[Any]:
        """This iterator with one more narrow step."""


class Reshaping(Chainable[T]):
    """What rearranges a parallel iterator."""

    @abstractmethod
    def __iter__(self) -> Iterator[T]: ...

    @abstractmethod
    def close(self) -> None: ...

    def _by(
        self, name: str, function: Callable[..., Iterator[Any]], *arguments: Any
    ) -> stream.ParallelIterator[Any]:
        shown = [repr(argument) for argument in arguments if type(argument) is int]
        others = [other for group in arguments if type(group) is tuple for other in group]
        if others:
            kept.see_that_each_has_its_own(f"{name}()", [self, *others])
        return self._after(_Reshaped(self, " ".join([name, *shown]), function, arguments, others))

    def batch(self, size: int) -> stream.ParallelIterator[tuple[T, ...]]:
        """``itertools.batched(self, size)`` (of Python 3.12): tuples of so many items, the last one shorter.

        >>> import mrpy
        >>> mrpy.stream(range(5), backend="serial").batch(2).to_list()
        [(0, 1), (2, 3), (4,)]
        """
        return self._by("batch", _batched, at_least("batch", size, 1))

    def unbatch(self: Reshaping[Iterable[R]]) -> stream.ParallelIterator[R]:
        """``itertools.chain.from_iterable(self)``. To `on_error` a batch is one item still, as what comes of
        an item is to `flat_map`: an error behind it that is skipped or replaced takes the rest of its batch
        along."""
        return self._then(FlatMap(_itself))

    def window(self, size: int) -> stream.ParallelIterator[tuple[T, ...]]:
        """``toolz.sliding_window(size, self)``: tuples of neighbours, one step apart.

        >>> import mrpy
        >>> mrpy.stream(range(4), backend="serial").window(3).to_list()
        [(0, 1, 2), (1, 2, 3)]
        """
        return self._by("window", _windows, at_least("window", size, 1))

    def enumerate(self, start: int = 0) -> stream.ParallelIterator[tuple[int, T]]:
        """``enumerate(self, start)``."""
        return self._by("enumerate", builtins.enumerate, operator.index(start))

    @overload
    def zip(self, other: Iterable[R], /, *, strict: bool = ...) -> stream.ParallelIterator[tuple[T, R]]: ...
    @overload
    def zip(
        self, other: Iterable[R], another: Iterable[S], /, *, strict: bool = ...
    ) -> stream.ParallelIterator[tuple[T, R, S]]: ...
    @overload
    def zip(self, *others: Iterable[Any], strict: bool = ...) -> stream.ParallelIterator[tuple[Any, ...]]: ...

    def zip(self, *others: Iterable[Any], strict: bool = False) -> stream.ParallelIterator[Any]:
        """``zip(self, *others, strict=strict)``. The others may be parallel iterators too: all of them
        run on the same workers. Two that take from one iterator, ahead of each other, are a ValueError:
        `tee` gives two that may be zipped.

        >>> import mrpy
        >>> mrpy.stream("ab", backend="serial").zip(range(9)).to_list()
        [('a', 0), ('b', 1)]
        """
        see_that_they_are_apart("zip", [self, *all_iterable("zip", others)], lambda one, other: one or other)
        for other in others:
            see_that_it_is_new(other)
        return self._by("zip", _zipped, others, strict)

    def chain(self, *others: Iterable[R]) -> stream.ParallelIterator[T | R]:
        """``itertools.chain(self, *others)``."""
        inputs = [self, *all_iterable("chain", others)]
        see_that_they_are_apart("chain", inputs, lambda one, other: one == LEFT)
        return self._by("chain", _chained, others)

    def take(self, count: int) -> stream.ParallelIterator[T]:
        """``itertools.islice(self, count)``: the first items; the rest is never asked for.

        >>> import itertools, mrpy
        >>> mrpy.pmap(abs, itertools.count(-3), backend="serial").take(5).to_list()
        [3, 2, 1, 0, 1]
        """
        return self._by("take", itertools.islice, at_least("take", count, 0))

    def skip(self, count: int) -> stream.ParallelIterator[T]:
        """``itertools.islice(self, count, None)``: all but the first items."""
        return self._by("skip", itertools.islice, at_least("skip", count, 0), None)

    def take_while(self, predicate: Callable[[T], Any]) -> stream.ParallelIterator[T]:
        """``itertools.takewhile(predicate, self)``. The predicate runs in the consumer.

        >>> import mrpy
        >>> mrpy.stream([1, 2, 9, 3], backend="serial").take_while(lambda n: n < 5).to_list()
        [1, 2]
        """
        return self._by("take_while", _take_while, function_for("take_while", predicate))

    def distinct(self, key: Callable[[T], Any] | None = None) -> stream.ParallelIterator[T]:
        """``toolz.unique(self, key)``: each item once, where it first comes. Repetitions within a chunk
        are dropped on the worker; the items, or their keys, must be hashable; all NaN are one. What was seen
        is kept in your process; where that is too much, and the order does not matter, write
        ``reduce_by(key, lambda first, _: first)``, whose pairs are of a key and its first item.

        >>> import mrpy
        >>> mrpy.stream("aAbBa", backend="serial").distinct(str.lower).to_list()
        ['a', 'b']
        """
        key = key_for("distinct", key)
        if key is not None:
            see_that_all_are_items(self._options(), "they have no key")
        return self._then(Body(_Unique(key)))._by("distinct", _unique, key)

    def first(self) -> T:
        """``next(iter(self))``: the first item; the rest is not computed. Of one that has begun it is the
        next item, and the rest is left. Raises ValueError if there is none."""
        begun = self._has_begun()
        try:
            for item in self:
                return item
        finally:
            if not begun:
                self.close()
        raise ValueError("first() of no items")

    def peek(self) -> tuple[T, stream.ParallelIterator[T]]:
        """``toolz.peek(self)``: the first item, and an iterator over all, the first one included.
        Raises ValueError at no items.

        >>> import mrpy
        >>> first, all_of_them = mrpy.stream("abc", backend="serial").peek()
        >>> first, all_of_them.to_list()
        ('a', ['a', 'b', 'c'])
        """
        items = iter(self)
        try:
            item = next(items)
        except StopIteration:
            raise ValueError("peek() at no items") from None
        return item, self._after(branches.Same("peek", itertools.chain((item,), items), self, close=True))

    def tee(self, count: int = 2) -> tuple[stream.ParallelIterator[T], ...]:
        """``itertools.tee(self, count)``: iterators over the same items, computed once. What one has
        read and another has not is kept. An error is raised in each of them, at its place. Threads, and tasks
        of asyncio, may each go through one of them.

        >>> import mrpy
        >>> once, again = mrpy.stream("abc", backend="serial").map(str.upper).tee()
        >>> once.to_list(), again.count()
        (['A', 'B', 'C'], 3)
        """
        count = at_least("tee", count, 0)
        items = branches.Lasting(iter(self))
        return tuple(self._after(branches.Branch(copy, self, items)) for copy in itertools.tee(items, count))

    def to_list(self) -> list[T]:
        """``list(self)``."""
        return list(self)


class _Reshaped:
    """``function(items, *arguments)``, begun each time it is iterated, with runs of its own of what is before
    it, as that was when this was made. Where some of that cannot be run again, it is about what is left of
    it. Its end closes these, but what had begun by itself: whoever began that may go on with it."""

    run_of_its_own = True

    def __init__(
        self,
        items: Reshaping[Any],
        label: str,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        others: Iterable[Any],
    ) -> None:
        given = [items, *others]
        runs = _to_run(given)
        self._inputs = _replaced(given, runs)
        self._items = runs[id(items)]
        self._begun = self._items if items._has_begun() else None
        self._others = explain.runs_among(self._inputs[1:])
        self._ours = [run for each, run in zip(given, self._inputs, strict=True) if run is not each]
        self.label = label
        self._function = function
        self._arguments = _with(arguments, runs)

    @property
    def upstream(self) -> list[Any]:
        return [self._items, *self._others]

    @property
    def _stages(self) -> int:
        stages: int = max(each._stages for each in self.upstream)
        return stages

    @property
    def said(self) -> tuple[Any, ...]:
        """By what a checkpoint knows it: see `Plan.program`."""
        plan = getattr(self._items, "_plan", None)
        how = (each for each in self._arguments if callable(each) or isinstance(each, bool))
        return *(plan.program if plan is not None else ()), self.label, *how

    @property
    def _takes(self) -> list[tuple[Any, int]]:
        taken = [each for part in self._inputs for each in taken_by(part)]
        if self._function not in _ENDING:
            return taken
        return [(iterator, LEFT if how == AHEAD else how) for iterator, how in taken]

    def __iter__(self) -> Generator[Any, None, None]:
        run, arguments, ours = self._items, self._arguments, self._ours
        if not self._takes:
            again = _to_run(self._inputs)
            run, arguments, ours = again[id(run)], _with(arguments, again), [*again.values()]
        items = iter(run)  # not ours to close where somebody else iterates over it
        try:
            yield from self._function(items, *arguments)
        finally:
            for each in (run, *ours):
                if each is not self._begun:
                    each.close()

    def __str__(self) -> str:
        return " ".join([f"{self._items} -> {self.label}", *(f"[{other}]" for other in self._others)])


def _to_run(inputs: Iterable[Any]) -> dict[int, Any]:
    """What is run in place of those that are parallel iterators, by their ids: one that stands there twice is
    one run."""
    return {id(each): each._to_run() for each in inputs if isinstance(each, Reshaping)}


def _with(arguments: tuple[Any, ...], runs: dict[int, Any]) -> tuple[Any, ...]:
    """The arguments with these runs in the place of others."""
    return tuple(tuple(_replaced(each, runs)) if type(each) is tuple else each for each in arguments)


def _replaced(inputs: Iterable[Any], by: dict[int, Any]) -> list[Any]:
    return [by.get(id(each), each) for each in inputs]


class _Unique:
    """The distinct items of a stretch: a step for the workers. Those of the whole are among them, however it
    is cut."""

    any_cut = True

    def __init__(self, key: Callable[[Any], Any] | None) -> None:
        self.key = key
        self.__qualname__ = "distinct in chunks"

    def __call__(self, items: Iterator[Any]) -> Iterator[Any]:
        return _unique(items, self.key)


def _unique(items: Iterator[Any], key: Callable[[Any], Any] | None) -> Iterator[Any]:
    seen: set[Any] = set()
    may_be_nan, canonical = partition.MAY_BE_NAN, partition.canonical
    for item in items:
        mark = item if key is None else key(item)
        kind = type(mark)
        if kind is not str and kind is not int and may_be_nan[kind]:
            mark = canonical(mark)
        if mark not in seen:
            seen.add(mark)
            yield item


def _batched(items: Iterator[Any], size: int) -> Iterator[tuple[Any, ...]]:
    while batch := tuple(itertools.islice(items, size)):
        yield batch


def _windows(items: Iterator[Any], size: int) -> Iterator[tuple[Any, ...]]:
    window = deque(itertools.islice(items, size - 1), maxlen=size)
    for item in items:
        window.append(item)
        yield tuple(window)


def _zipped(items: Iterator[Any], others: tuple[Iterable[Any], ...], strict: bool) -> Iterator[Any]:
    return builtins.zip(items, *others, strict=strict)


def _chained(items: Iterator[Any], others: tuple[Iterable[Any], ...]) -> Iterator[Any]:
    return itertools.chain(items, *others)


def _take_while(items: Iterator[Any], predicate: Callable[[Any], Any]) -> Iterator[Any]:
    for item in items:  # `takewhile` would take a StopIteration of the predicate for the end
        if not predicate(item):
            return
        yield item


_ENDING = (itertools.islice, _take_while, _zipped)  # what may end before its input


def _itself(item: Any) -> Any:
    return item

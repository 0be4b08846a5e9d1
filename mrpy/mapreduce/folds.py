"""Folds: reductions as data, and what runs of them on a worker.

A `Fold` says how a leaf of items becomes a partial value, how two partial values become one, and how
the last one becomes the answer. Everything that reduces (`preduce`, `pfold`, sums, counts, `mapreduce`
with a combiner) is one of these, run along the tree of `mrpy.mapreduce.tree`.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import reduce
from itertools import chain, islice
from math import inf
from operator import add, and_, concat, iadd, imatmul, imul, length_hint, matmul, mul, or_, xor
from time import perf_counter
from types import BuiltinFunctionType, FunctionType

from mrpy.errors import Item, pin, pins
from mrpy.light import TYPE_CHECKING, Any, Frozen
from mrpy.mapreduce.chunks import Chunk, Outcome, moved, partly
from mrpy.mapreduce.kernels import Announce, MapChunk, begun, counted, through
from mrpy.mapreduce.random import ahead_of, at_positions
from mrpy.mapreduce.rules import Rules
from mrpy.mapreduce.skipped import Skipped
from mrpy.mapreduce.steps import FlatMap, Step
from mrpy.mapreduce.stretches import Stretches
from mrpy.mapreduce.tree import MISSING, NOTHING, Node, Nothing, combine, leaf_end, leaf_index, merged, total
from mrpy.scheduler.calls import TaskStopped
from mrpy.scheduler.rests import in_hand, offered
from mrpy.scheduler.reuse import CONSTANT, parts_of

if TYPE_CHECKING:
    from typing import TypeVar

    Made = TypeVar("Made")

_QUICK = frozenset((add, mul, min, max))
_PURE = (*_QUICK, or_, and_, xor, matmul, concat)  # they change nothing that they are given
_TYPED = (add, mul, matmul, iadd, imul, imatmul)  # as ufuncs are: the type is that of both together
_NUMERIC = "biufc"  # kinds of arrays
_CHANGED = (list, dict, set, bytearray, deque)  # by operators that do
_IN_PLACE = ("__iadd__", "__ior__", "__iand__", "__imul__")


class Fold(Frozen):
    """A reduction.

    ``leaf``    from an iterator of items to a partial value, or to `NOTHING` where there are none
    ``merge``   from two neighbouring partial values to one; associative
    ``finish``  from the last partial value (or `NOTHING`) to the answer
    ``exact``   the answer is the same wherever neighbours are cut apart, as it is of whole numbers that are
                added: then there are no leaves and no tree, and what a chunk holds is folded at once
    ``leaf_of_many``  as `leaf`, from iterables of items: see `FlatMap.gathered`
    """

    leaf: Callable[[Iterator[Any]], Any]
    merge: Callable[[Any, Any], Any]
    finish: Callable[[Any], Any]
    name: str = "fold"
    exact: bool = False
    leaf_of_many: Callable[[Iterator[Iterable[Any]]], Any] | None = None

    def joined(self, nodes: Iterable[Node]) -> list[Node]:
        """Consecutive nodes, from left to right, as few as can be made of them."""
        return [Node(0, 0, self._from_the_left(nodes))] if self.exact else combine(nodes, self.merge)

    def whole(self, nodes: Iterable[Node]) -> Any:
        """The answer, of all nodes."""
        return self.finish(self._from_the_left(nodes) if self.exact else total(nodes, self.merge))

    def _from_the_left(self, nodes: Iterable[Node]) -> Any:
        value: Any = NOTHING
        for node in nodes:
            value = merged(value, node.value, self.merge)
        return value


class FoldChunk(Frozen):
    """The kernel of the leaves: from a chunk to the nodes that it covers; what was skipped is noted."""

    steps: tuple[Step, ...]
    fold: Fold
    rules: Rules

    @property
    def in_leaves(self) -> bool:
        """See `mrpy.mapreduce.cut_again`."""
        return not self.fold.exact

    def __call__(self, chunk: Chunk, announce: Announce | None = None) -> Any:
        skipped = Skipped(self.rules.max_errors)
        if self.fold.exact and is_fast(self.rules, chunk, announce):
            value, done = self.at_once(chunk)
            return partly(skipped.beside([Node(0, 0, value)]), done)
        nodes, done = in_leaves(chunk, lambda parts: self.nodes(chunk, parts, skipped, announce))
        return partly(skipped.beside(nodes), done)

    def nodes(
        self, chunk: Chunk, parts: Iterable[Chunk], skipped: Skipped, announce: Announce | None = None
    ) -> list[Node]:
        """The nodes of some parts of a chunk, its leaves; what is skipped is added there."""
        fast = is_fast(self.rules, chunk, announce)

        def leaf(part: Chunk) -> Any:
            if fast:
                return self._fast(part, offered(iter(counted(part.data)), heard=False))
            return self._careful(part, skipped, shifted(announce, chunk, part))

        return self.fold.joined(Node(0, leaf_index(part.first, part.largest), leaf(part)) for part in parts)

    def at_once(self, chunk: Chunk) -> tuple[Any, int | None]:
        """The value of all of it, of whose items none fails; and how many are done (None: all), where it
        gives back what is not begun."""
        data = counted(chunk.data)
        value, left = in_hand(data, lambda rest: self._fast(chunk, rest), heard=chunk.gives_back)
        return value, len(data) - left if left else None

    def _fast(self, chunk: Chunk, rest: offered) -> Any:
        items = rest.items if chunk.budget is None else chain.from_iterable(_until(chunk.budget, rest))
        base, above, reading = begun(self.steps, items)

        def position() -> int:
            return chunk.first + len(chunk.data) - rest.left - 1

        before = pins()
        try:
            with at_positions(self._seed(chunk), position, reading):
                return self._leaf(above, base)
        except TaskStopped:
            raise
        except BaseException as error:
            item = chunk.item(position() - chunk.first)
            pin(error, item if reading is None else Item(item.position, reading.where()), before)
            raise

    def _leaf(self, steps: tuple[Step, ...], items: Iterator[Any]) -> Any:
        of_many, last = self.fold.leaf_of_many, steps[-1] if steps else None
        if of_many is not None and isinstance(last, FlatMap):
            return of_many(last.gathered(through(steps[:-1], items)))
        made = through(steps, items)
        value = self.fold.leaf(made)
        deque(made, maxlen=0)  # a leaf may have seen enough; what is behind it may yet be an error
        return value

    def _careful(self, chunk: Chunk, skipped: Skipped, announce: Announce | None) -> Any:
        result: Any = []
        if not skipped.is_over(self.rules.max_errors):  # else nobody uses the answer
            result, _ = MapChunk(self.steps, self.rules).results(chunk, skipped, announce)
        if isinstance(result, Outcome):
            result = result.opened(self.rules.on_error, skipped)
            for index in sorted(result.failures):
                raise result.failures[index].thrown()
            result = result.values
        if callable(self.rules.on_error):
            result = [one for each in result for one in (each if type(each) is Several else (each,))]
        before = pins()
        try:
            with ahead_of(chunk.first, self._seed(chunk)):
                return self.fold.leaf(iter(result))
        except Exception as error:  # of the fold itself: which item it was at is not known here
            pin(error, chunk.some_item(), before)
            raise

    def _seed(self, chunk: Chunk) -> int:
        return self.rules.seed if chunk.seed is None else chunk.seed


def key_of(fold: Fold) -> Callable[[Any], Any] | None:
    """The function of single items that a fold compares them by."""
    key: Callable[[Any], Any] | None = getattr(fold.leaf, "key", None)
    return key


def is_quick(*functions: Any) -> bool:
    """Whether these are ours, or among Python's own for numbers: of what `is_plain` they take no time."""
    return all(_is_quick(part) for function in functions for part in parts_of(function))


def _is_quick(part: Any) -> bool:
    kind = type(part)
    if kind is BuiltinFunctionType:
        return part in _QUICK
    ours = issubclass(kind, FunctionType | type) and str(part.__module__).startswith("mrpy.")
    return ours or kind in CONSTANT


def is_plain(value: Any) -> bool:
    """Whether this is a number, a string, or a tuple of such: nothing with code of the user's."""
    kind = type(value)
    if kind is tuple or (issubclass(kind, tuple) and kind.__module__.startswith("mrpy.")):
        return all(map(is_plain, value))
    return kind in CONSTANT or value is NOTHING


class Several(list[Any]):
    """What `on_error` makes of one item, where that is several results, or none."""


def is_fast(rules: Rules, chunk: Chunk, announce: Announce | None) -> bool:
    """Whether items go straight from the steps into the fold."""
    as_it_is = announce is None and not chunk.excluded and not chunk.separately
    return as_it_is and not rules.retries and rules.on_error == "raise"


def shifted(announce: Announce | None, whole: Chunk, part: Chunk) -> Announce | None:
    """`announce` for a part of a chunk: indexes count from the beginning of the whole."""
    if announce is None:
        return None
    tell, offset = announce, part.first - whole.first
    return lambda at: tell(None if at is None else moved(at, offset))


def _until(budget: float, rest: offered) -> Iterator[Iterator[Any]]:
    """The items, some at a time. What is left when the budget is spent is given back. How many bytes are made
    of them is not looked at: whoever takes them in does that."""
    stretches = Stretches(length_hint(rest.items), budget=budget)
    while size := stretches.next(length_hint(rest.items)):
        yield islice(rest.items, size)
    rest.give_back()


def in_leaves(chunk: Chunk, work: Callable[[Iterator[Chunk]], Made]) -> tuple[Made, int | None]:
    """What `work` makes of a chunk that is cut where leaves end; and how many items are done (None: all): it
    gives back the leaves that are not begun."""
    return _in_parts(chunk, _leaf_ends(chunk), work)


def singly(chunk: Chunk, work: Callable[[Iterator[Chunk]], Made]) -> tuple[Made, int | None]:
    """The same of a chunk that is cut into its items."""
    return _in_parts(chunk, range(chunk.first + 1, chunk.first + len(chunk.data) + 1), work)


def _in_parts(
    chunk: Chunk, ends: Sequence[int], work: Callable[[Iterator[Chunk]], Made]
) -> tuple[Made, int | None]:
    over = inf if chunk.budget is None else perf_counter() + chunk.budget

    def parts(rest: offered) -> Iterator[Chunk]:
        begin = chunk.first
        for end in rest.items:
            yield chunk.part(begin, end)
            begin = end
            if perf_counter() > over:
                rest.give_back()

    made, left = in_hand(ends, lambda rest: work(parts(rest)), heard=chunk.gives_back)
    return made, ends[-left - 1] - chunk.first if left else None


def _leaf_ends(chunk: Chunk) -> list[int]:
    ends = [chunk.first]
    last = chunk.first + len(chunk.data)
    while ends[-1] < last:
        ends.append(min(last, leaf_end(ends[-1], chunk.largest)))
    return ends[1:]


def take_in(
    leaf: Callable[[Iterator[Any]], Any],
    steps: tuple[Step, ...],
    rules: Rules,
    chunk: Chunk,
    skipped: Skipped,
    announce: Announce | None,
) -> int | None:
    """Have a leaf take in all that the steps make of a chunk, some items at a time: where items are skipped,
    say, what is made of them has to be in memory. How many items are done; None: all."""
    kernel = FoldChunk(steps, Fold(leaf, _none, _none, "list"), rules)
    cut = singly if steps and hasattr(steps[0], "begin") else in_leaves
    return cut(chunk, lambda parts: kernel.nodes(chunk, parts, skipped, announce))[1]


def _none(*_: Any) -> Nothing:
    return NOTHING


class MergeNodes(Frozen):
    """The kernel of the inner tree: nodes of neighbouring chunks."""

    fold: Fold

    def __call__(self, _: None, *rows: list[Node]) -> list[Node]:
        return self.fold.joined(node for row in rows for node in row)


class Finish(Frozen):
    """The kernel of the root: all nodes that are left, to the answer."""

    fold: Fold

    def __call__(self, nodes: list[Node] | None, *rows: list[Node]) -> Any:
        return self.fold.whole(nodes if nodes is not None else (node for row in rows for node in row))


# ---- the folds behind the verbs --------------------------------------------------------------------


class ReduceLeaf(Frozen):
    """The leaf of `reduction`. ``spares``: each begins with a copy of its first item, see `_copied`:
    in a plain loop with an initial value no item is on the left, where an operator may change it.
    ``beside``: the initial value, where the answer is known to have the type of both together."""

    operator: Callable[[Any, Any], Any]
    spares: bool
    beside: Any

    def __call__(self, items: Iterator[Any]) -> Any:
        for first in items:
            begin = _copied(first) if self.spares else first
            if self.beside is not NOTHING and hasattr(begin, "dtype"):
                begin = _widened(begin, self.beside)
            return reduce(self.operator, items, begin)
        return NOTHING


def _widened(item: Any, initial: Any) -> Any:
    """Numbers of NumPy in the type that they have beside the initial value, as in the loop that begins with
    it: bytes beside a float do not overflow."""
    import numpy  # it is there, since the item is

    numeric = isinstance(item, numpy.ndarray | numpy.generic) and item.dtype.kind in _NUMERIC
    if isinstance(initial, numpy.ndarray | numpy.generic):
        numeric = numeric and initial.dtype.kind in _NUMERIC
    elif numeric and (exact := exact_kind(initial)) is not None:
        return exact() + item if item.dtype.kind in "biu" else item
    elif not isinstance(initial, int | float | complex):
        return item
    return item.astype(numpy.result_type(initial, item), copy=False) if numeric else item


def exact_kind(number: Any) -> type[Any] | None:
    """Decimal or Fraction, where it is one; for that their modules need not be there."""
    kinds = type(number).__mro__
    return next((kind for kind in kinds if kind.__module__ in ("decimal", "fractions")), None)


def _copied(item: Any) -> Any:
    """A copy of what is changed in place: of other kinds than these, whatever has an operator that does. What
    these hold may be shared by shallow copies. Objects without may be what is to be chosen."""
    kind = type(item)
    if isinstance(item, _CHANGED) or (kind.__name__ == "ndarray" and kind.__module__ == "numpy"):
        return copy.copy(item)
    if any(hasattr(kind, name) for name in _IN_PLACE):
        with suppress(Exception):  # there are those that cannot be copied: with a lock inside, say
            return copy.deepcopy(item)
    return item


class _WithInitial(Frozen):
    operator: Callable[[Any, Any], Any]
    initial: Any

    def __call__(self, value: Any) -> Any:
        if self.initial is NOTHING:
            if value is NOTHING:
                raise TypeError("reduce() of empty iterable with no initial value")
            return value
        return self.initial if value is NOTHING else self.operator(copy.deepcopy(self.initial), value)


def reduction(operator: Callable[[Any, Any], Any], initial: Any = MISSING) -> Fold:
    """``functools.reduce(operator, items, initial)`` for an associative operator."""
    ufunc = type(operator).__name__ == "ufunc"
    pure = ufunc or any(operator is known for known in _PURE)
    typed = ufunc or any(operator is known for known in _TYPED)
    spares = initial is not MISSING and not pure
    leaf = ReduceLeaf(operator, spares, initial if typed else NOTHING)
    return Fold(leaf, operator, _WithInitial(operator, initial), "reduce")


class FoldLeaf(Frozen):
    """The leaf of `folding`: each begins with the initial value."""

    step: Callable[[Any, Any], Any]
    initial: Any

    def __call__(self, items: Iterator[Any]) -> Any:
        for first in items:
            # a copy for each leaf: an accumulator that is changed in place is never shared
            return reduce(self.step, items, self.step(copy.deepcopy(self.initial), first))
        return NOTHING


class _OrInitial(Frozen):
    initial: Any

    def __call__(self, value: Any) -> Any:
        return self.initial if value is NOTHING else value


def folding(step: Callable[[Any, Any], Any], initial: Any, merge: Callable[[Any, Any], Any]) -> Fold:
    """``functools.reduce(step, items, initial)`` where partial results can be merged."""
    return Fold(FoldLeaf(step, initial), merge, _OrInitial(initial), "fold")

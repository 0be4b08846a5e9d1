"""The parallel iterator: what every verb returns, and what chains.

It is a plan until it is iterated, and an ordinary iterator from then on. Steps that look at one item at a
time (`map`, `filter`, `flat_map`, ...) are added to the plan and fused: nothing travels between them.
What looks at several items takes the results as they come, in the consumer's thread; what reduces runs
as a fold along the tree of positions.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import islice
from typing import Any

from mrpy.errors import OptionError
from mrpy.iterators.lift import lift
from mrpy.iterators.order import run_map
from mrpy.mapreduce.folds import MISSING, Fold, folding, reduction
from mrpy.mapreduce.plan import Filter, FlatMap, Map, Plan, StarMap, Step
from mrpy.mapreduce.reduce import run_fold
from mrpy.mapreduce.sources import Pulled
from mrpy.options import Options, resolve
from mrpy.progress import watched
from mrpy.scheduler.current import job_for


class ParallelIterator(Iterator[Any]):
    """A lazy iterator whose items are computed in parallel. Made by `parallel`, `pmap`, `stream`, ...

    Printed, it shows its plan; nothing runs before the first item is asked for. As any iterator it can be
    consumed once. ``close()``, the end of a ``with`` block or simply ``break`` stop what is still running.
    """

    def __init__(self, plan: Plan, given: dict[str, Any]) -> None:
        resolve(given)  # a wrong option is an error here, not at the first item
        self._plan = plan
        self._given = given
        self._running: Generator[Any, None, None] | None = None

    # ---- as an iterator --------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Any]:
        return self._run()

    def __next__(self) -> Any:
        return next(self._run())

    def close(self) -> None:
        """Stop what is running and end the iterator."""
        self._run().close()

    def __enter__(self) -> ParallelIterator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> Generator[Any, None, None]:
        if self._running is None:
            self._running = run_map(self._plan, self._options())  # type: ignore[assignment]
        return self._running  # type: ignore[return-value]

    def _options(self) -> Options:
        return resolve(self._given)

    def __repr__(self) -> str:
        state = "" if self._running is None else ", running"
        return f"<ParallelIterator {self._plan}{state}>"

    # ---- narrow steps: fused ---------------------------------------------------------------------

    def map(self, function: Callable[[Any], Any]) -> ParallelIterator:
        """``map(function, self)``.

        >>> import mrpy
        >>> mrpy.stream([1, 2, 3], backend="serial").map(str).to_list()
        ['1', '2', '3']
        """
        return self._then(Map(function))

    def starmap(self, function: Callable[..., Any]) -> ParallelIterator:
        """``itertools.starmap(function, self)``."""
        return self._then(StarMap(function))

    def filter(self, predicate: Callable[[Any], Any] | None) -> ParallelIterator:
        """``filter(predicate, self)``."""
        return self._then(Filter(bool if predicate is None else predicate))

    def flat_map(self, function: Callable[[Any], Iterable[Any]]) -> ParallelIterator:
        """``itertools.chain.from_iterable(map(function, self))``."""
        return self._then(FlatMap(function))

    def _then(self, step: Step) -> ParallelIterator:
        return ParallelIterator(self._taken().then(step), self._given)

    def _taken(self) -> Plan:
        """The plan, to build upon; once it runs, what is left of it is a plain source."""
        return self._plan if self._running is None else Plan(Pulled(self._running))

    # ---- the consumer's side -----------------------------------------------------------------------

    def take(self, count: int) -> ParallelIterator:
        """``itertools.islice(self, count)``: the first items; the rest is never asked for.

        >>> import itertools, mrpy
        >>> mrpy.pmap(abs, itertools.count(-3), backend="serial").take(5).to_list()
        [3, 2, 1, 0, 1]
        """
        return self._after(_Taking(self, count))

    def _after(self, items: Iterable[Any]) -> ParallelIterator:
        return ParallelIterator(Plan(Pulled(items)), self._given)

    # ---- reductions --------------------------------------------------------------------------------

    def reduce(self, operator: Callable[[Any, Any], Any], initial: Any = MISSING) -> Any:
        """``functools.reduce(operator, self, initial)`` for an associative operator."""
        return self._fold(reduction(operator, initial))

    def fold(
        self,
        step: Callable[[Any, Any], Any],
        initial: Any,
        combine: Callable[[Any, Any], Any] = operator.add,
    ) -> Any:
        """``functools.reduce(step, self, initial)`` where partial results can be combined. `initial`
        must be neutral: every part starts with a copy of it."""
        return self._fold(folding(step, initial, combine))

    def to_list(self) -> list[Any]:
        """``list(self)``."""
        return list(self)

    def _fold(self, fold: Fold) -> Any:
        options = self._options()
        if options.on_error == "return":
            raise OptionError("on_error='return' puts exceptions among the items; a reduction cannot add them")
        plan = self._taken()
        with job_for(options) as job, watched(job, plan, options):
            return run_fold(plan, fold, job, options)


class _Taking:
    """The first items of an iterator, which is closed behind the last of them."""

    def __init__(self, source: ParallelIterator, count: int) -> None:
        self._source = source
        self._count = count

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from islice(self._source, self._count)
        finally:
            self._source.close()


def stream_of(iterable: Iterable[Any], given: dict[str, Any]) -> ParallelIterator:
    """A parallel iterator over anything: lifted where that is possible."""
    if isinstance(iterable, ParallelIterator):
        return ParallelIterator(iterable._taken(), {**iterable._given, **given})
    return ParallelIterator(lift(iterable), given)

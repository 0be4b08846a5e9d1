"""Parts of a program that are run by themselves, since what is over them looks at several at once; and whole
parallel iterators that are, as the source of another one.

What becomes of an item that fails there is said where the whole is run: see `mrpy.mapreduce.marks`. That asks
them for marks (``marking``); else they raise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from mrpy.errors import OptionError
from mrpy.light import TYPE_CHECKING, later
from mrpy.mapreduce.account import Account
from mrpy.mapreduce.marks import marked, marks_for_rows
from mrpy.mapreduce.plan import Plan
from mrpy.mapreduce.sources import Pulled, ahead, is_run, stages_of, taken_by
from mrpy.options import resolve

if TYPE_CHECKING:
    from typing import Any, Self

    from mrpy.iterators import explain, graph, kept, order
    from mrpy.iterators.builtin import Given
    from mrpy.iterators.graph import Graph
    from mrpy.iterators.stream import ParallelIterator
    from mrpy.mapreduce.skipped import Skipped
else:
    order = later("mrpy.iterators.order")  # what it takes to run something
    explain, graph = later("mrpy.iterators.explain"), later("mrpy.iterators.graph")  # or to look at it
    kept = later("mrpy.iterators.kept")


class Part:
    """One of them, or several together."""

    run_of_its_own = True
    marks = False  # for failures

    def marking(self) -> Self:
        """The same, where failures are marks."""
        made = object.__new__(type(self))  # `copy` would cost every script a millisecond
        vars(made).update(vars(self), marks=True)
        return made


class Inner(Part):
    """A part of a program that is run in parallel by itself, as the source of the rest."""

    _stages = property(lambda self: self._plan.stages)
    _takes = property(lambda self: ahead(taken_by(self._plan.source)))

    def __init__(self, plan: Plan, given: Given) -> None:
        self._plan = plan
        self._given = given
        self._account = Account()

    def __iter__(self) -> Iterator[Any]:
        options = resolve(self._given)
        if options.checkpoint is not None and self._plan.steps:
            raise OptionError(
                f"checkpoint={str(options.checkpoint)!r}: a file keeps the chunks of one run, and {self} is "
                "a part that is run by itself; write mrpy.parallel(part, checkpoint=...) in its place, and "
                "give no checkpoint here"
            )
        options = options.replaced(on_error=marked if self.marks else "raise", max_errors=None)
        return order.Run(self._plan, lambda: options, self._account).items

    def __str__(self) -> str:
        return f"[{self._plan}]"

    def explain(self) -> str:
        """The text of `explain`."""
        return explain.explained(self._plan, resolve(self._given), self._given, self._account)

    def _skips(self) -> list[Skipped]:
        return explain.skips(self._plan, self._account)

    def _draw(self, drawn: Graph) -> str:
        return graph.draw(self._plan, drawn, resolve(self._given).ordered)


class Joined(Part):
    """``function(*parts)``, where some of the parts are run by themselves."""

    _stages = property(lambda self: max((stages_of(Pulled(part)) for part in self._parts), default=0))
    _takes = property(lambda self: [each for part in self._parts for each in taken_by(part)])

    def __init__(self, label: str, parts: list[Iterable[Any]], function: Callable[..., Iterable[Any]]):
        self.label = label
        self._parts = parts
        self._function = function

    @property
    def upstream(self) -> list[Any]:
        return [run for part in self._parts for run in explain.upstream(Plan(Pulled(part)))]

    def __iter__(self) -> Iterator[Any]:
        kept.see_that_each_has_its_own(self.label, self._parts)
        made = self._function(*map(self._as_this, self._parts))
        return marks_for_rows(made) if self.marks else iter(made)

    def _as_this(self, part: Iterable[Any]) -> Iterable[Any]:
        return part.marking() if self.marks and isinstance(part, Part) else part

    def __str__(self) -> str:
        return f"{self.label} of {', '.join(str(Pulled(part)) for part in self._parts)}"


class Chained(Joined):
    """What is in the parts that ``function(*parts)`` gives, one part after the other."""

    def __iter__(self) -> Iterator[Any]:
        kept.see_that_each_has_its_own(self.label, self._parts)
        parts = self._function(*self._parts)
        yield from chain.from_iterable(map(self._as_this, parts))  # that closes nothing that others hold


class ByItself:
    """A parallel iterator that runs by itself, as the source of another one: as often as that is run."""

    run_of_its_own = True

    def __init__(self, items: ParallelIterator[Any]) -> None:
        self._items = items._again()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items._again())

    def __str__(self) -> str:
        return str(self._items)

    @property
    def _stages(self) -> int:
        return self._items._stages

    @property
    def _takes(self) -> list[tuple[Any, int]]:
        return self._items._takes

    def explain(self) -> str:
        """The text of `explain`."""
        return self._items.explain()

    def _skips(self) -> list[Skipped]:
        return self._items._skips()

    def _draw(self, drawn: Graph) -> str:
        return self._items._draw(drawn)


def joined(label: str, parts: list[Iterable[Any]], function: Callable[..., Iterable[Any]]) -> Plan:
    """A plan over parts. Where none of them is run by itself, it is a plain source."""
    runs = any(is_run(part) for part in parts)
    return Plan(Pulled(Joined(label, parts, function) if runs else function(*parts)))


def inner(plan: Plan, given: Given) -> Iterable[Any]:
    """A lifted part as an iterable. A plain source is pulled as it is."""
    if not plan.steps and isinstance(plan.source, Pulled):
        return plan.source.iterable
    return Inner(plan, given)


def inner_in_order(plan: Plan, given: Given) -> Iterable[Any]:
    """The same for what counts its items, or pairs them with others, also where the whole is not ordered."""
    return inner(plan, {**given, "ordered": True})

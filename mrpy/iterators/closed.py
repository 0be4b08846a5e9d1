"""What is left of a run that was closed: what it was and where its time went, but none of the iterators that
it took items from. These end, too, where nobody else has them."""

from __future__ import annotations

from mrpy.iterators.stream import ParallelIterator
from mrpy.light import TYPE_CHECKING
from mrpy.mapreduce.sources import Pulled, is_once

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from mrpy.mapreduce.plan import Plan


def closed(plan: Plan) -> Plan:
    """The plan, to be looked at: without its source, if that can be gone through but once."""
    source = plan.source
    if type(source) is not Pulled or not is_once(source):
        return plan
    iterable: Any = source.iterable
    if hasattr(type(iterable), "_draw"):
        return plan.replaced(source=Pulled(_without_sources(iterable)))
    before = [_without_sources(run) for run in getattr(iterable, "upstream", ())]
    skipped = iterable._skips() if hasattr(type(iterable), "_skips") else []
    label = getattr(iterable, "label", "")
    return plan.replaced(source=Pulled(LetGo(str(source), label, before, skipped)))


def _without_sources(run: Any) -> Any:
    """A copy of one that is shown as a run, since others may go on with it; with the same account."""
    if isinstance(run, ParallelIterator):
        made: Any = type(run)(closed(run._plan), run._given)
        made._account, made._blocks = run._account, run._blocks
        return made
    made = object.__new__(type(run))
    vars(made).update(vars(run))
    if hasattr(run, "_sides"):  # of a shuffle
        made._sides = [type(side)(closed(side.plan), side.mapper) for side in run._sides]
    elif hasattr(run, "_items"):
        made._items = _without_sources(run._items)
    else:
        made._plan = closed(run._plan)
    return made


class LetGo:
    """What is left of an iterator that was closed: what it says of itself."""

    shows_plan = True
    _stages, _takes = 0, ()

    def __init__(self, name: str, label: str, upstream: list[Any], skipped: list[Any]) -> None:
        self._name, self.label, self.upstream, self._skipped = name, label, upstream, skipped

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __str__(self) -> str:
        return self._name

    def _skips(self) -> list[Any]:
        return [*self._skipped, *(each for run in self.upstream for each in run._skips())]

"""What is left of a run that was closed: what it was and where its time went, but none of the iterators that
it took items from. These end, too, where nobody else has them. What it was is said when somebody asks."""

from __future__ import annotations

from mrpy.iterators import explain
from mrpy.iterators.builtin import Items
from mrpy.iterators.inner import ByItself
from mrpy.iterators.stream import ParallelIterator
from mrpy.light import TYPE_CHECKING
from mrpy.mapreduce.sources import Pulled, shows_its_plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from mrpy.mapreduce.account import Account
    from mrpy.mapreduce.plan import Plan
    from mrpy.mapreduce.skipped import Skipped


def closed(plan: Plan) -> Plan:
    """The plan, to be looked at: without the iterators in its source."""
    left = _Left()
    plan = left.of_plan(plan)
    left.fill()
    return plan


class _Left:
    """What is left of several iterators: each is made once, though many branches of `tee` may come from it,
    and filled later, as a chain may be longer than the stack is deep."""

    def __init__(self) -> None:
        self._made: dict[int, Any] = {}
        self._empty: list[tuple[Any, Any]] = []

    def of_plan(self, plan: Plan) -> Plan:
        """The plan over what is left of its source."""
        if type(plan.source) is not Pulled:
            return plan
        return plan.replaced(source=Pulled(self._of(plan.source.iterable)))

    def fill(self) -> None:
        """Those that were made, and all that they come from."""
        while self._empty:
            whole, left = self._empty.pop()
            (self._fill if type(left) is LetGo else self._fill_run)(whole, left)

    def _of(self, iterable: Any) -> Any:
        if type(iterable) is LetGo:
            return iterable
        if id(iterable) not in self._made:
            shown_as_a_run = hasattr(type(iterable), "_draw")
            left = _copy(iterable) if shown_as_a_run else LetGo(type(iterable))
            self._made[id(iterable)] = left
            self._empty.append((iterable, left))
        return self._made[id(iterable)]

    def _fill_run(self, run: Any, left: Any) -> None:
        if hasattr(run, "_sides"):  # of a shuffle
            left._sides = [type(side)(self.of_plan(side.plan), side.mapper) for side in run._sides]
        elif isinstance(run, ByItself):
            left._items = self._of(run._items)
        else:
            left._plan = self.of_plan(run._plan)

    def _fill(self, iterable: Any, left: LetGo) -> None:
        if not shows_its_plan(iterable):
            left.name = str(Pulled(iterable))
        elif isinstance(iterable, Items):
            left.plan, left.account = self.of_plan(iterable.plan), iterable.account
        else:
            left.label = getattr(iterable, "label", "")
            left.upstream = [self._of(run) for run in iterable.upstream]
            left._parts = [self._of(part) for part in getattr(iterable, "_parts", ())]


def _copy(run: Any) -> Any:
    """One that is shown as a run, since others may go on with it; with the same account."""
    if isinstance(run, ParallelIterator):
        copy: Any = type(run)(run._plan, run._given)
        copy._account, copy._blocks = run._account, run._blocks
        return copy
    copy = object.__new__(type(run))
    vars(copy).update(vars(run))
    return copy


class LetGo:
    """What is left of an iterator that was closed: what one of its kind says of itself."""

    shows_plan = True
    _stages, _takes = 0, ()
    name = label = ""
    upstream: Sequence[Any] = ()
    _parts: Sequence[Any] = ()
    plan: Plan
    account: Account

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    @property
    def _items(self) -> Any:
        return self.upstream[0]

    @property
    def _others(self) -> Sequence[Any]:
        return self.upstream[1:]

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __str__(self) -> str:
        return self.name or str(self._kind.__str__(self))

    def _skips(self) -> list[Skipped]:
        if self._kind is Items:
            return explain.skips(self.plan, self.account)
        return [each for run in self.upstream for each in run._skips()]

"""What ``on_error="skip"`` left out: how much, and the first of it.

A worker adds up what it skips of a chunk, and notes it beside the chunk's value (`Noted`). The consumer adds
up the notes as they arrive, and ends the run where that is too much. A note comes with the value that is
used, so an item counts once, however often it or its chunk was tried.
"""

from __future__ import annotations

from collections.abc import Iterable

from mrpy.errors import Item, TooManyErrors
from mrpy.inside import Place, inside
from mrpy.light import TYPE_CHECKING, later
from mrpy.scheduler.calls import Noted

if TYPE_CHECKING:
    from typing import Any

    from mrpy.scheduler import failure as failing
    from mrpy.scheduler.failure import Failure
else:
    failing = later("mrpy.scheduler.failure")  # only where something failed

SHOWN = 5  # failures that are kept; the rest is a number


class Skipped:
    """Items that were skipped; printed, it lists the first of them.

    ``count``     how many; where files are read, records
    ``replaced``  whether a function as ``on_error`` has put something in the place of an item
    ``failures``  the first of them, by their positions in the source: each with its ``item``, ``type_name``
                  and ``message``
    """

    __slots__ = ("_last", "count", "failures", "limit", "replaced")

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit  # of the run
        self.count = 0
        self.replaced = False
        self.failures: list[Failure] = []
        self._last: BaseException | Failure | None = None  # where there is a limit: it may be one too many

    def add(self, error: BaseException, item: Item) -> bool:
        """One more; say whether to go on: beyond the limit of the run there is no use in it."""
        self.count += 1
        if len(self.failures) < SHOWN or item.position < _position(self.failures[-1]):
            self._keep([failing.Failure(type(error).__qualname__, failing.short_str(error), item=item)])
        if self.limit is None:
            return True
        self._last = error
        return not self.is_over(self.limit)

    def join(self, other: Skipped) -> None:
        """All that are counted there too."""
        self.count += other.count
        self._keep(other.failures)

    def _keep(self, failures: list[Failure]) -> None:
        self.failures = sorted([*self.failures, *failures], key=_position)[:SHOWN]

    def is_over(self, limit: int | None) -> bool:
        """Whether they are more than that."""
        return limit is not None and self.count > limit

    def beside(self, value: Any) -> Any:
        """The value of a call with this as its note, if there is anything to note. Where the limit was
        passed the call did not go on: nobody is to use what it made."""
        if not self.count and not self.replaced:
            return value
        if isinstance(self._last, BaseException):  # only now, and of one: a traceback is long
            self._last = failing.capture(self._last, travels=inside.place is Place.ELSEWHERE)
        return Noted(None if self.is_over(self.limit) else value, self)

    def let_go(self) -> None:
        """Keep no exception any more: its traceback has hold of all that the task held."""
        self._last = None

    def too_many(self, limit: int, last: Skipped) -> TooManyErrors:
        """What the run ends with, at the end of a task that skipped these last ones."""
        problem = TooManyErrors(f"{self}\nThat is more than max_errors={limit}.", self.count, limit)
        cause = last._last
        problem.__cause__ = cause if isinstance(cause, BaseException | None) else cause.thrown()
        return problem

    def lines(self) -> list[str]:
        """The number, and the first ones: a line each."""
        many = "1 item was" if self.count == 1 else f"{self.count:,} items were"
        more = self.count - len(self.failures)
        lines = [f"  {failure.item} ({_what(failure)})" for failure in self.failures]
        return [f"{many} skipped{':' * bool(lines)}", *lines, *[f"  and {more:,} more"] * bool(more)]

    def __bool__(self) -> bool:
        return self.count > 0

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def __repr__(self) -> str:
        return f"<Skipped: {self.count:,}>"


def _position(failure: Failure) -> int:
    assert failure.item is not None, "it was made with one"
    return failure.item.position


def _what(failure: Failure) -> str:
    text = failure.message.partition("\n")[0]
    return f"{failure.type_name}: {text}" if text else failure.type_name


def together(several: Iterable[Skipped]) -> Skipped:
    """What was skipped in all of them."""
    whole = Skipped()
    for each in several:
        whole.join(each)
    return whole

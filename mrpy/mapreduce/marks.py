"""What stands in the place of an item that failed in a part of a program that is run by itself.

`on_error` is about the items of the whole program. A part of it that is run by itself, as each input of a
``zip`` is, does not know which item of the whole its own will be in: left out there, it would shift all that
follow against those beside them. So in a part a failure is a `Mark`, which goes on as an item; a row that has
one is that mark; and where the whole is run, the first step (`Settled`) finds it, and `on_error` is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mrpy.inside import Place, inside
from mrpy.light import TYPE_CHECKING, Frozen, later

if TYPE_CHECKING:
    from typing import Any

    from mrpy.scheduler import failure as failing
    from mrpy.scheduler.failure import Failure
else:
    failing = later("mrpy.scheduler.failure")  # only where something failed


class Mark:
    """A failure on its way to those who run the whole."""

    __slots__ = ("failure",)

    def __init__(self, failure: Failure) -> None:
        self.failure = failure

    def __reduce__(self) -> tuple[type[Mark], tuple[Failure]]:
        live = self.failure.live
        return Mark, (self.failure if live is None else failing.capture(live, travels=True),)

    def __repr__(self) -> str:
        return f"<{self.failure.type_name}: {self.failure.message}>"


def marked(error: BaseException) -> Mark:
    """The `on_error` of a part."""
    return Mark(failing.capture(error, travels=inside.place is Place.ELSEWHERE))


class Known(BaseException):
    """Raised at a mark: this item is known to fail. It is not tried again, and no stage takes it for an error
    that it could see to."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure


class Settled(Frozen):
    """The first step over parts whose failures are marks: behind it there are none."""

    def over(self, items: Iterator[Any]) -> Iterator[Any]:
        for item in items:
            if type(item) is Mark:
                raise Known(item.failure)
            yield item

    def __str__(self) -> str:
        return "items"


def marks_for_rows(made: Iterable[Any]) -> Iterator[Any]:
    """The same, with a mark, of several the first, in the place of each row that has one."""
    for item in made:
        if type(item) is tuple:
            for member in item:
                if type(member) is Mark:
                    yield member
                    break
            else:
                yield item
        else:
            yield item

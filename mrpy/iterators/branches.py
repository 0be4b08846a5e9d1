"""What `peek` and `tee` give: iterators over the items of another, which these may share."""

from __future__ import annotations

from _thread import RLock
from collections.abc import Generator, Iterator
from contextlib import suppress

from mrpy.errors import Cancelled
from mrpy.light import TYPE_CHECKING
from mrpy.mapreduce.sources import ON_DEMAND, waits_its_turn
from mrpy.scheduler.current import next_for_all

if TYPE_CHECKING:
    from typing import Any

    from mrpy.iterators.reshaping import Reshaping


class Same:
    """An iterator over the items of `owner`, which is closed at its end where that is asked for."""

    shows_plan = True

    def __init__(
        self, label: str, items: Iterator[Any], owner: Reshaping[Any], *, close: bool = False
    ) -> None:
        self.label = label
        self.upstream = [owner]
        self._items = items
        self._close = close

    def __iter__(self) -> Generator[Any, None, None]:
        try:
            yield from self._items
        finally:
            if self._close:
                self.upstream[0].close()

    @property
    def _stages(self) -> int:
        return self.upstream[0]._stages

    @property
    def _takes(self) -> list[tuple[Any, int]]:
        return [(self._items, ON_DEMAND)]

    def __str__(self) -> str:
        return f"{self.upstream[0]} -> {self.label}"


class Branch(Same):
    """What `tee` gives. Others may be gone through in threads of their own: one at a time asks for an item
    that none has had; what is kept waits for nobody."""

    def __init__(self, copy: Iterator[Any], owner: Reshaping[Any], common: Lasting) -> None:
        super().__init__("tee", copy, owner)
        self._common = common
        self._had = 0

    def __iter__(self) -> Generator[Any, None, None]:
        common, copy = self._common, self._items
        with suppress(StopIteration):
            while True:
                if self._had < common.had:
                    item = next(copy)
                else:
                    with common.turn:
                        item = next(copy)
                        if self._had == common.had:  # else another has had it meanwhile
                            common.had += 1
                self._had += 1
                yield item


class Lasting:
    """An iterator that raises its error again where it is asked again; after Ctrl-C, that there was one.
    ``had``: how many items of it branches of `tee` have had; ``turn``: of the one that asks for the next."""

    had = 0

    def __init__(self, items: Iterator[Any]) -> None:
        self.turn = RLock()  # it is an error of `tee` where the source itself asks a branch
        self._items = items
        self._error: BaseException | None = None

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._error is not None:
            raise self._error
        try:
            return next_for_all(self._items)
        except StopIteration:
            raise
        except BaseException as error:
            self._error = error if waits_its_turn(error) else _interrupted(error)
            raise


def _interrupted(by: BaseException) -> Cancelled:
    """What the others get: the interrupt was for one of them."""
    return Cancelled(f"the run was ended by {by!r} in another branch of tee()")

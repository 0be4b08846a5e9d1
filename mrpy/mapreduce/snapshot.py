"""Dictionaries, sets, and lists backwards: they cannot be cut, and are listed when a run begins."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable
from operator import length_hint

from mrpy.light import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any


class Snapshot:
    """What cannot be cut, and may change until the run begins: a list of it is made when that asks for items.

    ``kind``   what it is called
    ``count``  says how many items there are now
    ``items``  lists them
    """

    def __init__(self, kind: str, count: Callable[[], int], items: Callable[[], list[Any]]) -> None:
        self.kind, self._count, self._items = kind, count, items
        self._list: list[Any] | None = None

    def __len__(self) -> int:
        known = self._count() if self._list is None else 0
        return known or len(self._listed())  # it may be wrong that there are none: then this says so

    def __getitem__(self, part: slice) -> list[Any]:
        return self._listed()[part]

    def _listed(self) -> list[Any]:
        if self._list is None:
            self._list = self._items()
        return self._list


def left_of(iterator: Any, view: Callable[[Any], Any]) -> Snapshot | None:
    """What an iterator over a set or a dictionary, or a view of one, has left; it is at its end then. None
    where it is so already, or where what it goes over has changed."""
    held = gc.get_referents(iterator)
    whole = next((part for part in held if isinstance(part, dict | set | frozenset)), None)
    size = 0 if whole is None else len(whole)
    gone = size - length_hint(iterator)
    if whole is None or gone == size > 0:
        return None
    deque(iterator, maxlen=0)

    def items() -> list[Any]:
        if len(whole) != size:
            kind = "dictionary" if isinstance(whole, dict) else "Set"
            raise RuntimeError(f"{kind} changed size during iteration")
        return list(view(whole))[gone:]

    return Snapshot(type(view(whole)).__name__, lambda: len(whole) - gone, items)

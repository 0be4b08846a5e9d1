"""What a task has not begun of its items, given back while it runs, since others have nothing to do.

    consumer   some workers are idle, and a chunk is out for long ──> `Backend.ask_back`
    worker     `ask` ends the iterator over the items; what was not begun is cut again, for all

An iterator over a list, a tuple or a range is ended by setting its state. That costs nothing per item, and
whoever runs over it sees an end like any other.
"""

from __future__ import annotations

import sys
from _operator import length_hint
from _thread import get_ident

from mrpy.light import TYPE_CHECKING, signal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

ASK: int | None = signal.SIGRTMIN + 6 if hasattr(signal, "SIGRTMIN") else None  # to a worker: out of the air

_offers: dict[int, offered] = {}  # by thread


class offered:
    """While this is open, whoever asks this thread gets back what is left of ``items``, an iterator of a kind
    whose state can be set. ``heard``: unless nobody is to be."""

    __slots__ = ("_before", "_heard", "_left", "items")

    def __init__(self, items: Iterator[Any], *, heard: bool) -> None:
        self.items = items
        self._heard = heard
        self._left: list[int] = []

    @property
    def was_given(self) -> bool:
        """Whether something was given back."""
        return any(self._left)

    @property
    def left(self) -> int:
        """How many items are not begun: they were given back, or are still to come."""
        while True:
            asked = len(self._left)
            left = length_hint(self.items) + sum(self._left)
            if asked == len(self._left):  # else somebody came in between
                return left

    def give_back(self) -> None:
        """For any thread. How many are left is noted, and the iterator ended, in one call that never leaves
        C and so never gives the interpreter lock away: nobody can take an item in between."""
        items: Any = self.items
        noted = map(self._left.append, map(length_hint, (items,)))
        list(zip(noted, map(items.__setstate__, (sys.maxsize,)), strict=False))

    def __enter__(self) -> offered:
        if self._heard:
            self._before = _offers.get(get_ident())  # of the run whose task runs this one
            _offers[get_ident()] = self
        return self

    def __exit__(self, *_: object) -> None:
        if not self._heard:
            return
        if self._before is None:
            _offers.pop(get_ident(), None)
        else:
            _offers[get_ident()] = self._before


def ask(thread: int | None) -> None:
    """Have the task of this thread give back what it has not begun, if it offers that. For any thread."""
    offer = _offers.get(thread or 0)
    if offer is not None:
        offer.give_back()


def be_asked() -> None:
    """In a worker process, from now on: by a signal, which its main thread hears amid the user's function."""
    if ASK is not None:
        thread = get_ident()
        signal.signal(ASK, lambda *_: ask(thread))
        signal.siginterrupt(ASK, False)

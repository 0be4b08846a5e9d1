"""What a task has not begun of its items, given back while it runs, since others have nothing to do.

    consumer   some workers are idle, and a chunk is out for long ──> `Backend.ask_back`
    worker     `ask` ends the iterator over the items; what was not begun is cut again, for all

In a worker process a thread waits for that: the main one is in the user's function, and a signal handler
there would cut short what sleeps in C.

An iterator over a list, a tuple or a range is ended by setting its state. That costs nothing per item, and
whoever runs over it sees an end like any other.
"""

from __future__ import annotations

import sys
from _operator import length_hint
from _thread import get_ident, start_new_thread

from mrpy.light import TYPE_CHECKING, signal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, TypeVar

    Made = TypeVar("Made")

ASK: int | None = signal.SIGRTMIN + 6 if hasattr(signal, "SIGRTMIN") else None  # to a worker: out of the air

_offers: dict[int, offered] = {}  # by thread


class offered:
    """While this is open, whoever asks this thread gets back what is left of ``items``, an iterator of a kind
    whose state can be set. ``heard``: unless nobody is to be."""

    __slots__ = ("_heard", "_left", "items")

    def __init__(self, items: Iterator[Any], *, heard: bool) -> None:
        self.items = items
        self._heard = heard and get_ident() not in _offers  # else a task is meant that this one is within
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
        global _by_signal
        if self._heard:
            if _by_signal:
                _by_signal = False
                start_new_thread(_listen, (get_ident(),))
            _offers[get_ident()] = self
        return self

    def __exit__(self, *_: object) -> None:
        if self._heard:
            _offers.pop(get_ident(), None)


def in_hand(
    units: Sequence[Any], work: Callable[[offered], Made], *, heard: bool
) -> tuple[Made, int]:
    """What `work` makes of some units, which are offered meanwhile; and how many of them were given back."""
    while True:
        with offered(iter(units), heard=heard) as rest:
            made = work(rest)
        if not rest.was_given:
            return made, 0
        if rest.left < len(units):
            return made, rest.left
        # else the task before was meant, and nothing of this one was begun


def ask(thread: int | None) -> None:
    """Have the task of this thread give back what it has not begun, if it offers that. For any thread."""
    offer = _offers.get(thread or 0)
    if offer is not None:
        offer.give_back()


_by_signal = False  # this is a worker process, and nobody waits for the signal yet


def be_asked() -> None:
    """In a worker process: from the first offer on, by a signal, which no thread of the user's hears, unless
    he unblocks all there are."""
    global _by_signal
    if ASK is not None:
        signal.signal(ASK, signal.SIG_IGN)  # else it would end a worker then
        signal.pthread_sigmask(signal.SIG_BLOCK, (ASK,))
        _by_signal = True


def _listen(asked: int) -> None:
    assert ASK is not None
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # these are for the main thread
    while True:
        signal.sigwait((ASK,))
        ask(asked)

"""What happened, written down: replay a run from its facts, tell the story of one task.

A `Trace` is an observer, which is told of every batch of facts too by whoever has the scheduler: the tests of
the state machine, and who looks for a fault in it. No session makes one. It never steers: a run with a trace
takes the same decisions as one without.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable
from contextlib import suppress

from mrpy.light import NamedTuple
from mrpy.scheduler.messages import Fact, Key, Moved, Order
from mrpy.scheduler.policy import DEFAULT, Policy
from mrpy.scheduler.scheduler import Observer, Scheduler


def tell(observers: list[Observer], moved: Moved) -> None:
    """Tell the observers. One that raises is dropped: observers never steer."""
    for observer in tuple(observers):
        try:
            observer(moved)
        except Exception as error:
            with suppress(Exception):  # it is gone already, or there is no standard error
                observers.remove(observer)
                print(f"mrpy: an observer was dropped: {error!r}", file=sys.stderr)


class Step(NamedTuple):
    """One call of `Scheduler.handle`: what went in, and when."""

    time: float
    facts: tuple[Fact, ...]


class Trace:
    """A log of facts and moves. ``limit`` bounds how many of each are kept; None keeps all, and only a
    trace that kept all can be replayed."""

    def __init__(self, limit: int | None = None) -> None:
        self.steps: deque[Step] = deque(maxlen=limit)
        self.moves: deque[Moved] = deque(maxlen=limit)

    def told(self, facts: Iterable[Fact], now: float) -> None:
        """Somebody handed these facts to the scheduler."""
        self.steps.append(Step(now, tuple(facts)))

    def __call__(self, moved: Moved) -> None:
        """A task made a move."""
        self.moves.append(moved)

    def story(self, key: Key) -> str:
        """The life of one task, dead or alive, one move a line."""
        lines = [
            f"{moved.time:.6f} {moved.old.value} -> {moved.new.value} ({moved.move.value})"
            for moved in self.moves
            if moved.task.key == key
        ]
        return "\n".join(lines) or f"nothing is known of {key!r}"


def replay(steps: Iterable[Step], policy: Policy = DEFAULT) -> list[list[Order]]:
    """Hand the same facts to a new scheduler; return its orders, step by step."""
    scheduler = Scheduler(policy=policy)
    return [scheduler.handle(step.facts, step.time) for step in steps]

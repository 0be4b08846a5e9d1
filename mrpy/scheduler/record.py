"""What the scheduler remembers of one live task. Data only: the rules are in `scheduler.py`."""

from __future__ import annotations

from collections.abc import Sequence

from mrpy.light import TYPE_CHECKING
from mrpy.scheduler.failure import At, Failure
from mrpy.scheduler.messages import Key, Task
from mrpy.scheduler.states import Move, State

if TYPE_CHECKING:
    from typing import TypeAlias

Turn: TypeAlias = tuple[bool, int, Key]  # where it stands in the queue: urgent ones first, then by age

_WAITING = State.WAITING


class Record:
    """One live task. What few tasks ever need is None until one does: a record is made for each."""

    __slots__ = (
        "attempt", "deadline", "deaths", "dependents", "failure", "failures", "held", "history", "item",
        "item_deaths", "key", "missing", "number", "sources", "state", "task", "timer", "turn", "users",
    )  # fmt: skip

    def __init__(self, task: Task, number: int) -> None:
        self.task = task
        self.key = key = task.key
        self.number = number  # of its life: no two have the same, even if their keys are
        self.turn: Turn = (not task.urgent, number, key)
        self.state = _WAITING
        self.attempt = 0
        self.sources: Sequence[Record] = ()  # the inputs of which it is a user
        self.missing = 0  # inputs that are not DONE yet
        self.users = 0  # live tasks that need this one's value
        self.held = True  # its adder has not abandoned it
        self.dependents: dict[Record, None] | None = None  # those who still wait for it, in order
        self.failures = 0
        self.deaths = 0
        self.item_deaths: dict[At | None, int] | None = None  # None: of nobody in particular
        self.item: At | None = None  # the one that runs now, where it was announced
        self.deadline: float | None = None
        self.timer: float | None = None  # its entry among the timers; never later than the deadline
        self.failure: Failure | None = None
        self.history: list[float | Move] | None = None  # time, move, time, move, ...

    def story(self) -> str:
        """Its life so far, one move a line."""
        history = self.history or []
        moves = zip(history[::2], history[1::2], strict=True)
        return "\n".join(f"{time:.6f} {self.key!r} {move.value}" for time, move in moves)  # type: ignore[union-attr]

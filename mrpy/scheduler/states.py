"""The law of a task's life: two enums, one table, one look-up.

Two rules for this room. Nothing about a lifecycle is kept anywhere else as a boolean, and nothing but
the lifecycle is kept here: no time, no policy, no I/O. A row that is missing is an illegal move.

    WAITING ──unblock──> READY ──start──> RUNNING ──succeed──> DONE ──release──> RELEASED
       │ │                │ ^                │ │ │
       │ └─cancel─┐       │ └─────retry──────┘ │ └──stop──> STOPPING ──cancel──> CANCELLED
       │          └> CANCELLED <──cancel       │
       └──fail──> FAILED <────────fail─────────┘
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from mrpy.errors import IllegalMove


class State(Enum):
    """Where a task is in its life."""

    WAITING = "waiting"  # some of its inputs are not there yet
    READY = "ready"  # could run; waits for a slot, or for the end of its back-off
    RUNNING = "running"  # handed to the backend, which owes one fact
    STOPPING = "stopping"  # the backend was told to stop it, and still owes that fact
    DONE = "done"  # its value lies in the backend, and somebody still wants it
    RELEASED = "released"  # its value is no longer wanted: the end
    FAILED = "failed"  # it raised, was lost too often, or an input failed: the end
    CANCELLED = "cancelled"  # nobody wanted it any more, or its time was up: the end

    __hash__ = object.__hash__  # members are singletons; Enum's own hash goes through the name


class Move(Enum):
    """What can happen to a task."""

    UNBLOCK = "unblock"  # the last missing input arrived
    START = "start"  # a slot was free
    SUCCEED = "succeed"  # the backend holds the value
    FAIL = "fail"  # the user's exception, a crash blamed on the task, or a failed input
    RETRY = "retry"  # it will be tried once more
    STOP = "stop"  # abandoned or out of time while it runs
    CANCEL = "cancel"  # the end of a task that nobody wants
    RELEASE = "release"  # nobody needs its value any more

    __hash__ = object.__hash__


TABLE: dict[tuple[State, Move], State] = {
    (State.WAITING, Move.UNBLOCK): State.READY,
    (State.WAITING, Move.FAIL): State.FAILED,
    (State.WAITING, Move.CANCEL): State.CANCELLED,
    (State.READY, Move.START): State.RUNNING,
    (State.READY, Move.CANCEL): State.CANCELLED,
    (State.RUNNING, Move.SUCCEED): State.DONE,
    (State.RUNNING, Move.FAIL): State.FAILED,
    (State.RUNNING, Move.RETRY): State.READY,
    (State.RUNNING, Move.STOP): State.STOPPING,
    (State.STOPPING, Move.CANCEL): State.CANCELLED,
    (State.DONE, Move.RELEASE): State.RELEASED,
}

ON_BACKEND = frozenset({State.RUNNING, State.STOPPING})  # these hold a slot


def after(state: State, move: Move, story: Callable[[], str] | None = None) -> State:
    """Return the state that `move` leads to. `story` is only told when there is none.

    >>> after(State.READY, Move.START)
    <State.RUNNING: 'running'>
    >>> after(State.DONE, Move.START)
    Traceback (most recent call last):
        ...
    mrpy.errors.IllegalMove: a task that is done cannot start
    """
    try:
        return TABLE[state, move]
    except KeyError:
        tale = f"; its story so far:\n{story()}" if story else ""
        raise IllegalMove(f"a task that is {state.value} cannot {move.value}{tale}") from None

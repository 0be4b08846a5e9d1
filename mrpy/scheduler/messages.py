"""What is said to the scheduler and what it answers: one immutable class per meaning.

Facts go in (something happened), orders come out (somebody shall do something). Both are plain data
without methods; named tuples, since thousands are made in a second, and a frozen dataclass takes three
times as long to make. The scheduler never looks into a `Call`: what a task computes is not its business.
"""

from __future__ import annotations

from collections.abc import Hashable

from mrpy.light import TYPE_CHECKING, NamedTuple
from mrpy.scheduler.failure import At, Failure
from mrpy.scheduler.states import Move, State

if TYPE_CHECKING:
    from typing import Any, TypeAlias

Key: TypeAlias = Hashable


class Input(NamedTuple):
    """A value that a task needs: all of task `key`, or the one part of it that is numbered `part`."""

    key: Key
    part: int | None = None


class Task(NamedTuple):
    """One thing to compute: ``call`` applied to the values of ``inputs``.

    ``keep``     hold the value (or the failure) until somebody abandons it; else it is handed over with
                 the report and forgotten
    ``urgent``   goes before all that are not: what frees memory (a merge) before what fills it (a chunk)
    ``retries``  how often the user's exception is answered by another attempt
    ``timeout``  seconds that one item may run, counted from its own start
    ``careful``  announce each item from the first attempt on: it was seen that something in it kills
    ``size``     how many items it stands for: for observers and messages
    ``again``    of these, so many were among those of a task that has succeeded
    ``waiter``   which thread waits for it: of all its tasks one runs at any time, be it beyond the slots
    """

    key: Key
    call: Any
    inputs: tuple[Input, ...] = ()
    keep: bool = False
    urgent: bool = False
    retries: int = 0
    timeout: float | None = None
    careful: bool = False
    size: int = 1
    again: int = 0
    waiter: int | None = None


# ---- facts: what happened ------------------------------------------------------------------------


class Added(NamedTuple):
    """Somebody wants these tasks."""

    tasks: tuple[Task, ...]


class Began(NamedTuple):
    """The worker starts with item `item` of the task (sent only when somebody has to know). None: it is
    through with the items, and what follows is nobody's in particular."""

    key: Key
    attempt: int
    item: At | None


class Through(NamedTuple):
    """The worker is through with all that is the user's (sent only where items are announced). To hand the
    value over takes as long as it takes: whoever is to take it may be busy."""

    key: Key
    attempt: int


class Succeeded(NamedTuple):
    """The backend holds the value; it took `seconds` of work, and `pickling` to open and write what
    travelled."""

    key: Key
    attempt: int
    seconds: float = 0.0
    pickling: float = 0.0


class Failed(NamedTuple):
    """The call raised."""

    key: Key
    attempt: int
    failure: Failure


class Lost(NamedTuple):
    """The place where it ran is gone. `item` is the one it was at, if known.

    A task that had merely queued on the dead worker is lost without blame.
    """

    key: Key
    attempt: int
    failure: Failure
    item: At | None = None
    blame: bool = True


class Stopped(NamedTuple):
    """The backend carried out a Stop. `trace`: where the task was then, as far as that can be told."""

    key: Key
    attempt: int
    trace: str = ""


class Abandoned(NamedTuple):
    """Nobody wants these any more. Unknown keys are fine: they were forgotten already."""

    keys: tuple[Key, ...]


class Slots(NamedTuple):
    """The backend takes this many tasks at once from now on."""

    count: int  # type: ignore[assignment]  # a tuple's method of that name is not missed here


Fact: TypeAlias = Added | Began | Through | Succeeded | Failed | Lost | Stopped | Abandoned | Slots


# ---- orders: what shall be done ------------------------------------------------------------------


class Start(NamedTuple):
    """Run this. `careful`: say which item begins (see `Began`), because an attempt before was lost
    or a timeout has to be kept. `suspect`: one was lost, with its worker."""

    task: Task
    attempt: int
    careful: bool
    suspect: bool = False


class Stop(NamedTuple):
    """End this attempt soon, by force if need be."""

    key: Key
    attempt: int


class Release(NamedTuple):
    """Forget the value."""

    key: Key


class Report(NamedTuple):
    """Tell whoever added it how the task ended; the only report it will get."""

    key: Key
    state: State
    failure: Failure | None = None
    seconds: float = 0.0
    pickling: float = 0.0


class WakeAt(NamedTuple):
    """Call `handle` at this time, unless something happens before. Replaces the last one; None: no need."""

    time: float | None


Order: TypeAlias = Start | Stop | Release | Report | WakeAt


class Moved(NamedTuple):
    """What observers are told: `task` made this move at this time."""

    task: Task
    move: Move
    old: State
    new: State
    time: float

"""Whether this thread runs a task just now, where, and on which item. Everyone above may look."""

from __future__ import annotations

from _contextvars import ContextVar  # as `_local`: the part in C, without the import of `contextvars`
from _thread import _local  # `threading.local`, without the import of `threading`: workers start sooner
from collections.abc import Callable

from mrpy.light import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")


class Place(str):
    """Where a task runs, seen from the user who asked for it. Compared by identity, as members of an Enum
    are; to be one would cost every worker 2 ms at its start."""

    NOWHERE: Place  # no task runs in this thread
    HERE: Place  # in the user's own thread: a serial backend
    THREAD: Place  # in another thread of his process
    ELSEWHERE: Place  # in another process: whatever leaves the task is pickled


Place.NOWHERE, Place.HERE = Place("nowhere"), Place("here")
Place.THREAD, Place.ELSEWHERE = Place("thread"), Place("elsewhere")


class _Inside(_local):
    """What this thread is doing."""

    place = Place.NOWHERE
    give_way: Callable[[int], None] | None = None  # with 1: let one more task run; with -1: it is back
    position: Callable[[], int] | None = None  # asked, it says which item is at work

    def __init__(self) -> None:  # for each thread
        self.waiters = [0]  # how many wait in it: for all of them together it gives way once

    @property
    def task(self) -> bool:
        """Whether a task runs in this thread, or one waits for it as far as its context knows."""
        return self.place is not Place.NOWHERE or bool(_running.get())


inside = _Inside()

# The task whose context this is: a list that is emptied when the task ends, since a copy of its context,
# which `asyncio.to_thread` carries into another thread, may outlive it.
_running: ContextVar[list[Place]] = ContextVar("mrpy_running", default=[])  # stays empty


def is_ctrl_c(error: BaseException) -> bool:
    """Whether it is the user's own, and not the doing of the item that is at work."""
    return inside.place is Place.HERE and isinstance(error, KeyboardInterrupt)


class taken:
    """While this is open, this thread runs a task."""

    __slots__ = ("_before", "_token", "running")

    def __init__(self, place: Place) -> None:
        self.running = [place]

    def __enter__(self) -> None:
        self._before, inside.place = inside.place, self.running[0]
        self._token = _running.set(self.running)

    def __exit__(self, *_: object) -> None:
        inside.place = self._before
        _running.reset(self._token)
        self.running.clear()


def carried() -> Callable[[], None]:
    """To be called in a thread that works for this one and nobody else: it takes this one's place."""
    place, give_way = inside.place, inside.give_way

    def carry() -> None:
        inside.place, inside.give_way = place, give_way

    return carry


# A signal that comes when a thread has let go of the interpreter lock, but does not sleep yet, wakes nobody.
# So who waits for others looks once more after so many seconds, and again.
LOOK_EVERY = 0.5


class giving_way:
    """While this is open, this thread waits. Where it runs a task, another may run in the meantime: the one
    that is waited for may have to."""

    __slots__ = ("_give_way", "_waiters")

    def __enter__(self) -> None:
        self._give_way, self._waiters = inside.give_way, inside.waiters  # another may close a coroutine
        self._waiters[0] += 1
        if self._give_way is not None and self._waiters[0] == 1:
            self._give_way(1)

    def __exit__(self, *_: object) -> None:
        self._waiters[0] -= 1
        if self._give_way is not None and self._waiters[0] == 0:
            self._give_way(-1)


def waiting(block: Callable[[], T]) -> T:
    """Call what blocks this thread, which gives way meanwhile."""
    if inside.give_way is None:  # there is no task, and this is asked for each delivery
        return block()
    with giving_way():
        return block()

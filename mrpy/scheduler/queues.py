"""The scheduler's two queues: who may start, and who is to be looked at when. And how long to wait for that.

Entries name a task by its key, and die with it or when it moves on. A dead entry is passed over when its
turn comes. Where that may take long (slots that stay busy, timeouts of hours), a queue that is mostly dead
is cleared of them: amortized, for nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from heapq import heapify, heappop, heappush

from mrpy.scheduler.messages import Key
from mrpy.scheduler.record import Record, Turn
from mrpy.scheduler.states import State

SPARE = 32  # dead entries that are not worth clearing away; out of the air

_READY = State.READY


def sooner(timeout: float | None, due: float | None, now: float) -> float | None:
    """How long to wait where a span of time and a time of the clock end it, each if there is such.

    >>> sooner(None, None, 7.0), sooner(3.0, None, 7.0), sooner(3.0, 8.0, 7.0), sooner(None, 6.0, 7.0)
    (None, 3.0, 1.0, 0.0)
    """
    if due is None:
        return timeout
    left = max(0.0, due - now)
    return left if timeout is None else min(left, timeout)


class Ready:
    """Those that could start, by their turn.

    Most come in the order in which they are to go. They stand in a line, which costs the same however long
    it is; whoever has to go before the last of the line is in a heap beside it.
    """

    def __init__(self, records: Mapping[Key, Record]) -> None:
        self.dead = 0
        self._records = records
        self._line: deque[Turn] = deque()
        self._others: list[Turn] = []

    def __len__(self) -> int:
        return len(self._line) + len(self._others)

    def push(self, record: Record) -> None:
        """It could start."""
        turn, line = record.turn, self._line
        if not line or line[-1] < turn:
            line.append(turn)
        else:
            heappush(self._others, turn)

    def pop(self) -> Record | None:
        """Take out the next to start."""
        line, others = self._line, self._others
        while line or others:
            turn = heappop(others) if others and not (line and line[0] < others[0]) else line.popleft()
            record = self._records.get(turn[2])
            if record is not None and record.turn is turn and record.state is _READY:
                return record
            self.dead -= 1  # cancelled in the meantime
        return None

    def leave(self) -> None:
        """One that stood here was cancelled."""
        self.dead += 1

    def prune(self) -> None:
        """Clear away the dead where they are most."""
        if self.dead > len(self._records) + SPARE:
            self._line = deque(filter(self._lives, self._line))
            self._others = list(filter(self._lives, self._others))
            heapify(self._others)
            self.dead = 0

    def _lives(self, turn: Turn) -> bool:
        record = self._records.get(turn[2])
        return record is not None and record.turn is turn and record.state is _READY


class Waiter:
    """A thread that waits for tasks: how many of them run, and those that could start, once more."""

    __slots__ = ("busy", "ready")

    def __init__(self, ready: Ready) -> None:
        self.ready = ready
        self.busy = 0


class Timers:
    """When to look at whom: the end of a back-off, or of the time that an item has.

    A deadline that moves on, as it does with each item that begins, leaves its entry where it is; the entry
    is put back when it comes up too early. So a thousand quick items cost one entry, not a thousand.
    """

    def __init__(self, records: Mapping[Key, Record]) -> None:
        self._records = records
        self.entries: list[tuple[float, int, Key]] = []

    def set(self, record: Record, time: float) -> None:
        """Look at it at this time, and no more at the time that was set before."""
        record.deadline = time
        if record.timer is None or record.timer > time:  # else it will be looked at before that
            record.timer = time
            heappush(self.entries, (time, record.number, record.key))

    def due(self, now: float) -> Iterator[Record]:
        """Those whose time has come."""
        while self.entries and self.entries[0][0] <= now:
            entry = heappop(self.entries)
            if not self._lives(entry):
                continue
            record = self._records[entry[2]]
            record.timer = None
            if record.deadline is not None and record.deadline > now:  # moved on since
                self.set(record, record.deadline)
            elif record.deadline is not None:
                yield record

    def first(self) -> float | None:
        """When to look again."""
        if len(self.entries) > 2 * len(self._records) + SPARE:
            self.entries = list(filter(self._lives, self.entries))
            heapify(self.entries)
        while self.entries and not self._lives(self.entries[0]):
            heappop(self.entries)
        return self.entries[0][0] if self.entries else None

    def _lives(self, entry: tuple[float, int, Key]) -> bool:
        record = self._records.get(entry[2])
        return record is not None and record.number == entry[1] and record.timer == entry[0]

"""The attempts that a Dask cluster owes an answer for, and what there is to say where none can come.

A worker with several threads runs several of them. Who killed it is not known then: all that were there are
run again, one at a time, and whoever is there at the next death is to blame.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from mrpy.errors import BackendError, WorkerCrashed
from mrpy.scheduler import messages as m
from mrpy.scheduler.failure import At, of, overran


class Ticket:
    """One attempt that the cluster owes an answer for."""

    __slots__ = (
        "address", "future", "item", "note", "number", "order", "pid", "seconds", "since", "size", "stopping",
    )  # fmt: skip

    def __init__(self, number: int, order: m.Start) -> None:
        self.number = number
        self.order = order
        self.future: Any = None
        self.address: str | None = None  # where it runs
        self.pid = 0
        self.since = math.inf  # when that was heard, or of the last item: `time.monotonic`
        self.item: At | None = None  # the last one announced
        self.seconds, self.size = 0.0, 0
        self.note: bytes | None = None
        self.stopping = False

    @property
    def is_timed(self) -> bool:
        """Whether a time is kept for what it runs."""
        return self.order.task.timeout is not None

    @property
    def is_overdue(self) -> bool:
        """Whether the time of what it runs is up."""
        return self.is_timed and time.monotonic() - self.since >= self.order.task.timeout  # type: ignore[operator]

    @property
    def suspect(self) -> bool:
        """Whether it was there when a worker died."""
        return self.order.suspect


class Suspects:
    """Who is run one at a time, once it is seen that workers run several."""

    def __init__(self) -> None:
        self._several = False
        self._at_work: Ticket | None = None
        self._waiting: deque[Ticket] = deque()

    def may_begin(self, ticket: Ticket) -> bool:
        """Whether it may now; else it waits."""
        if not (self._several and ticket.suspect):
            return True
        if self._at_work is not None:
            self._waiting.append(ticket)
            return False
        self._at_work = ticket
        return True

    def after(self, ticket: Ticket) -> Ticket | None:
        """This one is answered, or is not wanted: who may begin now?"""
        if ticket in self._waiting:
            self._waiting.remove(ticket)
        if ticket is self._at_work:
            self._at_work = self._waiting.popleft() if self._waiting else None
            return self._at_work
        return None

    def of_a_death(self, there: list[Ticket]) -> Iterator[tuple[Ticket, bool]]:
        """All that were there when a worker died, and whether what they were at is to blame."""
        suspects = sum(ticket.suspect for ticket in there)
        self._several = self._several or len(there) > 1
        for ticket in there:
            yield ticket, len(there) == 1 or (suspects == 1 and ticket.suspect)


GONE = "the Dask cluster is gone, or cannot be reached any more: the connection to its scheduler is lost"
# sent again, it would come back again
ORPHANED = (
    "results that this needed are lost: was the Dask cluster restarted, or the connection to its scheduler "
    "lost? Run it again"
)
SIGSTOP = "somebody had stopped it (SIGSTOP), so it was killed"


def failed(ticket: Ticket, why: str) -> m.Failed:
    """It cannot be run, for what is the cluster's matter."""
    return m.Failed(ticket.order.task.key, ticket.order.attempt, of(BackendError(why)))


def lost(ticket: Ticket, blame: bool, *, by_its_item: bool = True, how: str = "") -> m.Lost:
    """Its worker is. ``blame``: what ran there may have been the cause; and so its item, where it is known to
    have been this one. ``how``: it ended, if known."""
    task, item = ticket.order.task, ticket.item if by_its_item else None
    where = f" {ticket.address}" if ticket.address else ""
    error = of(WorkerCrashed(f"the Dask worker{where} was lost while it ran this" + (how and f": {how}")))
    if how == SIGSTOP and ticket.is_overdue:
        assert task.timeout is not None, "it is timed"
        error = overran(task.timeout, item)
    return m.Lost(task.key, ticket.order.attempt, error, item, blame)

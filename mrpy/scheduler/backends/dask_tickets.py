"""The attempts that a Dask cluster owes an answer for, and what there is to say where none can come."""

from __future__ import annotations

from typing import Any

from mrpy.errors import BackendError, WorkerCrashed
from mrpy.scheduler import messages as m
from mrpy.scheduler.failure import At, of


class Ticket:
    """One attempt that the cluster owes an answer for."""

    __slots__ = ("address", "future", "item", "note", "order", "pid", "seconds", "size", "stopping")

    def __init__(self, order: m.Start) -> None:
        self.order = order
        self.future: Any = None
        self.address: str | None = None  # where it runs
        self.pid = 0
        self.item: At | None = None  # the last one announced
        self.seconds, self.size = 0.0, 0
        self.note: bytes | None = None
        self.stopping = False


def gone(ticket: Ticket) -> m.Failed:
    """The cluster is."""
    gone = BackendError("the Dask cluster is gone, or cannot be reached any more")
    return m.Failed(ticket.order.task.key, ticket.order.attempt, of(gone))


def lost(ticket: Ticket, blame: bool) -> m.Lost:
    """Its worker is. ``blame``: what ran there may have been the cause."""
    where = f" {ticket.address}" if ticket.address else ""
    crash = WorkerCrashed(f"the Dask worker{where} was lost while it ran this")
    return m.Lost(ticket.order.task.key, ticket.order.attempt, of(crash), ticket.item, blame)

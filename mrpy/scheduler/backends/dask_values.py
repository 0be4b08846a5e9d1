"""Values that lie on a Dask cluster, seen from here."""

from __future__ import annotations

import asyncio
from typing import Any

from mrpy.errors import BackendError
from mrpy.scheduler import codec
from mrpy.scheduler.backends import dask_worker as w
from mrpy.scheduler.inbox import Inbox
from mrpy.scheduler.job import next_of


class Far:
    """A value on the cluster. Holds its Future, so it outlives its release."""

    __slots__ = ("future", "nbytes", "note")

    def __init__(self, future: Any, nbytes: int, note: bytes | None) -> None:
        self.future = future
        self.nbytes = nbytes
        self.note = None if note is None else codec.decode(codec.Payload(note))

    def is_gone(self) -> bool:
        """Whether the cluster does not have it any more, nor knows how to make it again."""
        return self.future.status in ("cancelled", "lost")

    def load(self) -> Any:
        """Bring it here and open it."""
        try:
            stored: w.Stored = _fetched(self.future)
        except MemoryError as error:
            what = f"this process has no memory left for a result of {self.nbytes:,} bytes"
            raise BackendError(what) from error
        except (Exception, asyncio.CancelledError) as error:
            what = "a result is lost: before it was asked for its session or cluster was closed, or restarted"
            raise BackendError(f"{what} ({error!r})") from error
        return stored.load()


def _fetched(future: Any) -> Any:
    """What `future.result()` is. But that, on a Ctrl-C, has Dask end the fetching, after which Dask's client
    may fetch nothing any more; here it ends our waiting only."""
    came: Inbox[tuple[Any, BaseException | None]] = Inbox()  # whose locks no Ctrl-C can break

    async def fetch() -> None:
        try:
            came.put((await future, None))
        except BaseException as error:  # also that the loop ends
            came.put((None, error))

    future.client.loop.asyncio_loop.call_soon_threadsafe(lambda: asyncio.ensure_future(fetch()))
    value, error = next_of(came, None)
    if error is None:
        return value
    try:
        raise error
    finally:
        del error  # whose traceback has this frame

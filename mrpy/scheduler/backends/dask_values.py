"""Values that lie on a Dask cluster, seen from here."""

from __future__ import annotations

import asyncio
import time
from queue import Empty
from typing import Any, NamedTuple

from mrpy.errors import BackendError, ResultLost
from mrpy.inside import LOOK_EVERY
from mrpy.light import R
from mrpy.scheduler import codec
from mrpy.scheduler.backends import dask_worker as w
from mrpy.scheduler.inbox import Inbox
from mrpy.scheduler.job import next_of

_LOST = (
    "a result is lost: before it was asked for its session or cluster was closed, or restarted, or the "
    "connection to its scheduler was lost"
)
A_WHILE = 30.0  # seconds for what is there to come here, where somebody has less patience; out of the air


class Making(NamedTuple):
    """How it is made again where it is lost. Not the task itself, which has all its items."""

    retries: int = 0
    is_timed: bool = False


ONCE = Making()


class Far:
    """A value on the cluster. Holds its Future, so it outlives its release. ``on_its_way``: the values that
    somebody waits for; this one is among them while it is."""

    __slots__ = ("_fetching", "future", "making", "nbytes", "note", "on_its_way")

    def __init__(
        self,
        future: Any,
        nbytes: int,
        note: bytes | None,
        on_its_way: list[Far] | None = None,
        making: Making = ONCE,
    ) -> None:
        self.future = future
        self.nbytes = nbytes
        self.note = None if note is None else codec.decode(codec.Payload(note))
        self.making = making
        self.on_its_way = [] if on_its_way is None else on_its_way
        self._fetching: asyncio.Future[w.Stored] | None = None

    @property
    def is_timed(self) -> bool:
        """Whether a time is kept for what makes it again."""
        return self.making.is_timed

    def is_gone(self) -> bool:
        """Whether the cluster does not have it any more, nor knows how to make it again."""
        return self.future.status in ("cancelled", "lost")

    def bring(self, until: float) -> bool:
        """Have it here, so that `load` does not wait. False: it has not come by then; it still may. What lies
        there, and is not lost, comes as soon as it can, and so is waited for a while longer."""
        try:
            self._fetched(until)
        except Empty:
            return False
        except (Exception, asyncio.CancelledError):  # noqa: S110 - so `load` says
            pass
        return True

    def load(self) -> Any:
        """Bring it here and open it."""
        try:
            stored = self._fetched(None)
        except MemoryError as error:
            what = f"this process has no memory left for a result of {self.nbytes:,} bytes"
            raise BackendError(what) from error
        except w.Raised as error:
            what = "a result was lost with its worker, and when it was made again the function raised"
            why = codec.decode(codec.Payload(error.args[0])).exception()
            raise BackendError(f"{what} {type(why).__name__}: {why}") from why
        except (Exception, asyncio.CancelledError) as error:
            kind = ResultLost if self.is_gone() else BackendError
            raise kind(f"{_LOST} ({getattr(error, 'reason', None) or repr(error)})") from error
        finally:
            self._fetching = None  # not held twice
        return stored.load()

    async def _made(self) -> w.Stored:
        """It itself. Where it was lost and cannot be made again at once, it has its retries for that."""
        for _ in range(self.making.retries):
            try:
                return await self.future  # type: ignore[no-any-return]
            except w.Raised:
                self.future._state.retry()  # else it would raise at once, where the scheduler's word is late
                await self.future.client.scheduler.retry(keys=[self.future.key], client=self.future.client.id)
        return await self.future  # type: ignore[no-any-return]

    def _fetched(self, until: float | None) -> w.Stored:
        """What `future.result()` is. But that, on a Ctrl-C, has Dask end the fetching, after which Dask's
        client may fetch nothing any more; here it ends our waiting only, as `Empty` does."""
        came: Inbox[tuple[w.Stored | None, Any]] = Inbox()  # whose locks no Ctrl-C can break

        async def fetch() -> None:
            fetching = self._fetching = self._fetching or asyncio.ensure_future(self._made())
            try:
                came.put((await fetching, None))
            except BaseException as error:  # also that the loop ends
                came.put((None, error))

        try:
            self.on_its_way.append(self)
            loop = self.future.client.loop.asyncio_loop
            loop.call_soon_threadsafe(lambda: asyncio.ensure_future(fetch()))
            stored, error = self._next_of(came, until)
        finally:
            self.on_its_way.remove(self)
        if stored is not None:
            return stored
        try:
            raise error
        finally:
            del error  # whose traceback has this frame

    def _next_of(self, came: Inbox[R], until: float | None) -> R:
        longest = max(until or 0.0, time.monotonic() + A_WHILE)  # its worker may say nothing
        while True:
            try:
                return next_of(came, until)
            except Empty:
                until = time.monotonic() + LOOK_EVERY
                if self.future.status in ("lost", "pending") or until > longest:
                    raise

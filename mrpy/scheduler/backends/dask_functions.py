"""The functions that a Dask cluster holds for a session: each is sent once, and opened once on each worker.

One that nobody will send again is dropped there, where it is large, or has to be torn down.
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

from mrpy.scheduler.backends import dask_worker as w
from mrpy.scheduler.backends.dask_opened import LARGE, forget
from mrpy.scheduler.calls import Code

KEPT = 64  # functions held on the cluster; out of the air
TORN_DOWN = 10.0  # seconds for functions to be dropped, and for what they do at their end, at most


class Functions:
    """``topic``: that of the session. ``send`` has the cluster hold something; ``wake`` is called, in any
    thread, when something is not used any more. ``tear_down``: what was sent may do something at its end."""

    def __init__(self, client: Any, topic: str, send: Callable[..., Any], wake: Callable[[], None]) -> None:
        self._client, self._topic = client, topic
        self._send, self._wake = send, wake
        self._held: OrderedDict[int, tuple[Any, Any]] = OrderedDict()  # a Future; and what tells of the end
        self._before = self._held
        self._unused: deque[int] = deque()
        self.tear_down = False

    def future_of(self, code: Code) -> Any:
        """What a call is sent with in the place of its function."""
        number, unused, wake = code.number, self._unused, self._wake
        if number not in self._held:

            def note(_: Any) -> None:  # in any thread
                unused.append(number)
                wake()

            blob = code.blob()
            matters = code.torn_down or len(blob) >= LARGE
            self.tear_down = self.tear_down or code.torn_down
            told = weakref.ref(code, note) if matters else None
            self._held[number] = self._send("code", w.keep, blob), told
            if len(self._held) > KEPT:
                self._held.popitem(last=False)  # tasks under way keep it alive
        self._held.move_to_end(number)
        return self._held[number][0]

    def send_again(self) -> None:
        """They may be gone there. What is not is held until the next time: workers would drop the function,
        which is still sent for."""
        self._held, self._before = OrderedDict(), self._held

    def drop_unused(self) -> None:
        """Have workers drop them, without waiting for it."""
        numbers = [self._unused.popleft() for _ in range(len(self._unused))]
        for number in numbers:
            self._held.pop(number, None)
            self._before.pop(number, None)
        if numbers:
            self._client.loop.add_callback(self._run, forget, numbers)

    async def drop_all(self) -> int:
        """Have workers drop all of them. Returns how many say that they have said all. Never raises."""
        return await self._run(w.forget_all)

    async def _run(self, what: Any, *args: Any) -> int:
        with contextlib.suppress(Exception):  # workers may be gone, or at something that does not let them
            how = *args, self.tear_down
            asked = self._client.run(what, self._topic, *how, asynchronous=True, on_error="ignore")
            return len(await asyncio.wait_for(asked, TORN_DOWN))
        return 0

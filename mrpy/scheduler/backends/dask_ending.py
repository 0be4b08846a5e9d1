"""How calls on a Dask worker are ended before they are through.

A session says so for its own workers (`interrupt`), and ends those that do not hear. On somebody else's it
may be gone itself, by a ``kill -9``, say. There Dask's own word is enough, that nobody wants a call any more;
and what was opened for calls goes as well (`Watch`).
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from math import inf
from time import perf_counter
from typing import Any

from distributed import WorkerPlugin
from distributed.utils import sync

from mrpy.scheduler.backends.alarm import SOON, take_back, throws_into
from mrpy.scheduler.backends.dask_opened import drop_unheld, is_of_function
from mrpy.scheduler.calls import TaskStopped

GRACE = 0.5  # seconds that a stopped task has to end by itself before its worker, if ours, is killed
STUCK = 1.0  # seconds more, behind which nobody there can have had the interpreter lock to see to that

_running: dict[Any, int] = {}  # calls at work in this process, by Dask's key, and their threads
_stopped: set[Any] = set()  # those of them into which something was thrown
_lock = threading.Lock()


def begins(key: Any) -> None:
    """A call begins in this thread: from here on it can be ended."""
    with _lock:
        _running[key] = threading.get_ident()


def is_through(key: Any) -> None:
    """The call is over: from here on nothing is thrown into this thread."""
    with _lock:
        _running.pop(key, None)
        if key in _stopped:
            _stopped.remove(key)
            take_back(threading.get_ident())


async def interrupt(key: Any, ours: bool) -> None:
    """End a call, if it still runs. Pure Python ends at once. A call that does not ends with its worker,
    which is then started anew - but only if it is ours."""
    ends = perf_counter() + (GRACE if ours else inf)
    while True:
        with _lock:
            thread = _running.get(key)
            if thread is None:
                return
            if thrown := throws_into(thread, TaskStopped):
                _stopped.add(key)
            if thrown or perf_counter() > ends:
                break
        await asyncio.sleep(SOON)
    await asyncio.sleep(GRACE if ours and thrown else 0)
    if ours and key in _running:
        os._exit(1)


def end(client: Any, key: Any, address: str, pid: int) -> None:
    """From the session, on a worker of its own, and without waiting. One that does not even answer is killed
    from here: its task keeps the interpreter lock to itself."""

    async def ask() -> None:
        asked = client.run(interrupt, key, True, workers=[address], asynchronous=True)
        try:
            await asyncio.wait_for(asked, GRACE + STUCK)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        except Exception:  # noqa: S110 - it is gone, or so is the cluster
            pass

    client.loop.add_callback(ask)


class Watch(WorkerPlugin):
    """Ends calls on somebody else's worker that nobody wants any more, as Dask has it: they were cancelled,
    or whoever wanted them is gone. Drops functions that nobody can send for."""

    name = "mrpy-watch"

    def setup(self, worker: Any) -> None:
        self._worker = worker

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        if finish != "released":
            return
        if key in _running:
            self._worker.loop.add_callback(interrupt, key, False)
        elif is_of_function(key):
            self._worker.loop.add_callback(drop_unheld, self._worker, key)


def watch(worker: Any, key: Any) -> None:
    """Have a call end when nobody wants it any more. It counts as running, so what comes now is seen."""
    if Watch.name not in worker.plugins:
        sync(worker.loop, worker.plugin_add, Watch())
    task = worker.state.tasks.get(key)
    if task is None or task.state == "cancelled":
        raise TaskStopped


def look_after(worker: Any, pickled: Any) -> None:
    """A call is over whose function may have been opened when its pickle was not held here any more."""
    held = worker.state.tasks.get(pickled)
    if held is None or held.state != "memory":
        worker.loop.add_callback(drop_unheld, worker, pickled)

"""The functions that are open on a Dask worker: each is opened once, at its first use.

They go when their session says so. On somebody else's cluster it may not be there any more to say it, or says
it while one is just being opened: there they go when Dask does not hold their pickles any more, either.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

from mrpy.scheduler import codec
from mrpy.scheduler.here import Here

KEPT = 64  # opened functions per worker; out of the air
LARGE = 1 << 20  # bytes of a pickle whose function is dropped as soon as it can be

_lock = threading.Lock()


class Opened(NamedTuple):
    """A function as it is called. ``announces``: it takes what tells of its items. ``large``: many bytes."""

    function: Any
    announces: bool
    place: Here
    large: bool


_functions: OrderedDict[tuple[str, int], Opened] = OrderedDict()  # by topic and number
_pickles: dict[Any, tuple[str, int]] = {}  # which of them Dask's keys are about


def opened(name: tuple[str, int], pickled: Any, blob: bytes, go_to: Callable[[Here], None]) -> Opened:
    """The function of a topic and a number, with its own import path in force while it is opened.
    ``pickled``: Dask's key of the blob."""
    with _lock:
        _pickles[pickled] = name
        known = _functions.get(name)
        if known is not None:
            _functions.move_to_end(name)
            return known
    whole, buffers = pickle.loads(blob)
    announces, place, body = pickle.loads(whole)
    go_to(place)
    made = Opened(codec.open_function(body, buffers), announces, place, len(blob) >= LARGE)
    with _lock:
        _functions[name] = made
        dropped = _dropped([next(iter(_functions))] if len(_functions) > KEPT else [])
    del dropped  # out here: what it does at its end may take long
    return made


async def forget(
    topic: str, numbers: list[int] | None, tears_down: bool, dask_worker: Any = None
) -> None:
    """Drop functions, or all of a session. What they may do at their end (``tears_down``) is done by a thread
    that runs tasks: the one that has set up a `mrpy.Job`, where there is but one."""
    with _lock:
        ours = [name for name in _functions if name[0] == topic and (numbers is None or name[1] in numbers)]
        dropped = _dropped(ours)
    if tears_down or any(each.large for each in dropped):
        await _let_go(dask_worker, dropped)


async def _let_go(worker: Any, dropped: list[Opened]) -> None:
    """Have a thread that runs tasks drop them. A function that went by value refers to itself."""

    def drop() -> None:
        large = any(each.large for each in dropped)
        dropped.clear()
        if large:
            gc.collect()

    if dropped:
        await asyncio.get_running_loop().run_in_executor(worker.executors["default"], drop)


def _dropped(names: list[tuple[str, int]]) -> list[Opened]:
    """Take them out. To be called with the lock."""
    for pickled in [key for key, name in _pickles.items() if name in names]:
        del _pickles[pickled]
    return [_functions.pop(name) for name in names if name in _functions]


def is_of_function(key: Any) -> bool:
    """Whether one of Dask's keys is that of a function which was opened here."""
    return key in _pickles


async def drop_unheld(worker: Any, pickled: Any) -> None:
    """Drop a function whose pickle no worker holds any more, and nobody can send for. One that is merely not
    here may be sent again; and it may have been sent twice. Never raises."""
    with contextlib.suppress(Exception):  # this worker may be about to end
        if any((await worker.scheduler.who_has(keys=[pickled])).values()):
            return
        with _lock:
            name = _pickles.pop(pickled, None)
            dropped = [] if name is None or name in _pickles.values() else _dropped([name])
        await _let_go(worker, dropped)

"""What Dask does in pools of `concurrent.futures`, done without.

They take nothing more when the main thread has ended. Other threads may go on, and wait for a run of theirs:
they would wait for ever. And Python 3.12 starts no thread from then on.
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import Any

from distributed import utils
from distributed.client import done_callback


def when_done(future: Any, call: Callable[[Any], object]) -> None:
    """Have this called with a future of Dask's when it is done: in Dask's own thread, so it may not wait."""
    future.client.loop.add_callback(done_callback, future, call)


def outlast_the_main_thread() -> None:
    """Have what Dask does beside its loop (it opens what is large, and puts graphs in order) done until
    Python ends. The pool stays the one that workers in this process know: they shut down any other."""
    pool: Any = utils._offload_executor
    if "submit" not in vars(pool):
        pool.submit = _Beside().submit


class _Beside:
    """Calls, one after the other, in a thread that nobody waits for."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        threading.Thread(target=self._run, daemon=True, name="Dask-Offload").start()

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._calls.put((future, partial(function, *args, **kwargs)))
        return future

    def _run(self) -> None:
        while True:
            _settle(*self._calls.get())


def _settle(future: Future[Any], call: Callable[[], Any]) -> None:
    if future.set_running_or_notify_cancel():
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)
            del future, call  # which its traceback has

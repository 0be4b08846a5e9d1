"""Where tasks run. One module per backend; each is imported when it is first asked for.

Every worker passes through here on its way in. Keep it light.
"""

from __future__ import annotations

from collections.abc import Callable

from mrpy.light import TYPE_CHECKING, imported

if TYPE_CHECKING:
    from concurrent.futures import Future
    from typing import Any

    from mrpy.scheduler.backends.base import Backend


def make(name: str, workers: int, **settings: Any) -> Backend:
    """Make a backend: ``ThreadsBackend`` of ``threads.py``. `settings` are its own: the address of a
    cluster, say."""

    def made() -> Backend:
        # each brings what is heavy in it
        factory = getattr(imported(f"{__name__}.{name}"), f"{name.capitalize()}Backend")
        backend: Backend = factory(workers, **settings)
        return backend

    # a client of the user's says only here whether it belongs to the loop that runs here
    return _aside(made) if name == "dask" and "client" not in settings else made()


def _aside(maker: Callable[[], Backend]) -> Backend:
    """What that makes, in a thread of its own. A cluster takes seconds: a Ctrl-C in the middle would leave
    half a package behind, or half a client, with which nothing works any more. If who waits for it goes, it
    is closed as soon as it is made."""
    import threading  # workers pass through here, and need neither
    from concurrent.futures import Future

    made: Future[Backend] = Future()

    def run() -> None:
        try:
            made.set_result(maker())
        except BaseException as problem:
            made.set_exception(problem)

    try:
        thread = threading.Thread(target=run, daemon=True, name="mrpy-cluster")
        thread.start()
    except RuntimeError:  # there is none to be had
        return maker()
    try:
        thread.join()
    except BaseException:
        made.add_done_callback(_close)
        raise
    return made.result()


def _close(made: Future[Backend]) -> None:
    if made.exception() is None:
        made.result().close()

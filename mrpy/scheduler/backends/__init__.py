"""Where tasks run. One module per backend; each is imported when it is first asked for.

Every worker passes through here on its way in. Keep it light.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from mrpy.errors import OptionError
from mrpy.light import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from mrpy.scheduler.backends.base import Backend


def make(name: str, workers: int, **settings: Any) -> Backend:
    """Make a backend: ``ThreadsBackend`` of ``threads.py``. `settings` are its own: the address of a
    cluster, say."""
    from importlib import import_module  # each backend brings what is heavy in it

    if name == "dask" and "distributed" not in sys.modules:
        _undisturbed(import_module, "distributed")
    factory = getattr(import_module(f"{__name__}.{name}"), f"{name.capitalize()}Backend")
    try:
        backend: Backend = factory(workers, **settings)
    except TypeError as error:
        if settings and "unexpected keyword" in str(error):
            raise OptionError(f"backend {name!r} does not know {', '.join(sorted(settings))}") from None
        raise
    return backend


def _undisturbed(load: Callable[[str], object], module: str) -> None:
    """Import a module in a thread of its own. It takes a second, and a Ctrl-C in the middle of it would leave
    half a package behind, with which nothing works any more. What is wrong with it is raised when it is
    imported next."""
    import threading
    from contextlib import suppress  # workers pass through here, and need neither

    def loaded() -> None:
        with suppress(BaseException):
            load(module)

    with suppress(RuntimeError):  # there may be no thread to be had
        thread = threading.Thread(target=loaded, daemon=True, name="mrpy-import")
        thread.start()
        thread.join()

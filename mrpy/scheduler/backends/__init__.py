"""Where tasks run. One module per backend; each is imported when it is first asked for.

Every worker passes through here on its way in. Keep it light.
"""

from __future__ import annotations

from mrpy.errors import OptionError
from mrpy.light import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from mrpy.scheduler.backends.base import Backend


def make(name: str, workers: int, **settings: Any) -> Backend:
    """Make a backend: ``ThreadsBackend`` of ``threads.py``. `settings` are its own: the address of a
    cluster, say."""
    from importlib import import_module  # each backend brings what is heavy in it

    factory = getattr(import_module(f"{__name__}.{name}"), f"{name.capitalize()}Backend")
    try:
        backend: Backend = factory(workers, **settings)
    except TypeError as error:
        if settings and "unexpected keyword" in str(error):
            raise OptionError(f"backend {name!r} does not know {', '.join(sorted(settings))}") from None
        raise
    return backend

"""Where tasks run. One module per backend; each is imported when it is first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from mrpy.errors import OptionError
from mrpy.options import BACKENDS
from mrpy.scheduler.backends.base import Backend

_CLASSES = {name: (f"mrpy.scheduler.backends.{name}", f"{name.capitalize()}Backend") for name in BACKENDS}


def make(name: str, workers: int, **settings: Any) -> Backend:
    """Make a backend. `settings` are its own: the address of a cluster, say."""
    module, attribute = _CLASSES[name]
    factory = getattr(import_module(module), attribute)
    try:
        backend: Backend = factory(workers, **settings)
    except TypeError as error:
        if settings and "unexpected keyword" in str(error):
            raise OptionError(f"backend {name!r} does not know {', '.join(sorted(settings))}") from None
        raise
    return backend

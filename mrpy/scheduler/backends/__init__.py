"""Where tasks run. One module per backend; each is imported when it is first asked for."""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import Any

from mrpy.errors import OptionError
from mrpy.scheduler.backends.base import Backend

BACKENDS = {
    "serial": ("mrpy.scheduler.backends.serial", "SerialBackend"),
    "threads": ("mrpy.scheduler.backends.threads", "ThreadsBackend"),
    "processes": ("mrpy.scheduler.backends.processes", "ProcessesBackend"),
    "dask": ("mrpy.scheduler.backends.dask", "DaskBackend"),
}


def check_name(name: object) -> str:
    """Return the name of a backend, or raise `OptionError` with the names there are."""
    if isinstance(name, str) and name in BACKENDS:
        return name
    near = difflib.get_close_matches(str(name), BACKENDS, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise OptionError(f"backend={name!r} is not one of {', '.join(BACKENDS)}{hint}")


def make(name: str, workers: int, **settings: Any) -> Backend:
    """Make a backend. `settings` are its own: the address of a cluster, say."""
    module, attribute = BACKENDS[check_name(name)]
    factory = getattr(import_module(module), attribute)
    try:
        backend: Backend = factory(workers, **settings)
    except TypeError as error:
        if settings and "unexpected keyword" in str(error):
            raise OptionError(f"backend {name!r} does not know {', '.join(sorted(settings))}") from None
        raise
    return backend

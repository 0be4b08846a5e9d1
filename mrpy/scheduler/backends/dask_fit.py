"""Whether somebody else's Dask cluster can run what we send: all there, and who joins later, have our mrpy.

A worker without it cannot even open a call: it dies of the message, and so does the next that is sent it.
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import asyncio
import contextlib
import platform
from pkgutil import resolve_name
from typing import Any

from mrpy.errors import BackendError, OptionError

TOLD = 10.0  # seconds for a cluster to say which versions it has


def check(client: Any) -> None:
    """Raise unless a client of the user's can be used here."""
    if getattr(client, "scheduler", None) is None:
        raise OptionError(f"client={client!r:.60}: must be a distributed.Client that is connected")
    if client.asynchronous:
        raise OptionError(
            "client= belongs to the event loop that runs here, which cannot serve it while this waits; "
            "open the session in a thread (asyncio.to_thread)"
        )


async def threads_of(client: Any) -> dict[str, int]:
    """How many threads each worker has. Raises `BackendError` where one, or the scheduler, does not fit."""
    problem = await problem_of(client)
    if problem:
        raise BackendError(problem)
    threads: dict[str, int] = await client.nthreads(asynchronous=True)
    return threads


async def problem_of(client: Any, worker: str | None = None) -> str:
    """Why what we send cannot be opened there, by this worker, or by the scheduler or any worker; empty where
    it can, or nothing is known."""
    here = resolve_name("mrpy:__version__"), platform.python_version()
    with contextlib.suppress(TimeoutError):  # one that is stopped says nothing
        for place, there in await asyncio.wait_for(_told(client, worker), TOLD):
            problem = _does_not_fit(here, there)
            if problem:
                where = f"the Dask cluster at {client.scheduler.address} does not fit: {place}"
                return f"{where} has {problem}; install the same everywhere"
    return ""


async def _told(client: Any, worker: str | None) -> list[tuple[str, tuple[Any, Any]]]:
    """The versions that they have of mrpy and Python; or what was raised instead."""
    asked: dict[str, Any] = {"workers": worker and [worker], "on_error": "return"}
    mrpys = await client._run(resolve_name, "mrpy:__version__", **asked)
    pythons = await client._run(platform.python_version, **asked)
    told = [(place, (version, pythons.get(place))) for place, version in mrpys.items()]
    if worker is not None:
        return told
    try:
        mine: Any = await client._run_on_scheduler(resolve_name, "mrpy:__version__")
    except Exception as error:
        mine = error
    return [("its scheduler", (mine, None)), *told]


def _does_not_fit(here: tuple[str, str], there: tuple[Any, Any]) -> str:
    """What is wrong with the versions there; empty where nothing is, or nothing is known."""
    (mrpy, python), (its_mrpy, its_python) = here, there
    if isinstance(its_mrpy, ImportError):
        return f"no mrpy ({its_mrpy!r})"
    if isinstance(its_mrpy, str) and its_mrpy != mrpy:
        return f"mrpy {its_mrpy}, and here it is {mrpy}"
    if isinstance(its_python, str) and its_python.split(".")[:2] != python.split(".")[:2]:
        return f"Python {its_python}, and here it is {python}"
    return ""

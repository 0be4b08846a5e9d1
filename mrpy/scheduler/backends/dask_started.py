"""Whether the nanny of a Dask worker is through with the start of it.

A worker that dies before that is not always started again: the nanny ends, or waits for ever. An item that
kills its worker would cost the cluster one for good. So the first call in a process waits until its nanny,
which is asked, has done with it.
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from asyncio import wait_for
from time import perf_counter, sleep
from typing import Any

from distributed.core import Status
from distributed.protocol.pickle import dumps
from distributed.utils import sync

AGAIN = 0.05  # seconds; as often a nanny looks for the word of its worker
SURELY = 0.5  # seconds in which one is through that cannot be asked; out of the air
LATEST = 10.0  # seconds until we begin all the same

_is_known = False


def wait_until_started(worker: Any) -> None:
    """To be called in a thread of this worker, before anything of the user's runs there."""
    global _is_known
    if _is_known or worker.nanny is None:
        return
    ends = perf_counter() + LATEST
    while (answer := sync(worker.loop, _ask, worker)) is False and perf_counter() < ends:
        sleep(AGAIN)
    if answer is None:
        sleep(SURELY)
    _is_known = True


async def _ask(worker: Any) -> Any:
    """Whether its nanny has started it; None where that does not say."""
    try:
        told = await wait_for(worker.rpc(worker.nanny).run(function=dumps(has_started)), LATEST)
        return told.get("result")
    except Exception:
        return None


def has_started(dask_worker: Any) -> bool:
    """In the process of the nanny, which Dask calls so."""
    running: Any = Status.running
    return bool(dask_worker.status == running and dask_worker.process.status == running)

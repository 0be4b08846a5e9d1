"""When somebody else's Dask cluster has no workers.

It may start some by itself, or he may: that is waited for, but not without a word. A `LocalCluster` starts
none: it gives a worker up for good if that is not there 15 seconds after it has died once, because it has
just died again, say. One that was made in this process is told to bring those back that it was made with.
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import logging
import time
from typing import Any

from distributed import LocalCluster
from distributed.deploy.spec import SpecCluster

SAID = 5.0  # seconds without workers until that is said


class Deserted:
    """For one cluster. Nothing here waits."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._since: float | None = None  # it has no workers
        self._is_said = False

    def has(self, workers: int) -> None:
        """It has so many now."""
        if workers:
            self._since, self._is_said = None, False
        elif self._since is None:
            self._since = time.monotonic()

    def look(self) -> str:
        """To be called now and then while tasks wait. What is to be said, once; or nothing."""
        if self._since is None or time.monotonic() - self._since < SAID:
            return ""
        bring_back(self._address)
        if self._is_said:
            return ""
        self._is_said = True
        return f"the Dask cluster at {self._address} has no workers; tasks wait until it has"


def bring_back(address: str) -> None:
    """Have a `LocalCluster` of this process start the workers that it is to have, and has given up."""
    for cluster in list(SpecCluster._instances):
        if isinstance(cluster, LocalCluster) and cluster.scheduler_address == address:
            loop: Any = cluster.loop
            loop.add_callback(cluster._correct_state)  # as its `scale` does


def say(text: str) -> None:
    """In a thread that may wait for the user's handlers."""
    logging.getLogger("mrpy").warning(text)

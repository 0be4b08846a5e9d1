"""What the tests of the laws share: the backends to run over, and waiting for something with a bound."""

from __future__ import annotations

import importlib.util
import io
import os
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mrpy
from mrpy.scheduler import byvalue

HAS_DASK = importlib.util.find_spec("distributed") is not None

LOCAL = ["serial", "threads", "processes"]
BACKENDS = [*LOCAL, pytest.param("dask", marks=pytest.mark.skipif(not HAS_DASK, reason="no dask backend"))]
CONCURRENT = BACKENDS[1:]  # those that run while the caller does something else


def with_chunks(*sizes: Any) -> list[Any]:
    """Backends times chunk sizes; a cluster, where everything takes a hundred times as long, gets the last."""
    pairs: list[Any] = [(backend, size) for backend in LOCAL for size in sizes]
    return [*pairs, pytest.param("dask", sizes[-1], marks=BACKENDS[-1].marks)]

def fails(x: Any) -> Any:
    """A call that raises."""
    raise LookupError(x)


def when(path: Path, value: Any = None) -> Any:
    """A call that goes on until there is such a file."""
    while not path.exists():
        time.sleep(0.005)
    return value


THOROUGH = "THOROUGH" in os.environ  # `make soak` says so: more examples, finer steps
MORE = 5 if THOROUGH else 1

# What a test costs per example differs a hundredfold, and so does what an example is worth.
EXAMPLES = {"serial": 30 * MORE, "threads": 20 * MORE, "processes": 12 * MORE, "dask": 2 * MORE}


# What reduces, groups, sorts and cuts a run over whole numbers: to an answer that can be compared. "random" wants
# a seed, "failing" wants its items skipped.
REDUCED: dict[str, Callable[[Any], Any]] = {
    "sum": lambda run: float(run.map(lambda x: x / 7).sum()).hex(),
    "reduce": lambda run: run.map(str).reduce(lambda left, right: f"({left}{right})", ""),
    "count": lambda run: run.filter(lambda x: x % 3).count(),
    "frequencies": lambda run: list(run.map(lambda x: x % 20).frequencies()),
    "random": lambda run: float(run.map(lambda x: float(mrpy.rng().random())).sum()).hex(),
    "group_by": lambda run: list(run.group_by(lambda x: x % 20)),
    "count_by": lambda run: list(run.count_by(lambda x: x % 20)),
    "reduce_by": lambda run: list(run.map(str).reduce_by(len, lambda left, right: left + right)),
    "sorted": lambda run: list(run.sorted(lambda x: x % 20)),
    "failing": lambda run: run.map(lambda x: x if x % 7 else 1 // 0).sum(),
    "repartition": lambda run: list(run.repartition(3)),
}


def pickled_by_value(value: Any) -> tuple[bytes, list[Any]]:
    """The pickle of a value, and which things of it were looked at one by one."""
    asked: list[Any] = []

    class Noted(byvalue._Pickler):
        def _reduced(self, thing: Any, kind: type) -> Any:
            asked.append(thing)
            return super()._reduced(thing, kind)

    with io.BytesIO() as file:
        Noted(file, 5, None).dump(value)
        return file.getvalue(), asked


class Alive:
    """How many of the things that it was shown are there, and how many were at most."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def see(self, thing: Any) -> Any:
        self.now += 1
        self.most = max(self.most, self.now)
        weakref.finalize(thing, self._gone)
        return thing

    def _gone(self) -> None:
        self.now -= 1


def eventually(true: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether `true()` holds now or at some time within `seconds`."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True

"""Signals from outside, at random moments, to random workers: a thread that is no friend of the pool's."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
from collections.abc import Callable
from typing import Any

STOPPED = (0.005, 0.08)  # seconds that a worker is stopped; well below any timeout of the runs


class Chaos:
    """In a ``with`` block: up to ``kills`` workers are killed, any number is stopped and goes on.

    Few kills, so that what comes of them is known: an item is blamed for two deaths, and who hits the same
    item twice from outside cannot be told from it.
    """

    def __init__(self, rng: random.Random, workers: Callable[[], list[Any]], kills: int) -> None:
        self.done: list[str] = []
        self._rng = rng
        self._workers = workers
        self._kills = kills
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="soak-chaos")

    def __enter__(self) -> Chaos:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _loop(self) -> None:
        while not self._over.wait(self._rng.expovariate(1 / 0.06)):
            workers = self._workers()
            if workers:
                with contextlib.suppress(ProcessLookupError):
                    self._hit(self._rng.choice(workers).pid)

    def _hit(self, pid: int) -> None:
        if self._kills and self._rng.random() < 0.6:
            self._kills -= 1
            which = self._rng.choice([signal.SIGKILL, signal.SIGTERM])
            os.kill(pid, which)
            self.done.append(which.name)
            return
        os.kill(pid, signal.SIGSTOP)
        try:
            self._over.wait(self._rng.uniform(*STOPPED))
        finally:
            os.kill(pid, signal.SIGCONT)
        self.done.append("SIGSTOP")

"""Here and now: `wait` runs one task in the caller's own thread. For debugging, and inside tasks.

The user's debugger, profiler and Ctrl-C work as in a plain loop: a KeyboardInterrupt leaves `wait` as it
came, and the task counts as failed.
"""

from __future__ import annotations

import time
from collections import deque

from mrpy.inside import Place
from mrpy.scheduler.backends.base import Backend, Value
from mrpy.scheduler.backends.memory import Store
from mrpy.scheduler.calls import Call, perform
from mrpy.scheduler.failure import capture
from mrpy.scheduler.messages import Fact, Failed, Key, Slots, Start, Stopped, Succeeded


class SerialBackend(Backend):
    """One task at a time, in the thread that asks for results."""

    name = "serial"
    threaded = False
    remote = False

    def __init__(self, workers: int = 1) -> None:
        self.workers = 1
        self._store = Store()
        self._facts: list[Fact] = [Slots(1)]
        self._queue: deque[Start] = deque()

    def start(self, order: Start) -> None:
        self._queue.append(order)

    def stop(self, key: Key, attempt: int) -> None:
        for order in self._queue:
            if order.task.key == key and order.attempt == attempt:
                self._queue.remove(order)
                self._facts.append(Stopped(key, attempt))
                return

    def wait(self, timeout: float | None) -> list[Fact]:
        if not self._facts:
            if self._queue:
                self._run(self._queue.popleft())
            elif timeout:
                time.sleep(timeout)  # nothing else can happen: only a back-off is waited for
        facts, self._facts = self._facts, []
        return facts

    def wake(self) -> None:
        """Nobody ever waits: see `wait`."""

    def fetch(self, key: Key) -> Value:
        return self._store.fetch(key)

    def release(self, key: Key) -> None:
        self._store.release(key)

    def close(self) -> None:
        self._queue.clear()
        self._store = Store()

    def _run(self, order: Start) -> None:
        task, attempt = order.task, order.attempt
        began = time.perf_counter()
        try:
            call: Call = task.call
            inputs = self._store.inputs(task.inputs)
            value = perform(call.code.function, call.data, inputs, place=Place.HERE)
        except KeyboardInterrupt as error:
            self._facts.append(Failed(task.key, attempt, capture(error, travels=False)))
            raise
        except BaseException as error:
            self._facts.append(Failed(task.key, attempt, capture(error, travels=False)))
        else:
            self._store.put(task.key, value)
            self._facts.append(Succeeded(task.key, attempt, time.perf_counter() - began))

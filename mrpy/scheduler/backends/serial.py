"""Here and now: `wait` runs one task in the caller's own thread. For debugging, and inside tasks.

The user's debugger, profiler and Ctrl-C work as in a plain loop: a KeyboardInterrupt leaves `wait` as it
came, and the task counts as failed. Nobody else could stop an item that runs over its time, so the time is
kept here, by an alarm in this same thread.
"""

from __future__ import annotations

import time
import traceback
from collections import deque
from typing import Any

from mrpy.inside import Place
from mrpy.scheduler import policy
from mrpy.scheduler.backends.alarm import Alarm, alarm
from mrpy.scheduler.backends.base import Backend, Value
from mrpy.scheduler.backends.memory import Store
from mrpy.scheduler.calls import Call, TaskStopped, perform
from mrpy.scheduler.failure import At, capture, overran, stack_text
from mrpy.scheduler.messages import Fact, Failed, Key, Slots, Start, Stopped, Succeeded


class SerialBackend(Backend):
    """One task at a time, in the thread that asks for results."""

    name = "serial"
    threaded = False
    remote = False

    def __init__(self, workers: int) -> None:
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
            if task.timeout is None or not call.code.announce:
                value = perform(
                    call.code.function, call.data, inputs, None, Place.HERE, call.code.settings_here()
                )
            else:
                value = _timed(call, inputs, task.timeout, policy.DEFAULT.rest(task.timeout, task.size))
        except (KeyboardInterrupt, TaskStopped) as error:  # meant for the caller, or for a task around us
            self._facts.append(Failed(task.key, attempt, capture(error, travels=False)))
            raise
        except _Overran as stop:
            self._facts.append(Failed(task.key, attempt, overran(task.timeout, stop.item, stop.trace)))
        except BaseException as error:
            self._facts.append(Failed(task.key, attempt, capture(error, travels=False)))
        else:
            self._store.put(task.key, value)
            self._facts.append(Succeeded(task.key, attempt, time.perf_counter() - began))


class _Overran(BaseException):
    """An item ran over its time."""

    def __init__(self, item: At | None, trace: str) -> None:
        super().__init__(item, trace)
        self.item = item
        self.trace = trace


def _timed(call: Call, inputs: list[Any], seconds: float, rest: float) -> Any:
    """Perform a call, none of whose items may take longer than so many seconds; what is no item's, `rest`."""
    bell = alarm(seconds, rest)
    try:
        try:
            bell.set()
            return _watched(call, inputs, bell)
        finally:
            bell.end()
    except bell.rings as stop:
        bell.end()  # it may have been the first call of it that was interrupted
        raise _Overran(bell.item, stack_text(traceback.extract_tb(stop.__traceback__))) from None
    except BaseException:  # so it may by a signal handler
        bell.end()
        raise


def _watched(call: Call, inputs: list[Any], bell: Alarm) -> Any:
    """Perform it. An item that is late is not what it returned, or raised, after it had caught the alarm."""
    settings = call.code.settings_here()
    try:
        value = perform(call.code.function, call.data, inputs, bell.begin, Place.HERE, settings)
    except Exception:
        bell.begin(None)
        raise
    bell.begin(None)
    return value

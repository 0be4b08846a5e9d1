"""The items of the soak runs: each knows its number, and some are at fault - a fault is drawn per item.

`Work` is the function that runs over them. What it comes to is known beforehand: the answer of a good item,
or the name of the exception that stands at the place of a bad one (`Bad`).
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

LONG = 3600.0  # seconds: for ever, as far as these runs are concerned
FLOOD = 300_000  # characters; more than a socket takes at once
LEFT = 20  # seconds that a child which a task leaves behind would live by itself


class Bad(NamedTuple):
    """What an item at fault comes to: the name of the exception, and the item's number (None: not said)."""

    error: str
    position: int | None


class Fault(NamedTuple):
    """``error``: the name of what it ends in; None: its answer comes as if nothing were."""

    act: Callable[[], Any]
    error: str | None = None


# ---- exceptions and values that do not travel ---------------------------------------------------------------


class OwnBase(BaseException):
    """Not an Exception."""


class TwoArguments(Exception):
    """Pickles well, and explodes on arrival."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class Mute(Exception):
    """Has a ``__str__`` that raises."""

    def __str__(self) -> str:
        raise ValueError("no text")


class NotPickled:
    """A result that raises on its way out."""

    def __reduce__(self) -> Any:
        raise ValueError("does not pickle")


class NotOpened:
    """A result that raises on arrival; only here, so that it is an argument that opens in no worker, too."""

    def __reduce__(self) -> Any:
        return _explode, ()


def _explode() -> None:
    raise LookupError("does not open")


def _with_a_lock() -> Exception:
    error = ValueError("has an attribute that does not travel")
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    return error


def _raiser(make: Callable[[], BaseException]) -> Callable[[], None]:
    def act() -> None:
        raise make()

    return act


def _recurse() -> None:
    _recurse()


# ---- what items do ------------------------------------------------------------------------------------------


def _fork(then: Callable[[], Any]) -> Callable[[], None]:
    def act() -> None:
        if os.fork() == 0:
            then()

    return act


def _leave_a_thread() -> None:
    threading.Thread(target=threading.Event().wait).start()


def _leave_a_chatterer() -> None:
    def chat() -> None:
        for n in range(50):
            print("a thread that a task has left", n)
            time.sleep(0.002)

    threading.Thread(target=chat, daemon=True).start()


def _leave_a_child() -> None:
    subprocess.Popen(["sleep", str(LEFT)])


def _stop() -> None:
    while True:  # from outside it may be told to go on
        os.kill(os.getpid(), signal.SIGSTOP)


_kept: list[bytearray] = []


def _grow() -> None:
    _kept.append(bytearray(b"x") * (24 << 20))


KILLERS = {
    "SIGKILL": Fault(lambda: os.kill(os.getpid(), signal.SIGKILL), "WorkerCrashed"),
    "exit 0": Fault(lambda: os._exit(0), "WorkerCrashed"),
    "abort": Fault(os.abort, "WorkerCrashed"),
    "segfault": Fault(lambda: ctypes.string_at(0), "WorkerCrashed"),
    "closes all descriptors": Fault(lambda: os.closerange(3, 200), "WorkerCrashed"),
}
RAISERS = {
    "ValueError": Fault(_raiser(lambda: ValueError("x" * 1000)), "ValueError"),
    "sys.exit": Fault(lambda: sys.exit(3), "SystemExit"),
    "KeyboardInterrupt": Fault(_raiser(KeyboardInterrupt), "KeyboardInterrupt"),
    "GeneratorExit": Fault(_raiser(GeneratorExit), "GeneratorExit"),
    "BaseException": Fault(_raiser(lambda: OwnBase(1)), "OwnBase"),
    "StopIteration": Fault(_raiser(StopIteration), "RuntimeError"),
    "recursion": Fault(_recurse, "RecursionError"),
    "MemoryError": Fault(lambda: bytearray(1 << 60), "MemoryError"),
    "two arguments": Fault(_raiser(lambda: TwoArguments(1, 2)), "TwoArguments"),
    "a lock in it": Fault(_raiser(_with_a_lock), "ValueError"),
    "mute": Fault(_raiser(Mute), "Mute"),
}
RESULTS = {  # what they return does not travel
    "a lock": Fault(threading.Lock, "SerializationError"),
    "not pickled": Fault(NotPickled, "SerializationError"),
    "not opened": Fault(NotOpened, "SerializationError"),
}
HANGERS = {
    "hangs": Fault(lambda: time.sleep(LONG), "ItemTimeout"),
    "hangs in C": Fault(lambda: ctypes.CDLL(None).pause(), "ItemTimeout"),
    "stops itself": Fault(_stop, "ItemTimeout"),
}
HARMLESS = {
    "prints a flood": Fault(lambda: print("x" * FLOOD)),
    "prints many lines": Fault(lambda: [print(n) for n in range(500)] and None),
    "forks, the child ends": Fault(_fork(lambda: os._exit(0))),
    "forks, the child goes on": Fault(_fork(lambda: None)),
    "forks, the child raises": Fault(_fork(_raiser(lambda: ValueError("a child")))),
    "leaves a thread": Fault(_leave_a_thread),
    "leaves a thread that prints": Fault(_leave_a_chatterer),
    "leaves a child": Fault(_leave_a_child),
    "grows": Fault(_grow),
}
FAULTS = {**KILLERS, **RAISERS, **RESULTS, **HANGERS, **HARMLESS}


# ---- arguments at fault: they never come to the function ------------------------------------------------------


class Argument:
    """An item that does not travel, or not well. Its number is here only for those who make it."""

    def __init__(self, key: int, fault: str) -> None:
        self.key, self.fault = key, fault

    def __reduce__(self) -> Any:
        return ARGUMENTS[self.fault].act()


ARGUMENTS = {
    "cannot be pickled": Fault(_raiser(lambda: ValueError("does not pickle")), "SerializationError"),
    "cannot be opened": Fault(lambda: (_explode, ()), "LookupError"),
    "kills when opened": Fault(lambda: (os._exit, (3,)), "WorkerCrashed"),
}


# ---- the function ---------------------------------------------------------------------------------------------


def key_of(item: Any) -> int:
    """The number of an item."""
    if isinstance(item, np.ndarray):
        return int(item.flat[0])
    if isinstance(item, bytes):
        return int.from_bytes(item[:8], "little")
    return item.key if isinstance(item, Argument) else int(item)


def answer(item: Any) -> Any:
    """What a good item comes to: of the kind and about the size of the item."""
    if isinstance(item, np.ndarray):
        return item[::-1] * 2 if key_of(item) % 3 else item
    return item[::-1] if isinstance(item, bytes) else item * 7 + 1


def token(value: Any) -> Any:
    """A value in a form that can be compared and printed."""
    if isinstance(value, BaseException):
        item = getattr(value, "mrpy_item", None)
        return Bad(type(value).__name__, None if item is None else item.position)
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, zlib.crc32(np.ascontiguousarray(value))
    if isinstance(value, bytes) and len(value) > 40:
        return len(value), zlib.crc32(value)
    return tuple(map(token, value)) if isinstance(value, tuple) else value


@dataclass(frozen=True)
class Work:
    """``work(item)``: the item's fault, if it has one, then the answer. ``pause``: seconds that each takes."""

    faults: dict[int, str]
    pause: float = 0.0

    def __call__(self, item: Any) -> Any:
        if self.pause:
            time.sleep(self.pause)
        fault = self.faults.get(key_of(item))
        if fault is not None:
            instead = FAULTS[fault].act()
            if instead is not None:
                return instead
        return answer(item)

    def error(self, item: Any) -> str | None:
        """The name of the exception in which an item ends, if it does."""
        if isinstance(item, Argument):
            return ARGUMENTS[item.fault].error
        fault = self.faults.get(key_of(item))
        return None if fault is None else FAULTS[fault].error


@dataclass(frozen=True)
class Flaky:
    """As `work`, but a few items raise at their first attempt in each process. ``run``: which run it is."""

    work: Work
    run: int

    def __call__(self, item: Any) -> Any:
        key = key_of(item)
        if key % 5 == 2 and key < 50 and (self.run, key) not in _attempted:
            _attempted.add((self.run, key))
            raise OSError("at the first attempt")
        return self.work(item)


_attempted: set[tuple[int, int]] = set()

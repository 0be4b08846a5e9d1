"""Values for the length of a ``with`` block, and which threads and tasks are in one: behind sessions."""

from __future__ import annotations

import gc
import sys
from _operator import call
from _thread import get_ident
from _weakref import ref
from contextvars import ContextVar

from mrpy.light import TYPE_CHECKING, Any, later

if TYPE_CHECKING:
    import threading
    from contextlib import AbstractContextManager
    from types import FrameType

    Blocks = list[tuple["Scoped", "_Set"]]
else:
    threading = later("threading")  # only for those who open a session


def current_frames() -> dict[int, FrameType]:
    """``sys._current_frames()``: in which frame each thread is. On 3.11 a garbage collection amid that may
    wait for ever for what it holds, and all threads with it (python/cpython#106883). So there is none: it is
    turned off in one go with the call, in C, where no other thread can come between and turn it on."""
    calls: Any = map(call, (gc.isenabled, gc.disable, sys._current_frames))
    enabled, _, frames = calls
    if enabled:
        gc.enable()
    try:
        return frames  # type: ignore[no-any-return]
    finally:
        del frames  # this frame is one of them


class _Threads:
    """The threads that are alive at this moment. An ident is given again when its thread has ended, so it is
    the objects that are remembered. Threads that `threading` has not started have none until they ask."""

    __slots__ = ("_idents", "_known")

    def __init__(self) -> None:
        self._known = frozenset(map(ref, threading.enumerate()))
        self._idents = frozenset(current_frames())

    def __contains__(self, thread: threading.Thread) -> bool:
        foreign = type(thread) is threading._DummyThread
        return ref(thread) in self._known or (foreign and thread.ident in self._idents)


class _Set:
    """A class and no generator: exceptions of the user pass through it untouched. Blocks need not end in the
    opposite order, nor in the context in which they began: a generator may hold one."""

    outer: _Set | None = None
    live = False

    def __init__(self, here: ContextVar[_Set | None], of_main: list[_Set], value: Any) -> None:
        self._here, self._of_main, self.value = here, of_main, value

    def __enter__(self) -> None:
        self.outer, self.live = self._here.get(), True
        self._here.set(self)
        if get_ident() == threading.main_thread().ident:
            self.before = _Threads()
            self._of_main.append(self)

    def __exit__(self, *_: object) -> None:
        self.live = False  # from here on who asks passes over it, even if a signal handler raises now
        if self._here.get() is self:
            self._here.set(self.outer)
        if self in self._of_main:
            self._of_main.remove(self)


_all_scoped: list[Scoped] = []


def blocks_here() -> Blocks:
    """In which blocks this is."""
    return [(each, block) for each in _all_scoped if (block := each.block()) is not None]


class Scoped:
    """A value for the length of a ``with`` block: of this context (task, thread) if it has set one; else, in
    a thread that was started while a block of the main thread's was open, that of this block, of several the
    last one. Other threads, and other tasks of the same thread, are none of a block's business, unless they
    `enter` it."""

    def __init__(self, name: str) -> None:
        self._here: ContextVar[_Set | None] = ContextVar(name, default=None)
        self._of_main: list[_Set] = []
        _all_scoped.append(self)

    def set(self, value: Any) -> AbstractContextManager[None]:
        """Set it for a ``with`` block."""
        return _Set(self._here, self._of_main, value)

    def get(self) -> Any:
        """The value in force."""
        block = self.block()
        return block.value if block is not None else None

    def enter(self, block: _Set) -> None:
        """Be in this block, if in none."""
        if block.live and self.block() is None:
            self._here.set(block)

    def block(self) -> _Set | None:
        """The block whose value is in force."""
        here = self._here.get()
        while here is not None and not here.live:
            here = here.outer
        if here is None and self._of_main:
            thread, blocks = threading.current_thread(), reversed(self._of_main)
            here = next((each for each in blocks if each.live and thread not in each.before), None)
        return here

"""What is called aside: in threads of their own, so that it holds up nobody. Callbacks of users have one
thread for all of a session: they are called one after the other, in the order in which calls end.

There may be no thread to be had: 3.12 starts none when the main thread has ended. Then whoever waits for a
result, or closes the session, calls it when he holds nothing of ours.
"""

from __future__ import annotations

import os
import sys
import threading
from _thread import allocate_lock, get_ident, start_new_thread
from collections import deque
from collections.abc import Callable


def threads_start() -> bool:
    """Whether a thread can be started now."""
    try:
        start_new_thread(int, ())
    except RuntimeError:
        return False
    return True


class Aside(deque[Callable[[], object]]):
    """What is left to be called, of one session. For any thread."""

    def __init__(self) -> None:
        super().__init__()
        self._serving = allocate_lock()  # whose thread calls what is left
        self._callers: list[int] = []  # the threads that are amid it
        self._no_thread = False  # could be started for what is left

    @property
    def amid(self) -> bool:
        """Whether it is what is called here that asks."""
        return get_ident() in self._callers

    def call(self, what: Callable[[], object]) -> None:
        """Have it called, behind what was given before."""
        self.append(what)
        if self._serving.acquire(blocking=False):  # else who has it looks once more when he has let go of it
            self._no_thread = False  # not behind the next line: that thread may have ended by then
            try:
                threading.Thread(target=self._serve, daemon=True, name="mrpy-callback").start()
            except RuntimeError:
                self._no_thread = True
                self._serving.release()

    def call_apart(self, what: Callable[[], object]) -> None:
        """Have it called, whatever is being called."""
        try:
            threading.Thread(target=what, daemon=True, name="mrpy-callback").start()
        except RuntimeError:
            self.append(what)
            self._no_thread = True

    def catch_up(self) -> None:
        """Call what is left here and now, where no thread could be started. What it raises is shown, as of a
        thread."""
        while self._no_thread and not self._serving.locked() and (what := self._next()) is not None:
            self.here(what)

    def here(self, what: Callable[[], object]) -> None:
        """Call this here and now, likewise."""
        try:
            self._call(what)
        except Exception:
            sys.excepthook(*sys.exc_info())

    def _next(self) -> Callable[[], object] | None:
        try:
            return self.popleft()
        except IndexError:
            return None

    def _call(self, what: Callable[[], object]) -> None:
        self._callers.append(get_ident())
        try:
            what()
        finally:
            self._callers.remove(get_ident())

    def _serve(self) -> None:
        """In a thread of ours, which goes on whatever is raised, but not in a process that one has forked."""
        pid = os.getpid()
        while True:
            try:
                while os.getpid() == pid and (what := self._next()) is not None:
                    try:
                        self._call(what)
                    except BaseException as error:
                        told = type(error), error, error.__traceback__, threading.current_thread()
                        threading.excepthook(threading.ExceptHookArgs(told))
                    del what  # it may be the last one for a while
            finally:
                self._serving.release()
            if not self or os.getpid() != pid or not self._serving.acquire(blocking=False):
                return

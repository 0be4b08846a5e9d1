"""Keeps signal handlers of the user from breaking into what must not be left half done, or be kept waiting.

Python runs signal handlers in the main thread, between any two instructions, and a handler may raise: Ctrl-C
does. Where the scheduler's loop is turned in the main thread that would leave its state in pieces. And a
handler may take long, or wait for another thread that waits for the loop. So while the main thread drives,
the handlers are replaced by one that takes note; if the thread sleeps it is woken; and they are called when
nothing of ours is held any more. That is far less than a millisecond later.
"""

from __future__ import annotations

import os
import sys
import threading
from _operator import itemgetter
from _thread import get_ident
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from itertools import repeat, starmap
from types import FrameType

from mrpy.light import Any, signal  # the part in C, ten times as fast: this goes around every turn

_PUT_OFF = tuple(
    getattr(signal, f"SIG{name}")
    for name in (
        "INT", "TERM", "ALRM", "HUP", "QUIT", "USR1", "USR2", "VTALRM", "PROF", "CHLD", "CONT", "IO", "PIPE",
        "TSTP", "TTIN", "TTOU", "URG", "WINCH", "XCPU", "XFSZ", "PWR",
    )
    if hasattr(signal, f"SIG{name}")
)  # fmt: skip
_DEPTH = 40  # calls; a turn takes about half of them

# From 3.13 on what a handler raises at the jump of a loop passes by the `try` around that. So there are none.
_in_c: Callable[[Iterable[Any]], object] = partial(deque, maxlen=0)
_number: Callable[[tuple[int, Any]], int] = itemgetter(0)


def _is_of_python(pair: tuple[int, Any]) -> bool:
    return callable(pair[1])


class Shield:
    """To be used in a ``with`` statement, in any thread; only in the main one is there anything to do.
    ``wake`` is called when something was noted."""

    def __init__(self, wake: Callable[[], None] = lambda: None) -> None:
        self.noted: list[int] = []
        self._wake = wake
        self._depth = 0  # a finalizer may run amid what is shielded, and use us too
        self._rising: list[tuple[int, Any]] = []  # depth and handlers of those that are interrupted at that
        self._replaced: tuple[tuple[int, Any], ...] = ()
        self._seen: tuple[Any, ...] = ()  # the handlers of the last time,
        self._to_replace: tuple[tuple[int, Any], ...] = ()  # and those of them that are Python's to call
        self._numbers: tuple[int, ...] = ()  # of these

    def __enter__(self) -> None:
        _needs(_DEPTH)  # a RecursionError comes now, or not at all
        if get_ident() != _main:
            return
        self._depth += 1
        if self._depth > 1 and self._is_up():
            return
        try:
            if self._depth > 1:
                self._set_right()
            handlers = tuple(map(signal.getsignal, _PUT_OFF))
            if handlers != self._seen:
                self._to_replace = tuple(filter(_is_of_python, zip(_PUT_OFF, handlers, strict=True)))
                self._numbers = tuple(map(_number, self._to_replace))
                self._seen = handlers
            self._replaced = self._to_replace
            _in_c(map(signal.signal, self._numbers, repeat(self._note)))
        except BaseException as error:  # of a handler that was not replaced yet
            if _is_of_a_sub_interpreter(error):
                self._replaced, self._depth = (), 0
                return
            self._leave()
            raise

    def __exit__(self, *_: object) -> None:
        if get_ident() != _main:
            return
        if self._depth > 1:
            self._depth -= 1
            return
        try:
            _in_c(starmap(signal.signal, self._replaced))
        except BaseException:  # of a handler that is back; the others have to be, too
            self._leave()
            raise
        if self._rising:  # that hands over what was noted
            self._depth, self._replaced = self._rising.pop()
            return
        self._replaced, self._depth = (), 0
        if self.noted:
            self._hand_over()

    def _leave(self) -> None:
        """Where a handler has raised amid that. Another may, before this has begun."""
        try:
            self.__exit__()
        except BaseException:
            self.__exit__()
            raise

    def _set_right(self) -> None:
        """It is neither up nor down. Where it is about to rise, and we are a handler, or a finalizer, amid
        that, it goes on from what it was, once we have used it. Else two signals, one upon the other, have
        left it half done."""
        if self._rises(sys._getframe(2)):
            self._rising.append((self._depth - 1, self._replaced))
            self._replaced = ()
        else:
            self._rising.clear()
            ours = tuple(filter(self._is_replaced, self._replaced))
            _in_c(starmap(signal.signal, ours))
        self._depth = 1

    def _rises(self, frame: FrameType | None) -> bool:
        """Whether one of these frames is that of the method that has it rise."""
        while frame is not None:
            if frame.f_code is Shield.__enter__.__code__ and frame.f_locals["self"] is self:
                return True
            frame = frame.f_back
        return False

    def _is_up(self) -> bool:
        return bool(self._replaced) and all(map(self._is_replaced, self._replaced))

    def _is_replaced(self, pair: tuple[int, Any]) -> bool:
        return bool(signal.getsignal(pair[0]) == self._note)

    def _hand_over(self) -> None:
        """Call the handlers, as if the signals came now: all, since nobody may use us any more. The last one
        that raises is heard, as in Python. They are not sent again: some were told of them already, by a
        wakeup descriptor."""
        raised = None
        while self.noted:
            number = self.noted.pop(0)
            handler = signal.getsignal(number)
            if callable(handler):
                try:
                    handler(number, sys._getframe(1))
                except BaseException as error:
                    raised = error
        if raised is not None:
            try:
                raise raised
            finally:
                del raised  # whose traceback has this frame

    def _note(self, number: int, _: FrameType | None) -> None:
        self.noted.append(number)
        self._wake()


def came_by_signal(error: BaseException) -> bool:
    """Whether a signal handler has raised it: then it is nobody's fault, and has to come out as it is."""
    if get_ident() != _main:
        return False
    handlers = map(signal.getsignal, _PUT_OFF)
    codes = {_code(handler) for handler in handlers if callable(handler)}
    frames = error.__traceback__
    while frames is not None:
        if frames.tb_frame.f_code in codes:
            return True
        frames = frames.tb_next
    return False


def _code(handler: Any) -> Any:
    while isinstance(handler, partial):
        handler = handler.func
    return getattr(handler, "__code__", None) or getattr(type(handler).__call__, "__code__", None)


_main = threading.main_thread().ident


def _note_main() -> None:
    """After a fork: the thread that forked is the main one of the child."""
    global _main
    _main = get_ident()


os.register_at_fork(after_in_child=_note_main)


def _is_of_a_sub_interpreter(error: BaseException) -> bool:
    """Whether signals are no matter of this interpreter, as in programs that embed several of them. They
    reach no Python here, so from now on there is nothing to put off."""
    global _main
    if type(error) is not ValueError or not str(error).startswith("signal only works in main thread"):
        return False
    _main = None
    return True


def _needs(depth: int) -> int:
    """Raises RecursionError where so many calls do not fit on the stack any more."""
    return depth and _needs(depth - 1)

"""One call at a time: a `PendingResult` is the answer to `submit`, whether or not it is there yet."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from queue import Empty
from typing import TYPE_CHECKING, Any

from mrpy.errors import OF_THE_SESSION, Cancelled, SerializationError
from mrpy.inside import giving_way, waiting
from mrpy.iterators.arguments import end_of, function_for
from mrpy.light import Generic, T
from mrpy.mapreduce.anew import single_code
from mrpy.mapreduce.steps import name_of
from mrpy.options import Options
from mrpy.scheduler import codec
from mrpy.scheduler.calls import Call
from mrpy.scheduler.current import SingleCall, single_call
from mrpy.scheduler.driver import Delivery
from mrpy.scheduler.failure import capture, no_end, without_frames
from mrpy.scheduler.inbox import Inbox
from mrpy.scheduler.job import LoopGate, next_of, shown
from mrpy.scheduler.messages import Key
from mrpy.scheduler.states import State


class PendingResult(Generic[T]):
    """The result of one call that runs elsewhere. It makes progress while nobody waits for it."""

    _is_missed = False  # if its session ends before it: where somebody has it, and no executor, which waits

    def __init__(
        self,
        function: Callable[..., T],
        args: Any,
        kwargs: Any,
        options: Options,
        call: SingleCall | None = None,
    ) -> None:
        self._name = name = options.name or name_of(function)
        self._delivery: Delivery | None = None
        self._to_tell: list[Callable[[PendingResult[T]], object]] = []  # for each who waits
        self._callbacks: list[Callable[[PendingResult[T]], Any]] = []
        self._lock = threading.RLock()  # whoever has it while there is no delivery is shielded: that may come
        self._cancelled = False
        self._opened: tuple[bool, Any] | None = None
        self._on_error = options.on_error
        job, number = call or single_call(options)
        self._driver = job.driver
        self._key: Key = None
        try:
            code, own = single_code(function, name, self._driver.backend)
            to_do = Call(code, (args, kwargs, options.seed, number, *own))
            task = job.task(to_do, retries=options.retries, timeout=options.timeout)
        except SerializationError as error:  # it cannot travel: that is how it ends
            told = capture(without_frames(error), travels=False)  # which have this one
            self._delivery = Delivery((0, 0), State.FAILED, told, 0, None)
            return
        self._key = task.key
        self._driver.add([task], self._receive)
        try:
            if not self._driver.backend.threaded:
                self._driver.wait_for(self.done)  # a serial backend runs it here and now
            self._is_missed = call is None
        finally:
            del self  # as in `result`

    def done(self) -> bool:
        """Whether there is a result, an error, or a cancellation."""
        return self._cancelled or self._delivery is not None

    def result(self, timeout: float | None = None) -> T:
        """Wait for the value and return it, or raise what the function raised. Raises `TimeoutError` if
        it takes longer than `timeout` seconds (the call goes on), `Cancelled` if it was cancelled."""
        try:
            value: T = _given(*self._outcome(timeout))
            return value
        finally:  # it has what is raised here, and that would have this frame, whose arguments IPython shows
            self = None  # type: ignore[assignment]

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end; return what the function raised, or None."""
        failed, value = self._outcome(timeout)
        return value if failed else None

    def cancel(self) -> bool:
        """Stop the call, whether it runs or waits; False if it is over already. From then on it is done, and
        to ask for its result raises `Cancelled`."""
        with self._driver.shield, self._lock:
            if self.done():
                return self._cancelled
            self._driver.check_owner()
            self._cancelled = True
            callbacks = self._let_in()
        self._driver.abandon([self._key])
        self._call(callbacks)
        return True

    def cancelled(self) -> bool:
        """Whether `cancel` came in time."""
        return self._cancelled

    def add_done_callback(self, function: Callable[[PendingResult[T]], Any]) -> None:
        """Have ``function(self)`` called at the end, in a thread of mrpy's, the session that is open now in
        force; at once, and here, if it has ended. In that thread callbacks are called one after the other, in
        the order in which calls end; the end of the session waits for none. What one raises is printed."""
        function_for("add_done_callback", function)
        with self._driver.shield, self._lock:
            if not self.done():
                self._driver.check_owner()
                context = copy_context()
                self._callbacks.append(lambda self: context.run(function, self))
                return
        self._driver.aside.here(partial(self._call_back, function))

    def __await__(self) -> Generator[Any, None, T]:
        """In asyncio ``await pending`` is its `result`, and does not block the event loop. Who is cancelled
        while he awaits it cancels the call, as with a future of asyncio. (`asyncio.wait` wants tasks: give it
        ``asyncio.ensure_future(pending)``.)"""
        try:
            value: T = _given(*(yield from self._awaited()))
            return value
        finally:
            self = None  # type: ignore[assignment]  # as in `result`

    def _awaited(self) -> Generator[Any, None, tuple[bool, Any]]:
        if self._driver.threadless:
            self._driver.lead(self.done)
        if not self.done():
            self._driver.check_owner()
        gate = LoopGate()
        try:
            if self._is_to_tell(lambda _: gate.release()):
                with giving_way():
                    yield from gate.opened
            yield from shown(self._driver.backend.said).__await__()
        except BaseException:
            self.cancel()
            raise
        if not self._driver.backend.near:
            import asyncio  # who awaits has it

            yield from asyncio.to_thread(self._ended).__await__()
        return self._ended()

    if not TYPE_CHECKING:  # type checkers would take any name for one of its own

        def __getattr__(self, name: str) -> Any:
            from mrpy.iterators import elsewhere  # only for those who mistype

            raise AttributeError(elsewhere.result_called_here(name))

    def __repr__(self) -> str:
        state = "cancelled" if self._cancelled else "done" if self.done() else "pending"
        return f"<PendingResult {self._name}: {state}>"

    def __reduce__(self) -> Any:
        raise SerializationError(
            f"{self!r} stays in its own process, where the result arrives. Give the result instead: "
            "pending.result(), or [each.result() for each in pending]"
        )

    def _receive(self, delivery: Delivery) -> None:
        with self._lock:
            self._delivery = delivery
            callbacks = self._let_in()
        self._call(callbacks)

    def _left(self) -> str | None:
        """What it is called, where it is lost when its session ends: for that."""
        return self._name if self._is_missed and not self.done() else None

    def _let_in(self) -> list[Callable[[PendingResult[T]], Any]]:
        """Let go on who waits; the callbacks that are to be called."""
        with suppress(IndexError):  # whoever is not to be told any more may have taken the last one
            while self._to_tell:
                self._to_tell.pop(0)(self)
        callbacks, self._callbacks = self._callbacks, []
        return callbacks

    def _call(self, callbacks: list[Callable[[PendingResult[T]], Any]]) -> None:
        for function in callbacks:
            self._driver.aside.call(partial(self._call_back, function))

    def _call_back(self, function: Callable[[PendingResult[T]], Any]) -> None:
        self._show()
        function(self)

    def _show(self, until: float | None = None) -> None:
        """Have seen what the call has said, before anybody hears that it has ended."""
        self._driver.backend.said.wait(math.inf if until is None else until)

    def _outcome(self, timeout: float | None) -> tuple[bool, Any]:
        until = end_of(timeout)
        if not self.done():
            self._driver.check_owner()
            self._driver.lead(self.done, until)
            if not self.done() and not waiting(lambda: self._wait(until)):
                seconds = float(timeout or 0)
                raise TimeoutError(f"{self._name} has not ended after {seconds:g} seconds; it goes on")
        self._show(until)
        if until is not None and not self._is_here(until):
            raise TimeoutError(f"{self._name} has ended, but its result has not come here in time; ask again")
        return self._ended()

    def _is_here(self, until: float) -> bool:
        """Whether its value is, by then: it may lie on a cluster that has lost it, and makes it again."""
        delivery = self._delivery
        value = None if delivery is None else delivery.value
        return value is None or self._driver.backend.bring(value, until)

    def _ended(self) -> tuple[bool, Any]:
        with self._lock:
            if self._opened is None:
                self._opened = self._open()
                if self._delivery is not None:  # not held twice, as it came too
                    if self._delivery.failure is not None:
                        self._delivery.failure.let_go()
                    self._delivery = self._delivery._replace(value=None)
            return self._opened

    def _is_to_tell(self, tell: Callable[[PendingResult[T]], object]) -> bool:
        """Have this called with it at the end, once, by whoever notes that: it must neither block nor raise.
        False: it has ended. There is no lock, since many are asked by one who waits for the first of them:
        if it ends amid this, one of both takes `tell` out of the list."""
        self._to_tell.append(tell)
        return not (self.done() and self._is_not_to_tell(tell))

    def _is_not_to_tell(self, tell: Callable[[PendingResult[T]], object]) -> bool:
        """The opposite. False: it is told already, or just now."""
        try:
            self._to_tell.remove(tell)
        except ValueError:
            return False
        return True

    def _wait(self, until: float | None) -> bool:
        ended: Inbox[PendingResult[T]] = Inbox()  # no event: a handler may come amid it
        try:
            if self._is_to_tell(ended.put):
                next_of(ended, until)
        except Empty:
            pass
        finally:
            self._is_not_to_tell(ended.put)
        return self.done()

    def _open(self) -> tuple[bool, Any]:
        failed, value = self._as_it_ended()
        if not failed or isinstance(value, OF_THE_SESSION) or self._on_error in ("raise", "skip"):
            return failed, value
        if not callable(self._on_error):
            return False, value
        try:
            return False, self._on_error(value)
        except StopIteration as error:
            return True, no_end(error)
        except Exception as error:
            return True, error

    def _as_it_ended(self) -> tuple[bool, Any]:
        if self._cancelled:
            return True, Cancelled(f"{self._name} was cancelled")
        delivery = self._delivery
        assert delivery is not None
        if delivery.value is not None:
            try:
                return False, delivery.value.load()
            except Exception as error:
                codec.let_through(error)  # it may be asked once more
                return True, error
        if delivery.failure is None:
            return True, Cancelled(f"{self._name} was cancelled")
        return True, delivery.failure.exception()


def _given(failed: bool, value: Any) -> Any:
    if failed:
        try:
            raise value
        finally:
            value = None  # else it had itself, and all frames it passes, until the garbage collector comes
    return value

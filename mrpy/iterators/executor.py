"""An `Executor` of `concurrent.futures` over mrpy's workers, for what takes one: asyncio, Dask, samplers."""

from __future__ import annotations

import atexit
import os
import threading
import time
from _thread import allocate_lock
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from contextlib import suppress
from itertools import islice
from queue import Empty
from typing import Any

from mrpy.errors import Cancelled, OptionError
from mrpy.inside import LOOK_EVERY, inside
from mrpy.iterators.arguments import check_callable, end_of
from mrpy.iterators.pending import PendingResult
from mrpy.iterators.together import wait as wait_for
from mrpy.light import P, R
from mrpy.mapreduce.anew import Once
from mrpy.mapreduce.steps import name_of
from mrpy.options import resolve
from mrpy.scheduler.current import opened_for, single_call_of
from mrpy.scheduler.inbox import Inbox
from mrpy.scheduler.session import Session, program_ended_by
from mrpy.scheduler.states import ON_BACKEND

with suppress(RuntimeError):  # Python ends already; else it ends in the order of imports, the last one first
    import concurrent.futures.thread  # noqa: F401

LINGER = 0.05  # seconds that the thread which tells futures of their end waits for more to do


class Executor(futures.Executor):
    """Runs calls as `mrpy.submit` does, and gives futures of `concurrent.futures` for them.

    It needs no ``if __name__ == "__main__"``, takes lambdas, and survives workers that die. It has the
    workers of the `session` in whose block it is made, or those that all runs share: `shutdown` waits for its
    own calls, and takes no more. The options are those of `submit`.

    ``cancel()`` of a future stops a call that runs already, too; and so does Ctrl-C in the block.

    >>> import mrpy
    >>> with mrpy.Executor(backend="serial") as executor:
    ...     executor.submit(pow, 2, 10).result()
    1024
    """

    def __init__(self, workers: int | None = None, **options: Any) -> None:
        self._options = resolve(options if workers is None else {"workers": workers, **options})
        for name in options:
            if name not in _OF_A_CALL:
                raise OptionError(f"{name}= is not for single calls, as an Executor makes: for mrpy.pmap")
        self._session = opened_for(self._options)
        self._shut = False

    @property
    def _max_workers(self) -> int:
        """What Dask asks its pools for."""
        return self._options.worker_count

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> futures.Future[R]:
        """Have ``fn(*args, **kwargs)`` run on a worker. Raises `RuntimeError` after `shutdown`."""
        if self._shut or _nobody_waits:
            raise RuntimeError("cannot schedule new futures after shutdown")
        check_callable("submit", fn)
        call = single_call_of(self._own_session(), self._options)
        pending = PendingResult(fn, args, kwargs, self._options, call)
        with pending._driver.shield:  # one that is noted and does not follow would be waited for for ever
            future = _Future(pending, self)
            _under_way.add(future)
            future.follow()
        if self._shut:  # meanwhile, by another thread, which may not have seen this one
            future.cancel()
            raise RuntimeError("cannot schedule new futures after shutdown")
        return future

    def map(
        self,
        fn: Callable[..., R],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        **given: Any,
    ) -> Iterator[R]:
        """As in `ProcessPoolExecutor`: all items are sent at once, `chunksize` of them as one call; each as
        one where there is an ``on_error``, ``retries`` or a ``timeout`` for it. On processes what `fn` holds,
        and where you are, counts as it is when the first is sent, and what calls write to a class of a script
        stays in that worker to the end of the map. `mrpy.pmap` cuts by itself, and keeps memory level.

        >>> import mrpy
        >>> with mrpy.Executor(backend="serial") as executor:
        ...     list(executor.map(pow, range(5), range(5), chunksize=2))
        [1, 1, 4, 27, 256]
        """
        check_callable("map", fn)
        if chunksize < 1:
            raise ValueError(f"chunksize={chunksize!r}: must be at least 1")
        one_by_one = self._options.on_error != "raise" or self._options.retries or self._options.timeout
        if chunksize == 1 or one_by_one:
            return self._map("calls", Once(fn), iterables, timeout, given)

        def each(chunk: list[tuple[Any, ...]]) -> list[Any]:
            return [fn(*arguments) for arguments in chunk]

        each.__qualname__ = name_of(fn)
        items = zip(*iterables, strict=False)
        chunks = iter(lambda: list(islice(items, chunksize)), [])
        lists = self._map("chunks", Once(each), (chunks,), timeout, given)
        return (value for values in lists for value in values)

    def _map(
        self, what: str, fn: Callable[..., R], iterables: tuple[Iterable[Any], ...], timeout: Any, given: Any
    ) -> Iterator[R]:
        """That of the standard library, but for what it says when the time is over."""
        until = end_of(timeout)
        if until is None or given:
            return super().map(fn, *iterables, timeout=timeout, **given)
        problem = f"{what} have not ended after {float(timeout):g} seconds; they are cancelled"
        return _in_time([self.submit(fn, *each) for each in zip(*iterables, strict=False)], problem, until)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; wait for those that are under way, or stop them with `cancel_futures`. One of
        them cannot wait: there it is a `RuntimeError`."""
        self._shut = True
        if cancel_futures:
            for future in self._calls():
                future.cancel()
        if wait:
            calls = self._calls()
            if any(future.runs_here() for future in calls):
                raise RuntimeError("a call would wait for itself here: shutdown(wait=False)")
            for future in calls:
                future.finish()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.shutdown(cancel_futures=kind is not None and issubclass(kind, KeyboardInterrupt))

    def _own_session(self) -> Session | None:
        """That in whose block it was made, as long as it is open. Tasks of that have the process's own, since
        they would wait for each other."""
        gone = self._session is None or self._session.driver.closed or inside.task
        return None if gone else self._session

    def _calls(self) -> list[_Future]:
        """Those that are under way."""
        return [future for future in list(_under_way) if future.executor is self]


_OF_A_CALL = ("backend", "workers", "on_error", "retries", "timeout", "seed", "name")


class _Future(futures.Future[Any]):
    """A pending result as a future. Whoever asks it asks that. Its own state, for those who look into it,
    follows a moment after the end; until then it is PENDING, also where it is `running`."""

    _done_callbacks: list[Callable[[futures.Future[Any]], object]]

    def __init__(self, pending: PendingResult[Any], executor: Executor) -> None:
        super().__init__()
        self.pending = pending
        self.executor = executor
        self._settled = allocate_lock()  # open when this has ended, and all its callbacks were called
        self._settled.acquire()

    def follow(self) -> None:
        """Settle as soon as that has ended."""
        if not self.pending._is_to_tell(self._ends):
            self._ends(self.pending)

    def _ends(self, _: PendingResult) -> None:
        _ended.put(self)
        if _settling.acquire(blocking=False):
            self.pending._driver.aside.call_apart(_settle_all)

    def settle(self) -> None:
        """Take over how that has ended, and see to it that whoever wants to is called back."""
        try:
            if self.pending.cancelled():
                super().cancel()
            if self.set_running_or_notify_cancel():
                try:
                    failed, value = self.pending._outcome(None)
                except BaseException as problem:  # whatever a value may raise as it is opened
                    failed, value = True, problem
                self.set_exception(value) if failed else self.set_result(value)
        finally:
            if self._done_callbacks:  # from here on nobody adds any: they are called at once
                self.pending._driver.aside.call(self._call_back)
            else:
                self._is_settled()

    def _invoke_callbacks(self) -> None:
        """By `settle`, which others wait for: callbacks may take long, and have a thread of their own."""

    def _call_back(self) -> None:
        try:
            super()._invoke_callbacks()  # type: ignore[misc]
        finally:
            self._is_settled()

    def _is_settled(self) -> None:
        _under_way.discard(self)
        self._settled.release()

    def runs_here(self) -> bool:
        """Whether it is this call that asks."""
        return self.pending._driver.backend.runs_here(self.pending._key)

    def finish(self) -> None:
        """Wait until it has ended, and all its callbacks were called; but no callback waits for others."""
        wait_for([self.pending])
        with self.pending._driver.shield:  # whoever has taken one to settle it has to do so
            _settle_those_that_ended()
        aside = self.pending._driver.aside
        while not aside.amid:
            aside.catch_up()  # where no thread does so
            if self._settled.acquire(timeout=LOOK_EVERY):
                self._settled.release()
                return

    def cancel(self) -> bool:
        return self.pending.cancel()

    def cancelled(self) -> bool:
        return self.pending.cancelled()

    def running(self) -> bool:
        record = self.pending._driver.scheduler.records.get(self.pending._key)
        return record is not None and record.state in ON_BACKEND and not self.done()

    def done(self) -> bool:
        return self.pending.done()

    def result(self, timeout: float | None = None) -> Any:
        try:
            return self.pending.result(timeout)
        except Cancelled:
            self._raise_if_cancelled()
            raise
        finally:
            self = None  # type: ignore[assignment]  # as there

    def exception(self, timeout: float | None = None) -> BaseException | None:
        error = self.pending.exception(timeout)
        self._raise_if_cancelled()
        return error

    def _raise_if_cancelled(self) -> None:
        if self.cancelled():
            raise futures.CancelledError from None


def _in_time(calls: list[Any], problem: str, until: float) -> Iterator[Any]:
    """Their results, as far as they have ended by then. Whatever ends this cancels the others."""
    many = len(calls)
    calls.reverse()
    try:
        while calls:
            if not calls[-1].done() and wait_for([calls[-1].pending], until - time.monotonic()).not_done:
                left = sum(not call.done() for call in calls)
                raise TimeoutError(f"{left} of {many} {problem}")
            yield calls.pop().result()
    finally:
        for call in calls:
            call.cancel()


_under_way: set[_Future] = set()
_ended: Inbox[_Future] = Inbox()  # of these, and not settled yet
_settling = allocate_lock()  # whoever has it does so: one thread for all that end at about the same time


def _settle_all() -> None:
    while True:
        _settle_those_that_ended(LINGER)
        _settling.release()
        if not _ended or not _settling.acquire(blocking=False):  # one may have come in between
            return


def _settle_those_that_ended(patience: float = 0) -> None:
    while True:
        try:
            future = _ended.get(patience)
        except Empty:
            return
        future.settle()
        del future  # it may be the last one for a while


def _forget_after_fork() -> None:
    global _settling, _ended
    _settling, _ended = allocate_lock(), Inbox()
    _under_way.clear()  # nothing of them arrives there


os.register_at_fork(after_in_child=_forget_after_fork)


_nobody_waits = False  # any more, for calls that are made now: Python ends


@atexit.register
def _finish_the_last() -> None:
    """Other threads may have gone on since."""
    global _nobody_waits
    _nobody_waits = True
    _finish_all()


def _finish_all() -> None:
    """At the end of the program wait for what is under way, as the standard library does; but stop it where
    Ctrl-C has ended the program."""
    if program_ended_by() is KeyboardInterrupt:
        for future in list(_under_way):
            future.cancel()
    for future in list(_under_way):
        future.finish()


with suppress(RuntimeError):  # Python ends already
    # Before sessions on Dask end, and the pools of `concurrent.futures` take nothing more, to which what
    # is called back may hand something.
    threading._register_atexit(_finish_all)  # type: ignore[attr-defined]

"""Several pending results together: all of them, or each as it ends."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from operator import attrgetter
from queue import Empty
from typing import Any, Literal, TypeAlias

from mrpy.inside import waiting
from mrpy.iterators.arguments import end_of, see_that_all_are_iterable
from mrpy.iterators.pending import PendingResult
from mrpy.light import Generic, NamedTuple, R, T
from mrpy.scheduler.driver import Driver
from mrpy.scheduler.inbox import Inbox
from mrpy.scheduler.job import next_of

Until: TypeAlias = Literal["ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"]
_driver_of = attrgetter("_driver")
_UNTIL = ("ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION")  # the words of concurrent.futures


class Waited(NamedTuple, Generic[T]):
    """What `wait` returns."""

    done: set[PendingResult[T]]
    not_done: set[PendingResult[T]]


def gather(pending: Iterable[PendingResult[R]], timeout: float | None = None) -> list[R]:
    """Wait for all of them, and return their values, in this order: ``[each.result() for each in pending]``.

    What the first of them in this order raised is raised as soon as those before it have ended; the others go
    on. So it is with `TimeoutError`, after so many seconds. A Ctrl-C cancels them if an iterator gave them,
    since nobody else may have them. In asyncio: ``await asyncio.gather(*pending)``.

    >>> import mrpy
    >>> with mrpy.session("serial"):
    ...     mrpy.gather(mrpy.submit(pow, 2, n) for n in range(5))
    [1, 2, 4, 8, 16]
    """
    given = _checked("gather", pending)
    alone = given if isinstance(pending, Iterator) else []
    until = end_of(timeout)
    each: PendingResult[Any] | None = None
    values = []
    try:
        for place, each in enumerate(given):
            if not (each.done() or _ends(each, until, alone)):
                raise _too_late(sum(not one.done() for one in given[place:]), len(given), timeout)
            values.append(each.result(None if until is None else until - time.monotonic()))
        return values
    finally:
        pending, given, alone, each = [], [], [], None  # they have what is raised, and that this frame


def as_completed(
    pending: Iterable[PendingResult[R]], timeout: float | None = None
) -> Iterator[PendingResult[R]]:
    """Each of them as it ends, those first that have ended: as in `concurrent.futures`.

    One that is given twice comes once. Raises `TimeoutError` where they take longer than `timeout` seconds in
    all, counted from this call; they go on. A Ctrl-C does as in `gather`. For one function and many items
    ``pmap(..., ordered=False)`` does this with less ado.

    >>> import mrpy
    >>> with mrpy.session("serial"):
    ...     pending = [mrpy.submit(pow, 2, n) for n in range(5)]
    ...     sum(each.result() for each in mrpy.as_completed(pending))
    31
    """
    given = list(dict.fromkeys(_checked("as_completed", pending)))
    return _until_all_have(given, timeout, end_of(timeout), isinstance(pending, Iterator))


def wait(
    pending: Iterable[PendingResult[R]], timeout: float | None = None, return_when: Until = "ALL_COMPLETED"
) -> Waited[R]:
    """Wait for them, `timeout` seconds at most; return ``(done, not_done)``, two sets.

    As in `concurrent.futures`. `return_when` may also be ``"FIRST_COMPLETED"``, or ``"FIRST_EXCEPTION"``:
    until one of them has raised.

    >>> import mrpy
    >>> with mrpy.session("serial"):
    ...     done, not_done = mrpy.wait([mrpy.submit(pow, 2, n) for n in range(5)])
    >>> len(done), len(not_done)
    (5, 0)
    """
    given = list(dict.fromkeys(_checked("wait", pending)))
    if return_when not in _UNTIL:
        raise ValueError(f"return_when={return_when!r}: must be one of {', '.join(_UNTIL)}")
    until = end_of(timeout)
    first = return_when == "FIRST_COMPLETED"
    if not (first and any(each.done() for each in given)):
        with closing(_as_they_end([*given], until)) as ended:
            for each in ended:
                looks = return_when == "FIRST_EXCEPTION" and not each.cancelled()
                if first or (looks and each.exception(0) is not None):
                    break
    done = {each for each in given if each.done()}
    for each in done:
        each._show(until)
    return Waited(done, {each for each in given if each not in done})


def _ends(pending: PendingResult[Any], until: float | None, alone: list[PendingResult[Any]]) -> bool:
    """Whether it does until then: wait for it. A Ctrl-C cancels what is there for us ``alone``."""
    try:
        with closing(_as_they_end([pending], until)) as ended:
            return next(ended, None) is not None
    except KeyboardInterrupt:
        _cancel(alone)
        raise


def _cancel(pending: Iterable[PendingResult[Any]]) -> None:
    for each in pending:
        each.cancel()


def _as_they_end(
    given: list[PendingResult[Any]], until: float | None, *, alone: bool = False
) -> Generator[PendingResult[Any], None, None]:
    """These, all different, as they end: those first that have ended. It ends before them where it is
    `until`. What has been yielded is not kept here, nor in the list. To be closed, and not left to the
    garbage collector, where what a signal handler raises is lost. ``alone``: nobody else has them; Ctrl-C is
    their end."""
    ended: Inbox[PendingResult[Any]] = Inbox()
    waits: dict[PendingResult[Any], None] = {}
    try:
        waits.update(dict.fromkeys(given))
        given.clear()
        drivers = Counter(map(_driver_of, waits))
        for driver in {each._driver for each in waits if not each.done()}:
            driver.check_owner()
        for each in waits:
            if not each._is_to_tell(ended.put):
                ended.put(each)
        while waits:
            try:
                each = _next(ended, drivers, until)
            except Empty:
                return
            del waits[each]
            drivers[each._driver] -= 1
            yield each
            del each
    except KeyboardInterrupt:
        if alone:
            _cancel([*waits, *given])
        raise
    finally:
        for each in waits:
            each._is_not_to_tell(ended.put)


def _next(
    ended: Inbox[PendingResult[Any]], drivers: Counter[Driver], until: float | None
) -> PendingResult[Any]:
    """The next one. Where all are of one session the work of its driver is done here, as for a single one."""
    theirs = [driver for driver, many in drivers.items() if many]
    for driver in theirs:
        if (len(theirs) == 1 or driver.threadless) and not ended:
            driver.lead(lambda: bool(ended), until)
    return waiting(lambda: next_of(ended, until))


def _until_all_have(
    given: list[PendingResult[Any]], timeout: float | None, until: float | None, alone: bool
) -> Iterator[PendingResult[Any]]:
    many = left = len(given)
    with closing(_as_they_end(given, until, alone=alone)) as ended:
        for each in ended:
            left -= 1
            each._show(until)
            yield each
            del each
    if left:
        raise _too_late(left, many, timeout)


def _checked(verb: str, pending: Any) -> list[PendingResult[Any]]:
    if isinstance(pending, PendingResult):
        several = f"{verb}() takes several pending results: [{pending!r}, ...], one iterable of them"
        raise TypeError(f"{several}; of a single one it is .result()" if verb == "gather" else several)
    see_that_all_are_iterable(verb, pending)
    given = list(pending)
    for each in given:
        if not isinstance(each, PendingResult):
            raise TypeError(
                f"{verb}() takes what mrpy.submit() returned, not {type(each).__name__} {each!r:.60}"
                + _cure_of_a_future(verb, each)
            )
    return given


def _cure_of_a_future(verb: str, thing: Any) -> str:
    from concurrent.futures import Future  # only where there is an error to explain

    theirs = "as_completed" if verb == "as_completed" else "wait"
    return f"; concurrent.futures has a {theirs}() for futures" if isinstance(thing, Future) else ""


def _too_late(left: int, many: int, timeout: Any) -> TimeoutError:
    return TimeoutError(f"{left} of {many} calls have not ended after {float(timeout):g} seconds; they go on")

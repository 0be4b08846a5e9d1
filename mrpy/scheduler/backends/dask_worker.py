"""What runs on a Dask worker: one call, wrapped so that nothing of the user's meets Dask's own machinery.

A value lies on the cluster as `Stored`: pickled where it was made, so that what cannot travel is an
error there and then, and a task that changes its input in place changes nobody else's.

What the session hears of a call, as events under the id of its client:

    (number, RUNS, address, pid)      it began, and where
    (number, BEGAN, item)             an item began                    (only where `careful`)
    (number, THROUGH, seconds, size, note)  it is through; its value has this many bytes; what it noted
    (0, SAID, pid, message)           what it printed, logged or warned of (only where the worker is ours)
    (0, ALL_SAID)                     the session is over, and nothing more is said

Workers that mrpy started itself are the user's own: they go to his working directory and import path, and
what calls say there comes out in his process (``relay.py``). On somebody else's cluster the import path is
only added to, at its end, and the working directory and the streams are left alone: other people's tasks
share the process.
"""

from __future__ import annotations

import asyncio
import faulthandler
import marshal
import os
import pickle
import sys
import traceback
from collections.abc import Callable
from functools import cache
from time import perf_counter
from typing import Any, SupportsIndex

from distributed import Reschedule, get_worker
from distributed.utils import sync

from mrpy.light import Frozen
from mrpy.scheduler import codec
from mrpy.scheduler.backends import relay
from mrpy.scheduler.backends.dask_ending import GRACE, STUCK, begins, is_through, look_after, watch
from mrpy.scheduler.backends.dask_opened import forget, opened
from mrpy.scheduler.backends.dask_started import wait_until_started
from mrpy.scheduler.backends.pickled import Pickled
from mrpy.scheduler.backends.worker_main import encode_failure
from mrpy.scheduler.calls import Parts, TaskStopped, apart, perform
from mrpy.scheduler.failure import At
from mrpy.scheduler.here import Here, go_there
from mrpy.scheduler.policy import LONGEST_WAIT

RUNS, BEGAN, THROUGH, SAID, ALL_SAID = 1, 2, 3, 4, 5
PASSED = 1.0  # seconds in which Dask is through with an exception; out of the air
ALIGNED = 16  # bytes; as malloc does


class Raised(Exception):
    """The user's exception on its way through Dask: a pickled `Failure`."""

    def __str__(self) -> str:
        return "a task of mrpy raised"  # short: Dask cuts down exceptions whose text is long, payload and all

    __repr__ = __str__


class Stored(Pickled):
    """A value on the cluster. Its buffers travel beside the pickle, uncopied."""

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        shape, parts = codec.flatten(self.payloads)
        apart = int(protocol) >= 5  # which of the two Dask uses differs from one connection to the next
        return _stored, (shape, [_travelling(part, apart) for part in parts], self.in_parts)

    def __sizeof__(self) -> int:  # Dask asks for it before it decides what goes to disk
        return super().__sizeof__() + self.nbytes

    def private(self, part: int | None) -> Any:
        """The value, or a part of it, for one task to keep: what it changes there, nobody else sees."""
        body, buffers = self.part(part)
        return codec.decode(codec.Payload(body, tuple(map(_own, buffers))))


def _stored(shape: codec.Shape, parts: list[Any], in_parts: bool) -> Stored:
    return Stored(codec.unflatten(shape, [_raw(part) for part in parts]), in_parts)


def _travelling(part: Any, apart: bool) -> Any:
    if apart and len(part) >= codec.IN_BAND:
        return pickle.PickleBuffer(part)
    return bytes(part) if memoryview(part).readonly else bytearray(part)


def _raw(part: Any) -> Any:
    return part.raw() if isinstance(part, pickle.PickleBuffer) else part


def _own(buffer: Any) -> Any:
    return buffer if memoryview(buffer).readonly and _is_aligned(buffer) else codec.copy_of(buffer)


def _is_aligned(buffer: Any) -> bool:
    """Whether it begins where arrays do: NumPy sums others in another order, to other bits."""
    import numpy  # as large buffers are of arrays mostly

    return not len(buffer) or int(numpy.frombuffer(buffer, numpy.uint8).ctypes.data) % ALIGNED == 0


class Care(Frozen):
    """Whether items are announced; and whether each waits until that is heard: it may kill its worker."""

    careful: bool
    sure: bool


class Sent(Frozen):  # no tuple: Dask would look for its own keys in it
    """What a call is sent with. ``parts``: which part of each input it wants, None for all of it."""

    topic: str
    number: int
    code: int  # the number of the function
    pickled: Any  # Dask's key of its pickle
    data: Stored
    parts: tuple[int | None, ...]
    care: Care
    timeout: float | None  # of each item
    ours: bool  # the worker belongs to the session

    @property
    def latest(self) -> float | None:
        """Seconds of an item after which its process is ended, if it may be."""
        if not self.ours or self.timeout is None:
            return None
        return min(self.timeout + GRACE + STUCK, LONGEST_WAIT)


def keep(blob: bytes) -> bytes:
    """A function's pickle as a task of its own: sent once, and made again if its worker is lost."""
    return blob


def pick(value: Stored, part: int) -> Stored:
    """One part of a value, taken where the value lies."""
    return Stored([value.part(part)], False)


def run(order: Sent, blob: bytes, *inputs: Stored) -> Stored:
    """Run a call. Raises `Raised`; or, where it was ended, has Dask run it again if anybody wants it."""
    outcome: Stored | None = None
    failure = b""
    ended = False
    worker = get_worker()
    key = worker.get_current_task()
    try:
        try:
            begins(key)
            if not order.ours:
                watch(worker, key)
            wait_until_started(worker)
            _tell(order, RUNS, worker.address, os.getpid(), sure=True)  # else whose is a death?
            outcome = perform(_perform, order, (blob, inputs))  # what it imports may run something of its own
        except BaseException as error:
            ended = isinstance(error, TaskStopped) and not order.ours
            failure = encode_failure(error)
        if order.ours:
            _say_all()
    finally:  # it may be stopped while its exception is told: it ends then, and is not to cost the worker
        try:
            is_through(key)
        except TaskStopped:  # which has come amid that
            is_through(key)
        if order.latest is not None:
            faulthandler.cancel_dump_traceback_later()
        if not order.ours:
            look_after(worker, order.pickled)
    if outcome is None:  # out here, what is raised holds no frame of the user's
        raise _passing(worker, Reschedule() if ended else Raised(failure))
    return outcome


def _passing(worker: Any, error: Exception) -> Exception:
    """To be raised through Dask. There it comes to stand in a frame that it came through: a circle, with all
    that the call was given. Once it is through they are emptied."""
    worker.loop.add_callback(
        worker.loop.call_later, PASSED, lambda: traceback.clear_frames(error.__traceback__)
    )
    return error


def _perform(order: Sent, blob: bytes, inputs: tuple[Stored, ...]) -> Stored:
    if order.ours:
        _say(order.topic)
    name = order.topic, order.code
    function, announces, place, _ = opened(name, order.pickled, blob, lambda place: _go_to(place, order.ours))
    _go_to(place, order.ours)
    values = [value.private(part) for value, part in zip(inputs, order.parts, strict=True)]
    announce = _announcer(order) if order.care.careful and announces else None
    data = order.data.private(None)
    began = perf_counter()
    settings = place.settings
    if settings is not None and not order.ours:  # others compute there, and have the same filters of warnings
        settings = settings._replace(warnings=None)
    value, note = apart(perform(function, data, values, announce, settings=settings))
    seconds = perf_counter() - began
    in_parts = type(value) is Parts
    payloads = [_owned(codec.encode(part, back=True)) for part in (value if in_parts else [value])]
    said = None if note is None else pickle.dumps(note, 5)
    _tell(order, THROUGH, seconds, sum(payload.nbytes for payload in payloads), said)
    return Stored(payloads, in_parts)


def _announcer(order: Sent) -> Callable[[At | None], None]:
    """Tells of each item. What keeps the interpreter lock to itself, a regular expression say, nobody here
    could stop, nor may it have been heard that it began: for that there is a watch which needs no lock."""
    latest = order.latest

    def announce(item: At | None) -> None:
        _tell(order, BEGAN, item, sure=order.care.sure)
        if latest is None:
            return
        if item is None:  # the rest has more time
            faulthandler.cancel_dump_traceback_later()
        else:
            faulthandler.dump_traceback_later(latest, exit=True, file=_nowhere())

    return announce


@cache
def _nowhere() -> Any:
    return open(os.devnull, "w")


def _owned(payload: codec.Payload) -> codec.Payload:
    """With buffers of its own: the user may use an array again that he returned."""
    return payload._replace(buffers=tuple(map(codec.copy_of, payload.buffers)))


def _tell(order: Sent, *what: Any, sure: bool = False) -> None:
    worker = get_worker()
    message = (order.number, *what)
    if sure:
        sync(worker.loop, worker.scheduler.log_event, topic=order.topic, msg=message)
    else:
        worker.log_event(order.topic, message)


_place: Here | None = None


def _go_to(place: Here, ours: bool) -> None:
    """Be where the user was when he wrote this call, as far as this is his own worker."""
    global _place
    if place == _place:
        return
    if not ours:
        sys.path.extend(entry for entry in place.path if entry not in sys.path)
    else:
        go_there(place, _place)
        if place.levels is not None and _relayed is not None:
            theirs = [each for each in place.levels if each[0].split(".")[0] not in _OF_DASK]
            relay.relay_logging(tuple(theirs), _relayed[0])
    _place = place


# ---- what calls say ------------------------------------------------------------------------------

_OF_DASK = ("distributed", "dask", "tornado", "asyncio")  # it logs in this process, too, and not for the user
# How something is said; what ends its lines; and what has warnings be said anew.
_relayed: tuple[relay.Say, Callable[[], None], Callable[[], None]] | None = None


def _say(topic: str) -> None:
    """Have what calls say from here on go to the session, which this worker belongs to."""
    global _relayed
    if _relayed is None:
        worker, pid = get_worker(), os.getpid()  # here: a call may have threads, which know of no worker

        def say(message: tuple[Any, ...]) -> None:
            if os.getpid() == pid:  # else it is a child that a call has forked
                worker.log_event(topic, (0, SAID, pid, marshal.dumps(message)))

        _relayed = say, relay.relay_streams(say), relay.relay_warnings(say)
    _relayed[2]()


def _say_all() -> None:
    if _relayed is not None:
        _relayed[1]()


async def forget_all(topic: str, tears_down: bool, dask_worker: Any = None) -> None:
    """Drop all functions of a session. The answer may be there before what was said: so that has an end."""
    await forget(topic, None, tears_down, dask_worker)
    if _relayed is not None:  # behind what has been dropped before, and may just be torn down
        await asyncio.get_running_loop().run_in_executor(dask_worker.executors["default"], _say_all)
    dask_worker.log_event(topic, (0, ALL_SAID))

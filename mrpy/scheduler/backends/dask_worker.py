"""What runs on a Dask worker: one call, wrapped so that nothing of the user's meets Dask's own machinery.

A value lies on the cluster as `Stored`: pickled where it was made, so that what cannot travel is an
error there and then, and a task that changes its input in place changes nobody else's.

What the session hears of a call, as events under the id of its client:

    (number, RUNS, address, pid)      it began, and where
    (number, BEGAN, item)             an item began                    (only where `careful`)
    (number, THROUGH, seconds, size, note)  it is through; its value has this many bytes; what it noted
    (0, SAID, pid, message)           what it printed, logged or warned of (only where the worker is ours)

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
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import inf
from time import perf_counter, sleep
from typing import Any, SupportsIndex

from distributed import Reschedule, WorkerPlugin, get_worker
from distributed.utils import sync

from mrpy.scheduler import codec
from mrpy.scheduler.backends import relay
from mrpy.scheduler.backends.alarm import SOON, throw_into, throws_into
from mrpy.scheduler.backends.pickled import Pickled
from mrpy.scheduler.backends.worker_main import encode_failure
from mrpy.scheduler.calls import Parts, TaskStopped, apart, perform
from mrpy.scheduler.failure import At
from mrpy.scheduler.here import Here, keep_limits
from mrpy.scheduler.policy import LONGEST_WAIT

RUNS, BEGAN, THROUGH, SAID = 1, 2, 3, 4
STARTED = 0.5  # seconds in which a nanny is through with the start of its worker
ALIGNED = 16  # bytes; as malloc does
CODES_KEPT = 64  # opened functions per worker; out of the air
GRACE = 0.5  # seconds that a stopped task has to end by itself before its worker, if ours, is killed
STUCK = 1.0  # seconds more, behind which nobody there can have had the interpreter lock to see to that

_running: dict[Any, int] = {}  # calls at work in this process, by Dask's key, and their threads
_functions: OrderedDict[tuple[str, int], tuple[Any, bool, Here]] = OrderedDict()  # by topic and number
_lock = threading.Lock()


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


@dataclass(frozen=True, slots=True)
class Care:
    """Whether items are announced; whether each waits until that is heard: it may kill its worker; and
    whether the call has been there when one died. A nanny whose worker dies while it still sees to the start
    of it may go, too, and nobody brings that back."""

    careful: bool
    sure: bool
    suspect: bool


@dataclass(frozen=True, slots=True)  # not a tuple: Dask would look for its own keys in it
class Sent:
    """What a call is sent with. ``parts``: which part of each input it wants, None for all of it."""

    topic: str
    number: int
    code: int  # the number of the function
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
    worker = get_worker()
    key = worker.get_current_task()
    try:
        try:
            with _lock:
                _running[key] = threading.get_ident()
            if not order.ours:
                _watch(worker, key)
            _tell(order, RUNS, worker.address, os.getpid(), sure=True)  # else whose is a death?
            if order.care.suspect:
                sleep(STARTED)
            outcome = perform(_perform, order, (blob, inputs))  # what it imports may run something of its own
        except BaseException as error:
            if isinstance(error, TaskStopped) and not order.ours:
                raise Reschedule from None
            failure = encode_failure(error)
        if order.ours:
            _say_all()
    finally:  # it may be stopped while its exception is told: it ends then, and is not to cost the worker
        _through(key)
        if order.latest is not None:
            faulthandler.cancel_dump_traceback_later()
    if outcome is None:
        raise Raised(failure)  # out here, it holds no frame of the user's
    return outcome


def _perform(order: Sent, blob: bytes, inputs: tuple[Stored, ...]) -> Stored:
    if order.ours:
        _say(order.topic)
    function, announces, place = _opened(order, blob)
    _go_to(place, order.ours)
    values = [value.private(part) for value, part in zip(inputs, order.parts, strict=True)]
    announce = _announcer(order) if order.care.careful and announces else None
    data = order.data.private(None)
    began = perf_counter()
    settings = place.settings and place.settings._replace(warnings=None)  # these are of all who compute here
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


def _opened(order: Sent, blob: bytes) -> tuple[Any, bool, Here]:
    """The function, opened at its first use: with its own import path in force."""
    key = order.topic, order.code
    with _lock:
        known = _functions.get(key)
        if known is not None:
            _functions.move_to_end(key)
            return known
    whole, buffers = pickle.loads(blob)
    announces, place, body = pickle.loads(whole)
    _go_to(place, order.ours)
    made = pickle.loads(body, buffers=buffers), announces, place
    dropped = None
    with _lock:
        _functions[key] = made
        if len(_functions) > CODES_KEPT:
            dropped = _functions.popitem(last=False)
    del dropped  # out here: what it does at its end may take long
    return made


async def forget(
    topic: str, numbers: list[int] | None, tears_down: bool, dask_worker: Any = None
) -> None:
    """Drop functions, or all of a session. What they may do at their end (``tears_down``) is done by a thread
    that runs tasks: the one that has set up a `mrpy.Job`, where there is but one."""
    with _lock:
        ours = [key for key in _functions if key[0] == topic and (numbers is None or key[1] in numbers)]
        dropped = [_functions.pop(key) for key in ours]
    if dropped and tears_down:
        await asyncio.get_running_loop().run_in_executor(dask_worker.executors["default"], dropped.clear)


_place: Here | None = None


def _go_to(place: Here, ours: bool) -> None:
    """Be where the user was when he wrote this call, as far as this is his own worker."""
    global _place
    if place == _place:
        return
    if not ours:
        sys.path.extend(entry for entry in place.path if entry not in sys.path)
    else:
        sys.path[:], sys.argv[:] = place.path, place.arguments
        if _place is None or place.limits != _place.limits:  # else a module here may have set its own
            keep_limits(place.limits)
        if place.folder is not None:
            os.chdir(place.folder)
        if place.levels is not None and _relayed is not None:
            theirs = [each for each in place.levels if each[0].split(".")[0] not in _OF_DASK]
            relay.relay_logging(tuple(theirs), _relayed[0])
    _place = place


# ---- what calls say ------------------------------------------------------------------------------

_OF_DASK = ("distributed", "dask", "tornado", "asyncio")  # it logs in this process, too, and not for the user
_relayed: tuple[relay.Say, Callable[[], None]] | None = None  # how something is said; what ends its lines


def _say(topic: str) -> None:
    """Have what calls say from here on go to the session, which this worker belongs to."""
    global _relayed
    if _relayed is None:
        worker, pid = get_worker(), os.getpid()  # here: a call may have threads, which know of no worker

        def say(message: tuple[Any, ...]) -> None:
            if os.getpid() == pid:  # else it is a child that a call has forked
                worker.log_event(topic, (0, SAID, pid, marshal.dumps(message)))

        _relayed = say, relay.relay_streams(say)
        relay.relay_warnings(say)


def _say_all() -> None:
    if _relayed is not None:
        _relayed[1]()


# ---- stopping ------------------------------------------------------------------------------------


class EndsCalls(WorkerPlugin):
    """Ends calls on somebody else's worker that nobody wants any more, as Dask has it: they were cancelled,
    or whoever wanted them is gone."""

    name = "mrpy-ends-calls"

    def setup(self, worker: Any) -> None:
        self._loop = worker.loop

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        if finish == "released" and key in _running:
            self._loop.add_callback(interrupt, key, False)


def _watch(worker: Any, key: Any) -> None:
    """Have a call end when nobody wants it any more. It counts as running, so what comes now is seen."""
    if EndsCalls.name not in worker.plugins:
        sync(worker.loop, worker.plugin_add, EndsCalls())
    task = worker.state.tasks.get(key)
    if task is None or task.state == "cancelled":
        raise TaskStopped


def _through(key: Any) -> None:
    """The call is over: from here on nothing is thrown into this thread."""
    with _lock:
        _running.pop(key, None)
        throw_into(threading.get_ident(), None)  # what was thrown and has not landed yet


async def interrupt(key: Any, ours: bool) -> None:
    """End a call, if it still runs. Pure Python ends at once. A call that does not ends with its worker,
    which is then started anew - but only if it is ours."""
    ends = perf_counter() + (GRACE if ours else inf)
    while True:
        with _lock:
            thread = _running.get(key)
            if thread is None:
                return
            if (thrown := throws_into(thread, TaskStopped)) or perf_counter() > ends:
                break
        await asyncio.sleep(SOON)
    await asyncio.sleep(GRACE if ours and thrown else 0)
    if ours and key in _running:
        os._exit(1)

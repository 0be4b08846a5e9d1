"""What a task computes, as far as this package wants to know: some code and some data.

``Call(code, data)`` means ``code.function(data, *values_of_the_inputs)``. The `Code` is made once for
thousands of calls; a backend that has to send it sends it once per worker and then its number only.
"""

from __future__ import annotations

from _contextvars import Context
from _thread import RLock, get_ident
from collections.abc import Callable, Sequence
from itertools import count
from math import inf
from time import monotonic

from mrpy.inside import Place, inside, taken
from mrpy.light import TYPE_CHECKING, NamedTuple, later, pickle
from mrpy.scheduler import codec
from mrpy.scheduler.here import here
from mrpy.scheduler.settings import Settings, applied, settings

if TYPE_CHECKING:
    from typing import Any

    from mrpy.scheduler import failure as failures
    from mrpy.scheduler.failure import At, Failure
    from mrpy.scheduler.messages import Task
else:
    failures = later("mrpy.scheduler.failure")

_numbers = count(1)


class TaskStopped(BaseException):
    """Thrown into a thread whose task is no longer wanted; to be let through by whoever catches all."""


class Watch:
    """Tells of each item of a call as it begins, and keeps its time. Whoever is to stop one that is late may
    be kept from looking, by who has the interpreter lock say, and hear of it when it is through.

    ``item``  the one at work; None: what is no item's, for which there are ``rest`` seconds
    """

    def __init__(self, tell: Callable[[At | None], None], timeout: float, rest: float) -> None:
        self.item: At | None = None
        self._tell, self._timeout, self._rest = tell, timeout, rest
        self._due = monotonic() + rest

    def __call__(self, item: At | None) -> None:
        if self.is_late():
            raise TaskStopped
        self.item, self._due = item, inf
        self._tell(item)  # it may have to wait for who is to hear it
        self._due = monotonic() + (self._rest if item is None else self._timeout)

    def is_late(self) -> bool:
        """Whether that has taken longer than it may."""
        return monotonic() > self._due

    def overran(self) -> Failure:
        """What became of it then."""
        return failures.overran(self._timeout, self.item)


class Parts(tuple["Any", ...]):
    """What a call returns whose value other tasks take in parts."""

    __slots__ = ()


class Noted(NamedTuple):
    """What a call returns that has something to say to whoever added its task, while its value may stay where
    it is. ``note``: of our own classes, and small."""

    value: Any
    note: Any


def apart(made: Any) -> tuple[Any, Any]:
    """What a call returned, as its value and its note, if there is one."""
    return made if type(made) is Noted else (made, None)


class Code:
    """A function that many calls share, with the place it was written for.

    ``announce``   the function takes a keyword argument of that name, a callable to be told of each item as
                   it begins (`At`), and of None when it is through with them
    ``torn_down``  it does something when nobody refers to it any more, for which a worker is given time
    """

    def __init__(
        self, function: Callable[..., Any], name: str, *, announce: bool = False, torn_down: bool = False
    ) -> None:
        self.function = function
        self.name = name
        self.announce, self.torn_down = announce, torn_down
        self.number = next(_numbers)
        self.settings = settings(filters=False)  # of the thread that wrote the call, for others here
        self._thread = inside.waiters  # each has its own, while an ident is given again when one has ended
        self.is_as_it_was: Callable[[], bool] | None = None  # for `reuse.py`: asked when it is pickled
        self.stale = False  # it was not: no other call may use it
        self.cost: float | None = None  # seconds for a piece of its work, lately, as who calls it finds
        self.way = codec.Way()  # of what its calls were sent with
        self._payload: codec.Payload | None = None
        self._blob: bytes | None = None
        self._contexts: dict[int, Context] = {}  # by thread
        self._lock = RLock()  # a signal handler may come while this is pickled, and send it too

    def settings_here(self) -> Settings | None:
        """Those to be applied in this thread: none where it has written the call."""
        return None if inside.waiters is self._thread else self.settings

    def context_here(self) -> Context:
        """In which its calls run in this thread, a worker's: what they set there, of `decimal` say, no other
        function finds."""
        ident = get_ident()
        context = self._contexts.get(ident)
        if context is None:
            context = self._contexts[ident] = Context()
        return context

    def payload(self) -> codec.Payload:
        """The function, and where the user is at this time (`Here`), pickled once, for a process of this
        very interpreter. Raises `SerializationError`."""
        with self._lock:
            if self._payload is None:
                self._payload = self._pickled(same_python=True)
            return self._payload

    def blob(self) -> bytes:
        """The same in one piece, buffers and all, for other interpreters too."""
        with self._lock:
            if self._blob is None:
                body, buffers = self._pickled(same_python=False)
                self._blob = pickle.dumps((body, [bytes(buffer) for buffer in buffers]), 5)
            return self._blob

    def _pickled(self, *, same_python: bool) -> codec.Payload:
        if self.is_as_it_was is not None and not self.is_as_it_was():
            self.stale = True
        body, buffers = codec.encode_function(self.function, self.name, same_python=same_python)
        place = here() if same_python else here()._replace(key=None)  # they may be somebody else's
        return codec.Payload(pickle.dumps((self.announce, place, body), 5), buffers)

    def __repr__(self) -> str:
        return f"<Code {self.number} {self.name}>"


class Call(NamedTuple):
    """``code.function(data, *inputs)``. ``shared``: what was copied for the calls of a run, each once; None:
    what is copied is for this call alone."""

    code: Code
    data: Any
    shared: dict[int, Any] | None = None


def spent(task: Task) -> Task:
    """A task whose call was made: without the data of that, which may be large."""
    call = task.call
    return task._replace(call=call._replace(data=None)) if type(call) is Call else task


def perform(
    function: Callable[..., Any],
    data: Any,
    inputs: Sequence[Any],
    announce: Callable[[At | None], None] | None = None,
    place: Place = Place.ELSEWHERE,
    settings: Settings | None = None,
) -> Any:
    """Run a call here and now, with these settings. Whatever it raises comes out; a nested mrpy call finds
    `inside` set."""
    if settings is not None:
        with applied(settings):
            return perform(function, data, inputs, announce, place)
    entered, before, position = taken(place), inside.place, inside.position
    try:
        with entered:
            if announce is None:
                return function(data, *inputs)
            return function(data, *inputs, announce=announce)
    finally:  # once more, without a call into Python: a Ctrl-C may have come just when it was left
        inside.place, inside.position = before, position
        entered.running.clear()

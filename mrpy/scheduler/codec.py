"""How values become bytes and come back: pickle where it can, cloudpickle where it must.

Plain pickle is several times faster, but writes functions and classes of the main module by name, and a
worker has another main module. So a pickle that mentions ``__main__``, or that cannot be made at all
(a lambda), is made again by cloudpickle, by value; what comes next in a run is then made so at once. Large
buffers (NumPy arrays) stay out of the pickle (protocol 5) and are never copied into it.
"""

from __future__ import annotations

import gc
from _operator import call
from collections.abc import Callable, Iterable, Sequence

from mrpy.errors import SerializationError
from mrpy.light import TYPE_CHECKING, NamedTuple, pickle
from mrpy.scheduler import views
from mrpy.scheduler.importable import look_around, mentions_lost

if TYPE_CHECKING:
    from typing import Any

LARGE = 1 << 16  # bytes of a pickle that may hold so many objects that the collector shows
IN_BAND = 64 * 1024  # bytes; below it a buffer of its own costs more than the copy, up to twice as much
_CURES = {  # of results that nobody wanted to be what they are
    "generator": "the function yields: return a list, or have its items be the results, as by flat_map",
    "coroutine": "the function is async: call it by asyncio.run() in one that is not",
}
HANDLE = "open it in the function, or once per worker, in a `setup`"  # threads would share where it stands
REFUSALS = (Exception, SystemExit, GeneratorExit)  # by which a class of the user may refuse to be pickled


class Payload(NamedTuple):
    """A pickled value: the pickle and the large buffers it refers to."""

    body: bytes | bytearray | memoryview
    buffers: tuple[Any, ...] = ()  # of bytes, each with `nbytes` and `readonly`

    @property
    def nbytes(self) -> int:
        """How many bytes will travel."""
        large = sum([int(buffer.nbytes) for buffer in self.buffers]) if self.buffers else 0
        return len(self.body) + large


class Apart(bytes):
    """The pickle of something within data, which never becomes part of theirs: it was made by value where it
    had to be, and may mention a main module all the same."""


class Way:
    """How the last of several values went that are much alike, as those of a run are."""

    __slots__ = ("by_value",)

    def __init__(self) -> None:
        self.by_value = False


def encode(value: Any, *, whole: bool = False, back: bool = False, way: Way | None = None) -> Payload:
    """Pickle `value`, if ``whole`` in one piece; ``back``: it is a result; ``way``: that of others before it,
    which is tried first. Raises `SerializationError` that names it and the reason."""
    buffers, apart = _collector()
    if whole:
        apart = None
    if not back:
        look_around()
    if way is None or not way.by_value:
        try:
            body = views.dumps(value, apart, buffers)
            if not mentions_lost(body):
                return Payload(body, tuple(buffers))
        except REFUSALS as problem:  # cloudpickle may still know how
            let_through(problem)
        buffers.clear()
    from mrpy.scheduler import byvalue  # heavy: only where plain pickle does not do

    try:
        body = byvalue.dumps(value, apart)
    except REFUSALS as problem:
        let_through(problem)
        if way is not None and way.by_value:  # plain pickle was not asked
            way.by_value = False
            return encode(value, whole=whole, back=back, way=way)
        raise SerializationError(_why_not(value, problem, back=back)) from problem
    if way is not None:
        way.by_value = mentions_lost(body, by_value=True)
    return Payload(body, tuple(buffers))


def encode_apart(value: Any, *, back: bool = True) -> Payload:
    """The same of one of many values that travel together, each a pickle by itself: in one piece, since
    buffers that are pickled once more could not be written to."""
    return encode(value, whole=True, back=back)


def encode_for_disk(value: Any) -> bytes | bytearray | memoryview:
    """The same in one piece, for a file. Raises `SerializationError`."""
    try:
        return encode(value, whole=True).body
    except SerializationError as error:
        problem = error if error.__cause__ is None else error.__cause__
    raise SerializationError(
        f"what does not fit into memory= cannot be written to disk{_because_of(value)[0]}: {problem} "
        "(make what can be pickled, or allow it more memory=)"
    ) from problem


def _collector() -> tuple[list[memoryview], Callable[[pickle.PickleBuffer], bool] | None]:
    """A list, and a callback for pickle that puts large buffers there."""
    buffers: list[memoryview] = []

    def apart(buffer: pickle.PickleBuffer) -> bool:
        try:
            view = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if view.nbytes < IN_BAND and type(view.obj) is not Apart:
            return True
        buffers.append(view)
        return False

    return buffers, apart


def copy_of(buffer: Any) -> memoryview:
    """The same bytes in memory of their own, as writable as before."""
    copy = memoryview(bytearray(buffer))
    return copy.toreadonly() if memoryview(buffer).readonly else copy


def decode(payload: Payload) -> Any:
    """Open a pickle. What the user's classes raise on the way comes out, except for what would end a
    program."""
    try:
        if len(payload.body) < LARGE:
            return pickle.loads(payload.body, buffers=payload.buffers)
        return without_gc(lambda: pickle.loads(payload.body, buffers=payload.buffers))
    except (SystemExit, GeneratorExit) as problem:
        raise SerializationError(f"something that was opened raised {problem!r}") from problem


def opened(payload: Payload) -> Any:
    """What a function has returned, here and now. Raises `SerializationError` where that cannot be opened."""
    try:
        return decode(payload)
    except Exception as error:
        let_through(error)
        raise SerializationError(f"a result cannot be unpickled: {error!r}") from error


def without_gc(make: Callable[[], Any]) -> Any:
    """What `make` returns, which makes many objects and drops none: the collector would look at them again
    and again as they become more. It made a pickle of 100,000 nested tuples take four times as long."""
    enabled: bool | None = False
    try:
        enabled, _ = map(call, (gc.isenabled, gc.disable))  # in C, in one go: threads may do so side by side
        return make()
    finally:
        if enabled:
            gc.enable()


Shape = list[list[bool]]  # of each payload: of each of its buffers, whether it is read-only


def flatten(payloads: Sequence[Payload]) -> tuple[Shape, list[Any]]:
    """Payloads as one list of byte strings, and what it takes to put them together again."""
    shape: Shape = []
    parts: list[Any] = []
    for payload in payloads:
        parts.append(payload.body)
        if payload.buffers:
            shape.append([buffer.readonly for buffer in payload.buffers])
            parts.extend(payload.buffers)
        else:
            shape.append([])
    return shape, parts


def unflatten(shape: Shape, parts: Sequence[Any]) -> list[Payload]:
    """The opposite. Read-only buffers become read-only again: so do the arrays upon them."""
    payloads: list[Payload] = []
    place = 0
    for flags in shape:
        body, place = parts[place], place + 1
        if not flags:
            payloads.append(Payload(body))
            continue
        views = [memoryview(buffer) for buffer in parts[place : place + len(flags)]]
        views = [view.toreadonly() if flag else view for view, flag in zip(views, flags, strict=True)]
        payloads.append(Payload(body, tuple(views)))
        place += len(flags)
    return payloads


def encode_function(function: Any, name: str, *, same_python: bool = False) -> Payload:
    """Pickle a function (and all it needs) by value. Raises `SerializationError`, which names the variable
    that cannot travel where it can be found. ``same_python``: it is for a process of this interpreter."""
    look_around()
    buffers, apart = _collector()
    if same_python:
        from mrpy.scheduler import simple_functions

        try:
            return Payload(simple_functions.dumps(function, apart), tuple(buffers))
        except simple_functions.NotSimple as problem:
            if problem.__cause__ is not None:
                let_through(problem.__cause__)
        buffers.clear()
    from mrpy.scheduler import byvalue  # heavy: only where it is needed

    try:
        return Payload(byvalue.dumps(function, apart), tuple(buffers))
    except REFUSALS as problem:
        let_through(problem)
        raise SerializationError(_why_not(function, problem, name)) from problem


def open_function(body: bytes, buffers: Iterable[Any]) -> Any:
    """What was encoded as a function. An error of that, of a module that it imports say, says so: no item has
    raised it."""
    try:
        return pickle.loads(body, buffers=buffers)
    except Exception as error:
        try:
            error.add_note("mrpy: raised as a worker opened the function, and imported what that needs")
        except Exception:  # noqa: S110 - a class may forbid it
            pass
        raise


def let_through(problem: BaseException) -> None:
    """Raise it where it is no refusal, but what a signal handler of the user's has raised meanwhile."""
    from mrpy.scheduler.shield import came_by_signal  # not light, and only where there is a problem

    if came_by_signal(problem):
        raise problem


def _why_not(value: Any, problem: BaseException, name: str = "", *, back: bool = False) -> str:
    what = name or f"{type(value).__name__} {_name(value)}"
    where, cure = _because_of(value)
    threads = ", or use backend='threads'"
    if back:
        told = f"a result cannot be sent back from a worker: {what}{where}: {problem}"
        if type(value).__name__ in _CURES:
            return f"{told} ({_CURES[type(value).__name__]})"
        cure = "return what can be pickled"
    else:
        told = f"{what} cannot be sent to a worker{where}: {problem}"
        threads = threads if cure != HANDLE else ""
        cure = cure or "create it inside the function that needs it"
    ours = isinstance(problem, SerializationError)  # something of ours says itself what to do
    return told if ours else f"{told} ({cure}{threads})"


def _because_of(value: Any) -> tuple[str, str]:
    """What of it cannot be pickled, where that can be found, and what to do about it."""
    from mrpy.scheduler.culprit import culprit

    found, cure = culprit(value)
    return f" because of {found}" if found else "", cure


def _name(value: Any) -> str:
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    return str(name) if name else object.__repr__(value)

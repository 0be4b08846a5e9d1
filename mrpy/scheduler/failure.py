"""Failures as data: how an exception crosses a thread, a process or a machine.

Where the exception was raised it is *captured*: its type's name, its message, its traceback as bounded
text, and the exception itself as a pickle that was already opened once again to see that it can be
(an ``__init__`` with two required arguments pickles well and explodes on arrival). Where somebody
waits for the result it is *rebuilt*: the user's own type with a note on the item, or a `RemoteError`
that carries name and text. Nothing in between ever touches the user's object.
"""

from __future__ import annotations

import copyreg
import errno
import io
import os
import reprlib
from contextlib import suppress
from functools import partial
from types import MemberDescriptorType

from mrpy.errors import (
    BackendError,
    Item,
    ItemTimeout,
    MrpyError,
    RemoteError,
    RemoteTraceback,
    SchedulerError,
    item_of,
    pin,
)
from mrpy.light import TYPE_CHECKING, NamedTuple, later, pickle
from mrpy.scheduler import codec
from mrpy.scheduler.importable import mentions_lost

if TYPE_CHECKING:
    import linecache
    import re
    import traceback
    from types import CodeType, TracebackType
    from typing import Any, TypeAlias
else:
    # only where something failed
    linecache, re, traceback = later("linecache"), later("re"), later("traceback")

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep  # the folder of mrpy
DEEP, PLACES = 64, 256  # frames of places that are remembered, and how many are
TEXT_LIMIT = 20_000  # characters of traceback that travel; a RecursionError can print megabytes

# An item of a task, by its index; or, of one that stands for many records, the number of a record too; or, of
# a task that has no items but works on one thing after another, what that is called.
At: TypeAlias = "int | tuple[int, int] | str"
EVERY = -1  # in the place of the number of a record: each of its item, by itself
_NOT_SENT = {(AttributeError, "obj")}


class Failure(NamedTuple):
    """An exception on its way.

    ``item``   the item of the source that it belongs to, once that is known
    ``index``  which item of the task it was, where only that is known
    ``stated`` what mrpy itself has to say, perhaps of several tasks: each who asks gets one of his own
    ``held``   the exception itself, where it never left the process, as long as nobody has raised it. Neither
               is compared: it is another object in a replay, which has to equal its run
    """

    type_name: str
    message: str
    trace: str = ""
    payload: codec.Payload | None = None
    item: Item | None = None
    index: At | None = None  # type: ignore[assignment]  # a tuple's method of that name is not missed here
    stated: MrpyError | None = None
    held: list[BaseException] = []  # one at most

    def __repr__(self) -> str:
        return f"<Failure of {self.item}: {self.type_name}({self.message!r})>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Failure) and self[:-2] == other[:-2]

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self[:-2])

    @property
    def live(self) -> BaseException | None:
        """The exception itself, if it is here."""
        return self.held[0] if self.held else self.stated

    def thrown(self) -> BaseException:
        """`exception`, for who raises it, and `let_go`."""
        error = self.exception()
        self.let_go()
        return error

    def let_go(self) -> None:
        """Somebody has the exception who raises it: its traceback will hold frames that hold this. What the
        task and its source held would stay until the garbage collector comes."""
        self.held.clear()

    def exception(self) -> BaseException:
        """Rebuild what the user shall see."""
        if self.stated is not None:
            error = _another(self.stated)
        else:
            error = self.held[0] if self.held else self._unpickled()
        if self.item is not None:
            pin(error, self.item)
        if self.trace:
            # not by assignment: the class may forbid it (a frozen dataclass does)
            BaseException.__setattr__(error, "__cause__", RemoteTraceback(_with_lines(self.trace)))
        return error

    def _unpickled(self) -> BaseException:
        if self.payload is not None:
            try:
                error = codec.decode(self.payload)
                if isinstance(error, BaseException):
                    return error
            except Exception:  # noqa: S110 - it could be opened there but not here: fall through to the text
                pass
        return RemoteError(f"{self.type_name}: {self.message}")

    def at(self, item: Item) -> Failure:
        """The same failure, pinned to an item."""
        return self._replace(item=item)


def without_frames(error: BaseException) -> BaseException:
    """The same without the frames that it has passed, nor those of its causes: these hold what they had."""
    ahead: list[BaseException | None] = [error]
    seen: set[int] = set()
    while ahead:
        each = ahead.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            BaseException.__setattr__(each, "__traceback__", None)
            ahead += each.__cause__, each.__context__
    return error


def _another(error: MrpyError) -> BaseException:
    made = type(error)(*error.args)
    made.__dict__.update(error.__dict__)
    if hasattr(error, "__notes__"):
        made.__notes__ = [*error.__notes__]
    made.__cause__ = error.__cause__
    return made


def capture(error: BaseException, *, travels: bool) -> Failure:
    """Turn a caught exception into data. ``travels``: it will leave this process, so it is pickled now."""
    if isinstance(error, StopIteration):
        error = no_end(error)
    return Failure(
        type_name=type(error).__qualname__,
        message=short_str(error),
        trace=format_trace(error) if travels else "",
        payload=_pickled(error) if travels else None,
        item=item_of(error),
        held=[] if travels else [error],
    )


def no_end(error: StopIteration) -> RuntimeError:
    """What a generator makes of it: raised where somebody waits, it would end a loop of his in silence."""
    instead = RuntimeError(f"a function raised {error!r}")
    instead.__cause__ = error
    instead.__traceback__ = error.__traceback__
    if (item := item_of(error)) is not None:
        pin(instead, item)
    return instead


def of(error: MrpyError, index: At | None = None, trace: str = "") -> Failure:
    """A failure that mrpy itself states (a crash, a timeout): its own traceback is not worth showing."""
    return Failure(type(error).__qualname__, str(error), trace, index=index, stated=error)


def overran(timeout: float | None, index: At | None, trace: str = "") -> Failure:
    """The failure of the item that ran over its time. ``trace``: where it was then."""
    return of(ItemTimeout(f"ran longer than timeout={timeout:g} seconds and was stopped"), index, trace)


def loop_broke(error: BaseException) -> MrpyError:
    """Why a session has ended of itself: what was taken from it, or else a fault of ours."""
    if isinstance(error, MemoryError):
        return BackendError("this process has no memory left for what a session does, so that one has ended")
    if isinstance(error, OSError) and error.errno in (errno.EBADF, errno.EINVAL):  # or another's
        why = "somebody has closed the files of this session (os.closerange, say), so it has ended"
        return BackendError(why)
    trace = format_trace(error, whole=True)
    return SchedulerError(f"the scheduler's loop broke, which is a bug in mrpy:\n{trace}")


def format_trace(error: BaseException, *, whole: bool = False) -> str:
    """The traceback as text of bounded length, head and tail kept. If not ``whole``, without the frames of
    mrpy by which it begins, which tell the user nothing."""
    frames = error.__traceback__
    if not whole:
        theirs = frames
        while theirs is not None and theirs.tb_frame.f_code.co_filename.startswith(_OURS):
            theirs = theirs.tb_next
        frames = theirs or frames  # unless there are no others
    try:
        text = _formatted(error, frames)
    except Exception as problem:  # a __str__ or a source file that raises
        text = f"{type(error).__qualname__} (its traceback cannot be printed: {problem!r})"
    if len(text) > TEXT_LIMIT:
        half = TEXT_LIMIT // 2
        text = f"{text[:half]}\n  ... {len(text) - TEXT_LIMIT} characters left out ...\n{text[-half:]}"
    return text


def _formatted(error: BaseException, frames: TracebackType | None) -> str:
    """As `traceback.format_exception`. Thousands of items may fail at the same place: where there is nothing
    to be told but that and the exception itself, the place is told as it was the last time."""
    place: list[int] = []
    codes: list[CodeType] = []
    frame = frames
    while frame is not None and len(codes) < DEEP:
        codes.append(frame.tb_frame.f_code)
        place += id(codes[-1]), frame.tb_lasti, frame.tb_lineno
        frame = frame.tb_next
    alone = error.__cause__ is None and (error.__context__ is None or error.__suppress_context__)
    if frame is not None or not place or not alone or isinstance(error, BaseExceptionGroup):
        return "".join(traceback.format_exception(type(error), error, frames))
    known = _places.get(tuple(place))
    if known is None:
        known = "".join(traceback.format_tb(frames)), codes
        if len(_places) >= PLACES:
            _places.clear()
        _places[tuple(place)] = known
    itself = traceback.TracebackException(type(error), error, frames, limit=0, compact=True)
    return "".join(("Traceback (most recent call last):\n", known[0], *itself.format_exception_only()))


_places: dict[tuple[int, ...], tuple[str, list[CodeType]]] = {}  # with what has these ids


_BARE = r'(?m)^( *)File "(.+)", line (\d+), in .+\n(?!\1  )'  # a frame without its line


def _with_lines(text: str) -> str:
    """A traceback of elsewhere with the lines of what only this process has: cells of a notebook, say."""
    return re.sub(_BARE, _with_line, text)


def _with_line(frame: re.Match[str]) -> str:
    line = linecache.getline(frame[2], int(frame[3])).strip()
    return f"{frame[0]}{frame[1]}  {line}\n" if line else frame[0]


def stack_text(frames: list[traceback.FrameSummary]) -> str:
    """The user's part of a stack, the outermost frame first, as Python prints it. Empty if there is none."""
    ours = [place for place, frame in enumerate(frames) if frame.filename.startswith(_OURS)]
    inner = frames[ours[0] :] if ours else frames  # what is around us started the thread or the process
    theirs = [frame for frame in inner if not frame.filename.startswith(_OURS)]
    if not theirs:
        return ""
    lines = traceback.StackSummary.from_list(theirs).format()
    return "".join(["It was here (most recent call last):\n", *lines])


def short_str(value: object, limit: int = 300) -> str:
    """``str(value)``, bounded, and safe against a ``__str__`` that raises."""
    return _bounded(str, value, limit)


def short_repr(value: object, limit: int = 80) -> str:
    """``repr(value)``, bounded, and safe against a ``__repr__`` that raises.

    >>> short_repr(list(range(1000)), 20)
    '[0, 1, 2, ... , ...]'
    """
    return _bounded(_Short(limit).repr, value, limit)


class _Short(reprlib.Repr):
    """Looks at the first few members of a container only: a repr of it all may take minutes."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = limit
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = 20


def _bounded(show: Any, value: object, limit: int) -> str:
    try:
        text = str.__str__(show(value))  # a plain string, whatever it was: this one travels
    except codec.REFUSALS as problem:
        return f"<{type(value).__qualname__} whose {show.__name__}() raises {type(problem).__name__}>"
    if len(text) > limit:
        half = (limit - 2) // 2
        text = f"{text[:half]} ... {text[-(limit - half - 5) :]}" if limit > 12 else text[:limit]
    return text


def _pickled(error: BaseException) -> codec.Payload | None:
    """The exception as a pickle that was seen to open; None where only its text can travel."""
    for make in (_plainly, _by_value, partial(_by_value, in_pieces=True)):
        try:
            payload = make(error)
            if type(codec.decode(payload)).__name__ != type(error).__name__:
                continue  # its __reduce__ makes something else of it
        except BaseException:  # noqa: S112 - whatever the user's class does here
            continue
        return payload
    return None


def _by_value(error: BaseException, in_pieces: bool = False) -> codec.Payload:
    taken = in_pieces or _is_of_tblib(type(error))
    return codec.encode(Taken(error, in_pieces) if taken else error, whole=True)


def _plainly(error: BaseException) -> codec.Payload:
    """The exception pickled as it, or its author, says."""
    with io.BytesIO() as file:
        pickler = pickle.Pickler(file, 5)
        known = copyreg.dispatch_table.items()
        pickler.dispatch_table = {kind: way for kind, way in known if not _is_of_tblib(kind)}
        pickler.dump(error)
        body = file.getvalue()
    if mentions_lost(body):
        raise ValueError("of the main module: that has to go by value")
    return codec.Payload(body)


def _is_of_tblib(kind: type) -> bool:
    """tblib, which Dask brings, has its own way for all exceptions, by which a UnicodeDecodeError loses its
    text, and others their slots."""
    return str(getattr(copyreg.dispatch_table.get(kind), "__module__", "")).startswith("tblib.")


class Taken:
    """An exception as it says itself, or in pieces: its class cannot be called with its ``args`` again."""

    def __init__(self, error: BaseException, in_pieces: bool) -> None:
        self._error, self._in_pieces = error, in_pieces

    def __reduce__(self) -> Any:
        error = self._error
        if not self._in_pieces:
            return error.__reduce_ex__(5)
        args = tuple(_Itself if part is error else part for part in error.args)
        return _put_together, (type(error), args, _that_travels(error.__dict__), _that_travels(_parts(error)))


class _Itself:
    """Stands for an exception among its own ``args``."""


def _parts(error: BaseException) -> dict[tuple[int, str], Any]:
    """What it has beside its ``__dict__``: slots, and what classes written in C keep, as the line of a
    SyntaxError; by the class that keeps it, and name. Not whose attribute was missing: that may be anything.
    The exception itself is not asked: it may have something else of that name, which raises."""
    parts: dict[tuple[int, str], Any] = {}
    for place, kind in enumerate(type(error).__mro__):
        for name, part in vars(kind).items():
            if type(part) is MemberDescriptorType and name[:2] != "__" and (kind, name) not in _NOT_SENT:
                with suppress(Exception):  # a slot may be empty
                    parts[place, name] = part.__get__(error)
    return {where: part for where, part in parts.items() if part is not None}


def _put_together(
    kind: type[BaseException], args: tuple[Any, ...], state: dict[str, Any], parts: dict[tuple[int, str], Any]
) -> BaseException:
    error: BaseException = _made(kind)
    args = tuple(error if part is _Itself else part for part in args)
    BaseException.__setattr__(error, "args", args)  # its class may forbid the usual way
    error.__dict__.update(state)
    for (place, name), part in parts.items():
        with suppress(Exception):  # there are those that nobody may set
            vars(kind.__mro__[place])[name].__set__(error, part)
    return error


def _made(kind: Any) -> Any:
    """An empty one. With several bases that are written in C only one of these can make it; and what a class
    says itself may ask for arguments."""
    for base in kind.__mro__[:-1]:
        with suppress(Exception):
            return base.__new__(kind)
    raise TypeError(f"no exception of type {kind.__qualname__} can be made without its arguments")


def _that_travels(state: dict[Any, Any]) -> dict[Any, Any]:
    fine = {}
    for name, value in state.items():
        try:
            codec.decode(codec.encode(value))
        except Exception:  # noqa: S112 - the rest of the exception still travels
            continue
        fine[name] = value
    return fine

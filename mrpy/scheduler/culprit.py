"""Which variable it is that cannot travel: the way down to it, for the text of an error and nothing else.

A function takes along what its closure, its defaults and its globals hold, and the functions among these do
likewise. So where pickling it fails, the lock to blame may be several functions away. Each part is pickled
by itself until the one is found; that is slow, and only done where there is an error to explain.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any, NamedTuple

from mrpy.scheduler import byvalue
from mrpy.scheduler.codec import HANDLE, REFUSALS, let_through
from mrpy.scheduler.simple_functions import names_in

_MANAGED = "take one of multiprocessing.Manager(), as its Lock(), Queue() or Value()"
_PLAIN = "pass what it holds, as an array say, and return what changes"
_SHARED = {  # by inheritance only: where it is from, and what to do. Made in a function nobody else has it
    "multiprocessing.synchronize": _MANAGED, "multiprocessing.queues": _MANAGED,
    "multiprocessing.sharedctypes": _PLAIN, "multiprocessing.heap": _PLAIN,
    "multiprocessing.sharedctypes.Synchronized": _MANAGED,  # a Value
}  # fmt: skip
_OF_THREADS = frozenset((
    "_thread.lock", "_thread.RLock", "threading.Event", "threading.Condition", "threading.Barrier",
    "threading.Semaphore", "threading.BoundedSemaphore", "queue.Queue", "_queue.SimpleQueue",
))  # fmt: skip
DEEPEST = 12  # parts inside parts; out of the air. What is nested so deeply is its own culprit


class _Part(NamedTuple):
    """Something inside a value. ``line``: where a function uses it; None: no function holds it."""

    name: str
    value: Any
    line: str | None = None

    def __str__(self) -> str:
        kind = type(self.value).__qualname__
        article = "an" if kind[:1].lower() in "aeiou" else "a"
        return f"{self.name}, {article} {kind}" + (f" at {self.line}" if self.line else "")


def culprit(value: Any) -> tuple[str, str]:
    """What in `value` cannot be pickled, in words; and what to do about it, where what holds it knows that
    (its ``cure``). Empty where it cannot be told.

    >>> import threading
    >>> guard = threading.Lock()
    >>> culprit({"name": "x", "limits": [1, guard]})
    ("[1], a lock (in ['limits'])", '')
    """
    try:
        path, cure = _path(value)
        cures = [_cure_of(value, itself=True)]
        cures += [_cure_of(part.value, itself=part.line is not None) for part in path]
    except Exception as problem:  # of a method of the user's that has been asked what there is
        let_through(problem)
        return "", ""
    return _in_words(path), next(filter(None, cures), cure)


def _cure_of(value: Any, *, itself: bool) -> str:
    """What to do where it is known what it is for. ``itself``: the user's function has it, and no object that
    is to be made anew."""
    kind = type(value)
    if _is_handle(kind):
        return HANDLE
    name = f"{kind.__module__}.{kind.__name__}"
    if itself and name in _OF_THREADS:
        return _MANAGED
    return _SHARED.get(name) or _SHARED.get(kind.__module__, "")


def _is_handle(kind: type) -> bool:
    """Whether it stands somewhere: an open file, say, or what reads one. Of databases those that have the
    methods of PEP 249, many of which are for one thread."""
    connects = all(hasattr(kind, name) for name in ("commit", "rollback", "cursor"))
    of_database = connects or hasattr(kind, "fetchone")
    return of_database or issubclass(kind, io.IOBase) or kind.__module__ in ("_csv", "socket", "tarfile")


def _in_words(path: list[_Part]) -> str:
    variables = [part for part in path if part.line is not None]
    if not variables:
        return f"{path[-1]}{_within(path[:-1])}" if path else ""
    last = variables[-1]
    behind = path[path.index(last) + 1 :]
    holds = f", which holds {behind[-1]}{_within(behind[:-1])}" if behind else ""
    return f"{last}{_within(variables[:-1])}{holds}"


def _within(parts: list[_Part]) -> str:
    return f" (in {' of '.join(part.name for part in reversed(parts))})" if parts else ""


def _path(value: Any) -> tuple[list[_Part], str]:
    """From the value to the innermost part that does not pickle, or as far as it makes sense; and what the
    last of ours on the way says is to be done."""
    path: list[_Part] = []
    cure = ""
    seen = {id(value)}
    found = True
    while found and len(path) < DEEPEST and not _refuses(value):
        found = False
        for part in _parts(value):
            if id(part.value) not in seen and not _pickles(part.value):
                if type(value).__module__.startswith("mrpy."):
                    path.clear()  # how we got to the user's own says nothing to him
                    cure = getattr(value, "cure", "")
                path.append(part)
                seen.add(id(part.value))
                value, found = part.value, True
                break
    return path, cure


def _pickles(value: Any) -> bool:
    try:
        byvalue.dumps(value)
    except REFUSALS:
        return False
    return True


def _refuses(value: Any) -> bool:
    """Whether its class has written that it is not to be pickled: what it holds is not to blame then."""
    if type(type(value).__reduce__) is not FunctionType:
        return False
    try:
        value.__reduce__()
    except REFUSALS:
        return True
    return False


def _parts(value: Any) -> Iterator[_Part]:
    """What travels with a value and has a name."""
    match value:
        case MethodType():
            yield _Part("self", value.__self__)
            yield from _parts(value.__func__)
        case FunctionType():
            yield from _of_function(value)
        case functools.partial():
            yield _Part("the function", value.func)
            yield from _parts(value.args)
            yield from _parts(value.keywords)
        case tuple() | list():
            yield from (_Part(f"[{place}]", part) for place, part in enumerate(value))
        case dict():
            yield from (_Part(f"[{key!r}]", part) for key, part in value.items())
        case _:
            holder = getattr(value, "__self__", None)  # a method that is written in C
            if holder is not None and not isinstance(value, type):
                yield _Part("self", holder)
    yield from _of_object(value)


def _of_object(value: Any) -> Iterator[_Part]:
    for name, part in getattr(value, "__dict__", {}).items():
        yield _Part(f"'{name}'", part)
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in [slots] if isinstance(slots, str) else slots:
            if hasattr(value, name):
                yield _Part(f"'{name}'", getattr(value, name))


def _of_function(function: FunctionType) -> Iterator[_Part]:
    code = function.__code__
    for name in dict.fromkeys(names_in(code)):
        if name in function.__globals__:
            yield _Part(f"'{name}'", function.__globals__[name], _line(code, name))
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield _Part(f"'{name}'", cell.cell_contents, _line(code, name))
        except ValueError:  # an empty cell
            continue
    positional = code.co_varnames[: code.co_argcount]
    defaults = function.__defaults__ or ()
    named = zip(positional[len(positional) - len(defaults) :], defaults, strict=True)
    for name, part in [*named, *(function.__kwdefaults__ or {}).items()]:
        yield _Part(f"'{name}'", part, f"{code.co_filename}:{code.co_firstlineno}")


def _line(code: CodeType, name: str) -> str:
    """Where a function first uses a variable."""
    return f"{code.co_filename}:{_first_use(code, name) or code.co_firstlineno}"


def _first_use(code: CodeType, name: str) -> int | None:
    import dis  # heavy, and only for this

    handed_on = ("LOAD_CLOSURE", "LOAD_FAST") if name in (*code.co_cellvars, *code.co_freevars) else ()
    for instruction in dis.get_instructions(code):
        loads = instruction.opname.startswith("LOAD_") and not instruction.opname.startswith(handed_on)
        if loads and instruction.argval == name and instruction.positions is not None:
            return instruction.positions.lineno
        if isinstance(instruction.argval, CodeType):
            line = _first_use(instruction.argval, name)
            if line is not None:
                return line
    return None

"""What a run computes, as a fingerprint: by it a checkpoint knows its program.

It is made of code: that of the functions of the run and of what is the user's own behind these - functions,
classes and callable objects in closures, in globals that they mention, and in modules of his whose attributes
they do. What is installed counts by its name. Data that functions find in variables do not count; defaults,
constants and what a `partial` holds do.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, cached_property, partial
from operator import attrgetter, itemgetter, methodcaller
from types import CellType, CodeType, FunctionType, MethodType, ModuleType

from mrpy.light import MAIN, TYPE_CHECKING, later
from mrpy.scheduler.simple_functions import globals_of

if TYPE_CHECKING:
    import hashlib
    import sysconfig
    from typing import Any

    from mrpy.mapreduce.files import reading
else:
    hashlib, sysconfig = later("hashlib"), later("sysconfig")
    reading = later("mrpy.mapreduce.files.reading")

MOST = 20_000  # things that are looked at; out of the air: a bound, should there be no end of them
_PLAIN = (str, bytes, int, float, complex, bool, type(None))
_GETTERS = (itemgetter, attrgetter, methodcaller)


def program_of(steps: Iterable[object], kind: str) -> str:
    """The fingerprint. Behind it, one of the files that the run reads."""
    walk = _Walk(kind)
    walk.todo += steps
    count = 0
    while walk.todo and count < MOST:
        count += 1
        walk.take(walk.todo.pop())
    files = hashlib.blake2b(repr(walk.files).encode(), digest_size=16).hexdigest()
    return f"{walk.digest.hexdigest()} {files}"


class _Walk:
    """From thing to thing, each of which adds what it is and names others."""

    def __init__(self, kind: str) -> None:
        self.digest = hashlib.blake2b(kind.encode(), digest_size=16)
        self.todo: list[Any] = []
        self.files: list[int] = []
        self._seen: dict[int, Any] = {}  # by their ids; it holds them, so that none is given twice

    def take(self, thing: Any) -> None:
        """Add one."""
        if isinstance(thing, reading.Reads):
            self.files.append(thing.files)
            thing = thing.replaced(files=0)
        if isinstance(thing, _PLAIN):
            self._put(thing, repr(thing))
        elif isinstance(thing, Mapping | tuple | list | set | frozenset):
            self._members(thing)
        elif id(thing) in self._seen:
            self._put(thing, "again")
        else:
            self._seen[id(thing)] = thing
            self._one(thing)

    def _put(self, thing: Any, *texts: str) -> None:
        for text in (type(thing).__name__, *texts):  # each with its length, so that they do not run together
            data = text.encode("utf-8", "surrogatepass")
            self.digest.update(b"%d:" % len(data) + data)

    def _members(self, things: Any) -> None:
        self._put(things, str(len(things)))
        if isinstance(things, Mapping):
            self.todo += (part for pair in things.items() for part in pair)
        else:
            self.todo += sorted(things, key=repr) if isinstance(things, set | frozenset) else things

    def _one(self, thing: Any) -> None:
        if isinstance(thing, CodeType):
            self._code(thing)
        elif isinstance(thing, FunctionType):
            self._function(thing)
        elif isinstance(thing, MethodType):
            self._put(thing)
            self.todo += thing.__func__, type(thing.__self__)
        elif type(thing).__module__ == "numpy.dtypes":  # such as '>u2'
            self._put(thing, repr(thing))
        elif type(thing).__module__ == "numpy" and hasattr(thing, "tobytes"):
            self._put(thing, str(thing.dtype), str(thing.shape))
            self.todo.append(thing.tobytes())
        else:
            self._object(thing)
        if getattr(thing, "__wrapped__", thing) is not thing:  # by `functools.wraps`, or a cache
            self.todo.append(thing.__wrapped__)

    def _code(self, code: CodeType) -> None:
        self._put(code, repr((code.co_names, code.co_varnames, code.co_freevars)), str(len(code.co_consts)))
        self.digest.update(code.co_code)
        self.todo += code.co_consts

    def _function(self, function: FunctionType) -> None:
        self._put(function)
        self.todo += function.__code__, function.__defaults__, function.__kwdefaults__
        self.todo += filter(callable, map(_content, function.__closure__ or ()))
        self.todo += _behind(function)
        registry = getattr(function, "registry", None)  # of functools.singledispatch
        if isinstance(registry, Mapping):
            self.todo += [part for _, part in sorted(registry.items(), key=lambda pair: repr(pair[0]))]

    def _object(self, thing: Any) -> None:
        kind = thing if isinstance(thing, type) else type(thing)
        self._put(thing, f"{type(thing).__module__}.{kind.__qualname__}", str(_name(thing)))
        if isinstance(thing, _GETTERS):  # what they get is all that they are
            self.todo += thing.__reduce__()[1:]
        elif isinstance(thing, partial):
            self.todo += thing.func, thing.args, thing.keywords
        elif not isinstance(thing, type):
            self.todo += (getattr(thing, name) for name in _slots(kind) if hasattr(thing, name))
            held = sorted(getattr(thing, "__dict__", {}).items())
            self.todo += (part for _, part in held if isinstance(part, FunctionType | MethodType))
        for base in kind.__mro__:
            if base is kind or is_the_users(base.__module__):
                self.todo += _functions_of(base)


def _name(thing: Any) -> Any:
    return vars(type(thing)).get("__qualname__") and getattr(thing, "__qualname__", "")


def _slots(kind: type) -> tuple[str, ...]:
    names = vars(kind).get("__slots__", ())
    return (names,) if isinstance(names, str) else tuple(names)


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is empty
        return None


def _functions_of(kind: type) -> Iterator[Any]:
    """What a class of the user's does: its methods, and what is wrapped as one."""
    if kind.__module__.startswith("mrpy.") or kind.__module__ == "builtins":
        return
    for _, part in sorted(vars(kind).items()):
        if isinstance(part, staticmethod | classmethod):
            yield part.__func__
        elif isinstance(part, property):
            yield from filter(None, (part.fget, part.fset, part.fdel))
        elif isinstance(part, cached_property):
            yield part.func
        elif isinstance(part, FunctionType) or hasattr(part, "__wrapped__"):
            yield part


def _behind(function: FunctionType) -> Iterator[Any]:
    """What is the user's own and callable among the globals that a function mentions."""
    names = dict.fromkeys(globals_of(function.__code__))
    for name in names:
        found = function.__globals__.get(name)
        if isinstance(found, ModuleType):
            parts = vars(found) if is_the_users(found.__name__) else {}
            yield from (parts[part] for part in function.__code__.co_names if _counts(parts.get(part)))
        elif _counts(found):
            yield found


def _counts(thing: Any) -> bool:
    if isinstance(thing, partial):
        return True
    return callable(thing) and is_the_users(getattr(thing, "__module__", None) or "")


@cache
def is_the_users(module: str) -> bool:
    """Whether a module is of the user's own program, and not installed."""
    if module in MAIN:
        return True
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or module.partition(".")[0] in (*sys.stdlib_module_names, "mrpy"):
        return False
    return not any(file.startswith(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib"))

"""What a run computes, as a fingerprint: by it a checkpoint knows its program.

It is made of code: that of the functions of the run and of what is the user's own behind these - functions,
classes and callable objects in closures, in globals that they mention, and in modules of his whose attributes
they do. What is installed counts by its name. Data that functions find in variables do not count; defaults,
constants and what a `partial` holds do.
"""

from __future__ import annotations

import copyreg
import os
import sys
from collections.abc import Iterable, Iterator
from functools import cached_property, partial, partialmethod, singledispatchmethod
from operator import attrgetter, itemgetter, methodcaller
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
)  # fmt: skip

from mrpy.light import TYPE_CHECKING, later
from mrpy.mapreduce.plan import Probe
from mrpy.scheduler.importable import MAIN
from mrpy.scheduler.simple_functions import globals_of, names_in

if TYPE_CHECKING:
    import hashlib
    from typing import Any

    from mrpy.mapreduce.files import reading
else:
    hashlib, reading = later("hashlib"), later("mrpy.mapreduce.files.reading")

MOST = 20_000  # data that are looked at; out of the air: a bound, should there be no end of them
_PLAIN = (str, bytes, int, float, complex, bool, type(None))
_MEMBERS = (dict, MappingProxyType, tuple, list, set, frozenset)
_CODE = (FunctionType, MethodType, BuiltinFunctionType, partial)
_GETTERS = (itemgetter, attrgetter, methodcaller)
_NO_PARTS = ("__dict__", "__weakref__")


def program_of(steps: Iterable[object], kind: str) -> str:
    """The fingerprint. Behind it, one of the files that the run reads."""
    walk = _Walk(kind)
    for step in steps:
        if not isinstance(step, Probe):  # it is there for some options, and changes nothing
            walk.add(step)
    walk.go()
    files = hashlib.blake2b(repr(walk.files).encode(), digest_size=16).hexdigest()
    return f"{walk.digest.hexdigest()} {files}"


def _get(thing: Any, name: str, default: Any = None) -> Any:
    """An attribute, of whatever: there are proxies that raise all kinds of errors when they are asked."""
    try:
        return getattr(thing, name, default)
    except Exception:
        return default


class _Walk:
    """From thing to thing, each of which adds what it is and names others. Code comes first: of data there
    may be more than is looked at."""

    def __init__(self, kind: str) -> None:
        self.digest = hashlib.blake2b(kind.encode(), digest_size=16)
        self.files: list[int] = []
        self._code: list[Any] = []
        self._data: list[Any] = []
        self._seen: dict[int, Any] = {}  # by their ids; it holds them, so that none is given twice

    def add(self, *things: Any) -> None:
        """These are to be looked at."""
        for thing in things:
            is_data = issubclass(type(thing), _PLAIN + _MEMBERS)
            (self._data if is_data else self._code).append(thing)

    def go(self) -> None:
        """Look at all, and at what they name."""
        code = data = MOST
        while (self._code and code) or (self._data and data):
            if self._code and code:
                code -= 1
                self._take(self._code.pop())
            else:
                data -= 1
                self._take(self._data.pop())

    def _take(self, thing: Any) -> None:
        kind = type(thing)
        if issubclass(kind, reading.Reads):
            self.files.append(thing.files)
            thing = thing.replaced(files=0)
        if issubclass(kind, bytes):
            self._put(kind, f"{len(thing)}")
            self.digest.update(thing)
        elif issubclass(kind, _PLAIN):
            self._put(kind, repr(thing))
        elif issubclass(kind, _MEMBERS):
            self._put(kind, str(len(thing)))
            if issubclass(kind, dict | MappingProxyType):
                self.add(*(part for pair in thing.items() for part in pair))
            else:
                self.add(*(sorted(thing, key=repr) if issubclass(kind, set | frozenset) else thing))
        elif id(thing) in self._seen:
            self._put(kind, "again")
        else:
            self._seen[id(thing)] = thing
            self._one(thing, kind)

    def _put(self, kind: type, *texts: str) -> None:
        for text in (kind.__name__, *texts):  # each with its length, so that they do not run together
            data = text.encode("utf-8", "surrogatepass")
            self.digest.update(b"%d:" % len(data) + data)

    def _one(self, thing: Any, kind: type) -> None:
        if kind is CodeType:
            names = repr((thing.co_names, thing.co_varnames, thing.co_freevars))
            self._put(kind, names, str(len(thing.co_consts)))
            self.digest.update(thing.co_code)
            self.add(*thing.co_consts)
        elif kind is FunctionType:
            self._function(thing)
        elif kind is MethodType:
            self._put(kind)
            self.add(thing.__func__, type(thing.__self__))
        elif kind.__module__ == "numpy.dtypes":  # such as '>u2'
            self._put(kind, repr(thing))
        elif kind.__module__ == "numpy" and kind.__name__ == "ndarray":
            self._array(thing)
        else:
            self._object(thing, kind)
        wrapped = _get(thing, "__wrapped__", thing)  # by `functools.wraps`, or a cache
        if wrapped is not thing:
            self.add(wrapped)

    def _array(self, array: Any) -> None:
        self._put(type(array), str(array.dtype), str(array.shape))
        if array.dtype.hasobject or array.dtype.kind == "T":  # its bytes are addresses
            self.add(array.ravel().tolist())
        else:
            self.digest.update(array.tobytes())

    def _function(self, function: FunctionType) -> None:
        self._put(FunctionType)
        self.add(function.__defaults__, function.__kwdefaults__, function.__code__)
        self.add(*filter(_counts, map(_content, function.__closure__ or ())))
        self.add(*_behind(function))
        registry = _get(function, "registry")  # of functools.singledispatch
        if type(registry) is MappingProxyType:
            self.add(*(part for _, part in sorted(registry.items(), key=lambda pair: repr(pair[0]))))

    def _object(self, thing: Any, kind: type) -> None:
        described = thing if issubclass(kind, type) else kind
        names = (_get(thing, name) for name in ("__qualname__", "__name__"))
        name = next((name for name in names if isinstance(name, str)), "")
        self._put(kind, f"{kind.__module__}.{described.__qualname__}", name)
        if issubclass(kind, _GETTERS):  # what they get is all that they are
            self.add(*thing.__reduce__()[1:])
        elif issubclass(kind, partial):
            self.add(thing.args, thing.keywords, thing.func)
        elif issubclass(kind, BuiltinFunctionType):
            self.add(type(thing.__self__), str(_get(thing.__self__, "__name__", "")))  # as `numpy.add.reduce`
        elif not issubclass(kind, type):
            self._held(thing, kind)
            if kind.__eq__ is not object.__eq__ and not kind.__module__.startswith("mrpy."):
                self._valued(thing)
        for base in described.__mro__:
            if is_the_users(base.__module__):
                self.add(*_functions_of(base))

    def _held(self, thing: Any, kind: type) -> None:
        """What an object holds: all that one of our own does, of others what is code."""
        ours = not is_the_users(kind.__module__)  # or installed: those of toolz are what they hold
        for name in _slots(kind):
            part = _get(thing, name)
            if ours or _counts(part):
                self.add(part)
        held = _get(thing, "__dict__")
        if type(held) is dict:
            self.add(*(part for _, part in sorted(held.items()) if issubclass(type(part), _CODE)))
        func = _get(thing, "func")  # of toolz.curry, and of whatever does like a partial
        if callable(func):
            self.add(func)

    def _valued(self, thing: Any) -> None:
        """What is equal to others by what it holds, as a date, a path, a number of NumPy's: all of that."""
        reduce = copyreg.dispatch_table.get(type(thing))
        try:
            reduced = thing.__reduce_ex__(4) if reduce is None else reduce(thing)
        except Exception:  # it does not travel, and so does not count
            return
        if isinstance(reduced, str):
            self._put(str, reduced)
        else:
            self.add(*reduced[1:3], *(list(items) for items in reduced[3:5] if items is not None))


def _slots(kind: type) -> tuple[str, ...]:
    """The attributes that a class names. ``__dict__`` is none: it is where all the others are."""
    names = vars(kind).get("__slots__", ())
    return tuple(name for name in ([names] if isinstance(names, str) else names) if name not in _NO_PARTS)


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is empty
        return None


def _functions_of(kind: type) -> Iterator[Any]:
    """What a class does: its methods, and what is wrapped as one."""
    for _, part in sorted(vars(kind).items()):
        if isinstance(part, staticmethod | classmethod):
            yield part.__func__
        elif isinstance(part, property):
            yield from filter(None, (part.fget, part.fset, part.fdel))
        elif isinstance(part, cached_property | partialmethod):
            yield part.func
        elif isinstance(part, singledispatchmethod):
            yield part.dispatcher
        elif isinstance(part, FunctionType) or _get(part, "__wrapped__") is not None:
            yield part


def _behind(function: FunctionType) -> Iterator[Any]:
    """What is the user's own and callable among the globals that a function mentions."""
    for name in dict.fromkeys(globals_of(function.__code__)):
        found = function.__globals__.get(name)
        if type(found) is ModuleType:
            yield from _of_module(found, dict.fromkeys(names_in(function.__code__)), set())
        elif _counts(found):
            yield found


def _of_module(module: ModuleType, names: Iterable[str], seen: set[str]) -> Iterator[Any]:
    if module.__name__ in seen or not is_the_users(module.__name__):
        return
    seen.add(module.__name__)
    for name in names:
        part = vars(module).get(name)
        if type(part) is ModuleType:
            yield from _of_module(part, names, seen)
        elif _counts(part):
            yield part


def _counts(thing: Any) -> bool:
    """Whether it is code of the user's, or holds some."""
    kind = type(thing)
    if issubclass(kind, partial) or kind.__module__.startswith("toolz."):
        return True
    if not callable(thing):
        return False
    module = thing.__module__ if issubclass(kind, type | FunctionType | MethodType) else kind.__module__
    cached = _get(thing, "__wrapped__") if kind.__module__ == "functools" else None
    return cached is not None or (isinstance(module, str) and is_the_users(module))


_INSTALLED = ("site-packages", "dist-packages")


def is_the_users(module: str) -> bool:
    """Whether a module is of the user's own program, and not installed."""
    if module in MAIN:
        return True
    file = _get(sys.modules.get(module), "__file__")
    if not isinstance(file, str) or module.partition(".")[0] in _NOT_HIS:
        return False
    return not any(part in _INSTALLED for part in file.split(os.sep))


_NOT_HIS = sys.stdlib_module_names | {"mrpy", "dask", "distributed", "toolz", "numpy", "pandas", "scipy"}

"""What a run computes, as a fingerprint: by it a checkpoint knows its program.

It is made of code: that of the functions of the run and of what is the user's own behind these - functions,
classes and callable objects in closures, in globals that they mention, and in modules of his whose attributes
they do. What is installed counts by its name. Data that functions find in variables do not count, but the
code that they lead to does: functions in tables, and the classes of objects. Of parameters all counts: of
defaults, constants, what a `partial` holds, and the object whose method is called. Plain data go through a
pickler, at its speed; other objects count by what they say that they are pickled as (`values`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import Enum
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

from mrpy.light import TYPE_CHECKING, Frozen, later
from mrpy.mapreduce.marks import Settled
from mrpy.mapreduce.steps import Probe
from mrpy.mapreduce.users_code import (
    CODE,
    MEMBERS,
    attribute,
    attributes,
    code_behind,
    counts,
    is_the_users,
)  # fmt: skip
from mrpy.mapreduce.values import PLAIN, Plain, Valued, members, pickled_as, valued
from mrpy.scheduler.simple_functions import globals_of, names_in

if TYPE_CHECKING:
    import hashlib
    from typing import Any

    from mrpy.mapreduce.files import reading
else:
    hashlib, reading = later("hashlib"), later("mrpy.mapreduce.files.reading")

# Bounds for what has no end: there are things that make new ones whenever they are asked. Out of the air.
DEEP = 1000  # steps from thing to thing; what is deeper does not pickle either
ASKED = 10_000  # attributes that say of themselves that they lead to other code
_UNCHANGING = (*PLAIN, tuple, frozenset)
_OF_MANY = (type, ModuleType, *MEMBERS)  # whose methods do not count what they hold
_GETTERS = (itemgetter, attrgetter, methodcaller)
_NO_PARTS = ("__dict__", "__weakref__")


def program_of(steps: Iterable[object], kind: str) -> str:
    """The fingerprint. Behind it, one of the files that the run reads."""
    walk = _Walk(kind)
    for step in steps:
        if not isinstance(step, Probe | Settled):  # it is there for some options, and changes nothing
            walk.add(step)
    walk.go()
    files = hashlib.blake2b(repr(walk.files).encode(), digest_size=16).hexdigest()
    return f"{walk.digest.hexdigest()} {files}"


class _Found(Frozen):
    """Code that was found in a variable, where an object is its code, and not what it holds."""

    code: Any


class _Walk:
    """From thing to thing, each of which adds what it is and names others. They are taken level by level:
    what has no end keeps nothing else from being looked at."""

    def __init__(self, kind: str) -> None:
        self.digest = hashlib.blake2b(kind.encode(), digest_size=16)
        self.files: list[int] = []
        self._next: list[Any] = []
        self._behind_data: dict[int, Any] = {}  # code, by its id
        self._asked = 0
        self._classes: set[int] = set()  # of which the code has been added, by their ids
        self._values: dict[tuple[int, bool], Valued] = {}  # of which objects count by value
        # By their ids and whether they are parameters, each with its number; it holds them, so that no id is
        # given twice.
        self._seen: dict[tuple[int, bool], tuple[int, Any]] = {}

    def add(self, *things: Any, parameter: bool = True) -> None:
        """These are to be looked at. How many it is keeps them apart from those of the next thing."""
        self.digest.update(b"%d;" % len(things))
        self._next += things if parameter else map(_Found, things)

    def go(self) -> None:
        """Look at all, and at what they name."""
        for depth in range(DEEP):
            level, self._next = self._next or self._rest(), []
            if depth == DEEP // 2:  # these have no end, perhaps
                level += self._rest()
            if not level:
                return
            for thing in level:
                self._take(thing)

    def _search(self, data: Iterable[Any]) -> None:
        """Of these only the code counts that they lead to. How often, and from where, is data as well: when a
        run is resumed there may be more of them."""
        self._behind_data.update((id(code), code) for code in code_behind(data))

    def _rest(self) -> list[Any]:
        """What only data have led to."""
        known = {key for key, _ in self._seen}
        rest = sorted((code for key, code in self._behind_data.items() if key not in known), key=_place)
        self._behind_data.clear()
        return [*map(_Found, rest)]

    def _take(self, thing: Any) -> None:
        parameter = type(thing) is not _Found
        thing = thing if parameter else thing.code
        kind = type(thing)
        if issubclass(kind, reading.Reads):
            self.files.append(thing.files)
            thing = thing.replaced(files=0)
        if issubclass(kind, PLAIN + MEMBERS) and self._plain(thing, parameter=parameter):
            return
        key = id(thing), parameter or kind is FunctionType  # which is the same wherever it is found
        if key in self._seen:
            self._put(kind, "again", str(self._seen[key][0]))
            return
        self._seen[key] = len(self._seen), thing
        if issubclass(kind, MEMBERS):
            self._put(kind, str(len(thing)))
            self.add(*members(thing), parameter=parameter)
        else:
            self._one(thing, kind, parameter=parameter)

    def _plain(self, thing: Any, *, parameter: bool) -> bool:
        """Whether it could be taken as a whole: not where it holds itself, or goes very deep,
        or where it is odd, or another thread changes it meanwhile."""
        pickler = Plain()
        try:
            pickler.dump(thing)
        except Exception:
            return False
        self.digest.update(pickler.into.digest.digest())
        self.add(*pickler.others, parameter=parameter)
        return True

    def _put(self, kind: type, *texts: str) -> None:
        for text in (kind.__name__, *texts):  # each with its length, so that they do not run together
            data = text.encode("utf-8", "surrogatepass")
            self.digest.update(b"%d:" % len(data) + data)

    def _one(self, thing: Any, kind: type, *, parameter: bool) -> None:
        if kind is CodeType:
            names = thing.co_names, thing.co_varnames, thing.co_freevars
            takes = thing.co_argcount, thing.co_posonlyargcount, thing.co_kwonlyargcount, thing.co_flags
            self._put(kind, repr((names, takes, thing.co_exceptiontable)))
            self.digest.update(thing.co_code)
            self.add(thing.co_consts)
        elif kind is FunctionType:
            self._function(thing)
        elif kind is MethodType:
            self._put(kind)
            of = thing.__self__
            self.add(thing.__func__, type(of), *([of] if parameter else ()))  # or the data would hide it
            self._search(() if parameter else attributes(of))
        elif kind.__module__ == "numpy.dtypes":  # such as '>u2'
            self._put(kind, repr(thing))
        elif kind.__module__ == "numpy" and kind.__name__ in ("ndarray", "memmap"):
            self._array(thing)
        else:
            self._object(thing, kind, parameter=parameter)
        wrapped = attribute(thing, "__wrapped__", thing)  # by `functools.wraps`, or a cache
        if wrapped is not thing:
            self._led_to(wrapped, parameter=parameter)

    def _led_to(self, thing: Any, *, parameter: bool) -> None:
        """What another thing says it calls. Some, as a `Mock`, say so without end."""
        self._asked += 1
        if self._asked <= ASKED:
            self.add(thing, parameter=parameter)

    def _array(self, array: Any) -> None:
        self._put(type(array), str(array.dtype), str(array.shape))
        if array.dtype.hasobject or array.dtype.kind == "T":  # its bytes are addresses
            self.add(array.ravel().tolist())
        elif array.flags.c_contiguous and array.nbytes:  # as it lies there, without a copy
            self.digest.update(array.reshape(-1).view("u1").data)
        else:
            self.digest.update(array.tobytes())

    def _function(self, function: FunctionType) -> None:
        self._put(FunctionType)
        self.add(function.__defaults__, function.__kwdefaults__, function.__code__)
        closure = [*map(_content, function.__closure__ or ())]
        behind = [*_behind(function)]
        self.add(*filter(counts, closure), parameter=False)
        self.add(*filter(counts, behind), parameter=False)
        self._search(thing for thing in closure + behind if not counts(thing))
        self._search([*function.__dict__.values()])  # which it may make itself when it is called first
        registry = attribute(function, "registry")  # of functools.singledispatch
        if type(registry) is MappingProxyType:
            self.add(*(part for _, part in sorted(registry.items(), key=lambda pair: repr(pair[0]))))

    def _object(self, thing: Any, kind: type, *, parameter: bool) -> None:
        described = thing if issubclass(kind, type) else kind
        names = (attribute(thing, name) for name in ("__qualname__", "__name__"))
        name = next((name for name in names if isinstance(name, str)), "")
        self._put(kind, f"{kind.__module__}.{described.__qualname__}", name)
        if issubclass(kind, _GETTERS):  # what they get is all that they are
            self.add(*thing.__reduce__()[1:])
        elif issubclass(kind, partial):
            self.add(thing.args, thing.keywords, thing.func, parameter=parameter)
        elif issubclass(kind, BuiltinFunctionType):
            of = thing.__self__  # such as `numpy.add` of `numpy.add.reduce`
            self.add(type(of), str(attribute(of, "__name__", "")))
            if type(of) is re.Pattern:
                self.add(of.pattern, of.flags)
            elif issubclass(type(of), _UNCHANGING) or (parameter and not issubclass(type(of), _OF_MANY)):
                self.add(of)  # such as "-".join
        elif issubclass(kind, Enum):
            self.add(thing._name_, thing._value_)  # the others are properties, which may be the user's
        elif not issubclass(kind, type):
            valued = self._valued(kind, parameter=parameter)
            parts = pickled_as(thing) if valued is not Valued.NOT else []
            if parts:
                self.add(parts)
            if not parts or valued is not Valued.WHOLE:
                self._held(thing, kind, parameter=parameter)
                self._search(attributes(thing))
        if id(described) not in self._classes:
            self._classes.add(id(described))
            self._class(described)

    def _valued(self, kind: type, *, parameter: bool) -> Valued:
        key = id(kind), parameter
        if key not in self._values:
            self._values[key] = valued(kind, parameter=parameter)
        return self._values[key]

    def _class(self, described: Any) -> None:
        metaclass: Any = type(described)
        for base in (*described.__mro__, *(() if metaclass is type else metaclass.__mro__)):
            if is_the_users(base.__module__):
                self.add(*_functions_of(base), parameter=False)
                self._search(part for name, part in vars(base).items() if not name.startswith("__"))

    def _held(self, thing: Any, kind: type, *, parameter: bool) -> None:
        """What an object holds: all that one of our own does, of others what is code."""
        ours = not is_the_users(kind.__module__)  # or installed: those of toolz are what they hold
        parameter = parameter and ours
        for name in _slots(kind):
            part = attribute(thing, name)
            if ours or counts(part):
                self.add(part, parameter=parameter)
        held = attribute(thing, "__dict__")
        if type(held) is dict:
            parts = (part for _, part in sorted(held.items()) if issubclass(type(part), CODE))
            self.add(*parts, parameter=parameter)
        func = attribute(thing, "func")  # of toolz.curry, and of whatever does like a partial
        if callable(func):
            self._led_to(func, parameter=parameter)


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
        elif isinstance(part, cached_property):
            yield part.func
        elif isinstance(part, partialmethod):
            yield from (part.func, part.args, part.keywords)
        elif isinstance(part, singledispatchmethod):
            yield part.dispatcher
        elif isinstance(part, FunctionType) or attribute(part, "__wrapped__") is not None:
            yield part


def _place(code: Any) -> tuple[str, str, int]:
    """Where code stands: the same in every process."""
    described = code if issubclass(type(code), type | FunctionType) else type(code)
    line = code.__code__.co_firstlineno if type(code) is FunctionType else 0
    return str(described.__module__), described.__qualname__, line


def _behind(function: FunctionType) -> Iterator[Any]:
    """The globals that a function mentions, of modules of the user's what it mentions of these."""
    for name in dict.fromkeys(globals_of(function.__code__)):
        found = function.__globals__.get(name)
        if type(found) is ModuleType:
            yield from _of_module(found, dict.fromkeys(names_in(function.__code__)), set())
        else:
            yield found


def _of_module(module: ModuleType, names: Iterable[str], seen: set[str]) -> Iterator[Any]:
    if module.__name__ in seen or not is_the_users(module.__name__):
        return
    seen.add(module.__name__)
    for name in names:
        part = vars(module).get(name)
        if type(part) is ModuleType:
            yield from _of_module(part, names, seen)
        else:
            yield part

"""Who else takes from an iterator: parts of a program that share one take turns at it, and stay together.

    zip(lines, bodies(lines))         chain(takewhile(p, it), it)         ((x, next(it)) for x in it)

Iterators of all kinds, and functions, tell the garbage collector what they hold.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cached_property, lru_cache, partial
from io import IOBase
from itertools import chain, combinations, count
from types import (
    BuiltinMethodType,
    CellType,
    CodeType,
    FunctionType,
    GeneratorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
)

from mrpy.iterators.uses import LOOKED_AT, PASSED, TAKEN, uses
from mrpy.light import TYPE_CHECKING, Any
from mrpy.mapreduce.sources import Pulled, taken_by
from mrpy.scheduler.simple_functions import globals_of, names_in

if TYPE_CHECKING:
    _Code = tuple[CodeType, frozenset[str]]  # and the names of variables in it
    _Seen = set[tuple[int, CodeType]]

_WRAPPINGS = (CellType, partial, FunctionType, MethodType, MethodWrapperType, BuiltinMethodType)
_NO_OBJECTS = (type, FunctionType, ModuleType)
_OVER_ITEMS: tuple[Any, ...] = (type(iter(())), type(iter([])))  # of what these hold none takes from another
_READ = frozenset(  # what is done to a file, a generator or a cursor
    ("next", "__next__", "send", "read", "readline", "readlines", "fetchone", "fetchmany", "fetchall")
)
# methods that may be called then
_UNNAMED = {TAKEN: ("__iter__",), PASSED: ("__call__", "__getitem__"), LOOKED_AT: ()}
_INSIDE: dict[type, str] = {
    property: "fget", cached_property: "func", staticmethod: "__func__", classmethod: "__func__",
    type(lru_cache(len)): "__wrapped__", FunctionType: "__wrapped__",
}  # fmt: skip
_DEEPEST = 10  # of decorators around one another; out of the air
_LONGEST = 100  # of lists that are looked into, too; out of the air
_MOST = 10_000  # things that are looked at; likewise


def share(iterators: Iterable[Any]) -> bool:
    """Whether an iterator stands in these at two places, as in ``zip(it, it)`` and, further inside,
    ``zip(it, map(f, it))``."""
    return _reached(iterators)[1]


def see_that_they_are_apart(verb: str, inputs: Sequence[Any], lost: Callable[[int, int], Any]) -> None:
    """Raises `ValueError` where two of the inputs take from the same iterator in ways in which items are
    ``lost``: a run that is ahead of the other has those that the other was to get."""
    different = {id(each): taken_by(each) for each in inputs}
    for one, other in combinations(filter(None, different.values()), 2):
        for (mine, my_way), (theirs, their_way) in ((left, right) for left in one for right in other):
            if lost(my_way, their_way) and _meet(mine, theirs):
                raise ValueError(
                    f"{verb}() of two that take from one iterator ({Pulled(mine)}), and each would miss what "
                    "the other has pulled; make a list of it, or take both from mrpy.stream(iterator).tee()"
                )


def _meet(one: Any, other: Any) -> bool:
    """Whether both take from the same iterator. One that both merely hold, a log file or a counter, say, may
    be there for something else."""
    if one is other:
        return True
    (mine, _), (theirs, _) = _reached([one]), _reached([other])
    both = [mine[each] for each in mine.keys() & theirs.keys()]
    if any(each is one or each is other for each in both):
        return True
    return any(_is_taken_from(each) and type(each) is not count for each in both)


def _is_taken_from(thing: Any) -> bool:
    """Whether it is an iterator that is there for nothing else."""
    return _is_iterator(thing) and type(thing).__module__ in ("builtins", "itertools")


def takes_from_its_source(generator: GeneratorType[Any, Any, Any]) -> bool:
    """Whether the body of a generator expression has what its source takes items from. A file, a cursor or an
    object of the user's may be there for something else: what is done with it, and what the methods do that
    are called there, says whether it is."""
    frame = generator.gi_frame
    assert frame is not None, "it was not started"
    variables = {**_globals_of(generator), **frame.f_locals}
    source, _ = _reached([variables.pop(".0", None)])
    others = []
    for name, value in variables.items():
        method = type(value) is MethodType
        owner = value.__self__ if method else value
        if not _has_some_of(owner, source):
            others.append(value)
        elif method:
            if _any_takes(owner, _codes(value.__func__), source, set()):
                return True
        else:
            done = uses(generator.gi_code, frozenset((name,)))
            if any(_takes(owner, *use, source, set()) for use in done):
                return True
            if any(not path and how != LOOKED_AT for path, how in done):
                others.append(value)
    body, _ = _reached(others)
    both = [source[one] for one in source.keys() & body.keys()]
    if any(map(_is_taken_from, both)):
        return True
    return any(hasattr(one, "readline") for one in both) and not _READ.isdisjoint(names_in(generator.gi_code))


def _has_some_of(thing: Any, source: dict[int, Any]) -> bool:
    """Whether an object is, or has in an attribute, something that takes from what the source takes from."""
    if issubclass(type(thing), _NO_OBJECTS):
        return False
    return _is_of(thing, source) or any(_is_of(part, source) for part in (*_attributes(thing).values(),))


def _is_of(thing: Any, source: dict[int, Any]) -> bool:
    if (not _is_iterator(thing) and type(thing) not in _WRAPPINGS) or _is_a_log(thing):
        return False
    return any(id(one) in source and _is_iterator(one) for one in _reached([thing])[0].values())


def _is_a_log(thing: Any) -> bool:
    with suppress(Exception):  # it may be closed
        return issubclass(type(thing), IOBase) and not thing.readable()
    return False


def _attributes(thing: Any) -> dict[str, Any]:
    held: Any = None
    with suppress(Exception):  # there are proxies that raise all kinds of errors when they are asked
        held = vars(thing)
    return held if type(held) is dict else {}


def _takes(thing: Any, path: tuple[str, ...], how: str, source: dict[int, Any], seen: _Seen) -> bool:
    """Whether that use of a thing takes from what it has of the source."""
    for name in path:
        of_source = _is_of(thing, source)
        if of_source and name == "__next__":
            return True
        codes = _methods(thing, name)
        if codes:
            return _any_takes(thing, codes, source, seen)
        if of_source and name in _READ:
            return True
        held = _attributes(thing)
        if name not in held:
            return False
        thing = held[name]
    if (how == TAKEN or (how == PASSED and path)) and _is_of(thing, source):
        return True
    return any(_any_takes(thing, _methods(thing, name), source, seen) for name in _UNNAMED[how])


def _any_takes(thing: Any, codes: list[_Code], source: dict[int, Any], seen: _Seen) -> bool:
    for code, names in codes:
        if (id(thing), code) not in seen:
            seen.add((id(thing), code))
            if any(_takes(thing, *use, source, seen) for use in uses(code, names)):
                return True
    return False


def _methods(thing: Any, name: str) -> list[_Code]:
    """The methods of that name that are called, those of parents where the ones before call these."""
    found: list[_Code] = []
    for kind in type(thing).__mro__:
        codes = _codes(vars(kind).get(name))
        found += codes
        if codes and not any("super" in names_in(code) for code, _ in codes):
            break
    return found


def _codes(method: Any) -> list[_Code]:
    """What is written in Python of a method, a property, or what was made of one, and the variables that may
    be the object there."""
    found: list[_Code] = []
    anywhere = type(method) in (staticmethod, classmethod)
    for _ in range(_DEEPEST):
        if type(method) is FunctionType:
            code = method.__code__
            count = code.co_argcount if anywhere else min(code.co_argcount, 1)
            found.append((code, frozenset(code.co_varnames[:count])))
        inside = _INSIDE.get(type(method))
        method = inside and getattr(method, inside, None)
    return found


def _reached(roots: Iterable[Any]) -> tuple[dict[int, Any], bool]:
    """The iterators and wrappings that are reached from these, by their ids, and whether one of the iterators
    is reached twice."""
    seen: dict[int, Any] = {}
    twice, looked = False, 0
    todo = [*roots]
    while todo and looked < _MOST:
        one = todo.pop()
        if id(one) in seen:
            twice = twice or _is_iterator(one)
        elif _is_iterator(one) or type(one) in _WRAPPINGS:
            seen[id(one)] = one
            held = _held_by(one)
            looked += 1 + len(held)
            todo += held
    return seen, twice


def _is_iterator(thing: Any) -> bool:
    return hasattr(type(thing), "__next__")


def _held_by(one: Any) -> list[Any]:
    kind: Any = type(one)
    if getattr(kind, "run_of_its_own", False):  # a run of ours, which nobody goes on with
        return []
    if kind is FunctionType:  # but not its globals
        return [*(one.__closure__ or ()), *(one.__defaults__ or ())]
    if kind in _OVER_ITEMS:
        return []
    held = gc.get_referents(one)
    if kind is GeneratorType:  # what its source is made of it may have in its body, too
        cells = [part for part in held if type(part) is CellType]
        values = [part for part in held if type(part) is not CellType] + gc.get_referents(*cells)
        held = list({id(part): part for part in (*values, *_globals_of(one).values())}.values())
    elif kind is chain:
        sources = [part for part in held if type(part) in _OVER_ITEMS]
        held += [part for each in sources for part in gc.get_referents(each)]
    elif type(getattr(kind, "__next__", None)) is FunctionType:  # of a class of the user's
        with suppress(Exception):
            held += list(one.__dict__.values())
    return [part for each in held for part in (each if _is_looked_into(each) else (each,))]


def _is_looked_into(part: Any) -> bool:
    return type(part) is tuple or (type(part) is list and len(part) <= _LONGEST)


def _globals_of(generator: GeneratorType[Any, Any, Any]) -> dict[str, Any]:
    frame = generator.gi_frame
    variables = {} if frame is None else frame.f_globals
    return {name: variables[name] for name in globals_of(generator.gi_code) if name in variables}

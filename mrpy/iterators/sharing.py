"""Who else takes from an iterator: parts of a program that share one take turns at it, and stay together.

    zip(lines, bodies(lines))         chain(takewhile(p, it), it)         ((x, next(it)) for x in it)

Iterators of all kinds, and functions, tell the garbage collector what they hold.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from itertools import chain
from types import (
    BuiltinMethodType,
    CellType,
    FunctionType,
    GeneratorType,
    MethodType,
    MethodWrapperType,
)

from mrpy.light import Any
from mrpy.scheduler.simple_functions import globals_of, names_in

_WRAPPINGS = (CellType, partial, FunctionType, MethodType, MethodWrapperType, BuiltinMethodType)
_OVER_ITEMS: tuple[Any, ...] = (type(iter(())), type(iter([])))  # of what these hold none takes from another
_READ = frozenset(("next", "__next__", "read", "readline", "readlines"))  # what is done to a file
_LONGEST = 100  # of lists that are looked into, too; out of the air
_MOST = 10_000  # things that are looked at; likewise


def share(iterators: Iterable[Any]) -> bool:
    """Whether an iterator stands in these at two places, as in ``zip(it, it)`` and, further inside,
    ``zip(it, map(f, it))``."""
    return _reached(iterators)[1]


def takes_from_its_source(generator: GeneratorType[Any, Any, Any]) -> bool:
    """Whether the body of a generator expression has what its source takes items from. A file, a cursor or an
    object of the user's may be there for something else."""
    frame = generator.gi_frame
    assert frame is not None, "it was not started"
    values = dict(frame.f_locals)
    source, _ = _reached([values.pop(".0", None)])
    body, _ = _reached([*values.values(), *_globals_of(generator)])
    both = [source[one] for one in source.keys() & body.keys()]
    if any(_is_iterator(one) and type(one).__module__ in ("builtins", "itertools") for one in both):
        return True
    reads = not _READ.isdisjoint(names_in(generator.gi_code))
    return reads and any(hasattr(one, "readline") for one in both)


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
        held = list({id(part): part for part in (*values, *_globals_of(one))}.values())
    elif kind is chain:
        sources = [part for part in held if type(part) in _OVER_ITEMS]
        held += [part for each in sources for part in gc.get_referents(each)]
    elif type(getattr(kind, "__next__", None)) is FunctionType:  # of a class of the user's
        with suppress(Exception):
            held += list(one.__dict__.values())
    return [part for each in held for part in (each if _is_looked_into(each) else (each,))]


def _is_looked_into(part: Any) -> bool:
    return type(part) is tuple or (type(part) is list and len(part) <= _LONGEST)


def _globals_of(generator: GeneratorType[Any, Any, Any]) -> list[Any]:
    frame = generator.gi_frame
    variables = {} if frame is None else frame.f_globals
    return [variables[name] for name in globals_of(generator.gi_code) if name in variables]

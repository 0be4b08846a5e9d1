"""Who else takes from an iterator: parts of a program that share one take turns at it, and stay together.

    zip(lines, bodies(lines))         chain(takewhile(p, it), it)         ((x, next(it)) for x in it)

Iterators of all kinds, and functions, tell the garbage collector what they hold.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable
from functools import partial
from types import CellType, FunctionType, GeneratorType, MethodType

from mrpy.light import TYPE_CHECKING
from mrpy.scheduler.simple_functions import names_in

if TYPE_CHECKING:
    from typing import Any

_WRAPPINGS = (CellType, partial, FunctionType, MethodType)  # what is looked into on the way
_LONGEST = 100  # of lists and tuples that are, too; out of the air
_MOST = 10_000  # things that are looked at; likewise


def share(iterators: Iterable[Any]) -> bool:
    """Whether an iterator stands in these at two places, as in ``zip(it, it)`` and, further inside,
    ``zip(it, map(f, it))``."""
    return _reached(iterators)[1]


def takes_from_its_source(generator: GeneratorType[Any, Any, Any]) -> bool:
    """Whether the body of a generator expression has what its source takes items from. A file, a cursor or an
    object of the user's may be there for something else."""
    frame = generator.gi_frame
    if frame is None:
        return False
    values = dict(frame.f_locals)
    source, _ = _reached([values.pop(".0", None)])
    body, _ = _reached([*values.values(), *_globals_of(generator)])
    both = [source[one] for one in source.keys() & body.keys()]
    return any(_is_iterator(one) and type(one).__module__ in ("builtins", "itertools") for one in both)


def _reached(roots: Iterable[Any]) -> tuple[dict[int, Any], bool]:
    """The iterators and wrappings that are reached from these, by their ids, and whether one of the iterators
    is reached twice."""
    seen: dict[int, Any] = {}
    twice = False
    todo = [*roots]
    while todo and len(seen) < _MOST:
        one = todo.pop()
        if id(one) in seen:
            twice = twice or _is_iterator(one)
        elif _is_iterator(one) or _is_wrapping(one):
            seen[id(one)] = one
            todo += _held(one)
    return seen, twice


def _is_iterator(thing: Any) -> bool:
    return hasattr(type(thing), "__next__")


def _is_wrapping(thing: Any) -> bool:
    kind = type(thing)
    return kind in _WRAPPINGS or ((kind is tuple or kind is list) and len(thing) <= _LONGEST)


def _held(one: Any) -> list[Any]:
    kind = type(one)
    if getattr(kind, "run_of_its_own", False):  # a run of ours, which nobody goes on with
        return []
    if kind is FunctionType:  # but not its globals
        return [*(one.__closure__ or ()), *(one.__defaults__ or ())]
    held = gc.get_referents(one)
    if kind is GeneratorType:
        held += _globals_of(one)
    elif type(getattr(kind, "__next__", None)) is FunctionType:  # of a class of the user's
        held += list(getattr(one, "__dict__", {}).values())
    return held


def _globals_of(generator: GeneratorType[Any, Any, Any]) -> list[Any]:
    frame = generator.gi_frame
    variables = {} if frame is None else frame.f_globals
    return [variables[name] for name in names_in(generator.gi_code) if name in variables]

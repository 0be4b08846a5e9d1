"""One `Code` for many calls of the same functions, as long as nothing that they hold has changed.

`submit` is called with a function again and again, a loop maps it over one short list after the other; to
pickle it each time, and open it on each worker, would cost more than all the rest. A function that workers
import by name is the same whatever happens. One of the main module travels by value, with the values of its
globals, closure and defaults at that time: it is taken for the same while those are the same, simple values.
Where one of them can be changed in place - a list, an object - nothing is reused.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import repeat
from operator import is_
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

from mrpy.scheduler.calls import Code
from mrpy.scheduler.here import Here, here

KEPT = 64  # functions; out of the air, as many as a worker holds
NUMBERS = frozenset((type(None), bool, int, float, complex))
CONSTANT = NUMBERS | {str, bytes}
BY_NAME = (FunctionType, BuiltinFunctionType, type)

# By the ids of the functions, and what else there is: where they were sent from, all that they held then, and
# what was made of them. Since they are among what they held, their ids are not given again.
_codes: OrderedDict[tuple[tuple[int, ...], tuple[Any, ...]], tuple[Here, list[Any], Code]] = OrderedDict()


def code_for(functions: Sequence[Any], make: Callable[[], Code], *also: Any) -> Code:
    """The code made before for these functions, or a new one. ``also``: what else it is made of."""
    held: list[Any] = []
    if not all(type(value) in CONSTANT for value in also) or not all(map(_add, functions, repeat(held))):
        return make()
    place = here()  # goes with the functions
    key = tuple(map(id, functions)), also
    known = _codes.get(key)
    if known is not None and known[0] == place and _are_same(known[1], held):
        return known[2]
    code = make()
    _codes[key] = place, held, code
    while len(_codes) > KEPT:
        _codes.popitem(last=False)
    return code


def _are_same(old: list[Any], new: list[Any]) -> bool:
    """Whether these are the very same things, or equal numbers."""
    return len(old) == len(new) and (all(map(is_, old, new)) or all(map(_is_same, old, new)))


def _is_same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    # 0.0 and -0.0 are equal, and a NaN is not equal to itself
    return type(one) is type(other) and type(one) in NUMBERS and repr(one) == repr(other)


def _add(thing: Any, held: list[Any]) -> bool:
    """Add a thing and all that it holds; False where nobody can tell whether that has changed."""
    kind = type(thing)
    if kind in CONSTANT or isinstance(thing, ModuleType) or _is_imported(thing):
        held.append(thing)
        return True
    if kind is not FunctionType or thing.__dict__:
        return False
    if any(map(is_, held, repeat(thing))):  # it calls itself
        held.append(thing)
        return True
    held += thing, thing.__code__, thing.__name__
    try:
        parts = _parts(thing)
    except ValueError:  # an empty cell, to be filled later
        return False
    return all(map(_add, parts, repeat(held)))


def _parts(function: FunctionType) -> list[Any]:
    """What it refers to."""
    parts: list[Any] = []
    if function.__defaults__:
        parts += function.__defaults__
    if function.__kwdefaults__:
        parts += function.__kwdefaults__.values()
    if function.__closure__:
        parts += [cell.cell_contents for cell in function.__closure__]
    names = function.__globals__
    for name in _names(function.__code__):
        if name in names:
            parts.append(names[name])
    return parts


def _names(code: CodeType) -> tuple[str, ...]:
    names = code.co_names
    for constant in code.co_consts:
        if type(constant) is CodeType:
            names += _names(constant)
    return names


def _is_imported(thing: Any) -> bool:
    """Whether it travels by its name, which a worker imports."""
    if not isinstance(thing, BY_NAME):
        return False
    name = getattr(thing, "__module__", None)
    if name == "__main__" or name not in sys.modules or "." in thing.__qualname__:
        return False
    return getattr(sys.modules[name], thing.__qualname__, None) is thing

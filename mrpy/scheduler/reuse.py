"""One `Code` for many calls of the same function, as long as nothing that it holds has changed.

`submit` is called with a function again and again, and to pickle it each time would cost more than all the
rest. A function that workers import by name is the same whatever happens. One of the main module travels
by value, with the values of its globals, closure and defaults at that time: it is taken for the same while
those are the same, simple values. Where one of them can be changed in place - a list, an object - nothing
is reused.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

from mrpy.scheduler.calls import Code
from mrpy.scheduler.here import here

KEPT = 64  # functions; out of the air, as many as a worker holds
NUMBERS = (type(None), bool, int, float, complex)

_codes: OrderedDict[Any, tuple[Any, Code]] = OrderedDict()


def code_for(function: Any, make: Callable[[], Code]) -> Code:
    """The code made before for this function, or a new one."""
    prints: list[Any] = [here()]  # goes with the function
    if not _print_of(function, prints, set()):
        return make()
    known = _codes.get(id(function))
    if known is not None and known[0] == prints:
        return known[1]
    code = make()
    code.reused = True
    _codes[id(function)] = prints, code  # `prints` holds the function, so that its id is not given again
    while len(_codes) > KEPT:
        _codes.popitem(last=False)
    return code


class _Same:
    """Equal to itself alone, and to another that holds the very same object."""

    __slots__ = ("thing",)

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return type(other) is _Same and other.thing is self.thing

    __hash__ = None  # type: ignore[assignment]


def _print_of(thing: Any, prints: list[Any], seen: set[int]) -> bool:
    """Add what tells whether `thing` has changed; False where nobody can tell."""
    if type(thing) in NUMBERS:
        prints += [type(thing), repr(thing)]  # 0.0 and -0.0 are equal, and a NaN is not equal to itself
        return True
    if type(thing) in (str, bytes) or isinstance(thing, ModuleType) or _is_imported(thing):
        prints.append(_Same(thing))
        return True
    if type(thing) is not FunctionType or thing.__dict__:
        return False
    prints.append(_Same(thing))
    if id(thing) in seen:
        return True
    seen.add(id(thing))
    prints += [_Same(thing.__code__), thing.__name__]
    held = [*(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values()]
    try:
        held += [cell.cell_contents for cell in thing.__closure__ or ()]
    except ValueError:  # an empty cell, to be filled later
        return False
    names = _names(thing.__code__)
    held += [thing.__globals__[name] for name in names if name in thing.__globals__]
    return all(_print_of(each, prints, seen) for each in held)


def _names(code: CodeType) -> list[str]:
    names = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names += _names(constant)
    return names


def _is_imported(thing: Any) -> bool:
    """Whether it travels by its name, which a worker imports."""
    if not isinstance(thing, FunctionType | BuiltinFunctionType | type):
        return False
    name = getattr(thing, "__module__", None)
    if name == "__main__" or name not in sys.modules or "." in thing.__qualname__:
        return False
    return getattr(sys.modules[name], thing.__qualname__, None) is thing

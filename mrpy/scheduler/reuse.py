"""One `Code` for many calls of the same functions, as long as nothing that they hold has changed.

`submit` is called with a function again and again, a loop maps it over one short list after the other; to
pickle it each time, and open it on each worker, would cost more than all the rest. A function that workers
import by name is the same whatever happens. One of the main module travels by value, with the values of its
globals, closure and defaults at that time: it is taken for the same while those are the same, simple values.
Where one of them can be changed in place - a list, an object - or takes much memory, nothing is reused.
Nor is it in a run where the function writes to what is not its own: each run begins with what its user
holds. What a single call leaves behind, the next one finds: so a model is loaded once.
A generator expression is made a function anew for each run, and is known by its code.
"""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import chain, repeat
from opcode import opmap
from operator import is_
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType

from mrpy.light import Any
from mrpy.scheduler.calls import Code
from mrpy.scheduler.here import Here, here
from mrpy.scheduler.importable import is_importable, is_importable_module
from mrpy.scheduler.simple_functions import modules_travel_by_value, names_in

KEPT = 64  # functions; out of the air, as many as a worker holds
LARGEST = 1 << 14  # bytes of a string or a number that is kept; out of the air
CONSTANT = frozenset((type(None), bool, int, float, complex, str, bytes))
_BY_REPR = (float, complex)  # 0.0 and -0.0 are equal, and a NaN is not equal to itself
_modules = 0  # how many there are, always as the same object: most is the same, and is compared as such
_MISSING = object()  # a global that is not there
_WRITES = frozenset(opmap[name] for name in ("STORE_GLOBAL", "DELETE_GLOBAL", "STORE_DEREF", "DELETE_DEREF"))
_SETS = frozenset((opmap["STORE_ATTR"], opmap["DELETE_ATTR"]))
_SETTERS = frozenset(
    ("setattr", "delattr", "__dict__", "__setattr__", "__delattr__", "__kwdefaults__", "__annotations__")
)
_ANYTHING = frozenset(("globals", "vars", "eval", "exec"))  # who calls these may read and write what he likes
BY_NAME = (FunctionType, BuiltinFunctionType, type)

# By the ids of the functions, or of their codes, and what else there is: where they were sent from, all that
# they held then, and what was made of them. Since they are among what they held, ids are not given again.
_codes: OrderedDict[tuple[tuple[int, ...], tuple[Any, ...]], tuple[Here, list[Any], Code]] = OrderedDict()
# One may be in the midst of being pickled, by a thread that stays behind.
os.register_at_fork(after_in_child=_codes.clear)


def code_for(functions: Sequence[Any], make: Callable[[], Code], *also: Any, afresh: bool = False) -> Code:
    """The code made before for these functions, or a new one. ``also``: what else it is made of. ``afresh``:
    nothing is to be seen of what was run before."""
    code = reused(functions, make, *also, afresh=afresh)
    return make() if code is None else code


def reused(
    functions: Sequence[Any], make: Callable[[], Code], *also: Any, afresh: bool = False
) -> Code | None:
    """The same; None where the code of these can only be for once."""
    few = len(functions) <= KEPT and CONSTANT.issuperset(map(type, also))
    held = _held(functions) if few else None
    if held is None or (afresh and _writes(held, functions)):
        return None
    place = here()  # goes with the functions
    key = tuple(map(id, map(_itself, functions))), also
    known = _codes.get(key)
    if known is not None and not known[2].stale and known[0] == place and _are_same(known[1], held):
        try:  # no `suppress`, which takes five times as long
            _codes.move_to_end(key)
        except KeyError:  # another thread has just taken it out
            pass
        return known[2]
    code = make()

    def is_as_it_was() -> bool:
        now = _held(functions)
        return now is not None and _are_same(now, held) and here() == place

    code.is_as_it_was = is_as_it_was
    _codes[key] = place, held, code
    while len(_codes) > KEPT:
        _codes.popitem(last=False)
    return code


def _itself(thing: Any) -> Any:
    return thing.__code__ if _is_expression(thing) else thing


def _is_expression(thing: Any) -> bool:
    return type(thing) is FunctionType and thing.__code__.co_name == "<genexpr>"


def _are_of_a_module(names: dict[str, Any]) -> bool:
    module = sys.modules.get(names.get("__name__", ""))
    return getattr(module, "__dict__", None) is names


class _Method:
    """Stands before the parts of one: no value of anybody's is this."""


class _Tuple:
    """Likewise."""


def parts_of(value: Any) -> list[Any]:
    """What a value is made of, for `code_for`, where it is one of ours, a method of one, or a tuple: all that
    its fields hold. It is made anew for each run, of what the last one was made of."""
    kind = type(value)
    if kind is MethodType:
        return [_Method, value.__name__, *parts_of(value.__self__)]
    if kind is tuple and len(value) <= KEPT:
        return [_Tuple, len(value), *chain.from_iterable(map(parts_of, value))]
    if kind is str:
        return [sys.intern(value)]  # its id is asked for; that of `max.__name__` is another each time
    fields: tuple[str, ...] | None = getattr(kind, "__match_args__", None)
    if fields is None or not kind.__module__.startswith("mrpy."):
        return [value]
    return [kind, *chain.from_iterable(parts_of(getattr(value, field)) for field in fields)]


def _held(functions: Sequence[Any]) -> list[Any] | None:
    """All that these hold; None where nobody can tell whether that has changed."""
    if modules_travel_by_value():
        return None
    global _modules
    if len(sys.modules) != _modules:
        _modules = len(sys.modules)
    held: list[Any] = [_modules]  # of a package, what is imported of it goes with it
    try:
        return held if all(map(_add, functions, repeat(held))) else None
    except Exception:  # objects can be odd in many ways, and functions hold each other very deep
        return None


def _are_same(old: list[Any], new: list[Any]) -> bool:
    """Whether these are the very same things, or equal constants."""
    return len(old) == len(new) and (all(map(is_, old, new)) or all(map(_is_same, old, new)))


def _is_same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) is not type(other) or type(one) not in CONSTANT:
        return False
    return repr(one) == repr(other) if type(one) in _BY_REPR else bool(one == other)


def _add(thing: Any, held: list[Any]) -> bool:
    """Add a thing and all that it holds; False where nobody can tell whether that has changed."""
    kind = type(thing)
    if kind in CONSTANT and sys.getsizeof(thing) > LARGEST:
        return False
    if kind in CONSTANT or thing is _MISSING or _is_module(thing) or _is_imported(thing):
        held.append(thing)
        return True
    if kind is not FunctionType or thing.__dict__:
        return False
    if any(map(is_, held, repeat(thing))):  # it calls itself
        held.append(thing)
        return True
    if not _ANYTHING.isdisjoint(names_in(thing.__code__)):
        return False
    if _is_expression(thing) and not _are_of_a_module(thing.__globals__):
        return False  # it may be the last that holds them
    held.append(thing.__globals__ if _is_expression(thing) else thing)
    held += thing.__code__, thing.__name__, thing.__qualname__, thing.__module__, thing.__doc__
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
        parts += *function.__kwdefaults__, *function.__kwdefaults__.values()
    if function.__closure__:
        parts += [cell.cell_contents for cell in function.__closure__]
    names = function.__globals__
    return parts + [names.get(name, _MISSING) for name in names_in(function.__code__)]


def _writes(held: list[Any], asked: Sequence[Any]) -> bool:
    """Whether a function among these writes to what is not its own, as far as can be seen. Where one sets
    attributes, and they refer to more functions than was asked for, it may be one of these."""
    codes = [thing for thing in held if type(thing) is CodeType]
    if not all(map(_only_reads, codes)):
        return True

    def count(things: Sequence[Any]) -> int:
        functions = [thing for thing in things if type(thing) is FunctionType]
        theirs = [each.__code__ for each in functions if not _is_expression(each)]
        return sum(any(map(is_, codes, repeat(code))) for code in theirs)

    return any(map(_sets_attributes, codes)) and count(held) > count(asked)


def _sets_attributes(code: CodeType) -> bool:
    if not _SETS.isdisjoint(code.co_code[::2]) or not _SETTERS.isdisjoint(code.co_names):
        return True
    return any(type(constant) is CodeType and _sets_attributes(constant) for constant in code.co_consts)


def _only_reads(code: CodeType) -> bool:
    inner = (constant for constant in code.co_consts if type(constant) is CodeType)
    return _WRITES.isdisjoint(code.co_code[::2]) and all(map(_only_reads, inner))


def _is_module(thing: Any) -> bool:
    return issubclass(type(thing), ModuleType) and is_importable_module(thing)


def _is_imported(thing: Any) -> bool:
    """Whether it travels by its name, which a worker imports."""
    return issubclass(type(thing), BY_NAME) and "." not in thing.__qualname__ and is_importable(thing)

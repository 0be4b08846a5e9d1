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
    CodeType,
    FunctionType,
    GeneratorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
)

from mrpy.light import TYPE_CHECKING, Any, later
from mrpy.scheduler.simple_functions import globals_of, names_in

if TYPE_CHECKING:
    import opcode
else:
    opcode = later("opcode")

_WRAPPINGS = (CellType, partial, FunctionType, MethodType, MethodWrapperType, BuiltinMethodType)
_NO_OBJECTS = (type, FunctionType, ModuleType)
_OVER_ITEMS: tuple[Any, ...] = (type(iter(())), type(iter([])))  # of what these hold none takes from another
_READ = frozenset(("next", "__next__", "read", "readline", "readlines"))  # what is done to a file
_VARIABLE = frozenset(("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_FAST", "LOAD_CLASSDEREF"))
_ATTRIBUTE = frozenset(("LOAD_ATTR", "LOAD_METHOD"))
_LONGEST = 100  # of lists that are looked into, too; out of the air
_MOST = 10_000  # things that are looked at; likewise


def share(iterators: Iterable[Any]) -> bool:
    """Whether an iterator stands in these at two places, as in ``zip(it, it)`` and, further inside,
    ``zip(it, map(f, it))``."""
    return _reached(iterators)[1]


def takes_from_its_source(generator: GeneratorType[Any, Any, Any]) -> bool:
    """Whether the body of a generator expression has what its source takes items from. A file, a cursor or an
    object of the user's may be there for something else: of an object whose attributes alone are used, what
    the methods do that are called there says whether it is."""
    frame = generator.gi_frame
    assert frame is not None, "it was not started"
    variables = {**_globals_of(generator), **frame.f_locals}
    source, _ = _reached([variables.pop(".0", None)])
    names = frozenset(names_in(generator.gi_code))
    others = []
    for name, value in variables.items():
        owner = value.__self__ if type(value) is MethodType else value
        shared = _shared_by(owner, source)
        if shared and _takes(owner, frozenset((value.__name__,)) if owner is not value else names, shared):
            return True
        if not shared or not _only_attributes_of(name, generator.gi_code):
            others.append(value)
    body, _ = _reached(others)
    both = [source[one] for one in source.keys() & body.keys()]
    if any(_is_iterator(one) and type(one).__module__ in ("builtins", "itertools") for one in both):
        return True
    return not _READ.isdisjoint(names) and any(hasattr(one, "readline") for one in both)


def _shared_by(thing: Any, source: dict[int, Any]) -> set[str]:
    """The attributes of an object of the user's that hold something of the source, and "next" if it is of it
    itself."""
    held: Any = None
    with suppress(Exception):  # there are proxies that raise all kinds of errors when they are asked
        held = vars(thing)
    if type(held) is not dict or isinstance(thing, _NO_OBJECTS) or not _methods_of(thing):
        return set()
    shared = {name for name, part in held.items() if id(part) in source}
    return shared | {"next"} if id(thing) in source else shared


def _methods_of(thing: Any) -> dict[str, CodeType]:
    """Those that are written in Python, by name."""
    parts = [part for kind in reversed(type(thing).__mro__) for part in vars(kind).items()]
    return {name: part.__code__ for name, part in parts if type(part) is FunctionType}


def _only_attributes_of(name: str, code: CodeType) -> bool:
    """Whether nothing else is done with a variable than to look up an attribute."""
    import dis  # heavy, and only where there is such an object

    uses = False
    for step in dis.get_instructions(code):
        if uses and step.opname not in _ATTRIBUTE:
            return False
        uses = step.argval == name and step.opname in _VARIABLE
    inner = (constant for constant in code.co_consts if type(constant) is CodeType)
    return all(_only_attributes_of(name, each) for each in inner)


def _takes(thing: Any, names: frozenset[str], shared: set[str]) -> bool:
    """Whether methods of these names, and those that they call, take from what that object has of the
    source."""
    methods = _methods_of(thing)
    seen: set[str] = set()
    loops = False
    while shared.isdisjoint(names) or not (loops or not _READ.isdisjoint(names)):
        called = [methods[name] for name in names - seen if name in methods]
        if not called:
            return False
        seen |= names
        names, loops = frozenset(chain.from_iterable(map(names_in, called))), any(map(_loops, called))
    return True


def _loops(code: CodeType) -> bool:
    return opcode.opmap["FOR_ITER"] in code.co_code[::2]


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

"""Who else takes from an iterator: parts of a program that share one take turns at it, and stay together.

    zip(lines, bodies(lines))         chain(takewhile(p, it), it)         ((x, next(it)) for x in it)

Iterators of all kinds, and functions, tell the garbage collector what they hold.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import lru_cache, partial
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

from mrpy.iterators.held import LONGEST, attributes_of, is_container, is_mapping, items_of
from mrpy.iterators.uses import ANY, ASKED, LOOKED_AT, PASSED, TAKEN, TAKERS, Handed, codes_of, uses
from mrpy.light import TYPE_CHECKING, Any
from mrpy.mapreduce.sources import Asked, Pulled, is_of_library, run_of, taken_by
from mrpy.scheduler.simple_functions import globals_of, names_in

if TYPE_CHECKING:
    from mrpy.iterators.uses import Code

_BOUND = (MethodType, MethodWrapperType, BuiltinMethodType)
_WRAPPINGS = (CellType, partial, FunctionType, *_BOUND)
_CALLED = (FunctionType, partial, *_BOUND)
_CALLS = type(iter(object, None))
_OF_PYTHON = ("builtins", "itertools")
_NO_OBJECTS = (type, FunctionType, ModuleType)
_OVER_ITEMS: tuple[Any, ...] = (type(iter(())), type(iter([])))  # of what these hold none takes from another
_READ = frozenset(  # what is done to a file, a generator or a cursor
    ("next", "__next__", "send", "read", "readline", "readlines", "fetchone", "fetchmany", "fetchall")
)
_UNNAMED = {  # methods that may be called then
    TAKEN: ("__iter__",), PASSED: ("__call__", "__getitem__"), LOOKED_AT: (), ASKED: ("__contains__",),
}  # fmt: skip
_FUNCTIONS = 100  # that are looked into; out of the air
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
    return _is_iterator(thing) and type(thing).__module__ in _OF_PYTHON


class _Source:
    """What a source takes its items from."""

    def __init__(self, iterators: Iterable[Any], space: Any) -> None:
        roots = {id(each): each for each in iterators}
        things = _reached(roots.values())[0].items()
        # a counter that it merely has may be there for something else
        self.things = {one: each for one, each in things if type(each) is not count or one in roots}
        self.space = space  # the globals of what is looked at: functions over these are looked into, too
        self.seen: set[Any] = set()  # functions, and objects and methods
        called = [one for each in self.things.values() if type(each) is _CALLS for one in _called_by(each)]
        self.called = {(id(one.__self__), one.__name__) for one in called}  # as in iter(queue.get, None)
        self.owners = {owner for owner, _ in self.called}


def _called_by(calls: Any) -> list[Any]:
    functions = [one.func if type(one) is partial else one for one in gc.get_referents(calls)]
    return [one for one in functions if type(one) in _BOUND and hasattr(one, "__name__")]


def takes_from_its_source(generator: GeneratorType[Any, Any, Any]) -> bool:
    """Whether the body of a generator expression has what its source takes items from. A file, a cursor or an
    object of the user's may be there for something else: what is done with it, and what the methods do that
    are called there, says whether it is."""
    frame = generator.gi_frame
    assert frame is not None, "it was not started"
    variables = {**_globals_of(generator), **frame.f_locals}
    source = _Source([variables.pop(".0", None)], frame.f_globals)
    with suppress(RecursionError):  # of many functions that call one another
        return _body_takes(generator.gi_code, variables, source, in_doubt=True)
    return False


def takes(function: Any, sources: Iterable[object]) -> bool:
    """The same of a function that is called with the items of these."""
    iterators = [iterator for each in sources for iterator, _ in taken_by(each)]
    iterators += [iterator for each in sources for iterator in _gone_over(each)]
    if not iterators:
        return False
    inside = function
    while type(inside) in (partial, MethodType):
        inside = inside.func if type(inside) is partial else inside.__func__
    source = _Source(iterators, inside.__globals__ if type(inside) is FunctionType else {})
    with suppress(RecursionError):
        return _body_takes(_body.__code__, {"function": function}, source)
    return False


def _gone_over(source: Any) -> list[Any]:
    """The iterators among the attributes of an object that its ``__iter__`` does something with."""
    thing = source.iterable if isinstance(source, Pulled) else source
    found = getattr(type(thing), "__iter__", None)
    if type(found) is not FunctionType or _is_iterator(thing):
        return []
    looked_up = {path[0] for code, names in codes_of(found) for path, _ in uses(code, names) if path}
    held = attributes_of(thing).items()
    return [part for name, part in held if name in looked_up and _is_iterator(part)]


def _body(function: Callable[[], Any]) -> Any:
    return function()


def _body_takes(code: CodeType, variables: dict[str, Any], source: _Source, in_doubt: bool = False) -> bool:
    """``in_doubt``: the answer where it is passed on, to whoever."""
    others = []
    for name, value in variables.items():
        kind = type(value)
        if kind in _CALLED and _call_takes(value, source):
            return True
        if kind in _CALLED and kind is not partial:
            continue
        if not _has_some_of(value, source):
            others.append(value)
            continue
        done = uses(code, frozenset((name,)))
        if any(_takes(value, *use, source, variables) for use in done):
            return True
        if in_doubt and any(not path and _is_passed(how, variables) for path, how in done):
            others.append(value)
    body, _ = _reached(others)
    both = [source.things[one] for one in source.things.keys() & body.keys()]
    if any(map(_is_taken_from, both)):
        return True
    return any(hasattr(one, "readline") for one in both) and not _READ.isdisjoint(names_in(code))


def _is_passed(how: Any, variables: dict[str, Any]) -> bool:
    if type(how) is Handed:  # a function is looked into
        return type(variables.get(how[0])) is not FunctionType
    return bool(how == PASSED)


def _call_takes(called: Any, source: _Source) -> bool:
    """Whether a function, or what was made of one, takes from the source when it is called."""
    if id(called) in source.seen or len(source.seen) > _FUNCTIONS:
        return False
    source.seen.add(id(called))
    if type(called) is FunctionType:
        return _function_takes(called, {}, source)
    return _partial_takes(called, source) if type(called) is partial else _method_takes(called, source)


def _function_takes(function: FunctionType, given: dict[str, Any], source: _Source) -> bool:
    """``given``: parameters of it that are known."""
    code, defaults = function.__code__, function.__defaults__ or ()
    last = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
    variables = {**dict(zip(last, defaults, strict=True)), **(function.__kwdefaults__ or {}), **given}
    if function.__globals__ is source.space:
        variables.update(_named(_global_names(code), source.space))
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # it is empty
            variables[name] = cell.cell_contents
    return _body_takes(code, variables, source)


def _partial_takes(made: partial[Any], source: _Source) -> bool:
    function: Any = made.func
    if type(function) is FunctionType:
        given = zip(function.__code__.co_varnames, made.args, strict=False)
        return _function_takes(function, {**dict(given), **made.keywords}, source)
    of_python = type(function) in (type, BuiltinMethodType) and function.__module__ in _OF_PYTHON
    if of_python and function.__name__ in TAKERS and any(_is_one_of(part, source) for part in made.args):
        return True
    return type(function) in _CALLED and _call_takes(function, source)


def _method_takes(method: Any, source: _Source) -> bool:
    owner, function = method.__self__, getattr(method, "__func__", None)
    if type(function) is FunctionType and _function_takes(function, {}, source):
        return True
    if not _has_some_of(owner, source):
        return False
    name = getattr(method, "__name__", "")
    return _any_takes(owner, codes_of(function), source) or _takes(owner, (name,), PASSED, source)


def _has_some_of(thing: Any, source: _Source) -> bool:
    """Whether an object is, or has in an attribute, something that takes from what the source takes from."""
    if issubclass(type(thing), _NO_OBJECTS):
        return False
    parts = (thing, *attributes_of(thing).values())
    return any(_is_of(part, source) for part in parts)


def _is_of(thing: Any, source: _Source) -> bool:
    parts = items_of(thing) if is_container(thing) else ()
    return any(_is_one_of(each, source) for each in (thing, *parts))


def _is_one_of(thing: Any, source: _Source) -> bool:
    if id(thing) in source.owners:
        return True
    if (not _is_iterator(thing) and type(thing) not in _WRAPPINGS) or _is_a_log(thing):
        return False
    return any(id(one) in source.things and _is_iterator(one) for one in _reached([thing])[0].values())


def _is_a_log(thing: Any) -> bool:
    with suppress(Exception):  # it may be closed
        return issubclass(type(thing), IOBase) and not thing.readable()
    return False


def _takes(
    thing: Any, path: tuple[Any, ...], how: Any, source: _Source, variables: dict[str, Any] | None = None
) -> bool:
    """Whether that use of a thing surely takes from what it has of the source. ``variables``: those of the
    code, if these are known."""
    for at, name in enumerate(path, 1):
        if type(name) is tuple:
            return _item_takes(thing, name, path[at:], how, source)
        if name == "get" and is_mapping(thing):  # what is behind is the item
            continue
        of_source = not is_container(thing) and _is_one_of(thing, source)
        if (of_source and name == "__next__") or (id(thing), name) in source.called:
            return True
        codes = _methods(thing, name, source)
        if codes:
            return _any_takes(thing, codes, source)
        if of_source and name in _READ:
            return True
        held = attributes_of(thing)
        if name not in held:
            return False
        thing = held[name]
    if type(how) is Handed:
        return _helper_takes(thing, how, source, source.space if variables is None else variables)
    if how == PASSED and path and type(thing) in _CALLED:
        return _call_takes(thing, source)
    codes = [code for name in _UNNAMED[how] for code in _methods(thing, name, source)]
    if how == ASKED and not codes:  # it is gone through
        return _takes(thing, (), TAKEN, source)
    return (how == TAKEN and _is_one_of(thing, source)) or _any_takes(thing, codes, source)


def _item_takes(thing: Any, key: Any, path: tuple[Any, ...], how: Any, source: _Source) -> bool:
    """The same of an item there."""
    if not is_container(thing):
        return _takes(thing, (), PASSED, source)
    if key is ANY:
        iterators = [each for each in items_of(thing) if _is_iterator(each)]
        return bool(iterators) and all(_takes(each, path, how, source) for each in iterators)
    try:
        return _takes(thing[key[0]], path, how, source)
    except (LookupError, TypeError):
        return False


def _helper_takes(thing: Any, handed: Handed, source: _Source, variables: dict[str, Any]) -> bool:
    """Whether what it is handed to does: a function of the user's is looked into."""
    name, _, how = handed
    function = variables.get(name)
    if type(function) is not FunctionType or (how == TAKEN and is_of_library(function)):
        return how == TAKEN and _takes(thing, (), TAKEN, source)
    parameter = handed.parameter_of(function.__code__)
    use = (id(thing), function, parameter)
    if not parameter or use in source.seen or len(source.seen) > _FUNCTIONS:
        return False
    source.seen.add(use)
    return _function_takes(function, {parameter: thing}, source)


def _any_takes(thing: Any, codes: list[Code], source: _Source) -> bool:
    for code, names in codes:
        if (id(thing), code) not in source.seen:
            source.seen.add((id(thing), code))
            if any(_takes(thing, *use, source) for use in uses(code, names)):
                return True
    return False


def _methods(thing: Any, name: str, source: _Source) -> list[Code]:
    """The methods of that name that are called, those of parents where the ones before call these. Those of
    Python's own classes take nothing, if they do not say so."""
    found: list[Code] = []
    for kind in type(thing).__mro__:
        if is_of_library(kind) and name not in _READ and id(thing) not in source.owners:
            continue
        codes = codes_of(vars(kind).get(name))
        found += codes
        if codes and not any("super" in names_in(code) for code, _ in codes):
            break
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
    if (left := run_of(one)) is not one:
        return [left]
    if kind is Asked:
        return [one.iterator]
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
    # no loop over a tuple: that of `zip_longest` has nothing, not even None, for an input that has ended
    return [part for each in held for part in (gc.get_referents(each) if _is_looked_into(each) else (each,))]


def _is_looked_into(part: Any) -> bool:
    return type(part) is tuple or (type(part) is list and len(part) <= LONGEST)


def _globals_of(generator: GeneratorType[Any, Any, Any]) -> dict[str, Any]:
    frame = generator.gi_frame
    return {} if frame is None else _named(_global_names(generator.gi_code), frame.f_globals)


@lru_cache(maxsize=1000)
def _global_names(code: CodeType) -> tuple[str, ...]:
    return tuple(globals_of(code))


def _named(names: Iterable[str], variables: dict[str, Any]) -> dict[str, Any]:
    return {name: variables[name] for name in names if name in variables}

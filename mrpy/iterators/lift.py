"""Lifting: from a generator that was not started to the plan of what it would do.

A generator expression holds everything that is needed: its code object, its globals, the values of its
free variables, and the iterator over its outermost source. From these a function is built that does to
any stretch of the source what the generator would have done to all of it. The built-in iterators `map`,
`filter`, `zip` and those over sequences come apart the same way, to any depth. What cannot be taken apart
is a plain source.

A lifted generator is taken over: it is closed, so that nobody else can consume its source as well.
The same holds for an iterator over a sequence: it is exhausted, as it would be in the end.
"""

from __future__ import annotations

import dis
import inspect
import sys
from collections.abc import Callable, Iterable
from types import CellType, CodeType, FunctionType, GeneratorType
from typing import Any

from mrpy.errors import LiftError
from mrpy.mapreduce.plan import GENEXPR, Body, Filter, Map, Plan, StarMap
from mrpy.mapreduce.sources import Pulled, Sliced, Zipped, source_of


def lift(iterable: Iterable[Any]) -> Plan:
    """The plan of an iterable: taken apart where possible, a plain source otherwise.

    >>> print(lift(x * x for x in range(10)))
    range(0, 10) -> (x * x for x in range(10))
    """
    handler = _HANDLERS.get(type(iterable))
    plan = handler(iterable) if handler is not None else None
    return plan if plan is not None else Plan(source_of(iterable))


def lift_program(iterable: Iterable[Any]) -> Plan:
    """As `lift`, where the user means the iterable as a program. Raises `LiftError` for a generator that
    cannot be one, and says what to write instead."""
    if isinstance(iterable, GeneratorType):
        why = _why_not(iterable)
        if why:
            raise LiftError(why)
    elif inspect.isasyncgen(iterable):
        raise LiftError("an asynchronous generator cannot be run in parallel; write it without async")
    return lift(iterable)


def _why_not(generator: GeneratorType[Any, Any, Any]) -> str:
    name = generator.__qualname__
    if inspect.getgeneratorstate(generator) != inspect.GEN_CREATED:
        return (
            f"the generator {name} was already started, so what it would do with its items is not known any "
            "more; hand it over before the first next(), or use mrpy.pmap(function, generator)"
        )
    if generator.gi_code.co_name != GENEXPR:
        return (
            f"{name}() is a generator function, and nothing says that it may be run on pieces of its input; "
            f"mark it with @mrpy.stage if its items do not depend on each other, or use "
            f"mrpy.pmap(function, {name}(...)) to run a function on what it yields"
        )
    return ""


def _from_generator(generator: GeneratorType[Any, Any, Any]) -> Plan | None:
    if _why_not(generator):
        return None
    frame = generator.gi_frame
    values = dict(frame.f_locals)
    source = values.pop(".0")
    function = _rebuilt(generator, values)
    generator.close()
    return lift(source).then(Body(function, _binds(generator.gi_code)))


def _rebuilt(generator: GeneratorType[Any, Any, Any], values: dict[str, Any]) -> Callable[..., Any]:
    """The generator as a function of its source. Free variables are captured as they are now."""
    code = generator.gi_code
    cells = tuple(CellType(values[name]) if name in values else CellType() for name in code.co_freevars)
    function = FunctionType(code, generator.gi_frame.f_globals, GENEXPR, None, cells)
    function.__qualname__ = generator.__qualname__
    return function


def _binds(code: CodeType) -> bool:
    """Whether a walrus in a generator expression binds a name of the scope around it."""
    for step in dis.get_instructions(code):
        if step.opname == "STORE_GLOBAL" or step.opname == "STORE_DEREF" and step.argval in code.co_freevars:
            return True
    return any(_binds(inner) for inner in code.co_consts if isinstance(inner, CodeType))


# ---- built-in iterators --------------------------------------------------------------------------


def _from_sequence_iterator(iterator: Any) -> Plan | None:
    """``iter(sequence)``, from where it stands."""
    made = iterator.__reduce__()
    if len(made) != 3 and len(made) != 2 or made[0] is not iter or len(made[1]) != 1:
        return None  # it has ended: an empty plain source
    position = made[2] if len(made) == 3 else 0
    iterator.__setstate__(sys.maxsize)  # taken over: whoever else holds it finds it at its end
    return Plan(Sliced(made[1][0], position or 0))


def _from_map(iterator: Any) -> Plan | None:
    function, *sources = iterator.__reduce__()[1]
    if len(sources) == 1:
        return lift(sources[0]).then(Map(function))
    zipped = _zipped(sources)
    return zipped.then(StarMap(function))


def _from_filter(iterator: Any) -> Plan | None:
    predicate, source = iterator.__reduce__()[1]
    return lift(source).then(Filter(bool if predicate is None else predicate))


def _from_zip(iterator: Any) -> Plan | None:
    made = iterator.__reduce__()
    if len(made) > 2:  # strict=True
        return None
    return _zipped(made[1]) if made[1] else None


def _zipped(sources: Iterable[Any]) -> Plan:
    """Several sources side by side: cut together if all are over sequences, else pulled together. One
    that stands there twice (``zip(it, it)``) is pulled in turns and cannot be cut."""
    iterators = [iter(source) for source in sources]
    if len({*map(id, iterators)}) == len(iterators):
        if all(_HANDLERS.get(type(each)) is _from_sequence_iterator for each in iterators):
            plans = [lift(each) for each in iterators]
            if all(isinstance(plan.source, Sliced) for plan in plans):
                return Plan(Zipped(tuple(plan.source for plan in plans)))  # type: ignore[misc]
    return Plan(Pulled(zip(*iterators, strict=False)))


_HANDLERS: dict[type, Callable[[Any], Plan | None]] = {
    GeneratorType: _from_generator,
    map: _from_map,
    filter: _from_filter,
    zip: _from_zip,
    **{
        type(iter(example)): _from_sequence_iterator  # type: ignore[call-overload]
        for example in (range(0), range(2**70), [], (), "", "é", b"", bytearray())
    },
}

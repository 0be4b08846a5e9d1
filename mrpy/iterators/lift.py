"""Lifting: from a generator that was not started to the plan of what it would do.

A generator expression holds everything that is needed: its code object, its globals, the values of its
free variables, and the iterator over its outermost source. From these a function is built that does to
any stretch of the source what the generator would have done to all of it. The built-in iterators come
apart the same way, to any depth (``builtin.py``). What cannot be taken apart is a plain source.

A lifted generator is taken over: it is closed, so that nobody else can consume its source as well.
The same holds for an iterator over a sequence: it is exhausted, as it would be in the end.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import lru_cache
from types import AsyncGeneratorType, CellType, CodeType, FunctionType, GeneratorType

from mrpy.errors import LiftError
from mrpy.iterators.arguments import puts_off, see_that_it_is_called
from mrpy.iterators.builtin import HANDLERS, NONE_GIVEN, is_too_deep
from mrpy.iterators.handed import see_that_it_is_new, take_over
from mrpy.iterators.sharing import takes_from_its_source
from mrpy.light import TYPE_CHECKING, later
from mrpy.mapreduce.plan import Plan
from mrpy.mapreduce.sources import asked, run_of, source_of
from mrpy.mapreduce.steps import GENEXPR, Body, Map
from mrpy.scheduler.simple_functions import steps_of

if TYPE_CHECKING:
    import opcode
    from typing import Any

    from mrpy.iterators import elsewhere
    from mrpy.iterators.builtin import Given
else:
    elsewhere = later("mrpy.iterators.elsewhere")
    opcode = later("opcode")  # only for generators


_AT_ONCE = frozenset(("<listcomp>", "<setcomp>", "<dictcomp>"))  # they are through before what they are in is
_COMPREHENSIONS = _AT_ONCE | {GENEXPR}


def lift(iterable: Iterable[Any], given: Given = NONE_GIVEN) -> Plan:
    """The plan of an iterable: taken apart where possible, a plain source otherwise. `given` are the
    options for parts that have to be run by themselves, as the two inside of a `zip` have.

    >>> print(lift(x * x for x in range(10)))
    range(0, 10) -> (x * x for x in range(10))
    """
    return Plan(source_of(iterable)) if is_too_deep(iterable) else _lift(iterable, given)


def _lift(iterable: Iterable[Any], given: Given) -> Plan:
    plan: Plan | None = None
    iterable = run_of(iterable)
    see_that_it_is_new(iterable)
    if type(iterable) is GeneratorType:
        plan = None if _why_not(iterable) else _from_generator(iterable, given, _lift)
    elif type(iterable) in HANDLERS:
        plan = HANDLERS[type(iterable)](iterable, lambda inner: _lift(asked(inner), given), given)
    return plan if plan is not None else Plan(source_of(iterable))


def lift_program(iterable: Iterable[Any], given: Given = NONE_GIVEN) -> Plan:
    """As `lift`, where the user means the iterable as a program. Raises `LiftError` for a generator that
    cannot be one, and says what to write instead."""
    if isinstance(iterable, GeneratorType):
        why = _why_not(iterable)
        if why:
            raise LiftError(why)
        puts_off = _puts_off(iterable)
        plan = _from_generator(iterable, given, lift)
        return plan.then(Map(elsewhere.called)) if puts_off else plan
    if isinstance(iterable, AsyncGeneratorType):
        raise LiftError("an asynchronous generator cannot be run in parallel; write it without async")
    if type(iterable).__name__ == "generator" and hasattr(iterable, "gi_frame"):  # as those of Cython
        raise LiftError(
            "a generator of a compiled module cannot be taken apart, since nothing says what it does with "
            "its items; use mrpy.pmap(function, source) there"
        )
    plan = lift(iterable, given)
    _see_that_none_is_put_off(iterable, plan)
    return plan


def _why_not(generator: GeneratorType[Any, Any, Any]) -> str:
    name = generator.__qualname__
    if generator.gi_frame is None:
        see_that_it_is_new(generator)
        return f"the generator {name} was already started and has ended; make it anew"
    if generator.gi_running or generator.gi_suspended:
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
    target = _read_before_bound(generator.gi_code)
    if target:
        return (
            f"the body of {name} reads {target!r} before it binds it, and so what was bound for the item "
            "before; itertools.accumulate does that in order, mrpy.preduce adds up in parallel"
        )
    if takes_from_its_source(generator):
        return (
            f"the body of {name} takes items from what it goes over, too, so that none is done apart from "
            "the others; pair the items before, as in zip(items, items)"
        )
    return ""


def _puts_off(generator: GeneratorType[Any, Any, Any]) -> bool:
    """Whether it names a `delayed`, that of joblib or Dask, or what one has made: its items may be calls that
    nobody does."""
    theirs = _that_put_off()
    if not theirs:
        return False
    frame: Any = generator.gi_frame
    names = {*generator.gi_code.co_names, *generator.gi_code.co_freevars}
    known = [frame.f_locals.get(name, frame.f_globals.get(name)) for name in names]
    own = [getattr(module, "delayed", module) for module in theirs]
    own += theirs if "delayed" in names else []
    return any(puts_off(each) or any(each is one for one in own) for each in known)


def _that_put_off() -> list[Any]:
    """The modules of others that do, if they are imported."""
    return [sys.modules[name] for name in ("joblib", "sklearn.utils.parallel", "dask") if name in sys.modules]


def _see_that_none_is_put_off(iterable: Any, plan: Plan) -> None:
    """Raises `TypeError` where the calls were put off before: a look at the first one."""
    for step in plan.steps:
        see_that_it_is_called("parallel", getattr(step, "function", None))
    if type(iterable) in (list, tuple) and iterable and _that_put_off():
        elsewhere.called(iterable[0])


def _from_generator(
    generator: GeneratorType[Any, Any, Any], given: Given, lift: Callable[[Any, Given], Plan]
) -> Plan:
    frame = generator.gi_frame
    assert frame is not None, "it was not started"
    values = dict(frame.f_locals)
    source = values.pop(".0")
    function = _rebuilt(generator, frame.f_globals, values)
    take_over(generator)
    code = generator.gi_code
    bound, late = _bound(code), _used_late(code)
    written = bound - {*code.co_freevars}  # globals
    body = Body(function, bool(bound), bool(late), bool(late & written), bool(written))
    return lift(asked(source), given).then(body)


def _rebuilt(
    generator: GeneratorType[Any, Any, Any], variables: dict[str, Any], values: dict[str, Any]
) -> Callable[..., Any]:
    """The generator as a function of its source. Free variables are captured as they are now."""
    code = generator.gi_code
    cells = tuple(CellType(values[name]) if name in values else CellType() for name in code.co_freevars)
    function = FunctionType(code, variables, GENEXPR, None, cells)
    function.__qualname__ = generator.__qualname__
    return function


@lru_cache(maxsize=1000)
def _bound(code: CodeType) -> frozenset[str]:
    """The names of the scope around it that a walrus in a generator expression binds."""
    store_global, store_cell = opcode.opmap["STORE_GLOBAL"], opcode.opmap["STORE_DEREF"]
    free = _first_free(code)
    names = set()
    for step, operand in steps_of(code):
        if step == store_global:
            names.add(code.co_names[operand])
        if step == store_cell and operand >= free:
            names.add(code.co_freevars[operand - free])
    for inner in code.co_consts:
        if isinstance(inner, CodeType):  # what is free in there and a cell of this one is bound in this one
            names |= _bound(inner).difference(_own_cells(code).intersection(inner.co_freevars))
    return frozenset(names)


@lru_cache(maxsize=1000)
def _used_late(code: CodeType) -> frozenset[str]:
    """The variables that the next item writes, of those that functions and generators use which are made for
    one."""
    written = _bound(code).union(code.co_cellvars)
    through = [(inner, False) for inner in code.co_consts if isinstance(inner, CodeType)]
    used: set[str] = set()
    while through and written:
        inner, late = through.pop()
        late = late or inner.co_name not in _AT_ONCE  # all that is within a function is as late as that
        if late:
            used.update(inner.co_freevars, inner.co_names)
        through += [(each, late) for each in inner.co_consts if isinstance(each, CodeType)]
    return written & used


@lru_cache(maxsize=1000)
def _read_before_bound(code: CodeType) -> str:
    """A name of the scope around it that a generator expression binds, and reads before; empty for none."""
    if not _bound(code):
        return ""
    import dis  # heavy, and only for these

    first: dict[str, bool] = {}  # of each name: whether it is read at first
    bound = set()

    def look(code: CodeType, own: set[str]) -> None:
        """``own``: variables of the codes around this one that they do not have from elsewhere themselves."""
        free, theirs = _first_free(code), own | _own_cells(code)
        waiting = []  # until what they go over is there
        for step in dis.get_instructions(code):
            if isinstance(step.argval, CodeType) and step.argval.co_name in _COMPREHENSIONS:
                waiting.append(step.argval)
            elif isinstance(step.argval, CodeType):
                look(step.argval, theirs)
            elif step.opname == "GET_ITER" and waiting:
                look(waiting.pop(), theirs)
            elif step.opname.endswith("_GLOBAL") or (
                step.opname.endswith("_DEREF") and (step.arg or 0) >= free and step.argval not in own
            ):
                if step.opname.startswith("STORE"):
                    bound.add(step.argval)
                first.setdefault(step.argval, step.opname.startswith("LOAD"))

    look(code, set())
    return next((name for name, is_read in first.items() if is_read and name in bound), "")


def _own_cells(code: CodeType) -> set[str]:
    """Its variables that functions within it use. Where a comprehension's has the name of one from elsewhere,
    Python from 3.12 on takes the latter for both."""
    return {*code.co_cellvars}.difference(code.co_freevars)


def _first_free(code: CodeType) -> int:
    """Where the variables of others begin: behind its own, local ones and cells. From Python 3.12 on those of
    a comprehension are among its own, and may have the name of one of these others."""
    return len({*code.co_varnames, *code.co_cellvars})

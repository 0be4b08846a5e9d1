"""Simple functions of the main module, pickled by value without cloudpickle, whose import costs 10 ms and
more in the parent, and again in each worker.

    parent                                            worker, the same interpreter
      code (marshal), the globals it names,   ────>   a function of that code, over globals of its own;
      defaults, closure, attributes                   then filled, so that it may refer to itself

Simple is what holds nothing but numbers, strings, containers of these, modules, what workers import by its
name, and other simple functions. All else is refused (`NotSimple`) and left to ``byvalue.py``: classes and
objects of the main module, methods, caches, packages whose submodules would have to be found.

What comes out is what cloudpickle makes of it, to the letter: functions of one pickle share their globals if
they did before, and variables of closures are copied. ``tests/test_simple_functions.py`` compares them.
"""

from __future__ import annotations

import io
import marshal
import sys
from functools import partial
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, ModuleType

from mrpy.light import TYPE_CHECKING, later, pickle
from mrpy.scheduler.importable import is_found, is_importable, is_importable_module

if TYPE_CHECKING:
    import opcode
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any
else:
    opcode = later("opcode")  # for the parent only

IMPORTS_GO_BY = ("__package__", "__name__", "__path__", "__file__")  # globals of the main module
SET_LATER = (
    "__name__", "__qualname__", "__annotations__", "__kwdefaults__", "__defaults__", "__module__", "__doc__",
)  # fmt: skip


class NotSimple(Exception):
    """Something that only cloudpickle can pickle."""


def modules_travel_by_value() -> bool:
    """Whether the user has told cloudpickle that some do. While another thread imports it nobody has."""
    told = getattr(sys.modules.get("cloudpickle"), "list_registry_pickle_by_value", None)
    return told is not None and any(map(is_found, told()))


def dumps(value: Any, buffer_callback: Callable[[Any], Any] | None = None) -> bytes:
    """Pickle `value`, simple functions of the main module by value. Raises `NotSimple`."""
    if modules_travel_by_value():
        raise NotSimple("the user has modules that shall travel by value")
    with io.BytesIO() as file:
        try:
            _Pickler(file, 5, buffer_callback=buffer_callback).dump(value)
        except Exception as problem:  # cloudpickle may know how, or say it better
            raise NotSimple(str(problem)) from problem
        return file.getvalue()


class _Pickler(pickle.Pickler):
    def __init__(self, file: Any, protocol: int, *, buffer_callback: Any) -> None:
        super().__init__(file, protocol, buffer_callback=buffer_callback)
        self._globals: dict[int, dict[str, Any]] = {}  # of what is to be made, by the id of the old

    def reducer_override(self, thing: Any) -> Any:
        """Asked for all but numbers, strings and containers."""
        if isinstance(thing, ModuleType):
            return _import, (_importable_name(thing),)
        if type(thing) is FunctionType and not is_importable(thing):
            return self._by_value(thing)
        if isinstance(thing, FunctionType | BuiltinFunctionType | type):
            if is_importable(thing):
                return NotImplemented
        elif type(thing) is partial or type(thing).__module__.startswith("mrpy."):
            return NotImplemented  # a step, say; what it holds is looked at in its turn
        raise NotSimple(f"a {type(thing).__qualname__} is not simple")

    def _by_value(self, function: FunctionType) -> Any:
        if getattr(function, "__type_params__", ()):
            raise NotSimple("it has type parameters")
        code, variables = function.__code__, function.__globals__
        base = self._globals.setdefault(id(variables), {})
        if not base:
            base.update((name, variables[name]) for name in IMPORTS_GO_BY if name in variables)
        used = {name: variables[name] for name in dict.fromkeys(globals_of(code)) if name in variables}
        closure = function.__closure__
        contents = None if closure is None else [_content(cell) for cell in closure]
        _refuse_packages([*used.values(), *(value for content in contents or () for value in content)])
        rest = {name: getattr(function, name) for name in SET_LATER}
        state = used, contents, rest, function.__dict__
        cells = None if contents is None else len(contents)
        return _make, (marshal.dumps(code), base, cells), state, None, None, _fill


def _make(code: bytes, variables: dict[str, Any], cells: int | None) -> FunctionType:
    """In the worker: the function, still empty."""
    variables["__builtins__"] = __builtins__
    closure = None if cells is None else tuple(CellType() for _ in range(cells))
    return FunctionType(marshal.loads(code), variables, None, None, closure)


def _fill(function: FunctionType, state: tuple[Any, ...]) -> None:
    """In the worker: what it refers to, which may be itself."""
    used, contents, rest, attributes = state
    function.__globals__.update(used)
    for cell, content in zip(function.__closure__ or (), contents or (), strict=True):
        for value in content:
            cell.cell_contents = value
    for name, value in rest.items():
        setattr(function, name, value)
    function.__dict__.update(attributes)


def _import(name: str) -> ModuleType:
    __import__(name)
    return sys.modules[name]


def _content(cell: CellType) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:  # it is empty, and stays so
        return ()


def _importable_name(module: ModuleType) -> str:
    if not is_importable_module(module):
        raise NotSimple(f"{module!r} cannot be imported")
    return module.__name__


def _refuse_packages(values: Iterable[Any]) -> None:
    """``concurrent.futures`` is there only where somebody has imported it: cloudpickle sees to that."""
    for value in values:
        if isinstance(value, ModuleType) and hasattr(value, "__path__"):
            raise NotSimple(f"{value!r} is a package")


def globals_of(code: CodeType) -> Iterator[str]:
    """The names of the global variables that code, and code inside it, reads or writes."""
    load = opcode.opmap["LOAD_GLOBAL"]
    # type parameters in a class look in the class first, from Python 3.12 on
    others = tuple(map(opcode.opmap.get, ("STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS")))
    # the body of a class looks names up another way: what it does not have itself, up to there, is global
    look_up, store = opcode.opmap["LOAD_NAME"], opcode.opmap["STORE_NAME"]
    own = set()
    for step, operand in steps_of(code):
        if step == load:
            yield code.co_names[operand >> 1]  # the last bit is about calls
        elif step in others or (step == look_up and operand not in own):
            yield code.co_names[operand]
        elif step == store:
            own.add(operand)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from globals_of(constant)


def steps_of(code: CodeType) -> Iterator[tuple[int, int]]:
    """The operations of a code, each with what it is done to."""
    raw, extended = code.co_code, opcode.EXTENDED_ARG
    high = 0  # of an operand that takes more than one byte
    for step, low in zip(raw[::2], raw[1::2], strict=True):
        operand = high | low
        high = operand << 8 if step == extended else 0
        yield step, operand


def names_in(code: CodeType) -> tuple[str, ...]:
    """All names in a code, and in what is made of codes in it: globals, attributes, modules."""
    names = code.co_names
    for constant in code.co_consts:
        if type(constant) is CodeType:
            names += names_in(constant)
    return names

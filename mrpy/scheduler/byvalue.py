"""Pickling by value, a little further than cloudpickle goes: what `functools` wrapped in a main module.

A function behind `lru_cache`, a `cached_property` and what `singledispatch` makes of functions and methods
of a script or a notebook are taken apart here and put together again in the worker; their caches begin empty
there. So is what `cmp_to_key` makes, and the keys that this makes, wherever the function is from. An open
file is refused: cloudpickle would send a copy of what is left to read, which is not what anybody means; but
standard output and error are the worker's own there. So is an end of a pipe: it would send a number. Code
keeps the name of its file, which cloudpickle takes away from 3.1.3 on: a traceback without its lines helps
nobody. An object whose ``__getattr__`` would turn in a circle while it is opened is filled without being
asked. A constant of a library that is compared by `is`, as `dataclasses.MISSING`, is the worker's own, where
classes mention it. What cloudpickle does not see of classes is in ``classes.py``, and of type parameters in
``typed.py``.

Each is made first and filled afterwards, so that functions may refer to themselves.
"""

from __future__ import annotations

import copyreg
import enum
import functools
import gc
import importlib
import io
import operator
import sys
import typing
from collections.abc import Callable
from contextlib import suppress
from types import CodeType, FunctionType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import cloudpickle

from mrpy.errors import SerializationError
from mrpy.scheduler import classes
from mrpy.scheduler.classes import as_it_is, goes_by_name, held_as, member_of
from mrpy.scheduler.importable import PIPES, is_found, is_importable
from mrpy.scheduler.simple_functions import globals_of
from mrpy.scheduler.structs import is_meta, reduce_meta
from mrpy.scheduler.typed import TYPED, reduce_typed
from mrpy.scheduler.views import with_views

_CACHED = type(functools.lru_cache(len))
_KEY: type = type(functools.cmp_to_key(lambda *_: 0))  # a maker of keys, and a key
_ALIAS: Any = getattr(typing, "TypeAliasType", type(None))  # from 3.12 on
_ONE_BY_ONE = (FunctionType, ModuleType, type, enum.Enum, _CACHED, _ALIAS, *TYPED)  # some go by their names
_DISPATCH: Any = functools.singledispatch(lambda _: None).dispatch
_STANDARD = ("stdout", "stderr", "__stdout__", "__stderr__")  # each process has its own
_NO_PIPES = (
    "an end of a pipe is a descriptor of its process (use a queue of multiprocessing.Manager(); or print or "
    "log, which is shown here; or backend='threads')"
)
_FILES = (io.TextIOWrapper, io.BufferedReader, io.BufferedWriter, io.BufferedRandom, io.FileIO)


def dumps(value: Any, buffer_callback: Callable[[Any], Any] | None = None) -> bytes:
    """Pickle `value`, functions and classes of the main module by value, and of others that workers lack."""
    with io.BytesIO() as file:
        _Pickler(file, 5, buffer_callback).dump(value)
        return file.getvalue()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """What C asks it for every object takes no more than a look, where that kind of object is known."""

    def __init__(self, file: Any, protocol: int, buffer_callback: Any) -> None:
        self.dispatch_table = with_views(_one_table(cloudpickle.Pickler.dispatch_table))
        self._aliases: set[int] = set()  # by ids: of those asked for twice the second is within the first
        self._plain: set[type] = set()  # kinds of objects of which none is pickled in a way of its own
        super().__init__(file, protocol, buffer_callback)

    def reducer_override(self, thing: Any) -> Any:
        """Asked for all but numbers, strings and containers."""
        kind = type(thing)
        if kind in self._plain or (kind is FunctionType and thing in _TOOLS):
            return NotImplemented
        reduced = self._reduced(thing, kind)
        if reduced is NotImplemented and _is_like_all_its_kind(thing, kind):
            self._plain.add(kind)
        return reduced

    def _reduced(self, thing: Any, kind: type) -> Any:
        if isinstance(thing, FunctionType | ModuleType | type):
            _by_value_too(thing.__name__ if isinstance(thing, ModuleType) else thing.__module__)
        if kind is FunctionType:
            _see_class_bodies(thing.__code__)
        if kind is CodeType:
            build, arguments = cloudpickle.Pickler.dispatch_table[CodeType](thing)
            return _code, (build, arguments, thing.co_filename)
        if kind is _CACHED and not is_importable(thing):
            state = thing.__wrapped__
            return _empty_cache, (thing.cache_parameters(),), state, None, None, _fill_cache
        if kind is _KEY:  # what it compares by is seen by the garbage collector only
            compare, *item = (each for each in gc.get_referents(thing) if each is not _KEY)
            return _key, (compare, item)
        if kind is functools.cached_property:
            return _cached_property, (thing.func, thing.attrname)
        if _is_dispatcher(thing) and not is_importable(thing):
            return _empty_dispatcher, (), dict(thing.registry), None, None, _fill_dispatcher
        if kind is functools.singledispatchmethod:  # without the cache that it has from Python 3.13 on
            parts = {name: part for name, part in vars(thing).items() if name != "_method_cache"}
            return functools.singledispatchmethod, (_nothing,), parts
        if kind is FunctionType and thing.__code__ is _DISPATCH.__code__:
            return _dispatch, (dict(_variable(thing, "registry")),)
        if kind in TYPED and not is_importable(thing):
            return reduce_typed(thing)
        if kind is _ALIAS and not is_importable(thing):
            stands_for = typing.Any  # also where it is of itself, or of what is there for type checkers only
            if id(thing) not in self._aliases:
                self._aliases.add(id(thing))
                with suppress(NameError):
                    stands_for = thing.__value__
            return _alias, (thing.__name__, stands_for, thing.__type_params__)
        if _is_array_of_ctypes(thing):
            return operator.mul, (thing._type_, thing._length_)
        if is_meta(thing):
            return reduce_meta(thing)
        if goes_by_name(thing):
            return member_of, (kind, thing._name_)
        if isinstance(thing, io.TextIOBase) and (name := _standard(thing)):
            return getattr, (sys, name)
        if kind in _FILES or kind is getattr(sys.modules.get("tarfile"), "_LowLevelFile", None):
            raise TypeError(f"{thing!r} is an open file")
        if issubclass(kind, getattr(sys.modules.get(PIPES), "_ConnectionBase", ())):
            raise SerializationError(_NO_PIPES)
        if kind is not FunctionType and isinstance(thing, FunctionType):
            return _proxy(thing, kind)
        ordinary = not isinstance(thing, type) and kind not in self.dispatch_table and _is_ordinary(kind)
        if ordinary and (name := _name_of_constant(thing, kind)):
            return _constant, (kind, name)
        if ordinary and _fails_empty(kind):
            make, arguments, state, items, pairs = (*thing.__reduce_ex__(5), None, None, None)[:5]
            return make, arguments, state, items, pairs, _set_state
        reduced = super().reducer_override(thing)
        if kind is FunctionType and getattr(thing, "__type_params__", None) and type(reduced) is tuple:
            reduced[2][1]["__type_params__"] = thing.__type_params__  # among what is set by name
        return as_it_is(thing, reduced) if isinstance(thing, type) and type(reduced) is tuple else reduced


def _is_ordinary(kind: Any) -> bool:
    """Whether its objects are pickled as those of most classes: a new one, and then its state."""
    return kind.__reduce_ex__ is object.__reduce_ex__ and kind.__reduce__ is object.__reduce__


_constants: WeakKeyDictionary[type, dict[int, str]] = WeakKeyDictionary()  # by ids, of those in its module


def _name_of_constant(thing: Any, kind: type) -> str | None:
    """By which the module of its class has it, where that is all there is to it: it has no state."""
    if kind not in _constants:
        parts = dict(vars(sys.modules[kind.__module__])) if is_importable(kind) else {}
        ours = {id(part): name for name, part in parts.items() if type(part) is kind and _has_no_state(part)}
        _constants[kind] = ours
    name = _constants[kind].get(id(thing))
    is_there = name is not None and held_as(kind.__module__, name) is thing
    return name if is_there and _has_no_state(thing) else None


def _has_no_state(thing: Any) -> bool:
    try:
        _, arguments, *state = thing.__reduce_ex__(5)
    except Exception:  # it cannot be pickled
        return False
    return len(arguments) == 1 and all(part is None for part in state)


def _constant(kind: Any, name: str) -> Any:
    """That which is here, unless it is something else here, or has been given a state since."""
    held = held_as(kind.__module__, name)
    return held if type(held) is kind and _has_no_state(held) else kind.__new__(kind)


_empty_fails: WeakKeyDictionary[type, bool] = WeakKeyDictionary()  # what was found of kinds


def _fails_empty(kind: Any) -> bool:
    """Whether one that is being opened, and has nothing yet, fails where it is asked for ``__setstate__``:
    its ``__getattr__`` looks among what it has, in a circle perhaps (pydantic has such, for calls)."""
    if type(getattr(kind, "__getattr__", None)) is not FunctionType:
        return False
    if kind not in _empty_fails:
        try:
            getattr(kind.__new__(kind), "__setstate__", None)
            _empty_fails[kind] = False
        except Exception:
            _empty_fails[kind] = True
    return _empty_fails[kind]


def _set_state(thing: Any, state: Any) -> None:
    """What `pickle` does where there is no ``__setstate__``, without asking for it."""
    attributes, slots = state if type(state) is tuple else (state, None)
    if attributes:
        named = {sys.intern(name) if type(name) is str else name: part for name, part in attributes.items()}
        object.__getattribute__(thing, "__dict__").update(named)
    for name, part in (slots or {}).items():
        setattr(thing, name, part)


def _one_table(tables: Any) -> dict[type, Any]:
    """cloudpickle's, and below it that of `copyreg`: it asks both in Python, for every object."""
    made: dict[type, Any] = {}
    for table in reversed(getattr(tables, "maps", (tables,))):
        made.update(table)
    return made


def _is_like_all_its_kind(thing: Any, kind: type) -> bool:
    """Whether all others of its kind go the same way. Proxies are of the kind that they say."""
    one_by_one = issubclass(kind, _ONE_BY_ONE) or _constants.get(kind)
    return not one_by_one and getattr(thing, "__class__", None) is kind


def _by_value_too(name: str | None) -> None:
    """Tell cloudpickle of a module that workers cannot import. Of the usual main module it knows."""
    module = sys.modules.get(name or "")
    known = isinstance(module, ModuleType) and module.__name__ == name != "__main__"
    if known and not is_found(str(name)):
        cloudpickle.register_pickle_by_value(module)


_seen: WeakKeyDictionary[CodeType, dict[str, None]] = WeakKeyDictionary()  # what cloudpickle keeps of each


def _see_class_bodies(code: CodeType) -> None:
    """Have cloudpickle take along the globals that bodies of classes in a function mention."""
    names: dict[str, None] = getattr(cloudpickle.cloudpickle, "_extract_code_globals", lambda _: {})(code)
    if _seen.get(code) is not names:
        names.update(dict.fromkeys(globals_of(code)))
        _seen[code] = names


def _is_dispatcher(thing: Any) -> bool:
    return type(thing) is type(is_importable) and hasattr(thing, "registry") and hasattr(thing, "dispatch")


def _is_array_of_ctypes(thing: Any) -> bool:
    """Whether it is such a class, and none that derives from one."""
    if not isinstance(thing, type) or type(thing).__module__ != "_ctypes":
        return False
    kind: Any = thing
    return hasattr(kind, "_length_") and kind is kind._type_ * kind._length_


def _standard(stream: Any) -> str | None:
    """What `sys` calls it. That of a worker, in a result, is the one here."""
    return next((name for name in _STANDARD if getattr(sys, name) is stream), None)


def _proxy(thing: Any, kind: type) -> Any:
    """What says that it is a function, and is more: it decorates it, say. cloudpickle would send the function
    alone. Those of wrapt cannot be pickled, and say what they are made of."""
    if is_importable(thing):
        return thing.__qualname__
    wrapt = sys.modules.get("wrapt")
    if wrapt is not None and kind is wrapt.FunctionWrapper:
        return _wrapper, (thing.__wrapped__, thing._self_wrapper, thing._self_enabled)
    make, *rest = thing.__reduce_ex__(5)
    return _new if make is copyreg.__newobj__ else make, *rest  # type: ignore[attr-defined]


def _wrapper(*arguments: Any) -> Any:
    return importlib.import_module("wrapt").FunctionWrapper(*arguments)  # where its classes do not say to be


def _new(kind: Any, *arguments: Any) -> Any:
    """pickle has this by itself, and takes the word of an object for its class."""
    return kind.__new__(kind, *arguments)


def _alias(name: str, stands_for: Any, parameters: tuple[Any, ...]) -> Any:
    return _ALIAS(name, stands_for, type_params=parameters)


def _code(build: Callable[..., CodeType], arguments: tuple[Any, ...], filename: str) -> CodeType:
    return build(*arguments).replace(co_filename=filename)


def _empty_cache(parameters: dict[str, Any]) -> Any:
    def call(*arguments: Any, **keywords: Any) -> Any:
        return call.target(*arguments, **keywords)  # type: ignore[attr-defined]

    return functools.lru_cache(**parameters)(call)


def _fill_cache(cached: Any, function: Any) -> None:
    cached.__wrapped__.target = function
    functools.update_wrapper(cached, function)


def _key(compare: Any, item: list[Any]) -> Any:
    maker = functools.cmp_to_key(compare)
    return maker(*item) if item else maker


def _cached_property(function: Any, name: str | None) -> Any:
    made: Any = functools.cached_property(function)
    made.attrname = name
    return made


def _nothing(*_: Any) -> None: ...


def _empty_dispatcher() -> Any:
    return functools.singledispatch(_nothing)


def _dispatch(registry: dict[type, Any]) -> Any:
    """The function `dispatch` of such a dispatcher."""
    dispatcher = _empty_dispatcher()
    _fill_dispatcher(dispatcher, registry)
    return dispatcher.dispatch


def _variable(function: FunctionType, name: str) -> Any:
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    return cells[name].cell_contents


def _fill_dispatcher(dispatcher: Any, registry: dict[type, Any]) -> None:
    for kind, function in registry.items():
        dispatcher.register(kind, function)
    functools.update_wrapper(dispatcher, registry[object])


# By which copies are made: half of all that the pickler is asked for, and workers have them.
_TOOLS = frozenset(
    tool
    for room in (vars(cloudpickle.cloudpickle), vars(classes), globals())
    for tool in room.values()
    if type(tool) is FunctionType and "." not in tool.__qualname__
)

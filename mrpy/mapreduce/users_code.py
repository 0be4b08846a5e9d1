"""What of a program is the user's own code, and what of it his data lead to: methods of objects in variables,
functions in tables. Nothing of his is called for that: no property, no ``__getattr__``."""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import chain, islice
from types import (
    BuiltinFunctionType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
)  # fmt: skip

from mrpy.light import TYPE_CHECKING
from mrpy.scheduler.importable import MAIN

if TYPE_CHECKING:
    from typing import Any

MUCH = 10_000  # things that are looked at of what one variable leads to; out of the air
MEMBERS = (dict, MappingProxyType, tuple, list, set, frozenset)
CODE = (FunctionType, MethodType, BuiltinFunctionType, partial)


def code_behind(things: Iterable[Any]) -> Iterator[Any]:
    """The code that data lead to: functions and classes that they are or hold, and the classes of what is no
    code itself. What installed objects hold is not looked at."""
    for thing in things:
        found, ids = [thing], {id(thing)}
        for each in found:  # which grows
            yield from _code_of(each)
            for inner in _inside(each):
                if len(found) < MUCH and id(inner) not in ids:
                    ids.add(id(inner))
                    found.append(inner)


def _code_of(thing: Any) -> Iterator[Any]:
    kind = type(thing)
    if issubclass(kind, (type, *CODE)) or kind.__module__.startswith(("functools", "toolz.")):
        if counts(thing):
            yield thing
    elif is_the_users(kind.__module__):
        yield kind


def _inside(thing: Any) -> list[Any]:
    """What a container holds, or an object of the user's."""
    kind = type(thing)
    held: Iterable[Any] = ()
    if issubclass(kind, dict):
        keys = [*islice(dict.keys(thing), MUCH)]  # at once: another thread may change it
        held = chain(dict.values(thing), (key for key in keys if type(key) is not str))
    elif issubclass(kind, MappingProxyType):
        held = thing.values()
    elif issubclass(kind, MEMBERS):
        held = next(base for base in MEMBERS if issubclass(kind, base)).__iter__(thing)
    return [*islice(held, MUCH), *made_by(thing), *attributes(thing)]


def made_by(thing: Any) -> list[Any]:
    """What makes the values that a `defaultdict` does not have."""
    slot: Any = vars(defaultdict)["default_factory"]
    return [slot.__get__(thing)] if issubclass(type(thing), defaultdict) else []


def attributes(thing: Any) -> list[Any]:
    """What an object of the user's holds."""
    kind = type(thing)
    values: list[Any] = []
    if issubclass(kind, (type, *CODE)) or not is_the_users(kind.__module__):
        return values
    for base in kind.__mro__:
        for name, part in vars(base).items():
            if type(part) is MemberDescriptorType:  # a slot
                with suppress(AttributeError):
                    values.append(part.__get__(thing))
            elif name == "__dict__" and type(part) is GetSetDescriptorType:
                values += part.__get__(thing).values()
    return values


def attribute(thing: Any, name: str, default: Any = None) -> Any:
    """An attribute, of whatever: there are proxies that raise all kinds of errors when they are asked."""
    try:
        return getattr(thing, name, default)
    except Exception:
        return default


def counts(thing: Any) -> bool:
    """Whether it is code of the user's, or holds some."""
    kind = type(thing)
    if issubclass(kind, partial) or kind.__module__.startswith("toolz."):
        return True
    if not callable(thing):
        return False
    module = thing.__module__ if issubclass(kind, type | FunctionType | MethodType) else kind.__module__
    wrapped = attribute(thing, "__wrapped__")  # by a cache, or by what says whose function that is
    if kind.__module__ == "functools" and wrapped is not None:
        return True
    modules = [module, wrapped.__module__] if type(wrapped) is kind is FunctionType else [module]
    return any(isinstance(name, str) and is_the_users(name) for name in modules)


_INSTALLED = ("site-packages", "dist-packages")


def is_the_users(module: str) -> bool:
    """Whether a module is of the user's own program, and not installed."""
    if module in MAIN:
        return True
    file = attribute(sys.modules.get(module), "__file__")
    if not isinstance(file, str) or module.partition(".")[0] in _NOT_HIS:
        return False
    return not any(part in _INSTALLED for part in file.split(os.sep))


_NOT_HIS = sys.stdlib_module_names | {"mrpy", "dask", "distributed", "toolz", "numpy", "pandas", "scipy"}

"""What a thing holds, in attributes or as items, as far as that is seen without a call of anything of it."""

from __future__ import annotations

from collections import UserDict, deque
from contextlib import suppress

from mrpy.light import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

_CONTAINERS = (dict, list, tuple, set, frozenset, deque, UserDict)
LONGEST = 100  # of containers that are looked into; out of the air


def is_container(thing: Any) -> bool:
    """Whether it is one of Python's own, or of a class that the standard library has made of one."""
    kind = type(thing)
    if kind in _CONTAINERS or not issubclass(kind, _CONTAINERS):
        return kind in _CONTAINERS
    return kind.__module__ == "collections" or hasattr(kind, "_fields")


def is_mapping(thing: Any) -> bool:
    """Whether its items have keys."""
    return issubclass(type(thing), dict | UserDict)


def items_of(container: Any) -> tuple[Any, ...]:
    """What is in it; nothing where it is long."""
    if len(container) > LONGEST:
        return ()
    return (*(container.values() if is_mapping(container) else container),)


def attributes_of(thing: Any, module: str | None) -> dict[str, Any]:
    """The attributes that it has itself, and those of classes of this module."""
    held: Any = None
    if issubclass(type(thing), tuple) and hasattr(type(thing), "_fields"):
        return dict(zip(thing._fields, thing, strict=False))
    with suppress(Exception):  # there are proxies that raise all kinds of errors when they are asked
        held = vars(thing)
    own = held if type(held) is dict else {}
    kinds = [vars(kind) for kind in classes_of(thing) if kind.__module__ == module]
    return {name: value for each in (*reversed(kinds), own) for name, value in each.items()} if kinds else own


def classes_of(thing: Any) -> tuple[type, ...]:
    """It and its parents, of a class; else its own class and the parents of that."""
    kind: type = thing if issubclass(type(thing), type) else type(thing)
    return kind.__mro__

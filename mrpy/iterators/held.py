"""What a thing holds, in attributes or as items, seen without a call of anything of its own."""

from __future__ import annotations

from collections import OrderedDict, UserDict, defaultdict, deque
from contextlib import suppress

from mrpy.light import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

LONGEST = 100  # of containers that are looked into; out of the air
_MAPPINGS = (dict, OrderedDict, defaultdict)
_CONTAINERS = (*_MAPPINGS, UserDict, list, tuple, set, frozenset, deque)


def is_container(thing: Any) -> bool:
    """Whether it is one of the standard library's, or a named tuple."""
    return type(thing) in _CONTAINERS or bool(_fields(thing))


def is_mapping(thing: Any) -> bool:
    """Whether it is such a one whose items have keys."""
    return type(thing) in _MAPPINGS or type(thing) is UserDict


def items_of(container: Any) -> tuple[Any, ...]:
    """What is in it; nothing where it is long."""
    if _fields(container):
        return tuple(tuple.__iter__(container))
    if len(container) > LONGEST:
        return ()
    return (*(container.values() if is_mapping(container) else container),)


def attributes_of(thing: Any) -> dict[str, Any]:
    """The attributes that it has itself: fields, of a named tuple."""
    if fields := _fields(thing):
        return dict(zip(fields, tuple.__iter__(thing), strict=False))
    held: Any = None
    with suppress(Exception):  # there are proxies that raise all kinds of errors when they are asked
        held = vars(thing)
    return held if type(held) is dict else {}


def _fields(thing: Any) -> tuple[str, ...]:
    kind = type(thing)
    if kind is tuple or not issubclass(kind, tuple):
        return ()
    fields = next((vars(base)["_fields"] for base in type.mro(kind) if "_fields" in vars(base)), ())
    return fields if type(fields) is tuple and all(type(each) is str for each in fields) else ()

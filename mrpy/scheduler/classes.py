"""Classes of a main module by value, as they are: what cloudpickle's copies of them lack.

A copy is made by what cloudpickle says, with some arguments changed, and filled by what it says.

* ``__slots__``: the objects of its copies have a ``__dict__`` instead, and cannot come back as objects of the
  user's class.
* Members of an Enum: it makes them of their values alone. Attributes that an ``__init__`` or a ``__new__``
  has given them are lost, and so are aliases.
* Objects of such a class that come back bring the copy of their class along. It does not overwrite the class
  that it was made from: that has been changed since, perhaps, and its functions have its own globals.
* ``__init_subclass__`` of a base is called once more, without what the class was defined with. All that it
  has done to the class is in the copy already.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Container
from types import FunctionType, MemberDescriptorType, resolve_bases
from typing import Any
from weakref import WeakSet

from mrpy.scheduler.simple_functions import is_importable

_MIXED_IN = (object, int, float, complex, str, bytes, tuple)  # that can be made of themselves
_OF_ENUM = frozenset(("_value_", "_name_", "__objclass__", "_sort_order_"))


def as_it_is(kind: type, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """What cloudpickle makes of a class, so that its copy is like it in all this."""
    if len(reduced) != 6 or not any(type(part) is dict for part in reduced[1]):
        return reduced  # it has another way to do it
    *way, state, items, pairs, fill = reduced
    if kind not in _copies:
        _ours.add(kind)
    reduced = (*way, (fill, state), items, pairs, _fill_copy)
    if isinstance(kind, enum.EnumMeta):
        return _enum(kind, *reduced) if _member_type(kind) in _MIXED_IN else reduced
    if "__slots__" in vars(kind) and not _sees_to_slots(kind):
        reduced = _with_slots(kind, *reduced)
    if any(map(_has_a_say, kind.__mro__[1:])):
        make, arguments, *rest = reduced
        return _quietly, (make, *arguments), *rest
    return reduced


_ours: WeakSet[type] = WeakSet()  # classes of this process that were pickled
_copies: WeakSet[type] = WeakSet()  # those of other processes that are here


def _fill_copy(kind: type, state: tuple[Any, Any]) -> None:
    if kind not in _ours:
        _copies.add(kind)
        fill, attributes = state
        fill(kind, attributes)


def _without(state: tuple[Any, Any], names: Container[str]) -> tuple[Any, Any]:
    fill, (attributes, *rest) = state
    return fill, ({name: part for name, part in attributes.items() if name not in names}, *rest)


def _sees_to_slots(kind: type) -> bool:
    """Whether what makes it does so: `typing.NamedTuple`, or a metaclass that is written in C (msgspec's)."""
    make = type(kind).__new__
    if make is not type.__new__ and type(make) is not FunctionType:
        return True
    return any(getattr(base, "__name__", "") == "NamedTuple" for base in vars(kind).get("__orig_bases__", ()))


def _with_slots(kind: type, make: Any, arguments: tuple[Any, ...], state: Any, *rest: Any) -> tuple[Any, ...]:
    parts = vars(kind)
    slots = [name for name, part in parts.items() if type(part) is MemberDescriptorType]
    inner = [name for name in ("__dict__", "__weakref__") if name in parts]  # not those of a class above it
    begin = _place_of_dict(arguments)  # the namespace that it begins with
    namespace = {**arguments[begin], "__slots__": (*slots, *inner)}
    state = _without(state, slots)
    return make, (*arguments[:begin], namespace, *arguments[begin + 1 :]), state, *rest


def _place_of_dict(arguments: tuple[Any, ...]) -> int:
    return next(place for place, part in enumerate(arguments) if type(part) is dict)


# ---- without __init_subclass__ ---------------------------------------------------------------------------


def _has_a_say(base: type) -> bool:
    return "__init_subclass__" in vars(base) and not is_importable(base)


def _quietly(make: Callable[..., Any], *arguments: Any) -> Any:
    """Make a class whose bases are not told of it."""
    bases = next(part for part in arguments if type(part) is tuple)
    owners = {each for base in resolve_bases(bases) for each in base.__mro__ if _has_a_say(each)}
    before = {owner: vars(owner)["__init_subclass__"] for owner in owners}
    for owner in owners:
        owner.__init_subclass__ = _pass_on(owner)
    try:
        return make(*arguments)
    finally:
        for owner, told in before.items():
            owner.__init_subclass__ = told


def _pass_on(owner: Any) -> Any:
    return classmethod(lambda kind: super(owner, kind).__init_subclass__())  # e.g. that of typing.Generic


# ---- enums -----------------------------------------------------------------------------------------------


def _member_type(kind: Any) -> type:
    member_type: type = kind._member_type_
    return member_type


def _enum(
    kind: Any, make: Any, arguments: tuple[Any, ...], state: Any, items: Any, pairs: Any, fill: Any
) -> tuple[Any, ...]:
    known = kind.__members__
    plain = _member_type(kind)
    raw = {name: None if plain is object else plain.__new__(plain, member) for name, member in known.items()}
    members = {name: (raw[name], member._value_) for name, member in known.items()}
    begin = _place_of_dict(arguments)  # the members
    arguments = (*arguments[:begin], {"__new__": _member, **members}, *arguments[begin + 1 :])
    given = {name: _given(member) for name, member in known.items()}
    return make, arguments, (fill, _without(state, known), given), items, pairs, _fill_enum


def _member(kind: Any, *parts: Any) -> Any:
    """A member of a copy, as it is at first. ``parts``: what it is as a value of the type that is mixed in,
    and its value; in one tuple where that is tuple."""
    raw, value = parts if len(parts) == 2 else parts[0]
    plain = _member_type(kind)
    member: Any = object.__new__(kind) if plain is object else plain.__new__(kind, raw)
    member._value_ = value
    return member


def _given(member: Any) -> dict[str, Any]:
    return {name: part for name, part in vars(member).items() if name not in _OF_ENUM}


def _fill_enum(kind: Any, state: tuple[Any, Any, dict[str, dict[str, Any]]]) -> None:
    fill, of_class, given = state
    fill(kind, of_class)
    for name, member in kind.__members__.items():
        vars(member).update(given[name])

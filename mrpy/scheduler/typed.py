"""Type parameters and new types, pickled by value: with all that can be asked of them.

    class Node[T: Node = Leaf]     made by the syntax of Python 3.12: what it names is looked up when somebody
                                   asks, may be what it is a parameter of, or there for type checkers only
    T = TypeVar("T", bound=int)    made by a call: what it was given is there

Those of the first kind are made by the syntax in the worker too, and filled afterwards.
"""

from __future__ import annotations

import typing
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

import cloudpickle

_mark_of = cloudpickle.cloudpickle._get_or_create_tracker_id
_the_one_here = cloudpickle.cloudpickle._lookup_class_or_track

TYPED = {typing.TypeVar, typing.ParamSpec, typing.TypeVarTuple, typing.NewType}
_STARS = {typing.TypeVar: "", typing.TypeVarTuple: "*", typing.ParamSpec: "**"}
_BY_SYNTAX = "typing"  # what these say is their module
_FLAGS = ("covariant", "contravariant", "infer_variance")
_unfilled: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()


def reduce_typed(thing: Any) -> Any:
    """How to make it: what `__reduce_ex__` would say."""
    kind, mark, module = type(thing), _mark_of(thing), thing.__module__
    if kind is typing.NewType:
        return _by_call, (mark, module, kind, (thing.__name__, thing.__supertype__), {})
    named = _named(thing)
    if module == _BY_SYNTAX:
        return _by_syntax, (mark, _text(thing, named)), named, None, None, _fill
    also: dict[str, Any] = {name: True for name in _FLAGS if getattr(thing, f"__{name}__", False)}
    if kind is typing.TypeVar:
        also["bound"] = named["__bound__"]
    if _has_default(thing):
        also["default"] = named["__default__"]
    return _by_call, (mark, module, kind, (thing.__name__, *named.get("__constraints__", ())), also)


def _named(thing: Any) -> dict[str, Any]:
    """What it names, as far as that is there."""
    found = {}
    default = ("__default__",) if _has_default(thing) else ()  # else it is `NoDefault`, which has no module
    for name in ("__bound__", "__constraints__", *default):
        with suppress(Exception):  # whatever looking it up raises
            found[name] = getattr(thing, name)
    return found


def _has_default(thing: Any) -> bool:
    return bool(hasattr(thing, "has_default") and thing.has_default())  # from Python 3.13 on


def _text(thing: Any, named: dict[str, Any]) -> str:
    text = f"{_STARS[type(thing)]}{thing.__name__}"
    if type(thing) is typing.TypeVar:
        constraints = named.get("__constraints__")
        if constraints:
            each = (f"_late('__constraints__')[{n}], " for n in range(len(constraints)))
            text += f": ({''.join(each)})"
        elif constraints is None or named.get("__bound__", ...) is not None:
            text += ": _late('__bound__')"
    return text + (" = _late('__default__')" if _has_default(thing) else "")


def _by_syntax(mark: str, text: str) -> Any:
    """In the worker: the parameter, still empty."""
    parts: dict[str, Any] = {}

    def late(name: str) -> Any:
        if name not in parts:
            raise NameError(f"the {name.strip('_')} of a type parameter is not defined where it came from")
        return parts[name]

    scope: dict[str, Any] = {"_late": late}
    exec(f"def made[{text}](): ...", scope)
    (made,) = scope["made"].__type_params__
    here = _the_one_here(mark, made)
    if here is made:
        _unfilled[made] = parts
    return here


def _fill(parameter: Any, named: dict[str, Any]) -> None:
    """In the worker: what it names, which may be what it is a parameter of."""
    _unfilled.pop(parameter, {}).update(named)


def _by_call(mark: str, module: str, kind: Any, given: tuple[Any, ...], also: dict[str, Any]) -> Any:
    made = kind(*given, **also)
    made.__module__ = module  # else it is this one
    return _the_one_here(mark, made)

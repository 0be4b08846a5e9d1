"""Classes that a metaclass written in C has made of their annotations: `msgspec.Struct`.

Where it keeps what it has made nobody sees, and it looks at the body of a class while this is made, but for
the types of fields. So a copy begins with what says the same: a field for each, ``__post_init__``, and the
options, as the class itself tells of them.
"""

from __future__ import annotations

import sys
from functools import partial
from inspect import get_annotations
from typing import Any, get_type_hints


def is_struct(kind: Any) -> bool:
    """Whether it is such a class."""
    return hasattr(type(kind), "__struct_config__")


def is_meta(thing: Any) -> bool:
    """Whether it says more of the type of a field: its limits, say."""
    return type(thing).__name__ == "Meta" and type(thing).__module__ == "msgspec"


def reduce_meta(meta: Any) -> tuple[Any, ...]:
    """What makes such a one again, which cannot be pickled."""
    kind: Any = type(meta)
    told = {name: getattr(meta, name) for name in dir(meta) if not name.startswith("_")}
    return partial(kind, **{name: said for name, said in told.items() if said is not None}), ()


def with_body(kind: Any, make: Any, arguments: tuple[Any, ...], state: Any, *rest: Any) -> tuple[Any, ...]:
    """What makes a copy of a class, changed so that it begins with its body."""
    meta, name, bases, space, *others = arguments
    annotations = get_annotations(kind)
    fields = {field: told for field, told in _fields(kind).items() if field in annotations}
    if "__post_init__" in vars(kind):
        space = {**space, "__post_init__": vars(kind)["__post_init__"]}
    config = kind.__struct_config__
    options = {option: getattr(config, option) for option in dir(config) if not option.startswith("_")}
    options["kw_only"] = bool(fields) and not fields.keys() <= set(kind.__match_args__)
    fill, (attributes, *slots) = state
    state = fill, ({**attributes, "__annotations__": _resolved(kind, annotations)}, *slots)
    return make, (partial(_struct, meta, fields, options), name, bases, space, *others), state, *rest


def _resolved(kind: Any, annotations: dict[str, Any]) -> dict[str, Any]:
    """The same without names that only the module of the class has, which are looked up when it decodes."""
    try:
        hints = get_type_hints(kind, include_extras=True)
    except Exception:  # there may be names for type checkers only
        return annotations
    return {name: hints[name] for name in annotations}


def _fields(kind: Any) -> dict[str, dict[str, Any]]:
    """For each field what `msgspec.field` is to be told."""
    names, others = kind.__struct_fields__, kind.__struct_encode_fields__
    fields = {field: {"name": other} for field, other in zip(names, others, strict=True)}
    defaults = kind.__struct_defaults__  # of the last ones
    for field, default in zip(reversed(names), reversed(defaults), strict=False):
        is_factory = type(default).__name__ == "Factory" and hasattr(default, "factory")
        fields[field].update({"default_factory": default.factory} if is_factory else {"default": default})
    return fields


def _struct(
    meta: Any, fields: dict[str, dict[str, Any]], options: dict[str, Any], name: str, bases: Any, space: Any
) -> Any:
    field = sys.modules["msgspec"].field  # it is there, since its metaclass is
    body = {each: field(**told) for each, told in fields.items()}
    types = dict.fromkeys(fields, Any)  # these may mention the class: they are set when it is there
    return meta(name, bases, {**space, "__annotations__": types, **body}, **options)

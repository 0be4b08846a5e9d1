"""Classes of a main module by value, as they are: what cloudpickle's copies of them lack.

A copy is made by what cloudpickle says, with some arguments changed, and filled by what it says.

* ``__slots__``: the objects of its copies have a ``__dict__`` instead, and cannot come back as objects of the
  user's class.
* A `TypedDict` that derives from another, or is made by a call, says that it is a dict before 3.12, and
  cannot be made as one.
* Members of an Enum: it makes them of their values alone. Attributes that an ``__init__`` or a ``__new__``
  has given them are lost, and so are aliases. They are sent as values, too, and a copy of a function is
  the value of none.
* Objects of such a class that come back bring the copy of their class along. It does not overwrite the class
  that it was made from: that has been changed since, perhaps, and its functions have its own globals.
* A pickle that is opened late, of an earlier run that is still under way, does not fill a copy with what was
  before: pickles of classes are numbered, and the last one counts.
* A class that its module has under another name than its own (``Point = namedtuple("Pt", "x y")``) is in each
  process already.
* A class that is here already is not made once more: registries would take the new one for it. Its bases, its
  metaclass and its names are set where they have changed.
* ``__init_subclass__`` of a base, and a metaclass, are called once more where they are imported, without what
  the class was defined with. They may enter the copy in a registry of this process, if they can do with what
  there is. Those of a script are not called, nor are decorators: all that they have done to the class, and to
  the script, has come along, and would be done a second time.
"""

from __future__ import annotations

import enum
import sys
from _thread import RLock
from collections.abc import Callable, Collection, Container, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from types import FunctionType, MemberDescriptorType, resolve_bases
from typing import Any, is_typeddict
from weakref import WeakKeyDictionary, WeakSet
from zlib import crc32

import cloudpickle

from mrpy.scheduler.importable import is_found, is_importable
from mrpy.scheduler.simple_functions import modules_travel_by_value
from mrpy.scheduler.structs import is_struct, with_body

_PLAIN: dict[type, Callable[[Any], Any]] = {  # from a member to what is mixed in, whatever its methods say
    object: lambda _: None, int: int.__int__, float: float.__float__, complex: complex.__complex__,
    str: str.__str__, bytes: bytes.__bytes__, tuple: lambda member: tuple.__getitem__(member, slice(None)),
}  # fmt: skip
_OF_ENUM = frozenset(("_name_", "__objclass__", "_sort_order_"))
_MADE_AS = ("__class__", "__bases__", "__name__", "__qualname__")


def as_it_is(kind: type, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """What cloudpickle makes of a class, so that its copy is like it in all this."""
    if len(reduced) != 6 or not any(type(part) is dict for part in reduced[1]):
        return reduced  # it has another way to do it
    number = _number_of(kind)  # first: what is changed from here on has a later one
    *way, state, items, pairs, fill = reduced
    if is_typeddict(kind):
        way[1] = _without_dict(way[1])
    reduced = (*way, (fill, state), items, pairs, _fill_copy)
    if isinstance(kind, enum.EnumMeta):
        members = _as_mixed_in(kind)
        reduced = _enum(kind, members, *reduced) if members is not None else reduced
    elif is_struct(kind):
        reduced = with_body(kind, *reduced)
    elif "__slots__" in vars(kind) and not _sees_to_slots(kind):
        reduced = _with_slots(kind, *reduced)
    make, arguments, state, items, pairs, fill = reduced
    named = {"__qualname__": kind.__qualname__} if not isinstance(kind, enum.EnumMeta) else {}
    known_as = None if modules_travel_by_value() else _another_name(kind)
    state = number, _made_as(kind), fill, state
    return _once, (known_as, make, *_with(named, arguments)), state, items, pairs, _fill


def _without_dict(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments, the bases among them without that which `TypedDict` itself adds."""
    bases = next(part for part in arguments if type(part) is tuple)
    others = tuple(base for base in bases if base is not dict)
    return tuple(others if part is bases else part for part in arguments)


def _with(names: dict[str, Any], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments, with these names in the namespace that the class begins with."""
    begin = next(place for place, part in enumerate(arguments) if type(part) is dict)
    return *arguments[:begin], {**arguments[begin], **names}, *arguments[begin + 1 :]


_ours: WeakSet[type] = WeakSet()  # classes of this process that were pickled
_copies: WeakKeyDictionary[type, int] = WeakKeyDictionary()  # those of others that are here: by which pickle
_filled: WeakKeyDictionary[type, frozenset[str]] = WeakKeyDictionary()  # with what, the last time
_members: WeakKeyDictionary[type, dict[str, frozenset[str]]] = WeakKeyDictionary()  # likewise, of an Enum
_numbers = count(1)


def _number_of(kind: type) -> int:
    """A pickle of a class is later than all before it; one of a copy is what that was filled with."""
    if (known := _copies.get(kind)) is not None:
        return known
    _ours.add(kind)
    return next(_numbers)


def _made_as(kind: type) -> dict[str, Any]:
    """What is no attribute in the class, and may be changed all the same. Whatever a metaclass says of it."""
    return {name: type.__getattribute__(kind, name) for name in _MADE_AS}


def _make_as(kind: type, made_as: dict[str, Any]) -> None:
    """What has changed since the copy was made."""
    for name, part in _made_as(kind).items():
        if part != made_as[name]:
            with suppress(TypeError):  # a metaclass may have made something else of what it was given
                type.__setattr__(kind, name, made_as[name])


def _fill(kind: type, state: tuple[int, dict[str, Any], Callable[[type, Any], None], Any]) -> None:
    """Fill a copy, unless it was filled by a later pickle."""
    number, made_as, fill, content = state
    with _lock:
        if number > _copies.get(kind, number):  # it is a copy
            _copies[kind] = number
            _make_as(kind, made_as)
            fill(kind, content)


def _fill_copy(kind: type, state: tuple[Any, Any]) -> None:
    fill, attributes = state
    names = frozenset(attributes[0])
    for gone in _filled.get(kind, names) - names:
        with suppress(Exception):  # a metaclass may forbid it
            delattr(kind, gone)
    _filled[kind] = names
    try:
        fill(kind, attributes)
    except Exception:  # a metaclass has a say when they are set: it had it when the class was defined
        if type(kind).__setattr__ is type.__setattr__:
            raise
        for name, part in attributes[0].items():
            if name != "_abc_impl":  # what is registered, which no metaclass forbids
                type.__setattr__(kind, name, part)
        for registered in attributes[0].get("_abc_impl", ()):
            kind.register(registered)  # type: ignore[attr-defined]


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
    return make, _with({"__slots__": (*slots, *inner)}, arguments), _without(state, slots), *rest


# ---- by another name -------------------------------------------------------------------------------------

_names: WeakKeyDictionary[type, tuple[str, str] | None] = WeakKeyDictionary()  # looked for once only


def _another_name(kind: type) -> tuple[str, str, str, int] | None:
    """A module that workers can import, and the name by which it holds this class, which says that it is
    called otherwise: a named tuple, or what a function has made. And by what it is known again. It may say
    that it is of another module, as exceptions of pytest do: of its own are those mostly that it derives
    from."""
    if not _is_found(kind):
        return None
    if kind not in _names:
        modules = dict.fromkeys(base.__module__ for base in kind.__mro__ if _is_found(base))
        held = ((module, dict(getattr(sys.modules.get(module), "__dict__", ()))) for module in modules)
        names = ((module, name) for module, parts in held for name, part in parts.items() if part is kind)
        _names[kind] = next(names, None)
    name = _names[kind]
    return (*name, *_looks(kind)) if name is not None and held_as(*name) is kind else None


def _looks(kind: type) -> tuple[str, int]:
    """Its name, and those in it but such as Python adds when it likes, in short."""
    names = sorted(name for name in vars(kind) if not name.startswith("_"))
    return kind.__qualname__, crc32(repr(names).encode())


def _is_found(kind: type) -> bool:
    return type(kind.__module__) is str and is_found(kind.__module__)


def held_as(module: str, name: str) -> Any:
    """What a module that is here has by this name."""
    return getattr(sys.modules.get(module), "__dict__", {}).get(name)


def _held_here(module: str, name: str, *looks: Any) -> type | None:
    """The class that goes by this name here. There may be nothing, or something else, where it was put by
    what is called later: then it goes by value after all."""
    try:
        __import__(module)
    except Exception:
        return None
    kind = held_as(module, name)
    return kind if isinstance(kind, type) and _looks(kind) == looks else None


# ---- once, and without __init_subclass__ -----------------------------------------------------------------

_here: Mapping[str, Any] = getattr(cloudpickle.cloudpickle, "_DYNAMIC_CLASS_TRACKER_BY_ID", {})  # by mark
_lock = RLock()  # others would take for a class's own what stands there for the moment


def _once(known_as: tuple[Any, ...] | None, make: Callable[..., Any], *arguments: Any) -> Any:
    """Make a class, unless it is here."""
    mark = arguments[-2] if type(arguments[-2]) is str else ""
    if known_as is not None and mark not in _here and (kind := _held_here(*known_as)) is not None:
        return kind
    with _lock:
        kind = _here.get(mark)
        if kind is None:
            kind = _made(make, *arguments)
        if kind not in _ours:
            _copies.setdefault(kind, 0)
        return kind


def _made(make: Callable[..., Any], meta: Any, *arguments: Any) -> Any:
    if isinstance(meta, type) and issubclass(meta, type) and not is_importable(meta):
        metas = (base for base in type.mro(meta) if issubclass(base, type))  # a mixin is none
        above: Any = next(filter(is_importable, metas))
        meta = partial(_without_say, meta, above)
        meta.__prepare__ = above.__prepare__
    return _quietly(make, meta, *arguments)


def _without_say(meta: Any, above: Any, name: str, bases: tuple[type, ...], space: dict[str, Any]) -> Any:
    """A class as it is made before a metaclass of the user's has its say, which it had: what it has counted
    is here, and it may want more than the class begins with."""
    kind = above.__new__(meta, name, bases, space)
    with suppress(Exception):  # so may the one above
        above.__init__(kind, name, bases, space)
    return kind


def _quietly(make: Callable[..., Any], *arguments: Any) -> Any:
    """Make a class whose bases are not told of it; of those that are imported, such as cannot do with what
    there is."""
    bases = next(part for part in arguments if type(part) is tuple)
    owners = {each for base in resolve_bases(bases) for each in base.__mro__ if _has_a_say(each)}
    ours = {owner for owner in owners if not is_importable(owner)}
    with _unheard(ours):
        try:
            return make(*arguments)
        except Exception:
            if owners == ours:
                raise
    with _unheard(owners):
        return make(*arguments)


def _has_a_say(base: type) -> bool:
    told = vars(base).get("__init_subclass__")
    return type(getattr(told, "__func__", None)) is FunctionType and base.__module__ != "typing"


@contextmanager
def _unheard(owners: Collection[Any]) -> Iterator[None]:
    before = {owner: vars(owner)["__init_subclass__"] for owner in owners}
    for owner in owners:
        owner.__init_subclass__ = _pass_on(owner)
    try:
        yield
    finally:
        for owner, told in before.items():
            owner.__init_subclass__ = told


def _pass_on(owner: Any) -> Any:
    """The next one is told, that of `typing.Generic`, say."""
    return classmethod(lambda kind, **_: super(owner, kind).__init_subclass__())


# ---- enums -----------------------------------------------------------------------------------------------


def _member_type(kind: Any) -> type:
    member_type: type = kind._member_type_
    return member_type


def _as_mixed_in(kind: Any) -> dict[str, Any] | None:
    """What each member is as a value of the type that is mixed in: as `_PLAIN` has it, or nothing but
    attributes, or what makes it again if that type is called with it. None if it is made in another way."""
    mixed_in: Any = _member_type(kind)
    slots = any("__slots__" in vars(base) for base in mixed_in.__mro__)
    by_attributes = mixed_in.__new__ is object.__new__ and not slots
    raw = _PLAIN.get(mixed_in) or (_PLAIN[object] if by_attributes else partial(_arguments, mixed_in))
    try:
        return {name: raw(member) for name, member in kind.__members__.items()}
    except Exception:  # it may not even be one that can be pickled
        return None


def _arguments(mixed_in: Any, member: Any) -> Any:
    value, is_same = member._value_, mixed_in.__eq__
    # asked is the value, where it can be: a member's methods may say something else
    plain = value if type(value) is mixed_in and is_same(member, value) is True else member
    make, arguments, *more = mixed_in.__reduce_ex__(plain, 5)
    if make is not type(plain) or any(type(part) is not dict for part in more if part is not None):
        raise TypeError("it takes more than a call")
    return arguments


def _enum(
    kind: Any, raw: dict[str, Any], make: Any, arguments: Any, state: Any, items: Any, pairs: Any, fill: Any
) -> tuple[Any, ...]:
    known = kind.__members__
    members = {name: (raw[name], member._value_) for name, member in known.items()}
    arguments = _with({"__new__": _member, "__init__": _made_already, **members}, arguments)
    given = {name: _given(member) for name, member in known.items()}
    values = [(value, member._name_) for value, member in kind._value2member_map_.items()]
    also = [(value, name) for value, name in values if name in known and value is not known[name]._value_]
    return make, arguments, (fill, _without(state, known), given, also), items, pairs, _fill_enum


def goes_by_name(member: Any) -> bool:
    """Whether it is a member of an Enum that may be sent as the class and its name in there. What flags come
    to together has none, and some are pickled in a way of their own."""
    kind: Any = type(member)
    if not issubclass(kind, enum.Enum) or kind.__reduce_ex__ is not enum.Enum.__reduce_ex__:
        return False
    return kind._member_map_.get(member._name_) is member


def member_of(kind: Any, name: str) -> Any:
    """The member of that name."""
    return kind._member_map_[name]  # whatever the class says of `[]`


def _member(kind: Any, *parts: Any) -> Any:
    """A member of a copy, as it is at first. ``parts``: what it is as a value of the type that is mixed in,
    and its value; in one tuple where that is tuple."""
    raw, value = parts if len(parts) == 2 else parts[0]
    plain: Any = _member_type(kind)
    if raw is None:
        member: Any = object.__new__(kind)
    elif plain in _PLAIN:
        member = plain.__new__(kind, raw)
    else:
        member = plain.__new__(kind, *raw)
        if plain.__init__ is not object.__init__:
            plain.__init__(member, *raw)
    member._value_ = value
    return member


def _made_already(*_: Any) -> None:
    """No ``__init__`` of what is mixed in: what that made is among the attributes."""


def _given(member: Any) -> dict[str, Any]:
    return {name: part for name, part in vars(member).items() if name not in _OF_ENUM}


def _fill_enum(kind: Any, state: tuple[Any, ...]) -> None:
    fill, of_class, given, also = state
    if vars(kind).get("__init__") is _made_already:
        del kind.__init__
    fill(kind, of_class)
    before = _members.get(kind, {})
    _members[kind] = {name: frozenset(attributes) for name, attributes in given.items()}
    for name, member in kind.__members__.items():
        for gone in before.get(name, frozenset()).difference(given[name]):
            vars(member).pop(gone, None)
        if _is_as_before(member._value_, given[name]["_value_"]):
            given[name]["_value_"] = member._value_  # by which it is known
        vars(member).update(given[name])
    for value, name in also:  # of Python 3.13, `_add_value_alias_`
        kind._value2member_map_.setdefault(value, kind.__members__[name])


def _is_as_before(old: Any, new: Any) -> bool:
    """Whether a value has not changed, as far as it can tell: each copy of a function is another one."""
    if type(old) is not type(new):
        return False
    compare: Any = type(old).__eq__
    try:
        return compare is object.__eq__ or bool(old == new)
    except Exception:  # of an array, say
        return False

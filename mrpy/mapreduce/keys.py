"""Keys: a function, or what is looked up in each item. One rule for all that goes by key.

What is looked up by a string is ``item[name]``; an item that takes no strings there, as a named tuple or an
object of a dataclass, has it as an attribute.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import BuiltinMethodType, MethodType

from mrpy.light import Any
from mrpy.mapreduce.steps import name_of

Key = Callable[[Any], Any]


class Named:
    """``item[name]``, or ``item.name``."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, item: Any) -> Any:
        try:
            return item[self.name]
        except TypeError:
            return attribute_of(item, self.name)


def attribute_of(item: Any, name: str) -> Any:
    """The attribute of an item that has just refused `name` as an index. Those of Python's own kinds are
    methods, and no fields."""
    if type(item).__module__ == "builtins" or isinstance(item, Mapping):
        raise
    found = getattr(item, name)
    if isinstance(found, MethodType | BuiltinMethodType) and found.__self__ is item:
        raise TypeError(f"{name!r} is a method of {type(item).__qualname__}, and no field of it") from None
    return found


class Fields:
    """Several fields of an item as a tuple, be it of one."""

    __slots__ = ("indexes",)

    def __init__(self, indexes: Sequence[Any]) -> None:
        self.indexes = tuple(indexes)

    def __call__(self, item: Any) -> tuple[Any, ...]:
        try:
            return tuple([item[index] for index in self.indexes])
        except TypeError:
            return tuple([index_key(index)(item) for index in self.indexes])


class Keys:
    """Several keys of an item as a tuple, some of which are functions."""

    __slots__ = ("keys",)

    def __init__(self, keys: tuple[Key, ...]) -> None:
        self.keys = keys

    def __call__(self, item: Any) -> tuple[Any, ...]:
        return tuple([key(item) for key in self.keys])


def index_key(index: Any) -> Key:
    """What looks up one index, or name."""
    return Named(index) if isinstance(index, str) else operator.itemgetter(index)


def key_function(key: Any) -> Key:
    """A key as toolz has it: a function, or what to look up in each item; None for the item itself.

    >>> key_function(1)(("a", 7)), key_function(["n"])({"n": 1})
    (7, 1)
    """
    if key is None:
        return _identity
    if callable(key):
        return key  # type: ignore[no-any-return]
    if not isinstance(key, list):
        return index_key(key)
    if not any(isinstance(index, str) or callable(index) for index in key):
        return operator.itemgetter(*key) if key else Fields(())
    return Named(key[0]) if len(key) == 1 and isinstance(key[0], str) else _several(key)


def key_of(name: str, key: Any) -> Key:
    """The same for the operator `name`, to which a list is always a tuple.

    >>> key_of("group_by", 1)(("a", 7)), key_of("group_by", ["n", "m"])({"n": 1, "m": 2})
    (7, (1, 2))
    """
    if key is None:
        raise TypeError(f"{name}() needs a key: a function, or what to look up in each item")
    return _several(key) if isinstance(key, list) else key_function(key)


def _several(keys: list[Any]) -> Key:
    return Keys(tuple(map(key_function, keys))) if any(map(callable, keys)) else Fields(keys)


def _identity(item: Any) -> Any:
    """As `itself` in ``steps.py``; but a checkpoint knows the key of its run by this name."""
    return item


def looked_up(key: Key, otherwise: Any) -> Any:
    """What a key looks up, if that is one thing."""
    if type(key) is Named:
        return key.name
    indexes: Any = key.__reduce__()[1] if type(key) is operator.itemgetter else ()
    return indexes[0] if len(indexes) == 1 else otherwise


def quick(key: Key) -> Key:
    """The same key, for many items: it takes half the time where names are looked up."""
    if type(key) is Named:
        name = key.name

        def get(item: Any) -> Any:
            try:
                return item[name]
            except TypeError:
                return attribute_of(item, name)

        return get
    if type(key) is Fields and len(key.indexes) > 1:
        at_once, one_by_one = operator.itemgetter(*key.indexes), key

        def get_all(item: Any) -> Any:
            try:
                return at_once(item)
            except TypeError:
                return one_by_one(item)

        return get_all if any(isinstance(index, str) for index in key.indexes) else at_once
    return key


def key_among(key: Key, items: Sequence[Any]) -> Key:
    """The same key for these items, quicker still if all are dicts."""
    if type(key) is Named and _DICTS.issuperset(map(type, items)):
        return operator.itemgetter(key.name)
    return quick(key)


_DICTS = frozenset((dict,))


def behind_keys(key: Key, items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Each item behind its key."""
    if type(key) is Named:
        return _behind_names(key, items)
    key = quick(key)
    return ((key(item), item) for item in items)


def names_of(key: Named, items: Iterable[Any]) -> Iterator[Any]:
    """What is looked up in each item. This and the next take a fifth less than `quick`, which is called for
    each item by Python."""
    get = operator.itemgetter(key.name)
    for item in items:
        try:
            found = get(item)
        except TypeError:
            found = attribute_of(item, key.name)
        yield found


def _behind_names(key: Named, items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    get = operator.itemgetter(key.name)
    for item in items:
        try:
            found = get(item)
        except TypeError:
            found = attribute_of(item, key.name)
        yield found, item


def key_name(key: Any) -> str:
    """What to call a key in a plan."""
    if type(key) in (Named, operator.itemgetter):
        return f"item[{key.name if type(key) is Named else key.__reduce__()[1][0]!r}]"
    if isinstance(key, Keys):
        return f"[{', '.join(map(key_name, key.keys))}]"
    return f"item{list(key.indexes)!r}" if isinstance(key, Fields) else name_of(key)

"""What data are, by their values: the same in every process, for the fingerprint of a program.

Plain data go through a pickler, at its speed (`Plain`); other objects are what they say that they are pickled
as (`pickled_as`). Others may use all of it meanwhile, and it may be odd: an error here is none of the run's.
"""

from __future__ import annotations

import copyreg
import re
from enum import Enum
from functools import cached_property
from types import MappingProxyType

from mrpy.light import TYPE_CHECKING, later, pickle
from mrpy.mapreduce.users_code import MEMBERS, attribute, attributes, is_the_users, made_by

if TYPE_CHECKING:
    import hashlib
    from typing import Any
else:
    hashlib = later("hashlib")

PLAIN = (str, bytes, int, float, complex, bool, type(None))
_AS_THEY_ARE = frozenset((str, bytes, int, float, bool, type(None), dict, tuple, list))
_ADDRESS = re.compile(" at 0x[0-9a-f]+")
# By what they hold: our own steps, caches of functions, and queries, which are pickled with addresses. A mock
# would say more and more of itself.
_OTHERWISE_KNOWN = ("mrpy.", "functools", "sqlalchemy.", "unittest.mock")
_SAY_WHAT_IT_IS = "__reduce_ex__", "__reduce__", "__getstate__"


class Plain(pickle.Pickler):
    """Writes plain data, whose values alone count: equal strings may be the same one, or not, in the next
    process. So it remembers nothing (`fast`). What else they hold is left to who asks: ``others``."""

    def __init__(self) -> None:
        self.into = _Into()
        super().__init__(self.into, 4)
        self.fast = True
        self.others: list[Any] = []

    def persistent_id(self, thing: Any) -> Any:
        """Asked for everything. None: as it is."""
        kind = type(thing)
        if kind in _AS_THEY_ARE:
            return None
        if issubclass(kind, MEMBERS):
            return kind.__name__, members(thing)
        if issubclass(kind, PLAIN):
            return kind.__name__, repr(thing), *_besides(thing)
        self.others.append(thing)
        return kind.__name__


class _Into:
    """A file that is not kept."""

    def __init__(self) -> None:
        self.digest = hashlib.blake2b(digest_size=16)

    def write(self, data: Any) -> None:
        self.digest.update(data)


def members(thing: Any) -> list[Any]:
    """What a container holds, in the same order in every process."""
    if issubclass(type(thing), dict | MappingProxyType):
        return [*thing.items(), *made_by(thing), *_besides(thing)]
    held = sorted(thing, key=_shown) if issubclass(type(thing), set | frozenset) else thing
    return [*held, *_besides(thing)]


def _besides(thing: Any) -> list[Any]:
    """What one's own kind of a container, or of a number, has for attributes."""
    held = attribute(thing, "__dict__")
    if type(held) is not dict or isinstance(thing, Enum):  # whose members are what they are
        return []
    return [*filter(None, [_not_computed(thing, held)])]


def _shown(thing: Any) -> str:
    """What it is sorted by: its `repr`, but the same in every process."""
    kind = type(thing)
    if issubclass(kind, PLAIN):
        return repr(thing)
    if issubclass(kind, frozenset | tuple):
        shown = map(_shown, thing)
        return f"{kind.__name__}({', '.join(sorted(shown) if issubclass(kind, frozenset) else shown)})"
    text = _ADDRESS.sub("", repr(thing))
    if not _has_its_own(kind, "__repr__"):  # what it holds may lead back to it
        text += repr([part if issubclass(type(part), PLAIN) else type(part) for part in attributes(thing)])
    return text


class Valued(Enum):
    """Whether objects of a class are what they are pickled as, and whether that is all that they hold."""

    NOT = 0
    IN_PART = 1
    WHOLE = 2


def valued(kind: type, *, parameter: bool) -> Valued:
    """By value count objects that are equal to others by what they are pickled as, as a date or a path; as
    parameters any of the user's, and what says itself what that is, as a generator of random numbers. Of
    other libraries' objects, connections say, nobody knows what is the same next time."""
    if kind.__module__.startswith(_OTHERWISE_KNOWN):
        return Valued.NOT
    says = any(kind is other for other in copyreg.dispatch_table)  # some have no hash
    says = says or any(_has_its_own(kind, name) for name in _SAY_WHAT_IT_IS)
    if parameter and (says or is_the_users(kind.__module__)):
        return Valued.IN_PART if says else Valued.WHOLE
    return Valued.IN_PART if _has_its_own(kind, "__eq__") else Valued.NOT


def _has_its_own(kind: type, name: str) -> bool:
    return getattr(kind, name) is not getattr(object, name)


def pickled_as(thing: Any) -> list[Any]:
    """What an object is pickled as, but for what it has computed of the rest and keeps."""
    try:
        reduce = copyreg.dispatch_table.get(type(thing))
        reduced: Any = thing.__reduce_ex__(4) if reduce is None else reduce(thing)
        if isinstance(reduced, str):
            return [reduced]
        arguments = [part for part in reduced[1] if part is not type(thing)]  # which counts already
        state = _not_computed(thing, reduced[2] if len(reduced) > 2 else None)
        return [arguments, state, *(list(items) for items in reduced[3:5] if items is not None)]
    except Exception:  # it does not travel, and so does not count
        return []


def _not_computed(thing: Any, state: Any) -> Any:
    if type(state) is tuple:  # of its `__dict__` and what is in slots
        return tuple(_not_computed(thing, part) for part in state)
    if type(state) is dict:
        kept = {name: part for name, part in [*state.items()] if not _is_cached(thing, name)}
        return kept or None  # as it is where there never was anything
    return state


def _is_cached(thing: object, name: object) -> bool:
    """Whether that is a value that a `cached_property` keeps: it is there when it was asked for."""
    return isinstance(name, str) and type(attribute(type(thing), name)) is cached_property

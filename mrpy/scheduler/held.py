"""How many bytes an object of the user's holds that nothing else holds.

It is told by counts of references: what has one alone is the object's own, and so is what that alone holds. A
table that many objects refer to is nobody's, however they come by it. No code of the user's runs for this, no
property and no ``__getattr__``: the references are those that the collector of garbage follows.

What an object shares with others is here once, but it is in each stretch of them that goes to disk. So an
object that shares more than a little counts as empty. So does one within whose reach there is something that
nobody can see through, or pickle: a lock, a connection, a tensor.

    object ---> str, one reference                its own
           ---> list, one reference               its own
                 |---> Enum, many references      shared: a little
           ---> dict, many references             shared: followed until it is too much
           ---> class, function, module           neither
"""

from __future__ import annotations

import gc
import sys
from itertools import islice
from time import perf_counter
from types import BuiltinFunctionType, FunctionType, MemberDescriptorType, ModuleType

from mrpy.light import Any

VISITS = 100  # objects that are followed from another, at most; out of the air
SAMPLED = 32  # members of a container; likewise
SHARE = 2  # what an object takes for itself is so many times what it shares, at least
SHORT = 100  # bytes of what is shared and does not count: names of attributes, say
REFERENCE = 8  # bytes
HEAP = 1 << 9  # the flag of a class that no module of C has for itself: most that are not, are told by it
PART = 50  # of the time, what looks may take
BURST = 0.02  # seconds of work that looks may take in advance: nothing is known yet
LONGEST = 2e-4  # seconds that a look takes; more, and another thread or process had its turn
FORGOTTEN = 1000  # classes
NAMED: Any = (type, ModuleType, FunctionType, BuiltinFunctionType)  # they are nobody's: pickled by name
CONTAINERS: Any = frozenset({list, tuple, dict, set, frozenset})
KNOWN: Any = CONTAINERS | {object, str, bytes, bytearray, bool, int, float, complex, type(None), range}
KNOWN_BY_NAME = frozenset({  # no module is read for them
    ("datetime", "date"), ("datetime", "datetime"), ("datetime", "time"), ("datetime", "timedelta"),
    ("datetime", "timezone"), ("decimal", "Decimal"), ("collections", "deque"),
    ("collections", "defaultdict"), ("collections", "OrderedDict"), ("array", "array"),
    ("numpy", "ndarray"), ("builtins", "memoryview"), ("builtins", "managedbuffer"),
})

_base_of: Any = vars(type)["__base__"].__get__  # whatever a metaclass of the user's has in their place
_bytes_of: Any = vars(type)["__basicsize__"].__get__
_flags_of: Any = vars(type)["__flags__"].__get__
_vars_of: Any = vars(type)["__dict__"].__get__


class _Unknown(Exception):
    """Nobody can see what it holds."""


def is_seen_through(kind: type) -> bool:
    """Whether objects of this class may hold something that is to be seen here: it is made in Python."""
    try:
        return bool(_flags_of(kind) & HEAP) and _basis(kind) is object
    except _Unknown:
        return False


_weights: dict[int, int] = {}  # by the `id` of a class: what objects of it weighed lately
_next = 0.0  # when the next look is due


def remembered(value: Any) -> int | None:
    """What objects of its class weighed lately, where to look at this one as well would take too long."""
    weight = _weights.get(id(type(value)))
    return None if weight is None or perf_counter() >= _next else weight


def noted(value: Any, own: int) -> int:
    """An object's own bytes, and those that it holds, which speak for others of its class."""
    global _next  # of all runs in this process: it is their time
    began = perf_counter()
    weight, kind = own + held(value), id(type(value))
    if len(_weights) > FORGOTTEN:
        _weights.clear()
    before = _weights.get(kind, weight)
    _weights[kind] = before + (weight - before) // 4
    now = perf_counter()
    _next = max(_next, now - BURST) + PART * min(now - began, LONGEST)
    return weight


def held(value: Any) -> int:
    """About how many bytes an object has for itself, besides its own; 0 where that cannot be seen, or where
    it shares too much."""
    try:
        return _held(value)
    except (_Unknown, RuntimeError):  # that: another thread is changing it
        return 0


def _held(value: Any) -> int:
    own, shared = [(value, 1.0)], []
    seen, visits = {id(value)}, VISITS
    nbytes, common = 0.0, 0
    while own and visits:
        visits -= 1
        each, times = own.pop()
        members, more = _members(each)
        times *= more
        if _basis(type(each)) is object:
            nbytes += times * REFERENCE * len(members)
        for member, references in zip(members, _references(members), strict=True):
            if (size := _unseen(member, seen)) is None:
                continue
            if references == ALONE:
                nbytes += times * size
                own.append((member, times))
            elif size > SHORT or type(member) not in KNOWN:
                common += size
                shared.append(member)
    while shared and visits and common * SHARE <= nbytes:
        visits -= 1
        for member in _members(shared.pop())[0]:
            size = _unseen(member, seen)
            if size is not None and (size > SHORT or type(member) not in KNOWN):
                common += size
                shared.append(member)
    return 0 if shared or common * SHARE > nbytes else int(nbytes)


def _references(members: list[Any]) -> list[int]:
    return list(map(sys.getrefcount, members))


_one = [object()]
ALONE = _references(gc.get_referents(_one))[0]  # of what is in one other thing, and in that list


def _unseen(member: Any, seen: set[int]) -> int | None:
    """The bytes of what was not met before, and is not everybody's."""
    if id(member) in seen or issubclass(type(member), NAMED):
        return None
    seen.add(id(member))
    return int(_basis(type(member)).__sizeof__(member))


def _members(value: Any) -> tuple[list[Any], float]:
    """What it refers to, and how many times more there is."""
    basis = _basis(type(value))
    if issubclass(basis, dict):  # of which the collector does not see strings that are keys
        members = [each for way in (dict.keys, dict.values) for each in islice(way(value), SAMPLED)]
        return members, max(1.0, dict.__len__(value) / SAMPLED)
    if basis in CONTAINERS or basis.__name__ == "deque":
        count = basis.__len__(value)
        if count > SAMPLED:
            return list(islice(basis.__iter__(value), SAMPLED)), count / SAMPLED
    if basis.__module__ == "numpy":
        if basis.dtype.__get__(value).hasobject:
            raise _Unknown
        base = basis.base.__get__(value)  # the collector does not follow it
        return [] if base is None else [base], 1.0
    return gc.get_referents(value), 1.0


def _basis(kind: Any) -> Any:
    """The class written in C that a class is made from, if it is known what that holds."""
    while kind not in KNOWN:
        base = _base_of(kind)
        if hidden := _bytes_of(kind) - _bytes_of(base):  # besides the references that are seen
            names = _vars_of(kind)
            seen = sum(type(each) is MemberDescriptorType for each in names.values())
            hidden -= REFERENCE * (seen + ("__dict__" in names) + ("__weakref__" in names))
        if hidden > 0:
            if (kind.__module__, kind.__name__) in KNOWN_BY_NAME:
                return kind
            raise _Unknown
        kind = base
    return kind

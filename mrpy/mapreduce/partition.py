"""Which partition a key belongs to: by the key's value, never by the process that asks.

Python's own hash of a string differs from one process to the next, and that of an object may be its
address. Here keys that are equal in Python (``1``, ``1.0``, ``True``) get the same number in every process,
on every machine; all NaN are one key; and a key for which that cannot be promised is refused by name.
"""

from __future__ import annotations

import datetime
import enum
import importlib
import numbers
import os
import sys
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from zlib import crc32

from mrpy.light import TYPE_CHECKING, Any, later
from mrpy.scheduler.failure import short_repr
from mrpy.scheduler.importable import is_importable

if TYPE_CHECKING:
    import dataclasses
    import fractions
    import hashlib
    import pathlib
else:
    dataclasses = later("dataclasses")
    fractions = later("fractions")
    hashlib = later("hashlib")  # for those who draw random numbers in reducers
    pathlib = later("pathlib")

DEFAULT = 8  # partitions; not a multiple of the workers, whose number must not show in the order of results


class _NaN(enum.Enum):
    """The one key that stands for every NaN, or every NaT of a type. Where keys are sorted it is the last."""

    NAN = "nan"
    NO_DATE = "datetime64"  # of NumPy
    NO_TIME = "timedelta64"
    NEITHER = "NaTType"  # of pandas

    @property
    def shown(self) -> Any:
        """What the user gets to see."""
        if self is _NaN.NEITHER:
            return importlib.import_module("pandas").NaT
        return float("nan") if self is _NaN.NAN else getattr(sys.modules["numpy"], self.value)("NaT", "s")

    def __lt__(self, other: object) -> bool:
        return False

    def __gt__(self, other: object) -> bool:
        return other is not self


class _ByFields:
    """A key with fields that is equal to others by these alone: one that holds a NaN, and a record of
    NumPy's, which is not hashable once it has travelled."""

    __slots__ = ("members", "shown")

    def __init__(self, key: Any, members: tuple[Any, ...]) -> None:
        self.shown, self.members = key, members

    def __eq__(self, other: object) -> bool:
        same = type(other) is _ByFields and type(self.shown) is type(other.shown)
        return same and self.members == other.members  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash(self.members)

    def __lt__(self, other: Any) -> Any:
        return self.shown < shown(other)

    def __gt__(self, other: Any) -> Any:
        return self.shown > shown(other)

    def __reduce__(self) -> Any:
        return _ByFields, (self.shown, self.members)


class _MayBeNaN(dict[type, "bool | str"]):
    """Whether keys of a type can be, or hold, a NaN; of records of NumPy's that they are such. Asked for each
    key, so it is asked of a dict."""

    def __missing__(self, kind: type) -> bool | str:
        number = issubclass(kind, numbers.Number) and not issubclass(kind, numbers.Rational)
        found = number or issubclass(kind, tuple | frozenset) or _is_numpy_time(kind) or _is_nat(kind)
        found = found or (bool(_FIELDS[kind]) and _hashes_all(kind))
        is_record = kind.__module__ == "numpy" and kind.__name__ in ("void", "record")
        self[kind] = answer = RECORD if is_record else found
        return answer


class _Fields(dict[type, "list[str] | None"]):
    """By which fields keys of a type are equal: see `_compared_fields`."""

    def __missing__(self, kind: type) -> list[str] | None:
        self[kind] = found = _compared_fields(kind)
        return found


RECORD = "record"
_FIELDS = _Fields()
MAY_BE_NAN = _MayBeNaN()
MASK = (1 << 64) - 1
PRIME = (1 << 32) - 5  # the largest below 2**32
GOLDEN = 0x278DDE6D  # 2**30 divided by the golden ratio, odd
PLAIN = frozenset({str, int})  # what most keys are, of which none can


def canonical(key: Any) -> Any:
    """The key under which a group is kept: the key itself, but all NaN are one.

    >>> canonical((0, float("nan"))) == canonical((0, float("nan")))
    True
    """
    if isinstance(key, tuple | frozenset):
        return _with_members(key, canonical)
    kind: Any = type(key)
    form = MAY_BE_NAN[kind]
    if not form:
        return key
    if form is RECORD:
        return _ByFields(key, (canonical(key.item()),))
    if fields := _FIELDS[kind]:
        values = [getattr(key, name) for name in fields]
        members = tuple(map(canonical, values))
        changed = any(new is not old for new, old in zip(members, values, strict=True))
        return _ByFields(key, members) if changed else key
    if key == key:
        return key
    return _NaN(kind.__name__) if _is_numpy_time(kind) or _is_nat(kind) else _NaN.NAN


def shown(key: Any) -> Any:
    """The opposite of `canonical`: what the user gets to see."""
    return key.shown if type(key) in (_NaN, _ByFields) else _with_members(key, shown)


def _with_members(key: Any, change: Callable[[Any], Any]) -> Any:
    """The key with its members changed; the very same where none was."""
    if not isinstance(key, tuple | frozenset):
        return key
    members = [change(member) for member in key]
    if all(new is old for new, old in zip(members, key, strict=True)):
        return key
    kind: Any = type(key)
    if kind is tuple or kind is frozenset or hasattr(kind, "_make"):  # of a namedtuple
        return getattr(kind, "_make", kind)(members)
    base = tuple if isinstance(key, tuple) else frozenset  # who knows how to make another of its own kind
    return _ByFields(key, (base(members),)) if _is_equal_as(key, base) else key


def stable_hash(key: Any) -> int:
    """A hash that depends on the key's value alone. Raises TypeError, which names the key, where there
    is none.

    >>> stable_hash(1) == stable_hash(1.0) == stable_hash(True)
    True
    """
    if isinstance(key, str) and _is_equal_as(key, str):
        return crc32(key.encode("utf-8", "surrogatepass"))
    if isinstance(key, numbers.Number) and _HASHES_AS_NUMBER[type(key)]:
        return hash(key)  # of all numeric types, equal for equal numbers, and not randomized
    if isinstance(key, bytes) and _is_equal_as(key, bytes):
        return crc32(key) ^ 0x5BD1E995
    if isinstance(key, tuple) and _is_equal_as(key, tuple):
        return _mixed(0x345678, map(stable_hash, key))
    if key is None:
        return 0x6E6F6E65
    return _rarer(key)


def number_of(key: Any) -> int:
    """A number for a key, from 0 up, the same in every process. Of a text it has 128 bits: of a hundred
    thousand hashes of 32 bits two would be the same."""
    if type(key) is str:
        return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest())
    return stable_hash(key) & MASK


def parts_of(hashes: Iterable[int], parts: int) -> list[int]:
    """Which of so many parts keys with these hashes belong to. Those of numbers are the numbers, which may
    have a factor in common with the parts - minutes, multiples of a thousand - and would all be in one: so
    they are mixed (multiplicative hashing: Knuth, The Art of Computer Programming 3, 6.4).

    >>> sorted(set(parts_of(range(0, 800_000, 1000), 8)))
    [0, 1, 2, 3, 4, 5, 6, 7]
    """
    return [(hashed % PRIME * GOLDEN >> 30) % parts for hashed in hashes]


def _rarer(key: Any) -> int:
    kind: Any = type(key)
    if isinstance(key, enum.Enum) and kind.__eq__ is object.__eq__:  # else it is equal to what else it is
        return _named(kind, key.name)
    if isinstance(key, frozenset) and _is_equal_as(key, frozenset):
        return sum(stable_hash(member) for member in key) ^ 0x9E3779B9  # in no order
    if isinstance(key, range):
        return _mixed(7, map(stable_hash, (len(key), *key[:1], key.step if len(key) > 1 else None)))
    if isinstance(key, datetime.datetime):
        key = key.replace(fold=0)  # which Python does not compare
        naive = key.utcoffset() is None  # also where it has a tzinfo that does not know
        return _of_duration(key.replace(tzinfo=None) - _EPOCH) if naive else hash(key.timestamp())
    if isinstance(key, datetime.time):
        return _of_time(key.replace(fold=0))
    if isinstance(key, datetime.date):
        return _of_duration(datetime.date(key.year, key.month, key.day) - _EPOCH.date())
    if isinstance(key, datetime.timedelta):
        return _of_duration(key)
    if isinstance(key, uuid.UUID):
        return hash(key.int)
    if isinstance(key, os.PathLike) and _is_equal_as(key, pathlib.PurePath):
        path = os.fspath(key)  # before it is bytes: of these only a to z would be lowered
        return crc32(os.fsencode(path.lower() if isinstance(key, pathlib.PureWindowsPath) else path))
    if kind.__module__ == "ipaddress":
        return crc32(str(key).encode())
    if isinstance(key, type) or _is_imported(key):
        return _named(key, "")
    if kind.__module__ == "numpy" and kind.__name__ in ("bool", "bool_"):
        return hash(bool(key))
    if _is_numpy_time(kind):
        return _of_numpy_time(key)
    if kind is _ByFields:
        return _mixed(len(key.members), map(stable_hash, key.members))
    compared = _FIELDS[kind]
    if compared is None and _is_another_number(key):
        return hash(key)
    if compared is None:
        raise TypeError(refusal(key))
    return _mixed(len(compared), (stable_hash(getattr(key, name)) for name in compared))


class _HashesAsNumber(dict[type, bool]):
    """Whether numbers of a type are equal as their number is, at most: those of a subclass that looks at a
    unit of its own are not."""

    def __missing__(self, kind: type) -> bool:
        known = _known_number(kind)
        same = known is not None and (kind.__hash__ is known.__hash__ or kind.__eq__ is known.__eq__)
        self[kind] = found = same and not _is_numpy_time(kind)  # that of a duration is by its unit
        return found


def _known_number(kind: type) -> type | None:
    """The class of Python's own, or of NumPy's, that it derives from."""
    return next((base for base in kind.__mro__[:-1] if base.__module__ in _NUMBERS), None)


def _is_another_number(key: Any) -> bool:
    """Whether it is a number of another library, or the user's, that goes with Python's own: it is equal to
    one of these, and has its hash. There are those whose hash goes over strings."""
    kind = type(key)
    if not isinstance(key, numbers.Number) or _known_number(kind) is not None or kind.__hash__ is None:
        return False
    for number in _EQUAL_TO:
        with suppress(Exception):
            if key == (other := number(key)) and hash(key) == hash(other):
                return True
    return False


_EQUAL_TO: tuple[Callable[[Any], Any], ...] = (
    hash,  # of a whole number that is not large it is this number
    lambda key: fractions.Fraction(int(key.numerator), int(key.denominator)),
    lambda key: fractions.Fraction(*map(int, key.as_integer_ratio())),
    float,
    complex,
)
_NUMBERS = frozenset(("builtins", "decimal", "fractions", "numpy"))  # where they are from
_HASHES_AS_NUMBER = _HashesAsNumber()


def _is_equal_as(key: Any, base: Any) -> bool:
    """Whether it is equal to what the base class finds equal, at most: what is equal has the same hash."""
    kind: Any = type(key)
    return kind.__eq__ is base.__eq__ or kind.__hash__ is base.__hash__ or kind.__module__ == "numpy"


def _of_time(key: datetime.time) -> int:
    """Times of different zones are equal where they are in one of them."""
    offset = key.utcoffset()
    if offset is None:
        return crc32(key.isoformat().encode())
    seconds = 3600 * key.hour + 60 * key.minute + key.second
    return _mixed(5, (hash(seconds - offset.total_seconds()), key.microsecond))


def _is_numpy_time(kind: type) -> bool:
    return kind.__module__ == "numpy" and kind.__name__ in (_NaN.NO_DATE.value, _NaN.NO_TIME.value)


def _is_nat(kind: type) -> bool:
    return kind.__name__ == _NaN.NEITHER.value and kind.__module__.partition(".")[0] == "pandas"


_EPOCH = datetime.datetime(1970, 1, 1)  # that of NumPy, which knows no zones


def _of_duration(key: datetime.timedelta) -> int:
    """As that of NumPy, to which it may be equal. Those of pandas have nanoseconds."""
    seconds = 86400 * key.days + key.seconds
    return hash(seconds * 10**18 + key.microseconds * 10**12 + getattr(key, "nanoseconds", 0) * 10**9)


_ATTOSECONDS = {  # of the units of NumPy; years and months are a number of days, or none
    "W": 604800 * 10**18, "D": 86400 * 10**18, "h": 3600 * 10**18, "m": 60 * 10**18, "s": 10**18,
    "ms": 10**15, "us": 10**12, "ns": 10**9, "ps": 10**6, "fs": 1000, "as": 1,
}  # fmt: skip


def _of_numpy_time(key: Any) -> int:
    """What is equal has the same, whatever the unit. NumPy's own hash differs between processes."""
    months = {"Y": 12, "M": 1}
    unit, step = sys.modules["numpy"].datetime_data(key.dtype)
    if unit in months and type(key).__name__ == _NaN.NO_DATE.value:
        key, unit, step = key.astype("M8[D]"), "D", 1
    return hash(int(key.astype("i8")) * step * (months.get(unit) or _ATTOSECONDS.get(unit, 1)))


def _is_imported(key: Any) -> bool:
    """Whether it is a function that is found by its name: others are another one wherever they are opened."""
    return callable(key) and hasattr(key, "__qualname__") and is_importable(key)


def _compared_fields(kind: Any) -> list[str] | None:
    """Which fields two of this class are equal by, at most, where a library has written what compares them,
    or their hash; None where it is the user's own business, or each is equal to itself alone."""
    if kind.__hash__ is None or kind.__eq__ is object.__eq__:
        return None
    parameters = getattr(kind, "__dataclass_params__", None)
    if parameters is not None:
        if not (parameters.eq and _is_written(kind, "co_qualname", "__create_fn__")):
            return None
        fields = dataclasses.fields(kind)
        return [field.name for field in fields if (field.compare if field.hash is None else field.hash)]
    if not _is_written(kind, "co_filename", "<attrs generated"):
        return None
    fields = kind.__attrs_attrs__
    if any(field.eq_key is not None for field in fields):
        return None
    return [field.name for field in fields if (field.eq if field.hash is None else field.hash)]


def _hashes_all(kind: Any) -> bool:
    """Whether those are all the fields by which two of it are equal."""
    hashed = _FIELDS[kind] or ()
    if hasattr(kind, "__attrs_attrs__"):
        return all(field.eq == (field.name in hashed) for field in kind.__attrs_attrs__)
    return all(field.compare == (field.name in hashed) for field in dataclasses.fields(kind))


def _is_written(kind: Any, where: str, begin: str) -> bool:
    """Whether a library has written one of the two: its code says so there."""
    codes = (getattr(function, "__code__", None) for function in (kind.__eq__, kind.__hash__))
    return any(getattr(code, where, "").startswith(begin) for code in codes)


def refused(key: Any, error: TypeError) -> TypeError:
    """What to raise where a key could not be looked up: an error of comparing it with another stays."""
    try:
        hash(key)
    except TypeError:
        return TypeError(refusal(key))
    return error


def refusal(key: Any) -> str:
    """Why this key cannot be one."""
    name = type(key).__qualname__
    try:
        hash(key)
    except TypeError as error:
        return f"the key {short_repr(key)} of type {name} cannot be a key: it is not hashable ({error})"
    instead = "a string, a number, a tuple of these, or a frozen dataclass"
    if isinstance(key, os.PathLike):
        instead = "os.fspath(key) or str(key)"
    problem = "has no hash that is the same in every process"
    return f"the key {short_repr(key)} of type {name} {problem}; use {instead}"


def _named(thing: Any, name: str) -> int:
    return crc32(f"{thing.__module__}.{thing.__qualname__}.{name}".encode())


def _mixed(start: int, hashes: Any) -> int:
    value = start
    for each in hashes:
        value = (value ^ (each & MASK)) * 1000003 & MASK
    return value

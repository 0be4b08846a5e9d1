"""Columns without a schema: their types, which are those of their values, wherever items were cut.

Of values of several kinds together Arrow makes what depends on their order: a whole number behind a date is a
day. So within a part each kind becomes an array by itself, and these are joined as parts of an output are: by
`wider` and `fitted`. It does not matter in which order types are joined, but for that of the fields of a
struct, nor in which groups.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from functools import reduce
from itertools import accumulate, chain
from typing import Any

from mrpy.light import later

arrow: Any = later("pyarrow")

EMPTY = "(no fields)"  # in structs of which nothing but {} was seen: Parquet has none without fields
DIGITS = 19  # of a whole number of 64 bits
_UNITS = ("s", "ms", "us", "ns")
_NESTED = (list, tuple, dict)


def array_of(name: str, values: Sequence[Any]) -> Any:
    """A column of these values. Raises `ValueError` where they have no type in common."""
    kinds = set(map(type, values)) - {type(None)}
    if datetime.time in kinds and any(getattr(value, "tzinfo", None) for value in values):
        raise ValueError(f"column {name!r} has times of day with a zone, for which Arrow has no type")
    if len(kinds) == 1 and not any(map(_is_several, kinds)):
        return _as_it_is(name, values)
    places: dict[Any, list[int]] = {}
    for at, value in enumerate(values):
        if value is not None:
            places.setdefault(_kind(value), []).append(at)
    if len(places) < 2:
        return _of_one_kind(name, values, next(iter(kinds), type(None)))
    arrays = [
        _of_one_kind(name, [values[at] for at in group], type(values[group[0]]))
        for group in places.values()
    ]
    kind = reduce(lambda one, other: wider(name, one, other), (each.type for each in arrays))
    where: list[int | None] = [None] * len(values)
    for place, at in enumerate(chain.from_iterable(places.values())):
        where[at] = place
    return arrow.concat_arrays([fitted(name, each, kind) for each in arrays]).take(arrow.array(where))


def _is_several(kind: type) -> bool:
    """Whether a type of Python's has values of several types of Arrow's."""
    return issubclass(kind, (*_NESTED, datetime.datetime)) or hasattr(kind, "dtype")


def _kind(value: Any) -> Any:
    kind = type(value)
    detail = getattr(value, "tzinfo", None) or getattr(value, "dtype", None)
    if detail is not None and type(detail).__hash__ is None:
        detail = repr(detail)
    return kind, detail


def _as_it_is(name: str, values: Sequence[Any]) -> Any:
    try:
        made = arrow.array(values)
        if arrow.types.is_temporal(made.type) and _have_nanoseconds(values):
            made = _with_nanoseconds(values, made.type)
    except Exception as error:  # of Arrow, or of what it asks these values: that of pandas which is no time
        raise ValueError(f"column {name!r}: {error}; schema= says what it is") from error
    return made


def nanoseconds_of(value: Any) -> int:
    """What times of pandas have beyond microseconds, which Arrow drops where nothing asks for it."""
    return getattr(value, "nanosecond", 0) or getattr(value, "nanoseconds", 0)


def _have_nanoseconds(values: Sequence[Any]) -> bool:
    may = any(hasattr(kind, "nanosecond") or hasattr(kind, "nanoseconds") for kind in set(map(type, values)))
    return may and any(map(nanoseconds_of, values))


def _with_nanoseconds(values: Sequence[Any], kind: Any) -> Any:
    """Times of pandas, or durations, each of which says how many nanoseconds it is, as an array of these."""
    kind = arrow.duration("ns") if arrow.types.is_duration(kind) else arrow.timestamp("ns", kind.tz)
    return arrow.array([None if value is None else value.value for value in values], arrow.int64()).cast(kind)


def _of_one_kind(name: str, values: Sequence[Any], kind: type) -> Any:
    """Of values of this type, and None."""
    if not issubclass(kind, _NESTED):
        return _as_it_is(name, values)
    missing = arrow.array([value is None for value in values])
    if not issubclass(kind, dict):
        inner = array_of(name, list(chain.from_iterable(value or () for value in values)))
        ends = accumulate((len(value or ()) for value in values), initial=0)
        return arrow.ListArray.from_arrays(arrow.array(ends, arrow.int32()), inner, mask=missing)
    fields = list(dict.fromkeys(chain.from_iterable(value or () for value in values)))
    if not all(isinstance(field, str) for field in fields):
        return _as_it_is(name, values)  # which says so
    columns = [
        array_of(f"{name}.{field}", [value.get(field) if value else None for value in values])
        for field in fields
    ]
    if not fields:
        columns, fields = [arrow.nulls(len(values))], [EMPTY]
    return arrow.StructArray.from_arrays(columns, fields, mask=missing)


def is_open(kind: Any) -> bool:
    """Whether only the values of other parts can say what it is."""
    if arrow.types.is_list(kind):
        return is_open(kind.value_type)
    if not arrow.types.is_struct(kind):
        return False
    return any(field.name == EMPTY or is_open(field.type) for field in kind)


def fitted(name: str, column: Any, kind: Any) -> Any:
    """A column as one of this type. Raises `ValueError` where that would change a value."""
    if column.type.equals(kind):
        return column
    try:
        return column.cast(kind)
    except arrow.ArrowException as error:
        text = f"column {name!r} is {column.type} in one part, and {kind} with the others: {error}"
        raise ValueError(f"{text}; schema= says what it is") from error


def wider(name: str, one: Any, other: Any) -> Any:
    """The type of values of which some have this one, and some that. Raises `ValueError` if there is none
    that leaves all of them as they are."""
    kinds = arrow.types
    if one.equals(other) or kinds.is_null(other):
        return one
    if kinds.is_null(one):
        return other
    if kinds.is_list(one) and kinds.is_list(other):
        return arrow.list_(wider(name, one.value_type, other.value_type))
    if kinds.is_struct(one) and kinds.is_struct(other):
        inner = {each.name: each.type for each in one}
        for each in other:
            known = inner.get(each.name, each.type)
            inner[each.name] = wider(f"{name}.{each.name}", known, each.type)
        if len(inner) > 1:
            inner.pop(EMPTY, None)
        return arrow.struct(list(inner.items()))
    found = _number(one, other) or _time(one, other)
    if found is None:
        raise ValueError(
            f"column {name!r} is {one} in one part, and {other} in another; schema= says what it is"
        )
    return found


def _number(one: Any, other: Any) -> Any:
    """Of numbers. Whole ones of 64 bits without a sign go with their like only: with those that have one they
    have no type, so they must have none with floats either, which go with both."""
    kinds = arrow.types
    if kinds.is_integer(one) and kinds.is_integer(other):
        return _whole(*sorted((one, other), key=kinds.is_signed_integer))
    if kinds.is_floating(one) and kinds.is_floating(other):
        return max(one, other, key=lambda each: each.bit_width)
    if kinds.is_integer(other):
        one, other = other, one
    if kinds.is_uint64(one):
        return None
    if kinds.is_integer(one) and kinds.is_floating(other):
        return arrow.float64()
    sizes = [_digits(kinds, each) for each in (one, other)]
    if None in sizes:
        return None
    scale = max(after for _, after in sizes)  # type: ignore[misc]
    digits = max(before for before, _ in sizes) + scale  # type: ignore[misc]
    if digits > 76:
        return None
    return arrow.decimal128(digits, scale) if digits <= 38 else arrow.decimal256(digits, scale)


def _whole(one: Any, other: Any) -> Any:
    """Of whole numbers: where only one has a sign, it is the other."""
    kinds = arrow.types
    if kinds.is_signed_integer(one) == kinds.is_signed_integer(other):
        return max(one, other, key=lambda each: each.bit_width)
    width = max(2 * one.bit_width, other.bit_width)
    return {16: arrow.int16(), 32: arrow.int32(), 64: arrow.int64()}.get(width)


def _digits(kinds: Any, kind: Any) -> tuple[int, int] | None:
    """Before the point, and behind it."""
    if kinds.is_decimal(kind):
        return kind.precision - kind.scale, kind.scale
    return (DIGITS, 0) if kinds.is_integer(kind) else None


def _time(one: Any, other: Any) -> Any:
    """Of times: the finer one. Of several zones it is UTC; that of one and no zone is unknown."""
    kinds = arrow.types
    same = (kinds.is_timestamp, kinds.is_duration, kinds.is_time)
    if not any(each(one) and each(other) for each in same):
        return None
    unit = max(one.unit, other.unit, key=_UNITS.index)
    if kinds.is_duration(one):
        return arrow.duration(unit)
    if kinds.is_time(one):
        return arrow.time64(unit) if unit in ("us", "ns") else arrow.time32(unit)
    if (one.tz is None) != (other.tz is None):
        return None
    return arrow.timestamp(unit, one.tz if one.tz == other.tz else "UTC")

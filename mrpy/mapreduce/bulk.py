"""Values that take much memory each, among others that do not: seen in no time, since each value is asked.

Strings, containers and arrays are measured, alone or in a tuple. Of what an object of another kind holds
nothing is known but what it states itself (`nbytes`); its `__sizeof__` is not asked, which in a table takes
long, nor the `__len__` of a subclass, which may raise.
"""

from __future__ import annotations

from collections.abc import Callable

from mrpy.light import Any
from mrpy.scheduler.sizes import STRINGS, builtin, stated

BULKY = 1 << 18  # bytes, about; out of the air, far above what is sent by itself

Measure = Callable[[Any], int]


class _Measures(dict[type, Measure | None]):
    """How much there is of a value, by its type. None: of such it is never much."""

    def __missing__(self, kind: type) -> Measure | None:
        self[kind] = found = _measure_of(kind)
        return found


def _measure_of(kind: type) -> Measure | None:
    if issubclass(kind, int | float | complex) or kind is type(None):
        return None
    if (base := builtin(kind, STRINGS)) is not None:
        return len if kind is base else base.__len__
    if kind is tuple:
        return _within
    if (base := builtin(kind, (list, dict, set, frozenset))) is not None:
        return _of_members if kind is base else lambda value: 8 * base.__len__(value)
    return _stated if hasattr(kind, "nbytes") else None


def _of_members(value: Any) -> int:
    return 8 * len(value)  # bytes of the references to them


def _stated(value: Any) -> int:
    return stated(value) or 0


def is_bulky(value: Any) -> bool:
    """Whether it takes much memory."""
    measure = BULK[type(value)]
    return measure is not None and measure(value) > BULKY


def _within(value: tuple[Any, ...]) -> int:
    """That of the first member which is much; 0 where none is."""
    for member in value:
        measure = BULK[type(member)]
        if measure is not None and measure is not _within:
            much = measure(member)
            if much > BULKY:
                return much
    return 0


BULK = _Measures()

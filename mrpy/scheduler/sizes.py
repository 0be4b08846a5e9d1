"""How many bytes values take: exact for pickles and arrays, about for the rest, nested ones unopened."""

from __future__ import annotations

import sys
from typing import Any

SAMPLED = 4  # values; out of the air


def about(values: Any) -> int:
    """As `size_of`, in no time: from a few of the values."""
    nbytes = getattr(values, "nbytes", None)
    if isinstance(nbytes, int):
        return nbytes
    if not isinstance(values, list | tuple) or not values:
        return 0
    some = values[:: max(1, len(values) // SAMPLED)]
    return len(values) * sum(map(_size_of_one, some)) // len(some)


def size_of(value: Any) -> int:
    """About how many bytes a chunk or its results take: exact for pickles and arrays."""
    nbytes = getattr(value, "nbytes", None)
    if isinstance(nbytes, int):
        return nbytes
    if isinstance(value, list | tuple):
        return sys.getsizeof(value) + sum(_size_of_one(member) for member in value)
    return _size_of_one(value)


def _size_of_one(value: Any) -> int:
    nbytes = getattr(value, "nbytes", None)
    return nbytes if isinstance(nbytes, int) else sys.getsizeof(value, 64)

"""How many bytes values take: exact for pickles and arrays, about for the rest.

Containers of the builtin kinds are looked into, a few levels deep; of long ones inside others a few members
speak for all. What an object of the user's holds is not seen.
"""

from __future__ import annotations

import sys
from itertools import chain, islice

from mrpy.light import Any

SAMPLED = 4  # values; out of the air
SAMPLED_WELL = 32  # values; likewise
SAMPLED_INSIDE = 16  # members of a container within another; likewise
DEEPEST = 3  # containers within each other; likewise
SMALL = 32  # bytes of a number, or of anything of which no more is known


def stated(value: Any) -> int | None:
    """What it says itself of its bytes, as arrays do; None where it does not, or cannot."""
    try:
        nbytes = getattr(value, "nbytes", None)
    except Exception:  # of a property of the user's: of a file that is closed, say
        return None
    return nbytes if isinstance(nbytes, int) else None


def about(values: Any) -> int:
    """As `size_of`, in no time: from a few of the values."""
    if (nbytes := stated(values)) is not None:
        return nbytes
    if not isinstance(values, list | tuple) or not values:
        return 0
    some = values[:: max(1, len(values) // SAMPLED)]
    return len(values) * sum(map(weight, some)) // len(some)


def estimated(values: list[Any]) -> int:
    """About how many bytes of memory a long list and what it holds take, from more of the values than `about`
    looks at."""
    if not values:
        return 0
    return _scaled(values[:: _step(len(values))], len(values))


def about_dict(values: dict[Any, Any]) -> int:
    """As `estimated`, of keys and what they stand for."""
    if not values:
        return 0
    return _scaled(list(islice(values.items(), 0, None, _step(len(values)))), len(values))


def contents(value: Any, depth: int = DEEPEST) -> int:
    """About how many bytes the arrays and strings in a value hold: in a copy of it, in another process, the
    same, which `weight` need not be. Other objects are not looked into: they may hold what a task has put
    there, here or elsewhere."""
    if (nbytes := stated(value)) is not None:
        return nbytes
    if isinstance(value, str | bytes | bytearray):
        return SMALL + len(value)
    if depth == 0 or not isinstance(value, list | tuple | dict) or not value:
        return SMALL
    members = list(dict.values(value)) if isinstance(value, dict) else value
    some = members[:: max(1, len(members) // SAMPLED_INSIDE)]
    return SMALL + len(members) * sum(contents(each, depth - 1) for each in some) // len(some)


def _step(count: int) -> int:
    return max(1, count // SAMPLED_WELL)


def _scaled(some: list[Any], count: int) -> int:
    """From some values to so many, with the references to them."""
    return count * (8 + sum(map(weight, some)) // len(some))


def size_of(value: Any) -> int:
    """About how many bytes a chunk or its results take: exact for pickles and arrays."""
    if (nbytes := stated(value)) is not None:
        return nbytes
    if isinstance(value, list | tuple):
        return sys.getsizeof(value) + sum(weight(member) for member in value)
    return weight(value)


def weight(value: Any, depth: int = DEEPEST) -> int:
    """About how many bytes of memory a value takes, from a few of its members, and of theirs."""
    if (nbytes := stated(value)) is not None:
        return nbytes
    own = sys.getsizeof(value, 64)
    if depth == 0 or not isinstance(value, list | tuple | dict | set | frozenset) or not value:
        return own
    step = max(1, len(value) // SAMPLED_INSIDE)
    members = chain(value.keys(), value.values()) if isinstance(value, dict) else value
    some = [weight(member, depth - 1) for member in islice(members, 0, None, step)]
    count = 2 * len(value) if isinstance(value, dict) else len(value)
    return own + count * sum(some) // len(some)

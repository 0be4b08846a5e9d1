"""How many bytes values take: exact for pickles and arrays, about for the rest.

Containers of the builtin kinds are looked into, a few levels deep; of long ones inside others a few members
speak for all. What an object of the user's holds is not seen.

Values are measured where an error of theirs would break more than their task, by the driver's thread, too. So
containers are read by the methods of the builtin kind, whatever a subclass has put in their place, and a size
that cannot be asked is a guess.
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

SEQUENCES: tuple[Any, ...] = (list, tuple)
CONTAINERS: tuple[Any, ...] = (list, tuple, dict, set, frozenset)
STRINGS: tuple[Any, ...] = (str, bytes, bytearray)
PLAIN = frozenset({bool, int, float, complex, str, bytes, type(None)})  # hold nothing, and have no ``nbytes``
WRITTEN_IN_C: Any = type(object.__sizeof__)


def builtin(kind: type, kinds: tuple[Any, ...]) -> Any:
    """Which of some builtin types a type is, or is a subclass of; None where it is none of them. It is not
    the value that is asked, as by `isinstance`: its ``__class__`` may be anything."""
    for each in kinds:
        if issubclass(kind, each):
            return each
    return None


def stated(value: Any) -> int | None:
    """What it says itself of its bytes, as arrays do; None where it does not, or cannot."""
    try:
        nbytes = getattr(value, "nbytes", None)
    except Exception:  # of a property of the user's: of a file that is closed, say
        return None
    return nbytes if type(nbytes) is int else None


def about(values: Any) -> int:
    """As `size_of`, in no time: from a few of the values."""
    if (nbytes := stated(values)) is not None:
        return nbytes
    kind = builtin(type(values), SEQUENCES)
    if kind is None or not (count := kind.__len__(values)):
        return 0
    some = kind.__getitem__(values, slice(None, None, max(1, count // SAMPLED)))
    return int(count * sum(map(weight, some)) // len(some))


def about_apart(values: Any) -> int:
    """The same, with what all have of the first counted once: it is here once."""
    kind = builtin(type(values), SEQUENCES)
    if stated(values) is not None or kind is None or (count := kind.__len__(values)) < 2:
        return about(values)
    first, *some = kind.__getitem__(values, slice(None, None, max(1, count // SAMPLED)))
    return int(weight(first) + (count - 1) * sum(beside(each, first) for each in some) // len(some))


def beside(value: Any, other: Any) -> int:
    """What a value takes without what it shares with another."""
    if value is other:
        return 0
    if type(value) in PLAIN:
        return sys.getsizeof(value)
    members = _unshared(value, other, (list, tuple, dict))
    return weight(value) if members is None else _own(value) + sum(map(weight, members))


def _unshared(value: Any, other: Any, kinds: tuple[type, ...]) -> list[Any] | None:
    """What a short one of these holds that another has not in the same place; None of anything else."""
    kind = type(value)
    if kind is not type(other) or kind not in kinds or len(value) > SAMPLED_INSIDE:
        return None
    both = [each.values() if kind is dict else each for each in (value, other)]
    return [mine for mine, its in zip(*both, strict=False) if mine is not its]


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
    if (kind := builtin(type(value), STRINGS)) is not None:
        return SMALL + int(kind.__len__(value))
    kind = builtin(type(value), (list, tuple, dict))
    if depth == 0 or kind is None:
        return SMALL
    members = list(dict.values(value)) if kind is dict else kind.__getitem__(value, slice(None))
    if not members:
        return SMALL
    some = members[:: max(1, len(members) // SAMPLED_INSIDE)]
    return SMALL + len(members) * sum(contents(each, depth - 1) for each in some) // len(some)


def contents_beside(value: Any, other: Any) -> int:
    """The same without what another value is, or has in the same place, where both are short tuples."""
    if value is other:
        return SMALL
    members = _unshared(value, other, (tuple,))
    if members is None:
        return contents(value)
    return SMALL + sum(contents(each, DEEPEST - 1) for each in members)


def _step(count: int) -> int:
    return max(1, count // SAMPLED_WELL)


def _scaled(some: list[Any], count: int) -> int:
    """From some values to so many, with the references to them."""
    return count * (8 + sum(map(weight, some)) // len(some))


def size_of(value: Any) -> int:
    """About how many bytes a chunk or its results take: exact for pickles and arrays."""
    if (nbytes := stated(value)) is not None:
        return nbytes
    if (kind := builtin(type(value), SEQUENCES)) is not None:
        plain = PLAIN.issuperset(map(type, kind.__iter__(value)))  # several times faster
        return _own(value) + sum(map(sys.getsizeof if plain else weight, kind.__iter__(value)))
    return weight(value)


def _own(value: Any) -> int:
    """What it takes itself, without what it holds. A `__sizeof__` that is written in Python is not asked: it
    may take longer than all work on the value, as that of pandas, which walks the strings of a table."""
    try:
        if type(type(value).__sizeof__) is WRITTEN_IN_C:
            return sys.getsizeof(value)
        is_table = issubclass(type(value), getattr(sys.modules.get("pandas"), "DataFrame", ()))
        return _of_table(value) if is_table else SMALL
    except Exception:  # of an extension of the user's, or where another thread is changing it
        return SMALL


def _of_table(table: Any) -> int:
    """About what one of pandas takes, from a few rows of a few columns."""
    rows, columns = table.shape
    some = table.iloc[:: max(1, rows // SAMPLED_INSIDE), :: max(1, columns // SAMPLED_INSIDE)]
    nbytes = sum(column.memory_usage(index=False, deep=True) for _, column in some.items())
    return SMALL + int(nbytes * table.size // max(1, some.size))


def weight(value: Any, depth: int = DEEPEST) -> int:
    """About how many bytes of memory a value takes, from a few of its members, and of theirs."""
    if type(value) in PLAIN:  # most are
        return sys.getsizeof(value)
    if (nbytes := stated(value)) is not None:
        return nbytes
    own = _own(value)
    kind = builtin(type(value), CONTAINERS) if depth else None
    if kind is None or not (count := kind.__len__(value)):
        return own
    members = chain(dict.keys(value), dict.values(value)) if kind is dict else kind.__iter__(value)
    # In one go: a function in another thread may be changing it.
    some = list(islice(members, 0, None, max(1, count // SAMPLED_INSIDE)))
    count *= 2 if kind is dict else 1
    return int(own + count * sum(weight(member, depth - 1) for member in some) // len(some))

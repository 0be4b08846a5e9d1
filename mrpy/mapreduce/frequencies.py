"""How often things came: the fold behind `frequencies`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

from mrpy.mapreduce.folds import Fold
from mrpy.mapreduce.groups import with_one_nan
from mrpy.mapreduce.partition import MAY_BE_NAN, PLAIN, RECORD, canonical, shown
from mrpy.mapreduce.tree import NOTHING

BETWEEN = "\n"  # the strings of a text; lines and words have none


class Frequencies:
    """How often things came, in the order in which they first did. It travels as two columns, and becomes a
    dict again only where another is added to it: to build one takes longer than all else on the way. A column
    of plain strings travels as one text: pickle remembers each string that it writes, which takes eight times
    as long as to write it."""

    __slots__ = ("_columns", "_counts")

    def __init__(self, things: Sequence[Any], counts: Sequence[int]) -> None:
        self._columns = things, counts
        self._counts: dict[Any, int] | None = None

    @classmethod
    def of(cls, many: Iterable[Iterable[Any]]) -> Frequencies:
        """What the things in these come to."""
        counted = cls((), ())
        counts: Counter[Any] = Counter()
        for things in many:
            counts.update(iter(things))  # also where they are a dict: of its keys
        counted._counts = with_one_nan(counts)
        return counted

    def add(self, other: Frequencies) -> None:
        """What the other has counted comes behind this."""
        if self._counts is None:
            self._counts, self._columns = dict(self), ((), ())
        counts, get = self._counts, self._counts.get
        for thing, count in other:
            counts[thing] = get(thing, 0) + count

    def finished(self) -> Frequencies:
        """The same as the user gets to see it."""
        if PLAIN.issuperset(map(type, self._columns[0] if self._counts is None else self._counts)):
            return self
        things, counts = self.columns()
        return Frequencies([shown(thing) for thing in things], counts)

    def columns(self) -> tuple[Sequence[Any], Sequence[int]]:
        """The things, and how often each came."""
        counts = self._counts
        return self._columns if counts is None else (list(counts), list(counts.values()))

    def __iter__(self) -> Iterator[tuple[Any, int]]:
        return zip(*self._columns, strict=True) if self._counts is None else iter(self._counts.items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frequencies) and self.columns() == other.columns()

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> tuple[Any, ...]:
        things, counts = self.columns()
        with suppress(TypeError):  # not all of them are strings
            text = BETWEEN.join(things)
            if text.count(BETWEEN) == len(things) - 1 and set(map(type, things)) == {str}:
                return _of_text, (text, counts)
        return Frequencies, (things, counts)


def _of_text(text: str, counts: Sequence[int]) -> Frequencies:
    return Frequencies(text.split(BETWEEN), counts)


def count_each(items: Iterator[Any]) -> Any:
    """What a leaf holds, counted."""
    return count_many(iter((items,)))


def count_many(many: Iterator[Iterable[Any]]) -> Any:
    """The same of what these hold, one after the other."""
    for things in many:
        rest = iter(things)
        for first in rest:
            parts = chain((chain((first,), rest),), many)
            is_record = MAY_BE_NAN[type(first)] is RECORD
            return Frequencies.of((map(canonical, part) for part in parts) if is_record else parts)
    return Frequencies.of(())


def add_counts(left: Frequencies, right: Frequencies) -> Frequencies:
    """Both in one. The left one is ours to change."""
    left.add(right)
    return left


def counted_pairs(value: Any) -> Frequencies:
    """What was counted, and how often: it yields pairs, which are not made before they have travelled."""
    return Frequencies([], []) if value is NOTHING else value.finished()


FREQUENCIES = Fold(count_each, add_counts, counted_pairs, "frequencies", exact=True, leaf_of_many=count_many)

"""Bodies that take from their own source, through what their objects do, and others that do not: for the tests
of lifting, here and under other Pythons."""

from __future__ import annotations

import csv
import functools
import io
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any


class Rows:
    """It goes over itself. Its helper `named` takes nothing from there, the others do."""

    def __init__(self) -> None:
        self.rows = iter(("a,b", "1,2", "3,4"))
        self.columns = next(self).split(",")

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self.rows)

    def named(self, row: str) -> dict[str, str]:
        return dict(zip(self.columns, row.split(","), strict=True))

    def taken(self) -> str:
        return next(self.rows)

    def first(self) -> list[str]:
        return list(itertools.islice(self, 1))

    def turned(self) -> list[str]:
        return [row for row in self]  # noqa: C416


def first_of(items: Iterator[int]) -> int:
    return next(items)


class Taking:
    """All that is called here takes from its items."""

    def __init__(self) -> None:
        self.items = iter(range(6))
        self.file = io.StringIO("a\nb\n")
        self.parts = csv.reader(self.file)
        self.one = partial(next, self.items)
        self.rows = Rows()

    def sliced(self) -> list[int]:
        return list(itertools.islice(self.items, 1))

    def looped(self) -> int | None:
        for item in self.items:
            return item
        return None

    def listed(self) -> list[int]:
        return [item for item in self.items][:1]  # noqa: C416

    def inside(self) -> Callable[[], int]:
        return lambda: next(self.items)

    def handed(self) -> int:
        return first_of(self.items)

    def kept(self) -> int:
        items = self.items
        return next(items)

    def unpacked(self) -> int:
        first, *_ = self.items
        return first

    def called(self) -> int:
        return self.items.__next__()

    def raised(self) -> None:
        raise ValueError(next(self.items))

    def counted(self) -> bool:
        self.count = 0
        self.count += 1
        return self.count in self.items

    def row(self) -> Any:
        return self.rows.taken()

    @property
    def following(self) -> int:
        return next(self.items)

    @functools.lru_cache  # noqa: B019
    def cached(self, x: int) -> int:
        return x + next(self.items)

    @staticmethod
    def static(x: int, taking: Taking) -> int:
        return x + next(taking.items)

    @classmethod
    def of_class(cls, taking: Taking) -> int:
        return next(taking.items)

    def __call__(self) -> int:
        return next(self.items)

    def part(self) -> int:
        return next(self.items)

    def other(self) -> int:
        return next(self.items)


class Child(Taking):
    def part(self) -> int:
        return super().part() + 1

    def other(self) -> int:
        return super(Child, self).other() + 1  # noqa: UP008


TAKES: dict[str, Callable[[Any], Any]] = {
    "islice": lambda t: ((x, t.sliced()) for x in t.items),
    "for": lambda t: ((x, t.looped()) for x in t.items),
    "comprehension": lambda t: ((x, t.listed()) for x in t.items),
    "lambda": lambda t: ((x, t.inside()()) for x in t.items),
    "function": lambda t: ((x, t.handed()) for x in t.items),
    "variable": lambda t: ((x, t.kept()) for x in t.items),
    "unpacked": lambda t: ((x, t.unpacked()) for x in t.items),
    "__next__": lambda t: ((x, t.called()) for x in t.items),
    "raised": lambda t: ((x, t.raised()) for x in t.items),
    "in": lambda t: ((x, t.counted()) for x in t.items),
    "property": lambda t: ((x, t.following) for x in t.items),
    "cached": lambda t: (t.cached(x) for x in t.items),
    "static": lambda t: (t.static(x, t) for x in t.items),
    "of the class": lambda t: (t.of_class(t) for x in t.items),
    "of no object": lambda t: (Taking.sliced(t) for x in t.items),
    "__call__": lambda t: (t() for x in t.items),
    "super": lambda t: (t.part() for x in t.items),
    "super with arguments": lambda t: (t.other() for x in t.items),
    "partial": lambda t: (t.one() for x in t.items),
    "in the body": lambda t: (list(itertools.islice(t.items, 1)) for x in t.items),
    "through another": lambda t: ((line, next(t.parts)) for line in t.file),
    "object in an object": lambda t: ((row, t.rows.taken()) for row in t.rows),
    "method of another": lambda t: ((row, t.row()) for row in t.rows),
}  # fmt: skip

TAKES_ITSELF: list[Callable[[Rows], Any]] = [
    lambda rows: (rows.first() for _ in rows),
    lambda rows: (rows.turned() for _ in rows),
    lambda rows: (next(rows) for _ in rows),
    lambda rows: (next(rows, None) for _ in rows),
    lambda rows: (rows.__next__() for _ in rows),
    lambda rows: ([row for row in rows] for _ in rows),  # noqa: C416
]


def words_of(line: str) -> list[str]:
    return line.split()


class Lines:
    """It goes over itself, or its file, and has helpers that take nothing from there."""

    patterns = ("b", "d")

    def __init__(self, words: Callable[[str], list[str]] = words_of) -> None:
        self.words = words
        self.count = 0
        self.file = io.StringIO("a b\nc d\n")

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.count += 1
        return self.file.__next__()

    def find(self, line: str) -> str | None:
        return next((each for each in self.patterns if each in line), None)

    def found(self, line: str) -> bool:
        return any(self.find(word) is not None for word in line.split())

    def score(self, words: list[str]) -> int:
        return sum(len(self.words(word)) for word in words)

    def scores(self, words: list[str]) -> int:
        total = 0
        for word in words:
            total += len(self.words(word))
        return total

    def checked(self, line: str) -> str:
        if self.file is None or not self.file or not isinstance(self.file, io.StringIO):
            raise ValueError(self.file, line)
        for word in line.split():
            if not word.isalpha():
                raise ValueError(f"{self.file!r}, {self}: {word}")
        return line.strip()

    def open_lines(self, line: str) -> list[Any]:
        return [(each, self.file.closed, getattr(self.file, "name", "")) for each in line.split()]


class Overriding(Child):
    """Its parents' of that name take from the items."""

    def part(self) -> int:
        return 1


TAKES_NOT: dict[str, Callable[[], Any]] = {
    "a function of its own": lambda: (lambda m: (m.scores(t) for t in map(m.words, ["a b", "c"])))(Lines()),
    "the same": lambda: (lambda m: (m.score(t) for t in (words_of(d) for d in ["a b", "c"])))(Lines()),
    "next in a method": lambda: (lambda it: (it.find(line) for line in it))(Lines()),
    "next in two": lambda: (lambda it: (it.found(line) for line in it))(Lines()),
    "next": lambda: (lambda it: (next((p for p in it.patterns if p in line), None) for line in it))(Lines()),
    "next of another": lambda: (lambda it: (it.find(next(iter(line.split()))) for line in it))(Lines()),
    "bound": lambda: (lambda it, find: (find(line) for line in it))(*(lambda it: (it, it.find))(Lines())),
    "an error": lambda: (lambda r: (r.checked(line) for line in r.file))(Lines()),
    "an error, itself": lambda: (lambda r: (r.checked(line) for line in r))(Lines()),
    "closed": lambda: (lambda r: (r.open_lines(line) for line in r.file))(Lines()),
    "closed, in the body": lambda: (lambda r: ((line, r.file.closed) for line in r.file))(Lines()),
    "isinstance": lambda: (lambda r: ((isinstance(r, Lines), r.find(line)) for line in r))(Lines()),
    "overridden": lambda: (lambda t: (t.part() for _ in t.items))(Overriding()),
}  # fmt: skip

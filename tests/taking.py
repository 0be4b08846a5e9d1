"""Bodies that take from their own source, through what their objects do, and others that do not: for the tests
of lifting, here and under other Pythons."""

from __future__ import annotations

import array
import collections
import csv
import functools
import heapq
import io
import itertools
import logging
import math
import operator
import queue
import statistics
import sys
import types
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple


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

    def kept_with_another(self) -> int:
        items, last = self.items, 0
        return next(items, last)

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
    "variables": lambda t: ((x, t.kept_with_another()) for x in t.items),
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


class Counting:
    """An iterator of the user's that holds no other."""

    def __init__(self) -> None:
        self.count = 0

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        self.count += 1
        if self.count > 6:
            raise StopIteration
        return self.count

    def double(self, x: int) -> int:
        return 2 * x

    def following(self) -> int:
        return next(self)


class Feed:
    """Its records come by calls."""

    def __init__(self) -> None:
        self.records = collections.deque([1, 2, 3, 4, 5, 6, 0])

    def read(self) -> int:
        return self.records.popleft()

    def pair(self, x: int) -> Any:
        return x, self.read()

    def size(self, x: int) -> Any:
        return x, self.name(), len("records")

    def name(self) -> str:
        return type(self).__name__


def lines() -> io.StringIO:
    return io.StringIO("a\nb\nc\nd\n")


def bound(items: Any, method: str) -> Any:
    taken = getattr(items, method)
    return ((x, taken()) for x in items)


def called(owner: Any, method: str, last: Any) -> Any:
    take = getattr(owner, method)
    return ((x, take()) for x in iter(take, last))


def made_of(make: Callable[[Any], Any], items: Any) -> Any:
    taken = make(items)
    return ((x, taken()) for x in items)


def held(make: Callable[[Any], Any], use: Callable[[Any], Any], items: Any) -> Any:
    """A container that has the items, and what is done with it."""
    return use(make(items))(items)


BESIDE = lines()


def helper(line: str) -> Any:
    return line, other_helper()


def other_helper() -> str:
    return BESIDE.readline()


def with_default(x: int, items: Any) -> Any:
    return x, next(items, None)


GIVEN = (
    "frozenset(it)", "bytes(it)", "collections.Counter(it)", "array.array('i', it)", "heapq.nsmallest(2, it)", "math.prod(it)",
    "operator.contains(it, x + 1)", "operator.countOf(it, x == 3)", "next(itertools.pairwise(it), None)",
    "next(itertools.groupby(it), None)", "set().union(it)", "[].extend(it)", "dict.fromkeys(it)", "statistics.mean(it)",
    "functools.reduce(operator.add, it, 0)", "set().union([x], it)", "[x].extend(it) or log(x)", "itertools.chain([x], it)",
    "heapq.merge(it, [x])", "collections.Counter(iterable=it)", "mean(it)", "nlargest(2, it)", "frozenset(it) and log(it, x)",
)  # fmt: skip


IMPORTED = (array, collections, functools, heapq, io, itertools, logging, math, operator, statistics, sys, types, weakref)
MODULES = {each.__name__: each for each in IMPORTED}


def given_to(text: str) -> Any:
    """Over an iterator, a function that does that with it."""
    return eval(f"(lambda it: (lambda f: (f(x) for x in it))(lambda x: {text}))(iter(range(6)))", NAMES)


class Collecting:
    def __init__(self) -> None:
        self.items = iter(range(6))

    def collected(self) -> Any:
        return collections.Counter(self.items)


TAKES_BESIDE: dict[str, Callable[[], Any]] = {
    "bound __next__": lambda: bound(Counting(), "__next__"),
    "bound __next__ of a file": lambda: bound(lines(), "__next__"),
    "bound readline": lambda: bound(lines(), "readline"),
    "bound __next__ of rows": lambda: bound(csv.reader(lines()), "__next__"),
    "bound method": lambda: bound(Counting(), "following"),
    "partial": lambda: made_of(lambda it: partial(next, it), Counting()),
    "partial of a file": lambda: made_of(lambda it: partial(next, it, None), lines()),
    "partial of a method": lambda: made_of(lambda it: partial(it.readline), lines()),
    "partial of a function": lambda: made_of(lambda it: partial(lambda each: next(each), it), lines()),
    "default": lambda: made_of(lambda it: (lambda each=it: next(each)), Counting()),
    "closure": lambda: made_of(lambda it: (lambda: it.readline()), lines()),
    "closure of a closure": lambda: made_of(lambda it: (lambda: [next(it) for _ in "a"]), Counting()),
    "readline": lambda: called(lines(), "readline", ""),
    "popleft": lambda: called(collections.deque([1, 2, 3, 0]), "popleft", 0),
    "pop": lambda: called([0, 1, 2, 3], "pop", 0),
    "the user's": lambda: called(Feed(), "read", 0),
    "popleft in the body": lambda: (lambda q: ((x, q.popleft()) for x in iter(q.popleft, 0)))(Feed().records),
    "popleft of an attribute": lambda: (lambda f: ((x, f.records.popleft()) for x in iter(f.records.popleft, 0)))(Feed()),
    "the user's in the body": lambda: (lambda feed: ((x, feed.read()) for x in iter(feed.read, 0)))(Feed()),
    "the user's in a method": lambda: (lambda feed: (feed.pair(x) for x in iter(feed.read, 0)))(Feed()),
    "partial read": lambda: (lambda f: ((x, f.read(1)) for x in iter(partial(f.read, 2), "")))(lines()),
    "dict": lambda: held(lambda it: {"it": it}, lambda d: lambda it: ((x, next(d["it"])) for x in it), iter("abcd")),
    "dict of a file": lambda: held(lambda it: {"it": it}, lambda d: lambda it: ((x, d["it"].readline()) for x in it), lines()),
    "dict, any key": lambda: held(lambda it: {"it": it}, lambda d: lambda it: ([next(d[k]) for k in d] for _ in it), iter("abcd")),
    "dict, get": lambda: held(lambda it: {"it": it}, lambda d: lambda it: (next(d.get("it")) for _ in it), iter("abcd")),
    "list": lambda: held(lambda it: [0, it], lambda some: lambda it: ((x, next(some[1])) for x in it), iter("abcd")),
    "tuple": lambda: held(lambda it: (it,), lambda some: lambda it: ((x, next(some[-1])) for x in it), Counting()),
    "in an attribute": lambda: held(lambda it: Taken(it), lambda h: lambda it: ((x, next(h.parts["it"])) for x in it), Counting()),
    "in": lambda: (lambda it: (x in it for x in it))(Counting()),
    "a function with a comprehension": lambda: (lambda it: ((lambda: [[it for it in "a"], next(it, 0)])() for _ in it))(iter("abcd")),
    "helpers": lambda: (helper(line) for line in BESIDE),
    "handed on": lambda: (lambda f: (with_default(0, f) for line in f))(lines()),
    "any key of a file": lambda: (lambda d, key: (d[key].readline() for line in d["f"]))({"f": lines(), "n": 0}, "f"),
    "the counter": lambda: (lambda ids: ((x, next(ids)) for x in ids))(itertools.count()),
    "a queue of Python's": lambda: (lambda q: ((x, q.get_nowait()) for x in iter(q.get, 0)))(queue.Queue()),
    "behind a kind": lambda: (lambda it: ([x, *map(str, it)] for x in it))(iter("abcd")),
    "behind a function": lambda: (lambda it: ((x, list(filter(callable, it))) for x in it))(iter("abcd")),
    "behind a kind, as a text": lambda: (lambda it: (" ".join(map(str, it)) for x in it))(iter("abcd")),
    "behind a variable of such a name": lambda: (lambda it: (with_default(id, it) for id in it))(iter("abcd")),
    "behind an attribute of such a name": lambda: (lambda it: (with_default(x.type, it) for x in it))(iter("abcd")),
    "behind such a call": lambda: (lambda it: (with_default(len(x), it) for x in it))(iter("abcd")),
    "behind a key of such a name": lambda: (lambda it: (with_default(id, *[it]) for id in it))(iter("abcd")),
    "ordered dict": lambda: (lambda d: ((x, next(d["it"])) for x in d["it"]))(collections.OrderedDict(it=iter("abcd"))),
    "namedtuple": lambda: (lambda row: ((x, next(row.items)) for x in row.items))(Named(iter("abcd"))),
    "namedtuple, by place": lambda: (lambda row: ((x, next(row[0])) for x in row.items))(Named(iter("abcd"))),
    "deque": lambda: (lambda some: ((x, next(some[0])) for x in some[0]))(collections.deque([iter("abcd")])),
    "UserDict": lambda: (lambda d: ((x, next(d["it"])) for x in d["it"]))(collections.UserDict(it=iter("abcd"))),
    "get overridden": lambda: (lambda rows: ((x, rows.get(x)) for x in rows.it))(Getting(iter("abcd"))),
    "spread with keywords": lambda: (lambda it: (dict(a=print(*it, end="", file=io.StringIO())) for x in it))(iter("abcd")),
    "spread in a function": lambda: (lambda it: (lambda f: (f(x) for x in it))(lambda x: log(*it, x=x)))(iter("abcd")),
    "by keyword": lambda: (lambda it: (lambda f: (f(x) for x in it))(lambda x: with_default(x, items=it)))(iter("abcd")),
    "by keywords": lambda: (lambda it: (lambda f: (f(x) for x in it))(lambda x: with_default(items=it, x=x)))(iter("abcd")),
    "in a method": lambda: (lambda t: (t.collected() for x in t.items))(Collecting()),
    **{f"given in a function: {text}": lambda text=text: given_to(text) for text in GIVEN},
    "behind many": lambda: eval(f"(lambda d: (zip(({', '.join('x1' * 12)},), d) for x in d))(it)".replace("x1", "x, 1"), {"it": iter("ab")}),
}  # fmt: skip


def decorated(function: Callable[..., Any]) -> Any:
    @functools.wraps(function)
    def called(*args: Any, **named: Any) -> Any:
        return function(*args, **named)

    return called


class Keeping:
    """Its methods have names of such that take, or tell."""

    def __init__(self, x: int = 0, it: Any = None) -> None:
        self.it = it
        self.kept = lambda x, it: x

    def update(self, x: int, it: Any = None) -> int:
        self.it = it
        return x

    mean = contains = info = update


def refused(x: int, it: Any) -> int:
    if x > 9:
        raise RuntimeError("at", it, f"{x}") from None
    return x


ELSEWHERE: dict[str, Any] = {"__name__": "elsewhere"}
exec("def kind_of(it): return type(it).__name__\ndef described(x, it): return kind_of(it), x", ELSEWHERE)
KEPT = (
    "described(x, it)", "elsewhere.described(x, it)", "decorated(log)(x, it)", "always_decorated(x, it)", "Keeping(x, it).it is it",
    "Keeping().update(x, it)", "Keeping().mean(x, it=it)", "Keeping().contains(x, it)", "Keeping().info(x, it)",
    "Keeping().kept(x, it)", "[log][0](x, it)", "[].append(it)", "[].append((x, it))", "[x].extend((x, it))", "len({x: it})",
    "set().add(it)", "len({it} | {x})", "{}.setdefault(x, it) is it", "{}.get(it)", "{}.update(it=it)", "dict(it=it)['it'] is it",
    "setattr(types.SimpleNamespace(), 'it', it)", "types.SimpleNamespace(it=it).it is it", "hash(it) == hash(it)",
    "functools.partial(log, it)(x)", "sys.getsizeof(it) > 0", "logging.getLogger('mrpy.t').info('at %s', it)", "extend(x, it)",
    "RuntimeError('at', it) is None", "refused(x, it)", "fsum(it)", "max(x, *[len([x, it])])", "log(it, x, f'{x}')",
    "io.StringIO().write('{} {}'.format(x, it)) > 0", "operator.is_(it, None)",
)  # fmt: skip


def extend(x: int, it: Any) -> int:
    return x


def fsum(it: Any) -> bool:
    return it is not None


NAMES: dict[str, Any] = {
    **MODULES, "mean": statistics.mean, "nlargest": heapq.nlargest, "described": ELSEWHERE["described"], "Keeping": Keeping,
    "elsewhere": types.SimpleNamespace(**ELSEWHERE), "decorated": decorated, "refused": refused,
    "extend": extend, "fsum": fsum,
}  # fmt: skip


class Named(NamedTuple):
    items: Any


class Getting(dict[str, Any]):
    def __init__(self, items: Any) -> None:
        self.it = items

    def get(self, key: Any, default: Any = None) -> Any:
        return next(self.it)


class Taken:
    def __init__(self, items: Any) -> None:
        self.parts = {"it": items, "n": 3}
        self.n = 3


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "lambda": lambda it: lambda v: (v, next(it, None)),
    "function of a partial": lambda it: partial(with_default, items=it),
    "dict": lambda it: (lambda d: lambda v: (v, next(d["it"], None)))({"it": it}),
    "closure": lambda it: (lambda take: lambda v: (v, take()))(lambda: next(it, None)),
    "bound": lambda it: (lambda take: lambda v: (v, take()))(it.__next__),
    "method": lambda it: Beside(it).pair,
    "object": lambda it: Beside(it),
}  # fmt: skip


class Beside:
    """What its methods do with the items."""

    def __init__(self, items: Any) -> None:
        self.items = items
        self.sum = 0

    def pair(self, v: Any) -> Any:
        return v, next(self.items, None)

    __call__ = pair

    def alone(self, v: Any) -> Any:
        return v, type(self.items).__name__


SOURCES: dict[str, Callable[[], Any]] = {
    "list": lambda: iter([1, 2, 3, 4, 5, 6]), "generator": lambda: (x for x in range(6)), "file": lines,
    "the user's": Counting, "rows": lambda: csv.reader(lines()), "map": lambda: map(abs, range(6)),
}  # fmt: skip


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


def own_of_a_function() -> Any:
    it = iter("ab")
    return (lambda: next(it))()


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
    "its text": lambda: (lambda it: (f"{it!r:.3}" for _ in it))(iter("abcd")),
    "its text, in a function": lambda: (lambda it: ((lambda: f"{it!s:.3}")() for _ in it))(iter("abcd")),
    "a comprehension's own": lambda: (lambda it: (([next(it) for it in [iter("a")]], it is None) for _ in it))(iter("abcd")),
    "a function's own": lambda: (lambda it: ((own_of_a_function(), it is None) for _ in it))(iter("abcd")),
    "overridden": lambda: (lambda t: (t.part() for _ in t.items))(Overriding()),
}  # fmt: skip


SEPARATORS = {"sep": "b"}


def numbered(ids: Iterator[int]) -> Iterator[Any]:
    for line in lines():
        yield next(ids), line


def written(line: str, out: Any) -> int:
    return int(out.write(line))


def kind_of_file(line: str) -> Any:
    return line, BESIDE.isatty(), SEPARATORS["sep"]


class Reading:
    """It has the file, and its methods do something else with it."""

    def __init__(self) -> None:
        self.file = lines()
        self.out = io.StringIO()
        self.parts = {"file": self.file, "sep": "b"}

    def noted(self, line: str) -> Any:
        self.out.write(line)
        return line.split(self.parts["sep"]), self.file.isatty()


def named_rows() -> Any:
    rows = csv.DictReader(io.StringIO("a,b\n1,2\n3,4\n"))
    return rows if rows.fieldnames else None


def with_settings(function: Callable[..., Any]) -> Any:
    settings = {"file": lines(), "sep": "b", "n": 0}
    return map(lambda line: function(settings, line), settings["file"])


def counted_up(settings: dict[str, Any]) -> Any:
    settings["n"] += 1
    return settings["n"]


def set_to(settings: dict[str, Any], line: str) -> Any:
    settings["n"] = len(line)
    return line


def log(*args: Any, **named: Any) -> int:
    return len(args)


NAMES |= {"log": log, "always_decorated": decorated(log)}


def kept(x: int, *, items: Any = (), other: Any = ()) -> Any:
    return x, list(items), other is None


def kind_of(file: Any) -> Any:
    return type(file).__name__, file.closed


class Stateful:
    """Its state has the file, and other things."""

    def __init__(self) -> None:
        self.file = lines()
        self.state = {"file": self.file, "n": 0}
        self.parts = [self.file]

    def counted(self, line: str) -> bool:
        self.state["n"] += 1
        return self.state["n"] > 0

    def looked_at(self, line: str) -> Any:
        for _ in self.parts:
            pass
        return sorted(self.state), list(self.state), bool(self.parts), [part.closed for part in self.parts]

    def logged(self, line: str) -> str:
        logging.debug("at %s", self.file)
        print(self.file, file=io.StringIO())
        return line

    def renamed(self, line: str) -> Any:
        file = self.file
        return line, file.closed


class Known:
    """It goes over its file, and knows some lines."""

    def __init__(self) -> None:
        self.file = lines()
        self.lines = {"a\n"}

    def __iter__(self) -> Iterator[str]:
        yield from self.file

    def __contains__(self, line: str) -> bool:
        return line in self.lines

    def has(self, line: str) -> bool:
        return line in self


class KnownToGo(Known):
    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self.file)


def a_row_of_methods(length: int) -> Any:
    """Each calls the next one."""
    names: dict[str, Any] = {}
    for at in range(length):
        exec(f"def m{at}(self): return self.m{at + 1}()", names)
    names[f"m{length}"] = lambda self: length
    row = type("Row", (), names)()
    row.file = lines()
    return row


class NoFields(tuple[Any, ...]):
    _fields = None


class BadFields(tuple[Any, ...]):
    _fields = property(lambda self: 1 / 0)


class LazyDict(dict[str, Any]):
    _fields = ("a",)

    def values(self) -> Any:
        raise RuntimeError("not connected")


class LazyList(list[Any]):
    _fields = ("a",)

    def __len__(self) -> int:
        raise RuntimeError("not connected")


HOSTILE: list[Any] = [NoFields, BadFields, LazyDict, LazyList]


# Each is taken apart, though what it calls has to do with files, counters and calls.
APART: dict[str, Callable[[], Any]] = {
    "writes to another file": lambda: map(io.StringIO().write, lines()),
    "function that writes": lambda: (lambda out: map(lambda line: out.write(line), lines()))(io.StringIO()),
    "partial that writes": lambda: map(partial(written, out=io.StringIO()), lines()),
    "writes in the body": lambda: (lambda out: (out.write(line) for line in lines()))(io.StringIO()),
    "a counter in the source": lambda: map(str, numbered(itertools.count())),
    "another counter": lambda: (lambda ids: map(lambda row: (row, next(ids) < 99), numbered(itertools.count())))(itertools.count()),
    "another iterator": lambda: (lambda some: map(lambda v: (v, next(some["it"]) is None), lines()))({"it": itertools.repeat(None)}),
    "many iterators": lambda: (lambda some: (sum(1 for _ in some) for _ in iter([1, 2])))([[], [1]]),
    "settings in the body": lambda: (lambda d: (line.split(d["sep"]) for line in d["file"]))({"file": lines(), "sep": "b"}),
    "settings in a list": lambda: (lambda d: (line.split(d[1]) for line in d[0]))([lines(), "b"]),
    "how many settings": lambda: (lambda d: (len(d) for line in d[0]))([lines(), "b"]),
    "settings of an object": lambda: (lambda r: map(r.noted, r.file))(Reading()),
    "the same in a body": lambda: (lambda r: (r.noted(line) for line in r.file))(Reading()),
    "a method of itself": lambda: (lambda it: map(it.double, it))(Counting()),
    "another method of it": lambda: (lambda f: map(lambda line: (line, f.isatty()), f))(lines()),
    "bound": lambda: (lambda f, bound: ((line, bound()) for line in f))(*(lambda f: (f, f.isatty))(lines())),
    "partial": lambda: (lambda f: map(partial(lambda f, line: (line, f.isatty()), f), f))(lines()),
    "calls": lambda: (lambda feed: map(feed.size, iter(feed.read, 0)))(Feed()),
    "calls in a body": lambda: (lambda feed: (feed.size(x) for x in iter(feed.read, 0)))(Feed()),
    "calls of another": lambda: (lambda one, two: (two.name() for x in iter(one.read, 0)))(Feed(), Feed()),
    "the same look-up": lambda: (lambda d: ((d.get(x), x) for x in map(d.get, "ab")))({"a": "b", "b": "a"}),
    "named file": lambda: (lambda: (BESIDE.seek(0), map(kind_of_file, BESIDE))[1])(),
    "cached": lambda: map(functools.lru_cache(lambda v: v + 1), Counting()),
    "fields": lambda: (lambda rows: map(lambda row: [row[name] for name in rows.fieldnames], rows))(named_rows()),
    "fields in a body": lambda: (lambda rows: ([row[name] for name in rows.fieldnames] for row in rows))(named_rows()),
    "get": lambda: with_settings(lambda d, line: line.split(d.get("sep"))),
    "get or": lambda: with_settings(lambda d, line: line.split(d.get("other", "c"))),
    "in settings": lambda: with_settings(lambda d, line: ("sep" in d, "other" not in d)),
    "count up": lambda: with_settings(lambda d, line: (d.__setitem__("n", 1), counted_up(d))),
    "set": lambda: with_settings(set_to),
    "of any key": lambda: with_settings(lambda d, line, key="n": d[key]),
    "names of settings": lambda: with_settings(lambda d, line: (list(d), sorted(d), bool(d))),
    "state of an object": lambda: (lambda s: map(s.counted, s.state["file"]))(Stateful()),
    "parts of an object": lambda: (lambda s: map(s.looked_at, s.state["file"]))(Stateful()),
    "files": lambda: (lambda files: map(lambda line: [file.closed for file in files], files[0]))([lines(), lines()]),
    "puts something back": lambda: (lambda q: map(lambda x: q.insert(0, 0) if x > 5 else x, iter(q.pop, 0)))([0, 1, 2]),
    "logged": lambda: (lambda s: map(s.logged, s.file))(Stateful()),
    "logged by a function": lambda: (lambda it: map(lambda x: log("x", it), it))(iter([1, 2])),
    "logged by one in there": lambda: (lambda it, log: map(lambda x: log("x", it), it))(iter([1, 2]), lambda *args: len(args)),
    "logged in a body": lambda: (lambda it: (log("x", it) for x in it))(iter([1, 2])),
    "printed": lambda: (lambda it: map(lambda x: print(it, file=io.StringIO()), it))(iter([1, 2])),
    "hint": lambda: (lambda it: map(lambda x: operator.length_hint(it) >= 0, it))(iter([1, 2])),
    "logged as a text": lambda: (lambda it: map(lambda x: "{}{}".format(it, logging.debug("at %s", it)) > "", it))(iter([1, 2])),
    "logged behind a text": lambda: (lambda it: map(lambda x: log(f"{x}", it), it))(iter([1, 2])),
    "logged by keyword": lambda: (lambda it: map(lambda x: kept(x, other=it), it))(iter([1, 2])),
    "compared in a call": lambda: (lambda it: map(lambda x: str.upper(str(it is log())), it))(iter([1, 2])),
    "in a list in a call": lambda: (lambda it: map(lambda x: operator.not_([it, log()]), it))(iter([1, 2])),
    **{f"kept: {text}": lambda text=text: given_to(text) for text in KEPT},
    "kept weakly": lambda: (lambda it: map(lambda x: weakref.ref(it)() is it, it))(n for n in [1, 2]),
    "kind": lambda: (lambda f: map(lambda line: (kind_of(f), io.StringIO("a").read()), f))(lines()),
    "kind in a body": lambda: (lambda f: ((kind_of(f), io.StringIO("a").read()) for line in f))(lines()),
    "file by another name": lambda: (lambda s: map(s.renamed, s.file))(Stateful()),
    "partial print": lambda: (lambda it: (lambda show: map(lambda x: show(), it))(partial(print, it, file=io.StringIO())))(iter([1, 2])),
    "a set of lines": lambda: (lambda s: map(lambda line: line in s, s.file))(Known()),
    "a set of its own lines": lambda: (lambda s: map(s.has, s))(Known()),
    "a set of what it goes over": lambda: (lambda s: (line in s for line in s))(KnownToGo()),
    "a counter in both": lambda: (lambda ids: map(lambda row: next(ids) >= 0, numbered(ids)))(itertools.count()),
    "a counter in a body": lambda: (lambda ids: (next(ids) >= 0 for row in numbered(ids)))(itertools.count()),
    "hint in a body": lambda: (lambda it: (operator.length_hint(it) >= 0 for x in it))(iter([1, 2])),
    "shown behind others": lambda: (lambda it: (print(x, it, file=io.StringIO()) for x in it))(iter([1, 2])),
    "hostile": lambda: (lambda many, it: ((x, [each is None for each in many]) for x in it))([kind() for kind in HOSTILE], iter("ab")),
    **{f"hostile {kind.__name__}": lambda kind=kind: (lambda thing, it: ((x, thing is None) for x in it))(kind(), iter("ab")) for kind in HOSTILE},
    "methods in a row": lambda: (lambda row: (row.m0() for line in row.file))(a_row_of_methods(400)),
}  # fmt: skip

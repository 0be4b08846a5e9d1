"""What lifting promises, as a script without pytest: for other interpreters than the one the tests run on.

    python tests/lift_elsewhere.py      # cloudpickle and mrpy on the path
"""

from __future__ import annotations

import array
import csv
import functools
import io
import itertools
import operator
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from taking import APART, FUNCTIONS, SOURCES, TAKES, TAKES_BESIDE, TAKES_ITSELF, TAKES_NOT, Child, Rows

import mrpy
from mrpy.errors import LiftError
from mrpy.iterators.lift import lift
from mrpy.mapreduce.sources import Pulled
from mrpy.mapreduce.steps import Body

GLOBAL = 5


def double(x: int) -> int:
    return 2 * x


def fib(n: int) -> int:
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def upto(n: int) -> Iterator[int]:
    yield from range(n)


def advanced(iterable: Any, steps: int = 2) -> Iterator[Any]:
    iterator = iter(iterable)
    for _ in range(steps):
        next(iterator, None)
    return iterator


class Holder:
    rate = 3

    def __init__(self, k: int) -> None:
        self.k = k

    def scaled(self, xs: Any) -> Iterator[int]:
        return (self.k * self.rate * x for x in xs)


class Dispatching:
    @functools.singledispatchmethod
    def kind(self, x: object) -> str:
        return "object"

    @kind.register
    def _(self, x: int) -> str:
        return "int"


def dispatched() -> Any:
    """Python 3.13 keeps in its class what it has made for an object once."""
    it = Dispatching()
    return ([it.kind(x), Dispatching().kind("a")] for x in (1, "a") if it.kind(x))


TYPED = """
def typed[T](x: T): return x, [each.__name__ for each in typed.__type_params__]
class Typed[T]:
    def of[S](self, x: S): return x, [each.__name__ for each in Typed.__type_params__ + Typed.of.__type_params__]
"""
if sys.version_info >= (3, 12):
    exec(TYPED)
else:
    typed = double


class Scope:
    items = (x for x in [1, 2, 3])


def closure(n: int, xs: Any) -> Iterator[int]:
    return (x * n for x in xs if x != n)


def walrus(xs: Any) -> Iterator[Any]:
    y = None
    return ((x, y) for x in xs if (y := x % 3))


def recursive() -> Iterator[int]:
    def factorial(n: int) -> int:
        return 1 if n < 2 else n * factorial(n - 1)

    return (factorial(x) for x in range(8))


def late() -> Iterator[int]:
    made = (offset + x for x in range(5))  # noqa: F821
    offset = 10  # noqa: F841
    return made


def unbound() -> Iterator[int]:
    made = (offset + x for x in range(5))  # noqa: F821
    if not GLOBAL:
        offset = 10  # noqa: F841
    return made


def shared() -> Iterator[Any]:
    it = iter(range(9))
    return zip(it, map(double, it))


def of_a_class() -> Any:
    class Local:
        def value(self, x: int) -> int:
            return x + GLOBAL

    return (Local().value(x) for x in range(5))


PROGRAMS: list[Callable[[], Any]] = [
    lambda: (x * x for x in range(30)),
    lambda: (x for x in range(30) if x % 2 if x % 3),
    lambda: ((x, y) for x in range(6) if x % 2 for y in range(x) if y != 1),
    lambda: (a + 1 for a in (b * 2 for b in (c - 3 for c in (d for d in range(12) if d % 3)))),
    lambda: (x * GLOBAL for x in range(5)),
    lambda: (double(fib(x)) for x in range(9)),
    lambda: closure(3, range(9)),
    lambda: closure(3, (x for x in range(9))),
    lambda: walrus(range(9)),
    lambda: recursive(),
    lambda: late(),
    lambda: of_a_class(),
    lambda: dispatched(),
    lambda: map(Dispatching().kind, (1, "a")),
    lambda: map(typed, range(3)),
    lambda: map(Typed().of, range(3)) if sys.version_info >= (3, 12) else iter(()),  # noqa: F821
    lambda: Holder(2).scaled(range(5)),
    lambda: (x for x in advanced([1, 2, 3, 4])),
    lambda: (x for x in advanced("abcdef")),
    lambda: (x for x in advanced("\u00e9bcdef")),
    lambda: (x for x in advanced(range(9))),
    lambda: (x for x in advanced(range(2**70, 2**70 + 9))),
    lambda: (x for x in advanced(b"abcdef")),
    lambda: (x for x in advanced(bytearray(b"abcdef"))),
    lambda: (x for x in advanced(array.array("i", range(9)))),
    lambda: (x for x in advanced(reversed([1, 2, 3, 4]))),
    lambda: (x for x in advanced({"a": 1, "b": 2, "c": 3}.items())),
    lambda: (x for x in advanced(upto(9))),
    lambda: map(double, range(9)),
    lambda: map(operator.add, range(9), (x for x in range(5))),
    lambda: filter(None, map(lambda x: x % 3, range(9))),
    lambda: zip("abc", range(9)),
    lambda: enumerate((x * x for x in range(5)), 3),
    lambda: itertools.starmap(pow, [(2, 3), (3, 2)]),
    lambda: itertools.chain((x * x for x in range(4)), "ab", map(double, range(3))),
    lambda: itertools.chain.from_iterable([range(3), "ab"]),
    lambda: itertools.islice((x * x for x in itertools.count()), 3, 12, 2),
    lambda: ((k, sum(g)) for k, g in itertools.groupby(range(9), lambda x: x // 4)),
    lambda: itertools.chain.from_iterable(itertools.islice(it, 2) for it in [iter(range(9))] for _ in range(3)),
    lambda: shared(),
    lambda: (row["a"] for row in csv.DictReader(io.StringIO("a,b\n1,2\n3,4\n"))),
    lambda: ([y for y in range(x) if y % 2] for x in range(6)),
    lambda: ({y: [z for z in range(y)] for y in range(x)} for x in range(4)),
    lambda: ({y % 3 for y in range(x)} for x in range(6)),
    lambda: ([lambda: y for y in range(x)][-1]() for x in range(1, 4)),
    lambda: ((lambda y, *a, k=x: (y, a, k))(x, *range(x)) for x in range(4)),
    lambda: (f"{x!r:>4}{[y for y in range(x)]}" for x in range(4)),
    lambda: (first for first, *rest in ["ab", "c"]),
    lambda: (functools.reduce(operator.mul, (y + 1 for y in range(x)), 1) for x in range(6)),
    lambda: (x for x in []),
]


def answer(make: Callable[[], Any]) -> Any:
    items: list[Any] = []
    try:
        items.extend(make())
    except Exception as error:
        return items, type(error), str(error)
    return items


def check_programs(backend: str) -> None:
    for workers, chunksize in ((1, "auto"), (2, 2)):
        with mrpy.session(backend, workers=workers, chunksize=chunksize):
            for number, make in enumerate([*PROGRAMS, unbound]):
                expected, got = answer(make), answer(lambda make=make: mrpy.parallel(make()))
                assert got == expected, (backend, number, got, expected)


def check_fusion() -> None:
    plan = lift(a + 1 for a in (b * 2 for b in (c for c in range(9))))
    assert len(plan.steps) == 3 and not isinstance(plan.source, Pulled), plan
    for source in ([1, 2], (1, 2), "ab", "\u00e9", b"ab", bytearray(b"ab"), range(3), range(2**70), array.array("d", [1])):
        for iterable in (source, iter(source), (x for x in source)):
            assert not isinstance(lift(iterable).source, Pulled), source
    walrussed = lift(walrus(range(3))).steps[0]
    assert isinstance(walrussed, Body) and walrussed.binds
    assert not lift(closure(1, [])).steps[0].binds  # type: ignore[union-attr, attr-defined]
    inner = lift([y := x, y][1] for x in range(3)).steps[0]  # in a function: a variable of it
    assert isinstance(inner, Body) and inner.binds


def check_taking_over() -> None:
    generator = (x for x in range(5))
    run = mrpy.parallel(generator, backend="serial")
    assert list(generator) == [] and list(run) == [0, 1, 2, 3, 4]
    for iterator in (iter([1, 2, 3]), iter(range(3)), iter("abc"), iter((1, 2)), iter(b"ab")):
        run = mrpy.parallel((x for x in iterator), backend="serial")
        assert list(iterator) == [] and len(list(run)) > 1
    started = (x for x in range(3))
    next(started)
    for wrong, words in ((started, "already started"), (upto(3), "generator function")):
        try:
            mrpy.parallel(wrong)
        except LiftError as error:
            assert words in str(error)
        else:
            raise AssertionError(words)
    assert list(mrpy.pmap(str, upto(3), backend="serial")) == ["0", "1", "2"]


def check_sharing() -> None:
    taking = {**{name: make(Child()) for name, make in TAKES.items()}, **{str(make): make(Rows()) for make in TAKES_ITSELF}}
    taking |= {f"{name}, beside": make() for name, make in TAKES_BESIDE.items()}
    for name, generator in taking.items():
        try:
            mrpy.parallel(generator)
        except LiftError as error:
            assert "takes items from what it goes over" in str(error), (name, error)
        else:
            raise AssertionError(name)
    for name, make in TAKES_NOT.items():
        assert list(mrpy.parallel(make(), backend="serial")) == list(make()), name
    for name, make in APART.items():
        assert lift(make()).steps, name
        assert list(mrpy.parallel(make(), backend="serial")) == list(make()), name
    for source in SOURCES.values():
        for name, function in FUNCTIONS.items():
            assert not lift(map(function(items := source()), items)).steps, name


def check_text() -> None:
    text = str(lift(x * 2 for x in range(3)))
    assert text == "range(0, 3) -> (x * 2 for x in range(3))", text


def main() -> None:
    warnings.simplefilter("error")
    check_fusion()
    check_taking_over()
    check_text()
    check_sharing()
    assert list(mrpy.parallel(Scope.items, backend="serial")) == [1, 2, 3]
    for backend in ("serial", "threads", "processes"):
        check_programs(backend)
        print(backend, "fine")


if __name__ == "__main__":
    main()
    print("%d.%d" % sys.version_info[:2])

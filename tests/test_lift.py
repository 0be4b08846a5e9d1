"""Lifting in detail: what is taken over, what is refused, what is bound; and the same under other Pythons."""

from __future__ import annotations

import array
import collections
import contextlib
import csv
import dataclasses
import gc
import importlib.util
import inspect
import io
import itertools
import operator
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import pytest
from laws import BACKENDS, LOCAL
from taking import APART, FUNCTIONS, SOURCES, TAKES, TAKES_BESIDE, TAKES_ITSELF, TAKES_NOT, Child, Rows

import mrpy
from mrpy.errors import LiftError
from mrpy.iterators import sharing
from mrpy.iterators.lift import lift
from mrpy.mapreduce.sources import Pulled, Sliced
from mrpy.mapreduce.steps import Body

over_local = pytest.mark.parametrize("backend", LOCAL)


def binds(generator: Any) -> bool:
    step = lift(generator).steps[0]
    assert isinstance(step, Body)
    return step.binds


# ---- parts that are run by themselves --------------------------------------------------------------------------


def late(n: int) -> int:
    time.sleep(0.05 if n % 4 == 0 else 0)  # others overtake it
    return n


PARTS: dict[str, Callable[[Iterator[int]], Iterator[Any]]] = {
    "zip": lambda ys: ((x, y) for x, y in zip(map(late, range(12)), ys)),
    "map of two": lambda ys: map(operator.sub, map(late, range(12)), ys),
    "enumerate": lambda ys: enumerate(map(late, map(operator.neg, ys))),
    "islice": lambda ys: map(str, itertools.islice(map(late, ys), 3, 9)),
    "chain": lambda ys: map(str, itertools.chain(map(late, ys), "ab")),
    "zip in a chain": lambda ys: itertools.chain(zip(map(late, range(12)), ys), map(late, [4])),
}


@over_local
@pytest.mark.parametrize("part", PARTS)
def test_pairs_and_places_hold_where_the_whole_is_not_ordered(backend: str, part: str) -> None:
    expected = sorted(PARTS[part](iter(range(0, 120, 10))), key=repr)
    pulled = (n for n in (*range(0, 120, 10),))
    got = mrpy.parallel(PARTS[part](pulled), backend=backend, workers=2, chunksize=1, ordered=False)
    assert sorted(got, key=repr) == expected


# ---- taken over ------------------------------------------------------------------------------------------------


def test_a_lifted_generator_is_closed() -> None:
    generator = (x for x in range(5))
    run = mrpy.parallel(generator, backend="serial")
    assert inspect.getgeneratorstate(generator) == inspect.GEN_CLOSED
    assert list(generator) == []
    assert list(run) == list(range(5))
    with pytest.raises(LiftError, match="handed over before"):
        mrpy.parallel(generator)


def test_the_generators_inside_are_closed_too() -> None:
    inner = (x for x in range(5))
    middle = (x for x in inner)
    run = mrpy.parallel((x for x in middle), backend="serial")
    assert list(inner) == list(middle) == []
    assert list(run) == list(range(5))


ITERATORS: dict[str, Callable[[], Any]] = {
    "list": lambda: [1, 2, 3, 4], "tuple": lambda: (1, 2, 3, 4), "str": lambda: "abcd", "wide str": lambda: "a\u00e9cd",
    "bytes": lambda: b"abcd", "bytearray": lambda: bytearray(b"abcd"), "range": lambda: range(1, 9, 2),
    "falling range": lambda: range(9, 1, -2), "huge range": lambda: range(2**70, 2**70 + 4),
    "array": lambda: array.array("i", [1, 2, 3, 4]), "numpy": lambda: numpy.arange(4),
}  # fmt: skip


@pytest.mark.parametrize("steps", [0, 1, 3, 4, 5])
@pytest.mark.parametrize("name", ITERATORS)
def test_an_iterator_is_taken_over_from_where_it_stands(name: str, steps: int) -> None:
    iterator, twin = iter(ITERATORS[name]()), iter(ITERATORS[name]())
    for _ in range(steps):
        next(iterator, None)
        next(twin, None)
    plan = lift(x for x in iterator)
    if steps < 4:
        assert isinstance(plan.source, Sliced)
    if name != "huge range":
        assert list(iterator) == [], "whoever else holds it finds it at its end"
    assert list(mrpy.ParallelIterator(plan, {"backend": "serial"})) == list(twin)


def test_a_reversed_list_is_taken_from_where_it_stands() -> None:
    for sequence in ([1, 2, 3, 4], "abcd", (1, 2), range(5), []):
        for steps in range(4):
            iterator, twin = reversed(sequence), reversed(sequence)
            for _ in range(steps):
                next(iterator, None)
                next(twin, None)
            assert list(mrpy.parallel((x for x in iterator), backend="serial")) == list(twin)
            assert list(iterator) == []


def test_a_sequence_is_not_taken_over_but_read() -> None:
    xs = [1, 2, 3]
    runs = [mrpy.parallel((x for x in xs), backend="serial") for _ in range(2)]
    assert [list(run) for run in runs] == [[1, 2, 3], [1, 2, 3]]


@over_local
def test_a_slice_of_an_iterator_leaves_the_rest(backend: str) -> None:
    """The idiom for working in portions."""
    for source in (range(10), list(range(10)), (x for x in range(10) if x >= 0), itertools.count()):
        iterator = iter(source)
        got = []
        for _ in range(3):
            portion = mrpy.parallel((x * x for x in itertools.islice(iterator, 3)), backend=backend, workers=2)
            got.append(list(portion))
            if not isinstance(source, itertools.count) and inspect.isgenerator(source):
                break  # a generator is a program, and taken over
        assert got == [[0, 1, 4], [9, 16, 25], [36, 49, 64]][: len(got)]
    lines = iter(["a", "b", "c"])
    assert list(mrpy.parallel(itertools.islice(lines, 2), backend=backend, workers=2)) == ["a", "b"]
    assert list(lines) == ["c"]


@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_what_is_sliced_runs_in_parallel_unless_somebody_else_holds_it(backend: str) -> None:
    here = f"{os.getpid()} {threading.get_ident()}"
    programs: dict[str, Callable[[Any], Any]] = {
        "map": lambda where: map(where, range(50)),
        "generator": lambda where: (where(x) for x in range(50)),
        "map of a filter": lambda where: map(where, filter(None, range(1, 51))),
        "slice": lambda where: itertools.islice(map(where, range(50)), 40),
    }
    for name, program in programs.items():
        where = lambda x: f"{os.getpid()} {threading.get_ident()}"  # noqa: E731
        for made in (itertools.islice(program(where), 2, 9), itertools.chain(itertools.islice(program(where), 7))):
            places = list(mrpy.parallel(made, backend=backend, workers=2))
            assert len(places) == 7
            assert here not in places, name
        held = map(where, range(9))
        assert list(mrpy.parallel(itertools.islice(held, 4), backend=backend, workers=2)) == [here] * 4
        assert len(list(held)) == 5, "it goes on behind the slice"


PORTIONS: dict[str, Callable[[Iterator[int]], Any]] = {
    "genexpr": lambda it: (x * x for x in it), "map": lambda it: map(operator.neg, it),
    "filter": lambda it: filter(lambda x: x % 2, it), "starmap": lambda it: itertools.starmap(pow, zip(it, it)),  # noqa: B905
    "nested": lambda it: enumerate(x for x in map(abs, filter(None, it))), "zip": lambda it: zip(it, range(99)),  # noqa: B905
    "chain": lambda it: itertools.chain(map(abs, it), "end"), "slice": lambda it: itertools.islice(map(abs, it), 50),
    "from_iterable": lambda it: itertools.chain.from_iterable((x, x) for x in it),
}  # fmt: skip
HELD: dict[str, Callable[[], Iterator[int]]] = {
    "list": lambda: iter(list(range(40))), "range": lambda: iter(range(40)), "count": lambda: itertools.count(),
    "generator": lambda: (x + 1 for x in range(40)), "map": lambda: map(abs, range(40)), "array": lambda: iter(numpy.arange(40)),
}  # fmt: skip


@pytest.mark.parametrize("source", HELD)
@pytest.mark.parametrize("name", PORTIONS)
def test_a_slice_of_a_program_leaves_the_rest_to_who_holds_its_source(name: str, source: str) -> None:
    held, plain = HELD[source](), HELD[source]()
    for _ in range(3):
        portion = mrpy.parallel(itertools.islice(PORTIONS[name](held), 3), backend="threads", workers=2)
        assert list(portion) == list(itertools.islice(PORTIONS[name](plain), 3))
    assert next(held) == next(plain)


def test_a_slice_runs_where_its_session_is_when_it_is_iterated() -> None:
    run = mrpy.parallel(itertools.islice(map(abs, range(9)), 2, 7))
    assert str(run) == "islice 2 to 7 of [range(0, 9) -> map abs]"
    with mrpy.session("serial"):
        assert list(run) == [2, 3, 4, 5, 6]
        assert "serial, 1 worker" in run.explain()
    plan = lift(itertools.islice(map(abs, range(9)), 2, None, 3))
    assert str(plan) == "islice 2 to the end by 3 of [range(0, 9) -> map abs]"


# ---- runs that have not begun --------------------------------------------------------------------------------------


@mrpy.stage
def doubled(items: Any) -> Iterator[Any]:
    for item in items:
        yield 2 * item


@over_local
def test_a_run_that_has_not_begun_is_a_program_and_fuses(backend: str) -> None:
    for make in (lambda: doubled(range(9)), lambda: mrpy.pmap(operator.neg, range(9))):
        plain = list(make())
        run = mrpy.parallel((x + 1 for x in make() if x != 4), backend=backend, workers=2)
        assert str(run).startswith("range(0, 9) -> ") and str(run).count(" -> ") == 2
        assert list(run) == [x + 1 for x in plain if x != 4]
        assert "2 steps fused" in run.explain()
        shown = str(mrpy.parallel(zip(make(), "abc"), backend=backend))  # noqa: B905
        assert shown.startswith("zip of [range(0, 9) -> "), shown
        assert list(mrpy.parallel(map(abs, make()), backend=backend)) == list(map(abs, plain))
        assert list(mrpy.parallel(itertools.chain(make(), make()), backend=backend)) == plain * 2


@over_local
def test_a_run_that_was_taken_over_is_at_its_end(backend: str) -> None:
    inner = mrpy.pmap(abs, range(5))
    outer = mrpy.parallel((x for x in inner), backend=backend, workers=2)
    assert list(inner) == []
    assert list(outer) == [0, 1, 2, 3, 4]
    assert list(mrpy.parallel((x for x in inner), backend=backend, workers=2)) == []


@over_local
def test_a_run_that_has_begun_or_has_options_of_its_own_is_a_source(backend: str) -> None:
    begun = mrpy.pmap(abs, range(5), backend="serial")
    assert next(begun) == 0
    run = mrpy.parallel((x + 1 for x in begun), backend=backend, workers=2)
    assert list(run) == [2, 3, 4, 5]
    other = mrpy.pmap(lambda x: 1 // x, range(3), backend="serial", on_error="skip")
    run = mrpy.parallel((x + 1 for x in other), backend=backend, workers=2)
    assert "pulled by the consumer" in run.explain()
    assert list(run) == [2, 1]
    same = mrpy.pmap(lambda x: 1 // x, range(3), backend=backend, on_error="skip")
    run = mrpy.parallel((x + 1 for x in same), backend=backend, on_error="skip")
    assert "2 steps fused" in run.explain()
    assert list(run) == [2, 1]


def test_a_run_that_was_taken_over_twice_gives_its_items_once() -> None:
    once = doubled(range(3))
    assert list(mrpy.parallel(itertools.chain(once, once), backend="serial")) == [0, 2, 4]
    once = doubled(range(4))
    assert list(mrpy.parallel(zip(once, once), backend="serial")) == [(0, 2), (4, 6)]  # noqa: B905


def test_a_lifted_generator_lets_go_of_what_it_held() -> None:
    class Big:
        pass

    big = Big()
    gone = weakref.ref(big)
    generator = (x for x in range(3) if big)
    run = mrpy.parallel(generator, backend="serial")
    del big, generator
    assert list(run) == [0, 1, 2]
    del run
    gc.collect()
    assert gone() is None


# ---- refused -----------------------------------------------------------------------------------------------------


def upto(n: int) -> Iterator[int]:
    yield from range(n)


def test_what_is_no_program_is_refused_with_a_remedy() -> None:
    started = (x for x in range(3))
    next(started)
    ended = (x for x in range(0))
    list(ended)
    for generator, words in ((started, "already started"), (upto(3), "@mrpy.stage")):
        with pytest.raises(LiftError, match=words) as caught:
            mrpy.parallel(generator)
        assert "mrpy.pmap" in str(caught.value)
    with pytest.raises(LiftError, match="already started and has ended.*; make it anew"):
        mrpy.parallel(ended)
    assert list(mrpy.pmap(str, started, backend="serial")) == ["1", "2"]
    assert list(mrpy.stream(upto(2), backend="serial")) == [0, 1]


def test_inside_of_a_program_what_cannot_be_lifted_is_a_plain_source() -> None:
    started = (x for x in range(5))
    next(started)
    for source in (started, upto(5)):
        plan = lift(x + 1 for x in source)
        assert isinstance(plan.source, Pulled) and len(plan.steps) == 1
    assert list(mrpy.parallel((x for x in upto(3)), backend="serial")) == [0, 1, 2]


def test_a_generator_that_runs_just_now_is_refused() -> None:
    def look() -> int:
        with pytest.raises(LiftError, match="already started"):
            mrpy.parallel(generator)
        return 1

    generator = (look() for _ in range(1))
    assert list(generator) == [1]


@over_local
def test_an_unbound_variable_is_the_error_of_a_plain_loop(backend: str) -> None:
    def make() -> Any:
        made = (offset + x for x in range(3))  # noqa: F821
        if os.sep == "none":
            offset = 1  # noqa: F841
        return made

    with pytest.raises(NameError) as plain:
        list(make())
    with pytest.raises(NameError) as ours:
        list(mrpy.parallel(make(), backend=backend, workers=2))
    assert (type(ours.value), str(ours.value)) == (type(plain.value), str(plain.value))


# ---- what is bound -----------------------------------------------------------------------------------------------


def test_a_walrus_that_binds_outside_is_seen() -> None:
    y = z = 0
    assert binds(y for x in range(3) if (y := x))
    assert binds([(z := x) for _ in range(2)] for x in range(3))
    assert not binds(x for x in range(3))
    assert not binds([q for q in range(x)] for x in range(3))
    assert not binds((lambda: x)() for x in range(3))
    assert not binds((lambda a: [a := 1, a])(x) for x in range(3))
    assert not binds((y, z) for x in range(3))


def accumulated() -> list[Any]:
    total, flag = 0, False
    return [
        (total := total + x for x in range(5)),
        (x for x in range(5) if flag or (flag := x > 1)),
        (max([total := total + y for y in range(3)]) for x in range(2)),
    ]


OF_COMPREHENSIONS = [
    "([(t, (t := x)) for _ in range(1)] for x in xs)",
    "((t, (t := x), [t for t in 'a']) for x in xs)",
    "([(t := x + i) for i in range(2)] for x in xs if t != 3)",
    "([(t := x + y) for y in [t]] for x in xs)",
    "(sum((t := x + y) for y in [t]) for x in xs)",
    "((lambda: t)() + len([(lambda: t)() for t in 'a']) + (t := x) for x in xs)",
    "((lambda: [t for t in 'a'] + [t])() for x in xs if (lambda: t)() or (t := x))",
]


@pytest.mark.parametrize("text", ["made = {}", "def make(t):\n    return {}\nmade = make(t)"], ids=["global", "local"])
@pytest.mark.parametrize("body", OF_COMPREHENSIONS)
def test_a_comprehension_hides_nothing_that_is_read_before_it_is_bound(body: str, text: str) -> None:
    """From Python 3.12 on it is no function of its own, and its variables are among those it is in."""
    space: dict[str, Any] = {"xs": range(5), "t": 0}
    exec(text.format(body), space)
    with pytest.raises(LiftError, match="reads 't' before it binds it"):
        mrpy.parallel(space["made"])


def bound_anew() -> list[Any]:
    y = total = 0
    return [
        (y for x in range(5) if (y := x % 3)),
        ((y := x) + y for x in range(5)),
        (max([total := total + y for y in range(3)]) for x in range(2) if (total := 0) is not None),
        (max(total := total + y for y in range(3)) for x in range(2) if (total := 0) is not None),
        ((lambda own: [own := own + y for y in range(x)][-1:])(0) for x in range(3)),
        ([total for total in "ab"] + [(total := x), total] for x in range(3)),
        ([(lambda: total)() for total in "ab"] + [(lambda own: [own for own in own])("ab"), (total := x)] for x in range(3)),
        ((sum((total := y) for y in [x]), total) for x in range(3)),
        ([(total := y) for y in [y for y in [x]]] + [total] for x in range(3)),
    ]


def test_a_walrus_that_is_read_before_it_is_bound_is_refused_as_a_program_and_a_source_otherwise() -> None:
    for generator in accumulated():
        with pytest.raises(LiftError, match="reads '(total|flag)' before it binds it.*accumulate"):
            mrpy.parallel(generator)
    for ours, plain in zip(accumulated(), accumulated(), strict=True):
        assert list(mrpy.pmap(abs, ours, backend="threads", workers=2, chunksize=2)) == list(plain)
    for ours, plain in zip(bound_anew(), bound_anew(), strict=True):
        assert list(mrpy.parallel(ours, backend="threads", workers=2, chunksize=2)) == list(plain)


@pytest.mark.parametrize("count", [3, 200, *range(250, 260), 600])
def test_a_walrus_is_seen_among_many_variables(count: int) -> None:
    """Beyond 256 of them an operand takes more than one byte."""
    names = [f"v{n}" for n in range(count)]
    text = "def make():\n"
    text += "".join(f"    {name} = 0\n" for name in names)
    text += f"    return [({' + '.join(names)} + x for x in range(3)),\n"
    text += f"            (zlast for x in range(3) if (zlast := {' + '.join(names)} + x) or 1),\n"
    text += f"            ((lambda: ({', '.join(names)}, x, y))()[-1] for x in range(3) for y in [x]),\n"
    text += f"            (w for x in range(3) for w in [x, {', '.join(names)}] if (lambda: w)() > 5)]\n"
    text += "    zlast = 0\n"
    space: dict[str, Any] = {}
    exec(compile(text.replace("    return", "    zlast = 0\n    return", 1), "<many>", "exec"), space)
    assert [binds(generator) for generator in space["make"]()] == [False, True, False, False]
    for plain, ours in zip(space["make"](), space["make"](), strict=True):
        assert list(mrpy.parallel(ours, backend="threads", workers=2)) == list(plain)


def test_two_threads_do_not_see_each_others_walrus() -> None:
    y = None
    meet = threading.Barrier(2)

    def wait() -> bool:
        meet.wait(5)
        return True

    run = mrpy.parallel(((x, y) for x in range(20) if (y := x) is not None if wait()), backend="threads", workers=2, chunksize=10)
    assert all(x == y for x, y in run)
    assert y is None


def test_two_threads_do_not_see_each_others_walrus_where_a_comprehension_has_a_variable_of_its_name() -> None:
    space: dict[str, Any] = {"meet": threading.Barrier(2), "t": None}
    text = "(x == t for x in range(20) if ((t := x), [(lambda: t)() for t in 'a'], meet.wait(5)))"
    assert all(mrpy.parallel(eval(text, space), backend="threads", workers=2, chunksize=10))
    assert space["t"] is None


CACHE: dict[str, int] | None = None


def loaded() -> dict[str, int]:
    global CACHE
    CACHE = CACHE or {"a": 1}
    return CACHE


@pytest.mark.parametrize("backend", ["serial", "threads"])
def test_a_walrus_in_a_function_leaves_globals_to_be_read_at_each_use(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "CACHE", None)
    made = (y * CACHE["a"] for x in range(3) if (y := x + 1) and loaded())  # type: ignore[index]
    assert list(mrpy.parallel(made, backend=backend, workers=2)) == [1, 2, 3]


def test_the_hidden_name_of_the_source_is_no_variable() -> None:
    generator = (x for x in range(3))
    assert list(generator.gi_frame.f_locals) == [".0"]
    plan = lift(generator)
    step = plan.steps[0]
    assert isinstance(step, Body)
    assert list(step.function(iter([7, 8]))) == [7, 8]
    assert step.function.__code__.co_varnames[0] == ".0"


@over_local
def test_a_generator_of_a_class_body_is_lifted(backend: str) -> None:
    class Scope:
        k = 3
        made = (x for x in [k, k + 1])

    assert list(mrpy.parallel(Scope.made, backend=backend, workers=2)) == [3, 4]

    class Unseen:
        k = 3
        made = (x * k for x in range(2))  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(NameError, match="'k' is not defined"):
        list(mrpy.parallel(Unseen.made, backend=backend, workers=2))


# ---- side by side --------------------------------------------------------------------------------------------------


def bodies(items: Iterator[int]) -> Iterator[list[int]]:
    while body := list(itertools.islice(items, 2)):
        yield body


class Reader:
    def __init__(self, items: Iterator[int]) -> None:
        self.items = items

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        return next(self.items)


SHARED: dict[str, Callable[[Any], Any]] = {
    "zip": lambda it: zip(it, it, strict=False),
    "zip of three": lambda it: zip(it, it, it, strict=False),
    "zip with map": lambda it: zip(it, map(str, it), strict=False),
    "zip with filter": lambda it: zip(filter(None, it), it, strict=False),
    "zip with a generator": lambda it: zip((x for x in it), it, strict=False),
    "two generators": lambda it: zip((x for x in it), (-x for x in it), strict=False),
    "deep": lambda it: zip(enumerate(map(abs, (x for x in it))), itertools.chain([0], it), strict=False),
    "map": lambda it: map(lambda a, b: (a, b), it, it),
    "map with islice": lambda it: map(lambda a, b: (a, b), itertools.islice(it, 2), it),
    "chain": lambda it: itertools.chain(itertools.islice(it, 2), ["|"], it),
    "chain of generators": lambda it: itertools.chain((x for x in itertools.islice(it, 2)), it),
    "chain of the same": lambda it: itertools.chain(it, it),
    "starmap": lambda it: itertools.starmap(lambda a, b: (a, b), zip(it, it, strict=False)),
    "from_iterable": lambda it: itertools.chain.from_iterable(itertools.islice(it, 2) for _ in range(3)),
    "zip with pairwise": lambda it: zip(it, itertools.pairwise(it), strict=False),
    "zip with from_iterable": lambda it: zip(itertools.chain.from_iterable([it]), it, strict=False),
    "zip with a generator function": lambda it: zip(it, bodies(it), strict=False),
    "zip with a closure": lambda it: zip(it, iter(lambda: next(it, None), None), strict=False),
    "zip with calls": lambda it: zip(map(abs, it), iter(it.__next__, None), strict=False),
    "zip with an object": lambda it: zip(it, Reader(it), strict=False),
    "chain of generators over one": lambda it: itertools.chain(
        (x for x in itertools.takewhile(lambda x: x < 3, it)), (10 * x for x in it)
    ),
    "started chain": lambda it: itertools.islice(itertools.chain(itertools.islice(it, 1), it), 1, None),
}  # fmt: skip


@over_local
@pytest.mark.parametrize("source", ["list", "map", "generator", "count"])
@pytest.mark.parametrize("name", SHARED)
def test_an_iterator_at_two_places_of_a_program_is_pulled_in_turns(name: str, source: str, backend: str) -> None:
    make: dict[str, Callable[[], Iterator[int]]] = {
        "list": lambda: iter([1, 2, 3, 4, 5, 6, 7]), "map": lambda: map(abs, range(-7, 0)),
        "generator": lambda: (x for x in range(1, 8)), "count": lambda: itertools.islice(itertools.count(1), 7),
    }  # fmt: skip
    expected = list(SHARED[name](make[source]()))
    assert list(mrpy.parallel(SHARED[name](make[source]()), backend=backend, workers=2)) == expected
    assert list(mrpy.parallel((x for x in SHARED[name](make[source]())), backend=backend, workers=2)) == expected


GLOBAL, FILE = iter(range(6)), io.StringIO("a\nb\n")
rows = iter("this is no variable of the next, but an attribute has its name")


class Row:
    def __init__(self, *rows: int) -> None:
        self.rows = rows


@over_local
def test_a_dict_is_copied_when_the_iterator_is_made_and_a_list_is_read_as_it_is(backend: str) -> None:
    amounts, numbers = {"a": 1}, [1]
    of_dict = [mrpy.parallel((n * 10 for n in amounts.values()), backend=backend, workers=1)]
    of_dict += [mrpy.pmap(abs, amounts.values(), backend=backend, workers=1)]
    of_list = mrpy.parallel((n * 10 for n in numbers), backend=backend, workers=1)
    amounts["a"] = numbers[0] = 7
    assert [list(run) for run in of_dict] == [[10], [1]]
    assert list(of_list) == [70]


def test_an_attribute_is_no_global_variable() -> None:
    assert list(mrpy.parallel((len(row.rows) for row in [Row(1, 2), Row()]), backend="serial")) == [2, 0]
    assert list(mrpy.parallel((len(row.rows) for row in iter([Row(1, 2), Row()])), backend="serial")) == [2, 0]
    assert "zip of" in str(lift(zip((len(row.rows) for row in [Row(1)]), map(str, rows), strict=False)))


def test_what_is_gone_over_is_not_looked_into() -> None:
    items = iter([iter("ab")] * 3)
    assert list(sharing._reached([items])[0].values()) == [items]
    many = itertools.chain(*[map(abs, itertools.takewhile(bool, GLOBAL))] * 150, GLOBAL)
    assert sharing.share([many])


ENDED = """
import itertools, mrpy
rows = itertools.zip_longest(["name", "a", "b"], ["size"])
next(rows), next(rows)
print(list(mrpy.parallel(map(str, rows), backend="serial")))
"""


def test_zip_longest_of_which_an_input_has_ended_is_a_source() -> None:
    """Python has nothing in the place of that input, and crashes where one goes through the tuple of them."""
    done = subprocess.run([sys.executable, "-c", ENDED], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, """["('b', None)"]\n"""), done.stderr


@over_local
def test_a_body_that_takes_from_its_source_is_refused_as_a_program_and_a_source_otherwise(backend: str) -> None:
    def pairs() -> Iterator[tuple[int, int | None]]:
        items = iter(range(6))
        return ((x, next(items, None)) for x in items)

    with pytest.raises(LiftError, match="takes items from what it goes over"):
        mrpy.parallel(pairs())
    with pytest.raises(LiftError, match="takes items from what it goes over"):
        mrpy.parallel((x, next(GLOBAL)) for x in GLOBAL)
    with pytest.raises(LiftError, match="takes items from what it goes over"):
        mrpy.parallel((line, next(FILE)) for line in FILE)
    with pytest.raises(LiftError, match="takes items from what it goes over"):
        mrpy.parallel((line, FILE.readline()) for line in FILE)
    for records in ("lines", "rows", "stripped", "by_itself", "bound"):
        with pytest.raises(LiftError, match="takes items from what it goes over"):
            mrpy.parallel(getattr(Pairs(), records)())
    assert list(mrpy.pmap(sum, pairs(), backend=backend)) == [1, 5, 9]


def test_a_generator_that_has_ended_is_said_to_have() -> None:
    squares = (x * x for x in range(3))
    assert [*squares, *mrpy.pmap(abs, squares, backend="serial")] == [0, 1, 4]
    with pytest.raises(LiftError, match="was already started and has ended; make it anew"):
        mrpy.parallel(squares)


HANDED: dict[str, Callable[[], Iterator[Any]]] = {
    "expression": lambda: (x * x for x in range(3)),
    "range": lambda: iter(range(3)),
    "list": lambda: iter([0, 1, 4]),
    "dict": lambda: iter({0: 0, 1: 1}),
    "array": lambda: iter(array.array("i", [0, 1])),
    "reversed": lambda: reversed([4, 1, 0]),
    "map": lambda: map(abs, iter([0, 1, 4])),
}
AGAIN: dict[str, Callable[[Any], Any]] = {
    "parallel": mrpy.parallel,
    "pmap": lambda items: mrpy.pmap(abs, items),
    "preduce": lambda items: mrpy.preduce(operator.add, items, 0),
    "around": lambda items: mrpy.parallel(x for x in items),
}


@pytest.mark.parametrize("made", HANDED)
@pytest.mark.parametrize("verb", AGAIN)
def test_what_was_handed_over_is_said_to_be(made: str, verb: str) -> None:
    items = HANDED[made]()
    first = mrpy.stream(items, backend="serial")
    with pytest.raises(LiftError, match="handed over before and is a part of that run; make it anew"):
        AGAIN[verb](items)
    assert first.count() > 1


@pytest.mark.parametrize("made", ["expression", "range", "list"])
def test_a_chain_with_what_it_goes_over_itself_says_that_it_was_handed_over(made: str) -> None:
    for chained in (lambda run, items: run.zip(items), lambda run, items: run.join(items, abs)):
        items = HANDED[made]()
        with pytest.raises(LiftError, match="handed over before"):
            chained(mrpy.stream(items, backend="serial"), items)


@pytest.mark.parametrize("made", HANDED)
def test_what_others_have_exhausted_is_empty(made: str) -> None:
    items = HANDED[made]()
    for _ in range(2):
        collections.deque(items, maxlen=0)
        assert mrpy.pmap(abs, items, backend="serial").to_list() == []
    length = len(list(HANDED[made]()))
    items = HANDED[made]()
    collections.deque(itertools.islice(items, length), maxlen=0)  # its end was not asked for
    assert mrpy.pmap(abs, items, backend="serial").to_list() == []


class Pairs:
    """Its methods take from what its items come from."""

    def __init__(self) -> None:
        self.file = io.StringIO("a\nb\n")
        self.items = iter(range(6))

    def body(self) -> str:
        return self.file.readline()

    def stripped_body(self) -> str:
        return self.body().strip()

    def following(self) -> int:
        return next(self.items)

    def lines(self) -> Iterator[Any]:
        return ((head, self.body()) for head in self.file)

    def stripped(self) -> Iterator[Any]:
        return ((head, self.stripped_body()) for head in map(str.strip, self.file))

    def rows(self) -> Iterator[Any]:
        return ((item, self.following()) for item in self.items)

    def by_itself(self) -> Iterator[Any]:
        return ((item, next(self.items)) for item in self.items)

    def bound(self) -> Iterator[Any]:
        body = self.body
        return ((head, body()) for head in self.file)


@dataclasses.dataclass
class Scaled:
    """It goes over itself, and its items want it."""

    left: int

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        if not self.left:
            raise StopIteration
        self.left -= 1
        return self.left

    def scaled(self, x: int) -> int:
        return 10 * x

    def all(self) -> Iterator[int]:
        return (self.scaled(x) for x in self)


def test_what_a_body_goes_over_may_be_there_for_something_else(tmp_path: Path) -> None:
    assert list(mrpy.parallel(Scaled(3).all(), backend="processes", workers=1)) == [20, 10, 0]
    rows = Rows()
    assert list(mrpy.parallel(rows.named(row) for row in rows)) == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
    (tmp_path / "lines").write_text("a\nb\n")
    with (tmp_path / "lines").open() as file:
        assert list(mrpy.parallel(((line, file.name) for line in file), backend="threads"))[1] == ("b\n", file.name)
        file.seek(0)
        rows = csv.reader(file)
        assert list(mrpy.parallel(((row, file.name) for row in rows), backend="threads"))[1] == (["b"], file.name)
    with contextlib.closing(sqlite3.connect(":memory:")) as base:
        cursor = base.execute("select 1 as a union select 2")
        named = (dict(zip([name for name, *_ in cursor.description], row, strict=True)) for row in cursor)
        assert list(mrpy.parallel(named, backend="serial")) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("name", TAKES)
def test_what_is_done_with_the_source_in_a_method_is_seen(name: str) -> None:
    with pytest.raises(LiftError, match="takes items from what it goes over"):
        mrpy.parallel(TAKES[name](Child()))


@pytest.mark.parametrize("make", TAKES_ITSELF)
def test_an_iterator_of_the_users_that_its_own_body_goes_over_is_seen(make: Callable[[Any], Any]) -> None:
    with pytest.raises(LiftError, match="takes items from what it goes over"):
        mrpy.parallel(make(Rows()))


@pytest.mark.parametrize("name", TAKES_NOT)
def test_what_a_method_does_with_the_source_may_be_to_look_at_it(name: str) -> None:
    expected = list(TAKES_NOT[name]())
    assert list(mrpy.parallel(TAKES_NOT[name](), backend="threads", workers=2)) == expected


@pytest.mark.parametrize("name", TAKES_BESIDE)
def test_what_is_bound_called_or_held_by_something_is_seen(name: str) -> None:
    with pytest.raises(LiftError, match="takes items from what it goes over"):
        mrpy.parallel(TAKES_BESIDE[name]())


GLOBAL_TAKING = "((lambda: [[it for it in 'a'], next(it, 0)])() for _ in it)"
GLOBAL_NOT_TAKING = "(([next(it) for it in [iter('a')]], it is None, (lambda: it is None)()) for _ in it)"


def test_a_global_is_told_from_the_variable_of_a_comprehension() -> None:
    """From Python 3.12 on both are variables of the same code."""
    with pytest.raises(LiftError, match="takes items from what it goes over"):
        mrpy.parallel(eval(GLOBAL_TAKING, {"it": iter("abcd")}))
    ours = mrpy.parallel(eval(GLOBAL_NOT_TAKING, {"it": iter("abcd")}), backend="threads", workers=2)
    assert list(ours) == [(["a"], False, False)] * 4


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_that_takes_from_what_it_goes_over_is_refused_and_a_plain_source_otherwise(name: str, source: str) -> None:
    for verb, built in ((mrpy.pmap, map), (mrpy.pfilter, filter)):
        items = SOURCES[source]()
        with pytest.raises(LiftError, match="takes items from what it goes over"):
            verb(FUNCTIONS[name](items), items)
        items = SOURCES[source]()
        expected = list(built(FUNCTIONS[name](items), items))
        items = SOURCES[source]()
        assert list(mrpy.parallel(built(FUNCTIONS[name](items), items), backend="threads", workers=2)) == expected
    items = SOURCES[source]()
    with pytest.raises(LiftError, match="takes items from what it goes over"):
        mrpy.pmap(FUNCTIONS[name](items), items, "abc")
    items = SOURCES[source]()
    with pytest.raises(LiftError, match="takes items from what it goes over"):
        mrpy.pstarmap(FUNCTIONS[name](items), zip(items, strict=False))
    items = SOURCES[source]()
    expected = list(itertools.starmap(FUNCTIONS[name](items), zip(items, strict=False)))
    items = SOURCES[source]()
    program = itertools.starmap(FUNCTIONS[name](items), zip(items, strict=False))
    assert list(mrpy.parallel(program, backend="threads", workers=2)) == expected


@pytest.mark.parametrize("source", ["file", "the user's", "rows"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_in_a_chain_that_takes_from_its_source_is_refused(name: str, source: str) -> None:
    items = SOURCES[source]()
    chain = mrpy.stream(items).map(str)
    for step in (chain.map, chain.filter, chain.starmap, chain.flat_map):
        with pytest.raises(LiftError, match="takes items from what it goes over"):
            step(FUNCTIONS[name](items))


class GoesOver:
    """It is no iterator, but has one that it goes over, and a counter that it does not."""

    def __init__(self) -> None:
        self.rows = iter(range(8))
        self.ids = itertools.count()

    def __iter__(self) -> Iterator[int]:
        return self.rows

    def body(self, x: int) -> Any:
        return x, next(self.rows)

    def numbered(self, x: int) -> bool:
        return x >= 0 and next(self.ids) >= 0


def test_a_function_that_takes_what_an_object_goes_over_is_refused() -> None:
    reader = GoesOver()
    for function in (reader.body, lambda x: reader.body(x), lambda x: (x, next(reader.rows))):
        with pytest.raises(LiftError, match="takes items from what it goes over"):
            mrpy.pmap(function, reader)
    assert list(mrpy.pmap(reader.numbered, reader, backend="threads", workers=2)) == [True] * 8


def test_what_is_too_deep_to_look_into_is_taken_apart() -> None:
    names: dict[str, Any] = {"f100": str}
    for at in range(100):
        exec(f"def f{at}(x): return f{at + 1}(x)", names)

    def made(depth: int) -> Any:
        return made(depth - 1) if depth else mrpy.pmap(names["f0"], iter([1, 2]), backend="serial")

    assert list(made(sys.getrecursionlimit() - len(inspect.stack(0)) - 150)) == ["1", "2"]


@pytest.mark.parametrize("name", APART)
def test_what_has_to_do_with_files_counters_and_calls_is_taken_apart(name: str) -> None:
    expected = list(APART[name]())
    assert lift(APART[name]()).steps
    assert list(mrpy.parallel(APART[name](), backend="threads", workers=2)) == expected


class Unbound:
    """As a proxy is, outside of what it stands for."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError("outside of its context")

    def helped(self, x: int) -> int:
        return 2 * x


def test_a_proxy_is_not_asked_for_its_class() -> None:
    proxy = Unbound()
    assert list(mrpy.parallel((proxy.helped(x) for x in range(3)), backend="threads")) == [0, 2, 4]


def test_classes_and_codes_are_looked_at_only_where_an_object_has_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("uses", "_methods"):
        monkeypatch.setattr(sharing, name, None)
    pairs, items = Pairs(), [1, 2]
    assert "range" in str(lift(abs(x) for x in range(3)))
    assert list(mrpy.parallel(((x, pairs) for x in items), backend="serial")) == [(1, pairs), (2, pairs)]


@pytest.mark.parametrize("make", [lambda: {1: 2, 3: 4}, lambda: {1, 2}, lambda: {1: 2}.items(), lambda: [1, 2], lambda: "ab"])
def test_an_iterator_that_is_taken_over_is_at_its_end(make: Callable[[], Any]) -> None:
    items = iter(make())
    first = mrpy.parallel((x for x in items), backend="serial")
    assert list(items) == []
    with pytest.raises(LiftError, match="handed over before"):
        mrpy.pmap(repr, items)
    assert list(first) == list(make())


def changed_before_the_run() -> list[tuple[Any, Callable[[], object]]]:
    """Iterators, and what changes that which they go over."""
    grown, backwards, raw, shrunk, begun = [1, 2], [1, 2, 3], bytearray(b"abc"), [1, 2, 3], [1, 2, 3, 4]
    part = reversed(begun)
    next(part)
    return [
        (enumerate(grown, 5), lambda: grown.append(3)),
        (enumerate(shrunk), shrunk.clear),
        (zip(reversed(backwards), enumerate(grown), strict=False), lambda: backwards.__setitem__(2, 9)),
        (reversed(backwards), lambda: backwards.__setitem__(0, 9)),
        (reversed(backwards), lambda: backwards.append(9)),
        (part, lambda: begun.__setitem__(1, 9)),
        (reversed(raw), lambda: raw.__setitem__(0, 9)),
        (reversed(shrunk), shrunk.clear),
    ]


@over_local
@pytest.mark.parametrize("chunksize", [1, 2, "auto"])
def test_what_changes_before_the_run_begins_is_read_as_a_plain_loop_reads_it(backend: str, chunksize: Any) -> None:
    for (plain, change), (ours, change_too) in zip(changed_before_the_run(), changed_before_the_run(), strict=True):
        run = mrpy.parallel((x for x in ours), backend=backend, workers=2, chunksize=chunksize)
        change()
        change_too()
        assert list(run) == list(plain)


# ---- shown --------------------------------------------------------------------------------------------------------------


def test_a_generator_is_shown_as_it_was_written() -> None:
    assert str(lift(x * 2 for x in range(3))) == "range(0, 3) -> (x * 2 for x in range(3))"
    many = lift(
        x  # the item
        for x in range(3)
        if x > 1
    )
    assert "for x in range(3)" in str(many)
    two = [(x for x in range(1)), (y for y in range(2))]
    assert [str(lift(each)) for each in two] == ["range(0, 1) -> (x for x in range(1))", "range(0, 2) -> (y for y in range(2))"]
    assert str(lift("é" + x for x in "ü")).endswith('("é" + x for x in "ü")')
    unseen = eval(compile("(x for x in range(3))", "<nowhere>", "eval"))
    assert str(lift(unseen)) == "range(0, 3) -> (... <nowhere>:1)"


# ---- other Pythons ----------------------------------------------------------------------------------------------------

SCRIPT = Path(__file__).with_name("lift_elsewhere.py")
VERSIONS = ["3.11", "3.12", "3.13", "3.14"]


def interpreter(version: str) -> str | None:
    """A Python of this version, if there is one that starts."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    homes = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
    for path in [*map(str, reversed(homes)), shutil.which(f"python{version}")]:
        if path and subprocess.run([path, "-c", ""], capture_output=True, timeout=30, check=False).returncode == 0:
            return path
    return None


@pytest.mark.parametrize("version", VERSIONS)
def test_lifting_under_python(version: str, tmp_path: Path) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    spec = importlib.util.find_spec("cloudpickle")
    assert spec is not None and spec.origin is not None
    (tmp_path / "cloudpickle").symlink_to(Path(spec.origin).parent)
    path = os.pathsep.join([str(Path(mrpy.__file__).parents[1]), str(tmp_path)])
    done = subprocess.run(
        [python, "-W", "error", str(SCRIPT)], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["serial", "fine", "threads", "fine", "processes", "fine", version]


TWICE: dict[str, Callable[[], Any]] = {
    "chains": lambda: itertools.chain(itertools.chain([1, 2], (x for x in [3])), [4]),
    "chains of plain parts": lambda: itertools.chain(itertools.chain("ab", [1]), itertools.chain([2], iter([3])), "c"),
    "chains of generators": lambda: itertools.chain(itertools.chain(upto(3), "ab"), [4]),
    "groups": lambda: ((k, list(v)) for k, v in itertools.chain(itertools.groupby("aab"), itertools.groupby("b"))),
    "groups at a place": lambda: (
        (n, k, list(v)) for n, (k, v) in itertools.chain(zip(itertools.count(), itertools.groupby("aabb")))  # noqa: B905
    ),
}


@over_local
@pytest.mark.parametrize("name", TWICE)
def test_what_was_taken_apart_is_not_taken_for_a_program_of_the_users(name: str, backend: str) -> None:
    assert list(mrpy.parallel(TWICE[name](), backend=backend, workers=2)) == list(TWICE[name]())
    assert list(mrpy.pmap(str, TWICE[name](), backend=backend, workers=2)) == list(map(str, TWICE[name]()))


class Odd:
    """An iterable that answers nobody who asks for what it does not have."""

    def __iter__(self) -> Iterator[int]:
        return iter([1, 2])

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no {name} here")


def test_an_odd_iterable_is_asked_for_its_items_only() -> None:
    for make in (lambda: Odd(), lambda: (x for x in Odd()), lambda: itertools.chain(Odd(), Odd()), lambda: zip(Odd(), [1, 2])):  # noqa: B905
        run = mrpy.parallel(make(), backend="serial")
        assert all([str(run), run.explain(), str(run.graph())])
        assert list(run) == list(make())


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_an_item_does_late_it_does_with_its_own_variables(backend: str) -> None:
    """In a loop each is looked at before the next one comes."""
    points, scales = [10, 20], range(1, 9)
    with mrpy.session(backend, workers=2):
        lazily = mrpy.parallel(map(lambda point: point * scale, points) for scale in scales)
        assert [list(row) for row in lazily] == [[10 * scale, 20 * scale] for scale in scales]
        called = mrpy.parallel([lambda: (scale, point) for point in points[:1]] for scale in scales)
        assert [call() for [call] in called] == [(scale, 10) for scale in scales]
        doubled: int
        bound = mrpy.parallel(partial(lambda: doubled) for scale in scales if (doubled := 2 * scale))
        assert [call() for call in bound] == [2 * scale for scale in scales]
        names = {"mrpy": mrpy}
        exec("calls = list(mrpy.parallel(lambda: twice for x in range(1, 9) if (twice := 2 * x)))", names)
        assert [call() for call in names["calls"]] == [2 * scale for scale in scales]
        exec("rows = list(mrpy.parallel(lambda: [twice for _ in 'a'] for x in range(1, 9) if (twice := 2 * x)))", names)
        assert [call() for call in names["rows"]] == [[2 * scale] for scale in scales]
        inside = mrpy.parallel(
            (i, sum(row)) for i, row in enumerate(filter(lambda p: p > scale, points) for scale in scales)
        )
        assert list(inside) == [(scale - 1, 30) for scale in scales]


def test_only_what_may_do_something_late_is_run_item_by_item() -> None:
    weights = [1, 2]

    def apart(generator: Any) -> bool:
        body: Any = lift(generator).steps[-1]
        return bool(body.apart)

    assert not apart([x * weight for weight in weights] for x in range(3))
    assert not apart({x: [x + y for y in weights] for x in weights} for z in range(3))
    assert not apart(sorted(weights, key=lambda weight: -weight) + [x] for x in range(3))
    assert apart(sum(x * weight for weight in weights) for x in range(3))
    assert apart([lambda: x for weight in weights] for x in range(3))


def test_what_is_nested_very_deep_is_a_plain_source_and_runs() -> None:
    chained: Iterator[int] = iter(())
    for part in range(400):
        chained = itertools.chain(chained, range(part, part + 2))
    assert list(mrpy.parallel((-x for x in chained), backend="serial"))[-2:] == [-399, -400]
    nested: Iterator[int] = iter(range(3))
    for _ in range(300):
        nested = (x + 1 for x in nested)
    assert list(mrpy.parallel(nested, backend="serial")) == [300, 301, 302]


def test_a_generator_of_compiled_code_is_refused_and_may_be_a_source() -> None:
    def steps(self: Any) -> Any:
        return next(self.items)

    compiled = type("generator", (Iterator,), {"__next__": steps, "gi_frame": None})()  # as Cython has them
    compiled.items = iter([1, 2])
    with pytest.raises(LiftError, match="compiled module.*pmap"):
        mrpy.parallel(compiled)
    assert mrpy.pmap(abs, compiled, backend="serial").to_list() == [1, 2]

"""Stages: generator functions that run chunk by chunk, and the check that says whether they may."""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import itertools
import math
import operator
import os
import pickle
import random
import re
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from laws import LOCAL

import mrpy
from mrpy.errors import CheckFailed, OptionError, SerializationError

over_local = pytest.mark.parametrize("backend", LOCAL)


@mrpy.stage
def doubled(numbers: Iterable[int]) -> Iterator[int]:
    """Twice each number."""
    for n in numbers:
        yield 2 * n


@mrpy.stage
def several(numbers: Iterable[int], times: int, *, keep: Callable[[int], bool] = bool) -> Iterator[int]:
    for n in numbers:
        if keep(n):
            for _ in range(times):
                yield n


def by_value(stage: Any) -> Any:
    """The stage as one of the main module: a worker cannot import this file."""
    stage.plain.__module__ = "__main__"
    return stage


for each in (doubled, several):
    by_value(each)


# ---- running ---------------------------------------------------------------------------------------------


@over_local
@pytest.mark.parametrize("chunksize", ["auto", 1, 4])
def test_a_stage_equals_its_function(backend: str, chunksize: Any) -> None:
    with mrpy.session(backend, workers=2, chunksize=chunksize):
        assert doubled(range(30)).to_list() == list(doubled.plain(range(30)))
        assert doubled(iter([1, 2])).to_list() == [2, 4]
        assert doubled(n for n in range(9) if n % 2).to_list() == [2, 6, 10, 14]
        assert doubled([]).to_list() == []
        assert isinstance(doubled([1]), mrpy.ParallelIterator)


@over_local
def test_stages_chain_and_fuse(backend: str) -> None:
    with mrpy.session(backend, workers=2):
        run = doubled(doubled(several(range(9), 2)))
        assert len(run._plan.steps) == 3
        assert list(run) == [4 * n for n in range(1, 9) for _ in range(2)]
        assert doubled(map(abs, range(-3, 0))).map(str).batch(2).to_list() == [("6", "4"), ("2",)]
        assert doubled(mrpy.stream(range(4)).filter(lambda n: n % 2)).sum() == 8


@over_local
def test_further_arguments_are_the_functions(backend: str) -> None:
    with mrpy.session(backend, workers=2):
        assert several(range(4), 2).to_list() == [1, 1, 2, 2, 3, 3]
        assert several(range(4), times=1, keep=lambda n: n % 2 == 0).to_list() == [0, 2]
        with pytest.raises(TypeError, match="times"):
            several(range(4)).to_list()


@over_local
def test_options_are_given_with_with_options(backend: str) -> None:
    run = several.with_options(backend=backend, workers=2, chunksize=3)(range(4), 2, keep=lambda n: True)
    assert (run._options().backend, run._options().chunksize) == (backend, 3)
    assert list(run) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert doubled.with_options(backend=backend, on_error="skip")(["a", None, 2]).to_list() == ["aa", 4]
    with pytest.raises(OptionError, match="workers="):
        doubled.with_options(n_jobs=2)([])


def test_options_where_a_stage_is_marked_are_told_where_to_go() -> None:
    with pytest.raises(OptionError, match=r"mrpy\.stage\(\) takes no workers=; write .*\.with_options\(workers=2\)\(items\)"):
        mrpy.stage(workers=2)(doubled.plain)  # type: ignore[call-overload]
    with pytest.raises(OptionError, match=r"no option set_up=; did you mean setup="):
        mrpy.stage(doubled.plain, set_up=dict)  # type: ignore[call-overload]


def test_a_stage_keeps_what_the_function_was() -> None:
    assert (doubled.__name__, doubled.__doc__, doubled.__wrapped__) == ("doubled", "Twice each number.", doubled.plain)  # type: ignore[attr-defined]
    assert repr(doubled) == "<stage doubled>"
    assert list(doubled.plain([1])) == [2]
    assert mrpy.stage(doubled) is doubled
    assert "doubled" in str(doubled([1]))


def test_what_cannot_be_a_stage_is_an_error_at_once() -> None:
    with pytest.raises(TypeError, match="generator function, not int"):
        mrpy.stage(3)  # type: ignore[call-overload]
    with pytest.raises(OptionError, match="setup=3"):
        mrpy.stage(setup=3)(doubled.plain)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="not iterable"):
        doubled(3)  # type: ignore[arg-type]


@over_local
def test_the_end_of_a_stage_runs_with_each_chunk(backend: str) -> None:
    @mrpy.stage
    def flagged(items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            yield item
        yield "end"

    got = flagged.with_options(backend=backend, workers=2, chunksize=3)(range(6)).to_list()
    assert got == [0, 1, 2, "end", 3, 4, 5, "end"]


@over_local
def test_an_error_of_a_stage_is_its_items(backend: str) -> None:
    @mrpy.stage
    def inverse(numbers: Iterable[int]) -> Iterator[float]:
        for n in numbers:
            yield 1 / n

    run = inverse.with_options(backend=backend, workers=2, chunksize=3)([1, 2, 0, 4])
    with pytest.raises(ZeroDivisionError) as caught:
        list(run)
    assert caught.value.mrpy_item.position == 2  # type: ignore[attr-defined]
    skipped = inverse.with_options(backend=backend, workers=2, chunksize=3, on_error="skip")([1, 2, 0, 4])
    assert skipped.to_list() == [1.0, 0.5, 0.25]


@over_local
def test_a_stage_that_stops_early_ends_its_chunk_only(backend: str) -> None:
    @mrpy.stage
    def first_two(items: Iterable[Any]) -> Iterator[Any]:
        for number, item in enumerate(items):
            if number == 2:
                return
            yield item

    assert first_two.with_options(backend=backend, workers=2, chunksize=3)(range(7)).to_list() == [0, 1, 3, 4, 6]
    with pytest.raises(CheckFailed):
        mrpy.check(first_two, range(7))


# ---- setup ------------------------------------------------------------------------------------------------


@over_local
@pytest.mark.parametrize("workers", [1, 2])
def test_setup_runs_once_per_worker(backend: str, workers: int, tmp_path: Path) -> None:
    folder = str(tmp_path)

    def connect() -> dict[str, int]:
        with open(os.path.join(folder, f"{os.getpid()}-{threading.get_ident()}"), "a") as file:
            file.write("x")
        return {"offset": 100}

    @mrpy.stage(setup=connect)
    def shifted(numbers: Iterable[int], connection: dict[str, int], sign: int = 1) -> Iterator[int]:
        for n in numbers:
            yield sign * n + connection["offset"]

    with mrpy.session(backend, workers=workers, chunksize=2):
        assert shifted(range(200)).to_list() == list(range(100, 300))
    made = [file.read_text() for file in tmp_path.iterdir()]
    assert 1 <= len(made) <= (1 if backend == "serial" else workers)
    assert set(made) == {"x"}
    assert shifted.with_options(backend=backend, workers=1)(range(2), -1).to_list() == [100, 99]


@over_local
def test_an_error_in_setup_arrives(backend: str) -> None:
    def connect() -> None:
        raise ConnectionError("no database")

    @mrpy.stage(setup=connect)
    def rows(keys: Iterable[int], database: None) -> Iterator[int]:
        yield from keys

    with pytest.raises(ConnectionError, match="no database"):
        rows.with_options(backend=backend, workers=2)(range(3)).to_list()


def test_two_stages_have_two_setups() -> None:
    @mrpy.stage(setup=lambda: 1)
    def plus(numbers: Iterable[int], one: int) -> Iterator[int]:
        yield from (n + one for n in numbers)

    @mrpy.stage(setup=lambda: 10)
    def times(numbers: Iterable[int], ten: int) -> Iterator[int]:
        yield from (n * ten for n in numbers)

    with mrpy.session("threads", workers=2):
        assert times(plus(range(3))).to_list() == [10, 20, 30]
        assert plus(times(plus(range(2)))).to_list() == [11, 21]


# ---- in a class --------------------------------------------------------------------------------------------------


class Model:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    @mrpy.stage
    def predict(self, rows: Iterable[int], add: int = 0) -> Iterator[int]:
        """What is to be expected."""
        for row in rows:
            yield self.factor * row + add

    @mrpy.stage(setup=lambda: 100)
    def moved(self, rows: Iterable[int], by: int, sign: int = 1) -> Iterator[int]:
        for row in rows:
            yield sign * self.factor * row + by

    @staticmethod
    @mrpy.stage
    def negated(rows: Iterable[int]) -> Iterator[int]:
        for row in rows:
            yield -row

    @mrpy.stage
    @staticmethod
    def halved(rows: Iterable[int]) -> Iterator[int]:
        for row in rows:
            yield row // 2


    @mrpy.stage
    @classmethod
    def named(cls, rows: Iterable[int]) -> Iterator[Any]:
        for row in rows:
            yield cls.__name__, row

    @classmethod
    @mrpy.stage
    def named_too(cls, rows: Iterable[int]) -> Iterator[Any]:
        for row in rows:
            yield cls.__name__, row

    def __iter__(self) -> Iterator[Any]:
        return iter("none of these is an item")

    only_items = mrpy.stage(lambda rows: (row + 1 for row in rows))
    of_module = several


class Shifted(Model):
    @mrpy.stage
    def predict(self, rows: Iterable[int]) -> Iterator[int]:
        for row in super().predict.plain(rows, 1):
            yield row


for each in (Model, Shifted):
    each.__module__ = "__main__"  # as above
for each in (Model.predict, Model.moved, Model.negated, Shifted.predict):
    by_value(each)


@over_local
def test_a_stage_in_a_class_is_a_method(backend: str) -> None:
    model = Model(3)
    with mrpy.session(backend, workers=2, chunksize=2):
        assert model.predict(range(9)).to_list() == [3 * n for n in range(9)]
        assert model.predict(range(9), add=1).to_list() == [3 * n + 1 for n in range(9)]
        assert model.predict(model.predict(range(9))).to_list() == [9 * n for n in range(9)]
        assert model.moved(range(9), -1).to_list() == [100 - 3 * n for n in range(9)]
        assert Shifted(2).predict(range(9)).to_list() == [2 * n + 1 for n in range(9)]
        assert list(mrpy.pmap(lambda n: sum(model.predict([n])), range(9))) == [3 * n for n in range(9)]
    assert model.predict.with_options(backend=backend, workers=1)([2]).to_list() == [6]


@over_local
def test_a_static_stage_has_no_instance(backend: str) -> None:
    with mrpy.session(backend, workers=2):
        for owner in (Model, Model(3)):
            assert owner.negated(range(3)).to_list() == [0, -1, -2]
            assert owner.halved(range(3)).to_list() == [0, 0, 1]


@over_local
def test_a_stage_that_is_found_through_its_class_takes_the_object_first(backend: str) -> None:
    model = Model(3)
    with mrpy.session(backend, workers=2, chunksize=2):
        assert Model.predict(model, [1, 2]).to_list() == [3, 6]
        assert Model.predict(model, [1, 2], add=1).to_list() == [4, 7]
        assert Model.moved(model, [1, 2], -1).to_list() == [97, 94]
        assert Model.predict.with_options(chunksize=1)(Shifted(2), [1, 2]).to_list() == [2, 4]
        assert [run.to_list() for run in map(Model.predict, [model], [[1, 2]])] == [[3, 6]]
        assert Model.only_items([1, 2]).to_list() == [2, 3]
        assert Model.of_module([1, 2], 2).to_list() == [1, 1, 2, 2]
        assert list(mrpy.pmap(lambda n: list(Model.predict(model, [n])), [1, 2])) == [[3], [6]]
    with pytest.raises(TypeError, match="predict: self comes first, and then what it goes over"):
        Model.predict(model)
    with pytest.raises(TypeError, match="predict: self comes first, and then what it goes over"):
        Model.predict(model, rows=[1])


class Colour(enum.Enum):
    RED = 1
    BLUE = 2

    @mrpy.stage
    @classmethod
    def of(cls, numbers: Iterable[int]) -> Iterator[Any]:
        for n in numbers:
            yield cls(n).name

    @classmethod
    @mrpy.stage
    def of_too(cls, numbers: Iterable[int]) -> Iterator[Any]:
        for n in numbers:
            yield cls(n).name


Colour.__module__ = "__main__"


@over_local
def test_a_stage_of_the_class_takes_the_class(backend: str) -> None:
    with mrpy.session(backend, workers=2, chunksize=1):
        for owner in (Shifted, Shifted(2)):
            assert owner.named([1, 2]).to_list() == [("Shifted", 1), ("Shifted", 2)]
            assert owner.named_too([1, 2]).to_list() == [("Shifted", 1), ("Shifted", 2)]
        assert Colour.of([1, 2]).to_list() == Colour.of_too([1, 2]).to_list() == ["RED", "BLUE"]
    assert Colour.of.with_options(backend=backend, workers=1)([1]).to_list() == ["RED"]


def test_options_of_a_stage_of_the_class_are_taken_or_refused() -> None:
    """From Python 3.13 on a ``@classmethod`` does not ask what is below it to be bound."""
    if sys.version_info < (3, 13):
        assert Colour.of_too.with_options(backend="serial")([1]).to_list() == ["RED"]
    else:
        with pytest.raises(TypeError, match=r"cls comes first.*write @mrpy\.stage above @classmethod"):
            Colour.of_too.with_options(backend="serial")([1])


class Scaled:
    """Its methods are no stages by themselves."""

    def __init__(self) -> None:
        self.factor = 3

    def predict(self, rows: Iterable[int], weights: Iterable[int] = (1,)) -> Iterator[Any]:
        for row in rows:
            yield self.factor * row, [*weights]

    @classmethod
    def named(cls, rows: Iterable[int], more: Iterable[int] = ()) -> Iterator[Any]:
        for row in rows:
            yield 3 * row, [*more]

    def __call__(self, rows: Iterable[int], weights: Iterable[int] = ()) -> Iterator[Any]:
        return self.predict(rows, weights)


Scaled.__module__ = "__main__"


@over_local
def test_a_bound_method_has_its_object_already(backend: str) -> None:
    def wrapped(function: Any) -> Any:
        return functools.wraps(function)(lambda *args: function(*args))

    scaled = Scaled()
    bound = [scaled.predict, Scaled.named, wrapped(scaled.predict), wrapped(wrapped(Scaled.named)), scaled]
    bound.append(functools.update_wrapper(functools.partial(Scaled.predict, scaled), Scaled.predict))
    bound.append(functools.update_wrapper(Scaled(), Scaled.predict))
    with mrpy.session(backend, workers=2, chunksize=1):
        for function in map(mrpy.stage, bound):
            assert [value for value, _ in function([1, 2])] == [3, 6]
            assert function([1, 2], [5, 6, 7]).to_list() == [(3, [5, 6, 7]), (6, [5, 6, 7])]
            assert function.with_options(workers=1)([1], [5]).to_list() == [(3, [5])]


@over_local
def test_items_may_be_called_self(backend: str) -> None:
    @mrpy.stage
    def windows(self: Iterable[int], other: Iterable[int] = ()) -> Iterator[Any]:
        for x in self:
            yield x, [*other]

    @mrpy.stage(setup=lambda: 5)
    def moved(self: Iterable[int], by: int) -> Iterator[int]:
        for x in self:
            yield x + by

    with mrpy.session(backend, workers=2, chunksize=1):
        assert moved([1, 2]).to_list() == [6, 7]
        assert windows([1, 2]).to_list() == [(1, []), (2, [])]
        assert windows([1, 2], [7]).to_list() == [(1, [7]), (2, [7])]
        assert windows.with_options(workers=1)([1], other=[7]).to_list() == [(1, [7])]


def test_arguments_of_a_stage_may_have_any_name() -> None:
    @mrpy.stage
    def named(rows: Iterable[int], iterable: int = 0, self: int = 0) -> Iterator[Any]:
        for row in rows:
            yield row, iterable, self

    assert named.with_options(backend="serial")([1], iterable=5, self=4).to_list() == [(1, 5, 4)]
    assert named([1], iterable=5, self=4).to_list() == [(1, 5, 4)]


def test_a_method_keeps_what_the_function_was() -> None:
    method = Model(3).predict
    assert (method.__name__, method.__doc__) == ("predict", "What is to be expected.")
    assert list(inspect.signature(method).parameters) == ["rows", "add"]
    assert list(method.plain([1, 2])) == [3, 6]
    assert repr(method) == "<stage Model.predict>"
    assert str(method([1])) == "1 item of a list -> Model.predict"
    assert Model.predict is Model.predict
    mrpy.check(method, range(9))


# ---- travelling ----------------------------------------------------------------------------------------------


def test_a_stage_travels() -> None:
    @mrpy.stage(setup=lambda: 5)
    def plus(numbers: Iterable[int], five: int) -> Iterator[int]:
        yield from (n + five for n in numbers)

    again = pickle.loads(cloudpickle.dumps(plus))
    assert again.with_options(backend="serial")([1]).to_list() == [6]


@over_local
def test_a_stage_may_be_called_in_a_task(backend: str) -> None:
    got = list(mrpy.parallel((sum(doubled(range(n))) for n in range(5)), backend=backend, workers=2))
    assert got == [sum(2 * x for x in range(n)) for n in range(5)]


SCRIPT = """
import mrpy, os, sys

OFFSET = 3

def connect():
    return [OFFSET]

@mrpy.stage
def odd(numbers):
    for n in numbers:
        if n % 2:
            yield n

@mrpy.stage(setup=connect)
def shifted(numbers, offset, *, sign=1):
    for n in numbers:
        yield sign * n + offset[0], os.getpid() == PARENT

class Row:
    def __init__(self, n):
        self.n = n

@mrpy.stage
def rows(numbers):
    for n in numbers:
        yield Row(n)

PARENT = os.getpid()
for backend in ("serial", "threads", "processes"):
    with mrpy.session(backend, workers=2, chunksize=2):
        got = shifted(odd(range(10)), sign=-1).to_list()
        assert [n for n, _ in got] == [2, 0, -2, -4, -6], got
        assert any(here for _, here in got) == (backend != "processes")
        made = rows(odd(range(6))).to_list()
        assert all(type(row) is Row for row in made) and [row.n for row in made] == [1, 3, 5]
    mrpy.check(odd, range(9))
    print(backend, "fine")
"""


def test_stages_of_a_script_work_on_every_backend(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    env = {**os.environ, "PYTHONPATH": str(Path(mrpy.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)], capture_output=True, text=True, timeout=60, env=env, check=False
    )
    assert done.stdout.split() == ["serial", "fine", "threads", "fine", "processes", "fine"], done.stderr


# ---- check: stages ------------------------------------------------------------------------------------------------


def dedupe(items: Iterable[Any]) -> Iterator[Any]:
    seen = set()
    for item in items:
        if item not in seen:
            seen.add(item)
            yield item


def running_mean(items: Iterable[float]) -> Iterator[float]:
    total = 0.0
    for count, item in enumerate(items, 1):
        total += item
        yield total / count


def differences(items: Iterable[float]) -> Iterator[float]:
    last = None
    for item in items:
        if last is not None:
            yield item - last
        last = item


def pairs(items: Iterable[Any]) -> Iterator[Any]:
    iterator = iter(items)
    for item in iterator:
        yield (item, next(iterator, None))


def numbered(items: Iterable[Any]) -> Iterator[Any]:
    yield from enumerate(items)


def headed(items: Iterable[Any]) -> Iterator[Any]:
    yield "header"
    yield from items


def sorted_all(items: Iterable[Any]) -> Iterator[Any]:
    yield from sorted(items)


def without_repeats(items: Iterable[Any]) -> Iterator[Any]:
    last = object()
    for item in items:
        if item != last:
            yield item
        last = item


def infinite_but_the_first(items: Iterable[Any]) -> Iterator[float]:
    best = 5.0
    for _ in items:
        yield best
        best = math.inf


BAD: dict[str, tuple[Any, list[Any], int]] = {  # and how many items the smallest example has
    "dedupe": (dedupe, [5, 3, 1, 4, 3, 9], 2),
    "running mean": (running_mean, [2.0, 2.0, 2.0, 5.0, 1.0], 2),
    "pairwise difference": (differences, [1, 4, 9, 16], 2),
    "batching": (pairs, [1, 2, 3, 4, 5], 2),
    "numbering": (numbered, ["a", "b", "c"], 2),
    "header": (headed, [1, 2, 3], 2),
    "sorting": (sorted_all, [1, 2, 5, 3, 7], 2),
    "without repeats": (without_repeats, [1, 2, 2, 3], 2),
    "an infinity": (infinite_but_the_first, [1, 2, 3], 2),
}


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("name", BAD)
def test_check_finds_the_smallest_input_that_depends_on_the_cut(name: str, marked: bool) -> None:
    function, sample, size = BAD[name]
    with pytest.raises(CheckFailed, match="carries something from one item to the next") as caught:
        mrpy.check(mrpy.stage(function) if marked else function, sample)
    text = str(caught.value)
    assert text.startswith(function.__name__)
    example = eval(text.split("over ", 1)[1].split(" as a whole", 1)[0])
    assert len(example) == size
    whole = list(function(example))
    assert any(list(function(example[:cut])) + list(function(example[cut:])) != whole for cut in range(1, size))


@pytest.mark.parametrize("name", BAD)
def test_too_small_a_sample_shows_nothing(name: str) -> None:
    function, sample, _ = BAD[name]
    mrpy.check(function, sample[:1])
    mrpy.check(function, [])


def flat(items: Iterable[int]) -> Iterator[int]:
    for item in items:
        yield from range(item % 3)


def with_setup_inside(items: Iterable[int]) -> Iterator[int]:
    table = {n: n * n for n in range(50)}
    for item in items:
        yield table[item]


def mutating(items: Iterable[list[int]]) -> Iterator[list[int]]:
    for item in items:
        item.append(1)
        yield item


@pytest.mark.parametrize(
    ("function", "sample"),
    [(doubled, range(20)), (flat, range(20)), (with_setup_inside, range(20)), (mutating, [[], [2]]),
     (doubled, [float("nan"), 1.0, 0.1]), (doubled, ["a", None][:1])],
)  # fmt: skip
def test_check_lets_a_good_stage_pass(function: Any, sample: Any) -> None:
    before = repr(sample)
    mrpy.check(function, sample)
    assert repr(sample) == before


def test_check_sets_a_stage_up() -> None:
    @mrpy.stage(setup=lambda: 3)
    def plus(numbers: Iterable[int], three: int) -> Iterator[int]:
        yield from (n + three for n in numbers)

    mrpy.check(plus, range(9))


def test_check_shows_what_the_stage_raises() -> None:
    with pytest.raises(ZeroDivisionError):
        mrpy.check(mrpy.stage(lambda items: (1 / item for item in items)), [1, 0])


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(sample=st.lists(st.integers(0, 3), max_size=9))
def test_check_fails_exactly_where_a_cut_shows(sample: list[int]) -> None:
    depends = any(
        list(dedupe(part[:cut])) + list(dedupe(part[cut:])) != list(dedupe(part))
        for begin in range(len(sample)) for end in range(begin, len(sample) + 1)
        for part in [sample[begin:end]] for cut in range(len(part))
    )  # fmt: skip
    try:
        mrpy.check(dedupe, sample)
    except CheckFailed:
        assert depends
    else:
        assert not depends


# ---- check: operators ------------------------------------------------------------------------------------------------


class Sum:
    """Equal to nothing but itself."""

    def __init__(self, total: float) -> None:
        self.total = total


def means_of_two(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    return min(a[0], b[0]), (a[1] + b[1]) / 2


NOT_ASSOCIATIVE: dict[str, tuple[Any, list[Any]]] = {
    "subtraction": (operator.sub, [0, 1, 2]),
    "division": (operator.truediv, [1.0, 2.0, 4.0]),
    "power": (operator.pow, [1, 2, 3]),
    "mean": (lambda a, b: (a + b) / 2, [1, 1, 2]),
    "formatting": (lambda a, b: f"({a}{b})", ["a", "b"]),
    "average of floats": (lambda a, b: 0.5 * a + 0.5 * b, [1.0, 2.0, 5.0]),
    "tuple of two": (lambda a, b: (a, b), [1, 2]),
    "difference of sets": (operator.sub, [{1}, {1, 2}, {2}]),
    "absolute difference": (lambda a, b: abs(a - b), [1, 2, 4]),
    "nand": (lambda a, b: not (a and b), [True, False]),
    "subtraction of what cancels": (operator.sub, [0.1, 0.2, -0.3]),
    "subtraction of large floats": (operator.sub, [1e16, 1.0, -1e16]),
    "subtraction beside large floats": (lambda a, b: (max(a[0], b[0]), a[1] - b[1]), [(1.7e9, 0.0), (1.7e9, 0.5)]),
    "small subtraction beside large floats": (
        lambda a, b: (a[0] * b[0], a[1] - b[1]), [(1.0, 1e-15), (1.0, 2e-15), (1.0, 3e-15)],
    ),
    "small subtraction beside large floats in arrays": (
        lambda a, b: np.array([max(a[0], b[0]), a[1] - b[1]]), [np.array([1.7e9, x]) for x in (1e-5, 2e-5, 5e-5)],
    ),
    "subtraction at large keys": (
        lambda a, b: {k: a.get(k, 0) - b.get(k, 0) for k in a | b}, [{1.7e9: 1e-5}, {1.7e9: 2e-5}, {1.7e9: 5e-5}],
    ),
    "subtraction beside a large value of a dict": (
        lambda a, b: {"at": max(a["at"], b["at"]), "x": a["x"] - b["x"]},
        [{"at": 1.7e9, "x": x} for x in (1e-5, 2e-5, 5e-5)],
    ),
    "the mean beside the largest float": (
        means_of_two, [(sys.float_info.max, float(i)) for i in range(10)],
    ),
    "the mean of floats": (lambda a, b: (a + b) / 2, [1e-5, 2e-5, 9e-5, 1.7e9]),
    "sums of complex numbers that overflow": (
        operator.add, [complex(1.7e308, 1.7e308), complex(-1.7e308, -1.7e308), 2j],
    ),  # two of the first are infinite, and are left so
}
ASSOCIATIVE: dict[str, tuple[Any, list[Any]]] = {
    "add": (operator.add, list(range(-9, 9))),
    "float add": (operator.add, [0.1, 0.2, 0.3, 1e10, -1e-3, 7.7]),
    "float multiply": (operator.mul, [0.1, 0.2, 3.3, 1e10]),
    "floats that cancel": (operator.add, [0.1, 0.2, -0.3]),
    "large floats that cancel": (operator.add, [1e16, 1.0, -1e16]),
    "dicts of sums that cancel": (lambda a, b: {"x": a["x"] + b["x"]}, [{"x": 0.1}, {"x": 0.2}, {"x": -0.3}]),
    "complex numbers that cancel": (operator.add, [0.1 + 1j, 0.2 + 1j, -0.3 - 2j]),
    "sums that cancel, and counts": (lambda a, b: (a[0] + b[0], a[1] + b[1]), [(0.1, 1), (0.2, 1), (-0.3, 1)]),
    "arrays that cancel": (operator.add, [np.array([0.1, 5.0]), np.array([0.2, 5.0]), np.array([-0.3, 5.0])]),
    "rotations": (operator.matmul, [np.array([[math.cos(n), -math.sin(n)], [math.sin(n), math.cos(n)]]) * 7 for n in (0.5, 1.0, math.pi / 2 - 1.5)]),
    "objects that cancel": (lambda a, b: Sum(a.total + b.total), [Sum(0.1), Sum(0.2), Sum(-0.3)]),
    "infinities": (operator.add, [math.inf, 1.0, 2.0]),
    "infinities and none": (operator.add, [math.inf, -math.inf, 2.0]),
    "max": (max, [3, 1, 2]),
    "min of tuples": (min, [(3, "a"), (1, "b")]),
    "concat": (operator.add, ["a", "bc", ""]),
    "list concat in place": (operator.iadd, [[1], [], [2, 3]]),
    "first": (lambda a, b: a, [1, 2, 3]),
    "union": (operator.or_, [{1}, {2}, set()]),
    "dict merge": (operator.or_, [{1: 2}, {1: 3}, {}]),
    "fractions": (operator.add, [Fraction(1, 3), Fraction(2, 7)]),
    "gcd": (lambda a, b: __import__("math").gcd(a, b), [12, 18, 7]),
    "nothing": (operator.sub, []),
}


@pytest.mark.parametrize("name", NOT_ASSOCIATIVE)
def test_check_shows_three_items_for_which_an_operator_is_not_associative(name: str) -> None:
    op, sample = NOT_ASSOCIATIVE[name]
    with pytest.raises(CheckFailed, match="is not associative"):
        mrpy.check(op, sample)


def test_the_example_is_true() -> None:
    with pytest.raises(CheckFailed) as caught:
        mrpy.check(operator.sub, [0, 0, 3])
    text = str(caught.value)
    assert text == "sub is not associative: sub(sub(0, 0), 3) is -3, but sub(0, sub(0, 3)) is 3"


def test_check_looks_at_all_items_that_it_is_given() -> None:
    def odd_late(left: int, right: int) -> int:
        return left - right if 15 in (left, right) else max(left, right)

    with pytest.raises(CheckFailed, match="not associative"):
        mrpy.check(odd_late, range(20))


@pytest.mark.parametrize("name", ASSOCIATIVE)
def test_check_lets_an_associative_operator_pass(name: str) -> None:
    op, sample = ASSOCIATIVE[name]
    before = repr(sample)
    mrpy.check(op, sample)
    assert repr(sample) == before


@pytest.mark.parametrize("dtype", [int, float])
def test_check_compares_arrays_by_their_elements(dtype: Any) -> None:
    numpy = pytest.importorskip("numpy")
    arrays = [numpy.arange(3, dtype=dtype), numpy.ones(3, dtype), numpy.full(3, 7, dtype)]
    mrpy.check(operator.add, arrays)
    mrpy.check(lambda a, b: {"sum": a["sum"] + b["sum"]}, [{"sum": a} for a in arrays])
    with pytest.raises(CheckFailed):
        mrpy.check(operator.sub, arrays)
    big = [numpy.zeros(5000, dtype) for _ in range(3)]
    for k, array in enumerate(big):
        array[2500] = k  # in the part that repr leaves out
    with pytest.raises(CheckFailed):
        mrpy.check(operator.sub, big)


def test_check_compares_floats_inside_of_values_to_nine_digits() -> None:
    def add(a: Any, b: Any) -> Any:
        return {"n": a["n"] + b["n"], "mean": [a["mean"][0] + b["mean"][0]]}

    mrpy.check(add, [{"n": 1, "mean": [0.1]}, {"n": 2, "mean": [0.2]}, {"n": 3, "mean": [0.3]}])
    mrpy.check(operator.add, [0.1 + 0.1j, 0.2 + 0.7j, 0.3 + 1e9j])


@dataclasses.dataclass
class Totals:
    """Equal to others of the same numbers, to the last digit."""

    number: int
    total: Any

    def __add__(self, other: Totals) -> Totals:
        return Totals(self.number + other.number, self.total + other.total)


HOLDING: dict[str, Callable[[Any], Any]] = {
    "a dataclass": lambda x: Totals(1, x),
    "a set": lambda x: {x, "x"},
    "a frozenset in a tuple": lambda x: (frozenset([x]), x),
    "keys of a dict": lambda x: {x: [x], "x": 0},
    "a deque": lambda x: deque([x]),
    "a dataclass in a dict": lambda x: {"of": [Totals(1, Totals(2, x))]},
}


@pytest.mark.parametrize("name", HOLDING)
def test_check_compares_floats_to_nine_digits_whatever_holds_them(name: str) -> None:
    held = HOLDING[name]

    def opened(value: Any) -> float:
        return float(re.search(r"-?\d+\.\d+(e-\d+)?", repr(value))[0])  # type: ignore[index]

    def op(add: Callable[[float, float], float]) -> Callable[[Any, Any], Any]:
        return lambda a, b: held(add(opened(a), opened(b)))

    items = [held(0.1 * n) for n in range(1, 7)]
    mrpy.check(op(operator.add), items)
    mrpy.check(mrpy.stage(lambda each: (held(math.nan) for _ in each)), items)
    with pytest.raises(CheckFailed, match="not associative"):
        mrpy.check(op(operator.sub), items)


def test_check_takes_what_is_no_number_to_be_the_same_wherever_it_stands() -> None:
    nothing = [math.nan, Decimal("NaN"), np.datetime64("NaT", "s"), np.timedelta64("NaT", "s"), np.float32("nan")]
    nothing += [Totals(1, each) for each in nothing] + [np.array([each]) for each in nothing[:1]]
    for item in nothing:
        mrpy.check(mrpy.stage(lambda each: ((item, [item]) for item in each)), [item, item, item])
        mrpy.check(lambda a, b: {**a, **b}, [{"n": item}, {"n": item}, {"n": item}])


class Counted:
    """Holds what does not say when it is equal, and has its state in C."""

    def __init__(self, start: int) -> None:
        self.numbers = itertools.count(start)

    def __eq__(self, other: object) -> bool:
        return False


class Table:
    """Compares element by element, as those of pandas do."""

    def __init__(self, number: int) -> None:
        self.__dict__["number"] = number

    def __eq__(self, other: object) -> Any:
        return np.array([True, True])

    def __getstate__(self) -> Any:
        return {}

    def __deepcopy__(self, _: Any) -> Table:
        return self

    def __repr__(self) -> str:
        return f"Table of {self.__dict__['number']}"


def test_check_compares_classes_and_functions_by_what_they_are() -> None:
    kinds = [np.int64, int, np.float32, np.ndarray, str]
    mrpy.check(mrpy.stage(lambda each: (kind for kind in each)), kinds)
    made = [Decimal, Fraction, Counted, ValueError, lambda n: re.compile(str(n)), lambda n: 2**n, lambda n: [Table(n)]]
    for items in (kinds, *([make(n) for n in range(3)] for make in made)):
        with pytest.raises(CheckFailed, match="carries something"):
            mrpy.check(mrpy.stage(lambda each: iter(list(each)[::-1])), items)


def test_check_warns_of_no_iterator_that_it_copies() -> None:
    """As Python 3.12 and 3.13 do, since 3.14 does not copy any."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mrpy.check(mrpy.stage(lambda each: (one for one in each)), [Counted(1), Counted(2)])


# ---- check=True on a run ------------------------------------------------------------------------------------------------


@over_local
def test_check_on_a_run_finds_a_bad_stage_before_it_runs(backend: str) -> None:
    run = mrpy.stage(dedupe).with_options(backend=backend, workers=2, check=True)([1, 2, 1, 3])
    with pytest.raises(CheckFailed, match="dedupe carries something"):
        list(run)
    good = doubled.with_options(backend=backend, workers=2, check=True)
    assert good(range(50)).to_list() == list(range(0, 100, 2))
    assert good(iter(range(50))).to_list() == list(range(0, 100, 2))
    assert good(iter([])).to_list() == []


@over_local
def test_check_on_a_run_finds_a_bad_operator(backend: str) -> None:
    options: dict[str, Any] = {"backend": backend, "workers": 2, "check": True}
    with pytest.raises(CheckFailed, match="not associative"):
        mrpy.preduce(operator.sub, range(1, 9), **options)
    with pytest.raises(CheckFailed, match="not associative"):
        mrpy.stream(range(1, 9), **options).reduce(lambda a, b: (a + b) / 2)
    assert mrpy.preduce(operator.add, range(100), **options) == 4950
    assert mrpy.stream(range(100), **options).map(float).sum() == 4950.0
    assert mrpy.stream(range(100), **options).frequencies().count() == 100


@over_local
def test_check_on_a_run_lets_sums_pass_that_cancel(backend: str) -> None:
    """They come to nearly nothing, and so to another number however they are cut."""
    options: dict[str, Any] = {"backend": backend, "workers": 2, "check": True}
    data = [0.1, 0.2, -0.3, 1e16, 1.0, -1e16]

    def total(_: Any, sums: Iterator[float]) -> float:
        return sum(sums)

    sums = mrpy.mapreduce(lambda x: (0, x), total, data[:3], combiner=total, **options)
    assert sums.to_list() == [(0, pytest.approx(0))]
    assert mrpy.preduce(operator.add, data[:3], **options) == pytest.approx(0)
    assert mrpy.preduce(operator.add, data, **options) == pytest.approx(0, abs=2)
    assert mrpy.pfold(lambda total, x: total + x, data, 0.0, **options) == pytest.approx(0, abs=2)
    with pytest.raises(CheckFailed, match="not associative"):
        mrpy.preduce(operator.sub, data[:3], **options)
    with pytest.raises(CheckFailed, match="must be neutral"):
        mrpy.pfold(operator.add, data[:3], 5.0, **options)


@over_local
def test_check_on_a_run_measures_no_float_by_a_large_one_beside_it(backend: str) -> None:
    options: dict[str, Any] = {"backend": backend, "workers": 2, "check": True}

    def means(_: Any, rows: Iterator[tuple[float, float]]) -> tuple[float, float]:
        times, values = zip(*rows, strict=True)
        return max(times), sum(values) / len(values)

    rows = [("k", (1.7e9, 1e-5 * (i % 3 + 1) if i < 3000 else 9e-5)) for i in range(4000)]
    for reducer in (means, lambda key, rows: means(key, rows)[1]):
        with pytest.raises(CheckFailed, match="means changes the answer"):
            mrpy.mapreduce(lambda row: row, reducer, rows, combiner=means, **options).to_list()
    with pytest.raises(CheckFailed, match="not associative"):
        mrpy.preduce(means_of_two, [(sys.float_info.max, float(i)) for i in range(10)], **options)


@over_local
def test_check_on_a_run_looks_at_a_genexpr_and_keeps_all_items(backend: str) -> None:
    got = mrpy.parallel((n * n for n in iter(list(range(60))) if n % 2), backend=backend, workers=2, check=True)
    assert list(got) == [n * n for n in range(60) if n % 2]


@over_local
def test_check_on_a_run_takes_no_longer_behind_what_makes_many_of_an_item(backend: str) -> None:
    """All cuts of all that comes of the items were tried: minutes where they are hundreds, and days."""

    @mrpy.stage
    def many(items: Iterator[int]) -> Iterator[int]:
        for item in items:
            yield from range(item, item + 200)

    options: dict[str, Any] = {"backend": backend, "workers": 2, "check": True}
    begun = time.monotonic()
    assert len(doubled(mrpy.stream(range(60), **options).flat_map(lambda n: range(200))).to_list()) == 60 * 200
    assert mrpy.stream(range(60), **options).flat_map(lambda n: [n] * 2000).fold(operator.add, 0) == 3_540_000
    assert len(doubled(many(mrpy.stream(range(5), **options))).to_list()) == 1000
    pairs = mrpy.mapreduce(in_words, total, ["a b " * 2000] * 30, total, sort=True, **options)
    assert list(pairs) == [("a", 60_000), ("b", 60_000)]
    assert time.monotonic() - begun < 60
    with pytest.raises(CheckFailed, match="dedupe carries something"):
        mrpy.stage(dedupe)(mrpy.stream([1, 2], **options).flat_map(lambda n: [n] * 200)).to_list()


def in_words(line: str) -> Iterator[tuple[str, int]]:
    return ((word, 1) for word in line.split())


def total(key: str, values: Iterator[int]) -> int:
    return sum(values)


def test_the_docstring_of_check_is_true() -> None:
    assert textwrap.dedent(mrpy.check.__doc__ or "")


@over_local
def test_the_stages_of_a_mapreduce_are_checked(backend: str) -> None:
    options = {"backend": backend, "workers": 2, "check": True}
    good = mrpy.mapreduce(lambda n: (n, 1), lambda key, ones: sum(ones), (n for n in [1, 2, 1]), **options)
    assert sorted(good) == [(1, 2), (2, 1)]
    carried = {"seen": 0}
    with pytest.raises(CheckFailed, match="carries something"):
        list(
            mrpy.mapreduce(
                lambda n: (n, 1), lambda key, ones: sum(ones),
                (carried.__setitem__("seen", carried["seen"] + n) or carried["seen"] for n in [1, 2, 3]), **options,
            )
        )  # fmt: skip


@over_local
@pytest.mark.parametrize("sort", [True, False])
def test_a_combiner_that_changes_the_answer_is_found(backend: str, sort: bool) -> None:
    def mean(key: object, values: Iterator[float]) -> float:
        numbers = list(values)
        return sum(numbers) / len(numbers)

    def pairs(number: int) -> list[tuple[object, float]]:
        return [((number % 2,), float(number)), ("all", 1.0)]

    options = {"backend": backend, "workers": 2, "check": True}
    with pytest.raises(CheckFailed, match="the combiner .*mean changes the answer"):
        list(mrpy.mapreduce(pairs, mean, range(9), combiner=mean, **options))
    total = mrpy.mapreduce(
        lambda n: (n % 2, n), lambda key, values: sum(values), range(40),
        combiner=lambda key, values: (yield sum(values)), sort=sort, **options,
    )  # fmt: skip
    assert sorted(total) == [(0, 380), (1, 400)]


@over_local
def test_an_initial_value_that_is_not_neutral_is_found(backend: str) -> None:
    options = {"backend": backend, "workers": 2, "check": True}
    with pytest.raises(CheckFailed, match="initial value 5, which must be neutral"):
        mrpy.pfold(operator.add, range(9), 5, **options)
    assert mrpy.pfold(operator.add, range(9), 0, **options) == 36
    assert mrpy.pfold(lambda seen, n: [*seen, n], range(30), [], **options) == list(range(30))
    assert mrpy.pfold(operator.add, [3], 5, **options) == 8
    assert mrpy.pfold(operator.add, [], 5, **options) == 5


@over_local
def test_the_parts_of_a_program_are_checked(backend: str) -> None:
    carried = {"sum": 0}
    program = zip((carried.__setitem__("sum", carried["sum"] + n) or carried["sum"] for n in [1, 2, 3]), "abc")  # noqa: B905
    with pytest.raises(CheckFailed, match="carries something"):
        list(mrpy.parallel(program, backend=backend, workers=2, check=True))


@over_local
@pytest.mark.parametrize(
    "program",
    [
        lambda stage: (x for x in stage([1, 2, 3])),
        lambda stage: map(str, stage([1, 2, 3])),
        lambda stage: zip(stage([1, 2, 3]), "abc"),  # noqa: B905
        lambda stage: enumerate(stage([1, 2, 3])),
        lambda stage: itertools.chain("ab", stage([1, 2, 3])),
        lambda stage: filter(None, (x for x in stage([1, 2, 3]))),
    ],
)
def test_a_stage_inside_of_a_program_is_checked(program: Any, backend: str) -> None:
    @mrpy.stage
    def running(items: Any) -> Any:
        total = 0
        for item in items:
            total += item
            yield total

    with pytest.raises(CheckFailed, match="running carries something"):
        list(mrpy.parallel(program(running), backend=backend, workers=2, check=True))


@over_local
@pytest.mark.parametrize("on_error", ["raise", "skip", "return"])
def test_an_item_that_raises_does_so_at_its_place_checked_or_not(on_error: str, backend: str) -> None:
    got: list[Any] = []
    options: dict[str, Any] = {"backend": backend, "workers": 2, "check": True, "on_error": on_error}
    try:
        got.extend(mrpy.parallel((1 // x if x != 5 else sys.exit("no") for x in [1, 0, -1, 5]), **options))
    except ZeroDivisionError as error:
        assert (on_error, got, error.mrpy_item.position) == ("raise", [1], 1)  # type: ignore[attr-defined]
    else:
        assert [item for item in got if type(item) is int] == [1, -1]
        assert len(got) == (4 if on_error == "return" else 2)
    if on_error == "skip":
        assert mrpy.preduce(operator.add, (1 // x for x in [1, 0, 1]), **options) == 2


@over_local
def test_random_numbers_of_items_do_not_depend_on_the_cut(backend: str) -> None:
    @mrpy.stage
    def noisy(items: Any) -> Any:
        for item in items:
            yield item + mrpy.rng().random()

    mrpy.check(noisy, [1, 2, 3])
    for run in (lambda **o: noisy.with_options(**o)(range(5)), lambda **o: mrpy.parallel(map(abs, noisy(range(5))), **o)):
        options: dict[str, Any] = {"backend": backend, "workers": 2, "seed": 1}
        assert list(run(**options)) == list(run(check=True, **options))
    with pytest.raises(CheckFailed, match=r"from one run to the next: .*mrpy\.rng"):
        mrpy.check(mrpy.stage(lambda items: (item + random.random() for item in items)), [1, 2])


class Plain:
    """Equal to nothing but itself."""

    def __init__(self, number: int) -> None:
        self.number, self.myself = number, [self]


def test_check_compares_objects_by_what_they_hold_where_they_do_not_say_when_they_are_equal() -> None:
    items = [Plain(1), Plain(2), Plain(2)]
    mrpy.check(mrpy.stage(lambda each: (item for item in each)), items)
    mrpy.check(mrpy.stage(lambda each: (Plain(item) for item in each)), [1, 2])
    mrpy.check(lambda a, b: Plain(a.number + b.number), items)
    for bad in (lambda each: (Plain(place) for place, _ in enumerate(each)), lambda each: iter(list(each)[::-1])):
        with pytest.raises(CheckFailed, match="carries something"):
            mrpy.check(mrpy.stage(bad), items)
    with pytest.raises(CheckFailed, match="not associative"):
        mrpy.check(lambda a, b: Plain(a.number - b.number), items)


def test_items_that_cannot_be_copied_are_said_to_be_it() -> None:
    for item in (threading.Lock(), (n for n in [1])):
        with pytest.raises(SerializationError, match=r"cannot be copied.*leave out check=True"):
            mrpy.check(mrpy.stage(lambda each: (x for x in each)), [item, item])


@over_local
def test_a_mapper_that_raises_or_draws_random_numbers_is_checked_as_it_runs(backend: str) -> None:
    def mapper(n: int) -> Any:
        return 6 // n, mrpy.rng().integers(9)

    def total(key: int, values: Any) -> Any:
        return sum(values)

    def run(**options: Any) -> Any:
        items = [1, 2, 0, 2, 3]
        return list(mrpy.mapreduce(mapper, total, items, combiner=total, backend=backend, workers=2, seed=1, **options))

    assert run(on_error="skip", check=True) == run(on_error="skip")
    with pytest.raises(ZeroDivisionError) as caught:
        run(check=True)
    assert caught.value.mrpy_item.position == 2  # type: ignore[attr-defined]


@mrpy.stage
def without_a_model(items: Iterator[int]) -> Iterator[int]:
    raise FileNotFoundError("no model")
    yield from items


@mrpy.stage
def at_least_ten(items: Iterator[int]) -> Iterator[int]:
    number = 0
    for number, item in enumerate(items, 1):
        yield item
    if number < 10:
        raise LookupError("too few")


@pytest.mark.parametrize("on_error", ["skip", "return", repr])
@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
@pytest.mark.parametrize("stage", [without_a_model, at_least_ten], ids=str)
def test_a_stage_that_fails_without_an_item_ends_the_run(stage: Any, backend: str, on_error: Any) -> None:
    """No item can be left out for it: it would go on for ever."""
    with pytest.raises((FileNotFoundError, LookupError)):
        list(stage.with_options(backend=backend, workers=2, on_error=on_error)(range(6)))
    if stage is without_a_model:  # each item by itself: a stage that has seen its item has failed of that
        with pytest.raises(FileNotFoundError):
            list(stage.with_options(backend=backend, workers=2, on_error=on_error, retries=1)(range(6)))


@mrpy.stage
def above_the_first(items: Iterator[int]) -> Iterator[int]:
    first = next(items)
    yield 6 // first
    for item in items:
        yield 6 // item


@pytest.mark.parametrize("chunksize", ["auto", 1, 2, 3, 4])
@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_a_stage_is_not_begun_once_more_over_nothing(backend: str, chunksize: Any) -> None:
    """Where the last item of a chunk is left out: a stage may need one at least."""
    run = above_the_first.with_options(backend=backend, workers=2, on_error="skip", chunksize=chunksize)
    assert list(run([1, 2, 0, 3, 0])) == [6, 3, 2]

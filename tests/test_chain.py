"""Every operator of the chain equals what its docstring says it equals, as properties."""

from __future__ import annotations

import collections
import copy
import functools
import heapq
import inspect
import itertools
import math
import numbers
import operator
import pickle
import random
import statistics
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy
import pytest
import toolz
from generated import run_options
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from laws import LOCAL

import mrpy
from mrpy.errors import OptionError
from mrpy.iterators import order
from mrpy.iterators.elsewhere import _HERE, _VERBS, called_here
from mrpy.mapreduce import moments

Options = dict[str, Any]
EXAMPLES = {"serial": 40, "threads": 15, "processes": 6}

over_local = pytest.mark.parametrize("backend", LOCAL)
never_runs = pytest.mark.parametrize("backend", ["serial"])


def same(left: Any, right: Any) -> bool:
    """Equal and of one type; a NaN equals a NaN, and zeros have their signs."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float):
        return repr(left) == repr(right)
    return bool(left == right or (left != left and right != right))


def outcome(call: Callable[[], Any]) -> Any:
    """What a call returns, or the type of what it raises."""
    try:
        return call()
    except Exception as error:
        return type(error)


# ---- operators that give many things -----------------------------------------------------------------

ints = st.lists(st.integers(-30, 30), max_size=60)
anything = st.lists(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0, math.inf, "", "a", (), (1, 2), 2**70]),
    max_size=30,
)
words = st.lists(st.text("abC", max_size=3), max_size=40)
lists = st.lists(st.lists(st.integers(0, 5), max_size=4), max_size=20)
pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(-9, 9)), max_size=40)
small = st.integers(0, 8)


def sliding(size: int, xs: list[Any]) -> list[tuple[Any, ...]]:
    return list(toolz.sliding_window(size, xs))


def batched(xs: list[Any], size: int) -> list[tuple[Any, ...]]:
    return [tuple(xs[at : at + size]) for at in range(0, len(xs), size)]


MANY: dict[str, tuple[Any, Callable[[Any, Any, int], Any], Callable[[Any, int], Any]]] = {
    "map": (anything, lambda s, x, n: s.map(repr), lambda x, n: map(repr, x)),
    "map to None": (anything, lambda s, x, n: s.map(lambda y: None), lambda x, n: [None] * len(x)),
    "starmap": (pairs, lambda s, x, n: s.starmap(lambda a, b: (b, a)), lambda x, n: [(b, a) for a, b in x]),
    "filter": (ints, lambda s, x, n: s.filter(lambda y: y % (n + 1)), lambda x, n: [y for y in x if y % (n + 1)]),
    "filter None": (anything, lambda s, x, n: s.filter(None), lambda x, n: filter(None, x)),
    "flat_map": (lists, lambda s, x, n: s.flat_map(reversed), lambda x, n: toolz.mapcat(reversed, x)),
    "flat_map of a generator": (
        ints, lambda s, x, n: s.flat_map(lambda y: (y for _ in range(y % (n + 1)))),
        lambda x, n: [y for y in x for _ in range(y % (n + 1))],
    ),
    "batch": (anything, lambda s, x, n: s.batch(n + 1), lambda x, n: batched(x, n + 1)),
    "batch after map": (ints, lambda s, x, n: s.map(abs).batch(n + 1), lambda x, n: batched(list(map(abs, x)), n + 1)),
    "unbatch": (lists, lambda s, x, n: s.unbatch(), lambda x, n: toolz.concat(x)),
    "batch and back": (anything, lambda s, x, n: s.batch(n + 1).unbatch(), lambda x, n: x),
    "window": (anything, lambda s, x, n: s.window(n + 1), lambda x, n: sliding(n + 1, x)),
    "enumerate": (anything, lambda s, x, n: s.enumerate(n - 3), lambda x, n: enumerate(x, n - 3)),
    "enumerate after filter": (
        ints, lambda s, x, n: s.filter(lambda y: y > n).enumerate(), lambda x, n: enumerate(y for y in x if y > n)
    ),
    "zip": (anything, lambda s, x, n: s.zip(range(n), x[:9]), lambda x, n: zip(x, range(n), x[:9], strict=False)),
    "chain": (anything, lambda s, x, n: s.chain(range(n), [], x), lambda x, n: itertools.chain(x, range(n), x)),
    "take": (anything, lambda s, x, n: s.take(n), lambda x, n: x[:n]),
    "take after filter": (
        ints, lambda s, x, n: s.filter(lambda y: y % 2).take(n), lambda x, n: [y for y in x if y % 2][:n]
    ),
    "skip": (anything, lambda s, x, n: s.skip(n), lambda x, n: x[n:]),
    "skip and take": (ints, lambda s, x, n: s.map(abs).skip(n).take(n), lambda x, n: list(map(abs, x))[n : 2 * n]),
    "take_while": (ints, lambda s, x, n: s.take_while(lambda y: y < n * 3),
                   lambda x, n: itertools.takewhile(lambda y: y < n * 3, x)),
    "distinct": (anything, lambda s, x, n: s.distinct(), lambda x, n: toolz.unique(x)),
    "distinct by key": (words, lambda s, x, n: s.distinct(str.lower), lambda x, n: toolz.unique(x, str.lower)),
    "distinct after map": (
        ints, lambda s, x, n: s.map(lambda y: y % (n + 1)).distinct(), lambda x, n: toolz.unique(y % (n + 1) for y in x)
    ),
    "sorted": (ints, lambda s, x, n: s.sorted(), lambda x, n: sorted(x)),
    "sorted, ties": (words, lambda s, x, n: s.sorted(str.lower), lambda x, n: sorted(x, key=str.lower)),
    "sorted backwards, ties": (
        words, lambda s, x, n: s.sorted(len, reverse=True), lambda x, n: sorted(x, key=len, reverse=True)
    ),
    "sorted by index": (pairs, lambda s, x, n: s.sorted(0), lambda x, n: sorted(x, key=lambda p: p[0])),
    "topk": (ints, lambda s, x, n: s.topk(n), lambda x, n: heapq.nlargest(n, x)),
    "topk, ties": (words, lambda s, x, n: s.topk(n, len), lambda x, n: heapq.nlargest(n, x, len)),
    "topk by index": (pairs, lambda s, x, n: s.topk(n, 0), lambda x, n: heapq.nlargest(n, x, lambda p: p[0])),
    "topk by indexes": (pairs, lambda s, x, n: s.topk(n, [1, 0]), lambda x, n: heapq.nlargest(n, x, lambda p: p[::-1])),
    "frequencies": (anything, lambda s, x, n: s.frequencies(), lambda x, n: collections.Counter(x).items()),
    "frequencies, topk": (
        words, lambda s, x, n: s.frequencies().topk(n, 1), lambda x, n: collections.Counter(x).most_common(n)
    ),
    "tee": (ints, lambda s, x, n: s.map(abs).tee(n + 1)[-1], lambda x, n: map(abs, x)),
    "tee, both": (ints, lambda s, x, n: (lambda a, b: a.zip(b.skip(n)))(*s.tee()), lambda x, n: zip(x, x[n:])),
    "to_list": (anything, lambda s, x, n: s.to_list(), lambda x, n: x),
}  # fmt: skip


@over_local
@pytest.mark.parametrize("name", MANY)
def test_an_operator_that_gives_many_things(name: str, backend: str) -> None:
    strategy, chain, plain = MANY[name]

    @settings(max_examples=EXAMPLES[backend], deadline=None, suppress_health_check=list(HealthCheck))
    @given(xs=strategy, n=small, options=run_options, pulled=st.booleans())
    def run(xs: Any, n: int, options: Options, pulled: bool) -> None:
        source = iter(dict(enumerate(xs)).values()) if pulled else xs
        got = chain(mrpy.stream(source, backend=backend, **options), xs, n)
        assert same(list(got), list(plain(xs, n)))

    run()


# ---- operators that give one thing --------------------------------------------------------------------

floats = st.lists(st.floats(allow_nan=True, allow_infinity=True) | st.integers(-5, 5).map(float), max_size=40)
finite = st.lists(st.floats(-1e9, 1e9), max_size=40)
huge = st.lists(st.integers(-(2**80), 2**80), max_size=30)
exact = st.lists(st.integers(-9, 9) | st.fractions(-9, 9, max_denominator=9), max_size=30)
decimals = st.lists(st.decimals(-9, 9, places=2), max_size=30)
orderable = st.lists(st.integers(-5, 5) | st.sampled_from([0.5, True, False, -0.0, 1.0, Fraction(1, 2)]), max_size=40)

ONE: dict[str, tuple[Any, Callable[[Any, Any, int], Any], Callable[[Any, int], Any]]] = {
    "count": (anything, lambda s, x, n: s.count(), lambda x, n: len(x)),
    "count after filter": (ints, lambda s, x, n: s.filter(lambda y: y < n).count(), lambda x, n: sum(y < n for y in x)),
    "sum of ints": (huge, lambda s, x, n: s.sum(), lambda x, n: sum(x)),
    "sum of bools": (st.lists(st.booleans()), lambda s, x, n: s.sum(), lambda x, n: sum(x)),
    "sum of fractions": (exact, lambda s, x, n: s.sum(), lambda x, n: sum(x)),
    "sum of decimals": (decimals, lambda s, x, n: s.sum(), lambda x, n: sum(x)),
    "sum with start": (huge, lambda s, x, n: s.sum(n), lambda x, n: sum(x, n)),
    "sum of lists": (lists, lambda s, x, n: s.sum([n]), lambda x, n: sum(x, [n])),
    "sum of tuples": (pairs, lambda s, x, n: s.sum(()), lambda x, n: sum(x, ())),
    "sum of strings": (words, lambda s, x, n: s.sum(""), lambda x, n: sum(x, "")),
    "sum of None": (st.just([None]), lambda s, x, n: s.sum(), lambda x, n: sum(x)),
    "min": (orderable, lambda s, x, n: s.min(), lambda x, n: min(x)),
    "max": (orderable, lambda s, x, n: s.max(), lambda x, n: max(x)),
    "min, ties": (words, lambda s, x, n: s.min(len), lambda x, n: min(x, key=len)),
    "max, ties": (words, lambda s, x, n: s.max(str.lower), lambda x, n: max(x, key=str.lower)),
    "min or default": (ints, lambda s, x, n: s.min(default=n), lambda x, n: min(x, default=n)),
    "max or None": (ints, lambda s, x, n: s.max(default=None), lambda x, n: max(x, default=None)),
    "mean of fractions": (exact, lambda s, x, n: s.map(Fraction).mean(), lambda x, n: statistics.mean(map(Fraction, x))),
    "reduce": (words, lambda s, x, n: s.reduce(operator.add), lambda x, n: functools.reduce(operator.add, x)),
    "reduce from": (words, lambda s, x, n: s.reduce(operator.add, "<"),
                    lambda x, n: functools.reduce(operator.add, x, "<")),
    "reduce from None": (ints, lambda s, x, n: s.reduce(lambda a, b: b, None),
                         lambda x, n: functools.reduce(lambda a, b: b, x, None)),
    "reduce of None": (anything, lambda s, x, n: s.reduce(lambda a, b: a), lambda x, n: functools.reduce(lambda a, b: a, x)),
    "fold": (anything, lambda s, x, n: s.fold(lambda seen, y: [*seen, y], []), lambda x, n: x),
    "fold in place": (ints, lambda s, x, n: s.fold(lambda seen, y: seen | {y}, set(), operator.or_), lambda x, n: set(x)),
    "first": (anything, lambda s, x, n: s.first(), lambda x, n: x[0] if x else min([])),
    "peek": (anything, lambda s, x, n: (lambda p: (p[0], list(p[1])))(s.peek()), lambda x, n: (x[0], x) if x else min([])),
    "foreach": (anything, lambda s, x, n: s.foreach(repr), lambda x, n: None),
    "sample of all": (anything, lambda s, x, n: s.sample(99, seed=n), lambda x, n: x),
    "histogram": (finite, lambda s, x, n: [a.tolist() for a in s.histogram([-1e9, -5, 0, 0.5, 9, 1e9])],
                  lambda x, n: [a.tolist() for a in numpy.histogram(x, [-1e9, -5, 0, 0.5, 9, 1e9])]),
    "histogram in a range": (
        finite, lambda s, x, n: s.histogram(n + 1, (-100.0, 1000.0))[0].tolist(),
        lambda x, n: numpy.histogram(x, numpy.histogram_bin_edges([], n + 1, (-100.0, 1000.0)))[0].tolist()),
}  # fmt: skip


@over_local
@pytest.mark.parametrize("name", ONE)
def test_an_operator_that_gives_one_thing(name: str, backend: str) -> None:
    strategy, chain, plain = ONE[name]

    @settings(max_examples=EXAMPLES[backend], deadline=None, suppress_health_check=list(HealthCheck))
    @given(xs=strategy, n=small, options=run_options, pulled=st.booleans())
    def run(xs: Any, n: int, options: Options, pulled: bool) -> None:
        source = iter(dict(enumerate(xs)).values()) if pulled else xs
        got = outcome(lambda: chain(mrpy.stream(source, backend=backend, **options), xs, n))
        expected = outcome(lambda: plain(xs, n))
        assert same(got, ValueError if expected is statistics.StatisticsError else expected)

    run()


@given(xs=finite)
@settings(deadline=None, max_examples=60)
def test_a_sum_of_floats_is_as_good_as_fsum(xs: list[float]) -> None:
    got = mrpy.stream(xs, backend="serial").sum()
    assert math.isclose(got, math.fsum(xs), rel_tol=1e-15, abs_tol=1e-15 * max(map(abs, xs), default=0))


@given(xs=floats)
@settings(deadline=None, max_examples=100)
def test_a_sum_with_nan_and_inf_is_that_of_a_loop(xs: list[float]) -> None:
    got, expected = mrpy.stream(xs, backend="serial").sum(), sum(xs)
    within = [x for x in xs if math.isfinite(x)]
    exact = sum(map(Fraction, within))
    if math.isfinite(expected):
        assert math.isclose(got, expected, rel_tol=1e-9, abs_tol=1e-15 * max(map(abs, xs), default=0))
    elif not any(map(math.isinf, itertools.accumulate(within))):
        assert same(float(got), float(expected))
    elif len(within) < len(xs):  # a loop overflows in the middle, before something that is infinite
        assert not math.isfinite(got)
    else:
        assert not math.isfinite(got) or math.isclose(got, float(exact), rel_tol=1e-9)


NUMBERS = st.sampled_from([
    0, 1, -7, 2**80, True, 0.1, -2.5, 1e300, 1e-300, -0.0, math.inf, -math.inf, math.nan, Fraction(1, 3), 1 + 2j, 0.5j,
])  # fmt: skip


@given(xs=st.lists(NUMBERS, max_size=150), options=run_options)
@settings(deadline=None, max_examples=150)
def test_a_sum_of_mixed_numbers_is_that_of_a_loop(xs: list[Any], options: Options) -> None:
    got = outcome(lambda: mrpy.stream(xs, backend="serial", **options).sum())
    expected = outcome(lambda: sum(xs))
    if isinstance(expected, type) or isinstance(got, type):
        assert got == expected
        return
    assert type(got) is type(expected), (got, expected)
    near = complex(got), complex(expected)
    for ours, theirs in ((near[0].real, near[1].real), (near[0].imag, near[1].imag)):
        if math.isfinite(theirs):
            assert math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-9 * max([abs(complex(x)) for x in xs if abs(x) < math.inf], default=0))
        else:
            assert repr(ours) == repr(theirs)


def test_a_sum_of_decimals_and_floats_is_the_error_of_a_loop() -> None:
    for xs in ([Decimal(1), 0.5], [0.5, Decimal(1)], [0.5] * 100 + [Decimal(1)], [Decimal(1)] * 100 + [0.5]):
        with pytest.raises(TypeError, match="unsupported operand"):
            mrpy.stream(xs, backend="serial").sum()


@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize("verb", ["sum", "mean", "std"])
def test_text_among_what_is_added_is_named(verb: str, backend: str) -> None:
    for xs, kind in ((["1", "2"], "str '1'"), ([b"1", b"2"], "bytes b'1'"), ([bytearray(b"1")], "bytearray")):
        with pytest.raises(TypeError, match=rf"{verb}\(\) needs numbers, not {kind}.*in a map\(\) before"):
            getattr(mrpy.stream(xs, backend=backend, workers=2), verb)()


@given(xs=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=200))
@settings(deadline=None, max_examples=60)
def test_mean_and_std_are_those_of_statistics(xs: list[float]) -> None:
    def stream() -> Any:
        return mrpy.stream(xs, backend="serial")

    assert math.isclose(stream().mean(), statistics.fmean(xs), rel_tol=1e-12, abs_tol=1e-9)
    assert math.isclose(stream().std(), statistics.pstdev(xs), rel_tol=1e-9, abs_tol=1e-9)
    assert math.isclose(stream().std(ddof=1), statistics.stdev(xs), rel_tol=1e-9, abs_tol=1e-9)


@pytest.mark.parametrize("chunksize", [1, 7, 1000])
def test_a_mean_of_floats_among_integers_is_that_of_floats(chunksize: int) -> None:
    xs = [1, 1e16, 1.0, -1e16, 0.1, True] * 1000
    options: Any = {"backend": "serial", "chunksize": chunksize}
    assert mrpy.stream(xs, **options).mean() == mrpy.stream(map(float, xs), **options).mean()


def test_std_is_stable_far_from_zero() -> None:
    xs = [1e9 + x for x in (4, 7, 13, 16)] * 500
    assert math.isclose(mrpy.stream(xs, backend="serial").std(), math.sqrt(22.5), rel_tol=1e-9)


CLOSE = [  # to each other, for their size
    [1e16, 1e16 + 2, 1e16 + 4],
    [1.7e18 + random.Random(n).gauss(0, 1e5) for n in range(1000)],
    [1e9 + 1e-7 * n for n in range(500)],
    [*[0.1] * 300, 0.1 + 2e-17],
    [1e16, 10**16 + 2, 1e16 + 4, 10**16 + 6],
]


@pytest.mark.parametrize("xs", CLOSE, ids=lambda xs: str(xs[0]))
@pytest.mark.parametrize("chunksize", [1, 3, 64, 1000])
def test_std_of_what_is_large_and_close_to_each_other(xs: list[float], chunksize: int) -> None:
    run = mrpy.stream(xs, backend="serial", chunksize=chunksize)
    assert math.isclose(run.std(), statistics.pstdev(xs), rel_tol=1e-9)
    [(_, found)] = run.aggregate_by(lambda _: 0, spread="std")
    assert math.isclose(found["spread"], statistics.pstdev(xs), rel_tol=1e-9)


FAR = {  # what is too large, or too small, to be squared as a float
    "large": [1e200, -1e200],
    "twice as large": [1e154, 3e154],
    "the largest": [1.7e308, -1.7e308] * 300,
    "the largest, all the same": [1.7e308] * 1000,
    "large, beside others": [*map(float, range(700)), 1e200, *map(float, range(700))],
    "small": [1e-165, 3e-165],
    "small, and more of them": [1e-165 * n for n in range(1000)],
    "small, behind others": [*[0.5] * 1000, *(0.5 + 1e-165 * n for n in range(1000))],
    "small, all the same": [0.1e-300] * 1000,
    "subnormal": [5e-324 * n for n in range(300)],
    "large and small": [1e-200, 1e200] * 200,
    "integers": [10**200, -(10**200)],
    "integers and others": [10**200, 0.5, -(10**200), *[2.5, 7] * 300],
    "integers, then others": [*[10**200] * 300, *[0.5] * 300],
    "fractions": [Fraction(1, 10**200), Fraction(3, 10**200)] * 200,
    "decimals": [Decimal("1e200"), Decimal("-1e200")] * 200,
    "integers that are no floats": [[10**17 + 3, 10**17 + 1, 1e17][n * n % 7 % 3] for n in range(700)],
}


@pytest.mark.parametrize("kind", FAR)
@pytest.mark.parametrize("chunksize", [1, 7, 1000])
def test_std_of_what_cannot_be_squared(kind: str, chunksize: int) -> None:
    run = mrpy.stream(FAR[kind], backend="serial", chunksize=chunksize)
    expected = float(statistics.pstdev(FAR[kind]))
    assert math.isclose(run.std(), expected, rel_tol=1e-15)
    [(_, found)] = run.aggregate_by(lambda _: 0, spread="std")
    assert math.isclose(found["spread"], expected, rel_tol=1e-15)


def test_std_that_is_no_float_is_an_overflow_as_in_statistics() -> None:
    for xs in ([1.7e308, -1.7e308], [10**400, -(10**400)], [10**400, 5], [Fraction(10**400), 0]):
        with pytest.raises(OverflowError):
            statistics.stdev(xs)
        with pytest.raises(OverflowError):
            mrpy.stream(xs, backend="serial").std(ddof=1)


    for xs in ([10**400, -(10**400)], [Fraction(10**400), 0], [1.7e308, -1.7e308]):
        with pytest.raises(OverflowError, match=r"^std\(\): the deviation is too large for a float$"):
            mrpy.stream(xs, backend="serial").std(ddof=1)


@pytest.mark.parametrize("chunksize", [1, 1000])
@pytest.mark.parametrize(
    ("xs", "expected"),
    [
        (["1e400", "1"], math.inf), (["1e200000", "1"], math.inf), (["1e499999", "1"], math.inf),
        (["1e-200000", "3e-200000"], 0.0), (["1e-200", "3e-200"], 1e-200), (["1e300", "3e300"], 1e300),
        (["nan", "1"], math.nan),
    ],
)  # fmt: skip
def test_std_of_decimals_with_large_exponents_is_quick(xs: list[str], expected: float, chunksize: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fractions of these would be integers of as many digits: none are made."""
    monkeypatch.setattr(moments, "fractions", None)
    run = mrpy.stream(map(Decimal, xs), backend="serial", chunksize=chunksize)
    assert run.std() == pytest.approx(expected, rel=1e-15, abs=0, nan_ok=True)


@pytest.mark.parametrize("other", [0.0, 1e200, 1e-200, 10**17])
@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_std_of_what_is_not_finite_is_nan(odd: float, other: float) -> None:
    for xs in ([odd], [odd, other], [other, odd, other], [other] * 700 + [odd], [other, -other] * 300 + [odd, other]):
        assert math.isnan(mrpy.stream(xs, backend="serial").std())


@pytest.mark.parametrize("make", [int, float, Fraction, Decimal, numpy.float64, numpy.int32], ids=lambda f: f.__name__)
def test_mean_and_std_of_every_kind_of_number(make: Any) -> None:
    xs = [make(x % 13) for x in range(300)]
    assert math.isclose(float(mrpy.stream(xs, backend="serial").mean()), statistics.fmean(xs), rel_tol=1e-12)
    assert math.isclose(mrpy.stream(xs, backend="serial").std(), statistics.pstdev(map(float, xs)), rel_tol=1e-12)


class Foreign:
    """A complex number of another library."""

    def __init__(self, value: complex) -> None:
        self.value = value

    real = property(lambda self: self.value.real)
    imag = property(lambda self: self.value.imag)
    conjugate = lambda self: Foreign(self.value.conjugate())  # noqa: E731
    __add__ = __radd__ = lambda self, other: Foreign(self.value + complex(getattr(other, "value", other)))
    __sub__ = lambda self, other: Foreign(self.value - other.value)
    __mul__ = __rmul__ = lambda self, other: Foreign(self.value * getattr(other, "value", other))
    __truediv__ = lambda self, other: Foreign(self.value / other)


numbers.Complex.register(Foreign)


def test_std_of_complex_numbers_of_another_library_is_real() -> None:
    xs = [1 + 2j, 0j, 3 - 1j, 2 + 2j, 5j]
    for chunksize in (1, 2, 5):
        found = mrpy.stream(map(Foreign, xs), backend="serial", chunksize=chunksize).std()
        assert math.isclose(found, numpy.std(xs), rel_tol=1e-12)


# ---- the same bits everywhere ----------------------------------------------------------------------------

SAME: dict[str, Callable[[Any], Any]] = {
    "sum": lambda s: s.sum(),
    "sum of all kinds": lambda s: s.map(lambda x: (x, int(x), Fraction(int(x), 7))[int(x) % 3]).sum(),
    "complex sum": lambda s: s.map(lambda x: complex(x, 1 / x)).sum(),
    "mean": lambda s: s.mean(),
    "std": lambda s: s.std(),
    "std, filtered": lambda s: s.filter(lambda x: int(x) % 3).std(1),
    "reduce": lambda s: s.reduce(operator.add),
    "sample": lambda s: s.sample(20, seed=5),
    "sample, filtered": lambda s: s.filter(lambda x: int(x) % 5).sample(20, seed=5),
    "sample, multiplied": lambda s: s.flat_map(lambda x: [x, -x]).sample(20, seed=5),
    "sample of a sample": lambda s: s.batch(3).map(sum).sample(3, seed=1),
    "histogram": lambda s: s.histogram(7, (0.0, 300.0))[0].tolist(),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_bits_everywhere(name: str) -> None:
    xs = [1.0 / (x + 1) * 1000 for x in range(700)]
    found = set()
    for backend, workers, chunksize, pulled in itertools.product(LOCAL, (1, 2), ("auto", 1, 7, 200), (False, True)):
        if (backend, chunksize) == ("processes", 1) or (backend == "serial" and workers == 2):
            continue
        source = iter(dict(enumerate(xs)).values()) if pulled else xs
        value = SAME[name](mrpy.stream(source, backend=backend, workers=workers, chunksize=chunksize))
        found.add(repr(value.hex() if isinstance(value, float) else value))
    assert len(found) == 1


def test_another_seed_takes_another_sample_and_each_item_has_its_chance() -> None:
    draws = [mrpy.stream(range(100), backend="serial").sample(10, seed=seed) for seed in range(200)]
    assert all(len(set(draw)) == 10 and draw == sorted(draw) for draw in draws)
    counts = collections.Counter(itertools.chain.from_iterable(draws))
    assert all(4 <= counts[n] <= 45 for n in range(100))  # 20 are expected of each
    unseeded = [tuple(mrpy.stream(range(1000), backend="serial").sample(5)) for _ in range(3)]
    assert len(set(unseeded)) > 1
    assert mrpy.stream(range(9), backend="serial").sample(0, seed=1) == []
    with mrpy.session("serial", seed=3):
        of_the_run = {tuple(mrpy.stream(range(1000), seed=3).sample(5)), tuple(mrpy.stream(range(1000)).sample(5))}
    assert of_the_run == {tuple(mrpy.stream(range(1000), backend="serial").sample(5, seed=3))}
    random.seed(1)  # that of the user's own program, which is none of our business
    assert len(mrpy.stream(range(1000), backend="serial").sample(5)) == 5
    assert random.random() == random.Random(1).random()


# ---- errors --------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "first": (lambda s: s.first(), ValueError, "first.. of no items"),
    "peek": (lambda s: s.peek(), ValueError, "peek.. at no items"),
    "mean": (lambda s: s.mean(), ValueError, "mean.. of no items"),
    "std": (lambda s: s.std(), ValueError, "needs more than 0 items"),
    "std of one": (lambda s: s.chain([1]).std(ddof=1), ValueError, "needs more than 1 item$"),
    "min": (lambda s: s.min(), ValueError, "min.. .*empty"),
    "max": (lambda s: s.max(key=abs), ValueError, "max.. .*empty"),
    "reduce": (lambda s: s.reduce(operator.add), TypeError, "empty iterable with no initial value"),
    "batch(0)": (lambda s: s.batch(0), ValueError, "batch.. .*from 1 up"),
    "batch(-1)": (lambda s: s.batch(-1), ValueError, "batch.. .*from 1 up"),
    "batch('a')": (lambda s: s.batch("a"), ValueError, "batch.. .*from 1 up"),
    "batch(2.0)": (lambda s: s.batch(2.0), ValueError, "batch.. .*from 1 up"),
    "window(0)": (lambda s: s.window(0), ValueError, "window.. .*from 1 up"),
    "take(-1)": (lambda s: s.take(-1), ValueError, "take.. .*from 0 up"),
    "take(None)": (lambda s: s.take(None), ValueError, "take.. .*from 0 up"),
    "skip(-1)": (lambda s: s.skip(-1), ValueError, "skip.. .*from 0 up"),
    "topk(-1)": (lambda s: s.topk(-1), ValueError, "topk.. .*from 0 up"),
    "topk('a')": (lambda s: s.topk("a"), ValueError, "topk.. .*from 0 up"),
    "sample(-1)": (lambda s: s.sample(-1), ValueError, "sample.. .*from 0 up"),
    "sample seed": (lambda s: s.sample(2, seed="x"), ValueError, "seed"),
    "sample(2, .5)": (lambda s: s.sample(2, 0.5), ValueError, r"sample\(\) needs a whole number as seed from 0 up, not 0.5"),
    "a share of Spark": (lambda s: s.sample(False, 0.5), ValueError, r"sample\(\) needs a whole number from 0 up, not False"),
    "sample of Spark": (lambda s: s.sample(False, 3), ValueError, r"sample\(\) needs a whole number from 0 up, not False"),
    **{
        f"{name} of {number!r}": (lambda s, name=name, number=number: getattr(s, name)(number), ValueError, f"{name}.. .*not ")
        for name in ("batch", "window", "take", "skip", "topk", "repartition", "sample")
        for number in (True, numpy.True_)
    },
    "histogram without a range": (lambda s: s.histogram(), OptionError, "range="),
    "histogram of no bins": (lambda s: s.histogram(0, (0, 1)), ValueError, "bins"),
    "histogram of falling edges": (lambda s: s.histogram([3, 2, 1]), ValueError, "bins"),
    "map(3)": (lambda s: s.map(3), TypeError, "map.. needs a function"),
    "starmap(None)": (lambda s: s.starmap(None), TypeError, "starmap.. needs a function"),
    "filter(3)": (lambda s: s.filter(3), TypeError, "filter.. needs a function"),
    "flat_map('a')": (lambda s: s.flat_map("a"), TypeError, "flat_map.. needs a function"),
    "take_while(3)": (lambda s: s.take_while(3), TypeError, "take_while.. needs a function"),
    "foreach(3)": (lambda s: s.foreach(3), TypeError, "foreach.. needs a function"),
    "distinct(3)": (lambda s: s.distinct([3]), TypeError, "distinct.. needs a function"),
    "reduce(3)": (lambda s: s.reduce(3), TypeError, "reduce.. needs a function"),
    "fold(3)": (lambda s: s.fold(3, 0), TypeError, "fold.. needs a function"),
    "fold combine": (lambda s: s.fold(operator.add, 0, 3), TypeError, "fold.. needs a function"),
    "distinct(0)": (lambda s: s.distinct(0), TypeError, r"distinct.. needs a function, not int 0; .*itemgetter\(0\)"),
    "max(key=name)": (lambda s: s.max(key="n"), TypeError, r"max.. needs a function, not str 'n'; .*itemgetter\('n'\)"),
    "min(key)": (lambda s: s.min(3), TypeError, "min.. needs a function"),
    "sorted(reverse)": (lambda s: s.sorted(reverse="desc"), TypeError, "reverse=True or"),
    "tee(-1)": (lambda s: s.tee(-1), ValueError, "n must be >= 0|tee"),
    "tee(-2)": (lambda s: s.tee(-2), ValueError, r"tee\(\) needs a whole number from 0 up, not -2"),
    "zip(3)": (lambda s: s.zip(3), TypeError, "not iterable"),
    "chain(3)": (lambda s: s.chain(3), TypeError, "not iterable"),
    "enumerate('a')": (lambda s: s.enumerate("a"), TypeError, "cannot be interpreted|whole number"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_call_is_an_error_at_once_that_names_the_operator(name: str) -> None:
    call, kind, words = WRONG[name]
    with pytest.raises(kind, match=words):
        call(mrpy.stream([], backend="serial"))


def test_a_numpy_integer_is_a_whole_number() -> None:
    two = numpy.int64(2)
    assert mrpy.stream(range(9), backend="serial").skip(two).take(two).batch(two).topk(two).to_list() == [(2, 3)]
    with pytest.raises(ValueError, match="at_least|take"):
        mrpy.stream([], backend="serial").take(numpy.float64(2))


@over_local
def test_an_item_that_cannot_be_hashed_or_compared_is_the_error_of_a_loop(backend: str) -> None:
    for call in (lambda s: s.distinct().to_list(), lambda s: s.frequencies().to_list()):
        with pytest.raises(TypeError, match="unhashable"):
            call(mrpy.stream([1, [2]], backend=backend, workers=2))
    for call in (lambda s: s.sorted().to_list(), lambda s: s.max(), lambda s: s.topk(1).to_list()):
        with pytest.raises(TypeError, match="not supported between"):
            call(mrpy.stream([1, "a", 2, None], backend=backend, workers=2))


@over_local
def test_zip_strict_says_so_where_the_lengths_differ(backend: str) -> None:
    with pytest.raises(ValueError, match="zip"):
        list(mrpy.stream(range(3), backend=backend, workers=2).map(abs).zip(range(4), strict=True))


# ---- laziness ------------------------------------------------------------------------------------------------


class Tap(Iterator[int]):
    """Counts what is pulled."""

    def __init__(self) -> None:
        self.pulled = 0

    def __next__(self) -> int:
        self.pulled += 1
        return self.pulled


LAZY: dict[str, Callable[[Any], Any]] = {
    "map": lambda s: s.map(abs), "starmap": lambda s: s.starmap(max), "filter": lambda s: s.filter(None),
    "flat_map": lambda s: s.flat_map(range), "batch": lambda s: s.batch(3), "unbatch": lambda s: s.unbatch(),
    "window": lambda s: s.window(3), "enumerate": lambda s: s.enumerate(), "zip": lambda s: s.zip(Tap()),
    "chain": lambda s: s.chain(Tap()), "take": lambda s: s.take(3), "skip": lambda s: s.skip(3),
    "take_while": lambda s: s.take_while(bool), "distinct": lambda s: s.distinct(), "sorted": lambda s: s.sorted(),
    "topk": lambda s: s.topk(3), "frequencies": lambda s: s.frequencies(), "tee": lambda s: s.tee()[0],
    "all": lambda s: s.map(abs).batch(2).unbatch().window(2).enumerate().skip(1).frequencies().topk(2),
}  # fmt: skip


@never_runs
@pytest.mark.parametrize("name", LAZY)
def test_nothing_is_pulled_at_construction(name: str, backend: str) -> None:
    tap = Tap()
    made = LAZY[name](mrpy.stream(tap, backend=backend))
    assert isinstance(made, mrpy.ParallelIterator)
    assert name == "all" or name in str(made) or name in ("unbatch", "distinct", "tee")
    made.close()
    assert tap.pulled == 0


@over_local
def test_an_endless_source_is_pulled_as_far_as_it_takes(backend: str) -> None:
    for call in (
        lambda s: s.first(), lambda s: s.peek()[0], lambda s: s.take(1).to_list()[0], lambda s: s.take(1).sum(),
        lambda s: s.take_while(lambda x: x < 2).sum(), lambda s: s.tee()[0].first(), lambda s: s.window(2).first()[0],
        lambda s: s.zip("a").to_list()[0][0], lambda s: s.batch(1).first()[0], lambda s: s.distinct().first(),
        lambda s: s.enumerate().first()[1],
    ):  # fmt: skip
        tap = Tap()
        assert call(mrpy.stream(tap, backend=backend, workers=2, buffersize=8).map(abs)) == 1
        assert tap.pulled <= 10, inspect.getsource(call)


# ---- after iteration has begun -----------------------------------------------------------------------------------

AFTER: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "map": (lambda s: s.map(str).to_list(), ["2", "3", "4"]), "filter": (lambda s: s.filter(lambda x: x > 2).to_list(), [3, 4]),
    "batch": (lambda s: s.batch(2).to_list(), [(2, 3), (4,)]), "window": (lambda s: s.window(2).to_list(), [(2, 3), (3, 4)]),
    "enumerate": (lambda s: s.enumerate().to_list(), [(0, 2), (1, 3), (2, 4)]), "take": (lambda s: s.take(1).to_list(), [2]),
    "skip": (lambda s: s.skip(1).to_list(), [3, 4]), "distinct": (lambda s: s.distinct().to_list(), [2, 3, 4]),
    "sorted": (lambda s: s.sorted(reverse=True).to_list(), [4, 3, 2]), "topk": (lambda s: s.topk(2).to_list(), [4, 3]),
    "frequencies": (lambda s: s.frequencies().to_list(), [(2, 1), (3, 1), (4, 1)]), "sum": (lambda s: s.sum(), 9),
    "count": (lambda s: s.count(), 3), "min": (lambda s: s.min(), 2), "mean": (lambda s: s.mean(), 3),
    "reduce": (lambda s: s.reduce(operator.mul), 24), "first": (lambda s: s.first(), 2), "to_list": (lambda s: s.to_list(), [2, 3, 4]),
    "tee": (lambda s: list(map(list, s.tee())), [[2, 3, 4]] * 2), "peek": (lambda s: (s.peek()[0]), 2),
    "zip": (lambda s: s.zip("ab").to_list(), [(2, "a"), (3, "b")]), "chain": (lambda s: s.chain("a").to_list(), [2, 3, 4, "a"]),
    "sample": (lambda s: s.sample(9, seed=1), [2, 3, 4]), "take_while": (lambda s: s.take_while(lambda x: x < 4).to_list(), [2, 3]),
}  # fmt: skip


@over_local
@pytest.mark.parametrize("name", AFTER)
def test_an_operator_after_iteration_has_begun_works_on_the_rest(name: str, backend: str) -> None:
    call, expected = AFTER[name]
    run = mrpy.stream(range(5), backend=backend, workers=2).map(abs)
    assert (next(run), next(run)) == (0, 1)
    assert call(run) == expected


@over_local
def test_an_operator_after_the_end_has_nothing(backend: str) -> None:
    run = mrpy.stream(range(3), backend=backend, workers=2).map(abs)
    assert list(run) == [0, 1, 2]
    assert run.map(str).to_list() == []
    assert run.count() == 0


@over_local
def test_peek_gives_the_first_item_back(backend: str) -> None:
    run = mrpy.stream(range(50), backend=backend, workers=2).map(abs)
    first, again = run.peek()
    second, again = again.map(str).peek()
    assert (first, second) == (0, "0")
    assert list(again) == [str(n) for n in range(50)]


@over_local
def test_closing_what_peek_or_tee_gave_closes_the_run(backend: str) -> None:
    closed = []

    def source() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.append(True)

    items = source()
    _, again = mrpy.stream(items, backend=backend, workers=2, buffersize=4).map(abs).peek()
    assert next(again) == 0
    again.close()
    items.close()
    assert closed == [True]


def failing_at_11(n: int) -> int:
    if n == 11:
        raise ValueError(n)
    return n


@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize("options", [{}, {"chunksize": 2, "buffersize": 50}, {"chunksize": 7, "buffersize": 50}])
def test_all_that_tee_gives_have_the_error_at_its_place(backend: str, options: Any) -> None:
    one, other = mrpy.stream(range(30), backend=backend, workers=2, **options).map(failing_at_11).tee()
    mapped = one.map(abs)
    assert next(mapped) == 0
    for items, expected in ((other, range(11)), (mapped, range(1, 11))):
        got = []
        with pytest.raises(ValueError, match="11"):
            for item in items:
                got.append(item)
        assert got == list(expected)


@pytest.mark.parametrize("backend", LOCAL)
def test_an_interrupt_in_one_that_tee_gives_does_not_end_the_others_in_silence(backend: str) -> None:
    one, other = mrpy.stream(interrupted_at_11(), backend=backend, workers=2, chunksize=2).map(abs).tee()
    with pytest.raises(KeyboardInterrupt):
        list(one)
    got = []
    with pytest.raises(mrpy.errors.Cancelled, match="ended by KeyboardInterrupt.* in another branch of tee"):
        for item in other:
            got.append(item)
    assert got == list(range(len(got)))


def interrupted_at_11() -> Iterator[int]:
    yield from range(11)
    raise KeyboardInterrupt


@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize("chunksize", [2, 7])
def test_a_run_does_not_go_on_behind_an_error_that_another_run_was_told(backend: str, chunksize: int) -> None:
    options: dict[str, Any] = {"backend": backend, "workers": 2, "chunksize": chunksize, "buffersize": 50}
    source = mrpy.stream(range(30), **options).map(failing_at_11)
    assert next(source) == 0
    with pytest.raises(ValueError, match="11"):
        list(source.map(abs))
    assert list(source) == []


# ---- asked again ----------------------------------------------------------------------------------------------------

AGAIN: dict[str, tuple[Callable[[Any], Any], Callable[[list[Any]], Any]]] = {
    "batch": (lambda s: s.batch(2), lambda x: zip(x[::2], x[1::2], strict=True)),
    "window": (lambda s: s.window(2), itertools.pairwise),
    "enumerate": (lambda s: s.enumerate(), enumerate),
    "zip": (lambda s: s.zip("abc"), lambda x: zip(x, "abc", strict=False)),
    "zip a run": (lambda s: s.zip(mrpy.stream("abc", backend="serial").map(str.upper)), lambda x: zip(x, "ABC", strict=False)),
    "zip itself": (lambda s: s.zip(s), lambda x: zip(x[::2], x[1::2], strict=True)),
    "zip what is behind": (lambda s: s.zip(s.skip(1)), itertools.pairwise),
    "chain": (lambda s: s.chain([7]), lambda x: [*x, 7]),
    "chain a run": (lambda s: s.chain(s.take(2)), lambda x: x + x[:2]),
    "take": (lambda s: s.take(2), lambda x: x[:2]),
    "skip": (lambda s: s.skip(2), lambda x: x[2:]),
    "take_while": (lambda s: s.take_while(lambda n: n < 20), lambda x: x[:19]),
    "distinct": (lambda s: s.distinct(lambda n: n % 3), lambda x: x[:3]),
    "all of them": (lambda s: s.skip(1).chain([7]).distinct().take(4).batch(2), lambda x: zip(x[1:5:2], x[2:5:2], strict=True)),
    "before others": (lambda s: s.take(3).map(abs).sorted(reverse=True).skip(1), lambda x: x[1::-1]),
}  # fmt: skip


@over_local
@pytest.mark.parametrize("name", AGAIN)
def test_a_chain_that_is_asked_twice_gives_the_same_answer(name: str, backend: str) -> None:
    make, plain = AGAIN[name]
    chain = make(mrpy.stream(range(-60, 0), backend=backend, workers=2).map(lambda n: n + 61))
    expected = list(plain(list(range(1, 61))))
    assert [chain.count(), chain.count()] == [len(expected)] * 2
    assert [chain.map(_same).to_list(), chain.map(_same).to_list()] == [expected] * 2
    assert list(chain) == expected
    assert list(chain) == []  # it is an iterator


def _same(item: Any) -> Any:
    return item


@over_local
def test_two_chains_of_one_iterator_do_not_take_from_each_other(backend: str) -> None:
    numbers = mrpy.stream(range(100), backend=backend, workers=2).map(abs)
    one, other = iter(numbers.batch(2)), iter(numbers.skip(50))
    assert [next(one), next(other), next(one), next(other)] == [(0, 1), 50, (2, 3), 51]


@over_local
@pytest.mark.parametrize(
    "source",
    [
        lambda: iter(Tap()), lambda: (n + 1 for n in Tap()), lambda: map(abs, Tap()),
        lambda: zip(map(abs, Tap()), Tap()), lambda: enumerate(map(abs, Tap())),
    ],
    ids=["iterator", "generator", "map", "zip", "enumerate"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["take", "zip", "zip other", "chain other", "behind others", "of a run"])
def test_a_chain_that_has_gone_through_an_iterator_is_at_its_end(name: str, source: Any, backend: str) -> None:
    options: dict[str, Any] = {"backend": backend, "workers": 2, "chunksize": 3}
    plain = mrpy.stream(range(4), **options)
    chain = {
        "take": lambda: mrpy.stream(source(), **options).map(_same).take(2),
        "zip": lambda: mrpy.stream(source(), **options).map(_same).zip("ab"),
        "zip other": lambda: plain.zip(source()),
        "chain other": lambda: plain.chain(mrpy.stream(source(), **options).take(4).map(_same)),
        "behind others": lambda: mrpy.stream(source(), **options).map(_same).batch(2).map(_same).take(2),
        "of a run": lambda: mrpy.pmap(_same, mrpy.stream(source(), **options).map(_same), retries=1, **options).take(2),
    }[name]()
    assert chain.count() > 0
    assert chain.count() == 0


BEFORE: dict[str, Callable[[Any], Any]] = {
    "map": lambda s: s.map(str), "starmap": lambda s: s.map(lambda x: (x, x)).starmap(max), "filter": lambda s: s.filter(None),
    "flat_map": lambda s: s.flat_map(lambda x: [x, x]), "batch": lambda s: s.batch(2), "window": lambda s: s.window(2),
    "enumerate": lambda s: s.enumerate(), "zip": lambda s: s.zip("abc"), "zip itself": lambda s: s.zip(s),
    "zip of another": lambda s: mrpy.stream("abc", backend="serial").zip(s), "zip an iterator": lambda s: s.zip(iter(Tap())),
    "chain": lambda s: s.chain([9]), "chain of another": lambda s: mrpy.stream([9], backend="serial").chain(s),
    "take": lambda s: s.take(2), "skip": lambda s: s.skip(1), "take_while": lambda s: s.take_while(bool),
    "distinct": lambda s: s.distinct(), "sorted": lambda s: s.sorted(), "topk": lambda s: s.topk(2),
    "frequencies": lambda s: s.frequencies(), "repartition": lambda s: s.repartition(2),
    "repartition by key": lambda s: s.repartition(2, key=abs), "group_by": lambda s: s.group_by(lambda x: x % 2),
    "count_by": lambda s: s.count_by(abs), "reduce_by": lambda s: s.reduce_by(abs, max), "join": lambda s: s.join([2], abs),
    "join of another": lambda s: mrpy.stream([2, 3], backend="serial").join(s, abs), "cogroup": lambda s: s.cogroup([2], abs),
    "stream": lambda s: mrpy.stream(s), "pmap": lambda s: mrpy.pmap(str, s), "pmap by itself": lambda s: mrpy.pmap(str, s, retries=1),
    "several": lambda s: s.batch(2).sorted().enumerate(),
}  # fmt: skip
BEGUN: dict[str, Callable[[Any], Any]] = {
    "list": list, "next": next, "first": lambda s: s.first(), "peek": lambda s: s.peek()[0], "close": lambda s: s.close(),
}  # fmt: skip


@over_local
@pytest.mark.parametrize("begin", BEGUN)
@pytest.mark.parametrize("name", BEFORE)
def test_a_chain_is_about_what_was_there_when_it_was_made(name: str, begin: str, backend: str) -> None:
    def numbers() -> Any:
        return mrpy.stream(["3", "0", "-2", "1", "3"], backend=backend, workers=2).map(int)

    begun = numbers()
    chain, expected = BEFORE[name](begun), BEFORE[name](numbers()).to_list()
    BEGUN[begin](begun)
    if not name.endswith("an iterator"):
        assert chain.count() == len(expected) > 0
    assert chain.to_list() == expected


@over_local
@pytest.mark.parametrize("name", BEFORE)
def test_a_chain_takes_nothing_from_what_it_was_made_of(name: str, backend: str) -> None:
    numbers = mrpy.stream(["3", "0", "-2", "1", "3"], backend=backend, workers=2).map(int)
    chain = BEFORE[name](numbers)
    assert next(numbers) == 3
    assert chain.count() > 0
    assert list(numbers) == [0, -2, 1, 3]


@over_local
def test_what_takes_from_a_run_that_has_begun_takes_what_is_left(backend: str) -> None:
    numbers = mrpy.stream(range(9), backend=backend, workers=2).map(abs)
    assert next(numbers) == 0
    pairs = numbers.batch(2)
    assert pairs.to_list() == [(1, 2), (3, 4), (5, 6), (7, 8)]
    assert list(numbers) == []


@over_local
def test_a_chain_on_an_iterator_takes_what_is_left_of_it(backend: str) -> None:
    def source() -> Iterator[int]:
        yield from range(9)

    numbers = mrpy.stream(source(), backend=backend, workers=2).map(abs)
    pairs = numbers.batch(2)
    assert next(numbers) == 0
    assert pairs.to_list() == [(1, 2), (3, 4), (5, 6), (7, 8)]
    assert list(numbers) == []


def upto_9() -> Iterator[int]:
    yield from range(10)


def passing(items: Any) -> Iterator[Any]:
    yield from items


# Of an iterator and of a parallel iterator over it. What is refused would lose items.
SHARED: dict[str, Callable[[Any, Any], Any]] = {
    "zip": lambda it, s: s.map(str).zip(it), "zip with a map": lambda it, s: s.zip(s.map(abs)),
    "zip of maps": lambda it, s: s.map(str).zip(s.map(abs)), "zip third": lambda it, s: s.zip("abc", s.map(str)),
    "in a map": lambda it, s: s.map(abs).zip(map(str, it)), "in a generator": lambda it, s: s.map(abs).zip(passing(it)),
    "of a counter": lambda it, s: (lambda numbers: mrpy.stream(numbers).map(str).zip(map(str, numbers)))(itertools.count()),
    "in two": lambda it, s: mrpy.stream(passing(it)).map(abs).zip(map(str, it)),
    "batches": lambda it, s: s.map(abs).batch(2).zip(s.map(str)), "sorted": lambda it, s: s.sorted().zip(it),
    "by key": lambda it, s: s.group_by(abs).zip(it), "parts": lambda it, s: s.repartition(2).zip(it),
    "parts by key": lambda it, s: s.repartition(2, key=abs).zip(it),
    "by itself": lambda it, s: mrpy.pmap(str, s.map(abs), retries=1).zip(it),
    "a program": lambda it, s: mrpy.parallel((x for x in zip(map(abs, it), "abcd", strict=False))).zip(it),
    "begun": lambda it, s: (lambda rows: (next(rows), rows.zip(rows.map(str))))(s.map(abs)),
    "peek": lambda it, s: (lambda rows: rows.peek()[1].map(str).zip(rows))(s.map(abs)),
    "chain of what ends before": lambda it, s: s.map(abs).take(2).chain(it),
    "chain of a zip": lambda it, s: mrpy.stream([9]).chain(s.map(abs).zip("ab"), it),
    "join": lambda it, s: s.join(s.map(abs), abs), "join the rest": lambda it, s: s.join(it, abs),
    "cogroup": lambda it, s: s.map(abs).cogroup(it, abs),
}  # fmt: skip


@over_local
@pytest.mark.parametrize("name", SHARED)
def test_two_that_would_take_items_from_each_other_are_refused(name: str, backend: str) -> None:
    items = upto_9()
    with mrpy.session(backend, workers=2):
        with pytest.raises(ValueError, match=r"of two that take from one iterator .*; make a list of it, or .*tee"):
            SHARED[name](items, mrpy.stream(items))
        assert name in ("begun", "peek") or list(items) == list(range(10))


TURNS: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any], Any]]] = {
    "zip": (lambda it, s: s.zip(it), lambda it: zip(it, it, strict=False)),
    "zip itself": (lambda it, s: s.zip(s, s), lambda it: zip(it, it, it, strict=False)),
    "zip what is behind": (lambda it, s: s.zip(s.skip(1)), lambda it: zip(it, itertools.islice(it, 1, None), strict=False)),
    "zip two others": (lambda it, s: mrpy.stream("abc").map(str).zip(it, map(str, it)), lambda it: zip("abc", it, map(str, it), strict=False)),
    "chain": (lambda it, s: s.map(abs).chain(it, s.map(str)), lambda it: it),
    "chain of a slice": (
        lambda it, s: mrpy.stream(itertools.islice(it, 2)).map(str).chain(it),
        lambda it: itertools.chain(map(str, itertools.islice(it, 2)), it),
    ),
    "chain of what ends before": (lambda it, s: s.take(2).chain(it), lambda it: it),
    "join itself": (lambda it, s: s.join(s, abs), lambda it: [(n, n) for n in it]),
    "tee": (lambda it, s: (lambda one, other: one.zip(other.map(str)))(*s.tee()), lambda it: [(n, str(n)) for n in it]),
    "two generators": (lambda it, s: s.map(abs).zip(passing(upto_9())), lambda it: zip(it, range(10), strict=True)),
}  # fmt: skip


@over_local
@pytest.mark.parametrize("name", TURNS)
def test_what_takes_turns_at_an_iterator_does_as_plain_iterators_do(name: str, backend: str) -> None:
    make, plain = TURNS[name]
    items = upto_9()
    with mrpy.session(backend, workers=2):
        assert sorted(make(items, mrpy.stream(items)), key=str) == sorted(plain(upto_9()), key=str)


@over_local
def test_what_two_inputs_merely_hold_they_do_not_share(backend: str, tmp_path: Any) -> None:
    numbers = itertools.count()
    with open(tmp_path / "log", "w") as log:

        def logged(items: Any) -> Iterator[Any]:
            for item in items:
                print(next(numbers), file=log)
                yield item

        one = mrpy.stream(logged([1, 2]), backend=backend, workers=2).map(abs)
        assert one.zip(logged([3, 4])).to_list() == [(1, 3), (2, 4)]


@over_local
def test_each_run_of_an_iterator_has_an_account_of_its_own(backend: str) -> None:
    options: dict[str, Any] = {"backend": backend, "workers": 2, "on_error": "skip", "max_errors": 3, "chunksize": 1}
    numbers = mrpy.stream("12x3y4z567", **options).map(int)
    assert numbers.zip(numbers.skip(1)).to_list() == list(itertools.pairwise(range(1, 8)))
    assert numbers.skipped.count == 3
    assert [numbers.take(5).count(), numbers.take(5).count()] == [5, 5]
    assert "it ran" in numbers.explain()


# ---- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theirs", [theirs for many in _HERE.values() for theirs in many])
def test_a_name_from_elsewhere_says_the_name_here(theirs: str) -> None:
    ours = next(ours for ours, many in _HERE.items() if theirs in many)
    with pytest.raises(AttributeError, match=f"{theirs!r}; it is called {ours!r} here"):
        getattr(mrpy.stream([1], backend="serial"), theirs)
    assert callable(getattr(mrpy.ParallelIterator, ours))
    assert not hasattr(mrpy.ParallelIterator, theirs)


@pytest.mark.parametrize(
    ("theirs", "advice"),
    [
        ("fmean", "'mean'"), ("imap_unordered", r"map\(\).*ordered=False"), ("groupby", "'group_by'"),
        ("reduceByKey", r"mapreduce\("), ("foldby", "'fold_by'"), ("leftOuterJoin", "how='left'"),
        ("subtractByKey", "how='anti'"), ("rechunk", "chunksize="), ("coalesce", "'repartition'"),
        ("saveAsTextFile", "'to_text'"), ("to_json", "'to_jsonl'"), ("to_sql", "'to_sqlite'"),
        ("to_pickle", r"to_jsonl\(\)"),
        ("tap", r"map\(\).*returns it"), ("inspect", r"map\(\).*returns it"),
    ],
)  # fmt: skip
def test_what_is_no_method_here_is_named_in_the_error(theirs: str, advice: str) -> None:
    with pytest.raises(AttributeError, match=f"{theirs!r}; .*{advice}"):
        getattr(mrpy.stream([1], backend="serial"), theirs)


@pytest.mark.parametrize("theirs", [theirs for many in _VERBS.values() for theirs in many])
def test_a_verb_from_elsewhere_says_the_name_here(theirs: str) -> None:
    ours = next(ours for ours, many in _VERBS.items() if theirs in many)
    with pytest.raises(AttributeError, match=f"{theirs!r}; it is called {ours!r} here"):
        getattr(mrpy, theirs)
    assert ours in mrpy.__all__


def test_an_unknown_name_is_an_ordinary_error() -> None:
    with pytest.raises(AttributeError, match="module 'mrpy' has no attribute 'nonsense'$"):
        _ = mrpy.nonsense
    with pytest.raises(AttributeError, match="no attribute 'nonsense'$"):
        _ = mrpy.stream([1], backend="serial").nonsense
    assert called_here("nonsense").endswith("'nonsense'")


DUNDERS = [
    "__len__", "__getitem__", "__length_hint__", "__array__", "__array_interface__", "__dataframe__", "__dask_graph__",
    "_ipython_display_", "_repr_html_", "__wrapped__", "__fspath__", "__index__", "__bool__x", "__getstate_x__",
    "__arrow_c_stream__", "__contains__", "__add__", "__reversed__",
]  # fmt: skip


@pytest.mark.parametrize("name", DUNDERS)
def test_probing_for_a_protocol_finds_none(name: str) -> None:
    run = mrpy.stream([1, 2], backend="serial").map(abs)
    assert not hasattr(run, name)
    assert getattr(run, name, None) is None
    assert list(run) == [1, 2]


def test_half_made_objects_do_not_recurse() -> None:
    empty = mrpy.ParallelIterator.__new__(mrpy.ParallelIterator)
    with pytest.raises(AttributeError, match="_plan"):
        _ = empty._plan
    with pytest.raises(AttributeError, match="_running"):
        repr(empty)


@pytest.mark.parametrize("how", [pickle.dumps, copy.copy, copy.deepcopy], ids=lambda f: f.__name__)
def test_a_parallel_iterator_is_not_copied_half(how: Any) -> None:
    for run in (mrpy.stream([1, 2], backend="serial").map(abs), mrpy.stream([1, 2], backend="serial").map(abs).batch(1)):
        try:
            made = how(run)
        except TypeError as error:
            assert "ParallelIterator" in str(error) or "pickle" in str(error)
        else:
            made = pickle.loads(made) if isinstance(made, bytes) else made
            assert list(made) in ([1, 2], [(1,), (2,)])
        assert list(run) in ([1, 2], [(1,), (2,)])


@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize("how", ["inner", "left", "semi", "outer"])
def test_a_join_that_has_not_begun_is_sent_and_copied(backend: str, how: str) -> None:
    def make(other: Any) -> Any:
        return mrpy.stream([1, 2, 3], backend="serial").join(other, abs, abs, how=how).map(str)

    for other in ([1, 2], mrpy.stream([1, 2], backend="serial")):
        expected = list(make([1, 2]))
        assert list(copy.deepcopy(make(other))) == expected
        other = [1, 2] if isinstance(other, list) else mrpy.stream([1, 2], backend="serial")
        assert list(mrpy.pmap(list, [make(other)], backend=backend, workers=1)) == [expected]


def test_truth_and_length_are_those_of_an_iterator() -> None:
    run = mrpy.stream([], backend="serial")
    assert bool(run)
    assert operator.length_hint(run, 7) == 7
    with pytest.raises(TypeError, match="no len"):
        len(run)  # type: ignore[arg-type]
    assert 2 in mrpy.stream([1, 2, 3], backend="serial")


EQUIVALENT = {"close", "explain", "graph"}


class Vector:
    """Adds its own kind only."""

    def __init__(self, x: float) -> None:
        self.x = x

    def __add__(self, other: Any) -> Vector:
        return Vector(self.x + other.x)

    __radd__ = __add__

    def __truediv__(self, count: int) -> Vector:
        return Vector(self.x / count)


def test_the_mean_of_what_adds_its_own_kind_only() -> None:
    assert mrpy.stream([Vector(1.0), Vector(2.0)], backend="serial").mean().x == 1.5


@pytest.mark.parametrize(
    "name", [n for n, _ in inspect.getmembers(mrpy.ParallelIterator, callable) if not n.startswith("_")]
)
def test_each_method_names_its_equivalent(name: str) -> None:
    text = inspect.getdoc(getattr(mrpy.ParallelIterator, name)) or ""
    assert len(text) > 10
    assert name in EQUIVALENT or "``" in text.split("\n\n")[0], text


def test_threads_that_begin_an_iterator_at_once_have_the_same_run(monkeypatch: pytest.MonkeyPatch) -> None:
    together, begin = threading.Barrier(2), order.Run.__init__

    def at_once(*arguments: Any) -> None:
        together.wait(timeout=5)
        begin(*arguments)

    monkeypatch.setattr(order.Run, "__init__", at_once)
    items, iterators = mrpy.pmap(abs, range(9), backend="serial"), []
    threads = [threading.Thread(target=lambda: iterators.append(iter(items))) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert iterators[0] is iterators[1]
    assert list(items) == list(range(9))

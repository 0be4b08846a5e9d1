"""Laws 1 and 2, as properties: the answer is the one of the builtin, and the same everywhere.

The programs, functions and inputs are made up by Hypothesis. What runs on a worker is written as lambdas
inside the tests, so that it travels by value.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from generated import Program, inputs, programs, run_options
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from laws import BACKENDS, EXAMPLES, HAS_DASK

import mrpy

Options = dict[str, Any]
TOO_MUCH = list(HealthCheck)


def over_backends(**strategies: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a property over every backend, on each with as many examples as it can afford."""

    def decorate(claim: Callable[..., None]) -> Callable[..., None]:
        @pytest.mark.parametrize("backend", BACKENDS)
        def test(backend: str) -> None:
            @settings(max_examples=EXAMPLES[backend], deadline=None, suppress_health_check=TOO_MUCH)
            @given(options=run_options, **strategies)
            def run(options: Options, **drawn: Any) -> None:
                options["backend"] = backend
                if backend == "dask":
                    options["workers"] = 2  # one cluster
                claim(options, **drawn)

            run()

        test.__doc__ = claim.__doc__
        return test

    return decorate


# ---- law 1: generator expressions ------------------------------------------------------------------


@over_backends(program=programs(), xs=inputs, ys=inputs, ordered=st.booleans())
def test_parallel_equals_the_generator(
    options: Options, program: Program, xs: Any, ys: Any, ordered: bool
) -> None:
    expected = list(program.over(xs(), ys()))
    got = list(mrpy.parallel(program.over(xs(), ys()), ordered=ordered, **options))
    if ordered:
        assert got == expected
    else:
        assert sorted(map(repr, got)) == sorted(map(repr, expected))


@over_backends(program=programs(), xs=inputs, ys=inputs)
def test_a_generator_over_a_parallel_one_is_the_same(
    options: Options, program: Program, xs: Any, ys: Any
) -> None:
    expected = [str(item) for item in program.over(xs(), ys())]
    inner = mrpy.parallel(program.over(xs(), ys()), **options)
    assert list(mrpy.parallel((str(item) for item in inner), **options)) == expected


@over_backends(program=programs(), xs=inputs, ys=inputs, count=st.integers(0, 9))
def test_take_is_islice(options: Options, program: Program, xs: Any, ys: Any, count: int) -> None:
    expected = list(itertools.islice(program.over(xs(), ys()), count))
    assert mrpy.parallel(program.over(xs(), ys()), **options).take(count).to_list() == expected


# ---- law 1: the verbs that have a builtin ------------------------------------------------------------

FUNCTIONS = [lambda x: (x, x), repr, lambda x: None, lambda x: [x] * 2, str, type, lambda x: lambda: x]


@over_backends(xs=inputs, which=st.integers(0, 5), ordered=st.booleans())
def test_pmap_equals_map(options: Options, xs: Any, which: int, ordered: bool) -> None:
    function = FUNCTIONS[which]
    got = list(mrpy.pmap(function, xs(), ordered=ordered, **options))
    expected = list(map(function, xs()))
    assert got == expected if ordered else sorted(map(repr, got)) == sorted(map(repr, expected))


@over_backends(xs=inputs, ys=inputs, zs=inputs, count=st.integers(2, 3))
def test_pmap_of_several_equals_map(options: Options, xs: Any, ys: Any, zs: Any, count: int) -> None:
    sources = [xs, ys, zs][:count]
    expected = list(map(lambda *some: some, *[source() for source in sources]))
    assert list(mrpy.pmap(lambda *some: some, *[source() for source in sources], **options)) == expected


@over_backends(rows=st.lists(st.tuples(st.integers(), st.text("ab"))), how=st.sampled_from([list, tuple, iter]))
def test_pstarmap_equals_starmap(options: Options, rows: Any, how: Any) -> None:
    expected = list(itertools.starmap(lambda n, text: text * (n % 3), rows))
    assert list(mrpy.pstarmap(lambda n, text: text * (n % 3), how(rows), **options)) == expected


@over_backends(xs=inputs, predicate=st.sampled_from([None, bool, lambda x: not x, lambda x: str(x) > "1", lambda x: []]))
def test_pfilter_equals_filter(options: Options, xs: Any, predicate: Any) -> None:
    assert list(mrpy.pfilter(predicate, xs(), **options)) == list(filter(predicate, xs()))


@over_backends(xs=inputs, n=st.integers(0, 3))
def test_flat_map_equals_chain(options: Options, xs: Any, n: int) -> None:
    def several(x: Any) -> Any:
        return (x for _ in range((len(str(x)) + n) % 4))

    got = mrpy.stream(xs(), **options).flat_map(several).to_list()
    assert got == list(itertools.chain.from_iterable(map(several, xs())))


# ---- law 1: reductions -----------------------------------------------------------------------------

MONOIDS: dict[str, tuple[Callable[[Any, Any], Any], Callable[[int], Any], Any]] = {
    "sum": (operator.add, int, 0),
    "product": (lambda x, y: x * y % 1009, int, 1),
    "string": (operator.add, str, ""),
    "tuple": (operator.add, lambda n: (n,), ()),
    "list": (operator.add, lambda n: [n], []),
    "max": (max, int, -(10**9)),
    "first": (lambda x, y: x, int, 4),
    "last": (lambda x, y: y, int, 4),
    "union": (operator.or_, lambda n: {n}, set()),
    "matrix": (
        lambda x, y: (
            (x[0] * y[0] + x[1] * y[2]) % 97, (x[0] * y[1] + x[1] * y[3]) % 97,
            (x[2] * y[0] + x[3] * y[2]) % 97, (x[2] * y[1] + x[3] * y[3]) % 97,
        ),
        lambda n: (n, 1, n * n + 1, 2),
        (1, 0, 0, 1),
    ),
    "affine": (lambda f, g: (f[0] * g[0] % 97, (f[0] * g[1] + f[1]) % 97), lambda n: (n, n + 1), (1, 0)),
}  # fmt: skip

numbers = st.one_of(
    st.lists(st.integers(-50, 50), max_size=20), st.integers(0, 700).map(range), st.integers(0, 300).map(lambda n: list(range(n)))
)


@over_backends(xs=numbers, name=st.sampled_from(sorted(MONOIDS)), initial=st.booleans(), once=st.booleans())
def test_preduce_equals_reduce(options: Options, xs: Any, name: str, initial: bool, once: bool) -> None:
    op, make, neutral = MONOIDS[name]
    start = (make(7),) if initial else ()
    if not len(xs) and not initial:
        with pytest.raises(TypeError, match="empty"):
            mrpy.preduce(op, map(make, xs), **options)
        return
    expected = functools.reduce(op, map(make, xs), *start)
    items = (make(x) for x in (iter(xs) if not once else (x for x in [*xs])))
    assert mrpy.preduce(op, items, *start, **options) == expected


@over_backends(xs=numbers, cut=st.integers(1, 5))
def test_preduce_behind_a_filter_and_a_flat_map_equals_reduce(options: Options, xs: Any, cut: int) -> None:
    texts = (str(x) * k for x in xs if x % cut == 0 for k in range(x % 3))
    expected = functools.reduce(operator.add, (str(x) * k for x in xs if x % cut == 0 for k in range(x % 3)), "<")
    assert mrpy.preduce(operator.add, texts, "<", **options) == expected


@over_backends(xs=numbers)
def test_pfold_equals_reduce(options: Options, xs: Any) -> None:
    got = mrpy.pfold(lambda seen, x: [*seen, x * 2], xs, [], **options)
    assert got == functools.reduce(lambda seen, x: [*seen, x * 2], xs, [])


@over_backends(xs=numbers)
def test_an_accumulator_that_is_changed_in_place_is_not_shared(options: Options, xs: Any) -> None:
    def count(seen: dict[int, int], x: int) -> dict[int, int]:
        seen[x % 7] = seen.get(x % 7, 0) + 1
        return seen

    def add(left: dict[int, int], right: dict[int, int]) -> dict[int, int]:
        for key, n in right.items():
            left[key] = left.get(key, 0) + n
        return left

    initial: dict[int, int] = {}
    assert mrpy.pfold(count, xs, initial, add, **options) == functools.reduce(count, xs, {})
    assert initial == {}


# ---- law 2: the same bits everywhere ---------------------------------------------------------------

PLACES = [
    {"backend": backend, "workers": workers, "chunksize": chunksize}
    for backend in ("serial", "threads", "processes")
    for workers in (1, 2)
    for chunksize in ("auto", 1, 7, 64, 1000)
    if not (backend == "serial" and workers == 2)
]
if HAS_DASK:
    PLACES += [{"backend": "dask", "workers": 2, "chunksize": 400}]


@settings(max_examples=12, deadline=None, suppress_health_check=TOO_MUCH)
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), st.integers(1, 60), st.data()
)
def test_a_float_sum_has_the_same_bits_everywhere(some: list[float], times: int, data: Any) -> None:
    xs = [x / (k + 1) for k in range(times) for x in some]
    places = data.draw(st.lists(st.sampled_from(PLACES), min_size=3, max_size=5, unique_by=str))
    kept = {
        mrpy.preduce(operator.add, (math.sqrt(abs(x)) * x for x in xs if x != some[0]), 0.1, **place).hex()
        for place in [PLACES[0], *places]
    }
    assert len(kept) == 1, places


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_a_long_float_sum_has_these_bits(place: Options) -> None:
    got = mrpy.preduce(operator.add, (1.0 / x for x in range(1, 5000) if x % 3), **place)
    source = mrpy.preduce(operator.add, (1.0 / x for x in iter(list(range(1, 5000))) if x % 3), backend="serial")
    assert got.hex() == source.hex()
    assert math.isclose(got, math.fsum(1.0 / x for x in range(1, 5000) if x % 3))


@pytest.mark.parametrize("place", PLACES[::3], ids=str)
def test_a_float_sum_under_a_combiner_has_the_same_bits(place: Options) -> None:
    def run(**where: Any) -> dict[int, str]:
        pairs = mrpy.mapreduce(
            lambda x: (x % 5, 1.0 / (x + 1)), lambda k, v: sum(v), range(3000), lambda k, v: sum(v), **where
        )
        return {key: value.hex() for key, value in pairs}

    assert run(**place) == run(backend="serial")


# ---- law 1 and 8: mapreduce --------------------------------------------------------------------------

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.0, -0.0, 1.0, 0.5, math.inf, math.nan, 1 + 0j]),
    st.sampled_from([Fraction(1), Fraction(1, 2)]), st.text("ab", max_size=2), st.binary(max_size=1),
)  # fmt: skip
keys = st.one_of(scalars, st.tuples(scalars), st.tuples(st.integers(0, 1), scalars), st.frozensets(st.integers(0, 2)))


def has_nan(key: Any) -> bool:
    return any(map(has_nan, key)) if isinstance(key, tuple | frozenset) else key != key


def plain(key: Any) -> Any:
    """All NaN are one key: it is the documented rule, and not what a dict does."""
    return "NaN" if isinstance(key, float) and key != key else key


def loop(records: list[Any], mapper: Callable[[Any], Any], reducer: Callable[[Any, Any], Any]) -> dict[Any, Any]:
    groups: dict[Any, list[Any]] = {}
    for record in records:
        for key, value in mapper(record):
            groups.setdefault(plain(key), []).append(value)
    return {key: reducer(key, iter(values)) for key, values in groups.items()}


def as_dict(pairs: Any) -> dict[Any, Any]:
    """Pairs as a dict, in which no key may come twice."""
    found: dict[Any, Any] = {}
    for key, value in pairs:
        assert plain(key) not in found, f"{key!r} came twice"
        found[plain(key)] = value
    return found


def assert_same(got: dict[Any, Any], expected: dict[Any, Any]) -> None:
    assert got == expected
    # of several equal keys (1, 1.0, True) the first one stands for the group, as in a dict
    assert sorted(map(repr, got)) == sorted(map(repr, expected))


records = st.lists(st.lists(st.tuples(keys, st.integers(0, 9)), max_size=4), max_size=25)
partitions = st.one_of(st.just("auto"), st.integers(1, 12))


@over_backends(rows=records, partitions=partitions, combined=st.booleans())
def test_mapreduce_equals_a_loop(options: Options, rows: Any, partitions: Any, combined: bool) -> None:
    rows = [[(key, value) for key, value in row if plain(key) == "NaN" or not has_nan(key)] for row in rows]

    def joined(key: Any, values: Any) -> tuple[int, ...]:
        return sum(values, ())

    def mapper(row: Any) -> Any:
        return [(key, (value,)) for key, value in row]

    got = mrpy.mapreduce(mapper, joined, rows, joined if combined else None, partitions=partitions, **options)
    assert_same(as_dict(got), loop(rows, mapper, joined))


@over_backends(rows=st.lists(st.integers(0, 2), max_size=20), partitions=partitions)
def test_nan_inside_a_tuple_is_one_key(options: Options, rows: Any, partitions: Any) -> None:
    pairs = mrpy.mapreduce(
        lambda n: ((n, float("nan")), n), lambda key, values: list(values), rows, partitions=partitions, **options
    )
    assert sorted((key[0], values) for key, values in pairs) == [
        (n, [n] * rows.count(n)) for n in sorted(set(rows))
    ]


@over_backends(rows=st.lists(st.integers(0, 30), max_size=40), shape=st.integers(0, 4), sort=st.booleans())
def test_a_mapper_may_return_or_yield(options: Options, rows: Any, shape: int, sort: bool) -> None:
    def yields(n: int) -> Any:
        for k in range(n % 3):
            yield n % 7 + k, n

    mappers = [
        yields,
        lambda n: (n % 7, n),
        lambda n: [(n % 7 + k, n) for k in range(n % 3)],
        lambda n: {n % 7: n, "x": n} if not sort else {n % 7: n},
        lambda n: ((n % 7 + k, n) for k in range(n % 3)),
    ]
    mapper = mappers[shape]
    expected = loop(rows, lambda n: [mapper(n)] if shape == 1 else mapper(n).items() if shape == 3 else mapper(n), lambda k, v: list(v))
    got = list(mrpy.mapreduce(mapper, lambda key, values: list(values), rows, sort=sort, **options))
    assert as_dict(got) == expected
    if sort:
        assert [key for key, _ in got] == sorted(expected)


@over_backends(rows=st.lists(st.integers(0, 30), max_size=30))
def test_a_reducer_that_yields_gives_several_pairs(options: Options, rows: Any) -> None:
    def differences(key: int, values: Any) -> Any:
        last = 0
        for value in values:
            yield value - last
            last = value

    got = list(mrpy.mapreduce(lambda n: (n % 3, n), differences, rows, **options))
    expected = [(k, d) for k in range(3) for d in differences(k, [n for n in rows if n % 3 == k])]
    assert sorted(got, key=lambda pair: pair[0]) == expected

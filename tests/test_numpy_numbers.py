"""Statistics of NumPy's numbers and arrays, and of booleans, are those of the builtins and of NumPy; its records
are keys."""

from __future__ import annotations

import functools
import math
import operator
import statistics
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrpy
from mrpy.errors import OptionError
from mrpy.options import Options

MASK = np.arange(20) % 3 == 0
ITEMS = {
    "booleans": MASK,
    "Python's booleans": MASK.tolist(),
    "bytes": np.arange(250, dtype="u1"),
    "times": np.arange(1_700_000_000, 1_700_000_300, dtype="i4"),
    "halves": np.full(1000, 100, "f2"),
    "floats": np.full(3000, 0.1, "f4"),
    "doubles": np.arange(0, 30, 0.1),
}


@pytest.mark.parametrize("name", ITEMS)
@pytest.mark.parametrize("backend", ["serial", "processes"])
def test_means_and_deviations_are_those_of_statistics(name: str, backend: str) -> None:
    items = ITEMS[name]
    numbers = [float(item) for item in items]
    run = mrpy.stream(items, backend=backend, workers=2)
    assert run.mean() == pytest.approx(statistics.fmean(numbers), rel=1e-12)
    assert run.std() == pytest.approx(statistics.pstdev(numbers), rel=1e-9, abs=1e-12)
    pairs = mrpy.stream([(0, item) for item in items], backend=backend, workers=2)
    found = dict(pairs.aggregate_by(0, usual=(1, "mean")))[0]["usual"]
    assert found == pytest.approx(statistics.fmean(numbers), rel=1e-12)


TO_ADD = {"tenths": [0.1] * 100_000, "cancelled": [1e16, 1.0, -1e16] * 3000, "too large": [1e308] * 300, "infinite": [1.0, math.inf] * 200}


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize("chunksize", [50, "auto"])
@pytest.mark.parametrize("name", TO_ADD)
@pytest.mark.parametrize("backend", ["serial", "processes"])
def test_a_sum_of_doubles_is_that_of_floats_to_the_bit(name: str, backend: str, chunksize: Any) -> None:
    floats = TO_ADD[name]
    with mrpy.session(backend, workers=2, chunksize=chunksize):
        expected = mrpy.stream(floats).sum()
        mixed = [np.float64(x) if place % 3 else x for place, x in enumerate(floats)]
        for doubles in (np.array(floats), list(np.array(floats)), mixed):
            found = mrpy.stream(doubles).sum()
            assert (type(found), found) == (np.float64, expected)
        for other in (np.float32, np.longdouble, complex):
            assert type(mrpy.stream([np.float64(0.1), other(2), np.float64(0.1)] * 100).sum()) is type(np.float64(0.1) + other(2))


@pytest.mark.parametrize("backend", ["serial", "processes"])
def test_booleans_are_counted(backend: str) -> None:
    with mrpy.session(backend, workers=2):
        assert mrpy.stream(MASK).sum() == sum(MASK) == 7
        assert mrpy.stream(MASK.tolist()).sum() == 7
        assert repr(mrpy.stream([True]).sum()) == "1"
        assert mrpy.stream([MASK, MASK, ~MASK]).sum().tolist() == sum([MASK, MASK, ~MASK]).tolist()
        images = [np.full((2, 2), 200, "u1")] * 5
        assert mrpy.stream(images).mean().tolist() == [[200, 200], [200, 200]]


BYTES = np.full(1000, 200, "u1")


class Length(np.ndarray[Any, Any]):
    """A number with a unit, which has no square root as a plain float has; so are those of astropy."""

    def __float__(self) -> float:
        raise TypeError("only numbers without a unit are floats")


@pytest.mark.parametrize("backend", ["serial", "processes"])
@pytest.mark.parametrize(
    ("items", "start"),
    [
        (list(BYTES), np.int64(5)),
        (list(BYTES), 0.5),
        (list(BYTES), 1j),
        (list(BYTES), np.zeros((2, 1), int)),
        ([0, *BYTES, 1, *BYTES], np.int64(0)),
        ([BYTES[:3]] * 30, np.ones(3)),
        ([0, *[BYTES[:3]] * 30], np.ones(3, int)),
        (list(np.full(300, 3000, "f2")), np.float64(np.inf)),
        (list(np.full(9, 3, "m8[h]")), np.datetime64("2026-01-01", "s")),
        (list(np.full(9, 3, "m8[h]")), np.timedelta64(1, "s")),
        ([(1, 2, 3), (4, 5, 6)] * 9, np.zeros(3)),
        ([[1.5, 2]] * 9, np.zeros(2, int)),
        ([(1,), (2,)], np.zeros(2)),
        ([0, (1, 2), [3, 4]], np.zeros(2)),
        ([(0.1, 1), np.ones(2), (0.5, 2)], np.float64(1)),
        ([], np.int64(7)),
        ([BYTES[:2].view(Length)] * 9, np.ones(2).view(Length)),
        (list(np.full(9, 100, "i1")), Fraction(1, 3)),
        (list(np.full(9, 100, "i1")), Decimal("0.5")),
        ([np.full(2, 100, "i1")] * 9, Decimal(0)),
        (list(MASK), Fraction(0)),
        ([np.int8(100)] * 3, type("Third", (Fraction,), {})(1, 3)),
        ([np.int8(100)] * 3, type("Price", (Decimal,), {})("Infinity")),
    ],
)
def test_a_sum_has_the_type_of_its_start_from_the_first_item_on(items: Any, start: Any, backend: str) -> None:
    for chunksize in (1, 7, 5000):
        found = mrpy.stream(items, backend=backend, workers=2, chunksize=chunksize).sum(start)
        expected = sum(items, start)
        assert repr(found) == repr(expected)


@pytest.mark.parametrize("start", [Fraction(0), Fraction(1, 3), Decimal(2)])
@pytest.mark.parametrize("combine", [operator.add, operator.mul])
def test_exact_numbers_do_not_overflow_beside_small_ones(start: Any, combine: Any) -> None:
    for items in (list(np.full(3, 100, "i1")), [np.full(2, 100, "u1")] * 3):
        for chunksize in (1, 3):
            found = mrpy.preduce(combine, items, start, backend="serial", chunksize=chunksize)
            assert repr(found) == repr(functools.reduce(combine, items, start))


def test_means_of_small_numbers_with_a_unit_do_not_overflow() -> None:
    """Of arrays, and of numbers, of classes that derive from those of NumPy."""
    lengths = [BYTES[:2].view(Length), np.array(200, "u1").view(Length)]
    for length in lengths:
        run = mrpy.stream([length] * 5, backend="serial")
        assert isinstance(run.mean(), Length)
        assert (run.mean() == 200).all()
        assert (run.std() == 0).all()


def test_plain_numbers_are_added_as_exactly_beside_any_start() -> None:
    floats, whole = [0.1] * 1000, [2**70, 1, -(2**70)] * 100
    for start in (0, 0.0, np.float64(0)):
        assert mrpy.stream(floats, backend="serial", chunksize=7).sum(start) == 100.0
        assert mrpy.stream(whole, backend="serial", chunksize=7).sum(start) == 100


class Exact:
    """A number that floats do not make inexact, though a float may be made of it, as of those of sympy."""

    def __init__(self, value: Fraction) -> None:
        self.value = value

    def __add__(self, other: Any) -> Exact:
        return Exact(self.value + Fraction(getattr(other, "value", other)))

    __radd__ = __add__

    def __float__(self) -> float:
        return float(self.value)


@pytest.mark.parametrize("backend", ["serial", "processes"])
def test_a_float_ahead_makes_no_floats_of_what_is_none(backend: str) -> None:
    options: dict[str, Any] = {"backend": backend, "workers": 2}
    found = mrpy.stream([1.5, Exact(Fraction(1, 3))] * 130, **options).sum()
    assert (type(found), found.value) == (Exact, 195 + Fraction(130, 3))
    with pytest.raises(TypeError):
        mrpy.stream([1.5, Decimal(1)], **options).sum()
    with pytest.raises(TypeError):
        dict(mrpy.stream([("k", 1.5), ("k", Decimal(1))], **options).aggregate_by(0, total=(1, "sum")))
    assert repr(mrpy.stream([1.5, np.array([2.5])], **options).sum()) == "array([4.])"
    third = np.longdouble(1) / 3
    assert mrpy.stream([0.0, third], **options).sum() == third
    for number in (True, 1, Fraction(1, 4), np.float64(0.1), np.int64(7)):
        total = mrpy.stream([0.1, number] * 500, **options).sum()
        assert isinstance(total, float) and total == math.fsum([0.1, number] * 500)


@pytest.mark.parametrize("bins", [5, np.int64(5), "auto"])
def test_a_number_of_bins_needs_a_range(bins: Any) -> None:
    with pytest.raises(OptionError, match="range"):
        mrpy.stream([1, 2]).histogram(bins)


def test_bins_have_no_names() -> None:
    with pytest.raises(OptionError, match="bins= is a number"):
        mrpy.stream([1, 2]).histogram("sqrt", range=(0, 100))


def test_partitions_may_be_a_number_of_numpys() -> None:
    assert len(list(mrpy.stream(range(4), backend="serial").count_by(abs, partitions=np.int64(2)))) == 4


@pytest.mark.parametrize("value", [np.True_, np.False_])
@pytest.mark.parametrize("option", ["ordered", "progress", "check"])
def test_what_is_on_or_off_may_be_a_truth_value_of_numpys(option: str, value: Any) -> None:
    assert getattr(Options().but({option: value}), option) is bool(value)
    given: Any = {option: value, "backend": "serial"}
    assert list(mrpy.pmap(abs, [1, -2], **given)) == [1, 2]


@pytest.mark.parametrize("option", ["workers", "retries", "timeout", "name"])
def test_and_nothing_else_may_be_one(option: str) -> None:
    with pytest.raises(OptionError, match=f"{option}=True: must be"):
        Options().but({option: np.True_})


HALVES = (np.arange(100) % 10 / 10).astype("f4")


@pytest.mark.parametrize("backend", ["serial", "processes"])
@pytest.mark.parametrize(
    ("items", "bins", "limits"),
    [
        (list(HALVES), 10, (0, 1)),
        (HALVES.tolist(), 10, (0, 1)),
        (list(range(10)), [0, 5, 10], None),
        ([2**53, 2**53 + 1, 2**53 + 2], [2**53, 2**53 + 1, 2**53 + 3], None),
        (list(np.arange(24.0).reshape(4, 2, 3)), 4, (0, 24)),
        ([], 3, (0, 1)),
    ],
)
def test_histograms_are_those_of_numpy(items: Any, bins: Any, limits: Any, backend: str) -> None:
    found = mrpy.stream(items, backend=backend, workers=2, chunksize=3).histogram(bins, limits)
    assert repr(found) == repr(np.histogram(items, bins, limits))


def test_a_histogram_takes_what_floats_are_made_of() -> None:
    counts, _ = mrpy.stream([Decimal("0.5"), Decimal(2)] * 3, backend="serial").histogram([0, 1, 3])
    assert counts.tolist() == [3, 3]
    assert mrpy.stream([True, False, True], backend="serial").histogram(2, (0, 1))[0].tolist() == [1, 2]
    mixed = [*np.arange(2000, dtype="f4"), *[2.0] * 2000]
    counts, edges = mrpy.stream(mixed, backend="serial").histogram(4, (0, 2000))
    assert (counts.sum(), edges.dtype) == (4000, float)


@pytest.mark.parametrize("items", [[1, None, 2], [None], [np.array([1, None])], [Decimal(1), None]])
@pytest.mark.parametrize("backend", ["serial", "processes"])
def test_none_is_in_no_bin(backend: str, items: list[Any]) -> None:
    with pytest.raises(TypeError):
        np.histogram(items, [0, 1, 3])
    with pytest.raises(TypeError, match="not 'NoneType'"):
        mrpy.stream(items, backend=backend, workers=2).histogram([0, 1, 3])


@pytest.mark.parametrize("backend", ["serial", "processes"])
def test_deviations_of_arrays_are_arrays(backend: str) -> None:
    images = [np.arange(6.0).reshape(2, 3) * number for number in range(9)]
    run = mrpy.stream(images, backend=backend, workers=2, chunksize=2)
    np.testing.assert_allclose(run.std(ddof=1), np.std(images, axis=0, ddof=1), rtol=1e-12)
    assert type(run.map(np.sum).std()) is float
    waves = [(1 + 2j * number) * np.arange(1, 4) for number in range(9)]
    found = mrpy.stream(waves, backend=backend, workers=2, chunksize=2).std()
    assert found.dtype == float
    np.testing.assert_allclose(found, np.std(waves, axis=0), rtol=1e-12)


@pytest.mark.parametrize("backend", ["serial", "processes"])
def test_deviations_of_numbers_that_are_no_floats(backend: str) -> None:
    for items in (
        np.array([1 + 2j, 3]),
        np.array([1 + 1j, 2, 3 - 1j, 1j]) * 1j,
        np.array([1 + 2j, 3, -1j], "c8"),
        [1 + 2j, 3.0, 4],
        [np.complex128(1j), *[1.5] * 9],
    ):
        for chunksize in (1, 2, 100):
            found = mrpy.stream(items, backend=backend, workers=2, chunksize=chunksize).std()
            assert found == pytest.approx(float(np.std(items)), rel=1e-6)
    lengths = [np.array(number).view(Length) for number in (1.0, 2.0, 6.0)]
    assert mrpy.stream(lengths, backend="serial").std().tolist() == pytest.approx(np.std([1, 2, 6]))
    third = np.longdouble(1) / 3
    found = mrpy.stream([third, 2 * third], backend=backend, workers=2).std()
    assert type(found) is np.longdouble and abs(found - third / 2) <= np.finfo(np.longdouble).eps


class Quantity:
    """A number with a unit that is none of NumPy's, as those of pint."""

    def __init__(self, value: float, power: float = 1) -> None:
        self.value, self.power = value, power

    def __add__(self, other: Any) -> Quantity:
        return Quantity(self.value + other.value, self.power) if other != 0 else self

    def __sub__(self, other: Quantity) -> Quantity:
        return Quantity(self.value - other.value, self.power)

    def __mul__(self, other: Any) -> Quantity:
        if not isinstance(other, Quantity):
            return Quantity(self.value * other, self.power)
        return Quantity(self.value * other.value, self.power + other.power)

    def __truediv__(self, other: int) -> Quantity:
        return Quantity(self.value / other, self.power)

    def __pow__(self, other: float) -> Quantity:
        return Quantity(self.value**other, self.power * other)

    def __float__(self) -> float:
        raise ValueError("this has a unit")

    __radd__ = __add__


@pytest.mark.parametrize("chunksize", [1, 9])
def test_a_deviation_has_the_unit_of_its_items(chunksize: int) -> None:
    items = [Quantity(value) for value in (1, 2, 6)]
    found = mrpy.stream(items, backend="serial", chunksize=chunksize).std()
    assert (found.value, found.power) == (pytest.approx(statistics.pstdev([1, 2, 6])), 1)


RECORDS = np.array([(n % 3, [1.5, np.nan][n % 2]) for n in range(12)], [("k", "i2"), ("x", "f8")])


@pytest.mark.parametrize("backend", ["serial", "processes"])
@pytest.mark.parametrize("chunksize", [4, 12])
def test_records_are_keys(tmp_path: Path, backend: str, chunksize: int) -> None:
    RECORDS.tofile(tmp_path / "r")
    same = {"backend": backend, "workers": 2, "chunksize": chunksize}
    for run in (
        mrpy.stream(list(RECORDS), **same),
        mrpy.read_records(tmp_path / "r", RECORDS.dtype, blocksize=60, **same),
    ):
        assert [item["k"] for item in run.distinct()] == [0, 1, 2, 0, 1, 2]
        assert [(item["k"], count) for item, count in run.frequencies()] == [(k, 2) for k in (0, 1, 2) * 2]
        sums = run.reduce_by(lambda item: item, lambda left, right: left)
        assert sorted(str(item) for _, item in sums) == sorted({str(item) for item in RECORDS})


@pytest.mark.parametrize("name", ["mean", "std", "var", "sum", "min", "max", "any", "median", "cumsum", "array"])
def test_functions_of_numpy_say_that_a_run_is_no_array(name: str) -> None:
    with pytest.raises(TypeError, match=r"an iterator is no array: write numpy.array\(list\(this\)\)"):
        getattr(np, name)(mrpy.pmap(abs, range(4), backend="serial"))
    assert np.fromiter(mrpy.pmap(abs, range(4), backend="serial"), float).sum() == 6

"""Sums and means of NumPy's small numbers and of booleans are those of the builtins."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import pytest

import mrpy
from mrpy.errors import OptionError

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


@pytest.mark.parametrize("backend", ["serial", "processes"])
def test_booleans_are_counted(backend: str) -> None:
    with mrpy.session(backend, workers=2):
        assert mrpy.stream(MASK).sum() == sum(MASK) == 7
        assert mrpy.stream(MASK.tolist()).sum() == 7
        assert repr(mrpy.stream([True]).sum()) == "1"
        assert mrpy.stream([MASK, MASK, ~MASK]).sum().tolist() == sum([MASK, MASK, ~MASK]).tolist()
        images = [np.full((2, 2), 200, "u1")] * 5
        assert mrpy.stream(images).mean().tolist() == [[200, 200], [200, 200]]


@pytest.mark.parametrize("bins", [5, np.int64(5), "auto"])
def test_a_number_of_bins_needs_a_range(bins: Any) -> None:
    with pytest.raises(OptionError, match="range"):
        mrpy.stream([1, 2]).histogram(bins)


def test_bins_have_no_names() -> None:
    with pytest.raises(OptionError, match="bins= is a number"):
        mrpy.stream([1, 2]).histogram("sqrt", range=(0, 100))


def test_partitions_may_be_a_number_of_numpys() -> None:
    assert len(list(mrpy.stream(range(4), backend="serial").count_by(abs, partitions=np.int64(2)))) == 4

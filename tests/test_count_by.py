"""`count_by` and `aggregate_by`, which take ways of their own to the same answers."""

from __future__ import annotations

import collections
import math
import operator
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from laws import LOCAL

import mrpy
from mrpy.errors import CheckpointError

ITEMS = [n * n % 997 for n in range(12_000)] + [0] * 3000


def key_of(n: int) -> Any:
    """Strings, numbers, tuples with and without a NaN, and one that is hot."""
    return (f"word {n}", n, (n, "a"), (n, math.nan), n + 0.5, n == 0)[n % 6]


def shown(pairs: Any) -> dict[str, int]:
    made = [(repr(key), count) for key, count in pairs]
    assert len(dict(made)) == len(made)  # no key comes twice
    return dict(made)


EXPECTED = collections.Counter(repr(key_of(n)) for n in ITEMS)


@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize("memory", ["auto", 1, 60_000])
@pytest.mark.parametrize("more", [{}, {"on_error": "skip"}, {"retries": 1}, {"chunksize": 700}, {"check": True}])
def test_it_counts_in_any_memory(backend: str, memory: Any, more: dict[str, Any]) -> None:
    if memory == 1:
        more = {"chunksize": 3000, **more}  # a file for each
    run = mrpy.stream(ITEMS, backend=backend, workers=2, memory=memory, **more).count_by(key_of)
    assert shown(run) == EXPECTED
    assert ("on disk" in run.explain()) == (memory != "auto")


@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize("memory", ["auto", 1])
def test_it_comes_in_the_same_order_everywhere(backend: str, memory: Any) -> None:
    def order(**options: Any) -> list[tuple[Any, int]]:
        return mrpy.stream(range(3000), **options).count_by(lambda n: n % 501).to_list()

    assert order(backend=backend, workers=2, memory=memory, chunksize=400) == order(backend="serial")


@pytest.mark.parametrize("backend", LOCAL)
def test_what_is_skipped_is_not_counted(backend: str) -> None:
    run = mrpy.stream(range(5000), backend=backend, workers=2, on_error="skip").count_by(lambda n: 10 // (n % 10))
    assert dict(run) == collections.Counter(10 // (n % 10) for n in range(5000) if n % 10)
    assert run.skipped.count == 500


def test_large_keys_stay_within_the_memory() -> None:
    memory, run = 8_000_000, mrpy.stream(range(12_000), backend="serial", chunksize=12_000, memory=8_000_000)
    tracemalloc.start()
    try:
        assert sum(count for _, count in run.count_by(lambda n: f"{n:04000}")) == 12_000  # 48 MB
        assert tracemalloc.get_traced_memory()[1] < 2 * memory
    finally:
        tracemalloc.stop()


def no_more(n: int) -> int:
    if n == 321:
        raise StopIteration(n)
    return n


FAILING: dict[str, tuple[Callable[[int], Any], type[Exception], str]] = {
    "a StopIteration": (no_more, RuntimeError, "a function raised StopIteration"),
    "no hash": (lambda n: [n] if n == 321 else n, TypeError, r"the key \[321\] of type list cannot be a key"),
    "a TypeError": (lambda n: len(n) if n == 321 else n, TypeError, "has no len"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize("name", FAILING)
def test_a_key_that_fails_names_its_item(backend: str, name: str) -> None:
    key, kind, text = FAILING[name]
    with pytest.raises(kind, match=text) as caught:
        list(mrpy.stream(range(1000), backend=backend, workers=2).count_by(key))
    assert caught.value.mrpy_item.position == 321  # type: ignore[attr-defined]


def text_of(item: Any) -> Any:
    return item["text"]


@pytest.mark.parametrize("backend", LOCAL)
def test_a_key_that_is_not_there_names_what_was_looked_up(backend: str) -> None:
    with mrpy.session(backend, workers=1):
        for run, steps in (
            (mrpy.stream([{"a": 1}]).count_by("b"), "map (item['b'], 1)"),
            (mrpy.stream([{"a": 1}], retries=1).count_by("b"), "map (item['b'], 1)"),
            (mrpy.stream([(3,)]).aggregate_by(0, s=(1, "sum")), "map (item[0], item[1])"),
            (mrpy.stream([(3,)]).map(tuple).group_by(lambda row: row[0]).group_by(2), "map (item[2], item)"),
            (mrpy.stream([{"a": 1}]).map(operator.itemgetter("b")).count_by(len), "map itemgetter -> map (len, 1)"),
        ):
            with pytest.raises((KeyError, IndexError)) as caught:
                run.to_list()
            assert caught.value.__notes__[1:] == [f"mrpy: raised on the way to its key: {steps}"]
        with pytest.raises(KeyError) as caught:
            mrpy.stream([{"a": 1}]).count_by(text_of).to_list()
        assert len(caught.value.__notes__) == 1, "the traceback has the line"
        with pytest.raises(IndexError) as caught:  # of the operator: the key was there
            mrpy.stream([(0,), 3, 4], chunksize=10).reduce_by(lambda x: 0, operator.getitem).to_list()
        assert caught.value.__notes__ == ["mrpy: raised for the key 0"]


# ---- aggregates --------------------------------------------------------------------------------------------------

ROWS = [(n % 7, n, float(n % 5)) for n in range(400)]


def second(row: tuple[Any, ...]) -> Any:
    return row[1]


def plain(how: str, values: list[Any]) -> Any:
    return {"count": len, "sum": sum, "max": max, "first": operator.itemgetter(0)}[how](values)


FIELDS: dict[str, dict[str, Any]] = {
    "counts only": {"n": "count", "m": "count"},
    "one index": {"s": (1, "sum")},
    "indexes": {"s": (1, "sum"), "m": (2, "max")},
    "indexes and a count": {"n": "count", "s": (1, "sum"), "k": "count", "m": (2, "max")},
    "one function": {"s": (second, "sum")},
    "a function and an index": {"s": (second, "sum"), "n": "count", "m": (2, "max")},
    "several indexes at once": {"f": ([0, 1], "first"), "m": (2, "max")},
    "the item": {"f": "first", "m": (1, "max")},
    "a getter of the user's": {"f": (operator.itemgetter(0, 1), "first"), "m": (operator.itemgetter(2), "max")},
}


@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize("name", FIELDS)
def test_fields_are_looked_up_however_they_are_given(backend: str, name: str) -> None:
    wanted = FIELDS[name]

    def expected(rows: list[Any]) -> Iterator[tuple[str, Any]]:
        for label, each in wanted.items():
            field, how = each if isinstance(each, tuple) else (lambda row: row, each)
            at = operator.itemgetter(*field) if isinstance(field, list) else field
            look = at if callable(at) else operator.itemgetter(at)
            yield label, plain(how, [look(row) for row in rows])

    found = dict(mrpy.stream(ROWS, backend=backend, workers=2).aggregate_by(0, **wanted))
    assert found == {key: dict(expected([row for row in ROWS if row[0] == key])) for key in range(7)}


@pytest.mark.parametrize("backend", LOCAL)
def test_a_field_that_is_not_there_names_its_item(backend: str) -> None:
    rows: list[tuple[int, ...]] = [(0, 1, 2)] * 50 + [(0, 1)] + [(0, 1, 2)] * 50
    with pytest.raises(IndexError) as caught:
        list(mrpy.stream(rows, backend=backend, workers=2).aggregate_by(0, n="count", a=(1, "sum"), b=(2, "sum")))
    assert caught.value.mrpy_item.position == 50  # type: ignore[attr-defined]


@pytest.mark.parametrize("backend", LOCAL)
def test_an_index_may_be_an_array(backend: str) -> None:
    numpy = pytest.importorskip("numpy")
    rows = [numpy.array([n % 3, n, n + 1]) for n in range(60)]
    run = mrpy.stream(rows, backend=backend, workers=2)
    found = dict(run.aggregate_by(0, f=(numpy.array([0, 1]), "first"), m=(2, "max")))
    assert {key: (list(made["f"]), made["m"]) for key, made in found.items()} == {
        key: ([key, key], 58 + key) for key in range(3)
    }


def test_a_checkpoint_of_other_aggregates_is_refused(tmp_path: Path) -> None:
    def run(how: str, **given: Any) -> dict[Any, Any]:
        return dict(mrpy.stream(ROWS, backend="serial", chunksize=100, **given).aggregate_by(0, m=(1, how)))

    kept = tmp_path / "kept"
    assert run("max", checkpoint=kept) == run("max", checkpoint=kept) == run("max")
    with pytest.raises(CheckpointError, match="another program"):
        run("min", checkpoint=kept)

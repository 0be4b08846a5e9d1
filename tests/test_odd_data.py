"""Sources and sinks in odd places: what is left of other runs, links that lead nowhere, parts without records."""

from __future__ import annotations

import ctypes
import sqlite3
import statistics
import sys
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from laws import BACKENDS, LOCAL

import mrpy

parquet = pytest.importorskip("pyarrow.parquet")


@pytest.mark.parametrize("options", [{"chunksize": 10}, {"chunksize": 1000}, {}])
@pytest.mark.parametrize("backend", LOCAL)
def test_parquet_with_given_columns_may_have_parts_without_records(tmp_path: Path, backend: str, options: Any) -> None:
    run = mrpy.stream(range(1000), backend=backend, workers=2, **options).filter(lambda n: n > 500)
    run.map(lambda n: {"n": n, "s": str(n)}).to_parquet(tmp_path / "out", fields=["s", "n"])
    rows = [row for file in sorted((tmp_path / "out").iterdir()) for row in parquet.read_table(file).to_pylist()]
    assert rows == [{"s": str(n), "n": n} for n in range(501, 1000)]


def test_what_another_run_prepares_in_a_folder_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1\n")
    left = tmp_path / "out.0123456789abcdef.tmp" / "attempts"
    left.mkdir(parents=True)
    (left / "part").write_text("2\n")
    assert mrpy.read_text(tmp_path, backend="serial").to_list() == ["1"]


def test_a_link_that_leads_to_itself_is_passed_over_as_one_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1\n")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    assert mrpy.read_text(tmp_path, backend="serial").to_list() == ["1"]


def table(path: Path, values: list[Any]) -> str:
    with sqlite3.connect(path) as connection:
        connection.execute("create table t (k)")
        connection.executemany("insert into t values (?)", [(value,) for value in values])
    connection.close()
    return f"sqlite:///{path}"


@pytest.mark.parametrize("least", [float("-inf"), -1e308])
def test_ranges_of_a_key_that_cannot_be_cut_have_all_rows(tmp_path: Path, least: float) -> None:
    url = table(tmp_path / "db", [least, *map(float, range(10)), 1e308])
    assert mrpy.read_sql("t", url, "k", partitions=4, backend="serial").count() == 12


def test_a_query_may_end_in_a_comment(tmp_path: Path) -> None:
    url = table(tmp_path / "db", [1, 2])
    assert mrpy.read_sql("select k from t -- all of it", url, backend="serial").count() == 2


def test_a_key_of_numbers_and_texts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="which have no ranges: take numbers or dates"):
        list(mrpy.read_sql("t", table(tmp_path / "db", [1, "a"]), "k", backend="serial"))


def test_a_checkpoint_of_another_way_to_read_the_file_is_refused(tmp_path: Path) -> None:
    path, kept = tmp_path / "a.csv", tmp_path / "kept"
    path.write_text("a,b;c\n1,2;3\n")
    first = mrpy.read_csv(path, delimiter=",", checkpoint=kept, backend="serial").to_list()
    assert first == [{"a": "1", "b;c": "2;3"}]
    with pytest.raises(mrpy.errors.MrpyError, match="checkpoint"):
        mrpy.read_csv(path, delimiter=";", checkpoint=kept, backend="serial").to_list()
    numbers, other = tmp_path / "n", tmp_path / "other"
    numbers.write_bytes(b"\x01\x00\x02\x00")
    assert [int(n) for n in mrpy.read_records(numbers, "<u2", checkpoint=other, backend="serial")] == [1, 2]
    with pytest.raises(mrpy.errors.MrpyError, match="checkpoint"):
        mrpy.read_records(numbers, ">u2", checkpoint=other, backend="serial").to_list()


def test_arrays_of_ctypes_travel_there_and_back() -> None:
    kind = ctypes.c_int * 3
    with mrpy.session("processes", workers=1):
        [array] = mrpy.pmap(lambda array: type(array)(*array[1:]), [kind(1, 2, 3)])
    assert type(array) is kind and list(array) == [2, 3, 0]


# ---- odd keys and numbers --------------------------------------------------------------------------------

over_backends = pytest.mark.parametrize("backend", BACKENDS)


class Point(tuple[Any, ...]):
    pass


class Members(frozenset[Any]):
    pass


@pytest.mark.parametrize("kind", [Point, Members])
@over_backends
def test_keys_of_a_class_of_their_own_that_hold_a_nan_are_one(backend: str, kind: Any) -> None:
    """How to make another of that class nobody knows."""
    keys = [kind((1, float("nan"))) for _ in range(60)] + [kind((1, 2))] * 3
    run = mrpy.stream(keys, backend=backend, workers=2, chunksize=10)
    assert sorted(count for _, count in run.count_by(lambda key: key)) == [3, 60]
    assert sorted(count for _, count in mrpy.stream(keys, backend=backend, workers=2).frequencies()) == [3, 60]
    assert {type(key) for key in mrpy.stream(keys, backend=backend, workers=2).distinct()} == {kind}


def test_a_time_of_pandas_that_is_none_is_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that it is a `datetime`, but has no zone and no number."""

    class NaTType(datetime):
        __module__ = "pandas._libs.tslibs.nattype"

        def __eq__(self, other: object) -> bool:
            return False

        def __hash__(self) -> int:
            return id(self)

        def utcoffset(self) -> Any:
            raise ValueError("NaTType does not support utcoffset")

    times = [NaTType(1, 1, 1) for _ in range(5)]
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(NaT=times[0]))  # type: ignore[arg-type]
    keys = [key for time in times for key in (time, datetime(2020, 1, 1))]
    with mrpy.session("serial"):
        counted = mrpy.stream(keys, chunksize=3).count_by(lambda key: key).to_list()
        grouped = mrpy.stream(keys, chunksize=3).group_by(lambda key: key).to_list()
    assert sorted((key is times[0], n) for key, n in counted) == [(False, 5), (True, 5)]
    assert sorted((key is times[0], len(values)) for key, values in grouped) == [(False, 5), (True, 5)]


@over_backends
def test_a_deviation_of_decimals_and_whole_numbers_is_the_same_however_they_lie(backend: str) -> None:
    items: list[Any] = [Decimal("1.5")] * 100 + [2] * 100
    for chunksize in (10, 200):
        run = mrpy.stream(items, backend=backend, workers=2, chunksize=chunksize)
        assert run.std() == pytest.approx(float(statistics.pstdev(items)))
        run = mrpy.stream(items, backend=backend, workers=2, chunksize=chunksize)
        [(_, found)] = run.aggregate_by(lambda _: 0, s="std")
        assert found["s"] == pytest.approx(0.25)


@over_backends
def test_records_of_numpy_are_keys_of_counts_as_of_groups(backend: str) -> None:
    rows = np.array([(1, 2.0), (1, 2.0), (3, 4.0)] * 10, dtype=[("a", int), ("b", float)])
    for key in (lambda row: row, lambda row: (row, 1)):
        run = mrpy.stream(rows, backend=backend, workers=2, chunksize=7)
        assert sorted(count for _, count in run.count_by(key)) == [10, 20]
    for batches in (np.split(rows, 3), [rows[:0], *np.split(rows, 3)]):
        parts = mrpy.stream(batches, backend=backend, workers=2).flat_map(lambda batch: batch)
        assert sorted(count for _, count in parts.frequencies()) == [10, 20]
        parts = mrpy.stream(batches, backend=backend, workers=2).flat_map(list)
        assert sorted(count for _, count in parts.frequencies()) == [10, 20]
    with pytest.raises(TypeError, match="not hashable"):
        mrpy.stream(rows, backend=backend, workers=2).count_by(lambda row: [row]).to_list()


@dataclass
class Task:
    """As in a queue: equal by all of it, and before others by some."""

    priority: int
    name: str

    def __lt__(self, other: Any) -> bool:
        return bool(self.priority < other.priority)


@over_backends
def test_the_largest_are_those_that_sorted_puts_first(backend: str) -> None:
    tasks = [Task(i * 7 % 5, f"t{i}") for i in range(300)]
    with mrpy.session(backend, workers=2):
        assert mrpy.stream(tasks, chunksize=10).topk(6).to_list() == sorted(tasks, reverse=True)[:6]
        for key in (lambda task: (0, task), lambda task: [(task,)]):
            assert mrpy.stream(tasks, chunksize=10).topk(6, key=key).to_list() == sorted(tasks, key=key, reverse=True)[:6]
        pairs = [(0, task) for task in tasks]
        assert mrpy.stream(pairs, chunksize=10).topk(6).to_list() == sorted(pairs, reverse=True)[:6]

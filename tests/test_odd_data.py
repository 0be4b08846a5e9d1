"""Sources and sinks in odd places: what is left of other runs, links that lead nowhere, parts without records."""

from __future__ import annotations

import ctypes
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from laws import LOCAL

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

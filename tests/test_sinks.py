"""Sinks: the parts, one after the other, are what a plain loop would have written, and an output is whole or not there."""

from __future__ import annotations

import bz2
import csv
import datetime
import enum
import errno
import gzip
import io
import json
import lzma
import math
import operator
import os
import re
import sqlite3
import stat
import threading
import time
from collections import deque, namedtuple
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generated import run_options
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from laws import BACKENDS, EXAMPLES, LOCAL

import mrpy
from mrpy.errors import OptionError
from mrpy.mapreduce.files import opening
from mrpy.mapreduce.sinks import parts, sqlite, staging
from mrpy.mapreduce.sinks.staging import Staging

Options = dict[str, Any]


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    """Where to write. At the end of a test there is nothing beside it."""
    folder = tmp_path / "place"
    folder.mkdir()
    yield folder / "out"
    assert {path.name for path in folder.iterdir()} <= {"out"}


def over_backends(**strategies: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A property over every backend; it writes to the same place again and again."""

    def decorate(claim: Callable[..., None]) -> Callable[..., None]:
        @pytest.mark.parametrize("backend", BACKENDS)
        def test(backend: str, out: Path) -> None:
            @settings(max_examples=EXAMPLES[backend], deadline=None, suppress_health_check=list(HealthCheck))
            @given(options=run_options, **strategies)
            def run(options: Options, **drawn: Any) -> None:
                options["backend"] = backend
                if backend == "dask":
                    options["workers"] = 2  # one cluster
                claim(out, {**options, "overwrite": True}, **drawn)

            run()

        test.__doc__ = claim.__doc__
        return test

    return decorate


def together(written: Any, opened: Callable[..., Any] = open, encoding: str = "utf-8") -> str:
    """The parts, one after the other."""
    text = ""
    for path in written.paths:
        with opened(path, "rt", encoding=encoding, newline="") as file:
            text += file.read()
    return text


# ---- what is written -----------------------------------------------------------------------------------

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=9)
OPENED = {None: open, "gzip": gzip.open, "bz2": bz2.open, "xz": lzma.open}


@over_backends(
    lines=st.lists(words, max_size=40),
    compression=st.sampled_from(list(OPENED)),
    encoding=st.sampled_from(["utf-8", "utf-16", "utf-8-sig"]),
    ordered=st.booleans(),
    multiple=st.integers(0, 2),
)
def test_the_lines_of_all_parts_are_those_of_a_plain_loop(
    out: Path, options: Options, lines: Any, compression: Any, encoding: str, ordered: bool, multiple: int
) -> None:
    items = mrpy.stream(lines).filter(len).flat_map(lambda line: [line] * multiple)
    written = items.to_text(out, compression=compression, encoding=encoding, ordered=ordered, **options)
    expected = [line for line in lines if line for _ in range(multiple)]
    assert together(written, OPENED[compression], encoding) == "".join(f"{line}\n" for line in expected)
    assert written.records == len(expected)
    assert written.bytes == sum(os.path.getsize(path) for path in written.paths)
    assert sorted(map(str, out.iterdir())) == (list(written.paths) or [str(out / "_SUCCESS")])


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)


@over_backends(records=st.lists(values, max_size=20))
def test_json_lines_can_be_read_back(out: Path, options: Options, records: Any) -> None:
    written = mrpy.stream(records).to_jsonl(out, **options)
    assert [json.loads(line) for line in together(written).split("\n")[:-1]] == records


def test_json_lines_hold_what_is_no_text_as_json_has_it(out: Path) -> None:
    item = {os.fsdecode(b"caf\xe9"): 'ü \\ud800 \ud800"'}
    written = mrpy.stream([item, item], backend="serial").to_jsonl(out)
    assert together(written) == '{"caf\\udce9": "ü \\\\ud800 \\ud800\\""}\n' * 2
    assert list(mrpy.read_jsonl(out, backend="serial")) == [item, item]


cells = st.integers() | words | st.text('",;\r\n ', max_size=4)


@over_backends(rows=st.lists(st.tuples(cells, cells), max_size=20), named=st.booleans(), delimiter=st.sampled_from(",;"))
def test_csv_can_be_read_back_and_each_part_has_its_header(
    out: Path, options: Options, rows: Any, named: bool, delimiter: str
) -> None:
    records = [{"a b": a, "ä,;": b} for a, b in rows] if named else rows
    written = mrpy.stream(records).to_csv(out, delimiter=delimiter, **options)
    got: list[list[str]] = []
    for path in written.paths:
        with open(path, encoding="utf-8", newline="") as file:
            read = list(csv.reader(file, delimiter=delimiter))
        if named:
            assert read.pop(0) == ["a b", "ä,;"]
        got += read
    assert got == [[str(a), str(b)] for a, b in rows]


@over_backends(rows=st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.none() | words), min_size=1, max_size=20))
def test_a_table_has_the_rows_in_order(out: Path, options: Options, rows: Any) -> None:
    written = mrpy.stream(rows).to_sqlite(out, "the table", fields=["n", 'te"xt'], **options)
    assert written.records == len(rows)
    assert table(out, "the table") == rows


def table(path: Path, name: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(f'select * from "{name}" order by rowid').fetchall()


@over_backends(rows=st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), words), max_size=20))
def test_parquet_can_be_read_back(out: Path, options: Options, rows: Any) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    written = mrpy.stream(rows).starmap(lambda n, text: {"n": n, "text": text}).to_parquet(out, **options)
    got = [row for path in written.paths for row in parquet.read_table(path).to_pylist()]
    assert got == [{"n": n, "text": text} for n, text in rows]


def test_named_tuples_arrays_and_records_with_gaps_are_rows(out: Path) -> None:
    import numpy as np

    point = namedtuple("point", "x y")  # noqa: PYI024
    written = mrpy.stream([point(1, 2)], backend="serial").to_csv(out)
    assert together(written) == "x,y\n1,2\n"
    written = mrpy.stream(np.arange(4).reshape(2, 2), backend="serial").to_csv(out, overwrite=True)
    assert together(written) == "0,1\n2,3\n"
    records = [{"b": 1}, {"a": 2, "b": 3}, (4, 5)]
    written = mrpy.stream(records, backend="serial", chunksize=9).to_csv(out, fields=["a", "b"], overwrite=True)
    assert together(written) == "a,b\n,1\n2,3\n4,5\n"


def test_a_schema_says_the_types(out: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    schema = pyarrow.schema([("n", pyarrow.int8()), ("x", pyarrow.float64())])
    records = [{"n": 1}, {"n": 2, "x": 3}]
    with pytest.raises(ValueError, match="different columns"):
        mrpy.stream(records, chunksize=1, backend="serial").to_parquet(out)
    written = mrpy.stream(records, chunksize=1, backend="serial").to_parquet(out, schema=schema, compression=None)
    assert len(written.paths) == 2
    got = [pyarrow.parquet.read_table(path) for path in written.paths]
    assert {each.schema for each in got} == {schema}
    assert pyarrow.concat_tables(got).to_pylist() == [{"n": 1, "x": None}, {"n": 2, "x": 3.0}]
    with pytest.raises(TypeError, match="fields= or schema="):
        mrpy.stream(records, backend="serial").to_parquet(out, fields=["n"], schema=schema, overwrite=True)


@pytest.mark.parametrize("schema", [{"a": "int64"}, [("a", "int64")], 5, ""])
def test_what_is_no_schema_is_refused(schema: Any, out: Path) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(TypeError, match=r"to_parquet\(\) needs schema=pyarrow\.schema\(\[.*\]\), not (dict|list|int|str) "):
        mrpy.stream([{"a": 1}], backend="serial").to_parquet(out, schema=schema)


@pytest.mark.parametrize("backend", LOCAL)
def test_a_value_that_does_not_fit_its_column_is_an_error_of_its_record(backend: str, out: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    schema = pyarrow.schema([("n", pyarrow.uint8()), ("t", pyarrow.string()), pyarrow.field("x", pyarrow.float64(), nullable=False), ("l", pyarrow.list_(pyarrow.int64()))])
    good = {"n": 255, "t": "\u00fc", "x": 1.5, "l": [1, 2]}
    bad = [{"n": 256}, {"n": -1}, {"n": "x"}, {"t": 5}, {"t": "\ud800"}, {"x": None}, {"x": "y"}, {"l": 3}, {"l": ["z"]}]
    rows = [{**good, **wrong} for each in bad for wrong in ({}, each)]
    stream = mrpy.stream(rows, backend=backend, workers=2)
    written = stream.to_parquet(out, schema=schema, on_error="skip")
    assert written.records == len(bad) and stream.skipped.count == len(bad)
    assert [row for path in written.paths for row in pyarrow.parquet.read_table(path).to_pylist()] == [good] * len(bad)
    with pytest.raises(ValueError, match="column 'n': .*256") as caught:
        mrpy.stream(rows, backend=backend, workers=2).to_parquet(out, schema=schema, overwrite=True)
    assert "item 1:" in caught.value.__notes__[0]
    everything = [good, {**good, "n": None, "t": None, "l": None}, {**good, "n": 0, "l": []}]
    for path in mrpy.stream(everything, backend=backend).to_parquet(out, schema=schema, overwrite=True).paths:
        assert pyarrow.parquet.read_table(path).to_pylist() == everything


def test_types_of_columns_do_not_depend_on_how_items_were_cut(out: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    rows = [{"a": None, "b": [], "c": 1, "d": {"e": None}}] * 3 + [{"a": "x", "b": [2], "c": 1.5, "d": {"e": 1}}] * 3 + [{"a": None, "b": [None], "c": None, "d": None}]
    types = ["string", "list<item: int64>", "double", "struct<e: int64>"]
    for chunksize in (1, 2, 3, 7):
        written = mrpy.stream(rows, chunksize=chunksize, workers=2).to_parquet(out, overwrite=True)
        tables = [pyarrow.parquet.read_table(path) for path in written.paths]
        assert len(tables) == -(-7 // chunksize)
        assert all([str(kind).replace("element", "item") for kind in table.schema.types] == types for table in tables)
        assert [row["c"] for table in tables for row in table.to_pylist()] == [1.0] * 3 + [1.5] * 3 + [None]
        assert written.bytes == sum(os.path.getsize(path) for path in written.paths)
    for values in ([Decimal("1.5"), Decimal("100.25"), None], [[1], [1.5]], [{"x": 1}, {"x": 1.5, "y": [None]}, {"y": ["z"]}]):
        written = mrpy.stream([{"a": value} for value in values], chunksize=1, backend="serial").to_parquet(out, overwrite=True)
        tables = [pyarrow.parquet.read_table(path) for path in written.paths]
        assert {str(table.schema).replace("element", "item") for table in tables} == {str(pyarrow.table({"a": values}).schema)}
        assert pyarrow.concat_tables(tables).to_pylist() == pyarrow.table({"a": values}).to_pylist()
        assert len(os.listdir(out)) == len(values)
    with pytest.raises(ValueError, match="schema="):
        mrpy.stream([{"a": 2**53 + 1}, {"a": 1.5}], chunksize=1, backend="serial").to_parquet(out, overwrite=True)
    for one, other in ((1, "x"), ("x", b"y"), ([1], 2)):
        with pytest.raises(ValueError, match="'a' is .* in one part, .*schema="):
            mrpy.stream([{"a": one}, {"a": other}], chunksize=1, backend="serial").to_parquet(out, overwrite=True)
    assert len(os.listdir(out)) == 3


def at_offset(hours: int, **more: Any) -> datetime.datetime:
    return datetime.datetime(2024, 5, 6, 12, tzinfo=datetime.timezone(datetime.timedelta(hours=hours)), **more)


JOINED: list[tuple[str, str]] = [  # values, and the type of Arrow's that all of them have
    ("[np.float32(1.1), 1.5, np.float32(2)]", "double"), ("[np.int32(1), 2**40, np.int8(3)]", "int64"),
    ("[np.int8(1), np.uint8(200)]", "int16"), ("[np.float16(1.5), 3]", "double"), ("[2, np.float32(1.5)]", "double"),
    ("[Decimal('1.5'), 3, np.int32(4)]", "decimal128(20, 1)"), ("[Decimal('1'), Decimal('0.' + '1' * 38)]", "decimal256(39, 38)"),
    ("[Decimal('1' * 40), Decimal('2' * 41), 1]", "decimal256(41, 0)"), ("[Decimal('1' * 30), Decimal('0.' + '1' * 30)]", "decimal256(60, 30)"),
    ("[at_offset(1), at_offset(2), at_offset(1, microsecond=1)]", "timestamp[us, tz=UTC]"), ("[at_offset(1), at_offset(1)]", "timestamp[us, tz=+01:00]"),
    ("[{}, {'x': 1}, {}]", "struct<x: int64>"), ("[{}, None, {'x': {}}, {'x': {'y': 1.5}}]", "struct<x: struct<y: double>>"), ("[[{}], [{'x': 1}]]", "list<element: struct<x: int64>>"),
    ("[{'x': 1, 'y': 1}, {'y': 1.5, 'x': 2}]", "struct<x: int64, y: double>"), ("[[1, 1.5], [np.int32(1)], (2,), None]", "list<element: double>"),
    ("[{'x': T0.date()}, {'x': None}]", "struct<x: date32[day]>"), ("[np.datetime64('2024-05-06T01:02:03'), T0.replace(microsecond=1)]", "timestamp[us]"),
]  # fmt: skip
APART = [  # values that have no type in common
    "[T0.date(), T0]", "[T0, at_offset(1)]", "[1, T0.date()]", "[True, 1]", "[True, 1.5]", "[Decimal('1.5'), 1.5]", "[1.5, 2**53 + 1]", "[np.uint64(1), 1]", "[np.uint64(1), 1.5]",
    "['x', b'x']", "[[1], 1]", "[{'x': 1}, {'x': 'y'}]", "[{}, {}]", "[Decimal('1' * 70), Decimal('0.' + '1' * 10)]", "[[1, 'x']]", "[np.float16(1.5), 2**53 + 1]", "[2**64, 1]", "[object(), 1]", "[{1: 2}, {'x': 2}]",
]  # fmt: skip


@pytest.mark.parametrize(("values", "kind"), JOINED)
def test_values_of_several_types_are_one_column_however_they_are_cut(out: Path, values: str, kind: str) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    column: list[Any] = eval(values)
    for order in (column, column[::-1]):
        for chunksize in (1, 2, len(column), "auto"):
            rows = mrpy.stream([{"a": value} for value in order], backend="serial", chunksize=chunksize)
            tables = [parquet.read_table(path) for path in rows.to_parquet(out, overwrite=True).paths]
            [found] = {str(table.schema.field("a").type).replace("item", "element") for table in tables}
            assert found == kind or order is not column, "the fields of structs are in the order of the records"
            got = [row["a"] for table in tables for row in table.to_pylist()]
            assert all(map(is_same, got, order)), got


def is_same(got: Any, value: Any) -> bool:
    """Whether a value came back, in structs perhaps with fields more, which are empty."""
    if isinstance(value, dict):
        return got.keys() >= value.keys() and all(is_same(each, value.get(name)) for name, each in got.items())
    if isinstance(value, list | tuple):
        return len(got) == len(value) and all(map(is_same, got, value))
    return bool(got == (value.item() if isinstance(value, np.generic) else value))


@pytest.mark.parametrize("values", APART)
def test_values_without_a_type_in_common_are_an_error_however_they_are_cut(out: Path, values: str) -> None:
    pytest.importorskip("pyarrow")
    column: list[Any] = eval(values)
    for order in (column, column[::-1]):
        for chunksize in (1, 2, "auto"):
            rows = mrpy.stream([{"a": value} for value in order], backend="serial", chunksize=chunksize)
            with pytest.raises(ValueError, match=r"column 'a[.\w]*'.*schema= says what it is"):
                rows.to_parquet(out)
    assert not out.exists()


def test_a_compression_that_there_is_not_is_refused_at_once(out: Path) -> None:
    pytest.importorskip("pyarrow")
    seen: list[int] = []
    for wrong in ("snapy", "bz2", "lzo", 5):
        with pytest.raises(ValueError, match=f"compression={wrong!r}"):
            mrpy.stream([1], backend="serial").map(seen.append).to_parquet(out, compression=wrong)
    assert seen == []


@pytest.mark.parametrize("left", [0.5, 1.5])
@pytest.mark.parametrize("options", [{}, {"chunksize": 10}], ids=["joined", "in parts"])
@pytest.mark.parametrize("sink", ["to_text", "to_csv", "to_parquet", "to_sqlite"])
def test_a_part_that_somebody_has_changed_is_an_error_and_leaves_nothing(sink: str, options: Options, left: float, out: Path) -> None:
    def record(item: int) -> Any:
        if item == 99:
            first, *_ = out.parent.glob("out.*.tmp/attempts/0-*")
            os.truncate(first, int(first.stat().st_size * left))
        return f"{item}" if sink == "to_text" else {"a": item}

    rows = mrpy.stream(range(100), backend="serial", **options).map(record)
    with pytest.raises(OSError, match="bytes was written, and has .* now: has somebody changed it") as caught:
        getattr(rows, sink)(out, *["t"] * (sink == "to_sqlite"))
    assert caught.value.filename == str(out) and not out.exists()


@pytest.mark.parametrize("backend", LOCAL)
def test_whatever_stands_before_a_sink_is_run(backend: str, out: Path) -> None:
    """Runs of runs: a MapReduce, a sort, batches."""
    pairs = mrpy.mapreduce(lambda n: (n % 3, n), lambda key, values: sum(values), range(10), backend=backend, sort=True)
    assert together(pairs.to_jsonl(out)) == "[0, 18]\n[1, 12]\n[2, 15]\n"
    ordered = mrpy.stream([3, 1, 2], backend=backend).sorted(reverse=True).map(str)
    assert together(ordered.to_text(out, overwrite=True)) == "3\n2\n1\n"
    batches = mrpy.pmap(abs, range(5), backend=backend).batch(2).map(str)
    assert together(batches.to_text(out, overwrite=True)) == "(0, 1)\n(2, 3)\n(4,)\n"
    assert together(mrpy.parallel((str(n) for n in range(3)), backend=backend).to_text(out, overwrite=True)) == "0\n1\n2\n"


@pytest.mark.parametrize("compression", list(OPENED))
def test_what_was_written_can_be_read_and_written_again_to_the_same_place(compression: str | None, out: Path) -> None:
    """By the readers of the library; the old output is there until the new one is complete."""
    mrpy.stream(range(1000), workers=2).map(str).to_text(out, compression=compression)
    doubled = mrpy.read_text(out, workers=2).map(lambda line: str(2 * int(line)))
    doubled.to_text(out, compression=compression, overwrite=True)
    assert mrpy.read_text(out, workers=2).map(int).to_list() == list(range(0, 2000, 2))
    records = [{"a": n, "b": [str(n), None]} for n in range(10)]
    mrpy.stream(records, workers=2).to_jsonl(out, compression=compression, overwrite=True)
    assert mrpy.read_jsonl(out, workers=2).to_list() == records


def test_the_same_program_writes_the_same_bytes_at_any_time(out: Path) -> None:
    def run() -> list[bytes]:
        written = mrpy.stream(range(100), chunksize=40, backend="serial").map(str).to_text(
            out, compression="gzip", overwrite=True
        )
        return [Path(path).read_bytes() for path in written.paths]

    assert run() == run()


def test_random_numbers_do_not_depend_on_where_they_are_written(out: Path) -> None:
    def draw(_: int) -> str:
        return mrpy.rng().random().hex()

    expected = list(mrpy.pmap(draw, range(20), seed=1, backend="serial"))
    written = mrpy.pmap(draw, range(20), seed=1, chunksize=3).to_text(out, workers=2)
    assert together(written).split() == expected


def test_parts_are_few_and_not_large(out: Path) -> None:
    written = mrpy.stream(range(300_000), workers=2).map(str).to_text(out)
    assert len(written.paths) < 100
    written = mrpy.stream(range(20), workers=1).map(lambda n: "x" * 20_000_000).to_text(out, overwrite=True)
    assert max(map(os.path.getsize, written.paths)) < 5 * 20_000_001


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sink", ["to_text", "to_jsonl", "to_csv", "to_parquet"])
def test_a_small_output_is_one_part_on_every_backend(sink: str, backend: str, out: Path) -> None:
    if sink == "to_parquet":
        pytest.importorskip("pyarrow")
    items = mrpy.stream(range(100), backend=backend, workers=2)
    records: Any = items.map(str) if sink == "to_text" else items.map(lambda n: {"n": n})
    written = getattr(records, sink)(out)
    (path,) = written.paths
    assert os.path.basename(path).startswith("part-00000.")
    assert (written.records, written.bytes) == (100, os.path.getsize(path))
    read = getattr(mrpy, sink.replace("to", "read"))
    numbers = read(path, backend="serial").map(lambda row: int(row["n"] if isinstance(row, dict) else row))
    assert numbers.to_list() == list(range(100))


def test_an_output_that_is_not_small_is_left_in_parts(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "SMALL", 289)
    written = mrpy.stream(range(100), backend="serial").map(str).to_text(out)
    assert written.bytes == 290
    assert len(written.paths) > 1
    assert together(written).split() == [str(n) for n in range(100)]
    monkeypatch.setattr(parts, "SMALL", 290)
    written = mrpy.stream(range(100), backend="serial").map(str).to_text(out, overwrite=True)
    assert len(written.paths) == 1


def test_a_part_is_a_task_and_chunksize_says_how_many_items(out: Path) -> None:
    written = mrpy.stream("abcde", chunksize=2, backend="serial").to_text(out)
    assert [os.path.basename(path) for path in written.paths] == ["part-00000.txt", "part-00001.txt", "part-00002.txt"]
    written = mrpy.stream("abcde", chunksize=2, backend="serial").filter("e".__eq__).to_text(out, overwrite=True)
    assert [Path(path).read_text() for path in written.paths] == ["e\n"], "parts without records are not written"
    assert written.paths[0].endswith("part-00000.txt")


@pytest.mark.parametrize("backend", LOCAL)
def test_a_part_of_so_many_items_has_them_also_where_one_overran(backend: str, out: Path) -> None:
    def function(n: int) -> str:
        for _ in range(300 if n == 13 else 0):
            time.sleep(0.01)
        return str(n)

    with mrpy.session(backend, workers=2):
        written = mrpy.pmap(function, range(40), chunksize=10, timeout=0.3, on_error="skip").to_text(out)
    assert [len(Path(path).read_text(encoding="utf-8").split()) for path in written.paths] == [10, 9, 10, 10]


def test_nothing_is_written_as_a_folder_without_parts(out: Path) -> None:
    assert mrpy.stream([], backend="serial").to_text(out) == ((), 0, 0)
    assert list(out.iterdir()) == [out / "_SUCCESS"]


READ_BACK: dict[str, Callable[[Path], Any]] = {
    "to_text": mrpy.read_text, "to_jsonl": mrpy.read_jsonl, "to_csv": mrpy.read_csv, "to_parquet": mrpy.read_parquet,
}  # fmt: skip


@pytest.mark.parametrize("sink", READ_BACK)
def test_an_output_without_records_can_be_read_back_and_replaced(out: Path, tmp_path: Path, sink: str) -> None:
    read = READ_BACK[sink]
    none = mrpy.stream([{"a": 1}], backend="serial").filter(lambda _: False)
    getattr(none, sink)(out)
    assert list(read(out)) == list(mrpy.read_records(out, 4)) == []
    assert list(read(out).map(repr)) == []
    getattr(none, sink)(out, overwrite=True)
    one = mrpy.stream([{"a": 1}], backend="serial")
    getattr(one.map(str) if sink == "to_text" else one, sink)(out, overwrite=True)
    assert len(list(read(out))) == len(list(out.iterdir())) == 1, "the mark is gone"
    getattr(none, sink)(out, overwrite=True)
    assert [path.name for path in out.iterdir()] == ["_SUCCESS"]
    for path in (tmp_path / "empty", tmp_path / "misspelt"):
        if path.name == "empty":
            path.mkdir()
        with pytest.raises(FileNotFoundError):
            read(path)
        with pytest.raises(FileNotFoundError):
            mrpy.read_records(path, 4)
    (out / "_SUCCESS").unlink()
    (out / "_SUCCESS").mkdir()
    with pytest.raises(FileExistsError, match="here is '_SUCCESS'"):
        getattr(none, sink)(out, overwrite=True)


# ---- what goes wrong ------------------------------------------------------------------------------------


def boom(n: int) -> str:
    if n == 7:
        raise ZeroDivisionError("seven")
    return str(n)


def put_there(out: Path) -> None:
    """An output of before."""
    mrpy.stream(["before"], backend="serial").to_text(out)


@pytest.mark.parametrize("chunksize", [1, 4, 20])
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_item_that_raises_leaves_the_old_output(backend: str, chunksize: int, out: Path) -> None:
    for there in (False, True):
        if there:
            put_there(out)
        with pytest.raises(ZeroDivisionError, match="seven") as caught:
            mrpy.pmap(boom, range(20), backend=backend, workers=2, chunksize=chunksize).to_text(out, overwrite=there)
        assert caught.value.mrpy_item == (7, "7")
        assert out.exists() == there
    assert (out / "part-00000.txt").read_text() == "before\n"


@pytest.mark.parametrize("backend", BACKENDS)
def test_on_error_is_followed(backend: str, out: Path) -> None:
    fine = "".join(f"{n}\n" for n in range(20) if n != 7)
    given: Options = {"backend": backend, "workers": 2, "chunksize": 6}
    assert together(mrpy.pmap(boom, range(20), **given).to_text(out, on_error="skip")) == fine
    written = mrpy.pmap(boom, range(20), on_error=lambda e: f"({e})", **given).to_text(out, overwrite=True)
    assert together(written).split() == [f"{n}" if n != 7 else "(seven)" for n in range(20)]
    with pytest.raises(OptionError, match="nothing to be written"):
        mrpy.pmap(boom, range(20), on_error="return", **given).to_text(out, overwrite=True)


@pytest.mark.parametrize("verb", ["to_text", "to_jsonl", "to_csv"])
def test_bytes_in_the_place_of_an_item_are_as_wrong_as_bytes(verb: str, out: Path) -> None:
    def numbered(text: str) -> Any:
        return {"n": int(text)} if verb == "to_csv" else str(int(text))

    rows = mrpy.stream(["1", "x", "3"], backend="serial", on_error=lambda _: b"bad").map(numbered)
    with pytest.raises(TypeError, match="bytes") as caught:
        getattr(rows, verb)(out)
    assert caught.value.mrpy_item.position == 1  # type: ignore[attr-defined]
    rows = mrpy.stream(["1", "x", "3"], backend="serial", on_error=lambda _: numbered("7")).map(numbered)
    assert getattr(rows, verb)(out).records == 3


@pytest.mark.parametrize("backend", LOCAL)
def test_a_record_that_cannot_be_written_is_its_items_error(backend: str, out: Path) -> None:
    """So it can be skipped, as any other."""
    records: list[Any] = ["a", "b", 3, "d", "\ud800"]
    given: Options = {"backend": backend, "workers": 2, "chunksize": 5}
    with pytest.raises(TypeError, match="to_text.. writes strings, not int") as caught:
        mrpy.stream(records, **given).to_text(out)
    assert caught.value.mrpy_item.position == 2
    assert together(mrpy.stream(records, on_error="skip", **given).to_text(out)) == "a\nb\nd\n"
    with pytest.raises(TypeError, match="not JSON serializable") as caught:
        mrpy.stream([1, {2}], **given).to_jsonl(out, overwrite=True)
    assert caught.value.mrpy_item.position == 1
    with pytest.raises(TypeError, match="'x' is"):
        mrpy.stream([{"x": [1]}], **given).to_sqlite(out.parent / "db", "t")
    with pytest.raises(OverflowError):
        mrpy.stream([{"x": 2**63}], **given).to_sqlite(out.parent / "db", "t")


@pytest.mark.parametrize("chunksize", [1, 10])
@pytest.mark.parametrize(
    "records", [[{"a": 1}, {"b": 1}], [{"a": 1, "b": 2}, {"b": 1, "a": 2}], [{"a": 1}, (1,)], [(1,), {"a": 1}]]
)
def test_records_that_differ_in_their_fields_are_refused_however_they_are_cut(
    records: Any, chunksize: int, out: Path
) -> None:
    for write in ("to_csv", "to_parquet"):
        with pytest.raises((ValueError, TypeError), match="fields="):
            getattr(mrpy.stream(records, backend="serial", chunksize=chunksize), write)(out)
    assert not out.exists()


CUTS = [1, 2, 3, 4, 6, "auto"]
HOW: dict[str, Any] = {"skip": "skip", "raise": "raise", "callable": lambda error: {"a": 0}}


@pytest.mark.parametrize("on_error", HOW)
@pytest.mark.parametrize("sink", ["to_csv", "to_parquet", "to_sqlite"])
@pytest.mark.parametrize("backend", ["serial", "processes"])
def test_different_columns_are_an_error_of_the_run_however_it_is_cut(
    backend: str, sink: str, on_error: str, out: Path
) -> None:
    if sink == "to_parquet":
        pytest.importorskip("pyarrow")
    rows = [{"x": "odd"}, {"a": 1}, {"a": 2}, {"a": 3}, {"x": "odd"}, {"a": 4}]
    for chunksize in CUTS:
        for retries in (0, 1):
            items = mrpy.stream(rows, backend=backend, workers=2, chunksize=chunksize, on_error=HOW[on_error], retries=retries)
            with pytest.raises(ValueError, match="records have different columns: .* and .*fields=") as caught:
                getattr(items, sink)(out, *["t"] * (sink == "to_sqlite"))
            if chunksize in (2, 6):
                assert caught.value.mrpy_item == (1, "{'a': 1}")  # type: ignore[attr-defined]
            assert not out.exists()


@pytest.mark.parametrize("backend", LOCAL)
def test_a_record_that_cannot_be_written_does_not_say_which_columns_there_are(
    backend: str, out: Path, tmp_path: Path
) -> None:
    fine = [{"a": n} for n in range(4)]
    for chunksize in CUTS:
        given: Options = {"backend": backend, "workers": 2, "chunksize": chunksize, "on_error": "skip"}
        bad: list[Any] = [{"x": "\ud800"}, *fine[:2], {"x": "\ud800", "y": 1}, *fine[2:], {1: 2}, 5]
        written = mrpy.stream(bad, **given).to_csv(out, overwrite=True)
        assert together(written).replace("a\n", "") == "0\n1\n2\n3\n"
        bad = [{"x": []}, *fine[:2], {"x": [], "y": 1}, *fine[2:], {1: 2}, (1,)]
        mrpy.stream(bad, **given).to_sqlite(tmp_path / "a.db", "t", overwrite=True)
        assert table(tmp_path / "a.db", "t") == [(0,), (1,), (2,), (3,)]


def test_what_on_error_gives_has_the_columns_of_the_others(out: Path) -> None:
    def failing(n: int) -> dict[str, int]:
        return {"a": n // (n - 2)}

    for chunksize in (1, 2, 5):
        with pytest.raises(ValueError, match="records have different columns"):
            mrpy.pmap(failing, range(5), backend="serial", chunksize=chunksize, on_error=lambda _: {"b": 1}).to_csv(out)
    assert mrpy.pmap(failing, range(5), backend="serial", on_error=lambda _: {"a": 1}).to_csv(out).records == 5


@pytest.mark.parametrize(
    ("record", "given", "problem"),
    [
        (5, {}, "has to be a dict"),
        ("text", {}, "has to be a dict"),
        ({1: 2}, {}, "have to be strings"),
        ((1, 2), {"fields": ["a"]}, "2 values for 1 fields"),
        ({"a": 1, "z": 2}, {"fields": ["a"]}, "fields= does not have: .'z'."),
        ({"a": 1}, {"fields": ["a", "a"]}, "same name"),
        ({"a": 1}, {"fields": "a"}, "have to be strings"),
        ({"a": 1}, {"compression": "zip"}, "there are None, 'gzip'"),
        ({"a": 1}, {"encoding": "rot13"}, "not a text encoding"),
        ({"a": 1}, {"encoding": "utf-9"}, "unknown encoding"),
        ({"a": 1}, {"n_jobs": 9}, "workers="),
    ],
)
def test_what_cannot_be_written_says_why(record: Any, given: Options, problem: str, out: Path) -> None:
    with pytest.raises((TypeError, ValueError, LookupError), match=problem):
        mrpy.stream([record], backend="serial").to_csv(out, **given)
    assert not out.exists()


def test_a_retried_item_is_written_once(out: Path, tmp_path: Path) -> None:
    def flaky(n: int) -> Iterator[str]:
        yield f"{n} a"
        if n == 5 and not (tmp_path / "tried").exists():
            (tmp_path / "tried").touch()
            raise OSError
        yield f"{n} b"

    written = mrpy.stream(range(10), retries=2, workers=2, chunksize=4).flat_map(flaky).to_text(out)
    assert together(written).splitlines() == [f"{n} {x}" for n in range(10) for x in "ab"]
    assert (tmp_path / "tried").exists()


@pytest.mark.parametrize("backend", LOCAL)
def test_results_that_do_not_pickle_stay_on_the_worker_and_can_be_written(backend: str, out: Path) -> None:
    items = mrpy.stream(range(3), backend=backend, workers=2).map(lambda n: (n, threading.Lock()))
    assert together(items.map(lambda pair: str(pair[0])).to_text(out)) == "0\n1\n2\n"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_source_that_raises_leaves_nothing(backend: str, out: Path) -> None:
    def source() -> Iterator[str]:
        yield from "abc"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        mrpy.stream(source(), backend=backend, workers=2).to_text(out)
    assert not out.exists()


# ---- where ------------------------------------------------------------------------------------------------


def test_an_output_is_not_replaced_unless_that_is_asked_for_and_nothing_runs(out: Path) -> None:
    put_there(out)
    ran: list[int] = []
    with pytest.raises(FileExistsError, match="overwrite=True replaces it"):
        mrpy.pmap(ran.append, range(3), backend="serial").to_text(out)
    assert not ran
    assert (out / "part-00000.txt").read_text() == "before\n"
    written = mrpy.stream("ab", backend="serial", chunksize=1).to_jsonl(out, overwrite=True)
    assert sorted(out.iterdir()) == [Path(path) for path in written.paths], "nothing of the old one is left"


def test_parts_of_every_format_are_known_as_such_and_replaced(out: Path) -> None:
    pytest.importorskip("pyarrow")
    rows = mrpy.stream(["a"], backend="serial").map(lambda text: {"a": text})
    for compression in OPENED:
        rows.map(str).to_text(out, compression=compression, overwrite=True)
        rows.to_jsonl(out, compression=compression, overwrite=True)
        rows.to_csv(out, compression=compression, overwrite=True)
    rows.to_parquet(out, overwrite=True)
    (out / "part-123456.csv.bz2").write_text("of a run with many parts")
    assert rows.to_parquet(out, overwrite=True).paths == (f"{out.resolve()}/part-00000.parquet",)


@pytest.mark.parametrize(
    "name", ["part-numbers.xlsx", "part-time-staff.txt", "part-1.txt", "part-00000", "part-00000.txt~", "part-00000.txt.bak"]
)
def test_a_file_that_is_called_much_like_a_part_is_kept(name: str, out: Path) -> None:
    put_there(out)
    (out / name).write_text("precious")
    with pytest.raises(FileExistsError, match=f"here is '{name}'"):
        mrpy.stream("ab", backend="serial").to_text(out, overwrite=True)
    assert (out / name).read_text() == "precious"


@pytest.mark.parametrize("what", ["file", "other files", "subfolder"])
def test_overwriting_removes_nothing_but_parts(what: str, out: Path) -> None:
    if what == "file":
        out.write_text("precious")
    else:
        put_there(out)
        (out / "precious.txt").write_text("x") if what == "other files" else (out / "part-1").mkdir()
    before = [path for path in out.parent.rglob("*")]
    found = {"file": "a file", "other files": "'precious.txt'", "subfolder": "'part-1'"}[what]
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match=f"an output is a folder of its own .*: here is {found}"):
            mrpy.stream("ab", backend="serial").to_text(out, overwrite=overwrite)
    assert [path for path in out.parent.rglob("*")] == before


def test_a_folder_that_does_not_exist_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        mrpy.stream("ab", backend="serial").to_text(tmp_path / "nowhere" / "out")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        mrpy.stream(["ab"], backend="serial").to_sqlite(tmp_path / "nowhere" / "out", "t", fields=["a"])


def test_a_link_stays_a_link_and_what_it_points_to_is_written(out: Path, tmp_path: Path) -> None:
    out.symlink_to(tmp_path / "real")
    written = mrpy.stream("a", backend="serial").to_text(out)  # it points to nothing
    assert written.paths == (str(tmp_path.resolve() / "real" / "part-00000.txt"),)
    with pytest.raises(FileExistsError):
        mrpy.stream("a", backend="serial").to_text(out)
    mrpy.stream("b", backend="serial").to_text(out, overwrite=True)
    assert out.is_symlink()
    assert (tmp_path / "real" / "part-00000.txt").read_text() == "b\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["place", "real"]


def test_a_relative_path_is_one_of_the_caller_wherever_workers_are(out: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(out.parent)

    def moving(n: int) -> str:
        os.chdir("/")
        return str(n)

    written = mrpy.pmap(moving, range(4), chunksize=1, workers=2).to_text("out")
    assert together(written) == "0\n1\n2\n3\n"
    assert written.paths[0] == str(out.resolve() / "part-00000.txt")


@pytest.mark.parametrize("umask", [0, 0o077, 0o027])
def test_modes_are_those_of_the_users_umask_and_private_until_then(umask: int, out: Path) -> None:
    seen: list[int] = []

    def look(n: int) -> str:
        (beside,) = [path for path in out.parent.iterdir()]
        seen.append(stat.S_IMODE(beside.stat().st_mode))
        return str(n)

    before = os.umask(umask)
    try:
        mrpy.pmap(look, range(2), backend="serial").to_text(out)
    finally:
        os.umask(before)
    assert set(seen) == {0o700}
    assert stat.S_IMODE(out.stat().st_mode) == 0o777 & ~umask
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o666 & ~umask}


@pytest.mark.parametrize("exchange", [True, False])
def test_an_output_may_be_read_by_the_run_that_replaces_it(
    exchange: bool, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchange:  # as on a file system that cannot
        monkeypatch.setattr(staging, "_exchanged", lambda one, other: False)
    mrpy.stream(range(10), chunksize=3, backend="serial").map(str).to_text(out)
    for _ in range(2):
        paths = sorted(out.iterdir())
        lines = mrpy.stream(paths, workers=2).flat_map(lambda path: path.read_text().split())
        lines.map(lambda line: str(2 * int(line))).to_text(out, overwrite=True)
    assert "".join(path.read_text() for path in sorted(out.iterdir())).split() == [str(4 * n) for n in range(10)]


def test_an_old_output_that_was_moved_aside_comes_back_where_the_new_one_cannot_come(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_there(out)
    monkeypatch.setattr(staging, "_exchanged", lambda one, other: False)

    def rename(source: str, target: str, really: Any = os.rename) -> None:
        if source.endswith("parts"):
            raise PermissionError("not here")
        really(source, target)

    monkeypatch.setattr(staging.os, "rename", rename)
    with pytest.raises(PermissionError):
        mrpy.stream("ab", backend="serial").to_text(out, overwrite=True)
    assert (out / "part-00000.txt").read_text() == "before\n"


@pytest.mark.parametrize("call", ["open", "fsync", "close", "unlink", "rename", "rmdir", "listdir"])
@pytest.mark.parametrize("sink", ["to_text", "to_sqlite"])
def test_what_cannot_be_tidied_up_once_an_output_has_its_name_is_no_error(out: Path, sink: str, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    really = getattr(os, call)
    failed = 0

    def fails(*args: Any, **options: Any) -> Any:
        nonlocal failed
        if out.exists():
            failed += 1
            if call == "close":
                really(*args)
            raise OSError(errno.EMFILE, "of no use")
        return really(*args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fails)
        rows = mrpy.stream([{"a": 1}], backend="serial", chunksize=1)
        written = rows.to_sqlite(out, "t") if sink == "to_sqlite" else rows.map(str).to_text(out)
    assert failed and written.records == 1 and all(map(os.path.exists, written.paths))
    staging.clear_stale(str(out))  # as the next run does


@pytest.mark.parametrize("sink", ["to_csv", "to_parquet", "to_sqlite"])
def test_a_part_that_is_in_the_output_and_cannot_be_removed_goes_with_its_folder(out: Path, sink: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = 0

    def unlink(path: Any, *args: Any, really: Any = os.unlink, **options: Any) -> None:
        nonlocal failed
        if re.fullmatch("[0-9]+-.*", os.path.basename(path)) and not out.exists():
            failed += 1
            raise OSError(errno.EIO, "of no use", path)
        really(path, *args, **options)

    monkeypatch.setattr(os, "unlink", unlink)
    rows = mrpy.stream([{"a": n} for n in range(100)], backend="serial")
    written = getattr(rows, sink)(out, *["t"] * (sink == "to_sqlite"))
    assert failed and written.records == 100 and len(written.paths) == 1


@pytest.mark.parametrize("sink", ["to_text", "to_sqlite"])
def test_a_disk_that_fails_is_an_error_that_names_the_output(out: Path, sink: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is a part, or what was made of them. The system names nothing that is open."""

    def fsync(number: int, really: Any = os.fsync) -> None:
        if sink == "to_text" or os.readlink(f"/proc/self/fd/{number}").endswith("/new"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        really(number)

    monkeypatch.setattr(os, "fsync", fsync)
    rows = mrpy.stream([{"a": 1}], backend="serial")
    with pytest.raises(OSError, match="Input/output error") as caught:
        rows.to_sqlite(out, "t") if sink == "to_sqlite" else rows.map(str).to_text(out)
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, str(out))


def test_a_part_that_cannot_be_read_again_is_an_error_that_names_the_output(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(opening, "to_read", lambda path: Broken())
    with pytest.raises(OSError, match="Input/output error") as caught:
        mrpy.stream(range(100), backend="serial").map(str).to_text(out)
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, str(out))


def test_a_folder_that_cannot_be_renamed_is_removed_where_it_is(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_there(out)

    def rename(source: str, target: str, really: Any = os.rename) -> None:
        if source.endswith(".tmp"):
            raise OSError(errno.ENOSPC, "a folder needs one more block")
        really(source, target)

    monkeypatch.setattr(os, "rename", rename)
    mrpy.stream("ab", backend="serial").to_text(out, overwrite=True)
    assert [path.name for path in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize(("call", "name"), [("open", "alive"), ("mkdir", "attempts")])
def test_a_folder_in_which_nothing_can_be_made_is_gone_when_the_error_is_there(
    out: Path, call: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = getattr(os, call)

    def fails(path: Any, *args: Any, **options: Any) -> Any:
        if os.path.basename(path) == name:
            raise OSError(errno.ENOSPC, "no room", path)
        return really(path, *args, **options)

    monkeypatch.setattr(os, call, fails)
    with pytest.raises(OSError, match="no room") as caught:
        mrpy.stream("ab", backend="serial").to_text(out)
    assert list(out.parent.iterdir()) == [] and caught.tb  # also while somebody holds the error


def test_names_of_files_with_any_character_will_do(out: Path) -> None:
    strange = out.parent / "*[a]?\n ä"
    mrpy.stream("ab", backend="serial").to_text(strange)
    mrpy.stream("ab", backend="serial").to_text(os.fsencode(strange), overwrite=True)
    assert [path.name for path in out.parent.iterdir()] == [strange.name]
    for path in [*strange.iterdir()]:
        path.unlink()
    strange.rmdir()


@pytest.mark.parametrize("there", [False, True])
def test_a_database_may_have_a_name_that_is_no_text(out: Path, there: bool) -> None:
    """Names of files are bytes."""
    strange = os.fsencode(out.parent) + b"/caf\xe9.db"
    for table in ["t", "u"][: 1 + there]:
        mrpy.stream([{"a": 1}, {"a": 2}], backend="serial", chunksize=1).to_sqlite(strange, table)
        with closing(sqlite3.connect(strange)) as database:
            assert database.execute(f"select a from {table}").fetchall() == [(1,), (2,)]
    os.rename(strange, out)


def test_a_url_is_refused_as_a_place_to_write_to() -> None:
    for url in ("memory://x", "s3://bucket/out"):
        with pytest.raises(ValueError, match=f"not to URLs: '{url}'"):
            mrpy.stream("ab", backend="serial").to_text(url)
    with pytest.raises(ValueError, match="not to URLs"):
        mrpy.stream([{"a": 1}], backend="serial").to_sqlite("file:///x.db", "t")


@pytest.mark.parametrize("sink", ["to_text", "to_jsonl", "to_csv", "to_parquet", "to_sqlite"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_an_empty_name_is_no_place_to_write_to(tmp_path: Path, sink: str, overwrite: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory has a name, and that may be it."""
    (tmp_path / "place").mkdir()
    monkeypatch.chdir(tmp_path / "place")
    ran: list[int] = []
    for nothing in ("", b""):
        with pytest.raises(ValueError, match=f"an output needs a name: {nothing!r}"):
            getattr(mrpy.pmap(ran.append, [1], backend="serial"), sink)(nothing, *["t"] * (sink == "to_sqlite"), overwrite=overwrite)
    assert not ran and [*tmp_path.iterdir()] == [tmp_path / "place"]


def test_parquet_goes_to_and_comes_from_files_of_any_name(out: Path) -> None:
    pytest.importorskip("pyarrow")
    strange = out.parent / os.fsdecode(b"\xfe")
    rows = [{"a": n} for n in range(3000)]
    written = mrpy.stream(rows, workers=2).map(dict).to_parquet(strange)
    assert len(written.paths) == 1
    assert list(mrpy.read_parquet(strange, workers=2)) == rows
    Path(written.paths[0]).unlink()
    strange.rmdir()


def test_other_folders_beside_an_output_are_left_alone(out: Path) -> None:
    others = ["out.tmp", "out.0123.tmp", "out2.0123456789abcdef.tmp", "xout.0123456789abcdef.tmp"]
    for name in others:
        (out.parent / name).mkdir()
    (out.parent / "out.0123456789abcdef.tmp").symlink_to(out.parent)
    mrpy.stream("ab", backend="serial").to_text(out)
    (out.parent / "out.0123456789abcdef.tmp").unlink()
    for name in others:
        (out.parent / name).rmdir()


def test_a_live_run_is_not_cleared_away(out: Path) -> None:
    target = str(out)
    with Staging(target) as first:
        staging.clear_stale(target)
        assert os.path.isdir(first.attempts)
        with Staging(target) as second:
            assert first.attempts != second.attempts
        assert os.path.isdir(first.attempts)


# ---- tables --------------------------------------------------------------------------------------------------


def test_a_table_of_a_database_that_is_there_is_added_or_replaced(out: Path) -> None:
    mrpy.stream([{"n": 1}], backend="serial").to_sqlite(out, "one")
    mrpy.stream([{"n": 2}], backend="serial").to_sqlite(out, "two")
    with pytest.raises(FileExistsError, match="'ONE' already"):
        mrpy.stream([{"n": 3}], backend="serial").to_sqlite(out, "ONE")
    mrpy.stream([{"m": "x"}], backend="serial").to_sqlite(out, "one", overwrite=True)
    assert (table(out, "one"), table(out, "two")) == ([("x",)], [(2,)])


@pytest.mark.parametrize("encoding", ["none", "UTF-8", "UTF-16le"])
def test_rows_of_many_parts_are_in_order_in_any_database(
    out: Path, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More parts than SQLite opens beside each other, and more rows than are copied at once."""
    if encoding != "none":
        with closing(sqlite3.connect(out)) as database:
            database.execute(f"pragma encoding = '{encoding}'")
            database.execute("create table seen (a)")
    monkeypatch.setattr(sqlite, "AT_ONCE", 7)
    rows = [(n, f"naïve {n}", n / 3, None, b"\0") for n in range(500)]
    written = mrpy.stream(rows, backend="serial", chunksize=20).to_sqlite(out, 'a "t', fields=list("abcde"))
    with closing(sqlite3.connect(out)) as database:
        assert database.execute('select * from "a ""t" order by rowid').fetchall() == rows
        assert database.execute("pragma integrity_check").fetchall() == [("ok",)]
    assert (written.records, written.bytes) == (500, out.stat().st_size)
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_it_is_explained_what_it_took_to_make_the_output_of_the_parts(out: Path) -> None:
    rows = mrpy.stream([{"n": 1}], backend="serial")
    assert "publishing" not in rows.explain()
    rows.to_sqlite(out, "t")
    assert re.search(r"waiting \d+\.\d+ s, publishing \d+\.\d+ s$", rows.explain())


def test_a_failure_leaves_a_database_as_it_was(out: Path) -> None:
    mrpy.stream([{"n": 1}], backend="serial").to_sqlite(out, "one")
    before = out.read_bytes()
    for where in ("one", "other"):
        with pytest.raises(ZeroDivisionError):
            mrpy.stream([1, 0], backend="serial", chunksize=1).map(lambda n: {"n": 1 / n}).to_sqlite(
                out, where, overwrite=True
            )
    with pytest.raises(ValueError, match="different columns"):
        mrpy.stream([{"n": 1}, {"m": 1}], backend="serial", chunksize=1).to_sqlite(out, "one", overwrite=True)
    assert out.read_bytes() == before


def test_what_is_no_database_is_refused_before_anything_runs(out: Path) -> None:
    ran: list[int] = []
    out.write_text("no database at all, though it is long enough for one" * 100)
    with pytest.raises(sqlite3.DatabaseError, match=f"not a database: {re.escape(repr(str(out.resolve())))}"):
        mrpy.pmap(ran.append, [1], backend="serial").to_sqlite(out, "t", overwrite=True)
    with pytest.raises(IsADirectoryError):
        mrpy.pmap(ran.append, [1], backend="serial").to_sqlite(out.parent, "t", overwrite=True)
    assert not ran


def test_what_goes_wrong_with_a_database_when_all_is_written_says_with_which(out: Path) -> None:
    def spoilt(n: int) -> dict[str, int]:
        out.write_text("no database any more, though it is long enough for one" * 100)
        return {"n": n}

    mrpy.stream([{"n": 1}], backend="serial").to_sqlite(out, "one")
    with pytest.raises(sqlite3.DatabaseError, match=f"not a database: {re.escape(repr(str(out.resolve())))}"):
        mrpy.stream([1], backend="serial").map(spoilt).to_sqlite(out, "two")


@pytest.mark.parametrize(
    ("table", "fields", "problem", "says"),
    [
        ("sqlite_x", None, sqlite3.OperationalError, "reserved"),
        ("t", ["a", "A"], sqlite3.OperationalError, "duplicate column name: A"),
        (3, None, TypeError, "table=3"),
        ("seen", None, FileExistsError, "there is a view 'seen' already"),
        ("SOUGHT", None, FileExistsError, "there is an index 'SOUGHT' already"),
    ],
)
def test_a_table_that_cannot_be_made_is_refused_before_anything_runs(
    out: Path, table: Any, fields: Any, problem: type[Exception], says: str
) -> None:
    ran: list[int] = []
    with closing(sqlite3.connect(out)) as database:
        for each in ("table first (a)", "view seen as select a from first", "index sought on first (a)"):
            database.execute(f"create {each}")
    with pytest.raises(problem, match=says):
        mrpy.pmap(ran.append, [1], backend="serial").to_sqlite(out, table, fields=fields, overwrite=True)
    assert ran == []


def test_columns_that_no_table_can_have_end_the_run_at_the_first_records(out: Path) -> None:
    ran: list[int] = []

    def row(number: int) -> dict[str, int]:
        ran.append(number)
        return {"a": number, "A": number}

    with pytest.raises(sqlite3.OperationalError, match="duplicate column name: A"):
        mrpy.stream(range(1000), backend="serial", chunksize=10, on_error="skip").map(row).to_sqlite(out, "t")
    assert len(ran) <= 10


def test_a_table_without_rows_needs_fields(out: Path) -> None:
    with pytest.raises(ValueError, match="fields= says it"):
        mrpy.stream([], backend="serial").to_sqlite(out, "t")
    assert not out.exists()
    mrpy.stream([], backend="serial").to_sqlite(out, "t", fields=["a"])
    assert table(out, "t") == []


def test_a_table_that_is_read_may_be_replaced(out: Path) -> None:
    mrpy.stream(range(2000), backend="serial").map(lambda n: {"n": n}).to_sqlite(out, "t")
    with closing(sqlite3.connect(out)) as database:
        rows = database.execute("select n from t order by n")
        mrpy.stream(rows, workers=2).map(lambda row: {"n": 2 * row[0]}).to_sqlite(out, "t", overwrite=True)
    assert table(out, "t") == [(2 * n,) for n in range(2000)]


def test_two_tables_may_be_written_into_a_new_database_at_once(out: Path) -> None:
    def other(n: int) -> dict[str, int]:
        mrpy.stream([{"n": 9}], backend="serial").to_sqlite(out, "two")
        return {"n": n}

    mrpy.stream([1], backend="serial").map(other).to_sqlite(out, "one")
    assert (table(out, "one"), table(out, "two")) == ([(1,)], [(9,)])


# ---- options ---------------------------------------------------------------------------------------------------


def test_a_checkpoint_keeps_what_was_computed_for_the_sink(out: Path, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    calls.mkdir()

    def once(n: int) -> str:
        (calls / f"{n} {len(list(calls.iterdir()))}").touch()
        if n == 9 and not (tmp_path / "mended").exists():
            raise ValueError(n)
        return str(n)

    def run() -> Any:
        items = mrpy.pmap(once, range(10), chunksize=2, backend="serial", checkpoint=tmp_path / "kept")
        return items.to_text(out)

    with pytest.raises(ValueError, match="9"):
        run()
    assert not out.exists()
    (tmp_path / "mended").touch()
    assert together(run()) == "".join(f"{n}\n" for n in range(10))
    assert len(list(calls.iterdir())) == 12, "the first eight were not computed again"


def test_check_looks_at_the_steps_first(out: Path) -> None:
    @mrpy.stage
    def pairs(items: Iterator[str]) -> Iterator[str]:
        for item in items:
            yield item + next(items, "")

    with pytest.raises(mrpy.errors.CheckFailed):
        mrpy.stream(pairs("abcdef"), backend="serial", check=True).to_text(out)


def test_progress_is_shown(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mrpy.pmap(str, range(5), backend="serial", progress=True, name="writing").to_text(out)
    assert "writing" in capsys.readouterr().err


def test_explain_says_afterwards_where_the_time_went(out: Path) -> None:
    items = mrpy.pmap(str, range(5), backend="serial", chunksize=2)
    items.to_text(out)
    assert "5 items in 3 chunks of 1 to 2" in items.explain()


def test_a_sink_inside_of_a_task_is_serial_and_works(out: Path) -> None:
    def write(n: int) -> int:
        return mrpy.pmap(str, range(n)).to_text(out.parent / "out" / f"{n}").records

    out.mkdir()
    assert list(mrpy.pmap(write, [2, 3], workers=2)) == [2, 3]


def test_what_a_sink_returns_says_what_it_is(out: Path) -> None:
    written = mrpy.stream("ab", backend="serial", chunksize=2).to_text(out)
    assert repr(written) == f"Written(paths=('{out.resolve()}/part-00000.txt',), records=2, bytes=4)"


def test_sums_of_what_was_written_are_the_sums_of_the_parts(out: Path) -> None:
    written = mrpy.stream(range(1, 101), workers=2).map(lambda n: math.sqrt(n).hex()).to_text(out)
    assert written.records == 100
    total = mrpy.preduce(operator.add, (float.fromhex(line) for line in together(written).split()))
    assert total == mrpy.preduce(operator.add, (math.sqrt(n) for n in range(1, 101)))


class Colour(enum.IntEnum):
    RED = 1


@pytest.mark.parametrize("value", [None, True, 1.5, b"x", "x", "ü", 2**63 - 1, -(2**63), Colour.RED])
def test_sqlite_takes_what_it_has_a_place_for(tmp_path: Path, value: Any) -> None:
    out = tmp_path / "out.db"
    mrpy.stream([{"n": 1, "v": value}], backend="serial").to_sqlite(out, "t")
    with closing(sqlite3.connect(out)) as database:
        assert database.execute("select v from t").fetchall() == [(value,)]


@pytest.mark.parametrize(
    ("value", "error"),
    [(2**63, OverflowError), (-(2**63) - 1, OverflowError), ([], TypeError), (1j, TypeError), ("\ud800", ValueError)],
)
def test_sqlite_refuses_what_it_has_no_place_for(tmp_path: Path, value: Any, error: type[Exception]) -> None:
    rows = [{"n": 1, "v": 1}, {"n": 2, "v": value}]
    assert mrpy.stream(rows, backend="serial", on_error="skip").to_sqlite(tmp_path / "a.db", "t").records == 1
    with pytest.raises(error):
        mrpy.stream(rows, backend="serial").to_sqlite(tmp_path / "b.db", "t")


def test_where_nothing_can_be_put_is_said_before_anything_runs(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    mounted = next((path for path in ("/dev/shm", "/proc", "/sys") if os.path.ismount(path)), None)
    if mounted is not None:
        with pytest.raises(OSError, match="a file system is mounted here") as caught:
            mrpy.stream([1], backend="serial").map(seen.append).to_text(mounted, overwrite=True)
        assert caught.value.errno == errno.EBUSY

    def refused(name: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied", name())

    monkeypatch.setattr(staging.own_folder, "make", refused)
    with pytest.raises(PermissionError, match="its folder, where it is prepared") as denied:
        mrpy.stream([1], backend="serial").map(seen.append).to_text(out)
    assert denied.value.filename == str(out.resolve()) and seen == []


def test_a_misspelt_option_is_named_where_there_is_an_output_too(out: Path) -> None:
    mrpy.stream("ab", backend="serial").to_text(out)
    with pytest.raises(OptionError, match="overwrite"):
        mrpy.stream("ab", backend="serial").to_text(out, overwite=True)


# ---- values, and who may read them, stay as they are ------------------------------------------------------------

T0 = datetime.datetime(2020, 1, 1, 5, 6, 7)
FITTING: list[tuple[str, Any]] = [
    ("int64", 2.0), ("int64", np.int32(7)), ("float32", 0.1), ("float32", float("inf")), ("float32", 7), ("float64", 2),
    ("timestamp('s')", T0), ("timestamp('s')", 5), ("timestamp('ms')", T0.replace(microsecond=8000)), ("timestamp('ns')", T0.replace(microsecond=8)),
    ("timestamp('us', tz='UTC')", T0.replace(microsecond=8, tzinfo=datetime.UTC)), ("date32()", datetime.date(2020, 1, 1)),
    ("date32()", datetime.datetime(2020, 1, 1)), ("duration('s')", datetime.timedelta(days=2)), ("time32('s')", datetime.time(1, 2, 3)),
    ("struct([('x', pa.int64())])", {"x": 1}), ("struct([('x', pa.int64()), ('y', pa.string())])", {"x": None}),
    ("list_(pa.int64())", [1, None, 3]), ("list_(pa.struct([('x', pa.int64())]))", [{"x": 2.0}]), ("list_(pa.float64())", np.ones(3)),
    ("map_(pa.string(), pa.int64())", [("a", 1)]), ("map_(pa.string(), pa.list_(pa.int64()))", {"a": [1, 2.0], "b": None}),
    ("list_(pa.map_(pa.string(), pa.int64()))", [{"a": 1}, None, {}, {"b": 2, "c": 3}]), ("list_(pa.int64(), 2)", [1, 2.0]),
    ("list_(pa.int64())", {1.0}), ("list_(pa.int64())", deque([1])), ("struct([('x', pa.int64())])", [("x", 1.0)]),
    ("struct([('x', pa.int64()), ('y', pa.int64())])", (1, 2.0)),
    ("timestamp('us', tz='Europe/Paris')", T0.replace(tzinfo=datetime.UTC)), ("time64('us')", datetime.time(1, 2, 3, 4)),
    ("large_list(pa.struct([('x', pa.map_(pa.int8(), pa.float32()))]))", [{"x": {1: 0.5}}, {"x": None}, None]), ("decimal128(5, 2)", Decimal("1.5")), ("dictionary(pa.int32(), pa.string())", "ä"),
]  # fmt: skip


class Timestamp(datetime.datetime):
    """As that of pandas: a datetime, and what is less than a microsecond."""

    nanosecond = 0

    @classmethod
    def of(cls, value: int, **parts: Any) -> Timestamp:
        """One, so many nanoseconds after 1970."""
        made = cls(1970, 1, 1, **parts) + datetime.timedelta(microseconds=value // 1000)
        made.value, made.nanosecond = value, value % 1000  # type: ignore[attr-defined]
        return made  # type: ignore[no-any-return]


class Timedelta(datetime.timedelta):
    """The same of a duration."""

    nanoseconds = 0

    @classmethod
    def of(cls, value: int) -> Timedelta:
        """So many nanoseconds."""
        made = cls(microseconds=value // 1000)
        made.value, made.nanoseconds = value, value % 1000  # type: ignore[attr-defined]
        return made


class NaT(datetime.datetime):
    """What is called so in pandas: a datetime that is none."""

    def utcoffset(self) -> None:
        raise ValueError("NaT does not support utcoffset")


CHANGED: list[tuple[str, Any]] = [
    ("int64", 1.5), ("uint8", -0.5), ("int64", Decimal("1.5")), ("float32", 1e300),
    ("timestamp('s')", T0.replace(microsecond=8)), ("timestamp('ms')", T0.replace(microsecond=8)), ("timestamp('s')", 1.5),
    ("date32()", T0), ("duration('s')", datetime.timedelta(microseconds=5)), ("time32('s')", datetime.time(1, 2, 3, 4)),
    ("struct([('x', pa.int64())])", {"x": 1.5}), ("struct([('x', pa.int64())])", {"x": 1, "y": 2}),
    ("list_(pa.int64())", [1, 1.5]), ("list_(pa.struct([('x', pa.int64())]))", [{"x": 1}, {"x": 2.5}]),
    ("map_(pa.string(), pa.int64())", {"a": 1, "b": 1.5}), ("map_(pa.string(), pa.int64())", [("a", 1.5)]), ("map_(pa.int64(), pa.int64())", {1.5: 1}),
    ("map_(pa.string(), pa.float32())", {"a": 1e300}), ("map_(pa.string(), pa.date32())", {"a": T0}), ("map_(pa.string(), pa.struct([('x', pa.int64())]))", [("a", {"y": 1})]),
    ("list_(pa.int64(), 2)", [1, 2.5]), ("list_(pa.date32(), 1)", [T0]), ("list_(pa.timestamp('s'), 1)", [T0.replace(microsecond=8)]),
    ("list_(pa.map_(pa.string(), pa.int64()))", [{"a": 1}, {"b": 1.5}]), ("large_list(pa.int64())", [1.5]), ("list_view(pa.struct([('x', pa.int64())]))", [{"y": 1}]),
    ("list_(pa.int64())", {1.5}), ("list_(pa.int64())", deque([1, 1.5])), ("list_(pa.int64())", np.array([1, 1.5])), ("list_(pa.list_(pa.int64()))", [np.array([1.5])]),
    ("list_(pa.int64())", {1: 1.5}.values()), ("struct([('x', pa.int64())])", [("x", 1.5)]), ("struct([('x', pa.int64())])", (1.5,)),
    ("struct([('x', pa.int64())])", [("x", 1), ("y", 2)]), ("struct([('x', pa.int64())])", [("x", 1), ("x", 2)]), ("struct([('x', pa.int64())])", [("y", 1)]),
    ("timestamp('us')", Timestamp.of(1_000_001)), ("duration('ms')", Timedelta.of(1_000_001)), ("date32()", Timestamp.of(1)),
    ("bool8()", 1.5), ("timestamp('us')", T0.replace(tzinfo=datetime.UTC)), ("timestamp('us', tz='UTC')", T0),
    ("time64('us')", datetime.time(12, tzinfo=datetime.UTC)), ("date32()", datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value"), FITTING, ids=str)
def test_a_value_that_fits_its_column_is_written(out: Path, kind: str, value: Any) -> None:
    pa = pytest.importorskip("pyarrow")
    schema = pa.schema([("a", eval(f"pa.{kind}()" if kind.isidentifier() else f"pa.{kind}"))])
    rows = [{"a": value}] * 3 + [{"a": None}]
    assert mrpy.stream(rows, backend="serial").to_parquet(out, schema=schema).records == 4
    assert pa.parquet.read_table(out).to_pylist() == pa.Table.from_pylist(rows, schema).to_pylist()


@pytest.mark.parametrize(("kind", "value"), CHANGED, ids=str)
def test_a_value_that_arrow_would_change_is_an_error_of_its_item(out: Path, kind: str, value: Any) -> None:
    pa = pytest.importorskip("pyarrow")
    schema = pa.schema([("a", eval(f"pa.{kind}()" if kind.isidentifier() else f"pa.{kind}"))])
    rows = mrpy.stream([{"a": None}, {"a": value}, {"a": None}], backend="serial", on_error="skip")
    written = rows.to_parquet(out, schema=schema)
    assert (written.records, rows.skipped.count) == (2, 1)
    with pytest.raises(ValueError, match="column 'a'.*would be another value as"):
        mrpy.stream([{"a": value}], backend="serial").to_parquet(out, schema=schema, overwrite=True)


def test_values_of_a_dictionary_are_not_changed_either(out: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    schema = pa.schema([("a", pa.dictionary(pa.int8(), pa.int64()))])
    assert mrpy.stream([{"a": 2.0}], backend="serial").to_parquet(out, schema=schema).records == 1
    with pytest.raises(ValueError, match="column 'a'.*would be another value as"):
        mrpy.stream([{"a": 1.5}], backend="serial").to_parquet(out, schema=schema, overwrite=True)


NANOSECONDS = [
    ("timestamp[us]", "timestamp[ns]", Timestamp.of, datetime.datetime(1970, 1, 1)),
    ("timestamp[us, tz=UTC]", "timestamp[ns, tz=UTC]", lambda value: Timestamp.of(value, tzinfo=datetime.UTC), Timestamp.of(0, tzinfo=datetime.UTC)),
    ("duration[us]", "duration[ns]", Timedelta.of, datetime.timedelta()),
]  # fmt: skip


@pytest.mark.parametrize(("coarse", "fine", "make", "plain"), NANOSECONDS, ids=["timestamp", "with zone", "duration"])
@pytest.mark.parametrize("chunksize", [1, 8])
def test_nanoseconds_of_pandas_are_kept(out: Path, coarse: str, fine: str, make: Any, plain: Any, chunksize: int) -> None:
    pa = pytest.importorskip("pyarrow")

    def written(values: list[Any]) -> Any:
        rows = mrpy.stream([{"a": value, "b": [value]} for value in values], backend="serial", chunksize=chunksize)
        rows.to_parquet(out, overwrite=True)
        table = pa.parquet.read_table(out)
        inner = [list_of[0] for list_of in table["b"]]
        assert [each.value for each in inner] == [each.value for each in table["a"]]
        return str(table["a"].type), [each.value for each in table["a"]]

    assert written([make(5_000), None, plain]) == (coarse, [5, None, 0])
    assert written([make(5_001), None, plain, make(-1)]) == (fine, [5_001, None, 0, -1])


def test_what_arrow_cannot_ask_is_told_with_its_column(out: Path) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(ValueError, match="column 'a': .*utcoffset; schema= says what it is"):
        mrpy.stream([{"a": NaT(2000, 1, 1)}], backend="serial").to_parquet(out)


@pytest.mark.parametrize("wrap", [lambda value: value, lambda value: [value], lambda value: {"b": [None, value]}])
def test_a_time_of_day_with_a_zone_is_an_error_since_arrow_drops_the_zone(out: Path, wrap: Callable[[Any], Any]) -> None:
    pytest.importorskip("pyarrow")
    for times in ([datetime.time(12, tzinfo=datetime.UTC)], [datetime.time(13), datetime.time(12, tzinfo=datetime.UTC)]):
        with pytest.raises(ValueError, match=r"column 'a[.b]*' has times of day with a zone"):
            mrpy.stream([{"a": wrap(value)} for value in times], backend="serial", chunksize=2).to_parquet(out)


@pytest.mark.parametrize("delimiter", [";;", "", None, 5])
def test_a_delimiter_that_is_none_is_refused_at_the_call(out: Path, delimiter: Any) -> None:
    with pytest.raises(TypeError, match='"delimiter" must be') as caught:
        mrpy.stream([{"a": 1}], backend="serial").to_csv(out, delimiter=delimiter)
    assert getattr(caught.value, "mrpy_item", None) is None and not hasattr(caught.value, "__notes__")


def test_who_could_not_read_an_output_cannot_read_what_replaces_it(out: Path) -> None:
    mrpy.stream(["secret"], backend="serial").to_text(out)
    assert stat.S_IMODE(out.stat().st_mode) & 0o055, "others may"
    out.chmod(0o2750)
    (out / "part-00000.txt").chmod(0o640)
    mrpy.stream(["a", "b"], backend="serial", chunksize=1).to_text(out, overwrite=True)
    assert stat.S_IMODE(out.stat().st_mode) == 0o2750
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o640}


def test_marks_of_other_programs_beside_parquet_files_are_passed_over(out: Path) -> None:
    pytest.importorskip("pyarrow")
    mrpy.stream([{"a": 1}], backend="serial").to_parquet(out)
    (out / "_SUCCESS").touch()
    assert list(mrpy.read_parquet(out, backend="serial")) == [{"a": 1}]


@pytest.mark.parametrize("names", [["rowid", "x"], ["ROWID", "_rowid_"], ["rowid", "_rowid_", "oid"]])
@pytest.mark.parametrize("there", [False, True])
def test_columns_may_be_called_as_sqlite_calls_the_number_of_a_row(out: Path, names: list[str], there: bool) -> None:
    if there:
        with closing(sqlite3.connect(out)) as database:
            database.execute("create table other (a)")
    values: list[Any] = [-5, 7, None, "a", 3, 3]
    rows = [dict.fromkeys(names, value) for value in values]
    assert mrpy.stream(rows, backend="serial", chunksize=2).to_sqlite(out, "t").records == len(rows)
    with closing(sqlite3.connect(out)) as database:
        assert database.execute("select * from t").fetchall() == [(value,) * len(names) for value in values]


# ---- usual records take a shorter way -------------------------------------------------------------------------


def test_a_dictionary_that_is_filled_anew_for_each_record_is_written_as_it_was(out: Path) -> None:
    def refilled(items: Iterator[int]) -> Iterator[dict[str, int]]:
        row: dict[str, int] = {}
        for n in items:
            row.update(a=n, b=-n)
            yield row

    rows = mrpy.stage(refilled)(range(3000))
    expected = [{"a": n, "b": -n} for n in range(3000)]
    assert mrpy.read_parquet(rows.to_parquet(out).paths).to_list() == expected
    texts = [{name: str(value) for name, value in row.items()} for row in expected]
    assert mrpy.read_csv(rows.to_csv(out, overwrite=True).paths).to_list() == texts


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16", "utf-7", "iso2022_jp", "cp037"])
def test_lines_in_ascii_and_others_are_written_in_their_order_whatever_the_encoding(out: Path, encoding: str) -> None:
    class Loud(str):
        def __format__(self, _: str) -> str:
            return f"{self.upper()}"

    lines = ["a+b", "~", "", Loud("loud"), "plain"] * 300
    lines += ["caf\u00e9" if encoding in ("utf-8", "utf-8-sig", "latin-1", "utf-16") else "e"] * 3 + ["end"] * 50
    written = mrpy.stream(lines, chunksize=5000, backend="serial").to_text(out, encoding=encoding)
    mark = "".encode(encoding)
    expected = mark + b"".join(f"{line}\n".encode(encoding)[len(mark) :] for line in lines)
    assert Path(written.paths[0]).read_bytes() == expected


@pytest.mark.parametrize("sink", ["to_csv", "to_parquet"])
def test_the_same_fields_in_another_order_are_other_columns_amid_usual_records(out: Path, sink: str) -> None:
    rows: list[dict[str, int]] = [{"a": n, "b": n} for n in range(500)]
    rows[300] = {"b": 1, "a": 2}
    items = mrpy.stream(rows, chunksize=500, backend="serial")
    with pytest.raises(ValueError, match="different columns") as caught:
        getattr(items, sink)(out)
    assert caught.value.mrpy_item.position == 300  # type: ignore[attr-defined]
    getattr(items, sink)(out, fields=["a", "b"])


def test_a_value_that_is_no_sqlite_value_amid_usual_records_is_its_items_error(out: Path) -> None:
    rows: list[dict[str, Any]] = [{"a": n, "b": str(n)} for n in range(500)]
    rows[300] = {"a": 2**63, "b": ""}
    items = mrpy.stream(rows, chunksize=500, backend="serial")
    with pytest.raises(OverflowError, match="'a' is too large") as caught:
        items.to_sqlite(out, "t")
    assert caught.value.mrpy_item.position == 300  # type: ignore[attr-defined]
    assert items.to_sqlite(out, "t", on_error="skip").records == 499

"""Files that the consumer reads in order, and hands to the workers in parts: as if one had read it all."""

from __future__ import annotations

import bz2
import csv
import gc
import gzip
import io
import json
import lzma
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from laws import LOCAL

import mrpy
from mrpy.errors import DataError
from mrpy.mapreduce.files import handed, opening, pieces, records, row_starts
from mrpy.mapreduce.files.blocks import Block
from mrpy.mapreduce.files.opening import Opening

MANY = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
PACK = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
READ: dict[str, Callable[..., Any]] = {
    "text": mrpy.read_text, "jsonl": mrpy.read_jsonl, "fasta": mrpy.read_fasta, "fastq": mrpy.read_fastq,
    "csv": mrpy.read_csv, "records": lambda path, **how: mrpy.read_records(path, 7, **how),
}  # fmt: skip


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def told(records: Any) -> list[Any]:
    """What can be compared of what comes."""
    return [one if not isinstance(one, Exception) else (type(one), getattr(one, "offset", None), str(one)) for one in records]


def blocks_of(items: Any) -> list[Block]:
    """The blocks that are cut of its files."""
    reader = items._plan.source.reader()
    got: list[Block] = []
    while taken := reader.take(10):
        got.extend(taken)
    return got


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handed, "LARGE", 0)  # else only what is large is handed


class sizes:
    """While this is open, pieces and parts are of so many bytes."""

    def __init__(self, piece: int, part: int) -> None:
        self._piece, self._part = piece, part

    def __enter__(self) -> None:
        self._patch = pytest.MonkeyPatch()
        for module in (pieces, records):
            self._patch.setattr(module, "PIECE", self._piece)
        self._patch.setattr(handed, "PIECE", self._part)

    def __exit__(self, *_: object) -> None:
        self._patch.undo()


# ---- CSV ------------------------------------------------------------------------------------------------------

MESS = st.text(st.sampled_from("ab,;\"'\n\r\\ é"), max_size=80)
FIELDS = st.text(st.sampled_from('ab"\n\r,;ü '), max_size=6)
DIALECTS: list[dict[str, Any]] = [
    {}, {"strict": True}, {"quotechar": "'"}, {"escapechar": "\\"}, {"doublequote": False, "escapechar": "\\"}, {"delimiter": ";"},
    {"delimiter": "\n"}, {"quoting": csv.QUOTE_NONE}, {"quoting": csv.QUOTE_NONNUMERIC}, {"skipinitialspace": True, "delimiter": " "}, {"fieldnames": ["x", "y"]},
]  # fmt: skip


def rows_of(rows: list[list[str]], end: str) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=end).writerows([["h", "é"], *rows])
    return text.getvalue().encode()


ANY_CSV = st.one_of(MESS.map(str.encode), st.builds(rows_of, st.lists(st.lists(FIELDS, max_size=4), max_size=15), st.sampled_from(["\n", "\r\n", "\r"])))


@MANY
@given(data=ANY_CSV, bad=st.one_of(st.none(), st.integers(0, 80)), how=st.sampled_from(DIALECTS), blocksize=st.integers(1, 60), piece=st.sampled_from([3, 17, 1 << 18]), packed=st.booleans())
def test_rows_are_those_of_the_whole_file_wherever_it_is_cut(tmp_path: Path, data: bytes, bad: int | None, how: dict[str, Any], blocksize: int, piece: int, packed: bool) -> None:
    if bad is not None:
        data = data[:bad] + b"\xff" + data[bad:]
    path = written(tmp_path / f"a.csv{'.gz' * packed}", gzip.compress(data) if packed else data)
    with sizes(piece, blocksize):
        try:
            whole = told(mrpy.read_csv(path, blocksize=None, backend="serial", on_error="return", **how))
        except Exception as error:
            with pytest.raises(type(error)):
                list(mrpy.read_csv(path, blocksize=blocksize, backend="serial", on_error="return", **how))
        else:
            assert told(mrpy.read_csv(path, blocksize=blocksize, backend="serial", on_error="return", **how)) == whole


def test_a_large_csv_is_many_items_and_few_bytes_of_it_travel(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", rows_of([[str(n), 'it "is"\n'] for n in range(3000)], "\r\n"))
    cut = blocks_of(mrpy.read_csv(path))
    assert len(cut) > 50 and all(block.data is None for block in cut)
    assert [block.start for block in cut[1:]] == [block.end for block in cut[:-1]]
    assert (cut[0].start, cut[-1].end) == (0, path.stat().st_size) == (0, sum(block.weight for block in cut))
    packed = blocks_of(mrpy.read_csv(written(tmp_path / "a.csv.gz", gzip.compress(path.read_bytes()))))
    assert b"".join(block.data or b"" for block in packed) == path.read_bytes()


def test_a_quote_within_a_field_is_a_character(tmp_path: Path) -> None:
    """Wherever it is: one that is looked for by itself, or by how many there were, begins a field here."""
    rows = [f'{n},5" pipe\n' if n % 7 else f'{n},"two\nlines, ""of"" them"\n' for n in range(400)]
    path = written(tmp_path / "a.csv", ("n,what\n" + "".join(rows)).encode())
    for size in (1, 9, 40, 333):
        with sizes(64, size), open(path, newline="") as file:
            assert list(mrpy.read_csv(path, blocksize=size, backend="serial")) == list(csv.DictReader(file))


def test_a_field_too_long_ends_where_csv_ends_it(tmp_path: Path) -> None:
    before = csv.field_size_limit(50)
    try:
        path = written(tmp_path / "a.csv", b'a,b\n1,"' + b"x" * 30 + b"\n" + b"y" * 30 + b'\n2,z"\n3,"q\nq"\n4,r\n')
        for size in (1, 7, 30, 100):
            whole = told(mrpy.read_csv(path, blocksize=None, backend="serial", on_error="return"))
            assert told(mrpy.read_csv(path, blocksize=size, backend="serial", on_error="return")) == whole
        assert any("field limit" in str(one) for one in whole)
    finally:
        csv.field_size_limit(before)


def test_quotes_around_fields_are_seen_without_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.csv", rows_of([[str(n), f'"{n}"\n,x'] for n in range(300)], "\n"))
    expected = list(mrpy.read_csv(path, blocksize=None, backend="serial"))
    monkeypatch.setattr(row_starts, "_parsed", None)
    with sizes(100, 50):
        assert list(mrpy.read_csv(path, blocksize=50, backend="serial")) == expected


@pytest.mark.parametrize("how", [{"escapechar": "\\"}, {}])
def test_rows_of_many_lines_are_parts_as_they_are_read(tmp_path: Path, how: dict[str, Any]) -> None:
    """Also where only `csv` sees where they end: behind a quote within a field, or with a character that escapes."""
    stray = b"" if how else b'0,5" pipe\n'
    path = written(tmp_path / "a.csv", b"n,text\n" + stray + b"".join(b'%d,"%s"\n' % (n, b"line\n" * 199) for n in range(300)))
    with sizes(700, 700):
        cut = blocks_of(mrpy.read_csv(path, blocksize=2000, **how))
        assert len(cut) > 100 and max(block.weight for block in cut) < 10_000
        with open(path, newline="") as file:
            assert list(mrpy.read_csv(path, blocksize=2000, backend="serial", **how)) == list(csv.DictReader(file, **how))


def test_a_quote_that_is_not_closed_takes_no_more_time_than_it_is_long(tmp_path: Path) -> None:
    before = csv.field_size_limit(1 << 30)
    try:
        path = written(tmp_path / "a.csv", b'a,b\n1,"' + b"line\n" * 400_000)
        with sizes(1 << 12, 1 << 12):  # a deadline of two minutes: what is read again with every piece takes ten
            assert len(blocks_of(mrpy.read_csv(path, blocksize=1000))) == 1
    finally:
        csv.field_size_limit(before)


def test_names_that_are_given_are_not_looked_for(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", b"\xff,1\n" + b"2,3\n" * 900)
    rows = mrpy.read_csv(path, fieldnames=["x", "y"], blocksize=100, backend="serial", on_error="skip")
    assert len(blocks_of(rows)) > 30
    assert list(rows) == [{"x": "2", "y": "3"}] * 900 and rows.skipped.count == 1


def test_a_quote_that_the_encoding_does_not_have_is_in_no_file(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", b"a,b\n" + b'1,"x\n' * 300)
    rows = mrpy.read_csv(path, "ascii", quotechar="\u00ab", blocksize=100, backend="serial")
    assert len(blocks_of(rows)) > 10 and list(rows) == [{"a": "1", "b": '"x'}] * 300


def test_a_file_that_became_shorter_is_an_error(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", b"a,b\n" + b"1,2\n" * 300)
    rows = mrpy.read_csv(path, blocksize=100, backend="serial", on_error="return")
    written(path, path.read_bytes()[:800])
    *good, error = rows
    assert good == [{"a": "1", "b": "2"}] * 199
    assert isinstance(error, DataError) and error.offset == 800 and "it ends here" in error.why


@pytest.mark.parametrize("backend", LOCAL)
def test_csv_in_parts_on_every_backend(tmp_path: Path, backend: str) -> None:
    data = rows_of([[str(n), f"it's\n{n}"] for n in range(3000)], "\r\n")
    plain, packed = written(tmp_path / "a.csv", data), written(tmp_path / "b.csv.gz", gzip.compress(data))
    with open(plain, newline="", encoding="utf-8") as file:
        expected = list(csv.DictReader(file))
    with sizes(1 << 12, 1 << 12):
        assert list(mrpy.read_csv([plain, packed], backend=backend, workers=2)) == 2 * expected
        numbers = mrpy.read_csv([plain, packed], backend=backend, workers=2).map(lambda row: int(row["h"]))
        assert numbers.sum() == 2 * sum(range(3000))


def test_a_file_of_other_names_than_can_be_read_is_one_error(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", b'"a"x,b\n' + b"1,2\n" * 50)
    for size in (None, 10):
        got = list(mrpy.read_csv(path, strict=True, blocksize=size, on_error="return", backend="serial"))
        assert len(got) == 1 and isinstance(got[0], DataError)


def test_the_offset_of_a_bad_byte_counts_the_signature(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", b"\xef\xbb\xbfa,b\n1,\xff\n")
    for read in (mrpy.read_csv, lambda path, **how: mrpy.read_text(path, "utf-8-sig", **how)):
        (error,) = (one for one in read(path, on_error="return", backend="serial") if isinstance(one, DataError))
        assert error.offset == 9


# ---- what is compressed -----------------------------------------------------------------------------------------


def record(kind: str, n: int) -> bytes:
    if kind == "jsonl":
        return json.dumps([n, "é" * (n % 5)]).encode() if n % 11 else b"{x"
    if kind == "fasta":
        return b">n%d d" % n if n % 3 else b"ACGT" * (n % 6)
    if kind == "fastq":
        return b"@n%d\n%s\n+\n%s" % (n, b"A" * (n % 9), b"@" * (n % 9)) if n % 10 else b"junk"
    if kind == "csv":
        return b'%d,"x%sy",z' % (n, [b"\n", b"", b'""'][n % 3])
    return b"line %d" % n if n % 13 else b"\xff bad"


@MANY
@given(kind=st.sampled_from(sorted(READ)), numbers=st.lists(st.integers(0, 99), max_size=40), suffix=st.sampled_from(sorted(PACK)), harm=st.one_of(st.none(), st.floats(0, 1)), cut_off=st.booleans(), piece=st.sampled_from([3, 17, 64, 1 << 18]), part=st.integers(1, 100), on_error=st.sampled_from(["return", "skip", "raise"]))  # fmt: skip
def test_records_are_those_of_the_whole_file_also_where_it_is_damaged(tmp_path: Path, kind: str, numbers: list[int], suffix: str, harm: float | None, cut_off: bool, piece: int, part: int, on_error: str) -> None:
    data = PACK[suffix](b"\n".join(record(kind, n) for n in numbers) + b"\n")
    if harm is not None:
        at = int(harm * (len(data) - 1))
        data = data[:at] if cut_off else data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]
    path = written(tmp_path / f"a{suffix}", data)

    def got(blocksize: Any) -> Any:
        try:
            return told(READ[kind](path, blocksize=blocksize, on_error=on_error, backend="serial"))
        except Exception as error:
            return str(error)

    with sizes(piece, part):
        assert got("auto") == got(None)


@pytest.mark.parametrize("backend", LOCAL)
def test_one_compressed_file_is_for_all_workers(tmp_path: Path, backend: str) -> None:
    lines = [f"line {n}" for n in range(5000)]
    path = written(tmp_path / "a.txt.gz", gzip.compress("\n".join(lines).encode()))
    with sizes(1 << 10, 1 << 10):
        def read() -> mrpy.ParallelIterator:
            return mrpy.read_text(path, backend=backend, workers=2)

        assert list(read()) == lines
        assert len(blocks_of(read())) > 20
        assert "cut as it is read" in str(read())
        assert read().map(len).sum() == sum(map(len, lines)) and read().count() == 5000
        assert dict(read().map(len).frequencies()) == {6: 10, 7: 90, 8: 900, 9: 4000}
        if backend == "processes":
            assert len(set(read().map(lambda line: (os.getpid(), time.sleep(0.0001))))) == 2


def test_a_file_is_unpacked_as_far_as_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.txt.gz", gzip.compress(b"some line\n" * 200_000))
    seen: list[int] = []
    parts = handed.parts

    def counted(*args: Any) -> Iterator[Block]:
        for block in parts(*args):
            seen.append(block.end or 0)
            yield block

    monkeypatch.setattr(handed, "parts", counted)
    with sizes(1 << 12, 1 << 12):
        for backend in ("serial", "processes"):
            lines = mrpy.read_text(path, backend=backend, workers=2, buffersize=4)
            assert lines.take(10).to_list() == ["some line"] * 10
    assert 0 < max(seen) < 100_000


def test_many_compressed_files_are_read_side_by_side(tmp_path: Path) -> None:
    paths = [written(tmp_path / f"{n}.gz", gzip.compress(b"a\n" * 99)) for n in range(handed.FEW + 1)]
    assert all(block.cut == 0 for block in blocks_of(mrpy.read_text(paths)))
    assert all(block.data for block in blocks_of(mrpy.read_text(paths[1:])))
    assert all(block.data for block in blocks_of(mrpy.read_text(tmp_path / "[0-3].gz")))
    assert all(block.cut == 0 for block in blocks_of(mrpy.read_text(paths[1:], blocksize=None)))


def test_a_huge_one_of_many_is_read_as_a_whole_by_no_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(handed.FEW + 4):
        written(tmp_path / f"{n:02}.gz", gzip.compress(b"%d\n" % n * (5 if n != 7 else 99_999)))
    monkeypatch.setattr(handed, "HUGE", 99)
    lines = [str(n) for n in range(handed.FEW + 4) for _ in range(5 if n != 7 else 99_999)]
    read: list[str] = []
    parts = handed.parts

    def noted(*args: Any) -> Iterator[Block]:
        for block in parts(*args):
            read.append(block.path[-5:])
            yield block

    monkeypatch.setattr(handed, "parts", noted)
    assert list(mrpy.read_text(tmp_path, backend="serial")) == lines
    assert set(read) == {"07.gz"}
    read.clear()
    assert dict(mrpy.read_text(tmp_path, backend="serial").frequencies()) == Counter(lines)
    assert read == []  # what comes back is small, and workers can unpack side by side


def test_what_is_passed_over_as_a_whole_is_read_as_a_whole(tmp_path: Path) -> None:
    written(tmp_path / "a.gz", gzip.compress(b"text\n" * 9))
    written(tmp_path / "b.gz", gzip.compress(b"text\n" * 9 + b"\0"))
    with sizes(7, 7):
        assert list(mrpy.read_text(tmp_path, only_text=True, backend="serial")) == ["text"] * 9
        assert len(list(mrpy.read_text(tmp_path, backend="serial"))) == 19


def test_progress_counts_the_bytes_on_the_disk(tmp_path: Path) -> None:
    path = written(tmp_path / "a.gz", gzip.compress(os.urandom(200_000).hex().encode(), 1))
    with sizes(1 << 12, 1 << 12):
        weights = [block.weight for block in blocks_of(mrpy.read_records(path, 10))]
    assert sum(weights) == path.stat().st_size and min(weights) >= 0 and len(weights) > 20


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_a_file_is_closed_when_the_loop_is_left(tmp_path: Path, name: str) -> None:
    data = rows_of([[str(n), "text"] for n in range(90_000)], "\n")
    path = written(tmp_path / name, gzip.compress(data) if name.endswith("gz") else data)

    def is_open() -> bool:
        return str(path) in {os.path.realpath(entry) for entry in Path("/proc/self/fd").iterdir()}

    gc.disable()
    try:
        with sizes(1 << 10, 1 << 10):
            rows = iter(mrpy.read_csv(path, blocksize=1000, backend="serial"))
            next(rows)
            assert is_open()
            rows.close()
            assert not is_open()
    finally:
        gc.enable()


def test_a_file_that_cannot_be_read_to_its_end_is_an_error_behind_what_could(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.gz", gzip.compress(b"line\n" * 1000))

    class Breaks(gzip.GzipFile):
        def read1(self, size: int = -1) -> bytes:
            if self.tell() > 2000:
                raise OSError(5, "Input/output error")
            return super().read1(size)

    monkeypatch.setattr(opening, "_unpacked", lambda raw, packed: Breaks(fileobj=raw, mode="rb"))
    with sizes(100, 100):
        got = list(mrpy.read_text(path, backend="processes", workers=2, on_error="return"))
    assert got[:-1] == ["line"] * (len(got) - 1) and len(got) > 300
    assert isinstance(got[-1], OSError) and got[-1].filename == str(path)


def test_a_run_over_parts_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    path = written(tmp_path / "a.gz", gzip.compress(b"".join(b"%d\n" % n for n in range(5000))))
    marks = tmp_path / "marks"
    marks.mkdir()

    def seen(line: str) -> int:
        (marks / line).touch()
        return int(line)

    with sizes(500, 500):
        rows = mrpy.read_text(path, backend="serial", checkpoint=tmp_path / "kept", chunksize=2).map(seen)
        for row in rows:
            if row == 2500:
                break
        rows = mrpy.read_text(path, backend="serial", checkpoint=tmp_path / "kept", chunksize=2).map(seen)
        for mark in marks.iterdir():
            mark.unlink()
        assert list(rows) == list(range(5000))
    assert not (marks / "0").exists() and (marks / "4999").exists()


def test_random_numbers_and_sums_do_not_depend_on_who_reads(tmp_path: Path) -> None:
    data = rows_of([[str(n), "x\ny"] for n in range(2000)], "\n")
    paths = [written(tmp_path / "a.csv", data), written(tmp_path / "b.csv.gz", gzip.compress(data))]

    def noise(row: dict[str, str]) -> float:
        return float(row["h"]) * mrpy.rng().random()

    with sizes(1 << 10, 1 << 10):
        results = [mrpy.read_csv(paths, backend=backend, workers=2, seed=7).map(noise) for backend in LOCAL]
        assert len({one.sum() for one in results}) == 1
        assert len({tuple(one) for one in results}) == 1


def test_watching_an_opening_says_nothing_before_it_opens() -> None:
    assert Opening().watching().bytes_read() == 0

"""CSV, FASTA, FASTQ, fixed records, Parquet and SQL: as a plain reader gives them, wherever they are cut."""

from __future__ import annotations

import bz2
import csv
import datetime
import gc
import gzip
import io
import lzma
import os
import sqlite3
import struct
import subprocess
import sys
import types
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from laws import LOCAL

import mrpy
from mrpy.errors import DataError, OptionError
from mrpy.mapreduce.files import opening, pieces, records, sequences
from mrpy.mapreduce.files.opening import zstd

FEW = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


# ---- CSV ------------------------------------------------------------------------------------------------------

FIELDS = st.text(st.sampled_from('ab"\n\r,;ü '), max_size=6)
PLAIN_FIELDS = st.text(st.sampled_from("ab;ü "), max_size=6)


def as_csv(rows: list[list[str]], end: str = "\r\n") -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=end).writerows(rows)
    return text.getvalue().encode()


def dicts(path: Path, **how: Any) -> list[dict[Any, Any]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, **how))


@FEW
@given(rows=st.lists(st.lists(FIELDS, max_size=4), max_size=12), end=st.sampled_from(["\r\n", "\n", "\r"]), size=st.integers(2, 40))
def test_csv_rows_are_those_of_a_dict_reader(tmp_path: Path, rows: list[list[str]], end: str, size: int) -> None:
    path = written(tmp_path / "a.csv", as_csv([["a", "b", "ü"], *rows], end))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE", size)
        assert list(mrpy.read_csv(path, backend="serial")) == dicts(path)
        assert list(mrpy.read_csv([path, path], backend="serial", fieldnames=["x", "y"], restkey="more", restval="")) == 2 * dicts(path, fieldnames=["x", "y"], restkey="more", restval="")


@FEW
@given(rows=st.lists(st.lists(PLAIN_FIELDS, max_size=4), max_size=12), end=st.sampled_from(["\r\n", "\n"]), blocksize=st.integers(1, 60))
def test_csv_without_line_ends_in_fields_can_be_cut(tmp_path: Path, rows: list[list[str]], end: str, blocksize: int) -> None:
    path = written(tmp_path / "a.csv", as_csv([["a", "b"], *rows], end))
    assert list(mrpy.read_csv(path, blocksize=blocksize, backend="serial")) == dicts(path)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("blank", [0, 1, 127, 128, 300])
def test_the_names_of_a_csv_may_be_behind_empty_lines(tmp_path: Path, blank: int, end: str) -> None:
    path = written(tmp_path / "a.csv", ("\n" * blank + "a,b\n1,2\na,b\n" + "\n" * blank + "3,4\n").replace("\n", end).encode())
    expected = [{"a": "1", "b": "2"}, {"a": "a", "b": "b"}, {"a": "3", "b": "4"}]
    for blocksize in (None, "auto", 1, 2, 7, 100, 10_000):
        assert list(mrpy.read_csv(path, blocksize=blocksize, backend="serial")) == expected, blocksize
    nothing = written(tmp_path / "b.csv", end.encode() * blank)
    assert list(mrpy.read_csv(nothing, blocksize=50, backend="serial")) == []


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_csv_leaves_no_file_open(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", as_csv([["n", "text"], *([str(n), "it"] for n in range(3000))]))
    gc.disable()  # it would close them, some time
    try:
        assert len(list(mrpy.read_csv(path, blocksize=1000, backend="serial"))) == 3000
        assert str(path) not in {os.path.realpath(entry) for entry in Path("/proc/self/fd").iterdir()}
    finally:
        gc.enable()


@pytest.mark.parametrize("backend", LOCAL)
def test_csv_on_every_backend(tmp_path: Path, backend: str) -> None:
    path = written(tmp_path / "a.csv", as_csv([["n", "text"], *([str(n), f"it's {n}"] for n in range(3000))]))
    rows = mrpy.read_csv(path, blocksize="auto", backend=backend, workers=2).filter(lambda row: int(row["n"]) % 7 == 0)
    assert list(rows) == [row for row in dicts(path) if int(row["n"]) % 7 == 0]


def test_csv_takes_what_csv_takes(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", b"a;b\n'x;\n1';2\n")
    assert list(mrpy.read_csv(path, delimiter=";", quotechar="'", workers=1)) == [{"a": "x;\n1", "b": "2"}]
    csv.register_dialect("of this process", delimiter=";", quoting=csv.QUOTE_NONE)
    assert list(mrpy.read_csv(path, dialect="of this process", workers=1))[0] == {"a": "'x", "b": ""}
    with pytest.raises(TypeError):
        mrpy.read_csv(path, delimiter="long")
    with pytest.raises(OptionError, match="delimeter"):
        mrpy.read_csv(path, delimeter=";")
    packed = written(tmp_path / "a.csv.gz", gzip.compress(b"a\n1\n"))
    assert list(mrpy.read_csv(packed, backend="serial")) == [{"a": "1"}]
    empty = written(tmp_path / "empty.csv", b"")
    assert list(mrpy.read_csv(empty, backend="serial")) == []
    wide = written(tmp_path / "wide.csv", "é\nü\n".encode("utf-16"))
    assert list(mrpy.read_csv(wide, "utf-16", backend="serial")) == [{"é": "ü"}]


def test_a_dialect_that_is_none_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", b"a,b\n")
    with pytest.raises(csv.Error, match=r"dialect='foo': there are .*excel"):
        mrpy.read_csv(path, dialect="foo")


@pytest.mark.parametrize("names", ["name", b"ab", bytearray(b"ab"), 3, 0])
def test_names_of_fields_are_no_single_string(names: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", b"ale,1\n")
    with pytest.raises(TypeError, match=r"read_csv\(\) needs fieldnames=\['name'\], a list of names") as raised:
        mrpy.read_csv(path, fieldnames=names)
    assert str(raised.value).endswith(f", not {type(names).__name__} {names!r}")


def test_a_long_field_is_read_where_the_user_allows_it(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", b"a\n" + b"x" * 200_000 + b"\n3\n")
    with pytest.raises(DataError, match="field limit"):
        list(mrpy.read_csv(path, workers=1))
    before = csv.field_size_limit(1 << 20)
    try:
        assert [len(row["a"]) for row in mrpy.read_csv(path, workers=1)] == [200_000, 1]
    finally:
        csv.field_size_limit(before)
    with pytest.raises(DataError, match="field limit"):  # also by a worker that was told otherwise
        list(mrpy.read_csv(path, workers=1))


@pytest.mark.parametrize("backend", LOCAL)
def test_a_field_is_no_longer_than_the_user_allows(tmp_path: Path, backend: str) -> None:
    path = written(tmp_path / "a.csv", b"a\n" + b"x" * 50 + b"\n3\n")
    before = csv.field_size_limit(10)
    try:
        with pytest.raises(DataError, match=r"field limit \(10\)"):
            list(mrpy.read_csv(path, backend=backend, workers=1))
    finally:
        csv.field_size_limit(before)
    assert mrpy.read_csv(path, backend=backend, workers=1).count() == 2


@pytest.mark.parametrize("backend", LOCAL)
def test_a_limit_that_the_user_raises_meanwhile_is_his(tmp_path: Path, backend: str) -> None:
    path = written(tmp_path / "a.csv", b"a\n" + b"x\n" * 5)
    rows = mrpy.read_csv(path, backend=backend, workers=1)
    before = csv.field_size_limit(1 << 20)
    try:
        assert len(list(rows)) == 5
        assert csv.field_size_limit() == 1 << 20
    finally:
        csv.field_size_limit(before)


def test_a_quoted_line_end_at_a_cut_is_an_error_and_no_wrong_row(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", b'a,b\n1,"x\ny"\n2,z\n')
    for blocksize in range(1, 20):
        try:
            assert list(mrpy.read_csv(path, blocksize=blocksize, backend="serial")) == dicts(path)
        except DataError as error:
            assert "blocksize=None" in str(error)


def test_a_bad_row_is_one_error_with_its_offset(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", b'a,b\n1,2\n3,\xff\n"5"x,6\n7,8\n')
    got = list(mrpy.read_csv(path, strict=True, on_error="return", backend="serial"))
    assert [got[0], got[3]] == [{"a": "1", "b": "2"}, {"a": "7", "b": "8"}]
    assert isinstance(got[1], DataError) and got[1].offset == 10
    assert isinstance(got[2], DataError) and "expected after" in str(got[2])
    path = written(tmp_path / "b.csv", b'a,b\n1,2\n"5"x,6\n7,8\n')
    with pytest.raises(DataError, match="byte 8"):
        list(mrpy.read_csv(path, strict=True, workers=1))
    with pytest.raises(ZeroDivisionError) as caught:
        list(mrpy.read_csv(path, workers=1).map(lambda row: 1 // (int(row["b"]) - 8)))
    assert "byte 15" in caught.value.__notes__[0]


@pytest.mark.parametrize("delimiter", [" ", "1", "t", ","])
def test_a_byte_that_is_no_text_is_told_whatever_cuts_the_row(tmp_path: Path, delimiter: str) -> None:
    path = written(tmp_path / "a.csv", b"a,b\n4,5\n6,x\xffy\n7,8\n".replace(b",", delimiter.encode()))
    got = list(mrpy.read_csv(path, delimiter=delimiter, on_error="return", backend="serial"))
    assert [got[0], got[2]] == [{"a": "4", "b": "5"}, {"a": "7", "b": "8"}]
    assert isinstance(got[1], DataError) and got[1].offset == 11 and "invalid start byte" in got[1].why


def test_a_field_that_is_no_number_is_one_error(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", b'"a"\n1\nx\xffy\nz\n2\n')
    got = list(mrpy.read_csv(path, quoting=csv.QUOTE_NONNUMERIC, on_error="return", backend="serial"))
    assert [got[0], got[3]] == [{"a": 1.0}, {"a": 2.0}]
    assert [(type(error), error.offset, error.why[:12]) for error in got[1:3]] == [(DataError, 7, "invalid star"), (DataError, 10, "could not co")]


@pytest.mark.parametrize("blocksize", [None, 40])
def test_a_row_behind_a_byte_that_is_no_text_has_its_own_offset(tmp_path: Path, blocksize: int | None) -> None:
    rows = [b"%d,x" % n if n != 20 else b"20,\xff" for n in range(10, 50)]
    path = written(tmp_path / "a.csv", b"\xef\xbb\xbfn,x\r" + b"\r\n".join(rows))
    for wrong in range(21, 50):
        with pytest.raises(ZeroDivisionError) as caught:
            mrpy.read_csv(path, blocksize=blocksize, backend="serial", on_error=lambda error: 1 // 0 if isinstance(error, KeyError) else {"n": 0}).map(lambda row: {}[""] if row["n"] == str(wrong) else row).count()
        assert f"byte {path.read_bytes().index(b'%d,' % wrong)}" in caught.value.__notes__[0]


# ---- FASTA and FASTQ ------------------------------------------------------------------------------------------

NAMES = st.text(st.sampled_from("ab>@+ \t."), max_size=6).map(lambda name: "n" + name.rstrip())
BASES = st.text(st.sampled_from("ACGTN"), max_size=30)


def halves(head: str) -> tuple[str, str]:
    name, *rest = head.split(None, 1)
    return name, rest[0] if rest else ""


@FEW
@given(records=st.lists(st.tuples(NAMES, BASES, st.integers(1, 9)), max_size=12), end=st.sampled_from(["\n", "\r\n", "\r"]), blocksize=st.integers(1, 90), size=st.sampled_from([3, 17, 1 << 18]))
def test_fasta_records_are_those_of_a_simple_loop(tmp_path: Path, records: list[tuple[str, str, int]], end: str, blocksize: int, size: int) -> None:
    lines: list[str] = []
    for name, bases, width in records:
        lines += [f">{name}", *(bases[at : at + width] for at in range(0, len(bases), width))]
    path = written(tmp_path / "a.fasta", "".join(line + end for line in lines).encode())
    expected = [(*halves(name), bases) for name, bases, _ in records]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE", size)
        assert list(mrpy.read_fasta(path, blocksize=blocksize, backend="serial")) == expected
        assert list(mrpy.read_fasta(path, blocksize=None, backend="serial")) == expected


def test_fasta_fields_have_names_and_text_before_the_first_record_is_an_error(tmp_path: Path) -> None:
    path = written(tmp_path / "a.fa", b"\n>chr1 of a mouse\nAC\nGT\n\n>chr2\n")
    first, second = mrpy.read_fasta(path, workers=1)
    assert (first.name, first.description, first.sequence) == ("chr1", "of a mouse", "ACGT")
    assert second == ("chr2", "", "")
    path = written(tmp_path / "b.fa", b"ACGT\n>a\nGG\n")
    with pytest.raises(DataError, match="byte 0: 'ACGT' where a '>'"):
        list(mrpy.read_fasta(path, backend="serial"))
    assert list(mrpy.read_fasta(path, backend="serial", on_error="skip")) == [("a", "", "GG")]
    with pytest.raises(ZeroDivisionError) as caught:
        list(mrpy.read_fasta(path, backend="serial", on_error=lambda error: 1 // 0))
    assert "b.fa" in caught.value.__notes__[0]


@pytest.mark.parametrize("blocksize", [1, 2, 4, 10, None])
@pytest.mark.parametrize("begin", [b"", b"\n", b"\r\n \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n"])
def test_a_fasta_record_is_where_its_mark_is(tmp_path: Path, begin: bytes, blocksize: int | None) -> None:
    data = begin + b">a\nAC\n>b >\nGT\nGT\n>c\n"
    read = mrpy.read_fasta(written(tmp_path / "a.fa", data), "utf-8-sig", blocksize=blocksize, backend="serial", on_error="return")
    errors = list(read.map(lambda record: 1 // len(record.name.strip("abc"))))
    places = [data.index(mark) for mark in (b">a", b">b", b">c")]
    assert [error.mrpy_item.text.rsplit(" ", 1)[1] for error in errors] == list(map(str, places))


@pytest.mark.parametrize("junk", [b"junk\n", b"\xef\xbb\xbf"])
def test_what_is_no_fasta_record_is_where_the_file_begins(tmp_path: Path, junk: bytes) -> None:
    """A signature is text of the first line, where the encoding has none."""
    error, *_ = mrpy.read_fasta(written(tmp_path / "a.fa", junk + b">a\nAC\n>b\n"), backend="serial", on_error="return")
    assert isinstance(error, DataError) and error.offset == 0
    assert error.mrpy_item.text.endswith("a.fa', byte 0")


@FEW
@given(
    records=st.lists(st.tuples(NAMES, BASES, st.sampled_from(["", "again"]), st.text(st.sampled_from("@+>!I"), min_size=30, max_size=30)), max_size=12),
    end=st.sampled_from(["\n", "\r\n", "\r"]), blocksize=st.integers(1, 90), size=st.sampled_from([3, 17, 1 << 18]),
)  # fmt: skip
def test_fastq_records_are_those_of_a_simple_loop(tmp_path: Path, records: list[tuple[str, str, str, str]], end: str, blocksize: int, size: int) -> None:
    data = "".join(f"@{name}{end}{bases}{end}+{plus}{end}{quality[: len(bases)]}{end}" for name, bases, plus, quality in records)
    path = written(tmp_path / "a.fastq", data.encode())
    expected = [(*halves(name), bases, quality[: len(bases)]) for name, bases, _, quality in records]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE", size)
        assert list(mrpy.read_fastq(path, blocksize=blocksize, backend="serial")) == expected
        assert list(mrpy.read_fastq(path, blocksize=None, backend="serial")) == expected


@FEW
@given(
    good=st.lists(st.booleans(), min_size=1, max_size=40), junk=st.lists(st.sampled_from(["x", "@x", ""]), min_size=1, max_size=6),
    blocksize=st.integers(1, 90), size=st.sampled_from([3, 17, 1 << 18]), lines=st.sampled_from([8, 64]),
)  # fmt: skip
def test_fastq_records_among_others_are_found_wherever_it_is_cut(tmp_path: Path, good: list[bool], junk: list[str], blocksize: int, size: int, lines: int) -> None:
    wrong = "".join(f"{line}\n" for line in junk)
    data = "".join(f"@r{n}\nAC\n+\nII\n" if each else f"no{wrong}no\nno\nno\n" for n, each in enumerate(good))
    path = written(tmp_path / "a.fastq", data.encode())
    expected = list(mrpy.read_fastq(path, blocksize=None, backend="serial", on_error="skip"))
    assert {record.name for record in expected if record.name[:1] == "r"} == {f"r{n}" for n, each in enumerate(good) if each}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE", size)
        patch.setattr(sequences, "LINES", lines)
        assert list(mrpy.read_fastq(path, blocksize=blocksize, backend="serial", on_error="skip")) == expected


def records_among(lines: list[str]) -> list[tuple[str, str, str, str]]:
    """What is a record by its first three lines, and where the next does not begin before it has qualities for its bases."""
    begins = [at for at, (head, sequence, plus) in enumerate(zip(lines, lines[1:], lines[2:], strict=False)) if head[:1] == "@" and plus[:1] == "+" and sequence[:1] not in ("@", "+")]
    made = []
    for at, behind in zip(begins, [*begins, len(lines)][1:], strict=True):
        head, sequence, _, quality, *_ = *lines[at : min(at + 4, behind)], "", ""
        if len(sequence) == len(quality):
            name, description, *_ = *head[1:].split(None, 1), "", ""
            made.append((name, description, sequence, quality))
    return made


@FEW
@given(
    records=st.lists(st.tuples(st.text("ACGT", max_size=5), st.sampled_from(["", "again"]), st.text("@+I", min_size=5, max_size=5)), min_size=2, max_size=25),
    damages=st.lists(st.tuples(st.sampled_from(["lost", "doubled", "halved", "emptied"]), st.integers(0, 99)), max_size=4),
    end=st.sampled_from(["\n", "\r\n", "\r"]), blocksize=st.integers(1, 90), size=st.sampled_from([3, 17, 1 << 18]),
)  # fmt: skip
def test_fastq_with_lost_and_doubled_lines_has_the_same_records_wherever_it_is_cut(tmp_path: Path, records: list[tuple[str, str, str]], damages: list[tuple[str, int]], end: str, blocksize: int, size: int) -> None:
    lines = [line for n, (bases, plus, quality) in enumerate(records) for line in (f"@r{n}", bases, f"+{plus}", quality[: len(bases)])]
    for damage, at in damages:
        line = lines[place := at % len(lines)]
        lines[place : place + 1] = {"lost": [], "doubled": [line] * 2, "halved": [line[: len(line) // 2]], "emptied": [""]}[damage]
    data = "".join(line + end for line in lines).encode()
    plain, packed = written(tmp_path / "a.fastq", data), written(tmp_path / "b.fastq.gz", gzip.compress(data, 1))
    expected = records_among(lines)

    def read(path: Path, blocksize: Any) -> list[Any]:
        got = list(mrpy.read_fastq(path, blocksize=blocksize, backend="serial", on_error="return"))
        assert [item for item in got if not isinstance(item, DataError)] == expected
        return [(item.offset, item.why) if isinstance(item, DataError) else item for item in got]

    whole = read(plain, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE", size)
        for each in (plain, blocksize), (plain, None), (packed, "auto"):
            assert read(*each) == whole


@pytest.mark.parametrize("blocksize", [None, "auto", 1, 16, 17, 100, 128, 513])
def test_where_the_qualities_of_a_read_are_lost_the_next_one_is_right(tmp_path: Path, blocksize: int | str | None) -> None:
    """Also where they are as long as the line behind them."""
    reads = [f"@r{n:02}\nACGT\n+\nIIII\n" for n in range(60)]
    reads[30] = "@r30\nACGT\n+\n"
    path = written(tmp_path / "a.fq", "".join(reads).encode())
    got = list(mrpy.read_fastq(path, blocksize=blocksize, backend="serial", on_error="return"))
    assert [item for item in got if isinstance(item, tuple)] == [(f"r{n:02}", "", "ACGT", "IIII") for n in range(60) if n != 30]
    assert isinstance(got[30], DataError) and "4 bases and 0" in got[30].why


class Counted(io.FileIO):
    """A file that knows how much was read of it."""

    total = 0

    def read(self, size: int | None = -1) -> Any:
        data = super().read(size)
        Counted.total += len(data or b"")
        return data


@pytest.mark.parametrize("line", ["1,name,7\n", "@r1\nACGTAC\nACGTAC\n+\nIIIIII\nIIIIII\n", "\0"])
def test_what_is_no_fastq_is_read_once(tmp_path: Path, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.fq", line.encode() * (2_000_000 // len(line)))
    monkeypatch.setattr(opening, "to_read", lambda path: Counted(path))
    monkeypatch.setattr(Counted, "total", 0)
    with pytest.raises(DataError, match="a.fq, byte 0: "):
        list(mrpy.read_fastq(path, backend="serial"))
    assert Counted.total < 1_000_000 or line == "\0", "and nothing more, when it is clear"
    monkeypatch.setattr(Counted, "total", 0)
    assert list(mrpy.read_fastq(path, backend="serial", on_error="skip")) == []
    assert Counted.total < 8_000_000


@pytest.mark.parametrize("backend", LOCAL)
def test_a_damaged_fastq_record_is_one_error(tmp_path: Path, backend: str) -> None:
    good = "".join(f"@r{n}\nACGT\n+\n@@@@\n" for n in range(5))
    for bad, why in (("@bad\nACGT\n+\nIII\n", "4 bases and 3"), ("@bad\nACGT\n@@@@\n", "no line with a '\\+'"), ("what\n", "where an '@'"), ("@bad\nAC", "no line with")):
        path = written(tmp_path / "a.fq", f"{good}{bad}{'' if bad.endswith('AC') else good}".encode())
        got = list(mrpy.read_fastq(path, backend=backend, workers=1, blocksize=None, on_error="return"))
        errors = [item for item in got if isinstance(item, Exception)]
        assert [(type(error), error.offset) for error in errors] == [(DataError, len(good))]
        assert len(got) == (6 if bad.endswith("AC") else 11)
        with pytest.raises(DataError, match=why):
            mrpy.read_fastq(path, backend=backend, workers=1).count()


def test_a_byte_that_is_no_text_costs_its_own_sequence(tmp_path: Path) -> None:
    data = b"@long\nACGT\n+\nII\n@fine\nAC\n+\nII\n@caf\xe9\nA\n+\nI\n@last\nA\xe9\n+\nII\n@\xe9\nA\nI\n@end\nA\n+\nI\n"
    path = written(tmp_path / "a.fq", data)
    for blocksize in (None, 16):
        got = list(mrpy.read_fastq(path, blocksize=blocksize, backend="serial", on_error="return"))
        assert [got[1], got[5]] == [("fine", "", "AC", "II"), ("end", "", "A", "I")]
        errors = [got[0], *got[2:5]]
        places = [place for place, byte in enumerate(data) if byte == 0xE9]
        assert [(type(error), error.offset) for error in errors] == [(DataError, place) for place in (0, *places)]
        assert "4 bases and 2" in errors[0].why and all("continuation byte" in error.why for error in errors[1:])
    path = written(tmp_path / "a.fa", b"\xe9\n>a\xe9\nA\n>b\nC\n")
    got = list(mrpy.read_fasta(path, backend="serial", on_error="return"))
    assert got[2] == ("b", "", "C") and [error.offset for error in got[:2]] == [0, 4]
    assert all("continuation byte" in error.why for error in got[:2])


def test_sequences_need_an_encoding_that_can_be_cut(tmp_path: Path) -> None:
    for read in (mrpy.read_fasta, mrpy.read_fastq):
        with pytest.raises(OptionError, match="end of a line is a byte"):
            read(__file__, "utf-16")


# ---- records of a fixed size ----------------------------------------------------------------------------------


@FEW
@given(data=st.binary(max_size=200), size=st.integers(1, 9), blocksize=st.integers(1, 60), piece=st.sampled_from([4, 1 << 18]))
def test_records_are_slices(tmp_path: Path, data: bytes, size: int, blocksize: int, piece: int) -> None:
    whole = len(data) - len(data) % size
    expected = [data[at : at + size] for at in range(0, whole, size)]
    plain, packed = written(tmp_path / "a.bin", data), written(tmp_path / "a.bin.gz", gzip.compress(data))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "PIECE", piece)
        for path, how in ((plain, blocksize), (plain, None), (packed, None)):
            got = list(mrpy.read_records(path, size, how, backend="serial", on_error="return"))
            assert got[: len(expected)] == expected
            rest = got[len(expected) :]
            assert len(rest) == (whole < len(data))
            assert all(isinstance(item, DataError) and item.offset == whole for item in rest)


@pytest.mark.parametrize(("left", "says"), [(1, "it ends 1 byte into a record of 3"), (2, "it ends 2 bytes into a record of 3")])
def test_a_file_that_ends_within_a_record_says_how_far(tmp_path: Path, left: int, says: str) -> None:
    with pytest.raises(DataError, match=says):
        mrpy.read_records(written(tmp_path / "a.bin", bytes(3 + left)), 3, backend="serial").to_list()


@pytest.mark.parametrize("blocksize", ["auto", None])
@pytest.mark.parametrize("suffix", ["gz", "bz2", "xz"])
def test_records_before_the_damage_of_a_compressed_file_are_read(tmp_path: Path, suffix: str, blocksize: Any) -> None:
    """All that are whole, as far as it can be unpacked: also those that were read with what is damaged."""
    data = numpy.random.default_rng(1).bytes(3_000_000)  # some blocks of bz2, which are damaged as a whole
    pack = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[suffix]
    path = written(tmp_path / f"a.{suffix}", pack(data)[:-9000])
    *got, error = mrpy.read_records(path, 10, blocksize, on_error="return", backend="serial")
    assert b"".join(got) == data[: 10 * len(got)]
    assert isinstance(error, DataError) and "cannot be unpacked" in error.why and error.offset == 10 * len(got)
    *_, error = mrpy.read_text(path, "latin-1", blocksize=blocksize, on_error="return", backend="serial")
    assert len(got) == error.offset // 10, "where it ends for lines, too"


def test_records_of_a_dtype(tmp_path: Path) -> None:
    rows = [(n, n / 7) for n in range(5000)]
    path = written(tmp_path / "a.bin", b"".join(struct.pack("<id", *row) for row in rows))
    dtype = [("n", "<i4"), ("x", "<f8")]
    made = mrpy.read_records(path, dtype, workers=2)
    assert list(made.map(lambda record: (int(record["n"]), float(record["x"])))) == rows
    assert mrpy.read_records(path, dtype, backend="serial").map(lambda record: record["n"]).sum() == sum(range(5000))
    assert mrpy.read_records(path, struct.calcsize("<id"), backend="serial").map(lambda raw: struct.unpack("<id", raw)[0]).max() == 4999
    for wrong in (0, -3):
        with pytest.raises(ValueError):
            mrpy.read_records(path, wrong)
    for wrong in ("O", "S0", "nonsense"):
        with pytest.raises(TypeError):
            mrpy.read_records(path, wrong)


# ---- Parquet and Arrow ----------------------------------------------------------------------------------------


def test_parquet_and_arrow_rows_are_dictionaries(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.ipc
    import pyarrow.parquet

    rows = [{"n": n, "text": f"row {n}", "more": [n] if n % 3 else None} for n in range(10_000)]
    table = pa.Table.from_pylist(rows)
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet", row_group_size=700)
    with pyarrow.ipc.new_file(tmp_path / "a.arrow", table.schema) as file:
        file.write_table(table, 700)
    for name in ("a.parquet", "a.arrow"):
        read = mrpy.read_parquet(tmp_path / name, workers=2)
        assert len(read._plan.source.blocks) == 15 and list(read) == rows
        numbers = mrpy.read_parquet(str(tmp_path / name), columns=["n"], backend="serial")
        assert list(numbers.take(2)) == [{"n": 0}, {"n": 1}]
        assert list(mrpy.read_parquet(f"file://{tmp_path / name}", backend="serial")) == rows
        with pytest.raises(ZeroDivisionError) as caught:
            list(mrpy.read_parquet(tmp_path / name, workers=1).map(lambda row: 1 // (row["n"] - 1403)))
        assert "row 3 of group 2" in caught.value.__notes__[0]
    assert mrpy.read_parquet(tmp_path, backend="serial").count() == 20_000
    with pytest.raises(TypeError, match=r"columns=\['n'\]"):
        mrpy.read_parquet(tmp_path / "a.parquet", columns="n")
    (tmp_path / "b.parquet").write_bytes(b"no")
    with pytest.raises(DataError, match=r"b\.parquet"):
        mrpy.read_parquet(tmp_path / "b.parquet")


def bad_tables() -> dict[str, Any]:
    """Tables of 10,000 rows, of which two have a value that Python has no place for."""
    pa = pytest.importorskip("pyarrow")
    bad = (4095, 7000)
    ends = {n: b"\xff" if n in bad else b"a" for n in range(10_000)}
    binary = pa.array(list(ends.values()), pa.binary())
    seconds = [10**13 if n in bad else n for n in range(10_000)]
    return {
        "far": pa.table({"n": range(10_000), "x": pa.array(seconds, pa.timestamp("s"))}),
        "no text": pa.Table.from_arrays([range(10_000), pa.Array.from_buffers(pa.string(), 10_000, binary.buffers())], ["n", "x"]),
    }


@pytest.mark.parametrize("kind", ["far", "no text"])
@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_a_row_that_python_has_no_place_for_is_one_error(tmp_path: Path, kind: str, suffix: str) -> None:
    table, path = bad_tables()[kind], tmp_path / f"a.{suffix}"
    import pyarrow.ipc
    import pyarrow.parquet

    if suffix == "parquet":
        pyarrow.parquet.write_table(table, path, row_group_size=6000)
    else:
        with pyarrow.ipc.new_file(path, table.schema) as file:
            file.write_table(table, 6000)
    read = mrpy.read_parquet(path, on_error="skip", workers=2).map(lambda row: row["n"])
    assert read.to_list() == [n for n in range(10_000) if n not in (4095, 7000)]
    assert read.skipped.count == 2 and "row 1,000 of group 1, column 'x'" in str(read.skipped)
    with pytest.raises(DataError, match=r"a\..*: row 4,095 of group 0, column 'x': ") as caught:
        mrpy.read_parquet(path, backend="serial").count()
    assert "row 4,095 of group 0" in caught.value.__notes__[0]
    assert mrpy.read_parquet(path, columns=["n"], backend="serial").count() == 10_000


def test_a_column_that_is_not_there_is_an_error_at_the_call(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.ipc
    import pyarrow.parquet

    table = pa.Table.from_pylist([{"n": 1, "more": {"a": 2, "b": {"c": 3}}, "x.y": 4}])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pyarrow.ipc.new_file(tmp_path / "a.arrow", table.schema) as file:
        file.write_table(table)
    for path in (tmp_path / "a.parquet", tmp_path / "a.arrow"):
        for wrong in ("N", "x", "x.z", "more.c", "mor"):
            with pytest.raises(DataError, match=rf"{path}: it has no column '{wrong}', but \['n', 'more', 'x.y'\]"):
                mrpy.read_parquet(path, columns=["n", wrong])
        assert list(mrpy.read_parquet(path, columns=["x.y", "n"], backend="serial")) == [{"x.y": 4, "n": 1}]
    assert list(mrpy.read_parquet(tmp_path / "a.parquet", columns=["more.b"], backend="serial")) == [{"more": {"b": {"c": 3}}}]


def test_columns_of_one_name_are_an_error_at_the_call_where_they_are_asked_for(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.ipc
    import pyarrow.parquet

    table = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([3])], names=["a", "a", "b"])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pyarrow.ipc.new_file(tmp_path / "a.arrow", table.schema) as file:
        file.write_table(table)
    for path in (tmp_path / "a.parquet", tmp_path / "a.arrow"):
        for columns in (None, ["b", "a"]):
            with pytest.raises(DataError, match=rf"{path}: it has several columns 'a'"):
                mrpy.read_parquet(path, columns)
        assert list(mrpy.read_parquet(path, ["b"], backend="serial")) == [{"b": 3}]


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_a_file_whose_groups_of_rows_have_changed_since_the_call_is_an_error(tmp_path: Path, suffix: str) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.ipc
    import pyarrow.parquet

    table, path = pa.table({"a": range(1000)}), tmp_path / f"a.{suffix}"

    def write(rows: int) -> None:
        if suffix == "parquet":
            pyarrow.parquet.write_table(table, path, row_group_size=rows)
            return
        with pyarrow.ipc.new_file(path, table.schema) as file:
            file.write_table(table, rows)

    for others in (50, 1000):
        write(100)
        read = mrpy.read_parquet(path, backend="serial")
        assert read.count() == 1000
        write(others)
        with pytest.raises(DataError, match=r"a\..*: its groups of rows are others than when the run was made"):
            read.count()


def write_groups(path: Path, table: Any, rows: int) -> None:
    """A file with groups of so many rows."""
    import pyarrow.ipc
    import pyarrow.parquet

    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(table, path, row_group_size=rows, compression="none", use_dictionary=False)
        return
    with pyarrow.ipc.new_file(path, table.schema) as file:
        file.write_table(table, rows)


CUT_OFF = """
import os, sys, mrpy
path, backend = sys.argv[1:]

def seen(row):
    if row["a"] == 10:
        os.truncate(path, 4096)
    return row["a"]

try:
    print(mrpy.read_parquet(path, backend=backend, workers=1).map(seen).count())
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_a_file_that_is_cut_off_while_it_is_read_is_an_error_and_kills_nobody(tmp_path: Path, suffix: str, backend: str) -> None:
    pa = pytest.importorskip("pyarrow")
    path = tmp_path / f"a.{suffix}"
    for rows in (1_000_000, 500_000):  # rows that were begun may be read to their end
        write_groups(path, pa.table({"a": range(1_000_000)}), rows)
        run = subprocess.run([sys.executable, "-c", CUT_OFF, path, backend], capture_output=True, text=True, timeout=120)
        assert run.returncode == 0, run.stderr
        assert run.stdout.startswith("DataError") or (rows == 1_000_000 and run.stdout == "1000000\n")


def test_a_large_batch_of_arrow_is_mapped_and_of_others_what_is_asked_for_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pa = pytest.importorskip("pyarrow")
    from mrpy.mapreduce.files import parquet

    write_groups(tmp_path / "a.arrow", pa.table({"a": range(9), "b": range(9), "c": range(9)}), 4)
    mapped = []
    monkeypatch.setattr(parquet, "_mapped", lambda *of, real=parquet._mapped: mapped.append(of) or real(*of))
    for most in (parquet.MAPPED, 0):
        monkeypatch.setattr(parquet, "MAPPED", most)
        for columns in (["c", "a"], [], None):
            expected = [dict.fromkeys("abc" if columns is None else columns, n) for n in range(9)]
            assert mrpy.read_parquet(tmp_path / "a.arrow", columns, backend="serial").to_list() == expected
        assert len(mapped) == (0 if most else 9)


@pytest.fixture
def arrow_files(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The files that pyarrow opens from now on."""
    pa = pytest.importorskip("pyarrow")
    files: list[Any] = []
    for name in ("OSFile", "memory_map"):
        def opened(*given: Any, real: Any = getattr(pa, name)) -> Any:
            files.append(real(*given))
            return files[-1]

        monkeypatch.setattr(pa, name, opened)
    return files


@pytest.mark.parametrize("most", [0, 1 << 26])
def test_files_of_arrow_are_closed_when_they_are_read(
    tmp_path: Path, most: int, arrow_files: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when the garbage collector comes by: also where another file has come into the place of one."""
    import pyarrow as pa

    from mrpy.mapreduce.files import parquet

    monkeypatch.setattr(parquet, "MAPPED", most)
    write_groups(tmp_path / "a.arrow", pa.table({"a": range(9)}), 4)
    rows = mrpy.read_parquet(tmp_path / "a.arrow", backend="serial")
    assert [row["a"] for row in rows] == [*range(9)]
    assert arrow_files and all(file.closed for file in arrow_files)
    rows = mrpy.read_parquet(tmp_path / "a.arrow", backend="serial")
    write_groups(tmp_path / "b.arrow", pa.table({"a": range(9)}), 3)
    os.utime(tmp_path / "b.arrow", (1, 1))  # the clock of files stands still for milliseconds
    (tmp_path / "b.arrow").replace(tmp_path / "a.arrow")
    with pytest.raises(DataError, match="replaced"):
        rows.to_list()
    assert all(file.closed for file in arrow_files)


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="needs a file that opens and cannot be read")
def test_a_parquet_file_that_cannot_be_read_is_named() -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(OSError, match="Input/output error") as caught:
        mrpy.read_parquet("/proc/self/mem", backend="serial")
    assert caught.value.filename == "/proc/self/mem"


def test_parts_of_parquet_that_are_joined_are_closed_before_they_are_removed(tmp_path: Path, arrow_files: list[Any]) -> None:
    rows: list[dict[str, Any]] = [{"a": 1}, {"a": 2.5}]
    mrpy.stream(rows, backend="serial", chunksize=1).to_parquet(tmp_path / "out")
    assert mrpy.read_parquet(tmp_path / "out", backend="serial").to_list() == rows
    assert len(arrow_files) > 2 and all(file.closed for file in arrow_files)


def test_a_stream_of_arrow_is_said_to_be_one(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.ipc

    with pyarrow.ipc.new_stream(tmp_path / "a.arrows", pa.schema([("a", pa.int64())])):
        pass
    with pytest.raises(DataError, match=r"a\.arrows: it is a stream of Arrow's; pyarrow.ipc.new_file writes"):
        mrpy.read_parquet(tmp_path / "a.arrows")


def test_files_of_empty_tables_have_no_rows(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.feather
    import pyarrow.parquet

    table = pa.table({"n": pa.array([], pa.int64())})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    pyarrow.feather.write_feather(table, tmp_path / "a.feather")
    assert list(mrpy.read_parquet(tmp_path, columns=["n"], backend="serial")) == []


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for module in ("pyarrow", "pyarrow.parquet", "sqlalchemy", "compression.zstd", "backports.zstd"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "zstandard", types.ModuleType("zstandard"))  # it says nothing of files that were cut off
    zstd.cache_clear()
    with pytest.raises(ImportError, match=r"need pyarrow: pip install pyarrow$"):
        mrpy.read_parquet(__file__)
    with pytest.raises(ImportError, match=r"needs SQLAlchemy: pip install sqlalchemy$"):
        mrpy.read_sql("t", "sqlite://")
    with pytest.raises(ImportError, match=r"backports\.zstd: pip install backports\.zstd$"):
        mrpy.read_text(__file__, compression="zstd")
    with pytest.raises(ImportError, match=r"need pyarrow: pip install pyarrow$"):
        mrpy.stream([{"a": 1}]).to_parquet("out")


# ---- SQL ------------------------------------------------------------------------------------------------------


@pytest.fixture
def database(tmp_path: Path) -> str:
    pytest.importorskip("sqlalchemy")
    path = tmp_path / "a.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table points (id integer, x real, name text, day date)")
        days = [str(datetime.date(2020, 1, 1) + datetime.timedelta(n)) for n in range(1000)]
        connection.executemany(
            "insert into points values (?, ?, ?, ?)", [(n if n % 100 else None, n / 3, f"point {n}", days[n]) for n in range(1000)]
        )
        connection.execute("create table none (id integer)")
    connection.close()
    return f"sqlite:///{path}"


def points() -> list[tuple[Any, str]]:
    named = [(n if n % 100 else None, f"point {n}") for n in range(1000)]
    return [point for point in named if point[0] is not None] + [point for point in named if point[0] is None]


@pytest.mark.parametrize("partitions", ["auto", 1, 7, 1200])
def test_sql_rows_come_by_ranges_of_the_key_and_each_once(database: str, partitions: Any) -> None:
    rows = mrpy.read_sql("points", database, "id", partitions, workers=2)
    assert list(rows.map(lambda row: (row["id"], row["name"]))) == points()
    by_x = mrpy.read_sql("select x, name from points where x < 100;", database, "x", partitions, backend="serial")
    assert list(by_x) == [{"x": n / 3, "name": f"point {n}"} for n in range(300)]


def test_sql_without_a_key_and_of_an_empty_table(database: str) -> None:
    assert mrpy.read_sql("points", database, backend="serial").count() == 1000
    assert list(mrpy.read_sql("none", database, "id", backend="serial")) == []
    assert list(mrpy.read_sql("select count(*) as n from points", database, backend="serial")) == [{"n": 1000}]


@pytest.mark.parametrize("url", ["x.db", "sqlite:x.db", "user:secret@host/name", "postgresql://user:p@ss:secret@host/db", Path("x.db"), 5])
def test_what_is_no_url_of_a_database_is_told_how_to_write_one(url: Any) -> None:
    sa = pytest.importorskip("sqlalchemy")
    with pytest.raises((TypeError, sa.exc.ArgumentError), match="needs the URL of a database.*'sqlite:///x.db'") as raised:
        mrpy.read_sql("points", url)
    assert "secret" not in str(raised.value)


def test_a_database_is_meant_from_where_it_was_asked_for_and_none_is_made(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        mrpy.read_sql("points", "sqlite:///not_there.db")
    assert caught.value.filename == str(tmp_path / "not_there.db") and not (tmp_path / "not_there.db").exists()
    rows = mrpy.read_sql("points", "sqlite:///a.db", backend="serial")
    monkeypatch.chdir(other)
    assert rows.count() == 1000 and list(other.iterdir()) == []
    uri = f"sqlite:///file:{tmp_path}/a.db?mode=ro&uri=true"
    assert mrpy.read_sql("points", uri, workers=1).count() == 1000


def spoil(database: str, which: str) -> None:
    with closing(sqlite3.connect(database.removeprefix("sqlite:///"))) as connection:
        connection.execute(f"update points set name = cast(x'ff' as text) where {which}")
        connection.commit()


def test_sql_rows_before_one_that_is_no_text_are_read_and_it_is_said_where_they_end(database: str) -> None:
    spoil(database, "id = 777")
    read = mrpy.read_sql("points", database, backend="serial", on_error="skip").map(lambda row: row["id"])
    assert read.to_list() == [n if n % 100 else None for n in range(777)]
    assert read.skipped.count == 1
    assert "row 777 of 'points', key all, and all behind it there (OperationalError" in str(read.skipped)


@pytest.mark.parametrize("partitions", [1, 10])
@pytest.mark.parametrize("bad", [[777], [1], [999], [1, 2, 3, 501, 503, 998, 999], list(range(2, 1000, 10))])
def test_sql_rows_behind_one_that_is_no_text_are_read_where_there_is_a_key(database: str, bad: list[int], partitions: int) -> None:
    spoil(database, f"id in ({', '.join(map(str, bad))})")
    read = mrpy.read_sql("points", database, "id", partitions, backend="serial", on_error="skip")
    assert [row["id"] for row in read] == [n for n, _ in points() if n not in bad]
    assert read.skipped.count == len(bad) and "behind" not in str(read.skipped)


def test_sql_rows_that_cannot_be_read_are_called_by_their_number(database: str) -> None:
    spoil(database, "id in (777, 779)")
    read = mrpy.read_sql("points", database, "id", 10, backend="serial", on_error="skip")
    read.to_list()
    for row in (77, 79):
        assert f"row {row} of 'points', key 699 to 799 (OperationalError" in str(read.skipped)


@pytest.mark.parametrize("bad", [0, 3, 5, 9])
@pytest.mark.parametrize("alike", [1, 7, 1500])
def test_sql_rows_that_share_the_key_of_one_that_is_no_text_may_be_lost_and_no_others(tmp_path: Path, alike: int, bad: int) -> None:
    pytest.importorskip("sqlalchemy")
    with closing(sqlite3.connect(tmp_path / "t.db")) as connection:
        connection.execute("create table t (k integer, n integer, name text)")
        connection.executemany("insert into t values (?, ?, 'x')", [(n // alike, n) for n in range(alike * 10)])
        connection.execute(f"update t set name = cast(x'ff' as text) where n = {bad * alike + alike // 2}")
        connection.commit()
    read = mrpy.read_sql("t", f"sqlite:///{tmp_path}/t.db", "k", 1, backend="serial", on_error="skip")
    got = [row["n"] for row in read]
    lost = range(bad * alike + alike // 2, (bad + 1) * alike)
    assert got == [n for n in range(alike * 10) if n not in lost]
    others = f", and {len(lost) - 1:,} more of that k (" if len(lost) > 1 else "key 0 to 9 (Oper"
    assert read.skipped.count == 1 and others in str(read.skipped)


def test_sql_rows_whose_keys_are_rounded_on_the_way_are_not_read_twice(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mrpy.mapreduce.files import sql

    spoil(database, "id = 777")
    monkeypatch.setattr(sql._Tail, "add", lambda self, rows, real=sql._Tail.add: real(self, [{**rows[-1], "id": rows[-1]["id"] - 0.1}]))
    read = mrpy.read_sql("points", database, "id", 1, backend="serial", on_error="skip")
    assert [row["id"] for row in read if row["id"]] == [n for n, _ in points() if n and n < 777]
    assert "key 1 to 999, and all behind it there (Oper" in str(read.skipped)


def test_a_database_that_is_gone_in_the_middle_is_one_error(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mrpy.mapreduce.files import sql

    spoil(database, "id = 777")
    rows = mrpy.read_sql("points", database, "id", 1, backend="serial", on_error="skip")
    monkeypatch.setattr(sql.Query, "_subquery", lambda self, real=sql.Query._subquery, left=[1]: real(self) if left and left.pop() else 1 / 0)
    assert [row["id"] for row in rows] == [n for n, _ in points() if n and n < 777]
    assert rows.skipped.count == 2 and "key 1 to 999, and all behind it there (Oper" in str(rows.skipped)


def test_sql_columns_of_one_name_are_an_error_and_none_is_lost(database: str) -> None:
    sa = pytest.importorskip("sqlalchemy")
    one, two = sa.table("points", sa.column("id")).alias(), sa.table("points", sa.column("id")).alias()
    with pytest.raises(sa.exc.InvalidRequestError, match="Ambiguous"):
        mrpy.read_sql(sa.join(one, two, one.c.id == two.c.id), database, backend="serial").to_list()


TEXTS = [":x5", "a :x5", ":a:", "::a", ":x$ y", "12:30", "\\:x5 :y", "\\:", "\\\\:x", "$:1", ":ab:c", "%s %%", "?", "/* -- */", "; -- x"]


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_written_in_a_query_is_what_the_database_gets(database: str, text: str) -> None:
    for key in (None, "id"):
        rows = mrpy.read_sql(f"select id, '{text}' as text from points where id < 3", database, key, backend="serial")
        assert list(rows) == [{"id": n, "text": text} for n in (1, 2)]


ENDS = [";", " ; ", ";;", "; -- all", "; -- it's all;\n", " -- all", " -- all;", ";\n/* all\nof -- them; */ ;", " /* ; */", "\n-- it's\n; -- all", " and name > '; -- x'"]


@pytest.mark.parametrize("end", ENDS)
def test_a_query_may_end_in_a_semicolon_and_in_comments(database: str, end: str) -> None:
    for key in (None, "id"):
        for text in ("x", "it''s; -- x", "/*", "\\"):
            query = f"-- it's ;\nselect id, '{text}' as \"a;'b\" from points where id < 3 {end}"
            rows = mrpy.read_sql(query, database, key, backend="serial")
            assert list(rows) == [{"id": n, "a;'b": text.replace("''", "'")} for n in (1, 2)]


def test_what_stands_behind_a_query_is_an_error(database: str) -> None:
    sa = pytest.importorskip("sqlalchemy")
    for more in ("; select 2", "; -- one\nselect 2", "; x"):
        with pytest.raises(sa.exc.OperationalError, match='near ";"'):
            list(mrpy.read_sql("select id from points" + more, database, backend="serial"))


def test_in_doubt_a_semicolon_is_left_where_it_is() -> None:
    """Of some databases a backslash takes a quote into the text, of others it is a character."""
    from mrpy.mapreduce.files.sql import unended

    assert unended(r"select 'it\'s; -- x'") == r"select 'it\'s; -- x'"
    assert unended(r"select 'it\'s'; -- x") == r"select 'it\'s'"
    assert unended(r"select '%\'; -- x") == r"select '%\'"
    assert unended("select $a$; -- $a$; -- x") == "select $a$; -- $a$"


@pytest.mark.parametrize("query", ["points", "select * from points", "none", "select id from none"])
@pytest.mark.parametrize("key", ["idd", "Idd", "no such"])
def test_a_key_that_is_no_column_is_an_error_that_says_so(database: str, query: str, key: str) -> None:
    """SQLite takes a name in quotes for text, where it is none of a column's."""
    sa = pytest.importorskip("sqlalchemy")
    for asked in (query, sa.select(sa.text("*")).select_from(sa.table("points"))):
        with pytest.raises(sa.exc.OperationalError, match=f"no such column: .*{key}"):
            mrpy.read_sql(asked, database, key)


def test_the_key_of_what_sqlalchemy_makes_is_a_column_of_that(database: str) -> None:
    sa = pytest.importorskip("sqlalchemy")
    points = sa.table("points", sa.column("id"), sa.column("name"))
    few = sa.select(points.c.name.label("called")).where(points.c.id < 3).subquery()
    joined = points.join(few, few.c.called == points.c.name)
    for asked, count in ((points, 1000), (points.alias(), 1000), (joined, 2)):
        assert mrpy.read_sql(asked, database, "X", 7, backend="serial").count() == count


def test_sql_made_by_sqlalchemy(database: str) -> None:
    sa = pytest.importorskip("sqlalchemy")
    table = sa.table("points", sa.column("id"), sa.column("name"))
    rows = mrpy.read_sql(sa.select(table).where(table.c.id < 5), sa.make_url(database), "id", workers=1)
    assert list(rows) == [{"id": n, "name": f"point {n}"} for n in range(1, 5)]


def test_sql_keys_are_numbers_or_dates_and_passwords_are_not_shown(database: str) -> None:
    with pytest.raises(TypeError, match="the key 'name' has values of str"):
        mrpy.read_sql("points", database, "name")
    for wrong in (0, "many"):
        with pytest.raises(ValueError):
            mrpy.read_sql("points", database, "id", wrong)
    with pytest.raises(TypeError, match="URL"):
        mrpy.read_sql("points", 7)
    rows = mrpy.read_sql("points", database.replace("///", "///file:") + "?password=secret&uri=true", "id")
    assert "secret" not in f"{rows} {rows!r} {rows._plan!r} {rows.explain()}"


def test_ranges_of_dates_cover_all_of_them() -> None:
    from mrpy.mapreduce.files.sql import ranges_of

    low = datetime.date(2024, 1, 1)
    days = [low + datetime.timedelta(n) for n in range(100)]
    for count in (1, 3, 7, 99, 500):
        ranges = list(ranges_of("day", days[0], days[-1], count))
        for day in days:
            assert sum(each.low <= day and (day <= each.high if each.last else day < each.high) for each in ranges) == 1


def test_the_error_of_a_row_says_which_range_it_was(database: str) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        list(mrpy.read_sql("points", database, "id", 10, workers=1).map(lambda row: 1 // (row["id"] - 150)))
    assert "'points', key 100 to 200" in caught.value.__notes__[0]


def test_a_size_of_records_may_be_a_number_of_numpy(tmp_path: Path) -> None:
    path = tmp_path / "records"
    path.write_bytes(bytes(8))
    assert mrpy.read_records(path, numpy.int64(2), backend="serial").count() == 4

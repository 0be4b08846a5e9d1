"""Lines of text files: as a plain loop reads them, wherever the files are cut, and what becomes of bad ones."""

from __future__ import annotations

import bz2
import contextlib
import errno
import glob
import gzip
import io
import json
import lzma
import os
import random
import socket
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from laws import EXAMPLES, LOCAL

import mrpy
from mrpy.errors import DataError, OptionError
from mrpy.mapreduce.files import handed, opening, pieces
from mrpy.mapreduce.files.found import Origin, _matches
from mrpy.mapreduce.files.opening import Opening, zstd

FEW = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])

PARTS = st.sampled_from([b"\n", b"\r\n", b"\r", b"", b"a", b"word ", "ü".encode(), "\u2028".encode(), b"\x0b\x0c\x1c", "🐟".encode(), b"x" * 300])
TEXTS = st.lists(PARTS, max_size=40).map(b"".join)


def plain(path: Path, encoding: str = "utf-8", errors: str = "strict") -> list[str]:
    with open(path, encoding=encoding, errors=errors) as file:
        return [line.rstrip("\n") for line in file]


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


# ---- the oracle ----------------------------------------------------------------------------------------------


@FEW
@given(data=TEXTS, blocksize=st.integers(1, 400))
def test_lines_are_those_of_a_plain_loop_wherever_the_file_is_cut(tmp_path: Path, data: bytes, blocksize: int) -> None:
    path = written(tmp_path / "a.txt", data)
    assert list(mrpy.read_text(path, blocksize=blocksize, backend="serial")) == plain(path)


@FEW
@given(
    data=TEXTS,
    blocksize=st.integers(1, 60),
    size=st.one_of(st.integers(2, 9), st.just(pieces.PIECE)),
    behind=st.sampled_from([1, 2, 7, pieces.BEHIND]),
)
def test_it_does_not_show_how_much_is_read_at_once(
    tmp_path: Path, data: bytes, blocksize: int, size: int, behind: int
) -> None:
    path = written(tmp_path / "a.txt", data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE", size)
        patch.setattr(pieces, "BEHIND", behind)
        assert list(mrpy.read_text(path, blocksize=blocksize, backend="serial")) == plain(path)
        assert list(mrpy.read_text(path, blocksize=None, backend="serial")) == plain(path)


class Counted(io.BufferedReader):
    """A file that notes how much of it is read."""

    def __init__(self, path: str, reads: list[int]) -> None:
        super().__init__(io.FileIO(path))
        self._reads = reads

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._reads.append(len(data))
        return data


def test_a_small_file_is_read_once_and_a_small_block_not_far_beyond_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    monkeypatch.setattr(opening, "to_read", lambda path: Counted(path, reads))
    small, large = written(tmp_path / "a.txt", b"one\ntwo"), written(tmp_path / "b.txt", b"a line\n" * 30_000)
    assert mrpy.read_text(small, blocksize=None, backend="serial").count() == 2
    assert reads == [7]
    del reads[:]
    assert mrpy.read_text(large, blocksize=10_000, backend="serial").count() == 30_000
    assert sum(reads) < 21 * (10_000 + 3 * pieces.BEHIND)


@pytest.mark.parametrize("backend", LOCAL)
def test_several_files_are_read_in_their_order_on_every_backend(tmp_path: Path, backend: str) -> None:
    @settings(deadline=None, max_examples=EXAMPLES[backend], suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(texts=st.lists(TEXTS, min_size=1, max_size=4), blocksize=st.integers(1, 200), chunksize=st.sampled_from(["auto", 1, 3]))
    def holds(texts: list[bytes], blocksize: int, chunksize: Any) -> None:
        paths = [written(tmp_path / f"{number}.txt", data) for number, data in enumerate(texts)]
        lines = mrpy.read_text(paths, blocksize=blocksize, backend=backend, chunksize=chunksize, workers=2)
        assert list(lines) == [line for path in paths for line in plain(path)]

    holds()


def test_a_line_of_what_is_no_blank_in_json_is_an_error(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", b"1\n \t\r\n\n2\n")
    assert list(mrpy.read_jsonl(path, backend="serial")) == [1, 2]
    for blank in ("\xa0", "\x0c", "\u2003", " \x1c "):
        with pytest.raises(ValueError):
            json.loads(blank)
        written(path, f"1\n{blank}\n2\n".encode())
        one, bad, two = mrpy.read_jsonl(path, backend="serial", on_error="return")
        assert (one, two) == (1, 2) and isinstance(bad, DataError) and bad.offset == 2


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "U16"])
@pytest.mark.parametrize("errors", ["strict", "replace"])
def test_without_a_signature_nobody_knows_in_which_order_bytes_are(tmp_path: Path, encoding: str, errors: str) -> None:
    """As `open` has it; `str` takes the order of the machine."""
    for data in ("h\xe9llo\n".encode("utf-16-be"), "h\xe9llo\n".encode("utf-16-le") * 2, "a\nb\n".encode("utf-32-le")):
        path = written(tmp_path / "a.txt", data)
        with pytest.raises(UnicodeError), open(path, encoding=encoding, errors=errors) as file:
            file.read()
        for read in (mrpy.read_text, mrpy.read_csv, mrpy.read_jsonl):
            with pytest.raises(DataError, match=r"no signature \(BOM\) .* utf-(16|32)-le and utf-\1-be"):
                list(read(path, encoding, errors, backend="serial"))
    assert list(mrpy.read_text(written(tmp_path / "b.txt", b""), encoding, errors, backend="serial")) == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "gb18030", "shift_jis", "utf-7", "iso2022_jp"])
def test_other_encodings(tmp_path: Path, encoding: str) -> None:
    text = "".join(f"line {n} \n\r\nx" for n in range(50)) + ("日本\n" if encoding.startswith(("gb", "shift", "iso")) else "é\n" if encoding != "cp1252" else "€")
    path = written(tmp_path / "a.txt", text.encode(encoding))
    for blocksize in (1, 7, "auto", None):
        assert list(mrpy.read_text(path, encoding, blocksize=blocksize, backend="serial")) == plain(path, encoding)


@FEW
@given(data=st.binary(max_size=200), blocksize=st.integers(1, 50), errors=st.sampled_from(["replace", "ignore", "surrogateescape", "backslashreplace"]))
def test_any_bytes_with_a_handler_for_errors(tmp_path: Path, data: bytes, blocksize: int, errors: str) -> None:
    path = written(tmp_path / "a.txt", data)
    assert list(mrpy.read_text(path, errors=errors, blocksize=blocksize, backend="serial")) == plain(path, errors=errors)


def test_very_long_lines(tmp_path: Path) -> None:
    lines = ["x" * 3_000_000, "", "y", "z" * 700_000]
    path = written(tmp_path / "a.txt", "\n".join(lines).encode())
    for blocksize in (100_000, 1 << 20, "auto"):
        assert list(mrpy.read_text(path, blocksize=blocksize, backend="serial")) == lines


def test_reductions_have_the_same_bits_for_any_workers_and_chunks(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "".join(f"{1 / (n + 1)!r}\n" for n in range(3000)).encode())
    sums = {
        mrpy.read_text(path, blocksize=200, backend=backend, workers=workers, chunksize=chunksize).map(float).reduce(lambda a, b: a + b)
        for backend, workers in (("serial", 1), ("threads", 3), ("processes", 2))
        for chunksize in ("auto", 1, 7)
    }
    assert len(sums) == 1


def test_random_numbers_are_those_of_the_line_wherever_and_however_often_it_is_tried(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", b"a\nb\nc\nd\n" * 5)

    def drawn(**options: Any) -> list[int]:
        return list(mrpy.read_text(path, blocksize=9, seed=1, **options).map(lambda line: int(mrpy.rng().integers(1 << 40))))

    assert len(set(drawn(backend="serial"))) == 20
    assert drawn(backend="serial") == drawn(backend="threads", retries=2) == drawn(backend="processes", workers=2, chunksize=2)


def test_a_progress_bar_counts_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "a.txt", b"line\n" * 1000)
    packed = written(tmp_path / "b.gz", gzip.compress(b"line\n" * 10))
    assert mrpy.read_text([path, packed], backend="serial", progress=True).count() == 1010
    assert f"{(5000 + packed.stat().st_size) / 1000:.1f}/" in capsys.readouterr().err


def test_a_generator_expression_over_it_is_fused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", b"one\ntwo\nthree\n")
    program = mrpy.parallel((line.upper() for line in mrpy.read_text(path) if "t" in line), workers=1)
    assert str(program).count("->") == 2 and "lines" in str(program)
    assert list(program) == ["TWO", "THREE"]


def test_a_large_file_is_cut_for_all_workers_and_a_small_one_at_its_lines(tmp_path: Path) -> None:
    small = written(tmp_path / "urls.txt", b"http://example.org/some/page\n" * 200)
    assert len(mrpy.read_text(small)._plan.source.blocks) > 40
    large = tmp_path / "large.txt"
    with open(large, "wb") as file:
        file.truncate(2 << 30)
    assert len(mrpy.read_text(large)._plan.source.blocks) == 128


def test_check_looks_at_lines_and_not_at_blocks(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", b"1\n2\n3\n4\n")
    assert mrpy.read_text(path, blocksize=None, backend="serial", check=True).map(int).sum() == 10

    @mrpy.stage
    def running(lines: Any) -> Any:
        total = 0
        for line in lines:
            total += int(line)
            yield total

    with pytest.raises(mrpy.errors.CheckFailed, match="carries something"):
        list(mrpy.parallel(running(mrpy.read_text(path, blocksize=None)), backend="serial", check=True))


# ---- which files ----------------------------------------------------------------------------------------------


def test_directories_patterns_and_lists(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "sub/c.txt", ".hidden", "sub/.git/x", "sub/d.log", "a[1].txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{name}\n")

    def read(paths: Any) -> list[str]:
        return list(mrpy.read_text(paths, backend="serial"))

    assert read(tmp_path) == ["a.txt", "a[1].txt", "b.txt", "sub/c.txt", "sub/d.log"]
    assert read(str(tmp_path / "*.txt")) == ["a.txt", "a[1].txt", "b.txt"]
    assert read(str(tmp_path / "**" / "*.txt")) == ["a.txt", "a[1].txt", "b.txt", "sub/c.txt"]
    assert read([tmp_path / "b.txt", str(tmp_path / "a.txt")]) == ["b.txt", "a.txt"]
    assert read(path for path in [tmp_path / "b.txt"]) == ["b.txt"]
    assert read(tmp_path / "a[1].txt") == ["a[1].txt"]
    assert read(str(tmp_path / "su*")) == ["sub/c.txt", "sub/d.log"]


def test_what_does_not_exist_is_an_error_at_the_call(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for wrong in (tmp_path / "nowhere.txt", str(tmp_path / "*.txt"), tmp_path / "empty", []):
        with pytest.raises(FileNotFoundError):
            mrpy.read_text(wrong)
    for wrong in (7, [7], None):
        with pytest.raises(TypeError, match=r"read_text\(\) needs"):
            mrpy.read_text(wrong)
    with open(__file__) as file, pytest.raises(TypeError, match="workers open the files themselves"):
        mrpy.read_text(file)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="neither a file nor a directory"):
        mrpy.read_text(tmp_path / "pipe")


def test_a_blocksize_may_be_a_number_of_numpy(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", b"one\ntwo\n")
    assert "2 blocks" in str(mrpy.read_text(path, blocksize=numpy.int64(4)))
    with pytest.raises(OptionError):
        mrpy.read_text(path, blocksize=numpy.int64(0))


def test_a_nul_is_told_beside_bytes_that_were_let_through(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", b"x\xff\nab\xff\0c\nok\n")
    got = list(mrpy.read_text(path, errors="surrogateescape", only_text=True, backend="serial", on_error="return"))
    assert [got[0], got[2]] == ["x\udcff", "ok"]
    assert isinstance(got[1], DataError) and got[1].offset == 6 and "a NUL" in got[1].why


def test_wrong_options_are_an_error_at_the_call() -> None:
    for wrong in ({"blocksize": 0}, {"blocksize": "large"}, {"encoding": "utf-9"}, {"errors": "never"}, {"compression": "rar"}, {"n_jobs": 2}, {"encoding": "rot13"}):
        with pytest.raises(OptionError):
            mrpy.read_text(__file__, **wrong)


@pytest.mark.skipif(not os.path.exists("/sys/kernel/mm/transparent_hugepage/enabled"), reason="looks into /sys")
def test_a_file_of_sys_has_less_than_it_says() -> None:
    path = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    assert list(mrpy.read_text(path, backend="serial")) == path.read_text().splitlines()


def test_an_empty_file_has_no_lines_and_one_of_proc_has(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", b"")
    assert list(mrpy.read_text(path, backend="serial")) == [] and mrpy.read_text(path, backend="serial").count() == 0
    assert list(mrpy.read_text("/proc/self/status", backend="serial"))[0].startswith("Name:")


@pytest.mark.parametrize("ending, pack", [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zst", lambda data: zstd().compress(data))])
def test_compressed_files_are_unpacked(tmp_path: Path, ending: str, pack: Callable[[bytes], bytes]) -> None:
    if ending == ".zst":
        pytest.importorskip("backports.zstd")
    data = b"".join(b"line %d\r\n" % n for n in range(100_000)) + b"no end"
    path = written(tmp_path / f"a.txt{ending}", pack(data[:600_000]) + pack(data[600_000:]))
    assert list(mrpy.read_text(path, backend="serial")) == data.decode().split("\r\n")
    odd = written(tmp_path / "a.txt", path.read_bytes())
    how = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}[ending]
    assert mrpy.read_text(odd, compression=how, backend="serial").count() == 100_001
    with pytest.raises(DataError):
        list(mrpy.read_text(path, compression=None, backend="serial"))


@pytest.mark.parametrize("large", [handed.LARGE, 1])
@pytest.mark.parametrize("wrong", [0, 1, 3, 5])
@pytest.mark.parametrize("ending, pack", [(".bz2", bz2.compress), (".xz", lzma.compress)])
def test_what_is_damaged_behind_the_first_stream_of_a_file_is_not_the_end_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, pack: Callable[[bytes], bytes], wrong: int, large: int
) -> None:
    monkeypatch.setattr(handed, "LARGE", large)
    second = bytearray(pack(b"two\n" * 1000))
    second[wrong] ^= 64
    for behind in (bytes(second), bytes(second) + pack(b"three\n"), second[:5], b"no more of it"):
        path = written(tmp_path / f"a{ending}", pack(b"one\n" * 1000) + behind)
        *got, error = mrpy.read_text(path, backend="serial", on_error="return")
        assert isinstance(error, DataError) and "cannot be unpacked" in str(error) and error.path == str(path)
        assert got == ["one"] * 1000 and error.offset == 4000
        assert list(mrpy.read_text(path, backend="serial", on_error="skip")) == got
        with pytest.raises(DataError):
            mrpy.read_text(path, backend="serial").count()


@pytest.mark.parametrize("large", [handed.LARGE, 1])
@pytest.mark.parametrize("ending, pack", [(".bz2", bz2.compress), (".xz", lzma.compress), (".xz", partial(lzma.compress, format=lzma.FORMAT_ALONE))])
def test_the_streams_of_a_file_are_read_wherever_they_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, pack: Callable[[bytes], bytes], large: int
) -> None:
    """Also those with nothing in them, and where xz has them padded, with zero bytes in fours."""
    monkeypatch.setattr(handed, "LARGE", large)
    empty, parts = pack(b""), [b"line %d\n" % n * n for n in range(0, 3000, 97)]
    for padding in (0, 4, 8188, 8192, 20_000, *((1, 512, 8191) if ending == ".bz2" else ())):
        zeros = bytes(padding)
        path = written(tmp_path / f"a{ending}", empty + zeros + b"".join(pack(part) + zeros for part in parts) + empty + zeros)
        assert list(mrpy.read_text(path, backend="serial")) == b"".join(parts).decode().splitlines()
    for padding in (1, 3, 8191, 8194, 20_002) if ending == ".xz" else ():
        for rest in (b"", pack(b"two")):
            path = written(tmp_path / f"a{ending}", pack(b"one\n") + bytes(padding) + rest)
            one, error = mrpy.read_text(path, backend="serial", on_error="return")
            assert one == "one" and isinstance(error, DataError)


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress])
def test_of_what_is_packed_very_small_no_more_is_unpacked_than_is_asked_for(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    ending = ".bz2" if pack is bz2.compress else ".xz"
    path = written(tmp_path / f"a{ending}", pack(b"x" * 99 + b"\n") + pack(bytes(50_000_000)))
    tracemalloc.start()
    try:
        with Opening().open(str(path)) as file:
            assert file.read1(1 << 18) == b"x" * 99 + b"\n"
            assert len(file.read1(1 << 18)) <= 1 << 18
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()


def test_whatever_fsspec_opens(tmp_path: Path) -> None:
    a, b = written(tmp_path / "a.txt", b"one\ntwo\n" * 100), written(tmp_path / "b.txt", b"three\n")
    written(tmp_path / "c.gz", gzip.compress(b"four\n"))
    lines = plain(a) + plain(b)
    assert list(mrpy.read_text(f"file://{a}", blocksize=50, workers=2)) == plain(a)
    assert list(mrpy.read_text([f"file://{tmp_path}/*.txt"], backend="serial")) == lines
    assert list(mrpy.read_text(f"file://{tmp_path}", backend="serial")) == [*lines, "four"]
    assert list(mrpy.read_text(f"simplecache::file://{b}", backend="serial")) == plain(b)
    with pytest.raises(FileNotFoundError):
        mrpy.read_text(f"file://{tmp_path}/no.txt")
    with pytest.raises(FileNotFoundError, match="no file matches"):
        mrpy.read_text(f"file://{tmp_path}/*.csv")
    with pytest.raises((ImportError, ValueError), match="nosuch"):
        mrpy.read_text("nosuch://a/b")


def test_what_a_url_finds_is_what_a_path_finds(tmp_path: Path) -> None:
    for inner in (".cache/data", ".cache/data/.hidden", ".cache/data/sub", f".cache/data/out.{'0a' * 8}.tmp"):
        (tmp_path / inner).mkdir(parents=True)
        for name in ("a.txt", ".b.txt"):
            (tmp_path / inner / name).write_text(f"{inner}/{name}\n")
    folder = tmp_path / ".cache" / "data"
    for name, place in {"link.txt": "a.txt", "loop": ".", "nowhere": "no"}.items():
        (folder / name).symlink_to(place)
    for asked in ("", "/*.txt", "/s*/*.txt", "/.*.txt", "/.h*/*", "/?ub/.*", "/*/*.txt", "/**/*.txt", "/**/sub/*.txt", "/*/.b.txt"):
        found = list(mrpy.read_text(f"{folder}{asked}", backend="serial"))
        assert list(mrpy.read_text(f"file://{folder}{asked}", backend="serial")) == found and found


def test_a_pattern_reads_each_file_once_and_nothing_that_is_prepared(tmp_path: Path) -> None:
    prepared = f"out.{'0a' * 8}.tmp"
    for name in ("sub/a.txt", "b.txt", f"{prepared}/attempts/0-ff.txt", f"sub/{prepared}/parts/part-00000.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{name}\n")
    (tmp_path / "link").symlink_to("sub")
    for name in ("up", "also up", "up again"):
        (tmp_path / "sub" / name).symlink_to("..")  # with three of these there is no end to what `glob` finds

    def read(pattern: str) -> list[str]:
        return list(mrpy.read_text(f"{tmp_path}/{pattern}", backend="serial"))

    assert read("**/*.txt") == read("**") == ["b.txt", "sub/a.txt"]
    assert read("*/*.txt") == read("*/**/*.txt") == ["sub/a.txt"]
    assert read("link/*.txt") == read("link/**/*.txt") == read("**/link/*.txt") == ["sub/a.txt"]
    assert read(f"{prepared}/*/*.txt") == [f"{prepared}/attempts/0-ff.txt"], "who names it means it"


PATTERNS = ["*", "**", "a*", "**/*.txt", "a/**", "a/**/c/*", "**/b/**", "*/*", "*/b", "**/**/x.txt", "./*", "*/", "**/", "a/**/", "*/../*", "a//*", "a/*//*", "[ab]", "*/x.txt/*", "no/*", "**/c/x.txt", "a**"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_are_those_of_glob(tmp_path: Path, pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("x.txt", "a/x.txt", "a/b/x.txt", "a/b/c/x.txt", "b/c/y.txt", ".h/x.txt", "a/.x.txt", "[b]/x.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    for each in (pattern, f"{tmp_path}/{pattern}", f"../{tmp_path.name}/{pattern}", f"{glob.escape('[b]')}/../{pattern}"):
        files = {path for path in glob.glob(each, recursive=True) if not os.path.isdir(path)}
        assert {path for path in _matches(each) if not os.path.isdir(path)} == files


def test_archives_that_fsspec_opens(tmp_path: Path) -> None:
    long = b"".join(b"line %d\n" % n for n in range(20_000))
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {"long.txt": long, "d/b.txt": b"one\ntwo\n", "d/c.txt.gz": gzip.compress(b"three\n")}.items():
            archive.writestr(name, data)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        tar.add(written(tmp_path / "b.txt", b"four\nfive\n"), "b.txt")
    path = f"file://{tmp_path}/a.zip"
    for backend in ("serial", "processes"):
        with mrpy.session(backend, workers=2):
            read = mrpy.read_text(f"zip://long.txt::{path}", blocksize=1000)
            assert "1 block of" in str(read), "each block would unpack all that is before it"
            assert list(read) == long.decode().splitlines()
            assert list(mrpy.read_text(f"zip://d/*::{path}")) == ["one", "two", "three"]
            assert mrpy.read_text(f"zip://*::{path}").count() == 20_000, "and not what is in d"
            assert list(mrpy.read_text(f"zip://d::{tmp_path}/a.zip")) == ["one", "two", "three"]
            assert list(mrpy.read_text(f"tar://b.txt::{tmp_path}/a.tar.gz")) == ["four", "five"]
    packed = written(tmp_path / "e.gz", gzip.compress(b"six\n"))
    assert list(mrpy.read_text(f"simplecache::file://{packed}", backend="serial")) == ["six"]


def test_what_is_not_there_in_an_archive_or_is_none_is_an_error_with_its_name(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", b"one\n")
    for url in (f"zip://b.txt::{tmp_path}/a.zip", "memory://nothing.txt"):
        with pytest.raises(FileNotFoundError) as caught:
            mrpy.read_text(url)
        assert caught.value.filename == url
    for kind in ("zip", "tar"):
        with pytest.raises(DataError, match=rf"{kind}://a::/.*b.txt: it cannot be unpacked: "):
            mrpy.read_text(f"{kind}://a::{written(tmp_path / 'b.txt', b'one')}")


def test_names_that_mean_something_to_fsspec(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    for name in ("a[1].txt", "a1.txt"):
        written(tmp_path / name, f"{name}\n".encode())
    assert list(mrpy.read_text(f"file://{tmp_path}/a[1].txt", backend="serial")) == ["a1.txt"]
    assert list(mrpy.read_text(f"file://{tmp_path}/a[[]1].txt", backend="serial")) == ["a[1].txt"]
    written(tmp_path / "a::b.txt", b"one\n")
    for url in (f"file://{tmp_path}", f"file://{tmp_path}/*"):
        with pytest.raises(OSError, match=r"'::' in it, which fsspec takes apart: '.*/a::b.txt'"):
            mrpy.read_text(url)


def test_a_damaged_member_of_an_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a.txt", b"one\ntwo\n")
        archive.writestr("b.txt", b"three\n")
    written(tmp_path / "a.zip", (tmp_path / "a.zip").read_bytes().replace(b"two", b"twi", 1))
    with pytest.raises(DataError, match=r"a\.txt.*CRC"):
        list(mrpy.read_text(f"zip://*::{tmp_path}/a.zip", backend="serial"))
    found = mrpy.read_text(f"zip://*::{tmp_path}/a.zip", backend="serial", on_error="skip")
    assert list(found)[-1] == "three"
    assert found.skipped.count == 1


# ---- what goes wrong ------------------------------------------------------------------------------------------


@FEW
@given(lines=st.lists(st.sampled_from([b"fine", b"", b"b\xffd", b"\xc3", "ü".encode()]), max_size=30), blocksize=st.integers(1, 60))
def test_each_line_that_is_no_text_is_one_error_with_its_offset(tmp_path: Path, lines: list[bytes], blocksize: int) -> None:
    data = b"".join(line + b"\n" for line in lines)
    path = written(tmp_path / "a.txt", data)
    got = list(mrpy.read_text(path, blocksize=blocksize, backend="serial", on_error="return"))
    at = 0
    for line, item in zip(lines, got, strict=True):
        try:
            assert item == line.decode()
        except UnicodeDecodeError as error:
            assert isinstance(item, DataError) and (item.path, item.offset) == (str(path), at + error.start)
        at += len(line) + 1


@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize("careful", [{}, {"retries": 1}, {"timeout": 30}])
def test_a_bad_line_goes_by_on_error_and_its_neighbours_are_there(tmp_path: Path, backend: str, careful: dict[str, Any]) -> None:
    path = written(tmp_path / "a.txt", b"one\nt\xffo\nthree\nfour\n")
    options: dict[str, Any] = {"blocksize": None, "backend": backend, "workers": 1, **careful}
    with pytest.raises(DataError, match=r"a\.txt, byte 5: invalid start byte") as caught:
        list(mrpy.read_text(path, **options).map(str.upper))
    assert "byte 4" in caught.value.__notes__[0]
    assert list(mrpy.read_text(path, on_error="skip", **options).map(str.upper)) == ["ONE", "THREE", "FOUR"]
    assert list(mrpy.read_text(path, on_error=lambda error: error.offset, **options)) == ["one", 5, "three", "four"]
    assert mrpy.read_text(path, on_error="skip", **options).map(len).sum() == 12
    assert list(mrpy.read_text(path, on_error="skip", **options).group_by(len))


@pytest.mark.parametrize("careful", [{}, {"retries": 1}])
def test_the_error_of_a_step_says_which_line_it_was(tmp_path: Path, careful: dict[str, Any]) -> None:
    path = written(tmp_path / "a.txt", b"1\n2\nx\n4\n")
    for run in (list, lambda numbers: numbers.sum()):
        with pytest.raises(ValueError, match="invalid literal") as caught:
            run(mrpy.read_text(path, blocksize=None, workers=1, **careful).map(int))
        assert f"'{path}', byte 4" in caught.value.__notes__[0]
    assert list(mrpy.read_text(path, blocksize=None, on_error="skip", workers=1, **careful).map(int)) == [1, 2, 4]


def test_retries_try_a_line_and_not_its_block(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", b"1\n2\n3\n")
    tried: list[str] = []

    def second_time(line: str) -> int:
        tried.append(line)
        if line == "2" and tried.count("2") < 2:
            raise OSError("not yet")
        return int(line)

    assert list(mrpy.read_text(path, blocksize=None, retries=1, backend="serial").map(second_time)) == [1, 2, 3]
    assert tried == ["1", "2", "2", "3"]


def test_retries_open_a_file_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.txt", b"1\n2\n")
    opened: list[str] = []

    def flaky(self: Opening, path: str) -> Any:
        opened.append(path)
        if len(opened) < 3:
            raise TimeoutError(110, "no answer")
        return open(path, "rb")

    monkeypatch.setattr(Opening, "_raw", flaky)
    assert list(mrpy.read_text(path, blocksize=None, retries=2, backend="serial")) == ["1", "2"]
    opened.clear()
    with pytest.raises(TimeoutError) as caught:
        list(mrpy.read_text(path, blocksize=None, retries=1, backend="serial"))
    assert caught.value.filename == str(path)


@pytest.mark.parametrize("name, problem", [("a.txt", FileNotFoundError("memory://a.txt")), ("a.txt", OSError("connection reset by peer")), ("a.txt.gz", PermissionError("Forbidden"))])
def test_what_cannot_be_had_for_a_moment_is_no_damage(monkeypatch: pytest.MonkeyPatch, name: str, problem: OSError) -> None:
    memory = pytest.importorskip("fsspec").filesystem("memory")
    memory.pipe(f"/{name}", gzip.compress(b"1\n2\n") if name.endswith(".gz") else b"1\n2\n")
    real, opened = type(memory)._open, []

    def flaky(self: Any, path: str, *args: Any, **how: Any) -> Any:
        opened.append(path)
        if len(opened) < 3:
            raise problem
        return real(self, path, *args, **how)

    monkeypatch.setattr(type(memory), "_open", flaky)
    assert list(mrpy.read_text(f"memory://{name}", retries=2, backend="serial")) == ["1", "2"]
    opened.clear()
    with pytest.raises(type(problem), match=str(problem)) as caught:
        list(mrpy.read_text(f"memory://{name}", backend="serial"))
    assert f"memory://{name}" in caught.value.__notes__[0]


@pytest.mark.parametrize("backend", ["processes"])
def test_a_worker_that_dies_while_it_reads_costs_nothing(tmp_path: Path, backend: str) -> None:
    path = written(tmp_path / "a.txt", b"".join(b"%d\n" % n for n in range(5000)))
    mark = tmp_path / "died"

    def dies_once(line: str) -> int:
        if line == "2500" and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), 9)
        return int(line)

    lines = mrpy.read_text(path, backend=backend, workers=2, blocksize=3000)
    assert list(lines.map(dies_once)) == list(range(5000))


@pytest.mark.parametrize("left", [1, 9, 100])
def test_a_zstd_file_that_was_cut_off_is_an_error(tmp_path: Path, left: int) -> None:
    pytest.importorskip("backports.zstd")
    whole = zstd().compress("".join(f"line {n * n}\n" for n in range(1000)).encode())
    with pytest.raises(DataError, match="it cannot be unpacked"):
        list(mrpy.read_text(written(tmp_path / "a.zst", whole[:left]), backend="serial"))


@pytest.mark.parametrize("cut", [10, 2000, -9, -4])
def test_a_damaged_gzip_gives_what_comes_before_the_damage(tmp_path: Path, cut: int) -> None:
    data = b"".join(b"%d %d\n" % (n, n * n % 997) for n in range(200_000))
    path = written(tmp_path / "a.gz", gzip.compress(data)[:cut])
    got = list(mrpy.read_text(path, backend="serial", on_error="return"))
    assert isinstance(got[-1], DataError) and "cannot be unpacked" in str(got[-1]) and got[-1].path == str(path)
    assert got[:-1] == data.decode().split("\n")[: len(got) - 1]
    assert cut > 0 or len(got) > 190_000
    with pytest.raises(DataError):
        mrpy.read_text(path, backend="serial").count()


def test_other_damage_is_a_data_error_too(tmp_path: Path) -> None:
    good = lzma.compress(b"line\n" * 100_000)
    for name, data in (("a.xz", good[: len(good) // 2]), ("b.xz", good[:40] + b"?" * 9 + good[49:]), ("c.bz2", b"no"), ("d.gz", b"nothing of the kind")):
        path = written(tmp_path / name, data)
        with pytest.raises(DataError, match="cannot be unpacked"):
            list(mrpy.read_text(path, workers=1))


def test_utf_16_with_a_bad_line_loses_that_line_only(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "one\n".encode("utf-16-le") + b"\x00\xdc" + "\nthree\n".encode("utf-16-le"))
    assert list(mrpy.read_text(path, "utf-16-le", backend="serial", on_error="skip")) == ["one", "three"]


def test_a_file_that_vanishes_is_an_error_that_names_it(tmp_path: Path) -> None:
    a, b = written(tmp_path / "a.txt", b"one\n"), written(tmp_path / "b.txt", b"two\n")
    lines = mrpy.read_text([a, b], backend="serial", on_error="return", retries=1)
    a.unlink()
    gone, two = lines
    assert isinstance(gone, FileNotFoundError) and gone.filename == str(a) and two == "two"


@pytest.mark.parametrize("left, whole", [(0, 0), (4, 1), (5, 1), (8, 2), (38, 9)])
def test_a_file_that_shrinks_is_an_error_behind_what_is_left(tmp_path: Path, left: int, whole: int) -> None:
    path = written(tmp_path / "a.txt", b"abc\n" * 10)
    for blocksize in (None, 40, 3, 10):
        path.write_bytes(b"abc\n" * 10)
        lines = mrpy.read_text(path, blocksize=blocksize, backend="serial", on_error="return")
        os.truncate(path, left)
        got = list(lines)
        if blocksize is None:
            assert got == plain(path)
            continue
        assert got[:whole] == ["abc"] * whole
        assert got[whole:] and all(isinstance(item, DataError) and "longer when the run" in str(item) for item in got[whole:])


@pytest.mark.parametrize("left", [0, 1])
@pytest.mark.parametrize("name", ["a.txt.gz", "a.txt.bz2", "a.txt.xz", "a.csv.gz", "a.jsonl.gz", "a.fasta.gz", "a.records.gz", "a.16.gz"])
def test_a_packed_file_of_which_whole_streams_are_lost_is_an_error_behind_what_is_left(tmp_path: Path, name: str, left: int) -> None:
    """What is left can be unpacked, so nothing but its size says so. Half a line is no line."""
    pack = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[name.split(".")[-1]]
    text, half = {"a.csv.gz": ("a\n1\n2\n", "3"), "a.fasta.gz": (">a\nAC\n>b\nAC\n", ">c\n"), "a.16.gz": ("1\n2\n", "")}.get(name, ("1\n2\n", "3"))
    reads: dict[str, Callable[..., Any]] = {
        "a.csv.gz": mrpy.read_csv, "a.jsonl.gz": mrpy.read_jsonl, "a.fasta.gz": mrpy.read_fasta,
        "a.records.gz": lambda path, **how: mrpy.read_records(path, 2, **how), "a.16.gz": partial(mrpy.read_text, encoding="utf-16"),
    }  # fmt: skip
    first = pack((text + half).encode("utf-16" if name == "a.16.gz" else "utf-8"))
    path = written(tmp_path / name, first + pack(b"more of it\n"))
    items = reads.get(name, mrpy.read_text)(path, backend="serial", on_error="return")
    os.truncate(path, len(first) * left)
    *got, error = items
    assert len(got) <= 2 * left
    assert isinstance(error, DataError)


def test_a_copy_on_another_machine_may_be_packed_in_another_way() -> None:
    here = Origin("here", 1, 2, 3, 100)
    assert here.has_shrunk(Origin("here", 1, 2, 3, 99))
    for other in (Origin("here", 1, 2, 3, 100), Origin("here", 1, 2, 3, 101), Origin("there", 1, 2, 3, 99)):
        assert not here.has_shrunk(other)


@pytest.mark.parametrize("left", range(43, 56))
def test_of_a_file_that_shrinks_half_a_line_is_no_line(tmp_path: Path, left: int) -> None:
    data = b"".join(b"%d\n" % n for n in range(100, 120))
    path = written(tmp_path / "a.txt", data)
    for blocksize in (10, 15, 17):
        path.write_bytes(data)
        lines = mrpy.read_text(path, blocksize=blocksize, backend="serial", on_error="skip")
        os.truncate(path, left)
        assert list(lines) == [f"{n}" for n in range(100, 100 + left // 4)]
        assert "longer when the run" in str(lines.skipped)


def test_a_file_that_grows_is_read_to_the_end_of_its_last_line(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", b"one\ntw")
    lines = mrpy.read_text(path, blocksize=6, backend="serial")
    path.write_bytes(b"one\ntwo\nthree\n")
    assert list(lines) == ["one", "two"]


def test_a_checkpoint_of_other_files_is_refused(tmp_path: Path) -> None:
    path, kept = written(tmp_path / "a.txt", b"one\n"), tmp_path / "kept"
    assert list(mrpy.read_text(path, checkpoint=kept, backend="serial")) == ["one"]
    assert list(mrpy.read_text(path, checkpoint=kept, backend="serial")) == ["one"]
    path.write_bytes(b"other\n")
    for _ in range(2):
        with pytest.raises(mrpy.errors.CheckpointError, match="a run over other files or rows: they were changed"):
            list(mrpy.read_text(path, checkpoint=kept, backend="serial"))
    with pytest.raises(mrpy.errors.CheckpointError, match="another program: its functions were changed"):
        list(mrpy.read_text(path, checkpoint=kept, backend="serial").map(str.upper))


# ---- JSON lines -----------------------------------------------------------------------------------------------


@FEW
@given(values=st.lists(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5), max_size=15), blocksize=st.integers(1, 99))
def test_json_lines(tmp_path: Path, values: list[Any], blocksize: int) -> None:
    text = "".join(json.dumps(value, ensure_ascii=False) + ["\n", "\r\n", "\n \n"][number % 3] for number, value in enumerate(values))
    path = written(tmp_path / "a.jsonl", text.encode("utf-8", "surrogatepass") if text.isprintable() else json.dumps(values).encode())
    expected = [json.loads(line) for line in plain(path) if line.strip()]
    assert list(mrpy.read_jsonl(path, blocksize=blocksize, backend="serial")) == expected


def test_a_line_that_is_no_json_is_a_data_error(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", '\ufeff{"a": 1}\n\n{"a": \n[2]\n'.encode())
    with pytest.raises(DataError, match=r"a\.jsonl, byte 13: Expecting value") as caught:
        list(mrpy.read_jsonl(path, blocksize=None, workers=1))
    assert caught.value.offset == 13
    assert list(mrpy.read_jsonl(path, blocksize=None, on_error="skip", backend="serial")) == [{"a": 1}, [2]]


@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize("begin", ["[", '{"a":'])
def test_json_that_is_nested_too_deeply_is_a_data_error(tmp_path: Path, begin: str, backend: str) -> None:
    path = written(tmp_path / "a.jsonl", f"1\n{begin * 100_000}\n3\n".encode())
    one, error, three = mrpy.read_jsonl(path, backend=backend, workers=1, on_error="return")
    assert (one, three, type(error), error.path, error.offset) == (1, 3, DataError, str(path), 2)
    assert "recursion depth exceeded" in error.why


# ---- only text -----------------------------------------------------------------------------------------------


def as_table(path: Path, lines: list[str]) -> Path:
    """These lines as a column of a Parquet or an Arrow file, in groups of a thousand."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.ipc
    import pyarrow.parquet

    table = pa.table({"line": lines})
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(table, path, row_group_size=1000)
    else:
        with pyarrow.ipc.new_file(path, table.schema) as file:
            file.write_table(table, 1000)
    return path


def as_lines(path: Path, lines: list[str]) -> Path:
    data = "".join(f"{line}\n" for line in lines).encode("utf-16" if path.suffix == ".16" else "utf-8")
    return written(path, gzip.compress(data) if path.suffix == ".gz" else data)


READ: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {  # in parts
    "a.txt": (as_lines, mrpy.read_text),
    "a.records": (as_lines, lambda path, **how: mrpy.read_records(path, "S4", **how)),
    "a.csv": (as_lines, mrpy.read_csv),
    "a.parquet": (as_table, lambda path, *, blocksize, **how: mrpy.read_parquet(path, **how)),
    "a.arrow": (as_table, lambda path, *, blocksize, **how: mrpy.read_parquet(path, **how)),
}  # fmt: skip


@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize("name", READ)
def test_a_file_that_is_replaced_meanwhile_is_an_error_and_one_that_grows_is_none(
    tmp_path: Path, backend: str, name: str
) -> None:
    """The answer was of two files, of which neither was read whole."""
    write, reads = READ[name]
    path = write(tmp_path / name, ["old"] * 50_001)
    os.utime(path, (1, 1))  # else both may be of one tick of the clock

    def read() -> Any:
        return reads(path, blocksize=40_000, backend=backend, workers=2, buffersize=2)

    if write is as_lines:
        with read() as lines:
            got = [next(lines)]
            with path.open("ab") as file:
                file.write(b"new\n" * (name != "a.csv"))  # of which the names of columns take one
            assert len(got + list(lines)) == 50_001 - (name == "a.csv")
    with read() as lines, pytest.raises(DataError, match="another file than when the run was made"):
        next(lines)
        write(tmp_path / f"b{path.suffix}", ["new"] * 60_000).replace(path)
        list(lines)


@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize("name", [*READ, "a.gz", "large.gz", "a.csv.gz", "a.16"])
def test_a_file_that_was_replaced_before_it_is_read_is_an_error(
    tmp_path: Path, backend: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is cut, one item, or read by the consumer: what it was cut for is gone."""
    monkeypatch.setattr(handed, "LARGE", 0 if name == "large.gz" else 1 << 20)
    reads = mrpy.read_csv if name == "a.csv.gz" else mrpy.read_text
    how = {"encoding": "utf-16"} if name == "a.16" else {}
    write, reads = READ.get(name, (as_lines, reads))
    path = write(tmp_path / name, ["old"] * 10)
    os.utime(path, (1, 1))  # else both may be of one tick of the clock
    rows = reads(path, blocksize=20, backend=backend, workers=2, **how)
    write(tmp_path / f"b{path.suffix}", ["new"] * 10).replace(path)
    with pytest.raises(DataError, match="another file than when the run was made") as caught:
        list(rows)
    assert caught.value.path == str(path)
    assert len(list(reads(path, blocksize=20, backend=backend, workers=2, **how))) >= 9


def test_a_file_of_a_folder_of_texts_is_read_as_it_is_by_then(tmp_path: Path) -> None:
    """Each is read as a whole, so it is one of the two: not passed over, as what is no text."""
    for name in ("a.txt", "b.gz"):
        as_lines(tmp_path / name, ["old"])
    lines = mrpy.read_text(tmp_path, only_text=True, backend="serial")
    for name in ("a.txt", "b.gz"):
        as_lines(tmp_path / f".new.{name}", ["new", name]).replace(tmp_path / name)
    assert list(lines) == ["new", "a.txt", "new", "b.gz"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_a_name_under_proc_stands_for_another_file_in_each_process() -> None:
    assert mrpy.read_text("/proc/self/status", backend="processes", workers=1).count() > 10


def test_a_copy_on_another_machine_is_the_same_file() -> None:
    """As one whose number is new, as some file systems have it, but that was not changed."""
    here = Origin("here", 1, 2, 3)
    assert here.has_gone(Origin("here", 1, 4, 5))
    for other in (Origin("there", 1, 4, 5), Origin("here", 2, 4, 5), Origin("here", 1, 4, 3), Origin("here", 1, 2, 5)):
        assert not here.has_gone(other)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A folder with two texts, and with what is none: at its end, by its encoding, by its packing."""
    written(tmp_path / "a.txt", b"one\ntwo\n")
    written(tmp_path / "b.gz", gzip.compress(b"three\n"))
    written(tmp_path / "late", b"text\n" * 100_000 + b"\0")
    written(tmp_path / "latin", "four\nfünf\n".encode("latin-1"))
    written(tmp_path / "plain.gz", b"six\n")
    return tmp_path


@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_file_in_a_directory_that_is_no_text_is_passed_over_as_a_whole(
    mixed: Path, backend: str, on_error: str
) -> None:
    lines = mrpy.read_text(mixed, only_text=True, blocksize=4, backend=backend, on_error=on_error)
    assert list(lines) == ["one", "two", "three"]
    replaced = mrpy.read_text(mixed, errors="replace", only_text=True, backend=backend)
    assert list(replaced) == ["one", "two", "three", "four", "f\ufffdnf"]


@pytest.mark.parametrize(("name", "offset"), [("late", 500_000), ("latin", 6), ("plain.gz", 0)])
def test_a_file_that_is_no_text_and_was_named_is_an_error(mixed: Path, name: str, offset: int) -> None:
    with pytest.raises(DataError) as caught:
        list(mrpy.read_text(mixed / name, only_text=True, backend="serial"))
    assert (caught.value.path, caught.value.offset) == (str(mixed / name), offset)


PACKED = gzip.compress(random.Random(1).randbytes(600_000).hex().encode(), 1)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (PACKED[:20], "it cannot be unpacked: Compressed file ended"),
        (PACKED[:-9], "it cannot be unpacked: Compressed file ended"),
        (PACKED[:-8] + bytes(8), "it cannot be unpacked: CRC check failed"),
    ],
    ids=["its beginning", "its end", "what is behind it"],
)
def test_a_file_in_a_directory_of_which_some_is_lost_is_not_passed_over(mixed: Path, data: bytes, says: str) -> None:
    """The same as in one that was named: what was text once is no file that is none."""
    written(mixed / "c.gz", data)
    with pytest.raises(DataError, match=says) as caught:
        list(mrpy.read_text(mixed, only_text=True, backend="serial"))
    assert caught.value.path == str(mixed / "c.gz")
    lines = mrpy.read_text(mixed, only_text=True, backend="serial", on_error="skip")
    assert (list(lines), lines.skipped.count) == (["one", "two", "three"], 1)


@pytest.mark.parametrize("gone", [False, True])
def test_a_file_in_a_directory_that_cannot_be_read_is_not_passed_over(mixed: Path, gone: bool) -> None:
    """So it was, as if it were no text: with too many open files lines were missing, in silence."""
    (mixed / "c.txt").symlink_to("/proc/self/mem")  # can be opened, not read
    lines = mrpy.read_text(mixed, only_text=True, backend="serial")
    if gone:
        (mixed / "c.txt").unlink()
    with pytest.raises(OSError) as caught:
        list(lines)
    assert (caught.value.filename, caught.value.errno) == (str(mixed / "c.txt"), errno.ENOENT if gone else errno.EIO)


def test_what_is_no_file_in_a_directory_is_passed_over(mixed: Path) -> None:
    os.mkfifo(mixed / "pipe")
    (mixed / "nowhere").symlink_to("nothing")
    (mixed / "circle").symlink_to("circle")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as made, contextlib.chdir(mixed):  # its name has to be short
        made.bind("socket")
    assert list(mrpy.read_text(mixed, only_text=True, backend="serial")) == ["one", "two", "three"]


@pytest.mark.parametrize("pack", [open, gzip.open])
def test_a_large_file_that_was_found_is_not_held_in_memory(tmp_path: Path, pack: Callable[..., Any]) -> None:
    line, count = "a line of text, and more of it. " * 10 + "\n", 60_000
    with pack(tmp_path / "large.txt.gz" if pack is gzip.open else tmp_path / "large.txt", "wt") as file:
        file.writelines(line for _ in range(count))
    tracemalloc.start()
    try:
        assert mrpy.read_text(tmp_path, only_text=True, backend="serial").count() == count
        assert tracemalloc.get_traced_memory()[1] < 12 << 20, "of 19 MB"
    finally:
        tracemalloc.stop()
    with pack(tmp_path / "large.txt.gz" if pack is gzip.open else tmp_path / "large.txt", "ab") as file:
        file.write(b"\0\n")
    assert mrpy.read_text(tmp_path, only_text=True, backend="serial").count() == 0


def test_of_a_named_file_the_lines_with_a_nul_are_one_error_each(tmp_path: Path) -> None:
    path = written(tmp_path / "a", b"one\nt\0o\nthree\n\0\0\nfive")
    for blocksize in (1, 5, None):
        lines = mrpy.read_text(path, only_text=True, blocksize=blocksize, on_error="return", backend="serial")
        one, two, three, four, five = lines
        assert [one, three, five] == ["one", "three", "five"]
        assert [(error.offset, error.why) for error in (two, four)] == [
            (5, "a NUL, as in binary files"), (14, "a NUL, as in binary files")
        ]  # fmt: skip
    assert list(mrpy.read_text(path, backend="serial"))[1] == "t\0o"

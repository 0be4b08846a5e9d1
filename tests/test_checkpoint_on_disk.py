"""A checkpoint of what does not fit into memory: the rest lies in files beside it, and is no less trusted."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mrpy
from mrpy.errors import CheckpointError, OptionError, SpillError
from mrpy.mapreduce import spill
from mrpy.mapreduce.kept_runs import KeptRuns

HERE = ("serial", "threads", "processes")  # where a run may go to disk
COUNT = 600
BROKEN = 400  # the item that raises, or kills, as long as there is a file of the name "broken"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the checkpoint is. The folder for temporary files is another, and has none of ours at the end."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield tmp_path
    assert list(temporary.glob(f"{spill.PREFIX}*")) == []


class Program:
    """A MapReduce, or a sort, that notes which items it has mapped."""

    def __init__(self, kind: str, folder: Path, backend: str, memory: int = 1) -> None:
        self.kind, self.folder = kind, folder
        self.options = {"backend": backend, "workers": 2, "memory": memory, "checkpoint": folder / "c"}

    def __call__(self, source: Iterable[int] = range(COUNT), **options: Any) -> list[Any]:
        options = {**self.options, **options}
        if self.kind == "sorted":
            return mrpy.pmap(downwards(self.folder), source, **options).sorted().to_list()
        combiner = total if self.kind == "combined" else None
        return list(mrpy.mapreduce(pairs(self.folder), total, source, combiner=combiner, **options))

    def plainly(self) -> list[Any]:
        return self(backend="serial", memory=10**9, checkpoint=None)

    def ran(self) -> list[int]:
        """The items that were mapped since this was asked last."""
        path = self.folder / "ran"
        numbers = sorted(map(int, path.read_text().split())) if path.exists() else []
        path.unlink(missing_ok=True)
        return numbers

    def files(self) -> list[Path]:
        return sorted((self.folder / "c.runs").glob(f"*{spill.RUN}"))


kills: list[bool] = []  # whether that is to be the end of the process


def noting(folder: str, number: int) -> None:
    # no `with open`: a thread that is stopped between the two leaves a file object open
    fd = os.open(f"{folder}/ran", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{number}\n".encode())
    os.close(fd)
    if number == BROKEN and os.path.exists(f"{folder}/broken"):
        raise ValueError("not today")
    if number == BROKEN and kills:
        os.kill(os.getpid(), signal.SIGKILL)  # on threads: all of it


def pairs(folder: Path) -> Callable[[int], list[tuple[str, float]]]:
    where = str(folder)

    def mapper(number: int) -> list[tuple[str, float]]:
        noting(where, number)
        return [(f"key {number % 50}", 0.1 * number), ("all", 1.0 / (number + 1))]

    return mapper


def downwards(folder: Path) -> Callable[[int], str]:
    where = str(folder)

    def function(number: int) -> str:
        noting(where, number)
        return f"{COUNT - number:05} of many" * 40

    return function


def once() -> Iterator[int]:
    """A source that can be read once."""
    yield from range(COUNT)


def total(key: object, values: Iterator[float]) -> float:
    return sum(values)


def all_kinds(test: Callable[..., None]) -> Any:
    return pytest.mark.parametrize("kind", ["grouped", "combined", "sorted"])(test)


@all_kinds
@pytest.mark.parametrize("backend", HERE)
def test_what_does_not_fit_is_on_disk_and_is_not_computed_again(kind: str, backend: str, folder: Path) -> None:
    program = Program(kind, folder, backend)
    plain = program.plainly()
    program.ran()
    assert program() == plain
    assert program.ran() == list(range(COUNT))
    assert (files := program.files())
    assert {path.stat().st_mode & 0o777 for path in (files[0], folder / "c")} == {0o600}
    assert (folder / "c.runs").stat().st_mode & 0o777 == 0o700
    assert program() == plain
    assert program.ran() == []
    assert program.files() == files


@all_kinds
@pytest.mark.parametrize("backend", HERE)
def test_a_run_that_failed_goes_on_and_clears_up(kind: str, backend: str, folder: Path) -> None:
    program = Program(kind, folder, backend)
    plain = program.plainly()
    (folder / "broken").touch()
    with pytest.raises(ValueError, match="not today"):
        program()
    (folder / "broken").unlink()
    stray = folder / "c.runs" / f"{'0' * 32}{spill.RUN}"
    stray.write_bytes(b"half of it")
    program.ran()
    assert program() == plain
    again = program.ran()
    assert BROKEN in again
    assert 0 not in again
    assert not stray.exists()


@all_kinds
def test_a_run_whose_parent_was_killed_goes_on(kind: str, folder: Path) -> None:
    program = Program(kind, folder, "processes")
    plain = program.plainly()
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import test_checkpoint_on_disk as here

here.kills.append(True)
here.Program({kind!r}, Path({str(folder)!r}), "threads")()
"""
    killed = subprocess.run([sys.executable, "-c", script], timeout=120)
    assert killed.returncode == -9
    program.ran()
    assert program() == plain
    again = program.ran()
    assert BROKEN in again
    assert 0 not in again


@all_kinds
def test_a_checkpoint_that_was_moved_is_as_good(kind: str, folder: Path) -> None:
    program = Program(kind, folder, "serial")
    plain = program()
    program.ran()
    (folder / "elsewhere").mkdir()
    shutil.move(folder / "c", folder / "elsewhere" / "d")
    shutil.move(folder / "c.runs", folder / "elsewhere" / "d.runs")
    assert program(checkpoint=folder / "elsewhere" / "d") == plain
    assert program.ran() == []


@all_kinds
@pytest.mark.parametrize("loss", ["one", "cut", "all"])
def test_what_is_lost_of_it_is_computed_again(kind: str, loss: str, folder: Path) -> None:
    program = Program(kind, folder, "serial")
    plain = program()
    program.ran()
    if loss == "all":
        shutil.rmtree(folder / "c.runs")
    elif loss == "one":
        program.files()[0].unlink()
    else:
        os.truncate(program.files()[0], 20)
    assert program() == plain
    again = program.ran()
    assert again
    assert loss == "all" or len(again) < COUNT
    assert program() == plain
    assert program.ran() == []


def damage(path: Path) -> None:
    """Another byte at the end of it."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@all_kinds
@pytest.mark.parametrize("backend", HERE)
@pytest.mark.parametrize("number", [1, 3])
def test_what_is_damaged_is_computed_again(kind: str, backend: str, number: int, folder: Path) -> None:
    program = Program(kind, folder, backend)
    plain = program(once(), chunksize=50)
    program.ran()
    for path in program.files()[:number]:
        damage(path)
    assert program(once(), chunksize=50) == plain
    assert 0 < len(program.ran()) < COUNT
    assert program(once(), chunksize=50) == plain
    assert program.ran() == []


FILE_ROWS = ("delete from file", "update file set first = 300", "update file set writer = cast(x'ff' as text)")


@pytest.mark.parametrize("change", FILE_ROWS)
@pytest.mark.parametrize("kind", ["grouped", "sorted"])
def test_what_the_file_does_not_say_of_a_chunk_is_computed_again(kind: str, change: str, folder: Path) -> None:
    """Else its files would be swept away when the others are there."""
    program = Program(kind, folder, "serial")
    plain = program(chunksize=50)
    program.ran()
    with sqlite3.connect(folder / "c") as file:
        file.execute(f"{change} where first = 100")
        file.execute("delete from chunk where first = 300")
    file.close()
    assert program(chunksize=50) == plain
    assert program.ran() == [*range(100, 150), *range(300, 350)]
    assert program(chunksize=50) == plain
    assert program.ran() == []


@pytest.mark.parametrize("kind", ["grouped", "sorted"])
def test_what_is_damaged_while_it_runs_is_an_error_and_the_next_run_computes_it_again(
    kind: str, folder: Path
) -> None:
    program = Program(kind, folder, "serial")
    plain = program()
    if kind == "sorted":
        run: Any = mrpy.pmap(downwards(folder), range(COUNT), **program.options).sorted()
    else:
        run = mrpy.mapreduce(pairs(folder), total, range(COUNT), **program.options)
    begun = iter(run)
    next(begun)
    for path in program.files():
        damage(path)
    with pytest.raises(SpillError, match="damaged"):
        list(begun)
    program.ran()
    assert program() == plain
    assert program.ran()


def test_a_resumed_sort_does_not_hold_what_it_finds(folder: Path) -> None:
    """Many small parts, each of which would have stayed in memory."""
    program = Program("sorted", folder, "threads", memory=10**9)
    plain = program(chunksize=10)
    assert program.files() == []
    run = mrpy.pmap(downwards(folder), range(COUNT), **program.options | {"memory": 1}).sorted()
    begun = iter(run)
    assert next(begun) == plain[0]
    assert list((folder / "temporary").glob(f"*/*{spill.RUN}"))
    assert [plain[0], *begun] == plain


def test_where_all_fits_there_is_no_folder(folder: Path) -> None:
    for kind in ("grouped", "combined", "sorted"):
        program = Program(kind, folder, "processes", memory=10**9)
        plain = program()
        program.ran()
        assert program() == plain
        assert program.ran() == []
        assert not (folder / "c.runs").exists()
        (folder / "c").unlink()


def test_a_checkpoint_of_this_machine_goes_on_on_dask(folder: Path) -> None:
    """Its workers may be elsewhere, where the files are not."""
    program = Program("combined", folder, "serial")
    plain = program()
    program.ran()
    for _ in range(2):
        assert program(backend="dask") == plain
    assert program.ran() == list(range(COUNT)), "once, and not twice"
    assert program(memory=10**9) == plain
    assert program.ran() == []


def test_a_folder_that_others_may_write_to_is_refused(folder: Path) -> None:
    program = Program("grouped", folder, "serial")
    (folder / "c.runs").mkdir()
    os.chmod(folder / "c.runs", 0o777)
    with pytest.raises(CheckpointError, match="may be written by others"):
        program()
    (folder / "c.runs").rmdir()
    (folder / "c.runs").touch()
    with pytest.raises(CheckpointError, match="is no folder"):
        program()
    (folder / "c.runs").unlink()
    assert program() == program.plainly(), "and the checkpoint itself was let go"


def test_another_run_that_is_refused_leaves_the_folder_alone(folder: Path) -> None:
    program = Program("grouped", folder, "serial")
    begun = iter(mrpy.mapreduce(pairs(folder), total, range(COUNT), **program.options))
    first = next(begun)
    files = program.files()
    with pytest.raises(CheckpointError, match="in use"):
        program()
    assert program.files() == files
    assert [first, *begun] == program.plainly()


# ---- what is not the same program, or not the same class ------------------------------------------------


@pytest.mark.parametrize("memory", [1, 10**9])
def test_another_order_is_another_program(memory: int, folder: Path) -> None:
    items = [(n % 7, -n) for n in range(COUNT)]
    options: dict[str, Any] = {"backend": "serial", "memory": memory, "checkpoint": folder / "c"}
    assert mrpy.stream(items, **options).sorted(key=0).to_list() == sorted(items, key=lambda item: item[0])
    for other in ({"key": 1}, {"key": 0, "reverse": True}, {}):
        with pytest.raises(CheckpointError, match="another program"):
            mrpy.stream(items, **options).sorted(**other).to_list()
    options["checkpoint"] = folder / "d"
    list(mrpy.mapreduce(pairs(folder), total, range(COUNT), **options))
    with pytest.raises(CheckpointError, match="another program"):
        list(mrpy.mapreduce(pairs(folder), total, range(COUNT), sort=True, **options))


SCRIPT = """
import dataclasses, enum, os, sys
import mrpy

@dataclasses.dataclass(frozen=True, order=True)
class Point:
    x: int

class Colour(enum.Enum):
    RED = 1
    GREEN = 2

def pairs(n):
    if n == 400 and sys.argv[1] == "first":
        raise ValueError("not today")
    return [(Point(n % 3), n), (list(Colour)[n % 2], n)]

def total(key, values):
    return sum(values)

options = dict(backend="serial", chunksize=50, memory=int(sys.argv[2]))
try:
    found = list(mrpy.mapreduce(pairs, total, range(600), checkpoint="c", **options))
    assert dict(found) == dict(mrpy.mapreduce(pairs, total, range(600), **options)), found
    assert len(found) == 5, found
except ValueError:
    pass

def point(n):
    if n == 400 and sys.argv[1] == "first":
        raise ValueError("not today")
    return Point(n * 7919 % 600)

for _ in range(2):
    for name in "mapped", "sorted":
        run = mrpy.pmap(point, range(600), checkpoint=name, **options)
        try:
            found = list(run.sorted() if name == "sorted" else run)
            assert {type(each) for each in found} == {Point}
            assert sorted(found) == [Point(x) for x in range(600)]
            assert name == "mapped" or found == sorted(found)
        except ValueError:
            pass
print("all right")
"""


@pytest.mark.parametrize("memory", [1, 10**9])
def test_classes_of_the_main_module_are_the_same_in_the_next_process(memory: int, folder: Path) -> None:
    for which in ("first", "second", "third"):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, which, str(memory)], cwd=folder, text=True, capture_output=True, timeout=120
        )
        assert done.stdout == "all right\n", done.stderr


def test_what_cannot_be_written_is_a_clear_error(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be written"):
        list(mrpy.pmap(lambda n: (i for i in ()), range(3), backend="serial", checkpoint=folder / "c"))


# ---- sessions, and others ------------------------------------------------------------------------------


def test_a_session_may_have_the_checkpoint(folder: Path) -> None:
    with mrpy.session("threads", workers=2, checkpoint=folder / "c", memory=1):
        for _ in range(2):
            assert mrpy.stream(range(5000, 0, -1)).sorted().to_list() == list(range(1, 5001))
    left, right = (mrpy.stream([(n, n)], backend="serial") for n in (1, 1))
    joined = left.join(right, 0, partitions=8)
    with (
        mrpy.session("threads", workers=2, checkpoint=folder / "d"),
        pytest.raises(OptionError, match="no checkpoint"),
    ):
        list(joined)


def test_a_session_that_skips_does_not_skip_what_is_damaged(folder: Path) -> None:
    def once() -> Iterator[int]:
        yield from range(20_000, 0, -1)

    with mrpy.session("threads", workers=2, on_error="skip", memory=1):
        run = iter(mrpy.stream(once()).sorted())
        next(run)
        for path in (folder / "temporary").glob(f"*/*{spill.RUN}"):
            damage(path)
        with pytest.raises(SpillError, match="damaged"):
            list(run)


def test_a_file_is_free_again_where_nothing_of_it_is_on_disk(folder: Path) -> None:
    for kind in ("grouped", "sorted"):
        program = Program(kind, folder, "serial", memory=10**9)
        program.options["checkpoint"] = folder / kind
        if kind == "sorted":
            run: Any = mrpy.pmap(downwards(folder), range(COUNT), **program.options).sorted()
        else:
            run = mrpy.mapreduce(pairs(folder), total, range(COUNT), **program.options)
        begun = iter(run)
        first = next(begun)
        assert [first, *begun] == program()


def test_a_folder_with_files_of_others_is_refused_and_nothing_is_removed(folder: Path) -> None:
    (folder / "c.runs").mkdir()
    (folder / "c.runs" / "monday.run").write_text("mine")
    program = Program("grouped", folder, "serial")
    with pytest.raises(CheckpointError, match="monday"):
        program()
    program(backend="dask")
    assert (folder / "c.runs" / "monday.run").read_text() == "mine"


def test_a_forked_child_leaves_the_folder_alone(folder: Path) -> None:
    runs = KeptRuns(folder / "c", used=True)
    runs.open()
    child = os.fork()
    if child == 0:
        runs.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert (folder / "c.runs").exists()
    runs.close()
    assert not (folder / "c.runs").exists()


@pytest.mark.parametrize("kind", ["grouped", "combined"])
def test_a_run_with_less_memory_than_the_last_computes_again_what_is_too_much(kind: str, folder: Path) -> None:
    program = Program(kind, folder, "serial", memory=10**9)
    plain = program(chunksize=50)
    assert program.files() == []
    program.ran()
    assert program(chunksize=50, memory=1) == plain
    assert 0 < len(program.ran()) <= COUNT
    assert program.files()


def test_a_shorter_source_leaves_the_rest_of_it(folder: Path) -> None:
    program = Program("grouped", folder, "serial")
    plain = program(chunksize=50)
    program.ran()
    program(range(100), chunksize=50)
    assert program(chunksize=50) == plain
    assert program.ran() == []

"""A checkpoint of what does not fit into memory: the rest lies in files beside it, and is no less trusted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mrpy
from mrpy.errors import CheckpointError, SpillError
from mrpy.mapreduce import spill

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


def noting(folder: str, number: int) -> None:
    # no `with open`: a thread that is stopped between the two leaves a file object open
    fd = os.open(f"{folder}/ran", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{number}\n".encode())
    os.close(fd)
    if number == BROKEN and os.path.exists(f"{folder}/broken"):
        raise ValueError("not today")


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
        return f"{COUNT - number:05} of many"

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
    stray = folder / "c.runs" / f"of a task that was killed{spill.RUN}"
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
import os, signal
from pathlib import Path
import test_checkpoint_on_disk as here

def killing(folder, number, noting=here.noting):
    noting(folder, number)
    if number == here.BROKEN:
        os.kill(os.getpid(), signal.SIGKILL)  # on threads: all of it

here.noting = killing
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


@pytest.mark.parametrize("kind", ["grouped", "combined"])
@pytest.mark.parametrize("backend", HERE)
@pytest.mark.parametrize("number", [1, 3])
def test_what_is_damaged_is_made_again_and_put_there(kind: str, backend: str, number: int, folder: Path) -> None:
    program = Program(kind, folder, backend)
    plain = program(chunksize=50)
    program.ran()
    for path in program.files()[:number]:
        damage(path)
    assert program(chunksize=50) == plain
    assert 0 < len(program.ran()) < COUNT
    assert program(chunksize=50) == plain
    assert program.ran() == []


@pytest.mark.parametrize("kind", ["grouped", "sorted"])
def test_where_it_cannot_be_made_again_the_next_run_does_so(kind: str, folder: Path) -> None:
    """A generator is read once; and a sort does not go back."""
    program = Program(kind, folder, "serial")

    def source() -> Iterable[int]:
        return once() if kind == "grouped" else range(COUNT)

    plain = program(source())
    damage(program.files()[0])
    with pytest.raises(SpillError, match="damaged"):
        program(source())
    program.ran()
    assert program(source()) == plain
    assert 0 < len(program.ran()) < COUNT


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
    assert program() == plain
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

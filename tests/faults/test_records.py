"""Rows 1 to 4 and 10 for records of files and of parts: an item of the plan holds many of them, and only the
one that kills its worker, or runs out of time, is lost."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from watching import assert_usable

import mrpy
from mrpy.errors import ItemTimeout, WorkerCrashed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals as Linux has them")

LINES = 400
BAD = (0, 77, 78, 399)
GOOD = [n for n in range(LINES) if n not in BAD]


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """A file that is one block."""
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"{n}\n" for n in range(LINES)))
    return path


def byte(line: int) -> str:
    """Where a line begins, as errors say it."""
    return f", byte {sum(len(f'{n}') + 1 for n in range(line)):,}"


def dying(value: Any) -> int:
    if int(value) in BAD:
        os.kill(os.getpid(), signal.SIGKILL if int(value) % 2 else signal.SIGSEGV)
    return int(value)


def dozing(value: Any) -> int:
    if int(value) in BAD:
        time.sleep(60)
    return int(value)


SOURCES: dict[str, Callable[[Path, dict[str, Any]], Any]] = {
    "file": lambda path, options: mrpy.read_text(path, blocksize=10**6, **options),
    "packed file": lambda path, options: mrpy.read_text(packed(path), **options),
    "parts": lambda _, options: mrpy.stream(range(LINES), **options).repartition(2),
    "parts by key": lambda _, options: mrpy.stream(range(LINES), **options).repartition(2, key=lambda n: n % 2),
}


def packed(path: Path) -> Path:
    import gzip

    there = path.with_suffix(".txt.gz")
    there.write_bytes(gzip.compress(path.read_bytes()))
    return there


@pytest.mark.fault(1, 4)
@pytest.mark.parametrize("source", SOURCES)
def test_records_that_kill_their_workers_are_lost_alone(warm: Any, lines: Path, source: str) -> None:
    run = SOURCES[source](lines, {"on_error": "skip"}).map(dying)
    assert sorted(run) == GOOD
    assert run.skipped.count == len(BAD)
    assert [failure.type_name for failure in run.skipped.failures] == ["WorkerCrashed"] * len(BAD)
    if source == "file":
        where = [failure.item.text for failure in run.skipped.failures]
        assert where == [f"'{lines}'{byte(n)}" for n in BAD]
    assert_usable(warm)


@pytest.mark.fault(2)
@pytest.mark.parametrize(
    ("backend", "source"),
    [("processes", "file"), ("processes", "parts by key"), ("threads", "packed file"), ("serial", "parts")],
)
def test_records_that_run_out_of_time_are_lost_alone(lines: Path, source: str, backend: str) -> None:
    options = {"on_error": "skip", "timeout": 0.5, "backend": backend, "workers": 2}
    run = SOURCES[source](lines, options).map(dozing)
    assert sorted(run) == GOOD
    assert run.skipped.count == len(BAD)


@pytest.mark.fault(1)
@pytest.mark.parametrize("backend", ["processes", "dask"])
def test_errors_stand_at_the_places_of_the_records(lines: Path, backend: str) -> None:
    with mrpy.session(backend, workers=2):
        run = mrpy.read_text(lines, blocksize=10**6, on_error="return").map(dying)
        got: list[Any] = list(run)
    assert [n for n in got if type(n) is int] == GOOD
    for n in BAD:
        assert isinstance(got[n], WorkerCrashed)
        assert got[n].__notes__[-1].endswith(byte(n))


@pytest.mark.fault(1)
def test_what_comes_before_the_record_is_delivered(warm: Any, lines: Path) -> None:
    got = []
    with pytest.raises(WorkerCrashed) as caught:
        for n in mrpy.read_text(lines, blocksize=10**6).filter(lambda line: line != "0").map(dying):
            got.append(n)
    assert got == list(range(1, 77))
    assert caught.value.__notes__[-1].endswith(byte(77))
    assert_usable(warm)


@pytest.mark.fault(1)
def test_a_function_decides_on_records_that_kill(warm: Any, lines: Path) -> None:
    def shown(error: BaseException) -> str:
        return f"{type(error).__name__} at {error.mrpy_item.text}"  # type: ignore[attr-defined]

    got = list(mrpy.read_text(lines, blocksize=10**6, on_error=shown).map(dying))
    assert [got[n] for n in BAD] == [f"WorkerCrashed at '{lines}'{byte(n)}" for n in BAD]
    assert [n for n in got if type(n) is int] == GOOD


ENDS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "sum": (lambda run: run.sum(), sum(GOOD)),
    "count_by": (lambda run: dict(run.count_by(lambda n: n % 3)), {k: sum(n % 3 == k for n in GOOD) for k in range(3)}),
    "group_by": (lambda run: dict(run.group_by(lambda n: n % 3)), {k: [n for n in GOOD if n % 3 == k] for k in range(3)}),
    "sorted": (lambda run: run.sorted(reverse=True).to_list(), GOOD[::-1]),
    "repartition": (lambda run: run.repartition(3).to_list(), GOOD),
}  # fmt: skip


@pytest.mark.fault(1)
@pytest.mark.parametrize("end", ENDS)
def test_all_verbs_go_on_without_them(warm: Any, lines: Path, end: str) -> None:
    finish, wanted = ENDS[end]
    assert finish(mrpy.read_text(lines, blocksize=10**6, on_error="skip").map(dying)) == wanted
    assert_usable(warm)


@pytest.mark.fault(1)
def test_a_sink_writes_all_the_others_once(warm: Any, lines: Path, tmp_path: Path) -> None:
    mrpy.read_text(lines, blocksize=10**6, on_error="skip").map(dying).to_jsonl(tmp_path / "out")
    files = sorted((tmp_path / "out").glob("part-*"))
    assert [json.loads(line) for file in files for line in file.read_text().splitlines()] == GOOD


class Explosive:
    """Kills who opens it."""

    def __reduce__(self) -> Any:
        return os.abort, ()


@pytest.mark.fault(10)
def test_where_reading_itself_kills_the_rest_of_the_block_is_lost(warm: Any) -> None:
    """Its records cannot be passed over."""

    def made(n: int) -> Any:
        return Explosive() if n == 7 else n

    run = mrpy.stream(range(40), on_error="skip", chunksize=5).map(made).repartition(4).map(lambda n: n)
    got = list(run)
    assert [n for n in got if not 0 <= n < 10] == list(range(10, 40))
    assert run.skipped.count >= 1
    assert got[:5] == list(range(5)), "what could be read before is there"
    assert run.skipped.failures[-1].item.text == "what follows record 5 of part 0 of 4"
    assert_usable(warm)


@pytest.mark.fault(1)
def test_a_worker_that_dies_at_random_costs_one_block(warm: Any, lines: Path, tmp_path: Path) -> None:
    """No record is at work in two deaths, yet it has to end."""
    run = mrpy.read_text(lines, blocksize=600, on_error="skip").map(dying_further_on(tmp_path, 50))
    got = sorted(run)
    assert len(got) == len(set(got)) > LINES // 2
    assert run.skipped.count == LINES - len(got)
    assert [failure.item.text for failure in run.skipped.failures] == [f"'{lines}'{byte(n)}" for n in range(5)]
    assert len(list(tmp_path.glob("died-*"))) < 10
    assert_usable(warm)


def dying_further_on(folder: Path, first: int) -> Callable[[str], int]:
    """It kills its worker at this line, then at the one behind it, and so on."""

    def fragile(line: str) -> int:
        marks = len(list(folder.glob("died-*")))
        if int(line) == first + marks:
            (folder / f"died-{marks}").touch()
            os._exit(1)
        return int(line)

    return fragile


@pytest.mark.fault(1)
def test_a_run_that_ends_with_such_a_block_names_that(warm: Any, lines: Path, tmp_path: Path) -> None:
    """And no record of it: each of those at work has been innocent once."""
    with pytest.raises(WorkerCrashed) as caught:
        list(mrpy.read_text(lines, blocksize=10**6).map(dying_further_on(tmp_path, 150)))
    assert caught.value.__notes__[-1].endswith(f"' from 0 to {lines.stat().st_size:,}")


@pytest.mark.fault(1)
@pytest.mark.parametrize("backend", ["processes", "dask"])
def test_each_record_of_a_block_that_was_lost_stands_at_its_place(
    lines: Path, tmp_path: Path, backend: str
) -> None:
    """Whatever `on_error` is: nothing is missing of which nobody says so."""
    with mrpy.session(backend, workers=2):
        run = mrpy.read_text(lines, blocksize=600, on_error="return").map(dying_further_on(tmp_path, 150))
        got: list[Any] = list(run)
    lost = [n for n in range(LINES) if got[n] != n]
    assert len(got) == LINES
    assert 150 in lost
    assert lost == list(range(lost[0], lost[-1] + 1))
    for n in lost:
        assert isinstance(got[n], WorkerCrashed)
        assert got[n].__notes__[-1].endswith(byte(n))


@pytest.mark.fault(1)
def test_a_worker_that_is_killed_from_outside_now_and_then_costs_no_record(
    warm: Any, lines: Path, tmp_path: Path
) -> None:
    """Each time it is at another record, as with somebody who kills at random."""

    def killed(line: str) -> int:
        marks = len(list(tmp_path.glob("died-*")))
        if int(line) == 50 + marks and marks < 6:
            (tmp_path / f"died-{marks}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return int(line)

    run = mrpy.read_text(lines, blocksize=10**6, on_error="skip").map(killed).map(str)
    written = run.to_text(tmp_path / "out")
    assert [int(line) for path in written.paths for line in Path(path).read_text().split()] == list(range(LINES))
    assert run.skipped.count == 0
    assert len(list(tmp_path.glob("died-*"))) == 6


@pytest.mark.fault(2)
def test_a_timeout_is_raised_at_its_record(warm: Any, lines: Path) -> None:
    with pytest.raises(ItemTimeout) as caught:
        list(mrpy.read_text(lines, blocksize=10**6, timeout=0.5).map(dozing))
    assert caught.value.__notes__[-1].endswith(byte(0))


# ---- whose time it is ------------------------------------------------------------------------------------------


@pytest.mark.fault(2)
@pytest.mark.parametrize("backend", ["processes", "threads", "serial"])
@pytest.mark.parametrize("source", ["stream", "file"])
def test_the_time_of_on_error_is_no_items(lines: Path, backend: str, source: str) -> None:
    def slowly(error: BaseException) -> int:
        time.sleep(0.6)
        return -1

    def failing(value: Any) -> int:
        if int(value) == 20:
            time.sleep(60)
        if int(value) == 21:
            raise ValueError(value)
        return int(value)

    options: dict[str, Any] = {"timeout": 0.5, "on_error": slowly, "backend": backend, "workers": 2}
    if source == "file":
        run = mrpy.read_text(lines, blocksize=10**6, **options).map(failing)
    else:
        run = mrpy.stream(range(LINES), chunksize=LINES, **options).map(failing)
    assert list(run) == [-1 if n in (20, 21) else n for n in range(LINES)]


@pytest.mark.fault(2)
@pytest.mark.parametrize("backend", ["processes", "threads", "serial"])
@pytest.mark.parametrize("source", ["stream", "file"])
def test_a_timeout_is_not_that_of_a_whole_fold(lines: Path, backend: str, source: str) -> None:
    def step(total: int, value: Any) -> int:
        time.sleep(0.005)
        return total + int(value)

    options: dict[str, Any] = {"timeout": 0.5, "backend": backend, "workers": 2}
    if source == "file":
        run = mrpy.read_text(lines, blocksize=10**6, **options)
    else:
        run = mrpy.stream(range(LINES), chunksize=LINES, **options)
    assert run.fold(step, 0) == sum(range(LINES))


@pytest.mark.fault(2)
@pytest.mark.parametrize("backend", ["processes", "threads", "serial"])
def test_a_fold_that_does_not_end_is_stopped_all_the_same(backend: str) -> None:
    def step(total: int, n: int) -> int:
        time.sleep(60)
        return total

    with pytest.raises(ItemTimeout):
        mrpy.stream(range(4), timeout=0.3, chunksize=4, backend=backend, workers=2).fold(step, 0)


# ---- very many errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_error", ["skip", "return"])
def test_where_each_of_many_bad_records_was_is_found_in_passing(tmp_path: Path, on_error: str) -> None:
    """It took longer with each: a minute for these."""
    path = tmp_path / "bad.txt"
    path.write_text("x\n" * 20_000)
    run = mrpy.read_text(path, blocksize=10**7, backend="serial", on_error=on_error).map(int)
    began = time.monotonic()
    got = list(run)
    assert time.monotonic() - began < 20
    assert run.skipped.count == 20_000 or (len(got) == 20_000 and got[-1].__notes__[-1].endswith("byte 39,998"))

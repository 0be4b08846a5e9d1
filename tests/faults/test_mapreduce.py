"""Workers and parents that die while a shuffle or a sort goes on, in memory and on disk: the same answer."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from laws import eventually
from watching import assert_usable, once, run_script, running_script

import mrpy
from mrpy.errors import WorkerCrashed
from mrpy.mapreduce.groups import key_said
from mrpy.mapreduce.spill import PREFIX

pytestmark = pytest.mark.fault(1)

RECORDS = range(1200)
PHASES = ("map", "late map", "reduce", "reduce amid its values", "combine")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def mapreduced(phase: str = "", marker: Path = Path(), combine: bool = False, **options: Any) -> list[Any]:
    """Groups of numbers, with a worker that dies once in that phase."""

    def mapper(n: int) -> Iterator[tuple[str, float]]:
        if (phase, n) in (("map", 3), ("late map", 900)) and once(marker):
            die()
        for k in range(5):
            yield f"key {n * k % 37}", n / (k + 1)

    def combiner(key: str, values: Iterator[float]) -> float:
        if phase == "combine" and key == "key 9" and once(marker):
            die()
        return sum(values)

    def reducer(key: str, values: Iterator[float]) -> tuple[int, str]:
        if phase == "reduce" and key == "key 5" and once(marker):
            die()
        count, total = 0, 0.0
        for value in values:
            count, total = count + 1, total + value
            if phase == "reduce amid its values" and key == "key 0" and count == 2 and once(marker):
                die()
        return count, total.hex()

    got = mrpy.mapreduce(mapper, reducer, RECORDS, combiner=combiner if combine else None, **options)
    return [pair if not combine else (pair[0], pair[1][1]) for pair in got]


@pytest.mark.parametrize("memory", [1, 10**9], ids=["disk", "memory"])
@pytest.mark.parametrize("phase", PHASES)
def test_a_worker_that_dies_in_any_phase_changes_nothing(
    phase: str, memory: int, session: Any, tmp_path: Path
) -> None:
    combine = phase == "combine"
    plain = mapreduced(backend="serial", combine=combine)
    assert mapreduced(phase, tmp_path / "m", memory=memory, combine=combine) == plain
    assert (tmp_path / "m").exists(), "nobody died"
    assert_usable(session)


def test_a_worker_that_dies_while_it_sorts_on_disk_changes_nothing(session: Any, tmp_path: Path) -> None:
    def key(n: int) -> int:
        if n == 700 and once(tmp_path / "m"):
            die()
        return n * 7919 % 1009

    got = mrpy.stream(range(1000), memory=1, chunksize=50).sorted(key).to_list()
    assert got == sorted(range(1000), key=lambda n: n * 7919 % 1009)
    assert (tmp_path / "m").exists()
    assert_usable(session)


@pytest.mark.parametrize("backend", ["processes", "dask"])
@pytest.mark.parametrize("sort", [False, True])
def test_a_key_whose_reducer_kills_its_worker_is_named(backend: str, sort: bool) -> None:
    def reducer(key: int, values: Iterator[int]) -> int:
        if key == 41:
            die()
        return sum(values)

    with mrpy.session(backend, workers=2):
        pairs = mrpy.mapreduce(lambda n: (n % 50, n), reducer, range(500), sort=sort, partitions=3)
        with pytest.raises(WorkerCrashed) as caught:
            dict(pairs)
        assert key_said(caught.value) == "41"
        assert len(dict(mrpy.mapreduce(lambda n: (n % 50, n), lambda _, values: sum(values), range(500)))) == 50


KILLED = """
    import mrpy, time

    def mapper(n):
        for k in range(50):
            yield n * k % 999, n

    def reducer(key, values):
        return sum(values)

    pairs = mrpy.mapreduce(mapper, reducer, range(600), memory=1, workers=2)
    first = next(pairs)
    print("reads", flush=True)
    {then}
"""


@pytest.mark.fault(15)
def test_what_a_killed_parent_spilled_goes_with_the_next_run_which_has_the_same_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with running_script(KILLED.format(then="time.sleep(60)")) as (process, _):
        assert spilled(tmp_path)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
    assert spilled(tmp_path)
    whole = KILLED.format(then="print(hash(tuple(run := [first, *pairs])), hash(tuple(sorted(run))))")
    again, once_more = run_script(whole), run_script(whole)
    assert again.returncode == 0, again.stderr
    expected: dict[int, int] = {}
    for n in range(600):
        for k in range(50):
            expected[n * k % 999] = expected.get(n * k % 999, 0) + n
    assert again.stdout.split()[2] == str(hash(tuple(sorted(expected.items()))))
    assert again.stdout == once_more.stdout, "in the same order, too"
    assert eventually(lambda: not spilled(tmp_path))


@pytest.mark.fault(14)
@pytest.mark.parametrize("where", ["next(pairs)", "while True: pass"])
def test_ctrl_c_leaves_no_file(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with running_script(KILLED.format(then=f"for _ in pairs: pass\n    {where}")) as (process, _):
        process.send_signal(signal.SIGINT)
        process.wait(10)
    assert eventually(lambda: not spilled(tmp_path))


def test_a_process_that_ends_amid_a_run_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done = run_script(KILLED.format(then="raise SystemExit(3)"))
    assert done.returncode == 3, done.stderr
    assert not spilled(tmp_path)


def test_a_forked_child_leaves_the_files_of_its_parent_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    expected = sorted((n % 7, 1) for n in range(7))
    pairs = mrpy.mapreduce(lambda n: (n % 7, 1), lambda key, values: 1, range(5000), memory=1, workers=2)
    got = [next(pairs)]
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            pairs.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert sorted([*got, *pairs]) == expected


def spilled(folder: Path) -> list[Path]:
    """What of a shuffle lies there."""
    return list(folder.glob(f"{PREFIX}*"))

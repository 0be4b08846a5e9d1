"""Sinks under fire: each record is in the output once, or the output is what it was before, and nothing is left."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from laws import LOCAL, eventually
from watching import assert_usable, interrupted_at, once, run_script, running_script

import mrpy
from mrpy.errors import item_of
from mrpy.mapreduce.chunks import Chunk
from mrpy.mapreduce.rules import Rules
from mrpy.mapreduce.sinks import sqlite, staging
from mrpy.mapreduce.sinks.folder import Folder
from mrpy.mapreduce.sinks.lines import LineWriter, Text
from mrpy.mapreduce.sinks.parts import PartFile
from mrpy.mapreduce.sinks.staging import Staging
from mrpy.mapreduce.sinks.write_chunk import WriteChunk

RECORDS = [{"n": n, "text": str(n) * 50} for n in range(400)]
SINKS = ["to_text", "to_jsonl", "to_csv", "to_parquet", "to_sqlite"]


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    """Where to write. At the end of a test there is nothing beside it."""
    folder = tmp_path / "place"
    folder.mkdir()
    yield folder / "out"
    assert eventually(lambda: {path.name for path in folder.iterdir()} <= {"out"})


def write(sink: str, out: Path, items: Any, **given: Any) -> Any:
    """Records into that sink."""
    if sink == "to_text":
        items = items.map(json.dumps)
    more = ("rows",) if sink == "to_sqlite" else ()
    return getattr(items, sink)(out, *more, **given)


def read(sink: str, out: Path) -> list[Any]:
    """The records of an output."""
    if sink == "to_sqlite":
        with closing(sqlite3.connect(out)) as database:
            return [{"n": n, "text": text} for n, text in database.execute("select * from rows order by rowid")]
    records: list[Any] = []
    for path in sorted(out.iterdir()):
        if sink == "to_parquet":
            records += pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
        elif sink == "to_csv":
            with open(path, newline="", encoding="utf-8") as file:
                records += [{**row, "n": int(row["n"])} for row in csv.DictReader(file)]
        else:
            records += map(json.loads, path.read_text().splitlines())
    return records


# ---- workers ------------------------------------------------------------------------------------------------


@pytest.mark.fault(1)
@pytest.mark.parametrize("sink", SINKS)
def test_a_worker_that_is_killed_while_it_writes_changes_nothing(
    sink: str, session: Any, out: Path, tmp_path: Path
) -> None:
    def deadly(record: Any) -> Iterator[Any]:
        if record["n"] == 300 and once(tmp_path / "m"):
            os.kill(os.getpid(), signal.SIGKILL)
        yield record

    written = write(sink, out, mrpy.stream(RECORDS, chunksize=90).flat_map(deadly))
    assert (tmp_path / "m").exists()
    assert (read(sink, out), written.records) == (RECORDS, len(RECORDS))
    assert_usable(session)


@pytest.mark.fault(1)
def test_an_item_that_kills_its_worker_is_left_out_and_no_other_is(session: Any, out: Path) -> None:
    def deadly(n: int) -> str:
        if n in (5, 23):
            os._exit(1)
        return str(n)

    items = mrpy.pmap(deadly, range(40), chunksize=10)
    with pytest.raises(mrpy.errors.WorkerCrashed) as caught:
        items.to_text(out)
    assert caught.value.mrpy_item.position == 5
    assert not out.exists()
    items.to_text(out, on_error="skip")
    lines = [line for path in sorted(out.iterdir()) for line in path.read_text().split()]
    assert lines == [str(n) for n in range(40) if n not in (5, 23)]


@pytest.mark.fault(2)
def test_an_item_that_runs_over_its_time_is_left_out_and_its_neighbours_are_written_once(
    session: Any, out: Path
) -> None:
    def slow(n: int) -> str:
        if n == 3:
            time.sleep(60)
        return str(n)

    mrpy.pmap(slow, range(8), chunksize=8, timeout=0.5, on_error="skip").to_text(out)
    assert "".join(path.read_text() for path in sorted(out.iterdir())).split() == list("0124567")


class Twice:
    """Text, whose first attempt at a part dies when all of it is on the disk, and nobody knows yet."""

    label, suffix, streams = "to_text", ".txt", True

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def writer(self, file: Any) -> Any:
        marker = self.marker

        class Writer(LineWriter):
            def abandon(self) -> None:
                super().abandon()
                if once(marker):
                    os.kill(os.getpid(), signal.SIGKILL)

        return Writer(file, "{}\n".format, "utf-8", None)


@pytest.mark.fault(37)
def test_a_part_that_was_complete_when_its_worker_died_is_there_once(session: Any, out: Path, tmp_path: Path) -> None:
    items = mrpy.stream(range(100), chunksize=30)
    written = items._write(lambda: Folder(out, Twice(tmp_path / "m"), overwrite=False), {})
    assert (tmp_path / "m").exists()
    assert len(list(out.iterdir())) == len(written.paths) == 4
    lines = [line for path in sorted(out.iterdir()) for line in path.read_text().split()]
    assert lines == list(map(str, range(100)))


# ---- attempts and runs ----------------------------------------------------------------------------------------


@pytest.mark.fault(37)
def test_an_attempt_that_ends_when_all_is_over_changes_nothing_and_leaves_nothing(out: Path) -> None:
    """And so does one that begins then."""
    begun, go_on = threading.Event(), threading.Event()
    problems: list[OSError] = []

    def hesitating(text: str) -> str:
        begun.set()
        assert go_on.wait(30)
        return f"late {text}"

    def late(kernel: WriteChunk) -> None:
        for _ in range(2):
            try:
                kernel(Chunk(0, ["a"]))
            except OSError as error:
                problems.append(error)

    sink = Folder(out, Text("utf-8", None), overwrite=False)
    with sink.staging() as where:
        mapped = mrpy.stream([]).map(hesitating)._plan.steps
        attempts = [WriteChunk(steps, Rules(), sink.format, where.attempts, sink.path) for steps in (mapped, ())]
        thread = threading.Thread(target=late, args=attempts[:1])
        thread.start()
        assert begun.wait(30)
        first = attempts[1](Chunk(0, ["a"]))
        sink.commit(where, [first])
    go_on.set()
    thread.join(30)
    assert [path.read_text() for path in out.iterdir()] == ["a\n"]
    assert [problem.errno for problem in problems] == [errno.ENOENT], "the second found no folder"


@pytest.mark.fault(37)
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("backend", LOCAL)
def test_of_two_runs_to_one_place_the_first_to_end_wins_unless_overwriting(
    backend: str, overwrite: bool, out: Path
) -> None:
    """The second one runs from begin to end in the midst of the first."""

    def source() -> Iterator[str]:
        yield "first"
        mrpy.stream(["second"], backend="serial").to_text(out, overwrite=overwrite)
        yield "first"

    items = mrpy.stream(source(), backend=backend, workers=2)
    if overwrite:
        items.to_text(out, overwrite=True)
        expected = ["first", "first"]
    else:
        with pytest.raises(FileExistsError):
            items.to_text(out)
        expected = ["second"]
    assert [line for path in sorted(out.iterdir()) for line in path.read_text().split()] == expected


@pytest.mark.fault(37, 40)
def test_many_threads_that_write_to_one_place_leave_one_output(out: Path) -> None:
    ended: list[Any] = []

    def run(name: str) -> None:
        try:
            ended.append(mrpy.stream([name] * 50, backend="threads", workers=2, chunksize=10).to_text(out))
        except FileExistsError as error:
            ended.append(error)

    threads = [threading.Thread(target=run, args=(str(number),)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(ended) == 6
    (written,) = [each for each in ended if not isinstance(each, FileExistsError)]
    assert written.records == 50
    lines = [line for path in sorted(out.iterdir()) for line in path.read_text().split()]
    assert (len(lines), len(set(lines))) == (50, 1)


# ---- no room ------------------------------------------------------------------------------------------------------

NO_ROOM = r"no room to write: at least \d+ more bytes are needed, and \d+ are free there"


@pytest.mark.fault(24)
@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("sink", SINKS)
def test_a_full_disk_is_an_error_with_path_needed_and_free_and_the_old_output_stays(
    sink: str, there: bool, session: Any, out: Path
) -> None:
    def limited(record: Any) -> Any:
        import random
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        noise = random.Random(record["n"]).randbytes(3000).hex()  # nothing makes it smaller
        return {**record, "text": noise}

    if there:
        write(sink, out, mrpy.stream(RECORDS[:1], backend="serial"))
    for on_error in ("raise", "skip"):  # no item is to blame, and none is left out
        with pytest.raises(OSError, match=NO_ROOM) as caught:
            write(sink, out, mrpy.stream(RECORDS, chunksize=200).map(limited), overwrite=there, on_error=on_error)
        assert caught.value.filename == str(out.resolve())
        assert caught.value.errno == errno.EFBIG and "(ulimit -f)" in str(caught.value)
        assert item_of(caught.value) is None
        assert not [note for note in getattr(caught.value, "__notes__", ()) if "raised at" in note]
        assert out.exists() == there
        assert len(list(out.parent.iterdir())) == there
    if there:
        assert read(sink, out) == RECORDS[:1]


@pytest.mark.parametrize("number", [errno.EDQUOT, errno.EIO])
def test_what_the_system_says_to_sqlite_is_what_it_says_to_others(number: int, out: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """The error of SQLite is the same, whatever that is."""
    refused = sqlite3.OperationalError("disk I/O error")
    refused.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE

    def write(self: PartFile, data: bytes) -> int:
        raise OSError(number, "try again")

    monkeypatch.setattr(PartFile, "write", write)
    out.write_bytes(b"")
    with pytest.raises(OSError, match=r"disk I/O error" if number == errno.EIO else "no room") as caught:
        with sqlite._no_room(str(out), str(out), str(tmp_path)):
            raise refused
    assert (caught.value.errno, caught.value.filename) == (number, str(out))


@pytest.mark.fault(24)
@pytest.mark.parametrize("sink", ["to_jsonl", "to_parquet"])
def test_a_disk_that_is_full_when_small_parts_are_joined_leaves_nothing(sink: str, out: Path) -> None:
    code = f"""
        import mrpy, random, resource
        limits = 100_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        records = [{{"text": random.Random(n).randbytes(300).hex()}} for n in range(200)]
        mrpy.stream(records, backend="serial").{sink}({str(out)!r})
    """
    done = run_script(code)
    assert re.search(NO_ROOM, done.stderr), done.stderr
    assert "joined" in done.stderr, "each part had room"
    assert list(out.parent.iterdir()) == []


@pytest.mark.fault(24)
@pytest.mark.parametrize("there", [False, True])
def test_no_room_for_a_table_when_all_parts_are_there_leaves_the_database_as_it_was(there: bool, out: Path) -> None:
    if there:
        write("to_sqlite", out, mrpy.stream(RECORDS[:1], backend="serial"))
    code = f"""
        import mrpy, resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
        records = [{{"n": n, "text": str(n) * 50}} for n in range(1000)]
        mrpy.stream(records, backend="serial", chunksize=100).to_sqlite({str(out)!r}, "rows", overwrite=True)
    """
    done = run_script(code)
    assert re.search(NO_ROOM, done.stderr) and "(ulimit -f)" in done.stderr
    assert str(out.resolve()) in done.stderr
    assert out.exists() == there
    if there:
        assert read("to_sqlite", out) == RECORDS[:1]


def test_a_part_that_cannot_be_made_is_the_fault_of_no_item(out: Path) -> None:
    kernel = WriteChunk((), Rules(), Text("utf-8", None), str(out.parent / "gone"), str(out))
    with pytest.raises(FileNotFoundError) as caught:
        kernel(Chunk(0, ["a", "b"]))
    assert item_of(caught.value) is None and not hasattr(caught.value, "__notes__")


# ---- the parent ----------------------------------------------------------------------------------------------------

SCRIPT = """
    import itertools, mrpy, os, sys

    def line(n):
        if n == 900 and {stop}:
            print("amid", flush=True)
            import time
            time.sleep(60)
        return str(n)

    mrpy.pmap(line, range(1000), chunksize=50, workers=2).to_text({out!r}, overwrite={overwrite})
    print("written", flush=True)
"""


def lines_of(out: Path) -> list[str]:
    return [line for path in sorted(out.iterdir()) for line in path.read_text().split()]


@pytest.mark.fault(15)
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_a_killed_parent_has_left_goes_with_the_next_run_which_writes_the_same(overwrite: bool, out: Path) -> None:
    if overwrite:
        mrpy.stream(["before"], backend="serial").to_text(out)
    with running_script(SCRIPT.format(stop=True, out=str(out), overwrite=overwrite)) as (process, lines):
        assert lines[0].endswith("amid")
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    assert len(list(out.parent.glob("out.*.tmp"))) == 1
    assert out.exists() == overwrite
    if overwrite:
        assert lines_of(out) == ["before"]
    again = run_script(SCRIPT.format(stop=False, out=str(out), overwrite=overwrite))
    assert again.stdout == "written\n", again.stderr
    assert lines_of(out) == list(map(str, range(1000)))


@pytest.mark.fault(14)
@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_ctrl_c_leaves_the_old_output_and_nothing_else(backend: str, overwrite: bool, out: Path) -> None:
    if overwrite:
        mrpy.stream(["before"], backend="serial").to_text(out)
    code = SCRIPT.format(stop=True, out=str(out), overwrite=overwrite)
    with running_script(code.replace("workers=2", f"workers=2, backend={backend!r}")) as (process, lines):
        assert lines[0].endswith("amid")
        process.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in process.communicate(timeout=10)[1]
    assert [path.name for path in out.parent.iterdir()] == ["out"] * overwrite
    if overwrite:
        assert lines_of(out) == ["before"]


# Kills itself at the n-th call that changes what is on the disk while the output is published.
KILLED = """
    import mrpy, os, shutil, signal
    from mrpy.mapreduce.sinks import sqlite, staging

    left = {moment}

    def deadly(call):
        def counted(*args, **how):
            global left
            for when in range(2):  # before and behind
                if when:
                    done = call(*args, **how)
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return done
        return counted

    if not {exchange}:
        staging._exchanged = lambda one, other: False
    items = mrpy.stream(["new"] * 5, backend="serial", chunksize=2)
    for name in ("rename", "mkdir", "chmod", "unlink", "rmdir", "open"):
        setattr(os, name, deadly(getattr(os, name)))
    staging._exchanged = deadly(staging._exchanged)
    items.to_text({out!r}, overwrite={overwrite})
"""


@pytest.mark.fault(15)
@pytest.mark.parametrize(("overwrite", "exchange"), [(False, True), (True, True), (True, False)])
def test_a_parent_that_is_killed_at_any_point_has_written_all_or_nothing(
    overwrite: bool, exchange: bool, out: Path
) -> None:
    seen: set[tuple[str, ...]] = set()
    # steps that have no common factor with what happens in pairs, to see both halves of it
    for moment in range(1, 200, 5):
        if overwrite and not out.exists():
            mrpy.stream(["old"] * 3, backend="serial", chunksize=1).to_text(out)
        code = KILLED.format(moment=moment, out=str(out), overwrite=overwrite, exchange=exchange)
        died = run_script(code).returncode == -signal.SIGKILL
        if not died:
            break
        if exchange and overwrite:
            assert out.exists(), "not for a moment it is not there"
        staging.clear_stale(str(out))  # as the next run does
        assert [path.name for path in out.parent.iterdir()] in ([], ["out"])
        there = tuple(lines_of(out)) if out.exists() else ()
        assert there in ({(), ("new",) * 5} if not overwrite else {("old",) * 3, ("new",) * 5})
        seen.add(there)
        if there == ("new",) * 5 and out.exists():
            for path in out.iterdir():
                path.unlink()
            out.rmdir()
    assert not died, "it never came to an end"
    assert len(seen) == 2, "it was killed before it was published, and afterwards"


@pytest.mark.fault(14)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a file closed by its finalizer
@pytest.mark.parametrize(("overwrite", "chunksize"), [(False, 2), (True, 2), (False, "auto")])
def test_ctrl_c_at_any_point_leaves_one_whole_output_and_nothing_beside_it(
    overwrite: bool, chunksize: Any, out: Path
) -> None:
    """With ``"auto"`` its parts are joined."""

    def write_it() -> None:
        mrpy.stream(["new"] * 5, backend="serial", chunksize=chunksize).to_text(out, overwrite=overwrite)

    write_it()  # imports what it takes
    results: set[tuple[str, ...]] = set()
    moment = 1
    while True:
        remove(out)
        if overwrite:
            mrpy.stream(["old"] * 3, backend="serial", chunksize=1).to_text(out)
        was = interrupted_at(moment, write_it)
        assert {path.name for path in out.parent.iterdir()} <= {"out"}, moment
        there = tuple(lines_of(out)) if out.exists() else ()
        assert there in ({("old",) * 3, ("new",) * 5} if overwrite else {(), ("new",) * 5}), moment
        results.add(there)
        if not was:
            break
        moment += 11
    assert len(results) == 2
    remove(out)


def remove(out: Path) -> None:
    if out.exists():
        for path in out.iterdir():
            path.unlink()
        out.rmdir()


@pytest.mark.fault(16)
def test_a_script_that_exits_amid_a_run_leaves_nothing(out: Path) -> None:
    code = f"""
        import mrpy, sys

        def source():
            yield from "abc"
            sys.exit(3)

        mrpy.stream(source(), workers=1, chunksize=1).to_text({str(out)!r})
    """
    done = run_script(code)
    assert done.returncode == 3, done.stderr
    assert list(out.parent.iterdir()) == []


def test_a_folder_that_cannot_be_removed_at_once_goes_with_the_program(out: Path) -> None:
    """With too many open files it stayed beside the output, with the old one in it."""
    code = f"""
        import errno, mrpy, os

        really, out = os.listdir, {str(out)!r}

        def fails_once(path):
            if os.path.exists(out):
                os.listdir = really
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path)
            return really(path)

        os.listdir = fails_once
        mrpy.stream("abc", backend="serial").to_text(out)
        print(os.listdir is really, len(really(os.path.dirname(out))))
    """
    done = run_script(code)
    assert done.stdout.split() == ["True", "2"], done.stderr
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.parametrize("backend", ["serial", "processes"])
@pytest.mark.parametrize("late", [False, True])
def test_who_removes_the_folder_in_which_an_output_is_made_is_told_of(backend: str, late: bool, out: Path) -> None:
    def removes(n: int) -> str:
        if n == 3 * late:
            (folder,) = out.parent.iterdir()
            shutil.rmtree(folder)
        return str(n)

    with pytest.raises(FileNotFoundError, match="somebody else has removed the folder in which it was made") as caught:
        mrpy.stream(range(4), backend=backend, workers=1, chunksize=1).map(removes).to_text(out)
    assert caught.value.filename == str(out) and ".tmp" in str(caught.value.strerror)


def test_a_folder_of_somebody_elses_run_is_left_alone(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = Staging(str(out))
    left.__enter__()
    assert left._end is not None
    _, _, (_, _, lock, _), _ = left._end.detach()
    os.close(lock)  # as if it had been killed
    mine = os.getuid()
    monkeypatch.setattr(staging.os, "getuid", lambda: mine + 1)
    staging.clear_stale(str(out))
    assert os.path.isdir(left.attempts)
    monkeypatch.undo()
    staging.clear_stale(str(out))
    assert not os.path.isdir(left.attempts)

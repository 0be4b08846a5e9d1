"""A task that is stopped on a thread loses no file: not to be warned of, and not for good.

The exception that stops it may arrive wherever something is called or returns, so in `make soak` each of these
moments has its turn here: the same work is done again and again, and broken off one moment later each time. That
may happen to others as well, who hold a lock then, and for ever: so it is not for the suite.
"""

from __future__ import annotations

import bz2
import gc
import gzip
import lzma
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from laws import THOROUGH

import mrpy
from mrpy.mapreduce.chunks import Chunk
from mrpy.mapreduce.files.reading import Reads
from mrpy.mapreduce.rules import Rules
from mrpy.mapreduce.sinks.lines import Text
from mrpy.mapreduce.sinks.sqlite import Rows
from mrpy.mapreduce.sinks.write_chunk import WriteChunk
from mrpy.mapreduce.spill import RunFile, read_from
from mrpy.scheduler.calls import TaskStopped

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

LINES = b"id,name\n1,one\n2,two\n"
PACKED = {".txt": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}

Work = Callable[[], object]

at_each_moment = pytest.mark.skipif(not THOROUGH, reason="for `make soak`")


def stopped(work: Work, moment: int) -> bool:
    """Do some work in a thread, and stop it after so many calls and returns. Say whether it came to that."""
    left, through = moment, False
    ends: list[type[BaseException]] = []

    def look(*_: object) -> None:
        nonlocal left, through
        left -= 1
        if left < 0 and not through:
            through = True
            raise TaskStopped

    def run() -> None:
        nonlocal through
        try:
            sys.setprofile(look)  # for this thread only
            work()
        except BaseException as error:
            through = True
            ends.append(type(error))
        through = True

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert ends in ([], [TaskStopped])
    return bool(ends)


@contextmanager
def nothing_lost(folder: Path) -> Iterator[None]:
    """As pytest does it, but at once: what the garbage collector warns of, or cannot close, is an error; and so
    is a file in the folder that stays open."""
    problems: list[str] = []
    hook, sys.unraisablehook = sys.unraisablehook, lambda it: problems.append(f"{it.exc_value!r} in {it.object!r}")
    gc.collect()
    gc.freeze()  # what was there before takes long to go through, again and again
    gc.disable()  # what others leave to the collector is not to be broken off
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
            gc.collect()
    finally:
        sys.unraisablehook = hook
        gc.enable()
        gc.unfreeze()
    # a finalizer in Python may be what is stopped: nobody else hears of that
    assert [problem for problem in problems if not problem.startswith("TaskStopped")] == []
    assert [path for path in open_files() if path.startswith(str(folder))] == []


def open_files() -> Iterator[str]:
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one for looking, or another thread's
            yield os.readlink(descriptor)


def stop_at_each_moment(work: Work, folder: Path) -> None:
    work()  # what is done the first time only, such as imports, is not broken off
    with nothing_lost(folder):
        moment = 0
        while stopped(work, moment):
            moment += 1
    assert moment > 50, "that it is Python which is broken off"


@at_each_moment
@pytest.mark.parametrize("ending", PACKED)
def test_a_file_of_lines(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    path.write_bytes(PACKED[ending](LINES))
    stop_at_each_moment(reading(mrpy.read_text(path)), tmp_path)


@at_each_moment
@pytest.mark.parametrize("given", [{}, {"blocksize": 10}, {"encoding": "utf-16"}], ids=["whole", "cut", "utf-16"])
def test_rows(given: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(LINES.decode().encode(given.get("encoding", "utf-8")))
    stop_at_each_moment(reading(mrpy.read_csv(path, **given)), tmp_path)


@at_each_moment
def test_records_and_sequences(tmp_path: Path) -> None:
    path = tmp_path / "a.fasta"
    path.write_bytes(b">a\nACGT\n")
    stop_at_each_moment(reading(mrpy.read_fasta(path)), tmp_path)
    stop_at_each_moment(reading(mrpy.read_records(path, 4)), tmp_path)


def reading(items: mrpy.ParallelIterator) -> Work:
    """What a worker does to read these, and what he does who takes the first of them only."""
    (step,), blocks = items._plan.steps, items._plan.source.blocks
    assert isinstance(step, Reads)

    def read() -> None:
        next(step.over(iter(blocks)))
        assert list(step.over(iter(blocks)))

    return read


@at_each_moment
@pytest.mark.parametrize("compression", [None, "gzip", "bz2", "xz"])
def test_a_part_of_an_output(compression: str | None, tmp_path: Path) -> None:
    stop_at_each_moment(writing(Text("utf-8", compression), ["one", "two"], tmp_path), tmp_path)


@at_each_moment
def test_a_part_of_a_table(tmp_path: Path) -> None:
    stop_at_each_moment(writing(Rows(("a", "b")), [(1, 2), (3, 4)], tmp_path), tmp_path)


def writing(format: Any, records: list[Any], folder: Path) -> Work:
    kernel = WriteChunk((), Rules(), format, str(folder), str(folder / "out"))
    return lambda: kernel(Chunk(0, records))


@at_each_moment
def test_what_does_not_fit_into_memory(tmp_path: Path) -> None:
    def spill() -> None:
        with RunFile(str(tmp_path)) as file:
            offset, _ = file.put(b"some")
        read_from(file.path, offset, 4, 0)

    stop_at_each_moment(spill, tmp_path)


def test_what_is_stopped_while_many_files_are_opened_on_threads(tmp_path: Path) -> None:
    """The same with the real thing, which stops where it likes."""
    for name in range(40):
        (tmp_path / f"{name}.txt").write_bytes(LINES)
    before = set(threading.enumerate())
    with nothing_lost(tmp_path):
        with mrpy.session("threads", workers=4):
            for taken in range(20):
                lines = iter(mrpy.read_text(tmp_path, chunksize=1))
                for _ in range(taken):
                    next(lines)
                del lines
        for thread in set(threading.enumerate()) - before:
            thread.join(5)

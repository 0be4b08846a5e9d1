"""Runs within runs, sessions within sessions: what was said of one is not about the other."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from _thread import start_new_thread
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from laws import BACKENDS, LOCAL

import mrpy
from mrpy.errors import OptionError

TEXTS = ["1", "x", "4", "0"]


def inverse(n: int) -> float:
    return 1 / n


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_an_inner_run_does_with_errors_is_about_its_own(backend: str) -> None:
    with mrpy.session(backend, workers=2):
        skipping = mrpy.pmap(int, TEXTS, on_error="skip")
        with pytest.raises(ZeroDivisionError):
            list(mrpy.pmap(inverse, skipping))
        replacing = mrpy.pmap(int, TEXTS, on_error=lambda error: 2)
        assert list(mrpy.pmap(inverse, replacing, on_error=lambda error: 0.0)) == [1, 0.5, 0.25, 0.0]
        returned = mrpy.pmap(int, TEXTS, on_error="return")
        assert list(mrpy.pstarmap(type, ((one,) for one in returned))) == [int, ValueError, int, int]
        kept = list(mrpy.pfilter(None, mrpy.pmap(int, TEXTS, on_error="skip"), on_error="raise"))
        assert kept == [1, 4]


def test_what_concerns_the_place_is_taken_over() -> None:
    inner = mrpy.pmap(int, TEXTS, backend="threads", workers=2, chunksize=1, on_error="skip")
    outer = mrpy.pmap(str, inner)
    assert list(outer) == ["1", "4", "0"]
    assert outer.explain().count("threads, 2 workers") == 2
    assert outer.skipped.count == 1


def test_what_runs_over_an_inner_run_may_be_run_again() -> None:
    inner = mrpy.pmap(int, TEXTS, backend="serial", on_error="skip")
    outer = mrpy.pmap(str, inner)
    assert [outer.count(), outer.count(), list(outer)] == [3, 3, ["1", "4", "0"]]
    assert (outer.skipped.count, inner.skipped.count) == (1, 1)


def test_without_such_options_they_are_one_run() -> None:
    run = mrpy.pmap(str, mrpy.pmap(abs, [-1], backend="serial", workers=1))
    assert str(run).count("[") == 0
    assert list(run) == ["1"]


def test_reading_belongs_to_what_follows(tmp_path: Any) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"1\n\xff\n2\n")
    run = mrpy.pmap(int, mrpy.read_text(path, on_error="skip", backend="serial"))
    assert list(run) == [1, 2]


@pytest.mark.parametrize("backend", LOCAL)
def test_blocks_of_sessions_may_end_in_any_order(backend: str) -> None:
    one, other = mrpy.session("threads", workers=2), mrpy.session(backend, workers=1)
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert list(mrpy.pmap(abs, [-1])) == [1]
    other.__exit__(None, None, None)
    assert list(mrpy.pmap(abs, [-1], backend=backend)) == [1]
    with mrpy.session("serial"):
        assert "serial" in mrpy.pmap(abs, [-1]).explain()


def test_a_generator_may_hold_a_session_and_be_dropped_within_another() -> None:
    def held() -> Iterator[int]:
        with mrpy.session("threads", workers=1):
            yield from mrpy.pmap(abs, range(100))

    items = held()
    next(items)
    with mrpy.session("serial"):
        items.close()
        assert list(mrpy.pmap(abs, [-1])) == [1]
    assert list(mrpy.pmap(abs, [-1])) == [1]


# ---- whose a session is ------------------------------------------------------------------------------------


def retries() -> int:
    """An option that only sessions of these tests set."""
    return mrpy.pmap(abs, [])._options().retries


def in_a_thread(call: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as fresh:
        return fresh.submit(call).result(30)


def test_a_session_of_another_thread_is_none_of_this_ones_business() -> None:
    opened, done = threading.Event(), threading.Event()

    def other() -> None:
        with mrpy.session("threads", workers=1, on_error="skip", retries=1):
            opened.set()
            done.wait(30)

    thread = threading.Thread(target=other)
    thread.start()
    try:
        assert opened.wait(30)
        with pytest.raises(ValueError, match="'x'"):
            list(mrpy.pmap(int, TEXTS, backend="threads", workers=1))
        assert in_a_thread(retries) == 0, "nor of those that are started meanwhile"
        run = iter(mrpy.pmap(abs, range(9), backend="threads", workers=1, chunksize=1, buffersize=1))
        next(run)
    finally:
        done.set()
        thread.join(30)
    assert list(run) == list(range(1, 9)), "nor does its end concern it"


def test_a_session_of_the_main_thread_is_for_threads_that_are_started_inside() -> None:
    with ThreadPoolExecutor(1) as before:
        before.submit(retries).result(30)
        with mrpy.session("serial", retries=1), ThreadPoolExecutor(1) as between:
            assert between.submit(retries).result(30) == 1
            with mrpy.session("serial", retries=2):
                each = before.submit(retries), between.submit(retries)
                assert [one.result(30) for one in each] == [0, 1], "as they began"
                assert in_a_thread(retries) == in_a_thread(lambda: in_a_thread(retries)) == 2
                assert asyncio.run(asyncio.to_thread(retries)) == 2
            assert in_a_thread(retries) == between.submit(retries).result(30) == 1
    assert in_a_thread(retries) == 0


def test_a_thread_is_new_although_it_has_the_ident_of_one_that_has_ended() -> None:
    release = threading.Event()
    old = [threading.Thread(target=release.wait) for _ in range(4)]
    for thread in old:
        thread.start()
    with mrpy.session("serial", retries=1):
        release.set()
        for thread in old:
            thread.join(30)
        found: list[int] = []
        for _ in range(8):
            new = threading.Thread(target=lambda: found.append(retries()))
            new.start()
            new.join(30)
        assert found == [1] * 8


def test_threads_that_python_has_not_started_are_told_apart_as_well() -> None:
    there, asked, answered, over = (threading.Semaphore(0) for _ in range(4))
    found: list[int] = []

    def answer() -> None:
        there.release()
        asked.acquire()
        found.append(retries())
        answered.release()
        over.acquire()  # their idents are all that there is of them

    def start() -> None:
        start_new_thread(answer, ())
        assert there.acquire(timeout=30)

    def ask() -> None:
        asked.release()
        assert answered.acquire(timeout=30)

    start()
    with mrpy.session("serial", retries=1):
        ask()
        start()
        ask()
    over.release(2)
    assert found == [0, 1]


def test_a_session_of_one_task_of_asyncio_is_none_of_the_others_business() -> None:
    async def program() -> list[int]:
        opened, done = asyncio.Event(), asyncio.Event()

        async def one() -> int:
            with mrpy.session("serial", retries=1):
                opened.set()
                await done.wait()
                return retries()

        async def other() -> int:
            await opened.wait()
            found = retries()
            done.set()
            return found

        return await asyncio.gather(one(), other())

    assert asyncio.run(program()) == [1, 0]


def test_callbacks_of_a_pending_result_are_in_the_session_of_who_added_them() -> None:
    def run() -> list[int]:
        found: list[int] = []
        called = threading.Event()
        with mrpy.session("threads", workers=1, retries=3):
            begin = threading.Event()
            pending = mrpy.submit(begin.wait, 30)
            pending.add_done_callback(lambda _: (found.append(retries()), called.set()))
            begin.set()
            assert called.wait(30)
        return found

    assert run() == in_a_thread(run) == [3]


def test_whole_numbers_of_numpy_are_whole_numbers() -> None:
    options: dict[str, Any] = {"workers": np.int64(2), "chunksize": np.uint8(3), "buffersize": np.int32(9), "seed": np.int64(1)}
    assert list(mrpy.pmap(abs, range(-9, 0), backend="threads", retries=np.int64(1), **options)) == list(range(9, 0, -1))
    for wrong in (np.float64(2), np.arange(2), np.int64(0)):
        with pytest.raises(OptionError, match="from 1 up"):
            mrpy.pmap(abs, [1], workers=wrong)


def test_libraries_take_no_more_threads_than_the_environment_says() -> None:
    script = (
        "import mrpy, os\n"
        "names = ['OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS', 'NUMBA_NUM_THREADS',\n"
        "    'POLARS_MAX_THREADS', 'RAYON_NUM_THREADS']\n"
        "print(mrpy.submit(lambda: [os.environ[name] for name in names]).result())\n"
    )
    environment = {name: text for name, text in os.environ.items() if not name.endswith("_THREADS")}
    environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "3", "MRPY_WORKERS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=environment, check=True
    )
    assert done.stdout.split() == "['1', '1', '3', '1', '1', '1']".split(), done.stderr


@pytest.mark.parametrize("way", ["iterated", "summed", "written"])
def test_an_iterator_that_is_made_in_a_block_is_run_there_by_whichever_thread(way: str, tmp_path: Path) -> None:
    ways: dict[str, Callable[[Any], Any]] = {
        "iterated": list, "summed": lambda run: run.sum(), "written": lambda run: run.to_jsonl(tmp_path / "out").records
    }  # fmt: skip
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()  # so that its thread is there before the block is
        with mrpy.session("threads", workers=1, on_error="skip"):
            run = mrpy.pmap(int, ["1", "x", "3"])
            assert pool.submit(ways[way], run).result() == {"iterated": [1, 3], "summed": 4, "written": 2}[way]
        with pytest.raises(ValueError, match="invalid literal"):
            pool.submit(lambda: list(mrpy.pmap(int, ["x"], backend="threads", workers=1))).result()


@pytest.mark.parametrize("way", ["pmap", "zip", "generator", "iterator"])
@pytest.mark.parametrize("backend", LOCAL)
def test_what_is_made_before_a_session_opens_runs_in_it_if_begun_there(way: str, backend: str) -> None:
    left, right = mrpy.pmap(int, TEXTS), mrpy.pmap(abs, [-1, -2, -3, -4])
    loop: Any
    if way == "pmap":
        loop = mrpy.pmap(pow, left, right)
    elif way == "zip":
        loop = (a**b for a, b in zip(left, right, strict=False))
    elif way == "generator":
        loop = mrpy.parallel(a**b for a, b in zip(left, right, strict=False))
    else:
        loop = (a ** (at + 1) for at, a in enumerate(iter(left)))
    one_program = way in ("pmap", "generator")  # of which an item is left out; else `left` leaves out one of its own
    with mrpy.session(backend, workers=1, on_error="skip"):
        assert list(loop) == ([1, 4**3, 0] if one_program else [1, 4**2, 0])


def test_a_timeout_of_a_session_is_kept_by_what_was_made_before(tmp_path: Path) -> None:
    def slow(n: int) -> int:
        threading.Event().wait(20 if n == 2 else 0)
        return n

    pairs = mrpy.pmap(max, mrpy.pmap(slow, range(5), on_error="skip"), range(5))
    with mrpy.session("threads", workers=2, timeout=0.3):
        assert list(pairs) == [0, 1, 3, 4]


@pytest.mark.parametrize("backend", LOCAL)
def test_an_asynchronous_iterator_takes_its_options_where_it_begins(backend: str) -> None:
    async def read() -> list[int]:
        items = aiter(mrpy.pmap(int, TEXTS))
        with mrpy.session(backend, workers=1, on_error="skip"):
            return [item async for item in items]

    assert asyncio.run(read()) == [1, 4, 0]

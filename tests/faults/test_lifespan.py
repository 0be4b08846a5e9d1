"""Row 22: a worker that leaks, or has done its share, is replaced between chunks."""

from __future__ import annotations

import os
import resource
import sys
from typing import Any

import pytest
from laws import eventually

import mrpy
from mrpy.errors import OptionError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")

MB = 2**20
leaked: list[bytearray] = []


def leak(x: int) -> tuple[int, int]:
    leaked.append(bytearray(b"x") * (30 * MB))
    return os.getpid(), len(leaked)


@pytest.mark.fault(22)
def test_a_worker_that_leaks_is_replaced_between_chunks_and_nothing_is_lost() -> None:
    with mrpy.session("processes", workers=2, memory_limit=200 * MB) as session:
        got = list(mrpy.pmap(leak, range(40), chunksize=1))
        assert len(got) == 40
        assert max(held for _, held in got) <= 9, "a worker went on beyond its limit"
        assert len({pid for pid, _ in got}) >= 4
        assert eventually(lambda: len(session.driver.backend._team) <= 2)  # type: ignore[attr-defined]


@pytest.mark.fault(22)
@pytest.mark.parametrize("most", [1, 3])
def test_a_worker_does_so_many_tasks_and_no_more(most: int) -> None:
    with mrpy.session("processes", workers=2, max_tasks_per_worker=most):
        pids = list(mrpy.pmap(lambda x: os.getpid(), range(12), chunksize=1))
    counts = {pid: pids.count(pid) for pid in pids}
    assert max(counts.values()) == most
    assert len(counts) >= 12 // most


def test_results_in_shared_memory_outlive_the_worker_that_made_them() -> None:
    import numpy

    with mrpy.session("processes", workers=1, max_tasks_per_worker=1):
        arrays = list(mrpy.pmap(lambda x: numpy.full(MB, x, "u1"), range(4), chunksize=1))
    assert [int(array.sum()) for array in arrays] == [0, MB, 2 * MB, 3 * MB]


@pytest.mark.fault(3, 22)
def test_a_replaced_worker_and_a_poison_item_at_once() -> None:
    def check(x: int) -> int:
        if x % 5 == 2:
            os._exit(1)
        return x

    with mrpy.session("processes", workers=2, max_tasks_per_worker=2):
        got = list(mrpy.pmap(check, range(10), chunksize=2, on_error="skip"))
    assert got == [x for x in range(10) if x % 5 != 2]


@pytest.mark.fault(22)
def test_out_of_memory_under_a_limit_is_an_error_of_its_item() -> None:
    def hungry(x: int) -> int:
        resource.setrlimit(resource.RLIMIT_AS, (2**31, resource.RLIM_INFINITY))
        return len(bytearray(2**32 if x == 3 else 10))

    with mrpy.session("processes", workers=2):
        got: list[Any] = list(mrpy.pmap(hungry, range(6), on_error="return"))
    assert isinstance(got.pop(3), MemoryError)
    assert got == [10] * 5


def test_the_settings_are_checked() -> None:
    with pytest.raises(OptionError, match="max_tasks_per_worker=0"), mrpy.session(max_tasks_per_worker=0):
        pass
    with pytest.raises(OptionError, match="memory_limit='1 GB': must be a whole number of bytes"):  # noqa: SIM117
        with mrpy.session(memory_limit="1 GB"):
            pass
    with pytest.raises(OptionError, match="memory_limit= is for backend='processes' only"):
        mrpy.session("threads", memory_limit=2**30)
    with pytest.raises(OptionError, match=r"called mrpy.session\(max_tasks_per_worker=\.\.\.\) here"):
        mrpy.pmap(abs, [1], maxtasksperchild=3)


# ---- law 9 -----------------------------------------------------------------------------------------------


def blas_threads(x: int) -> int:
    import numpy
    from threadpoolctl import threadpool_info

    numpy.ones((50, 50)) @ numpy.ones((50, 50))
    return max(library["num_threads"] for library in threadpool_info())


def test_libraries_share_the_processors_that_the_workers_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.endswith("_NUM_THREADS"):
            monkeypatch.delenv(name)
    cpus = len(os.sched_getaffinity(0))
    for workers in (1, cpus, 2 * cpus):
        with mrpy.session("processes", workers=workers):
            assert mrpy.submit(blas_threads, 0).result() == max(1, cpus // workers)


def test_a_number_of_threads_that_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    with mrpy.session("processes", workers=len(os.sched_getaffinity(0))):
        assert mrpy.submit(os.environ.get, "OPENBLAS_NUM_THREADS").result() == "2"

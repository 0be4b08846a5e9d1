"""Rows 2 and 4: whoever dies, or runs over its time, says where it was."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

import mrpy
from mrpy.errors import ItemTimeout, WorkerCrashed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals as Linux has them")


def fall() -> None:
    ctypes.string_at(0)  # here it falls


def leave() -> None:
    os.kill(os.getpid(), signal.SIGTERM)  # here it is told to leave
    time.sleep(20)


def spin(forever: bool = True) -> None:
    while forever:  # here it spins
        sum(range(1000))  # here it spins


def outer(x: int, inner: Any) -> int:
    if x == 5:
        inner()
    return x


@pytest.mark.fault(1, 4)
@pytest.mark.parametrize(
    ("inner", "said"), [(fall, "here it falls"), (os.abort, "outer"), (leave, "here it is told to leave")]
)
@pytest.mark.parametrize("chunksize", [1, 10])
def test_an_item_that_kills_its_worker_shows_the_stack_it_died_with(inner: Any, said: str, chunksize: int) -> None:
    got = list(
        mrpy.pmap(lambda x: outer(x, inner), range(10), workers=2, chunksize=chunksize, on_error="return")
    )
    error = got.pop(5)
    assert got == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert isinstance(error, WorkerCrashed)
    trace = str(error.__cause__)
    assert said in trace
    assert "in outer" in trace
    assert "/mrpy/" not in trace.replace(__file__, ""), "frames of mrpy tell the user nothing"


@pytest.mark.fault(2)
@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_an_item_that_runs_over_its_time_shows_where_it_was(backend: str) -> None:
    options: dict[str, Any] = {"backend": backend, "workers": 2, "timeout": 0.3, "on_error": "return"}
    got = list(mrpy.pmap(lambda x: outer(x, spin), range(8), **options))
    error = got.pop(5)
    assert got == [0, 1, 2, 3, 4, 6, 7]
    assert isinstance(error, ItemTimeout)
    assert "here it spins" in str(error.__cause__)


@pytest.mark.fault(4, 18)
def test_a_child_of_a_task_that_dies_leaves_no_stack_of_its_own() -> None:
    def check(x: int) -> int:
        if x == 2:
            pid = os.fork()
            if not pid:
                ctypes.string_at(0)
            os.waitpid(pid, 0)
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    error = list(mrpy.pmap(check, range(4), workers=2, on_error="return"))[2]
    assert isinstance(error, WorkerCrashed)
    assert error.__cause__ is None, "nobody can tell where a SIGKILL met it"


@pytest.mark.fault(17)
def test_a_program_that_a_task_starts_may_be_terminated_as_usual() -> None:
    def ended(x: int) -> int:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
        child.terminate()
        return child.wait()

    assert list(mrpy.pmap(ended, range(2), workers=2)) == [-signal.SIGTERM] * 2


@pytest.mark.fault(4)
def test_where_no_memory_can_be_had_as_a_file_a_temporary_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be there and refused, as in a container (seccomp)."""

    def refuse(*_: Any) -> int:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "memfd_create", refuse)
    got: list[Any] = list(
        mrpy.pmap(functools.partial(outer, inner=fall), range(4, 7), chunksize=1, workers=1, on_error="return")
    )
    assert [type(each) for each in got] == [int, WorkerCrashed, int]
    assert "here it falls" in str(got[1].__cause__)

"""Rows 35 and 36: clocks that jump, very many tasks, no descriptors left."""

from __future__ import annotations

import ast
import ctypes
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from laws import LOCAL, eventually
from watching import run_script

import mrpy
from mrpy.errors import ItemTimeout
from mrpy.scheduler.backends import alarm

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")


@pytest.mark.fault(35)
def test_nothing_in_mrpy_looks_at_the_wall_clock() -> None:
    for path in Path(mrpy.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) != ("time", "time"), f"{path}:{node.lineno}"
            if isinstance(node, ast.ImportFrom) and node.module == "time":
                assert "time" not in [alias.name for alias in node.names], f"{path}:{node.lineno}"


@pytest.mark.fault(35)
@pytest.mark.parametrize("backend", LOCAL)
def test_a_clock_that_jumps_changes_no_timeout(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    jumps = iter(range(0, 10**12, 10**7))
    monkeypatch.setattr(time, "time", lambda: float(next(jumps)))

    def nap(x: int) -> int:
        time.sleep(60 if x == 2 else 0.01)
        return x

    got: list[Any] = list(mrpy.pmap(nap, range(5), timeout=1, on_error="return", backend=backend, workers=2))
    assert isinstance(got.pop(2), ItemTimeout)
    assert got == [0, 1, 3, 4]


@pytest.mark.parametrize("backend", LOCAL)
def test_an_item_that_kept_all_others_from_looking_is_late_all_the_same(backend: str) -> None:
    """As `sorted` and the like do: who has the interpreter lock cannot be stopped, and is through when he is."""

    def work(x: int) -> int:
        if x == 1:
            ctypes.PyDLL(None).usleep(1_000_000)
        return x

    got = list(mrpy.pmap(work, range(3), timeout=0.3, on_error="return", chunksize=3, backend=backend, workers=2))
    assert isinstance(got.pop(1), ItemTimeout)
    assert got == [0, 2]


def test_an_item_is_late_though_the_parent_was_kept_from_looking() -> None:
    with mrpy.session("processes", workers=1):
        options: dict[str, Any] = {"timeout": 0.3, "on_error": "return", "chunksize": 1}
        run = mrpy.pmap(lambda x: time.sleep(1 if x == 1 else 0) or x, range(4), **options)
        assert next(run) == 0
        ctypes.PyDLL(None).usleep(2_000_000)
        late, *rest = run
        assert isinstance(late, ItemTimeout) and rest == [2, 3]


@pytest.mark.fault(36)
@pytest.mark.parametrize("backend", LOCAL)
def test_very_many_tiny_items_never_stand_in_memory_together(backend: str) -> None:
    alive = most = 0

    class Counted(int):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def source() -> Iterator[int]:
        nonlocal alive, most
        for n in range(200_000):
            alive += 1
            most = max(most, alive)
            yield Counted(n)

    count = sum(1 for _ in mrpy.pmap(int, source(), backend=backend, workers=2, buffersize=2_000))
    assert count == 200_000
    assert most < 10_000


@pytest.mark.fault(19)
def test_who_closes_the_descriptors_of_a_session_is_told_so() -> None:
    """Unless the session has seen it before him: then his run has another."""
    done = run_script(
        """
        import mrpy, os
        print(list(mrpy.pmap(abs, [-1, 2], workers=2)))
        os.closerange(3, 1000)
        try:
            print(list(mrpy.pmap(abs, [-1, 2], workers=2)))
        except mrpy.errors.BackendError as error:
            print("somebody has closed the files" in str(error), "bug" in str(error))
        """
    )
    assert done.stdout.splitlines() in (["[1, 2]", "True False"], ["[1, 2]", "[1, 2]"]), done.stderr


@pytest.mark.fault(19)
def test_a_session_that_was_closed_from_below_ends_without_a_word() -> None:
    """Nor does what it slept on, which is nothing any more or another's, break its end."""
    done = run_script(
        """
        import mrpy, os
        from mrpy.scheduler.backends import poller
        class Ours(poller.EpollPoller):
            def take(self):
                if broken:
                    raise OSError(22, "Invalid argument")
                return super().take()
            def sleep(self, timeout, **how):
                super().sleep(0.1, **how)
        broken = []
        poller.EpollPoller = Ours
        session = mrpy.session("processes", workers=2)
        with session:
            print(list(mrpy.pmap(abs, [-1, 2])))
            broken.append(True)
            try:
                list(mrpy.pmap(abs, [-1, 2]))
            except mrpy.errors.BackendError as error:
                print("somebody has closed the files" in str(error))
        """
    )
    assert (done.stdout, done.stderr) == ("[1, 2]\nTrue\n", "")


@pytest.mark.fault(19)
@pytest.mark.parametrize("backend", LOCAL)
def test_who_closes_the_descriptors_of_all_sessions_can_end(backend: str) -> None:
    done = run_script(
        f"""
        import mrpy, os, time
        print(list(mrpy.pmap(abs, [-1, 2], workers=2, backend={backend!r})))
        time.sleep(0.2)
        os.closerange(3, 1000)
        """
    )
    assert (done.stdout, done.returncode) == ("[1, 2]\n", 0), done.stderr


@pytest.mark.fault(36)
def test_without_descriptors_a_run_says_so_and_with_them_it_goes_on() -> None:
    done = run_script(
        """
        import mrpy, os, resource
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        list(map(len, mrpy.pmap(str, range(3), backend="serial")))  # imports what it needs
        held = []
        while True:
            try:
                held.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                break
        try:
            list(mrpy.pmap(abs, range(4), workers=2))
        except (OSError, mrpy.errors.MrpyError) as error:
            print("open" in str(error).lower())
        for fd in held:
            os.close(fd)
        with mrpy.session("processes", workers=2):
            print(list(mrpy.pmap(abs, range(4))))
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["True", "[0, 1, 2, 3]"]


TRACED = """
import _thread, sys, threading, time

def look(*_):
    return look

if {of!r} == "a debugger":  # has each thread traced that is started from here on, by whatever
    start = _thread.start_new_thread
    def start_traced(function, *more):
        return start(lambda *arguments: (sys.{how}(look), function(*arguments)), *more)
    _thread.start_new_thread = threading._start_new_thread = start_traced
    sys.{how}(look)
else:
    getattr(sys.modules[{of!r}], {how!r})(look)

import mrpy

def nap(x):
    time.sleep(60 if x == 2 else 0.01)
    return x

def spin(x):
    ends = time.monotonic() + (60 if x == 2 else 0)
    while time.monotonic() < ends:
        pass
    return x

def timed(function, backend):
    rows = mrpy.pmap(function, range(4), timeout=0.3, on_error="return", backend=backend, workers=2)
    got.append([type(row).__name__ for row in rows])

got = []
timed({function}, "threads")
thread = threading.Thread(target=timed, args=(spin, "serial"))
thread.start()
thread.join()
timed(abs, "serial")
print(got)
"""


@pytest.mark.fault(2)
@pytest.mark.parametrize("of", ["sys", "threading", "a debugger"])
@pytest.mark.parametrize("how", ["settrace", "setprofile"])
@pytest.mark.parametrize("function", ["nap", "spin"])
def test_what_was_stopped_on_time_holds_up_nobody_who_is_traced(of: str, how: str, function: str) -> None:
    """By a debugger, or a measurement of coverage: on 3.11 each function that began then began for ever, as long as the
    item was in a system call, and where its thread had ended before, for good."""
    code = TRACED.format(of=of, how=how, function=function)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    stopped = ["int", "int", "ItemTimeout", "int"]
    assert done.stdout == f"{[stopped, stopped, ['int'] * 4]}\n"


@pytest.mark.fault(2)
def test_nothing_is_thrown_into_an_import_that_began_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It might leave the import system locked for good. What throws has to wait for the interpreter lock."""
    (tmp_path / "slowly_made.py").write_text("import time\ntime.sleep(0.6)\nmade = True\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)

    def work(_: int) -> None:
        for seconds in (0.6, 20):
            ends = time.monotonic() + seconds
            while time.monotonic() < ends:
                pass
            import slowly_made  # noqa: F401

    def late(*given: Any) -> Any:
        time.sleep(0.5)
        return act(*given)

    place = "_throws" if sys.version_info >= (3, 13) else "start_new_thread"  # what it begins with
    act = getattr(alarm, place)
    monkeypatch.setattr(alarm, place, late)
    [got] = mrpy.pmap(work, [1], backend="threads", timeout=0.3, on_error="return")
    assert isinstance(got, ItemTimeout)
    assert eventually(lambda: hasattr(sys.modules.get("slowly_made"), "made"))
    del sys.modules["slowly_made"]

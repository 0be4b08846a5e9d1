"""Rows 15 to 17 and 19: however the parent ends, and whatever tasks leave behind, nothing of it is left."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from laws import eventually
from watching import ROOT, alive, assert_usable, pids_of, run_script, running_script, team

import mrpy
from mrpy.errors import ItemTimeout, WorkerCrashed
from mrpy.scheduler.backends import orphans, worker_main
from mrpy.scheduler.backends.alarm import is_closed
from mrpy.scheduler.backends.poller import EpollPoller
from mrpy.scheduler.backends.processes import ProcessesBackend

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

# ---- 15: the parent is killed ------------------------------------------------------------------------

KILLED = """
    import mrpy, numpy, os, subprocess, sys, time
    def work(array):
        child = subprocess.Popen(["sleep", "300"])
        os.write(2, f"{os.getpid()} {child.pid}\\n".encode())
        time.sleep(60)
        return array + 1
    with mrpy.session("processes", workers=2):
        kept = list(mrpy.pmap(lambda x: numpy.full(200_000, x), range(4), chunksize=1))
        print("ready", flush=True)
        list(mrpy.pmap(work, kept, chunksize=1))
"""


@pytest.mark.fault(15)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_parent_that_is_killed_leaves_no_process_no_file_and_no_shared_memory(
    how: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with running_script(KILLED) as (process, lines):
        assert lines == ["ready"]
        assert process.stderr is not None
        pids = [pid for _ in range(2) for pid in pids_of(process.stderr.readline())]
        maps = "".join(Path(f"/proc/{pid}/maps").read_text() for pid in [process.pid, *pids])
        assert "/memfd:mrpy" in maps, "the arrays are in shared memory"
        assert "/dev/shm" not in maps, "which has no name that could be left"
        process.send_signal(how)
        process.wait(5)
        assert eventually(lambda: not any(map(alive, pids)), 2), "workers, and the children of tasks, are gone"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault(15)
def test_a_parent_that_is_killed_while_its_workers_start_leaves_none() -> None:
    code = """
        import mrpy, os, time
        os.environ["OF_THE_TEST"] = str(os.getpid())
        for _ in range(8):
            mrpy.submit(time.sleep, 60)
        print("ready", flush=True)
        time.sleep(60)
    """
    with running_script(code) as (process, _):
        process.kill()
        process.wait(5)
        assert eventually(lambda: not of_the_test(process.pid), 2)


def of_the_test(parent: int) -> list[int]:
    """Processes that were started by the script of this pid."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"OF_THE_TEST={parent}\0".encode() in (folder / "environ").read_bytes() and alive(int(folder.name)):
                found.append(int(folder.name))
    return found


# ---- 16: the parent ends ---------------------------------------------------------------------------------


@pytest.mark.fault(16)
@pytest.mark.parametrize(
    "ending",
    [
        "held = mrpy.session('processes', workers=1); held.__enter__(); print(mrpy.submit(os.getpid).result())",
        "held = mrpy.submit(time.sleep, 60)",
        "run = iter(mrpy.pmap(time.sleep, [0, 60, 60], backend='threads', workers=2, chunksize=1)); next(run)",
        "atexit.register(lambda: print(os.getpid(), *mrpy.pmap(lambda x: os.getpid(), [1], workers=1)))",
        "mrpy.submit(time.sleep, 60).add_done_callback(print)",
        "threading.Thread(target=lambda: [run_on(x) for x in mrpy.pmap(abs, range(3), workers=1)]).start()",
    ],
)
def test_a_program_ends_whatever_is_still_open(ending: str) -> None:
    code = f"""
        import atexit, mrpy, os, sys, threading, time
        os.environ["OF_THE_TEST"] = str(os.getpid())
        print(os.getpid())
        def run_on(x): time.sleep(0.05)
        {ending}
    """
    began = time.monotonic()
    done = run_script(code)
    assert time.monotonic() - began < 10
    assert done.returncode == 0
    if "submit(time.sleep" in ending:
        assert "RuntimeWarning: 1 call of mrpy.submit had not ended and was stopped with the program" in done.stderr
    else:
        assert done.stderr == ""
    assert eventually(lambda: not of_the_test(pids_of(done.stdout.splitlines()[0])[0]), 2)


# ---- 16: what is begun when the main thread has ended ------------------------------------------------------


def start_no_thread_at_the_end() -> None:
    """What Python 3.12 does when the main thread has ended, on any version."""
    import _thread
    import threading

    def unless_it_ends(start: Any) -> Any:
        def starts(*args: Any) -> Any:
            if not threading.main_thread().is_alive():
                raise RuntimeError("can't create new thread at interpreter shutdown")
            return start(*args)

        return starts

    _thread.start_new_thread = unless_it_ends(_thread.start_new_thread)
    threading.Thread.start = unless_it_ends(threading.Thread.start)  # type: ignore[method-assign]


as_it_is_and_without_threads = pytest.mark.parametrize("threads", [True, False], ids=["as it is", "without threads"])


def run_at_the_end(body: str, threads: bool, when: str = "atexit.register", before: str = "") -> tuple[str, str]:
    """What a script prints, and says on its standard error, which calls `run` when its main thread has ended."""
    code = f"""
import _thread, asyncio, atexit, mrpy, os, sys, threading, time
from typing import Any
def outlive(*runs):
    for run in runs:
        threading.Thread(target=lambda run=run: (threading.main_thread().join(), run())).start()
{source_of(start_no_thread_at_the_end)}
{"" if threads else "start_no_thread_at_the_end()"}
{before}
def run():
{textwrap.indent(textwrap.dedent(body), "    ")}
{when}(run)
"""
    done = run_script("", "-W", "default::RuntimeWarning", "-c", code)
    assert done.returncode == 0
    return done.stdout, done.stderr


@pytest.mark.fault(16)
@as_it_is_and_without_threads
@pytest.mark.parametrize("when", ["atexit.register", "outlive"])
@pytest.mark.parametrize("before", ["", "mrpy.submit(abs, 1).result()"], ids=["cold", "warm"])
def test_processes_work_until_the_very_end(threads: bool, when: str, before: str) -> None:
    body = """
        given = {"workers": 2, "on_error": "return"}
        print(sum(mrpy.pmap(lambda x: x + 1, range(10_000), workers=2)))
        print([str(x)[-7:] for x in mrpy.pmap(lambda x: os.abort() if x == 2 else x, range(4), **given)])
        print([type(x).__name__ for x in mrpy.pmap(time.sleep, [0, 60, 0], timeout=0.5, **given)])
        for x in mrpy.pmap(lambda x: 1 // (x - 5), range(10**9), workers=2):
            if x == -1:
                break
        told = threading.Event()
        pending = mrpy.submit(abs, -3)
        pending.add_done_callback(lambda _: told.set())
        print(pending.result(), told.wait(5))
        try:
            late = mrpy.submit(time.sleep, 60)
            late.result(0.2)
        except TimeoutError as error:
            print(error)
            late.cancel()
        async def items():
            return [x async for x in mrpy.pmap(abs, range(-3, 3), workers=2)]
        print(asyncio.run(items()))
        with mrpy.session("processes", workers=1):
            print(list(mrpy.pmap(abs, [-1])))
    """
    assert run_at_the_end(body, threads, when, before) == (
        "50005000\n"
        "['0', '1', 'SIGABRT', '3']\n"
        "['NoneType', 'ItemTimeout', 'NoneType']\n"
        "3 True\n"
        "sleep has not ended after 0.2 seconds; it goes on\n"
        "[3, 2, 1, 0, 1, 2]\n"
        "[1]\n",
        "",
    )


@pytest.mark.fault(16)
@as_it_is_and_without_threads
@pytest.mark.parametrize("when", ["atexit.register", "outlive"])
def test_dask_works_until_the_very_end_once_it_has_begun(threads: bool, when: str) -> None:
    pytest.importorskip("distributed")
    body = """
        print(sum(mrpy.pmap(lambda x: x + 1, range(10_000))))
        print([type(x).__name__ for x in mrpy.pmap(lambda x: 1 // x, range(3), on_error="return")])
        print(mrpy.submit(abs, -3).result())
    """
    before = "mrpy.configure(backend='dask', workers=1); mrpy.submit(abs, 1).result()"
    expected = "50005000\n['ZeroDivisionError', 'int', 'int']\n3\n"
    assert run_at_the_end(body, threads, when, before) == (expected, "")


@pytest.mark.fault(16)
@as_it_is_and_without_threads
def test_threads_that_outlive_the_main_one_share_their_workers(threads: bool) -> None:
    before = "beside = [lambda: run() for _ in range(3)]; outlive(*beside)"
    body = """
        total = sum(mrpy.pmap(lambda x: time.sleep(0.001) or x, range(50), workers=2))
        print(f"{total}\\n", end="")
    """
    assert run_at_the_end(body, threads, "outlive", before) == (4 * "1225\n", "")


@pytest.mark.fault(16)
@as_it_is_and_without_threads
def test_a_session_is_closed_at_the_end_by_one_thread_while_another_waits(threads: bool) -> None:
    before = """
from queue import SimpleQueue
sessions = SimpleQueue()
def closes():
    session = sessions.get()
    while not session.driver._leader_sleeps:
        time.sleep(0.01)
    session.close()
outlive(closes)
"""
    body = """
        with mrpy.session("processes", workers=1) as session:
            pending = mrpy.submit(time.sleep, 60)
            sessions.put(session)
            try:
                pending.result()
            except mrpy.errors.SessionClosed as error:
                print(error)
    """
    expected = "the session was closed before this was done\n", ""
    assert run_at_the_end(body, threads, "outlive", before) == expected


@pytest.mark.fault(16)
def test_a_daemon_thread_that_waits_at_the_end_ends_in_silence() -> None:
    code = """
        import atexit, mrpy, threading, time
        def loop():
            for _ in mrpy.pmap(time.sleep, [0, 60], workers=2, chunksize=1):
                begun.wait()
        def result():
            mrpy.pmap(lambda _: (begun.wait(), time.sleep(60)), [0], backend="threads", workers=1).count()
        def join():  # when mrpy has closed its sessions
            for thread in several:
                thread.join(20)
            print([thread.is_alive() for thread in several])
        begun = threading.Barrier(3)
        several = [threading.Thread(target=target, daemon=True) for target in (loop, result)]
        atexit.register(join)
        for thread in several:
            thread.start()
        begun.wait()
    """
    done = run_script(code)
    assert (done.stdout, done.stderr, done.returncode) == ("[False, False]\n", "", 0)


@pytest.mark.fault(16)
def test_a_callback_is_called_at_the_end_without_a_thread_of_its_own() -> None:
    before = "pending = mrpy.submit(time.sleep, 60); pending.add_done_callback(print)"
    printed, said = run_at_the_end("pass", False, before=before)
    assert printed == "<PendingResult sleep: done>\n"
    assert re.fullmatch(".*RuntimeWarning: 1 call of mrpy.submit had not ended.*\n", said)


@pytest.mark.fault(16)
@as_it_is_and_without_threads
@pytest.mark.parametrize("backend", ["threads", "dask"])
@pytest.mark.parametrize("when", ["atexit.register", "outlive"])
def test_what_needs_threads_runs_serially_at_the_end_if_it_has_to(backend: str, when: str, threads: bool) -> None:
    body = f"""
        for _ in range(2):
            print(*mrpy.pmap(abs, range(-3, 3), backend={backend!r}, workers=2))
    """
    out, err = run_at_the_end(body, threads, when)
    assert out == 2 * "3 2 1 0 1 2\n"
    if threads and backend == "threads" and sys.version_info[:2] != (3, 12):
        assert err == ""
    else:
        assert err.count(f"nothing can be started on backend={backend!r} any more: this runs serially instead") == 1
        assert "Traceback" not in err


@pytest.mark.fault(16)
@as_it_is_and_without_threads
@pytest.mark.parametrize("when", ["atexit.register", "outlive"])
def test_a_progress_bar_is_left_out_at_the_end_if_it_has_to(when: str, threads: bool) -> None:
    out, err = run_at_the_end("print(*mrpy.pmap(abs, range(-3, 3), progress=True, workers=1))", threads, when)
    assert out == "3 2 1 0 1 2\n"
    if threads and sys.version_info[:2] != (3, 12):
        assert "6/6" in err
    else:
        assert err == ""


OPENED = "held = mrpy.session('threads', workers=2); held.__enter__()"
IN_VAIN = {
    "no thread can be started": (OPENED, "mrpy.submit(abs, 1).result()", "atexit.register"),
    "could not be handed to a thread": (
        f"{OPENED}; mrpy.submit(abs, 1).result(); now = threading.Event(); two = []",
        "one = mrpy.submit(lambda: (now.wait(), two[0].result())); two.append(mrpy.submit(abs, 1)); now.set(); "
        "one.result()",
        "atexit.register",
    ),
    "nobody can keep the time": ("", "list(mrpy.pmap(abs, [1], backend='serial', timeout=5))", "outlive"),
}


@pytest.mark.fault(16)
def test_the_threads_that_are_there_do_it_where_no_more_can_be_started() -> None:
    body = """
        print(*mrpy.pmap(lambda n: time.sleep(0.1) or n, range(4), chunksize=1))
        calls = [mrpy.submit(time.sleep, wait) for wait in (60, 60, 0)]
        print(calls[1].cancel(), calls[0].cancel(), calls[2].result())
        print(mrpy.submit(abs, -1).result())
    """
    before = f"{OPENED}; mrpy.submit(abs, 1).result()"  # so it has the driver's thread, and one more
    assert run_at_the_end(body, False, before=before) == ("0 1 2 3\nTrue True None\n1\n", "")


@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_a_main_thread_that_threading_takes_for_ended_changes_nothing(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to Python 3.12 a Ctrl-C amid its `is_alive` may have it think so."""
    monkeypatch.setattr(threading.main_thread(), "is_alive", lambda: False)
    with mrpy.session(backend, workers=2):
        threads = set(mrpy.pmap(lambda n: threading.get_ident(), range(20), chunksize=1))
        assert threading.get_ident() not in threads or backend == "processes"
    assert list(mrpy.pmap(abs, [-1], backend=backend)) == [1]


@pytest.mark.fault(16)
@pytest.mark.parametrize("problem", IN_VAIN)
def test_what_cannot_run_without_threads_says_so(problem: str) -> None:
    before, call, when = IN_VAIN[problem]
    body = f"""
        try:
            {call}
        except mrpy.errors.BackendError as error:
            print(error)
    """
    out, err = run_at_the_end(body, False, when, before)
    assert problem in out
    assert err == ""


# ---- 17: what tasks leave -----------------------------------------------------------------------------------


def leave_files(_: int) -> int:
    vars(sys).setdefault("kept", []).append([open(os.devnull) for _ in range(200)])  # noqa: SIM115
    return os.getpid()


def leave_a_thread(_: int) -> int:
    import threading

    threading.Thread(target=threading.Event().wait).start()
    return os.getpid()


def leave_a_child(_: int) -> int:
    vars(sys).setdefault("kept", []).append(subprocess.Popen(["sleep", "300"]))
    return os.getpid()


def leave_a_child_with_all_descriptors(_: int) -> int:
    os.system("sleep 300 &")  # noqa: S605, S607
    return os.getpid()


def leave_a_stubborn_child(_: int) -> int:
    deaf = "import signal; signal.signal(15, signal.SIG_IGN); signal.pause()"
    vars(sys).setdefault("kept", []).append(subprocess.Popen([sys.executable, "-c", deaf]))
    return os.getpid()


LEFT: list[Callable[[int], int]] = [
    leave_files, leave_a_thread, leave_a_child, leave_a_child_with_all_descriptors, leave_a_stubborn_child,
]  # fmt: skip


def group(worker: int) -> list[int]:
    """The processes of a worker's group that live: itself and the children of its tasks."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            if os.getpgid(int(folder.name)) == worker and alive(int(folder.name)):
                found.append(int(folder.name))
    return found


@pytest.mark.fault(17)
@pytest.mark.parametrize("leave", LEFT)
def test_what_a_task_leaves_running_ends_with_its_session(leave: Callable[[int], int]) -> None:
    with mrpy.session("processes", workers=2) as session:
        workers = set(mrpy.pmap(leave, range(6), chunksize=1))
        assert_usable(session)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert eventually(lambda: not any(map(group, workers)), 2)


@pytest.mark.fault(17)
@pytest.mark.parametrize("leave", LEFT[2:])
def test_what_a_task_leaves_running_ends_with_its_worker_and_hides_no_death(leave: Callable[[int], int]) -> None:
    with mrpy.session("processes", workers=1) as session:
        worker = mrpy.submit(leave, 0).result(20)
        os.kill(worker, signal.SIGKILL)  # its socket is still held, by the child
        assert eventually(lambda: worker not in team(session), 2), "a death is noticed within two seconds"
        assert eventually(lambda: not group(worker), 2)
        assert_usable(session)


@pytest.mark.fault(17)
@pytest.mark.parametrize("leave", [leave_a_thread, leave_a_child])
def test_a_script_whose_tasks_leave_something_ends(leave: Callable[[int], int]) -> None:
    code = f"import mrpy, os, subprocess, sys\n{source_of(leave)}\nprint(*mrpy.pmap({leave.__name__}, [0], workers=1))"
    done = run_script(code)
    assert (done.returncode, done.stderr) == (0, "")
    assert eventually(lambda: not group(pids_of(done.stdout)[0]), 2)


def leave_a_deaf_child() -> int:
    """One that hears no SIGTERM."""
    child = subprocess.Popen(["sh", "-c", "trap '' TERM; echo; sleep 300; sleep 300"], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    return child.pid


@pytest.mark.fault(17)
def test_nobody_waits_for_what_a_worker_leaves_and_it_is_ended_all_the_same(
    session: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(orphans, "CHILDREN", 4)

    def die(x: int) -> int:
        if x == 3:
            (tmp_path / str(leave_a_deaf_child())).touch()
            os._exit(1)
        return x

    got: list[Any] = list(mrpy.pmap(die, range(8), chunksize=1, on_error="return"))
    assert isinstance(got.pop(3), mrpy.errors.WorkerCrashed)
    children = [int(path.name) for path in tmp_path.iterdir()]
    assert any(map(alive, children)), "nothing was held up"
    assert got == [0, 1, 2, 4, 5, 6, 7]
    assert eventually(lambda: not any(map(alive, children)), 15)
    assert_usable(session)


@pytest.mark.fault(17)
@pytest.mark.skipif(sys.platform != "linux", reason="as the first process of a container")
def test_who_becomes_the_parent_of_what_tasks_leave_waits_for_it() -> None:
    done = run_script(
        """
        import mrpy, ctypes, os, subprocess, time
        ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER

        def leave(how):
            subprocess.Popen(["sh", "-c", how + "; echo; sleep 300; sleep 300"], stdout=subprocess.PIPE).stdout.readline()

        with mrpy.session("processes", workers=2):
            list(mrpy.pmap(leave, ["true", "trap '' TERM"], chunksize=1))
        try:
            print(os.waitpid(-1, os.WNOHANG))
        except ChildProcessError:
            print("none")
        """
    )
    assert done.stdout == "none\n", done.stderr


LEAKS = """
import mrpy, os
from multiprocessing import shared_memory

def keep(n):
    kept.append(shared_memory.SharedMemory(create=True, size=100))
    os.system("sleep 300 &")
    return os.getpid(), kept[-1].name

kept = []
rows = list(mrpy.pmap(keep, range(4), chunksize=1, workers=2))
print(*(number for number, _ in rows))
print(*(name for _, name in rows))
"""


@pytest.mark.fault(17)
def test_what_tracks_the_shared_memory_of_tasks_may_clear_it_away() -> None:
    """It is a process of its own, which `multiprocessing` starts beside a task, and so do joblib and scikit-learn."""
    done = run_script(LEAKS)
    workers, names = (line.split() for line in done.stdout.splitlines())
    assert len(names) == 4
    assert [name for name in names if Path("/dev/shm", name).exists()] == []
    assert not any(group(int(worker)) for worker in workers)


def source_of(function: Callable[..., Any]) -> str:
    import inspect

    return textwrap.dedent(inspect.getsource(function))


# ---- 19: descriptors and output ------------------------------------------------------------------------------


@pytest.mark.fault(19)
@pytest.mark.parametrize("then", ["returns", "goes on", "closes all"])
def test_a_task_that_closes_its_descriptors_loses_itself_only(session: Any, then: str) -> None:
    def close(x: int) -> int:
        if x == 3:
            os.closerange(0 if then == "closes all" else 3, 1024)
            if then == "goes on":
                time.sleep(60)
        return x

    got = list(mrpy.pmap(close, range(8), chunksize=4, on_error="return"))
    assert isinstance(got.pop(3), WorkerCrashed)
    assert got == [0, 1, 2, 4, 5, 6, 7]
    assert_usable(session)


@pytest.mark.fault(19)
def test_what_a_task_starts_has_no_descriptors_of_its_worker(session: Any) -> None:
    """A child could write into the socket, and would keep it open."""

    def inherited(x: int) -> list[str]:
        listing = subprocess.run(["ls", "-l", "/proc/self/fd"], close_fds=False, capture_output=True, check=True)
        return [line.split(" -> ")[1] for line in listing.stdout.decode().splitlines() if " -> " in line]

    for targets in mrpy.pmap(inherited, range(2), chunksize=1):
        assert not [each for each in targets if "mrpy" in each or each.startswith("socket:")], targets
    assert_usable(session)


@pytest.mark.fault(19)
def test_a_task_that_becomes_another_program_is_lost_at_once(session: Any) -> None:
    def become(x: int) -> int:
        if x == 2:
            os.execv("/bin/sleep", ["sleep", "40"])
        return x

    began = time.monotonic()
    got: list[Any] = list(mrpy.pmap(become, range(5), chunksize=1, on_error="return"))
    assert isinstance(got.pop(2), mrpy.errors.WorkerCrashed)
    assert got == [0, 1, 3, 4]
    assert time.monotonic() - began < 30


@pytest.mark.fault(19)
def test_a_flood_past_python_does_no_harm() -> None:
    """Bytes that go to descriptor 1 itself, from a task and from a program that it starts."""
    done = run_script(
        """
        import mrpy, os, subprocess
        def flood(x):
            for _ in range(80):
                os.write(1, b"y" * 65536)
            subprocess.run("head -c 5000000 /dev/zero | tr '\\\\0' y", shell=True, check=True)
            return x
        print(list(mrpy.pmap(flood, range(2), workers=2, chunksize=1)) == [0, 1])
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("y") > 2 * (80 * 65_000 + 4_900_000)
    assert done.stdout.endswith("True\n")


@pytest.mark.fault(19)
def test_a_parent_that_reads_no_output_is_waited_for_and_nothing_is_lost() -> None:
    """A pipe that nobody reads stops who writes, as it does in a plain loop."""
    code = "import mrpy\nprint(list(mrpy.pmap(lambda x: print('z' * 100_000) or x, range(30), workers=2)))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    time.sleep(0.5)  # the reader that is late
    out, _ = process.communicate(timeout=30)
    assert out.count("z" * 100_000) == 30
    assert out.splitlines()[-1] == str(list(range(30)))


IMPORTS = """
import sys, threading, time
import mrpy

def function(n):
    __import__(f"slow_{n % 3}")
    return n

with mrpy.session("BACKEND", workers=4):
    for _ in range(3):
        made = list(mrpy.pmap(function, range(12), timeout=0.05, on_error="return"))
import json.tool, xml.dom.minidom
print(sum(type(each).__name__ == "ItemTimeout" for each in made) < 12, "slow_0" in sys.modules)
"""


@pytest.mark.parametrize("backend", ["threads", "serial"])
def test_who_is_stopped_as_he_imports_leaves_no_lock_taken(backend: str, tmp_path: Path) -> None:
    """All threads waited for it at their next import."""
    for n in range(3):
        (tmp_path / f"slow_{n}.py").write_text("import time\ntime.sleep(0.2)\nimport statistics\n", encoding="utf-8")
    script = tmp_path / "script.py"
    script.write_text(IMPORTS.replace("BACKEND", backend), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=30, check=False, cwd=tmp_path
    )
    assert done.stdout == "True True\n", done.stderr


def test_who_is_stopped_amid_a_finalizer_is_stopped_behind_it() -> None:
    """What is thrown into a finalizer is shown, and lost."""
    began, ended = threading.Event(), threading.Event()

    class Slow:
        def __del__(self) -> None:
            began.set()
            time.sleep(0.3)

    def function(_: int) -> None:
        slow = Slow()
        del slow
        try:
            while True:
                time.sleep(0.01)
        finally:
            ended.set()

    with mrpy.session("threads", workers=1):
        [made] = mrpy.pmap(function, [0], timeout=0.1, on_error="return")
        assert isinstance(made, ItemTimeout)
        assert began.is_set() and ended.wait(20)


@pytest.mark.parametrize("module", ["weakref", "_weakrefset"])
def test_nothing_is_thrown_into_what_weak_sets_and_dicts_do_when_things_go(module: str) -> None:
    file = sys.modules[module].__file__
    assert file is not None
    frames: list[FrameType] = []
    exec(compile("frames.append(look())", file, "exec"), {"frames": frames, "look": sys._getframe})
    assert is_closed(frames[0])
    assert not is_closed(sys._getframe())


ENDLESS = """
import mrpy

def function(n):
    while n == 1:
        pass
    return n

print(list(mrpy.pmap(function, range(3), backend="serial", timeout=0.3, on_error="skip")))
"""


@pytest.mark.parametrize("how", ["import endless", "import threading; t = threading.Thread(target=__import__, args=('endless',)); t.start(); t.join()"])
def test_an_item_of_a_module_that_is_being_imported_has_its_time_too(how: str, tmp_path: Path) -> None:
    """Nothing is thrown into what it imports itself; who has called it may be importing."""
    (tmp_path / "endless.py").write_text(ENDLESS, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", how], capture_output=True, text=True, timeout=30, check=False, cwd=tmp_path
    )
    assert done.stdout == "[0, 2]\n", done.stderr


@pytest.mark.fault(2)
@pytest.mark.skipif(not hasattr(ctypes, "PyDLL"), reason="nothing to keep the lock with")
def test_a_consumer_who_keeps_the_lock_for_long_costs_no_item_its_time() -> None:
    """As the sorting of a long list does: answers that came meanwhile count before what is late."""
    keeps = ctypes.PyDLL(None).usleep
    with mrpy.session("processes", workers=2):
        for _ in range(3):
            found = []
            for each in mrpy.pmap(lambda x: time.sleep(0.15) or x, range(12), timeout=0.7, on_error="return"):
                found.append(each)
                if len(found) % 6 == 1:
                    keeps(1_000_000)
            late = [(each, each.__cause__) for each in found if isinstance(each, Exception)]
            assert found == list(range(12)), late  # where it was, if it was


@pytest.mark.fault(2)
@pytest.mark.skipif(not hasattr(select, "epoll"), reason="one thread at a time sleeps there")
def test_an_answer_that_another_thread_was_told_of_is_not_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may wait for the interpreter lock, which a consumer has kept; and nobody else is told of it again."""
    began: list[float] = []
    take_in, take = ProcessesBackend._take, EpollPoller.take

    def noted(self: Any, worker: Any, frame: Any) -> None:
        if frame.kind == worker_main.BEGAN:
            began.append(time.monotonic())
        take_in(self, worker, frame)

    def told_elsewhere(self: Any) -> Iterator[Any]:
        return (event for event in take(self) if not began or time.monotonic() > began[0] + 3)

    with mrpy.session("processes", workers=1):
        assert list(mrpy.pmap(abs, [-1])) == [1]
        monkeypatch.setattr(ProcessesBackend, "_take", noted)
        monkeypatch.setattr(ProcessesBackend, "_hear_some", lambda self: False)
        monkeypatch.setattr(EpollPoller, "take", told_elsewhere)
        assert list(mrpy.pmap(lambda x: time.sleep(0.1) or x, [1], timeout=1.5, on_error="return")) == [1]
        assert began

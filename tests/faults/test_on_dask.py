"""What is hard on Dask alone: tasks that keep the interpreter lock, arrays on their way, a cluster that changes."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import gc
import io
import itertools
import logging
import operator
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask.config
import distributed
import numpy
import pytest
from dask.sizeof import sizeof
from laws import eventually
from watching import alive, once, run_script, script_environment

import mrpy
from mrpy.errors import BackendError, ItemTimeout, OptionError, WorkerCrashed
from mrpy.scheduler import codec
from mrpy.scheduler.backends import dask_cluster, dask_reach, dask_worker
from mrpy.scheduler.backends.dask_values import Far
from mrpy.scheduler.backends.dask_worker import Stored


def work(x: int) -> int:
    if x == 3:  # for longer than anybody waits
        re.match(r"(a|aa)+$", "a" * 60 + "b")
    return x


@pytest.mark.fault(2)
def test_an_item_that_keeps_the_lock_runs_out_of_time_alone() -> None:
    with mrpy.session("dask", workers=2):
        got = list(mrpy.pmap(work, range(6), timeout=1, on_error="return"))
        assert isinstance(got[3], ItemTimeout)
        assert got[:3] + got[4:] == [0, 1, 2, 4, 5]
        assert list(mrpy.pmap(work, range(3))) == [0, 1, 2]


@pytest.mark.fault(2)
def test_how_long_the_end_of_a_chunk_takes_to_be_heard_is_the_fault_of_no_item(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a worker all whose threads are busy."""
    tell = dask_worker._tell

    def slowly(order: Any, kind: int, *what: Any, **how: Any) -> None:
        if kind == dask_worker.THROUGH:
            time.sleep(0.5)
        tell(order, kind, *what, **how)

    def hang(n: int) -> int:
        while n == 2:
            time.sleep(0.01)
        return n

    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None)
    monkeypatch.setattr(dask_worker, "_tell", slowly)
    with cluster, distributed.Client(cluster) as client, mrpy.session("dask", client=client):
        assert list(mrpy.pmap(hang, range(4), timeout=0.2, on_error="skip", chunksize=1)) == [0, 1, 3]


@pytest.mark.fault(13)
def test_a_call_that_keeps_the_lock_can_be_cancelled_and_its_worker_is_replaced() -> None:
    with mrpy.session("dask", workers=1):
        assert mrpy.submit(work, 1).result(60) == 1
        stuck = mrpy.submit(work, 3)
        time.sleep(1)  # it has begun by then, unless the machine is very busy, and would never end
        assert stuck.cancel()
        assert mrpy.submit(work, 2).result(60) == 2


@pytest.mark.fault(32)
def test_an_array_that_is_filled_again_is_what_it_was_when_it_was_given() -> None:
    def head(array: numpy.ndarray) -> float:
        return float(array[0])

    def frames() -> Iterator[numpy.ndarray]:
        buffer = numpy.empty(5000)
        for n in range(8):
            buffer[:] = n
            yield buffer

    with mrpy.session("dask", workers=1):
        assert list(mrpy.pmap(head, frames(), chunksize=1)) == list(range(8))
        array, pending = numpy.empty(5000), []
        for n in range(5):
            array[:] = n
            pending.append(mrpy.submit(head, array))
        assert [each.result(60) for each in pending] == list(range(5))


@pytest.mark.fault(8)
def test_an_exception_keeps_what_it_says_on_dask() -> None:
    def wrong(_: int) -> str:
        return b"\xff".decode()

    with mrpy.session("dask", workers=1):
        [error] = mrpy.pmap(wrong, [1], on_error="return")
        assert "invalid start byte" in str(error) and error.object == b"\xff"
        assert list(mrpy.pmap(abs, [-1], name="caf\udce9")) == [1], "a name that cannot be encoded"


@pytest.mark.fault(1)
def test_a_cluster_that_was_restarted_gets_the_functions_again() -> None:
    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0")
    with cluster, distributed.Client(cluster) as client, mrpy.session("dask", client=client):
        for _ in range(2):
            assert list(mrpy.pmap(abs, [-1, -2])) == [1, 2]
            assert mrpy.submit(abs, -3).result(60) == 3
            client.restart()
        assert list(mrpy.pmap(abs, [-1, -2])) == [1, 2]


@pytest.mark.parametrize(
    ("module", "what"),
    [("raise ModuleNotFoundError", r"no mrpy \(ModuleNotFoundError"), ("__version__ = '0.0.1'", r"mrpy 0\.0\.1")],
)
def test_a_worker_that_cannot_open_what_is_sent_is_refused_and_lives_on(module: str, what: str, tmp_path: Path) -> None:
    cluster = distributed.LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0")
    with cluster, distributed.Client(cluster) as client, a_misfit(cluster, module, tmp_path):
        client.wait_for_workers(1, timeout=30)
        with pytest.raises(BackendError, match=f"tcp://.* has {what}.*; install the same"):
            mrpy.session("dask", client=client).__enter__()
        assert client.submit(abs, -1).result(30) == 1


@contextlib.contextmanager
def a_misfit(cluster: Any, module: str, folder: Path) -> Iterator[None]:
    """A worker that has this in the place of mrpy."""
    (folder / "mrpy.py").write_text(module, encoding="utf-8")
    worker = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_worker", cluster.scheduler_address, "--no-nanny", "--no-dashboard"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        worker.kill()
        worker.wait()


def test_a_worker_that_joins_and_cannot_open_what_is_sent_is_an_error_as_long_as_it_is_there(tmp_path: Path) -> None:
    def endless() -> None:
        (tmp_path / "begun").touch()
        while True:
            time.sleep(0.01)

    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0")
    with cluster, distributed.Client(cluster) as client, mrpy.session("dask", client=client) as session:
        at_work = mrpy.submit(endless)
        assert eventually((tmp_path / "begun").exists, 30)
        with a_misfit(cluster, "raise ModuleNotFoundError", tmp_path):
            for pending in (at_work, mrpy.submit(abs, -1)):
                with pytest.raises(BackendError, match=r"tcp://.* has no mrpy.*; install the same"):
                    pending.result(30)
        assert eventually(lambda: not session.driver.backend._misfits, 30)
        assert list(mrpy.pmap(abs, [-1, -2])) == [1, 2]


@pytest.mark.fault(32)
def test_arrays_have_the_bits_of_their_sums_there() -> None:
    """Whatever is in front of them in a message."""

    def mean(row: numpy.ndarray) -> tuple[str, bool]:
        return float(row.mean()).hex(), bool(row.flags.aligned)

    rows = numpy.random.default_rng(0).random((6, 100_000))
    rows.setflags(write=False)
    with mrpy.session("dask", workers=1):
        assert list(mrpy.pmap(mean, rows)) == [mean(row) for row in rows]


def test_a_client_of_the_loop_that_waits_is_refused() -> None:
    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0")

    async def main() -> None:
        async with distributed.Client(cluster.scheduler_address, asynchronous=True) as client:
            with pytest.raises(OptionError, match="asyncio.to_thread"), mrpy.session("dask", client=client):
                pass

    with cluster:
        asyncio.run(main())


@pytest.mark.fault(3)
def test_where_workers_have_threads_an_item_that_kills_one_is_found_alone() -> None:
    """As those of a cluster that Dask makes by default have."""

    def kill(x: int) -> int:
        time.sleep(0.01)
        if x == 7:
            os._exit(1)
        return x

    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=4, dashboard_address="127.0.0.1:0")
    with cluster, distributed.Client(cluster) as client, mrpy.session("dask", client=client):
        items = mrpy.pmap(kill, range(24), chunksize=2, on_error="skip")
        assert list(items) == [x for x in range(24) if x != 7]
        assert [failure.item.position for failure in items.skipped.failures] == [7]


@pytest.mark.fault(35)
def test_what_a_lost_worker_had_made_of_a_first_chunk_is_made_again_as_it_was(tmp_path: Path) -> None:
    """It was of as many items as were done in 3 ms: of more the second time."""
    killed = tmp_path / "killed"

    def function(n: int) -> int:
        if n < 8:
            time.sleep(0.002 if not killed.exists() else 0.0)
            if n == 0 and not killed.exists():
                (tmp_path / "first").write_text(str(os.getpid()), encoding="utf-8")
        elif n == 40 and not killed.exists():
            killed.touch()
            os.kill(int((tmp_path / "first").read_text(encoding="utf-8")), signal.SIGKILL)
            time.sleep(0.5)
        return n

    with mrpy.session("dask", workers=2):
        mrpy.pmap(abs, range(20)).sum()
        assert mrpy.pmap(function, range(64)).reduce(lambda left, right: left + right) == sum(range(64))


@pytest.mark.fault(2)
def test_a_worker_that_somebody_stops_while_idle_is_replaced_where_there_is_a_timeout() -> None:
    with mrpy.session("dask", workers=2):
        victims = set(mrpy.pmap(lambda _: (time.sleep(0.05), os.getpid())[1], range(20), chunksize=1))
        for pid in victims:
            os.kill(pid, signal.SIGSTOP)
        assert list(mrpy.pmap(abs, range(-8, 0), chunksize=2, timeout=5)) == list(range(8, 0, -1))
        assert not any(map(alive, victims))


@pytest.mark.fault(4)
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_by_which_signal_a_worker_of_ours_died_is_said(number: int) -> None:
    with mrpy.session("dask", workers=1):
        error = mrpy.submit(lambda: os.kill(os.getpid(), number)).exception(60)
        assert isinstance(error, WorkerCrashed)
        assert str(error).endswith(f"was lost while it ran this: killed by {signal.Signals(number).name}")


@pytest.mark.fault(2)
def test_an_item_whose_worker_somebody_stopped_is_tried_again(tmp_path: Path) -> None:
    def frozen_once(x: int) -> int:
        if x == 3 and once(tmp_path / "marker"):
            os.kill(os.getpid(), signal.SIGSTOP)
        return x

    with mrpy.session("dask", workers=2):
        assert list(mrpy.pmap(frozen_once, range(6), chunksize=2, timeout=2)) == list(range(6))


@pytest.mark.fault(36)
def test_a_worker_comes_back_though_its_first_start_fails() -> None:
    from mrpy.scheduler.backends.dask_cluster import WorkerProcess

    async def start(self: WorkerProcess) -> Any:
        starts.append(self)
        if len(starts) < 3:
            raise OSError(errno.EMFILE, "too many open files")
        return await spawn(self)

    starts: list[WorkerProcess] = []
    with mrpy.session("dask", workers=1):
        assert mrpy.submit(abs, -1).result(60) == 1
        spawn, WorkerProcess._spawn = WorkerProcess._spawn, start  # type: ignore[method-assign]
        try:
            killed = mrpy.submit(lambda: os.kill(os.getpid(), signal.SIGKILL))
            assert isinstance(killed.exception(90), WorkerCrashed)
            assert mrpy.submit(abs, -2).result(60) == 2
        finally:
            WorkerProcess._spawn = spawn  # type: ignore[method-assign]
    assert len(starts) >= 3


async def ended_at_once(place: dask_cluster.WorkerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    await place.start()
    pid = place.pid
    await place.close()
    assert not alive(pid)


async def not_started(place: dask_cluster.WorkerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*arguments: Any, **options: Any) -> Any:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", full)
    with pytest.raises(OSError, match="too many open files"):
        await place.start()


async def ended_while_its_next_is_started(place: dask_cluster.WorkerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    async def slow(*arguments: Any, **options: Any) -> Any:
        begun.set()
        await asyncio.sleep(600)

    begun = asyncio.Event()
    await place.start()
    monkeypatch.setattr(asyncio, "create_subprocess_exec", slow)
    os.kill(place.pid, signal.SIGKILL)
    await begun.wait()
    await place.close()


@pytest.mark.fault(36)
@pytest.mark.parametrize("life", [ended_at_once, not_started, ended_while_its_next_is_started])
def test_a_place_for_a_worker_leaves_no_socket(life: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pair() -> Any:
        pairs.append(socketpair())
        return pairs[-1]

    async def main() -> list[int]:
        pairs.clear()  # the loop has one
        await life(dask_cluster.WorkerProcess("tcp://127.0.0.1:9", 0, str(tmp_path)), monkeypatch)
        return [end.fileno() for both in pairs for end in both]

    pairs: list[Any] = []
    socketpair = socket.socketpair
    monkeypatch.setattr(socket, "socketpair", pair)
    descriptors = asyncio.run(main())
    gc.collect()  # so that what is said of other things that were left is said here
    assert descriptors
    assert set(descriptors) == {-1}


@pytest.mark.fault(32)
def test_a_user_without_a_name_has_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    (tmp_path / "mrpy-dask-4194305-left").mkdir()  # of no process: no number is so large
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with mrpy.session("dask", workers=1):
        assert mrpy.submit(abs, -1).result(60) == 1
        assert not (tmp_path / "mrpy-dask-4194305-left").exists()


def test_a_worker_that_holds_much_memory_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE", "0.0001")  # of what there is: it has more
    monkeypatch.setenv("DASK_DISTRIBUTED__WORKER__MEMORY__MONITOR_INTERVAL", "10ms")
    with mrpy.session("dask", workers=1):
        for _ in range(3):
            assert mrpy.submit(abs, -1).result(30) == 1
            time.sleep(0.1)


def test_an_item_that_keeps_the_lock_for_long_is_no_death() -> None:
    def hold(x: int) -> int:
        ctypes.PyDLL(None).sleep(8)
        return x

    with dask.config.set({"distributed.scheduler.worker-ttl": "1s"}):  # ten heartbeats at least: 5 s
        with mrpy.session("dask", workers=1):
            assert mrpy.submit(hold, 1).result(60) == 1


def test_a_value_goes_to_disk_by_what_it_takes() -> None:
    assert sizeof(Stored([codec.encode(bytes(1 << 20))], False)) > 1 << 20


def test_a_relative_path_means_the_file_that_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one of that name where the workers of somebody else's cluster stand; nor, later, where the user
    has gone since."""
    for folder in ("there", "here", "elsewhere"):
        (tmp_path / folder / "in").mkdir(parents=True)
        for name in ("a.txt", "in/b.txt"):
            (tmp_path / folder / name).write_text(f"{folder}\n" * 2, encoding="utf-8")
    monkeypatch.chdir(tmp_path / "there")
    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0")
    with cluster, distributed.Client(cluster) as client, mrpy.session("dask", client=client):
        monkeypatch.chdir(tmp_path / "here")
        read = [mrpy.read_text("a.txt"), mrpy.read_text("*.txt"), mrpy.read_text("in")]
        text = mrpy.read_jsonl("a.txt")
        gone = mrpy.read_text("a.txt")
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert [lines.to_list() for lines in read] == [["here"] * 2] * 3
        with pytest.raises(mrpy.errors.DataError, match=r"^'?a\.txt") as caught:
            text.to_list()
        assert caught.value.path == "a.txt", "it is named as he wrote it"
        (tmp_path / "here" / "a.txt").unlink()
        with pytest.raises(FileNotFoundError) as missing:
            gone.to_list()
        assert missing.value.filename == "a.txt"


@pytest.mark.fault(40)
def test_a_forked_child_ends_while_a_session_is_open() -> None:
    done = run_script("""
        import os, sys, time, mrpy
        with mrpy.session("dask", workers=1) as session:
            assert mrpy.submit(abs, -1).result(60) == 1
            if not (pid := os.fork()):
                sys.exit(7)
            ends = time.monotonic() + 15
            while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0) and time.monotonic() < ends:
                time.sleep(0.05)
            if ended == (0, 0):
                os.kill(pid, 9)
            assert ended[0] and os.waitstatus_to_exitcode(ended[1]) == 7, ended
            assert os.path.exists(session.driver.backend._cluster.spill_folder)
            assert mrpy.submit(abs, -2).result(60) == 2
    """)
    assert not done.returncode, done.stderr


@pytest.mark.fault(19)
def test_what_a_task_says_comes_out_here_and_tells_of_which_item(caplog: pytest.LogCaptureFixture) -> None:
    def talk(x: int) -> int:
        print("number", x)
        print("it has no end", end="")
        logging.getLogger("me").warning("logged %s", x)
        logging.getLogger("me").info("not heard")
        warnings.warn("a warning", stacklevel=1)
        if x == 2:
            raise ValueError(x)
        return x

    logging.getLogger("me").setLevel(logging.WARNING)
    with mrpy.session("dask", workers=1), pytest.warns(UserWarning, match="a warning"):
        with contextlib.redirect_stdout(io.StringIO()) as caught:
            assert list(mrpy.pmap(talk, range(3), on_error="skip", chunksize=1)) == [0, 1]
    said = [f"(item {x}) {what}" for x in range(3) for what in (f"number {x}", "it has no end")]
    lines = caught.getvalue().splitlines()
    assert [line for line in lines if "number" in line] == said[::2], lines
    heard = [record.getMessage() for record in caplog.records if record.name == "me"]
    assert heard == [f"(item {x}) logged {x}" for x in range(3)]


@pytest.mark.fault(1)
def test_a_reduction_whose_values_went_with_a_restart_fails_and_says_so() -> None:
    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0")
    with cluster, distributed.Client(cluster) as client, mrpy.session("dask", client=client) as session:

        def items() -> Iterator[int]:
            yield from range(20)
            assert eventually(lambda: len(session.driver.backend._values) > 1)
            client.restart()
            yield from range(20, 40)

        with pytest.raises(BackendError, match="lost"):
            mrpy.preduce(operator.add, mrpy.pmap(abs, items(), chunksize=1))
        assert list(mrpy.pmap(abs, [-1, -2])) == [1, 2]


def test_of_a_cluster_that_is_there_so_many_workers_are_used_as_are_asked_for(tmp_path: Path) -> None:
    def alone(n: int) -> int:
        with (tmp_path / "busy").open("x"):  # it fails where another is at work
            time.sleep(0.05)
        (tmp_path / "busy").unlink()
        return n

    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=4, dashboard_address="127.0.0.1:0")
    with cluster, distributed.Client(cluster) as client:
        with mrpy.session("dask", client=client, workers=1) as session:
            assert session.workers == 1
            assert list(mrpy.pmap(alone, range(10), chunksize=1)) == list(range(10))
        with mrpy.session("dask", client=client, workers=8) as session:
            assert session.workers == 4
        with mrpy.session("dask", client=client) as session:
            assert session.workers == 4


INTERRUPTED = """
import os, signal, sys, threading, time, mrpy
threading.Timer(float(sys.argv[1]), os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    print(list(mrpy.pmap(abs, [-1], backend="dask", workers=1)))
    time.sleep(60)
except KeyboardInterrupt:
    pass
print(list(mrpy.pmap(abs, [-2], backend="dask", workers=1)))
"""


@pytest.mark.parametrize("moment", [0.1, 0.3, 0.5, 0.9])
def test_a_ctrl_c_while_dask_is_imported_is_not_the_end_of_it(moment: float, tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(moment)], capture_output=True, text=True, timeout=50, env=environment
    )
    assert done.stdout.splitlines()[-1:] == ["[2]"], done.stderr
    assert [path for path in tmp_path.iterdir() if path.name.startswith("mrpy-dask")] == []


def test_a_cluster_leaves_nothing_among_temporary_files_or_where_modules_are_found(tmp_path: Path) -> None:
    code = """if True:
    import mrpy, sys
    before = [*sys.path]
    print(list(mrpy.pmap(abs, [-1], backend="dask", workers=1)), before == sys.path)
    """
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, env=environment)
    assert done.stdout == "[1] True\n", done.stderr
    assert [*tmp_path.iterdir()] == []


BESIDE = """
import asyncio, mrpy

async def main():
    turns = 0
    async def beside():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.01)
    other = asyncio.create_task(beside())
    async for item in mrpy.pmap(abs, [-3], backend="dask", workers=1):
        print(item, turns > 5)
    other.cancel()

asyncio.run(main())
"""


def test_others_have_the_event_loop_while_a_cluster_starts() -> None:
    done = subprocess.run([sys.executable, "-c", BESIDE], capture_output=True, text=True, timeout=50)
    assert done.stdout == "3 True\n", done.stderr


ENDLESS = """
import sys, mrpy
address, begun = sys.argv[1:]
def endless(n):
    open(begun, "a").close()
    while True:
        pass
with mrpy.session("dask", address=address):
    list(mrpy.pmap(endless, range(3), chunksize=1))
"""


@pytest.mark.fault(15)
def test_on_somebody_elses_cluster_a_killed_parent_holds_no_worker(tmp_path: Path) -> None:
    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0")
    begun = tmp_path / "begun"
    with cluster, distributed.Client(cluster) as client:
        parent = subprocess.Popen(
            [sys.executable, "-c", ENDLESS, cluster.scheduler_address, str(begun)], env=script_environment()
        )
        try:
            assert eventually(begun.exists, 30)
        finally:
            parent.kill()
            parent.wait()
        assert client.submit(abs, -1).result(15) == 1


def test_a_call_that_is_ended_though_it_is_wanted_runs_again(tmp_path: Path) -> None:
    """Dask may have a call given up of which it needs the value all the same: an input was lost, say."""

    def twice(n: int) -> int:
        if once(tmp_path / "first"):
            while True:
                pass
        return n

    def end(dask_worker: Any) -> None:
        from mrpy.scheduler.backends.dask_ending import _running, interrupt

        for key in _running:
            dask_worker.loop.add_callback(interrupt, key, False)

    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0")
    with cluster, distributed.Client(cluster) as client, mrpy.session("dask", client=client):
        pending = mrpy.submit(twice, 5)
        assert eventually((tmp_path / "first").exists, 30)
        client.run(end)
        assert pending.result(30) == 5


def left_of_calls(dask_worker: Any) -> tuple[int, int]:
    """What a worker still has of them, without a collection: functions, and what ended calls, with all their frames."""
    from mrpy.scheduler.backends import dask_opened

    ends = sum(type(each).__name__ == "TaskStopped" for each in gc.get_objects())
    return len(dask_opened._functions), ends


def busy(n: int) -> int:
    end = time.monotonic() + 0.2
    while time.monotonic() < end:
        pass
    return n


def test_what_was_broken_off_leaves_nothing_on_somebody_elses_workers() -> None:
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0")
    with cluster, distributed.Client(cluster) as client:
        for _ in range(8):
            with mrpy.session("dask", client=client):
                for _ in mrpy.pmap(lambda n: busy(n), range(100), chunksize=2):
                    break
        assert eventually(lambda: set(client.run(left_of_calls).values()) == {(0, 0)}, 20), client.run(left_of_calls)


KILLED = """
import sys, mrpy
def works(n):
    return sum(range(100_000))
with mrpy.session("dask", address=sys.argv[1]):
    for n in mrpy.pmap(works, range(10_000), chunksize=1):
        open(sys.argv[2], "a").close()
"""


@pytest.mark.fault(15)
def test_what_a_killed_parent_had_opened_on_somebody_elses_workers_is_dropped(tmp_path: Path) -> None:
    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0")
    with cluster, distributed.Client(cluster) as client:
        command = [sys.executable, "-c", KILLED, cluster.scheduler_address, str(tmp_path / "goes")]
        parent = subprocess.Popen(command, env=script_environment())
        try:
            assert eventually((tmp_path / "goes").exists, 30)
        finally:
            parent.kill()
            parent.wait()
        assert eventually(lambda: set(client.run(left_of_calls).values()) == {(0, 0)}, 20), client.run(left_of_calls)


FORKED = """
import multiprocessing, os, sys, time, mrpy

def child():
    with mrpy.session("dask", workers=1):
        print(list(mrpy.pmap(abs, [-1, -2])), flush=True)

with mrpy.session("dask", workers=1):
    print(list(mrpy.pmap(abs, [-3])), flush=True)
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    began = time.monotonic()
    if os.fork() == 0:
        sys.exit()
    os.wait()
    print(time.monotonic() - began < 5)
"""


@pytest.mark.fault(40)
def test_a_forked_child_may_have_a_cluster_of_its_own_and_does_not_end_that_of_its_parent() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=50)
    assert done.stdout.splitlines() == ["[3]", "[1, 2]", "True"], done.stderr


class Opens:
    """A function that notes how often it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, n: int) -> int:
        return n

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        with self.path.open("a") as file:
            file.write("o")


def test_a_function_that_was_sent_twice_stays_open_when_the_first_is_let_go(tmp_path: Path) -> None:
    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0")
    with cluster, distributed.Client(cluster) as client, mrpy.session("dask", client=client) as session:
        run = mrpy.pmap(Opens(tmp_path / "opened"), itertools.count(), chunksize=1, buffersize=1)
        assert next(run) == 0
        session.driver.backend._functions.send_again()
        assert [next(run), next(run)] == [1, 2]
        time.sleep(0.3)  # by then the worker has seen what is held and what is not
        assert [next(run), next(run)] == [3, 4]
        run.close()
    assert (tmp_path / "opened").read_text() == "o"


@pytest.mark.fault(16)
def test_a_program_that_closes_nothing_ends_when_its_jobs_are_torn_down() -> None:
    """The driver's thread took the message that they are, and who ended the program waited for it."""
    done = run_script("""
        import mrpy
        from mrpy.scheduler.backends import dask
        dask.TORN_DOWN = 1000.0
        class Words(mrpy.Job):
            def map(self, line): yield line, 1
            def reduce(self, word, counts): yield sum(counts)
            def teardown(self): print("torn down")
        pairs = Words().run(["a", "b", "a"], backend="dask", workers=1)
        print(sorted(pairs))
    """)
    assert "[('a', 2), ('b', 1)]" in done.stdout and "torn down" in done.stdout and not done.stderr


@pytest.mark.fault(19)
def test_what_is_said_at_the_end_of_a_worker_is_seen() -> None:
    class Words(mrpy.Job):
        def map(self, line: str) -> Iterator[tuple[str, int]]:
            yield line, 1

        def reduce(self, word: str, counts: Iterator[int]) -> int:
            return sum(counts)

        def teardown(self) -> None:
            time.sleep(0.1)
            print("torn", end=" ")
            print("down", end="")

    for _ in range(5):
        with contextlib.redirect_stdout(io.StringIO()) as shown, mrpy.session("dask", workers=2):
            assert dict(Words().run(["a", "b", "a"])) == {"a": 2, "b": 1}
        assert shown.getvalue().count("torn down") >= 1


def test_the_log_is_silent_until_the_last_cluster_is_gone_whichever_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, log = io.StringIO(), logging.getLogger("distributed")
    handler = logging.StreamHandler(shown)
    monkeypatch.setattr(log, "handlers", [handler])
    monkeypatch.setattr(dask_cluster, "_hushed", 0)  # there may be clusters
    before = handler.level
    first, second = dask_cluster.quiet(), dask_cluster.quiet()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    handler.setLevel(logging.INFO)  # as others do
    log.critical("one is open")
    assert not shown.getvalue()
    second.__exit__(None, None, None)
    log.critical("none is")
    assert shown.getvalue() == "none is\n"
    assert handler.level == logging.INFO != before


UNREACHABLE = ["127.0.0.1:http", "tcp://127.0.0.1", "", 123, "http://127.0.0.1:8786", "nonsense://x"]


@pytest.mark.parametrize("address", UNREACHABLE)
def test_an_address_at_which_nobody_could_be_is_refused_at_once(address: Any) -> None:
    with pytest.raises(OptionError, match="must be like 'tcp://host:8786'"), mrpy.session("dask", address=address):
        pass


def test_an_address_in_any_way_that_dask_knows_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(distributed.comm.registry.backends, "carrier-pigeon", object())
    for scheme in ("inproc", "ws", "wss", "carrier-pigeon"):
        dask_reach.check_address(f"{scheme}://127.0.0.1:8786")


def test_where_memory_runs_out_for_a_result_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: Any) -> None:
        raise MemoryError

    with distributed.Client(n_workers=1, processes=False, dashboard_address=None) as client:
        future = client.submit(abs, -1)
        monkeypatch.setattr(distributed.Client, "_gather", full)
        with pytest.raises(BackendError, match="no memory left for a result of 7,000 bytes"):
            Far(future, 7000, None).load()


@pytest.mark.fault(14)
def test_a_ctrl_c_just_as_dask_begins_to_fetch_does_not_end_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    fetch = distributed.Client._gather_remote
    asked: list[int] = []

    def interrupted(*args: Any) -> Any:
        asked.append(1)
        if len(asked) == 1:  # in Dask's thread, which does nothing else until the main one has acted on it
            time.sleep(0.2)  # that sleeps by now
            os.kill(os.getpid(), signal.SIGINT)
            assert eventually(lambda: caught)
        return fetch(*args)

    with mrpy.session("dask", workers=1):
        assert list(mrpy.pmap(abs, [-1])) == [1]
        caught: list[BaseException] = []
        monkeypatch.setattr(distributed.Client, "_gather_remote", interrupted)
        try:
            list(mrpy.pmap(abs, [-2]))
        except KeyboardInterrupt as error:
            caught.append(error)
        assert caught
        for _ in range(3):
            assert list(mrpy.pmap(abs, [-3])) == [3]


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_result_whose_client_is_closed_is_lost(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fetching = threading.Event()

    async def endless(*_: Any) -> None:
        fetching.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(distributed.Client, "_gather", endless)
    with distributed.Client(n_workers=1, processes=False, dashboard_address=None) as client:
        far = Far(client.submit(abs, -1), 7000, None)
        with ThreadPoolExecutor(1) as pool:
            if when == "meanwhile":
                lost = pool.submit(far.load)
                assert fetching.wait(20)
            client.close()
            if when == "before":
                lost = pool.submit(far.load)
            with pytest.raises(BackendError, match="a result is lost: before it was asked for its session"):
                lost.result(timeout=20)

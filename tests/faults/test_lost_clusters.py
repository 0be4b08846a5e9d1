"""Dask clusters that have lost what they need: workers that nobody starts again, a scheduler that is gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask.config
import distributed
import distributed.nanny
import pytest
from laws import eventually
from watching import script_environment

import mrpy
from mrpy.errors import BackendError, ResultLost, WorkerCrashed
from mrpy.scheduler.backends import dask as backend
from mrpy.scheduler.backends import dask_deserted, dask_reach, dask_values

# ---- workers -------------------------------------------------------------------------------------


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def a_cluster(workers: int, threads: int = 1) -> Any:
    return distributed.LocalCluster(n_workers=workers, threads_per_worker=threads, dashboard_address="127.0.0.1:0")


@pytest.mark.fault(1)
def test_an_item_kills_no_worker_before_its_nanny_has_seen_that_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The nanny ends where its first worker dies so soon."""
    monkeypatch.setattr(distributed.nanny.WorkerProcess, "_init_msg_interval", 2.0)  # when it looks
    with a_cluster(0) as cluster, distributed.Client(cluster) as client, mrpy.session("dask", client=client):
        killed = mrpy.submit(die)
        cluster.scale(1)
        assert eventually(lambda: cluster.workers, 30)
        [nanny] = cluster.workers.values()
        assert isinstance(killed.exception(90), WorkerCrashed)
        assert mrpy.submit(abs, -1).result(60) == 1
        assert [*cluster.workers.values()] == [nanny]


@pytest.mark.fault(1)
def test_a_local_cluster_that_has_given_up_its_workers_has_them_again() -> None:
    """Dask gives up one that is not there some seconds after it has died: as it has died again, say."""
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "10ms"}), a_cluster(2, threads=2) as cluster:
        with distributed.Client(cluster) as client, mrpy.session("dask", client=client):
            assert isinstance(mrpy.submit(die).exception(120), WorkerCrashed)
            assert mrpy.submit(abs, -1).result(120) == 1


@pytest.mark.fault(1)
def test_that_a_cluster_has_no_workers_is_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_deserted, "SAID", 0.1)
    monkeypatch.setattr(backend, "LOOK", 0.2)
    with a_cluster(0) as cluster, distributed.Client(cluster) as client, mrpy.session("dask", client=client):
        pending = mrpy.submit(abs, -1)
        assert eventually(lambda: said(caplog), 30)
        time.sleep(1)  # it would be said again by then
        cluster.scale(1)
        assert pending.result(60) == 1
        assert said(caplog) == [f"the Dask cluster at {cluster.scheduler_address} has no workers; tasks wait until it has"]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "mrpy"]


@contextlib.contextmanager
def one_worker_in_this_process(monkeypatch: pytest.MonkeyPatch, **options: Any) -> Iterator[Any]:
    """A cluster that loses it soon and for good, unless it is told to start it again."""
    monkeypatch.setattr(dask_deserted, "SAID", 0.5)
    monkeypatch.setattr(backend, "LOOK", 0.2)
    how = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": "127.0.0.1:0"}
    soon = dask.config.set({"distributed.deploy.lost-worker-timeout": "10ms"})
    with soon, distributed.LocalCluster(**how) as cluster, mrpy.session("dask", address=cluster.scheduler_address, **options):
        yield cluster


def lose_the_worker(cluster: Any) -> None:
    [worker] = cluster.workers.values()
    cluster.sync(worker.close)


@pytest.mark.fault(1)
def test_results_that_lay_on_a_cluster_without_workers_are_waited_for_as_tasks_are(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with one_worker_in_this_process(monkeypatch) as cluster:
        results = mrpy.pmap(str, range(8), chunksize=1)
        assert next(results) == "0"
        assert eventually(lambda: in_memory(cluster) >= 9, 30)
        lose_the_worker(cluster)
        assert list(results) == ["1", "2", "3", "4", "5", "6", "7"]
    assert len(said(caplog)) == 1


def in_memory(cluster: Any) -> int:
    """How many results lie there; with the function, and what has asked whether somebody is there."""
    return sum(task.state == "memory" for task in list(cluster.scheduler.tasks.values()))


@pytest.mark.fault(1)
@pytest.mark.parametrize("ask", [mrpy.PendingResult.result, mrpy.PendingResult.exception, lambda p, t: mrpy.gather([p], t)])
def test_a_timeout_holds_also_while_a_result_comes_here(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with one_worker_in_this_process(monkeypatch) as cluster:
        monkeypatch.setattr(dask_deserted, "SAID", 3.0)
        pending = mrpy.submit(str, 1)
        mrpy.wait([pending])
        lose_the_worker(cluster)
        with pytest.raises(TimeoutError, match="str has ended, but its result has not come here in time; ask again"):
            ask(pending, 0.1)
        assert pending.done() and pending.result(60) == "1" == pending.result(0)


@pytest.mark.fault(1)
def test_what_has_ended_is_there_without_patience() -> None:
    with mrpy.session("dask", workers=1):
        pending = mrpy.submit(bytes, 1_000_000)
        mrpy.wait([pending])
        assert len(pending.result(0)) == 1_000_000


@pytest.mark.fault(1)
def test_what_has_ended_is_there_without_patience_however_slow_the_network_is(monkeypatch: pytest.MonkeyPatch) -> None:
    gather = distributed.Client._gather

    async def slowly(*args: Any, **how: Any) -> Any:
        await asyncio.sleep(2)
        return await gather(*args, **how)

    with mrpy.session("dask", workers=1):
        pending = mrpy.submit(bytes, 1_000_000)
        mrpy.wait([pending])
        monkeypatch.setattr(distributed.Client, "_gather", slowly)
        assert len(pending.result(0)) == 1_000_000


@pytest.mark.fault(1)
def test_a_result_on_a_worker_that_says_nothing_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_values, "A_WHILE", 0.5)
    with one_worker_in_this_process(monkeypatch), monkeypatch.context() as here:
        pending = mrpy.submit(str, 1)
        mrpy.wait([pending])
        here.setattr(distributed.Client, "_gather", lambda *_, **__: asyncio.sleep(60))
        with pytest.raises(TimeoutError, match="ask again"):
            pending.result(0)


@pytest.mark.fault(1)
def test_results_on_workers_of_ours_that_somebody_stops_are_made_again_where_there_is_a_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backend, "LOOK", 0.2)
    with mrpy.session("dask", workers=1) as session:
        results = mrpy.pmap(lambda x: (os.getpid(), x), range(6), chunksize=1, timeout=60)
        worker, _ = next(results)
        there = session.driver.backend
        assert eventually(lambda: not there._tickets and in_memory(there._cluster) >= 6, 30)
        os.kill(worker, signal.SIGSTOP)
        assert [x for _, x in results] == [1, 2, 3, 4, 5]


@pytest.mark.fault(1)
@pytest.mark.parametrize("retries", [0, 2])
def test_a_lost_result_is_made_again_with_the_retries_of_its_call(
    retries: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flaky(attempts: Path) -> str:
        with attempts.open("a+") as file:
            file.write("x")
            file.seek(0)
            so_far = len(file.read())
        if so_far in (2, 3):
            raise ConnectionError("not just now")
        return "made"

    with one_worker_in_this_process(monkeypatch, retries=retries) as cluster:
        pending = mrpy.submit(flaky, tmp_path / "attempts")
        mrpy.wait([pending])
        lose_the_worker(cluster)
        if retries:
            assert pending.result(60) == "made"
        else:
            with pytest.raises(BackendError, match="lost with its worker.* ConnectionError: not just now") as caught:
                pending.result(60)
            assert isinstance(caught.value.__cause__, ConnectionError)


# ---- the scheduler -------------------------------------------------------------------------------


def test_where_nobody_listens_that_is_said_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_reach, "REFUSED", 0.01)  # as where all is slow: it says nothing of a refusal then
    with socket.socket() as nobody:  # bound, so that it is nobody else's
        nobody.bind(("127.0.0.1", 0))
        began = time.monotonic()
        with pytest.raises(BackendError, match="no Dask cluster"):
            mrpy.session("dask", address=f"tcp://127.0.0.1:{nobody.getsockname()[1]}").__enter__()
    assert time.monotonic() - began < 30


def test_a_name_that_nobody_has_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(dask_reach.socket, "getaddrinfo", unknown)
    monkeypatch.setattr(dask_reach, "connect", None)  # it does not even try
    with pytest.raises(BackendError, match=r"no Dask cluster at tcp://nobody\.invalid:8786: .*not known"):
        mrpy.session("dask", address="tcp://nobody.invalid:8786").__enter__()


@pytest.mark.fault(1)
def test_a_scheduler_that_is_killed_is_an_error_soon() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = ["--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", *where]
    scheduler = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=script_environment())
    address = f"tcp://127.0.0.1:{port}"
    try:
        with mrpy.session("dask", address=address):
            pending = mrpy.submit(abs, -1)  # nobody is there for it
            time.sleep(1)
            scheduler.kill()
            scheduler.wait()
            began = time.monotonic()
            with pytest.raises(BackendError, match="gone, or cannot be reached"):
                pending.result(50)
            with pytest.raises(BackendError, match="gone, or cannot be reached"):
                mrpy.submit(abs, -2).result(4)
            assert time.monotonic() - began < 30
    finally:
        scheduler.kill()
        scheduler.wait()


# ---- the connection to it, while it lives --------------------------------------------------------


@contextlib.contextmanager
def a_scheduler_in_this_process() -> Iterator[Any]:
    """With one worker, all reached by sockets."""
    how: dict[str, Any] = {"processes": False, "protocol": "tcp://", "dashboard_address": "127.0.0.1:0"}
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, **how) as cluster:
        yield cluster


def client_of(session: Any) -> Any:
    return session.driver.backend._client


def cut(session: Any) -> None:
    """Reset the connection, and return when that is seen."""
    client = client_of(session)
    reads = client.scheduler_comm
    client.loop.add_callback(reads.comm.abort)
    assert eventually(lambda: client.scheduler_comm is not reads, 30)


@pytest.mark.fault(38)
def test_a_connection_that_is_reset_while_others_work_there_is_made_anew() -> None:
    """An event of a topic that was subscribed to before comes in one batch with the scheduler's answer."""
    with a_scheduler_in_this_process() as cluster, mrpy.session("dask", address=cluster.scheduler_address) as session:
        assert mrpy.submit(abs, -1).result(60) == 1
        handle_stream = cluster.scheduler.handle_stream

        async def with_an_event(comm: Any, extra: Any) -> None:
            cluster.scheduler.log_event("all", {"action": "gather", "count": 1})
            await handle_stream(comm=comm, extra=extra)

        cluster.scheduler.handle_stream = with_an_event
        cut(session)
        assert mrpy.submit(abs, -2).result(60) == 2


@pytest.mark.fault(38)
def test_that_a_connection_cannot_be_made_anew_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(backend, "LOOK", 0.2)
    with a_scheduler_in_this_process() as cluster:
        with mrpy.session("dask", address=cluster.scheduler_address) as session:
            under_way = mrpy.submit(time.sleep, 60)
            client = client_of(session)
            monkeypatch.setattr(client, "_ensure_connected", fails)
            cut(session)
            for pending in (under_way, mrpy.submit(abs, -1)):
                with pytest.raises(BackendError, match="the connection to its scheduler is lost"):
                    pending.result(20)
        assert client.status == "closed"


@pytest.mark.fault(38)
def test_results_of_a_run_that_are_lost_with_the_connection_are_made_again() -> None:
    with a_scheduler_in_this_process() as cluster, mrpy.session("dask", address=cluster.scheduler_address) as session:
        results = mrpy.pmap(str, range(8), chunksize=1)
        assert next(results) == "0"
        assert eventually(lambda: not session.driver.backend._tickets, 30)
        cut(session)
        assert list(results) == ["1", "2", "3", "4", "5", "6", "7"]


@pytest.mark.fault(38)
def test_the_result_of_a_call_that_is_lost_with_the_connection_is_an_error_that_says_so() -> None:
    with a_scheduler_in_this_process() as cluster, mrpy.session("dask", address=cluster.scheduler_address) as session:
        pending = mrpy.submit(str, 1)
        mrpy.wait([pending])
        cut(session)
        with pytest.raises(ResultLost, match="or the connection to its scheduler was lost"):
            pending.result(20)

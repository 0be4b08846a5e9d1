"""What calls, and clusters of Dask, leave behind when they end."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import pytest
from watching import run_script

from mrpy.scheduler.backends import dask_ending, dask_worker
from mrpy.scheduler.calls import TaskStopped


class Worker:
    """What a call asks of one."""

    address, nanny, plugins = "tcp://there", None, (dask_ending.Watch.name,)

    class state:  # noqa: N801
        tasks = {"key": type("Task", (), {"state": "executing"})}

    class loop:  # noqa: N801
        add_callback = staticmethod(lambda *_: None)

    def get_current_task(self) -> str:
        return "key"


def test_a_call_that_is_stopped_as_it_ends_leaves_nothing_on_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_worker, "get_worker", Worker)
    monkeypatch.setattr(dask_worker, "_tell", lambda *_, **__: None)
    looked_after: list[Any] = []
    monkeypatch.setattr(dask_worker, "look_after", lambda *args: looked_after.append(args))
    moment = 0
    while stopped_at(moment := moment + 1, monkeypatch):
        assert (dask_ending._running, dask_ending._stopped) == ({}, set()), moment
        assert len(looked_after) == moment, moment
    assert moment > 3


def stopped_at(moment: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Have a call ended where its end is at its n-th step. Whether there are so many."""
    passed = 0

    def tick(frame: Any, event: str, argument: Any) -> None:
        nonlocal passed
        if frame.f_code is dask_ending.is_through.__code__ and event != "c_call":  # there Python lets nothing in
            passed += 1
            if passed == moment:
                sys.setprofile(None)
                raise TaskStopped

    def perform(*_: Any) -> Any:
        dask_ending._stopped.add("key")
        sys.setprofile(tick)
        return dask_worker.Stored([], False)

    monkeypatch.setattr(dask_worker, "perform", perform)
    order: Any = type("Sent", (), {"ours": False, "latest": None, "pickled": "code"})
    try:
        with contextlib.suppress(TaskStopped):
            dask_worker.run(order, b"")
    finally:
        sys.setprofile(None)
    return passed >= moment


def test_the_log_is_silent_at_the_end_though_a_local_cluster_ends_before() -> None:
    """That gives back the level that it has found, before ours does."""
    done = run_script("""
        import mrpy
        from distributed import LocalCluster
        if __name__ == "__main__":
            with LocalCluster(n_workers=1, processes=False, dashboard_address=None, silence_logs=50):
                print(list(mrpy.pmap(abs, range(3), backend="dask", workers=1)))
    """)
    assert (done.stdout, done.stderr) == ("[0, 1, 2]\n", "")

"""Callbacks, of pending results and of futures: one after the other, in the order in which calls end."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest
from faults.watching import run_script
from laws import CONCURRENT, eventually, fails, when

import mrpy
from mrpy.scheduler.aside import Aside

over_concurrent = pytest.mark.parametrize("backend", CONCURRENT)
over_both = pytest.mark.parametrize("both", ["submit", "Executor"])


def submitting(both: str, backend: str) -> tuple[Any, Callable[..., Any]]:
    """A ``with`` block, and what submits in it."""
    if both == "submit":
        return mrpy.session(backend, workers=2), mrpy.submit
    executor = mrpy.Executor(2, backend=backend)
    return executor, executor.submit


def wait(several: Any) -> None:
    """Until they have ended."""
    (mrpy.wait if isinstance(several[0], mrpy.PendingResult) else futures.wait)(several, 60)


class Alone:
    """A callback that does what nobody else may do meanwhile."""

    def __init__(self) -> None:
        self.under_way = self.overlaps = 0
        self.called: list[Any] = []

    def __call__(self, ended: Any) -> None:
        self.under_way += 1
        time.sleep(0.0002)  # another thread's turn
        self.overlaps += self.under_way > 1
        self.called.append(ended)
        self.under_way -= 1


@over_concurrent
@over_both
def test_callbacks_are_called_one_at_a_time(both: str, backend: str, tmp_path: Path) -> None:
    alone, many = Alone(), 40 if backend == "dask" else 200
    block, submit = submitting(both, backend)
    with block:
        several = [submit(when, tmp_path / "now") for _ in range(many)]
        for each in several:
            each.add_done_callback(alone)
        (tmp_path / "now").touch()
        assert eventually(lambda: len(alone.called) == many, 60)
    assert set(alone.called) == set(several) and alone.overlaps == 0


@over_concurrent
@over_both
def test_callbacks_are_called_in_the_order_in_which_calls_end(both: str, backend: str, tmp_path: Path) -> None:
    called: list[Any] = []
    block, submit = submitting(both, backend)
    with block:
        first, second = (submit(when, tmp_path / str(n)) for n in range(2))
        for each in (first, second):
            for n in range(2):
                each.add_done_callback(lambda ended, n=n: called.append((ended, n)))
        (tmp_path / "1").touch()
        second.result(60)
        (tmp_path / "0").touch()
        first.result(60)
    assert called == [(second, 0), (second, 1), (first, 0), (first, 1)]


@over_concurrent
@over_both
def test_a_callback_may_do_what_it_likes(both: str, backend: str) -> None:
    """Wait for another result of the same session; have something called when another ends that has ended, or
    has not; submit."""
    called: list[Any] = []
    block, submit = submitting(both, backend)
    with block:
        other = submit(time.sleep, 0.1)
        done = submit(abs, -1)
        assert done.result(60) == 1

        def does(ended: Any) -> None:
            called.append(other.result(60))
            ended.add_done_callback(lambda _: called.append("at once"))
            called.append(submit(abs, -2).result(60))
            submit(abs, -3).add_done_callback(lambda more: called.append(more.result()))

        submit(abs, -4).add_done_callback(does)
        assert eventually(lambda: called == [None, "at once", 2, 3], 60)


@over_concurrent
@over_both
def test_one_that_raises_holds_up_none_of_the_others(
    both: str, backend: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shown, called = list[Any](), list[Any]()
    monkeypatch.setattr(threading, "excepthook", lambda told: shown.append(told.exc_type))
    block, submit = submitting(both, backend)
    with block:
        several = [submit(time.sleep, 0.1) for _ in range(4)]
        several[0].add_done_callback(lambda _: sys.exit())
        several[1].add_done_callback(fails)
        for each in several[1:]:
            each.add_done_callback(called.append)
        wait(several)
    assert set(called) == set(several[1:])
    records = [record for record in caplog.records if record.name == "concurrent.futures"]  # as futures have it
    logged = [record.exc_info[0] for record in records if record.exc_info]
    assert [each for each in shown + logged if each is not SystemExit] == [LookupError]


@over_concurrent
def test_a_callback_may_leave_the_block_of_an_executor_whose_others_have_callbacks(backend: str) -> None:
    called: list[Any] = []
    executor = mrpy.Executor(1, backend=backend)
    several = [executor.submit(time.sleep, 0.1) for _ in range(3)]
    several[0].add_done_callback(lambda _: executor.shutdown())
    for each in several:
        each.add_done_callback(called.append)
    executor.shutdown()
    assert called == several


@pytest.mark.fault(23)
def test_a_forked_child_calls_back_what_ended_before() -> None:
    done = run_script(
        """
        import mrpy, os, time
        mrpy.configure(backend="threads", workers=1)
        done = mrpy.submit(abs, -1)
        done.add_done_callback(lambda _: time.sleep(1))
        done.result()
        time.sleep(0.1)
        if os.fork() == 0:
            done.add_done_callback(lambda ended: print(ended.result(), flush=True))
        else:
            os.wait()
        """
    )
    assert (done.stdout, done.stderr) == ("1\n", "")


@pytest.mark.fault(16)
@over_both
def test_callbacks_are_called_when_the_main_thread_has_ended(both: str) -> None:
    done = run_script(
        f"""
        import atexit, mrpy, time
        @atexit.register
        def late():
            with mrpy.Executor(1) if {both!r} == "Executor" else mrpy.session(workers=1) as block:
                several = [(block if {both!r} == "Executor" else mrpy).submit(abs, n) for n in range(3)]
                for each in several:
                    each.add_done_callback(lambda ended: print(ended.result()))
                for each in several:
                    each.result()
        """
    )
    assert (done.stdout.split(), done.stderr) == (["0", "1", "2"], "")


class Overtaken(Aside):
    """Whoever waits comes each time just before a thread is started."""

    def append(self, what: Any) -> None:
        super().append(what)
        self.catch_up()


def test_who_waits_calls_nothing_that_a_thread_is_about_to_call() -> None:
    """He may hold what it waits for."""
    aside, called, here = Overtaken(), list[Any](), threading.current_thread()
    aside.call(lambda: called.append(threading.current_thread()))
    assert eventually(lambda: bool(called), 60)
    assert here not in called


def test_who_waits_calls_what_no_thread_could_be_started_for(monkeypatch: pytest.MonkeyPatch) -> None:
    aside, called, here = Aside(), list[Any](), threading.current_thread()

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as there_are_too_many:
        there_are_too_many.setattr(threading.Thread, "start", start)
        for call in (aside.call, aside.call_apart):
            call(lambda: called.append(threading.current_thread()))
            aside.catch_up()
    assert called == [here, here]
    for _ in range(2):
        aside.call(lambda: called.append(threading.current_thread()))
        assert eventually(lambda: not aside and not aside._serving.locked(), 60)
    assert called.count(here) == 2 and len(called) == 4

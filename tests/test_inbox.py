"""Inboxes: what one thread puts another takes, and whoever waits waits no longer than he wants to."""

from __future__ import annotations

import sys
import threading
import time
from _queue import Empty

import pytest
from faults.watching import run_script
from laws import CONCURRENT

import mrpy
from mrpy.scheduler.inbox import Inbox


def test_all_that_was_put_is_taken_in_its_order_and_then_it_is_empty() -> None:
    inbox = Inbox[int]()
    for number in range(3):
        inbox.put(number)
    assert [inbox.get(0), inbox.get(None), inbox.get(60)] == [0, 1, 2]
    for timeout in (0, 0.001, -1.0):
        with pytest.raises(Empty):
            inbox.get(timeout)


def test_what_is_put_by_one_thread_is_had_by_another_that_waits() -> None:
    there, back = Inbox[int](), Inbox[int]()
    echo = threading.Thread(target=lambda: [back.put(there.get(None)) for _ in range(5000)])
    echo.start()
    for number in range(5000):
        there.put(number)
        assert back.get(60) == number
    echo.join()


def test_several_who_wait_have_one_each_of_what_is_put_before_the_first_of_them_looks() -> None:
    inbox, taken = Inbox[int](), Inbox[int]()
    several = [threading.Thread(target=lambda: taken.put(inbox.get(30)), daemon=True) for _ in range(3)]
    for each in several:
        each.start()
    time.sleep(0.1)  # then they wait
    inbox.extend(range(2))  # as `put`, whose news of these nobody has heard yet
    inbox.put(2)
    assert sorted(taken.get(20) for _ in several) == [0, 1, 2]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no alarms")
@pytest.mark.parametrize(
    "wait", ["call.result()", "list(mrpy.as_completed([call]))", "next(mrpy.pmap(time.sleep, [30, 30]))"]
)
@pytest.mark.parametrize("backend", CONCURRENT)
def test_what_a_signal_handler_raises_amid_a_wait_has_no_context(backend: str, wait: str) -> None:
    done = run_script(
        f"""
        import mrpy, signal, time
        def handler(*_):
            raise LookupError("of the handler")
        signal.signal(signal.SIGALRM, handler)
        with mrpy.session({backend!r}, workers=1):
            call = mrpy.submit(time.sleep, 30)
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            try:
                {wait}
            except LookupError as error:
                print(error, error.__context__)
            call.cancel()
        """
    )
    assert done.stdout == "of the handler None\n", done.stderr


def test_a_task_that_is_stopped_while_it_waits_for_a_call_sees_a_stop_without_context() -> None:
    seen: list[BaseException] = []
    ended = threading.Event()

    def waits(_: int) -> None:
        try:
            call.result()
        except BaseException as error:
            seen.append(error)
            raise
        finally:
            ended.set()

    with mrpy.session("threads", workers=2):
        call = mrpy.submit(ended.wait, 30)
        list(mrpy.pmap(waits, [0], timeout=0.2, on_error="skip"))
        call.cancel()
        assert ended.wait(30)
    assert [error.__context__ for error in seen] == [None]


@pytest.mark.parametrize("timeout", [1e-7, 1e-6, 1e-5])
def test_a_wait_that_is_over_as_soon_as_it_began_ends(timeout: float) -> None:
    for _ in range(20000):
        with pytest.raises(Empty):
            Inbox[int]().get(timeout)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no alarms")
@pytest.mark.parametrize("how", ["call.result(timeout=0.3)", "list(mrpy.as_completed([call], timeout=0.3))"])
@pytest.mark.parametrize("backend", CONCURRENT)
def test_a_wait_whose_time_is_over_amid_a_signal_handler_ends(backend: str, how: str) -> None:
    done = run_script(
        f"""
        import mrpy, signal, sys, threading, time
        signal.signal(signal.SIGALRM, lambda *_: time.sleep(0.6))
        with mrpy.session({backend!r}, workers=1):
            mrpy.submit(abs, -1).result()
            call = mrpy.submit(time.sleep, 30)
            other = threading.Thread(target=mrpy.wait, args=([call],), daemon=True)
            other.start()  # on processes that one leads
            while mrpy.wait([call], timeout=0.05).done:
                pass
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            began = time.monotonic()
            try:
                {how}
            except TimeoutError:
                print("in time" if time.monotonic() - began < 20 else "too late")
            call.cancel()
            other.join()
        """
    )
    assert done.stdout == "in time\n", done.stderr


@pytest.mark.parametrize("backend", CONCURRENT)
def test_many_that_ask_again_and_again_for_a_moment_all_go_on(backend: str) -> None:
    """Each switch of threads may come amid one of these waits."""
    with mrpy.session(backend, workers=1):
        call = mrpy.submit(time.sleep, 60)
        end = time.monotonic() + 1

        def ask() -> None:
            while time.monotonic() < end:
                with pytest.raises(TimeoutError):
                    call.result(timeout=1e-6)

        several = [threading.Thread(target=ask, daemon=True) for _ in range(4)]
        for each in several:
            each.start()
        for each in several:
            each.join(60)
        assert not any(each.is_alive() for each in several)
        call.cancel()

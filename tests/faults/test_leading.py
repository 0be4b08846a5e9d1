"""Whoever waits for a worker drives the session meanwhile: nobody is lost by it, whatever becomes of him."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from laws import eventually
from watching import alive, assert_usable, run_script, team

import mrpy
from mrpy.errors import ItemTimeout, SchedulerError, SessionClosed

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
    pytest.mark.skipif(not hasattr(select, "epoll"), reason="only the driver's thread drives"),
]


class Waiting(threading.Thread):
    """A thread that leads a session while it waits for what a call returns or raises."""

    outcome: Any = None

    def __init__(self, session: Any, call: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self.call = call
        quiet(session)
        self.start()
        assert eventually(lambda: leads(session, self) or not self.is_alive(), 20), session.driver._leader
        assert self.is_alive(), self.outcome

    def run(self) -> None:
        try:
            self.outcome = self.call()
        except BaseException as error:
            self.outcome = error

    def result(self) -> Any:
        """How the call ended."""
        self.join(30)
        assert not self.is_alive()
        return self.outcome


def quiet(session: Any) -> None:
    """See that the workers are up and the driver's thread sleeps: it does not drive when we want to."""
    workers = session.driver.backend.workers
    while not (len(team(session)) == workers and all(worker.ready for worker in session.driver.backend._team)):
        list(mrpy.pmap(time.sleep, [0.01] * 8, chunksize=1))
    assert eventually(lambda: session.driver._sleeps_until > 0)


def leads(session: Any, thread: threading.Thread) -> bool:
    """Whether a thread sleeps at the workers, as the leader."""
    return session.driver._leader == thread.ident and session.driver._leader_sleeps


def until(path: Any) -> str:
    """A task that ends when there is such a file."""
    deadline = time.monotonic() + 30
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    return "done"


def waits_for(path: Any) -> Callable[[], Any]:
    return lambda: mrpy.submit(until, path).result()


WAYS: dict[str, Callable[[], Any]] = {
    "loop": lambda: list(mrpy.pmap(time.sleep, [60] * 9)),
    "reduction": lambda: mrpy.preduce(max, mrpy.pmap(time.sleep, [60] * 9)),
    "result": lambda: mrpy.submit(time.sleep, 60).result(),
    "result in time": lambda: mrpy.submit(time.sleep, 60).result(50),
}


# ---- others, meanwhile ------------------------------------------------------------------------------------


def test_whoever_waits_in_the_main_thread_leads(session: Any) -> None:
    """Else none of what follows would test anything."""
    seen: list[bool] = []
    quiet(session)
    main = threading.current_thread()
    watching = threading.Thread(target=lambda: seen.append(eventually(lambda: leads(session, main), 20)))
    watching.start()
    mrpy.submit(time.sleep, 0.5).result()
    watching.join()
    assert seen == [True]


@pytest.mark.fault(40)
@pytest.mark.parametrize("way", WAYS)
def test_to_close_the_session_ends_the_wait_of_who_leads(session: Any, way: str) -> None:
    waiting = Waiting(session, WAYS[way])
    workers = team(session)
    session.close()
    assert isinstance(waiting.result(), SessionClosed)
    assert not any(map(alive, workers))


@pytest.mark.fault(40)
def test_who_leads_takes_in_what_another_waits_for(session: Any, tmp_path: Any) -> None:
    waiting = Waiting(session, waits_for(tmp_path / "go"))
    assert mrpy.submit(pow, 2, 5).result() == 32
    assert list(mrpy.pmap(abs, range(-50, 0), chunksize=1)) == list(range(50, 0, -1))
    assert session.driver._leader == waiting.ident, "he has led all the time"
    (tmp_path / "go").touch()
    assert waiting.result() == "done"
    assert_usable(session)


@pytest.mark.fault(40)
def test_who_waits_while_another_leads_is_served_when_that_one_has_gone(session: Any, tmp_path: Any) -> None:
    first = Waiting(session, waits_for(tmp_path / "first"))
    outcome: list[Any] = []
    second = threading.Thread(target=lambda: outcome.append(waits_for(tmp_path / "second")()))
    second.start()
    assert eventually(lambda: len(session.driver.scheduler.records) == 2)
    (tmp_path / "first").touch()
    assert first.result() == "done"
    (tmp_path / "second").touch()
    second.join(30)
    assert outcome == ["done"]


@pytest.mark.fault(2)
def test_a_time_limit_is_kept_when_the_one_who_led_as_it_was_set_has_gone(tmp_path: Any) -> None:
    with mrpy.session("processes", workers=2, timeout=1) as session:
        waiting = Waiting(session, waits_for(tmp_path / "go"))
        pending = mrpy.submit(time.sleep, 60)
        assert eventually(lambda: session.driver._wake_at is not None)
        (tmp_path / "go").touch()
        assert waiting.result() == "done"
        assert eventually(pending.done, 20)
        assert isinstance(pending.exception(), ItemTimeout)


@pytest.mark.fault(1)
def test_a_worker_that_dies_is_noticed_by_the_one_who_leads(session: Any, tmp_path: Any) -> None:
    waiting = Waiting(session, waits_for(tmp_path / "go"))
    for worker in team(session):
        os.kill(worker, signal.SIGKILL)
    (tmp_path / "go").touch()
    assert waiting.result() == "done"
    assert_usable(session)


def test_what_is_told_after_a_call_that_came_as_the_drivers_thread_woke_up_is_heard(
    session: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It left what it was told unread when it had but to send that call; and nobody could wake it then."""
    quiet(session)
    driver, woken, go = session.driver, threading.Event(), threading.Event()

    def turn_over(*given: Any, real: Any = driver._turn_over) -> None:
        if threading.current_thread() is driver._thread:
            woken.set()
            assert go.wait(30)
        real(*given)

    monkeypatch.setattr(driver, "_turn_over", turn_over)
    driver.backend.wake()
    assert woken.wait(30)
    call = mrpy.submit(lambda path: (path.touch(), time.sleep(60)), tmp_path / "runs")
    go.set()
    assert eventually((tmp_path / "runs").exists, 30)
    call.cancel()
    assert eventually(lambda: not driver.scheduler.records, 30)


def test_a_result_that_does_not_come_in_time_can_be_asked_for_again(session: Any, tmp_path: Any) -> None:
    pending = mrpy.submit(until, tmp_path / "go")
    for seconds in (0, 0.05, 0.2):
        with pytest.raises(TimeoutError, match="it goes on"):
            pending.result(seconds)
    (tmp_path / "go").touch()
    assert pending.result(1e300) == "done"


@pytest.mark.fault(40)
def test_a_fork_while_another_thread_leads_hinders_neither_process() -> None:
    done = run_script(
        """
        import mrpy, os, signal, threading, time
        with mrpy.session("processes", workers=2) as session:
            got = []
            assert list(mrpy.pmap(abs, range(8), chunksize=1)) == list(range(8))
            waiting = threading.Thread(target=lambda: got.extend(mrpy.pmap(lambda x: (time.sleep(0.5), x)[1], range(4))))
            waiting.start()
            while not session.driver._leader_sleeps:
                time.sleep(0.001)
            child = os.fork()
            if child == 0:
                signal.alarm(10)  # a child that hangs is killed
                try:
                    mrpy.submit(abs, -1).result()
                except mrpy.errors.SessionClosed as error:
                    print("parent process" in str(error), flush=True)
                with mrpy.session("processes", workers=1):
                    print(mrpy.submit(abs, -1).result(), flush=True)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            waiting.join()
            print(got)
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["True", "1", "[0, 1, 2, 3]"]


@pytest.mark.fault(16)
@pytest.mark.parametrize("how", ["mrpy.configure(workers=2)", "mrpy.session('processes', workers=2).__enter__()"])
def test_a_script_ends_while_a_daemon_thread_leads(how: str) -> None:
    done = run_script(
        f"""
        import mrpy, threading, time
        from mrpy.scheduler import current
        from mrpy.options import resolve
        {how}
        threading.Thread(target=lambda: list(mrpy.pmap(time.sleep, [60] * 4)), daemon=True).start()
        driver = current.session_for(resolve({{}})).driver
        latest = time.monotonic() + 3
        while not driver._leader_sleeps and time.monotonic() < latest:  # on a busy machine it may never lead
            time.sleep(0.001)
        print("end")
        """
    )
    assert (done.stdout, done.returncode) == ("end\n", 0), done.stderr


# ---- signals ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def signalled(session: Any, number: int) -> Iterator[None]:
    """This process gets a signal as soon as its main thread leads."""

    def send() -> None:
        if eventually(lambda: leads(session, threading.main_thread()), 20):
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:  # else it would come when no handler is there any more, and end the whole suite without a word
        thread.join()


@pytest.fixture
def handler() -> Any:
    """Sets a handler of SIGUSR1."""
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda function: signal.signal(signal.SIGUSR1, function)
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.fault(14)
@pytest.mark.parametrize("way", WAYS)
def test_ctrl_c_ends_the_wait_of_who_leads_and_the_session_goes_on(session: Any, way: str) -> None:
    quiet(session)
    for _ in range(5):
        began = time.monotonic()
        with signalled(session, signal.SIGINT), pytest.raises(KeyboardInterrupt):
            WAYS[way]()
        assert time.monotonic() - began < 10
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert list(mrpy.pmap(abs, [-1, -2], workers=1)) == [1, 2]  # elsewhere: here calls may still be waited for
    session.close()  # with those of which nobody is told that they were stopped


@pytest.mark.fault(14)
def test_a_handler_may_run_loops_of_its_own_while_the_main_thread_leads(
    session: Any, handler: Any, tmp_path: Any
) -> None:
    seen: list[Any] = []

    def handle(*_: Any) -> None:
        assert session.driver._leader != threading.main_thread().ident
        seen.append([mrpy.submit(pow, 2, 5).result(), *mrpy.pmap(abs, range(-3, 0))])
        (tmp_path / "go").touch()

    quiet(session)
    handler(handle)
    with signalled(session, signal.SIGUSR1):
        assert waits_for(tmp_path / "go")() == "done"
    assert seen == [[32, 3, 2, 1]]
    assert signal.getsignal(signal.SIGUSR1) is handle


@pytest.mark.fault(14)
def test_a_handler_may_wait_for_a_thread_that_waits_for_the_session(
    session: Any, handler: Any, tmp_path: Any
) -> None:
    got: list[int] = []

    def handle(*_: Any) -> None:
        other = threading.Thread(target=lambda: got.extend(mrpy.pmap(abs, range(-3, 0))))
        other.start()
        other.join(30)
        (tmp_path / "go").touch()

    quiet(session)
    handler(handle)
    with signalled(session, signal.SIGUSR1):
        assert waits_for(tmp_path / "go")() == "done"
    assert got == [3, 2, 1]


@pytest.mark.fault(14, 40)
def test_a_handler_may_close_the_session_that_the_main_thread_leads(session: Any, handler: Any) -> None:
    workers: list[int] = []

    def handle(*_: Any) -> None:
        workers.extend(team(session))
        session.close()

    quiet(session)
    handler(handle)
    with signalled(session, signal.SIGUSR1), pytest.raises(SessionClosed):
        mrpy.submit(time.sleep, 60).result()
    assert workers
    assert not any(map(alive, workers))


def test_what_the_loop_calls_cannot_wait_for_the_loop_and_is_told_so(session: Any, capsys: Any) -> None:
    """A finalizer may run there, too; here it is an observer."""
    told: list[BaseException] = []

    def observe(_: Any) -> None:
        try:
            mrpy.submit(abs, -1).result()
        except SchedulerError as error:
            told.append(error)
            raise

    session.driver.observe(observe)
    assert list(mrpy.pmap(abs, range(-3, 0))) == [3, 2, 1]
    assert "while a session decides" in str(told[0])
    assert "an observer was dropped" in capsys.readouterr().err
    assert_usable(session)

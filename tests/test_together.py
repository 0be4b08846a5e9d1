"""Several pending results together: `gather`, `as_completed`, `wait`."""

from __future__ import annotations

import datetime
import gc
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import pytest
from faults.watching import run_script
from laws import BACKENDS, CONCURRENT, LOCAL, eventually, fails, when

import mrpy
from mrpy.errors import Cancelled, OptionError, SchedulerError, SessionClosed, WorkerCrashed
from mrpy.scheduler.shield import Shield

over_backends = pytest.mark.parametrize("backend", BACKENDS)
over_concurrent = pytest.mark.parametrize("backend", CONCURRENT)


@over_backends
def test_all_come_to_the_same_values(backend: str) -> None:
    with mrpy.session(backend, workers=2):
        pending = [mrpy.submit(pow, 2, n) for n in range(20)]
        assert mrpy.gather(iter(pending)) == [2**n for n in range(20)]
        assert mrpy.gather([pending[3], pending[1], pending[3]]) == [8, 2, 8]
        assert sorted(each.result() for each in mrpy.as_completed(pending)) == [2**n for n in range(20)]
        assert mrpy.wait(pending + pending) == (set(pending), set())
    assert mrpy.gather([]) == list(mrpy.as_completed([])) == []
    assert mrpy.wait(()) == (set(), set())


@over_concurrent
def test_they_come_as_they_end_and_each_once(backend: str, tmp_path: Path) -> None:
    with mrpy.session(backend, workers=2):
        late = mrpy.submit(when, tmp_path / "now", "late")
        early = mrpy.submit(abs, -1)
        found = []
        for each in mrpy.as_completed([late, early, late, early], timeout=60):
            found.append(each.result())
            (tmp_path / "now").touch()
        assert found == [1, "late"]


@over_concurrent
def test_who_waits_for_the_first_has_it_and_the_others_go_on(backend: str, tmp_path: Path) -> None:
    with mrpy.session(backend, workers=2):
        late = mrpy.submit(when, tmp_path / "now", "late")
        early = mrpy.submit(abs, -1)
        assert mrpy.wait([late, early], 60, "FIRST_COMPLETED") == ({early}, {late})
        assert mrpy.wait([late], timeout=0) == (set(), {late})
        bad = mrpy.submit(fails, 1)
        assert bad in mrpy.wait([late, early, bad], return_when="FIRST_EXCEPTION").done
        (tmp_path / "now").touch()
        assert mrpy.gather([late, early]) == ["late", 1]


@over_concurrent
def test_a_timeout_says_how_many_and_is_counted_for_all_together(backend: str, tmp_path: Path) -> None:
    with mrpy.session(backend, workers=3):
        late = [mrpy.submit(when, tmp_path / "now") for _ in range(2)]
        early = mrpy.submit(abs, -1)
        early.result(60)
        text = "2 of 3 calls have not ended after 0.2 seconds; they go on"
        began = time.monotonic()
        with pytest.raises(TimeoutError, match=text):
            mrpy.gather([*late, early], 0.2)
        completed = mrpy.as_completed([*late, early], 0.2)
        with pytest.raises(TimeoutError, match=text):
            list(completed)
        assert time.monotonic() - began < 20
        (tmp_path / "now").touch()
        assert mrpy.gather([*late, early], 1e300) == [None, None, 1]


WAITS: dict[str, Callable[[Any], object]] = {
    "result": lambda timeout: mrpy.submit(abs, -1).result(timeout),
    "exception": lambda timeout: mrpy.submit(abs, -1).exception(timeout),
    "gather": lambda timeout: mrpy.gather([mrpy.submit(abs, -1)], timeout),
    "wait": lambda timeout: mrpy.wait([mrpy.submit(abs, -1)], timeout),
    "as_completed": lambda timeout: mrpy.as_completed([mrpy.submit(abs, -1)], timeout),
    "map": lambda timeout: mrpy.Executor(backend="serial").map(abs, [-1], timeout=timeout),
}


@pytest.mark.parametrize("waits", WAITS)
def test_a_timeout_is_a_number(waits: str) -> None:
    with mrpy.session("serial"):
        for wrong in ("1", [1], float("nan"), 1j, datetime.timedelta(seconds=1), numpy.arange(2), 10**400):
            with pytest.raises(OptionError, match="timeout=.*: must be a number of seconds, or None for no limit"):
                WAITS[waits](wrong)
        for fine in (1, 1.5, Fraction(1, 2), float("inf"), True, numpy.float32(1), numpy.int64(1), -1, None):
            WAITS[waits](fine)


@over_concurrent
def test_the_error_of_a_timeout_that_is_a_fraction_says_how_long_it_was(backend: str) -> None:
    with mrpy.session(backend, workers=1):
        pending = mrpy.submit(time.sleep, 60)
        with pytest.raises(TimeoutError, match="sleep has not ended after 0.01 seconds"):
            pending.result(Fraction(1, 100))  # type: ignore[arg-type]
        pending.cancel()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_first_error_in_order_is_raised_and_a_functions_own_timeout_is_one(backend: str) -> None:
    def late(x: int) -> int:
        raise TimeoutError("mine")

    with mrpy.session(backend, workers=2):
        pending = [mrpy.submit(abs, 1), mrpy.submit(fails, 7), mrpy.submit(late, 1)]
        with pytest.raises(LookupError, match="7"):
            mrpy.gather(pending)
        with pytest.raises(TimeoutError, match="mine"):
            mrpy.gather(reversed(pending), 60)
        assert {type(each.exception()) for each in mrpy.as_completed(pending)} == {
            type(None), LookupError, TimeoutError,
        }


def test_gather_does_not_wait_for_what_is_behind_an_error(tmp_path: Path) -> None:
    with mrpy.session("threads", workers=2):
        late = mrpy.submit(when, tmp_path / "now")
        with pytest.raises(LookupError):
            mrpy.gather([mrpy.submit(fails, 1), late], 60)
        assert not late.done()
        (tmp_path / "now").touch()
        late.result(60)


@over_concurrent
def test_what_is_cancelled_has_ended(backend: str, tmp_path: Path) -> None:
    with mrpy.session(backend, workers=1):
        late = [mrpy.submit(when, tmp_path / "now") for _ in range(3)]
        threading.Timer(0.2, lambda: [each.cancel() for each in late]).start()
        assert mrpy.wait(late, 60).done == set(late)
        assert mrpy.wait(late, return_when="FIRST_EXCEPTION").not_done == set()
        with pytest.raises(Cancelled):
            mrpy.gather(late)


@over_concurrent
def test_a_session_that_is_closed_ends_the_waiting(backend: str, tmp_path: Path) -> None:
    with mrpy.session(backend, workers=1) as session:
        late = [mrpy.submit(when, tmp_path / "now") for _ in range(2)]
        threading.Timer(0.3, session.close).start()
        assert mrpy.wait(late, 60).done == set(late)
        with pytest.raises(SessionClosed):
            mrpy.gather(late)
    (tmp_path / "now").touch()


@pytest.mark.fault(1)
def test_a_worker_that_dies_costs_its_own_call_alone() -> None:
    with mrpy.session("processes", workers=2):
        pending = [mrpy.submit(abs, n) for n in range(6)]
        pending[3] = mrpy.submit(lambda: os.kill(os.getpid(), signal.SIGKILL))
        with pytest.raises(WorkerCrashed):
            mrpy.gather(pending, 60)
        ended = {each: each.exception() for each in mrpy.as_completed(pending, 60)}
        assert [type(ended[each]) for each in pending].count(type(None)) == 5


def test_they_may_be_of_several_sessions(tmp_path: Path) -> None:
    with mrpy.session("processes", workers=1):
        late = mrpy.submit(when, tmp_path / "now", "processes")
        with mrpy.session("threads", workers=1):
            other = mrpy.submit(when, tmp_path / "soon", "threads")
            with mrpy.session("serial"):
                serial = mrpy.submit(abs, -1)
            found = []
            for each in mrpy.as_completed([late, other, serial], 60):
                found.append(each.result())
                (tmp_path / ("now" if len(found) == 2 else "soon")).touch()
    assert found == [1, "threads", "processes"]


@pytest.mark.parametrize("backend", LOCAL)
def test_inside_a_task_they_are_waited_for_as_well(backend: str) -> None:
    def several(n: int) -> list[int]:
        pending = [mrpy.submit(pow, n, k) for k in range(4)]
        assert mrpy.wait(pending, 20).not_done == set()
        return sorted(each.result() for each in mrpy.as_completed(pending, 20))

    with mrpy.session(backend, workers=2):
        assert mrpy.gather(mrpy.submit(several, n) for n in range(4)) == [
            sorted(n**k for k in range(4)) for n in range(4)
        ]


@over_concurrent
def test_who_leaves_early_leaves_nothing_behind(backend: str, tmp_path: Path) -> None:
    with mrpy.session(backend, workers=2):
        late = mrpy.submit(when, tmp_path / "now")
        for _ in mrpy.as_completed([mrpy.submit(abs, 1), late]):
            break
        mrpy.wait([late], 0.01)
        with pytest.raises(TimeoutError):
            mrpy.gather([late], 0.01)
        gc.collect()
        assert late._to_tell == []
        (tmp_path / "now").touch()
        late.result(60)


def test_results_that_were_let_go_are_not_kept() -> None:
    class Large(list[int]):
        pass

    with mrpy.session("threads", workers=1):
        pending = [mrpy.submit(Large, [n]) for n in range(3)]
        refs = []
        for each in mrpy.as_completed(pending):
            refs.append(weakref.ref(each.result()))
        del pending, each
        gc.collect()
        assert [ref() for ref in refs] == [None] * 3


@over_concurrent
def test_several_threads_wait_for_the_same(backend: str, tmp_path: Path) -> None:
    found: list[Any] = []

    def waits(verb: str) -> None:
        ended = mrpy.as_completed(pending) if verb == "as_completed" else mrpy.wait(pending).done
        found.append(sorted(each.result() for each in ended))

    with mrpy.session(backend, workers=2):
        pending = [mrpy.submit(when, tmp_path / "now", n) for n in range(6)]
        threads = [threading.Thread(target=waits, args=(verb,)) for verb in ("as_completed", "wait") * 2]
        for thread in threads:
            thread.start()
        time.sleep(0.1)
        (tmp_path / "now").touch()
        for thread in threads:
            thread.join(60)
    assert found == [[0, 1, 2, 3, 4, 5]] * 4


@pytest.mark.fault(20)
@pytest.mark.parametrize("verb", ["gather(late)", "wait(late)", "as_completed(late)"])
def test_ctrl_c_ends_the_waiting(verb: str) -> None:
    done = run_script(
        f"""
        import mrpy, os, signal, threading, time
        late = [mrpy.submit(time.sleep, 100) for _ in range(2)]
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            list(mrpy.{verb})
        except KeyboardInterrupt:
            print("interrupted", [each._to_tell for each in late])
        """
    )
    assert done.stdout == "interrupted [[], []]\n", done.stderr


@pytest.mark.fault(23)
def test_in_a_forked_child_they_are_an_error() -> None:
    done = run_script(
        """
        import mrpy, os, time
        late = [mrpy.submit(time.sleep, 0.5)]
        if os.fork() == 0:
            for verb in (mrpy.gather, mrpy.wait, lambda late: list(mrpy.as_completed(late))):
                try:
                    verb(late)
                except mrpy.errors.SessionClosed as error:
                    print(error, flush=True)
            os._exit(0)
        os.wait()
        print(mrpy.gather(late))
        """
    )
    said = "this session belongs to the parent process; open one after the fork\n"
    assert done.stdout == said * 3 + "[None]\n", done.stderr


def test_at_the_end_of_the_program_they_are_waited_for() -> None:
    done = run_script(
        """
        import atexit, mrpy, time
        def last():
            late = [mrpy.submit(abs, -n) for n in range(3)]
            print(mrpy.gather(late), len(list(mrpy.as_completed(late))), len(mrpy.wait(late).done))
        mrpy.gather([])
        atexit.register(last)
        """
    )
    assert done.stdout == "[0, 1, 2] 3 3\n", done.stderr


def test_what_cannot_be_called_back_is_an_error_at_once() -> None:
    with mrpy.session("serial"):
        pending = mrpy.submit(abs, 1)
        with pytest.raises(TypeError, match=r"add_done_callback\(\) needs a function, not int 3"):
            pending.add_done_callback(3)  # type: ignore[arg-type]


def test_what_is_no_pending_result_is_an_error() -> None:
    with mrpy.session("serial"):
        one = mrpy.submit(abs, 1)
        for verb in (mrpy.gather, mrpy.wait, mrpy.as_completed):
            with pytest.raises(TypeError, match=rf"{verb.__name__}\(\) takes several pending results: \[<Pending"):
                verb(one)
            with pytest.raises(TypeError, match=r"pending results: \[<PendingResult abs: done>, ...\], one iterable of them"):
                verb(one, one)
            with pytest.raises(TypeError, match=rf"{verb.__name__}\(\) takes what mrpy.submit\(\) returned, not int 3"):
                verb([one, 3])
            with mrpy.Executor() as executor:
                with pytest.raises(TypeError, match=r"not _Future .*; concurrent\.futures has a .*\(\) for futures"):
                    verb([executor.submit(abs, 1)])
        with pytest.raises(TypeError, match=r"of a single one it is \.result\(\)$"):
            mrpy.gather(one)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="return_when='first': must be one of ALL_COMPLETED, FIRST"):
            mrpy.wait([one], return_when="first")


def test_what_was_waited_for_is_waited_for_without_polling(tmp_path: Path) -> None:
    with mrpy.session("processes", workers=1):
        late = mrpy.submit(when, tmp_path / "now")
        assert eventually(lambda: mrpy.wait([late], 0.05).done == set())
        before = time.process_time()
        threading.Timer(1.0, (tmp_path / "now").touch).start()
        assert mrpy.wait([late], 60).done == {late}
        assert time.process_time() - before < 0.5


@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_what_as_completed_has_given_out_it_does_not_keep(backend: str) -> None:
    class Kept(list[int]):
        pass

    with mrpy.session(backend, workers=2):
        refs: list[Any] = []
        for each in mrpy.as_completed(mrpy.submit(Kept, [n]) for n in range(8)):
            assert sum(ref() is not None for ref in refs) == 0
            refs.append(weakref.ref(each.result()))
            del each


# ---- one after the other, of many ----------------------------------------------------------------------------


@over_concurrent
def test_each_is_the_first_once(backend: str) -> None:
    with mrpy.session(backend, workers=2):
        pending: Any = [mrpy.submit(abs, n) for n in range(200)]
        found: list[int] = []
        while pending:
            done, pending = mrpy.wait(pending, 60, "FIRST_COMPLETED")
            assert done
            found += [each.result() for each in done]
        assert sorted(found) == list(range(200))


def test_to_wait_for_the_first_of_many_puts_signals_off_a_few_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not for each of them: whoever loops over the first would do so for each pair of them."""
    entered: list[Shield] = []
    enter = Shield.__enter__
    with mrpy.session("threads", workers=1):
        pending = [mrpy.submit(when, tmp_path / "now") for _ in range(200)]
        monkeypatch.setattr(Shield, "__enter__", lambda self: (entered.append(self), enter(self))[1])
        assert mrpy.wait(pending, 0.05, "FIRST_COMPLETED") == (set(), set(pending))
        assert len(entered) < 20
        (tmp_path / "now").touch()
        assert mrpy.gather(pending) == [None] * 200


def test_whoever_waits_as_they_end_is_told_once() -> None:
    told: list[Any] = []
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with mrpy.session("threads", workers=4):
            for _ in range(300):
                pending = mrpy.submit(abs, -1)
                tells = [partial(lambda number, each: told.append(number), number) for number in range(3)]
                known = [pending._is_to_tell(tell) for tell in tells]
                withdrawn = not pending._is_not_to_tell(tells[0])
                assert pending.result(60) == 1
                assert eventually(lambda: pending._to_tell == [])
                assert eventually(lambda: sorted(told) == [n for n in range(3) if known[n] and (n or withdrawn)])
                told.clear()
    finally:
        sys.setswitchinterval(interval)


# ---- what is held, and what waits for itself ----------------------------------------------------------------


class Large:
    """What somebody has who waits."""


@pytest.mark.parametrize("how", ["submit", "executor", "pmap"])
def test_an_error_that_was_caught_holds_nothing_of_whoever_waited(how: str) -> None:
    """Not even until the garbage collector comes."""
    with mrpy.session("processes", workers=1), mrpy.Executor() as executor:
        ways: dict[str, Callable[[], Any]] = {
            "submit": lambda: mrpy.submit(int, "x").result(),
            "executor": lambda: executor.submit(int, "x").result(),
            "pmap": lambda: list(mrpy.pmap(int, ["x"])),
        }

        def waits() -> weakref.ref[Large]:
            mine = Large()
            with pytest.raises(ValueError, match="invalid literal"):
                ways[how]()
            return weakref.ref(mine)

        gc.disable()
        try:
            mine = waits()
            assert eventually(lambda: mine() is None), "be it a moment later, by another thread"
        finally:
            gc.enable()


def test_a_result_is_held_once() -> None:
    with mrpy.session("processes", workers=1):
        pending = mrpy.submit(bytes, 10**6)
        assert len(pending.result()) == 10**6 and pending.result() is pending.result()
        assert pending.done() and pending._delivery is not None and pending._delivery.value is None


@pytest.mark.parametrize("backend", ["threads", "processes", "dask"])
def test_a_finalizer_in_the_thread_that_decides_cannot_wait_and_is_told_so(backend: str) -> None:
    told: list[BaseException] = []
    with mrpy.session(backend, workers=1) as session:

        def waits(_: Any) -> None:
            session.driver.unobserve(waits)  # once: what it does is a move, too
            try:
                mrpy.submit(abs, -1).result(20)
            except BaseException as error:
                told.append(error)

        session.driver.observe(waits)
        mrpy.submit(abs, -2)
        assert eventually(lambda: bool(told), 30)
        assert {type(error) for error in told} <= {SchedulerError}
        assert mrpy.submit(abs, -3).result() == 3


@pytest.mark.fault(14)
def test_what_a_handler_raises_amid_gather_is_not_left_to_a_destructor() -> None:
    done = run_script(
        """
        import mrpy, random, signal, time
        class Stop(Exception): pass
        def handler(*_): raise Stop
        signal.signal(signal.SIGALRM, handler)
        with mrpy.session("processes", workers=1):
            mrpy.gather([mrpy.submit(abs, -1)])  # whatever has to be imported is
            end = time.monotonic() + 3
            while time.monotonic() < end:
                try:
                    try:
                        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0001, 0.003), 0.05)
                        while True:
                            mrpy.gather([mrpy.submit(abs, -1)])
                    finally:
                        signal.setitimer(signal.ITIMER_REAL, 0)
                except Stop:
                    pass
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            mrpy.submit(abs, -1).result()  # behind the last one that nobody has waited for
        print("to its end")
        """
    )
    assert done.stdout == "to its end\n"
    assert "_as_they_end" not in done.stderr


# ---- Ctrl-C ----------------------------------------------------------------------------------------------


VERBS: dict[str, Callable[[Any], object]] = {
    "gather": mrpy.gather, "as_completed": lambda pending: list(mrpy.as_completed(pending)),
}  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
@over_concurrent
def test_a_ctrl_c_cancels_the_calls_that_nobody_else_has(backend: str, verb: str) -> None:
    main, seen = threading.get_ident(), []

    def given() -> Any:
        for seconds in (0, 60, 60, 60):
            seen.append(mrpy.submit(time.sleep, seconds))
            yield seen[-1]
        threading.Timer(1, signal.pthread_kill, (main, signal.SIGINT)).start()

    with mrpy.session(backend, workers=2):
        with pytest.raises(KeyboardInterrupt):
            VERBS[verb](given())
        assert [each.cancelled() for each in seen] == [False, True, True, True]
        assert mrpy.submit(abs, -1).result(timeout=30) == 1


@pytest.mark.parametrize("verb", VERBS)
@over_concurrent
def test_a_ctrl_c_leaves_calls_alone_that_somebody_else_has(backend: str, verb: str, tmp_path: Path) -> None:
    with mrpy.session(backend, workers=2):
        pending = [mrpy.submit(when, tmp_path / "now", n) for n in range(2)]
        threading.Timer(1, signal.pthread_kill, (threading.get_ident(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            VERBS[verb](pending)
        assert not any(each.cancelled() for each in pending)
        (tmp_path / "now").touch()
        assert mrpy.gather(pending) == [0, 1]

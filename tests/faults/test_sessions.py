"""Rows 34 and 40: sessions beside each other, shared by threads, inherited by forks, closed at the wrong time."""

from __future__ import annotations

import gc
import itertools
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from laws import CONCURRENT, LOCAL, eventually
from watching import alive, run_script, team

import mrpy
from mrpy.errors import SessionClosed
from mrpy.options import resolve
from mrpy.scheduler import current
from mrpy.scheduler.backends import alarm
from mrpy.scoped import current_frames

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

over_local = pytest.mark.parametrize("backend", LOCAL)


def in_threads(*calls: Callable[[], Any]) -> list[Any]:
    """What the calls return or raise, each in a thread of its own, all at once."""
    outcomes: list[Any] = [None] * len(calls)
    together = threading.Barrier(len(calls))

    def run(place: int) -> None:
        together.wait()
        try:
            outcomes[place] = calls[place]()
        except BaseException as error:
            outcomes[place] = error

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
        assert not thread.is_alive()
    return outcomes


# ---- 40: beside each other ---------------------------------------------------------------------------


@pytest.mark.fault(40)
@over_local
def test_two_sessions_take_turns_and_each_ends_its_own_workers(backend: str) -> None:
    with mrpy.session(backend, workers=1) as outer:
        first = mrpy.pmap(abs, itertools.count(), buffersize=10)
        assert next(first) == 0
        with mrpy.session(backend, workers=1) as inner:
            second = mrpy.pmap(abs, itertools.count(), buffersize=10)
            pairs = [pair for pair, _ in zip(zip(first, second, strict=True), range(100), strict=False)]
            assert pairs == [(n + 1, n) for n in range(100)]
            if backend == "processes":
                assert not set(team(outer)) & set(team(inner))
        assert next(first) == 102, "the outer session goes on"
        with pytest.raises(SessionClosed):
            list(second)


@pytest.mark.fault(40)
@over_local
def test_threads_share_a_session_and_none_gets_what_another_asked_for(backend: str) -> None:
    def work(shift: int) -> Callable[[], list[int]]:
        return lambda: [
            *mrpy.pmap(lambda x: x + shift, range(200), chunksize=3),
            mrpy.preduce(max, (x + shift for x in range(50))),
            mrpy.submit(abs, -shift).result(30),
        ]

    shifts = [1_000 * n for n in range(4)]
    with mrpy.session(backend, workers=2):
        for shift, got in zip(shifts, in_threads(*map(work, shifts)), strict=True):
            assert got == [*range(shift, shift + 200), shift + 49, shift]


@pytest.mark.fault(40)
@pytest.mark.parametrize("backend", CONCURRENT[:2])
def test_threads_that_make_the_first_call_at_once_start_one_driver(backend: str) -> None:
    for _ in range(20):
        with mrpy.session(backend, workers=1):
            got = in_threads(*[lambda: list(mrpy.pmap(abs, range(3)))] * 4)
            assert got == [[0, 1, 2]] * 4
            drivers = [thread for thread in threading.enumerate() if thread.name == "mrpy-driver"]
        assert eventually(lambda gone=drivers: not any(thread.is_alive() for thread in gone[-1:]))


# ---- 40: closed -------------------------------------------------------------------------------------------


@pytest.mark.fault(40)
@over_local
def test_a_session_may_be_closed_twice_and_by_several_threads(backend: str) -> None:
    with mrpy.session(backend, workers=1) as session:
        assert list(mrpy.pmap(abs, [-1])) == [1]
        assert in_threads(*[session.close] * 4) == [None] * 4
        session.close()
        with pytest.raises(SessionClosed, match="open another"):
            list(mrpy.pmap(abs, [-1]))
        with pytest.raises(SessionClosed):
            mrpy.submit(abs, -1).result(10)
    session.close()


@pytest.mark.fault(40)
@over_local
def test_a_session_that_was_never_used_closes(backend: str) -> None:
    for _ in range(3):
        with mrpy.session(backend) as session:
            session.close()
        assert session.driver.closed


@pytest.mark.fault(40)
@over_local
def test_a_loop_whose_session_is_closed_inside_of_it_says_so(backend: str) -> None:
    got = []
    with mrpy.session(backend, workers=2) as session, pytest.raises(SessionClosed):  # noqa: PT012
        for x in mrpy.pmap(abs, itertools.count(), chunksize=2, buffersize=8):
            got.append(x)
            if x == 20:
                session.close()
    assert got == list(range(len(got)))
    assert 21 <= len(got) <= 29


@pytest.mark.fault(40)
@pytest.mark.parametrize("backend", CONCURRENT[:2])
@pytest.mark.parametrize("way", ["loop", "reduction", "result"])
def test_a_thread_that_waits_is_told_when_another_closes_the_session(way: str, backend: str) -> None:
    ways: dict[str, Callable[[], Any]] = {
        "loop": lambda: list(mrpy.pmap(time.sleep, [60] * 9)),
        "reduction": lambda: mrpy.preduce(max, mrpy.pmap(time.sleep, [60] * 9)),
        "result": lambda: mrpy.submit(time.sleep, 60).result(),
    }
    with mrpy.session(backend, workers=2) as session:

        def close() -> None:
            assert eventually(lambda: bool(session.driver.scheduler.records))
            session.close()

        told, closed = in_threads(ways[way], close)
    assert isinstance(told, SessionClosed)
    assert closed is None


@pytest.mark.fault(40)
@pytest.mark.parametrize("backend", CONCURRENT[:2])
def test_closing_in_the_midst_of_many_short_calls_breaks_nothing(backend: str) -> None:
    """Whoever adds tasks may be turning the loop when another closes what it turns."""
    for _ in range(15):
        with mrpy.session(backend, workers=1) as session:
            workers = []

            def call() -> None:
                while True:
                    mrpy.submit(abs, -1).result(30)

            def close(opened: Any = session, seen: list[int] = workers) -> None:
                for _ in range(20):
                    list(mrpy.pmap(abs, range(3)))
                seen += team(opened) if backend == "processes" else []
                opened.close()

            *told, closed = in_threads(call, call, close)
            assert closed is None
            assert [type(error) for error in told] == [SessionClosed] * 2, told
        assert not any(map(alive, workers))


# ---- 40: after a fork -----------------------------------------------------------------------------------


USES = [
    "list(mrpy.pmap(abs, [-1]))",  # a new run in the session
    "list(run)",  # one that had begun
    "pending.result(10)",  # one that was waited for
    "pending.result()",
    "pending.cancel()",
    "pending.add_done_callback(print)",
    "asyncio.run(awaited(pending))",
    "mrpy.submit(abs, -1).result()",
]


@pytest.mark.fault(40)
@pytest.mark.parametrize("backend", CONCURRENT[:2])
def test_what_a_fork_inherits_of_a_session_says_that_it_is_the_parents(backend: str) -> None:
    """A fork for each use that it may make of it."""
    done = run_script(
        f"""
        import asyncio, mrpy, os, signal, time
        async def awaited(pending):
            return await pending
        with mrpy.session({backend!r}, workers=2):
            run = mrpy.pmap(lambda x: (time.sleep(0.3), x)[1], range(6), chunksize=1)
            next(run)
            pending = mrpy.submit(time.sleep, 0.5)
            for use in {USES}:
                child = os.fork()
                if child == 0:
                    signal.alarm(10)  # a child that hangs is killed
                    try:
                        eval(use)
                    except mrpy.errors.SessionClosed as error:
                        print("parent process" in str(error), flush=True)
                    os._exit(0)
                assert os.waitpid(child, 0)[1] == 0, use
            print(list(run), pending.result())
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["True"] * len(USES) + ["[1, 2, 3, 4, 5] None"]


@pytest.mark.fault(34, 40)
def test_a_parent_may_fork_again_and_again_while_arrays_travel() -> None:
    """Whatever locks its other threads hold at that moment: the child gets through to its own work."""
    done = run_script(
        """
        import mrpy, numpy, os, signal, threading
        arrays = [numpy.full(100_000, float(n)) for n in range(8)]
        list(mrpy.pmap(abs, [-1, -2], workers=1))  # what is being imported when a fork comes stays locked
        stop = threading.Event()
        def traffic():
            while not stop.is_set():
                list(mrpy.pmap(lambda a: a + 1, arrays, workers=2, chunksize=1))
        thread = threading.Thread(target=traffic)
        thread.start()
        for n in range(25):
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                assert n % 5 or list(mrpy.pmap(abs, [-1, -2], workers=1)) == [1, 2]
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0, n
        stop.set()
        thread.join()
        """,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.fault(34, 40)
def test_a_fork_while_the_memory_that_is_shared_is_locked_gets_through() -> None:
    """The child lets go of what its parent has lent to workers, and waits for no lock of a thread that is not
    there."""
    done = run_script(
        """
        import mrpy, numpy, os, signal, sys, threading, time
        from mrpy.scheduler.session import shared
        mrpy.configure(workers=1)
        mrpy.submit(setattr, sys, "kept", numpy.ones(100_000)).result()  # the worker does not give it back
        held, release = threading.Event(), threading.Event()
        def hold():
            with shared("processes", 1).driver.backend._packer.pool._lock:
                held.set()
                release.wait()
        threading.Thread(target=hold).start()
        held.wait()
        child = os.fork()
        if child == 0:
            print(list(mrpy.pmap(abs, [-1])), flush=True)
            os._exit(0)
        end = time.monotonic() + 15
        while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < end:
            time.sleep(0.01)
        ended[0] or os.kill(child, signal.SIGKILL)
        release.set()
        print(ended[0] == child)
        """
    )
    assert (done.stdout, done.returncode) == ("[1]\nTrue\n", 0), done.stderr


# ---- 34: threads and locks ---------------------------------------------------------------------------------


@pytest.mark.fault(34)
def test_workers_start_while_other_threads_hold_every_lock_there_is() -> None:
    """A fork would copy the locks, and nobody would be there to release them."""
    done = run_script(
        """
        import importlib, io, logging, mrpy, os, sys, threading
        held, release = threading.Event(), threading.Event()
        handler = logging.StreamHandler()
        logging.getLogger().addHandler(handler)
        mine = threading.RLock()
        def hold():
            with mine, handler.lock:
                logging._lock.acquire()
                held.set()
                release.wait()
                logging._lock.release()
        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        def talk(x):
            logging.getLogger("of the task").debug("not shown")
            return x
        got = list(mrpy.pmap(talk, range(20), workers=2, chunksize=1))
        release.set()
        thread.join()
        print(got == list(range(20)))
        """
    )
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr


@pytest.mark.fault(34)
def test_many_threads_may_make_sessions_at_the_same_moment() -> None:
    def work() -> list[int]:
        with mrpy.session("processes", workers=1):
            return list(mrpy.pmap(abs, [-1, -2]))

    assert in_threads(*[work] * 6) == [[1, 2]] * 6


@pytest.mark.fault(40)
def test_a_thread_is_interrupted_before_it_may_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else another that has come meanwhile, the driver of the next session say, may have its number by then."""
    runs, go = threading.Event(), threading.Event()
    ended: list[bool] = []
    lanes: list[threading.Thread] = []

    def task(_: int) -> bool:
        lanes.append(threading.current_thread())
        runs.set()
        return go.wait(30)

    def late(ident: int, exception: Any) -> bool:
        if ident == lanes[0].ident:
            go.set()  # what is to be stopped comes to its end just now
            lanes[0].join(0.5)
            ended.append(not lanes[0].is_alive())
        return throw(ident, exception)

    throw = alarm._throw
    monkeypatch.setattr(alarm, "_throw", late)
    with pytest.warns(RuntimeWarning, match="1 call of mrpy.submit"), mrpy.session("threads", workers=1):
        mrpy.submit(task, 0)
        assert runs.wait(30)
    lanes[0].join(30)
    assert ended == [False]
    assert not lanes[0].is_alive()


@pytest.mark.fault(18, 40)
def test_a_child_of_a_forked_child_closes_no_files_of_its_own() -> None:
    script = (
        "import mrpy, os\n"
        "assert sum(mrpy.pmap(abs, range(10), workers=2)) == 45\n"
        "def fork():\n"
        "    if pid := os.fork():\n"
        "        os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
        "fork()\n"
        "files = [open('/dev/null') for _ in range(40)]\n"
        "fork()\n"
        "for file in files:\n"
        "    os.fstat(file.fileno())\n"
        "os._exit(7)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 7, done.stderr


ENDED = {
    "a loop was left": "for row in mrpy.pmap(slow, range(1000)): break",
    "each task had a worker of its own": "list(mrpy.pmap(slow, range(4), chunksize=1))",
}


@pytest.mark.fault(40)
@pytest.mark.parametrize("how", ENDED)
def test_a_fork_closes_no_file_that_was_opened_behind_a_session(how: str) -> None:
    """Descriptors of workers that have ended are somebody else's by then."""
    script = f"""
        import mrpy, os, time
        def slow(n):
            time.sleep(0.02)
            return n
        for _ in range(3):
            with mrpy.session("processes", workers=2, max_tasks_per_worker={1 if "own" in how else None}):
                {ENDED[how]}
        files = [open(os.devnull) for _ in range(40)]
        if (child := os.fork()) == 0:
            try:
                for file in files:
                    os.fstat(file.fileno())
                print("all are open", flush=True)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
    """
    done = run_script(script)
    assert (done.stdout, done.stderr) == ("all are open\n", "")


@pytest.mark.fault(14, 40)
def test_a_ctrl_c_as_a_session_begins_or_ends_leaves_no_closed_one_in_force() -> None:
    """In a process of its own: one that comes just before its end leaves an open one in force."""
    script = f"""
        import sys
        sys.path[:0] = {sys.path!r}
        import mrpy
        from watching import interrupted_at
        def begin_and_end():
            with mrpy.session("threads", workers=1):
                pass
        begin_and_end()
        moment = 1
        while interrupted_at(moment, begin_and_end):
            assert list(mrpy.pmap(abs, [-1], backend="threads", workers=1)) == [1], moment
            moment += 1
        print(moment > 50)
    """
    done = run_script(script)
    assert (done.stdout, done.stderr) == ("True\n", "")


STACKS_AND_GARBAGE = """
import gc, threading
from mrpy.scoped import current_frames

class Garbage:
    pass

def park(deeper, until):
    return park(deeper - 1, until) if deeper else until.wait()

for _ in range(30):
    until = threading.Event()
    for thread in [threading.Thread(target=park, args=(3, until)) for _ in range(3)]:
        thread.start()
    gc.disable()
    garbage = Garbage()
    garbage.itself, garbage.local = garbage, threading.local()
    garbage.local.value = 1
    del garbage
    gc.set_threshold(1)
    gc.enable()
    assert len(current_frames()) == 4
    assert gc.isenabled()
    gc.set_threshold(700)
    until.set()
    while threading.active_count() > 1:
        pass
print("through")
"""


def test_asking_where_threads_are_waits_for_no_garbage(tmp_path: Path) -> None:
    """On 3.11 that stopped all threads of the process for good, where just then values of threads were collected: as
    a session was opened in the main thread, or an item overran its time on threads."""
    script = tmp_path / "script.py"
    script.write_text(STACKS_AND_GARBAGE, encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=20, check=False)
    assert done.stdout == "through\n", done.stderr


def test_asking_where_threads_are_keeps_nothing_of_theirs() -> None:
    """The answer was in one of the frames that it holds: a circle, with all that all threads have."""

    class Held:
        pass

    def hold() -> None:
        held = Held()
        kept.append(weakref.ref(held))
        there.set()
        go.wait(30)

    there, go = threading.Event(), threading.Event()
    kept: list[Any] = []
    thread = threading.Thread(target=hold)
    thread.start()
    assert there.wait(30)
    gc.disable()
    try:
        current_frames()
        assert not gc.isenabled()
        go.set()
        thread.join(30)
        assert kept[0]() is None
    finally:
        gc.enable()
    current_frames()
    assert gc.isenabled()


@pytest.mark.parametrize("backend", CONCURRENT)
def test_each_call_that_a_closed_session_has_left_says_so(backend: str) -> None:
    with pytest.warns(RuntimeWarning, match="4 calls of mrpy.submit"), mrpy.session(backend, workers=2):
        left = [mrpy.submit(time.sleep, 5) for _ in range(4)]
    for each in left:
        with pytest.raises(SessionClosed, match="closed before this was done"):
            each.result()


# ---- calls that nobody has waited for ---------------------------------------------------------------------


@pytest.mark.parametrize("backend", CONCURRENT)
def test_the_end_of_a_block_says_how_many_calls_it_has_stopped(backend: str) -> None:
    with pytest.warns(RuntimeWarning) as seen, mrpy.session(backend, workers=1):
        mrpy.submit(abs, -1).result()
        mrpy.submit(time.sleep, 60).cancel()
        left = [mrpy.submit(time.sleep, 60), mrpy.submit(abs, -1)]
    assert [str(each.message) for each in seen] == [
        "2 calls of mrpy.submit had not ended and were stopped with the session (the first: sleep): wait for "
        "them (mrpy.wait, .result()), or cancel() them; an mrpy.Executor waits by itself"
    ]
    assert seen[0].filename == __file__ and not any(each.cancelled() for each in left)


@pytest.mark.parametrize("backend", CONCURRENT)
def test_nothing_is_said_of_what_ends_in_another_way(backend: str) -> None:
    with mrpy.session(backend, workers=1):
        endless = mrpy.pmap(abs, itertools.count())
        assert next(endless) == 0
        late = mrpy.Executor().submit(time.sleep, 60)
        with pytest.raises(ZeroDivisionError), mrpy.session(backend, workers=1):
            mrpy.submit(time.sleep, 60)
            raise ZeroDivisionError
        assert not late.done()
    with mrpy.session(backend, workers=1) as session:
        mrpy.submit(time.sleep, 60)
        session.close()


def test_a_warning_that_is_an_error_leaves_a_session_closed() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning, match="1 call of mrpy.submit had not ended and was stopped"):
            with mrpy.session("processes", workers=1) as session:
                mrpy.submit(time.sleep, 60)
    assert session.driver.closed and current.session_for(resolve({})) is not session


LEFT_AT_THE_END = """
import mrpy, sys, time
def save(n): time.sleep(60)
def main():
    for backend in {backends}:
        mrpy.configure(backend=backend, workers=1)
        for n in range(3): mrpy.submit(save, n)
    {last}
{call}
"""


@pytest.mark.parametrize("how", ["default", "error"])
def test_the_end_of_the_program_says_how_many_calls_it_has_stopped(how: str) -> None:
    code = LEFT_AT_THE_END.format(backends=("threads", "processes"), last="return 3", call="sys.exit(main())")
    done = run_script("", "-W", how, "-c", code)
    assert done.stderr.count("6 calls of mrpy.submit had not ended and were stopped with the program") == 1
    assert "(the first: save)" in done.stderr and done.returncode == 3


def test_so_it_does_on_dask() -> None:
    code = LEFT_AT_THE_END.format(backends=("dask",), last="time.sleep(1)", call="main()")
    done = run_script("", "-W", "default::RuntimeWarning", "-c", code)
    assert "3 calls of mrpy.submit had not ended" in done.stderr and done.returncode == 0


@pytest.mark.parametrize("last", ["1 / 0", "raise KeyboardInterrupt"])
def test_a_program_that_ends_by_an_error_says_that_alone(last: str) -> None:
    code = LEFT_AT_THE_END.format(backends=("threads", "processes"), last=last, call="main()")
    done = run_script("", "-W", "default", "-c", code)
    assert "Error" in done.stderr or "KeyboardInterrupt" in done.stderr
    assert "mrpy.submit had not" not in done.stderr


@pytest.mark.parametrize("earlier", ["1 / 0", "raise KeyboardInterrupt"])
def test_an_error_of_an_earlier_line_at_the_prompt_has_not_ended_the_program(earlier: str, tmp_path: Path) -> None:
    lines = [
        earlier,
        "import mrpy, pathlib, time",
        "future = mrpy.Executor(1, backend='threads').submit(lambda: (time.sleep(0.3), pathlib.Path('made').touch()))",
        "mrpy.configure(backend='threads', workers=1)",
        "left = mrpy.submit(time.sleep, 60)",
    ]
    done = run_script("", "-W", "default", "-i", input="\n".join(lines), cwd=tmp_path)
    assert "1 call of mrpy.submit had not ended and was stopped with the program" in done.stderr
    assert (tmp_path / "made").exists(), done.stderr

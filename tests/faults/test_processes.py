"""Law 5 and 6 on worker processes: what dies, hangs, forks or is killed, and what is left afterwards.

Scripts run as processes of their own, since the parent is what is killed in them.
"""

from __future__ import annotations

import ctypes
import functools
import operator
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from laws import eventually
from watching import alive, assert_usable, once, pids_of, run_script, running_script, team

import mrpy
from mrpy.errors import ItemTimeout, WorkerCrashed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


# ---- an item that kills its worker ------------------------------------------------------------------------

DEATHS: dict[str, tuple[Callable[[], Any], str]] = {
    "SIGKILL": (lambda: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL"),
    "exit 0": (lambda: os._exit(0), "code 0"),
    "abort": (lambda: os.abort(), "SIGABRT"),
    "segfault": (lambda: ctypes.string_at(0), "SIGSEGV"),
    # either it ends by itself, or the parent ends it when it hears no more of it
    "descriptors": (lambda: os.closerange(3, 200), "code 1|SIGKILL"),
}


def poisoned(death: str, *poison: int) -> Callable[[int], int]:
    die = DEATHS[death][0]

    def check(x: int) -> int:
        if x in poison:
            die()
        return x

    return check


@pytest.mark.fault(1, 3, 4, 19)
@pytest.mark.parametrize(("death", "chunksize"), [*((death, 8) for death in DEATHS), ("SIGKILL", 1)])
def test_an_item_that_kills_its_worker_is_named_and_no_other_is_lost(
    session: Any, death: str, chunksize: int
) -> None:
    function = poisoned(death, 5)
    got: list[int] = []
    with pytest.raises(WorkerCrashed, match=DEATHS[death][1]) as caught:
        for x in mrpy.pmap(function, range(8), chunksize=chunksize):
            got.append(x)  # noqa: PERF402
    assert got == [0, 1, 2, 3, 4]
    assert caught.value.mrpy_item == (5, "5")
    assert any("item 5" in note for note in caught.value.__notes__)
    assert list(mrpy.pmap(function, range(8), chunksize=chunksize, on_error="skip")) == [0, 1, 2, 3, 4, 6, 7]
    assert_usable(session)


@pytest.mark.fault(3)
def test_several_poison_items_of_one_chunk_are_all_found(session: Any) -> None:
    function = poisoned("exit 0", 0, 3, 11)
    returned = list(mrpy.pmap(function, range(12), chunksize=12, on_error="return"))
    assert [x for x in returned if isinstance(x, int)] == [1, 2, 4, 5, 6, 7, 8, 9, 10]
    crashes = [x for x in returned if isinstance(x, WorkerCrashed)]
    assert [crash.mrpy_item.position for crash in crashes] == [0, 3, 11]
    assert list(mrpy.pmap(function, range(12), chunksize=12, on_error=lambda e: type(e).__name__))[0] == "WorkerCrashed"
    assert_usable(session)


@pytest.mark.fault(1)
def test_a_reduction_and_a_mapreduce_name_the_item_or_do_without(session: Any) -> None:
    function = poisoned("SIGKILL", 100)
    with pytest.raises(WorkerCrashed) as caught:
        mrpy.preduce(operator.add, (function(x) for x in range(200)))
    assert caught.value.mrpy_item.position == 100
    total = mrpy.preduce(operator.add, (function(x) for x in range(200)), on_error="skip")
    assert total == sum(range(200)) - 100
    pairs = mrpy.mapreduce(lambda x: (function(x) % 2, 1), lambda k, v: sum(v), range(200), on_error="skip")
    assert sorted(pairs) == [(0, 99), (1, 100)]
    assert_usable(session)


@pytest.mark.fault(4)
def test_unordered_the_neighbours_come_too(session: Any) -> None:
    got = mrpy.pmap(poisoned("abort", 2, 9), range(12), chunksize=6, ordered=False, on_error="skip")
    assert sorted(got) == [x for x in range(12) if x not in (2, 9)]


@pytest.mark.fault(10)
def test_an_argument_that_kills_on_arrival_is_named(session: Any) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return os._exit, (3,)

    items = [0, 1, Bomb(), 3]
    assert list(mrpy.pmap(lambda x: x, items, chunksize=4, on_error="skip")) == [0, 1, 3]
    with pytest.raises(WorkerCrashed) as caught:
        list(mrpy.pmap(lambda x: x, items, chunksize=4))
    assert caught.value.mrpy_item.position == 2
    assert "Bomb" in caught.value.mrpy_item.text


@pytest.mark.fault(3)
def test_submit_says_that_its_worker_crashed(session: Any) -> None:
    with pytest.raises(WorkerCrashed, match="code 7"):
        mrpy.submit(os._exit, 7).result(30)
    assert mrpy.submit(abs, -1).result(30) == 1


@pytest.mark.fault(3)
def test_a_reducer_that_kills_its_worker_is_an_error(session: Any) -> None:
    with pytest.raises(WorkerCrashed):
        list(mrpy.mapreduce(lambda x: (x % 3, x), lambda k, v: os._exit(1), range(9)))
    with pytest.raises(WorkerCrashed):
        mrpy.preduce(lambda x, y: os._exit(1), range(9))
    assert_usable(session)


# ---- killed from outside ------------------------------------------------------------------------------------


@pytest.mark.fault(1)
@pytest.mark.parametrize("which", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_killing_any_worker_at_any_moment_costs_nothing_but_time(session: Any, which: signal.Signals) -> None:
    loop = mrpy.pmap(lambda x: (sum(range(1000)), x)[1], range(400), chunksize=5)
    got = []
    for x in loop:
        got.append(x)
        if x in (50, 150, 151, 300):
            for pid in team(session)[:1]:
                os.kill(pid, which)
    assert got == list(range(400))
    assert_usable(session)


@pytest.mark.fault(1)
def test_killing_workers_during_a_reduction_leaves_the_bits(session: Any) -> None:
    expected = mrpy.preduce(operator.add, (1.0 / (x + 1) for x in range(3000)), backend="serial")
    killed = []

    def source() -> Iterator[int]:
        for x in range(3000):
            if x % 700 == 100:
                up = [worker.pid for worker in session.driver.backend._team if worker.ready]
                for pid in up[-1:]:  # several in a row that are not up yet are an error
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
            yield x

    assert_usable(session)
    assert mrpy.preduce(operator.add, (1.0 / (x + 1) for x in source()), chunksize=50).hex() == expected.hex()
    assert killed


@pytest.mark.fault(1)
def test_a_worker_that_is_killed_while_idle_is_replaced(session: Any) -> None:
    assert_usable(session)
    for pid in team(session):
        os.kill(pid, signal.SIGKILL)
    assert_usable(session)
    victim = team(session)[0]
    os.kill(victim, signal.SIGKILL)
    assert eventually(lambda: victim not in team(session), 2), "a death is noticed within two seconds"


@pytest.mark.fault(2)
@pytest.mark.parametrize("chunksize", [1, 6])
def test_a_stopped_worker_is_killed_when_its_item_runs_out_of_time(session: Any, chunksize: int) -> None:
    def freeze(x: int) -> int:
        if x == 3:
            os.kill(os.getpid(), signal.SIGSTOP)
        return x

    got = list(mrpy.pmap(freeze, range(6), chunksize=chunksize, timeout=0.4, on_error="return"))
    assert isinstance(got[3], ItemTimeout)
    assert got[:3] + got[4:] == [0, 1, 2, 4, 5]
    assert_usable(session)


@pytest.mark.fault(2)
@pytest.mark.parametrize("chunksize", [1, 6])
def test_what_a_worker_was_at_that_somebody_stopped_is_tried_again(session: Any, chunksize: int, tmp_path: Path) -> None:
    marker = tmp_path / "marker"

    def frozen_once(x: int) -> int:
        if x == 3 and once(marker):
            os.kill(os.getpid(), signal.SIGSTOP)
        return x

    assert list(mrpy.pmap(frozen_once, range(6), chunksize=chunksize, timeout=0.4)) == list(range(6))
    assert_usable(session)


# ---- what tasks leave behind ----------------------------------------------------------------------------------


@pytest.mark.fault(17)
def test_a_child_process_ends_with_its_worker(tmp_path: Path) -> None:
    def leave(_: int) -> int:
        leave.child = child = subprocess.Popen(["sleep", "300"])  # type: ignore[attr-defined]
        return child.pid

    with mrpy.session("processes", workers=1) as session:
        child = next(mrpy.pmap(leave, [0]))
        workers = team(session)
        assert alive(child)
        began = time.monotonic()
    assert time.monotonic() - began < 2
    assert eventually(lambda: not alive(child), 2)
    assert not any(map(alive, workers))


@pytest.mark.fault(17)
def test_a_thread_that_goes_on_does_not_hold_up_the_end() -> None:
    def leave(_: int) -> None:
        import threading

        threading.Thread(target=threading.Event().wait).start()

    with mrpy.session("processes", workers=1):
        list(mrpy.pmap(leave, [0]))
        began = time.monotonic()
    assert time.monotonic() - began < 2


@pytest.mark.fault(18)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_task_may_fork_and_the_child_return(session: Any) -> None:
    def fork(x: int) -> int:
        if os.fork() == 0:
            return 1000 + x
        return x

    assert list(mrpy.pmap(fork, range(6), chunksize=1)) == list(range(6))
    assert list(mrpy.pmap(fork, range(6), chunksize=3)) == list(range(6))
    assert_usable(session)


@pytest.mark.fault(18)
def test_a_task_may_fork_and_the_child_raise_or_call_mrpy(session: Any) -> None:
    def fork(x: int) -> int:
        if os.fork() == 0:
            list(mrpy.pmap(abs, range(3)))
            raise ValueError(x)
        return x

    assert list(mrpy.pmap(fork, range(4), chunksize=2)) == list(range(4))


@pytest.mark.fault(19)
def test_a_task_may_close_or_flood_its_standard_output() -> None:
    script = """
        import mrpy, os, sys
        def close(x):
            os.close(0); os.close(1); os.close(2)
            return x
        def flood(x):
            sys.stdout.write("x" * 5_000_000)
            sys.stdout.flush()
            return x
        print(list(mrpy.pmap(flood, range(4), workers=2, chunksize=1)), flush=True)
        print(list(mrpy.pmap(close, range(1), workers=1)), flush=True)
        print(list(mrpy.pmap(abs, range(3), workers=1)), flush=True)
    """
    done = run_script(script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("x") == 20_000_000
    lines = done.stdout.splitlines()
    assert sorted(line for line in lines if "x" in line) == [f"(item {n}) {'x' * 5_000_000}" for n in range(4)]
    assert [line for line in lines if "x" not in line] == ["[0, 1, 2, 3]", "[0]", "[0, 1, 2]"]


@pytest.mark.fault(19)
def test_what_a_task_prints_comes_out() -> None:
    done = run_script("import mrpy\nlist(mrpy.pmap(print, ['hello'], workers=1))\n")
    assert "hello" in done.stdout


# ---- the parent: scripts --------------------------------------------------------------------------------------


WARM = """
    import mrpy, os, time
    def work(x):
        time.sleep({seconds})
        return os.getpid()
    with mrpy.session("processes", workers=2) as session:
        pids = set(mrpy.pmap(lambda x: (time.sleep(0.05), os.getpid())[1], range(8), chunksize=1))
        print(*pids, flush=True)
        {then}
"""


@pytest.mark.fault(15)
@pytest.mark.parametrize("state", ["idle", "busy", "submitted"])
def test_when_the_parent_is_killed_its_workers_are_gone_in_two_seconds(state: str) -> None:
    then = {
        "idle": "time.sleep(60)",
        "busy": "list(mrpy.pmap(work, range(9)))",
        "submitted": "p = [mrpy.submit(work, 1) for _ in range(9)]; time.sleep(60)",
    }[state]
    with running_script(WARM.format(seconds=60, then=then)) as (process, lines):
        workers = pids_of(lines[0])
        process.send_signal(signal.SIGKILL)
        process.wait(5)
        assert eventually(lambda: not any(map(alive, workers)), 2)


@pytest.mark.fault(15)
def test_a_fork_of_the_parent_does_not_keep_the_workers_alive() -> None:
    then = """
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        print(child, flush=True)
        time.sleep(60)
    """
    code = textwrap.dedent(WARM).format(seconds=60, then=textwrap.dedent(then).strip().replace("\n", "\n    "))
    with running_script(code, lines=2) as (process, lines):
        workers, (child,) = pids_of(lines[0]), pids_of(lines[1])
        process.send_signal(signal.SIGKILL)
        process.wait(5)
        gone = eventually(lambda: not any(map(alive, workers)), 2)
        os.kill(child, signal.SIGKILL)
        assert gone


@pytest.mark.fault(16)
@pytest.mark.parametrize(
    "ending",
    [
        "pass", "sys.exit(3)", "1 / 0", "loop.close()", "del loop", "os._exit(3)",
        "p = [mrpy.submit(time.sleep, 60) for _ in range(5)]",
        "threading.Thread(target=lambda: list(mrpy.pmap(time.sleep, [60], workers=2)), daemon=True).start()",
    ],
)  # fmt: skip
def test_the_parent_may_end_with_work_in_flight(ending: str) -> None:
    code = f"""
        import mrpy, os, sys, threading, time
        loop = mrpy.pmap(lambda x: time.sleep(x) or os.getpid(), [0, 60, 60, 60], workers=2, chunksize=1)
        print(next(loop), flush=True)
        {ending}
    """
    began = time.monotonic()
    done = run_script(code)
    assert time.monotonic() - began < 8
    assert done.returncode == {"sys.exit(3)": 3, "1 / 0": 1, "os._exit(3)": 3}.get(ending, 0), done.stderr
    if ending == "1 / 0":
        assert "ZeroDivisionError" in done.stderr
    elif "submit" in ending:
        assert "RuntimeWarning: 5 calls of mrpy.submit had not ended and were stopped with the program" in done.stderr
    else:
        assert not done.stderr
    assert eventually(lambda: not any(map(alive, pids_of(done.stdout))), 2)


INTERRUPTED = {
    "a loop": "list(mrpy.pmap(work, range(99)))",
    "a reduction": "mrpy.preduce(max, mrpy.pmap(work, range(99)))",
    "a result": "mrpy.submit(work, 1).result()",
    "a source": "list(mrpy.pmap(abs, iter(lambda: time.sleep(60), 0)))",
    "threads": "list(mrpy.pmap(work, range(99), backend='threads', workers=2))",
    "serial": "list(mrpy.pmap(work, range(99), backend='serial'))",
}


@pytest.mark.fault(14)
@pytest.mark.parametrize("where", INTERRUPTED)
def test_ctrl_c_ends_a_script_within_a_second(where: str) -> None:
    then = f"print('ready', flush=True); {INTERRUPTED[where]}"
    with running_script(WARM.format(seconds=60, then=then), lines=2) as (process, lines):
        workers = pids_of(lines[0])
        time.sleep(0.2)  # into the call; an interrupt before it would prove less, and pass as well
        began = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=10)
        assert time.monotonic() - began < 1.5  # a second on a machine that is not busy
        assert process.returncode == -signal.SIGINT
        assert "KeyboardInterrupt" in errors
        assert errors.count("Traceback") <= 2, errors
        assert not any(map(alive, workers))


@pytest.mark.fault(14)
@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_ctrl_c_is_what_a_script_without_a_session_ends_by(backend: str) -> None:
    # What imports the wrong module at the exit of the interpreter makes it forget, and it exits with 1.
    code = f"""
        import mrpy, time
        numbers = mrpy.pmap(lambda x: time.sleep(0.01) or x, range(10**4), backend="{backend}", workers=2)
        print(next(numbers), flush=True)
        list(numbers)
    """
    with running_script(code) as (process, _):
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
        assert "KeyboardInterrupt" in errors
        assert process.returncode == -signal.SIGINT


@pytest.mark.fault(14)
def test_after_ctrl_c_the_session_can_be_used() -> None:
    then = """
        try:
            print('ready', flush=True)
            list(mrpy.pmap(work, range(9)))
        except KeyboardInterrupt:
            print(list(mrpy.pmap(abs, [-1, -2])), len(session.driver.scheduler.records), flush=True)
    """
    code = textwrap.dedent(WARM).format(seconds=60, then=textwrap.dedent(then).strip().replace("\n", "\n    "))
    with running_script(code, lines=2) as (process, _):
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=10)
        assert out.strip() == "[1, 2] 0"
        assert not errors


MAIN = """
import mrpy, sys
print("main is run", flush=True)

class Word(str):
    def __eq__(self, other): return str.__eq__(self, other)
    __hash__ = str.__hash__

FACTOR = 3

def triple(x):
    return FACTOR * x

class Failed(Exception):
    pass

def fail(x):
    raise Failed(x)

print(list(mrpy.pmap(triple, range(4), workers=2, chunksize=1)))
print(list(mrpy.parallel((triple(x) for x in range(4) if triple(x) > 3), workers=2)))
print([type(w) is Word for w in mrpy.pmap(Word, "ab", workers=2)])
print(sorted(mrpy.mapreduce(lambda w: (Word(w), triple(1)), lambda k, v: sum(v), "aba", workers=2)))
try:
    list(mrpy.pmap(fail, [1], workers=2))
except Failed as error:
    print("failed", error.args)
"""
SAID = """main is run
[0, 3, 6, 9]
[6, 9]
[True, True]
[('a', 6), ('b', 3)]
failed (1,)
"""


@pytest.mark.fault(39)
@pytest.mark.parametrize("how", ["file", "-c", "stdin", "-m", "other folder"])
def test_a_script_needs_no_guard(how: str, tmp_path: Path) -> None:
    (tmp_path / "job_script.py").write_text(MAIN)
    done = {
        "file": lambda: run_script("", "job_script.py", cwd=tmp_path),
        "-c": lambda: run_script("", "-c", MAIN, cwd=tmp_path),
        "stdin": lambda: run_script("", "-", input=MAIN, cwd=tmp_path),
        "-m": lambda: run_script("", "-m", "job_script", cwd=tmp_path),
        "other folder": lambda: run_script("", str(tmp_path / "job_script.py"), cwd="/"),
    }[how]()
    assert done.stderr == ""
    assert done.stdout == SAID
    assert done.returncode == 0


@pytest.mark.fault(39)
def test_a_script_finds_the_modules_beside_it(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("def double(x): return 2 * x\nclass Odd(Exception): pass\n")
    (tmp_path / "script.py").write_text(
        "import mrpy, beside\nprint(list(mrpy.pmap(beside.double, [1, 2], workers=1)))\n"
    )
    done = run_script("", str(tmp_path / "script.py"), cwd="/")
    assert (done.stdout, done.stderr) == ("[2, 4]\n", "")


def test_an_uncaught_error_of_a_task_ends_the_script_with_its_own_line() -> None:
    done = run_script("import mrpy\ndef bad(x):\n    return 1 // x\nlist(mrpy.pmap(bad, [1, 0], workers=1))\n")
    assert done.returncode == 1
    assert re.search(r"ZeroDivisionError: .*\nmrpy: raised at item 1: 0\n$", done.stderr)


# ---- forks ------------------------------------------------------------------------------------------------------


@pytest.mark.fault(34, 40)
@pytest.mark.parametrize(
    "in_child",
    [
        "print(list(mrpy.pmap(abs, [-1, -2], workers=2, backend='processes')))",
        "print([mrpy.submit(abs, -1).result(10), 2])",
        "print([len(list(mrpy.pmap(abs, range(9), workers=2))), 0])",
    ],
)
def test_a_warm_parent_may_fork(in_child: str) -> None:
    code = f"""
        import mrpy, os
        list(mrpy.pmap(abs, range(5), workers=2))
        child = os.fork()
        if child == 0:
            {in_child}
            raise SystemExit(0)
        assert os.waitpid(child, 0)[1] == 0
        print(list(mrpy.pmap(abs, [-3], workers=2)))
    """
    done = run_script(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[3]"


@pytest.mark.fault(40)
def test_a_session_that_was_inherited_says_so() -> None:
    code = """
        import mrpy, os
        with mrpy.session("processes", workers=1):
            list(mrpy.pmap(abs, range(5)))
            child = os.fork()
            if child == 0:
                try:
                    list(mrpy.pmap(abs, range(3)))
                except mrpy.errors.SessionClosed as error:
                    print("child:", error, flush=True)
                os._exit(0)
            os.waitpid(child, 0)
            print(list(mrpy.pmap(abs, [-3])))
    """
    done = run_script(code)
    assert done.returncode == 0, done.stderr
    assert re.match(r"child: .*parent process.*\n\[3\]\n$", done.stdout)


@pytest.mark.fault(34)
def test_multiprocessing_in_the_same_program_works() -> None:
    code = """
        import mrpy, multiprocessing, functools
        list(mrpy.pmap(abs, range(5), workers=2))
        with multiprocessing.get_context("fork").Pool(1) as pool:
            print(pool.map(abs, [-1, -2]))
        print(list(mrpy.pmap(abs, [-3], workers=2)))
    """
    done = run_script(code)
    assert (done.stdout, done.returncode) == ("[1, 2]\n[3]\n", 0), done.stderr


# ---- closing ------------------------------------------------------------------------------------------------------


@pytest.mark.fault(16)
def test_a_session_ends_at_once_whatever_its_workers_do() -> None:
    stopped = pytest.warns(RuntimeWarning, match="5 calls of mrpy.submit had not ended")
    with stopped, mrpy.session("processes", workers=2) as session:
        several = [mrpy.submit(time.sleep, 60) for _ in range(4)]
        deaf = mrpy.submit(functools.partial(signal.signal, signal.SIGTERM, signal.SIG_IGN))
        assert eventually(lambda: len(team(session)) == 2)
        workers = team(session)
        began = time.monotonic()
    assert time.monotonic() - began < 2
    assert not any(map(alive, workers))
    assert all(isinstance(p.exception(1), mrpy.errors.SessionClosed) for p in [*several, deaf])

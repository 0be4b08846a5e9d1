"""Row 14: Python loses a Ctrl-C that comes in a finalizer, or just before a system call. While mrpy is in use
it is heard all the same."""

from __future__ import annotations

import _thread
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from laws import eventually
from watching import interrupted_at, running_script, script_environment

from mrpy.scheduler import codec
from mrpy.scheduler.backends import segments, serial
from mrpy.scheduler.backends.segments import SHARED, Borrower, Lender, Pool
from mrpy.scheduler.calls import Call, Code

pytestmark = [
    pytest.mark.fault(14),
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

FINALIZER = """
    import gc, mrpy, os, signal, sys, time, weakref

    def press(*_):
        print("pressed", flush=True)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)

    class Deleted:
        def __del__(self):
            press()

    class Watched:
        pass

    def generator():
        try:
            yield
        finally:
            press()

    def made():
        if {kind!r} == "deleted":
            return Deleted()
        if {kind!r} == "watched":
            watched = Watched()
            watches.append(weakref.ref(watched, press))
            return watched
        if {kind!r} == "finalized":
            watched = Watched()
            weakref.finalize(watched, press)
            return watched
        begun = generator()
        next(begun)
        return begun

    watches = []
    mrpy.configure(backend={backend!r}, workers=2)
"""
OTHERS = ["serial", "threads", "dask"]
KINDS = ["deleted", "watched", "finalized", "generator"]


def ends_by_ctrl_c(code: str) -> None:
    with running_script(code) as (process, lines):
        assert lines == ["pressed"]
        began = time.monotonic()
        out, errors = process.communicate(timeout=30)
        assert time.monotonic() - began < 20, "it was lost"
        assert process.returncode == -signal.SIGINT, errors
        assert "not reached" not in out
        assert "Exception ignored" not in errors, "it is not ignored"
        assert errors.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.parametrize(
    ("backend", "kind"), [*(("processes", kind) for kind in KINDS), *((each, "watched") for each in OTHERS)]
)
def test_a_ctrl_c_in_a_finalizer_between_two_results_ends_the_loop(backend: str, kind: str) -> None:
    ends_by_ctrl_c(
        FINALIZER.format(kind=kind, backend=backend)
        + """
    for n, x in enumerate(mrpy.pmap(time.sleep, [0.01] * 6000, chunksize=1)):
        thing = made() if n == 3 else None
        del thing
    print("not reached")
    """
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_ctrl_c_in_a_finalizer_while_the_source_is_read_ends_the_loop(kind: str) -> None:
    ends_by_ctrl_c(
        FINALIZER.format(kind=kind, backend="processes")
        + """
    def items():
        yield from range(100)
        thing = made()
        del thing
        yield from range(10**9)

    for x in mrpy.pmap(abs, items()):
        pass
    print("not reached")
    """
    )


WAITS = {
    "a loop": "list(mrpy.pmap(time.sleep, [60] * 9))",
    "a reduction": "mrpy.preduce(max, mrpy.pmap(time.sleep, [60] * 9))",
    "a result": "mrpy.submit(time.sleep, 60).result()",
    "a result with a timeout": "mrpy.submit(time.sleep, 60).result(timeout=50)",
    "all": "mrpy.gather([mrpy.submit(time.sleep, 60) for _ in range(5)])",
    "each": "list(mrpy.as_completed([mrpy.submit(time.sleep, 60) for _ in range(5)], timeout=50))",
}


@pytest.mark.parametrize(
    ("backend", "waits"),
    [*((each, waits) for each in ("threads", "processes") for waits in WAITS), ("dask", "a loop")],
)
def test_a_ctrl_c_that_wakes_nobody_is_heard_within_a_second(backend: str, waits: str) -> None:
    """As one does that comes between Python's last look for signals and the system call in which it sleeps."""
    code = f"""
    import _thread, mrpy, threading, time

    def press():
        time.sleep(0.5)
        print("pressed", flush=True)
        _thread.interrupt_main()  # notes the signal, and wakes nobody

    mrpy.configure(backend={backend!r}, workers=2)
    mrpy.submit(abs, 1).result()
    threading.Thread(target=press, daemon=True).start()
    {WAITS[waits]}
    print("not reached")
    """
    ends_by_ctrl_c(code)


@pytest.mark.skipif(not segments.AVAILABLE, reason="needs memfd")
def test_a_loan_is_given_back_whenever_a_ctrl_c_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)  # Python tells of each, and ignores it
    pool, lender, borrower = Pool(), Lender(), Borrower(lambda: told.append(1))
    large = memoryview(bytes(SHARED))
    for moment in range(1, 30):
        lent = lender.lend([pool.shelve(codec.Payload(b"", (large,))).buffers[0]])
        held = [*borrower.parts(lent.loans, lent.others, deque(map(os.dup, lent.fds)))]
        interrupted_at(moment, held.clear)
        assert held == []
        [number] = borrower.unused()
        lender.returned([number])
        assert borrower.unused() == []
    assert told, "it was always interrupted"
    assert Borrower.mapped() == 0


def test_a_task_that_is_stopped_in_a_finalizer_says_nothing_of_it() -> None:
    code = """
    import mrpy, time

    def begun():
        try:
            yield
        finally:
            ends = time.monotonic() + 1
            while time.monotonic() < ends:
                pass

    def work(x):
        generator = begun()
        next(generator)
        del generator

    print([type(each).__name__ for each in mrpy.pmap(
        work, range(2), backend="threads", workers=2, timeout=0.3, on_error="return")])
    time.sleep(1)
    """
    done = run(code)
    assert done.stdout == "['ItemTimeout', 'ItemTimeout']\n"
    assert done.stderr == ""


AMID_AN_IMPORT = """
import _thread, sys, warnings
warnings.simplefilter("ignore", ResourceWarning)  # of the file that an import has open when it is interrupted

def press(frame, event, argument):  # in what Python calls when the lock of an import is freed
    if event == "call" and frame.f_code.co_name == "cb" and "importlib" in frame.f_code.co_filename:
        if {{"mrpy.iterators", "mrpy.cli.commands"}} & set(sys.modules):
            sys.setprofile(None)
            _thread.interrupt_main()

import mrpy, mrpy.cli
sys.argv[1:] = ["run", "nowhere:Job", "a.txt"]
sys.setprofile(press)
{work}
print("not reached")
"""
IMPORTING = ["list(mrpy.pmap(abs, range(-3, 0), workers=2))", "mrpy.Executor(2)", "mrpy.read_text", "mrpy.submit(abs, 1).result()"]


@pytest.mark.parametrize("work", IMPORTING)
def test_a_ctrl_c_amid_the_imports_of_the_first_run_is_heard(work: str) -> None:
    done = ended(AMID_AN_IMPORT.format(work=work))
    assert (done.returncode, done.stdout) == (-signal.SIGINT, ""), done.stderr
    assert done.stderr.endswith("KeyboardInterrupt\n")
    assert "Exception ignored" not in done.stderr


def test_a_ctrl_c_amid_the_imports_of_the_command_is_heard() -> None:
    done = ended(AMID_AN_IMPORT.format(work="mrpy.cli.main()"))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_what_else_a_finalizer_raises_is_told_as_ever() -> None:
    code = """
    import mrpy, sys

    class Bad:
        def __del__(self):
            raise ValueError("in a finalizer")

    seen = []
    sys.unraisablehook = lambda told: seen.append(told.exc_type.__name__)
    list(mrpy.pmap(abs, range(3), workers=2))
    Bad()
    print(seen)
    """
    assert run(code).stdout == "['ValueError']\n"


def test_what_a_finalizer_raises_at_the_very_end_is_told_as_ever(tmp_path: Path) -> None:
    """When Python has emptied its modules, ours among them."""
    (tmp_path / "early.py").write_text(
        "class Bad:\n    def __del__(self): raise ValueError('at the end')\nbad = Bad()\ndef late(): return bad\n"
    )
    code = f"""
    import sys
    sys.path.insert(0, {str(tmp_path)!r})
    import codecs, early, mrpy  # in this order they are emptied, the last first
    list(mrpy.pmap(abs, range(3), backend="threads", workers=2))
    codecs.register(lambda name, late=early.late: None)
    """
    assert "ValueError: at the end" in run(code).stderr


def run(code: str) -> subprocess.CompletedProcess[Any]:
    done = ended(code)
    done.check_returncode()
    return done


def ended(code: str) -> subprocess.CompletedProcess[Any]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60,
        env=script_environment(), check=False,
    )  # fmt: skip


@pytest.mark.parametrize("taken", [False, True])
def test_a_ctrl_c_while_an_alarm_is_set_leaves_no_alarm(taken: bool) -> None:
    """Neither the handler and the timer nor, where somebody else has SIGALRM, a thread that keeps the time."""
    before = signal.signal(signal.SIGALRM, signal.SIG_IGN if taken else signal.SIG_DFL)
    threads = _thread._count()

    def work(item: int, announce: Callable[[Any], None]) -> int:
        announce(0)
        announce(None)
        return item

    call = Call(Code(work, "work", announce=True), 1)
    try:
        for moment in itertools.count(1):
            interrupted = interrupted_at(moment, lambda: serial._timed(call, [], 60, 60))
            assert signal.getsignal(signal.SIGALRM) is (signal.SIG_IGN if taken else signal.SIG_DFL), moment
            assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
            if not interrupted:
                break
        assert moment > 20
        assert eventually(lambda: _thread._count() == threads)
    finally:
        signal.signal(signal.SIGALRM, before)

"""Row 14: Ctrl-C at any point - in a script, in a notebook cell, twice, and in the middle of `close`."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from laws import THOROUGH, eventually
from watching import ROOT, alive, interrupted_at, pids_of, running_script, team

import mrpy
from mrpy.errors import SessionClosed
from mrpy.scheduler.session import close_shared

pytestmark = [
    pytest.mark.fault(14),
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

# ---- in a script -------------------------------------------------------------------------------------

SCRIPT = """
import mrpy, os, sys, time
from mrpy.scheduler.backends.worker_handle import WorkerHandle

def slowly(self, kill=WorkerHandle._kill):
    print("closing", flush=True)
    time.sleep({slow})
    return kill(self)

WorkerHandle._kill = slowly
with mrpy.session("processes", workers=2):
    print(*set(mrpy.pmap(lambda x: (time.sleep(0.05), os.getpid())[1], range(8), chunksize=1)), flush=True)
    {work}
print("not reached")
"""


@pytest.mark.parametrize("times", [1, 2, 5])
def test_ctrl_c_inside_close_ends_the_script_and_leaves_nothing(times: int) -> None:
    with running_script(SCRIPT.format(slow=0.2, work="pass"), lines=2) as (process, lines):
        assert lines[1] == "closing"
        interrupt(process, times)
        assert process.returncode == -signal.SIGINT
        assert eventually(lambda: not any(map(alive, pids_of(lines[0]))), 2)


@pytest.mark.parametrize("timeout", [None, 50])
def test_what_is_stopped_behind_a_ctrl_c_has_nothing_executed(timeout: float | None) -> None:
    """By that Python 3.11 forgets that it was a Ctrl-C: the script would end with code 1."""
    code = f"""
        import mrpy, sys, time
        mrpy.configure(workers=2, timeout={timeout})
        mrpy.submit(time.sleep, 0).result()
        run = mrpy.pmap(time.sleep, [0.01] * 2 + [60] * 9, chunksize=1)
        print(next(run), next(run), flush=True)
        seen = []
        sys.addaudithook(lambda event, args: event == "exec" and seen.append(args))
        del run
        time.sleep(1)
        print(seen)
    """
    with running_script(code, lines=2) as (_, lines):
        assert lines == ["None None", "[]"]


@pytest.mark.parametrize("times", [2, 5])
@pytest.mark.parametrize("work", ["list(mrpy.pmap(time.sleep, [60] * 9))", "mrpy.submit(time.sleep, 60).result()"])
def test_ctrl_c_twice_is_as_good_as_once(work: str, times: int) -> None:
    code = SCRIPT.format(slow=0, work=f"print('ready', flush=True); {work}")
    with running_script(code, lines=2) as (process, lines):
        began = time.monotonic()
        interrupt(process, times)
        assert process.returncode == -signal.SIGINT
        assert time.monotonic() - began < 5
        assert eventually(lambda: not any(map(alive, pids_of(lines[0]))), 2)


def interrupt(process: Any, times: int) -> None:
    """As somebody does who is losing patience; then wait for the end."""
    for _ in range(times):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.02)  # between two keystrokes
    out, errors = process.communicate(timeout=20)
    assert "not reached" not in out
    assert "KeyboardInterrupt" in errors


# ---- at every point ----------------------------------------------------------------------------------


def drivers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "mrpy-driver" and thread.ident]


def double(x: int) -> int:
    return 2 * x


def work() -> list[int]:
    return list(mrpy.pmap(double, range(4), chunksize=2))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("backend", "step"), [("serial", 1), ("threads", 1), ("processes", 3)])
def test_wherever_an_interrupt_meets_close_nothing_is_left(backend: str, step: int) -> None:
    before = len(drivers())
    moment, came = 1, True  # the first is before anything of ours has begun
    while came:
        moment += 1 if THOROUGH else step
        with mrpy.session(backend, workers=1) as session:
            assert work() == [0, 2, 4, 6]
            workers = team(session) if backend == "processes" else []
            came = interrupted_at(moment, session.close)
            assert eventually(lambda: len(drivers()) == before)
            assert not any(map(alive, workers)) or eventually(lambda gone=workers: not any(map(alive, gone)))
    assert moment > 5


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("backend", "step"), [("serial", 17), ("threads", 7), ("processes", 149)])
def test_wherever_an_interrupt_meets_a_run_the_session_works_or_says_that_it_does_not(
    backend: str, step: int
) -> None:
    """From its first call on, which starts threads and workers."""
    step = step // 7 if THOROUGH else step
    moment, came = 0, True
    while came:
        moment += step
        with mrpy.session(backend, workers=1) as session:
            came = interrupted_at(moment, work)
            if backend == "serial":  # its decisions are made in this very thread, and can be cut in two
                with contextlib.suppress(SessionClosed):
                    assert work() == [0, 2, 4, 6]
            else:
                assert work() == [0, 2, 4, 6]
                assert eventually(lambda opened=session: not opened.driver.scheduler.records)
        assert list(mrpy.pmap(double, range(3), backend="serial")) == [0, 2, 4]
    assert moment > 5 * step


@pytest.mark.parametrize(("backend", "step"), [("threads", 23), ("processes", 811)])
def test_wherever_a_signal_meets_the_use_of_a_session_its_handler_may_use_that_too(
    backend: str, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its first use on: it is made in the midst of that."""

    def handle(*_: object) -> None:
        nonlocal handled
        handled += 1
        assert mrpy.submit(function, 3).result() == 6 and list(mrpy.pmap(function, [4])) == [8]

    def use() -> None:
        pending, stopped = mrpy.submit(function, 2), mrpy.submit(time.sleep, 0.001)
        pending.add_done_callback(lambda _: called.set())
        stopped.cancel()
        assert pending.result() == 4 and list(mrpy.pmap(function, [5])) == [10]
        called.wait(5)

    monkeypatch.setenv("MRPY_BACKEND", backend)
    monkeypatch.setenv("MRPY_WORKERS", "1")
    step = step // 20 if THOROUGH else step
    before = signal.signal(signal.SIGINT, handle)
    moment, handled, called, function = 0, 0, threading.Event(), double
    use()  # all is imported
    try:
        while moment == handled * step:
            moment, function = moment + step, eval("lambda x: 2 * x")  # one that was never pickled
            called.clear()
            close_shared()
            interrupted_at(moment, use)
            assert called.is_set()
    finally:
        signal.signal(signal.SIGINT, before)
        close_shared()
    assert handled > 5


def drawing() -> list[threading.Thread]:
    """Threads that do. One that was interrupted while it was started may hang for ever in a lock of its own."""
    return [each for each in threading.enumerate() if type(each).__name__ == "_RefreshThread" and not each.done.is_set()]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_wherever_an_interrupt_meets_a_run_with_a_bar_nothing_is_drawn_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    live = pytest.importorskip("rich.live")

    def stop(self: Any, stop: Any = live.Live.stop) -> None:
        """Without an interrupt: it forgets its thread just before it stops that."""
        counting = sys.getprofile()
        sys.setprofile(None)
        stop(self)
        sys.setprofile(counting)

    monkeypatch.setattr(live.Live, "stop", stop)

    def work() -> list[int]:
        return list(mrpy.pmap(double, range(4), backend="serial", progress=True))

    step = 3 if THOROUGH else 67
    moment, came = 0, True
    shown = sys.stdout, sys.stderr
    assert work() == [0, 2, 4, 6]  # all is imported
    while came:
        moment += step
        with mrpy.session("serial") as session:
            came = interrupted_at(moment, work)
            if drawing():  # it hangs on a traceback
                gc.collect()
            assert eventually(lambda: not drawing()), moment
            assert session.driver.observers == []
        assert (sys.stdout, sys.stderr) == shown
    assert moment > 5 * step


def spilled() -> list[str]:
    """Folders of ours that are locked, or were when they went."""
    paths = (os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd"))
    return [path for path in paths if "mrpy-spill-" in path]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_wherever_an_interrupt_meets_a_shuffle_its_folder_is_gone() -> None:
    def work() -> None:
        assert len(dict(mrpy.mapreduce(lambda x: (x % 3, x), lambda _, xs: sum(xs), range(9), backend="serial"))) == 3

    step = 1 if THOROUGH else 97
    moment, came = 0, True
    work()
    while came:
        moment += step
        came = interrupted_at(moment, work)
        if spilled():
            gc.collect()
        assert spilled() == [], moment
    assert moment > 20 * step


# ---- just before a wait ------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["a loop", "a result", "a result within a time"])
def test_an_interrupt_that_wakes_nobody_is_seen_soon(what: str) -> None:
    """As when it comes between letting go of the interpreter lock and falling asleep."""

    def interrupt_without_waking() -> None:
        begun.wait()
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)  # taken here, to be acted upon over there
        ended.wait(10)
        release.set()  # else the test would hang where nobody looked

    begun, ended, release = threading.Event(), threading.Event(), threading.Event()
    thread = threading.Thread(target=interrupt_without_waking)
    with mrpy.session("threads", workers=2):

        def work(item: int) -> bool:
            begun.set()
            return release.wait()

        thread.start()
        with pytest.raises(KeyboardInterrupt):
            if what == "a loop":
                list(mrpy.pmap(work, range(9)))
            else:
                late = mrpy.submit(work, 0)
                late.result(None if what == "a result" else 60)
        seen = not release.is_set()
        ended.set()
        thread.join()
        if what != "a loop":
            late.cancel()
    assert seen


# ---- in a notebook ---------------------------------------------------------------------------------------


class Notebook:
    """A real kernel, and cells that are run in it."""

    def __init__(self) -> None:
        manager = pytest.importorskip("jupyter_client.manager")
        pytest.importorskip("ipykernel")
        self.kernel = manager.KernelManager(kernel_name="python3")
        self.kernel.start_kernel(env={**os.environ, "PYTHONPATH": str(ROOT)})
        self.client = self.kernel.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=40)

    def start(self, code: str) -> None:
        # else a kernel may pass over a cell that comes just after one that raised
        self._cell = self.client.execute(code, stop_on_error=False)

    def printed(self) -> str:
        """The next line that the running cell prints. A kernel may send it in pieces."""
        text = ""
        while not text.endswith("\n"):
            message = self.client.get_iopub_msg(timeout=30)
            if message["parent_header"].get("msg_id") == self._cell and message["msg_type"] == "stream":
                text += message["content"]["text"]
        return text

    def end(self) -> str:
        """How the cell ended: "ok", or the name of the exception."""
        while True:
            message = self.client.get_shell_msg(timeout=30)
            if message["parent_header"].get("msg_id") == self._cell:
                content = message["content"]
                return str(content["ename"] if content["status"] == "error" else content["status"])

    def run(self, code: str) -> str:
        """Run a cell that prints; return what."""
        self.start(code)
        said = self.printed()
        assert self.end() == "ok"
        return said

    def close(self) -> None:
        self.client.stop_channels()
        self.kernel.shutdown_kernel(now=True)


@pytest.fixture
def notebook() -> Iterator[Notebook]:
    opened = Notebook()
    yield opened
    opened.close()


CELLS = {
    "a loop": "print('ready', flush=True); list(mrpy.pmap(time.sleep, [60] * 9))",
    "a reduction": "print('ready', flush=True); mrpy.preduce(max, mrpy.pmap(time.sleep, [60] * 9))",
    "a result": "pending = mrpy.submit(time.sleep, 60); print('ready', flush=True); pending.result()",
    "threads": "print('ready', flush=True); list(mrpy.pmap(time.sleep, [60] * 9, backend='threads'))",
    # Python itself loses an interrupt that comes just before a sleep begins: here the next one sees it
    "serial": "print('ready', flush=True); list(mrpy.pmap(time.sleep, [0.1] * 600, backend='serial'))",
    "a session": """
with mrpy.session("processes", workers=1):
    print('ready', flush=True)
    list(mrpy.pmap(time.sleep, [60] * 9))
""",
}


@pytest.mark.fault(39)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_cell_that_is_interrupted_ends_and_the_next_one_works(notebook: Notebook) -> None:
    notebook.run(
        "import mrpy, os, time\nmrpy.configure(workers=2)\nFACTOR = 3\ndef triple(x):\n    return FACTOR * x\nprint('ok')"
    )
    use = "print(list(mrpy.pmap(triple, range(3))), list(mrpy.parallel(triple(x) for x in range(2))))"
    assert notebook.run(use) == "[0, 3, 6] [0, 3]\n"
    workers = pids_of(
        notebook.run("print(*set(mrpy.pmap(lambda x: (time.sleep(0.05), os.getpid())[1], range(8), chunksize=1)))")
    )
    for name, cell in CELLS.items():
        notebook.start(cell)
        assert notebook.printed() == "ready\n"
        began = time.monotonic()
        notebook.kernel.interrupt_kernel()
        assert notebook.end() == "KeyboardInterrupt", name
        assert time.monotonic() - began < 10, "the cell went on"
        if cell == CELLS["a result"]:  # the wait has ended, the call goes on: it may be asked for again
            assert notebook.run("print(pending.cancel())") == "True\n"
        assert notebook.run(use) == "[0, 3, 6] [0, 3]\n"
    workers += pids_of(notebook.run("print(*set(mrpy.pmap(lambda x: os.getpid(), range(8), chunksize=1)))"))
    notebook.kernel.shutdown_kernel(now=True)
    assert eventually(lambda: not any(map(alive, workers)), 3)


# ---- a handler that raises something of its own --------------------------------------------------------------


class TimeUp(Exception):
    """What the usual alarm raises."""


class Slow:
    """In our process, the alarm comes while it is pickled, or opened."""

    def __init__(self, when: str) -> None:
        self.when, self.process = when, os.getpid()

    def __call__(self, x: int) -> Any:
        return self if self.when == "opened" else x

    def __getstate__(self) -> Any:
        self._ring("pickled")
        return self.__dict__

    def __setstate__(self, state: Any) -> None:
        self.__dict__ = state
        self._ring("opened")

    def _ring(self, when: str) -> None:
        if when == self.when and os.getpid() == self.process:
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            time.sleep(5)


WAYS = {
    "a result": lambda slow: mrpy.submit(slow, 1).result(),
    "a run": lambda slow: list(mrpy.pmap(slow, [1])),
    "a run that skips": lambda slow: list(mrpy.pmap(slow, [1], on_error="skip")),
    "a reduction": lambda slow: mrpy.preduce(max, mrpy.pmap(slow, [1])),
    "rows": lambda slow: list(
        mrpy.pmap(type, mrpy.mapreduce(lambda n: (n, n), lambda *_: slow, range(4), partitions=1), chunksize=3)
    ),
    "an item": lambda slow: list(mrpy.pmap(type, [slow])),
}


@pytest.mark.parametrize("when", ["pickled", "opened"])
@pytest.mark.parametrize("way", WAYS)
def test_what_an_alarm_raises_is_no_refusal_to_be_pickled(way: str, when: str) -> None:
    def ring(*_: object) -> None:
        raise TimeUp

    if (way, when) == ("an item", "opened"):
        pytest.skip("it is opened by a worker only")
    with mrpy.session("processes", workers=1):
        mrpy.submit(abs, 1).result()
        handler = functools.partial(ring, "an argument") if way == "a result" else ring
        before = signal.signal(signal.SIGALRM, handler)
        try:
            with pytest.raises(TimeUp):
                WAYS[way](Slow(when))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert list(mrpy.pmap(abs, [-1])) == [1]

"""Looking at processes from outside: the workers of a session, and scripts that are killed as a whole."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from laws import eventually

import mrpy

ROOT = Path(__file__).resolve().parents[2]


def alive(pid: int) -> bool:
    """Whether a process runs: neither gone nor a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def team(session: Any) -> list[int]:
    """The workers that a session has now."""
    return [worker.pid for worker in session.driver.backend._team]


def assert_usable(session: Any) -> None:
    """New work is done, by workers that live, and nothing of the old is left."""
    assert list(mrpy.pmap(lambda x: x + 1, range(8), chunksize=1)) == list(range(1, 9))
    assert all(map(alive, team(session)))
    assert eventually(lambda: not session.driver.scheduler.records)


def script_environment() -> dict[str, str]:
    """Scripts find this mrpy, and a warning ends them."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}


def run_script(code: str, *how: str, **given: Any) -> subprocess.CompletedProcess[str]:
    """Run a script to its end; one that hangs raises TimeoutExpired."""
    code = textwrap.dedent(code)
    command = [sys.executable, *(how or ("-c", code))]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=30, env=script_environment(), check=False, **given
    )


def once(marker: Path) -> bool:
    """Whether nobody was here before, on the whole machine."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def interrupted_at(moment: int, call: Callable[[], object]) -> bool:
    """Call with a Ctrl-C at the n-th moment at which Python may raise one in this thread: when a
    function is entered or left. Whether the call was long enough for that. Not within the import system itself:
    Python (up to 3.13 at least) may leave that locked for good then, for all tests that come after."""
    passed = 0

    def tick(frame: Any, event: str, argument: Any) -> None:
        nonlocal passed
        imports = frame.f_code.co_filename.startswith("<frozen importlib")
        if event in ("call", "return", "c_return") and not imports:
            passed += 1
            if passed == moment:
                sys.setprofile(None)
                signal.raise_signal(signal.SIGINT)  # so that what is shielded from signals is

    try:
        sys.setprofile(tick)
        try:
            call()
        finally:
            sys.setprofile(None)
        if passed >= moment:  # in a finalizer, or shortly before the end: then it is pressed once more
            time.sleep(0.1)
    except KeyboardInterrupt:
        return True
    except RuntimeError as error:  # threading's own locks, while it waits for a thread to start
        assert isinstance(error.__context__, KeyboardInterrupt)
        return True
    return False


@contextlib.contextmanager
def running_script(code: str, lines: int = 1) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A script that has printed so many lines and goes on, in a session of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=script_environment(), start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield process, [process.stdout.readline().strip() for _ in range(lines)]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def pids_of(line: str) -> list[int]:
    """The process ids on a line that a script printed."""
    pids = [int(word) for word in line.split()]
    assert pids, "the script did not start"
    return pids

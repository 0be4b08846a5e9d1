"""Row 35 on a Dask cluster of our own: Dask goes by the wall clock, and must not wait for it to catch up."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from laws import HAS_DASK
from watching import script_environment

import mrpy

pytestmark = pytest.mark.skipif(not HAS_DASK, reason="no dask backend")

HOUR = 3600

# The clock of every process that starts with this, the workers too: so many hours off as the file has bytes.
SITE = """
    import os, time

    right = time.time
    time.time = lambda: right() + {step} * os.path.getsize({hours!r})
"""
SCRIPT = """
    import mrpy, os, sys, time

    def pid(_):
        time.sleep(0.05)
        return os.getpid()

    began = time.time()
    with mrpy.session("dask", workers=2):
        while len(set(mrpy.pmap(pid, range(4), chunksize=1))) < 2:
            pass  # Dask warns of a worker that takes an hour to start
        got = []
        for x in mrpy.pmap(lambda x: x + 1, range(40), chunksize=1):
            got.append(x)
            with open(sys.argv[1], "a") as hours:
                hours.write("+")
        assert got == list(range(1, 41))
        assert list(mrpy.pmap(lambda x: 2 * x, range(40))) == list(range(0, 80, 2))
    print(round((time.time() - began) / 3600))
"""


@pytest.mark.fault(35)
@pytest.mark.parametrize(("step", "hours_passed"), [(-HOUR, "-40"), (HOUR, "40")], ids=["back", "forward"])
def test_a_clock_that_is_set_again_and_again_stops_no_message(
    step: int, hours_passed: str, tmp_path: Path
) -> None:
    hours = tmp_path / "hours"
    hours.touch()
    (tmp_path / "sitecustomize.py").write_text(textwrap.dedent(SITE.format(step=step, hours=str(hours))))
    environment = script_environment()
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), environment["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(hours)],
        capture_output=True, text=True, timeout=45, env=environment, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == hours_passed, done.stderr
    assert done.stderr == ""


@pytest.mark.fault(35)
def test_a_clock_that_somebody_puts_in_for_a_while_leaves_the_session_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with mrpy.session("dask", workers=2):
        with monkeypatch.context() as patched:
            jumps = itertools.count(0, 10**7)
            patched.setattr(time, "time", lambda: float(next(jumps)))
            assert list(mrpy.pmap(lambda x: x + 1, range(20), chunksize=1)) == list(range(1, 21))
        assert list(mrpy.pmap(lambda x: x + 1, range(20), chunksize=1)) == list(range(1, 21))

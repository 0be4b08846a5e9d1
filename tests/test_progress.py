"""The progress bar: where it is drawn, and that no run depends on it. What it counts is tested with the verbs."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

import mrpy


def closed() -> io.StringIO:
    file = io.StringIO()
    file.close()
    return file


@pytest.mark.parametrize("stderr", [None, closed()], ids=["none", "closed"])
def test_there_is_no_bar_where_there_is_no_standard_error(
    stderr: io.StringIO | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", stderr)
    assert list(mrpy.pmap(abs, [-1, 2], backend="serial", progress=True)) == [1, 2]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_a_bar_that_is_left_open_ends_with_the_program(backend: str) -> None:
    """The generator that has it is closed when nothing can be imported, and the terminal wants its cursor back."""
    code = f"""
import mrpy
run = iter(mrpy.pmap(lambda x: x, range(10**6), backend={backend!r}, workers=1, progress=True))
next(run)
"""
    terminal = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=terminal, check=True
    )
    assert "Traceback" not in done.stderr
    hide, show = "\x1b[?25l", "\x1b[?25h"
    assert done.stderr.count(hide) == done.stderr.count(show) == 1

"""The progress bar: where it is drawn, and that no run depends on it. What it counts is tested with the verbs."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

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


def test_a_name_is_one_line_and_nothing_that_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(mrpy.pmap(abs, [-1, 2], backend="serial", progress=True, name="é\n\x1b[31m")) == [1, 2]
    assert capsys.readouterr().err.startswith("é\\n\\x1b[31m ")


PRINTS = """
import mrpy
for row in mrpy.pmap(lambda x: print(f"of a worker {x}") or x, range(5), progress=True, workers=1):
    print(f"row {row} {'x' * 200}\\n", end="")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no such terminals")
def test_what_a_program_prints_goes_where_it_prints_it(tmp_path: Path) -> None:
    """As ``python script.py > rows.txt`` in a terminal, which is where the bar is."""
    import pty

    ours, theirs = pty.openpty()
    with open(tmp_path / "rows", "wb") as rows:
        process = subprocess.Popen([sys.executable, "-c", PRINTS], stdin=theirs, stdout=rows, stderr=theirs, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # it is closed
        while data := os.read(ours, 1 << 16):
            shown += data
    os.close(ours)
    assert process.wait(60) == 0
    lines = (tmp_path / "rows").read_text().splitlines()
    assert [line for line in lines if line[0] == "r"] == [f"row {n} {'x' * 200}" for n in range(5)]
    assert sum("of a worker" in line for line in lines) == 5
    assert b"row" not in shown and b"worker" not in shown and b"5/5" in shown


def test_the_standard_output_is_nobody_elses_when_a_run_ends() -> None:
    before = sys.stdout
    with contextlib.redirect_stdout(io.StringIO()) as file:
        run = mrpy.pmap(abs, range(100), backend="serial", progress=True)
        next(run)
        assert sys.stdout is file
    assert list(run) == list(range(1, 100)) and sys.stdout is before


@pytest.mark.parametrize("name", ["[/]", "[red]", "[bold", ":smile:", "a [b] {c} {task.id}"])
def test_a_name_is_shown_as_it_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(mrpy.pmap(abs, [-1, 2], backend="serial", progress=True, name=name)) == [1, 2]
    assert capsys.readouterr().err.startswith(name)


SHOWN = "import mrpy; rows = [*mrpy.pmap(abs, range(20), progress=True)]; print(len(rows), mrpy.pmap(abs, rows, progress=True).sum())"


def test_a_bar_that_cannot_be_written_changes_no_run(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)  # nobody reads it
    with open("/dev/full", "wb") as full, open(writer, "wb") as unread:
        for stderr in (full, unread):
            done = subprocess.run([sys.executable, "-c", SHOWN], stdout=subprocess.PIPE, stderr=stderr, timeout=60)
            assert (done.returncode, done.stdout) == (0, b"20 190\n")

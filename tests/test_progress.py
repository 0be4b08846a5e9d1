"""The progress bar: where it is drawn, and that no run depends on it. What it counts is tested with the verbs."""

from __future__ import annotations

import io
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

"""What all tests of faults have: a deadline, and a session of two worker processes for those that ask for one."""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator
from typing import Any

import pytest
from laws import MORE

import mrpy

DEADLINE = 60 * MORE  # seconds for one test, on a machine that is busy with others


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """A hang is a failure, with the stacks of all threads."""
    faulthandler.dump_traceback_later(DEADLINE, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def session() -> Iterator[Any]:
    """Two worker processes."""
    with mrpy.session("processes", workers=2) as opened:
        yield opened


@pytest.fixture(scope="module")
def warm() -> Iterator[Any]:
    """Two worker processes for all tests of a module: what one test does to them must not harm the next."""
    with mrpy.session("processes", workers=2) as opened:
        yield opened

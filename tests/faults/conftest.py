"""What all tests of faults have: a deadline, and a session of two worker processes for those that ask for one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from laws import MORE, deadline_of

import mrpy

DEADLINE = 60 * MORE  # seconds for one test, on a machine that is busy with others


deadline = deadline_of(DEADLINE, autouse=True)


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

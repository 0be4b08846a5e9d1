"""What tests of faults may ask for: a session of two worker processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import mrpy


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

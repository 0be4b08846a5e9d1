"""Rows 2, 13 and 20: a task that keeps the interpreter lock to itself makes its Dask worker deaf and dumb."""

from __future__ import annotations

import re
import time

import pytest

import mrpy
from mrpy.errors import ItemTimeout


def work(x: int) -> int:
    if x == 3:  # for longer than anybody waits
        re.match(r"(a|aa)+$", "a" * 60 + "b")
    return x


@pytest.mark.fault(2)
def test_an_item_that_keeps_the_lock_runs_out_of_time_alone() -> None:
    with mrpy.session("dask", workers=2):
        got = list(mrpy.pmap(work, range(6), timeout=1, on_error="return"))
        assert isinstance(got[3], ItemTimeout)
        assert got[:3] + got[4:] == [0, 1, 2, 4, 5]
        assert list(mrpy.pmap(work, range(3))) == [0, 1, 2]


@pytest.mark.fault(13)
def test_a_call_that_keeps_the_lock_can_be_cancelled_and_its_worker_is_replaced() -> None:
    with mrpy.session("dask", workers=1):
        assert mrpy.submit(work, 1).result(60) == 1
        stuck = mrpy.submit(work, 3)
        time.sleep(1)  # it has begun by then, unless the machine is very busy, and would never end
        assert stuck.cancel()
        assert mrpy.submit(work, 2).result(60) == 2

"""Which item a worker is at is seen in a page that it shares with its parent, and hardly ever told."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

import mrpy
from mrpy.errors import ItemTimeout, WorkerCrashed
from mrpy.scheduler.backends import at_work
from mrpy.scheduler.backends.worker_handle import WorkerHandle

needs_page = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="each item is told there")


@needs_page
@pytest.mark.parametrize("item", [0, 7, 2**40, (3, 9), (3, 0), None])
def test_what_is_noted_last_is_read(item: Any) -> None:
    page = at_work.Page()
    try:
        assert at_work.read(page.fd, 5) is None, "nothing was noted"
        page.note(5, 1)
        before = time.monotonic()
        page.note(5, item)
        noted = at_work.read(page.fd, 5)
        assert noted is not None
        assert noted.item == item
        assert before <= noted.since <= time.monotonic()
        assert at_work.read(page.fd, 6) is None, "it is of another ticket"
        page.note(5, "a key, which is told")
        assert at_work.read(page.fd, 5) is None
    finally:
        page.close()


@needs_page
def test_a_page_that_somebody_has_closed_says_nothing() -> None:
    page = at_work.Page()
    page.note(5, 1)
    page.close()
    assert at_work.read(page.fd, 5) is None


@needs_page
def test_cheap_items_whose_time_is_kept_are_not_told_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    fact_of = WorkerHandle.fact_of

    def noted(self: WorkerHandle, ticket: Any, frame: Any) -> Any:
        told.append(frame.kind)
        return fact_of(self, ticket, frame)

    monkeypatch.setattr(WorkerHandle, "fact_of", noted)
    assert list(mrpy.pmap(abs, range(5000), backend="processes", workers=2, timeout=60)) == list(range(5000))
    assert 0 < len(told) < 1000


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def test_all_items_of_a_chunk_may_take_longer_than_one() -> None:
    options: dict[str, Any] = {"backend": "processes", "workers": 1, "chunksize": 9, "timeout": 0.8}
    assert list(mrpy.pmap(nap, [0.3] * 9, **options)) == [0.3] * 9


def test_the_item_that_is_at_work_is_blamed_and_since_it_began() -> None:
    naps = [0.0] * 500 + [0.3] * 3 + [60.0] + [0.0] * 20
    options: dict[str, Any] = {"workers": 1, "chunksize": len(naps), "timeout": 1.0, "on_error": "return"}
    began = time.monotonic()
    got = list(mrpy.pmap(nap, naps, backend="processes", **options))
    assert [type(each) for each in got] == [ItemTimeout if each == 60 else float for each in naps]
    assert "503" in str(got[503]) or "503" in "".join(got[503].__notes__)
    assert time.monotonic() - began < 30


def test_of_a_chunk_the_item_that_kills_is_blamed() -> None:
    def kills(n: int) -> int:
        if n == 4321:
            os._exit(3)
        return n

    got = list(mrpy.pmap(kills, range(5000), backend="processes", workers=1, chunksize=5000, on_error="return"))
    assert [n for n, each in enumerate(got) if isinstance(each, WorkerCrashed)] == [4321]

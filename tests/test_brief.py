"""Who waits looks for what he waits for only while it comes soon, and sleeps otherwise."""

from __future__ import annotations

import time

import pytest

import mrpy
from mrpy.scheduler.backends import brief
from mrpy.scheduler.backends.brief import LONGEST, Brief


class World:
    """A clock that stands still unless somebody looks or sleeps, and what there is at a time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, processors: int = 2) -> None:
        self.now, self.arrives, self.looks, self.sleeps = 0.0, 0.0, 0, 0
        monkeypatch.setattr(brief, "perf_counter", lambda: self.now)
        monkeypatch.setattr(brief, "cpu_count", lambda: processors)
        self.brief = Brief(self._look)

    def _look(self) -> str:
        self.looks += 1
        self.now += LONGEST / 8
        return "seen" if self.now >= self.arrives else ""

    def _sleep(self) -> str:
        self.sleeps += 1
        self.now = max(self.now, self.arrives)
        return "woken"

    def wait(self, after: float) -> str:
        self.arrives = self.now + after
        self.looks = self.sleeps = 0
        found: str = self.brief.wait(self._sleep)
        return found


def test_the_first_wait_is_slept(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    assert (world.wait(LONGEST / 2), world.looks) == ("woken", 0)


def test_after_a_short_wait_one_looks_and_after_a_long_one_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.wait(LONGEST / 2)
    assert (world.wait(LONGEST / 2), world.sleeps) == ("seen", 0)
    assert (world.wait(5.0), world.sleeps) == ("woken", 1)
    assert world.looks == 8  # for as long as it may, and once only
    assert (world.wait(5.0), world.looks) == ("woken", 0)
    for _ in range(2):
        assert (world.wait(LONGEST / 2), world.looks) == ("woken", 0)
    assert world.wait(LONGEST / 2) == "seen"


def test_who_looks_in_vain_does_so_less_and_less(monkeypatch: pytest.MonkeyPatch) -> None:
    world, looked = World(monkeypatch), 0
    for _ in range(600):
        world.wait(LONGEST / 2)  # slept, as a rule
        world.wait(LONGEST * 2)
        looked += world.looks > 0
    assert looked <= 10


def test_who_has_one_processor_leaves_it_to_the_other_end(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, processors=1)
    assert [world.wait(LONGEST / 2) for _ in range(3)] == ["woken"] * 3
    assert world.looks == 0


def test_who_waits_for_nothing_takes_no_time_of_the_processor() -> None:
    with mrpy.session("processes", workers=1):
        for number in range(50):  # brief ones
            assert mrpy.submit(abs, -number).result() == number
        before = time.process_time()
        assert mrpy.submit(time.sleep, 0.5).result() is None
        assert time.process_time() - before < 0.1
        before = time.process_time()
        time.sleep(0.5)
        assert time.process_time() - before < 0.1
        times = mrpy.submit(time.process_time).result(), time.sleep(0.5), mrpy.submit(time.process_time).result()
        assert times[2] - times[0] < 0.1  # of the worker's

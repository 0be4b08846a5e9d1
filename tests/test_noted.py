"""Items that are tried again, or whose time is kept, go through the steps together: as if one by one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mrpy
from mrpy.mapreduce import kernels, noted
from mrpy.mapreduce.chunks import Chunk, Outcome
from mrpy.mapreduce.kernels import MapChunk
from mrpy.mapreduce.rules import Rules
from mrpy.mapreduce.steps import Filter, FlatMap, Map, Probe, Step
from mrpy.scheduler.calls import TaskStopped, apart

ITEMS = 12
SLOW: Any = SimpleNamespace(perf_counter=time.perf_counter, sleep=lambda seconds: None)


class Tried:
    """Runs a chunk, of which some items fail at their first attempts, and notes all that happens."""

    def __init__(self, failing: dict[int, int], error: type[BaseException], rules: Rules) -> None:
        self.failing, self.error, self.rules = dict(failing), error, rules
        self.seen: list[Any] = []

    def parts(self, n: int) -> Iterator[Any]:
        self.seen.append(("ran", n))
        yield n
        yield float(mrpy.rng().random())
        if self.failing.get(n, 0):
            self.failing[n] -= 1
            raise self.error(n)
        yield -n

    def run(self, steps: tuple[Step, ...], *, announced: bool, one_by_one: bool) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kernels, "time", SLOW)
            patch.setattr(kernels, "run_fast", _not_here)
            if one_by_one:
                patch.setattr(noted, "may_be_noted", lambda *_: False)
            else:
                patch.setattr(kernels, "run_careful", _not_here)
            made = MapChunk(steps, self.rules)(Chunk(100, range(ITEMS)), self.seen.append if announced else None)
        value, note = apart(made)
        if not isinstance(value, Outcome):
            return value, None, self.seen, note
        failures = {place: (f.type_name, f.message, f.item) for place, f in value.failures.items()}
        return value.values, (failures, value.ended), self.seen, note


def _not_here(*_: Any) -> None:
    raise AssertionError("it goes another way")


STEPS: list[Any] = [
    lambda f: (FlatMap(f),),
    lambda f: (Map(int), FlatMap(f), Filter(bool)),
    lambda f: (FlatMap(f), Probe(str)),
    lambda f: (FlatMap(f), FlatMap(lambda part: [part] * 2)),
]


@given(
    steps=st.sampled_from(STEPS),
    failing=st.dictionaries(st.integers(0, ITEMS - 1), st.integers(1, 3), max_size=4),
    error=st.sampled_from([ValueError, SystemExit, KeyboardInterrupt]),
    on_error=st.sampled_from(["raise", "skip", "return", repr]),
    retries=st.integers(0, 2),
    max_errors=st.sampled_from([None, 2]),
    announced=st.booleans(),
)
def test_what_is_run_together_is_what_single_items_are(
    steps: Any, failing: Any, error: Any, on_error: Any, retries: int, max_errors: int | None, announced: bool
) -> None:
    rules = Rules(on_error, retries or (not announced), seed=7, max_errors=max_errors if on_error == "skip" else None)
    ran = []
    for one_by_one in (True, False):
        tried = Tried(failing, error, rules)
        ran.append(repr(tried.run(steps(tried.parts), announced=announced, one_by_one=one_by_one)))
    assert ran[0] == ran[1]


def test_stages_see_single_items() -> None:
    """They would see all of a chunk otherwise, and another chunk each time that one raises."""

    def numbered(items: Iterator[int]) -> Iterator[tuple[int, int]]:
        yield from enumerate(items)

    got = list(mrpy.stage(numbered)(mrpy.stream(range(4), retries=1, backend="serial")))
    assert got == [(0, n) for n in range(4)]


def test_an_item_that_is_stopped_is_no_failure_of_its() -> None:
    def stops(n: int) -> int:
        raise TaskStopped

    with pytest.raises(TaskStopped):
        MapChunk((Map(stops),), Rules("skip", retries=3))(Chunk(0, range(3)))

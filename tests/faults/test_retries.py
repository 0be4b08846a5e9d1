"""What is done about an item that fails: `on_error`, `retries` and `timeout`, on every backend and together."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from laws import LOCAL

import mrpy
from mrpy.errors import ItemTimeout
from mrpy.scheduler.policy import DEFAULT, Policy

over_backends = pytest.mark.parametrize("backend", LOCAL)
over_chunks = pytest.mark.parametrize("chunksize", [1, 6])


def flaky(folder: Path, failures: int, *items: int) -> Callable[[int], int]:
    """A function that fails so often at these items before it works, and notes when."""
    place = str(folder)

    def check(x: int) -> int:
        with open(f"{place}/{x}", "a+") as log:
            log.seek(0)
            attempts = len(log.readlines())
            log.write(f"{time.monotonic()}\n")
        if x in items and attempts < failures:
            raise ConnectionError(x)
        return x

    return check


def times(folder: Path, item: int) -> list[float]:
    """When the attempts at an item began."""
    return list(map(float, (folder / str(item)).read_text().split()))


@over_backends
@over_chunks
@pytest.mark.parametrize(
    ("on_error", "stands"), [("skip", []), (lambda e: type(e).__name__, ["ConnectionError"] * 2)]
)
def test_what_stands_for_an_item_is_decided_after_its_last_attempt(
    backend: str, chunksize: int, on_error: Any, stands: list[str], tmp_path: Path
) -> None:
    options: dict[str, Any] = {"backend": backend, "workers": 2, "chunksize": chunksize, "retries": 1}
    got = list(mrpy.pmap(flaky(tmp_path, 99, 2, 4), range(6), on_error=on_error, **options))
    assert [x for x in got if isinstance(x, int)] == [0, 1, 3, 5]
    assert [x for x in got if not isinstance(x, int)] == stands
    assert [len(times(tmp_path, x)) for x in range(6)] == [1, 1, 2, 1, 2, 1]


@over_backends
def test_the_pause_between_attempts_grows(backend: str, tmp_path: Path) -> None:
    got = list(mrpy.pmap(flaky(tmp_path, 3, 1), range(3), retries=3, backend=backend, workers=2))
    assert got == [0, 1, 2]
    first, second, third, fourth = times(tmp_path, 1)
    pauses = [second - first, third - second, fourth - third]
    for failures, pause in enumerate(pauses, 1):
        assert pause >= DEFAULT.first_delay * 2 ** (failures - 1)


def test_what_failed_together_does_not_come_back_together() -> None:
    pauses = {Policy().back_off(1, number) for number in range(100)}
    assert len(pauses) == 100
    assert max(pauses) <= 1.25 * min(pauses)
    assert Policy().back_off(60, 7) <= 1.25 * Policy().longest_delay


@over_backends
def test_a_retry_starts_afresh_and_yields_nothing_twice(backend: str, tmp_path: Path) -> None:
    check = flaky(tmp_path, 2, 3)
    options: dict[str, Any] = {"backend": backend, "workers": 2, "chunksize": 6, "retries": 2}
    assert list(mrpy.stream(range(6), **options).flat_map(lambda x: (y for y in (x, check(x), -x)))) == [
        y for x in range(6) for y in (x, x, -x)
    ]


@over_backends
def test_a_reduction_retries_its_items(backend: str, tmp_path: Path) -> None:
    check = flaky(tmp_path, 2, 3, 7)
    options: dict[str, Any] = {"backend": backend, "workers": 2, "retries": 2}
    assert mrpy.preduce(lambda x, y: x + y, (check(x) for x in range(10)), **options) == 45


@over_backends
@pytest.mark.parametrize(
    ("on_error", "stands", "chunksize"),
    [("skip", [], 1), ("return", [ItemTimeout], 6), (lambda e: type(e)(e), [ItemTimeout], 6)],
)
def test_an_item_that_runs_over_its_time_is_dealt_with_as_was_asked(
    backend: str, chunksize: int, on_error: Any, stands: list[type]
) -> None:
    def slow(x: int) -> int:
        while x == 3:
            time.sleep(0.01)
        return x

    options: dict[str, Any] = {"backend": backend, "workers": 2, "chunksize": chunksize, "retries": 2}
    got = list(mrpy.pmap(slow, range(6), timeout=0.3, on_error=on_error, **options))
    assert [x for x in got if isinstance(x, int)] == [0, 1, 2, 4, 5]
    assert [type(x) for x in got if not isinstance(x, int)] == stands


@over_backends
def test_each_attempt_has_the_whole_time(backend: str, tmp_path: Path) -> None:
    check = flaky(tmp_path, 2, 1)

    def slow(x: int) -> int:
        time.sleep(0.25)
        return check(x)

    got = list(mrpy.pmap(slow, range(3), timeout=0.6, retries=2, backend=backend, workers=1, chunksize=3))
    assert got == [0, 1, 2]

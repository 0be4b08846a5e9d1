"""Many single calls at once: what they cost, and that each is still by itself."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import mrpy
from mrpy.scheduler import driver as drivers
from mrpy.scheduler.backends import team
from mrpy.scheduler.backends.worker_handle import WorkerHandle


def same(x: Any) -> Any:
    return x


def until(path: Path, x: Any = None) -> Any:
    while not path.exists():
        time.sleep(0.005)
    return x


def noted(path: Path, x: int) -> None:
    with path.open("a") as file:
        file.write(f"{x}\n")


def odd(bad: int, path: Path | None, x: int) -> int:
    """Quick, but for one of them, which waits for `path`, or kills its worker."""
    if x == bad:
        if path is None:
            os._exit(1)
        until(path)
    return x


@pytest.fixture(params=[1, 2])
def session(request: pytest.FixtureRequest) -> Iterator[Any]:
    with mrpy.session("processes", workers=request.param) as session:
        yield session


def waits_for(path: Path | None, data: bytes) -> None:
    if path is not None:
        until(path)


def known_to_be_quick(function: Any, *arguments: Any) -> None:
    for _ in range(30):
        mrpy.gather([mrpy.submit(function, *arguments) for _ in range(20)])


def test_calls_that_have_to_wait_are_taken_in_together(
    session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drivers, "SOON", 60.0)
    turns: list[int] = []
    decide = session.driver._decide
    gate = tmp_path / "gate"
    held = [mrpy.submit(until, gate, n) for n in range(8)]
    time.sleep(0.5)  # the workers may be about to say that they are up
    monkeypatch.setattr(session.driver, "_decide", lambda facts: turns.append(1) or decide(facts))
    pending = [mrpy.submit(same, n) for n in range(500)]
    submitting = len(turns)
    gate.touch()
    assert mrpy.gather(held) == list(range(8))
    assert mrpy.gather(pending) == list(range(500))
    assert submitting < 50, "whoever adds what has to wait turns the loop each time"


def test_a_worker_is_given_several_of_the_quickest_at_a_time(
    session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = 0
    give = WorkerHandle.give

    def counted(self: Any, ticket: Any) -> None:
        nonlocal longest
        give(self, ticket)
        longest = max(longest, len(self.queue))

    monkeypatch.setattr(team, "BRIEF_BELOW", 0.004)  # the machine may be busy
    monkeypatch.setattr(WorkerHandle, "give", counted)
    for _ in range(20):
        assert mrpy.gather([mrpy.submit(same, n) for n in range(500)]) == list(range(500))
        if longest > team.DEPTH:
            break
    assert team.DEPTH < longest <= team.MOST


def test_calls_begin_in_the_order_in_which_they_were_made(tmp_path: Path) -> None:
    with mrpy.session("processes", workers=1):
        known_to_be_quick(noted, tmp_path / "others", 0)
        mrpy.gather([mrpy.submit(noted, tmp_path / "log", n) for n in range(300)])
    assert (tmp_path / "log").read_text().split() == list(map(str, range(300)))


def test_a_slow_call_holds_none_of_the_quick_ones_up(tmp_path: Path) -> None:
    call = partial(odd, 5, tmp_path / "gate")
    with mrpy.session("processes", workers=2):
        known_to_be_quick(call, 0)
        pending = [mrpy.submit(call, n) for n in range(100)]
        others = pending[:5] + pending[6:]
        assert mrpy.wait(others, timeout=30).not_done == set()
        assert not pending[5].done()
        (tmp_path / "gate").touch()
        assert mrpy.gather(pending) == list(range(100))


def test_a_call_that_kills_its_worker_is_the_only_one_to_blame() -> None:
    call = partial(odd, 5, None)
    with mrpy.session("processes", workers=2):
        known_to_be_quick(call, 0)
        pending = [mrpy.submit(call, n) for n in range(100)]
        mrpy.wait(pending)
        errors = {n: type(each.exception()) for n, each in enumerate(pending) if each.exception() is not None}
        assert errors == {5: mrpy.errors.WorkerCrashed}
        assert [each.result() for n, each in enumerate(pending) if n != 5] == [n for n in range(100) if n != 5]


def test_what_has_not_begun_can_be_cancelled(session: Any, tmp_path: Path) -> None:
    gate, log = tmp_path / "gate", tmp_path / "log"
    log.touch()
    known_to_be_quick(noted, tmp_path / "others", 0)
    held = [mrpy.submit(until, gate, n) for n in range(session.workers)]
    time.sleep(0.5)  # they have begun
    pending = [mrpy.submit(noted, log, n) for n in range(100)]
    assert all(each.cancel() for each in pending[::2])
    gate.touch()
    mrpy.wait(held + pending)
    assert sorted(map(int, log.read_text().split())) == list(range(1, 100, 2))
    with pytest.raises(mrpy.errors.Cancelled):
        pending[0].result()


def test_a_call_that_is_too_large_to_be_taken_back_does_not_wait_behind_a_long_one(tmp_path: Path) -> None:
    path, large = tmp_path / "go", bytes(100_000)
    with mrpy.session("processes", workers=2):
        known_to_be_quick(waits_for, None, large)
        long = mrpy.submit(waits_for, path, large)
        mrpy.gather([mrpy.submit(waits_for, None, large) for _ in range(6)])
        assert not long.done()
        path.touch()
        long.result(30)

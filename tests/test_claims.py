"""What waits behind a task of a worker: run there, or taken back for one that has nothing to do."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from laws import deadline_of

import mrpy
from mrpy.scheduler.backends.claims import Claimed, Claims

deadline = deadline_of(60, autouse=True)


@pytest.fixture
def claims() -> Iterator[Claims]:
    parents = Claims()
    yield parents
    parents.close()


def test_what_was_taken_back_is_not_the_workers(claims: Claims) -> None:
    claimed = Claimed(os.dup(claims.fd))
    for number in (5, 7, 2**40):
        claims.grant(number)
    assert claims.take_back() == 5
    assert not claimed.is_ours(5)
    assert claimed.is_ours(7)
    assert claims.take_back() is None, "the worker has looked at all that there was"
    assert claimed.is_ours(2**40)
    claims.grant(9)
    assert claimed.is_ours(9)


def test_each_is_of_one_of_the_two_however_they_meet(claims: Claims) -> None:
    claimed, count = Claimed(os.dup(claims.fd)), 4000
    theirs: list[int] = []
    ours: list[int] = []

    def work() -> None:
        theirs.extend(filter(claimed.is_ours, range(count)))

    for number in range(count):
        claims.grant(number)
    worker = threading.Thread(target=work)
    worker.start()
    while worker.is_alive():
        if (number := claims.take_back()) is not None:
            ours.append(number)
    worker.join()
    assert sorted(theirs + ours) == list(range(count))


@pytest.mark.parametrize("long", [12, 13, 20])
def test_nothing_waits_behind_a_task_that_takes_long(long: int, tmp_path: Path) -> None:
    """Tasks of 10 ms are given to a worker ahead; one turns out to take as long as all the others together."""
    count = 40

    def function(n: int) -> int:
        time.sleep(0.01)
        until = time.monotonic() + 20
        while n == long and len(list(tmp_path.iterdir())) < count - 1 and time.monotonic() < until:
            time.sleep(0.01)
        (tmp_path / str(n)).touch()
        return len(list(tmp_path.iterdir()))

    with mrpy.session("processes", workers=2):
        assert list(mrpy.pmap(function, range(count), chunksize=1))[long] == count


def test_what_waits_with_a_worker_that_is_to_leave_goes_to_the_next(tmp_path: Path) -> None:
    def function(n: int) -> int:
        time.sleep(0.01)
        if n % 10 == 5:
            os.kill(os.getpid(), 9)
        return n

    with mrpy.session("processes", workers=2):
        made = list(mrpy.pmap(function, range(40), chunksize=1, on_error="skip"))
    assert made == [n for n in range(40) if n % 10 != 5]


def test_what_nobody_wants_any_more_is_not_run(tmp_path: Path) -> None:
    """Not even if a worker has it already."""

    def function(n: int) -> int:
        (tmp_path / str(n)).touch()
        time.sleep(0.03)
        return n

    with mrpy.session("processes", workers=2):
        list(mrpy.pmap(function, range(10), chunksize=1))
        for path in tmp_path.iterdir():
            path.unlink()
        rows = iter(mrpy.pmap(function, range(100), chunksize=1))
        assert next(rows) == 0
        began = len(list(tmp_path.iterdir()))
        del rows
        assert list(mrpy.pmap(abs, range(10))) == list(range(10))
        assert len(list(tmp_path.iterdir())) <= began + 2

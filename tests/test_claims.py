"""What waits behind a task of a worker: run there, or taken back for one that has nothing to do."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from laws import eventually, when

import mrpy
from mrpy.scheduler.backends.claims import Claimed, Claims


@pytest.fixture
def claims() -> Iterator[Claims]:
    parents = Claims()
    yield parents
    parents.close()


def test_what_was_taken_back_is_not_the_workers(claims: Claims) -> None:
    claimed = Claimed(os.dup(claims.fd))
    for number in (5, 7, 8, 2**40):
        claims.grant(number)
    assert claims.take_back() == 5
    assert not claimed.is_ours(5)
    assert claims.take_back() == 8, "the worker has looked no further than it had to"
    assert claimed.is_ours(7)
    assert not claimed.is_ours(8)
    assert claimed.is_ours(2**40)
    assert claims.take_back() is None
    claims.grant(9)
    assert claimed.is_ours(9)
    claims.grant(10, 11, 12)
    assert claims.take_back() == 10
    assert claimed.is_ours(11)
    assert claimed.is_ours(12)


def test_what_the_worker_leaves_is_not_its_own_any_more(claims: Claims) -> None:
    claimed = Claimed(os.dup(claims.fd))
    for number in (5, 7, 8):
        claims.grant(number)
    assert claims.take_back() == 5
    assert not claimed.is_ours(5)
    assert claimed.leave() == 7
    assert claimed.leave() is None
    assert not claimed.is_ours(7)
    assert claimed.is_ours(8)


def test_a_worker_without_its_claims_does_not_go_on() -> None:
    fd = os.open(os.devnull, os.O_RDONLY)
    with pytest.raises(OSError, match="claims"):
        Claimed(fd).is_ours(1)
    os.close(fd)


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


def behind_a_long_one(act: Callable[..., Any]) -> list[Any]:
    """Calls of `act`: "long", which runs where "first" did, and two behind it. What was behind "first" was taken
    back by the other worker, which is at work for 0.4 s then."""
    for _ in range(4):
        for pending in [mrpy.submit(act, "work") for _ in range(2)]:
            pending.result(30)
    leading, _, _ = mrpy.submit(act, "first"), mrpy.submit(act, "work", 0.03), mrpy.submit(act, "work", 0.4)
    leading.result(30)
    return [mrpy.submit(act, which) for which in ("long", "work", "work")]


def test_nothing_waits_with_a_worker_that_was_late_to_see_what_was_taken_back(tmp_path: Path) -> None:
    """What was behind `first` is gone when its worker looks: it finds the number of the one behind `long`."""
    over = tmp_path / "over"

    def first() -> None:
        look = Claimed.is_ours

        def late(self: Claimed, number: int) -> bool:
            time.sleep(0.05)
            return look(self, number)

        Claimed.is_ours = late  # type: ignore[method-assign]
        time.sleep(0.05)

    def long() -> bool:
        until = time.monotonic() + 20
        while not over.exists() and time.monotonic() < until:
            time.sleep(0.01)
        return over.exists()

    def act(which: str, seconds: float = 0.01) -> bool | None:
        return {"first": first, "long": long, "work": lambda: time.sleep(seconds)}[which]()

    with mrpy.session("processes", workers=2):
        last, *behind = behind_a_long_one(act)
        for pending in behind:
            pending.result(30)
        over.touch()
        assert last.result(30)


def test_a_worker_that_leaves_what_is_being_stopped_is_not_to_be_killed_any_more(tmp_path: Path) -> None:
    """It has looked, as above, and says so only when all behind `long` is cancelled."""
    looked, cancelled, over = tmp_path / "looked", tmp_path / "cancelled", tmp_path / "over"

    def first() -> None:
        look = Claimed.is_ours

        def late(self: Claimed, number: int) -> bool:
            time.sleep(0.05)
            ours = look(self, number)
            if self._next is not None:
                looked.touch()
                when(cancelled)
            return ours

        Claimed.is_ours = late  # type: ignore[method-assign]
        time.sleep(0.05)

    def act(which: str, seconds: float = 0.01) -> Any:
        work = (lambda: when(cancelled)) if seconds == 0.4 else (lambda: time.sleep(seconds))  # so nobody else has them
        return {"first": first, "long": lambda: when(over), "work": work}[which]()

    with mrpy.session("processes", workers=2) as session:
        last, *behind = behind_a_long_one(act)
        eventually(looked.exists)  # if the machine is that slow it has nothing to leave
        for pending in behind:
            assert pending.cancel()
        cancelled.touch()
        backend = session.driver.backend
        assert eventually(lambda: len(backend._tickets) == 1)  # that of `last`
        assert [worker.kill_at for worker in backend._team] == [None, None]
        over.touch()
        last.result(30)


def test_what_waits_with_a_worker_that_is_to_leave_goes_to_the_next(tmp_path: Path) -> None:
    def function(n: int) -> int:
        time.sleep(0.01)
        if n % 10 == 5:
            os.kill(os.getpid(), 9)
        return n

    with mrpy.session("processes", workers=2):
        made = list(mrpy.pmap(function, range(40), chunksize=1, on_error="skip"))
    assert made == [n for n in range(40) if n % 10 != 5]


def test_a_missing_worker_is_started_before_tasks_wait_behind_each_other() -> None:
    def function(n: int) -> int:
        time.sleep(0.05)
        return os.getpid()

    with mrpy.session("processes", workers=2):
        for n in range(3):
            mrpy.submit(function, n).result(30)
        rounds = range(20)
        pids = {pending.result(30) for _ in rounds for pending in [mrpy.submit(function, n) for n in range(2)]}
    assert len(pids) == 2


def test_what_waits_behind_one_that_turns_out_to_be_long_goes_to_others_though_they_are_busy(tmp_path: Path) -> None:
    """The other worker is never without a task: a second run sees to that."""
    over = tmp_path / "over"

    def function(n: int) -> int:
        time.sleep(0.02)
        until = time.monotonic() + 20
        while n == 30 and not over.exists() and time.monotonic() < until:
            time.sleep(0.01)
        return n

    def short(n: int) -> int:
        time.sleep(0.01)
        return n

    with mrpy.session("processes", workers=2):
        list(mrpy.pmap(function, range(20), chunksize=1))
        for n in range(10):
            mrpy.submit(short, n).result(30)
        began = time.monotonic()
        rows = iter(mrpy.pmap(function, range(90), chunksize=1, ordered=False, buffersize=4))
        feeding = threading.Thread(target=lambda: list(rows))
        feeding.start()
        for n in range(60):
            mrpy.submit(short, n).result(30)
        assert time.monotonic() - began < 15, "one has waited until the long one was over"
        over.touch()
        feeding.join(30)


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

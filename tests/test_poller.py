"""What several threads sleep on: each event wakes one of them and is lost to nobody. And its plain stand-in."""

from __future__ import annotations

import array
import errno
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import mrpy
from mrpy.errors import BackendError, ItemTimeout
from mrpy.scheduler.backends import poller, processes
from mrpy.scheduler.backends.poller import EpollPoller, Event, Poller
from mrpy.scheduler.backends.transport import ParentEnd, pack

KINDS = [Poller, pytest.param(EpollPoller, marks=pytest.mark.skipif(not hasattr(select, "epoll"), reason="no epoll"))]
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


def fill(sock: socket.socket) -> None:
    """Write until no more goes."""
    while True:
        try:
            sock.send(b"x" * 65536)
        except BlockingIOError:
            return


@each_kind
def test_what_happens_is_told_with_its_owner(kind: Any, pair: Any) -> None:
    ours, theirs = pair
    watch = kind()
    watch.add(ours.fileno(), "owner")
    assert list(watch.take()) == []
    theirs.send(b"!")
    watch.sleep(None)
    assert list(watch.take()) == [Event("owner", ours.fileno())]
    watch.remove(ours.fileno())
    theirs.send(b"!")
    assert list(watch.take()) == []
    watch.close()


@each_kind
def test_a_wake_that_comes_before_the_sleep_ends_it_and_the_next_one_is_another(kind: Any) -> None:
    watch = kind()
    for _ in range(3):
        watch.pipe.write()
        watch.pipe.write()
        watch.sleep(None)
        assert list(watch.take()) == []
    began = time.monotonic()
    watch.sleep(0.1)
    assert time.monotonic() - began >= 0.09
    watch.close()
    watch.pipe.write()  # harmless


@each_kind
def test_who_waits_to_write_is_told_when_it_goes_and_also_if_it_went_before_he_asked(kind: Any, pair: Any) -> None:
    ours, theirs = pair
    watch = kind()
    watch.add(ours.fileno(), "owner")
    watch.writes(ours.fileno(), True)
    watch.sleep(None)
    assert list(watch.take()) == [Event("owner", ours.fileno(), True)]
    fill(ours)
    assert list(watch.take()) == []
    while select.select([theirs], [], [], 0)[0]:
        theirs.recv(65536)
    watch.sleep(None)
    assert list(watch.take()) == [Event("owner", ours.fileno(), True)]
    watch.writes(ours.fileno(), False)
    assert list(watch.take()) == []
    watch.close()


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="no epoll")
def test_what_one_sleeper_was_told_another_takes_and_a_third_can_be_woken_for(pair: Any) -> None:
    ours, theirs = pair
    watch = EpollPoller()
    watch.add(ours.fileno(), "owner")

    def asleep(leading: bool) -> threading.Thread:
        thread = threading.Thread(target=lambda: watch.sleep(30, leading=leading))
        thread.start()
        return thread

    first = asleep(leading=False)
    theirs.send(b"!")
    first.join(20)
    began = time.monotonic()
    watch.sleep(30, leading=True)
    assert time.monotonic() - began < 20, "he sees that something was saved"
    third = asleep(leading=False)
    watch.pass_on()
    third.join(20)
    assert not third.is_alive()
    assert list(watch.take()) == [Event("owner", ours.fileno())]
    watch.pass_on()
    assert list(watch.take()) == []
    watch.close()


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="no epoll")
def test_a_read_gets_all_that_is_there_also_behind_descriptors_and_the_end_is_told(pair: Any) -> None:
    """What is left would not be told again."""
    ours, theirs = pair
    end = ParentEnd(ours)
    watch = EpollPoller()
    watch.add(ours.fileno(), "owner")
    for number in range(3):
        fds = array.array("i", [0])
        theirs.sendmsg(pack(1, number, [b"part"]), [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        theirs.send(b"".join(pack(2, number, [b"part"])))
    theirs.close()
    frames = end.receive()
    assert frames is not None
    assert [(frame.kind, frame.number) for frame in frames] == [(kind, n) for n in range(3) for kind in (1, 2)]
    assert [event.ended for event in watch.take()] == [True]
    assert end.receive() is None
    assert end.gone
    assert len(end.fds) == 3
    watch.close()
    end.close()


@each_kind
@pytest.mark.parametrize("refused", [0, 1])
def test_a_worker_that_cannot_be_watched_is_ended_and_what_waits_for_it_told(
    monkeypatch: Any, kind: Any, refused: int
) -> None:
    """The system has a limit of watches, and of memory for them. Nobody would hear that the worker is up."""
    add, owners = kind.add, []

    def full(self: Poller, fd: int, owner: Any) -> None:
        owners.append(owner)
        if len(owners) == refused + 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        add(self, fd, owner)

    monkeypatch.setattr(processes, "poller", kind)
    monkeypatch.setattr(kind, "add", full)
    with mrpy.session("processes", workers=1):
        with pytest.raises(BackendError, match="No space left"):
            mrpy.submit(abs, -1).result(20)
        assert owners[0].exited()
        assert mrpy.submit(abs, -1).result(20) == 1


# ---- without epoll ----------------------------------------------------------------------------------------

RUNS: dict[str, Callable[[], Any]] = {
    "loop": lambda: list(mrpy.pmap(abs, range(-5000, 0))) == list(range(5000, 0, -1)),
    "results": lambda: [mrpy.submit(abs, -n).result(30) for n in range(50)] == list(range(50)),
    "large": lambda: list(mrpy.pmap(len, [bytes(3_000_000)] * 4, chunksize=1)) == [3_000_000] * 4,
    "deaths": lambda: len(list(mrpy.pmap(lambda n: n or os._exit(1), range(4), on_error="skip"))) == 3,
    "time": lambda: isinstance(next(mrpy.pmap(time.sleep, [60], timeout=0.3, on_error="return")), ItemTimeout),
}


@pytest.mark.parametrize("run", RUNS)
def test_where_there_is_no_epoll_the_driver_serves_all(monkeypatch: Any, run: str) -> None:
    monkeypatch.setattr(processes, "poller", Poller)
    with mrpy.session("processes", workers=2) as session:
        assert not session.driver.backend.led
        assert RUNS[run]()
        assert RUNS["loop"]()
    assert poller.poller is not Poller

"""What tasks have said: shown in its order, by one thread at a time, and waited for a little."""

from __future__ import annotations

import _thread
import sys
import threading
import time
from typing import Any

import pytest
from laws import eventually

from mrpy.scheduler import said
from mrpy.scheduler.said import Said


def test_all_is_shown_in_its_order_by_one_thread_at_a_time() -> None:
    queue, shown, inside = Said(), list[int](), list[int]()
    together = threading.Lock()

    def show(n: int) -> None:
        inside.append(1)
        assert len(inside) == 1
        shown.append(n)
        inside.pop()

    def says(first: int) -> None:
        for n in range(first, 4000, 4):
            with together:
                said_so_far.append(n)
                queue.show(lambda n=n: show(n))  # type: ignore[misc]
            if n % 50 == 0:
                queue.wait()

    said_so_far: list[int] = []
    threads = [threading.Thread(target=says, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert queue.wait()
    assert shown == said_so_far
    assert sorted(shown) == list(range(4000))


def test_what_stands_still_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(said, "PATIENCE", 0.2)
    queue, shown, lock = Said(), list[int](), threading.Lock()
    lock.acquire()
    queue.show(lambda: (lock.acquire(), shown.append(1)))
    queue.show(lambda: shown.append(2))
    assert not queue.wait(time.monotonic() + 0.01)
    assert not queue.wait()
    began = time.monotonic()
    assert not any(queue.wait() for _ in range(1000))
    assert time.monotonic() - began < 20 * said.PATIENCE, "not for each result that comes meanwhile"
    assert shown == []
    lock.release()
    assert eventually(lambda: shown == [1, 2])
    assert queue.wait()


def test_what_goes_on_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(said, "PATIENCE", 0.3)
    queue, shown = Said(), list[int]()
    for n in range(30):
        queue.show(lambda n=n: (time.sleep(0.02), shown.append(n)))  # type: ignore[misc]
    assert not queue.wait(time.monotonic() + 0.1)
    assert queue.wait()
    assert shown == list(range(30))


def test_who_says_too_much_waits_as_long_as_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(said, "PATIENCE", 0.2)
    queue, lock, shown = Said(), threading.Lock(), list[int]()
    for n in range(2000):
        queue.show(lambda n=n: shown.append(n))  # type: ignore[misc]
        assert n - len(shown) < said.MUCH // said.A_CALL + 50
    assert queue.wait()
    lock.acquire()
    queue.show(lock.acquire)
    queue.show(int, said.MUCH)
    began = time.monotonic()
    for _ in range(100):
        queue.show(int, said.MUCH)
    assert time.monotonic() - began < 20 * said.PATIENCE, "who waits in vain once does not wait again"
    thread = threading.Thread(target=queue.show, args=(int, said.TOO_MUCH))
    thread.start()
    assert not queue.wait()
    thread.join(0.3)
    assert thread.is_alive(), "that is too much in any case"
    lock.release()
    thread.join(20)
    assert not thread.is_alive()
    assert eventually(queue.wait)


def test_who_finds_all_shown_when_he_is_about_to_wait_does_not() -> None:
    queue = Said()
    queue.show(int, said.MUCH)
    assert queue.wait()
    began = time.monotonic()
    queue._wait_for_room()
    assert time.monotonic() - began < said.PATIENCE / 2
    assert queue.wait()


def test_whatever_a_call_raises_the_next_one_is_shown() -> None:
    queue, shown = Said(), list[int]()
    queue.show(sys.exit)
    queue.show(lambda: shown.append(1))
    assert queue.wait()
    assert shown == [1]


def test_where_no_thread_can_be_started_it_is_shown_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(said, "start_new_thread", refuse)
    queue, threads = Said(), list[int]()
    queue.show(lambda: threads.append(_thread.get_ident()))
    queue.show(lambda: queue.show(lambda: threads.append(_thread.get_ident())))
    assert threads == [_thread.get_ident()] * 2
    assert queue.wait()

"""Counts of equal things, which are folded without a tree: by the workers, and by the consumer on their heels."""

from __future__ import annotations

import collections
import math
import os
import pickle
import pickletools
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import BACKENDS, LOCAL, eventually

import mrpy
from mrpy.errors import SessionClosed
from mrpy.mapreduce.frequencies import Frequencies
from mrpy.scheduler.messages import Moved
from mrpy.scheduler.states import State

over_local = pytest.mark.parametrize("backend", LOCAL)


THINGS = [1, "a", True, 2.0, (1, None), 2, "b", 1.0] * 40 + [f"late {n % 90}" for n in range(700)]


@over_local
@pytest.mark.parametrize("chunksize", [1, 7, 64, "auto"])
def test_wherever_it_is_cut_things_are_counted_in_the_order_in_which_they_first_came(
    backend: str, chunksize: int | str
) -> None:
    stream = mrpy.stream(THINGS, backend=backend, workers=2, chunksize=chunksize, check=True)
    found = stream.frequencies().to_list()
    expected = list(collections.Counter(THINGS).items())
    assert found == expected
    assert [type(thing) for thing, _ in found] == [type(thing) for thing, _ in expected]  # 1, not True or 1.0


@over_local
def test_what_is_skipped_is_not_counted_and_the_rest_keeps_its_order(backend: str) -> None:
    def tenth(n: int) -> float:
        return (n % 50) / (n % 10)

    stream = mrpy.stream(range(500), backend=backend, workers=2, on_error="skip").map(tenth)
    expected = collections.Counter(tenth(n) for n in range(500) if n % 10)
    assert stream.frequencies().to_list() == list(expected.items())


MADE: dict[str, Callable[[int], Any]] = {
    "lists": lambda n: [n % 7, "a"] * (n % 5), "long lists": lambda n: [n % 11] * (600 * (n % 9)),
    "generators": lambda n: (k % 3 for k in range(n % 4)), "text": lambda n: "banana"[: n % 7],
    "dicts": lambda n: {n % 5: 9, "k": 3}, "long dicts": lambda n: dict.fromkeys(range(600 * (n % 9)), 9),
    "sets": lambda n: {n % 5}, "ranges": lambda n: range(n % 6),
}  # fmt: skip
MADE["all of them"] = lambda n: list(MADE.values())[n % 8](n)


@over_local
@pytest.mark.parametrize("kind", MADE)
def test_what_flat_map_makes_is_counted_in_its_order(backend: str, kind: str) -> None:
    stream = mrpy.stream(range(400), backend=backend, workers=2).flat_map(MADE[kind])
    expected = collections.Counter(part for n in range(400) for part in MADE[kind](n))
    assert stream.frequencies().to_list() == list(expected.items())


def test_what_a_generator_yields_is_counted_as_it_comes() -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0

    @dataclass(frozen=True)
    class Part:
        number: int

    def many(n: int) -> Iterator[Any]:
        nonlocal most
        for _ in range(5000):
            part = Part(n)
            alive.add(part)
            most = max(most, len(alive))
            yield part

    found = mrpy.stream(range(2), backend="serial").flat_map(many).frequencies().to_list()
    assert found == [(Part(0), 5000), (Part(1), 5000)]
    assert most < 100


@over_local
def test_an_item_that_fails_within_flat_map_is_named(backend: str) -> None:
    def parts(n: int) -> list[int]:
        return [1 // (n - 321)] * 3

    with pytest.raises(ZeroDivisionError) as caught:
        mrpy.stream(range(1000), backend=backend, workers=2, chunksize=100).flat_map(parts).frequencies().to_list()
    assert caught.value.mrpy_item.position == 321  # type: ignore[attr-defined]


# ---- who merges --------------------------------------------------------------------------------------------------

HERE = os.getpid()


class Held:
    """A thing that the consumer, and nobody else, cannot look at before something is true."""

    until: Callable[[], object] = staticmethod(lambda: True)

    def __init__(self, n: int) -> None:
        self.n = n

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Held) and self.n == other.n

    def __hash__(self) -> int:
        if os.getpid() == HERE:
            Held.until()
        return hash(self.n)


class Moves:
    """What an observer of a session saw."""

    def __init__(self, session: Any) -> None:
        self.done: collections.Counter[str] = collections.Counter()
        self.released: collections.Counter[str] = collections.Counter()
        session.job().driver.observe(self)

    def __call__(self, moved: Moved) -> None:
        if moved.new is State.DONE:
            self.done[moved.task.call.code.name] += 1
        if moved.new is State.RELEASED:
            self.released[moved.task.call.code.name] += 1


NUMBERS = [n * n % 23 for n in range(300)]


def counted(numbers: list[int] = NUMBERS) -> list[tuple[int, int]]:
    stream = mrpy.stream(numbers, chunksize=1).map(Held)
    return [(held.n, count) for held, count in stream.frequencies()]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_consumer_merges_what_is_done(backend: str) -> None:
    with mrpy.session(backend, workers=2) as session:
        moves = Moves(session)
        found = mrpy.stream(["a b", "b"] * 2, chunksize=4).flat_map(str.split).frequencies().to_list()
        assert found == [("a", 2), ("b", 4)]
        assert not [name for name in moves.done if name.startswith(("merge", "finish"))]


def test_what_the_consumer_does_not_keep_up_with_is_merged_on_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    with mrpy.session("processes", workers=2) as session:
        moves = Moves(session)

        def many() -> bool:
            return eventually(lambda: moves.done["frequencies"] >= 12, 30.0)

        monkeypatch.setattr(Held, "until", staticmethod(many))
        assert counted() == list(collections.Counter(NUMBERS).items())
        assert moves.done["merge of frequencies"] > 0


def test_what_the_consumer_merges_is_let_go_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    let_go: list[bool] = []
    with mrpy.session("processes", workers=2) as session:
        moves = Moves(session)

        def look() -> None:
            if all(let_go):
                let_go.append(eventually(lambda: moves.released["frequencies"] >= 2))

        monkeypatch.setattr(Held, "until", staticmethod(look))
        counted(NUMBERS[:4])
    assert let_go
    assert all(let_go)


def test_a_session_that_is_closed_while_the_consumer_merges_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with mrpy.session("processes", workers=2) as session:
        monkeypatch.setattr(Held, "until", staticmethod(session.close))
        with pytest.raises(SessionClosed):
            counted()


def test_a_session_that_is_closed_when_nothing_but_the_merging_is_left_is_named(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    with mrpy.session("processes", workers=2) as session:
        moves = Moves(session)

        def close_when_done() -> None:
            eventually(lambda: moves.done["frequencies"] == 4, 30.0)
            session.close()

        monkeypatch.setattr(Held, "until", staticmethod(close_when_done))
        with pytest.raises(SessionClosed):
            counted(NUMBERS[:4])


@over_local
def test_what_a_thing_raises_when_it_is_merged_comes_out(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise LookupError("no hash here")

    with mrpy.session(backend, workers=2):
        monkeypatch.setattr(Held, "until", staticmethod(broken))
        with pytest.raises(LookupError, match="no hash here"):
            counted()
        monkeypatch.setattr(Held, "until", staticmethod(lambda: None))
        assert counted() == list(collections.Counter(NUMBERS).items())


@over_local
def test_a_stop_iteration_of_a_thing_that_is_merged_ends_no_loop(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop() -> None:
        if threading.current_thread() is threading.main_thread():
            raise StopIteration

    monkeypatch.setattr(Held, "until", staticmethod(stop))
    with mrpy.session(backend, workers=2), pytest.raises(RuntimeError, match="a function raised StopIteration"):
        mrpy.stream(NUMBERS[:4], chunksize=1).map(Held).frequencies().count()


@pytest.mark.parametrize("backend", BACKENDS[-1:])
def test_a_session_that_is_closed_while_counts_are_on_their_way_is_named(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mrpy.scheduler.backends.dask import Far

    load = Far.load

    def closed(far: Far) -> Any:
        session.close()
        return load(far)

    monkeypatch.setattr(Far, "load", closed)
    with mrpy.session(backend, workers=2) as session, pytest.raises(SessionClosed):
        counted()


def slow_sum(left: int, right: int) -> int:
    time.sleep(0.02)
    return left + right


@over_local
def test_the_account_knows_of_merges(backend: str) -> None:
    stream = mrpy.stream(range(4), backend=backend, workers=2, chunksize=1)
    assert stream.reduce(slow_sum) == 6
    account = stream._account
    assert account.computing >= 0.06
    assert account.waiting >= 0.06


class Late:
    """A thing that the consumer takes long to open."""

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state)
        if os.getpid() == HERE:
            time.sleep(0.02)


def late(n: int) -> Late:
    made = Late()
    made.n = n  # type: ignore[attr-defined]
    return made


def test_the_account_knows_what_it_took_the_consumer_to_open_counts() -> None:
    stream = mrpy.stream(range(4), backend="processes", workers=2, chunksize=1).map(late)
    assert stream.frequencies().count() == 4
    assert stream._account.pickling >= 0.08


# ---- how they travel ---------------------------------------------------------------------------------------------


class Word(str):
    """A string that is not plain."""


texts = st.text(st.characters(exclude_categories=()), max_size=3) | st.sampled_from(["", "\n", "\ud800", "a\r\nb"])
anything = texts | texts.map(Word) | st.integers() | st.none() | st.binary(max_size=2)


@given(st.lists(texts) | st.lists(anything))
def test_counts_come_out_as_they_went_in(things: list[Any]) -> None:
    counts = Frequencies.of([things])
    there = pickle.loads(pickle.dumps(counts, 5))
    assert [(type(thing), thing, n) for thing, n in there] == [(type(thing), thing, n) for thing, n in counts]
    there.add(counts)
    assert dict(there) == {thing: 2 * n for thing, n in collections.Counter(things).items()}


def test_plain_strings_travel_as_one_text() -> None:
    sent = pickle.dumps(Frequencies.of([map(str, range(1000))]), 5)
    texts = [text for operation, text, _ in pickletools.genops(sent) if operation.name == "BINUNICODE"]
    assert texts == ["\n".join(map(str, range(1000)))]


# ---- NaN ---------------------------------------------------------------------------------------------------------

NANS = [math.nan, float("nan"), 1.0, (2, math.nan), (2, float("nan")), -0.0, math.nan, 0, (2, 3.0), frozenset({math.nan})]


@pytest.mark.fault(27)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("chunksize", [1, 3, 100])
def test_all_nan_are_one_thing(backend: str, chunksize: int) -> None:
    stream = lambda: mrpy.stream(NANS, backend=backend, workers=2, chunksize=chunksize)
    found = [(repr(thing), count) for thing, count in stream().frequencies()]
    assert found == [
        ("nan", 3), ("1.0", 1), ("(2, nan)", 2), ("-0.0", 2), ("(2, 3.0)", 1), ("frozenset({nan})", 1)
    ]  # fmt: skip
    assert [repr(thing) for thing in stream().distinct()] == [thing for thing, _ in found]
    by_key = stream().map(lambda thing: (thing, 1)).distinct(lambda pair: pair[0])
    assert [repr(pair[0]) for pair in by_key] == [thing for thing, _ in found]

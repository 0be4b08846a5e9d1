"""Counts of equal things, which are folded without a tree: by the workers, and by the consumer on their heels."""

from __future__ import annotations

import collections
import os
import pickle
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
    "lists": lambda n: [n % 7, "a"] * (n % 5), "long lists": lambda n: [n % 11] * (300 * (n % 9)),
    "generators": lambda n: (k % 3 for k in range(n % 4)), "text": lambda n: "banana"[: n % 7],
    "dicts": lambda n: {n % 5: 9, "k": 3}, "sets": lambda n: {n % 5}, "ranges": lambda n: range(n % 6),
}  # fmt: skip
MADE["all of them"] = lambda n: list(MADE.values())[n % 7](n)


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
        session.job().driver.observe(self)

    def __call__(self, moved: Moved) -> None:
        if moved.new is State.DONE:
            self.done[moved.task.call.code.name] += 1


NUMBERS = [n * n % 23 for n in range(300)]


def counted() -> list[tuple[int, int]]:
    stream = mrpy.stream(NUMBERS, chunksize=1).map(Held)
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


def test_a_session_that_is_closed_while_the_consumer_merges_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with mrpy.session("processes", workers=2) as session:
        monkeypatch.setattr(Held, "until", staticmethod(session.close))
        with pytest.raises(SessionClosed):
            counted()


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

"""A source that fills the same object again and again is read ahead like any other: the answer is another one than
that of a plain loop, and this is said."""

from __future__ import annotations

import io
import itertools
import os
import threading
import warnings
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from laws import BACKENDS

import mrpy
from mrpy.mapreduce.refilled import LOOKED_AT


def filled() -> Iterator[Any]:
    buffer = np.zeros(2)
    for number in range(20):
        buffer[:] = number
        yield buffer


def listed() -> Iterator[list[int]]:
    rows: list[int] = []
    for number in range(20):
        rows[:] = [number]
        yield rows


class Frames:
    """As a trajectory, or a video, goes through its frames."""

    def __iter__(self) -> Iterator[Any]:
        self.number = -1
        return self

    def __next__(self) -> Any:
        self.number += 1
        if self.number == 20:
            raise StopIteration
        return self


SOURCES = {
    "array": lambda: (mrpy.pmap(np.sum, filled()), "ndarray"),
    "list": lambda: (mrpy.pmap(sum, listed()), "list"),
    "iterator": lambda: (mrpy.pmap(lambda frame: frame.number, Frames()), "Frames"),
    "copies in an expression, which is taken apart": lambda: (mrpy.pmap(np.sum, (x.copy() for x in filled())), "ndarray"),
    "map": lambda: (mrpy.parallel(map(np.copy, filled())), "ndarray"),
    "stream": lambda: (mrpy.stream(filled()).map(np.sum), "ndarray"),
    "enumerate": lambda: (mrpy.pmap(len, enumerate(filled())), "ndarray"),
    "zip": lambda: (mrpy.pmap(len, zip(range(20), listed())), "list"),
    "pairs": lambda: (mrpy.pmap(len, ((2 * [0], row) for row in listed())), "list"),
    "several iterables": lambda: (mrpy.pmap(lambda *items: len(items), itertools.count(), listed()), "list"),
    "another one first": lambda: (mrpy.pmap(np.sum, itertools.chain([np.ones(2)], filled())), "ndarray"),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_source_that_fills_the_same_object_is_told_of_once(backend: str, source: str) -> None:
    with mrpy.session(backend, workers=2), pytest.warns(RuntimeWarning) as told:
        run, kind = SOURCES[source]()
        list(run)
    [one] = [each for each in told if "fills it anew" in str(each.message)]
    assert f"the same {kind} again and again" in str(one.message)
    assert one.filename == __file__


@pytest.mark.parametrize(
    ("backend", "chunksize"), [("serial", 1), ("serial", 2), ("threads", 1), ("threads", 2), ("processes", 2)]
)
@pytest.mark.parametrize("make", [filled, lambda: enumerate(filled())])
def test_it_is_told_of_where_chunks_are_small(backend: str, chunksize: int, make: Any) -> None:
    with pytest.warns(RuntimeWarning, match="the same ndarray again and again"):
        list(mrpy.pmap(type, make(), backend=backend, workers=2, chunksize=chunksize))


@pytest.mark.parametrize("backend", ["serial", "threads"])
def test_it_is_told_of_where_few_items_take_long(backend: str) -> None:
    begun = threading.Event()

    def takes_long(row: list[int]) -> int:
        begun.wait(0.1)
        return len(row)

    with pytest.warns(RuntimeWarning, match="the same list again and again"):
        list(mrpy.pmap(takes_long, itertools.islice(listed(), 6), backend=backend, workers=2))


def copies() -> Iterator[Any]:
    for each in filled():
        yield each.copy()


SAME: Any = object()
INNOCENT: dict[str, Any] = {
    "copies": copies,
    "one object": lambda: iter([[1]] * 20),
    "objects without a pickle": lambda: iter([io.BytesIO().getbuffer()] * 20),
    "numbers": lambda: iter([1] * 20),
    "nothing": lambda: iter([None] * 20),
    "one": lambda: iter([[1]]),
    "two": lambda: iter([[1]] * 2),
    "one object, and numbers": lambda: zip(itertools.repeat([1]), range(20)),
    "new ones, and numbers": lambda: enumerate(copies()),
    "in turns": lambda: iter([SAME, [], SAME, []] * 5),
}


@pytest.mark.parametrize("source", INNOCENT)
@pytest.mark.parametrize("backend", ["serial", "threads"])
def test_what_does_not_change_is_not_told_of(backend: str, source: str) -> None:
    items = list(INNOCENT[source]())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(mrpy.pmap(id, INNOCENT[source](), backend=backend, workers=2))) == len(items)


@pytest.mark.parametrize("backend", ["serial", "threads"])
def test_what_the_function_changes_is_not_told_of(backend: str) -> None:
    seen: dict[int, int] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for chunksize in (1, 4):
            items = zip(itertools.repeat(seen), range(20))
            list(mrpy.pmap(lambda item: item[0].update({item[1]: len(item[0])}), items, backend=backend, chunksize=chunksize, workers=1))
    assert len(seen) == 20


@pytest.mark.parametrize("backend", ["serial", "threads"])
def test_items_are_let_go_of_as_soon_as_before(backend: str) -> None:
    alive: list[Any] = []

    def made() -> Iterator[Any]:
        for _ in range(8):
            assert sum(each() is not None for each in alive) <= 1
            item = np.zeros(2)
            alive.append(weakref.ref(item))
            yield item
            del item

    list(mrpy.pmap(np.sum, made(), backend=backend, chunksize=1, buffersize=1, workers=1))


@pytest.mark.parametrize("chunksize", [1, 2, 3, 4])
def test_none_is_kept_that_was_looked_at(chunksize: int) -> None:
    class Item(list[int]):
        """No list, of which nobody could tell that it is gone; nor may it be referred to weakly, for the watch."""

        __slots__ = ("__weakref__",)

    alive: list[Any] = []

    def made() -> Iterator[list[Any]]:
        for _ in range(12):
            item = Item()
            alive.append(weakref.ref(item))
            yield [item]

    rows = iter(mrpy.pmap(len, made(), backend="serial", chunksize=chunksize, buffersize=chunksize))
    for _ in range(9):
        next(rows)
    assert not [n for n, each in enumerate(alive[:4]) if each() is not None]


@pytest.mark.parametrize("backend", ["serial", "threads"])
def test_an_item_that_says_that_it_is_a_tuple_is_asked_nothing(backend: str) -> None:
    class Proxy:
        def __init__(self, wrapped: Any) -> None:
            self.wrapped = wrapped

        @property
        def __class__(self) -> Any:
            return type(self.wrapped)

    def proxies() -> Iterator[Proxy]:
        for n in range(6):
            yield Proxy((n, n))

    assert list(mrpy.pmap(lambda proxy: proxy.wrapped[0], proxies(), backend=backend)) == list(range(6))


def test_an_iterator_that_has_ended_is_not_asked_again() -> None:
    class Ends:
        left = 2

        def __iter__(self) -> Ends:
            return self

        def __next__(self) -> list[int]:
            self.left -= 1
            assert self.left >= -1
            if self.left < 0:
                raise StopIteration
            return []

    assert list(mrpy.pmap(len, Ends(), backend="serial", chunksize=4)) == [0, 0]


@pytest.mark.parametrize("how", [{"buffersize": 1}, {"chunksize": 1, "backend": "processes"}])
def test_where_each_is_used_or_copied_before_the_next_all_is_well(how: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(mrpy.pmap(np.sum, filled(), workers=2, **how)) == [2 * number for number in range(20)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_copies_from_a_generator_function_are_what_the_readme_says(backend: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        assert list(mrpy.pmap(np.sum, copies(), backend=backend, workers=2)) == [2 * number for number in range(20)]


class Refuses:
    def __reduce__(self) -> Any:
        raise SystemExit("no pickle")


class Large:
    """An object that is changed far behind the begin of its pickle, which is all that is looked at."""

    def __reduce__(self) -> Any:
        return bytes, (bytes(2 * LOOKED_AT) + os.urandom(8),)


@pytest.mark.parametrize("kind", [Refuses, Large])
def test_what_is_not_pickled_is_not_pickled_for_this(kind: Any) -> None:
    thing = kind()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(mrpy.pmap(type, iter([thing] * 20), backend="serial")) == [kind] * 20


def test_an_error_among_the_first_items_comes_behind_them() -> None:
    def raising() -> Iterator[list[int]]:
        row = [0]
        yield row
        row[0] = 1
        yield row
        raise KeyError("third")

    got = []
    with pytest.raises(KeyError, match="third"):
        for each in mrpy.pmap(len, raising(), backend="serial"):
            got.append(each)
    assert got == [1, 1]

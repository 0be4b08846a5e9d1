"""What chains take of an iterator that has begun, and what they leave: as itertools do of a plain one."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from laws import LOCAL, eventually

import mrpy

over_local = pytest.mark.parametrize("backend", LOCAL)


class Plain:
    """The methods of a parallel iterator, over a plain iterator."""

    def __init__(self, items: Iterable[Any]) -> None:
        self.items = iter(items)

    def __iter__(self) -> Iterator[Any]:
        return self.items

    def __next__(self) -> Any:
        return next(self.items)

    def take(self, count: int) -> Plain:
        return Plain(itertools.islice(self.items, count))

    def skip(self, count: int) -> Plain:
        return Plain(itertools.islice(self.items, count, None))

    def take_while(self, predicate: Callable[[Any], bool]) -> Plain:
        return Plain(itertools.takewhile(predicate, self.items))

    def zip(self, *others: Iterable[Any], strict: bool = False) -> Plain:
        return Plain(zip(self.items, *others, strict=strict))

    def chain(self, *others: Iterable[Any]) -> Plain:
        return Plain(itertools.chain(self.items, *others))

    def enumerate(self) -> Plain:
        return Plain(enumerate(self.items))

    def batch(self, size: int) -> Plain:
        return Plain(iter(lambda: tuple(itertools.islice(self.items, size)), ()))

    def tee(self) -> tuple[Plain, ...]:
        return tuple(map(Plain, itertools.tee(self.items)))

    def peek(self) -> tuple[Any, Plain]:
        item = next(self.items)
        return item, Plain(itertools.chain([item], self.items))

    def first(self) -> Any:
        return next(self.items)

    def to_list(self) -> list[Any]:
        return list(self.items)


def few(n: int) -> bool:
    return n < 4


def in_turns(*several: Iterator[Any]) -> list[Any]:
    """One of each, round by round, until all are at their end."""
    return [item for row in itertools.zip_longest(*several) for item in row]


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises((ValueError, ZeroDivisionError)) as caught:
        call()
    return str(caught.value).partition("\n")[0]


def begun_by_a_chain(s: Any) -> list[Any]:
    one = s.take(3)
    return [next(one), next(s), list(one)]


# Of an iterator that has begun: what each gives. What is left is compared, too.
TAKE: dict[str, Callable[[Any], Any]] = {
    "take": lambda s: list(s.take(3)), "take nothing": lambda s: list(s.take(0)), "take, and take": lambda s: [list(s.take(2)) for _ in "abc"],
    "take once": lambda s: (lambda one: [list(one.take(9)), list(one)])(s.take(2)), "take all": lambda s: list(s.take(99)),
    "take_while": lambda s: list(s.take_while(few)), "zip": lambda s: list(s.zip("ab")), "zip behind": lambda s: list(s.zip("ab", s)),
    "zip in front": lambda s: list(s.take(2).zip(s)), "zip with a part": lambda s: list(s.zip(s.take(2))),
    "zip strict": lambda s: refused(lambda: list(s.zip("ab", strict=True))), "batch": lambda s: list(s.batch(2).take(2)),
    "first": lambda s: [s.first(), s.first()], "first of a batch": lambda s: s.batch(3).first(), "first of a chain": lambda s: s.chain("ab").first(),
    "enumerate": lambda s: list(s.enumerate().take(2)), "chain": lambda s: list(s.take(2).chain("ab", s.take(1))),
    "skip": lambda s: list(s.skip(2).take(1)), "peek": lambda s: (lambda one, rest: [one, list(rest.take(2)), list(rest.take(2))])(*s.peek()),
    "tee": lambda s: (lambda one, other: [list(one.take(2)), list(other.take(3)), list(one.take(2))])(*s.tee()),
    "tee in turns": lambda s: (lambda one, other: in_turns(one.take(2), other.batch(2).take(2)))(*s.tee()),
    "in turns": lambda s: in_turns(s.take(2), s.batch(2).take(1), s.zip("a")), "begun by a chain": begun_by_a_chain,
    "a part of a part": lambda s: (lambda part: [list(part.take(2)), list(part.take(2)), list(part)])(s.take(5)),
    "error of a predicate": lambda s: refused(lambda: list(s.take_while(lambda n: 1 // (n - 3)))),
    "error of another": lambda s: refused(lambda: list(s.zip(1 // (2 - n) for n in range(9)))),
}  # fmt: skip

SOURCES: dict[str, Callable[[Iterable[int]], Any]] = {
    "no steps": lambda items: mrpy.stream(items), "steps": lambda items: mrpy.pmap(abs, items),
    "a chain": lambda items: mrpy.stream(items).chain([]), "one by one": lambda items: mrpy.stream(items, buffersize=2).map(abs),
}  # fmt: skip


def numbers() -> Iterator[int]:
    yield from range(12)


REFUSED = ("zip in front", "zip with a part", "chain")  # of what is computed ahead, and would be again


@over_local
@pytest.mark.parametrize("source", SOURCES)
def test_a_chain_leaves_what_itertools_leave(source: str, backend: str) -> None:
    with mrpy.session(backend, workers=2):
        for name, take in TAKE.items():
            plain, begun = Plain(range(12)), SOURCES[source](range(12))
            assert next(plain) == next(begun)
            assert (name, take(begun), list(begun)) == (name, take(plain), list(plain))


@over_local
def test_what_a_chain_on_an_iterator_has_left_can_be_gone_on_with(backend: str) -> None:
    with mrpy.session(backend, workers=2):
        for name in TAKE.keys() - REFUSED:
            plain, run = Plain(range(12)), mrpy.pmap(abs, numbers())
            assert (name, TAKE[name](run), list(run)) == (name, TAKE[name](plain), list(plain))


@over_local
def test_first_of_one_that_has_not_begun_takes_nothing_from_it(backend: str) -> None:
    run = mrpy.pmap(abs, range(5), backend=backend)
    assert [run.first(), run.first(), list(run)] == [0, 0, [0, 1, 2, 3, 4]]
    with pytest.raises(ValueError, match="no items"):
        run.first()


@over_local
def test_a_part_is_taken_once_whatever_goes_over_it(backend: str) -> None:
    begun = mrpy.pmap(abs, range(12), backend=backend, workers=2)
    next(begun)
    part = begun.take(4)
    negative = part.map(lambda n: -n)
    assert next(negative) == -1
    assert len(list(part)) + len(list(negative)) <= 3
    assert [part.count(), list(begun)] == [0, [5, 6, 7, 8, 9, 10, 11]]


@over_local
def test_a_reduction_of_a_part_leaves_the_rest(backend: str) -> None:
    begun = mrpy.pmap(abs, range(12), backend=backend, workers=2)
    next(begun)
    assert [begun.take(2).sum(), begun.take(3).count(), begun.take(2).sorted(reverse=True).to_list()] == [3, 3, [7, 6]]
    assert [begun.sum(), list(begun)] == [8 + 9 + 10 + 11, []]


@over_local
def test_asyncio_leaves_the_rest_too(backend: str) -> None:
    async def taken(items: Any) -> list[int]:
        return [item async for item in items]

    begun = mrpy.pmap(abs, range(9), backend=backend, workers=2)
    next(begun)
    assert [asyncio.run(taken(begun.take(3))), begun.take(2).to_list(), asyncio.run(taken(begun.batch(3)))] == [
        [1, 2, 3], [4, 5], [(6, 7, 8)],
    ]  # fmt: skip


@over_local
@pytest.mark.parametrize("end", [lambda part: part.close(), lambda part: part.__exit__(), lambda part: None])
def test_the_end_of_a_part_ends_nothing_else(end: Callable[[Any], None], backend: str) -> None:
    begun = mrpy.pmap(abs, range(9), backend=backend, workers=2)
    assert next(begun) == 0
    part = begun.take(4)
    assert next(part) == 1
    end(part)
    del part
    assert list(begun) == [2, 3, 4, 5, 6, 7, 8]


@over_local
def test_parts_that_threads_take_are_all_there_is(backend: str) -> None:
    begun = mrpy.pmap(abs, range(1000), backend=backend, workers=2)
    taken = [next(begun)]

    def take() -> None:
        while part := begun.take(7).to_list():
            taken.extend(part)

    threads = [threading.Thread(target=take, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(taken) == list(range(1000))


ENDS: dict[str, Callable[[Any], Any]] = {
    "take": lambda s: s.take(2), "zip": lambda s: s.zip("ab"), "others of a zip": lambda s: mrpy.stream("ab").zip(s), "steps": lambda s: s.take(2).map(str),
    "take_while": lambda s: s.take_while(lambda n: n < 2), "an error": lambda s: s.take_while(lambda n: 9 // (2 - n)),
    "several": lambda s: s.enumerate().batch(1).take(2), "of all": lambda s: s.take(2).sorted(), "a tee": lambda s: s.tee()[0].take(2),
}  # fmt: skip


@over_local
def test_the_end_of_a_chain_ends_what_nobody_else_has(backend: str) -> None:
    closed: list[str] = []

    def source(name: str) -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            closed.append(name)

    gc.disable()
    errors = []  # with their tracebacks
    try:
        with mrpy.session(backend, workers=2):
            for name, make in ENDS.items():
                rows = make(mrpy.pmap(abs, source(name)))
                before = str(rows), str(rows.graph())
                try:
                    assert len(list(rows)) == 2
                except ZeroDivisionError as error:
                    errors.append(error)
                assert eventually(lambda name=name: closed == [name])
                assert (str(rows), str(rows.graph())) == before
                closed.clear()
    finally:
        gc.enable()
    assert len(errors) == 1

"""Parts of an iterator that has begun: what they do not take is left, as itertools leave it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from laws import LOCAL

import mrpy


def small(n: int) -> bool:
    return n < 3


def same(n: int) -> int:
    return n


PARTS: dict[str, tuple[Callable[[Any], Any], Callable[[Iterator[int]], Any]]] = {
    "take": (lambda s: s.take(3).to_list(), lambda it: list(itertools.islice(it, 3))),
    "take_while": (lambda s: s.take_while(small).to_list(), lambda it: list(itertools.takewhile(small, it))),
    "zip": (lambda s: s.zip("ab").to_list(), lambda it: list(zip(it, "ab", strict=False))),
    "of a part": (lambda s: s.batch(2).take(2).to_list(), lambda it: [tuple(itertools.islice(it, 2)) for _ in range(2)]),
    "first": (lambda s: s.first(), next),
    "a part that is left": (lambda s: next(s.take(3)), next),
    "a part that is closed": (lambda s: (part := s.take(3), next(part), part.close())[1], next),
    "skip": (lambda s: s.skip(1).first(), lambda it: next(itertools.islice(it, 1, None))),
}


def sources(backend: str) -> Iterator[Any]:
    with mrpy.session(backend, workers=2):
        yield mrpy.stream(range(20))
        yield mrpy.pmap(same, range(20))
        yield mrpy.pmap(same, (n for n in range(20)), chunksize=3)
        yield mrpy.pmap(same, range(20)).enumerate().map(max)


@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize("name", PARTS)
def test_a_part_of_one_that_has_begun_leaves_the_rest(name: str, backend: str) -> None:
    ours, plain = PARTS[name]
    for run in sources(backend):
        with run:
            it = iter(range(20))
            assert next(run) == next(it)
            assert ours(run) == plain(it)
            assert ours(run) == plain(it)
            assert next(run) == next(it)
            assert list(run) == list(it)


@pytest.mark.parametrize("backend", LOCAL)
def test_parts_of_one_that_has_begun_may_take_in_turns(backend: str) -> None:
    for run in sources(backend):
        with run:
            assert next(run) == 0
            part = run.take(2)
            assert [next(part), next(run), *part, *run] == list(range(1, 20))


@pytest.mark.parametrize("backend", LOCAL)
def test_the_end_of_a_part_still_ends_what_has_not_begun_by_itself(backend: str) -> None:
    def given() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            ended.append(True)

    ended: list[bool] = []
    with mrpy.session(backend, workers=2):
        run = mrpy.pmap(same, given())
        assert run.take(2).to_list() == [0, 1]
        assert ended == [True]
        assert list(run) == []


@pytest.mark.parametrize("backend", LOCAL)
def test_an_error_behind_a_part_leaves_the_rest_too(backend: str) -> None:
    for run in sources(backend):
        with run:
            assert next(run) == 0
            with pytest.raises(ZeroDivisionError):
                run.take(3).map(lambda n: 1 // 0).to_list()
            assert list(run)[-1] == 19

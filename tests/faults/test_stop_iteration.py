"""Row 6: StopIteration from a function of the user is an error, never the silent end of an answer."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from laws import LOCAL

import mrpy

ITEMS = range(6)


def stop(x: Any, *_: Any) -> Any:
    """A function that means to leave a loop."""
    if x in (3, (3,), (3, 3)):
        raise StopIteration("enough")
    return x


def stop_at_four(x: Any, y: Any) -> Any:
    """An operator that gives up in a merge or in a leaf, wherever four comes in."""
    if 4 in (x, y):
        raise StopIteration("enough")
    return max(x, y)


@mrpy.stage
def stage(items: Iterator[Any]) -> Iterator[Any]:
    for item in items:
        yield stop(item)


async def in_a_loop(options: Any) -> list[Any]:
    return [x async for x in mrpy.pmap(stop, ITEMS, **options)]


def add(x: Any, y: Any) -> Any:
    return x


VERBS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "parallel": lambda o: list(mrpy.parallel((stop(x) for x in ITEMS), **o)),
    "parallel, condition": lambda o: list(mrpy.parallel((x for x in ITEMS if [stop(x)]), **o)),
    "pmap": lambda o: list(mrpy.pmap(stop, ITEMS, **o)),
    "pmap, two": lambda o: list(mrpy.pmap(stop, ITEMS, ITEMS, **o)),
    "pmap, asyncio": lambda o: asyncio.run(in_a_loop(o)),
    "pmap, unordered": lambda o: list(mrpy.pmap(stop, ITEMS, ordered=False, **o)),
    "pmap, one by one": lambda o: list(mrpy.pmap(stop, ITEMS, chunksize=1, **o)),
    "pmap, retried": lambda o: list(mrpy.pmap(stop, ITEMS, retries=1, **o)),
    "pmap, timed": lambda o: list(mrpy.pmap(stop, ITEMS, timeout=60, **o)),
    "pmap, on_error": lambda o: list(mrpy.pmap(lambda x: 1 // (x - 1), ITEMS, on_error=lambda e: stop(3), **o)),
    "pmap, next": lambda o: [next(loop) for loop in [mrpy.pmap(stop, ITEMS, **o)] for _ in ITEMS],
    "pstarmap": lambda o: list(mrpy.pstarmap(stop, [(x,) for x in ITEMS], **o)),
    "pfilter": lambda o: list(mrpy.pfilter(lambda x: [stop(x)], ITEMS, **o)),
    "stage": lambda o: list(stage.with_options(**o)(ITEMS)),
    "starmap": lambda o: list(mrpy.stream(zip(ITEMS), **o).starmap(stop)),
    "flat_map": lambda o: list(mrpy.stream(ITEMS, **o).flat_map(lambda x: [stop(x)])),
    "preduce": lambda o: mrpy.preduce(stop_at_four, ITEMS, **o),
    "preduce, items": lambda o: mrpy.preduce(max, (stop(x) for x in ITEMS), **o),
    "preduce, leaves": lambda o: mrpy.preduce(stop_at_four, [*[1] * 1500, 4, *[1] * 1500], **o),
    "preduce, initial": lambda o: mrpy.preduce(stop_at_four, [1, 2], 4, **o),
    "preduce, in pieces": lambda o: mrpy.preduce(stop_at_four, range(600), buffersize=3, **o),
    "pfold": lambda o: mrpy.pfold(stop_at_four, ITEMS, 0, max, **o),
    "pfold, merge": lambda o: mrpy.pfold(max, ITEMS, 0, stop_at_four, **o),
    "mapreduce, mapper": lambda o: list(mrpy.mapreduce(lambda x: (stop(x), x), add, ITEMS, **o)),
    "mapreduce, reducer": lambda o: list(mrpy.mapreduce(lambda x: (x, x), stop, ITEMS, **o)),
    "mapreduce, combiner": lambda o: list(mrpy.mapreduce(lambda x: (3, x), add, range(300), combiner=stop, **o)),
    "min": lambda o: mrpy.stream(ITEMS, **o).min(key=stop),
    "fold": lambda o: mrpy.stream(ITEMS, **o).fold(stop_at_four, 0, max),
    "topk": lambda o: list(mrpy.stream(ITEMS, **o).topk(6, key=stop)),
    "sorted": lambda o: list(mrpy.stream(ITEMS, **o).sorted(key=stop)),
    "sorted, key takes long": lambda o: list(mrpy.stream(ITEMS, **o).sorted(key=lambda x: (time.sleep(1e-5), stop(x)))),
    "distinct": lambda o: list(mrpy.stream(ITEMS, **o).distinct(key=stop)),
    "take_while": lambda o: list(mrpy.stream(ITEMS, **o).take_while(lambda x: [stop(x)])),
    "foreach": lambda o: mrpy.stream(ITEMS, **o).foreach(stop),
}


@pytest.mark.fault(6)
@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize("verb", VERBS)
def test_stop_iteration_is_a_runtime_error(verb: str, backend: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        got = VERBS[verb]({"backend": backend, "workers": 2})
        pytest.fail(f"a shorter answer: {got}")
    error: BaseException | None = caught.value
    told = []
    while error is not None:
        told.append(str(error) + repr(error))
        error = error.__cause__
    assert "StopIteration" in "".join(told)


@pytest.mark.fault(6)
@pytest.mark.parametrize("backend", LOCAL)
def test_stop_iteration_of_a_submitted_call_does_not_end_the_loop_that_waits(backend: str) -> None:
    with mrpy.session(backend, workers=2):
        pending = [mrpy.submit(stop, x) for x in ITEMS]
        with pytest.raises(RuntimeError, match="StopIteration"):
            list(map(mrpy.PendingResult.result, pending))
        mrpy.wait(pending)


@pytest.mark.fault(6)
@pytest.mark.parametrize("backend", LOCAL)
def test_stop_iteration_takes_its_own_place_among_the_results(backend: str) -> None:
    for chunksize in (1, 6):
        got = list(mrpy.pmap(stop, ITEMS, backend=backend, workers=2, chunksize=chunksize, on_error="return"))
        error = got.pop(3)
        assert got == [0, 1, 2, 4, 5]
        assert isinstance(error, RuntimeError)
        assert error.mrpy_item == (3, "3")  # type: ignore[attr-defined]


class Ending:
    """Raises StopIteration where it is opened in a worker."""

    parent = os.getpid()

    def __init__(self, n: int) -> None:
        self.n = n

    def __reduce__(self) -> Any:
        return _opened, (self.n, Ending.parent)


def _opened(n: int, parent: int) -> Ending:
    if n == 500 and os.getpid() != parent:
        raise StopIteration("in the middle")
    return Ending(n)


_opened.__module__ = Ending.__module__ = "__main__"  # a worker cannot import this file


@pytest.mark.fault(6, 10)
@pytest.mark.parametrize("verb", ["group_by", "pfold", "join"])
def test_partial_results_that_raise_it_when_they_are_opened_are_not_lost(verb: str) -> None:
    with mrpy.session("processes", workers=2):
        run = mrpy.stream(range(2000), chunksize=50).map(lambda n: (n % 7, Ending(n)))
        with pytest.raises((RuntimeError, mrpy.errors.SerializationError)):
            if verb == "group_by":
                run.group_by(0).to_list()
            elif verb == "join":
                run.join(range(7), lambda item: item[0] if type(item) is tuple else item).to_list()
            else:
                one = mrpy.stream(range(2000), chunksize=50).map(lambda n: Ending(500 if n == 0 else n))
                one.fold(lambda a, b: b, Ending(0), combine=lambda a, b: a if a.n == 500 else b)

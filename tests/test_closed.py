"""What `close()` ends, and what is left to look at."""

from __future__ import annotations

import asyncio
import gc
import itertools
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest
from laws import CONCURRENT, LOCAL, THOROUGH, eventually

import mrpy

Sources: TypeAlias = Callable[[str], Any]
Make: TypeAlias = Callable[[Sources, Sources], Any]

over_local = pytest.mark.parametrize("backend", LOCAL)

# Of two sources, a and b: runs over them, made by p, and generators, made by g.
SEVERAL: dict[str, Make] = {
    "zip": lambda p, g: p("a").zip(p("b")),
    "zip with a generator": lambda p, g: p("a").zip(g("b")),
    "others of a zip": lambda p, g: mrpy.stream([1] * 99).zip(g("a"), p("b")),
    "and a map": lambda p, g: p("a").zip(p("b")).map(max),
    "and more": lambda p, g: p("a").zip(p("b")).map(max).skip(1).distinct().batch(1).map(len),
    "by itself": lambda p, g: mrpy.pmap(abs, p("a").zip(g("b")).map(max), retries=1),
    "pmap": lambda p, g: mrpy.pmap(max, g("a"), g("b")),
    "pmap of runs": lambda p, g: mrpy.pmap(max, p("a"), p("b")),
    "a bare zip": lambda p, g: mrpy.parallel(zip(p("a"), p("b"), strict=False)),
    "of runs with options of their own": lambda p, g: mrpy.parallel(
        zip(mrpy.pmap(abs, g("a"), chunksize=1), mrpy.pmap(abs, g("b"), chunksize=2), strict=False)
    ),
    "a bare zip in another": lambda p, g: mrpy.parallel(zip(p("a"), enumerate(p("b")), strict=False)).map(len),
    "a bare chain": lambda p, g: mrpy.parallel(itertools.chain(p("a").take(0), p("b"))),
    "a chain": lambda p, g: p("a").take(0).chain(p("b")),
    "a chain at its first": lambda p, g: p("a").chain(begun(g("b"))),
    "one by key": lambda p, g: p("a").take(3).zip(g("b")).count_by(max),
    "a tee": lambda p, g: p("a").zip(g("b")).tee()[0],
    "what is left of runs": lambda p, g: begun(p("a")).zip(begun(p("b"))),
    "steps on what is left of one": lambda p, g: begun(p("a").zip(g("b"))).map(len),
}  # fmt: skip


def begun(items: Any) -> Any:
    next(items)
    return items


def in_a_plain_loop(items: Any) -> None:
    with items:
        next(items)


def in_asyncio(items: Any) -> None:
    async def first() -> None:
        async with items:
            await anext(aiter(items))

    asyncio.run(first())


@over_local
@pytest.mark.parametrize("leave", [in_a_plain_loop, in_asyncio])
@pytest.mark.parametrize("name", SEVERAL)
def test_close_ends_all_the_sources_that_nobody_else_has(name: str, leave: Callable[[Any], None], backend: str) -> None:
    if leave is in_asyncio and backend == "processes" and not THOROUGH:
        pytest.skip("it is the same there as on threads; the soak has it")
    opened: list[str] = []
    closed: list[str] = []

    def source(name: str) -> Iterator[int]:
        opened.append(name)
        try:
            yield from itertools.count()
        finally:
            closed.append(name)

    gc.collect()
    gc.disable()
    try:
        with mrpy.session(backend, workers=2):
            items = SEVERAL[name](lambda name: mrpy.pmap(abs, source(name)), source)
            leave(items)
            assert eventually(lambda: sorted(closed) == sorted(opened))
            assert "b" in opened
    finally:
        gc.enable()


def nap(n: int) -> int:
    time.sleep(0 if n < 2 else 30)
    return n


def naps() -> Any:
    return mrpy.pmap(nap, range(40), chunksize=1)


RUNNING: dict[str, Callable[[], Any]] = {
    "zip": lambda: mrpy.pmap(abs, range(40)).zip(naps()),
    "a bare zip": lambda: mrpy.parallel(zip(mrpy.pmap(abs, range(40)), naps(), strict=False)),
    "a chain": lambda: mrpy.stream([1]).chain(begun(naps())),
    "several": lambda: mrpy.stream([1]).zip(naps()).enumerate(),
}


@pytest.mark.parametrize("backend", CONCURRENT[:2])
@pytest.mark.parametrize("name", RUNNING)
def test_the_end_of_a_with_block_stops_all_that_was_running_in_it(name: str, backend: str) -> None:
    with mrpy.session(backend, workers=2) as session:
        with RUNNING[name]() as items:
            next(items)
        assert eventually(lambda: not session.driver.scheduler.records)


@pytest.mark.parametrize("backend", CONCURRENT[:2])
def test_a_run_goes_on_until_all_that_tee_has_made_of_it_are_closed(backend: str) -> None:
    with mrpy.session(backend, workers=2) as session:
        one, other = naps().tee()
        assert (next(one), next(other)) == (0, 0)
        one.close()
        assert next(other) == 1
        assert session.driver.scheduler.records
        other.close()
        assert eventually(lambda: not session.driver.scheduler.records)


@over_local
def test_what_somebody_else_has_is_not_closed(backend: str) -> None:
    def numbers() -> Iterator[int]:
        yield from itertools.count()

    with mrpy.session(backend, workers=2):
        mine, run = numbers(), mrpy.pmap(abs, numbers())
        pairs = mrpy.stream([1] * 99).zip(mine, run)
        assert next(pairs) == (1, 0, 0)
        pairs.close()
        assert (next(mine), next(run)) == (1, 1)


@over_local
@pytest.mark.parametrize("name", SEVERAL)
def test_what_it_was_can_be_seen_when_it_is_closed(name: str, backend: str) -> None:
    with mrpy.session(backend, workers=2):
        items = SEVERAL[name](lambda _: mrpy.pmap(abs, itertools.count()), lambda _: iter(itertools.count().__next__, -1))
        next(items)
        before = str(items), str(items.graph()), stages(items)
        items.close()
        assert (str(items), str(items.graph()), stages(items)) == before


def stages(items: Any) -> list[str]:
    """What `explain` says of them, without what was measured."""
    return re.findall(r"^(?:stage|chunks|order|backend) .*", items.explain(), re.MULTILINE)


def test_what_was_skipped_can_be_seen_when_it_is_closed() -> None:
    def numbers() -> Iterator[str]:
        yield from ["x", "1", "2"]

    options: dict[str, Any] = {"backend": "serial", "chunksize": 1, "buffersize": 1, "on_error": "skip"}
    for make in (
        lambda run: run.zip(mrpy.pmap(int, numbers(), **options)),
        lambda run: begun(run).map(str),
        lambda run: mrpy.parallel(zip(begun(run), mrpy.pmap(int, numbers(), **options), strict=False)),
        lambda run: run.count_by(abs),
    ):
        items = make(mrpy.pmap(int, numbers(), **options))
        next(items)
        count = items.skipped.count
        items.close()
        assert items.skipped.count == count
    assert count == 1


def test_close_says_where_the_time_went_of_all_that_ran() -> None:
    with mrpy.pmap(abs, range(9), backend="serial").zip(mrpy.pmap(abs, itertools.count(), backend="serial")) as pairs:
        next(pairs)
    assert pairs.explain().count("it ran") == 2


SEVERAL_AT_ONCE: dict[str, Callable[[Any], Any]] = {
    "zip": lambda items: items.zip(mrpy.pmap(abs, itertools.count())),
    "enumerate": lambda items: items.enumerate(),
    "batch": lambda items: items.batch(2),
    "few at once": lambda items: mrpy.parallel(items.enumerate(), buffersize=4),
}


@over_local
@pytest.mark.parametrize("name", SEVERAL_AT_ONCE)
def test_who_waits_for_an_item_in_another_thread_ends_with_the_next(name: str, backend: str) -> None:
    def slow(n: int) -> int:
        time.sleep(0.01)
        return n

    with mrpy.session(backend, workers=2):
        items = SEVERAL_AT_ONCE[name](mrpy.pmap(slow, itertools.count(), chunksize=1))
        seen: list[Any] = []
        thread = threading.Thread(target=lambda: [seen.append(item) for item in items], daemon=True)
        thread.start()
        assert eventually(lambda: bool(seen))
        items.close()
        thread.join(20)
        assert not thread.is_alive()
        assert next(items, None) is None


def ladder(steps: int) -> Any:
    items: Any = mrpy.stream(iter(itertools.count().__next__, -1), backend="serial")
    for _ in range(steps):
        one, other = items.tee()
        items = one.zip(other)
    return items


def ladder_of_bare_zips(steps: int) -> Any:
    items: Any = mrpy.stream(iter(itertools.count().__next__, -1), backend="serial")
    for _ in range(steps):
        items = mrpy.parallel(zip(*items.tee(), strict=False), backend="serial").map(len)
    return items


def skips(steps: int) -> Any:
    items: Any = mrpy.stream(iter(itertools.count().__next__, -1), backend="serial")
    for _ in range(steps):
        items = items.skip(0)
    return items


@pytest.mark.parametrize("begins", [True, False])
@pytest.mark.parametrize(("make", "steps"), [(ladder, 14), (ladder_of_bare_zips, 12), (skips, 100)])
def test_much_is_closed_at_once(make: Callable[[int], Any], steps: int, begins: bool) -> None:
    items = make(steps)
    if begins:
        next(items)
    begin = time.perf_counter()
    items.close()
    assert time.perf_counter() - begin < 5
    few = make(3)
    before = str(few), str(few.graph())
    few.close()
    assert (str(few), str(few.graph())) == before

"""In asyncio: the same items, without blocking the event loop, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from laws import BACKENDS, LOCAL, eventually

import mrpy
from mrpy import inside
from mrpy.mapreduce.files import handed, row_starts
from mrpy.scheduler.backends.dask_values import Far

over_local = pytest.mark.parametrize("backend", LOCAL)


def run(main: Callable[[], Awaitable[Any]], seconds: float = 20) -> Any:
    """Run a coroutine; one that hangs fails."""

    async def bounded() -> Any:
        return await asyncio.wait_for(main(), seconds)

    return asyncio.run(bounded())


async def collected(items: Any) -> list[Any]:
    return [item async for item in items]


def slowly(n: int) -> int:
    time.sleep(0.02)
    return n * n


by_value = slowly
by_value.__module__ = "__main__"  # a worker cannot import this file


# ---- the same items ------------------------------------------------------------------------------------------

RUNS: dict[str, tuple[Callable[[Any], Any], list[Any]]] = {
    "pmap": (lambda o: mrpy.pmap(lambda x: x * x, range(50), **o), [x * x for x in range(50)]),
    "parallel": (lambda o: mrpy.parallel((x for x in range(50) if x % 2), **o), list(range(1, 50, 2))),
    "pulled": (lambda o: mrpy.pmap(abs, iter([1, -2, 3].__iter__().__next__, None), **o), None or [1, 2, 3]),
    "nothing": (lambda o: mrpy.pmap(abs, [], **o), []),
    "no steps": (lambda o: mrpy.stream(range(5), **o), list(range(5))),
    "take": (lambda o: mrpy.pmap(abs, itertools.count(), **o).take(5), list(range(5))),
    "batch": (lambda o: mrpy.pmap(abs, range(5), **o).batch(2), [(0, 1), (2, 3), (4,)]),
    "batch, map": (lambda o: mrpy.pmap(abs, range(5), **o).batch(2).map(sum), [1, 5, 4]),
    "window": (lambda o: mrpy.pmap(abs, range(4), **o).window(2), [(0, 1), (1, 2), (2, 3)]),
    "zip": (lambda o: mrpy.pmap(abs, range(4), **o).zip(mrpy.pmap(str, range(4), **o)), [(n, str(n)) for n in range(4)]),
    "sorted": (lambda o: mrpy.pmap(abs, range(-3, 1), **o).sorted(), [0, 1, 2, 3]),
    "topk": (lambda o: mrpy.stream("banana", **o).frequencies().topk(1, 1), [("a", 3)]),
    "distinct": (lambda o: mrpy.stream("banana", **o).distinct(), list("ban")),
    "mapreduce": (
        lambda o: mrpy.mapreduce(lambda x: (x % 3, x), lambda k, v: sum(v), range(9), sort=True, **o),
        [(0, 9), (1, 12), (2, 15)],
    ),
    "nested": (lambda o: mrpy.parallel((x + 1 for x in mrpy.pmap(abs, range(5), **o)), **o), [1, 2, 3, 4, 5]),
    "peek": (lambda o: mrpy.pmap(abs, range(5), **o).peek()[1], list(range(5))),
}  # fmt: skip


@over_local
@pytest.mark.parametrize("name", RUNS)
def test_async_for_gives_the_same_items(name: str, backend: str) -> None:
    make, expected = RUNS[name]
    options: dict[str, Any] = {"backend": backend, "workers": 2}
    assert run(lambda: collected(make(options))) == expected


@over_local
def test_unordered_items_are_the_same(backend: str) -> None:
    got = run(lambda: collected(mrpy.pmap(abs, range(99), ordered=False, backend=backend, workers=2)))
    assert sorted(got) == list(range(99))


@over_local
def test_the_open_session_is_used(backend: str) -> None:
    async def main() -> list[Any]:
        with mrpy.session(backend, workers=2):
            assert await collected(mrpy.pmap(abs, range(5)).batch(2)) == [(0, 1), (2, 3), (4,)]
            return await collected(mrpy.pmap(abs, range(5)))

    assert run(main) == list(range(5))


@over_local
def test_items_can_be_asked_for_one_by_one(backend: str) -> None:
    async def main() -> None:
        items = aiter(mrpy.pmap(abs, range(3), backend=backend, workers=2))
        assert [await anext(items), await anext(items), await anext(items)] == [0, 1, 2]
        assert await anext(items, "end") == "end"

    run(main)


# ---- the loop is not blocked ------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def ticking() -> AsyncIterator[list[float]]:
    """Meanwhile, how long the event loop took for each turn, in seconds."""
    gaps: list[float] = []

    async def tick() -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.002)
            now = time.monotonic()
            gaps.append(now - last)
            last = now

    task = asyncio.create_task(tick())
    await asyncio.sleep(0.01)  # so that the first turn counts, and below the last
    yield gaps
    await asyncio.sleep(0.01)
    task.cancel()


@over_local
@pytest.mark.parametrize("chained", [False, True])
def test_other_tasks_go_on_meanwhile(backend: str, chained: bool) -> None:
    async def main() -> int:
        items = mrpy.pmap(by_value, range(40), backend=backend, workers=2, chunksize=4)
        async with ticking() as gaps:
            got = await collected(items.batch(4) if chained else items)
        assert len(got) == (10 if chained else 40)
        assert max(gaps) < 0.5
        return len(gaps)

    list(mrpy.pmap(abs, range(4), backend=backend, workers=2))  # the workers are there
    assert run(main) >= 30


@over_local
@pytest.mark.parametrize("name", ["a.gz", "a.csv"])
def test_other_tasks_go_on_while_a_file_is_unpacked_or_cut(
    backend: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*args: Any) -> Iterator[Any]:
        time.sleep(1)
        yield from parts(*args)

    module, parts = (handed, handed.parts) if name == "a.gz" else (row_starts, row_starts.parts)
    monkeypatch.setattr(module, "parts", slow)
    data = b"line\n" * 300_000
    (tmp_path / name).write_bytes(data if name == "a.csv" else gzip.compress(data, 0))

    async def main() -> None:
        read = mrpy.read_csv if name == "a.csv" else mrpy.read_text
        items = read(tmp_path / name, blocksize=1_000_000, backend=backend, workers=2)
        async with ticking() as gaps:
            assert len(await collected(items)) == 300_000 - (name == "a.csv")
        assert max(gaps) < 0.8

    list(mrpy.pmap(abs, range(4), backend=backend, workers=2))
    began = time.monotonic()
    run(main)
    assert time.monotonic() - began > 1


def test_other_tasks_go_on_while_a_result_comes_from_afar(monkeypatch: pytest.MonkeyPatch) -> None:
    load = Far.load

    def slow(self: Far) -> Any:
        time.sleep(1)
        return load(self)

    async def main() -> None:
        async with ticking() as gaps:
            assert await mrpy.submit(abs, -1) == 1
            assert await collected(mrpy.pmap(abs, [-2])) == [2]
        assert max(gaps) < 0.8

    monkeypatch.setattr(Far, "load", slow)
    with mrpy.session("dask", workers=2):
        began = time.monotonic()
        run(main)
    assert time.monotonic() - began > 2


@over_local
def test_two_loops_at_once(backend: str) -> None:
    async def main() -> None:
        async def loop(k: int) -> list[int]:
            return await collected(mrpy.pmap(lambda x: x * k, range(200), backend=backend, workers=2, chunksize=5))

        results = await asyncio.gather(*(loop(k) for k in range(4)))
        assert results == [[x * k for x in range(200)] for k in range(4)]

    run(main)


@over_local
def test_event_loops_in_two_threads(backend: str) -> None:
    found: dict[int, Any] = {}

    def thread(k: int) -> None:
        found[k] = run(lambda: collected(mrpy.pmap(lambda x: x + k, range(100), backend=backend, workers=2)))

    threads = [threading.Thread(target=thread, args=(k,)) for k in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
    assert found == {k: [x + k for x in range(100)] for k in range(2)}


class Tap(Iterator[int]):
    def __init__(self) -> None:
        self.pulled = self.given = self.worst = 0
        self.threads: set[int] = set()

    def __next__(self) -> int:
        self.threads.add(threading.get_ident())
        self.pulled += 1
        self.worst = max(self.worst, self.pulled - self.given)
        return self.pulled - 1


@over_local
@pytest.mark.parametrize("buffersize", [1, 6])
def test_the_buffer_holds_and_one_thread_pulls_the_source_the_loops_own_unless_it_computes(backend: str, buffersize: int) -> None:
    tap = Tap()

    async def main() -> None:
        async with mrpy.pmap(abs, tap, backend=backend, workers=2, buffersize=buffersize) as items:
            async for _ in items:
                tap.given += 1
                if tap.given == 100:
                    break

    run(main)
    assert tap.worst <= buffersize
    assert len(tap.threads) == 1
    assert (tap.threads == {threading.get_ident()}) == (backend != "serial")


# ---- ends --------------------------------------------------------------------------------------------------------


def is_clean(session: Any) -> bool:
    scheduler = session.driver.scheduler
    return not scheduler.records and not session.driver._receivers and scheduler.busy == 0


@over_local
@pytest.mark.parametrize("chained", [False, True])
def test_cancelling_the_task_that_iterates_closes_the_run(backend: str, chained: bool) -> None:
    with mrpy.session(backend, workers=2) as session:

        async def main() -> None:
            seen = asyncio.Event()

            async def consume() -> None:
                items = mrpy.pmap(by_value, itertools.count(), chunksize=1)
                async with items.batch(2) if chained else items as run_:
                    async for _ in run_:
                        seen.set()

            task = asyncio.create_task(consume())
            await seen.wait()
            began = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert time.monotonic() - began < 1

        run(main)
        assert eventually(lambda: is_clean(session))
        assert list(mrpy.pmap(abs, range(5))) == list(range(5))


@over_local
def test_a_time_limit_ends_a_wait_for_a_slow_item(backend: str) -> None:
    with mrpy.session(backend, workers=2) as session:

        async def main() -> None:
            items = aiter(mrpy.pmap(lambda n: time.sleep(1.0), range(2)))
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(items), 0.05)
            await items.aclose()
            assert time.monotonic() - began < 0.9

        run(main)
        assert eventually(lambda: is_clean(session))


@over_local
@pytest.mark.parametrize("chained", [False, True])
def test_cancelling_does_not_wait_for_an_item_that_does_not_end(backend: str, chained: bool) -> None:
    go_on = threading.Event()
    endless = (lambda n: time.sleep(10)) if backend == "processes" else (lambda n: go_on.wait(10))

    async def main() -> None:
        items = mrpy.pmap(endless, range(2))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(collected(items.batch(2) if chained else items), 0.05)

    with mrpy.session(backend, workers=2):
        try:
            run(main, 5)
        finally:
            go_on.set()


FIRST_STAGES: dict[str, Callable[[Any], Any]] = {
    "sorted": lambda items: items.sorted(),
    "group_by": lambda items: items.group_by(lambda n: n % 3),
    "repartition": lambda items: items.repartition(2),
    "join": lambda items: items.join(range(3), abs),
    "two shuffles": lambda items: items.count_by(abs).group_by(abs),
}


@over_local
@pytest.mark.parametrize("verb", FIRST_STAGES)
def test_cancelling_stops_a_stage_that_has_to_end_before_the_first_item(
    backend: str, verb: str, tmp_path: Path
) -> None:
    started = tmp_path / "started"

    def slow(n: int) -> int:
        started.touch()
        time.sleep(0.05)
        return n

    async def main() -> None:
        items = FIRST_STAGES[verb](mrpy.stream(range(2000), chunksize=1).map(slow))
        task = asyncio.create_task(collected(items))
        while not started.exists():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    before = set(threading.enumerate())
    with mrpy.session(backend, workers=2) as session:
        run(main, 10)
        assert eventually(lambda: is_clean(session), 5)
        began = time.monotonic()
        assert list(mrpy.pmap(abs, range(4))) == list(range(4))
        assert time.monotonic() - began < 5
    assert eventually(lambda: not [each for each in set(threading.enumerate()) - before if "async" in each.name], 5)


@over_local
@pytest.mark.parametrize("chained", [False, True])
def test_break_and_the_end_of_async_with_close_the_run(backend: str, chained: bool) -> None:
    with mrpy.session(backend, workers=2) as session:

        async def main() -> None:
            items = mrpy.pmap(abs, itertools.count())
            async with items.enumerate() if chained else items as run_:
                async for item in run_:
                    if item in (5, (5, 5)):
                        break
            assert await collected(run_) == []

        run(main)
        assert eventually(lambda: is_clean(session))


def test_async_with_around_nothing_pulls_nothing() -> None:
    tap = Tap()

    async def main() -> None:
        async with mrpy.pmap(abs, tap, backend="serial"):
            pass

    run(main)
    assert tap.pulled == 0


@over_local
def test_a_loop_that_is_dropped_is_cleared_by_asyncio(backend: str) -> None:
    with mrpy.session(backend, workers=2) as session:

        async def main() -> None:
            async for _ in mrpy.pmap(abs, itertools.count()):
                break

        run(main)
        assert eventually(lambda: is_clean(session))


@over_local
@pytest.mark.parametrize("chained", [False, True])
def test_an_exception_arrives_at_its_item(backend: str, chained: bool) -> None:
    async def main() -> None:
        got = []
        items = mrpy.pmap(lambda x: 10 // (3 - x), range(6), backend=backend, workers=2, chunksize=2)
        with pytest.raises(ZeroDivisionError) as caught:
            async for item in items.map(str).enumerate() if chained else items:
                got.append(item)
        assert len(got) == 3
        assert caught.value.mrpy_item.position == 3  # type: ignore[attr-defined]

    run(main)


@over_local
def test_a_source_that_raises(backend: str) -> None:
    def source() -> Iterator[int]:
        yield from range(3)
        raise LookupError("gone")

    async def main() -> None:
        got = []
        with pytest.raises(LookupError, match="gone"):
            async for item in mrpy.pmap(abs, source(), backend=backend, workers=2):
                got.append(item)
        assert got == [0, 1, 2]

    run(main)


@over_local
def test_on_error_holds_in_asyncio(backend: str) -> None:
    items = mrpy.pmap(lambda x: 1 // x, [1, 0, 1], backend=backend, workers=2, on_error="return")
    got = run(lambda: collected(items))
    assert [type(item).__name__ for item in got] == ["int", "ZeroDivisionError", "int"]


@over_local
def test_an_exception_of_the_loops_body_closes_the_run(backend: str) -> None:
    with mrpy.session(backend, workers=2) as session:

        async def main() -> None:
            async with mrpy.pmap(abs, itertools.count()) as items:
                async for item in items:
                    if item == 3:
                        raise KeyError(item)

        with pytest.raises(KeyError):
            run(main)
        assert eventually(lambda: is_clean(session))


# ---- one way or the other ------------------------------------------------------------------------------------------


def test_mixing_both_ways_is_a_type_error() -> None:
    async def main() -> None:
        items = mrpy.pmap(abs, range(5), backend="serial")
        assert await anext(aiter(items)) == 0
        for wrong in (lambda: next(items), lambda: list(items), lambda: items.map(str).to_list(),
                      lambda: items.sum(), lambda: items.batch(2).to_list()):  # fmt: skip
            with pytest.raises(TypeError, match="async"):
                wrong()
        assert await collected(items) == [1, 2, 3, 4]
        other = mrpy.pmap(abs, range(5), backend="serial")
        assert next(other) == 0
        with pytest.raises(TypeError, match="without async"):
            aiter(other)
        assert list(other) == [1, 2, 3, 4]

    run(main)


def test_a_plain_with_works_in_a_coroutine() -> None:
    async def main() -> list[Any]:
        with mrpy.session("threads", workers=2), mrpy.pmap(abs, range(5)) as items:
            return list(items)

    assert run(main) == list(range(5))


@pytest.mark.parametrize("chained", [False, True])
@pytest.mark.parametrize("backend", LOCAL)
def test_what_async_for_has_read_can_be_closed_without_a_loop(backend: str, chained: bool) -> None:
    async def first(items: Any) -> Any:
        async for item in items:
            return item

    run: Any = mrpy.pmap(abs, range(-50, 0), backend=backend, workers=2, chunksize=1)
    if chained:
        run = run.batch(1).unbatch().map(abs)
    with run:
        assert asyncio.run(first(run)) == 50
    run.close()
    assert asyncio.run(first(run)) is None


@pytest.mark.parametrize("backend", LOCAL)
def test_async_for_is_closed_amid_its_own_loop(backend: str) -> None:
    async def some() -> list[int]:
        found = []
        run = mrpy.pmap(abs, range(-50, 0), backend=backend, workers=2, chunksize=1)
        async for item in run:
            found.append(item)
            break
        run.close()
        async for item in run:
            found.append(item)
        return found

    assert asyncio.run(some()) == [50]


@pytest.mark.parametrize("chained", [False, True])
@pytest.mark.parametrize("closer", ["the loop", "a thread"])
@over_local
def test_close_ends_an_async_for_that_waits(backend: str, closer: str, chained: bool) -> None:
    async def read() -> int:
        items: Any = mrpy.pmap(slowly, itertools.count(), backend=backend, workers=1, chunksize=1)
        if chained:
            items = items.batch(1).unbatch()
        if closer == "the loop":
            asyncio.get_running_loop().call_later(0.1, items.close)
        else:
            threading.Timer(0.1, items.close).start()
        return len([item async for item in items])

    assert run(read) < 1000


def test_where_no_thread_can_be_started_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def read() -> None:
        async for _ in mrpy.pmap(abs, [-1], backend="serial"):
            pass

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        asyncio.run(read())


# ---- single calls --------------------------------------------------------------------------------------------


@over_local
def test_a_pending_result_is_awaited(backend: str) -> None:
    def fails(x: int) -> int:
        raise LookupError(x)

    async def all_of_them() -> list[Any]:
        with mrpy.session(backend, workers=2):
            first = mrpy.submit(pow, 2, 5)
            found = [await first, await first]
            several = [mrpy.submit(slowly, n) for n in range(5)]
            return [*found, *await asyncio.gather(*several, mrpy.submit(fails, 3), return_exceptions=True)]

    *values, error = run(all_of_them)
    assert values == [32, 32, 0, 1, 4, 9, 16]
    assert type(error) is LookupError
    assert error.args == (3,)


@pytest.mark.parametrize("backend", LOCAL[1:])
def test_to_await_a_pending_result_blocks_nothing_and_ends_with_who_waits(backend: str) -> None:
    async def waits() -> tuple[int, bool]:
        ticks, pending = 0, mrpy.submit(time.sleep, 30)
        task = asyncio.ensure_future(asyncio.wait_for(pending, 0.3))
        while not task.done():
            await asyncio.sleep(0.01)
            ticks += 1
        with pytest.raises(asyncio.TimeoutError):
            await task
        with pytest.raises(mrpy.errors.Cancelled):
            pending.result(0)
        return ticks, pending.cancelled()

    with mrpy.session(backend, workers=1):
        ticks, cancelled = run(waits)
        assert cancelled
        assert ticks > 5
        assert mrpy.submit(abs, -1).result(20) == 1


def test_a_loop_that_is_gone_hears_nothing_of_a_call() -> None:
    async def starts() -> mrpy.PendingResult:
        pending = mrpy.submit(slowly, 3)
        abandoned.append(pending.__await__())
        next(abandoned[0])
        return pending

    abandoned: list[Any] = []
    with mrpy.session("threads", workers=1):
        pending = run(starts)
        assert pending.result(20) == 9, "and to tell the loop raises nothing"
        told = threading.Event()
        pending.add_done_callback(lambda _: told.set())
        assert told.wait(20)


@pytest.mark.parametrize("nested", [False, True])
def test_a_task_that_awaits_gives_way(nested: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    box: list[mrpy.PendingResult] = []

    def waits() -> list[int]:
        async def all_of_them() -> list[int]:
            return await asyncio.gather(*box)

        while len(box) < 3:
            time.sleep(0.005)
        return asyncio.run(all_of_them())

    ways: list[int] = []
    give_way = inside.giving_way.__enter__

    def counted(way: inside.giving_way) -> None:
        give_way(way)
        ways.append(way._waiters[0])

    monkeypatch.setattr(inside.giving_way, "__enter__", counted)
    with mrpy.session("threads", workers=1):
        pending = mrpy.submit(waits)
        box += [mrpy.submit(slowly, n) for n in range(3)]
        got = run(lambda: asyncio.wait_for(pending, 20)) if nested else pending.result(20)
        assert got == [0, 1, 4]
        assert 3 in ways, "all three wait in one thread, which gives way for the first"


@pytest.mark.parametrize("backend", LOCAL[1:])
def test_who_awaits_what_is_cancelled_hears_of_it_at_once(backend: str) -> None:
    async def waits() -> list[Any]:
        with mrpy.session(backend, workers=1):
            ahead = mrpy.submit(time.sleep, 0.5)
            pending = mrpy.submit(len, bytes(200_000))
            told: list[Any] = []
            pending.add_done_callback(told.append)
            asyncio.get_running_loop().call_later(0.05, pending.cancel)
            with pytest.raises(mrpy.errors.Cancelled):
                await pending
            pending.add_done_callback(told.append)
            early = ahead.done()
            assert await asyncio.to_thread(eventually, lambda: told == [pending, pending])
            return [early, await ahead]

    assert run(waits) == [False, None]


BREAKS = """
import asyncio, mrpy
mrpy.configure(backend={backend!r}, workers=2)
async def main():
    async for _ in {run}:
        break
asyncio.run(main())
"""


@pytest.mark.parametrize("run", ["mrpy.pmap(abs, range(1000))", "mrpy.mapreduce(lambda x: (x, 1), lambda _, xs: sum(xs), range(9))"])
@pytest.mark.parametrize("backend", LOCAL)
def test_a_loop_that_ends_just_after_a_break_is_told_of_nothing_that_is_pending(backend: str, run: str) -> None:
    for _ in range(3):
        code = BREAKS.format(backend=backend, run=run)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        assert done.stderr == ""


CLOSES_SLOWLY = """
from mrpy.iterators import order
import time
order.AT_ITS_END = 0
close = order.Run.close
order.Run.closed = False

def close_slowly(run):
    time.sleep(0.2)
    close(run)
    order.Run.closed = True

order.Run.close = close_slowly
"""


@pytest.mark.parametrize("run", ["mrpy.pmap(abs, range(1000))", "mrpy.mapreduce(lambda x: (x, 1), lambda _, xs: sum(xs), range(9))"])
def test_such_a_loop_waits_for_the_end_of_a_run_that_has_a_thread_of_its_own(run: str) -> None:
    code = CLOSES_SLOWLY + BREAKS.format(backend="serial", run=run) + "print(order.Run.closed)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_a_run_that_is_closed_without_await_waits_for_nothing() -> None:
    code = CLOSES_SLOWLY + """
import asyncio, mrpy
async def main():
    rows = mrpy.pmap(abs, range(1000), backend="serial")
    async for _ in rows:
        break
    began = time.monotonic()
    rows.close()
    print(time.monotonic() - began < 0.15, [row async for row in rows])
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("True []\n", "")


@pytest.mark.parametrize("backend", BACKENDS)
def test_who_asks_for_an_asynchronous_iterator_and_for_no_item_has_begun_nothing(backend: str) -> None:
    """As ``tqdm.auto`` does, wherever there is one."""
    rows = mrpy.pmap(abs, [-1, 2, -3], backend=backend)
    asked = aiter(rows)
    assert "running" not in repr(rows)
    assert rows.map(str).to_list() == ["1", "2", "3"]
    assert list(rows) == [1, 2, 3]

    async def left() -> list[Any]:
        return [row async for row in asked]

    assert run(left) == []
    rows = mrpy.pmap(abs, [-1, 2, -3], backend=backend)
    aiter(rows)

    async def in_a_loop() -> Any:
        first = await anext(aiter(rows))
        with pytest.raises(TypeError, match="already being iterated with async for"):
            next(rows)
        return first, [row async for row in rows]

    assert run(in_a_loop) == (1, [2, 3])


@pytest.mark.parametrize("how", ["break", "async with", "close"])
def test_the_source_of_a_serial_run_is_closed_in_the_thread_in_which_it_is_pulled(how: str) -> None:
    threads: list[str] = []

    def source() -> Iterator[int]:
        threads.append(threading.current_thread().name)
        try:
            yield from range(100)
        finally:
            threads.append(threading.current_thread().name)

    async def left() -> None:
        if how == "break":
            async for _ in mrpy.pmap(abs, source(), backend="serial"):
                break
        elif how == "async with":
            async with mrpy.pmap(abs, source(), backend="serial") as rows:
                async for _ in rows:
                    break
        else:
            rows = mrpy.pmap(abs, source(), backend="serial")
            async for _ in rows:
                break
            rows.close()
        assert await asyncio.to_thread(eventually, lambda: len(threads) == 2)

    run(left)
    assert len(set(threads)) == 1 and "MainThread" not in threads


def slow(n: int) -> int:
    time.sleep(0.005)
    return n


@pytest.mark.parametrize("backend", LOCAL)
def test_branches_of_tee_are_gone_through_side_by_side(backend: str) -> None:
    async def all_of(items: Any) -> list[int]:
        return [item async for item in items]

    async def both() -> list[list[int]]:
        branches = mrpy.pmap(slow, range(30), backend=backend, workers=2, chunksize=1).tee()
        return await asyncio.gather(*map(all_of, branches))

    assert asyncio.run(both()) == [list(range(30))] * 2


async def left_by_break(items: Any) -> None:
    async for _ in items:
        break
    items.close()


async def left_by_a_timeout(items: Any) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            async for _ in items:
                pass


@over_local
@pytest.mark.parametrize("leave", [left_by_break, left_by_a_timeout])
def test_a_branch_of_tee_that_is_left_does_not_end_the_others(leave: Callable[[Any], Awaitable[None]], backend: str) -> None:
    async def every(items: Any) -> list[int]:
        return [item async for item in items]

    async def one_is_left() -> list[int]:
        one, other = mrpy.pmap(slow, iter(range(60)), backend=backend, workers=2, chunksize=1).tee()
        await leave(one)
        return await every(other)

    assert run(one_is_left) == list(range(60))

"""Row 21: parallel calls inside of tasks, deeper than there are workers, and waiting for results there."""

from __future__ import annotations

import asyncio
import functools
import operator
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import pytest
from laws import LOCAL, eventually

import mrpy
from mrpy.errors import ItemTimeout
from mrpy.inside import carried, giving_way, inside, waiting

DEPTH = 4

over_backends = pytest.mark.parametrize("backend", LOCAL)


@pytest.mark.fault(21)
@over_backends
@pytest.mark.parametrize("inner", [None, *LOCAL])
def test_maps_nest_four_deep_on_every_backend_within_every_other(backend: str, inner: str | None) -> None:
    options: dict[str, Any] = {"workers": 2} if inner is None else {"workers": 2, "backend": inner}

    def level(depth: int, x: int) -> int:
        if depth == 0:
            return x
        return sum(mrpy.pmap(functools.partial(level, depth - 1), [x, x + 1, x + 2], **options))

    def plainly(depth: int, x: int) -> int:
        return x if depth == 0 else sum(plainly(depth - 1, y) for y in (x, x + 1, x + 2))

    got = mrpy.pmap(functools.partial(level, DEPTH - 1), range(4), backend=backend, workers=2, chunksize=1)
    assert list(got) == [plainly(DEPTH - 1, x) for x in range(4)]


@pytest.mark.fault(21)
@over_backends
def test_a_task_may_submit_and_wait_deeper_than_there_are_workers(backend: str) -> None:
    def countdown(depth: int) -> int:
        return depth if depth == 0 else 1 + mrpy.submit(countdown, depth - 1).result()

    with mrpy.session(backend, workers=2):
        assert mrpy.submit(countdown, 10).result(40) == 10
        assert list(mrpy.pmap(countdown, range(10), chunksize=1)) == list(range(10))
        assert [p.result(40) for p in [mrpy.submit(countdown, n) for n in range(6)]] == list(range(6))


@pytest.mark.fault(21)
@over_backends
def test_a_task_may_iterate_reduce_and_group(backend: str) -> None:
    def words(n: int) -> Any:
        pairs = mrpy.mapreduce(lambda x: (x % 3, 1), lambda k, v: sum(v), range(n), workers=2)
        return sorted(pairs), mrpy.preduce(operator.add, range(n), 0), list(mrpy.stream(range(n)).take(2))

    expected = [([(0, 2), (1, 2), (2, 1)], 10, [0, 1])] * 4
    assert list(mrpy.pmap(words, [5] * 4, backend=backend, workers=2, chunksize=1)) == expected


@pytest.mark.fault(21)
@over_backends
def test_an_error_four_deep_says_what_and_where(backend: str) -> None:
    def level(depth: int, x: int) -> int:
        if depth == 0:
            return 12 // x
        return sum(mrpy.pmap(functools.partial(level, depth - 1), [x, x - 1], workers=2))

    with pytest.raises(ZeroDivisionError) as caught:
        list(mrpy.pmap(functools.partial(level, 3), [9, 3], backend=backend, workers=2))
    assert caught.value.mrpy_item == (1, "0"), "the innermost item"  # type: ignore[attr-defined]
    skipped = mrpy.pmap(functools.partial(level, 3), [9, 3], backend=backend, workers=2, on_error="skip")
    assert len(list(skipped)) == 1


@pytest.mark.fault(21)
def test_threads_may_wait_for_each_other_though_all_are_busy() -> None:
    """Every worker waits for a call that comes after it: somebody has to run that."""
    handed = threading.Event()
    later: list[mrpy.PendingResult] = []

    def wait_for_it(place: int) -> int:
        assert handed.wait(30)
        return later[place].result(30)

    with mrpy.session("threads", workers=2):
        called = [mrpy.submit(wait_for_it, place) for place in range(2)]
        later += [mrpy.submit(operator.neg, place) for place in range(2)]
        handed.set()
        assert [each.result(40) for each in called] == [0, -1]
        assert list(mrpy.pmap(abs, range(-5, 0), chunksize=1)) == [5, 4, 3, 2, 1]


@pytest.mark.fault(21)
def test_a_task_on_threads_that_is_stopped_as_it_gives_way_or_is_back_leaves_no_slot_too_many() -> None:
    def is_stopped_as_it_gives_way(_: Any) -> None:
        giving_way().__enter__()
        while True:
            time.sleep(0.001)

    def is_stopped_as_it_waits(_: Any) -> None:
        waiting(lambda: [time.sleep(0.001) for _ in range(60_000)])

    with mrpy.session("threads", workers=2) as session:
        for stopped in (is_stopped_as_it_gives_way, is_stopped_as_it_waits):
            for _ in range(3):
                [failed] = mrpy.pmap(stopped, [0], timeout=0.1, on_error="return")
                assert isinstance(failed, ItemTimeout)
        assert eventually(lambda: session.driver.scheduler.slots == 2 and not session.driver.backend._waiting)


@pytest.mark.fault(21)
@pytest.mark.parametrize("struck", ["as it begins to wait", "as it ceases to"])
def test_a_run_in_a_task_on_threads_that_is_struck_as_it_waits_leaves_the_slots_as_they_were(struck: str) -> None:
    """By its own timeout, say. The task goes on, and so does its thread with others."""

    def is_struck(_: Any) -> None:
        way = giving_way()
        way.__enter__()
        if struck == "as it ceases to":
            inside.waiters[0] -= 1

    def waits_for_another() -> int:
        assert handed.wait(30)
        return later[0].result(30)

    handed = threading.Event()
    with mrpy.session("threads", workers=1) as session:
        mrpy.submit(is_struck, 0).result(30)
        assert eventually(lambda: session.driver.scheduler.slots == 1 and not session.driver.backend._waiting)
        call = mrpy.submit(waits_for_another)
        later = [mrpy.submit(abs, -1)]
        handed.set()
        assert call.result(30) == 1


@pytest.mark.fault(21)
def test_a_thread_that_outlives_the_task_on_threads_it_worked_for_gives_no_slot_away() -> None:
    over, waits, ended = threading.Event(), threading.Event(), threading.Event()

    def outlives(carry: Any) -> None:
        carry()
        assert over.wait(30)
        with giving_way():
            waits.set()
            assert ended.wait(30)

    with mrpy.session("threads", workers=1) as session:
        mrpy.submit(lambda: threading.Thread(target=outlives, args=(carried(),)).start()).result(30)
        over.set()
        assert waits.wait(30)
        assert mrpy.submit(abs, -1).result(30) == 1
        assert session.driver.backend._waiting == 0
        ended.set()
        assert mrpy.submit(abs, -1).result(30) == 1
        assert session.driver.backend._waiting == 0


@pytest.mark.fault(21)
def test_threads_may_wait_for_a_loop_of_their_own_session() -> None:
    """A task that opens no session of its own, but iterates one that was made outside."""
    with mrpy.session("threads", workers=1):
        outside = mrpy.pmap(operator.neg, range(200), chunksize=1)
        assert next(outside) == 0
        assert mrpy.submit(lambda: list(outside)).result(30) == list(range(-1, -200, -1))


@pytest.mark.fault(21)
def test_a_pending_result_does_not_travel_and_says_so(session: Any) -> None:
    pending = mrpy.submit(abs, -1)
    with pytest.raises(mrpy.errors.SerializationError):
        mrpy.submit(lambda: pending.result()).result(30)
    assert pending.result(30) == 1


class Study:
    """Holds an iterator for later."""

    def __init__(self) -> None:
        self.results = mrpy.pmap(abs, [-1, -2])

    def add(self, x: int) -> int:
        return x + sum(self.results)


@pytest.mark.fault(21)
@over_backends
@pytest.mark.parametrize("inside", [None, "threads", "processes"])
def test_an_iterator_that_has_not_begun_travels(backend: str, inside: str | None) -> None:
    with nullcontext() if inside is None else mrpy.session(inside, workers=1):
        made = [mrpy.pmap(abs, [-1, -2]), mrpy.stream([3]).map(abs).take(1), mrpy.stream([2, 2]).map(abs).frequencies()]
        captured, study = mrpy.pmap(abs, [-5]), Study()
    with mrpy.session(backend, workers=1):
        assert list(mrpy.pmap(list, made)) == [[1, 2], [3], [(2, 2)]]
        assert list(mrpy.pmap(lambda x: x + sum(captured), [1])) == [6]
        assert list(mrpy.pmap(study.add, [1])) == [4]
        held = Study()
        assert list(mrpy.pmap(held.add, [1])) == [4]


@pytest.mark.fault(21)
@pytest.mark.parametrize("how", ["running", "at its end", "chained on", "peeked at", "iterated by another", "in asyncio"])
def test_an_iterator_that_has_begun_does_not_travel_and_says_so(how: str) -> None:
    with mrpy.session("processes", workers=1):
        study = Study()
        if how == "in asyncio":
            asyncio.run(_first_of(study.results))
        elif how == "iterated by another":
            study.results = iter(study.results)
        elif how == "peeked at":
            study.results = study.results.peek()[1]
        else:
            list(study.results) if how == "at its end" else next(study.results)
        if how == "chained on":
            study.results = study.results.map(abs)
        with pytest.raises(mrpy.errors.SerializationError, match="2 items of a list -> map abs.* stays in its own process") as told:
            list(mrpy.pmap(study.add, [1]))
        assert not {"_blocks", "_here", "generator", "ContextVar"} & set(re.findall(r"\w+", str(told.value)))


async def _first_of(results: Any) -> Any:
    return await anext(aiter(results))


@pytest.mark.fault(21)
def test_a_session_that_is_open_does_not_travel_and_says_so() -> None:
    class Program:
        def __init__(self) -> None:
            self.session: Any = mrpy.session("processes", workers=1)

        def add(self, x: int) -> int:
            with self.session:
                return sum(mrpy.pmap(abs, [-x]))

    program = Program()
    assert list(mrpy.pmap(program.add, [2], backend="processes", workers=1)) == [2]
    with program.session as opened:
        for session in (program.session, opened):
            program.session = session
            with pytest.raises(mrpy.errors.SerializationError, match="'session'.* stays in its own process"):
                list(mrpy.pmap(program.add, [2]))


# ---- loops in threads that a task starts, or hands them to -----------------------------------------------


def in_a_thread(function: Callable[[], Any]) -> Any:
    """What it returns, from a new thread of the user's own, which knows nothing of who waits for it."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def ends(function: Callable[[], Any], seconds: float = 30) -> Any:
    """What it returns, within so many seconds."""
    outcome: list[Any] = []
    thread = threading.Thread(target=lambda: outcome.append(function()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert outcome, "it hangs, or it raised"
    return outcome[0]


@pytest.mark.fault(21)
@over_backends
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_task_may_wait_for_a_thread_that_runs_a_loop(backend: str, depth: int) -> None:
    """At any depth. On processes, only once: a worker that starts workers is slow."""
    if backend == "processes" and depth > 1:
        depth, backend = 1, "serial"

    def level(left: int, n: int) -> int:
        if left == 0:
            return n
        inner = functools.partial(level, left - 1)
        return in_a_thread(lambda: sum(mrpy.pmap(inner, range(n), chunksize=1, backend=backend, workers=2)))

    def plainly(left: int, n: int) -> int:
        return n if left == 0 else sum(plainly(left - 1, m) for m in range(n))

    got = ends(lambda: list(mrpy.pmap(functools.partial(level, depth), range(5), chunksize=1, backend=backend, workers=2)))
    assert got == [plainly(depth, n) for n in range(5)]


@pytest.mark.fault(21)
def test_all_tasks_on_threads_may_wait_for_one_loop_that_one_thread_runs() -> None:
    """There are more of them than slots, and they stand before its tasks."""

    def once() -> int:
        return sum(mrpy.pmap(abs, range(20), chunksize=1))

    with mrpy.session("threads", workers=2), ThreadPoolExecutor(1) as pool:
        lock, futures = threading.Lock(), []

        def shared(n: int) -> int:
            with lock:
                if not futures:
                    futures.append(pool.submit(once))
            return futures[0].result() + n

        assert ends(lambda: list(mrpy.pmap(shared, range(12), chunksize=1))) == [190 + n for n in range(12)]


@pytest.mark.fault(21)
def test_a_thread_that_a_task_waits_for_may_submit_and_go_on_with_a_loop_begun_outside() -> None:
    with mrpy.session("threads", workers=1):
        outside = mrpy.pmap(operator.neg, range(300), chunksize=1)
        assert next(outside) == 0

        def both(n: int) -> Any:
            return in_a_thread(lambda: mrpy.submit(abs, -n).result()), in_a_thread(lambda: next(outside))

        assert ends(lambda: list(mrpy.pmap(both, range(3), chunksize=1))) == [(n, -n - 1) for n in range(3)]


@pytest.mark.fault(21)
@over_backends
def test_a_task_may_run_an_event_loop_whose_loops_run_in_threads(backend: str) -> None:
    async def main(n: int) -> Any:
        numbers = [x async for x in mrpy.pmap(abs, range(n), workers=2, backend=backend).batch(2).map(sum)]
        return numbers, await asyncio.to_thread(lambda: sum(mrpy.pmap(abs, range(n), workers=2, backend=backend)))

    def task(n: int) -> Any:
        return asyncio.run(main(n))

    got = ends(lambda: list(mrpy.pmap(task, range(4), chunksize=1, workers=2, backend=backend)))
    assert got == [([], 0), ([0], 0), ([1], 1), ([1, 2], 3)]


def test_what_a_task_leaves_running_is_inside_it_no_more() -> None:
    """A context that outlives the task it was copied in: loops there are not serial for ever."""
    import contextvars

    from mrpy.inside import inside

    with mrpy.session("threads", workers=1):
        context = mrpy.submit(contextvars.copy_context).result()
    assert not context.run(lambda: inside.task)


@pytest.mark.fault(21)
@over_backends
def test_a_thread_that_a_task_starts_may_use_what_the_task_waits_for(backend: str) -> None:
    def in_a_thread(n: int) -> Any:
        found: list[Any] = []

        def run() -> None:
            found.append(list(mrpy.pmap(abs, [-n, -n - 1])))
            found.append(mrpy.submit(abs, -n).result())

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        return found

    with mrpy.session(backend, workers=2):
        assert list(mrpy.pmap(in_a_thread, range(3))) == [[[n, n + 1], n] for n in range(3)]


@pytest.mark.fault(40)
@over_backends
def test_a_run_that_has_begun_goes_on_in_a_thread_that_a_task_waits_for(backend: str) -> None:
    def in_a_thread(_: int) -> int:
        rest: list[int] = []
        thread = threading.Thread(target=lambda: rest.extend(begun))
        thread.start()
        thread.join()
        return len(rest)

    if backend == "processes":
        pytest.skip("what has begun stays in its process")
    with mrpy.session(backend, workers=2):
        begun = iter(mrpy.pmap(abs, range(-50, 0), chunksize=1, buffersize=2))
        next(begun)
        assert list(mrpy.pmap(in_a_thread, [1])) == [49]


@pytest.mark.fault(40)
@pytest.mark.parametrize("backend", ["serial", "threads"])
def test_a_task_may_wait_for_the_end_of_another_threads_run(backend: str) -> None:
    rows: list[str] = []
    begun, ended = threading.Event(), threading.Event()

    def read() -> None:
        for row in mrpy.pmap(str.upper, "abcdef" * 20, chunksize=1, buffersize=1):
            rows.append(row)
            begun.set()
        ended.set()

    def needs_all(n: int) -> int:
        ended.wait()
        return n + len(rows)

    with mrpy.session(backend, workers=2):
        thread = threading.Thread(target=read)
        thread.start()
        begun.wait()
        assert list(mrpy.pmap(needs_all, range(2))) == [120, 121]
        thread.join()

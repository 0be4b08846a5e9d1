"""What each verb promises, example by example: laziness, sessions, options, pending results, law 3."""

from __future__ import annotations

import contextvars
import functools
import gc
import heapq
import itertools
import operator
import os
import re
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults.watching import run_script
from laws import BACKENDS, CONCURRENT, LOCAL, eventually, fails, when, with_chunks

import mrpy
from mrpy.errors import Cancelled, LiftError, OptionError, SessionClosed

over_backends = pytest.mark.parametrize("backend", BACKENDS)
over_local = pytest.mark.parametrize("backend", LOCAL)
over_concurrent = pytest.mark.parametrize("backend", CONCURRENT)


def records(session: Any) -> int:
    """How many tasks a session still knows of."""
    return len(session.driver.scheduler.records)


def is_clean(session: Any) -> bool:
    return not records(session) and not session.driver._receivers and session.driver.scheduler.busy == 0


class Tap:
    """A source that counts what is pulled from it, and by which threads."""

    def __init__(self, items: Any) -> None:
        self._items = iter(items)
        self.pulled = 0
        self.threads: set[int] = set()

    def __iter__(self) -> Tap:
        return self

    def __next__(self) -> Any:
        self.threads.add(threading.get_ident())
        item = next(self._items)
        self.pulled += 1
        return item


# ---- laziness ----------------------------------------------------------------------------------------

LAZY: dict[str, Callable[[Any, Any], Any]] = {
    "parallel": lambda xs, o: mrpy.parallel((x for x in xs), **o),
    "pmap": lambda xs, o: mrpy.pmap(lambda x: x, xs, **o),
    "pmap of two": lambda xs, o: mrpy.pmap(lambda x, y: x, xs, itertools.count(), **o),
    "pstarmap": lambda xs, o: mrpy.pstarmap(lambda x: x, zip(xs), **o),
    "pfilter": lambda xs, o: mrpy.pfilter(lambda x: True, xs, **o),
    "stream": lambda xs, o: mrpy.stream(xs, **o),
    "chain": lambda xs, o: mrpy.stream(xs, **o).map(lambda x: x).filter(None).flat_map(lambda x: [x]).take(9),
    "mapreduce": lambda xs, o: mrpy.mapreduce(lambda x: (x, x), lambda k, v: k, xs, **o),
}  # fmt: skip


@over_local
@pytest.mark.parametrize("verb", LAZY)
def test_nothing_is_pulled_before_the_first_next(verb: str, backend: str) -> None:
    source = Tap([1, 2, 3])
    made = LAZY[verb](source, {"backend": backend, "workers": 2})
    assert isinstance(made, mrpy.ParallelIterator)
    assert "ParallelIterator" in repr(made)
    assert source.pulled == 0
    assert len(list(made)) == 3
    assert source.threads == {threading.get_ident()}


@pytest.mark.parametrize("verb", LAZY)
def test_nothing_runs_before_the_first_next(verb: str) -> None:
    with mrpy.session("threads", workers=2) as session:
        LAZY[verb]([1, 2], {})
        assert session.driver._thread is None


def test_a_parallel_iterator_is_consumed_once() -> None:
    squares = mrpy.pmap(lambda x: x * x, range(3), backend="serial")
    assert iter(squares) is not None
    assert list(squares) == [0, 1, 4]
    assert list(squares) == []
    with pytest.raises(StopIteration):
        next(squares)


def test_closed_before_it_ran_it_is_empty() -> None:
    source = Tap(range(5))
    squares = mrpy.pmap(abs, source, backend="serial")
    squares.close()
    squares.close()
    assert list(squares) == []
    assert source.pulled == 0


def test_printing_shows_the_plan_and_runs_nothing() -> None:
    source = Tap(range(3))
    assert re.search(r"items of a Tap -> map abs -> filter bool", repr(mrpy.stream(source).map(abs).filter(None)))
    assert source.pulled == 0


# ---- chaining -------------------------------------------------------------------------------------------


@over_backends
def test_a_chain_equals_the_same_chain_of_builtins(backend: str) -> None:
    got = (
        mrpy.stream(range(60), backend=backend, workers=2)
        .map(lambda x: x * 3)
        .filter(lambda x: x % 2)
        .flat_map(lambda x: (x, -x))
        .map(lambda x: (x, 1))
        .starmap(operator.add)
        .take(21)
        .map(str)
        .to_list()
    )
    several = (y for x in (x * 3 for x in range(60)) if x % 2 for y in (x, -x))
    assert got == [str(y + 1) for y in itertools.islice(several, 21)]


@over_local
def test_what_is_left_of_a_started_iterator_can_be_chained(backend: str) -> None:
    numbers = mrpy.pmap(lambda x: x + 1, range(20), backend=backend, workers=2)
    assert [next(numbers), next(numbers)] == [1, 2]
    assert numbers.map(lambda x: -x).to_list() == [-x for x in range(3, 21)]


@over_local
def test_take_ends_an_infinite_source(backend: str) -> None:
    source = Tap(itertools.count())
    assert mrpy.pmap(lambda x: x * x, source, backend=backend, workers=2).take(5).to_list() == [0, 1, 4, 9, 16]
    assert source.pulled < 10_000_000
    assert list(mrpy.pmap(abs, [-1], backend=backend, workers=2)) == [1]


@over_local
@pytest.mark.parametrize("make", [lambda r: r, iter, lambda r: zip(r, r, strict=False)], ids=["range", "iter", "zip"])
def test_a_range_longer_than_memory_has_addresses_is_a_source(make: Any, backend: str) -> None:
    kept = mrpy.pmap(lambda x: x, make(range(2**70)), backend=backend, workers=2).take(3)
    assert kept.to_list() == list(itertools.islice(make(range(2**70)), 3))


@over_local
def test_an_iterator_that_stands_there_twice_is_pulled_in_turns(backend: str) -> None:
    once = iter([1, 2, 3, 4, 5])
    assert list(mrpy.pmap(lambda a, b: (a, b), once, once, backend=backend)) == [(1, 2), (3, 4)]
    once = iter("abcdef")
    pairs = mrpy.parallel((a + b for a, b in zip(once, once, strict=False)), backend=backend)
    assert list(pairs) == ["ab", "cd", "ef"]
    once = iter(range(6))
    mixed = mrpy.parallel((a + b for a, b in zip(once, map(lambda x: 10 * x, once), strict=False)), backend=backend)
    assert list(mixed) == [10, 32, 54]


@over_local
def test_a_part_of_an_iterator_leaves_the_rest_of_it(backend: str) -> None:
    lines = iter(["head", "second", "a", "b"])
    heads = mrpy.pmap(str.upper, itertools.islice(lines, 2), backend=backend, workers=2)
    assert list(heads) == ["HEAD", "SECOND"]
    assert list(mrpy.pmap(str.upper, lines, backend=backend, workers=2)) == ["A", "B"]
    squares = (x * x for x in range(5))
    assert list(mrpy.pmap(str, itertools.islice(squares, 2), backend=backend, workers=2)) == ["0", "1"]
    assert list(mrpy.pmap(str, squares, backend=backend, workers=2)) == ["4", "9", "16"]


@over_local
def test_an_iterator_that_was_handed_over_is_used_up(backend: str) -> None:
    lines = iter(["head", "a", "b"])
    next(lines)
    assert list(mrpy.pmap(str.upper, lines, backend=backend)) == ["A", "B"]
    assert list(lines) == []


def test_a_walrus_is_not_shared_between_threads() -> None:
    meeting = threading.Barrier(2)

    def meet() -> bool:
        meeting.wait(5)
        return True

    generator = (w for x in (1, 2) if (w := x) and meet())  # noqa: F841
    assert list(mrpy.parallel(generator, backend="threads", workers=2, chunksize=1)) == [1, 2]


def test_a_global_walrus_is_not_shared_between_threads() -> None:
    space: dict[str, Any] = {"meet": threading.Barrier(2).wait}
    generator = eval("(w for x in (1, 2) if (w := x) and meet(5) >= 0)", space)
    assert list(mrpy.parallel(generator, backend="threads", workers=2, chunksize=1)) == [1, 2]


@over_local
def test_variables_have_the_values_of_the_moment_of_the_call(backend: str) -> None:
    factor = 2
    doubled = mrpy.parallel((x * factor for x in range(3)), backend=backend, workers=2)
    factor = 100
    assert list(doubled) == [0, 2, 4]
    assert factor == 100


# ---- several at once ------------------------------------------------------------------------------------


@over_backends
def test_several_loops_at_once_share_the_workers(backend: str) -> None:
    where = {"backend": backend, "workers": 2, "chunksize": 2}
    squares = mrpy.parallel((x * x for x in range(30)), **where)
    texts = mrpy.parallel((str(x) for x in range(30)), **where)
    third = mrpy.pmap(lambda x: -x, range(30), ordered=False, **where)
    rows = list(zip(squares, texts, third, strict=True))
    assert [row[:2] for row in rows] == [(x * x, str(x)) for x in range(30)]
    assert sorted(row[2] for row in rows) == sorted(-x for x in range(30))


@over_backends
def test_loops_in_threads_do_not_disturb_each_other(backend: str) -> None:
    answers: dict[int, list[int]] = {}

    def loop(k: int) -> None:
        answers[k] = list(mrpy.pmap(lambda x: x * k, range(40), backend=backend, workers=2, chunksize=3))

    threads = [threading.Thread(target=loop, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers == {k: [x * k for x in range(40)] for k in range(4)}


@over_backends
def test_calls_nest_four_deep(backend: str) -> None:
    def level(depth: int) -> Any:
        if depth == 0:
            return 1
        inner = mrpy.preduce(operator.add, (level(depth - 1) for _ in range(2)), workers=2)
        outer = sum(mrpy.pmap(lambda _: level(depth - 1), range(2), backend="processes"))
        assert mrpy.submit(lambda: depth).result() == depth
        return (inner + outer) // 2

    got = list(mrpy.pmap(level, [4, 3, 4], backend=backend, workers=2, chunksize=1))
    assert got == [16, 8, 16]


@over_backends
def test_a_session_inside_a_task_works(backend: str) -> None:
    def inner(x: int) -> list[int]:
        with mrpy.session("processes", workers=2):
            return list(mrpy.pmap(lambda y: x * y, range(3)))

    assert list(mrpy.pmap(inner, range(3), backend=backend, workers=2)) == [[0, 0, 0], [0, 1, 2], [0, 2, 4]]


# ---- law 3: the consumer sets the pace --------------------------------------------------------------------


@pytest.mark.parametrize(("backend", "chunksize"), with_chunks("auto", 1, 4))
@pytest.mark.parametrize("buffersize", [1, 2, 3, 10])
def test_a_source_is_pulled_no_further_than_the_buffer(backend: str, buffersize: int, chunksize: Any) -> None:
    source = Tap(range(40))
    yielded = 0
    where = {"backend": backend, "workers": 2, "buffersize": buffersize, "chunksize": chunksize}
    for _ in mrpy.parallel((x for x in source), **where):
        assert source.pulled - yielded <= buffersize
        yielded += 1
    assert yielded == 40
    assert source.threads == {threading.get_ident()}


@pytest.mark.parametrize("backend", ["threads", "processes"])
@pytest.mark.parametrize("ordered", [True, False])
def test_the_window_holds_when_a_filter_drops_nearly_all(backend: str, ordered: bool) -> None:
    source = Tap(range(200))
    got = []
    for x in mrpy.pfilter(
        lambda x: x % 50 == 49, source, backend=backend, workers=2, buffersize=5, ordered=ordered
    ):
        got.append(x)
        if ordered:
            assert source.pulled <= x + 1 + 5
    assert sorted(got) == [49, 99, 149, 199]


@over_concurrent
def test_nothing_is_pulled_while_the_consumer_is_away(backend: str) -> None:
    source = Tap(itertools.count())
    loop = mrpy.pmap(lambda x: x, source, backend=backend, workers=2)
    for _ in range(20):
        next(loop)
    before = source.pulled
    done = mrpy.submit(lambda: None)  # time passes
    done.result(30)
    assert source.pulled == before
    loop.close()


@over_backends
def test_break_leaves_nothing_and_the_workers_usable(backend: str) -> None:
    with mrpy.session(backend, workers=2) as session:
        ran = 0
        for x in mrpy.pmap(lambda x: x, itertools.count(), chunksize=2):
            ran += 1
            if x == 7:
                break
        began = time.monotonic()
        assert list(mrpy.pmap(lambda x: x + 1, range(3))) == [1, 2, 3]
        assert time.monotonic() - began < 2
        assert eventually(lambda: is_clean(session))


@over_local
@pytest.mark.parametrize("how", ["close", "drop", "break", "raise", "with", "end", "cycle", "take"])
def test_however_a_loop_ends_the_scheduler_forgets_it(backend: str, how: str) -> None:
    with mrpy.session(backend, workers=2) as session:
        loop: Any = mrpy.pmap(lambda x: x, range(1000), chunksize=3)
        if how == "take":
            loop = loop.take(2)
        next(loop)
        if how == "close":
            loop.close()
        elif how == "break":
            for _ in loop:
                break
        elif how == "raise":
            with pytest.raises(ZeroDivisionError):
                for x in loop:
                    x / 0 if x > 5 else None
        elif how == "with":
            with loop:
                next(loop)
        elif how in ("end", "take"):
            list(loop)
        elif how == "cycle":
            ring: list[Any] = [loop]
            ring.append(ring)
            del ring
        del loop
        gc.collect()
        assert eventually(lambda: is_clean(session))
        assert list(mrpy.pmap(abs, [-3])) == [3]
        assert eventually(lambda: is_clean(session))


@over_local
def test_every_verb_leaves_no_record(backend: str) -> None:
    with mrpy.session(backend, workers=2) as session:
        assert mrpy.preduce(operator.add, range(500)) == sum(range(500))
        assert mrpy.pfold(operator.add, range(9), 0) == 36
        assert len(list(mrpy.mapreduce(lambda x: (x % 3, x), lambda k, v: sum(v), range(99)))) == 3
        next(mrpy.mapreduce(lambda x: (x % 3, x), lambda k, v: sum(v), range(99)))
        with pytest.raises(ZeroDivisionError):
            mrpy.preduce(operator.add, (1 // (x - 300) for x in range(500)))
        with pytest.raises(ZeroDivisionError):
            list(mrpy.mapreduce(lambda x: (x, 1 // (x - 50)), lambda k, v: k, range(99)))
        with pytest.raises(ZeroDivisionError):
            list(mrpy.mapreduce(lambda x: (x, x), lambda k, v: 1 // (k - 50), range(99)))
        assert mrpy.submit(pow, 2, 3).result(30) == 8
        assert eventually(lambda: is_clean(session)), session.driver.scheduler.records


def test_an_abandoned_task_of_a_serial_session_does_not_run_later() -> None:
    ran: list[int] = []
    with mrpy.session("serial") as session:
        loop = mrpy.pmap(lambda x: ran.append(x), range(50), chunksize=1)
        next(loop)
        loop.close()
        assert records(session) == 0
        before = list(ran)
        list(mrpy.pmap(abs, range(3)))
        assert ran == before


# ---- sessions -------------------------------------------------------------------------------------------


@over_local
def test_a_session_decides_where_and_how(backend: str) -> None:
    with mrpy.session(backend, workers=2, on_error="skip") as session:
        assert list(mrpy.pmap(lambda x: 1 // x, [0, 1])) == [1]
        if backend != "serial":
            assert session.driver._thread is not None
        assert (os.getpid() == next(mrpy.pmap(lambda _: os.getpid(), [0]))) is (backend != "processes")


def test_sessions_nest_and_the_innermost_decides() -> None:
    def here(_: int) -> tuple[int, bool]:
        return os.getpid(), threading.current_thread() is threading.main_thread()

    with mrpy.session("threads", workers=1):
        with mrpy.session("serial"):
            assert next(mrpy.pmap(here, [0])) == (os.getpid(), True)
        assert next(mrpy.pmap(here, [0])) == (os.getpid(), False)
        assert next(mrpy.pmap(here, [0], backend="serial")) == (os.getpid(), True)


def test_an_iterator_whose_session_was_closed_says_so() -> None:
    with mrpy.session("threads", workers=2) as session:
        loop = mrpy.pmap(lambda x: x, itertools.count(), chunksize=1)
        next(loop)
    with pytest.raises(SessionClosed, match="session"):
        for _ in loop:
            pass
    with pytest.raises(SessionClosed, match="open another"):
        session.job()
    session.close()


def test_closing_wakes_whoever_waits_in_another_thread() -> None:
    release = threading.Event()
    caught: list[BaseException] = []
    with mrpy.session("threads", workers=1) as session:

        def wait() -> None:
            try:
                list(mrpy.pmap(lambda _: release.wait(20), [0]))
            except SessionClosed as error:
                caught.append(error)

        thread = threading.Thread(target=contextvars.copy_context().run, args=(wait,))
        thread.start()
        assert eventually(lambda: records(session) > 0)
    thread.join(5)
    release.set()
    assert len(caught) == 1


@over_local
def test_two_sessions_at_once(backend: str) -> None:
    with mrpy.session(backend, workers=1) as first:
        a = mrpy.pmap(lambda x: x + 1, range(10), chunksize=1)
        next(a)
        with mrpy.session(backend, workers=1) as second:
            b = mrpy.pmap(lambda x: x + 2, range(10), chunksize=1)
            assert list(zip(a, b, strict=False)) == [(x + 2, x + 2) for x in range(9)]
            b.close()
            assert first is not second
        assert list(a) == []


@over_local
def test_two_threads_on_one_session(backend: str) -> None:
    with mrpy.session(backend, workers=2) as session:
        answers: dict[int, Any] = {}

        def loop(k: int) -> None:
            answers[k] = list(mrpy.pmap(lambda x: x * k, range(30), chunksize=2)), mrpy.submit(pow, k, 2).result(30)

        threads = [
            threading.Thread(target=contextvars.copy_context().run, args=(loop, k)) for k in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert answers == {k: ([x * k for x in range(30)], k * k) for k in range(3)}
        assert eventually(lambda: is_clean(session))


def test_a_session_that_is_used_as_if_it_were_a_pool_says_how_it_is_used() -> None:
    for name in ("map", "submit", "close"):
        with pytest.raises(AttributeError, match=r"with mrpy\.session\(\.\.\.\):"):
            getattr(mrpy.session("threads"), name)
    with mrpy.session("serial") as session:
        for name in ("map", "submit", "pmap"):
            with pytest.raises(AttributeError, match=r"with mrpy\.session\(\.\.\.\):"):
                getattr(session, name)


def test_a_session_that_is_open_is_not_opened_once_more() -> None:
    session = mrpy.session("threads", workers=1)
    with session:
        with pytest.raises(RuntimeError, match="this session is open already"):
            session.__enter__()
        assert list(mrpy.pmap(abs, [-1])) == [1]
    with session:
        assert list(mrpy.pmap(abs, [-1])) == [1]


def test_settings_of_a_backend_may_be_numbers_of_numpy() -> None:
    numpy = pytest.importorskip("numpy")
    with mrpy.session("processes", workers=numpy.int64(1), max_tasks_per_worker=numpy.int64(3)):
        assert list(mrpy.pmap(abs, [-1], chunksize=numpy.int64(3))) == [1]


@over_local
@pytest.mark.parametrize("between", ["batch", "take", "group_by"])
def test_to_close_a_chain_ends_all_runs_in_it(backend: str, between: str, tmp_path: Path) -> None:
    def chain() -> Any:
        run = mrpy.stream(Tap(range(1000)), workers=2, checkpoint=tmp_path / "file", backend=backend).map(abs)
        argument = {"batch": 2, "take": 500, "group_by": lambda n: n % 300}[between]
        return getattr(run, between)(argument).map(str)

    gc.disable()  # it is not to be needed
    try:
        for _ in range(2):
            run = chain()
            next(run)
            run.close()
        with chain() as run:
            next(run)
        next(chain())
    finally:
        gc.enable()


def test_to_close_what_takes_from_a_run_that_has_begun_lets_that_go_on() -> None:
    with mrpy.session("threads", workers=2):
        run = mrpy.pmap(abs, range(1_000_000))
        assert next(run) == 0
        with run.map(str) as behind:
            assert next(behind) == "1"
        assert next(run) > 1


def test_what_is_closed_before_it_begins_starts_no_worker() -> None:
    done = run_script(
        """
        import asyncio, mrpy, os
        mrpy.pmap(abs, [1, 2, 3]).close()
        with mrpy.pmap(abs, [1, 2, 3]):
            pass
        async def closed():
            async with mrpy.pmap(abs, [1, 2, 3]):
                pass
        asyncio.run(closed())
        print(open(f"/proc/self/task/{os.getpid()}/children").read().split())
        """
    )
    assert done.stdout == "[]\n", done.stderr


def test_a_session_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with mrpy.session("threads", workers=2):
        list(mrpy.pmap(abs, range(9)))
    assert eventually(lambda: set(threading.enumerate()) <= before)


def test_a_processes_session_leaves_no_descriptor() -> None:
    with mrpy.session("processes", workers=1):  # what is imported lazily is open now
        list(mrpy.pmap(abs, range(9)))
    before = len(os.listdir("/proc/self/fd"))
    with mrpy.session("processes", workers=2):
        list(mrpy.pmap(abs, range(9), chunksize=1))
    assert len(os.listdir("/proc/self/fd")) == before


# ---- options ------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    monkeypatch.delenv("MRPY_BACKEND", raising=False)
    monkeypatch.delenv("MRPY_WORKERS", raising=False)
    mrpy.configure()
    yield monkeypatch
    mrpy.configure()


def backend_in_force(**given: Any) -> str:
    return mrpy.pmap(abs, [], **given)._options().backend


def test_the_innermost_option_wins(fresh: pytest.MonkeyPatch) -> None:
    assert backend_in_force() == "processes"
    fresh.setenv("MRPY_BACKEND", "threads")
    assert backend_in_force() == "threads"
    mrpy.configure(backend="serial")
    assert backend_in_force() == "serial"
    with mrpy.session("threads", workers=1):
        assert backend_in_force() == "threads"
        assert backend_in_force(backend="serial") == "serial"
    assert backend_in_force() == "serial"
    mrpy.configure()
    assert backend_in_force() == "threads"


def test_the_environment_sets_the_workers(fresh: pytest.MonkeyPatch) -> None:
    fresh.setenv("MRPY_WORKERS", "3")
    assert mrpy.pmap(abs, [])._options().worker_count == 3
    fresh.setenv("MRPY_WORKERS", "many")
    with pytest.raises(OptionError, match="MRPY_WORKERS='many'"):
        mrpy.pmap(abs, [])


def test_an_environment_that_was_replaced_is_the_one_that_counts(fresh: pytest.MonkeyPatch) -> None:
    fresh.setattr(os, "environ", {"MRPY_WORKERS": "3"})
    assert mrpy.pmap(abs, [])._options().worker_count == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n_jobs": 2}, "workers="), ({"max_workers": 2}, "workers="), ({"batch_size": 2}, "chunksize="),
        ({"npartitions": 2}, "=; chunksize= says how many items a task takes; .repartition(n)"),
        ({"pre_dispatch": "2*n_jobs"}, "=; buffersize="), ({"return_as": "list"}, "=; results come in order"),
        ({"callback": print}, "add_done_callback"), ({"initializer": print}, "setup="), ({"initargs": ()}, "setup="),
        ({"max_nbytes": "1M"}, "shared memory"), ({"mmap_mode": "r"}, "shared memory"),
        ({"mp_context": None}, "one way to start"), ({"cache": True}, "=; checkpoint="),
        ({"require": "sharedmem"}, "=; backend='threads'"), ({"prefer": "threads"}, "it is called backend= here"),
        ({"maxtasksperchild": 1}, "mrpy.session(max_tasks_per_worker=...)"),
        ({"worker": 2}, "did you mean workers="), ({"chunksizes": 1}, "did you mean chunksize="),
        ({"return_exceptions": True}, "on_error='return'"), ({"zzz": 1}, "backend, workers"),
        ({"backend": "thread"}, "did you mean 'threads'"), ({"backend": 3}, "must be one of"),
        ({"workers": 0}, "from 1 up"), ({"workers": True}, "from 1 up"), ({"workers": 1.5}, "from 1 up"),
        ({"chunksize": 0}, "from 1 up"), ({"chunksize": "big"}, "'auto'"), ({"buffersize": -1}, "from 1 up"),
        ({"on_error": "ignore"}, "'skip'"), ({"retries": -1}, "from 0 up"), ({"timeout": 0}, "above 0"),
        ({"ordered": 1}, "True or False"), ({"seed": -1}, "whole number"), ({"name": 3}, "string"),
        ({"checkpoint": 3}, "path"), ({"progress": None}, "True or False"),
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_option_is_an_error_at_the_call_that_helps(given: dict[str, Any], message: str) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: mrpy.pmap(abs, [], **given),
        lambda: mrpy.parallel((x for x in []), **given),
        lambda: mrpy.preduce(operator.add, [1], **given),
        lambda: mrpy.mapreduce(abs, abs, [], **given),
        lambda: mrpy.configure(**given),
        lambda: mrpy.session(**given).__enter__(),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=re.escape(message)) as caught:
            call()
        assert isinstance(caught.value, OptionError)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mrpy.stream([1]).to_csv("out", overwite=True), "did you mean overwrite="),
        (lambda: mrpy.mapreduce(abs, abs, [], combine=max), "did you mean combiner="),
        (lambda: mrpy.read_csv(__file__, delimeter=";"), "did you mean delimiter="),
        (lambda: mrpy.read_text(__file__, encodng="ascii"), "did you mean encoding="),
        (lambda: mrpy.session("dask", adress="here"), "did you mean address="),
        (lambda: mrpy.session(max_task_per_worker=1), "did you mean max_tasks_per_worker="),
        (lambda: mrpy.pmap(abs, [], overwite=True), "overwite=; there are backend"),
    ],
)
def test_what_a_verb_takes_besides_options_is_suggested_too(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        call()


@pytest.mark.parametrize("backend", LOCAL)
def test_a_function_that_cannot_combine_partial_results_is_told_from_one_that_fails_at_an_item(backend: str) -> None:
    words = ["a", "bc", "a"]
    calls: dict[Callable[[], Any], str] = {
        lambda: mrpy.pfold(lambda seen, word: seen | {word}, words, set(), backend=backend): "(set and set) were combined by add;",
        lambda: mrpy.stream(words, backend=backend).fold(lambda seen, word: seen | {word}, set()): "(set and set)",
        lambda: mrpy.preduce(lambda n, word: n + len(word), words, 0, backend=backend): "(str and str) were combined by test_a",
    }
    for call, told in calls.items():
        with pytest.raises(TypeError) as raised:
            call()
        [note] = raised.value.__notes__
        assert type(raised.value) is TypeError and told in note and note.endswith("write pfold(step, items, initial, combine=...)")
    for call in (lambda: mrpy.stream([1, "a"], backend=backend).max(), lambda: mrpy.stream([1, "a"], backend=backend).topk(1).to_list()):
        with pytest.raises(TypeError) as raised:
            call()
        assert "pfold" not in "".join(getattr(raised.value, "__notes__", ()))


@pytest.mark.parametrize("partitions", [0, -1, True, 1.5, "many"])
def test_wrong_partitions_are_an_error(partitions: Any) -> None:
    with pytest.raises(OptionError, match="partitions"):
        mrpy.mapreduce(abs, abs, [], partitions=partitions)


def test_of_a_long_value_an_error_shows_the_beginning() -> None:
    with pytest.raises(OptionError, match="chunksize=.0, 1, 2.*: must be a whole number") as raised:
        mrpy.pmap(abs, [1], chunksize=list(range(100_000)))
    assert len(str(raised.value)) < 200


def test_a_setting_of_dask_is_refused_elsewhere() -> None:
    with pytest.raises(OptionError, match="dask"), mrpy.session("threads", address="tcp://127.0.0.1:1"):
        pass


@pytest.mark.parametrize("client", [3, "tcp://127.0.0.1:1", object()], ids=lambda client: type(client).__name__)
def test_what_is_no_client_of_dask_is_an_error_that_names_it(client: Any) -> None:
    pytest.importorskip("distributed")
    with pytest.raises(OptionError, match="client="), mrpy.session("dask", client=client):
        pass


def test_mapreduce_takes_its_arguments_by_name_as_well() -> None:
    given = {"reducer": lambda key, values: sum(values), "mapper": lambda x: (x % 3, x), "inputs": range(9)}
    assert dict(mrpy.mapreduce(**given, backend="serial")) == {0: 9, 1: 12, 2: 15}


# ---- wrong arguments ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda: mrpy.pmap(3, []), lambda: mrpy.pstarmap("f", []), lambda: mrpy.pfilter(3, []),
        lambda: mrpy.preduce([], []), lambda: mrpy.pfold(None, [], 0), lambda: mrpy.mapreduce(1, abs, []),
        lambda: mrpy.mapreduce(abs, 1, []), lambda: mrpy.mapreduce(abs, None, []),
        lambda: mrpy.mapreduce(abs, abs, [], 1), lambda: mrpy.submit(3),
    ],
    ids=range(10),
)  # fmt: skip
def test_what_is_not_callable_is_an_error_at_once(call: Callable[[], Any]) -> None:
    with pytest.raises(TypeError, match=r"function|callable"):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda x: mrpy.pmap(abs, x), lambda x: mrpy.pmap(max, [1], x), lambda x: mrpy.pstarmap(abs, x),
        lambda x: mrpy.pfilter(None, x), lambda x: mrpy.preduce(max, x), lambda x: mrpy.pfold(max, x, 0),
        lambda x: mrpy.mapreduce(abs, abs, x), lambda x: mrpy.stream(x), lambda x: mrpy.parallel(x),
    ],
    ids=range(9),
)  # fmt: skip
@pytest.mark.parametrize("value", [5, None, abs, object()], ids=lambda value: type(value).__name__)
def test_what_cannot_be_iterated_is_an_error_at_once(call: Callable[[Any], Any], value: Any) -> None:
    with pytest.raises(TypeError, match="iter"):
        call(value)


def test_pmap_needs_something_to_map() -> None:
    with pytest.raises(TypeError, match="two arguments"):
        mrpy.pmap(abs)


def test_a_started_generator_cannot_be_lifted() -> None:
    generator = (x for x in range(5))
    next(generator)
    with pytest.raises(LiftError, match=r"already started.*before the first next.*mrpy\.pmap"):
        mrpy.parallel(generator)
    assert list(mrpy.pmap(lambda x: x, generator, backend="serial")) == [1, 2, 3, 4]


def test_a_generator_function_cannot_be_lifted() -> None:
    def numbers() -> Iterator[int]:
        yield from range(3)

    with pytest.raises(LiftError, match=r"numbers\(\) is a generator function.*@mrpy\.stage.*mrpy\.pmap"):
        mrpy.parallel(numbers())
    assert list(mrpy.pmap(lambda x: x + 1, numbers(), backend="serial")) == [1, 2, 3]
    assert list(mrpy.parallel((x + 1 for x in numbers()), backend="serial")) == [1, 2, 3]


def test_an_asynchronous_generator_cannot_be_lifted() -> None:
    async def numbers() -> Any:
        yield 1

    with pytest.raises(LiftError, match="async"):
        mrpy.parallel(numbers())
    with pytest.raises(LiftError, match="async"):
        mrpy.parallel(x async for x in numbers())


def test_a_lifted_generator_is_taken_over() -> None:
    generator = (x for x in range(3))
    loop = mrpy.parallel(generator, backend="serial")
    assert list(generator) == []
    assert list(loop) == [0, 1, 2]


@over_local
def test_reducing_nothing_is_the_error_of_functools(backend: str) -> None:
    with pytest.raises(TypeError) as theirs:
        functools.reduce(operator.add, [])
    with pytest.raises(TypeError) as ours:
        mrpy.preduce(operator.add, [], backend=backend)
    assert str(ours.value).split("(")[0] == str(theirs.value).split("(")[0]
    assert mrpy.preduce(operator.add, [], None, backend=backend) is None
    assert mrpy.preduce(operator.add, [1], initial=2, backend=backend) == 3  # as functools.reduce of 3.14
    assert mrpy.pfold(operator.add, [1], initial=0, backend=backend) == 1
    with pytest.raises(TypeError):
        mrpy.preduce(operator.add, (x for x in range(9) if x > 10), backend=backend)


# ---- submit -----------------------------------------------------------------------------------------------


@over_backends
def test_submit_runs_the_call_and_hands_over_what_it_returned(backend: str) -> None:
    with mrpy.session(backend, workers=2):
        pending = mrpy.submit(lambda *a, **k: (a, k), 1, 2, workers=3)
        assert pending.result(30) == ((1, 2), {"workers": 3})
        assert pending.result() == ((1, 2), {"workers": 3})
        assert pending.exception() is None
        assert pending.done()
        assert not pending.cancelled()
        assert not pending.cancel()
        assert "done" in repr(pending)


@over_local
def test_submit_hands_over_what_the_function_raised(backend: str) -> None:
    with mrpy.session(backend, workers=2):
        pending = mrpy.submit(lambda: [][3])
        assert isinstance(pending.exception(30), IndexError)
        with pytest.raises(IndexError, match="out of range"):
            pending.result()
        with pytest.raises(IndexError):
            pending.result()


@over_concurrent
def test_a_pending_result_makes_progress_while_nobody_waits(backend: str, tmp_path: Any) -> None:
    with mrpy.session(backend, workers=2):
        mark = tmp_path / "mark"
        pending = mrpy.submit(mark.write_text, "here")
        assert eventually(mark.exists, 20)
        assert eventually(pending.done, 20)


@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_waiting_has_a_bound_and_the_call_goes_on(backend: str, tmp_path: Any) -> None:
    mark = tmp_path / "go"

    def wait() -> str:
        while not os.path.exists(mark):
            time.sleep(0.005)
        return "went"

    with mrpy.session(backend, workers=1):
        pending = mrpy.submit(wait)
        with pytest.raises(TimeoutError, match=r"0\.05 seconds"):
            pending.result(0.05)
        with pytest.raises(TimeoutError):
            pending.exception(0)
        assert not pending.done()
        mark.touch()
        assert pending.result(30) == "went"


@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_a_call_is_cancelled_whether_it_runs_or_waits(backend: str, tmp_path: Any) -> None:
    def endless(mark: str) -> None:
        open(mark, "w").close()
        while True:
            time.sleep(0.005)

    with mrpy.session(backend, workers=1) as session:
        mark = tmp_path / "began"
        running = mrpy.submit(endless, str(mark))
        assert eventually(mark.exists, 20)
        waiting = mrpy.submit(abs, -1)
        assert waiting.cancel()
        assert running.cancel()
        assert running.done()
        for pending in (running, waiting):
            with pytest.raises(Cancelled):
                pending.result(0)
            assert pending.cancelled()
            assert pending.cancel()
            assert isinstance(pending.exception(), Cancelled)
        assert mrpy.submit(abs, -2).result(20) == 2
        assert eventually(lambda: is_clean(session))


@over_local
def test_callbacks_are_called_at_the_end_or_at_once(backend: str) -> None:
    with mrpy.session(backend, workers=2):
        told: list[Any] = []
        pending = mrpy.submit(abs, -5)
        pending.add_done_callback(lambda p: told.append(p.result()))
        assert pending.result(30) == 5
        assert eventually(lambda: told == [5])
        pending.add_done_callback(told.append)
        assert told == [5, pending]


@over_local
def test_another_thread_may_close_what_one_waits_for(backend: str, tmp_path: Path) -> None:
    def wait(n: int) -> int:
        (tmp_path / str(n)).touch()
        return when(tmp_path / "go", n) if n else n  # type: ignore[no-any-return]

    with mrpy.session(backend, workers=1) as session:
        run = mrpy.pmap(wait, range(4), chunksize=1)
        found = [next(run)]
        thread = threading.Thread(target=lambda: found.extend(run))
        thread.start()
        assert eventually(lambda: run._run().shared.blocks.gi_running and (tmp_path / "1").exists())
        try:
            run.close()
        finally:
            if backend == "serial":  # whose item nobody else can end
                (tmp_path / "go").touch()
            thread.join(20)
            (tmp_path / "go").touch()
        assert found == [0] and not thread.is_alive()
        assert next(run, None) is None
        assert eventually(lambda: backend == "serial" or is_clean(session))


@over_local
def test_an_error_of_a_callback_is_shown_whenever_it_is_called(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda hook: sys.excepthook(*hook[:3]))
    shown = []
    monkeypatch.setattr(sys, "excepthook", lambda *error: shown.append(error[1]))
    with mrpy.session(backend, workers=1):
        pending = mrpy.submit(abs, -5)
        pending.add_done_callback(fails)
        assert pending.result(30) == 5
        assert eventually(lambda: len(shown) == 1)
        pending.add_done_callback(fails)
    assert [type(error) for error in shown] == [LookupError] * 2


@over_local
def test_what_a_call_that_failed_was_given_goes_with_its_result(backend: str) -> None:
    class Thing:
        pass

    with mrpy.session(backend, workers=1):
        thing = Thing()
        there = weakref.ref(thing)
        gc.disable()
        try:
            pending = mrpy.submit(lambda thing: 1 // 0, thing)
            assert isinstance(pending.exception(30), ZeroDivisionError)
            del thing, pending
            assert eventually(lambda: there() is None)
        finally:
            gc.enable()


def test_a_pending_result_of_a_closed_session_says_so() -> None:
    with pytest.warns(RuntimeWarning, match="1 call of mrpy.submit"), mrpy.session("threads", workers=1):
        pending = mrpy.submit(threading.Event().wait, 5)
    with pytest.raises(SessionClosed):
        pending.result(20)


@over_concurrent
def test_pending_results_and_loops_share_the_workers(backend: str) -> None:
    with mrpy.session(backend, workers=2):
        several = [mrpy.submit(pow, n, 2) for n in range(20)]
        loop = mrpy.pmap(lambda x: -x, range(20), chunksize=1)
        assert [(p.result(30), x) for p, x in zip(several, loop, strict=True)] == [(n * n, -n) for n in range(20)]


def test_a_mapreduce_takes_over_a_run_that_has_not_begun() -> None:
    """Its items do not come here on their way."""
    inputs = mrpy.stream(range(100), backend="serial").map(str)
    pairs = mrpy.mapreduce(lambda text: (len(text), text), lambda key, texts: len(list(texts)), inputs)
    assert str(pairs).startswith("range(0, 100) -> map str -> map ")
    assert "backend   serial" in pairs.explain()
    assert sorted(pairs) == [(1, 10), (2, 90)]


class Falsy:
    """A function that is false, as is whatever holds nothing."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)

    def __len__(self) -> int:
        return 0


@over_local
def test_a_function_that_is_false_is_a_function(backend: str) -> None:
    key, add, items = Falsy(lambda item: -item % 5), Falsy(operator.add), [(7 * n) % 12 for n in range(40)]
    with mrpy.session(backend, workers=2):

        def run() -> Any:
            return mrpy.stream(items, chunksize=3)

        assert run().min(key=key) == min(items, key=key)
        assert run().max(key=key) == max(items, key=key)
        assert run().topk(7, key=key).to_list() == heapq.nlargest(7, items, key=key)
        assert run().sorted(key=key, reverse=True).to_list() == sorted(items, key=key, reverse=True)
        assert run().distinct(key).map(key).to_list() == [0, 3, 1, 4, 2]
        assert dict(run().count_by(key)) == Counter(map(key, items))
        assert dict(run().topk_by(key, 99, key)).keys() == dict(run().group_by(key)).keys() == set(range(5))
        assert run().reduce_by(key, add).map(Falsy(lambda pair: pair[1])).sum() == sum(items)
        assert run().reduce(add) == run().fold(add, 0, add) == sum(items)
        assert run().filter(key).map(key).to_list() == [key(item) for item in items if key(item)]
        assert run().take_while(Falsy(lambda item: item != 9)).count() == items.index(9)
        assert list(mrpy.pmap(Falsy(lambda n: 1 // n), [0, 1], on_error=Falsy(lambda _: "none"))) == ["none", 1]
        summed = Falsy(lambda _, values: sum(values))
        pairs = mrpy.mapreduce(Falsy(lambda n: (n % 3, n)), summed, items, summed, sort=True)
        assert sum(total for _, total in pairs) == sum(items)


class Descending:
    """A key that knows how it is ordered, and no more."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: Descending) -> bool:
        return bool(other.value < self.value)


@pytest.mark.parametrize("backend", LOCAL)
def test_the_first_of_equal_ones_are_the_largest_also_where_keys_know_their_order_only(backend: str) -> None:
    items = [("ab"[n % 3 == 0], n) for n in range(60)]
    run = mrpy.stream(items, backend=backend, workers=2)
    for count in (0, 1, 3, 50, 99):
        expected = sorted(items, key=lambda item: Descending(item[0]), reverse=True)[:count]
        assert run.topk(count, key=lambda item: Descending(item[0])).to_list() == expected
        [(_, found)] = run.topk_by(lambda item: 0, count, lambda item: Descending(item[0])) if count else [(0, [])]
        assert found == expected


def test_a_word_is_no_answer_to_a_question_of_yes_or_no(tmp_path: Any) -> None:
    rows: Any = mrpy.stream(["a"], backend="serial")
    out = tmp_path / "out"
    rows.to_text(out)
    for word in ("no", 0, None):
        with pytest.raises(OptionError, match=re.escape(f"overwrite={word!r}: must be True or False")):
            rows.to_text(out, overwrite=word)
        with pytest.raises(OptionError, match="overwrite"):
            rows.batch(1).to_sqlite(tmp_path / "db", "t", overwrite=word, fields=["a"])
        with pytest.raises(OptionError, match=re.escape(f"sort={word!r}: must be True or False")):
            mrpy.mapreduce(lambda x: (x, 1), lambda key, ones: 1, ["a"], sort=word)  # type: ignore[arg-type]
    rows.to_text(out, overwrite=np.True_)
    assert [*mrpy.mapreduce(lambda x: (x, 1), lambda key, ones: 1, ["b", "a"], sort=np.True_)] == [("a", 1), ("b", 1)]  # type: ignore[arg-type]


@pytest.mark.parametrize("verb", [mrpy.parallel, mrpy.stream])
def test_a_function_in_the_place_of_what_it_makes_is_said_to_be_one(verb: Any) -> None:
    def numbers() -> Any:
        yield 1

    with pytest.raises(TypeError, match=rf"{verb.__name__}\(\) needs something to iterate over, not the function"):
        verb(numbers)


@pytest.mark.parametrize(
    ("verb", "call"),
    {
        "parallel": lambda it: mrpy.parallel(it), "stream": lambda it: mrpy.stream(it),
        "pmap": lambda it: mrpy.pmap(abs, it), "pstarmap": lambda it: mrpy.pstarmap(abs, it),
        "pfilter": lambda it: mrpy.pfilter(None, it), "preduce": lambda it: mrpy.preduce(operator.add, it, [1]),
        "pfold": lambda it: mrpy.pfold(operator.add, it, 0), "mapreduce": lambda it: mrpy.mapreduce(abs, max, it),
        "gather": lambda it: mrpy.gather(it), "wait": lambda it: mrpy.wait(it), "as_completed": lambda it: mrpy.as_completed(it),
        "zip": lambda it: mrpy.stream([1]).zip([2], it), "chain": lambda it: mrpy.stream([1]).chain(it),
        "join": lambda it: mrpy.stream([1]).join(it, abs), "cogroup": lambda it: mrpy.stream([1]).cogroup(it, abs),
    }.items(),
)  # fmt: skip
def test_what_cannot_be_gone_through_is_named_with_the_verb(verb: str, call: Callable[[Any], Any]) -> None:
    for thing in (None, 5):
        with pytest.raises(TypeError, match=rf"^{verb}\(\) needs something to iterate over(, not|:).*{type(thing).__name__}") as raised:
            call(thing)
        assert "chunksize" not in str(raised.value), "it is in the place of the items"


class Awaited:
    """An iterator that is asynchronous, and nothing else."""

    def __aiter__(self) -> Any:
        return self


async def awaited() -> Any:
    yield 1


@pytest.mark.parametrize("make", [Awaited, awaited])
def test_what_is_asynchronous_is_named_with_the_verb_in_any_place(make: Any) -> None:
    calls: list[tuple[str, Callable[[Any], Any]]] = [
        ("pmap", lambda it: mrpy.pmap(abs, it)), ("pmap", lambda it: mrpy.pmap(max, [1, 2], it)), ("stream", mrpy.stream),
        ("gather", mrpy.gather), ("pfilter", lambda it: mrpy.pfilter(None, it)),
    ]  # fmt: skip
    for verb, call in calls:
        with pytest.raises(TypeError, match=rf"^{verb}\(\) needs something to iterate over, not {type(make()).__name__}"):
            call(make())
    with pytest.raises(TypeError, match=r"^parallel\(\) needs something|^an asynchronous generator cannot be run in parallel"):
        mrpy.parallel(make())


def test_a_backend_of_the_environment_that_is_none_is_said_to_be_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MRPY_BACKEND", "process")
    with pytest.raises(OptionError, match="the environment says MRPY_BACKEND='process'; must be one of .*did you mean 'processes'"):
        mrpy.pmap(abs, [1])

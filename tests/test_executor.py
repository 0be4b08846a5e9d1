"""The `Executor` of concurrent.futures over mrpy's workers."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
import weakref
from concurrent import futures
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from faults.watching import run_script
from laws import BACKENDS, CONCURRENT, LOCAL, eventually, fails, when

import mrpy
from mrpy.errors import OptionError, SerializationError, WorkerCrashed

over_backends = pytest.mark.parametrize("backend", BACKENDS)
over_concurrent = pytest.mark.parametrize("backend", CONCURRENT)


@over_backends
def test_it_does_what_an_executor_does(backend: str) -> None:
    called: list[Any] = []
    with mrpy.Executor(2, backend=backend) as executor:
        assert isinstance(executor, futures.Executor)
        several = [executor.submit(pow, 2, exp=n) for n in range(6)]
        assert all(isinstance(each, futures.Future) for each in several)
        assert [each.result(60) for each in several] == [1, 2, 4, 8, 16, 32]
        assert all(each.done() and not each.cancelled() and each.exception() is None for each in several)
        assert list(executor.map(pow, [2, 3], [3, 2])) == [8, 9]
        bad = executor.submit(fails, 3)
        assert isinstance(bad.exception(60), LookupError)
        with pytest.raises(LookupError, match="3"):
            bad.result()
        several.append(bad)
        for each in several:
            each.add_done_callback(called.append)
        assert futures.wait(several, 60).done == set(several)
        assert set(futures.as_completed(several, 60)) == set(several)
    assert set(called) == set(several), "all that is to be called back was"
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(abs, 1)


@over_backends
def test_its_map_sends_so_many_items_as_one_call(backend: str) -> None:
    with mrpy.Executor(2, backend=backend) as executor:
        threads = list(executor.map(lambda _: (os.getpid(), threading.get_ident()), range(8), chunksize=8))
        assert len(set(threads)) == 1
        for many in (1, 3, 7, 100):
            squares = executor.map(pow, range(7), iter([2] * 9), chunksize=many)
            assert [next(squares), *squares] == [n * n for n in range(7)]
        assert list(executor.map(pow, [], [], chunksize=2)) == []
        with pytest.raises(LookupError, match="4"):
            list(executor.map(fails, [4, 5], chunksize=2))
        with pytest.raises(ValueError, match="chunksize=0: must be at least 1"):
            executor.map(abs, [1], chunksize=0)
        with pytest.raises(TypeError, match="map"):
            executor.map(1, [1], chunksize=2)  # type: ignore[arg-type]


@over_backends
@pytest.mark.parametrize("chunksize", [1, 2, 3])
def test_options_are_about_each_item_of_a_map(backend: str, chunksize: int) -> None:
    def half(n: int) -> float:
        return 10 / n

    for instead in ("died", [0, 0], -1):
        with mrpy.Executor(2, backend=backend, on_error=lambda _, value=instead: value) as executor:
            assert list(executor.map(half, [1, 0, 5], chunksize=chunksize)) == [10, instead, 2]
    with mrpy.Executor(2, backend=backend, on_error="return") as executor:
        one, error, two = executor.map(half, [1, 0, 5], chunksize=chunksize)
        assert (one, type(error), two) == (10, ZeroDivisionError, 2)


def test_a_call_of_a_map_has_the_name_of_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    with mrpy.Executor(2, backend="threads") as executor:
        for chunksize in (1, 2):
            names = []
            submit = executor.submit
            monkeypatch.setattr(executor, "submit", lambda *call: names.append(submit(*call)) or names[-1])
            assert list(executor.map(fails, [], chunksize=chunksize)) == []
            assert list(executor.map(abs, [-1, -2], chunksize=chunksize)) == [1, 2]
            assert {each.pending._name for each in names} == {"abs"}
            monkeypatch.undo()


@pytest.mark.parametrize("name, value", [
    ("chunksize", 5), ("buffersize", 5), ("ordered", False), ("progress", True), ("check", True), ("checkpoint", "f"),
])  # fmt: skip
def test_what_is_not_for_single_calls_is_refused(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"{name}= is not for single calls"):
        mrpy.Executor(**{name: value})


def test_it_has_the_workers_of_its_session_in_a_thread_that_was_there_before(backend: str = "threads") -> None:
    box: list[Any] = []
    go = threading.Event()

    def asks() -> None:
        go.wait(60)
        box.append(box.pop().submit(threading.get_ident).result(60))

    beside = threading.Thread(target=asks)
    beside.start()
    with mrpy.session(backend, workers=1):
        mine = mrpy.submit(threading.get_ident).result()
        box.append(mrpy.Executor())
        go.set()
        beside.join(60)
    assert box == [mine]


@pytest.mark.fault(14)
@pytest.mark.parametrize("backend", ["threads", "processes"])
@pytest.mark.parametrize("where", ["inside", "behind", "without"])
def test_ctrl_c_does_not_wait_for_its_calls(backend: str, where: str) -> None:
    began = time.monotonic()
    done = run_script(
        f"""
        import mrpy, os, signal, threading, time
        def interrupt():
            time.sleep(0.5)
            print("now", flush=True)
            os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=interrupt, daemon=True).start()
        if {where!r} == "without":
            executor = mrpy.Executor(2, backend={backend!r})
            calls = [executor.submit(time.sleep, 60) for _ in range(5)]
            calls[0].result()
        else:
            with mrpy.Executor(2, backend={backend!r}) as executor:
                calls = [executor.submit(time.sleep, 60) for _ in range(5)]
                if {where!r} == "inside":
                    calls[0].result()
        """
    )
    assert time.monotonic() - began < 40, "it stops them, which takes 60 seconds each"
    assert done.stdout == "now\n"
    assert done.stderr.strip().endswith("KeyboardInterrupt"), done.stderr


@pytest.mark.fault(14)
@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_a_signal_amid_a_call_loses_no_future(backend: str) -> None:
    done = run_script(
        f"""
        import mrpy, random, signal, time
        class Stop(Exception): pass
        def handler(*_): raise Stop
        signal.signal(signal.SIGALRM, handler)
        executor = mrpy.Executor(2, backend={backend!r})
        executor.submit(int, "1").result()
        end = time.monotonic() + 3
        while time.monotonic() < end:
            try:
                try:
                    signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0001, 0.003), 0.05)
                    while True:
                        executor.submit(int, "2")
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except Stop:
                pass
        signal.signal(signal.SIGALRM, signal.SIG_IGN)  # one may have been put off
        executor.shutdown()
        print("all have ended")
        """
    )
    assert done.stdout == "all have ended\n", done.stderr


@over_concurrent
def test_what_is_not_asked_for_of_a_map_is_cancelled(backend: str, tmp_path: Path) -> None:
    with mrpy.Executor(2, backend=backend) as executor:
        for many in (1, 2):
            paths = [tmp_path / "now"] * many + [tmp_path / "never"]
            calls = executor.map(when, paths, chunksize=many, timeout=60)
            (tmp_path / "now").touch()
            next(calls)
            calls.close()  # type: ignore[attr-defined]
        chunks = executor.map(when, [tmp_path / "now", tmp_path / "never"], chunksize=2, timeout=0.1)
        with pytest.raises(futures.TimeoutError):
            next(chunks)
    # and here it does not wait for what never comes


@over_concurrent
def test_the_end_of_its_block_waits_for_its_calls_and_what_they_call(backend: str, tmp_path: Path) -> None:
    called = []

    def slowly(future: futures.Future[str]) -> None:
        time.sleep(0.1)
        called.append(future.result())

    threading.Timer(0.2, (tmp_path / "now").touch).start()
    with mrpy.Executor(2, backend=backend) as executor:
        executor.submit(when, tmp_path / "now", "there").add_done_callback(slowly)
    assert called == ["there"]


@over_concurrent
def test_what_is_cancelled_stops_even_where_it_runs(backend: str, tmp_path: Path) -> None:
    with mrpy.Executor(1, backend=backend) as executor:
        several = [executor.submit(when, tmp_path / "never") for _ in range(3)]
        time.sleep(0.1)
        heard: list[Any] = []
        several[0].add_done_callback(heard.append)
        assert all(each.cancel() for each in several)
        assert all(each.cancelled() and each.done() for each in several)
        for ask in (several[0].result, several[1].exception):
            with pytest.raises(futures.CancelledError):
                ask(60)
        assert futures.wait(several, 60).not_done == set()
        assert eventually(lambda: heard == [several[0]])
        assert executor.submit(abs, -1).result(60) == 1
        done = executor.submit(abs, -1)
        assert (done.result(60), done.cancel(), done.cancelled()) == (1, False, False)


@over_concurrent
def test_a_future_says_whether_it_runs(backend: str, tmp_path: Path) -> None:
    with mrpy.Executor(1, backend=backend) as executor:
        first, *_, last = [executor.submit(when, tmp_path / "now", number) for number in range(20)]
        assert eventually(first.running)
        assert not last.running()
        (tmp_path / "now").touch()
        assert last.result(60) == 19
        assert not first.running() and not last.running()


@over_concurrent
def test_shutdown_may_wait_or_not_or_cancel(backend: str, tmp_path: Path) -> None:
    executor = mrpy.Executor(1, backend=backend)
    late = executor.submit(when, tmp_path / "now", 1)
    executor.shutdown(wait=False)
    assert not late.done()
    (tmp_path / "now").touch()
    assert late.result(60) == 1
    executor = mrpy.Executor(1, backend=backend)
    late = executor.submit(when, tmp_path / "never")
    executor.shutdown(cancel_futures=True)
    assert late.cancelled()


def test_a_call_cannot_wait_for_its_own_executor() -> None:
    executor, others = mrpy.Executor(2, backend="threads"), mrpy.Executor(2, backend="threads")
    before = others.submit(abs, -1)

    def shuts(executor: mrpy.Executor, **how: Any) -> str:
        executor.shutdown(**how)
        return "shut"

    for how in ({}, {"cancel_futures": True}):
        own = executor.submit(shuts, executor, **how)
        try:
            with pytest.raises((RuntimeError, futures.CancelledError), match="for itself" if not how else None):
                own.result(60)
        finally:
            own.cancel()
        with pytest.raises(RuntimeError, match="after shutdown"):
            executor.submit(abs, 1)
        executor = mrpy.Executor(2, backend="threads")
    assert executor.submit(shuts, others).result(60) == "shut" and before.done()
    assert executor.submit(shuts, executor, wait=False).result(60) == "shut"
    executor.shutdown()


@over_concurrent
def test_a_timeout_is_that_of_futures(backend: str, tmp_path: Path) -> None:
    with mrpy.Executor(1, backend=backend) as executor:
        late = executor.submit(when, tmp_path / "now")
        for ask in (late.result, late.exception):
            with pytest.raises(futures.TimeoutError):
                ask(0.05)
        with pytest.raises(futures.TimeoutError):
            list(executor.map(when, [tmp_path / "now"], timeout=0.05))
        (tmp_path / "now").touch()


@over_concurrent
@pytest.mark.parametrize("chunksize", [1, 2])
def test_a_map_whose_time_is_over_says_so_in_its_own_words(backend: str, chunksize: int, tmp_path: Path) -> None:
    with mrpy.Executor(2, backend=backend) as executor:
        (tmp_path / "now").touch()
        paths = [tmp_path / name for name in ("now", "now", "never", "never", "now", "now")]
        calls = executor.map(when, paths, range(6), timeout=5 if backend == "dask" else 1.5, chunksize=chunksize)
        first = list(islice(calls, 2))
        raised = pytest.raises(TimeoutError, next, calls)
        executor.shutdown(cancel_futures=True)  # whatever comes of this
        assert first == [0, 1] and list(calls) == []
        assert raised.match(r"of (3 chunks|6 calls) have not ended after (1\.5|5) seconds; they are cancelled")


@over_concurrent
def test_a_timeout_that_a_call_of_a_map_raises_is_its_own(backend: str) -> None:
    def raises(text: str) -> None:
        raise TimeoutError(text)

    with mrpy.Executor(2, backend=backend) as executor:
        with pytest.raises(TimeoutError, match="^of the call$"):
            list(executor.map(raises, ["of the call"], timeout=60))


def test_a_map_with_a_timeout_gives_what_has_ended_however_late() -> None:
    with mrpy.Executor(backend="serial") as executor:
        calls = executor.map(abs, [-1, -2, -3], timeout=0.001)
        time.sleep(0.01)
        assert list(calls) == [1, 2, 3]


@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_asyncio_runs_calls_in_it(backend: str, tmp_path: Path) -> None:
    async def several() -> list[int]:
        loop = asyncio.get_running_loop()
        late = asyncio.ensure_future(loop.run_in_executor(executor, when, tmp_path / "never"))
        answers = await asyncio.gather(*(loop.run_in_executor(executor, pow, 2, n) for n in range(5)))
        late.cancel()
        return list(answers)

    with mrpy.Executor(2, backend=backend) as executor:
        assert asyncio.run(asyncio.wait_for(several(), 60)) == [1, 2, 4, 8, 16]


def test_dask_computes_on_it() -> None:
    bag = pytest.importorskip("dask.bag")
    with mrpy.Executor(2) as executor:
        doubled = bag.range(10, npartitions=3).map(lambda x: 2 * x)
        assert doubled.compute(scheduler=executor) == list(range(0, 20, 2))


@pytest.mark.fault(1)
def test_a_worker_that_dies_breaks_nothing() -> None:
    with mrpy.Executor(2) as executor:
        bad = executor.submit(lambda: os.kill(os.getpid(), signal.SIGKILL))
        several = [executor.submit(abs, -n) for n in range(5)]
        assert isinstance(bad.exception(60), WorkerCrashed)
        assert [each.result(60) for each in several] == list(range(5))


def test_what_does_not_open_is_the_error_of_its_future_alone() -> None:
    class Closed:
        def __reduce__(self) -> Any:
            return fails, (5,)

    with mrpy.Executor(2) as executor:
        several = [executor.submit(Closed), executor.submit(abs, -1)]
        assert futures.wait(several, 60).not_done == set()
        assert several[0].exception() is not None and several[1].result() == 1


def test_its_options_are_those_of_a_call() -> None:
    with mrpy.Executor(backend="threads", workers=1, on_error="return") as executor:
        assert isinstance(executor.submit(fails, 1).result(60), LookupError)
    with pytest.raises(OptionError, match="it is called workers= here"):
        mrpy.Executor(max_workers=2)
    with pytest.raises(TypeError, match="needs a function first, not int 3"):
        mrpy.Executor().submit(3)


def test_in_the_block_of_a_session_it_has_its_workers() -> None:
    with mrpy.session("processes", workers=1), mrpy.Executor() as executor:
        assert executor.submit(os.getpid).result(60) == mrpy.submit(os.getpid).result(60)


@over_concurrent
def test_it_keeps_its_workers_in_the_block_of_another_session(backend: str) -> None:
    executor = mrpy.Executor(1, backend=backend)
    whose = threading.get_ident if backend == "threads" else os.getpid
    mine = executor.submit(whose).result(60)
    with mrpy.session(backend, workers=1):
        assert executor.submit(whose).result(60) == mine
        late = executor.submit(time.sleep, 0.3)
    assert late.exception(60) is None, "it does not end with that"
    with mrpy.session(backend, workers=1):
        executor = mrpy.Executor()
    assert executor.submit(whose).result(60) == mine


@over_backends
def test_a_session_s_executor_works_in_tasks_of_that_session(backend: str) -> None:
    with mrpy.session(backend, workers=1), mrpy.Executor() as executor:
        if backend in ("serial", "threads"):  # elsewhere it cannot be sent
            ask = lambda n: executor.submit(abs, n).result(60)  # noqa: E731
            assert mrpy.pmap(ask, [-1, -2]).to_list() == [1, 2]


@pytest.mark.fault(9)
@pytest.mark.parametrize("backend", ["processes", "dask"])
def test_what_cannot_travel_is_said_by_the_future_of_that_call(backend: str) -> None:
    lock = threading.Lock()
    with mrpy.Executor(2, backend=backend) as executor:
        values = executor.map(type, [1, 2, lock])
        assert [next(values), next(values)] == [int, int]
        with pytest.raises(SerializationError, match="lock"):
            next(values)
        assert isinstance(executor.submit(lambda: lock).exception(60), SerializationError)
    with mrpy.Executor(2, backend=backend, on_error="return") as executor:
        assert isinstance(executor.submit(type, lock).result(60), SerializationError)
    with mrpy.session(backend, workers=1):
        pending = mrpy.submit(type, lock)
        assert pending.done() and not pending.cancel() and mrpy.wait([pending]).done == {pending}
        with pytest.raises(SerializationError, match="lock"):
            pending.result(60)


@pytest.mark.fault(9)
def test_what_cannot_travel_is_let_go_of_with_its_result() -> None:
    class Held:
        def __init__(self) -> None:
            self.lock = threading.Lock()

    gc.disable()  # it is not to be needed
    try:
        with mrpy.session("processes", workers=1):
            there = []
            for _ in range(3):
                held = Held()
                there.append(weakref.ref(held))
                with pytest.raises(SerializationError):
                    mrpy.submit(id, held).result()
            del held
            assert eventually(lambda: [each() for each in there] == [None] * 3)
    finally:
        gc.enable()


@pytest.mark.parametrize("backend", LOCAL)
def test_it_works_inside_a_task(backend: str) -> None:
    def inner(n: int) -> list[int]:
        with mrpy.Executor() as executor:
            return list(executor.map(pow, [n] * 3, range(3)))

    with mrpy.session(backend, workers=2):
        assert list(mrpy.pmap(inner, range(4))) == [[n**k for k in range(3)] for n in range(4)]


@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_a_callback_may_shut_it_down(backend: str) -> None:
    executor = mrpy.Executor(1, backend=backend)
    shut = threading.Event()
    late = executor.submit(time.sleep, 0.1)
    late.add_done_callback(lambda _: (executor.shutdown(), shut.set()))
    assert shut.wait(60)


@pytest.mark.fault(22)
@pytest.mark.parametrize("backend", ["threads", "processes", "dask"])
def test_at_the_end_of_the_program_what_is_under_way_is_waited_for(backend: str) -> None:
    done = run_script(
        f"""
        import mrpy, time
        executor = mrpy.Executor(2, backend={backend!r})
        for n in range(3):
            executor.submit(lambda n: (time.sleep(0.2), n)[1], n).add_done_callback(lambda f: print(f" {{f.result()}}", end="", flush=True))
        """
    )
    assert sorted(done.stdout.split()) == ["0", "1", "2"], done.stderr


@pytest.mark.fault(22)
def test_a_call_on_dask_may_come_when_the_main_thread_has_ended() -> None:
    done = run_script(
        """
        import mrpy, threading, time
        session = mrpy.session("dask", workers=1)
        session.__enter__()
        executor = mrpy.Executor()
        executor.submit(abs, -1).result()
        def late():
            threading.main_thread().join()
            time.sleep(1)
            print(executor.submit(abs, -2).result())
        threading.Thread(target=late).start()
        """
    )
    assert (done.stdout, done.stderr) == ("2\n", "")


@pytest.mark.fault(16)
@pytest.mark.parametrize("when", ["atexit.register", "outlive"])
def test_the_first_one_may_be_made_when_the_main_thread_has_ended(when: str) -> None:
    done = run_script(
        f"""
        import atexit, mrpy, threading
        def outlive(run):
            threading.Thread(target=lambda: (threading.main_thread().join(), run())).start()
        def run():
            with mrpy.Executor(workers=2) as executor:
                print(list(executor.map(abs, [-1, -2])))
        {when}(run)
        """
    )
    assert (done.stdout, done.stderr) == ("[1, 2]\n", "")


@pytest.mark.fault(23)
def test_a_forked_child_may_have_one_of_its_own() -> None:
    done = run_script(
        """
        import mrpy, os, time
        executor = mrpy.Executor(1)
        late = executor.submit(time.sleep, 0.3)
        if os.fork() == 0:
            with mrpy.Executor(1) as own:
                print(own.submit(abs, -3).result(20), flush=True)
        else:
            os.wait()
            print(late.result(20))
        """
    )
    assert (done.stdout, done.stderr) == ("3\nNone\n", "")


@over_concurrent
def test_a_callback_that_takes_long_holds_up_no_other_future(backend: str) -> None:
    go, called = threading.Event(), list[int]()

    def waits(_: Any) -> None:
        go.wait(60)
        called.append(threading.get_ident())

    with mrpy.Executor(2, backend=backend) as executor:
        first = executor.submit(abs, -1)
        first.add_done_callback(waits)
        first.add_done_callback(waits)
        others = [executor.submit(abs, n) for n in range(20)]
        assert futures.wait(others, 60).done == set(others)
        assert [each.result() for each in futures.as_completed(others, 60)] and called == []
        go.set()
    assert len(called) == 2, "and the end of the block has waited for both"
    assert first.result() == 1


def test_many_futures_do_not_take_a_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    started, start = list[str](), threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda self: (started.append(self.name), start(self)))
    with mrpy.Executor(2, backend="threads") as executor:
        mine = [executor.submit(abs, n) for n in range(300)]
        assert futures.wait(mine, 60).done == set(mine)
    assert len(started) < 100, started


def test_futures_that_have_ended_are_let_go() -> None:
    executor = mrpy.Executor(backend="threads", workers=1)
    for n in range(20):
        executor.submit(abs, n).result(60)
    assert eventually(lambda: not executor._calls())


@pytest.mark.fault(22)
def test_calls_of_an_executor_that_was_dropped_are_waited_for() -> None:
    done = run_script(
        """
        import mrpy, time
        def slowly():
            time.sleep(0.3)
            print("done", flush=True)
        def go():
            mrpy.Executor(1, backend="threads").submit(slowly)
        go()
        """
    )
    assert done.stdout == "done\n", done.stderr


@pytest.mark.fault(22)
@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_a_call_that_nobody_would_wait_for_is_refused(backend: str) -> None:
    done = run_script(
        f"""
        import atexit
        @atexit.register  # before mrpy is imported: it is called behind all of its own
        def last():
            try:
                executor.submit(print, "done", flush=True)
            except RuntimeError as error:
                print(error, flush=True)
        import mrpy
        executor = mrpy.Executor(1, backend={backend!r})
        executor.submit(int).result()
        """
    )
    assert done.stdout == "cannot schedule new futures after shutdown\n", done.stderr


def test_a_call_that_comes_amid_a_shutdown_is_refused_or_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from mrpy.iterators import executor as module

    executor = mrpy.Executor(1, backend="threads")
    begun, shut = threading.Event(), threading.Event()
    made = module.PendingResult
    monkeypatch.setattr(module, "PendingResult", lambda *given: (begun.set(), shut.wait(20), made(*given))[2])
    refused: list[BaseException] = []

    def submits() -> None:
        try:
            executor.submit(time.sleep, 0.1)
        except RuntimeError as error:
            refused.append(error)

    thread = threading.Thread(target=submits)
    thread.start()
    assert begun.wait(20)
    executor.shutdown()
    shut.set()
    thread.join(20)
    assert len(refused) == 1 and eventually(lambda: not executor._calls())

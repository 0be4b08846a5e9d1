"""Law 4: the user's exception arrives with its own type, at its own item's place, on every backend.

The functions that raise are local, so that they travel by value and no worker has to import this file.
"""

from __future__ import annotations

import contextlib
import csv
import inspect
import itertools
import multiprocessing
import operator
import os
import pickle
import queue
import signal
import socket
import sqlite3
import subprocess
import sys
import tarfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from laws import BACKENDS, HAS_DASK, LOCAL, with_chunks

import mrpy
from mrpy.errors import ItemTimeout, MrpyError, OptionError, RemoteError, SerializationError

over_backends = pytest.mark.parametrize("backend", BACKENDS)
over_remote = pytest.mark.parametrize("backend", ["processes", *(["dask"] if HAS_DASK else [])])
over_chunks = pytest.mark.parametrize(("backend", "chunksize"), with_chunks(1, "auto", 4))


def drain(loop: Any) -> tuple[list[Any], BaseException | None]:
    """What a loop gave, and what ended it."""
    got: list[Any] = []
    try:
        for item in loop:
            got.append(item)  # noqa: PERF402 - what came before the error is the point
    except BaseException as error:  # noqa: BLE001
        return got, error
    return got, None


def text(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def assert_usable(backend: str) -> None:
    assert list(mrpy.pmap(lambda x: x + 1, range(5), backend=backend, workers=2)) == [1, 2, 3, 4, 5]


# ---- the exception itself ------------------------------------------------------------------------------

RUNS: dict[str, Callable[..., Any]] = {
    "parallel": lambda f, xs, o: mrpy.parallel((f(x) for x in xs), **o),
    "pmap": lambda f, xs, o: mrpy.pmap(f, xs, **o),
    "pstarmap": lambda f, xs, o: mrpy.pstarmap(f, [(x,) for x in xs], **o),
    "flat_map": lambda f, xs, o: mrpy.stream(xs, **o).flat_map(lambda x: [f(x)]),
    "filter": lambda f, xs, o: mrpy.stream(xs, **o).filter(lambda x: f(x) or True),
    "chained": lambda f, xs, o: mrpy.stream(xs, **o).map(lambda x: x).filter(lambda x: True).map(f),
}


@over_chunks
@pytest.mark.parametrize("run", RUNS)
def test_an_exception_arrives_at_its_item(run: str, backend: str, chunksize: Any) -> None:
    def check(x: int) -> int:
        if x == 7:
            raise LookupError("no", x)  # this very line
        return x

    got, error = drain(RUNS[run](check, range(20), {"backend": backend, "workers": 2, "chunksize": chunksize}))
    assert got == list(range(7))
    assert type(error) is LookupError
    assert error.args == ("no", 7)
    assert error.mrpy_item.position == 7  # type: ignore[attr-defined]
    assert error.mrpy_item.text in ("7", "(7,)")  # type: ignore[attr-defined]
    assert [note for note in error.__notes__ if "item 7: " in note]
    assert "this very line" in text(error)
    assert_usable(backend)


@over_backends
def test_unordered_the_exception_arrives_too(backend: str) -> None:
    got, error = drain(
        mrpy.pmap(lambda x: 1 // (x - 7), range(20), ordered=False, chunksize=2, backend=backend, workers=2)
    )
    assert type(error) is ZeroDivisionError
    assert error.mrpy_item.position == 7  # type: ignore[attr-defined]


@over_remote
def test_the_cause_is_the_remote_traceback(backend: str) -> None:
    def raises(x: int) -> None:
        try:
            {}[x]
        except KeyError as inner:
            raise ValueError("outer") from inner  # remote line

    _, error = drain(mrpy.pmap(raises, [5], backend=backend, workers=2))
    assert type(error) is ValueError
    cause = str(error.__cause__)
    assert "remote line" in cause
    assert "KeyError: 5" in cause
    assert "kernels.py" not in cause.split("remote line")[1]


ENDS: dict[str, Callable[[Any], object]] = {
    "loop": lambda f: list(mrpy.pmap(f, [0])),
    "sum": lambda f: mrpy.pmap(f, [0]).sum(),
    "result": lambda f: mrpy.submit(f, 0).result(),
    "gather": lambda f: mrpy.gather([mrpy.submit(f, 0)]),
    "Executor": lambda f: mrpy.Executor().submit(f, 0).result(),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("backend", LOCAL)
def test_the_frames_of_a_traceback_have_their_arguments(backend: str, end: str) -> None:
    """Where one is gone IPython says that it failed to resolve them."""
    with mrpy.session(backend, workers=1), pytest.raises(ZeroDivisionError) as caught:
        ENDS[end](lambda x: 1 // x)
    for frame, _ in traceback.walk_tb(caught.value.__traceback__):
        given = inspect.getargvalues(frame)
        assert [name for name in given.args if name not in given.locals] == [], frame


@over_chunks
def test_after_the_error_the_loop_is_over(backend: str, chunksize: Any) -> None:
    loop = mrpy.pmap(lambda x: 1 // x, [1, 0, 1], backend=backend, workers=2, chunksize=chunksize)
    assert next(loop) == 1
    with pytest.raises(ZeroDivisionError):
        next(loop)
    assert list(loop) == []


@over_backends
def test_a_reduction_raises_the_first_error_with_its_item(backend: str) -> None:
    def positive(x: int) -> int:
        if x in (150, 290):
            raise ValueError(x)
        return x

    for chunksize in ("auto", 3):
        with pytest.raises(ValueError, match="150") as caught:
            where = {"backend": backend, "workers": 2, "chunksize": chunksize}
            mrpy.preduce(operator.add, (positive(x) for x in range(300)), **where)
        assert caught.value.mrpy_item.position == 150  # type: ignore[attr-defined]


@over_backends
@pytest.mark.parametrize("where", ["mapper", "reducer", "combiner", "key"])
def test_mapreduce_raises_what_its_functions_raise(backend: str, where: str) -> None:
    def mapper(x: int) -> Any:
        if where == "mapper" and x == 7:
            raise LookupError("mapper")
        return ([] if where == "key" and x == 7 else x % 3), x

    def reducer(key: int, values: Any) -> int:
        if where == "reducer" and key == 2:
            raise LookupError("reducer")
        return sum(values)

    def combiner(key: int, values: Any) -> int:
        if where == "combiner":
            raise LookupError("combiner")
        return sum(values)

    _, error = drain(mrpy.mapreduce(mapper, reducer, range(300), combiner, backend=backend, workers=2))
    if where == "key":
        assert type(error) is TypeError
        assert "hash" in str(error)
    else:
        assert type(error) is LookupError
        assert error.args == (where,)
    assert_usable(backend)


@over_backends
@pytest.mark.parametrize("result", [None, 3, ["ab", "c"], [(1, 2, 3)]], ids=repr)
def test_a_mapper_that_gives_no_pairs_is_a_clear_error(backend: str, result: Any) -> None:
    _, error = drain(mrpy.mapreduce(lambda x: result, lambda k, v: k, range(3), backend=backend, workers=2))
    if result == ["ab", "c"]:
        assert isinstance(error, TypeError | ValueError)
    else:
        assert isinstance(error, TypeError)


# ---- a source that raises --------------------------------------------------------------------------------


@over_chunks
@pytest.mark.parametrize("ordered", [True, False])
def test_what_a_source_gave_before_it_raised_is_delivered(backend: str, chunksize: Any, ordered: bool) -> None:
    def source() -> Iterator[int]:
        yield from range(10)
        raise OSError("disk")

    got, error = drain(
        mrpy.pmap(lambda x: -x, source(), backend=backend, workers=2, chunksize=chunksize, ordered=ordered)
    )
    assert sorted(got) == [-x for x in reversed(range(10))]
    assert type(error) is OSError
    for run in (
        lambda: mrpy.preduce(operator.add, source(), backend=backend, workers=2),
        lambda: list(mrpy.mapreduce(lambda x: (x, x), lambda k, v: k, source(), backend=backend, workers=2)),
        lambda: list(mrpy.stream(source(), backend=backend)),
    ):
        with pytest.raises(OSError, match="disk"):
            run()


@over_backends
def test_a_source_may_raise_at_once(backend: str) -> None:
    got, error = drain(mrpy.pmap(abs, (1 // x for x in iter([0])), backend=backend, workers=2))
    assert got == []
    assert type(error) is ZeroDivisionError


# ---- on_error ---------------------------------------------------------------------------------------------


@over_chunks
@pytest.mark.parametrize("careful", [{}, {"retries": 1}], ids=["fast", "careful"])
def test_on_error_decides_what_stands_in_the_place(backend: str, chunksize: Any, careful: Any) -> None:
    def run(on_error: Any) -> list[Any]:
        options = {"backend": backend, "workers": 2, "chunksize": chunksize, **careful}
        return list(mrpy.parallel((12 // x for x in [3, 0, 4, 0]), on_error=on_error, **options))

    assert run("skip") == [4, 3]
    assert run(lambda error: type(error).__name__) == [4, "ZeroDivisionError", 3, "ZeroDivisionError"]
    assert run(lambda error: error.mrpy_item.position) == [4, 1, 3, 3]
    four, first, three, second = run("return")
    assert (four, three) == (4, 3)
    assert type(first) is type(second) is ZeroDivisionError
    assert (first.mrpy_item.position, second.mrpy_item.position) == (1, 3)


@over_chunks
@pytest.mark.parametrize("careful", [{}, {"retries": 1}], ids=["fast", "careful"])
def test_one_object_that_several_items_raise_says_the_item_of_each_time(
    backend: str, chunksize: Any, careful: Any
) -> None:
    kept = ValueError("the same each time")  # as a future of `concurrent.futures` that failed keeps its own

    def raises(n: int) -> int:
        if n % 3 == 0:
            raise kept
        return n

    def place(error: Any) -> int:
        assert error.__notes__ == [f"mrpy: raised at {error.mrpy_item}"]
        return -int(error.mrpy_item.position)

    options = {"backend": backend, "workers": 1, "chunksize": chunksize, **careful}
    assert list(mrpy.pmap(raises, [3, 1, 6, 2, 9], on_error=place, **options)) == [0, 1, -2, 2, -4]
    for items, position in (([1, 3], 1), ([3, 1], 0), ([1, 2, 4, 3], 3)):
        with pytest.raises(ValueError, match="the same") as caught:
            list(mrpy.pmap(raises, items, **options))
        assert -place(caught.value) == position
    nested = mrpy.pmap(lambda n: list(mrpy.pmap(raises, [1, 2, n])), [4, 3], on_error="return", **options)
    assert place(list(nested)[1]) == -2, "the innermost item still wins"


@over_chunks
def test_a_callable_that_raises_is_the_error(backend: str, chunksize: Any) -> None:
    def worse(error: BaseException) -> Any:
        raise ValueError(f"instead of {type(error).__name__}")

    where = {"backend": backend, "workers": 2, "chunksize": chunksize}
    got, error = drain(mrpy.parallel((12 // x for x in [3, 4, 0, 6]), on_error=worse, **where))
    assert got == [4, 3]
    assert isinstance(error, ValueError)
    assert str(error) == "instead of ZeroDivisionError"
    assert error.mrpy_item.position == 2  # type: ignore[attr-defined]


@over_backends
def test_on_error_holds_in_a_reduction(backend: str) -> None:
    def run(on_error: Any) -> Any:
        items = (12 // x for x in [3, 0, 4, 0])
        return mrpy.preduce(operator.add, items, on_error=on_error, backend=backend, workers=2)

    assert run("skip") == 7
    assert run(lambda error: 100) == 207
    with pytest.raises(OptionError, match="return"):
        run("return")


@over_backends
def test_a_source_that_raises_is_no_item(backend: str) -> None:
    def source() -> Iterator[int]:
        yield 1
        raise OSError("disk")

    got, error = drain(mrpy.pmap(lambda x: x, source(), on_error="skip", backend=backend, workers=2))
    assert (got, type(error)) == ([1], OSError)


# ---- retries ---------------------------------------------------------------------------------------------


@over_chunks
@pytest.mark.parametrize(("failures", "fine"), [(2, True), (3, False)])
def test_an_item_is_retried_as_often_as_was_asked(
    backend: str, chunksize: Any, failures: int, fine: bool, tmp_path: Path
) -> None:
    folder = str(tmp_path)

    def flaky(x: int) -> int:
        with open(f"{folder}/{x}", "a+") as log:
            log.write("x")
            log.seek(0)
            if x == 2 and len(log.read()) <= failures:
                raise ConnectionError(x)
        return x

    got, error = drain(
        mrpy.pmap(flaky, range(4), retries=2, backend=backend, workers=2, chunksize=chunksize)
    )
    assert got == ([0, 1, 2, 3] if fine else [0, 1])
    assert fine or type(error) is ConnectionError
    assert (tmp_path / "2").read_text() == "xxx"
    assert (tmp_path / "1").read_text() == "x"


@over_backends
def test_without_retries_nothing_is_run_twice(backend: str, tmp_path: Path) -> None:
    folder = str(tmp_path)

    def once(x: int) -> int:
        with open(f"{folder}/{x}", "a") as log:
            log.write("x")
        return 1 // x

    drain(mrpy.pmap(once, range(-2, 3), on_error="return", backend=backend, workers=2))
    assert [(tmp_path / str(x)).read_text() for x in range(-2, 3)] == ["x"] * 5


@pytest.mark.parametrize("backend", LOCAL)
def test_submit_retries(backend: str, tmp_path: Path) -> None:
    log = str(tmp_path / "log")

    def flaky() -> int:
        with open(log, "a+") as file:
            file.write("x")
            if file.tell() < 3:
                raise ConnectionError
        return 5

    with mrpy.session(backend, workers=2, retries=2):
        assert mrpy.submit(flaky).result(30) == 5


# ---- rows 5 to 8 of the faults: odd exceptions --------------------------------------------------------------


def odd_ones() -> dict[str, Callable[[int], Any]]:
    class Custom(BaseException):
        pass

    class TwoArguments(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(f"{one} and {two}")

    class Unprintable(Exception):
        def __str__(self) -> str:
            raise ZeroDivisionError

        __repr__ = __str__

    class Unpicklable(Exception):
        def __init__(self) -> None:
            super().__init__("locked")
            self.lock = threading.Lock()

    class Frozen(Exception):
        def __setattr__(self, name: str, value: Any) -> None:
            raise AttributeError(name)

    def raising(make: Callable[[], BaseException]) -> Callable[[int], int]:
        def check(x: int) -> int:
            if x == 3:
                raise make()
            return x

        return check

    def recursion(x: int) -> int:
        return recursion(x) + 1 if x == 3 else x

    return {
        "SystemExit": raising(lambda: SystemExit(3)),
        "GeneratorExit": raising(GeneratorExit),
        "KeyboardInterrupt": raising(KeyboardInterrupt),
        "Custom": raising(Custom),
        "StopIteration": raising(lambda: StopIteration(5)),
        "StopAsyncIteration": raising(StopAsyncIteration),
        "RecursionError": recursion,
        "MemoryError": lambda x: x if x != 3 else [0] * (1 << 60),
        "TwoArguments": raising(lambda: TwoArguments(1, 2)),
        "Unprintable": raising(Unprintable),
        "Unpicklable": raising(Unpicklable),
        "Frozen": raising(Frozen),
        "ExceptionGroup": raising(lambda: ExceptionGroup("some", [ValueError(1)])),
        "AssertionError": raising(AssertionError),
    }


ODD = odd_ones()
BY_VALUE = {"TwoArguments", "Unpicklable"}  # may arrive as a RemoteError that carries name and text


@pytest.mark.parametrize(("backend", "chunksize"), with_chunks(1, 6))
@pytest.mark.parametrize("name", ODD)
def test_an_odd_exception_is_an_error_at_its_item(name: str, backend: str, chunksize: int) -> None:
    if name == "KeyboardInterrupt" and backend == "serial":
        pytest.skip("in the user's own thread it is his own Ctrl-C")
    where = {"backend": backend, "workers": 2, "chunksize": chunksize}
    expected = "RuntimeError" if name == "StopIteration" else name
    for loop in (
        mrpy.pmap(ODD[name], range(6), **where),
        mrpy.pfilter(lambda x: [ODD[name](x)], range(6), **where),
        mrpy.stream(range(6), **where).flat_map(lambda x: (ODD[name](x),)),
        mrpy.parallel((ODD[name](x) for x in range(6)), **where),
    ):
        got, error = drain(loop)
        assert got == [0, 1, 2]
        if type(error) is RemoteError and name in BY_VALUE:
            assert name in str(error)
        else:
            assert type(error).__name__ == expected
        assert len(text(error)) < 60_000 or backend in ("serial", "threads")
        if name != "Frozen":
            assert error.mrpy_item.position == 3  # type: ignore[union-attr]
    skipped = list(mrpy.pmap(ODD[name], range(6), on_error="skip", **where))
    assert skipped == [0, 1, 2, 4, 5]
    assert_usable(backend)


@over_backends
def test_submit_hands_over_an_odd_exception(backend: str) -> None:
    with mrpy.session(backend, workers=2):
        for name in {*ODD} - {"KeyboardInterrupt"}:
            error = mrpy.submit(ODD[name], 3).exception(30)
            allowed = {name, "RemoteError"} if name in BY_VALUE else {name}
            assert type(error).__name__ in allowed | ({"RuntimeError"} if name == "StopIteration" else set())
            assert mrpy.submit(ODD[name], 2).result(30) == 2


@over_backends
def test_stop_iteration_never_makes_an_answer_shorter(backend: str) -> None:
    def stop(x: Any, *_: Any) -> Any:
        if x == 3:
            raise StopIteration
        return x

    where = {"backend": backend, "workers": 2}
    for run in (
        lambda: list(mrpy.mapreduce(lambda x: (stop(x), x), lambda k, v: k, range(6), **where)),
        lambda: list(mrpy.mapreduce(lambda x: (x, x), stop, range(6), **where)),
        lambda: list(mrpy.pmap(lambda x: 1 // x, [1, 0, 1], on_error=lambda e: stop(3), **where)),
        lambda: list(mrpy.pmap(stop, range(6), range(6), **where)),
        lambda: list(mrpy.pstarmap(stop, zip(range(6)), **where)),
    ):
        with pytest.raises(RuntimeError, match="StopIteration"):
            run()
    with pytest.raises((StopIteration, RuntimeError)):  # functools.reduce lets it through
        mrpy.preduce(lambda x, y: stop(3), range(6), **where)


# ---- rows 9 to 11: what cannot travel -------------------------------------------------------------------------


class _Odd:
    """Makes values that are hard to pickle, without this module being needed to open them."""

    @staticmethod
    def on_pickling() -> Any:
        class Stubborn:
            def __reduce__(self) -> Any:
                raise RuntimeError("not me")

        return Stubborn()

    @staticmethod
    def on_unpickling() -> Any:
        class Explosive:
            def __reduce__(self) -> Any:
                return int, ("not a number",)

        return Explosive()

    @staticmethod
    def lock() -> Any:
        return threading.Lock()

    @staticmethod
    def generator() -> Any:
        return (x for x in "ab")


def hard_to_pickle() -> dict[str, Callable[[], Any]]:
    import types

    # copies without a module, so that a function over them travels by value
    return {
        name: types.FunctionType(getattr(_Odd, name).__code__, {"threading": threading, "__name__": "made_up",
                                                                "__builtins__": __builtins__}, name)
        for name in ("on_pickling", "on_unpickling", "lock", "generator")
    }  # fmt: skip


HARD = hard_to_pickle()


@pytest.mark.parametrize(("backend", "chunksize"), with_chunks(1, 6)[4:])
@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("run", ["map", "filtered", "flat"])
def test_a_result_that_cannot_travel_is_an_error_at_its_item(
    run: str, name: str, chunksize: int, backend: str
) -> None:
    make = HARD[name]

    def hard(x: int) -> Any:
        return make() if x == 4 else x

    where = {"backend": backend, "workers": 2, "chunksize": chunksize}
    start: Callable[..., Any] = {
        "map": lambda **o: mrpy.pmap(hard, range(6), **where, **o),
        "filtered": lambda **o: mrpy.stream(range(6), **where, **o).filter(lambda x: x % 2 == 0).map(hard),
        "flat": lambda **o: mrpy.stream(range(6), **where, **o).flat_map(lambda x: [x, hard(x), -x]),
    }[run]
    before = {"map": [0, 1, 2, 3], "filtered": [0, 2], "flat": [y for x in range(4) for y in (x, x, -x)]}[run]
    behind = {"map": [5], "filtered": [], "flat": [5, 5, -5]}[run]
    got, error = drain(start())
    assert got[: len(before)] == before
    assert got[len(before) :] in ([], [4])  # a part of the item may have come through
    assert isinstance(error, SerializationError)
    assert error.mrpy_item.position == 4  # type: ignore[attr-defined]
    skipped = list(start(on_error="skip"))
    assert [x for x in skipped if abs(x) != 4] == before + behind
    returned = list(start(on_error="return"))
    assert len([x for x in returned if isinstance(x, SerializationError)]) == 1
    assert [x for x in returned if isinstance(x, int) and abs(x) != 4] == before + behind
    assert_usable(backend)


@pytest.mark.parametrize(("backend", "chunksize"), with_chunks(1, 6)[4:])
@pytest.mark.parametrize("name", HARD)
def test_an_argument_that_cannot_travel_is_an_error_at_its_item(name: str, chunksize: int, backend: str) -> None:
    def items() -> Iterator[Any]:
        return itertools.chain(range(4), [HARD[name]()], [5])

    where = {"backend": backend, "workers": 2, "chunksize": chunksize}
    got, error = drain(mrpy.pmap(lambda x: x + 1, items(), **where))
    assert got == [1, 2, 3, 4]
    assert isinstance(error, SerializationError | ValueError)
    assert error.mrpy_item.position == 4  # type: ignore[union-attr]
    assert list(mrpy.pmap(lambda x: x + 1, items(), on_error="skip", **where)) == [1, 2, 3, 4, 6]
    assert mrpy.preduce(operator.add, items(), on_error="skip", **where) == 11
    with pytest.raises((SerializationError, ValueError)):
        mrpy.preduce(operator.add, items(), **where)
    assert_usable(backend)


@pytest.mark.parametrize("backend", ["processes"])
def test_submit_says_what_cannot_travel(backend: str) -> None:
    with mrpy.session(backend, workers=2):
        with pytest.raises(SerializationError):
            mrpy.submit(len, threading.Lock()).result(30)
        for name in HARD:
            assert isinstance(mrpy.submit(HARD[name]).exception(30), MrpyError | RuntimeError)
        assert mrpy.submit(abs, -1).result(30) == 1


@over_remote
def test_a_function_that_holds_a_lock_names_the_variable(backend: str) -> None:
    guard = threading.Lock()

    def inner(x: int) -> int:
        with guard:
            return x

    def outer(x: int) -> int:
        return inner(x)

    where = {"backend": backend, "workers": 2}
    for run in (
        lambda: list(mrpy.pmap(outer, [1], **where)),
        lambda: list(mrpy.parallel((inner(x) for x in [1]), **where)),
        lambda: mrpy.preduce(lambda x, y: outer(x + y), [1, 2], **where),
        lambda: list(mrpy.mapreduce(lambda x: (outer(x), 1), lambda k, v: k, [1], **where)),
    ):
        with pytest.raises(SerializationError, match=r"'guard', a lock"):
            run()
    assert list(mrpy.pmap(outer, [1, 2], backend="threads")) == [1, 2]


@pytest.mark.parametrize("backend", LOCAL)
def test_any_object_passes_where_nothing_travels(backend: str) -> None:
    if backend == "processes":
        pytest.skip("there it travels")
    got = list(mrpy.pmap(lambda x: (x, threading.Lock()), [threading.Lock(), (y for y in "a")], backend=backend))
    assert len(got) == 2


@over_remote
def test_a_class_of_the_user_comes_back_as_itself(backend: str) -> None:
    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

    class Bad(Exception):
        pass

    def make(x: int) -> Point:
        if x == 3:
            raise Bad(x)
        return Point(x)

    got, error = drain(mrpy.pmap(make, range(5), backend=backend, workers=2))
    assert [type(point) for point in got] == [Point] * 3
    assert type(error) is Bad
    assert pickle.loads(pickle.dumps(error.args)) == (3,)


# ---- timeouts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
@pytest.mark.parametrize("chunksize", [1, 5])
def test_a_timeout_stops_one_item_and_no_other(backend: str, chunksize: int) -> None:
    def slow(x: int) -> int:
        import time

        while x == 2:
            time.sleep(0.01)
        return x

    where = {"backend": backend, "workers": 2, "chunksize": chunksize, "timeout": 0.2}
    got, error = drain(mrpy.pmap(slow, range(5), **where))
    assert got == [0, 1]
    assert type(error) is ItemTimeout
    assert error.mrpy_item.position == 2  # type: ignore[attr-defined]
    assert "timeout=0.2" in str(error)
    assert list(mrpy.pmap(slow, range(5), on_error="skip", **where)) == [0, 1, 3, 4]
    assert list(mrpy.pmap(slow, range(5), on_error=lambda e: type(e).__name__, **where)) == [0, 1, "ItemTimeout", 3, 4]
    assert_usable(backend)


@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_a_pause_between_attempts_is_not_taken_for_a_hang(backend: str) -> None:
    def fails(x: int) -> int:
        raise ValueError(x)

    got, error = drain(mrpy.pmap(fails, [1], backend=backend, workers=1, retries=5, timeout=0.3))
    assert got == []
    assert type(error) is ValueError


@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_submit_stops_at_its_timeout_and_is_not_tried_again(backend: str, tmp_path: Path) -> None:
    def hangs(file: Path) -> None:
        import time

        with file.open("a") as ran:
            ran.write("x")
        while True:
            time.sleep(0.01)

    with mrpy.session(backend, workers=1, timeout=0.3, retries=2), pytest.raises(ItemTimeout):
        mrpy.submit(hangs, tmp_path / "ran").result(timeout=20)
    assert (tmp_path / "ran").read_text() == "x"


@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_submit_follows_on_error(backend: str) -> None:
    with mrpy.session(backend, workers=1, on_error="return"):
        pending = mrpy.submit(operator.truediv, 1, 0)
        assert type(pending.result()) is ZeroDivisionError
        assert pending.exception() is None
    with mrpy.session(backend, workers=1, on_error=lambda error: -1):
        assert mrpy.submit(operator.truediv, 1, 0).result() == -1
    for policy in ("raise", "skip"):
        with mrpy.session(backend, workers=1, on_error=policy), pytest.raises(ZeroDivisionError):
            mrpy.submit(operator.truediv, 1, 0).result()


@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_an_on_error_of_submit_that_raises_stop_iteration_is_a_runtime_error(backend: str) -> None:
    def ends(error: BaseException) -> None:
        raise StopIteration(5)

    with mrpy.session(backend, workers=1, on_error=ends):
        pending = mrpy.submit(operator.truediv, 1, 0)
        with pytest.raises(RuntimeError, match=r"StopIteration\(5\)") as raised:
            pending.result()
    assert type(raised.value.__cause__) is StopIteration


@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_a_stop_iteration_of_what_flat_map_goes_through_does_not_end_the_run(backend: str) -> None:
    class Ends:
        def __iter__(self) -> Any:
            raise StopIteration(5)

    run = mrpy.stream(range(10), backend=backend, workers=2).flat_map(lambda x: Ends() if x == 5 else [x])
    with pytest.raises(RuntimeError, match="StopIteration"):
        run.to_list()


@over_remote
def test_a_result_that_cannot_travel_is_said_to_come_back(backend: str) -> None:
    def locked(x: int) -> Any:
        import threading

        return {"lock": threading.Lock()} if x == 1 else x

    got, error = drain(mrpy.pmap(locked, range(3), backend=backend, workers=1))
    assert got == [0]
    assert type(error) is SerializationError
    assert str(error).startswith("a result cannot be sent back from a worker: dict")
    with mrpy.session(backend, workers=1), pytest.raises(SerializationError, match="sent back"):
        mrpy.submit(locked, 1).result(timeout=60)
    _, error = drain(mrpy.pmap(abs, [threading.Lock()], backend=backend, workers=1))
    assert "cannot be sent to a worker" in str(error)


def test_a_function_of_a_library_that_cannot_be_sent_is_named() -> None:
    class Function:  # as Boost.Python's are
        __name__ = "to_text"

        def __call__(self, item: Any) -> Any:
            return item

        def __reduce__(self) -> Any:
            raise TypeError("cannot pickle it")

    with mrpy.session("processes", workers=1):
        assert str(mrpy.pmap(Function(), [1])).endswith("-> map to_text")
        with pytest.raises(SerializationError, match="map to_text cannot be sent to a worker"):
            list(mrpy.pmap(Function(), [1]))
        with pytest.raises(SerializationError, match="to_text cannot be sent to a worker"):
            mrpy.submit(Function(), 1).result(timeout=60)


def test_a_pending_result_among_arguments_is_told_from_what_it_holds() -> None:
    with mrpy.session("processes", workers=1):
        pending = mrpy.submit(abs, -1)
        ways = {
            "[0], a PendingResult": lambda: mrpy.submit(abs, pending).result(60),
            "PendingResult <": lambda: list(mrpy.pmap(abs, [pending])),
            "'pending', a PendingResult at ": lambda: list(mrpy.pmap(lambda x: pending, [0])),
        }
        for named, way in ways.items():
            with pytest.raises(SerializationError) as raised:
                way()
            said = str(raised.value)
            assert named in said and "[each.result() for each in pending]" in said
            assert "lock" not in said and "create it" not in said


def test_submitted_calls_draw_numbers_of_their_own_that_the_seed_fixes() -> None:
    def drawn(backend: str) -> list[int]:
        with mrpy.session(backend, workers=2, seed=3):
            pending = [mrpy.submit(lambda: int(mrpy.rng().integers(10**9))) for _ in range(3)]
            return [one.result() for one in pending]

    assert drawn("serial") == drawn("threads") == drawn("processes")
    assert len(set(drawn("serial"))) == 3


@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
@pytest.mark.parametrize("seconds", [1e7, 1e12, sys.float_info.max])
def test_a_timeout_of_ages_is_one_that_never_comes(backend: str, seconds: float) -> None:
    assert list(mrpy.pmap(abs, range(-3, 0), backend=backend, workers=2, timeout=seconds)) == [3, 2, 1]
    assert mrpy.preduce(operator.add, range(9), backend=backend, workers=2, timeout=seconds) == 36
    with mrpy.session(backend, workers=1, timeout=seconds):
        assert mrpy.submit(time.sleep, 0.01).result(timeout=seconds) is None
        assert mrpy.submit(time.sleep, 0.01).exception(timeout=float("inf")) is None


def test_a_timeout_of_ages_is_kept_outside_the_main_thread_too() -> None:
    got: list[int] = []
    run = mrpy.pmap(abs, [-1], backend="serial", timeout=1e12)
    thread = threading.Thread(target=lambda: got.extend(run))
    thread.start()
    thread.join(20)
    assert got == [1]


@pytest.mark.parametrize("in_main", [True, False])
def test_an_alarm_that_sleeps_several_times_rings_when_it_is_due(
    in_main: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mrpy.scheduler.backends.alarm.LONGEST_WAIT", 0.02)
    began = time.monotonic()
    run = mrpy.pmap(spin, [60], backend="serial", timeout=0.3, on_error=lambda e: (type(e), time.monotonic() - began))
    got: list[Any] = []
    if in_main:
        got += run
    else:
        thread = threading.Thread(target=lambda: got.extend(run))
        thread.start()
        thread.join(20)
    [(kind, seconds)] = got
    assert kind is ItemTimeout
    assert seconds >= 0.3


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), 10**400, 0, -1, True, "1"])
def test_a_timeout_that_is_no_time_is_refused(seconds: Any) -> None:
    with pytest.raises(OptionError, match="number of seconds above 0, or None for no limit"):
        mrpy.pmap(abs, [1], timeout=seconds)


# ---- the time of an item in the caller's own thread -----------------------------------------------------------------


def test_a_sleep_is_interrupted_and_the_signal_handler_is_as_it_was() -> None:
    with pytest.raises(ItemTimeout):
        list(mrpy.pmap(time.sleep, [60], backend="serial", timeout=0.2))
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def spin(seconds: float) -> float:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return seconds


def timed_out(seconds: list[float], timeout: float) -> list[Any]:
    run = mrpy.pmap(spin, seconds, backend="serial", timeout=timeout, on_error=lambda e: type(e).__name__)
    return list(run)


def test_the_time_is_kept_in_any_thread() -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.extend(timed_out([0.01, 60, 0.02], 0.2)))
    thread.start()
    thread.join(20)
    assert found == [0.01, "ItemTimeout", 0.02]


def suppresses(seconds: float) -> str:
    with contextlib.suppress(BaseException):
        time.sleep(seconds)
    return "went on"


def raises_something_else(seconds: float) -> None:
    try:
        time.sleep(seconds)
    except BaseException:
        raise LookupError(seconds) from None


def finalizes(seconds: float) -> str:
    class Slow:
        def __del__(self) -> None:
            time.sleep(seconds)

    Slow()
    return "went on"


def imports(seconds: float) -> str:
    sys.modules.pop("slow_to_import", None)
    import slow_to_import

    return str(slow_to_import.said)


@pytest.fixture
def slow_to_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "slow_to_import.py").write_text("import time; time.sleep(0.6); said = 'went on'", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("slow_to_import", None)


@pytest.mark.usefixtures("slow_to_import")
@pytest.mark.parametrize("on_error", ["return", "raise", "skip"])
@pytest.mark.parametrize("in_main", [True, False])
@pytest.mark.parametrize("late", [suppresses, raises_something_else, finalizes, imports])
def test_an_item_that_ran_over_its_time_has_failed_although_nothing_stopped_it(
    late: Any, in_main: bool, on_error: str
) -> None:
    def run() -> None:
        function = lambda x: late(0.6) if x == 1 else x
        with mrpy.session("serial", timeout=0.2):
            found.append(drain(mrpy.pmap(function, range(4), on_error=on_error, chunksize=4)))
            found.append(drain(mrpy.submit(late, 0.6).result() for _ in range(1)))
            found.append(mrpy.submit(abs, -1).result())

    found: list[Any] = []
    if in_main:
        run()
    else:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join(20)
    (values, error), (_, of_a_call), after = found
    assert [type(each) if isinstance(each, Exception) else each for each in values] == {
        "return": [0, ItemTimeout, 2, 3], "raise": [0], "skip": [0, 2, 3],
    }[on_error]  # fmt: skip
    assert type(error) is (ItemTimeout if on_error == "raise" else type(None))
    assert type(of_a_call) is ItemTimeout
    assert after == 1


BLOCKED = """
import signal, time
import mrpy

def spin(x):
    if x == "blocks":
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    end = time.monotonic() + (20 if x == 1 else 0.5 if x == "blocks" else 0)
    while time.monotonic() < end:
        pass
    return x

def run(*items):
    found = list(mrpy.pmap(spin, items, timeout=0.2, on_error="return", backend="serial"))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    print([type(each).__name__ for each in found])

"""


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no signal is blocked there")
@pytest.mark.parametrize("before", ["signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])\nrun(0, 1)", "run(0, 'blocks')"])
def test_where_the_timer_signal_is_blocked_the_time_is_kept_and_it_kills_nobody_later(before: str) -> None:
    code = BLOCKED + before + "\nrun(0, 1)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, 2 * "['int', 'ItemTimeout']\n"), done.stderr


def test_an_alarm_of_the_users_own_is_left_alone() -> None:
    rang: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda *_: rang.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        assert timed_out([0.01, 60], 0.1) == [0.01, "ItemTimeout"]
        time.sleep(0.5)
        assert rang == [1]
    finally:
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_of_nested_runs_the_one_whose_time_is_over_is_stopped(backend: str) -> None:
    def inner(seconds: float) -> list[Any]:
        return timed_out([0.01, seconds], 0.7)

    run = mrpy.pmap(inner, [0.02, 60], backend=backend, workers=1, timeout=0.3, on_error="return")
    first, second = run
    assert first == [0.01, 0.02]
    assert type(second) is ItemTimeout
    assert "timeout=0.3" in str(second)
    [outer] = mrpy.pmap(inner, [60], backend=backend, workers=1, timeout=20)
    assert outer == [0.01, "ItemTimeout"]


# ---- the serial backend -------------------------------------------------------------------------------------------


def test_ctrl_c_in_a_serial_run_is_the_users_own() -> None:
    def interrupt(x: int) -> int:
        if x == 2:
            raise KeyboardInterrupt
        return x

    with mrpy.session("serial"):
        with pytest.raises(KeyboardInterrupt):
            list(mrpy.pmap(interrupt, range(4), on_error="skip"))
        assert list(mrpy.pmap(abs, [-1])) == [1]


def test_the_debugger_finds_the_users_frame_in_a_serial_run() -> None:
    def divide(x: int) -> float:
        secret = "found"  # noqa: F841
        return 1 / x

    try:
        list(mrpy.pmap(divide, [0], backend="serial"))
    except ZeroDivisionError as error:
        frames = traceback.walk_tb(error.__traceback__)
        assert any(frame.f_locals.get("secret") == "found" for frame, _ in frames)
    assert os.getpid() == next(mrpy.pmap(lambda _: os.getpid(), [0], backend="serial"))
    assert sys.exc_info() == (None, None, None)


@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_a_stop_iteration_of_the_function_of_a_map_keeps_what_came_before_and_its_cause(backend: str) -> None:
    def ends(n: int) -> int:
        if n == 3:
            raise StopIteration("no more")
        return n

    got, error = drain(mrpy.pmap(ends, range(6), backend=backend, workers=2, chunksize=6))
    assert got == [0, 1, 2]
    assert type(error) is RuntimeError
    assert "StopIteration" in str(error)
    assert "item 3" in "".join(error.__notes__)


# ---- what is easily got wrong by who comes from elsewhere ---------------------------------------------------


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize(("kind", "cure"), [("generator", "flat_map"), ("coroutine", "asyncio.run")])
def test_a_generator_or_a_coroutine_as_a_result_says_what_to_do(kind: str, cure: str) -> None:
    def yields(item: int) -> Iterator[int]:
        yield item

    async def waits(item: int) -> int:
        return item

    function: Any = yields if kind == "generator" else waits
    with mrpy.session("processes", workers=1):
        for run in (lambda: list(mrpy.pmap(function, [1])), lambda: mrpy.submit(function, 1).result()):
            with pytest.raises(SerializationError, match=f"cannot pickle '{kind}' object .*{cure}"):
                run()


@pytest.mark.parametrize(
    ("make", "cure"),
    {
        **dict.fromkeys(("Lock", "Queue", "SimpleQueue", "Event", "Semaphore"), r"\(take one of multiprocessing\.Manager\(\)"),
        "Value": r"\(take one of multiprocessing\.Manager\(\)", "Array": "return what changes", "RawArray": "return what changes",
    }.items(),
)  # fmt: skip
@pytest.mark.parametrize("held", ["by the function", "by an item", "by a job"])
def test_what_multiprocessing_shares_by_inheritance_is_not_to_be_made_in_the_function(make: str, cure: str, held: str) -> None:
    given = {"Value": ("i", 0), "Array": ("i", 3), "RawArray": ("i", 3)}
    shared = getattr(multiprocessing, make)(*given.get(make, ()))

    class Sharing(mrpy.Job):
        def __init__(self) -> None:
            self.shared = shared

    run = {
        "by the function": lambda: list(mrpy.pmap(lambda n: (n, shared), [1])),
        "by an item": lambda: list(mrpy.pmap(type, [[shared]])),
        "by a job": lambda: list(Sharing().run([(1, 2)])),
    }[held]
    with mrpy.session("processes", workers=1), pytest.raises(SerializationError, match=cure) as caught:
        run()
    assert "or use backend='threads')" in str(caught.value)
    assert "inside the function" not in str(caught.value)


HANDLES: dict[str, Callable[[str], Any]] = {
    "a file": open,
    "a reader of csv": lambda _: csv.reader(["1"]),
    "an archive": tarfile.open,
    "an archive that is a stream": lambda path: tarfile.open(path, "r|"),
    "a database": lambda _: sqlite3.connect(":memory:"),
    "a cursor": lambda _: sqlite3.connect(":memory:").execute("SELECT 1"),
    "a socket": lambda _: socket.socket(),
}


@pytest.mark.parametrize("made", HANDLES)
def test_what_has_a_place_of_its_own_is_opened_where_it_is_used_and_not_shared_by_threads(
    made: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    tarfile.open(tmp_path / "file", "w").close()
    handle = HANDLES[made](str(tmp_path / "file"))
    request.addfinalizer(getattr(getattr(handle, "connection", handle), "close", int))

    class Reads(mrpy.Job):
        def __init__(self) -> None:
            self.handle = handle

    cure = r"\(open it in the function, or once per worker, in a `setup`\)$"
    for run in (lambda: list(mrpy.pmap(lambda n: (n, handle), [1])), lambda: list(Reads().run([(1, 2)]))):
        with mrpy.session("processes", workers=1), pytest.raises(SerializationError, match=cure) as caught:
            run()
        assert "backend='threads'" not in str(caught.value)


@pytest.mark.parametrize("make", [threading.Lock, threading.RLock, threading.Event, threading.Semaphore, queue.Queue])
def test_what_threads_share_is_not_to_be_made_in_the_function(make: Any) -> None:
    shared = make()
    cure = r"\(take one of multiprocessing\.Manager\(\), .*, or use backend='threads'\)"
    with mrpy.session("processes", workers=1), pytest.raises(SerializationError, match=cure) as caught:
        list(mrpy.pmap(lambda n: (n, shared), [1]))
    assert "inside the function" not in str(caught.value)


def test_what_only_holds_a_lock_is_made_in_the_function() -> None:
    client = SimpleNamespace(lock=threading.Lock())
    cure = r"\(create it inside the function that needs it, or use backend='threads'\)"
    with mrpy.session("processes", workers=1), pytest.raises(SerializationError, match=cure):
        list(mrpy.pmap(lambda n: (n, client), [1]))


@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize("reducer", [lambda key, values: len(values), lambda key, values: values[0]])
def test_a_reducer_that_takes_its_values_for_a_list_is_told_what_they_are(backend: str, reducer: Any) -> None:
    with pytest.raises(TypeError) as caught:
        list(mrpy.mapreduce(lambda n: [(n % 2, n)], reducer, range(6), backend=backend, workers=2))
    assert "mrpy: the values of a key are an iterator: list(values) makes a list of them" in caught.value.__notes__


def test_what_a_manager_makes_is_shared() -> None:
    with multiprocessing.get_context("spawn").Manager() as manager, mrpy.session("processes", workers=2):
        total, lock, seen = manager.Value("i", 0), manager.Lock(), manager.dict()

        def add(number: int) -> None:
            with lock:
                total.value += number
            seen[number] = True

        list(mrpy.pmap(add, range(10), chunksize=1))
        assert (total.value, len(seen)) == (45, 10)


def test_a_chunksize_as_the_third_argument_is_named() -> None:
    text = r"pmap\(\) needs something to iterate over, not int 10; how many items a task takes is chunksize=10"
    with pytest.raises(TypeError, match=text):
        mrpy.pmap(abs, [1], 10)
    with pytest.raises(TypeError, match=r"something to iterate over, not NoneType None$"):
        mrpy.pmap(max, [1], [2], None)


def test_a_function_of_one_argument_has_nothing_to_be_checked() -> None:
    for function in (abs, lambda x: x, lambda: None):
        with pytest.raises(TypeError, match=r"check\(\) takes a stage, or a function of two arguments, which "):
            mrpy.check(function, [1, 2, 3])


@over_backends
def test_where_nobody_knows_which_of_several_items_it_was_that_is_said(backend: str) -> None:
    for items, said in (([1, "a", None], "or one of the 2 after it"), ([1, "a"], "or the one after it")):
        with pytest.raises(TypeError, match="not supported between") as caught:
            mrpy.stream(items, backend=backend, chunksize=3).sorted().to_list()
        assert caught.value.__notes__ == [f"mrpy: raised at item 0, {said}"]

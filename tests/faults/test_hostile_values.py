"""Rows 9 to 11 and 23: arguments, results and functions that cannot be pickled, or bite when they are opened.

Classes are made inside of functions, so that they travel by value and no worker has to import this file.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import inspect
import multiprocessing
import os
import socket
import sys
import threading
import types
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cloudpickle
import numpy
import pytest
from watching import assert_usable, team

import mrpy
from mrpy.errors import ItemTimeout, SerializationError, WorkerCrashed


def opens_by(act: Callable[[], Any]) -> Any:
    """A value that pickles well, and does this when it is opened."""

    class Opens:
        def __reduce__(self) -> Any:
            return act, ()

    return Opens()


def pickles_by(act: Callable[[], Any]) -> Any:
    """A value that does this when it is pickled."""

    class Pickles:
        def __reduce__(self) -> Any:
            act()
            return int, ()

    return Pickles()


def raising(error: BaseException) -> Callable[[], Any]:
    def act() -> None:
        raise error

    return act


class Custom(BaseException):
    pass


def nested(depth: int) -> Any:
    value: Any = None
    for _ in range(depth):
        value = [value]
    return value


UNPICKLABLE: dict[str, Callable[[], Any]] = {
    "a lock": threading.Lock,
    "a generator": lambda: (x for x in "ab"),
    "an open file": lambda: open(os.devnull),  # noqa: SIM115
    "a socket": socket.socket,
    "the end of a pipe": lambda: multiprocessing.Pipe()[0],
    "nested 100,000 deep": lambda: nested(100_000),
    "raises": lambda: pickles_by(raising(ValueError("not me"))),
    "stops": lambda: pickles_by(raising(StopIteration())),
    "exits": lambda: pickles_by(raising(SystemExit(3))),
    "closes": lambda: pickles_by(raising(GeneratorExit())),
}
BAD_TO_OPEN: dict[str, Callable[[], Any]] = {
    "raises": lambda: opens_by(raising(ValueError("not here"))),
    "stops": lambda: opens_by(raising(StopIteration())),
    "exits": lambda: opens_by(raising(SystemExit(3))),
    "closes": lambda: opens_by(raising(GeneratorExit())),
}
WORSE_TO_OPEN: dict[str, Callable[[], Any]] = {
    "interrupts": lambda: opens_by(raising(KeyboardInterrupt())),
    "odd": lambda: opens_by(raising(Custom())),
}
DEADLY: dict[str, Callable[[], Any]] = {
    "leaves": lambda: os._exit(0),
    "aborts": os.abort,
    "crashes": lambda: ctypes.string_at(0),
}

# what a worker drops without closing it is the user's own business
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
over_chunks = pytest.mark.parametrize("chunksize", [1, 6])


def the_one(got: list[Any], position: int = 3) -> Any:
    """The failure among the results, which is the only one, and at this place."""
    error = got.pop(position)
    assert got == [x for x in range(6) if x != position]
    assert isinstance(error, BaseException)
    assert error.mrpy_item.position == position  # type: ignore[attr-defined]
    return error


def taken(items: Any, **options: Any) -> list[Any]:
    """What becomes of items on their way into a function that gives back the numbers among them."""

    def number(x: Any) -> Any:
        return x if isinstance(x, int) else "it arrived"

    return list(mrpy.pmap(number, items, on_error="return", **options))


def given(make: Callable[[], Any], **options: Any) -> list[Any]:
    """What becomes of a result that a function makes."""
    return list(mrpy.pmap(lambda x: make() if x == 3 else x, range(6), on_error="return", **options))


# ---- arguments -----------------------------------------------------------------------------------------------


@pytest.mark.fault(10, 23)
@over_chunks
@pytest.mark.parametrize("kind", UNPICKLABLE)
def test_an_argument_that_cannot_be_pickled_is_an_error_at_its_item(warm: Any, kind: str, chunksize: int) -> None:
    value = UNPICKLABLE[kind]()
    error = the_one(taken([0, 1, 2, value, 4, 5], chunksize=chunksize))
    assert isinstance(error, SerializationError)
    assert_usable(warm)
    if hasattr(value, "close"):
        value.close()


@pytest.mark.fault(10)
@over_chunks
@pytest.mark.parametrize("kind", [*BAD_TO_OPEN, *WORSE_TO_OPEN])
def test_an_argument_that_cannot_be_opened_is_an_error_at_its_item(warm: Any, kind: str, chunksize: int) -> None:
    assert_usable(warm)
    before = team(warm)
    value = (BAD_TO_OPEN | WORSE_TO_OPEN)[kind]()
    error = the_one(taken([0, 1, 2, value, 4, 5], chunksize=chunksize))
    assert not isinstance(error, WorkerCrashed)
    assert team(warm) == before, "no worker was lost for it"
    assert_usable(warm)


@pytest.mark.fault(10)
@over_chunks
@pytest.mark.parametrize("kind", DEADLY)
def test_an_argument_that_kills_where_it_is_opened_is_named(warm: Any, kind: str, chunksize: int) -> None:
    value = opens_by(DEADLY[kind])
    error = the_one(taken([0, 1, 2, value, 4, 5], chunksize=chunksize))
    assert isinstance(error, WorkerCrashed)
    assert_usable(warm)


@pytest.mark.fault(10)
def test_the_scheduler_opens_nothing_of_the_user(warm: Any) -> None:
    opened: list[bool] = []
    # by reference to a function of this very process, when it is opened here
    SEEN["note"] = lambda: opened.append(threading.current_thread() is threading.main_thread())
    look = seen_in(os.getpid())
    got = list(mrpy.pmap(lambda x: opens_by(look), range(6), chunksize=2))
    assert got == [None] * 6
    assert opened == [True] * 6, "results are opened where they are consumed, and once"


SEEN: dict[str, Callable[[], Any]] = {}


def seen_in(parent: int) -> Callable[[], Any]:
    def act() -> None:
        if os.getpid() == parent:
            sys.modules["test_hostile_values"].SEEN["note"]()

    return act


# ---- results ---------------------------------------------------------------------------------------------------


@pytest.mark.fault(9, 23)
@over_chunks
@pytest.mark.parametrize("kind", UNPICKLABLE)
def test_a_result_that_cannot_be_pickled_is_an_error_at_its_item(warm: Any, kind: str, chunksize: int) -> None:
    assert_usable(warm)
    before = team(warm)
    error = the_one(given(UNPICKLABLE[kind], chunksize=chunksize))
    assert isinstance(error, SerializationError)
    assert team(warm) == before, "no worker was lost for it"
    assert_usable(warm)


@pytest.mark.fault(9)
@over_chunks
@pytest.mark.parametrize("kind", BAD_TO_OPEN)
def test_a_result_that_cannot_be_opened_is_an_error_at_its_item(warm: Any, kind: str, chunksize: int) -> None:
    error = the_one(given(BAD_TO_OPEN[kind], chunksize=chunksize))
    assert isinstance(error, SerializationError)
    assert_usable(warm)


@pytest.mark.fault(9)
@over_chunks
@pytest.mark.parametrize("kind", DEADLY)
def test_a_result_that_kills_where_it_is_pickled_is_named_and_no_other(warm: Any, kind: str, chunksize: int) -> None:
    act = DEADLY[kind]
    error = the_one(given(lambda: pickles_by(act), chunksize=chunksize))
    assert isinstance(error, WorkerCrashed)
    assert_usable(warm)


@pytest.mark.fault(9)
@over_chunks
def test_a_result_that_takes_for_ever_to_pickle_runs_out_of_time(warm: Any, chunksize: int) -> None:
    def dawdle() -> None:
        threading.Event().wait()

    error = the_one(given(lambda: pickles_by(dawdle), chunksize=chunksize, timeout=0.3))
    assert isinstance(error, ItemTimeout)
    assert_usable(warm)


@pytest.mark.fault(9, 10)
@pytest.mark.parametrize("kind", [*UNPICKLABLE, *BAD_TO_OPEN])
def test_a_submitted_call_says_what_cannot_travel(warm: Any, kind: str) -> None:
    make = (UNPICKLABLE | BAD_TO_OPEN)[kind]
    with pytest.raises(SerializationError):
        mrpy.submit(lambda: make()).result(30)
    assert_usable(warm)


@pytest.mark.fault(9)
@pytest.mark.parametrize("kind", UNPICKLABLE)
def test_a_reduction_over_what_cannot_be_pickled_is_an_error(warm: Any, kind: str) -> None:
    make = UNPICKLABLE[kind]
    with pytest.raises(SerializationError):
        mrpy.preduce(lambda x, y: make(), range(6))
    with pytest.raises(SerializationError):
        list(mrpy.mapreduce(lambda x: (x, make()), lambda k, v: k, range(6)))
    with pytest.raises(SerializationError):
        list(mrpy.mapreduce(lambda x: (x, x), lambda k, v: [make()], range(6)))
    assert_usable(warm)


@pytest.mark.fault(9, 10, 23)
@pytest.mark.parametrize("backend", ["serial", "threads"])
@pytest.mark.parametrize("kind", UNPICKLABLE)
def test_where_nothing_travels_anything_may_pass(kind: str, backend: str) -> None:
    make = UNPICKLABLE[kind]
    value = make()
    [got] = mrpy.pmap(lambda x: x, [value], backend=backend)
    assert got is value
    if hasattr(value, "close"):
        value.close()


# ---- functions ----------------------------------------------------------------------------------------------------


@pytest.fixture
def held(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What a function may hold and not take along."""
    with socket.socket() as line, (tmp_path / "file").open("w") as file:
        yield {
            "lock": threading.Lock(), "socket": line, "generator": (x for x in "ab"),
            "TextIOWrapper": file, "Event": threading.Event(), "Thread": threading.Thread(),
            "Connection": multiprocessing.Pipe()[0],
        }  # fmt: skip


KINDS = ["lock", "socket", "generator", "TextIOWrapper", "Event", "Thread", "Connection"]


@pytest.mark.fault(11)
@pytest.mark.parametrize("kind", KINDS)
def test_a_function_that_holds_what_cannot_travel_says_which_variable_and_where(
    warm: Any, held: dict[str, Any], kind: str
) -> None:
    guard = held[kind]

    def inner(x: int) -> int:
        if x < 0:
            print(guard)  # the line to name
        return x

    def outer(x: int) -> int:
        return inner(x)

    lines, first = inspect.getsourcelines(inner)
    line = first + next(n for n, text in enumerate(lines) if "the line to name" in text)
    for run in (
        lambda: list(mrpy.pmap(outer, range(6))),
        lambda: list(mrpy.parallel(inner(x) for x in range(6))),
        lambda: mrpy.preduce(lambda x, y: outer(x), range(6)),
        lambda: mrpy.submit(outer, 1).result(30),
    ):
        with pytest.raises(SerializationError) as caught:
            run()
        told = str(caught.value)
        assert "'guard'" in told
        assert f"a {kind}" in told or f"an {kind}" in told
        assert f"test_hostile_values.py:{line}" in told
    assert_usable(warm)


class Job:
    def __init__(self) -> None:
        self.guard = threading.Lock()

    def run(self, x: int) -> int:
        return x


def with_default(x: int, guard: Any = threading.Lock()) -> int:
    return x


def with_two(guard: Any, x: int) -> int:
    return x


@pytest.mark.fault(11)
@pytest.mark.parametrize(
    ("function", "said"),
    [
        (Job().run, "'guard', a lock (in self"),
        (with_default, "'guard', a lock at "),
        (lambda x: with_default(x), "'guard', a lock at "),
        (functools.partial(with_two, threading.Lock()), "[0], a lock"),
        (functools.partial(with_two, guard=threading.Lock()), "['guard'], a lock"),
        (lambda x: [JOB for _ in range(x)], "'JOB', a Job at "),
    ],
    ids=["method", "default", "default of another", "partial", "partial by name", "global"],
)
def test_wherever_a_function_holds_it_it_is_found(warm: Any, function: Any, said: str) -> None:
    with by_value(), pytest.raises(SerializationError) as caught:
        list(mrpy.pmap(function, range(6)))
    assert said in str(caught.value)


@contextlib.contextmanager
def by_value() -> Iterator[None]:
    """As in a script, whose functions travel with all they hold."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


JOB = Job()


@pytest.mark.fault(11)
@pytest.mark.parametrize("backend", ["serial", "threads"])
@pytest.mark.parametrize("kind", KINDS)
def test_where_nothing_travels_a_function_may_hold_it(held: dict[str, Any], kind: str, backend: str) -> None:
    guard = held[kind]
    assert list(mrpy.pmap(lambda x: (x, guard is not None), range(2), backend=backend)) == [(0, True), (1, True)]


@pytest.mark.fault(11)
@pytest.mark.parametrize("kind", [*BAD_TO_OPEN, *WORSE_TO_OPEN])
def test_a_function_that_cannot_be_opened_is_an_error(warm: Any, kind: str) -> None:
    holds = (BAD_TO_OPEN | WORSE_TO_OPEN)[kind]()
    with pytest.raises(BaseException) as caught:
        list(mrpy.pmap(lambda x: (x, holds), range(6)))
    assert not isinstance(caught.value, WorkerCrashed | pytest.fail.Exception)
    assert_usable(warm)


@pytest.mark.fault(11)
@pytest.mark.parametrize("kind", DEADLY)
def test_a_function_that_kills_where_it_is_opened_is_an_error(warm: Any, kind: str) -> None:
    holds = opens_by(DEADLY[kind])
    with pytest.raises(WorkerCrashed):
        list(mrpy.pmap(lambda x: (x, holds), range(6)))
    assert_usable(warm)


@pytest.mark.fault(9, 10, 11)
@pytest.mark.parametrize("away", ["processes", "dask"])
@pytest.mark.parametrize("held", ["plain", "in an object", "of a class of its own", "in an array"])
def test_the_end_of_a_pipe_goes_nowhere(away: str, held: str) -> None:
    """It is pickled as the bare number of its descriptor, which is another's wherever it is opened."""
    with by_value(), mrpy.session(away, workers=1):
        end, other = own_pipe() if held == "of a class of its own" else multiprocessing.Pipe()
        thing = {"in an object": types.SimpleNamespace(end=end), "in an array": numpy.array([end, None])}.get(held, end)
        for run in (
            lambda: list(mrpy.pmap(type, [thing])),
            lambda: list(mrpy.pmap(lambda x: type(thing), [1])),
            lambda: list(mrpy.pmap(functools.partial(with_two, thing), [1])),
            lambda: mrpy.submit(type, thing).result(30),
            lambda: list(mrpy.pmap(lambda x: multiprocessing.Pipe(), [1])),
            lambda: list(mrpy.mapreduce(lambda x: (x, multiprocessing.Pipe()), lambda key, ends: 0, [1])),
        ):
            with pytest.raises(SerializationError) as caught:
                run()
            assert "a queue of multiprocessing.Manager()" in str(caught.value)
        other.send("there")
        assert end.recv() == "there"
        [error] = mrpy.pmap(raise_with_a_pipe, [1], on_error="return")
        assert "no end of a pipe" in str(error)
        assert list(mrpy.pmap(len, ["multiprocessing.connection Connection"])) == [37]


def own_pipe() -> Any:
    class Own(Connection):  # type: ignore[type-arg, unused-ignore]
        pass

    read, write = os.pipe()
    return Own(read, writable=False), Connection(write, readable=False)


def raise_with_a_pipe(x: int) -> None:
    raise ValueError("no end of a pipe", multiprocessing.Pipe()[0])


# ---- 32: what shares a chunk with such a one ---------------------------------------------------------------


def images(size: int) -> list[Any]:
    return [numpy.full(size, float(n)) for n in range(8)]


@pytest.mark.fault(9, 32)
@pytest.mark.parametrize("away", ["processes", "dask"])
@pytest.mark.parametrize("size", [5, 100_000])
def test_arrays_beside_a_result_that_cannot_be_sent_can_be_written_to(away: str, size: int) -> None:
    def scaled(image: Any) -> Any:
        if image[0] == 3:
            return threading.Lock()
        image *= 2
        return image

    got = list(mrpy.pmap(scaled, images(size), backend=away, workers=2, chunksize=8, on_error="return"))
    assert [n for n, each in enumerate(got) if isinstance(each, SerializationError)] == [3]
    assert [each[0] for n, each in enumerate(got) if n != 3] == [0.0, 2.0, 4.0, 8.0, 10.0, 12.0, 14.0]
    assert all(each.flags.writeable for n, each in enumerate(got) if n != 3)


@pytest.mark.fault(10, 32)
@pytest.mark.parametrize("away", ["processes", "dask"])
def test_arrays_beside_an_item_that_cannot_be_opened_are_as_they_were(away: str) -> None:
    def scaled(item: Any) -> float:
        item[1][:] *= 2
        return float(item[1][0])

    read_only = numpy.ones(100_000)
    read_only.flags.writeable = False
    items = [(opens_by(raising(ValueError("bad header"))) if n == 3 else n, image) for n, image in enumerate(images(100_000))]
    items.append((8, read_only))
    got = list(mrpy.pmap(scaled, items, backend=away, workers=2, chunksize=9, on_error="return"))
    assert [got[n] for n in (0, 1, 2, 4, 5, 6, 7)] == [0.0, 2.0, 4.0, 8.0, 10.0, 12.0, 14.0]
    assert "read-only" in str(got[8])

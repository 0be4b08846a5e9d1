"""Rows 5, 7 and 8: exceptions that are not meant for errors, that are enormous, or bite whoever touches them.

Classes are made inside of functions, so that they travel by value and no worker has to import this file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import pytest
from laws import HAS_DASK, LOCAL
from watching import run_script, team

import mrpy
from mrpy.errors import ItemTimeout, RemoteError, WorkerCrashed

KINDS: dict[str, Callable[[], Any]] = {}


def kind(make: Callable[[], Any]) -> Callable[[], Any]:
    KINDS[make.__name__] = make
    return make


def raising(x: int, make: Callable[[], Any]) -> int:
    if x == 3:
        raise make()
    return x


# ---- row 5: what usually ends a program -----------------------------------------------------------------------


@kind
def a_system_exit() -> Any:
    return SystemExit(3)


@kind
def a_generator_exit() -> Any:
    return GeneratorExit()


@kind
def a_keyboard_interrupt() -> Any:
    return KeyboardInterrupt()


@kind
def a_base_exception() -> Any:
    class Custom(BaseException):
        pass

    return Custom("mine")


@kind
def a_group() -> Any:
    return BaseExceptionGroup("both", [SystemExit(1), ValueError(2)])


@kind
def a_stop_of_async_iteration() -> Any:
    return StopAsyncIteration()


# ---- row 8: what cannot be called, pickled or printed -------------------------------------------------------------


@kind
def two_arguments() -> Any:
    class Two(Exception):
        def __init__(self, code: int, reason: str) -> None:
            super().__init__(f"{code}: {reason}")
            self.code = code

    return Two(7, "seven")


@kind
def keyword_only() -> Any:
    class Keyword(Exception):
        def __init__(self, *, code: int) -> None:
            super().__init__()
            self.code = code

    return Keyword(code=7)


@kind
def an_attribute_that_stays() -> Any:
    import threading

    class Locked(Exception):
        pass

    error = Locked("with a lock")
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    return error


@kind
def an_argument_that_stays() -> Any:
    import threading

    return ValueError("with a lock", threading.Lock())


@kind
def text_that_raises() -> Any:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

        __repr__ = __str__

    return Mute()


@kind
def text_that_exits() -> Any:
    class Leaver(Exception):
        def __str__(self) -> str:
            raise SystemExit(3)

        __repr__ = __str__

    return Leaver()


@kind
def text_of_another_kind() -> Any:
    class Text(str):
        def __reduce__(self) -> Any:
            raise RuntimeError("I stay")

        def __str__(self) -> str:
            return self

    class Odd(Exception):
        def __str__(self) -> str:
            return Text("odd")

    return Odd()


@kind
def attributes_that_raise() -> Any:
    class Touchy(Exception):
        def __getattribute__(self, name: str) -> Any:
            if name in ("mrpy_item", "add_note", "__notes__"):
                raise LookupError(name)
            return super().__getattribute__(name)

    return Touchy()


@kind
def an_item_that_lies() -> Any:
    error = ValueError("liar")
    error.mrpy_item = 17  # type: ignore[attr-defined]
    return error


@kind
def notes_that_are_none() -> Any:
    error = ValueError("noted")
    error.__notes__ = 5  # type: ignore[assignment]
    return error


@kind
def state_that_raises() -> Any:
    class Stateful(Exception):
        def __setstate__(self, state: Any) -> None:
            raise RuntimeError("not again")

    error = Stateful("state")
    error.code = 7  # type: ignore[attr-defined]
    return error


@kind
def state_that_exits() -> Any:
    class Leaving(Exception):
        def __setstate__(self, state: Any) -> None:
            raise SystemExit(3)

    error = Leaving("state")
    error.code = 7  # type: ignore[attr-defined]
    return error


@kind
def that_opens_only_where_it_was_made() -> Any:
    import os

    class Homesick(Exception):
        def __init__(self, home: int) -> None:
            if os.getpid() != home:
                raise SystemExit(4)
            super().__init__(home)

    return Homesick(os.getpid())


@kind
def a_class_that_cannot_be_compared() -> Any:
    class Prickly(Exception):
        def __eq__(self, other: object) -> bool:
            raise RuntimeError("no")

        def __hash__(self) -> int:
            raise RuntimeError("no")

    return Prickly()


@kind
def its_own_cause() -> Any:
    error = ValueError("round")
    error.__cause__ = error.__context__ = error
    return error


# ---- row 7: enormous ---------------------------------------------------------------------------------------------


@kind
def a_long_text() -> Any:
    return ValueError("x" * 3_000_000)


@kind
def a_large_array() -> Any:
    import numpy

    error = ValueError("with an array")
    error.data = numpy.ones(1_000_000)  # type: ignore[attr-defined]
    return error


@kind
def many_causes() -> Any:
    error: BaseException = ValueError("last")
    for place in range(500):
        outer = ValueError(place)
        outer.__cause__ = error
        error = outer
    return error


NAMES = {
    "a_system_exit": "SystemExit", "a_generator_exit": "GeneratorExit", "a_base_exception": "Custom",
    "a_keyboard_interrupt": "KeyboardInterrupt", "two_arguments": "Two", "keyword_only": "Keyword",
    "a_long_text": "ValueError", "a_large_array": "ValueError", "many_causes": "ValueError",
    "an_attribute_that_stays": "Locked", "text_that_raises": "Mute", "text_that_exits": "Leaver",
    "an_item_that_lies": "ValueError", "notes_that_are_none": "ValueError", "text_of_another_kind": "Odd",
}  # fmt: skip
WITHOUT_ITEM = ("attributes_that_raise", "notes_that_are_none", "an_item_that_lies")


@pytest.mark.fault(5, 7, 8)
@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize("name", KINDS)
def test_a_hostile_exception_is_an_error_at_its_item_and_nothing_else(name: str, backend: str, warm: Any) -> None:
    if name == "a_keyboard_interrupt" and backend == "serial":
        pytest.skip("in the user's own thread it is his own Ctrl-C")
    make = KINDS[name]
    assert list(mrpy.pmap(abs, range(4), chunksize=1)) == [0, 1, 2, 3]
    before = team(warm)
    for options in ({"chunksize": 1}, {"chunksize": 6}, {"chunksize": 6, "timeout": 60}):
        where: dict[str, Any] = {"backend": backend, "workers": 2, **options}
        got = list(mrpy.pmap(lambda x: raising(x, make), range(6), on_error="return", **where))
        error = got.pop(3)
        assert got == [0, 1, 2, 4, 5]
        assert isinstance(error, BaseException)
        assert not isinstance(error, WorkerCrashed)
        if backend == "processes":
            assert len(str(error.__cause__)) < 25_000
        if not isinstance(error, RemoteError):
            assert type(error).__name__ == NAMES.get(name, type(error).__name__)
        elif name in NAMES:
            assert NAMES[name] in str(error)
        if name not in WITHOUT_ITEM:
            assert error.mrpy_item == (3, "3")  # type: ignore[attr-defined]
        assert list(mrpy.pmap(lambda x: raising(x, make), range(6), on_error="skip", **where)) == got
        named = mrpy.pmap(lambda x: raising(x, make), range(6), on_error=lambda e: "bad", **where)
        assert list(named) == [0, 1, 2, "bad", 4, 5]
    assert set(before) <= set(team(warm)), "no worker was lost for it"


@pytest.mark.fault(5, 7, 8)
@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize("name", KINDS)
def test_a_hostile_exception_is_raised_where_somebody_waits(name: str, backend: str, warm: Any) -> None:
    if name == "a_keyboard_interrupt" and backend == "serial":
        pytest.skip("in the user's own thread it is his own Ctrl-C")
    make = KINDS[name]
    where: dict[str, Any] = {"backend": backend, "workers": 2}
    got: list[int] = []
    with pytest.raises(BaseException) as caught:
        for x in mrpy.pmap(lambda x: raising(x, make), range(6), **where):
            got.append(x)
    assert got == [0, 1, 2]
    assert not isinstance(caught.value, pytest.fail.Exception | WorkerCrashed)
    for run in (
        lambda: mrpy.preduce(max, (raising(x, make) for x in range(6)), **where),
        lambda: mrpy.preduce(lambda x, y: raising(3, make), range(6), **where),
        lambda: list(mrpy.mapreduce(lambda x: (raising(x, make), x), lambda k, v: k, range(6), **where)),
        lambda: list(mrpy.mapreduce(lambda x: (x, x), lambda k, v: raising(k, make), range(6), **where)),
    ):
        with pytest.raises(BaseException) as caught:
            run()
        assert not isinstance(caught.value, pytest.fail.Exception | WorkerCrashed)


@pytest.mark.fault(5)
@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize("name", KINDS)
def test_what_replaces_an_error_may_be_hostile_too(name: str, backend: str, warm: Any) -> None:
    if name == "a_keyboard_interrupt" and backend == "serial":
        pytest.skip("in the user's own thread it is his own Ctrl-C")
    make = KINDS[name]
    where: dict[str, Any] = {"backend": backend, "workers": 2, "chunksize": 3}
    got: list[int] = []
    with pytest.raises(BaseException) as caught:
        for x in mrpy.pmap(lambda x: 1 // (x - 3) and x, range(6), on_error=lambda e: raising(3, make), **where):
            got.append(x)
    assert got == [0, 1, 2]
    assert not isinstance(caught.value, pytest.fail.Exception | WorkerCrashed | ZeroDivisionError)


@pytest.mark.fault(8)
def test_an_exception_that_kills_its_worker_on_the_way_is_named(session: Any) -> None:
    def deadly() -> Any:
        class Deadly(Exception):
            def __reduce__(self) -> Any:
                os._exit(0)

        return Deadly()

    got = list(mrpy.pmap(lambda x: raising(x, deadly), range(6), chunksize=6, on_error="return"))
    error = got.pop(3)
    assert got == [0, 1, 2, 4, 5]
    assert isinstance(error, WorkerCrashed)
    assert error.mrpy_item == (3, "3")  # type: ignore[attr-defined]


@pytest.mark.fault(8)
def test_an_exception_that_never_gets_ready_to_travel_runs_out_of_time(session: Any) -> None:
    def slow() -> Any:
        import threading

        class Slow(Exception):
            def __reduce__(self) -> Any:
                threading.Event().wait()

        return Slow()

    got = list(mrpy.pmap(lambda x: raising(x, slow), range(6), chunksize=6, timeout=0.3, on_error="return"))
    error = got.pop(3)
    assert got == [0, 1, 2, 4, 5]
    assert isinstance(error, ItemTimeout)


@pytest.mark.fault(7)
@pytest.mark.parametrize("backend", LOCAL)
def test_a_recursion_without_end_is_an_error_with_a_bounded_text(backend: str, warm: Any) -> None:
    def ping(x: int) -> int:  # two functions: the interpreter does not fold their lines
        return pong(x) + 1

    def pong(x: int) -> int:
        return ping(x) + 1

    def deep(x: int) -> int:
        sys.setrecursionlimit(20_000)
        try:
            return ping(x) if x == 3 else x
        finally:
            sys.setrecursionlimit(1000)

    got = list(mrpy.pmap(deep, range(6), backend=backend, workers=2, chunksize=6, on_error="return"))
    error = got.pop(3)
    assert got == [0, 1, 2, 4, 5]
    assert type(error) is RecursionError
    assert len(str(error.__cause__)) < 25_000


@pytest.mark.fault(5, 7, 8)
@pytest.mark.skipif(not HAS_DASK, reason="no dask backend")
def test_on_a_cluster_too() -> None:
    with mrpy.session("dask", workers=1):
        for name, make in KINDS.items():
            got = list(mrpy.pmap(lambda x: raising(x, make), range(6), chunksize=6, on_error="return"))
            error = got.pop(3)
            assert got == [0, 1, 2, 4, 5], name
            assert isinstance(error, BaseException)
            assert not isinstance(error, WorkerCrashed), name


def test_an_exception_is_pickled_as_its_author_has_registered() -> None:
    done = run_script("""
        import copyreg, mrpy, distributed
        class Gone(Exception):
            __slots__ = ("code",)
            def __init__(self, message, code=0):
                super().__init__(message)
                self.code = code
        copyreg.pickle(Gone, lambda error: (Gone, (error.args[0], error.code)))
        def fail(_): raise Gone("gone", 404)
        def register(_): copyreg.pickle(Gone, lambda error: (Gone, (error.args[0], error.code)))
        with mrpy.session(workers=1):
            list(mrpy.pmap(register, [0]))
            (error,) = mrpy.pmap(fail, [0], on_error="return")
        print(type(error) is Gone, error, error.code)
    """)
    assert (done.stdout, done.stderr) == ("True gone 404\n", "")


@pytest.mark.skipif(not HAS_DASK, reason="tblib comes with Dask")
def test_an_exception_of_a_script_travels_as_it_says_where_tblib_has_its_own_way() -> None:
    done = run_script("""
        import mrpy, threading
        class Slot(Exception):
            __slots__ = ("n",)
            def __init__(self, *, n): self.n = n
        class Says(Exception):
            def __init__(self, n): self.n, self.lock = n, threading.Lock()
            def __reduce__(self): return Says, (self.n,)
        def fail(kind):
            import tblib.pickling_support
            tblib.pickling_support.install()
            raise kind(n=4)
        slot, says = mrpy.pmap(fail, [Slot, Says], workers=2, on_error="return")
        print(type(slot) is Slot, slot.n, type(says) is Says, says.n, says.lock.locked())
    """)
    assert (done.stdout, done.stderr) == ("True 4 True 4 False\n", "")

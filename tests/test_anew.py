"""Single calls of what may have changed: each finds what is there now, and a copy of its own, and sends little."""

from __future__ import annotations

import decimal
import functools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from faults.watching import run_script
from laws import BACKENDS, pickled_by_value

import mrpy
from mrpy.errors import SerializationError
from mrpy.scheduler import codec
from mrpy.scheduler.calls import Code

REMOTE = ["processes", "dask"]

MODEL = """
scale = 1
def helper(x): return x * scale
class Base:
    offset = 0
class Model(Base):
    factors = [1]
    def __init__(self):
        self.called, self.nested = 0, [[0]]
    def __call__(self, x):
        self.called += 1
        self.nested[0].append(x)
        told = self.called, len(self.nested[0]) - 1
        return helper(x) * self.factors[0] + self.offset + self.nested[0][0], told
    def method(self, x): return self(x)
"""


def of_main(text: str = MODEL) -> dict[str, Any]:
    """What a script defines."""
    space: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
    exec(text, space)  # noqa: S102
    return space


WAYS: dict[str, Callable[[Any], Callable[..., Any]]] = {
    "object": lambda model: model,
    "method": lambda model: model.method,
    "partial": functools.partial,
    "partial of a method": lambda model: functools.partial(model.method),
    "lambda": lambda model: lambda x: model(x),
}
each_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())


def changes(space: dict[str, Any], model: Any) -> Iterator[int]:
    """Change something, and say what is to come of 1 then."""
    yield 1
    model.nested[0][0] = 10
    yield 11
    space["Model"].factors[0] = 2
    yield 12
    space["Model"].factors = [3]
    yield 13
    space["Base"].offset = 100
    yield 113
    space["scale"] = 2
    yield 116
    space["helper"] = abs
    yield 113
    space["Model"].__call__ = lambda self, x: (0, (1, 1))
    yield 0


@pytest.mark.parametrize("backend", REMOTE)
@each_way
def test_what_has_changed_between_two_calls_is_seen(way: Callable[[Any], Any], backend: str) -> None:
    space = of_main()
    model = space["Model"]()
    call = way(model)
    with mrpy.session(backend, workers=1), mrpy.Executor() as executor:
        for expected in changes(space, model):
            given = expected, (1, 1)
            assert [mrpy.submit(call, 1).result(), executor.submit(call, 1).result()] == [given] * 2
            assert list(executor.map(call, [1, 1])) == [given] * 2


@pytest.mark.parametrize("backend", REMOTE)
@each_way
def test_each_call_has_a_copy_of_its_own(way: Callable[[Any], Any], backend: str) -> None:
    call = way(of_main()["Model"]())
    with mrpy.session(backend, workers=1), mrpy.Executor() as executor:
        ways = executor.map(call, range(3)), mrpy.gather([mrpy.submit(call, x) for x in range(3)])
        for given in ways:
            assert [told for _, told in given] == [(1, 1)] * 3


class Counting(mrpy.Executor):
    """A class of somebody's, as they are made over executors of the standard library."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        def counted(*args: Any) -> Any:
            return fn.__name__, fn(*args)

        return super().submit(counted, *args, **kwargs)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_submit_of_somebody_else_may_look_at_the_function_of_a_map_and_send_it_on(backend: str) -> None:
    with Counting(backend=backend, workers=1) as executor:
        for _ in range(2):
            assert list(executor.map(abs, [-1, -2])) == [("abs", 1), ("abs", 2)]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """The names of the codes that are pickled, and of the functions."""
    noted: dict[str, list[Any]] = {"codes": [], "functions": []}
    pickled, encoded = Code._pickled, codec.encode_function

    def pickle_noted(self: Code, **given: Any) -> Any:
        noted["codes"].append(self.name)
        return pickled(self, **given)

    def encode_noted(function: Any, name: str, **given: Any) -> Any:
        noted["functions"].append(name)
        return encoded(function, name, **given)

    monkeypatch.setattr(Code, "_pickled", pickle_noted)
    monkeypatch.setattr(codec, "encode_function", encode_noted)
    return noted


@each_way
def test_a_map_pickles_once_and_single_calls_send_no_code_anew(
    way: Callable[[Any], Any], sent: dict[str, list[Any]], request: pytest.FixtureRequest
) -> None:
    call, name = way(of_main()["Model"]()), request.node.name
    with mrpy.session("processes", workers=2), mrpy.Executor(name=name) as executor:
        assert len(list(executor.map(call, range(20)))) == 20
        assert sent == {"codes": [name], "functions": [name] * 2}, "the kernel, and what is called"
        assert len(list(executor.map(call, range(20)))) == 20
        assert sent == {"codes": [name], "functions": [name] * 3}
        for x in range(5):
            executor.submit(call, x).result()
        assert sent == {"codes": [name], "functions": [name] * 8}


@pytest.mark.parametrize("array", [numpy.zeros(3), numpy.zeros(100_000)], ids=["small", "large"])
def test_a_map_finds_what_there_is_at_its_first_call(array: Any) -> None:
    space = of_main("n = 0\ndef number(_): return n")
    held = [0]
    calls: list[Callable[[Any], Any]] = [
        functools.partial(lambda held, _: held[0], held),
        functools.partial(lambda array, _: float(array[0]), array),
        space["number"],
    ]

    def change() -> Iterator[int]:
        for x in range(4):
            yield x
            held[0] = array[0] = space["n"] = x + 1

    with mrpy.session("processes", workers=1), mrpy.Executor() as executor:
        for call in calls:
            held[0] = array[0] = space["n"] = 0
            assert list(executor.map(call, change())) == [0] * 4
            assert list(executor.map(call, range(4))) == [4] * 4


def test_arrays_in_an_object_can_be_written_to_as_before() -> None:
    def add(array: Any, x: int) -> float:
        array += x
        return float(array.sum())

    array = numpy.ones(50_000)
    with mrpy.session("processes", workers=1), mrpy.Executor() as executor:
        assert list(executor.map(functools.partial(add, array), [1, 2])) == [100_000, 150_000]
        array.flags.writeable = False
        with pytest.raises(ValueError, match="read-only"):
            executor.submit(functools.partial(add, array), 1).result()


def test_what_a_call_sets_of_its_context_no_other_finds() -> None:
    def precise(held: list[int], x: int) -> int:
        before = decimal.getcontext().prec
        decimal.getcontext().prec = x
        return before

    call = functools.partial(precise, [0])
    with mrpy.session("processes", workers=1), mrpy.Executor() as executor:
        assert list(executor.map(call, [5, 6, 7])) == [28] * 3
        assert [mrpy.submit(call, x).result() for x in (5, 6)] == [28] * 2
        with decimal.localcontext(prec=9):
            assert list(executor.map(call, [5, 6])) == [9] * 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_arguments_by_value_go_with_an_object_by_value(backend: str) -> None:
    space = of_main()
    model = space["Model"]()
    with mrpy.session(backend, workers=1), mrpy.Executor() as executor:
        call = functools.partial(lambda held, other: (type(held[0]) is type(other), type(other).__name__), [model])
        assert list(executor.map(call, [model, model])) == [(True, "Model")] * 2
        assert executor.submit(call, other=model).result() == (True, "Model")


def test_an_object_that_cannot_travel_is_said_by_its_future() -> None:
    model = of_main()["Model"]()
    model.lock = threading.Lock()
    with mrpy.session("processes", workers=1), mrpy.Executor() as executor:
        with pytest.raises(SerializationError, match=r"Model cannot be sent to a worker because of .*lock"):
            executor.submit(model, 1).result()
        with pytest.raises(SerializationError, match=r"Model cannot be sent to a worker because of .*lock"):
            list(executor.map(model, [1, 2]))


def test_an_object_that_cannot_be_opened_says_that_no_call_has_raised_it() -> None:
    def refuse() -> None:
        raise LookupError("not here")

    class Odd:
        def __call__(self, x: int) -> int:
            return x

        def __reduce__(self) -> Any:
            return refuse, ()

    with mrpy.session("processes", workers=1), mrpy.Executor() as executor:
        error = executor.submit(Odd(), 1).exception()
        assert isinstance(error, LookupError)
        assert "as a worker opened the function" in "".join(error.__notes__)
        assert executor.submit(abs, -1).result() == 1


def test_a_call_of_an_object_is_made_again_where_its_worker_died(tmp_path: Path) -> None:
    def once(held: list[Path], x: int) -> int:
        if x == 2 and not held[0].exists():
            held[0].touch()
            os._exit(1)
        return x

    call = functools.partial(once, [tmp_path / "died"])
    with mrpy.session("processes", workers=2), mrpy.Executor(retries=1) as executor:
        assert list(executor.map(call, range(5))) == list(range(5))


def test_in_a_script() -> None:
    script = """
import functools, mrpy
class Model:
    seen = 0
    def __init__(self): self.called = 0
    def __call__(self, x):
        self.called += 1
        return x * k, self.called
k = 2
model = Model()
with mrpy.Executor(2) as executor:
    for call in (model, model.__call__, functools.partial(model)):
        k = 2
        assert list(executor.map(call, range(4))) == [(x * 2, 1) for x in range(4)]
        k = 3
        assert list(executor.map(call, range(4))) == [(x * 3, 1) for x in range(4)]
print("done")
"""
    assert run_script(script).stdout.strip() == "done"


def test_what_copies_are_made_by_is_not_looked_at() -> None:
    pickled, asked = pickled_by_value(of_main()["Model"]())
    assert codec.decode(codec.Payload(pickled))(1) == (1, (1, 1))
    modules = {getattr(thing, "__module__", None) for thing in asked}
    assert not [name for name in modules if name and name.startswith(("mrpy", "cloudpickle"))]

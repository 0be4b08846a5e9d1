"""Pickles: what goes by value, when that is tried first, which kinds of objects go one way; what lies beside them."""

from __future__ import annotations

import collections
import copyreg
import functools
import gc
import pickle
import sys
import threading
import time
import typing
import uuid
from collections.abc import Iterator
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import cloudpickle
import numpy as np
import pytest
from laws import pickled_by_value

from mrpy.errors import SerializationError
from mrpy.scheduler import byvalue, codec
from mrpy.scheduler.culprit import culprit
from mrpy.scheduler.importable import look_around, mentions_lost


class Counted:
    """Counts how often it is pickled; refuses from some time on."""

    def __init__(self, most: int = 1 << 30) -> None:
        self.most, self.times = most, 0

    def __reduce__(self) -> Any:
        self.times += 1
        if self.times > self.most:
            raise ValueError("once too often")
        return Counted, ()


@pytest.fixture
def of_main(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An object of a class of the main module."""
    kind = type("Row", (), {"__module__": "__main__"})
    monkeypatch.setattr(sys.modules["__main__"], "Row", kind, raising=False)
    return kind()


def test_what_comes_after_data_of_the_main_module_goes_by_value_at_once(of_main: Any) -> None:
    way, first, second, third, alone = codec.Way(), Counted(), Counted(), Counted(), Counted()
    codec.encode([of_main, first], way=way)
    codec.encode([of_main, second], way=way)
    assert (first.times, second.times) == (2, 1)
    codec.encode([third], way=way)
    assert not way.by_value  # there was nothing of it, so the next is tried plainly
    codec.encode([alone], way=way)
    assert (third.times, alone.times) == (1, 1)


@pytest.mark.parametrize("around", ["a long text " * 9, b"\x93" * 9, "\u2013" * 9, 2.5])
def test_objects_of_the_main_module_are_seen_wherever_they_are_among_values(of_main: Any, around: Any) -> None:
    """Only so much of a pickle is searched as may name something."""
    view = np.arange(12.0).reshape(3, 4)[:, ::2]
    for found, data in {
        True: [[of_main], [around, of_main], [of_main, around], [around, [of_main, around], around], [type(of_main), around]],
        False: [[around], [around, view], [view, around], [Counted, around], [around, pickle.dumps(around)]],
    }.items():
        for each in data:
            assert mentions_lost(pickle.dumps(each, 5)) is found, each
    sent = codec.decode(codec.encode([around, view, around]))
    assert sent[1].strides[1] == 16 and sent[0] == sent[2] == around


def test_a_module_that_cython_makes_for_itself_is_not_searched_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made = ModuleType("_cython_3_9_9")
    made.generator = type("generator", (), {"__module__": made.__name__})  # type: ignore[attr-defined]
    other = ModuleType("_cython_magic_9")  # a cell of a notebook
    other.kind = type("kind", (), {"__module__": other.__name__})  # type: ignore[attr-defined]
    for module in (made, other):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    look_around()
    assert not mentions_lost(b"\x8c\x0d_cython_3_9_9\x93") and mentions_lost(b"\x8c\x0f_cython_magic_9\x93")


def test_it_is_remembered_for_a_run_only(of_main: Any) -> None:
    first, second = Counted(), Counted()
    codec.encode([of_main, first])
    codec.encode([of_main, second])
    assert (first.times, second.times) == (2, 2)


def test_what_does_not_go_by_value_is_tried_plainly_before_it_is_refused(of_main: Any) -> None:
    way = codec.Way()
    codec.encode([of_main], way=way)

    class Picky:
        def __reduce__(self) -> Any:
            frame = sys._getframe(1)
            if frame.f_globals["__name__"] == byvalue.__name__:
                raise ValueError("not like this")
            return str, ("fine",)

    assert codec.decode(codec.encode(Picky(), way=way)) == "fine"
    codec.encode([of_main], way=way)
    with pytest.raises(SerializationError, match="once too often"):
        codec.encode(Counted(0), way=way)
    assert not way.by_value


def test_small_arrays_stay_in_the_pickle_and_others_beside_it_both_as_writable_as_they_were() -> None:
    one, other = np.arange(codec.IN_BAND // 8 - 1), np.arange(codec.IN_BAND // 8)
    fixed = [one.copy(), other.copy()]
    for array in fixed:
        array.flags.writeable = False
    payload = codec.encode([one, other, *fixed])
    assert [buffer.nbytes for buffer in payload.buffers] == [codec.IN_BAND] * 2
    got = codec.decode(payload._replace(buffers=tuple(map(codec.copy_of, payload.buffers))))
    assert [list(array) for array in got] == [list(array) for array in [one, other, *fixed]]
    assert [array.flags.writeable for array in got] == [True, True, False, False]


@functools.lru_cache
def known(x: int) -> int:
    """A cache that is found by its name."""
    return x


KNOWN = typing.NewType("KNOWN", int)


def own() -> Any:
    """The like, in a main module."""

    def plus(x: int) -> int:
        return x + 1

    plus.__module__ = "__main__"
    return plus


def sent(value: Any) -> Any:
    """There and back."""
    return pickle.loads(byvalue.dumps(value))


def test_of_caches_and_types_some_go_by_name_and_some_by_value() -> None:
    mine = functools.lru_cache(own())
    first, second, third = sent([known, mine, known])
    assert first is third is known and second(1) == 2 and second is not mine
    of_main = typing.NewType("Mine", int)
    of_main.__module__ = "__main__"
    first, second = sent([KNOWN, of_main])
    assert first is KNOWN and second.__name__ == "Mine"
    first, second = sent([sent, own()])
    assert first is sent and second(1) == 2


class Proxy:
    """Says that it is what it stands for."""

    def __init__(self, thing: Any) -> None:
        self._thing = thing

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_thing"), name)

    def __reduce_ex__(self, _: Any) -> Any:
        return str, ("itself",)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self._thing)


def test_a_proxy_is_what_it_says_whatever_those_before_it_were() -> None:
    function = own()
    function.__name__ = function.__qualname__ = "plus"
    first, second = sent([Proxy(3), Proxy(function)])
    assert first == "itself"
    assert second == "itself", "by its own way, also where it says that it is a function"


class Own:
    """Pickled in a way that is registered."""


@pytest.fixture
def registered() -> Iterator[None]:
    copyreg.pickle(Own, lambda _: (str, ("copyreg",)))  # type: ignore[arg-type]
    try:
        yield
    finally:
        del copyreg.dispatch_table[Own]


def test_ways_that_are_registered_are_gone_by_for_each_object(
    registered: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sent([Own(), Own(), collections.Counter("a")]) == ["copyreg", "copyreg", {"a": 1}]
    theirs = cloudpickle.Pickler.dispatch_table
    monkeypatch.setitem(theirs, Own, lambda _: (str, ("cloudpickle",)))
    assert sent([Own(), Own()]) == ["cloudpickle", "cloudpickle"]


class Bound:
    """Its module has one with a state, and one that cannot be pickled."""

    def __init__(self, n: int | None) -> None:
        self.n = n

    def __getstate__(self) -> Any:
        if self.n is None:
            raise TypeError("not this one")
        return vars(self)


ORIGIN, OPEN = Bound(0), Bound(None)


def test_objects_of_which_their_module_has_one_with_a_state_go_the_same_way() -> None:
    """Each of them would be looked at else."""
    things = [make(n) for n in range(9) for make in (Bound, lambda n: uuid.UUID(int=n))]
    pickled, asked = pickled_by_value([*things, ORIGIN, uuid.NAMESPACE_DNS])
    *back, origin, name = pickle.loads(pickled)
    assert (back[1::2], name) == (things[1::2], uuid.NAMESPACE_DNS)
    assert [bound.n for bound in (*back[::2], origin)] == [*range(9), 0]
    kinds = [*map(type, asked)]
    assert (kinds.count(Bound), kinds.count(uuid.UUID)) == (1, 1)


def test_globals_that_a_class_in_a_function_mentions_go_along_each_time() -> None:
    names = {"__name__": "__main__", "LIMIT": 3}
    exec("def make():\n    class Inner:\n        limit = LIMIT\n    return Inner.limit", names)
    for limit in (3, 4):
        names["LIMIT"] = limit
        assert sent(names["make"])() == limit
    cloudpickle.cloudpickle._extract_code_globals_cache.clear()
    assert sent(names["make"])() == 4


def test_threads_that_open_large_pickles_side_by_side_leave_the_collector_on() -> None:
    def opens() -> None:
        while time.monotonic() < end:
            codec.without_gc(lambda: [(n,) for n in range(30)])

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    end = time.monotonic() + 1.5
    try:
        threads = [threading.Thread(target=opens) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert gc.isenabled()
    finally:
        sys.setswitchinterval(before)
        gc.enable()


def test_the_line_of_a_culprit_is_that_where_it_is_used_not_that_of_a_function_that_uses_it() -> None:
    guard = threading.Lock()

    def task() -> Any:
        def inner() -> Any:
            return guard

        return inner

    in_words, _ = culprit(task)
    assert in_words == f"'guard', a lock at {__file__}:{task.__code__.co_firstlineno + 2}"


def test_what_raises_where_a_culprit_is_looked_for_is_a_value_that_cannot_travel() -> None:
    class Odd(dict[str, Any]):
        def items(self) -> Any:
            raise ValueError("nobody may ask")

    with pytest.raises(SerializationError, match=r"Odd.* cannot be sent to a worker: nobody may ask"):
        codec.encode(Odd(a=1))


class Decorated:
    """A proxy: it says that it is the function that it holds, and is more."""

    def __init__(self, function: Any) -> None:
        self.__dict__["function"] = function

    @property
    def __class__(self) -> Any:
        return type(self.function)

    def __getattr__(self, name: str) -> Any:
        if name == "function":  # of one that is being made
            raise AttributeError(name)
        return getattr(self.function, name)

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments) + 100


class FunctionWrapper(Decorated):
    """One of wrapt, which refuses to be pickled."""

    def __init__(self, wrapped: Any, wrapper: Any, enabled: Any = None) -> None:
        super().__init__(lambda *arguments: wrapper(wrapped, None, arguments, {}))
        functools.update_wrapper(self, wrapped)
        self._self_wrapper, self._self_enabled = wrapper, enabled

    def __reduce_ex__(self, _: Any) -> Any:
        raise NotImplementedError("object proxy must define __reduce__()")


decorated = Decorated(abs)


def test_a_proxy_of_a_function_travels_with_what_it_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(decorated, FunctionType) is False and isinstance(Decorated(lambda n: n), FunctionType)
    assert sent(Decorated(lambda n: n * 2))(4) == 108
    held = sent({"held": [Decorated(lambda n: n)]})["held"][0]
    assert type(held) is Decorated and held(1) == 101
    fake = SimpleNamespace(FunctionWrapper=FunctionWrapper)
    monkeypatch.setitem(sys.modules, "wrapt", fake)  # type: ignore[arg-type]
    once_more = FunctionWrapper(lambda n: n, lambda wrapped, _, arguments, keywords: wrapped(*arguments) + 1)
    assert once_more(1) == sent(once_more)(1) == 102


def by_name(n: int) -> int:
    return n


by_name = FunctionWrapper(by_name, lambda wrapped, _, arguments, keywords: wrapped(*arguments) + 1)


def test_a_proxy_in_an_importable_module_goes_by_its_name() -> None:
    assert by_name(1) == 102 and sent(by_name) is by_name

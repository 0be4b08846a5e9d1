"""What counts of a program where its parameters are objects of all kinds: odd, large, or in use elsewhere."""

from __future__ import annotations

import decimal
import enum
import functools
import os
import random
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import MagicMock, Mock

import numpy as np
import pytest

from mrpy.mapreduce.program import DEEP, program_of
from mrpy.mapreduce.steps import Map


class Service:
    """Of which a method is called."""

    def __init__(self, held: Any = None) -> None:
        self.held = held

    def look(self, x: int) -> int:
        return x


class Grows(list[int]):
    """Stands for another thread: where it is looked at, the dict changes that holds it."""

    def __init__(self) -> None:
        self.within: dict[Any, Any] = {"itself": self, "and": "more"}

    def __iter__(self) -> Any:
        self.within[len(self.within)] = 1
        return super().__iter__()


class Asked(type):
    def __getattribute__(cls, name: str) -> Any:
        if name == "rate" and len(vars(CHANGING)) < 9:
            setattr(CHANGING, f"more{len(vars(CHANGING))}", 1)
        return super().__getattribute__(name)


class Changing(Service, metaclass=Asked):
    rate = 1


CHANGING = Changing()
CHANGING.rate = 2
TABLE = dict.fromkeys(range(9))


def uses_a_table(x: int) -> Any:
    return TABLE[x]


def known(*functions: Callable[..., Any]) -> str:
    """By what a checkpoint knows a chain of these."""
    return program_of(map(Map, functions), "map")


@pytest.mark.parametrize("held", [Grows().within, Service(Grows().within)], ids=["dict", "object"])
def test_data_may_change_while_a_run_begins(held: Any) -> None:
    assert known(Service(held).look)


def test_an_object_may_change_while_a_run_begins() -> None:
    assert known(CHANGING.look)


def test_a_table_may_change_while_a_run_begins() -> None:
    """At each line of what looks at it there is one more in it."""

    def change(frame: FrameType, *_: Any) -> Any:
        if frame.f_code.co_filename.endswith("users_code.py"):
            TABLE[len(TABLE)] = None
        return change

    before = sys.gettrace()
    sys.settrace(change)
    try:
        assert known(uses_a_table)
    finally:
        sys.settrace(before)


class Node:
    def __init__(self, following: Any) -> None:
        self.following = following


def test_code_that_data_lead_to_counts_beside_a_parameter_that_goes_on_and_on() -> None:
    row = None
    for _ in range(2 * DEEP):
        row = Node(row)

    def over(table: Any) -> Callable[..., Any]:
        return lambda x, first=row: table[0](x)

    assert known(over([lambda x: x + 1])) != known(over([lambda x: x + 2]))


@pytest.mark.parametrize("mock", [Mock, MagicMock])
def test_mocks_may_be_parameters(mock: Callable[[], Any]) -> None:
    """Whatever they are asked they answer, with more of their kind: that took for ever."""
    assert known(partial(Service.look, mock())) == known(partial(Service.look, mock()))
    assert known(Service(mock()).look) == known(Service(mock()).look)


_ARRAYS: dict[str, Callable[[int], Any]] = {
    "in a row": lambda n: np.array([n, 1]), "in columns": lambda n: np.array([[n, 1], [2, 3]]).T, "of no dimension": lambda n: np.array(n),
    "empty": lambda n: np.zeros((n, 0)), "of dates": lambda n: np.array([f"202{n}-01-01"], "M8[D]"), "each other one": lambda n: np.arange(n, 9)[::2],
    "of records": lambda n: np.array([(n, 2.5)], "i4,f8"), "read-only": lambda n: np.frombuffer(b"%dabc" % n, np.uint8), "of objects": lambda n: np.array([n, None]),
}  # fmt: skip


@pytest.mark.parametrize("array", _ARRAYS.values(), ids=_ARRAYS)
def test_arrays_count_by_what_is_in_them(array: Callable[[int], Any]) -> None:
    assert known(Service(array(1)).look) == known(Service(array(1)).look) != known(Service(array(2)).look)


def test_large_arrays_are_not_copied_for_that(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(30_000_000))
    for array in (np.zeros(30_000_000, np.uint8), np.memmap(tmp_path / "a", np.uint8, "r")):
        before = known(Service(array).look)
        tracemalloc.start()
        assert known(Service(array).look) == before
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 5_000_000


def test_a_mapped_file_counts_by_what_is_in_it(tmp_path: Path) -> None:
    def of(data: bytes) -> str:
        (tmp_path / "a").write_bytes(data)
        return known(Service(np.memmap(tmp_path / "a", np.uint8, "r")).look)

    assert of(b"abc") == of(b"abc") != of(b"abd")


class SaysNothing(Service):
    def __reduce__(self) -> Any:
        return None


class SaysTooMuch(Service):
    def __reduce__(self) -> Any:
        return SaysTooMuch, (), None, (1 / 0 for _ in "a")


class NoHash(type):
    def __eq__(cls, other: object) -> bool:
        return cls is other

    __hash__ = None  # type: ignore[assignment]


class OfNoHash(Service, metaclass=NoHash): ...


class Private(enum.Enum):
    ONE = 1
    TWO = 2

    @property
    def value(self) -> Any:
        raise AttributeError("not to be read")

    def look(self, x: int) -> int:
        return x


@pytest.mark.parametrize("odd", [SaysNothing(), SaysTooMuch(), OfNoHash(), Private.ONE], ids=lambda odd: type(odd).__name__)
def test_a_run_begins_whatever_an_object_says_of_itself(odd: Any) -> None:
    assert known(odd.look) and known(Service([odd]).look)


def test_members_of_an_enum_count_that_says_nothing_of_their_values() -> None:
    assert known(Private.ONE.look) != known(Private.TWO.look)


class Slow:
    """Whose attributes are its slots and a dict, where it keeps what it has computed."""

    def __init__(self, by: int) -> None:
        self.by = by

    @functools.cached_property
    def twice(self) -> int:
        return 2 * self.by


class Slotted(Slow):
    __slots__ = ("also",)

    def look(self, x: int) -> int:
        return x


def test_what_an_object_with_slots_has_computed_does_not_count() -> None:
    slotted = Slotted(2)
    slotted.also = 1
    before = known(slotted.look)
    assert slotted.twice == 4
    assert known(slotted.look) == before
    slotted.also = 2
    assert known(slotted.look) != before


class Lazy:
    def __init__(self) -> None:
        self.seen: dict[int, int] = {}

    def __call__(self, x: int) -> int:
        return x


def fills_itself(x: int) -> Any:
    if not hasattr(fills_itself, "model"):
        fills_itself.model = Lazy()  # type: ignore[attr-defined]
    return fills_itself.model(x)  # type: ignore[attr-defined]


def test_what_a_function_keeps_in_an_attribute_from_its_first_call_on_does_not_count() -> None:
    before = known(fills_itself)
    assert fills_itself(1) == 1
    assert known(fills_itself) == before


def with_memo(memo: Lazy, x: int) -> int:
    return memo.seen.setdefault(x, memo(x))


FILLED = partial(with_memo, Lazy())
FILLED_IN_A_LIST = partial(print, [Lazy()])


def test_what_a_partial_holds_that_is_no_parameter_itself_does_not_count() -> None:
    """It may be filled while a run is under way, as what else is in variables."""

    def function(x: int) -> Any:
        return FILLED(x), FILLED_IN_A_LIST

    before = known(function)
    assert function(1)
    FILLED_IN_A_LIST.args[0][0].seen[1] = 1
    assert known(function) == before


_OF_SETS = """
from mrpy.mapreduce.steps import Map
from mrpy.mapreduce.program import program_of
class Item:
    def __init__(self, n): self.n = n
    def __hash__(self): return hash(self.n)
    def __eq__(self, other): return self.n == other.n
    def look(self, x): return x
class Node:
    def __init__(self, n): self.n = n
class Graph:
    def __init__(self):
        self.nodes = [Node(n) for n in range(20)]
        for node in self.nodes: node.near = set(self.nodes)
    def look(self, x): return x
class All:
    def __init__(self):
        self.items, self.pairs = {Item(c) for c in "abcdefgh"}, {(c, Item(c)) for c in "abcdefgh"}
        self.functions = {Item.look, Graph.look, Node.__init__, len, Item}
    def look(self, x): return x
junk = [object() for _ in range(SEED * 7)]
print(program_of([Map(All().look), Map(Graph().look)], "map"))
"""


def test_sets_of_objects_are_the_same_in_every_process() -> None:
    found = set()
    for seed in "123":
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        code = _OF_SETS.replace("SEED", seed)
        found.add(subprocess.check_output([sys.executable, "-c", code], env=environment, timeout=60))
    assert len(found) == 1


_METHODS_IN_C: dict[str, Callable[[int], Any]] = {
    "of an array": lambda n: np.array([n, 1]).dot, "of a context": lambda n: decimal.Context(prec=n).create_decimal,
    "of random numbers": lambda n: random.Random(n).random, "of NumPy's": lambda n: np.random.default_rng(n).normal, "of a text": lambda n: str(n).join,
}  # fmt: skip


@pytest.mark.parametrize("method", _METHODS_IN_C.values(), ids=_METHODS_IN_C)
def test_the_object_counts_whose_method_is_called_though_that_is_written_in_c(method: Callable[[int], Any]) -> None:
    assert known(method(1)) == known(method(1)) != known(method(2))


@pytest.mark.parametrize("data", [{}, set()], ids=repr)
def test_what_is_in_a_container_does_not_count_whose_method_is_called(data: Any) -> None:
    before = known(data.copy)
    data |= {5: 5} if isinstance(data, dict) else {5}
    assert data and known(data.copy) == before


def _kind_of(base: Any) -> Any:
    class Own(base):  # type: ignore[misc]
        def __init__(self, by: int) -> None:
            self.by = by

        def __new__(cls, by: int) -> Any:
            return base.__new__(cls)

        @functools.cached_property
        def twice(self) -> int:
            return 2 * int(self.by)

        def look(self, x: int) -> int:
            return x

    return Own


@pytest.mark.parametrize("base", [dict, list, set, frozenset, tuple, int, str])
def test_attributes_of_ones_own_kinds_of_containers_and_numbers_count(base: Any) -> None:
    own = _kind_of(base)
    one, other = own(1), own(2)
    assert known(one.look) == known(own(1).look) != known(other.look)
    assert known(Service([one]).look) != known(Service([other]).look)
    before = known(one.look)
    assert one.twice == 2
    assert known(one.look) == before


class Bare:
    """Holds nothing but what it has computed."""

    @functools.cached_property
    def twice(self) -> int:
        return 2

    def look(self, x: int) -> int:
        return x


class BareWithSlots(Bare):
    __slots__ = ("also",)

    def __init__(self) -> None:
        self.also = 1


class BareList(Bare, list[int]): ...


@pytest.mark.parametrize("kind", [Bare, BareWithSlots, BareList])
def test_what_is_computed_does_not_count_where_there_is_nothing_else(kind: Any) -> None:
    bare = kind()
    before = known(bare.look)
    assert bare.twice == 2
    assert known(bare.look) == before

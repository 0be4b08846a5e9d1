"""What counts of a program where its parameters are objects of all kinds: odd, large, or in use elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any
from unittest.mock import MagicMock, Mock

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

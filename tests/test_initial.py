"""`preduce` with an initial value is the loop that begins with it: items stay as they are."""

from __future__ import annotations

import copy
import functools
import operator
from typing import Any

import numpy as np
import pytest

import mrpy


class Frame:
    """Changed in place by ``+=``, as tables of data are; a shallow copy shares what it holds."""

    def __init__(self, *numbers: int) -> None:
        self.data = np.array(numbers)

    def __add__(self, other: Any) -> Frame:
        return Frame(*(self.data + getattr(other, "data", other)))

    __radd__ = __add__

    def __iadd__(self, other: Any) -> Frame:
        self.data += getattr(other, "data", other)
        return self

    def __repr__(self) -> str:
        return f"Frame({self.data})"


class Quantity(np.ndarray[Any, Any]):
    """An array with more about it."""


CHANGED = {
    "list": [1, 2],
    "array": np.array([1, 2]),
    "masked": np.ma.array([1, 2], mask=[True, False]),
    "subclass": np.array([1, 2]).view(Quantity),
    "frame": Frame(1, 2),
}


@pytest.mark.parametrize("name", CHANGED)
@pytest.mark.parametrize("backend", ["serial", "threads"])
def test_an_operator_that_changes_its_left_changes_no_item(name: str, backend: str) -> None:
    item = copy.deepcopy(CHANGED[name])
    start: Any = [] if name == "list" else 0
    expected = functools.reduce(operator.iadd, [item] * 5, copy.copy(start))
    for chunksize in (1, 2, 5):
        found = mrpy.preduce(operator.iadd, [item] * 5, start, backend=backend, workers=2, chunksize=chunksize)
        assert repr(found) == repr(expected)
        assert repr(item) == repr(CHANGED[name])


def test_an_item_that_is_chosen_is_itself() -> None:
    items = [object(), object()]
    assert mrpy.preduce(lambda left, right: right, items, None, backend="serial") is items[1]

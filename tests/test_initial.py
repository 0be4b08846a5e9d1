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
        found = mrpy.preduce(
            operator.iadd, [item] * 5, start, backend=backend, workers=2, chunksize=chunksize
        )
        assert repr(found) == repr(expected)
        assert repr(item) == repr(CHANGED[name])


def test_an_item_that_is_chosen_is_itself() -> None:
    items = [object(), object()]
    assert mrpy.preduce(lambda left, right: right, items, None, backend="serial") is items[1]


class Locked(Frame):
    """Cannot be copied."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("cannot pickle '_thread.lock' object")


def test_what_cannot_be_copied_is_reduced_as_it_is() -> None:
    def longer(left: Any, right: Any) -> Any:
        return right

    items = [Locked(1), Locked(2)]
    assert mrpy.preduce(longer, items, None, backend="serial") is items[1]


IMAGE = np.full((2, 2), 200, "u1")
MASKS = [np.array([True, False])] * 5


@pytest.mark.parametrize("backend", ["serial", "processes"])
@pytest.mark.parametrize(
    ("operation", "items", "start"),
    [
        (np.add, [IMAGE] * 5, np.zeros((2, 2))),
        (operator.add, [IMAGE] * 5, 0.0),
        (operator.iadd, [IMAGE] * 5, np.zeros((2, 2), int)),
        (operator.add, [IMAGE] * 5, 0),
        (np.multiply, [IMAGE] * 3, np.ones((2, 2))),
        (operator.matmul, [IMAGE] * 3, np.eye(2)),
        (np.matmul, [np.full((2, 3), 200, "u1"), np.full((3, 1), 200, "u1")], np.eye(2)),
        (np.add, MASKS, 0),
        (np.add, MASKS, np.zeros(2, int)),
        (np.add, MASKS, np.zeros(2, bool)),
        (operator.add, [np.uint8(200)] * 3, np.int64(0)),
        (operator.add, [np.ma.array([200, 1], "u1", mask=[False, True])] * 3, np.zeros(2)),
        (np.maximum, [IMAGE] * 3, -np.inf),
        (np.add, [0.5, 1, 2], np.int64(0)),
        (np.add, list(np.full(9, 3, "m8[h]")), np.datetime64("2026-01-01", "s")),
        (np.logical_or, MASKS, False),
        (operator.or_, [{1}, {2}], set()),
        (np.add, [], np.zeros(2)),
    ],
)
def test_arrays_have_the_type_they_have_beside_the_initial_value(
    operation: Any, items: Any, start: Any, backend: str
) -> None:
    expected = functools.reduce(operation, items, copy.deepcopy(start))
    for chunksize in (1, 2, 5):
        found = mrpy.preduce(operation, items, start, backend=backend, workers=2, chunksize=chunksize)
        assert repr(found).split("fill_value")[0] == repr(expected).split("fill_value")[0]
    assert IMAGE.dtype == np.uint8 and IMAGE.max() == 200

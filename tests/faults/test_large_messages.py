"""Row 23: messages of more than 2 GiB, either way. By hand only, with MRPY_SLOW=1: they want 12 GB of memory.

What nests deeply is in ``test_hostile_values.py``.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from watching import assert_usable

import mrpy

SIZE = 2**31 + 12_345  # what no signed number of 32 bits can say
MANY = 2**20  # a message of this size is sent in the same ways

slow = pytest.mark.skipif(os.environ.get("MRPY_SLOW") != "1", reason="by hand: MRPY_SLOW=1")
over_sizes = pytest.mark.parametrize("size", [MANY, pytest.param(SIZE, marks=slow)])
over_kinds = pytest.mark.parametrize("kind", ["bytes", "array", "text"])


def made(kind: str, size: int) -> Any:
    if kind == "array":
        import numpy

        return numpy.full(size, 7, "u1")
    return b"\x07" * size if kind == "bytes" else "7" * size


def length(value: Any) -> tuple[int, int]:
    return len(value), int(value[-1])


@pytest.mark.fault(23)
@over_sizes
@over_kinds
def test_an_argument_may_be_larger_than_two_gibibytes(session: Any, kind: str, size: int) -> None:
    assert mrpy.submit(length, made(kind, size)).result() == (size, 7)
    assert_usable(session)


@pytest.mark.fault(23)
@over_sizes
@over_kinds
def test_a_result_may_be_larger_than_two_gibibytes(session: Any, kind: str, size: int) -> None:
    result = mrpy.submit(made, kind, size).result()
    assert length(result) == (size, 7)
    del result
    assert_usable(session)


@pytest.mark.fault(23)
@over_sizes
def test_a_chunk_may_be_larger_than_two_gibibytes(session: Any, size: int) -> None:
    item = b"\x07" * (size // 8 + 1)
    items = [item + bytes([n]) for n in range(8)]
    assert sum(mrpy.pmap(len, items, chunksize=8)) == 8 * (len(item) + 1)
    assert_usable(session)


@pytest.mark.fault(23)
@over_sizes
def test_what_a_function_holds_may_be_larger_than_two_gibibytes(session: Any, size: int) -> None:
    held = made("bytes", size)
    assert list(mrpy.pmap(lambda x: len(held) + x, range(2), workers=1)) == [size, size + 1]
    assert_usable(session)

"""What counts of a program, for a checkpoint to be of the same one: parameters by their values."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrpy
from mrpy.errors import CheckpointError


@dataclasses.dataclass(frozen=True)
class Gain:
    by: float


_VALUES: dict[str, Callable[[int], Any]] = {
    "np.int64": np.int64, "np.float32": np.float32, "np.bool": np.bool_, "np.complex64": np.complex64,
    "np.datetime64": lambda n: np.datetime64(f"202{n}-01-01"), "np.dtype": lambda n: np.dtype(("<f4", "<f8")[n]),
    "masked": lambda n: np.ma.masked_array([n, 5], mask=[False, True]), "records": lambda n: np.rec.array([(n,)], dtype=[("n", "i4")]),
    "Decimal": Decimal, "Fraction": Fraction, "date": lambda n: datetime.date(2020 + n, 1, 1),
    "Path": lambda n: Path(f"{n}"), "range": range, "slice": slice, "bytearray": lambda n: bytearray(b"a" * n),
    "deque": lambda n: deque([n]), "pattern": lambda n: re.compile(f"{n}"), "frozen dataclass": Gain,
    "in a list": lambda n: [{"gain": [Gain(n)]}],
}  # fmt: skip


@pytest.mark.parametrize("value", _VALUES.values(), ids=_VALUES)
@pytest.mark.parametrize("how", ["partial", "default"])
def test_a_parameter_counts_by_its_value(tmp_path: Path, how: str, value: Callable[[int], Any]) -> None:
    def run(n: int) -> list[Any]:
        def with_default(x: int, held: Any = value(n)) -> int:
            return x + n

        def with_parameter(held: Any, x: int) -> int:
            return x + 1

        function = with_default if how == "default" else partial(with_parameter, value(n))
        return list(mrpy.pmap(function, range(9), backend="serial", checkpoint=tmp_path / "made"))

    with_one = run(1)
    assert run(1) == with_one, "the same, made once more"
    with pytest.raises(CheckpointError):
        run(0)

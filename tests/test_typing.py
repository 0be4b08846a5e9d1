"""What type checkers are told: see tests/typed, which `make lint` has checked. Here it is run."""

from __future__ import annotations

import importlib.util
import typing
from pathlib import Path
from types import ModuleType
from typing import Any

import mrpy

TYPED = Path(__file__).parent / "typed"


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, TYPED / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_programs_that_are_right_run(tmp_path: Path) -> None:
    loaded("right").main(tmp_path)


def test_types_with_items_stand_in_annotations_at_run_time() -> None:
    def f(items: mrpy.ParallelIterator[int], *, name: str) -> mrpy.PendingResult[str]:
        return mrpy.submit(str, name)

    hints: dict[str, Any] = typing.get_type_hints(f)
    assert typing.get_origin(hints["items"]) is mrpy.ParallelIterator and typing.get_args(hints["items"]) == (int,)
    assert typing.get_origin(hints["return"]) is mrpy.PendingResult and typing.get_args(hints["return"]) == (str,)
    assert mrpy.ParallelIterator[int] | None  # evaluated where there is no `from __future__ import annotations`

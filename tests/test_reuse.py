"""A function that is submitted again is sent again when, and only when, something that it holds has changed."""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

import mrpy
from mrpy.scheduler.calls import Code
from mrpy.scheduler.reuse import code_for

NAMES: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__, "math": math}


def of_main(text: str, **names: Any) -> Callable[..., Any]:
    """A function `f` as a script would define it."""
    space = {**NAMES, **names}
    exec(text, space)  # noqa: S102
    return space["f"]  # type: ignore[no-any-return]


def code(function: Callable[..., Any]) -> Code:
    return code_for(function, lambda: Code(function, "f"))


@pytest.mark.parametrize(
    "text",
    [
        "def f(x): return x + n",
        "def f(x, y=n): return x + y",
        "def f(x, *, y=n): return x + y",
        "def f(x): return (lambda: n)()",
        "def g(): return n\ndef f(x): return g() + x",
        "def f(x): return f(x - n) if x > 0 else x",
    ],
)
def test_the_code_is_reused_until_a_number_changes(text: str) -> None:
    f = of_main(text, n=1)
    first = code(f)
    assert code(f) is first
    f.__globals__["n"] = 1.0
    f.__defaults__ = (1.0,) if f.__defaults__ else None
    f.__kwdefaults__ = {"y": 1.0} if f.__kwdefaults__ else None
    second = code(f)
    assert second is not first
    assert code(f) is second


@pytest.mark.parametrize("held", [[1], {1: 2}, object(), bytearray(3), {1}])
def test_what_can_be_changed_in_place_is_sent_each_time(held: Any) -> None:
    f = of_main("def f(x): return n", n=held)
    assert code(f) is not code(f)
    g = of_main("def f(): return lambda x: held", held=held)
    assert code(g) is not code(g)


def test_a_function_with_attributes_or_an_empty_cell_or_bound_to_an_object_is_sent_each_time() -> None:
    f = of_main("def f(x): return x")
    assert code(f) is code(f)
    f.calls = 0  # type: ignore[attr-defined]
    assert code(f) is not code(f)

    def later() -> Callable[[], int]:
        def inner() -> int:
            return value

        if not later:
            value = 1
        return inner

    assert code(later()) is not code(later())
    assert code([].append) is not code([].append)


def test_imported_functions_and_modules_are_reused() -> None:
    assert code(math.sqrt) is code(math.sqrt)
    assert code(os.path.join) is code(os.path.join)
    f = of_main("def f(x): return math.sqrt(x)")
    assert code(f) is code(f)
    assert isinstance(f, FunctionType)


def test_another_working_directory_is_another_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = code(math.sqrt)
    monkeypatch.chdir(tmp_path)
    assert code(math.sqrt) is not before


def test_another_import_path_or_another_log_level_is_another_code(monkeypatch: pytest.MonkeyPatch) -> None:
    before = code(os.path.join)
    monkeypatch.setattr(sys, "path", [*sys.path, "/nowhere"])
    changed = code(os.path.join)
    assert changed is not before
    monkeypatch.setattr(logging.root, "level", logging.root.level + 1)
    monkeypatch.setattr(logging.root, "handlers", [logging.NullHandler()])
    assert code(os.path.join) not in (before, changed)


@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_submit_sees_the_values_of_now(backend: str) -> None:
    f = of_main("def f(x): return x + n", n=1)
    with mrpy.session(backend, workers=1):
        assert mrpy.submit(f, 1).result() == 2
        assert mrpy.submit(f, 1).result() == 2
        f.__globals__["n"] = 10
        assert mrpy.submit(f, 1).result() == 11

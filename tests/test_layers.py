"""Imports point down, files are small: read from the code itself."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mrpy"
FILES = sorted(PACKAGE.rglob("*.py"))

LAYERS = ["light", "machine", "errors", "inside", "scoped", "options", "scheduler", "progress", "mapreduce", "iterators", "api", "", "cli", "__main__"]
"""From the lowest up; '' is mrpy/__init__.py. Each may import what is below it, and its own room."""

ANYONE = {"_version"}


def layer(module: str) -> str:
    """'mrpy.scheduler.driver' is of the layer 'scheduler'."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def module_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(file: Path) -> set[str]:
    """Every module of mrpy that a file imports, anywhere in it, for type checkers only included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name} has a relative import"
            assert node.module is not None
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names if node.module == "mrpy")
    return {name for name in names if name == "mrpy" or name.startswith("mrpy.")}


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_imports_point_down(file: Path) -> None:
    mine = layer(module_of(file))
    if mine in ANYONE:
        assert not imported(file)
        return
    assert mine in LAYERS, f"{file} is of no known layer"
    for name in imported(file):
        theirs = layer(name)
        if theirs in ANYONE or theirs == mine:
            continue
        if mine == "cli" and name == "mrpy" or theirs not in LAYERS:
            continue  # the command goes through the shop window, and picks names from it
        assert LAYERS.index(theirs) < LAYERS.index(mine), f"{module_of(file)} imports {name}, which is above it"


def test_the_scheduler_has_never_heard_of_map_reduce_or_iterators() -> None:
    for file in (PACKAGE / "scheduler").rglob("*.py"):
        assert {layer(name) for name in imported(file)} <= {"light", "machine", "errors", "inside", "scoped", "options", "scheduler"}


def test_the_pure_rooms_have_no_clock_no_threads_and_no_io() -> None:
    for name in ("states", "messages", "scheduler", "policy", "record", "queues"):
        tree = ast.parse((PACKAGE / "scheduler" / f"{name}.py").read_text(encoding="utf-8"))
        modules = {
            alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
        } | {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not modules & {"time", "threading", "socket", "os", "selectors", "queue", "random", "asyncio"}


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_files_and_functions_stay_small(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 60, f"{node.name} has {length} lines"


def test_nine_functions_in_ten_are_under_thirty_lines() -> None:
    lengths = [
        (node.end_lineno or 0) - node.lineno + 1
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert sum(length < 30 for length in lengths) >= 0.9 * len(lengths)

"""What `import mrpy` loads: nothing that takes time."""

from __future__ import annotations

import inspect
import subprocess
import sys
import typing

import mrpy

HEAVY = {
    "numpy", "dask", "distributed", "cloudpickle", "toolz", "rich", "click", "dataclasses", "inspect",
    "multiprocessing", "concurrent.futures", "asyncio", "logging", "typing", "socket", "subprocess", "sqlite3",
}  # fmt: skip


def loaded(code: str) -> set[str]:
    """The modules there are after `code`, in a fresh interpreter without site packages' own start-up."""
    script = f"import sys; before = set(sys.modules)\n{code}\nprint(*sorted(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stdout.split())


def test_importing_mrpy_loads_nothing_heavy() -> None:
    assert not loaded("import mrpy; mrpy.__version__; dir(mrpy)") & HEAVY


def test_a_run_on_processes_needs_neither_numpy_nor_dask() -> None:
    code = "import mrpy; assert list(mrpy.parallel((n for n in range(9)), workers=1)) == list(range(9))"
    assert not loaded(code) & {"numpy", "dask", "distributed", "rich", "click", "toolz", "asyncio", "sqlite3"}
    assert not loaded("import mrpy; assert list(mrpy.pmap(abs, range(9), workers=1)) == list(range(9))") & HEAVY


def test_plain_items_are_weighed_without_a_module_more() -> None:
    before = "from mrpy.mapreduce.chunks import visible_bytes"
    assert loaded(f"{before}; assert visible_bytes([1, 2.5, 'a', [None]]) > 0") == loaded(before)


def test_every_public_name_is_there_and_listed() -> None:
    for name in mrpy.__all__:
        assert getattr(mrpy, name) is not None
        assert name in dir(mrpy)


def test_annotations_of_all_that_is_public_can_be_resolved() -> None:
    for name in mrpy.__all__:
        public = getattr(mrpy, name)
        methods = inspect.getmembers(public, inspect.isfunction) if inspect.isclass(public) else []
        functions = [public] if inspect.isfunction(public) else []
        functions += [method for called, method in methods if not called.startswith("_")]
        for function in functions:
            assert typing.get_type_hints(function) or function.__annotations__ == {}, function


def test_mapreduce_is_the_verb_whatever_was_imported_before() -> None:
    from mrpy.mapreduce import plan

    assert plan.Plan
    assert callable(mrpy.mapreduce) and mrpy.mapreduce.__module__ == "mrpy.api"


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    try:
        mrpy.pmapp  # noqa: B018
    except AttributeError as error:
        assert "pmapp" in str(error)
    else:
        raise AssertionError


def test_a_finalizer_may_use_mrpy_while_its_modules_are_imported() -> None:
    code = """
import gc, mrpy

class Last:
    at_work = False

    def __init__(self):
        self.itself = self

    def __del__(self):
        if not Last.at_work:
            Last.at_work = True
            ran.append(sum(mrpy.pmap(abs, [-1], backend="serial")))
            Last.at_work = False
            Last()

ran = []
gc.set_threshold(20)
Last()
print(list(mrpy.pmap(abs, [-2], backend="serial")), {*ran}, gc.isenabled())
Last.at_work = True  # Python ends
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[2] {1} True\n", "")

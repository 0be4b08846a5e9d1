"""A simple function pickled plainly is what cloudpickle makes of it, in every respect that can be seen."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrpy.iterators.lift import lift
from mrpy.light import pickle
from mrpy.mapreduce.kernels import MapChunk
from mrpy.mapreduce.rules import Rules
from mrpy.mapreduce.steps import Body, Map
from mrpy.scheduler import byvalue, reuse, simple_functions
from mrpy.scheduler.here import here
from mrpy.scheduler.simple_functions import NotSimple

SIMPLE = {
    "plain": "def f(x): return x + 1",
    "lambda": "f = lambda x: x * 2",
    "defaults": "def f(x, y=2, *, z=(3, 'a')): return x, y, z",
    "documented": "def f(x: int, y: 'anything' = None) -> str:\n    'Says.'\n    return str(x)",
    "global": "N = 10\ndef f(x): return x + N",
    "module": "import math\ndef f(x): return math.floor(x / 2)",
    "imported": "from os.path import join\ndef f(x): return join('a', str(x))",
    "builtin": "size = len\ndef f(x): return size('abc') + x",
    "calls another": "def g(x): return -x\ndef f(x): return g(x)",
    "recursive": "def f(x): return 1 if x < 2 else x * f(x - 1)",
    "mutually recursive": "def g(x): return x < 1 or f(x - 1)\ndef f(x): return x > 0 and g(x - 1)",
    "closure": "def make(n):\n    def inner(x): return x + n\n    return inner\nf = make(5)",
    "recursive closure": "def make():\n    def r(x): return 0 if x < 1 else 1 + r(x - 1)\n    return r\nf = make()",
    "empty cell": "def make():\n    def r(x):\n        return x if x < 99 else late\n    return r\n    late = 1\nf = make()",
    "inner code": "K = 3\ndef f(x): return sum(K for _ in range(x)), [lambda: K][0]()",
    "makes classes": "def f(x):\n    class C:\n        y = x\n    return C().y",
    "writes a global": "count = 0\ndef f(x):\n    global count\n    count += x\n    return count",
    "shares globals": "seen = 0\ndef g():\n    global seen\n    seen += 1\ndef f(x):\n    g()\n    return seen",
    "attributes": "def f(x): return f.by * x\nf.by = 7\nf.tags = ['a', {'b': (1, 2.5)}]",
    "renamed": "def f(x): return x\nf.__qualname__ = 'A.b'\nf.__name__ = 'b'\nf.__doc__ = 'other'",
    "generator": "def f(x):\n    for n in range(x):\n        yield n * n",
    "constants": "def f(x): return {1, 2} & {x}, ..., 2j, b'x', x in frozenset({1}) or x in {5, 6}",
    "partial": "from functools import partial\ndef g(a, b): return a - b\nf = partial(g, 10)",
    "names an attribute as a global": "real = object()\ndef f(x): return (x + 0j).real",
    "many globals": "\n".join(f"v{n} = {n}" for n in range(300)) + f"\ndef f(x): return x, {[f'v{n}' for n in range(300)]}".replace("'", ""),
}  # fmt: skip

NOT_SIMPLE = {
    "a class of the main module": "class C: pass\ndef f(x): return C",
    "an object of it": "class C: pass\nc = C()\ndef f(x): return c",
    "a method": "class C:\n    def m(self, x): return x\nf = C().m",
    "a method of an object in C": "items = []\nf = items.append",
    "a package": "import concurrent.futures\ndef f(x): return concurrent.futures",
    "a cache": "import functools\n@functools.lru_cache\ndef f(x): return x",
    "a dispatcher": "import functools\n@functools.singledispatch\ndef f(x): return x",
    "a lock": "import threading\nlock = threading.Lock()\ndef f(x): return lock",
    "the main module itself": "import sys\nme = sys.modules['__main__']\ndef f(x): return me",
    "a module that nobody can import": "import types\nmade = types.ModuleType('made')\ndef f(x): return made",
    "annotated with a class of the main module": "class C: pass\ndef f(x: C): return x",
    "an open file": "import sys\nfile = sys.__stderr__\ndef f(x): return file",
}


def made_by(program: str) -> Any:
    """`f` of a main module."""
    names: dict[str, Any] = {"__name__": "__main__", "__file__": "/nowhere/script.py", "__package__": None}
    exec(compile(program, "/nowhere/script.py", "exec", dont_inherit=True), names)
    return names["f"]


def plainly(value: Any) -> Any:
    return pickle.loads(simple_functions.dumps(value))


def by_cloudpickle(value: Any) -> Any:
    return pickle.loads(byvalue.dumps(value))


def seen(thing: Any, known: dict[int, int]) -> Any:
    """All that can be told of a value, functions by their parts; a number for what was seen before."""
    if isinstance(thing, FunctionType | dict) and id(thing) in known:
        return known[id(thing)]
    known[id(thing)] = len(known)
    if isinstance(thing, FunctionType) and thing.__module__ != "__main__":
        return thing.__module__, thing.__qualname__
    if isinstance(thing, FunctionType):
        cells = [[*map_contents(cell)] for cell in thing.__closure__ or ()]
        parts = {name: getattr(thing, name) for name in dir(thing) if name in READ}
        return seen({**parts, "cells": cells, "all": thing.__globals__, "code": parts_of(thing.__code__)}, known)
    if isinstance(thing, dict):
        return {name: seen(value, known) for name, value in sorted(thing.items()) if name != "__builtins__"}
    if isinstance(thing, list | tuple):
        return type(thing), [seen(value, known) for value in thing]
    if hasattr(thing, "func"):
        return seen([thing.func, thing.args, thing.keywords], known)
    return thing.__name__ if isinstance(thing, ModuleType) else (type(thing), repr(thing))


def parts_of(code: CodeType) -> Any:
    read = ("co_code", "co_names", "co_varnames", "co_freevars", "co_filename", "co_qualname", "co_flags")
    inner = [parts_of(each) if isinstance(each, CodeType) else each for each in code.co_consts]
    return [*(getattr(code, name) for name in read), *code.co_positions(), *inner]


READ = simple_functions.SET_LATER + ("__dict__",)


def map_contents(cell: Any) -> Any:
    try:
        yield cell.cell_contents
    except ValueError:
        yield "empty"


@pytest.mark.parametrize("name", SIMPLE)
def test_it_is_what_cloudpickle_makes_of_it(name: str) -> None:
    function = made_by(SIMPLE[name])
    assert seen(plainly(function), {}) == seen(by_cloudpickle(function), {})


@pytest.mark.parametrize("name", SIMPLE)
def test_it_does_what_the_function_does(name: str) -> None:
    ours, theirs, itself = plainly(made_by(SIMPLE[name])), by_cloudpickle(made_by(SIMPLE[name])), made_by(SIMPLE[name])
    for x in (0, 1, 5):
        results = [each(x) for each in (ours, theirs, itself)]
        shown = [list(each) if hasattr(each, "__next__") else each for each in results]
        assert shown[0] == shown[1] == shown[2]


@pytest.mark.parametrize("name", NOT_SIMPLE)
def test_what_holds_more_is_refused(name: str) -> None:
    with pytest.raises(NotSimple):
        simple_functions.dumps(made_by(NOT_SIMPLE[name]))


def test_functions_of_one_pickle_share_their_globals_and_closures_are_copied() -> None:
    program = "total = 0\ndef add(x):\n    global total\n    total += x\ndef get(): return total\nf = [add, get]"
    for load in (plainly, by_cloudpickle):
        add, get = load(made_by(program))
        add(5)
        assert get() == 5
    program = "def make():\n    n = 0\n    def add():\n        nonlocal n\n        n += 1\n    return add, lambda: n\nf = make()"
    for load in (plainly, by_cloudpickle):
        add, get = load(made_by(program))
        add()
        assert get() == 0


def test_a_kernel_with_simple_steps_travels_plainly() -> None:
    kernel = MapChunk((Map(made_by(SIMPLE["global"])), Body(made_by("f = lambda xs: iter(xs)"))), Rules())
    arrived = plainly(kernel)
    assert arrived.rules == kernel.rules
    assert list(arrived.steps[1].over(arrived.steps[0].over(iter([1, 2])))) == [11, 12]


def test_a_lifted_expression_travels_plainly_with_and_without_variables() -> None:
    for expression in ("(x + 1 for x in range(3))", "(lambda n: (x + n for x in range(3)))(1)"):
        plan = lift(made_by(f"f = {expression}"))
        [step] = plainly(plan.steps)
        assert list(step.over(iter([1, 2]))) == [2, 3]


def test_what_is_imported_travels_by_its_name() -> None:
    assert plainly(os.path.join) is os.path.join
    assert plainly(itertools.chain) is itertools.chain


def test_a_module_that_shall_travel_by_value_is_left_to_cloudpickle() -> None:
    import cloudpickle

    cloudpickle.register_pickle_by_value(textwrap)
    try:
        with pytest.raises(NotSimple):
            simple_functions.dumps(made_by(SIMPLE["plain"]))
    finally:
        cloudpickle.unregister_pickle_by_value(textwrap)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@given(VALUES, VALUES, VALUES, VALUES)
def test_whatever_a_function_holds_arrives(held: Any, default: Any, inner: Any, attribute: Any) -> None:
    function = made_by("def make(n):\n    def f(x=None, *, y=None): return x, y, n, held\n    return f\nf = make(0)")
    function.__globals__["held"] = held
    function.__defaults__, function.__kwdefaults__ = (default,), {"y": default}
    function.__closure__[0].cell_contents = inner
    function.note = attribute
    arrived = plainly(function)
    assert arrived() == function() == by_cloudpickle(function)()
    assert arrived.note == attribute


SCRIPT = """
import sys
import mrpy

SCALE = 3

def scaled(x):
    return helper(x) * SCALE

def helper(x):
    return x if x < 4 else 1 // (x - 4)

for numbers in (range(4), range(6)):
    try:
        print(sum(mrpy.pmap(scaled, numbers, workers=1)), "cloudpickle" in sys.modules)
    except ZeroDivisionError as error:
        print(str(error.__cause__).count("return x if x < 4 else"), "in helper" in str(error.__cause__))
"""


def test_a_script_runs_without_cloudpickle_and_its_tracebacks_have_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run([sys.executable, file], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split("\n") == ["18 False", "1 True", ""], done.stderr


@pytest.mark.parametrize("name", ["cloudpickle", "logging"])
def test_a_module_that_another_thread_is_just_importing_is_not_asked(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, ModuleType(name))  # it stands there before anything is in it
    assert plainly(abs)(-3) == 3
    assert reuse._held([abs]) is not None
    assert here().levels is None or name != "logging"

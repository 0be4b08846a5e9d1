"""The corpus: every line of it equals plain Python on every local backend, however it is cut."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy
import pytest
from corpus import ENTRIES, SETUP, TEXT_FILE, Entry, evaluate
from laws import LOCAL

import mrpy
from mrpy.iterators.lift import lift
from mrpy.mapreduce.sources import Pulled

SEED = int(os.environ.get("MRPY_TEST_SEED") or random.SystemRandom().randrange(10**6))


def options_for(backend: str, place: int) -> dict[str, Any]:
    """Some run options: others in each run of the tests, the same again for the same MRPY_TEST_SEED."""
    draw = random.Random(f"{SEED} {backend} {place}")
    return {
        "backend": backend,
        "workers": draw.randint(1, 2),
        "chunksize": draw.choice(["auto", 1, 2, 3, 5, 8, 100]),
        "buffersize": draw.choice(["auto", "auto", 1, 2, 7, 50]),
    }


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What SETUP defines, and a file."""
    file = tmp_path_factory.mktemp("corpus") / "times.txt"
    file.write_text(TEXT_FILE)
    space: dict[str, Any] = {"__name__": "corpus_space", "PATH": str(file)}
    exec(compile(SETUP, "<setup>", "exec", dont_inherit=True), space)
    return space


@contextmanager
def space_for(names: dict[str, Any], options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The names of an entry; files that it opens are closed at the end."""
    with ExitStack() as files:
        yield {
            **names,
            "S": lambda iterable: mrpy.stream(iterable, **options),
            "MR": lambda *functions, **more: mrpy.mapreduce(*functions, **more, **options),
            "opened": lambda path: files.enter_context(open(path)),
        }


Answer = tuple[list[Any], tuple[type, str] | None]


def answer(make: Callable[[], Iterable[Any]]) -> Answer:
    """All that an iterable yields, and what it raises then."""
    items: list[Any] = []
    made: Any = None
    try:
        made = make()
        items.extend(made)
    except Exception as error:
        return items, (type(error), str(error))
    finally:
        if isinstance(made, mrpy.ParallelIterator):
            made.close()
    return items, None


def same(left: Any, right: Any) -> bool:
    """Equal, and of one type, all the way down; a NaN equals a NaN."""
    if type(left) is not type(right):
        return False
    if isinstance(left, numpy.ndarray):
        return left.dtype == right.dtype and left.tolist() == right.tolist()
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return list(left) == list(right) and all(map(same, left.values(), right.values()))
    return bool(left == right or (left != left and right != right))


NAMED = [pytest.param(entry, place, id=f"{place} {entry.group}") for place, entry in enumerate(ENTRIES)]


@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize(("entry", "place"), NAMED)
def test_it_equals_plain_python(entry: Entry, place: int, backend: str, names: dict[str, Any]) -> None:
    options = options_for(backend, place)
    print(f"MRPY_TEST_SEED={SEED} {options}\n{entry.plain}\n{entry.chain or ''}")
    with space_for(names, options) as space:
        expected = answer(lambda: evaluate(entry.plain, space))
        if entry.chain is not None:
            got = answer(lambda: evaluate(entry.chain or "", space))
        else:
            got = answer(lambda: mrpy.parallel(evaluate(entry.plain, space), **options))
    assert same(got[0], expected[0]), (got, expected)
    assert got[1] == expected[1]


def test_there_are_enough() -> None:
    assert len(ENTRIES) >= 300
    assert len({(entry.plain, entry.chain) for entry in ENTRIES}) == len(ENTRIES)


CUT = [
    "(x for x in range(9))", "(x for x in advanced(range(9)))", "(x for x in advanced([1, 2, 3]))",
    "(x for x in advanced((1, 2, 3)))", "(x for x in advanced('abc'))", "(x for x in advanced(b'abc'))",
    "(x for x in array.array('i', [1]))", "(x for x in np.arange(9))", "(x for x in TABLE.items())",
    "(x for x in advanced(reversed([1, 2, 3])))", "enumerate('abc')", "zip('abc', [1, 2])", "{1, 2}",
    "map(double, map(double, range(9)))", "filter(None, (x for x in (y for y in range(9))))",
    "enumerate(zip('abc', [1, 2]), 3)", "zip(enumerate('abc'), reversed([1, 2, 3]), zip('de', 'fg'))",
    "enumerate(enumerate('abc'))", "map(max, range(3), [5, 0, 1], reversed(range(9)))",
]  # fmt: skip


@pytest.mark.parametrize("text", CUT)
def test_what_can_be_cut_is_not_walked(text: str, names: dict[str, Any]) -> None:
    plan = lift(evaluate(text, dict(names)))
    assert not isinstance(plan.source, Pulled), plan


@pytest.mark.parametrize("depth", range(1, 6))
def test_nested_generators_become_one_stage(depth: int) -> None:
    text = "range(9)"
    for level in range(depth):
        text = f"(v{level} + 1 for v{level} in {text})"
    plan = lift(eval(text))
    assert len(plan.steps) == depth
    assert not isinstance(plan.source, Pulled)


WRAPPED = {  # what cloudpickle cannot take along from a main module
    "lru_cache": "@functools.lru_cache\ndef f(x): return x + 1\n",
    "cache, recursive": "@functools.cache\ndef f(x): return x + 1 if x < 2 else f(x - 1) + 1\n",
    "cache of a method": "class C:\n    @functools.cache\n    def m(self, x): return x + 1\ndef f(x): return C().m(x)\n",
    "cached_property": (
        "class C:\n    def __init__(self, x): self.x = x\n    @functools.cached_property\n"
        "    def next(self): return self.x + 1\ndef f(x): return C(x).next\n"
    ),
    "singledispatch": "@functools.singledispatch\ndef f(x): return x + 1\n",
    "cmp_to_key": (
        "key = functools.cmp_to_key(lambda a, b: b - a)\n"
        "def f(x): return x + 1 if key(x) < key(x - 1) else 0\n"
    ),
    "a key of cmp_to_key": "top = functools.cmp_to_key(lambda a, b: b - a)(9)\ndef f(x): return x + 1 if top.obj == 9 else 0\n",
}


@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
@pytest.mark.parametrize("name", WRAPPED)
def test_a_function_of_the_main_module_that_functools_wrapped(name: str, backend: str, names: dict[str, Any]) -> None:
    space = {**names, "__name__": "__main__"}
    exec(compile(WRAPPED[name], "<main>", "exec", dont_inherit=True), space)
    for text in ("(f(x) for x in range(5))", "map(f, range(5))"):
        run = mrpy.parallel(evaluate(text, space), backend=backend, workers=2)
        assert list(run) == [1, 2, 3, 4, 5]

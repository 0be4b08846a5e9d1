"""A function that is submitted again is sent again when, and only when, something that it holds has changed."""

from __future__ import annotations

import gc
import logging
import math
import os
import sys
import weakref
import xml
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import cloudpickle
import numpy
import pytest
from laws import eventually

import mrpy
from mrpy.iterators import order
from mrpy.mapreduce.folds import Fold, FoldChunk, folding, reduction
from mrpy.mapreduce.random import fresh_seed
from mrpy.mapreduce.rules import Rules
from mrpy.mapreduce.statistics import MEAN, extreme, total_from
from mrpy.mapreduce.tree import NOTHING
from mrpy.options import Options
from mrpy.scheduler.backends import segments
from mrpy.scheduler.calls import Code
from mrpy.scheduler.reuse import code_for, parts_of

NAMES: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__, "math": math}


def of_main(text: str, **names: Any) -> Callable[..., Any]:
    """A function `f` as a script would define it."""
    space = {**NAMES, **names}
    exec(text, space)  # noqa: S102
    return space["f"]  # type: ignore[no-any-return]


def code(function: Callable[..., Any]) -> Code:
    return code_for((function,), lambda: Code(function, "f"))


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


@pytest.mark.parametrize("name", ["__name__", "__qualname__", "__module__", "__doc__"])
def test_what_a_function_is_called_counts(name: str) -> None:
    f = of_main(f"def helper(): pass\ndef f(x): return helper.{name}")
    first = code(f)
    assert code(f) is first
    setattr(f.__globals__["helper"], name, "other")
    assert code(f) is not first


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


# ---- whole runs ------------------------------------------------------------------------------------------


def of_run(run: Any, **options: Any) -> Code:
    rules = Rules.of(Options(**options)).replaced(seed=0)
    return order._code(run._plan.steps, options.get("name", "name"), rules)


def test_a_run_over_the_same_functions_has_the_code_of_the_last_one() -> None:
    f, g = of_main("def f(x): return x + 1"), of_main("def f(x): return x % 2", n=2)

    def chain() -> Any:
        return mrpy.stream(range(9)).map(f).filter(g).starmap(divmod)

    first = of_run(chain())
    assert of_run(chain()) is first
    for other in ({"on_error": "skip"}, {"retries": 1}, {"timeout": 1.0}, {"max_errors": 3, "on_error": "skip"}, {"name": "n"}):
        assert of_run(chain(), **other) is not first
    assert of_run(mrpy.stream(range(9)).map(f).map(g).starmap(divmod)) is not first
    assert of_run(mrpy.stream(range(9)).filter(f).map(g).starmap(divmod)) is not first
    assert of_run(mrpy.stream(range(9)).map(g).filter(f).starmap(divmod)) is not first


def of_fold(fold: Fold) -> Code:
    return code_for(parts_of(FoldChunk((), fold, Rules())), lambda: Code(fold, "f"), afresh=True)


def test_a_reduction_by_the_same_functions_has_the_code_of_the_last_one() -> None:
    f = of_main("def f(x, y): return x + y + n", n=1)
    folds: list[Callable[[], Fold]] = [
        lambda: reduction(f),
        lambda: reduction(f, 0),
        lambda: reduction(f, False),
        lambda: folding(f, 0.0, f),
        lambda: folding(f, -0.0, f),
        lambda: total_from(0),
        lambda: extreme(max, None, NOTHING),
        lambda: extreme(min, None, NOTHING),
        lambda: extreme(max, abs, NOTHING),
        lambda: MEAN,
    ]
    codes = []
    for fold in folds:
        codes.append(of_fold(fold()))
        assert of_fold(fold()) is codes[-1]
    assert len(set(codes)) == len(folds)
    f.__globals__["n"] = 2
    assert of_fold(reduction(f)) is not codes[0]
    assert of_fold(folding(f, [], f)) is not of_fold(folding(f, [], f))


def test_values_that_differ_have_parts_that_differ() -> None:
    """A sum from () was one from 0: both have been taken for the number of their members."""
    values = [0, (), 1, (0,), (1,), ((),), ((), 0), (0, ()), (1, 0), ((0,), ()), ((), (0,)), "", "a", ("a",)]
    parts = [tuple(map(id, parts_of(value))) for value in values]
    assert len(set(parts)) == len(values)
    with mrpy.session("processes", workers=1):
        for start in (0, (), 0.0, 1, (0,), ((),)):
            total = mrpy.stream([]).sum(start)
            assert (total, type(total)) == (start, type(start))


def test_a_reduction_that_is_run_again_sends_no_function(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    pickled = Code._pickled

    def noted(self: Code, **given: Any) -> Any:
        sent.append(self.name)
        return pickled(self, **given)

    monkeypatch.setattr(Code, "_pickled", noted)
    f = of_main("def f(x, y): return x + y + n", n=0)
    with mrpy.session("processes", workers=1):
        assert {mrpy.preduce(f, range(20), chunksize=1) for _ in range(3)} == {190}
        assert {mrpy.pmap(abs, range(20)).sum() for _ in range(3)} == {190}
        assert sorted(sent) == ["finish of reduce", "merge of reduce", "reduce", "sum"]
        f.__globals__["n"] = 1
        assert mrpy.preduce(f, range(20), chunksize=1) == 190 + 19


def test_reductions_of_one_code_have_seeds_of_their_own() -> None:
    def draw(n: int) -> int:
        return int(mrpy.rng().integers(1 << 60))

    with mrpy.session("processes", workers=2):
        one, two, other, free, more = (
            mrpy.pmap(draw, range(20), seed=seed, chunksize=size).sum()
            for seed, size in ((1, 7), (1, 50), (2, 7), (None, 7), (None, 7))
        )
        assert one == two == sum(mrpy.pmap(draw, range(20), seed=1, backend="serial"))
    assert len({one, other, free, more}) == 4


def test_what_may_change_is_sent_with_each_run() -> None:
    held = [1]
    runs: list[Callable[[], Any]] = [
        lambda: mrpy.pmap([1].__contains__, range(9)),
        lambda: mrpy.parallel(x + held[0] for x in range(9)),
        lambda: mrpy.pmap(of_main("def f(x): return n", n=[1]), range(9)),
    ]
    for run in runs:
        assert of_run(run()) is not of_run(run())
    assert of_run(mrpy.pmap(abs, []), on_error=print) is not of_run(mrpy.pmap(abs, []), on_error=print)


def test_a_generator_expression_that_is_written_once_has_the_code_of_the_last_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(n: int) -> Any:
        return mrpy.parallel(x + n for x in range(9))

    assert of_run(run(1)) is of_run(run(1))
    assert of_run(run(1)) is not of_run(run(2))
    assert of_run(mrpy.parallel(x + 1 for x in range(9))) is not of_run(mrpy.parallel(x + 1 for x in range(9)))
    main = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    names = vars(main)
    exec("def f(n): return (m := n)\ndef g(): return (f(x) for x in range(9))", names)  # noqa: S102
    for name, value in (("abs", len), ("f", abs), ("__name__", "other")):
        first = of_run(mrpy.parallel(names["g"]()))
        assert of_run(mrpy.parallel(names["g"]())) is first
        names[name] = value
        assert (of_run(mrpy.parallel(names["g"]())) is first) == (name == "abs")
    of_two = [FunctionType(names["g"].__code__, {**NAMES, "f": abs}) for _ in range(2)]
    assert len({id(of_run(mrpy.parallel(g()))) for g in of_two}) == 2


def test_names_that_are_no_modules_are_not_kept_for_a_generator_expression_in_them() -> None:
    names: dict[str, Any] = {"__name__": "__main__", "large": Held()}
    exec("def g(): return (x + 1 for x in range(9))", names)  # noqa: S102
    gone = weakref.ref(names["large"])
    assert of_run(mrpy.parallel(names["g"]())) is not of_run(mrpy.parallel(names["g"]()))
    names.clear()
    assert gone() is None


class Held:
    pass


def test_equal_expressions_of_two_files_stand_where_they_stand() -> None:
    for file in ("one.py", "two.py"):
        expression = eval(compile("(x + 1 for x in range(9))", file, "eval"))  # noqa: S307
        assert str(mrpy.parallel(expression)._plan.steps[-1]) == f"(... {file}:1)"


@pytest.mark.parametrize("text", ["(m := x) for x in range(3)", "setattr(f, 'n', x) or f.n for x in range(3)", "vars()[str(x)] for x in range(3)"])
def test_a_generator_expression_that_writes_or_reads_anything_is_sent_with_each_run(text: str) -> None:
    f = of_main(f"def f(n): return n\ndef g(): return ({text})")
    g = f.__globals__["g"]
    assert of_run(mrpy.parallel(g())) is not of_run(mrpy.parallel(g()))


@pytest.mark.parametrize("backend", ["serial", "threads", "processes", "dask"])
def test_a_run_sees_the_values_and_the_options_of_now(backend: str) -> None:
    f = of_main("def f(x): return 10 // (x - n)", n=50)
    with mrpy.session(backend, workers=2):
        assert list(mrpy.pmap(f, range(3))) == list(mrpy.pmap(f, range(3))) == [-1, -1, -1]
        f.__globals__["n"] = 1
        assert list(mrpy.pmap(f, range(3), on_error="skip")) == [-10, 10]
        assert list(mrpy.pmap(f, range(3), on_error=lambda error: "bad")) == [-10, "bad", 10]
        with pytest.raises(ZeroDivisionError):
            list(mrpy.pmap(f, range(3)))


@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_runs_of_one_code_have_seeds_of_their_own(backend: str) -> None:
    def draw(n: int) -> int:
        return int(mrpy.rng().integers(1 << 60))

    with mrpy.session(backend, workers=2):
        one, two, other, free, more = (
            list(mrpy.pmap(draw, range(200), seed=seed, chunksize=size))
            for seed, size in ((1, 7), (1, 50), (2, 7), (None, 7), (None, 7))
        )
    assert one == two
    assert len({*one, *other, *free, *more}) == 4 * 200


def test_a_forked_child_draws_seeds_of_its_own() -> None:
    fresh_seed()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, fresh_seed().to_bytes(8, "little"))
        os._exit(0)
    os.waitpid(child, 0)
    assert int.from_bytes(os.read(read, 8), "little") != fresh_seed()
    os.close(read)
    os.close(write)
    assert len({fresh_seed() for _ in range(1000)}) == 1000


@pytest.mark.skipif(not segments.AVAILABLE, reason="needs memfd")
def test_a_large_array_is_copied_once_in_each_run_and_not_kept_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Noted(segments.Held):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(weakref.ref(self))

    made: list[weakref.ref[Any]] = []
    array = numpy.arange(1 << 20)
    array.flags.writeable = False
    with mrpy.session("processes", workers=2):
        list(mrpy.pmap(numpy.sum, [0]))
        monkeypatch.setattr(segments, "Held", Noted)
        for run in (1, 2):
            assert set(mrpy.pmap(numpy.sum, [array] * 20, chunksize=1)) == {array.sum()}
            assert len(made) == run
            assert eventually(lambda: gc.collect() >= 0 and all(held() is None for held in made), 5)


# ---- what could be taken for the same, and is not ------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "n = 0\ndef f(x):\n    global n\n    n += x\n    return n",
        "n = 0\ndef f(x):\n    def g():\n        global n\n        n += x\n    g()\n    return n",
        "def f(x):\n    f.k = x",
        "def f(x):\n    setattr(f, 'k', x)",
        "def f(x):\n    f.__dict__['k'] = x",
        "def f(x, *, n=0):\n    f.__kwdefaults__['n'] = n + 1",
        "def f(x):\n    f.__annotations__['k'] = x",
        "def f(x):\n    def g():\n        f.k = x\n    g()",
        "def kept(): pass\ndef f(x):\n    kept.k = x",
        "def kept(): pass\ndef inner(x):\n    del kept.k\ndef f(x):\n    inner(x)",
        "def f(x): return globals()['n']",
        "def f(x): return eval('n')",
        "def make():\n    c = 0\n    def f(x):\n        nonlocal c\n        c += x\n        return c\n    return f\nf = make()",
    ],
)
def test_a_function_that_writes_to_what_is_not_its_own_is_sent_with_each_run(text: str) -> None:
    f = of_main(text)
    assert of_run(mrpy.pmap(f, [])) is not of_run(mrpy.pmap(f, []))
    assert of_run(mrpy.pmap(int, []).map(f)) is not of_run(mrpy.pmap(int, []).map(f))
    assert of_fold(reduction(f)) is not of_fold(reduction(f))


def test_what_a_fold_leaves_at_a_function_is_not_there_in_the_next_run() -> None:
    m = of_main("def helper(): pass\ndef f(x):\n    helper.n = getattr(helper, 'n', 0) + 1\n    return helper.n")
    with mrpy.session("processes", workers=1):
        assert [mrpy.pmap(m, [1, 2, 3]).sum() for _ in range(3)] == [6, 6, 6]
        assert [list(mrpy.pmap(int, [1, 2, 3]).map(m)) for _ in range(2)] == [[1, 2, 3]] * 2


def test_large_tuples_in_a_fold_are_not_kept() -> None:
    folds = [folding(max, tuple(range(k, k + 200_000)), min) for k in range(3)]
    for fold in folds:
        assert of_fold(fold) is not of_fold(fold)


def test_what_is_used_again_and_again_is_not_forgotten_for_what_is_not() -> None:
    f = of_main("def f(x): return x")
    first = code(f)
    for k in range(200):
        of_fold(reduction(max, k / 7))
        assert code(f) is first


@pytest.mark.parametrize(
    "text",
    [
        "import decimal\ndef f(x):\n    context = decimal.Context()\n    context.prec = x\n    return context",
        "def g(x): return x\ndef f(x): return g(x)",
    ],
)
def test_a_function_that_writes_to_its_own_is_not(text: str) -> None:
    f = of_main(text)
    assert of_run(mrpy.pmap(f, [])) is of_run(mrpy.pmap(f, []))


@pytest.mark.parametrize("text", ["def f(x): return globals()['n']", "def f(x): return eval('n')"])
def test_a_function_that_may_read_anything_is_sent_each_time(text: str) -> None:
    f = of_main(text)
    assert code(f) is not code(f)


def test_single_calls_find_what_the_last_one_left() -> None:
    f = of_main("model = None\ndef f(x):\n    global model\n    model = model or x\n    return model")
    with mrpy.session("processes", workers=1):
        assert [mrpy.submit(f, x).result() for x in (3, 4, 5)] == [3, 3, 3]


def test_each_run_begins_with_what_its_user_holds() -> None:
    f = of_main("total = 0\ndef f(x):\n    global total\n    total += x\n    return total")
    with mrpy.session("processes", workers=1):
        for _ in range(3):
            assert list(mrpy.pmap(f, [1, 2, 3], chunksize=3)) == [1, 3, 6]


@pytest.mark.parametrize("held", ["x" * 100_000, b"x" * 100_000, 1 << 1_000_000], ids=["str", "bytes", "int"])
def test_what_takes_much_memory_is_not_kept(held: Any) -> None:
    f = of_main("def f(x): return n", n=held)
    assert code(f) is not code(f)


def test_long_numbers_and_deep_chains_are_no_problem() -> None:
    f = of_main("def f(x): return n", n=10**5000)
    first = code(f)
    assert code(f) is first
    f.__globals__["n"] += 1
    assert code(f) is not first
    chain = "def f0(x): return x\n" + "\n".join(f"def f{n + 1}(x): return f{n}(x)" for n in range(3000)) + "\nf = f3000"
    assert isinstance(code(of_main(chain)), Code)


def test_odd_objects_are_not_asked_for_anything() -> None:
    class Lazy:
        @property
        def __class__(self) -> Any:
            raise RuntimeError("not set up yet")

    f = of_main("def f(x): return x if x else n", n=Lazy())
    assert code(f) is not code(f)
    f = of_main("def f(x): return x")
    f.__module__ = ["odd"]  # type: ignore[assignment]
    assert isinstance(code(f), Code)


def test_names_count_and_not_only_values() -> None:
    f = of_main("def f(x, *, a=1, b=2): return a, b")
    first = code(f)
    f.__kwdefaults__ = {"b": 1, "a": 2}
    assert code(f) is not first
    f = of_main("def f(x):\n    try: return u\n    except NameError: return v", u=1)
    first = code(f)
    f.__globals__["v"] = f.__globals__.pop("u")
    assert code(f) is not first


def test_modules_that_do_not_travel_by_name_or_have_more_of_them_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    f = of_main("def f(x): return m.x", m=ModuleType("dynamic"))
    assert code(f) is not code(f)
    f = of_main("def f(x): return m.x", m=xml)
    first = code(f)
    monkeypatch.setitem(sys.modules, "xml.more", ModuleType("xml.more"))
    assert code(f) is not first


def test_modules_that_are_to_travel_by_value_are_sent_each_time() -> None:
    assert code(math.sqrt) is code(math.sqrt)
    cloudpickle.register_pickle_by_value(order)
    try:
        assert code(math.sqrt) is not code(math.sqrt)
    finally:
        cloudpickle.unregister_pickle_by_value(order)


@pytest.mark.parametrize("backend", ["processes", "dask"])
def test_what_a_source_changes_for_a_while_counts_for_its_run_alone(backend: str) -> None:
    over = of_main("def f(x): return x > limit", limit=0)
    names = over.__globals__

    def rows(limit: int) -> Any:
        before, names["limit"] = names["limit"], limit
        try:
            yield from range(5)
        finally:
            names["limit"] = before

    with mrpy.session(backend, workers=2):
        for limit in (1, 3, 2):
            assert list(mrpy.pmap(over, rows(limit))) == [x > limit for x in range(5)]


def test_a_forked_child_makes_its_own() -> None:
    first = code(math.sqrt)
    child = os.fork()
    if child == 0:
        os._exit(code(math.sqrt) is first)
    assert os.waitpid(child, 0)[1] == 0
    assert code(math.sqrt) is first

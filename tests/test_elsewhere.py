"""What an error tells somebody to write in place of a name from another library does what that name does there."""

from __future__ import annotations

import collections
import functools
import itertools
import operator
import pathlib
import statistics
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from laws import LOCAL

import mrpy
from mrpy.iterators.elsewhere import _HERE, _OF_A_RESULT, _OTHERWISE, _VERBS, _VERBS_OTHERWISE

PAIRS = [("b", 3), ("a", 1), ("b", 2)]
OTHER = [("a", 9), ("c", 8)]
MODULES = {each.__name__: each for each in (collections, functools, itertools, operator, pathlib, statistics, mrpy)}


def first(pair: Any) -> Any:
    return pair[0]


def doubled(items: Any) -> Any:
    for item in items:
        yield item * 2


def shown(text: str) -> list[str]:
    """The code in a hint."""
    return [part.partition("write ")[2] for part in text.split("; ") if "write " in part]


def evaluated(code: str, items: list[Any], **names: Any) -> Any:
    """What it comes to, as the user sees it."""
    this = mrpy.stream(items, backend="serial")
    steps = {name: getattr(this, name) for name in dir(this) if not name.startswith("_")}
    known = {"this": this, "n": 2, "other": OTHER, "key": first, "f": operator.add, **names}
    with mrpy.session("serial"):
        made = eval(code, {**steps, **MODULES, "list": list, "dict": dict, "set": set, "tuple": tuple, **known})
        return list(made) if isinstance(made, mrpy.ParallelIterator) else made


SHOWN = {
    "tail": (PAIRS, {}, collections.deque(PAIRS[-2:])),
    "takeOrdered": ([3, 1, 2], {}, [1, 2]),
    "variance": ([1.0, 3.0], {}, 1.0),
    "reduceByKey": (PAIRS, {}, [("b", 5), ("a", 1)]),
    "groupByKey": (PAIRS, {}, [("b", [3, 2]), ("a", [1])]),
    "aggregateByKey": (PAIRS, {"step": operator.add, "initial": 0, "combine": operator.add}, [("b", 5), ("a", 1)]),
    "mapValues": (PAIRS, {"f": str}, [("b", "3"), ("a", "1"), ("b", "2")]),
    "keys": (PAIRS, {}, ["b", "a", "b"]),
    "values": (PAIRS, {}, [3, 1, 2]),
    "pluck": (PAIRS, {"key": 1}, [3, 1, 2]),
    "keyBy": (PAIRS, {}, [(pair[0], pair) for pair in PAIRS]),
    "sortByKey": (PAIRS, {}, [("a", 1), ("b", 3), ("b", 2)]),
    "collectAsMap": (PAIRS, {}, {"a": 1, "b": 2}),
    "mapPartitions": ([1, 2, 3], {"f": doubled}, [2, 4, 6]),
    "map_partitions": ([1, 2, 3], {"f": doubled}, [2, 4, 6]),
    "cartesian": ([1, 2], {"other": "xy"}, [(1, "x"), (1, "y"), (2, "x"), (2, "y")]),
    "remove": ([0, 1, 2], {"predicate": lambda n: n % 2}, [0, 2]),
    "intersection": ([*PAIRS, ("a", 1)], {}, [("a", 1)]),
    "product": ([1, 2], {"other": "xy"}, [(1, "x"), (1, "y"), (2, "x"), (2, "y")]),
    "takeSample": ([1, 2], {}, [1, 2]),
    "random_sample": ([1, 2], {}, [1, 2]),
    "any": ([0, 1], {}, True),
    "all": ([0, 1], {}, False),
    "isEmpty": ([0], {}, False),
    "cache": ([1, 2], {}, [1, 2]),
    "persist": ([1, 2], {}, [1, 2]),
    "lookup": (PAIRS, {"key": "b"}, [3, 2]),
    "glom": ([1, 2, 3], {}, [(1, 2), (3,)]),
    "randomSplit": ([1, 2], {"share": 1}, [(True, [(True, 1), (True, 2)])]),
    "unzip": (PAIRS, {"place": 1}, [3, 1, 2]),
    "to_dict": (PAIRS[:2], {}, {"b": 3, "a": 1}),
    "to_set": ([1, 1], {}, {1}),
    "to_tuple": ([1, 1], {}, (1, 1)),
    "median": ([3, 1, 2], {}, 2),
    "last": ([1, 2, 3], {}, 3),
    "nth": ([1, 2, 3], {}, 3),
    "reduction": ([1, 2], {"step": operator.add, "initial": 0, "combine": operator.add}, 3),
}  # fmt: skip


@pytest.mark.parametrize("theirs", SHOWN)
def test_what_is_to_be_written_does_it(theirs: str) -> None:
    items, names, expected = SHOWN[theirs]
    with pytest.raises(AttributeError) as raised:
        getattr(mrpy.stream(items, backend="serial"), theirs)
    [code] = shown(str(raised.value))
    found = evaluated(code, items, **names)
    in_order = sorted if theirs.endswith("ByKey") and theirs != "sortByKey" else lambda rows: rows
    assert in_order(found) == in_order(expected)


def test_runs_of_equal_keys_are_not_the_items_of_a_key() -> None:
    by_key, runs = shown(_OTHERWISE["partition_by"])
    assert sorted(evaluated(by_key, PAIRS)) == [("a", [("a", 1)]), ("b", [("b", 3), ("b", 2)])]
    assert [(key, list(items)) for key, items in evaluated(runs, PAIRS)] == [(key, [(key, n)]) for key, n in PAIRS]


def test_arrays_and_frames_are_made_of_a_list() -> None:
    for theirs, module in (("to_numpy", "numpy"), ("to_pandas", "pandas")):
        [code] = shown(_OTHERWISE[theirs])
        made = evaluated(code, [1, 2], **{module: pytest.importorskip(module)})
        assert [*np.asarray(made).flat] == [1, 2]


def test_the_square_of_a_deviation_keeps_its_ddof() -> None:
    for theirs in ("var", "variance"):
        [code] = shown(_OTHERWISE[theirs])
        assert evaluated(code.replace("ddof=0", "ddof=1"), [1.0, 3.0]) == 2.0000000000000004


ALL_SHOWN = sorted({code for text in _OTHERWISE.values() for code in shown(text)})


@pytest.mark.parametrize("code", ALL_SHOWN)
def test_all_that_is_to_be_written_runs(code: str) -> None:
    names = {"step": lambda made, value: made + value, "initial": 0, "combine": operator.add, "predicate": bool}
    if "itemgetter(key)" in code:
        names["key"] = 0
    elif "f(value)" in code or "stage" in code:
        names["f"] = str if "f(value)" in code else doubled
    elif code.startswith(("numpy", "pandas", "statistics", "dict")):
        return  # of other items, or with what may not be there: above
    elif "std" in code or "accumulate" in code or code.startswith("fold("):
        evaluated(code, [1.0, 2.0], **names)
        return
    names.update(share=0.5, place=0)
    evaluated(code, PAIRS, **names)


def test_what_is_to_be_written_in_place_of_a_verb_runs(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.txt").write_text("x\ny\n")
    path = str(tmp_path / "a.txt")
    expected = {"wholeTextFiles": [(path, "x\ny\n")], "apply": 1, "get": 1}
    assert {"ThreadPool", "init", "put", "compute", "parallel_backend", "parallel_config"} <= _VERBS_OTHERWISE.keys()
    assert {"LocalCluster", "scatter", "cpu_count", "get", "t_map"} <= _VERBS_OTHERWISE.keys()
    assert {"effective_n_jobs", "load_balanced_view"} <= _VERBS_OTHERWISE.keys()
    opened = {"ProcessPoolExecutor": "processes", "ThreadPoolExecutor": "threads"}
    for theirs, text in _VERBS_OTHERWISE.items():
        for code in shown(text):
            made = evaluated(code, [], f=abs, x=-1, xs=[-1], paths=[path], address="tcp://127.0.0.1:9")
            if theirs in opened:
                with made as executor:
                    assert (type(executor), executor._options.backend) == (mrpy.Executor, opened[theirs])
            elif "session" in code:  # nothing is opened before the block begins
                assert hasattr(made, "__enter__")
            else:
                assert made == expected.get(theirs, [1]), theirs


@pytest.mark.parametrize("theirs", _VERBS_OTHERWISE)
def test_what_is_no_verb_says_what_to_write(theirs: str) -> None:
    with pytest.raises(AttributeError, match=f"no attribute {theirs!r}; .*write mrpy"):
        getattr(mrpy, theirs)


def test_an_exception_is_said_to_be_in_errors() -> None:
    for name in ("DataError", "OptionError", "MrpyError"):
        with pytest.raises(AttributeError, match=f"module 'mrpy' has no attribute '{name}'; it is mrpy.errors.{name}$"):
            getattr(mrpy, name)
    for name in ("NamedTuple", "pin"):
        with pytest.raises(AttributeError, match=f"no attribute '{name}'$"):
            getattr(mrpy, name)


@pytest.mark.parametrize(("theirs", "ours"), [("pmapp", "pmap"), ("read_cvs", "read_csv"), ("sumbit", "submit"), ("error", "errors")])
def test_a_misspelt_name_says_what_may_be_meant(theirs: str, ours: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'mrpy' has no attribute '{theirs}'; did you mean '{ours}'\\?$"):
        getattr(mrpy, theirs)
    for name in (f"_{theirs}", "take", "run", "read"):
        with pytest.raises(AttributeError, match=f"no attribute '{name}'$"):
            getattr(mrpy, name)


def test_a_name_has_one_hint() -> None:
    for here, otherwise in ((_HERE, _OTHERWISE), (_VERBS, _VERBS_OTHERWISE)):
        names = [*itertools.chain.from_iterable(here.values()), *otherwise]
        assert len(names) == len(set(names))
    told: Callable[[str], bool] = lambda name: hasattr(mrpy.ParallelIterator, name)
    assert not any(map(told, _OTHERWISE))


def test_what_an_async_result_or_a_future_has_says_what_to_write() -> None:
    with mrpy.session("serial"):
        pending = mrpy.submit(divmod, 7, 2)
        failed = mrpy.submit(divmod, 7, 0)
    for theirs in _OF_A_RESULT:
        with pytest.raises(AttributeError, match=f"a PendingResult has no attribute {theirs!r}; write "):
            getattr(pending, theirs)
    told = {theirs: shown(text) for theirs, text in _OF_A_RESULT.items()}
    known = {"pending": pending, "n": None, **MODULES}
    assert [eval(told[theirs][0], known) for theirs in ("get", "ready", "successful")] == [(3, 1), True, True]
    assert eval(told["successful"][0], {"pending": failed}) is False
    assert eval(told["wait"][0], known).done == {pending}
    assert eval(told["_condition"][0], known).done == {pending}
    assert not hasattr(pending, "anything_else")


def test_an_argument_of_another_library_is_not_taken_for_another_one(tmp_path: pathlib.Path) -> None:
    (table := tmp_path / "a.csv").write_text("a;b\n")
    for call, says in (
        (lambda: mrpy.read_csv(table, names=["a"]), "names=; it is called fieldnames= here"),
        (lambda: mrpy.read_csv(table, sep=";"), "sep=; it is called delimiter= here"),
        (lambda: mrpy.stream([]).to_csv(table, sep=";"), "sep=; it is called delimiter= here"),
        (lambda: mrpy.stream([]).to_csv(table, columns=["a"]), "columns=; it is called fields= here"),
        (lambda: mrpy.preduce(operator.add, [], initializer=0), "initializer=; it is called initial= here"),
        (lambda: mrpy.pfold(operator.add, [], 0, initializer=0), "initializer=; it is called initial= here"),
        (lambda: mrpy.pmap(abs, [], names="a"), "names=; did you mean name=?"),
        (lambda: mrpy.pmap(abs, [], address="tcp:"), r"address=; it is called mrpy.session\('dask', address=...\) here"),
        (lambda: mrpy.configure(client=1), r"client=; it is called mrpy.session\('dask', client=...\) here"),
        *((lambda name=name: mrpy.pmap(abs, [], **{name: 2}), f"{name}=; it is called workers= here") for name in MANY),
    ):
        with pytest.raises(mrpy.errors.OptionError, match=says):
            list(call())


def test_what_a_function_is_to_get_besides_its_item_goes_into_it() -> None:
    for call in (lambda: mrpy.pmap(pow, [], mod=3), lambda: mrpy.pstarmap(pow, [], mod=3), lambda: mrpy.pfilter(pow, [], mod=3)):
        with pytest.raises(mrpy.errors.OptionError, match=r"there are backend, .*; .*functools\.partial\(f, mod=...\)"):
            call()
    with pytest.raises(mrpy.errors.OptionError, match="there are backend") as raised:
        mrpy.configure(mod=3)
    assert "partial" not in str(raised.value)


MANY = (
    "num_cpus", "concurrency", "max_concurrency", "max_concurrent", "n_processes", "num_threads", "n_threads", "jobs",
    "threads", "cpus", "nprocs", "n_procs", "num_processes", "num_proc", "n_cpu", "nthreads", "pool_size",
)  # fmt: skip


@pytest.mark.parametrize(
    ("theirs", "says"),
    {
        **dict.fromkeys(("worker_init", "use_worker_state", "initializer"), r"mrpy\.stage\(setup=...\)"),
        "worker_exit": "teardown", "worker_lifespan": r"mrpy\.session\(max_tasks_per_worker=...\)",
        **dict.fromkeys(("total", "iterable_len"), "progress=True"), "verbose": "called progress= here",
        **dict.fromkeys(("leave", "unit", "disable"), "progress=True shows a bar, without it is none; .* functools.partial"),
        **dict.fromkeys(("threads", "n_threads", "num_threads", "nthreads"), "called workers= here; backend='threads'"),
        **dict.fromkeys(("njobs", "nproc"), "called workers= here$"), "temp_folder": "TMPDIR",
        "start_method": "one way to start", "shared_objects": "functools.partial",
        "batch": "called chunksize= here", "n_splits": r"\.repartition\(n\)", "max_tasks_active": "called buffersize= here",
        "prefetch_factor": "called buffersize= here", "random_seed": "called seed= here", "rng": "called seed= here",
        "raise_exception": "called on_error= here",
        "error_callback": "on_error=.* what that returns stands in place of the result",
        "callback": r"add_done_callback\(f\), where f gets the pending result",
    }.items(),
)  # fmt: skip
def test_an_option_of_another_library_says_what_does_that_here(theirs: str, says: str) -> None:
    with pytest.raises(mrpy.errors.OptionError, match=f"there is no option {theirs}=; .*{says}"):
        mrpy.pmap(abs, [], **{theirs: 1})


PLACES = (
    ("synchronous", "serial"), ("single-threaded", "serial"), ("sync", "serial"), ("sequential", "serial"),
    ("distributed", "dask"), ("fork", "processes"), ("spawn", "processes"), ("forkserver", "processes"), ("mp", "processes"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: mrpy.pmap(abs, [], backend="loky"), "did you mean 'processes'"),
        (lambda: mrpy.pmap(abs, [], backend="multiprocessing"), "did you mean 'processes'"),
        (lambda: mrpy.pmap(abs, [], backend="multithreading"), "did you mean 'threads'"),
        (lambda: mrpy.pmap(abs, [], backend="threading"), "did you mean 'threads'"),
        *((lambda name=name: mrpy.pmap(abs, [], backend=name), f"did you mean {ours!r}") for name, ours in PLACES),
        (lambda: mrpy.pmap(abs, [], workers=-1), "without it all processors are taken"),
        (lambda: mrpy.session(2), "did you mean workers=2"),
        (lambda: mrpy.session("tcp://here:8786"), r"did you mean mrpy\.session\('dask', address='tcp://here:8786'\)"),
        (lambda: mrpy.session("dask", "tcp://here:8786"), r"did you mean mrpy\.session\('dask', address='tcp://here"),
        (lambda: mrpy.Executor("threads"), "did you mean backend='threads'"),
    ],
)
def test_a_value_as_another_library_has_it_says_what_it_is_here(call: Callable[[], Any], says: str) -> None:
    with pytest.raises(mrpy.errors.OptionError, match=f"must be .*; {says}"):
        call()


def delayed(function: Any) -> Any:
    """That of joblib."""

    def delayed_function(*args: Any, **kwargs: Any) -> Any:
        return function, args, kwargs

    return delayed_function


@pytest.mark.parametrize("backend", LOCAL)
def test_calls_that_joblib_has_put_off_are_refused(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    joblib = types.ModuleType("joblib")
    joblib.delayed = delayed  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "joblib", joblib)
    other = lambda function: lambda *args: (function, args, {})

    def here(delayed: Any = delayed) -> Any:
        return (delayed(abs)(x) for x in [-1, 2])

    for calls in ((delayed(abs)(x) for x in [-1, 2]), here(), (joblib.delayed(abs)(x) for x in [-1, 2])):
        with pytest.raises(TypeError, match=r"write f\(x\) in its place"):
            next(mrpy.parallel(calls, backend=backend, workers=2))
    for kept in (here(other), ((abs, (x,), {}) for x in [-1, 2])):
        assert list(mrpy.parallel(kept, backend=backend, workers=2)) == [(abs, (-1,), {}), (abs, (2,), {})]
    done = ([f(*args) for f, args, _ in [delayed(abs)(y) for y in range(-x, 0)]] for x in [1, 2])
    assert list(mrpy.parallel(done, backend=backend, workers=2)) == [[1], [2, 1]]


JOBLIB = """
import functools

def delayed(function):
    def delayed_function(*args, **kwargs):
        return function, args, kwargs
    return functools.wraps(function)(delayed_function)
"""


@pytest.fixture
def joblib(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What mrpy looks at of it: where its code is from, and what that is called."""
    module = types.ModuleType("joblib")
    exec(compile(JOBLIB, "/there/joblib/parallel.py", "exec"), vars(module))
    monkeypatch.setitem(sys.modules, "joblib", module)
    return module


@pytest.mark.parametrize("backend", LOCAL)
def test_calls_that_are_put_off_by_another_name_are_refused(backend: str, joblib: Any) -> None:
    import dask

    D, later, lazily = joblib.delayed, joblib.delayed(abs), dask.delayed(abs)  # noqa: N806
    lazy = dask.delayed
    for calls in (
        (later(x) for x in [-1, 2]), (D(abs)(x) for x in [-1, 2]), [later(x) for x in [-1, 2]], (later(2),),
        (lazily(x) for x in [-1, 2]), (lazy(abs)(x) for x in [-1, 2]), [lazily(2)],
        (dask.delayed(abs)(x) for x in [-1, 2]),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=r"write f\(x\) in its place.*mrpy\.stream\("):
            next(mrpy.parallel(calls, backend=backend, workers=2))
    computed = (lazily(x).compute(scheduler="sync") for x in [-1, 2])
    assert list(mrpy.parallel(computed, backend=backend, workers=2)) == [1, 2]
    assert mrpy.stream([later(2)], backend=backend).to_list() == [(abs, (2,), {})]


def test_a_function_that_puts_its_calls_off_is_refused(joblib: Any) -> None:
    import dask

    for function in (joblib.delayed(abs), dask.delayed(abs)):
        for call in (
            lambda: mrpy.pmap(function, [1]), lambda: mrpy.pstarmap(function, [(1,)]), lambda: mrpy.submit(function, 1),
            lambda: mrpy.stream([1]).map(function), lambda: mrpy.parallel(map(function, [1])),
            lambda: mrpy.Executor(backend="serial").submit(function, 1),
        ):  # fmt: skip
            with pytest.raises(TypeError, match=r"\(\) needs the function itself.*delayed"):
                call()


def test_a_function_of_the_users_with_such_a_name_is_his_own(joblib: Any) -> None:
    assert list(mrpy.pmap(delayed(abs), [1], backend="serial")) == [(abs, (1,), {})]
    calls = [(abs, (-1,), {}), (abs, (2,), {})]
    done = mrpy.parallel((f(*args) for f, args, _ in calls), backend="serial")
    assert list(done) == [1, 2]


def test_the_delayed_of_joblib_itself_is_known() -> None:
    joblib = pytest.importorskip("joblib")
    for made in ((joblib.delayed(abs)(x) for x in [-1, 2]), [joblib.delayed(abs)(2)]):
        with pytest.raises(TypeError, match=r"write f\(x\) in its place"):
            next(mrpy.parallel(made, backend="serial"))
    with pytest.raises(TypeError, match="needs the function itself"):
        mrpy.pmap(joblib.delayed(abs), [1])

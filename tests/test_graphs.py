"""`mrpy.scheduler.get`: the graphs of Dask, over every backend."""

from __future__ import annotations

import operator
import os
import signal
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import pytest
from faults.watching import run_script
from laws import BACKENDS, eventually, fails

import mrpy
from mrpy.errors import ItemTimeout, OptionError, WorkerCrashed

dask = pytest.importorskip("dask")
over_backends = pytest.mark.parametrize("backend", BACKENDS)

GRAPH: dict[Any, Any] = {
    "one": 1,
    "three": (operator.add, "one", 2),
    "alias": "three",
    ("part", 0): (pow, "three", (operator.add, "one", "one")),
    "all": (sum, ["one", "alias", ("part", 0)]),
}


@over_backends
def test_it_gives_the_values_of_the_keys_as_dask_does(backend: str) -> None:
    for keys in ("all", ["all"], ["one", ["alias", [("part", 0)]], "all", "all"], [], [[]], ("part", 0)):
        assert mrpy.scheduler.get(GRAPH, keys, backend=backend, workers=2) == dask.get(GRAPH, keys)


@over_backends
def test_it_runs_the_collections_of_dask(backend: str) -> None:
    array, bag = pytest.importorskip("dask.array"), pytest.importorskip("dask.bag")
    numbers = array.arange(400, chunks=70).reshape(20, 20)
    words = bag.from_sequence("the fox and the dog and the hen".split(), npartitions=3)
    collections = (numbers @ numbers.T).sum(axis=0), words.frequencies().topk(2, key=1), dask.delayed(pow)(3, 4)
    expected = dask.compute(*collections, scheduler="sync")
    with mrpy.session(backend, workers=2), dask.config.set(scheduler=mrpy.scheduler.get):
        found = dask.compute(*collections)
    assert found[0].tolist() == expected[0].tolist()
    assert found[1:] == expected[1:]


@over_backends
def test_only_what_is_needed_runs(backend: str, tmp_path: Path) -> None:
    graph = {"x": (abs, -1), "y": (fails, "x"), "z": (Path.touch, tmp_path / "ran")}
    assert mrpy.scheduler.get(graph, ["x"], backend=backend) == (1,)
    assert list(tmp_path.iterdir()) == []


@over_backends
def test_what_a_task_raises_is_raised_and_says_which_it_was(backend: str) -> None:
    graph = {"x": (abs, -7), ("bad", 1): (fails, "x"), "after": (abs, ("bad", 1)), "last": (abs, "after")}
    with pytest.raises(LookupError, match="7") as caught:
        mrpy.scheduler.get(graph, "last", backend=backend)
    assert caught.value.__notes__ == ["mrpy: raised in the task ('bad', 1) of a graph"]
    assert mrpy.scheduler.get(graph, "x", backend=backend) == 7, "and the workers are there for others"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_task_may_be_tried_again(backend: str, tmp_path: Path) -> None:
    def second_time(place: Path) -> str:
        if not place.exists():
            place.touch()
            raise OSError("not yet")
        return "done"

    graph = {"x": (second_time, tmp_path / "there")}
    assert mrpy.scheduler.get(graph, "x", backend=backend, retries=1) == "done"


def test_values_that_no_task_needs_any_more_are_let_go() -> None:
    alive = weakref.WeakSet[Any]()
    most = [0]

    class Value:
        def __init__(self, _: Any) -> None:
            alive.add(self)
            most[0] = max(most[0], len(alive))

    def number(total: int, _: Value) -> int:
        return total + 1

    graph: dict[Any, Any] = {("sum", 0): 0}
    for n in range(200):
        graph["value", n] = (Value, n)
        graph["sum", n + 1] = (number, ("sum", n), ("value", n))
    assert mrpy.scheduler.get(graph, ("sum", 200), backend="serial") == 200
    assert most[0] <= 3, "what frees values goes before what makes them"
    assert mrpy.scheduler.get(graph, ("sum", 200), backend="threads", workers=2) == 200
    assert eventually(lambda: not alive)


@over_backends
def test_long_chains_and_many_tasks(backend: str) -> None:
    length = 100 if backend == "dask" else 3000
    chain: dict[Any, Any] = {("n", 0): 0, **{("n", n + 1): (operator.add, ("n", n), 1) for n in range(length)}}
    many: dict[Any, Any] = {("n", n): (abs, -n) for n in range(length)}
    assert mrpy.scheduler.get(chain, ("n", length), backend=backend, workers=2) == length
    assert mrpy.scheduler.get({**many, "all": (sum, list(many))}, "all", backend=backend) == sum(range(length))


def test_a_worker_that_dies_costs_nothing_and_a_task_that_kills_is_named(tmp_path: Path) -> None:
    def dies_once(place: Path) -> int:
        if not place.exists():
            place.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return 3

    graph = {"x": (dies_once, tmp_path / "there"), "y": (operator.add, "x", 1)}
    with mrpy.session("processes", workers=2):
        assert mrpy.scheduler.get(graph, "y") == 4
        with pytest.raises(WorkerCrashed, match="SIGABRT") as caught:
            mrpy.scheduler.get({"x": (abs, -1), "kills": (_aborts, "x")}, "kills")
    assert "task 'kills' of a graph" in str(caught.value.__notes__)


def _aborts(_: int) -> None:
    os.abort()


def test_a_task_that_takes_too_long_is_stopped() -> None:
    graph = {"x": (time.sleep, 60), "y": (type, "x")}
    for backend in ("serial", "threads", "processes"):
        with mrpy.session(backend, workers=2), pytest.raises(ItemTimeout, match=r"timeout=0\.3") as caught:
            mrpy.scheduler.get(graph, "y", timeout=0.3)
        assert "task 'x' of a graph" in str(caught.value.__notes__)


@over_backends
def test_what_cannot_travel_is_a_clear_error(backend: str) -> None:
    graph = {"lock": (threading.Lock,), "kind": (type, "lock")}
    if backend in ("serial", "threads"):
        assert mrpy.scheduler.get(graph, "kind", backend=backend).__name__ == "lock"
        return
    with pytest.raises(mrpy.errors.SerializationError, match="lock") as caught:
        mrpy.scheduler.get(graph, "kind", backend=backend, workers=2)
    assert "task 'lock' of a graph" in str(caught.value.__notes__)
    with pytest.raises(mrpy.errors.SerializationError, match="lock") as caught:
        mrpy.scheduler.get({"given": (type, threading.Lock())}, "given", backend=backend, workers=2)
    assert "task 'given' of a graph" in str(caught.value.__notes__)


def test_graphs_that_are_wrong_are_refused() -> None:
    with pytest.raises(KeyError, match="no key 'nothing'"):
        mrpy.scheduler.get({"x": 1}, ["x", "nothing"], backend="serial")
    with pytest.raises(RuntimeError, match="[Cc]ycle"):
        mrpy.scheduler.get({"x": (abs, "y"), "y": (abs, "x")}, "x", backend="serial")
    with pytest.raises((RuntimeError, ValueError)):
        mrpy.scheduler.get({"x": "y", "y": "x"}, "x", backend="serial")
    with pytest.raises(OptionError, match="workers="):
        mrpy.scheduler.get({"x": 1}, "x", num_workers=3)
    with pytest.raises(OptionError, match=r"worker= is not for graphs"):
        mrpy.scheduler.get({"x": 1}, "x", worker=2)
    with pytest.raises(OptionError, match=r"ordered= is not for graphs, which take backend, workers"):
        mrpy.scheduler.get({"x": 1}, "x", ordered=False)


def test_a_graph_in_a_task_runs_there() -> None:
    def inner(n: int) -> Any:
        return mrpy.scheduler.get({"x": (operator.add, n, 1)}, "x")

    assert list(mrpy.pmap(inner, range(5), backend="processes", workers=2)) == [1, 2, 3, 4, 5]


def test_graphs_run_from_several_threads_at_once() -> None:
    found: list[int] = []

    def run(n: int) -> None:
        graph = {"x": (abs, n), **{("y", i): (operator.add, "x", i) for i in range(20)}}
        found.append(sum(mrpy.scheduler.get(graph, [("y", i) for i in range(20)], backend="processes", workers=2)))

    threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(found) == [190, 210, 230, 250]


def test_ctrl_c_ends_it_in_a_script() -> None:
    script = """
        import os, signal, threading, time, mrpy
        threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
        graph = {("n", n): (time.sleep, 30) for n in range(4)}
        began = time.monotonic()
        try:
            mrpy.scheduler.get({**graph, "all": (list, list(graph))}, "all", backend="processes", workers=2)
        except KeyboardInterrupt:
            print("stopped", time.monotonic() - began < 10)
        print(mrpy.scheduler.get({"x": (abs, -1)}, "x", backend="processes", workers=2))
    """
    assert run_script(script).stdout.split() == ["stopped", "True", "1"]

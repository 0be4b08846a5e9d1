"""Rows 18, 30, 32 and 33: what a task does to itself, to its data and to its process stays there."""

from __future__ import annotations

import operator
import os
import signal
import sys
import tempfile
import types
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from laws import BACKENDS, LOCAL
from watching import assert_usable

import mrpy

over_all = pytest.mark.parametrize("backend", BACKENDS)
over_local = pytest.mark.parametrize("backend", LOCAL)

# ---- 18: children ------------------------------------------------------------------------------------


@pytest.mark.fault(18)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("way", ["return", "raise", "exit", "sys.exit", "yield"])
def test_a_forked_child_never_answers_in_its_parents_place(session: Any, way: str) -> None:
    def fork(x: int) -> Any:
        if os.fork():
            return x
        if way == "raise":
            raise ValueError("of the child")
        if way == "exit":
            os._exit(0)
        if way == "sys.exit":
            sys.exit(0)
        return np.full(100_000, x) if way == "yield" else "of the child"

    for chunksize in (1, 4):
        assert list(mrpy.pmap(fork, range(8), chunksize=chunksize)) == list(range(8))
    assert mrpy.preduce(operator.add, (fork(x) for x in range(8))) == 28
    assert mrpy.submit(fork, 3).result(30) == 3
    assert_usable(session)


@pytest.mark.fault(18)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_task_may_use_multiprocessing_of_its_own(session: Any) -> None:
    def pooled(x: int) -> list[int]:
        import multiprocessing

        with multiprocessing.get_context("fork").Pool(1) as pool:
            return pool.map(abs, [-x])

    assert list(mrpy.pmap(pooled, range(4), chunksize=2)) == [[x] for x in range(4)]
    assert_usable(session)


# ---- 30: initial values ----------------------------------------------------------------------------------


def put(seen: list[int], x: int) -> list[int]:
    seen.append(x)
    return seen


def put_deep(seen: dict[str, list[int]], x: int) -> dict[str, list[int]]:
    seen["all"].append(x)
    return seen


def both(left: dict[str, list[int]], right: dict[str, list[int]]) -> dict[str, list[int]]:
    left["all"] += right["all"]
    return left


@pytest.mark.fault(30)
@over_all
def test_an_initial_value_that_is_changed_belongs_to_one_chunk_alone(backend: str) -> None:
    initial: list[int] = []
    options: dict[str, Any] = {"backend": backend, "workers": 2}
    for _ in range(2):  # what the first run did to it would show in the second
        got = mrpy.pfold(put, range(300), initial, combine=operator.iadd, **options)
        assert got == list(range(300))
        assert initial == []
    deep: dict[str, list[int]] = {"all": []}
    assert mrpy.pfold(put_deep, range(300), deep, combine=both, **options) == {"all": list(range(300))}
    assert deep == {"all": []}


@pytest.mark.fault(30)
@over_all
def test_an_initial_value_of_a_reduction_is_not_changed(backend: str) -> None:
    initial = Counter(a=1)
    items = [Counter(a=1) for _ in range(50)]
    for _ in range(2):
        assert mrpy.preduce(operator.add, items, initial, backend=backend, workers=2) == Counter(a=51)
    assert initial == Counter(a=1)
    assert items == [Counter(a=1)] * 50


def grown(left: list[int], right: list[int]) -> list[int]:
    left += right
    return left


@pytest.mark.fault(30)
@pytest.mark.parametrize("operator_", [operator.iadd, grown])
@over_all
def test_items_are_not_changed_by_an_operator_that_changes_what_is_on_its_left(backend: str, operator_: Any) -> None:
    """With an initial value no item ever stands there in a plain loop."""
    one = np.ones(2)
    options: dict[str, Any] = {"backend": backend, "workers": 2, "chunksize": 5}
    for _ in range(2):
        assert mrpy.preduce(operator_, [one] * 20, np.zeros(2), **options).tolist() == [20, 20]
        assert one.tolist() == [1, 1]
    rows = [[n] for n in range(7)]
    for _ in range(2):
        assert mrpy.preduce(operator_, (rows[n % 7] for n in range(21)), [], **options) == [*range(7)] * 3
        assert rows == [[n] for n in range(7)]


@pytest.mark.parametrize("backend", ["serial", "threads"])
def test_what_an_operator_chooses_is_the_very_object(backend: str) -> None:
    things = [types.SimpleNamespace(x=x % 17) for x in range(100)]
    best = mrpy.preduce(lambda a, b: a if a.x >= b.x else b, things, things[0], backend=backend, workers=2)
    assert best.x == 16 and any(best is thing for thing in things)


@pytest.mark.fault(30)
@over_local
def test_a_fold_that_is_asked_twice_begins_anew(backend: str) -> None:
    words = mrpy.stream("abab", backend=backend, workers=2).map(str.upper)
    first = words.fold(put, [], operator.iadd)
    assert first == ["A", "B", "A", "B"]
    first.clear()
    assert mrpy.pfold(put, [], first, combine=operator.iadd, backend=backend) == []


# ---- 32: arrays ------------------------------------------------------------------------------------------

SIZES = [10, 200_000]  # through the socket, and through shared memory


def spoil(array: np.ndarray[Any, Any]) -> float:
    array[...] = 7.0
    return float(array.sum())


@pytest.mark.fault(32)
@pytest.mark.parametrize(
    ("backend", "size"),
    [("processes", 10), ("processes", 200_000), pytest.param("dask", 10, marks=BACKENDS[-1].marks)],
)  # large ones are read-only on Dask
def test_what_a_task_writes_into_its_arguments_the_caller_does_not_see(backend: str, size: int) -> None:
    arrays = [np.zeros(size) for _ in range(4)]
    held = np.zeros(size)
    options: dict[str, Any] = {"backend": backend, "workers": 2, "chunksize": 1}
    for _ in range(2):
        assert list(mrpy.pmap(spoil, arrays, **options)) == [7.0 * size] * 4
        assert list(mrpy.pmap(lambda x: spoil(held), range(3), **options)) == [7.0 * size] * 3
        assert mrpy.preduce(operator.iadd, arrays, **options).sum() == 0.0
    assert not held.any()
    assert not any(array.any() for array in arrays)


@pytest.mark.fault(32)
@pytest.mark.parametrize("size", SIZES)
@over_all
def test_a_read_only_array_is_read_only_in_the_task_and_an_item_error_if_it_is_written(
    backend: str, size: int
) -> None:
    frozen = np.zeros(size)
    frozen.flags.writeable = False
    options: dict[str, Any] = {"backend": backend, "workers": 2, "chunksize": 1}
    with pytest.raises(ValueError, match="read-only") as caught:
        list(mrpy.pmap(spoil, [np.ones(size), frozen], **options))
    assert caught.value.mrpy_item.position == 1
    assert not any(mrpy.pmap(lambda array: array.flags.writeable, [frozen, frozen], **options))
    assert not frozen.any()


@pytest.mark.fault(32)
@pytest.mark.parametrize("size", SIZES)
def test_results_are_the_callers_own(session: Any, size: int) -> None:
    results = list(mrpy.pmap(lambda x: np.full(size, float(x)), range(6), chunksize=1))
    results[0] += 100.0
    assert [float(array[0]) for array in results] == [100.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert [float(array[0]) for array in mrpy.pmap(lambda x: np.full(size, float(x)), range(2))] == [0.0, 1.0]


# ---- 33: the process ---------------------------------------------------------------------------------------


def go_away(_: int) -> str:
    os.chdir("/")
    return os.getcwd()


def where(_: int) -> str:
    return os.getcwd()


@pytest.mark.fault(33)
def test_a_task_that_goes_to_another_directory_goes_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = os.getcwd()
    with mrpy.session("processes", workers=1):
        for _ in range(2):
            assert list(mrpy.pmap(go_away, range(1))) == ["/"]
            assert mrpy.submit(go_away, 0).result() == "/"
            assert mrpy.submit(where, 0).result() == here
            assert list(mrpy.pmap(where, range(2), chunksize=1)) == [here, here]
    assert os.getcwd() == here


@pytest.mark.fault(33)
def test_a_directory_that_is_renamed_under_a_worker_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "old").mkdir()
    monkeypatch.chdir(tmp_path / "old")
    with mrpy.session("processes", workers=1):
        run = mrpy.pmap(where, range(2), chunksize=1, buffersize=1)
        assert next(run) == str(tmp_path / "old")
        (tmp_path / "old").rename(tmp_path / "new")
        assert next(run) == str(tmp_path / "new")


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


LEAKS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {  # how to spoil, and what to look at
    "directory": (lambda: os.chdir("/"), os.getcwd),
    "environment": (lambda: os.environ.update(MRPY_LEAK="1"), lambda: os.environ.get("MRPY_LEAK")),
    "umask": (lambda: os.umask(0o777), umask),
    "signal handler": (
        lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN), lambda: signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN
    ),
    "import path": (lambda: sys.path.insert(0, "/nowhere"), lambda: "/nowhere" in sys.path),
    "recursion limit": (lambda: sys.setrecursionlimit(4321), sys.getrecursionlimit),
}  # fmt: skip


@pytest.mark.fault(33)
@pytest.mark.parametrize("what", LEAKS)
def test_with_a_worker_for_each_task_nothing_leaks(what: str) -> None:
    spoil_it, look = LEAKS[what]
    with mrpy.session("processes", workers=1, max_tasks_per_worker=1):
        before = mrpy.submit(look).result()
        mrpy.submit(spoil_it).exception()
        assert mrpy.submit(look).result() == before


@pytest.mark.fault(33)
def test_without_that_all_but_the_directory_stays_as_the_readme_says() -> None:
    """If one of these does not leak any more, the table in the README is to be changed."""
    left = []
    for what, (spoil_it, look) in LEAKS.items():
        with mrpy.session("processes", workers=1):
            before = mrpy.submit(look).result()
            mrpy.submit(spoil_it).exception()
            if mrpy.submit(look).result() != before:
                left.append(what)
    assert left == [what for what in LEAKS if what != "directory"]


@pytest.mark.fault(33)
def test_a_task_that_removes_the_folder_it_went_to_leaves_later_ones_in_theirs() -> None:
    def gone(n: int) -> int:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
        return n

    with mrpy.session("processes", workers=1):
        assert mrpy.submit(gone, 1).result(30) == 1
        assert mrpy.submit(os.getcwd).result(30) == os.getcwd()

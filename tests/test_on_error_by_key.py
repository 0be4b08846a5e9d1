"""`on_error` where a shuffle follows: what a function puts in the place of an item is an item, and has a key."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from laws import BACKENDS

import mrpy


def named(n: int) -> tuple[str, int]:
    if n == 2:
        raise ValueError(n)
    return "odd" if n % 2 else "even", n


def instead(error: BaseException) -> tuple[str, int]:
    return "even", -1


ITEMS = [("even", 0), ("odd", 1), ("even", -1), ("odd", 3), ("even", 4)]
EVEN, ODD = ITEMS[::2], ITEMS[1::2]

VERBS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "group_by": (lambda run: dict(run.group_by(0)), {"even": EVEN, "odd": ODD}),
    "count_by": (lambda run: dict(run.count_by(0)), {"even": 3, "odd": 2}),
    "reduce_by": (lambda run: dict(run.reduce_by(0, max)), {"even": ("even", 4), "odd": ("odd", 3)}),
    "fold_by": (lambda run: dict(run.fold_by(0, lambda total, item: total + item[1], 0)), {"even": 3, "odd": 4}),
    "aggregate_by": (lambda run: dict(run.aggregate_by(0, least=(1, "min"))), {"even": {"least": -1}, "odd": {"least": 1}}),
    "topk_by": (lambda run: dict(run.topk_by(0, 1, 1)), {"even": [("even", 4)], "odd": [("odd", 3)]}),
    "join": (lambda run: list(run.join([("even", "E")], 0)), [(item, ("even", "E")) for item in EVEN]),
    "cogroup": (lambda run: dict(run.cogroup([], 0)), {"even": (EVEN, []), "odd": (ODD, [])}),
    "repartition": (lambda run: sorted(run.repartition(2, 0)), sorted(ITEMS)),
    "mapreduce": (
        lambda run: dict(mrpy.mapreduce(lambda item: [item, item], lambda key, values: sum(values), run)),
        {"even": 6, "odd": 8},
    ),
    "mapreduce, combined": (
        lambda run: dict(mrpy.mapreduce(lambda item: item, least, run, combiner=least)),
        {"even": -1, "odd": 1},
    ),
    "distinct": (lambda run: run.distinct(lambda item: item[0]).to_list(), ITEMS[:2]),
    "sorted": (lambda run: run.sorted(1).to_list(), sorted(ITEMS, key=lambda item: item[1])),
}  # fmt: skip


def least(key: str, values: Iterator[int]) -> int:
    return min(values)


@pytest.mark.parametrize("options", [{}, {"memory": 1}, {"retries": 1}, {"chunksize": 1}])
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_what_stands_in_the_place_of_an_item_has_its_own_key(backend: str, verb: str, options: Any) -> None:
    if backend == "dask" and options:
        pytest.skip("one way is enough where a task takes long")
    finish, expected = VERBS[verb]
    run = mrpy.stream(range(5), backend=backend, workers=2, on_error=instead, **options).map(named)
    assert finish(run) == expected


@pytest.mark.parametrize("backend", BACKENDS)
def test_where_the_key_fails_it_is_that_of_the_other_item(backend: str) -> None:
    def parity(n: int) -> int:
        return {0: 0, 1: 1, 3: 1, 4: 0, 100: 0}[n]

    run = mrpy.stream(range(5), backend=backend, workers=2, on_error=lambda error: 100)
    assert dict(run.group_by(parity)) == {0: [0, 100, 4], 1: [1, 3]}


MADE: dict[str, Any] = {"a pair": ("none", 1), "pairs": [("none", 0), ("none", 1)], "a dict": {"none": 1}, "nothing": []}


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("backend", BACKENDS)
def test_where_a_mapper_fails_it_is_what_the_mapper_would_have_made(backend: str, made: str) -> None:
    def mapper(n: int) -> Iterator[tuple[str, int]]:
        yield "all", n
        if n == 2:
            raise ValueError(n)

    run = mrpy.stream(range(5), backend=backend, workers=2, on_error=lambda error: MADE[made])
    found = dict(mrpy.mapreduce(mapper, lambda key, values: sum(values), run))
    assert found == {"all": 8} | ({} if made == "nothing" else {"none": 1})


@pytest.mark.parametrize("combiner", [None, least])
@pytest.mark.parametrize("chunksize", [1, 5])
def test_a_record_that_fails_leaves_no_pairs(chunksize: int, combiner: Any) -> None:
    def mapper(n: int) -> Iterator[tuple[str, int]]:
        yield "all", n
        if n == 0:
            raise ValueError(n)
        yield f"{n}", n

    options: dict[str, Any] = {"backend": "serial", "chunksize": chunksize, "combiner": combiner}
    for on_error in ("skip", lambda error: []):
        found = mrpy.mapreduce(mapper, least, range(3), on_error=on_error, **options)
        assert dict(found) == {"all": 1, "1": 1, "2": 2}


def boom(n: int) -> None:
    raise RuntimeError(n)


class Unopenable:
    def __reduce__(self) -> Any:
        return boom, (1,)


def doubled(pair: tuple[str, int]) -> tuple[str, int]:
    if pair[0] == "raise":
        raise ValueError
    if pair[0] == "die":
        os._exit(3)
    while pair[0] == "slow":
        time.sleep(0.01)
    return pair[0], pair[1] * 2


@pytest.mark.parametrize("chunksize", [1, 3])
def test_what_it_stands_for_does_not_depend_on_neighbours(chunksize: int) -> None:
    pairs = [("raise", 1), ("die", 1), ("raise", 1), Unopenable(), ("raise", 1), ("fine", 1)]
    run = mrpy.mapreduce(
        doubled, lambda _, values: sum(values), pairs,
        backend="processes", workers=2, chunksize=chunksize, on_error=lambda error: (type(error).__name__, 100),
    )  # fmt: skip
    assert dict(run) == {"ValueError": 300, "WorkerCrashed": 100, "RuntimeError": 200, "fine": 2}


@pytest.mark.parametrize("chunksize", [1, 2])
def test_what_runs_too_long_does_so_in_the_mapper(chunksize: int) -> None:
    options: dict[str, Any] = {"backend": "threads", "workers": 2, "chunksize": chunksize, "timeout": 0.05}
    run = mrpy.stream([("raise", 1), ("slow", 1)], on_error=lambda error: (type(error).__name__, 100), **options)
    found = mrpy.mapreduce(doubled, lambda _, values: sum(values), run.map(lambda pair: pair))
    assert dict(found) == {"ValueError": 100, "ItemTimeout": 100}


@pytest.mark.parametrize("backend", ["serial", "processes"])
def test_a_step_before_the_mapper_puts_a_record_there(backend: str) -> None:
    run = mrpy.stream(range(5), backend=backend, workers=2, on_error=instead).map(named)
    found = mrpy.mapreduce(lambda item: {item[0].upper(): item[1]}, lambda key, values: list(values), run)
    assert dict(found) == {"EVEN": [0, -1, 4], "ODD": [1, 3]}


def test_a_line_that_cannot_be_read_has_a_key_too(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"a\n\xff\nb\na\n")
    run = mrpy.read_text(path, backend="serial", on_error=lambda error: "b")
    assert dict(run.count_by(lambda line: line)) == {"a": 2, "b": 2}


def test_what_is_no_item_is_an_error_at_its_place() -> None:
    run = mrpy.stream(range(5), backend="serial", on_error=lambda error: None).map(named)
    with pytest.raises(TypeError, match="NoneType") as caught:
        list(run.group_by(0))
    assert "item 2" in str(caught.value.__notes__)


@pytest.mark.parametrize("bad", [[1], object(), float], ids=["not hashable", "no stable hash", "fine"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_item_whose_key_cannot_be_one_is_skipped(backend: str, bad: Any) -> None:
    run = mrpy.stream(range(100), backend=backend, workers=2, on_error="skip")
    groups = list(run.group_by(lambda n: bad if n == 50 else n % 2))
    assert sum(len(items) for _, items in groups) == (100 if bad is float else 99)


@pytest.mark.parametrize("backend", ["serial", "processes"])
def test_a_record_of_which_the_mapper_makes_no_pair_is_skipped_or_replaced(backend: str) -> None:
    def mapper(n: int) -> Any:
        return [7] if n == 50 else [(n % 2, n)]

    def counted(key: int, values: Iterator[int]) -> int:
        return sum(1 for _ in values)

    options: dict[str, Any] = {"backend": backend, "workers": 2}
    assert dict(mrpy.mapreduce(mapper, counted, range(100), on_error="skip", **options)) == {0: 49, 1: 50}
    found = mrpy.mapreduce(mapper, counted, range(100), on_error=lambda error: (0, 50), **options)
    assert dict(found) == {0: 50, 1: 50}


def test_attributes_of_the_users_objects_are_theirs() -> None:
    class Mapper:
        ours = True

        def __call__(self, n: int) -> tuple[str, int]:
            return ("none", 1 // n)

    class Combiner:
        def least(self, values: Iterator[int]) -> int:
            return min(values)

        def __call__(self, key: str, values: Iterator[int]) -> int:
            return self.least(values)

    run = mrpy.mapreduce(
        Mapper(), least, [0, 1, 1], combiner=Combiner(), backend="serial", on_error=lambda error: ("none", -1)
    )
    assert list(run) == [("none", -1)]

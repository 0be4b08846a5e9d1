"""Joins with what every worker can have: nothing is shuffled, and the rows are those of the loops."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from laws import BACKENDS, LOCAL

import mrpy
from mrpy.errors import OptionError, SerializationError, TooManyErrors
from mrpy.mapreduce import lookup

over_backends = pytest.mark.parametrize("backend", BACKENDS)
over_local = pytest.mark.parametrize("backend", LOCAL)

ORDERS = [(n % 7, f"order {n}") for n in range(40)]
TOWNS = [(n, f"town {n}") for n in (3, 1, 5, 1, 9)]
KEYS: dict[str, Any] = {"index": 0, "list": [0], "function": lambda row: row[0]}


def loops(left: Any, right: Any, how: str) -> list[Any]:
    rows: list[Any] = []
    for a in left:
        matches = [b for b in right if b[0] == a[0]]
        if how in ("semi", "anti"):
            rows += [a] if bool(matches) == (how == "semi") else []
        else:
            rows += [(a, b) for b in matches] or ([(a, "?")] if how == "left" else [])
    return rows


@over_backends
@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("how", lookup.HOW)
def test_the_rows_come_in_the_order_of_the_items(how: str, key: str, backend: str) -> None:
    with mrpy.session(backend, workers=2):
        for towns in (TOWNS, TOWNS[:3], []):
            rows = mrpy.stream(ORDERS, chunksize=9).join(towns, KEYS[key], how=how, default="?")
            assert "by key" not in str(rows)
            assert list(rows) == loops(ORDERS, towns, how)


@over_local
def test_a_table_may_be_any_collection(backend: str) -> None:
    def joined(table: Any, **key: Any) -> list[Any]:
        rows = mrpy.stream([1, 2], backend=backend, workers=2).join(table, lambda n: n, **key)
        assert "by key" not in str(rows)
        return list(rows)

    assert joined({1: "one", 3: "three"}.items(), other_key=0) == [(1, (1, "one"))]
    assert joined({2, 4}) == joined((2, 4)) == joined(range(2, 4)) == joined(mrpy.stream([2])) == [(2, 2)]
    assert joined(np.arange(2, 4)) == [(2, 2)]
    assert joined("2", other_key=int) == [(2, "2")]
    rows = mrpy.stream([1, 2], backend=backend).join((n for n in [2]), lambda n: n)  # nobody knows how many
    assert "by key" in str(rows)
    assert list(rows) == [(2, 2)]


@over_local
def test_the_source_may_have_no_end(backend: str) -> None:
    rows = mrpy.stream(itertools.count(), backend=backend, workers=2).map(lambda n: (n % 10, n)).join(TOWNS, 0)
    assert rows.take(4).to_list() == [((n, n), town) for n in (1, 3) for town in TOWNS if town[0] == n] + [
        ((5, 5), TOWNS[2])
    ]


def test_what_is_large_is_shuffled(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_shuffled(other: Any) -> bool:
        return "by key" in str(mrpy.stream(ORDERS).join(other, 0))

    assert [is_shuffled([(n, f"{n:0300}") for n in range(count)]) for count in (50_000, 150_000)] == [False, True]
    assert [is_shuffled([(n, np.zeros(1 << 17)) for n in range(count)]) for count in (20, 50)] == [False, True]
    assert is_shuffled(range(10**9))
    rows = sorted(mrpy.stream(ORDERS, backend="serial").join(TOWNS, 0))
    monkeypatch.setattr(lookup, "SMALL", 1)
    assert is_shuffled(TOWNS)
    assert sorted(mrpy.stream(ORDERS, backend="serial").join(TOWNS, 0)) == rows


@over_local
def test_errors_behind_it_are_of_single_rows(backend: str) -> None:
    table = [(1, 5), (1, 0), (1, 2), (1, 1)]
    rows = mrpy.stream([(1,)], backend=backend, workers=2, on_error="skip").join(table, 0).map(lambda r: 10 // r[1][1])
    assert list(rows) == [2, 5, 10]
    assert rows.skipped.count == 1
    for options in ({"retries": 1}, {"timeout": 30}, {"on_error": "skip"}):
        assert "by key" in str(mrpy.stream([(1,)], **options).join(table, 0))


def bad(row: Any) -> Any:
    if row[1][1] == 11:
        raise LookupError
    return row[1][1]


@over_local
def test_what_is_said_of_items_after_the_join_is_about_its_rows(backend: str, tmp_path: Path) -> None:
    def joined() -> Any:
        return mrpy.stream([(1,), (2,)], backend=backend, workers=2).join([(1, 10), (1, 11), (1, 12), (2, 20)], 0)

    skipping = mrpy.pmap(bad, joined(), on_error="skip")
    assert sorted(skipping) == [10, 12, 20]
    assert skipping.skipped.count == 1
    assert joined().map(bad).map(str).to_text(tmp_path / "out", on_error="skip").records == 3
    counts = mrpy.mapreduce(lambda row: (bad(row), 1), lambda _, n: sum(n), joined(), on_error="skip")
    assert dict(counts) == {10: 1, 12: 1, 20: 1}
    assert sorted(mrpy.pmap(bad, joined(), on_error=lambda error: 0)) == [0, 10, 12, 20]
    assert len(list(mrpy.pmap(bad, joined(), on_error="return"))) == 4
    mapped = joined().map(bad)
    with mrpy.session(backend, workers=2, on_error="skip"):
        assert mapped.sum() == 42
        assert sorted(mapped) == [10, 12, 20]
    with mrpy.session(backend, workers=2, timeout=20):
        assert sorted(joined().map(len)) == [2, 2, 2, 2]
        assert sorted(joined()) == sorted(loops([(1,), (2,)], [(1, 10), (1, 11), (1, 12), (2, 20)], "inner"))


def test_what_stands_in_for_items_is_looked_up() -> None:
    rows = mrpy.stream(["1", "x", "3"]).map(int).join([1, 5], lambda n: n)
    with mrpy.session("serial", on_error=lambda error: 5):
        assert sorted(rows) == [(1, 1), (5, 5)]
    rows = mrpy.stream(["1", "x", "3"]).map(int).join([1, 5], lambda n: n)
    with mrpy.session("serial", on_error="return"), pytest.raises(OptionError, match="they have no key"):
        list(rows)


def test_an_event_loop_is_not_blocked_while_the_table_is_made() -> None:
    async def read() -> tuple[list[Any], int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.ensure_future(tick())
        rows = mrpy.stream([1], backend="threads", workers=1).join([1, 2], abs, lambda n: time.sleep(0.2) or n)
        found = [row async for row in rows]
        ticking.cancel()
        return found, ticks

    found, ticks = asyncio.run(read())
    assert found == [(1, 1)]
    assert ticks > 5


@over_local
def test_who_gives_partitions_or_replaces_has_a_shuffle(backend: str) -> None:
    stream = mrpy.stream(["1", "x", "3"], backend=backend, on_error=lambda error: 5).map(int)
    rows = stream.join([1, 5], lambda n: n)
    assert "by key" in str(rows)
    assert sorted(rows) == [(1, 1), (5, 5)]
    assert "by key" in str(mrpy.stream(ORDERS, backend=backend).join(TOWNS, 0, partitions=2))


@dataclasses.dataclass(frozen=True)
class Point:
    x: float
    y: float


@over_local
def test_keys_are_equal_as_in_a_shuffle(backend: str) -> None:
    left: list[Any] = [1, 2.0, True, None, math.nan, (1, math.nan), Point(1, 2), np.float64("nan"), "1"]
    right: list[Any] = [1.0, None, float("nan"), (1.0, float("nan")), Point(1.0, 2.0), "1"]
    found = [
        sorted(map(repr, mrpy.stream(left, backend=backend, workers=2).join(right, lambda key: key, **options)))
        for options in ({}, {"partitions": 3})
    ]
    assert found[0] == found[1]
    assert len(found[0]) == 3 + 6 - 1  # 2.0 has no match


@over_local
@pytest.mark.parametrize("key", [lambda row: [row[0]], lambda row: object()])
def test_a_key_that_cannot_be_one_is_refused_on_both_sides(key: Callable[[Any], Any], backend: str) -> None:
    for keys in ((key, 0), (0, key)):
        with pytest.raises(TypeError, match=r"of type \w+ (cannot be a key|has no hash)") as caught:
            list(mrpy.stream(ORDERS, backend=backend, workers=2).join(TOWNS, *keys))
        assert caught.value.mrpy_item.position == 0  # type: ignore[attr-defined]


@over_local
def test_errors_of_the_table_are_of_its_items_and_count_with_the_others(backend: str) -> None:
    def joined(**options: Any) -> Any:
        stream = mrpy.stream(["1", "x", "2", "y"], backend=backend, workers=2, **options)
        return stream.join([(2, 2), (1, 0), (1, 1)], int, lambda row: row[0] // row[1])

    with pytest.raises(ZeroDivisionError) as caught:
        list(joined())
    assert caught.value.mrpy_item.position == 1  # type: ignore[attr-defined]
    rows = joined(on_error="skip")
    assert sorted(rows) == [("1", (1, 1)), ("1", (2, 2))]
    assert rows.skipped.count == 3
    assert sorted(failure.item.position for failure in rows.skipped.failures) == [1, 1, 3]
    assert "ZeroDivisionError" in rows.explain()
    with pytest.raises(TooManyErrors):
        list(joined(on_error="skip", max_errors=2))
    assert len(list(joined(on_error="skip", max_errors=3))) == 2


@pytest.mark.parametrize("key", KEYS)
def test_a_row_that_cannot_be_pickled_is_an_error_of_its_own(key: str) -> None:
    table = [*TOWNS, (2, threading.Lock())]

    def joined(**options: Any) -> Any:
        return mrpy.stream(ORDERS, backend="processes", workers=2, **options).join(table, KEYS[key])

    with pytest.raises(SerializationError) as caught:
        list(joined())
    assert caught.value.mrpy_item.position == 5  # type: ignore[attr-defined]
    rows = joined(on_error="skip")
    assert sorted(rows) == sorted(loops(ORDERS, TOWNS, "inner"))
    assert rows.skipped.count == 1
    got = mrpy.stream(ORDERS, backend="threads", workers=2).join(table, KEYS[key])
    assert list(got) == loops(ORDERS, table, "inner")


@over_local
def test_each_run_looks_at_the_table_anew(backend: str) -> None:
    table = [(1, "a")]
    rows = mrpy.stream([(1,), (2,)], backend=backend, workers=2).join(table, 0)
    assert rows.count() == 1
    table.append((2, "b"))
    assert rows.count() == 2
    table[0] = (2, "c")
    assert list(rows) == [((2,), (2, "c")), ((2,), (2, "b"))]


def test_a_run_that_is_under_way_has_the_table_of_its_beginning() -> None:
    table = [(1, "a")]
    rows = mrpy.stream([(1,)] * 300, backend="serial", chunksize=10).join(table, 0)
    first = iter(rows.map(lambda row: row[1][1]))
    assert next(first) == "a"
    table[0] = (1, "b")
    assert set(rows.map(lambda row: row[1][1])) == {"b"}
    assert set(first) == {"a"}


@over_local
def test_the_matches_of_an_item_keep_their_order_whatever_comes_first(backend: str) -> None:
    table = [(1, n) for n in range(200)]
    given: dict[str, Any] = {"backend": backend, "workers": 2, "chunksize": 3, "ordered": False}
    rows = mrpy.stream([(1,)], **given).join(table, 0, lambda row: time.sleep(0.002 * (row[1] == 4)) or row[0])
    assert [match for _, match in rows] == table


@over_local
@pytest.mark.parametrize("key", KEYS)
def test_rows_go_on_to_whatever_comes_behind(key: str, backend: str, tmp_path: Path) -> None:
    def joined() -> Any:
        return mrpy.stream(ORDERS, backend=backend, workers=2).join(TOWNS, KEYS[key])

    rows = loops(ORDERS, TOWNS, "inner")
    assert joined().map(len).sum() == 2 * len(rows)
    assert dict(joined().count_by(1))[TOWNS[0]] == 6
    assert list(joined().sorted(key=lambda row: row[0][1])) == sorted(rows, key=lambda row: row[0][1])
    assert list(joined().join(TOWNS, 1, how="semi")) == []
    assert list(joined().repartition(3)) == rows
    assert sorted(joined().repartition(2, 1)) == sorted(rows)
    assert len(list(joined().join(joined(), 0, partitions=2))) == 6 * 4 + 6 + 5
    assert joined().map(lambda row: row[1][1]).to_text(tmp_path / "out").records == len(rows)
    assert dict(mrpy.mapreduce(lambda row: (row[1][0], 1), lambda _, n: sum(n), joined())) == {1: 12, 3: 6, 5: 5}
    left, right = joined().tee()
    assert list(left.zip(right)) == list(zip(rows, rows, strict=True))
    assert list(mrpy.parallel((a[1], b[1]) for a, b in joined() if b[0] > 1)) == [(a[1], b[1]) for a, b in rows if b[0] > 1]


@pytest.mark.fault(6)
def test_a_worker_that_dies_takes_no_rows_along(tmp_path: Path) -> None:
    def dies_once(row: Any) -> Any:
        if row[0][1] == "order 17" and not (mark := tmp_path / "died").exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return row

    rows = mrpy.stream(ORDERS, backend="processes", workers=2).join(TOWNS, lambda row: row[0]).map(dies_once)
    assert list(rows) == loops(ORDERS, TOWNS, "inner")


@over_local
def test_with_a_small_table_a_join_can_be_resumed(backend: str, tmp_path: Path) -> None:
    asked: Callable[[], Iterator[Path]] = lambda: (tmp_path / "asked").iterdir()
    (tmp_path / "asked").mkdir()

    def look(row: Any) -> Any:
        (tmp_path / "asked" / row[0][1]).touch()
        if row[0][1] == "order 31" and not (tmp_path / "go").exists():
            raise LookupError
        return row

    def run(how: str = "inner", other_key: Any = None) -> Any:
        given: dict[str, Any] = {"backend": backend, "workers": 2, "chunksize": 4, "checkpoint": tmp_path / "kept"}
        return list(mrpy.stream(ORDERS, **given).join(TOWNS, 0, other_key, how).map(look))

    with pytest.raises(LookupError):
        run()
    (tmp_path / "go").touch()
    for path in asked():
        path.unlink()
    assert run() == loops(ORDERS, TOWNS, "inner")
    assert len(list(asked())) < 23
    with pytest.raises(mrpy.errors.CheckpointError, match="another program"):
        run("left")
    with pytest.raises(mrpy.errors.CheckpointError, match="another program"):
        run(other_key=lambda town: town[0])


@pytest.mark.parametrize("option", [{"workers": 3}, {"name": "b"}, {"memory": 10**8}, {"backend": "threads"}])
def test_a_join_is_resumed_under_other_options(option: dict[str, Any], tmp_path: Path) -> None:
    """They are no part of what it computes."""

    def run(**options: Any) -> Any:
        given = {"backend": "serial", "workers": 2, "checkpoint": tmp_path / "kept", **options}
        return mrpy.stream(ORDERS, **given).join(TOWNS, 0).to_list()

    assert run() == run(**option) == loops(ORDERS, TOWNS, "inner")


def test_what_computes_the_table_is_shown() -> None:
    rows = mrpy.stream(ORDERS, backend="serial").join(TOWNS, lambda row: row[0])
    assert rows.explain().startswith("stage     5 items of a list -> map\n")
    assert "5 items of a list" in str(rows.graph())
    assert mrpy.stream(ORDERS, backend="serial").join(TOWNS, 0).explain().count("stage") == 1

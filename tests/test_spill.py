"""Shuffles that do not fit into the memory that they are given: the same answer, by way of the disk."""

from __future__ import annotations

import contextlib
import datetime
import errno
import functools
import io
import itertools
import math
import operator
import os
import random
import re
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mrpy
from mrpy.errors import SerializationError, SpillError
from mrpy.mapreduce import (
    made,
    made_again,
    output,
    own_file,
    own_folder,
    slices,
    sort_feeder,
    sort_memory,
    sorted_runs,
    sorting,
    spill,
)  # fmt: skip
from mrpy.mapreduce.batches import rows_of
from mrpy.mapreduce.chunks import Chunk
from mrpy.mapreduce.partition import stable_hash
from mrpy.mapreduce.sorted_runs import SortedRun, write_sorted
from mrpy.mapreduce.spill import Run, RunFile, SpillFolder, write_entries
from mrpy.mapreduce.tree import Node
from mrpy.scheduler import sizes

HERE = ("serial", "threads", "processes")  # where a shuffle may go to disk


@pytest.fixture
def spilled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder to spill to. At the end of the test nothing is left in it."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield tmp_path
    assert list(tmp_path.iterdir()) == []


@dataclass(frozen=True)
class Point:
    """A key of the user's."""

    x: int


def pairs(record: int) -> Iterator[tuple[Any, int]]:
    """Keys of many kinds, some of which are equal."""
    kinds = (record % 7, float(record % 7), str(record % 5), None, (record % 3, "t"), Point(record % 2), True)
    for kind in kinds:
        yield kind, record


def as_list(key: object, values: Iterator[int]) -> list[int]:
    return list(values)


def total(key: object, values: Iterator[float]) -> float:
    return sum(values)


def plainly(records: Any) -> dict[Any, list[int]]:
    groups: dict[Any, list[int]] = {}
    for record in records:
        for key, value in pairs(record):
            groups.setdefault(key, []).append(value)
    return groups


@pytest.mark.parametrize("backend", HERE)
@pytest.mark.parametrize("memory", [1, 20_000, 10**9])
def test_groups_have_all_their_values_in_order_whatever_fits(
    backend: str, memory: int, spilled: Path
) -> None:
    got = dict(mrpy.mapreduce(pairs, as_list, range(3000), backend=backend, workers=2, memory=memory))
    assert got == plainly(range(3000))


@pytest.mark.parametrize("backend", HERE)
def test_the_order_of_keys_and_the_bits_do_not_depend_on_memory(backend: str, spilled: Path) -> None:
    def some(record: int) -> Iterator[tuple[str, float]]:
        for n in range(20):
            yield f"{(record * 31 + n) % 50}", 0.1 * record + n / 7

    def run(memory: int, **options: Any) -> list[Any]:
        pairs = mrpy.mapreduce(some, total, range(400), combiner=total, memory=memory, **options)
        return [(key, value.hex()) for key, value in pairs]

    expected = run(10**9, backend="serial")
    for memory in (1, 5_000, 50_000, 10**9):
        for chunksize in ("auto", 1, 64, 400):
            assert run(memory, backend=backend, workers=2, chunksize=chunksize) == expected


def test_a_record_that_becomes_more_pairs_than_fit_is_cut_up_and_keeps_its_bits(spilled: Path) -> None:
    def many(record: int) -> Iterator[tuple[int, float]]:
        for n in range(200_000):
            yield n % 3, (record + 1) / (n + 1)

    def run(memory: int) -> list[Any]:
        return [(k, v.hex()) for k, v in mrpy.mapreduce(many, total, range(3), combiner=total, memory=memory)]

    assert run(1) == run(100_000) == run(10**9)


@pytest.mark.parametrize("backend", HERE)
def test_a_key_whose_values_do_not_fit_is_read_while_the_reducer_asks(backend: str, spilled: Path) -> None:
    def hot(record: int) -> Iterator[tuple[str, bytes]]:
        for n in range(50):
            yield "hot", b"%08d" % (50 * record + n)
        yield f"cold {record % 11}", b""

    def check(key: str, values: Iterator[bytes]) -> Any:
        if key != "hot":
            return sum(1 for _ in values)
        return [int(value) for value in values] == list(range(50 * 2000))

    got = dict(mrpy.mapreduce(hot, check, range(2000), backend=backend, workers=2, memory=300_000))
    assert got == {"hot": True, **{f"cold {n}": len(range(n, 2000, 11)) for n in range(11)}}


@pytest.mark.parametrize("backend", HERE)
def test_a_reducer_need_not_read_all_of_a_large_key(backend: str, spilled: Path) -> None:
    def firsts(key: object, values: Iterator[int]) -> tuple[int, int]:
        return next(values), next(values)

    records = range(60_000)
    got = mrpy.mapreduce(lambda n: (n % 2, n), firsts, records, backend=backend, workers=2, memory=50_000)
    assert dict(got) == {0: (0, 2), 1: (1, 3)}


def test_sorted_keys_come_sorted_by_way_of_the_disk(spilled: Path) -> None:
    words = [f"{(n * 7919) % 4001:05d}" for n in range(20_000)]
    got = list(mrpy.mapreduce(lambda word: (word, 1), total, words, sort=True, memory=100_000))
    assert got == sorted(Counter(words).items())


def test_a_reducer_that_yields_more_than_fits_is_read_from_disk_by_the_consumer(spilled: Path) -> None:
    def spread(key: int, values: Iterator[int]) -> Iterator[str]:
        for value in values:
            for n in range(100):
                yield f"{value}.{n}"

    got = mrpy.mapreduce(lambda n: (n % 4, n), spread, range(2000), memory=200_000)
    expected = {(n % 4, f"{n}.{m}") for n in range(2000) for m in range(100)}
    listed = list(got)
    assert len(listed) == len(expected)
    assert set(listed) == expected


def test_explain_says_what_went_to_disk(spilled: Path) -> None:
    run = mrpy.mapreduce(pairs, as_list, range(2000), memory=1, workers=2)
    assert "on disk" not in run.explain()
    list(run)
    assert "bytes on disk" in run.explain()


@pytest.mark.parametrize("backend", HERE)
def test_explain_says_how_much_was_moved(backend: str, spilled: Path) -> None:
    runs = [
        mrpy.mapreduce(pairs, as_list, range(2000), backend=backend, workers=2),
        mrpy.stream(range(2000), backend=backend, workers=2).sorted(),
        mrpy.stream(range(2000), backend=backend, workers=2).repartition(3),
        mrpy.stream(range(2000), backend=backend, workers=2).repartition(3, key=abs),
    ]
    for run in runs:
        assert "shuffle" not in run.explain()
        list(run)
        moved = re.search(r"shuffle +about ([\d,]+) bytes in memory$", run.explain(), re.MULTILINE)
        assert moved is not None, run.explain()
        assert int(moved[1].replace(",", "")) > 2000
    for run in (
        mrpy.stream(range(2000), backend=backend, workers=2, memory=1).sorted(),
        mrpy.stream(range(2000), backend=backend, workers=2, memory=1).repartition(3),
    ):
        list(run)
        assert re.search(r"and [1-9]\d* files with [1-9][\d,]* bytes on disk", run.explain()), run.explain()


def test_a_break_leaves_no_file(spilled: Path) -> None:
    run = mrpy.mapreduce(pairs, as_list, range(2000), memory=1, workers=2)
    for _ in run:
        break
    run.close()


@pytest.mark.parametrize("backend", ["serial", "threads"])
@pytest.mark.parametrize("verb", ["group_by", "repartition"])
def test_what_cannot_be_written_to_disk_is_said_to_be_that(backend: str, verb: str, spilled: Path) -> None:
    run = mrpy.stream(range(100), backend=backend, workers=2, memory=1000, chunksize=50)
    locked = run.map(lambda n: threading.Lock() if n == 57 else n)
    with pytest.raises(SerializationError, match="memory= cannot be written to disk because of.* a lock") as caught:
        (locked.group_by(type) if verb == "group_by" else locked.repartition(2)).to_list()
    assert verb != "group_by" or "item 50, or one of the 49 after it" in str(caught.value.__notes__)


def test_a_reducer_that_raises_leaves_no_file(spilled: Path) -> None:
    def bad(key: object, values: Iterator[int]) -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        list(mrpy.mapreduce(pairs, bad, range(2000), memory=1, workers=2))


# ---- sorting -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", HERE)
@pytest.mark.parametrize("memory", [1, 50_000, 10**9])
def test_more_than_fits_is_sorted_as_sorted_does_it(backend: str, memory: int, spilled: Path) -> None:
    words = [f"{(n * 7919) % 1009:04d}{'x' * (n % 13)}" for n in range(2500)]
    options = {"backend": backend, "workers": 2, "memory": memory}
    assert mrpy.stream(words, **options).sorted().to_list() == sorted(words)
    assert mrpy.stream(words, **options).sorted(len).to_list() == sorted(words, key=len)
    expected = sorted(words, key=lambda word: word[:2], reverse=True)
    assert mrpy.stream(words, **options).sorted(lambda word: word[:2], reverse=True).to_list() == expected


@settings(max_examples=60, deadline=None)
@given(
    items=st.lists(st.tuples(st.integers(0, 6), st.integers()), max_size=200),
    memory=st.integers(1, 3000),
    block=st.integers(1, 2000),
    chunksize=st.integers(1, 60),
    reverse=st.booleans(),
)
def test_a_sort_on_disk_is_stable_whatever_the_cuts(
    items: Any, memory: int, block: int, chunksize: int, reverse: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill, "BLOCK", (block, block))
        patch.setattr(sort_memory, "LEAST", 1)
        run = mrpy.stream(items, backend="serial", memory=memory, chunksize=chunksize)
        assert run.sorted(0, reverse=reverse).to_list() == sorted(items, key=lambda i: i[0], reverse=reverse)


def test_a_sort_on_disk_can_be_left(spilled: Path) -> None:
    run = mrpy.stream(range(20_000, 0, -1), memory=1, workers=2).sorted()
    assert next(run) == 1
    run.close()
    assert mrpy.stream(range(20_000, 0, -1), memory=1, workers=2).sorted().take(3).to_list() == [1, 2, 3]


def merged(runs: list[SortedRun], memory: int, order: sorting.Order, packs: bool) -> list[Any]:
    """The items of runs, as the second part of a sort has them."""
    merge = sorting.MergeTask(order, packs)
    batches = (batch for part in sorting.ranges(runs, memory) for batch in merge(part))
    return list(itertools.chain.from_iterable(sorting.each_once(batches, runs, order)))


@given(
    runs=st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers()), min_size=1, max_size=60), max_size=6),
    memory=st.integers(1, 4000),
    block=st.integers(1, 2000),
    packs=st.booleans(),
)
def test_ranges_have_all_items_once_and_in_order(runs: Any, memory: int, block: int, packs: bool) -> None:
    order = sorting.by(0, False)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill, "BLOCK", (block, block))
        patch.setattr(sorting, "BATCH", block)
        store = spill.Store(folder, memory)
        written = [write_sorted(store, sorted(run, key=lambda i: i[0]), order.rank, 0, 100) for run in runs]
        items = merged(written, memory, order, packs)
    assert items == sorted((item for run in runs for item in run), key=lambda item: item[0])


@given(
    numbers=st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=60), max_size=6),
    kind=st.sampled_from(["with NaN", "sets"]),
    memory=st.integers(1, 4000),
    block=st.integers(1, 2000),
)
def test_ranges_have_all_items_once_where_ranks_have_no_order(
    numbers: Any, kind: str, memory: int, block: int
) -> None:
    def rank(item: tuple[int, int]) -> Any:
        if kind == "sets":
            return frozenset(bit for bit in range(3) if (item[0] + 1) >> bit & 1)
        return float(item[0]) if item[0] else math.nan

    order = sorting.by(rank, False)
    runs = [[(number, place) for place, number in enumerate(run)] for run in numbers]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill, "BLOCK", (block, block))
        store = spill.Store(folder, memory)
        written = [write_sorted(store, sorted(run, key=rank), rank, 0, 100) for run in runs]
        items = merged(written, memory, order, packs=False)
    assert Counter(items) == Counter(item for run in runs for item in run)


@pytest.mark.parametrize("backend", HERE)
def test_keys_that_compare_with_their_own_kind_only_are_sorted_by_way_of_the_disk(
    backend: str, spilled: Path
) -> None:
    class Own:
        def __init__(self, value: int) -> None:
            self.value = value

        def __lt__(self, other: Any) -> bool:
            return bool(self.value < other.value)

    items = [(n * 7919 % 3, n) for n in range(20_000)]
    run = mrpy.stream(items, backend=backend, workers=2, memory=1)
    assert run.sorted(lambda item: Own(item[0])).to_list() == sorted(items, key=lambda item: item[0])


@pytest.mark.parametrize("memory", [1, 10**9])
@pytest.mark.parametrize("backend", [*HERE, "dask"])
def test_what_cmp_to_key_makes_is_a_key_everywhere(backend: str, memory: int) -> None:
    def compare(one: tuple[int, int], other: tuple[int, int]) -> int:
        return other[0] - one[0]

    key = functools.cmp_to_key(compare)
    items = [(n * 7919 % 3, n) for n in range(20_000)]
    run = mrpy.stream(items, backend=backend, workers=2, memory=memory)
    assert run.sorted(key).to_list() == sorted(items, key=key)


def at_random(one: int, other: int) -> int:
    return random.choice((-1, 1))


@pytest.mark.parametrize("backend", HERE)
@pytest.mark.parametrize("key", [lambda _: random.random(), functools.cmp_to_key(at_random)])
def test_a_key_that_is_another_each_time_is_an_error_where_it_is_asked_again(
    backend: str, key: Any, spilled: Path
) -> None:
    """Items were lost, and others came twice. What fits is asked once for each, as by the builtin."""
    items, options = range(100_000), {"backend": backend, "workers": 2}
    fits = mrpy.stream(items, memory=10**9, **options).sorted(key).to_list()
    assert fits != list(items)
    assert sorted(fits) == list(items)
    with pytest.raises(ValueError, match=r"sorted\(\) .* another answer"):
        mrpy.stream(items, memory=1, **options).sorted(key).to_list()


def test_a_shuffle_by_numbers_that_travel_with_the_items_may_go_to_disk(spilled: Path) -> None:
    rows = mrpy.stream(range(50_000), memory=1, workers=2).map(lambda n: (random.random(), n)).sorted(0)
    assert sorted(n for _, n in rows) == list(range(50_000))


@given(
    runs=st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=60), max_size=6),
    answers=st.lists(st.integers(0, 9), min_size=1),
    memory=st.integers(1, 4000),
    block=st.integers(1, 2000),
)
def test_all_items_come_once_or_it_is_an_error_whatever_a_key_says(
    runs: Any, answers: list[int], memory: int, block: int
) -> None:
    says = itertools.cycle(answers)
    order = sorting.by(lambda item: next(says), False)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill, "BLOCK", (block, block))
        store = spill.Store(folder, memory)
        written = [write_sorted(store, run, order.rank, 0, 100) for run in runs]
        try:
            items = merged(written, memory, order, packs=False)
        except ValueError as error:
            assert "another answer" in str(error)  # noqa: PT017
        else:
            assert Counter(items) == Counter(itertools.chain.from_iterable(runs))


@pytest.fixture
def written(spilled: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of all files that this process writes, those that are gone again included."""
    paths: list[str] = []

    class Counted(RunFile):
        def __init__(self, *arguments: str) -> None:
            super().__init__(*arguments)
            paths.append(self.path)

    for module in (made, sorted_runs):
        monkeypatch.setattr(module, "RunFile", Counted)
    return paths


def test_very_many_small_results_go_to_disk_in_few_files(written: list[str]) -> None:
    run = mrpy.stream(range(5000, 0, -1), backend="serial", memory=1, chunksize=1)
    assert run.sorted().to_list() == list(range(1, 5001))
    assert 1 < len(written) < 100


@pytest.mark.parametrize("careful", [{}, {"retries": 1}, {"timeout": 60}], ids=str)
def test_groups_go_to_disk_in_few_files_also_where_items_are_run_one_by_one(
    careful: dict[str, Any], written: list[str]
) -> None:
    run = mrpy.mapreduce(
        lambda n: (n % 1000, n), as_list, range(100_000), backend="serial", memory=8 << 20, chunksize=10_000, **careful
    )
    assert all(values == list(range(key, 100_000, 1000)) for key, values in run)
    assert 1 < len(written) < 100


def test_a_chunk_that_is_larger_than_memory_goes_to_disk_as_it_comes(spilled: Path) -> None:
    def many(n: int) -> Iterator[int]:
        for m in range(20_000):
            yield m
            held.append(sorting.estimated(taken._items))

    held: list[int] = []
    plan = mrpy.stream(range(2)).flat_map(many)._plan
    folder = SpillFolder()
    store = spill.Store(folder.path, 100_000)
    taken = sorting.Taken(sorting.by(None, False), Chunk(0, [0, 1]), store)
    for step in plan.steps:
        taken.leaf(step.over(iter([0, 1])))
    runs = taken.parts()
    assert len(runs) > 10
    assert max(held) < 120_000
    folder.close()


def test_items_that_cannot_be_compared_are_an_error(spilled: Path) -> None:
    with pytest.raises(TypeError, match="not supported between"):
        mrpy.stream([1, "a"] * 5000, memory=1, workers=2).sorted().to_list()


# ---- the files -----------------------------------------------------------------------------------------


def a_run(folder: str, entries: list[Any], block: int = 1000) -> Run:
    with RunFile(folder) as file:
        return write_entries(file, entries, 0, block)


def test_only_the_owner_may_enter_the_folder_or_read_a_file(spilled: Path) -> None:
    before = os.umask(0)
    try:
        folder = SpillFolder()
        run = a_run(folder.path, [(1, "a", [1])])
    finally:
        os.umask(before)
    assert os.stat(folder.path).st_mode & 0o777 == 0o700
    assert os.stat(run.path).st_mode & 0o777 == 0o600
    folder.close()
    folder.close()


@pytest.mark.fault(25)
@pytest.mark.parametrize("damage", ["cut", "flip", "gone", "foreign"])
def test_a_damaged_file_is_noticed_before_it_is_opened(damage: str, spilled: Path) -> None:
    folder = SpillFolder()
    run = a_run(folder.path, [(n, str(n), [n]) for n in range(1000)])
    other = a_run(folder.path, [(n, str(n), [-n]) for n in range(1000)])
    data = bytearray(Path(run.path).read_bytes())
    if damage == "gone":
        os.unlink(run.path)
    elif damage == "foreign":
        os.replace(other.path, run.path)
    else:
        data[len(data) // 2] ^= 1
        Path(run.path).write_bytes(data[: len(data) // 3] if damage == "cut" else data)
    with pytest.raises(SpillError, match="spilled part"):
        [run.read(block) for block in run.blocks]
    folder.close()


def test_a_file_that_cannot_be_read_is_named(spilled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system says of it has no name, but where it is opened."""

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with contextlib.closing(SpillFolder()) as folder:
        run = a_run(folder.path, [(1, "a", [1])])
        monkeypatch.setattr(spill.own_file, "to_read", lambda path: Broken())
        with pytest.raises(SpillError, match=f"{re.escape(run.path)}: Input/output error"):
            run.read(run.blocks[0])


def damaged_once(marker: str, folder: Path) -> Any:
    """A reducer that damages all that was spilled, at its first call in the whole run. One worker only has then
    not read what the other parts are made of."""

    def reduce(key: object, values: Iterator[int]) -> list[int]:
        first = next(values)
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return [first, *values]
        found = list(folder.glob(f"{spill.PREFIX}*/*{spill.RUN}"))
        assert found
        for path in found:
            path.write_bytes(b"nothing")
        return [first, *values]

    return reduce


@pytest.mark.fault(25)
def test_what_was_spilled_and_is_damaged_is_made_again(spilled: Path, tmp_path_factory: Any) -> None:
    reducer = damaged_once(str(tmp_path_factory.mktemp("marker") / "done"), spilled)
    run = mrpy.mapreduce(pairs, reducer, range(800), memory=1, workers=1, chunksize=200, partitions=2)
    assert dict(run) == plainly(range(800))


@pytest.mark.parametrize("backend", HERE)
def test_keys_that_are_equal_and_have_other_hashes_keep_their_own_values(backend: str, spilled: Path) -> None:
    numpy = pytest.importorskip("numpy")
    keys = [datetime.date(2020, 1, 1), numpy.datetime64("2020-01-01")] * 3
    options: Any = {"backend": backend, "workers": 2, "chunksize": 1, "memory": 1}
    for count in (3, 1):
        items = list(zip(keys, range(6), strict=True))[: 2 * count]
        groups = [sorted(n for _, n in group) for _, group in mrpy.stream(items, **options).group_by(0)]
        assert sorted(sum(groups, [])) == list(range(2 * count))
        pairs = mrpy.mapreduce(lambda item: item, lambda _, numbers: sorted(numbers), items, **options)
        assert sorted(sum((numbers for _, numbers in pairs), [])) == list(range(2 * count))
        both = mrpy.stream(items, **options).cogroup(iter(items), 0)
        assert sorted(n for _, (left, _) in both for _, n in left) == list(range(2 * count))


@pytest.mark.fault(25)
@pytest.mark.parametrize("times", [1, 2, 3])
def test_what_is_damaged_again_and_again_is_made_three_times(times: int, spilled: Path, monkeypatch: Any) -> None:
    def damaged(data: Any, digest: Any, packed: Any, where: Any) -> Any:
        if where[2] == 0 and len(found) < times:
            found.append(where)
            raise SpillError(f"a spilled part is damaged: {where[0]}", where[2])
        return opened(data, digest, packed, where)

    def counted(record: int) -> tuple[int, str]:
        made.append(record)
        return record % 50, "x" * 200

    opened, found, made = spill.opened, [], []
    monkeypatch.setattr(spill, "opened", damaged)
    run = mrpy.mapreduce(counted, lambda _, values: len(list(values)), range(5000),
                         partitions=1, backend="threads", workers=2, memory=200_000)  # fmt: skip
    if times == 3:
        with pytest.raises(SpillError, match="damaged"):
            list(run)
    else:
        assert sum(count for _, count in run) == 5000
    assert made.count(0) == min(3, times + 1)


@pytest.mark.fault(25)
@pytest.mark.parametrize("backend", HERE)
def test_what_was_in_memory_is_as_it_was_when_a_part_is_tried_again(
    backend: str, spilled: Path, tmp_path_factory: Any
) -> None:
    def uneven(record: int) -> Iterator[tuple[int, int]]:
        for n in range(400 if record % 2 else 8):
            yield n % 4 if n < 8 else n, 1000 * record + n

    reducer = damaged_once(str(tmp_path_factory.mktemp("marker") / "done"), spilled)
    options = {"memory": 600_000, "chunksize": 1, "partitions": 1, "backend": backend, "workers": 1}
    expected: dict[int, list[int]] = {}
    for record in range(40):
        for key, value in uneven(record):
            expected.setdefault(key, []).append(value)
    assert dict(mrpy.mapreduce(uneven, reducer, range(40), **options)) == expected


@pytest.mark.fault(25)
@pytest.mark.parametrize("sort", [False, True])
@pytest.mark.parametrize("backend", HERE)
def test_what_was_reduced_and_is_damaged_is_reduced_again(backend: str, sort: bool, spilled: Path) -> None:
    def several(key: int, values: Iterator[int]) -> Iterator[list[int]]:
        total = sum(values)
        yield from ([total] * 20_000, [key])

    mapper, records = (lambda record: (record % 50, record)), range(800)
    options = {"memory": 1, "backend": backend, "workers": 2, "chunksize": 200, "partitions": 2, "sort": sort}
    expected = list(mrpy.mapreduce(mapper, several, records, **options))
    assert {key: value[0] for key, value in expected[::2]} == {key: sum(range(key, 800, 50)) for key in range(50)}
    run = mrpy.mapreduce(mapper, several, records, **options)
    found = [next(run) for _ in range(3)]
    damaged = [path for path in spilled.glob(f"{spill.PREFIX}*/*{spill.RUN}") if path.write_bytes(b"nothing")]
    assert damaged
    assert [*found, *run] == expected
    assert "run again" in run.explain()


def added_up(_: object, numbers: Iterator[int]) -> int:
    return sum(numbers)


def often(_: object, numbers: Iterator[int]) -> Iterator[tuple[int, int, str]]:
    total = sum(numbers)
    yield from ((total, place, "x" * 50) for place in range(20_000))


def all_in_the_first(_: object, lists: Iterator[list[int]]) -> Iterator[list[int]]:
    whole = next(lists)
    for each in lists:
        whole += each
    yield from ([len(whole), place, *"x" * 50] for place in range(5_000))


@pytest.mark.fault(25)
@pytest.mark.parametrize("combiner", [added_up, None])
@pytest.mark.parametrize("backend", HERE)
def test_what_is_reduced_again_is_not_made_of_leftovers(backend: str, combiner: Any, spilled: Path) -> None:
    """On serial and threads a task merges into the very groups that it was given, as a reducer may into its values."""
    options: Any = {"backend": backend, "workers": 2, "chunksize": 100, "memory": 8_000_000}
    mapper, reducer = (lambda _: ("k", 1), often) if combiner else (lambda number: ("k", [number]), all_in_the_first)
    rows = mrpy.mapreduce(mapper, reducer, range(1000), combiner=combiner, **options)
    found = [next(rows)]
    harm(spilled, "damaged")
    assert {row[0] for _, row in [*found, *rows]} == {1000}
    assert "run again" in rows.explain()


@pytest.mark.fault(25)
@pytest.mark.parametrize("backend", ["serial", "threads"])
def test_what_is_reduced_again_and_cannot_be_as_it_was_is_an_error(backend: str, spilled: Path) -> None:
    options: Any = {"backend": backend, "workers": 2, "chunksize": 100, "memory": 8_000_000}
    rows = mrpy.mapreduce(lambda _: ("k", 1), often, once(1000), combiner=added_up, **options)
    next(rows)
    harm(spilled, "damaged")
    with pytest.raises(SpillError, match="damaged"):
        list(rows)


@pytest.mark.parametrize("backend", HERE)
def test_a_combiner_may_yield_nothing_for_some_keys_or_for_all(backend: str, spilled: Path) -> None:
    def odd(_: object, numbers: Iterator[int]) -> Iterator[int]:
        return (number for number in numbers if number % 2)

    options: Any = {"backend": backend, "workers": 2, "memory": 1, "combiner": odd}
    for keys, step in ((500, 1), (1, 2)):
        found = dict(mrpy.mapreduce(lambda n: (n % keys, n), lambda key, ns: sum(odd(key, ns)), range(0, 20_000, step), **options))
        assert found == {key: sum(n for n in range(key, 20_000, keys) if n % 2) if step == 1 else 0 for key in range(keys)}


def appended(numbers: list[int], number: int) -> list[int]:
    numbers.append(number)
    return numbers


@pytest.mark.fault(25)
@pytest.mark.parametrize("backend", HERE)
def test_an_operator_that_changes_what_it_gets_finds_it_as_it_was_when_a_part_is_tried_again(
    backend: str, spilled: Path, tmp_path_factory: Any
) -> None:
    marker = tmp_path_factory.mktemp("marker") / "done"

    def harmed(number: int) -> int:
        """The last item finds what others have on disk; and that this does not hold all of them."""
        if number == 59_999 and not marker.exists():
            marker.touch()
            first = min(spilled.glob(f"{spill.PREFIX}*/*{spill.RUN}"))
            first.write_bytes(b"nothing")
        return number

    items = mrpy.stream(range(60_000), backend=backend, workers=2, memory=30_000_000, chunksize=5000).map(harmed)
    groups = dict(items.fold_by(lambda number: number % 50, appended, [], operator.iadd, partitions=1))
    assert marker.exists()
    assert groups == {key: list(range(key, 60_000, 50)) for key in range(50)}


@pytest.mark.fault(25)
def test_what_cannot_be_made_again_is_an_error_that_names_it(spilled: Path, tmp_path_factory: Any) -> None:
    reducer = damaged_once(str(tmp_path_factory.mktemp("marker") / "done"), spilled)

    with pytest.raises(SpillError, match="damaged"):
        list(mrpy.mapreduce(pairs, reducer, once(800), memory=1, workers=1, chunksize=200, partitions=2))


def wide(number: int) -> tuple[int, str]:
    return number * 7919 % 500, "v" * 300 + str(number)


def wide_or_not(number: int) -> tuple[int, str]:
    if number % 97 == 5:
        raise ValueError(number)
    return wide(number)


def once(count: int) -> Iterator[int]:
    yield from range(count)


VERBS: dict[str, Any] = {
    "sorted": lambda items: items.sorted(0),
    "sorted, of a shuffle": lambda items: items.group_by(0).sorted(0),
    "repartition": lambda items: items.repartition(6),
    "repartition by key": lambda items: items.repartition(6, 0),
    "repartition of a shuffle": lambda items: items.group_by(0).repartition(6),
    "group_by of a shuffle": lambda items: items.group_by(0).map(lambda row: (row[0] % 7, row)).group_by(0),
    "cogroup of a shuffle": lambda items: items.group_by(0).cogroup([(n, "v" * 300) for n in range(500)], 0),
}
AGAIN = "sorted", "repartition"  # the others stand on a shuffle, which need not give the same rows to the bit
over_verbs = pytest.mark.parametrize("verb", VERBS)


def harm(folder: Path, how: str) -> None:
    """Do so to all that was spilled."""
    harmed = list(folder.glob(f"{spill.PREFIX}*/*{spill.RUN}"))
    assert harmed
    for path in harmed:
        with contextlib.suppress(FileNotFoundError):  # of a task that was given up
            data = path.read_bytes()
            path.write_bytes(data[:30] if how == "cut off" else data[:-1] + bytes(byte ^ 1 for byte in data[-1:]))
            if how == "removed":
                path.unlink()


@pytest.mark.fault(25)
@pytest.mark.parametrize("how", ["damaged", "cut off", "removed"])
@over_verbs
@pytest.mark.parametrize("again", [False, True])
def test_what_others_have_on_disk_is_an_error_where_it_cannot_be_made_again(
    verb: str, how: str, again: bool, spilled: Path
) -> None:
    maps_run_again = *AGAIN, "repartition by key"
    source = range(4000) if again and verb not in maps_run_again else once(4000)
    items = mrpy.stream(source, backend="serial", memory=1 << 16, chunksize=100).map(wide)
    rows = VERBS[verb](items)
    next(rows)
    harm(spilled, how)
    with pytest.raises(SpillError, match="spilled part"):
        list(rows)


@pytest.mark.fault(25)
@pytest.mark.parametrize("backend", HERE)
@pytest.mark.parametrize("how", ["damaged", "cut off", "removed"])
@pytest.mark.parametrize("verb", AGAIN)
def test_what_others_have_on_disk_and_is_damaged_is_made_again(
    verb: str, how: str, backend: str, spilled: Path
) -> None:
    """With the same rows, and what was skipped of them is counted once."""
    options: Any = {"backend": backend, "workers": 2, "chunksize": 100, "on_error": "skip", "max_errors": 42}

    def run(memory: int) -> Any:
        items = mrpy.stream(range(4000), memory=memory, **options).map(wide_or_not)
        return VERBS[verb](items)

    expected = list(run(1 << 30))
    rows = run(1 << 16)
    found = [next(rows)]
    harm(spilled, how)
    assert [*found, *rows] == expected
    assert rows.skipped.count == 42
    assert "again" in rows.explain() or backend != "serial"  # there all may have been read before


@pytest.mark.fault(25)
@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_small_parts_of_a_sort_that_went_to_disk_together_are_made_again(backend: str, spilled: Path, monkeypatch: Any) -> None:
    def again(self: Any, slots: list[Any]) -> list[str]:
        several.append(len(slots))
        return together_again(self, slots)

    several: list[int] = []
    together_again = sort_feeder.Written._together_again
    monkeypatch.setattr(sort_feeder.Written, "_together_again", again)
    items = mrpy.stream(range(12_000), backend=backend, workers=2, memory=1 << 22, chunksize=10).map(wide)
    rows = items.sorted(0)
    found = [next(rows)]
    harm(spilled, "damaged")
    assert [*found, *rows] == sorted(map(wide, range(12_000)), key=lambda row: row[0])
    assert max(several) > 1


@pytest.mark.fault(25)
@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("verb", AGAIN)
def test_what_others_find_damaged_again_and_again_is_made_three_times(
    verb: str, times: int, spilled: Path, monkeypatch: Any
) -> None:
    def harmed_again(files: list[str], places: list[str]) -> bool:
        put = put_in_place(files, places)
        moved.extend(places)
        for place in places:
            if moved.count(place) < times:
                Path(place).write_bytes(b"nothing")
        return put

    moved: list[str] = []
    put_in_place = made_again.put_in_place
    monkeypatch.setattr(made_again, "put_in_place", harmed_again)
    items = mrpy.stream(range(2000), backend="serial", memory=1 << 16, chunksize=100).map(wide)
    expected = list(VERBS[verb](items))
    rows = VERBS[verb](items)
    found = [next(rows)]
    harm(spilled, "damaged")
    if times == 3:
        with pytest.raises(SpillError, match="spilled part is damaged"):
            list(rows)
    else:
        assert [*found, *rows] == expected
    assert max(map(moved.count, moved)) == min(times, 2)


@pytest.mark.fault(25)
def test_nor_are_small_parts_that_went_to_disk_together_where_the_items_come_but_once(spilled: Path) -> None:
    rows = mrpy.stream(once(12_000), backend="serial", memory=1 << 22, chunksize=10).map(wide).sorted(0)
    next(rows)
    harm(spilled, "damaged")
    with pytest.raises(SpillError, match="spilled part is damaged"):
        list(rows)


class Other:
    """Gives other items each time, and may wait for ever."""

    def __init__(self) -> None:
        self.times = 0

    def __iter__(self) -> Iterator[int]:
        self.times += 1
        return iter(range(10_000 * self.times, 10_000 * self.times + 4000))


@pytest.mark.fault(25)
@over_verbs
def test_an_iterable_is_not_asked_for_its_items_again(verb: str, spilled: Path) -> None:
    source = Other()
    rows = VERBS[verb](mrpy.stream(source, backend="serial", memory=1 << 16, chunksize=100).map(wide))
    found, before = [next(rows)], source.times
    harm(spilled, "damaged")
    with pytest.raises(SpillError, match="spilled part is damaged"):
        found.extend(rows)
    assert source.times == before


@pytest.mark.fault(24)
def test_a_full_disk_is_an_error_that_says_where_and_leaves_nothing(spilled: Path) -> None:
    import resource

    def filled(record: int) -> Any:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
        yield from ((n, os.urandom(100)) for n in range(5000))

    with mrpy.session(workers=2), pytest.raises(SpillError, match=r"no room to spill: .*free"):
        list(mrpy.mapreduce(filled, as_list, range(3), memory=1))


@pytest.mark.fault(24)
@pytest.mark.parametrize(
    "number, free, said",
    [
        (errno.ENOSPC, 0, r"at least \d+ more bytes are needed, and 0 are free there"),
        (errno.ENOSPC, 798_720, r"the disk was full; 798720 bytes are free there again"),
        (errno.EDQUOT, 798_720, r"at least \d+ more bytes are needed than the quota allows"),
    ],
)
def test_what_is_said_of_a_full_disk_is_true_and_of_use(
    spilled: Path, monkeypatch: pytest.MonkeyPatch, number: int, free: int, said: str
) -> None:
    """Others may have given back what they had, and memory= may have been given."""

    class Full(own_file.OwnFile):
        def write(self, data: Any) -> int:
            if self.tell():
                raise OSError(number, os.strerror(number))
            return super().write(data[:1000]) or 0

    monkeypatch.setattr(own_file, "OwnFile", Full)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    told = rf"no room to spill: {said} \(in {spilled}/\S+, which has 1000 bytes by now; set TMPDIR to a larger disk, or raise memory="
    with pytest.raises(SpillError, match=told):
        list(mrpy.mapreduce(lambda x: [(x, os.urandom(1000))], as_list, range(3000), memory=1, backend="serial"))


@pytest.mark.fault(15)
def test_what_a_killed_process_left_goes_when_the_next_one_spills(spilled: Path) -> None:
    left = SpillFolder()
    a_run(left.path, [(1, "a", [1])])
    left._gone.detach()
    mine = SpillFolder()
    assert Path(left.path).exists()  # its owner lives
    os.close(os.open(os.path.join(left.path, own_folder.LOCK), os.O_RDWR))
    lock = [fd for fd in os.listdir("/dev/fd") if _leads_to(fd, os.path.join(left.path, own_folder.LOCK))]
    for fd in lock:
        os.close(int(fd))
    another = SpillFolder()
    assert not Path(left.path).exists()
    for folder in (mine, another):
        folder.close()


def _leads_to(fd: str, path: str) -> bool:
    try:
        return os.readlink(f"/dev/fd/{fd}") == path
    except OSError:
        return False


# ---- slices --------------------------------------------------------------------------------------------

groups = st.dictionaries(st.integers(0, 12), st.lists(st.integers(), min_size=1, max_size=30), max_size=8)


@settings(max_examples=200, deadline=None)
@given(
    parts=st.lists(st.tuples(groups, st.booleans()), max_size=7),
    memory=st.integers(1, 4000),
    block=st.integers(1, 3000),
    collide=st.booleans(),
)
def test_slices_bring_together_what_a_loop_does(parts: Any, memory: int, block: int, collide: bool) -> None:
    def rank(key: int) -> int:
        return key // 4 if collide else stable_hash(key)

    with tempfile.TemporaryDirectory() as folder:
        nodes = []
        for place, (part, on_disk) in enumerate(parts):
            value: Any = {key: list(values) for key, values in part.items()}
            if on_disk:
                entries = sorted(
                    ((rank(key), key, group) for key, group in value.items()), key=lambda e: e[0]
                )
                value = a_run(folder, entries, block)
            nodes.append(Node(0, place, value))
        got = {}
        ranks = []
        for key, group in slices.merged(nodes, lambda keys: [rank(key) for key in keys], None, memory):
            assert key not in got
            got[key] = list(group.values) if type(group) is slices.Streamed else group
            ranks.append(rank(key))
        expected: dict[int, list[int]] = {}
        for part, _ in parts:
            for key, values in part.items():
                expected.setdefault(key, []).extend(values)
        assert got == expected
        assert ranks == sorted(ranks)


HURT = {"hangs": lambda: time.sleep(60), "kills": lambda: os._exit(1)}


@pytest.mark.parametrize("how", HURT)
def test_a_chunk_that_is_made_again_leaves_out_what_was_left_out_before(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    hurt, folder = HURT[how], str(tmp_path)

    def pair(n: int) -> tuple[int, str]:
        if n == 1234:
            hurt()
        return n % 50, "x" * 300

    def count(key: int, values: Iterator[str]) -> int:
        number = 0
        for _ in values:
            number += 1
            if number == 5 and not os.path.exists(f"{folder}/done"):
                Path(folder, "done").touch()
                for run in Path(folder).glob("mrpy-spill-*/*.run"):
                    with open(run, "r+b") as file:
                        file.seek(os.path.getsize(run) // 2)
                        file.write(b"ZZZZ" * 50)
        return number

    options: dict[str, Any] = {"timeout": 1} if how == "hangs" else {}
    pairs = mrpy.mapreduce(
        pair, count, range(4000), workers=2, memory=200_000, chunksize=1000, on_error="skip", partitions=2, **options
    )
    assert sum(number for _, number in pairs) == 3999
    assert pairs.skipped.count == 1


@pytest.mark.fault(28)
@pytest.mark.parametrize("backend", HERE)
def test_where_there_is_no_folder_for_temporary_files_what_fits_needs_none(backend: str, monkeypatch: Any) -> None:
    def none() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with mrpy.session(backend, workers=2):
        words = ["a", "b", "a"]
        assert dict(mrpy.mapreduce(lambda word: (word, 1), lambda _, ones: sum(ones), words)) == {"a": 2, "b": 1}
        assert dict(mrpy.stream(words).count_by(str)) == {"a": 2, "b": 1}
        assert mrpy.stream(words).sorted().to_list() == ["a", "a", "b"]
        assert mrpy.stream(words).repartition(2).to_list() == words
        for run in (
            mrpy.stream(range(5000), memory=1, chunksize=100).map(str).sorted(),
            mrpy.mapreduce(pairs, lambda _, values: list(values), range(800), memory=1),
        ):
            with pytest.raises(SpillError, match="no folder for temporary files that can be written to; set TMPDIR"):
                list(run)


def test_of_rows_that_go_to_disk_some_are_weighed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each was, and every second one twice: that was most of what a reducer with many keys took."""
    weighed = 0

    def weight(value: Any) -> int:
        nonlocal weighed
        weighed += 1
        return 500

    monkeypatch.setattr(sizes, "weight", weight)
    monkeypatch.setattr(output, "weight", weight)
    rows = [str(n) for n in range(10_000)]
    with output.Output(spill.Store(str(tmp_path), 4_000_000)) as made_of:
        made_of.leaf(iter(rows))
    batches = made_of.batches(pack=False)
    assert [row for batch in batches for row in rows_of(batch)] == rows
    assert len(made_of.rows) <= 1000 and weighed < len(rows) / 2

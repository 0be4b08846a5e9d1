"""`repartition`: the same items in so many parts, each a task of its own, in memory and by way of the disk."""

from __future__ import annotations

import asyncio
import contextlib
import operator
import os
import re
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import BACKENDS, EXAMPLES, LOCAL, THOROUGH, Alive

import mrpy
from mrpy.errors import OptionError, SpillError
from mrpy.mapreduce.repartition import cut

over_all = pytest.mark.parametrize("backend", BACKENDS)
over_local = pytest.mark.parametrize("backend", LOCAL)
over_memory = pytest.mark.parametrize("memory", ["auto", 1])


def some(n: int) -> list[str]:
    """None, one or several of a number."""
    return [f"{n}.{m}" for m in range(n % 4)]


def stem(name: str) -> int:
    """The number."""
    return int(name.split(".")[0])


def noted_in(log: Path) -> Callable[[int], int]:
    """A function that writes down its calls."""

    def noted(n: int) -> int:
        with log.open("a") as file:
            file.write(f"{n}\n")
        return n

    return noted


ITEMS = [name for n in range(300) for name in some(n)]


@pytest.fixture
def spilled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder for temporary files; nothing is left there."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    yield tmp_path
    assert not list(tmp_path.glob("mrpy-spill-*"))


def parts_of(run: Any, folder: Path) -> list[list[str]]:
    """What is in the files that are written behind it."""
    run.map(str).to_text(folder / "out", overwrite=True)
    return [file.read_text().split() for file in sorted((folder / "out").glob("part-*"))]


@over_all
@over_memory
@pytest.mark.parametrize("parts", [1, 3, 8, 1000])
def test_the_items_are_the_same_in_the_same_order(backend: str, memory: Any, parts: int, spilled: Path) -> None:
    parts = min(parts, 20) if backend == "dask" else parts
    run = mrpy.stream(range(300), backend=backend, workers=2, memory=memory).flat_map(some).repartition(parts)
    assert list(run.map(str.upper)) == ITEMS


@over_local
@over_memory
def test_each_part_is_as_large_as_the_others_and_a_file_of_its_own(
    backend: str, memory: Any, spilled: Path, tmp_path: Path
) -> None:
    run = mrpy.stream(range(300), backend=backend, workers=2, memory=memory).flat_map(some).repartition(7)
    files = parts_of(run, tmp_path)
    assert sum(files, []) == ITEMS
    least, larger = divmod(len(ITEMS), 7)
    assert list(map(len, files)) == [least + 1] * larger + [least] * (7 - larger)


@over_all
@over_memory
def test_with_a_key_all_of_it_is_in_one_part_in_its_order(backend: str, memory: Any, tmp_path: Path) -> None:
    def run(backend: str) -> Any:
        stream = mrpy.stream(range(300), backend=backend, workers=2, memory=memory).flat_map(some)
        return stream.repartition(4, key=lambda name: stem(name) % 50)

    files = parts_of(run(backend), tmp_path)
    assert sorted(sum(files, [])) == sorted(ITEMS)
    assert len(files) == 4
    for file in files:
        here = {stem(name) % 50 for name in file}
        assert file == [name for name in ITEMS if stem(name) % 50 in here]
    assert sum(files, []) == list(run("serial"))


@settings(max_examples=EXAMPLES["serial"], deadline=None)
@given(st.lists(st.lists(st.integers())), st.integers(1, 12))
def test_batches_are_cut_as_array_split_would(batches: Any, parts: int) -> None:
    items = sum(batches, [])
    made = [[row for piece in part for row in piece.rows()] for part in cut(deque(batches), parts)]
    assert made == [part.tolist() for part in np.array_split(np.array(items, object), parts)]


@over_local
@pytest.mark.parametrize("key", [None, 0])
def test_nothing_is_nothing(backend: str, key: Any, spilled: Path, tmp_path: Path) -> None:
    assert mrpy.stream([], backend=backend).repartition(5, key).map(str).to_list() == []
    assert parts_of(mrpy.stream([], backend=backend).repartition(5, key), tmp_path) == []


@pytest.mark.parametrize("parts", [0, -1, 2.0, "auto", None])
def test_what_is_no_number_of_parts_is_refused_at_once(parts: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="repartition"):
        mrpy.stream([1]).repartition(parts)


def test_exceptions_among_the_items_are_refused() -> None:
    with pytest.raises(OptionError, match="on_error='return'"):
        mrpy.stream([1], on_error="return").repartition(2).to_list()
    with pytest.raises(OptionError, match="on_error='return'"):
        mrpy.stream([1], on_error="return").repartition(2, key=abs).to_list()


@over_local
def test_a_key_that_is_none_is_named(backend: str) -> None:
    with pytest.raises(TypeError, match=r"key \[1\].*not hashable"):
        mrpy.stream([[1]], backend=backend, workers=2).repartition(2, key=lambda item: item).to_list()


@over_all
@over_memory
def test_what_is_bad_behind_it_is_one_record(backend: str, memory: Any, spilled: Path) -> None:
    def checked(n: int) -> int:
        if n % 40 == 7:
            raise ValueError(n)
        return n

    def run(**options: Any) -> Any:
        return mrpy.stream(range(100), backend=backend, workers=2, memory=memory, **options).repartition(4)

    with pytest.raises(ValueError, match="7") as caught:
        run().map(checked).to_list()
    assert "record 7 of part 0 of 4" in str(caught.value.__notes__)
    skipping = run(on_error="skip").map(checked)
    assert skipping.to_list() == [n for n in range(100) if n % 40 != 7]
    assert skipping.skipped.count == 3
    assert "record 22 of part 1 of 4" in str(skipping.skipped)


@over_local
@over_memory
@pytest.mark.parametrize("options", [{}, {"on_error": "skip"}, {"timeout": 60}, {"retries": 1}])
def test_what_is_bad_before_it_is_one_item(
    backend: str, memory: Any, options: dict[str, Any], spilled: Path
) -> None:
    def checked(n: int) -> list[int]:
        if n % 40 == 7:
            raise ValueError(n)
        return [n, -n]

    run = mrpy.stream(range(100), backend=backend, workers=2, memory=memory, **options)
    parted = run.flat_map(checked).repartition(4)
    if "on_error" in options:
        assert parted.to_list() == [m for n in range(100) if n % 40 != 7 for m in (n, -n)]
        assert parted.skipped.count == 3
    else:
        with pytest.raises(ValueError, match="7"):
            parted.to_list()


@pytest.mark.parametrize("backend", ["serial", "processes"])
@pytest.mark.parametrize("on_error", ["raise", "skip", lambda error: None])
@pytest.mark.parametrize("key", [None, lambda n: n])
def test_what_was_damaged_on_disk_is_never_left_out(
    backend: str, on_error: Any, key: Any, spilled: Path
) -> None:
    """The last parts are damaged when the first ones are there, and cannot be made again."""

    def once() -> Iterator[int]:
        yield from range(20_000)

    run = mrpy.stream(once(), backend=backend, workers=2, memory=1, on_error=on_error)
    parted = run.repartition(400, key).map(str)
    with pytest.raises(SpillError, match="damaged"):
        for number, _ in enumerate(parted):
            if number == 600:
                for file in spilled.glob("mrpy-spill-*/*.run"):
                    with contextlib.suppress(FileNotFoundError):  # of a task that has just met another one
                        data = file.read_bytes()
                        file.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
        assert number < 19_999
    parted.close()


class Sealed:
    """Can be pickled, and not be opened again."""

    def __reduce__(self) -> Any:
        return _never, ()


def _never() -> Any:
    raise ValueError("not to be opened")


@pytest.mark.parametrize(("backend", "memory"), [("serial", 1), ("processes", "auto"), ("processes", 1)])
@pytest.mark.parametrize("on_error", ["raise", "skip", lambda error: None])
def test_what_cannot_be_opened_again_ends_the_run_and_takes_no_others_with_it(
    backend: str, memory: Any, on_error: Any, spilled: Path
) -> None:
    stream = mrpy.stream(range(1000), backend=backend, workers=2, memory=memory, on_error=on_error)
    run = stream.map(lambda n: Sealed() if n == 500 else n).repartition(2).map(lambda n: 1)
    with pytest.raises(Exception, match="not to be opened") as caught:
        run.to_list()
    assert re.search(r"part \d of 2", str(caught.value.__notes__))
    assert "record -" not in str(caught.value.__notes__)
    run.close()


@over_all
def test_sums_of_large_parts_have_the_same_bits_too(backend: str) -> None:
    if backend == "dask" and not THOROUGH:
        pytest.skip("all of it goes through the cluster twice: a quarter of a minute; the soak has it")

    def large(n: int) -> Any:
        return np.full(600_000, n, np.float64)

    def run(backend: str, memory: int) -> str:
        stream = mrpy.stream(range(count), backend=backend, workers=2, memory=memory).map(large)
        parts = stream.repartition(count).map(lambda array: str(int(array[0])))
        return str(parts.reduce(lambda left, right: f"({left} {right})"))

    count = 140 if THOROUGH else 60  # 300 MB
    expected = run("serial", 2**40)
    assert run(backend, 2**40) == expected == run(backend, 2**24)


@pytest.mark.parametrize("backend", ["serial", "threads"])
def test_rows_that_become_large_do_not_stay_in_memory(backend: str, spilled: Path) -> None:
    """Of small ones there are very many between two looks: the first large ones are to be noticed all the same."""
    alive = Alive()

    def rows(_: int) -> Iterator[Any]:
        yield from range(20_000)
        for number in range(600):
            yield alive.see(np.full(125_000, number, np.float64))

    run = mrpy.stream([0], backend=backend, workers=2, memory=100_000_000).flat_map(rows).repartition(4)
    assert run.map(lambda row: 1).sum() == 20_600
    assert alive.most < 300


@over_local
@pytest.mark.parametrize("key", [None, lambda n: n % 3])
def test_options_of_a_session_that_is_opened_later_count(backend: str, key: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    for _ in range(2):
        run = mrpy.stream(range(50)).map(noted_in(log)).repartition(3, key).map(str)
        with mrpy.session(backend=backend, workers=2, checkpoint=tmp_path / "kept"):
            assert len(list(run)) == 50
    assert len(log.read_text().split()) == 50


@over_local
@over_memory
@pytest.mark.parametrize("key", [None, lambda n: n % 10])
def test_no_file_is_left_by_any_end(backend: str, memory: Any, key: Any, spilled: Path) -> None:
    def left() -> int:
        return len(list(spilled.glob("mrpy-spill-*")))

    def run() -> Any:
        return mrpy.stream(range(100), backend=backend, workers=2, memory=memory).repartition(8, key)

    assert len(run().map(str).to_list()) == 100
    assert not left()
    for count in (1, 99):  # before its end, and when all parts are out
        with run().map(str) as rows:
            for _ in range(count):
                next(rows)
        assert not left()
    with pytest.raises(ZeroDivisionError):
        run().map(lambda n: 1 // (n - 95)).to_list()
    assert not left()
    with pytest.raises(ZeroDivisionError):
        run().reduce(lambda a, b: 1 // 0)
    assert not left()
    assert run().count() == 100
    assert not left()


@over_all
def test_sums_behind_it_have_the_same_bits_everywhere(backend: str) -> None:
    numbers = [(-1.0) ** n / (n * n + 0.1) for n in range(2000)]
    for parts in (3, 300):
        expected = mrpy.stream(numbers, backend="serial").repartition(parts).reduce(operator.add)
        for memory in ("auto", 1):
            run = mrpy.stream(numbers, backend=backend, workers=2, memory=memory).repartition(parts)
            assert run.reduce(operator.add) == expected


@over_local
def test_random_numbers_are_those_of_a_record_wherever_it_is(backend: str) -> None:
    def drawn(n: int) -> int:
        return int(mrpy.rng().integers(1 << 40))

    def run(backend: str, **more: Any) -> list[int]:
        return mrpy.stream(range(60), backend=backend, workers=2, seed=3, **more).repartition(7).map(drawn).to_list()

    expected = run("serial")
    assert len(set(expected)) == 60
    assert run(backend) == expected == run(backend, on_error="skip") == run(backend, retries=1)


def test_work_that_was_in_one_place_is_spread() -> None:
    def slow(_: int) -> int:
        time.sleep(0.1)
        return os.getpid()

    run = mrpy.stream([0], workers=2).flat_map(lambda _: range(8)).repartition(8)
    assert len(set(run.map(slow))) == 2


@over_local
def test_it_goes_on_from_one_to_the_next(backend: str) -> None:
    run = mrpy.stream(range(300), backend=backend, workers=2).repartition(3).flat_map(some)
    again = run.repartition(10, key=len).repartition(5).map(str)
    assert sorted(again) == sorted(ITEMS)
    counted = mrpy.stream(ITEMS, backend=backend, workers=2).repartition(4).count_by(len)
    assert dict(counted) == {length: sum(len(name) == length for name in ITEMS) for length in (3, 4, 5)}


@over_local
def test_inside_a_task_and_in_an_event_loop_it_is_the_same(backend: str) -> None:
    def inner(n: int) -> list[int]:
        return mrpy.stream(range(n)).repartition(3).map(abs).to_list()

    assert list(mrpy.pmap(inner, range(4), backend=backend, workers=2)) == [list(range(n)) for n in range(4)]

    async def main() -> list[int]:
        run = mrpy.stream(range(20), backend=backend, workers=2).repartition(3).map(abs)
        return [n async for n in run]

    assert asyncio.run(main()) == list(range(20))


@over_local
@pytest.mark.parametrize("key", [None, lambda n: n % 3])
def test_what_a_checkpoint_has_is_not_computed_again(backend: str, key: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"

    def run() -> list[int]:
        options: dict[str, Any] = {"backend": backend, "workers": 2, "checkpoint": tmp_path / "kept"}
        return mrpy.stream(range(50), **options).map(noted_in(log)).repartition(4, key).map(abs).to_list()

    first = run()
    assert sorted(first) == list(range(50))
    assert run() == first
    assert len(log.read_text().split()) == 50


@pytest.mark.parametrize("where", ["before", "behind"])
@pytest.mark.parametrize("key", [None, lambda n: n % 3])
@over_memory
def test_a_worker_that_dies_changes_nothing(where: str, key: Any, memory: Any, spilled: Path, tmp_path: Path) -> None:
    marker = tmp_path / "died"

    def dies_once(n: int) -> int:
        if n == 77 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return n

    def run(before: Any, behind: Any) -> list[int]:
        stream = mrpy.stream(range(200), backend="processes", workers=2, memory=memory)
        return stream.map(before).repartition(5, key).map(behind).to_list()

    got = run(dies_once, abs) if where == "before" else run(abs, dies_once)
    assert marker.exists()
    assert got == run(abs, abs)


def test_the_plan_and_the_picture_show_it() -> None:
    run = mrpy.stream(range(9), backend="serial").repartition(3).map(str)
    assert str(run) == "range(0, 9) -> 3 parts -> records -> map str"
    assert "3 parts" in str(run.graph())
    by_key = mrpy.stream(range(9), backend="serial").repartition(3, key=abs)
    assert "3, by the value of the key" in by_key.explain()
    run.to_list()
    assert "3 items in 3 chunks of 1" in run.explain()


@pytest.mark.parametrize("key", [None, abs])
@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_two_runs_over_the_same_parts_have_a_folder_each(backend: str, key: Any, spilled: Path) -> None:
    parted = mrpy.stream(range(3000), backend=backend, workers=2, memory=1).repartition(4, key)
    expected = parted.map(str).to_list()
    assert list(zip(parted.map(str), parted.map(str), strict=True)) == [(each, each) for each in expected]

"""What one run makes and another takes travels in batches, and comes to the same as row by row."""

from __future__ import annotations

import math
import os
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import BACKENDS, THOROUGH

import mrpy
from mrpy.errors import SerializationError
from mrpy.mapreduce.batches import Batch, BatchReader, Packed, Rows, packed, rows_of

over_backends = pytest.mark.parametrize("backend", BACKENDS)
opened: list[int] = []  # the processes in which rows were opened


class Row:
    """A row that notes where it is opened, if that is here."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> Any:
        return _open, (self.number,)


def _open(number: int) -> Row:
    opened.append(os.getpid())
    return Row(number)


# ---- batches by themselves ------------------------------------------------------------------------


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[int], list[Batch]]:
    """Rows, and the same in batches, of which some are packed."""
    parts: list[Batch] = []
    rows: list[int] = []
    for size in draw(st.lists(st.integers(0, 70), max_size=6)):
        some = list(range(len(rows), len(rows) + size))
        rows += some
        parts += packed(some) if draw(st.booleans()) else [some]
    return rows, parts


@given(batches(), st.data())
def test_rows_are_a_sequence(made: tuple[list[int], list[Batch]], data: st.DataObject) -> None:
    plain, parts = made
    rows = Rows(parts)
    assert (len(rows), list(rows)) == (len(plain), plain)
    for _ in range(3):
        where = data.draw(st.slices(len(plain)))
        assert list(rows[where]) == plain[where]
    assert [rows[index] for index in range(-len(plain), len(plain))] == 2 * plain
    assert pickle.loads(pickle.dumps(rows, 5)) == plain  # noqa: S301


@given(batches(), st.lists(st.integers(1, 100)))
def test_a_reader_gives_out_what_is_asked_for(made: tuple[list[int], list[Batch]], counts: list[int]) -> None:
    plain, parts = made
    reader = BatchReader(iter(parts))
    for count in counts:
        assert list(reader.take(count)) == plain[:count]
        plain = plain[count:]
    assert list(reader.take(10**6)) == plain
    assert len(reader.take(1)) == 0
    assert reader.remaining() == 0


def test_what_is_raised_comes_behind_the_rows_before_it() -> None:
    def broken() -> Iterator[Batch]:
        yield [1, 2]
        yield from packed([3, 4])
        raise ValueError("broken")

    reader = BatchReader(broken())
    assert list(reader.take(3)) == [1, 2, 3]
    assert list(reader.take(3)) == [4]
    assert reader.remaining() is None
    with pytest.raises(ValueError, match="broken"):
        reader.take(3)
    assert len(reader.take(3)) == 0


def test_an_error_behind_an_empty_batch_is_not_the_end() -> None:
    def broken() -> Iterator[Batch]:
        yield []
        raise ValueError("broken")

    reader = BatchReader(broken())
    with pytest.raises(ValueError, match="broken"):
        reader.take(3)


def test_an_interrupt_does_not_wait_its_turn() -> None:
    def interrupted() -> Iterator[Batch]:
        yield [1]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        BatchReader(interrupted()).take(3)


def test_a_batch_that_is_not_cut_is_not_opened() -> None:
    rows = packed([Row(n) for n in range(10_000)])
    assert len(rows) > 3
    opened.clear()
    taken = BatchReader(iter(rows)).take(sum(map(len, rows[:3])))
    assert not opened
    assert isinstance(taken, Rows)
    assert [row.number for row in pickle.loads(pickle.dumps(taken, 5))] == list(range(len(taken)))  # noqa: S301


def test_what_rows_have_in_common_is_not_repeated_again_and_again() -> None:
    large, small = "x" * 1_000_000, "y" * 100
    alike = [(large, n) for n in range(2000)]
    assert sum(batch.nbytes for batch in packed(alike)) < 10 * len(large)
    rows = [(small, n) for n in range(3000)] + alike + [(small, n) for n in range(3000)]
    batches = packed(rows)
    assert sum(batch.nbytes for batch in batches) < 10 * len(large)
    assert [row for batch in batches for row in batch.rows()] == rows


def test_batches_are_neither_large_nor_many() -> None:
    sizes = [batch.nbytes for batch in packed([(n, str(n)) for n in range(100_000)])]
    assert max(sizes) < 200_000
    assert len(sizes) < 40


class NotHere:
    """A row that cannot be opened."""

    def __reduce__(self) -> Any:
        return _fails, ()


def _fails() -> None:
    raise ValueError("not here")


def test_a_row_that_cannot_be_opened_is_a_clear_error() -> None:
    (batch,) = packed([NotHere()])
    with pytest.raises(SerializationError, match="a result cannot be unpickled: .*not here"):
        batch.rows()


def test_arrays_are_packed_once_and_not_into_the_pickle() -> None:
    array = np.arange(100_000)
    (batch,) = packed([array])
    assert array.nbytes < batch.nbytes < array.nbytes + 1000
    apart: list[pickle.PickleBuffer] = []
    body = pickle.dumps(batch, 5, buffer_callback=apart.append)
    assert len(body) < 1000
    copy = pickle.loads(body, buffers=[bytes(each) for each in apart])  # noqa: S301
    assert isinstance(copy, Packed)
    assert (rows_of(copy)[0] == array).all()


# ---- runs behind each other -------------------------------------------------------------------------


def _doubled(row: Any) -> list[tuple[int, Any]]:
    left, right = row
    return [(left[0] % 7, right[1]), (right[0] % 5, left[1])]


def _total(key: Any, values: Iterator[float]) -> float:
    return sum(values)


@over_backends
@pytest.mark.parametrize(
    "options",
    [{}, {"chunksize": 1}, {"chunksize": 30}, {"buffersize": 8}, {"buffer_bytes": 4000}, {"memory": 2000}],
    ids=str,
)
def test_a_run_over_another_comes_to_the_same_bits(backend: str, options: dict[str, Any]) -> None:
    if backend == "dask" and not THOROUGH and options.keys() & {"buffersize", "buffer_bytes", "chunksize"}:
        pytest.skip("hundreds of small messages: half a minute; the soak has them")
    left, right = [(n, n / 3) for n in range(400)], [(n, n / 7) for n in range(200, 700)]

    def joined(**options: Any) -> Any:
        return mrpy.stream(left, **options).join(right, 0, partitions=8)

    rows = list(joined(backend="serial"))
    expected = list(mrpy.mapreduce(_doubled, _total, rows, combiner=_total, backend="serial"))
    assert len(rows) == 200
    given = joined(backend=backend, workers=2, **options)
    assert list(mrpy.mapreduce(_doubled, _total, given, combiner=_total)) == expected
    given = joined(backend=backend, workers=2, **options)
    assert list(given.map(_doubled)) == list(map(_doubled, rows))
    given = joined(backend=backend, workers=2, **options)
    assert given.map(_doubled).count() == len(rows)
    given = joined(backend=backend, workers=2, **options)
    assert list(given.sorted(key=_descending)) == sorted(rows, key=_descending)


def _descending(row: Any) -> int:
    return -row[0][0]


@over_backends
def test_rows_of_the_users_classes_arrive(backend: str) -> None:
    class Local:  # travels by value
        def __init__(self, number: int) -> None:
            self.number = number

    def both(key: int, numbers: Iterator[int]) -> Any:
        for number in numbers:
            yield Local(number)

    options = {"backend": backend, "workers": 2}
    pairs = mrpy.mapreduce(lambda n: (n % 3, n), both, range(500), **options)
    found = pairs.map(lambda pair: (type(pair[1]).__name__, pair[1].number)).to_list()
    assert sorted(found) == [("Local", n) for n in range(500)]


def test_rows_pass_the_user_by() -> None:
    opened.clear()
    rows = mrpy.stream(range(50_000), workers=2, chunksize=10_000).map(Row).group_by(lambda row: row.number)
    assert rows.map(len).count() == 50_000
    assert opened.count(os.getpid()) < 25_000, "most batches are opened here"


@over_backends
def test_rows_that_cannot_be_pickled_are_named(backend: str) -> None:
    def makes_locks(key: int, numbers: Iterator[int]) -> Any:
        import threading

        return threading.Lock() if key == 3 else sum(numbers)

    pairs = mrpy.mapreduce(lambda n: (n % 5, n), makes_locks, range(100), backend=backend, workers=2)
    if backend in ("serial", "threads"):
        assert pairs.map(len).to_list() == [2] * 5
        return
    with pytest.raises(SerializationError, match="lock"):
        pairs.map(len).to_list()


@over_backends
def test_what_fails_in_the_first_run_fails_the_second(backend: str) -> None:
    def fails(key: int, numbers: Iterator[int]) -> int:
        if key == 4:
            raise ValueError("four")
        return sum(numbers)

    pairs = mrpy.mapreduce(lambda n: (n % 9, n), fails, range(100), backend=backend, workers=2)
    with pytest.raises(ValueError, match="four"):
        pairs.map(len).to_list()


@over_backends
def test_it_does_so_where_it_has_made_nothing_else(backend: str) -> None:
    def fails(key: int, numbers: Iterator[int]) -> int:
        raise ValueError("boom")

    def pairs(key: int) -> Any:
        return mrpy.mapreduce(lambda n: (key, n), fails, range(20), backend=backend, workers=2)

    for key in (0, 3, 7):  # of eight parts the others are empty
        with pytest.raises(ValueError, match="boom"):
            pairs(key).map(len).to_list()
        with pytest.raises(ValueError, match="boom"):
            pairs(key).count()


@over_backends
def test_an_item_of_the_second_run_is_named_by_its_place(backend: str) -> None:
    pairs = mrpy.mapreduce(lambda n: (n, n), _total, range(1000), backend=backend, workers=2)
    places = {pair[0]: place for place, pair in enumerate(mrpy.mapreduce(lambda n: (n, n), _total, range(1000)))}
    with pytest.raises(ZeroDivisionError) as caught:
        pairs.map(lambda pair: 1 // (pair[0] - 777)).to_list()
    assert caught.value.mrpy_item.position == places[777]  # type: ignore[attr-defined]


def test_a_reader_gives_out_no_more_bytes_than_are_enough_but_as_many_rows_as_belong_together() -> None:
    batches: list[Any] = [list(range(n, n + 5)) for n in range(0, 100, 5)]
    batches += [[bytes(10_000)] for _ in range(20)]

    def stretches(enough: float, together: int, asked: int) -> list[int]:
        reader, lengths, read = BatchReader(iter(batches)), [], []
        reader.enough, reader.rest = enough, lambda given: -(len(read) + given) % together
        while rows := list(reader.take(asked)):
            read += rows
            lengths.append(len(rows))
        assert read == [row for batch in batches for row in batch]
        return lengths

    assert stretches(math.inf, 1, 64) == [64, 56]
    assert stretches(50_000, 1, 200) == [105, 5, 5, 5]
    assert stretches(50_000, 4, 200) == [108, 8, 4]
    assert stretches(50_000, 4, 30) == [30, 30, 30, 18, 8, 4]


class Large:
    """A row of a megabyte, counted as long as it is there."""

    alive = 0

    def __init__(self, data: bytes) -> None:
        self.data = data
        Large.alive += 1

    def __del__(self) -> None:
        Large.alive -= 1

    def __reduce__(self) -> Any:
        return Large, (self.data,)

    @property
    def nbytes(self) -> int:
        return len(self.data)


def test_rows_that_are_large_are_not_taken_by_chunks_for_small_ones() -> None:
    """What is behind a shuffle may be much more than fits into memory."""
    seen: list[int] = []

    def rows(_: int) -> Iterator[tuple[int, Any]]:
        yield from ((n, 0) for n in range(20_000))
        yield from ((n, Large(bytes(1 << 18))) for n in range(20_000, 21_000))

    def noted(row: tuple[int, list[Any]]) -> int:
        seen.append(Large.alive)
        return row[0]

    run = mrpy.stream([0], backend="serial", memory=10_000_000).flat_map(rows).group_by(0, partitions=1)
    assert max(run.map(noted)) == 20_999
    assert 0 < max(seen) < 300

"""What is skipped is counted and listed with positions, and `max_errors` ends the run: wherever it runs."""

from __future__ import annotations

import operator
import os
import pickle
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from laws import BACKENDS, EXAMPLES, LOCAL, with_chunks

import mrpy
from mrpy.errors import DataError, ItemTimeout, MrpyError, OptionError, TooManyErrors, WorkerCrashed

Run = Callable[[Any], Any]

over_backends = pytest.mark.parametrize("backend", BACKENDS)
over_local = pytest.mark.parametrize("backend", LOCAL)


@pytest.fixture(autouse=True)
def open_session(request: pytest.FixtureRequest) -> Iterator[None]:
    """Two workers for all runs of a test, where it is over backends."""
    params = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    with mrpy.session(params.get("backend", "serial"), workers=2):
        yield


def third(n: int) -> int:
    """Fails at 3, 13, 23 and so on."""
    if n % 10 == 3:
        raise ValueError(f"bad {n}")
    return n


def fails_at(*places: int) -> Callable[[int], int]:
    def check(n: int) -> int:
        return 1 // 0 if n in places else n

    return check


def positions(skipped: Any) -> list[int]:
    return [failure.item.position for failure in skipped.failures]


def stopped(run: Callable[[], Any]) -> TooManyErrors:
    with pytest.raises(TooManyErrors) as caught:
        run()
    return caught.value


def test_a_failure_is_shown_in_a_few_words() -> None:
    """As the last line of a cell."""
    items = mrpy.pmap(third, range(5), backend="serial", on_error="skip")
    assert len(list(items)) == 4
    assert repr(items.skipped.failures) == "[<Failure of item 3: 3: ValueError('bad 3')>]"


# ---- counting, whatever runs ---------------------------------------------------------------------------------

RUNS: dict[str, tuple[Run, Any]] = {
    "map": (list, [n for n in range(100) if n % 10 != 3]),
    "completed": (lambda s: sorted(s), [n for n in range(100) if n % 10 != 3]),
    "sum": (lambda s: s.sum(), 4950 - 480),
    "fold": (lambda s: s.fold(operator.add, 0), 4950 - 480),
    "sorted": (lambda s: list(s.sorted(reverse=True)), [n for n in reversed(range(100)) if n % 10 != 3]),
    "frequencies": (lambda s: len(list(s.frequencies())), 90),
    "group_by": (lambda s: {k: len(v) for k, v in s.group_by(lambda n: n % 10)}, {n: 10 for n in range(10) if n != 3}),
    "count_by": (lambda s: dict(s.count_by(lambda n: n % 10)), {n: 10 for n in range(10) if n != 3}),
    "batch": (lambda s: sum(map(len, s.batch(7))), 90),
    "mapreduce": (lambda s: dict(mrpy.mapreduce(lambda n: (n % 2, n), lambda k, v: sum(v), s)), {0: 2450, 1: 2020}),
}  # fmt: skip


def stream_of(name: str, **options: Any) -> mrpy.ParallelIterator:
    options = {"on_error": "skip", "ordered": name != "completed", **options}
    return mrpy.stream(range(100), **options).map(third)


@pytest.mark.parametrize(("backend", "chunksize"), with_chunks(1, 7, "auto"))
@pytest.mark.parametrize("name", RUNS)
def test_a_run_ends_where_one_item_too_many_was_skipped_and_not_before(
    backend: str, chunksize: Any, name: str
) -> None:
    run, answer = RUNS[name]
    assert run(stream_of(name, chunksize=chunksize, max_errors=10)) == answer
    error = stopped(lambda: run(stream_of(name, chunksize=chunksize, max_errors=9)))
    assert (error.count, error.limit) == (10, 9)
    assert "10 items were skipped:\n  item 3: 3 (ValueError: bad 3)\n  item 13: 13 (ValueError: bad 13)" in str(error)
    assert "and 5 more" in str(error) and "max_errors=9" in str(error)
    assert type(error.__cause__) is ValueError and str(error.__cause__).startswith("bad ")
    assert error.__cause__.mrpy_item.position % 10 == 3


OWN: dict[str, Callable[[mrpy.ParallelIterator], Any]] = {
    "map": list,
    "sum": lambda s: s.sum(),
    "count": lambda s: s.count(),
    "foreach": lambda s: s.foreach(abs),
}
BEHIND: dict[str, Callable[[mrpy.ParallelIterator], mrpy.ParallelIterator]] = {
    "map": lambda s: s.map(abs),
    "batch": lambda s: s.batch(3),
    "batches": lambda s: s.batch(3).map(len).window(2),
    "sorted": lambda s: s.sorted(),
    "topk": lambda s: s.frequencies().topk(3, 1),
    "group_by": lambda s: s.group_by(lambda n: n % 7),
    "aggregate_by": lambda s: s.aggregate_by(lambda n: n % 7, all="count"),
    "distinct": lambda s: s.distinct(),
    "zip": lambda s: mrpy.stream(range(90), on_error="skip").map(abs).zip(s),
    "genexpr": lambda s: mrpy.parallel((n + 1 for n in s), on_error="skip"),
    "tee": lambda s: operator.methodcaller("zip", (two := s.tee())[1])(two[0]),
}


@over_backends
def test_the_iterator_says_what_was_skipped_in_all_that_it_comes_from(backend: str) -> None:
    for name, run in OWN.items():
        items = stream_of(name)
        assert items.skipped.count == 0
        run(items)
        assert (items.skipped.count, positions(items.skipped)) == (10, [3, 13, 23, 33, 43]), name
    for name, then in BEHIND.items():
        items = then(stream_of(name))
        assert not items.skipped
        list(items)
        assert (items.skipped.count, positions(items.skipped)) == (10, [3, 13, 23, 33, 43]), name


@over_local
def test_the_count_is_there_while_the_run_goes_on(backend: str) -> None:
    items = mrpy.pmap(fails_at(1), range(40), chunksize=1, buffersize=2, on_error="skip")
    assert (next(items), items.skipped.count) in ((0, 0), (0, 1))  # the next one may be done already
    assert (next(items), items.skipped.count, positions(items.skipped)) == (2, 1, [1])
    items.close()
    assert str(items.skipped).startswith("1 item was skipped:\n  item 1: 1 (ZeroDivisionError: ")


@over_local
def test_each_run_of_one_iterator_counts_for_itself(backend: str) -> None:
    items = mrpy.stream(range(10), on_error="skip", max_errors=1).map(third)
    assert [items.sum(), items.count(), items.skipped.count] == [42, 9, 1]


def test_each_run_of_a_shuffle_counts_for_itself() -> None:
    numbers = mrpy.stream(["1", "x", "3"], backend="serial", on_error="skip", max_errors=1).map(int)
    for shuffled in (numbers.count_by(str), numbers.join([1, 3], str), numbers.repartition(2, str)):
        assert [shuffled.count(), shuffled.count(), len(list(shuffled)), shuffled.skipped.count] == [2, 2, 2, 1]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("chunksize", [1, 5])
def test_the_first_failures_are_those_of_the_source_whatever_arrives_first(backend: str, chunksize: int) -> None:
    def late(n: int) -> int:
        time.sleep(0.05 * (n == 0))
        raise ValueError(n)

    for ordered in (True, False):
        run = mrpy.pmap(late, range(20), chunksize=chunksize, ordered=ordered, on_error="skip")
        assert list(run) == []
        assert (run.skipped.count, positions(run.skipped)) == (20, [0, 1, 2, 3, 4])


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_count_equals_that_of_a_loop_for_any_bad_items_and_any_cut(backend: str) -> None:
    @settings(max_examples=EXAMPLES[backend], deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        length=st.integers(0, 60),
        bad=st.frozensets(st.integers(0, 60)),
        chunksize=st.sampled_from([1, 3, "auto"]),
        limit=st.one_of(st.none(), st.integers(0, 20)),
        name=st.sampled_from(["map", "sum", "sorted", "count_by"]),
    )
    def claim(length: int, bad: frozenset[int], chunksize: Any, limit: int | None, name: str) -> None:
        mine = sorted(place for place in bad if place < length)
        items = mrpy.stream(range(length), chunksize=chunksize, on_error="skip", max_errors=limit).map(fails_at(*bad))
        run = {"map": list, "sum": lambda s: s.sum(), "sorted": lambda s: list(s.sorted()),
               "count_by": lambda s: dict(s.count_by(lambda n: n))}[name]  # fmt: skip
        if limit is not None and len(mine) > limit:
            assert limit < stopped(lambda: run(items)).count <= len(mine)
        else:
            run(items)
            if name != "count_by":  # which takes the items over
                assert (items.skipped.count, positions(items.skipped)) == (len(mine), mine[:5])

    claim()


# ---- limits ---------------------------------------------------------------------------------------------------


@over_backends
@pytest.mark.parametrize("chunksize", [1, 4])
def test_no_errors_at_all_are_allowed_where_the_limit_is_zero(backend: str, chunksize: int) -> None:
    given: dict[str, Any] = {"on_error": "skip", "max_errors": 0, "chunksize": chunksize}
    assert list(mrpy.pmap(abs, range(10), **given)) == list(range(10))
    error = stopped(lambda: list(mrpy.pmap(fails_at(6), range(10), **given)))
    assert (error.count, error.limit) == (1, 0)
    assert "1 item was skipped:\n  item 6: 6 (ZeroDivisionError" in str(error)
    assert error.__cause__ is not None and error.__cause__.mrpy_item == (6, "6")  # type: ignore[attr-defined]


@over_local
@pytest.mark.parametrize("run", [list, lambda s: s.sum(), lambda s: list(s.sorted())], ids=["map", "sum", "sorted"])
def test_a_chunk_beyond_the_limit_is_not_gone_on_with(backend: str, run: Run) -> None:
    given: dict[str, Any] = {"chunksize": 1000, "on_error": "skip", "max_errors": 4}
    error = stopped(lambda: run(mrpy.stream(range(1000), **given).map(lambda n: n // 0)))
    assert error.count == 5


@over_backends
def test_workers_are_of_use_after_too_many_errors(backend: str) -> None:
    for _ in range(3):
        stopped(lambda: list(mrpy.pmap(third, range(1000), chunksize=2, on_error="skip", max_errors=3)))
    assert list(mrpy.pmap(abs, range(-5, 5))) == list(map(abs, range(-5, 5)))


@over_local
def test_both_inputs_of_a_join_count_together(backend: str) -> None:
    def joined(limit: int) -> mrpy.ParallelIterator:
        left = mrpy.stream(range(20), on_error="skip", max_errors=limit).map(third)
        return left.join(mrpy.stream(range(40)).map(third), lambda n: n)

    pairs = joined(6)
    assert len(list(pairs)) == 18
    assert pairs.skipped.count == 6
    assert stopped(lambda: list(joined(5))).count == 6


@over_local
def test_runs_of_a_chain_count_for_themselves_and_are_listed_together(backend: str) -> None:
    items = mrpy.stream(range(20), on_error="skip", max_errors=2).map(third).batch(3).map(sum).map(fails_at(3, 24))
    assert len(list(items)) == 4
    assert items.skipped.count == 4
    assert sorted(positions(items.skipped)) == [0, 2, 3, 13]
    assert str(items.explain()).count("2 items were skipped:") == 2


@over_local
def test_too_many_errors_of_a_run_are_no_item_of_the_run_behind_it(backend: str) -> None:
    items = mrpy.stream(range(20), on_error="skip", max_errors=1).map(third).batch(2).map(sum)
    assert stopped(lambda: list(items)).count == 2


@over_local
def test_too_many_errors_of_a_run_in_a_task_are_that_items_error(backend: str) -> None:
    def inner(limit: int) -> int:
        return len(list(mrpy.pmap(fails_at(1, 2), range(5), on_error="skip", max_errors=limit)))

    items = mrpy.pmap(inner, [2, 1, 3], on_error="skip")
    assert list(items) == [3, 3]
    assert items.skipped.failures[0].type_name == "TooManyErrors"
    with pytest.raises(TooManyErrors) as caught:
        list(mrpy.pmap(inner, [2, 1, 3]))
    assert (caught.value.count, caught.value.limit, caught.value.mrpy_item.position) == (2, 1, 1)


def test_the_error_can_be_pickled() -> None:
    error = stopped(lambda: list(mrpy.pmap(fails_at(1), range(5), on_error="skip", max_errors=0)))
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, MrpyError)
    assert (str(again), again.count, again.limit) == (str(error), 1, 0)


# ---- what counts ----------------------------------------------------------------------------------------------


@over_local
@pytest.mark.parametrize("chunksize", [1, 6])
def test_an_item_that_is_tried_again_counts_once_and_only_if_it_fails_in_the_end(
    backend: str, chunksize: int, tmp_path: Path
) -> None:
    def flaky(n: int) -> int:
        with open(tmp_path / str(n), "a+") as log:
            log.seek(0)
            tries = len(log.read())
            log.write("x")
        if n == 1 or n == 4 and tries < 2:
            raise ConnectionError(n)
        return n

    items = mrpy.pmap(flaky, range(6), on_error="skip", max_errors=1, retries=2, chunksize=chunksize)
    assert list(items) == [0, 2, 3, 4, 5]
    assert (items.skipped.count, positions(items.skipped)) == (1, [1])
    assert len((tmp_path / "1").read_text()) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="kills workers")
@pytest.mark.parametrize("run", [list, lambda s: s.sum(), lambda s: list(s.sorted())], ids=["map", "sum", "sorted"])
def test_an_item_that_kills_its_worker_counts_once_and_so_do_its_neighbours(run: Run) -> None:
    def deadly(n: int) -> int:
        return os.abort() if n == 7 else third(n)  # type: ignore[return-value]

    def items(limit: int) -> mrpy.ParallelIterator:
        given: dict[str, Any] = {"backend": "processes", "workers": 2, "chunksize": 20}
        return mrpy.stream(range(20), on_error="skip", max_errors=limit, **given).map(deadly)

    run(fine := items(3))
    assert (fine.skipped.count, positions(fine.skipped)) == (3, [3, 7, 13])
    assert Counter(failure.type_name for failure in fine.skipped.failures) == {"ValueError": 2, "WorkerCrashed": 1}
    error = stopped(lambda: run(items(2)))
    assert error.count == 3
    killed = stopped(lambda: list(mrpy.pmap(deadly, [7], backend="processes", on_error="skip", max_errors=0)))
    assert isinstance(killed.__cause__, WorkerCrashed)


@over_local
def test_an_item_that_runs_over_its_time_counts(backend: str) -> None:
    def slow(n: int) -> int:
        end = time.monotonic() + 60 * (n == 2)
        while time.monotonic() < end:
            pass
        return n

    items = mrpy.pmap(slow, range(4), timeout=0.5, on_error="skip", max_errors=1, chunksize=4)
    assert list(items) == [0, 1, 3]
    assert (items.skipped.count, items.skipped.failures[0].type_name) == (1, "ItemTimeout")
    error = stopped(lambda: list(mrpy.pmap(slow, [0, 2], timeout=0.5, on_error="skip", max_errors=0)))
    assert isinstance(error.__cause__, ItemTimeout)


class OneWay:
    """What can be pickled and not opened again."""

    def __reduce__(self) -> Any:
        return int, ("no number",)


@pytest.mark.parametrize("backend", ["processes"])
@pytest.mark.parametrize("run", [list, lambda s: s.count()], ids=["map", "count"])
def test_what_cannot_travel_counts_once(backend: str, run: Run) -> None:
    def made(n: int) -> Any:
        return {2: OneWay(), 5: lambda: None, 6: (x for x in ())}.get(n, n)  # a lambda can travel

    items = mrpy.stream(range(8), on_error="skip", chunksize=8).map(made)
    run(items)
    expected = [2, 6] if run is list else []  # a count does not send its items anywhere
    assert (items.skipped.count, positions(items.skipped)) == (len(expected), expected)
    if run is list:
        limited = mrpy.stream(range(8), on_error="skip", max_errors=1, chunksize=8).map(made)
        assert stopped(lambda: run(limited)).count == 2
        assert list(unsent := mrpy.pmap(type, [1, (n for n in ()), 2], on_error="skip")) == [int, int]
        assert positions(unsent.skipped) == [1]


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even that")

    def __reduce__(self) -> Any:
        raise RuntimeError("nor this")


@over_local
def test_what_cannot_be_told_is_listed_all_the_same(backend: str) -> None:
    def raises(n: int) -> int:
        raise Mute("x" * 10_000)

    error = stopped(lambda: list(mrpy.pmap(raises, [0], on_error="skip", max_errors=0)))
    assert "item 0: 0 (Mute: <Mute whose str() raises RuntimeError>)" in str(error)
    assert len(str(error)) < 500


@pytest.mark.parametrize("backend", LOCAL)
def test_a_resumed_run_counts_what_the_whole_run_would_have(backend: str, tmp_path: Path) -> None:
    def items(length: int, limit: int | None, run: str) -> mrpy.ParallelIterator:
        given: dict[str, Any] = {"on_error": "skip", "max_errors": limit, "checkpoint": tmp_path / run, "chunksize": 10}
        return mrpy.stream(range(length), **given).map(third)

    for name, run in {"map": list, "sum": lambda s: s.sum(), "sorted": lambda s: list(s.sorted())}.items():
        before = run(first := items(30, 3, name))
        assert run(again := items(30, None, name)) == before
        assert (again.skipped.count, str(again.skipped)) == (3, str(first.skipped))
        assert stopped(lambda run=run, name=name: run(items(60, 3, name))).count > 3
        run(longer := items(60, 6, name))
        assert (longer.skipped.count, positions(longer.skipped)) == (6, [3, 13, 23, 33, 43])
        assert stopped(lambda run=run, name=name: run(items(60, 1, name))).count > 1


@over_local
def test_nothing_counts_where_errors_are_not_skipped(backend: str) -> None:
    for on_error in ("return", lambda error: -1):
        items = mrpy.pmap(third, range(10), on_error=on_error)
        assert len(list(items)) == 10
        assert items.skipped.count == 0


# ---- jobs, outputs, files -----------------------------------------------------------------------------------------


class Sums(mrpy.Job):
    def map(self, record: int) -> Any:
        self.count("seen")
        return third(record) % 2, record

    def reduce(self, key: int, values: Iterator[int]) -> int:
        return sum(values)

    combine = reduce


@over_backends
def test_a_job_says_what_it_skipped_beside_its_counters(backend: str) -> None:
    pairs = Sums().run(range(100), on_error="skip", max_errors=10)
    assert dict(pairs) == {0: 2450, 1: 2020}
    assert pairs.counters == {"seen": 100}
    assert (pairs.skipped.count, positions(pairs.skipped)) == (10, [3, 13, 23, 33, 43])
    assert stopped(lambda: list(Sums().run(range(100), on_error="skip", max_errors=9))).count == 10


class Twice(mrpy.Job):
    def map(self, pair: tuple[int, int]) -> Any:
        return 0, third(pair[1])

    def reduce(self, key: int, values: Iterator[int]) -> int:
        return sum(values)


class Skipping(Sums):
    options: ClassVar[dict[str, Any]] = {"on_error": "skip"}


@over_backends
def test_in_a_chain_of_jobs_it_is_for_those_that_skip(backend: str) -> None:
    pairs = (Skipping() | Twice()).run(range(100), max_errors=10)
    assert dict(pairs) == {0: 4470}
    assert pairs.skipped.count == 10
    assert stopped(lambda: list((Skipping() | Twice()).run(range(100), max_errors=9))).count == 10
    with pytest.raises(ValueError, match="bad 33"):
        list((Skipping() | Twice()).run([31, 1, 1, 13], max_errors=9))
    for jobs, more in ((Sums() | Twice(), {}), (Skipping() | Twice(), {"on_error": "raise"})):
        with pytest.raises(OptionError, match=r"max_errors=3 is for on_error='skip' only"):
            jobs.run(range(100), max_errors=3, **more)


@over_backends
@pytest.mark.parametrize("checkpoint", [False, True])
def test_an_output_is_not_written_where_too_much_was_skipped(backend: str, checkpoint: bool, tmp_path: Path) -> None:
    out = tmp_path / "out"
    kept: dict[str, Any] = {"checkpoint": tmp_path / "c"} if checkpoint else {}
    items = mrpy.stream(range(100), on_error="skip", max_errors=10, **kept).map(third).map(str)
    assert items.to_text(out).records == 90
    assert (items.skipped.count, positions(items.skipped)) == (10, [3, 13, 23, 33, 43])
    error = stopped(lambda: mrpy.stream(range(200), on_error="skip", max_errors=10, **kept).map(third).map(str).to_text(
        out, overwrite=True))
    assert error.count > 10
    assert sum(len(part.read_text().split()) for part in out.iterdir()) == 90
    assert sorted(path.name for path in tmp_path.iterdir() if path.name[0] not in "c.") == ["out"]


def written(sink: str, tmp_path: Path, **options: Any) -> tuple[int, Any]:
    """How many records that makes of items of which the step skips the third, and the sink two; and what it was
    that was skipped."""
    good, bad = "a" if sink == "to_text" else {"a": 1}, object if sink == "to_jsonl" else 1
    arguments = ["table"] if sink == "to_sqlite" else []
    items = mrpy.stream([good, bad, None, bad, good], on_error="skip").map(lambda item: item if item else 1 // 0)
    return getattr(items, sink)(tmp_path / "out", *arguments, **options).records, items.skipped


@over_backends
@pytest.mark.parametrize("sink", ["to_text", "to_jsonl", "to_csv", "to_parquet", "to_sqlite"])
@pytest.mark.parametrize("checkpoint", [False, True])
def test_what_an_output_skips_is_counted_with_what_the_steps_skip(
    backend: str, sink: str, checkpoint: bool, tmp_path: Path
) -> None:
    if sink == "to_parquet":
        pytest.importorskip("pyarrow")
    kept: dict[str, Any] = {"checkpoint": tmp_path / "c"} if checkpoint else {}
    error = stopped(lambda: written(sink, tmp_path, max_errors=2, **kept))
    assert (error.count, (tmp_path / "out").exists()) == (3, False)
    records, skipped = written(sink, tmp_path, max_errors=3, **kept)
    assert (records, skipped.count, len(skipped.failures)) == (2, 3, 3)


def test_what_an_output_has_skipped_is_not_counted_in_the_next_run(tmp_path: Path) -> None:
    items = mrpy.stream(["a", 1, "b"], on_error="skip").map(lambda item: item)
    for n in range(2):
        assert items.to_text(tmp_path / str(n), checkpoint=tmp_path / "c").records == 2
        assert items.skipped.count == 1
    assert items.count() == 3
    assert items.skipped.count == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a generator that is stopped at its end
@over_backends
def test_lines_in_a_wrong_encoding_are_listed_with_file_and_offset(backend: str, tmp_path: Path) -> None:
    good, bad = tmp_path / "a.txt", tmp_path / "b.txt"
    good.write_bytes("one\ntwö\n".encode())
    bad.write_bytes(b"three\nf\xffur\nfive\ns\xffx\n" + "zwölf\n".encode("latin-1"))
    lines = mrpy.read_text([good, bad], on_error="skip", max_errors=3)
    assert list(lines) == ["one", "twö", "three", "five"]
    assert lines.skipped.count == 3
    for failure, offset in zip(lines.skipped.failures, (7, 17, 22), strict=True):
        assert f"{bad}, byte {offset}: invalid" in failure.message
    for run in (list, lambda s: s.count(), lambda s: list(s.sorted()), lambda s: list(s.count_by(len))):
        assert run(mrpy.read_text([good, bad], on_error="skip", max_errors=3))
        error = stopped(lambda run=run: run(mrpy.read_text([good, bad], on_error="skip", max_errors=2)))
        assert isinstance(error.__cause__, DataError)
        assert (error.__cause__.path, error.__cause__.offset) == (str(bad), 22)
        assert str(bad) in str(error)


def test_a_line_end_in_the_name_of_a_file_takes_no_reason_away(tmp_path: Path) -> None:
    path = tmp_path / "a\nb.txt"
    path.write_bytes(b"ok\n\xff\n")
    lines = mrpy.read_text(path, on_error="skip", backend="serial")
    assert list(lines) == ["ok"]
    assert f"(DataError: {str(path)!r}, byte 3: invalid start byte for utf-8" in str(lines.skipped)


@over_local
def test_a_file_that_cannot_be_read_counts_as_one(backend: str, tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(f"{name}\n" * 3)
    (tmp_path / "b.txt.gz").write_bytes(b"no gzip at all")
    lines = mrpy.read_text(tmp_path, on_error="skip", max_errors=1)
    assert lines.count() == 9
    assert lines.skipped.count == 1
    assert "b.txt.gz" in str(lines.skipped)


@over_local
def test_a_step_that_fails_at_a_line_says_which_line(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "numbers.txt"
    path.write_text("1\nx\n3\n\n5\n")
    numbers = mrpy.read_text(path, on_error="skip").map(int)
    assert numbers.sum() == 9
    assert [failure.item.text for failure in numbers.skipped.failures] == [f"'{path}', byte 2", f"'{path}', byte 6"]


# ---- the option ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [-1, 1.5, "3", True])
def test_a_limit_is_a_whole_number(value: Any) -> None:
    with pytest.raises(OptionError, match=r"max_errors=.*must be a whole number from 0 up, or None"):
        mrpy.pmap(abs, [1], on_error="skip", max_errors=value)


@pytest.mark.parametrize("on_error", ["raise", "return", abs, None])
def test_a_limit_is_for_skipping_only(on_error: Any) -> None:
    given = {} if on_error is None else {"on_error": on_error}
    with pytest.raises(OptionError, match=r"max_errors=3 is for on_error='skip' only"):
        mrpy.pmap(abs, [1], max_errors=3, **given)
    with pytest.raises(OptionError, match=r"max_errors=3 is for on_error='skip' only"):
        mrpy.configure(max_errors=3, **given)
    assert list(mrpy.pmap(abs, [1], max_errors=None, **given)) == [1]


def test_a_limit_is_in_force_for_the_runs_of_a_session_that_skip() -> None:
    with mrpy.session("serial", on_error="skip", max_errors=1):
        stopped(lambda: list(mrpy.pmap(third, range(20))))
        assert list(mrpy.pmap(third, range(20), max_errors=2))
        assert list(mrpy.pmap(third, range(20), max_errors=None))
        with pytest.raises(ValueError, match="bad 3"):
            list(mrpy.pmap(third, range(20), on_error="raise"))
    mrpy.configure(on_error="skip")
    try:
        mrpy.configure(max_errors=1)
        stopped(lambda: list(mrpy.pmap(third, range(20))))
    finally:
        mrpy.configure()


# ---- in words -----------------------------------------------------------------------------------------------------


@over_local
def test_explain_lists_what_was_skipped(backend: str) -> None:
    items = mrpy.pmap(third, range(100), on_error="skip")
    assert "skipped" not in items.explain()
    list(items)
    assert "\nskipped   10 items were skipped:\n            item 3: 3 (ValueError: bad 3)\n" in items.explain()
    assert items.explain().endswith("  and 5 more")


def test_printed_it_says_how_many_and_lists_the_first() -> None:
    items = mrpy.pmap(fails_at(1), range(3), on_error="skip")
    assert str(items.skipped) == "0 items were skipped"
    list(items)
    assert repr(items.skipped) == "<Skipped: 1>"
    assert str(items.skipped) == (
        "1 item was skipped:\n  item 1: 1 (ZeroDivisionError: integer division or modulo by zero)"
    )


def test_of_an_error_of_many_lines_the_first_is_listed() -> None:
    def raises(n: int) -> int:
        raise ValueError("first\nsecond") if n else KeyError

    items = mrpy.pmap(raises, range(2), on_error="skip")
    list(items)
    assert str(items.skipped).splitlines()[1:] == ["  item 0: 0 (KeyError)", "  item 1: 1 (ValueError: first)"]


class _Skipping(mrpy.Job):
    options: ClassVar[dict[str, Any]] = {"on_error": "skip", "max_errors": 3}

    def map(self, text: str) -> tuple[int, int]:
        return int(text), 1


def test_a_limit_that_was_set_further_out_goes_with_the_skipping() -> None:
    limited = {"on_error": "skip", "max_errors": 0}
    texts = ["1", "x"]
    with mrpy.session("serial", **limited), mrpy.session(on_error="return"):
        assert [type(each) for each in mrpy.pmap(int, texts)] == [int, ValueError]
    with mrpy.session("serial", **limited), mrpy.session(retries=1), pytest.raises(TooManyErrors):
        list(mrpy.pmap(int, texts))
    mrpy.configure(**limited)
    try:
        mrpy.configure(on_error="raise")
        with pytest.raises(ValueError, match="invalid literal"):
            list(mrpy.pmap(int, texts))
        with pytest.raises(OptionError, match="max_errors=3 is for on_error='skip' only"):
            mrpy.configure(max_errors=3)
    finally:
        mrpy.configure()
    with pytest.raises(ValueError, match="invalid literal"):
        _Skipping().run(texts, on_error="raise").to_list()
    assert _Skipping().run(texts).to_list() == [(1, 1)]
    with pytest.raises(ValueError, match="invalid literal"):
        list(mrpy.stream(mrpy.pmap(int, texts, **limited), on_error="raise"))

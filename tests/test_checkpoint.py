"""A run that was cut short goes on where it was; a file that cannot be trusted is refused."""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import operator
import os
import re
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import toolz

import mrpy
from mrpy.errors import CheckpointError, OptionError
from mrpy.iterators.stage import StageBody
from mrpy.mapreduce.program import program_of
from mrpy.mapreduce.steps import Map

ran: list[int] = []


def note(item: int) -> int:
    ran.append(item)
    return item * 2


def run(path: Path, count: int, **options: object) -> list[int]:
    ran.clear()
    made = mrpy.pmap(note, range(count), backend="threads", workers=2, checkpoint=path, **options)
    return list(itertools.islice(made, 2 * count))  # whatever is wrong, it ends


def test_a_second_run_computes_nothing_again(tmp_path: Path) -> None:
    first = run(tmp_path / "c", 50)
    assert run(tmp_path / "c", 50) == first == [2 * n for n in range(50)]
    assert ran == []


def test_the_end_of_a_pipe_is_not_written_down_as_a_number(tmp_path: Path) -> None:
    """Which would be that of another file when it is read again."""
    ends = multiprocessing.Pipe()
    with pytest.raises(CheckpointError, match="an end of a pipe"):
        list(mrpy.pmap(lambda n: ends[n], range(2), backend="threads", checkpoint=tmp_path / "c"))


def test_a_run_that_failed_goes_on_behind_what_was_finished(tmp_path: Path) -> None:
    broken = [True]

    def fails_at_30(item: int) -> int:
        ran.append(item)
        if item == 30 and broken:
            raise ValueError("not today")
        return -item

    options = {"backend": "serial", "chunksize": 10, "checkpoint": tmp_path / "c"}
    with pytest.raises(ValueError, match="not today"):
        list(mrpy.pmap(fails_at_30, range(50), **options))
    ran.clear()
    broken.clear()
    assert list(mrpy.pmap(fails_at_30, range(50), **options)) == [-n for n in range(50)]
    assert sorted(ran) == list(range(30, 50))


@pytest.mark.parametrize("ordered", [True, False])
def test_a_longer_source_resumes_from_the_shorter_one(tmp_path: Path, ordered: bool) -> None:
    run(tmp_path / "c", 40, chunksize=10)
    assert sorted(run(tmp_path / "c", 70, chunksize=10, ordered=ordered)) == [2 * n for n in range(70)]
    assert sorted(ran) == list(range(40, 70))


@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_a_resumed_sum_has_the_same_bits(tmp_path: Path, backend: str) -> None:
    numbers = [1 / (n + 1) for n in range(3000)]
    plain = mrpy.preduce(operator.add, numbers, backend=backend, workers=2)
    for _ in range(2):
        assert mrpy.preduce(operator.add, numbers, backend=backend, workers=2, checkpoint=tmp_path / "c") == plain


CHAINS = {
    "batched": lambda s, f: s.map(f).batch(2).map(sum),
    "batched twice": lambda s, f: s.map(f).batch(2).map(sum).batch(2).map(sum),
    "batched first": lambda s, f: s.batch(2).map(sum).map(f),
    "counted": lambda s, f: s.map(f).frequencies().map(str),
    "counted as it is": lambda s, f: s.frequencies().starmap(operator.add).map(f).batch(2).map(sum),
    "sorted and reduced": lambda s, f: [s.map(f).sorted().map(abs).sum()],
    "begun": lambda s, f: [next(begun := s.map(f)), *begun.map(abs)],
    "peeked at": lambda s, f: s.map(f).peek()[1].map(abs),
    "distinct": lambda s, f: s.distinct().map(f),
}
BEHIND = ("counted as it is", "distinct")  # `f` belongs to a later run, which is computed again


@pytest.mark.parametrize("chain", CHAINS)
def test_a_chain_of_runs_is_resumed_where_its_source_is_read(chain: str, tmp_path: Path) -> None:
    def answer(**options: object) -> list[object]:
        ran.clear()
        source = mrpy.stream(range(60), backend="threads", workers=2, chunksize=10, **options)
        return list(CHAINS[chain](source, note))

    plain = answer()
    behind = len(ran) if chain in BEHIND else 0
    for _ in range(2):
        assert answer(checkpoint=tmp_path / "c") == plain
    assert len(ran) == behind
    if not behind:
        with pytest.raises(CheckpointError, match="another program"):
            list(CHAINS[chain](mrpy.stream(range(60), checkpoint=tmp_path / "c"), lambda n: -n))


@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_a_mapreduce_with_a_checkpoint_chains_on(backend: str, tmp_path: Path) -> None:
    def chained(**options: object) -> list[int]:
        pairs = mrpy.mapreduce(lambda n: (n % 3, n), lambda key, values: sum(values), range(99), **options)
        return sorted(pairs.map(lambda pair: pair[1]))

    for _ in range(2):
        assert chained(backend=backend, workers=2, checkpoint=tmp_path / "c") == chained(backend="serial")


@pytest.mark.parametrize(
    "program",
    [
        lambda: zip((note(n) for n in range(5)), (note(n) for n in range(5, 10)), strict=False),
        lambda: itertools.chain((note(n) for n in range(5)), (note(n) for n in range(5, 10))),
        lambda: map(abs, enumerate(note(n) for n in range(5))),
    ],
)
def test_a_program_whose_parts_would_share_the_file_is_refused(program: Callable[[], Any], tmp_path: Path) -> None:
    """The rows of one part would be taken for those of another."""
    with pytest.raises(OptionError, match=r"mrpy\.parallel\(part, checkpoint=\.\.\.\)"):
        list(mrpy.parallel(program(), backend="serial", checkpoint=tmp_path / "c"))


BESIDE = {
    "zipped with itself": lambda s, f: s.zip(s.map(f)).map(sum),
    "chained to itself": lambda s, f: s.chain(s.map(f)).map(str),
    "zipped later": lambda s, f: s.batch(1).zip(s.map(f)).batch(2).map(len),
    "of one run, twice": lambda s, f: (lambda one, other: one.zip(other))(*s.map(f).tee()),
    "with itself": lambda s, f: (lambda run: run.zip(run))(s.map(f)),
    "beside a run without one": lambda s, f: s.map(f).zip(mrpy.stream(range(60), backend="serial").map(abs)).map(sum),
}


@pytest.mark.parametrize("program", BESIDE)
def test_the_first_run_of_several_beside_each_other_has_the_file(program: str, tmp_path: Path) -> None:
    def answer(**options: object) -> list[object]:
        ran.clear()
        source = mrpy.stream(range(60), backend="threads", workers=2, chunksize=10, **options)
        return list(BESIDE[program](source, note))

    plain = answer()
    for _ in range(2):
        assert answer(checkpoint=tmp_path / "c") == plain
    assert ran == []


SHARED = {
    "zip": lambda s, more: s.map(abs).zip(s.map(note)),
    "chain": lambda s, more: s.map(note).chain(more.map(note)),
    "zip of tees": lambda s, more: (lambda one, other: one.map(abs).zip(other.map(note)))(*s.tee()),
    "zip behind others": lambda s, more: s.map(abs).batch(2).zip(more.map(abs).sorted()),
    "chain of reductions": lambda s, more: s.frequencies().chain(more.frequencies()),
    "chain of groups": lambda s, more: s.count_by(abs).chain(more.count_by(abs)),
    "pmap": lambda s, more: mrpy.pmap(max, s.map(abs), s.map(note), backend="serial"),
    "zip of Python": lambda s, more: mrpy.parallel(zip(s.map(abs), more.map(abs), strict=False), backend="serial"),
    "chain of Python": lambda s, more: mrpy.parallel(itertools.chain(s.map(abs), more.map(abs)), backend="serial"),
}


@pytest.mark.parametrize("program", SHARED)
def test_several_runs_with_one_file_are_refused_with_the_reason(program: str, tmp_path: Path) -> None:
    """The second found it in use; and where it came when the first had ended, it took the results of that."""
    source, more = (mrpy.stream(each, backend="serial", checkpoint=tmp_path / "c") for each in (range(5), range(5, 9)))
    with pytest.raises(OptionError, match=f"of several runs with checkpoint='{tmp_path}/c': a file keeps the chunks of one"):
        list(SHARED[program](source, more))


def test_a_program_over_several_plain_sources_can_be_resumed(tmp_path: Path) -> None:
    for _ in range(2):
        program = (note(a + b) for a, b in zip(range(5), itertools.count()))  # noqa: B905
        ran.clear()
        assert list(mrpy.parallel(program, backend="serial", checkpoint=tmp_path / "c")) == [0, 4, 8, 12, 16]
    assert ran == []


def test_arguments_of_a_stage_are_part_of_the_program(tmp_path: Path) -> None:
    shifted = mrpy.stage(_shifted)
    path = tmp_path / "kept"
    assert list(mrpy.stream(shifted(range(3), 0), checkpoint=path)) == [0, 1, 2]
    with pytest.raises(CheckpointError):
        list(mrpy.stream(shifted(range(3), 100), checkpoint=path))
    assert list(mrpy.stream(shifted(range(3), 0), checkpoint=path)) == [0, 1, 2]


@pytest.mark.parametrize("name", [":memory:", "file:kept?mode=memory", "file:data.db", "file::memory:"])
def test_a_name_is_one_of_a_file_whatever_sqlite_takes_it_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.db").touch()
    counted: list[int] = []

    def seen(x: int) -> int:
        counted.append(x)
        return x

    for _ in range(2):
        assert list(mrpy.pmap(seen, range(3), backend="serial", checkpoint=name)) == [0, 1, 2]
    assert counted == [0, 1, 2]
    assert (tmp_path / name).stat().st_size
    assert {path.name for path in tmp_path.iterdir()} == {"data.db", name}
    assert not (tmp_path / "data.db").stat().st_size


def test_a_sample_without_a_seed_says_at_once_that_it_cannot_be_resumed(tmp_path: Path) -> None:
    numbers = mrpy.parallel(range(9), backend="serial", checkpoint=tmp_path / "made")
    with pytest.raises(OptionError, match="needs a seed"):
        numbers.sample(2)
    assert not (tmp_path / "made").exists()
    assert numbers.sample(2, seed=1) == numbers.sample(2, seed=1)


_BEFORE: dict[str, Callable[[Any, int], Any]] = {
    "skip": lambda s, n: s.skip(n), "batch": lambda s, n: s.batch(n), "window": lambda s, n: s.window(n), "take": lambda s, n: s.take(n + 1),
    "enumerate": lambda s, n: s.enumerate(n), "two": lambda s, n: s.skip(n).batch(2), "take_while": lambda s, n: s.take_while((bool, callable)[n - 1]),
    "zip": lambda s, n: s.zip(range(6), strict=n == 1),
}  # fmt: skip


@pytest.mark.parametrize("verb", ["map", "sum", "sorted", "count_by"])
@pytest.mark.parametrize("before", _BEFORE.values(), ids=_BEFORE)
def test_what_is_done_before_the_first_function_counts(
    before: Callable[[Any, int], Any], verb: str, tmp_path: Path
) -> None:
    def run(n: int) -> Any:
        numbers = mrpy.parallel(range(1, 7), backend="serial", checkpoint=tmp_path / "made")
        shown = before(numbers, n).map(repr)
        return {
            "map": shown.to_list, "sum": shown.map(len).sum, "sorted": shown.sorted().to_list,
            "count_by": shown.count_by(len).to_list,
        }[verb]()  # fmt: skip

    assert run(1) == run(1)
    with pytest.raises(CheckpointError):
        run(2)


def test_where_a_count_beside_the_items_begins_counts(tmp_path: Path) -> None:
    def run(start: int) -> list[int]:
        pairs = (i * x for i, x in enumerate(range(6), start))
        return list(mrpy.parallel(pairs, backend="serial", checkpoint=tmp_path / "made"))

    assert run(1) == run(1)
    with pytest.raises(CheckpointError):
        run(2)


def test_another_verb_or_parameter_is_not_said_to_be_another_function(tmp_path: Path) -> None:
    numbers = mrpy.parallel(range(9), backend="serial", checkpoint=tmp_path / "made")
    numbers.sum()
    with pytest.raises(CheckpointError, match="functions were changed since, or their parameters, or the verb"):
        numbers.max()


def test_another_program_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "c", 5)
    with pytest.raises(CheckpointError, match="another program"):
        list(mrpy.pmap(lambda n: n + 1, range(5), backend="serial", checkpoint=tmp_path / "c"))


def test_a_damaged_row_is_computed_again(tmp_path: Path) -> None:
    first = run(tmp_path / "c", 20, chunksize=5)
    edit(tmp_path / "c", "update chunk set body = x'8000' where first = 5")
    assert run(tmp_path / "c", 20, chunksize=5) == first
    assert sorted(ran) == [5, 6, 7, 8, 9]


DAMAGED = (
    *(f"update chunk set count = {count} where first = 5" for count in ("8", "2", "0", "-5", "'text'", "null", "2.5")),
    "update chunk set first = 7 where first = 5", "update chunk set body = 'text', digest = 1 where first = 5",
    "update chunk set body = null where first = 5", "update chunk set digest = null where first = 5",
    "update chunk set count = cast(x'ff' as text) where first = 5",
)  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_row_that_is_damaged_anywhere_counts_as_not_there(damage: str, tmp_path: Path) -> None:
    first = run(tmp_path / "c", 20, chunksize=5)
    edit(tmp_path / "c", damage)
    assert run(tmp_path / "c", 20, chunksize=5) == first
    assert sorted(ran) == [5, 6, 7, 8, 9]


@pytest.mark.parametrize("damage", ["delete from run", "update run set program = ''", "update run set program = cast(x'ff' as text)"])
def test_rows_of_another_program_are_not_taken_whatever_the_file_says(damage: str, tmp_path: Path) -> None:
    def other(item: int) -> int:
        return item * 3

    run(tmp_path / "c", 20, chunksize=5)
    edit(tmp_path / "c", damage)
    try:
        found = list(mrpy.pmap(other, range(20), backend="serial", checkpoint=tmp_path / "c"))
    except CheckpointError:
        return
    assert found == [3 * n for n in range(20)]


def edit(path: Path, statement: str) -> None:
    """Change what lies in the file."""
    with sqlite3.connect(path) as file:
        file.execute(statement)
    file.close()


def test_a_file_whose_pages_are_damaged_says_which_it_is_and_what_to_do(tmp_path: Path) -> None:
    run(tmp_path / "c", 400, chunksize=1)
    data = bytearray((tmp_path / "c").read_bytes())
    for begin in range(4096 * 3, len(data), 4096):
        data[begin : begin + 64] = b"\xff" * 64
    (tmp_path / "c").write_bytes(data)
    for _ in range(2):
        with pytest.raises(CheckpointError, match=f"{re.escape(str(tmp_path / 'c'))} cannot be .*; remove it, and begin"):
            run(tmp_path / "c", 400, chunksize=1)


def test_a_file_of_which_a_part_was_lost_says_which_it_is_and_what_to_do(tmp_path: Path) -> None:
    """As where SQLite finds less beside it than it had written there."""
    run(tmp_path / "c", 400, chunksize=1)
    os.truncate(tmp_path / "c", 4096)
    for _ in range(2):
        with pytest.raises(CheckpointError, match=f"{re.escape(str(tmp_path / 'c'))} cannot be .* remove it, and begin"):
            run(tmp_path / "c", 400, chunksize=1)


@pytest.mark.parametrize("limit", [5_000, 100_000])
def test_a_file_that_may_not_grow_says_why(limit: int, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(CheckpointError, match=rf"{limit} bytes \(ulimit -f\)"):
            list(mrpy.pmap(lambda n: f"{n}" * 300, range(1000), backend="serial", chunksize=50, checkpoint=tmp_path / "c"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "c", 5)
    os.chmod(tmp_path / "c", 0o666)
    with pytest.raises(CheckpointError, match="written by others"):
        run(tmp_path / "c", 5)


def test_a_file_that_is_none_and_a_folder_that_is_not_there_are_clear_errors(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database, but long enough to be looked at " * 30)
    os.chmod(tmp_path / "text", 0o600)
    for path in (tmp_path / "text", tmp_path / "none" / "c", tmp_path):
        with pytest.raises(CheckpointError, match="cannot be used"):
            run(path, 5)


@pytest.mark.parametrize("combiner", [None, lambda key, values: sum(values)])
@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_a_mapreduce_that_failed_goes_on_behind_what_was_finished(
    backend: str, combiner: object, tmp_path: Path
) -> None:
    def words(number: int) -> list[tuple[str, float]]:
        # no `with open`: a thread that is stopped between the two leaves a file object open
        fd = os.open(tmp_path / "ran", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, f"{number}\n".encode())
        os.close(fd)
        if number == 400 and (tmp_path / "broken").exists():
            raise ValueError("not today")
        return [(str(number % 7), 0.1 * number), ("all", 1.0)]

    def total(key: str, values: Iterator[float]) -> float:
        return sum(values)

    def mapped(**options: object) -> list[tuple[str, float]]:
        return list(mrpy.mapreduce(words, total, range(600), combiner=combiner, **options))

    plain = mapped(backend="serial")
    options = {"backend": backend, "workers": 2, "checkpoint": tmp_path / "c"}
    (tmp_path / "broken").touch()
    with pytest.raises(ValueError, match="not today"):
        mapped(**options)
    (tmp_path / "broken").unlink()
    (tmp_path / "ran").unlink()
    assert mapped(**options) == plain
    again = (tmp_path / "ran").read_text().split()
    assert "400" in again
    assert "0" not in again
    (tmp_path / "ran").unlink()
    assert mapped(**options) == plain
    assert not (tmp_path / "ran").exists()
    with pytest.raises(CheckpointError, match="another program"):
        list(mrpy.mapreduce(lambda n: (n, 1), total, range(600), combiner=combiner, **options))


@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_a_file_that_another_run_is_using_is_refused(backend: str, tmp_path: Path) -> None:
    """Each would take the rows of the other for its own, though their sources may differ."""
    options = {"backend": backend, "workers": 2, "checkpoint": tmp_path / "c", "chunksize": 5}
    first, second = (mrpy.pmap(abs, source, **options) for source in (range(20), range(100, 120)))
    assert next(first) == 0
    with pytest.raises(CheckpointError, match="in use by another run"):
        next(second)
    assert list(first) == list(range(1, 20)), "which goes on undisturbed"
    assert list(mrpy.pmap(abs, range(30), **options)) == list(range(30))


def test_a_run_that_was_closed_or_left_lets_go_of_its_file(tmp_path: Path) -> None:
    for end in ("close", "break", "error"):
        run = mrpy.pmap(lambda n: 10 // (n - 8), range(8), backend="serial", checkpoint=tmp_path / "c", chunksize=2)
        for _ in run:
            break
        if end == "close":
            run.close()
        del run
        longer = mrpy.pmap(lambda n: 10 // (n - 8), range(9), backend="serial", checkpoint=tmp_path / "c", chunksize=2)
        with pytest.raises(ZeroDivisionError):
            list(longer)


def test_what_was_skipped_is_computed_where_it_is_not_to_be(tmp_path: Path) -> None:
    def inverse(n: int) -> int:
        return 12 // (n - 3)

    def run(**options: Any) -> Any:
        return mrpy.pmap(inverse, range(8), backend="serial", chunksize=2, checkpoint=tmp_path / "c", **options)

    plain = [12 // (n - 3) for n in range(8) if n != 3]
    assert list(run(on_error="skip")) == plain
    again = run(on_error="skip")
    assert (list(again), again.skipped.count) == (plain, 1)
    with pytest.raises(ZeroDivisionError):
        list(run())
    assert list(run(on_error=lambda _: None)) == [*plain[:3], None, *plain[3:]]
    assert list(run(on_error=lambda _: -1)) == [*plain[:3], -1, *plain[3:]]
    assert list(run(on_error="skip")) == plain
    with pytest.raises(ZeroDivisionError):
        list(run())


@pytest.mark.parametrize("backend", ["serial", "processes"])
def test_what_was_put_in_a_place_is_computed_again_behind_a_shuffle_and_a_fold_too(backend: str, tmp_path: Path) -> None:
    def inverse(n: int) -> int:
        return 12 // (n - 3)

    def run(verb: str, **options: Any) -> Any:
        file = tmp_path / verb
        return mrpy.stream(range(8), backend=backend, workers=1, checkpoint=file, **options).map(inverse)

    plain = [12 // (n - 3) for n in range(8) if n != 3]
    assert run("sum", on_error=lambda _: 100).sum() == sum(plain) + 100
    assert run("sum", on_error="skip").sum() == sum(plain)
    assert dict(run("count_by", on_error=lambda _: 1).count_by(bool)) == {True: 8}
    assert dict(run("count_by", on_error="skip").count_by(bool)) == {True: 7}


def test_numbers_of_another_seed_are_not_gone_on_with(tmp_path: Path) -> None:
    def numbers(seed: int | None) -> Any:
        path = tmp_path / str(seed is None)
        return mrpy.pmap(lambda _: int(mrpy.rng().integers(10**9)), range(4), backend="serial", checkpoint=path, seed=seed)

    assert list(numbers(1)) == list(numbers(1))
    with pytest.raises(CheckpointError, match="of a run with another seed="):
        list(numbers(2))
    assert list(numbers(None)) == list(numbers(None))


VERBS: dict[str, Callable[[Any, Any], Any]] = {
    "sorted": lambda run, key: run.sorted(key).to_list(), "topk": lambda run, key: run.topk(2, key).to_list(),
    "min": lambda run, key: run.min(key), "max": lambda run, key: run.max(key),
}  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_a_run_that_a_key_has_ended_goes_on_under_other_rules(verb: str, tmp_path: Path) -> None:
    asked: list[int] = []

    def key(n: int) -> int:
        asked.append(n)
        return 12 // (n - 7)

    def run(**options: Any) -> Any:
        return VERBS[verb](mrpy.stream(range(10), backend="serial", chunksize=2, checkpoint=tmp_path / "c", **options), key)

    with pytest.raises(ZeroDivisionError):
        run()
    asked.clear()
    expected = VERBS[verb](mrpy.stream([n for n in range(10) if n != 7], backend="serial"), lambda n: 12 // (n - 7))
    assert run(on_error="skip") == expected
    assert verb == "sorted" or 0 not in asked


def test_a_window_that_keeps_other_things_says_so(tmp_path: Path) -> None:
    def numbers() -> Iterator[int]:
        yield from range(200)

    def run(**options: Any) -> Any:
        return mrpy.stream(numbers(), backend="serial", checkpoint=tmp_path / "c", **options).sum()

    assert run() == run()
    for options in ({"buffersize": 50}, {"buffer_bytes": 1 << 20}):
        with pytest.raises(CheckpointError, match="another buffersize= or buffer_bytes=,"):
            run(**options)


def test_another_process_cannot_use_the_file_meanwhile(tmp_path: Path) -> None:
    program = (
        f"import mrpy, sys\nrun = mrpy.pmap(abs, range(99), backend='serial', chunksize=1, checkpoint={str(tmp_path / 'c')!r})\n"
        "next(run); print('on', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None and other.stdout is not None
        assert other.stdout.readline() == "on\n"
        for _ in range(2):
            with pytest.raises(CheckpointError, match="in use by another run"):
                list(mrpy.pmap(abs, range(99), backend="serial", checkpoint=tmp_path / "c"))
        other.kill()
    assert list(mrpy.pmap(abs, range(99), backend="serial", checkpoint=tmp_path / "c")) == list(range(99))


def test_a_link_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "c", 5)
    (tmp_path / "link").symlink_to(tmp_path / "c")
    with pytest.raises(CheckpointError, match="cannot be used"):
        run(tmp_path / "link", 5)


def _decorated(add: int) -> Any:
    def plain(x: int) -> int:
        return x + 1 if add == 1 else x + 2

    plain_two = lambda x: x + 3  # noqa: E731
    inner = plain if add == 1 else plain_two

    @functools.wraps(inner)
    def wrapper(x: int) -> int:
        return int(inner(x))

    return wrapper


class CallsOne:
    def __call__(self, x: int) -> int:
        return x + 1


class CallsTwo:
    def __call__(self, x: int) -> int:
        return x + 2


CallsTwo.__qualname__ = CallsOne.__qualname__


class MadeOne:
    def __init__(self, x: int) -> None:
        self.x = x


class MadeTwo:
    def __init__(self, x: int) -> None:
        self.x = -x


MadeTwo.__qualname__ = MadeOne.__qualname__


def _with_default(x: int, k: int = 2) -> int:
    return x + k


def _with_another(x: int, k: int = 3) -> int:
    return x + k


def _helped(add: int) -> Any:
    """A function of a program that is called `helped`, and calls others of it."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(
        f"""
import functools, numpy
class Base:
    def __call__(self, x): return x + {add}
    @staticmethod
    def other(x): return x + {add}
    @property
    def third(self): return {add}
class Derived(Base):
    def method(self, x): return self.other(x)
def helper(x): return x + {add}
def helped(x): return helper(x)
def deeper(x): return helped(x) if x else deeper(x - 1)
def without_wraps(function):
    def call(x): return function(x)
    return call
decorated = without_wraps(helper)
@functools.singledispatch
def dispatched(x): return 0
@dispatched.register
def _(x: int): return {add}
def with_an_array(x, k=numpy.array([{add}])): return k
def with_a_set(x, k={{{add}}}): return k
derived, method, vectorized = Derived(), Derived().method, numpy.vectorize(lambda x: x + {add})
partly = functools.partial(helper, k={add})
""",
        names,
    )
    return names


def _shifted(items: Any, k: int) -> Any:
    return (item + k for item in items)


CALLED = "Derived derived method helped deeper decorated dispatched with_an_array with_a_set vectorized partly".split()
CHANGED: dict[str, tuple[Any, Any]] = {
    "functions of NumPy": (numpy.sqrt, numpy.exp),
    "methods of those": (numpy.add.reduce, numpy.multiply.reduce),
    "what toolz composes": (toolz.compose(numpy.sqrt, abs), toolz.compose(numpy.exp, abs)),
    "what toolz curries": (toolz.curry(operator.add)(1), toolz.curry(operator.mul)(1)),
    "behind much data": tuple(functools.partial(f, list(range(25_000))) for f in (max, min)),
    "arrays of objects": tuple(functools.partial(max, numpy.array([n], object)) for n in "ab"),
    "constants that run together": (lambda x: x * 31 + 2, lambda x: x * 1 + 23),
    "parameters that are all of them": (lambda x: x, lambda *x: x),
    "named ones": (lambda *x: x, lambda **x: x),
    "a cached function": (functools.lru_cache(lambda x: x + 1), functools.lru_cache(lambda x: x + 2)),
    "a decorated function": (_decorated(1), _decorated(2)),
    "an object that is called": (CallsOne(), CallsTwo()),
    "a class": (MadeOne, MadeTwo),
    "a method of a string": ("-".join, "+".join),
    "a method of a pattern": (re.compile("a").findall, re.compile("b").findall),
    "arguments of a stage": (StageBody(_shifted, (0,), {}, None), StageBody(_shifted, (100,), {}, None)),
    "those with a name": (StageBody(_shifted, (), {"k": 0}, None), StageBody(_shifted, (), {"k": 100}, None)),
    "a default": (_with_default, _with_another),
    **{name: (_helped(1)[name], _helped(2)[name]) for name in CALLED},
}


@pytest.mark.parametrize("kind", CHANGED)
def test_another_function_is_another_program(kind: str) -> None:
    before, after = ([Map(function)] for function in CHANGED[kind])
    assert program_of(before, "map") == program_of(before, "map")
    assert program_of(before, "map") != program_of(after, "map")


@pytest.mark.parametrize("name", CALLED)
def test_the_same_program_is_known_again(name: str) -> None:
    assert program_of([Map(_helped(1)[name])], "map") == program_of([Map(_helped(1)[name])], "map")


class Unwilling:
    """As proxies of a request are outside of one."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError("outside of a request")

    def __getattr__(self, name: str) -> Any:
        raise KeyError(name)


unwilling = Unwilling()


def test_globals_need_not_answer() -> None:
    assert program_of([Map(lambda x: unwilling)], "map")


def test_what_a_function_finds_in_variables_is_no_part_of_the_program() -> None:
    def scaled(by: Any) -> Any:
        return lambda x: x * by

    assert program_of([Map(scaled(2))], "map") == program_of([Map(scaled(3))], "map")


def test_a_checkpoint_of_a_table_that_has_changed_is_refused(tmp_path: Path) -> None:
    database = tmp_path / "numbers.db"
    with sqlite3.connect(database) as file:
        file.execute("create table t (id integer primary key, x integer)")
        file.executemany("insert into t values (?, ?)", ((n, n) for n in range(1000)))
    file.close()
    options: dict[str, Any] = {"checkpoint": tmp_path / "kept", "backend": "serial", "chunksize": 1}

    def rows() -> Any:
        return mrpy.read_sql("t", f"sqlite:///{database}", "id", partitions=10, **options)

    assert len(rows().to_list()) == 1000
    assert len(rows().to_list()) == 1000
    with sqlite3.connect(database) as file:
        file.executemany("insert into t values (?, ?)", ((n, n) for n in range(1000, 2000)))
    file.close()
    with pytest.raises(CheckpointError):
        rows().to_list()

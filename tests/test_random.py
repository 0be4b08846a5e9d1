"""Random numbers of tasks: those of a chain, of what is reduced by key, and where there are none."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from laws import LOCAL

import mrpy
from mrpy.errors import MrpyError


def _noise(_: Any) -> float:
    return float(mrpy.rng().random())


@pytest.mark.parametrize("seed", ["of the run", "of the session"])
def test_each_stage_of_a_chain_has_numbers_of_its_own(seed: str) -> None:
    found = set()
    for backend in LOCAL:
        with mrpy.session(backend, workers=2, **({"seed": 1} if seed == "of the session" else {})):
            first = mrpy.stream(range(8), **({"seed": 1} if seed == "of the run" else {})).map(_noise)
            second = first.zip(range(8)).map(lambda pair: (pair[0], _noise(pair)))
            third = list(second.batch(1).unbatch().map(lambda pair: (*pair, _noise(pair))))
        assert len({number for numbers in third for number in numbers}) == 24
        found.add(tuple(third))
    assert len(found) == 1
    assert list(mrpy.stream(range(8), seed=1, backend="serial").map(_noise)) == [numbers[0] for numbers in third]


def _several(number: int) -> Iterator[tuple[Any, int]]:
    yield number % 5, number
    yield f"word {number % 3}", number
    yield (number % 2, "pair"), number


def _sampled(key: Any, values: Iterator[int]) -> tuple[int, float, float]:
    return sum(values), _noise(key), _noise(key)


def test_a_reducer_has_the_numbers_of_its_key() -> None:
    found, others = set(), set()
    for backend in LOCAL:
        with mrpy.session(backend, workers=2):
            for options in ({}, {"memory": 1000}, {"chunksize": 3, "partitions": 3}, {"retries": 1}, {"check": True}):
                pairs = mrpy.mapreduce(_several, _sampled, range(200), seed=7, **options)
                found.add(tuple(sorted(pairs, key=repr)))
            others.add(tuple(sorted(mrpy.mapreduce(_several, _sampled, range(200), seed=8), key=repr)))
    assert len(found) == len(others) == 1
    numbers = {number for pairs in (*found, *others) for _, (_, *both) in pairs for number in both}
    assert len(numbers) == 2 * 2 * 10


class _Sampling(mrpy.Job):
    def map(self, number: int) -> Any:
        return _several(number)

    def reduce(self, key: Any, values: Iterator[int]) -> Any:
        for _ in values:
            yield _noise(key)


def test_that_of_a_job_goes_on_where_it_was() -> None:
    runs = [sorted(_Sampling().run(range(30), seed=7, backend=backend), key=repr) for backend in LOCAL]
    assert runs[0] == runs[1] == runs[2]
    assert len({number for _, number in runs[0]}) == 90


def _plus_noise(before: float, _: int) -> float:
    return before + _noise(before)


@pytest.mark.parametrize("options", [{"retries": 1}, {"on_error": "skip"}, {"buffersize": 1}])
def test_a_fold_whose_items_are_there_already_says_that_it_has_none(options: dict[str, Any]) -> None:
    with pytest.raises(MrpyError, match="Of a fold that is a map"):
        mrpy.pfold(_plus_noise, range(9), 0.0, _plus_noise, backend="serial", **options)


def test_what_combines_for_the_next_key_has_none(tmp_path: Any) -> None:
    def combined(key: Any, values: Iterator[int]) -> float:
        return sum(values) + _noise(key)

    with pytest.raises(MrpyError, match="none here"):
        dict(
            mrpy.mapreduce(
                lambda number: (number % 2, number), lambda key, values: sum(values), range(64), chunksize=1,
                combiner=combined, backend="serial",
            )
        )  # fmt: skip


def _named(run: Any) -> list[int]:
    return list(run.map(lambda _: int(mrpy.rng().integers(1000))))


def test_no_name_and_no_text_of_a_program_decides_about_numbers(tmp_path: Path) -> None:
    one_line = "def run(mrpy):\n    return mrpy.parallel((f'{n} -> {n}' for n in range(6)), backend='serial', seed=1)\n"
    (tmp_path / "of_a_file.py").write_text(one_line)
    numbers = []
    for name in (str(tmp_path / "of_a_file.py"), "<from nowhere>"):
        scope: dict[str, Any] = {}
        exec(compile(one_line, name, "exec"), scope)
        numbers.append(_named(scope["run"](mrpy).frequencies()))
    assert numbers[0] == numbers[1]
    numbers.clear()
    for name in ("a", "a -> b"):
        (tmp_path / name).write_text("x\ny\nz\n")
        numbers.append(_named(mrpy.read_text(tmp_path / name, backend="serial", seed=1).frequencies()))
    assert numbers[0] == numbers[1]
    rows = [_named(mrpy.stream([{key: 1}, {key: 2}], backend="serial", seed=1).group_by(key)) for key in ("a", "a -> b")]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("ask", ["to_list", "repartition", "sorted", "frequencies", "group_by"])
def test_what_becomes_a_run_of_its_own_as_it_runs_has_numbers_of_its_own(ask: str) -> None:
    rows = mrpy.stream([(n,) for n in range(4)]).map(lambda row: (row[0], _noise(row)))
    joined = rows.join([(n, "x") for n in range(4)], 0).map(lambda pair: (*pair[0], _noise(pair)))
    asked = {"repartition": (2,), "group_by": (0,)}.get(ask, ())
    run = getattr(joined, ask)(*asked)
    with mrpy.session("serial", on_error="skip", seed=1):
        found = list(run)
    if ask == "frequencies":
        found = [row for row, _ in found]
    elif ask == "group_by":
        found = [row for _, group in found for row in group]
    assert len({number for _, *numbers in found for number in numbers}) == 8


def test_what_is_behind_a_chain_of_parallel_iterators_has_numbers_of_its_own() -> None:
    several = itertools.chain(mrpy.pmap(_noise, range(4)), mrpy.pmap(_noise, range(4, 6)))
    pairs = mrpy.parallel(((number, _noise(number)) for number in several), backend="serial", seed=1)
    assert all(one != other for one, other in pairs)


@pytest.mark.parametrize("backend", LOCAL)
def test_what_is_set_up_for_a_worker_has_none(backend: str) -> None:
    class Draws(mrpy.Job):
        def setup(self) -> None:
            _noise(None)

        def map(self, record: int) -> Any:
            return record, _noise(None)

        def reduce(self, key: int, values: Iterator[float]) -> float:
            return next(values)

    def drawn() -> list[float]:
        return list(mrpy.stream(range(4), backend=backend, workers=2, seed=1).map(_noise))

    @mrpy.stage(setup=lambda: _noise(None))
    def drawing(numbers: Iterator[int], made: float) -> Iterator[float]:
        for _ in numbers:
            yield _noise(made)

    with pytest.raises(MrpyError, match="there is none here"):
        list(Draws().run(range(4), backend=backend, workers=2, seed=1))
    with pytest.raises(MrpyError, match="there is none here"):
        list(drawing(mrpy.stream(range(4), backend=backend, workers=2, seed=1)))
    assert drawn() == drawn(), "and the next run has its own again"

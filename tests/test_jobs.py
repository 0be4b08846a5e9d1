"""A job is a MapReduce, is set up once per worker, and counts every record once."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from laws import BACKENDS, LOCAL, eventually

import mrpy
from mrpy.errors import OptionError, SerializationError
from mrpy.mapreduce import job_tasks
from mrpy.mapreduce.partition import DEFAULT, parts_of
from mrpy.scheduler import codec

DEADLINE = 60  # seconds: against a hang
LINES = ["the cat sat", "", "the dog sat down", "  ", "a cat"] * 20


class CountWords(mrpy.Job):
    """Words; counts lines that are empty, and words that come once."""

    def map(self, line: str) -> Any:
        if not line.strip():
            self.count("empty lines")
        self.count("words", len(line.split()))
        for word in line.split():
            yield word, 1

    def combine(self, word: str, counts: Any) -> int:
        return sum(counts)

    def reduce(self, word: str, counts: Any) -> int:
        self.count("different words")
        return sum(counts)


class ByCount(mrpy.Job):
    sort = True

    def map(self, pair: tuple[str, int]) -> tuple[int, str]:
        self.count("pairs")
        return pair[1], pair[0]

    def reduce(self, count: int, words: Any) -> Any:
        self.count("different counts")
        yield from sorted(words)


WORDS = Counter(word for line in LINES for word in line.split())
COUNTS = {"empty lines": 40, "words": WORDS.total(), "different words": len(WORDS)}


# ---- what it computes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("combine", [CountWords.combine, None])
def test_a_job_is_a_mapreduce_with_counters(backend: str, combine: Any) -> None:
    job = type("Job", (CountWords,), {"combine": combine})()
    pairs = job.run(LINES, backend=backend, workers=2)
    assert isinstance(pairs, mrpy.ParallelIterator)
    assert pairs.counters == {}  # nothing runs before it is asked for
    assert dict(pairs) == WORDS
    assert pairs.counters == COUNTS


@pytest.mark.parametrize("backend", LOCAL)
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    lines=st.lists(st.text("ab ", max_size=6), max_size=40), workers=st.integers(1, 3), sort=st.booleans(),
    chunksize=st.sampled_from(["auto", 1, 3]), partitions=st.sampled_from(["auto", 1, 3]),
    memory=st.sampled_from(["auto", 1]),
)  # fmt: skip
def test_a_job_is_a_loop_over_a_dict(
    backend: str, lines: list[str], workers: int, sort: bool, chunksize: Any, partitions: Any, memory: Any
) -> None:
    job = type("Job", (CountWords,), {"sort": sort, "partitions": partitions})()
    pairs = job.run(lines, backend=backend, workers=workers, chunksize=chunksize, memory=memory)
    found = list(pairs)
    expected = Counter(word for line in lines for word in line.split())
    assert sorted(found) == sorted(expected.items())
    assert not sort or found == sorted(found)
    assert pairs.counters.get("words", 0) == expected.total()
    assert pairs.counters.get("different words", 0) == len(expected)
    assert pairs.counters.get("empty lines", 0) == sum(not line.strip() for line in lines)


@pytest.mark.parametrize("backend", LOCAL)
def test_jobs_are_chained(backend: str) -> None:
    both = CountWords() | ByCount()
    pairs = both.run(LINES, backend=backend)
    expected = sorted((count, word) for word, count in WORDS.items())
    assert list(pairs) == expected
    assert pairs.counters == {**COUNTS, "pairs": len(WORDS), "different counts": len({n for n, _ in expected})}
    assert repr(both | ByCount()) == "CountWords() | ByCount() | ByCount()"
    assert repr(ByCount() | both) == "ByCount() | CountWords() | ByCount()"
    with pytest.raises(TypeError):
        _ = both | 3


def test_the_chain_goes_on_behind_a_job() -> None:
    pairs = CountWords().run(LINES, backend="serial")
    top = pairs.filter(lambda pair: pair[0] in ("cat", "dog")).topk(1, key=1)
    assert list(top) == [("cat", 40)]
    assert top.counters == pairs.counters == COUNTS
    assert "CountWords.map -> by key -> reduce CountWords.reduce" in str(pairs)
    assert "CountWords.combine" in pairs.explain()


def test_a_job_takes_another_run_as_its_records() -> None:
    upper = mrpy.stream(LINES, backend="serial").map(str.upper)
    assert dict(CountWords().run(upper)) == {word.upper(): count for word, count in WORDS.items()}


def test_what_is_left_out_hands_on_what_it_gets() -> None:
    pairs = [("a", 1), ("b", 2), ("a", 3)]
    assert sorted(mrpy.Job().run(pairs, backend="serial")) == [("a", 1), ("a", 3), ("b", 2)]


@pytest.mark.parametrize("backend", LOCAL)
def test_an_instance_takes_its_attributes_along(backend: str) -> None:
    @dataclass
    class Longer(mrpy.Job):
        than: int

        def map(self, word: str) -> Any:
            return [(word, len(word))] if len(word) > self.than else []

        def reduce(self, word: str, lengths: Any) -> Any:
            return next(lengths)

    assert dict(Longer(2).run(["a", "abc", "abc", "ab"], backend=backend)) == {"abc": 3}


@pytest.mark.parametrize("backend", LOCAL)
def test_a_job_that_is_frozen_counts_all_the_same(backend: str) -> None:
    @dataclass(frozen=True, slots=True)
    class Rest(CountWords):
        by: int

        def map(self, number: int) -> Any:
            self.count("numbers")
            return number % self.by, number

    pairs = Rest(2).run(range(6), backend=backend)
    assert dict(pairs) == {0: 6, 1: 9}
    assert pairs.counters == {"numbers": 6, "different words": 2}


def test_an_attribute_that_cannot_travel_is_named_and_where_to_make_it() -> None:
    class Guarded(mrpy.Job):
        def __init__(self) -> None:
            self.guard = threading.Lock()

        def map(self, number: int) -> Any:
            return number, number

    with pytest.raises(SerializationError, match="because of 'guard', a lock.*make it in setup") as caught:
        list(Guarded().run(range(9), backend="processes"))
    assert "mapper" not in str(caught.value)
    guard = threading.Lock()
    uses = type("Uses", (mrpy.Job,), {"map": lambda self, number: (number, guard)})
    with pytest.raises(SerializationError, match="because of 'guard', a lock at .*multiprocessing.Manager"):
        list(uses().run(range(9), backend="processes"))


def test_options_of_the_class_are_defaults() -> None:
    class Careless(CountWords):
        options = {"on_error": "skip", "backend": "serial"}

    assert dict(Careless().run(["a", None, "b"])) == {"a": 1, "b": 1}
    with pytest.raises(AttributeError):
        list(Careless().run(["a", None, "b"], on_error="raise"))
    with pytest.raises(OptionError, match="workers="):
        CountWords().run([], n_jobs=3)


@pytest.mark.parametrize("given", [{"partitions": 3}, {"sort": True}, {"combine": None}])
def test_what_is_an_attribute_of_a_job_is_no_option_of_a_run(given: dict[str, Any]) -> None:
    [(name, value)] = given.items()
    for job in (CountWords(), CountWords() | CountWords()):
        with pytest.raises(OptionError, match=f"{name}= is an attribute of a mrpy.Job: .*{name} = {value}"):
            job.run([], **given)


def test_options_of_a_class_are_not_those_of_the_jobs_behind_it() -> None:
    class Skipping(mrpy.Job):
        options = {"on_error": "skip"}

        def map(self, text: str) -> Any:
            return int(text), 1

    class Inverse(mrpy.Job):
        def map(self, pair: Any) -> Any:
            return 1 / pair[0], 1

    with pytest.raises(ZeroDivisionError):
        list((Skipping() | Inverse()).run(["0", "x", "1"], backend="serial"))
    pairs = (Skipping() | Inverse()).run(["0", "x", "1"], backend="serial", on_error="skip")
    assert (list(pairs), pairs.skipped.count) == ([(1.0, 1)], 2)
    texts = mrpy.stream(["0", "x", "1"], backend="serial", on_error="skip")
    assert list((Skipping() | Inverse()).run(texts)) == [(1.0, 1)]


@pytest.mark.parametrize(("theirs", "ours"), [("mapper", "map"), ("reducer", "reduce"), ("mapper_init", "setup"), ("steps", r"first \| second")])
def test_a_method_under_another_name_is_refused(theirs: str, ours: str) -> None:
    with pytest.raises(TypeError, match=f"Wrong.{theirs}: in a mrpy.Job this is called '{ours}'"):
        type("Wrong", (mrpy.Job,), {theirs: lambda self, _, line: None})


@pytest.mark.parametrize("backend", LOCAL)
def test_a_job_can_be_resumed_and_another_map_is_another_program(backend: str, tmp_path: Path) -> None:
    for _ in range(2):
        pairs = (CountWords() | ByCount()).run(LINES, backend=backend, checkpoint=tmp_path / "file")
        assert len(list(pairs)) == len(WORDS)
        assert pairs.counters["words"] == WORDS.total()
    other = type("CountWords", (CountWords,), {"map": lambda self, line: [(line, 1)]})
    with pytest.raises(mrpy.errors.CheckpointError, match="another program"):
        list(other().run(LINES, backend=backend, checkpoint=tmp_path / "file"))


@dataclass(frozen=True)
class Version:
    """A key as users write them: it compares itself with its like only."""

    major: int

    def __lt__(self, other: Version) -> bool:
        return self.major < other.major


@pytest.mark.parametrize("combine", [lambda self, key, values: sum(values), None])
@pytest.mark.parametrize("memory", ["auto", 1])
@pytest.mark.parametrize("partitions", [1, "auto"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_sorted_keys_are_compared_with_each_other_only(
    backend: str, partitions: Any, memory: Any, combine: Any, tmp_path: Path
) -> None:
    class Versions(mrpy.Job):
        sort = True

        def map(self, number: int) -> Any:
            self.count("in")
            if number % 2:
                self.count("odd")
            yield Version(-number % 50), 1

        def reduce(self, key: Version, values: Any) -> int:
            self.count("out")
            return sum(values)

    job = type("Job", (Versions,), {"partitions": partitions, "combine": combine})()
    for checkpoint in (None, tmp_path / "file", tmp_path / "file"):
        pairs = job.run(range(200), backend=backend, memory=memory, workers=2, checkpoint=checkpoint)
        assert list(pairs) == [(Version(number), 4) for number in range(50)]
        assert pairs.counters == {"in": 200, "odd": 100, "out": 50}


# ---- counters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
@pytest.mark.parametrize("on_error", ["skip", lambda error: [("instead", 1)]])
@pytest.mark.parametrize("options", [{}, {"retries": 1}])
@pytest.mark.parametrize("backend", LOCAL)
def test_what_is_counted_of_a_record_that_fails_stands(
    backend: str, options: dict[str, Any], on_error: Any, kind: type[BaseException]
) -> None:
    class Picky(CountWords):
        def map(self, line: str) -> Any:
            yield line, 1
            if line == "bad":
                self.count("bad lines")
                raise kind(line)

    pairs = Picky().run(["a", "bad", "b", "bad"], backend=backend, workers=1, on_error=on_error, **options)
    assert dict(pairs) == {"a": 1, "b": 1} | ({} if on_error == "skip" else {"instead": 2})
    assert pairs.counters["bad lines"] == 2


@pytest.mark.parametrize("backend", LOCAL)
def test_an_attempt_that_is_retried_is_not_counted(backend: str, tmp_path: Path) -> None:
    class Flaky(CountWords):
        def map(self, number: int) -> Any:
            self.count("records")
            yield number, 1
            if number % 5 == 0 and not (tmp_path / str(number)).exists():
                (tmp_path / str(number)).touch()
                raise ValueError(number)

    pairs = Flaky().run(range(30), backend=backend, retries=1)
    assert dict(pairs) == dict.fromkeys(range(30), 1)
    assert pairs.counters["records"] == 30


def test_a_chunk_whose_worker_dies_is_counted_once(tmp_path: Path) -> None:
    class Deadly(CountWords):
        def map(self, number: int) -> Any:
            self.count("records")
            if number == 40 and not (tmp_path / "died").exists():
                (tmp_path / "died").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return number % 3, 1

    pairs = Deadly().run(range(60), backend="processes", workers=2, chunksize=16)
    assert dict(pairs) == {0: 20, 1: 20, 2: 20}
    assert pairs.counters["records"] == 60
    assert (tmp_path / "died").exists()


@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize("where", ["combine", "setup"])
def test_only_map_and_reduce_can_count(backend: str, where: str) -> None:
    def counts(self: mrpy.Job, *_: Any) -> Any:
        self.count("calls")

    job = type("Job", (CountWords,), {where: counts})()
    with pytest.raises(TypeError, match=r"count\('calls'\): only map\(\) and reduce\(\) can count"):
        list(job.run(["a a"], backend=backend))


def test_map_can_be_tried_by_itself() -> None:
    assert list(CountWords().map("a b")) == [("a", 1), ("b", 1)]


@pytest.mark.parametrize("backend", LOCAL)
def test_a_key_that_looks_like_a_counter_is_a_key(backend: str) -> None:
    class Odd(mrpy.Job):
        def map(self, name: str) -> Any:
            self.count(name)
            return [((name,), 1), (name, 1)]

        def reduce(self, name: Any, ones: Any) -> int:
            return sum(ones)

    pairs = Odd().run(["a", "a", "b"], backend=backend)
    assert dict(pairs) == {("a",): 2, "a": 2, ("b",): 1, "b": 1}
    assert pairs.counters == {"a": 2, "b": 1}


# ---- set-up and teardown ---------------------------------------------------------------------------------------------


class Logged(mrpy.Job):
    """Writes down when it is set up and torn down, and with which instance it works."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def log(self, what: str) -> None:
        with open(self.folder / what, "a") as file:
            file.write(f"{os.getpid()} {id(self)}\n")

    def setup(self) -> None:
        self.log("setup")
        self.connection: Any = open(os.devnull)  # what cannot travel

    def map(self, number: int) -> tuple[int, int]:
        self.log("map")
        assert not self.connection.closed
        return number % 5, number

    def reduce(self, key: int, values: Any) -> int:
        self.log("reduce")
        assert not self.connection.closed
        return sum(values)

    def teardown(self) -> None:
        self.connection.close()
        self.log("teardown")


def logged(folder: Path, what: str) -> list[str]:
    file = folder / what
    return file.read_text().splitlines() if file.exists() else []


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_job_is_set_up_and_torn_down_once_per_worker(backend: str, tmp_path: Path) -> None:
    with mrpy.session(backend, workers=2):
        job = Logged(tmp_path)
        job.partitions = 2  # of five keys each has some: who is set up has something to do
        assert len(list(job.run(range(200), chunksize=10))) == 5
        assert not hasattr(job, "connection")  # it is a copy that works
        gc.collect()  # what refers to itself, and to the run, goes with it
        assert eventually(lambda: len(logged(tmp_path, "teardown")) == len(logged(tmp_path, "setup")))
        made = logged(tmp_path, "setup")
        assert len(made) == len(set(made)) <= (1 if backend == "serial" else 2)
        assert set(logged(tmp_path, "map") + logged(tmp_path, "reduce")) == set(made)
        assert sorted(logged(tmp_path, "teardown")) == sorted(made)


WITHOUT_SELF = """
import mrpy

class Scale:
    factor = 0

TABLE = None

class Scaled(mrpy.Job):
    offset = 0

    def setup(self):
        global TABLE
        TABLE = {"a": 1}
        Scale.factor = 10
        type(self).offset = 100

    def map(self, number):
        if isinstance(number, tuple):  # of the job before
            number = number[1][-1]
        return "a", Scale.factor + self.offset + TABLE["a"] + number

    def combine(self, key, values):
        assert (Scale.factor, self.offset, TABLE[key]) == (10, 100, 1)
        return sum(values)

    def reduce(self, key, values):
        return Scale.factor, self.offset, TABLE[key], sum(values)

if __name__ == "__main__":
    for backend in ("processes", "dask"):
        with mrpy.session(backend, workers=2):
            job = Scaled()
            print(list(job.run(range(8), chunksize=1)))
            print(list(job.run(range(8), chunksize=1)))
            print(list((job | Scaled()).run(range(8))))
    assert (Scale.factor, Scaled.offset, TABLE) == (0, 0, None)
"""


def test_what_setup_leaves_in_a_class_or_a_global_is_there_in_all_methods(tmp_path: Path) -> None:
    (tmp_path / "scaled.py").write_text(WITHOUT_SELF)
    done = subprocess.run([sys.executable, tmp_path / "scaled.py"], capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 0, done.stderr
    first, again, chained, *on_dask = done.stdout.splitlines()
    assert first == again == "[('a', (10, 100, 1, 916))]"
    assert chained == "[('a', (10, 100, 1, 1027))]"
    assert on_dask == [first, again, chained]


OF_A_MODULE = """
import cloudpickle, mrpy, scaling
cloudpickle.register_pickle_by_value(scaling)
scaling.FACTOR = 10
for backend in ("processes", "dask"):
    with mrpy.session(backend, workers=1):
        print(list(scaling.Scaled().run(range(4))))
"""
SCALING = """
import mrpy
FACTOR = 1
class Scaled(mrpy.Job):
    def map(self, number):
        return "a", FACTOR * number
    def reduce(self, key, values):
        return sum(values)
"""


def test_a_job_of_a_module_that_travels_by_value_does_so(tmp_path: Path) -> None:
    (tmp_path / "scaling.py").write_text(SCALING)
    (tmp_path / "main.py").write_text(OF_A_MODULE)
    done = subprocess.run([sys.executable, tmp_path / "main.py"], capture_output=True, text=True, timeout=DEADLINE)
    assert done.stdout == "[('a', 60)]\n[('a', 60)]\n", done.stderr


def test_an_array_of_a_job_is_not_copied_into_its_pickle() -> None:
    job = Logged(Path())
    job.array = numpy.ones(100_000)  # type: ignore[attr-defined]
    sent = codec.encode_function(job_tasks.Mapping(job_tasks.OnWorker(job)), "map", same_python=True)
    assert len(sent.body) < 10_000 and [buffer.nbytes for buffer in sent.buffers] == [800_000]


class Slow(Logged):
    """Its end takes a while."""

    def setup(self) -> None:
        super().setup()
        self.thread = threading.get_ident()

    def teardown(self) -> None:
        time.sleep(0.3)
        assert threading.get_ident() == self.thread  # or SQLite, say, would refuse
        super().teardown()


@pytest.mark.parametrize("backend", BACKENDS[2:])
def test_the_end_of_a_session_waits_for_that_and_it_is_done_where_the_job_was_set_up(backend: str, tmp_path: Path) -> None:
    with mrpy.session(backend, workers=1):
        list(Slow(tmp_path).run(range(20)))
    assert sorted(logged(tmp_path, "teardown")) == sorted(logged(tmp_path, "setup"))


def test_runs_of_two_processes_are_two_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a cluster: all containers have a process 1."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    first, second = (job_tasks.OnWorker(Logged(Path())) for _ in range(2))
    assert first.__reduce__()[1][0] != second.__reduce__()[1][0] > 2**64


def test_a_worker_that_is_replaced_is_torn_down_first(tmp_path: Path) -> None:
    with mrpy.session("processes", workers=1, max_tasks_per_worker=2):
        job = Slow(tmp_path)
        job.partitions = 2
        list(job.run(range(4), chunksize=1))
    assert len(logged(tmp_path, "setup")) > 1
    assert sorted(logged(tmp_path, "teardown")) == sorted(logged(tmp_path, "setup"))


SCRIPT = """
import sys, time
import mrpy

class Slow(mrpy.Job):
    def map(self, number):
        return number % 5, number

    def reduce(self, key, values):
        return sum(values)

    def teardown(self):
        print("begins", flush=True)
        time.sleep(float(sys.argv[1]))
        print("ends", flush=True)

Slow.run(Slow(), range(20), backend="processes", workers=1).to_list()
"""


def test_the_end_of_a_program_waits_for_that_too() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, "0.3"], capture_output=True, text=True, timeout=60, check=True)
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["begins", "ends"]
    assert not done.stderr


def test_ctrl_c_does_not_wait_for_it() -> None:
    with subprocess.Popen([sys.executable, "-c", SCRIPT, "50"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().endswith("begins\n")
        time.sleep(0.5)  # by then it waits
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=8)  # and not the ten that it would be given


INTERRUPTED = """
import mrpy, os, signal, sys, threading, time

class Job(mrpy.Job):
    def map(self, n):
        time.sleep(0.01)  # so that both threads have a part
        yield n % 3, n
    def teardown(self):
        print("begins", flush=True)
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        time.sleep(50)

try:
    dict(Job().run(range(99), backend=sys.argv[1], workers=2))
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("backend", ["serial", "threads"])
def test_a_ctrl_c_amid_that_is_raised_and_the_rest_is_left_out(backend: str) -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, backend], capture_output=True, text=True, timeout=40)
    assert (done.stdout.split(), done.stderr) == (["begins", "interrupted"], "")


def test_what_is_said_while_a_job_is_set_up_is_said_by_the_worker(capsys: pytest.CaptureFixture[str]) -> None:
    class Talks(Lines):
        def setup(self) -> None:
            print("set up")

    list(Talks().run(range(3), backend="processes", workers=1))
    out = capsys.readouterr().out
    assert out.startswith("(worker ") and out.endswith(") set up\n")


@pytest.mark.parametrize("backend", LOCAL)
def test_who_breaks_off_has_the_workers_torn_down_too(backend: str, tmp_path: Path) -> None:
    with mrpy.session(backend, workers=2), Logged(tmp_path).run(range(200)) as pairs:
        next(pairs)
        # a worker that is still at work when the run is broken off, and stays at it, is killed, not torn down
        first = parts_of(range(5), DEFAULT).count(0)  # the keys of the part that was asked for
        assert eventually(lambda: len(logged(tmp_path, "reduce")) == (first if backend == "serial" else 5))
        time.sleep(0.3)  # it is logged where a reducer begins
        pairs.close()
        del pairs
        gc.collect()
        assert eventually(lambda: len(logged(tmp_path, "teardown")) == len(logged(tmp_path, "setup")) > 0)


@pytest.mark.parametrize("backend", LOCAL)
def test_a_set_up_that_fails_is_an_error_of_the_record(backend: str, tmp_path: Path) -> None:
    class Broken(Logged):
        def setup(self) -> None:
            raise ConnectionError("no database")

    with pytest.raises(ConnectionError, match="no database") as caught:
        list(Broken(tmp_path).run(range(3), backend=backend))
    assert caught.value.mrpy_item.position == 0
    assert logged(tmp_path, "teardown") == []


class Lines(mrpy.Job):
    def map(self, line: Any) -> Iterator[tuple[Any, int]]:
        self.count("lines")
        yield line, 1

    def reduce(self, key: Any, ones: Iterator[int]) -> int:
        return sum(ones)


@pytest.mark.parametrize("backend", LOCAL)
def test_counters_are_about_one_run_however_often_there_is_one(backend: str) -> None:
    same = Lines()
    for job, expected in ((Lines(), 3), (Lines() | Lines(), 5), (same | same, 5)):
        pairs = job.run(["a", "b", "a"], backend=backend, workers=1)
        for _ in range(2):
            assert (pairs.count(), pairs.counters) == (2, {"lines": expected})
        assert (len(pairs.map(str).to_list()), pairs.counters) == (2, {"lines": expected})
        assert (len(list(pairs)), pairs.counters) == (2, {"lines": expected})

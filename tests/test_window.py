"""Law 3: the consumer sets the pace, on every backend, through every chain."""

from __future__ import annotations

import itertools
import operator
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from laws import BACKENDS, LOCAL, MORE, THOROUGH, eventually

import mrpy
from mrpy.mapreduce import compile as compiling
from mrpy.mapreduce.chunking import BYTES, BYTES_AHEAD, OVERHEAD, Chunker
from mrpy.mapreduce.window import Receipt, Window, shared
from mrpy.options import Options

over_local = pytest.mark.parametrize("backend", LOCAL)


class Meter(Iterator[int]):
    """An endless source, and the most that was ever pulled from it and not yet yielded."""

    def __init__(self, limit: float = float("inf")) -> None:
        self.pulled = self.given = self.worst = 0
        self.limit = limit
        self.threads: set[int] = set()

    def __next__(self) -> int:
        if self.pulled >= self.limit:
            raise StopIteration
        self.threads.add(threading.get_ident())
        self.pulled += 1
        self.worst = max(self.worst, self.pulled - self.given)
        return self.pulled - 1

    def over(self, run: Any, count: int, items_of: Callable[[Any], int] = lambda item: 1) -> None:
        """Take so many results. An item counts as yielded once the next one is asked for: until then the
        consumer may look at it."""
        for _, item in zip(range(count), run, strict=False):
            self.given += items_of(item)


def test_results_count_for_buffer_bytes_as_what_they_are_pickled_as_at_least() -> None:
    """Nobody looks into objects: these are 1 MB each."""

    class Holds:
        def __init__(self, n: int) -> None:
            self.data = bytes(2**20)

    meter = Meter(300)
    meter.over(mrpy.pmap(Holds, meter, backend="processes", workers=2, buffer_bytes=20 * 2**20), 300)
    assert meter.worst <= 30


@pytest.mark.parametrize("ordered", [True, False])
@over_local
def test_results_that_take_far_more_than_those_before_are_not_made_all_at_once(
    backend: str, ordered: bool, tmp_path: Path
) -> None:
    def grow(n: int) -> int | bytes:
        if n < 5000:
            return n
        (tmp_path / str(n)).touch()
        return bytes(2**20)

    with mrpy.session(backend, workers=2):
        for result in mrpy.pmap(grow, range(9000), ordered=ordered):
            if isinstance(result, bytes):
                break
        assert len(list(tmp_path.iterdir())) < 1500


# ---- the window in items -----------------------------------------------------------------------------


@over_local
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("chunksize", ["auto", 1, 2, 3, 10, 100] if THOROUGH else ["auto", 1, 3, 100])
@pytest.mark.parametrize("buffersize", [1, 2, 3, 5, 16, 64] if THOROUGH else [1, 3, 16])
def test_pulled_minus_yielded_never_exceeds_the_buffer(
    backend: str, buffersize: int, chunksize: Any, ordered: bool
) -> None:
    for workers in (1, 2):
        meter = Meter()
        options = {"backend": backend, "workers": workers, "ordered": ordered}
        with mrpy.pmap(abs, meter, buffersize=buffersize, chunksize=chunksize, **options) as run:
            meter.over(run, 150)
        assert meter.worst <= buffersize
        assert meter.threads == {threading.get_ident()}


CHAINS: dict[str, Callable[[Any], Any]] = {
    "map map": lambda s: s.map(abs).map(abs),
    "filter": lambda s: s.map(abs).filter(lambda x: True),
    "flat_map": lambda s: s.flat_map(lambda x: [x]),
    "enumerate": lambda s: s.map(abs).enumerate(),
    "enumerate map": lambda s: s.map(abs).enumerate().starmap(max),
    "zip": lambda s: s.map(abs).zip(itertools.count()),
    "chain": lambda s: s.map(abs).chain([1]),
    "take": lambda s: s.map(abs).take(120),
    "skip nothing": lambda s: s.map(abs).skip(0),
    "take_while": lambda s: s.map(abs).take_while(lambda x: True),
    "distinct": lambda s: s.map(abs).distinct(),
    "peek": lambda s: s.map(abs).peek()[1],
    "genexpr over it": lambda s: mrpy.parallel((x for x in s.map(abs)), **s._given),
    "three runs": lambda s: s.map(abs).enumerate().map(max).enumerate().map(max),
}  # fmt: skip

@over_local
@pytest.mark.parametrize("chunksize", ["auto", 3])
@pytest.mark.parametrize("name", CHAINS)
def test_the_buffer_holds_through_a_chain(name: str, chunksize: Any, backend: str) -> None:
    """Also where something that is not fused stands between: the runs share the buffer."""
    for buffersize in (1, 2, 6, 16):
        meter = Meter()
        source = mrpy.stream(meter, backend=backend, workers=2, buffersize=buffersize, chunksize=chunksize)
        with CHAINS[name](source) as run:
            meter.over(run, 100)
        assert meter.given == 100
        assert meter.worst <= buffersize


@over_local
@pytest.mark.parametrize("ordered", [True, False])
def test_the_buffer_holds_through_many_runs_in_any_order(ordered: bool, backend: str) -> None:
    """Parts of a chunk that another run takes may be through before those that it took earlier."""
    for _ in range(4 * MORE):
        meter = Meter()
        run = mrpy.pmap(abs, meter, backend=backend, workers=2, buffersize=16, ordered=ordered)
        for _ in range(4):
            run = run.take(10**9).map(abs)
        with run:
            meter.over(run, 300)
        assert meter.worst <= 16


@pytest.mark.parametrize("part", [0, 1, 2, 3])
def test_receipts_are_shared_out_and_none_is_lost(part: int) -> None:
    window: Any = object()
    given, rest = shared([Receipt(window, 1)] * 7, part, 3)
    assert sum(one.items for one in given) == 7 * part // 3
    assert sum(one.items for one in [*given, *rest]) == 7


@over_local
@pytest.mark.parametrize("chunksize", ["auto", 5])
@pytest.mark.parametrize("buffersize", [1, 6, 9, 20])
def test_the_buffer_holds_through_batch_and_window(buffersize: int, chunksize: Any, backend: str) -> None:
    """As long as it holds what the step itself needs: a batch of four takes four."""
    options: dict[str, Any] = {"backend": backend, "workers": 2, "buffersize": buffersize, "chunksize": chunksize}
    worst = max(buffersize, 4)
    meter = Meter()
    meter.over(mrpy.stream(meter, **options).map(abs).batch(4), 30, len)
    assert meter.worst <= worst
    meter = Meter()
    meter.over(mrpy.stream(meter, **options).map(abs).batch(4).map(list), 30, len)
    assert meter.worst <= worst
    meter = Meter()
    meter.over(mrpy.stream(meter, **options).map(abs).window(4), 90)
    assert meter.worst <= worst + 3  # of the first three nobody is given a window of their own


@over_local
def test_a_loop_within_the_source_is_not_slowed_down_by_the_buffer_of_the_outer_one(backend: str) -> None:
    def source() -> Iterator[int]:
        yield from list(mrpy.pmap(abs, iter(range(500)), backend=backend, workers=2, buffersize=64))

    with mrpy.pmap(abs, source(), backend=backend, workers=2, buffersize=4) as run:
        assert list(run) == list(range(500))


class Reduced:
    """How many items a reduction has folded: its operator counts, where it runs in this process."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def __call__(self, left: int, right: int) -> int:
        self.meter.given += 1
        return left + right


@over_local
@pytest.mark.parametrize("chunksize", ["auto", 1, 7])
@pytest.mark.parametrize("buffersize", [1, 10, 100])
def test_a_reduction_pulls_no_more_than_the_buffer_ahead_of_what_it_folded(
    buffersize: int, chunksize: Any, backend: str
) -> None:
    """Narrower than a leaf of the tree: the first of each of the first 64 leaves is not combined with any
    other, so 64 operations are missing."""
    meter = Meter(limit=1000)
    options: dict[str, Any] = {"backend": backend, "workers": 2, "chunksize": chunksize}
    total = mrpy.preduce(Reduced(meter), meter, buffersize=buffersize, **options)
    assert total == sum(range(1000))
    assert meter.worst <= buffersize + 12  # nodes of the tree that are not combined yet: one per level


@over_local
def test_the_width_of_the_buffer_does_not_show_in_the_bits(backend: str) -> None:
    numbers = [(-1.0) ** n / (n * n + 0.1) for n in range(1000)]  # the last leaves have eight of them
    plain = mrpy.preduce(operator.add, numbers, backend="serial")
    for buffersize in (1, 5, 50, 5000):
        options: dict[str, Any] = {"backend": backend, "workers": 2, "buffersize": buffersize}
        assert mrpy.preduce(operator.add, iter(numbers), **options) == plain
        assert mrpy.preduce(operator.add, numbers, **options) == plain
        assert mrpy.stream(numbers, **options).sample(5, seed=1) == mrpy.stream(
            numbers, backend="serial"
        ).sample(5, seed=1)
    assert mrpy.preduce(operator.add, iter(numbers), backend=backend, workers=2, buffer_bytes=4096) == plain


@over_local
@pytest.mark.parametrize("buffersize", [1, 4, 20])
def test_two_loops_side_by_side_keep_their_buffers(backend: str, buffersize: int) -> None:
    left, right = Meter(), Meter()
    options: dict[str, Any] = {"backend": backend, "workers": 2, "buffersize": buffersize}
    with mrpy.pmap(abs, left, **options) as a, mrpy.parallel((x for x in right), **options) as b:
        for x, y in itertools.islice(zip(a, b, strict=False), 100):
            assert x == y
            left.given += 1
            right.given += 1
    assert max(left.worst, right.worst) <= buffersize


@over_local
def test_a_filter_that_drops_all_but_a_few_does_not_widen_the_window(backend: str) -> None:
    meter = Meter(limit=3000)
    seen = []
    for x in mrpy.stream(meter, backend=backend, workers=2, buffersize=20).filter(lambda x: x % 500 == 0):
        seen.append(x)
        assert meter.pulled <= x + 1 + 20
    assert seen == list(range(0, 3000, 500))


@over_local
def test_nothing_is_pulled_while_the_consumer_is_away(backend: str) -> None:
    meter = Meter()
    with mrpy.pmap(abs, meter, backend=backend, workers=2) as run:
        next(run)
        pulled = meter.pulled
        assert not eventually(lambda: meter.pulled != pulled, 0.1)


# ---- the window in bytes -------------------------------------------------------------------------------

KB = 1024


@over_local
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("chunksize", ["auto", 1, 4])
def test_buffer_bytes_bounds_what_is_out(backend: str, chunksize: Any, ordered: bool) -> None:
    """Items of 10 kB: with 100 kB about ten are out, once one has been seen."""
    meter = Meter()
    blocks = (bytes(10 * KB) for _ in iter(meter))
    options = {"backend": backend, "workers": 2, "ordered": ordered, "chunksize": chunksize}
    source = iter(blocks.__next__, None)
    with mrpy.pmap(bytes, source, buffer_bytes=100 * KB, **options) as run:
        meter.over(run, 100)
    assert meter.worst <= 11


WRAPPED: dict[str, Callable[[bytes], Any]] = {
    "tuple": lambda block: (1, block),
    "list": lambda block: [block],
    "dict": lambda block: {"a": block},
    "nested": lambda block: ({"a": [block]},),
}


@over_local
@pytest.mark.parametrize("name", WRAPPED)
def test_buffer_bytes_counts_what_lies_within_containers(name: str, backend: str) -> None:
    meter = Meter()
    source = iter((WRAPPED[name](bytes(100 * KB)) for _ in meter).__next__, None)
    with mrpy.pmap(lambda x: x, source, backend=backend, workers=2, buffer_bytes=500 * KB) as run:
        meter.over(run, 60)
    assert meter.worst <= 5


@over_local
def test_results_count_as_bytes_too(backend: str) -> None:
    """Small items whose results are large: what is out is bounded by the results."""
    meter = Meter()
    with mrpy.pmap(lambda n: bytes(50 * KB), meter, backend=backend, workers=2, buffer_bytes=400 * KB) as run:
        meter.over(run, 300)  # before the first results came nobody knew
        meter.worst = 0
        meter.over(run, 200)
    assert meter.worst <= 9


def test_results_that_are_small_as_pickles_only_are_not_many_at_once() -> None:
    """As lists are: these take eight times as much when they are open, as they are here."""
    meter = Meter()
    nbytes = sys.getsizeof(made := (None,) * 20_000)
    with mrpy.pmap(lambda n: (None,) * len(made), meter, backend="processes", workers=2) as run:
        meter.over(run, 5000)
    assert meter.worst * nbytes <= 2 * BYTES_AHEAD + BYTES


HERE = pytest.mark.parametrize("backend", ["serial", "threads"])


@HERE
def test_how_large_the_items_of_a_list_are_does_not_matter_where_they_do_not_travel(backend: str) -> None:
    """They are here anyway."""
    with mrpy.pmap(len, [bytes(1000 * KB)] * 4000, backend=backend, workers=2) as run:
        assert set(run) == {1000 * KB}
    assert run._account.tasks < 250


@HERE
def test_it_does_where_they_are_made_for_it(backend: str) -> None:
    meter = Meter()
    source = iter((bytes(1000 * KB) for _ in meter).__next__, None)
    with mrpy.pmap(len, source, backend=backend, workers=2) as run:
        meter.over(run, 1500)
    assert meter.worst * 1000 * KB <= 2 * BYTES_AHEAD + BYTES


@over_local
def test_an_item_larger_than_the_buffer_still_goes(backend: str) -> None:
    blocks = [bytes(10 * KB)] * 5
    got = list(mrpy.pmap(len, iter(blocks.copy()), backend=backend, workers=2, buffer_bytes=1))
    assert got == [10 * KB] * 5


@over_local
def test_both_bounds_hold_at_once(backend: str) -> None:
    meter = Meter()
    with mrpy.pmap(abs, meter, backend=backend, workers=2, buffersize=5, buffer_bytes=10**9) as run:
        meter.over(run, 60)
    assert meter.worst <= 5


# ---- endless sources, and ends -----------------------------------------------------------------------------

ENDLESS: dict[str, Callable[[Any], Any]] = {
    "pmap": lambda o: mrpy.pmap(abs, itertools.count(), **o),
    "parallel": lambda o: mrpy.parallel((x for x in itertools.count()), **o),
    "nested": lambda o: mrpy.parallel((x for x in (y for y in itertools.count() if y >= 0)), **o),
    "map": lambda o: mrpy.parallel(map(abs, itertools.count()), **o),
    "zip": lambda o: mrpy.parallel((x for x, _ in zip(itertools.count(), itertools.repeat(1))), **o),
    "enumerate": lambda o: mrpy.parallel((n for n, _ in enumerate(itertools.cycle("ab"))), **o),
    "chain": lambda o: mrpy.stream([], **o).chain(itertools.count()).map(abs),
    "flat_map": lambda o: mrpy.stream(itertools.count(), **o).flat_map(lambda x: [x]),
    "plain": lambda o: mrpy.stream(itertools.count(), **o),
}  # fmt: skip


@over_local
@pytest.mark.parametrize("name", ENDLESS)
def test_an_endless_source_ends_with_take(name: str, backend: str) -> None:
    list(mrpy.pmap(abs, range(4), backend=backend, workers=2))  # the workers are there
    began = time.monotonic()
    assert ENDLESS[name]({"backend": backend, "workers": 2}).take(10).to_list() == list(range(10))
    assert time.monotonic() - began < 1


@over_local
def test_break_ends_within_a_second_and_the_next_call_works(backend: str) -> None:
    def slow(n: int) -> int:
        if n > 5:
            time.sleep({"serial": 0.2, "threads": 2.0, "processes": 60.0}[backend])
        return n

    with mrpy.session(backend, workers=2):
        for _ in range(2):
            run = mrpy.pmap(slow, itertools.count(), chunksize=2)
            began = 0.0
            for x in run:
                if x == 3:
                    began = time.monotonic()
                    break
            run.close()
            assert time.monotonic() - began < 1
            if backend == "processes":
                assert list(mrpy.pmap(abs, range(-9, 0))) == list(range(9, 0, -1))
                assert time.monotonic() - began < 3
    assert list(mrpy.pmap(abs, range(3), backend=backend, workers=2)) == [0, 1, 2]


# ---- memory --------------------------------------------------------------------------------------------


@over_local
def test_memory_stays_flat_with_a_slow_consumer(backend: str) -> None:
    """200,000 items of 400 bytes, 80 MB in all: a few are alive at a time."""
    items = (bytes(400) for _ in iter(itertools.count().__next__, None))
    source = iter(items.__next__, None)
    with mrpy.pmap(len, source, backend=backend, workers=2, buffersize=4000) as run:
        assert sum(itertools.islice(run, 20_000)) == 20_000 * 400
        tracemalloc.start()
        try:
            for count, _ in enumerate(itertools.islice(run, 180_000)):
                if count % 20_000 == 0:
                    time.sleep(0.002)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 16 * KB * KB


@over_local
def test_a_small_buffer_does_not_make_chunks_of_one_for_ever(backend: str) -> None:
    """The window is full of small chunks at first; each that is settled must not be replaced by another."""
    with mrpy.pmap(abs, iter(range(50_000).__iter__().__next__, None), backend=backend, workers=2, buffersize=1000) as run:
        assert sum(1 for _ in run) == 50_000
    assert run._account.chunks < 2000


@over_local
@pytest.mark.parametrize("chunksize", [1, 3])
def test_nor_does_it_keep_chunks_of_a_small_size_from_travelling_together(backend: str, chunksize: int) -> None:
    options: dict[str, Any] = {"backend": backend, "workers": 2, "chunksize": chunksize, "buffersize": 100}
    with mrpy.pmap(abs, iter(range(6000).__iter__().__next__, None), **options) as run:
        assert sum(1 for _ in run) == 6000
    assert run._account.tasks < 3000 // chunksize


@pytest.mark.parametrize("chunksize", ["auto", 1, 2])
@pytest.mark.parametrize(("cost", "size"), [(1e-7, 50), (5e-5, 20), (1e-3, 6)])
def test_chunks_of_a_small_buffer_are_large_enough_to_be_worth_a_round_trip(
    cost: float, size: int, chunksize: Any
) -> None:
    """Half of the buffer where items take next to no time; where they take long there is one for each worker,
    and another. So it is always where there is a size: the next items may take long, and are not given back."""
    chunker, window = Chunker(chunksize, 8), Window(Options(buffersize=100, chunksize=chunksize), 8)
    first = window.room(chunker, None)
    assert first <= 2, "nobody knows yet what an item costs"
    chunker.learn(1000, 1000 * cost + OVERHEAD, 0)
    if chunksize != "auto":
        size = chunksize if cost == 1e-3 else 6
    assert window.room(chunker, None) == size


def test_the_soak_runs_and_says_what_it_found() -> None:
    script = Path(__file__).parent / "soak" / "soak_window.py"
    done = subprocess.run(
        [sys.executable, str(script), "--items", "60000", "--backends", "serial,threads,processes"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("flat") == 3


def test_a_run_whose_pulling_was_interrupted_does_not_pull_from_itself() -> None:
    """A signal handler that raises may come when a window is about to be left."""
    window = Window(Options(), 1)
    window.__enter__()
    assert Window(Options(), 1).puller() is window
    window.sent(3, 0, awaited=False)
    window.settled(3, 0, window.cut(3))
    assert not window.is_counted
    assert not window.pulls_from_runs
    assert Window(Options(), 1).puller() is None


def live(many: int, pause: float, pulled: list[int]) -> Iterator[int]:
    """As from a socket, a queue, an instrument: so many numbers, one after each pause; which of them were pulled."""
    for n in range(many):
        if pause:
            time.sleep(pause)
        pulled.append(n)
        yield n


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("options", [{}, {"chunksize": 1}, {"ordered": False}, {"chunksize": 1, "ordered": False}])
def test_a_result_does_not_wait_for_a_slow_source(backend: str, options: dict[str, Any]) -> None:
    pulled: list[int] = []
    with mrpy.session(backend, workers=2):
        mrpy.submit(abs, 1).result()
        with mrpy.pmap(abs, live(40, 0.2, pulled), **options) as run:
            for n in range(3):
                assert next(run) == n
                assert len(pulled) - n <= (1 if backend == "serial" else 15), "of forty"


def test_nor_does_it_behind_another_run() -> None:
    pulled: list[int] = []
    with mrpy.session("threads", workers=2), mrpy.pmap(abs, live(40, 0.1, pulled)).batch(1).map(len) as run:
        assert next(run) == 1
        assert len(pulled) <= 16, "of forty"


@pytest.mark.parametrize("backend", LOCAL)
def test_a_reduction_takes_all_of_a_slow_source(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where nothing but merges is out, and one of them is done."""

    monkeypatch.setattr(compiling, "LIVE", 0.01)
    for options in ({"chunksize": 1}, {}):
        with mrpy.session(backend, workers=2):
            joined = mrpy.stream(live(60, 0.012, []), **options).map(str).reduce(lambda left, right: f"{left} {right}")
            assert joined == " ".join(map(str, range(60)))
            assert mrpy.stream(live(60, 0.012, []), **options).map(abs).sorted().to_list() == list(range(60))
            assert len(list(mrpy.pmap(abs, live(60, 0.012, []), ordered=False, **options))) == 60


def test_what_is_out_of_others_does_not_end_a_feeder(monkeypatch: pytest.MonkeyPatch) -> None:
    job = type("", (), {"comes_within": lambda self, seconds: True})()
    feeder = object.__new__(compiling.Feeder)
    feeder._pace, feeder._slots, feeder.job = 1.0, {}, job
    monkeypatch.setattr(compiling.Feeder, "_has_sent", lambda *_: (_ for _ in ()).throw(LookupError("it goes on")))
    with pytest.raises(LookupError, match="it goes on"):
        feeder.top_up()
    feeder._slots = {(1, 1): None}
    assert feeder.top_up() == []


@pytest.mark.parametrize("options", [{}, {"ordered": False}])
def test_nor_do_those_of_a_backlog_where_it_is_slow_behind_that(options: dict[str, Any]) -> None:
    pulled: list[int] = []
    source = itertools.chain(live(3000, 0, pulled), live(2000, 0.1, pulled))
    with mrpy.session("threads", workers=2), mrpy.pmap(abs, source, **options) as run:
        for n in range(3000):
            next(run)
        assert len(pulled) <= 3030, "of five thousand"


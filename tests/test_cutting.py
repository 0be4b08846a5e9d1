"""First chunks that are large before anybody knows what an item costs, and what becomes of those cut short."""

from __future__ import annotations

import importlib
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from laws import LOCAL, REDUCED, eventually

import mrpy
from mrpy.mapreduce.chunking import BYTES, Chunker
from mrpy.mapreduce.chunks import Chunk, Outcome, said, visible_bytes
from mrpy.mapreduce.cutting import Stretch
from mrpy.mapreduce.folds import Fold, FoldChunk
from mrpy.mapreduce.kernels import MapChunk
from mrpy.mapreduce.rules import Rules
from mrpy.mapreduce.sources import Pulls
from mrpy.mapreduce.steps import Map
from mrpy.mapreduce.window import Receipt, Window
from mrpy.options import resolve
from mrpy.scheduler.calls import apart

cutting, kernels, stretches = (
    importlib.import_module(f"mrpy.mapreduce.{name}") for name in ("cutting", "kernels", "stretches")
)

over_both = pytest.mark.parametrize("backend", ["threads", "processes"])
AT_ONCE = -1.0  # seconds: a budget that is spent after one item


# ---- in the worker, by a clock that the items move -----------------------------------------------------


class Worked:
    """Runs chunks by a clock of its own; each item takes as many seconds as its number says."""

    def __init__(self, on_error: Any = "raise", bad: frozenset[int] = frozenset()) -> None:
        self.now = 0.0
        self.bad = bad
        self.ran: list[int] = []
        self.began: list[float] = []
        self.kernel = MapChunk((Map(self._item),), Rules(on_error, seed=1))

    def _item(self, item: tuple[int, float]) -> int:
        place, cost = item
        self.ran.append(place)
        self.began.append(self.now)
        self.now += cost
        if place in self.bad:
            raise ValueError(place)
        return place

    def run(self, chunk: Chunk, *, careful: bool = False) -> Any:
        clock = SimpleNamespace(perf_counter=lambda: self.now, sleep=time.sleep)
        with pytest.MonkeyPatch.context() as patch:
            for module in (kernels, stretches):
                patch.setattr(module, "time", clock)
            return self.kernel(chunk, (lambda index: None) if careful else None)


def values_of(result: Any) -> tuple[list[Any], int | None]:
    value, note = apart(result)
    return (value.values if isinstance(value, Outcome) else value), said(note).done


costs = st.lists(st.sampled_from([0.0, 1e-7, 1e-4, 0.5, 2.0]), min_size=1, max_size=300)


@settings(deadline=None)
@given(costs=costs, budget=st.sampled_from([AT_ONCE, 0.001, 1.0, 100.0]), careful=st.booleans(), data=st.data())
def test_a_chunk_in_parts_runs_each_item_once_and_in_order(
    costs: list[float], budget: float, careful: bool, data: Any
) -> None:
    bad = frozenset(data.draw(st.sets(st.integers(0, len(costs) - 1), max_size=5)))
    worked = Worked("return", bad)
    items = list(enumerate(costs))
    place, values = 0, []
    while place < len(items):
        some, done = values_of(worked.run(Chunk(place, items[place:], budget=budget), careful=careful))
        assert done is None or 0 < done < len(items) - place
        values += some
        place += len(items) - place if done is None else done
    assert worked.ran == list(range(len(items)))
    assert values == [None if n in bad else n for n in range(len(items))]


@given(costs=costs, budget=st.sampled_from([0.001, 1.0]))
def test_no_stretch_begins_when_the_budget_is_spent(costs: list[float], budget: float) -> None:
    """And none is longer than the items before it made it look: one item, where they were costly."""
    worked = Worked()
    worked.run(Chunk(0, list(enumerate(costs)), budget=budget))
    late = sum(began >= budget for began in worked.began)
    assert late <= 64 * max(1, len(worked.began) - late)
    if min(costs) > budget:
        assert len(worked.ran) == 1


@pytest.mark.parametrize("cost", [0.001, 0.1, 3.0])
def test_items_of_even_cost_overrun_the_budget_by_one_at_most(cost: float) -> None:
    worked = Worked()
    worked.run(Chunk(0, [(n, cost) for n in range(9000)], budget=1.0))
    assert worked.now <= 1.0 + cost


def test_trivial_items_are_one_chunk() -> None:
    result = Worked().run(Chunk(0, [(n, 1e-7) for n in range(8192)], budget=0.003))
    assert result == list(range(8192))


def test_a_failure_that_ends_the_run_is_no_part() -> None:
    result = Worked(bad=frozenset({3})).run(Chunk(0, [(n, 1.0) for n in range(9)], budget=100.0))
    assert isinstance(result, Outcome), "with no note"
    assert result.ended


@pytest.mark.parametrize("result", [bytes(2**23), object(), [object()], {1: object()}])
def test_results_that_are_large_or_may_be_end_a_chunk(result: Any) -> None:
    """An object may hold anything, and nobody looks into it."""
    kernel = MapChunk((Map(lambda n: result),), Rules(seed=1))
    assert values_of(kernel(Chunk(0, range(100), budget=100.0))) == ([result], 1)


@pytest.mark.parametrize("results", [bytes, lambda size: [bytes(size)], lambda size: {1: bytes(size), 2: bytes(size)}])
def test_a_chunk_that_may_be_cut_again_ends_where_results_take_far_more_than_those_before(results: Any) -> None:
    kernel = MapChunk((Map(lambda n: n if n < 1000 else results(2**20)),), Rules(seed=1))
    values, done = values_of(kernel(Chunk(0, range(9000), gives_back=True)))
    assert done is not None
    assert len(values) == done < 3000
    values, done = values_of(kernel(Chunk(0, range(9000, 9100), gives_back=True)))
    assert done is not None
    assert len(values) == done
    values, done = values_of(kernel(Chunk(0, range(1000), gives_back=True)))
    assert (values, done) == (list(range(1000)), None)


@pytest.mark.parametrize("options", [{"timeout": 50}, {"retries": 1}, {"on_error": "skip"}])
@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_so_does_one_of_which_each_item_is_noted(backend: str, options: Any) -> None:
    results = mrpy.pmap(lambda n: n if n < 500 else bytes(2**20), range(700), backend=backend, workers=2, **options)
    lengths = [len(result) if isinstance(result, bytes) else result for result in results]
    assert lengths == [n if n < 500 else 2**20 for n in range(700)]
    kernel = MapChunk((Map(lambda n: n if n < 1000 else bytes(2**20)),), Rules(seed=1))
    values, done = values_of(kernel(Chunk(0, range(9000), gives_back=True), lambda at: None))
    assert done is not None
    assert len(values) == done < 3000


def test_looks_that_take_long_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """What they take is none of the cost of items, and items take many times as long."""
    worked, looks = Worked(), 0

    def beside(value: Any, other: Any) -> int:
        nonlocal looks
        looks += 1
        worked.now += 1e-4
        return 100

    monkeypatch.setattr("mrpy.scheduler.sizes.beside", beside)
    worked.kernel = MapChunk((Map(worked._item), Map(lambda place: [place])), Rules(seed=1))
    worked.run(Chunk(0, [(n, 1e-6) for n in range(9000)], gives_back=True))
    assert len(worked.ran) == 9000
    assert looks < 20


def test_results_that_are_one_object_do_not_end_a_chunk() -> None:
    large = bytes(2**20)
    for result in (large, (1, large), [large, 2]):
        kernel = MapChunk((Map(lambda n, result=result: result),), Rules(seed=1))
        assert len(kernel(Chunk(0, range(9000), gives_back=True))) == 9000


@pytest.mark.parametrize(
    ("values", "least", "most"),
    [([], 0, 0), ([1] * 100, 2800, 4000), (["a" * 1000] * 10, 10_000, 11_000), ([(1, [bytes(5000)])] * 2, 10_000, 11_000),
     (range(1000), 24_000, 40_000), ([{"a": bytes(100)}] * 3, 300, 1500)],
)  # fmt: skip
def test_bytes_are_counted_where_they_can_be_seen(values: Any, least: int, most: int) -> None:
    counted = visible_bytes(values)
    assert counted is not None
    assert least <= counted <= most


def test_an_array_says_how_large_it_is() -> None:
    numpy = pytest.importorskip("numpy")
    assert visible_bytes([numpy.zeros(1000)] * 3) == 24_000
    assert visible_bytes(numpy.zeros((10, 100))) == 8_000


# ---- the parts ---------------------------------------------------------------------------------------------


@given(st.integers(2, 40), st.data())
def test_a_stretch_is_split_with_all_that_belongs_to_it(items: int, data: Any) -> None:
    at = data.draw(st.integers(1, items - 1))
    failure: Any = object()
    window: Any = object()
    excluded = dict.fromkeys(data.draw(st.sets(st.integers(0, items - 1))), failure)
    whole = Stretch(Chunk(7, list(range(items)), excluded, True, 3, 0.1), [Receipt(window, 1)] * items)
    parts = whole.split(at)
    assert [item for part in parts for item in part.chunk.data] == whole.chunk.data
    assert [part.chunk.first for part in parts] == [7, 7 + at]
    assert {part.chunk.first - 7 + index for part in parts for index in part.chunk.excluded} == set(excluded)
    assert [sum(receipt.items for receipt in part.receipts) for part in parts] == [at, items - at]
    assert all(part.chunk.separately and part.chunk.piece == 3 for part in parts)
    assert all(part.chunk.budget is None for part in parts), "what it costs is known by then"


# ---- whole runs ----------------------------------------------------------------------------------------------

FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "map": lambda source: source.map(lambda x: x * 3),
    "filter": lambda source: source.filter(lambda x: x % 3 == 0),
    "flat_map": lambda source: source.flat_map(lambda x: [x] * (x % 3)),
    "random": lambda source: source.map(lambda x: (x, float(mrpy.rng().random()))),
    "failing": lambda source: source.map(lambda x: x if x % 7 else 1 // 0),
    "large": lambda source: source.map(lambda x: bytes(1000 * (x % 2000))),
    "opaque": lambda source: source.map(lambda x: iter([x])).map(list),
    "fused": lambda source: source.map(str).filter(lambda s: "3" not in s).map(int),
}


def shown(items: Any) -> list[str]:
    return [str(len(item)) if isinstance(item, bytes) else repr(item) for item in items]


@over_both
@pytest.mark.parametrize("name", FUNCTIONS)
def test_chunks_that_are_cut_short_anywhere_give_the_same_answer(
    name: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        length=st.integers(0, 700),
        workers=st.integers(1, 3),
        budget=st.sampled_from([AT_ONCE, 0.00002, 0.003, 10.0]),
        kind=st.sampled_from([list, tuple, iter, range]),
        ordered=st.booleans(),
        on_error=st.sampled_from(["return", "skip"]),
    )
    def claim(length: int, workers: int, budget: float, kind: Any, ordered: bool, on_error: Any) -> None:
        monkeypatch.setattr(cutting, "BUDGET", budget)
        items = range(length) if kind is range else kind(range(length))
        options: dict[str, Any] = {"on_error": on_error, "seed": 1}
        run = FUNCTIONS[name](mrpy.stream(items, backend=backend, workers=workers, ordered=ordered, **options))
        got = shown(run)
        expected = shown(FUNCTIONS[name](mrpy.stream(range(length), backend="serial", **options)))
        assert got == expected if ordered else Counter(got) == Counter(expected)

    claim()


@over_both
@pytest.mark.parametrize("name", REDUCED)
def test_reductions_whose_chunks_are_cut_short_anywhere_give_the_same_answer(
    name: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        length=st.integers(0, 700),
        workers=st.integers(1, 3),
        budget=st.sampled_from([AT_ONCE, 0.00002, 0.003, 10.0]),
        kind=st.sampled_from([list, iter, range]),
    )
    def claim(length: int, workers: int, budget: float, kind: Any) -> None:
        monkeypatch.setattr(cutting, "BUDGET", budget)
        items = range(length) if kind is range else kind(range(length))
        run = mrpy.stream(items, backend=backend, workers=workers, on_error="skip", seed=1)
        expected = mrpy.stream(range(length), backend="serial", on_error="skip", seed=1)
        assert REDUCED[name](run) == REDUCED[name](expected)

    claim()


@pytest.mark.parametrize("exact", [True, False])
def test_a_reduction_gives_back_what_its_budget_is_too_small_for(exact: bool) -> None:
    fold = Fold(list, lambda left, right: left + right, lambda value: value, exact=exact)
    kernel = FoldChunk((Map(lambda n: time.sleep(0.002) or n),), fold, Rules(seed=1))
    nodes, note = apart(kernel(Chunk(0, range(100), budget=0.005)))
    done = said(note).done
    assert done is not None and 1 <= done < 90
    assert fold.whole(nodes) == list(range(done))
    nodes, note = apart(kernel(Chunk(0, range(10), budget=100.0)))
    assert (fold.whole(nodes), note) == (list(range(10)), None)


@over_both
def test_every_item_is_counted_once(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "BUDGET", AT_ONCE)
    run = mrpy.pmap(abs, range(5000), backend=backend, workers=2)
    assert list(run) == list(range(5000))
    assert run._account.items == 5000
    assert run._account.smallest == 1


def test_no_item_runs_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "BUDGET", AT_ONCE)
    ran: Counter[int] = Counter()

    def count(x: int) -> int:
        ran[x] += 1
        return x

    for ordered in (True, False):
        assert len(list(mrpy.pmap(count, range(3000), backend="threads", workers=3, ordered=ordered))) == 3000
    assert set(ran.values()) == {2}


@over_both
def test_an_error_comes_at_its_item_behind_all_before_it(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for budget in (AT_ONCE, 10.0):
        monkeypatch.setattr(cutting, "BUDGET", budget)
        got = []
        with pytest.raises(ZeroDivisionError) as caught:
            for x in mrpy.pmap(lambda x: x if x != 333 else 1 // 0, range(2000), backend=backend, workers=2):
                got.append(x)  # noqa: PERF402
        assert got == list(range(333))
        assert caught.value.mrpy_item == (333, "333")  # type: ignore[attr-defined]


def test_what_lies_behind_a_gap_does_not_keep_it_from_being_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first item waits until others have been run that fill the window; then its chunk is cut again."""
    monkeypatch.setattr(cutting, "BUDGET", AT_ONCE)
    others = threading.Semaphore(0)

    def first_waits(x: int) -> int:
        if x:
            others.release()
            return x
        return all(others.acquire(timeout=30) for _ in range(100)) - 1

    assert list(mrpy.pmap(first_waits, range(20_000), backend="threads", workers=2)) == list(range(20_000))


def test_a_full_window_lets_through_what_fills_a_gap() -> None:
    window, chunker = Window(resolve({"backend": "threads", "workers": 2}), 2), Chunker("auto", 2)
    chunker.learn(1000, 0.03, 0)
    while window.room(chunker, None):
        window.sent(10, 0, awaited=True)
        window.arrived(10, 0)
    assert window.room(chunker, None, in_a_gap=True) == 1000


@over_both
def test_a_few_of_very_many_costly_items_are_there_soon_and_few_others_ran(backend: str, tmp_path: Any) -> None:
    ran = tmp_path / "ran"

    def costly(x: int) -> int:
        with ran.open("a") as file:
            file.write(f"{x}\n")
        time.sleep(0.02)
        return x

    list(mrpy.pmap(abs, range(4), backend=backend, workers=2))  # the workers are there
    began = time.monotonic()
    taken = mrpy.pmap(costly, range(10**9), backend=backend, workers=2).take(10).to_list()
    assert taken == list(range(10))
    assert time.monotonic() - began < 5
    assert len(ran.read_text().split()) <= 40


# ---- where there is more to be thought of than time ------------------------------------------------------------


@pytest.fixture
def chunks(monkeypatch: pytest.MonkeyPatch) -> list[Chunk]:
    """Those that have been run, on threads."""
    seen: list[Chunk] = []
    for name in ("run_fast", "run_careful"):
        run = getattr(kernels, name)

        def noted(steps: Any, chunk: Chunk, *rest: Any, run: Any = run) -> Any:
            seen.append(chunk)
            return run(steps, chunk, *rest)

        monkeypatch.setattr(kernels, name, noted)
    return seen


def test_a_list_begins_with_a_large_chunk_per_worker(chunks: list[Chunk]) -> None:
    assert len(list(mrpy.pmap(abs, range(100_000), backend="threads", workers=2))) == 100_000
    assert sorted(len(chunk.data) for chunk in chunks if chunk.budget) == [5859, 6250]


def test_what_took_no_time_the_last_time_is_a_chunk_for_each_worker() -> None:
    """On processes, where the code of the last run is used again."""
    seen: list[int] = []

    def all_in_two() -> bool:
        begun = set[Any]()
        with mrpy.session("processes", workers=2) as session:
            session.driver.observe(lambda moved: begun.add(moved.task.key))
            for _ in range(8):  # what the machine does besides may make it slow
                begun.clear()
                assert list(mrpy.pmap(abs, range(-5, 5))) == [abs(n) for n in range(-5, 5)]
                seen.append(len(begun))
        return seen[-1] == 2

    assert eventually(all_in_two), seen


@pytest.mark.parametrize("short", [True, False])
def test_a_cost_that_is_known_makes_large_chunks_of_a_short_source_only(short: bool) -> None:
    chunker = Chunker("auto", 2, cost=1e-6)
    chunker.guesses = True
    chunker.begins(11 if short else 2000)
    assert chunker.size(11 if short else 2000) == (6 if short else 125)
    assert chunker.size(5 if short else 1875) == (6 if short else 117)
    unseen = Chunker("auto", 2, cost=1e-6)  # first chunks may not be large
    unseen.begins(11)
    assert unseen.size(11) == 1


def test_items_that_took_no_time_the_last_time_may_take_long_now() -> None:
    with mrpy.session("processes", workers=2):
        for _ in range(3):
            assert list(mrpy.pmap(time.sleep, [0.0] * 8)) == [None] * 8
        began = time.monotonic()
        assert list(mrpy.pmap(time.sleep, [0.2] * 8)) == [None] * 8
        assert time.monotonic() - began < 60
        assert list(mrpy.pmap(abs, range(-9, 0))) == list(range(9, 0, -1))
        assert list(mrpy.pmap(abs, [-(10**100), -1.5])) == [10**100, 1.5]


@pytest.mark.parametrize("options", [
    {"timeout": 30}, {"retries": 1}, {"buffersize": 1000}, {"buffer_bytes": 10**9}, {"chunksize": 3},
    {"backend": "serial"}, {"checkpoint": "here"},
], ids=str)  # fmt: skip
def test_with_these_options_it_begins_with_one_item(
    options: dict[str, Any], chunks: list[Chunk], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given: dict[str, Any] = {"backend": "threads", "workers": 2, **options}
    assert list(mrpy.pmap(abs, range(1000), **given)) == list(range(1000))
    assert all(chunk.budget is None for chunk in chunks)


@pytest.mark.parametrize(("items", "first"), [(10, 10), (64, 64), (65, 1)])
def test_a_short_source_is_one_chunk_on_serial(items: int, first: int, chunks: list[Chunk]) -> None:
    assert list(mrpy.pmap(abs, range(items), backend="serial")) == list(range(items))
    assert len(chunks[0].data) == first


def test_objects_in_which_nobody_can_look_are_one_chunk_on_serial_too(chunks: list[Chunk]) -> None:
    class Held:
        def __init__(self, n: int) -> None:
            self.n = n

    def all_in_one() -> bool:  # unless the machine is so slow that its time is over before
        chunks.clear()
        assert [held.n for held in mrpy.pmap(Held, range(10), backend="serial")] == list(range(10))
        return [len(chunk.data) for chunk in chunks] == [10]

    assert eventually(all_in_one)


def test_who_asks_for_one_result_on_serial_waits_for_no_other_that_takes_long() -> None:
    began: list[int] = []

    def slow(n: int) -> int:
        began.append(n)
        time.sleep(0.01)
        return n

    with mrpy.pmap(slow, range(10), backend="serial") as run:
        assert next(run) == 0
        assert began == [0]
    assert list(mrpy.pmap(slow, range(10), backend="serial")) == list(range(10))


def test_where_a_trivial_item_comes_first_few_that_take_long_are_waited_for() -> None:
    began: list[int] = []

    def slow(n: int) -> int:
        began.append(n)
        time.sleep(0.01 if n else 0)
        return n

    with mrpy.pmap(slow, range(64), backend="serial") as run:
        assert next(run) == 0
    assert len(began) <= 3


def test_what_is_pulled_begins_with_one_item(chunks: list[Chunk]) -> None:
    assert len(list(mrpy.pmap(abs, iter(set(range(1000)).__iter__().__next__, None), backend="threads", workers=2).take(900))) == 900
    assert len(chunks[0].data) == 1


def test_a_stage_begins_with_one_item() -> None:
    """It may have to set something up, and would have to for each part of a chunk."""
    lengths: list[int] = []

    @mrpy.stage
    def stretches(items: Iterator[int]) -> Iterator[int]:
        count = 0
        for count, x in enumerate(items, 1):  # noqa: B007
            yield x
        lengths.append(count)

    assert list(stretches.with_options(backend="threads", workers=2)(range(3000))) == list(range(3000))
    assert min(lengths) == lengths[0] == 1


class Holder:
    """It may be of any size."""

    def __init__(self, number: int) -> None:
        self.held = bytes(number)


@pytest.mark.parametrize("item", [bytes(2**20), Holder(2**20)], ids=["large", "opaque"])
def test_items_that_are_large_or_may_be_travel_one_by_one_at_first(
    item: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    cut = cutting.Cutter.cut

    def noted(self: Any, size: int) -> Any:
        stretch = cut(self, size)
        sizes.append(stretch.items if stretch is not None else 0)
        return stretch

    monkeypatch.setattr(cutting.Cutter, "cut", noted)
    assert list(mrpy.pmap(lambda x: 1, [item] * 64, backend="processes", workers=2)) == [1] * 64
    assert sizes[:2] == [1, 1]


@over_both
def test_a_run_within_a_chain_that_is_counted_is_cut_short_too(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutting, "BUDGET", AT_ONCE)
    inner = mrpy.pmap(lambda x: x + 1, range(2000), backend=backend, workers=2).enumerate()
    outer = mrpy.pmap(max, inner, backend=backend, workers=2, buffersize=20)
    assert list(outer) == list(range(1, 2001))


def test_what_all_items_have_in_common_does_not_make_them_large() -> None:
    """They travel with it once, and it is here once."""
    big, large = "x" * 1_000_000, [str(n) * 1_000_000 for n in range(10)]
    sources: dict[str, Any] = {
        "in each": zip(itertools.repeat(big), range(10_000)),
        "each": itertools.repeat(big),
        "in two each": itertools.product((text[n:] for text in large for n in range(40)), "ab"),
        "another each": ((big[n:], big) for n in range(1000)),
    }
    taken = {}
    for name, source in sources.items():
        reader = Pulls(iter(source))
        reader.enough = BYTES
        taken[name] = len(reader.take(600))
    assert taken == {"in each": 600, "each": 600, "in two each": 256, "another each": 256}


def test_chunks_grow_at_once_where_bytes_are_not_those_of_items() -> None:
    chunker = Chunker("auto", 2)
    chunker.learn(1, 1e-6, BYTES // 10)
    assert chunker.size(None) == 10
    chunker.learn(10, 1e-5, BYTES // 10)
    assert chunker.size(None) == 100


@pytest.mark.parametrize("with_it", [
    lambda table, n: table, lambda table, n: (n, table), lambda table, n: [table, n], lambda table, n: {"n": n, "table": table},
])
def test_what_all_results_have_in_common_does_not_make_them_large(with_it: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes once with each chunk: the smaller these are, the more often."""
    chunks: list[int] = []
    learn = Chunker.learn

    def heard(chunker: Chunker, items: int, seconds: float, nbytes: int, *, sure: bool = False) -> float | None:
        chunks.append(items)
        return learn(chunker, items, seconds, nbytes, sure=sure)

    monkeypatch.setattr(Chunker, "learn", heard)
    table = {n: str(n) * 3 for n in range(20_000)}
    assert sum(1 for _ in mrpy.pmap(partial(with_it, table), range(2000), backend="processes", workers=2)) == 2000
    assert len(chunks) < 100


def test_items_of_no_bytes_for_ever_are_no_error() -> None:
    """What an item takes is averaged over time: it became less than any number can be divided by."""
    chunker = Chunker("auto", 2)
    chunker.learn(1, 0.01, 1000)
    for _ in range(1200):
        chunker.learn(1, 0.01, 0)
    assert chunker.size(None) >= 1


def test_what_came_before_an_error_of_the_source_comes_wherever_that_is() -> None:
    """Chunks are pulled some items at a time: the error may be that of the first of some."""

    def source(end: int) -> Iterator[int]:
        yield from range(end)
        raise ValueError(end)

    for end in range(6000, 6300):
        got: list[int] = []
        with pytest.raises(ValueError, match=str(end)):
            got.extend(mrpy.pmap(abs, source(end), backend="serial"))
        assert got == list(range(end))


@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize("end", [0, 1, 2, 9, 10, 11])
def test_an_error_behind_the_first_item_does_not_take_that_with_it(end: int, backend: str) -> None:
    def source() -> Iterator[int]:
        yield from range(end)
        raise ValueError(end)

    got: list[int] = []
    with pytest.raises(ValueError, match=str(end)):
        got.extend(mrpy.pmap(abs, source(), backend=backend, workers=2, buffersize=20, chunksize=10))
    assert got == list(range(end))

"""The rest of a chunk that runs, given back since others have nothing to do; and chunks parted at a bad item."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from operator import add
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import MORE, REDUCED

import mrpy
from mrpy.errors import ItemTimeout, item_of
from mrpy.mapreduce import cut_again
from mrpy.mapreduce.chunking import Chunker
from mrpy.mapreduce.chunks import Chunk, Outcome, said
from mrpy.mapreduce.cut_again import BRIEF, PATIENCE, ask_back, patience
from mrpy.mapreduce.folds import Fold, FoldChunk, reduction
from mrpy.mapreduce.kernels import MapChunk
from mrpy.mapreduce.rules import Rules
from mrpy.mapreduce.slots import Slot
from mrpy.mapreduce.steps import Map
from mrpy.scheduler import rests
from mrpy.scheduler.calls import apart
from mrpy.scheduler.job import Job

over_both = pytest.mark.parametrize("backend", ["threads", "processes"])


# ---- the iterator ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [[0, 1, 2, 3], (0, 1, 2, 3), range(4), range(10**30, 10**30 + 4), "abcd", b"abcd"])
def test_what_was_not_begun_is_counted_and_does_not_come(data: Any) -> None:
    items = iter(data)
    with rests.offered(items, heard=True) as rest:
        next(items)
        assert (rest.left, rest.was_given) == (3, False)
        rests.ask(threading.get_ident())
        assert (rest.left, rest.was_given) == (3, True)
        assert list(items) == []
        rests.ask(threading.get_ident())
        assert rest.left == 3
    rests.ask(threading.get_ident())  # nobody there any more


def test_who_is_not_heard_gives_nothing_back() -> None:
    items = iter([1, 2])
    with rests.offered(items, heard=False):
        rests.ask(threading.get_ident())
        assert list(items) == [1, 2]


def test_after_an_inner_run_the_outer_one_is_asked_again() -> None:
    outer, inner = iter([1, 2]), iter([3, 4])
    with rests.offered(outer, heard=True) as rest:
        with rests.offered(inner, heard=True):
            pass
        rests.ask(threading.get_ident())
        assert rest.was_given
    assert list(inner) == [3, 4]


def test_a_run_within_a_task_does_not_hear_what_the_task_is_asked() -> None:
    def ask(n: int) -> int:
        rests.ask(threading.get_ident())
        return n

    def inner(n: int) -> int:
        return sum(mrpy.pmap(ask, range(n), backend="serial"))

    kernel = MapChunk((Map(inner),), Rules(seed=1))
    value, note = apart(kernel(Chunk(0, [3, 4, 5], gives_back=True)))
    assert (value, said(note).done) == ([3], 1)


def test_another_thread_loses_no_item() -> None:
    """However the two meet: what was taken and what is left are all."""
    for _ in range(300):
        taken: list[int] = []
        items = iter(range(20_000))
        with rests.offered(items, heard=True) as rest:
            asker = threading.Thread(target=rests.ask, args=(threading.get_ident(),))
            asker.start()
            taken.extend(map(abs, items))
            asker.join()
            assert taken == list(range(len(taken)))
            assert len(taken) + rest.left == 20_000


# ---- the kernel --------------------------------------------------------------------------------------------


class Asked:
    """Runs chunks; is asked at some items, and fails at some."""

    def __init__(self, at: set[int], bad: set[int], on_error: Any, retries: int) -> None:
        self.at, self.bad = at, bad
        self.ran: list[int] = []
        self.kernel: Any = MapChunk((Map(self._item),), Rules(on_error, retries=retries, seed=5))

    def _item(self, n: int) -> tuple[int, float]:
        self.ran.append(n)
        if n in self.at:
            rests.ask(threading.get_ident())
        number = float(mrpy.rng().random())
        if n in self.bad:
            raise ValueError(n)
        return n, number

    def all(self, items: Any) -> list[Any]:
        place, values = 0, []
        while place < len(items):
            result, note = apart(self.kernel(Chunk(place, items[place:], gives_back=True)))
            done = said(note).done
            assert done is None or 0 < done < len(items) - place
            values += result.values if isinstance(result, Outcome) else result
            place += len(items) - place if done is None else done
        return values


places = st.sets(st.integers(0, 29), max_size=6)


@settings(deadline=None)
@given(at=places, bad=places, on_error=st.sampled_from(["return", str]), retries=st.sampled_from([0, 1]))
def test_in_parts_each_item_has_its_own_place_and_numbers(at: set[int], bad: set[int], on_error: Any, retries: int) -> None:
    whole = Asked(set(), bad, on_error, 0)
    asked = Asked(at, bad, on_error, 0 if bad else retries)
    assert asked.all(range(30)) == whole.all(list(range(30)))
    assert asked.ran == list(range(30))


def test_what_was_meant_for_the_chunk_before_takes_nothing_away() -> None:
    class AskedEarly:
        asked = 0

        def over(self, items: Iterator[int]) -> Iterator[int]:
            self.asked += 1
            if self.asked == 1:
                rests.ask(threading.get_ident())
            return map(abs, items)

    step: Any = AskedEarly()
    kernel = MapChunk((step,), Rules(seed=1))
    assert kernel(Chunk(0, [1, 2, 3], gives_back=True)) == [1, 2, 3]
    assert step.asked > 1


class AskedInFolds(Asked):
    """The same in reductions, and in what else goes through chunks leaf by leaf."""

    def __init__(self, at: set[int], on_error: Any, fold: Fold) -> None:
        super().__init__(at, {5, 17}, on_error, 0)
        self.fold = fold
        self.kernel = FoldChunk(self.kernel.steps, fold, self.kernel.rules)

    def all(self, items: Any) -> Any:
        place, nodes = 0, []
        while place < len(items):
            made, note = apart(self.kernel(Chunk(place, items[place:], gives_back=True, largest=4)))
            done = said(note).done
            assert done is None or 0 < done < len(items) - place
            nodes += made
            place += len(items) - place if done is None else done
        return self.fold.whole(nodes)


def in_brackets(left: Any, right: Any) -> Any:
    """An operator that shows how it was applied."""
    return f"({left}{right})"


def as_list(items: Iterator[Any]) -> list[Any]:
    return list(items)


def as_it_is(value: Any) -> Any:
    return value


@pytest.mark.parametrize("on_error", ["skip", str])
@pytest.mark.parametrize(
    "fold", [reduction(in_brackets), Fold(as_list, add, as_it_is, exact=True)], ids=["in leaves", "exact"]
)
@settings(deadline=None, max_examples=30 * MORE)
@given(at=st.sets(st.integers(0, 299), max_size=6))
def test_a_reduction_in_parts_is_the_same_to_the_last_bracket(fold: Fold, on_error: Any, at: set[int]) -> None:
    whole, asked = AskedInFolds(set(), on_error, fold), AskedInFolds(at, on_error, fold)
    assert asked.all(range(300)) == whole.all(list(range(300)))
    assert asked.ran == list(range(300))


def test_an_exact_fold_is_parted_between_any_items() -> None:
    asked = AskedInFolds({3}, "raise", Fold(as_list, add, as_it_is, exact=True))
    made, note = apart(asked.kernel(Chunk(0, range(9), gives_back=True)))
    assert ([n for n, _ in made[0].value], said(note).done) == ([0, 1, 2, 3], 4)


# ---- whole runs --------------------------------------------------------------------------------------------


def meets_another(folder: Path, quick: int) -> Callable[[int], int]:
    """A function that is quick at first; then each call takes long, until one comes elsewhere."""

    def function(n: int) -> int:
        import os

        if n >= quick:
            (folder / f"{os.getpid()}-{threading.get_ident()}").touch()
            until = time.monotonic() + 0.1
            while len(list(folder.iterdir())) < 2 and time.monotonic() < until:
                time.sleep(0.005)
        return n * n

    return function


@over_both
@pytest.mark.parametrize("quick", [2, 50, 1000])
@pytest.mark.parametrize("kind", ["range", "generator", "unordered", "timeout", "progress"])
def test_dear_items_behind_cheap_ones_are_shared(backend: Any, quick: int, kind: str, tmp_path: Path) -> None:
    count = quick + 40
    items: Any = (n for n in iter(range(count))) if kind == "generator" else range(count)
    more: dict[str, Any] = {"unordered": {"ordered": False}, "timeout": {"timeout": 100}, "progress": {"progress": True}}.get(kind, {})
    with mrpy.session(backend, workers=2):
        list(mrpy.pmap(abs, range(100)))
        made = list(mrpy.pmap(meets_another(tmp_path, quick), items, **more))
    assert (sorted(made) if kind == "unordered" else made) == [n * n for n in range(count)]
    assert len(list(tmp_path.iterdir())) == 2, "one did all that takes long, and the other had nothing to do"


def rows_written(run: Any) -> Any:
    with TemporaryDirectory() as folder:
        written = run.to_jsonl(f"{folder}/here")
        return list(mrpy.read_jsonl(written.paths))


REDUCTIONS: dict[str, tuple[Callable[[Any], Any], dict[str, Any]]] = {
    **{name: (reduced, {}) for name, reduced in REDUCED.items()},
    "failing": (REDUCED["failing"], {"on_error": "skip"}),
    "spilled": (REDUCED["group_by"], {"memory": 2000}),
    "sorted on disk": (REDUCED["sorted"], {"memory": 2000}),
    "mean": (lambda run: run.mean().hex(), {}),
    "written": (rows_written, {}),
}


@over_both
@pytest.mark.parametrize("what", REDUCTIONS)
def test_what_reduces_shares_dear_items_too(backend: Any, what: str, tmp_path: Path) -> None:
    quick, (reduced, options) = 300, REDUCTIONS[what]
    meet = meets_another(tmp_path, quick)
    with mrpy.session(backend, workers=2, seed=1):
        mrpy.pmap(abs, range(100)).count()
        made = reduced(mrpy.pmap(meet, range(quick + 100), **options))
    assert len(list(tmp_path.iterdir())) == 2, "one did all that takes long"
    with mrpy.session("serial", seed=1):
        assert made == reduced(mrpy.pmap(lambda n: n * n, range(quick + 100), **options))


@over_both
def test_an_async_run_shares_too(backend: Any, tmp_path: Path) -> None:
    async def run() -> list[int]:
        return [each async for each in mrpy.pmap(meets_another(tmp_path, 50), range(90))]

    with mrpy.session(backend, workers=2):
        list(mrpy.pmap(abs, range(100)))
        assert asyncio.run(run()) == [n * n for n in range(90)]
    assert len(list(tmp_path.iterdir())) == 2


@over_both
@pytest.mark.parametrize("on_error", ["skip", "return"])
def test_what_fails_amid_a_rest_is_told_at_its_own_place(backend: Any, on_error: Any, tmp_path: Path) -> None:
    meet = meets_another(tmp_path, 10)

    def some_fail(n: int) -> int:
        meet(n)
        if n % 7 == 3:
            raise ValueError(n)
        return n + mrpy.rng().integers(0, 1000)

    def run(where: Any) -> Any:
        with mrpy.session(where, workers=2):
            made = mrpy.pmap(some_fail, range(60), on_error=on_error, seed=3)
            found = [(str(each), item_of(each)) if isinstance(each, ValueError) else int(each) for each in made]
            return found, made.skipped.count, [failure.item for failure in made.skipped.failures]

    found = run(backend)
    assert len(list(tmp_path.iterdir())) == 2
    assert found == run("serial")


@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_neighbours_of_many_that_overrun_are_run_again_once(backend: Any, tmp_path: Path) -> None:
    """All of a chunk was sent again for each of them."""

    def function(n: int) -> int:
        if n < 4:
            return n
        if n % 2:
            time.sleep(60)
        with open(tmp_path / "ran", "a", encoding="utf-8") as file:
            file.write(f"{n}\n")
        time.sleep(0.02)
        return n

    with mrpy.session(backend, workers=2):
        made = list(mrpy.pmap(function, range(16), timeout=0.4, on_error="return"))
    assert [n for n, each in enumerate(made) if isinstance(each, ItemTimeout)] == [5, 7, 9, 11, 13, 15]
    assert [each for each in made if not isinstance(each, Exception)] == [0, 1, 2, 3, 4, 6, 8, 10, 12, 14]
    assert max(Counter((tmp_path / "ran").read_text(encoding="utf-8").split()).values()) <= 3


@over_both
def test_a_bar_counts_what_was_given_back_once(backend: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.progress import Progress

    steps: list[float] = []
    monkeypatch.setattr(Progress, "advance", lambda _self, _line, step=1: steps.append(step))
    with mrpy.session(backend, workers=2):
        list(mrpy.pmap(abs, range(100)))
        assert len(list(mrpy.pmap(meets_another(tmp_path, 50), range(90), progress=True))) == 90
    assert len(list(tmp_path.iterdir())) == 2
    assert sum(steps) == 90


def test_who_has_several_items_is_asked_again_and_again_ever_more_seldom() -> None:
    slots: dict[Any, Slot] = {n: Slot(Chunk(n, [1, 2], gives_back=True), []) for n in range(2)}
    answers = [False, True, False, False]
    job: Any = SimpleNamespace(ask_back=lambda key: answers.pop(0))
    for times, asked in enumerate([[False, True], [False, True]]):
        assert patience(slots, times, few=False) == PATIENCE * 2**times
        assert patience(slots, times, few=True) == BRIEF * 2**times
        ask_back(slots, job)
        assert [slot.asked for slot in slots.values()] == asked
    slots[2] = Slot(Chunk(9, [1], gives_back=True), [])
    assert patience({2: slots[2]}, 0, few=True) is None


@over_both
def test_nobody_is_asked_as_long_as_all_have_something_to_do(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what is to be one large part, of a reduction whose parts are large, is many."""
    asked: list[bool] = []
    ask = Job.ask_back
    monkeypatch.setattr(Job, "ask_back", lambda self, key: asked.append(ask(self, key)) or asked[-1])
    monkeypatch.setattr(cut_again, "PATIENCE", 0.002)
    with mrpy.session(backend, workers=2):
        mrpy.pmap(abs, range(100)).count()
        mrpy.pmap(lambda n: time.sleep(0.02), range(60)).count()
    assert asked.count(False) >= 2


def test_who_was_asked_says_what_comes_next() -> None:
    chunker = Chunker("auto", 2)
    chunker.learn(1000, 0.001, 8000)
    chunker.learn(1, 0.5, 8, sure=True)
    assert chunker.size(57) == 1


def large_behind(slow: int, seconds: float, small: int, large: int) -> Callable[[int], bytes]:
    def function(n: int) -> bytes:
        time.sleep(seconds if n == slow else 0.001)
        return bytes(small if n <= slow else large)

    return function


@over_both
@pytest.mark.parametrize(
    ("function", "count", "options"),
    [
        (large_behind(100, 0.4, 1000, 200_000), 400, {"buffer_bytes": 2_000_000}),
        (large_behind(20, 5.0, 10, 5000), 80, {"buffer_bytes": 20_000, "timeout": 0.15, "on_error": "return"}),
        (large_behind(1500, 0.5, 10, 10), 2000, {"buffersize": 40}),
    ],
)
def test_what_is_put_back_is_sent_whatever_waits_behind_it(
    backend: Any, function: Callable[[int], bytes], count: int, options: dict[str, Any]
) -> None:
    """The window was closed by what was done behind the gap, which nobody could take before the gap was filled."""
    with mrpy.session(backend, workers=2):
        assert sum(1 for _ in mrpy.pmap(function, (i for i in range(count)), **options)) == count


def test_a_large_result_behind_what_is_put_back_closes_no_window() -> None:
    def function(n: int) -> int | bytes:
        if n == 2000:
            time.sleep(0.5)
            return bytes(200_000_000)
        time.sleep(0.0005)
        return n

    with mrpy.session("threads", workers=2):
        assert sum(1 for _ in mrpy.pmap(function, (i for i in range(3000)))) == 3000


def test_what_sleeps_in_c_is_not_cut_short(tmp_path: Path) -> None:
    import ctypes

    def function(n: int) -> int:
        if n < 50:
            return 0
        (tmp_path / str(n)).touch()
        return int(ctypes.CDLL(None).poll(None, 0, 150))

    with mrpy.session("processes", workers=2):
        list(mrpy.pmap(abs, range(100)))
        assert set(mrpy.pmap(function, range(62))) == {0}


def test_who_is_long_at_one_is_not_asked_while_all_have_something_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts that were to take long became many small ones."""

    def function(n: int) -> int:
        while not (tmp_path / "go").exists():
            time.sleep(0.01)
        return n

    with mrpy.session("processes", workers=2) as session:
        (tmp_path / "go").touch()
        assert list(mrpy.pmap(function, range(200))) == list(range(200))
        (tmp_path / "go").unlink()
        asks = session.driver.backend.ask_back
        given: list[bool] = []

        def ask_back(key: Any) -> bool:
            given.append(asks(key))
            if len(given) > 4:
                (tmp_path / "go").touch()
            return given[-1]

        monkeypatch.setattr(session.driver.backend, "ask_back", ask_back)
        assert list(mrpy.pmap(function, range(200))) == list(range(200))
        assert given[:4] == [False] * 4


@pytest.mark.skipif(rests.ASK is None, reason="no such signal here")
def test_a_worker_whose_task_unblocks_all_signals_may_be_asked() -> None:
    def unblocks(n: int) -> int:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        assert rests.ASK is not None
        os.kill(os.getpid(), rests.ASK)
        return n

    with mrpy.session("processes", workers=1):
        worker = mrpy.submit(os.getpid).result()
        assert sorted(mrpy.pmap(unblocks, range(200))) == list(range(200))
        assert mrpy.submit(os.getpid).result() == worker

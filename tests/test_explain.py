"""A plan in words and as a picture: without running anything, and afterwards with where the time went."""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import re
import shutil
import time
import types
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import MagicMock, Mock
from xml.etree import ElementTree

import pytest
from laws import LOCAL

import mrpy

over_local = pytest.mark.parametrize("backend", LOCAL)
DRAWS = importlib.util.find_spec("graphviz") is not None and shutil.which("dot") is not None


class Tap(Iterator[int]):
    def __init__(self) -> None:
        self.pulled = 0

    def __next__(self) -> int:
        self.pulled += 1
        if self.pulled > 20:
            raise StopIteration
        return self.pulled


def named(x: int) -> int:
    return x


SHOWN: dict[str, tuple[Callable[[Any], Any], str]] = {
    "map": (lambda t: mrpy.stream(t).map(named), "items of a Tap -> map named"),
    "fused": (lambda t: mrpy.stream(t).map(abs).filter(None).flat_map(range).starmap(max),
              "items of a Tap -> map abs -> filter bool -> flat_map range -> starmap max"),
    "genexpr": (lambda t: mrpy.parallel(x + 1 for x in t), "items of a Tap -> (x + 1 for x in t)"),
    "nested": (lambda t: mrpy.parallel(x + 1 for x in (y * 2 for y in t)),
               "items of a Tap -> (y * 2 for y in t) -> (x + 1 for x in (y * 2 for y in t))"),
    "batch": (lambda t: mrpy.stream(t).map(abs).batch(3).map(sum), "items of a Tap -> map abs -> batch 3 -> map sum"),
    "window": (lambda t: mrpy.stream(t).window(2), "items of a Tap -> window 2"),
    "take": (lambda t: mrpy.stream(t).map(abs).take(5), "items of a Tap -> map abs -> take 5"),
    "sorted": (lambda t: mrpy.stream(t).sorted(), "items of a Tap -> sorted"),
    "frequencies": (lambda t: mrpy.stream(t).frequencies().topk(2, 1), "items of a Tap -> frequencies -> topk"),
    "zip": (lambda t: mrpy.stream(t).zip("ab"), "items of a Tap -> zip"),
    "method": (lambda t: mrpy.stream(t).map(str.lower), "items of a Tap -> map str.lower"),
    "map object": (lambda t: mrpy.parallel(map(named, t)), "items of a Tap -> map named"),
    "mapreduce": (lambda t: mrpy.mapreduce(named, max, t), "items of a Tap -> map named -> by key -> reduce max"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("options", "row"),
    [
        ({}, None),
        ({"on_error": "skip"}, "an item that fails is left out"),
        ({"on_error": "skip", "max_errors": 3}, "an item that fails is left out, 3 at most"),
        ({"on_error": "return", "retries": 1}, "1 more attempt; its exception takes the place of an item that fails"),
        ({"on_error": repr, "timeout": 0.5}, "0.5 s for an item; what repr returns takes the place of an item that fails"),
        ({"retries": 2}, "2 more attempts"),
    ],
)
def test_explain_says_what_becomes_of_an_item_that_fails(options: dict[str, Any], row: str | None) -> None:
    text = mrpy.pmap(abs, [1], **options).explain()
    assert (f"\nerrors    {row}" in text) if row else ("errors" not in text)
    assert f"\nkept in   {__file__}" in mrpy.pmap(abs, [1], checkpoint=__file__, **options).explain()


def test_lines_of_explain_are_not_wider_than_a_screen() -> None:
    run = mrpy.stream(range(9))
    for _ in range(9):
        run = run.map(str.isprintable)
    lines = run.explain().split("\n")
    assert max(map(len, lines)) <= 88 and lines[1].startswith(" " * 12)


@pytest.mark.parametrize("name", SHOWN)
def test_printed_it_shows_its_plan_and_runs_nothing(name: str) -> None:
    make, text = SHOWN[name]
    tap = Tap()
    run = make(tap)
    assert str(run) == f"{run}" == text
    assert repr(run) == f"<ParallelIterator {text}>"
    assert text.split(" -> ")[-1].split(" ")[0] in run.explain()
    assert str(run.graph()).startswith("flowchart LR")
    assert tap.pulled == 0


def test_sources_are_shown_in_words() -> None:
    shown = {str(mrpy.stream(source)) for source in (range(3), [1, 2], "ab", {1: 2}, iter([1, 2]), zip([1], [2]))}
    assert shown == {
        "range(0, 3)", "2 items of a list", "2 items of a str", "1 item of a list",
        "zip of 1 item of a list, 1 item of a list",
    }  # fmt: skip


def test_a_huge_range_can_be_shown() -> None:
    for source in (range(2**70), iter(range(2**70)), enumerate(range(2**70)), zip(range(2**70), range(2**70))):
        run = mrpy.stream(source, backend="serial").map(str)
        assert run.explain() and str(run.graph())
        run.close()


def test_a_running_one_says_so() -> None:
    run = mrpy.pmap(abs, range(5), backend="serial")
    next(run)
    assert repr(run) == "<ParallelIterator range(0, 5) -> map abs, running>"


@over_local
def test_one_that_has_ended_says_so(backend: str) -> None:
    def run_over(*numbers: int) -> Any:
        return mrpy.pmap(lambda n: 1 // n, numbers, backend=backend)

    whole, stopped, failed, unused = run_over(1, 1), run_over(1, 1), run_over(1, 0), run_over(1)
    assert list(whole) == [1, 1]
    next(stopped)
    stopped.close()
    unused.close()
    with pytest.raises(ZeroDivisionError):
        list(failed)
    for run in (whole, stopped, failed, unused):
        assert repr(run).endswith(", ended>")
        assert list(run) == []

    async def through() -> list[int]:
        return [n async for n in run]

    run = mrpy.pmap(abs, [1, 2], backend=backend)
    assert asyncio.run(through()) == [1, 2]
    assert repr(run).endswith(", ended>")


def test_printing_never_raises() -> None:
    class Odd:
        def __iter__(self) -> Iterator[int]:
            return iter([1])

        def __repr__(self) -> str:
            raise RuntimeError("no repr")

        __str__ = __repr__

        def __call__(self, x: int) -> int:
            return x

    for run in (mrpy.stream(Odd(), backend="serial"), mrpy.pmap(Odd(), [1], backend="serial"), mrpy.stream([Odd()])):
        assert repr(run) and str(run) and run.explain() and str(run.graph())


# ---- explain ---------------------------------------------------------------------------------------------------------


@over_local
def test_before_a_run_explain_says_what_will_be_done_and_why(backend: str) -> None:
    text = mrpy.stream(range(100), backend=backend, workers=2, chunksize=7, buffersize=30).map(abs).filter(None).explain()
    assert "range(0, 100) -> map abs -> filter bool" in text
    assert "2 steps fused into one task per chunk; the source is cut without being walked" in text
    assert "7 items each, as given" in text
    assert "30 items pulled and not yet yielded, at most" in text
    assert re.search(rf"backend +{backend}, {1 if backend == 'serial' else 2} workers? \(as given\)", text)
    assert "it ran" not in text


def test_explain_says_who_decided_on_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MRPY_BACKEND", "MRPY_WORKERS"):
        monkeypatch.delenv(name, raising=False)
    assert "(the default)" in mrpy.pmap(abs, [1]).explain()
    with mrpy.session("serial"):
        assert "serial, 1 worker (of the open session)" in mrpy.pmap(abs, [1]).explain()
    monkeypatch.setenv("MRPY_BACKEND", "threads")
    assert "(by the environment)" in mrpy.pmap(abs, [1]).explain()
    mrpy.configure(backend="serial")
    try:
        assert "(by configure())" in mrpy.pmap(abs, [1]).explain()
    finally:
        mrpy.configure()


def test_explain_shows_every_stage_of_a_chain() -> None:
    text = mrpy.stream(range(9), backend="serial").map(abs).batch(2).map(sum).sorted().explain()
    assert text.count("stage ") >= 3
    assert text.index("map abs") < text.index("batch 2") < text.index("sorted")
    assert "pulled by the consumer" in text


def test_unordered_and_bounded_runs_say_so() -> None:
    text = mrpy.pmap(abs, [1], ordered=False, buffer_bytes=10**6, backend="serial").explain()
    assert "as they are completed" in text
    assert "1,000,000 bytes" in text


def test_inside_a_task_it_says_that_all_is_serial() -> None:
    [text] = mrpy.pmap(lambda n: mrpy.pmap(abs, range(3), backend="threads").explain(), [1], backend="threads")
    assert "serial: inside a task everything is" in text


@over_local
def test_after_a_run_explain_says_where_the_time_went(backend: str) -> None:
    def slow_and_large(n: int) -> list[int]:
        time.sleep(0.004)
        return list(range(20_000))  # so that pickling it shows

    run = mrpy.pmap(slow_and_large, range(20), backend=backend, workers=2, chunksize=4)
    list(run)
    text = run.explain()
    assert "20 items in 5 chunks of 4" in text
    found = re.search(r"computing (\S+) s \((\d+)% of (\d) (\w+)\), pickling (\S+) s, idle (\S+) s", text)
    assert found is not None, text
    assert 0.07 < float(found[1]) < 2
    assert (found[3], found[4]) == ("1" if backend == "serial" else "2", backend)
    assert 0 <= int(found[2]) <= 100
    assert (float(found[5]) > 0) == (backend == "processes")
    assert re.search(r"the consumer: pickling \S+ s, waiting \S+ s", text)


@over_local
def test_a_run_that_was_left_is_explained_too(backend: str) -> None:
    run = mrpy.pmap(abs, itertools.count(), backend=backend, workers=2)
    for item in run:
        if item == 3:
            break
    during = run.explain()
    assert "it ran" in during
    run.close()
    assert "it ran" in run.explain()


@over_local
def test_a_reduction_is_explained_afterwards(backend: str) -> None:
    run = mrpy.stream(range(500), backend=backend, workers=2).map(abs)
    assert run.sum() == sum(range(500))
    assert "500 items" in run.explain()


@over_local
def test_each_stage_of_a_chain_has_its_own_account(backend: str) -> None:
    run = mrpy.stream(range(60), backend=backend, workers=2, chunksize=10).map(abs).batch(3).map(sum)
    assert sum(run) == sum(range(60))
    text = run.explain()
    assert "60 items in 6 chunks" in text
    assert "20 items in 2 chunks" in text


# ---- runs within runs ------------------------------------------------------------------------------------------------


def grouped(t: Any, **options: Any) -> Any:
    return mrpy.mapreduce(
        lambda x: (x % 3, x), lambda key, values: sum(values), t, lambda key, values: sum(values),
        partitions=5, workers=2, **options,
    )  # fmt: skip


@over_local
def test_a_mapreduce_is_explained_stage_by_stage(backend: str) -> None:
    run = grouped(map(named, range(60)), backend=backend, chunksize=10)
    before = run.explain()
    assert "range(0, 60) -> map named -> map " in before
    assert "2 steps fused into one task per chunk; the source is cut without being walked" in before
    assert re.search(r"combiner +grouped.*, within", before)
    assert re.search(r"parts +5, ", before)
    assert "10 items each, as given" in before
    assert "one task per part" in before
    assert len(re.findall(rf"backend +{backend}, ", before)) == 2
    assert before.index("map named") < before.index("parts ") < before.index("one task per part")
    assert "nothing to compute" not in before and "it ran" not in before
    assert len(list(run)) == 3
    after = run.explain()
    assert "60 items in 6 chunks of 10" in after
    assert "5 tasks" in after
    assert after.count("computing ") == after.count("the consumer: ") == 2


def test_what_stands_before_and_behind_a_mapreduce_is_explained_too() -> None:
    text = grouped(mrpy.pmap(abs, range(9)).batch(2).unbatch(), backend="serial").map(str).explain()
    assert text.index("map abs") < text.index("batch 2") < text.index("one task per part") < text.index("map str")


def test_the_picture_of_a_mapreduce_shows_map_tasks_parts_and_reduce_tasks() -> None:
    text = str(grouped(map(named, range(9)), backend="serial").map(str).graph())
    boxes = dict(re.findall(r'(n\d+)\["([^"]*)"\]', text))
    arrows = re.findall(r"(n\d+) --> (n\d+)", text)
    said = {(boxes[begin].split(":")[0], boxes[end].split(":")[0]) for begin, end in arrows}
    assert {("range(0, 9)", "chunk 0"), ("chunk 0", "part 0"), ("chunk 1", "part 0"), ("chunk 0", "part 1"),
            ("part 0", "reduce 0"), ("part 1", "reduce 1"), ("reduce 0", "pairs")} <= said  # fmt: skip
    assert ("pairs", "chunk 0") in said, "the steps over the pairs"


INNER: dict[str, tuple[Callable[[], Any], str]] = {
    "chain": (lambda: itertools.chain((x + 1 for x in range(3)), map(str, range(4))),
              "chain of [range(0, 3) -> (x + 1 for x in range(3))], [range(0, 4) -> map str]"),
    "zip": (lambda: zip((x + 1 for x in range(3)), map(str, range(4))),
            "zip of [range(0, 3) -> (x + 1 for x in range(3))], [range(0, 4) -> map str]"),
    "enumerate": (lambda: enumerate(map(str, range(4))), "enumerate of [range(0, 4) -> map str]"),
    "nested": (lambda: enumerate(itertools.chain([7], map(str, range(4)))),
               "enumerate of chain of items of a list, [range(0, 4) -> map str]"),
}  # fmt: skip


@pytest.mark.parametrize("name", INNER)
def test_parts_that_run_by_themselves_are_shown(name: str) -> None:
    make, shown = INNER[name]
    expected = list(make())
    run = mrpy.parallel(make(), backend="serial")
    assert str(run) == shown
    text = run.explain()
    assert "nothing to compute" not in text
    for part in re.findall(r"\[(range[^\]]*)\]", shown):
        assert f"stage     {part}\n" in text
        assert f"chunk 0: {part.split(' -> ')[1]}" in str(run.graph())
    assert list(run) == expected
    assert text.count("it ran") == 0 < run.explain().count("it ran")


def test_the_other_iterators_of_zip_and_chain_are_shown() -> None:
    for verb in ("zip", "chain"):
        other = mrpy.pmap(named, range(4), backend="serial", chunksize=2)
        run = getattr(mrpy.pmap(abs, range(4), backend="serial"), verb)(other, [1, 2, 3, 4])
        assert str(run) == f"range(0, 4) -> map abs -> {verb} [range(0, 4) -> map named]"
        assert "stage     range(0, 4) -> map named\n" in run.explain()
        assert "chunk 0: map named" in str(run.graph()) and "chunk 0: map abs" in str(run.graph())
        list(run)
        assert "4 items in 2 chunks of 2" in run.explain()


def test_copies_of_a_run_keep_its_plan() -> None:
    one, two = mrpy.pmap(named, range(4), backend="serial").tee()
    _, peeked = mrpy.pmap(named, range(4), backend="serial").peek()
    for run, name in ((one, "tee"), (two, "tee"), (peeked, "peek")):
        assert str(run) == f"range(0, 4) -> map named -> {name}"
        assert "one step; the source is cut" in run.explain()
        assert "chunk 0: map named" in str(run.graph())
        assert list(run) == [0, 1, 2, 3]
        assert "it ran" in run.explain()


def test_a_run_over_a_run_shows_both() -> None:
    run = mrpy.mapreduce(named, max, mrpy.pmap(abs, range(4), backend="serial").take(4), backend="serial")
    assert str(run) == "range(0, 4) -> map abs -> take 4 -> map named -> by key -> reduce max"
    assert run.explain().count("one step; ") == 2
    assert "chunk 0: map abs" in str(run.graph()) and "chunk 0: map named" in str(run.graph())


def test_attributes_of_a_foreign_source_are_not_taken_for_a_plan() -> None:
    class Odd(Tap):
        upstream = "abc"
        label = 7

    run = mrpy.stream(Odd(), backend="serial").map(abs)
    assert str(run) == "items of a Odd -> map abs"
    assert run.explain().startswith("stage     items of a Odd -> map abs")
    assert "items of a Odd" in str(run.graph())


# ---- pictures ----------------------------------------------------------------------------------------------------------------

CHAIN = {
    "one": lambda: mrpy.stream(range(9), backend="serial").map(abs),
    "plain": lambda: mrpy.stream(range(9), backend="serial"),
    "chain": lambda: mrpy.stream(range(9), backend="serial").map(abs).batch(2).map(sum).sorted(),
    "quotes": lambda: mrpy.parallel((f'<"{x}"> & #1;' for x in range(3)), backend="serial"),
    "zip": lambda: mrpy.stream(range(9)).zip(mrpy.stream("ab").map(str)),
    "unordered": lambda: mrpy.pmap(abs, range(9), ordered=False),
}


@pytest.mark.parametrize("name", CHAIN)
def test_the_mermaid_text_is_well_formed(name: str) -> None:
    lines = str(CHAIN[name]().graph()).splitlines()
    assert lines[0] == "flowchart LR"
    boxes = {}
    for line in lines[1:]:
        box = re.fullmatch(r'    (n\d+)\["([^"<>]*)"\]', line)
        arrow = re.fullmatch(r"    (n\d+) --> (n\d+)", line)
        assert box or arrow, line
        if box:
            boxes[box[1]] = box[2]
        if arrow:
            assert {arrow[1], arrow[2]} <= boxes.keys()
    assert boxes


def test_the_picture_shows_tasks_and_where_they_meet() -> None:
    text = str(mrpy.stream(range(9), backend="serial").map(abs).filter(None).graph())
    assert "chunk 0: map abs → filter bool" in text
    assert "in order" in text
    assert "as completed" in str(mrpy.pmap(abs, range(9), ordered=False).graph())


def test_a_notebook_gets_a_bundle() -> None:
    run = mrpy.stream(range(9), backend="serial").map(abs)
    bundle = run._repr_mimebundle_(include=None, exclude=None)
    assert bundle["text/plain"] == repr(run)
    assert ("image/svg+xml" in bundle) == DRAWS
    assert run.graph()._repr_mimebundle_()["text/plain"].startswith("flowchart LR")


@pytest.mark.skipif(not DRAWS, reason="no graphviz here")
@pytest.mark.parametrize("name", CHAIN)
def test_the_svg_is_one(name: str) -> None:
    svg = CHAIN[name]().graph().svg()
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg")
    assert "in order" in svg or name in ("plain", "unordered", "zip")


def test_without_graphviz_there_is_no_svg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "graphviz", None)
    graph = mrpy.stream(range(9)).map(abs).graph()
    assert graph.svg() is None
    assert list(graph._repr_mimebundle_()) == ["text/plain"]


def test_with_the_package_but_without_its_program_there_is_no_svg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "graphviz", types.ModuleType("graphviz"))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert mrpy.stream(range(9)).map(abs).graph().svg() is None


def test_drawing_hands_the_boxes_to_graphviz(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []

    class Digraph:
        def __init__(self, **_: Any) -> None: ...

        def node(self, name: str, label: str) -> None:
            drawn.append((name, label))

        def edge(self, begin: str, end: str) -> None:
            drawn.append((begin, end))

        def pipe(self, format: str, encoding: str) -> str:
            return f"<{format}/>"

    package = types.ModuleType("graphviz")
    package.Digraph, package.escape = Digraph, lambda text: text  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "graphviz", package)
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/dot")
    run = mrpy.stream(range(9)).map(abs)
    assert run._repr_mimebundle_()["image/svg+xml"] == "<svg/>"
    assert ("n0", "range(0, 9)") in drawn


@pytest.mark.parametrize("kind", [Mock, MagicMock])
def test_a_mock_has_a_name(kind: Any) -> None:
    double = kind(side_effect=lambda x: 2 * x)
    assert list(mrpy.pmap(double, [1, 2], backend="serial")) == [2, 4]
    with mrpy.session("threads", workers=1):
        assert mrpy.submit(double, 3).result() == 6

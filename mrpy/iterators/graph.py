"""The task graph as a picture: SVG where graphviz is installed, Mermaid text where it is not."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

from mrpy.iterators.explain import upstream
from mrpy.mapreduce.plan import Plan
from mrpy.mapreduce.sources import shows_its_plan

TASKS = 3  # chunks that are drawn; the rest is three dots


class Graph:
    """Boxes and arrows. ``str(graph)`` is Mermaid; ``graph.svg()`` an SVG document, or None where the
    package ``graphviz`` or its program ``dot`` is missing. A notebook shows the one it can."""

    def __init__(self) -> None:
        self._boxes: list[tuple[str, str]] = []
        self._arrows: list[tuple[str, str]] = []

    def box(self, text: str) -> str:
        """Add a box; return its name."""
        name = f"n{len(self._boxes)}"
        self._boxes.append((name, text))
        return name

    def arrow(self, begin: str, end: str) -> None:
        """Connect two boxes."""
        self._arrows.append((begin, end))

    def __str__(self) -> str:
        boxes = [f'    {name}["{_escaped(text)}"]' for name, text in self._boxes]
        arrows = [f"    {begin} --> {end}" for begin, end in self._arrows]
        return "\n".join(["flowchart LR", *boxes, *arrows])

    def svg(self) -> str | None:
        """The picture, drawn by graphviz."""
        try:
            import graphviz  # optional: the extra "graph"
        except ImportError:
            return None
        if shutil.which("dot") is None:
            return None
        drawing = graphviz.Digraph(graph_attr={"rankdir": "LR"}, node_attr={"shape": "box"})
        for name, text in self._boxes:
            drawing.node(name, graphviz.escape(text))
        for begin, end in self._arrows:
            drawing.edge(begin, end)
        return str(drawing.pipe(format="svg", encoding="utf-8"))

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        svg = self.svg()
        shown = {"text/plain": str(self)}
        return {**shown, "image/svg+xml": svg} if svg is not None else shown


def draw(plan: Plan, graph: Graph, ordered: bool) -> str:
    """Add a plan to the picture: all that it comes from, some of its tasks, and the place where their
    results meet, which is returned."""
    source = _draw_source(plan, graph)
    if not plan.steps:
        return source
    meet = graph.box("in order" if ordered else "as completed")
    for task in _tasks(graph, "chunk", " → ".join(map(str, plan.steps))):
        graph.arrow(source, task)
        graph.arrow(task, meet)
    return meet


def draw_shuffle(sides: Sequence[Plan], graph: Graph, reduce: str, made: str) -> str:
    """The same for a MapReduce: map tasks, of which each gives to all parts, and a reduce task per part. What
    these make has a name."""
    sources = [_draw_source(plan, graph) for plan in sides]
    tasks = [_tasks(graph, "chunk", " → ".join(map(str, plan.steps))) for plan in sides]
    parts = _tasks(graph, "part")
    for source, theirs in zip(sources, tasks, strict=True):
        for task in theirs:
            graph.arrow(source, task)
            for part in parts:
                graph.arrow(task, part)
    meet = graph.box(made)
    for part, task in zip(parts, _tasks(graph, "reduce", reduce), strict=True):
        graph.arrow(part, task)
        graph.arrow(task, meet)
    return meet


def _draw_source(plan: Plan, graph: Graph) -> str:
    before = [source._draw(graph) for source in upstream(plan)]
    iterable = getattr(plan.source, "iterable", None)
    label = getattr(iterable, "label", "") if shows_its_plan(iterable) else ""
    source = graph.box(label or str(plan.source)) if label or not before else before[0]
    for previous in before:
        if source != previous:
            graph.arrow(previous, source)
    return source


def _tasks(graph: Graph, kind: str, text: str = "") -> list[str]:
    shown = [f"{kind} {number}: {text}" if text else f"{kind} {number}" for number in range(TASKS - 1)]
    return [graph.box(each) for each in (*shown, "...")]


def _escaped(text: str) -> str:
    for plain, code in (("&", "&amp;"), ('"', "&quot;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(plain, code)
    return text

"""How many bytes objects of the user's hold: what they share with others is nobody's, and none of their code runs."""

from __future__ import annotations

import collections
import datetime
import enum
import threading
import weakref
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

import mrpy
from mrpy.mapreduce.spill import RunFile
from mrpy.scheduler.held import held

TABLE = {number: str(number) for number in range(10_000)}


class Colour(enum.Enum):
    RED = 1


class Holds:
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


@dataclass
class Record:
    key: int
    text: str
    table: Any = None


def text(number: int = 0) -> str:
    return str(number) * 1000


@pytest.mark.parametrize(
    "attributes",
    [
        {"a": text(1)},
        {"a": [text(1)], "b": Colour.RED, "c": Holds, "d": text, "e": datetime},
        {"a": Holds(b={text(1): 1})},
        {"a": collections.deque([text(1)]), "b": datetime.datetime(2020, 1, 1), "c": Decimal(1)},
    ],
)
def test_an_object_holds_what_nothing_else_refers_to(attributes: dict[str, Any]) -> None:
    value = Holds(**attributes)
    attributes.clear()
    assert 1000 < held(value) < 3000


@pytest.mark.parametrize("kind", [list, dict, set, collections.deque])
def test_of_a_long_container_a_few_members_speak_for_all(kind: Any) -> None:
    each = {text(number): number for number in range(1000, 3000)}
    value = Holds(a=kind(each))
    del each
    assert 5 * 10**6 < held(value) < 10**7


class Refuses:
    __slots__ = ("a",)

    def refuse(self, *_: Any) -> Any:
        raise AssertionError("nobody may ask")

    __getattr__ = __getattribute__ = __sizeof__ = __len__ = __eq__ = __hash__ = __reduce_ex__ = refuse  # type: ignore[assignment]
    nbytes = property(refuse)


def test_no_code_of_the_users_runs() -> None:
    value = Refuses()
    value.a = text(1)
    assert 1000 < held(value) < 2000


def family() -> Any:
    parent = Holds(children=[])
    parent.children += [Holds(parent=parent, a=text(number)) for number in range(1000)]
    return parent.children[1]


def chain() -> Any:
    nodes = [Holds(a=text(0))]
    for number in range(1000):
        nodes.append(Holds(a=text(number), before=nodes[-1]))
    nodes[-1].all = weakref.ref(nodes[0]), nodes
    return nodes[-1]


@pytest.mark.parametrize(
    "made",
    [
        lambda: Holds(a=text(1), b=TABLE),
        lambda: Holds(a=text(1), b=Holds(c=[TABLE])),
        lambda: Holds(a=text(1), b=threading.Lock()),
        lambda: Holds(a=text(1), b=weakref.ref(Colour)),
        lambda: Holds(a=text(1), b=(number for number in range(3))),
        family,
        chain,
    ],
)
def test_an_object_counts_as_empty_that_shares_much_or_cannot_be_seen_through(made: Any) -> None:
    assert held(made()) == 0


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each piece has that goes to disk."""
    sizes: list[int] = []
    put = RunFile.put
    monkeypatch.setattr(RunFile, "put", lambda file, data: sizes.append(len(data)) or put(file, data))
    return sizes


@pytest.mark.parametrize("backend", ["serial", "threads"])
def test_objects_that_do_not_fit_into_memory_go_to_disk(backend: str, written: list[int]) -> None:
    records = [Record(-number, text(number)) for number in range(2000)]
    run = mrpy.stream(records, backend=backend, workers=2, memory=1 << 20)
    assert [each.key for each in run.sorted(lambda each: each.key)] == list(range(-1999, 1))
    assert len(written) > 100  # and 20 where they count as empty


def test_objects_that_share_a_table_do_not_go_to_disk_with_it(written: list[int]) -> None:
    tables = [dict(TABLE) for _ in range(3)]
    records = [Record(-number, text(number), tables[number % 3]) for number in range(2000)]
    run = mrpy.stream(records, backend="serial", memory=16 << 20)
    assert [each.key for each in run.sorted(lambda each: each.key)] == list(range(-1999, 1))
    assert not written  # nor did they when all objects counted as empty

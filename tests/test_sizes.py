"""How many bytes values take: what is measured may be anything of the user's, and no method of it is called."""

from __future__ import annotations

import sys
from collections import OrderedDict, defaultdict, namedtuple
from types import SimpleNamespace
from typing import Any

import pytest

import mrpy
from mrpy.scheduler.sizes import about, contents, size_of, weight

over_backends = pytest.mark.parametrize("backend", ["serial", "threads", "processes", "dask"])


def odd(kind: str) -> Any:
    """A container whose methods raise. Its class is made here, so that it travels by value."""

    def refuse(*_: Any) -> Any:
        raise ValueError("nobody may ask")

    names = ("__bool__", "__len__", "__iter__", "__getitem__", "__sizeof__", "keys", "values", "items")
    built: dict[str, Any] = {
        "dict": lambda: (dict, {"a": "x" * 1000}),
        "list": lambda: (list, ["x" * 1000]),
        "tuple": lambda: (tuple, ["x" * 1000]),
        "set": lambda: (set, ["x" * 1000]),
        "str": lambda: (str, "x" * 1000),
    }
    builtin, value = built[kind]()
    rebuilt = {"__reduce__": lambda self: (str, ("opened",))}  # pickle itself asks lists and dicts for items
    return type("Odd", (builtin,), {**dict.fromkeys(names, refuse), **rebuilt})(value)


KINDS = ["dict", "list", "tuple", "set", "str"]
over_kinds = pytest.mark.parametrize("kind", KINDS)


@over_kinds
@over_backends
def test_values_that_can_be_asked_nothing_are_items_and_results_as_any(kind: str, backend: str) -> None:
    values = [odd(kind) for _ in range(6)]
    with mrpy.session(backend, workers=2):
        assert len(list(mrpy.pmap(lambda _: odd(kind), range(6)))) == 6
        assert list(mrpy.pmap(lambda _: 1, values)) == [1] * 6
        assert mrpy.submit(lambda value: (value, 1), values[0]).result()[1] == 1
        assert len(list(mrpy.stream(values).repartition(2))) == 6
        assert len(list(mrpy.stream(values).sorted(key=lambda _: 1))) == 6
        [(_, group)] = mrpy.stream(values).group_by(lambda _: 1)
        assert len(group) == 6
        mrpy.preduce(lambda one, _: one, values)


@over_kinds
def test_values_that_can_be_asked_nothing_are_measured_by_what_they_hold(kind: str) -> None:
    value = odd(kind)
    assert kind == "str" or all(1000 < size < 4000 for size in (weight(value), size_of(value), weight([value])))
    assert kind == "set" or contents(value) > 1000
    assert kind not in ("list", "tuple") or about(value) > 1000


def test_a_value_is_of_the_kind_it_is_not_of_that_which_it_claims() -> None:
    class Claims:
        @property
        def __class__(self) -> Any:
            return list

    class Raises:
        @property
        def __class__(self) -> Any:
            raise ValueError

    for value in (Claims(), Raises()):
        assert all(size(value) < 1000 for size in (weight, size_of, contents, about))


@pytest.mark.parametrize(
    "value",
    [
        ["x" * 1000],
        OrderedDict(a="x" * 1000),
        defaultdict(list, a="x" * 1000),
        namedtuple("Pair", "a b")("x" * 1000, 1),  # noqa: PYI024
        {"x" * 1000},
        frozenset({"x" * 1000}),
        {"a": ["x" * 1000]},
    ],
    ids=lambda value: type(value).__name__,
)
def test_containers_weigh_what_they_hold(value: Any) -> None:
    assert 1000 < weight(value) < 4000


@pytest.mark.parametrize("one", [7, 2**70, 0.5, 1j, True, None, "text", b"bytes"])
def test_many_plain_values_are_asked_in_c_and_take_what_each_weighs(one: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    values = [one, 1, "é" * 100] * 10
    expected = sys.getsizeof(values) + sum(map(weight, values))
    assert size_of([*values, [], (1, 2)]) > expected  # what is not plain counts as ever
    monkeypatch.setattr("mrpy.scheduler.sizes.weight", None)
    assert size_of(values) == expected


def test_a_dict_that_is_changed_while_it_is_measured_is_measured() -> None:
    class Changes:
        @property
        def nbytes(self) -> int:
            held[len(held)] = 1
            return 1000

    held: dict[int, Any] = {0: Changes(), 1: Changes()}
    assert weight(held) > 1000


def test_no_size_is_asked_for_that_is_computed_in_python() -> None:
    class Table:
        def __sizeof__(self) -> int:
            asked.append(self)
            return 10**6

    asked: list[Any] = []
    assert all(size(Table()) < 1000 for size in (weight, size_of, contents, about))
    assert weight([Table()] * 10) < 10_000
    assert not asked


class Column:
    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes

    def memory_usage(self, *, index: bool, deep: bool) -> int:
        assert (index, deep) == (False, True)
        return sum(self.sizes)


class Frame:
    """What `weight` asks of a table of pandas, which the tests do without."""

    def __init__(self, columns: dict[str, list[int]], looked_at: list[int]) -> None:
        self.columns, self.looked_at = columns, looked_at
        self.shape = (len(next(iter(columns.values()))), len(columns))
        self.size = self.shape[0] * self.shape[1]

    def __sizeof__(self) -> int:
        raise AssertionError("it would walk all strings")

    @property
    def iloc(self) -> Frame:
        return self

    def __getitem__(self, at: tuple[slice, slice]) -> Frame:
        rows, columns = at
        some = Frame({name: self.columns[name][rows] for name in list(self.columns)[columns]}, self.looked_at)
        self.looked_at.append(some.size)
        return some

    def items(self) -> Any:
        return [(name, Column(sizes)) for name, sizes in self.columns.items()]


def test_a_table_of_pandas_weighs_what_is_in_it_as_seen_from_a_few_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=Frame))  # type: ignore[arg-type]
    looked_at: list[int] = []
    table = Frame({f"column {number}": [8, 108, 58] * 3_333 for number in range(100)}, looked_at)
    assert 5 * 10**6 < weight(table) < 2 * 10**8
    assert 5 * 10**7 < weight([table] * 10) < 2 * 10**9
    assert looked_at
    assert max(looked_at) < 2_000
    assert weight(Frame({"empty": []}, [])) < 1000


def test_a_table_of_pandas_that_cannot_be_asked_is_a_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    class Raises(Frame):
        @property
        def iloc(self) -> Frame:
            raise ValueError

    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=Frame))  # type: ignore[arg-type]
    assert weight(Raises({"a": [1]}, [])) < 1000

"""Keys that split, merge, or break other engines; inputs at the edge; reducers that are not what they should be."""

from __future__ import annotations

import collections
import datetime
import enum
import functools
import ipaddress
import math
import numbers
import operator
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import attrs
import numpy as np
import pytest
from laws import eventually
from watching import script_environment

import mrpy
from mrpy.errors import CheckFailed
from mrpy.mapreduce.partition import parts_of, stable_hash

BACKENDS = ("serial", "threads", "processes", "dask")


@dataclass(frozen=True)
class Measured:
    """A key with numbers in it."""

    value: float
    unit: Any = 0


@attrs.frozen
class Weighed:
    """The same of another library."""

    value: float


class Colour(enum.Enum):
    """A key of the user's."""

    RED = 1
    BLUE = 2


@dataclass(frozen=True)
class Point:
    """Another."""

    x: int
    y: float


KEYS: list[Any] = [
    "a", "b", b"a", None, (None, 1), (None, 1.0), 1, 1.0, True, 0, False, -0.0, Decimal(1), Fraction(1, 2), 0.5, Colour.RED,
    Colour.BLUE, Point(1, 2.0), Point(1, 2), (Point(0, 0.0), "x"), int, str, len, frozenset({1, 2}), frozenset({2.0, 1}), 2**70,
    float("inf"), range(3), 1j, "",
]  # fmt: skip


def listed(key: object, values: Iterator[Any]) -> list[Any]:
    return list(values)


@pytest.fixture(params=BACKENDS, scope="module")
def backend(request: Any) -> Iterator[str]:
    with mrpy.session(request.param, workers=2):
        yield request.param


@pytest.mark.fault(26)
@pytest.mark.parametrize("memory", [1, 10**9])
def test_keys_that_are_equal_in_python_are_one_group_and_no_others(backend: str, memory: int) -> None:
    records = [(number, key) for number in range(40) for key in KEYS]
    expected: dict[Any, list[int]] = {}
    for number, key in records:
        expected.setdefault(key, []).append(number)
    got = list(mrpy.mapreduce(lambda r: (r[1], r[0]), listed, records, memory=memory))
    assert len(got) == len(expected)
    assert dict(got) == expected


SEEDED = """
import mrpy
keys = ["a", None, (None, "b"), "word", b"x", ("t", 1.5)] * 50
pairs = mrpy.mapreduce(lambda k: (k, 1), lambda k, v: sum(v), keys, workers=2, chunksize=7)
print(list(pairs))
"""


@pytest.mark.fault(26)
def test_the_answer_and_its_order_do_not_depend_on_the_seed_of_hashes() -> None:
    said = set()
    for seed in ("0", "1", "random"):
        environment = {**script_environment(), "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", SEEDED]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=50, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr
        said.add(done.stdout)
    assert len(said) == 1


@pytest.mark.fault(27)
@pytest.mark.parametrize("memory", [1, 10**9])
def test_all_nan_are_one_key(backend: str, memory: int) -> None:
    def nan(n: int) -> tuple[Any, int]:
        return (float("nan") if n % 2 else ("t", math.nan * n)), n

    got = list(mrpy.mapreduce(nan, listed, range(200), memory=memory))
    assert len(got) == 2
    assert sorted(len(values) for _, values in got) == [100, 100]


class Unhashable:
    """Two of these are equal, and so they have no hash."""

    def __eq__(self, other: object) -> bool:
        return True


class ByAddress:
    """A hash that is another in each process."""


@pytest.mark.fault(28)
@pytest.mark.parametrize(
    "key", [[1], {}, Unhashable(), ByAddress(), (1, [2])], ids=lambda key: type(key).__name__
)
def test_a_key_without_a_hash_is_named_before_the_shuffle(backend: str, key: Any) -> None:
    def never(key: object, values: Iterator[Any]) -> None:
        raise AssertionError("there was a shuffle")

    with pytest.raises(TypeError, match=f"the key .*{type(key).__name__}|the key .*list"):
        list(mrpy.mapreduce(lambda n: (key, n), never, range(50)))


@pytest.mark.parametrize("made", [None, 5, 2.5, object()])
def test_a_mapper_that_returns_no_pairs_is_told_what_it_returns(made: Any) -> None:
    with pytest.raises(TypeError, match=r"the mapper returned .*; it returns or yields \(key, value\) pairs"):
        list(mrpy.mapreduce(lambda item: made, lambda key, values: 0, [1], backend="serial"))


@pytest.mark.fault(28)
def test_keys_that_cannot_be_ordered_are_grouped_and_only_sorting_them_is_an_error(backend: str) -> None:
    mixed = [1, "a", None, 2.5, (1,)]
    got = dict(mrpy.mapreduce(lambda n: (mixed[n % 5], n), listed, range(50)))
    assert {key: len(values) for key, values in got.items()} == dict.fromkeys(mixed, 10)
    with pytest.raises(TypeError, match="not supported between"):
        list(mrpy.mapreduce(lambda n: (mixed[n % 5], n), listed, range(50), sort=True))


@pytest.mark.fault(29)
@pytest.mark.parametrize("memory", [20_000, 10**9])
def test_one_key_with_nearly_all_records_is_one_group_in_order(backend: str, memory: int) -> None:
    def skewed(n: int) -> tuple[str, int]:
        return (f"rare {n}" if n % 100 == 0 else "hot"), n

    got = dict(mrpy.mapreduce(skewed, lambda key, values: list(values), range(20_000), memory=memory))
    assert got["hot"] == [n for n in range(20_000) if n % 100]
    assert len(got) == 201


@pytest.mark.fault(29)
def test_nothing_none_and_one_are_inputs_as_others_are(backend: str) -> None:
    assert list(mrpy.mapreduce(lambda x: (x, x), listed, [])) == []
    assert list(mrpy.mapreduce(lambda x: (x, None), listed, [None] * 3)) == [(None, [None] * 3)]
    assert list(mrpy.mapreduce(lambda x: (x, x), listed, [7])) == [(7, [7])]
    assert mrpy.preduce(operator.add, [5]) == 5
    assert mrpy.stream([]).sorted().to_list() == []
    with pytest.raises(TypeError, match="empty"):
        mrpy.preduce(operator.add, [])
    with pytest.raises(TypeError):
        functools.reduce(operator.add, [])


@pytest.mark.fault(31)
def test_a_reducer_that_is_not_associative_is_found_with_a_counterexample() -> None:
    with pytest.raises(CheckFailed, match="-"):
        mrpy.check(operator.sub, [1, 2, 3, 4])
    with pytest.raises(CheckFailed):
        mrpy.preduce(operator.sub, range(100), check=True, backend="serial")


@pytest.mark.fault(25)
def test_a_damaged_row_of_a_checkpoint_is_computed_again(tmp_path: Any) -> None:
    import sqlite3

    path = os.fspath(tmp_path / "c")
    run = functools.partial(
        mrpy.pmap, operator.neg, range(100), chunksize=10, backend="serial", checkpoint=path
    )
    assert list(run()) == [-n for n in range(100)]
    with sqlite3.connect(path) as file:
        file.execute("update chunk set body = ? where first = 30", (b"nonsense",))
    file.close()
    assert list(run()) == [-n for n in range(100)]


FAMILIES: dict[str, list[Any]] = {
    "one by one": list(range(4000)),
    "thousands": list(range(0, 4_000_000, 1000)),
    "minutes": [1.7e9 + 60 * n for n in range(4000)],
    "large": [n << 40 for n in range(4000)],
    "negative": [-8 * n for n in range(4000)],
    "fractions": [n / 1024 for n in range(4000)],
    "pairs": [(8 * n, 0) for n in range(4000)],
    "texts": [f"sample {n}" for n in range(4000)],
    "days": [datetime.date(2000, 1, 1) + datetime.timedelta(n) for n in range(4000)],
}


@pytest.mark.fault(29)
@pytest.mark.parametrize("parts", [2, 3, 8, 64])
@pytest.mark.parametrize("family", FAMILIES)
def test_keys_with_something_in_common_are_not_all_in_one_part(family: str, parts: int) -> None:
    keys = FAMILIES[family]
    sizes = collections.Counter(parts_of(map(stable_hash, keys), parts))
    assert max(sizes.values()) < 1.5 * len(keys) / parts


def test_work_on_keys_with_something_in_common_is_spread() -> None:
    def who(key: int, values: Iterator[int]) -> int:
        time.sleep(0.01)
        return os.getpid()

    with mrpy.session("processes", workers=2):
        both = range(8)
        assert eventually(lambda: len(set(mrpy.pmap(lambda n: who(n, iter(())), both, chunksize=1))) == 2, 30)
        pids = dict(mrpy.mapreduce(lambda n: (n * 1000, n), who, range(40)))
    assert len(set(pids.values())) == 2


# ---- equal, and not equal --------------------------------------------------------------------------------------


class Folded(str):
    """Equal whatever the case."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self.lower() == other.lower()

    def __hash__(self) -> int:
        return hash(self.lower())


@dataclass(frozen=True)
class Near:
    """Equal by an `__eq__` of its own."""

    x: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Near) and self.x // 10 == other.x // 10

    def __hash__(self) -> int:
        return self.x // 10


class Day(datetime.date, enum.Enum):
    """Equal to a plain date."""

    FIRST = 2000, 1, 1


class Pair(NamedTuple):
    a: float
    b: int


@attrs.frozen
class Defined:
    """Equal by two of its three fields."""

    x: int
    y: str
    note: int = attrs.field(eq=False)


class Money(int):
    """Equal by the number and a unit, which is in its hash."""

    def __new__(cls, amount: int, unit: str) -> Money:
        made = super().__new__(cls, amount)
        made.unit = unit
        return made

    unit: str

    def __reduce__(self) -> Any:
        return Money, (int(self), self.unit)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and (int(self), self.unit) == (int(other), other.unit)

    def __hash__(self) -> int:
        return hash((int(self), self.unit))


class Count(int):
    """Equal as the number is."""


@dataclass(frozen=True)
class Tagged:
    """Hashed by one of its two fields."""

    name: str
    tags: list[str] = field(default_factory=list, hash=False)


@attrs.frozen
class ByKey:
    """Equal by what a function makes of its field."""

    x: str = attrs.field(eq=str.lower)


@attrs.frozen
class Marked:
    """A field that has no say in the hash."""

    name: str
    marks: list[str] = attrs.field(factory=list, hash=False)


@attrs.define(eq=False, unsafe_hash=True)
class Itself:
    """Equal to nothing but itself, for all that its hash says."""

    x: int


@dataclass(eq=False, unsafe_hash=True)
class NothingElse:
    """Likewise."""

    x: int


class Opened:
    """Likewise, and a path."""

    def __fspath__(self) -> str:
        return "a"


class Loose(pathlib.PurePosixPath):
    """A path that is equal in a way of its own."""

    def __eq__(self, other: object) -> bool:
        return str(self).lower() == str(other).lower()

    def __hash__(self) -> int:
        return hash(str(self).lower())


class Share(pathlib.PureWindowsPath):
    """A path that is equal as those of its base."""


@dataclass(frozen=True)
class Filed:
    """A path that is equal by its fields."""

    path: str
    version: float

    def __fspath__(self) -> str:
        return f"{self.path}-{self.version}"


class Registered:
    """A number of another library, as those of gmpy2: it says so, and hashes as Python's do."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return self.value == other

    def __hash__(self) -> int:
        return hash(self.value)


numbers.Integral.register(Registered)


class Ratio:
    """A fraction of another library, as those of sympy: it says so, and its hash goes over strings."""

    def __init__(self, numerator: int, denominator: int) -> None:
        self.numerator, self.denominator = numerator, denominator

    def __eq__(self, other: Any) -> bool:
        other = Fraction(other.numerator, other.denominator) if isinstance(other, Ratio) else other
        return Fraction(self.numerator, self.denominator) == other

    def __hash__(self) -> int:
        return hash(("Ratio", str(self.numerator), str(self.denominator)))


class Quotient(Ratio):
    """One as those of gmpy2."""

    def __hash__(self) -> int:
        return hash(Fraction(self.numerator, self.denominator))


numbers.Rational.register(Ratio)


SUMMER = datetime.timezone(datetime.timedelta(hours=1))
EQUAL: dict[str, list[Any]] = {
    "time zones": [datetime.time(12, tzinfo=datetime.UTC), datetime.time(13, tzinfo=SUMMER)],
    "moments": [datetime.datetime(2000, 1, 1, 12, tzinfo=datetime.UTC), datetime.datetime(2000, 1, 1, 13, tzinfo=SUMMER)],
    "folds": [datetime.datetime(2000, 1, 1, 12), datetime.datetime(2000, 1, 1, 12, fold=1)],
    "a date": [Day.FIRST, datetime.date(2000, 1, 1)],
    "paths": [pathlib.PureWindowsPath("A"), pathlib.PureWindowsPath("a")],
    "paths, not of ASCII": [pathlib.PureWindowsPath("\N{LATIN CAPITAL LETTER E WITH ACUTE}"), pathlib.PureWindowsPath("\N{LATIN SMALL LETTER E WITH ACUTE}")],
    "paths of a class of the user's": [Share("A"), Share("a")],
    "paths of a dataclass": [Filed("a", 1), Filed("a", 1.0)],
    "bools": [np.True_, True, 1],
    "NaN": [math.nan, -math.nan, np.float32("nan"), np.float64("nan"), Decimal("nan"), complex(0, math.nan)],
    "NaN in a dataclass": [Measured(math.nan), Measured(float("nan"), 0), Measured(np.float64("nan"))],
    "NaN within a dataclass": [Measured(1.0, (Measured(math.nan), 2)), Measured(1, (Measured(float("nan")), 2.0))],
    "NaN in a class of attrs": [Weighed(math.nan), Weighed(float("nan"))],
    "NaN in a namedtuple": [Pair(math.nan, 1), Pair(float("nan"), 1)],
    "units": [np.datetime64("2020"), np.datetime64("2020-01-01T00:00:00.000")],
    "units before 1970": [np.datetime64("1960-03"), np.datetime64("1960-03-01"), np.datetime64("1960-03-01T00", "ns")],
    "durations": [np.timedelta64(60, "s"), np.timedelta64(1, "m"), np.timedelta64(60 * 10**9, "ns")],
    "moments of NumPy and of Python": [np.datetime64("1960-03-01T12", "us"), datetime.datetime(1960, 3, 1, 12)],
    "durations of both": [np.timedelta64(-5, "us"), datetime.timedelta(microseconds=-5), np.timedelta64(-5000, "ns")],
    "addresses": [ipaddress.ip_address("::1"), ipaddress.IPv6Address(1)],
    "networks": [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("10.0.0.0/255.0.0.0")],
    "numbers of others": [Registered(5), 5, 5.0],
    "fractions of others": [Quotient(1, 3), Fraction(1, 3), Quotient(2, 6)],
    "large numbers of others": [Quotient(3 * 2**70, 3), 2**70, 2.0**70],
    "a field of attrs without a hash": [Marked("a"), Marked("a", [])],
    "NaT": [np.datetime64("NaT", "D"), np.datetime64("NaT", "s")],
    "NaT of durations": [np.timedelta64("NaT", "ns"), np.timedelta64("NaT", "s")],
    "NaT in a tuple": [(np.datetime64("NaT", "D"), 1), (np.datetime64("NaT", "s"), True)],
    "a class of numbers": [Count(1), 1, True],
    "strings of NumPy": [np.str_("a"), "a"],
    "bytes of NumPy in a tuple": [(np.bytes_(b"a"), 1), (b"a", 1)],
    "a field without a hash": [Tagged("a"), Tagged("a", [])],
    "classes of attrs": [Defined(1, "a", 5), Defined(True, "a", 6)],
    "NaN of NumPy in a tuple": [(np.float32("nan"), 1), (math.nan, 1)],
}


@pytest.mark.fault(26, 27)
@pytest.mark.parametrize("memory", [1, 10**9])
@pytest.mark.parametrize("kind", EQUAL)
def test_what_is_equal_is_one_key_and_all_nan_are_one(backend: str, kind: str, memory: int) -> None:
    items = EQUAL[kind] * 3
    run = mrpy.stream(items, memory=memory, chunksize=1)
    assert [count for _, count in run.count_by(lambda key: key)] == [len(items)]
    assert [len(group) for _, group in run.group_by(lambda key: key)] == [len(items)]
    assert [count for _, count in run.frequencies()] == [len(items)]


@pytest.mark.fault(26, 27)
@pytest.mark.parametrize("memory", [1, 10**9])
def test_days_and_durations_of_numpy_are_keys(backend: str, memory: int) -> None:
    days = np.array(["2020-01-01", "2020-01-02", "2020-01-01", "NaT", "1960-01-01"], "M8[D]")
    for keys in (days, days - np.datetime64("2020-01-01")):
        found = list(mrpy.stream(keys, memory=memory).count_by(lambda day: day))
        assert sorted((str(key), type(key).__name__, count) for key, count in found) == sorted(
            (str(key), type(key).__name__, 2 if key == keys[0] else 1) for key in keys[1:]
        )


@pytest.mark.fault(28)
@pytest.mark.parametrize("key", [Folded("A"), Near(1), ByKey("a"), Money(1, "EUR"), Ratio(1, 7), lambda: 1, Fraction(1).limit_denominator, Itself(1), NothingElse(1), Opened(), Loose("a")])
def test_what_is_equal_in_a_way_of_its_own_is_refused_by_name(backend: str, key: Any) -> None:
    with pytest.raises(TypeError, match="has no hash that is the same in every process"):
        list(mrpy.stream([1, 2]).count_by(lambda _: key))


@pytest.mark.fault(28)
def test_a_path_of_another_library_that_is_refused_is_told_how_to_be_a_key() -> None:
    with pytest.raises(TypeError, match=r"use os.fspath\(key\) or str\(key\)\n"):
        list(mrpy.stream([1, 2], backend="serial").count_by(lambda _: Loose("a")))


@pytest.mark.fault(28)
def test_an_error_of_comparing_keys_is_told_as_it_is() -> None:
    class Odd(int):
        def __eq__(self, other: object) -> bool:
            raise TypeError("cannot be compared")

        __hash__ = int.__hash__

    with pytest.raises(TypeError, match="cannot be compared"):
        list(mrpy.stream([Odd(1), Odd(1)], backend="serial").group_by(lambda key: key))


# ---- sorted by key ---------------------------------------------------------------------------------------------


@pytest.mark.fault(27)
@pytest.mark.parametrize("memory", [1, 10**9])
def test_nan_is_the_last_of_sorted_keys(backend: str, memory: int) -> None:
    keys = [3.0, math.nan, 1.0, 2.0, math.nan, -1.0]
    pairs = list(mrpy.mapreduce(lambda k: (k, 1), lambda k, v: sum(v), keys * 20, sort=True, memory=memory))
    assert repr(pairs) == "[(-1.0, 20), (1.0, 20), (2.0, 20), (3.0, 20), (nan, 40)]"


@pytest.mark.fault(28)
@pytest.mark.parametrize("memory", [1, 1000, 10**9])
def test_keys_in_no_total_order_are_not_sorted_into_two_groups(backend: str, memory: int) -> None:
    keys = [frozenset({n % 5, n % 7, n % 3}) for n in range(400)]
    with pytest.raises(TypeError, match=r"cannot be sorted.*frozenset"):
        list(mrpy.mapreduce(lambda k: (k, 1), lambda k, v: sum(v), keys, sort=True, memory=memory))


@dataclass(frozen=True)
class Ranked:
    """Two of these may come neither before nor behind each other, and are not equal."""

    rank: int
    name: str

    def __lt__(self, other: Ranked) -> bool:
        return self.rank < other.rank


@pytest.mark.fault(28)
@pytest.mark.parametrize("partitions", [1, 2, 8, 64])
@pytest.mark.parametrize("make", [lambda n: Ranked(n % 2, str(n % 4)), lambda n: frozenset({"ab"[n % 2]})], ids=["ties", "sets"])
def test_keys_in_no_total_order_are_refused_whatever_partitions_they_are_in(backend: str, make: Any, partitions: int) -> None:
    pairs = mrpy.mapreduce(lambda n: (make(n), n), lambda k, v: sum(v), range(40), sort=True, partitions=partitions)
    with pytest.raises(TypeError, match=r"cannot be sorted \(sort=True\): .* have no order"):
        list(pairs)


@pytest.mark.parametrize("partitions", [1, 8])
def test_a_reducer_may_yield_several_pairs_of_keys_that_are_sorted(backend: str, partitions: int) -> None:
    keys = [Ranked(n % 7, "a") for n in range(40)]
    pairs = mrpy.mapreduce(lambda k: (k, k.rank), lambda k, v: (n for n in v), keys, sort=True, partitions=partitions)
    assert [(key.rank, n) for key, n in pairs] == sorted((key.rank, key.rank) for key in keys)


# ---- reducers that come too late -------------------------------------------------------------------------------


@pytest.mark.fault(29)
@pytest.mark.parametrize("memory", [20_000, 10**9])
def test_what_a_reducer_returns_to_be_read_later_is_an_error_or_all_there(memory: int) -> None:
    records = [(n % 3, n) for n in range(30_000)]
    pairs = mrpy.mapreduce(lambda r: r, lambda key, values: map(int, values), records, backend="serial", memory=memory)
    found = []
    try:
        for key, values in pairs:
            found.append((key, sum(values)))
    except RuntimeError as error:
        assert memory < 10**9 and "make a list of them" in str(error)
    assert all(total == sum(range(key, 30_000, 3)) for key, total in found)


@pytest.mark.parametrize("memory", [20_000, 10**9])
def test_a_reducer_that_returns_its_iterator_makes_one_pair_of_a_key(memory: int) -> None:
    records = [(n % 3, n) for n in range(30_000)]
    pairs = mrpy.mapreduce(lambda r: r, lambda key, values: values, records, backend="serial", memory=memory)
    assert sorted(key for key, _ in pairs) == [0, 1, 2]

"""What goes by key equals a loop over a dict, and a join the nested loops, on every local backend."""

from __future__ import annotations

import functools
import heapq
import math
import operator
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import pytest
from generated import run_options
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from laws import BACKENDS, LOCAL, with_chunks

import mrpy
from mrpy.errors import OptionError
from mrpy.mapreduce import lookup
from mrpy.mapreduce.by_key import AGGREGATES, HOW

Options = dict[str, Any]
EXAMPLES = {"serial": 60, "threads": 40, "processes": 25}


@dataclass(frozen=True)
class Place:
    x: int
    y: float


def over_local(**strategies: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A property over the local backends, with random chunks, workers, partitions and memory."""

    def decorate(claim: Callable[..., None]) -> Callable[..., None]:
        @pytest.mark.parametrize("backend", LOCAL)
        def test(backend: str) -> None:
            @settings(max_examples=EXAMPLES[backend], deadline=None, suppress_health_check=list(HealthCheck))
            @given(
                options=run_options,
                partitions=st.sampled_from(["auto", 1, 2, 5, 11]),
                memory=st.sampled_from(["auto", "auto", 1, 3000]),  # bytes: with few of them it is done on disk
                **strategies,
            )
            def run(options: Options, partitions: Any, memory: Any, **drawn: Any) -> None:
                claim({**options, "backend": backend, "memory": memory}, partitions, **drawn)

            run()

        test.__doc__ = claim.__doc__
        return test

    return decorate


scalars = st.sampled_from(
    [None, True, 1, 1.0, Fraction(1), 0, -0.0, 0.5, math.nan, "a", "b", b"a", (), (1, "a"), (True, "a"), Place(1, 2)]
)
keys = st.one_of(scalars, st.builds(Place, st.integers(0, 1), st.sampled_from([1.0, 2.0])), st.integers(0, 3))
# One hot key, many keys, a mixture of all sorts.
rows = st.one_of(
    st.lists(st.tuples(keys, st.integers(-9, 9)), max_size=40),
    st.lists(st.tuples(st.just("hot"), st.integers(-9, 9)), max_size=200),
    st.lists(st.tuples(st.integers(0, 60), st.integers(-9, 9)), max_size=200),
)
few = st.lists(st.tuples(keys, st.integers(-9, 9)), max_size=12)


def one(key: Any) -> Any:
    """All NaN are one key."""
    return "NaN" if isinstance(key, float) and key != key else key


def groups_of(items: list[Any], key: Callable[[Any], Any] = operator.itemgetter(0)) -> dict[Any, list[Any]]:
    groups: dict[Any, list[Any]] = {}
    for item in items:
        groups.setdefault(one(key(item)), []).append(item)
    return groups


def found(pairs: Any) -> dict[Any, Any]:
    """Pairs as a dict; no key comes twice."""
    made: dict[Any, Any] = {}
    for key, value in pairs:
        assert one(key) not in made
        made[one(key)] = value
    return made


def by_repr(items: Any) -> list[str]:
    return sorted(map(repr, items))


# ---- folds, one per key ----------------------------------------------------------------------------------------------


@over_local(items=rows)
def test_group_by_is_a_dict_of_lists(options: Options, partitions: Any, items: Any) -> None:
    got = found(mrpy.stream(items, **options).group_by(0, partitions=partitions))
    assert by_repr(got.items()) == by_repr(groups_of(items).items())  # also which of 1, 1.0, True stands for all


@over_local(items=rows)
def test_count_by_is_a_counter(options: Options, partitions: Any, items: Any) -> None:
    got = found(mrpy.stream(items, **options).count_by(operator.itemgetter(0), partitions=partitions))
    assert by_repr(got.items()) == by_repr((key, len(group)) for key, group in groups_of(items).items())


@over_local(items=rows)
def test_reduce_by_is_functools_reduce_of_each_group(options: Options, partitions: Any, items: Any) -> None:
    join = lambda left, right: (left[0], left[1] + right[1])
    listed = [(key, [value]) for key, value in items]  # a value that is a list, an operator that is not commutative
    got = found(mrpy.stream(listed, **options).reduce_by(0, join, partitions=partitions))
    expected = {key: functools.reduce(join, group) for key, group in groups_of(listed).items()}
    assert by_repr(got.items()) == by_repr(expected.items())


@over_local(items=rows)
def test_fold_by_folds_each_group_from_a_copy_of_its_own(options: Options, partitions: Any, items: Any) -> None:
    def step(seen: list[int], item: tuple[Any, int]) -> list[int]:
        seen.append(item[1])
        return seen

    initial: list[int] = []
    pairs = mrpy.stream(items, **options).fold_by(0, step, initial, operator.iadd, partitions=partitions)
    assert found(pairs) == {key: [value for _, value in group] for key, group in groups_of(items).items()}
    assert initial == []


@over_local(items=rows, count=st.integers(0, 4))
def test_topk_by_is_nlargest_of_each_group(options: Options, partitions: Any, items: Any, count: int) -> None:
    got = found(mrpy.stream(items, **options).topk_by(0, count, 1, partitions=partitions))
    expected = {key: heapq.nlargest(count, group, operator.itemgetter(1)) for key, group in groups_of(items).items()}
    assert by_repr(got.items()) == by_repr(expected.items())


@over_local(items=rows)
def test_aggregate_by_is_all_of_them_in_one_pass(options: Options, partitions: Any, items: Any) -> None:
    got = found(
        mrpy.stream(items, **options).aggregate_by(
            0, partitions=partitions, n="count", total=(1, "sum"), usual=(lambda item: item[1], "mean"),
            spread=(1, "std"), low=(1, "min"), high=(1, "max"), begin="first", end=(1, "last"),
        )
    )  # fmt: skip
    for key, group in groups_of(items).items():
        values = [value for _, value in group]
        made = got.pop(key)
        assert math.isclose(made.pop("spread"), statistics.pstdev(values), abs_tol=1e-9)
        assert math.isclose(made.pop("usual"), statistics.fmean(values), abs_tol=1e-12)
        expected = {"n": len(values), "total": sum(values), "low": min(values), "high": max(values)}
        assert repr(made) == repr({**expected, "begin": group[0], "end": values[-1]})
    assert got == {}


@pytest.mark.parametrize(("backend", "chunksize"), with_chunks("auto", 1000, 4097))
def test_floats_by_key_have_the_same_bits_everywhere(backend: str, chunksize: Any) -> None:
    items = [(n % 7, 1.0 / (n + 1)) for n in range(9000)]

    def bits(**options: Any) -> list[Any]:
        run = lambda: mrpy.stream(items, **options).filter(lambda item: hash(item) % 3)
        reduced = run().map(lambda item: (item[0], item[1])).reduce_by(0, lambda a, b: (a[0], a[1] + b[1]))
        folded = run().fold_by(0, lambda total, item: total + item[1], 0.0)
        several = run().aggregate_by(0, a=(1, "sum"), b=(1, "mean"), c=(1, "std"))
        return [*reduced, *folded, *several]  # in their order, which is the same everywhere too

    assert repr(bits(backend=backend, chunksize=chunksize, workers=2)) == repr(bits(backend="serial"))


def test_sums_by_key_are_as_good_as_those_of_the_chain() -> None:
    numbers = [0.1] * 1000 + [1e16, 1.0, -1e16]
    [(_, made)] = mrpy.stream(numbers, backend="serial").aggregate_by(lambda _: 0, total="sum", usual="mean")
    assert made["total"] == math.fsum(numbers) == mrpy.stream(numbers, backend="serial").sum()
    assert made["usual"] == math.fsum(numbers) / len(numbers)


@pytest.mark.parametrize("backend", LOCAL)
def test_a_fold_travels_combined_and_not_item_by_item(backend: str, tmp_path: Any) -> None:
    """The hot key of a long source comes to the reduce side as a few partial values."""
    seen: list[int] = []

    def merge(left: int, right: int) -> int:
        with open(tmp_path / "merges", "ab") as file:
            file.write(b".")
        return left + right

    items = range(50_000)
    pairs = mrpy.stream(items, backend=backend, workers=2).fold_by(lambda _: "hot", lambda n, _: n + 1, 0, merge)
    assert list(pairs) == [("hot", 50_000)]
    assert 0 < (tmp_path / "merges").stat().st_size < 1000


# ---- keys ------------------------------------------------------------------------------------------------------------


def test_a_key_is_a_function_an_index_a_name_or_a_list_of_these() -> None:
    people = [{"name": "Ann", "age": 3}, {"name": "Bob", "age": 3}]
    stream = lambda: mrpy.stream(people, backend="serial")
    assert dict(stream().count_by("age")) == dict(stream().count_by(lambda one: one["age"])) == {3: 2}
    assert dict(stream().count_by(["age"])) == {(3,): 2}
    assert dict(stream().count_by(["age", "name"])) == {(3, "Ann"): 1, (3, "Bob"): 1}
    assert dict(mrpy.stream(["ab", "ac"], backend="serial").count_by(0)) == {"a": 2}


@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize("verb", ["group_by", "count_by", "join"])
def test_a_key_that_is_none_is_refused_by_name(backend: str, verb: str) -> None:
    stream = mrpy.stream([1, 2], backend=backend)
    made = stream.join([3], lambda n: [n], abs) if verb == "join" else getattr(stream, verb)(lambda n: [n])
    with pytest.raises(TypeError, match=r"the key \[1\] of type list cannot be a key: it is not hashable"):
        list(made)
    with pytest.raises(TypeError, match="has no hash that is the same in every process"):
        list(mrpy.stream([1], backend=backend).group_by(lambda n: object()))


@pytest.mark.parametrize("backend", LOCAL)
def test_what_a_key_function_raises_names_its_item(backend: str) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        list(mrpy.stream([2, 1, 0], backend=backend).group_by(lambda n: 1 // n))
    assert caught.value.mrpy_item.position == 2
    pairs = mrpy.stream([2, 1, 0], backend=backend, on_error="skip").group_by(lambda n: 1 // n)
    assert dict(pairs) == {0: [2], 1: [1]}


# ---- names ------------------------------------------------------------------------------------------------------


class Sale(NamedTuple):
    good: str
    count: int  # as a method of tuples


@dataclass(order=True)
class Sold:
    good: str
    count: int


class Slotted:
    __slots__ = ("count", "good")

    def __init__(self, good: str, count: int) -> None:
        self.good, self.count = good, count

    def __getitem__(self, place: int) -> Any:  # takes numbers alone
        return (self.good, self.count)[operator.index(place)]


KINDS: dict[str, list[Callable[[str, int], Any]]] = {
    "dicts": [lambda good, count: {"good": good, "count": count}], "named tuples": [Sale], "dataclasses": [Sold],
    "objects": [Slotted], "all of them": [lambda good, count: {"good": good, "count": count}, Sale, Sold, Slotted],
}  # fmt: skip
BY_NAME: dict[str, Callable[[Any], Any]] = {
    "group_by": lambda s: [(good, [_fields(item) for item in items]) for good, items in s.group_by("good")],
    "group_by several": lambda s: [(key, len(items)) for key, items in s.group_by(["good", "count"])],
    "group_by one": lambda s: [(key, len(items)) for key, items in s.group_by(["good"])],
    "count_by": lambda s: s.count_by("good"),
    "reduce_by": lambda s: [(good, _fields(item)) for good, item in s.reduce_by("good", lambda first, _: first)],
    "aggregate_by": lambda s: s.aggregate_by("good", n="count", total=("count", "sum")),
    "aggregate_by, counted": lambda s: s.aggregate_by("good", n="count"),
    "aggregate_by, one": lambda s: s.aggregate_by("good", total=("count", "sum")),
    "aggregate_by, by a function": lambda s: s.aggregate_by(lambda item: 0, total=("count", "sum"), last=("good", "last")),
    "aggregate_by, of a function": lambda s: s.aggregate_by("good", n=(lambda item: 1, "sum"), most=("count", "max")),
    "topk_by": lambda s: [(good, list(map(_fields, items))) for good, items in s.topk_by("good", 2, "count")],
    "sorted": lambda s: map(_fields, s.sorted("count")),
    "sorted by several": lambda s: map(_fields, s.sorted(["good", "count"])),
    "sorted by a list of one": lambda s: map(_fields, s.sorted(["count"], reverse=True)),
    "topk": lambda s: map(_fields, s.topk(3, "count")),
    "join": lambda s: [(_fields(item), other) for item, other in s.join([{"good": "rye", "x": 1}], "good")],
    "join of two": lambda s: [tuple(map(_fields, both)) for both in s.join(s.map(_same), "good")],
    "semi": lambda s: map(_fields, s.join([("rye",)], "good", 0, how="semi")),
    "cogroup": lambda s: [(good, len(left), len(right)) for good, (left, right) in s.cogroup(s.map(_same), "good")],
    "repartition": lambda s: map(_fields, s.repartition(3, key="good")),
}  # fmt: skip


def _same(item: Any) -> Any:
    return item


def _fields(item: Any) -> tuple[str, int]:
    return (item["good"], item["count"]) if isinstance(item, dict) else (item.good, item.count)


@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize("kind", list(KINDS)[1:])
@pytest.mark.parametrize("options", [{}, {"chunksize": 7, "retries": 1}], ids=["", "careful"])
def test_a_name_is_that_of_an_attribute_where_items_take_no_names(kind: str, options: Options, backend: str) -> None:
    def rows(kind: str) -> list[Any]:
        make = KINDS[kind]
        return [make[n % len(make)]("ale rye gin".split()[n % 3], n * 7 % 40) for n in range(40)]

    with mrpy.session(backend, workers=2):
        for name, ask in BY_NAME.items():
            expected = list(ask(mrpy.stream(rows("dicts"), backend="serial")))
            assert list(ask(mrpy.stream(rows(kind), **options))) == expected, name


@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize(
    ("item", "error", "message"),
    [
        (Sale("ale", 1), AttributeError, "'Sale' object has no attribute 'index_'"),
        (("ale", 1), TypeError, "tuple indices must be integers or slices, not str"),
        (7, TypeError, "'int' object is not subscriptable"), ({"a": 1}, KeyError, "index_"),
    ],
    ids=["named tuple", "tuple", "int", "dict"],
)  # fmt: skip
def test_what_has_no_such_name_is_an_error(item: Any, error: type[Exception], message: str, backend: str) -> None:
    asked: list[Callable[[Any], Any]] = [
        lambda s: s.count_by("index_"), lambda s: s.group_by("index_"), lambda s: s.topk(2, "index_"),
        lambda s: s.aggregate_by("index_", n=("index_", "sum")), lambda s: s.sorted("index_"), lambda s: s.count_by(["index_"]),
    ]  # fmt: skip
    for ask in asked:
        with pytest.raises(error, match=message):
            list(ask(mrpy.stream([item], backend=backend, workers=1)))


def test_a_method_of_pythons_own_types_is_no_key() -> None:
    for item, name in ((("a", 1), "count"), ("a", "upper"), (1, "real"), ([1], "index")):
        with pytest.raises(TypeError, match="indices must be integers|not subscriptable"):
            list(mrpy.stream([item], backend="serial").count_by(name))


def test_a_name_that_is_looked_up_keeps_its_name_in_the_plan() -> None:
    run = mrpy.stream([Sale("ale", 1)], backend="serial")
    assert "(item['good'], 1)" in str(run.count_by("good"))
    assert "(item['good'], item['count'])" in str(run.aggregate_by("good", total=("count", "sum")))
    assert "(item['good', 'count'], item)" in str(run.group_by(["good", "count"]))


WRONG: list[tuple[Callable[[Any], Any], type[Exception], str]] = [
    (lambda s: s.group_by(None), TypeError, r"group_by\(\) needs a key"),
    (lambda s: s.reduce_by(0, 3), TypeError, r"reduce_by\(\) needs a function"),
    (lambda s: s.fold_by(0, max, 0, 3), TypeError, r"fold_by\(\) needs a function"),
    (lambda s: s.topk_by(0, -1), ValueError, r"topk_by\(\) needs a whole number from 0 up"),
    (lambda s: s.aggregate_by(0), TypeError, r"aggregate_by\(\) needs aggregates"),
    (lambda s: s.aggregate_by(0, a="median"), ValueError, r"a='median'.*no such aggregate.*count, sum"),
    (lambda s: s.aggregate_by(0, a=("sum", 1)), ValueError, "no such aggregate"),
    (lambda s: s.join([], 0, how="cross"), OptionError, "how='cross'.*inner, left"),
    (lambda s: s.join(3, 0), TypeError, "not iterable"),
    (lambda s: s.join([], None), TypeError, r"join\(\) needs a key"),
    (lambda s: s.group_by(0, partitions=0), OptionError, "partitions=0"),
    (lambda s: s.cogroup([], 0, partitions="many"), OptionError, "partitions='many'"),
]


@pytest.mark.parametrize(("call", "kind", "text"), WRONG)
def test_a_wrong_argument_is_an_error_at_the_call(call: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        call(mrpy.stream(["a"], backend="serial"))


def test_errors_that_are_returned_have_no_key() -> None:
    with pytest.raises(OptionError, match="they have no key"):
        mrpy.stream(["a"], on_error="return").group_by(0)
    with pytest.raises(OptionError, match="they have no key"):
        mrpy.stream(["a"], on_error="return").join(["a"], 0)
    with pytest.raises(OptionError, match="they have no key"):
        mrpy.stream(["a"], on_error="return").distinct(len)
    with mrpy.session("serial", on_error="return"):
        assert mrpy.stream([1, 1, 2]).distinct().to_list() == [1, 2]


# ---- two inputs ------------------------------------------------------------------------------------------------------


def nested(
    left: list[Any], right: list[Any], how: str, default: Any = None, *, left_first: bool = False
) -> list[Any]:
    """The loops, with all NaN one key. ``left_first``: in the order of the left side's items."""
    same = lambda a, b: one(a[0]) == one(b[0])
    alone = [a for a in left if not any(same(a, b) for b in right)]
    if how == "anti":
        return alone
    if how == "semi":
        return [a for a in left if a not in alone]
    pairs = [(a, b) for b in right for a in left if same(a, b)]
    if left_first:
        pairs = [(a, b) for a in left for b in right if same(a, b)]
    if how in ("left", "outer"):
        pairs += [(a, default) for a in alone]
    if how in ("right", "outer"):
        pairs += [(default, b) for b in right if not any(same(a, b) for a in left)]
    return pairs


def of_each_key(joined: list[Any], how: str) -> dict[Any, list[str]]:
    """The rows of each key, in their order."""
    made: dict[Any, list[str]] = {}
    for row in joined:
        item = row if how in ("semi", "anti") else next(side for side in row if side is not None)
        made.setdefault(one(item[0]), []).append(repr(row))
    return made


@over_local(left=few, right=few, how=st.sampled_from(HOW))
def test_join_is_the_nested_loops_in_their_order(
    options: Options, partitions: Any, left: Any, right: Any, how: str
) -> None:
    got = mrpy.stream(left, **options).join(right, 0, how=how, partitions=partitions).to_list()
    looked_up = partitions == "auto" and how in lookup.HOW
    assert of_each_key(got, how) == of_each_key(nested(left, right, how, left_first=looked_up), how)


@over_local(left=few, right=few)
def test_cogroup_is_both_lists_of_each_key(options: Options, partitions: Any, left: Any, right: Any) -> None:
    got = found(mrpy.stream(left, **options).cogroup(right, 0, partitions=partitions))
    mine, theirs = groups_of(left), groups_of(right)
    expected = {key: (mine.get(key, []), theirs.get(key, [])) for key in [*mine, *theirs]}
    assert {key: repr(value) for key, value in got.items()} == {key: repr(value) for key, value in expected.items()}


@over_local(items=few, how=st.sampled_from(HOW), walked=st.booleans())
def test_an_iterator_may_be_joined_with_itself(
    options: Options, partitions: Any, items: Any, how: str, walked: bool
) -> None:
    stream = mrpy.stream(iter(items) if not walked else (item for item in items), **options)
    got = stream.join(stream, 0, how=how, partitions=partitions).to_list()
    assert of_each_key(got, how) == of_each_key(nested(items, items, how), how)


@pytest.mark.parametrize("backend", LOCAL)
def test_itself_under_another_key(backend: str) -> None:
    staff = [("Ann", None), ("Bob", "Ann"), ("Cid", "Ann"), ("Dan", "Bob")]
    stream = mrpy.stream(iter(staff), backend=backend)
    pairs = stream.join(stream, 1, 0).to_list()
    assert sorted(pairs) == [(("Bob", "Ann"), staff[0]), (("Cid", "Ann"), staff[0]), (("Dan", "Bob"), staff[1])]


@pytest.mark.parametrize("backend", LOCAL)
def test_the_keys_of_the_sides_may_be_others(backend: str) -> None:
    got = mrpy.stream(["a", "bc"], backend=backend).join(range(4), len, lambda n: n / 1.0, "outer", default="-")
    assert sorted(got, key=repr) == [("-", 0), ("-", 3), ("a", 1), ("bc", 2)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_sides_may_be_runs_themselves(backend: str) -> None:
    words = ["a", "b", "a", "c", "a", "b"]
    counts = mrpy.stream(words, backend=backend).count_by(lambda word: word)
    lengths = mrpy.mapreduce(lambda w: (w, len(w)), lambda _, n: sum(n), words, backend=backend).filter(lambda p: p[1] > 1)
    got = counts.take(3).join(lengths, 0, how="left")
    assert sorted(got) == [(("a", 3), ("a", 3)), (("b", 2), ("b", 2)), (("c", 1), None)]
    left, right = mrpy.stream(words, backend=backend).map(str.upper).tee()
    assert left.join(right, 0).count() == 9 + 4 + 1
    twice = mrpy.stream(words, backend=backend).join(words, 0).map(operator.itemgetter(0)).count_by(0)
    assert dict(twice) == {"a": 9, "b": 4, "c": 1}


@pytest.mark.parametrize("backend", LOCAL)
def test_the_other_side_keeps_options_of_its_own(backend: str) -> None:
    other = mrpy.stream([0, 1, 2], backend="serial", on_error="skip").map(lambda n: 2 // n)
    assert sorted(mrpy.stream([1, 2], backend=backend).join(other, lambda n: n)) == [(1, 1), (2, 2)]
    other = mrpy.stream([0, 1, 2]).map(lambda n: 2 // n)  # has none, so it follows ours
    assert sorted(mrpy.stream([1, 2], backend=backend, on_error="skip").join(other, lambda n: n)) == [(1, 1), (2, 2)]


@pytest.mark.parametrize("backend", LOCAL)
def test_a_hot_key_meets_itself(backend: str) -> None:
    left, right = [("hot", n) for n in range(300)], [("hot", -n) for n in range(200)]
    got = mrpy.stream(left, backend=backend, chunksize=7).join(right, 0, partitions=8).to_list()
    assert got == [(a, b) for b in right for a in left]
    got = mrpy.stream(left, backend=backend, chunksize=7).join(right, 0).to_list()
    assert got == [(a, b) for a in left for b in right]


def test_two_inputs_have_no_checkpoint(tmp_path: Any) -> None:
    with pytest.raises(OptionError, match=r"join\(\) has two large inputs"):
        mrpy.stream(["a"], checkpoint=tmp_path / "file").join(["a"], 0, partitions=8)


@pytest.mark.parametrize("backend", LOCAL)
def test_by_key_can_be_resumed_and_another_key_is_another_program(backend: str, tmp_path: Any) -> None:
    def run(key: Any) -> dict[Any, int]:
        return dict(mrpy.stream(range(9), backend=backend, checkpoint=tmp_path / "file").count_by(key))

    assert run(lambda n: n % 2) == run(lambda n: n % 2) == {0: 5, 1: 4}
    with pytest.raises(mrpy.errors.CheckpointError, match="another program"):
        run(lambda n: n % 3)


# ---- what is shown, and when it runs ---------------------------------------------------------------------------------


def test_nothing_runs_before_the_first_result_is_asked_for() -> None:
    def fail() -> Any:
        raise AssertionError
        yield

    for made in (mrpy.stream(fail()).group_by(0), mrpy.stream(fail()).join(fail(), 0), mrpy.stream([]).cogroup(fail(), 0)):
        assert isinstance(made, mrpy.ParallelIterator)


def test_a_plan_says_what_is_the_key() -> None:
    stream = mrpy.stream(["a"])
    assert str(stream.group_by(len)) == "1 item of a list -> map (len, item) -> by key -> reduce listed"
    assert "(item[0], 1) -> by key" in str(stream.count_by(0))
    assert "(item['a', 'b'], item)" in str(stream.group_by(["a", "b"]))
    shown = str(stream.join(["b"], 0, how="left", partitions=8))
    assert shown.endswith("-> by key -> reduce left join -> rows") and shown.count("(item[0], item)") == 2
    assert "part 0" in str(stream.join(["b"], 0, how="right").graph())
    assert str(stream.join(["b"], 0)) == "1 item of a list -> inner join by item[0] with 1 item of a list"
    assert "left join by len = item[1] with 1 item of" in str(stream.join([(0, 1)], len, 1, how="left"))


@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize("how", ["sum", "mean", "std"])
def test_an_aggregate_of_text_says_which_it_is(how: str, backend: str) -> None:
    rows = [{"name": "ale", "n": str(n)} for n in range(100)]
    run = mrpy.stream(rows, backend=backend, workers=2)
    with pytest.raises(TypeError, match=rf"{how}\(\) needs numbers, not str '\d+'.*in a map\(\) before") as raised:
        run.aggregate_by("name", all="count", last=("n", "last"), usual=("n", how)).to_list()
    assert "mrpy: raised for usual= of aggregate_by()" in raised.value.__notes__


@pytest.mark.parametrize("name", sorted(AGGREGATES))
def test_every_aggregate_is_in_the_docstring(name: str) -> None:
    assert name in (mrpy.ParallelIterator.aggregate_by.__doc__ or "")


def test_check_looks_at_folds_by_key() -> None:
    with pytest.raises(mrpy.errors.CheckFailed):
        list(mrpy.stream([3, 5, 9, 4], backend="serial", check=True).reduce_by(lambda _: 0, operator.sub))
    fine = mrpy.stream([3, 5, 9, 4], backend="serial", check=True)
    assert dict(fine.aggregate_by(lambda n: n % 2, n="count", total="sum")) == {
        0: {"n": 1, "total": 4}, 1: {"n": 3, "total": 17}
    }  # fmt: skip


FLOATS = [1e16, 1.0, 0.1, -1e16, 0.2, 0.3, 0.3]


@pytest.mark.parametrize(
    "verb",
    [
        lambda run: run.sum(), lambda run: run.mean(), lambda run: run.std(), lambda run: run.distinct().to_list(),
        lambda run: run.distinct(lambda n: n > 1).to_list(), lambda run: run.histogram(3, (0, 1)),
        lambda run: run.aggregate_by(lambda _: 0, total=(abs, "sum"), d=(abs, "std")).to_list(),
    ],
)  # fmt: skip
def test_a_check_finds_no_fault_with_what_is_ours(verb: Any) -> None:
    checked, plain = (verb(mrpy.stream(FLOATS, backend="serial", check=check)) for check in (True, False))
    assert repr(checked) == repr(plain)


# ---- checkpoints ---------------------------------------------------------------------------------------


def test_a_checkpoint_is_gone_on_with_by_any_number_of_workers(tmp_path: Path) -> None:
    done = tmp_path / "done"

    def checked(n: int) -> int:
        if n == 700 and not done.exists():
            raise ValueError(n)
        return n % 10

    def counted(workers: int) -> Any:
        options: Options = {"backend": "threads", "workers": workers, "chunksize": 50}
        return mrpy.stream(range(1000), checkpoint=tmp_path / "file", **options).count_by(checked)

    with pytest.raises(ValueError, match="700"):
        counted(2).to_list()
    done.touch()
    again = counted(8)
    assert sorted(again) == [(n, 100) for n in range(10)]
    assert "checkpoint" in again.explain()


# ---- errors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("memory", ["auto", 1])
def test_an_error_of_a_reducer_says_the_key_and_comes_behind_the_keys_before_it(backend: str, memory: Any) -> None:
    if (backend, memory) == ("threads", 1):
        pytest.skip("what is stopped on a thread may have just opened a file: that is warned of")

    def reducer(key: int, values: Any) -> int:
        if key % 3 == 0:
            raise ValueError("mine")
        return sum(values)

    expected = list(mrpy.mapreduce(lambda n: (n % 20, n), lambda key, values: sum(values), range(100), backend="serial"))
    first = next(place for place, (key, _) in enumerate(expected) if key % 3 == 0)
    got = []
    options: Options = {"backend": backend, "workers": 2, "memory": memory, "partitions": 20}
    with pytest.raises(ValueError, match="mine") as caught:
        for pair in mrpy.mapreduce(lambda n: (n % 20, n), reducer, range(100), **options):
            got.append(pair)
    assert got == expected[: len(got)]
    assert len(got) <= first
    assert f"raised for the key {expected[first][0]}" in str(caught.value.__notes__)


@pytest.mark.parametrize("backend", ["serial", "processes"])
def test_an_error_of_a_combiner_says_the_key(backend: str) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        list(mrpy.stream([("a", 0)] * 40, backend=backend).reduce_by(0, lambda one, other: 1 // 0))
    assert "raised for the key 'a'" in str(caught.value.__notes__)


def bad_at_11(n: int) -> int:
    if n == 11:
        raise ValueError(n)
    return n


KEYED: dict[str, tuple[Any, Any]] = {
    "sorted": (lambda run: run.sorted(bad_at_11).to_list(), [n for n in range(20) if n != 11]),
    "topk": (lambda run: run.topk(2, bad_at_11).to_list(), [19, 18]),
    "min": (lambda run: run.skip(0).min(lambda n: abs(bad_at_11(n) - 11)), 10),
    "max": (lambda run: run.max(bad_at_11), 19),
    "topk_by": (lambda run: run.topk_by(lambda n: 0, 2, bad_at_11).to_list(), [(0, [19, 18])]),
    "distinct": (lambda run: run.distinct(bad_at_11).count(), 19),
    "group_by": (lambda run: run.group_by(bad_at_11).count(), 19),
    "repartition": (lambda run: run.repartition(2, bad_at_11).count(), 19),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("verb", KEYED)
def test_an_item_whose_key_fails_is_skipped(backend: str, verb: str) -> None:
    finish, expected = KEYED[verb]
    run = mrpy.stream(range(20), backend=backend, workers=2, on_error="skip", chunksize=7)
    assert finish(run) == expected


@pytest.mark.parametrize("verb", KEYED)
def test_a_key_that_fails_once_is_asked_for_again(verb: str) -> None:
    failed: list[int] = []

    def flaky(n: int) -> int:
        if n == 11 and not failed:
            failed.append(n)
            raise ValueError(n)
        return n

    finishes = {
        "sorted": lambda run: run.sorted(flaky).count(), "topk": lambda run: run.topk(20, flaky).count(),
        "min": lambda run: 20 + run.min(flaky), "max": lambda run: 1 + run.max(flaky),
        "topk_by": lambda run: len(next(run.topk_by(lambda n: 0, 20, flaky))[1]),
        "distinct": lambda run: run.distinct(flaky).count(), "group_by": lambda run: run.group_by(flaky).count(),
        "repartition": lambda run: run.repartition(2, flaky).count(),
    }  # fmt: skip
    assert finishes[verb](mrpy.stream(range(20), backend="threads", workers=2, retries=1)) == 20
    assert failed == [11]


# ---- keys that cost much ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("memory", ["auto", 1])
@pytest.mark.parametrize("reverse", [False, True])
def test_keys_that_take_long_are_sorted_by_as_others_are(backend: str, memory: Any, reverse: bool) -> None:
    def slow(n: int) -> int:
        time.sleep(0.0001 if n % 2 else 0)  # of some chunks they are carried, of others not
        return n * 7919 % 13

    options: Options = {"backend": backend, "workers": 2, "memory": memory, "chunksize": 10}
    items = [n * 31 % 100 for n in range(100)]
    assert mrpy.stream(items, **options).sorted(slow, reverse=reverse).to_list() == sorted(items, key=slow, reverse=reverse)


def test_a_key_is_asked_for_about_once_an_item() -> None:
    calls: list[int] = []

    def slow(n: int) -> int:
        calls.append(n)
        time.sleep(0.0001)
        return -n

    for finish in (
        lambda run: run.sorted(slow).to_list(), lambda run: run.topk(3, slow).to_list(), lambda run: run.min(slow),
        lambda run: run.topk_by(lambda n: 0, 3, slow).to_list(),
    ):  # fmt: skip
        calls.clear()
        finish(mrpy.stream(range(2000), backend="threads", workers=2, chunksize=200))
        assert len(calls) < 2400
    calls.clear()
    assert mrpy.stream(range(100), backend="serial").max(slow) == 0
    assert mrpy.stream(range(100), backend="serial").min(slow, default=None) == 99
    assert len(calls) == 200


@pytest.mark.parametrize("backend", ["processes", "threads"])
def test_keys_that_take_long_need_not_be_such_as_travel(backend: str) -> None:
    def slow(n: int) -> Any:
        class Key:
            def __init__(self, rank: int) -> None:
                self.rank, self.lock = rank, threading.Lock()

            def __lt__(self, other: Any) -> bool:
                return bool(self.rank < other.rank)

        time.sleep(0.0001)
        return Key(-n)

    run = mrpy.stream(range(60), backend=backend, workers=2, chunksize=7)
    assert run.sorted(slow).to_list() == list(range(59, -1, -1))


@pytest.mark.parametrize("options", [{}, {"on_error": "skip"}, {"retries": 1}])
@pytest.mark.parametrize("backend", ["serial", "processes"])
def test_the_other_side_may_be_joined_again_whatever_its_options(backend: str, options: dict[str, Any]) -> None:
    towns = mrpy.stream([(n, f"town {n}") for n in range(3)], **options).map(tuple)
    people = [(n % 4, f"person {n}") for n in range(8)]
    with mrpy.session(backend, workers=2):
        for _ in range(2):
            assert len(mrpy.stream(people).join(towns, 0).to_list()) == 6
            assert len(mrpy.stream(people).join(towns, 0, how="anti").to_list()) == 2
        both = mrpy.stream(people).join(towns, 0).map(lambda pair: pair[0]).join(towns, 0)
        assert len(both.to_list()) == 6


@pytest.mark.parametrize("options", [{}, {"on_error": "skip"}])
def test_a_join_may_be_run_again_whatever_the_options_of_the_other_side(options: dict[str, Any]) -> None:
    orders, blocked = mrpy.stream([(n % 3, n) for n in range(9)], backend="serial"), ["1", "x", "2"]
    others = mrpy.stream(blocked, backend="serial", **options).filter(str.isdigit)
    for other in (others, others.repartition(2)):
        left = orders.join(other, 0, int, how="anti")
        assert [left.count(), left.count(), len(list(left))] == [3, 3, 3]


@pytest.mark.parametrize("how", ["join", "cogroup"])
def test_exceptions_of_the_other_side_have_no_key_either(how: str) -> None:
    other = mrpy.pmap(int, ["1", "x"], on_error="return")
    with pytest.raises(OptionError, match="they have no key"):
        getattr(mrpy.stream([1]), how)(other, str)


@pytest.mark.parametrize("backend", LOCAL)
@pytest.mark.parametrize("options", [{}, {"buffersize": 5}, {"buffersize": 60, "chunksize": 7}])
def test_no_item_is_blamed_for_what_the_source_raises(backend: str, options: Options) -> None:
    def source() -> Iterator[int]:
        yield from range(900)
        raise OSError("the source is broken")

    for ask in (
        lambda run: run.map(float).sum(), lambda run: run.map(float).enumerate().map(str).count(),
        lambda run: run.map(float).sorted().to_list(), lambda run: run.map(str).frequencies().to_list(),
    ):  # fmt: skip
        with pytest.raises(OSError, match="the source is broken") as caught:
            ask(mrpy.stream(source(), backend=backend, workers=2, **options))
        assert not hasattr(caught.value, "mrpy_item")


@pytest.mark.parametrize("backend", LOCAL)
def test_the_deviation_of_large_integers_is_exact(backend: str) -> None:
    times = [1_700_000_000_000_000_000 + n * n for n in range(3000)]
    run = mrpy.stream(times, backend=backend, workers=2)
    assert run.std() == statistics.pstdev(times)
    assert mrpy.stream(times, backend=backend, workers=2).std(ddof=1) == pytest.approx(statistics.stdev(times), rel=1e-15)
    numpy = pytest.importorskip("numpy")
    assert mrpy.stream([1, numpy.longdouble(2)], backend=backend, chunksize=1).std() == 0.5
    mixed = [1, 2.5, Fraction(1, 3)] * 1000
    assert mrpy.stream(mixed, backend=backend, workers=2).std() == pytest.approx(statistics.pstdev(mixed), rel=1e-12)


@pytest.mark.parametrize("options", [{}, {"chunksize": 2}, {"buffersize": 2}, {"retries": 1}])
def test_who_asks_for_none_of_the_items_hears_of_their_errors(options: Options) -> None:
    for ask in (lambda run: run.topk(0).to_list(), lambda run: run.sample(0, seed=1)):
        with pytest.raises(ZeroDivisionError):
            ask(mrpy.stream(range(3), backend="serial", **options).map(lambda n: 1 // n))


@dataclass
class Sold:
    city: str
    n: int

    def total(self) -> int:
        return self.n


def test_a_list_of_keys_may_have_functions_among_them() -> None:
    rows = [("Oslo", 3), ("Bergen", 2), ("Oslo", 4)]
    assert dict(mrpy.stream(rows, backend="serial").count_by([0, len])) == {("Oslo", 2): 2, ("Bergen", 2): 1}
    by_both = mrpy.stream(rows, backend="serial").sorted([lambda row: len(row[0]), 1]).to_list()
    assert by_both == sorted(rows, key=lambda row: (len(row[0]), row[1]))
    assert mrpy.stream(rows, backend="serial").sorted([]).to_list() == rows


@pytest.mark.parametrize("by", ["total", ["city", "total"]])
def test_a_method_is_no_field(by: Any) -> None:
    rows = mrpy.stream([Sold("Oslo", 3), Sold("Bergen", 4)], backend="serial")
    for run in (rows.count_by(by), rows.sorted(by), rows.aggregate_by("city", each=(by, "first"))):
        with pytest.raises(TypeError, match="'total' is a method of Sold, and no field of it"):
            list(run)

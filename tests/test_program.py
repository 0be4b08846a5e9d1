"""What counts of a program, for a checkpoint to be of the same one: parameters by their values."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import functools
import os
import random
import re
import subprocess
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import Mock

import numpy as np
import pytest
import toolz

import mrpy
from mrpy.errors import CheckpointError
from mrpy.mapreduce.program import program_of
from mrpy.mapreduce.steps import Map


@dataclasses.dataclass(frozen=True)
class Gain:
    by: float


class Pair(NamedTuple):
    left: Any
    right: Any


class Mode(enum.Enum):
    ONE = 1
    TWO = 2


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Scale:
    """A plain object, which is equal to itself alone."""

    def __init__(self, by: Any) -> None:
        self.by = by

    def times(self, x: int) -> Any:
        return self.by

    @classmethod
    def of_class(cls, x: int) -> int:
        return x

    @mrpy.stage
    def stage(self, items: Iterable[int]) -> Iterator[Any]:
        yield from (self.by for _ in items)


@dataclasses.dataclass
class Scaled(Scale):
    by: Any


class Slotted(Scale):
    __slots__ = ("also",)


class Kept(Scale):
    """Says what of it is pickled."""

    calls = 0

    @functools.cached_property
    def twice(self) -> int:
        return int(self.by) * 2

    def __getstate__(self) -> dict[str, Any]:
        return {"by": self.by}


_VALUES: dict[str, Callable[[int], Any]] = {
    "np.int64": np.int64, "np.float32": np.float32, "np.bool": np.bool_, "np.complex64": np.complex64,
    "np.datetime64": lambda n: np.datetime64(f"202{n}-01-01"), "np.dtype": lambda n: np.dtype(("<f4", "<f8")[n]),
    "masked": lambda n: np.ma.masked_array([n, 5], mask=[False, True]), "records": lambda n: np.rec.array([(n,)], dtype=[("n", "i4")]),
    "Decimal": Decimal, "Fraction": Fraction, "date": lambda n: datetime.date(2020 + n, 1, 1),
    "Path": lambda n: Path(f"{n}"), "range": range, "slice": slice, "bytearray": lambda n: bytearray(b"a" * n),
    "deque": lambda n: deque([n]), "pattern": lambda n: re.compile(f"{n}"), "frozen dataclass": Gain,
    "in a list": lambda n: [{"gain": [Gain(n)]}],
    "in a long list": lambda n: [n, *range(25_000)], "in the first of many rows": lambda n: [(n, ""), *zip(range(25_000), "ab" * 12_500, strict=True)],
    "in a large dict": lambda n: {"first": n, **dict.fromkeys(range(25_000))}, "in a large set": lambda n: {*map(str, range(25_000)), f"and {n}"},
    "in the first of many objects": lambda n: [Gain(n), *map(Decimal, range(25_000))], "in what holds itself": lambda n: _in_itself(n),
    "very deep": lambda n: functools.reduce(lambda inner, _: [inner], range(700), [n]), "a long number": lambda n: 10**5000 + n,
    "in one's own kinds of containers": lambda n: [Pair(OrderedDict(a=n), Counter("b"))],
    "enum": lambda n: list(Mode)[n], "flag": lambda n: list(Access)[n], "enum in an object": lambda n: Gain(by=list(Mode)[n]),  # type: ignore[arg-type]
    "plain object": Scale, "in a plain object": lambda n: Scale([Scale(n)]), "plain object with slots": Slotted, "one that says what it is": Kept,
    "method": lambda n: Scale(n).times, "method of a dataclass": lambda n: Scaled(n).times, "random.Random": random.Random,
    "np.random.Generator": np.random.default_rng, "np.random.RandomState": np.random.RandomState,
    "defaultdict": lambda n: defaultdict((int, str)[n]), "in turns": lambda n: [(a := Gain(0)), (b := Gain(1)), *((a, b) if n else (b, a))],
}  # fmt: skip


def _in_itself(n: int) -> Any:
    made: list[Any] = [{"n": n}]
    made += [made, (made,), {"made": made}]
    return made


@pytest.mark.parametrize("value", _VALUES.values(), ids=_VALUES)
@pytest.mark.parametrize("how", ["partial", "default"])
def test_a_parameter_counts_by_its_value(tmp_path: Path, how: str, value: Callable[[int], Any]) -> None:
    def run(n: int) -> list[Any]:
        def with_default(x: int, held: Any = value(n)) -> int:
            return x + n

        def with_parameter(held: Any, x: int) -> int:
            return x + 1

        function = with_default if how == "default" else partial(with_parameter, value(n))
        return list(mrpy.pmap(function, range(9), backend="serial", checkpoint=tmp_path / "made"))

    with_one = run(1)
    assert run(1) == with_one, "the same, made once more"
    with pytest.raises(CheckpointError):
        run(0)


_METHODS: dict[str, Callable[[int], Any]] = {
    "plain object": lambda n: Scale(n).times, "dataclass": lambda n: Scaled(n).times, "partial": lambda n: partial(Scale(n).times),
    "cached": lambda n: functools.lru_cache(Scale(n).times), "toolz": lambda n: toolz.compose(str, Scale(n).times), "job": lambda n: Sums(n).map,
}  # fmt: skip


@dataclasses.dataclass
class Sums(mrpy.Job):
    by: int

    def map(self, x: int) -> Iterator[tuple[int, int]]:  # type: ignore[override]
        yield x, self.by


@pytest.mark.parametrize("method", _METHODS.values(), ids=_METHODS)
def test_the_object_counts_whose_method_is_called(method: Callable[[int], Any]) -> None:
    assert known(method(1)) == known(method(1)) != known(method(2))


def test_a_job_counts_with_its_fields(tmp_path: Path) -> None:
    options: dict[str, Any] = {"backend": "serial", "checkpoint": tmp_path / "made"}
    assert Sums(1).run([1], **options).to_list() == [(1, 1)] == Sums(1).run([1], **options).to_list()
    with pytest.raises(CheckpointError):
        Sums(2).run([1], **options).to_list()


def test_what_an_object_computes_or_leaves_out_of_its_pickle_does_not_count() -> None:
    before = Kept(1)
    one = known(before.times)
    before.calls = before.twice
    assert known(before.times) == one
    plain, held_one = Computes(1), Computes(1)
    assert plain.twice == 2
    assert known(plain.times) == known(held_one.times)


class Computes(Scale):
    @functools.cached_property
    def twice(self) -> int:
        return int(self.by) * 2


def test_objects_in_variables_count_by_their_code_alone() -> None:
    """What they hold may change while a run is under way: a cache, a number of calls."""
    text = "class Memo:\n  def __init__(self): self.seen = {{}}\n  def __call__(self, x): return x * {}\nmemo = Memo()\ndef f(x): return memo(x) + len(memo.seen)\n"
    one = program(text.format(2))
    assert program(text.format(2) + "memo.seen[1] = 2; memo.calls = 1") == one != program(text.format(3))


def known(*functions: Callable[..., Any]) -> str:
    """By what a checkpoint knows a chain of these."""
    return program_of(map(Map, functions), "map")


def held(value: Any) -> Callable[[int], int]:
    """A function that has this for a default."""

    def function(x: int, held: Any = value) -> int:
        return x

    return function


class Answers:
    """As proxies of services do: there is whatever is asked for, made at that moment."""

    def __getattr__(self, name: str) -> Any:
        return Answers()

    def __call__(self) -> None: ...


_MUCH: dict[str, Callable[[], Any]] = {
    "numbers": lambda: list(range(25_000)), "dates": lambda: [datetime.date.fromordinal(n + 1) for n in range(25_000)],
    "functions": lambda: [held(n) for n in range(25_000)], "what holds itself": lambda: _in_itself(1), "mocks": Mock, "proxies": Answers,
}  # fmt: skip


@pytest.mark.parametrize("much", _MUCH.values(), ids=_MUCH)
def test_code_counts_beside_any_amount_of_data(much: Callable[[], Any]) -> None:
    table = held(much())
    for other in (lambda x: x * 3, lambda x: x * 2 + 0):
        assert known(table, lambda x: x * 2) != known(table, other)
        assert known(lambda x: x * 2, table) != known(other, table)


def test_the_order_of_steps_counts_where_the_same_ones_come_again() -> None:
    def one(x: int) -> int:
        return x + 1

    def two(x: int) -> int:
        return x * 2

    assert len({known(one, two, *rest) for rest in ((one, two), (two, one), (one, one), (two, two))}) == 4
    assert known(one, two, one, two) != known(two, one, one, two)


def test_equal_data_are_the_same_whether_they_are_one_object_or_several() -> None:
    """In the process that resumes a constant may be shared that was not, or the other way."""
    row = ("a text", 1.5)
    text = "".join(["a", " text"])
    assert known(held([row, row])) == known(held([row, (text, float("1.5"))]))


def test_a_program_is_the_same_in_every_process() -> None:
    program = """
from mrpy.mapreduce.steps import Map
from mrpy.mapreduce.program import program_of
import collections, enum, itertools, random, numpy
class Mode(enum.Enum): ONE = frozenset("abc")
class Scale:
    def __init__(self, by): self.by = by
    def times(self, x): return x
held = [{"b", "a", "c"}, {frozenset(pair) for pair in itertools.combinations("abcdef", 2)}, {(1, frozenset(pair)) for pair in ("ab", "bc", "ca")}, {("b", 1): frozenset("xyz")}, 1 + 2j, Mode.ONE, Scale({"b", "a"}).times]
held += [collections.defaultdict(int, a=1), random.Random(1), numpy.random.default_rng(1), numpy.random.RandomState(1)]
def f(x, held=held):
    return x in {"one", "two", "three"}
print(program_of([Map(f)], "map"))
"""
    found = set()
    for seed in "123":
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        found.add(subprocess.check_output([sys.executable, "-c", program], env=environment, timeout=60))
    assert len(found) == 1


def program(text: str) -> str:
    """By what a checkpoint knows ``f`` of a script."""
    script: dict[str, Any] = {"__name__": "__main__", "Job": mrpy.Job}
    exec(text, script)
    return known(script["f"])


_PARSER = "class Parser:\n  def parse(self, x): return x * {}\n"
_DATA = {
    "a method of a metaclass": "class M(type):\n  def op(c, x): return x + {}\nclass C(metaclass=M): pass\ndef f(x): return C.op(x)",
    "the factory of a defaultdict": "from collections import defaultdict\ndef new(): return {}\nT = defaultdict(new)\ndef f(x): return T[x]",
    "a key": "def h(x): return x + {}\nT = {{h: 1}}\ndef f(x): return [g(x) for g in T]",
    "an attribute of a function": "def h(x): return x + {}\ndef g(x): pass\ng.h = h\ndef f(x): return g.h(x)",
    "behind an attribute of a function": _PARSER + "def g(x): pass\ng.h = [Parser()]\ndef f(x): return g.h[0].parse(x)",
    "an argument of a partialmethod": "from functools import partialmethod\nclass C:\n  def m(s, k, x): return x + k\n  p = partialmethod(m, {})\ndef f(x): return C().p(x)",
    "a keyword of a partialmethod": "from functools import partialmethod\nclass C:\n  def m(s, x, k): return x + k\n  p = partialmethod(m, k={})\ndef f(x): return C().p(x)",
    "below a decorator of a library": "import toolz\n@toolz.memoize\ndef h(x): return x + {}\ndef f(x): return h(x)",
    "below one, in a table": "import toolz\nT = [toolz.memoize(lambda x: x + {})]\ndef f(x): return T[0](x)",
    "an object": _PARSER + "parser = Parser()\ndef f(x): return parser.parse(x)",
    "in a lambda": _PARSER + "parser = Parser()\nf = lambda x: [y for y in (parser.parse(x) for _ in 'ab')]",
    "in a closure": _PARSER + "def outer():\n  parser = Parser()\n  return lambda x: parser.parse(x)\nf = outer()",
    "a table": "HANDLERS = {{'add': lambda x: x + {}}}\ndef f(x): return HANDLERS['add'](x)",
    "a table of tables": "def add(x): return x + {}\nHANDLERS = [({{'add': [add]}},)]\ndef f(x): return HANDLERS[0][0]['add'][0](x)",
    "a table of classes": _PARSER + "KINDS = {{'a': Parser}}\ndef f(x): return KINDS['a']().parse(x)",
    "a base": _PARSER + "class Own(Parser): pass\nparser = Own()\ndef f(x): return parser.parse(x)",
    "what an object holds": _PARSER + "class Reader: pass\nreader = Reader()\nreader.parser = [Parser()]\ndef f(x): return reader.parser[0].parse(x)",
    "what is in a slot": _PARSER + "class Reader:\n  __slots__ = 'parser', 'none'\nreader = Reader()\nreader.parser = Parser()\ndef f(x): return reader.parser.parse(x)",
    "of a class": _PARSER + "class Own:\n  parser = Parser()\n  def go(self, x): return self.parser.parse(x)\ndef f(x): return Own().go(x)",
    "of a job": _PARSER + "class Own(Job):\n  parser = Parser()\n  def map(self, x): yield x, self.parser.parse(x)\nf = Own().map",
    "of an object whose method it is": _PARSER + "class Own:\n  def go(self, x): return self.parser.parse(x)\nown = Own()\nown.parser = Parser()\nf = own.go",
    "a parameter that is a named tuple": "from typing import NamedTuple\nclass P(NamedTuple):\n  n: int\n  def parse(self, x): return self.go(x)\n  def go(self, x): return x * {}\nf = P(1).parse",
    **{f"a parameter that is a kind of {kind}": f"class P({kind}):\n  def parse(self, x): return self.go(x)\n  def go(self, x): return x * {{}}\nf = P().parse" for kind in ("dict", "list", "int", "str", "frozenset")},
    "a named tuple": "from typing import NamedTuple\nclass P(NamedTuple):\n  n: int\n  def parse(self, x): return x * {}\np = P(1)\ndef f(x): return p.parse(x)",
}  # fmt: skip


@pytest.mark.parametrize("text", _DATA.values(), ids=_DATA)
def test_code_counts_that_only_data_lead_to(text: str) -> None:
    assert program(text.format(2)) == program(text.format(2)) != program(text.format(3))


def test_what_else_there_is_in_data_does_not_count() -> None:
    """It may be there when a run is resumed, and not have been when it began: how many, in which order."""
    kinds = "class A:\n  def go(self): return 1\nclass B:\n  def go(self): return 2\ndef f(x, make=(A, B)): return SEEN.get(x) or OTHERS[0].go()\n"
    one = program(kinds + "SEEN = {}\nOTHERS = [A(), B()]")
    for others in ("[B(), A()]", "[A()] * 20_000", "(B(), [A(), B()], 5, 'text')"):
        assert program(kinds + f"SEEN = {{1: A(), 2: 'b'}}\nOTHERS = {others}\nOTHERS[0].rate = 5") == one


def test_nothing_is_called_of_what_data_are() -> None:
    text = """
class Odd(dict):
    __slots__ = ()
    def __getattribute__(self, name): raise SystemExit(name)
    def __iter__(self): raise SystemExit
    __hash__ = __eq__ = __len__ = __bool__ = values = items = __repr__ = __iter__
class Proxy:
    held = property(lambda self: 1 / 0)
    def __getattr__(self, name): raise SystemExit(name)
    @property
    def __dict__(self): raise SystemExit
itself = [Odd(a=1), Proxy()]
itself.append(itself)
itself[0]["itself"] = itself
def f(x): return itself
"""
    assert program(text) == program(text) != program(text.replace("1 / 0", "2 / 0"))

"""Generator expressions made up by Hypothesis, as source text, and inputs for them.

Every expression is pure and total: it gives an int for any items, so that a plain loop over it always
ends with a list to compare with. Items go through ``num`` wherever they are used as numbers, so the same text works
over ints, characters, tuples and None.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from hypothesis import strategies as st

PRELUDE = """
G = 5
def num(x):
    if isinstance(x, (list, tuple)):
        return sum(map(num, x)) + len(x)
    return x if isinstance(x, int) else ord(x[:1] or '0') if isinstance(x, str) else 7
def twice(x):
    return 2 * num(x)
def odd(x):
    return num(x) % 2 == 1
def upto(n):
    yield from range(n % 4)
"""


DEPTH = 3


class Program(NamedTuple):
    """The text of a generator expression over ``xs`` and ``ys``, with closure variables ``a`` and ``b``."""

    text: str
    in_function: bool  # else its free names, and those that a walrus binds, are globals

    def over(self, xs: Any, ys: Any) -> Iterator[Any]:
        """Build the generator anew."""
        space: dict[str, Any] = {"__name__": "made_up", "xs": xs, "ys": ys, "a": 3, "b": -2}
        exec(compile(PRELUDE, "<prelude>", "exec"), space)
        if not self.in_function:
            return eval(compile(self.text, "<made up>", "eval"), space)  # type: ignore[no-any-return]
        exec(compile(f"def make(xs, ys, a, b):\n    return {self.text}\n", "<made up>", "exec"), space)
        return space["make"](xs, ys, 3, -2)  # type: ignore[no-any-return]


class _Writer:
    """Writes one program. `names` are those in scope at the place where it writes."""

    def __init__(self, draw: Callable[[Any], Any]) -> None:
        self.draw = draw
        self.fresh = (f"v{n}" for n in itertools.count())

    def one_of(self, *choices: Callable[[], str]) -> str:
        return self.draw(st.sampled_from(choices))()  # type: ignore[no-any-return]

    def number(self, names: list[str], depth: int) -> str:
        name = self.draw(st.sampled_from(names)) if names else "a"
        simple = [lambda: f"num({name})", lambda: str(self.draw(st.integers(-9, 9))),
                  lambda: self.draw(st.sampled_from(["a", "b", "G"]))]  # fmt: skip
        if depth <= 0:
            return self.one_of(*simple)

        def sub() -> str:
            return self.number(names, depth - 1)

        return self.one_of(
            *simple,
            lambda: f"({sub()} + {sub()})",
            lambda: f"({sub()} * {sub()} % 97)",
            lambda: f"(-{sub()})",
            lambda: f"twice({sub()})",
            lambda: f"(lambda q: q + {sub()})({sub()})",
            lambda: f"(lambda q=num({name}), *, k={sub()}: q - k)()",
            lambda: f"({sub()} if {self.test(names, depth - 1)} else {sub()})",
            lambda: f"sum({self.generator(names, depth - 1, inner=True)[1:-1]})",
            lambda: f"len([u for u in range({sub()} % 5) if u != {sub()}])",
            lambda: f"max({{{sub()}, {sub()}}})",
        )

    def test(self, names: list[str], depth: int) -> str:
        def sub() -> str:
            return self.number(names, depth - 1)

        return self.one_of(
            lambda: f"{sub()} % 3 != 1",
            lambda: f"{sub()} > {sub()}",
            lambda: f"not odd({sub()})",
            lambda: f"{sub()} in {{0, 1, 2, {sub()}}}",
            lambda: f"-50 < {sub()} < {sub()} + 60",
        )

    def walrus(self, names: list[str], depth: int) -> str:
        """A condition that binds a name, which what follows may use."""
        expression = self.number(names, depth)
        name = "w" + next(self.fresh)
        names.append(name)
        return f"({name} := {expression}) % 4 != 2"

    def body(self, names: list[str], depth: int) -> str:
        def sub() -> str:
            return self.number(names, depth)

        return self.one_of(
            sub,
            lambda: f"({sub()}, {sub()})",
            lambda: f"{{{sub()}: {sub()}, 'k': {sub()}}}",
            lambda: f"[*range({sub()} % 3), {sub()}]",
            lambda: f"f'{{{sub()}}}'",
            lambda: f"{sub()} if {self.test(names, depth)} else ({sub()},)",
            lambda: f"not {sub()}",
            lambda: "None",
        )

    def source(self, names: list[str], depth: int, inner: bool) -> tuple[str, str]:
        """A ``for`` target and what it runs over. Outermost over the input, inside over little."""
        v, r = next(self.fresh), next(self.fresh)
        if inner:
            over = self.one_of(
                lambda: f"range({self.number(names, 1)} % 4)",
                lambda: f"upto({self.number(names, 1)})",
                lambda: f"({self.number(names, 1)}, {self.number(names, 1)})",
                lambda: self.generator(names, depth - 1, inner=True) if depth > 0 else "upto(2)",
            )
            names.append(v)
            return v, over
        target, over = self.draw(
            st.sampled_from([
                (v, "xs"), (v, "xs"), (f"{v}, {r}", "zip(xs, ys)"), (f"{v}, *{r}", "zip(xs, ys, xs)"),
                (f"{v}, {r}", "enumerate(xs)"), (v, "map(twice, xs)"), (v, "filter(odd, xs)"),
                (v, "map(max, zip(map(num, xs), map(num, ys)))"), (f"*{r}, {v}", "zip(ys, zip(xs))"),
                (v, "GENEXPR"), (v, "GENEXPR"),
            ])  # fmt: skip
        )
        if over == "GENEXPR":
            over = self.generator([], depth - 1, inner=False) if depth > 0 else "xs"
        names.append(v)
        if r in target:
            names.append(r)
        return target, over

    def generator(self, outside: list[str], depth: int, inner: bool) -> str:
        names = list(outside)
        target, over = self.source(names, depth, inner)
        clauses = [f"for {target} in {over}"]
        # in the iterable of another comprehension a walrus is a syntax error
        if not inner and self.draw(st.booleans()):
            clauses.append(f"if {self.walrus(names, 1) if depth == DEPTH else self.test(names, 1)}")
        for _ in range(self.draw(st.integers(0, 2 if depth > 1 else 0))):
            if self.draw(st.booleans()):
                target, over = self.source(names, depth - 1, inner=True)
                clauses.append(f"for {target} in {over}")
            clauses += [f"if {self.test(names, 1)}" for _ in range(self.draw(st.integers(0, 1)))]
        body = self.number(names, depth - 1) if inner else self.body(names, depth - 1)
        return f"({body} {' '.join(clauses)})"


@st.composite
def programs(draw: Any) -> Program:
    """Generator expressions, three levels deep at most."""
    return Program(_Writer(draw).generator([], DEPTH, inner=False), draw(st.booleans()))


def _yielded(items: Iterable[Any]) -> Iterator[Any]:
    yield from items


def _advanced(items: Any) -> Iterator[Any]:
    iterator = iter(items)
    next(iterator, None)
    return iterator


_LISTS = st.lists(st.integers(-20, 20), max_size=25)

# factories: an iterator can be consumed once, and two consumers are to be compared
inputs = st.one_of(
    st.builds(lambda *r: lambda: range(*r), st.integers(-9, 9), st.integers(-9, 30), st.sampled_from([1, 2, -1])),
    _LISTS.map(lambda x: lambda: x),
    _LISTS.map(lambda x: lambda: tuple(x)),
    _LISTS.map(lambda x: lambda: dict.fromkeys(x, 1)),
    _LISTS.map(lambda x: (lambda s: lambda: s)(set(x))),
    st.text("aé€𝄞\0", max_size=15).map(lambda x: lambda: x),
    st.binary(max_size=15).map(lambda x: lambda: x),
    st.binary(max_size=15).map(lambda x: lambda: bytearray(x)),
    st.lists(st.none() | st.tuples(st.integers(0, 3)), max_size=9).map(lambda x: lambda: x),
    _LISTS.map(lambda x: lambda: _yielded(x)),
    _LISTS.map(lambda x: lambda: _advanced(x)),
    _LISTS.map(lambda x: lambda: _advanced(tuple(x))),
    st.text("aé", max_size=9).map(lambda x: lambda: _advanced(x)),
    st.integers(0, 20).map(lambda n: lambda: _advanced(range(n, 2 * n))),
    st.integers(0, 20).map(lambda n: lambda: _advanced(range(2**70, 2**70 + n))),
    _LISTS.map(lambda x: lambda: _advanced(_yielded(x))),
    _LISTS.map(lambda x: lambda: deque(x)),
    _LISTS.map(lambda x: lambda: reversed(x)),
    _LISTS.map(lambda x: lambda: _advanced(dict.fromkeys(x).items())),
)

run_options = st.fixed_dictionaries({
    "chunksize": st.one_of(st.just("auto"), st.integers(1, 9)),
    "buffersize": st.one_of(st.just("auto"), st.integers(1, 20)),
    "workers": st.integers(1, 2),
})  # fmt: skip

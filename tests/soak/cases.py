"""A loop drawn at random - items, faults, options - and what it must come to, by the words of the laws alone."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice
from typing import Any, NamedTuple

import items as i
import numpy as np
from items import Bad, Flaky, Work, token

TIMEOUT = 1.0  # seconds; a good item takes 3 ms, and may be stopped for 80
_runs = count()


class Got(NamedTuple):
    """What a loop came to: the values, and the error at its end, if there was one."""

    values: list[Any]
    error: Bad | None = None

    def __str__(self) -> str:
        return f"{len(self.values)} values, then {self.error}: {self.values!r:.400}"


def instead(error: BaseException) -> Any:
    """What stands in the place of an error where `on_error` is a function."""
    return "instead", type(error).__name__


def read(loop: Iterable[Any], limit: int | None = None) -> Got:
    """Iterate, and write down what comes."""
    values: list[Any] = []
    try:
        for value in islice(loop, limit):
            values.append(token(value))  # noqa: PERF401
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and error.__cause__ is None:
            raise  # somebody's own: that of an item has the worker's traceback as its cause
        return Got(values, token(error))
    return Got(values)


def same(got: Got, expected: Got) -> None:
    """Raise AssertionError where one is not the other, with the first difference."""
    if repr(got) == repr(expected):  # by their texts: floats to the last bit, and True is not 1
        return
    pairs = enumerate(zip(got.values, expected.values, strict=False))
    first = next((f"value {n}: {one!r:.300} instead of {other!r:.300}" for n, (one, other) in pairs if one != other), "")
    raise AssertionError(f"\n  first    {first}\n  got      {got}\n  expected {expected}")


class Draw:
    """What a round allows. ``deadly``: items may kill their workers, and hang."""

    def __init__(self, rng: random.Random, deadly: bool, timed: bool = False) -> None:
        self.rng, self.deadly, self.timed = rng, deadly, timed

    def fork(self) -> Draw:
        """The same for a part of the round, with numbers of its own."""
        return Draw(random.Random(self.rng.random()), self.deadly, self.timed)

    def case(self, **limits: Any) -> Case:
        """A loop."""
        return Case(self, **limits)


class Case:
    """One loop. ``results``: its values travel back; ``plain``: its items are whole numbers."""

    def __init__(
        self, draw: Draw, *, results: bool = True, plain: bool = False, on_error: Iterable[Any] = (), least: int = 0
    ) -> None:
        self.rng = draw.rng
        self.kind = "int" if plain else self.rng.choice(["int", "int", "int", "bytes", "array"])
        self.items: list[Any] = self._items(least)
        self.options = self._options(on_error)
        faults = self._faults(draw, results)
        longest = min(0.003, 0.5 / max(1, len(self.items)))
        self.work = Work(faults, self.rng.choice([0.0, 0.0, longest, longest]))
        self.function: Callable[[Any], Any] = self.work
        if not plain and self.rng.random() < 0.2:
            self.options["retries"] = self.rng.choice([1, 2])
            self.function = Flaky(self.work, next(_runs) * 1000 + self.rng.randrange(1000))
        if draw.deadly and not draw.timed and any(kind in i.HANGERS for kind in faults.values()):
            self.options["timeout"] = TIMEOUT

    def __str__(self) -> str:
        faults = sorted(self.work.faults.items())
        faults += [(x.key, x.fault) for x in self.items if isinstance(x, i.Argument)]
        return f"{len(self.items)} {self.kind} {self.options} {dict(faults)} pause={self.work.pause:g}"

    # ---- drawing -------------------------------------------------------------------------------------

    def _items(self, least: int) -> list[Any]:
        rng = self.rng
        if self.kind == "int":
            return list(range(rng.choice([1, 5, 20, 100, 400, 3000]) + least))
        size = rng.choice([[40], [50_000], [300_000], [40, 5_000, 60_000, 400_000]])
        if self.kind == "bytes":
            return [n.to_bytes(8, "little") * (rng.choice(size) // 8) for n in range(rng.randint(1, 60) + least)]
        arrays = [np.full(rng.choice(size), n, "f8") for n in range(rng.randint(1, 16) + least)]
        for array in arrays:
            array.flags.writeable = rng.random() < 0.7
        return arrays

    def _options(self, on_error: Iterable[Any]) -> dict[str, Any]:
        rng = self.rng
        options: dict[str, Any] = {"on_error": rng.choice([*on_error] or ["raise", "skip", "skip", "return", instead])}
        many = len(self.items) > 500  # in tiny pieces, by workers that are replaced, that takes minutes
        if rng.random() < 0.6:
            options["chunksize"] = rng.choice([50, 200] if many else [1, 2, 3, 7, 50])
        if rng.random() < 0.3:
            options["buffersize"] = rng.choice([100, 1000] if many else [1, 3, 10, 64])
        if rng.random() < 0.1:
            options["buffer_bytes"] = rng.choice([1000, 1 << 20])
        return options

    def _faults(self, draw: Draw, results: bool) -> dict[int, str]:
        rng = self.rng
        kinds = self._some(i.HARMLESS, 0.5, 3) + self._some(i.RAISERS, 0.5, 3)
        if results:
            kinds += self._some(i.RESULTS, 0.2, 2)
        if draw.deadly:
            kinds += self._some(i.KILLERS, 0.7, 2) + self._some(i.HANGERS, 0.2, 1)
        if draw.rng.random() < 0.15:
            fault = rng.choice([name for name in i.ARGUMENTS if draw.deadly or "kill" not in name])
            place = rng.randrange(len(self.items))
            self.items[place] = i.Argument(place, fault)
        places = [n for n, item in enumerate(self.items) if not isinstance(item, i.Argument)]
        rng.shuffle(kinds)
        return dict(zip(rng.sample(places, min(len(places), len(kinds))), kinds, strict=False))

    def _some(self, kinds: dict[str, Any], chance: float, most: int) -> list[str]:
        count = self.rng.randint(1, most) if self.rng.random() < chance else 0
        return self.rng.choices([*kinds], k=count)

    # ---- running -------------------------------------------------------------------------------------

    def source(self) -> Iterable[Any]:
        """The items, in one shape or another."""
        if self.items == [*range(len(self.items))] if self.kind == "int" else False:
            return self.rng.choice([range(len(self.items)), iter(self.items), list(self.items), self._generated()])
        return self.rng.choice([self.items, tuple(self.items), iter(self.items), self._generated()])

    def _generated(self) -> Iterator[Any]:
        yield from self.items

    # ---- what it must come to --------------------------------------------------------------------------

    def outcomes(self, good: Callable[[Any], Any] | None = None) -> list[Any]:
        """Of each item: `good` of it (its answer, if nothing else is said), or `Bad`."""
        made = good or (lambda item: token(i.answer(item)))
        errors = [self.work.error(item) for item in self.items]
        return [
            made(item) if error is None else Bad(error, place)
            for place, (item, error) in enumerate(zip(self.items, errors, strict=True))
        ]

    def expected(self, outcomes: list[Any] | None = None) -> Got:
        """The values, and the error, by what `on_error` says."""
        values: list[Any] = []
        for outcome in self.outcomes() if outcomes is None else outcomes:
            if not isinstance(outcome, Bad) or self.options["on_error"] == "return":
                values.append(outcome)
            elif self.options["on_error"] == "raise":
                return Got(values, outcome)
            elif self.options["on_error"] is instead:
                values.append(("instead", outcome.error))
        return Got(values)

    def check(self, got: Got, expected: Got) -> None:
        """Raise AssertionError where one is not the other; unordered, where that was asked for."""
        if self.options.get("ordered", True):
            same(got, expected)
        elif self.options["on_error"] != "raise":
            assert _count(got.values) == _count(expected.values), f"\n  got      {got}\n  expected {expected}"
        else:
            outcomes = self.outcomes()
            possible = [outcome for outcome in outcomes if isinstance(outcome, Bad)] or [None]
            assert got.error in possible, f"\n  got      {got}\n  expected one of {possible}"
            surplus = _count(got.values) - _count(outcomes)
            assert not surplus and (got.error or len(got.values) == len(outcomes)), f"\n  too many {surplus}"


def _count(values: list[Any]) -> Counter[str]:
    return Counter(map(repr, values))

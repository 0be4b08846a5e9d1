"""The verbs of the soak: each draws loops, says what they are, and returns what runs and checks them."""

from __future__ import annotations

import gc
import operator
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import items as i
from cases import Case, Draw, Got, instead, read, same
from items import Bad, key_of, token

import mrpy


class Planned(NamedTuple):
    """``run``: raises AssertionError where what comes is not what must."""

    text: str
    run: Callable[[], None]


# ---- one loop ---------------------------------------------------------------------------------------------------


class Keep:
    """A predicate that goes through the faults of its items."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, item: Any) -> bool:
        self.function(item)
        return kept(item)


def kept(item: Any) -> bool:
    return key_of(item) % 3 != 1


class Nested:
    """Runs a loop of its own inside a task."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, item: Any) -> Any:
        assert list(mrpy.pmap(operator.neg, range(4))) == [0, -1, -2, -3]
        assert mrpy.submit(abs, -2).result() == 2
        return self.function(item)


def _ordered_or_not(case: Case) -> Case:
    if case.rng.random() < 0.25:
        case.options["ordered"] = False
    return case


def pmap(draw: Draw) -> Planned:
    case = _ordered_or_not(draw.case())
    function = Nested(case.function) if case.rng.random() < 0.2 else case.function
    loop = mrpy.pmap(function, case.source(), **case.options)
    return Planned(f"pmap of {case}", lambda: case.check(read(loop), case.expected()))


def parallel(draw: Draw) -> Planned:
    case = _ordered_or_not(draw.case())
    function = case.function
    loop = mrpy.parallel((function(x) for x in case.source()), **case.options)
    return Planned(f"parallel of {case}", lambda: case.check(read(loop), case.expected()))


def pstarmap(draw: Draw) -> Planned:
    case = draw.case()
    loop = mrpy.pstarmap(case.function, ((item,) for item in case.source()), **case.options)
    return Planned(f"pstarmap of {case}", lambda: case.check(read(loop), case.expected()))


def pfilter(draw: Draw) -> Planned:
    case = draw.case(results=False)
    loop = mrpy.pfilter(Keep(case.function), case.source(), **case.options)

    def run() -> None:
        outcomes = case.outcomes(lambda item: token(item) if kept(item) else None)
        case.check(read(loop), case.expected([each for each in outcomes if each is not None]))

    return Planned(f"pfilter of {case}", run)


def chain(draw: Draw) -> Planned:
    case = draw.case(plain=True, results=False)
    loop = mrpy.stream(case.source(), **case.options).map(case.function).filter(_even).flat_map(_twice).map(str)

    def run() -> None:
        case.check(read(loop), case.expected([each for found in case.outcomes() for each in _chained(found)]))

    return Planned(f"chain of {case}", run)


def _chained(outcome: Any) -> list[Any]:
    """What the chain makes of an outcome."""
    return [outcome] if isinstance(outcome, Bad) else [str(outcome)] * 2 if _even(outcome) else []


def _even(value: int) -> bool:
    return value % 2 == 0


def _twice(value: int) -> list[int]:
    return [value, value]


def batches(draw: Draw) -> Planned:
    """Two runs, one the source of the other."""
    case = draw.case(plain=True, results=False, on_error=["raise", "skip"])
    size = case.rng.randint(2, 9)
    loop = mrpy.stream(case.source(), **case.options).map(case.function).batch(size).map(sum)

    def run() -> None:
        values, error = case.expected()
        cuts = [sum(values[at : at + size]) for at in range(0, len(values), size)]
        case.check(read(loop), Got(cuts[: len(values) // size] if error else cuts, error))

    return Planned(f"batches of {case}", run)


# ---- one answer -------------------------------------------------------------------------------------------------


def _answered(ask: Callable[[], Any]) -> Got:
    return read(ask() for _ in range(1))


class Inverse:
    """A float of an item, whose sum depends on the order."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, item: int) -> float:
        return 1.0 / (1.1 + self.function(item))


class Simulated:
    """The same faults, all of them simply raised: what the serial loop may do in this process."""

    def __init__(self, case: Case) -> None:
        self.case = case

    def __call__(self, item: Any) -> Any:
        if self.case.work.error(item) is not None:
            raise ValueError
        return i.answer(item)


def preduce(draw: Draw) -> Planned:
    """A sum of floats, to the last bit."""
    case = draw.case(plain=True, results=False, on_error=["raise", "skip", _quarter])
    function, simulated = Inverse(case.function), Inverse(Simulated(case))
    source = case.source()

    def run() -> None:
        bad = [each for each in case.outcomes() if isinstance(each, Bad)]
        got = _answered(lambda: mrpy.preduce(operator.add, (function(x) for x in source), 0.0, **case.options))
        if case.options["on_error"] == "raise" and bad:
            expected = Got([], bad[0])
        else:
            options = {"backend": "serial", "on_error": case.options["on_error"]}
            expected = Got([mrpy.preduce(operator.add, map(simulated, case.items), 0.0, **options)])
        same(got, expected)

    return Planned(f"preduce of {case}", run)


def _quarter(error: BaseException) -> float:
    return 0.25


def pfold(draw: Draw) -> Planned:
    case = draw.case(plain=True, results=False, on_error=["raise", "skip"])
    function, source = case.function, case.source()

    def run() -> None:
        got = _answered(lambda: mrpy.pfold(_plus, (function(x) for x in source), 0, **case.options))
        values, error = case.expected()
        case.check(got, Got([], error) if error else Got([sum(values)]))

    return Planned(f"pfold of {case}", run)


def _plus(total: int, value: int) -> int:
    return total + value


def mapreduce(draw: Draw) -> Planned:
    case = draw.case(plain=True, results=False, on_error=["raise", "skip"])
    loop = mrpy.mapreduce(Mapper(case.function), _listed, case.source(), **case.options)

    def run() -> None:
        values, error = case.expected()
        groups: dict[int, list[int]] = {}
        for value in values:
            groups.setdefault(value % 5, []).append(value)
        got = read(loop)
        case.check(Got(sorted(got.values), got.error), Got([] if error else sorted(groups.items()), error))

    return Planned(f"mapreduce of {case}", run)


class Mapper:
    """A number, by its rest."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, item: int) -> Any:
        value = self.function(item)
        yield value % 5, value


def _listed(key: int, values: Iterator[int]) -> Any:
    return list(values)


def submit(draw: Draw) -> Planned:
    """Single calls, asked for in any order. Positions are not theirs to say."""
    case = draw.case(on_error=["raise"])
    if not draw.timed and case.options.pop("timeout", None):
        case.work = i.Work({n: f for n, f in case.work.faults.items() if f not in i.HANGERS}, case.work.pause)
    case.function = case.work
    chosen = case.rng.sample(range(len(case.items)), min(len(case.items), 25))

    def run() -> None:
        pending = [_answered_later(case.function, case.items[n]) for n in chosen]
        outcomes = case.outcomes()
        for n, ask in sorted(zip(chosen, pending, strict=True), key=lambda pair: pair[0]):
            got, outcome = _answered(ask), outcomes[n]
            wanted = Got([], Bad(outcome.error, None)) if isinstance(outcome, Bad) else Got([outcome])
            error = got.error and got.error._replace(position=None)
            assert (got.values, error) == wanted, f"\n  item {n}: got {got}, expected {wanted}"

    return Planned(f"submit of {case}", run)


def _answered_later(function: Callable[[Any], Any], item: Any) -> Callable[[], Any]:
    try:
        return mrpy.submit(function, item).result
    except mrpy.errors.SerializationError as error:
        problem = error

        def told() -> None:
            raise problem

        return told


# ---- several loops ----------------------------------------------------------------------------------------------


def several(draw: Draw) -> Planned:
    """Several iterators at once, asked in turn."""
    cases = [draw.fork().case() for _ in range(draw.rng.randint(2, 4))]
    loops = [mrpy.pmap(case.function, case.source(), **case.options) for case in cases]

    def run() -> None:
        found = [Got([]) for _ in cases]
        active = [*range(len(cases))]
        while active:
            n = draw.rng.choice(active)
            step = draw.rng.choice([1, 1, 5, 50])
            more = read(loops[n], step)
            found[n] = Got(found[n].values + more.values, more.error)
            if more.error or len(more.values) < step:
                active.remove(n)
        for case, got in zip(cases, found, strict=True):
            case.check(got, case.expected())

    return Planned("several: " + "; ".join(map(str, cases)), run)


def zipped(draw: Draw) -> Planned:
    """A run over two runs."""
    left, right = (draw.fork().case(on_error=["skip", instead], results=False) for _ in range(2))
    pair = (mrpy.pmap(case.function, case.source(), **case.options) for case in (left, right))
    options = {name: left.options[name] for name in ("chunksize", "buffersize") if name in left.options}
    loop = mrpy.pmap(_pair, *pair, **options)

    def run() -> None:
        both = [*zip(left.expected().values, right.expected().values, strict=False)]
        same(read(loop), Got(both))

    return Planned(f"zip of {left} and {right}", run)


def _pair(left: Any, right: Any) -> tuple[Any, Any]:
    return left, right


def threads(draw: Draw) -> Planned:
    """Several verbs at the same time, each in a thread of its own."""
    chosen = [draw.rng.choice(SINGLE)(draw.fork()) for _ in range(draw.rng.randint(2, 4))]

    def run() -> None:
        problems: list[BaseException] = []

        def one(planned: Planned) -> None:
            try:
                planned.run()
            except BaseException as problem:
                problems.append(problem)

        running = [threading.Thread(target=one, args=(each,)) for each in chosen]
        for each in running:
            each.start()
        for each in running:
            each.join()
        if problems:
            raise problems[0]

    return Planned("threads: " + "; ".join(each.text for each in chosen), run)


def broken_off(draw: Draw) -> Planned:
    """A consumer that has had enough."""
    case = draw.case()
    limit = case.rng.randrange(len(case.items) + 1)
    how = case.rng.choice(["close", "forget"])
    loops = [mrpy.pmap(case.function, case.source(), **case.options)]

    def run() -> None:
        values, error = case.expected()
        cut = Got(values[:limit], error if limit > len(values) else None)
        case.check(read(loops[0], limit), cut)
        if how == "close":
            loops[0].close()
        loops.clear()
        gc.collect()

    return Planned(f"{how} after {limit} of pmap of {case}", run)


def closed(draw: Draw) -> Planned:
    """A session that is closed half-way."""
    case = draw.case()
    limit = case.rng.randrange(len(case.items) + 1)

    def run() -> None:
        values, error = case.expected()
        with mrpy.session("processes", workers=2):
            loop = mrpy.pmap(case.function, case.source(), **case.options)
            pending = [mrpy.submit(abs, -n) for n in range(5)]
            first = read(loop, limit)
        case.check(first, Got(values[:limit], error if limit > len(values) else None))
        rest = read(loop)
        assert rest.values == values[limit:][: len(rest.values)], f"\n  the rest: {rest}\n  expected {values[limit:]}"
        whole = first.error or (rest.error == error and len(rest.values) == len(values[limit:]))
        assert whole or (rest.error and rest.error.error == "SessionClosed"), f"\n  the rest: {rest}"
        for n, each in enumerate(pending):
            got = _answered(each.result)
            assert got == Got([n]) or (got.error and got.error.error == "SessionClosed"), f"\n  submitted: {got}"

    return Planned(f"session closed after {limit} of pmap of {case}", run)


SINGLE = [pmap, parallel, pstarmap, pfilter, chain, batches, preduce, pfold, mapreduce, submit]
VERBS = [*SINGLE, pmap, several, several, zipped, threads, threads, broken_off, broken_off, closed]

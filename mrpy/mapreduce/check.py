"""Does the answer depend on the cut? Found out by trying, on a small sample.

A stage is run on the sample as a whole and cut in two at every place; an operator combines three
neighbours both ways. Where the answers differ, items are taken away one by one as long as they still
differ: what is left is the smallest example (delta debugging: Zeller and Hildebrandt, IEEE Trans.
Softw. Eng. 28, 2002). All of it is done on copies of the items, in the thread and process that asks.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice, pairwise
from operator import length_hint
from types import GeneratorType
from typing import Any

from mrpy.errors import CheckFailed, SerializationError
from mrpy.mapreduce.folds import Fold, FoldLeaf, ReduceLeaf
from mrpy.mapreduce.kernels import through
from mrpy.mapreduce.random import at_positions
from mrpy.mapreduce.steps import Body, Step, name_of
from mrpy.mapreduce.tree import NOTHING
from mrpy.scheduler.failure import short_repr

TRIPLES = 2000  # triples tried of an operator, at most
# How many items of the real data ``check=True`` looks at, and at most of what is made of them for a stage or
# a key, which may be many of each: the work grows with their third power.
ON_A_RUN = 24
NEAR = 1e-9  # of a float, what two of them may differ by that are the same
ROUNDED = 1e-13  # of the largest that they are made of, likewise: some hundred roundings

Function = Callable[[Iterator[Any]], Iterator[Any]]
Reducer = Callable[[Any, Iterator[Any]], Any]


def check_steps(steps: tuple[Step, ...], items: Sequence[Any]) -> None:
    """See whether the stages of a plan depend on the cut, on some of its items."""
    steps, items = read(steps, items)
    items = passing(steps, items)
    for number, step in enumerate(steps):
        if isinstance(step, Body) and not getattr(step.function, "any_cut", False):
            check_body(step.over, made_of(steps[:number], items)[:ON_A_RUN], str(step))


def read(steps: tuple[Step, ...], items: Sequence[Any]) -> tuple[tuple[Step, ...], Sequence[Any]]:
    """Where the first step reads: some of what it reads, and the steps over that. Errors are for the run."""
    if not steps or not hasattr(steps[0], "begin"):
        return steps, items
    records, made = steps[0].over(iter(items)), []
    for _ in range(ON_A_RUN):
        try:
            made.append(next(records))
        except StopIteration:
            break
        except Exception:  # noqa: S112
            continue
    return steps[1:], made


def passing(steps: tuple[Step, ...], items: Sequence[Any]) -> list[Any]:
    """The items that go through the steps without an error. One that raises will do so in the run as well, at
    its own place, and there `on_error` says what becomes of it."""
    return [item for place, item in enumerate(items) if not _raises(steps, item, place)]


def _raises(steps: tuple[Step, ...], item: Any, place: int) -> bool:
    fresh = _copies([item])
    try:
        _run_over(partial(through, steps), fresh, place)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return True
    return False


def made_of(steps: tuple[Step, ...], items: Sequence[Any]) -> list[Any]:
    """What the steps make of copies of the items."""
    return _run(partial(through, steps), list(items))


def check_fold(steps: tuple[Step, ...], fold: Fold, items: Sequence[Any]) -> None:
    """See whether the stages and the reducer of a run depend on the cut, on some of its items."""
    steps, items = read(steps, items)
    check_steps(steps, items)
    if not is_theirs(fold):
        return
    values = made_of(steps, passing(steps, items))
    if isinstance(fold.leaf, FoldLeaf):
        check_initial(fold, fold.leaf.initial, values[:ON_A_RUN])
    leaves = [fold.leaf(iter([value])) for value in values]
    name = "" if isinstance(fold.leaf, ReduceLeaf) else fold.name
    check_operator(fold.merge, [leaf for leaf in leaves if leaf is not NOTHING], name)


def is_theirs(fold: Fold) -> bool:
    """Whether the user has written what is to be associative. What we have is, but for rounding."""
    return isinstance(fold.leaf, FoldLeaf | ReduceLeaf)


def check_initial(fold: Fold, initial: Any, items: Sequence[Any]) -> None:
    """Raise `CheckFailed` if it shows in the answer that each stretch begins with the initial value."""

    def over(part: Sequence[Any]) -> Any:
        return fold.leaf(iter(_copies(part)))

    for part in (*pairwise(items), items):  # small examples first
        for cut in range(1, len(part)):
            whole, joined = over(part), fold.merge(over(part[:cut]), over(part[cut:]))
            if not same(whole, joined, part):
                raise CheckFailed(
                    f"{fold.name} depends on the cut: over {short_repr(list(part))} as a whole it comes to "
                    f"{short_repr(whole)}, but cut before item {cut} and combined to {short_repr(joined)}; "
                    f"each part begins with the initial value {short_repr(initial)}, which must be neutral"
                )


def check_combiner(combiner: Reducer, reducer: Reducer, key: Any, values: list[Any]) -> None:
    """Raise `CheckFailed` if what the reducer makes of a key depends on what was combined before."""

    def combined(part: list[Any]) -> list[Any]:
        return _made(combiner, key, part) if len(part) > 1 else part

    whole = _made(reducer, key, values)
    for cut in range(1, len(values)):
        part = _made(reducer, key, combined(combined(values[:cut]) + combined(values[cut:])))
        if not same(whole, part, [[value] for value in values]):
            raise CheckFailed(
                f"the combiner {name_of(combiner)} changes the answer: of the values {short_repr(values)} of "
                f"the key {short_repr(key)} the reducer makes {short_repr(whole)}, but {short_repr(part)} "
                f"where those before and from value {cut} on were combined first"
            )


def _made(function: Reducer, key: Any, values: list[Any]) -> list[Any]:
    """All that a reducer or combiner returns, or yields."""
    with at_positions(0, lambda: 0):
        made = function(key, iter(_copies(values)))
        return list(made) if isinstance(made, GeneratorType) else [made]


def check_body(body: Function, items: Sequence[Any], name: str) -> None:
    """Raise `CheckFailed` if what `body` yields depends on where its input is cut."""
    for length in range(2, len(items) + 1):
        for begin in range(len(items) - length + 1):
            part = list(items[begin : begin + length])
            if _bad_cut(body, part) is not None:
                raise CheckFailed(_stage_text(body, _smallest(body, part), name))


def _bad_cut(body: Function, items: list[Any]) -> int | None:
    """A place where cutting the items changes the answer."""
    whole = _run(body, items)
    for cut in range(1, len(items)):
        if not same(whole, _in_two(body, items, cut)):
            return cut
    return None


def _smallest(body: Function, items: list[Any]) -> list[Any]:
    shrinking = True
    while shrinking:
        shrinking = False
        for place in range(len(items)):
            fewer = items[:place] + items[place + 1 :]
            if _bad_cut(body, fewer) is not None:
                items, shrinking = fewer, True
                break
    return items


def _in_two(body: Function, items: list[Any], cut: int) -> list[Any]:
    return _run(body, items[:cut]) + _run(body, items[cut:], cut)


def _run(body: Function, items: list[Any], first: int = 0) -> list[Any]:
    return _run_over(body, _copies(items), first)


def _run_over(body: Function, items: list[Any], first: int) -> list[Any]:
    """What comes of items, of which the first has this position: `mrpy.rng` asks for it."""
    iterator = iter(items)
    with at_positions(0, lambda: first + len(items) - length_hint(iterator) - 1):
        return list(body(iterator))


def _stage_text(body: Function, items: list[Any], name: str) -> str:
    whole, again = _run(body, items), _run(body, items)
    if not same(whole, again):
        return (
            f"{name} carries something from one run to the next: over {short_repr(items)} it yields "
            f"{short_repr(whole)} one time and {short_repr(again)} another; mrpy.rng() gives what is random"
        )
    cut = _bad_cut(body, items) or 0
    return (
        f"{name} carries something from one item to the next: over {short_repr(items)} as a whole it yields "
        f"{short_repr(whole)}, but cut before item {cut} it yields {short_repr(_in_two(body, items, cut))}"
    )


def check_operator(operator: Callable[[Any, Any], Any], items: Sequence[Any], name: str = "") -> None:
    """Raise `CheckFailed` if `operator` is not associative on these items."""
    name = name or name_of(operator)
    for a, b, c in islice(_triples(items), TRIPLES):
        left = operator(operator(_fresh(a), _fresh(b)), _fresh(c))
        right = operator(_fresh(a), operator(_fresh(b), _fresh(c)))
        if not same(left, right, (a, b, c)):
            x, y, z = short_repr(a), short_repr(b), short_repr(c)
            raise CheckFailed(
                f"{name} is not associative: {name}({name}({x}, {y}), {z}) is {short_repr(left)}, "
                f"but {name}({x}, {name}({y}, {z})) is {short_repr(right)}"
            )


def _triples(items: Sequence[Any]) -> Iterator[tuple[Any, Any, Any]]:
    """Triples of the items: neighbours, and then all of them, those of the first items first."""
    yield from zip(items, items[1:], items[2:], strict=False)
    for size in range(1, len(items) + 1):
        last = items[size - 1]
        known = items[:size]
        for a in known:
            for b in known:
                yield a, b, last
                if size > 1:
                    yield a, last, b
                    yield last, a, b


def _fresh(value: Any) -> Any:
    """A copy: an operator may change its left argument in place."""
    return _copies([value])[0]


def _copies(items: Sequence[Any]) -> list[Any]:
    try:
        with _iterators_too():
            return copy.deepcopy(list(items))
    except Exception as error:
        raise SerializationError(
            f"items are tried as copies, and one of {short_repr(list(items))} cannot be copied: {error}; "
            "give mrpy.check others, or leave out check=True"
        ) from error


@contextmanager
def _iterators_too() -> Iterator[None]:
    """Python 3.12 and 3.13 warn where one of itertools is copied: 3.14 does not do that any more."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def same(left: Any, right: Any, items: Sequence[Any] = (), seen: frozenset[int] = frozenset()) -> bool:
    """Whether two answers are the same that are made of these items. Floats need agree to nine digits only,
    whatever holds them: their sums depend on the order by their nature, and are made to be the same by the
    tree, not by the operator. Where large ones cancel, what is left may be nothing but rounding: it is
    measured by the floats that the items have at the same place. What is equal to nothing, or to nothing but
    itself, is compared by what it holds; `seen` are those that hold these."""
    if left is right or id(left) in seen:
        return True
    if isinstance(left, float | complex) and isinstance(right, float | complex):
        return _agree(left, right, items)
    if hasattr(type(left), "tolist") and hasattr(type(right), "tolist"):  # arrays compare element by element
        lists = [item.tolist() for item in items if hasattr(type(item), "tolist")]
        return same(left.tolist(), right.tolist(), lists)
    if type(left) is not type(right) or isinstance(left, type):
        return _equal(left, right) is True
    alike = [item for item in items if type(item) is type(left)]
    if isinstance(left, list | tuple):
        alike = [item for item in alike if len(item) == len(left)]
        return len(left) == len(right) and all(
            same(a, b, at, seen) for a, b, *at in zip(left, right, *alike, strict=True)
        )
    if isinstance(left, dict):
        both = left.keys() & right.keys()
        mine, theirs = ([pair for pair in each.items() if pair[0] not in both] for each in (left, right))
        return all(
            same(left[key], right[key], [item[key] for item in alike if key in item], seen) for key in both
        ) and _same_somehow(mine, theirs, seen)
    if isinstance(left, set | frozenset):
        return _same_somehow(list(left - right), list(right - left), seen)
    equal = _equal(left, right)
    if equal is not None:
        return equal
    return same(_parts(left), _parts(right), [_parts(item) for item in alike], seen | {id(left)})


def _agree(left: complex, right: complex, items: Sequence[Any]) -> bool:
    if left == right or (left != left and right != right):
        return True
    near = [_share(NEAR, left), _share(NEAR, right)]
    near += [_share(ROUNDED, item) for item in items if isinstance(item, float | complex)]
    return _share(1.0, left - right) <= max(filter(math.isfinite, near), default=0.0)


def _share(share: float, number: complex) -> float:
    """A share of its absolute value, which itself may be too large for a float where it is complex."""
    return math.hypot(share * number.real, share * number.imag)


def _same_somehow(left: list[Any], right: list[Any], seen: frozenset[int]) -> bool:
    """Whether they are the same in some order."""
    for a in left:
        place = next((place for place, b in enumerate(right) if same(a, b, (), seen)), None)
        if place is None:
            return False
        del right[place]
    return not right


def _equal(left: Any, right: Any) -> bool | None:
    """What they say themselves. None: they are not, but may be the same by what they hold."""
    try:
        if left == right:
            return True
    except Exception:  # tables of other libraries say so for each element
        return short_repr(left, 10_000) == short_repr(right, 10_000)
    itself = getattr(type(left), "__eq__", None) is object.__eq__
    return None if itself or (type(left).__module__ != "builtins" and _parts(left) is not None) else False


def _parts(value: Any) -> Any:
    """What a copy of it is made of; else its state, or None."""
    try:
        with _iterators_too():
            made = value.__reduce_ex__(4)
        return made if isinstance(made, str) else [*made[:3], *(list(each or ()) for each in made[3:5])]
    except Exception:
        return value.__getstate__()

"""Narrow steps: what is done with one item at a time, so that any stretch of a source can be taken through
all of them by itself, on any worker. Each says how it turns an iterator of items into another one (`over`);
several are fused by nesting. They travel to the workers, inside of a kernel, and print themselves.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import chain
from types import CellType, CodeType, FunctionType, GeneratorType

from mrpy.light import TYPE_CHECKING, Frozen, later

if TYPE_CHECKING:
    import inspect
    from typing import Any, Protocol

    from mrpy.mapreduce import sources
else:
    inspect, sources = later("inspect"), later("mrpy.mapreduce.sources")  # most workers need neither
    Protocol = object

GENEXPR = "<genexpr>"  # what the compiler calls the code of a generator expression
LONGEST = 70  # characters of source shown


class Step(Protocol):
    """One narrow step."""

    def over(self, items: Iterator[Any]) -> Iterator[Any]:
        """What a plain loop over these items would yield."""

    def __str__(self) -> str: ...


# The functions are called in generator expressions, not by `map` and `filter`: a StopIteration that escapes
# from one becomes a RuntimeError there (PEP 479), where `map` would silently end the chunk.


class Map(Frozen):
    """``map(function, items)``."""

    function: Callable[[Any], Any]

    def over(self, items: Iterator[Any]) -> Iterator[Any]:
        function = self.function
        return (function(item) for item in items)

    def into(self, items: Iterator[Any], values: list[Any]) -> None:
        """``values.extend(self.over(items))``. For the last step of a map: it takes a fifth less time, since
        there is no generator to enter for each item."""
        function = self.function
        try:
            for item in items:
                values.append(function(item))
        except StopIteration as error:  # as in a generator
            raise RuntimeError(f"a function raised {error!r}") from error

    def __str__(self) -> str:
        return f"map {name_of(self.function)}"


class StarMap(Frozen):
    """``itertools.starmap(function, items)``."""

    function: Callable[..., Any]

    def over(self, items: Iterator[Any]) -> Iterator[Any]:
        function = self.function
        return (function(*item) for item in items)

    def __str__(self) -> str:
        return f"starmap {name_of(self.function)}"


class Filter(Frozen):
    """``filter(predicate, items)``."""

    predicate: Callable[[Any], Any]

    def over(self, items: Iterator[Any]) -> Iterator[Any]:
        predicate = self.predicate
        return (item for item in items if predicate(item))

    def __str__(self) -> str:
        return f"filter {name_of(self.predicate)}"


# What `FlatMap` goes through in C. Of anything else each part is asked for by Python: a StopIteration of its
# `__iter__` is not taken for the end of all items, and nothing that goes on for long, as an iterator of
# `itertools` may, is out of reach of Ctrl-C and of other threads.
_SIZED = frozenset({list, tuple, str, bytes, set, frozenset, dict})
ITERATED_IN_C = _SIZED | {GeneratorType}
GATHERED = 4096  # parts that are gathered at least, before they are handed on


class FlatMap(Frozen):
    """``itertools.chain.from_iterable(map(function, items))``."""

    function: Callable[[Any], Iterable[Any]]

    def over(self, items: Iterator[Any]) -> Iterator[Any]:
        function = self.function
        return chain.from_iterable(
            made if type(made := function(item)) in ITERATED_IN_C else (part for part in made)
            for item in items
        )

    def gathered(self, items: Iterator[Any]) -> Iterator[Iterable[Any]]:
        """The same as iterables, few of them: parts are gathered in a list, to be used before the next one is
        asked for. For what goes through all of it in C: to go from part to part takes longer. Most parts are
        lists, and each test that these go through takes a hundredth of a word count."""
        function = self.function
        some: list[Any] = []
        extend = some.extend
        for item in items:
            made: Any = function(item)
            if type(made) is list or (type(made) in _SIZED and len(made) < GATHERED):
                extend(made)
                if len(some) < GATHERED:
                    continue
                made = ()
            yield some
            some.clear()
            yield made if type(made) in ITERATED_IN_C else (part for part in made)
        yield some

    def __str__(self) -> str:
        return f"flat_map {name_of(self.function)}"


class Probe(Frozen):
    """The items as they are, each of which is asked for its key once: so that an error of that is the item's,
    for `on_error` and `retries`, before a fold asks for it."""

    key: Callable[[Any], Any]

    def over(self, items: Iterator[Any]) -> Iterator[Any]:
        key = self.key
        for item in items:
            key(item)
            yield item

    def __str__(self) -> str:
        return f"key {name_of(self.key)}"


class Body(Frozen):
    """The body of a generator expression, or a stage: from an iterator to an iterator.

    ``binds``     it writes variables of the scope around it (``:=`` does), so that every run needs its own:
                  two threads that share them would read each other's values
    ``apart``     what it makes may refer to its variables, and so each item needs its own: nobody looks at it
                  before the next item has come, as he does in a loop
    ``late``      there are globals among these
    ``globally``  there are globals among those that it writes
    """

    function: Callable[[Iterator[Any]], Iterator[Any]]
    binds: bool = False
    apart: bool = False
    late: bool = False
    globally: bool = False

    def over(self, items: Iterator[Any]) -> Iterator[Any]:
        function = self.function
        if self.binds:
            function = _with_own_variables(function, self.globally)
        if not self.apart:
            made = function(items)  # of a stage perhaps an iterator of a library
            return made if type(made) is GeneratorType else sources.asked(iter(made))
        each = map(iter, zip(items, strict=False))  # an iterator over each item
        if self.binds:
            return chain.from_iterable(_with_own_variables(function, self.late)(one) for one in each)
        return chain.from_iterable(map(function, each))

    def __str__(self) -> str:
        code = getattr(self.function, "__code__", None)
        return text_of(code) if code is not None and code.co_name == GENEXPR else name_of(self.function)


def itself(value: Any) -> Any:
    """For where a function has to be, and nothing is to be done."""
    return value


def looks_at_single_items(step: Step) -> bool:
    """Whether a step sees nothing of where stretches begin: a stage may have to set something up there."""
    if not isinstance(step, Body):
        return not hasattr(step, "begin")  # one that reads stays over several stretches
    code = getattr(step.function, "__code__", None)
    return code is not None and code.co_name == GENEXPR


def _with_own_variables(function: Any, globals_too: bool) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """A copy of a function that shares no variable with it, or only globals."""
    cells = []
    for cell in function.__closure__ or ():
        try:
            cells.append(CellType(cell.cell_contents))
        except ValueError:  # an empty one: nothing was bound yet
            cells.append(CellType())
    names = {**function.__globals__} if globals_too else function.__globals__
    return FunctionType(function.__code__, names, function.__name__, None, tuple(cells))


def text_of(code: CodeType) -> str:
    """A generator expression as the user wrote it, where the source can be found, else where it stands."""
    return _text(code, code.co_filename)  # of two files they are equal


@lru_cache(maxsize=1000)
def _text(code: CodeType, file: str) -> str:
    where = f"(... {os.path.basename(file)}:{code.co_firstlineno})"
    places = [(a, b, c, d) for a, b, c, d in code.co_positions() if a and b and c is not None and d]
    try:
        lines, _ = inspect.findsource(code)
        top, left = min((a, c) for a, _, c, _ in places)
        bottom, right = max((b, d) for _, b, _, d in places)
    except (OSError, TypeError, IndexError, ValueError):
        return where
    rows = [line.encode() for line in lines[top - 1 : bottom]]  # columns count bytes
    if not rows:
        return where
    rows[-1] = rows[-1][:right]
    rows[0] = rows[0][left:]
    text = " ".join(b"".join(rows).decode(errors="replace").split())
    text = text if text.startswith("(") else f"({text})"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 4]}...)"


def name_of(function: object, depth: int = 9) -> str:
    """What to call a function in a plan. ``depth``: of partials; a `Mock` has a ``func`` without end.

    >>> name_of(len), name_of(str.lower)
    ('len', 'str.lower')
    """
    name = getattr(function, "__qualname__", None) or getattr(function, "__name__", None)  # of Boost.Python
    if name is None and depth and hasattr(function, "func"):  # functools.partial
        return f"{name_of(function.func, depth - 1)}(...)"
    return str(name) if name else type(function).__qualname__

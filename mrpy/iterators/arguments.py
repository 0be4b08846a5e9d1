"""What the chain asks of its arguments. A wrong one is an error at the call, not at the first item."""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Callable, Iterable
from types import FunctionType

from mrpy.errors import LiftError, OptionError
from mrpy.iterators.sharing import takes
from mrpy.light import TYPE_CHECKING
from mrpy.options import plain

if TYPE_CHECKING:
    from typing import Any

    from mrpy.options import Options


_OF_DELAYED = ("joblib/parallel.py", "sklearn/utils/parallel.py")  # where there is a function of that name


def function_for(name: str, function: Any, *sources: Any, what: str = "a function") -> Callable[..., Any]:
    """The function, if it is one, and takes nothing from the sources by itself."""
    if not callable(function):
        raise TypeError(f"{name}() needs {what}, not {type(function).__name__} {function!r:.60}")
    see_that_it_is_called(name, function)
    if sources and takes(function, sources):
        raise LiftError(
            f"the function of {name}() takes items from what it goes over, too, so that none is done apart "
            "from the others; pair the items before, as in zip(items, items)"
        )
    return function  # type: ignore[no-any-return]


def check_callable(verb: str, function: Any, *iterables: Any) -> None:
    """The same of a verb, which has what it is to go through behind its function."""
    function_for(verb, function, *iterables, what="a function first")
    see_that_all_are_iterable(verb, *iterables)


def puts_off(function: Any) -> bool:
    """Whether `delayed`, that of joblib or Dask, has made it: to call it calls nothing yet."""
    if type(function) is FunctionType:
        code = function.__code__
        return code.co_name == "delayed_function" and code.co_filename.endswith(_OF_DELAYED)
    return type(function).__module__ == "dask.delayed"


def see_that_it_is_called(verb: str, function: Any) -> None:
    """Raises `TypeError` where it would be put off."""
    if puts_off(function):
        raise TypeError(
            f"{verb}() needs the function itself, and calls it: what delayed() of joblib or Dask makes of a "
            "function calls nothing"
        )


def see_that_all_are_iterable(verb: str, *iterables: Any) -> None:
    """Raises `TypeError` where one is not. A function may be one that is to be called, and a number behind
    the first one may be meant as in `Pool.map`."""
    for place, each in enumerate(iterables):
        if hasattr(each, "__iter__") or hasattr(each, "__getitem__"):
            continue
        if callable(each):
            raise TypeError(f"{verb}() needs something to iterate over, not the function {each!r}")
        size = place > 0 and isinstance(each, int)
        meant = f"; how many items a task takes is chunksize={each}" if size else ""
        kind = type(each).__name__
        raise TypeError(f"{verb}() needs something to iterate over, not {kind} {each!r:.60}{meant}")


def key_for(name: str, key: Any) -> Callable[[Any], Any] | None:
    """The key function, or None. A place or a name may be meant as in `topk`, which looks it up."""
    if isinstance(key, int | str):
        shown = f"{key!r:.60}"
        kind = type(key).__name__
        raise TypeError(f"{name}() needs a function, not {kind} {shown}; operator.itemgetter({shown}) is one")
    return None if key is None else function_for(name, key)


def see_that_all_are_items(options: Options, why: str) -> None:
    """Raises `OptionError` where exceptions would stand among the items."""
    if options.on_error == "return":
        raise OptionError(f"on_error='return' puts exceptions among the items: {why}")


def at_least(name: str, value: Any, least: int, of: str = "") -> int:
    """The number, if it is whole and not too small. A truth value stands where another library has that."""
    number = plain(value)
    if isinstance(number, bool) or not hasattr(type(number), "__index__") or number < least:
        raise ValueError(f"{name}() needs a whole number{of} from {least} up, not {value!r}")
    return operator.index(number)


def end_of(timeout: Any) -> float | None:
    """The time of the clock at which so many seconds are over. Raises `OptionError` for what is no number."""
    if timeout is None:
        return None
    try:
        seconds = float(timeout) if hasattr(type(timeout), "__float__") else math.nan  # that takes text, too
    except (TypeError, OverflowError):
        seconds = math.nan
    if math.isnan(seconds):
        raise OptionError(f"timeout={timeout!r:.60}: must be a number of seconds, or None for no limit")
    return time.monotonic() + seconds


def all_iterable(name: str, others: tuple[Any, ...]) -> tuple[Iterable[Any], ...]:
    """The arguments, if each can be iterated; nothing is pulled from them."""
    for other in others:
        if not hasattr(type(other), "__iter__"):
            try:
                iter(other)
            except TypeError as error:
                raise TypeError(f"{name}() needs something to iterate over: {error}") from None
    return others

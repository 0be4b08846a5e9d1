"""What was handed over: an iterator that was taken apart is a part of that run, and has nothing for another.
Who comes with it once more is told so."""

from __future__ import annotations

from _weakrefset import WeakSet
from collections import OrderedDict, deque
from types import GeneratorType

from mrpy.errors import LiftError
from mrpy.light import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

_MOST = 1000  # that are known, of those that cannot be referred to weakly; out of the air

_generators = WeakSet[object]()
_others = OrderedDict[int, object]()  # they have ended, and so hold nothing


def take_over(iterator: Any, *, known: bool = True) -> None:
    """End it, and know it again: not where it had ended already, which is another matter."""
    if type(iterator) is GeneratorType:
        iterator.close()
        _generators.add(iterator)
        return
    deque(iterator, maxlen=0)
    if known:
        _others[id(iterator)] = iterator
    if len(_others) > _MOST:
        _others.popitem(last=False)


def see_that_it_is_new(iterator: Any) -> None:
    """Raises `LiftError` for one that was taken over."""
    is_generator = type(iterator) is GeneratorType
    if id(iterator) in _others or (is_generator and iterator in _generators):
        name = f"generator {iterator.__qualname__}" if is_generator else type(iterator).__name__
        raise LiftError(f"the {name} was handed over before and is a part of that run; make it anew")

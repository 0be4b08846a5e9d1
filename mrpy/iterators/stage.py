"""Stages: generator functions that may be run on any stretch of their input by itself.

    @mrpy.stage
    def primes(numbers):
        for n in numbers:
            if is_prime(n):
                yield n

    for p in primes(range(10**6)): ...        # a parallel iterator; stages chain

What mrpy cannot see from a generator function, whether it carries anything from one item to the next, its
author says by marking it. `mrpy.check` finds out whether he is right.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType, MethodType
from typing import Any

from mrpy.errors import OptionError
from mrpy.iterators.stream import ParallelIterator, stream_of
from mrpy.light import Generic, R, T, overload
from mrpy.mapreduce.set_up import SetUp
from mrpy.mapreduce.steps import Body, name_of
from mrpy.options import resolve


class Stage(Generic[T]):
    """A generator function that runs in parallel when it is called. ``stage.plain`` is the function."""

    def __init__(self, function: Callable[..., Iterable[T]], setup: Callable[[], Any] | None) -> None:
        functools.update_wrapper(self, function)
        self.plain = function
        self._setup = setup

    @overload
    def __call__(self, iterable: Iterable[Any], /, *args: Any, **kwargs: Any) -> ParallelIterator[T]: ...
    @overload
    def __call__(
        self, instance: object, iterable: Iterable[Any], /, *args: Any, **kwargs: Any
    ) -> ParallelIterator[T]: ...

    def __call__(self, first: Any, /, *arguments: Any, **keywords: Any) -> ParallelIterator[T]:
        """A parallel iterator over what the function yields. Further arguments are the function's. Of one
        that takes `self`, and was found through its class, the object is the first, as of any function."""
        return self._over({}, first, arguments, keywords)

    def with_options(self, **options: Any) -> Callable[..., ParallelIterator[T]]:
        """The stage with run options.

        >>> import mrpy
        >>> halves = mrpy.stage(lambda numbers: (n / 2 for n in numbers))
        >>> halves.with_options(backend="serial")(range(3)).to_list()
        [0.0, 0.5, 1.0]
        """
        return lambda first, /, *arguments, **keywords: self._over(options, first, arguments, keywords)

    def _over(
        self, options: dict[str, Any], first: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> ParallelIterator[T]:
        if not (own := _takes_own(self.plain, 1 if self._setup is None else 2)):
            return stream_of(first, options)._then(Body(self.body(*arguments, **keywords)))
        if not arguments:
            raise TypeError(
                f"{name_of(self.plain)}: {own} comes first, and then what it goes over; call it on the "
                "object, as in model.predict(rows), and write @mrpy.stage above @classmethod"
            )
        bound: Stage[T] = Stage(_method(MethodType(self.plain, first)), self._setup)
        return bound._over(options, arguments[0], arguments[1:], keywords)

    def __get__(self, instance: Any, owner: type | None = None) -> Stage[T]:
        """In a class it is a method, as a function is."""
        get = getattr(type(self.plain), "__get__", None)
        made = self.plain if get is None else get(self.plain, instance, owner)
        if isinstance(made, MethodType):
            made = _method(made)
        return self if made is self.plain else Stage(made, self._setup)

    def body(self, /, *arguments: Any, **keywords: Any) -> StageBody:
        """What runs on a worker, from an iterator of items to an iterator."""
        return StageBody(self.plain, arguments, keywords, self._setup)

    def __repr__(self) -> str:
        return f"<stage {name_of(self.plain)}>"

    def __reduce__(self) -> Any:
        return Stage, (self.plain, self._setup)


def _takes_own(function: Any, before: int) -> str:
    """What a function that is not bound calls the object, or the class, that it takes first; empty where it
    takes none: where it requires no more than the items, and what the set-up made, ``before`` in all. The
    name is all else that tells it from one of items: on Python 3.13 and later a `classmethod` does not ask
    what it is around to bind itself."""
    while type(function) is FunctionType and "__wrapped__" in vars(function):
        function = vars(function)["__wrapped__"]  # no further than to a method: that is bound
    if type(function) is not FunctionType:
        return ""
    code, optional = function.__code__, function.__defaults__ or ()
    first = code.co_varnames[0] if code.co_argcount - len(optional) > before else ""
    return first if first in ("self", "cls") else ""


def _method(method: MethodType) -> Callable[..., Any]:
    """The same, pickled by its parts: a method is looked up in its class, and there the stage is found."""
    made = functools.update_wrapper(functools.partial(method.__func__, method.__self__), method)
    del made.__wrapped__
    return made


class StageBody:
    """A stage with its arguments. What its set-up made is kept per worker and never travels."""

    __slots__ = ("__dict__", "_arguments", "_function", "_keywords", "_setup")  # these a checkpoint compares

    def __init__(
        self, function: Callable[..., Any], arguments: Any, keywords: Any, setup: Callable[[], Any] | None
    ) -> None:
        self._function = function
        self._arguments = arguments
        self._keywords = keywords
        self._setup = setup
        self._made = threading.local()
        self.__qualname__ = name_of(function)

    def __call__(self, items: Iterator[Any]) -> Any:
        if self._setup is None:
            return self._function(items, *self._arguments, **self._keywords)
        if not hasattr(self._made, "here"):  # a worker is a process, or a thread of this one
            self._made.here = SetUp(self._setup)
        self._made.here.carry()
        return self._function(items, self._made.here.made, *self._arguments, **self._keywords)

    def __reduce__(self) -> Any:
        return StageBody, (self._function, self._arguments, self._keywords, self._setup)


@overload
def stage(function: Callable[..., Iterable[R]], /) -> Stage[R]: ...
@overload
def stage(
    *, setup: Callable[[], Any] | None = None
) -> Callable[[Callable[..., Iterable[R]]], Stage[R]]: ...


def stage(function: Any = None, /, *, setup: Callable[[], Any] | None = None, **options: Any) -> Any:
    """Mark a generator function, from an iterable to an iterator, as safe to run chunk by chunk.

    Calling it on anything gives a `ParallelIterator`, and stages chain: ``dedupe(parse(lines))``. It must
    not carry anything from one item to the next; `mrpy.check` says whether it does. Run options are given by
    ``dedupe.with_options(workers=2)(lines)``.

    In a class it is a method, of which workers have a copy of the object: ``model.predict(rows)``. It
    stands above `classmethod` and `staticmethod` there. What comes before the items has to be called `self`,
    or `cls`, and the items be required: so ``Model.predict(model, rows)`` knows it, too.

    With ``setup=connect`` the function ``connect()`` is called once per worker, and what it returns is
    handed to the stage behind the items: ``def rows(keys, database): ...``.

    >>> import mrpy
    >>> @mrpy.stage
    ... def odd(numbers):
    ...     for n in numbers:
    ...         if n % 2:
    ...             yield n
    >>> with mrpy.session("serial"):
    ...     odd(range(6)).to_list()
    [1, 3, 5]
    """
    if options:
        resolve(options)  # a wrong one is told of as such
        name, value = next(iter(options.items()))
        there = f"stage.with_options({name}={value!r})(items) where it is used"
        raise OptionError(f"mrpy.stage() takes no {name}=; write {there}")
    if function is None:
        return lambda marked: stage_of(marked, setup)
    return stage_of(function, setup)


def stage_of(function: Any, setup: Callable[[], Any] | None) -> Stage[Any]:
    """A stage, if `function` can be one."""
    if isinstance(function, Stage):
        return function
    if not callable(function) and not isinstance(function, classmethod):
        raise TypeError(f"@mrpy.stage marks a generator function, not {type(function).__name__}")
    if setup is not None and not callable(setup):
        raise OptionError(f"setup={setup!r}: must be a function without arguments")
    return Stage(function, setup)

"""The verb `check`: whether a stage or a reducer may be run on pieces of its input."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from mrpy.iterators.stage import Stage
from mrpy.mapreduce.check import check_body, check_operator
from mrpy.mapreduce.steps import name_of

SAMPLE = 64  # items of a sample that are looked at


def check(subject: Callable[..., Any], sample: Iterable[Any]) -> None:
    """See whether a stage, or a reducer, gives the same answer however its input is cut.

    A `stage` (or a generator function of one argument) is run under many cuttings of the sample; a
    function of two arguments is tried for ``op(op(a, b), c) == op(a, op(b, c))``. Floats count as equal
    when they agree to nine digits, or when they differ by no more than those that the items have at the
    same place lose to rounding, as where they cancel. Raises `CheckFailed` with the smallest example that
    was found.

    >>> import mrpy, operator
    >>> mrpy.check(operator.add, [1, 2, 3])
    >>> mrpy.check(operator.sub, [1, 2, 3])
    Traceback (most recent call last):
        ...
    mrpy.errors.CheckFailed: sub is not associative: sub(sub(1, 2), 3) is -4, but sub(1, sub(2, 3)) is 2
    """
    items = list(islice(sample, SAMPLE))
    if isinstance(subject, Stage):
        check_body(subject.body(), items, name_of(subject.plain))
    elif inspect.isgeneratorfunction(subject):
        check_body(subject, items, name_of(subject))
    else:
        _see_that_it_takes_two(subject)
        check_operator(subject, items)


def _see_that_it_takes_two(function: Callable[..., Any]) -> None:
    try:
        inspect.signature(function).bind(None, None)
    except ValueError:  # what is written in C may not say what it takes
        return
    except TypeError as error:
        raise TypeError(
            f"check() takes a stage, or a function of two arguments, which {name_of(function)} is not "
            f"({error}); one of a single item carries nothing to the next"
        ) from None

"""What is set in the user's thread and changes what functions make of numbers: it goes along with a call.

In another thread, or another process, all of this has its defaults, and a function that was written for fifty
digits, or for errors in the place of infinities, would give another answer there without a word:

* the context of `decimal`: how many digits, how they are rounded, what is an error;
* what NumPy does at a division by zero, an overflow, an underflow, an invalid value (``numpy.seterr``);
* how NumPy writes arrays as text (``numpy.set_printoptions``), but for functions that do so;
* the filters of `warnings`, where they make errors of some. All threads of a process have the same, so they
  only go to other processes.

A module that the user has not imported has nothing set.
"""

from __future__ import annotations

import sys
from _operator import is_

from mrpy.light import TYPE_CHECKING, NamedTuple, imported

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class Settings(NamedTuple):
    """What is not as it is by default; None where it is.

    ``decimal``   the arguments that make such a context
    ``numpy``     those of ``numpy.errstate``
    ``printing``  those of ``numpy.printoptions``
    ``warnings``  the filters, their categories by module and name: a class of the user's main module is not
                  the same there
    """

    decimal: tuple[Any, ...] | None
    numpy: tuple[tuple[str, str], ...] | None
    printing: tuple[tuple[str, Any], ...] | None
    warnings: tuple[tuple[Any, ...], ...] | None


_DECIMAL = (28, "ROUND_HALF_EVEN", -999999, 999999, 1, 0)  # its defaults, as documented
_TRAPS = ("InvalidOperation", "DivisionByZero", "Overflow")
_NUMPY = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
_PRINTING = {
    "edgeitems": 3,
    "threshold": 1000,
    "floatmode": "maxprec",
    "precision": 8,
    "suppress": False,
    "linewidth": 75,
    "nanstr": "nan",
    "infstr": "inf",
    "sign": "-",
    "legacy": False,
}
_CALLS = ("call", "log")  # of a function that stays here

_usual: list[Any] = []  # a context that traps what is trapped by default, once decimal is there

# Where NumPy keeps the rest, from 2.1 on: what is in these is replaced when something is set, never changed.
_VARIABLES = (("numpy._core.umath", "_extobj_contextvar"), ("numpy._core.printoptions", "format_options"))
# What was in them, and what the filters of warnings were, when all was last found to be as by default. It is
# asked before each single call, and takes a twentieth of the time.
_seen_of_numpy: list[Any] = []
_seen_filters: list[Any] = []


def settings(*, filters: bool) -> Settings | None:
    """Those of this thread, now; None where all is as by default. ``filters``: those of warnings too."""
    modules = sys.modules
    decimal = _of_decimal(modules["decimal"]) if "decimal" in modules else None
    numpy, printing = _of_numpy(modules["numpy"]) if "numpy" in modules else (None, None)
    warnings = _of_warnings(modules["warnings"]) if filters and "warnings" in modules else None
    if decimal is None and numpy is None and printing is None and warnings is None:
        return None
    return Settings(decimal, numpy, printing, warnings)


def _of_decimal(decimal: Any) -> tuple[Any, ...] | None:
    try:
        now = decimal.getcontext()
        if not _usual:
            _usual.append(decimal.Context(traps=[getattr(decimal, name) for name in _TRAPS]))
    except AttributeError:  # another thread is just importing it
        return None
    numbers = (now.prec, now.rounding, now.Emin, now.Emax, now.capitals, now.clamp)
    if numbers == _DECIMAL and now.traps == _usual[0].traps:
        return None
    return (*numbers, tuple(signal.__name__ for signal, on in now.traps.items() if on))


def _of_numpy(numpy: Any) -> tuple[Any, Any]:
    """What it does at errors, and how it writes arrays."""
    global _seen_of_numpy
    there = _in_variables()
    if there and len(_seen_of_numpy) == len(there) and all(map(is_, there, _seen_of_numpy)):
        return None, None
    found = _of_errors(numpy), _of_printing(numpy)
    if found == (None, None):
        _seen_of_numpy = there
    return found


def _in_variables() -> list[Any]:
    """What is in those variables now; nothing where there are none."""
    try:
        return [getattr(sys.modules[module], name).get() for module, name in _VARIABLES]
    except (KeyError, AttributeError, LookupError):  # another version, or it is just being imported
        return []


def _of_errors(numpy: Any) -> tuple[tuple[str, str], ...] | None:
    try:
        now = numpy.geterr()
    except AttributeError:
        return None
    if now == _NUMPY:
        return None
    return tuple((name, _NUMPY[name] if how in _CALLS else how) for name, how in now.items())


def _of_printing(numpy: Any) -> tuple[tuple[str, Any], ...] | None:
    try:
        now = numpy.get_printoptions()
    except AttributeError:
        return None
    if now.items() >= _PRINTING.items():
        return None
    return tuple((name, now[name]) for name, usual in _PRINTING.items() if now[name] != usual)


def _of_warnings(warnings: Any) -> tuple[tuple[Any, ...], ...] | None:
    global _seen_filters
    filters = getattr(warnings, "filters", ())
    if len(filters) == len(_seen_filters) and all(map(is_, filters, _seen_filters)):
        return None
    if not any(each[0] == "error" for each in filters):
        _seen_filters = [*filters]
        return None
    return tuple(
        (action, message, (category.__module__, category.__qualname__), module, line)
        for action, message, category, module, line in filters
    )


class applied:
    """While this is open, they hold in this thread; the filters of warnings in all of the process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __enter__(self) -> None:
        from contextlib import ExitStack  # all of this is for the few who have something set

        context, errors, printing, filters = self._settings
        with ExitStack() as stack:
            if context is not None:
                decimal = imported("decimal")
                *numbers, traps = context
                signals = [getattr(decimal, name) for name in traps]
                stack.enter_context(decimal.localcontext(decimal.Context(*numbers, [], signals)))
            if errors is not None:
                stack.enter_context(imported("numpy").errstate(**dict(errors)))
            if printing is not None:
                stack.enter_context(imported("numpy").printoptions(**dict(printing)))
            if filters is not None:
                warnings = imported("warnings")
                stack.enter_context(warnings.catch_warnings())
                warnings.resetwarnings()
                warnings.filters.extend(_here(filters))
            self._open = stack.pop_all()

    def __exit__(self, *_: object) -> None:
        self._open.close()


def _here(filters: tuple[tuple[Any, ...], ...]) -> Iterator[tuple[Any, ...]]:
    """These filters in this process. What is no error the parent decides about."""
    for action, message, (module, name), where, line in filters:
        category = getattr(sys.modules.get(module), name, None)
        if isinstance(category, type) and issubclass(category, Warning):
            yield action if action == "error" else "default", message, category, where, line

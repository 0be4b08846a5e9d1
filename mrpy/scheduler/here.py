"""Where the user is when he writes a call: what a worker has to be told to be there too."""

from __future__ import annotations

import os
import sys

from mrpy.light import NamedTuple
from mrpy.scheduler.settings import Settings, settings

Levels = tuple[tuple[str, int], ...]  # of loggers, by name; "" is the root's


class Here(NamedTuple):
    """The place of a call.

    ``folder``  the working directory; None if it was removed
    ``path``    ``sys.path``
    ``arguments``  ``sys.argv``
    ``levels``  those that loggers were set to; None where nobody has set up logging
    ``settings``  of numbers and warnings; None where nobody has changed them
    ``key``     by which processes of `multiprocessing` trust each other; None where nobody has managers,
                whose proxies need it. For our own workers only
    ``limits``  how deep calls may go, and how many digits a number may have that is written or read
    """

    folder: str | None
    path: list[str]
    arguments: list[str]
    levels: Levels | None
    settings: Settings | None
    key: bytes | None = None
    limits: tuple[int, int] = 1000, 4300


# What the last call of `here` found, with ``sys.path`` and ``sys.argv`` as they were then. It is asked before
# each single call, and hardly ever has anything changed.
_last: tuple[list[str], list[str], Here] = [], [], Here(None, [], [], None, None)


def here() -> Here:
    """The place of this call, now. Not to be changed: it may be that of other calls too."""
    global _last
    try:
        folder = os.getcwd()
    except OSError:  # it was removed under our feet
        folder = None
    levels, of_numbers, key = _levels(), settings(filters=True), _key()
    limits = sys.getrecursionlimit(), sys.get_int_max_str_digits()
    path, arguments, place = _last
    there, given = (place.folder, *place[3:]), getattr(sys, "argv", [])
    if path != sys.path or arguments != given or there != (folder, levels, of_numbers, key, limits):
        path, arguments = list(sys.path), list(given)
        # '' means the working directory, and the worker's may be another one
        entries = [entry or folder or "" for entry in path]
        place = Here(folder, entries, list(map(str, arguments)), levels, of_numbers, key, limits)
        _last = path, arguments, place
    return place


def go_there(place: Here, before: Here | None) -> None:
    """Have this process be at that place, as far as it is the same for all of ours. ``before``: the last."""
    sys.path[:], sys.argv[:] = place.path, place.arguments
    if before is None or place.limits != before.limits:  # else a module here may have set its own
        deep, digits = place.limits
        sys.setrecursionlimit(deep)
        sys.set_int_max_str_digits(digits)
    if place.folder is not None:
        os.chdir(place.folder)


def _key() -> bytes | None:
    if "multiprocessing.managers" not in sys.modules:
        return None
    key: bytes = sys.modules["multiprocessing.process"].current_process().authkey
    return bytes(key)  # its own kind refuses to be pickled


_logs = False  # somebody has set up logging once: that it is as by default again is to be told too


def _levels() -> Levels | None:
    global _logs
    root = getattr(sys.modules.get("logging"), "root", None)
    manager = getattr(root, "manager", None)
    if root is None or manager is None:  # nobody logs; or another thread is just importing it
        return None
    named = [(name, each) for name, each in list(manager.loggerDict.items()) if hasattr(each, "level")]
    _logs = _logs or bool(root.handlers) or any(logger.level or logger.handlers for _, logger in named)
    if not _logs:
        return None
    return (("", root.level), *((name, logger.level) for name, logger in named if logger.level))

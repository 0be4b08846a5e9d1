"""Files, and their like, that close themselves in silence when nobody holds them any more.

A task on threads is stopped by an exception that is thrown into its thread (`TaskStopped`). It may arrive
between any two instructions of Python: also when a file has just been opened, and no ``with`` has it yet.
Then the object goes, and its file is closed with it; but Python warns that somebody forgot to close it, or
says what went wrong with that (an object that was only half made, a file below it that is closed already).
Of these it does not.
"""

from __future__ import annotations

import io
import os
from contextlib import suppress
from functools import cache, partial

from mrpy.light import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any


class OwnFile(io.FileIO):
    """A file that owns its descriptor from the first moment on: `io.FileIO` opens it within its constructor.
    Not one instruction of Python runs meanwhile, nor while it is closed: else it could be stopped there."""

    __del__ = io.FileIO.close
    _dealloc_warn = staticmethod(id)  # what a buffered file calls that goes, before it closes this one


def to_read(path: str) -> io.BufferedReader:
    """A file to read from: ``open(path, "rb")``."""
    return io.BufferedReader(OwnFile(path))


for_the_owner = partial(os.open, mode=0o600)  # an opener; with mode "x" it follows no link


class _Own:
    """What can be closed, and closes itself."""

    def __del__(self) -> None:
        with suppress(Exception):
            self.close()  # type: ignore[attr-defined]


@cache
def own(kind: type[Any]) -> type[Any]:
    """The same for what is written in Python, or opens files by itself: a class that does as `kind` does."""
    return type(kind.__name__, (_Own, kind), {})

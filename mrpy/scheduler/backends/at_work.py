"""Which item a worker is at: in a page of memory that its parent may look into.

To say it in a message takes both of them longer than a cheap item takes. So that is done for the first item
of a task, from when on the parent keeps the time; of the others he sees, when that is over or the worker has
died, which it is at and since when. The page has no name, and its descriptor goes with the first message.
"""

from __future__ import annotations

import mmap
import os
import struct
from time import monotonic  # of the machine: it is the same for all

from mrpy.light import TYPE_CHECKING, NamedTuple
from mrpy.scheduler.backends.segments import BARE

if TYPE_CHECKING:
    from mrpy.scheduler.failure import At

_ENTRY = struct.Struct("<Qdqq")  # the ticket, when the item began, its index, and its record
_NONE, _ELSEWHERE = -1, -2  # in the place of an index: of no item; it was said in a message
_WHOLE = -1  # in the place of a record


class Page:
    """The worker's side. Raises OSError where there can be none."""

    def __init__(self) -> None:
        if not hasattr(os, "memfd_create"):
            raise OSError("this system has no memory without a name")
        self.fd = os.memfd_create("mrpy-item")
        try:
            os.ftruncate(self.fd, _ENTRY.size)
            self._map = mmap.mmap(self.fd, _ENTRY.size, **BARE)
        except BaseException:
            self.close()
            raise

    def note(self, ticket: int, item: At | None) -> None:
        """It begins now."""
        if type(item) is int:
            _ENTRY.pack_into(self._map, 0, ticket, monotonic(), item, _WHOLE)
        elif type(item) is tuple:
            _ENTRY.pack_into(self._map, 0, ticket, monotonic(), *item)
        else:
            _ENTRY.pack_into(self._map, 0, ticket, monotonic(), _NONE if item is None else _ELSEWHERE, _WHOLE)

    def close(self) -> None:
        """Give back the descriptor: the other has his own, and what is noted here goes on."""
        os.close(self.fd)


class Noted(NamedTuple):
    """An item, and when it began."""

    item: At | None
    since: float


def read(page: int, ticket: int) -> Noted | None:
    """The parent's side: what was noted last. None: nothing, or of another ticket, or said in a message."""
    try:
        entry = os.pread(page, _ENTRY.size, 0)
    except OSError:  # somebody has closed what is not his
        return None
    if len(entry) < _ENTRY.size:
        return None
    number, since, index, record = _ENTRY.unpack(entry)
    if number != ticket or index == _ELSEWHERE:
        return None
    return Noted(None if index == _NONE else index if record == _WHOLE else (index, record), since)

"""Large copies, by several threads at a time: one alone moves half of what two can.

The one who wants the copy takes pieces himself until none is left. So threads that come late, since all
processors are busy, keep nobody waiting.
"""

from __future__ import annotations

import sys
from _queue import SimpleQueue
from _thread import start_new_thread
from collections import deque

from mrpy.light import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from mrpy.scheduler.backends.segments import Held

LARGE = 1 << 22  # bytes from which on it pays: to start a thread takes as long as a tenth of this
PIECE = 1 << 20  # bytes
NEEDED = ("copyto", "frombuffer", "uint8")


def copy(held: Held, offset: int, view: memoryview, threads: int) -> None:
    """Write the bytes of `view` to this place of a segment, which is held until no thread writes there any
    more, even if an exception, as of Ctrl-C, leaves this early."""
    into = held.segment.map
    numpy: Any = sys.modules.get("numpy")  # it copies without the interpreter lock; and large buffers are its
    ready = all(hasattr(numpy, name) for name in NEEDED)  # another thread may be importing it
    if threads < 2 or not ready or view.nbytes < LARGE:
        into[offset : offset + view.nbytes] = view
        return
    target = numpy.frombuffer(into, numpy.uint8, view.nbytes, offset)
    source = numpy.frombuffer(view, numpy.uint8)
    pieces = deque(range(0, view.nbytes, PIECE))
    copied: SimpleQueue[bool] = SimpleQueue()
    total = len(pieces)

    def take_pieces(_: Held = held) -> None:  # a thread holds what it writes to
        while True:
            try:
                begin = pieces.popleft()
            except IndexError:
                return
            try:
                numpy.copyto(target[begin : begin + PIECE], source[begin : begin + PIECE])
            except Exception:
                copied.put(False)
            else:
                copied.put(True)

    for _ in range(min(threads, total) - 1):
        try:
            start_new_thread(take_pieces, ())
        except RuntimeError:  # there are too many, or Python ends
            break
    take_pieces()
    if sum(copied.get() for _ in range(total)) < total:
        into[offset : offset + view.nbytes] = view

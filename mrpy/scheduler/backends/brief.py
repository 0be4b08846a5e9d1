"""A look or two before going to sleep, where what one waits for is about to come.

To sleep and to be woken costs two processes 100 us between them; the rest of a single call is hardly more. So
who waits for the other end looks for the answer himself, for `LONGEST` at most, if it came as soon the last
time. If it did not, he sleeps at once, until one comes soon again. Who has nothing to do sleeps, and takes
no time of a processor: it is one look for each wait that was thought to be short and is not.

Karlin, Li, Manasse, Owicki: Empirical studies of competitive spinning for a shared-memory multiprocessor.
SOSP 1991.
"""

from __future__ import annotations

import os
from time import perf_counter

from mrpy.light import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

LONGEST = 2e-4  # seconds; about twice what it costs to sleep and be woken


class Brief:
    """Waits of one who waits again and again. ``look`` returns what there is, at once."""

    def __init__(self, look: Callable[[], Any]) -> None:
        self._look = look
        self._is_brief = False
        self._may_look = processors() > 1  # else the other end could not go on

    def wait(self, sleep: Callable[[], Any]) -> Any:
        """What ``look`` found, or ``sleep`` returned."""
        began = perf_counter()
        while self._is_brief:
            found = self._look()
            if found:
                return found
            self._is_brief = perf_counter() - began < LONGEST
            os.sched_yield()  # somebody else may need this processor
        found = sleep()
        self._is_brief = self._may_look and perf_counter() - began < LONGEST
        return found


def processors() -> int:
    """How many there are for this process, as far as that can be asked."""
    if not hasattr(os, "sched_getaffinity"):
        return 1
    return len(os.sched_getaffinity(0))

"""A look or two before going to sleep, where what one waits for is about to come.

To sleep and to be woken costs two processes 100 us between them; the rest of a single call is hardly more. So
who waits for the other end looks for the answer himself, for `LONGEST` at most, if it came as soon the last
time. If it did not, he sleeps at once, until one comes soon again; and where he has looked in vain, as on a
machine that others use too, he does so less and less. Who has nothing to do sleeps, and takes no time of a
processor.

Karlin, Li, Manasse, Owicki: Empirical studies of competitive spinning for a shared-memory multiprocessor.
SOSP 1991.
"""

from __future__ import annotations

from time import perf_counter

from mrpy.light import TYPE_CHECKING
from mrpy.machine import cpu_count

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

LONGEST = 2e-4  # seconds; about twice what it costs to sleep and be woken
MOST = 8  # doublings of the waits that are slept after one was looked for in vain


class Brief:
    """Waits of one who waits again and again. ``look`` returns what there is, at once."""

    def __init__(self, look: Callable[[], Any]) -> None:
        self._look = look
        self._is_brief = False  # the last wait was
        self._may_look = cpu_count() > 1  # else the other end could not go on
        self._in_vain = 0  # looks, one after the other
        self._slept = 0  # how many brief waits are slept before the next look

    def wait(self, sleep: Callable[[], Any]) -> Any:
        """What ``look`` found, or ``sleep`` returned."""
        began = perf_counter()
        if self._is_brief and self._slept == 0:
            while perf_counter() - began < LONGEST:
                if found := self._look():
                    self._in_vain = 0
                    return found
            self._in_vain = min(self._in_vain + 1, MOST)
            self._slept = 1 << self._in_vain
        found = sleep()
        self._is_brief = self._may_look and perf_counter() - began < LONGEST
        self._slept -= self._is_brief and self._slept > 0
        return found

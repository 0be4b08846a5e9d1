"""How many items a task takes: a policy, apart from the mechanism that cuts.

Chunks grow until one of them takes about `TARGET` seconds of a worker's time, as measured; then the cost
of a round trip no longer shows, and the work is still spread well. Towards the end of a source of known
length they shrink again, so that all workers finish together (guided self-scheduling, Polychronopoulos
and Kuck, IEEE Trans. Comp. C-36, 1987).
"""

from __future__ import annotations

TARGET = 0.03  # seconds; a round trip takes 0.0001 to 0.0004
GROWTH = 8  # at most so many times the last size
LARGEST = 1 << 16  # items; a bound on memory where items cost nothing
LARGEST_UNSEEN = 1 << 20  # the same where neither items nor results pass through the consumer
SMALLEST = 0.005  # seconds; towards the end chunks do not shrink below this
AHEAD = 8  # chunks per worker that are out at most; out of the air
AHEAD_GROWING = 2  # the same while chunks still grow: small ones that are out already are in the way
ITEMS_AHEAD = 128  # where a small chunksize is given, so many items are out: a round trip is long


class Chunker:
    """Says how many items the next chunk takes."""

    def __init__(self, chunksize: int | str, workers: int) -> None:
        self._fixed = chunksize if isinstance(chunksize, int) else None
        self._workers = workers
        self._size = 1
        self._cost: float | None = None  # seconds per item, lately
        self._growing = True
        self.largest = LARGEST

    def size(self, remaining: int | None) -> int:
        """Items for the next chunk, given how many are left, where that is known."""
        if self._fixed is not None:
            return self._fixed
        if remaining is None or self._cost is None:
            return self._size
        share = -(-remaining // (2 * self._workers))
        return max(1, min(self._size, max(share, int(SMALLEST / self._cost))))

    def ahead(self) -> int:
        """How many chunks may be out at the same time, where no buffersize is given."""
        if self._fixed is not None:
            return max(AHEAD * self._workers, ITEMS_AHEAD // self._fixed)
        return self._workers * (AHEAD_GROWING if self._growing else AHEAD)

    def learn(self, items: int, seconds: float) -> None:
        """A chunk of so many items took so long."""
        if self._fixed is not None or items <= 0:
            return
        cost = max(seconds / items, 1e-9)
        # The first items pay for imports and caches: what large chunks say counts for more.
        trust = 0.5 if self._cost is None or items * 2 >= self._size else 0.1
        self._cost = cost if self._cost is None else self._cost + trust * (cost - self._cost)
        wanted = int(TARGET / self._cost) or 1
        self._size = max(1, min(wanted, max(self._size, items) * GROWTH, self.largest))
        self._growing = self._size < min(wanted, self.largest)

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


class Chunker:
    """Says how many items the next chunk takes."""

    def __init__(self, chunksize: int | str, workers: int) -> None:
        self._fixed = chunksize if isinstance(chunksize, int) else None
        self._workers = workers
        self._size = 1
        self._cost: float | None = None  # seconds per item, lately

    def size(self, remaining: int | None) -> int:
        """Items for the next chunk, given how many are left, where that is known."""
        if self._fixed is not None:
            return self._fixed
        if remaining is None:
            return self._size
        return max(1, min(self._size, -(-remaining // (2 * self._workers))))

    def learn(self, items: int, seconds: float) -> None:
        """A chunk of so many items took so long."""
        if self._fixed is not None or items <= 0:
            return
        cost = max(seconds / items, 1e-9)
        self._cost = cost if self._cost is None else 0.5 * (self._cost + cost)
        wanted = int(TARGET / self._cost) or 1
        self._size = max(1, min(wanted, max(self._size, items) * GROWTH, LARGEST))

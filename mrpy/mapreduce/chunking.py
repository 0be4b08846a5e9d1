"""How many items a task takes: a policy, apart from the mechanism that cuts.

Chunks grow until one of them takes about `TARGET` seconds of a worker's time, as measured; then the cost
of a round trip no longer shows, and the work is still spread well. Towards the end of a source of known
length they shrink again, so that all workers finish together (guided self-scheduling, Polychronopoulos
and Kuck, IEEE Trans. Comp. C-36, 1987).

A chunk is not so large either that it or its results take much memory: where items, or what is made of
them, are seen to be large, chunks have fewer of them, and fewer chunks are out.

Of a source of known length the first chunks, for which nobody knows what an item costs, are large all the
same: each has a budget of time, and when that is spent the worker answers with what it has done until then
(`mrpy.mapreduce.kernels`). So trivial items need no ramp of round trips, and costly ones are not stuck in a
chunk that is too large for them. And where a run before this one has found that an item of the same function
costs next to nothing, a short source is one such chunk for each worker. On serial, where nothing is spread,
any short source is one; a longer one begins with one item, since who asks for a result waits for the whole
chunk, and may want no other.

A chunksize that is given is kept: each chunk is run by itself. But while chunks are so short that a worker
is through with several of them in `BUNDLE` seconds, several travel in one message and are one task.
"""

from __future__ import annotations

TARGET = 0.03  # seconds; a round trip takes 0.0001 to 0.0004
GROWTH = 64  # at most so many times the last size: three steps from one item to the largest chunk
LARGEST = 1 << 16  # items; a bound on memory where items cost nothing
LARGEST_UNSEEN = 1 << 20  # the same where neither items nor results pass through the consumer
BYTES = 1 << 23  # of a chunk, and of its results; much more than it takes to keep a memcpy busy
BYTES_AHEAD = 1 << 26  # per worker, of all chunks that are out and their results
SMALLEST = 0.001  # seconds; towards the end chunks do not shrink below this: several round trips
SHRINK = 32  # times what they are to take elsewhere, at most
OVERHEAD = 10e-6  # seconds that a chunk takes besides its items; what so short a one says of them is little
AHEAD = 8  # chunks per worker that are out at most; out of the air
AT_LEAST = 2  # chunks per worker, however large they are: one to work on, one to be worked on next
AT_WORK_GROWING = 1  # unanswered chunks per worker while they still grow: small ones are in the way
BUDGET = 0.003  # seconds of a first chunk; ten round trips, and little for who waits for the first result
FIRST = 1 << 13  # items of it at most: half a millisecond of trivial ones
FIRST_HERE = 64  # on serial; out of the air, as many as the second chunk would have
FIRST_BYTES = 1 << 20  # of it: what costs no more than the budget, should most of it be sent in vain
BUNDLE = 0.001  # seconds; much longer than a round trip, and too short to be waited for
SOON = 0.0001  # seconds; what is cut within so short a time is sent together. About a round trip
SLOW = 0.05  # seconds; what has come of a source within so long is a chunk, where nobody gave its size
LIVE = 2 * SLOW  # for a chunk: single items take long, or somebody gave a size that does
A_PART = 0.05  # of the time that a chunk took to be cut: so long results are waited for before the next is
ITEMS_AHEAD = 128  # where a small chunksize is given, so many items are out: a round trip is long


class Chunker:
    """Says how many items the next chunk takes. ``cost``: seconds per item, as a run before has found."""

    def __init__(self, chunksize: int | str, workers: int, cost: float | None = None) -> None:
        self.chunksize = chunksize if isinstance(chunksize, int) else None
        self._unit = self.chunksize or 1
        self._target = TARGET if self.chunksize is None else BUNDLE
        self._workers = workers
        self._size = self._unit
        self._cost: float | None = None  # seconds per item, lately
        self._seen = 0  # items of the largest chunk so far
        self._nbytes = 0.0  # per item and its results, lately
        self._growing = True
        self.largest = LARGEST
        self.guesses = False  # whether first chunks may be large
        self.spreads = True  # whether others work for the consumer
        self._cost_before = cost
        self._share = 0  # of each worker, of all items, where these are through at once

    @property
    def knows_nothing(self) -> bool:
        """Whether the next chunk is a first one that may be large."""
        return self.guesses and self._cost is None

    def size(self, remaining: int | None) -> int:
        """Items for the next task, given how many are left, where that is known."""
        if remaining is None:
            return self._size
        if self._cost is None:
            return self._first(remaining) if self.guesses else self._size
        smallest = min(self._target, max(SMALLEST, self._target / SHRINK))
        share = max(-(-remaining // (2 * self._workers)), int(smallest / self._cost))
        return max(1, min(self._size, share) // self._unit) * self._unit

    def _first(self, remaining: int) -> int:
        if self.spreads:
            return max(1, min(FIRST, self._share or remaining // (8 * self._workers)))
        return max(1, remaining) if remaining <= FIRST_HERE else 1

    def begins(self, items: int | None) -> None:
        """So many are to come, as far as is known. If they took less time before than it takes to spread them
        well, each worker gets its share in one; as a first chunk, since they may take longer now."""
        if items is not None and self._cost_before is not None and items * self._cost_before < SMALLEST:
            self._share = -(-items // self._workers)

    def aim(self, seconds: float) -> None:
        """From here on chunks are to take so long, where nobody has given their size."""
        if self.chunksize is None and self._target != seconds:
            self._target = seconds
            self._fit(self._seen)

    def ahead(self) -> int:
        """How many tasks may be out at the same time, where no buffersize is given."""
        nbytes = self._nbytes * self._size
        if nbytes > BYTES_AHEAD / AHEAD:
            return max(AT_LEAST, int(BYTES_AHEAD / nbytes)) * self._workers
        if self.chunksize is not None:
            return max(AHEAD * self._workers, ITEMS_AHEAD // self._size)
        return self._workers * AHEAD

    def at_work(self) -> int:
        """How many of these may be without an answer."""
        growing = self._growing and self.chunksize is None
        return self._workers * AT_WORK_GROWING if growing else self.ahead()

    def worthwhile(self) -> int:
        """How many items take several round trips; 0: nobody knows yet."""
        return 0 if self._cost is None else int(SMALLEST / self._cost)

    def sees(self, nbytes: int) -> None:
        """Items are seen to take so many bytes each: the next chunks have fewer at once."""
        self._nbytes = max(self._nbytes, nbytes)
        self._size = max(self._unit, min(self._size, int(BYTES / self._nbytes)))

    def learn(self, items: int, seconds: float, nbytes: int, *, sure: bool = False) -> float | None:
        """A task of so many items took so long, and so many bytes, results and all. ``sure``: those that come
        next will be like these. Returns what an item costs, lately."""
        if items <= 0:
            return self._cost
        each = nbytes / items
        # Of a few items much may be what they have in common, which travels once.
        far_more = items >= 8 * self._seen > 0
        self._nbytes = each if far_more else max(each, 0.5 * (self._nbytes + each))
        cost = max(max(seconds - OVERHEAD, seconds / 8) / items, 1e-9)
        # The first items pay for imports and caches: what large chunks say counts for more.
        trust = 1.0 if sure or items >= 8 * self._seen else 0.5 if items * 2 >= self._size else 0.1
        self._seen = max(self._seen, items)
        self._cost = cost if self._cost is None else self._cost + trust * (cost - self._cost)
        self._fit(items)
        return self._cost

    def _fit(self, items: int) -> None:
        """The next chunks take as long as they are to, as far as one of so many items tells."""
        if self._cost is None:
            return
        wanted = max(1, min(int(self._target / self._cost), int(BYTES / max(1.0, self._nbytes))))
        size = min(wanted, max(self._size, items * GROWTH), max(self.largest, self._unit))
        self._growing = size < min(wanted, self.largest)
        self._size = max(1, size // self._unit) * self._unit

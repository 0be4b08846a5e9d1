"""The window of law 3: how much may be pulled from the source and not yet be with the consumer.

In items (``buffersize``), in bytes (``buffer_bytes``), or, where neither is given, in chunks. Unread
results count until the consumer asks for what comes behind them.

Where runs are each other's source, one buffer is for all of them. A run that is pulled by another hands
over its items with a receipt: they count against its own window until the last run of the chain is
through with what became of them, and gives the receipts back. So it does not matter what stands between
the runs - a batch, a filter, a generator of the user's.
"""

from __future__ import annotations

import threading

from mrpy.inside import Place, inside
from mrpy.light import TYPE_CHECKING, NamedTuple
from mrpy.mapreduce.chunking import Chunker
from mrpy.mapreduce.tree import leaf_end, leaf_size
from mrpy.options import Options

if TYPE_CHECKING:
    from typing import TypeAlias


class Receipt(NamedTuple):
    """So many items of a window's source are with a run further on."""

    window: Window
    items: int


Receipts: TypeAlias = list[Receipt]


def shared(receipts: Receipts, part: int, whole: int) -> tuple[Receipts, Receipts]:
    """Receipts for a part of what became of those items, and for the rest of it."""
    totals: dict[Window, int] = {}
    for window, items in receipts:
        totals[window] = totals.get(window, 0) + items
    parts = {window: items * part // whole for window, items in totals.items()}
    rest = [Receipt(window, items - parts[window]) for window, items in totals.items()]
    return [Receipt(*one) for one in parts.items() if one[1]], [one for one in rest if one.items]


class _Pulling(threading.local):
    """The window for which this thread pulls from a source right now, and where that is: a run inside a
    task that happens to be worked on meanwhile is not pulled by it."""

    window: Window | None = None
    place = inside.place


_pulling = _Pulling()


class Window:
    """The account of what is out, and how much more may follow. In a ``with`` block it pulls."""

    def __init__(self, options: Options, workers: int) -> None:
        self.counts_bytes = options.buffer_bytes is not None
        self._options = options
        self._workers = workers
        self._items = 0
        self._chunks = 0
        self._bytes = 0
        self._awaited = 0  # items whose results are not here yet
        self._unanswered = 0  # chunks likewise
        self._going = self._coming = 0.0  # bytes per item, out and back, lately: the next are expected alike
        self._further = 0  # items that runs further on hold
        self._sources: set[Window] = set()  # runs that this one pulls from
        self._came: Receipts = []  # since the last chunk was cut
        self._before: tuple[Window | None, Place] = (None, inside.place)  # who pulled when this began to
        self._per_item = 1.0  # items of the sources for one of ours, lately
        self.over = False  # it may still be noted as pulling, if a Ctrl-C came when it had just stopped to

    def puller(self) -> Window | None:
        """The window of the run that asks this one for items here, if it is one that asks."""
        if _pulling.window is self:  # a signal handler has raised when it had just stopped to pull
            self.__exit__()
        window = _pulling.window
        return window if window is not None and _pulling.place is inside.place and not window.over else None

    # ---- how much may follow ---------------------------------------------------------------------

    def room(self, chunker: Chunker, remaining: int | None, *, in_a_gap: bool = False) -> int:
        """How many items the next chunk may take; 0: none before something is settled. ``in_a_gap``: they
        come before items that were sent already."""
        size = chunker.size(remaining)
        if in_a_gap and self._unanswered == 0:  # all that is out waits for these: nothing else will settle
            return 1 if self.counts_bytes else size
        limit = self._options.buffersize
        # What is behind the gap waits for it, and must not keep it from being filled.
        ahead = chunker.ahead() * (2 if in_a_gap else 1)
        if (limit == "auto" or self._options.chunksize == "auto") and (
            self._chunks >= ahead or self._unanswered >= chunker.at_work()
        ):
            return 0
        if isinstance(limit, int):
            size = min(self._room_in_items(size, limit, chunker.worthwhile()), self._share(limit))
        if self._options.buffer_bytes is not None:
            size = min(size, self._room_in_bytes(self._options.buffer_bytes))
        return size

    def _room_in_items(self, size: int, limit: int, worthwhile: int) -> int:
        left, given = self._left(limit), self._options.chunksize
        most = max(1, limit // (2 * self._workers))
        if isinstance(given, int):
            size = min(size, max(given, most - most % given))
            if size <= given:
                return min(size, left)
        else:  # two are out at least; more of them where the round trip of one of that size does not show
            most = max(most, min(limit // 2, worthwhile))
        # Chunks are not made smaller to fill what is left: small ones would free little room in their
        # turn, and stay small for ever (as TCP segments did: Clark, RFC 813).
        size = min(size, most)
        return size if size <= left else left if self._items == 0 else 0

    def _left(self, limit: int) -> int:
        further, asks = self._further, self.puller()
        if further >= limit and asks is not None and asks._has_nothing():
            further = 0  # a batch, say, takes more than the limit: there is no use in going on one by one
        return max(limit - self._items - further, 1 if self._items == 0 else 0)

    def _has_nothing(self) -> bool:
        """Whether this run, and all that pull from it, wait for what they are pulling now."""
        further = self._before[0]
        return self._items == 0 and (further is None or further._has_nothing())

    def _share(self, limit: int) -> int:
        """How many items fit into this run's part of a buffer that it shares with those it pulls from."""
        if not self._sources:
            return limit
        left = max(1, limit // 2) - max(source._further for source in self._sources)
        return max(int(left / max(1.0, self._per_item)), 1 if self._items == 0 else 0)

    def _room_in_bytes(self, limit: int) -> int:
        least = 1 if self._chunks == 0 else 0  # one item has to go, however large it is
        outer = self.puller()
        left = limit - self._bytes - self._awaited * self._coming - (outer.bytes_out if outer else 0)
        left -= limit // 2 if self._sources else 0
        per_item = self._going + self._coming
        return max(least, int(left / per_item) if per_item else int(left > 0))

    @property
    def awaits(self) -> bool:
        """Whether a chunk is out that was not answered."""
        return self._unanswered > 0

    @property
    def pulls_from_runs(self) -> bool:
        """Whether the source was seen to be a run, or several."""
        return bool(self._sources)

    @property
    def is_counted(self) -> bool:
        """Whether items or bytes are limited, here or in a run that this one pulls from."""
        limited = isinstance(self._options.buffersize, int) or self.counts_bytes
        return limited or any(source.is_counted for source in self._sources)

    @property
    def bytes_out(self) -> int:
        """Bytes that this run holds, as far as they are counted."""
        return self._bytes

    def aligned(self, size: int, position: int, largest: int) -> int:
        """The same where chunks end as leaves do, which grow to `largest`: one leaf at least, if nothing is
        out."""
        if size <= 0 and self._items > 0:
            return 0
        end = leaf_end(position + max(1, size) - 1, largest)
        limit = self._options.buffersize
        if isinstance(limit, int) and end - position > self._left(limit):
            last = position + self._left(limit)
            end = last - last % leaf_size(last, largest)
            if end <= position:
                return leaf_end(position, largest) - position if self._items == 0 else 0
        return end - position

    # ---- what goes, comes, and is through --------------------------------------------------------

    def __enter__(self) -> None:
        before = _pulling.window
        self._before = (None if before is not None and before.over else before), _pulling.place
        _pulling.window, _pulling.place = self, inside.place

    def __exit__(self, *_: object) -> None:
        _pulling.window, _pulling.place = self._before

    def cut(self, items: int) -> Receipts:
        """A chunk of so many items was pulled: the receipts for what was pulled with it."""
        came, self._came = self._came, []
        if came and items:
            self._per_item = 0.5 * (self._per_item + sum(receipt.items for receipt in came) / items)
        return came

    def sent(self, items: int, nbytes: int, *, awaited: bool) -> None:
        """A chunk is out, and on its way where its results are not here already."""
        self._items += items
        self._chunks += 1
        if awaited:
            self._awaited += items
            self._unanswered += 1
            self._going = _lately(self._going, nbytes / max(1, items))
        self._bytes += nbytes

    def arrived(self, items: int, nbytes: int) -> None:
        """A chunk has ended; its results take so many bytes."""
        self._awaited -= items
        self._unanswered -= 1
        self._bytes += nbytes
        self._coming = _lately(self._coming, nbytes / max(1, items))

    def put_back(self, items: int, nbytes: int) -> None:
        """So many items of a chunk that was sent were not done: they will be sent again."""
        self._items -= items
        self._awaited -= items
        self._bytes -= nbytes

    def settled(self, items: int, nbytes: int, receipts: Receipts) -> None:
        """The consumer has moved on from the results of a chunk, or of the rest of it."""
        self._chunks -= 1
        self._bytes -= nbytes
        self.passed(items, receipts)

    def passed(self, items: int, receipts: Receipts) -> None:
        """The consumer has moved on from items. If that is another run, they are in its hands now."""
        self._items -= items
        further = self.puller()
        if further is None:
            for window, count in receipts:
                window._further -= count
        else:
            further._sources.add(self)
            further._came += [*receipts, Receipt(self, items)]
            self._further += items

    def close(self) -> None:
        """The run is over: nothing of what it pulled counts any more."""
        self.over = True
        for source in self._sources:
            source._further = 0


def _lately(before: float, now: float) -> float:
    """An estimate that rises at once and falls slowly."""
    return max(now, 0.5 * (before + now))

"""Where chunks come from: what was put back, before anything else of the source.

A stretch is put back where its chunk was not done, or not to its end: its budget of time was spent
(`Chunk.budget`), or it took too much memory. Stretches are cut again in the order of the source, and no chunk
is made of two of them.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from functools import partial

from mrpy.light import TYPE_CHECKING, Any, NamedTuple
from mrpy.mapreduce.chunking import BUDGET, BYTES, FIRST_BYTES, SLOW, Chunker
from mrpy.mapreduce.chunks import Chunk, visible_bytes
from mrpy.mapreduce.sources import Limited, PutBack, Reader, waits_its_turn
from mrpy.mapreduce.tree import leaf_end
from mrpy.mapreduce.window import Receipts, Window, shared
from mrpy.options import Options

if TYPE_CHECKING:
    from mrpy.mapreduce.tree import Growth


class Stretch(NamedTuple):
    """Items that were cut, with the receipts for what was pulled from other runs to make them."""

    chunk: Chunk
    receipts: Receipts

    @property
    def items(self) -> int:
        """How many they are."""
        return len(self.chunk.data)

    def split(self, items: int) -> tuple[Stretch, Stretch]:
        """So many of them, and the others."""
        chunk, whole = self.chunk, self.items
        middle = chunk.first + items
        ours, theirs = shared(self.receipts, items, whole)
        head, tail = chunk.part(chunk.first, middle), chunk.part(middle, chunk.first + whole)
        return Stretch(head, ours), Stretch(tail, theirs)


class Cutter:
    """Cuts a source, from its beginning to its end. ``remote``: chunks travel, so that it matters
    how large their items are. It does so, too, where these are made as they are pulled."""

    def __init__(
        self, reader: Reader, chunker: Chunker, window: Window, options: Options, *, remote: bool
    ) -> None:
        self.growth: Growth | None = None  # of the leaves of a reduction
        self._error: list[BaseException] = []  # the source raised it, behind all that it gave
        self._late: list[BaseException] = []  # it did behind what was just cut
        self._limited = reader if isinstance(reader, Limited) else None
        self._reader = reader
        self._chunker = chunker
        self._window = window
        self._limit = options.buffersize
        self._remote = remote
        self.counts_bytes = remote or self._limited is not None
        self._position = 0
        self._ended = False
        self._rests: list[Stretch] = []  # what was put back, in the order of the source
        chunker.begins(reader.remaining())

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to be cut."""
        return self._ended and not self._rests

    @property
    def in_a_gap(self) -> bool:
        """Whether what is cut next comes before something that was sent."""
        return bool(self._rests)

    @property
    def position(self) -> int:
        """Where the next chunk begins."""
        return self._rests[0].chunk.first if self._rests else self._position

    def ends(self) -> None:
        """Raise what the source has raised."""
        if self._error:
            raise self._error.pop()  # and let go of it: its traceback holds us

    def remaining(self) -> int | None:
        """How many items are left, where that is known."""
        left = self._reader.remaining()
        if left is None or not self._rests:
            return left
        return left + sum(rest.items for rest in self._rests)

    def sample(self, count: int) -> list[Any]:
        """The first items of the source, which are read again afterwards."""
        count = min(count, self._limit) if isinstance(self._limit, int) else count
        self._reader = PutBack(self._reader, count)
        return list(self._reader.kept)

    def cut(self, size: int) -> Stretch | None:
        """The next chunk, of so many items at most; None at the end."""
        first = size > 1 and self._chunker.knows_nothing and self._reader.remaining() is not None
        stretch = self._cut_again(size) if self._rests else self._cut_source(size)
        return stretch if stretch is None or not first else self._guessed(stretch)

    def put_back(self, stretch: Stretch) -> None:
        """These are to be cut again."""
        insort(self._rests, stretch, key=lambda each: each.chunk.first)

    def _guessed(self, stretch: Stretch) -> Stretch:
        """Of a large first chunk as much as is seen to be small, with a budget."""
        nbytes = visible_bytes(stretch.chunk.data) if self._remote else 0
        fitting = 1 if nbytes is None else max(1, FIRST_BYTES * stretch.items // max(1, nbytes))
        if self.growth is not None:
            first = stretch.chunk.first
            fitting = leaf_end(first + fitting - 1, self.growth.largest) - first
        if fitting < stretch.items:
            stretch, others = stretch.split(fitting)
            self.put_back(others)
        return stretch._replace(chunk=stretch.chunk._replace(budget=BUDGET))

    def _cut_again(self, size: int) -> Stretch:
        rest = self._rests.pop(0)
        if rest.items <= size:
            return rest
        stretch, others = rest.split(size)
        self._rests.insert(0, others)
        return stretch

    def _cut_source(self, size: int) -> Stretch | None:
        try:
            with self._window:
                data = self._taken(size)
        except BaseException as error:
            if not waits_its_turn(error):
                raise
            self._error.append(error)
            self._ended = True
            return None
        if len(data) == 0:
            self._ended = True
            return None
        chunksize = self._chunker.chunksize
        chunk = Chunk(self._position, data, piece=chunksize if size != chunksize else None)
        if self.growth is not None:
            if self._limited is None or not self._limited.sealed:
                self.growth.see(self._position, data)
            chunk = chunk._replace(largest=self.growth.largest)
        self._position += len(data)
        return Stretch(chunk, self._window.cut(len(data)))

    def _taken(self, size: int) -> Sequence[Any]:
        """The next items of the source; of the very first chunk only one, where it turns out that they come
        from another run, of whose items one of ours may hold many."""
        if self._late:
            raise self._late.pop()
        careful = self._position == 0 and size > 1 and isinstance(self._limit, int)
        if not careful or self._reader.remaining() is not None:
            return self._not_too_many(size)
        first = self._reader.take(1)
        if len(first) == 0 or self._window.pulls_from_runs:
            return first
        return [*first, *self._behind(first, size - 1)]

    def _not_too_many(self, size: int) -> Sequence[Any]:
        """So many items, if they are not larger than those before, and come as soon: a large chunk was meant
        for small ones, that do not take long."""
        limited, chunksize = self._limited, self._chunker.chunksize
        if limited is not None:
            limited.waiting = self._window.awaits and not self._remote
        if limited is None or (chunksize is not None and (size <= chunksize or self.growth is not None)):
            return self._reader.take(size)
        # none that holds this, which holds the source: that is let go of as soon as nobody needs it
        to_a_leaf = partial(_to_a_leaf, self._position, self.growth)
        whole = to_a_leaf if chunksize is None else lambda items: -items % chunksize
        limited.enough, limited.patience, limited.rest = BYTES, SLOW, whole
        taken = self._reader.take(size)
        if limited.nbytes > BYTES and len(taken) and chunksize is None:
            self._chunker.sees(limited.nbytes // len(taken))
        return taken

    def _behind(self, items: Sequence[Any], count: int) -> Sequence[Any]:
        """The next ones behind these. What is raised there waits for its turn."""
        try:
            return self._reader.take(count)
        except BaseException as error:
            if not len(items) or not waits_its_turn(error):
                raise
            self._late.append(error)
            return ()


def _to_a_leaf(position: int, growth: Growth | None, items: int) -> int:
    """How many have to follow so many items, for a chunk to end where a leaf does, if it has to."""
    behind = position + items
    return 0 if growth is None else leaf_end(behind - 1, growth.largest) - behind

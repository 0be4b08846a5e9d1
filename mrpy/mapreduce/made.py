"""What a map task has made: groups in memory, by partition, and behind them those that went to disk.

Without a combiner all pairs of a chunk are gathered in one dict, whatever leaves they come from, until it is
as large as the memory that there is: so there are few runs on disk, and large ones. With a combiner each leaf
is a dict, and neighbours are combined along the tree of positions as soon as both are there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from functools import partial
from itertools import chain, islice
from operator import itemgetter
from zlib import crc32

from mrpy.errors import SerializationError, pin
from mrpy.inside import Place, inside
from mrpy.light import Any, Frozen
from mrpy.mapreduce.bulk import is_bulky
from mrpy.mapreduce.chunks import Chunk
from mrpy.mapreduce.groups import CountRecords, FromPairs, Groups, Reducer, is_exact, joining, take_in
from mrpy.mapreduce.partition import parts_of, stable_hash
from mrpy.mapreduce.slices import piece
from mrpy.mapreduce.spill import Entry, RunFile, Store, write_entries
from mrpy.mapreduce.tree import NOTHING, Node, combine
from mrpy.scheduler import codec
from mrpy.scheduler.calls import Parts
from mrpy.scheduler.sizes import about_dict, contents, weight

BATCH = 1 << 16  # pairs of a leaf that are grouped, and combined, at a time
LARGE_BATCH = 1 << 23  # bytes of such pairs, about
BATCHES = 4  # of counts, that fit into memory at least
GROWTH = 16  # times the last batch, at most
LOOK = 256  # of so many pairs one is weighed, at least; it takes as long as grouping ten of them
LOOKS = 64  # of the memory, the part that may be filled between two looks
UNSEEN = 1 << 10  # groups that are added between two looks, at most
PER_KEY = 100  # bytes that a key takes in a dict, with a short list; measured: 50 to 170
PER_VALUE = 8  # bytes in such a list


class ByRank(Frozen):
    """The order of keys: by their hash, or by themselves. From keys to their ranks."""

    sort: bool

    def __call__(self, keys: Collection[Any]) -> list[Any]:
        return list(keys) if self.sort else _hashes(keys)


def _hashes(keys: Collection[Any]) -> list[int]:
    """The stable hashes of keys. For most kinds a call of `stable_hash` would cost more than the hash."""
    if set(map(type, keys)) == {int}:
        return list(map(hash, keys))
    return [
        crc32(key.encode("utf-8", "surrogatepass"))
        if type(key) is str
        else hash(key)
        if type(key) is int
        else stable_hash(key)
        for key in keys
    ]


class Weighed(Parts):
    """Parts that stay in this process, and say how many bytes they take."""

    def __new__(cls, parts: list[Any], nbytes: int) -> Weighed:
        made = super().__new__(cls, parts)
        made.nbytes = nbytes
        return made

    nbytes: int

    def __reduce__(self) -> tuple[Any, ...]:
        return Parts, (list(self),)


class Made:
    """Nodes by partition: those on disk, and then those in memory. ``sort``: runs are sorted by key.
    ``apart``: keys of this type are in a part of their own, behind the others."""

    def __init__(
        self, chunk: Chunk, partitions: int, sort: bool, store: Store | None, apart: type | None = None
    ) -> None:
        self.size = 0  # bytes of what is in memory
        self._chunk, self._partitions, self._sort, self._store = chunk, partitions, sort, store
        self._apart = apart
        self._done: list[list[Node]] = [[] for _ in range(partitions + (apart is not None))]

    @property
    def memory(self) -> float:
        """How many bytes may be in memory."""
        return math.inf if self._store is None else self._store.gathered

    def spill(self, nodes: list[Node]) -> None:
        """Write nodes, whose groups are ours to take, to disk."""
        store = self._store
        assert store is not None
        with RunFile(store.folder) as file:
            for node in nodes:
                split = codec.without_gc(partial(self._entries, node.value))
                for done in self._done:
                    try:
                        run = write_entries(file, split.pop(0), self._chunk.first, store.block)
                    except SerializationError as error:
                        if inside.place is not Place.ELSEWHERE:  # else it is looked for, item by item
                            self._pin(error)
                        raise
                    done.append(node._replace(value=run))
        self.size = 0

    def finished(self, nodes: list[Node]) -> Parts:
        """All of it; these nodes are the rest."""
        if self._store is not None and not self._store.keeps(self.size):
            self.spill(nodes)
            nodes = []
        for node in nodes:
            split: list[Groups] = [{} for _ in self._done]
            parts = self._parts_of(node.value, self._hashes(node.value))
            for (key, group), part in zip(node.value.items(), parts, strict=True):
                split[part][key] = group
            for done, groups in zip(self._done, split, strict=True):
                done.append(node._replace(value=groups))
        return Parts(self._done) if inside.place is Place.ELSEWHERE else Weighed(self._done, self.size)

    def _entries(self, groups: Groups) -> list[list[Entry]]:
        """The entries of each partition, sorted by rank. The groups are not in the dict any more then."""
        hashes = self._hashes(groups)
        entries: list[list[Entry]] = [[] for _ in self._done]
        put = [each.append for each in entries]
        ranks, parts = groups if self._sort else hashes, self._parts_of(groups, hashes)
        for rank, part, (key, group) in zip(ranks, parts, groups.items(), strict=True):
            put[part]((rank, key, group))
        groups.clear()
        for each in entries:
            each.sort(key=itemgetter(0))
        return entries

    def _parts_of(self, keys: Collection[Any], hashes: list[int]) -> list[int]:
        parts = parts_of(hashes, self._partitions)
        if self._apart is None:
            return parts
        pairs = zip(keys, parts, strict=True)
        return [self._partitions if type(key) is self._apart else part for key, part in pairs]

    def _hashes(self, groups: Groups) -> list[int]:
        try:
            return _hashes(groups)
        except TypeError as error:
            self._pin(error)
            raise

    def _pin(self, error: Exception) -> None:
        """It is of one of these items: which is not known here."""
        pin(error, self._chunk.some_item())


class Gathering:
    """The leaf of a fold over a whole chunk, where nothing is combined."""

    def __init__(self, made: Made) -> None:
        self._made = made
        self._groups: Groups = {}
        self._values = 0  # bytes
        self._keys = self._looks = 0  # bytes of the keys that were weighed, and how many these are
        self._last: Any = NOTHING

    def leaf(self, pairs: Iterator[Any]) -> Groups:
        """Take in the pairs. What does not fit into memory is spilled as they come. All leaves of a chunk are
        in the one dict, so they must not be merged with each other."""
        memory, count = self._made.memory, 1
        if memory == math.inf:
            take_in(self._groups, pairs)
            return self._groups
        while (pair := take_in(self._groups, islice(pairs, count), to_a_bulky_one=True)) is not NOTHING:
            key, value = pair
            each = self._weigh(key, value, 1 if is_bulky(value) else count)
            if self._made.size > memory:
                self._made.spill([Node(0, 0, self._groups)])
                self._groups, self._values = {}, 0
            count = max(1, min(2 * count, LOOK, int(memory / LOOKS / each)))
        return self._groups

    def _weigh(self, key: Any, value: Any, count: int) -> int:
        """Take this pair for so many; about how many bytes one is."""
        # The same object again and again, as a name of a file may be, takes no memory
        one = PER_VALUE + (0 if value is self._last else weight(value))
        self._last = value
        self._values += count * one
        self._keys += weight(key)
        self._looks += 1
        self._made.size = self._values + len(self._groups) * (PER_KEY + self._keys // self._looks)
        return one

    def parts(self) -> Parts:
        """All of it, by partition."""
        return self._made.finished([Node(0, 0, self._groups)] if self._groups else [])


def _batch(pairs: Iterator[Any]) -> Iterator[Any]:
    """The next pairs of a leaf, fewer of them where the first is large: as many on every backend."""
    for pair in pairs:
        each = contents(pair[1]) if type(pair) is tuple and len(pair) == 2 else 0
        most = min(BATCH, LARGE_BATCH // max(1, each))
        return chain((pair,), islice(pairs, max(0, most - 1)))
    return pairs


class Combining:
    """The leaf of a fold whose groups are combined: leaf by leaf. Counts are all of one leaf.

    ``key``  of records that are counted without being made into pairs
    """

    def __init__(self, made: Made, combiner: Reducer, key: Callable[[Any], Any] | None = None) -> None:
        self._made = made
        self._exact = is_exact(combiner)
        groups: Any = FromPairs(combiner) if key is None else CountRecords(key)
        self._group: Callable[[Iterator[Any]], Groups] = groups
        self._join = joining(combiner)
        self._nodes: list[Node] = []
        self._sizes: list[int] = []
        self._each = 0.0  # bytes of a group, at the last look
        self._unseen = 0  # groups that were added since then
        self._place = 0  # of the leaf that is being made
        self._cut_up = False  # whether the first pieces of it are on disk

    def begin(self, place: int) -> None:
        """The next leaf is this one."""
        self._place, self._cut_up = 0 if self._exact else place, self._exact

    def leaf(self, pairs: Iterator[Any]) -> Groups:
        """The groups of a leaf. What does not fit into memory is spilled as they come."""
        return self._counted(pairs) if self._exact else self._combined(pairs)

    def _counted(self, pairs: Iterator[Any]) -> Groups:
        """In batches that are small against the memory: keys may be large."""
        memory, groups, taken = self._made.memory, self._group(iter(())), 0
        count = LOOK if memory < math.inf else BATCH
        while more := self._group(islice(pairs, count)):
            groups, taken = self._join(groups, more) if groups else more, taken + count
            if memory == math.inf:
                continue
            size = about_dict(groups)
            if self._made.size + size > memory:
                self._nodes.append(piece(self._place, groups))
                self._spill()
                groups, taken = {}, 0
            each = size / (taken or count)
            count = max(1, min(GROWTH * count, BATCH, int(memory / BATCHES / each)))
        return groups

    def _combined(self, pairs: Iterator[Any]) -> Groups:
        """In batches that end at fixed places, and are spilled between them."""
        groups = self._group(_batch(pairs))
        more = self._group(_batch(pairs)) if groups else {}
        while more:
            if self._cut_up or self._made.size + about_dict(groups) > self._made.memory:
                self._nodes.append(piece(self._place, groups))
                self._spill()
                groups, self._cut_up = more, True
            else:
                groups = self._join(groups, more)
            more = self._group(_batch(pairs))
        return groups

    def add(self, node: Node) -> None:
        """A leaf is done."""
        if self._exact and self._nodes:
            node = node._replace(value=self._join(self._nodes.pop().value, node.value))
        node = piece(self._place, node.value) if self._cut_up else node
        added = len(node.value)
        self._nodes = combine([*self._nodes, node], self._join)
        if self._made.memory == math.inf:
            return
        size = self._size_of(self._nodes[-1].value, added)
        self._sizes = [*self._sizes[: len(self._nodes) - 1], size]
        self._made.size = sum(self._sizes)
        if self._made.size > self._made.memory:
            self._spill()

    def _size_of(self, groups: Groups, added: int) -> int:
        """About how many bytes these take, to which so many groups were added: as many each as at the last
        look, if little was added since then. A look at each small leaf took a third of the time."""
        self._unseen += added
        many = self._unseen > UNSEEN or self._unseen * self._each > self._made.memory / LOOKS
        if groups and (many or not self._each):
            self._each, self._unseen = about_dict(groups) / len(groups), 0
        return int(len(groups) * self._each)

    def parts(self) -> Parts:
        """All of it, by partition."""
        return self._made.finished(self._nodes)

    def _spill(self) -> None:
        self._made.spill(self._nodes)
        self._nodes, self._sizes = [], []

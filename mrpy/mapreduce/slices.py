"""Nodes of groups brought together where some lie on disk: slice by slice, in the order of rank.

A rank is a number by which keys are sorted (the hash of the key, or the key itself where the user wants
them sorted). Every run is sorted by rank, and its index says which ranks lie in which block. So the ranks are
cut into slices, each of which fits into memory; the groups of a slice are read from all runs and joined as
if nothing had been on disk. A rank that alone does not fit - a key with ten million values - is a slice of
its own, and its values are read while the reducer asks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from operator import itemgetter

from mrpy.light import TYPE_CHECKING, Any, NamedTuple
from mrpy.mapreduce.bounds import Bound, Slice, cuts
from mrpy.mapreduce.groups import Group, Groups, gathered
from mrpy.mapreduce.spill import Entry, Run
from mrpy.mapreduce.tree import NOTHING, Node, total

if TYPE_CHECKING:
    from typing import TypeAlias

Merge: TypeAlias = Callable[[Groups, Groups], Groups]
Ranks: TypeAlias = Callable[[Collection[Any]], list[Any]]  # from keys to theirs
Place: TypeAlias = tuple[int, int]  # of a cursor: blocks that were opened, and entries of the last

OPEN = 4  # of the memory, the part for blocks that wait for the next slice; if more, they are read again


class Streamed(NamedTuple):
    """A group that is read from disk while it is asked for. To be read before the next key is asked for."""

    values: Iterator[Any]


def piece(place: int, groups: Groups) -> Node:
    """A piece of the leaf at this place. The tree, which pairs a node with the next one to its right, leaves
    it alone: pieces of a leaf are joined from left to right before anything else is."""
    return Node(_PIECE, 2 * place, groups)


_PIECE = -1  # a level of its own, with even places only


def together(nodes: Iterable[Node], merge: Merge) -> Groups:
    """The groups of all nodes, joined along the tree."""
    value = total(_whole_leaves(nodes, merge), merge)
    return value if type(value) is dict else {}


def _whole_leaves(nodes: Iterable[Node], merge: Merge) -> Iterator[Node]:
    left: Node | None = None
    for node in nodes:
        if left is not None and (node.level, node.place) == (left.level, left.place):
            left = left._replace(value=merge(left.value, node.value))
            continue
        if left is not None:
            yield Node(0, left.place // 2, left.value)
        left = node if node.level == _PIECE else None
        if left is None:
            yield node
    if left is not None:
        yield Node(0, left.place // 2, left.value)


def merged(
    nodes: list[Node], ranks: Ranks, merge: Merge | None, memory: int
) -> Iterator[tuple[Any, Group]]:
    """All keys with their groups, in the order of rank. ``merge``: of groups that are combined, and small.
    None: they are not, and that of a large rank is `Streamed`."""
    runs = [node.value for node in nodes if type(node.value) is Run]
    if not runs:
        yield from _ranked(_joined_groups(nodes, merge), ranks)
        return
    stay_open = sum(run.largest for run in runs) <= memory // OPEN
    cursors = [_cursor(node, ranks, stay_open) for node in nodes]
    for end, large in slices(runs, memory):
        if large and merge is None:
            yield from _streamed(cursors, end)
            continue
        pairs = zip(nodes, cursors, strict=True)
        taken = (node._replace(value=cursor.take(end)) for node, cursor in pairs)
        yield from _ranked(_joined_groups(taken, merge), ranks)


def _joined_groups(nodes: Iterable[Node], merge: Merge | None) -> Groups:
    return gathered(node.value for node in nodes) if merge is None else together(nodes, merge)


def _ranked(groups: Groups, ranks: Ranks) -> Iterator[tuple[Any, Group]]:
    keys = list(groups)
    for number in sorted(range(len(keys)), key=ranks(keys).__getitem__):
        yield keys[number], groups.pop(keys[number])


def slices(runs: Sequence[Run], memory: int) -> Iterator[Slice]:
    """Cut the ranks so that the blocks of a slice take no more than `memory`, but for single ranks."""
    return cuts((block for run in runs for block in run.blocks), memory)


def _streamed(cursors: list[_Cursor], end: Bound | None) -> Iterator[tuple[Any, Group]]:
    """The keys of one rank. What lies there is read once for each of them: there is hardly ever a second."""
    begin = [cursor.place for cursor in cursors]
    keys: dict[Any, Any] = {}
    for cursor in cursors:
        for _, key, _ in cursor.entries(end):
            keys.setdefault(key, key)
    behind = [cursor.place for cursor in cursors]
    for key in keys:
        _go(cursors, begin)
        yield key, Streamed(_values(cursors, keys, key, end))
    _go(cursors, behind)


def _go(cursors: list[_Cursor], places: list[Place]) -> None:
    for cursor, place in zip(cursors, places, strict=True):
        cursor.go(place)


def _values(
    cursors: list[_Cursor], keys: dict[Any, Any], wanted: Any, end: Bound | None
) -> Iterator[Any]:
    """Those of one of the keys. Which is which the dict says, as in memory: two may be equal and have hashes
    of their own."""
    for cursor in cursors:
        for _, key, group in cursor.entries(end):
            if keys[key] is wanted:
                yield from _listed(group)


def _cursor(node: Node, ranks: Ranks, stays_open: bool) -> _Cursor:
    if type(node.value) is Run:
        return _Cursor(node.value, [], stays_open)
    groups: Groups = node.value
    entries = sorted(zip(ranks(groups), groups, groups.values(), strict=True), key=itemgetter(0))
    return _Cursor(None, entries)


class _Cursor:
    """How far a run, or groups that never left memory, have been read. One block of a run is open, or none
    where it does not stay open."""

    def __init__(self, run: Run | None, entries: list[Entry], stays_open: bool = True) -> None:
        self._run = run
        self._stays_open = stays_open
        self._next = 0  # block
        self._place = 0  # in the last one
        self._shut = False  # whether that has to be read again
        self._ranks, self._keys, self._groups = _columns(entries)

    def take(self, end: Bound | None) -> Groups:
        """The groups of the ranks below `end`."""
        groups: Groups = {}
        ours: Any = NOTHING  # the last group that was cut up; its pieces follow each other
        while self._open(end):
            behind = len(self._ranks) if end is None else end.place(self._ranks, self._place)
            for key, group in zip(
                self._keys[self._place : behind], self._groups[self._place : behind], strict=True
            ):
                if key not in groups:
                    groups[key] = group
                    continue
                if groups[key] is not ours:
                    ours = groups[key] = _listed(groups[key])[:]
                ours += _listed(group)
            self._place = behind
            if behind < len(self._ranks):
                break
        self._rest()
        return groups

    def entries(self, end: Bound | None) -> Iterator[Entry]:
        """The same, one by one, as they lie there."""
        while self._open(end):
            while self._place < len(self._ranks):
                place = self._place
                if end is not None and not end.is_above(self._ranks[place]):
                    self._rest()
                    return
                self._place += 1
                yield self._ranks[place], self._keys[place], self._groups[place]
        self._rest()

    @property
    def place(self) -> Place:
        """How far this has been read."""
        return self._next, self._place

    def go(self, place: Place) -> None:
        """Go there, where it has been before."""
        opened, behind = place
        if opened != self._next or not self._ranks:
            self._next = opened
            self._let_go()
        self._place = behind

    def _rest(self) -> None:
        """Nothing is asked for until the next slice."""
        if self._run is not None and not self._stays_open:
            self._let_go(through=self._place >= len(self._ranks))

    def _let_go(self, *, through: bool = False) -> None:
        self._shut = self._next > 0 and not through
        self._ranks, self._keys, self._groups = [], [], []

    def _open(self, end: Bound | None) -> bool:
        """See that there is an entry below `end` at hand; whether there is."""
        if self._shut:
            if not self._is_below(self._next - 1, end):
                return False
            self._load(self._next - 1)
        while self._place >= len(self._ranks):
            if self._run is None or self._next >= len(self._run.blocks):
                return False
            if not self._is_below(self._next, end):
                return False
            self._load(self._next)
            self._next += 1
            self._place = 0
        return end is None or end.is_above(self._ranks[self._place])

    def _is_below(self, number: int, end: Bound | None) -> bool:
        assert self._run is not None
        return end is None or end.is_above(self._run.blocks[number].low)

    def _load(self, number: int) -> None:
        assert self._run is not None
        self._ranks, self._keys, self._groups = self._run.read(self._run.blocks[number])
        self._shut = False


def _columns(entries: list[Entry]) -> tuple[list[Any], list[Any], list[Any]]:
    ranks, keys, groups = [list(column) for column in zip(*entries, strict=True)] if entries else ([], [], [])
    return ranks, keys, groups


def _listed(group: Group) -> list[Any]:
    return group if type(group) is list else [group]

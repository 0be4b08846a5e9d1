"""The tree along which a reduction combines: fixed by the positions of the items, by nothing else.

The source is cut into *leaves* at fixed positions (`leaf_end`); a leaf is folded from left to right. Over
the leaves stands the binary tree of aligned pairs: leaf 0 with 1, 2 with 3, then (0, 1) with (2, 3), and
so on. A worker that has some consecutive leaves combines the pairs that it has whole; what is left, a
few nodes per chunk, is combined with its neighbours later. Wherever the cuts between chunks fall, the
same pairs are combined in the end, so a float sum has the same bits on every backend, with any number
of workers and any chunk size.

Leaves are small at first and grow with the position, 64 of each size: a short source of costly items
still spreads over the workers, a long one of cheap items is folded at the speed of the builtin. They stop
growing where a leaf of the next size would be large: a chunk has one leaf at least, and memory is to be
bounded in a long source of arrays too. What says so are eight items before each new size (`Growth`).

Items that a filter drops leave their place empty, items that a step multiplies are folded at theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from mrpy.light import TYPE_CHECKING, NamedTuple, later

if TYPE_CHECKING:
    from typing import Any

    from mrpy.scheduler import sizes
else:
    sizes = later("mrpy.scheduler.sizes")

PER_SIZE = 64  # leaves of each size
LARGEST = 4096  # items; above this the cost of a leaf no longer shows
LOOKS = 8  # items: what comes in turns, a name and an image, say, is seen whole
BYTES = 1 << 23  # of a leaf of more than one item, about; as of a chunk


class Nothing:
    """The value of a leaf in which no item was left. There is one of it, wherever it travels."""

    __slots__ = ()
    __match_args__ = ()

    def __reduce__(self) -> str:
        return "NOTHING"

    def __repr__(self) -> str:
        return "NOTHING"


NOTHING = Nothing()
MISSING: Any = NOTHING  # "no initial value", where None is one


class Node(NamedTuple):
    """The value of 2**level leaves, those from ``place * 2**level`` on."""

    level: int
    place: int
    value: Any


def leaf_size(position: int, largest: int = LARGEST) -> int:
    """How many items the leaf at `position` spans, where leaves grow to `largest`, a power of two.

    >>> [leaf_size(p) for p in (0, 127, 128, 256, 10**9)]
    [1, 1, 2, 4, 4096]
    """
    return min(largest, 1 << max(0, (position // PER_SIZE).bit_length() - 1))


def leaf_end(position: int, largest: int = LARGEST) -> int:
    """The first position behind the leaf that `position` lies in."""
    size = leaf_size(position, largest)
    return position - position % size + size


def leaf_index(position: int, largest: int = LARGEST) -> int:
    """The number of the leaf that `position` lies in.

    >>> [leaf_index(p) for p in (0, 63, 64, 127, 128, 129, 130)]
    [0, 63, 64, 127, 128, 128, 129]
    """
    size = leaf_size(position, largest)
    octave = size.bit_length() - 1
    return PER_SIZE * octave + position // size


class Growth:
    """To what size leaves grow: told by the source, whose items come by here.

    >>> growth = Growth()
    >>> growth.see(0, [bytes(500_000)] * 3000)
    >>> growth.largest, [leaf_size(p, growth.largest) for p in (0, 128, 512, 2048, 10**9)]
    (16, [1, 2, 8, 16, 16])
    """

    def __init__(self) -> None:
        self.largest = LARGEST  # so far
        self._next = 2 * PER_SIZE - LOOKS  # the position of the next item to look at
        self._nbytes = 0  # the most that one has taken

    def see(self, first: int, items: Sequence[Any]) -> None:
        """The items from position `first` on, stretch by stretch. The last ones before leaves are to grow are
        looked at."""
        while first <= self._next < min(first + len(items), PER_SIZE * self.largest):
            self._nbytes = max(self._nbytes, sizes.contents(items[self._next - first]))
            self._next += 1
            if self._next % PER_SIZE == 0:  # leaves are to grow here, to this size
                size = self._next // PER_SIZE
                if size * self._nbytes > BYTES:
                    self.largest = size // 2
                self._next = 2 * self._next - LOOKS


def combine(nodes: Iterable[Node], merge: Callable[[Any, Any], Any]) -> list[Node]:
    """Combine all pairs that are whole. `nodes` are consecutive, from left to right."""
    row: list[Node] = []
    for node in nodes:
        row.append(node)
        while len(row) > 1 and _are_pair(row[-2], row[-1]):
            right, left = row.pop(), row.pop()
            row.append(Node(left.level + 1, left.place // 2, merged(left.value, right.value, merge)))
    return row


def total(nodes: Iterable[Node], merge: Callable[[Any, Any], Any]) -> Any:
    """The value of all nodes: what is not paired at the end of the source, from right to left."""
    value: Any = NOTHING
    for node in reversed(combine(nodes, merge)):
        value = merged(node.value, value, merge)
    return value


def merged(left: Any, right: Any, merge: Callable[[Any, Any], Any]) -> Any:
    """Combine two values, of which either may be nothing."""
    if left is NOTHING:
        return right
    if right is NOTHING:
        return left
    try:
        return merge(left, right)
    except TypeError as error:
        _say_what_was_done(error, left, right, merge)
        raise


def _say_what_was_done(error: TypeError, left: Any, right: Any, merge: Any) -> None:
    """Have an error of the user's function say what that got: most likely it takes a result and an item."""
    if str(getattr(merge, "__module__", "")).startswith("mrpy."):
        return
    kinds, name = f"{type(left).__name__} and {type(right).__name__}", getattr(merge, "__qualname__", merge)
    note = (
        f"mrpy: raised as two partial results ({kinds}) were combined by {name}; "
        "where that is no way to combine two of them, write pfold(step, items, initial, combine=...)"
    )
    try:
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)
    except Exception:  # noqa: S110 - a class may forbid it
        pass


def _are_pair(left: Node, right: Node) -> bool:
    return left.level == right.level and left.place % 2 == 0 and right.place == left.place + 1

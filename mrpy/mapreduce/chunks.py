"""What travels: a stretch of the source on its way out, and what became of its items on the way back."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from mrpy.errors import Item, SerializationError, item_of, pin
from mrpy.light import TYPE_CHECKING, NamedTuple, later
from mrpy.mapreduce.skipped import Skipped
from mrpy.mapreduce.tree import LARGEST
from mrpy.scheduler import codec
from mrpy.scheduler.calls import Noted, apart

if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from mrpy.scheduler import failure as failing
    from mrpy.scheduler import sizes
    from mrpy.scheduler.failure import At, Failure

    Excluded: TypeAlias = Mapping[At, Failure]  # by place in the chunk: what must not be run, and why
else:
    failing, sizes = later("mrpy.scheduler.failure"), later("mrpy.scheduler.sizes")


_SAMPLED = 4  # values, and members of a container; out of the air
PLAIN = frozenset({bool, int, float, complex, str, bytes, bytearray, type(None)})
_CONTAINERS = frozenset({list, tuple, set, frozenset, dict})


def visible_bytes(values: Sequence[Any]) -> int | None:
    """About how many bytes some values take, from a few of them; None where that cannot be seen, since they
    are objects of the user's, which may hold anything."""
    some = _all_known(map(_visible, values[:: max(1, len(values) // _SAMPLED)]))
    return None if some is None else len(values) * max(some, default=0)


def _visible(value: Any, depth: int = 2) -> int | None:
    kind = type(value)
    if kind in PLAIN:  # first: what reads a module at a cold start waits for other threads, 5 ms at a time
        return sys.getsizeof(value)
    if kind not in _CONTAINERS:
        return sizes.stated(value)
    if depth == 0:
        return None
    members = islice(value.values() if kind is dict else value, _SAMPLED)
    some = _all_known(_visible(member, depth - 1) for member in members)
    return None if some is None else sys.getsizeof(value) + len(value) * sum(some) // max(1, len(some))


def _all_known(sizes: Iterable[int | None]) -> list[int] | None:
    known: list[int] = []
    for size in sizes:
        if size is None:
            return None
        known.append(size)
    return known


def index_of(at: At) -> int:
    """The index of an item, or of the one to which a record belongs."""
    assert not isinstance(at, str), "what has a chunk has items"
    return at[0] if isinstance(at, tuple) else at


def moved(at: At, offset: int) -> At:
    """The same place where items are counted from elsewhere.

    >>> moved(7, -2), moved((7, 30), 2)
    (5, (9, 30))
    """
    return (at[0] + offset, at[1]) if isinstance(at, tuple) else index_of(at) + offset


class Chunk(NamedTuple):
    """Items ``first, first + 1, ...`` of a source.

    ``excluded``    items that are known to fail (they killed a worker, ran out of time, cannot travel), or
                    single records of theirs: each with `EVERY`, and from one on that cannot be read where the
                    index of its failure is that of the item
    ``piece``       that many items are a chunk of their own, and several travel together; None: all are one
    ``separately``  each item and each result is a pickle of its own, so that one that cannot be opened
                    harms no other. Slow, and only for chunks in which there was such a one.
    ``budget``      it was cut before anybody knew what an item costs: after so many seconds the worker
                    answers with what it has (`Partly`), and the rest is cut again
    ``gives_back``  what was not begun of it is cut again if others have nothing to do: `mrpy.scheduler.rests`
    ``seed``        of the run, for `rng`; None: that of the rules
    ``largest``     leaf of a reduction, in items: see `mrpy.mapreduce.tree`
    """

    first: int
    data: Sequence[Any]
    excluded: Excluded = {}
    separately: bool = False
    piece: int | None = None
    budget: float | None = None
    gives_back: bool = False
    seed: int | None = None
    largest: int = LARGEST

    def item(self, index: int) -> Item:
        """What to call an item of this chunk."""
        if not 0 <= index < len(self.data):
            return Item(self.first + max(0, index), "")
        return Item(self.first + index, failing.short_repr(self.data[index]))

    def some_item(self) -> Item:
        """What to call an item of this chunk, where nobody knows which it was."""
        more = len(self.data) - 1
        several = f"or one of the {more} after it" if more > 1 else "or the one after it"
        return Item(self.first, several) if more > 0 else self.item(0)

    def known(self, at: At) -> Failure | None:
        """Why an item is not to be run, or one of its records, where it is excluded."""
        if at in self.excluded or not isinstance(at, tuple):
            return self.excluded.get(at)
        return self.excluded.get((at[0], failing.EVERY))

    def part(self, begin: int, end: int) -> Chunk:
        """The items at positions `begin` to `end`."""
        offset = begin - self.first
        data, excluded = self.data[offset : end - self.first], self.excluded
        if excluded:
            within = range(end - begin)
            moves = ((moved(at, -offset), why) for at, why in excluded.items())
            excluded = {at: why for at, why in moves if index_of(at) in within}
        # not by `_replace`, which takes three times as long: leaves may be single items
        return Chunk(
            begin, data, excluded, self.separately, self.piece, seed=self.seed, largest=self.largest
        )

    def for_travel(self) -> Chunk:
        """This chunk with every item pickled by itself. Those that cannot be are excluded."""
        excluded = dict(self.excluded)
        data: list[codec.Payload | None] = []
        for index, item in enumerate(self.data):
            try:
                data.append(None if index in excluded else codec.encode_apart(item, back=False))
            except SerializationError as error:
                excluded[index] = failing.capture(error, travels=True).at(self.item(index))
                data.append(None)
        return self._replace(data=data, excluded=excluded)


def opened_item(chunk: Chunk, index: int) -> Item:
    """As `Chunk.item`, where the items are pickles: they are opened to be shown."""
    try:
        opened = codec.decode(chunk.data[index])
    except BaseException:  # it may have been this that failed, with whatever
        return Item(chunk.first + index, "")
    return Chunk(chunk.first + index, [opened]).item(0)


class Partly(NamedTuple):
    """The note of a task that has done so many items of its chunk, and was asked for the others or has spent
    its budget; None: it has done all. ``skipped``: what of them."""

    done: int | None
    skipped: Skipped | None


def partly(made: Any, done: int | None) -> Any:
    """What a call returns that has done so many."""
    if done is None:
        return made
    value, skipped = apart(made)
    return Noted(value, Partly(done, skipped))


def said(note: Any) -> Partly:
    """The note of a task, whatever it is about."""
    return note if type(note) is Partly else Partly(None, note)


class Outcome(NamedTuple):
    """What became of a chunk where not all went well; else it is simply the list of its results.

    ``failures``  by index in `values`: a failure that stands in the place of a value
    ``ended``     the run is over at the last value, which is a failure
    ``pickled``   each value is a pickle of its own (see `Chunk.separately`)
    """

    values: list[Any]
    failures: dict[int, Failure]
    ended: bool
    pickled: bool
    positions: list[Item] | None = None  # of each value, where `pickled`

    def opened(self, on_error: object, skipped: Skipped) -> Outcome:
        """The same with the pickles opened. One that does not open is a failure at its item; where that is
        skipped it is added there."""
        if not self.pickled:
            return self
        values: list[Any] = []
        failures: dict[int, Failure] = {}
        for index, value in enumerate(self.values):
            failure = self.failures.get(index)
            if failure is None:
                try:
                    values.append(self._decoded(index, value, on_error, skipped))
                    continue
                except Exception as error:
                    failure = failing.capture(error, travels=False)
                    if on_error == "skip":
                        skipped.add(error, item_of(error) or Item(0, ""))
                        continue
            failures[len(values)] = failure
            values.append(None)
            if on_error != "return":
                return Outcome(values, failures, True, False)
        return Outcome(values, failures, self.ended, False)

    def _decoded(self, index: int, value: codec.Payload, on_error: object, skipped: Skipped) -> Any:
        """A value opened, or what `on_error` makes of it. Raises what stands at its place otherwise."""
        try:
            return codec.opened(value)
        except SerializationError as error:
            problem = error
        item = self.positions[index] if self.positions else None
        try:
            if callable(on_error):
                skipped.replaced = True
                return on_error(_pinned(problem, item))
        except Exception as second:
            raise _pinned(second, item) from None
        raise _pinned(problem, item)


def _pinned(error: Exception, item: Item | None) -> Exception:
    if item is not None:
        pin(error, item)
    return error

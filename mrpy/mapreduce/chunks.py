"""What travels: a stretch of the source on its way out, and what became of its items on the way back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mrpy.errors import Item, SerializationError, pin
from mrpy.light import TYPE_CHECKING, NamedTuple, later
from mrpy.scheduler import codec

if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from mrpy.scheduler import failure as failing
    from mrpy.scheduler.failure import Failure

    Excluded: TypeAlias = Mapping[int, Failure]  # by index in the chunk: what must not be run, and why
else:
    failing = later("mrpy.scheduler.failure")


class Chunk(NamedTuple):
    """Items ``first, first + 1, ...`` of a source.

    ``excluded``    items that are known to fail (they killed a worker, ran out of time, cannot travel)
    ``piece``       that many items are a chunk of their own, and several travel together; None: all are one
    ``separately``  each item and each result is a pickle of its own, so that one that cannot be opened
                    harms no other. Slow, and only for chunks in which there was such a one.
    """

    first: int
    data: Sequence[Any]
    excluded: Excluded = {}
    separately: bool = False
    piece: int | None = None

    def item(self, index: int) -> Item:
        """What to call an item of this chunk."""
        if not 0 <= index < len(self.data):
            return Item(self.first + max(0, index), "")
        return Item(self.first + index, failing.short_repr(self.data[index]))

    def part(self, begin: int, end: int) -> Chunk:
        """The items at positions `begin` to `end`."""
        offset = begin - self.first
        excluded = {at - offset: why for at, why in self.excluded.items() if offset <= at < end - self.first}
        return Chunk(begin, self.data[offset : end - self.first], excluded, self.separately)

    def for_travel(self) -> Chunk:
        """This chunk with every item pickled by itself. Those that cannot be are excluded."""
        excluded = dict(self.excluded)
        data: list[codec.Payload | None] = []
        for index, item in enumerate(self.data):
            try:
                data.append(None if index in excluded else codec.encode(item))
            except SerializationError as error:
                excluded[index] = failing.capture(error, travels=True).at(self.item(index))
                data.append(None)
        return self._replace(data=data, excluded=excluded)


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

    def opened(self, on_error: object) -> Outcome:
        """The same with the pickles opened. One that does not open is a failure at its item."""
        if not self.pickled:
            return self
        values: list[Any] = []
        failures: dict[int, Failure] = {}
        for index, value in enumerate(self.values):
            failure = self.failures.get(index)
            if failure is None:
                try:
                    values.append(self._decoded(index, value, on_error))
                    continue
                except Exception as error:
                    failure = failing.capture(error, travels=False)
            if on_error == "skip":
                continue
            failures[len(values)] = failure
            values.append(None)
            if on_error != "return":
                return Outcome(values, failures, True, False)
        return Outcome(values, failures, self.ended, False)

    def _decoded(self, index: int, value: codec.Payload, on_error: object) -> Any:
        """A value opened, or what `on_error` makes of it. Raises what stands at its place otherwise."""
        try:
            return codec.decode(value)
        except Exception as error:
            problem = SerializationError(f"a result cannot be unpickled: {error!r}")
        item = self.positions[index] if self.positions else None
        try:
            if callable(on_error):
                return on_error(_pinned(problem, item))
        except Exception as second:
            raise _pinned(second, item) from None
        raise _pinned(problem, item)


def _pinned(error: Exception, item: Item | None) -> Exception:
    if item is not None:
        pin(error, item)
    return error

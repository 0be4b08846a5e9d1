"""Values as they come from another process: bytes, until the consumer opens them."""

from __future__ import annotations

from mrpy.errors import SerializationError
from mrpy.light import TYPE_CHECKING
from mrpy.scheduler import codec
from mrpy.scheduler.calls import Parts

if TYPE_CHECKING:
    from typing import Any


class Pickled:
    """A value as it came from a worker."""

    __slots__ = ("in_parts", "note", "payloads")

    def __init__(self, payloads: list[codec.Payload], in_parts: bool, note: Any = None) -> None:
        self.payloads = payloads
        self.in_parts = in_parts
        self.note = note

    @property
    def nbytes(self) -> int:
        """How many it takes, pickled."""
        return sum([payload.nbytes for payload in self.payloads])

    def load(self) -> Any:
        """Unpickle it, here and now."""
        values = [codec.opened(payload) for payload in self.payloads]
        return Parts(values) if self.in_parts else values[0]

    def part(self, part: int | None) -> codec.Payload:
        """What to send to a task that needs this value."""
        if part is None and self.in_parts:
            raise SerializationError("a value in parts was asked for as a whole")
        if part is not None and not self.in_parts:
            raise SerializationError("a part of a value was asked for that has none")
        return self.payloads[part or 0]

"""Values that never leave the process: what the serial and the threads backend share."""

from __future__ import annotations

from typing import Any

from mrpy.scheduler.calls import Parts, apart
from mrpy.scheduler.messages import Input, Key
from mrpy.scheduler.sizes import about


class Held:
    """A value at hand."""

    __slots__ = ("_value", "note")

    def __init__(self, value: Any, note: Any) -> None:
        self._value = value
        self.note = note

    @property
    def nbytes(self) -> int:
        """About how many it takes."""
        return about(self._value)

    def load(self) -> Any:
        """Return it: there is nothing to open."""
        return self._value


class Store:
    """Values by key."""

    def __init__(self) -> None:
        self._values: dict[Key, Any] = {}
        self._notes: dict[Key, Any] = {}

    def put(self, key: Key, made: Any) -> None:
        """Keep what a call returned."""
        self._values[key], note = apart(made)
        if note is not None:
            self._notes[key] = note

    def fetch(self, key: Key) -> Held:
        """Hand a value over."""
        return Held(self._values[key], self._notes.pop(key, None))

    def release(self, key: Key) -> None:
        """Forget a value."""
        self._values.pop(key, None)
        self._notes.pop(key, None)

    def inputs(self, inputs: tuple[Input, ...]) -> list[Any]:
        """The values, or the parts of values, that a task asks for."""
        return [_part(self._values[needed.key], needed.part) for needed in inputs]


def _part(value: Any, part: int | None) -> Any:
    if part is None:
        return value
    if not isinstance(value, Parts):
        raise TypeError(f"a part of a {type(value).__name__} was asked for; only Parts have parts")
    return value[part]

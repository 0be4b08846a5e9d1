"""What goes to the workers of a pool: functions once, large buffers by shared memory.

All of it is copied when it is packed, in the thread that reads the source: what the user changes afterwards,
an array that is filled again for the next item, changes nothing that is on its way.

A read-only array that owns its memory is copied once in a run, however many tasks it is sent with
(`Call.shared`); of many of them the first ones: such a copy takes descriptors as long as the array is there.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable

from mrpy.light import TYPE_CHECKING
from mrpy.machine import cpu_count
from mrpy.scheduler import codec
from mrpy.scheduler.backends.segments import SHARED, Pool, Shelved, most
from mrpy.scheduler.calls import Call, Code

if TYPE_CHECKING:
    from typing import Any, TypeAlias

COPYING = 4  # threads that copy a large buffer, at most; two of them had all the memory could give here


Copies: TypeAlias = "dict[int, tuple[Any, Shelved]]"  # read-only arrays, by their ids


class Packer:
    """Packs calls. `tell` is called, in any thread, when a function is not needed any more."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self.pool = Pool(min(COPYING, cpu_count()))
        self._codes: dict[int, tuple[Any, codec.Payload]] = {}
        self._gone: deque[int] = deque()
        self._tell = tell

    def pack(self, call: Call) -> Call:
        """The same call, with data that does not change any more. Raises `SerializationError`."""
        self.function(call.code)
        payload = codec.encode(call.data, way=call.code.way)
        if payload.buffers:
            payload = self._copied(payload, call.shared)
        return Call(call.code, payload)

    def shelved(self, payload: codec.Payload) -> codec.Payload:
        """A value that came from a worker, for another."""
        return self.pool.shelve(payload)

    def gone(self) -> list[int]:
        """The functions that nobody holds any more, each once."""
        numbers = []
        while self._gone:
            numbers.append(self._gone.popleft())
        return numbers

    def close(self) -> None:
        """Give up what is held."""
        self._codes.clear()
        self.pool.close()

    def function(self, code: Code) -> codec.Payload:
        """A function as it travels."""
        known = self._codes.get(code.number)
        if known is not None:
            return known[1]
        number, codes, gone, tell = code.number, self._codes, self._gone, self._tell

        def forget(_: Any) -> None:
            codes.pop(number, None)
            gone.append(number)
            tell()

        payload = self._copied(code.payload(), None)
        codes[number] = weakref.ref(code, forget), payload
        return payload

    def _copied(self, payload: codec.Payload, frozen: Copies | None) -> codec.Payload:
        buffers: list[Any] = []
        for view in payload.buffers:
            if frozen is not None and view.nbytes >= SHARED and _is_frozen(view):
                buffers.append(self._shared(view, frozen))
            else:
                buffers.append(view)
        payload = self.pool.shelve(payload._replace(buffers=tuple(buffers)))
        return payload._replace(buffers=tuple(map(_own, payload.buffers)))

    def _shared(self, view: memoryview, frozen: Copies) -> Any:
        array: Any = view.obj
        known = frozen.get(id(array))
        if known is not None and known[0]() is array:
            return known[1]
        if len(frozen) >= most() // 2:
            return view
        [buffer] = self.pool.shelve(codec.Payload(b"", (view,))).buffers
        if type(buffer) is Shelved:
            key = id(array)
            frozen[key] = weakref.ref(array, lambda _: frozen.pop(key, None)), buffer
        return buffer


def _own(buffer: Any) -> Any:
    """A copy of what the user might still write to."""
    return codec.copy_of(buffer) if type(buffer) is memoryview else buffer


def _is_frozen(view: memoryview) -> bool:
    """Whether it is the memory of a read-only NumPy array that has no other owner."""
    array: Any = view.obj
    kind = type(array)
    if not view.readonly or (kind.__module__, kind.__name__) != ("numpy", "ndarray"):
        return False
    return not array.flags.writeable and bool(array.flags.owndata)

"""A chunk on its way, as the consumer knows it."""

from __future__ import annotations

from mrpy.light import Any
from mrpy.mapreduce.chunks import Chunk, Outcome
from mrpy.mapreduce.window import Receipts
from mrpy.scheduler.calls import Parts
from mrpy.scheduler.failure import Failure
from mrpy.scheduler.messages import Key


class Slot:
    """A chunk on its way: what was sent, under which key, and what came back."""

    __slots__ = (
        "asked", "chunk", "code", "counted", "done", "end", "failure", "key", "nbytes", "nbytes_back",
        "passed", "receipts", "result", "travelling",
    )  # fmt: skip

    def __init__(self, chunk: Chunk, receipts: Receipts) -> None:
        self.chunk = chunk
        self.receipts = receipts  # for what was pulled from other runs to make it
        self.passed = 0  # items of which the consumer has all results
        self.key: Key = None
        self.code: Any = None  # of its task, where that may have to be run once more
        self.done = False
        self.end = 0  # the position behind its last item, when it is done
        self.asked = False  # to give back what was not begun
        self.counted = False  # in the account
        self.nbytes = self.nbytes_back = 0  # of the chunk and of its results, where somebody counts them
        self.travelling = 0  # bytes, out and back, about
        self.result: list[Any] | Parts | Outcome = []
        self.failure: Failure | None = None


def first_of(slot: Slot) -> int:
    """The position of its first item."""
    return slot.chunk.first

"""Which chunk is next: in the order of the source, or as they are completed.

Decided once, by generators that hand out either a chunk that is done or `WAIT`, when they cannot go on
without the end of another task. Whoever runs them waits in his own way: a plain loop blocks, an
asynchronous one awaits.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Generator, Iterator
from enum import Enum

from mrpy.light import TYPE_CHECKING
from mrpy.mapreduce.chunks import Outcome
from mrpy.mapreduce.compile import Feeder
from mrpy.mapreduce.slots import Slot, first_of
from mrpy.scheduler.driver import Delivery

if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Turns: TypeAlias = Generator["Slot | Wait", Delivery | None, None]


class Wait(Enum):
    """What a run says when it needs one more delivery; it is sent in."""

    WAIT = "wait"


WAIT = Wait.WAIT


def turns(feeder: Feeder, *, ordered: bool) -> Turns:
    """The chunks of a run, one by one. Whoever takes one settles it."""
    return _in_order(feeder) if ordered else _as_completed(feeder)


def advance(slots: Turns, delivery: Delivery | None) -> Any:
    """The next slot or WAIT; None at the end."""
    try:
        return slots.send(delivery)
    except StopIteration:
        return None


def blocking(feeder: Feeder, *, ordered: bool) -> Iterator[Slot]:
    """The chunks, and then the error of the source, for a loop that may block."""
    slots = turns(feeder, ordered=ordered)
    delivery: Delivery | None = None
    while (slot := advance(slots, delivery)) is not None:
        if slot is WAIT:
            delivery = feeder.next()
            continue
        delivery = None
        yield slot
    feeder.ends()


def _in_order(feeder: Feeder) -> Turns:
    waiting: dict[int, Slot] = {}  # by first item: what is cut later may come earlier
    position = 0
    while True:
        first = position
        ready = first in waiting and waiting[first].done
        # also while the first one is waited for: it may take long
        waiting.update((slot.chunk.first, slot) for slot in feeder.top_up(ready=ready))
        if not waiting:
            return
        if first in waiting and waiting[first].done:
            position += len(waiting[first].chunk.data)
            yield waiting.pop(first)
            continue
        delivery = yield WAIT
        assert delivery is not None
        feeder.take(delivery)


def _as_completed(feeder: Feeder) -> Turns:
    waiting = 0
    while True:
        fresh = feeder.top_up()
        for slot in fresh:
            if slot.done:  # it was in the checkpoint
                yield slot
            else:
                waiting += 1
        if not waiting:
            if fresh:
                continue
            return
        delivery = yield WAIT
        assert delivery is not None
        done = feeder.take(delivery)
        if done is not None:
            waiting -= 1
            yield done


def completed(
    feeder: Feeder, fed: Callable[[Slot], None], other: Callable[[Delivery], None] | None = None
) -> Iterator[Slot]:
    """All chunks as they are completed, settled, for a loop that may block. `fed` is told of each as it is
    sent, what was put back behind others. `other` is told of deliveries that are of no chunk. A failure is
    raised when all before it are done, so that it is always the first one of the source."""
    waiting: list[Slot] = []  # in the order of the source
    failed: int | None = None  # the first item of the first chunk that has
    while True:
        fresh = feeder.top_up(before=failed)
        for slot in fresh:
            fed(slot)
            insort(waiting, slot, key=first_of)
            if slot.done:  # it was in the checkpoint
                feeder.settle(slot)
                yield slot
                slot.chunk = slot.chunk._replace(data=())  # as below
        while waiting and waiting[0].done and not feeder.has_a_gap(waiting[0].chunk.first):
            first = waiting.pop(0)
            if first.failure is not None:
                raise first.failure.thrown()
        if not waiting:
            if fresh:
                continue
            break
        delivery = feeder.next()
        if not feeder.has_out(delivery.key):
            if other is not None:
                other(delivery)
            continue
        done = feeder.take(delivery)
        if done is not None:
            feeder.settle(done)
            if done.failure is None:
                yield done
            elif failed is None or done.chunk.first < failed:
                failed = done.chunk.first
            done.chunk = done.chunk._replace(data=())  # not needed any more, and may be large
    feeder.ends()


def results_of(slot: Slot) -> tuple[list[Any], list[BaseException]]:
    """The results of a chunk, and what is to be raised behind them, if anything is: by ``raise error.pop()``.
    A variable that had it would be held by it, with all frames that it passes."""
    if slot.failure is not None:
        return [], [slot.failure.thrown()]
    result = slot.result
    if not isinstance(result, Outcome):
        return result, []  # type: ignore[return-value]  # parts are not for the consumer
    values = list(result.values)
    for index, failure in result.failures.items():
        values[index] = failure.thrown()
    return (values[:-1], values[-1:]) if result.ended else (values, [])

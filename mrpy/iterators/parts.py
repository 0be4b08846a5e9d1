"""The reduce side of a shuffle: a task per part, and their pairs as they arrive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any, cast

from mrpy.errors import SpillError
from mrpy.mapreduce.account import Account
from mrpy.mapreduce.checkpoint import Checkpoint
from mrpy.mapreduce.chunks import Chunk
from mrpy.mapreduce.compile import Slot
from mrpy.mapreduce.plan import Map, Plan
from mrpy.mapreduce.shuffle import Written
from mrpy.mapreduce.skipped import Skipped
from mrpy.mapreduce.sources import Pulled
from mrpy.scheduler.calls import Call, Code, Parts
from mrpy.scheduler.driver import Delivery
from mrpy.scheduler.job import Job
from mrpy.scheduler.messages import Input, Key

TRIES = 3  # at a chunk, where what was spilled of it turns out to be damaged


@dataclass(frozen=True, slots=True)
class Side:
    """One input of a shuffle. ``number``: which one, where there are several; values say it then."""

    plan: Plan
    mapper: Callable[[Any], Any]
    number: int | None = None

    def to_be_shown(self) -> Plan:
        """The plan with the mapper, though that may yield many pairs."""
        return self.plan.then(Map(self.mapper))


@dataclass(slots=True)
class Mapped:
    """A map task that is done: whose side it was, and what it takes to run it again."""

    side: Side
    code: Code
    slot: Slot
    size: int
    tries: int = 1


class ReduceTasks:
    """The reduce tasks, one per part, and their results as they arrive. With a checkpoint what was mapped is
    at hand here."""

    def __init__(
        self,
        job: Job,
        code: Code,
        made: list[Mapped],
        parts: int,
        checkpoint: Checkpoint | None,
        account: Account,
    ) -> None:
        self._job = job
        self._code = code
        self._made = made
        self._checkpoint = checkpoint
        self._account = account
        self._tries: dict[int, list[int]] = {}  # of each map task, when a part was last started
        self._again: dict[Key, Mapped] = {}  # map tasks that are run again, and come here
        self._waiting: set[int] = set()  # parts that are to be started when these have come
        self._part_of: dict[Key, int] = {}
        self._arrived: dict[int, Written] = {}
        account.tasks = parts
        for part in range(parts):
            self._start(part)

    def pairs(self, part: int) -> Iterator[tuple[Any, Any]]:
        """The pairs of a part."""
        while part not in self._arrived:
            self._take(self._next())
        written = self._arrived.pop(part)
        yield from written.on_disk()
        yield from written.pairs

    def _start(self, part: int) -> None:
        rows = inputs = None
        if self._checkpoint is not None:
            rows = [cast("Parts", each.slot.result)[part] for each in self._made]
        else:
            inputs = [Input(each.slot.key, part) for each in self._made]
        task = self._job.task(Call(self._code, rows), inputs or ())
        self._part_of[task.key] = part
        self._tries[part] = [each.tries for each in self._made]
        self._job.add(task)

    def _next(self) -> Delivery:
        began, account = perf_counter(), self._account
        delivery = self._job.next()
        account.waiting += perf_counter() - began
        account.computing += delivery.seconds
        account.unpacking += delivery.pickling
        return delivery

    def _take(self, delivery: Delivery) -> None:
        if (mapped := self._again.pop(delivery.key, None)) is not None:
            self._made_again(mapped, delivery)
            return
        part = self._part_of.get(delivery.key)
        if part is None:  # a map task that was run again: who waits for it will say what became of it
            return
        if delivery.failure is not None:
            error = delivery.failure.exception()
            if not (isinstance(error, SpillError) and self._make_again(error, part)):
                raise error
            return
        assert delivery.value is not None
        began = perf_counter()
        self._arrived[part] = delivery.value.load()
        self._account.pickling += perf_counter() - began

    def _make_again(self, error: SpillError, part: int) -> bool:
        """Whether what was spilled and is damaged is made once more: from a source that can be read again."""
        made = zip(self._made, self._tries[part], strict=True)
        damaged = [(each, tries) for each, tries in made if each.slot.chunk.first == error.chunk]
        if not damaged or any(isinstance(each.side.plan.source, Pulled) for each, _ in damaged):
            return False
        for each, tries in damaged:  # one of each side
            if each.tries == tries:  # else another part has seen to it
                each.tries += 1
                self._map_again(each)
        if self._again:
            self._waiting.add(part)
        else:
            self._start(part)
        self._account.again += 1
        return all(each.tries < TRIES for each, _ in damaged)

    def _map_again(self, mapped: Mapped) -> None:
        reader, first = mapped.side.plan.source.reader(), mapped.slot.chunk.first
        reader.take(first)
        chunk = Chunk(first, reader.take(mapped.size))
        task = self._job.task(Call(mapped.code, chunk), keep=self._checkpoint is None, size=mapped.size)
        if self._checkpoint is None:
            mapped.slot.key = task.key
        else:
            self._again[task.key] = mapped
        self._job.add(task)

    def _made_again(self, mapped: Mapped, delivery: Delivery) -> None:
        """Take over what was at hand, and is now new."""
        if delivery.failure is not None:
            raise delivery.failure.exception()
        assert self._checkpoint is not None and delivery.value is not None
        mapped.slot.result = delivery.value.load()
        note: Skipped | None = delivery.note
        kept = mapped.slot.result if note is None else note.beside(mapped.slot.result)
        self._checkpoint.put(mapped.slot.chunk.first, mapped.size, kept)
        if not self._again:
            for part in self._waiting:
                self._start(part)
            self._waiting.clear()

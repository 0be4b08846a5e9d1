"""The reduce side of a shuffle: a task per part, and what they make as it arrives.

A task that runs here, on serial or threads, is given the very groups that the map tasks have made. It merges
into them, and a reducer or an operator may change the values that it gets. To copy them would be for nothing,
since hardly any task runs a second time. So where one does, all that it was given is mapped again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import cast

from mrpy.errors import SpillError
from mrpy.mapreduce.account import Account
from mrpy.mapreduce.batches import Batch, rows_of
from mrpy.mapreduce.groups import note_key
from mrpy.mapreduce.made_again import TRIES, task_again
from mrpy.mapreduce.output import OnDisk
from mrpy.mapreduce.slots import Slot
from mrpy.mapreduce.sources import Pulled, Source
from mrpy.scheduler.calls import Call, Code, Parts
from mrpy.scheduler.driver import Delivery
from mrpy.scheduler.job import Job
from mrpy.scheduler.messages import Input, Key


@dataclass(slots=True)
class Mapped:
    """A map task that is done, and what it takes to run it again."""

    source: Source
    slot: Slot
    timeout: float | None
    tries: int = 1


class ReduceTasks:
    """The reduce tasks, one per part, and their results as they arrive."""

    def __init__(
        self, job: Job, code: Code, made: list[Mapped], parts: int, at_hand: bool, account: Account
    ) -> None:
        self._job = job
        self._code = code
        self._made = made
        self._at_hand = at_hand
        self._used_up = not job.driver.backend.remote  # whether what a task was given is not as it was
        self._account = account
        self._inputs: dict[int, set[Key]] = {}  # of the last attempt at a part
        self._part_of: dict[Key, int] = {}
        self._arrived: dict[int, list[Batch]] = {}
        self._failed: dict[int, BaseException] = {}
        account.tasks = parts
        for part in range(parts):
            self._start(part)

    def batches(self, part: int) -> list[Batch]:
        """The rows of a part. What is on disk stays there. An error is raised in its turn: it is the same one
        whichever part is done first."""
        while part not in self._arrived:
            if part in self._failed:
                raise self._failed[part]
            self._take(self._next())
        return self._arrived.pop(part)

    def opened(self, part: int) -> Iterator[Batch]:
        """The same; what is on disk is read, batch by batch. What is damaged there is made once more."""
        given = tries = 0
        while True:
            tries += 1
            try:
                for batch in self._behind(part, given):
                    yield batch
                    given += len(batch)
                return
            except SpillError:
                if tries == TRIES or part in self._failed or not self._start_again(part, []):
                    raise

    def _behind(self, part: int, given: int) -> Iterator[Batch]:
        """What comes behind so many rows."""
        for batch in self.batches(part):
            if given >= len(batch):
                given -= len(batch)
                continue
            rows = batch.rows() if type(batch) is OnDisk else batch
            yield rows_of(rows)[given:] if given else rows
            given = 0

    def _start(self, part: int) -> None:
        rows = inputs = None
        if self._at_hand:
            rows = [cast("Parts", each.slot.result)[part] for each in self._made]
        else:
            inputs = [Input(each.slot.key, part) for each in self._made]
        task = self._job.task(Call(self._code, rows), inputs or ())
        self._part_of[task.key] = part
        self._inputs[part] = {each.slot.key for each in self._made}
        self._job.add(task)

    def _next(self) -> Delivery:
        began, account = perf_counter(), self._account
        delivery = self._job.next()
        account.waiting += perf_counter() - began
        account.took(delivery)
        return delivery

    def _take(self, delivery: Delivery) -> None:
        part = self._part_of.get(delivery.key)
        if part is None:  # a map task that was run again: who waits for it will say what became of it
            return
        if delivery.failure is not None:
            error = delivery.failure.exception()  # other parts may have the same failure
            if isinstance(delivery.failure.index, str):  # the key at which its worker was lost
                note_key(error, delivery.failure.index)
            if not (isinstance(error, SpillError) and self._make_again(error, part)):
                self._failed[part] = error
            return
        assert delivery.value is not None
        began = perf_counter()
        self._arrived[part] = delivery.value.load()
        self._account.pickling += perf_counter() - began

    def _make_again(self, error: SpillError, part: int) -> bool:
        """Whether what was spilled and is damaged is made once more: from a source that can be read again."""
        if self._at_hand:  # of a checkpoint: the next run sees to it before it begins
            return False
        damaged = [each for each in self._made if each.slot.chunk.first == error.chunk]  # one of each side
        used = [each for each in damaged if each.slot.key in self._inputs[part]]  # others have been
        if not damaged or any(each.tries == TRIES for each in used):
            return False
        for each in used:
            each.tries += 1
        return self._start_again(part, damaged)

    def _start_again(self, part: int, damaged: list[Mapped]) -> bool:
        """Whether a part could be started once more: over what is damaged made again, and what is used up."""
        wanted = self._made if self._used_up else damaged
        stale = [each for each in wanted if each.slot.key in self._inputs[part]]
        if any(self._at_hand or isinstance(each.source, Pulled) for each in stale):
            return False
        for each in stale:
            before, each.slot.key = each.slot.key, self._mapped_again(each)
            self._job.drop([before])
        self._start(part)
        self._account.again += 1
        return True

    def _mapped_again(self, mapped: Mapped) -> Key:
        task = task_again(self._job, mapped.source, mapped.slot, mapped.timeout)
        self._job.add(task)
        return task.key

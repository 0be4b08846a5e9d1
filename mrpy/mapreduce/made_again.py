"""What was spilled and is damaged: made again, of the items that it was made of.

The task of a chunk is run once more, over the same items. `Files` then puts what it has written in the place
of what is damaged. Who reads it knows what its blocks hash to: what is not the same to the bit is as damaged
as what was there before.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from mrpy.errors import SpillError
from mrpy.mapreduce.account import Account
from mrpy.mapreduce.slots import Slot
from mrpy.mapreduce.sources import Pulled, Source
from mrpy.options import Options
from mrpy.scheduler.calls import Call
from mrpy.scheduler.current import job_for
from mrpy.scheduler.failure import Failure
from mrpy.scheduler.job import Job
from mrpy.scheduler.messages import Key, Task

PASSED = 64  # items that are passed over at once: some may be large
TRIES = 3  # at a chunk, where what was spilled of it turns out to be damaged


def task_again(job: Job, source: Source, slot: Slot, timeout: float | None) -> Task:
    """The task of a chunk that is done, once more."""
    reader, first, size = source.reader(), slot.chunk.first, slot.end - slot.chunk.first
    try:
        while first > 0 and (passed := len(reader.take(min(first, PASSED)))):
            first -= passed
        # without the items that were found to kill or to overrun, and with the same random numbers
        data = reader.take(size)
    finally:
        getattr(reader, "close", int)()
    chunk: Any = slot.chunk._replace(data=data, budget=None, gives_back=False)
    call = Call(slot.code, chunk.for_travel() if chunk.separately else chunk)
    return job.task(call, keep=True, size=size, timeout=timeout, careful=bool(chunk.excluded))


def results_again(slots: Iterable[Slot], source: Source, options: Options, account: Account) -> Iterator[Any]:
    """What these tasks make, once more. Nothing where the source cannot be read again: of an iterable nobody
    knows, and another run need not give the same rows, to the bit, in the same order."""
    if isinstance(source, Pulled):
        return
    with job_for(options) as job:
        for slot in slots:
            job.add(task_again(job, source, slot, options.timeout))
            delivery = job.next()
            if delivery.failure is not None:
                raise delivery.failure.thrown()
            account.again += 1
            yield job.load(delivery.key)
            job.drop([delivery.key])


def files_of(made: Any) -> list[str]:
    """The files in which tasks have put what they made, or some of it."""
    return list(dict.fromkeys(run.path for run in made if hasattr(run, "path")))


def put_in_place(files: list[str], places: list[str]) -> bool:
    """Move files to where others were; whether they are as many."""
    if len(files) != len(places):
        return False
    for file, place in zip(files, places, strict=True):
        os.replace(file, place)
    return True


class _Made:
    """Files that a task has made. ``again``: makes others of the same content.

    ``seen``  the tasks that were out when it did: they may have found what was there before
    """

    def __init__(self, places: list[str], again: Callable[[], list[str]]) -> None:
        self.places, self.again = places, again
        self.tries = 1
        self.seen: Collection[Key] = ()


class Files:
    """The files of a run that others read when it is over. What they find damaged is made again."""

    def __init__(self) -> None:
        self._made: dict[str, _Made] = {}

    def add(self, places: list[str], again: Callable[[], list[str]]) -> None:
        """These were made together. ``again``: makes others of the same content."""
        self._made.update(dict.fromkeys(places, _Made(places, again)))

    def of_task(self, result: Any, slot: Slot, source: Source, options: Options, account: Account) -> None:
        """Those in which the task of a chunk has put its result."""

        def again() -> list[str]:
            results = results_again([slot], source, options, account)
            return [file for each in results for file in files_of(each)]

        self.add([file for file in files_of(result) if file not in self._made], again)

    def mend(self, failure: Failure, key: Key, out: Iterable[Key]) -> bool:
        """Whether a task that has failed, the one of this key, finds now what it wants. ``out``: those that
        may have found the same."""
        error = failure.exception() if failure.type_name == SpillError.__name__ else None
        made = self._made.get(error.path) if isinstance(error, SpillError) else None
        if made is None or key in made.seen:  # the second: it was made since
            return made is not None
        if made.tries == TRIES or not put_in_place(made.again(), made.places):
            return False
        made.tries += 1
        made.seen = {key, *out}
        return True

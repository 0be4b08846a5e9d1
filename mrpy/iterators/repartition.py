"""Items in so many parts: first all of them, then the parts, each one task for what follows."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

from mrpy.iterators.arguments import see_that_all_are_items
from mrpy.iterators.keyed import Keyed, Shuffle, Side
from mrpy.iterators.reductions import OfAll
from mrpy.mapreduce.files.reading import Reads
from mrpy.mapreduce.made_again import Files
from mrpy.mapreduce.parted import PartSource, batches_of
from mrpy.mapreduce.plan import Plan
from mrpy.mapreduce.repartition import Cut, Part, Records, WithPart, cut, passing
from mrpy.mapreduce.spill import SpillFolder
from mrpy.progress import watched
from mrpy.scheduler.current import job_for


class Parted(OfAll):
    """The parts of all items, which are computed when somebody asks for the first: subclasses say how."""

    def __init__(self, items: Any, parts: int) -> None:
        super().__init__(items, f"{parts} parts")
        self._parts = parts

    def plan(self) -> Plan:
        """The records of all parts: a plan to build upon."""
        return Plan(PartSource(self), (Reads(Records()),))

    def __iter__(self) -> Iterator[Part]:
        return self.into(SpillFolder(), Files())

    def into(self, folder: SpillFolder, files: Files) -> Generator[Part, None, None]:
        """The parts. What does not fit into memory is in this folder, as long as they are needed; in files
        of which these say how they are made again."""
        for number, cuts in enumerate(self._cut(folder, files)):
            yield Part(number, self._parts, cuts)

    def _cut(self, folder: SpillFolder, files: Files) -> Iterator[list[Cut]]:
        raise NotImplementedError


class InOrder(Parted):
    """Parts of the same number of items, in their order."""

    def _cut(self, folder: SpillFolder, files: Files) -> Iterator[list[Cut]]:
        items = self._items
        see_that_all_are_items(items._options(), "they are not to be moved")
        if items._options().checkpoint is not None:  # a file has results, not batches: two runs
            items = items._by("checkpoint", iter)
        plan, options = items._taken(), items._starting(reducing=True)
        with job_for(options) as job, watched(job, plan, options):
            batches = batches_of(plan, job, options, items._account, folder, files)
        return cut(batches, self._parts)


class ByKey(Parted):
    """Parts with all items of a key in one, made by a shuffle."""

    def __init__(self, items: Any, parts: int, key: Any) -> None:
        super().__init__(items, parts)
        side = Side(items._taken(), WithPart(key, parts))
        shuffle = Shuffle(passing, partitions=parts, with_keys=False)
        self._keyed = Keyed([side], shuffle, items._given)

    @property
    def upstream(self) -> list[Any]:
        return [self._keyed]

    @property
    def _stages(self) -> int:
        return self._keyed._stages

    def _cut(self, folder: SpillFolder, files: Files) -> Iterator[list[Cut]]:
        for batches in self._keyed.parts(folder):
            yield [Cut(batch, 0, len(batch)) for batch in batches if len(batch)]

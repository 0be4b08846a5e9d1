"""The small side of a join, as the consumer sees it: every worker gets all of it."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable
from typing import Any

from mrpy.iterators.inner import ByItself
from mrpy.iterators.stream import ParallelIterator
from mrpy.mapreduce import lookup
from mrpy.mapreduce.batches import Batch
from mrpy.mapreduce.keys import Named
from mrpy.mapreduce.plan import Plan
from mrpy.mapreduce.steps import Map


class Small:
    """An input that is small enough for that: see `mrpy.mapreduce.lookup.is_small`.

    Where its keys are texts and numbers that are looked up in plain rows, workers make the table of the rows.
    Else they are computed by a run of its own. ``alone``: the keys are all that is wanted. ``shuffle``: the
    same join as a shuffle, where that is what is wanted when it runs.
    """

    def __init__(
        self,
        plan: Plan,
        key: Callable[[Any], Any],
        given: dict[str, Any],
        shuffle: Callable[[Plan], Any],
        *,
        alone: bool,
    ) -> None:
        self.key = key
        self._shuffle = shuffle
        self._shuffled: list[Any] = []  # the last of them
        self._plan, self._alone = plan, alone
        self._given = {**given, "ordered": True}
        self._run: ByItself | None = None
        if not isinstance(key, operator.itemgetter | Named):
            self._by_workers()

    def rows(self, *, travels: bool) -> tuple[Batch, Callable[[Any], Any] | None]:
        """The rows of the table, and what to look up in them; None: they are made of keys and items."""
        if self._run is None:
            items = list(self._plan.source.reader().take(sys.maxsize))
            rows = lookup.with_keys(items, self.key, travels=travels)
            if rows is not None:
                return rows, self.key
        found = list(self._by_workers())
        return (lookup.pack(found) if travels else found), None

    def shuffled(self, left: Plan) -> Any:
        """The join as a run of its own."""
        self._shuffled = [self._shuffle(left)._taken().source.iterable]
        return self._shuffled[0]

    @property
    def upstream(self) -> list[Any]:
        return self._shuffled or ([] if self._run is None else [self._run])

    def __str__(self) -> str:
        return str(self._plan)

    def _by_workers(self) -> ByItself:
        if self._run is None:
            keyed = self._plan.then(Map(lookup.WithKey(self.key, alone=self._alone)))
            self._run = ByItself(ParallelIterator(keyed, self._given))
        return self._run

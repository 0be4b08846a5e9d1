"""A feeder whose results are held in memory until there are too many of them: then they go to disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mrpy.mapreduce.account import Account
from mrpy.mapreduce.compile import Feeder, Slot
from mrpy.mapreduce.plan import Plan
from mrpy.mapreduce.spill import Store
from mrpy.options import Options
from mrpy.scheduler.calls import Code
from mrpy.scheduler.driver import Delivery
from mrpy.scheduler.job import Job
from mrpy.scheduler.sizes import estimated

SPILLING = 4.0  # seconds that a chunk takes then, about: so its runs are as large as the memory that it has


class SpillingFeeder(Feeder):
    """As `Feeder`. ``code_for`` makes the code of a task that may use this store; None: there is none."""

    def __init__(
        self,
        job: Job,
        plan: Plan,
        options: Options,
        account: Account,
        store: Store | None,
        code_for: Callable[[Store | None], Code],
    ) -> None:
        super().__init__(job, plan, options, code_for(store), account)
        self._store = store
        self._code_for = code_for
        self._held = 0
        self._aimed = False

    def take(self, delivery: Delivery) -> Slot | None:
        slot = super().take(delivery)
        if self.keep:
            self._held += delivery.nbytes
        elif slot is not None and isinstance(slot.result, list):  # of lists, which are open here
            self._held += sum(estimated(part) for part in slot.result if type(part) is list)
        store = self._store
        if store is not None and not self._aimed and store.is_used():
            self._aimed = True
            self._chunker.aim(SPILLING)
        if store is not None and not store.all_of_it and self._held > store.memory:
            self._store = replace(store, all_of_it=True)
            self.code = self._code_for(self._store)
        return slot

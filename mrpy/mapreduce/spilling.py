"""A feeder whose results are held in memory until there are too many of them: then they go to disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mrpy.mapreduce.account import Account
from mrpy.mapreduce.batches import nbytes_of
from mrpy.mapreduce.compile import Feeder
from mrpy.mapreduce.plan import Plan
from mrpy.mapreduce.slots import Slot
from mrpy.mapreduce.spill import Store
from mrpy.options import Options
from mrpy.scheduler.calls import Code, Parts, apart
from mrpy.scheduler.driver import Delivery
from mrpy.scheduler.job import Job
from mrpy.scheduler.messages import Task
from mrpy.scheduler.sizes import about_dict

SPILLING = 4.0  # seconds that a chunk takes then, about: so its runs are as large as the memory that it has
LOOK = 16  # results


class SpillingFeeder(Feeder):
    """As `Feeder`. ``code_for`` makes the code of a task that may use this store; None: there is none.

    ``part``  of the memory of a task: so much is held here
    """

    part = 1.0

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
        self.held = 0  # bytes
        self._taken = 0  # results
        self._spills = False

    def _task(self, slot: Slot) -> Task:
        slot.code = self.code
        return super()._task(slot)

    def take(self, delivery: Delivery) -> Slot | None:
        slot = super().take(delivery)
        if self.keep:
            self._holds(delivery.nbytes)
        elif slot is not None:
            self._holds(_open_here(slot.result))
        store = self._store
        self._taken += 1
        if store is not None and not self._spills and self._is_to_look() and store.is_used():
            self._spills = True
            self.aim(SPILLING)
        self._look_at_held()
        return slot

    def top_up(self, *, before: int | None = None, ready: bool = False) -> list[Slot]:
        self._look_at_held()  # it may be from a checkpoint, all of it
        slots = super().top_up(before=before, ready=ready)
        self._holds(sum(_open_here(slot.result) for slot in slots if slot.done))
        return slots

    def _holds(self, nbytes: int) -> None:
        self.held += nbytes
        self.account.brought += nbytes

    def _known(self, position: int) -> tuple[int, Any] | None:
        known, store = super()._known(position), self._store
        if known is not None and store is not None and store.all_of_it and _open_here(apart(known[1])[0]):
            return None  # it was kept where there was more memory: computed again, it goes to disk
        return known

    def __exit__(self, *failed: object) -> None:
        super().__exit__(*failed)
        if self._store is not None:
            self.account.spilled = self._store.files()

    def _look_at_held(self) -> None:
        store = self._store
        if store is not None and not store.all_of_it and self.held > store.memory * self.part:
            self.has_too_much(store)

    def has_too_much(self, store: Store) -> None:
        """More results are held than fit into memory: no more are to be."""
        self.spill_to(store.replaced(all_of_it=True))

    def spill_to(self, store: Store) -> None:
        """From here on tasks are to use this."""
        self._store = store
        self.use(self._code_for(store))

    def _is_to_look(self) -> bool:
        """Whether to see now if tasks spill: not at every result, for a look at a folder takes its time."""
        return self._taken.bit_count() == 1 or self._taken % LOOK == 0


def _open_here(result: Any) -> int:
    """About how many bytes a result takes that is not on disk: lists and batches, or groups by partition."""
    if isinstance(result, Parts):
        return sum(about_dict(node.value) for row in result for node in row if type(node.value) is dict)
    if isinstance(result, list):
        return sum(map(nbytes_of, result))
    return 0

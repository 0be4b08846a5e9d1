"""Hypothesis lives the scheduler's life: any facts in any order, and the guarantees after each step.

The model below is a backend that remembers what it was told to start, and a consumer that counts its
reports. Facts are told one by one or in batches, answers race with stops, keys come again once they are
forgotten, and what is not owed to anybody (stale answers, unknown keys) is told too.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mrpy.scheduler.failure import Failure
from mrpy.scheduler.messages import (
    Abandoned,
    Added,
    Began,
    Fact,
    Failed,
    Input,
    Key,
    Lost,
    Order,
    Release,
    Report,
    Slots,
    Start,
    Stop,
    Stopped,
    Succeeded,
    Task,
    Through,
    WakeAt,
)
from mrpy.scheduler.policy import Policy
from mrpy.scheduler.record import Record
from mrpy.scheduler.scheduler import Scheduler
from mrpy.scheduler.states import ON_BACKEND, TABLE, State
from mrpy.scheduler.trace import Trace, replay

BOOM = Failure("ValueError", "boom")
DEAD = Failure("WorkerCrashed", "signal 9")
POLICY = Policy(first_delay=1.0, longest_delay=8.0)
NAMES = [f"k{number:02}" for number in range(14)]
FINAL = {State.RELEASED, State.FAILED, State.CANCELLED}
UNBORN = (State.WAITING, State.READY)

waits = st.sampled_from([0.0, 0.0, 0.5, 1.0, 3.0, 100.0])
items = st.none() | st.integers(0, 2)
together = st.integers(0, 3).map(lambda number: number == 0)  # told later, with the next fact
settings_of_a_task: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "keep": st.booleans(),
        "urgent": st.booleans(),
        "retries": st.integers(0, 2),
        "timeout": st.sampled_from([None, None, 2.0, 50.0]),
        "waiter": st.sampled_from([None, None, 1, 2]),
    }
)


class SchedulersLife(RuleBasedStateMachine):
    """One scheduler, the backend it orders about, and the consumers it reports to."""

    def __init__(self) -> None:
        super().__init__()
        self.trace = Trace()
        self.scheduler = Scheduler(self.trace, POLICY)
        self.now = 0.0
        self.slots = 0
        self.pending: list[Fact] = []
        self.new_keys: set[Key] = set()  # added in a batch that was not told yet
        self.orders: list[list[Order]] = []
        self.backend: dict[Key, Start] = {}  # started, and not answered yet
        self.ever_started: set[tuple[Key, int]] = set()
        self.stopping: set[Key] = set()
        self.values: set[Key] = set()
        self.wake: float | None = None
        self.added: Counter[Key] = Counter()
        self.reported: Counter[Key] = Counter()

    # ---- facts -----------------------------------------------------------------------------------

    def tell(self, fact: Fact, later: bool = False) -> None:
        self.pending.append(fact)
        if not later:
            self.flush()

    def flush(self) -> None:
        facts, self.pending = self.pending, []
        self.new_keys = set()
        self.trace.told(facts, self.now)
        orders = self.scheduler.handle(facts, self.now)
        self.orders.append(orders)
        for order in orders:
            self.carry_out(order)

    @rule(data=st.data(), count=st.integers(1, 3), later=together)
    def add(self, data: st.DataObject, count: int, later: bool) -> None:
        tasks: list[Task] = []
        for _ in range(count):
            free = [name for name in NAMES if name not in self.scheduler.records.keys() | self.new_keys]
            if not free:
                break
            key = data.draw(st.sampled_from(free), label="key")
            known = sorted(self.scheduler.records.keys() | self.new_keys, key=str)
            choice = st.sampled_from(known * 6 + [key, "ghost"])  # seldom itself, or one that never was
            inputs = st.builds(Input, choice, st.none() | st.integers(0, 1))
            needed = tuple(data.draw(st.lists(inputs, max_size=3), label="inputs"))
            tasks.append(Task(key, None, needed, **data.draw(settings_of_a_task, label="settings")))
            self.new_keys.add(key)
            self.added[key] += 1
        if tasks:
            self.tell(Added(tuple(tasks)), later)

    def answer(self, data: st.DataObject) -> Start:
        """One attempt that the backend ends now."""
        start = self.backend.pop(data.draw(st.sampled_from(sorted(self.backend, key=str)), label="answered"))
        self.stopping.discard(start.task.key)
        return start

    @precondition(lambda self: self.backend)
    @rule(data=st.data(), later=together)
    def succeed(self, data: st.DataObject, later: bool) -> None:
        start = self.answer(data)
        self.values.add(start.task.key)
        self.tell(Succeeded(start.task.key, start.attempt, 0.25), later)

    @precondition(lambda self: self.backend)
    @rule(data=st.data(), later=together)
    def fail(self, data: st.DataObject, later: bool) -> None:
        start = self.answer(data)
        self.tell(Failed(start.task.key, start.attempt, BOOM), later)

    @precondition(lambda self: self.backend)
    @rule(data=st.data(), blame=st.booleans(), item=items, later=together)
    def lose(self, data: st.DataObject, blame: bool, item: int | None, later: bool) -> None:
        start = self.answer(data)
        self.tell(Lost(start.task.key, start.attempt, DEAD, item, blame), later)

    @precondition(lambda self: self.stopping)
    @rule(data=st.data(), later=together)
    def stopped(self, data: st.DataObject, later: bool) -> None:
        key = data.draw(st.sampled_from(sorted(self.stopping, key=str)), label="stopped")
        self.stopping.remove(key)
        self.tell(Stopped(key, self.backend.pop(key).attempt), later)

    @precondition(lambda self: self.backend)
    @rule(data=st.data(), item=st.integers(0, 2), later=together)
    def began(self, data: st.DataObject, item: int, later: bool) -> None:
        key = data.draw(st.sampled_from(sorted(self.backend, key=str)), label="began")
        self.tell(Began(key, self.backend[key].attempt, item), later)

    @rule(keys=st.lists(st.sampled_from(NAMES), max_size=3), later=together)
    def abandon(self, keys: list[Key], later: bool) -> None:
        self.tell(Abandoned(tuple(keys)), later)

    @rule(count=st.integers(0, 4), later=together)
    def change_slots(self, count: int, later: bool) -> None:
        self.slots = count
        self.tell(Slots(count), later)

    @rule(seconds=waits)
    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.flush()

    @precondition(lambda self: self.wake is not None)
    @rule()
    def wake_up(self) -> None:
        assert self.wake is not None
        self.now = max(self.now, self.wake)
        self.flush()
        assert self.wake is None or self.wake > self.now

    @rule(key=st.sampled_from(NAMES), attempt=st.integers(0, 3), kind=st.integers(0, 5))
    def stale(self, key: Key, attempt: int, kind: int) -> None:
        """An answer that nobody waits for changes nothing."""
        self.flush()
        if key in self.backend and self.backend[key].attempt == attempt:
            return
        facts: list[Fact] = [Succeeded(key, attempt), Failed(key, attempt, BOOM), Lost(key, attempt, DEAD, 0)]
        self.tell([*facts, Stopped(key, attempt), Began(key, attempt, 0), Through(key, attempt)][kind])
        assert self.orders[-1] == []

    # ---- orders ----------------------------------------------------------------------------------

    def carry_out(self, order: Order) -> None:
        match order:
            case Start(task, attempt):
                assert task.key not in self.backend, "started while it runs"
                served = task.waiter in {None, *(other.task.waiter for other in self.backend.values())}
                assert len(self.backend) < self.slots or not served, "more than the slots"
                assert {needed.key for needed in task.inputs} <= self.values, "an input has no value"
                self.backend[task.key] = order
                self.ever_started.add((task.key, attempt))
            case Stop(key, attempt):
                assert (key, attempt) in self.ever_started
                assert key not in self.stopping, "stopped twice"
                if key in self.backend:  # else its answer came in the same batch
                    assert self.backend[key].attempt == attempt
                    self.stopping.add(key)
            case Release(key):
                self.values.remove(key)  # KeyError: released twice, or without a value
            case Report(key, state, failure):
                self.reported[key] += 1
                assert state in (State.DONE, State.FAILED, State.CANCELLED)
                assert (state is State.DONE) == (key in self.values), "reported after its release"
                assert (failure is None) or state is not State.DONE
                assert (failure is not None) or state is not State.FAILED
            case WakeAt(time):
                assert time != self.wake, "said once more"
                self.wake = time

    # ---- what always holds -----------------------------------------------------------------------

    def records(self) -> list[Record]:
        return list(self.scheduler.records.values())

    @precondition(lambda self: not self.pending)
    @invariant()
    def the_backend_runs_what_the_scheduler_thinks_it_runs(self) -> None:
        running = {record.task.key: record.state for record in self.records() if record.state in ON_BACKEND}
        assert running.keys() == self.backend.keys()
        assert {key for key, state in running.items() if state is State.STOPPING} == self.stopping
        assert self.scheduler.busy == len(self.backend)

    @precondition(lambda self: not self.pending)
    @invariant()
    def no_slot_is_free_while_a_task_is_ready(self) -> None:
        ready = [record for record in self.records() if record.state is State.READY]
        runnable = [record for record in ready if record.deadline is None]
        assert not runnable or self.scheduler.busy >= self.scheduler.slots
        assert self.scheduler.slots == self.slots
        served = {start.task.waiter for start in self.backend.values()}
        assert {record.task.waiter for record in runnable} - {None} <= served, "a waiter has nothing running"

    @precondition(lambda self: not self.pending)
    @invariant()
    def the_clock_is_asked_to_ring_in_time(self) -> None:
        for record in self.records():
            if record.deadline is not None and record.state is not State.STOPPING:
                assert record.state in (State.READY, State.RUNNING)
                assert self.now < record.deadline
                assert self.wake is not None and self.wake <= record.deadline
        assert self.wake is None or self.wake > self.now

    @precondition(lambda self: not self.pending)
    @invariant()
    def nobody_waits_for_what_cannot_come(self) -> None:
        alive = self.scheduler.records
        for record in self.records():
            if record.state in FINAL:
                continue
            needed = {needed.key for needed in record.task.inputs}
            if record.state is State.WAITING:
                missing = {key for key in needed if alive[key].state is not State.DONE}
                assert len(missing) == record.missing > 0
                assert all(alive[key].state not in FINAL for key in missing)
                assert all(record in (alive[key].dependents or {}) for key in missing)
            elif record.state is not State.DONE:
                assert needed <= self.values
            assert all(waiting.state is State.WAITING for waiting in record.dependents or {})

    @precondition(lambda self: not self.pending)
    @invariant()
    def what_nobody_wants_is_gone_and_what_somebody_wants_is_there(self) -> None:
        users: Counter[Key] = Counter()
        for record in self.records():
            if record.state in UNBORN or record.state in ON_BACKEND:
                users.update({needed.key for needed in record.task.inputs})
        for record in self.records():
            assert record.users == users[record.task.key]
            assert record.held or record.users or record.state is State.STOPPING
        done = {record.task.key for record in self.records() if record.state is State.DONE}
        assert done == self.values

    @precondition(lambda self: not self.pending)
    @invariant()
    def each_task_is_reported_once(self) -> None:
        for key, count in self.added.items():
            record = self.scheduler.records.get(key)
            ended = record is None or record.state is State.DONE or record.state in FINAL
            assert self.reported[key] == (count if ended else count - 1)

    @precondition(lambda self: not self.pending)
    @invariant()
    def memory_follows_what_is_alive(self) -> None:
        bound = 2 * len(self.scheduler.records) + 32
        assert len(self.scheduler._ready) <= bound
        assert len(self.scheduler._timers.entries) <= bound

    # ---- the end ---------------------------------------------------------------------------------

    def teardown(self) -> None:
        self.flush()
        self.tell(Abandoned(tuple(self.scheduler.records)))
        assert self.stopping == set(self.backend)
        for key, start in list(self.backend.items()):
            self.stopping.discard(key)
            del self.backend[key]
            self.tell(Stopped(key, start.attempt))
        assert self.scheduler.records == {}
        assert self.values == set() and self.scheduler.busy == 0
        assert self.wake is None
        assert self.reported == self.added
        self.moves_follow_the_table()
        assert replay(self.trace.steps, POLICY) == self.orders

    def moves_follow_the_table(self) -> None:
        """What observers are told makes whole lives: each begins waiting and goes on where it was."""
        now: dict[Any, State] = {}
        for moved in self.trace.moves:
            life = id(moved.task)  # the trace keeps each task alive, so no number comes twice
            assert now.get(life, State.WAITING) is moved.old
            assert TABLE[moved.old, moved.move] is moved.new
            now[life] = moved.new
        assert len(now) == self.added.total()
        assert set(now.values()) <= FINAL


TestSchedulersLife = SchedulersLife.TestCase
TestSchedulersLife.settings = settings(
    max_examples=100,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

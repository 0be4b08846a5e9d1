"""The pure heart: facts in, orders out. No clock, no threads, no I/O.

Theory of operation
-------------------
The scheduler owns the graph of all live tasks. Whoever runs it (`mrpy.scheduler.driver`) tells it facts,
each with the time, and carries out the orders it returns. Nothing else goes in or out, so any run can be
replayed from its facts, and a simulation of ten thousand workers needs no workers.

What it guarantees, after every `handle`:

* never more tasks on the backend than slots, and no slot free while a task is ready;
* every task is reported exactly once, in state DONE, FAILED or CANCELLED;
* nobody waits for a task that can no longer succeed: failures travel down the graph at once;
* an input's value is released when its last user is through and nobody holds it, and a task of which
  nobody will ask again is forgotten: memory is proportional to what is alive;
* no recursion: chains of any length are walked with a list.

What it assumes: every Start is answered by exactly one of Succeeded, Failed, Lost, Stopped for that
attempt. Answers for older attempts are ignored.

Who is blamed for a death: the first loss of a task says only that *something* in it may kill its worker.
It is run again *carefully*, announcing each item; the item that is at work in two deaths is blamed.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import count
from typing import Any

from mrpy.errors import Cancelled, SchedulerError
from mrpy.scheduler import messages as m
from mrpy.scheduler.failure import Failure, of, overran
from mrpy.scheduler.policy import DEFAULT, Policy
from mrpy.scheduler.states import ON_BACKEND, Move, State, after

Observer = Callable[[m.Moved], None]


class Record:
    """What the scheduler remembers of one live task."""

    __slots__ = (
        "attempt", "deadline", "deaths", "dependents", "failure", "failures", "held", "history",
        "item", "item_deaths", "missing", "sequence", "state", "task", "timer", "users",
    )  # fmt: skip

    def __init__(self, task: m.Task, sequence: int) -> None:
        self.task = task
        self.sequence = sequence
        self.state = State.WAITING
        self.attempt = 0
        self.missing = 0  # inputs that are not DONE yet
        self.users = 0  # live tasks that need this one's value
        self.held = True  # its adder has not abandoned it
        self.dependents: dict[m.Key, None] = {}  # those who still wait for it, in order
        self.failures = 0
        self.deaths = 0
        self.item_deaths: dict[int, int] = {}
        self.item: int | None = None  # the one that runs now, where it was announced
        self.deadline: float | None = None
        self.timer: float | None = None  # its entry among the timers; never later than the deadline
        self.failure: Failure | None = None
        self.history: list[tuple[float, Move]] = []

    def story(self) -> str:
        """Its life so far, one move a line."""
        return "\n".join(f"{time:.6f} {self.task.key!r} {move.value}" for time, move in self.history)


class Scheduler:
    """The graph of live tasks and the rules that move them."""

    def __init__(self, observer: Observer | None = None, policy: Policy = DEFAULT) -> None:
        self.records: dict[m.Key, Record] = {}
        self.slots = 0
        self.busy = 0
        self._observer = observer
        self._policy = policy
        self._ready: list[tuple[bool, int, m.Key]] = []
        self._timers: list[tuple[float, int, m.Key]] = []
        self._numbers = count()
        self._orders: list[m.Order] = []
        self._now = 0.0
        self._wake: float | None = None

    def handle(self, facts: Iterable[m.Fact], now: float) -> list[m.Order]:
        """Take in what happened by `now`; return what shall be done, in this order."""
        self._now = now
        self._orders = []
        for fact in facts:
            _HANDLERS[type(fact)](self, fact)
        self._fire_timers()
        self._fill_slots()
        self._prune(self._ready, self._is_queued)
        self._prune(self._timers, self._is_timed)
        self._plan_wake()
        return self._orders

    def story(self, key: m.Key) -> str:
        """The life of a live task, one move a line."""
        record = self.records.get(key)
        return f"{key!r}: not alive" if record is None else record.story()

    # ---- facts -----------------------------------------------------------------------------------

    def _added(self, fact: m.Added) -> None:
        for task in fact.tasks:
            if task.key in self.records:
                raise SchedulerError(f"task {task.key!r} was added twice; {self.story(task.key)}")
            record = Record(task, next(self._numbers))
            dead = self._join_inputs(record)  # before it is alive itself: nobody may wait for himself
            self.records[task.key] = record
            if dead is not None:
                self._end(record, Move.FAIL, dead)
            elif record.missing == 0:
                self._unblock(record)

    def _join_inputs(self, record: Record) -> Failure | None:
        """Connect a new task with its inputs; return the failure of one that cannot come any more."""
        dead: Failure | None = None
        for key in dict.fromkeys(needed.key for needed in record.task.inputs):
            source = self.records.get(key)
            if source is None:
                dead = dead or of(SchedulerError(f"input {key!r} of {record.task.key!r} is not alive"))
            elif source.state in (State.FAILED, State.CANCELLED):
                dead = dead or source.failure or of(SchedulerError(f"input {key!r} was cancelled"))
            else:
                source.users += 1
                if source.state is not State.DONE:
                    source.dependents[record.task.key] = None
                    record.missing += 1
        return dead

    def _began(self, fact: m.Began) -> None:
        record = self._current(fact.key, fact.attempt)
        if record is None or record.state is not State.RUNNING:
            return
        record.item = fact.item
        if record.task.timeout is not None:
            self._set_timer(record, self._now + record.task.timeout)

    def _succeeded(self, fact: m.Succeeded) -> None:
        record = self._back(fact.key, fact.attempt)
        if record is None:
            return
        if record.state is State.STOPPING:
            self._orders.append(m.Release(fact.key))
            self._end(record, Move.CANCEL, record.failure)
            return
        self._move(record, Move.SUCCEED)
        self._orders.append(m.Report(fact.key, State.DONE, None, fact.seconds, fact.pickling))
        if not record.task.keep:
            record.held = False
        for key in record.dependents:
            waiting = self.records[key]
            waiting.missing -= 1
            if waiting.missing == 0:
                self._unblock(waiting)
        record.dependents = {}
        self._leave_inputs(record)
        self._release_if_unused(record)

    def _failed(self, fact: m.Failed) -> None:
        record = self._back(fact.key, fact.attempt)
        if record is None:
            return
        record.failures += 1
        again = record.failures <= record.task.retries and fact.failure.index is None  # else mrpy stated it
        if record.state is State.RUNNING and again:
            self._retry(record, self._policy.back_off(record.failures, record.sequence))
        else:
            self._end_on_backend(record, fact.failure)

    def _lost(self, fact: m.Lost) -> None:
        record = self._back(fact.key, fact.attempt)
        if record is None:
            return
        if record.state is State.RUNNING and not (fact.blame and self._is_guilty(record, fact.item)):
            self._retry(record, 0.0)
        else:
            self._end_on_backend(record, replace(fact.failure, index=fact.item))

    def _is_guilty(self, record: Record, item: int | None) -> bool:
        record.deaths += 1
        if item is None:
            return record.deaths >= self._policy.deaths_of_a_task
        record.item_deaths[item] = record.item_deaths.get(item, 0) + 1
        return record.item_deaths[item] >= self._policy.deaths_of_an_item

    def _stopped(self, fact: m.Stopped) -> None:
        record = self._back(fact.key, fact.attempt)
        if record is not None:
            failure = record.failure and replace(record.failure, trace=fact.trace)
            self._end(record, Move.CANCEL, failure)

    def _abandoned(self, fact: m.Abandoned) -> None:
        for key in fact.keys:
            record = self.records.get(key)
            if record is not None:
                record.held = False
                self._drop_if_unwanted(record)

    def _slots(self, fact: m.Slots) -> None:
        self.slots = fact.count

    def _ticked(self, fact: m.Ticked) -> None:
        """Nothing: `handle` looks at the timers in any case."""

    # ---- moves -----------------------------------------------------------------------------------

    def _move(self, record: Record, move: Move) -> None:
        old = record.state
        record.history.append((self._now, move))
        record.state = after(old, move, record.story)
        if self._observer is not None:
            self._observer(m.Moved(record.task, move, old, record.state, self._now))

    def _current(self, key: m.Key, attempt: int) -> Record | None:
        """The record that a backend's fact is about, unless the fact is stale."""
        record = self.records.get(key)
        if record is None or record.attempt != attempt or record.state not in ON_BACKEND:
            return None
        return record

    def _back(self, key: m.Key, attempt: int) -> Record | None:
        """As `_current`, for the one fact that ends the attempt: its slot is free again."""
        record = self._current(key, attempt)
        if record is not None:
            self.busy -= 1
            record.deadline = None
        return record

    def _unblock(self, record: Record) -> None:
        self._move(record, Move.UNBLOCK)
        self._queue(record)

    def _queue(self, record: Record) -> None:
        heapq.heappush(self._ready, (not record.task.urgent, record.sequence, record.task.key))

    def _retry(self, record: Record, delay: float) -> None:
        self._move(record, Move.RETRY)
        if delay > 0:
            self._set_timer(record, self._now + delay)
        else:
            self._queue(record)

    def _end_on_backend(self, record: Record, failure: Failure) -> None:
        """The attempt is over and there will be no other."""
        if record.state is State.STOPPING:
            self._end(record, Move.CANCEL, record.failure)
        else:
            self._end(record, Move.FAIL, failure)

    def _end(self, record: Record, move: Move, failure: Failure | None) -> None:
        """Fail or cancel a task, and with it everything that waits for it."""
        ended = [(record, move)]
        if failure is None and record.dependents:
            failure = of(Cancelled(f"task {record.task.key!r}, an input, was cancelled"))
        for one, how in ended:  # grows on the way
            one.failure = failure
            self._move(one, how)
            self._orders.append(m.Report(one.task.key, one.state, failure))
            for key in one.dependents:
                waiting = self.records[key]
                if waiting.missing > 0:
                    waiting.missing = 0  # visited: it may wait for two dead inputs
                    ended.append((waiting, Move.FAIL))
            one.dependents = {}
        # only now: what leaves its inputs may be the last to want another one that ends here too
        for one, _ in ended:
            self._leave_inputs(one)
            if not (one.task.keep and one.held):
                self.records.pop(one.task.key, None)

    def _leave_inputs(self, record: Record) -> None:
        """A task is through with its inputs: those that nobody else wants go too."""
        for source in self._part(record):
            self._drop_if_unwanted(source)

    def _part(self, record: Record) -> list[Record]:
        """Take a task off the users of its inputs; return those inputs."""
        inputs = []
        for key in dict.fromkeys(needed.key for needed in record.task.inputs):
            source = self.records.get(key)
            if source is not None and source.users > 0:
                source.users -= 1
                source.dependents.pop(record.task.key, None)
                inputs.append(source)
        return inputs

    def _release_if_unused(self, record: Record) -> None:
        if record.users == 0 and not record.held:
            self._move(record, Move.RELEASE)
            self._orders.append(m.Release(record.task.key))
            del self.records[record.task.key]

    def _drop_if_unwanted(self, record: Record) -> None:
        """Let go of a task that its adder abandoned and of which no live task needs the value."""
        todo = [record]
        while todo:
            one = todo.pop()
            if one.held or one.users > 0 or self.records.get(one.task.key) is not one:
                continue
            if one.state is State.DONE:
                self._release_if_unused(one)
            elif one.state is State.RUNNING:
                self._move(one, Move.STOP)
                self._orders.append(m.Stop(one.task.key, one.attempt))
            elif one.state in (State.WAITING, State.READY):
                self._move(one, Move.CANCEL)
                self._orders.append(m.Report(one.task.key, one.state))
                del self.records[one.task.key]
                todo.extend(self._part(one))
            elif one.state is not State.STOPPING:
                del self.records[one.task.key]

    # ---- after the facts -------------------------------------------------------------------------

    def _fill_slots(self) -> None:
        while self._ready and self.busy < self.slots:
            entry = heapq.heappop(self._ready)
            if not self._is_queued(entry):
                continue  # cancelled in the meantime
            record = self.records[entry[2]]
            record.attempt += 1
            record.item = None
            self.busy += 1
            self._move(record, Move.START)
            careful = record.deaths > 0 or record.task.careful or record.task.timeout is not None
            self._orders.append(m.Start(record.task, record.attempt, careful))

    def _is_queued(self, entry: tuple[bool, int, m.Key]) -> bool:
        record = self.records.get(entry[2])
        return record is not None and record.sequence == entry[1] and record.state is State.READY

    def _is_timed(self, entry: tuple[float, int, m.Key]) -> bool:
        record = self.records.get(entry[2])
        return record is not None and record.sequence == entry[1] and record.timer == entry[0]

    def _prune(self, queue: list[Any], lives: Callable[[Any], bool]) -> None:
        """Dead entries are passed over when their turn comes. Where that may take long (slots that stay
        busy, timeouts of hours), a queue that is mostly dead is cleared of them: amortized, for nothing."""
        if len(queue) > 2 * len(self.records) + 32:  # 32 out of the air: not worth it for less
            queue[:] = filter(lives, queue)
            heapq.heapify(queue)

    def _set_timer(self, record: Record, time: float) -> None:
        record.deadline = time
        if record.timer is None or record.timer > time:  # else it will be looked at before that
            record.timer = time
            heapq.heappush(self._timers, (time, record.sequence, record.task.key))

    def _fire_timers(self) -> None:
        while self._timers and self._timers[0][0] <= self._now:
            entry = heapq.heappop(self._timers)
            if not self._is_timed(entry):
                continue
            record = self.records[entry[2]]
            record.timer = None
            if record.deadline is None:
                continue
            if record.deadline > self._now:  # moved on since: a later item began
                self._set_timer(record, record.deadline)
            elif record.state is State.READY:
                record.deadline = None
                self._queue(record)
            elif record.state is State.RUNNING:
                self._time_out(record)

    def _time_out(self, record: Record) -> None:
        task = record.task
        record.failure = overran(task.timeout, record.item)
        self._move(record, Move.STOP)
        self._orders.append(m.Stop(task.key, record.attempt))

    def _plan_wake(self) -> None:
        while self._timers and not self._is_timed(self._timers[0]):
            heapq.heappop(self._timers)
        first = self._timers[0][0] if self._timers else None
        if first != self._wake:
            self._wake = first
            self._orders.append(m.WakeAt(first))


_HANDLERS: dict[type, Callable[..., None]] = {
    m.Added: Scheduler._added,
    m.Began: Scheduler._began,
    m.Succeeded: Scheduler._succeeded,
    m.Failed: Scheduler._failed,
    m.Lost: Scheduler._lost,
    m.Stopped: Scheduler._stopped,
    m.Abandoned: Scheduler._abandoned,
    m.Slots: Scheduler._slots,
    m.Ticked: Scheduler._ticked,
}

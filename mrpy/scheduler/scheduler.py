"""The pure heart: facts in, orders out. No clock, no threads, no I/O.

Theory of operation
-------------------
The scheduler owns the graph of all live tasks. Whoever runs it (`mrpy.scheduler.driver`) tells it facts,
each with the time, and carries out the orders it returns. Nothing else goes in or out, so any run can be
replayed from its facts, and a simulation of ten thousand workers needs no workers.

What it guarantees, after every `handle`:

* never more tasks on the backend than slots, and no slot free while a task is ready; beyond the slots one
  task for each waiter that has others ready and none on the backend;
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

from collections.abc import Callable, Iterable
from itertools import count

from mrpy.errors import Cancelled, SchedulerError
from mrpy.scheduler import messages as m
from mrpy.scheduler.calls import spent
from mrpy.scheduler.failure import EVERY, At, Failure, of, overran
from mrpy.scheduler.policy import DEFAULT, Policy
from mrpy.scheduler.queues import Ready, Timers, Waiter
from mrpy.scheduler.record import Record
from mrpy.scheduler.states import ON_BACKEND, Move, State, after

Observer = Callable[[m.Moved], None]

# Looked up once: through the class it takes Python 3.11 a tenth of a microsecond each time.
WAITING, READY, RUNNING, STOPPING = State.WAITING, State.READY, State.RUNNING, State.STOPPING
DONE, FAILED, CANCELLED = State.DONE, State.FAILED, State.CANCELLED
UNBLOCK, START, SUCCEED, RELEASE = Move.UNBLOCK, Move.START, Move.SUCCEED, Move.RELEASE
RETRY, FAIL, STOP, CANCEL = Move.RETRY, Move.FAIL, Move.STOP, Move.CANCEL


class Scheduler:
    """The graph of live tasks and the rules that move them. `observer`: told of every move, unless None."""

    def __init__(self, observer: Observer | None = None, policy: Policy = DEFAULT) -> None:
        self.records: dict[m.Key, Record] = {}
        self.slots = 0
        self.busy = 0
        self.observer = observer
        self._policy = policy
        self._ready = Ready(self.records)
        self._waiters: dict[int, Waiter] = {}  # those that have tasks ready or on the backend
        self._timers = Timers(self.records)
        self._numbers = count()
        self._orders: list[m.Order] = []
        self._now = 0.0
        self._wake: float | None = None

    def handle(self, facts: Iterable[m.Fact], now: float) -> list[m.Order]:
        """Take in what happened by `now`; return what shall be done, in this order."""
        self._now = now
        orders = self._orders = []
        for fact in facts:
            _HANDLERS[type(fact)](self, fact)
        if self._timers.entries:
            self._fire_timers()
        if self.busy < self.slots:
            self._fill_slots()
        if self._waiters:
            self._serve_waiters()
        if self._ready.dead:
            self._ready.prune()
        if self._timers.entries or self._wake is not None:
            self._plan_wake()
        return orders

    def story(self, key: m.Key) -> str:
        """The life of a live task, one move a line."""
        record = self.records.get(key)
        return f"{key!r}: not alive" if record is None else record.story()

    # ---- facts -----------------------------------------------------------------------------------

    def _added(self, fact: m.Added) -> None:
        for task in fact.tasks:
            key = task.key
            if key in self.records:
                raise SchedulerError(f"task {key!r} was added twice; {self.story(key)}")
            record = Record(task, next(self._numbers))
            # before it is alive itself: nobody may wait for himself
            dead = self._join_inputs(record, task.inputs) if task.inputs else None
            self.records[key] = record
            if dead is not None:
                self._end(record, FAIL, dead)
            elif record.missing == 0:
                self._unblock(record)

    def _join_inputs(self, record: Record, inputs: Iterable[m.Input]) -> Failure | None:
        """Connect a new task with its inputs; return the failure of one that cannot come any more."""
        dead: Failure | None = None
        record.sources = sources = []
        for key in {key: None for key, _ in inputs}:  # several parts of one are one
            source = self.records.get(key)
            if source is None:
                dead = dead or of(SchedulerError(f"input {key!r} of {record.key!r} is not alive"))
            elif source.state is FAILED or source.state is CANCELLED:
                dead = dead or source.failure or of(SchedulerError(f"input {key!r} was cancelled"))
            else:
                sources.append(source)
                source.users += 1
                if source.state is not DONE:
                    record.missing += 1
                    if source.dependents is None:
                        source.dependents = {}
                    source.dependents[record] = None
        return dead

    def _began(self, fact: m.Began) -> None:
        record = self.records.get(fact.key)
        if record is None or record.attempt != fact.attempt or record.state is not RUNNING:
            return
        record.item, timeout = fact.item, record.task.timeout
        if timeout is not None:
            rest = self._policy.rest(timeout, record.task.size)
            self._timers.set(record, self._now + (timeout if fact.item is not None else rest))

    def _through(self, fact: m.Through) -> None:
        record = self.records.get(fact.key)
        if record is not None and record.attempt == fact.attempt and record.state is RUNNING:
            record.deadline = None

    def _succeeded(self, fact: m.Succeeded) -> None:
        key, attempt, seconds, pickling = fact
        record = self._back(key, attempt)
        if record is None:
            return
        if record.state is STOPPING:
            self._orders.append(m.Release(key))
            self._end(record, CANCEL, record.failure)
            return
        self._move(record, SUCCEED)
        self._orders.append(m.Report(key, DONE, None, seconds, pickling))
        if record.task.keep:
            record.task = spent(record.task)
        else:
            record.held = False
        if record.dependents:
            self._unblock_dependents(record)
        if record.sources:
            self._leave_inputs(record)
        self._release_if_unused(record)

    def _unblock_dependents(self, record: Record) -> None:
        for waiting in record.dependents or ():
            waiting.missing -= 1
            if waiting.missing == 0:
                self._unblock(waiting)
        record.dependents = None

    def _failed(self, fact: m.Failed) -> None:
        record = self._back(fact.key, fact.attempt)
        if record is None:
            return
        record.failures += 1
        again = record.failures <= record.task.retries and fact.failure.index is None  # else mrpy stated it
        if record.state is RUNNING and again:
            self._retry(record, self._policy.back_off(record.failures, record.number))
        else:
            self._end_on_backend(record, fact.failure)

    def _lost(self, fact: m.Lost) -> None:
        record = self._back(fact.key, fact.attempt)
        if record is None:
            return
        guilty, place = self._is_guilty(record, fact.item) if fact.blame else (False, fact.item)
        if record.state is RUNNING and not guilty:
            self._retry(record, 0.0)
        else:
            self._end_on_backend(record, fact.failure._replace(index=place))

    def _is_guilty(self, record: Record, item: At | None) -> tuple[bool, At | None]:
        """Whether it may not be tried again, and what of it is to blame."""
        record.deaths += 1
        deaths = record.item_deaths = record.item_deaths or {}
        deaths[item] = deaths.get(item, 0) + 1
        if item is None:
            return deaths[item] >= self._policy.deaths_of_a_task, None
        if deaths[item] >= self._policy.deaths_of_an_item:
            return True, item
        if not isinstance(item, tuple):
            return False, item
        whole = item[0], EVERY
        deaths[whole] = deaths.get(whole, 0) + 1
        return deaths[whole] >= self._policy.deaths_of_records, whole

    def _stopped(self, fact: m.Stopped) -> None:
        record = self._back(fact.key, fact.attempt)
        if record is not None:
            failure = record.failure and record.failure._replace(trace=fact.trace)
            self._end(record, CANCEL, failure)

    def _abandoned(self, fact: m.Abandoned) -> None:
        for key in fact.keys:
            record = self.records.get(key)
            if record is not None:
                record.held = False
                self._drop_if_unwanted(record)

    def _slots(self, fact: m.Slots) -> None:
        self.slots = fact.count

    # ---- moves -----------------------------------------------------------------------------------

    def _move(self, record: Record, move: Move) -> None:
        old = record.state
        if record.history is None:
            record.history = [self._now, move]
        else:
            record.history += self._now, move
        new = record.state = after(old, move, record.story)
        if self.observer is not None:
            self.observer(m.Moved(record.task, move, old, new, self._now))

    def _back(self, key: m.Key, attempt: int) -> Record | None:
        """The record that the one fact is about which ends an attempt, unless it is stale; its slot is free
        again."""
        record = self.records.get(key)
        if record is None or record.attempt != attempt or record.state not in ON_BACKEND:
            return None
        self.busy -= 1
        if record.task.waiter is not None:
            self._waiters[record.task.waiter].busy -= 1
        record.deadline = None
        return record

    def _unblock(self, record: Record) -> None:
        self._move(record, UNBLOCK)
        self._push(record)

    def _retry(self, record: Record, delay: float) -> None:
        self._move(record, RETRY)
        record.turn = (not record.task.urgent, record.number, record.key)  # what it left in a queue is dead
        if delay > 0:
            self._timers.set(record, self._now + delay)
        else:
            self._push(record)

    def _push(self, record: Record) -> None:
        self._ready.push(record)
        if (name := record.task.waiter) is not None:
            waiter = self._waiters.get(name)
            if waiter is None:
                waiter = self._waiters[name] = Waiter(Ready(self.records))
            waiter.ready.push(record)

    def _end_on_backend(self, record: Record, failure: Failure) -> None:
        """The attempt is over and there will be no other."""
        if record.state is STOPPING:
            self._end(record, CANCEL, record.failure)
        else:
            self._end(record, FAIL, failure)

    def _end(self, record: Record, move: Move, failure: Failure | None) -> None:
        """Fail or cancel a task, and with it everything that waits for it."""
        ended = [(record, move)]
        if failure is None and record.dependents:
            failure = of(Cancelled(f"task {record.key!r}, an input, was cancelled"))
        for one, how in ended:  # grows on the way
            one.failure = failure
            self._move(one, how)
            self._orders.append(m.Report(one.key, one.state, failure))
            for waiting in one.dependents or ():
                if waiting.missing > 0:
                    waiting.missing = 0  # visited: it may wait for two dead inputs
                    ended.append((waiting, FAIL))
            one.dependents = None
        # only now: what leaves its inputs may be the last to want another one that ends here too
        for one, _ in ended:
            self._leave_inputs(one)
            if not (one.task.keep and one.held):
                self.records.pop(one.key, None)

    def _leave_inputs(self, record: Record) -> None:
        """A task is through with its inputs: those that nobody else wants go too."""
        for source in self._part(record):
            if source.users == 0 and not source.held:
                self._drop_if_unwanted(source)

    def _part(self, record: Record) -> Iterable[Record]:
        """Take a task off the users of its inputs; return those inputs."""
        sources, record.sources = record.sources, ()
        for source in sources:
            source.users -= 1
            if source.dependents:
                source.dependents.pop(record, None)
        return sources

    def _release_if_unused(self, record: Record) -> None:
        if record.users == 0 and not record.held:
            self._move(record, RELEASE)
            self._orders.append(m.Release(record.key))
            del self.records[record.key]

    def _drop_if_unwanted(self, record: Record) -> None:
        """Let go of a task that its adder abandoned and of which no live task needs the value."""
        todo = [record]
        while todo:
            one = todo.pop()
            if one.held or one.users > 0 or self.records.get(one.key) is not one:
                continue
            if one.state is DONE:
                self._release_if_unused(one)
            elif one.state is RUNNING:
                self._move(one, STOP)
                self._orders.append(m.Stop(one.key, one.attempt))
            elif one.state is WAITING or one.state is READY:
                if one.state is READY and one.deadline is None:  # else it is not in the queue yet
                    self._ready.leave()
                    if one.task.waiter is not None:
                        self._waiters[one.task.waiter].ready.leave()
                self._move(one, CANCEL)
                self._orders.append(m.Report(one.key, one.state))
                del self.records[one.key]
                todo.extend(self._part(one))
            elif one.state is not STOPPING:
                del self.records[one.key]

    # ---- after the facts -------------------------------------------------------------------------

    def _fill_slots(self) -> None:
        while self.busy < self.slots:
            record = self._ready.pop()
            if record is None:
                return
            if record.task.waiter is not None:
                self._waiters[record.task.waiter].ready.leave()
            self._start(record)

    def _serve_waiters(self) -> None:
        """All that have the slots may wait, each in his own way, for a thread that waits for us."""
        for name, waiter in list(self._waiters.items()):
            if waiter.busy == 0:
                record = waiter.ready.pop()
                if record is None:
                    del self._waiters[name]
                    continue
                self._ready.leave()
                self._start(record)
            waiter.ready.prune()

    def _start(self, record: Record) -> None:
        task = record.task
        record.attempt += 1
        record.item = None
        self.busy += 1
        if task.waiter is not None:
            self._waiters[task.waiter].busy += 1
        self._move(record, START)
        careful = record.deaths > 0 or task.careful or task.timeout is not None
        self._orders.append(m.Start(task, record.attempt, careful, record.deaths > 0))

    def _fire_timers(self) -> None:
        for record in self._timers.due(self._now):
            if record.state is READY:
                record.deadline = None
                self._push(record)
            elif record.state is RUNNING:
                record.failure = overran(record.task.timeout, record.item)
                self._move(record, STOP)
                self._orders.append(m.Stop(record.key, record.attempt))

    def _plan_wake(self) -> None:
        first = self._timers.first()
        if first != self._wake:
            self._wake = first
            self._orders.append(m.WakeAt(first))


_HANDLERS: dict[type, Callable[..., None]] = {
    m.Added: Scheduler._added,
    m.Began: Scheduler._began,
    m.Through: Scheduler._through,
    m.Succeeded: Scheduler._succeeded,
    m.Failed: Scheduler._failed,
    m.Lost: Scheduler._lost,
    m.Stopped: Scheduler._stopped,
    m.Abandoned: Scheduler._abandoned,
    m.Slots: Scheduler._slots,
}

"""Worker processes of this machine: mrpy's own pool, and the backend that people get if they ask for none.

    driver's thread                          one socket pair per worker
      start ─> encode ─> backlog ─> a free worker ─ CODE, RUN ────────> worker_main
      wait  ─> poller: sockets, exits, wake <────── BEGAN, THROUGH, DONE, FAILED
                    │
                    └─> facts, values by key (still pickled: the consumer opens them)

Workers are started when there is work for them and kept until `close`. A worker that dies is told by its
socket or by its process descriptor, whichever comes first; the task at the head of its queue was running and
is Lost, those behind it are lost without blame, and the next turn brings a new worker. What cannot go to a
worker now stays in the backlog: nothing waits for one that boots while another is free.
"""

from __future__ import annotations

import marshal
import time
from collections import deque
from contextlib import suppress
from itertools import count, islice

from mrpy.errors import BackendError
from mrpy.machine import cpu_count
from mrpy.scheduler import codec
from mrpy.scheduler import messages as m
from mrpy.scheduler.backends import relay, segments
from mrpy.scheduler.backends import worker_main as w
from mrpy.scheduler.backends.base import Backend, Value
from mrpy.scheduler.backends.lifespan import Lifespan
from mrpy.scheduler.backends.packing import Packer
from mrpy.scheduler.backends.pickled import Pickled
from mrpy.scheduler.backends.poller import Event, poller
from mrpy.scheduler.backends.team import GRACE, Team
from mrpy.scheduler.backends.transport import Frame
from mrpy.scheduler.backends.worker_handle import Ticket, WorkerHandle, is_light
from mrpy.scheduler.calls import Call
from mrpy.scheduler.failure import of
from mrpy.scheduler.queues import sooner
from mrpy.scheduler.said import Said

LISTENED_TO = 4  # workers, before we sleep: each costs 2 us, to be told by another thread 50 us or more
BOOTS = 3  # workers in a row that may die before they are up


class ProcessesBackend(Backend):
    """As many worker processes as `workers`, warm between calls."""

    name = "processes"
    inline = True

    def __init__(
        self, workers: int, *, max_tasks_per_worker: int | None = None, memory_limit: int | None = None
    ) -> None:
        self.workers = workers
        self._lifespan = Lifespan.of(max_tasks_per_worker, memory_limit)
        self._tickets: dict[int, Ticket] = {}
        self._backlog: deque[Ticket] = deque()  # those of them that no worker has yet
        self._numbers = count(1)
        self._values: dict[m.Key, Pickled] = {}
        self._facts: list[m.Fact] = [m.Slots(workers)]
        self.said = Said()
        self._failed_boots = 0
        self._closed = False
        self._poller = poller()
        self.led = self._poller.shared
        self._team = Team(workers, self._lifespan, self._poller, self._note_unused)
        self._packer = Packer(self._note_unused)
        # Most turns find nothing in these, and so pass over what they are for.
        self._unsent: set[WorkerHandle] = set()  # frames of theirs wait for the next `wait`
        self._through: deque[WorkerHandle] = deque()  # have done all that they will be given
        self._unused = False  # there may be functions, or shared memory, that are not needed any more

    # ---- the seam --------------------------------------------------------------------------------

    def pack(self, call: Call) -> Call:
        return self._packer.pack(call)

    def start(self, order: m.Start) -> None:
        task, code = order.task, order.task.call.code
        try:
            inputs = [self._values[needed.key].part(needed.part) for needed in task.inputs]
            shape, parts = codec.flatten([task.call.data, *map(self._packer.shelved, inputs)])
            function = self._packer.function(code)
        except Exception as error:
            failure = of(BackendError(f"the task could not be handed to a worker: {error}"))
            self._facts.append(m.Failed(task.key, order.attempt, failure))
            return
        ticket = Ticket(next(self._numbers), task, order.attempt)
        ticket.message = function, (code.number, ticket.care if order.careful else None, shape), parts
        ticket.light = is_light(parts)
        self._tickets[ticket.number] = ticket
        self._backlog.append(ticket)

    def stop(self, key: m.Key, attempt: int) -> None:
        for ticket in [each for each in self._tickets.values() if (each.key, each.attempt) == (key, attempt)]:
            self._stop(ticket)
        self._deal()  # what waited behind it may go to others

    def _stop(self, ticket: Ticket) -> None:
        ticket.stopping = True
        if ticket.granted and ticket.worker is not None:
            self._take_back(ticket.worker)
        worker = ticket.worker
        if worker is None:
            self._backlog.remove(ticket)
            del self._tickets[ticket.number]
            self._facts.append(m.Stopped(ticket.key, ticket.attempt))
            return
        if ticket is worker.queue[0] and ticket.timeout is not None:  # else nobody asks where it was
            worker.stack.ask(worker.pid)
        if worker.kill_at is None:
            worker.kill_at = time.monotonic() + GRACE
            self._team.keep_time(worker)

    def wait(self, timeout: float | None) -> list[m.Fact]:
        """Send what was started, take in what has come."""
        self._team.note_boots()
        if self._backlog:
            self._deal()
        if timeout != 0:
            self._send_all()
            self._hire()
            if not self._facts:
                self._poller.sleep(sooner(timeout, self.due(), time.monotonic()))
        first = len(self._tickets) == 1 and self._unsent and timeout == 0 and not self._poller.saved
        self._send_all()
        if not first:  # else nobody has anything to say: what is asked of them goes out only now
            for event in self._poller.take():
                self._attend(event)
            if self.due() is not None:
                for worker in self._team.overdue():
                    self._bury(worker)
                for worker in self._team.stopped(bool(self._backlog)):
                    self._bury(worker, stopped=True)
                self._team.orphans.look()
            if self._facts:  # some are through
                self._deal()
            self._send()  # who is up now, or through, may have got a task
            self._hire()
        facts, self._facts = self._facts, []
        return facts

    def due(self) -> float | None:
        return self._team.due()

    def ask_back(self, key: m.Key) -> bool:
        return self._team.ask_back(key)

    def block(self, timeout: float | None, *, leading: bool = False) -> None:
        if not (leading and self._hear_some()):
            self._poller.sleep(timeout, leading=leading, brief=leading and len(self._tickets) < cpu_count())

    def pass_on(self) -> None:
        self._poller.pass_on()

    def wake(self) -> None:
        self.deaf = not self._poller.pipe.write()

    def fetch(self, key: m.Key) -> Value:
        return self._values[key]

    def release(self, key: m.Key) -> None:
        self._values.pop(key, None)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._backlog.clear()
        try:
            self._team.end([worker for worker in self._team if worker.queue or not worker.tears_down])
            self._tickets.clear()
            with suppress(OSError):  # somebody has closed what we sleep on
                self._tear_down()
        finally:
            self._team.end(list(self._team))
            self._team.orphans.end()
        self._values.clear()
        self._packer.close()
        self._poller.close()

    def _tear_down(self) -> None:
        """Have the workers that are left end by themselves, if they do so in time."""
        for worker in self._team:
            self._have_leave(worker)
        self.wait(0)  # before any sleep: we may have been woken, to look, and so would not be again
        while len(self._team) and not self.hurried:
            self._poller.sleep(sooner(None, self.due(), time.monotonic()))
            self.wait(0)

    # ---- workers ---------------------------------------------------------------------------------

    def _deal(self) -> None:
        """Hand out what can go now: of the backlog, or, where that is empty, of what waits with others."""
        while True:
            left: deque[Ticket] = deque()
            for ticket in self._backlog:
                worker = self._team.free_for(ticket)
                if worker is None:
                    left.append(ticket)
                else:
                    self._team.give(ticket, worker)
                    self._unsent.add(worker)
            self._backlog = left
            if (waits := self._team.taken_back()) is None:
                break
            self._put_back(waits)

    def _take_back(self, worker: WorkerHandle) -> None:
        """What it has not begun is to be handed out again."""
        while (ticket := worker.take_back()) is not None:
            self._put_back(ticket)

    def _put_back(self, ticket: Ticket) -> None:
        """It gets another number: a frame with the old one may still be on its way."""
        del self._tickets[ticket.number]
        ticket.number = next(self._numbers)
        self._tickets[ticket.number] = ticket
        self._backlog.append(ticket)

    def _hire(self) -> None:
        """Start workers for what is left, now that all was sent: it takes ms, in which no thread goes on."""
        if not self._backlog:
            return
        try:
            self._team.hire(len(self._backlog))
        except OSError as error:
            if not len(self._team):  # else somebody will come to it
                self._give_up(f"the task could not be handed to a worker: {error}")
        self._team.look_after_boots(self._backlog)

    def _give_up(self, problem: str) -> None:
        """There are no workers for what is left."""
        for ticket in self._backlog:
            del self._tickets[ticket.number]
            self._facts.append(m.Failed(ticket.key, ticket.attempt, of(BackendError(problem))))
        self._backlog.clear()

    def _send_all(self) -> None:
        """All that there is to tell the workers."""
        self._dismiss()
        if self._unused or segments.GONE:
            self._send_news()
        self._send()

    def _have_leave(self, worker: WorkerHandle) -> None:
        """It ends by itself, or is killed if that takes too long."""
        worker.send_leave()
        self._team.keep_time(worker)
        self._unsent.add(worker)

    def _dismiss(self) -> None:
        """Let workers go whose time is over and who have nothing left to do."""
        while self._through:
            if (worker := self._through.popleft()) not in self._team:  # it died before that
                continue
            if worker.tears_down:
                self._have_leave(worker)
            else:
                self._bury(worker)

    def _note_unused(self) -> None:
        """For any thread."""
        self._unused = True
        self.wake()

    def _send_news(self) -> None:
        """Have workers forget functions that nobody will send again, and give back shared memory."""
        self._unused = False  # before we look: what comes after that is noted again
        gone = self._packer.gone()
        self._team.forget(gone)
        for worker in self._team:
            for number in gone:
                worker.forget(number)
            if worker.send_returned() or gone:
                self._unsent.add(worker)

    def _send(self) -> None:
        """Write what was started since the last time: all of a worker's frames at once."""
        while self._unsent:
            worker = self._unsent.pop()
            if worker in self._team:
                self._flush(worker)

    def _flush(self, worker: WorkerHandle) -> None:
        try:
            worker.flush()
        except OSError:  # it died under our hands: what it has said before still counts
            for frame in worker.end.receive() or ():
                self._take(worker, frame)
            self._bury(worker)
        else:
            self._team.watch(worker)

    def _attend(self, event: Event) -> None:
        worker: WorkerHandle = event.owner
        if worker not in self._team:
            return  # buried a moment ago, in this same round
        self._hear(worker)
        if event.ended and not worker.end.gone:
            self._hear(worker)  # a read ends behind the last bytes: the end itself takes another
        if worker.end.gone:
            return
        if event.fd == worker.exit_watch and worker.exited():
            self._bury(worker)
        elif event.writable:
            self._flush(worker)

    def listen(self) -> None:
        for worker in list(self._team):
            if worker in self._team:  # else it was buried just now
                self._hear(worker)

    def _hear_some(self) -> bool:
        """As `listen`, before we sleep; until one has said something."""
        return any(worker.queue and self._hear(worker) for worker in islice(self._team, LISTENED_TO))

    def _hear(self, worker: WorkerHandle) -> bool:
        """Take in what a worker says, and that it is gone if so; say whether there was anything."""
        frames = worker.end.receive()
        for frame in frames or ():
            self._take(worker, frame)
        if worker.end.gone:
            self._bury(worker)
        return worker.end.gone or bool(frames)

    def _take(self, worker: WorkerHandle, frame: Frame) -> None:
        if frame.kind == w.READY:
            worker.ready, self._failed_boots = True, 0
            self._deal()
            return
        if frame.kind == w.SAID:
            self.said.show(relay.to_show(marshal.loads(frame.parts[0]), worker.pid), len(frame.parts[0]))
            return
        if frame.kind == w.RETURNED:
            worker.lender.returned(marshal.loads(frame.parts[0])[-1])
            return
        if (ticket := self._tickets.get(frame.number)) is None:  # a task has written into our socket
            worker.end.gone = True
            return
        if frame.kind in (w.BEGAN, w.THROUGH):
            self._facts.append(worker.fact_of(ticket, frame))
            return
        if frame.kind == w.LEFT:
            worker.take(ticket)
            self._put_back(ticket)
            if ticket.stopping:
                self._stop(ticket)
            self._deal()
            return
        self._punch(worker, ticket)
        *meta, loans, unused = marshal.loads(frame.parts[0])
        worker.lender.returned(unused)
        try:
            parts = worker.borrower.parts(loans, frame.parts[1:], worker.end.fds)
        except OSError as error:
            failure = of(BackendError(f"a result could not be taken over from shared memory: {error}"))
            self._facts.append(m.Failed(ticket.key, ticket.attempt, failure))
            return
        if ticket.stopping:
            trace = "" if ticket.timeout is None else worker.stack.text()
            self._facts.append(m.Stopped(ticket.key, ticket.attempt, trace))
            worker.stack.clear()
        elif frame.kind == w.DONE:
            seconds, pickling, in_parts, shape, said = meta
            note = None if said is None else codec.decode(codec.Payload(said))
            self._values[ticket.key] = Pickled(codec.unflatten(shape, parts), in_parts, note)
            self._facts.append(m.Succeeded(ticket.key, ticket.attempt, seconds, pickling))
            if self._team.learn(worker, ticket.code, seconds):
                self._facts.append(m.Slots(self._team.depth * self.workers))
        else:
            self._facts.append(m.Failed(ticket.key, ticket.attempt, codec.decode(codec.Payload(parts[0]))))

    def _punch(self, worker: WorkerHandle, ticket: Ticket) -> None:
        """The ticket is answered."""
        del self._tickets[ticket.number]
        worker.drop(ticket)  # the first: workers answer in order
        worker.since = time.monotonic()
        worker.leaving = worker.leaving or self._lifespan.is_over(worker.pid, worker.tasks)
        if worker.leaving:
            self._take_back(worker)
            if not worker.queue:
                self._through.append(worker)

    def _bury(self, worker: WorkerHandle, *, stopped: bool = False) -> None:
        """A worker is dead, or is to be: say what became of its tasks. ``stopped``: by SIGSTOP."""
        self._take_back(worker)
        death = self._team.bury(worker)
        if not worker.ready:
            self._failed_boots += 1
            if self._failed_boots >= BOOTS:
                self._give_up(f"worker processes die before they are up ({death.how}); see what they printed")
        for place, ticket in enumerate(worker.queue):
            del self._tickets[ticket.number]
            self._facts.append(ticket.lost(worker.pid, death, stopped=stopped, blame=place == 0))
        worker.queue.clear()
        if self._backlog:
            self._deal()

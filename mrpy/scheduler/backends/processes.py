"""Worker processes of this machine: mrpy's own pool, and the backend that people get if they ask for none.

    driver's thread                          one socket pair per worker
      start ─> encode ─> least busy worker ──────── CODE, RUN ────────> worker_main
      wait  ─> selector: sockets, exits, wake <──── BEGAN, DONE, FAILED
                    │
                    └─> facts, values by key (still pickled: the consumer opens them)

Workers are started when there is work for them and kept until `close`. A worker that dies is told by its
socket or by its process descriptor, whichever comes first; the task at the head of its queue was running
and is Lost, those behind it are lost without blame, and the next start brings a new worker.

A worker holds more than one task at a time only while tasks are so short that its idle time between two
of them would matter: see `QUEUE_BELOW`.
"""

from __future__ import annotations

import marshal
import os
import selectors
import time
from itertools import count

from mrpy.errors import BackendError, WorkerCrashed
from mrpy.options import cpu_count
from mrpy.scheduler import codec
from mrpy.scheduler import messages as m
from mrpy.scheduler.backends import relay
from mrpy.scheduler.backends import worker_main as w
from mrpy.scheduler.backends.base import Backend, Value
from mrpy.scheduler.backends.lifespan import Lifespan
from mrpy.scheduler.backends.packing import Packer
from mrpy.scheduler.backends.pickled import Pickled
from mrpy.scheduler.backends.transport import Frame
from mrpy.scheduler.backends.worker_handle import Death, Ticket, WorkerHandle, is_stopped
from mrpy.scheduler.calls import Call
from mrpy.scheduler.failure import Failure, of

QUEUE_BELOW = 0.005  # seconds; tasks shorter than this are queued ahead. A round trip takes 0.1 ms
DEPTH = 3  # tasks a worker holds then: one runs, two wait in its socket
GRACE = 0.2  # seconds that a stopped task has to end by itself before its worker is killed
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
        self._team: list[WorkerHandle] = []
        self._tickets: dict[int, Ticket] = {}
        self._numbers = count(1)
        self._values: dict[m.Key, Pickled] = {}
        self._facts: list[m.Fact] = [m.Slots(workers)]
        self._depth = 1
        self._failed_boots = 0
        self._closed = False
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        self._woken = False
        self._packer = Packer(self.wake)
        self._unsent: set[WorkerHandle] = set()  # frames of theirs wait for the next `wait`

    # ---- the seam --------------------------------------------------------------------------------

    def pack(self, call: Call) -> Call:
        return self._packer.pack(call)

    def start(self, order: m.Start) -> None:
        task, code = order.task, order.task.call.code
        try:
            payloads = [task.call.data]
            for needed in task.inputs:
                payloads.append(self._packer.shelved(self._values[needed.key].part(needed.part)))
            shape, parts = codec.flatten(payloads)
            function = self._packer.function(code)
            worker = self._choose()
        except Exception as error:
            failure = of(BackendError(f"the task could not be handed to a worker: {error}"))
            self._facts.append(m.Failed(task.key, order.attempt, failure))
            return
        ticket = Ticket(next(self._numbers), task.key, order.attempt, worker)
        self._tickets[ticket.number] = ticket
        worker.queue.append(ticket)
        worker.tasks += 1
        if task.timeout is not None and worker.look_after(task.timeout):
            self.wake()  # whoever blocks has to look at the clock before that
        ticket.message = function, (code.number, order.careful, shape), parts
        if worker.ready:
            self._hand_out(ticket)  # else when it is up; until then another may take it over

    def stop(self, key: m.Key, attempt: int) -> None:
        for ticket in self._tickets.values():
            if ticket.key == key and ticket.attempt == attempt:
                ticket.stopping = True
                if ticket is ticket.worker.queue[0]:
                    ticket.worker.stack.ask(ticket.worker.pid)
                if ticket.worker.kill_at is None:
                    ticket.worker.kill_at = time.monotonic() + GRACE
                    self.wake()  # whoever blocks has to look at the clock before that
                return

    def wait(self, timeout: float | None) -> list[m.Fact]:
        facts = self._collect()
        if facts or timeout == 0:
            return facts
        self.block(timeout)
        return self._collect()

    def block(self, timeout: float | None) -> None:
        for key, _ in self._selector.select(self._patience(timeout)):
            if key.data is None:  # only here: what another thread takes in meanwhile does not wake us
                self._drain_wakes()

    def _collect(self) -> list[m.Fact]:
        """Send what was started, take in what has come."""
        self._dismiss()
        self._send_news()
        self._send()
        for key, events in self._selector.select(0):
            if key.data is not None:
                self._attend(key.data, key.fileobj, events)
        self._kill_overdue()
        self._bury_stopped()
        self._send()  # who is up now, or through, may have got a task
        facts, self._facts = self._facts, []
        return facts

    def wake(self) -> None:
        if not self._woken:
            self._woken = True
            try:
                os.write(self._wake_write, b"!")
            except BlockingIOError:
                pass
            except OSError:  # closed in the meantime
                pass

    def fetch(self, key: m.Key) -> Value:
        return self._values[key]

    def release(self, key: m.Key) -> None:
        self._values.pop(key, None)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for worker in self._team:
            self._selector.unregister(worker.end.sock)
            worker.lifeline.close()  # all are told at once; `kill` then waits for each
        for worker in self._team:
            worker.kill()
        self._team.clear()
        self._tickets.clear()
        self._values.clear()
        self._packer.close()
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    # ---- workers ---------------------------------------------------------------------------------

    def _choose(self) -> WorkerHandle:
        """The worker with the shortest queue; a new one while all are busy and there may be more."""
        staying = [worker for worker in self._team if not worker.leaving]
        best = min(staying, key=_load, default=None)
        if best is None or (best.queue and len(staying) < self.workers):
            best = WorkerHandle(self.wake, self._threads())
            self._team.append(best)
            self._selector.register(best.end.sock, selectors.EVENT_READ, best)
            if best.exit_watch is not None:
                self._selector.register(best.exit_watch, selectors.EVENT_READ, best)
        return best

    def _hand_out(self, ticket: Ticket) -> None:
        """Send a task to its worker."""
        worker = ticket.worker
        function, meta, parts = ticket.message
        ticket.message = ()
        worker.send_code(meta[0], function)
        worker.send_run(ticket, meta, parts)
        self._unsent.add(worker)

    def _relieve(self, worker: WorkerHandle) -> None:
        """A worker that is through takes over what waits for another that still boots: a few short tasks are
        done by the first worker before the second is up."""
        if worker.queue or worker.leaving:
            return
        for other in self._team:
            if not other.ready and other.queue and not other.queue[0].stopping:
                ticket = other.queue.popleft()
                ticket.worker = worker
                worker.queue.append(ticket)
                worker.tasks, other.tasks = worker.tasks + 1, other.tasks - 1
                if other.look_at is not None:
                    worker.look_after(other.look_every)
                self._hand_out(ticket)
                return

    def _dismiss(self) -> None:
        """Let workers go whose time is over and who have nothing left to do."""
        for worker in [each for each in self._team if each.leaving and not each.queue]:
            self._bury(worker)

    def _send_news(self) -> None:
        """Have workers forget functions that nobody will send again, and give back shared memory."""
        gone = self._packer.gone()
        for worker in self._team:
            if gone:
                for number in gone:
                    worker.forget(number)
                self._unsent.add(worker)
            if worker.send_returned():
                self._unsent.add(worker)

    def _send(self) -> None:
        """Write what was started since the last time: all of a worker's frames at once."""
        while self._unsent:
            worker = self._unsent.pop()
            if worker in self._team:
                self._flush(worker)

    def _flush(self, worker: WorkerHandle) -> None:
        try:
            worker.end.flush()
        except OSError:  # it died under our hands: what it has said before still counts
            for frame in worker.receive() or ():
                self._take(worker, frame)
            self._bury(worker)
        else:
            self._watch(worker)

    def _watch(self, worker: WorkerHandle) -> None:
        """Ask to be told when its socket takes bytes again, if some wait."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.end.clogged else 0)
        if self._selector.get_key(worker.end.sock).events != events:
            self._selector.modify(worker.end.sock, events, worker)

    def _attend(self, worker: WorkerHandle, source: object, events: int) -> None:
        if worker not in self._team:
            return  # buried a moment ago, in this same round
        frames = worker.receive()
        for frame in frames or ():
            self._take(worker, frame)
        if frames is None or (source == worker.exit_watch and worker.exited()):
            self._bury(worker)
            return
        if events & selectors.EVENT_WRITE:
            self._flush(worker)

    def _take(self, worker: WorkerHandle, frame: Frame) -> None:
        if frame.kind == w.READY:
            worker.ready = True
            self._failed_boots = 0
            for ticket in worker.queue:
                self._hand_out(ticket)
            return
        if frame.kind == w.SAID:
            relay.show(marshal.loads(frame.parts[0]), worker.pid)
            return
        if frame.kind == w.RETURNED:
            worker.lender.returned(marshal.loads(frame.parts[0])[-1])
            return
        ticket = self._tickets[frame.number]
        if frame.kind == w.BEGAN:
            ticket.item = int.from_bytes(frame.parts[0], "little") if frame.parts else None
            self._facts.append(m.Began(ticket.key, ticket.attempt, ticket.item))
            return
        self._punch(ticket)
        self._relieve(worker)
        *meta, loans, unused = marshal.loads(frame.parts[0])
        worker.lender.returned(unused)
        try:
            parts = worker.borrower.parts(loans, frame.parts[1:], worker.end.fds)
        except OSError as error:
            failure = of(BackendError(f"a result could not be taken over from shared memory: {error}"))
            self._facts.append(m.Failed(ticket.key, ticket.attempt, failure))
            return
        if ticket.stopping:
            self._facts.append(m.Stopped(ticket.key, ticket.attempt, worker.stack.text()))
            worker.stack.clear()
        elif frame.kind == w.DONE:
            seconds, pickling, in_parts, shape = meta
            self._values[ticket.key] = Pickled(codec.unflatten(shape, parts), in_parts)
            self._facts.append(m.Succeeded(ticket.key, ticket.attempt, seconds, pickling))
            self._adapt(worker, seconds)
        else:
            told: Failure = codec.decode(codec.Payload(parts[0]))
            self._facts.append(m.Failed(ticket.key, ticket.attempt, told))

    def _punch(self, ticket: Ticket) -> None:
        """The ticket is answered."""
        del self._tickets[ticket.number]
        worker = ticket.worker
        worker.queue.remove(ticket)  # the first: workers answer in order
        worker.leaving = worker.leaving or self._lifespan.is_over(worker.pid, worker.tasks)
        if worker.kill_at is not None and not any(other.stopping for other in worker.queue):
            worker.kill_at = None

    def _adapt(self, worker: WorkerHandle, seconds: float) -> None:
        """Queue ahead while tasks are short; hand them out one by one while they are long."""
        worker.seconds = seconds if not worker.seconds else 0.5 * (worker.seconds + seconds)
        short = max(each.seconds for each in self._team) < QUEUE_BELOW
        depth = DEPTH if short and self._lifespan.max_tasks is None else 1  # what is counted is not ahead
        if depth != self._depth:
            self._depth = depth
            self._facts.append(m.Slots(depth * self.workers))

    def _bury(self, worker: WorkerHandle) -> None:
        """A worker is dead, or is to be: say what became of its tasks."""
        self._selector.unregister(worker.end.sock)
        if worker.exit_watch is not None:
            self._selector.unregister(worker.exit_watch)
        self._team.remove(worker)
        death = worker.kill()
        if not worker.ready:
            self._failed_boots += 1
        for place, ticket in enumerate(worker.queue):
            del self._tickets[ticket.number]
            self._facts.append(self._obituary(ticket, death, running=place == 0))
        worker.queue.clear()

    def _obituary(self, ticket: Ticket, death: Death, running: bool) -> m.Fact:
        if ticket.stopping:
            return m.Stopped(ticket.key, ticket.attempt, death.trace)
        worker = ticket.worker
        if not worker.ready and self._failed_boots >= BOOTS:
            problem = f"worker processes die before they are up ({death.how}); see their standard error"
            return m.Failed(ticket.key, ticket.attempt, of(BackendError(problem)))
        crash = WorkerCrashed(f"the worker process {worker.pid} was lost while it ran this: {death.how}")
        blame = running and worker.ready
        return m.Lost(ticket.key, ticket.attempt, of(crash, trace=death.trace), ticket.item, blame)

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for worker in [each for each in self._team if each.kill_at is not None and each.kill_at <= now]:
            if worker.queue[0].stopping:
                self._bury(worker)
            else:  # what runs there is wanted; the stopped one waits behind it, and will be dropped
                worker.kill_at = now + GRACE

    def _bury_stopped(self) -> None:
        """Where a time is kept, see to workers that did not even begin in it: nobody else would tell those
        that are stopped (SIGSTOP) from those that are slow to open a function."""
        now = time.monotonic()
        for worker in [each for each in self._team if each.look_at is not None and each.look_at <= now]:
            if worker.queue and worker.queue[0].item is None and is_stopped(worker.pid):
                self._bury(worker)
            else:
                worker.look_at = now + worker.look_every if worker.queue else None

    def _patience(self, timeout: float | None) -> float | None:
        for worker in list(self._team):  # others may change it
            for at in (worker.kill_at, worker.look_at):
                if at is not None:
                    left = max(0.0, at - time.monotonic())
                    timeout = left if timeout is None else min(timeout, left)
        return timeout

    def _drain_wakes(self) -> None:
        try:
            os.read(self._wake_read, 4096)
        except BlockingIOError:
            pass
        # Only now: a wake that comes before this writes nothing, but what it announces is in the inbox
        # already, which is looked at after `wait`. The other way round its byte could be read here and
        # the flag stay set: no later wake would write, and the driver would sleep on.
        self._woken = False

    def _threads(self) -> int:
        """How many threads a library may use in one worker, for all of them to share the processors."""
        return max(1, cpu_count() // self.workers)


def _load(worker: WorkerHandle) -> int:
    return len(worker.queue)

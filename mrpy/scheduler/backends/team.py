"""The workers of a pool: who is there, who is free for a task, and who has to come.

A worker holds more than one task only where all of them are known to be so short that its idle time between
two of them would matter: to get the next one takes half a millisecond where others want the processor.
What waits there is taken back when another worker has nothing to do, or when the task before it turns out
to be long (``claims.py``).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from mrpy.machine import cpu_count
from mrpy.options import threads_each
from mrpy.scheduler.backends.lifespan import Lifespan
from mrpy.scheduler.backends.orphans import Orphans
from mrpy.scheduler.backends.poller import Poller
from mrpy.scheduler.backends.worker_handle import Death, Ticket, WorkerHandle, is_stopped
from mrpy.scheduler.messages import Key

GRACE = 0.2  # seconds that a stopped task has to end by itself before its worker is killed
QUEUE_BELOW = 0.005  # seconds; tasks shorter than this are queued ahead. A round trip takes 0.1 ms
DEPTH = 3  # tasks a worker holds then: one runs, two wait in its socket
BRIEF_BELOW = 0.0002  # seconds; of tasks shorter than this more wait, if they can be taken back: to wake a
MOST = 16  # worker for each, and to be woken, takes longer than they do
BOOT = 0.2  # seconds in which a worker that boots keeps others from it; most take 0.02
WAIT_BELOW = 0.1  # seconds; of tasks shorter than this one waits, if it can be taken back


class Team:
    """At most `size` workers, each watched by `poller`. ``tell``: see `WorkerHandle`."""

    def __init__(self, size: int, lifespan: Lifespan, poller: Poller, tell: Callable[[], None]) -> None:
        self.depth = 1  # tasks that a worker is to have at a time
        self._size = size
        self._lifespan = lifespan
        self._poller = poller
        self._tell = tell
        self._workers: list[WorkerHandle] = []
        self._timed: set[WorkerHandle] = set()  # of these a time is kept, or was until lately
        self._boots: set[WorkerHandle] = set()  # that have begun to lately
        self.orphans = Orphans()
        self._seconds: dict[int, float] = {}  # how long tasks of a code took lately

    def __iter__(self) -> Iterator[WorkerHandle]:
        return iter(list(self._workers))  # others may change it

    def __len__(self) -> int:
        return len(self._workers)

    def __contains__(self, worker: WorkerHandle) -> bool:
        return worker in self._workers

    def free_for(self, ticket: Ticket) -> WorkerHandle | None:
        """A worker that has nothing to do; else, if the task is short, one that is through soon. A single
        call that is too large to be taken back waits here: the one before it may turn out to be long."""
        best: WorkerHandle | None = None
        late = time.monotonic() - WAIT_BELOW
        for worker in self._workers:
            if worker.takes_tasks:
                if not worker.queue:
                    return worker
                if worker.since >= late and (best is None or len(worker.queue) < len(best.queue)):
                    best = worker
        if best is None or len(best.queue) >= MOST:
            return None
        if ticket.single and self._size > 1 and not ticket.light:
            return None
        codes = {ticket.code, *[each.code for each in best.queue]}
        seconds = max([self._seconds.get(code, math.inf) for code in codes])
        if (seconds >= QUEUE_BELOW or len(best.queue) >= DEPTH) and not self._may_wait(ticket):
            return None
        return best if len(best.queue) < self._depth(seconds) else None

    def _may_wait(self, ticket: Ticket) -> bool:
        """Whether it may be put behind a task that takes a while; else it waits until a worker is free."""
        can_go_back = ticket.timeout is None and ticket.light
        return can_go_back and len(self._workers) >= self._size  # else one more is started

    def taken_back(self) -> Ticket | None:
        """What waits behind a task of one worker while another has nothing to do; or behind one that takes
        longer than was thought."""
        late = time.monotonic() - WAIT_BELOW
        if any(worker.takes_tasks and not worker.queue for worker in self._workers):
            late = math.inf
        for worker in self._workers:
            if len(worker.queue) > 1 and worker.since < late and (ticket := worker.take_back()) is not None:
                return ticket
        return None

    def _depth(self, seconds: float) -> int:
        """How many tasks that take so long a worker may have. What is counted is not queued ahead."""
        if seconds >= WAIT_BELOW or self._lifespan.max_tasks is not None:
            return 1
        if seconds >= QUEUE_BELOW:
            return 2
        return DEPTH if seconds >= BRIEF_BELOW else MOST

    def ask_back(self, key: Key) -> bool:
        """See `Backend.ask_back`. For any thread: it may have ended by now, and another be at work."""
        workers = list(self)
        if len(workers) >= self._size and all(worker.queue for worker in workers):
            return False
        for worker in workers:
            if any(ticket.key == key for ticket in list(worker.queue)[:1]):
                worker.ask_back()
                return True
        return False

    def learn(self, worker: WorkerHandle, code: int, seconds: float) -> bool:
        """A task of this code took so long there. Say whether `depth` is another now: tasks are queued ahead
        while they are short, and wait to be chosen while they are long."""
        before = self._seconds.get(code, seconds)
        worker.seconds = self._seconds[code] = 0.5 * (before + seconds)
        old, self.depth = self.depth, self._depth(max([each.seconds for each in self._workers]))
        return old != self.depth

    def forget(self, codes: Iterable[int]) -> None:
        """Nobody will run these any more."""
        for code in codes:
            self._seconds.pop(code, None)

    def hire(self, waiting: int) -> None:
        """Start workers for so many tasks that nobody can take, as far as there may be more. Raises OSError
        where one cannot be started.

        No more boot at a time than there are processors beside that of this program: they keep each other,
        and us, from coming up. But nobody waits for one that takes long: see `note_boots`."""
        booting = sum(not worker.ready for worker in self._workers)
        just_begun = sum(not worker.ready for worker in self._boots)
        staying = sum(not worker.leaving for worker in self._workers)
        room = min(self._size - staying, 2 * self._size - len(self._workers))  # some take long to leave
        for _ in range(min(waiting - booting, room, max(1, cpu_count() - 1) - just_begun)):
            worker = WorkerHandle(self._tell, threads_each(self._size))
            self._workers.append(worker)
            self._boots.add(worker)
            try:
                self._poller.add(worker.end.sock.fileno(), worker)
                if worker.exit_watch is not None:
                    self._poller.add(worker.exit_watch, worker)
            except OSError:  # nobody would hear that it is up
                self.end([worker])
                raise

    def note_boots(self) -> None:
        """Those that are up, and those that take long, keep no other worker from booting. To be called before
        it is seen whether there are to be more."""
        if self._boots:
            late = time.monotonic() - BOOT
            self._boots = {each for each in self._boots if not each.ready and each.born > late}

    def watch(self, worker: WorkerHandle) -> None:
        """Have us be told when its socket takes bytes again, if some wait."""
        if worker.end.clogged != worker.watched:
            worker.watched = worker.end.clogged
            self._poller.writes(worker.end.sock.fileno(), worker.watched)

    def give(self, ticket: Ticket, worker: WorkerHandle) -> None:
        """Send it a task, which is to be flushed."""
        if ticket.timeout is not None:
            self.look_after(worker, ticket.timeout)
        worker.give(ticket)

    def look_after_boots(self, waiting: Iterable[Ticket]) -> None:
        """Where a time is kept of what waits, see to it that those who are to do it come up."""
        timeouts = [each.timeout for each in waiting if each.timeout is not None]
        for worker in self._workers if timeouts else ():
            if not worker.ready:
                self.look_after(worker, min(timeouts))

    def look_after(self, worker: WorkerHandle, timeout: float) -> None:
        """A task of this timeout waits for it: see to it that the worker begins with it."""
        worker.look_after(timeout)
        self.keep_time(worker)

    def keep_time(self, worker: WorkerHandle) -> None:
        """It is to be looked at when it is due."""
        self._timed.add(worker)

    def due(self) -> float | None:
        """When to look at one of them, or at what they have left, at the latest."""
        if not self._timed and not self._boots:
            return self.orphans.look_at
        boots = (each.born + BOOT for each in self._boots)
        times = (*(each.due() for each in self._timed), *boots, self.orphans.look_at)
        return min((at for at in times if at is not None), default=None)

    def timed(self) -> list[WorkerHandle]:
        """Those of whom a time is kept."""
        self._timed = {each for each in self._timed if each.due() is not None}
        return list(self._timed)

    def overdue(self) -> Iterator[WorkerHandle]:
        """Those to be killed: their time to stop a task, or to end, is over."""
        now = time.monotonic()
        for worker in self.timed():
            if worker.kill_at is None or worker.kill_at > now:
                continue
            if worker.queue and not worker.queue[0].stopping:
                worker.kill_at = now + GRACE  # what runs is wanted; the stopped one behind it will be dropped
            else:
                yield worker

    def stopped(self, waiting: bool) -> Iterator[WorkerHandle]:
        """Where a time is kept, those that are stopped (SIGSTOP) when it is up. What they were at is lost,
        and not too slow: it may be tried again. ``waiting``: there are tasks that no worker has."""
        now = time.monotonic()
        for worker in self.timed():
            if worker.look_at is None or worker.look_at > now:
                continue
            waits = worker.queue or (waiting and not worker.ready)
            if waits and is_stopped(worker.pid):
                yield worker
            else:
                worker.look_at = now + worker.look_every if waits else None

    def end(self, workers: Sequence[WorkerHandle]) -> None:
        """Kill them: all are told at once, and then each is waited for, but not what it leaves."""
        for worker in workers:
            worker.tell_to_end()
        for worker in workers:
            self.let_go(worker)
            worker.dismiss()
            self.orphans.add(worker.pid)

    def bury(self, worker: WorkerHandle) -> Death:
        """The same for one, who may be dead already."""
        self.let_go(worker)
        death = worker.kill()
        self.orphans.add(worker.pid)
        return death

    def let_go(self, worker: WorkerHandle) -> None:
        """It is not one of us any more."""
        self._timed.discard(worker)
        self._boots.discard(worker)
        self._poller.remove(worker.end.sock.fileno())
        if worker.exit_watch is not None:
            self._poller.remove(worker.exit_watch)
        self._workers.remove(worker)

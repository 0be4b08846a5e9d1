"""The parent's view of one worker process: start it, talk to it, see that it died, kill it."""

from __future__ import annotations

import contextlib
import marshal
import os
import sys
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from weakref import WeakSet

from mrpy.errors import WorkerCrashed
from mrpy.light import TYPE_CHECKING, NamedTuple, signal
from mrpy.scheduler import codec, rests
from mrpy.scheduler.backends.last_stack import get_ready
from mrpy.scheduler.backends.orphans import state
from mrpy.scheduler.backends.segments import Borrower, Lender, Lent, Shelved
from mrpy.scheduler.backends.spawn import NOT_KNOWN, spawned
from mrpy.scheduler.backends.tracker import TRACKING, Tracker, is_open, tracker
from mrpy.scheduler.backends.transport import Frame, ParentEnd
from mrpy.scheduler.backends.worker_main import CODE, FORGET, LEAVE, RETURNED, RUN, THROUGH, TRACKER
from mrpy.scheduler.failure import of, overran
from mrpy.scheduler.messages import Began, Lost, Stopped, Through
from mrpy.scheduler.policy import DEFAULT, LONGEST_WAIT

if TYPE_CHECKING:
    from typing import Any

    from mrpy.scheduler.failure import At
    from mrpy.scheduler.messages import Task

TORN_DOWN = 10.0  # seconds that a worker has for what it does at its end
CODES_KEPT = 64  # functions a worker holds; out of the air
LIGHT = 1 << 16  # bytes of a task that waits behind another, at most; out of the air

_alive: WeakSet[WorkerHandle] = WeakSet()


def _let_go_after_fork() -> None:
    """A forked child holds copies of our ends. While it had them, workers would outlive their parent."""
    for worker in list(_alive):
        with contextlib.suppress(OSError):
            worker.close()


os.register_at_fork(after_in_child=_let_go_after_fork)


class Ticket:
    """One attempt that an answer is owed for, by a worker once it has one."""

    __slots__ = (
        "attempt", "care", "code", "granted", "item", "key", "light", "message", "number", "single",
        "stopping", "timeout", "torn_down", "worker",
    )  # fmt: skip

    def __init__(self, number: int, task: Task, attempt: int) -> None:
        self.number = number
        self.key, self.code, self.timeout = task.key, task.call.code.number, task.timeout
        self.torn_down = task.call.code.torn_down
        self.single = task.call.shared is None  # no chunk of a run
        rest = () if task.timeout is None else (task.timeout, DEFAULT.rest(task.timeout, task.size))
        self.care = rest  # what a careful worker is told of times: see `Watch`
        self.attempt = attempt
        self.worker: WorkerHandle | None = None
        self.item: At | None = None  # the last one announced
        self.stopping = False
        self.granted = False  # it waits behind another task, and may be taken back
        self.message: Any = ()  # what to send, until that cannot be necessary again
        self.light = False  # that is little, and so may be kept to be sent once more

    def lost(self, pid: int, death: Death, *, stopped: bool, blame: bool) -> Lost | Stopped:
        """What became of it. ``stopped``: the worker was, until the time was up. ``blame``: it ran then."""
        if self.stopping:
            return Stopped(self.key, self.attempt, death.trace)
        if stopped and self.timeout is not None:
            failure = overran(self.timeout, self.item, death.trace)
        else:
            crash = f"the worker process {pid} was lost while it ran this: {death.how}"
            failure = of(WorkerCrashed(crash), trace=death.trace)
        return Lost(self.key, self.attempt, failure, self.item, blame=blame)


class Death(NamedTuple):
    """How a worker ended, and where it was then, as far as that can be told."""

    how: str
    trace: str


class WorkerHandle:
    """A live worker process. Raises OSError where it cannot be started. ``tell``: see `Borrower`.
    ``threads``: how many the libraries in it may use."""

    def __init__(self, tell: Callable[[], None], threads: int) -> None:
        self.born = time.monotonic()
        new = spawned(threads)
        self.process, self.lifeline = new.process, new.lifeline
        self.claims, self.stack = new.claims, new.stack
        self.end = ParentEnd(new.sock)
        self.pid = self.process.pid
        self.exit_watch = _pidfd(self.pid)
        self.watched = False  # we are told when its socket takes bytes again
        self.ready = False  # it has said that it is up
        self.queue: deque[Ticket] = deque()  # in the order it will answer; the first one runs
        self.since = 0.0  # when that has begun, about
        self.tasks = 0  # that it was given
        self.leaving = False  # it gets no more
        self.tears_down = False  # something of what it has run does something at its end
        self.seconds = 0.0  # how long tasks like the last one took lately
        self.kill_at: float | None = None  # a task of its is being stopped: its grace ends then
        self.look_at: float | None = None  # when to see whether it is stopped, where a time is kept
        self.look_every = 0.0
        self._codes: OrderedDict[int, None] = OrderedDict()
        self._tracker: Tracker | None = None  # that it shares
        self._granted: list[int] = []  # numbers that go before what is sent next
        self.lender = Lender()
        self.borrower = Borrower(tell)
        _alive.add(self)

    @property
    def takes_tasks(self) -> bool:
        """Whether it is there, and will be."""
        return self.ready and not (self.leaving or self.end.gone)

    def send_code(self, number: int, function: codec.Payload) -> None:
        """See that the worker has this function."""
        if number in self._codes:
            self._codes.move_to_end(number)
            return
        shape, parts = codec.flatten([function])
        self._send(CODE, number, (shape,), self.lender.lend(parts))
        self._codes[number] = None
        while len(self._codes) > CODES_KEPT:
            self.forget(next(iter(self._codes)))

    def forget(self, code: int) -> None:
        """This function is not needed any more."""
        if code in self._codes:
            del self._codes[code]
            self.end.send(FORGET, code, [])

    def send_leave(self) -> None:
        """Have it drop all functions, and end, in time."""
        self.end.send(LEAVE, 0, [])
        self.kill_at = time.monotonic() + TORN_DOWN

    def give(self, ticket: Ticket) -> None:
        """Send a call, the large parts of it through shared memory, to be run behind what the worker has."""
        function, meta, parts = ticket.message
        ticket.worker, ticket.granted = self, bool(self.queue) and ticket.light
        if TRACKING in sys.modules:
            self._share_tracker()
        self.send_code(ticket.code, function)
        self._send(RUN, ticket.number, (*meta, ticket.granted), self.lender.lend(parts))
        if ticket.granted:
            self._granted.append(ticket.number)
        else:
            ticket.message = ()
        if not self.queue:
            self.since = time.monotonic()
        self.queue.append(ticket)
        self.tasks += 1
        self.tears_down = self.tears_down or ticket.torn_down

    def _share_tracker(self) -> None:
        ours = tracker()
        if ours != self._tracker:
            self._tracker = ours
            if ours is not None and is_open(ours):
                self.end.send(TRACKER, 0, [], ours[:1])

    def flush(self) -> None:
        """Write what there is to send, as much as goes. Raises OSError when it is gone."""
        self._grant()
        self.end.flush()

    def _grant(self) -> None:
        if self._granted:
            granted, self._granted = self._granted, []
            self.claims.grant(*granted)

    def take_back(self) -> Ticket | None:
        """What waits behind another task and is not begun, the first of it: it is nobody's now."""
        self._grant()
        number = self.claims.take_back()
        for ticket in self.queue:
            if ticket.number == number:
                self.take(ticket)
                return ticket
        return None

    def take(self, ticket: Ticket) -> None:
        """The worker will not run this one."""
        self.drop(ticket)
        self.tasks -= 1
        ticket.worker, ticket.granted = None, False

    def drop(self, ticket: Ticket) -> None:
        """It owes no answer for this one any more."""
        self.queue.remove(ticket)
        if self.kill_at is not None and not any(other.stopping for other in self.queue):
            self.kill_at = None

    def send_returned(self) -> bool:
        """Give back what is not used any more, if there is such; say whether there was."""
        if not self.borrower.has_unused():
            return False
        self._send(RETURNED, 0, (), self.lender.lend([]))
        return True

    def _send(self, kind: int, number: int, meta: tuple[Any, ...], lent: Lent) -> None:
        news = (lent.loans, self.borrower.unused())
        self.end.send(kind, number, [marshal.dumps((*meta, *news)), *lent.others], lent.fds)

    def look_after(self, timeout: float) -> None:
        """A task of this timeout was sent: see to it that the worker begins with it."""
        get_ready()
        self.look_every = min(timeout, LONGEST_WAIT)
        if self.look_at is None:
            self.look_at = time.monotonic() + self.look_every

    def due(self) -> float | None:
        """When to look at it at the latest, where a time is kept."""
        if self.kill_at is None or self.look_at is None:
            return self.look_at if self.kill_at is None else self.kill_at
        return min(self.kill_at, self.look_at)

    def fact_of(self, ticket: Ticket, frame: Frame) -> Began | Through:
        """It says which item of a task it begins with, or that it is through with all that is the user's."""
        if frame.kind == THROUGH:
            return Through(ticket.key, ticket.attempt)
        ticket.item = marshal.loads(frame.parts[0])
        if ticket.timeout is not None:  # just before its time is up, see whether it could use it
            self.look_at = time.monotonic() + ticket.timeout
        return Began(ticket.key, ticket.attempt, ticket.item)

    def ask_back(self) -> None:
        """Have it give back what it has not begun of its task."""
        watch = self.exit_watch  # its number may be another's by now
        with contextlib.suppress(OSError):
            if rests.ASK is not None and watch is not None:
                signal.pidfd_send_signal(watch, rests.ASK)

    def exited(self) -> bool:
        """Whether the process has ended, even if a child of its still holds the socket."""
        return self.process.poll() is not None

    def kill(self) -> Death:
        """End it, have its children end, give back what it took, and say how it died."""
        death = Death(how_it_died(self._kill()), self.stack.text())
        self.close()
        return death

    def dismiss(self) -> None:
        """The same where nobody asks how. What tells imports modules, and at the exit of the interpreter
        these would make it forget that it was ended by Ctrl-C."""
        self._kill()
        self.close()

    def tell_to_end(self) -> None:
        """Kill the process, and ask its children, which are its process group, to end. Waits for nothing."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self.process.poll() is None:
                os.kill(self.pid, signal.SIGKILL)
            os.killpg(self.pid, signal.SIGTERM)

    def _kill(self) -> int:
        self.tell_to_end()
        return self.process.wait()

    def close(self) -> None:
        """Give back the descriptors. The worker, if alive, is killed by the kernel."""
        _alive.discard(self)  # before: their numbers may be others' when next there is a fork
        for each in (self.end, self.claims, self.stack, self.lender, self.lifeline):
            with contextlib.suppress(OSError):  # somebody has closed what is not his
                each.close()
        watch, self.exit_watch = self.exit_watch, None
        if watch is not None:
            with contextlib.suppress(OSError):
                os.close(watch)


def is_light(parts: list[Any]) -> bool:
    """Whether what is sent is little, and so may be kept to be sent once more."""
    return not any(type(part) is Shelved for part in parts) and sum(map(len, parts)) <= LIGHT


def is_stopped(pid: int) -> bool:
    """Whether somebody has stopped a process (SIGSTOP, a debugger). False where that cannot be told."""
    return state(pid) in (b"T", b"t")


# By their numbers; of two names, as SIGCHLD and SIGCLD, the first. `signal.Signals` says the same, but takes
# 2 ms to import, and behind a Ctrl-C nothing may be.
_SIGNALS = {
    getattr(signal, name): name
    for name in sorted(dir(signal), reverse=True)
    if name.startswith("SIG") and "_" not in name
}


def how_it_died(code: int) -> str:
    """An exit code in words.

    >>> how_it_died(-9)
    'killed by SIGKILL'
    """
    if code == NOT_KNOWN:
        return "how it ended is not known (this process ignores SIGCHLD, or waits for any child that ends)"
    if code < 0:
        return f"killed by {_SIGNALS.get(-code, f'signal {-code}')}"
    return f"exited with code {code}"


def _pidfd(pid: int) -> int | None:
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:  # an old kernel: the end of the socket has to do
        return None

"""A Dask cluster: one that is there, or one of our own on this machine.

    driver's thread            Dask's threads            scheduler, workers
      start ─> client.submit ────────────────────────────> dask_worker.run
      stop  ─> future.cancel, interrupt ─────────────────> dask_worker.interrupt
      wait  <─ inbox (SimpleQueue) <─ future is done <──── Stored, Raised
                                   <─ events <──────────── it runs; an item began; what it says; it is through

Values stay on the cluster: the backend holds a Future under the task's key, and a task that needs the
value is handed the Future. Functions too are Futures, sent once; each worker opens them once.

Who is to blame when a worker is lost: a call begins only after the scheduler has heard that it does, and
where, so what ran on the worker is known. It is Lost, and taken from Dask, which would run it again and
have it kill the next worker. What only queued there, and values that lay there, Dask makes elsewhere.

On a cluster of somebody else's, a stopped task that sits in C code holds its thread until it ends.
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import marshal
import os
import signal
import time
import uuid
import weakref
from collections import OrderedDict, deque
from itertools import count
from queue import Empty, SimpleQueue
from typing import Any

import dask.config
from distributed import Client
from distributed.scheduler import KilledWorker
from distributed.utils import silence_logging_cmgr

from mrpy.errors import BackendError
from mrpy.scheduler import codec
from mrpy.scheduler import messages as m
from mrpy.scheduler.backends import dask_cluster, relay
from mrpy.scheduler.backends import dask_worker as w
from mrpy.scheduler.backends.base import Backend, Value
from mrpy.scheduler.backends.dask_tickets import Suspects, Ticket, gone, lost, orphaned
from mrpy.scheduler.backends.dask_values import Far
from mrpy.scheduler.calls import Call, Code
from mrpy.scheduler.failure import of
from mrpy.scheduler.said import Said

AHEAD = 2  # tasks given to the cluster per thread: one runs, one waits
CODES_KEPT = 64  # functions held on the cluster; out of the air
PART_ALONE = 64 * 1024  # bytes; a smaller value in parts moves as a whole, a larger one is taken apart first
LARGE = 1 << 20  # bytes of a function that workers drop at once when nobody sends it any more
LOOK = 5.0  # seconds between two looks at the client, while nothing comes
SENT = 0.5  # seconds for a message to arrive that nobody needs an answer to
TORN_DOWN = 10.0  # seconds for functions to be dropped, and for what they do at their end, at most
PATIENCE = 60  # seconds until our own workers, or a cluster's scheduler, have to answer


class DaskBackend(Backend):
    """The workers of the cluster at `address`, or of a `client`: `limit` tasks at the same moment, or 0: as
    many as they have threads; or else as many of our own as `workers`."""

    name, near, spills = "dask", False, False

    def __init__(self, workers: int, *, limit: int = 0, **there: Any) -> None:
        self._inbox: SimpleQueue[Any] = SimpleQueue()
        self._facts: list[m.Fact] = []
        self.said = Said()
        self._tickets: dict[int, Ticket] = {}
        self._stopped: set[int] = set()  # attempts that were stopped, and may be about to begin
        self._tears_down = False  # something that was sent does something at its end
        self._suspects, self._numbers = Suspects(), count(1)
        self._values: dict[m.Key, Far] = {}
        self._codes: OrderedDict[int, tuple[Any, Any]] = OrderedDict()  # a Future; and what tells of the end
        self._unused: deque[int] = deque()  # functions that nobody will send again
        self._closed, self._pid, self._limit = False, os.getpid(), limit
        self._quiet = contextlib.ExitStack()
        self._topic, self._mark = "", uuid.uuid4().hex[:12]
        self._cluster: Any = None
        self._client: Any = None  # Dask's own types are too sparse to help
        try:
            self._connect(workers, **there)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError | TimeoutError | RuntimeError):
                raise BackendError(f"no Dask cluster: {error}") from error
            raise
        atexit.register(self.close)  # now, so that it comes before the exit of Dask itself

    def _connect(self, workers: int, address: str | None = None, client: Any = None) -> None:
        security = None
        if client is not None:  # a connection of our own to the same place: we leave no trace in the user's
            dask_cluster.check(client)
            address, security = client.scheduler.address, client.security
        if address is None:
            self._quiet.enter_context(silence_logging_cmgr(logging.CRITICAL + 1))
            self._cluster = dask_cluster.start(workers)
            address = self._cluster.scheduler_address
        self._client = Client(address, security=security, set_as_default=False, timeout=PATIENCE)
        dask_cluster.steady(self._client.loop)
        self._topic = self._client.id  # Dask forgets these events some time after we are gone
        self._client.subscribe_topic(self._topic, self._heard)
        self._client.subscribe_topic("all", self._heard_of_team)
        if self._cluster is not None:
            self._client.wait_for_workers(1, timeout=PATIENCE)
        self._has(workers if self._cluster is not None else dask_cluster.threads_of(self._client))
        if self._cluster is None:
            # Subscriptions begin some time after they were asked for. A task comes behind them in the same
            # stream: once it is done, no worker can join unheard, and those that did are counted.
            self._first = self._client.submit(int, pure=False, key=f"mrpy-{self._mark}-first")
            self._first.add_done_callback(lambda _: self._recount())

    def _has(self, threads: int) -> None:
        self.workers = min(threads, self._limit or threads)  # of more threads, what waits there would run
        self._facts.append(m.Slots(self.workers * (AHEAD if self.workers == threads else 1)))

    # ---- the seam --------------------------------------------------------------------------------

    def pack(self, call: Call) -> Call:
        call.code.blob()
        data = codec.encode(call.data, way=call.code.way)  # the user may fill an array again:
        return Call(call.code, data._replace(buffers=tuple(map(codec.copy_of, data.buffers))))

    def start(self, order: m.Start) -> None:
        number = next(self._numbers)
        ticket = self._tickets[number] = Ticket(number, order)
        if self._suspects.may_begin(ticket):
            self._begin(ticket)

    def _begin(self, ticket: Ticket) -> None:
        number, order = ticket.number, ticket.order
        try:
            ticket.future = self._submit(ticket)
            ticket.future.add_done_callback(lambda future: self._inbox.put((number, future.status)))
        except Exception as error:
            self._answer(ticket)
            failure = of(BackendError(f"the task could not be handed to the cluster: {error}"))
            self._facts.append(m.Failed(order.task.key, order.attempt, failure))

    def _answer(self, ticket: Ticket) -> None:
        """It is not owed an answer any more."""
        self._tickets.pop(ticket.number, None)
        following = self._suspects.after(ticket)
        if following is not None:
            self._begin(following)

    def stop(self, key: m.Key, attempt: int) -> None:
        for ticket in self._tickets.values():
            task = ticket.order.task
            if task.key == key and ticket.order.attempt == attempt:
                if ticket.future is None:
                    self._answer(ticket)
                    self._facts.append(m.Stopped(key, attempt))
                    return
                ticket.stopping = True
                self._stopped.add(ticket.number)
                ticket.future.cancel()
                if ticket.address is not None:
                    self._interrupt(ticket.number, ticket.address, ticket.pid)
                return

    def wait(self, timeout: float | None) -> list[m.Fact]:
        end = None if timeout is None else time.monotonic() + timeout
        while not self._facts:
            left = LOOK if end is None else max(0.0, min(LOOK, end - time.monotonic()))
            try:
                message = self._inbox.get(timeout=left)
            except Empty:
                self._look_after_client()
                if left < LOOK:
                    break
                continue
            if message is None:
                break
            self._take(message)
        while not self._inbox.empty():  # nobody else takes from it
            self._take(self._inbox.get())
        if self._unused:
            self._have_forgotten()
        facts, self._facts = self._facts, []
        return facts

    def wake(self) -> None:
        self._inbox.put(None)

    def fetch(self, key: m.Key) -> Value:
        return self._values[key]

    def release(self, key: m.Key) -> None:
        self._values.pop(key, None)

    def close(self) -> None:
        if self._closed or os.getpid() != self._pid:  # a forked child owns nothing of it
            return
        self._closed = True
        atexit.unregister(self.close)
        if self._client is not None and self._cluster is None:
            for ticket in list(self._tickets.values()):
                with contextlib.suppress(Exception):
                    self.stop(ticket.order.task.key, ticket.order.attempt)
        if self._client is not None:
            with contextlib.suppress(Exception):
                self._drop_all()
        for held in (self._tickets, self._values, self._codes):
            held.clear()
        with silence_logging_cmgr(logging.CRITICAL + 1), contextlib.suppress(Exception):
            self._disconnect()
        self._quiet.close()

    def _disconnect(self) -> None:
        if self._client is not None:
            for topic in (self._topic, "all"):
                self._client.unsubscribe_topic(topic)
            self._client.close()
        if self._cluster is not None:
            dask_cluster.stop(self._cluster)

    # ---- to the cluster --------------------------------------------------------------------------

    def _submit(self, ticket: Ticket) -> Any:
        task = ticket.order.task
        code: Code = task.call.code
        futures, parts = [], []
        for needed in task.inputs:
            value = self._values[needed.key]
            alone = needed.part is not None and value.nbytes > PART_ALONE
            futures.append(self._send("part", w.pick, value.future, needed.part) if alone else value.future)
            parts.append(None if alone else needed.part)
        data = w.Stored([task.call.data], False)
        # else the item before one that keeps the interpreter lock would be taken for the one that overran
        sure = ticket.order.attempt > 1 or task.timeout is not None
        care = w.Care(ticket.order.careful, ticket.order.careful and sure, ticket.suspect)
        ours = self._cluster is not None
        sent = w.Sent(self._topic, ticket.number, code.number, data, tuple(parts), care, task.timeout, ours)
        return self._send(code.name, w.run, sent, self._code(code), *futures, priority=int(task.urgent))

    def _code(self, code: Code) -> Any:
        number, unused, inbox = code.number, self._unused, self._inbox
        if number not in self._codes:

            def note(_: Any) -> None:  # in any thread
                unused.append(number)
                inbox.put(None)

            blob = code.blob()
            matters = code.torn_down or len(blob) >= LARGE
            self._tears_down = self._tears_down or code.torn_down
            told = weakref.ref(code, note) if matters else None
            self._codes[number] = self._send("code", w.keep, blob), told
            if len(self._codes) > CODES_KEPT:
                self._codes.popitem(last=False)  # tasks under way keep it alive
        self._codes.move_to_end(number)
        return self._codes[number][0]

    def _have_forgotten(self) -> None:
        """Have workers drop functions, without waiting for it."""
        numbers = [self._unused.popleft() for _ in range(len(self._unused))]
        for number in numbers:
            self._codes.pop(number, None)
        self._client.loop.add_callback(self._forgotten, numbers)

    def _drop_all(self) -> None:
        """Have workers drop all functions, and wait for it; not for long, where none is torn down."""
        done = asyncio.run_coroutine_threadsafe(self._forgotten(None), self._client.loop.asyncio_loop)
        done.add_done_callback(lambda _: self.wake())
        while not (self._tickets or self.hurried or done.done()):
            self._take(self._inbox.get(timeout=TORN_DOWN if self._tears_down else SENT))

    async def _forgotten(self, numbers: list[int] | None) -> None:
        with contextlib.suppress(Exception):  # workers may be gone, or at something that does not let them
            what = w.forget, self._topic, numbers, self._tears_down
            asked = self._client.run(*what, asynchronous=True, on_error="ignore")
            await asyncio.wait_for(asked, TORN_DOWN)

    def _send(self, name: str, function: Any, *args: Any, priority: int = 2) -> Any:
        name = name.encode("utf-8", "replace").decode()  # what cannot be encoded would break Dask's stream
        key = (f"mrpy-{name}-{self._mark}", next(self._numbers))
        # what a task needs travels with it, so that Dask can run it again: large is no mistake here
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 PiB"}):
            return self._client.submit(
                function, *args, key=key, pure=False, priority=priority, fifo_timeout="0 ms"
            )

    def _interrupt(self, number: int, address: str, pid: int) -> None:
        """Without waiting. A worker of ours that does not even answer is killed from here: its task keeps the
        interpreter lock to itself."""
        client, topic, ours = self._client, self._topic, self._cluster is not None

        async def ask() -> None:
            asked = client.run(w.interrupt, topic, number, ours, workers=[address], asynchronous=True)
            try:
                await asyncio.wait_for(asked, w.GRACE + w.STUCK)
            except TimeoutError:
                if ours:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(pid, signal.SIGKILL)
            except Exception:  # noqa: S110 - it is gone, or so is the cluster
                pass

        client.loop.add_callback(ask)

    def _recount(self) -> None:
        """Ask how many threads the cluster has now, if it is not our own, without waiting."""
        client, inbox = self._client, self._inbox

        async def ask() -> None:
            with contextlib.suppress(Exception):
                inbox.put(sum((await client.nthreads(asynchronous=True)).values()))

        if self._cluster is None:
            client.loop.add_callback(ask)

    # ---- from the cluster ------------------------------------------------------------------------

    def _heard(self, event: tuple[float, Any]) -> None:
        """In Dask's thread: a worker told of a call. The scheduler's own words on us are no lists."""
        if isinstance(event[1], list | tuple):
            self._inbox.put(event[1])

    def _heard_of_team(self, event: tuple[float, Any]) -> None:
        if isinstance(event[1], dict) and event[1].get("action") in ("add-worker", "remove-worker"):
            self._inbox.put(event[1])

    def _take(self, message: Any) -> None:
        match message:
            case (int(number), str(status)):
                self._answered(number, status)
            case (_, w.SAID, pid, said):
                self.said.show(relay.to_show(marshal.loads(said), pid), len(said))
            case (int(number), int(kind), *details):
                self._told(number, kind, *details)
            case dict():
                if message["action"] == "remove-worker":
                    self._bury(message["worker"], expected=message.get("expected", False))
                self._recount()
            case int() if message:
                self._has(message)

    def _told(self, number: int, kind: int, what: Any, size: int = 0, note: bytes | None = None) -> None:
        ticket = self._tickets.get(number)
        if kind == w.RUNS and number in self._stopped:
            self._interrupt(number, what, size)
        if ticket is None:
            return  # stopped, or Dask makes a lost value again
        if kind == w.RUNS:
            ticket.address, ticket.pid = what, size
        elif kind == w.BEGAN:
            ticket.item = what
            self._facts.append(m.Began(ticket.order.task.key, ticket.order.attempt, what))
        else:
            ticket.seconds, ticket.size, ticket.note = what, size, note

    def _look_after_client(self) -> None:
        """Dask's own client gives up a scheduler that it cannot reach any more, and tells nobody: what was
        asked for then never comes. Nor does it from a worker of ours that somebody has stopped."""
        if self._client.status == "closed":
            self._facts += map(gone, self._tickets.values())
            self._tickets.clear()
            self._suspects = Suspects()
        if self._cluster is not None and any(each.is_timed for each in self._tickets.values()):
            dask_cluster.end_stopped(self._cluster)

    def _bury(self, address: str, expected: bool) -> None:
        """A worker is gone, with what ran there."""
        there = [each for each in self._tickets.values() if each.address == address and not each.stopping]
        for ticket, by_its_item in self._suspects.of_a_death(there):
            ticket.future.cancel()
            self._facts.append(lost(ticket, blame=not expected, by_its_item=by_its_item))
            self._answer(ticket)

    def _answered(self, number: int, status: str) -> None:
        ticket = self._tickets.get(number)
        if ticket is not None:
            self._facts.append(self._fact(ticket, status))
            self._answer(ticket)

    def _fact(self, ticket: Ticket, status: str) -> m.Fact:
        key, attempt, future = ticket.order.task.key, ticket.order.attempt, ticket.future
        if ticket.stopping:
            return m.Stopped(key, attempt)
        if status == "finished":
            self._values[key] = Far(future, ticket.size, ticket.note)
            return m.Succeeded(key, attempt, ticket.seconds)
        error = future.exception(timeout=PATIENCE) if status == "error" else None
        if isinstance(error, w.Raised):
            return m.Failed(key, attempt, codec.decode(codec.Payload(error.args[0])))
        if error is None and self._client.status not in ("running", "connecting"):
            return gone(ticket)
        if error is None or isinstance(error, KilledWorker):
            self._codes.clear()  # they may be gone as well: after a restart of the cluster, say
            if any(self._values[needed.key].is_gone() for needed in ticket.order.task.inputs):
                return orphaned(ticket)
            return lost(ticket, blame=error is not None)
        return m.Failed(key, attempt, of(BackendError(f"the cluster could not run the task: {error!r}")))

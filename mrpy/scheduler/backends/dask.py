"""A Dask cluster: one that is there, or one of our own on this machine.

    driver's thread            Dask's threads            scheduler, workers
      start ─> client.submit ────────────────────────────> dask_worker.run
      stop  ─> future.cancel (and, ours, interrupt) ─────> dask_ending.interrupt
      wait  <─ Inbox <─ future is done <────────────────── Stored, Raised
                     <─ events <────────────────────────── it runs; an item began; what it says; it is through

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
import marshal
import os
import time
import uuid
from functools import partial
from itertools import count
from queue import Empty
from typing import Any

import dask.config
from distributed.scheduler import KilledWorker

from mrpy.errors import BackendError
from mrpy.scheduler import codec
from mrpy.scheduler import messages as m
from mrpy.scheduler.backends import dask_cluster, dask_fit, dask_offload, dask_reach, relay
from mrpy.scheduler.backends import dask_ending as ending
from mrpy.scheduler.backends import dask_worker as w
from mrpy.scheduler.backends.base import Backend, Value
from mrpy.scheduler.backends.dask_deserted import Deserted, say
from mrpy.scheduler.backends.dask_functions import TORN_DOWN, Functions
from mrpy.scheduler.backends.dask_tickets import GONE, ORPHANED, SIGSTOP, Suspects, Ticket, failed, lost
from mrpy.scheduler.backends.dask_values import Far, Making
from mrpy.scheduler.calls import Call
from mrpy.scheduler.inbox import Inbox
from mrpy.scheduler.said import Said

AHEAD = 2  # tasks given to the cluster per thread: one runs, one waits
PART_ALONE = 64 * 1024  # bytes; a smaller value in parts moves as a whole, a larger one is taken apart first
STOPPED = 1000  # attempts that may be about to begin: more than are under way
LOOK = 5.0  # seconds between two looks at the client, while nothing comes
SENT = 0.5  # seconds for a message to arrive that nobody needs an answer to
LOOK_SOON = 0.5  # seconds, where it has lost its scheduler


class DaskBackend(Backend):
    """The workers of the cluster at `address`, or of a `client`: `limit` tasks at the same moment, or 0: as
    many as they have threads; or else as many of our own as `workers`."""

    name, near, spills = "dask", False, False

    def __init__(self, workers: int, *, limit: int = 0, **there: Any) -> None:
        self._inbox: Inbox[Any] = Inbox()
        self._facts: list[m.Fact] = []
        self.said = Said()
        self._tickets: dict[int, Ticket] = {}
        self._stopped: dict[int, Any] = {}  # stopped, and may be about to begin: Dask's keys
        self._suspects, self._numbers = Suspects(), count(1)
        self._misfits: dict[str, str] = {}  # workers that cannot open what we send, and why
        self._values: dict[m.Key, Far] = {}
        self._on_their_way: list[Far] = []  # that somebody waits for
        self._silent = 0  # workers that have said all
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
        atexit.register(self._end)  # now, so that it comes before the exit of Dask itself

    def _connect(self, workers: int, address: str | None = None, client: Any = None) -> None:
        security = None
        if client is not None:  # a connection of our own to the same place: we leave no trace in the user's
            dask_fit.check(client)
            address, security = client.scheduler.address, client.security
        if address is None:
            self._quiet.enter_context(dask_cluster.quiet())
            self._cluster = dask_cluster.start(workers)
            address = self._cluster.scheduler_address
        elif client is None:
            dask_reach.check_address(address)
        self._client = dask_reach.connect(address, security)
        dask_cluster.steady(self._client.loop)
        dask_offload.outlast_the_main_thread()
        self._topic = self._client.id  # Dask forgets these events some time after we are gone
        self._functions = Functions(self._client, self._topic, self._send, self.wake)
        self._client.subscribe_topic(self._topic, self._heard)
        self._client.subscribe_topic("all", self._heard_of_team)
        if self._cluster is not None:
            self._client.wait_for_workers(1, timeout=dask_reach.PATIENCE)
            self._has(workers)
        else:
            self._deserted = Deserted(self._client.scheduler.address)
            there = self._client.sync(dask_fit.threads_of, self._client)
            self._deserted.has(len(there))
            self._has(sum(there.values()) or 1)
            # Subscriptions begin some time after they were asked for. A task comes behind them in the same
            # stream: once it is done, no worker can join unheard, and those that did are counted.
            self._first = self._client.submit(int, pure=False, key=f"mrpy-{self._mark}-first")
            dask_offload.when_done(self._first, lambda _: self._recount())

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
        number = ticket.number
        try:
            ticket.future = self._submit(ticket)
            dask_offload.when_done(ticket.future, lambda future: self._inbox.put((number, future.status)))
        except Exception as error:
            self._answer(ticket)
            self._facts.append(failed(ticket, f"the task could not be handed to the cluster: {error}"))

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
                ticket.future.cancel()
                if self._cluster is not None:  # others' workers hear of it by Dask itself
                    self._stopped[ticket.number] = ticket.future.key
                    if len(self._stopped) > STOPPED:
                        self._stopped.pop(next(iter(self._stopped)))
                    if ticket.address is not None:
                        ending.end(self._client, ticket.future.key, ticket.address, ticket.pid)
                return

    def wait(self, timeout: float | None) -> list[m.Fact]:
        end = None if timeout is None else time.monotonic() + timeout
        while not self._facts:
            look = LOOK_SOON if self._client.status == "connecting" else LOOK
            left = look if end is None else max(0.0, min(look, end - time.monotonic()))
            try:
                message = self._inbox.get(left)
            except Empty:
                self._look_after_client()
                if left < look:
                    break
                continue
            if message is None:
                break
            self._take(message)
        while self._inbox:  # nobody else takes from it
            self._take(self._inbox.popleft())
        self._functions.drop_unused()
        facts, self._facts = self._facts, []
        return facts

    def wake(self) -> None:
        self._inbox.put(None)

    def fetch(self, key: m.Key) -> Value:
        return self._values[key]

    def bring(self, value: Any, until: float) -> bool:
        return bool(value.bring(until))

    def release(self, key: m.Key) -> None:
        self._values.pop(key, None)

    def close(self) -> None:
        if self._closed or os.getpid() != self._pid:  # a forked child owns nothing of it
            return
        self._closed = True
        atexit.unregister(self._end)
        if self._client is not None and self._cluster is None:
            for ticket in list(self._tickets.values()):
                with contextlib.suppress(Exception):
                    self.stop(ticket.order.task.key, ticket.order.attempt)
        if self._client is not None:
            with contextlib.suppress(Exception):
                self._drop_all()
        for held in (self._tickets, self._values):
            held.clear()
        with dask_cluster.quiet(), contextlib.suppress(Exception):
            self._disconnect()
        self._quiet.close()

    def _end(self) -> None:
        """At exit. The driver's thread would take from the inbox what the end of a worker waits for."""
        end = self.end_in_order and self.end_in_order()
        (end or self.close)()

    def _disconnect(self) -> None:
        if self._client is not None:
            for topic in (self._topic, "all"):
                self._client.unsubscribe_topic(topic)
            dask_reach.disconnect(self._client)
        if self._cluster is not None:
            dask_cluster.stop(self._cluster)

    # ---- to the cluster --------------------------------------------------------------------------

    def _submit(self, ticket: Ticket) -> Any:
        if self._misfits:
            raise BackendError(next(iter(self._misfits.values())))
        if self._is_gone():
            raise BackendError(GONE)
        task = ticket.order.task
        futures, parts = [], []
        for needed in task.inputs:
            value = self._values[needed.key]
            alone = needed.part is not None and value.nbytes > PART_ALONE
            futures.append(self._send("part", w.pick, value.future, needed.part) if alone else value.future)
            parts.append(None if alone else needed.part)
        data = w.Stored([task.call.data], False)
        # else the item before one that keeps the interpreter lock would be taken for the one that overran
        sure = ticket.order.attempt > 1 or task.timeout is not None
        care = w.Care(ticket.order.careful, ticket.order.careful and sure)
        code, ours = task.call.code, self._cluster is not None
        function = self._functions.future_of(code)
        names = self._topic, ticket.number, code.number, function.key
        sent = w.Sent(*names, data, tuple(parts), care, task.timeout, ours)
        return self._send(code.name, w.run, sent, function, *futures, priority=int(task.urgent))

    def _drop_all(self) -> None:
        """Have workers drop all functions, and wait for it; not for long, where none is torn down."""
        loop, patience = self._client.loop.asyncio_loop, TORN_DOWN if self._functions.tear_down else SENT
        dropped = asyncio.run_coroutine_threadsafe(self._functions.drop_all(), loop)
        dropped.add_done_callback(lambda _: self.wake())
        while not (self._tickets or self.hurried or (dropped.done() and self._silent >= dropped.result())):
            self._take(self._inbox.get(SENT if dropped.done() else patience))

    def _send(self, name: str, function: Any, *args: Any, priority: int = 2) -> Any:
        name = name.encode("utf-8", "replace").decode()  # what cannot be encoded would break Dask's stream
        key = (f"mrpy-{name}-{self._mark}", next(self._numbers))
        # what a task needs travels with it, so that Dask can run it again: large is no mistake here
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 PiB"}):
            return self._client.submit(
                function, *args, key=key, pure=False, priority=priority, fifo_timeout="0 ms"
            )

    def _recount(self, new: str | None = None) -> None:
        """Ask which workers somebody else's cluster has now, and whether a new one fits, without waiting."""
        client, inbox = self._client, self._inbox

        async def ask() -> None:
            with contextlib.suppress(Exception):
                if new is not None:
                    inbox.put((new, await dask_fit.problem_of(client, new)))
                inbox.put(await client.nthreads(asynchronous=True))

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
            case (_, w.ALL_SAID):
                self._silent += 1
            case (int(number), int(kind), *details):
                self._told(number, kind, *details)
            case {"action": "remove-worker", "worker": worker}:
                self._bury(worker, expected=message.get("expected", False))
                self._recount()
            case {"action": _, "worker": worker}:
                self._recount(worker)
            case (str(worker), str(problem)) if problem:
                self._misfits[worker] = problem
                self._give_up(problem)
            case dict():
                self._misfits = {worker: why for worker, why in self._misfits.items() if worker in message}
                self._deserted.has(len(message))
                if message:
                    self._has(sum(message.values()))

    def _told(self, number: int, kind: int, what: Any, size: int = 0, note: bytes | None = None) -> None:
        ticket = self._tickets.get(number)
        if kind == w.RUNS and number in self._stopped:
            ending.end(self._client, self._stopped[number], what, size)
        if ticket is None:
            return  # stopped, or Dask makes a lost value again
        if kind == w.RUNS:
            ticket.address, ticket.pid, ticket.since = what, size, time.monotonic()
        elif kind == w.BEGAN:
            ticket.item, ticket.since = what, time.monotonic()
            self._facts.append(m.Began(ticket.order.task.key, ticket.order.attempt, what))
        else:
            ticket.seconds, ticket.size, ticket.note = what, size, note
            self._facts.append(m.Through(ticket.order.task.key, ticket.order.attempt))

    def _is_gone(self) -> bool:
        return dask_reach.is_lost(self._client)

    def _look_after_client(self) -> None:
        """Dask's own client gives up a scheduler that it cannot reach any more, and tells nobody: what was
        asked for then never comes. Nor does it from a worker of ours that somebody has stopped."""
        if self._is_gone():
            self._give_up(GONE)
        elif self._cluster is None:
            if (self._tickets or self._on_their_way) and (said := self._deserted.look()):
                self.said.show(partial(say, said))
        elif any(t.is_timed for t in self._tickets.values()) or any(v.is_timed for v in self._on_their_way):
            ended = dask_cluster.end_stopped(self._cluster)
            for address in {each.address for each in self._tickets.values() if each.pid in ended}:
                self._bury(address, stopped=True)

    def _give_up(self, why: str) -> None:
        """What was asked for never comes."""
        self._facts += [failed(ticket, why) for ticket in self._tickets.values()]
        for ticket in self._tickets.values():
            if ticket.future is not None and self._client.status == "running":
                ticket.future.cancel()
        self._tickets.clear()
        self._suspects = Suspects()

    def _bury(self, address: str | None, *, expected: bool = False, stopped: bool = False) -> None:
        """A worker is gone, with what ran there. ``stopped``: by SIGSTOP, before."""
        there = [each for each in self._tickets.values() if each.address == address and not each.stopping]
        for ticket, by_its_item in self._suspects.of_a_death(there):
            ticket.future.cancel()
            how = SIGSTOP if stopped else dask_cluster.how_it_died(self._cluster, ticket.pid)
            self._facts.append(lost(ticket, not expected, by_its_item=by_its_item, how=how))
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
            making = Making(ticket.order.task.retries, ticket.is_timed)
            self._values[key] = Far(future, ticket.size, ticket.note, self._on_their_way, making)
            return m.Succeeded(key, attempt, ticket.seconds)
        error = future.exception(timeout=dask_reach.PATIENCE) if status == "error" else None
        if isinstance(error, w.Raised):
            return m.Failed(key, attempt, codec.decode(codec.Payload(error.args[0])))
        if error is None and self._is_gone():
            return failed(ticket, GONE)
        if error is None or isinstance(error, KilledWorker):
            self._functions.send_again()  # they may be gone as well: after a restart of the cluster, say
            if any(self._values[needed.key].is_gone() for needed in ticket.order.task.inputs):
                return failed(ticket, ORPHANED)
            return lost(ticket, blame=error is not None)
        return failed(ticket, f"the cluster could not run the task: {error!r}")

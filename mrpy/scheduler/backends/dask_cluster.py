"""A Dask cluster of our own on this machine, for people who have none.

    this process                              a process per worker, in a session of its own
      Scheduler (Dask's thread) <────────────── Worker
      WorkerProcess: starts it anew if it dies
        lifeline ──────────────────────────────╯

It differs from Dask's LocalCluster in two ways. The workers do not import the user's main module again, so
no ``if __name__ == "__main__"`` is needed. And they die with us: when the lifeline closes, even by a
``kill -9``, the kernel kills the worker and its children; a Ctrl-C in the terminal does not reach them.
There is no nanny: it would be one more process, and its semaphores would outlive a kill. So a worker is
never paused for the memory that its process has: who would end the pause? And none is given up for being
silent, as one is while an item keeps the interpreter lock: of a death we hear from the kernel.

And the wall clock may be set back (`steady`); Dask would send nothing until it has caught up.
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from _thread import RLock
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.process import current_process
from pathlib import Path
from typing import Any

import dask.config
import psutil
from distributed import Scheduler, Worker, batched, utils
from distributed.deploy.spec import ProcessInterface, SpecCluster
from tornado.ioloop import IOLoop

from mrpy.scheduler.backends import orphans, worker_handle
from mrpy.scheduler.backends.frozen import is_frozen
from mrpy.scheduler.backends.spawn import HASH_SEED, HOME, environment, interpreter
from mrpy.scheduler.backends.worker_main import die_with_parent, show_hash_seed

EVENTS_KEPT = 1000  # by the scheduler, which is in the user's process; nobody reads them
LONGEST_KEY = 4096  # bytes; those that `multiprocessing` makes have 32
PAUSE = 0.1  # seconds between the death of a worker and the next
A_MOMENT = 1.0  # seconds between the end of a worker's connection, and that of its process
# there is always an HTTP server; without an address it would be on port 8787, for all the world
_PLACE: dict[str, Any] = {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"}
# by what the process has, which may be the user's own; values go to disk by what they themselves take
_UNWATCHED = {"distributed.worker.memory.pause": False, "distributed.worker.memory.spill": False}
_BOOT = (
    "import sys; sys.path.append({home!r}); "
    "from mrpy.scheduler.backends.dask_cluster import serve; serve{told}"
)


class WorkerProcess(ProcessInterface):
    """A place for a worker, as a SpecCluster wants it: a process, and another one when that dies."""

    def __init__(self, scheduler: str, name: object, spill: str) -> None:
        super().__init__(name=name)
        self._spill = spill
        self._scheduler = scheduler
        self._keeper: asyncio.Task[None] | None = None
        self._lifeline = contextlib.ExitStack()  # our end of it, where there is a process
        self.pid = 0  # of the one that is there now
        self.ends: dict[int, Future[int]] = {}  # exit codes, of that one and of the one before

    async def start(self) -> None:
        self._keeper = asyncio.create_task(self._keep(await self._spawn()))
        await asyncio.sleep(0)  # it begins: the end of what has not begun would leave the process
        await super().start()

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        await super().close()

    async def _keep(self, process: asyncio.subprocess.Process) -> None:
        while True:
            try:
                self.ends[process.pid].set_result(await process.wait())
            finally:
                self.pid = 0
                orphans.kill(process.pid)  # and all that the user's code started there
                await process.wait()
                self._lifeline.close()
            process = await self._again()

    async def _again(self) -> asyncio.subprocess.Process:
        while True:
            await asyncio.sleep(PAUSE)
            with contextlib.suppress(OSError):  # there are too many files, or processes, just now
                return await self._spawn()

    async def _spawn(self) -> asyncio.subprocess.Process:
        ours, theirs = socket.socketpair()
        self._lifeline.enter_context(ours)
        ours.sendall(b"=" + current_process().authkey)
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        told = (theirs.fileno(), self._scheduler, self._spill, os.environ.get(HASH_SEED))
        boot = _BOOT.format(home=HOME, told=told)
        threads = {name: str(n) for name, n in dask.config.get("distributed.nanny.pre-spawn-environ").items()}
        with theirs, contextlib.ExitStack() as broken_off:
            broken_off.callback(self._lifeline.close)
            process = await asyncio.create_subprocess_exec(
                interpreter(), *flags, "-P", "-c", boot,
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env=environment(threads),
            )  # fmt: skip
            broken_off.pop_all()
        self.pid = process.pid
        self.ends = {**dict(list(self.ends.items())[-1:]), process.pid: Future()}
        return process


class _Hush(logging.Filter):
    """Not a level: others (a `LocalCluster`) set that too, and back to what they have found."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _hushed


_hushed, _hushing, _hush = 0, RLock(), _Hush()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Dask's log is shown to nobody until the last of those that want that has ended."""
    global _hushed
    with _hushing:
        _hushed += 1
        for handler in logging.getLogger("distributed").handlers:
            if isinstance(handler, logging.StreamHandler):  # as Dask itself has it
                handler.addFilter(_hush)
    try:
        yield
    finally:
        with _hushing:
            _hushed -= 1


def start(workers: int) -> SpecCluster:
    """Start it. Its workers come up a moment later."""
    if is_frozen():
        raise FileNotFoundError("a frozen program has no interpreter for workers of Dask; give it an address")
    spill = _spill_folder()
    kept: dict[str, Any] = {
        "distributed.admin.low-level-log-length": EVENTS_KEPT,
        "distributed.scheduler.worker-ttl": None,
        "temporary-directory": spill,  # else its scheduler leaves a folder in the one for all
    }
    with dask.config.set(kept), contextlib.ExitStack() as broken_off:
        broken_off.callback(_clear_away, spill, os.getpid())
        cluster = SpecCluster(
            scheduler={
                "cls": Scheduler,
                # Dask blames what merely queued on a dead worker too; who killed it is found by us
                "options": {**_PLACE, "port": 0, "allowed_failures": 20},
            },
            workers={n: {"cls": WorkerProcess, "options": {"spill": spill}} for n in range(workers)},
            name="mrpy",
            silence_logs=False,  # who starts it does that, for longer
        )
        broken_off.pop_all()
    cluster.spill_folder = spill  # type: ignore[attr-defined]
    with contextlib.suppress(ValueError):  # that is the user's process: nothing is imported from there
        sys.path.remove(getattr(cluster.scheduler, "local_directory", ""))
    weakref.finalize(cluster, _clear_away, spill, os.getpid())  # at the end of the program, at the latest
    steady(cluster.loop)
    return cluster


def _in_a_child() -> None:
    """Our clusters are not a forked child's, so it does not end them. And Dask opens messages in a thread,
    which the child has not: it gets one of its own, for a cluster of its own."""
    for cluster in list(SpecCluster._instances):
        if hasattr(cluster, "spill_folder"):
            cluster.shutdown_on_close = False
    utils._offload_executor = ThreadPoolExecutor(1, thread_name_prefix="Dask-Offload")


os.register_at_fork(after_in_child=_in_a_child)


def end_stopped(cluster: SpecCluster) -> list[int]:
    """Kill workers that are stopped (SIGSTOP); others come in their place. Say which these were."""
    pids = [worker.pid for worker in list(cluster.workers.values())]
    pids = [pid for pid in pids if pid and worker_handle.is_stopped(pid)]
    for pid in pids:
        orphans.kill(pid)
    return pids


def how_it_died(cluster: SpecCluster | None, pid: int) -> str:
    """How a worker with this pid has ended, in words; empty where it was not ours. Its connection may have
    been lost a moment before it has."""
    for worker in [] if cluster is None else list(cluster.workers.values()):
        if pid in worker.ends:
            with contextlib.suppress(TimeoutError):
                return worker_handle.how_it_died(worker.ends[pid].result(A_MOMENT))
    return ""


def stop(cluster: SpecCluster) -> None:
    """End it, and clear away what its workers spilled to disk: they were killed and could not."""
    try:
        cluster.close()
    finally:
        _clear_away(cluster.spill_folder, os.getpid())  # type: ignore[attr-defined]


def _clear_away(spill: str, owner: int) -> None:
    if os.getpid() == owner:  # to a forked child it does not belong
        shutil.rmtree(spill, ignore_errors=True)


def serve(lifeline: int, scheduler: str, spill: str, hash_seed: str | None) -> None:
    """The life of a worker. ``hash_seed``: that of our environment."""
    show_hash_seed(hash_seed)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    line = socket.socket(fileno=lifeline)
    current_process().authkey = line.recv(LONGEST_KEY)[1:]  # so proxies of the user's managers work there too
    die_with_parent(line)
    asyncio.run(_live(scheduler, spill))


async def _live(scheduler: str, spill: str) -> None:
    steady(IOLoop.current())
    with dask.config.set(_UNWATCHED):
        worker = Worker(
            scheduler, nthreads=1, silence_logs=logging.CRITICAL, local_directory=spill, **_PLACE
        )
    async with worker:
        await worker.finished()


def steady(loop: Any) -> None:
    """Have a loop of ours that runs Dask go by a clock that nobody sets.

    Dask sends messages in batches, the next one not before a time on the wall clock that is milliseconds
    ahead. Where the clock is set back by an hour meanwhile, it is an hour ahead, and so long nothing is
    sent: no error, no answer. So a stream asks the loop that it runs on for the time, as that loop's
    timers do. Loops that are not ours go by the wall clock, as before.
    """
    ahead = loop.time() - time.monotonic()
    loop.time = lambda: ahead + time.monotonic()
    batched.time = lambda: IOLoop.current().time()  # type: ignore[attr-defined]


def _spill_folder() -> str:
    """A new folder that only its owner can read. Those of parents that were killed are cleared away."""
    base = Path(dask.config.get("temporary-directory") or tempfile.gettempdir())
    for old in base.glob("mrpy-dask-*-*"):
        pid = old.name.split("-")[2]
        with contextlib.suppress(FileNotFoundError):  # another process clears it, too
            ours = old.lstat().st_uid == os.getuid()
            if ours and pid.isdigit() and not psutil.pid_exists(int(pid)):
                shutil.rmtree(old, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"mrpy-dask-{os.getpid()}-", dir=base)

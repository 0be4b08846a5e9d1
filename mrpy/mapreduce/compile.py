"""From a plan to tasks: the source is cut while results are being consumed, never ahead of the window.

`Feeder` turns stretches of the source into tasks of a job and keeps the account of law 3: what was
pulled and is not settled yet stays within the window. It also deals with chunks in which something
went wrong that is no fault of their other items - an item that killed its worker, ran out of time, or
does not pickle: the chunk is sent once more, without the culprit or with every item pickled apart.
What was done in part, or was too much for a worker, is put back and cut again (`mrpy.mapreduce.cutting`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import perf_counter

from mrpy.errors import OF_THE_SESSION, ItemTimeout, ResultLost, SerializationError, WorkerCrashed
from mrpy.light import Any, Self
from mrpy.mapreduce.account import Account
from mrpy.mapreduce.checkpoint import Checkpoint
from mrpy.mapreduce.chunking import A_PART, LARGEST_UNSEEN, LIVE, SLOW, SOON, Chunker
from mrpy.mapreduce.chunks import Chunk, Outcome, index_of, said
from mrpy.mapreduce.cut_again import ask_back, may_cut_again, may_guess, patience
from mrpy.mapreduce.cutting import Cutter, Stretch
from mrpy.mapreduce.kernels import MapChunk
from mrpy.mapreduce.plan import Plan
from mrpy.mapreduce.skipped import Skipped
from mrpy.mapreduce.slots import Slot
from mrpy.mapreduce.tree import LARGEST, Growth, leaf_end, leaf_size
from mrpy.mapreduce.window import Window, shared
from mrpy.options import Options
from mrpy.scheduler.calls import Call, Code, apart
from mrpy.scheduler.driver import Delivery
from mrpy.scheduler.failure import EVERY, At, Failure
from mrpy.scheduler.job import Job
from mrpy.scheduler.messages import Key, Task
from mrpy.scheduler.sizes import about, about_apart, size_of
from mrpy.scheduler.states import State

KILLED = "killed by SIGKILL"  # how a worker ends that takes too much memory, among others


class Feeder:
    """Cuts, sends, and takes back.

    ``aligned``     chunks end where the leaves of a reduction do (see `mrpy.mapreduce.tree`)
    ``within_leaves``  chunks end at the end of a leaf at the latest
    ``in_a_loop``   of events, which is not to be blocked
    ``keep``        the values stay in the backend, for other tasks to use
    ``checkpoint``  chunks that are found there are not run; what is delivered is put there
    ``seed``        of the run, where its code has none, since others use it as well
    """

    aligned = False
    in_a_loop = False
    within_leaves = False
    keep = False
    checkpoint: Checkpoint | None = None
    seed: int | None = None

    def __init__(self, job: Job, plan: Plan, options: Options, code: Code, account: Account) -> None:
        self.job = job
        self.account = account
        self._options = options
        self._remote, workers = job.driver.backend.remote, job.driver.backend.workers
        self._weight: Callable[[Any], int] = getattr(plan.source, "weight", len)
        self._chunker = Chunker(options.chunksize, workers, code.cost)
        self.aim = self._chunker.aim
        self.use(code)
        self._chunker.guesses = self._gives_back and may_guess(options)
        self._chunker.spreads = job.driver.backend.threaded
        self._slots: dict[Key, Slot] = {}
        self._shared: dict[int, Any] = {}
        self._pace = 0.0  # seconds that the last chunk took to be cut
        self.kept = 0  # bytes of the largest value that stays in the backend
        self._again = 0  # what was counted as done, and was put back
        self._most: int = getattr(plan.source, "most", sys.maxsize)  # items of a chunk, but of one of leaves
        reader = plan.source.reader()
        self._close_source: Callable[[], object] = getattr(reader, "close", int)
        self._mend = getattr(reader, "mend", lambda *_: False)
        self._window = Window(options, workers)
        self._cutter = Cutter(reader, self._chunker, self._window, options, remote=self._remote)

    def use(self, code: Code) -> None:
        """From here on chunks are tasks of this code."""
        self.code = code
        self._cut_again = may_cut_again(code.function, self._options)
        near = self.job.driver.backend.near  # else a value may be made again, and be of more or fewer items
        self._gives_back = self._cut_again and near and self._options.chunksize == "auto"

    def sample(self, count: int) -> list[Any]:
        """The first items of the source, which are read again afterwards."""
        return self._cutter.sample(count)

    def ends(self) -> None:
        """There is nothing more: raise what the source has raised, behind all that it gave."""
        self._cutter.ends()

    # ---- cutting ---------------------------------------------------------------------------------

    def top_up(self, *, before: int | None = None, ready: bool = False) -> list[Slot]:
        """Send chunks while the window is open; return them. ``before``: only what was put back of the items
        before this one. ``ready``: there is something for the consumer, who is not to wait for a source that
        takes its time."""
        slots, tasks = list[Slot](), list[Task]()
        if self._pace > LIVE and (ready or (self._slots and self.job.comes_within(self._grace()))):
            return slots  # not where all that is out are tasks of others: who waits for chunks would be done
        began, pulling = perf_counter(), 0.0
        try:
            while not self._has_sent(before) and (size := self._room()) > 0:
                if pulling > SLOW and slots and not self.job.driver.backend.threaded:
                    break  # nothing runs while this pulls
                if tasks and perf_counter() - began > SOON:
                    cut, tasks = tasks, []
                    self.job.add(*cut)
                    if pulling > SLOW and (ready or self.job.comes_within(self._grace())):
                        break
                    began = perf_counter()
                known = self._known(self._cutter.position)
                pulls = perf_counter()
                stretch = self._cutter.cut(known[0] if known is not None else size)
                self._pace = perf_counter() - pulls
                pulling += self._pace
                if stretch is None:
                    break
                chunk, slot = stretch.chunk, Slot(*stretch)
                if known is not None and known[0] == len(chunk.data):
                    (slot.result, note), slot.done = apart(known[1]), True
                    self.account.skip(note, self._options.max_errors)
                else:
                    tasks.append(self._task(slot))
                slots.append(slot)
                slot.end = chunk.first + len(chunk.data)
                self._window.sent(len(chunk.data), slot.nbytes, awaited=not slot.done)
                if chunk.budget is None:  # else how many items it was is known when it is answered
                    self._count(slot)
        finally:
            if tasks:
                self.job.add(*tasks)
        return slots

    def _grace(self) -> float:
        """Seconds that an answer may take to come before the source is asked for more, which holds it up."""
        return 0.0 if self.in_a_loop else min(A_PART * self._pace, SLOW)

    def _has_sent(self, before: int | None) -> bool:
        return self._cutter.ended if before is None else not self.has_a_gap(before)

    def has_a_gap(self, before: int) -> bool:
        """Whether items before this one were put back, and not sent again."""
        return self._cutter.in_a_gap and self._cutter.position < before

    def _known(self, position: int) -> tuple[int, Any] | None:
        """How many items the chunk spans that begins there, and what was made of it, if that is known."""
        known = self.checkpoint.get(position) if self.checkpoint is not None else None
        note: Skipped | None = apart(known[1])[1] if known is not None else None
        as_now = note is None or (self._options.on_error == "skip" and not note.replaced)
        return known if as_now else None  # what was left out is wanted now, or another thing in its place

    def _room(self) -> int:
        """How many items the next chunk may take; 0: the window is closed."""
        remaining, position = self._cutter.remaining(), self._cutter.position
        if self.keep and remaining is not None:
            self._chunker.largest = LARGEST_UNSEEN
        size = self._window.room(self._chunker, remaining, in_a_gap=self._cutter.in_a_gap)
        if not (self.aligned or self.within_leaves):
            return min(size, self._most)
        growth = self._cutter.growth = self._cutter.growth or Growth()
        if self.within_leaves:
            return min(size, leaf_end(position, growth.largest) - position)
        return self._window.aligned(size, position, growth.largest)

    def _count(self, slot: Slot) -> None:
        if not slot.counted:
            slot.counted = True
            self.account.sent(len(slot.chunk.data), slot.chunk.piece)

    def narrower_than_a_leaf(self) -> bool:
        """Whether the window may be too small for a leaf of this source."""
        remaining, limit = self._cutter.remaining(), self._options.buffersize
        largest = LARGEST if remaining is None else leaf_size(max(0, remaining - 1))
        return self._options.buffer_bytes is not None or (isinstance(limit, int) and limit < largest)

    def _task(self, slot: Slot) -> Task:
        """A task for a chunk."""
        began = perf_counter()
        task = self._packed(slot)
        self.account.pickling += perf_counter() - began
        data = task.call.data.data if isinstance(task.call.data, Chunk) else task.call.data
        slot.travelling = about(data) if self._cutter.counts_bytes else 0
        if self._window.counts_bytes and slot.key is None:  # when sent again it counts as it did
            slot.nbytes = size_of(data)
        slot.key = task.key
        self._slots[task.key] = slot
        return task

    def _packed(self, slot: Slot) -> Task:
        """A task with a chunk that can travel. What does not pickle is found item by item."""
        size = self._weight(slot.chunk.data)
        self._again -= (again := min(size, self._again))
        settings: dict[str, Any] = {"keep": self.keep, "timeout": self._options.timeout, "size": size}
        settings.update(again=again, careful=bool(slot.chunk.excluded))
        slot.chunk = slot.chunk._replace(seed=self.seed, gives_back=self._gives_back)
        if not slot.chunk.separately:
            try:
                return self.job.task(Call(self.code, slot.chunk, self._shared), **settings)
            except SerializationError:
                slot.chunk = slot.chunk._replace(separately=True)
        return self.job.task(Call(self.code, slot.chunk.for_travel(), self._shared), **settings)

    def has_out(self, key: Key) -> bool:
        """Whether this is the task of one of its chunks."""
        return key in self._slots

    # ---- taking back -----------------------------------------------------------------------------

    def next(self) -> Delivery:
        """Block until one more task has ended."""
        began, times = perf_counter(), 0
        try:
            while (delivery := self.job.next_within(self._patience(times))) is None:
                ask_back(self._slots, self.job)
                times += 1
            return delivery
        finally:
            self.account.waiting += perf_counter() - began

    async def next_async(self) -> Delivery:
        """As `next`, without blocking the event loop."""
        began, times = perf_counter(), 0
        try:
            while (delivery := await self.job.next_async(self._patience(times))) is None:
                ask_back(self._slots, self.job)
                times += 1
            return delivery
        finally:
            self.account.waiting += perf_counter() - began

    def _patience(self, times: int) -> float | None:
        few = self._cutter.ended and len(self._slots) < self.job.driver.backend.workers
        return patience(self._slots, times, few=few)

    def take(self, delivery: Delivery) -> Slot | None:
        """Take in how a chunk's task ended: the slot that is done now, or None if it was sent again."""
        slot = self._slots.pop(delivery.key)
        if delivery.state is State.DONE:
            self.account.took(delivery)
            if not self._opened(slot, delivery):
                return None
            self._learn(slot, delivery)
        else:
            failure = delivery.failure
            assert failure is not None, "nobody but us abandons our tasks"
            if self._send_again(slot, failure):
                return None
            slot.failure = failure
        slot.done, slot.end = True, slot.chunk.first + len(slot.chunk.data)
        self._count(slot)
        self._window.arrived(len(slot.chunk.data), slot.nbytes_back)
        return slot

    def _learn(self, slot: Slot, delivery: Delivery) -> None:
        """What a chunk tells of those that follow. What was not done of it is put back."""
        items, done = len(slot.chunk.data), said(delivery.note).done
        if done is not None:
            self._again += self._weight(slot.chunk.data[done:])
            self._put_back(slot, done)
        nbytes = slot.travelling * len(slot.chunk.data) // items
        if delivery.value is not None:  # lists, say, are small as pickles only
            nbytes += max(delivery.nbytes, about_apart(slot.result) if self._remote else 0)
        else:
            self.kept = max(self.kept, delivery.nbytes)
        if not slot.chunk.excluded:  # these cost nothing
            made = len(slot.chunk.data)
            self.code.cost = self._chunker.learn(made, delivery.seconds, nbytes, sure=slot.asked)
        slot.asked = False

    def _put_back(self, slot: Slot, items: int) -> None:
        """Of a chunk that was sent only so many items are, or will be, done: the others are cut again."""
        whole = len(slot.chunk.data)
        head, tail = Stretch(slot.chunk, slot.receipts).split(items)
        slot.chunk, slot.receipts = head
        self._cutter.put_back(tail)
        nbytes = slot.nbytes * tail.items // whole
        slot.nbytes -= nbytes
        self._window.put_back(tail.items, nbytes)
        if slot.counted:
            self.account.items -= tail.items

    def settle(self, slot: Slot) -> None:
        """The results of this chunk are with the consumer: the window opens by its items."""
        left = len(slot.chunk.data) - slot.passed
        self._window.settled(left, slot.nbytes + slot.nbytes_back, slot.receipts)

    def hands_over(self) -> bool:
        """Whether the consumer is a run itself, and one of the two keeps account of single items."""
        outer = self._window.puller()
        return outer is not None and (outer.is_counted or self._window.is_counted)

    def passing(self, slot: Slot, share: float) -> None:
        """The same of a share of this chunk, for a consumer that is a run itself and keeps account of it."""
        items, left = len(slot.chunk.data), len(slot.chunk.data) - slot.passed
        passed = int(items * share)
        receipts, slot.receipts = shared(slot.receipts, passed - slot.passed, max(1, left))
        self._window.passed(passed - slot.passed, receipts)
        slot.passed = passed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._window.close()  # first: an interrupted run is to be nobody's source, nor to have one
        self._shared.clear()
        self._close_source()

    def _opened(self, slot: Slot, delivery: Delivery) -> bool:
        """Open the results, here in the consumer's thread; or have them sent, or made, again."""
        note = said(delivery.note).skipped
        if delivery.value is None:
            self.account.skip(note, self._options.max_errors)
            return True
        began = perf_counter()
        try:
            result = delivery.value.load()
        except (ResultLost, SerializationError) as error:
            lost = isinstance(error, ResultLost)
            if slot.chunk.separately and not lost:
                raise
            self._again += self._weight(slot.chunk.data)
            self._resend(slot, slot.chunk if lost else slot.chunk._replace(separately=True))
            return False
        finally:
            self.account.pickling += perf_counter() - began
        if self._window.counts_bytes:
            slot.nbytes_back = max(delivery.value.nbytes, size_of(result))
        if isinstance(result, Outcome):
            note = note or Skipped(self._options.max_errors)
            result = result.opened(self._options.on_error, note)
        slot.result = result
        self.account.skip(note, self._options.max_errors)
        if self.checkpoint is not None and not isinstance(result, Outcome):
            kept = result if note is None else note.beside(result)
            self.checkpoint.put(slot.chunk.first, len(slot.chunk.data), kept)
        return True

    def _send_again(self, slot: Slot, failure: Failure) -> bool:
        """Whether a chunk that failed as a whole can be saved without the one that is to blame."""
        chunk, at = slot.chunk, failure.index
        if self._mend(failure, slot.key, self._slots):
            self._resend(slot, chunk)
            return True
        known = chunk.excluded.get(at) if at is not None else None
        if known is not None and isinstance(known.index, int):
            return False
        if isinstance(at, tuple) and (known or (at[1] == EVERY and self._options.on_error == "raise")):
            failure = failure._replace(index=at[0])  # its item ends there: it cannot be read, or the run ends
        if self._in_smaller_parts(slot, failure):
            return True
        if isinstance(failure.live, WorkerCrashed | ItemTimeout) and at is not None:
            self._without(slot, at, failure)
            return True
        if chunk.separately or not self._remote or failure.item or isinstance(failure.live, OF_THE_SESSION):
            return False
        self._resend(slot, chunk._replace(separately=True))
        return True

    def _without(self, slot: Slot, at: At, failure: Failure) -> None:
        """Send a chunk again but for this item. What comes behind it is cut again: others may do that, and it
        does not wait for more like this one."""
        behind = index_of(at) + 1
        if self.aligned:
            behind = leaf_end(slot.chunk.first + behind - 1, slot.chunk.largest) - slot.chunk.first
        if behind < len(slot.chunk.data) and self._cut_again:
            self._put_back(slot, behind)
        if self._options.timeout is not None and isinstance(failure.live, ItemTimeout):
            self._chunker.learn(1, self._options.timeout, 0, sure=True)
        excluded = {**slot.chunk.excluded, at: failure.at(slot.chunk.item(index_of(at)))}
        self._resend(slot, slot.chunk._replace(excluded=excluded))

    def _in_smaller_parts(self, slot: Slot, failure: Failure) -> bool:
        """Whether a chunk that may have taken too much memory is tried in parts: what comes before the item
        at work, that item, and the rest. So an item is blamed only for what it does by itself."""
        items = len(slot.chunk.data)
        killed = isinstance(failure.live, WorkerCrashed) and KILLED in failure.message
        if not (killed or failure.type_name == "MemoryError") or items == 1:
            return False
        if not isinstance(self.code.function, MapChunk):  # the chunks of a reduction end where its leaves do
            return False
        at = None if failure.index is None else index_of(failure.index)
        for end in [items // 2] if at is None else [at + 1, at]:
            if 0 < end < len(slot.chunk.data):
                self._put_back(slot, end)
        self._resend(slot, slot.chunk)
        return True

    def _resend(self, slot: Slot, chunk: Chunk) -> None:
        self.account.again += 1
        self.job.drop([slot.key])
        slot.chunk = chunk
        self.job.add(self._task(slot))

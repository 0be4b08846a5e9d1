"""Writing parts: a task per part, on the workers; here the receipts come in.

A part is what a task makes of its chunk. Where no chunksize is given a chunk takes longer than elsewhere, so
that parts are few and large: about `SECONDS` of work, `BYTES` written at most. What is small in all is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any, Protocol, cast

from mrpy.mapreduce.account import Account
from mrpy.mapreduce.check import ON_A_RUN, check_steps
from mrpy.mapreduce.chunking import BYTES as BYTES_IN_MEMORY
from mrpy.mapreduce.chunking import LARGEST_UNSEEN
from mrpy.mapreduce.compile import Feeder
from mrpy.mapreduce.parted import PartSource
from mrpy.mapreduce.plan import Plan, ready
from mrpy.mapreduce.sinks.parts import Format, Part, Written, settled
from mrpy.mapreduce.sinks.staging import Staging
from mrpy.mapreduce.sinks.write_chunk import WriteChunk
from mrpy.mapreduce.slots import Slot
from mrpy.mapreduce.sources import Sliced, Zipped
from mrpy.mapreduce.turns import completed
from mrpy.options import Options
from mrpy.scheduler.calls import Code
from mrpy.scheduler.driver import Delivery
from mrpy.scheduler.job import Job

SECONDS = 1.0  # that a task takes: what is lost at most when a worker dies, and long beside making a file
BYTES = 1 << 26  # of a part, about, as it lies on the disk; what others take for theirs


class Sink(Protocol):
    """Where results go. Made in the user's own call, and complains there if it cannot be."""

    path: str

    @property
    def format(self) -> Format:
        """How records become files."""

    @property
    def joins(self) -> bool:
        """Whether small parts are to be one: where somebody sees them."""

    def staging(self) -> Staging:
        """Where it is prepared."""

    def commit(self, staging: Staging, parts: Sequence[Part]) -> Written:
        """Make these parts, which are in order, the output: all of it in one step, or nothing."""


class _WritingFeeder(Feeder):
    """As `Feeder`. Receipts are small: it looks at what was written instead."""

    def __init__(
        self, job: Job, plan: Plan, options: Options, code: Code, account: Account, *, streams: bool
    ) -> None:
        super().__init__(job, plan, options, code, account)
        self.aim(SECONDS)
        self._cut_again = self._gives_back  # where a chunksize is given it says what a part is
        if streams and isinstance(plan.source, Sliced | Zipped):
            self._chunker.largest = LARGEST_UNSEEN

    def take(self, delivery: Delivery) -> Slot | None:
        slot = super().take(delivery)
        part: Any = slot.result if slot is not None else None
        if slot is not None and type(part) is Part:
            nbytes = part.nbytes * BYTES_IN_MEMORY // BYTES
            self._chunker.learn(len(slot.chunk.data), delivery.seconds, nbytes)
        return slot


def committed(sink: Sink, staging: Staging, parts: Sequence[Part], account: Account) -> Written:
    """Make them the output."""
    began = perf_counter()
    written = sink.commit(staging, parts)
    account.publishing = perf_counter() - began
    return written


def write_parts(
    plan: Plan, sink: Sink, staging: Staging, job: Job, options: Options, account: Account
) -> list[Part]:
    """Write what a plan yields; the parts that count, in order."""
    plan, rules = ready(plan, options, job)
    kernel = WriteChunk(plan.steps, rules, sink.format, staging.attempts, sink.path)
    code = Code(kernel, options.name or sink.format.label, announce=True)
    parts: dict[int, Part] = {}
    with _WritingFeeder(job, plan, options, code, account, streams=sink.format.streams) as feeder:
        if options.check:
            check_steps(plan.steps, feeder.sample(ON_A_RUN))
        with account.running(job):
            for slot in completed(feeder, lambda _: None):
                parts[slot.chunk.first] = cast("Any", slot.result)
    told = options.chunksize != "auto" or isinstance(plan.source, PartSource)  # what a part is
    joins = sink.joins and not told
    made = [part for _, part in sorted(parts.items()) if part.records]
    return settled(made, sink.format, staging.attempts, sink.path, joins=joins)

"""What a parallel iterator will do, and where its time went, in words."""

from __future__ import annotations

from typing import Any

from mrpy.inside import inside
from mrpy.mapreduce.account import Account
from mrpy.mapreduce.chunking import AHEAD, TARGET
from mrpy.mapreduce.plan import Plan
from mrpy.mapreduce.sources import Pulled
from mrpy.options import Options, origin

INDENT = " " * 10


def upstream(plan: Plan) -> list[Any]:
    """The parallel iterators that are the source of this plan."""
    iterable = plan.source.iterable if isinstance(plan.source, Pulled) else None
    return list(getattr(iterable, "upstream", ()))


def explained(plan: Plan, options: Options, given: Any, account: Account | None) -> str:
    """The text of `explain`, for one fused stage."""
    lines = _row("stage", [str(plan), _fusion(plan)])
    if plan.steps:
        lines += _row("chunks", [_chunks(options)])
        lines += _row("window", [_window(options)])
        lines += _row("order", ["as the source" if options.ordered else "as they are completed"])
        lines += _row("backend", [_backend(options, given)])
    if account is not None and account.chunks:
        lines += _row("it ran", _ran(account))
    return "\n".join(lines)


def _row(name: str, texts: list[str]) -> list[str]:
    return [f"{name:<{len(INDENT)}}{texts[0]}", *(INDENT + text for text in texts[1:])]


def _fusion(plan: Plan) -> str:
    cut = "pulled by the consumer" if isinstance(plan.source, Pulled) else "cut without being walked"
    if not plan.steps:
        return f"nothing to compute; the source is {cut}"
    steps = f"{len(plan.steps)} steps fused into one task per chunk" if len(plan.steps) > 1 else "one step"
    return f"{steps}; the source is {cut}"


def _chunks(options: Options) -> str:
    if options.chunksize == "auto":
        return f"auto: they grow until one takes about {TARGET * 1000:.0f} ms of a worker's time"
    return f"{options.chunksize} items each, as given"


def _window(options: Options) -> str:
    if options.buffersize == "auto":
        text = f"auto: {AHEAD} chunks per worker are out at most"
    else:
        text = f"{options.buffersize} items pulled and not yet yielded, at most"
    return text + (f", and {options.buffer_bytes:,} bytes" if options.buffer_bytes is not None else "")


def _backend(options: Options, given: Any) -> str:
    if inside.task:
        return "serial: inside a task everything is"
    count = 1 if options.backend == "serial" else options.worker_count
    return f"{options.backend}, {count} worker{'s' * (count != 1)} ({origin('backend', given)})"


def _ran(account: Account) -> list[str]:
    sizes = str(account.largest)
    if account.smallest < account.largest:
        sizes = f"{account.smallest} to {account.largest}"
    if account.tasks < account.chunks:
        sizes += f" in {account.tasks:,} messages"
    again = f", {account.again} sent again" if account.again else ""
    capacity = account.elapsed * account.workers or 1.0
    return [
        f"{account.items:,} items in {account.chunks:,} chunks of {sizes}{again}, {account.elapsed:.3f} s",
        f"computing {account.computing:.3f} s ({account.computing / capacity:.0%} of {account.workers} "
        f"{account.backend}), pickling {account.unpacking:.3f} s, idle {account.idle:.3f} s",
        f"the consumer: pickling {account.pickling:.3f} s, waiting {account.waiting:.3f} s",
    ]

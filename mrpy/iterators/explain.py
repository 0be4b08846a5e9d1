"""What a parallel iterator will do, and where its time went, in words."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from mrpy.inside import inside
from mrpy.mapreduce.account import Account
from mrpy.mapreduce.chunking import AHEAD, ITEMS_AHEAD, TARGET, Chunker
from mrpy.mapreduce.plan import Plan, for_records
from mrpy.mapreduce.skipped import Skipped
from mrpy.mapreduce.sources import Pulled, shows_its_plan
from mrpy.mapreduce.steps import name_of
from mrpy.options import Options, origin

Given: TypeAlias = Mapping[str, Any]

INDENT = " " * 10
WIDTH = 88  # characters of a line, unless a word is longer


def upstream(plan: Plan) -> list[Any]:
    """The runs that this plan takes from: each can `explain` itself and `_draw` itself."""
    return [*_of_the_source(plan), *_of_the_steps(plan)]


def _of_the_source(plan: Plan) -> list[Any]:
    iterable = plan.source.iterable if isinstance(plan.source, Pulled) else None
    if not shows_its_plan(iterable):
        return []
    return runs_among([iterable]) or list(getattr(iterable, "upstream", ()))


def _of_the_steps(plan: Plan) -> list[Any]:
    """Those that make what a step looks up."""
    return [run for step in plan.steps for run in getattr(step, "upstream", ())]


def runs_among(iterables: Iterable[object]) -> list[Any]:
    """Those of them that can be shown as runs."""
    return [each for each in iterables if hasattr(type(each), "_draw")]


def skips(plan: Plan, account: Account) -> list[Skipped]:
    """What was skipped in a run, behind what was in all that it comes from."""
    iterable: Any = plan.source.iterable if isinstance(plan.source, Pulled) else None
    runs = [iterable] if hasattr(type(iterable), "_skips") else _of_the_source(plan)
    before = [each for run in (*runs, *_of_the_steps(plan)) for each in run._skips()]
    return list({id(each): each for each in (*before, account.skipped)}.values())


def explained(plan: Plan, options: Options, given: Given, account: Account) -> str:
    """The text of `explain`, for a plan and all that it comes from."""
    before = [source.explain() for source in upstream(plan)]
    return "\n\n".join([*before, stage(for_records(plan), options, given, account)])


def stage(
    plan: Plan, options: Options, given: Given, account: Account, instead: Sequence[tuple[str, str]] = ()
) -> str:
    """The text for one fused stage. Rows may be given `instead` of the one about the order of results."""
    lines = _row("stage", [str(plan), _fusion(plan)])
    if plan.steps:
        lines += _row("chunks", [_chunks(options)])
        lines += _row("window", [_window(options)])
        order = ("order", "as the source" if options.ordered else "as they are completed")
        lines += [line for name, text in instead or (order,) for line in _row(name, [text])]
        lines += _row("backend", [_backend(options, given)])
        lines += _kept(options) + _errors(options)
    if account.chunks:
        lines += _row("it ran", _ran(account, _sizes(account)))
    if account.brought or account.spilled[0]:
        lines += _row("shuffle", [_shuffled(account)])
    if account.skipped:
        lines += _row("skipped", account.skipped.lines())
    return "\n".join(lines)


def reduce_stage(name: str, order: str, options: Options, given: Given, account: Account) -> str:
    """The text for the stage behind a shuffle."""
    lines = _row("stage", [name, "one task per part, which takes its own of every chunk's groups"])
    lines += _row("order", [order]) + _row("backend", [_backend(options, given)])
    if account.tasks:
        again = f", {account.again} run again" if account.again else ""
        lines += _row("it ran", _ran(account, f"{account.tasks:,} tasks{again}"))
    return "\n".join(lines)


def _row(name: str, texts: list[str]) -> list[str]:
    wrapper = textwrap.TextWrapper(WIDTH - len(INDENT), subsequent_indent="  ", break_long_words=False)
    first, *others = [line for text in texts for line in wrapper.wrap(text) or [""]]
    return [f"{name:<{len(INDENT)}}{first}", *(INDENT + line for line in others)]


def _fusion(plan: Plan) -> str:
    walked = isinstance(plan.source, Pulled) or getattr(plan.source, "is_read", False)
    cut = "pulled by the consumer" if walked else "cut without being walked"
    if not plan.steps:
        return f"nothing {'more ' if upstream(plan) else ''}to compute; the source is {cut}"
    steps = f"{len(plan.steps)} steps fused into one task per chunk" if len(plan.steps) > 1 else "one step"
    return f"{steps}; the source is {cut}"


def _chunks(options: Options) -> str:
    if options.chunksize == "auto":
        return f"auto: they grow until one takes about {TARGET * 1000:.0f} ms of a worker's time"
    return f"{options.chunksize} items each, as given"


def _window(options: Options) -> str:
    if options.buffersize == "auto":
        workers = options.worker_count
        small = Chunker(options.chunksize, workers).ahead() > AHEAD * workers
        text = f"auto: {f'{ITEMS_AHEAD} items' if small else f'{AHEAD} chunks per worker'} are out at most"
    else:
        text = f"{options.buffersize} items pulled and not yet yielded, at most"
    return text + (f", and {options.buffer_bytes:,} bytes" if options.buffer_bytes is not None else "")


def _backend(options: Options, given: Given) -> str:
    if inside.task:
        return "serial: inside a task everything is"
    count = 1 if options.backend == "serial" else options.worker_count
    return f"{options.backend}, {count} worker{'s' * (count != 1)} ({origin('backend', given)})"


def _kept(options: Options) -> list[str]:
    return [] if options.checkpoint is None else _row("kept in", [str(options.checkpoint)])


def _errors(options: Options) -> list[str]:
    """What becomes of an item that fails; nothing where it ends the run at once."""
    on_error = options.on_error
    parts = [f"{options.retries} more attempt{'s' * (options.retries > 1)}"] if options.retries else []
    if options.timeout is not None:
        parts.append(f"{options.timeout:g} s for an item")
    if on_error == "skip":
        most = "" if options.max_errors is None else f", {options.max_errors} at most"
        parts.append(f"an item that fails is left out{most}")
    elif on_error != "raise":
        what = "its exception" if on_error == "return" else f"what {name_of(on_error)} returns"
        parts.append(f"{what} takes the place of an item that fails")
    return _row("errors", ["; ".join(parts)]) if parts else []


def _sizes(account: Account) -> str:
    sizes = str(account.largest)
    if account.smallest < account.largest:
        sizes = f"{account.smallest} to {account.largest}"
    if account.tasks < account.chunks:
        sizes += f" in {account.tasks:,} messages"
    again = f", {account.again} sent again" if account.again else ""
    return f"{account.items:,} items in {account.chunks:,} chunks of {sizes}{again}"


def _shuffled(account: Account) -> str:
    files, nbytes = account.spilled
    disk = f", and {files:,} files with {nbytes:,} bytes on disk" if files else ""
    return f"about {account.brought:,} bytes in memory{disk}"


def _ran(account: Account, sizes: str) -> list[str]:
    capacity = account.elapsed * account.workers or 1.0
    then = f", publishing {account.publishing:.3f} s" if account.publishing else ""
    return [
        f"{sizes}, {account.elapsed:.3f} s",
        f"computing {account.computing:.3f} s ({account.computing / capacity:.0%} of {account.workers} "
        f"{account.backend}), pickling {account.unpacking:.3f} s, idle {account.idle:.3f} s",
        f"the consumer: pickling {account.pickling:.3f} s, waiting {account.waiting:.3f} s{then}",
    ]

"""When a chunk is cut again that was sent already: which runs allow that, and when idle workers ask for it.

A chunk is cut for what its items are thought to cost. Where cheap ones come first and dear ones behind, one
worker may have all that is left, and the others nothing: then it is asked for what it has not begun. That may
come too early to be heard, before the worker is there, or an item may take long: so it is asked again.
"""

from __future__ import annotations

from mrpy.light import TYPE_CHECKING
from mrpy.mapreduce.steps import looks_at_single_items

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from mrpy.mapreduce.slots import Slot
    from mrpy.options import Options
    from mrpy.scheduler.job import Job
    from mrpy.scheduler.messages import Key

PATIENCE = 0.05  # seconds; most chunks take 0.03. Out of the air
BRIEF = 0.002  # the same where fewer chunks are out than there are workers: to ask takes a few round trips


def may_cut_again(kernel: Any, options: Options) -> bool:
    """Whether no step is hurt by more cuts, amid a chunk. A kernel that goes ``in_leaves`` is cut where they
    end, and its steps begin anew in any case."""
    hurts_none = kernel.in_leaves or all(map(looks_at_single_items, kernel.steps))
    return hurts_none and options.checkpoint is None


def may_guess(options: Options) -> bool:
    """Whether first chunks may be large, each with a budget of time, where they may be cut again: nothing is
    pulled ahead for them, and nobody counts chunks or looks at items one by one."""
    return (
        (options.chunksize, options.buffersize, options.buffer_bytes) == ("auto", "auto", None)
        and options.timeout is None
        and not (options.retries or options.progress)
    )


def patience(slots: Mapping[Key, Slot], times: int, *, few: bool) -> float | None:
    """Seconds without a word until those who run several items are asked for what they have not begun, if
    others have nothing to do. That was looked at so many times already. ``few``: they cannot all have
    something to do. None: there is nobody to ask."""
    return (BRIEF if few else PATIENCE) * 2.0**times if any(map(_could_give, slots.values())) else None


def ask_back(slots: Mapping[Key, Slot], job: Job) -> None:
    """Ask them."""
    for slot in filter(_could_give, slots.values()):
        slot.asked = job.ask_back(slot.key) or slot.asked


def _could_give(slot: Slot) -> bool:
    return slot.chunk.gives_back and len(slot.chunk.data) > 1

"""The progress bar: an observer of a job's tasks, drawn by ``rich``. It is told; it never steers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mrpy.options import Options
from mrpy.scheduler.job import Job
from mrpy.scheduler.messages import Moved
from mrpy.scheduler.states import Move

if TYPE_CHECKING:
    from rich.progress import Progress


@contextmanager
def watched(job: Job, plan: Any, options: Options) -> Iterator[None]:
    """Show a bar on standard error while the job runs, if `options` ask for one."""
    if not options.progress:
        yield
        return
    total = plan.source.reader().remaining() if hasattr(plan, "source") and sized(plan.source) else None
    with _bar() as bar:
        task = bar.add_task(options.name or "mrpy", total=total)

        def told(moved: Moved) -> None:
            key = moved.task.key
            ours = isinstance(key, tuple) and key[0] == job.number
            # the chunks; merges stand for no items of their own
            if ours and moved.move is Move.SUCCEED and moved.task.call.code.announce:
                bar.advance(task, moved.task.size)

        job.driver.observe(told)
        try:
            yield
            done = bar.tasks[0].completed
            bar.update(task, total=total or done, completed=total or done)
        finally:
            job.driver.unobserve(told)


def sized(source: Any) -> bool:
    """Whether a source can say how many items it has without being walked."""
    return not hasattr(source, "iterable")


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        transient=False,
    )

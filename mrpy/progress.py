"""The progress bar: an observer of a job's tasks, drawn by ``rich``. It is told; it never steers."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from weakref import finalize

from mrpy.light import TYPE_CHECKING, Any
from mrpy.options import Options
from mrpy.scheduler.aside import threads_start
from mrpy.scheduler.job import Job
from mrpy.scheduler.messages import Moved
from mrpy.scheduler.states import Move

if TYPE_CHECKING:
    from rich.progress import Progress


_CANNOT_WRITE = OSError, ValueError  # a disk that is full, a pipe that nobody reads; a file that was closed


class watched:
    """Show a bar on standard error while the job runs, if `options` ask for one and it can be drawn."""

    def __init__(self, job: Job, plan: Any, options: Options) -> None:
        shown = options.progress and _can_be_drawn()
        self._bar = _Bar(job, plan, options) if shown else None

    def __enter__(self) -> None:
        if self._bar is not None:
            # At the end of the program too, if the iterator is left open: later nothing can be drawn. And
            # after a Ctrl-C that comes before or amid `__exit__`.
            self._left = finalize(self, self._bar.take_down)
            try:
                self._bar.put_up()
            except BaseException as error:
                self.__exit__(type(error))
                raise

    def __exit__(self, kind: object, *_: object) -> None:
        if self._bar is not None:
            try:
                if kind is None:
                    self._bar.fill()
            finally:
                self._bar.take_down()
                self._left.detach()


class _Bar:
    """What is drawn. It knows nothing of who put it up, and so goes with him."""

    def __init__(self, job: Job, plan: Any, options: Options) -> None:
        self._job = job
        self._name = _in_one_line(options.name or "mrpy")
        self._total = _total(plan.source)
        self._drawn = _drawn(in_bytes=getattr(plan.source, "unit", "") == "file")

    def put_up(self) -> None:
        with suppress(*_CANNOT_WRITE):
            self._drawn.start()
        self._line = self._drawn.add_task(self._name, total=self._total)
        self._job.driver.observe(self._told)

    def fill(self) -> None:
        self._job.driver.unobserve(self._told)
        done = self._total or self._drawn.tasks[0].completed
        self._drawn.update(self._line, total=done, completed=done)

    def take_down(self) -> None:
        self._job.driver.unobserve(self._told)
        with suppress(IndexError, *_CANNOT_WRITE):  # what was not quite up; it has ended before that
            self._drawn.stop()

    def _told(self, moved: Moved) -> None:
        key = moved.task.key
        ours = isinstance(key, tuple) and key[0] == self._job.number
        # the chunks; merges stand for no items of their own
        if ours and moved.move is Move.SUCCEED and moved.task.call.code.announce:
            self._drawn.advance(self._line, moved.task.size - moved.task.again)


def _in_one_line(name: str) -> str:
    """Without what a terminal would obey."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in name)


def _total(source: Any) -> int | None:
    """What there is to do: items, or what the source says they weigh (see `Task.size`)."""
    if hasattr(source, "weight"):
        return int(source.weight(source.blocks))
    return None if hasattr(source, "iterable") else source.reader().remaining()  # that would be walked


def _can_be_drawn() -> bool:
    """There may be no standard error (``pythonw``, ``2>&-``): `rich` would write to the standard output. And
    there may be no thread to draw in: 3.12 starts none when the main one has ended."""
    return sys.stderr is not None and not getattr(sys.stderr, "closed", False) and threads_start()


def _drawn(*, in_bytes: bool) -> Progress:
    from importlib.util import find_spec

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    class Quiet(Console):
        def on_broken_pipe(self) -> None:  # else it ends the program, and its standard output
            self.quiet = True

    in_place = _is_one_terminal()  # else what is printed meanwhile is none of its business
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn() if in_bytes else MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Quiet(file=sys.stderr, force_jupyter=None if find_spec("ipywidgets") else False),
        transient=False,
        redirect_stdout=in_place,
        redirect_stderr=in_place,
    )


def _is_one_terminal() -> bool:
    """Whether what is printed comes out where the bar is: then it has to be told, so that it stays below."""
    try:
        ours = (sys.stdout.fileno(), sys.stderr.fileno()) == (1, 2) and sys.stdout.isatty()
        return ours and os.path.samestat(os.fstat(1), os.fstat(2))
    except (AttributeError, OSError, ValueError):  # there may be none, or it is closed
        return False

"""Runs on disk that a checkpoint refers to: in a folder beside its file, for as long as that is there.

    FILE         the checkpoint: what is small of each finished chunk, and where the rest of it lies
    FILE.runs/   the rest, in files that were written by the tasks themselves

What is found there is read once before it is used. A chunk whose files are not as they were written is
computed again; so is one of another process if its files name the main module: they hold its classes by
value, and those would be others than the classes of this process. A file that no finished chunk has is of a
task that was cut short, and goes at the end of the next run.
"""

from __future__ import annotations

import os
import re
import stat
import uuid
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

from mrpy.errors import CheckpointError, SpillError
from mrpy.mapreduce.checkpoint import refuse_others
from mrpy.mapreduce.sorted_runs import SortedRun
from mrpy.mapreduce.spill import RUN, Run, Store, opened
from mrpy.scheduler.calls import Parts, apart
from mrpy.scheduler.importable import mentions_lost

SUFFIX = ".runs"
_NAME = re.compile("[0-9a-f]{32}" + re.escape(RUN))
_PROCESS = uuid.uuid4().hex


def this_process() -> str:
    """A name for it, and for no other."""
    return f"{_PROCESS}-{os.getpid()}"


class KeptRuns:
    """The runs of one checkpoint. Only who has the checkpoint's lock opens the folder. ``used``: the tasks of
    this run can read it, and write to it."""

    def __init__(self, checkpoint: str | os.PathLike[str], *, used: bool) -> None:
        self.folder = os.path.abspath(os.fspath(checkpoint)) + SUFFIX
        self.referred = False  # whether anything of this run is there
        self._used = used
        self._owner = os.getpid()

    def open(self) -> None:
        """Make the folder, if it is not there. Raises `CheckpointError` where it is not ours alone."""
        if not self._used:
            return
        try:
            with suppress(FileExistsError):
                os.mkdir(self.folder, 0o700)
            found = os.lstat(self.folder)
            if not stat.S_ISDIR(found.st_mode):
                raise CheckpointError(f"{self.folder} is no folder, and there has to be one of that name")
            names = os.listdir(self.folder)
            others = [name for name in names if not (_NAME.fullmatch(name) or name.startswith("."))]
        except OSError as error:
            raise CheckpointError(f"{self.folder} cannot be used: {error.strerror}") from error
        refuse_others(f"the folder {self.folder}", found)
        if others:
            raise CheckpointError(f"{self.folder} is the checkpoint's, and there is {others[0]!r} in it")

    def close(self) -> None:
        """No more is asked of it in this run."""
        if self._used and os.getpid() == self._owner:
            with suppress(OSError):
                os.rmdir(self.folder)  # if nothing is in it

    def names(self, made: Any) -> set[str]:
        """The files of what a task has made, which the checkpoint is to refer to."""
        names: set[str] = set()

        def noted(run: Any) -> Any:
            names.add(os.path.basename(run.path))
            return run

        _changed(made, noted)
        self.referred = self.referred or bool(names)
        return names

    def recalled(self, made: Any, writer: Callable[[str], str | None]) -> Any:
        """What was found in the checkpoint; None where a file of it is not what it was, or cannot be used.
        The folder may have been moved in the meantime. ``writer``: the process that wrote a file, if that is
        known; of others it is not known either that they stay."""

        def found(run: Any) -> Any:
            name = os.path.basename(run.path)
            moved = run._replace(path=os.path.join(self.folder, name))
            by = writer(name) if self._used else None
            if by is None or not _is_sound(moved, ours=by == this_process()):
                raise FileNotFoundError(name)
            self.referred = True
            return moved

        try:
            return _changed(made, found)
        except (OSError, SpillError):
            return None

    def sweep(self, wanted: Collection[str]) -> None:
        """Remove what nothing refers to, when all chunks are finished."""
        if self._used:
            with suppress(OSError):
                for name in os.listdir(self.folder):
                    if _NAME.fullmatch(name) and name not in wanted:
                        with suppress(OSError):
                            os.unlink(os.path.join(self.folder, name))


def kept_for(
    checkpoint: str | os.PathLike[str] | None, store: Store | None
) -> tuple[Store | None, KeptRuns | None]:
    """Where the tasks whose results go into a checkpoint put what does not fit into memory; and its runs."""
    if checkpoint is None:
        return store, None
    runs = KeptRuns(checkpoint, used=store is not None)
    return store and store.replaced(folder=runs.folder), runs


def _is_sound(run: Any, *, ours: bool) -> bool:
    """Whether all of a run is what was written, and means the same here. Raises where it is not."""
    with open(run.path, "rb") as file:
        for offset, length, digest, packed in run.pieces():
            file.seek(offset)
            data = opened(file.read(length), digest, packed, (run.path, offset, run.chunk))
            if not ours and mentions_lost(data, by_value=True):
                return False
    return True


def _changed(made: Any, change: Callable[[Any], Any]) -> Any:
    """What a map task or a sort has made of a chunk, with its runs changed."""
    value, note = apart(made)
    if isinstance(value, Parts):
        rows = ([_node(node, change) for node in row] for row in value)
        value = Parts(rows)
    elif isinstance(value, list):
        value = [change(part) if type(part) is SortedRun else part for part in value]
    return value if note is None else made._replace(value=value)


def _node(node: Any, change: Callable[[Any], Any]) -> Any:
    return node._replace(value=change(node.value)) if type(node.value) is Run else node

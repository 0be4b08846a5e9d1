"""Runs on disk that a checkpoint refers to: in a folder beside its file, for as long as that is there.

    FILE         the checkpoint: what is small of each finished chunk, and where the rest of it lies
    FILE.runs/   the rest, in files that were written by the tasks themselves

A file that no finished chunk has is of a task that was cut short, and goes at the end of the next run. A
chunk whose files are not as they were written is computed again.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from mrpy.errors import CheckpointError, SpillError
from mrpy.mapreduce.sorted_runs import SortedRun
from mrpy.mapreduce.spill import RUN, Run, Store
from mrpy.scheduler.calls import Parts, apart

SUFFIX = ".runs"


class KeptRuns:
    """The runs of one checkpoint. Only who has the checkpoint's lock opens the folder. ``used``: the tasks of
    this run can read it, and write to it."""

    def __init__(self, checkpoint: str | os.PathLike[str], *, used: bool) -> None:
        self.folder = os.path.abspath(os.fspath(checkpoint)) + SUFFIX
        self._used = used
        self._chunks: dict[str, int] = {}  # of each file that is referred to, the first item of its chunk

    def open(self) -> None:
        """Make the folder, if it is not there. Raises `CheckpointError` where others could write to it."""
        if not self._used:
            return
        try:
            with suppress(FileExistsError):
                os.mkdir(self.folder, 0o700)
            found = os.lstat(self.folder)
        except OSError as error:
            raise CheckpointError(f"{self.folder} cannot be used: {error.strerror}") from error
        if not stat.S_ISDIR(found.st_mode):
            raise CheckpointError(f"{self.folder} is no folder, and the checkpoint needs one of that name")
        if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise CheckpointError(f"the folder {self.folder} may be written by others")

    def close(self, error: BaseException | None) -> None:
        """No more is asked of it in this run. What turned out to be damaged is made again by the next."""
        if isinstance(error, SpillError):
            for path in [path for path, chunk in self._chunks.items() if chunk == error.chunk]:
                _remove(path)
        with suppress(OSError):
            os.rmdir(self.folder)  # if nothing is in it

    def put(self, made: Any) -> None:
        """The checkpoint refers to this now."""
        _changed(made, self._noted)

    def recalled(self, made: Any) -> Any:
        """What was found in the checkpoint; None where a file of it is not what it was, or cannot be used.
        The folder may have been moved in the meantime."""
        try:
            return _changed(made, self._found)
        except OSError:
            return None

    def sweep(self) -> None:
        """Remove what nothing refers to, when all chunks are finished."""
        with suppress(OSError):
            for name in os.listdir(self.folder):
                path = os.path.join(self.folder, name)
                if name.endswith(RUN) and path not in self._chunks:
                    _remove(path)

    def _noted(self, run: Any) -> Any:
        self._chunks[run.path] = run.chunk
        return run

    def _found(self, run: Any) -> Any:
        moved = run._replace(path=os.path.join(self.folder, os.path.basename(run.path)))
        if not self._used or os.path.getsize(moved.path) < run.end:
            raise FileNotFoundError(moved.path)
        return self._noted(moved)


def kept_for(
    checkpoint: str | os.PathLike[str] | None, store: Store | None
) -> tuple[Store | None, KeptRuns | None]:
    """Where the tasks whose results go into a checkpoint put what does not fit into memory; and its runs."""
    if checkpoint is None:
        return store, None
    runs = KeptRuns(checkpoint, used=store is not None)
    return store and replace(store, folder=runs.folder), runs


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


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)

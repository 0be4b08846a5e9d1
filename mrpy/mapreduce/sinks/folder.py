"""A folder of parts as a sink."""

from __future__ import annotations

import errno
import operator
import os
import re
import stat
from collections.abc import Sequence
from contextlib import suppress
from functools import reduce

from mrpy.mapreduce.sinks.parts import Format, Part, Written, path_of
from mrpy.mapreduce.sinks.staging import Staging, place_of
from mrpy.options import truth

PREFIX = "part-"
MARK = "_SUCCESS"  # as other programs have it. Without it an output without parts looks like any empty folder
DIGITS = 5  # of the number of a part, where that is enough; others write as many
_PART = re.compile(rf"{PREFIX}[0-9]{{{DIGITS},}}\.(?:(?:txt|jsonl|csv)(?:\.gz|\.bz2|\.xz)?|parquet)")


class Folder:
    """``path/part-00000.txt`` and so on, in the order of the records; where there are none, a mark, so that
    who reads it knows. Raises `FileExistsError` where there is something that is not to be overwritten."""

    joins = True

    def __init__(self, path: str | os.PathLike[str], format: Format, *, overwrite: bool) -> None:
        self.path = place_of(path)
        self.format = format
        self._overwrite = truth("overwrite", overwrite)
        self._check()

    def staging(self) -> Staging:
        """Where it is prepared."""
        return Staging(self.path)

    def commit(self, staging: Staging, parts: Sequence[Part]) -> Written:
        """Make these the output."""
        os.mkdir(staging.parts)
        of_folder, of_parts = self._modes(os.stat(staging.parts).st_mode)
        digits = max(DIGITS, len(str(len(parts) - 1)))
        names = [f"{PREFIX}{number:0{digits}}{self.format.suffix}" for number in range(len(parts))]
        for part, name in zip(parts, names, strict=True):
            path = os.path.join(staging.parts, name)
            os.rename(path_of(part, staging.attempts, self.path), path)
            os.chmod(path, of_parts)
        if not parts:
            mark = os.path.join(staging.parts, MARK)
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
            os.chmod(mark, of_parts)
        os.chmod(staging.parts, of_folder)
        self._check()  # once more: it may have been some time
        staging.publish(replace=self._overwrite)
        paths = tuple(os.path.join(self.path, name) for name in names)
        return Written(paths, sum(part.records for part in parts), sum(part.nbytes for part in parts))

    def _modes(self, usual: int) -> tuple[int, int]:
        """Of the folder and of its parts. Who could not read those that are replaced shall not read these.
        ``usual``: what the user's own umask leaves, where there are none."""
        folder, parts = usual, [usual]
        with suppress(OSError), os.scandir(self.path) as entries:
            folder = os.stat(self.path).st_mode
            parts = [entry.stat().st_mode for entry in entries] or parts
        return stat.S_IMODE(folder) | stat.S_IRWXU, reduce(operator.and_, parts) & 0o666

    def _check(self) -> None:
        if not os.path.lexists(self.path):
            return
        if self._overwrite and os.path.ismount(self.path):
            text = "a file system is mounted here, and cannot be replaced: name a folder in it"
            raise OSError(errno.EBUSY, text, self.path)
        others = _others(self.path)
        if others:
            text = f"an output is a folder of its own (overwrite=True replaces nothing else): here {others}"
            raise FileExistsError(errno.EEXIST, text, self.path)
        if not self._overwrite:
            text = "there is an output already (overwrite=True replaces it)"
            raise FileExistsError(errno.EEXIST, text, self.path)


def _others(path: str) -> str:
    """What there is besides parts, in words."""
    if not os.path.isdir(path):
        return "is a file"
    with os.scandir(path) as entries:
        for entry in entries:
            ours = _PART.fullmatch(entry.name) or entry.name == MARK
            if not (ours and entry.is_file(follow_symlinks=False)):
                return f"is {entry.name!r}"
    return ""

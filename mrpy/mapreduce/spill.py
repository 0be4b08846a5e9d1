"""Files for what does not fit into memory: runs of entries, sorted by rank, in blocks.

    run    :=  magic, block, block, ...     written once, by one attempt of one task, in a file of its own
    block  :=  pickle(ranks, keys, groups), or of items where something is sorted; packed where that pays

What tells where the blocks lie, and what they hash to, is the `Run`: it goes back with the task's result and
is never read from the file. So a file that was damaged, or put there by somebody else, is noticed before
anything of it is unpickled.

The files of a run are in a folder of its own that only its owner can enter (`SpillFolder`), beneath the
system's folder for temporary files (``TMPDIR``). It goes with the run; what was left behind by a process that
was killed goes when next one is made. Who is alive is told by a lock on a file in it. What a checkpoint
refers to is elsewhere, and stays (``kept_runs.py``).
"""

from __future__ import annotations

import io
import math
import os
import tempfile
import uuid
import weakref
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from hashlib import sha256

from mrpy.errors import SpillError
from mrpy.light import TYPE_CHECKING, Any, Frozen, NamedTuple
from mrpy.machine import free_memory
from mrpy.mapreduce import own_file, own_folder
from mrpy.scheduler import codec
from mrpy.scheduler.sizes import weight

if TYPE_CHECKING:
    from mrpy.options import Options
    from mrpy.scheduler.job import Job

MAGIC = b"mrpy spill 1\n"
BLOCKS = 512  # of them fit into the memory of a task: of each run that it reads one is open
BLOCK = 1 << 14, 1 << 18  # bytes of memory that a block takes when it is opened, about: at least and at most
UNCUT = 16  # values; of a group that has more one is weighed
EVEN = 8  # groups that fill a block, at least, where all are taken for equal
WEIGHED = 32  # entries of a run that are weighed
PER_ENTRY = 100  # bytes that one takes besides its key and values
TRIED = 1 << 12  # bytes of the first block that are packed, to see whether it pays
PAYS = 0.5  # of their length, what is left then at most: a disk is as fast as zlib, but may be small
DIGEST = 16  # bytes of what a block hashes to
PREFIX = "mrpy-spill-"
RESULTS = 16  # that are on their way at a time, about, and are to fit into the memory of a task together
FREE = 4  # of the memory that is free, the part that is taken where nobody says how much
LEAST = 1 << 26  # bytes that are taken where hardly any are free
BARE = 40_000_000  # bytes that a process takes before it has done anything
AT_LEAST = 4  # of the memory, the part that is taken for data, however large the interpreters are
SHARES = 2  # of the memory of a process, the part that values take; the rest is for what is made of them
RUN = ".run"  # at the end of the name of a file


class Block(NamedTuple):
    """A stretch of a run. ``size``: bytes of memory, about, when it is opened. ``packed``: by zlib."""

    low: Any
    high: Any
    size: int
    offset: int
    length: int
    digest: bytes
    packed: bool = False


class Run(NamedTuple):
    """Entries (rank, key, group), sorted by rank, in a file. ``chunk``: the first item of those that it was
    made from."""

    path: str
    blocks: tuple[Block, ...]
    chunk: int = 0

    def pieces(self) -> Iterator[tuple[int, int, bytes, bool]]:
        """Of each block where it lies, its length, what it hashes to, and whether it is packed."""
        return ((block.offset, block.length, block.digest, block.packed) for block in self.blocks)

    @property
    def largest(self) -> int:
        """How many bytes of memory the largest block takes."""
        return max((block.size for block in self.blocks), default=0)

    def read(self, block: Block) -> Any:
        """What lies in a block. Raises `SpillError` where it is not what was written."""
        data = read_from(self.path, block.offset, block.length, self.chunk)
        where = self.path, block.offset, self.chunk
        return codec.decode(codec.Payload(opened(data, block.digest, block.packed, where)))


def read_from(path: str, offset: int, length: int, chunk: int) -> bytes:
    """A stretch of a file; `SpillError` where there is none."""
    try:
        with own_file.to_read(path) as file:
            file.seek(offset)
            return file.read(length)
    except OSError as error:
        why = f"a spilled part cannot be read: {path}: {error.strerror}"
        raise SpillError(why, chunk, path) from error


def opened(data: Any, digest: bytes, packed: bool, where: tuple[str, int, int]) -> Any:
    """The content of a block, if it is what was written. ``where``: its path, its offset, and the first item
    of those that it was made from."""
    if _digest(data) != digest:
        path, offset, chunk = where
        raise SpillError(f"a spilled part is damaged: {path}, {len(data)} bytes at {offset}", chunk, path)
    return zlib.decompress(data) if packed else data


class RunFile:
    """A file that is being written. In a ``with`` block: what fails leaves nothing behind."""

    def __init__(self, folder: str) -> None:
        if not folder:
            raise SpillError(
                "there is more than fits into memory=, and no folder for temporary files that can be written "
                "to; set TMPDIR to one"
            )
        self.path = os.path.join(folder, uuid.uuid4().hex + RUN)
        self.offset = 0  # of what is written next
        self._packs: bool | None = None  # not known yet
        try:
            raw = own_file.OwnFile(self.path, "xb", opener=own_file.for_the_owner)
            self._file = io.BufferedWriter(raw)
        except OSError as error:
            raise SpillError(f"cannot spill to {folder}: {error}") from error
        self._write(MAGIC)

    def __enter__(self) -> RunFile:
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        try:
            self._file.close()
        except OSError as error:
            problem = self._problem(0, error)  # it counts this file, too
            self._remove()
            if failed is None:
                raise problem from error
        if failed is not None:
            self._remove()

    @property
    def packs(self) -> bool:
        """Whether what it has is packed."""
        return bool(self._packs)

    def add(self, low: Any, high: Any, content: Any, size: int) -> Block:
        """Write a block."""
        data = codec.encode_for_disk(content)
        size = max(size, len(data))
        offset, digest = self.put(data)
        return Block(low, high, size, offset, self.offset - offset, digest, self.packs)

    def put(self, data: Any) -> tuple[int, bytes]:
        """Write a pickle, packed where that pays: where it begins, and what it hashes to."""
        if self._packs is None:
            some = data[-TRIED:]
            self._packs = len(zlib.compress(some, 1)) <= PAYS * len(some)
        if self._packs:
            data = zlib.compress(data, 1)
        offset = self.offset
        self._write(data)
        return offset, _digest(data)

    def _write(self, data: Any) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise self._problem(len(data), error) from error
        self.offset += len(data)

    def _problem(self, needed: int, error: OSError) -> SpillError:
        folder = os.path.dirname(self.path)
        problem = own_folder.no_room(error, folder, needed)
        if problem is None:
            return SpillError(f"cannot spill to {self.path}: {error}")
        ours = os.path.basename(folder).startswith(PREFIX)  # else it is a checkpoint's
        larger = "set TMPDIR to a larger disk" if ours else "put the checkpoint on a larger disk"
        _, there = Store(folder, 0).files()
        return SpillError(
            f"no room to spill: {problem} (in {folder}, which has {there} bytes by now; {larger}, or raise "
            "memory= so that less is spilled)"
        )

    def _remove(self) -> None:
        with suppress(OSError):
            os.unlink(self.path)


def _digest(data: Any) -> bytes:
    return sha256(data).digest()[:DIGEST]  # most processors do it, at twice the speed of blake2b


# ---- entries -----------------------------------------------------------------------------------------

Entry = tuple[Any, Any, Any]  # rank, key, group


def write_entries(file: RunFile, entries: list[Entry], chunk: int, size: int) -> Run:
    """A run of these, which are sorted by rank, in blocks of about this size. A group that is too large for
    one is cut up."""
    blocks: list[Block] = []
    for part, nbytes in _in_blocks(entries, size):
        ranks, keys, groups = map(list, zip(*part, strict=True))
        blocks.append(file.add(ranks[0], ranks[-1], (ranks, keys, groups), nbytes))
    return Run(file.path, tuple(blocks), chunk)


def _in_blocks(entries: list[Entry], size: int) -> Iterator[tuple[list[Entry], int]]:
    """Stretches of the entries, and about how many bytes each takes."""
    if not entries:
        return
    per_entry, per_value = _weights(entries)
    numbers = [len(group) if type(group) is list else 1 for _, _, group in entries]
    if max(numbers) <= max(UNCUT, size // (EVEN * per_value)):  # any stretch is like another
        each = per_entry + per_value * sum(numbers) // len(entries)
        count = max(1, size // each)
        for begin in range(0, len(entries), count):
            part = entries[begin : begin + count]
            yield part, each * len(part)
    else:
        yield from _one_by_one(entries, numbers, size, per_entry, per_value)


def _one_by_one(
    entries: list[Entry], numbers: list[int], size: int, per_entry: int, per_value: int
) -> Iterator[tuple[list[Entry], int]]:
    """The same where some groups are large."""
    part: list[Entry] = []
    nbytes = 0
    for entry, number in zip(entries, numbers, strict=True):
        each = max(per_value, weight(entry[2][number // 2])) if number > UNCUT else per_value
        if number * each > size and number > 1:
            if part:
                yield part, nbytes
            yield from _pieces(entry, max(1, size // each), each)
            part, nbytes = [], 0
            continue
        part.append(entry)
        nbytes += per_entry + number * each
        if nbytes >= size:
            yield part, nbytes
            part, nbytes = [], 0
    if part:
        yield part, nbytes


def _weights(entries: list[Entry]) -> tuple[int, int]:
    """About how many bytes an entry takes without its values, and one of these: from some of them."""
    some = entries[:: max(1, len(entries) // WEIGHED)]
    values = [value for _, _, group in some for value in (group[:1] if type(group) is list else (group,))]
    keys = sum(weight(entry[1]) for entry in some) // len(some)
    each = sum(map(weight, values)) // len(values) if values else 0  # a combiner may have left none
    return PER_ENTRY + keys, 8 + each


def _pieces(entry: Entry, count: int, each: int) -> Iterator[tuple[list[Entry], int]]:
    """An entry that does not fit into a block, in pieces of so many values."""
    rank, key, group = entry
    for begin in range(0, len(group), count):
        values = group[begin : begin + count]
        yield [(rank, key, values)], each * len(values)


# ---- how much fits -----------------------------------------------------------------------------------


class Store(Frozen):
    """Where a task may put what does not fit into memory, and how much fits.

    ``all_of_it``  nothing of the result is to be kept in memory
    ``most``       nor one of more bytes
    ``run``        so many bytes that go to disk are enough for a file
    """

    folder: str
    memory: int
    all_of_it: bool = False
    most: float = math.inf
    run: float = math.inf

    def keeps(self, nbytes: int) -> bool:
        """Whether a result of so many bytes is to stay in memory: many may be on their way."""
        return not self.all_of_it and nbytes <= min(self.memory // RESULTS, self.most)

    @property
    def gathered(self) -> int:
        """How many bytes of groups a task gathers before it writes them: a block, however little there is."""
        return max(BLOCK[0], self.memory)

    @property
    def block(self) -> int:
        """How large blocks are to be."""
        return min(max(BLOCK[0], int(min(self.memory, self.run)) // BLOCKS), BLOCK[1])

    def is_used(self) -> bool:
        """Whether anything went to disk."""
        with suppress(OSError):
            return any(name.endswith(RUN) for name in os.listdir(self.folder))
        return False

    def files(self) -> tuple[int, int]:
        """How many files there are, and how many bytes."""
        sizes = []
        with suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.endswith(RUN):
                    with suppress(OSError):  # an attempt that was given up may remove its own
                        sizes.append(entry.stat().st_size)
        return len(sizes), sum(sizes)


def store_for(
    job: Job,
    options: Options,
    stack: ExitStack,
    memory: int | None = None,
    folder: SpillFolder | None = None,
) -> Store | None:
    """Where the tasks of this run may put what does not fit into memory: in this folder, or in one that is
    there until `stack` is closed. None where they need not: a cluster keeps its values itself. ``memory``: of
    a task; if not given it has its share."""
    if not job.driver.backend.spills:
        return None
    if memory is None:
        whole, processes = allowed(options), job.driver.backend.workers + 1
        memory = besides(whole, processes, BARE) // (SHARES * processes)
    folder = folder or stack.enter_context(closing(SpillFolder()))
    return Store(folder.path, memory)


def besides(whole: int, processes: int, each: int) -> int:
    """Of so many bytes those that are for data, where a process takes so many before it has any."""
    return max(whole // AT_LEAST, whole - processes * each)


def allowed(options: Options) -> int:
    """Bytes that a run may hold in all its processes together."""
    if isinstance(options.memory, int):
        return options.memory
    return max(LEAST, free_memory() // FREE)


# ---- the folder --------------------------------------------------------------------------------------


class SpillFolder:
    """A folder for the files of one run. Made now; gone with `close`, with the object, or with the
    process. Where there can be none its path is empty: most runs need no disk."""

    path = ""
    _gone: Callable[[], object] = staticmethod(int)

    def __init__(self) -> None:
        try:
            above = tempfile.gettempdir()
        except FileNotFoundError:
            return
        begin = os.path.join(above, f"{PREFIX}{os.getuid()}-")
        with own_folder.undisturbed():
            self._make(begin)

    def _make(self, begin: str) -> None:
        clear_stale(begin)
        try:
            self.path, lock = own_folder.make(lambda: begin + uuid.uuid4().hex)
        except OSError as error:
            raise SpillError(f"no folder to spill to: {error}") from error
        self._gone = weakref.finalize(self, _remove, self.path, lock, os.getpid())

    def close(self) -> None:
        """Remove it. May be called twice."""
        with own_folder.undisturbed():
            self._gone()


def clear_stale(begin: str) -> None:
    """Remove what processes that were killed have left, in folders whose paths begin so."""
    with suppress(OSError), os.scandir(os.path.dirname(begin)) as entries:
        own_folder.clear([entry for entry in entries if entry.path.startswith(begin)], _discard)


def _discard(path: str) -> None:
    own_folder.discard(path, f"{path}-gone")


def _remove(path: str, lock: int, owner: int) -> None:
    if os.getpid() != owner:  # a forked child: the files are the parent's
        return
    with suppress(OSError):
        _discard(path)
    with suppress(OSError):
        os.close(lock)

"""Every exception that mrpy raises of its own accord, and how any says at which item it was raised.

The tree::

    Exception
    └── MrpyError                   catches everything below
        ├── OptionError             an option that does not exist, or has a wrong value   (TypeError)
        ├── LiftError               a generator that cannot be taken apart                (TypeError)
        ├── SerializationError      a function, argument or result that cannot travel     (TypeError)
        ├── RemoteError             the user's exception, where its own type cannot travel
        ├── WorkerCrashed           an item that killed its worker                        (RuntimeError)
        ├── ItemTimeout             an item that ran longer than ``timeout``              (TimeoutError)
        ├── TooManyErrors           more items were skipped than ``max_errors`` allows
        ├── Cancelled               the result was cancelled before it was there
        ├── CheckFailed             a stage or operator whose answer depends on the cut     (ValueError)
        ├── CheckpointError         a checkpoint file that cannot be used
        ├── DataError               a file whose bytes are not what they should be: which, where (ValueError)
        ├── SpillError              no room on disk for what does not fit into memory, or it was damaged
        ├── BackendError            workers that cannot be started, a cluster out of reach
        │   ├── ResultLost          a result lay on a cluster that does not have it any more
        │   └── SessionClosed       the session was closed while it was still needed
        └── SchedulerError          mrpy broke a rule of its own: a bug, with the task's story
            └── IllegalMove         a lifecycle step that the table does not know

The exceptions of the user's functions are not in it: they arrive as they were raised, with their own
type, and carry three things more - a note that names the item, the attribute ``mrpy_item`` (an
`Item`), and the worker's traceback as their cause.

This room imports nothing of mrpy but `mrpy.light`: everyone may import it.
"""

from __future__ import annotations

from _thread import _local  # `threading.local`, without the import of `threading`

from mrpy.light import NamedTuple


class Item(NamedTuple):
    """Which item of the source something happened to.

    >>> print(Item(3, "'data/b.csv'"))
    item 3: 'data/b.csv'
    >>> print(Item(50, "or one of the 49 after it"))
    item 50, or one of the 49 after it
    """

    position: int
    text: str

    def __str__(self) -> str:
        between = ", " if self.text.startswith("or ") else ": "  # where nobody knows which of several it was
        return f"item {self.position}{between}{self.text}" if self.text else f"item {self.position}"


class _Pins(_local):
    count = 0


_pins = _Pins()


def pins() -> int:
    """How often this thread has pinned an exception to an item."""
    return _pins.count


def pin(error: BaseException, item: Item, since: int | None = None) -> None:
    """Have an exception say at which item it was raised: once, the innermost wins. Where nothing was pinned
    `since` (a number of `pins`) what it says is of another time: one object may be raised at many items."""
    if _is_of_none(error):
        return
    before, stale = item_of(error), since == _pins.count
    _pins.count += 1
    if before is not None and not stale:
        return
    try:
        if before is not None:
            error.__notes__.remove(_note(before))
        error.mrpy_item = item  # type: ignore[attr-defined]
        error.add_note(_note(item))
    except Exception:  # noqa: S110 - a class may forbid new attributes; then it goes without
        pass


def of_no_item(error: OSError) -> OSError:
    """Have an exception never be pinned: it is no item's fault, whichever was at work."""
    error.mrpy_item = None  # type: ignore[attr-defined]
    return error


def _is_of_none(error: BaseException) -> bool:
    try:
        return getattr(error, "mrpy_item", error) is None
    except Exception:  # as below
        return False


def _note(item: Item) -> str:
    return f"mrpy: raised at {item}"


def item_of(error: BaseException) -> Item | None:
    """The item that an exception says it was raised at."""
    try:
        item = getattr(error, "mrpy_item", None)
    except Exception:  # its class may do whatever it likes there
        return None
    return item if isinstance(item, Item) else None


class MrpyError(Exception):
    """The root of the tree above."""


class OptionError(MrpyError, TypeError):
    """An option that does not exist or cannot have this value."""


class LiftError(MrpyError, TypeError):
    """A generator that cannot be taken apart, and what to write instead."""


class SerializationError(MrpyError, TypeError):
    """Something that has to travel to or from a worker and cannot be pickled."""


class RemoteError(MrpyError):
    """The exception of a worker whose own type could not travel; its name and text are here."""


class WorkerCrashed(MrpyError, RuntimeError):
    """A worker process died while it ran this item."""


class ItemTimeout(MrpyError, TimeoutError):
    """An item ran longer than ``timeout`` seconds and was stopped."""


class TooManyErrors(MrpyError):
    """``on_error="skip"`` has skipped more items than ``max_errors``: here are the first of them, with their
    positions, and the last one as the cause.

    ``count``, ``limit``: how many had been skipped by then, and how many may be.
    """

    def __init__(self, text: str, count: int, limit: int) -> None:
        super().__init__(text, count, limit)  # as many arguments as here, so that it can be pickled
        self.text, self.count, self.limit = text, count, limit

    def __str__(self) -> str:
        return self.text


class Cancelled(MrpyError):
    """The result was asked for after it had been cancelled."""


class CheckFailed(MrpyError, ValueError):
    """A stage or an operator whose answer depends on where its input is cut, with an example."""


class CheckpointError(MrpyError):
    """A checkpoint that cannot be read, written, or trusted, or belongs to another program."""


class DataError(MrpyError, ValueError):
    """A file that is damaged, in another encoding, or not in the format as which it is read.

    >>> print(DataError("a.txt", 1200, "invalid start byte for utf-8"))
    a.txt, byte 1,200: invalid start byte for utf-8

    ``path``, ``offset``, ``why``: what is in the text. Of a compressed file the offset counts what it is
    unpacked to; it is None where the format has no such thing.
    """

    def __init__(self, path: str, offset: int | None, why: str) -> None:
        super().__init__(path, offset, why)  # as many arguments as here, so that it can be pickled
        self.path, self.offset, self.why = path, offset, why

    def __str__(self) -> str:
        where = "" if self.offset is None else f", byte {self.offset:,}"
        path = self.path if self.path.splitlines() == [self.path] else repr(self.path)
        return f"{path}{where}: {self.why}"


class SpillError(MrpyError):
    """What does not fit into memory could not be written to disk, or is not there any more as it was.

    ``chunk``  the first item of those that it was made from, where it was damaged; else None
    ``path``   the file, likewise
    """

    def __init__(self, text: str, chunk: int | None = None, path: str = "") -> None:
        super().__init__(text)
        self.chunk, self.path = chunk, path


class BackendError(MrpyError):
    """The place where tasks run failed, not the user's code."""


class ResultLost(BackendError):
    """A result lay on a cluster that does not have it any more, nor can make it again by itself."""


class SessionClosed(BackendError):
    """The session that ran the work was closed before the work was done."""


class SchedulerError(MrpyError):
    """mrpy broke one of its own rules. Please report it, with the text."""


class IllegalMove(SchedulerError):
    """A step in a task's life that the table in ``scheduler/states.py`` does not have."""


class RemoteTraceback(Exception):
    """The traceback of a worker as text; the ``__cause__`` of a user's exception."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text.rstrip()}\n"""'


OF_THE_SESSION = (BackendError, Cancelled, SchedulerError)  # not the doing of a call, nor of an item

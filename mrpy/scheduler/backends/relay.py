"""What a task says on the way - prints, log records, warnings - comes out in the parent.

    worker                                                       parent
      print ─> sys.stdout ─> whole lines ──── SAID ──────────>   sys.stdout, a line at a time, "(item 7) ..."
      logging ─> root handler ─> plain record ── SAID ───────>   the logger of that name, and its handlers
      warnings ─> showwarning, once a task ───── SAID ───────>   warned of there, so once, by its filters

So a notebook shows it in the cell, a captured stream captures it, lines of several workers do not get mixed
up, and each says which item it is about. What C code or a child process writes to descriptors 1 and 2 goes
where those of the parent go. A record travels as plain numbers, strings, and containers of these: the parent
opens nothing of the user's.
"""

from __future__ import annotations

import io
import os
import sys
from _thread import RLock
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from itertools import accumulate

from mrpy.inside import inside
from mrpy.light import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from mrpy.scheduler.here import Levels

    Say = Callable[[tuple[Any, ...]], None]

OUT, ERR, LOG, WARNING = "out", "err", "log", "warning"

PLAIN = (str, int, float, bool, type(None))
DEEP = 20  # containers within each other, in a log record; out of the air
MANY = 5_000  # elements of them, in all: so many are not looked at one by one


# ---- in the worker ---------------------------------------------------------------------------------------


def relay_streams(say: Say) -> Callable[[], None]:
    """Have standard output and error go to the parent. Returns what to call at the end of each task."""
    before = sys.stdout, sys.stderr
    out, err = _Lines(OUT, 1, say), _Lines(ERR, 2, say)
    sys.stdout, sys.stderr = _Stream(out), _Stream(err)

    def give_back() -> None:  # a child of a task has no parent to tell
        sys.stdout, sys.stderr = before

    def flush() -> None:
        out.end_line()
        err.end_line()

    os.register_at_fork(after_in_child=give_back)
    return flush


class _Lines(io.BufferedIOBase):
    """Passes on whole lines, each with the item in which it was begun."""

    def __init__(self, name: str, fd: int, say: Say) -> None:
        self.name = name
        self._fd = fd
        self._say = say
        self._begun = bytearray()
        self._item: int | None = None
        self._lock = RLock()  # a task may have threads; one that is interrupted by a handler goes on

    def writable(self) -> bool:
        """As `io.TextIOWrapper` wants it."""
        return True

    def fileno(self) -> int:
        """For programs that a task starts: the descriptor that this stands for."""
        return self._fd

    def write(self, data: Any) -> int:
        """Take in bytes."""
        with self._lock:
            if not self._begun:
                self._item = _item()
            self._begun += data
            if (end := self._begun.rfind(b"\n")) >= 0:
                self._pass_on(end)
        return len(data)

    def end_line(self) -> None:
        """The task is over: a line that was only begun is complete."""
        with self._lock:
            if self._begun:
                self._pass_on(len(self._begun))

    def _pass_on(self, end: int) -> None:
        lines = self._begun[:end].decode("utf-8", "replace")
        del self._begun[: end + 1]
        self._say((self.name, self._item, lines))


class _Stream(io.TextIOWrapper):
    """Cannot be closed by a task: others will print after it."""

    def __init__(self, lines: _Lines) -> None:
        super().__init__(lines, "utf-8", "backslashreplace", write_through=True)

    def close(self) -> None:
        """Nothing waits here."""


def _item() -> int | None:
    position = None if inside.position is None else inside.position()
    return None if position is None or position < 0 else position  # below it, it is that of no item


def relay_warnings(say: Say) -> Callable[[], None]:
    """Have warnings go to the parent, each place of the code once from each task. Returns what to call when
    one begins."""
    import warnings

    def show(message: Any, category: type[Warning], filename: str, lineno: int, *_: Any) -> None:
        say((WARNING, _item(), str(message), category.__module__, category.__qualname__, filename, lineno))

    before = warnings.showwarning
    warnings.showwarning = show  # type: ignore[assignment]

    def give_back() -> None:  # as for streams
        warnings.showwarning = before

    os.register_at_fork(after_in_child=give_back)
    if not sys.warnoptions:
        warnings.simplefilter("default")  # the parent's filters decide what is seen
    # It changes no filter, and what was said before counts as old: for the parent it may be new, if it has
    # other filters now, or catches what comes.
    return partial(warnings.simplefilter, "default", append=True)


_levelled: set[str] = set()  # loggers whose levels we have set: one that is not told any more was taken back


def relay_logging(levels: Levels, say: Say) -> None:
    """Have log records go to the parent, from these levels up."""
    import logging  # slow to import, and of use only where the parent has imported it too

    class ToParent(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            say((LOG, _item(), _fields(record)))

    if not any(type(handler).__name__ == ToParent.__name__ for handler in logging.root.handlers):
        handler = ToParent()
        logging.root.addHandler(handler)
        os.register_at_fork(after_in_child=lambda: logging.root.removeHandler(handler))
    there = logging.root.manager.loggerDict
    wanted = {**dict.fromkeys(_levelled, logging.NOTSET), **dict(levels)}
    _levelled.update(wanted)
    later = {}
    for name, level in wanted.items():
        if not name or name in there:  # as a logger, or as a place that those beneath it have made
            logging.getLogger(name).setLevel(level)
        else:
            later[name] = level
    _when_made(later)


def _when_made(levels: dict[str, int]) -> None:
    """Have loggers that are not there yet get these levels when somebody asks for them, or for one beneath
    them. He may want one of a class of his own: a package may, for its own name, and would not take an
    ordinary one."""
    import logging

    manager = logging.root.manager
    ask = type(manager).getLogger

    def get_logger(name: str) -> Any:
        parts = name.split(".") if isinstance(name, str) else ()
        for above in map(".".join, accumulate([part] for part in parts)):
            if above in levels:
                ask(manager, above).setLevel(levels.pop(above))
        return ask(manager, name)

    manager.getLogger = get_logger  # type: ignore[method-assign]


def _fields(record: Any) -> dict[str, Any]:
    """A log record as plain values."""
    fields = {name: _plain(value) for name, value in vars(record).items() if name != "exc_info"}
    fields["msg"], fields["args"] = _message(record, fields["msg"], fields["args"])
    if record.exc_info and not record.exc_text:
        import logging

        fields["exc_text"] = logging.Formatter().formatException(record.exc_info)
    return fields


def _message(record: Any, msg: Any, args: Any) -> tuple[Any, Any]:
    """These two, plain as they are, where they say the same: formatters and filters look at them. Else what
    the record says, as text."""
    if not record.args:
        return msg, args
    try:
        said = record.getMessage()
    except Exception as problem:
        return f"{record.msg!r} (its arguments do not fit it: {problem!r})", None
    try:
        same = msg % args == said
    except Exception:  # a text is there in place of something else
        same = False
    return (msg, args) if same else (said, None)


def _plain(value: Any, within: tuple[int, ...] = (), room: list[int] | None = None) -> Any:
    """The same as strings, numbers, and containers of such; what is none of these, or too large, as a text.
    ``within``: what it lies in, which it may hold itself. ``room``: for how many more elements, as one item
    of a list."""
    if type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0:
        value = value.item()
    kind = type(value)
    if kind in PLAIN:
        return value
    room = [MANY] if room is None else room
    is_plain = kind in (list, tuple, dict) and len(value) <= room[0]
    if not is_plain or len(within) == DEEP or id(value) in within:
        return _text(value)
    room[0] -= len(value)
    within = (*within, id(value))
    if kind is dict:
        return {_plain(name, within, room): _plain(each, within, room) for name, each in [*value.items()]}
    return kind([_plain(each, within, room) for each in value])


def _text(value: Any) -> str:
    try:
        return str(value)
    except Exception as problem:
        return f"<{type(value).__qualname__}, whose text raised {problem!r}>"


# ---- in the parent ---------------------------------------------------------------------------------------


def to_show(message: tuple[Any, ...], pid: int) -> Callable[[], None]:
    """What shows here what a worker said. It raises nothing."""
    return lambda: _show(message, pid)


def _show(message: tuple[Any, ...], pid: int) -> None:
    kind, item, *rest = message
    about = f"(item {item}) " if item is not None else f"(worker {pid}) "
    try:
        if kind in (OUT, ERR):
            stream = sys.stdout if kind == OUT else sys.stderr
            if stream is not None:
                text = "".join([f"{about}{line}\n" for line in rest[0].split("\n")])
                try:
                    stream.write(text)
                except UnicodeEncodeError:  # better than nothing
                    encoding = stream.encoding or "ascii"
                    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        elif kind == LOG:
            _log(rest[0], about, item)
        else:
            _warn(*rest)
    except Exception:  # noqa: S110 - a stream that was closed, or broke; a handler or a filter that raises
        pass
    except BaseException as error:  # a handler that is to end the program, which nothing here can do
        _tell(f"mrpy: what a worker said was shown, and that raised {error!r}")


def _tell(problem: str) -> None:
    try:
        print(problem, file=sys.stderr)
    except Exception:  # noqa: S110 - as above
        pass


def _log(fields: dict[str, Any], about: str, item: int | None) -> None:
    import logging

    msg = fields["msg"]
    told = msg if isinstance(msg, dict) else f"{about}{msg}"  # a dict is for who takes it apart
    record = logging.makeLogRecord({**fields, "msg": told, "mrpy_item": item})
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


_warned: defaultdict[str, dict[Any, Any]] = defaultdict(dict)  # by file, as the warnings module keeps it


def _warn(text: str, module: str, name: str, filename: str, lineno: int) -> None:
    import warnings

    category = getattr(sys.modules.get(module), name, None)
    if not (isinstance(category, type) and issubclass(category, Warning)):
        category = type(name, (UserWarning,), {"__module__": module})
    within = _module_of(filename)  # a filter by module is to know it
    warned = _warned[filename]
    try:
        warnings.warn_explicit(text, category, filename, lineno, within, registry=warned)
    except Warning as warning:  # warnings are errors here, but the line that warned is elsewhere
        if (text, name, lineno) not in warned:
            warned[text, name, lineno] = True
            warnings.showwarning(warning, category, filename, lineno)


def _module_of(filename: str) -> str:
    """The module of a file; where none is known here, what `warnings` calls it then. With None for a module a
    warning is lost."""
    for name, module in list(sys.modules.items()):
        if getattr(module, "__file__", None) == filename:
            return name
    return filename.removesuffix(".py") or "<unknown>"

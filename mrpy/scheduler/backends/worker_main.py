"""The worker's side: a process that reads calls from its socket, runs them, and writes what came of them.

    parent                                        worker
      CODE  number   meta, function       ──────>   kept; opened when it is first run
      FORGET number                       ──────>   dropped
      LEAVE                               ──────>   all are dropped, and it ends
      TRACKER        descriptor           ──────>   used from now on (``tracker.py``)
      RUN   ticket   meta, data, inputs   ──────>   decode ─> perform ─> encode; or nothing, where it waited
                                                    behind another and was taken back (``claims.py``)
                                          <──────   READY once, when it is up
                                          <──────   BEGAN  ticket  place      (only where `careful`)
                                          <──────   THROUGH ticket            (there, too: the rest is ours)
                                          <──────   DONE   ticket  meta, value
                                          <──────   FAILED ticket  meta, failure
                                          <──────   SAID   0       what it printed, logged or warned of
                                          <──────   LEFT   ticket            (to be taken back: ``claims.py``)
      RETURNED       meta                 <─────>   says nothing more

Each meta ends with what there is to say of shared memory, in which large parts lie (``segments.py``): what
is lent with this frame, and which loans are not used any more.

One call at a time, in the order they came, in the main thread. The protocol has a socket of its own, not
the standard streams: the user may print, or close them. The process is started fresh, never forked from
the user's, and does not import the user's main module. It dies with its parent: the kernel kills it and
all its children when the parent's end of the lifeline closes.

This module is imported at the start of every worker. Keep it light.
"""

from __future__ import annotations

import gc
import marshal
import os
import sys
from _contextvars import Context
from _socket import socket
from collections.abc import Sequence
from time import perf_counter

from mrpy.inside import Place, taken
from mrpy.light import TYPE_CHECKING, later, pickle, signal
from mrpy.scheduler import codec, rests
from mrpy.scheduler.backends import last_stack, relay, tracker
from mrpy.scheduler.backends.claims import Claimed
from mrpy.scheduler.backends.segments import Borrower, Lender, Pool
from mrpy.scheduler.backends.transport import Frame, WorkerEnd
from mrpy.scheduler.calls import Parts, TaskStopped, Watch, apart, perform
from mrpy.scheduler.here import go_there

if TYPE_CHECKING:
    from typing import Any

    from mrpy.scheduler import failure as failures
    from mrpy.scheduler.failure import At
    from mrpy.scheduler.here import Here
else:
    failures = later("mrpy.scheduler.failure")

CODE, FORGET, RUN, LEAVE, TRACKER = 1, 2, 3, 4, 5
READY, BEGAN, DONE, FAILED, SAID, THROUGH, LEFT = 11, 12, 13, 14, 15, 16, 17
RETURNED = 21

_F_SETSIG = 10  # Linux; Python's fcntl does not name it


def main(channel: int, lifeline: int, claims: int, stack: int, theirs: tuple[Any, ...]) -> None:
    """Serve until the parent goes away. The last is what `spawn` tells of its interpreter."""
    no_site, safe_path, *prefixes, hash_seed, customized = theirs
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _close_all_but(0, 1, 2, channel, lifeline, claims, stack)
    for ours in (channel, lifeline, stack):  # not for what a task starts, or becomes
        os.set_inheritable(ours, False)
    sock, line = socket(fileno=channel), socket(fileno=lifeline)
    die_with_parent(line)
    last_stack.keep(stack)
    rests.be_asked()
    show_hash_seed(hash_seed)
    late = _late_site(prefixes)
    gc.freeze()  # what is there is there for good: no collection has to go through it
    gc.enable()
    if customized:
        late.load()  # here, behind the closing of descriptors: it may open some
    _pretend(no_site=no_site, safe_path=safe_path)
    os.register_at_fork(after_in_child=sock.close)
    os.register_at_fork(after_in_child=line.close)
    worker = Worker(WorkerEnd(sock), Claimed(claims))
    try:
        with taken(Place.ELSEWHERE):  # also what is imported for a task, and may run something of its own
            worker.serve()
    except OSError:  # the parent is gone, or a task closed our socket, or this is a forked child
        os._exit(1)
    os._exit(0)


def _close_all_but(*ours: int) -> None:
    """What the parent, or a library in it, let its children inherit is none of ours."""
    for fd in map(int, os.listdir("/dev/fd")):
        if fd not in ours:
            try:
                os.close(fd)
            except OSError:  # it was the one for the list
                pass


def die_with_parent(line: socket) -> None:
    """Have this process and its children killed when the other end of `line` closes."""
    if sys.platform == "linux":
        import fcntl

        fcntl.fcntl(line, _F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(line, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(line, fcntl.F_SETFL, fcntl.fcntl(line, fcntl.F_GETFL) | os.O_ASYNC)
        line.setblocking(False)
        try:
            gone = line.recv(1) == b""
        except BlockingIOError:
            gone = False
        if gone:  # it closed before we asked to be told
            os._exit(1)
    else:
        import threading

        threading.Thread(target=_watch, args=(line,), daemon=True).start()


def _watch(line: socket) -> None:
    line.recv(1)
    os.killpg(os.getpgrp(), signal.SIGKILL)


class Worker:
    """What a worker holds between calls: the codes it was sent, and where it believes to be."""

    def __init__(self, end: WorkerEnd, claimed: Claimed) -> None:
        self._end, self._claimed = end, claimed
        self._pool = Pool()
        self._lender = Lender()
        self._borrower = Borrower()
        self._blobs: dict[int, codec.Payload] = {}
        self._codes: dict[int, tuple[Any, bool, Here, Context]] = {}
        self._place: Here | None = None
        self._say_all = relay.relay_streams(self._say)
        self._warn_anew = relay.relay_warnings(self._say)

    def serve(self) -> None:
        """The loop."""
        self._end.send(READY, 0, [])
        while (frame := self._end.receive()) is not None:
            if frame.kind == RUN:
                self._run(frame)
            elif frame.kind == CODE:
                self._keep(frame)
            elif frame.kind == FORGET:
                self._forget(frame.number)
            elif frame.kind == RETURNED:
                self._opened(frame)
            elif frame.kind == TRACKER:
                tracker.share(self._end.fds.popleft())
            elif frame.kind == LEAVE:
                self._drop_all()
                return
            del frame  # and all that hangs on it, before the next is waited for

    def _keep(self, frame: Frame) -> None:
        (shape,), parts = self._opened(frame)
        [self._blobs[frame.number]] = codec.unflatten(shape, parts)

    def _forget(self, number: int) -> None:
        self._blobs.pop(number, None)
        self._codes.pop(number, None)
        if self._borrower.has_unused():
            self._answer(RETURNED, 0, (), [])

    def _drop_all(self) -> None:
        self._blobs.clear()
        self._codes.clear()
        gc.collect()
        self._say_all()

    def _opened(self, frame: Frame) -> tuple[Any, Sequence[Any]]:
        """The meta and the parts of a frame, shared memory taken care of."""
        *meta, loans, unused = marshal.loads(frame.parts[0])
        self._lender.returned(unused)
        return meta, self._borrower.parts(loans, frame.parts[1:], self._end.fds)

    def _answer(self, kind: int, number: int, meta: tuple[Any, ...], parts: list[Any]) -> None:
        lent = self._lender.lend(parts)
        news = (lent.loans, self._borrower.unused())
        self._end.send(kind, number, [marshal.dumps((*meta, *news)), *lent.others], lent.fds)

    def _say(self, message: tuple[Any, ...]) -> None:
        self._end.post(SAID, 0, [marshal.dumps(message)])

    def _run(self, frame: Frame) -> None:
        number = frame.number
        announce: Any = None
        received = perf_counter()
        (code, care, shape, waits), parts = self._opened(frame)
        if waits:
            if not self._claimed.is_ours(number):
                return
        elif (other := self._claimed.leave()) is not None:
            self._end.send(LEFT, other, [])
        payloads = codec.unflatten(shape, parts)
        del frame, parts
        try:
            function, announces, place, context = self._code(code)
            self._go_to(place)
            data, *inputs = [codec.decode(each) for each in payloads]  # a `map` would end at a StopIteration
            del payloads
            announce = self._announcer(number, care) if care is not None and announces else None
            self._warn_anew()
            began = perf_counter()
            made = context.run(perform, function, data, inputs, announce, settings=place.settings)
            if _is_late(announce):
                raise TaskStopped  # as if it had been, in time
            value, note = apart(made)
            seconds = perf_counter() - began
            del data, inputs, made
            in_parts = type(value) is Parts
            answers = [codec.encode(part, back=True) for part in (value if in_parts else (value,))]
            said = None if note is None else pickle.dumps(note, 5)
        except BaseException as error:
            late = _is_late(announce)
            failed = pickle.dumps(announce.overran(), 5) if late else encode_failure(error)
            self._is_through(announce, number)
            self._answer(FAILED, number, (), [failed])
            return
        del value
        self._is_through(announce, number)
        shape, parts = codec.flatten([self._pool.shelve(answer) for answer in answers])
        pickling = perf_counter() - received - seconds
        self._answer(DONE, number, (seconds, pickling, in_parts, shape, said), parts)

    def _announcer(self, number: int, care: tuple[float, float] | tuple[()]) -> Any:
        def announce(item: At | None) -> None:
            self._end.send(BEGAN, number, [marshal.dumps(item)])

        return Watch(announce, *care) if care else announce

    def _is_through(self, announce: Any, number: int) -> None:
        """With all that is the user's: where its time is kept, that is over. What is to be said now may have
        to wait until the parent reads."""
        if announce is not None:
            self._end.send(THROUGH, number, [])
        self._say_all()

    def _code(self, number: int) -> tuple[Any, bool, Here, Context]:
        """The function of this number, opened at its first use: with its own import path in force. In the
        context run its calls: what they set there, of `decimal` say, no other function finds."""
        known = self._codes.get(number)
        if known is None:
            whole, buffers = self._blobs[number]
            announces, place, body = pickle.loads(whole)
            self._go_to(place)
            function = codec.open_function(body, buffers)
            known = self._codes[number] = (function, announces, place, Context())
            del self._blobs[number]
        return known

    def _go_to(self, place: Here) -> None:
        """Be where the user was when he wrote this call."""
        if place is self._place or place == self._place:
            _go_back(place.folder)
            return
        go_there(place, self._place)
        if place.levels is not None:
            relay.relay_logging(place.levels, self._say)
        if place.key is not None:
            from multiprocessing.process import current_process  # heavy, and only for managers

            current_process().authkey = place.key
        self._place = place


def _go_back(folder: str | None) -> None:
    """To the working directory, in case that the last task has left it."""
    try:
        if folder is not None and _folder() != folder:
            os.chdir(folder)
    except OSError:  # it was renamed or removed, and this is still the one
        pass


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


def _is_late(announce: Any) -> bool:
    return type(announce) is Watch and announce.is_late()


def encode_failure(error: BaseException) -> bytes:
    """The failure as bytes."""
    failure = failures.capture(error, travels=True)
    try:
        return pickle.dumps(failure, 5)
    except Exception:
        return pickle.dumps(failures.Failure(failure.type_name, failure.message, failure.trace), 5)


def show_hash_seed(theirs: str | None) -> None:
    """It was for this process alone: tasks, and what they start, see what the user's process sees."""
    if theirs is None:
        os.environ.pop("PYTHONHASHSEED", None)
    else:
        os.environ["PYTHONHASHSEED"] = theirs


def _late_site(prefixes: Any) -> _SiteFinder:
    """Workers start without the ``site`` module, which can cost more than all the rest. What it sets up,
    import hooks of editable installs above all, is made up for when first an import fails; but where
    the user's installation is, a virtual environment say, is known at once."""
    import builtins
    from _sitebuiltins import Quitter

    for name in ("exit", "quit"):
        setattr(builtins, name, Quitter(name, "Ctrl-D (i.e. EOF)"))
    finder = _SiteFinder(sys.prefix, sys.exec_prefix)
    sys.meta_path.append(finder)
    sys.prefix, sys.exec_prefix = prefixes
    return finder


# What the standard library tries on other systems (nt, and Jython's org). ``site`` has none of it, and to run
# it then would import pathlib, say, in the middle of pathlib's own import.
_NEVER_FROM_SITE = sys.stdlib_module_names | {"org"}


def _pretend(**theirs: object) -> None:
    """Interpreters that a task starts, those of `multiprocessing` say, take over the flags of this one. They
    are to be those of the user's: ``-S`` and ``-P`` are for workers only."""
    flags = {name: getattr(sys.flags, name) for name in dir(sys.flags) if name[0] != "_"}
    sys.flags = type(sys.implementation)(**{**flags, **theirs})  # type: ignore


class _SiteFinder:
    """The last finder: runs ``site`` once, then asks all the others again."""

    def __init__(self, *bare: str) -> None:
        self._bare = bare  # the prefixes that ``site`` begins with

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """As importlib wants it."""
        if name.partition(".")[0] in _NEVER_FROM_SITE:
            return None
        self.load()
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                return spec
        return None

    def load(self) -> None:
        """Run ``site``."""
        sys.meta_path.remove(self)
        before, prefixes = list(sys.path), (sys.prefix, sys.exec_prefix)
        sys.prefix, sys.exec_prefix = self._bare
        import site

        site.main()
        sys.prefix, sys.exec_prefix = prefixes
        sys.path[:] = before + [entry for entry in sys.path if entry not in before]

"""What the parent sleeps on: the sockets and exits of its workers, and a pipe by which sleepers are woken.

    a consumer that waits ──┐                                 ┌─> saved, until the one who drives takes it
                            ├─> sleep ──> epoll ──> events ───┤
    driver's thread ────────┘                                 └─> take

Several threads may sleep on one `EpollPoller`. The kernel wakes one of them for each event, the last that lay
down: a consumer who waits for an answer is woken by the answer, and the driver's thread sleeps on. That is so
only where an event is told once (EPOLLET). So whoever is woken saves what he was told for the one who drives;
and who takes it has to read to the end, and to write until no more goes, since he is not told again.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import selectors
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial

from mrpy.light import TYPE_CHECKING, Any, NamedTuple
from mrpy.scheduler.backends.brief import Brief
from mrpy.scheduler.backends.spawn import take_standard

if TYPE_CHECKING:
    from typing import ClassVar

AT_ONCE = 64  # events taken over in one call; the others stay where they are. Out of the air


class Event(NamedTuple):
    """Something happened to a descriptor of this owner. ``ended``: nothing comes after what
    is there, and that is not told again."""

    owner: Any
    fd: int
    writable: bool = False
    ended: bool = False


class Pipe:
    """Wakes those who sleep. For any thread, and for signal handlers."""

    def __init__(self) -> None:
        self.fd, self._to = os.pipe()  # sleep on the first
        os.set_blocking(self.fd, False)
        os.set_blocking(self._to, False)
        # Files know when they are closed. The number of a descriptor may have become another's by then.
        self._reader = io.FileIO(self.fd, "r", closefd=False)
        self._writer = io.FileIO(self._to, "w", closefd=False)
        self._write = self._writer.write
        self._written = False
        self._closed_by_others = False

    def write(self) -> bool:
        """Have somebody wake up, now or when he next goes to sleep. False: somebody has closed what is not
        his, and nobody can be woken."""
        if not self._written:
            self._written = True
            try:  # no call between these two: a signal handler that raises would get in between
                self._write(b"!")
            except ValueError:  # closed in the meantime
                pass
            except OSError:
                self._closed_by_others = True
        return not self._closed_by_others

    def drain(self) -> None:
        """For the one who drives, before he looks at what he was woken for."""
        with contextlib.suppress(ValueError):  # closed in the meantime
            self._reader.read(4096)
        # Only now: a wake that comes before this writes nothing, but what it announces is there already, and
        # is looked at after this. The other way round its byte could be read here and the flag stay set: no
        # later wake would write, and everybody would sleep on.
        self._written = False

    def close(self) -> None:
        """Give back the descriptors."""
        self._writer.close()
        self._reader.close()
        for fd in (self._to, self.fd):
            with contextlib.suppress(OSError):  # somebody has closed what is not his
                os.close(fd)


class Poller:
    """For one sleeper at a time, with what every system has. `take` looks for itself."""

    shared: ClassVar[bool] = False  # True: several threads may sleep at once
    saved: Sequence[Any] = ()  # what somebody was told of, and nobody has taken yet

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self.pipe = Pipe()
        self._selector.register(self.pipe.fd, selectors.EVENT_READ, None)

    def add(self, fd: int, owner: Any) -> None:
        """Tell when there is something to read, or it has ended."""
        self._selector.register(fd, selectors.EVENT_READ, owner)

    def writes(self, fd: int, waiting: bool) -> None:
        """Tell also when it takes bytes again, while some are waiting for that."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if waiting else 0)
        key = self._selector.get_key(fd)
        if key.events != events:
            self._selector.modify(fd, events, key.data)

    def remove(self, fd: int) -> None:
        """Before it is closed; also where it could not be added."""
        with contextlib.suppress(KeyError):
            self._selector.unregister(fd)

    def sleep(self, timeout: float | None, *, leading: bool = False, brief: bool = False) -> None:
        """Until something happens; for the one who drives, also where others were told of something.
        ``brief``: he may look for it himself for a moment (`Brief`), since no worker needs his processor."""
        self._selector.select(timeout)

    def pass_on(self) -> None:
        """If somebody was told what nobody has taken yet: wake another one."""

    def take(self) -> Iterator[Event]:
        """What has happened, for the one who drives. Drains the pipe."""
        for key, events in self._selector.select(0):
            if key.data is None:
                self.pipe.drain()
            else:
                yield Event(key.data, key.fd, bool(events & selectors.EVENT_WRITE))

    def close(self) -> None:
        """Give back the descriptors. Nobody may be asleep."""
        self._selector.close()
        self.pipe.close()


class EpollPoller(Poller):
    """For any number of sleepers, see above."""

    shared = True

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._owners: dict[int, Any] = {}
        self._writing: set[int] = set()
        self.saved: deque[tuple[int, int]] = deque()
        self._brief = Brief(partial(self._epoll.poll, 0, AT_ONCE))
        self.pipe = Pipe()
        self._epoll.register(self.pipe.fd, select.EPOLLIN | select.EPOLLET)

    def add(self, fd: int, owner: Any) -> None:
        self._owners[fd] = owner
        self._epoll.register(fd, select.EPOLLIN | select.EPOLLET)

    def writes(self, fd: int, waiting: bool) -> None:
        if waiting != (fd in self._writing):
            (self._writing.add if waiting else self._writing.discard)(fd)
            events = select.EPOLLIN | select.EPOLLET | (select.EPOLLOUT if waiting else 0)
            self._epoll.modify(fd, events)  # which tells at once what it is ready for already

    def remove(self, fd: int) -> None:
        self._writing.discard(fd)
        if self._owners.pop(fd, None) is not None:
            with contextlib.suppress(OSError):  # somebody has closed what is not his
                self._epoll.unregister(fd)

    def sleep(self, timeout: float | None, *, leading: bool = False, brief: bool = False) -> None:
        if leading and self.saved:
            return
        sleep = partial(self._epoll.poll, timeout, AT_ONCE)
        self.saved.extend(self._brief.wait(sleep) if brief else sleep())

    def pass_on(self) -> None:
        if self.saved:
            self.pipe.drain()  # whoever took that from it slept in vain
            self.pipe.write()

    def take(self) -> Iterator[Event]:
        if not self.saved:  # else what happened since then is told the next time, or to the next sleeper
            self.saved.extend(self._epoll.poll(0, AT_ONCE))
        happened: dict[int, int] = {}
        while self.saved:
            fd, events = self.saved.popleft()
            happened[fd] = happened.get(fd, 0) | events
        if happened.pop(self.pipe.fd, 0):
            self.pipe.drain()
        for fd, events in happened.items():
            owner = self._owners.get(fd)
            if owner is not None:  # else it was removed since
                yield Event(owner, fd, bool(events & select.EPOLLOUT), bool(events & select.EPOLLHUP))

    def close(self) -> None:
        with contextlib.suppress(OSError):  # as above
            self._epoll.close()
        self.pipe.close()


def poller() -> Poller:
    """The best that there is here."""
    take_standard()
    return EpollPoller() if hasattr(select, "epoll") else Poller()

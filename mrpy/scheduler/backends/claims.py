"""Who runs a task that waits behind another one: the worker that has it, or one that has nothing to do.

    parent    RUN, and its number into a pipe      (`Claims.grant`)
    worker    takes the number out before it begins: the task is its own; or it finds none, and passes it over
    parent    takes the number out                 (`Claims.take_back`): now another worker may have it
    worker    says LEFT where it has taken out the number of a later task, as one was taken back, and is to
              begin one that was not granted: that may take long   (`Claimed.leave`)

What is read out of a pipe is gone, so only one of the two can have it, and neither waits for the other.
"""

from __future__ import annotations

import os

SIZE = 8  # bytes of a number: so few are read in one piece


class Claims:
    """The parent's side, for one worker. Raises OSError where there are no descriptors left."""

    def __init__(self) -> None:
        self.fd, self._grants = os.pipe()  # the first is for the worker as well
        os.set_blocking(self.fd, False)

    def grant(self, *numbers: int) -> None:
        """Leave these to whoever comes first."""
        os.write(self._grants, b"".join([number.to_bytes(SIZE, "little") for number in numbers]))

    def take_back(self) -> int | None:
        """The first one that the worker has not begun, if there is such."""
        return _read(self.fd)

    def close(self) -> None:
        """Give back the descriptors."""
        os.close(self.fd)
        os.close(self._grants)


class Claimed:
    """The worker's side."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._next: int | None = None  # the first that was not taken back
        os.set_inheritable(fd, False)

    def is_ours(self, number: int) -> bool:
        """Whether the parent has not taken it back. To be asked once for each that was granted, in order.
        Raises OSError where somebody has closed what is read from."""
        if self._next is None:
            self._next = _read(self._fd)
        if self._next != number:
            return False
        self._next = None
        return True

    def leave(self) -> int | None:
        """The one that it has looked at in place of one that was taken back: it is not ours any more."""
        number, self._next = self._next, None
        return number


def _read(fd: int) -> int | None:
    try:
        number = os.read(fd, SIZE)
    except BlockingIOError:
        return None
    if len(number) < SIZE:
        raise OSError("claims were closed")
    return int.from_bytes(number, "little")

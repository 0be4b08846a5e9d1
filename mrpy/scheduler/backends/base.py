"""The seam between *when* and *where*: what a backend is, and what it promises.

A backend runs calls. It decides nothing: the scheduler says what starts, the backend says what became
of it. `start`, `stop`, `wait`, `listen`, `due` and `release` are called by one thread at a time, the one
that drives the scheduler; the others by any, `fetch` where the value is kept.

The contract (``tests/test_backends.py`` holds every backend to it)
-------------------------------------------------------------------
* ``start`` never raises for the task's sake: whatever is wrong with a call comes back as a fact.
* Every start is answered by exactly one of Succeeded, Failed, Lost, Stopped, with its attempt.
* ``wait`` blocks until there is a fact, `timeout` seconds are over, or `wake` was called. It does not poll:
  who has nothing to do takes no time of a processor.
* Values stay in the backend under the task's key until ``release``. ``fetch`` hands over a `Value`,
  which is opened by the consumer, in the consumer's thread. What the call noted beside it is there already.
* The user's exception is Failed; the loss of a worker is Lost. They are never confused.
* ``close`` may be called twice, and leaves no thread, process, descriptor or file behind.
* How many tasks it takes at once is said by a Slots fact, at the beginning and whenever it changes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from mrpy.light import TYPE_CHECKING, Any
from mrpy.scheduler.calls import Call
from mrpy.scheduler.messages import Fact, Key, Start
from mrpy.scheduler.said import Said

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ClassVar, Protocol
    from weakref import WeakMethod
else:
    Protocol = object


class Value(Protocol):
    """A result that has been handed over. It outlives its release."""

    @property
    def nbytes(self) -> int:
        """About how many bytes it takes."""

    @property
    def note(self) -> Any:
        """What the call had to say beside it (`Noted`). None: nothing, or it was fetched before."""

    def load(self) -> Any:
        """Open it. Raises what the user's own unpickling raises, as a `SerializationError`."""


class Backend(ABC):
    """Where tasks run."""

    name: ClassVar[str]
    threaded: ClassVar[bool] = True  # False: `wait` itself runs the tasks, in the caller's thread
    remote: ClassVar[bool] = True  # False: values never leave this process, nothing is pickled
    near: ClassVar[bool] = True  # False: values are fetched from afar, and workers may have another Python
    elastic: ClassVar[bool] = False  # True: it can take more tasks than it has slots for, where it must
    inline: ClassVar[bool] = False  # True: any thread may drive, one at a time, and sleep in `block`
    spills: ClassVar[bool] = True  # False: what does not fit into memory is its own business
    led: bool = False  # True: several may sleep in `block`; of each event one is told, the last to come
    said = Said()  # what tasks say on the way: each that has such has its own
    deaf: bool = False  # who sleeps in it cannot be woken: its descriptors were closed by somebody else
    hurried: bool = False  # whoever closes it, or is about to, does not want to wait
    end_in_order: WeakMethod[Callable[[], None]] | None = None  # by who drives it, at the end of the process
    workers: int

    def pack(self, call: Call) -> Call:
        """Make a call ready to travel. Called by the thread that adds the task, so that a source is
        read, and an argument pickled, only there. May raise `SerializationError`."""
        return call

    @abstractmethod
    def start(self, order: Start) -> None:
        """Begin an attempt."""

    @abstractmethod
    def stop(self, key: Key, attempt: int) -> None:
        """End an attempt soon, by force if need be; still answered by one fact."""

    @abstractmethod
    def wait(self, timeout: float | None) -> list[Fact]:
        """Block until something happened; return it. `None` waits for ever."""

    def block(self, timeout: float | None, *, leading: bool = False) -> None:
        """Where it is `inline`: block as `wait` does, but take nothing in. Others may drive meanwhile, unless
        one is `leading`: he may take in what he likes."""
        raise NotImplementedError

    def listen(self) -> None:  # noqa: B027 - as below
        """Ask all who owe an answer. Another thread may have been told of it, and still wait for the
        interpreter lock, which we have: then `wait` has nothing of it yet."""

    def pass_on(self) -> None:  # noqa: B027 - there is nothing to do for most
        """Where it is `led`: if one `block` has ended by what nobody has taken in yet, have another end."""

    def due(self) -> float | None:
        """Where it is `inline`: the time of the clock at which `wait` has to be called at the latest."""
        raise NotImplementedError

    @abstractmethod
    def wake(self) -> None:
        """Make the present or the next `wait` return. For any thread, at any time."""

    @abstractmethod
    def fetch(self, key: Key) -> Value:
        """Hand over the value of a task that succeeded. For any thread, if the value is kept."""

    def bring(self, value: Value, until: float) -> bool:
        """Where it is not `near`: have a value here, by then, so that to load it does not wait. Say whether
        it is. For any thread."""
        return True

    @abstractmethod
    def release(self, key: Key) -> None:
        """Forget a value."""

    @abstractmethod
    def close(self) -> None:
        """Stop everything and leave nothing behind. Unless it is `hurried`, wait for what is torn down."""

    def ask_back(self, key: Key) -> bool:
        """If others have nothing to do, have whoever runs this give back what he has not begun, if he can: it
        ends sooner then. Say whether he was asked. For any thread."""
        return False

    def runs_here(self, key: Key) -> bool:
        """Whether this task runs in the thread that asks, and another than the user's own. For any thread."""
        return False

    def hurry(self) -> None:
        """Make `close`, now or later, not wait. For any thread."""
        self.hurried = True
        self.wake()

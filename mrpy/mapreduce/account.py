"""Where the time of a run went: a few sums, kept by whoever does the work, read by `explain`."""

from __future__ import annotations

from time import perf_counter

from mrpy.light import TYPE_CHECKING
from mrpy.mapreduce.skipped import Skipped, together

if TYPE_CHECKING:
    from mrpy.scheduler.driver import Delivery
    from mrpy.scheduler.job import Job


class Account:
    """The sums of one run, in seconds where nothing else is said.

    ``computing``  in the user's functions, all workers together
    ``pickling``   writing chunks and opening results, in the consumer's thread
    ``unpacking``  the opposite: opening chunks and writing results, all workers together
    ``waiting``    the consumer waited for workers
    ``elapsed``    from the first pull to the end
    ``publishing``  the consumer made an output of the parts, after that
    ``brought``    bytes of what is shuffled or sorted, about, that stayed in memory
    ``spilled``    files with more of that, and their bytes
    """

    def __init__(self) -> None:
        self.backend = ""
        self.workers = 0
        self.items = 0
        self.chunks = 0
        self.tasks = 0
        self.again = 0  # chunks sent once more, since something in them went wrong
        self.smallest = 0  # items of a chunk
        self.largest = 0
        self.computing = 0.0
        self.pickling = 0.0
        self.unpacking = 0.0
        self.waiting = 0.0
        self.elapsed = 0.0
        self.publishing = 0.0
        self.brought = 0
        self.spilled = 0, 0
        self.skipped = Skipped()
        self.of_the_run = [self]  # the accounts of all sides of it
        self._began = perf_counter()
        self._is_open = False  # its run is under way

    def begun(self) -> Account:
        """The account of a run that begins now: this one, unless another run is under way, and has it."""
        if self._is_open:
            return Account()
        self.skipped = Skipped()
        return self

    def sent(self, items: int, piece: int | None) -> None:
        """A task of so many items was sent: one chunk, or several of `piece` items."""
        size = items if piece is None else min(items, piece)
        self.items += items
        self.chunks += -(-items // size)
        self.tasks += 1
        self.smallest = min(self.smallest, size) if self.smallest else size
        self.largest = max(self.largest, size)

    def took(self, delivery: Delivery) -> None:
        """A task has ended."""
        self.computing += delivery.seconds
        self.unpacking += delivery.pickling

    def skip(self, note: Skipped | None, limit: int | None) -> None:
        """A task has skipped these. Raises `TooManyErrors` where the run has skipped more than so many."""
        if note is None:
            return
        self.skipped.join(note)
        whole = together(account.skipped for account in self.of_the_run)
        if limit is not None and whole.is_over(limit):
            raise whole.too_many(limit, note)
        note.let_go()

    def running(self, job: Job) -> Account:
        """To be used in a ``with`` statement around the run."""
        self.backend, self.workers = job.driver.backend.name, job.driver.backend.workers
        return self

    def __enter__(self) -> None:
        self._began, self._is_open = perf_counter(), True

    def __exit__(self, *_: object) -> None:
        self._is_open = False
        self.elapsed = perf_counter() - self._began

    @property
    def idle(self) -> float:
        """Seconds that workers did nothing for this run, all together."""
        return max(0.0, self.elapsed * self.workers - self.computing - self.unpacking)

"""What runs on workers of a `Job`: its methods as mapper, combiner and reducer, and the counters.

Each worker (a process, or a thread of one) has an instance of its own, a copy that is set up at its first
record, shared by the map and the reduce side, and torn down when nobody refers to it any more: the worker has
been told to forget the functions of the run. For both sides the job is pickled once, and opened once on each
worker: what its set-up leaves in a class of the user's, or in a global, a second one would write over.

What is counted travels as pairs, under keys of a kind of its own, through the same shuffle as the results.
So whatever is run again is not counted twice: the results of an attempt that failed are not there.
"""

from __future__ import annotations

import copy
import os
from _thread import RLock, _local
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from types import GeneratorType
from typing import Any
from weakref import WeakValueDictionary

from mrpy.errors import SerializationError
from mrpy.light import Frozen, pickle
from mrpy.mapreduce.set_up import SetUp
from mrpy.mapreduce.shuffle import Pairs
from mrpy.scheduler.codec import Payload, decode, encode_function


@dataclass(frozen=True, slots=True, order=True)
class Tally:
    """The key under which a counter travels: in a part of its own where keys are sorted."""

    name: str


class Counted(Frozen):
    """Among the values of a key: what its reduce has counted."""

    counts: dict[str, int]


class Counting(dict[str, int]):
    """What a call of `map` or `reduce` has counted so far."""

    def count(self, name: str, number: int) -> None:
        """So many more."""
        self[name] = self.get(name, 0) + number


class Refusing:
    """Where nothing can be counted: who knows how often a combiner runs?"""

    def count(self, name: str, number: int) -> None:
        """Say so."""
        raise TypeError(
            f"count({name!r}): only map() and reduce() can count; how often combine() or setup() run depends "
            "on where the input is cut, and on the number of workers"
        )


def _counts_for(job: Any, counts: Any) -> Any:
    """Have a job count there. Its class may forbid the usual way, as a frozen dataclass does."""
    object.__setattr__(job, "_mrpy_counts", counts)
    return counts


class _Instance:
    """A job that was set up. With the last reference to this it is torn down. ``broken_off``: a Ctrl-C amid
    that, which nothing that is raised here can tell of; then none of the others is torn down."""

    def __init__(self, job: Any, broken_off: list[KeyboardInterrupt]) -> None:
        self._broken_off = broken_off
        self.job = copy.copy(job)
        _counts_for(self.job, Refusing())
        self.pairs = Pairs(self.job.map)
        self.carry = SetUp(self.job.setup).carry
        self.torn_down = self.job.teardown

    def __del__(self) -> None:
        if hasattr(self, "torn_down") and not self._broken_off:  # else its set-up has failed
            _counts_for(self.job, Refusing())
            try:
                self.torn_down()
            except KeyboardInterrupt as error:
                self._broken_off.append(error)


class _Site:
    """The instances of a run in this process, one per thread, and the job that they are copies of, as it
    was opened."""

    def __init__(self) -> None:
        self.local = _local()
        self.broken_off: list[KeyboardInterrupt] = []
        self.opened: list[Any] = []


_sites: WeakValueDictionary[int, _Site] = WeakValueDictionary()
_opening = RLock()


def _forget_after_fork() -> None:
    global _opening
    _opening = RLock()


os.register_at_fork(after_in_child=_forget_after_fork)


class OnWorker:
    """A job, and the instance that works for it here. The same number means the same run, of whichever
    process: on a cluster there are others."""

    cure = "make it in setup()"  # of what cannot travel: see `mrpy.scheduler.culprit`

    def __init__(self, job: Any, number: int | None = None) -> None:
        self.job = job
        self._number = number if number is not None else int.from_bytes(os.urandom(16))
        self._site: _Site | None = _sites.setdefault(self._number, _Site())
        self._runs = 0  # that are under way in this process
        self._packed: Payload | None = None  # the job of these runs

    def __reduce__(self) -> Any:
        try:
            body, buffers = self._packed = self._packed or encode_function(self.job, type(self.job).__name__)
        except SerializationError:  # said better where that is found which cannot travel
            return OnWorker, (self.job, self._number)
        return _there, (self._number, body, *map(pickle.PickleBuffer, buffers))

    def instance(self) -> _Instance:
        """That of this worker; set up if it is new."""
        if self._site is None:
            raise RuntimeError("the run has ended")  # in a task that was abandoned: nobody hears it
        local = self._site.local
        try:
            instance: _Instance = local.instance
        except AttributeError:
            instance = local.instance = _Instance(self.job, self._site.broken_off)
        instance.carry()
        return instance

    def enter(self) -> None:
        """A run begins: the first, or another one over all records."""
        self._packed = self._packed if self._runs else None
        self._runs += 1
        self._site = self._site or _sites.setdefault(self._number, _Site())

    def leave(self) -> None:
        """It has ended, as far as this process is concerned. Who is still at work keeps his instance. Raises
        the Ctrl-C that came while the others were torn down."""
        self._runs -= 1
        if not self._runs and self._site is not None:
            broken_off = self._site.broken_off
            self._site = self._packed = None
            if broken_off:
                raise broken_off.pop()


def _there(number: int, body: Any, *buffers: Any) -> OnWorker:
    """The job of a run on a worker, opened unless it was for the other side of the shuffle."""
    with _opening:
        site = _sites.setdefault(number, _Site())
        if not site.opened:
            site.opened.append(decode(Payload(body, buffers)))
        return OnWorker(site.opened[0], number)


class Method:
    """A method of a job as a function for a MapReduce."""

    __slots__ = ("__qualname__", "worker")
    name = ""
    code: Callable[..., Any]  # by this, and by the next, a checkpoint knows it
    kind: type

    def __init__(self, worker: OnWorker) -> None:
        self.worker = worker
        self.code = getattr(type(worker.job), self.name)
        self.kind = type(worker.job)  # type: ignore[misc]  # whose other methods it may call
        self.__qualname__ = f"{type(worker.job).__name__}.{self.name}"

    def __reduce__(self) -> Any:
        return type(self), (self.worker,)


class Mapping(Method):
    """``map``: the pairs of a record, and behind them what it has counted."""

    __slots__ = ("code", "kind")
    name = "map"
    apart = Tally  # see `mrpy.mapreduce.shuffle.kept_apart`

    def __call__(self, record: Any) -> Iterator[tuple[Any, Any]]:
        instance = self.worker.instance()
        counts = _counts_for(instance.job, Counting())
        try:
            yield from instance.pairs(record)
        except (Exception, SystemExit):  # the record may be skipped; what was counted of it stands
            yield from _tallies(counts)
            raise
        if counts:
            yield from _tallies(counts)

    @staticmethod
    def stands(pair: Any) -> bool:
        """Whether a pair stands where its record fails, and something else is put in its place."""
        return type(pair[0]) is Tally


def _tallies(counts: Counting) -> Iterator[tuple[Tally, int]]:
    return ((Tally(name), number) for name, number in counts.items())


class Combining(Method):
    """``combine``."""

    __slots__ = ("code", "kind")
    name = "combine"

    def __call__(self, key: Any, values: Iterator[Any]) -> Any:
        if type(key) is Tally:
            return sum(values)
        job = self.worker.instance().job
        before = job._mrpy_counts  # of a record in the midst of whose pairs this is
        _counts_for(job, Refusing())
        try:
            made = job.combine(key, values)
            return (value for value in list(made)) if type(made) is GeneratorType else made
        finally:
            _counts_for(job, before)


class Reducing(Method):
    """``reduce``: the value or the values of a key, and behind them what was counted."""

    __slots__ = ("code", "kind")
    name = "reduce"

    def __call__(self, key: Any, values: Iterator[Any]) -> Any:
        if type(key) is Tally:
            return sum(values)
        job = self.worker.instance().job
        counts = _counts_for(job, Counting())
        made = job.reduce(key, values)
        if type(made) is GeneratorType:
            return (value for value in chain(made, _counted(counts)))
        return (value for value in (made, Counted(counts))) if counts else made


def _counted(counts: Counting) -> Iterator[Counted]:
    if counts:
        yield Counted(counts)


def without_counts(
    pairs: Iterator[tuple[Any, Any]], counters: dict[str, int], worker: OnWorker, last: bool
) -> Iterator[tuple[Any, Any]]:
    """The pairs of a run; what was counted goes to the counters. ``last``: of the jobs that have these, which
    begins before the others: they are about one run, the one that was begun last."""
    if last:
        counters.clear()
    worker.enter()
    try:
        for pair in pairs:
            key, value = pair
            if type(key) is Tally:
                counters[key.name] = counters.get(key.name, 0) + value
            elif type(value) is Counted:
                for name, number in value.counts.items():
                    counters[name] = counters.get(name, 0) + number
            else:
                yield pair
    finally:
        worker.leave()

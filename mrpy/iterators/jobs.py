"""Jobs: a MapReduce as a class, with set-up, counters, and others behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from mrpy.errors import OptionError
from mrpy.iterators.keyed import Shuffle, Side, keyed
from mrpy.iterators.stream import ParallelIterator, stream_of
from mrpy.light import R, T
from mrpy.mapreduce.job_tasks import Combining, OnWorker, Reducing, without_counts
from mrpy.mapreduce.job_tasks import Mapping as Mapped
from mrpy.mapreduce.plan import Plan
from mrpy.options import over, resolve

_HERE = {  # what other libraries call it
    "mapper": "map", "reducer": "reduce", "combiner": "combine", "steps": "first | second",
    "mapper_init": "setup", "combiner_init": "setup", "reducer_init": "setup", "set_up": "setup",
    "mapper_final": "teardown", "reducer_final": "teardown", "cleanup": "teardown", "tear_down": "teardown",
}  # fmt: skip
_ATTRIBUTES = ("partitions", "sort", "combine")  # arguments of the verb `mapreduce`


class Job:
    """A MapReduce to be subclassed. ``Job().run(records)`` gives its (key, value) pairs.

    >>> import mrpy
    >>> class CountWords(mrpy.Job):
    ...     def map(self, line):
    ...         if not line:
    ...             self.count("empty lines")
    ...         for word in line.split():
    ...             yield word, 1
    ...
    ...     def reduce(self, word, counts):
    ...         return sum(counts)
    ...
    ...     combine = reduce
    >>> pairs = CountWords().run(["a b a", "", "b a"], backend="serial")
    >>> sorted(pairs), pairs.counters
    ([('a', 3), ('b', 2)], {'empty lines': 1})

    ``first | second`` is a job whose second part gets the pairs of the first one as its records. Attributes
    of an instance travel with it; what cannot travel, as a connection, is made in `setup`. The same as a
    function: `mrpy.mapreduce`.

    ``partitions``  into how many tasks the keys are divided
    ``sort``        whether pairs come in the order of their keys
    ``options``     run options of this job, not of those behind it; those given to `run` come before them
    """

    partitions: Any = "auto"  # Any, since what a subclass says has a type of its own
    sort: Any = False
    combine: Any = None
    if not TYPE_CHECKING:  # some have it as a ClassVar, some set it in `__init__`: no declaration allows both
        options = {}
    _mrpy_counts: Any = None

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        for theirs in _HERE.keys() & vars(cls).keys():
            raise TypeError(f"{cls.__name__}.{theirs}: in a mrpy.Job this is called {_HERE[theirs]!r}")

    def map(self, record: Any, /) -> Any:
        """Return a (key, value) pair, or several in a list or dict, or yield them. By default the record
        itself, which is a pair where it comes from a job before."""
        return record

    def reduce(self, key: Any, values: Iterator[Any], /) -> Any:
        """Return the value of a key, or yield several. By default all its values. A ``combine`` of the same
        shape, where there is one, is applied on the workers before anything travels."""
        yield from values

    def setup(self) -> None:
        """Called once per worker, before its first record, on the instance that works there. What it makes is
        there in all the methods of the job: in ``self``, best of all, or in a class or a global."""

    def teardown(self) -> None:
        """Called once per worker, when it lets go of the job: soon after the run, and before the end of the
        session or of the program, which wait ten seconds at most; on threads in the thread of who iterates.
        Not in a worker that is killed, and not for Ctrl-C; and what it raises goes to standard error. So it
        is for closing things, not for results."""

    def count(self, name: str, number: int = 1) -> None:
        """In `map` or `reduce`: add to a counter. Records that are run again are counted once. Outside of a
        run nothing is counted, so that `map` can be tried by itself."""
        if self._mrpy_counts is not None:
            self._mrpy_counts.count(name, number)

    def run(self, inputs: Iterable[Any], /, **options: Any) -> Pairs:
        """The pairs, lazily; options as for every verb."""
        return Chain(self).run(inputs, **options)

    def __or__(self, following: Any) -> Chain:
        return Chain(self, following) if isinstance(following, Job) else NotImplemented

    def _own_options(self) -> Mapping[str, Any]:
        job: Any = self
        options: Mapping[str, Any] = job.options or {}
        return options

    def _run(
        self, inputs: Iterable[Any], given: dict[str, Any], counters: dict[str, int], *, last: bool
    ) -> Pairs:
        records = stream_of(inputs, over(self._own_options(), given))
        worker = OnWorker(self)
        combiner = Combining(worker) if self.combine is not None else None
        shuffle = Shuffle(Reducing(worker), combiner, self.partitions, self.sort)
        pairs = keyed([Side(records._taken(), Mapped(worker))], shuffle, records._given)
        results = pairs._by("counters", without_counts, counters, worker, last)
        made: Pairs = JobRun(results._plan, results._given)
        made.counters = counters
        return made


class Chain(Job):
    """Jobs of which each gets the pairs of the one before. Made by ``first | second``."""

    def __init__(self, *jobs: Job) -> None:
        self.jobs: tuple[Job, ...] = sum((job.jobs if isinstance(job, Chain) else (job,) for job in jobs), ())

    def run(self, inputs: Iterable[Any], /, **options: Any) -> Pairs:
        """The pairs of the last job, lazily; the counters of all of them. A checkpoint is for the first."""
        for name in options.keys() & set(_ATTRIBUTES):
            text = f"{name}= is an attribute of a mrpy.Job"
            raise OptionError(f"{text}: write {name} = {options[name]!r} in its class")
        counters: dict[str, int] = {}
        theirs = inputs._given if isinstance(inputs, ParallelIterator) else {}
        (first, given), *others = self._given_to_each(options, theirs)
        pairs: Pairs = first._run(inputs, given, counters, last=not others)
        for number, (job, given) in enumerate(others, 1):  # each has the options of its class alone
            records: ParallelIterator[Any] = ParallelIterator(pairs._taken(), theirs)
            pairs = job._run(records, {**given, "checkpoint": None}, counters, last=number == len(others))
        return pairs

    def _given_to_each(
        self, options: dict[str, Any], theirs: dict[str, Any]
    ) -> list[tuple[Job, dict[str, Any]]]:
        """The jobs, and the options that they are given: how many items may be skipped is for those that
        skip, if some do."""
        others = {name: value for name, value in options.items() if name != "max_errors"}
        if len(self.jobs) == 1 or len(others) == len(options):
            return [(job, options) for job in self.jobs]
        each = [over(theirs, over(job._own_options(), others)) for job in self.jobs]
        skip = [resolve(merged).on_error == "skip" for merged in each]
        return [
            (job, options if skips or not any(skip) else others)
            for job, skips in zip(self.jobs, skip, strict=True)
        ]

    def __repr__(self) -> str:
        return " | ".join(f"{type(job).__name__}()" for job in self.jobs)


class JobRun(ParallelIterator[T]):
    """The pairs of a job: a parallel iterator. ``counters``, a dict, is complete when it has ended."""

    def __init__(self, plan: Plan, given: dict[str, Any]) -> None:
        super().__init__(plan, given)
        self.counters: dict[str, int] = {}

    def _then(self, step: Any) -> JobRun[Any]:
        return self._counting(super()._then(step))

    def _after(self, items: Iterable[R]) -> JobRun[R]:
        return self._counting(super()._after(items))

    def _counting(self, made: Any) -> JobRun[Any]:
        made.counters = self.counters
        run: JobRun[Any] = made
        return run

    if TYPE_CHECKING:  # what is made of it has the counters, too

        def map(self, function: Callable[[T], R]) -> JobRun[R]: ...
        def starmap(self, function: Callable[..., R]) -> JobRun[R]: ...
        def filter(self, predicate: Callable[[T], Any] | None) -> JobRun[T]: ...  # type: ignore[override]
        def flat_map(self, function: Callable[[T], Iterable[R]]) -> JobRun[R]: ...
        def take(self, count: int) -> JobRun[T]: ...
        def skip(self, count: int) -> JobRun[T]: ...
        def take_while(self, predicate: Callable[[T], Any]) -> JobRun[T]: ...
        def distinct(self, key: Callable[[T], Any] | None = None) -> JobRun[T]: ...
        def enumerate(self, start: int = 0) -> JobRun[tuple[int, T]]: ...
        def batch(self, size: int) -> JobRun[tuple[T, ...]]: ...
        def window(self, size: int) -> JobRun[tuple[T, ...]]: ...
        def chain(self, *others: Iterable[R]) -> JobRun[T | R]: ...
        def frequencies(self) -> JobRun[tuple[T, int]]: ...
        def topk(self, count: int, key: Callable[[T], Any] | object = None) -> JobRun[T]: ...
        def sorted(
            self, key: Callable[[T], Any] | object = None, reverse: bool = False
        ) -> JobRun[T]: ...


Pairs: TypeAlias = JobRun[tuple[Any, Any]]

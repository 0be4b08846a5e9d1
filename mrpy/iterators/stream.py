"""The parallel iterator: what every verb returns, and what chains.

It is a plan until it is iterated, and an ordinary iterator from then on. Steps that look at one item at a
time (`map`, `filter`, `flat_map`, ...) are added to the plan and fused: nothing travels between them.
What looks at several items is in ``reshaping.py``, what comes to one answer in ``reductions.py``, what goes
by key in ``grouping.py``, what writes files in ``writing.py``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from functools import partial

from mrpy.iterators.arguments import function_for, see_that_all_are_items
from mrpy.iterators.builtin import Beginning
from mrpy.iterators.grouping import Grouping
from mrpy.iterators.inner import ByItself
from mrpy.iterators.lift import lift
from mrpy.iterators.reductions import OfAll, Reductions
from mrpy.iterators.reshaping import Reshaping
from mrpy.iterators.writing import Writing
from mrpy.light import TYPE_CHECKING, Any, R, Self, T, later, overload
from mrpy.mapreduce.account import Account
from mrpy.mapreduce.plan import Plan
from mrpy.mapreduce.skipped import together
from mrpy.mapreduce.sources import ON_DEMAND, Pulled, ahead, is_once, taken_by
from mrpy.mapreduce.steps import Filter, FlatMap, Map, Probe, StarMap
from mrpy.options import over, resolve
from mrpy.scheduler.early import start_first_worker
from mrpy.scoped import blocks_here

if TYPE_CHECKING:
    from typing import TypeGuard

    import mrpy.progress as progress
    from mrpy.iterators import closed as left
    from mrpy.iterators import elsewhere, explain, kept, order
    from mrpy.iterators import graph as drawing
    from mrpy.iterators.order import Run
    from mrpy.mapreduce import folds, reduce
    from mrpy.mapreduce.folds import Fold
    from mrpy.mapreduce.sinks import writing
    from mrpy.mapreduce.sinks.parts import Written
    from mrpy.mapreduce.sinks.writing import Sink
    from mrpy.mapreduce.skipped import Skipped
    from mrpy.mapreduce.steps import Step
    from mrpy.options import Options
    from mrpy.scheduler import current
    from mrpy.scheduler.current import Stopper
    from mrpy.scoped import Blocks
else:
    # What it takes to run a plan, or to look at it: most of mrpy, and nothing that making one needs.
    order, reduce = later("mrpy.iterators.order"), later("mrpy.mapreduce.reduce")
    folds, writing = later("mrpy.mapreduce.folds"), later("mrpy.mapreduce.sinks.writing")
    current, progress = later("mrpy.scheduler.current"), later("mrpy.progress")
    explain, drawing = later("mrpy.iterators.explain"), later("mrpy.iterators.graph")
    elsewhere, kept = later("mrpy.iterators.elsewhere"), later("mrpy.iterators.kept")
    left = later("mrpy.iterators.closed")


class _NoCopy:
    """What `copy.copy` finds in the class. The iterator itself has nothing of the kind: `itertools.tee` would
    call that, where it can make two of any iterator by itself."""

    def __get__(self, iterator: object, _: type) -> Any:
        if iterator is not None:
            raise AttributeError("__copy__")
        return _has_no_copy


def _has_no_copy(iterator: object) -> Any:
    kind = type(iterator).__name__
    raise TypeError(
        f"a {kind} is consumed once, and so would be its copy; use its method 'tee', or itertools.tee"
    )


class ParallelIterator(Beginning[T], Reshaping[T], Reductions[T], Grouping[T], Writing, Iterator[T]):
    """A lazy iterator whose items are computed in parallel. Made by `parallel`, `pmap`, `stream`, ...

    Printed, it shows its plan; nothing runs before the first item is asked for. As any iterator it can be
    consumed once. Until that begins, each reduction of it, and each chain on it, is a run of its own, over
    all items if the source can be gone through again. ``close()``, the end of a ``with`` block or simply
    ``break`` stop what is still running. In asyncio ``async for`` and ``async with`` do the same without
    blocking the event loop.
    """

    shows_plan = True
    _mrpy_run = property(lambda self: self if self._running is None else self._running.items)  # see `run_of`

    def __init__(self, plan: Plan, given: dict[str, Any]) -> None:
        resolve(given)  # a wrong option is an error here, not at the first item
        self._plan = plan
        self._given = given
        self._running: Run | None = None
        self._running_async: AsyncGenerator[T, None] | None = None
        self._stopper: Stopper | None = None  # of that
        self._account = Account()
        self._blocks = blocks_here()  # of sessions: a thread that was there before them may run this

    # ---- as an iterator --------------------------------------------------------------------------

    def __iter__(self) -> Self:
        self._run()
        return self

    def close(self) -> None:
        """Stop what is running and end the iterator. Where another thread waits for an item of a `map` or the
        like, it ends there; of a chain that looks at several items, with the next that it would get."""
        if self._running_async is None or self._stopper is None:
            self._run(begins=False).close()
            self._let_go()
        else:
            self._let_go()  # before: see `__aexit__`
            order.close_async(self._running_async, self._stopper)

    def _let_go(self) -> None:
        """Of the source, if that can be gone through but once: what nobody else has of it is closed."""
        if is_once(self._plan.source):
            self._plan = left.closed(self._plan)
            if self._running is not None:
                self._running.items.plan = self._plan

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> AsyncGenerator[T, None]:
        return self._run_async()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        running = self._run_async(begins=False)
        self._let_go()  # before: whoever closes the run has the source last, and in the right thread
        await running.aclose()

    def _run_async(self, *, begins: bool = True) -> AsyncGenerator[T, None]:
        if self._running is not None:
            raise TypeError("this parallel iterator is already being iterated without async")
        if self._running_async is None:
            options = self._beginning(begins=begins)
            self._stopper = current.Stopper()
            self._running_async = order.run_map_async(self._plan, options, self._account, self._stopper)
        return self._running_async

    def _run(self, *, begins: bool = True) -> Run:
        """The run, made if need be; ``begins``: not only to be closed."""
        if self._running is None:
            if self._is_async():
                raise TypeError("this parallel iterator is already being iterated with async for")
            if self._running_async is not None and self._stopper is not None:  # it has not begun
                order.close_async(self._running_async, self._stopper)
                self._running_async = None
            options = self._beginning(begins=begins)
            run = order.Run(self._plan, options, self._account, self._given)
            self._running = vars(self).setdefault("_first", run)  # the same for threads that begin it at once
            if self._plan.steps:
                self._given = self._behind()
        return self._running

    def _is_async(self) -> bool:
        """Whether it is iterated with ``async for``, or was ended so. There are libraries (``tqdm.auto``)
        that ask for an asynchronous iterator wherever there is one, and then for no item of it."""
        running: Any = self._running_async
        return running is not None and (self._stopper.begun or running.ag_frame is None)  # type: ignore[union-attr]

    def _options(self) -> Options:
        return _options_in(self._blocks, self._given)

    def _beginning(self, *, begins: bool) -> Callable[[], Options]:
        """What says the options, as they are when the first item is asked for. The first worker is started
        now, before anything of `order` is asked for, which imports it."""
        if begins:
            self._starting()
        return partial(_options_in, self._blocks, self._given)

    def _starting(self, *, reducing: bool = False) -> Options:
        """The options of a run that begins now."""
        options = self._options()
        self._account = self._account.begun()
        if (self._plan.steps or reducing) and not self._plan.source.is_empty() and options.checkpoint is None:
            start_first_worker(options)
        return options

    def __str__(self) -> str:
        return str(self._plan)

    def __repr__(self) -> str:
        state = "" if not self._has_begun() else ", ended" if self._has_ended() else ", running"
        return f"<ParallelIterator {self._plan}{state}>"

    def explain(self) -> str:
        """The stages, how they are cut and where they run, and why; after a run also where its time went.

        >>> import mrpy
        >>> print(mrpy.stream(range(9), backend="serial", chunksize=3).map(abs).explain())
        stage     range(0, 9) -> map abs
                  one step; the source is cut without being walked
        chunks    3 items each, as given
        window    auto: 128 items are out at most
        order     as the source
        backend   serial, 1 worker (as given)
        """
        return explain.explained(self._plan, self._options(), self._given, self._account)

    @property
    def skipped(self) -> Skipped:
        """What ``on_error="skip"`` has left out so far, here and in all that this comes from. Printed, it
        says how many items, and lists the first of them; ``count`` is the number, ``failures`` are these.

        >>> import mrpy
        >>> numbers = mrpy.pmap(int, ["1", "x", "3"], backend="serial", on_error="skip")
        >>> sum(numbers)
        4
        >>> print(numbers.skipped)
        1 item was skipped:
          item 1: 'x' (ValueError: invalid literal for int() with base 10: 'x')
        """
        return together(self._skips())

    @property
    def _stages(self) -> int:
        return self._plan.stages

    @property
    def _takes(self) -> list[tuple[Any, int]]:
        if self._has_begun():
            left = self._running_async if self._running is None else self._running.items
            return [(left, ON_DEMAND)]
        taken = taken_by(self._plan.source)
        return ahead(taken) if self._plan.steps else taken

    def _has_begun(self) -> bool:
        return self._running is not None or self._is_async()

    def _has_ended(self) -> bool:
        in_a_loop: Any = self._running_async
        if in_a_loop is not None:
            return in_a_loop.ag_frame is None
        return self._running is not None and self._running.has_ended

    def _skips(self) -> list[Skipped]:
        return explain.skips(self._plan, self._account)

    def graph(self) -> drawing.Graph:
        """The task graph, as a picture: see `Graph`."""
        drawn = drawing.Graph()
        self._draw(drawn)
        return drawn

    def _draw(self, drawn: drawing.Graph) -> str:
        return drawing.draw(self._plan, drawn, self._options().ordered)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {**self.graph()._repr_mimebundle_(), "text/plain": repr(self)}

    __copy__ = _NoCopy()

    def __reduce__(self) -> Any:
        if self._has_begun():
            raise order.stays_here(self)
        return type(self), (self._plan, self._given)  # it is in no session there

    if not TYPE_CHECKING:  # type checkers would take any name for one of its own

        __array_ufunc__ = None  # NumPy's numbers would be compared with an array of it: see `none_of`

        def __getattr__(self, name: str) -> Any:
            raise elsewhere.none_of(name)

    # ---- narrow steps: fused ---------------------------------------------------------------------

    def map(self, function: Callable[[T], R]) -> ParallelIterator[R]:
        """``map(function, self)``.

        >>> import mrpy
        >>> mrpy.stream([1, 2, 3], backend="serial").map(str).to_list()
        ['1', '2', '3']
        """
        return self._then(Map(function_for("map", function, self)))

    def starmap(self, function: Callable[..., R]) -> ParallelIterator[R]:
        """``itertools.starmap(function, self)``."""
        return self._then(StarMap(function_for("starmap", function, self)))

    @overload
    def filter(self: ParallelIterator[R | None], predicate: None) -> ParallelIterator[R]: ...
    @overload
    def filter(self, predicate: Callable[[T], TypeGuard[R]]) -> ParallelIterator[R]: ...
    @overload
    def filter(self, predicate: Callable[[T], Any]) -> ParallelIterator[T]: ...

    def filter(self, predicate: Callable[[T], Any] | None) -> ParallelIterator[Any]:
        """``filter(predicate, self)``."""
        return self._then(Filter(bool if predicate is None else function_for("filter", predicate, self)))

    def flat_map(self, function: Callable[[T], Iterable[R]]) -> ParallelIterator[R]:
        """``itertools.chain.from_iterable(map(function, self))``. To `on_error` all that comes of an item
        is one item still: where an error is skipped or replaced, also one of a later stage, what has come of
        the item before it stays, and the rest does not come. Of an item that overruns its `timeout`, or whose
        worker dies, nothing stays."""
        return self._then(FlatMap(function_for("flat_map", function, self)))

    # ---- what the rest of the chain is made of ------------------------------------------------------

    def _then(self, step: Step) -> ParallelIterator[Any]:
        return type(self)(self._taken().then(step), self._given)

    def _after(self, items: Iterable[R]) -> ParallelIterator[R]:
        file = self._given.get("checkpoint")
        behind = self._plan.steps or isinstance(items, OfAll) or (file and kept.is_taken(file, items))
        given = self._behind() if behind else self._given
        made: ParallelIterator[Any] = type(self)(Plan(Pulled(items)), given)
        return made

    def _behind(self) -> dict[str, Any]:
        """The options of whatever runs over the results of this run. It has no checkpoint: a file is one
        run's, and where its chunks would begin may depend on which items failed or came first."""
        return {**self._given, "checkpoint": None}

    def _taken(self) -> Plan:
        """The plan, to build upon; once it runs, what is left of it is a plain source."""
        if self._is_async():
            raise TypeError("this parallel iterator is already being iterated with async for")
        return self._plan if self._running is None else Plan(Pulled(self._running.items))

    def _again(self) -> Self:
        """This one once more, with the same account and in the same blocks; or what is left of it."""
        made = type(self)(self._taken(), self._given)
        made._account, made._blocks = self._account, self._blocks
        return made

    def _to_run(self) -> Self:
        """What a chain on this one runs: all of it, whatever becomes of this one. Itself, where there are no
        other items than those that are left of it."""
        return self if self._takes else self._again()

    def _probes(self, key: Callable[[Any], Any] | None) -> tuple[Step, ...]:
        """The step that asks items for their keys, where it matters whose error that is."""
        options = self._options()
        careful = options.on_error != "raise" or options.retries
        return (Probe(key),) if careful and key is not None else ()

    def _fold(self, fold: Fold, *steps: Step) -> Any:
        see_that_all_are_items(self._options(), "nothing to be reduced")
        steps += self._probes(folds.key_of(fold))
        plan, options = self._taken().then(*steps), self._starting(reducing=True)
        with current.job_for(options) as job, progress.watched(job, plan, options):
            return reduce.run_fold(plan, fold, job, options, self._account)

    def _write(self, make: Callable[[], Sink], given: dict[str, Any]) -> Written:
        given = over(self._given, given)
        options = _options_in(self._blocks, given)
        see_that_all_are_items(options, "nothing to be written")
        sink = make()
        if options.checkpoint is not None and self._plan.steps:  # a file has results, not parts: two runs
            computed = type(self)(self._taken(), given)
            computed._account = self._account
            return kept.results_of(computed)._write(lambda: sink, {"checkpoint": None})
        plan = self._taken()
        self._account = self._account.begun()
        if not plan.source.is_empty():
            start_first_worker(options)
        with sink.staging() as staging:
            with current.job_for(options) as job, progress.watched(job, plan, options):
                parts = writing.write_parts(plan, sink, staging, job, options, self._account)
            return writing.committed(sink, staging, parts, self._account)


def _options_in(blocks: Blocks, given: dict[str, Any]) -> Options:
    """The options that were given, as they are now, in the blocks in which an iterator was made."""
    for scoped, block in blocks:
        scoped.enter(block)
    return resolve(given)


def stream_of(iterable: Iterable[Any], given: dict[str, Any], *steps: Step) -> ParallelIterator[Any]:
    """A parallel iterator over anything: lifted where that is possible."""
    if isinstance(iterable, ParallelIterator):
        return ParallelIterator(iterable._taken().then(*steps), over(iterable._given, given))
    return ParallelIterator(lift(iterable, given).then(*steps), given)


def stream_behind(iterable: Iterable[Any], given: dict[str, Any], step: Step) -> ParallelIterator[Any]:
    """The same for a function of the items. A run that was told what to do with errors of its own functions
    runs by itself, in the same place: what it was told is not about this one. Reading belongs to both."""
    if isinstance(iterable, ParallelIterator) and iterable._plan.steps:
        own = {name: value for name, value in iterable._given.items() if name not in _OWN}
        reads = len(iterable._plan.steps) == 1 and hasattr(iterable._plan.steps[0], "begin")
        same = all(given.get(name) == value for name, value in iterable._given.items() if name in _OWN)
        if not reads and not same:
            return ParallelIterator(Plan(Pulled(ByItself(iterable)), (step,)), {**own, **given})
    return stream_of(iterable, given, step)


_OWN = frozenset(("on_error", "max_errors", "retries", "timeout", "seed", "check", "checkpoint"))

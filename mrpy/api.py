"""The verbs. Each is a few lines: lift, plan, run.

All but `submit` take the same options as keywords (see `mrpy.options.Options`); one that does not exist is an
`OptionError`. Verbs that return many things are lazy, as `map` is.
"""

from __future__ import annotations

import copyreg
import operator as operators
from collections.abc import Callable, Iterable, Iterator
from types import AsyncGeneratorType

from mrpy.errors import OptionError
from mrpy.iterators.arguments import check_callable, see_that_all_are_iterable
from mrpy.iterators.lift import lift, lift_program
from mrpy.iterators.stream import ParallelIterator, stream_behind, stream_of
from mrpy.light import TYPE_CHECKING, Any, P, R, S, T, later, overload
from mrpy.mapreduce.steps import Filter, Map, StarMap
from mrpy.mapreduce.tree import MISSING
from mrpy.options import configure, of_session, over, plain, resolve
from mrpy.scheduler.early import start_first_worker

if TYPE_CHECKING:
    import contextlib
    from typing import TypeGuard

    from mrpy.iterators import keyed as mapreducing
    from mrpy.iterators import pending
    from mrpy.scheduler import current, shield
    from mrpy.scheduler import session as sessions
else:
    # What it takes to run something: most of mrpy, and nothing that making a plan needs.
    mapreducing, pending = later("mrpy.iterators.keyed"), later("mrpy.iterators.pending")
    current, sessions = later("mrpy.scheduler.current"), later("mrpy.scheduler.session")
    contextlib, shield = later("contextlib"), later("mrpy.scheduler.shield")

__all__ = [
    "configure", "mapreduce", "parallel", "pfilter", "pfold", "pmap", "preduce", "pstarmap", "session",
    "stream", "submit",
]  # fmt: skip


def parallel(iterable: Iterable[R], /, **options: Any) -> ParallelIterator[R]:
    """Run an ordinary generator expression in parallel: ``for row in parallel(f(x) for x in xs if p(x))``.

    The expression is taken over, not consumed: its code, the values of its variables at this moment and
    its source go into a plan, and its body runs on the workers. Equals ``iter(iterable)``.

    Raises `LiftError` for a generator that was already started, or comes from a generator function.

    >>> import mrpy
    >>> list(mrpy.parallel((n * n for n in range(10) if n % 2), backend="serial"))
    [1, 9, 25, 49, 81]
    """
    if isinstance(iterable, ParallelIterator):
        return stream_of(iterable, options)
    if not isinstance(iterable, AsyncGeneratorType):  # `lift_program` knows more about it
        see_that_all_are_iterable("parallel", iterable)
    return ParallelIterator(lift_program(iterable, options), options)


@overload
def pmap(function: Callable[[S], R], iterable: Iterable[S], /, **options: Any) -> ParallelIterator[R]: ...
@overload
def pmap(
    function: Callable[[S, T], R], first: Iterable[S], second: Iterable[T], /, **options: Any
) -> ParallelIterator[R]: ...
@overload
def pmap(
    function: Callable[..., R],
    first: Iterable[Any],
    second: Iterable[Any],
    third: Iterable[Any],
    /,
    *iterables: Iterable[Any],
    **options: Any,
) -> ParallelIterator[R]: ...


def pmap(function: Callable[..., R], /, *iterables: Iterable[Any], **options: Any) -> ParallelIterator[R]:
    """``map(function, *iterables)`` in parallel: lazy, in order.

    >>> import mrpy
    >>> list(mrpy.pmap(pow, [2, 3, 4], [5, 2, 3], backend="serial"))
    [32, 9, 64]
    """
    if not iterables:
        raise TypeError("pmap() must have at least two arguments, as map() must")
    check_callable("pmap", function, *iterables)
    if len(iterables) == 1:
        return stream_behind(iterables[0], options, Map(function))
    return ParallelIterator(lift(zip(*iterables, strict=False), options).then(StarMap(function)), options)


def pstarmap(
    function: Callable[..., R], iterable: Iterable[Iterable[Any]], /, **options: Any
) -> ParallelIterator[R]:
    """``itertools.starmap(function, iterable)`` in parallel: lazy, in order.

    >>> import mrpy
    >>> list(mrpy.pstarmap(pow, [(2, 5), (3, 2)], backend="serial"))
    [32, 9]
    """
    check_callable("pstarmap", function, iterable)
    return stream_behind(iterable, options, StarMap(function))


@overload
def pfilter(predicate: None, iterable: Iterable[R | None], /, **options: Any) -> ParallelIterator[R]: ...
@overload
def pfilter(
    predicate: Callable[[S], TypeGuard[R]], iterable: Iterable[S], /, **options: Any
) -> ParallelIterator[R]: ...
@overload
def pfilter(
    predicate: Callable[[R], Any], iterable: Iterable[R], /, **options: Any
) -> ParallelIterator[R]: ...


def pfilter(
    predicate: Callable[[Any], Any] | None, iterable: Iterable[Any], /, **options: Any
) -> ParallelIterator[Any]:
    """``filter(predicate, iterable)`` in parallel: lazy, in order.

    >>> import mrpy
    >>> list(mrpy.pfilter(str.isupper, "aBcD", backend="serial"))
    ['B', 'D']
    """
    test = bool if predicate is None else predicate
    check_callable("pfilter", test, iterable)
    return stream_behind(iterable, options, Filter(test))


@overload
def preduce(
    operator: Callable[[S, S], S], iterable: Iterable[S], /, **options: Any
) -> S: ...
@overload
def preduce(
    operator: Callable[[Any, Any], R], iterable: Iterable[Any], /, initial: Any, **options: Any
) -> R: ...


def preduce(
    operator: Callable[[Any, Any], Any], iterable: Iterable[Any], /, initial: Any = MISSING, **options: Any
) -> Any:
    """``functools.reduce(operator, iterable, initial)`` in parallel, for an associative operator.

    The order of combination depends on the positions of the items alone, so that a sum of floats has the
    same bits on every backend, with any number of workers and any chunk size. They need not be the bits
    of `functools.reduce`, which adds strictly from the left.

    With an initial value `operator` may change what is on its left if that has an operator like ``+=``, as
    lists, arrays and tables have: each stretch begins with a copy of an item, of a list a shallow one.
    Items meet each other before they meet the initial value: `operator` is to be associative across all types
    that there are. For ufuncs, `operator.add` and its like, what is of NumPy gets the type it has beside it.

    >>> import operator, mrpy
    >>> mrpy.preduce(operator.add, (len(w) for w in ["a", "bc"]), 0, backend="serial")
    3
    """
    check_callable("preduce", operator, iterable)
    return stream_of(iterable, options).reduce(operator, initial)


def pfold(
    step: Callable[[Any, S], R],
    iterable: Iterable[S],
    /,
    initial: Any,
    combine: Callable[[Any, Any], Any] = operators.add,
    **options: Any,
) -> R:
    """``functools.reduce(step, iterable, initial)`` in parallel, where two results can be combined.

    ``step(accumulator, item)`` takes in one item, ``combine(left, right)`` joins what two stretches of
    the source came to, by default with ``+``. `initial` must be neutral for `combine`: each stretch starts
    with a copy.

    >>> import mrpy
    >>> mrpy.pfold(lambda n, word: n + len(word), ["a", "bc"], 0, backend="serial")
    3
    """
    check_callable("pfold", step, iterable)
    return stream_of(iterable, options).fold(step, initial, combine)


def mapreduce(
    mapper: Callable[[S], Any],
    reducer: Callable[[Any, Iterator[Any]], Any],
    inputs: Iterable[S],
    combiner: Callable[[Any, Iterator[Any]], Any] | None = None,
    partitions: int | str = "auto",
    sort: bool = False,
    **options: Any,
) -> ParallelIterator[tuple[Any, Any]]:
    """Map, group by key, reduce: a lazy iterator of ``(key, value)`` pairs.

    ``mapper(record)`` returns or yields (key, value) pairs: a tuple of two is one. ``reducer(key, values)``
    returns the value of a key, or yields several. ``combiner(key, values)`` has its shape; it is applied on
    the workers before anything travels, to values in the order of their positions, and must not change what
    the reducer comes to. It pays where a key comes often: to combine two or three values takes longer than
    to send them. With ``sort=True`` the pairs come in the order of their keys: of any two one has to be less
    than the other.

    Where the mapper fails, what a function as ``on_error`` returns stands for what that would have made: a
    pair, or pairs; so it does for a record that has killed its worker or has run too long. What it returns
    for a step before the mapper, or for a record that cannot be opened, is a record, and goes through that.

    >>> import mrpy
    >>> lines = ["a b a", "b a"]
    >>> pairs = mrpy.mapreduce(lambda line: ((word, 1) for word in line.split()),
    ...                        lambda word, ones: sum(ones), lines, backend="serial")
    >>> sorted(pairs)
    [('a', 3), ('b', 2)]
    """
    check_callable("mapreduce", mapper, inputs)
    for name, function in (("reducer", reducer), ("combiner", combiner)):
        if not callable(function) and (function is not None or name == "reducer"):
            raise TypeError(f"mapreduce() needs a callable {name}, not {type(function).__name__}")
    records = stream_of(inputs, options)  # a run that has not begun is taken over, with its options
    shuffle = mapreducing.Shuffle(reducer, combiner, partitions, sort)
    return mapreducing.keyed([mapreducing.Side(records._taken(), mapper)], shuffle, records._given)


def stream(iterable: Iterable[R], /, **options: Any) -> ParallelIterator[R]:
    """A chainable parallel iterator over any iterable: ``stream(xs).map(f).filter(p).take(10)``.

    >>> import mrpy
    >>> mrpy.stream(range(6), backend="serial").map(abs).filter(lambda n: n % 2).to_list()
    [1, 3, 5]
    """
    see_that_all_are_iterable("stream", iterable)
    return stream_of(iterable, options)


def submit(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> pending.PendingResult[R]:
    """Run ``function(*args, **kwargs)`` on a worker; return a `PendingResult` at once.

    All arguments are the function's own. Of the options, ``backend``, ``workers``, ``retries``, ``timeout``,
    ``name``, ``on_error`` and ``seed`` (the n-th call of a session has position n) are taken from `session`
    and `configure`; with ``on_error="return"`` ``result()`` returns the exception, with a callable what that
    makes of it. The others are about many items: a single one cannot be skipped, or cut. The end of the
    session, or of the program, waits for no call: it stops them, with a `RuntimeWarning` that says how many.

    >>> import mrpy
    >>> with mrpy.session("serial"):
    ...     mrpy.submit(pow, 2, 10).result()
    1024
    """
    check_callable("submit", function)
    options = resolve({})
    start_first_worker(options)
    return pending.PendingResult(function, args, kwargs, options)


def session(
    backend: str | None = None, workers: int | None = None, **given: Any
) -> contextlib.AbstractContextManager[sessions.Session]:
    """Workers of one's own for a ``with`` block, and default options for the runs in it.

    What is not an option goes to the backend. The workers end with the block. It holds for the thread, or the
    task of `asyncio`, that has opened it; if that is the main thread, also for threads that are started while
    it is open; and for whoever runs an iterator that was made inside. Others do not notice.

    ``address``, ``client``   of a Dask cluster: ``session("dask", address="tcp://...")``. Where nobody
                              listens, or its scheduler is killed, it is a `BackendError` after about 10
                              seconds; where it has no workers, tasks wait, and the logger ``mrpy`` warns
    ``max_tasks_per_worker``  replace a worker process after so many tasks (chunks of items)
    ``memory_limit``          replace a worker process that holds more bytes than this after a task

    >>> import os, mrpy
    >>> with mrpy.session("processes", workers=1, max_tasks_per_worker=1):
    ...     len(set(mrpy.pmap(lambda n: os.getpid(), range(3), chunksize=1)))
    3
    """
    if backend is not None:
        given["backend"] = backend
    if workers is not None:
        given["workers"] = workers
    return _Session(given)


class _Session:
    """The ``with`` block of a session. Its workers and its defaults end with it."""

    def __init__(self, given: dict[str, Any]) -> None:
        settings = {name: plain(given.pop(name)) for name in list(given) if name in _SETTINGS}
        options = resolve(given)
        for name in settings:
            if _SETTINGS[name] != options.backend:
                theirs = _SETTINGS[name]
                raise OptionError(f"{name}= is for backend={theirs!r} only, and this is {options.backend!r}")
        self._defaults = {**over(of_session.get() or {}, given), "backend": options.backend}
        self._options = resolve(self._defaults)
        self._settings = settings
        if given.get("workers") is not None and {"address", "client"} & set(settings):
            settings["limit"] = self._options.worker_count  # else a cluster has as many as it has
        self._set: list[contextlib.AbstractContextManager[None]] = []
        self._own: sessions.Session | None = None

    def __enter__(self) -> sessions.Session:
        if self._own is not None:
            raise RuntimeError("this session is open already; another mrpy.session(...) is another one")
        try:
            slow = self._options.backend == "dask"  # a cluster begins, which a Ctrl-C has to end
            with contextlib.nullcontext() if slow else shield.Shield():  # else nobody could close it
                self._own = own = sessions.Session(
                    self._options.backend, self._options.worker_count, self._settings
                )
            for each in (of_session.set(self._defaults), current.opened(own, self._options)):
                self._set.append(each)  # before: a signal handler may raise amid its beginning
                each.__enter__()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return own

    if not TYPE_CHECKING:  # type checkers would take any name for one of its own

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(sessions.not_of_session(name))

    def __reduce__(self) -> Any:
        if self._own is not None:
            raise sessions.stays_here()
        return copyreg.__newobj__, (type(self),), vars(self)  # type: ignore[attr-defined]

    def __exit__(self, *problem: Any) -> None:
        try:
            while self._set:
                self._set[-1].__exit__(*problem)
                self._set.pop()
        except BaseException:  # of a signal handler; the others have to end, too
            self.__exit__(*problem)
            raise
        if self._own is not None:
            left = self._own.left() if problem[0] is None else []
            self._own.close(hurry=KeyboardInterrupt in problem[:1])
            self._own = None
            sessions.warn_of_left(left, "session")


_SETTINGS = {  # what is no option, and for which backend it is
    "address": "dask", "client": "dask", "max_tasks_per_worker": "processes", "memory_limit": "processes",
}  # fmt: skip

"""Dask graphs: tasks, keys and dependencies, as the scheduler has them anyway.

    {"x": 1, "y": (inc, "x"), ...}  ──Dask──>  nodes  ──what is wanted of them──>  Task(key, call, inputs) ...

Values that other tasks take stay in the backend, and go as soon as the last of these has ended.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping

from mrpy.errors import BackendError, OptionError, SerializationError
from mrpy.light import Any, Frozen
from mrpy.options import Options, resolve
from mrpy.scheduler.calls import Call, Code
from mrpy.scheduler.current import job_for
from mrpy.scheduler.driver import Delivery
from mrpy.scheduler.failure import At
from mrpy.scheduler.job import Job
from mrpy.scheduler.messages import Input, Task
from mrpy.scheduler.states import State

_TAKEN = ("backend", "workers", "retries", "timeout", "name")


def get(dsk: Any, keys: Any, **options: Any) -> Any:
    """Run a Dask graph, and return the values of these `keys`: what Dask calls a scheduler.

    So ``frame.compute(scheduler=mrpy.scheduler.get)`` runs a frame, an array, a bag or delayed functions on
    mrpy's workers, those of the open `session` if there is one; ``dask.config.set(scheduler=...)`` has all of
    them run there.

    `dsk`: a mapping of keys to values and tasks, as Dask has them. `keys`: one of them, or a list of keys and
    of such lists; lists come back as tuples. Of the options there are ``backend``, ``workers``, ``retries``,
    ``timeout`` (seconds that one task may run) and ``name``. What a task raises is raised, with a note of its
    key. A key that is not there is a `KeyError`. Needs Dask 2024.12 or later.

    >>> import mrpy, operator
    >>> graph = {"x": 1, "y": (operator.add, "x", 2), "z": (sum, ["x", "y"])}
    >>> mrpy.scheduler.get(graph, ["z", ["x"]], backend="serial")
    (4, (1,))
    """
    settings = resolve(options)
    for name in options:
        if name not in _TAKEN:
            raise OptionError(f"{name}= is not for graphs, which take {', '.join(_TAKEN)}")
    graph = _Graph(dsk, _flat(keys))
    with job_for(settings) as job:
        _Run(job, graph, settings).to_its_end()
    return _nested(keys, graph.value_of)


def _flat(keys: Any) -> Iterator[Hashable]:
    if isinstance(keys, list):
        for each in keys:
            yield from _flat(each)
    else:
        yield keys


def _nested(keys: Any, value_of: Callable[[Hashable], Any]) -> Any:
    return tuple([_nested(each, value_of) for each in keys]) if isinstance(keys, list) else value_of(keys)


class _Graph:
    """What of a graph is needed for these keys. Names that stand for others are looked through."""

    def __init__(self, dsk: Any, wanted: Iterable[Hashable]) -> None:
        try:
            from dask._task_spec import Alias, DataNode, convert_legacy_graph
        except ImportError as error:
            raise BackendError("graphs need Dask 2024.12 or later: pip install --upgrade dask") from error
        if not isinstance(dsk, Mapping):
            dsk = dsk.__dask_graph__()
        self._nodes: dict[Any, Any] = convert_legacy_graph(dsk)
        self._alias = Alias
        self.wanted = {self._meant(key) for key in wanted}
        self.values: dict[Hashable, Any] = {}  # as far as they are known
        self.needs: dict[Hashable, dict[Hashable, Hashable]] = {}  # by its names for them: inputs
        todo = list(self.wanted)
        while todo:
            key = todo.pop()
            if key in self.needs or key in self.values:
                continue
            node = self._nodes[key]
            if isinstance(node, DataNode):
                self.values[key] = node({})
            else:
                self.needs[key] = {name: self._meant(name) for name in node.dependencies}
                todo.extend(self.needs[key].values())

    def _meant(self, key: Hashable) -> Hashable:
        seen = [key]
        while key in self._nodes and isinstance(node := self._nodes[key], self._alias):
            key = node.target
            if key in seen:
                raise ValueError(f"the keys {seen!r} of this graph stand for each other")
            seen.append(key)
        if key not in self._nodes:
            behind = f", for which {seen[0]!r} stands" if len(seen) > 1 else ""
            raise KeyError(f"this graph has no key {key!r}{behind}")
        return key

    def value_of(self, key: Hashable) -> Any:
        """The value of a key, when all has run."""
        return self.values[self._meant(key)]

    def tasks(self) -> list[Hashable]:
        """What has to run: inputs before those that need them, and so that few values wait for others."""
        from dask.order import order

        turns: dict[Any, int] = order(self._nodes)
        return sorted(self.needs, key=turns.__getitem__)

    def made_of(self, key: Hashable) -> tuple[_Node, list[Hashable]]:
        """One task: what it is sent with, and the keys of its inputs."""
        names = self.needs[key]
        known = {name: self.values[each] for name, each in names.items() if each not in self.needs}
        computed = {name: each for name, each in names.items() if each in self.needs}
        return _Node(self._nodes[key], known, tuple(computed)), list(computed.values())


class _Node(Frozen):
    """A task of Dask's, the values that are known before, and what it calls those that are not."""

    node: Any
    known: dict[Hashable, Any]
    names: tuple[Hashable, ...]


def _computed(data: _Node, *inputs: Any, announce: Callable[[At | None], None] | None = None) -> Any:
    if announce is not None:
        announce(0)
    return data.node({**data.known, **dict(zip(data.names, inputs, strict=True))})


class _Run:
    """A graph as tasks of a job."""

    def __init__(self, job: Job, graph: _Graph, options: Options) -> None:
        self._job, self._graph, self._options = job, graph, options
        self._code = Code(_computed, options.name or "a task of a graph", announce=True)
        self._shared: dict[int, Any] = {}  # what many tasks have among their known values
        self._ours: dict[Hashable, Hashable] = {}  # by a key of the graph the one of the job
        self._theirs: dict[Hashable, Hashable] = {}

    def to_its_end(self) -> None:
        """Have all run; leave the values that are wanted in the graph."""
        keys = self._graph.tasks()
        used = {each for key in keys for each in self._graph.needs[key].values()}
        tasks = [self._task(key, kept=key in used) for key in keys]
        self._job.add(*tasks)
        wanted = self._graph.wanted.intersection(keys)
        self._job.drop(self._ours[key] for key in keys if key not in wanted)  # but for the others
        while wanted:
            delivery = self._job.next()
            key = self._theirs[delivery.key]
            if delivery.state is not State.DONE:
                raise self._failed(key, delivery)
            if key in wanted:
                wanted.discard(key)
                self._graph.values[key] = self._opened(delivery)

    def _task(self, key: Hashable, *, kept: bool) -> Task:
        data, inputs = self._graph.made_of(key)
        try:
            task = self._job.task(
                Call(self._code, data, self._shared),
                [Input(self._ours[each]) for each in inputs],
                keep=kept,
                urgent=bool(inputs),  # what lets go of values before what makes them
                retries=self._options.retries,
                timeout=self._options.timeout,
            )
        except SerializationError as error:
            _noted(error, key)
            raise
        self._ours[key], self._theirs[task.key] = task.key, key
        return task

    def _opened(self, delivery: Delivery) -> Any:
        if delivery.value is not None:
            return delivery.value.load()
        value = self._job.load(delivery.key)
        self._job.drop([delivery.key])
        return value

    def _failed(self, key: Hashable, delivery: Delivery) -> BaseException:
        failure = delivery.failure
        assert failure is not None, "nobody but us abandons our tasks, and what others need is not stopped"
        return _noted(failure.exception(), key)


def _noted(error: BaseException, key: Hashable) -> BaseException:
    with contextlib.suppress(Exception):  # a class may forbid it
        error.add_note(f"mrpy: raised in the task {key!r} of a graph")
    return error

"""Dask graphs: tasks, keys and dependencies, as the scheduler has them anyway.

    {"x": 1, "y": (inc, "x"), ...}  ──Dask──>  nodes  ──what is wanted of them──>  Task(key, call, inputs) ...

Values that other tasks take stay in the backend, and go as soon as the last of these has ended.
"""

from __future__ import annotations

import contextlib
from collections import Counter, deque
from collections.abc import Callable, Hashable, Mapping

from mrpy.errors import OF_THE_SESSION, BackendError, OptionError, SerializationError
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
AHEAD = 4  # tasks per worker that are sent and wait for no other; 16 hold more memory, and are no faster


def get(dsk: Any, keys: Any, **options: Any) -> Any:
    """Run a Dask graph, and return the values of these `keys`: what Dask calls a scheduler.

    So ``frame.compute(scheduler=mrpy.scheduler.get)`` runs a frame, an array, a bag or delayed functions on
    mrpy's workers, those of the open `session` if there is one; ``dask.config.set(scheduler=...)`` has all of
    them run there.

    `dsk`: a mapping of keys to values and tasks, as Dask has them. `keys`: one of them, or a list of keys and
    of such lists; lists come back as tuples. Of the options there are ``backend``, ``workers``, ``retries``,
    ``timeout`` (seconds that one task may run) and ``name``. What a task raises is raised, with a note of its
    key. A key that is not there is a `KeyError`. Callbacks of Dask, as its progress bar, are not called. On
    processes what a task writes into the caller's array (``dask.array.store``) is written into a copy of it.
    Needs Dask 2024.12 or later.

    >>> import mrpy, operator
    >>> graph = {"x": 1, "y": (operator.add, "x", 2), "z": (sum, ["x", "y"])}
    >>> mrpy.scheduler.get(graph, ["z", ["x"]], backend="serial")
    (4, (1,))
    """
    for name in options:
        if name not in _TAKEN:
            raise OptionError(f"{name}= is not for graphs, which take {', '.join(_TAKEN)}")
    settings = resolve(options)
    graph = _Graph(dsk, keys)
    with job_for(settings) as job:
        _Run(job, graph, settings).to_its_end()
    return _nested(keys, graph.value_of)


def _nested(keys: Any, value_of: Callable[[Hashable], Any]) -> Any:
    return tuple([_nested(each, value_of) for each in keys]) if isinstance(keys, list) else value_of(keys)


class _Graph:
    """What of a graph is needed for these keys. Names that stand for others are looked through."""

    def __init__(self, dsk: Any, keys: Any) -> None:
        try:
            from dask._task_spec import Alias, DataNode, convert_legacy_graph
            from dask.core import flatten
        except ImportError as error:
            raise BackendError("graphs need Dask 2024.12 or later: pip install --upgrade dask") from error
        if not isinstance(dsk, Mapping):
            dsk = dsk.__dask_graph__()
        self._nodes: dict[Any, Any] = convert_legacy_graph(dsk)
        self._alias = Alias
        self.wanted = set(map(self._meant, flatten([keys])))  # type: ignore[no-untyped-call]
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
        """One task: what it is sent with, and the keys of its inputs, in the order of its names for them."""
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
    """A graph as tasks of a job: as many as keep the workers busy, and those that wait for these."""

    def __init__(self, job: Job, graph: _Graph, options: Options) -> None:
        self._job, self._graph, self._options = job, graph, options
        self._code = Code(_computed, options.name or "a task of a graph", announce=True)
        self._shared: dict[int, Any] = {}  # what many tasks have among their known values
        self._most = AHEAD * job.driver.backend.workers
        self._todo = deque(graph.tasks())
        self._takers = Counter(each for names in graph.needs.values() for each in set(names.values()))
        self._ours: dict[Hashable, Hashable] = {}  # by a key of the graph the one of the job
        self._theirs: dict[Hashable, Hashable] = {}  # the other way round, of those that have not ended
        self._missing = Counter[Hashable]()  # how many inputs those that wait, wait for
        self._waiting: dict[Hashable, list[Hashable]] = {}  # by an input: who waits for it

    def to_its_end(self) -> None:
        """Have all run; leave the values that are wanted in the graph."""
        left = self._graph.wanted.intersection(self._todo)
        while left:
            if self._todo and self._under_way <= self._most // 2:
                self._send()
            delivery = self._job.next()
            key = self._theirs.pop(delivery.key)
            if delivery.state is not State.DONE:
                raise self._failed(key, delivery)
            if key in left:
                left.discard(key)
                value = delivery.value
                self._graph.values[key] = self._job.load(delivery.key) if value is None else value.load()
            for each in self._waiting.pop(key, ()):
                self._missing[each] -= 1
                if not self._missing[each]:
                    del self._missing[each]

    @property
    def _under_way(self) -> int:
        """How many wait for no other."""
        return len(self._theirs) - len(self._missing)

    def _send(self) -> None:
        tasks, unused = list[Task](), list[Hashable]()
        while self._todo and self._under_way < self._most:
            key = self._todo.popleft()
            data, inputs = self._graph.made_of(key)
            tasks.append(self._task(key, data, inputs))
            for each in set(inputs):
                if self._ours[each] in self._theirs:
                    self._missing[key] += 1
                    self._waiting.setdefault(each, []).append(key)
                self._takers[each] -= 1
                if not self._takers[each] and each not in self._graph.wanted:
                    unused.append(self._ours.pop(each))
        self._job.add(*tasks)
        self._job.drop(unused)  # but for those who take them

    def _task(self, key: Hashable, data: _Node, inputs: list[Hashable]) -> Task:
        try:
            task = self._job.task(
                Call(self._code, data, self._shared),
                [Input(self._ours[each]) for each in inputs],
                keep=key in self._takers,
                urgent=bool(inputs),  # what lets go of values before what makes them
                retries=self._options.retries,
                timeout=self._options.timeout,
            )
        except SerializationError as error:
            _noted(error, key)
            raise
        self._ours[key], self._theirs[task.key] = task.key, key
        return task

    def _failed(self, key: Hashable, delivery: Delivery) -> BaseException:
        failure = delivery.failure
        assert failure is not None, "nobody but us abandons our tasks, and what others need is not stopped"
        error = failure.exception()  # other tasks may have the same
        return error if isinstance(error, OF_THE_SESSION) else _noted(error, key)


_NOTE = "mrpy: raised in the task {!r} of a graph"


def _noted(error: BaseException, key: Hashable) -> BaseException:
    """It may have been raised in another graph before, as one object."""
    with contextlib.suppress(Exception):  # a class may forbid it
        start = _NOTE.partition("{")[0]
        for note in [each for each in getattr(error, "__notes__", ()) if each.startswith(start)]:
            error.__notes__.remove(note)
        error.add_note(_NOTE.format(key))
    return error

"""Map, group by key, reduce: what of it runs on workers.

A map task takes a chunk of records through the steps and the mapper and groups what comes out, by
partition and key. Its value is in `Parts`, one per partition; a reduce task takes its part of every map
task's value, brings the groups together in the order of the records, and reduces them.

Without a combiner a group holds all its values. With one, each leaf of the source is combined by itself
and neighbours are combined along the tree of positions, so that the answer does not depend on where the
chunks end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from types import GeneratorType

from mrpy.errors import ItemTimeout, WorkerCrashed
from mrpy.light import Any, Frozen
from mrpy.mapreduce.batches import Batch
from mrpy.mapreduce.chunks import Chunk, partly
from mrpy.mapreduce.folds import FoldChunk, Several, in_leaves, is_fast, singly
from mrpy.mapreduce.groups import (
    Group,
    Reducer,
    grouping,
    is_exact,
    joining,
    key_of,
    key_said,
    say_key,
    say_what_values_are,
    total,
)
from mrpy.mapreduce.kernels import Announce
from mrpy.mapreduce.made import ByRank, Combining, Gathering, Made
from mrpy.mapreduce.output import Output
from mrpy.mapreduce.partition import PLAIN, canonical, number_of, shown, stable_hash
from mrpy.mapreduce.random import at_positions
from mrpy.mapreduce.rules import Rules
from mrpy.mapreduce.skipped import Skipped
from mrpy.mapreduce.slices import Streamed, merged
from mrpy.mapreduce.spill import Store
from mrpy.mapreduce.steps import ITERATED_IN_C, Step, name_of
from mrpy.mapreduce.tree import NOTHING, Node, leaf_index
from mrpy.scheduler.calls import Parts
from mrpy.scheduler.failure import short_repr


class Ours:
    """A mapper of ours: what stands in the place of a record goes through it, whatever has failed."""

    __slots__ = ()


class OnePair(Ours):
    """One that makes one pair of each record: it is a step by itself."""

    __slots__ = ()

    def over(self, records: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
        """The pairs of these records."""
        raise NotImplementedError


class Pairs(Frozen):
    """A mapper as a step: it may return a pair, return many, or yield them."""

    mapper: Callable[[Any], Any]

    def __call__(self, record: Any) -> Any:
        """Those of one record."""
        made = self.mapper(record)
        return (made,) if type(made) is tuple and len(made) == 2 else as_pairs(made)

    def over(self, records: Iterator[Any]) -> Iterator[Any]:
        """Those of many, without a call of ours for each."""
        return chain.from_iterable(self._each(records))

    def _each(self, records: Iterator[Any]) -> Iterator[Any]:
        mapper = self.mapper
        for record in records:
            made = mapper(record)
            if type(made) is tuple and len(made) == 2:
                yield (made,)
            else:
                yield as_pairs(made)

    def __str__(self) -> str:
        return f"map {name_of(self.mapper)}"


def step_of(mapper: Callable[[Any], Any]) -> Step:
    """The step from records to the pairs of this mapper."""
    return mapper if isinstance(mapper, OnePair) else Pairs(mapper)


class WithKeys:
    """A mapper as a step in which a pair that is none, or has a key that cannot be one, is an error of its
    record; and a record that fails leaves no pairs. It is slower: without it that shows where groups are
    made."""

    def __init__(self, mapper: Callable[[Any], Any]) -> None:
        self._mapper = mapper
        self._stands: Callable[[Any], bool] = getattr(mapper, "stands", _never)  # though the record fails

    def over(self, records: Iterator[Any]) -> Iterator[Any]:
        """The pairs of these records."""
        if isinstance(self._mapper, OnePair):
            return map(_with_key, self._mapper.over(records))
        return chain.from_iterable(self._each(records))

    def _each(self, records: Iterator[Any]) -> Iterator[Sequence[Any]]:
        mapper = self._mapper
        for record in records:
            made = mapper(record)
            if type(made) is tuple and len(made) == 2:
                yield (_with_key(made),)
                continue
            pairs: list[Any] = []
            try:
                pairs.extend(map(_with_key, as_pairs(made)))
            except BaseException:
                yield list(filter(self._stands, pairs))
                raise
            yield pairs

    def __str__(self) -> str:
        return str(step_of(self._mapper))


def _with_key(pair: Any) -> Any:
    key = key_of(pair)
    if type(key) not in PLAIN:
        stable_hash(canonical(key))
    return pair


class Watched:
    """A mapper as a step that knows what an error was about that came last. It is slower still.

    ``began``  whether the mapper has had the record at work; None: there is none, since nothing was begun
    """

    def __init__(self, mapper: Callable[[Any], Any]) -> None:
        self.step: Step = WithKeys(mapper)
        self.ours = isinstance(mapper, Ours)
        self.began: bool | None = None

    def over(self, records: Iterator[Any]) -> Iterator[Any]:
        """The pairs of these records."""
        self.began = False
        for record in records:
            self.began = True
            yield from self.step.over(iter((record,)))
            self.began = False
        self.began = None

    def __str__(self) -> str:
        return str(self.step)


def _never(_: Any) -> bool:
    return False


class Replacing:
    """What `on_error` puts in the place of an item, as pairs: it has not been through the mapper; unless that
    is the user's and has failed itself, since then it stands for what that returns. So it does for what was
    lost: in which step that was nobody knows."""

    def __init__(self, on_error: Callable[[BaseException], Any], mapper: Watched) -> None:
        self._on_error, self._mapper = on_error, mapper

    def __call__(self, error: BaseException) -> Several:
        began, self._mapper.began = self._mapper.began, None
        lost = began is None and isinstance(error, WorkerCrashed | ItemTimeout)
        value = self._on_error(error)
        if (began or lost) and not self._mapper.ours:
            return Several(as_pairs(value))
        return Several(self._mapper.step.over(iter((value,))))


def kept_apart(mapper: Callable[[Any], Any], sort: bool) -> type | None:
    """The type of those keys that have a part of their own: they are ours, and cannot be sorted among the
    user's, whose `__lt__` would be asked to compare them."""
    return getattr(mapper, "apart", None) if sort else None


def as_pairs(made: Any) -> Any:
    """What a mapper has made of a record, as pairs."""
    if isinstance(made, tuple) and len(made) == 2:
        return (made,)
    if isinstance(made, dict):
        return (pair for pair in made.items())
    if type(made) in ITERATED_IN_C:
        return made
    if not hasattr(made, "__iter__") and not hasattr(made, "__getitem__"):
        raise TypeError(f"the mapper returned {short_repr(made)}; it returns or yields (key, value) pairs")
    return (pair for pair in made)


class MapTask(Frozen):
    """The kernel of the map side: a chunk to nodes of groups, in one part per partition. Where they do not
    fit into memory, the values of nodes are runs in a file."""

    steps: tuple[Step, ...]
    mapper: Callable[[Any], Any]
    combiner: Reducer | None
    partitions: int
    rules: Rules
    sort: bool = False
    store: Store | None = None

    def __call__(self, chunk: Chunk, announce: Announce | None = None) -> Any:
        skipped = Skipped(self.rules.max_errors)
        made = Made(chunk, self.partitions, self.sort, self.store, kept_apart(self.mapper, self.sort))
        run = self._gathered if self.combiner is None else self._combined
        try:
            parts, done = run(chunk, made, skipped, announce)
        except (LookupError, AttributeError) as error:
            self._say_what_was_looked_up(error)
            raise
        return partly(skipped.beside(parts), done)

    def _say_what_was_looked_up(self, error: Exception) -> None:
        """What an item does not have is a key, or another field, where no code of the user's has asked."""
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        ours = frame is not None and str(frame.tb_frame.f_globals.get("__name__")).startswith("mrpy.")
        if ours and not key_said(error):
            steps = " -> ".join(map(str, (*self.steps, f"map {name_of(self.mapper)}")))
            with suppress(Exception):  # a class may forbid it
                error.add_note(f"mrpy: raised on the way to its key: {steps}")

    @property
    def in_leaves(self) -> bool:
        """See `mrpy.mapreduce.cut_again`."""
        return not is_exact(self.combiner)

    def _combined(
        self, chunk: Chunk, made: Made, skipped: Skipped, announce: Announce | None
    ) -> tuple[Parts, int | None]:
        assert self.combiner is not None
        counts = self.combiner is total and is_fast(self.rules, chunk, announce)
        combining = Combining(made, self.combiner, self.mapper.key if counts else None)  # type: ignore[attr-defined]
        steps, rules = (self.steps, self.rules) if counts else self._to_pairs()
        kernel = FoldChunk(steps, grouping(self.combiner).replaced(leaf=combining.leaf), rules)

        def combine(parts: Iterable[Chunk]) -> None:
            for part in parts:
                combining.begin(leaf_index(part.first, part.largest))
                for node in kernel.nodes(chunk, (part,), skipped, announce):
                    combining.add(node)

        if counts:
            combining.begin(0)
            value, done = kernel.at_once(chunk)
            combining.add(Node(0, 0, value))
        else:
            _, done = in_leaves(chunk, combine)
        return combining.parts(), done

    def _gathered(
        self, chunk: Chunk, made: Made, skipped: Skipped, announce: Announce | None
    ) -> tuple[Parts, int | None]:
        gathering = Gathering(made)
        fold = grouping(None).replaced(leaf=gathering.leaf)
        steps, rules = self._to_pairs()
        kernel = FoldChunk(steps, fold, rules)
        if is_fast(self.rules, chunk, announce):
            _, done = kernel.at_once(chunk)
        else:  # where items are run one by one, all that one makes is in memory
            cut = singly if announce is not None or self.rules.retries else in_leaves
            _, done = cut(chunk, lambda parts: kernel.nodes(chunk, parts, skipped, announce))
        return gathering.parts(), done

    def _to_pairs(self) -> tuple[tuple[Step, ...], Rules]:
        """The steps with the mapper, and the rules for them."""
        on_error = self.rules.on_error
        if not callable(on_error):
            step = step_of(self.mapper) if on_error == "raise" else WithKeys(self.mapper)
            return (*self.steps, step), self.rules
        mapper = Watched(self.mapper)
        return (*self.steps, mapper), self.rules.replaced(on_error=Replacing(on_error, mapper))


class ReduceTask(Frozen):
    """The kernel of the reduce side: one partition's nodes of all map tasks to (key, value) pairs, or to the
    values alone, in the order of rank. The rows of nodes are the values of the map tasks, or come from the
    consumer, who had them from a checkpoint. What does not fit into memory goes to a file: see `Output`.

    ``seed``  for `rng`, whose numbers are those of the key here
    ``pack``  what is made is for another run: see `mrpy.mapreduce.batches`
    """

    reducer: Reducer
    combiner: Reducer | None
    sort: bool
    seed: int
    store: Store | None = None
    with_keys: bool = True
    pack: bool = False

    def __call__(
        self, at_hand: list[list[Node]] | None, *rows: list[Node], announce: Announce | None = None
    ) -> list[Batch]:
        nodes = [node for row in at_hand or rows for node in row]
        memory = self.store.memory if self.store is not None else 0
        join = None if self.combiner is None else joining(self.combiner)
        groups = merged(nodes, ByRank(self.sort), join, memory)
        with Output(self.store) as out:
            self._fill(out, groups, announce)
        return out.batches(pack=self.pack)

    def _fill(self, out: Output, groups: Iterator[tuple[Any, Group]], announce: Announce | None) -> None:
        reducer, with_keys, rows = self.reducer, self.with_keys, out.rows
        at_work: Any = NOTHING
        values: Iterator[Any] = iter(())
        with at_positions(self.seed, lambda: -1 if at_work is NOTHING else number_of(at_work)):
            for key, group in in_order(groups) if self.sort else groups:
                at_work, kind = key, type(key)
                name = key if kind is str or kind is int else shown(key)
                if announce is not None:
                    announce(short_repr(name))
                try:
                    values = iter(group) if type(group) is list else _values(group)
                    made = reducer(name, values)
                    for value in made if type(made) is GeneratorType else (made,):
                        rows.append((name, value) if with_keys else value)
                        if len(rows) >= out.look_at:
                            out.look()
                except (Exception, SystemExit) as error:
                    say_key(error, key)
                    say_what_values_are(error, values)
                    raise
                if type(values) is _FromDisk:
                    values.over = True
                at_work = NOTHING  # what is combined for the next key has no numbers
                if announce is not None:
                    announce(None)


class _FromDisk:
    """The values of a group that is read while they are asked for: before the next key is."""

    def __init__(self, values: Iterator[Any]) -> None:
        self._values = values
        self.over = False

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self.over:
            raise RuntimeError(
                "a reducer has returned something that reads its values later, and they are gone: they did "
                "not fit into memory=; make a list of them, or yield what is made of each"
            )
        return next(self._values)


def _values(group: Group) -> Iterator[Any]:
    return _FromDisk(group.values) if type(group) is Streamed else iter((group,))


def in_order(groups: Iterator[tuple[Any, Group]]) -> Iterator[tuple[Any, Group]]:
    """Groups that are sorted by key. Raises TypeError where that is no order: those of sets would be cut
    into slices with the same key in two of them."""
    before: Any = NOTHING
    for key, group in groups:
        if before is not NOTHING and not before < key:
            raise no_order(before, key)
        before = key
        yield key, group


def no_order(before: Any, key: Any) -> TypeError:
    """What to raise where neither of these two is the first."""
    names = f"{short_repr(shown(before))} and {short_repr(shown(key))}"
    return TypeError(f"the keys cannot be sorted (sort=True): {names} have no order")

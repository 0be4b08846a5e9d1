"""Built-in iterators as programs: `map`, `filter`, `zip`, `enumerate`, some of itertools, and iterators over
sequences, each taken apart by what it says of itself to pickle; and runs that have not begun.

A handler gets the iterator, a function that lifts what is inside it, and the options of the run. It returns
None where there is nothing to gain; the iterator is then a plain source, which is never an error. Python
3.14 took ``__reduce__`` from itertools; those are plain sources there.
"""

from __future__ import annotations

import itertools
import sys
import warnings
from _weakref import ref
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from types import GeneratorType, MappingProxyType

from mrpy.iterators.handed import take_over
from mrpy.iterators.inner import Chained, inner, inner_in_order, joined
from mrpy.iterators.sharing import share, takes
from mrpy.light import TYPE_CHECKING, T, later
from mrpy.mapreduce.account import Account
from mrpy.mapreduce.plan import Plan
from mrpy.mapreduce.sources import Backwards, Counted, Pulled, Sliced, Zipped, asked, can_be_sliced, run_of
from mrpy.mapreduce.steps import Filter, Map, StarMap

if TYPE_CHECKING:
    from typing import Any, Self, TypeAlias

    from mrpy.iterators import explain, order
    from mrpy.mapreduce.skipped import Skipped

    Given: TypeAlias = Mapping[str, Any]
    Lift: TypeAlias = Callable[[Iterable[Any]], Plan]
    Handler: TypeAlias = Callable[[Any, Lift, Given], Plan | None]
else:
    order = later("mrpy.iterators.order")  # what it takes to run something
    explain = later("mrpy.iterators.explain")  # or to look at it

NONE_GIVEN: Given = MappingProxyType({})
DEEPEST = 100  # iterators within each other; out of the air


class Items(itertools.chain):  # type: ignore[type-arg]  # one that goes through blocks of items in C
    """What a run yields. Until it begins it is a program, as a generator is: a generator expression or a
    ``zip`` around it takes it over.

    ``given``  the options that were given to this run; None where it is not to be taken over
    """

    run_of_its_own = True
    upstream = ()
    _stages = property(lambda self: self.plan.stages)

    @classmethod
    def of(cls, shared: order.Shared, plan: Plan, given: Given | None, account: Account) -> Items:
        """An iterator over the items in the blocks."""
        items: Items = cls.from_iterable(shared)  # type: ignore[assignment]  # it makes one of this class
        items.blocks, items.plan, items.given, items.account = shared.blocks, plan, given, account
        return items

    blocks: Generator[Iterable[Any], None, None]
    plan: Plan
    given: Given | None
    account: Account

    def __str__(self) -> str:
        return f"[{self.plan}]"

    def __reduce__(self) -> Any:
        raise order.stays_here(self)

    def close(self) -> None:
        self.blocks.close()

    def _skips(self) -> list[Skipped]:
        return explain.skips(self.plan, self.account)


class _NoFromIterable:
    """Hides the constructor of `chain`. What an instance says is in `mrpy.iterators.elsewhere`."""

    def __get__(self, _: object, kind: type) -> Any:
        raise AttributeError(f"{kind.__name__} has no attribute 'from_iterable'; write mrpy.stream(iterable)")


class Beginning(itertools.chain[T]):  # type: ignore[type-var]  # of which items come out only
    """An iterator over what its own ``_run()`` yields, which is asked for with the first item. It goes
    through blocks of items in C, as `Items` does, and shares them with these."""

    def __new__(cls, *_: object, **__: object) -> Self:
        blocks = _BlocksOf()
        made: Any = super().from_iterable(blocks)  # of this class
        blocks.iterator = ref(made)
        return made  # type: ignore[no-any-return]

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name != "from_iterable"]

    from_iterable = _NoFromIterable()


class _BlocksOf:
    """The blocks of its run. It does not hold the iterator, which holds this, and is closed when it is let
    go of. An error is a block, too: see `mrpy.iterators.order.Shared`."""

    iterator: Callable[[], Any]
    _shared: Any = None  # those of the run

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Iterator[Any]:
        try:
            if self._shared is None:
                self._shared = self.iterator()._run().shared
            return next(self._shared)
        except StopIteration:
            raise
        except BaseException as error:
            return order.raising([error])


def _sequence_iterator(iterator: Any, lift: Lift, given: Given) -> Plan | None:
    """``iter(sequence)``, from where it stands."""
    made = iterator.__reduce__()
    if len(made) not in (2, 3) or made[0] is not iter or len(made[1]) != 1:
        return None  # it has ended: an empty plain source
    sequence = made[1][0]
    if not can_be_sliced(sequence):
        return None
    position = made[2] if len(made) == 3 else 0
    if hasattr(iterator, "__setstate__"):  # taken over: whoever else holds it finds it at its end
        ends = abs(sequence.stop - sequence.start) if isinstance(sequence, range) else len(sequence)
        iterator.__setstate__(ends)
    source = Sliced(sequence, position or 0)
    take_over(iterator, known=not source.is_empty())
    return Plan(source)


def _array_iterator(iterator: Any, lift: Lift, given: Given) -> Plan | None:
    """``iter(array)``. One that has ended must not be asked what it is: that crashes the interpreter
    (CPython issue 128961)."""
    if next(iterator, _END) is _END:
        return None
    array_itself, place = iterator.__reduce__()[1][0], iterator.__reduce__()[2]
    iterator.__setstate__(len(array_itself))
    take_over(iterator)
    return Plan(Sliced(array_itself, place - 1))


def _reverse_iterator(iterator: Any, lift: Lift, given: Given) -> Plan | None:
    """``reversed(sequence)``, from where it stands."""
    made = iterator.__reduce__()
    if made[0] is not reversed:
        return None
    sequence, position = made[1][0], made[2] if len(made) > 2 else len(made[1][0]) - 1
    if not can_be_sliced(sequence):
        return None
    iterator.__setstate__(-1)  # taken over, as above
    take_over(iterator, known=position >= 0)

    if type(sequence) in (list, bytearray, array):  # others cannot change, or a slice shows it
        return Plan(Sliced(Backwards(sequence, position)))
    return Plan(Sliced(sequence[position::-1] if position >= 0 else sequence[:0]))


def _map(iterator: Any, lift: Lift, given: Given) -> Plan | None:
    function, *sources = iterator.__reduce__()[1]
    if takes(function, sources):
        return None
    if len(sources) == 1:
        return lift(sources[0]).then(Map(function))
    return _side_by_side(sources, lift, given).then(StarMap(function))


def _filter(iterator: Any, lift: Lift, given: Given) -> Plan | None:
    predicate, source = iterator.__reduce__()[1]
    if takes(predicate, [source]):
        return None
    return lift(source).then(Filter(bool if predicate is None else predicate))


def _zip(iterator: Any, lift: Lift, given: Given) -> Plan | None:
    made = iterator.__reduce__()
    if len(made) > 2 or not made[1]:  # strict=True, or zip()
        return None
    return _side_by_side(made[1], lift, given)


def _side_by_side(sources: Iterable[Any], lift: Lift, given: Given) -> Plan:
    """Several sources at once: cut together if all can be cut, else each is run and pulled. Where they
    share an iterator they take turns at it, and are not taken apart."""
    iterators = [asked(source) for source in sources]
    if share(iterators):
        return Plan(Pulled(zip(*iterators, strict=False)))
    plans = [lift(each) for each in iterators]
    slices = [plan.source for plan in plans if not plan.steps and isinstance(plan.source, Sliced | Zipped)]
    if len(slices) == len(plans):
        return Plan(Zipped(tuple(slices)))
    return joined("zip", [inner_in_order(plan, given) for plan in plans], zip)


def _enumerate(iterator: Any, lift: Lift, given: Given) -> Plan | None:
    source, start = iterator.__reduce__()[1]
    plan = lift(source)
    cut = plan.source if not plan.steps and isinstance(plan.source, Sliced | Zipped) else None
    if cut and cut.reader().remaining() is not None:  # a range may be longer than can be counted
        return Plan(Zipped((Counted(range(start, start + sys.maxsize)), cut)))
    return joined("enumerate", [inner_in_order(plan, given)], lambda items: enumerate(items, start))


def _starmap(iterator: Any, lift: Lift, given: Given) -> Plan | None:
    function, source = _reduced(iterator)[1]
    if takes(function, [source]):
        return None
    return lift(source).then(StarMap(function))


def _chain(iterator: Any, lift: Lift, given: Given) -> Plan | None:
    made = _reduced(iterator)
    if len(made) < 3 or share([iterator]):  # the first: it has ended
        return None
    sources, *active = made[2]
    if type(sources) is not _TUPLE_ITERATOR:  # of ``chain.from_iterable``: asked for one part after the other
        parts = itertools.chain(map(asked, active), asked(sources))
        lifted = Chained("chain", [parts], lambda parts: (inner(lift(iter(part)), given) for part in parts))
        return Plan(Pulled(lifted))
    known = [*map(run_of, (*map(asked, active), *sources))]
    # What has no steps is taken over only when it is its turn.
    early = [type(part) in (GeneratorType, Items, *_PROGRAMS) for part in known]
    ready = [inner(lift(part), given) if now else part for part, now in zip(known, early, strict=True)]

    def one_by_one(*parts: Iterable[Any]) -> Iterator[Iterable[Any]]:
        for part, is_lifted in zip(parts, early, strict=True):
            yield part if is_lifted else inner(lift(iter(part)), given)

    return Plan(Pulled(Chained("chain", ready, one_by_one)))


def _islice(iterator: Any, lift: Lift, given: Given) -> Plan | None:
    if _held(iterator):
        return None  # whoever holds what is inside goes on behind the slice, so it is not taken over
    made = _reduced(iterator)
    if len(made) != 3:  # it has ended
        return None
    (source, *limits), taken = made[1], made[2]
    if type(source) is not GeneratorType and type(source) not in _PROGRAMS:
        return None
    start, stop, step = limits if len(limits) == 3 else (0, limits[0], 1)
    start, stop = max(0, start - taken), None if stop is None else max(0, stop - taken)
    label = f"islice {start} to {'the end' if stop is None else stop}" + (f" by {step}" if step != 1 else "")
    part = inner_in_order(lift(source), given)
    return joined(label, [part], lambda items: itertools.islice(items, start, stop, step))


def _held(iterator: Any) -> bool:
    """Whether somebody else holds a part of a program."""
    todo = [iterator]
    while todo:
        one = todo.pop()
        if any(count > _UNHELD.get(type(one), 0) for count in _counts(one)):
            return True
        todo += [part for part in _parts(one) if hasattr(type(part), "__next__")]
    return False


def is_too_deep(program: Any) -> bool:
    """Whether iterators are nested deeper than by hand, as of who adds to a `chain` in a loop. To take them
    apart would take more of the stack than to run them."""
    level, depth = [program], 0
    while level and depth < DEEPEST:
        level = [part for one in level for part in _parts(one) if hasattr(type(part), "__next__")]
        depth += 1
    return bool(level)


def _counts(iterator: Any) -> list[int]:
    """How many references there are to each iterator that this one takes its items from."""
    return [sys.getrefcount(part) for part in _parts(iterator) if hasattr(type(part), "__next__")]


def _items(items: Any, lift: Lift, given: Given) -> Plan | None:
    """A run that has not begun, as the program that it is; but not where it has options of its own."""
    blocks = items.blocks
    if blocks.gi_frame is None or blocks.gi_suspended or blocks.gi_running:
        return None
    if items.given is None or not items.given.items() <= given.items():
        return None
    blocks.close()
    return items.plan  # type: ignore[no-any-return]


def _groupby(iterator: Any, lift: Lift, given: Given) -> Plan:
    """A group is gone when the next one is asked for: each is kept as it comes."""

    def kept() -> Iterator[Any]:
        for key, group in iterator:
            yield key, iter(list(group))

    return Plan(Pulled(kept()))


def _parts(iterator: Any) -> Iterable[Any]:
    """What an iterator takes its items from, as far as it says so."""
    if type(iterator) is GeneratorType:
        frame = iterator.gi_frame
        return () if frame is None else (frame.f_locals.get(".0"),)
    if type(iterator) not in _PROGRAMS:
        return ()
    try:
        made = _reduced(iterator)
    except TypeError:
        return ()
    if type(iterator) is not itertools.chain:
        return made[1]  # type: ignore[no-any-return]
    sources, *active = made[2] if len(made) > 2 else ((),)
    listed: Any = sources.__reduce__() if type(sources) is type(iter(())) else ()
    return (sources, *active, *(listed[1][0][listed[2] :] if len(listed) == 3 else ()))


def _reduced(iterator: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return iterator.__reduce__()


def _or_plain(handler: Handler) -> Handler:
    """For what loses ``__reduce__`` in Python 3.14."""

    def handled(iterator: Any, lift: Lift, given: Given) -> Plan | None:
        try:
            return handler(iterator, lift, given)
        except TypeError:
            return None

    return handled


_OVER_SEQUENCES: tuple[Any, ...] = (
    range(0), range(2**70), [], (), "", "\u00e9", b"", bytearray(), {}, {}.values(), {}.items(), set(),
)  # fmt: skip
_END = object()
_TUPLE_ITERATOR = type(iter(()))


class _Old:
    """A sequence by ``__getitem__`` alone: NumPy arrays are iterated as such."""

    def __getitem__(self, place: int) -> int:
        raise IndexError(place)


_PROGRAMS = (map, filter, zip, enumerate, itertools.starmap, itertools.chain, itertools.islice)

HANDLERS: dict[type, Handler] = {
    map: _map,
    filter: _filter,
    zip: _zip,
    enumerate: _enumerate,
    type(reversed([])): _reverse_iterator,
    reversed: _reverse_iterator,
    itertools.starmap: _or_plain(_starmap),
    itertools.chain: _or_plain(_chain),
    itertools.islice: _or_plain(_islice),
    itertools.groupby: _groupby,
    Items: _items,
    type(iter(array("d"))): _array_iterator,
    **{type(iter(example)): _sequence_iterator for example in (*_OVER_SEQUENCES, _Old())},
}

# References to what is inside of each, where nobody else holds it: Python counts some of its own. A chain is
# not among them: its parts are asked for one after the other.
_EXAMPLES: tuple[Iterator[object], ...] = (
    map(abs, ()), filter(None, []), zip([]), enumerate([]), itertools.starmap(pow, ()),
    itertools.islice([], 1), (each for each in ""),
)  # fmt: skip
_UNHELD = {type(example): max(_counts(example), default=0) for example in _EXAMPLES}

"""Groups: the values of each key, made of pairs, and joined with those of neighbours.

A group is the list of its values; where there is one only, and it is not itself a list, the value stands
there bare. Most groups are like that once they are combined, and a dict of strings and numbers is nothing
to the garbage collector and travels several times faster than one of short lists. In the word count of
``benchmarks/wordcount.py`` this halved the time for all that is not counting.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import suppress
from types import GeneratorType

from mrpy.errors import MrpyError
from mrpy.light import TYPE_CHECKING, Any, Frozen
from mrpy.mapreduce.bulk import BULK, BULKY
from mrpy.mapreduce.folds import Fold
from mrpy.mapreduce.partition import MAY_BE_NAN, PLAIN, canonical, refused, shown
from mrpy.mapreduce.tree import NOTHING
from mrpy.scheduler import codec
from mrpy.scheduler.failure import short_repr

if TYPE_CHECKING:
    from typing import TypeAlias

Group: TypeAlias = Any
Groups: TypeAlias = dict[Hashable, Group]
Reducer: TypeAlias = Callable[[Any, Iterator[Any]], Any]


def take_in(groups: Groups, pairs: Iterator[Any], *, to_a_bulky_one: bool = False) -> Any:
    """Add pairs to groups, which are ours to change; the last pair, or `NOTHING` where there was none. Those
    behind one whose value takes much memory may be left."""
    get, may_be_nan = groups.get, MAY_BE_NAN
    pair: Any = NOTHING
    bulk = BULK if to_a_bulky_one else None
    for pair in pairs:
        try:
            key, value = pair
        except (TypeError, ValueError):
            raise TypeError(_no_pair(pair)) from None
        kind = type(key)
        if kind is not str and kind is not int and may_be_nan[kind]:
            key = canonical(key)
        try:
            group = get(key, NOTHING)
        except TypeError as error:
            raise refused(key, error) from error.__cause__
        if group is NOTHING:
            groups[key] = [value] if type(value) is list else value
        elif type(group) is list:
            group.append(value)
        else:
            groups[key] = [group, value]
        if bulk is not None:
            measure = bulk[type(value)]
            if measure is not None and measure(value) > BULKY:
                break
    return pair if pair is NOTHING else (key, value)


def key_of(pair: Any) -> Any:
    """The key of a pair. Raises TypeError where it is none."""
    try:
        key, _ = pair
    except (TypeError, ValueError):
        raise TypeError(_no_pair(pair)) from None
    return key


def _no_pair(pair: Any) -> str:
    return f"the mapper must give (key, value) pairs, not {short_repr(pair)}"


class FromPairs(Frozen):
    """The leaf of the fold: pairs to groups."""

    combiner: Reducer | None

    def __call__(self, pairs: Iterator[Any]) -> Groups:
        groups: Groups = {}
        take_in(groups, pairs)
        combiner = self.combiner
        if combiner is None:
            return groups
        least = _least(combiner)
        key: Any = None
        try:
            for key, group in groups.items():
                if type(group) is list and len(group) >= least:
                    made = combiner(key, iter(group))
                    groups[key] = made if type(made) not in _LISTED else listed(made)
        except (Exception, SystemExit) as error:
            say_key(error, key)
            raise
        return groups


def total(key: Any, values: Iterator[int]) -> int:
    """Combiner and reducer of counts, which need no tree: it does not matter where they are cut apart."""
    return sum(values)


class CountRecords(Frozen):
    """The leaf of the fold behind such pairs of a key and 1: it takes the records, and makes no pairs."""

    key: Callable[[Any], Any]

    def __call__(self, records: Iterator[Any]) -> Groups:
        counts: Groups = {}
        key_of, get = self.key, counts.get
        try:
            for record in records:
                key = key_of(record)
                try:
                    count = get(key, 0)
                except TypeError as error:  # a record of NumPy's can be one all the same
                    count = self._looked_up(key := canonical(key), get, error)
                counts[key] = count + 1
        except StopIteration as error:  # as in a generator
            raise RuntimeError(f"a function raised {error!r}") from error
        return with_one_nan(counts)

    @staticmethod
    def _looked_up(key: Any, get: Any, error: TypeError) -> int:
        try:
            return int(get(key, 0))
        except TypeError:
            raise refused(key, error) from error.__cause__


def with_one_nan(counts: dict[Any, int]) -> dict[Any, int]:
    """The same counts, but all NaN are one key."""
    if PLAIN.issuperset(map(type, counts)):
        return counts
    made: dict[Any, int] = {}
    for key, count in counts.items():
        key = canonical(key) if MAY_BE_NAN[type(key)] else key
        made[key] = made.get(key, 0) + count
    return made


def add_up(left: Groups, right: Groups) -> Groups:
    """The merge of that fold. The left dict is ours to change."""
    get = left.get
    for key, count in right.items():
        left[key] = get(key, 0) + count
    return left


class Join(Frozen):
    """The merge of the fold: groups of neighbours. The left dict is ours to change, not the lists in it."""

    combiner: Reducer

    def __call__(self, left: Groups, right: Groups) -> Groups:
        combiner, get, least = self.combiner, left.get, _least(self.combiner)
        waits = least > 2
        key: Any = None
        try:
            for key, theirs in right.items():
                mine = get(key, NOTHING)
                if mine is NOTHING:
                    left[key] = theirs
                    continue
                both = (mine, theirs) if type(mine) is not list is not type(theirs) else _both(mine, theirs)
                if waits and len(both) < least:
                    left[key] = list(both)
                    continue
                made = combiner(key, iter(both))
                left[key] = made if type(made) not in _LISTED else listed(made)
        except (Exception, SystemExit) as error:
            say_key(error, key)
            raise
        return left


_FOR = "mrpy: raised for the key "


def say_key(error: BaseException, key: Any) -> None:
    """Have an error say for which key it was raised."""
    if not isinstance(error, MrpyError):
        note_key(error, short_repr(shown(key)))


def say_what_values_are(error: BaseException, values: object) -> None:
    """Have the error of a reducer that took them for a list say so."""
    text = str(error) if type(error) is TypeError else ""
    if f"'{type(values).__name__}'" in text and ("len()" in text or "subscriptable" in text):
        error.add_note("mrpy: the values of a key are an iterator: list(values) makes a list of them")


def note_key(error: BaseException, text: str) -> None:
    """The same, where the key is known as text only."""
    with suppress(Exception):  # a class may forbid it
        error.add_note(f"{_FOR}{text}")


def key_said(error: BaseException) -> str:
    """The key for which an error says that it was raised, as text; empty where it says none."""
    notes = getattr(error, "__notes__", ())
    return next((note.removeprefix(_FOR) for note in notes if note.startswith(_FOR)), "")


class Waiting:
    """A combiner of ours that is not called with fewer values than that."""

    __slots__ = ()
    least: int


def _least(combiner: Reducer) -> int:
    """How many values it is called with at least: some wait until there are more than two."""
    return combiner.least if isinstance(combiner, Waiting) else 2


def _both(left: Group, right: Group) -> list[Any]:
    """All values of two groups, in a list of their own."""
    if type(left) is not list:
        return [left, *right] if type(right) is list else [left, right]
    return [*left, *right] if type(right) is list else [*left, right]


_LISTED = frozenset({GeneratorType, list})


def listed(made: Any) -> list[Any]:
    """What a combiner made of a group, where it is not one plain value: it may yield several, or return a
    list, which is one."""
    return list(made) if type(made) is GeneratorType else [made]


def gathered(parts: Iterator[Groups]) -> Groups:
    """Groups with all the values of these, in their order. What is not combined is joined in any way to the
    same groups, so it is done as takes least. The parts stay as they are: where a file turns out to be
    damaged they are read once more."""
    return codec.without_gc(lambda: _gathered(parts))  # type: ignore[no-any-return]


def _gathered(parts: Iterator[Groups]) -> Groups:
    whole: Groups = {}
    get = whole.get
    for part in parts:
        for key, theirs in part.items():
            mine = get(key, NOTHING)
            if mine is NOTHING:
                whole[key] = theirs[:] if type(theirs) is list else theirs
            elif type(mine) is not list:
                whole[key] = [mine, *theirs] if type(theirs) is list else [mine, theirs]
            elif type(theirs) is list:
                mine += theirs
            else:
                mine.append(theirs)
    return whole


def _same(value: Any) -> Any:
    return {} if value is NOTHING else value


def _first(left: Groups, right: Groups) -> Groups:
    """Where nothing is combined the leaves of a chunk are gathered in one dict, and each of them is it."""
    return left


def grouping(combiner: Reducer | None) -> Fold:
    """The fold that groups pairs by key."""
    merge = _first if combiner is None else joining(combiner)
    return Fold(FromPairs(combiner), merge, _same, "group", exact=is_exact(combiner))


def joining(combiner: Reducer) -> Callable[[Groups, Groups], Groups]:
    """The merge of groups that are combined. The left dict is ours to change."""
    return add_up if combiner is total else Join(combiner)


def is_exact(combiner: Reducer | None) -> bool:
    """Whether what is made of the values of a key does not depend on where they are cut apart."""
    return combiner is None or combiner is total

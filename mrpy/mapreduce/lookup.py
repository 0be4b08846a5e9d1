"""A join as a step: each worker has all of the other input, which is small, and each item looks up its
matches there. Nothing is shuffled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from mrpy.errors import SerializationError
from mrpy.light import TYPE_CHECKING, Any
from mrpy.mapreduce.batches import Batch, Packed, rows_of
from mrpy.mapreduce.keys import key_among, key_name, quick
from mrpy.mapreduce.partition import PLAIN, canonical, stable_hash
from mrpy.mapreduce.sources import Sliced, Zipped
from mrpy.scheduler import codec
from mrpy.scheduler.sizes import SAMPLED_WELL, estimated

if TYPE_CHECKING:
    from mrpy.mapreduce.plan import Plan

HOW = ("inner", "left", "semi", "anti")  # the others want to know which of the table nobody has found
SMALL = 32 << 20  # bytes of memory that a worker gives to a table, about. Out of the air; Spark's are 10
ENTRY = 64  # bytes of one of its entries, about, without the item


class WithKey:
    """The function from an item of the table to its key and the item. A key that cannot be one is an error of
    its item. ``alone``: it is all that is wanted."""

    __slots__ = ("__qualname__", "alone", "key")

    def __init__(self, key: Callable[[Any], Any], *, alone: bool) -> None:
        self.key, self.alone = key, alone
        self.__qualname__ = f"({key_name(key)}, item)"

    def __call__(self, item: Any) -> tuple[Any, Any]:
        return checked(self.key(item)), None if self.alone else item


def checked(key: Any) -> Any:
    """What stands for a key in the table. Raises TypeError where it cannot be one."""
    if type(key) not in PLAIN:
        key = canonical(key)
        stable_hash(key)
    return key


class Lookup:
    """The step. ``other`` is the small side, as the consumer sees it; what is looked up is what is there when
    a run begins."""

    # What is in its `__dict__` is of one run. The others are what it computes: a checkpoint knows it by them.
    __slots__ = ("__dict__", "default", "how", "key", "other_key")

    def __init__(self, key: Callable[[Any], Any], how: str, default: Any, other: Any) -> None:
        self.key, self.how, self.default = key, how, default
        self.other, self.other_key = other, getattr(other, "key", None)
        self._rows: Batch | None = None  # until a run begins
        self._keys: Callable[[Any], Any] | None = None
        self._table: dict[Any, Sequence[Any]] | None = None

    def ready(self, *, travels: bool) -> Lookup:
        """This step with the rows of the table, for a run."""
        made = Lookup(self.key, self.how, self.default, self.other)
        made._rows, made._keys = self.other.rows(travels=travels)
        if not travels:
            made._table = made._made()
        return made

    def by_itself(self, left: Plan) -> Any:
        """The same as a run of its own over this plan."""
        return self.other.shuffled(left)

    @property
    def upstream(self) -> list[Any]:
        """The runs that make it."""
        return self.other.upstream  # type: ignore[no-any-return]

    def over(self, items: Iterator[Any]) -> Iterator[Any]:
        """An item with each of its matches; or without, of those that have some, or none."""
        if self._table is None:
            self._table = self._made()
        if self.how in ("inner", "left"):
            return self._matched(items, self._table)
        return self._with_match(items, self._table, wanted=self.how == "semi")

    def _matched(self, items: Iterator[Any], table: dict[Any, Sequence[Any]]) -> Iterator[Any]:
        key_of, get, plain = quick(self.key), table.get, PLAIN
        none = (self.default,) if self.how == "left" else ()
        for item in items:
            key = key_of(item)
            for match in get(key if type(key) in plain else checked(key), none):
                yield item, match

    def _with_match(
        self, items: Iterator[Any], table: dict[Any, Sequence[Any]], *, wanted: bool
    ) -> Iterator[Any]:
        key_of = quick(self.key)
        for item in items:
            if (checked(key_of(item)) in table) is wanted:
                yield item

    def _made(self) -> dict[Any, Sequence[Any]]:
        assert self._rows is not None, "it is ready"
        rows = rows_of(self._rows)
        if self._keys is not None:
            keys, items = list(map(key_among(self._keys, rows), rows)), rows
        else:
            keys, items = [row[0] for row in rows], [row[1] for row in rows]
        table: dict[Any, Sequence[Any]] = dict(zip(keys, zip(items, strict=True), strict=True))
        if len(table) < len(keys):
            several: dict[Any, list[Any]] = {}
            for key, item in zip(keys, items, strict=True):
                several.setdefault(key, []).append(item)
            return dict(several)
        return table

    def __reduce__(self) -> tuple[Any, ...]:
        if self._rows is None:  # it is part of an iterator that has not begun
            return Lookup, (self.key, self.how, self.default, self.other)
        return _arrived, (self.key, self.how, self.default, self._rows, self._keys)

    def __str__(self) -> str:
        names = dict.fromkeys((key_name(self.key), key_name(self.other_key)))
        return f"{self.how} join by {' = '.join(names)} with {self.other}"


def _arrived(*parts: Any) -> Lookup:
    """One on a worker."""
    key, how, default, rows, keys = parts
    step = Lookup(key, how, default, None)
    step._rows, step._keys = rows, keys
    return step


def is_small(plan: Plan) -> bool:
    """Whether all workers can have what is in this source: by the number of its items, and the size of some.
    Where more would have to be done than to cut it, nobody knows before."""
    if plan.steps or not isinstance(plan.source, Sliced | Zipped):
        return False
    reader = plan.source.reader()
    count = reader.remaining()
    if count is None or count > SMALL // ENTRY:
        return False
    items = list(reader.take(count))
    some = items[:: max(1, count // SAMPLED_WELL)]
    try:
        nbytes = codec.encode(some).nbytes
    except SerializationError:
        nbytes = estimated(some)
    return count * (ENTRY + nbytes // max(1, len(some))) <= SMALL


def with_keys(items: list[Any], key: Callable[[Any], Any], *, travels: bool) -> Batch | None:
    """The items as rows of a table, if their keys are plain texts and numbers, and if they can travel. None:
    let workers look at them one by one, who can say what is wrong with which."""
    if not _ITEMS.issuperset(map(type, items)):
        return None
    try:
        keys = list(map(key_among(key, items), items))
        if not PLAIN.issuperset(map(type, keys)):
            return None
        return pack(items) if travels else items
    except Exception as error:
        codec.let_through(error)
        return None


_ITEMS = frozenset((list, tuple, dict, str))  # of whom nothing of the user's is asked


def pack(rows: list[Any]) -> Packed:
    """Rows as they travel. Raises `SerializationError`."""
    return Packed(codec.encode(rows), len(rows))

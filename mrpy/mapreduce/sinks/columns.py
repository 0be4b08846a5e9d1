"""Records with columns: dictionaries, named tuples, or sequences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from mrpy.light import TYPE_CHECKING, Any
from mrpy.mapreduce.steps import name_of

if TYPE_CHECKING:
    from typing import TypeAlias

Row: TypeAlias = tuple["Any", ...]  # the values of a record, one for each column
HINT = "fields= says which there are, and in which order"


class Columns:
    """The columns of one part: those that were given, or those of its records, which then have the same. What
    they are is known from the first record that can be written: one that fails says nothing about it.
    ``named``: sequences, which say no names, will not do.

    ``last``     the names in the row that was made last; None: it has none
    ``problem``  why there can be no such part. It is an error of the run and of no item: which records are in
                 one part depends on how the source was cut
    """

    def __init__(self, given: tuple[str, ...] | None, *, named: bool = False) -> None:
        self.names = self.last = given
        self.problem: ValueError | None = None
        self._given = given is not None
        self._known = self._given
        self._named = named

    def keep(self) -> None:
        """The row that was made last can be written: see that it has the columns of the others."""
        if self._known and self.last == self.names:
            return
        if self._known:
            self.problem = different(self.names, self.last)
            raise self.problem
        self.names, self._known = self.last, True

    def row(self, record: Any) -> Row:
        """The values of a record in the order of the columns."""
        kind = type(record)
        if kind is dict:
            return self._of_mapping(record)
        if kind is tuple or kind is list:
            return self._of_sequence(record)
        names = getattr(kind, "_fields", None)
        if names is not None and isinstance(record, tuple):
            record = dict(zip(names, record, strict=True))
        if isinstance(record, Mapping):
            return self._of_mapping(record)
        if hasattr(kind, "tolist"):  # an array
            record = record.tolist()
        if isinstance(record, Sequence) and not isinstance(record, str | bytes | bytearray):
            return self._of_sequence(record)
        what = name_of(kind)
        raise TypeError(f"a record has to be a dict, a named tuple or a sequence, not {what}")

    def over(
        self, records: Iterable[Any], encode: Callable[[Any], Any], check: Callable[[Row], object] | None
    ) -> Iterator[Any]:
        """``map(encode, records)``, where that is to make a row and to see that it has these columns. Usual
        records, dictionaries with just these, take no call but to ``check``, if there is something to see."""
        for record in records:
            if type(record) is dict and tuple(record) == self.names:
                self.last = self.names
                row = tuple(record.values())
                if check is not None:
                    check(row)
                yield row
            else:
                yield encode(record)

    def _of_mapping(self, record: Mapping[Any, Any]) -> Row:
        names = tuple(record)
        if names == self.names:
            self.last = self.names
            return tuple(record.values())
        if self.names is None or not self._given:
            self.last = checked(names)
            return tuple(record.values())
        unknown = [name for name in names if name not in self.names]
        if unknown:
            raise ValueError(f"a record has fields that fields= does not have: {unknown}")
        return tuple(record.get(name) for name in self.names)

    def _of_sequence(self, record: Sequence[Any]) -> Row:
        if self.names is None or not self._given:
            if self._named:
                raise TypeError(f"a record without names of its fields: {HINT}")
            self.last = None
        elif len(record) != len(self.names):
            raise ValueError(f"a record has {len(record)} values for {len(self.names)} fields")
        return tuple(record)


def different(one: tuple[Any, ...] | None, other: tuple[Any, ...] | None) -> ValueError:
    """What to raise where records have these columns and those."""
    which = " and ".join(str(names or "none") for names in (one, other))
    return ValueError(f"records have different columns: {which}; fields=, or schema=, says which there are")


def checked(names: Sequence[Any]) -> tuple[str, ...]:
    """Names of columns, if they can be that."""
    wrong = [name for name in names if not isinstance(name, str)]
    if isinstance(names, str) or wrong or not names:
        raise TypeError(f"the names of fields have to be strings, one or more: {names!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"there are fields of the same name: {names!r}")
    return tuple(names)

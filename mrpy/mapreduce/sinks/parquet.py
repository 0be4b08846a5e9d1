"""Parquet files, by way of pyarrow, which is imported when one is written."""

from __future__ import annotations

import datetime
import io
import math
import os
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

from mrpy.light import Frozen, later
from mrpy.mapreduce.files.parquet import needed
from mrpy.mapreduce.sinks import typed
from mrpy.mapreduce.sinks.columns import Columns, Row
from mrpy.mapreduce.sinks.parts import PartFile, batches
from mrpy.mapreduce.sinks.typed import arrow

parquet: Any = later("pyarrow.parquet")


class Parquet(Frozen):
    """Rows of typed columns. ``schema``: of pyarrow; None: what it makes of the values of a part."""

    fields: tuple[str, ...] | None
    schema: Any
    compression: str | None
    label, suffix, streams = "to_parquet", ".parquet", False

    def writer(self, file: PartFile) -> ParquetWriter:
        return ParquetWriter(file, self)

    @property
    def columns(self) -> tuple[Any, ...] | None:
        """The names of its columns, with their types, where these are known."""
        return None if self.schema is None else _columns_of(self.schema)

    def merged(self, paths: Sequence[str]) -> Parquet:
        """The same with the schema that all of these parts would have as one. Raises `ValueError` where they
        have none."""
        schemas = [_read(parquet.read_schema, path) for path in paths]
        return self.replaced(schema=_merged(schemas))


class ParquetWriter:
    """Writes a part when all of it is there: only then the types of the columns are known."""

    columns: tuple[Any, ...] | None = None

    def __init__(self, file: PartFile, format: Parquet) -> None:
        needed()
        self._format = format
        self._columns = Columns(format.fields, named=True)
        self._typed = [] if format.schema is None else [_Typed(field) for field in format.schema]
        self._buffer = io.BufferedWriter(file)
        self._values: list[list[Any]] = []  # of each column

    @property
    def problem(self) -> Exception | None:
        return self._columns.problem

    def encode(self, record: Any) -> Row:
        row = self._columns.row(record)
        self._columns.keep()
        self._check(row)
        return row

    def over(self, items: Iterator[Any]) -> Iterator[Row]:
        return self._columns.over(items, self.encode, self._check if self._typed else None)

    def _check(self, row: Row) -> None:
        for value, column in zip(row, self._typed, strict=False):
            if type(value) not in column.surely:
                column.check(value)

    def write(self, items: Iterator[Any]) -> int:
        count = 0
        for rows in batches(items):  # a tuple for each of all rows at once would take Python far longer
            self._values = self._values or [[] for _ in rows[0]]
            for at, values in enumerate(self._values):
                values += [row[at] for row in rows]
            count += len(rows)
        return count

    def finish(self) -> None:
        names, schema = self._columns.names, self._format.schema
        if names is None or not self._values:
            return
        columns = zip(names, self._values, strict=True)
        if schema is None:
            arrays = [typed.array_of(name, values) for name, values in columns]
            table = arrow.Table.from_arrays(arrays, names=names)
        else:
            arrays = [arrow.array(values, schema.field(name).type) for name, values in columns]
            table = arrow.Table.from_arrays(arrays, schema=schema)
        self._write_table(table)

    def join(self, paths: Sequence[str], columns: tuple[Any, ...] | None) -> None:
        tables = [_read(parquet.read_table, path) for path in paths]
        if (schema := self._format.schema) is not None:
            tables = [_cast(table, schema) for table in tables]
        self._write_table(arrow.concat_tables(tables))

    def _write_table(self, table: Any) -> None:
        self.columns = _columns_of(table.schema)
        parquet.write_table(table, self._buffer, compression=self._format.compression or "none")
        self._buffer.flush()

    def abandon(self) -> None:
        with suppress(Exception):
            self._buffer.close()


def _columns_of(schema: Any) -> tuple[Any, ...]:
    return tuple((field.name, None if typed.is_open(field.type) else str(field.type)) for field in schema)


def _read(read: Callable[[Any], Any], path: str) -> Any:
    with arrow.memory_map(os.fsencode(path)) as file:  # a name need not be UTF-8
        return read(file)


def _cast(table: Any, schema: Any) -> Any:
    columns = zip(schema, table.columns, strict=True)
    fitting = [typed.fitted(field.name, column, field.type) for field, column in columns]
    return arrow.Table.from_arrays(fitting, schema=schema)


def _merged(schemas: Sequence[Any]) -> Any:
    fields = list(schemas[0])
    for schema in schemas[1:]:
        fields = [
            one.with_type(typed.wider(one.name, one.type, other.type))
            for one, other in zip(fields, schema, strict=True)
        ]
    for field in fields:
        if typed.is_open(field.type):
            text = f"column {field.name!r} has nothing but empty dictionaries, which Parquet cannot hold"
            raise ValueError(f"{text}; schema= says what it is")
    return arrow.schema(fields)


def names_in(schema: Any) -> list[str]:
    """The columns of a schema. Raises `TypeError` where it is none."""
    if not isinstance(schema, arrow.Schema):
        wanted = 'schema=pyarrow.schema([("name", pyarrow.int64()), ...])'
        raise TypeError(f"to_parquet() needs {wanted}, not {type(schema).__name__} {schema!r:.60}")
    return list(schema.names)


def check_compression(name: str | None) -> None:
    """Raise `ValueError` where there is none of that name."""
    needed()
    if name is not None and not isinstance(name, str):
        raise ValueError(f"compression={name!r}: it has to be a name, or None")
    try:
        parquet.write_table(arrow.table({"a": [1]}), io.BytesIO(), compression=name or "none")
    except (arrow.ArrowException, OSError) as error:
        raise ValueError(f"compression={name!r}: {error}") from error


class _Typed:
    """A column whose type is known: a value that does not fit is an error of its record. All values of a part
    are converted at once; by itself only one is of which Python's type alone says nothing.

    ``surely``  types of which all values fit
    """

    def __init__(self, field: Any) -> None:
        self._kinds, self._array = arrow.types, arrow.array
        kinds = self._kinds
        self.surely: set[type] = {type(None)} if field.nullable else set()
        if kinds.is_float64(field.type):
            self.surely.add(float)
        elif kinds.is_boolean(field.type):
            self.surely.add(bool)
        self._least, self._most = 0, -1
        if kinds.is_integer(field.type):
            signed, width = kinds.is_signed_integer(field.type), field.type.bit_width
            self._least, self._most = -signed << width - 1, (1 << width - signed) - 1
        self._is_text = kinds.is_string(field.type) or kinds.is_large_string(field.type)
        self._field = field

    def check(self, value: Any) -> None:
        """Raise `ValueError` where it does not fit."""
        kind = type(value)
        if kind is int and self._least <= value <= self._most:
            return
        if kind is str and self._is_text and value.isascii():
            return
        try:
            if value is None:
                raise TypeError("the schema has no room for None")
            made = self._array([value], self._field.type)
            if _is_changed(self._kinds, value, made):
                raise TypeError(f"{reprlib.repr(value)} would be another value as {self._field.type}")
        except Exception as error:
            raise ValueError(f"column {self._field.name!r}: {error}") from error


_CUT = {"s": 10**9, "ms": 10**6, "us": 1_000}  # nanoseconds, of which Arrow drops what is less


def _is_changed(kinds: Any, value: Any, made: Any) -> bool:
    """Whether Arrow has made something else of it, though it raised nothing: it drops fractions, parts of
    seconds, zones, and fields that the type has not. ``made``: an array of that one."""
    kind = made.type
    if value is None:
        return False
    if kinds.is_integer(kind):
        return type(value) is not int and bool(made[0].as_py() != value)
    if kinds.is_floating(kind):
        return math.isinf(made[0].as_py()) and not math.isinf(value)
    if kinds.is_temporal(kind):
        return _is_cut(kinds, kind, value)
    if kinds.is_dictionary(kind):
        return _is_changed(kinds, value, made.dictionary_decode())
    if hasattr(kind, "storage_type"):  # one of an extension
        return _is_changed(kinds, value, made.storage)
    if kinds.is_struct(kind):
        return _has_other_fields(kinds, value, made)
    if kinds.is_map(kind) or hasattr(kind, "value_field"):  # any kind of list
        parts, items = value.items() if isinstance(value, Mapping) else value, made[0].values
        return any(_is_changed(kinds, part, items[at : at + 1]) for at, part in enumerate(parts))
    return False


def _has_other_fields(kinds: Any, value: Any, made: Any) -> bool:
    """The same of structs, which Arrow makes of dictionaries, tuples, and lists of pairs."""
    names = [field.name for field in made.type]
    parts = dict(zip(names, value, strict=False) if isinstance(value, tuple) else value)
    return (
        len(value) > len(names)
        or not parts.keys() <= set(names)
        or any(_is_changed(kinds, parts.get(name), made.field(at)) for at, name in enumerate(names))
    )


def _is_cut(kinds: Any, kind: Any, value: Any) -> bool:
    """The same of times."""
    if isinstance(value, float | Decimal):
        return True
    microseconds = getattr(value, "microseconds", getattr(value, "microsecond", 0))
    small = 1_000 * microseconds + typed.nanoseconds_of(value)
    if kinds.is_date(kind):
        return isinstance(value, datetime.datetime) and (value.timetz() != datetime.time() or small > 0)
    is_time = isinstance(value, datetime.datetime | datetime.time)
    if is_time and (value.tzinfo is None) != (getattr(kind, "tz", None) is None):
        return True
    return bool(small % _CUT.get(kind.unit, 1))

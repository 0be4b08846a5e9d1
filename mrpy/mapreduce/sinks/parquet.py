"""Parquet files, by way of pyarrow, which is imported when one is written."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from mrpy.light import Frozen
from mrpy.mapreduce.sinks.columns import Columns, Row
from mrpy.mapreduce.sinks.parts import PartFile, batches


def pyarrow() -> Any:
    """The library. Raises ImportError that says how to get it."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError("Parquet files need pyarrow: pip install 'mrpy[parquet]'") from error
    return pyarrow


class Parquet(Frozen):
    """Rows of typed columns. ``schema``: of pyarrow; None: what it makes of the values of a part."""

    fields: tuple[str, ...] | None
    schema: Any
    compression: str | None
    label, suffix, streams = "to_parquet", ".parquet", False

    def writer(self, file: PartFile) -> ParquetWriter:
        return ParquetWriter(file, self)


class ParquetWriter:
    """Writes a part when all of it is there: only then the types of the columns are known."""

    columns: tuple[Any, ...] | None = None

    def __init__(self, file: PartFile, format: Parquet) -> None:
        self._arrow = pyarrow()
        self._format = format
        self._columns = Columns(format.fields, named=True)
        self._buffer = io.BufferedWriter(file)
        self._rows: list[Row] = []

    @property
    def problem(self) -> Exception | None:
        return self._columns.problem

    def encode(self, record: Any) -> Row:
        row = self._columns.row(record)
        self._columns.keep()
        return row

    def write(self, items: Iterator[Any]) -> int:
        before = len(self._rows)
        for rows in batches(items):
            self._rows += rows
        return len(self._rows) - before

    def finish(self) -> None:
        names, schema = self._columns.names, self._format.schema
        if names is None or not self._rows:
            return
        types = [None] * len(names) if schema is None else [schema.field(name).type for name in names]
        values = zip(*self._rows, strict=True)
        arrays = [self._arrow.array(column, kind) for column, kind in zip(values, types, strict=True)]
        table = self._arrow.Table.from_arrays(arrays, names=names) if schema is None else (
            self._arrow.Table.from_arrays(arrays, schema=schema)
        )  # fmt: skip
        self._write_table(table)

    def join(self, paths: Sequence[str], columns: tuple[Any, ...] | None) -> None:
        opened = [self._arrow.memory_map(os.fsencode(path)) for path in paths]  # names need not be UTF-8
        self._write_table(self._arrow.concat_tables(map(self._arrow.parquet.read_table, opened)))

    def _write_table(self, table: Any) -> None:
        self.columns = tuple((field.name, str(field.type)) for field in table.schema)
        self._arrow.parquet.write_table(table, self._buffer, compression=self._format.compression or "none")
        self._buffer.flush()

    def abandon(self) -> None:
        with suppress(Exception):
            self._buffer.close()

"""The part of the chain that writes results to files.

Each runs when it is called. The workers write what they compute, a part per task, into a folder beside the
output; when all is there it gets its name in one step. So an output is complete, or not there, or still the
old one, whatever fails on the way.
"""

from __future__ import annotations

import codecs
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from mrpy.light import TYPE_CHECKING, Any, later

if TYPE_CHECKING:
    from mrpy.mapreduce.sinks import columns, folder, lines, parquet, parts, sqlite
    from mrpy.mapreduce.sinks.writing import Sink
else:
    columns, folder = later("mrpy.mapreduce.sinks.columns"), later("mrpy.mapreduce.sinks.folder")
    lines, parquet = later("mrpy.mapreduce.sinks.lines"), later("mrpy.mapreduce.sinks.parquet")
    parts, sqlite = later("mrpy.mapreduce.sinks.parts"), later("mrpy.mapreduce.sinks.sqlite")


class Writing(ABC):
    """What writes a parallel iterator.

    All of these take run options too, which come before those of the iterator. They raise `FileExistsError`,
    before anything runs, where there is an output that is not to be overwritten. Parts without records are
    not written; a folder without any has an empty file ``_SUCCESS``, and can be read back.
    """

    @abstractmethod
    def _write(self, make: Callable[[], Sink], given: dict[str, Any]) -> parts.Written:
        """Run everything, into a sink, which is made when the options were seen to be some."""

    def to_text(
        self,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        encoding: str = "utf-8",
        compression: str | None = None,
        **options: Any,
    ) -> parts.Written:
        """Each item, a string, as a line, into ``path/part-00000.txt`` and so on. (One with line ends in it
        is several lines there.) `compression`: None, "gzip", "bz2" or "xz". Returns the paths, the number of
        records, and of bytes.

        >>> import mrpy, tempfile, pathlib
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     out = pathlib.Path(folder, "out")
        ...     written = mrpy.stream("abcd", backend="serial", chunksize=2).to_text(out)
        ...     [pathlib.Path(path).read_text() for path in written.paths]
        ['a\\nb\\n', 'c\\nd\\n']
        """
        format = lines.Text(_encoding(encoding), _compression(compression, lines.SUFFIXES))
        return self._write(lambda: folder.Folder(path, format, overwrite=overwrite), options)

    def to_jsonl(
        self,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        compression: str | None = None,
        **options: Any,
    ) -> parts.Written:
        """``json.dumps(item, ensure_ascii=False)`` of each item as a line, into ``path/part-00000.jsonl``
        and so on.

        >>> import mrpy, tempfile, pathlib
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [path] = mrpy.stream([{"a": 1}, [2]], backend="serial").to_jsonl(f"{folder}/out").paths
        ...     pathlib.Path(path).read_text()
        '{"a": 1}\\n[2]\\n'
        """
        format = lines.JsonLines(_compression(compression, lines.SUFFIXES))
        return self._write(lambda: folder.Folder(path, format, overwrite=overwrite), options)

    def to_csv(
        self,
        path: str | os.PathLike[str],
        *,
        fields: Sequence[str] | None = None,
        delimiter: str = ",",
        overwrite: bool = False,
        encoding: str = "utf-8",
        compression: str | None = None,
        **options: Any,
    ) -> parts.Written:
        """Each item, a dict, a named tuple or a sequence, as a row, into ``path/part-00000.csv`` and so on,
        each with the names of its columns above, where there are names. `fields` says which there are;
        without it all items have the same, in the same order: else the run fails, whatever `on_error` is.

        >>> import mrpy, tempfile, pathlib
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     rows = mrpy.stream([{"a": 1, "b": 2}], backend="serial")
        ...     [path] = rows.to_csv(pathlib.Path(folder, "out")).paths
        ...     pathlib.Path(path).read_text()
        'a,b\\n1,2\\n'
        """
        chosen = None if fields is None else columns.checked(fields)
        packing = _compression(compression, lines.SUFFIXES)
        format = lines.Csv(chosen, delimiter, _encoding(encoding), packing)
        format.line()  # raises for a wrong delimiter
        return self._write(lambda: folder.Folder(path, format, overwrite=overwrite), options)

    def to_parquet(
        self,
        path: str | os.PathLike[str],
        *,
        fields: Sequence[str] | None = None,
        schema: Any = None,
        overwrite: bool = False,
        compression: str | None = "snappy",
        **options: Any,
    ) -> parts.Written:
        """Each item, as for `to_csv`, as a row, into ``path/part-00000.parquet`` and so on. Needs pyarrow. A
        `schema` (of pyarrow) says which columns there are, in the place of `fields`, and of what types: a
        value that does not fit is an error of its item (1.5 among whole numbers, a time with a zone where
        none has one, or without where all have). Without it the types are what pyarrow makes of the values;
        where these are of several types it is a wider one that changes none of them (whole numbers and
        floats are floats, times of several zones are in UTC), and `ValueError` if there is none.
        `compression` is one that pyarrow knows, or None.

        >>> import mrpy, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     written = mrpy.stream([{"a": 1}, {"a": 2}], backend="serial").to_parquet(f"{folder}/out")
        ...     mrpy.read_parquet(written.paths, backend="serial").to_list()
        [{'a': 1}, {'a': 2}]
        """
        parquet.check_compression(compression)
        if schema is not None:
            if fields is not None:
                raise TypeError("to_parquet() takes fields= or schema=: a schema says which fields there are")
            fields = parquet.names_in(schema)
        chosen = None if fields is None else columns.checked(fields)
        format = parquet.Parquet(chosen, schema, compression)
        return self._write(lambda: folder.Folder(path, format, overwrite=overwrite), options)

    def to_sqlite(
        self,
        path: str | os.PathLike[str],
        table: str,
        *,
        fields: Sequence[str] | None = None,
        overwrite: bool = False,
        **options: Any,
    ) -> parts.Written:
        """``executemany("insert into ...", self)``: each item, as for `to_csv`, as a row of a table of the
        database `path`, in one transaction. `overwrite` replaces the table, not the database.

        >>> import mrpy, tempfile
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     mrpy.stream([{"a": 1}, {"a": 2}], backend="serial").to_sqlite(file.name, "numbers").records
        2
        """
        chosen = None if fields is None else columns.checked(fields)
        rows = sqlite.Rows(chosen)
        return self._write(lambda: sqlite.Table(path, table, rows, overwrite=overwrite), options)


def _encoding(name: str) -> str:
    "".encode(name)  # raises LookupError, also for those that are no encodings of text
    return codecs.lookup(name).name


def _compression(name: str | None, known: dict[str | None, str]) -> str | None:
    if name not in known:
        raise ValueError(f"compression={name!r}: there are {', '.join(map(repr, known))}")
    return name

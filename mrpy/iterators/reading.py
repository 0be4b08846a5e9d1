"""Files, tables and queries as sources: found and cut here, read by the workers.

What does not exist, or cannot be read for want of a package, is an error at the call. All take the usual run
options as keywords, and return a `ParallelIterator`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from zlib import crc32

from mrpy.errors import OptionError
from mrpy.iterators.arguments import at_least
from mrpy.iterators.stream import ParallelIterator
from mrpy.light import TYPE_CHECKING, Any, Frozen, later
from mrpy.mapreduce.files import handed
from mrpy.mapreduce.files.blocks import Block, Blocks, blocksize_for, cut
from mrpy.mapreduce.files.found import files_of
from mrpy.mapreduce.files.lines import OnlyText, Parsed, Text, from_json, lines_for
from mrpy.mapreduce.files.opening import Opening, compression_for, zstd
from mrpy.mapreduce.files.reading import Reads
from mrpy.mapreduce.plan import Plan
from mrpy.options import plain

if TYPE_CHECKING:
    from typing import TypeAlias

    from mrpy.mapreduce.files import sequences
    from mrpy.mapreduce.files.found import File
    from mrpy.mapreduce.files.handed import BytesOf
    from mrpy.mapreduce.files.reading import Format

    Parts: TypeAlias = Callable[[Opening, Block], Iterator[Block]]
else:
    sequences = later("mrpy.mapreduce.files.sequences")

Path = str | os.PathLike[str]
Paths = Path | Iterable[Path]

__all__ = [
    "read_csv", "read_fasta", "read_fastq", "read_jsonl", "read_parquet", "read_records", "read_sql",
    "read_text",
]  # fmt: skip


def read_text(
    paths: Paths,
    encoding: str = "utf-8",
    errors: str = "strict",
    blocksize: int | str | None = "auto",
    *,
    only_text: bool = False,
    compression: str | None = "infer",
    storage_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> ParallelIterator[str]:
    r"""The lines of files, without their ends: ``(line.rstrip("\n") for line in open(path))``, file by file.

    ``paths``        a path, or several: files, patterns (``"logs/**/*.gz"``), directories, URLs for fsspec
    ``blocksize``    bytes that are one item to a worker; ``"auto"`` follows the sizes of the files; None:
                     whole files. Lines are never cut
    ``only_text``    True: a file in a directory that was given is passed over, as a whole, where it cannot be
                     decoded, is not packed as its name says, or has a NUL in it. In one that was named these
                     are errors; so it is in any that it cannot be read, or not be unpacked to its end
    ``compression``  ``"infer"`` it from the name; ``"gzip"``, ``"bz2"``, ``"xz"``, ``"zstd"``; None
    ``storage_options``  what fsspec is told of the place: keys, endpoints

    Up to eight compressed files of more than 1 MB are unpacked in the consumer's process, as far as it is
    ahead of the loop, and workers get the parts; so is, in a loop over what becomes of the lines, any of more
    than 4 MB. Of others, and of those in an encoding where the end of a line is not a byte of its own
    (UTF-16, say), each is one item: a worker holds what becomes of all of it. A line that cannot be decoded
    is a `DataError`, and `on_error` says what becomes of it. Brackets and stars in a URL are a pattern, also
    where a file has them in its name (``a[[]1].txt`` is ``a[1].txt``); in a path that file comes first.
    With `errors` other than ``"strict"`` it depends on where a file is cut what becomes of bad bytes at the
    very end of a line: whether a character goes with them, or an empty line is seen behind a ``"\r"``.

    >>> import mrpy, tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
    ...     _ = file.write("one\ntwo\n")
    ...     file.flush()
    ...     mrpy.read_text(file.name, backend="serial").map(str.upper).to_list()
    ['ONE', 'TWO']
    """
    asked = _Asked("read_text", paths, blocksize, compression, storage_options, only_text)
    lines = lines_for(encoding, errors, nul=not only_text)
    format = OnlyText(lines) if only_text else lines
    return asked.read(format, options, lines.bytes_of, cuttable=lines.cuttable)


def read_jsonl(
    paths: Paths,
    encoding: str = "utf-8-sig",
    errors: str = "strict",
    blocksize: int | str | None = "auto",
    *,
    compression: str | None = "infer",
    storage_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> ParallelIterator[Any]:
    """The values of files with one piece of JSON per line. Blank lines are passed over.

    The arguments are those of `read_text`. A line that is no JSON, or nested too deeply for
    Python, is a `DataError` with its offset.

    >>> import mrpy, tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
    ...     _ = file.write('{"a": 1}\\n[2, null]\\n')
    ...     file.flush()
    ...     mrpy.read_jsonl(file.name, backend="serial").to_list()
    [{'a': 1}, [2, None]]
    """
    asked = _Asked("read_jsonl", paths, blocksize, compression, storage_options)
    lines = lines_for(encoding, errors)
    format = Parsed(lines, from_json, "JSON values")
    return asked.read(format, options, lines.bytes_of, cuttable=lines.cuttable)


def read_csv(
    paths: Paths,
    encoding: str = "utf-8-sig",
    errors: str = "strict",
    blocksize: int | str | None = "auto",
    *,
    fieldnames: Sequence[str] | None = None,
    restkey: Any = None,
    restval: Any = None,
    dialect: Any = "excel",
    compression: str | None = "infer",
    storage_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> ParallelIterator[dict[str, Any]]:
    """The rows of CSV files as dictionaries: ``csv.DictReader(open(path, newline=""))``, file by file.

    The first row of each file has the names, unless there are `fieldnames`. Empty lines are passed over, also
    before that row: there `csv.DictReader` takes one for a row without names. ``delimiter=``, ``quotechar=``
    and what else `csv.reader` takes are taken here too. A field is as long at most as `csv.field_size_limit`
    allows at the call.

    A field in quotes may hold the ends of lines. So large files are read twice, first by the consumer, as far
    as he is ahead of the loop: he sees where rows begin, and workers read what is between. That is not done
    over a network: there each file is one item, unless `blocksize` is a number. Then a field that runs over
    the end of a block is a `DataError`, and ``on_error="skip"`` is not for that: the next block begins within
    the field, and takes the rest of it for a row.

    >>> import mrpy, tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
    ...     _ = file.write("name,n\\nbolt,3\\n")
    ...     file.flush()
    ...     mrpy.read_csv(file.name, backend="serial").to_list()
    [{'name': 'bolt', 'n': '3'}]
    """
    from mrpy.mapreduce.files import row_starts, tables  # csv, for those who have some

    asked = _Asked("read_csv", paths, blocksize, compression, storage_options)
    given = {name: options.pop(name) for name in (*tables.PARAMETERS, *tables.ALSO) if name in options}
    parameters = tables.parameters_of(dialect, given)
    names = tables.given_names(fieldnames)
    lines = lines_for(encoding, errors)
    rows = tables.Rows(lines, names, restkey, restval, parameters, tables.limit())
    parts = partial(row_starts.parts, rows)
    return asked.read(rows, options, lines.bytes_of, cuttable=lines.cuttable, parts=parts)


def read_fasta(
    paths: Paths,
    encoding: str = "utf-8",
    errors: str = "strict",
    blocksize: int | str | None = "auto",
    *,
    compression: str | None = "infer",
    storage_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> ParallelIterator[sequences.FastaRecord]:
    """The records of FASTA files, as named tuples ``(name, description, sequence)``.

    The arguments are those of `read_text`.

    >>> import mrpy, tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".fa") as file:
    ...     _ = file.write(">one of two\\nACGT\\nAC\\n")
    ...     file.flush()
    ...     mrpy.read_fasta(file.name, backend="serial").to_list()
    [FastaRecord(name='one', description='of two', sequence='ACGTAC')]
    """
    asked = _Asked("read_fasta", paths, blocksize, compression, storage_options)
    format = sequences.Fasta(_cuttable_text("read_fasta", encoding, errors))
    return asked.read(format, options, format.bytes_of)


def read_fastq(
    paths: Paths,
    encoding: str = "utf-8",
    errors: str = "strict",
    blocksize: int | str | None = "auto",
    *,
    compression: str | None = "infer",
    storage_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> ParallelIterator[sequences.FastqRecord]:
    """The records of FASTQ files, of four lines each, as named tuples.

    They are ``(name, description, sequence, quality)``. The arguments are those of `read_text`. A record that
    is none is a `DataError`; the next one is looked for behind it. One begins wherever a line begins with an
    ``@``, and the next but one with a ``+``, and the one between with neither: a record that would go on
    there has lost a line. (Where a header is lost behind qualities with an ``@`` in front, nobody can tell.)

    >>> import mrpy, tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".fq") as file:
    ...     _ = file.write("@one\\nACGT\\n+\\nIIII\\n")
    ...     file.flush()
    ...     mrpy.read_fastq(file.name, backend="serial").to_list()
    [FastqRecord(name='one', description='', sequence='ACGT', quality='IIII')]
    """
    asked = _Asked("read_fastq", paths, blocksize, compression, storage_options)
    format = sequences.Fastq(_cuttable_text("read_fastq", encoding, errors))
    return asked.read(format, options, format.bytes_of)


def read_records(
    paths: Paths,
    record: Any,
    blocksize: int | str | None = "auto",
    *,
    compression: str | None = "infer",
    storage_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> ParallelIterator[Any]:
    """The records of binary files, all of the same size.

    ``record``  how many bytes one has: then it is `bytes`; or a NumPy dtype: then it is a scalar of that

    A record of several fields is a view of up to 256 kB that were read at once: who keeps few of many on
    serial or threads keeps a ``record.copy()``. The other arguments are those of `read_text`.

    >>> import mrpy, tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     _ = file.write(bytes([1, 0, 2, 0]))
    ...     file.flush()
    ...     mrpy.read_records(file.name, "<u2", backend="serial").map(int).to_list()
    [1, 2]
    """
    from mrpy.mapreduce.files.records import Records

    asked = _Asked("read_records", paths, blocksize, compression, storage_options)
    record = plain(record)
    if isinstance(record, int):
        size, dtype = at_least("read_records", record, 1), None
    else:
        import numpy  # heavy, and only for those who give a dtype

        dtype = numpy.dtype(record)
        size = dtype.itemsize
        if size == 0 or dtype.hasobject:
            raise TypeError(f"read_records() needs a dtype of a fixed size, not {dtype!r}")
    format = Records(size, dtype)
    return asked.read(format, options, format.bytes_of, unit=size)


def read_parquet(
    paths: Paths,
    columns: Sequence[str] | None = None,
    *,
    storage_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> ParallelIterator[dict[str, Any]]:
    """The rows of Parquet files, or of files in Arrow's own format, as dictionaries, by groups of rows.

    ``columns``  the names of those to be read, which all files have; None: all

    Needs ``pyarrow``. A row with a value that Python has no place for is a `DataError`. In folders names with
    ``_`` in front are passed over (``_SUCCESS``). What names of folders say (``year=2024``) is no column.
    """
    from mrpy.mapreduce.files import parquet

    parquet.needed()
    asked = _Asked("read_parquet", paths, None, None, storage_options)
    if isinstance(columns, str):
        raise TypeError(f"read_parquet() needs columns=[{columns!r}], a list of names")
    format = parquet.Columns(None if columns is None else tuple(columns))
    opening, files = asked.opening(), [file for file in asked.files() if not parquet.is_mark(file)]
    blocks = [block for file in files for block in format.cut(file, opening)]
    step = Reads(format, opening, _fingerprint(files, blocks))
    return _over(Blocks(tuple(blocks), len(files)), step, options)


def read_sql(
    query: Any, url: Any, key: str | None = None, partitions: int | str = "auto", **options: Any
) -> ParallelIterator[dict[str, Any]]:
    """The rows of a table or of a query, as dictionaries, by ranges of a key.

    ``query``       a table's name, a SELECT, or what SQLAlchemy makes of one
    ``url``         of the database, as SQLAlchemy has it: ``"sqlite:///path"``, ``"postgresql://..."``
    ``key``         a column with numbers or dates, with an index if possible; None: one worker reads it all,
                    and holds what becomes of it
    ``partitions``  how many ranges, about; ``"auto"``: 128

    Rows come in the order of the key. Each range is a query of its own: what is written meanwhile may be seen
    by some of them. A row of which the driver makes nothing (text that is none, a date beyond the year 9999)
    is an error behind which no driver goes on: so those behind it are asked for anew, by their key. Of rows
    that have its key some may be lost with it, and without a `key` all behind it; the error says so.

    Values are those of the driver, or have the types that SQLAlchemy knows: ``sa.select(table)``, and a table
    with columns, are what they are in a program of its own. With a `key` they are the driver's where there is
    text among the columns (``*`` is), and those of ``sa.text(...).columns(...)``. A table whose name has
    blanks is ``sa.table("my table")``. Needs ``sqlalchemy``.

    >>> import mrpy, tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     _ = mrpy.stream([{"a": 1}, {"a": 2}], backend="serial").to_sqlite(file.name, "numbers")
    ...     mrpy.read_sql("numbers", f"sqlite:///{file.name}", "a", backend="serial").to_list()
    [{'a': 1}, {'a': 2}]
    """
    from mrpy.mapreduce.files import sql

    sql.needed()
    count = sql.PARTITIONS if partitions == "auto" else at_least("read_sql", partitions, 1)
    shown = url.render_as_string(hide_password=False) if hasattr(url, "render_as_string") else url
    if not isinstance(shown, str):
        raise TypeError(f"{sql.NEEDED}, not {type(url).__name__}")
    url = sql.database(shown)
    format = sql.Query(query, url, key, sql.said(query, url))
    blocks = format.cut(count)
    source = Blocks(tuple(blocks), 1, "query")
    return _over(source, Reads(format, files=_fingerprint([], blocks)), options)


class _Asked(Frozen):
    """What all of these are asked for."""

    verb: str
    paths: Any
    blocksize: Any
    compression: Any
    storage: Any
    only_text: bool = False

    def opening(self) -> Opening:
        return Opening(compression_for(self.compression), self.storage, _folder())

    def files(self) -> list[Any]:
        return files_of(self.verb, self.paths, self.storage, self.only_text)

    def read(
        self,
        format: Format,
        options: dict[str, Any],
        bytes_of: BytesOf,
        *,
        cuttable: bool = True,
        unit: int = 1,
        parts: Parts | None = None,
    ) -> ParallelIterator[Any]:
        """The records of the files. ``bytes_of``: a block, in pieces of whole records. ``parts``: what cuts a
        file, where all before a cut has to be seen."""
        size, opening = blocksize_for(self.verb, plain(self.blocksize)), self.opening()
        files = self.files()
        packed = {file.path for file in files if opening.is_packed(file.path)}
        if any(opening.packed(path) == "zstd" for path in packed):
            zstd()  # raises where there is none

        apart = {file.path for file in files if self.only_text and file.found}  # each is passed over, or not

        def whole(file: File) -> bool:
            return not cuttable or file.path in packed or file.path in apart

        blocks = list(cut(files, size, whole, unit, in_order=parts is not None))
        if cuttable and size is not None:
            blocks = handed.large(blocks, packed - apart)
        step = Reads(format, opening, _fingerprint(files, blocks))
        parts = parts or partial(handed.parts, bytes_of)
        return _over(Blocks(tuple(blocks), len(files), parts=partial(parts, opening)), step, options)


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed: nothing relative is found either
        return ""


def _over(source: Blocks, step: Reads, options: dict[str, Any]) -> ParallelIterator[Any]:
    return ParallelIterator(Plan(source, (step,)), options)


def _fingerprint(files: list[Any], blocks: list[Block]) -> int:
    keys = [block.key for block in blocks if block.key is not None]  # of what has no files: all that is known
    cuts = [(block.cut, block.cut_for_records) for block in blocks]
    keys += [("cut", *cut) for cut in cuts if any(cut)]
    return crc32(repr((files, len(blocks), [block.start for block in blocks[:2]], keys)).encode())


def _cuttable_text(verb: str, encoding: str, errors: str) -> Text:
    lines = lines_for(encoding, errors)
    if not lines.cuttable:
        raise OptionError(f"encoding={encoding!r}: {verb}() needs one in which the end of a line is a byte")
    return lines.text

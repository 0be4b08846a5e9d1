"""Rows of a database, by ranges of a key. Needs the package ``sqlalchemy``."""

from __future__ import annotations

import datetime
import math
import os
import re
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from itertools import islice, takewhile

from mrpy.light import TYPE_CHECKING, Frozen, NamedTuple, later
from mrpy.mapreduce.files.blocks import Block
from mrpy.mapreduce.files.opening import Opening
from mrpy.mapreduce.files.reading import Among, Raising

if TYPE_CHECKING:
    from typing import Any

    import sqlalchemy as sa

    from mrpy.mapreduce.files.reading import Place
else:
    sa = later("sqlalchemy")  # optional: the extra "sql"

ROWS = 1024  # that are made into objects at once
PARTITIONS = 128  # if nobody says how many: as blocks of files
# What a query is made of, whether a backslash takes a quote into a text or not: in that databases differ.
_TOKENS = [
    re.compile(
        r"(?P<blank>\s|--[^\n]*|/\*.*?\*/)|(?P<end>;)|(?P<quote>['\"`])" + inner + r"*?(?P=quote)"
        r"|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$|.",
        re.DOTALL,
    )
    for inner in (r".", r"(?:\\.|[^\\])")
]
NEEDED = "read_sql() needs the URL of a database, like 'sqlite:///x.db' for a file of SQLite"
_CUTTABLE = (int, float, Decimal, datetime.date)  # a `datetime` is a date


class Range(Frozen):
    """Values of a key: ``low <= key < high``; `null` those that have none. ``behind``: without `low` itself.

    The `first` has no least value and the `last` no greatest one: what a database gives for these may be
    rounded, or be written in another way than in its rows, as the times of SQLite are.
    """

    low: Any = None
    high: Any = None
    first: bool = False
    last: bool = False
    null: bool = False
    behind: bool = False

    def __repr__(self) -> str:
        if self.null:
            return "null"
        return f"{self.low} to {self.high}" if self.low is not None else "all"

    def holds(self, key: Any) -> list[Any]:
        """The conditions on this column."""
        if self.null:
            return [key.is_(None)]
        conditions = []
        if self.behind or not self.first:
            conditions.append(key > self.low if self.behind else key >= self.low)
        if not self.last:
            conditions.append(key < self.high)
        return conditions or [key.is_not(None)]


class Query(Frozen):
    """The rows of a query, or of a table, as dictionaries.

    ``text``  a table's name, a SELECT, or one that was made by SQLAlchemy
    ``url``   of the database; it may hold a password, and is never shown
    ``said``  by what a checkpoint knows what SQLAlchemy has made, of which the text says nothing to it
    """

    text: Any
    url: str
    key: str | None = None
    said: tuple[Any, ...] = ()

    def __repr__(self) -> str:
        return f"Query({self.text!r})"

    def __str__(self) -> str:
        return "rows"

    @property
    def name(self) -> str:
        """What to call it."""
        return " ".join(str(self.text).split())

    def cut(self, partitions: int) -> list[Block]:
        """The blocks: about as many ranges of the key, found by asking for the least and the greatest."""
        if self.key is None:
            return [self._block(0, Range())]
        rows = self._subquery()
        key = _column(rows, self.key)
        with _Connection(self.url) as connection:
            asked = sa.select(sa.func.min(key), sa.func.max(key), sa.func.count() - sa.func.count(key))
            low, high, nulls = connection.execute(asked.select_from(rows)).one()
        ranges = [] if low is None else list(ranges_of(self.key, low, high, partitions))
        if nulls:
            ranges.append(Range(null=True))
        return [self._block(number, each) for number, each in enumerate(ranges)]

    def pieces(self, block: Block, opening: Opening) -> Iterator[tuple[Iterator[Any], Place]]:
        """The rows of a range. One of which the driver makes nothing is an error. A cursor that has raised
        does not go on, so what comes behind that row is asked for by its key."""
        begun, name = 0, repr(block)
        left: _Left | None = _Left(block.key)
        while left is not None:
            tail: _Tail | None = None
            problem: Exception | None = None
            with _Connection(self.url) as connection:
                result = connection.execute(self._statement(left.range))
                names = tuple(result.keys())
                clear = len(set(names)) == len(names)  # else a row raises that is asked for it
                if self.key is not None and self.key in names and clear and not left.range.null:
                    tail = _Tail(self.key)
                while problem is None:
                    rows: list[Any] = []
                    try:
                        rows.extend(islice(result, ROWS))  # what came before an error stays there
                    except Exception as error:
                        problem = error
                    if not rows:
                        break
                    made = [dict(zip(names, row, strict=True) if clear else row._mapping) for row in rows]
                    if tail is not None:
                        tail.add(made)
                    items = iter(made)
                    begun += len(rows)
                    yield items, Among(name, begun, items)
            if problem is None:
                return
            left = None if tail is None else self._left(left.range, tail)
            lost, begun, bad = ", and all behind it there", begun + 1, Raising(problem)
            if left is not None:
                lost = f", and {left.others:,} more of that {self.key}" if left.others else ""
            yield bad, Among(f"{name}{lost}", begun, bad)
            begun += left.others if left is not None else 0

    def _left(self, range: Range, tail: _Tail) -> _Left | None:
        """What there is behind the row that cannot be read, which follows `tail`. None: that is not known."""
        try:
            rows = self._subquery()
            key = _column(rows, tail.key)
            asked = sa.select(sa.func.min(key), sa.func.count()).select_from(rows)
            with _Connection(self.url) as connection:
                value, others = tail.value, -1
                if tail.count:
                    others += connection.execute(asked.where(key == value)).one()[1] - tail.count
                    if others < -1:  # what it was rounded to is not what is there
                        return None
                    range = range.replaced(low=value, behind=True)
                if others < 0:  # it is the first of the next key
                    value = connection.execute(asked.where(*range.holds(key))).one()[0]
                    others = connection.execute(asked.where(key == value)).one()[1] - 1
        except Exception:  # what was wrong may be the connection
            return None
        if others < 0:
            return None
        return _Left(range.replaced(low=value, behind=True), others)

    def _block(self, number: int, range: Range) -> Block:
        return Block(self.name, number, number + 1, 1, range)

    def _subquery(self) -> Any:
        if isinstance(self.text, sa.TextClause):
            return self.text.columns().subquery()
        if not isinstance(self.text, str):
            return self.text.subquery() if hasattr(self.text, "subquery") else self.text
        if len(self.text.split()) > 1:
            return _verbatim()(f"{unended(self.text)}\n").columns().subquery()  # it may end in a comment
        *schema, table = self.text.split(".")
        return sa.table(table, schema=".".join(schema) or None)

    def _statement(self, range: Range) -> Any:
        if self.key is None and isinstance(self.text, sa.SelectBase | sa.TextClause):
            return self.text  # as it is: SQLAlchemy knows best of what types its columns are
        rows = self._subquery()
        chosen = _all_of(self.text, rows).select_from(rows)
        if self.key is None:
            return chosen
        key = _column(rows, self.key)
        chosen = chosen.where(*range.holds(key))
        return chosen if range.null else chosen.order_by(key)


def said(query: Any, url: str) -> tuple[Any, ...]:
    """What a query says that SQLAlchemy has made: its text in SQL, the parameters, and the types of columns,
    which may be classes of the user's own."""
    if isinstance(query, str):
        return ()
    statement = Query(query, url)._statement(Range())
    compiled = statement.compile(dialect=sa.make_url(url).get_dialect()())
    types = [column.type for column in getattr(statement, "selected_columns", ())]
    return str(compiled), compiled.params, types


def _all_of(query: Any, rows: Any) -> Any:
    """A choice of all columns of the rows of a query, with their types where SQLAlchemy knows these. It does
    not where there are some that it does not know at all: text among the columns, a ``*``."""
    first = query
    while isinstance(first, sa.CompoundSelect):
        first = getattr(first.selects[0], "element", first.selects[0])  # it may be in brackets
    columns = () if isinstance(rows, sa.ColumnElement) else tuple(getattr(rows, "c", ()))
    if isinstance(first, sa.Select):
        unknown = any(isinstance(each["expr"], sa.TextClause) for each in first.column_descriptions)
    else:
        unknown = isinstance(first, sa.SelectBase | sa.TextClause)
    if unknown or not columns or any(getattr(column, "is_literal", False) for column in columns):
        return sa.select(sa.text("*"))
    chosen = sa.select(*columns)
    # of a join none is given another name in silence
    return chosen.set_label_style(sa.LABEL_STYLE_NONE) if isinstance(rows, sa.Join) else chosen


def _column(rows: Any, name: str) -> Any:
    """A column of these rows. By itself a name that is none of theirs would be a text to SQLite. Its type is
    known where SQLite has none of the kind; what others would make of numbers may be rounded."""
    types = [each.type for each in getattr(rows, "c", ()) if each.name == name]
    dates = len(types) == 1 and isinstance(types[0], sa.Date | sa.DateTime)
    column: Any = sa.column(name, types[0] if dates else None)
    if getattr(rows, "named_with_column", False):  # what is joined has no name
        column.table = rows
    return column


@cache
def _verbatim() -> Any:
    """The kind of clause that is what somebody wrote: `text` would take ``:name`` for a parameter."""
    from sqlalchemy.ext.compiler import compiles

    def holds(clause: Any, text: str) -> None:
        sa.TextClause.__init__(clause, "")
        clause.text = text

    def written(clause: Any, compiler: Any, **_: Any) -> Any:
        return compiler.process(sa.literal_column(clause.text))

    verbatim = type("Verbatim", (sa.TextClause,), {"inherit_cache": True, "__init__": holds})
    compiles(verbatim)(written)
    return verbatim


def unended(query: str) -> str:
    """A query without a semicolon at its end, and what is said behind that: it is put into another one.

    >>> unended("select ';' -- all;\\n; -- of them"), unended("select 1; select 2")
    ("select ';' -- all;\\n", 'select 1; select 2')
    """
    query = query.strip().rstrip(";")
    return query[: max(_end(query, tokens) for tokens in _TOKENS)]


def _end(query: str, tokens: re.Pattern[str]) -> int:
    """Where a query ends: at a semicolon behind which nothing is said, or where it is at its end."""
    end = None
    for token in tokens.finditer(query):
        if token["end"]:
            end = token.start() if end is None else end
        elif not token["blank"]:
            end = None
    return len(query) if end is None else end


class _Left(NamedTuple):
    """What is left of a range. ``others``: how many rows besides the one are not, which have its key."""

    range: Range
    others: int = 0


class _Tail:
    """The last value of a key in the rows that were read, and how many of them had it."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.value: Any = None
        self.count = 0

    def add(self, rows: list[dict[str, Any]]) -> None:
        """These came next, in the order of the key."""
        value = rows[-1][self.key]
        alike = sum(1 for _ in takewhile(lambda row: row[self.key] == value, reversed(rows)))
        self.count = alike + (self.count if alike == len(rows) and value == self.value else 0)
        self.value = value


def ranges_of(key: str, low: Any, high: Any, count: int) -> Iterator[Range]:
    """A range of a key, cut evenly.

    >>> [(each.low, each.high) for each in ranges_of("id", 1, 9, 2)]
    [(1, 5), (5, 9)]
    """
    for value in (low, high):
        if not isinstance(value, _CUTTABLE) or isinstance(value, bool):
            kind = type(value).__name__
            problem = f"the key {key!r} has values of {kind}, which have no ranges"
            raise TypeError(f"{problem}: take numbers or dates")
    span = high - low
    if isinstance(span, float) and not math.isfinite(span):
        count = 1
    if isinstance(span, int):
        count = max(1, min(count, span))
    cuts = [low, *(low + _part(span, at, count) for at in range(1, count)), high]
    first = True
    for at in range(count):
        if cuts[at] < cuts[at + 1] or at == count - 1:
            yield Range(cuts[at], cuts[at + 1], first, at == count - 1)
            first = False


def _part(span: Any, at: int, count: int) -> Any:
    return span * at // count if isinstance(span, int) else span * at / count


class _Connection:
    """A connection of one's own, which ends with the block."""

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(url, poolclass=sa.NullPool)

    def __enter__(self) -> Any:
        # elsewhere rows would only be fetched ahead, and those before a bad one be lost with it
        streams = self._engine.dialect.supports_server_side_cursors
        self._connection = self._engine.connect().execution_options(stream_results=streams)
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._engine.dispose()


def database(url: str) -> str:
    """The URL of a database, from any working directory. Raises `FileNotFoundError` for a file of SQLite that
    is not there: who opens it makes it."""
    try:
        made = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):  # of the port; it may hold a password, or a part of one
        raise sa.exc.ArgumentError(NEEDED) from None
    path = made.database
    if made.get_backend_name() != "sqlite" or not path or path == ":memory:" or path.startswith("file:"):
        return url
    path = os.path.abspath(path)
    os.stat(path)
    return str(made.set(database=path).render_as_string(hide_password=False))


def needed() -> None:
    """Raise `ImportError` where there is no SQLAlchemy."""
    try:
        import sqlalchemy  # noqa: F401 - optional: the extra "sql"
    except ImportError as error:
        raise ImportError("read_sql() needs SQLAlchemy: pip install sqlalchemy") from error

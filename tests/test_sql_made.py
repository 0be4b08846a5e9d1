"""Queries that were made by SQLAlchemy: their types, their columns, and what a checkpoint knows of them."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import mrpy
from mrpy.errors import CheckpointError

sa = pytest.importorskip("sqlalchemy")

KINDS = sa.MetaData()
DAYS = sa.Table(
    "days", KINDS, sa.Column("id", sa.Integer), sa.Column("day", sa.Date), sa.Column("holiday", sa.Boolean),
    sa.Column("more", sa.JSON), sa.Column("price", sa.Numeric(5, 2)), sa.Column("at", sa.DateTime),
)  # fmt: skip
OTHERS = sa.Table("others", KINDS, sa.Column("id", sa.Integer), sa.Column("day", sa.Date))
FIRST = datetime.date(2024, 1, 1)


def row(n: int) -> dict[str, Any]:
    day = FIRST + datetime.timedelta(n)
    at = datetime.datetime.combine(day, datetime.time(12, n % 60))
    return {"id": n, "day": day, "holiday": n % 7 == 0, "more": {"n": [n]}, "price": Decimal(n) / 4, "at": at}


ROWS = [row(n) for n in range(100)]


@pytest.fixture
def url(tmp_path: Path) -> str:
    made = f"sqlite:///{tmp_path}/kinds.db"
    engine = sa.create_engine(made, poolclass=sa.pool.NullPool)
    with closing(engine.connect()) as connection, connection.begin():
        KINDS.create_all(connection)
        connection.execute(DAYS.insert(), ROWS)
        connection.execute(OTHERS.insert(), [{"id": 2 * n, "day": FIRST} for n in range(100)])
    return made


@pytest.mark.filterwarnings("ignore:Dialect sqlite:sqlalchemy.exc.SAWarning")
@pytest.mark.parametrize("key", [None, "id", "day", "at", "price"])
@pytest.mark.parametrize("asked", [DAYS, sa.select(DAYS), DAYS.alias(), sa.select(DAYS).cte("c"), sa.union_all(sa.select(DAYS).where(DAYS.c.id < 50), sa.select(DAYS).where(DAYS.c.id >= 50))])
def test_values_have_the_types_of_their_columns(url: str, asked: Any, key: str | None) -> None:
    assert mrpy.read_sql(asked, url, key, partitions=7, workers=2).to_list() == ROWS




_ASKED: dict[str, Callable[[], Any]] = {
    "labels": lambda: sa.select(DAYS.c.day.label("a b"), DAYS.c.id.label("day"), DAYS.c.id.label("id")),
    "of two tables": lambda: sa.select(DAYS.c.id, DAYS.c.day, OTHERS.c.id, OTHERS.c.day).where(DAYS.c.id == OTHERS.c.id),
    "a joined select": lambda: sa.select(DAYS, OTHERS).join(OTHERS, DAYS.c.id == OTHERS.c.id),
    "one twice": lambda: sa.select(DAYS.c.id, DAYS.c.day, DAYS.c.day),
    "unnamed": lambda: sa.select(DAYS.c.id, sa.func.max(DAYS.c.day), DAYS.c.id + 1, sa.literal(5)).group_by(DAYS.c.id),
    "no types": lambda: sa.select(sa.table("days", sa.column("id"), sa.column("price"))),
    "a condition in text": lambda: sa.select(DAYS).where(sa.text("id < 9")),
    "with parameters": lambda: sa.select(DAYS).where(DAYS.c.day.in_([FIRST, FIRST + datetime.timedelta(5)])),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Dialect sqlite:sqlalchemy.exc.SAWarning")
@pytest.mark.parametrize("key", [None, "id"])
@pytest.mark.parametrize("made", _ASKED.values(), ids=_ASKED)
def test_rows_are_those_of_sqlalchemy(url: str, made: Callable[[], Any], key: str | None) -> None:
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    with closing(engine.connect()) as connection:
        expected = connection.execute(made()).all()
    rows = mrpy.read_sql(made(), url, key, partitions=7, backend="serial").to_list()
    assert [tuple(each.values()) for each in rows] == [tuple(each) for each in expected]
    if made is not _ASKED["one twice"] and made is not _ASKED["unnamed"]:  # SQLAlchemy makes up their names
        assert [tuple(each) for each in rows] == [tuple(each._mapping) for each in expected]


_OF_TEXT: dict[str, Callable[[], Any]] = {
    "text": lambda: sa.text("select id, day from days"),
    "text with a parameter": lambda: sa.text("select id, day from days where id < :n").bindparams(n=1000),
    "text with some columns": lambda: sa.text("select id, day from days").columns(id=sa.Integer),
    "a star": lambda: sa.select(sa.text("*")).select_from(sa.select(DAYS.c.id, DAYS.c.day).subquery()),
    "a literal star": lambda: sa.select(sa.literal_column("*")).select_from(sa.select(DAYS.c.id, DAYS.c.day).subquery()),
    "a column in text": lambda: sa.select(sa.literal_column("id + 0").label("id"), sa.text("day")).select_from(DAYS),
    "in the first of a union": lambda: sa.union(sa.select(DAYS.c.id, sa.text("day")), sa.select(DAYS.c.id, DAYS.c.day)),
    "a table of which nothing is known": lambda: sa.table("others"),
}  # fmt: skip


@pytest.mark.parametrize("key", [None, "id"])
@pytest.mark.parametrize("made", _OF_TEXT.values(), ids=_OF_TEXT)
def test_no_column_is_lost_of_which_sqlalchemy_knows_nothing(url: str, made: Callable[[], Any], key: str | None) -> None:
    rows = mrpy.read_sql(made(), url, key, partitions=7, workers=1).to_list()
    assert len(rows) == 100 and all([*each] == ["id", "day"] for each in rows)


def test_the_least_and_the_greatest_row_are_read_however_they_are_written(url: str) -> None:
    """SQLite compares times as text, and has many ways to write one. Of a Numeric a database may know more."""
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    with closing(engine.connect()) as connection, connection.begin():
        connection.execute(sa.text("update days set at = '2024-01-01 12:00:00' where id = 0"))  # as current_timestamp
        connection.execute(sa.text("update days set price = 24.754 where id = 99"))
    assert mrpy.read_sql(DAYS, url, "at", partitions=7, backend="serial").count() == 100
    assert mrpy.read_sql(DAYS, url, "at", partitions=1, backend="serial").count() == 100


class Shouted(sa.TypeDecorator[str]):
    impl = sa.String
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Any) -> str:
        return f"{value}!"


class Asked(sa.TypeDecorator[str]):
    impl = sa.String
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Any) -> str:
        return f"{value}?"


_OTHER_ONES: dict[str, Callable[[], list[Any]]] = {
    "tables": lambda: [sa.select(DAYS.c.id), sa.select(OTHERS.c.id)],
    "parameters": lambda: [sa.select(DAYS.c.id).where(DAYS.c.id < n) for n in (1000, 999)],
    "lists": lambda: [sa.select(DAYS.c.id).where(DAYS.c.id.in_(n)) for n in (range(100), range(101))],
    "dates": lambda: [sa.select(DAYS.c.id).where(DAYS.c.day >= day) for day in (FIRST, datetime.date(2023, 1, 1))],
    "texts": lambda: [sa.text(f"select id from {name}") for name in ("days", "others")],
    "parameters of text": lambda: [sa.text("select id from days where id < :n").bindparams(n=n) for n in (998, 999)],
    "types": lambda: [sa.select(sa.type_coerce(DAYS.c.id, kind).label("id")) for kind in (Shouted, Asked)],
    "bare tables": lambda: [DAYS, OTHERS],
}  # fmt: skip


@pytest.mark.parametrize("key", [None, "id"])
@pytest.mark.parametrize("made", _OTHER_ONES.values(), ids=_OTHER_ONES)
def test_a_checkpoint_of_one_query_is_refused_for_another(url: str, tmp_path: Path, made: Callable[[], list[Any]], key: str | None) -> None:
    def run(query: Any) -> int:
        rows = mrpy.read_sql(query, url, key, partitions=1, backend="serial", checkpoint=tmp_path / "kept")
        return rows.map(lambda row: row["id"]).count()

    one, other = made()
    count = run(one)
    assert run(made()[0]) == count, "the same, made once more"
    with pytest.raises(CheckpointError, match="another program"):
        run(other)


@pytest.mark.parametrize("key", [None, "a"])
def test_a_table_may_have_any_name(tmp_path: Path, key: str | None) -> None:
    mrpy.stream([{"a": 1}, {"a": 2}], backend="serial").to_sqlite(tmp_path / "a.db", "my table.of mine")
    rows = mrpy.read_sql(sa.table("my table.of mine"), f"sqlite:///{tmp_path}/a.db", key, backend="serial")
    assert rows.to_list() == [{"a": 1}, {"a": 2}]

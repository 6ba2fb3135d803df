"""Documents as real tables: what pandas, Polars, DuckDB and SQLite read is what was stored."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import duckdb
import pandas
import polars
import pyarrow.parquet
import pytest

from cupola.deploy.tables.columns import COLUMNS_MAX, Kind, rows_of, tables_of
from cupola.deploy.tables.parquet import write_parquet
from cupola.deploy.tables.sql import literal, write_sql
from cupola.deploy.tables.sqlite import write_sqlite
from cupola.functions.app import App
from cupola.functions.definitions import Function, Visibility
from cupola.functions.definitions import Kind as FunctionKind
from cupola.schema import SchemaDefinition
from cupola.values import Int64

from ..conftest import Pushing

Tell = Callable[..., None]
Documents = list[dict[str, Any]]

PEOPLE: Documents = [
    {
        "name": 'Ada O\'Hara "Ünïcode"',
        "age": 36.0,
        "visits": Int64(2**62),
        "active": True,
        "photo": b"\x00\xff'",
        "tags": ["a", 1.0, Int64(1)],
        "mixed": 1.0,
    },
    {"name": "Bob", "age": None, "active": False, "mixed": "two", "home": {"city": "Bern"}},
    {"name": "", "age": -0.0, "visits": Int64(-5), "active": None, "mixed": None},
]


def no_news(name: str, done: int) -> None:
    pass


def app(tables: dict[str, Documents], *definitions: Any) -> App:
    def add(ctx: Any) -> None:
        for name, documents in tables.items():
            for document in documents:
                ctx.db.insert(name, document)

    schema = SchemaDefinition.from_json({"tables": list(definitions), "schemaValidation": True})
    function = Function(add, FunctionKind.MUTATION, Visibility.PUBLIC)
    return App({"data:add": function}, {}, schema=schema)


def with_documents(
    tell: Tell, tables: dict[str, Documents], work: Callable[[Any, int], None], *definitions: Any
) -> None:
    """Run `work` with a reader of these documents, and its timestamp."""

    async def story(at: Pushing) -> None:
        await at.value("data:add")
        reader = at.backend.node.persistence.reader
        work(reader, reader.newest_ts())

    tell(story, app(tables, *definitions))


def catalog_of(reader: Any) -> Any:
    from cupola.database.load import load_catalog

    return load_catalog(reader)


def definition(name: str, indexes: Any = (), **fields: str) -> dict[str, Any]:
    return {
        "tableName": name,
        "indexes": list(indexes),
        "documentType": {
            "type": "object",
            "value": {n: {"fieldType": {"type": k}, "optional": True} for n, k in fields.items()},
        },
    }


def anything(name: str, *indexes: Any) -> dict[str, Any]:
    return {**definition(name, indexes), "documentType": {"type": "any"}}


def test_a_field_of_one_kind_is_a_column_of_that_kind(tell: Tell) -> None:
    def work(reader: Any, ts: int) -> None:
        (table,) = tables_of(reader, catalog_of(reader), no_news)
        assert {column.name: column.kind for column in table.columns} == {
            "_id": Kind.TEXT,
            "_creationTime": Kind.FLOAT64,
            "active": Kind.BOOLEAN,
            "age": Kind.FLOAT64,
            "home": Kind.JSON,
            "mixed": Kind.JSON,
            "name": Kind.TEXT,
            "photo": Kind.BYTES,
            "tags": Kind.JSON,
            "visits": Kind.INT64,
        }
        names = [column.name for column in table.columns]
        rows = sorted(rows_of(reader, table, no_news), key=lambda row: row[1])
        first, second, third = (dict(zip(names, row, strict=True)) for row in rows)
        assert first["tags"] == '["a",1.0,1]' and first["mixed"] == "1.0"
        assert second["mixed"] == '"two"' and json.loads(second["home"]) == {"city": "Bern"}
        assert third["mixed"] is None and second["visits"] is None

    with_documents(tell, {"people": PEOPLE}, work)


def test_the_schema_says_what_no_document_shows(tell: Tell) -> None:
    """An empty table has its columns, and one that only has nulls has its kind."""

    def work(reader: Any, ts: int) -> None:
        tables = {t.name: t for t in tables_of(reader, catalog_of(reader), no_news)}
        assert [(c.name, c.kind) for c in tables["empty"].columns[2:]] == [
            ("when", Kind.FLOAT64),
            ("count", Kind.INT64),
            ("who", Kind.TEXT),
        ]
        assert tables["empty"].rows == 0

    empty = definition("empty", when="number", count="bigint", who="string")
    with_documents(
        tell,
        {"people": PEOPLE},
        work,
        empty,
        {**definition("people"), "documentType": {"type": "any"}},
    )


def test_names_that_differ_in_case_only_are_told_apart(tell: Tell) -> None:
    def work(reader: Any, ts: int) -> None:
        tables = list(tables_of(reader, catalog_of(reader), no_news))
        assert [table.name for table in tables] == ["Notes", "notes_2"]
        assert [c.name for c in tables[0].columns[2:]] == ["A", "a_2"]

    with_documents(tell, {"notes": [{}], "Notes": [{"a": 1.0, "A": 2.0}]}, work)


def test_fields_past_the_bound_share_a_column(tell: Tell) -> None:
    def work(reader: Any, ts: int) -> None:
        (table,) = tables_of(reader, catalog_of(reader), no_news)
        assert len(table.columns) == COLUMNS_MAX + 1
        rows = list(rows_of(reader, table, no_news))
        rests = [json.loads(row[-1]) for row in rows if row[-1]]
        values = [v for row in rows for v in row[2:-1] if v is not None]
        values += [value for rest in rests for value in rest.values()]
        assert sorted(values) == [float(n) for n in range(1500)]

    documents = [
        {f"field_{n}": float(n) for n in range(part, part + 500)} for part in (0, 500, 1000)
    ]
    with_documents(tell, {"wide": documents}, work)


def test_parquet_is_read_by_pandas_polars_and_duckdb(tell: Tell, tmp_path: Path) -> None:
    folder = tmp_path / "out"

    def work(reader: Any, ts: int) -> None:
        write_parquet(reader, ts, folder, no_news)
        file = folder / "people.parquet"
        metadata = pyarrow.parquet.read_schema(file).metadata
        assert metadata[b"cupola.ts"] == str(ts).encode()

        frame = pandas.read_parquet(file).sort_values("_creationTime")
        assert list(frame["name"]) == [person["name"] for person in PEOPLE]
        assert frame["visits"].sum() == 2**62 - 5

        lazy = polars.read_parquet(file).sort("_creationTime")
        assert lazy["photo"].to_list() == [b"\x00\xff'", None, None]
        assert lazy["visits"].to_list() == [2**62, None, -5]
        assert math.copysign(1, lazy["age"].to_list()[2]) == -1

        counted = duckdb.sql(f"SELECT active, count(*) FROM '{file}' GROUP BY 1 ORDER BY 1")
        assert counted.fetchall() == [(False, 1), (True, 1), (None, 1)]
        city = duckdb.sql(f"SELECT home->>'city' FROM '{file}' WHERE name = 'Bob'").fetchall()
        assert city == [("Bern",)]

    with_documents(tell, {"people": PEOPLE}, work)
    assert not (tmp_path / "out.new").exists()


def test_many_rows_make_several_row_groups(tell: Tell, tmp_path: Path, monkeypatch: Any) -> None:
    """So that memory does not grow with the table."""
    monkeypatch.setattr("cupola.deploy.tables.parquet._GROUP_ROWS", 10)

    def work(reader: Any, ts: int) -> None:
        write_parquet(reader, ts, tmp_path / "out", no_news)
        file = pyarrow.parquet.ParquetFile(tmp_path / "out" / "numbers.parquet")
        assert file.num_row_groups == 4 and file.metadata.num_rows == 35
        assert sum(file.read()["n"].to_pylist()) == sum(range(35))

    with_documents(tell, {"numbers": [{"n": float(n)} for n in range(35)]}, work)


def test_sqlite_has_the_tables_and_their_indexes(tell: Tell, tmp_path: Path) -> None:
    file = tmp_path / "out.sqlite"

    def work(reader: Any, ts: int) -> None:
        write_sqlite(reader, ts, file, no_news)
        rows = apsw.Connection(str(file)).execute(
            "SELECT name, age, visits, active, photo, tags FROM people ORDER BY _creationTime"
        )
        assert rows.fetchall() == [
            (PEOPLE[0]["name"], 36.0, 2**62, 1, b"\x00\xff'", '["a",1.0,1]'),
            ("Bob", None, None, 0, None, None),
            ("", 0.0, -5, None, None, None),
        ]
        plan = apsw.Connection(str(file)).execute(
            "EXPLAIN QUERY PLAN SELECT * FROM people WHERE name = 'Bob'"
        )
        assert "people_by_name" in str(plan.fetchall())
        assert apsw.Connection(str(file)).execute("SELECT ts FROM _export").get == ts

    by_name = {"indexDescriptor": "by_name", "fields": ["name"]}
    with_documents(tell, {"people": PEOPLE}, work, anything("people", by_name))


def test_a_script_of_sql_makes_the_same_tables(tell: Tell, tmp_path: Path) -> None:
    """DuckDB runs it, but for bytes, which are written as PostgreSQL reads them."""
    file = tmp_path / "out.sql"
    people = [{k: v for k, v in person.items() if k != "photo"} for person in PEOPLE]
    special: Documents = [{"f": value} for value in (math.inf, -math.inf, math.nan, 1e300)]

    def work(reader: Any, ts: int) -> None:
        write_sql(reader, ts, file, no_news)
        connection = duckdb.connect()
        connection.execute(file.read_text())
        rows = connection.execute("SELECT name, age, visits, active FROM people ORDER BY 1")
        assert rows.fetchall() == [
            ("", 0.0, -5, None),
            (PEOPLE[0]["name"], 36.0, 2**62, True),
            ("Bob", None, None, False),
        ]
        found = connection.execute("SELECT f FROM special ORDER BY _creationTime").fetchall()
        assert found[:2] == [(math.inf,), (-math.inf,)] and math.isnan(found[2][0])
        assert found[3] == (1e300,)

    with_documents(tell, {"people": people, "special": special}, work)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"\x00\xff", r"CAST('\x00ff' AS BYTEA)"),
        ("it's", "'it''s'"),
        ("nul\0", "'nul\ufffd'"),
        (-0.0, "CAST('-0.0' AS DOUBLE PRECISION)"),
        (Int64(5), "5"),
        (True, "TRUE"),
        (None, "NULL"),
    ],
)
def test_values_are_written_as_postgresql_reads_them(value: Any, text: str) -> None:
    assert literal(value) == text

"""Digests: equal for equal content, different for any other, the same on every server."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text

from sgdb.database.digests import PIECE_BEFORE_18, TableDigest, digest_table
from sgdb.database.engine import transaction

TYPES = {
    "a": "integer",
    "b": "text",
    "c": "jsonb",
    "d": "timestamptz",
    "e": "double precision",
    "f": "bytea",
    "g": "boolean",
}
COLUMNS = tuple(TYPES)
Row = tuple[Any, ...]
_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
_row = st.tuples(
    st.integers(-3, 3),
    st.none() | _text,
    st.none() | st.dictionaries(_text, _text, max_size=2).map(json.dumps),
    st.none() | st.datetimes().map(lambda moment: f"{moment.isoformat()}+02:00"),
    st.none() | st.floats(),
    st.none() | st.binary(max_size=4),
    st.none() | st.booleans(),
)
_property = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    """A connection that may make tables of its own."""
    with transaction(engine) as found:
        yield found


def make_table(connection: Connection, name: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """A table with these columns in this order, whose rows give them in the order of `COLUMNS`."""
    definition = ", ".join(f"{column} {TYPES[column]}" for column in columns)
    connection.execute(text(f"DROP TABLE IF EXISTS {name}"))
    connection.execute(text(f"CREATE TEMPORARY TABLE {name} ({definition})"))
    values = ", ".join(f"CAST(:{column} AS {TYPES[column]})" for column in COLUMNS)
    if rows:
        connection.execute(
            text(f"INSERT INTO {name} ({', '.join(COLUMNS)}) VALUES ({values})"),
            [dict(zip(COLUMNS, row, strict=True)) for row in rows],
        )


def digest(connection: Connection, name: str = "one") -> TableDigest:
    return digest_table(connection, name, COLUMNS)


def number_of_differences(connection: Connection) -> int:
    """In how many rows `one` and `other` differ, counted by PostgreSQL itself."""
    only = "SELECT t::text FROM {} t EXCEPT ALL SELECT t::text FROM {} t"
    query = f"({only.format('one', 'other')}) UNION ALL ({only.format('other', 'one')})"
    return int(connection.execute(text(f"SELECT count(*) FROM ({query}) AS d")).scalar_one())


@given(rows=st.lists(_row, max_size=5), data=st.data())
@_property
def test_equal_content_has_equal_digests(
    connection: Connection, rows: list[Row], data: st.DataObject
) -> None:
    """In whatever order the rows were written and the columns made."""
    make_table(connection, "one", COLUMNS, rows)
    columns = data.draw(st.permutations(COLUMNS))
    make_table(connection, "other", columns, data.draw(st.permutations(rows)))
    assert digest(connection, "one") == digest(connection, "other")
    assert digest(connection).rows == len(rows)


@given(rows=st.lists(_row, min_size=2, max_size=4), another=_row, data=st.data())
@_property
def test_any_change_has_another_digest(
    connection: Connection, rows: list[Row], another: Row, data: st.DataObject
) -> None:
    """A row lost, twice there, added; a value changed; a value swapped between two rows."""
    make_table(connection, "one", COLUMNS, rows)
    before = digest(connection)
    column = data.draw(st.integers(0, len(COLUMNS) - 1))
    first, second, *rest = rows

    def with_value(row: Row, value: object) -> Row:
        return (*row[:column], value, *row[column + 1 :])

    for version in (
        [second, *rest],
        [*rows, first],
        [*rows, another],
        [with_value(first, another[column]), second, *rest],
        [with_value(first, second[column]), with_value(second, first[column]), *rest],
    ):
        make_table(connection, "other", COLUMNS, version)
        assert (digest(connection, "other") == before) == (number_of_differences(connection) == 0)


def test_the_formula(connection: Connection) -> None:
    """Computed by hand from the text of the rows: the same on every supported server, now and later."""
    make_table(
        connection,
        "one",
        COLUMNS[::-1],
        [
            (1, 'a,"b\\', '{"bb": 1, "a": null}', "2025-03-30 02:30:00.5+01", 0.1 + 0.2, b"\x00\\", True),
            (2, "", None, None, None, None, None),
            (2, None, "null", "-infinity", float("nan"), b"", False),
        ],
    )
    texts = (
        r'(1,"a,""b\\","{""a"": null, ""bb"": 1}","2025-03-30 01:30:00.5+00",'
        r'0.30000000000000004,"\\x005c",t)',
        '(2,"",,,,,)',
        r'(2,,null,-infinity,NaN,"\\x",f)',
    )
    sums = [0, 0]
    for line in texts:
        hashed = hashlib.sha256(line.encode()).digest()
        for at in (0, 1):
            sums[at] += int.from_bytes(hashed[8 * at : 8 * at + 8], "big", signed=True)
    expected = "".join(f"{number % 2**64:016x}" for number in sums)
    assert digest(connection) == TableDigest(3, expected)


@given(rows=st.lists(_row, min_size=1, max_size=3))
@_property
def test_old_servers_add_up_the_same(connection: Connection, rows: list[Row]) -> None:
    """By way of bits, which every server can."""
    make_table(connection, "one", COLUMNS, rows)
    found = digest(connection)  # which also sets how values are printed
    hashed = "SELECT sha256(convert_to(ROW(a, b, c, d, e, f, g)::text, 'UTF8')) AS h FROM one"
    sums = ", ".join(f"sum({PIECE_BEFORE_18.format(at)})" for at in (1, 9))
    numbers = connection.exec_driver_sql(f"SELECT {sums} FROM ({hashed}) AS hashed").one()
    assert found.digest == "".join(f"{int(number) % 2**64:016x}" for number in numbers)


def test_no_rows_and_no_matter_which_session(connection: Connection) -> None:
    """Nothing adds up to zero; and what a session is set to print does not matter."""
    make_table(connection, "one", COLUMNS, [])
    assert digest(connection) == TableDigest(0, "0" * 32)
    make_table(connection, "one", COLUMNS, [(1, "é", "{}", "2025-07-01 12:00+00", 1 / 3, b"x", True)])
    before = digest(connection)
    for name, value in (
        ("TimeZone", "Asia/Tokyo"),
        ("DateStyle", "SQL, DMY"),
        ("IntervalStyle", "sql_standard"),
        ("bytea_output", "escape"),
        ("extra_float_digits", "-5"),
        ("client_encoding", "LATIN1"),
    ):
        connection.execute(text(f"SET {name} = '{value}'"))
    assert digest(connection) == before


def test_names_that_need_quotes(connection: Connection) -> None:
    """Columns may be called anything."""
    connection.execute(text("""CREATE TEMPORARY TABLE "t %" ("a "" b" integer, "% c" text)"""))
    connection.exec_driver_sql("""INSERT INTO "t %%" VALUES (1, 'x')""")
    assert digest_table(connection, '"t %"', ['a " b', "% c"]).rows == 1

"""A user's query: what is run, what is not, and how values come."""

from __future__ import annotations

import json
import secrets
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from sgdb.database.engine import transaction
from sgdb.database.user_query import Column, user_query
from sgdb.errors import DatabasePermissionError, DatabaseUnreachableError, UsageError
from tests.steps import ask, database_state, tamper


def run(engine: Engine, sql: str, *, timeout: float | None = None, limit: int | None = None) -> list[Any]:
    """All rows."""
    with (
        transaction(engine, read_only=True) as connection,
        user_query(connection, sql, timeout=timeout) as query,
    ):
        return list(query.rows(limit))


QUERIES = [
    "SELECT 1",
    "select 1;",
    "WITH a AS (SELECT 1) SELECT * FROM a",
    "VALUES (1)",
    "TABLE one",
    "-- c\nSELECT 1",
]


def test_queries_are_run(engine: Engine) -> None:
    """Every kind that gives rows, with or without a semicolon or a comment."""
    tamper(engine, "CREATE TABLE one AS SELECT 1 AS n")
    for sql in QUERIES:
        assert run(engine, sql) == [(1,)], sql


def test_explain_and_show_are_run(engine: Engine) -> None:
    """As ways to look."""
    assert "Result" in run(engine, "EXPLAIN ANALYZE SELECT 1")[0][0]
    assert run(engine, "SHOW transaction_read_only") == [("on",)]


REFUSED = [
    "SELECT 1; SELECT 2",
    "SELECT 1; COMMIT; DROP TABLE bots",
    "COMMIT",
    "ROLLBACK; DELETE FROM bots",
    "DELETE FROM bots",
    "DELETE FROM bots RETURNING *",
    "INSERT INTO bots (name) VALUES ('x') RETURNING id",
    "WITH gone AS (DELETE FROM bots RETURNING *) SELECT * FROM gone",
    "EXPLAIN ANALYZE DELETE FROM bots",
    "UPDATE bots SET name = 'x'",
    "TRUNCATE bots CASCADE",
    "DROP TABLE bots CASCADE",
    "CREATE TABLE mine (n int)",
    "CREATE TEMP TABLE mine AS SELECT 1",
    "SELECT 1 AS n INTO mine",
    "SELECT * FROM bots FOR UPDATE",
    "SELECT nextval('bots_id_seq')",
    "COPY bots TO STDOUT",
    "COPY bots TO PROGRAM 'true'",
    "COPY bots FROM PROGRAM 'true'",
    "SET ROLE postgres",
    "SET TRANSACTION READ WRITE",
    "SELECT set_config('transaction_read_only', 'off', true)",
    "LOCK TABLE bots",
    "LISTEN sgdb",
    "VACUUM bots",
    "PREPARE x AS SELECT 1",
    "DO $$ BEGIN DELETE FROM bots; END $$",
    "CALL wipe()",
    "SELECT wipe_all()",
    "",
    " \n;",
    "-- nothing",
]


def test_everything_else_is_refused_and_changes_nothing(engine: Engine) -> None:
    """With words, and as the caller's mistake."""
    tamper(engine, "INSERT INTO bots (name) VALUES ('a'), ('b')")
    tamper(engine, "CREATE PROCEDURE wipe() LANGUAGE sql AS 'DELETE FROM bots'")
    tamper(
        engine,
        "CREATE FUNCTION wipe_all() RETURNS int LANGUAGE plpgsql AS 'BEGIN DELETE FROM bots; RETURN 1; END'",
    )
    before = database_state(engine)
    for sql in REFUSED:
        with pytest.raises(UsageError) as caught:
            run(engine, sql)
        assert caught.value.hint, sql
        assert database_state(engine) == before, sql


def test_what_a_server_lets_a_reader_write_is_taken_back(engine: Engine) -> None:
    """Large objects, by servers before 16; others refuse."""
    with suppress(UsageError):
        run(engine, "SELECT lo_create(0)")
    assert ask(engine, "SELECT count(*) FROM pg_largeobject_metadata") == [(0,)]


MISTAKES = [
    ("SELEC 1", 'at line 1, column 1: syntax error at or near "SELEC"'),
    ("SELECT id,\n  nam FROM bots", 'at line 2, column 3: column "nam" does not exist'),
    ("SELECT 'ä',\r\n\t1 FROM nowhere", 'at line 2, column 9: relation "nowhere" does not exist'),
    ("SELECT '", "at line 1, column 8: unterminated quoted string"),
    ("SELECT 1/0", "the query: division by zero"),
    ("SELECT broken()", 'the query: column "nowhere" does not exist'),
    ("SELECT 'x'::int", "at line 1, column 8: invalid input syntax for type integer"),
]


def test_postgresql_s_words_and_the_place(engine: Engine) -> None:
    """The place is one in the user's own text, or none."""
    tamper(
        engine,
        "CREATE FUNCTION broken() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT nowhere); END'",
    )
    for sql, said in MISTAKES:
        with pytest.raises(UsageError) as caught:
            run(engine, sql)
        assert said in caught.value.message


def test_text_that_is_none(engine: Engine) -> None:
    """What neither Python nor the server could carry over is refused before."""
    for sql in ("SELECT '\0'", "SELECT '\udcff'"):
        with pytest.raises(UsageError, match="no text"):
            run(engine, sql)


def test_values_come_as_what_they_are(engine: Engine) -> None:
    """Whatever the server's or the user's preferences say."""
    (database,) = ask(engine, "SELECT current_database()")[0]
    for setting in ("datestyle = 'German'", "bytea_output = 'escape'", "intervalstyle = 'postgres_verbose'"):
        tamper(engine, f'ALTER DATABASE "{database}" SET {setting}')
    engine.dispose()
    cases: dict[str, Any] = {
        "NULL": None,
        "true": True,
        "9223372036854775807": 2**63 - 1,
        "0.1::float8": 0.1,
        "'NaN'::float8": "NaN",
        "'-Infinity'::float4": "-Infinity",
        "1.50": Decimal("1.50"),
        "'NaN'::numeric": "NaN",
        "1e-200::numeric": Decimal("1e-200"),
        "'{\"a\": [1, 2.5, null, 1e999]}'::json": {"a": [1, 2.5, None, "1e999"]},
        "'\"text\"'::jsonb": "text",
        "'{1,NULL,3}'::int[]": [1, None, 3],
        '\'{{a,"b,c"},{NULL,""}}\'::text[]': [["a", "b,c"], [None, ""]],
        "'[0:1]={1.5,2}'::numeric[]": [Decimal("1.5"), Decimal("2")],
        "ARRAY['{\"a\": 1}'::jsonb]": [{"a": 1}],
        "'\\x00ff'::bytea": "\\x00ff",
        "'2026-11-26'::date": "2026-11-26",
        "'0044-03-15 BC'::date": "0044-03-15 BC",
        "'2026-11-26 07:00:01.5'::timestamp": "2026-11-26T07:00:01.5",
        "'2026-11-26 07:00+01'::timestamptz": "2026-11-26T06:00:00+00:00",
        "'infinity'::timestamptz": "infinity",
        "'1 day 2 hours'::interval": "P1DT2H",
        "'int4range(1,2)'::text": "int4range(1,2)",
        "int4range(1, 5)": "[1,5)",
        "ROW(1, 'a')": "(1,a)",
        "'127.0.0.1'::inet": "127.0.0.1",
        "'{127.0.0.1}'::inet[]": ["127.0.0.1"],
        "'1 2'::int2vector": "1 2",
        "'{(1,1),(0,0);(2,2),(1,1)}'::box[]": "{(1,1),(0,0);(2,2),(1,1)}",
        "'a'::\"char\"": "a",
        "'name'::name": "name",
        "'00000000-0000-0000-0000-000000000001'::uuid": "00000000-0000-0000-0000-000000000001",
    }
    row = run(engine, "SELECT " + ", ".join(cases))[0]
    assert dict(zip(cases, row, strict=True)) == cases


_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
_DOCUMENTS = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(allow_nan=False, allow_infinity=False),
        _TEXT,
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(_DOCUMENTS)
def test_json_comes_through(engine: Engine, document: Any) -> None:
    """Every document, also with quotes, colons and percent signs in it."""
    literal = json.dumps(document, ensure_ascii=False).replace("'", "''")
    assert run(engine, f"SELECT '{literal}'::json") == [(document,)]


def test_columns_have_names_of_their_own(engine: Engine) -> None:
    """A name that comes again gets a number; which columns are numbers is told."""
    sql = "SELECT 1 AS a, 'x' AS a, 2.5 AS a_2, 1 AS \"odd: % name\""
    with transaction(engine, read_only=True) as connection, user_query(connection, sql) as query:
        assert query.columns == (
            Column("a", True), Column("a_2", False), Column("a_2_2", True), Column("odd: % name", True),
        )  # fmt: skip
        assert list(query.rows()) == [(1, "x", Decimal("2.5"), 1)]


def test_rows_come_in_batches_and_not_more_than_wanted(engine: Engine) -> None:
    """However the number lies to the size of a batch."""
    for limit, count in ((None, 1234), (0, 0), (1, 1), (500, 500), (501, 501), (9999, 1234)):
        found = run(engine, "SELECT n FROM generate_series(1, 1234) n", limit=limit)
        assert found == [(number,) for number in range(1, count + 1)]


def test_rows_that_are_large_come_one_by_one(engine: Engine) -> None:
    """So that a result takes the memory of a few rows, whatever is in them."""
    sql = "SELECT repeat('x', 3000000) FROM generate_series(1, 40)"
    with transaction(engine, read_only=True) as connection, user_query(connection, sql) as query:
        fetched: list[int] = []
        fetch = query._fetch

        def watched(size: int, cursor: Any) -> Any:
            fetched.append(size)
            return fetch(size, cursor)

        query._fetch = watched  # type: ignore[method-assign]
        assert sum(len(row[0]) for row in query.rows()) == 120_000_000
        assert max(fetched) == 1


def test_a_query_without_columns(engine: Engine) -> None:
    """PostgreSQL has them."""
    assert run(engine, "SELECT FROM generate_series(1, 2)") == [(), ()]


def test_the_time_of_all_rows_together_is_bounded(engine: Engine) -> None:
    """Each batch alone would have been fast enough."""
    sql = "SELECT n, pg_sleep(0.002) FROM generate_series(1, 100000) n"
    with pytest.raises(UsageError, match="too long"):
        run(engine, sql, timeout=1.5)
    with pytest.raises(UsageError, match="too long"):
        run(engine, "SELECT pg_sleep(100)", timeout=0.1)
    assert run(engine, "SELECT 1", timeout=60) == [(1,)]


def test_the_surroundings_are_no_mistake_of_the_user_s(engine: Engine) -> None:
    """A lost connection and a missing right keep their own errors."""
    with pytest.raises(DatabaseUnreachableError):
        run(engine, "SELECT pg_terminate_backend(pg_backend_pid())")
    role = f"sgdb_test_{secrets.token_hex(6)}"
    tamper(engine, f"CREATE ROLE {role}")
    try:
        with transaction(engine, read_only=True) as connection:
            connection.execute(text(f"SET LOCAL ROLE {role}"))
            with (
                pytest.raises(DatabasePermissionError, match="bots"),
                user_query(connection, "SELECT * FROM bots"),
            ):
                pass
    finally:
        tamper(engine, f"DROP ROLE {role}")

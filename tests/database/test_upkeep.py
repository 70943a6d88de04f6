"""What is told of tables, indexes and sequences is so, and nothing is waited for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from sgdb.database.engine import make_engine, transaction
from sgdb.database.models import Base
from sgdb.database.own_tables import find_own_tables
from sgdb.database.upkeep import (
    SequenceUpkeep,
    TableUpkeep,
    Upkeep,
    estimated_bloat,
    transaction_ids_used,
    upkeep,
)
from tests.steps import ask, tamper, until

ROWS = 20_000
_FILL = f"INSERT INTO runs (sgdb_version) SELECT repeat('x', 40) FROM generate_series(1, {ROWS})"


def look(engine: Engine) -> Upkeep:
    """As `sgdb stats` does."""
    with transaction(engine, read_only=True, lock_timeout=0.2) as connection:
        own = find_own_tables(connection)
        assert own is not None
        return upkeep(connection, own)


def of_table(engine: Engine, name: str) -> TableUpkeep:
    """What is told of this table now."""
    return next(table for table in look(engine).tables if table.table == name)


def told(engine: Engine, name: str, condition: Callable[[TableUpkeep], bool]) -> TableUpkeep:
    """What is told of this table, as soon as the server's counters have caught up."""
    engine.dispose()  # a session hands its counts in when it ends
    until(lambda: condition(of_table(engine, name)))
    return of_table(engine, name)


def alone(engine: Engine, statement: str) -> None:
    """Runs a statement outside of any transaction."""
    other = make_engine(engine.url)
    with other.connect() as plain:
        plain.execution_options(isolation_level="AUTOCOMMIT").execute(text(statement))
    other.dispose()


def test_a_fresh_schema_lacks_nothing(engine: Engine) -> None:
    """Every table in the models' order, every index of theirs, no number handed out."""
    found = look(engine)
    assert [table.table for table in found.tables] == list(Base.metadata.tables)
    assert found.missing_indexes == ()
    assert all(index.valid and index.bytes > 0 for index in found.indexes)
    assert {one.used for one in found.sequences} == {0.0}
    assert {one.table for one in found.sequences} >= {"games", "game_results", "bots"}
    assert found.unmeasured == []
    with transaction(engine, read_only=True) as connection:
        assert 0 <= transaction_ids_used(connection) < 0.5


def test_rows_sizes_and_dead_rows(engine: Engine) -> None:
    """As PostgreSQL itself tells them; VACUUM and ANALYZE leave their time."""
    tamper(engine, "ALTER TABLE runs SET (autovacuum_enabled = off)")
    tamper(engine, _FILL)
    found = told(engine, "runs", lambda table: table.rows == ROWS)
    (total,) = ask(engine, "SELECT pg_total_relation_size('runs')")[0]
    assert found.bytes == total
    assert found.table_bytes > found.index_bytes > 0
    assert (found.dead_rows, found.last_vacuum, found.bloat_bytes) == (0, None, None)
    tamper(engine, f"DELETE FROM runs WHERE id > {ROWS // 4}")
    found = told(engine, "runs", lambda table: table.dead_rows > 0)
    assert (found.rows, found.dead_rows) == (ROWS // 4, ROWS - ROWS // 4)
    tamper(engine, f"INSERT INTO runs (id, sgdb_version) OVERRIDING SYSTEM VALUE VALUES ({10 * ROWS}, 'x')")
    alone(engine, "VACUUM (ANALYZE) runs")
    found = told(engine, "runs", lambda table: table.last_vacuum is not None)
    assert found.last_analyze is not None
    assert found.dead_rows == 0
    # The row at the end keeps the file from being cut.
    assert found.bloat_bytes == pytest.approx(found.table_bytes * 3 / 4, rel=0.1)
    alone(engine, "VACUUM (FULL, ANALYZE) runs")
    after = of_table(engine, "runs")
    assert after.bloat_bytes is not None
    assert after.bloat_bytes < after.table_bytes / 10


@given(
    rows=st.integers(0, 10**6), width=st.floats(1, 3000), columns=st.integers(1, 40), has_nulls=st.booleans()
)
def test_a_table_without_spare_room_has_no_bloat(
    rows: int, width: float, columns: int, has_nulls: bool
) -> None:
    """Pages that are filled as the format says leave nothing; each one more is one page of bloat."""

    def bloat(pages: int) -> int:
        return estimated_bloat(
            rows=rows,
            pages=pages,
            width=width,
            columns=columns,
            has_nulls=has_nulls,
            fillfactor=100,
            block_size=8192,
        )

    needed = next(pages for pages in (0, *_doubling()) if bloat(pages) > 0 or pages > 2 * rows + 2)
    spare = bloat(needed) // 8192
    assert bloat(needed - spare) == 0
    assert bloat(needed - spare + 1) == 8192


def _doubling() -> list[int]:
    return [2**power for power in range(22)]


def test_a_locked_table_is_not_waited_for(engine: Engine) -> None:
    """It is told with the size that was noted last; the others are measured."""
    tamper(engine, _FILL)
    alone(engine, "VACUUM (ANALYZE) runs")
    measured = of_table(engine, "runs")
    with engine.connect() as holder:
        holder.execute(text("LOCK TABLE runs IN ACCESS EXCLUSIVE MODE"))
        found = look(engine)
    assert found.unmeasured == ["runs"]
    locked = next(table for table in found.tables if table.table == "runs")
    assert locked.bytes == pytest.approx(measured.bytes, rel=0.1)
    assert "runs" not in {one.table for one in found.sequences}


def test_an_index_that_could_not_be_made_is_invalid(engine: Engine) -> None:
    """As CREATE INDEX CONCURRENTLY leaves it behind when it fails."""
    tamper(engine, "INSERT INTO runs (sgdb_version) VALUES ('same'), ('same')")
    with pytest.raises(IntegrityError):
        alone(engine, 'CREATE UNIQUE INDEX CONCURRENTLY "odd % name" ON runs (sgdb_version)')
    (found,) = (index for index in look(engine).indexes if not index.valid)
    assert (found.index, found.table) == ("odd % name", "runs")
    alone(engine, f"DROP INDEX {found.address}".replace("%", "%"))


def test_what_the_schema_has_and_the_database_has_not(engine: Engine) -> None:
    """Each with a statement that brings it back."""
    tamper(engine, "DROP INDEX ix_games_seed")
    tamper(engine, "DROP INDEX ix_bots_metadata")
    tamper(engine, "ALTER TABLE game_results DROP CONSTRAINT uq_game_results_game_id_bot_id")
    missing = look(engine).missing_indexes
    assert [one.index for one in missing] == [
        "ix_games_seed", "ix_bots_metadata", "uq_game_results_game_id_bot_id",
    ]  # fmt: skip
    for one in missing:
        alone(engine, one.statement)
    assert look(engine).missing_indexes == ()


def test_sequences_near_their_end(engine: Engine) -> None:
    """The share is that of the column's own range, and 1 when there is no number left."""
    tamper(engine, "ALTER TABLE bots ALTER COLUMN id RESTART WITH 2147483647")
    assert _sequence(engine, "bots").used == 0
    tamper(engine, "INSERT INTO bots (name) VALUES ('the last')")
    found = _sequence(engine, "bots")
    assert (found.last_value, found.max_value, found.used) == (2**31 - 1, 2**31 - 1, 1.0)


def _sequence(engine: Engine, table: str) -> SequenceUpkeep:
    return next(one for one in look(engine).sequences if one.table == table)


def test_tables_in_a_schema_of_any_name(empty_database: str) -> None:
    """Wherever the search path has put them."""
    from sgdb.database.schema import upgrade

    plain = make_engine(empty_database)
    tamper(plain, 'CREATE SCHEMA "odd: %s"')
    plain.dispose()
    other = make_engine(plain.url.update_query_dict({"options": '-c search_path="odd:\\ %s"'}))
    upgrade(other)
    found = look(other)
    other.dispose()
    assert len(found.tables) == len(Base.metadata.tables)
    assert all(table.bytes > 0 for table in found.tables if table.table != "departing_games")

"""sgdb's tables as a database has them: of any revision, in any schema."""

from __future__ import annotations

from sqlalchemy import Engine, text

from sgdb.database import schema
from sgdb.database.engine import transaction
from sgdb.database.models import Base
from sgdb.database.own_tables import OwnTables, find_own_tables, has_rows
from sgdb.database.revisions import VERSION_TABLE, known_revisions
from tests.backups import execute, opened
from tests.steps import ask


def own_tables(engine: Engine) -> OwnTables | None:
    with transaction(engine, read_only=True) as connection:
        return find_own_tables(connection)


def test_every_table_of_every_revision_is_found(empty_database: str) -> None:
    """A backup before an upgrade needs them all: a table that a migration drops must stay known."""
    with opened(empty_database) as engine:
        assert own_tables(engine) is None
        for revision in known_revisions():
            with transaction(engine) as connection:
                schema.bring_to(connection, revision)
            found = own_tables(engine)
            assert found is not None
            present = {
                name for (name,) in ask(engine, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            }
            assert {*found.tables, VERSION_TABLE} == present
        assert list(found.tables) == list(Base.metadata.tables)
        for name, table in Base.metadata.tables.items():
            assert found.tables[name].columns == tuple(sorted(column.name for column in table.columns))
        assert found.tables["games"].sequences == {"id": "public.games_id_seq"}
        assert found.tables["archive_chunks"].sequences == {}


def test_in_a_schema_of_another_name(empty_database: str) -> None:
    """Addresses can be put into a statement, whatever the schema is called; strangers are left out."""
    with opened(empty_database) as engine:
        execute(engine, 'CREATE SCHEMA "odd % one"')
        execute(engine, "CREATE TABLE games (id integer); CREATE TABLE strangers ()")
        execute(engine, f'ALTER DATABASE "{engine.url.database}" SET search_path = "odd % one"')
        engine.dispose()
        schema.upgrade(engine)
        found = own_tables(engine)
        assert found is not None
        assert (found.schema, found.tables["bots"].address) == ("odd % one", '"odd % one"."bots"')
        assert "strangers" not in found.tables
        with transaction(engine) as connection:
            assert not has_rows(connection)
            connection.execute(text("INSERT INTO bots (name) VALUES ('x')"))
            assert has_rows(connection)


def test_no_tables_have_no_rows(empty_database: str) -> None:
    """Nor has a version table without any other."""
    with opened(empty_database) as engine:
        execute(engine, f"CREATE TABLE {VERSION_TABLE} (version_num text)")
        with transaction(engine) as connection:
            assert not has_rows(connection)

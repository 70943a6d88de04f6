"""The schema on its way up and down, alone and in company, and what stands in its way."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import URL, Connection, Engine, Inspector, event, func, inspect, make_url, select, text

from sgdb.database import revisions, schema
from sgdb.database.creation import create_database
from sgdb.database.engine import make_engine, transaction
from sgdb.database.locks import SCHEMA_LOCK
from sgdb.database.models import Base
from sgdb.database.revisions import VERSION_TABLE, SchemaStatus
from sgdb.database.schema import UpgradeResult
from sgdb.database.sizes import row_counts
from sgdb.database.sizes import sizes as table_sizes
from sgdb.errors import (
    BusyError,
    ConfigError,
    DatabasePermissionError,
    EnvironmentFaultError,
    SchemaError,
    UsageError,
)

CATALOG = {
    "columns": """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
               a.attstorage, pg_get_expr(d.adbin, d.adrelid)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0
        AND NOT a.attisdropped ORDER BY 1, 2
    """,
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2
    """,
    "indexes": """
        SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2
    """,
    "relations": """
        SELECT relname, relkind, reloptions FROM pg_class
        WHERE relnamespace = 'public'::regnamespace ORDER BY 1
    """,
}
# What migrations alone make.
PROGRAMS = {
    "triggers": """
        SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid
        WHERE relnamespace = 'public'::regnamespace AND NOT tgisinternal ORDER BY 1
    """,
    "functions": """
        SELECT oid::regprocedure::text, pg_get_functiondef(oid), proacl::text FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace ORDER BY 1
    """,
    "views": """
        SELECT viewname, definition, obj_description(c.oid), reloptions, relacl::text,
            ARRAY(SELECT col_description(c.oid, attnum) FROM pg_attribute
                WHERE attrelid = c.oid ORDER BY attnum)
        FROM pg_views JOIN pg_class c ON c.oid = format('%I.%I', schemaname, viewname)::regclass
        WHERE schemaname = 'sgdb_views' ORDER BY 1
    """,
}

HEAD = revisions.known_revisions()[-1]
NEXT, AFTER_NEXT = f"{int(HEAD) + 1:04d}", f"{int(HEAD) + 2:04d}"
NEXT_REVISION = f"""
from alembic import op

revision = "{NEXT}"
down_revision = "{HEAD}"


def upgrade():
    op.execute("ALTER TABLE bots ADD COLUMN nickname text")


def downgrade():
    op.execute("ALTER TABLE bots DROP COLUMN nickname")
"""


def catalog(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    """What PostgreSQL itself says of the schema, without Alembic's own table."""
    with transaction(engine, read_only=True) as connection:
        return {
            kind: [tuple(row) for row in connection.execute(text(query)) if "alembic" not in str(row)]
            for kind, query in (CATALOG | PROGRAMS).items()
        }


def relations(engine: Engine) -> list[str]:
    """The names of everything in the schema, Alembic's own table included."""
    with transaction(engine, read_only=True) as connection:
        return list(connection.scalars(text(CATALOG["relations"])))


def state(engine: Engine) -> revisions.SchemaState:
    """Asked in a read-only transaction, which proves that asking writes nothing."""
    with transaction(engine, read_only=True) as connection:
        return revisions.state(connection)


def run(engine: Engine, *statements: str) -> None:
    """Commits some SQL."""
    with transaction(engine) as connection:
        for statement in statements:
            connection.execute(text(statement))


def wait_until(condition: Callable[[], bool]) -> None:
    """Returns once it holds; the limit is there for a broken program, not for a slow machine."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@contextmanager
def opened(url: str | URL) -> Iterator[Engine]:
    """An engine that leaves no connection behind."""
    engine = make_engine(make_url(url))
    try:
        yield engine
    finally:
        engine.dispose()


@pytest.fixture
def empty(empty_database: str) -> Iterator[Engine]:
    """An engine on an empty database."""
    with opened(empty_database) as engine:
        yield engine


@pytest.fixture
def user(empty: Engine) -> Iterator[URL]:
    """The empty database's address for a role that may connect and nothing else."""
    name = f"sgdb_test_{uuid4().hex[:8]}"
    run(
        empty,
        f"CREATE ROLE {name} LOGIN PASSWORD 'pass%word'",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    )
    try:
        yield empty.url.set(username=name, password="pass%word")
    finally:
        run(empty, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


@pytest.fixture
def later_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Path]]:
    """Called, it turns the program into a later one that also knows one more revision."""
    original = revisions.scripts_folder()

    def become_later() -> Path:
        # The name would break Alembic's ini interpolation if it got there unescaped.
        folder = tmp_path / "later %(here)s 100%"
        shutil.copytree(original, folder, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "versions" / f"{NEXT}_nickname.py").write_text(NEXT_REVISION)
        for module in (revisions, schema):
            monkeypatch.setattr(module, "scripts_folder", lambda: folder)
        schema._scripts.cache_clear()
        return folder

    yield become_later
    schema._scripts.cache_clear()


class TestUpAndDown:
    def test_up_down_and_up_again(self, empty: Engine) -> None:
        """Both ways up give the same schema, and the way down leaves nothing at all."""
        assert schema.upgrade(empty) == UpgradeResult(None, HEAD)
        first = catalog(empty)
        assert schema.downgrade(empty, "base") == UpgradeResult(HEAD, None)
        assert relations(empty) == []
        assert schema.upgrade(empty).changed
        assert catalog(empty) == first

    def test_every_step_can_be_taken_back(self, empty: Engine) -> None:
        """Down to each revision and up again gives the schema that the way up gave there."""
        schema.upgrade(empty)
        catalogs, known = [catalog(empty)], revisions.known_revisions()
        for revision in known[-2::-1]:
            schema.downgrade(empty, revision)
            catalogs.append(catalog(empty))
        assert len({str(each) for each in catalogs}) == len(known)
        schema.downgrade(empty, "base")
        schema.upgrade(empty)
        for revision, before in zip(known[::-1], catalogs, strict=True):
            schema.downgrade(empty, revision)
            assert catalog(empty) == before

    def test_what_only_the_newer_schema_can_say_goes_down_with_it(self, engine: Engine) -> None:
        """From 0002: a run taken back is an ordinary one again, and rows of programs lose their source."""
        run(
            engine,
            "INSERT INTO runs (sgdb_version, status) VALUES ('1', 'rolled-back')",
            "INSERT INTO source_files (run_id, path, status) SELECT id, 'p', 'rolled-back' FROM runs",
            "INSERT INTO source_files (run_id, path, status) SELECT id, '', 'saved' FROM runs",
            "INSERT INTO bots (name, source_file_id) SELECT 'B', id FROM source_files WHERE status = 'saved'",
        )
        schema.downgrade(engine, "0001")
        with transaction(engine, read_only=True) as connection:
            assert connection.execute(text("SELECT status FROM runs")).all() == [("done",)]
            files = connection.execute(text("SELECT path, status, error FROM source_files")).all()
            assert files == [("p", "rejected", "taken back")]
            assert connection.execute(text("SELECT name, source_file_id FROM bots")).all() == [("B", None)]

    def test_sessions_and_checkpoints_go_up_and_down_with_their_values(self, engine: Engine) -> None:
        """0004: a status of somebody's own is kept aside and comes back; bytes move into the old columns."""
        schema.downgrade(engine, "0003")
        run(
            engine,
            "INSERT INTO bots (name) VALUES ('agent')",
            "INSERT INTO training_sessions (bot_id, hyperparameters, start_time, end_time, status)"
            " SELECT id, '{}', now(), CASE WHEN status = 'done' THEN now() END, status"
            " FROM bots, unnest('{done,paused,running,failed}'::text[]) WITH ORDINALITY AS s (status, n)"
            " ORDER BY n",
            "INSERT INTO model_checkpoints (training_session_id, epoch, model_weights) VALUES (1, 1, 'old')",
        )
        schema.upgrade(engine)
        statuses = "SELECT status, metadata ->> 'status' FROM training_sessions ORDER BY id"
        with transaction(engine, read_only=True) as connection:
            assert [tuple(row) for row in connection.execute(text(statuses))] == [
                ("completed", "done"),
                ("interrupted", "paused"),
                ("running", None),
                ("failed", None),
            ]
            assert connection.scalar(text("SELECT count(DISTINCT uid) FROM training_sessions")) == 4
        run(
            engine,
            "INSERT INTO blobs (sha256, size_bytes, data) VALUES (repeat('a', 64), 3, 'new')",
            "INSERT INTO blobs (sha256, size_bytes) VALUES (repeat('b', 64), 3)",
            "INSERT INTO model_checkpoints"
            " (training_session_id, epoch, weights_sha256, optimizer_sha256, file_path)"
            " VALUES (1, 2, repeat('a', 64), repeat('b', 64), 'f')",
            "UPDATE bots SET checkpoint_id = 2",
        )
        schema.downgrade(engine, "0003")
        with transaction(engine, read_only=True) as connection:
            found = connection.execute(text("SELECT status FROM training_sessions ORDER BY id"))
            assert list(found.scalars()) == ["done", "paused", "running", "failed"]
            kept = "SELECT epoch, model_weights, optimizer_state, file_path FROM model_checkpoints ORDER BY 1"
            assert [(e, bytes(w), o, f) for e, w, o, f in connection.execute(text(kept))] == [
                (1, b"old", None, None),
                (2, b"new", None, "f"),
            ]

    def test_whoever_may_write_checkpoints_may_write_their_bytes(self, empty: Engine, user: URL) -> None:
        """0004: rights on checkpoints are rights on the bytes that were in their row before."""
        schema.upgrade(empty)
        schema.downgrade(empty, "0003")
        run(empty, f"GRANT SELECT, INSERT ON model_checkpoints TO {user.username}")
        schema.upgrade(empty)
        with transaction(empty, read_only=True) as connection:
            may = "SELECT has_table_privilege(:name, 'blobs', :right)"
            found = {
                right: connection.scalar(text(may), {"name": user.username, "right": right})
                for right in ("SELECT", "INSERT", "UPDATE", "DELETE")
            }
        assert found == {"SELECT": True, "INSERT": True, "UPDATE": False, "DELETE": False}

    def test_rows_do_not_hinder_the_way_down(self, engine: Engine) -> None:
        """The two tables that refer to each other can be taken down while they do."""
        run(
            engine,
            "INSERT INTO runs (sgdb_version) VALUES ('1')",
            "INSERT INTO source_files (run_id, path, status) SELECT id, 'p', 'migrated' FROM runs",
            "INSERT INTO game_configs (num_rows, num_cols, num_colors) VALUES (1, 1, 2)",
            "INSERT INTO benchmark_sets (name, config_id, num_games, base_seed, source_file_id)"
            " SELECT 's', c.id, 0, 42, f.id FROM game_configs c, source_files f",
            "UPDATE source_files SET benchmark_set_id = (SELECT id FROM benchmark_sets)",
        )
        schema.downgrade(engine, "base")
        assert relations(engine) == []

    def test_up_twice_changes_nothing(self, engine: Engine) -> None:
        """A schema that is current is left as it is."""
        before = catalog(engine)
        result = schema.upgrade(engine)
        assert result == UpgradeResult(HEAD, HEAD)
        assert not result.changed
        assert catalog(engine) == before

    def test_down_from_nothing(self, empty: Engine) -> None:
        """Taking down what is not there is no error."""
        assert not schema.downgrade(empty, "base").changed

    def test_two_roads(self, empty: Engine) -> None:
        """Migrations and models lead to one schema: columns, defaults, checks, keys, indexes, storage."""
        schema.upgrade(empty)
        migrated = catalog(empty)
        with transaction(empty) as connection:
            context = MigrationContext.configure(
                connection,
                opts={
                    "compare_type": True,
                    "compare_server_default": True,
                    "version_table": VERSION_TABLE,
                },
            )
            assert compare_metadata(context, Base.metadata) == []
        schema.downgrade(empty, "base")
        with transaction(empty) as connection:
            Base.metadata.create_all(connection)
        modelled = catalog(empty)
        assert {kind: migrated[kind] for kind in CATALOG} == {kind: modelled[kind] for kind in CATALOG}
        assert {kind: modelled[kind] for kind in PROGRAMS} == {
            "triggers": [], "functions": [], "views": [],
        }  # fmt: skip

    def test_no_index_is_built_twice(self, engine: Engine) -> None:
        """No plain index begins with columns that another index of its table begins with too."""
        inspector: Inspector = inspect(engine)
        for table in Base.metadata.tables:
            keys = [
                inspector.get_pk_constraint(table)["constrained_columns"],
                *(unique["column_names"] for unique in inspector.get_unique_constraints(table)),
            ]
            keys += [index["column_names"] for index in inspector.get_indexes(table) if not index["unique"]]
            for at, key in enumerate(keys):
                others = keys[:at] + keys[at + 1 :]
                assert not any(other[: len(key)] == key for other in others), (table, key)

    def test_every_foreign_key_to_a_deleted_parent_is_known(self, engine: Engine) -> None:
        """Rows go with their parent in exactly these places; everywhere else the parent stays."""
        inspector: Inspector = inspect(engine)
        rules = {
            (table, key["constrained_columns"][0]): key["options"]["ondelete"]
            for table in Base.metadata.tables
            for key in inspector.get_foreign_keys(table)
            if key["options"].get("ondelete")
        }
        assert rules == {
            ("game_results", "game_id"): "CASCADE",
            ("game_histories", "game_id"): "CASCADE",
            ("archive_chunks", "archive_id"): "CASCADE",
            ("source_files", "benchmark_set_id"): "SET NULL",
            ("result_totals", "benchmark_set_id"): "CASCADE",
            ("result_totals", "bot_id"): "CASCADE",
            ("game_totals", "benchmark_set_id"): "CASCADE",
            ("bots", "checkpoint_id"): "SET NULL",
        }


def upgrade_in_process(url: str) -> bool:
    """For a process of its own: whether it was the one to do the work."""
    with opened(url) as engine:
        return schema.upgrade(engine).changed


def die_in_the_middle(url: str) -> None:
    """For a process of its own: killed when half of the tables are made."""
    with opened(url) as engine:
        at_statement(engine, "CREATE TABLE bots", lambda: os.kill(os.getpid(), signal.SIGKILL))
        schema.upgrade(engine)


def at_statement(engine: Engine, prefix: str, action: Callable[[], object]) -> None:
    """Has `action` happen when the engine is about to execute a statement that begins so."""

    @event.listens_for(engine, "before_cursor_execute")
    def watch(_connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(prefix):
            action()


@contextmanager
def door_held(engine: Engine, crowd: int) -> Iterator[None]:
    """Holds the lock of migrations until `crowd` others wait for it, then lets them race."""

    def waiting() -> int:
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND query LIKE '%pg_try_advisory_xact_lock(%'"
        )
        with transaction(engine, read_only=True) as connection:
            return int(connection.execute(text(query)).scalar_one())

    with transaction(engine) as connection:
        connection.execute(select(func.pg_advisory_xact_lock(SCHEMA_LOCK)))
        yield
        wait_until(lambda: waiting() == crowd)


class TestInCompany:
    @pytest.mark.slow
    def test_eight_processes(self, empty: Engine, empty_database: str) -> None:
        """Eight processes that stand at the door together all succeed, and one of them did the work."""
        with multiprocessing.get_context("spawn").Pool(8) as pool:
            with door_held(empty, crowd=8):
                results = pool.map_async(upgrade_in_process, [empty_database] * 8, chunksize=1)
            assert sorted(results.get(timeout=120)) == [False] * 7 + [True]
            pool.close()
            pool.join()
        assert state(empty).status is SchemaStatus.CURRENT

    def test_a_server_with_another_default_isolation(self, empty: Engine, empty_database: str) -> None:
        """Who waited sees what the other has done, also where transactions keep their first snapshot."""
        run(empty, f'ALTER DATABASE "{empty.url.database}" SET default_transaction_isolation TO serializable')
        with opened(empty_database) as other, ThreadPoolExecutor(2) as pool:
            with door_held(empty, crowd=2):
                upgrades = [pool.submit(schema.upgrade, other) for _ in range(2)]
            assert sorted(upgrade.result().changed for upgrade in upgrades) == [False, True]

    def test_the_wait_is_bounded(self, empty: Engine) -> None:
        """A migration that does not end makes the next one give up, not hang."""
        with transaction(empty) as connection:
            connection.execute(select(func.pg_advisory_xact_lock(SCHEMA_LOCK)))
            with pytest.raises(BusyError):
                schema.upgrade(empty, lock_timeout=0.05)
            with pytest.raises(BusyError):
                schema.downgrade(empty, "base", lock_timeout=0.05)
        assert schema.upgrade(empty).changed

    def test_killed_in_the_middle(self, empty: Engine, empty_database: str) -> None:
        """A process killed during the migration leaves nothing, and the next one succeeds."""
        process = multiprocessing.get_context("spawn").Process(
            target=die_in_the_middle, args=(empty_database,)
        )
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        process.close()
        assert relations(empty) == []
        assert schema.upgrade(empty) == UpgradeResult(None, HEAD)

    def test_interrupted_in_the_middle(self, empty_database: str) -> None:
        """Ctrl-C during the migration goes through as it is, and leaves nothing."""

        def interrupt() -> None:
            raise KeyboardInterrupt

        with opened(empty_database) as engine:
            at_statement(engine, "CREATE INDEX ix_source_files_sha256", interrupt)
            with pytest.raises(KeyboardInterrupt):
                schema.upgrade(engine)
            assert relations(engine) == []

    def test_interrupted_on_the_way_down(self, engine: Engine) -> None:
        """A way down that does not reach the end takes nothing away."""
        before = catalog(engine)

        def interrupt() -> None:
            raise KeyboardInterrupt

        at_statement(engine, "DROP TABLE runs", interrupt)
        with pytest.raises(KeyboardInterrupt):
            schema.downgrade(engine, "base")
        assert catalog(engine) == before
        assert state(engine).current == HEAD


class TestWhatIsThereAlready:
    def test_missing(self, empty: Engine) -> None:
        """An empty database is said to be empty, with the command that fills it."""
        assert state(empty) == revisions.SchemaState(SchemaStatus.MISSING, None, revisions.head())
        with transaction(empty) as connection, pytest.raises(SchemaError, match="no tables") as caught:
            revisions.require_current(connection)
        assert "sgdb init" in str(caught.value.hint)

    def test_a_version_table_without_a_version(self, engine: Engine) -> None:
        """What Alembic's own way down leaves behind counts as nothing, and is cleared away or used again."""
        schema.downgrade(engine, "base")
        run(engine, f"CREATE TABLE {VERSION_TABLE} (version_num varchar(32) PRIMARY KEY)")
        assert state(engine).status is SchemaStatus.MISSING
        assert schema.upgrade(engine) == UpgradeResult(None, HEAD)

    def test_current(self, engine: Engine) -> None:
        """A current schema passes in silence."""
        with transaction(engine, read_only=True) as connection:
            revisions.require_current(connection)

    def test_outdated_and_brought_forward(self, engine: Engine, later_program: Callable[[], Path]) -> None:
        """A later program sees that the schema is behind, brings it forward and can take it back."""
        later_program()
        assert state(engine) == revisions.SchemaState(SchemaStatus.OUTDATED, HEAD, NEXT)
        with transaction(engine) as connection, pytest.raises(SchemaError, match=f"needs {NEXT}") as caught:
            revisions.require_current(connection)
        assert "sgdb init" in str(caught.value.hint)
        with pytest.raises(UsageError, match="ahead"):
            schema.downgrade(engine, NEXT)
        assert schema.upgrade(engine) == UpgradeResult(HEAD, NEXT)
        assert schema.downgrade(engine, HEAD) == UpgradeResult(NEXT, HEAD)
        assert state(engine).current == HEAD

    def test_newer_than_the_program(self, engine: Engine) -> None:
        """A schema from a later sgdb is left alone, and the way out is to upgrade the program."""
        run(engine, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
        assert state(engine) == revisions.SchemaState(SchemaStatus.NEWER, "9999", revisions.head())
        before = catalog(engine)
        for attempt in (schema.upgrade, lambda engine: schema.downgrade(engine, "base")):
            with pytest.raises(SchemaError, match="9999") as caught:
                attempt(engine)
            assert "pip install --upgrade sgdb" in str(caught.value.hint)
        assert catalog(engine) == before

    @pytest.mark.parametrize("revisions", [("ae1027a6acf3",), ("0000",), ("0001", "9999")])
    def test_a_revision_that_is_not_ours(self, engine: Engine, revisions: tuple[str, ...]) -> None:
        """Whatever else the version table records is refused by name and not guessed at."""
        values = ", ".join(f"('{revision}')" for revision in revisions)
        run(
            engine,
            f"DELETE FROM {VERSION_TABLE}",
            f"INSERT INTO {VERSION_TABLE} VALUES {values}",
        )
        for attempt in (state, schema.upgrade, lambda engine: schema.downgrade(engine, "base")):
            with pytest.raises(SchemaError, match=revisions[0]):
                attempt(engine)

    def test_beside_another_application(self, empty: Engine) -> None:
        """Another application's tables and its own Alembic version outlive our way up and down."""
        run(
            empty,
            "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)",
            "INSERT INTO alembic_version VALUES ('ae1027a6acf3')",
            "CREATE TABLE players (id int PRIMARY KEY)",
        )
        before = relations(empty)
        assert state(empty).status is SchemaStatus.MISSING
        schema.upgrade(empty)
        schema.downgrade(empty, "base")
        assert relations(empty) == before
        with transaction(empty, read_only=True) as connection:
            assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "ae1027a6acf3"

    def test_tables_of_the_same_names(self, empty: Engine) -> None:
        """Tables that somebody else made under our names are named and not touched."""
        run(empty, "CREATE TABLE games (id int)", "CREATE VIEW runs AS SELECT 1 AS one")
        before = relations(empty)
        with pytest.raises(SchemaError, match="games, runs"):
            schema.upgrade(empty)
        assert relations(empty) == before

    def test_unknown_revision(self, engine: Engine) -> None:
        """A revision that never was is the caller's mistake, and the known ones are listed."""
        with pytest.raises(UsageError, match="nowhere") as caught:
            schema.downgrade(engine, "nowhere")
        assert "base, 0001" in str(caught.value.hint)


class TestPermission:
    def test_may_not_create_tables(self, empty: Engine, user: URL) -> None:
        """A user without the right is told what the owner must run; having run it is enough."""
        with opened(user) as engine:
            with pytest.raises(DatabasePermissionError) as caught:
                schema.upgrade(engine)
            assert relations(empty) == []
            hint = str(caught.value.hint)
            assert "pass" not in caught.value.message + hint
            run(empty, hint.partition("run: ")[2])
            assert schema.upgrade(engine).changed

    def test_may_not_create_databases(self, empty: Engine, user: URL) -> None:
        """A user without the right is handed the statement for the administrator."""
        wanted = user.set(database=f'odd "name" {uuid4().hex[:8]}')
        with pytest.raises(DatabasePermissionError) as caught:
            create_database(wanted)
        statement = str(caught.value.hint).partition("run: ")[2]
        assert statement.startswith('CREATE DATABASE "odd ""name"" ')
        assert "pass" not in caught.value.message + str(caught.value.hint)
        with transaction(empty, read_only=True) as connection:
            query = text("SELECT count(*) FROM pg_database WHERE datname = :name")
            assert connection.scalar(query, {"name": wanted.database}) == 0


class TestCreateDatabase:
    def test_once_and_in_utf8(self, empty: Engine) -> None:
        """Of several at once exactly one makes it; it is UTF-8, and the name may be any text."""
        wanted = empty.url.set(database=f'odd "name" % {uuid4().hex[:8]}')
        try:
            with ThreadPoolExecutor(4) as pool:
                made = list(pool.map(create_database, [wanted] * 4))
            assert sorted(made) == [False, False, False, True]
            assert not create_database(wanted)
            with opened(wanted) as engine:
                with transaction(engine, read_only=True) as connection:
                    assert connection.scalar(text("SHOW server_encoding")) == "UTF8"
                assert schema.upgrade(engine).changed
        finally:
            quoted = empty.dialect.identifier_preparer.quote(wanted.database or "")
            with empty.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {quoted} WITH (FORCE)")

    def test_an_address_without_a_name(self) -> None:
        """Which database to create is never guessed."""
        with pytest.raises(ConfigError, match="names no database"):
            create_database(make_url("postgresql+psycopg2://somebody@localhost"))


class TestMeasures:
    def test_rows_and_bytes(self, engine: Engine) -> None:
        """Every table has its exact count and its size, the database more than all of them."""
        run(engine, "INSERT INTO bots (name) VALUES ('a'), ('b'), ('c')")
        with transaction(engine, read_only=True) as connection:
            counts = row_counts(connection)
            sizes = table_sizes(connection)
        assert list(counts) == list(sizes.tables) == list(Base.metadata.tables)
        assert {name: count for name, count in counts.items() if count} == {"bots": 3}
        assert min(sizes.tables.values()) > 0
        assert sizes.database > sum(sizes.tables.values())


class TestScripts:
    def test_next_revision(
        self,
        engine: Engine,
        later_program: Callable[[], Path],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """A draft takes the next number, sees what the models lack, ignores strangers, prints nothing."""
        folder = later_program()
        schema.upgrade(engine)
        run(engine, "CREATE TABLE players (id int PRIMARY KEY)")
        path = schema.new_revision(engine, "no more nicknames")
        assert path == folder / "versions" / f"{AFTER_NEXT}_no_more_nicknames.py"
        assert capsys.readouterr().out == ""
        assert "players" not in path.read_text()
        assert schema.upgrade(engine) == UpgradeResult(NEXT, AFTER_NEXT)
        assert "nickname" not in [column["name"] for column in inspect(engine).get_columns("bots")]
        schema.downgrade(engine, NEXT)
        assert "nickname" in [column["name"] for column in inspect(engine).get_columns("bots")]

    def test_the_files_tell_the_same_as_alembic(self, later_program: Callable[[], Path]) -> None:
        """Revisions read off the file names are Alembic's own, in its order."""
        later_program()
        walked = [script.revision for script in schema._scripts().walk_revisions()]
        assert revisions.known_revisions() == walked[::-1]
        assert walked[0] == NEXT

    def test_inside_a_wheel(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Migrations are found inside the installed package, or their absence is said."""
        monkeypatch.setattr(revisions, "__file__", str(tmp_path / "sgdb" / "database" / "revisions.py"))
        with pytest.raises(EnvironmentFaultError, match="migrations are missing"):
            revisions.scripts_folder()
        packaged = tmp_path / "sgdb" / "_migrations"
        packaged.mkdir(parents=True)
        (packaged / "env.py").touch()
        assert revisions.scripts_folder() == packaged.resolve()

"""What tests of backups share: a database with something in every table, and all that is in one."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, text

from sgdb.database.backup_files import manifest_path
from sgdb.database.engine import make_engine, transaction
from sgdb.database.models import Base
from sgdb.settings import Settings
from tests.legacy import write_legacy
from tests.steps import ask, migrate

_MORE = """
    UPDATE bots SET metadata = '{"odd": "tab\\t, line\\n, \\\\. and \\u2028 \\"quoted\\""}' WHERE id = 1;
    INSERT INTO training_sessions (bot_id, name, hyperparameters, start_time, end_time)
        VALUES (1, E'tab\\there, newline\\nthere, \\\\. and \\\\N', '{"gamma": 0.99, "a": [1, null]}', '2025-03-30 02:30+01', NULL),
               (1, '', '{}', '-infinity', 'infinity');
    INSERT INTO model_checkpoints (training_session_id, epoch, model_weights, optimizer_state, file_size_bytes)
        VALUES (1, 1, '\\x00ff0a5c2e0a', NULL, 9223372036854775807), (1, 2, '\\x', '\\x5c2e', NULL);
    INSERT INTO blobs (sha256, size_bytes, data)
        VALUES (repeat('a', 64), 6, '\\x00ff0a5c2e0a'), (repeat('b', 64), 9223372036854775807, NULL);
    UPDATE model_checkpoints SET weights_sha256 = repeat('a', 64), optimizer_sha256 = repeat('b', 64) WHERE epoch = 2;
    UPDATE bots SET checkpoint_id = 2 WHERE id = 1;
    INSERT INTO game_histories (game_id, bot_id, move_sequence, board_states)
        SELECT id, 1, '[[0, 1],  [2,3]]', 'null' FROM games LIMIT 3;
    UPDATE game_results SET execution_time_ms = CASE id % 3 WHEN 0 THEN 0.1 + 0.2 WHEN 1 THEN 5e-324 END;
"""  # noqa: E501


def fill(settings: Settings, engine: Engine, folder: Path, *, base_seed: int = 42) -> None:
    """Puts something into every table, values that are hard to carry among them."""
    path = write_legacy(
        folder / f"seed {base_seed}.pkl",
        num_games=30,
        base_seed=base_seed,
        bots=("LargestGroupBot", "a \\ b\tc\nd"),
    )
    migrate(settings, path)
    execute(engine, _MORE)


def execute(engine: Engine, statements: str) -> None:
    """Runs SQL as it stands, and commits it."""
    with transaction(engine) as connection:
        connection.exec_driver_sql(statements.replace("%", "%%"))


def contents(engine: Engine, *, revisions: bool = True) -> dict[str, Any]:
    """Every row of every table as text, and where every sequence stands; without the revisions of totals
    and the numbers of trainings where a migration has made them anew."""
    row = "t::text" if revisions else "(to_jsonb(t) - 'revision' - 'uid')::text"
    found: dict[str, Any] = {
        table: sorted(line for (line,) in ask(engine, f"SELECT {row} FROM {table} t"))
        for table in Base.metadata.tables
    }
    for (name,) in ask(engine, "SELECT sequencename FROM pg_sequences ORDER BY 1"):
        found[name] = ask(engine, f"SELECT last_value, is_called FROM {name}")
    return found


def catalog(engine: Engine) -> list[tuple[Any, ...]]:
    """Columns, constraints, indexes, triggers, views and grants, as PostgreSQL describes them."""
    return ask(
        engine,
        "SELECT c.relname, c.relkind::text, c.relacl::text, a.attname, format_type(a.atttypid, a.atttypmod),"
        " a.attstorage::text FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0"
        " AND NOT a.attisdropped WHERE c.relnamespace = 'public'::regnamespace"
        " UNION ALL SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), NULL, NULL, NULL"
        " FROM pg_constraint WHERE connamespace = 'public'::regnamespace"
        " UNION ALL SELECT tgrelid::regclass::text, tgname, tgenabled::text, NULL, NULL, NULL FROM pg_trigger"
        " WHERE NOT tgisinternal ORDER BY 1, 2, 3, 4",
    )


def names(folder: Path) -> list[str]:
    """All names in a folder, hidden ones too; none where it does not exist."""
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def pair(dump: Path) -> list[str]:
    """The names of a backup's two files."""
    return [dump.name, manifest_path(dump).name]


def scratch_databases(engine: Engine) -> set[str]:
    """The names of all scratch databases on the server."""
    return {
        name for (name,) in ask(engine, "SELECT datname FROM pg_database WHERE datname LIKE 'sgdb_proof_%'")
    }


def no_scratch_database_is_left(engine: Engine) -> bool:
    """Whether there is none that nobody holds. Other tests may be at work on the same server; what they leave
    for a moment is waited for."""
    held = (
        "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1"
        " AND lpad(to_hex(classid::bigint), 8, '0') || lpad(to_hex(objid::bigint), 8, '0')"
        " = '7370' || substr(datname, 12)"
    )
    query = (
        "SELECT datname FROM pg_database WHERE datname ~ '^sgdb_proof_[0-9a-f]{12}$'"
        f" AND NOT EXISTS ({held})"
    )
    return until(lambda: not ask(engine, query), seconds=10)


def until(condition: Callable[[], object], seconds: float = 60) -> bool:
    """Waits for something that is going to come; returns whether it has."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@contextmanager
def held(engine: Engine, mode: str = "ACCESS EXCLUSIVE") -> Iterator[None]:
    """Nobody gets at a table; whoever dumps it waits."""
    with engine.connect() as connection:
        connection.execute(text(f"LOCK TABLE bots IN {mode} MODE"))
        yield


@contextmanager
def role(engine: Engine, attributes: str = "") -> Iterator[URL]:
    """The engine's address for a new user with a password and these attributes; dropped at the end."""
    name, password = f"sgdb_test_{secrets.token_hex(6)}", "pa:ss\\wo rd%"
    execute(engine, f"CREATE ROLE {name} LOGIN PASSWORD '{password}' {attributes}")
    try:
        yield engine.url.set(username=name, password=password)
    finally:
        execute(engine, f"REASSIGN OWNED BY {name} TO CURRENT_USER; DROP OWNED BY {name}; DROP ROLE {name}")


@contextmanager
def opened(url: URL | str) -> Iterator[Engine]:
    """An engine that leaves no connection behind."""
    engine = make_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


def terminate(engine: Engine, where: str) -> int:
    """Ends the sessions of the engine's database that match; returns how many there were."""
    with transaction(engine) as connection:
        query = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            f" WHERE datname = current_database() AND pid <> pg_backend_pid() AND {where}"
        )
        return int(connection.execute(text(query)).scalar_one())

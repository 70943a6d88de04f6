"""The database's schema from none to the newest and back: the only caller of Alembic.

A migration, the record of it and the lock that keeps a second one out live in one transaction. Whatever
interrupts it, the database is as it was before or as it is after.
"""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from sqlalchemy import URL, ColumnElement, Connection, Engine, Table, func, select, text

from sgdb.database.engine import describe, make_engine, require_supported, transaction, translated_errors
from sgdb.database.models import Base
from sgdb.errors import (
    ConfigError,
    DatabaseMissingError,
    DatabasePermissionError,
    EnvironmentFaultError,
    SchemaError,
    SgdbError,
    UsageError,
)

VERSION_TABLE = "sgdb_alembic_version"
# Any fixed 64-bit number does ("sgdb" and a zero); it must never change, or old and new would not meet.
SCHEMA_LOCK = 0x7367646200000000
BASE = "base"
_OWN_DATABASE = "name an empty database in SGDB_DATABASE_URL, then run `sgdb init`"


class SchemaStatus(Enum):
    """How the database's schema stands to the one this program was written for."""

    MISSING = "missing"
    OUTDATED = "outdated"
    CURRENT = "current"
    NEWER = "newer"


@dataclass(frozen=True, slots=True)
class SchemaState:
    """`current` is the database's revision, None where there is none; `head` is this program's."""

    status: SchemaStatus
    current: str | None
    head: str


@dataclass(frozen=True, slots=True)
class UpgradeResult:
    """The revision before and after; None stands for no schema at all."""

    before: str | None
    after: str | None

    @property
    def changed(self) -> bool:
        """Whether anything was done."""
        return self.before != self.after


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes on disk: each of sgdb's tables with its indexes, and the whole database."""

    tables: dict[str, int]
    database: int


def head() -> str:
    """The newest revision that this program knows."""
    revision = _scripts().get_current_head()
    assert revision is not None, "there is always migration 0001"
    return revision


def current(connection: Connection) -> str | None:
    """The database's revision, possibly one newer than this program; None when sgdb has no tables there.

    Raises SchemaError when what is recorded is no revision of sgdb.
    """
    if connection.scalar(select(func.to_regclass(VERSION_TABLE))) is None:
        return None
    revisions = connection.scalars(text(f"SELECT version_num FROM {VERSION_TABLE}")).all()  # noqa: S608
    if not revisions:
        return None
    if len(revisions) > 1 or not _is_ours(revisions[0]):
        recorded = ", ".join(revisions)
        raise SchemaError(
            f"Table {VERSION_TABLE} says {recorded!r}, which is no revision of sgdb"
            f" ({describe(connection.engine.url)})",
            hint=_OWN_DATABASE,
        )
    return str(revisions[0])


def state(connection: Connection) -> SchemaState:
    """Where the schema stands; raises SchemaError like `current`. Reads one row and writes nothing."""
    revision = current(connection)
    if revision is None:
        status = SchemaStatus.MISSING
    elif revision == head():
        status = SchemaStatus.CURRENT
    elif revision in _known_revisions():
        status = SchemaStatus.OUTDATED
    else:
        status = SchemaStatus.NEWER
    return SchemaState(status, revision, head())


def require_current(connection: Connection) -> None:
    """Returns when the schema is the one this program needs; else raises SchemaError with the way there."""
    found = state(connection)
    where = describe(connection.engine.url)
    match found.status:
        case SchemaStatus.CURRENT:
            return
        case SchemaStatus.MISSING:
            raise SchemaError(
                f"The database has no tables of sgdb yet ({where})", hint="create them with `sgdb init`"
            )
        case SchemaStatus.OUTDATED:
            raise SchemaError(
                f"The database has schema {found.current}, this program needs {found.head} ({where})",
                hint="bring it up to date with `sgdb init`",
            )
        case SchemaStatus.NEWER:
            raise SchemaError(
                f"The database has schema {found.current}, this program knows only {found.head} ({where})",
                hint="upgrade sgdb with `pip install --upgrade sgdb`",
            )


def upgrade(engine: Engine, *, lock_timeout: float = 60.0) -> UpgradeResult:
    """Brings the schema to `head()`; does nothing when it is there already.

    Any number of processes may call this at once: one works, the others wait for it and find it done.
    Tables of other applications are left alone.

    Args:
        lock_timeout: seconds to wait for another migration, or for a table that is in use.

    Raises:
        BusyError: the wait took longer.
        SchemaError: the schema is newer than this program, or tables of these names stand there already.
        DatabasePermissionError: the user may not create tables.
        UnsupportedServerError: the server's version or encoding is not supported.
    """
    with _alone(engine, lock_timeout) as connection:
        require_supported(connection)
        found = state(connection)
        if found.status is SchemaStatus.CURRENT:
            return UpgradeResult(found.current, found.current)
        if found.status is SchemaStatus.NEWER:
            require_current(connection)
        if found.status is SchemaStatus.MISSING:
            _require_room(connection)
        command.upgrade(_config(connection), found.head)
    return UpgradeResult(found.current, found.head)


def downgrade(engine: Engine, revision: str, *, lock_timeout: float = 60.0) -> UpgradeResult:
    """Takes the schema back to `revision`; `"base"` removes all of sgdb's tables **and their data**.

    Raises UsageError when `revision` is unknown or lies ahead, otherwise as `upgrade` does.
    """
    known = [BASE, *_known_revisions()]
    if revision not in known:
        raise UsageError(f"There is no schema revision {revision!r}", hint=f"take one of {', '.join(known)}")
    target = None if revision == BASE else revision
    with _alone(engine, lock_timeout) as connection:
        found = state(connection)
        if found.status is SchemaStatus.NEWER:
            require_current(connection)
        if known.index(revision) > known.index(found.current or BASE):
            raise UsageError(
                f"Schema {revision} lies ahead of {found.current or 'an empty database'}",
                hint="go forward with `sgdb init`",
            )
        if found.current != target:
            command.downgrade(_config(connection), revision)
        if target is None:
            connection.execute(text(f"DROP TABLE IF EXISTS {VERSION_TABLE}"))
    return UpgradeResult(found.current, target)


def create_database(url: URL) -> bool:
    """Creates the database that `url` names, in UTF-8; returns False when it was there already.

    Safe when several processes try at once.

    Raises:
        ConfigError: the address names no database.
        DatabasePermissionError: the user may not; the hint is the statement for someone who may.
        EnvironmentFaultError: the server cannot be reached or refuses, each fault as its own class.
    """
    if not url.database:
        raise ConfigError(
            "The database address names no database", hint="end it with a name, as in postgresql://HOST/sgdb"
        )
    # Asked before the maintenance database, which hosted servers often close to their users.
    if _exists(url):
        return False
    try:
        _execute_alone(url.set(database="postgres"), _create_statement(url))
    except (DatabasePermissionError, DatabaseMissingError) as error:
        raise DatabasePermissionError(
            f"The database {url.database} does not exist, and could not be created: {error.message}",
            hint=f"have the server's administrator run: {_create_statement(url, owner=url.username)};",
        ) from error
    except SgdbError:
        # Another process may have been first; the server reports that in more than one way.
        if _exists(url):
            return False
        raise
    return True


def row_counts(connection: Connection) -> dict[str, int]:
    """The exact number of rows of each of sgdb's tables; reads them whole."""
    return _measured(connection, lambda table: select(func.count()).select_from(table).scalar_subquery())


def sizes(connection: Connection) -> Sizes:
    """Bytes on disk, of the tables and of the database; writes nothing."""
    return Sizes(
        tables=_measured(connection, lambda table: func.pg_total_relation_size(table.name)),
        database=connection.execute(select(func.pg_database_size(func.current_database()))).scalar_one(),
    )


def new_revision(engine: Engine, message: str) -> Path:
    """Writes the next migration into a checkout: the difference between the database and the models.

    What Alembic finds is a draft; it does not see CHECK constraints. Returns the new file's path.
    """
    with transaction(engine, read_only=True) as connection:
        require_current(connection)
        config = _config(connection)
        config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
        script = command.revision(config, message, autogenerate=True, rev_id=f"{int(head()) + 1:04d}")
    _scripts.cache_clear()
    assert isinstance(script, Script)
    return Path(script.path)


def _scripts_folder() -> Path:
    """In a wheel the migrations lie inside the package, in a checkout beside it."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_migrations", package.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise EnvironmentFaultError(
        f"The migrations are missing from the installation in {package}",
        hint="install it again with `pip install --force-reinstall sgdb`",
    )


@cache
def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(_scripts_folder()))


def _known_revisions() -> list[str]:
    """All revisions, oldest first."""
    return [script.revision for script in _scripts().walk_revisions()][::-1]


def _config(connection: Connection) -> Config:
    # Quiet, since Alembic would print to a standard output that belongs to the command's data.
    config = Config(cmd_opts=Namespace(quiet=True))
    config.set_main_option("script_location", str(_scripts_folder()).replace("%", "%%"))
    config.attributes.update(connection=connection, version_table=VERSION_TABLE)
    return config


def _measured(connection: Connection, measure: Callable[[Table], ColumnElement[int]]) -> dict[str, int]:
    """What `measure` says of each table, all in one moment, in the order of the models."""
    tables = Base.metadata.tables
    values = connection.execute(select(*map(measure, tables.values()))).one()
    return dict(zip(tables, values, strict=True))


@contextmanager
def _alone(engine: Engine, lock_timeout: float) -> Iterator[Connection]:
    """A transaction that no other migration shares. It may begin while another one still works.

    Hence READ COMMITTED, whatever the server's default: what that one left must be seen.
    """
    with transaction(engine, isolation="READ COMMITTED", lock_timeout=lock_timeout) as connection:
        connection.execute(select(func.pg_advisory_xact_lock(SCHEMA_LOCK)))
        yield connection


def _require_room(connection: Connection) -> None:
    """Refuses a schema where the first migration would fail, in words that say what to do about it."""
    where = describe(connection.engine.url)
    schema, user, allowed = connection.execute(
        text(
            "SELECT current_schema(), current_user,"
            " coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)"
        )
    ).one()
    if not allowed:
        raise DatabasePermissionError(
            f"User {user} may not create tables in schema {schema or 'public'} ({where})",
            hint="have the database's owner run:"
            f" GRANT USAGE, CREATE ON SCHEMA {_quoted(schema or 'public')} TO {_quoted(user)};",
        )
    taken = connection.scalars(
        text(
            "SELECT relname FROM pg_class WHERE relnamespace = CAST(current_schema() AS regnamespace)"
            " AND relname = ANY(:names) ORDER BY relname"
        ),
        {"names": list(Base.metadata.tables)},
    ).all()
    if taken:
        raise SchemaError(
            f"The database already has {', '.join(taken)}, and not from sgdb ({where})",
            hint=_OWN_DATABASE,
        )


def _exists(url: URL) -> bool:
    try:
        _execute_alone(url, "SELECT 1")
    except DatabaseMissingError:
        return False
    return True


def _execute_alone(url: URL, statement: str) -> None:
    """Executes one statement outside a transaction, on a connection that is closed afterwards."""
    engine = make_engine(url)
    try:
        with (
            translated_errors(url),
            engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        ):
            # The driver takes a bare % for a placeholder.
            connection.exec_driver_sql(statement.replace("%", "%%"))
    finally:
        engine.dispose()


def _create_statement(url: URL, *, owner: str | None = None) -> str:
    # template0, since only a copy of it may have another encoding than the server's own.
    ownership = f" OWNER {_quoted(owner)}" if owner else ""
    return f"CREATE DATABASE {_quoted(url.database or '')}{ownership} ENCODING 'UTF8' TEMPLATE template0"


def _quoted(name: str) -> str:
    # SQLAlchemy's own quoting doubles every %, which is wrong in a statement that people will paste.
    return '"' + name.replace('"', '""') + '"'


def _is_ours(revision: str) -> bool:
    """Whether `revision` is one we know, or looks like one that a later sgdb will bring."""
    known = _known_revisions()
    return revision in known or (re.fullmatch(r"\d{4}", revision) is not None and revision > known[-1])

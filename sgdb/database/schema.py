"""The database's schema from none to the newest and back: the only caller of Alembic.

A migration, the record of it and the lock that keeps a second one out live in one transaction. Whatever
interrupts it, the database is as it was before or as it is after.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock

from alembic import command
from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, Engine, text

from sgdb.database.driver_errors import describe, quoted
from sgdb.database.engine import lift_timeouts, require_supported, transaction
from sgdb.database.locks import lock_schema
from sgdb.database.models import Base
from sgdb.database.revisions import (
    OWN_DATABASE,
    VERSION_TABLE,
    SchemaStatus,
    head,
    known_revisions,
    require_current,
    scripts_folder,
    state,
)
from sgdb.database.views import (
    VIEWS_REVISION,
    VIEWS_SCHEMA,
    require_nothing_on_views,
    require_room_for_views,
    statement_for_room,
)
from sgdb.errors import DatabasePermissionError, SchemaError, UsageError

BASE = "base"
# A migration speaks to Alembic through names of a module, of which a process has one.
_ALEMBIC = Lock()


@dataclass(frozen=True, slots=True)
class UpgradeResult:
    """The revision before and after; None stands for no schema at all."""

    before: str | None
    after: str | None

    @property
    def changed(self) -> bool:
        """Whether anything was done."""
        return self.before != self.after


def upgrade(
    engine: Engine,
    *,
    lock_timeout: float = 60.0,
    on_wait: Callable[[], object] | None = None,
    before_upgrade: Callable[[Connection], object] | None = None,
) -> UpgradeResult:
    """Brings the schema to `head()`; does nothing when it is there already.

    Any number of processes may call this at once: one works, the others wait for it and find it done.
    Tables of other applications are left alone.

    Args:
        lock_timeout: seconds to wait for another migration, or for a table that is in use.
        on_wait: called once when another migration has to be waited for.
        before_upgrade: called before an older schema is changed, by the one process that is going to do it;
            it may look at the database, and what it raises leaves everything as it was.

    Raises:
        BusyError: the wait took longer.
        SchemaError: the schema is newer than this program, or tables of these names stand there already.
        DatabasePermissionError: the user may not create tables.
        UnsupportedServerError: the server's version or encoding is not supported.
    """
    with _alone(engine, lock_timeout, on_wait) as connection:
        require_supported(connection)
        found = state(connection)
        if found.status is SchemaStatus.CURRENT:
            return UpgradeResult(found.current, found.current)
        if found.status is SchemaStatus.NEWER:
            require_current(connection)
        if found.status is SchemaStatus.OUTDATED and before_upgrade is not None:
            lift_timeouts(connection)
            before_upgrade(connection)
        bring_to(connection, found.head)
    return UpgradeResult(found.current, found.head)


def bring_to(connection: Connection, revision: str) -> None:
    """Brings the schema to a known revision, forward or back, in the caller's transaction.

    The caller has locked the schema (`lock_schema`), or is alone in the database. On the way back, what only
    the newer schema can say is lost. Raises as `upgrade` does.
    """
    found = state(connection)
    if found.status is SchemaStatus.NEWER:
        require_current(connection)
    if found.status is SchemaStatus.MISSING:
        _require_room(connection)
    if (found.current or "") < VIEWS_REVISION <= revision:
        require_room_for_views(connection)
    with _ALEMBIC:
        if found.current is None or found.current < revision:
            command.upgrade(_config(connection), revision)
        elif found.current > revision:
            _require_way_back(connection, found.current, revision)
            command.downgrade(_config(connection), revision)


def downgrade(engine: Engine, revision: str, *, lock_timeout: float = 60.0) -> UpgradeResult:
    """Takes the schema back to `revision`; `"base"` removes all of sgdb's tables **and their data**.

    Raises UsageError when `revision` is unknown or lies ahead, otherwise as `upgrade` does.
    """
    known = [BASE, *known_revisions()]
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
        if found.current is not None and found.current != target:
            _require_way_back(connection, found.current, target)
            with _ALEMBIC:
                command.downgrade(_config(connection), revision)
        if target is None:
            connection.execute(text(f"DROP TABLE IF EXISTS {VERSION_TABLE}"))
    return UpgradeResult(found.current, target)


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


@cache
def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(scripts_folder()))


def _config(connection: Connection) -> Config:
    # Quiet, since Alembic would print to a standard output that belongs to the command's data.
    config = Config(cmd_opts=Namespace(quiet=True))
    config.set_main_option("script_location", str(scripts_folder()).replace("%", "%%"))
    config.attributes.update(connection=connection, version_table=VERSION_TABLE)
    return config


@contextmanager
def _alone(
    engine: Engine, lock_timeout: float, on_wait: Callable[[], object] | None = None
) -> Iterator[Connection]:
    """A transaction that no other migration shares. It may begin while another one still works.

    Hence READ COMMITTED, whatever the server's default: what that one left must be seen.
    """
    with transaction(engine, isolation="READ COMMITTED", lock_timeout=lock_timeout) as connection:
        lock_schema(connection, timeout=lock_timeout, on_wait=on_wait)
        yield connection


def _require_way_back(connection: Connection, revision: str, target: str | None) -> None:
    """Refuses where the way back from `revision` would fail, in words that say what to do about it."""
    if (target or "") < VIEWS_REVISION <= revision:
        require_nothing_on_views(connection)


def _require_room(connection: Connection) -> None:
    """Refuses a schema where the first migration would fail, in words that say what to do about it."""
    where = describe(connection.engine.url)
    schema, user, allowed, has_room_for_views = connection.execute(
        text(
            "SELECT current_schema(), current_user,"
            " coalesce(has_schema_privilege(current_schema(), 'CREATE'), false),"
            " has_database_privilege(current_database(), 'CREATE') OR to_regnamespace(:views) IS NOT NULL"
        ),
        {"views": VIEWS_SCHEMA},
    ).one()
    if not allowed:
        # All at once: whoever may not do the one can seldom do the other.
        also = "" if has_room_for_views else f" {statement_for_room(user)}"
        raise DatabasePermissionError(
            f"User {user} may not create tables in schema {schema or 'public'} ({where})",
            hint="have the database's owner run:"
            f" GRANT USAGE, CREATE ON SCHEMA {quoted(schema or 'public')} TO {quoted(user)};{also}",
        )
    taken = connection.scalars(
        text(
            "SELECT relname FROM pg_class"
            " WHERE relnamespace = CAST(quote_ident(current_schema()) AS regnamespace)"
            " AND relname = ANY(:names) ORDER BY relname"
        ),
        {"names": list(Base.metadata.tables)},
    ).all()
    if taken:
        raise SchemaError(
            f"The database already has {', '.join(taken)}, and not from sgdb ({where})",
            hint=OWN_DATABASE,
        )

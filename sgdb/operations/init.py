"""`sgdb init`: the database there, its schema the newest; to be run again at any time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import URL, Connection, Engine

from sgdb.database.backup_files import Backup
from sgdb.database.backups import make_own_backup
from sgdb.database.creation import create_database
from sgdb.database.engine import (
    database_url,
    describe,
    lift_timeouts,
    make_engine,
    require_supported,
    transaction,
)
from sgdb.database.full_disk import full_disk_named
from sgdb.database.locks import lock_all_sets, lock_schema
from sgdb.database.own_tables import has_rows
from sgdb.database.revisions import SchemaStatus, require_current, state
from sgdb.database.schema import upgrade
from sgdb.database.server import EmbeddedServer
from sgdb.database.totals import refresh
from sgdb.errors import DatabaseMissingError, UsageError
from sgdb.progress import Progress, Silent
from sgdb.settings import Settings

_SET_UP = "set up the embedded server"
_CREATE_DATABASE = "create the database"
_CREATE_TABLES = "create the tables"
_BACK_UP = "back up the database"


@dataclass(frozen=True, slots=True)
class InitOptions:
    """`check` only looks. Without `backup`, an older schema is migrated without a backup before.
    `refresh_totals` counts all totals anew and puts back the triggers that keep them."""

    check: bool = False
    backup: bool = True
    refresh_totals: bool = False


@dataclass(frozen=True, slots=True)
class InitResult:
    """Where the database is and what was done, or, of a check, what is to be done.

    `data_folder` is None for an external server; revisions are None where there is no schema. `backup` is
    the backup that was made before the schema was migrated, None where there was nothing to back up.
    `wrong_totals` is how many lines of totals had been wrong, None where they were not counted anew. Of
    several processes that set up the same database at once, one reports the change.
    """

    address: str
    data_folder: str | None
    created_database: bool = False
    before: str | None = None
    after: str | None = None
    backup: str | None = None
    wrong_totals: int | None = None
    to_do: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything was done."""
        return self.created_database or self.before != self.after or bool(self.wrong_totals)

    @property
    def exit_code(self) -> int:
        """1 when a check found something to do."""
        return 1 if self.to_do else 0

    def to_json(self) -> dict[str, Any]:
        """The command's JSON document."""
        return {
            "address": self.address,
            "data_folder": self.data_folder,
            "created_database": self.created_database,
            "revision_before": self.before,
            "revision": self.after,
            "backup": self.backup,
            "wrong_totals": self.wrong_totals,
            "changed": self.changed,
            "to_do": list(self.to_do),
        }


def init(options: InitOptions, settings: Settings, progress: Progress | None = None) -> InitResult:
    """Creates what is missing: embedded server, database, tables. Safe when several processes do it at once.

    A check changes nothing; it starts the embedded server only where its data folder is there already.
    An older schema that holds rows is backed up before it is migrated; without the backup it stays as it is.
    Raises EnvironmentFaultError with the next thing to do: unreachable, wrong password, no permission, a
    server too old, a schema newer than this program. BusyError when another migration, or who writes while
    totals are to be counted, takes too long. UsageError for a check that is to count.
    """
    if options.check and options.refresh_totals:
        raise UsageError(
            "--check changes nothing, and --refresh-totals does",
            hint="whether totals are true is told by `sgdb verify`",
        )
    progress = progress or Silent()
    embedded = EmbeddedServer(settings.home) if settings.server_address is None else None
    data_folder = str(embedded.data_folder) if embedded else None
    is_new = embedded is not None and not embedded.is_set_up
    if options.check and is_new:
        return InitResult(f"embedded server in {settings.home}", data_folder, to_do=(_SET_UP, _CREATE_TABLES))
    url = database_url(settings, on_notice=progress.notice)
    if options.check:
        revision, to_do = _check(url, settings, backup=options.backup)
        return InitResult(describe(url), data_folder, before=revision, after=revision, to_do=to_do)
    # The embedded server's database comes into being with its data folder.
    created = embedded is None and create_database(url, connect_timeout=settings.connect_timeout)
    saved: list[Backup] = []
    with _engine(url, settings) as engine:

        def before_upgrade(connection: Connection) -> None:
            if options.backup and has_rows(connection):
                progress.notice("backing up the database before its schema is migrated")
                saved.append(
                    make_own_backup(
                        engine,
                        settings.backups_folder,
                        why="before upgrade",
                        lock_timeout=settings.lock_timeout,
                        progress=progress,
                    )
                )

        done = upgrade(
            engine,
            lock_timeout=settings.lock_timeout,
            on_wait=lambda: progress.notice("waiting for another command that migrates the schema"),
            before_upgrade=before_upgrade,
        )
        wrong_totals = _refresh(engine, settings, progress) if options.refresh_totals else None
    return InitResult(
        describe(url),
        data_folder,
        created or (is_new and done.changed),
        done.before,
        done.after,
        str(saved[0].path) if saved else None,
        wrong_totals,
    )


def _refresh(engine: Engine, settings: Settings, progress: Progress) -> int:
    def on_wait() -> None:
        progress.notice("waiting for other commands that are at work on the database")

    wait = settings.lock_timeout
    # READ COMMITTED: what the former holders of the locks have committed must be counted.
    with transaction(engine, isolation="READ COMMITTED", lock_timeout=wait) as connection:
        lift_timeouts(connection)
        lock_schema(connection, timeout=wait, on_wait=on_wait)
        lock_all_sets(connection, timeout=wait, on_wait=on_wait)
        require_current(connection)
        return refresh(connection, timeout=wait, on_wait=on_wait)


def _check(url: URL, settings: Settings, *, backup: bool) -> tuple[str | None, tuple[str, ...]]:
    """The database's revision, and what `init` would do."""
    try:
        with _engine(url, settings) as engine, transaction(engine, read_only=True) as connection:
            require_supported(connection)
            found = state(connection)
            if found.status is SchemaStatus.NEWER:
                require_current(connection)
            backup = backup and has_rows(connection)
    except DatabaseMissingError:
        return None, (_CREATE_DATABASE, _CREATE_TABLES)
    if found.status is SchemaStatus.MISSING:
        return None, (_CREATE_TABLES,)
    if found.status is SchemaStatus.OUTDATED:
        first = (_BACK_UP,) if backup else ()
        return found.current, (*first, f"migrate the schema from {found.current} to {found.head}")
    return found.current, ()


@contextmanager
def _engine(url: URL, settings: Settings) -> Iterator[Engine]:
    engine = make_engine(url, connect_timeout=settings.connect_timeout)
    try:
        with full_disk_named(settings):
            yield engine
    finally:
        engine.dispose()

"""Putting a database back to a backup: all of it in one transaction, or nothing.

The order is what makes it safe. The backup is read whole and checked before anything is touched. Then all
writers are kept out, the present state is backed up, and only then sgdb's tables are emptied, brought to the
backup's schema, filled, compared, and brought to the newest schema: in one transaction, which a kill, a lost
connection or a difference takes back. The backup's own SQL is never executed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import Connection, Engine, text

from sgdb.database.access import ready_engine
from sgdb.database.backup_files import Backup, checked_dump, read_backup
from sgdb.database.backups import make_own_backup
from sgdb.database.driver_errors import describe
from sgdb.database.engine import lift_timeouts, transaction
from sgdb.database.liveness import at_work
from sgdb.database.loading import load
from sgdb.database.locks import KeepOut, lock_all_sets, lock_schema, lock_tables
from sgdb.database.models import Base
from sgdb.database.own_tables import OwnTables, find_own_tables
from sgdb.database.proof import require_known_revision
from sgdb.database.provenance import RUNNING
from sgdb.database.revisions import SchemaStatus, head, require_current, state
from sgdb.database.schema import bring_to
from sgdb.errors import BusyError, SchemaError
from sgdb.progress import Progress, Silent
from sgdb.settings import Settings

_FOREIGN_REFERENCES = """
    SELECT DISTINCT CAST(conrelid AS regclass)::text || ' (' || conname || ')' FROM pg_constraint
    WHERE contype = 'f' AND confrelid = ANY(CAST(:tables AS regclass[]))
    AND NOT conrelid = ANY(CAST(:tables AS regclass[])) ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class RestoredTable:
    """Rows of one table before and after; 0 where it is not there."""

    table: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What was restored, or of a dry run, what would be.

    `revision_before` is None where there were no tables, `revision` is what the database has now. `saved` is
    the backup of the state before: None where there was nothing to save, and in a dry run.
    """

    backup: Backup
    dry_run: bool
    tables: tuple[RestoredTable, ...]
    revision_before: str | None
    revision: str
    saved: Backup | None = None

    def to_json(self) -> dict[str, Any]:
        """The document that commands print."""
        manifest = self.backup.manifest
        return {
            "backup": str(self.backup.path),
            "created_at": manifest.created_at.isoformat(timespec="seconds"),
            "proven": manifest.proven,
            "dry_run": self.dry_run,
            "revision_before": self.revision_before,
            "revision_of_backup": manifest.schema_revision,
            "revision": self.revision,
            "tables": [asdict(table) for table in self.tables],
            "saved": None if self.saved is None else str(self.saved.path),
            "saved_is_proven": None if self.saved is None else self.saved.manifest.proven,
        }


def restore_backup(
    settings: Settings, path: Path, *, dry_run: bool = False, progress: Progress | None = None
) -> RestoreResult:
    """Puts sgdb's tables in the settings' database back to the backup at `path`; others stay as they are.

    The database may hold any known schema, or no tables yet. An older backup is brought to the newest schema
    in the same transaction. Before, the present state goes into a backup in the folder for backups, unless
    all tables are empty. Other writers wait, or are waited for; so do readers, as long as rows are loaded.
    However it is interrupted, the database is as it was before or as it is after. A dry run checks the
    backup, looks, and changes nothing.

    Raises:
        NotFoundError, BackupError: there is no such backup, or it is not whole; nothing was touched.
        SchemaError: the backup or the database is newer than this program, or tables of others stand in the
            way or refer to sgdb's.
        BusyError: other commands are at work for longer than the settings' `lock_timeout`.
        DatabasePermissionError: the user does not own the tables.
        DiskFullError and other faults of the environment.
    """
    progress = progress or Silent()
    backup = read_backup(path)
    require_known_revision(backup.manifest)
    with (
        checked_dump(backup, progress) as dump,
        ready_engine(settings, progress.notice, _require_restorable) as engine,
    ):
        if dry_run:
            return _dry_run(engine, backup)
        return _restore(engine, backup, dump, settings, progress)


def _dry_run(engine: Engine, backup: Backup) -> RestoreResult:
    after = {name: table.rows for name, table in backup.manifest.tables.items()}
    with transaction(engine, read_only=True) as connection:
        return RestoreResult(
            backup,
            dry_run=True,
            tables=_tables(_row_counts(connection, find_own_tables(connection)), after),
            revision_before=state(connection).current,
            revision=head(),
        )


def _restore(
    engine: Engine, backup: Backup, dump: BinaryIO, settings: Settings, progress: Progress
) -> RestoreResult:
    wait = settings.lock_timeout

    def on_wait() -> None:
        progress.notice("waiting for other commands that are at work on the database")

    # READ COMMITTED: what the former holders of the locks have committed must be seen.
    with transaction(engine, isolation="READ COMMITTED", lock_timeout=wait) as connection:
        lift_timeouts(connection)
        lock_schema(connection, timeout=wait, on_wait=on_wait)
        lock_all_sets(connection, timeout=wait, on_wait=on_wait)
        _require_restorable(connection)
        revision_before = state(connection).current
        own = find_own_tables(connection)
        before: dict[str, int] = {}
        saved: Backup | None = None
        if own is not None:
            # Keeps out writers that know nothing of those locks, and lets the backup read.
            lock_tables(connection, _addresses(own), timeout=wait, on_wait=on_wait)
            _require_nobody_at_work(connection, own)
            before = _row_counts(connection, own)
            if any(before.values()):
                progress.notice("backing up the present state first")
                saved = make_own_backup(
                    engine,
                    settings.backups_folder,
                    why="before restore",
                    lock_timeout=wait,
                    progress=progress,
                )
            lock_tables(
                connection,
                _addresses(own),
                timeout=wait,
                on_wait=on_wait,
                keep_out=KeepOut.EVERYBODY,
            )
            _empty(connection, own)
        bring_to(connection, backup.manifest.schema_revision)
        load(connection, backup.manifest, dump, progress)
        bring_to(connection, head())
        after = _row_counts(connection, find_own_tables(connection))
    return RestoreResult(
        backup,
        dry_run=False,
        tables=_tables(before, after),
        revision_before=revision_before,
        revision=head(),
        saved=saved,
    )


def _require_restorable(connection: Connection) -> None:
    """Refuses a database that this program does not know, or whose tables others hold on to."""
    if state(connection).status is SchemaStatus.NEWER:
        require_current(connection)
    own = find_own_tables(connection)
    if own is None:
        return
    held = connection.scalars(text(_FOREIGN_REFERENCES), {"tables": _addresses(own)}).all()
    if held:
        raise SchemaError(
            f"Tables of others refer to sgdb's, which a restore has to empty: {', '.join(held)}"
            f" ({describe(connection.engine.url)})",
            hint="drop these foreign keys, restore, and create them again",
        )


def _require_nobody_at_work(connection: Connection, own: OwnTables) -> None:
    """Refuses while a run is at work, also between two of its files."""
    if (runs := own.tables.get("runs")) is None:
        return
    query = f"SELECT id FROM {runs.address} WHERE status = '{RUNNING}' ORDER BY id"  # noqa: S608 - quoted name
    running = connection.exec_driver_sql(query.replace("%", "%%")).scalars().all()
    if busy := sorted(at_work(connection, running)):
        raise BusyError(
            f"run {busy[0]} is still at work",
            hint="nothing was changed; run the command again when it has finished",
        )


def _empty(connection: Connection, own: OwnTables) -> None:
    # RESTART IDENTITY also makes what is done to the sequences from here on part of the transaction.
    statement = f"TRUNCATE {', '.join(_addresses(own))} RESTART IDENTITY"
    connection.exec_driver_sql(statement.replace("%", "%%"))


def _addresses(own: OwnTables) -> list[str]:
    return [table.address for table in own.tables.values()]


def _row_counts(connection: Connection, own: OwnTables | None) -> dict[str, int]:
    tables = {} if own is None else own.tables
    counts = {}
    for name, table in tables.items():
        query = f"SELECT count(*) FROM {table.address}"  # noqa: S608 - quoted names
        counts[name] = int(connection.exec_driver_sql(query.replace("%", "%%")).scalar_one())
    return counts


def _tables(before: Mapping[str, int], after: Mapping[str, int]) -> tuple[RestoredTable, ...]:
    names = dict.fromkeys([*Base.metadata.tables, *sorted({*before, *after})])
    return tuple(
        RestoredTable(name, before.get(name, 0), after.get(name, 0))
        for name in names
        if name in before or name in after
    )

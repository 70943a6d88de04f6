"""`sgdb backup`: make a backup, list backups, verify one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sgdb.database.access import ready_engine
from sgdb.database.backup_files import (
    Backup,
    Unusable,
    checked_dump,
    list_backups,
    manifest_path,
    prune,
    read_backup,
)
from sgdb.database.backups import make_backup, prove_backup
from sgdb.database.revisions import require_known
from sgdb.errors import NotFoundError, UsageError
from sgdb.progress import Progress, Silent
from sgdb.settings import Settings

BACKUP_FIELDS = (
    "path", "created_at", "why", "proven", "size_bytes", "rows", "schema_revision", "database"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class BackupOptions:
    """Where to (default: the folder of the settings), how many proven ones to keep (default: all), and
    whether to prove it."""

    to: Path | None = None
    keep: int | None = None
    prove: bool = True


@dataclass(frozen=True, slots=True)
class BackupResult:
    """The backup made; older ones deleted for it, and damaged ones that were met on the way; seconds."""

    backup: Backup
    pruned: tuple[Path, ...] = ()
    damaged: tuple[Unusable, ...] = ()
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The command's JSON document."""
        return {
            **backup_json(self.backup),
            "pruned": [str(path) for path in self.pruned],
            "damaged": [unusable_json(one) for one in self.damaged],
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class ListResult:
    """The backups of a folder, oldest first, and what only looks like one."""

    folder: Path
    backups: tuple[Backup, ...]
    unusable: tuple[Unusable, ...]

    def to_json(self) -> dict[str, Any]:
        """The command's JSON document."""
        return {
            "folder": str(self.folder),
            "backups": [backup_json(backup) for backup in self.backups],
            "unusable": [unusable_json(one) for one in self.unusable],
        }


@dataclass(frozen=True, slots=True)
class VerifyBackupOptions:
    """Which backup, and whether to restore it into a scratch database as well."""

    path: Path
    prove: bool = False


@dataclass(frozen=True, slots=True)
class VerifyBackupResult:
    """A backup that is whole."""

    backup: Backup

    def to_json(self) -> dict[str, Any]:
        """The command's JSON document."""
        return {"sound": True, **backup_json(self.backup)}


def backup(options: BackupOptions, settings: Settings, progress: Progress | None = None) -> BackupResult:
    """Makes a backup; then, and only then, deletes older ones where a number to keep is given.

    Raises UsageError for a number below 1, and what `make_backup` raises.
    """
    progress = progress or Silent()
    if options.keep is not None and options.keep < 1:
        raise UsageError("--keep needs a number of at least 1", hint="leave it out to keep every backup")
    begin = time.monotonic()
    with ready_engine(settings, progress.notice, require_known) as engine:
        made = make_backup(
            engine,
            settings.backups_folder,
            options.to and options.to.absolute(),
            proven=options.prove,
            lock_timeout=settings.lock_timeout,
            progress=progress,
        )
    pruned, damaged = ([], []) if options.keep is None else prune(made, options.keep, progress)
    return BackupResult(made, tuple(pruned), tuple(damaged), time.monotonic() - begin)


def list_(folder: Path | None, settings: Settings) -> ListResult:
    """The backups of a folder (default: that of the settings). Dumps are not read: `verify` does that.

    Raises NotFoundError when a folder that was named is not there, or FileAccessError.
    """
    if folder is not None and not folder.is_dir():
        raise NotFoundError(f"no such folder: {folder}", hint="check the path")
    where = (folder or settings.backups_folder).absolute()
    backups, unusable = list_backups(where)
    return ListResult(where, tuple(backups), tuple(unusable))


def verify(
    options: VerifyBackupOptions, settings: Settings, progress: Progress | None = None
) -> VerifyBackupResult:
    """Reads a backup whole and compares it with its manifest; with `prove` also restores it into a scratch
    database on the settings' server, which the manifest then tells. Needs no database otherwise.

    Raises BackupError where anything is not as it should be, NotFoundError, and what `prove` raises.
    """
    progress = progress or Silent()
    found = read_backup(options.path.absolute())
    if not options.prove:
        with checked_dump(found, progress):
            return VerifyBackupResult(found)
    # Only the server matters, not what is in the settings' database.
    with ready_engine(settings, progress.notice, lambda _: None) as engine:
        return VerifyBackupResult(prove_backup(engine, found, progress))


def backup_json(found: Backup) -> dict[str, Any]:
    """A backup as JSON documents have it. Times are ISO 8601 in UTC."""
    manifest = found.manifest
    return {
        "path": str(found.path),
        "manifest": str(manifest_path(found.path)),
        "created_at": manifest.created_at.isoformat(timespec="seconds"),
        "why": manifest.why,
        "proven": manifest.proven,
        "proven_at": manifest.proven_at and manifest.proven_at.isoformat(timespec="seconds"),
        "size_bytes": manifest.dump.size_bytes,
        "sha256": manifest.dump.sha256,
        "rows": manifest.rows,
        "tables": {name: table.rows for name, table in manifest.tables.items()},
        "schema_revision": manifest.schema_revision,
        "sgdb_version": manifest.sgdb_version,
        "server_version": manifest.server_version,
        "pg_dump_version": manifest.pg_dump_version,
        "database": manifest.origin.address,
    }


def unusable_json(one: Unusable) -> dict[str, Any]:
    """A file that looks like a backup and is none."""
    return {"path": str(one.path), "reason": one.reason}

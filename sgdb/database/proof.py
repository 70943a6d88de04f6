"""A backup counts when it is proven: restored into a scratch database, and every digest the same."""

from __future__ import annotations

from typing import BinaryIO

from sqlalchemy import Engine, text

from sgdb.database.engine import lift_timeouts, require_supported, transaction
from sgdb.database.loading import load
from sgdb.database.manifest import OTHER_BACKUP, Manifest
from sgdb.database.revisions import head, known_revisions
from sgdb.database.schema import bring_to
from sgdb.database.scratch import scratch_database
from sgdb.errors import BackupError, SchemaError
from sgdb.progress import Progress


def prove(engine: Engine, manifest: Manifest, dump: BinaryIO, progress: Progress) -> None:
    """Returns when the backup has been restored on the engine's server, into a database made for that, and is
    what its manifest says; that database is gone then.

    Raises BackupError when it is not, DatabasePermissionError where the user may not create databases, and
    SchemaError where the program is too old for the backup.
    """
    require_known_revision(manifest)
    progress.notice("proving the backup: restoring it into a scratch database")
    with scratch_database(engine) as scratch, transaction(scratch) as connection:
        require_supported(connection)
        lift_timeouts(connection)
        # Whatever search_path the address or the user has: the schema is one that every new database has.
        connection.execute(text("SELECT set_config('search_path', 'public', true)"))
        connection.execute(text("SELECT set_config('synchronous_commit', 'off', true)"))
        bring_to(connection, manifest.schema_revision)
        load(connection, manifest, dump, progress)


def require_known_revision(manifest: Manifest) -> None:
    """Returns when this program can make the backup's tables; else raises SchemaError, or BackupError for a
    revision that never was."""
    revision = manifest.schema_revision
    if revision in known_revisions():
        return
    if revision > head():
        raise SchemaError(
            f"the backup has schema {revision}, this program knows only {head()}",
            hint="upgrade sgdb with `pip install --upgrade sgdb`",
        )
    raise BackupError(f"the backup has schema {revision!a}, which never was one of sgdb", hint=OTHER_BACKUP)

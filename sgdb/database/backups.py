"""Making a backup: one snapshot of sgdb's tables, dumped and described at the same time, proven, then named.

pg_dump works beside the server's computing of the digests, on the snapshot that this process has exported
to it. Nothing has a name that could be taken for a backup before all of it is on disk and proven.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any, TypeVar, cast

import psycopg2
from sqlalchemy import Connection, Engine, text

import sgdb
from sgdb.atomic import Unfinished, file_error, make_folder, remove_leftovers, unfinished_file
from sgdb.database.backup_files import (
    FOLDER_MODE,
    MODE,
    Backup,
    checked_dump,
    default_name,
    publish,
    replace_manifest,
    require_free,
)
from sgdb.database.client_programs import ClientProgram
from sgdb.database.digests import digest_table
from sgdb.database.driver_errors import describe
from sgdb.database.dump import find_pg_dump, pg_dump
from sgdb.database.engine import lift_timeouts, server_info, transaction, translated_errors
from sgdb.database.identity import database_identity
from sgdb.database.locks import KeepOut, lock_tables
from sgdb.database.manifest import Dump, Manifest, Origin, SequencePosition, TableContent
from sgdb.database.own_tables import OwnTables, find_own_tables
from sgdb.database.proof import prove
from sgdb.database.revisions import current, require_known
from sgdb.database.scratch import may_create_databases, require_right_to_create
from sgdb.errors import BusyError, SgdbError
from sgdb.progress import Progress, Silent

T = TypeVar("T")
_POLL = 0.05  # seconds


def make_backup(
    engine: Engine,
    folder: Path,
    to: Path | None = None,
    *,
    why: str = "asked",
    proven: bool = True,
    lock_timeout: float = 60.0,
    progress: Progress | None = None,
) -> Backup:
    """Backs sgdb's tables up, of the newest schema or an older one; other tables are not part of it.

    Writers go on meanwhile; the backup holds one moment. Leftovers of killed backups in the folder are
    removed. Unless it comes to its end, there is no backup and nothing is left.

    Args:
        folder: where it goes unless `to` says otherwise, under a name made of the time.
        to: a file that does not exist yet, or a folder that does and takes the place of the other.
        why: what the manifest says about the occasion.
        proven: restore it into a scratch database first, and compare.
        lock_timeout: seconds to wait for a table that is being altered.

    Raises:
        AlreadyExistsError: the file exists; it is never replaced.
        SchemaError: there are no tables of sgdb, or newer ones than this program knows.
        UnsupportedServerError: no pg_dump here is new enough for the server.
        DatabasePermissionError: a proof is wanted, and the user may not create databases.
        BackupError: what was restored is not what was dumped.
        BusyError: a table stays locked, or the schema was migrated meanwhile.
        DiskFullError, FileAccessError, and other faults of the environment.
    """
    progress = progress or Silent()
    created_at = datetime.now(UTC)
    is_named = to is not None and not to.is_dir()
    path = to if to is not None and is_named else (to or folder) / default_name(created_at)
    if is_named:
        require_free(path)
    with transaction(engine, read_only=True) as connection:
        require_known(connection)
        if proven:
            require_right_to_create(connection)
        program = find_pg_dump(connection)
    make_folder(path.parent, mode=FOLDER_MODE)
    remove_leftovers(path.parent)
    try:
        with unfinished_file(path, mode=MODE) as unfinished:
            manifest = Manifest(
                sgdb_version=sgdb.__version__,
                pg_dump_version=program.version,
                created_at=created_at,
                why=why,
                **_dump(engine, unfinished, program, lock_timeout, progress),
            )
            unfinished.sync()
            if proven:
                manifest = _proven(engine, Backup(unfinished.path, manifest), progress)
            return publish(unfinished, manifest, path, may_rename=not is_named)
    except OSError as error:
        raise file_error(error, f"cannot write {path}") from error


def make_own_backup(
    engine: Engine, folder: Path, *, why: str, lock_timeout: float, progress: Progress
) -> Backup:
    """The backup that sgdb takes by itself before it changes much: proven, if the user may create databases.

    Otherwise it is not, and a notice says so. Raises as `make_backup` does.
    """
    with transaction(engine, read_only=True) as connection:
        proven = may_create_databases(connection)
    if not proven:
        progress.notice(f"the backup {why} is not proven: the user may not create a scratch database")
    return make_backup(engine, folder, why=why, proven=proven, lock_timeout=lock_timeout, progress=progress)


def prove_backup(engine: Engine, backup: Backup, progress: Progress | None = None) -> Backup:
    """Proves a backup that is there already, and writes that into its manifest. Raises as `prove` does."""
    return replace_manifest(backup, _proven(engine, backup, progress or Silent()))


def _proven(engine: Engine, backup: Backup, progress: Progress) -> Manifest:
    with checked_dump(backup, progress) as dump:
        prove(engine, backup.manifest, dump, progress)
    return replace(backup.manifest, proven_at=datetime.now(UTC))


def _dump(
    engine: Engine, unfinished: Unfinished, program: ClientProgram, lock_timeout: float, progress: Progress
) -> dict[str, Any]:
    """Dumps into the file; returns what the manifest says about database, tables and dump."""
    with transaction(engine, read_only=True) as connection:
        own = find_own_tables(connection)
    assert own is not None
    # Another transaction: the snapshot must not be older than the locks, or a table that is emptied in
    # between by TRUNCATE would be empty in it.
    with transaction(engine, read_only=True) as connection:
        lock_tables(
            connection,
            [*(table.address for table in own.tables.values()), own.version_table],
            timeout=lock_timeout,
            on_wait=lambda: progress.notice("waiting for another program that alters the tables"),
            keep_out=KeepOut.ALTERATIONS,
        )
        lift_timeouts(connection)
        snapshot = connection.scalar(text("SELECT pg_export_snapshot()"))
        if find_own_tables(connection) != own:
            raise BusyError("the schema was migrated while the backup began", hint="run the command again")
        hashed, size = hashlib.sha256(), 0
        progress.start(0, "B")
        try:
            with (
                pg_dump(connection, snapshot, own, program=program, lock_timeout=lock_timeout) as dumping,
                _beside(connection, lambda stopped: _contents(connection, own, stopped)) as contents,
            ):
                contents.add_done_callback(lambda done: dumping.stop() if done.exception() else None)
                try:
                    for chunk in dumping.chunks:
                        unfinished.file.write(chunk)
                        hashed.update(chunk)
                        size += len(chunk)
                        progress.advance(len(chunk), "writing the backup")
                except SgdbError:
                    if contents.done() and (reason := contents.exception()):
                        raise reason from None  # why pg_dump was stopped
                    raise
                tables = contents.result()
        finally:
            progress.finish()
        revision = current(connection)
        assert revision is not None
        return {
            "server_version": server_info(connection).version_text,
            "schema_revision": revision,
            "origin": origin_of(connection),
            "dump": Dump(hashed.hexdigest(), size),
            "tables": tables,
        }


def _contents(connection: Connection, own: OwnTables, stopped: Event) -> dict[str, TableContent]:
    """What the tables hold. Ends early, and without a result that counts, when it has been stopped."""
    found: dict[str, TableContent] = {}
    with translated_errors(connection.engine.url):
        for name, table in own.tables.items():
            if stopped.is_set():
                break
            digest = digest_table(connection, table.address, table.columns)
            positions = {
                column: SequencePosition(
                    *connection.exec_driver_sql(f"SELECT last_value, is_called FROM {sequence}").one()  # noqa: S608
                )
                for column, sequence in table.sequences.items()
            }
            found[name] = TableContent(digest.rows, digest.digest, table.columns, positions)
    return found


@contextmanager
def _beside(connection: Connection, work: Callable[[Event], T]) -> Iterator[Future[T]]:
    """Runs `work`, which has `connection` for itself, in a thread; leaving the block early cancels its query.

    The main thread stays free to be interrupted, which one that waits for an answer of the server is not.
    """
    driver_connection = cast("psycopg2.extensions.connection", connection.connection.driver_connection)
    stopped = Event()
    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(work, stopped)
        try:
            yield future
        finally:
            stopped.set()
            while not future.done():
                with suppress(psycopg2.Error):
                    driver_connection.cancel()
                wait([future], timeout=_POLL)


def origin_of(connection: Connection) -> Origin:
    """Which database this is, as the manifests of its backups say it."""
    name, system = database_identity(connection)
    return Origin(describe(connection.engine.url), name, system)

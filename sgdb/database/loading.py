"""The rows of a backup into sgdb's tables, and the proof that they are the ones.

Only rows are taken from the dump: the tables have been made by sgdb's own migrations and stay what they
are, with grants, views, and whatever else their owner has built on them. Foreign keys are taken away
meanwhile and checked at the end, all rows at once; triggers are not fired, since what they would do is in
the backup already.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import psycopg2
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from sgdb.database.bulk import copy_chunks
from sgdb.database.copy_script import CopyBlock
from sgdb.database.digests import digest_table
from sgdb.database.driver_errors import quoted
from sgdb.database.dump import unpacked_rows
from sgdb.database.manifest import OTHER_BACKUP, Manifest
from sgdb.database.own_tables import OwnTables, find_own_tables
from sgdb.errors import BackupError
from sgdb.progress import Progress

_FOREIGN_KEYS = """
    SELECT CAST(conrelid AS regclass)::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE contype = 'f' AND conrelid = ANY(CAST(:tables AS regclass[])) ORDER BY conname
"""
_TRIGGERS = """
    SELECT CAST(tgrelid AS regclass)::text, tgname, tgenabled FROM pg_trigger
    WHERE NOT tgisinternal AND tgenabled <> 'D' AND tgrelid = ANY(CAST(:tables AS regclass[])) ORDER BY tgname
"""
_ENABLE = {"O": "ENABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}


def load(connection: Connection, manifest: Manifest, dump: BinaryIO, progress: Progress) -> None:
    """Fills sgdb's tables with a backup and compares every digest, in the caller's transaction.

    The tables are of the backup's revision, empty, just truncated or made in this transaction, and nobody
    else's business until it ends. Raises BackupError where the rows do not fit the tables or are not those
    of the manifest, and what pg_restore and the server have to say.
    """
    own = find_own_tables(connection)
    assert own is not None
    _require_same_tables(own, manifest)
    with _refusals(), _without_keys_and_triggers(connection, own), unpacked_rows(dump) as blocks:
        progress.start(manifest.rows, "row")
        try:
            for block in blocks:
                if block.table in manifest.tables:
                    _copy(connection, own, manifest, block, progress)
        finally:
            progress.finish()
        _set_sequences(connection, own, manifest)
    wrong = _differences(connection, own, manifest)
    if wrong:
        raise BackupError(
            f"what was restored is not what was backed up: {'; '.join(wrong)}", hint=OTHER_BACKUP
        )
    for name in manifest.tables:
        connection.exec_driver_sql(f"ANALYZE {own.tables[name].address}")


def _differences(connection: Connection, own: OwnTables, manifest: Manifest) -> list[str]:
    """A few words on each table whose rows or digest are not those of the manifest."""
    wrong = []
    for name, expected in manifest.tables.items():
        found = digest_table(connection, own.tables[name].address, expected.columns)
        if found.rows != expected.rows:
            wrong.append(f"{name} has {found.rows} rows instead of {expected.rows}")
        elif found.digest != expected.digest:
            wrong.append(f"{name} has other values")
    return wrong


def _require_same_tables(own: OwnTables, manifest: Manifest) -> None:
    """Refuses a backup whose tables are not those of its revision, before any row is copied."""
    absent = [name for name in manifest.tables if name not in own.tables]
    absent += [
        f"{name}.{column}"
        for name, table in manifest.tables.items()
        if name in own.tables
        for column in table.columns
        if column not in own.tables[name].columns
    ]
    if absent:
        raise BackupError(
            f"the backup holds what schema {manifest.schema_revision} has no place for: {', '.join(absent)}",
            hint="sgdb restores its own tables and columns only; `pg_restore` can restore the dump as it is",
        )


def _copy(
    connection: Connection, own: OwnTables, manifest: Manifest, block: CopyBlock, progress: Progress
) -> None:
    if set(block.columns) != set(manifest.tables[block.table].columns):
        raise BackupError(
            f"the dump has other columns of {block.table} than its manifest says", hint=OTHER_BACKUP
        )

    def chunks() -> Iterator[bytes]:
        for chunk in block.chunks:
            progress.advance(chunk.count(b"\n"), f"restoring {block.table}")
            yield chunk

    copy_chunks(connection, own.tables[block.table].address, tuple(map(quoted, block.columns)), chunks())


def _set_sequences(connection: Connection, own: OwnTables, manifest: Manifest) -> None:
    # With the transaction, since TRUNCATE ... RESTART IDENTITY has begun the sequences anew in it.
    for name, table in manifest.tables.items():
        for column, position in table.sequences.items():
            if (sequence := own.tables[name].sequences.get(column)) is not None:
                connection.execute(
                    text("SELECT setval(CAST(:sequence AS regclass), :last_value, :is_called)"),
                    {
                        "sequence": sequence,
                        "last_value": position.last_value,
                        "is_called": position.is_called,
                    },
                )


@contextmanager
def _without_keys_and_triggers(connection: Connection, own: OwnTables) -> Iterator[None]:
    """While this lasts, no foreign key of sgdb's tables is checked and no trigger fired; then all is back."""
    tables = {"tables": [table.address for table in own.tables.values()]}
    keys = connection.execute(text(_FOREIGN_KEYS), tables).all()
    triggers = connection.execute(text(_TRIGGERS), tables).all()

    def alter(table: str, what: str) -> None:
        connection.exec_driver_sql(f"ALTER TABLE {table} {what}".replace("%", "%%"))

    for table, name, _ in keys:
        alter(table, f"DROP CONSTRAINT {quoted(name)}")
    for table, name, _ in triggers:
        alter(table, f"DISABLE TRIGGER {quoted(name)}")
    yield
    for table, name, mode in triggers:
        alter(table, f"{_ENABLE[mode]} TRIGGER {quoted(name)}")
    for table, name, definition in keys:
        alter(table, f"ADD CONSTRAINT {quoted(name)} {definition}")


@contextmanager
def _refusals() -> Iterator[None]:
    """Rows that the tables do not take are the backup's fault."""
    try:
        yield
    except (psycopg2.Error, DBAPIError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        code = getattr(cause, "pgcode", None) or ""
        if code[:2] in ("22", "23"):
            said = " ".join(str(cause).split())
            raise BackupError(
                f"the tables do not take the backup's rows: {said}", hint=OTHER_BACKUP
            ) from error
        raise

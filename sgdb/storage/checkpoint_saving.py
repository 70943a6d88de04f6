"""A checkpoint and its bytes into the database: the bytes first, once each, then the row that needs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from sgdb.database.blobs import add_blob, find_blob
from sgdb.database.checkpoints import NewCheckpoint, Outcome, add_checkpoint, compare_checkpoint
from sgdb.database.engine import lift_timeouts
from sgdb.database.locks import lock_checkpoints
from sgdb.storage.checkpoint_files import CheckpointFiles
from sgdb.storage.contents import Contents


@dataclass(frozen=True, slots=True)
class Destination:
    """Where checkpoints are written: a transaction, the files of its database, how many bytes are kept in
    the database itself, and the seconds to wait for whoever removes bytes."""

    connection: Connection
    files: CheckpointFiles
    limit: int
    lock_timeout: float


def save_checkpoint(
    to: Destination, new: NewCheckpoint, contents: Sequence[Contents]
) -> tuple[Outcome, str | None]:
    """Adds a checkpoint with its bytes, `contents`, each stored once however many checkpoints have them.

    Returns what became of it and, of a conflict, in what the stored one differs: that stays as it is, and
    nothing is added. Bytes up to the limit go into the database, others into a file, which is on disk before
    the row is. Raises BusyError, DiskFullError, FileAccessError, and as `Contents.pieces` does.
    """
    connection = to.connection
    lift_timeouts(connection)  # files are written meanwhile
    lock_checkpoints(connection, timeout=to.lock_timeout)
    known = compare_checkpoint(connection, new)
    if known is not None:
        return known
    paths = {each.sha256: keep_bytes(to, each) for each in contents}
    path = paths.get(new.weights_sha256 or "")
    if path is not None:
        size = next(each.size_bytes for each in contents if each.sha256 == new.weights_sha256)
        new = replace(new, file_path=path, file_size_bytes=size)
    if add_checkpoint(connection, new):
        return Outcome.INSERTED, None
    known = compare_checkpoint(connection, new)  # somebody else was first
    assert known is not None
    return known


def keep_bytes(to: Destination, contents: Contents) -> str | None:
    """Has the bytes stored, behind the lock on checkpoints; returns the path where they lie in a file.

    Raises DiskFullError, FileAccessError, and as `Contents.pieces` does.
    """
    found = find_blob(to.connection, contents.sha256)
    in_file = found.in_file if found else contents.size_bytes > to.limit
    path = str(to.files.keep(contents)) if in_file else None
    if found is None:
        data = None if in_file else contents.read()
        add_blob(to.connection, contents.sha256, contents.size_bytes, data)
    return path

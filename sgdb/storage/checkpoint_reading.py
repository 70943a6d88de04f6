"""The bytes of a checkpoint, wherever they are, and the proof that they are the ones that were stored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from sgdb.database.blobs import StoredBlob, file_totals, find_blobs, read_blob, read_own_bytes, wrong_hashes
from sgdb.database.checkpoints import (
    Place,
    StoredBytes,
    StoredCheckpoint,
    file_paths,
    find_checkpoints,
    find_with_weights,
    foreign_files,
    get_checkpoint,
)
from sgdb.database.models import ModelCheckpoint
from sgdb.errors import CheckpointError, NotFoundError
from sgdb.pickles.attributes import from_json
from sgdb.progress import Progress
from sgdb.storage.checkpoint_files import CheckpointFiles, file_size, read_file

_VERIFY = "`sgdb verify` checks all checkpoints; a backup has those that the database holds"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint as it was logged: None for what was not given. NaN and the infinities are floats again."""

    epoch: int
    weights: bytes | None
    optimizer: bytes | None
    metrics: dict[str, Any]


def load_checkpoint(
    connection: Connection, files: CheckpointFiles, session_id: int, epoch: int | None
) -> Checkpoint | None:
    """A session's checkpoint after this epoch, or its last one; None where there is none.

    Raises CheckpointError when its bytes are gone or are not those that were stored.
    """
    found = find_checkpoints(connection, session_id=session_id)
    wanted = [each for each in found if epoch is None or each.epoch == epoch]
    if not wanted:
        return None
    last = wanted[-1]
    weights, optimizer = (
        b"".join(read_bytes(connection, files, last, optimizer=which)) if known is not None else None
        for known, which in ((last.weights, False), (last.optimizer, True))
    )
    return Checkpoint(last.epoch, weights, optimizer, from_json(last.metrics or {}))


def stored_bytes(checkpoint: StoredCheckpoint, *, optimizer: bool) -> StoredBytes:
    """What is known of the checkpoint's weights, or of its optimizer's state. Raises NotFoundError."""
    found = checkpoint.optimizer if optimizer else checkpoint.weights
    if found is None:
        what = "no state of an optimizer" if optimizer else "no weights"
        raise NotFoundError(
            f"checkpoint {checkpoint.id} (epoch {checkpoint.epoch}) has {what}",
            hint=f"see what it has: sgdb checkpoints show {checkpoint.id}",
        )
    return found


def read_bytes(
    connection: Connection, files: CheckpointFiles, checkpoint: StoredCheckpoint, *, optimizer: bool = False
) -> Iterator[bytes]:
    """The weights of a checkpoint, or the state of its optimizer, in pieces.

    Raises NotFoundError where it has none, and CheckpointError, at the latest instead of the end, when they
    are gone or are not those that were stored.
    """
    known = stored_bytes(checkpoint, optimizer=optimizer)
    hashed, size = hashlib.sha256(), 0
    for piece in _pieces(connection, files, checkpoint, known, optimizer):
        hashed.update(piece)
        size += len(piece)
        yield piece
    is_other = known.sha256 is not None and hashed.hexdigest() != known.sha256
    if is_other or (known.size_bytes is not None and size != known.size_bytes):
        raise CheckpointError(
            f"the bytes of checkpoint {checkpoint.id} (epoch {checkpoint.epoch}) are damaged: "
            f"they are not those that were stored",
            hint=_VERIFY,
        )


def read_weights(connection: Connection, files: CheckpointFiles, sha256: str) -> Iterator[bytes]:
    """The bytes that some checkpoint has as its weights, in pieces. Raises as `read_bytes` does."""
    checkpoint_id = find_with_weights(connection, sha256)
    if checkpoint_id is None:
        raise CheckpointError(f"no checkpoint has the bytes {sha256} as its weights any more", hint=_VERIFY)
    return read_bytes(connection, files, get_checkpoint(connection, checkpoint_id))


def _pieces(
    connection: Connection,
    files: CheckpointFiles,
    checkpoint: StoredCheckpoint,
    known: StoredBytes,
    optimizer: bool,
) -> Iterator[bytes]:
    size = known.size_bytes or 0
    if known.place is Place.DATABASE:
        assert known.sha256 is not None
        return read_blob(connection, StoredBlob(known.sha256, size, False))
    if known.place is Place.COLUMN:
        column = ModelCheckpoint.optimizer_state if optimizer else ModelCheckpoint.model_weights
        return read_own_bytes(connection, checkpoint.id, column, size)
    if known.place is Place.PATH:
        assert checkpoint.file_path is not None
        return read_file(Path(checkpoint.file_path))
    assert known.sha256 is not None
    recorded = None if optimizer else checkpoint.file_path
    path = files.find(known.sha256, size, recorded)
    if path is None:
        raise CheckpointError(
            f"the bytes of checkpoint {checkpoint.id} (epoch {checkpoint.epoch}) are gone: "
            f"{recorded or files.path_of(known.sha256)} is not there, or of another size",
            hint=f"it may lie on the machine that wrote it, or where SGDB_CHECKPOINT_DIR was then; {_VERIFY}",
        )
    return read_file(path)


def describe_bytes(connection: Connection) -> str:
    """How many contents there are, and how many of them in files, in words."""
    blobs, (in_files, size) = sum(1 for _ in find_blobs(connection)), file_totals(connection)
    if not blobs:
        return "none"
    return f"{blobs} contents match their SHA-256; {in_files} of them in files, {size} bytes"


def wrong_bytes(connection: Connection, files: CheckpointFiles, progress: Progress) -> Iterator[str]:
    """What is wrong with the bytes of all checkpoints, one sentence each: all of them are read."""
    for sha256 in wrong_hashes(connection):
        yield f"the bytes {sha256} in the database are damaged"
    recorded = file_paths(connection)
    progress.start(file_totals(connection)[1], "B")
    try:
        for blob in find_blobs(connection):
            if blob.in_file:
                yield from _wrong_file(files, blob, recorded.get(blob.sha256))
                progress.advance(blob.size_bytes, blob.sha256[:8])
    finally:
        progress.finish()
    for checkpoint_id, path, size in foreign_files(connection):
        found = file_size(Path(path))
        if found is None or (size is not None and found != size):
            yield f"checkpoint {checkpoint_id}: {path} is not there, or of another size"


def _wrong_file(files: CheckpointFiles, blob: StoredBlob, recorded: str | None) -> Iterator[str]:
    path = files.find(blob.sha256, blob.size_bytes, recorded)
    if path is None:
        where = recorded or files.path_of(blob.sha256)
        yield f"the file {where} is not there, or of another size"
    elif not files.is_sound(path, blob.sha256, blob.size_bytes):
        yield f"the file {path} is damaged"

"""The bytes of checkpoints: in the database, or known to lie in a file.

Whoever calls this holds `lock_checkpoints`: what is found here must not go before it is needed.
Works inside the caller's transaction and commits nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, delete, func, select
from sqlalchemy.dialects.postgresql import insert as upsert

from sgdb.database.models import Blob, ModelCheckpoint

PIECE = 1 << 20  # bytes read at a time


class StoredBlob(NamedTuple):
    """A blobs row; `in_file` where the bytes lie in the folder of checkpoints."""

    sha256: str
    size_bytes: int
    in_file: bool


_COLUMNS = (Blob.sha256, Blob.size_bytes, Blob.data.is_(None))


def find_blob(connection: Connection, sha256: str) -> StoredBlob | None:
    """What is known of the bytes with this hash."""
    row = connection.execute(select(*_COLUMNS).where(Blob.sha256 == sha256)).first()
    return StoredBlob._make(row) if row else None


def add_blob(connection: Connection, sha256: str, size_bytes: int, data: bytes | None) -> None:
    """Adds bytes; without `data` they lie in a file. What is there already stays as it is."""
    connection.execute(
        upsert(Blob).values(sha256=sha256, size_bytes=size_bytes, data=data).on_conflict_do_nothing()
    )


def read_blob(connection: Connection, blob: StoredBlob) -> Iterator[bytes]:
    """The bytes that the database has, in pieces; fewer than they should be if the row has gone."""
    yield from _pieces(connection, Blob.data, Blob.sha256 == blob.sha256, blob.size_bytes)


def read_own_bytes(connection: Connection, checkpoint_id: int, column: Any, size: int) -> Iterator[bytes]:
    """The same of a checkpoint's own column, `model_weights` or `optimizer_state`."""
    yield from _pieces(connection, column, ModelCheckpoint.id == checkpoint_id, size)


def _pieces(connection: Connection, column: Any, where: Any, size: int) -> Iterator[bytes]:
    for at in range(0, size, PIECE):
        query = select(func.substring(column, at + 1, PIECE)).where(where)
        yield bytes(connection.execute(query).scalar() or b"")


def find_blobs(connection: Connection) -> Iterator[StoredBlob]:
    """All of them, by hash."""
    query = select(*_COLUMNS).order_by(Blob.sha256)
    for row in connection.execute(query, execution_options={"yield_per": 1000}):
        yield StoredBlob._make(row)


def file_totals(connection: Connection) -> tuple[int, int]:
    """How many contents lie in files, and their bytes."""
    query = select(func.count(), func.coalesce(func.sum(Blob.size_bytes), 0)).where(Blob.data.is_(None))
    count, size = connection.execute(query).one()
    return int(count), int(size)


def remove_unused(connection: Connection, among: Collection[str] | None = None) -> list[StoredBlob]:
    """Removes those that no checkpoint names, all or only those `among` these hashes, and returns them."""
    gone = delete(Blob).where(_is_unused()).returning(*_COLUMNS)
    if among is not None:
        gone = gone.where(Blob.sha256.in_(list(among)))
    return [StoredBlob._make(row) for row in connection.execute(gone)]


def _is_unused() -> Any:
    return and_(
        *(
            ~select(ModelCheckpoint.id).where(needed == Blob.sha256).exists()
            for needed in (ModelCheckpoint.weights_sha256, ModelCheckpoint.optimizer_sha256)
        )
    )


def is_sound_blob(connection: Connection, sha256: str) -> bool:
    """Whether the bytes in the database have this hash. The server reads them."""
    real = func.encode(func.sha256(Blob.data), "hex")
    query = select(real == Blob.sha256).where(Blob.sha256 == sha256)
    return connection.execute(query).scalar() is True


def wrong_hashes(connection: Connection) -> list[str]:
    """The hashes of those whose bytes in the database have another one. Reads them all, on the server."""
    real = func.encode(func.sha256(Blob.data), "hex")
    query = select(Blob.sha256).where(Blob.data.is_not(None), real != Blob.sha256).order_by(Blob.sha256)
    return list(connection.execute(query).scalars())

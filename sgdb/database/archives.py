"""Stored originals: each pickle's bytes as they were read, compressed, in pieces, once per content.

The pieces in order are one zlib stream (RFC 1950). A piece is small enough to be handled as one value,
so neither storing nor fetching needs memory in proportion to the file.
"""

from __future__ import annotations

import hashlib
import tempfile
import zlib
from typing import IO, BinaryIO, NamedTuple

from sqlalchemy import Connection, insert, select

from sgdb.database.ids import IdSource
from sgdb.database.models import Archive, ArchiveChunk
from sgdb.errors import ArchiveError, DiskFullError

_CHUNK = 1 << 20  # bytes of compressed data in a row
_IN_MEMORY = 1 << 23  # compressed bytes kept in memory before a temporary file is used
_LEVEL = 4  # half a file's size more is saved by 9, at eight times the time


class Spool:
    """Compresses bytes as they come, beside the reading of a file and before any transaction."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)
        self._compressor = zlib.compressobj(_LEVEL)

    def restart(self) -> None:
        """Forgets everything."""
        self._file.seek(0)
        self._file.truncate()
        self._compressor = zlib.compressobj(_LEVEL)

    def write(self, data: bytes, /) -> None:
        """The next bytes. Raises DiskFullError when the temporary folder is full."""
        self._put(self._compressor.compress(data))

    def finish(self) -> IO[bytes]:
        """The compressed bytes, from the beginning."""
        self._put(self._compressor.flush())
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        """Gives memory or the temporary file back."""
        self._file.close()

    def _put(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise DiskFullError(
                f"cannot keep the compressed original: {error.strerror}",
                hint="make room in the temporary folder, or set TMPDIR to another, then run the command again",
            ) from error


class ArchiveInfo(NamedTuple):
    """An archive without its bytes."""

    id: int
    sha256: str
    size_bytes: int


def find_archive(connection: Connection, sha256: str) -> int | None:
    """The id of the archive of this content."""
    return connection.execute(select(Archive.id).where(Archive.sha256 == sha256)).scalar()


def store_archive(connection: Connection, ids: IdSource, spool: Spool, sha256: str, size: int) -> int:
    """Stores a finished spool unless its content is stored already; returns the archive's id."""
    found = find_archive(connection, sha256)
    if found is not None:
        return found
    (archive_id,) = ids.take(connection, "archives", 1)
    file = spool.finish()
    stored = file.seek(0, 2)
    file.seek(0)
    connection.execute(
        insert(Archive).values(
            id=archive_id, sha256=sha256, size_bytes=size, compression="zlib", stored_bytes=stored
        )
    )
    index = 0
    while data := file.read(_CHUNK):
        connection.execute(insert(ArchiveChunk).values(archive_id=archive_id, chunk_index=index, data=data))
        index += 1
    return archive_id


def write_archive(connection: Connection, archive_id: int, out: BinaryIO) -> ArchiveInfo:
    """Writes the original bytes to `out`.

    Raises ArchiveError when they are not, to the byte, what was stored; `out` is then worthless.
    """
    row = connection.execute(
        select(Archive.sha256, Archive.size_bytes, Archive.compression).where(Archive.id == archive_id)
    ).one()
    if row.compression != "zlib":
        raise ArchiveError(
            f"archive {archive_id} is compressed with {row.compression}, which this sgdb does not know"
        )
    digest, size, expander = hashlib.sha256(), 0, zlib.decompressobj()
    index = 0
    try:
        while True:
            data = connection.execute(
                select(ArchiveChunk.data).where(
                    ArchiveChunk.archive_id == archive_id, ArchiveChunk.chunk_index == index
                )
            ).scalar()
            if data is None:
                break
            index += 1
            pending = bytes(data)
            while pending:
                plain = expander.decompress(pending, _CHUNK)
                pending = expander.unconsumed_tail
                size += len(plain)
                if size > row.size_bytes:
                    raise ArchiveError(f"archive {archive_id} holds more than its {row.size_bytes} bytes")
                digest.update(plain)
                out.write(plain)
        plain = expander.flush()
    except zlib.error as error:
        raise ArchiveError(f"archive {archive_id} is damaged: {error}") from error
    digest.update(plain)
    out.write(plain)
    size += len(plain)
    if size != row.size_bytes or digest.hexdigest() != row.sha256:
        raise ArchiveError(
            f"archive {archive_id} is damaged: its bytes are not those with SHA-256 {row.sha256}"
        )
    return ArchiveInfo(archive_id, row.sha256, size)

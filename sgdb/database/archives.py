"""Stored originals: each pickle's bytes as they were read, compressed, in pieces, once per content.

The pieces in order are one zlib stream (RFC 1950). A piece is small enough to be handled as one value,
so neither storing nor fetching needs memory in proportion to the file.
"""

from __future__ import annotations

import hashlib
import tempfile
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import IO, Protocol

from sqlalchemy import Connection, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert

from sgdb.database.ids import IdSource
from sgdb.database.models import Archive, ArchiveChunk
from sgdb.errors import ArchiveError, DiskFullError

_CHUNK = 1 << 18  # bytes of compressed data in a row; while one is sent it takes several times that
_PLAIN = 1 << 20  # bytes of plain data at a time
_IN_MEMORY = 1 << 20  # compressed bytes kept in memory before a temporary file is used
_LEVEL = 4  # half a file's size more is saved by 9, at eight times the time


class Spool:
    """Compresses bytes as they come, beside the reading of a file and before any transaction.

    In a thread, since zlib lets others go on meanwhile. At most one piece waits for it, so memory stays flat.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sgdb-compress")
        self._pending: Future[None] | None = None
        self._begin()

    def _begin(self) -> None:
        self._compressor = zlib.compressobj(_LEVEL)
        self._is_finished = False

    def restart(self) -> None:
        """Forgets everything."""
        self._wait()
        self._file.seek(0)
        self._file.truncate()
        self._begin()

    def write(self, data: bytes, /) -> None:
        """The next bytes. Raises DiskFullError, at the next call at the latest, when the temporary folder is
        full."""
        self._wait()
        self._pending = self._thread.submit(self._compress, data)

    def _compress(self, data: bytes) -> None:
        with _disk_errors():
            self._file.write(self._compressor.compress(data))

    def _wait(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def finish(self) -> IO[bytes]:
        """The compressed bytes, from the beginning, as often as they are asked for; nothing can follow."""
        self._wait()
        with _disk_errors():
            if not self._is_finished:
                self._file.write(self._compressor.flush())
                self._is_finished = True
            self._file.seek(0)  # which writes what a buffer still holds
        return self._file

    def close(self) -> None:
        """Gives memory or the temporary file back."""
        self._thread.shutdown()
        with suppress(OSError):  # a full disk has been told of by then, or nobody wants the bytes any more
            self._file.close()


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskFullError(
            f"cannot keep the compressed original: {error.strerror}",
            hint="make room in the temporary folder, or set TMPDIR to another, and run the command again",
        ) from error


def store_archive(connection: Connection, ids: IdSource, spool: Spool, sha256: str, size: int) -> int:
    """Stores what a spool was given, unless its content is stored already; returns the archive's id."""
    find = select(Archive.id).where(Archive.sha256 == sha256)
    found = connection.execute(find).scalar()
    if found is not None:
        return found
    (archive_id,) = ids.take(connection, "archives", 1)
    file = spool.finish()
    stored = file.seek(0, 2)
    file.seek(0)
    made = connection.execute(
        upsert(Archive)
        .values(id=archive_id, sha256=sha256, size_bytes=size, compression="zlib", stored_bytes=stored)
        .on_conflict_do_nothing(index_elements=["sha256"])
    )
    if not made.rowcount:  # another command has stored it meanwhile, for another set
        return connection.execute(find).scalar_one()
    index = 0
    while data := file.read(_CHUNK):
        connection.execute(insert(ArchiveChunk).values(archive_id=archive_id, chunk_index=index, data=data))
        index += 1
    return archive_id


class ArchiveStream:
    """An original's bytes, decompressed while they are read.

    Raises ArchiveError, at the latest instead of the end of the file, when they are not, to the byte,
    what was stored: until then nothing that has been read can be relied on.
    """

    def __init__(self, connection: Connection, archive_id: int) -> None:
        self._connection = connection
        self._id = archive_id
        row = connection.execute(
            select(Archive.sha256, Archive.size_bytes, Archive.compression).where(Archive.id == archive_id)
        ).one()
        if row.compression != "zlib":
            raise ArchiveError(
                f"archive {archive_id} is compressed with {row.compression}, which this sgdb does not know"
            )
        self._sha256, self._size = row.sha256, row.size_bytes
        self._hash = hashlib.sha256()
        self._expander = zlib.decompressobj()
        self._pending = b""
        self._next_chunk = 0
        self._seen = 0
        self._ended = False

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, at least 1 before the end."""
        while not self._ended:
            plain = self._expand(size)
            self._seen += len(plain)
            if self._seen > self._size:
                raise self._damaged(f"it holds more than {self._size} bytes")
            self._hash.update(plain)
            if self._ended and (self._seen, self._hash.hexdigest()) != (self._size, self._sha256):
                raise self._damaged(f"its bytes are not those with SHA-256 {self._sha256}")
            if plain:
                return plain
        return b""

    def _expand(self, size: int) -> bytes:
        """The next bytes, maybe none; notices the end."""
        if not self._pending:
            chunk = self._chunk()
            if chunk is None:
                self._ended = True
                rest = self._expander.flush()
                if not self._expander.eof:
                    raise self._damaged("its end is missing")
                return rest
            self._pending = chunk
        try:
            plain = self._expander.decompress(self._pending, size)
        except zlib.error as error:
            raise self._damaged(str(error)) from error
        if self._expander.unused_data:
            raise self._damaged("there is more after its end")
        self._pending = self._expander.unconsumed_tail
        return plain

    def _chunk(self) -> bytes | None:
        data = self._connection.execute(
            select(ArchiveChunk.data).where(
                ArchiveChunk.archive_id == self._id, ArchiveChunk.chunk_index == self._next_chunk
            )
        ).scalar()
        self._next_chunk += 1
        return None if data is None else bytes(data)

    def _damaged(self, what: str) -> ArchiveError:
        return ArchiveError(
            f"archive {self._id} is damaged: {what}",
            hint="if you still have the file, migrate it again into a fresh database",
        )


class _Sink(Protocol):
    def write(self, data: bytes, /) -> object:
        """Takes the next bytes."""


def write_archive(connection: Connection, archive_id: int, out: _Sink) -> None:
    """Writes the original bytes to `out`.

    Raises ArchiveError when they are not, to the byte, what was stored; `out` is then worthless.
    """
    stream = ArchiveStream(connection, archive_id)
    while data := stream.read(_PLAIN):
        out.write(data)


def check_archive(connection: Connection, archive_id: int) -> None:
    """Reads an archive to its end. Raises ArchiveError."""
    stream = ArchiveStream(connection, archive_id)
    while stream.read(_PLAIN):
        pass

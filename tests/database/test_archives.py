"""Stored originals: to the byte, once a content, in pieces. Damage is tested with `sgdb verify`."""

from __future__ import annotations

import hashlib
import io
import random
import resource
from pathlib import Path

import pytest
from sqlalchemy import Engine

from sgdb.database import archives
from sgdb.database.archives import ArchiveStream, Spool, check_archive, store_archive, write_archive
from sgdb.database.engine import transaction
from sgdb.database.ids import SequenceIds
from sgdb.errors import ArchiveError, DiskFullError
from tests.steps import ask, count, database_state, tamper

NOISE = random.Random(1).randbytes(3_000_000)


def _store(engine: Engine, content: bytes) -> int:
    spool = Spool()
    spool.write(b"something else before the restart")
    spool.restart()
    for start in range(0, len(content), 700_001):
        spool.write(content[start : start + 700_001])
    with transaction(engine) as connection:
        digest = hashlib.sha256(content).hexdigest()
        archive_id = store_archive(connection, SequenceIds(), spool, digest, len(content))
    spool.close()
    return archive_id


@pytest.mark.parametrize(
    "content", [b"", b"x", NOISE, bytes(20_000_000)], ids=["empty", "1", "noise", "zeros"]
)
def test_bytes_come_back_as_they_were(engine: Engine, content: bytes) -> None:
    """Nothing, what does not compress, and what compresses a thousandfold."""
    archive_id = _store(engine, content)
    out = io.BytesIO()
    with transaction(engine, read_only=True) as connection:
        write_archive(connection, archive_id, out)
        check_archive(connection, archive_id)
    assert out.getvalue() == content
    query = "SELECT size_bytes, stored_bytes = (SELECT sum(length(data)) FROM archive_chunks) FROM archives"
    assert ask(engine, query) == [(len(content), True)]


def test_a_content_is_stored_once(engine: Engine) -> None:
    """The second time nothing is written and no key is drawn."""
    first = _store(engine, NOISE)
    state = database_state(engine)
    assert _store(engine, NOISE) == first
    assert database_state(engine) == state


def test_pieces_are_small(engine: Engine) -> None:
    """A value never has more than a quarter of a mebibyte, and a reader never gets more than it asks for."""
    archive_id = _store(engine, NOISE)
    assert count(engine, "archive_chunks WHERE length(data) > 262144") == 0
    assert count(engine, "archive_chunks WHERE length(data) < 262144") == 1
    with transaction(engine, read_only=True) as connection:
        stream = ArchiveStream(connection, archive_id)
        parts = list(iter(lambda: stream.read(99_999), b""))
        assert stream.read(1) == b""
    assert max(map(len, parts)) == 99_999
    assert b"".join(parts) == NOISE


def test_an_archive_that_expands_beyond_its_size_is_stopped(engine: Engine) -> None:
    """However much a forged piece would make of it."""
    archive_id = _store(engine, bytes(20_000_000))
    tamper(engine, "UPDATE archives SET size_bytes = 1000")
    with transaction(engine, read_only=True) as connection:
        stream = ArchiveStream(connection, archive_id)
        with pytest.raises(ArchiveError, match="more than 1000 bytes"):
            stream.read(1 << 20)


def test_a_full_temporary_folder_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The spool outgrows memory and cannot go to disk: DiskFullError with what to do."""
    monkeypatch.setattr(archives, "_IN_MEMORY", 1000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "not there"))
    spool = Spool()
    with pytest.raises(DiskFullError) as caught:
        spool.write(NOISE)
        spool.finish()
    assert "TMPDIR" in (caught.value.hint or "")
    spool.close()


@pytest.mark.parametrize("missing", [1, 100, 10_000])
def test_a_temporary_folder_that_fills_up(monkeypatch: pytest.MonkeyPatch, missing: int) -> None:
    """However late, at the last buffered byte even: DiskFullError, and closing it adds nothing to that."""
    monkeypatch.setattr(archives, "_IN_MEMORY", 1000)
    content = random.Random(1).randbytes(50_000)  # does not compress
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    spool = Spool()
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000 - missing, hard))
    try:
        with pytest.raises(DiskFullError, match="File too large"):
            for start in range(0, len(content), 4096):
                spool.write(content[start : start + 4096])
            spool.finish()
        spool.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_second_attempt_stores_the_same(engine: Engine) -> None:
    """A transaction that was given up has used the compressed bytes, and its successor needs them again."""
    spool = Spool()
    spool.write(NOISE)
    digest = hashlib.sha256(NOISE).hexdigest()
    for attempt in range(2):
        with transaction(engine) as connection:
            archive_id = store_archive(connection, SequenceIds(), spool, digest, len(NOISE))
            if attempt == 0:
                ours = connection.get_transaction()
                assert ours is not None
                ours.rollback()
    with transaction(engine, read_only=True) as connection:
        check_archive(connection, archive_id)
    spool.close()

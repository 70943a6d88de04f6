"""Manifests: read as they were written, and no other way."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from sgdb.database.manifest import (
    Dump,
    Manifest,
    Origin,
    SequencePosition,
    TableContent,
)
from sgdb.errors import BackupError

MANIFEST = Manifest(
    sgdb_version="1.2.3",
    server_version="18.4",
    pg_dump_version="18.4",
    schema_revision="0002",
    origin=Origin("ann@db:5432/spiele ♥", "spiele ♥", "7712178140365232540"),
    created_at=datetime(2026, 11, 25, 18, 12, 0, 250_000, UTC),
    why="asked",
    dump=Dump("0123456789abcdef" * 4, 2**40),
    tables={
        "games": TableContent(2**40, "0" * 32, ("id", "seed"), {"id": SequencePosition(2**63 - 1, True)}),
        "archive_chunks": TableContent(0, "f" * 32, ("data",), {}),
    },
)


@pytest.mark.parametrize("proven_at", [None, datetime(2026, 11, 25, 18, 12, 1, tzinfo=UTC)])
def test_what_is_written_is_read(proven_at: datetime | None) -> None:
    """Every field of it; a reader in any other language finds plain JSON."""
    manifest = replace(MANIFEST, proven_at=proven_at)
    raw = manifest.to_bytes()
    assert Manifest.from_bytes(raw) == manifest
    document = json.loads(raw)
    assert document["format"] == 1
    assert document["proven"] is (proven_at is not None)
    assert document["created_at"] == "2026-11-25T18:12:00.250000+00:00"
    assert document["dump"] == {"sha256": MANIFEST.dump.sha256, "size_bytes": 2**40}
    assert document["tables"]["games"]["sequences"] == {"id": {"last_value": 2**63 - 1, "is_called": True}}


def test_every_wrong_bit_is_found() -> None:
    """Each one of the file, as well as each byte that is missing or too many."""
    raw = MANIFEST.to_bytes()
    for at in range(8 * len(raw)):
        wrong = bytearray(raw)
        wrong[at // 8] ^= 1 << at % 8
        with pytest.raises(BackupError):
            Manifest.from_bytes(bytes(wrong))
    for length in range(len(raw)):
        with pytest.raises(BackupError):
            Manifest.from_bytes(raw[:length])
    for wrong_bytes in (raw + b"\n", b" " + raw, raw.replace(b"\n", b"\r\n"), raw.replace(b"  ", b" ")):
        with pytest.raises(BackupError):
            Manifest.from_bytes(wrong_bytes)


@pytest.mark.parametrize(
    "raw", [b"[]", b"{}", b"null", b"\xff", b"[" * 100_000, b'{"format": 1}', b"9" * 5000]
)
def test_what_is_no_manifest_is_refused(raw: bytes) -> None:
    """With the way out."""
    with pytest.raises(BackupError, match="damaged") as caught:
        Manifest.from_bytes(raw)
    assert "sgdb backup list" in str(caught.value.hint)


def test_a_manifest_of_a_later_program_is_no_damage() -> None:
    """It is said to need a newer sgdb."""
    with pytest.raises(BackupError, match="format 2") as caught:
        Manifest.from_bytes(b'{"format": 2, "whatever": [1]}')
    assert "pip install --upgrade" in str(caught.value.hint)


def test_times_have_a_zone_and_are_written_in_utc() -> None:
    """A time without one would mean something else on every machine."""
    elsewhere = MANIFEST.created_at.astimezone(timezone(timedelta(hours=9)))
    assert replace(MANIFEST, created_at=elsewhere).to_bytes() == MANIFEST.to_bytes()
    with pytest.raises(ValueError, match="no time zone"):
        replace(MANIFEST, created_at=datetime(2026, 1, 1)).to_bytes()  # noqa: DTZ001


def test_a_database_is_known_by_its_server_and_else_by_its_address() -> None:
    """The embedded server's address changes with its socket's folder; a hosted one hides its identifier."""
    one = Origin("server in /a", "sgdb", "1")
    assert one.is_same(Origin("server in /b", "sgdb", "1"))
    assert not one.is_same(Origin("server in /a", "sgdb", "2"))
    assert not one.is_same(Origin("server in /a", "other", "1"))
    assert one.is_same(Origin("server in /a", "sgdb", None))
    assert not one.is_same(Origin("server in /b", "sgdb", None))

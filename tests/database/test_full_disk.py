"""A lost connection to the embedded server, told as a full disk where its log says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from sgdb.database.full_disk import full_disk_named
from sgdb.errors import DatabaseUnreachableError, DiskFullError
from sgdb.settings import Settings, load_settings

PANIC = 'PANIC:  could not write to file "pg_wal/xlogtemp.7": No space left on device\n'


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log in which a disk was full, long ago."""
    path = tmp_path / "server.log"
    path.write_text(PANIC.replace("xlogtemp.7", "xlogtemp.1") + "LOG:  all is well again\n")
    return path


@pytest.fixture
def embedded(tmp_path: Path) -> Settings:
    """Settings of the embedded server with this log."""
    return load_settings({"home": tmp_path})


def test_what_the_log_has_said_meanwhile(embedded: Settings, log: Path) -> None:
    """The last such line is quoted, and the lost connection stays the cause."""
    with pytest.raises(DiskFullError, match=r"xlogtemp\.7") as caught, full_disk_named(embedded):
        log.write_text(log.read_text() + PANIC + "LOG:  terminating any other active server processes\n")
        raise DatabaseUnreachableError("lost")
    assert isinstance(caught.value.__cause__, DatabaseUnreachableError)
    assert str(embedded.home) in str(caught.value.hint)


def test_a_log_that_was_begun_anew(embedded: Settings, log: Path) -> None:
    """It is read from its beginning."""
    log.write_text(log.read_text() * 10)
    with pytest.raises(DiskFullError, match=r"xlogtemp\.7"), full_disk_named(embedded):
        log.write_text(PANIC)
        raise DatabaseUnreachableError("lost")


@pytest.mark.parametrize("meanwhile", ["LOG:  server process was terminated by signal 9\n", ""])
def test_what_the_log_said_before_does_not_count(embedded: Settings, log: Path, meanwhile: str) -> None:
    """Nor does anything else that is said; without a log there is nothing to go by."""
    with pytest.raises(DatabaseUnreachableError), full_disk_named(embedded):
        if meanwhile:
            log.write_text(log.read_text() + meanwhile)
        else:
            log.unlink()
        raise DatabaseUnreachableError("lost")


def test_another_servers_log_is_not_ours_to_read(tmp_path: Path, log: Path) -> None:
    """Whatever the embedded server says, it is not about the other one."""
    other = load_settings({"home": tmp_path, "database_url": "postgresql://ann@db.example/games"})
    with pytest.raises(DatabaseUnreachableError), full_disk_named(other):
        log.write_text(log.read_text() + PANIC)
        raise DatabaseUnreachableError("lost")

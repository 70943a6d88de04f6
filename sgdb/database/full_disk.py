"""Telling a full disk from a lost connection, where the embedded server's log can be read.

A server that finds no room for its transaction log goes down, and its clients learn only that it is gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sgdb.database.no_room import says_no_room
from sgdb.database.server import EmbeddedServer
from sgdb.errors import DatabaseUnreachableError, DiskFullError
from sgdb.settings import Settings

_READ_BYTES = 1 << 16  # of the end of the log


@contextmanager
def full_disk_named(settings: Settings) -> Iterator[None]:
    """When a connection to the embedded server is lost in this block and the server has meanwhile found its
    disk full, raises DiskFullError instead of DatabaseUnreachableError."""
    if settings.server_address is not None:
        yield
        return
    log = EmbeddedServer(settings.home).log_file
    begin = _size(log)
    try:
        yield
    except DatabaseUnreachableError as error:
        said = _complaint(log, begin)
        if said is None:
            raise
        raise DiskFullError(
            f"The embedded server's disk is full: {said}",
            hint=f"make room on the disk of {settings.home} and run the command again; "
            "what was not committed has been rolled back",
        ) from error


def _complaint(log: Path, begin: int) -> str | None:
    """The last line about a full disk that was written since the log had `begin` bytes."""
    size = _size(log)
    if size < begin:  # another one by now
        begin = 0
    try:
        with log.open("rb") as file:
            file.seek(max(begin, size - _READ_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return None
    return next((line for line in reversed(lines) if says_no_room(line)), None)


def _size(log: Path) -> int:
    try:
        return log.stat().st_size
    except OSError:
        return 0

"""What a running PostgreSQL leaves in its data folder about itself, and whether to believe it.

`postmaster.pid` outlives a server that was killed, and its pid may meanwhile belong to any other
process. So a pid counts only when that process is a `postgres` working in this very data folder.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

PID_FILE = "postmaster.pid"
SOCKET_NAME = ".s.PGSQL.{port}"


class Postmaster(NamedTuple):
    """The lines of `postmaster.pid`. The later ones are written while the server starts up."""

    pid: int
    data_folder: Path
    started_at: datetime | None
    port: int | None
    socket_folder: Path | None
    status: str

    @property
    def is_ready(self) -> bool:
        """Whether the server called itself ready for connections when it last wrote the file."""
        return self.status == "ready"


def read_postmaster(data_folder: Path) -> Postmaster | None:
    """The content of `postmaster.pid`, or None when there is none, or none that makes sense.

    Raises PermissionError when the data folder belongs to another user.
    """
    try:
        lines = (data_folder / PID_FILE).read_text("utf-8", "surrogateescape").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    lines += [""] * (8 - len(lines))
    try:
        # The pid of a stand-alone backend is written as a negative number.
        pid = abs(int(lines[0]))
        started = datetime.fromtimestamp(int(lines[2]), UTC) if lines[2] else None
        port = int(lines[3]) if lines[3] else None
    except ValueError:
        return None
    socket_folder = Path(lines[4]) if lines[4] else None
    return Postmaster(pid, Path(lines[1]), started, port, socket_folder, lines[7].strip())


def accepts_connections(postmaster: Postmaster, data_folder: Path) -> bool:
    """Whether the server of this data folder is up: two small reads and a connect, no process list."""
    if not postmaster.is_ready or postmaster.socket_folder is None:
        return False
    # A data folder copied while its server ran brings along a file that speaks of the original.
    with suppress(OSError):
        if postmaster.data_folder.samefile(data_folder):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.settimeout(5)
                probe.connect(str(postmaster.socket_folder / SOCKET_NAME.format(port=postmaster.port)))
                return True
    return False


def is_postgres_of(pid: int, data_folder: Path) -> bool:
    """Whether process `pid` lives and is known to be a PostgreSQL process of this data folder."""
    return _identify(pid, data_folder) is True


def remove_recycled_locks(data_folder: Path, socket_folder: Path) -> None:
    """Removes lock files whose pid now belongs to a stranger; PostgreSQL itself only sees it alive.

    A lock file with a dead pid is left: PostgreSQL handles that one, and reads in it which shared memory
    to look after. So is one whose process may not be looked at: it is another user's, and PostgreSQL
    ignores those. Call it only while holding the server's lock.
    """
    for path in (data_folder / PID_FILE, *socket_folder.glob(f"{SOCKET_NAME.format(port='*')}.lock")):
        with suppress(OSError, ValueError, IndexError):
            pid = abs(int(path.read_text("utf-8", "replace").splitlines()[0]))
            if _is_alive(pid) and _identify(pid, data_folder) is False:
                path.unlink()


def _is_alive(pid: int) -> bool:
    import psutil  # type: ignore[import-untyped]  # slow to import, and a running server is found without it

    return bool(psutil.pid_exists(pid))


def _identify(pid: int, data_folder: Path) -> bool | None:
    """Whether the process is PostgreSQL at work in the folder; None when the system does not tell."""
    import psutil

    try:
        process = psutil.Process(pid)
        return (
            process.status() != psutil.STATUS_ZOMBIE
            and process.name().startswith("postgres")
            and Path(process.cwd()).samefile(data_folder)
        )
    except psutil.AccessDenied:
        return None
    except (psutil.Error, OSError, ValueError):
        return False

"""`sgdb server`: the embedded PostgreSQL, started, stopped and looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sgdb.database.server import EmbeddedServer, ServerStatus
from sgdb.errors import UsageError
from sgdb.progress import Progress, Silent
from sgdb.settings import Settings


class ServerAction(StrEnum):
    """What to do with the server."""

    START = "start"
    STOP = "stop"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class ServerResult:
    """The server as it is now, and whether the action changed that."""

    status: ServerStatus
    exists: bool
    changed: bool

    def to_json(self) -> dict[str, Any]:
        """The command's JSON document."""
        status = self.status
        return {
            "running": status.running,
            "exists": self.exists,
            "changed": self.changed,
            "pid": status.pid,
            "version": status.version,
            "data_folder": str(status.data_folder),
            "socket_folder": None if status.socket_folder is None else str(status.socket_folder),
            "log_file": str(status.log_file),
            "started_at": None if status.started_at is None else status.started_at.isoformat(),
        }


def server(action: ServerAction, settings: Settings, progress: Progress | None = None) -> ServerResult:
    """Starts or stops the embedded server, or only looks (which starts and creates nothing).

    Raises UsageError when the settings name a server of the user's own, and ServerError.
    """
    progress = progress or Silent()
    if settings.server_address is not None:
        raise UsageError(
            "the settings name a server of your own, which sgdb neither starts nor stops",
            hint="see it with `sgdb status`; unset SGDB_DATABASE_URL to use the embedded server",
        )
    embedded = EmbeddedServer(settings.home)
    changed = False
    if action is ServerAction.START:
        changed = not embedded.status().running
        try:
            embedded.start()
        finally:
            for notice in embedded.notices:
                progress.notice(notice)
    elif action is ServerAction.STOP:
        changed = embedded.stop()
    status = embedded.status()
    # An empty folder counts as none: the server would be set up in it.
    exists = status.running or embedded.is_set_up
    return ServerResult(status, exists, changed)

"""`sgdb sessions`: trainings, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sgdb.database.access import ready_engine
from sgdb.database.checkpoints import StoredCheckpoint, find_checkpoints
from sgdb.database.engine import transaction
from sgdb.database.sessions import STATUSES, StoredSession, find_sessions, get_session
from sgdb.errors import UsageError
from sgdb.progress import Progress, Silent
from sgdb.settings import Settings


@dataclass(frozen=True, slots=True)
class SessionsOptions:
    """Only sessions of this bot, and of this status, where given."""

    bot: str | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True)
class SessionResult:
    """One session and its checkpoints, by epoch."""

    session: StoredSession
    checkpoints: list[StoredCheckpoint]

    def to_json(self) -> dict[str, Any]:
        """The command's JSON document."""
        session = self.session
        return session.to_json() | {
            "hyperparameters": session.hyperparameters,
            "final_metrics": session.final_metrics,
            "metadata": session.metadata,
            "epochs": [checkpoint.to_json() for checkpoint in self.checkpoints],
        }


def list_sessions(
    options: SessionsOptions, settings: Settings, progress: Progress | None = None
) -> list[StoredSession]:
    """The sessions, newest first. Raises UsageError for an unknown status."""
    if options.status is not None and options.status not in STATUSES:
        raise UsageError(f"there is no status {options.status!a}", hint=f"take one of {', '.join(STATUSES)}")
    notice = (progress or Silent()).notice
    with ready_engine(settings, notice) as engine, transaction(engine, read_only=True) as connection:
        return find_sessions(connection, bot=options.bot, status=options.status)


def show_session(named: str, settings: Settings, progress: Progress | None = None) -> SessionResult:
    """The session that is named by id, uid or name. Raises NotFoundError, and UsageError when several are."""
    notice = (progress or Silent()).notice
    with ready_engine(settings, notice) as engine, transaction(engine, read_only=True) as connection:
        session = get_session(connection, named)
        return SessionResult(session, find_checkpoints(connection, session_id=session.id))

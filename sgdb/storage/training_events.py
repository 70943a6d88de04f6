"""What a training says of itself, and how each of it is written into the database.

An event can be written again after it is unknown whether that took place: the second time changes nothing.
So it may be tried as often as it takes, and travel through a note on disk in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, ClassVar, Protocol, Self
from uuid import UUID

from sgdb.database.checkpoints import (
    NewCheckpoint,
    Outcome,
    find_epoch,
    make_checkpoint_bot,
    record_conflict,
)
from sgdb.database.locks import lock_checkpoints
from sgdb.database.sessions import NewSession, beat, end_session, ensure_session, resume_session
from sgdb.errors import NotFoundError
from sgdb.records import GameConfig
from sgdb.storage.checkpoint_saving import Destination, save_checkpoint
from sgdb.storage.contents import Contents


class Event(Protocol):
    """One thing that a training says."""

    kind: ClassVar[str]

    @property
    def contents(self) -> dict[str, Contents]:
        """The bytes that belong to it, by name."""

    def write(self, to: Destination, session_id: int) -> str | None:
        """Writes it down; returns what is to be told about it, in words."""

    def to_json(self) -> dict[str, Any]:
        """Everything but the bytes, as plain JSON."""

    @classmethod
    def from_json(cls, document: dict[str, Any], contents: Mapping[str, Contents]) -> Self:
        """The event of which `to_json` and `contents` told."""


@dataclass(frozen=True, slots=True)
class Begun:
    """The training is at work, for the first time or again. `begun_at` is ISO 8601."""

    kind: ClassVar[str] = "begun"
    begun_at: str

    @property
    def contents(self) -> dict[str, Contents]:
        """None."""
        return {}

    def write(self, to: Destination, session_id: int) -> str | None:
        """The session runs, unless it has ended since."""
        resume_session(to.connection, session_id, datetime.fromisoformat(self.begun_at))
        return None

    def to_json(self) -> dict[str, Any]:
        """All there is to it."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any], contents: Mapping[str, Contents]) -> Self:
        """As `Event`."""
        del contents
        return cls(**document)


@dataclass(frozen=True, slots=True)
class Logged:
    """A checkpoint after one epoch. `metrics` are in the form that is stored; `logged_at` is ISO 8601."""

    kind: ClassVar[str] = "checkpoint"
    epoch: int
    weights: Contents | None
    optimizer: Contents | None
    metrics: dict[str, Any] | None
    logged_at: str

    @property
    def contents(self) -> dict[str, Contents]:
        """Weights and the state of the optimizer, as far as they were given."""
        given = {"weights": self.weights, "optimizer": self.optimizer}
        return {name: contents for name, contents in given.items() if contents is not None}

    def write(self, to: Destination, session_id: int) -> str | None:
        """Adds the checkpoint; of another one for the same epoch a note is made beside the stored one."""
        new = NewCheckpoint(
            session_id,
            self.epoch,
            self.weights.sha256 if self.weights else None,
            self.optimizer.sha256 if self.optimizer else None,
            self.metrics,
            {"logged_at": self.logged_at},
        )
        outcome, other = save_checkpoint(to, new, list(self.contents.values()))
        beat(to.connection, session_id)
        if outcome is not Outcome.CONFLICT:
            return None
        record_conflict(to.connection, new)
        return (
            f"epoch {self.epoch} was logged before with other {other}; the first one stands, "
            "and the second is recorded beside it"
        )

    def to_json(self) -> dict[str, Any]:
        """Epoch, metrics and time."""
        return {"epoch": self.epoch, "metrics": self.metrics, "logged_at": self.logged_at}

    @classmethod
    def from_json(cls, document: dict[str, Any], contents: Mapping[str, Contents]) -> Self:
        """As `Event`."""
        return cls(
            document["epoch"],
            contents.get("weights"),
            contents.get("optimizer"),
            document["metrics"],
            document["logged_at"],
        )


@dataclass(frozen=True, slots=True)
class Ended:
    """The training is over. `ended_at` is ISO 8601; `error` is what ended it, in words."""

    kind: ClassVar[str] = "ended"
    status: str
    ended_at: str
    final_metrics: dict[str, Any] | None = None
    error: str | None = None

    @property
    def contents(self) -> dict[str, Contents]:
        """None."""
        return {}

    def write(self, to: Destination, session_id: int) -> str | None:
        """The session has ended."""
        ended_at = datetime.fromisoformat(self.ended_at)
        end_session(to.connection, session_id, self.status, ended_at, self.final_metrics, self.error)
        return None

    def to_json(self) -> dict[str, Any]:
        """All there is to it."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any], contents: Mapping[str, Contents]) -> Self:
        """As `Event`."""
        del contents
        return cls(**document)


@dataclass(frozen=True, slots=True)
class Named:
    """A bot is the agent as of one epoch."""

    kind: ClassVar[str] = "bot"
    bot: str
    epoch: int
    bot_type: str | None
    version: str | None

    @property
    def contents(self) -> dict[str, Contents]:
        """None."""
        return {}

    def write(self, to: Destination, session_id: int) -> str | None:
        """Makes the bot, or ties one that is there to the checkpoint. Raises NotFoundError."""
        lock_checkpoints(to.connection, timeout=to.lock_timeout)
        checkpoint_id = find_epoch(to.connection, session_id, self.epoch)
        if checkpoint_id is None:
            raise NotFoundError(f"epoch {self.epoch} has no checkpoint that {self.bot!a} could be")
        make_checkpoint_bot(to.connection, checkpoint_id, self.bot, self.bot_type, self.version)
        return None

    def to_json(self) -> dict[str, Any]:
        """All there is to it."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any], contents: Mapping[str, Contents]) -> Self:
        """As `Event`."""
        del contents
        return cls(**document)


EVENTS: dict[str, type[Event]] = {event.kind: event for event in (Begun, Logged, Ended, Named)}


def write_event(to: Destination, session: NewSession, event: Event) -> str | None:
    """Writes an event of a session, which is made if it is not there; returns what is to be told."""
    return event.write(to, ensure_session(to.connection, session))


def session_to_json(session: NewSession) -> dict[str, Any]:
    """A session as plain JSON."""
    return asdict(session) | {"uid": str(session.uid), "started_at": session.started_at.isoformat()}


def session_from_json(document: dict[str, Any]) -> NewSession:
    """The session of which `session_to_json` told."""
    config = document["config"]
    return NewSession(
        **{
            **document,
            "uid": UUID(document["uid"]),
            "started_at": datetime.fromisoformat(document["started_at"]),
            "config": None if config is None else GameConfig(**config),
        }
    )

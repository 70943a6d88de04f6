"""Training sessions: beginning, going on, ending, and finding them again.

A session is known by the `uid` that the program gave it, so that each statement here may be made again after
it is unknown whether it took place. Works inside the caller's transaction and commits nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Numeric, case, cast, func, literal_column, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert

from sgdb.database.ids import SequenceIds
from sgdb.database.models import Bot, GameConfigRow, ModelCheckpoint, TrainingSession
from sgdb.database.sets import describe_bot, find_or_make_config
from sgdb.errors import NotFoundError, UsageError
from sgdb.records import GameConfig

RUNNING = "running"
STALE = "stale"
ENDED = ("completed", "failed", "interrupted")
STATUSES = (RUNNING, STALE, *ENDED)
INTERVAL = "heartbeat_seconds"  # in a session's metadata: how often its program gives a sign of life
# A sign of life may come late: a busy machine, a slow network, a database that was away for a moment.
_MISSED = 4  # signs
_PATIENCE = 60.0  # seconds, at least
_SHOWN = 5  # sessions named in a message


@dataclass(frozen=True, slots=True)
class NewSession:
    """A training as its program describes it. `hyperparameters` and `metadata` are in the JSON form that is
    stored; `started_at` has a time zone."""

    uid: UUID
    bot: str
    name: str | None
    hyperparameters: dict[str, Any]
    started_at: datetime
    config: GameConfig | None = None
    bot_type: str | None = None
    version: str | None = None
    metadata: dict[str, Any] | None = None


class StoredSession(NamedTuple):
    """A training_sessions row with its bot and config, and what its checkpoints come to. `status` is as
    people see it: a session that runs and gives no sign of life any more is "stale"."""

    id: int
    uid: UUID
    name: str | None
    bot: str
    status: str
    config: GameConfig | None
    started_at: datetime
    ended_at: datetime | None
    heartbeat_at: datetime | None
    hyperparameters: dict[str, Any]
    final_metrics: dict[str, Any] | None
    metadata: dict[str, Any] | None
    checkpoints: int
    last_epoch: int | None

    def to_json(self) -> dict[str, Any]:
        """The session as commands print it, without its longer parts."""
        return {
            "id": self.id,
            "uid": str(self.uid),
            "name": self.name,
            "bot": self.bot,
            "status": self.status,
            "config": None if self.config is None else asdict(self.config),
            "started_at": self.started_at.isoformat(timespec="seconds"),
            "ended_at": self.ended_at and self.ended_at.isoformat(timespec="seconds"),
            "heartbeat_at": self.heartbeat_at and self.heartbeat_at.isoformat(timespec="seconds"),
            "checkpoints": self.checkpoints,
            "last_epoch": self.last_epoch,
        }


def ensure_session(connection: Connection, new: NewSession, source_file_id: int | None = None) -> int:
    """The id of the session with this `uid`, which is made if it is not there; its bot and config likewise.

    What is stored of a session, bot or config that is there already stays. Raises ConflictError.
    """
    find = select(TrainingSession.id).where(TrainingSession.uid == new.uid)
    found = connection.execute(find).scalar()
    if found is not None:
        return found
    config_id = None
    if new.config is not None:
        config_id = find_or_make_config(connection, SequenceIds(), new.config, source_file_id)
    made = connection.execute(
        upsert(TrainingSession)
        .values(
            uid=new.uid,
            bot_id=_bot_id(connection, new, source_file_id),
            name=new.name,
            hyperparameters=new.hyperparameters,
            config_id=config_id,
            start_time=new.started_at,
            heartbeat_at=func.clock_timestamp(),
            metadata_=new.metadata,
            source_file_id=source_file_id,
        )
        .on_conflict_do_nothing(index_elements=["uid"])
        .returning(TrainingSession.id)
    ).scalar()
    return connection.execute(find).scalar_one() if made is None else made


def _bot_id(connection: Connection, new: NewSession, source_file_id: int | None) -> int:
    find = select(Bot.id).where(Bot.name == new.bot)
    found = connection.execute(find).scalar()
    if found is not None:
        return found
    bot_type, metadata = describe_bot(new.bot)
    values: dict[str, Any] = {
        "name": new.bot,
        "bot_type": new.bot_type or bot_type,
        "metadata_": metadata,
        "source_file_id": source_file_id,
    }
    if new.version is not None:
        values["version"] = new.version
    connection.execute(upsert(Bot).values(values).on_conflict_do_nothing(index_elements=["name"]))
    return connection.execute(find).scalar_one()


def beat(connection: Connection, session_id: int) -> None:
    """Gives a sign of life of a session, by the server's clock."""
    connection.execute(
        update(TrainingSession)
        .where(TrainingSession.id == session_id)
        .values(heartbeat_at=func.clock_timestamp())
    )


def resume_session(connection: Connection, session_id: int, begun_at: datetime) -> None:
    """The session runs, also one that had ended before `begun_at`: its program goes on with it."""
    has_ended_since = TrainingSession.end_time > begun_at
    connection.execute(
        update(TrainingSession)
        .where(TrainingSession.id == session_id, has_ended_since.is_not(True))
        .values(status=RUNNING, end_time=None, heartbeat_at=func.clock_timestamp())
    )


def end_session(
    connection: Connection,
    session_id: int,
    status: str,
    ended_at: datetime,
    final_metrics: dict[str, Any] | None,
    error: str | None,
) -> None:
    """The session has ended, with one of `ENDED`. Final metrics and an error of an earlier end stay where
    there are no new ones. An end before the one that is stored, told late, changes nothing."""
    values: dict[str, Any] = {"status": status, "end_time": ended_at}
    if final_metrics is not None:
        values["final_metrics"] = final_metrics
    if error is not None:
        empty = cast({}, JSONB)
        values["metadata_"] = func.coalesce(TrainingSession.metadata_, empty).op("||")(
            cast({"error": error}, JSONB)
        )
    has_ended_since = TrainingSession.end_time > ended_at
    connection.execute(
        update(TrainingSession)
        .where(TrainingSession.id == session_id, has_ended_since.is_not(True))
        .values(values)
    )


# -- finding --------------------------------------------------------------------------------------------

# In numeric, as a number of JSON may be beyond every float.
_SILENT = cast(func.extract("epoch", func.now() - TrainingSession.heartbeat_at), Numeric)
_INTERVAL = case(
    (
        func.jsonb_typeof(TrainingSession.metadata_[INTERVAL]) == "number",
        cast(TrainingSession.metadata_[INTERVAL], Numeric),
    ),
    else_=0,
)
# NULL, hence not stale, where a program gives no signs of life at all.
_STATUS = case(
    (
        (TrainingSession.status == RUNNING) & (func.greatest(_MISSED * _INTERVAL, _PATIENCE) < _SILENT),
        STALE,
    ),
    else_=TrainingSession.status,
)


def find_sessions(
    connection: Connection,
    *,
    session_id: int | None = None,
    uid: UUID | None = None,
    name: str | None = None,
    bot: str | None = None,
    status: str | None = None,
) -> list[StoredSession]:
    """The sessions to which all of this applies, newest first."""
    counted = (
        select(func.count(), func.max(ModelCheckpoint.epoch))
        .where(ModelCheckpoint.training_session_id == TrainingSession.id)
        .lateral("counted")
    )
    query = (
        select(
            TrainingSession.id,
            TrainingSession.uid,
            TrainingSession.name,
            Bot.name,
            _STATUS,
            GameConfigRow.num_rows,
            GameConfigRow.num_cols,
            GameConfigRow.num_colors,
            TrainingSession.start_time,
            TrainingSession.end_time,
            TrainingSession.heartbeat_at,
            TrainingSession.hyperparameters,
            TrainingSession.final_metrics,
            TrainingSession.metadata_,
            *counted.c,
        )
        .join(Bot, Bot.id == TrainingSession.bot_id)
        .outerjoin(GameConfigRow, GameConfigRow.id == TrainingSession.config_id)
        .join(counted, literal_column("true"))
        .order_by(TrainingSession.start_time.desc(), TrainingSession.id.desc())
    )
    for column, wanted in (
        (TrainingSession.id, session_id),
        (TrainingSession.uid, uid),
        (TrainingSession.name, name),
        (Bot.name, bot),
        (_STATUS, status),
    ):
        if isinstance(wanted, str) and not _can_be_stored(wanted):
            return []
        if wanted is not None:
            query = query.where(column == wanted)
    found = []
    for row in connection.execute(query):
        config = None if row[5] is None else GameConfig(*row[5:8])
        found.append(StoredSession._make((*row[:5], config, *row[8:])))
    return found


def get_session(connection: Connection, named: str) -> StoredSession:
    """The session that a user names by id, uid or name.

    Raises NotFoundError, and UsageError for a name that several have.
    """
    found: list[StoredSession] = []
    if named.isascii() and named.isdigit() and len(named) < 10:
        found = find_sessions(connection, session_id=int(named))
    if not found and (uid := _as_uid(named)) is not None:
        found = find_sessions(connection, uid=uid)
    if not found:
        found = find_sessions(connection, name=named)
    if not found:
        raise NotFoundError(f"there is no training session {named!a}", hint="see `sgdb sessions list`")
    if len(found) > 1:
        ids = ", ".join(str(session.id) for session in found[:_SHOWN])
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise UsageError(
            f"{len(found)} training sessions are named {named!a}: {ids}{more}", hint="name it by its id"
        )
    return found[0]


def _can_be_stored(text: str) -> bool:
    return "\0" not in text and text.encode("utf-8", "replace").decode() == text


def _as_uid(named: str) -> UUID | None:
    try:
        return UUID(named)
    except ValueError:
        return None

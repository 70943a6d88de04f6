"""Checkpoints of a training: adding, finding and removing their rows, and the bots that they are.

Works inside the caller's transaction and commits nothing.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, NamedTuple

from sqlalchemy import Connection, cast, delete, func, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import aliased

from sgdb.database.models import Blob, Bot, ModelCheckpoint, ResultTotals, TrainingSession
from sgdb.errors import NotFoundError

_CONFLICTS = "conflicts"  # in a checkpoint's metadata: what was logged for the same epoch afterwards
_MOST_CONFLICTS = 20


class Place(Enum):
    """Where bytes of a checkpoint are: a blob in the database, a file in the folder of checkpoints, the
    checkpoint's own column, or a file of which nothing but a path is known."""

    DATABASE = "database"
    FILE = "file"
    COLUMN = "column"
    PATH = "path"


class Outcome(Enum):
    """What became of a checkpoint that was to be added."""

    INSERTED = "inserted"
    IDENTICAL = "identical"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class NewCheckpoint:
    """A checkpoint whose bytes are stored already, or none. `metrics` and `metadata` are in the JSON form
    that is stored; `file_path` and `file_size_bytes` are those of weights in a file."""

    session_id: int
    epoch: int
    weights_sha256: str | None = None
    optimizer_sha256: str | None = None
    metrics: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    file_path: str | None = None
    file_size_bytes: int | None = None
    source_file_id: int | None = None


class StoredBytes(NamedTuple):
    """Some bytes of a checkpoint: where they are; how many, and their hash, where that is known."""

    place: Place
    size_bytes: int | None
    sha256: str | None

    def to_json(self) -> dict[str, Any]:
        """As commands print it."""
        return {"place": self.place.value, "bytes": self.size_bytes, "sha256": self.sha256}


class StoredCheckpoint(NamedTuple):
    """A model_checkpoints row with its session and agent, without the bytes themselves."""

    id: int
    session_id: int
    session: str | None
    agent: str
    epoch: int
    weights: StoredBytes | None
    optimizer: StoredBytes | None
    metrics: dict[str, Any] | None
    metadata: dict[str, Any] | None
    file_path: str | None
    created_at: datetime
    bots: list[str]

    def to_json(self) -> dict[str, Any]:
        """The checkpoint as commands print it."""
        return {
            "id": self.id,
            "session_id": self.session_id,
            "session": self.session,
            "agent": self.agent,
            "epoch": self.epoch,
            "weights": self.weights and self.weights.to_json(),
            "optimizer": self.optimizer and self.optimizer.to_json(),
            "file_path": self.file_path,
            "metrics": self.metrics,
            "metadata": self.metadata,
            "created_at": self.created_at.isoformat(timespec="seconds"),
            "bots": self.bots,
        }


class CheckpointBot(NamedTuple):
    """A bot that is the agent as of a checkpoint, and how many results it has in how many sets."""

    id: int
    name: str
    version: str | None
    results: int
    sets: int


def compare_checkpoint(connection: Connection, new: NewCheckpoint) -> tuple[Outcome, str | None] | None:
    """Whether the epoch is stored already, and with the same values, or in which it differs, in words."""
    row = connection.execute(
        select(
            _hash_of(ModelCheckpoint.weights_sha256, ModelCheckpoint.model_weights),
            _hash_of(ModelCheckpoint.optimizer_sha256, ModelCheckpoint.optimizer_state),
            ModelCheckpoint.metrics,
        ).where(*_is_epoch(new))
    ).first()
    if row is None:
        return None
    pairs = (
        ("weights", row[0], new.weights_sha256),
        ("optimizer state", row[1], new.optimizer_sha256),
        ("metrics", row[2] or {}, new.metrics or {}),
    )
    other = [what for what, stored, given in pairs if _text(stored) != _text(given)]
    return (Outcome.CONFLICT, ", ".join(other)) if other else (Outcome.IDENTICAL, None)


def add_checkpoint(connection: Connection, new: NewCheckpoint) -> bool:
    """Adds a checkpoint; False where the epoch is stored already, which then stays as it is."""
    values = {
        "training_session_id": new.session_id,
        "epoch": new.epoch,
        "weights_sha256": new.weights_sha256,
        "optimizer_sha256": new.optimizer_sha256,
        "metrics": new.metrics,
        "metadata_": new.metadata,
        "file_path": new.file_path,
        "file_size_bytes": new.file_size_bytes,
        "source_file_id": new.source_file_id,
    }
    added = upsert(ModelCheckpoint).values(values)
    on_epoch = added.on_conflict_do_nothing(index_elements=["training_session_id", "epoch"])
    return connection.execute(on_epoch.returning(ModelCheckpoint.id)).first() is not None


def record_conflict(connection: Connection, new: NewCheckpoint) -> None:
    """Writes down, beside the stored checkpoint, what else was logged for its epoch; the first few times."""
    said = {
        "weights_sha256": new.weights_sha256,
        "optimizer_sha256": new.optimizer_sha256,
        "metrics": new.metrics,
        **(new.metadata or {}),
    }
    row = connection.execute(
        select(ModelCheckpoint.id, ModelCheckpoint.metadata_).where(*_is_epoch(new)).with_for_update()
    ).first()
    known = (row.metadata or {}).get(_CONFLICTS, []) if row else []
    if row is None or type(known) is not list or len(known) >= _MOST_CONFLICTS or said in known:
        return
    metadata = {**(row.metadata or {}), _CONFLICTS: [*known, said]}
    connection.execute(
        update(ModelCheckpoint).where(ModelCheckpoint.id == row.id).values(metadata_=cast(metadata, JSONB))
    )


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)  # 1, 1.0 and True are told apart


def _is_epoch(new: NewCheckpoint) -> tuple[Any, Any]:
    return ModelCheckpoint.training_session_id == new.session_id, ModelCheckpoint.epoch == new.epoch


def _hash_of(sha256: Any, data: Any) -> Any:
    return func.coalesce(sha256, func.encode(func.sha256(data), "hex"))


# -- finding --------------------------------------------------------------------------------------------


def find_checkpoints(
    connection: Connection, *, session_id: int | None = None, checkpoint_id: int | None = None
) -> list[StoredCheckpoint]:
    """The checkpoints to which all of this applies, by session and epoch."""
    weights, optimizer = aliased(Blob), aliased(Blob)
    agent = aliased(Bot)
    bots = (
        select(func.coalesce(func.jsonb_agg(Bot.name), cast([], JSONB)))
        .where(Bot.checkpoint_id == ModelCheckpoint.id)
        .scalar_subquery()
    )
    query = (
        select(
            ModelCheckpoint.id,
            ModelCheckpoint.training_session_id,
            TrainingSession.name,
            agent.name.label("agent"),
            ModelCheckpoint.epoch,
            ModelCheckpoint.metrics,
            ModelCheckpoint.metadata_,
            ModelCheckpoint.file_path,
            ModelCheckpoint.file_size_bytes,
            ModelCheckpoint.created_at,
            ModelCheckpoint.weights_sha256,
            weights.size_bytes.label("weights_size"),
            weights.data.is_(None).label("weights_in_file"),
            func.octet_length(ModelCheckpoint.model_weights).label("own_weights"),
            ModelCheckpoint.optimizer_sha256,
            optimizer.size_bytes.label("optimizer_size"),
            optimizer.data.is_(None).label("optimizer_in_file"),
            func.octet_length(ModelCheckpoint.optimizer_state).label("own_optimizer"),
            bots.label("bots"),
        )
        .join(TrainingSession, TrainingSession.id == ModelCheckpoint.training_session_id)
        .join(agent, agent.id == TrainingSession.bot_id)
        .outerjoin(weights, weights.sha256 == ModelCheckpoint.weights_sha256)
        .outerjoin(optimizer, optimizer.sha256 == ModelCheckpoint.optimizer_sha256)
        .order_by(ModelCheckpoint.training_session_id, ModelCheckpoint.epoch)
    )
    if session_id is not None:
        query = query.where(ModelCheckpoint.training_session_id == session_id)
    if checkpoint_id is not None:
        query = query.where(ModelCheckpoint.id == checkpoint_id)
    return [_checkpoint(row) for row in connection.execute(query)]


def get_checkpoint(connection: Connection, checkpoint_id: int) -> StoredCheckpoint:
    """The checkpoint with this id. Raises NotFoundError."""
    found = find_checkpoints(connection, checkpoint_id=checkpoint_id) if checkpoint_id < 2**31 else []
    if not found:
        raise NotFoundError(
            f"there is no checkpoint {checkpoint_id}", hint="see `sgdb checkpoints list` for their ids"
        )
    return found[0]


def find_with_weights(connection: Connection, sha256: str) -> int | None:
    """The first checkpoint whose weights are these bytes."""
    query = select(func.min(ModelCheckpoint.id)).where(ModelCheckpoint.weights_sha256 == sha256)
    return connection.execute(query).scalar()


def _checkpoint(row: Any) -> StoredCheckpoint:
    weights = _bytes(row.weights_sha256, row.weights_size, row.weights_in_file, row.own_weights)
    if weights is None and row.file_path is not None:
        weights = StoredBytes(Place.PATH, row.file_size_bytes, None)
    return StoredCheckpoint(
        row.id,
        row.training_session_id,
        row.name,
        row.agent,
        row.epoch,
        weights,
        _bytes(row.optimizer_sha256, row.optimizer_size, row.optimizer_in_file, row.own_optimizer),
        row.metrics,
        row.metadata,
        row.file_path,
        row.created_at,
        sorted(row.bots),
    )


def _bytes(sha256: str | None, size: int, in_file: bool, own_size: int | None) -> StoredBytes | None:
    if sha256 is not None:
        return StoredBytes(Place.FILE if in_file else Place.DATABASE, size, sha256)
    return None if own_size is None else StoredBytes(Place.COLUMN, own_size, None)


def foreign_files(connection: Connection) -> Iterator[tuple[int, str, int | None]]:
    """Checkpoints whose weights are nothing but a path that others have written: id, path, size."""
    query = (
        select(ModelCheckpoint.id, ModelCheckpoint.file_path, ModelCheckpoint.file_size_bytes)
        .where(
            ModelCheckpoint.file_path.is_not(None),
            ModelCheckpoint.weights_sha256.is_(None),
            ModelCheckpoint.model_weights.is_(None),
        )
        .order_by(ModelCheckpoint.id)
    )
    for row in connection.execute(query):
        yield row.id, row.file_path, row.file_size_bytes


def file_paths(connection: Connection) -> dict[str, str]:
    """Where weights in files were put, by hash, as far as rows say so."""
    query = select(ModelCheckpoint.weights_sha256, ModelCheckpoint.file_path)
    rows = connection.execute(query.where(ModelCheckpoint.file_path.is_not(None)))
    return {sha256: path for sha256, path in rows if sha256 is not None and path is not None}


# -- removing -------------------------------------------------------------------------------------------


def remove_checkpoints(connection: Connection, ids: Collection[int]) -> None:
    """Removes these checkpoints; their bytes stay."""
    connection.execute(delete(ModelCheckpoint).where(ModelCheckpoint.id.in_(list(ids))))


# -- bots -----------------------------------------------------------------------------------------------


def make_checkpoint_bot(
    connection: Connection, checkpoint_id: int, name: str, bot_type: str | None, version: str | None
) -> None:
    """The bot of this name is the agent as of the checkpoint; it is made if it is not there.

    A bot that is another checkpoint already stays that one.
    """
    values: dict[str, Any] = {"name": name, "bot_type": bot_type, "checkpoint_id": checkpoint_id}
    if version is not None:
        values["version"] = version
    connection.execute(
        upsert(Bot)
        .values(values)
        .on_conflict_do_update(
            index_elements=["name"],
            set_={"checkpoint_id": checkpoint_id},
            where=Bot.checkpoint_id.is_(None),
        )
    )


def find_epoch(connection: Connection, session_id: int, epoch: int) -> int | None:
    """The id of a session's checkpoint after this epoch."""
    query = select(ModelCheckpoint.id).where(
        ModelCheckpoint.training_session_id == session_id, ModelCheckpoint.epoch == epoch
    )
    return connection.execute(query).scalar()


def find_checkpoint_bots(connection: Connection, checkpoint_id: int) -> list[CheckpointBot]:
    """The bots that are this checkpoint, by name."""
    query = (
        select(
            Bot.id,
            Bot.name,
            Bot.version,
            func.coalesce(func.sum(ResultTotals.results), 0),
            func.count(ResultTotals.benchmark_set_id),
        )
        .outerjoin(ResultTotals, ResultTotals.bot_id == Bot.id)
        .where(Bot.checkpoint_id == checkpoint_id)
        .group_by(Bot.id)
        .order_by(Bot.name)
    )
    return [CheckpointBot(*row[:3], int(row[3]), row[4]) for row in connection.execute(query)]

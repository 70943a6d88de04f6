"""Taking one training of an exported folder into the database, inside the caller's transaction.

A session is known by its uid. What is there already is compared; when it last gave a sign of life is no value
of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from sgdb.database.checkpoints import NewCheckpoint, Outcome, compare_checkpoint, find_epoch
from sgdb.database.compare import same_json
from sgdb.database.models import Bot, GameConfigRow, TrainingSession
from sgdb.database.sessions import NewSession, ensure_session
from sgdb.errors import ConflictError
from sgdb.interchange.folder_trainings import CheckpointRow, FolderTraining
from sgdb.pickles.inert import shown
from sgdb.records import GameConfig
from sgdb.storage.checkpoint_saving import Destination, save_checkpoint
from sgdb.storage.contents import Contents


@dataclass(slots=True)
class Taken:
    """What became of a training: whether its session is new, and of its checkpoints how many are."""

    is_new: bool = False
    inserted: int = 0
    identical: int = 0


def take_training(
    to: Destination,
    training: FolderTraining,
    contents_of: Callable[[str], Contents],
    make_source: Callable[[], int],
    *,
    dry_run: bool,
) -> Taken:
    """Adds what is missing of a training, whose bots are there. Raises ConflictError where something is there
    with another value, and what `contents_of` raises, which gives a checkpoint's bytes by their hash.

    `make_source` gives the id in source_files that new rows bear; it is called when one is needed. A dry run
    only looks: bytes would go into files, and keys come from sequences.
    """
    taken = Taken()
    connection = to.connection
    session_id = _find(connection, training)
    if session_id is None:
        taken.is_new = True
        source = make_source()
        session_id = None if dry_run else _add_session(connection, training, source)
    for row in training.checkpoints:
        new = _new(row, session_id or 0)
        known = None if taken.is_new else compare_checkpoint(connection, new)
        if known is None:
            taken.inserted += 1
            source = make_source()
            if not dry_run:
                known = _save(to, row, _new(row, session_id or 0, source), contents_of)
        else:
            taken.identical += 1
        if known is not None and known[0] is Outcome.CONFLICT:
            raise ConflictError(
                f"the database holds another checkpoint after epoch {row.epoch}: other {known[1]}",
                hint=f"nothing was changed; see `sgdb sessions show {training.uid}`",
            )
        if not (dry_run and (taken.is_new or known is None)):
            _tie(connection, row, find_epoch(connection, session_id or 0, row.epoch), dry_run=dry_run)
    return taken


def _find(connection: Connection, training: FolderTraining) -> int | None:
    """The session's id, where it is there with these values. Raises ConflictError."""
    row = connection.execute(
        select(
            TrainingSession.id,
            Bot.name.label("bot"),
            TrainingSession.name,
            GameConfigRow.num_rows,
            GameConfigRow.num_cols,
            GameConfigRow.num_colors,
            TrainingSession.start_time,
            TrainingSession.end_time,
            TrainingSession.status,
            TrainingSession.hyperparameters,
            TrainingSession.final_metrics,
            TrainingSession.metadata_,
        )
        .join(Bot, Bot.id == TrainingSession.bot_id)
        .outerjoin(GameConfigRow, GameConfigRow.id == TrainingSession.config_id)
        .where(TrainingSession.uid == training.uid)
    ).first()
    if row is None:
        return None
    config = None if row.num_rows is None else GameConfig(row.num_rows, row.num_cols, row.num_colors)
    pairs: list[tuple[str, Any, Any]] = [
        ("bot", training.bot, row.bot),
        ("name", training.name, row[2]),
        ("config", training.config, config),
        ("start_time", training.started_at, row.start_time),
        ("end_time", training.ended_at, row.end_time),
        ("status", training.status, row.status),
        ("hyperparameters", training.hyperparameters, row.hyperparameters),
        ("final_metrics", training.final_metrics, row.final_metrics),
        ("metadata", training.metadata, row.metadata),
    ]
    for field, ours, theirs in pairs:
        same = ours == theirs if isinstance(ours, GameConfig | datetime) else same_json(ours, theirs)
        if not same:
            raise ConflictError(
                f"the database holds another value, field {field}: "
                f"file {shown(ours)}, database {shown(theirs)}",
                hint="nothing was changed",
            )
    return int(row.id)


def _add_session(connection: Connection, training: FolderTraining, source: int) -> int:
    new = NewSession(
        training.uid,
        training.bot,
        training.name,
        training.hyperparameters,
        training.started_at,
        training.config,
        metadata=training.metadata,
    )
    session_id = ensure_session(connection, new, source)
    connection.execute(
        update(TrainingSession)
        .where(TrainingSession.id == session_id)
        .values(
            status=training.status,
            end_time=training.ended_at,
            heartbeat_at=training.heartbeat_at,
            final_metrics=training.final_metrics,
        )
    )
    return session_id


def _new(row: CheckpointRow, session_id: int, source: int | None = None) -> NewCheckpoint:
    elsewhere = row.weights_sha256 is None
    return NewCheckpoint(
        session_id,
        row.epoch,
        row.weights_sha256,
        row.optimizer_sha256,
        row.metrics,
        row.metadata,
        file_path=row.file_path,
        file_size_bytes=row.weights_bytes if elsewhere else None,
        source_file_id=source,
    )


def _save(
    to: Destination, row: CheckpointRow, new: NewCheckpoint, contents_of: Callable[[str], Contents]
) -> tuple[Outcome, str | None]:
    needed = dict.fromkeys(sha256 for sha256 in (row.weights_sha256, row.optimizer_sha256) if sha256)
    return save_checkpoint(to, new, [contents_of(sha256) for sha256 in needed])


def _tie(connection: Connection, row: CheckpointRow, checkpoint_id: int | None, *, dry_run: bool) -> None:
    """The bots of these names are the agent as of the checkpoint. Raises ConflictError for one that is
    another checkpoint's."""
    for name in row.bots:
        found = connection.execute(select(Bot.checkpoint_id).where(Bot.name == name)).scalar()
        if found is None and not dry_run:
            connection.execute(update(Bot).where(Bot.name == name).values(checkpoint_id=checkpoint_id))
        elif found is not None and found != checkpoint_id:
            raise ConflictError(
                f"bot {name!a} is another checkpoint than the one after epoch {row.epoch}",
                hint="nothing was changed",
            )

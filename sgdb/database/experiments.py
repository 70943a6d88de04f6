"""What checkpoint files bring: a training session for each experiment, and a checkpoint for each epoch of it.

A file names its experiment and no more, so the session's `uid` is made of that name: whoever brings another
epoch of the experiment finds it. Works inside the caller's transaction, behind the experiment's lock
(`lock_experiment`), and commits nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Text,
    and_,
    cast,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB

from sgdb.database.ids import IdSource
from sgdb.database.models import Blob, Bot, GameConfigRow, ModelCheckpoint, SourceFile, TrainingSession
from sgdb.database.provenance import CHECKPOINT, TAKEN, WEIGHTS
from sgdb.database.sets import find_bots, find_or_make_config, make_bots
from sgdb.records import GameConfig

DOCUMENT = "checkpoint"  # in a checkpoint's metadata
LOSSES = "loss_history"
_WEIGHTS_ADDED = "weights_added"  # in a source's counts: the checkpoint that was there without its weights
_PRUNED = "pruned_at"  # in a source's contents
_BOT_TYPE = "dqn"
_NAMES = UUID("6f1c9c1e-5b0b-4c83-9d5c-0d0f4f3c7a51")  # any fixed one; it must never change
_METADATA = {"origin": "checkpoint files", "times": "those of the files, which name no zone, read as UTC"}
# Nobody knows whether more was planned; but nobody is at it any more.
_STATUS = "completed"


class EpochFile(NamedTuple):
    """A pickle that has a checkpoint, as recorded. `brought`: it is what brought it, or its weights;
    `was_pruned`: somebody has removed the checkpoint since, on purpose."""

    id: int
    run_id: int
    path: str
    sha256: str
    experiment: str
    epoch: int
    archive_id: int | None
    brought: bool
    was_pruned: bool


class WeightsFile(NamedTuple):
    """A file of weights that was carried: as recorded; `of` is the source of its checkpoint's pickle."""

    id: int
    path: str
    sha256: str
    of: int


class StoredEpoch(NamedTuple):
    """A checkpoint of an experiment. `is_same`: its document and losses are those that were asked about."""

    id: int
    session_id: int
    is_same: bool
    metrics: dict[str, Any] | None
    weights_sha256: str | None
    weights_size: int | None
    weights_in_file: bool
    file_path: str | None
    source_file_id: int | None


class StoredExperiment(NamedTuple):
    """A session that files brought."""

    id: int
    name: str
    bot: str
    config: GameConfig | None
    hyperparameters: dict[str, Any]
    start_time: datetime
    end_time: datetime | None
    source_file_id: int | None


def experiment_uid(name: str) -> UUID:
    """The `uid` of the session that stands for this experiment."""
    return uuid5(_NAMES, name)


def find_experiment(connection: Connection, name: str) -> StoredExperiment | None:
    """The session of an experiment."""
    found = _experiments(connection, TrainingSession.uid == experiment_uid(name))
    return found[0] if found else None


def all_experiments(connection: Connection) -> list[StoredExperiment]:
    """All sessions that files brought, oldest first."""
    return _experiments(connection, TrainingSession.source_file_id.is_not(None))


def _experiments(connection: Connection, where: ColumnElement[bool]) -> list[StoredExperiment]:
    query = (
        select(
            TrainingSession.id,
            TrainingSession.name,
            Bot.name,
            GameConfigRow.num_rows,
            GameConfigRow.num_cols,
            GameConfigRow.num_colors,
            TrainingSession.hyperparameters,
            TrainingSession.start_time,
            TrainingSession.end_time,
            TrainingSession.source_file_id,
        )
        .join(Bot, Bot.id == TrainingSession.bot_id)
        .outerjoin(GameConfigRow, GameConfigRow.id == TrainingSession.config_id)
        .where(where)
        .order_by(TrainingSession.id)
    )
    found = []
    for row in connection.execute(query):
        config = None if row[3] is None else GameConfig(*row[3:6])
        found.append(StoredExperiment(row[0], row[1], row[2], config, *row[6:]))
    return found


def make_experiment(
    connection: Connection,
    ids: IdSource,
    name: str,
    config: GameConfig | None,
    hyperparameters: dict[str, Any],
    time: datetime,
    source_file_id: int,
) -> int:
    """A session for an experiment, with its bot and config where these are new; returns its id. `time` is a
    checkpoint's, without a zone. Raises ConflictError."""
    if name not in find_bots(connection, [name]):
        make_bots(connection, ids, [name], source_file_id, bot_type=_BOT_TYPE)
    config_id = None if config is None else find_or_make_config(connection, ids, config, source_file_id)
    (session_id,) = ids.take(connection, "training_sessions", 1)
    connection.execute(
        insert(TrainingSession).values(
            id=session_id,
            uid=experiment_uid(name),
            bot_id=find_bots(connection, [name])[name],
            name=name,
            hyperparameters=hyperparameters,
            config_id=config_id,
            start_time=as_utc(time),
            end_time=as_utc(time),
            status=_STATUS,
            metadata_=_METADATA,
            source_file_id=source_file_id,
        )
    )
    return session_id


def as_utc(time: datetime) -> datetime:
    """A time that names no zone, read as UTC: no file says what else it could be."""
    return time.replace(tzinfo=UTC, fold=0)


def find_stored_epoch(connection: Connection, name: str, epoch: int, content: str) -> StoredEpoch | None:
    """The checkpoint of this epoch; `content` is the JSON text of document and losses to compare with.

    The server compares, since there may be millions of losses; it compares texts, since of two numbers
    1 and 1.0 it would say that they are equal.
    """
    given = select(cast(literal(content, Text), JSONB).label("content")).subquery()

    def same(entry: str) -> ColumnElement[bool]:
        ours, theirs = (cast(side[entry], Text) for side in (ModelCheckpoint.metadata_, given.c.content))
        return ours.is_not_distinct_from(theirs)

    row = connection.execute(
        select(
            ModelCheckpoint.id,
            ModelCheckpoint.training_session_id,
            and_(same(DOCUMENT), same(LOSSES)),
            ModelCheckpoint.metrics,
            ModelCheckpoint.weights_sha256,
            Blob.size_bytes,
            Blob.data.is_(None) & Blob.sha256.is_not(None),
            ModelCheckpoint.file_path,
            ModelCheckpoint.source_file_id,
        )
        .select_from(ModelCheckpoint)
        .join(given, literal(True))
        .join(TrainingSession, TrainingSession.id == ModelCheckpoint.training_session_id)
        .outerjoin(Blob, Blob.sha256 == ModelCheckpoint.weights_sha256)
        .where(TrainingSession.uid == experiment_uid(name), ModelCheckpoint.epoch == epoch)
    ).first()
    return StoredEpoch._make(row) if row else None


def stored_content(connection: Connection, checkpoint_id: int) -> dict[str, Any]:
    """A checkpoint's document and losses, by name, as far as it has them."""
    query = select(ModelCheckpoint.metadata_).where(ModelCheckpoint.id == checkpoint_id)
    metadata = connection.execute(query).scalar_one() or {}
    return {name: metadata[name] for name in (DOCUMENT, LOSSES) if name in metadata}


def add_epoch(
    connection: Connection,
    ids: IdSource,
    session_id: int,
    epoch: int,
    content: str,
    metrics: dict[str, Any] | None,
    source_file_id: int,
) -> int:
    """A new checkpoint, without weights; returns its id."""
    (checkpoint_id,) = ids.take(connection, "model_checkpoints", 1)
    connection.execute(
        insert(ModelCheckpoint).values(
            id=checkpoint_id,
            training_session_id=session_id,
            epoch=epoch,
            metrics=metrics,
            metadata_=cast(literal(content, Text), JSONB),
            source_file_id=source_file_id,
        )
    )
    return checkpoint_id


def set_weights(
    connection: Connection, checkpoint_id: int, sha256: str, file_path: str | None, size: int | None
) -> None:
    """The checkpoint's weights are the blob with this hash; path and size are those of one in a file."""
    connection.execute(
        update(ModelCheckpoint)
        .where(ModelCheckpoint.id == checkpoint_id)
        .values(weights_sha256=sha256, file_path=file_path, file_size_bytes=size)
    )


def settle_span(connection: Connection, session_id: int) -> None:
    """A session that files brought lasts from the time of its first checkpoint to that of its last."""
    time = ModelCheckpoint.metadata_[DOCUMENT]["timestamp"]["$datetime"]
    query = select(time).where(
        ModelCheckpoint.training_session_id == session_id, ModelCheckpoint.source_file_id.is_not(None)
    )
    forms = connection.execute(query).scalars()
    times = [datetime.fromisoformat(form if type(form) is str else form[0]) for form in forms if form]
    if times:
        connection.execute(
            update(TrainingSession)
            .where(TrainingSession.id == session_id)
            .values(start_time=as_utc(min(times)), end_time=as_utc(max(times)))
        )


def epoch_files(connection: Connection, *, sha256: str | None = None) -> list[EpochFile]:
    """The pickles of checkpoints that were taken, oldest first; of one content where that is asked for."""
    query = (
        select(
            SourceFile.id,
            SourceFile.run_id,
            SourceFile.path,
            SourceFile.sha256,
            SourceFile.contents["experiment_name"].astext,
            cast(SourceFile.contents["epoch"].astext, Integer),
            SourceFile.archive_id,
            or_(
                SourceFile.counts["checkpoints"]["inserted"].astext == "1",
                SourceFile.counts.has_key(_WEIGHTS_ADDED),
            ),
            SourceFile.contents.has_key(_PRUNED),
        )
        .where(SourceFile.status.in_(TAKEN), is_kind(CHECKPOINT))
        .order_by(SourceFile.id)
    )
    if sha256 is not None:
        query = query.where(SourceFile.sha256 == sha256)
    return [EpochFile._make(row) for row in connection.execute(query)]


def pruned_epochs(files: Iterable[EpochFile]) -> set[tuple[str, int]]:
    """Of these pickles, oldest first, the experiments and epochs whose checkpoint has been removed on
    purpose, and not brought back since by a newer one."""
    newest = {(file.experiment, file.epoch): file for file in files}
    return {key for key, file in newest.items() if file.was_pruned}


def weights_files(connection: Connection) -> list[WeightsFile]:
    """The files of weights that were carried, oldest first."""
    query = (
        select(
            SourceFile.id,
            SourceFile.path,
            SourceFile.sha256,
            cast(SourceFile.contents["of"].astext, Integer),
        )
        .where(SourceFile.status.in_(TAKEN), is_kind(WEIGHTS))
        .order_by(SourceFile.id)
    )
    return [WeightsFile._make(row) for row in connection.execute(query)]


def is_kind(kind: str) -> ColumnElement[bool]:
    """Whether a source is of this kind."""
    found: ColumnElement[bool] = SourceFile.contents["kind"].astext == kind
    return found


def note_pruned(connection: Connection, checkpoint_ids: Collection[int]) -> None:
    """Writes down with the pickles of these checkpoints that they go on purpose: they are not to be missed.
    A pickle that brings one back later has a row of its own, without that note."""
    query = (
        select(TrainingSession.uid, TrainingSession.name, ModelCheckpoint.epoch)
        .join(TrainingSession, TrainingSession.id == ModelCheckpoint.training_session_id)
        .where(ModelCheckpoint.id.in_(checkpoint_ids), ModelCheckpoint.source_file_id.is_not(None))
    )
    epochs: dict[str, list[str]] = {}
    for uid, name, epoch in connection.execute(query):
        if name is not None and uid == experiment_uid(name):
            epochs.setdefault(name, []).append(str(epoch))
    note = SourceFile.contents.op("||")(func.jsonb_build_object(_PRUNED, func.now()))
    for name, numbers in epochs.items():
        connection.execute(
            update(SourceFile)
            .where(
                SourceFile.status.in_(TAKEN),
                is_kind(CHECKPOINT),
                SourceFile.contents["experiment_name"].astext == name,
                SourceFile.contents["epoch"].astext.in_(numbers),
            )
            .values(contents=note)
        )


# -- taking back ----------------------------------------------------------------------------------------


def remove_epochs(connection: Connection, own: Any, added: list[int]) -> tuple[dict[int, int], set[str]]:
    """Removes the checkpoints whose source is one of `own`, and the weights of those in `added`.

    Returns how many went, by source, and the hashes of the bytes that may now be needed by nobody.
    """
    hashes: set[str] = set()
    removed: dict[int, int] = {}
    touched: set[int] = set()
    query = (
        delete(ModelCheckpoint)
        .where(ModelCheckpoint.source_file_id.in_(own))
        .returning(
            ModelCheckpoint.source_file_id,
            ModelCheckpoint.training_session_id,
            ModelCheckpoint.weights_sha256,
            ModelCheckpoint.optimizer_sha256,
        )
    )
    for source_id, session_id, weights, optimizer in connection.execute(query):
        assert source_id is not None
        removed[source_id] = removed.get(source_id, 0) + 1
        touched.add(session_id)
        hashes.update(sha256 for sha256 in (weights, optimizer) if sha256 is not None)
    former = select(ModelCheckpoint.weights_sha256).where(ModelCheckpoint.id.in_(added))
    hashes.update(sha256 for sha256 in connection.execute(former).scalars() if sha256 is not None)
    connection.execute(
        update(ModelCheckpoint)
        .where(ModelCheckpoint.id.in_(added))
        .values(weights_sha256=None, file_path=None, file_size_bytes=None)
    )
    for session_id in touched:
        settle_span(connection, session_id)
    return removed, hashes


def weights_added(connection: Connection, run_id: int) -> list[int]:
    """The checkpoints of other runs to which this run's files brought the weights."""
    added = SourceFile.counts[_WEIGHTS_ADDED].astext
    query = select(cast(added, Integer)).where(
        SourceFile.run_id == run_id, SourceFile.status.in_(TAKEN), added.is_not(None)
    )
    return list(connection.execute(query).scalars())

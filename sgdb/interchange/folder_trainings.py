"""Training sessions and checkpoints of an exported folder: rows to records, every value checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sgdb.database.sessions import ENDED, RUNNING
from sgdb.errors import ValueRefusedError
from sgdb.interchange.manifest import FileEntry
from sgdb.interchange.tables import Row
from sgdb.interchange.values import require_bot_name
from sgdb.pickles.attributes import from_json
from sgdb.pickles.inert import shown
from sgdb.records import GameConfig

_INT32 = 2**31 - 1
_MAX_NAME = 255
_SHA256 = re.compile(r"[0-9a-f]{64}")


class CheckpointRow(NamedTuple):
    """A checkpoint: the hashes of its bytes, or the path and size of weights that lie elsewhere."""

    epoch: int
    weights_sha256: str | None
    weights_bytes: int | None
    optimizer_sha256: str | None
    file_path: str | None
    bots: list[str]
    metrics: dict[str, Any] | None
    metadata: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class FolderTraining:
    """A training session with its checkpoints by epoch."""

    uid: UUID
    bot: str
    name: str | None
    config: GameConfig | None
    started_at: datetime
    ended_at: datetime | None
    heartbeat_at: datetime | None
    status: str
    hyperparameters: dict[str, Any]
    final_metrics: dict[str, Any] | None
    metadata: dict[str, Any] | None
    checkpoints: list[CheckpointRow] = field(default_factory=list)

    @property
    def bots(self) -> set[str]:
        """The agent, and the bots that are one of the checkpoints."""
        return {self.bot, *(bot for checkpoint in self.checkpoints for bot in checkpoint.bots)}

    def __str__(self) -> str:
        return f"training session {self.uid}"


def read_trainings(
    sessions: list[Row], checkpoints: list[Row], weights: Mapping[str, FileEntry]
) -> list[FolderTraining]:
    """The trainings in the order of the sessions' rows. Raises ValueRefusedError."""
    found: dict[UUID, FolderTraining] = {}
    for row in sessions:
        training = _training(row)
        if training.uid in found:
            raise ValueRefusedError(f"{training} stands twice")
        found[training.uid] = training
    seen: set[tuple[UUID, int]] = set()
    for row in checkpoints:
        uid = _uid(row[0], "checkpoints, session")
        checkpoint = _checkpoint(row, f"checkpoint {shown(row[1])} of session {uid}", weights)
        if uid not in found:
            raise ValueRefusedError(f"a checkpoint of session {uid}, which is not in the folder")
        if (uid, checkpoint.epoch) in seen:
            raise ValueRefusedError(f"epoch {checkpoint.epoch} of session {uid} stands twice")
        seen.add((uid, checkpoint.epoch))
        found[uid].checkpoints.append(checkpoint)
    return list(found.values())


def _training(row: Row) -> FolderTraining:
    uid = _uid(row[0], "sessions, uid")
    where = f"session {uid}"
    require_bot_name(row[1], where)
    if row[2] is not None and len(row[2]) > _MAX_NAME:
        raise ValueRefusedError(f"{where}, name: longer than {_MAX_NAME} characters")
    shape = row[3:6]
    if shape != (None, None, None) and not all(type(each) is int and 0 < each <= _INT32 for each in shape):
        raise ValueRefusedError(f"{where}: {shown(shape)} is no board shape")
    if row[9] not in (RUNNING, *ENDED):
        raise ValueRefusedError(f"{where}, status: {shown(row[9])} is not known")
    started_at = _moment(row[6], f"{where}, start_time")
    assert started_at is not None
    hyperparameters = _object(row[10], f"{where}, hyperparameters")
    if hyperparameters is None:
        raise ValueRefusedError(f"{where}, hyperparameters: they are missing")
    return FolderTraining(
        uid,
        row[1],
        row[2],
        None if shape[0] is None else GameConfig(*shape),
        started_at,
        _moment(row[7], f"{where}, end_time"),
        _moment(row[8], f"{where}, heartbeat_at"),
        row[9],
        hyperparameters,
        _object(row[11], f"{where}, final_metrics"),
        _object(row[12], f"{where}, metadata"),
    )


def _checkpoint(row: Row, where: str, weights: Mapping[str, FileEntry]) -> CheckpointRow:
    _, epoch, weights_sha256, weights_bytes, optimizer_sha256, optimizer_bytes, path, bots, *rest = row
    if not -_INT32 <= epoch <= _INT32:
        raise ValueRefusedError(f"{where}, epoch: {shown(epoch)} is too large")
    for sha256, size in ((weights_sha256, weights_bytes), (optimizer_sha256, optimizer_bytes)):
        if sha256 is None:
            continue
        entry = weights.get(sha256) if _SHA256.fullmatch(sha256) else None
        if entry is None or entry.size_bytes != size:
            raise ValueRefusedError(f"{where}: its bytes {shown(sha256)} are not in the folder")
    if path is not None and weights_sha256 is not None:
        raise ValueRefusedError(f"{where}: weights here and at {shown(path)}")
    if weights_sha256 is None and weights_bytes is not None and weights_bytes < 0:
        raise ValueRefusedError(f"{where}, weights_bytes: {weights_bytes} is negative")
    if type(bots) is not list or not all(type(bot) is str for bot in bots):
        raise ValueRefusedError(f"{where}, bots: {shown(bots)} is not a list of names")
    for bot in bots:
        require_bot_name(bot, where)
    metrics, metadata = (
        _object(value, f"{where}, {name}") for name, value in zip(("metrics", "metadata"), rest, strict=True)
    )
    return CheckpointRow(
        epoch, weights_sha256, weights_bytes, optimizer_sha256, path, sorted(set(bots)), metrics, metadata
    )


def _uid(text: str, where: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ValueRefusedError(f"{where}: {shown(text)} is no UUID") from None


def _moment(text: str | None, where: str) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueRefusedError(f"{where}: {shown(text)} is no time in ISO 8601") from None
    if moment.utcoffset() is None:
        raise ValueRefusedError(f"{where}: {shown(text)} has no time zone")
    return moment


def _object(value: Any, where: str) -> dict[str, Any] | None:
    """An object whose values, such as NaN in the form in which it is stored, can be read again."""
    if value is None:
        return None
    if type(value) is not dict:
        raise ValueRefusedError(f"{where}: {shown(value)} is not an object")
    try:
        from_json(value)
    except (TypeError, ValueError, AttributeError):
        raise ValueRefusedError(
            f"{where}: {shown(value)} is not written as `sgdb export` writes it"
        ) from None
    return value

"""Training sessions and their checkpoints on the way out of a database: rows, and the bytes they name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from sgdb.database.checkpoints import Place, StoredBytes, StoredCheckpoint, find_checkpoints
from sgdb.database.extracts import extract_sessions
from sgdb.database.sessions import find_sessions
from sgdb.interchange.tables import Row
from sgdb.storage.checkpoint_files import CheckpointFiles
from sgdb.storage.checkpoint_reading import read_bytes


class _Part(NamedTuple):
    """The hash and size of some bytes of a checkpoint."""

    sha256: str
    size_bytes: int


class Trainings:
    """Trainings of a database: those with these `uids`, None for all. `sessions` are rows of the table
    sessions; `with_bytes` says whether the checkpoints' bytes are wanted as well.

    Bytes are read when their turn has come. Raises CheckpointError where they are gone or damaged.
    """

    def __init__(
        self, connection: Connection, files: CheckpointFiles, uids: set[UUID] | None, *, with_bytes: bool
    ) -> None:
        self._connection = connection
        self._files = files
        self.with_bytes = with_bytes
        uid_of = {
            session.id: str(session.uid)
            for session in find_sessions(connection)
            if uids is None or session.uid in uids
        }
        wanted = set(uid_of.values())
        self.sessions = [row for row in extract_sessions(connection) if row[0] in wanted]
        found = [
            (uid_of[each.session_id], each)
            for each in find_checkpoints(connection)
            if each.session_id in uid_of
        ]
        self._checkpoints = sorted(found, key=lambda pair: (pair[0], pair[1].epoch))
        self._own: dict[tuple[int, bool], _Part] = {}

    def bots(self) -> set[str]:
        """The agents, and the bots that are one of the checkpoints."""
        agents = {row[1] for row in self.sessions}
        return agents | {bot for _, checkpoint in self._checkpoints for bot in checkpoint.bots}

    def rows(self) -> Iterator[Row]:
        """Rows of the table checkpoints, by session and epoch."""
        for uid, checkpoint in self._checkpoints:
            weights, optimizer = (self._part(checkpoint, optimizer=which) for which in (False, True))
            known = checkpoint.weights
            elsewhere = known is not None and known.place is Place.PATH
            yield (
                uid,
                checkpoint.epoch,
                weights and weights.sha256,
                known.size_bytes if elsewhere and known is not None else weights and weights.size_bytes,
                optimizer and optimizer.sha256,
                optimizer and optimizer.size_bytes,
                checkpoint.file_path if elsewhere else None,
                json.dumps(checkpoint.bots, ensure_ascii=False),
                _json(checkpoint.metrics),
                _json(checkpoint.metadata),
            )

    def weights(self) -> Iterator[tuple[str, str, Iterator[bytes]]]:
        """Path below the folder, hash, and pieces of all bytes, once each; none if they are not wanted."""
        seen: set[str] = set()
        for _, checkpoint in self._checkpoints if self.with_bytes else ():
            for which in (False, True):
                part = self._part(checkpoint, optimizer=which)
                if part is not None and part.sha256 not in seen:
                    seen.add(part.sha256)
                    pieces = read_bytes(self._connection, self._files, checkpoint, optimizer=which)
                    yield f"weights/{part.sha256[:2]}/{part.sha256}", part.sha256, pieces

    def _part(self, checkpoint: StoredCheckpoint, *, optimizer: bool) -> _Part | None:
        known = checkpoint.optimizer if optimizer else checkpoint.weights
        if known is None or known.place is Place.PATH:
            return None
        if known.sha256 is not None:
            return _Part(known.sha256, known.size_bytes or 0)
        return self._hashed(checkpoint, known, optimizer=optimizer)

    def _hashed(self, checkpoint: StoredCheckpoint, known: StoredBytes, *, optimizer: bool) -> _Part:
        """Of bytes that others have stored without a hash, which is found once."""
        key = (checkpoint.id, optimizer)
        if key not in self._own:
            hashed = hashlib.sha256()
            for piece in read_bytes(self._connection, self._files, checkpoint, optimizer=optimizer):
                hashed.update(piece)
            self._own[key] = _Part(hashed.hexdigest(), known.size_bytes or 0)
        return self._own[key]


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)

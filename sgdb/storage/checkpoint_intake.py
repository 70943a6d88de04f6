"""Taking one checkpoint file into the database, inside the caller's transaction and behind the lock on its
experiment: its session, its checkpoint, and the bytes of its weights.

What is already there is compared; another value is a conflict that refuses the file. A checkpoint that was
stored without its weights gets them from the file that has them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sgdb.database.compare import conflict
from sgdb.database.engine import lift_timeouts
from sgdb.database.experiments import (
    StoredExperiment,
    add_epoch,
    find_experiment,
    find_stored_epoch,
    make_experiment,
    set_weights,
    settle_span,
)
from sgdb.database.ids import IdSource
from sgdb.database.locks import lock_checkpoints
from sgdb.pickles.checkpoints import Checkpoint, CheckpointFile
from sgdb.pickles.layouts import listed
from sgdb.storage.checkpoint_compare import compare_stored, hyperparameters_of, metrics_of, same
from sgdb.storage.checkpoint_files import CheckpointFiles
from sgdb.storage.checkpoint_saving import Destination, keep_bytes
from sgdb.storage.contents import Contents


class ImaginaryFiles(CheckpointFiles):
    """The folder as a dry run sees it: it says where bytes would lie, and writes none."""

    def keep(self, contents: Contents) -> Path:
        """Where the bytes would lie."""
        return self.path_of(contents.sha256)


class CheckpointIntake:
    """One file on its way in. `make_source` makes the row of source_files and returns its id; it is called at
    most once, when the first thing has to be written."""

    def __init__(
        self,
        to: Destination,
        ids: IdSource,
        file: CheckpointFile,
        weights: Contents | None,
        make_source: Callable[[], int],
    ) -> None:
        self._to = to
        self._connection = to.connection
        self._ids = ids
        self._file = file
        self._weights = weights
        self._make_source = make_source
        self._source: int | None = None
        self.session_id = 0
        self.inserted = False
        self.weights_added: int | None = None  # the checkpoint that was there before, without them
        self.notes: list[str] = []

    @property
    def source(self) -> int:
        """The id in source_files that the new rows bear."""
        if self._source is None:
            self._source = self._make_source()
        return self._source

    @property
    def wrote(self) -> bool:
        """Whether anything was changed."""
        return self._source is not None

    @property
    def brought_weights(self) -> bool:
        """Whether the weights are stored for this file's sake."""
        return self._weights is not None and (self.inserted or self.weights_added is not None)

    def take(self) -> None:
        """Takes all of it. Raises ConflictError, DiskFullError, FileAccessError, and ValueRefusedError when
        the file of the weights has changed since it was read."""
        lift_timeouts(self._connection)  # large weights are copied meanwhile
        lock_checkpoints(self._connection, timeout=self._to.lock_timeout)
        checkpoint = self._file.checkpoint
        content = checkpoint.to_json()
        stored = find_stored_epoch(self._connection, checkpoint.experiment, checkpoint.epoch, content)
        if stored is None:
            self._insert(checkpoint, content)
            return
        self.session_id = stored.session_id
        found = compare_stored(self._connection, checkpoint, self._weights, stored)
        if found:
            raise conflict(found, "database")
        if self._weights is not None and stored.weights_sha256 is None:
            self.weights_added = stored.id
            self._add_weights(stored.id, self._weights)
            self.notes.append("the checkpoint is there already, and has its weights now")
        elif self._weights is None and stored.weights_sha256 is not None:
            self.notes.append("the stored weights are kept")

    def _insert(self, checkpoint: Checkpoint, content: str) -> None:
        connection, hyperparameters = self._connection, hyperparameters_of(checkpoint)
        experiment = find_experiment(connection, checkpoint.experiment)
        if experiment is None:
            self.session_id = make_experiment(
                connection,
                self._ids,
                checkpoint.experiment,
                checkpoint.config,
                hyperparameters,
                checkpoint.time,
                self.source,
            )
        else:
            self.session_id = experiment.id
            self._note_changes(checkpoint, hyperparameters, experiment)
        metrics = metrics_of(checkpoint)
        added = add_epoch(
            connection, self._ids, self.session_id, checkpoint.epoch, content, metrics, self.source
        )
        if self._weights is not None:
            self._add_weights(added, self._weights)
        settle_span(connection, self.session_id)
        self.inserted = True

    def _note_changes(
        self, checkpoint: Checkpoint, ours: dict[str, Any], experiment: StoredExperiment
    ) -> None:
        theirs = experiment.hyperparameters
        changed = [name for name in {**ours, **theirs} if not same(ours.get(name), theirs.get(name))]
        if changed:
            self.notes.append(f"trained with other values than its session says: {listed(changed)}")
        if checkpoint.config != experiment.config:
            self.notes.append(f"trained on {checkpoint.config}, its session on {experiment.config}")

    def _add_weights(self, checkpoint_id: int, weights: Contents) -> None:
        path = keep_bytes(self._to, weights)
        _ = self.source  # whose row says that they were added
        set_weights(
            self._connection,
            checkpoint_id,
            weights.sha256,
            path,
            None if path is None else weights.size_bytes,
        )

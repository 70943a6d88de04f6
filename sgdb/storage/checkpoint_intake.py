"""Taking one checkpoint file into the database, inside the caller's transaction and behind the lock on its
experiment: its session, its checkpoint, and the bytes of its weights.

What is already there is compared; another value is a conflict that refuses the file. A checkpoint that was
stored without its weights gets them from the file that has them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sgdb.database.blobs import find_blob, is_sound_blob
from sgdb.database.compare import Difference, compare_documents, conflict
from sgdb.database.engine import lift_timeouts
from sgdb.database.experiments import (
    StoredEpoch,
    StoredExperiment,
    add_epoch,
    as_utc,
    find_experiment,
    find_stored_epoch,
    make_experiment,
    set_weights,
    settle_span,
    stored_content,
)
from sgdb.database.ids import IdSource
from sgdb.database.locks import lock_checkpoints
from sgdb.pickles.checkpoints import Checkpoint, CheckpointFile
from sgdb.pickles.layouts import listed
from sgdb.storage.checkpoint_files import CheckpointFiles
from sgdb.storage.checkpoint_saving import Destination, keep_bytes
from sgdb.storage.contents import Contents
from sgdb.storage.metrics import as_json

_MAX_BITS = 64  # of an integer among metrics and hyperparameters
_SEED = "random_seed"
_STATE = ("epsilon",)  # attributes of the agent that change while it is trained


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
        found = compare_stored(self._to, checkpoint, self._weights, stored)
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
        changed = [name for name in {**ours, **theirs} if not _same(ours.get(name), theirs.get(name))]
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


def compare_stored(
    to: Destination, checkpoint: Checkpoint, weights: Contents | None, stored: StoredEpoch
) -> list[Difference]:
    """The differences between a file and the stored checkpoint of its epoch; weights that one of the two has
    not are none."""
    name, epoch = checkpoint.experiment, checkpoint.epoch
    found: list[Difference] = []
    if not stored.is_same:
        losses = None if checkpoint.losses is None else json.loads(checkpoint.losses)
        theirs = stored_content(to.connection, stored.id)
        found += compare_documents(name, epoch, (checkpoint.document, losses), theirs)
    metrics = metrics_of(checkpoint)
    if not found and not _same(metrics, stored.metrics):
        found.append(Difference(None, name, f"epoch {epoch}, metrics", metrics, stored.metrics))
    if weights is not None and stored.weights_sha256 not in (None, weights.sha256):
        pair = (weights.sha256, stored.weights_sha256)
        found.append(Difference(None, name, f"epoch {epoch}, SHA-256 of the weights", *pair))
    return found


def compare_experiment(
    checkpoint: Checkpoint, stored: StoredExperiment, *, is_first: bool
) -> list[Difference]:
    """The differences between a file and the session of its experiment. `is_first`: the file brought it, so
    the session was made of its values."""
    name = checkpoint.experiment
    found: list[Difference] = []

    def compare(field: str, ours: Any, theirs: Any) -> None:
        if not _same(ours, theirs):
            found.append(Difference(None, name, f"session, {field}", ours, theirs))

    compare("name", name, stored.name)
    compare("bot", name, stored.bot)
    if is_first:
        compare("hyperparameters", hyperparameters_of(checkpoint), stored.hyperparameters)
        compare("config", *(config and str(config) for config in (checkpoint.config, stored.config)))
    time = as_utc(checkpoint.time)
    if time < stored.start_time:
        compare("start_time", time.isoformat(), stored.start_time.isoformat())
    if stored.end_time is None or time > stored.end_time:
        compare("end_time", time.isoformat(), stored.end_time and stored.end_time.isoformat())
    return found


def weights_are_sound(to: Destination, stored: StoredEpoch) -> bool:
    """Whether the stored bytes of the checkpoint's weights have the hash that they are stored under. Reads
    them; what lies in the database is read by the server."""
    assert stored.weights_sha256 is not None
    blob = find_blob(to.connection, stored.weights_sha256)
    if blob is None:
        return False
    if blob.in_file:
        path = to.files.find(blob.sha256, blob.size_bytes, stored.file_path)
        return path is not None and to.files.is_sound(path, blob.sha256, blob.size_bytes)
    return is_sound_blob(to.connection, blob.sha256)


def metrics_of(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """The numbers by which checkpoints are compared and drawn: those of the training's state, the agent's
    epsilon, the last loss, and those of the benchmark results whose names are not taken by these."""
    states = checkpoint.states
    found = {name: value for name, value in states.get("training_state", {}).items() if name != _SEED}
    found |= {name: value for name, value in states.get("agent_state", {}).items() if name in _STATE}
    if checkpoint.last_loss is not None:
        found["loss"] = checkpoint.last_loss
    if type(checkpoint.benchmark_results) is dict:
        found = checkpoint.benchmark_results | found
    return _numbers(found) or None


def hyperparameters_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a training was set up with: the values of the agent and its environment that do not change, and
    the random seed."""
    agent, env, training = (
        checkpoint.states.get(name, {}) for name in ("agent_state", "env_state", "training_state")
    )
    seed = {_SEED: training[_SEED]} if _SEED in training else {}
    return _numbers(seed | env | {name: value for name, value in agent.items() if name not in _STATE})


def _numbers(values: dict[str, Any]) -> dict[str, Any]:
    plain = {
        name: value
        for name, value in values.items()
        if not name.startswith("$")
        and (type(value) is float or (type(value) is int and value.bit_length() <= _MAX_BITS))
    }
    return as_json(plain, "metrics") or {}


def _same(ours: Any, theirs: Any) -> bool:
    return json.dumps(ours, sort_keys=True) == json.dumps(theirs, sort_keys=True)

"""A checkpoint file against what the database holds of it: the document, the numbers that were taken out of
it, the session of its experiment, and the weights."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection

from sgdb.database.blobs import find_blob, is_sound_blob
from sgdb.database.compare import Difference, compare_documents
from sgdb.database.experiments import (
    StoredEpoch,
    StoredExperiment,
    as_utc,
    epoch_files,
    find_experiment,
    find_stored_epoch,
    stored_content,
)
from sgdb.pickles.checkpoints import Checkpoint, CheckpointFile
from sgdb.storage.checkpoint_files import CheckpointFiles
from sgdb.storage.contents import Contents
from sgdb.storage.metrics import as_json

_MAX_BITS = 64  # of an integer among metrics and hyperparameters
_SEED = "random_seed"
_STATE = ("epsilon",)  # attributes of the agent that change while it is trained


def compare_file(
    connection: Connection, file: CheckpointFile, weights: Contents | None, files: CheckpointFiles | None
) -> tuple[list[Difference], list[str]] | None:
    """The differences between a file and the database, and what is to be noted beside; None where the
    database has no such checkpoint. `weights` are None where nobody knows where they are. The stored weights
    are read if `files` tells where they may lie."""
    checkpoint = file.checkpoint
    name, epoch = checkpoint.experiment, checkpoint.epoch
    stored = find_stored_epoch(connection, name, epoch, checkpoint.to_json())
    experiment = find_experiment(connection, name)
    if stored is None or experiment is None:
        return None
    notes: list[str] = []
    found = compare_stored(connection, checkpoint, weights, stored)
    is_first = experiment.source_file_id in {each.id for each in epoch_files(connection, sha256=file.sha256)}
    found += compare_experiment(checkpoint, experiment, is_first=is_first)
    if stored.weights_sha256 is None:
        if weights is not None:
            found.append(Difference(None, name, f"epoch {epoch}, weights", weights.sha256, None))
        elif checkpoint.weights_name is not None:
            notes.append("its weights are not stored: they were not found when it was migrated")
    elif files is not None and not weights_are_sound(connection, files, stored):
        found.append(
            Difference(None, name, f"epoch {epoch}, bytes of the weights", "present", "damaged or gone")
        )
    return found, notes


def compare_stored(
    connection: Connection, checkpoint: Checkpoint, weights: Contents | None, stored: StoredEpoch
) -> list[Difference]:
    """The differences between a file and the stored checkpoint of its epoch; weights that one of the two has
    not are none."""
    name, epoch = checkpoint.experiment, checkpoint.epoch
    found: list[Difference] = []
    if not stored.is_same:
        theirs = stored_content(connection, stored.id)
        found += compare_documents(name, epoch, json.loads(checkpoint.to_json()), theirs)
    metrics = metrics_of(checkpoint)
    if not found and not same(metrics, stored.metrics):
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
        if not same(ours, theirs):
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


def weights_are_sound(connection: Connection, files: CheckpointFiles, stored: StoredEpoch) -> bool:
    """Whether the stored bytes of the checkpoint's weights have the hash that they are stored under. Reads
    them; what lies in the database is read by the server."""
    assert stored.weights_sha256 is not None
    blob = find_blob(connection, stored.weights_sha256)
    if blob is None:
        return False
    if blob.in_file:
        path = files.find(blob.sha256, blob.size_bytes, stored.file_path)
        return path is not None and files.is_sound(path, blob.sha256, blob.size_bytes)
    return is_sound_blob(connection, blob.sha256)


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


def same(ours: Any, theirs: Any) -> bool:
    """Whether two JSON values are the same; unlike in Python, 1, 1.0 and true are three values."""
    return json.dumps(ours, sort_keys=True) == json.dumps(theirs, sort_keys=True)

"""Legacy checkpoint folders for tests, written the way the old training code wrote them.

`write_checkpoint` makes a pickle and the weights that belong to it, `checkpoint` the objects in it. Numbers
are plausible and the same on every run; weights are a zip with torch's names in it, and no tensor.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from tests.legacy import CLASSES, GameConfig, Record, _stand_in, dump

MODULE = "samegamerl.training.checkpoint_data"
CheckpointData, AgentCheckpointState, EnvCheckpointState, TrainingState = (
    CLASSES.setdefault((MODULE, name), _stand_in(MODULE, name))
    for name in ("CheckpointData", "AgentCheckpointState", "EnvCheckpointState", "TrainingState")
)
BEGUN = datetime(2025, 3, 1, 9, 30, 15, 123456)  # noqa: DTZ001 - as it was written


def checkpoint(
    experiment: str = "dqn_small",
    epoch: int = 100,
    *,
    config: tuple[int, int, int] = (5, 5, 3),
    weights: str | None = None,
    **attributes: Any,
) -> Record:
    """What the old training code kept of one epoch; `attributes` replace some of it, or are added."""
    draw = Random(f"{experiment} {epoch}")
    agent = AgentCheckpointState(
        epsilon=max(0.1, 1 - epoch / 1000),
        epsilon_min=0.1,
        epsilon_decay=0.0001,
        learning_rate=1e-05,
        gamma=0.95,
        tau=0.5,
        batch_size=128,
        replay_buffer_size=50_000,
    )
    shape = GameConfig(**dict(zip(("num_rows", "num_cols", "num_colors"), config, strict=True)))
    env = EnvCheckpointState(
        completion_reward=10,  # an integer where a float is meant, as people write it
        partial_completion_base=0.5,
        invalid_move_penalty=-1.0,
        singles_reduction_weight=0.25,
        game_config=shape,
    )
    training = TrainingState(
        total_epochs=epoch,
        current_epoch=epoch,
        total_steps=20 * epoch,
        random_seed=42,
        best_score=None,
        training_time_seconds=0.5 * epoch,
    )
    values: dict[str, Any] = {
        "version": 1,
        "experiment_name": experiment,
        "epoch": epoch,
        "timestamp": BEGUN + timedelta(seconds=epoch),
        "model_weights_filename": f"{experiment}_epoch_{epoch}_model.pth" if weights is None else weights,
        "agent_state": agent,
        "env_state": env,
        "training_state": training,
        "loss_history": [draw.random() / 10 for _ in range(10)],
        "benchmark_results": None,
        "replay_buffer_filename": None,
        "metadata": {},
    }
    return CheckpointData(**values | attributes)


def torch_zip(seed: object = 0, size: int = 2000) -> bytes:
    """Bytes with the outside of a torch file: a zip of stored entries. The pickle in it is no torch's."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, data in (
            ("archive/data.pkl", dump({"model_state_dict": {}, "optimizer_state_dict": {}}, 2)),
            ("archive/data/0", Random(f"weights {seed}").randbytes(size)),
            ("archive/version", b"3\n"),
        ):
            archive.writestr(zipfile.ZipInfo(name), data)
    return file.getvalue()


def write_checkpoint(
    folder: Path,
    experiment: str = "dqn_small",
    epoch: int = 100,
    *,
    protocol: int = 4,
    name: str | None = None,
    weights: bytes | None = b"",
    weights_folder: Path | None = None,
    spoil: Callable[[Record], Any] | None = None,
    optimize: bool = False,
    python: bool = False,
    **attributes: Any,
) -> Path:
    """Writes a checkpoint's pickle, and its weights beside it or in `weights_folder`; returns its path.

    `weights` are bytes, a torch-like zip by default, None for no file. `spoil` gets the objects before they
    are pickled and changes them in place, or returns others.
    """
    data: Any = checkpoint(experiment, epoch, **attributes)
    if spoil is not None:
        changed = spoil(data)
        data = data if changed is None else changed
    path = folder / (name or f"{experiment}_epoch_{epoch}.pkl")
    path.write_bytes(dump(data, protocol, optimize=optimize, python=python))
    if weights is not None:
        beside = (weights_folder or folder) / f"{experiment}_epoch_{epoch}_model.pth"
        beside.write_bytes(weights or torch_zip(f"{experiment} {epoch}"))
    return path

"""The other side of reading: plain dataclasses under the old system's names, loaded by `pickle.load`."""

from __future__ import annotations

import pickle
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

CONFIG_MODULE = "samegamerl.game.game_config"
DATA_MODULES = (
    "samegamerl.evaluation.benchmark_data",
    "samegamerl.evaluation.benchmark",
    "samegamerl.evaluation.benchmark_dataset",
)


@dataclass
class GameConfig:
    num_rows: int
    num_cols: int
    num_colors: int


@dataclass
class GameSnapshot:
    board: list[list[int]]
    config: GameConfig
    seed: int
    game_id: int


@dataclass
class BotPerformance:
    bot_name: str
    game_id: int
    tiles_cleared: int
    singles_remaining: int
    moves_made: int
    completed: bool


def make_importable() -> None:
    """Lets `pickle` find the classes, as in a program that has them."""
    homes: dict[str, list[type]] = {CONFIG_MODULE: [GameConfig]}
    homes |= {module: [GameSnapshot, BotPerformance] for module in DATA_MODULES}
    for module, classes in homes.items():
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            sys.modules.setdefault(".".join(parts[:end]), ModuleType(".".join(parts[:end])))
        for cls in classes:
            setattr(sys.modules[module], cls.__name__, cls)


def load(path: Path) -> dict[str, Any]:
    """The file's objects: a dict with games, results, config, num_games and base_seed."""
    with path.open("rb") as file:
        found: dict[str, Any] = pickle.load(file)
    return found


make_importable()

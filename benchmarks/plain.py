"""The other side of reading: plain dataclasses under the old system's names, loaded by `pickle`."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
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


_CLASSES: dict[tuple[str, str], type] = {
    (CONFIG_MODULE, "GameConfig"): GameConfig,
    **{(module, cls.__name__): cls for module in DATA_MODULES for cls in (GameSnapshot, BotPerformance)},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        """The class of this name; asked once a file and class, as `pickle.load` would import it."""
        return _CLASSES[module, name]


def load(path: Path) -> dict[str, Any]:
    """The file's objects: a dict with games, results, config, num_games and base_seed."""
    with path.open("rb") as file:
        found: dict[str, Any] = _Unpickler(file).load()
    return found

"""The old system's classes, as modules that can be imported."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

_MODULES = {
    "__init__.py": "",
    "game/__init__.py": "",
    "game/game_config.py": """
from dataclasses import dataclass

@dataclass
class GameConfig:
    num_rows: int = 8
    num_cols: int = 8
    num_colors: int = 4
""",
    "evaluation/__init__.py": "",
    "evaluation/benchmark_data.py": """
from dataclasses import dataclass
from samegamerl.game.game_config import GameConfig

@dataclass
class GameSnapshot:
    board: list
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

@dataclass
class BenchmarkData:
    games: list
    results: dict
    config: GameConfig
    num_games: int
    base_seed: int
""",
    "evaluation/benchmark_repository_interface.py": """
from abc import ABC, abstractmethod

class BenchmarkRepositoryInterface(ABC):
    @abstractmethod
    def save_data(self, data): ...
""",
}


@pytest.fixture
def old_folder(tmp_path: Path) -> Path:
    """A folder from which the stand-ins of the old package can be imported."""
    folder = tmp_path / "old system"
    for name, source in _MODULES.items():
        path = folder / "samegamerl" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return folder


@pytest.fixture
def old(old_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The old system's classes, by name."""
    monkeypatch.syspath_prepend(str(old_folder))
    names = {
        "evaluation.benchmark_data": ("GameSnapshot", "BotPerformance", "BenchmarkData"),
        "game.game_config": ("GameConfig",),
        "evaluation.benchmark_repository_interface": ("BenchmarkRepositoryInterface",),
    }
    found = {
        name: getattr(importlib.import_module(f"samegamerl.{module}"), name)
        for module, each in names.items()
        for name in each
    }
    yield SimpleNamespace(**found)
    for name in [name for name in sys.modules if name.partition(".")[0] == "samegamerl"]:
        del sys.modules[name]

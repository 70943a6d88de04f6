"""The benchmarks' own pickles."""

from __future__ import annotations

import pickle
import pickletools
import sys
from itertools import islice
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import plain
from benchmarks.legacy_files import BASE_SEED, BOTS, outcomes, write_legacy
from sgdb.game.boards import draw_board, game_seeds
from sgdb.records import GameConfig


def _opcodes(raw: bytes) -> list[tuple[str, object]]:
    return [(op.name, value) for op, value, _ in pickletools.genops(raw) if op.name != "FRAME"]


def _objects(config: GameConfig, num_games: int, bots: tuple[str, ...]) -> dict[str, object]:
    shape = plain.GameConfig(config.num_rows, config.num_cols, config.num_colors)
    seeds = islice(game_seeds(BASE_SEED), num_games)
    return {
        "games": [
            plain.GameSnapshot(draw_board(config, seed), shape, seed, number)
            for number, seed in enumerate(seeds)
        ],
        "results": {
            bot: [
                plain.BotPerformance(bot, number, *outcome)
                for number, outcome in enumerate(
                    islice(outcomes(bot, config.num_rows * config.num_cols), num_games)
                )
            ]
            for bot in bots
        },
        "config": shape,
        "num_games": num_games,
        "base_seed": BASE_SEED,
    }


@pytest.mark.parametrize(
    ("num_games", "bots"), [(0, ()), (1, BOTS[:1]), (2, BOTS), (1001, BOTS), (2500, (*BOTS, "Third"))]
)
def test_made_files_have_the_opcodes_of_a_real_pickler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_games: int, bots: tuple[str, ...]
) -> None:
    """Only frames may lie otherwise."""
    config = GameConfig(5, 7, 3)
    path = write_legacy(tmp_path / "made.pkl", config, num_games, bots)
    modules = {plain.CONFIG_MODULE: [plain.GameConfig]}
    modules |= {plain.DATA_MODULES[0]: [plain.GameSnapshot, plain.BotPerformance]}
    for name, classes in modules.items():  # as the pickler wants to find them
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            parent = ".".join(parts[:end])
            if parent not in sys.modules:
                monkeypatch.setitem(sys.modules, parent, ModuleType(parent))
        for cls in classes:
            monkeypatch.setattr(cls, "__module__", name)
            monkeypatch.setattr(sys.modules[name], cls.__name__, cls, raising=False)
    objects = _objects(config, num_games, bots)
    assert plain.load(path) == objects
    assert _opcodes(path.read_bytes()) == _opcodes(pickle.dumps(objects, 4))

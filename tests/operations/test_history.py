"""Moves that were recorded, and the boards that they lead to."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from sgdb.benchmark import Benchmark, InProcess
from sgdb.errors import NotFoundError, ValueRefusedError
from sgdb.game.bots import RandomBot
from sgdb.game.play import play
from sgdb.operations.history import HistoryOptions, history
from sgdb.records import GameConfig
from sgdb.settings import Settings
from sgdb.testing.data import first_games
from tests.steps import tamper

CONFIG = GameConfig(4, 5, 4)


@pytest.fixture
def recorded(settings: Settings) -> Settings:
    """Settings of a database in which RandomBot's three games are recorded, and none of the others'."""
    with Benchmark(CONFIG, 3, settings=settings, storage="database", strategy=InProcess()) as benchmark:
        benchmark.run_bots(["RandomBot"], record_moves=True)
        benchmark.run_bots(["LargestGroupBot"])
    return settings


def test_a_game_is_played_back(recorded: Settings) -> None:
    """The moves are those that the bot makes, and lead from the stored board to the stored result."""
    game = first_games(CONFIG, 42, 3)[2]
    moves: list[tuple[int, int]] = []
    outcome = play(game.cells, RandomBot(), moves=moves)
    found = history(HistoryOptions(1, 2, "RandomBot"), recorded)
    assert (found.board, found.seed, found.moves) == (game.cells, game.seed, moves)
    steps = list(found.steps())
    assert (steps[0].board, steps[0].left, steps[0].cell) == (game.cells, 20, None)
    assert [step.cell for step in steps[1:]] == moves
    assert sum(step.removed for step in steps) == outcome.tiles_cleared == 20 - steps[-1].left
    assert found.to_json() == {
        "benchmark_set_id": 1,
        "game_index": 2,
        "seed": game.seed,
        "bot": "RandomBot",
        "board": game.cells,
        "moves": [list(move) for move in moves],
    }


def test_what_is_not_there_is_said(recorded: Settings, engine: Engine) -> None:
    """An unknown set, game or bot, a game without moves, moves that lead off the board."""
    for options, said in (
        (HistoryOptions(9, 0, "RandomBot"), "no benchmark set 9"),
        (HistoryOptions(1, 3, "RandomBot"), "set 1 has no game 3"),
        (HistoryOptions(1, 0, "RandmBot"), "no results of a bot named 'RandmBot' in set 1"),
        (HistoryOptions(1, 0, "\udcff"), "no results of a bot named"),
        (HistoryOptions(1, 0, "LargestGroupBot"), "no moves of bot 'LargestGroupBot' on game 0"),
    ):
        with pytest.raises(NotFoundError, match=said) as caught:
            history(options, recorded)
        assert caught.value.hint
    assert "--config 4x5x4 --seed 42 --games 3 --record-moves --bot LargestGroupBot" in caught.value.hint
    tamper(engine, "UPDATE game_histories SET move_sequence = '[[4,0]]'")
    with pytest.raises(ValueRefusedError, match="no cell of a board"):
        list(history(HistoryOptions(1, 0, "RandomBot"), recorded).steps())

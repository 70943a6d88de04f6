"""Moves beside results: added once, compared ever after."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from sgdb.errors import ConflictError, NotFoundError, ValueRefusedError
from sgdb.records import BotPerformance, GameConfig
from sgdb.settings import Settings
from sgdb.storage import MoveStorage, PostgresStorage
from tests.steps import ask, database_state, tamper

CONFIG = GameConfig(2, 3, 4)
MOVES = {game: [(0, game % 3), (1, 2)] for game in range(1200)}


@pytest.fixture
def storage(settings: Settings) -> Any:
    """A set in which "bot" has made two moves in each of 1200 games."""
    with PostgresStorage(settings, CONFIG, 42) as storage:
        storage.save_results("bot", [BotPerformance("bot", game, 4, 2, 2, False) for game in MOVES])
        yield storage


def test_moves_come_back_and_are_added_once(storage: MoveStorage, engine: Engine) -> None:
    """In parts and whole; saving them again changes nothing, not even a sequence."""
    storage.save_moves("bot", {game: MOVES[game] for game in range(3, 1200)})
    assert storage.games_with_moves("bot").pairs() == [(3, 1200)]
    assert storage.load_moves("bot", 2, 5) == {3: MOVES[3], 4: MOVES[4]}
    storage.save_moves("bot", MOVES)
    assert storage.load_moves("bot") == MOVES
    before = database_state(engine)
    storage.save_moves("bot", MOVES)
    storage.save_moves("bot", {})
    assert database_state(engine) == before
    assert storage.load_moves("nobody") == {}
    assert ask(engine, "SELECT move_sequence::text FROM game_histories ORDER BY game_id LIMIT 1") == [
        ("[[0,0],[1,2]]",)
    ]


def test_other_moves_are_a_conflict(storage: MoveStorage, engine: Engine) -> None:
    """Nothing of the call is kept, what is stored stays."""
    storage.save_moves("bot", {0: MOVES[0]})
    for moves in ([(0, 0), (0, 0)], [(0, 0)]):
        with pytest.raises(ConflictError, match="game 0"):
            storage.save_moves("bot", {0: moves, 1: MOVES[1]})
    assert storage.load_moves("bot") == {0: MOVES[0]}


def test_moves_belong_to_a_result(storage: MoveStorage, settings: Settings, engine: Engine) -> None:
    """Of that very bot, game and set, and as many as it says."""
    before = database_state(engine)
    for bot, moves in (("nobody", {0: MOVES[0]}), ("bot", {1200: MOVES[0]})):
        with pytest.raises(NotFoundError, match="has no result on game"):
            storage.save_moves(bot, moves)
    with pytest.raises(ConflictError, match="moves_made"):
        storage.save_moves("bot", {0: [(0, 0)] * 3})
    with PostgresStorage(settings, CONFIG, 43) as other, pytest.raises(NotFoundError, match="no set"):
        other.save_moves("bot", {0: MOVES[0]})
    assert database_state(engine) == before


def test_what_is_no_move_is_not_given_out(storage: MoveStorage, engine: Engine) -> None:
    """Somebody else has written it there."""
    storage.save_moves("bot", {0: MOVES[0]})
    for stored in ('[[0,0],"x"]', "[[0,true],[0,0]]", "[[0],[1]]", "[[0,0.5],[0,0]]", "[7]"):
        tamper(engine, "UPDATE game_histories SET move_sequence = CAST(:stored AS json)", stored=stored)
        with pytest.raises(ValueRefusedError, match="is no move"):
            storage.load_moves("bot")

"""What a set holds of some rows, in one question."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from sgdb.database.engine import transaction
from sgdb.database.presence import Presence, games_there, gathered, gathered_by_key, results_there
from sgdb.pickles.files import FileSource
from sgdb.pickles.legacy import LegacyFile, Parts
from sgdb.records import BotPerformance, GameSnapshot
from sgdb.settings import Settings
from tests.legacy import write_legacy
from tests.steps import migrate, tamper

BOT = "LargestGroupBot"
CHANGES = [
    "UPDATE games SET seed = seed + 1 WHERE game_index = 3",
    "UPDATE games SET seed = NULL WHERE game_index = 3",
    "UPDATE games SET board_state = '[]' WHERE game_index = 3",
    "UPDATE games SET metadata = '{}' WHERE game_index = 3",
    "UPDATE game_results SET moves_made = moves_made + 1 WHERE id = 4",
    "UPDATE game_results SET tiles_cleared = tiles_cleared + 1 WHERE id = 4",
    "UPDATE game_results SET singles_remaining = singles_remaining + 1 WHERE id = 4",
    "UPDATE game_results SET completed = NOT completed WHERE id = 4",
    "UPDATE game_results SET metadata = '{}' WHERE id = 4",
    "UPDATE game_results SET execution_time_ms = 1 WHERE id = 4",
    "DELETE FROM game_results WHERE id = 4",
]


def _rows(path: Path) -> tuple[list[GameSnapshot], list[BotPerformance]]:
    parts = Parts(LegacyFile.read(FileSource(path)).rows())
    games = [game for batch in parts.games() for game in batch]
    return games, [row for _, batch in parts.results() for row in batch]


def _there(
    engine: Engine, games: list[GameSnapshot], results: list[BotPerformance]
) -> tuple[Presence, Presence]:
    with transaction(engine, read_only=True) as connection:
        return games_there(connection, 1, games), results_there(connection, 1, BOT, 1, results)


def test_the_same_in_any_order_and_nothing(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    """Whole, in part, and of games that are not there."""
    path = write_legacy(tmp_path / "x", num_games=20)
    migrate(settings, path)
    games, results = _rows(path)
    same = (Presence.THE_SAME, Presence.THE_SAME)
    assert _there(engine, games, results) == same
    assert _there(engine, games[::-3], results[::-3]) == same
    beyond = [game._replace(game_id=game.game_id + 100) for game in games]
    results_beyond = [row._replace(game_id=row.game_id + 100) for row in results]
    assert _there(engine, beyond, results_beyond) == (Presence.NOTHING, Presence.NOTHING)
    partly = (Presence.OTHERWISE, Presence.OTHERWISE)
    assert _there(engine, games + beyond, results + results_beyond) == partly


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_seen(settings: Settings, engine: Engine, tmp_path: Path, change: str) -> None:
    """In either table, of any value; a missing row, too."""
    path = write_legacy(tmp_path / "x", num_games=20)
    migrate(settings, path)
    tamper(engine, change)
    expected = [Presence.THE_SAME, Presence.THE_SAME]
    expected["game_results" in change] = Presence.OTHERWISE
    assert list(_there(engine, *_rows(path))) == expected


def test_rows_are_gathered_in_order() -> None:
    """In lists of as many as asked for, and of one key each."""
    rows = [BotPerformance("a", number, 0, 0, 0, False) for number in range(10)]
    assert list(gathered([rows[:3], rows[3:4], rows[4:]], 4)) == [rows[:4], rows[4:8], rows[8:]]
    pairs = [("a", rows[:3]), ("a", rows[3:5]), ("b", rows[:1])]
    assert list(gathered_by_key(pairs, 4)) == [("a", rows[:4]), ("a", rows[4:5]), ("b", rows[:1])]

"""Ids as runs, found on the server."""

from __future__ import annotations

import random

from sqlalchemy import Engine

from sgdb.database.coverage import listed, regenerated_games, stored_games, stored_results
from sgdb.database.engine import transaction
from sgdb.records import Contents, GameConfig, IdRuns
from tests.steps import tamper

LAST = 2**31 - 1


def _set_with(engine: Engine, indexes: list[int]) -> None:
    tamper(engine, "INSERT INTO game_configs (num_rows, num_cols, num_colors) VALUES (1, 1, 2)")
    tamper(engine, "INSERT INTO benchmark_sets (name, config_id, num_games, base_seed) VALUES ('x', 1, 0, 0)")
    tamper(engine, "INSERT INTO benchmark_sets (name, config_id, num_games, base_seed) VALUES ('y', 1, 0, 1)")
    tamper(engine, "INSERT INTO bots (name) VALUES ('Z'), ('A'), ('None')")
    tamper(
        engine,
        "INSERT INTO games (benchmark_set_id, game_index, board_state, metadata) SELECT s, n, '[[1]]', "
        'CASE WHEN n > 500 THEN \'{"origin": "regenerated"}\'::jsonb END '
        "FROM unnest(CAST(:indexes AS int[])) AS n, generate_series(1, 2) AS s",
        indexes=indexes,
    )
    tamper(
        engine,
        "INSERT INTO game_results (game_id, bot_id, tiles_cleared, singles_remaining, moves_made, completed) "
        "SELECT g.id, b.id, 0, 0, 0, false FROM games g, bots b "
        "WHERE benchmark_set_id = 1 AND (b.name = 'Z' OR (b.name = 'A' AND game_index % 2 = 0))",
    )


def test_runs_are_those_of_the_rows(engine: Engine) -> None:
    """Of games, of generated ones, and of each bot's results, up to the largest index there is."""
    indexes = sorted({*random.Random(1).sample(range(1000), 600), LAST - 1, LAST})
    _set_with(engine, random.Random(2).sample(indexes, len(indexes)))

    def runs(numbers: list[int]) -> IdRuns:
        found = IdRuns()
        for number in numbers:
            found.append(number)
        return found

    with transaction(engine, read_only=True) as connection:
        assert stored_games(connection, 1) == runs(indexes)
        assert stored_games(connection, 3) == IdRuns()
        assert regenerated_games(connection, 1) == runs([number for number in indexes if number > 500])
        found = stored_results(connection, 1)
        assert list(found) == ["A", "Z"]
        assert found == {"A": runs([number for number in indexes if number % 2 == 0]), "Z": runs(indexes)}
        assert stored_results(connection, 2) == {}


def test_what_files_list_is_their_union() -> None:
    """A game counts as listed when a result names it."""
    config = GameConfig(1, 1, 2)
    first = Contents("C", config, 3, 1, IdRuns([(2, 3), (0, 2)]), (("A", IdRuns([(0, 2), (7, 9)])),))
    second = Contents("C", config, 5, 1, IdRuns([(0, 5)]), (("A", IdRuns([(1, 3)])), ("B", IdRuns())))
    games, results = listed([first, second])
    assert games == IdRuns([(0, 5), (7, 9)])
    assert results == {"A": IdRuns([(0, 3), (7, 9)]), "B": IdRuns()}
    assert listed([]) == (IdRuns(), {})

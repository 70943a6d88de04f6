"""Whether totals are true: counted here once more, in other words than the program's."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, text

_COUNTED = """
    SELECT benchmark_set_id, bot_id, count(*) AS results, sum(completed::int) AS completed,
        sum(tiles_cleared::numeric), sum(tiles_cleared::numeric ^ 2)::numeric(60),
        sum(singles_remaining::numeric), sum(moves_made::numeric)
    FROM games g, game_results r WHERE g.id = r.game_id GROUP BY 1, 2
"""
_STORED = """
    SELECT benchmark_set_id, bot_id, results, completed, tiles_cleared_sum, tiles_cleared_square_sum,
        singles_remaining_sum, moves_made_sum FROM result_totals
"""
_GAMES_COUNTED = "SELECT benchmark_set_id, count(*) FROM games GROUP BY 1"
_GAMES_STORED = "SELECT benchmark_set_id, games FROM game_totals"


def untrue(connection: Connection) -> list[tuple[Any, ...]]:
    """Lines that are not as the rows have them, and what a deletion has left behind."""
    found: list[tuple[Any, ...]] = []
    for counted, stored in ((_COUNTED, _STORED), (_GAMES_COUNTED, _GAMES_STORED)):
        for one, other in ((counted, stored), (stored, counted)):
            found += map(tuple, connection.execute(text(f"({one}) EXCEPT ({other})")))
    found += map(tuple, connection.execute(text("SELECT * FROM departing_games")))
    return found


def assert_true(engine: Engine) -> None:
    """On a connection of its own."""
    with engine.connect() as connection:
        assert untrue(connection) == []

"""The other side of writing and reading: psycopg2 and SQL by hand, into and out of the same tables.

Indexes and keys are in place. Triggers that sgdb has beside them are switched off: who writes by hand would
not have made them.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2

from benchmarks import plain
from sgdb.settings import Settings

_READ_SIZE = 1 << 16  # bytes psycopg2 asks for at a time: its own 8 kB are slower
# The set with this board shape and base seed, or with this id: a program that has found it out may keep it.
BY_NAME = (
    "JOIN benchmark_sets ON benchmark_sets.id = benchmark_set_id"
    " JOIN game_configs ON game_configs.id = config_id"
    " WHERE num_rows = %s AND num_cols = %s AND num_colors = %s AND base_seed = %s"
)
BY_ID = "WHERE benchmark_set_id = %s"
_GAMES = (
    "SELECT game_index, board_state::text, games.seed, games.metadata FROM games"
    " {} AND game_index >= %s AND game_index < %s ORDER BY game_index"
)
_RESULTS = (
    "SELECT game_index, tiles_cleared, singles_remaining, moves_made, completed, game_results.metadata"
    " FROM game_results JOIN games ON games.id = game_id JOIN bots ON bots.id = bot_id"
    " {} AND game_index >= %s AND game_index < %s AND bots.name = %s ORDER BY game_index"
)
_DIGEST = (
    "SELECT count(*), sum(hashtextextended(concat_ws(' ', game_index, board_state, seed), 0)::numeric)"
    " FROM games UNION ALL"
    " SELECT count(*), sum(hashtextextended(concat_ws(' ', game_index, name, tiles_cleared,"
    " singles_remaining, moves_made, completed), 0)::numeric)"
    " FROM game_results JOIN games ON games.id = game_id JOIN bots ON bots.id = bot_id"
)


@contextmanager
def connected(settings: Settings, *, autocommit: bool = False) -> Iterator[Any]:
    """A connection to the settings' database; closed at the end."""
    assert settings.database_url is not None
    address = settings.database_url.get_secret_value().replace("postgresql+psycopg2", "postgresql")
    connection = psycopg2.connect(address)
    connection.autocommit = autocommit
    try:
        yield connection
    finally:
        connection.close()


def switch_triggers_off(settings: Settings) -> None:
    """Leaves only the triggers that foreign keys consist of."""
    with connected(settings, autocommit=True) as connection, connection.cursor() as cursor:
        for table in ("games", "game_results"):
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")


def migrate(connection: Any, path: Path) -> None:
    """Everything in a pickle of layout C into an empty database, committed."""
    data = plain.load(path)
    config = data["config"]
    shape = (config.num_rows, config.num_cols, config.num_colors)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO game_configs (num_rows, num_cols, num_colors) VALUES (%s, %s, %s) RETURNING id",
            shape,
        )
        (config_id,) = cursor.fetchone()
        cursor.execute(
            "INSERT INTO benchmark_sets (name, config_id, num_games, base_seed)"
            " VALUES (%s, %s, %s, %s) RETURNING id",
            (path.name, config_id, data["num_games"], data["base_seed"]),
        )
        (set_id,) = cursor.fetchone()
        # Games get their keys here, so that results know them: in an empty table, the game's number plus 1.
        lines = [
            f"{game.game_id + 1}\t{set_id}\t{game.game_id}\t{str(game.board).replace(' ', '')}\t{game.seed}\n"
            for game in data["games"]
        ]
        _copy(cursor, "games (id, benchmark_set_id, game_index, board_state, seed)", lines)
        for bot, rows in data["results"].items():
            cursor.execute("INSERT INTO bots (name) VALUES (%s) RETURNING id", (bot,))
            (bot_id,) = cursor.fetchone()
            lines = [
                f"{row.game_id + 1}\t{bot_id}\t{row.tiles_cleared}\t{row.singles_remaining}\t{row.moves_made}"
                f"\t{row.completed}\n"
                for row in rows
            ]
            _copy(
                cursor,
                "game_results (game_id, bot_id, tiles_cleared, singles_remaining, moves_made, completed)",
                lines,
            )
    connection.commit()


def _copy(cursor: Any, target: str, lines: list[str]) -> None:
    cursor.copy_expert(f"COPY {target} FROM STDIN", io.StringIO("".join(lines)), _READ_SIZE)


def digest(settings: Settings) -> list[tuple[int, int]]:
    """The number of games and of results, each with a sum over their values: equal for equal rows."""
    with connected(settings) as connection, connection.cursor() as cursor:
        cursor.execute(_DIGEST)
        found: list[tuple[int, int]] = cursor.fetchall()
        return found


def read_games(
    connection: Any, which: str, key: tuple[int, ...], start: int, stop: int
) -> list[tuple[Any, ...]]:
    """A set's games from `start` up to but without `stop`; `which` is BY_NAME or BY_ID, with its `key`."""
    return _fetch(connection, _GAMES.format(which), (*key, start, stop))


def read_results(
    connection: Any, which: str, key: tuple[int, ...], bot: str, start: int, stop: int
) -> list[tuple[Any, ...]]:
    """One bot's results on them."""
    return _fetch(connection, _RESULTS.format(which), (*key, start, stop, bot))


def _fetch(connection: Any, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found

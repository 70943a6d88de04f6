"""Questions to the database. Each gives plain dicts, and never more rows at once than a batch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import BigInteger, Connection, Select, Text, cast, func, select, text

from sgdb.database.kept_totals import require_kept
from sgdb.database.models import BenchmarkSet, Bot, Game, GameConfigRow, GameResult, GameTotals, ResultTotals
from sgdb.database.reading import streamed, within


def benchmark_sets(connection: Connection) -> list[dict[str, Any]]:
    """All sets: `num_games` is the declared size, `games` the number of stored boards. Counted are totals;
    raises SchemaError where they are not kept."""
    require_kept(connection)
    results = (
        select(
            ResultTotals.benchmark_set_id,
            func.count().label("bots"),
            cast(func.sum(ResultTotals.results), BigInteger).label("results"),
        )
        .group_by(ResultTotals.benchmark_set_id)
        .subquery()
    )
    query = (
        select(
            BenchmarkSet.id,
            BenchmarkSet.name,
            GameConfigRow.num_rows,
            GameConfigRow.num_cols,
            GameConfigRow.num_colors,
            BenchmarkSet.base_seed,
            BenchmarkSet.num_games,
            func.coalesce(GameTotals.games, 0).label("games"),
            func.coalesce(results.c.bots, 0).label("bots"),
            func.coalesce(results.c.results, 0).label("results"),
            BenchmarkSet.created_at,
        )
        .join(GameConfigRow, GameConfigRow.id == BenchmarkSet.config_id)
        .outerjoin(GameTotals, GameTotals.benchmark_set_id == BenchmarkSet.id)
        .outerjoin(results, results.c.benchmark_set_id == BenchmarkSet.id)
        .order_by(BenchmarkSet.id)
    )
    return [
        {**row._mapping, "created_at": row.created_at.isoformat(timespec="seconds")}
        for row in connection.execute(query)
    ]


def _in_order(query: Select[Any], start: int | None, stop: int | None) -> Select[Any]:
    return within(query, start, stop).order_by(Game.game_index)


def games(
    connection: Connection, set_id: int, start: int | None = None, stop: int | None = None
) -> Iterator[dict[str, Any]]:
    """A set's games from index `start` up to but without `stop`; `board` is a list of rows."""
    query = select(
        Game.game_index, Game.seed, cast(Game.board_state, Text).label("board"), Game.metadata_
    ).where(Game.benchmark_set_id == set_id)
    for index, seed, board, metadata in streamed(connection, _in_order(query, start, stop)):
        yield {"game_index": index, "seed": seed, "board": json.loads(board), "metadata": metadata}


def results(
    connection: Connection, set_id: int, bot: str, start: int | None = None, stop: int | None = None
) -> Iterator[dict[str, Any]]:
    """One bot's results on a set's games from index `start` up to but without `stop`."""
    query = (
        select(
            Game.game_index,
            GameResult.tiles_cleared,
            GameResult.singles_remaining,
            GameResult.moves_made,
            GameResult.completed,
            GameResult.execution_time_ms,
            GameResult.metadata_,
        )
        .join(GameResult, GameResult.game_id == Game.id)
        .join(Bot, Bot.id == GameResult.bot_id)
        .where(Game.benchmark_set_id == set_id, Bot.name == bot)
    )
    for row in streamed(connection, _in_order(query, start, stop)):
        yield dict(row._mapping)


def learning_curve(connection: Connection, session_id: int) -> list[dict[str, Any]]:
    """The numbers that one training's checkpoints bear, by metric and then by epoch."""
    query = text(
        "SELECT epoch, metric, value, checkpoint_id FROM sgdb_views.learning_curve"
        ' WHERE session_id = :session ORDER BY metric COLLATE "C", epoch'
    )
    return [dict(row._mapping) for row in connection.execute(query, {"session": session_id})]

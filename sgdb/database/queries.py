"""Questions to the database. Each gives plain dicts, and never more rows at once than a batch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Double, Integer, Select, Text, cast, func, select

from sgdb.database.models import BenchmarkSet, Bot, Game, GameConfigRow, GameResult
from sgdb.database.reading import streamed, within
from sgdb.database.twins import of_config
from sgdb.records import GameConfig


def bot_performance(
    connection: Connection,
    *,
    bot: str | None = None,
    set_id: int | None = None,
    config: GameConfig | None = None,
    base_seed: int | None = None,
) -> list[dict[str, Any]]:
    """One row a bot and benchmark set, by set and bot name.

    `completion_rate` is from 0 to 1; means are over the bot's results in that set; the standard deviation
    is that of a sample (n - 1 in the divisor) and None for a single game.
    """
    tiles = cast(GameResult.tiles_cleared, Double)
    query = (
        select(
            Bot.name.label("bot"),
            BenchmarkSet.id.label("benchmark_set_id"),
            GameConfigRow.num_rows,
            GameConfigRow.num_cols,
            GameConfigRow.num_colors,
            BenchmarkSet.base_seed,
            func.count().label("games"),
            func.count().filter(GameResult.completed).label("completed"),
            func.avg(cast(cast(GameResult.completed, Integer), Double)).label("completion_rate"),
            func.avg(tiles).label("tiles_cleared_mean"),
            func.stddev_samp(tiles).label("tiles_cleared_stddev"),
            func.avg(cast(GameResult.singles_remaining, Double)).label("singles_remaining_mean"),
            func.avg(cast(GameResult.moves_made, Double)).label("moves_made_mean"),
        )
        .select_from(GameResult)
        .join(Game, Game.id == GameResult.game_id)
        .join(BenchmarkSet, BenchmarkSet.id == Game.benchmark_set_id)
        .join(GameConfigRow, GameConfigRow.id == BenchmarkSet.config_id)
        .join(Bot, Bot.id == GameResult.bot_id)
        .group_by(Bot.id, BenchmarkSet.id, GameConfigRow.id)
        .order_by(BenchmarkSet.id, Bot.name)
    )
    if bot is not None:
        query = query.where(Bot.name == bot)
    if set_id is not None:
        query = query.where(BenchmarkSet.id == set_id)
    if config is not None:
        query = query.where(of_config(config))
    if base_seed is not None:
        query = query.where(BenchmarkSet.base_seed == base_seed)
    return [dict(row._mapping) for row in connection.execute(query)]


def benchmark_sets(connection: Connection) -> list[dict[str, Any]]:
    """All sets: `num_games` is the declared size, `games` the number of stored boards."""
    games = (
        select(Game.benchmark_set_id, func.count().label("games")).group_by(Game.benchmark_set_id).subquery()
    )
    results = (
        select(
            Game.benchmark_set_id,
            func.count().label("results"),
            func.count(GameResult.bot_id.distinct()).label("bots"),
        )
        .join(GameResult, GameResult.game_id == Game.id)
        .group_by(Game.benchmark_set_id)
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
            func.coalesce(games.c.games, 0).label("games"),
            func.coalesce(results.c.bots, 0).label("bots"),
            func.coalesce(results.c.results, 0).label("results"),
            BenchmarkSet.created_at,
        )
        .join(GameConfigRow, GameConfigRow.id == BenchmarkSet.config_id)
        .outerjoin(games, games.c.benchmark_set_id == BenchmarkSet.id)
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

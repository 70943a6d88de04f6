"""Questions to the database. Each gives plain dicts, and never more rows at once than a batch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal, localcontext
from typing import Any

from sqlalchemy import BigInteger, Connection, Select, Text, cast, func, select

from sgdb.database.models import BenchmarkSet, Bot, Game, GameConfigRow, GameResult, GameTotals, ResultTotals
from sgdb.database.reading import streamed, within
from sgdb.database.totals import require_kept
from sgdb.database.twins import of_config
from sgdb.records import GameConfig

_DIGITS = 60  # more than a float can tell, at every step


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
    is that of a sample (n - 1 in the divisor) and None for a single game. All of them are the floats nearest
    to the exact values, which integer totals give. No result is read, so it takes the same time however many
    there are. Raises SchemaError where totals are not kept.
    """
    require_kept(connection)
    query = (
        select(
            Bot.name,
            BenchmarkSet.id,
            GameConfigRow.num_rows,
            GameConfigRow.num_cols,
            GameConfigRow.num_colors,
            BenchmarkSet.base_seed,
            ResultTotals,
        )
        .join(BenchmarkSet, BenchmarkSet.id == ResultTotals.benchmark_set_id)
        .join(GameConfigRow, GameConfigRow.id == BenchmarkSet.config_id)
        .join(Bot, Bot.id == ResultTotals.bot_id)
        .where(ResultTotals.results > 0)
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
    return [
        {
            "bot": row.name,
            "benchmark_set_id": row.id,
            "num_rows": row.num_rows,
            "num_cols": row.num_cols,
            "num_colors": row.num_colors,
            "base_seed": row.base_seed,
            "games": row.results,
            "completed": row.completed,
            "completion_rate": row.completed / row.results,
            "tiles_cleared_mean": row.tiles_cleared_sum / row.results,
            "tiles_cleared_stddev": _deviation(
                row.results, row.tiles_cleared_sum, int(row.tiles_cleared_square_sum)
            ),
            "singles_remaining_mean": row.singles_remaining_sum / row.results,
            "moves_made_mean": row.moves_made_sum / row.results,
        }
        for row in connection.execute(query)
    ]


def _deviation(count: int, total: int, squares: int) -> float | None:
    """The standard deviation of a sample: root of (n * sum of squares - square of the sum) / (n * (n - 1)).

    The difference is one of integers, so nothing is lost where all values are nearly the same. (It is never
    negative, unless somebody has spoilt the totals.)
    """
    if count < 2:
        return None
    with localcontext(prec=_DIGITS):
        return float((Decimal(max(count * squares - total * total, 0)) / (count * (count - 1))).sqrt())


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

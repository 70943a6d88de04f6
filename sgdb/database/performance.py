"""How bots did on sets, out of the totals.

SQL as text rather than by way of the models: this is what is asked most, and half of a small command's time
would go into loading them.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

from sqlalchemy import Connection, text

from sgdb.database.kept_totals import require_kept
from sgdb.records import GameConfig

_DIGITS = 60  # more than a float can tell, at every step
_QUESTION = """
    SELECT bots.name AS bot, benchmark_set_id, num_rows, num_cols, num_colors, base_seed, results, completed,
        tiles_cleared_sum, tiles_cleared_square_sum, singles_remaining_sum, moves_made_sum
    FROM result_totals
    JOIN benchmark_sets ON benchmark_sets.id = benchmark_set_id
    JOIN game_configs ON game_configs.id = config_id
    JOIN bots ON bots.id = bot_id
    WHERE results > 0
"""
_CONDITIONS = {
    "bot": " AND bots.name = :bot",
    "set_id": " AND benchmark_set_id = :set_id",
    "num_rows": " AND num_rows = :num_rows",
    "num_cols": " AND num_cols = :num_cols",
    "num_colors": " AND num_colors = :num_colors",
    "base_seed": " AND base_seed = :base_seed",
}
_ORDER = " ORDER BY benchmark_set_id, bots.name"


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
    asked: dict[str, Any] = {"bot": bot, "set_id": set_id, "base_seed": base_seed}
    if config is not None:
        asked |= {
            "num_rows": config.num_rows,
            "num_cols": config.num_cols,
            "num_colors": config.num_colors,
        }
    asked = {name: value for name, value in asked.items() if value is not None}
    question = _QUESTION + "".join(map(_CONDITIONS.__getitem__, asked)) + _ORDER
    return [
        {
            "bot": row.bot,
            "benchmark_set_id": row.benchmark_set_id,
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
        for row in connection.execute(text(question), asked)
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

"""How bots did on a set, from its rows: the same numbers as `sgdb.database.performance`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from sgdb.records import BenchmarkData, BotPerformance


def performance_rows(data: BenchmarkData | None) -> list[dict[str, Any]]:
    """One row a bot, in the order of their names; `benchmark_set_id` is None, for there is no database."""
    if data is None:
        return []
    return [_row(data, bot, rows) for bot, rows in sorted(data.results.items()) if rows]


def _row(data: BenchmarkData, bot: str, rows: Sequence[BotPerformance]) -> dict[str, Any]:
    tiles = [row.tiles_cleared for row in rows]
    completed = sum(row.completed for row in rows)
    return {
        "bot": bot,
        "benchmark_set_id": None,
        "num_rows": data.config.num_rows,
        "num_cols": data.config.num_cols,
        "num_colors": data.config.num_colors,
        "base_seed": data.base_seed,
        "games": len(rows),
        "completed": completed,
        "completion_rate": completed / len(rows),
        "tiles_cleared_mean": statistics.fmean(tiles),
        "tiles_cleared_stddev": statistics.stdev(tiles) if len(rows) > 1 else None,
        "singles_remaining_mean": statistics.fmean(row.singles_remaining for row in rows),
        "moves_made_mean": statistics.fmean(row.moves_made for row in rows),
    }

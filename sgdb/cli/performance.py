"""How bots did on sets, laid out: several commands end with this table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sgdb.records import GameConfig

# A table's columns for the rate and the means: the full names would make it too wide for a terminal.
MEANS = {
    "rate": "completion_rate",
    "tiles": "tiles_cleared_mean",
    "stddev": "tiles_cleared_stddev",
    "singles": "singles_remaining_mean",
    "moves": "moves_made_mean",
}
PERFORMANCE_COLUMNS = ("bot", "set", "config", "seed", "games", *MEANS)


def performance_in_short(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows with PERFORMANCE_COLUMNS."""
    return [in_short(row) | {short: row[name] for short, name in MEANS.items()} for row in rows]


def in_short(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row for a person: the config in one word, ids as they are typed."""
    config = GameConfig(row["num_rows"], row["num_cols"], row["num_colors"])
    set_id = row.get("benchmark_set_id", row.get("id"))
    return {**row, "set": set_id, "config": str(config), "seed": str(row["base_seed"])}

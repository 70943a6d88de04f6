"""`sgdb query bot-performance`: how every bot did on every set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sgdb.database.access import ready_engine
from sgdb.database.engine import transaction
from sgdb.database.performance import bot_performance as question
from sgdb.errors import UsageError
from sgdb.progress import Progress, Silent
from sgdb.records import GameConfig
from sgdb.settings import Settings

PERFORMANCE_FIELDS = (
    "bot", "benchmark_set_id", "num_rows", "num_cols", "num_colors", "base_seed", "games", "completed",
    "completion_rate", "tiles_cleared_mean", "tiles_cleared_stddev", "singles_remaining_mean",
    "moves_made_mean",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class BotPerformanceOptions:
    """Which bots and sets, and the field to sort by: numbers from the highest, texts alphabetically."""

    bot: str | None = None
    set_id: int | None = None
    config: GameConfig | None = None
    base_seed: int | None = None
    sort: str | None = None


def bot_performance(
    options: BotPerformanceOptions, settings: Settings, progress: Progress | None = None
) -> list[dict[str, Any]]:
    """One row a bot and set, with PERFORMANCE_FIELDS. Raises UsageError for an unknown field to sort by,
    NotFoundError for a set or bot that does not exist."""
    if options.sort is not None and options.sort not in PERFORMANCE_FIELDS:
        raise UsageError(
            f"cannot sort by {options.sort!a}", hint="sort by one of: " + ", ".join(PERFORMANCE_FIELDS)
        )
    notice = (progress or Silent()).notice
    with ready_engine(settings, notice) as engine, transaction(engine, read_only=True) as connection:
        if options.set_id is not None or options.bot is not None:
            # With the models, which take a while to load: whoever names nothing does without.
            from sgdb.database.sets import describe_set, find_bots, unknown_bot

            if options.set_id is not None:
                describe_set(connection, options.set_id)
            if options.bot is not None and not find_bots(connection, [options.bot]):
                raise unknown_bot(options.bot, [row["bot"] for row in question(connection)])
        rows = question(
            connection,
            bot=options.bot,
            set_id=options.set_id,
            config=options.config,
            base_seed=options.base_seed,
        )
    if options.sort is not None:
        _sort(rows, options.sort)
    return rows


def _sort(rows: list[dict[str, Any]], field: str) -> None:
    known = [row for row in rows if row[field] is not None]
    unknown = [row for row in rows if row[field] is None]
    known.sort(key=lambda row: row[field], reverse=field != "bot")
    rows[:] = known + unknown

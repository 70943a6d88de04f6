"""`sgdb benchmark run`: bots play the games of a set that they have no result on."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from sgdb.benchmark import Benchmark, ProcessPool, RayCluster, Strategy
from sgdb.benchmark.benchmark import BotRun
from sgdb.benchmark.performance import performance_rows
from sgdb.benchmark.pool import TIME_LIMIT
from sgdb.database.access import ready_engine
from sgdb.database.engine import transaction
from sgdb.database.performance import bot_performance
from sgdb.database.sets import find_set
from sgdb.game.play import MOVE_LIMIT
from sgdb.progress import Progress, Silent
from sgdb.records import GameConfig
from sgdb.settings import Settings
from sgdb.storage.factory import Kind


@dataclass(frozen=True, slots=True)
class BenchmarkOptions:
    """Which set, who plays it, and where what is played is kept.

    `bots` are names of built-in bots or "package.module:Class"; none are all built-in ones. `jobs` (None: all
    cores) play at once, on this machine or, with `ray`, on the cluster at that address. `time_limit` is in
    seconds a game, None for no limit. `storage` None is the one of the settings.
    """

    config: GameConfig
    num_games: int = 1000
    base_seed: int = 42
    bots: tuple[str, ...] = ()
    jobs: int | None = None
    ray: str | None = None
    storage: Kind | None = None
    record_moves: bool = False
    move_limit: int = MOVE_LIMIT
    time_limit: float | None = TIME_LIMIT


@dataclass(slots=True)
class BenchmarkResult:
    """What became of each bot's games, and how all bots did on the set, in the order of their names, with the
    fields of `query bot-performance`."""

    options: BenchmarkOptions
    storage: str
    bots: list[BotRun] = field(default_factory=list)
    performance: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """1 when a game failed."""
        return 1 if any(run.failures for run in self.bots) else 0

    def to_json(self) -> dict[str, Any]:
        """The command's JSON document."""
        options = self.options
        return {
            "config": asdict(options.config),
            "base_seed": options.base_seed,
            "num_games": options.num_games,
            "move_limit": options.move_limit,
            "storage": self.storage,
            "seconds": round(self.seconds, 3),
            "bots": [
                {
                    "bot": run.bot,
                    "there": run.there,
                    "played": run.played,
                    "recorded": run.recorded if options.record_moves else None,
                    "failed": len(run.failures),
                }
                for run in self.bots
            ],
            "failures": [
                {"bot": run.bot, "game_id": failure.game_id, "reason": failure.reason}
                for run in self.bots
                for failure in run.failures
            ],
            "performance": self.performance,
        }


def benchmark(
    options: BenchmarkOptions, settings: Settings, progress: Progress | None = None
) -> BenchmarkResult:
    """Has the bots play what they have no result on, and keeps it as it comes.

    Interrupted, by an exception of whatever kind, it has saved what was played until then, and the next call
    goes on from there. Raises what `Benchmark.run_bots` raises, and ClusterError.
    """
    began = time.monotonic()
    with (
        _strategy(options) as strategy,
        Benchmark(
            options.config,
            options.num_games,
            options.base_seed,
            options.storage or settings.storage,
            settings=settings,
            strategy=strategy,
            move_limit=options.move_limit,
        ) as played,
    ):
        result = BenchmarkResult(options, played.storage.kind)
        result.bots = played.run_bots(
            options.bots or None, record_moves=options.record_moves, progress=progress
        )
        if played.storage.kind == "database":
            result.performance = _performance(options, settings, progress)
        else:
            result.performance = performance_rows(played.storage.load_data())
    result.seconds = time.monotonic() - began
    return result


def _strategy(options: BenchmarkOptions) -> Strategy:
    if options.ray is not None:
        return RayCluster(options.ray, options.jobs, time_limit=options.time_limit)
    # A bot of the user's is looked for in the current folder, too, as Python itself does for a script there.
    return ProcessPool(options.jobs, time_limit=options.time_limit, path=[os.getcwd()])  # noqa: PTH109


def _performance(
    options: BenchmarkOptions, settings: Settings, progress: Progress | None
) -> list[dict[str, Any]]:
    notice = (progress or Silent()).notice
    with ready_engine(settings, notice) as engine, transaction(engine, read_only=True) as connection:
        found = find_set(connection, options.config, options.base_seed)
        return bot_performance(connection, set_id=found[0]) if found else []

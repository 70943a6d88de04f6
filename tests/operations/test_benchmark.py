"""Running a benchmark: what it says is what is stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from sgdb.operations.benchmark import BenchmarkOptions, benchmark
from sgdb.operations.performance import PERFORMANCE_FIELDS, BotPerformanceOptions, bot_performance
from sgdb.records import GameConfig
from sgdb.settings import Settings, load_settings

OPTIONS = {"config": GameConfig(4, 5, 4), "num_games": 12, "base_seed": 7, "jobs": 2}


def test_the_report(settings: Settings, tmp_path: Path) -> None:
    """The numbers of `query bot-performance`, of the whole set; the same ones from a pickle."""
    result = benchmark(BenchmarkOptions(**OPTIONS, record_moves=True), settings)  # type: ignore[arg-type]
    document = result.to_json()
    assert (result.exit_code, document.pop("seconds")) == (0, round(result.seconds, 3))
    rows = bot_performance(BotPerformanceOptions(set_id=1), settings)
    assert document == {
        "config": {"num_rows": 4, "num_cols": 5, "num_colors": 4},
        "base_seed": 7,
        "num_games": 12,
        "move_limit": 100,
        "storage": "database",
        "bots": [
            {"bot": bot, "there": 0, "played": 12, "recorded": 12, "failed": 0}
            for bot in ("LargestGroupBot", "GreedySinglesBot", "RandomBot")
        ],
        "failures": [],
        "performance": rows,
    }
    pickles = load_settings({"home": tmp_path / "none", "pickle_dir": tmp_path})
    pickled = benchmark(BenchmarkOptions(**OPTIONS, storage="pickle"), pickles).performance  # type: ignore[arg-type]
    assert [tuple(row) for row in pickled] == [PERFORMANCE_FIELDS] * 3
    assert [row | {"benchmark_set_id": 1} for row in pickled] == [pytest.approx(row) for row in rows]
    part = {**OPTIONS, "num_games": 3}
    assert benchmark(BenchmarkOptions(**part), settings).performance == rows  # type: ignore[arg-type]


def test_failures_are_in_the_report(settings: Settings) -> None:
    """Each with bot, game and reason."""
    bots = ("tests.benchmark.bots:Raising", "RandomBot")
    result = benchmark(BenchmarkOptions(**OPTIONS, bots=bots), settings)  # type: ignore[arg-type]
    document = result.to_json()
    assert result.exit_code == 1
    assert [(bot["bot"], bot["failed"] > 0, bot["recorded"]) for bot in document["bots"]] == [
        ("Raising", True, None),
        ("RandomBot", False, None),
    ]
    assert len(document["failures"]) == document["bots"][0]["failed"]
    for failure in document["failures"]:
        assert (failure["bot"], failure["reason"]) == ("Raising", "the bot raised ValueError: odd")

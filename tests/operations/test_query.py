"""What the database knows, in parts: the numbers are those of plain arithmetic over the files."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from sgdb.errors import NotFoundError, UsageError
from sgdb.operations.performance import PERFORMANCE_FIELDS, BotPerformanceOptions, bot_performance
from sgdb.operations.query import (
    GAME_FIELDS,
    RESULT_FIELDS,
    RUN_FIELDS,
    RUN_FILE_FIELDS,
    SET_FIELDS,
    PartOptions,
    games,
    results,
    run_files,
    runs,
    sets,
)
from sgdb.operations.rollback import RollbackOptions, rollback
from sgdb.records import GameConfig
from sgdb.settings import Settings
from tests.legacy import benchmark, write_legacy
from tests.steps import Listener, database_state, migrate, tamper

BENCHMARKS: list[dict[str, Any]] = [
    {"bots": ("A", "Bot two"), "num_games": 30},
    {"bots": ("A",), "num_games": 1, "config": (2, 3, 4)},
    {"bots": ("Bot two", "A"), "num_games": 2500, "num_results": 2400, "base_seed": 7},
]


@pytest.fixture
def filled(settings: Settings, tmp_path: Path) -> Settings:
    """Settings of a database with three sets."""
    for number, values in enumerate(BENCHMARKS):
        migrate(settings, write_legacy(tmp_path / f"{number}.pkl", **values))
    return settings


def _expected(set_id: int, bot: str) -> dict[str, Any]:
    data = benchmark(**BENCHMARKS[set_id - 1])
    rows, config = data["results"][bot], data["config"]
    tiles = [row.tiles_cleared for row in rows]
    completed = sum(row.completed for row in rows)
    return {
        "bot": bot,
        "benchmark_set_id": set_id,
        **vars(config),
        "base_seed": data["base_seed"],
        "games": len(rows),
        "completed": completed,
        "completion_rate": completed / len(rows),
        "tiles_cleared_mean": statistics.fmean(tiles),
        "tiles_cleared_stddev": statistics.stdev(tiles) if len(tiles) > 1 else None,
        "singles_remaining_mean": statistics.fmean(row.singles_remaining for row in rows),
        "moves_made_mean": statistics.fmean(row.moves_made for row in rows),
    }


def _performance(settings: Settings, **options: Any) -> list[dict[str, Any]]:
    return bot_performance(BotPerformanceOptions(**options), settings)


def test_the_statistics_are_those_of_plain_arithmetic(filled: Settings) -> None:
    """Count, rate, means and the standard deviation of a sample, by set and bot name."""
    rows = _performance(filled)
    expected = [_expected(*key) for key in [(1, "A"), (1, "Bot two"), (2, "A"), (3, "A"), (3, "Bot two")]]
    assert [tuple(row) for row in rows] == [PERFORMANCE_FIELDS] * 5
    assert rows == [pytest.approx(row) for row in expected]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"bot": "A"}, [(1, "A"), (2, "A"), (3, "A")]),
        ({"set_id": 3}, [(3, "A"), (3, "Bot two")]),
        ({"config": GameConfig(2, 3, 4)}, [(2, "A")]),
        ({"config": GameConfig(9, 9, 9)}, []),
        ({"base_seed": 7}, [(3, "A"), (3, "Bot two")]),
        ({"base_seed": 42, "bot": "Bot two"}, [(1, "Bot two")]),
        ({"sort": "games"}, [(3, "A"), (3, "Bot two"), (1, "A"), (1, "Bot two"), (2, "A")]),
        ({"sort": "bot"}, [(1, "A"), (2, "A"), (3, "A"), (1, "Bot two"), (3, "Bot two")]),
    ],
)
def test_filters_and_order(filled: Settings, options: dict[str, Any], found: list[tuple[int, str]]) -> None:
    """Each filter narrows; numbers are sorted from the highest, names alphabetically, ties as before."""
    assert [(row["benchmark_set_id"], row["bot"]) for row in _performance(filled, **options)] == found


def test_what_is_unknown_sorts_last(filled: Settings) -> None:
    """A single game has no standard deviation."""
    rows = _performance(filled, sort="tiles_cleared_stddev")
    assert rows[-1]["tiles_cleared_stddev"] is None
    known = [row["tiles_cleared_stddev"] for row in rows[:-1]]
    assert known == sorted(known, reverse=True)


def test_what_does_not_exist_is_named_with_a_way_out(filled: Settings) -> None:
    """Sets, bots and fields; a near miss is guessed."""
    with pytest.raises(NotFoundError, match="no benchmark set 9") as caught:
        _performance(filled, set_id=9)
    assert "query sets" in (caught.value.hint or "")
    with pytest.raises(NotFoundError) as caught:
        _performance(filled, bot="Bot tow")
    assert caught.value.hint == "did you mean 'Bot two'?"
    with pytest.raises(NotFoundError) as caught:
        _performance(filled, bot="zzzz")
    assert caught.value.hint == "known bots: 'A', 'Bot two'"
    with pytest.raises(UsageError, match="cannot sort"):
        _performance(filled, sort="bots")
    with pytest.raises(NotFoundError, match="no benchmark set 9"):
        games(PartOptions(9), filled)
    with pytest.raises(NotFoundError, match="'Bot two'"):
        results(PartOptions(2, bot="Bot two"), filled)
    with pytest.raises(UsageError, match="--stop 1 lies before --start 2"):
        games(PartOptions(1, 2, 1), filled)
    with pytest.raises(UsageError):
        results(PartOptions(1), filled)


def test_sets_tell_declared_size_and_stored_boards(filled: Settings, tmp_path: Path) -> None:
    """A set without results is one too, and a set may hold more games than it declares."""
    migrate(filled, write_legacy(tmp_path / "d", layout="D", base_seed=11))
    migrate(filled, write_legacy(tmp_path / "e", num_games=3, num_results=9, base_seed=12))
    rows = sets(filled)
    assert [tuple(row) for row in rows] == [SET_FIELDS] * 5
    counted = [(row["num_games"], row["games"], row["bots"], row["results"]) for row in rows]
    assert counted == [(30, 30, 2, 60), (1, 1, 1, 1), (2500, 2500, 2, 4800), (10, 10, 0, 0), (3, 9, 1, 9)]
    assert rows[1]["name"] == "2x3x4 seed 42"


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [
        (None, None, range(2500)),
        (2495, None, range(2495, 2500)),
        (None, 3, range(3)),
        (1200, 2300, range(1200, 2300)),
        (2499, 9999, range(2499, 2500)),
        (5, 5, range(0)),
        (4000, None, range(0)),
    ],
)
def test_parts_of_a_set(filled: Settings, start: int | None, stop: int | None, expected: range) -> None:
    """Games and results from `start` up to but without `stop`, in order, with the values of the file."""
    data = benchmark(**BENCHMARKS[2])
    found = list(games(PartOptions(3, start, stop), filled))
    assert [tuple(row) for row in found[:2]] == [GAME_FIELDS] * len(found[:2])
    assert [(row["game_index"], row["seed"], row["board"]) for row in found] == [
        (number, data["games"][number].seed, data["games"][number].board) for number in expected
    ]
    rows = list(results(PartOptions(3, start, stop, "A"), filled))
    assert [tuple(row) for row in rows[:2]] == [RESULT_FIELDS] * len(rows[:2])
    assert [
        (row["game_index"], row["tiles_cleared"], row["moves_made"], row["completed"]) for row in rows
    ] == [
        (row.game_id, row.tiles_cleared, row.moves_made, row.completed)
        for row in data["results"]["A"]
        if row.game_id in expected
    ]


def test_asking_for_one_row_fetches_no_more_than_a_batch(filled: Settings, engine: Engine) -> None:
    """Rows come while they are asked for, and whoever stops early leaves no session behind."""
    rows = games(PartOptions(3), filled)
    assert next(rows)["game_index"] == 0
    tamper(engine, "UPDATE games SET seed = 0 WHERE benchmark_set_id = 3")
    assert {row["seed"] for row in rows} != {0}, "one moment of the database, whatever others do meanwhile"
    stopped = games(PartOptions(3), filled)
    assert next(stopped)["seed"] == 0
    del stopped
    assert tamper(engine, "DELETE FROM game_results WHERE bot_id = 1") > 0


def test_runs_and_their_files(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    """What each run brought and what has become of it; each file with its counts, and whether its original
    is stored."""
    good = write_legacy(tmp_path / "good", num_games=3, num_results=8)
    known = write_legacy(tmp_path / "known", num_games=2)
    bad = write_legacy(tmp_path / "bad", spoil_bytes=lambda raw: raw[:-1])
    first = migrate(settings, good, known, bad)
    second = migrate(settings, write_legacy(tmp_path / "other", base_seed=9), archive=False)
    back = rollback(RollbackOptions(), settings)
    rows = runs(settings)
    assert [tuple(row) for row in rows] == [RUN_FIELDS] * 3
    ids = (first.run_id, second.run_id, back.rollback_run_id)
    outcomes = ("id", "kind", "status", "migrated", "identical", "rejected", "rolled_back")
    assert [tuple(row[name] for name in outcomes) for row in rows] == [
        (ids[0], "migrate-pickles", "done", 1, 1, 1, 0),
        (ids[1], "migrate-pickles", "rolled-back", 0, 0, 0, 1),
        (ids[2], "rollback", "done", 0, 0, 0, 0),
    ]
    brought = ("games_inserted", "games_regenerated", "results_inserted")
    assert [tuple(row[name] for name in brought) for row in rows] == [(3, 5, 8), (10, 0, 10), (0, 0, 0)]
    assert all(row["started_at"] <= row["finished_at"] for row in rows)
    assert rows[1]["options"] == {"paths": [str(tmp_path / "other")], "set_base_seed": None, "archive": False}

    files = run_files(ids[0] or 0, settings)
    assert [tuple(file) for file in files] == [RUN_FILE_FIELDS] * 3
    shown = ("path", "status", "benchmark_set_id", "games_regenerated", "archived", "error")
    assert [tuple(file[name] for name in shown) for file in files] == [
        (str(good), "migrated", 1, 5, True, None),
        (str(known), "identical", 1, 0, True, None),
        (str(bad), "rejected", None, 0, False, first.files[0].error),
    ]
    assert files[0]["notes"] == first.files[1].notes != []
    assert files[0]["size_bytes"] == good.stat().st_size
    (taken_back,) = run_files(ids[1] or 0, settings)
    assert (taken_back["status"], taken_back["benchmark_set_id"], taken_back["results_inserted"]) == (
        "rolled-back",
        None,
        10,
    )
    assert run_files(ids[2] or 0, settings) == []
    with pytest.raises(NotFoundError, match="no run 99"):
        run_files(99, settings)


def test_a_run_that_cannot_say_how_it_ended(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    """While it is at work it is at work, and when it is gone it broke off."""
    paths = [write_legacy(tmp_path / str(seed), base_seed=seed) for seed in range(2)]
    told: list[str] = []

    def look(_: int) -> None:
        told.extend(row["status"] for row in runs(settings))

    migrate(settings, *paths, progress=Listener(look))
    assert set(told) == {"at work"}
    assert [row["status"] for row in runs(settings)] == ["done"]
    tamper(engine, "UPDATE runs SET status = 'running', finished_at = NULL")
    assert [row["status"] for row in runs(settings)] == ["broken off"]


def test_queries_write_nothing(filled: Settings, engine: Engine) -> None:
    """Every table and sequence is as before."""
    state = database_state(engine)
    _performance(filled)
    sets(filled)
    list(games(PartOptions(1), filled))
    list(results(PartOptions(1, bot="A"), filled))
    runs(filled)
    run_files(1, filled)
    assert database_state(engine) == state


def test_an_empty_database_has_no_rows(settings: Settings) -> None:
    """That is an answer, not an error."""
    assert _performance(settings) == sets(settings) == runs(settings) == []

"""`sgdb query` as a process: formats, filters and streams."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from sgdb.settings import Settings
from tests.cli.conftest import Process
from tests.legacy import benchmark, write_legacy
from tests.steps import migrate

NAME = "a|b\x1b[31m, \u2603"


@pytest.fixture(autouse=True)
def _filled(settings: Settings, tmp_path: Path) -> None:
    path = write_legacy(tmp_path / "a.pkl", num_games=150, bots=("LargestGroupBot", NAME))
    migrate(settings, path)


def test_bot_performance_in_json_has_the_fields_that_scripts_rely_on(sgdb_process: Process) -> None:
    """A list of objects, one a bot and set."""
    done = sgdb_process("query", "bot-performance", "--format", "json", "--config", "5x5x3", "--seed", "42")
    assert (done.returncode, done.stderr) == (0, "")
    rows = json.loads(done.stdout)
    assert [row["bot"] for row in rows] == ["LargestGroupBot", NAME]
    assert list(rows[0]) == [
        "bot", "benchmark_set_id", "num_rows", "num_cols", "num_colors", "base_seed", "games", "completed",
        "completion_rate", "tiles_cleared_mean", "tiles_cleared_stddev", "singles_remaining_mean",
        "moves_made_mean",
    ]  # fmt: skip
    assert rows[0]["games"] == 150


def test_a_name_cannot_rewrite_the_screen_or_break_a_table(sgdb_process: Process) -> None:
    """Control characters are shown as escapes, a bar does not end a Markdown cell, CSV is quoted."""
    table = sgdb_process("query", "bot-performance").stdout
    assert "\x1b" not in table
    assert "a|b\\x1b[31m" in table
    markdown = sgdb_process("query", "bot-performance", "--format", "markdown").stdout.splitlines()
    assert {line.replace("\\|", "").count("|") for line in markdown} == {markdown[0].count("|")}
    rows = list(
        csv.DictReader(sgdb_process("query", "bot-performance", "--format", "csv").stdout.splitlines())
    )
    assert rows[1]["bot"] == NAME


def test_games_in_parts(sgdb_process: Process) -> None:
    """JSON is one array with whole boards; a table shows the first 100 and says so."""
    done = sgdb_process("query", "games", "--set", 1, "--start", 3, "--stop", 5, "--format", "json")
    games = benchmark()["games"]
    assert [row["board"] for row in json.loads(done.stdout)] == [games[3].board, games[4].board]
    done = sgdb_process("query", "games", "--set", 1)
    assert "the first 100 are shown" in done.stderr
    assert len(sgdb_process("query", "games", "--set", 1, "--format", "csv").stdout.splitlines()) == 151
    boards = sgdb_process("query", "games", "--set", 1, "--stop", 1, "--show-boards").stdout
    assert boards.startswith("game 0, seed 478163327\n")


def test_results_in_parts(sgdb_process: Process) -> None:
    """One bot's rows, numbers as they are."""
    done = sgdb_process("query", "results", "--set", 1, "--bot", NAME, "--stop", 2, "--format", "csv")
    rows = list(csv.DictReader(done.stdout.splitlines()))
    expected = benchmark(bots=(NAME,))["results"][NAME][:2]
    assert [(int(row["moves_made"]), row["completed"]) for row in rows] == [
        (row.moves_made, str(row.completed).lower()) for row in expected
    ]


def test_runs_for_people_and_for_scripts(sgdb_process: Process, settings: Settings, tmp_path: Path) -> None:
    """A line a run or a file, whichever format; a taking back says of which run."""
    bad = write_legacy(tmp_path / "bad", spoil_bytes=lambda raw: raw[:-1])
    migrate(settings, write_legacy(tmp_path / "b.pkl", base_seed=1), bad)
    assert sgdb_process("rollback", "--yes").returncode == 0
    lines = sgdb_process("query", "runs").stdout.splitlines()
    assert [line.split("  ")[0].strip() for line in lines[:1]] == ["run"]
    assert "migrate-pickles" in lines[2]
    assert "1 migrated" in lines[2]
    assert "1 rejected, 1 rolled-back" in lines[3]
    assert "rollback of run 2" in lines[4]
    document = json.loads(sgdb_process("query", "runs", "--format", "json").stdout)
    assert [(run["id"], run["kind"], run["status"], run["results_inserted"]) for run in document] == [
        (1, "migrate-pickles", "done", 300),
        (2, "migrate-pickles", "rolled-back", 10),
        (3, "rollback", "done", 0),
    ]
    rows = list(csv.DictReader(sgdb_process("query", "runs", "--format", "csv").stdout.splitlines()))
    assert json.loads(rows[2]["options"]) == {"run": 2, "was": "done"}
    files = sgdb_process("query", "runs", 1).stdout.splitlines()
    assert files[2].split() == ["a.pkl", "migrated", "1", "150", "300", "stored"]
    assert sgdb_process("query", "runs", 2, "--format", "markdown").stdout.count("\n") == 4
    refused = json.loads(sgdb_process("query", "runs", 2, "--format", "json").stdout)[1]
    assert (refused["path"], refused["status"]) == (str(bad), "rejected")
    done = sgdb_process("query", "runs", 9)
    assert (done.returncode, done.stdout) == (2, "")
    assert "sgdb query runs" in done.stderr


@pytest.mark.parametrize("format", ["table", "json", "csv", "markdown"])
def test_an_unknown_set_or_bot_leaves_stdout_empty(sgdb_process: Process, format: str) -> None:
    """Not even the heading is printed; the way out stands on stderr."""
    done = sgdb_process("query", "games", "--set", 77, "--format", format)
    assert (done.returncode, done.stdout) == (2, "")
    assert "sgdb query sets" in done.stderr
    done = sgdb_process("query", "results", "--set", 1, "--bot", "LargestGroup", "--format", format)
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'LargestGroupBot'?" in done.stderr

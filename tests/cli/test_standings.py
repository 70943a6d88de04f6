"""`sgdb query compare` and `sgdb query leaderboard` as processes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from sgdb.operations.standings import COMPARE_FIELDS, STANDING_FIELDS
from sgdb.settings import Settings
from tests.cli.conftest import Process
from tests.legacy import write_legacy
from tests.steps import migrate

NAME = "[red]b|\x1b[31m"
FEW = ("--resamples", 200)


@pytest.fixture(autouse=True)
def _filled(settings: Settings, tmp_path: Path) -> None:
    migrate(
        settings,
        write_legacy(tmp_path / "1", num_games=40, bots=("A", NAME)),
        write_legacy(tmp_path / "2", num_games=50, base_seed=-42, bots=("A",)),
        write_legacy(tmp_path / "3", config=(2, 2, 3), num_games=1, bots=("A", NAME, "Late")),
    )


def test_a_comparison_for_people(sgdb_process: Process) -> None:
    """A table for each config and one for all; who has played what alone, and which boards count once, is
    said."""
    done = sgdb_process("query", "compare", "A", NAME, *FEW)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
    heads = [line for line in done.stdout.splitlines() if line.startswith("A = ")]
    named = "A = A, B = [red]b|\\x1b[31m: "
    assert heads == [
        f"{named}1 boards of 2x2x3", f"{named}40 boards of 5x5x3", f"{named}41 boards of all configs",
    ]  # fmt: skip
    assert done.stdout.count("singles_remaining") == 3
    assert done.stderr.splitlines() == [
        "left out: 10 boards of 5x5x3 that only A has played",
        "5x5x3: 90 results of A are on 50 boards: a board that stands in several sets counts once",
        "a single board tells nothing about others, so it has no intervals",
        "in brackets: 95 % bootstrap intervals (200 resamples, seed 0)",
    ]


def test_a_comparison_for_scripts(sgdb_process: Process) -> None:
    """One document; CSV and Markdown have its rows; the seed and the confidence are taken."""
    asked = ("query", "compare", "A", NAME, "--config", "5x5x3", *FEW)
    document = json.loads(sgdb_process(*asked, "--format", "json", "--seed", 5, "--confidence", 0.5).stdout)
    assert (document["bot_b"], document["seed"], document["confidence"]) == (NAME, 5, 0.5)
    assert [list(row) for row in document["comparisons"]] == [list(COMPARE_FIELDS)] * 4
    rows = list(csv.DictReader(sgdb_process(*asked, "--format", "csv").stdout.splitlines()))
    other = json.loads(sgdb_process(*asked, "--format", "json").stdout)["comparisons"]
    assert [float(row["high"]) for row in rows] == [row["high"] for row in other]
    assert other[0]["high"] != document["comparisons"][0]["high"]
    assert sgdb_process(*asked, "--format", "markdown").stdout.count("\n") == 6


def test_a_leaderboard_for_people_and_for_scripts(sgdb_process: Process) -> None:
    """A table for each league, and below it who is not in it and why."""
    done = sgdb_process("query", "leaderboard", *FEW)
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "40 boards of 5x5x3 that both bots have played"
    assert done.stderr.splitlines() == [
        "not ranked here: Late has not played 40 boards of 5x5x3",
        "in brackets: 95 % bootstrap intervals (200 resamples, seed 0)",
        "in no league: Late has played 1 board of 2x2x3 (see --min-boards)",
    ]
    asked = ("query", "leaderboard", *FEW, "--min-boards", 1, "--by", "tiles", "--format")
    document = json.loads(sgdb_process(*asked, "json").stdout)
    assert (document["by"], document["min_boards"]) == ("tiles", 1)
    assert [len(league["bots"]) for league in document["leagues"]] == [2, 3]
    assert list(document["leagues"][0]["bots"][0]) == list(STANDING_FIELDS)
    rows = list(csv.DictReader(sgdb_process(*asked, "csv").stdout.splitlines()))
    assert [(row["league"], row["configs"], row["boards"]) for row in rows] == [
        *[("1", "2x2x3 5x5x3", "41")] * 2,
        *[("2", "2x2x3", "1")] * 3,
    ]
    none = sgdb_process("query", "leaderboard", "--config", "9x9x9")
    assert (none.returncode, none.stdout, none.stderr) == (0, "", "no results on boards of 9x9x9\n")
    one = sgdb_process("query", "leaderboard", *FEW, "--bot", "A", "--config", "5x5x3").stdout
    assert one.startswith("50 boards of 5x5x3 that only one bot has played\n")


def test_what_cannot_be_answered_leaves_stdout_empty(sgdb_process: Process) -> None:
    """The way out stands on stderr."""
    for arguments, said in (
        (("compare", "A", "Late", "--set", 1), "have no board in common in set 1"),
        (("compare", "A", "Lat"), "did you mean 'Late'?"),
        (("compare", "A", "Late", "--config", "small-ish"), "no board config"),
        (("leaderboard", "--confidence", 95), "between 0 and 1"),
    ):
        done = sgdb_process("query", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr

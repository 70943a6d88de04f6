"""`sgdb verify` as a process: exit codes, streams and formats."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Engine

from sgdb.settings import Settings
from tests.cli.conftest import Process, clean_environment
from tests.legacy import write_legacy
from tests.preloaded import start
from tests.steps import database_state, migrate, tamper, until


@pytest.fixture
def path(settings: Settings, tmp_path: Path) -> Path:
    """A file that has been migrated."""
    path = write_legacy(tmp_path / "a.pkl", num_games=40)
    migrate(settings, path)
    return path


def test_equal_is_0_and_nothing_is_written(sgdb_process: Process, engine: Engine, path: Path) -> None:
    """By file and by the database alone."""
    state = database_state(engine)
    by_file = sgdb_process("verify", path)
    alone = sgdb_process("verify")
    assert (by_file.returncode, alone.returncode) == (0, 0)
    assert "equal: 1 file" in by_file.stderr
    assert "1 original with matching SHA-256" in alone.stdout
    assert database_state(engine) == state


def test_a_difference_is_1_and_named(sgdb_process: Process, engine: Engine, path: Path) -> None:
    """The table shows game, bot, field and both values, and how to see the rest."""
    tamper(engine, "UPDATE game_results SET moves_made = 4321")
    done = sgdb_process("verify", path)
    assert done.returncode == 1
    assert "NOT equal" in done.stderr
    assert "20 of 40 differences are shown; --all" in done.stderr
    assert done.stdout.count("moves_made") == 20
    assert "LargestGroupBot" in done.stdout
    assert sgdb_process("verify", path, "--all").stdout.count("moves_made") == 40


def test_json_is_one_pure_document(sgdb_process: Process, engine: Engine, path: Path) -> None:
    """The form that scripts rely on."""
    tamper(engine, "DELETE FROM game_results WHERE id = 3")
    done = sgdb_process("verify", "--format", "json")
    assert (done.returncode, done.stderr) == (1, "")
    document = json.loads(done.stdout)
    assert document["equal"] is False
    assert document["files"] == [
        {
            "path": str(path),
            "status": "different",
            "differences": 1,
            "examples": [
                {
                    "game_id": 2,
                    "bot": "LargestGroupBot",
                    "field": "row",
                    "pickle": "present",
                    "database": None,
                }
            ],
            "error": None,
            "notes": [],
        }
    ]
    assert [check["ok"] for check in document["checks"]] == [True, False, True, True, True, True, True]


def test_csv_has_a_line_a_file(sgdb_process: Process, path: Path) -> None:
    """And nothing else on stdout."""
    write_legacy(path.parent / "b.pkl", base_seed=5)
    done = sgdb_process("verify", path.parent, "--only", "*.pkl", "--format", "csv")
    assert done.returncode == 1
    assert [row["status"] for row in csv.DictReader(done.stdout.splitlines())] == ["equal", "missing"]


def test_exit_codes_of_what_cannot_be_read(sgdb_process: Process, path: Path) -> None:
    """4 for a damaged file alone, 1 among others, 2 for a path that is not there, 3 without a database."""
    bad = write_legacy(path.parent / "bad.pkl", spoil_bytes=lambda raw: raw[:-3])
    alone = sgdb_process("verify", bad)
    assert alone.returncode == 4
    assert "unreadable" in alone.stderr
    assert sgdb_process("verify", bad, path).returncode == 1
    assert sgdb_process("verify", "nowhere").returncode == 2
    away = sgdb_process("verify", path, SGDB_DATABASE_URL="postgresql://x@127.0.0.1:1/x")
    assert (away.returncode, away.stdout) == (3, "")


def test_without_originals_it_does_not_claim_to_have_compared(
    sgdb_process: Process, settings: Settings, tmp_path: Path
) -> None:
    """The checks run, and that no file was compared is said."""
    migrate(settings, write_legacy(tmp_path / "a.pkl"), archive=False)
    done = sgdb_process("verify")
    assert done.returncode == 0
    assert "no file was compared" in done.stderr
    assert "1 file migrated without keeping the original" in done.stdout


def test_other_bytes_with_the_same_values_are_said(sgdb_process: Process, path: Path) -> None:
    """Equal is equal, but the file is not the one that was migrated: a line on stderr, a note in the JSON."""
    write_legacy(path, num_games=40, protocol=2)
    done = sgdb_process("verify", "a.pkl")
    assert done.returncode == 0
    assert "note: a.pkl: these are not the bytes that were migrated from here" in done.stderr
    document = json.loads(sgdb_process("verify", path, "--format", "json").stdout)
    assert (document["equal"], len(document["files"][0]["notes"])) == (True, 1)
    rows = list(csv.DictReader(sgdb_process("verify", path, "--format", "csv").stdout.splitlines()))
    assert "not the bytes" in rows[0]["detail"]


def test_a_replay_shows_bots_differences_and_reasons(
    sgdb_process: Process, engine: Engine, settings: Settings, tmp_path: Path
) -> None:
    """Data on stdout, what is to be said about it on stderr, 1 for a difference, and every format."""
    bots = ("LargestGroupBot", "MockBot")
    path = write_legacy(tmp_path / "b.pkl", config=(1, 2, 2), num_games=30, bots=bots)
    migrate(settings, path)
    tamper(
        engine,
        "UPDATE game_results SET (tiles_cleared, singles_remaining, moves_made, completed) = (2, 0, 1, true)",
    )
    right = sgdb_process("verify", path, "--replay", "--format", "csv")
    assert "LargestGroupBot,,,,30 of 30 are equal" in right.stdout
    tamper(engine, "UPDATE game_results SET moves_made = 5 WHERE bot_id = 1")
    done = sgdb_process("verify", path, "--replay", "--jobs", "2")
    assert done.returncode == 1
    assert re.search(r"LargestGroupBot +30 +30 +0 +30 +0", done.stdout)
    assert re.search(r"MockBot +30 +0 +0 +0 +30", done.stdout)
    assert len(re.findall(r"LargestGroupBot +1 +\d+ +moves_made +5 +1\n", done.stdout)) == 20
    assert "20 of 30 are shown; --all" in done.stderr
    assert "MockBot: 30 not replayable: unknown bot" in done.stderr
    sampled = sgdb_process("verify", "--replay", "--sample", "4", "--format", "json")
    assert (sampled.returncode, sampled.stderr) == (1, "")
    bot = json.loads(sampled.stdout)["replay"]["bots"][0]
    assert (bot["bot"], bot["left_out"], bot["different"], len(bot["examples"])) == (
        "LargestGroupBot",
        26,
        4,
        4,
    )
    assert sgdb_process("verify", "--sample", "4").returncode == 2


def test_timings_come_in_addition(sgdb_process: Process, path: Path) -> None:
    """A table after what verify says; files that are not equal are named, and the exit code is verify's."""
    write_legacy(path.parent / "b.pkl", base_seed=5)
    done = sgdb_process("verify", "a.pkl", "b.pkl", "--timings")
    assert done.returncode == 1
    assert re.search(r"^a\.pkl +equal +0$", done.stdout, re.MULTILINE)
    assert re.search(
        r"^a\.pkl +whole load +[\d.]+ ms +[\d.]+ ms +[\d.]+ x +under 100 ms +(yes|NO) *$",
        done.stdout,
        re.MULTILINE,
    )
    assert re.search(r"^a\.pkl +ten games memory saved .*too small to tell", done.stdout, re.MULTILINE)
    assert "not timed: b.pkl is missing" in done.stderr
    assert "without the database server's own" in done.stderr
    assert re.search(r"targets: \d of 4 are met", done.stderr)
    assert sgdb_process("verify", "a.pkl", "--timings", "--format", "markdown").returncode == 0


def test_timings_in_json_and_csv(sgdb_process: Process, path: Path) -> None:
    """The form that scripts rely on."""
    done = sgdb_process("verify", path, "--timings", "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    (timed,) = json.loads(done.stdout)["timings"]
    assert {name: timed[name] for name in timed if name != "measures"} == {
        "path": str(path),
        "games": 40,
        "results": 40,
        "bot": "LargestGroupBot",
        "error": None,
        "notes": [],
    }
    measures = {measure["name"]: measure for measure in timed["measures"]}
    shape = {name: (each["unit"], each["target_is"], each["target"]) for name, each in measures.items()}
    assert shape == {
        "whole_load": ("ms", "under", 100),
        "bot_performance": ("ms", "under", 50),
        "ten_games": ("ms", "under", 10),
        "whole_load_memory": ("MB", None, None),
        "ten_games_memory": ("MB", "under", 10),
        "ten_games_memory_saved": ("%", "at least", 90),
    }
    for each in measures.values():
        assert each.keys() == {"name", "unit", "pickle", "database", "ratio", "target", "target_is", "met"}
    assert measures["whole_load"]["met"] is (measures["whole_load"]["database"] < 100)
    rows = list(
        csv.DictReader(sgdb_process("verify", path, "--timings", "--format", "csv").stdout.splitlines())
    )
    assert [row["check"] for row in rows] == [
        "",
        "timing: whole load, ms",
        "timing: bot performance, ms",
        "timing: ten games, ms",
        "timing: whole load memory, MB",
        "timing: ten games memory, MB",
        "timing: ten games memory saved, %",
    ]
    assert "timings" not in json.loads(sgdb_process("verify", path, "--format", "json").stdout)


def test_timings_need_files(sgdb_process: Process, path: Path) -> None:
    """Without a path there are none: 2. A damaged file is not measured, and the exit code is its own."""
    alone = sgdb_process("verify", "--timings")
    assert alone.returncode == 2
    assert "no path was given" in alone.stderr
    bad = write_legacy(path.parent / "bad.pkl", spoil_bytes=lambda raw: raw[:-3])
    done = sgdb_process("verify", bad, "--timings")
    assert done.returncode == 4
    assert "not timed: bad.pkl is unreadable" in done.stderr
    assert "targets" not in done.stderr


def test_ctrl_c_leaves_no_process_and_no_file(database_url: str, path: Path, tmp_path: Path) -> None:
    """Nor does a list of processes show the address of the database meanwhile."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = clean_environment(SGDB_DATABASE_URL=database_url, TMPDIR=str(temporary))
    command = start(tmp_path, ["verify", str(path), "--timings"], environment)
    seen: list[psutil.Process] = []

    def measured() -> bool:
        for child in psutil.Process(command.pid).children():
            with suppress(psutil.NoSuchProcess):
                arguments = child.cmdline()
                assert not any("postgresql" in argument for argument in arguments)
                if any(argument.startswith("sgdb.timing.") for argument in arguments):
                    seen.append(child)
        return bool(seen)

    until(measured)
    os.kill(command.pid, signal.SIGINT)
    done = command.end()
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    until(lambda: not any(child.is_running() for child in seen))
    assert list(temporary.iterdir()) == []

"""`sgdb benchmark run` as a process: killed, interrupted, and beside others."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from sgdb.benchmark import Benchmark, InProcess
from sgdb.records import BotPerformance, GameConfig
from sgdb.settings import Settings
from sgdb.storage import PostgresStorage
from tests.benchmark import bots
from tests.cli.conftest import Process, clean_environment
from tests.preloaded import Command, start
from tests.steps import ask, count, until

CONFIG = GameConfig(4, 5, 4)


@pytest.fixture(autouse=True)
def _bots(tmp_path: Path) -> None:
    """A module of a user's own, in the folder where the commands run."""
    shutil.copy(bots.__file__, tmp_path / "mybots.py")


def begin(tmp_path: Path, database_url: str, *arguments: object) -> Command:
    """Starts `sgdb benchmark run` on 200 games; the processes that it starts are known by a variable."""
    words = ["benchmark", "run", "--config", "4x5x4", "--games", 200, "--jobs", 2, *arguments]
    variables = {"SGDB_DATABASE_URL": database_url, "STARTED_BY": str(tmp_path)}
    return start(tmp_path, list(map(str, words)), clean_environment(**variables))


def players(tmp_path: Path) -> list[str]:
    """The processes that the commands begun there have started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"STARTED_BY={tmp_path}\0".encode() in path.read_bytes():
                found.append(path.parent.name)
    return found


def everything(settings: Settings, bot: Any) -> list[BotPerformance]:
    """What the bot reaches when it is played here."""
    bot.misbehave = lambda _: None
    with PostgresStorage(settings, CONFIG, 42) as storage:
        return Benchmark(CONFIG, 200, storage=storage, strategy=InProcess()).evaluate_agent(bot)


def stored(settings: Settings, bot: str) -> list[BotPerformance]:
    with PostgresStorage(settings, CONFIG, 42) as storage:
        return storage.load_results(bot)


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_ended_goes_on_where_it_was(
    blow: signal.Signals,
    sgdb_process: Process,
    settings: Settings,
    engine: Engine,
    database_url: str,
    tmp_path: Path,
) -> None:
    """What was saved stays; Ctrl-C saves all that was played and says how to go on; no process is left; the
    next run plays the rest."""
    command = begin(tmp_path, database_url, "--bot", "mybots:Slow")
    until(lambda: count(engine, "game_results") > 5)
    assert len(players(tmp_path)) == 2
    os.kill(command.pid, blow)
    done = command.end()
    before = count(engine, "game_results")
    if blow == signal.SIGKILL:
        assert done.returncode == -signal.SIGKILL
    else:
        assert (done.returncode, done.stdout) == (130, "")
        assert "the same command goes on from there" in done.stderr
    assert 5 < before < 200
    until(lambda: not players(tmp_path))
    arguments = ("--config", "4x5x4", "--games", 200, "--bot", "mybots:Slow", "--jobs", 8, "-f", "json")
    done = sgdb_process("benchmark", "run", *arguments)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["bots"] == [
        {"bot": "Slow", "there": before, "played": 200 - before, "recorded": None, "failed": 0}
    ]
    assert stored(settings, "Slow") == everything(settings, bots.Slow())


@pytest.mark.slow
def test_runs_side_by_side(settings: Settings, database_url: str, tmp_path: Path, engine: Engine) -> None:
    """Different bots on a set that nobody has begun, and one bot twice: all arrive, and nobody hears of a
    conflict, whatever the bot does."""
    wanted = [("--bot", "mybots:Slow"), ("--bot", "mybots:Slow"), ("--bot", "mybots:First", "--record-moves")]
    wanted += [("--bot", "mybots:Fickle", "--record-moves")] * 2
    commands = [begin(tmp_path, database_url, *arguments) for arguments in wanted]
    done = [command.end() for command in commands]
    assert [each.returncode for each in done[:3]] == [0, 0, 0], done
    for each in done[3:]:
        # Its moves in one process are not those of the other: said of each game, and stored for none of them.
        assert each.returncode in (0, 1), each.stderr
        assert "conflict" not in each.stderr
        assert each.returncode == 0 or "its moves are not recorded" in each.stderr
    for bot in (bots.Slow(), bots.First()):
        assert stored(settings, bot.name) == everything(settings, bot)
    assert len(stored(settings, "Fickle")) == 200
    assert ask(
        engine,
        "SELECT count(*) FROM game_histories h JOIN game_results r USING (game_id, bot_id) "
        "WHERE json_array_length(h.move_sequence) <> r.moves_made",
    ) == [(0,)]
    assert ask(engine, "SELECT count(*), max(num_games) FROM benchmark_sets") == [(1, 200)]


def test_what_a_user_sees(sgdb_process: Process, tmp_path: Path) -> None:
    """The table on stdout, a line a bot and the failed games on stderr, exit code 1 for these; every format;
    mistakes in one sentence with the way out."""
    run = ("benchmark", "run", "--config", "small", "--games", 8)
    done = sgdb_process(*run)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert " ".join(lines[0].split()) == "bot set config seed games rate tiles stddev singles moves"
    assert [line.split()[:5] for line in lines[2:]] == [
        [bot, "1", "5x5x3", "42", "8"] for bot in ("GreedySinglesBot", "LargestGroupBot", "RandomBot")
    ]
    assert "RandomBot: 8 games played, 0 there already" in done.stderr
    done = sgdb_process(*run, "--bot", "mybots:Dying", "--bot", "RandomBot", "--format", "csv")
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 5
    assert "the process that played it ended with exit code 3" in done.stderr
    assert "RandomBot: 0 games played, 8 there already" in done.stderr
    done = sgdb_process(*run, "--bot", "mybots:Spoiler", "--format", "json")
    assert json.loads(done.stdout)["bots"][0]["played"] == 8
    done = sgdb_process(*run, "--move-limit", 0)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Invalid value for '--move-limit'" in done.stderr
    for arguments, code, said in (
        (("--bot", "RandmBot"), 2, "did you mean RandomBot"),
        (("--bot", "mybots:Nobody"), 2, f"there is no Nobody in {tmp_path / 'mybots.py'}"),
        (("--bot", "mybots:Broken"), 4, "RuntimeError: no weights"),
        (("--config", "8x8"), 2, "is no board config"),
        (("--storage", "pickle", "--record-moves"), 2, "SGDB_PICKLE_DIR"),
        (("--ray", "127.0.0.1:1", "--bot", "mybots:First"), 3, "nobody answers at '127.0.0.1:1'"),
    ):
        done = sgdb_process(*run, *arguments)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert said in done.stderr
        assert "next:" in done.stderr or code == 4
    done = sgdb_process(*run, "--storage", "pickle", "--record-moves", SGDB_PICKLE_DIR=str(tmp_path))
    assert "a pickle storage keeps no moves" in done.stderr


def test_a_process_that_ends_between_two_games(database_url: str, tmp_path: Path) -> None:
    """Is no reason for the command to end: no signal strikes it where it speaks to the dead."""
    environment = clean_environment(SGDB_DATABASE_URL=database_url)
    arguments = ["benchmark", "run", "--config", "4x5x4", "--games", "30", "--jobs", "1"]
    for _ in range(3):
        command = [
            sys.executable,
            "-m",
            "sgdb",
            *arguments,
            "--bot",
            "mybots:DiesLater",
            "--bot",
            "RandomBot",
        ]
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode in (0, 1), done.stderr
        assert "RandomBot: " in done.stderr


def test_without_standard_streams(database_url: str, engine: Engine, tmp_path: Path) -> None:
    """What a bot prints goes nowhere, and least of all into a connection."""
    environment = clean_environment(SGDB_DATABASE_URL=database_url)
    arguments = "benchmark run --config 4x5x4 --games 20 --bot mybots:Spoiler"
    command = f"{sys.executable} -m sgdb {arguments} <&- >&- 2>&-"
    done = subprocess.run(["sh", "-c", command], env=environment, cwd=tmp_path, check=False, timeout=120)
    assert done.returncode == 0
    assert count(engine, "game_results") == 20

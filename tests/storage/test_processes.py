"""Processes that save into one set at once, and processes that are killed while they do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from sgdb.operations.sync import SyncOptions, sync
from sgdb.settings import Settings
from sgdb.storage import BenchmarkStorage, PickleStorage, PostgresStorage
from sgdb.storage.journal import Journal
from sgdb.testing.contract import CONFIG, result
from sgdb.testing.data import first_games

_GAMES = 12
# Saves one bot's results, a few at a time, and says so on standard output after each call.
_SAVER = f"""
import sys
from sgdb.settings import load_settings
from sgdb.storage import BotPerformance, GameConfig, open_storage

kind, bot = sys.argv[1:]
storage = open_storage(kind, config=GameConfig(2, 3, 4), base_seed=42, settings=load_settings())
for start in range(0, {_GAMES}, 3):
    rows = [BotPerformance(bot, number, 4, 2, 3, False) for number in range(start, start + 3)]
    storage.save_results(bot, rows)
    print(start + 3, flush=True)
"""


@pytest.fixture
def environment(settings: Settings, database_url: str, tmp_path: Path) -> dict[str, str]:
    """What a program of the user has in its environment."""
    return {
        **os.environ,
        "SGDB_DATABASE_URL": database_url,
        "SGDB_HOME": str(settings.home),
        "SGDB_PICKLE_DIR": str(tmp_path / "pickles"),
    }


@pytest.fixture
def sides(settings: Settings, tmp_path: Path) -> dict[str, BenchmarkStorage]:
    """Both places, looked at on their own."""
    path = tmp_path / "pickles" / "benchmark_2_3_4_42.pkl"
    return {
        "pickle": PickleStorage(path, CONFIG, 42),
        "database": PostgresStorage(settings, CONFIG, 42),
    }


def start(environment: dict[str, str], kind: str, bot: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _SAVER, kind, bot],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def all_of(bot: str) -> list[Any]:
    return [result(bot, number) for number in range(_GAMES)]


@pytest.mark.parametrize("processes", [4, pytest.param(32, marks=pytest.mark.survival)])
@pytest.mark.parametrize("kind", ["pickle", "database", "dual"])
def test_different_bots_in_one_set(
    kind: str, processes: int, environment: dict[str, str], sides: dict[str, BenchmarkStorage]
) -> None:
    """Every row of every process arrives, once, on every side; no process hears of a deadlock."""
    names = [f"bot {number:02}" for number in range(processes)]
    running = [start(environment, kind, name) for name in names]
    said = [process.communicate(timeout=300) for process in running]
    assert [process.returncode for process in running] == [0] * processes, said
    for side in ("pickle", "database") if kind == "dual" else (kind,):
        data = sides[side].load_data()
        assert data is not None
        assert data.results == {name: all_of(name) for name in names}
        assert data.games == first_games(CONFIG, 42, _GAMES)
        sides[side].close()


def test_one_bot_from_two_processes(environment: dict[str, str], sides: dict[str, BenchmarkStorage]) -> None:
    """Both may save the same results; each row is there once."""
    running = [start(environment, "dual", "bot") for _ in range(2)]
    said = [process.communicate(timeout=300) for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    for storage in sides.values():
        assert storage.load_results("bot") == all_of("bot")
        storage.close()


@pytest.mark.parametrize("rounds", [6, pytest.param(100, marks=pytest.mark.survival)])
def test_a_killed_program_loses_nothing_it_was_promised(
    rounds: int,
    environment: dict[str, str],
    sides: dict[str, BenchmarkStorage],
    settings: Settings,
) -> None:
    """What a call had returned for is on both sides; what it was at work on is owed, and made good."""
    moments = Random(rounds)
    promised = {}
    for number in range(rounds):
        process = start(environment, "dual", name := f"bot {number}")
        assert process.stdout is not None
        done = 0
        for _ in range(moments.randrange(4)):
            done = int(process.stdout.readline())
        # Somewhere in the next call, or in the way to the first.
        waited = moments.uniform(0, 0.02 if done else 0.5)
        try:
            process.wait(waited)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
        rest, _ = process.communicate()
        promised[name] = int(rest.split()[-1]) if rest.split() else done
    assert sync(SyncOptions(), settings).exit_code == 0
    assert Journal(settings.journal_folder).debts() == []
    found = [storage.load_data() for storage in sides.values()]
    assert found[0] == found[1]
    for name, count in promised.items():
        rows = found[0].results.get(name, []) if found[0] else []
        # The call that was at work may have come through, whole.
        assert rows in (all_of(name)[:count], all_of(name)[: count + 3]), name
    for storage in sides.values():
        storage.close()

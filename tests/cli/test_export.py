"""`sgdb export` as a process: paths on stdout, exit codes, files whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from sgdb.settings import Settings
from tests.cli.conftest import Process
from tests.legacy import plain, write_legacy
from tests.steps import migrate, tamper


@pytest.fixture
def path(settings: Settings, tmp_path: Path) -> Path:
    """A file that has been migrated."""
    path = write_legacy(tmp_path / "my file", num_games=40)
    migrate(settings, path)
    return path


def test_the_paths_are_the_data(sgdb_process: Process, path: Path, tmp_path: Path) -> None:
    """One line a file on stdout, as pickles or as originals."""
    done = sgdb_process("export", "--to", "out", "--all")
    assert (done.returncode, done.stdout) == (0, "out/benchmark_5_5_3_42.pkl\n")
    assert plain(tmp_path / "out" / "benchmark_5_5_3_42.pkl") == plain(path)
    done = sgdb_process("export", "--to", "out", "--set", 1, "--format", "original")
    assert (done.returncode, done.stdout) == (0, "out/my file\n")
    assert (tmp_path / "out" / "my file").read_bytes() == path.read_bytes()


def test_nothing_is_replaced_unasked(sgdb_process: Process, path: Path, tmp_path: Path) -> None:
    """Exit 2 with the way out; --overwrite replaces."""
    out = tmp_path / "out"
    out.mkdir()
    taken = out / "benchmark_5_5_3_42.pkl"
    taken.write_text("mine")
    done = sgdb_process("export", "--to", out, "--all")
    assert (done.returncode, done.stdout, taken.read_text()) == (2, "", "mine")
    assert "--overwrite" in done.stderr
    assert sgdb_process("export", "--to", out, "--all", "--overwrite").returncode == 0
    assert plain(taken) == plain(path)


def test_exit_codes(sgdb_process: Process, engine: Engine, path: Path, tmp_path: Path) -> None:
    """2 for an unknown set, 3 for a folder that cannot be, 4 for a set that is not whole."""
    assert sgdb_process("export", "--to", "out", "--set", 9).returncode == 2
    done = sgdb_process("export", "--to", path / "below", "--all")
    assert (done.returncode, done.stdout) == (3, "")
    tamper(engine, "DELETE FROM games WHERE game_index = 30")
    done = sgdb_process("export", "--to", "out", "--all")
    assert (done.returncode, done.stdout) == (4, "")
    assert "lacks game 30" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []

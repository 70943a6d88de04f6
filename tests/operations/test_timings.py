"""Old and new way on real files: what is read, what is said of it, and that no foreign file is unpickled."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine

from sgdb.errors import EnvironmentFaultError, FileAccessError, InputRefusedError, NotFoundError
from sgdb.operations.timings import Measure, TimingsOptions, TimingsResult, timings
from sgdb.settings import Settings
from tests.hostile.cases import call
from tests.legacy import stream, text, write_legacy
from tests.steps import Listener, database_state, migrate, tamper

BOTS = ("LargestGroupBot", "MockBot")
TIMES = ["whole_load", "bot_performance", "ten_games"]
MEMORY = ["whole_load_memory", "ten_games_memory", "ten_games_memory_saved"]


def _timed(settings: Settings, *paths: Path) -> TimingsResult:
    return timings(TimingsOptions(paths), settings)


def test_both_ways_read_the_same(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    """So many games and results come on both sides, or else a note says why. A load is given a tenth of a
    second for every thousand games, and for the first thousand in any case. Nothing is written."""
    files = {
        "old": write_legacy(tmp_path / "old.pkl", layout="A", base_seed=7, num_games=30),
        "large": write_legacy(tmp_path / "large.pkl", base_seed=1, num_games=2500, bots=BOTS),
        "bare": write_legacy(tmp_path / "bare.pkl", layout="D", base_seed=2),
        "empty": write_legacy(tmp_path / "empty.pkl", base_seed=3, num_games=0),
        "reopened": write_legacy(tmp_path / "reopened.pkl", base_seed=4, num_games=5, num_results=30),
        "smaller": write_legacy(tmp_path / "smaller.pkl", base_seed=5, num_games=20),
        "larger": write_legacy(tmp_path / "larger.pkl", base_seed=5, num_games=40, bots=BOTS),
    }
    migrate(settings, *files.values())
    state = database_state(engine)
    result = _timed(settings, *files.values())
    found = dict(zip(files, result.files, strict=True))
    assert database_state(engine) == state
    assert result.exit_code == 0
    assert {name: (file.games, file.results, file.bot) for name, file in found.items()} == {
        "old": (30, 30, BOTS[0]),
        "large": (2500, 5000, BOTS[0]),
        "bare": (10, 0, None),
        "empty": (0, 0, None),
        "reopened": (5, 30, BOTS[0]),
        "smaller": (20, 20, BOTS[0]),
        "larger": (40, 80, BOTS[0]),
    }
    assert {name: file.notes for name, file in found.items() if file.notes} == {
        "reopened": ["whole load: the database gave 30 games and 30 results, the pickle 5 and 30"],
        "smaller": ["the database's set holds more than this file: the file's games and bots were read"],
    }
    for file in found.values():
        names = [measure.name for measure in file.measures]
        assert names == [name for name in TIMES + MEMORY if file.bot or name != "bot_performance"]
        assert all((measure.pickle or 0) >= 0 and measure.database >= 0 for measure in file.measures[:-1])
    assert {measure.name: measure.target for measure in found["large"].measures} == {
        "whole_load": 250,
        "bot_performance": 50,
        "ten_games": 10,
        "whole_load_memory": None,
        "ten_games_memory": 10,
        "ten_games_memory_saved": 90,
    }
    assert found["old"].measures[0].target == 100
    assert found["old"].measures[-1].met is None  # of so little it cannot be told
    assert found["large"].measures[-1].met is not None
    assert 0 < result.met <= result.targets == 7 * 3 + 5 + 1


@pytest.mark.parametrize(
    ("measure", "ratio", "met"),
    [
        (Measure("a", "ms", 30.0, 10.0, 10.5), 3, True),
        (Measure("a", "ms", 30.0, 10.0, 10.0), 3, False),
        (Measure("a", "%", None, 90.0, 90.0, at_least=True), None, True),
        (Measure("a", "%", None, 89.9, 90.0, at_least=True), None, False),
        (Measure("a", "%", None, 99.0, 90.0, at_least=True, is_clear=False), None, None),
        (Measure("a", "MB", 1.0, 0.0), None, None),
    ],
)
def test_a_target_is_under_or_at_least(measure: Measure, ratio: float | None, met: bool | None) -> None:
    """And a ratio is old by new, where there are both."""
    assert (measure.ratio, measure.met) == (ratio, met)
    assert (measure.to_json()["ratio"], measure.to_json()["met"]) == (ratio, met)


def test_a_hostile_file_never_gets_to_the_unpickler(settings: Settings, tmp_path: Path) -> None:
    """A file that has become another one since it was verified is refused by the parser, and others are
    measured."""
    good = write_legacy(tmp_path / "good.pkl")
    migrate(settings, good)
    marker = tmp_path / "marker"
    hostile = tmp_path / "hostile.pkl"
    hostile.write_bytes(stream(call("os", "mkdir", text(str(marker)))))
    result = _timed(settings, hostile, good)
    assert isinstance(result.files[0].refusal, InputRefusedError)
    assert (result.files[0].measures, result.exit_code) == ([], 4)
    assert result.files[1].refusal is None
    assert result.files[1].measures
    assert not marker.exists()


def test_a_set_that_has_gone_and_a_file_that_has_gone(
    settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    """Since they were verified: said, and nothing is measured."""
    path = write_legacy(tmp_path / "a.pkl", bots=())
    migrate(settings, path)
    tamper(engine, "UPDATE source_files SET benchmark_set_id = NULL")
    tamper(engine, "DELETE FROM games")
    tamper(engine, "DELETE FROM benchmark_sets")
    files = _timed(settings, path, tmp_path / "nowhere.pkl").files
    assert isinstance(files[0].refusal, NotFoundError)
    assert "not in the database any more" in files[0].refusal.message
    assert isinstance(files[1].refusal, NotFoundError | FileAccessError)


def _killing_python(folder: Path) -> Path:
    script = folder / "python"
    script.write_text(
        f'#!/bin/sh\ncase "$*" in *old_way*) kill -KILL $$;; esac\nexec {sys.executable} "$@"\n'
    )
    script.chmod(0o755)
    return script


def test_a_process_that_fails_is_said(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file has no figures, and the environment is at fault. The copy is gone."""
    path = write_legacy(tmp_path / "a.pkl")
    migrate(settings, path)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    # Python itself is killed where it wants to unpickle: as when memory is short.
    monkeypatch.setattr(sys, "executable", str(_killing_python(tmp_path)))
    progress = Listener()
    result = timings(TimingsOptions((path, path)), settings, progress)
    assert isinstance(result.files[0].refusal, EnvironmentFaultError)
    assert (
        "the process that loads the pickle whole has ended by signal SIGKILL"
        in result.files[0].refusal.message
    )
    assert result.exit_code == 3
    assert list(temporary.iterdir()) == []
    assert progress.calls


def test_a_folder_that_takes_no_copy_is_said(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the variable that names another one."""
    path = write_legacy(tmp_path / "a.pkl")
    migrate(settings, path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    refusal = _timed(settings, path).files[0].refusal
    assert isinstance(refusal, FileAccessError)
    assert "TMPDIR" in refusal.message

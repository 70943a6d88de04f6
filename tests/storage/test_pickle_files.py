"""A pickle that programs save into stays one that the old system loads, with all that it carried."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sgdb.errors import BusyError, DiskFullError
from sgdb.pickles.selection import select_files
from sgdb.records import BenchmarkData, BotPerformance, GameConfig
from sgdb.storage import PickleStorage
from sgdb.testing.contract import result
from tests.legacy import plain, write_legacy

CONFIG = GameConfig(5, 5, 3)


@pytest.mark.parametrize("layout", ["A", "B", "C", "D"])
def test_every_layout_can_be_saved_into(layout: str, tmp_path: Path) -> None:
    """What was there is there afterwards, in its order; layout B stays B, the others become C."""
    path = write_legacy(tmp_path / "a.pkl", layout=layout, num_games=3, bots=("Z", "A"))
    storage = PickleStorage(path, CONFIG, 42)
    before = storage.load_data()
    assert before is not None
    storage.save_results("M", [result("M", 1)])
    after = plain(path)
    assert list(after["results"]) == ([] if layout == "D" else ["Z", "A"]) + ["M"]
    assert type(after["games"][0]).__module__.endswith("benchmark" if layout == "B" else "benchmark_data")
    loaded = storage.load_data()
    assert (
        loaded == BenchmarkData(before.games, {**before.results, "M": [result("M", 1)]}, CONFIG, 3, 42)
        or loaded is None
    )
    assert loaded is not None
    assert list(loaded.results) == sorted(loaded.results)


def test_what_no_program_sees_is_kept(tmp_path: Path) -> None:
    """Further entries and attributes, rows out of order, a key with rows of another name."""

    def spoil(data: dict[str, Any]) -> None:
        data["note"] = ("a", float("inf"))
        data["config"].name = "small"
        data["games"].reverse()
        data["games"][0].difficulty = 7
        data["results"]["A"][0].bot_name = "another"

    path = write_legacy(tmp_path / "a.pkl", num_games=3, bots=("A",), spoil=spoil)
    storage = PickleStorage(path, CONFIG, 42)
    before = plain(path)
    storage.save_results("B", [result("B", 0)])
    after = plain(path)
    assert len(after["results"].pop("B")) == 1
    assert after == before


def test_a_reopened_set(tmp_path: Path) -> None:
    """Results beyond the listed games are kept with their file; their boards are among the games."""
    path = write_legacy(tmp_path / "a.pkl", num_games=2, num_results=5, bots=("A",))
    storage = PickleStorage(path, CONFIG, 42)
    loaded = storage.load_data()
    assert loaded is not None
    assert [game.game_id for game in loaded.games] == [0, 1, 2, 3, 4]
    storage.save_results("B", [result("B", 4)])
    assert [game.game_id for game in plain(path)["games"]] == [0, 1]
    storage.save_results("B", [result("B", 6)])
    assert [game.game_id for game in plain(path)["games"]] == [0, 1, 5, 6]
    assert [game.game_id for game in storage.iter_games(3)] == [3, 4, 5, 6]


def test_a_save_that_changes_nothing_touches_nothing(tmp_path: Path) -> None:
    """Not even the file's bytes or its time."""
    path = write_legacy(tmp_path / "a.pkl", layout="A", num_games=3)
    storage = PickleStorage(path, CONFIG, 42)
    before = path.read_bytes(), path.stat().st_mtime_ns
    data = storage.load_data()
    assert data is not None
    storage.save_data(data)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_links_and_permissions_stay(tmp_path: Path) -> None:
    """The file behind a link is replaced, and keeps its mode."""
    path = write_legacy(tmp_path / "a.pkl", num_games=3)
    path.chmod(0o640)
    (tmp_path / "link").symlink_to(path)
    PickleStorage(tmp_path / "link", CONFIG, 42).save_results("B", [result("B", 0)])
    assert (tmp_path / "link").is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert PickleStorage(path, CONFIG, 42).bot_names() == ["B", "LargestGroupBot"]


def test_a_reader_holds_the_file_it_has_opened(tmp_path: Path) -> None:
    """A file that is replaced while it is read is read to its end as it was."""
    path = write_legacy(tmp_path / "a.pkl", num_games=3, bots=("A",))
    storage = PickleStorage(path, CONFIG, 42)
    with storage._opened() as file:
        assert file is not None
        storage.save_results("B", [result("B", 0)])
        assert file.result_keys == ["A"]
        assert sum(len(part.rows) for part in file.rows()) == 6


def test_a_lock_that_is_held_too_long(tmp_path: Path) -> None:
    """The wait ends, and says whom to look for."""
    path = tmp_path / "a.pkl"
    holder = PickleStorage(path, CONFIG, 42)
    with holder._locked(), pytest.raises(BusyError, match="another process"):
        PickleStorage(path, CONFIG, 42, lock_timeout=0.01).save_results("A", [result("A", 0)])
    assert not path.exists()


def test_locks_are_no_pickles(tmp_path: Path) -> None:
    """A folder that programs save into can be migrated without a word about their locks."""
    folder = tmp_path / "pickles"
    PickleStorage(folder / "a.pkl", CONFIG, 42).save_results("A", [result("A", 0)])
    assert len(list(folder.iterdir())) == 2
    selection = select_files([folder], recursive=False, only=None)
    assert (selection.files, selection.skipped) == ([folder / "a.pkl"], [])


def test_a_full_disk(tmp_path: Path) -> None:
    """The save says so; the file is as it was, and nothing is left beside it."""
    path = write_legacy(tmp_path / "a.pkl", num_games=200, bots=("A",))
    before = path.read_bytes()
    code = (
        "import resource, signal, sys\nfrom sgdb.storage import *\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    PickleStorage(sys.argv[1], GameConfig(5, 5, 3), 42).save_results('B',"
        " [BotPerformance('B', 0, 1, 1, 1, False)])\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.startswith(DiskFullError.__name__)
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".a.pkl.lock", "a.pkl", "home"]


def test_boards_are_text(tmp_path: Path) -> None:
    """A board goes in as text or as lists and comes out as sgdb writes it."""
    storage = PickleStorage(tmp_path / "a.pkl", CONFIG, 42)
    storage.save_results("A", [BotPerformance("A", 0, 1, 1, 1, False)])
    (game,) = storage.iter_games()
    spaced = game._replace(board=json.dumps(game.cells))
    storage.save_data(BenchmarkData([spaced], {}, CONFIG, 1, 42))
    assert list(storage.iter_games()) == [game]

"""Repositories for the old benchmark system: its methods, its objects, its meaning."""

from __future__ import annotations

import copy
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine

from sgdb.errors import ConflictError, DamagedPickleError, UsageError, ValueRefusedError
from sgdb.game.boards import draw_board, game_seeds
from sgdb.integrations.samegamerl import (
    DatabaseBenchmarkRepository,
    DualBenchmarkRepository,
    PickleAndDatabaseBenchmarkRepository,
)
from sgdb.operations.verify import VerifyOptions, verify
from sgdb.records import GameConfig
from sgdb.settings import Settings, load_settings
from sgdb.storage.breaker import _breakers
from tests.legacy import plain, write_legacy
from tests.steps import count

SHAPE = GameConfig(3, 4, 3)
Open = Callable[[], Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the old system would put the pickle."""
    return tmp_path / "benchmarks" / "benchmark_3_4_3_42.pkl"


@pytest.fixture(params=["database", "dual"])
def open_repository(
    request: pytest.FixtureRequest, settings: Settings, old: SimpleNamespace, path: Path
) -> Open:
    """Makes repositories of one set, of each form."""

    def opened() -> Any:
        config = old.GameConfig(3, 4, 3)
        if request.param == "database":
            return DatabaseBenchmarkRepository(config, 42, settings=settings)
        return DualBenchmarkRepository(path, settings=settings)

    return opened


def row(old: SimpleNamespace, bot: str, game_id: int, tiles: int = 5) -> Any:
    return old.BotPerformance(bot, game_id, tiles, 2, 3, False)


def whole(
    old: SimpleNamespace, games: int = 4, bots: tuple[str, ...] = ("A", "B"), base_seed: int = 42
) -> Any:
    """A set in which each bot has played every game."""
    config = old.GameConfig(3, 4, 3)
    return old.BenchmarkData(
        games=[
            old.GameSnapshot(draw_board(SHAPE, seed), config, seed, game_id)
            for game_id, seed in enumerate(islice(game_seeds(base_seed), games))
        ],
        results={bot: [row(old, bot, game_id) for game_id in range(games)] for bot in bots},
        config=config,
        num_games=games,
        base_seed=base_seed,
    )


def test_what_is_saved_comes_back_as_the_old_classes(open_repository: Open, old: SimpleNamespace) -> None:
    """Equal in every field, in fresh lists, from another object; before there is nothing."""
    repository, data = open_repository(), whole(old)
    assert isinstance(repository, old.BenchmarkRepositoryInterface)
    for _ in range(2):
        assert repository.load_data() is None
        assert not repository.data_exists()
        assert not repository.is_compatible(data.config, 42)
    repository.save_data(copy.deepcopy(data))
    other = open_repository()
    assert other.data_exists()
    assert other.is_compatible(old.GameConfig(3, 4, 3), 42)
    assert not other.is_compatible(old.GameConfig(4, 3, 3), 42)
    assert not other.is_compatible(data.config, 43)
    assert not other.is_compatible(None, 42)
    loaded = other.load_data()
    assert loaded == data
    assert {type(loaded), type(loaded.config), type(loaded.games[0]), type(loaded.results["A"][0])} == {
        old.BenchmarkData, old.GameConfig, old.GameSnapshot, old.BotPerformance,
    }  # fmt: skip
    loaded.games[0].board[0][0] = 99
    del loaded.results["A"][1:], loaded.games[1:]
    assert other.load_data() == data
    assert open_repository().load_data() == data


def test_rows_count_up_to_the_first_gap(old: SimpleNamespace, path: Path) -> None:
    """What follows a gap, bears another name or has impossible values is played again, as ever."""
    repository = DualBenchmarkRepository(path)
    rows = [row(old, "A", game_id) for game_id in (0, 1, 3)]
    assert repository.validate_results("A", rows) == 2
    assert repository.validate_results("B", rows) == 0
    assert repository.validate_results("A", [rows[0], row(old, "A", 1, tiles=-1)]) == 1
    assert repository.validate_results("A", [SimpleNamespace(game_id=0)]) == 0
    assert repository.validate_results("A", []) == 0
    assert repository.determine_missing_games("A", {"A": rows}, 5) == [2, 3, 4]
    assert repository.determine_missing_games("new", {"A": rows}, 2) == [0, 1]
    assert repository.determine_missing_games("A", {"A": rows}, 1) == []
    new = [row(old, "A", game_id, tiles=9) for game_id in (4, 3, 2, 0)]
    merged = repository.merge_results(rows, new, 5, "A")
    assert type(merged) is list
    assert [(each.game_id, each.tiles_cleared) for each in merged] == [(0, 5), (1, 5), (2, 9), (3, 9), (4, 9)]
    assert merged[0] is rows[0]
    assert [each.game_id for each in repository.merge_results(rows, new[:1], 5, "A")] == [0, 1]
    assert repository.merge_results(rows, new, 1, "A") == rows[:1]


def _run(repository: Any, old: SimpleNamespace, num_games: int, bot: str, tiles: int) -> list[int]:
    """What the old system does with one bot; returns the games that it played."""
    data = whole(old, num_games, bots=())
    if repository.data_exists() and repository.is_compatible(data.config, 42):
        data.results = repository.load_data().results
    missing = repository.determine_missing_games(bot, data.results, num_games)
    if missing:
        new = [row(old, bot, game_id, tiles) for game_id in missing]
        data.results[bot] = repository.merge_results(data.results.get(bot, []), new, num_games, bot)
        repository.save_data(data)
    return list(missing)


def test_a_benchmark_is_played_on(open_repository: Open, old: SimpleNamespace) -> None:
    """More games play only those, fewer play none and lose none, and what follows a gap is replaced."""
    assert _run(open_repository(), old, 3, "A", 5) == [0, 1, 2]
    assert _run(open_repository(), old, 5, "A", 6) == [3, 4]
    assert _run(open_repository(), old, 2, "A", 7) == []
    assert _run(open_repository(), old, 2, "B", 8) == [0, 1]
    loaded = open_repository().load_data()
    assert [each.tiles_cleared for each in loaded.results["A"]] == [5, 5, 5, 6, 6]
    assert (loaded.num_games, len(loaded.games), len(loaded.results["B"])) == (5, 5, 2)
    gap = whole(old, 5, bots=("C",))
    del gap.results["C"][1]
    open_repository().save_data(gap)
    assert _run(open_repository(), old, 5, "C", 9) == [1, 2, 3, 4]
    assert [each.tiles_cleared for each in open_repository().load_data().results["C"]] == [5, 9, 9, 9, 9]


def test_a_save_does_not_undo_what_others_have_saved(open_repository: Open, old: SimpleNamespace) -> None:
    """The old system hands in everything with every save; only what it has changed is written."""
    first, second = open_repository(), open_repository()
    first.save_data(whole(old))
    held = second.load_data()
    news = whole(old, bots=("B", "C"))
    news.results["B"][2].tiles_cleared = 8
    first.save_data(news)
    held.results["A"][1].tiles_cleared = 7
    second.save_data(held)
    loaded = open_repository().load_data().results
    assert {bot: [each.tiles_cleared for each in rows] for bot, rows in loaded.items()} == {
        "A": [5, 7, 5, 5], "B": [5, 5, 8, 5], "C": [5, 5, 5, 5],
    }  # fmt: skip


def test_boards_of_another_size_are_kept(
    open_repository: Open, old: SimpleNamespace, settings: Settings
) -> None:
    """As the old system does, ragged and in impossible colours as well; `sgdb verify` names them."""
    data = whole(old, 3)
    data.games[0].board, data.games[1].board = [[1, 2], [2, 1]], [[7], [], [0, 7]]
    repository = open_repository()
    repository.save_data(data)
    assert repository.load_data() == data
    repository.save_data(data)
    check = next(
        each for each in verify(VerifyOptions(), settings).checks if "boards" in each.name or not each.ok
    )
    assert "game 0; set 1, game 1" in check.detail


def test_what_cannot_be_kept_is_named(open_repository: Open, old: SimpleNamespace, engine: Engine) -> None:
    """Nothing of the call is stored, and a board never takes another's place."""
    repository = open_repository()
    for spoil, says in (
        (lambda data: setattr(data.results["A"][2], "moves_made", -1), "'A', game 2, field moves_made"),
        (
            lambda data: setattr(data.results["A"][2], "agent", object()),
            "'A', game 2, field 'agent': .* is not plain",
        ),
        (lambda data: delattr(data.results["A"][2], "completed"), "it has no completed"),
        (lambda data: setattr(data.games[1], "board", [[1], ["x"]]), "game 1, field board"),
        (lambda data: setattr(data.games[1], "config", old.GameConfig(9, 9, 9)), "game 1, field config"),
    ):
        data = whole(old)
        spoil(data)
        with pytest.raises(ValueRefusedError, match=says):
            repository.save_data(data)
    assert count(engine, "games") == 0
    repository.save_data(whole(old))
    changed = whole(old)
    changed.games[0].board[0][0] = 3 - changed.games[0].board[0][0]
    with pytest.raises((ConflictError, UsageError)):
        repository.save_data(changed)
    assert repository.load_data() == whole(old)


def test_attributes_of_a_later_version_stay(open_repository: Open, old: SimpleNamespace) -> None:
    """On games and results, in whatever plain form, and boards in tuples as they were."""
    data = whole(old)
    data.games[1].tags = ["a", (1, 2.5)]
    data.games[2].board = tuple(map(tuple, data.games[2].board))
    data.results["A"][3].seconds = float("inf")
    data.results["B"][0].metadata = {"x": {"$tuple": 1}}
    data.results["A"][0].bot_name = "another name"
    open_repository().save_data(data)
    loaded = open_repository().load_data()
    assert open_repository().validate_results("B", loaded.results["B"]) == 4
    assert loaded == data
    assert loaded.games[1].tags == ["a", (1, 2.5)]
    assert loaded.results["A"][3].seconds == float("inf")
    assert loaded.results["B"][0].metadata == {"x": {"$tuple": 1}}
    open_repository().save_data(loaded)


def test_the_pickle_beside_is_the_old_systems(
    old: SimpleNamespace, settings: Settings, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One that it has written is taken over whole, and what is saved stands in it for the old system."""
    path.parent.mkdir()
    write_legacy(path, config=(3, 4, 3), num_games=3, bots=("A",))
    repository = PickleAndDatabaseBenchmarkRepository(benchmark_path=path, settings=settings)
    assert repository.benchmark_path == path
    data = repository.load_data()
    assert (len(data.games), data.base_seed, repository.config) == (3, 42, old.GameConfig(3, 4, 3))
    data.results["B"] = [row(old, "B", 0)]
    repository.save_data(data)
    assert [each.bot_name for each in plain(path)["results"]["B"]] == ["B"]
    in_database = DatabaseBenchmarkRepository(data.config, 42, settings=settings)
    assert in_database.load_data() == data
    assert [each.message.partition(":")[0] for each in caplog.records] == ["what was owed is made good"]


def test_a_path_may_hold_anything(
    old: SimpleNamespace, settings: Settings, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An empty file makes way; another set's stays, its place is beside; a damaged one stays, too."""
    path.parent.mkdir()
    path.touch()

    def opened() -> Any:
        return DualBenchmarkRepository(path, settings=settings)

    assert not opened().data_exists()
    assert opened().load_data() is None
    opened().save_data(whole(old))
    assert len(plain(path)["games"]) == 4
    assert not caplog.records

    before = path.read_bytes()
    another = whole(old, base_seed=7)
    assert not opened().is_compatible(another.config, 7)
    opened().save_data(another)
    assert path.read_bytes() == before
    assert f"{path} holds 3x4x3 with base seed 42, and keeps it" in caplog.text
    later = opened()
    assert later.is_compatible(another.config, 7)
    assert later.load_data() == another
    assert opened().load_data() == whole(old)
    assert {each.name for each in path.parent.glob("*.pkl")} == {
        "benchmark_3_4_3_42.pkl", "benchmark_3_4_3_42.3x4x3_7.pkl",
    }  # fmt: skip

    path.write_bytes(before[:-5])
    damaged = opened()
    assert damaged.data_exists()
    with pytest.raises(DamagedPickleError):
        opened().load_data()
    assert damaged.is_compatible(another.config, 42)
    assert damaged.load_data() == whole(old)
    opened().save_data(whole(old, 5))
    assert DatabaseBenchmarkRepository(another.config, 42, settings=settings).load_data() == whole(old, 5)
    assert path.read_bytes() == before[:-5]


def test_either_side_may_be_away(
    old: SimpleNamespace, settings: Settings, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the database the old system's own folder is used, training goes on, and it is made good."""
    away = load_settings({"database_url": "postgresql://x@127.0.0.1:1/x", "home": settings.home})
    caplog.set_level(logging.ERROR)
    repository = DualBenchmarkRepository(old.GameConfig(3, 4, 3), 42, settings=away)
    repository.save_data(whole(old))
    assert repository.load_data() == whole(old)
    _breakers.clear()
    (found,) = Path(sys.modules["samegamerl"].__file__ or "").parent.glob("evaluation/benchmarks/*.pkl")
    assert found.name == path.name
    there = DualBenchmarkRepository(old.GameConfig(3, 4, 3), 42, settings=settings)
    assert there.load_data() == whole(old)
    assert DatabaseBenchmarkRepository(old.GameConfig(3, 4, 3), 42, settings=settings).data_exists()


def test_the_call_itself_may_be_wrong(old: SimpleNamespace, settings: Settings, path: Path) -> None:
    """What is no set, or another one than the repository's, is told before anything is opened."""
    config = old.GameConfig(3, 4, 3)
    for make in (
        lambda: DatabaseBenchmarkRepository(path, 42),
        lambda: DatabaseBenchmarkRepository(config, "42"),  # type: ignore[arg-type]
        DualBenchmarkRepository,
        lambda: DualBenchmarkRepository(config),
        lambda: DualBenchmarkRepository(config, benchmark_path=path),
    ):
        with pytest.raises(UsageError):
            make()
    repository = DatabaseBenchmarkRepository(config, 42, settings=settings)
    unlike = SimpleNamespace(games=None, results={}, config=config, num_games=1, base_seed=42)
    for data in (whole(old, base_seed=7), SimpleNamespace(games=[]), unlike, None):
        with pytest.raises(UsageError):
            repository.save_data(data)


_PROGRAM = """
import sys
from types import SimpleNamespace
from sgdb.integrations.samegamerl import DualBenchmarkRepository

repository = DualBenchmarkRepository(SimpleNamespace(num_rows=3, num_cols=4, num_colors=3), 42)
data = repository.load_data()
assert "samegamerl" not in sys.modules or sys.argv[1:] == ["there"]
print(type(data.games[0]).__module__, len(data.games), data.results["A"][0].tiles_cleared)
data.results["A"][0].tiles_cleared += 1
repository.save_data(data)
"""


def test_the_package_is_needed_nowhere_and_used_where_it_is(
    old_folder: Path, database_url: str, tmp_path: Path
) -> None:
    """In a program of its own: without it plain objects come back, with it its own."""
    write_legacy(tmp_path / "benchmark_3_4_3_42.pkl", config=(3, 4, 3), bots=("A",))
    tiles = plain(tmp_path / "benchmark_3_4_3_42.pkl")["results"]["A"][0].tiles_cleared
    for path, arguments, says in (
        ("", [], f"sgdb.integrations.old_objects 10 {tiles}"),
        (str(old_folder), ["there"], f"samegamerl.evaluation.benchmark_data 10 {tiles + 1}"),
    ):
        environment = os.environ | {
            "SGDB_DATABASE_URL": database_url,
            "SGDB_HOME": str(tmp_path / "sgdb-home"),
            "SGDB_PICKLE_DIR": str(tmp_path),
            "PYTHONPATH": path,
        }
        command = [sys.executable, "-c", _PROGRAM, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout.strip()) == (0, says), done.stderr

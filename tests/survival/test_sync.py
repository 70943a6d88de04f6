"""`sync` struck in the middle: neither side loses a row, and what is not level is still owed."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import URL

from sgdb.database.engine import address_of
from sgdb.operations.sync import SyncOptions, sync
from sgdb.operations.verify import VerifyOptions, verify
from sgdb.records import BenchmarkData, GameConfig
from sgdb.settings import Settings
from sgdb.storage import PickleStorage, PostgresStorage
from sgdb.storage.journal import Debt, Journal, Pair
from sgdb.testing.contract import result
from sgdb.testing.data import first_games
from tests.preloaded import Command, start
from tests.survival.child_server import ChildServer, environment_for, settings_for
from tests.survival.killing import Round, Survivor, many, survivors

_DATABASE = "survival_owed"
_CONFIG = GameConfig(6, 6, 4)
_SEEDS = (1, 2)
_GAMES = 120


class _Side(NamedTuple):
    """What one side may hold on its way from the first of these to the last."""

    stages: tuple[BenchmarkData, ...]

    def holds(self, found: BenchmarkData | None) -> bool:
        """Whether it is one of them, whole."""
        return found in self.stages


def _set(seed: int, results: dict[str, tuple[int, int]]) -> BenchmarkData:
    """A set with so many results of each bot, and the number of tiles in them."""
    return BenchmarkData(
        first_games(_CONFIG, seed, _GAMES),
        {
            bot: [result(bot, game_id, tiles) for game_id in range(count)]
            for bot, (count, tiles) in sorted(results.items())
        },
        _CONFIG,
        _GAMES,
        seed,
    )


def _pickle_side(seed: int) -> _Side:
    here = {"both": (_GAMES, 4), "new": (_GAMES, 4), "half": (_GAMES, 4), "again": (_GAMES, 6)}
    return _Side((_set(seed, here), _set(seed, here | {"other": (_GAMES, 4)})))


def _database_side(seed: int) -> _Side:
    there = {"both": (_GAMES, 4), "half": (_GAMES // 2, 4), "again": (_GAMES, 5), "other": (_GAMES, 4)}
    more = there | {"half": (_GAMES, 4), "new": (_GAMES, 4)}
    return _Side((_set(seed, there), _set(seed, more), _set(seed, more | {"again": (_GAMES, 6)})))


PICKLE = {seed: _pickle_side(seed) for seed in _SEEDS}
DATABASE = {seed: _database_side(seed) for seed in _SEEDS}


class _Place:
    """Both sides and the journal, as a command finds them."""

    def __init__(self, folder: Path, template: Path) -> None:
        self._template = template
        self.folder = folder
        self.pickles = folder / "pickles"
        self.home = folder / "home"

    def begin(self, url: URL) -> Command:
        """Everything as it was before, but for the database, which is a fresh copy; and `sync` at work."""
        for path in (self.pickles, self.home):
            shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(self._template, self.pickles)
        settings = self.settings(url)
        for seed in _SEEDS:
            with Journal(settings.journal_folder).note(
                Debt(self.pair(seed, settings), "database", replace=("again",))
            ):
                pass
        return start(self.folder, ["sync"], environment_for(url, self.home))

    def settings(self, url: URL) -> Settings:
        return settings_for(url, self.home)

    def pair(self, seed: int, settings: Settings) -> Pair:
        return Pair(_CONFIG, seed, str(self.pickles / f"{seed}.pkl"), address_of(settings))


@pytest.fixture(scope="session")
def template(_child_server: ChildServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pickles to copy, beside a database to copy: each has what the other lacks."""
    folder = tmp_path_factory.mktemp("owing")
    with _child_server.template(_DATABASE) as url:
        for seed in _SEEDS:
            PickleStorage(folder / f"{seed}.pkl", _CONFIG, seed).save_data(PICKLE[seed].stages[0])
            with PostgresStorage(settings_for(url), _CONFIG, seed) as database:
                database.save_data(DATABASE[seed].stages[0])
    return folder


def _survive(server: ChildServer, place: _Place, rounds: Sequence[Round]) -> None:
    for survivor in survivors(server, list(rounds), place.begin, template=_DATABASE):
        settings = place.settings(survivor.url)
        _require_whole_saves(survivor, place, settings)
        assert sync(SyncOptions(), settings).exit_code == 0
        assert Journal(settings.journal_folder).debts() == []
        for seed in _SEEDS:
            assert _look(place, settings, seed) == (PICKLE[seed].stages[-1], DATABASE[seed].stages[-1])
        assert verify(VerifyOptions((place.pickles,)), settings).equal


def _require_whole_saves(survivor: Survivor, place: _Place, settings: Settings) -> None:
    """Every save is there or not at all, and a set that is not level is still owed."""
    owed = {debt.pair for debt in Journal(settings.journal_folder).debts()}
    for seed in _SEEDS:
        in_pickle, in_database = _look(place, settings, seed)
        assert PICKLE[seed].holds(in_pickle)
        assert DATABASE[seed].holds(in_database)
        assert in_pickle == in_database or place.pair(seed, settings) in owed
    assert verify(VerifyOptions(), settings).equal


def _look(place: _Place, settings: Settings, seed: int) -> tuple[BenchmarkData | None, BenchmarkData | None]:
    with PostgresStorage(settings, _CONFIG, seed) as database:
        return PickleStorage(place.pickles / f"{seed}.pkl", _CONFIG, seed).load_data(), database.load_data()


@pytest.mark.survival
@many(100, others=20)
def test_at_every_moment(
    child_server: ChildServer, template: Path, tmp_path: Path, rounds: list[Round]
) -> None:
    """Nothing is lost, what is not level is owed, and the next `sync` makes it good."""
    _survive(child_server, _Place(tmp_path, template), rounds)

"""Each storage keeps the promises of the interface."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest

from sgdb.records import GameConfig
from sgdb.settings import Settings, load_settings
from sgdb.storage import BenchmarkStorage, open_storage
from sgdb.testing import OpenStorage, StorageContract


class TestPickle(StorageContract):
    @pytest.fixture
    def open_storage(self, tmp_path: Path) -> OpenStorage:
        """A folder of pickles."""
        settings = load_settings({"home": tmp_path / "sgdb-home", "pickle_dir": tmp_path / "pickles"})

        def opened(config: GameConfig, base_seed: int) -> BenchmarkStorage:
            return open_storage("pickle", config=config, base_seed=base_seed, settings=settings)

        return opened


class TestDatabase(StorageContract):
    @pytest.fixture
    def open_storage(self, settings: Settings) -> Any:
        """A database; its connections are closed after the test."""
        opened: list[BenchmarkStorage] = []

        def storage(config: GameConfig, base_seed: int) -> BenchmarkStorage:
            opened.append(open_storage("database", config=config, base_seed=base_seed, settings=settings))
            return opened[-1]

        yield storage
        for each in opened:
            each.close()


class _Dual(StorageContract):
    primary: Literal["pickle", "database"]

    @pytest.fixture
    def open_storage(self, settings: Settings, tmp_path: Path) -> Any:
        """A folder of pickles and a database, which are always found to be equal."""
        opened: list[BenchmarkStorage] = []
        both = load_settings(
            {
                "home": settings.home,
                "database_url": settings.database_url and settings.database_url.get_secret_value(),
                "pickle_dir": tmp_path / "pickles",
            }
        )

        def storage(config: GameConfig, base_seed: int) -> BenchmarkStorage:
            opened.append(
                open_storage(
                    "dual",
                    config=config,
                    base_seed=base_seed,
                    settings=both,
                    primary=self.primary,
                    validate="strict",
                )
            )
            return opened[-1]

        yield storage
        for each in opened:
            each.close()


class TestDualReadingTheDatabase(_Dual):
    primary = "database"


class TestDualReadingThePickle(_Dual):
    primary = "pickle"

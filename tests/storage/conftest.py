"""Storages whose database can be taken away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from sgdb.settings import Settings, load_settings
from sgdb.storage import DualStorage, PickleStorage, open_storage
from sgdb.storage.breaker import _breakers
from sgdb.storage.journal import Journal
from sgdb.testing.contract import CONFIG
from tests.storage.proxy import Proxy

OpenDual = Callable[..., DualStorage]


@pytest.fixture
def proxy(database_url: str) -> Iterator[Proxy]:
    """A wire to the test's database."""
    proxy = Proxy(make_url(database_url))
    yield proxy
    proxy.close()


@pytest.fixture
def dual_settings(proxy: Proxy, tmp_path: Path) -> Settings:
    """Settings for a dual storage that goes through the proxy."""
    return load_settings(
        {
            "home": tmp_path / "sgdb-home",
            "database_url": proxy.url,
            "pickle_dir": tmp_path / "pickles",
            "connect_timeout": 2,
        }
    )


@pytest.fixture
def open_dual(dual_settings: Settings) -> Iterator[OpenDual]:
    """Opens dual storages of one set; `database_url` and other settings can be given."""
    opened = []

    def storage(base_seed: int = 42, **changes: Any) -> DualStorage:
        named = {name: changes.pop(name) for name in ("primary", "validate", "share") if name in changes}
        settings = dual_settings
        if changes:
            settings = load_settings(
                {
                    "home": settings.home,
                    "pickle_dir": settings.pickle_dir,
                    "connect_timeout": settings.connect_timeout,
                    "database_url": settings.database_url and settings.database_url.get_secret_value(),
                    **changes,
                }
            )
        found = open_storage("dual", config=CONFIG, base_seed=base_seed, settings=settings, **named)
        assert isinstance(found, DualStorage)
        opened.append(found)
        return found

    yield storage
    for each in opened:
        each.close()
    _breakers.clear()


@pytest.fixture
def pickle(tmp_path: Path) -> PickleStorage:
    """The pickle side of the set, looked at on its own."""
    return PickleStorage(tmp_path / "pickles" / "benchmark_2_3_4_42.pkl", CONFIG, 42)


@pytest.fixture
def journal(dual_settings: Settings) -> Journal:
    """The journal of these settings."""
    return Journal(dual_settings.journal_folder)


@pytest.fixture
def time_passes() -> Callable[[], None]:
    """Called, it ends the pauses of all circuit breakers, as waiting would."""

    def pass_time() -> None:
        for breaker in _breakers.values():
            if breaker._open_until is not None:
                breaker._open_until = 0.0

    return pass_time

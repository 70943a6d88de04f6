"""Sets kept in memory: never anything but what is in the database."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, make_url, text

from sgdb.database.engine import make_engine
from sgdb.database.parts import Revision
from sgdb.database.schema import upgrade
from sgdb.operations.backup import BackupOptions, backup
from sgdb.operations.rollback import (
    BackupRollbackOptions,
    RollbackOptions,
    rollback,
    rollback_to_backup,
)
from sgdb.records import BenchmarkData, GameConfig
from sgdb.settings import Settings, load_settings
from sgdb.storage import PostgresStorage
from sgdb.storage.cache import KeptSet, SetCache, cache_of
from sgdb.testing.contract import CONFIG, result, whole
from tests.legacy import write_legacy
from tests.steps import migrate, tamper

Storage = Callable[..., PostgresStorage]


@pytest.fixture
def open_cached(settings: Settings, database_url: str) -> Iterator[Storage]:
    """Opens storages with a cache of so many megabytes."""
    opened: list[PostgresStorage] = []

    def storage(cache_size: int = 256, base_seed: int = 42) -> PostgresStorage:
        changed = load_settings(
            {"database_url": database_url, "home": settings.home, "cache_size": cache_size}
        )
        opened.append(PostgresStorage(changed, CONFIG, base_seed))
        return opened[-1]

    yield storage
    for each in opened:
        each.close()


def kept(storage: PostgresStorage) -> KeptSet | None:
    """What is in memory of the storage's set, of whatever revision."""
    cache = cache_of(storage.settings.cache_size)
    return cache and cache.find(storage._name)


def test_a_set_is_read_once(open_cached: Storage) -> None:
    """Every storage of the process has it then; what it gives is equal, and never the same list."""
    one, other = open_cached(), open_cached()
    one.save_data(whole(42))
    first = one.load_data()
    in_memory = kept(one)
    assert in_memory is not None
    assert in_memory is kept(other)
    for storage in (one, other):
        again = storage.load_data()
        assert again == first == whole(42)
        assert again is not None
        assert first is not None
        assert again.games is not first.games
        assert again.games[0] is in_memory._games._rows[0]  # nothing was read again
        rows = storage.load_results("A")
        assert rows[0] is in_memory._results["A"]._rows[0]
        assert storage.load_results("nobody") == []
    assert kept(one) is in_memory


def test_the_caller_may_do_what_he_likes(open_cached: Storage) -> None:
    """With his lists, and with the metadata in them."""
    data = whole(42)
    marked = {"attributes": {"a": [1]}}
    data.games[1] = data.games[1]._replace(metadata=marked)
    data.results["A"][2] = data.results["A"][2]._replace(metadata=marked)
    storage = open_cached()
    storage.save_data(data)
    for _ in range(3):
        loaded = storage.load_data()
        assert loaded == data
        assert loaded is not None
        rows = storage.load_results("A")
        assert rows == data.results["A"]
        for metadata in (loaded.games[1].metadata, loaded.results["A"][2].metadata, rows[2].metadata):
            assert metadata is not None
            metadata["attributes"]["a"].append(2)
            metadata["more"] = 1
        loaded.games.clear()
        loaded.results["A"].append(loaded.results["A"][0])
        del loaded.results["B"]
        rows.pop()


_CHANGES = {
    "an update": "UPDATE game_results SET moves_made = 7 WHERE id = (SELECT min(id) FROM game_results)",
    "other metadata": "UPDATE game_results SET metadata = '{\"attributes\": {}}' WHERE id = 1",
    "a deleted result": "DELETE FROM game_results WHERE id = 3",
    "a deleted game": "DELETE FROM games WHERE game_index = 1",
    "a changed board": "UPDATE games SET board_state = '[[1]]' WHERE game_index = 0",
    "a new game": "INSERT INTO games (benchmark_set_id, game_index, board_state)"
    " SELECT id, 77, '[[2]]' FROM benchmark_sets",
    "a new result": "INSERT INTO bots (name) VALUES ('new'); INSERT INTO game_results (game_id, bot_id,"
    " tiles_cleared, singles_remaining, moves_made, completed) SELECT g.id, b.id, 1, 1, 1, true"
    " FROM games g, bots b WHERE b.name = 'new' AND g.game_index = 2",
    "no results": "TRUNCATE game_results",
    "nothing at all": "TRUNCATE games, game_results, game_histories",
    "another name": "UPDATE bots SET name = 'C' WHERE name = 'A'",
    "names exchanged": "UPDATE bots SET name = 'x' WHERE name = 'A';"
    " UPDATE bots SET name = 'A' WHERE name = 'B'; UPDATE bots SET name = 'B' WHERE name = 'x'",
    "another size": "UPDATE benchmark_sets SET num_games = 99",
    "another seed": "UPDATE benchmark_sets SET base_seed = 43",
    "a larger set": "INSERT INTO benchmark_sets (name, config_id, base_seed, num_games)"
    " SELECT 'larger', config_id, base_seed, 1000 FROM benchmark_sets",
}


@pytest.mark.parametrize("change", _CHANGES.values(), ids=_CHANGES.keys())
def test_whatever_is_changed_by_hand_is_seen(change: str, open_cached: Storage, engine: Engine) -> None:
    """Whoever loads with a cache gets what one without gets; and what was rolled back was never there."""
    cached, plain = open_cached(), open_cached(0)
    data = whole(42)
    data.results["B"] = [row._replace(tiles_cleared=5) for row in data.results["B"]]
    cached.save_data(data)
    assert cached.load_data() == data
    before = kept(cached)
    with engine.connect() as connection:
        connection.execute(text(change))
        assert cached.load_data() == data
        connection.rollback()
    assert cached.load_data() == data
    assert kept(cached) is before
    tamper(engine, change)
    found = plain.load_data()
    assert found != data
    assert cached.load_data() == found
    assert cached.load_results("A") == plain.load_results("A")
    assert cached.load_data() == found


def test_another_process_saves(open_cached: Storage, database_url: str, tmp_path: Path) -> None:
    """And the next load has what it saved."""
    storage = open_cached()
    storage.save_data(whole(42))
    assert storage.load_data() == whole(42)
    saver = (
        "from sgdb.settings import load_settings; from sgdb.storage import *\n"
        "storage = PostgresStorage(load_settings(), GameConfig(2, 3, 4), 42)\n"
        "storage.save_results('C', [BotPerformance('C', 1, 4, 2, 3, False)])"
    )
    environment = {**os.environ, "SGDB_DATABASE_URL": database_url, "SGDB_HOME": str(tmp_path / "home")}
    subprocess.run([sys.executable, "-c", saver], env=environment, check=True)
    loaded = storage.load_data()
    assert loaded is not None
    assert loaded.results == {**whole(42).results, "C": [result("C", 1)]}


def test_a_run_is_taken_back_and_a_backup_restored(
    settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    """Other commands need not tell anybody that what is in memory has gone, or is right again."""
    migrate(settings, write_legacy(tmp_path / "a.pkl"))
    with PostgresStorage(settings, GameConfig(5, 5, 3), 42) as storage:
        first = storage.load_data()
        made = backup(BackupOptions(), settings)
        migrate(settings, write_legacy(tmp_path / "b.pkl", num_games=20))
        second = storage.load_data()
        assert first is not None
        assert second is not None
        assert (len(first.games), len(second.games)) == (10, 20)
        rollback(RollbackOptions(), settings)
        assert storage.load_data() == first
        tamper(engine, "UPDATE game_results SET moves_made = moves_made + 1")
        assert storage.load_data() != first
        rollback_to_backup(BackupRollbackOptions(made.backup.path), settings)
        assert storage.load_data() == first


def test_a_child_of_fork_goes_on_with_it(open_cached: Storage) -> None:
    """Also when another thread was using the cache at that moment."""
    storage = open_cached()
    storage.save_data(whole(42))
    storage.load_data()
    with ThreadPoolExecutor(2) as pool:
        loading = [pool.submit(lambda: [storage.load_data() for _ in range(50)]) for _ in range(2)]
        for _ in range(3):
            child = os.fork()
            if child == 0:
                is_whole = storage.load_data() == whole(42) and kept(storage) is not None
                os._exit(0 if is_whole else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        for each in loading:
            assert each.result()[-1] == whole(42)


def test_two_databases(open_cached: Storage, empty_database: str, settings: Settings) -> None:
    """Sets of one name in two databases are two."""
    engine = make_engine(empty_database)
    upgrade(engine)
    engine.dispose()
    elsewhere = load_settings({"database_url": empty_database, "home": settings.home})
    here = open_cached()
    here.save_data(whole(42))
    with PostgresStorage(elsewhere, CONFIG, 42) as there:
        there.save_data(whole(42, games=2))
        for _ in range(2):
            assert here.load_data() == whole(42)
            assert there.load_data() == whole(42, games=2)


def test_who_may_not_read_the_totals(open_cached: Storage, engine: Engine, database_url: str) -> None:
    """Reads the rows, which he may."""
    open_cached().save_data(whole(42))
    name = f"reader_{make_url(database_url).database}"
    tamper(engine, f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
    try:
        tamper(engine, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}")
        tamper(engine, f"REVOKE SELECT ON result_totals, game_totals FROM {name}")
        url = make_url(database_url).set(username=name, password="x")
        reader = PostgresStorage(
            load_settings({"database_url": url.render_as_string(hide_password=False)}), CONFIG, 42
        )
        for _ in range(2):
            assert reader.load_data() == whole(42)
        assert kept(reader) is None
        reader.close()
    finally:
        tamper(engine, f"DROP OWNED BY {name}")
        tamper(engine, f"DROP ROLE {name}")


def test_0_switches_it_off(open_cached: Storage) -> None:
    """Then there is none."""
    storage = open_cached(0)
    storage.save_data(whole(42))
    assert storage.load_data() == storage.load_data() == whole(42)
    assert cache_of(0) is None


# -- the cache itself -----------------------------------------------------------------------------


def made(games: int, **changes: Any) -> KeptSet:
    """A set of so many games and twice as many results."""
    data = whole(7, games=1)
    rows = {bot: [rows[0]._replace(**changes)] * games for bot, rows in data.results.items()}
    whole_set = BenchmarkData(data.games * games, rows, CONFIG, games, 7)
    return KeptSet(Revision(1, games, "a", "b"), whole_set)


def test_what_was_used_last_stays() -> None:
    """As many sets as the megabytes hold; of those that do not fit together, the one unused for longest
    goes."""
    cache = SetCache(1)
    third = made(500)  # 0.3 MB
    assert 250_000 < third.size < 333_000
    for name in "abc":
        cache.keep(name, third)
    assert cache.find("a") is third
    cache.keep("d", third)
    assert [name for name in "abcd" if cache.find(name)] == ["a", "c", "d"]
    larger = made(1000)
    cache.keep("a", larger)
    assert [name for name in "acd" if cache.find(name)] == ["a", "d"]


def test_what_is_too_large_is_not_kept() -> None:
    """Nor is what was kept under its name before; the others stay."""
    cache = SetCache(1)
    cache.keep("a", made(10))
    cache.keep("b", made(10))
    cache.keep("a", made(3000))
    assert cache.find("a") is None
    assert cache.find("b") is not None


def test_metadata_count() -> None:
    """Rows that carry much take more of the cache."""
    assert made(100, metadata={"attributes": {"a": "x" * 1000}}).size > made(100).size + 200 * 1000


def test_threads_share_it() -> None:
    """Its books stay in order whatever is kept and found at once."""
    cache = SetCache(1)
    sets = [made(100 * n) for n in range(1, 8)]

    def use(number: int) -> None:
        for at in range(300):
            name = str((number + at) % 11)
            found = cache.find(name)
            assert found is None or found in sets
            cache.keep(name, sets[(number * at) % 7])

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(use, number) for number in range(8)]:
            done.result()
    there = [found.size for name in range(11) if (found := cache.find(str(name)))]
    assert 0 < sum(there) <= 1_000_000

"""What a storage in a database reads, and by which way."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from sgdb.benchmark import boards
from sgdb.database.engine import transaction
from sgdb.database.locks import lock_bots_in_set
from sgdb.database.server import EmbeddedServer
from sgdb.errors import DatabaseUnreachableError, SchemaError, ValueRefusedError
from sgdb.operations.init import InitOptions, init
from sgdb.records import GameConfig, GameSnapshot
from sgdb.settings import Settings, load_settings
from sgdb.storage import PostgresStorage
from sgdb.storage.breaker import CircuitBreaker
from sgdb.storage.guarded import GuardedDatabase, _batch
from sgdb.testing.contract import result, whole
from tests.conftest import FAST
from tests.database.odd_sets import CONFIG, OddSet, exact, expected, odd_sets, store
from tests.steps import ask, tamper, until
from tests.storage.proxy import Proxy

_SEEDS = count(1)
_SESSIONS = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    " AND application_name = 'sgdb'"
)


@pytest.fixture
def storage(settings: Settings) -> Iterator[PostgresStorage]:
    """A storage of the set with base seed 42."""
    with PostgresStorage(settings, CONFIG, 42) as storage:
        yield storage


def test_a_small_save_asks_little(storage: PostgresStorage) -> None:
    """Of a set that is there: each statement takes longer than a row."""
    storage.save_data(whole(42, ("A",), games=20))
    storage.save_results("B", [result("B", 19)])
    asked: list[str] = []

    @event.listens_for(storage._engine(), "before_cursor_execute")
    def asks(_c: object, _cursor: object, statement: str, *_more: object) -> None:
        asked.append(statement)

    storage.save_results("B", [result("B", number) for number in range(10)])
    assert len(asked) <= 10, asked  # and one COPY
    assert [row.game_id for row in storage.load_results("B")] == [*range(10), 19]


@hypothesis_settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(odd=odd_sets(), start=st.integers(-3, 12), length=st.integers(-1, 12), data=st.data())
def test_every_way_reads_the_same(
    engine: Engine, settings: Settings, odd: OddSet, start: int, length: int, data: st.DataObject
) -> None:
    """Whole or in parts, small or large, by statement, by cursor or from memory: rows come as they were
    stored, to the byte of a board and the type of a number, by bot and game."""
    seed = next(_SEEDS)
    store(engine, seed, odd)
    stop = start + length
    known = [*expected(odd, seed).results, "nobody"]
    some = data.draw(st.lists(st.sampled_from(known), unique=True))
    with PostgresStorage(settings, CONFIG, seed) as storage:
        assert storage.data_exists()
        for _ in range(2):
            assert exact(storage.load_data()) == exact(expected(odd, seed))
            for bot in known:
                rows = expected(odd, seed).results.get(bot, [])
                assert exact(storage.load_results(bot)) == exact(rows)
        for end in (stop, None, stop + 2**40):
            part = expected(odd, seed, start, end)
            assert exact(storage.load_part(None, start, end)) == exact(part)
            assert exact(list(storage.iter_games(start, end))) == exact(part.games)
            for bot in known:
                assert exact(storage.load_results(bot, start, end)) == exact(part.results.get(bot, []))
            of_some = storage.load_part(some, start, end)
            assert of_some is not None
            assert exact(of_some.games) == exact(part.games)
            assert exact(of_some.results) == exact(
                {bot: rows for bot, rows in part.results.items() if bot in some}
            )


def test_the_largest_of_several_sets_is_read(engine: Engine, storage: PostgresStorage) -> None:
    """By every way the same one: old data may have one for each declared size."""
    for num_games, index in ((3, 1), (9, 2), (5, 3)):
        store(engine, 42, OddSet(num_games, [(index, "[[1]]", None, None)], []))
    found = [storage.load_part(None, 0, 9), storage.load_part(), storage.load_data()]
    assert [data and (data.num_games, data.games[0].game_id) for data in found] == [(9, 2)] * 3
    assert [game.game_id for game in storage.iter_games(0, 9)] == [2]


@pytest.mark.parametrize("metadata", ["[1]", "5", '"text"'])
def test_metadata_that_are_no_object(engine: Engine, storage: PostgresStorage, metadata: str) -> None:
    """They are named, and never taken for none."""
    storage.save_data(whole(42))
    tamper(engine, "UPDATE game_results SET metadata = CAST(:m AS jsonb) WHERE id = 2", m=metadata)
    for read in (storage.load_data, lambda: storage.load_part(None, 0, 4)):
        with pytest.raises(ValueRefusedError, match="bot 'A', game 1: metadata"):
            read()
    tamper(engine, "UPDATE games SET metadata = CAST(:m AS jsonb) WHERE id = 3", m=metadata)
    for start, stop in ((0, 4), (0, None)):
        with pytest.raises(ValueRefusedError, match="game 2: metadata"):
            list(storage.iter_games(start, stop))


def test_small_parts_need_no_connection_more(engine: Engine, storage: PostgresStorage) -> None:
    """The one that has answered is the one that saves."""
    storage.save_data(whole(42))
    for _ in range(3):
        assert len(list(storage.iter_games(0, 3))) == 3
        assert len(storage.load_results("A", 0, 2)) == 2
        assert storage.data_exists()
        storage.save_results("A", [result("A", 1)])
        assert storage.load_data() == whole(42)
    assert len(ask(engine, _SESSIONS)) == 1


def test_threads_read_at_once(settings: Settings, engine: Engine) -> None:
    """More of them than the pool has connections, small parts and whole sets, beside a writer."""
    with PostgresStorage(settings, CONFIG, 42) as storage:
        storage.save_data(whole(42))

        def read(number: int) -> bool:
            if number % 5 == 0:
                storage.save_results(f"bot {number}", [result(f"bot {number}", 1)])
            games = list(storage.iter_games(0, 3))
            data = storage.load_part(["A", "B"])
            rows = storage.load_results("A", 1, 3)
            return (games, rows, data) == (whole(42).games[:3], whole(42).results["A"][1:3], whole(42))

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(read, range(100)))


def test_a_lost_connection_is_replaced(proxy: Proxy, tmp_path: Path) -> None:
    """Reading is safe to repeat, so whoever reads does not hear of a connection that was cut while idle."""
    settings = load_settings({"database_url": proxy.url, "home": tmp_path / "home", "connect_timeout": 2})
    with PostgresStorage(settings, CONFIG, 42) as storage:
        storage.save_data(whole(42))
        for read in (
            storage.data_exists,
            lambda: list(storage.iter_games(0, 3)),
            lambda: storage.load_results("A", 0, 3),
            lambda: storage.load_part(None, 0, 3),
            storage.load_data,
        ):
            assert read()
            proxy.cut()
            assert read()


def test_abandoned_calls_are_not_repeated(proxy: Proxy, tmp_path: Path) -> None:
    """Whoever gives up waiting for a frozen server gets an end, not another wait."""
    settings = load_settings({"database_url": proxy.url, "home": tmp_path / "home", "connect_timeout": 2})
    storage = PostgresStorage(settings, CONFIG, 42)
    storage.save_data(whole(42))
    assert storage.data_exists()
    made, opened = proxy.connections, storage._opened
    proxy.freeze()
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(storage.load_results, "A", 0, 3)
        until(lambda: opened is not None and not opened._idle)  # it has taken the connection
        storage.abandon()
        with pytest.raises(DatabaseUnreachableError):
            reading.result()
    assert proxy.connections == made
    proxy.thaw()
    assert len(storage.load_results("A", 0, 3)) == 3
    storage.close()


@pytest.fixture
def embedded() -> Iterator[Settings]:
    """Settings of an embedded server of the test's own, with a database that is ready."""
    with tempfile.TemporaryDirectory(prefix="sgdb-test-") as folder:
        settings = load_settings({"home": Path(folder) / "home"})
        server = EmbeddedServer(settings.home, options=FAST)
        try:
            server.ensure_running()
            init(InitOptions(), settings)
            yield settings
        finally:
            server.stop("immediate")


def test_a_stopped_embedded_server_is_started(embedded: Settings) -> None:
    """By whatever call comes first after it was stopped."""
    server = EmbeddedServer(embedded.home)
    with PostgresStorage(embedded, CONFIG, 42) as storage:
        storage.save_data(whole(42))
        for read in (lambda: list(storage.iter_games(0, 4)), storage.load_data, storage.data_exists):
            assert read()
            server.stop()
            assert read()
            assert server.status().running


def test_a_database_without_tables(empty_database: str, tmp_path: Path) -> None:
    """The schema is looked at before the first question."""
    settings = load_settings({"database_url": empty_database, "home": tmp_path / "home"})
    storage = PostgresStorage(settings, CONFIG, 42)
    with pytest.raises(SchemaError, match="no tables"):
        storage.data_exists()


def test_a_child_of_fork_leaves_the_parents_connection(settings: Settings, engine: Engine) -> None:
    """It reads through one of its own; the parent goes on with the session that it had."""
    with PostgresStorage(settings, CONFIG, 42) as storage:
        storage.save_data(whole(42))
        assert storage.data_exists()
        before = ask(engine, _SESSIONS)
        assert len(before) == 1
        child = os.fork()
        if child == 0:
            status = 1
            try:
                is_whole = storage.load_results("A", 0, 4) == whole(42).results["A"]
                is_whole = is_whole and storage.load_data() == whole(42)
                storage.close()
                status = 0 if is_whole else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert storage.data_exists()
        assert ask(engine, _SESSIONS) == before


# Walks through a set and prints how much more memory the process has needed for it at most, in kilobytes.
_WALKER = """
import resource, sys
from sgdb.records import GameConfig, GameSnapshot
from sgdb.settings import load_settings
from sgdb.storage import PostgresStorage

rows, start = int(sys.argv[1]), int(sys.argv[2])
storage = PostgresStorage(load_settings(), GameConfig(rows, rows, 4), 42)
games = storage.iter_games(start)
first = next(games)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
walked = 1 + sum(1 for _ in games)
print(walked, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize(("rows", "games"), [(5, 100_000), (200, 400)])
def test_a_walk_needs_little_memory(
    rows: int, games: int, engine: Engine, database_url: str, tmp_path: Path
) -> None:
    """Whatever the number of games, and the size of their boards."""
    board = f"[{','.join(['[' + ','.join('1' * rows) + ']'] * rows)}]"
    tamper(engine, "INSERT INTO game_configs (num_rows, num_cols, num_colors) VALUES (:n, :n, 4)", n=rows)
    tamper(
        engine,
        "INSERT INTO benchmark_sets (name, config_id, num_games, base_seed) SELECT 'long', id, 0, 42"
        " FROM game_configs",
    )
    tamper(
        engine,
        "INSERT INTO games (benchmark_set_id, game_index, board_state, seed)"
        " SELECT s.id, n, CAST(:board AS json), n FROM benchmark_sets s, generate_series(1, :games) n",
        board=board,
        games=games,
    )
    done = subprocess.run(
        [sys.executable, "-c", _WALKER, str(rows), "0"],
        env={**os.environ, "SGDB_DATABASE_URL": database_url, "SGDB_HOME": str(tmp_path / "home")},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    walked, kilobytes = map(int, done.stdout.split())
    assert walked == games
    assert kilobytes < 10_000


def test_a_set_that_another_made_grow_is_not_waited_for(settings: Settings, engine: Engine) -> None:
    """Of programs that begin to store results in a set, one needs it for itself, and not each in turn."""
    is_waiting = f"{_SESSIONS} AND state = 'idle in transaction' AND query LIKE '%pg_try_advisory%'"
    with PostgresStorage(settings, CONFIG, 42, lock_timeout=20) as storage, ThreadPoolExecutor(1) as pool:
        storage.save_data(whole(42, ("A",)))
        tamper(engine, "UPDATE source_files SET benchmark_set_id = NULL")
        with transaction(engine) as other:
            lock_bots_in_set(other, CONFIG, 42, ["A"], timeout=1)
            saving = pool.submit(storage.save_results, "B", [result("B", 1)])
            until(lambda: bool(ask(engine, is_waiting)))
            tamper(engine, "UPDATE source_files SET benchmark_set_id = (SELECT id FROM benchmark_sets)")
            saving.result()
        assert storage.load_results("B") == [result("B", 1)]


def test_other_board_shapes_are_other_sets(engine: Engine, settings: Settings) -> None:
    """Nothing is there for them."""
    store(engine, 42, OddSet(3, [(0, "[[1]]", None, None)], []))
    with PostgresStorage(settings, GameConfig(3, 2, 4), 42) as storage:
        assert not storage.data_exists()
        assert list(storage.iter_games(0, 9)) == []
        assert storage.load_results("A", 0, 9) == []
        assert storage.load_part(None, 0, 9) is None
        assert storage.load_data() is None


def test_guarded_walks_fetch_what_fits(settings: Settings, engine: Engine) -> None:
    """A call for a batch ends where its boards are many, or large; none is left out."""
    large = "[[1],%s[2]]" % (" " * 400_000)
    games = [(index, large if index < 7 else "[[1]]", None, None) for index in range(1500)]
    store(engine, 42, odd := OddSet(0, games, []))
    with PostgresStorage(settings, CONFIG, 42) as storage:
        walk = storage.iter_games()
        assert [len(batch) for batch in iter(lambda: _batch(walk), [])] == [3, 3, 1000, 494]
        guarded = GuardedDatabase(storage, CircuitBreaker(), seconds=60)
        assert list(guarded.iter_games()) == expected(odd, 42).games


def test_boards_are_fetched_in_windows(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of large boards fewer at a time."""
    asked = []

    class Recording(PostgresStorage):
        def iter_games(self, start: int = 0, stop: int | None = None) -> Iterator[GameSnapshot]:
            asked.append((start, stop))
            return super().iter_games(start, stop)

    monkeypatch.setattr(boards, "_WINDOW_CELLS", 24)  # four boards of 2 x 3
    with Recording(settings, CONFIG, 42) as storage:
        storage.save_data(whole(42, games=10))
        assert list(boards.Boards(storage, 10).get(range(10), add=False)) == whole(42, games=10).games
    assert asked == [(0, 4), (4, 8), (8, 10)]

"""A dual storage goes on when one side is away, and makes it good."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url, text

from sgdb.database.engine import make_engine, transaction
from sgdb.errors import (
    ConflictError,
    DamagedPickleError,
    DatabaseUnreachableError,
    MismatchError,
    UsageError,
)
from sgdb.operations.query import mismatches
from sgdb.operations.status import status
from sgdb.operations.sync import SyncOptions, sync
from sgdb.records import BenchmarkData
from sgdb.settings import Settings
from sgdb.storage import BenchmarkStorage, DualStorage, PickleStorage, PostgresStorage
from sgdb.storage.journal import Journal
from sgdb.testing.contract import CONFIG, result, whole
from tests.storage.conftest import OpenDual
from tests.storage.proxy import Proxy

TimePasses = Callable[[], None]


@pytest.fixture
def database(settings: Settings) -> Iterator[BenchmarkStorage]:
    """The database side of the set, looked at on its own and not through the proxy."""
    with PostgresStorage(settings, CONFIG, 42) as storage:
        yield storage


@pytest.fixture(params=["pickle", "database"])
def primary(request: pytest.FixtureRequest) -> str:
    """Either side as the one that is read."""
    found: str = request.param
    return found


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What has been warned of, as it comes."""
    caplog.set_level(logging.WARNING)

    class Lines(list[str]):
        def __eq__(self, other: object) -> bool:
            return [record.getMessage() for record in caplog.records] == other

        def __len__(self) -> int:
            return len(caplog.records)

        def __str__(self) -> str:
            return "\n".join(record.getMessage() for record in caplog.records)

        __hash__ = None  # type: ignore[assignment]

    return Lines()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


# -- the database is away ------------------------------------------------------------------------------


def test_both_sides_get_everything(
    open_dual: OpenDual, primary: str, pickle: PickleStorage, database: BenchmarkStorage, journal: Journal
) -> None:
    """In fair weather both sides hold the same, and nothing is owed."""
    open_dual(primary=primary).save_data(whole(42))
    assert pickle.load_data() == database.load_data() == whole(42)
    assert journal.debts() == []


def away_refused(open_dual: OpenDual, proxy: Proxy, engine: Engine) -> DualStorage:
    """Nobody listens."""
    return open_dual(database_url=f"postgresql://me@127.0.0.1:{closed_port()}/games")


def away_silent(open_dual: OpenDual, proxy: Proxy, engine: Engine) -> DualStorage:
    """The machine takes the connection and says nothing."""
    proxy.freeze()
    return open_dual()


def away_role(open_dual: OpenDual, proxy: Proxy, engine: Engine) -> DualStorage:
    """The server does not know the user."""
    url = make_url(proxy.url).set(username=f"nobody_{secrets.token_hex(4)}")
    return open_dual(database_url=url.render_as_string(hide_password=False))


def away_missing(open_dual: OpenDual, proxy: Proxy, engine: Engine) -> DualStorage:
    """There is no such database."""
    url = make_url(proxy.url).set(database=f"nowhere_{secrets.token_hex(4)}")
    return open_dual(database_url=url.render_as_string(hide_password=False))


def away_full(open_dual: OpenDual, proxy: Proxy, engine: Engine) -> DualStorage:
    """The server cannot store another row: it says what it says when its disk is full."""
    with transaction(engine) as connection:
        connection.execute(
            text(
                "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " RAISE SQLSTATE '53100' USING MESSAGE = 'could not extend file: No space left on device';"
                " END $$"
            )
        )
        connection.execute(text("CREATE TRIGGER t BEFORE INSERT ON games EXECUTE FUNCTION no_room()"))
    return open_dual()


def away_without_tables(open_dual: OpenDual, proxy: Proxy, engine: Engine) -> DualStorage:
    """The database was never set up."""
    with transaction(engine) as connection:
        connection.execute(text("DROP TABLE sgdb_alembic_version"))
    return open_dual()


def away_in_the_middle(open_dual: OpenDual, proxy: Proxy, engine: Engine) -> DualStorage:
    """The session is killed while it saves."""
    storage = open_dual()
    storage.data_exists()
    kill_when_it_waits(engine)
    return storage


def kill_when_it_waits(engine: Engine) -> None:
    """Holds a table until another session waits for it, and kills that session."""
    held = threading.Event()

    def work() -> None:
        with transaction(engine, isolation="READ COMMITTED") as connection:
            connection.execute(text("LOCK TABLE games IN SHARE MODE"))
            held.set()
            waiting = text(
                "SELECT pid FROM pg_locks WHERE NOT granted AND locktype = 'relation'"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            while (pid := connection.execute(waiting).scalar()) is None:
                pass
            connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})

    threading.Thread(target=work, daemon=True).start()
    held.wait()


AWAY = [
    away_refused,
    away_silent,
    away_role,
    away_missing,
    away_full,
    away_without_tables,
    away_in_the_middle,
]


@pytest.mark.parametrize("away", AWAY, ids=lambda away: away.__name__)
def test_training_goes_on_without_the_database(
    away: Callable[[OpenDual, Proxy, Engine], DualStorage],
    open_dual: OpenDual,
    proxy: Proxy,
    engine: Engine,
    pickle: PickleStorage,
    journal: Journal,
    warnings: list[str],
) -> None:
    """A save succeeds on the pickle and leaves a note; one warning is given, and the server is left alone."""
    storage = away(open_dual, proxy, engine)
    storage.save_data(whole(42))
    tried = proxy.connections
    storage.save_results("C", [result("C", 0)])
    assert storage.load_results("C") == [result("C", 0)]
    assert storage.bot_names() == ["A", "B", "C"]
    assert len(list(storage.iter_games())) == 4
    assert proxy.connections == tried
    loaded = pickle.load_data()
    assert loaded is not None
    assert loaded.results == {**whole(42).results, "C": [result("C", 0)]}
    assert [(debt.lacks, debt.saves) for debt in journal.debts()] == [("database", 2)]
    assert len(warnings) == 1
    assert "the database is away" in str(warnings)


def test_the_next_call_pays(
    open_dual: OpenDual,
    primary: str,
    proxy: Proxy,
    pickle: PickleStorage,
    database: BenchmarkStorage,
    journal: Journal,
    time_passes: TimePasses,
    warnings: list[str],
) -> None:
    """When the database is back, whatever call comes first brings it up to date; the debt is gone then."""
    storage = open_dual(primary=primary)
    storage.save_data(whole(42, bots=("A",)))
    proxy.freeze()
    storage.save_data(whole(42, games=6))
    assert database.load_data() == whole(42, bots=("A",))
    proxy.thaw()
    assert storage.load_results("B") == whole(42, games=6).results["B"]
    assert len(journal.debts()) == 1  # the breaker has not let it try yet
    time_passes()
    assert storage.load_data() == whole(42, games=6)
    assert database.load_data() == pickle.load_data() == whole(42, games=6)
    assert journal.debts() == []
    assert [line[:24] for line in str(warnings).splitlines()] == [
        "the database is away: th",
        "the database is back",
        "what was owed is made go",
    ]


def test_sync_pays(
    open_dual: OpenDual,
    proxy: Proxy,
    dual_settings: Settings,
    database: BenchmarkStorage,
    journal: Journal,
    tmp_path: Path,
) -> None:
    """`sgdb sync` does it without any program; a dry run tells the same numbers and changes nothing."""
    proxy.freeze()
    open_dual().save_data(whole(42))
    proxy.thaw()
    assert status(dual_settings).debts == 1
    for dry_run in (True, False):
        assert database.load_data() is None
        done = sync(SyncOptions(dry_run), dual_settings)
        (one,) = done.sets
        assert (one.status, one.lacks, one.error) == ("level", ["database"], None)
        assert (one.to_database, one.to_pickle) == ({"games": 4, "results": 8}, {"games": 0, "results": 0})
        assert done.exit_code == 0
        assert len(journal.debts()) == (1 if dry_run else 0)
    assert database.load_data() == whole(42)
    assert sync(SyncOptions(), dual_settings).sets == []
    assert list((dual_settings.journal_folder / "debts").glob("*.json")) == []


def test_sync_without_the_database(open_dual: OpenDual, proxy: Proxy, dual_settings: Settings) -> None:
    """It says that the database is away, and the debt stays."""
    proxy.freeze()
    open_dual().save_data(whole(42))
    with pytest.raises(DatabaseUnreachableError):
        sync(SyncOptions(), dual_settings)
    assert status_of_debts(dual_settings) == 1


def status_of_debts(settings: Settings) -> int:
    return len(Journal(settings.journal_folder).debts())


def test_a_debt_to_another_database_stays(
    open_dual: OpenDual, proxy: Proxy, settings: Settings, dual_settings: Settings
) -> None:
    """It is not paid into the database that happens to be configured now."""
    proxy.freeze()
    open_dual().save_data(whole(42))
    proxy.thaw()
    assert settings.journal_folder == dual_settings.journal_folder
    (one,) = sync(SyncOptions(), settings).sets
    assert one.status == "owed"
    assert one.error is not None
    assert "another database" in one.error
    assert status_of_debts(settings) == 1


def test_replaced_results_are_owed_as_such(
    open_dual: OpenDual, primary: str, proxy: Proxy, database: BenchmarkStorage, dual_settings: Settings
) -> None:
    """Results that were to take the place of stored ones do so when the debt is paid."""
    storage = open_dual(primary=primary)
    storage.save_data(whole(42))
    proxy.freeze()
    storage.save_results("A", [result("A", 1, tiles=6)], replace=True)
    proxy.thaw()
    assert sync(SyncOptions(), dual_settings).exit_code == 0
    assert [row.tiles_cleared for row in database.load_results("A")] == [4, 6, 4, 4]
    assert [row.tiles_cleared for row in storage.load_results("A")] == [4, 6, 4, 4]


def test_a_set_that_one_side_has_never_had(
    open_dual: OpenDual, primary: str, pickle: PickleStorage, database: BenchmarkStorage
) -> None:
    """The first call brings it over, whichever side it is on."""
    (pickle if primary == "database" else database).save_data(whole(42))
    assert open_dual(primary=primary).load_data() == whole(42)
    assert pickle.load_data() == database.load_data() == whole(42)


def test_both_sides_away(open_dual: OpenDual, proxy: Proxy, tmp_path: Path) -> None:
    """Then nothing can be kept, and the call says so."""
    (tmp_path / "pickles").write_bytes(b"no folder")
    proxy.freeze()
    with pytest.raises(DatabaseUnreachableError):
        open_dual().save_data(whole(42))


def test_a_walk_goes_on_beside_the_database(
    open_dual: OpenDual, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Games that are walked through come from the pickle once the database has gone."""
    monkeypatch.setattr("sgdb.storage.guarded._BATCH", 2)
    storage = open_dual()
    storage.save_data(whole(42, games=7))
    walk = storage.iter_games(1)
    walked = [next(walk)]
    proxy.cut()
    proxy.freeze()
    assert [*walked, *walk] == whole(42, games=7).games[1:]


# -- the pickle is away --------------------------------------------------------------------------------


def test_training_goes_on_without_the_pickle(
    open_dual: OpenDual,
    primary: str,
    pickle: PickleStorage,
    database: BenchmarkStorage,
    dual_settings: Settings,
    warnings: list[str],
    tmp_path: Path,
) -> None:
    """A folder that cannot be written is noted and warned of once, and made good when it is there."""
    (tmp_path / "pickles").write_bytes(b"no folder")
    storage = open_dual(primary=primary)
    storage.save_data(whole(42))
    storage.save_results("C", [result("C", 1)])
    assert storage.bot_names() == ["A", "B", "C"]
    assert {debt.lacks for debt in Journal(dual_settings.journal_folder).debts()} == {"pickle"}
    assert len(warnings) == 1
    assert "the pickle" in str(warnings)
    (tmp_path / "pickles").unlink()
    assert sync(SyncOptions(), dual_settings).exit_code == 0
    assert pickle.load_data() == database.load_data() == storage.load_data()


def test_a_damaged_pickle_is_left_alone(
    open_dual: OpenDual,
    primary: str,
    pickle: PickleStorage,
    database: BenchmarkStorage,
    dual_settings: Settings,
) -> None:
    """It is neither taken for absent nor overwritten; when it has been moved away the set is written anew."""
    storage = open_dual(primary=primary)
    storage.save_data(whole(42))
    damaged = pickle.path.read_bytes()[:-20]
    pickle.path.write_bytes(damaged)
    with pytest.raises(DamagedPickleError):
        pickle.save_results("C", [result("C", 0)])
    storage.save_results("C", [result("C", 0)])
    assert storage.load_results("C") == [result("C", 0)]
    assert pickle.path.read_bytes() == damaged
    done = sync(SyncOptions(), dual_settings)
    assert (done.exit_code, done.sets[0].status) == (1, "owed")
    assert pickle.path.read_bytes() == damaged
    pickle.path.rename(pickle.path.with_suffix(".damaged"))
    assert sync(SyncOptions(), dual_settings).exit_code == 0
    assert pickle.load_data() == database.load_data()
    assert pickle.load_results("C") == [result("C", 0)]


# -- the two sides differ ------------------------------------------------------------------------------


def test_a_value_that_the_second_side_has_otherwise(
    open_dual: OpenDual,
    primary: str,
    pickle: PickleStorage,
    database: BenchmarkStorage,
    dual_settings: Settings,
    warnings: list[str],
) -> None:
    """It stays as it is and goes on record, field by field; what does not contradict it is made good."""
    storage = open_dual(primary=primary)
    storage.save_data(whole(42, bots=()))
    second = database if primary == "pickle" else pickle
    second.save_results("A", [result("A", 1, tiles=6, moves_made=1)])
    storage.save_results("A", [result("A", 0), result("A", 1)])
    assert storage.load_results("A") == [result("A", 0), result("A", 1)]
    rows = mismatches(dual_settings)
    assert [(row["game_id"], row["bot"], row["field"]) for row in rows] == [
        (1, "A", "moves_made"),
        (1, "A", "tiles_cleared"),
    ]
    values = [(row[primary], row["pickle" if primary == "database" else "database"]) for row in rows]
    assert values == [(3, 1), (4, 6)]
    assert second.load_results("A") == [result("A", 0), result("A", 1, tiles=6, moves_made=1)]
    assert status_of_debts(dual_settings) == 0
    assert status(dual_settings).mismatches == 2
    assert "different values" in str(warnings)
    done = sync(SyncOptions(), dual_settings)
    assert (done.exit_code, done.sets[0].status, done.sets[0].mismatches) == (1, "differs", 2)
    second.save_results("A", [result("A", 1)], replace=True)
    assert sync(SyncOptions(), dual_settings).exit_code == 0
    assert mismatches(dual_settings) == []


def test_the_primary_refuses_a_conflict(open_dual: OpenDual, primary: str, journal: Journal) -> None:
    """A value that the primary has otherwise is the caller's business, and nothing is owed."""
    storage = open_dual(primary=primary)
    storage.save_data(whole(42))
    with pytest.raises(ConflictError):
        storage.save_results("A", [result("A", 1, tiles=6)])
    assert journal.debts() == []
    assert storage.load_data() == whole(42)


@pytest.mark.parametrize("validate", ["off", "warn", "strict"])
def test_validation_on_load(
    validate: str,
    open_dual: OpenDual,
    pickle: PickleStorage,
    dual_settings: Settings,
    warnings: list[str],
) -> None:
    """Off looks away, warn records and says, strict records and raises."""
    storage = open_dual(validate=validate)
    storage.save_data(whole(42))
    pickle.save_results("B", [result("B", 3, completed=True)], replace=True)
    for load in (storage.load_data, lambda: storage.load_results("B"), lambda: storage.load_part(["B"])):
        if validate == "strict":
            with pytest.raises(MismatchError, match="bot 'B', field completed: pickle True, database False"):
                load()
        else:
            load()
    assert len(mismatches(dual_settings)) == (0 if validate == "off" else 1)
    assert len(warnings) == (3 if validate == "warn" else 0)


def test_rows_that_one_side_lacks_are_found_and_made_good(
    open_dual: OpenDual, pickle: PickleStorage, database: BenchmarkStorage, dual_settings: Settings
) -> None:
    """What another program has written to one side only is on record until `sgdb sync` gives it to both."""
    storage = open_dual()
    storage.save_data(whole(42))
    pickle.save_results("C", [result("C", 2)])
    storage.load_data()
    (row,) = mismatches(dual_settings)
    assert (row["bot"], row["field"], row["pickle"], row["database"]) == ("C", "row", "present", None)
    assert sync(SyncOptions(), dual_settings).exit_code == 0
    assert database.load_results("C") == [result("C", 2)]
    assert mismatches(dual_settings) == []


def test_a_share_is_compared(open_dual: OpenDual, pickle: PickleStorage, dual_settings: Settings) -> None:
    """A share of the games is enough to find what is wrong everywhere; none finds nothing."""
    open_dual().save_data(whole(42, games=20))
    rows = [result("A", game_id, tiles=1) for game_id in range(20)]
    pickle.save_results("A", rows, replace=True)
    open_dual(share=0.0).load_data()
    assert mismatches(dual_settings) == []
    open_dual(share=0.25).load_data()
    assert len(mismatches(dual_settings)) == 5


def test_what_makes_no_pair(open_dual: OpenDual, pickle: PickleStorage, settings: Settings) -> None:
    """Two storages of a kind or of different sets, and unknown words, are refused."""
    database = PostgresStorage(settings, CONFIG, 42)
    other = PostgresStorage(settings, CONFIG, 43)
    journal = Journal(settings.journal_folder)
    for sides in ((pickle, pickle), (database, other), (pickle, other)):
        with pytest.raises(UsageError):
            DualStorage(*sides, pickle=pickle, journal=journal, address="here")
    for changes in ({"validate": "perhaps"}, {"share": 2.0}):
        with pytest.raises(UsageError, match="validate is off"):
            open_dual(**changes)
    with pytest.raises(UsageError, match="primary"):
        open_dual(primary="both")


# -- the journal ---------------------------------------------------------------------------------------


def test_without_a_journal_fair_weather_is_enough(
    open_dual: OpenDual, proxy: Proxy, dual_settings: Settings, pickle: PickleStorage, warnings: list[str]
) -> None:
    """A journal that cannot be written is warned of; only a debt that nothing would remember is an error."""
    dual_settings.home.mkdir()
    dual_settings.journal_folder.write_bytes(b"no folder")
    storage = open_dual()
    storage.save_data(whole(42))
    assert "journal" in str(warnings)
    proxy.freeze()
    with pytest.raises(Exception, match="journal"):
        storage.save_results("C", [result("C", 0)])
    assert pickle.load_results("C") == [result("C", 0)]


def test_a_child_of_fork_has_connections_of_its_own(settings: Settings) -> None:
    """It neither uses nor closes its parent's."""
    storage = PostgresStorage(settings, CONFIG, 42)
    storage.save_data(whole(42))
    child = os.fork()
    if child == 0:
        try:
            storage.save_results("C", [result("C", 0)])
            storage.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert storage.load_results("C") == [result("C", 0)]
    storage.close()


def test_programs_beside_files(settings: Settings, database_url: str) -> None:
    """Rows of programs have a source of their own, so the database's own checks find nothing amiss."""
    from sgdb.operations.verify import VerifyOptions, verify

    with PostgresStorage(settings, CONFIG, 42) as storage:
        storage.save_data(whole(42))
        storage.save_results("D", [result("D", 7)])
        data = storage.load_data()
    assert isinstance(data, BenchmarkData)
    assert verify(VerifyOptions(), settings).equal
    engine = make_engine(database_url)
    with transaction(engine) as connection:
        connection.execute(text("UPDATE game_results SET source_file_id = NULL WHERE tiles_cleared = 4"))
    engine.dispose()
    assert not verify(VerifyOptions(), settings).equal

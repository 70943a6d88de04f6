"""Addresses, transactions and their errors, on real servers."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, make_url, text
from sqlalchemy.exc import OperationalError

from sgdb.database import engine as engine_module
from sgdb.database.engine import (
    ServerInfo,
    database_url,
    make_engine,
    open_engine,
    parse_url,
    require_supported,
    server_info,
    transaction,
)
from sgdb.database.server import EmbeddedServer
from sgdb.errors import (
    AuthenticationError,
    BusyError,
    ConfigError,
    DatabaseMissingError,
    DatabasePermissionError,
    DatabaseUnreachableError,
    EnvironmentFaultError,
    SchemaError,
    UnsupportedServerError,
)
from sgdb.settings import load_settings
from tests.conftest import FAST


@pytest.fixture
def plain(empty_database: str) -> Iterator[Engine]:
    """An engine on a database without tables."""
    engine = make_engine(empty_database)
    yield engine
    engine.dispose()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# --- addresses ---


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2"])
def test_a_postgresql_address_means_psycopg2(scheme: str) -> None:
    """Whatever the library's own default driver is."""
    url = parse_url(f"{scheme}://ann:p%40ss@db:5433/games?sslmode=require")
    assert url.drivername == "postgresql+psycopg2"
    assert (url.username, url.password, url.host, url.port, url.database) == (
        "ann",
        "p@ss",
        "db",
        5433,
        "games",
    )
    assert url.query == {"sslmode": "require"}


@pytest.mark.parametrize(
    "address",
    [
        "hush",
        "postgresql://ann:hush",
        "postgresql://ann:p@hush@db/games",
        "postgresql://ann:hush@db:port/games",
        "mysql://ann:hush@db/games",
        "sqlite:///hush",
        "postgresql+asyncpg://ann:hush@db/games",
        "postgresql://ann:hush@db",
        "",
    ],
)
def test_a_wrong_address_is_refused_without_quoting_it(address: str) -> None:
    """A password may be anywhere in a malformed address, so none of it is shown, nor kept in the chain."""
    with pytest.raises(ConfigError) as caught:
        parse_url(address)
    assert "hush" not in f"{caught.value.message} {caught.value.hint}"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"database_url": "postgres://ann@db/games"}, "postgresql+psycopg2://ann@db/games"),
        (
            {"database_url": "postgres://ann@db/games", "password": "p@ss"},
            "postgresql+psycopg2://ann:p%40ss@db/games",
        ),
        ({"database_url": "postgres://ann:own@db/x", "password": "p"}, "postgresql+psycopg2://ann:own@db/x"),
        (
            {"database_url": "postgres://ann@db/x?password=own", "password": "p"},
            "postgresql+psycopg2://ann@db/x?password=own",
        ),
        ({"host": "db"}, "postgresql+psycopg2://db:5432/sgdb"),
        (
            {"host": "db", "port": 1, "database": "g", "username": "ann", "password": "a/b"},
            "postgresql+psycopg2://ann:a%2Fb@db:1/g",
        ),
        ({"host": "/run/pg", "port": 5433}, "postgresql+psycopg2:///sgdb?host=%2Frun%2Fpg&port=5433"),
    ],
)
def test_settings_become_a_url(given: dict[str, object], expected: str) -> None:
    """One URL or parts, with the password where it belongs."""
    assert database_url(load_settings(given)).render_as_string(hide_password=False) == expected


def test_without_an_address_the_embedded_server_is_used() -> None:
    """It is started, and its notices reach the caller."""
    with tempfile.TemporaryDirectory(prefix="sgdb-test-") as folder:
        home = Path(folder) / "home"
        # Made beforehand with settings that spare the disk.
        server = EmbeddedServer(home, options=FAST)
        try:
            server.ensure_running()
            server.stop()
            notices: list[str] = []
            engine = open_engine(load_settings({"home": home}), on_notice=notices.append)
            with transaction(engine) as connection:
                assert connection.execute(text("SELECT current_database()")).scalar() == "sgdb"
            engine.dispose()
            assert all(notice.endswith(".") for notice in notices)
        finally:
            server.stop("immediate")


# --- sessions and transactions ---


def test_a_session_is_set_up_the_same_everywhere(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """UTC, UTF-8, a name that administrators recognise, whatever the caller's variables say."""
    monkeypatch.setenv("PGTZ", "Asia/Kathmandu")
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    engine = make_engine(empty_database, lock_timeout=1.5)
    with transaction(engine) as connection:
        show = {
            name: connection.execute(text(f"SHOW {name}")).scalar()
            for name in ("TimeZone", "client_encoding", "application_name", "lock_timeout")
        }
    engine.dispose()
    assert show == {
        "TimeZone": "UTC",
        "client_encoding": "UTF8",
        "application_name": "sgdb",
        "lock_timeout": "1500ms",
    }


def test_the_urls_own_options_win(empty_database: str) -> None:
    """Who writes them into the URL has a reason."""
    engine = make_engine(make_url(empty_database).update_query_dict({"application_name": "mine"}))
    with transaction(engine) as connection:
        assert connection.execute(text("SHOW application_name")).scalar() == "mine"
    engine.dispose()


def test_a_commit_is_seen_from_another_connection(plain: Engine, empty_database: str) -> None:
    """What the block did is durable when it has ended, and not visible before."""
    other = make_engine(empty_database)
    exists = text("SELECT to_regclass('t') IS NOT NULL")
    with transaction(plain) as connection:
        connection.execute(text("CREATE TABLE t ()"))
        with transaction(other) as elsewhere:
            assert elsewhere.execute(exists).scalar() is False
    with transaction(other) as elsewhere:
        assert elsewhere.execute(exists).scalar() is True
    other.dispose()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, BusyError])
def test_any_exception_rolls_back(plain: Engine, error: type[BaseException]) -> None:
    """And comes out as it was."""
    with pytest.raises(error, match="stop"), transaction(plain) as connection:
        connection.execute(text("CREATE TABLE t ()"))
        raise error("stop")
    with transaction(plain) as connection:
        assert connection.execute(text("SELECT to_regclass('t') IS NULL")).scalar() is True


def test_read_only_is_enforced_by_the_server(plain: Engine) -> None:
    """A write fails, all queries see one moment, and the pooled connection is not left read-only."""
    with transaction(plain) as connection:
        connection.execute(text("CREATE TABLE t (n int)"))
    with (
        pytest.raises(DatabasePermissionError, match="read-only"),
        transaction(plain, read_only=True) as connection,
    ):
        connection.execute(text("INSERT INTO t VALUES (1)"))
    count = text("SELECT count(*) FROM t")
    with transaction(plain, read_only=True) as reader:
        assert reader.execute(count).scalar() == 0
        with transaction(plain) as writer:
            writer.execute(text("INSERT INTO t VALUES (1)"))
        assert reader.execute(count).scalar() == 0
    with transaction(plain) as connection:
        connection.execute(text("INSERT INTO t VALUES (2)"))
        assert connection.execute(text("SHOW transaction_isolation")).scalar() == "read committed"


def test_another_isolation_can_be_asked_for(plain: Engine) -> None:
    """By its SQL name."""
    with transaction(plain, isolation="SERIALIZABLE") as connection:
        assert connection.execute(text("SHOW transaction_isolation")).scalar() == "serializable"


# --- errors as they really happen ---


def test_waiting_for_a_lock_ends(plain: Engine) -> None:
    """The bound is for this transaction only."""
    lock = text("SELECT pg_advisory_xact_lock(7)")
    with transaction(plain) as holder:
        holder.execute(lock)
        with pytest.raises(BusyError), transaction(plain, lock_timeout=0.05) as connection:
            connection.execute(lock)
    with transaction(plain) as connection:
        assert connection.execute(text("SHOW lock_timeout")).scalar() == "0"


def test_a_deadlock_is_busy(plain: Engine) -> None:
    """One of two sessions that wait for each other gives way, with an error that invites another try."""
    take = text("SELECT pg_advisory_xact_lock(:n)")
    both_hold = threading.Barrier(2)
    outcomes: list[object] = []

    def run(first: int, second: int) -> None:
        try:
            with transaction(plain) as connection:
                connection.execute(text("SET LOCAL deadlock_timeout = '10ms'"))
                connection.execute(take, {"n": first})
                both_hold.wait(30)
                connection.execute(take, {"n": second})
            outcomes.append("done")
        except BusyError as error:
            outcomes.append(type(error))

    threads = [threading.Thread(target=run, args=numbers) for numbers in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, outcomes)) == sorted(map(str, ["done", BusyError]))


def test_a_killed_backend_is_a_lost_connection(plain: Engine) -> None:
    """In the middle of a transaction; the engine is usable afterwards."""
    with pytest.raises(DatabaseUnreachableError, match="lost"), transaction(plain) as connection:
        connection.execute(text("CREATE TABLE t ()"))
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar()
        with transaction(plain) as other:
            other.execute(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": pid})
        connection.execute(text("SELECT 1"))
    with transaction(plain) as connection:
        assert connection.execute(text("SELECT to_regclass('t') IS NULL")).scalar() is True


def test_nothing_but_our_error_tells_of_a_lost_connection(empty_database: str) -> None:
    """A library's traceback of closing a cursor that is gone does not reach the terminal."""
    program = """
import sys
from sqlalchemy import text
from sgdb.database.engine import make_engine, transaction
from sgdb.errors import DatabaseUnreachableError

engine, other = make_engine(sys.argv[1]), make_engine(sys.argv[1])
try:
    with transaction(engine) as connection:
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
        streaming = connection.execution_options(stream_results=True, max_row_buffer=10)
        result = streaming.execute(text("SELECT * FROM generate_series(1, 100000)"))
        result.fetchone()
        with other.connect() as killer:
            killer.execute(text("SELECT pg_terminate_backend(:pid, 60000)"), {"pid": pid})
        result.close()
        connection.execute(text("SELECT 1"))
except DatabaseUnreachableError:
    print("lost")
"""
    done = subprocess.run(
        [sys.executable, "-c", program, empty_database], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "lost\n", "")


def test_a_backend_killed_before_the_commit_is_a_lost_connection(plain: Engine) -> None:
    """The commit's own failure is translated, too."""
    with pytest.raises(DatabaseUnreachableError), transaction(plain) as connection:
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar()
        with transaction(plain) as other:
            other.execute(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": pid})


def test_a_connection_that_died_in_the_pool_is_replaced(plain: Engine) -> None:
    """A server restarted between two commands of a long program is no error."""
    with transaction(plain) as connection:
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar()
    killer = make_engine(plain.url)
    with transaction(killer) as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": pid})
    killer.dispose()
    with transaction(plain) as connection:
        assert connection.execute(text("SELECT pg_backend_pid()")).scalar() != pid


def test_a_cancelled_statement_is_told(plain: Engine) -> None:
    """With the setting to look at."""
    with pytest.raises(EnvironmentFaultError) as caught, transaction(plain) as connection:
        connection.execute(text("SET LOCAL statement_timeout = 10"))
        connection.execute(text("SELECT pg_sleep(60)"))
    assert "statement_timeout" in str(caught.value.hint)


def test_a_missing_table_points_to_init(plain: Engine) -> None:
    """That is what a database looks like before `sgdb init`."""
    with pytest.raises(SchemaError) as caught, transaction(plain) as connection:
        connection.execute(text("SELECT * FROM games"))
    assert "sgdb init" in str(caught.value.hint)
    assert isinstance(caught.value.__cause__, Exception)


def test_errors_of_copy_are_translated(plain: Engine) -> None:
    """COPY goes past SQLAlchemy, straight to the driver."""
    with pytest.raises(SchemaError), transaction(plain) as connection:
        connection.connection.cursor().copy_expert("COPY games FROM STDIN", io.StringIO("1\n"))


def test_a_missing_database_points_to_init(server_url: URL) -> None:
    """Known from the server's words, since a failed connection has no code."""
    engine = make_engine(server_url.set(database="sgdb_no_such_database"))
    with pytest.raises(DatabaseMissingError, match="sgdb_no_such_database") as caught, transaction(engine):
        pass
    assert "sgdb init" in str(caught.value.hint)
    engine.dispose()


def test_a_role_without_rights_is_told(plain: Engine) -> None:
    """A real role on a real table."""
    with pytest.raises(DatabasePermissionError), transaction(plain) as connection:
        connection.execute(text("CREATE TABLE t ()"))
        connection.execute(text("CREATE ROLE sgdb_test_stranger"))
        connection.execute(text("SET LOCAL ROLE sgdb_test_stranger"))
        connection.execute(text("SELECT * FROM t"))


def test_a_refused_port_is_unreachable() -> None:
    """The message names the address."""
    port = free_port()
    engine = make_engine(f"postgresql://ann:hush@127.0.0.1:{port}/games", connect_timeout=2)
    with (
        pytest.raises(DatabaseUnreachableError, match=f"ann@127.0.0.1:{port}/games") as caught,
        transaction(engine),
    ):
        pass
    assert "hush" not in str(caught.value)
    assert isinstance(caught.value.__cause__, OperationalError)


def test_passwords_are_checked_for_real() -> None:
    """A server that wants SCRAM over TCP: right, wrong and no password, an unknown user, a barred host."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="sgdb-test-") as folder:
        options = {**FAST, "listen_addresses": "127.0.0.1", "port": str(port)}
        server = EmbeddedServer(Path(folder) / "home", options=options)
        try:
            local = server.ensure_running()
            administrator = make_engine(local)
            with transaction(administrator) as connection:
                connection.execute(text("CREATE ROLE ann LOGIN PASSWORD 'ri ght'"))
                rules = Path(str(connection.execute(text("SHOW hba_file")).scalar()))
                rules.write_text("local all all trust\nhost sgdb ann,bob 127.0.0.1/32 scram-sha-256\n")
                connection.execute(text("SELECT pg_reload_conf()"))
            administrator.dispose()

            def connect(user: str, password: str | None) -> None:
                given = {"host": "127.0.0.1", "port": port, "username": user, "password": password}
                engine = open_engine(load_settings(given))
                try:
                    with transaction(engine) as connection:
                        assert connection.execute(text("SELECT current_user")).scalar() == user
                finally:
                    engine.dispose()

            connect("ann", "ri ght")
            for user, password in (("ann", "wr ong"), ("ann", None), ("bob", "wr ong"), ("eve", "wr ong")):
                with pytest.raises(AuthenticationError) as caught:
                    connect(user, password)
                assert "wr ong" not in caught.value.message
                assert "SGDB_PASSWORD" in str(caught.value.hint)
        finally:
            server.stop("immediate")


# --- what the server is ---


def test_the_server_tells_version_and_encoding(plain: Engine) -> None:
    """The supported ones pass."""
    with transaction(plain) as connection:
        info = require_supported(connection)
        assert info == server_info(connection)
    assert info.major >= 14
    assert info.encoding == "UTF8"
    assert ServerInfo(140011, "UTF8").version_text == "14.11"


def test_an_old_server_is_refused(plain: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real server's version, held against a later minimum."""
    monkeypatch.setattr(engine_module, "OLDEST_VERSION", 99)
    with pytest.raises(UnsupportedServerError, match="99 or newer"), transaction(plain) as connection:
        require_supported(connection)


def test_another_encoding_is_refused(server_url: URL, plain: Engine) -> None:
    """A LATIN1 database cannot hold every bot's name; writing one there is told the same way."""
    administrator = make_engine(server_url, connect_timeout=5).execution_options(isolation_level="AUTOCOMMIT")
    with administrator.connect() as connection:
        provider = "LOCALE_PROVIDER libc" if server_info(connection).major >= 15 else ""
        connection.execute(
            text(
                f"CREATE DATABASE sgdb_test_latin1 TEMPLATE template0 ENCODING 'LATIN1' {provider} LOCALE 'C'"
            )
        )
    engine = make_engine(server_url.set(database="sgdb_test_latin1"))
    try:
        with (
            pytest.raises(UnsupportedServerError, match="LATIN1") as caught,
            transaction(engine) as connection,
        ):
            require_supported(connection)
        assert "UTF8" in str(caught.value.hint)
        with pytest.raises(UnsupportedServerError), transaction(engine) as connection:
            connection.execute(text("SELECT :name"), {"name": "東京"})
    finally:
        engine.dispose()
        with administrator.connect() as connection:
            connection.execute(text("DROP DATABASE sgdb_test_latin1 WITH (FORCE)"))
        administrator.dispose()

"""`init` on what it may find: nothing, half of it, all of it, and what it has to refuse."""

from __future__ import annotations

import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, make_url, text

from sgdb.database import revisions, schema
from sgdb.database.engine import make_engine, server_info, transaction
from sgdb.database.locks import SCHEMA_LOCK
from sgdb.database.server import EmbeddedServer
from sgdb.errors import (
    AuthenticationError,
    BusyError,
    DatabasePermissionError,
    DatabaseUnreachableError,
    FileAccessError,
    SchemaError,
    ServerError,
    UnsupportedServerError,
    UsageError,
)
from sgdb.operations.init import InitOptions, InitResult, init
from sgdb.operations.verify import VerifyOptions, verify
from sgdb.settings import Settings, load_settings
from tests.conftest import FAST
from tests.legacy import write_legacy
from tests.steps import Listener, ask, migrate, tamper
from tests.totals import assert_true

CHECK = InitOptions(check=True)
HEAD = revisions.head()
REVISION_9998 = f"""
from alembic import op

revision = "9998"
down_revision = "{HEAD}"


def upgrade():
    op.execute("ALTER TABLE bots ADD COLUMN nickname text")


def downgrade():
    op.execute("ALTER TABLE bots DROP COLUMN nickname")
"""


def execute(url: URL | str, statement: str) -> None:
    """Runs one statement on its own and commits it."""
    engine = make_engine(url)
    try:
        with transaction(engine, isolation="AUTOCOMMIT") as connection:
            connection.execute(text(statement))
    finally:
        engine.dispose()


def create_in_latin1(url: URL) -> None:
    """Creates the database that `url` names, in an encoding that is not ours."""
    engine = make_engine(url.set(database="postgres"))
    try:
        with transaction(engine, isolation="AUTOCOMMIT") as connection:
            provider = "LOCALE_PROVIDER libc" if server_info(connection).major >= 15 else ""
            connection.execute(
                text(
                    f"CREATE DATABASE \"{url.database}\" TEMPLATE template0 ENCODING 'LATIN1' {provider}"
                    " LC_COLLATE 'C' LC_CTYPE 'C'"
                )
            )
    finally:
        engine.dispose()


def external(url: URL | str, **others: object) -> Settings:
    """Settings for a server at this address."""
    spelled = url if isinstance(url, str) else url.render_as_string(hide_password=False)
    return load_settings({"database_url": spelled, **others})


@pytest.fixture
def absent_database(server_url: URL) -> Iterator[URL]:
    """The address of a database that does not exist yet."""
    url = server_url.set(database=f"sgdb_test_{secrets.token_hex(6)}")
    yield url
    execute(server_url, f'DROP DATABASE IF EXISTS "{url.database}" WITH (FORCE)')


@pytest.fixture
def later_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The program is one that knows a further migration."""
    folder = tmp_path / "migrations"
    shutil.copytree(revisions.scripts_folder(), folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / "9998_nickname.py").write_text(REVISION_9998)
    for module in (revisions, schema):
        monkeypatch.setattr(module, "scripts_folder", lambda: folder)
    schema._scripts.cache_clear()
    yield
    schema._scripts.cache_clear()


@pytest.fixture(scope="module")
def strict_server() -> Iterator[Callable[..., Settings]]:
    """Makes settings for user ann of a server that wants her password."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="sgdb-test-") as folder:
        options = {**FAST, "listen_addresses": "127.0.0.1", "port": str(port)}
        server = EmbeddedServer(Path(folder) / "home", options=options)
        try:
            url = server.ensure_running()
            execute(url, "CREATE ROLE ann LOGIN PASSWORD 'right'")
            rules = server.data_folder / "pg_hba.conf"
            rules.write_text("local all all trust\nhost all ann 127.0.0.1/32 scram-sha-256\n")
            execute(url, "SELECT pg_reload_conf()")

            def settings(database: str = "sgdb", password: str = "right") -> Settings:
                return external(f"postgresql://ann@127.0.0.1:{port}/{database}", password=password)

            yield settings
        finally:
            server.stop("immediate")


class TestEmbedded:
    def test_from_nothing_to_ready_and_nothing_twice(self, short_home: Path) -> None:
        """The first run sets everything up and says so; the second finds nothing to do."""
        settings = load_settings({"home": short_home})
        first = init(InitOptions(), settings)
        assert first.created_database
        assert first.changed
        assert (first.before, first.after) == (None, revisions.head())
        assert first.data_folder == str(short_home / "postgres")
        assert first.data_folder in first.address
        second = init(InitOptions(), settings)
        assert not second.changed
        assert (second.before, second.after) == (revisions.head(), revisions.head())
        assert init(CHECK, settings) == second

    @pytest.mark.parametrize("is_there", [False, True])
    def test_a_check_sets_nothing_up(self, short_home: Path, is_there: bool) -> None:
        """Where there is no data folder, or an empty one, it stays that way."""
        if is_there:
            (short_home / "postgres").mkdir(parents=True)
        found = init(CHECK, load_settings({"home": short_home}))
        assert found.to_do == ("set up the embedded server", "create the tables")
        assert found.exit_code == 1
        assert not found.changed
        assert short_home.exists() is is_there
        if is_there:
            assert list(short_home.rglob("*")) == [short_home / "postgres"]

    def test_a_check_starts_a_stopped_server(self, short_home: Path) -> None:
        """Its data are there, so looking at them changes nothing."""
        settings = load_settings({"home": short_home})
        init(InitOptions(), settings)
        EmbeddedServer(short_home).stop()
        assert init(CHECK, settings).to_do == ()

    def test_a_folder_of_other_things_is_refused(self, short_home: Path) -> None:
        """By the check as well: the real run could not do it either."""
        (short_home / "postgres").mkdir(parents=True)
        (short_home / "postgres" / "letter.txt").touch()
        for options in (InitOptions(), CHECK):
            with pytest.raises(ServerError, match="PG_VERSION"):
                init(options, load_settings({"home": short_home}))

    def test_a_home_that_cannot_be(self, tmp_path: Path) -> None:
        """A file stands where the folder should be made."""
        (tmp_path / "file").touch()
        with pytest.raises(FileAccessError):
            init(InitOptions(), load_settings({"home": tmp_path / "file" / "home"}))


class TestExternal:
    def test_a_missing_database_is_created_once(self, absent_database: URL) -> None:
        """The check names it and leaves it missing; the run creates it; the next finds nothing to do."""
        settings = external(absent_database)
        for _ in range(2):
            found = init(CHECK, settings)
            assert found.to_do == ("create the database", "create the tables")
            assert found.exit_code == 1
        done = init(InitOptions(), settings)
        assert done.created_database
        assert done.changed
        assert done.data_folder is None
        again = init(InitOptions(), settings)
        assert not again.created_database
        assert not again.changed
        assert init(CHECK, settings).exit_code == 0

    def test_an_empty_database_gets_its_tables(self, empty_database: str) -> None:
        """The check names that and makes none."""
        settings = external(empty_database)
        for _ in range(2):
            assert init(CHECK, settings).to_do == ("create the tables",)
        done = init(InitOptions(), settings)
        assert not done.created_database
        assert (done.before, done.after) == (None, revisions.head())

    def test_a_check_works_where_nothing_may_be_written(self, empty_database: str) -> None:
        """Proof that it writes nothing: the database takes no write from any session."""
        name = make_url(empty_database).database
        execute(empty_database, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        assert init(CHECK, external(empty_database)).to_do == ("create the tables",)
        with pytest.raises(DatabasePermissionError, match="read-only"):
            init(InitOptions(), external(empty_database))

    def test_an_older_schema_is_brought_forward(self, settings: Settings, later_program: None) -> None:
        """The check names both revisions; the run reports both."""
        found = init(CHECK, settings)
        assert found.to_do == (f"migrate the schema from {HEAD} to 9998",)
        assert found.after == HEAD
        done = init(InitOptions(), settings)
        assert (done.before, done.after, done.changed) == (HEAD, "9998", True)
        assert init(CHECK, settings).exit_code == 0

    @pytest.mark.parametrize("options", [InitOptions(), CHECK])
    def test_a_newer_schema_is_left_alone(self, database_url: str, options: InitOptions) -> None:
        """The way out is a newer sgdb."""
        execute(database_url, f"UPDATE {revisions.VERSION_TABLE} SET version_num = '9999'")
        with pytest.raises(SchemaError, match="9999") as caught:
            init(options, external(database_url))
        assert "upgrade sgdb" in str(caught.value.hint)

    @pytest.mark.parametrize("options", [InitOptions(), CHECK])
    def test_another_encoding_is_refused(self, absent_database: URL, options: InitOptions) -> None:
        """Text could not be stored faithfully."""
        create_in_latin1(absent_database)
        with pytest.raises(UnsupportedServerError, match="LATIN1"):
            init(options, external(absent_database))

    def test_another_migration_is_waited_for_no_longer_than_configured(self, empty_database: str) -> None:
        """Then it is busy."""
        engine = make_engine(empty_database)
        try:
            with transaction(engine) as connection:
                connection.execute(text(f"SELECT pg_advisory_xact_lock({SCHEMA_LOCK})"))
                with pytest.raises(BusyError):
                    init(InitOptions(), external(empty_database, lock_timeout=0.05))
        finally:
            engine.dispose()

    @pytest.mark.parametrize("options", [InitOptions(), CHECK])
    def test_a_server_that_is_not_there(self, options: InitOptions) -> None:
        """Unreachable, with the address and without the password."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            url = f"postgresql://ann:hush@127.0.0.1:{probe.getsockname()[1]}/games"
            with pytest.raises(DatabaseUnreachableError, match=r"ann@127\.0\.0\.1") as caught:
                init(options, external(url))
        assert "hush" not in f"{caught.value} {caught.value.hint}"


class TestTotals:
    def test_they_are_counted_anew(self, settings: Settings, engine: Engine, tmp_path: Path) -> None:
        """How many lines were wrong is told, a check finds it before and after, and no row is touched."""
        migrate(settings, write_legacy(tmp_path / "a.pkl", bots=("A", "B")))
        tamper(engine, "ALTER TABLE game_results DISABLE TRIGGER USER")
        tamper(
            engine, "UPDATE game_results SET moves_made = moves_made + 1, metadata = NULL WHERE bot_id = 1"
        )
        assert not {check.name: check.ok for check in verify(VerifyOptions(), settings).checks}["totals"]
        rows = ask(engine, "SELECT xmin, ctid FROM game_results ORDER BY id")
        assert init(InitOptions(), settings).wrong_totals is None
        done = init(InitOptions(refresh_totals=True), settings)
        assert (done.wrong_totals, done.changed, done.to_json()["wrong_totals"]) == (1, True, 1)
        assert ask(engine, "SELECT xmin, ctid FROM game_results ORDER BY id") == rows
        assert_true(engine)
        assert {check.name: check.ok for check in verify(VerifyOptions(), settings).checks}["totals"]
        again = init(InitOptions(refresh_totals=True), settings)
        assert (again.wrong_totals, again.changed) == (0, False)

    def test_in_a_database_that_is_new(self, empty_database: str) -> None:
        """There is nothing to count."""
        assert init(InitOptions(refresh_totals=True), external(empty_database)).wrong_totals == 0

    def test_a_check_counts_nothing(self, settings: Settings) -> None:
        """It only looks, and has another command to name."""
        with pytest.raises(UsageError, match="--check") as caught:
            init(InitOptions(check=True, refresh_totals=True), settings)
        assert "sgdb verify" in str(caught.value.hint)

    def test_writers_that_do_not_end(self, settings: Settings, engine: Engine) -> None:
        """Are waited for no longer than configured."""
        with engine.connect() as writer:
            writer.execute(text("INSERT INTO game_configs (num_rows, num_cols, num_colors) VALUES (1, 1, 2)"))
            writer.execute(text("LOCK TABLE games IN ROW EXCLUSIVE MODE"))
            listener = Listener()
            hasty = settings.model_copy(update={"lock_timeout": 0.05})
            with pytest.raises(BusyError):
                init(InitOptions(refresh_totals=True), hasty, listener)
        assert listener.notices == ["waiting for other commands that are at work on the database"]


class TestRights:
    """A server that asks for passwords, and a user who may do little."""

    @pytest.mark.parametrize("options", [InitOptions(), CHECK])
    def test_a_wrong_password(self, strict_server: Callable[..., Settings], options: InitOptions) -> None:
        """Told as such; the hint names the setting."""
        with pytest.raises(AuthenticationError) as caught:
            init(options, strict_server(password="wr ong"))
        assert "wr ong" not in caught.value.message
        assert "SGDB_PASSWORD" in str(caught.value.hint)

    def test_no_right_to_create_the_database(self, strict_server: Callable[..., Settings]) -> None:
        """The hint is the statement for the administrator."""
        with pytest.raises(DatabasePermissionError, match="could not be created") as caught:
            init(InitOptions(), strict_server("games"))
        assert 'CREATE DATABASE "games" OWNER "ann"' in str(caught.value.hint)

    def test_no_right_to_create_tables(self, strict_server: Callable[..., Settings]) -> None:
        """The hint is the statement for the owner."""
        with pytest.raises(DatabasePermissionError, match="may not create tables") as caught:
            init(InitOptions(), strict_server())
        assert "GRANT USAGE, CREATE" in str(caught.value.hint)


def test_the_json_document() -> None:
    """Its keys are a promise to scripts."""
    assert InitResult("ann@db:5432/games", None, True, None, "0001").to_json() == {
        "address": "ann@db:5432/games",
        "data_folder": None,
        "created_database": True,
        "revision_before": None,
        "revision": "0001",
        "backup": None,
        "wrong_totals": None,
        "changed": True,
        "to_do": [],
    }

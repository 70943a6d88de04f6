"""`status` of every state a database can be in; it looks and never touches."""

from __future__ import annotations

import json
import re
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, make_url, text

from sgdb.database import revisions
from sgdb.database.engine import make_engine, server_info, transaction
from sgdb.database.models import Base
from sgdb.database.server import EmbeddedServer
from sgdb.errors import DatabaseUnreachableError, FileAccessError
from sgdb.operations.migrate_pickles import MigratePicklesOptions, migrate_pickles
from sgdb.operations.status import StatusResult, status
from sgdb.settings import Settings, load_settings
from tests.legacy import write_legacy
from tests.steps import Listener, count, migrate, tamper


def execute(url: URL | str, statement: str) -> None:
    """Runs one statement on its own and commits it."""
    engine = make_engine(url)
    try:
        with transaction(engine, isolation="AUTOCOMMIT") as connection:
            connection.execute(text(statement))
    finally:
        engine.dispose()


def files_below(folder: Path) -> dict[str, tuple[int, int, int]]:
    """What stands there, with sizes, modes and times."""
    return {
        str(path): (found.st_size, found.st_mode, found.st_mtime_ns)
        for path in (folder, *folder.rglob("*"))
        for found in [path.lstat()]
    }


@pytest.fixture
def absent_database(server_url: URL) -> Iterator[URL]:
    """The address of a database that does not exist yet."""
    url = server_url.set(database=f"sgdb_test_{secrets.token_hex(6)}")
    yield url
    execute(server_url, f'DROP DATABASE IF EXISTS "{url.database}" WITH (FORCE)')


def external(url: URL | str, **others: object) -> Settings:
    """Settings for a server at this address."""
    spelled = url if isinstance(url, str) else url.render_as_string(hide_password=False)
    return load_settings({"database_url": spelled, **others})


class TestReady:
    def test_everything_is_told(self, settings: Settings, tmp_path: Path) -> None:
        """Server, schema, sizes, exact row counts and the last run."""
        write_legacy(tmp_path / "benchmark_5_5_3_42.pkl", num_games=7)
        run = migrate_pickles(MigratePicklesOptions((tmp_path / "benchmark_5_5_3_42.pkl",)), settings)
        found = status(settings)
        assert (found.state, found.next_step, found.embedded) == ("ready", None, False)
        assert re.fullmatch(r"\d+\.\d+", found.server_version or "")
        assert found.encoding == "UTF8"
        assert found.revision == found.newest_revision == revisions.head()
        assert [table.table for table in found.tables] == list(Base.metadata.tables)
        rows = {table.table: table.rows for table in found.tables}
        assert (rows["games"], rows["game_results"], rows["benchmark_sets"], rows["bots"]) == (7, 7, 1, 1)
        assert all(table.bytes > 0 for table in found.tables)
        assert found.database_bytes
        assert found.database_bytes > sum(table.bytes for table in found.tables)
        assert found.runs == 1
        assert found.last_run
        assert (found.last_run["id"], found.last_run["status"]) == (run.run_id, "done")
        assert found.data_folder is None
        json.dumps(found.to_json(), allow_nan=False)

    def test_it_writes_nothing(self, database_url: str) -> None:
        """It works in full where the database takes no write from any session."""
        name = make_url(database_url).database
        execute(database_url, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        assert status(external(database_url)).state == "ready"

    def test_the_right_to_read_is_enough(self, database_url: str) -> None:
        """A user with nothing but SELECT sees everything."""
        role = f"sgdb_test_{secrets.token_hex(6)}"
        execute(database_url, f"CREATE ROLE {role}")
        try:
            execute(database_url, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
            url = make_url(database_url).update_query_dict({"options": f"-c role={role}"})
            assert status(external(url)).state == "ready"
        finally:
            execute(database_url, f"DROP OWNED BY {role}")
            execute(database_url, f"DROP ROLE {role}")

    def test_the_pickle_folder_is_told(self, database_url: str, tmp_path: Path) -> None:
        """As it would be used: absolute."""
        found = status(external(database_url, pickle_dir=Path("pickles")))
        assert found.pickle_dir == str(tmp_path / "pickles")

    def test_what_has_become_of_the_files(self, settings: Settings, tmp_path: Path) -> None:
        """By path, against what was migrated from it last; refused files are none of it."""
        names = ("same", "cut", "replaced", "gone", "circle")
        paths = {name: write_legacy(tmp_path / name, base_seed=number) for number, name in enumerate(names)}
        write_legacy(tmp_path / "refused", spoil_bytes=lambda raw: raw[:-1])
        run = migrate_pickles(MigratePicklesOptions((*paths.values(), tmp_path / "refused")), settings)
        assert run.exit_code == 1
        write_legacy(paths["same"], num_games=20, base_seed=0)
        assert migrate_pickles(MigratePicklesOptions((paths["same"],)), settings).exit_code == 0
        paths["cut"].write_bytes(paths["cut"].read_bytes()[:-1])
        raw = bytearray(paths["replaced"].read_bytes())
        raw[60] ^= 1
        paths["replaced"].write_bytes(raw)
        paths["gone"].unlink()
        paths["circle"].unlink()
        paths["circle"].symlink_to(paths["circle"])
        files = status(settings).files
        assert files is not None
        assert (files.recorded, files.unchanged) == (5, 1)
        assert files.changed == [str(paths["cut"]), str(paths["replaced"])]
        assert files.gone == [str(paths["gone"])]
        assert list(files.unreadable) == [str(paths["circle"])]
        assert status(settings, check_files=False).files is None

    def test_a_run_that_broke_off_is_told_from_one_at_work(
        self, settings: Settings, engine: Engine, tmp_path: Path
    ) -> None:
        """Each time the run has not said how it ended; whether it is there at all is what differs."""
        path = write_legacy(tmp_path / "a", num_games=20)
        write_legacy(tmp_path / "b", base_seed=1)
        told: list[StatusResult] = []

        def look(_: int) -> None:
            if not told and count(engine, "runs"):
                told.append(status(settings))

        migrate(settings, path, tmp_path / "b", progress=Listener(look))
        assert told[0].last_run
        assert (told[0].last_run["status"], told[0].broken_off) == ("at work", [])
        tamper(engine, "UPDATE runs SET status = 'running', finished_at = NULL")
        found = status(settings)
        assert found.last_run
        assert (found.last_run["status"], found.broken_off) == ("broken off", [1])

    def test_no_password_is_told(self, database_url: str) -> None:
        """Neither by the result nor by its JSON."""
        url = make_url(database_url)
        if url.password is None:
            url = url.set(password="geheim")
        found = status(external(url))
        assert str(url.password) not in f"{found}{json.dumps(found.to_json())}"


class TestNotReady:
    def test_no_database(self, absent_database: URL) -> None:
        """Said, and not created."""
        for _ in range(2):
            found = status(external(absent_database))
            assert (found.state, found.next_step) == ("no database", "sgdb init")

    def test_no_tables(self, empty_database: str) -> None:
        """Said, and not created."""
        for _ in range(2):
            found = status(external(empty_database))
            assert (found.state, found.next_step) == ("no tables", "sgdb init")
            assert (found.revision, found.newest_revision) == (None, revisions.head())
            assert found.tables == ()

    def test_an_older_schema(self, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """`sgdb init` brings it forward."""
        known = [*revisions.known_revisions(), "9998"]
        monkeypatch.setattr(revisions, "known_revisions", lambda: known)
        found = status(external(database_url))
        assert (found.state, found.next_step) == ("outdated", "sgdb init")
        assert (found.revision, found.newest_revision) == (known[-2], "9998")

    def test_a_newer_schema(self, database_url: str) -> None:
        """The program is what has to be upgraded."""
        execute(database_url, f"UPDATE {revisions.VERSION_TABLE} SET version_num = '9999'")
        found = status(external(database_url))
        assert (found.state, found.next_step) == ("newer", "pip install --upgrade sgdb")
        assert found.revision == "9999"

    def test_another_encoding(self, server_url: URL, absent_database: URL) -> None:
        """An unsupported server is told with its encoding."""
        engine = make_engine(server_url)
        with transaction(engine) as connection:
            provider = "LOCALE_PROVIDER libc" if server_info(connection).major >= 15 else ""
        engine.dispose()
        execute(
            server_url,
            f"CREATE DATABASE \"{absent_database.database}\" TEMPLATE template0 ENCODING 'LATIN1' {provider}"
            " LC_COLLATE 'C' LC_CTYPE 'C'",
        )
        found = status(external(absent_database))
        assert (found.state, found.encoding) == ("unsupported server", "LATIN1")
        assert "UTF8" in str(found.next_step)

    def test_a_server_that_is_not_there(self) -> None:
        """An error: nothing can be said."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            url = f"postgresql://ann:hush@127.0.0.1:{probe.getsockname()[1]}/games"
            with pytest.raises(DatabaseUnreachableError) as caught:
                status(external(url))
        assert "hush" not in f"{caught.value} {caught.value.hint}"


class TestEmbedded:
    @pytest.mark.parametrize("is_there", [False, True])
    def test_not_set_up(self, short_home: Path, is_there: bool) -> None:
        """Nothing is created, whether there is no folder or an empty one."""
        if is_there:
            (short_home / "postgres").mkdir(parents=True)
        before = files_below(short_home.parent)
        found = status(load_settings({"home": short_home}))
        assert (found.state, found.next_step, found.embedded) == ("not set up", "sgdb init", True)
        assert found.data_folder == str(short_home / "postgres")
        assert files_below(short_home.parent) == before

    def test_running_and_stopped(self, short_home: Path) -> None:
        """A stopped server stays stopped, and not a file changes."""
        server = EmbeddedServer(short_home)
        server.ensure_running()
        settings = load_settings({"home": short_home})
        found = status(settings)
        assert (found.state, found.next_step) == ("no tables", "sgdb init")
        assert found.data_folder == str(server.data_folder)
        server.stop()
        before = files_below(short_home)
        found = status(settings)
        assert (found.state, found.next_step) == ("stopped", "sgdb server start")
        assert found.server_version
        assert not server.status().running
        assert files_below(short_home) == before

    def test_a_home_that_cannot_be_looked_at(self, tmp_path: Path) -> None:
        """A path too long to be one is a fault of the setting, not a bug."""
        with pytest.raises(FileAccessError):
            status(load_settings({"home": tmp_path / ("x" * 300)}))


def test_the_json_keys() -> None:
    """They are a promise to scripts."""
    assert list(StatusResult("a", True, "stopped").to_json()) == [
        "address",
        "embedded",
        "state",
        "next_step",
        "data_folder",
        "server_version",
        "encoding",
        "revision",
        "newest_revision",
        "database_bytes",
        "tables",
        "runs",
        "last_run",
        "pickle_dir",
        "broken_off",
        "files",
        "debts",
        "owed_since",
        "mismatches",
        "training_debts",
        "checkpoint_files",
    ]

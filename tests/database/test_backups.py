"""Backups: one moment of sgdb's tables, whole and proven, or nothing at all."""

from __future__ import annotations

import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from sgdb.atomic import atomic_file
from sgdb.database.backup_files import Backup, checked_dump, list_backups, manifest_path, read_backup
from sgdb.database.backups import make_backup, make_own_backup, prove_backup
from sgdb.database.client_programs import newest_program
from sgdb.database.models import Base
from sgdb.database.revisions import head
from sgdb.database.schema import downgrade
from sgdb.errors import (
    AlreadyExistsError,
    BackupError,
    BusyError,
    DatabasePermissionError,
    DatabaseUnreachableError,
    DiskFullError,
    FileAccessError,
    SchemaError,
)
from sgdb.settings import Settings
from tests.backups import (
    contents,
    execute,
    fill,
    held,
    names,
    no_scratch_database_is_left,
    opened,
    pair,
    role,
    scratch_databases,
    terminate,
    until,
)
from tests.cli.conftest import clean_environment
from tests.steps import Listener, ask, count


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where backups go; it does not exist yet."""
    return tmp_path / "backups"


@pytest.fixture
def filled(settings: Settings, engine: Engine, tmp_path: Path) -> Engine:
    """A database with something in every table."""
    fill(settings, engine, tmp_path)
    return engine


def start(engine: Engine, *arguments: object, **options: object) -> subprocess.Popen[str]:
    """`sgdb ARGUMENTS` on the engine's database, at work."""
    url = engine.url.render_as_string(hide_password=False)
    return subprocess.Popen(
        [sys.executable, "-m", "sgdb", *map(str, arguments)],
        env=clean_environment(SGDB_DATABASE_URL=url),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )


def has_unfinished(folder: Path) -> bool:
    """Whether a hidden file has been begun."""
    return any(name.endswith(".part") for name in names(folder))


class TestWhatIsInIt:
    def test_all_of_sgdbs_tables_and_nothing_else(
        self, filled: Engine, empty_database: str, folder: Path
    ) -> None:
        """Proven, in two files for their owner only; and pg_restore alone brings everything back, for whoever
        has no sgdb."""
        execute(filled, "CREATE TABLE others (secret text); INSERT INTO others VALUES ('not ours')")
        made = make_backup(filled, folder)
        assert names(folder) == pair(made.path)
        assert folder.stat().st_mode & 0o777 == 0o700
        manifest = made.manifest
        assert manifest.proven
        assert (manifest.why, manifest.schema_revision) == ("asked", head())
        assert {name: table.rows for name, table in manifest.tables.items()} == {
            table: count(filled, table) for table in Base.metadata.tables
        }
        assert [name for name, table in manifest.tables.items() if not table.rows] == ["departing_games"]
        assert read_backup(made.path) == made
        assert no_scratch_database_is_left(filled)
        with opened(empty_database) as other:
            address = other.url.set(drivername="postgresql").render_as_string(hide_password=False)
            program = newest_program("pg_restore")
            # A dump of tables lacks the functions of their triggers.
            listed = subprocess.run([program.path, "--list", made.path], check=True, capture_output=True)
            lines = [line for line in listed.stdout.splitlines() if not re.search(rb"TRIGGER .* sgdb_", line)]
            wanted = folder / "wanted"
            wanted.write_bytes(b"\n".join(lines))
            arguments = [
                *("--no-owner", f"--use-list={wanted}", "--single-transaction"),
                *(f"--dbname={address}", made.path),
            ]
            if filled.dialect.server_version_info and filled.dialect.server_version_info < (17,):
                # Its first line sets what such a server does not know.
                arguments.remove("--single-transaction")
            subprocess.run([program.path, *arguments], check=False, capture_output=True)
            assert contents(other) == contents(filled)
            assert ask(other, "SELECT to_regclass('others')") == [(None,)]

    def test_an_empty_database_and_an_older_schema(self, settings: Settings, engine: Engine) -> None:
        """Are backed up like any other."""
        downgrade(engine, "0001")
        made = make_backup(engine, settings.backups_folder)
        assert (made.manifest.schema_revision, made.manifest.rows) == ("0001", 0)
        assert made.manifest.proven

    def test_one_moment_while_others_write(self, filled: Engine, folder: Path) -> None:
        """What a writer commits in two tables at once is in the backup in both or in none; the proof compares
        what pg_dump saw with what the digests saw."""
        stop = threading.Event()

        def write() -> int:
            number = 0
            while not stop.is_set():
                number += 1
                execute(
                    filled,
                    f"INSERT INTO bots (name) VALUES ('w{number}');"
                    " INSERT INTO training_sessions (bot_id, name, hyperparameters, start_time)"
                    f" SELECT id, name, '{{}}', now() FROM bots WHERE name = 'w{number}';"
                    " UPDATE game_results SET tiles_cleared = tiles_cleared + 1 WHERE id % 7 = 0",
                )
            return number

        fixed = count(filled, "bots") - count(filled, "training_sessions")
        with ThreadPoolExecutor(1) as threads:
            written = threads.submit(write)
            try:
                made = [make_backup(filled, folder) for _ in range(3)]
            finally:
                stop.set()
            assert written.result() > 3
        for backup in made:
            tables = backup.manifest.tables
            assert tables["bots"].rows - tables["training_sessions"].rows == fixed
        assert len({backup.path for backup in made}) == 3

    def test_a_table_that_is_emptied_meanwhile_is_not_empty_in_it(self, filled: Engine, folder: Path) -> None:
        """TRUNCATE shows through older snapshots: the backup waits for it, and then looks."""
        with ThreadPoolExecutor(1) as threads, filled.connect() as connection:
            connection.execute(text("CREATE TEMP TABLE kept AS SELECT * FROM game_histories"))
            connection.execute(text("TRUNCATE game_histories"))
            waits: list[str] = []
            listener = Listener()
            listener.notice = waits.append  # type: ignore[method-assign]
            making = threads.submit(make_backup, filled, folder, proven=False, progress=listener)
            assert until(lambda: waits)
            connection.execute(text("INSERT INTO game_histories SELECT * FROM kept"))
            connection.commit()
            assert making.result().manifest.tables["game_histories"].rows == 3

    def test_a_user_who_can_only_read_everything(self, filled: Engine, folder: Path) -> None:
        """Can back up without a proof; asked for one, hears what to do and leaves nothing behind."""
        with role(filled) as url, opened(url) as other:
            grants = "GRANT SELECT ON ALL {} IN SCHEMA public TO " + str(url.username)
            execute(filled, f"{grants.format('TABLES')}; {grants.format('SEQUENCES')}")
            with pytest.raises(DatabasePermissionError, match="scratch database"):
                make_backup(other, folder)
            assert names(folder) == []
            listener = Listener()
            made = make_own_backup(other, folder, why="before restore", lock_timeout=1, progress=listener)
            assert not made.manifest.proven
            assert made.manifest.why == "before restore"
            assert "not proven" in listener.notices[0]
            assert str(url.password) not in manifest_path(made.path).read_text()
            assert str(url.password).encode() not in made.path.read_bytes()
        proven = prove_backup(filled, made)
        assert proven.manifest.proven_at is not None
        assert read_backup(made.path) == proven
        assert replace(proven.manifest, proven_at=None) == made.manifest

    def test_without_tables_there_is_nothing_to_back_up(self, empty_database: str, folder: Path) -> None:
        """No backup of nothing, not even a folder for it."""
        with opened(empty_database) as other, pytest.raises(SchemaError, match="no tables"):
            make_backup(other, folder)
        assert not folder.exists()


class TestWhere:
    def test_a_file_a_folder_or_the_usual_one(self, engine: Engine, folder: Path, tmp_path: Path) -> None:
        """A file gets exactly its name, in a folder that is made if need be; else the time is the name."""
        made = make_backup(engine, folder, tmp_path / "new" / "mine", proven=False)
        assert names(tmp_path / "new") == pair(tmp_path / "new" / "mine") == pair(made.path)
        made = make_backup(engine, folder, tmp_path / "new", proven=False)
        assert made.path.parent == tmp_path / "new"
        assert made.path.name.startswith("sgdb-2")
        assert not folder.exists()
        assert make_backup(engine, folder, proven=False).path.parent == folder

    def test_a_file_is_never_replaced(self, engine: Engine, folder: Path, tmp_path: Path) -> None:
        """Whatever it is; and the server is not even asked."""
        taken = tmp_path / "taken.dump"
        taken.write_text("mine")
        with pytest.raises(AlreadyExistsError):
            make_backup(engine, folder, taken)
        assert taken.read_text() == "mine"
        assert not manifest_path(taken).exists()

    @pytest.mark.parametrize("what", ["a file in place of the folder", "a link into nowhere"])
    def test_no_place_for_it(self, engine: Engine, tmp_path: Path, what: str) -> None:
        """A clear error."""
        place = tmp_path / "place"
        place.write_text("") if what.startswith("a file") else place.symlink_to(tmp_path / "no" / "where")
        with pytest.raises(FileAccessError, match="place"):
            make_backup(engine, place, proven=False)


def damaged(filled: Engine, folder: Path, table: str = "games") -> Backup:
    """A backup whose manifest, sound in itself, says something else about a table."""
    made = make_backup(filled, folder, folder / "odd.dump", proven=False)
    tables = made.manifest.tables
    manifest = replace(
        made.manifest, tables={**tables, table: replace(tables[table], digest=tables["bots"].digest)}
    )
    with atomic_file(manifest_path(made.path), overwrite=True) as file:
        file.write(manifest.to_bytes())
    return read_backup(made.path)


class TestProving:
    def test_other_values_than_the_manifest_says(self, filled: Engine, folder: Path) -> None:
        """Are named by table; the backup stays unproven, and no scratch database is left."""
        odd = damaged(filled, folder)
        with pytest.raises(BackupError, match="games has other values"):
            prove_backup(filled, odd)
        assert not read_backup(odd.path).manifest.proven
        assert no_scratch_database_is_left(filled)

    def test_a_schema_that_never_was_or_is_yet_to_come(self, filled: Engine, folder: Path) -> None:
        """Is told apart."""
        made = make_backup(filled, folder, proven=False)
        for revision, error in (("9999", SchemaError), ("0001x", BackupError)):
            odd = Backup(made.path, replace(made.manifest, schema_revision=revision))
            with pytest.raises(error, match=revision):
                prove_backup(filled, odd)

    def test_the_server_going_away(self, filled: Engine, folder: Path) -> None:
        """In the middle of a proof: no backup, and nothing left in the folder."""
        made = make_backup(filled, folder, proven=False)
        with opened(filled.url) as other, pytest.raises(DatabaseUnreachableError):

            def cut(_: int) -> None:
                if scratch_databases(filled):
                    with filled.connect() as connection:
                        connection.execute(
                            text(
                                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                                " WHERE datname LIKE 'sgdb_proof_%'"
                            )
                        )

            listener = Listener(on_advance=cut)
            make_backup(other, folder, progress=listener)
        assert names(folder) == pair(made.path)


class TestBreakingOff:
    """Nothing that looks like a backup is left, whatever happens."""

    def test_a_table_that_stays_locked(self, filled: Engine, folder: Path) -> None:
        """Is waited for as long as the settings say."""
        with held(filled), pytest.raises(BusyError):
            make_backup(filled, folder, lock_timeout=0.2)
        assert names(folder) == []

    def test_the_connection_that_keeps_the_snapshot(self, filled: Engine, folder: Path) -> None:
        """Is lost in the middle of the dump, and so is the backup."""
        with opened(filled.url) as other, pytest.raises(DatabaseUnreachableError):
            listener = Listener(on_start=lambda: terminate(filled, "state = 'idle in transaction'"))
            make_backup(other, folder, progress=listener)
        assert names(folder) == []

    def test_ctrl_c(self, filled: Engine, folder: Path) -> None:
        """Is heard at once, also while a table is waited for: exit code 130."""
        with held(filled):
            process = start(filled, "backup", "--to", folder / "x")
            assert until(lambda: has_unfinished(folder))
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "Traceback" not in said
        assert names(folder) == []

    def test_a_kill_before_and_within_the_proof(self, filled: Engine, folder: Path) -> None:
        """Leaves a hidden file at the most, and perhaps a scratch database; the next backup removes both."""
        with held(filled):
            process = start(filled, "backup", "--to", folder / "x")
            assert until(lambda: has_unfinished(folder))
            process.kill()
            process.communicate()
        assert [name for name in names(folder) if not name.startswith(".")] == []
        process = start(filled, "backup", "--to", folder / "x")
        before = scratch_databases(filled)
        assert until(lambda: scratch_databases(filled) - before)
        process.kill()
        process.communicate()
        assert list_backups(folder) == ([], [])
        assert len(names(folder)) == 1
        sessions = "SELECT 1 FROM pg_stat_activity WHERE datname LIKE 'sgdb_proof_%'"
        assert until(lambda: not ask(filled, sessions))
        made = make_backup(filled, folder, folder / "x")
        assert names(folder) == pair(made.path)
        assert no_scratch_database_is_left(filled)

    @pytest.mark.slow
    def test_kills_at_any_moment(self, filled: Engine, folder: Path) -> None:
        """What bears a backup's name is one, wherever the process is when it is killed."""
        kill_many(filled, folder, 4)

    @pytest.mark.survival
    def test_kills_at_a_hundred_moments(self, filled: Engine, folder: Path) -> None:
        """The same, for longer."""
        kill_many(filled, folder, 100)


def kill_many(engine: Engine, folder: Path, times: int) -> None:
    """Kills that many backups, ever later in their course; every dump that is there then is whole."""
    steps = len(system_calls_of_a_backup(engine, folder))
    shutil.rmtree(folder)
    died = 0
    for number in range(times):
        die_at = 1 + number * steps // times
        process = start_dying(engine, folder, die_at)
        process.communicate(timeout=60)
        # One that had fewer calls to make than the first has come to its end.
        assert process.returncode in (-signal.SIGKILL, 0)
        died += process.returncode != 0
        backups, unusable = list_backups(folder)
        assert unusable == []
        for backup in backups:
            with checked_dump(backup):
                assert backup.manifest.proven
    assert died > times // 2
    made = make_backup(engine, folder)
    assert not has_unfinished(folder)
    assert made.manifest.proven


_DYING = """
import os, sys
from pathlib import Path
from sgdb.database.backups import make_backup
from sgdb.database.engine import make_engine

url, folder, last, calls = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), []
def hook(event, arguments):
    if event in ("open", "os.rename", "os.link", "os.remove", "os.mkdir", "subprocess.Popen", "fcntl.flock"):
        calls.append(event)
        if len(calls) == last:
            os.kill(os.getpid(), 9)
engine = make_engine(url)
engine.connect().close()
sys.addaudithook(hook)
made = make_backup(engine, folder)
print(*calls)
"""


def start_dying(engine: Engine, folder: Path, die_at: int) -> subprocess.Popen[str]:
    """A backup in a process that kills itself right before its n-th call of those that touch files."""
    url = engine.url.render_as_string(hide_password=False)
    return subprocess.Popen(
        [sys.executable, "-c", _DYING, url, str(folder), str(die_at)],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def system_calls_of_a_backup(engine: Engine, folder: Path) -> list[str]:
    """The calls that touch files in one backup that comes to its end."""
    process = start_dying(engine, folder, 0)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    calls = out.split()
    assert {"os.link", "os.rename"} <= set(calls)
    return calls


class TestFullDisk:
    """A clean error with exit code 3, no file under the final name or any other, nothing lost."""

    def test_a_limit_on_the_size_of_files(self, filled: Engine, folder: Path) -> None:
        """Where the operating system allows no more than a few kilobytes."""
        limit = 4096
        process = start(
            filled,
            "backup",
            "--to",
            folder / "x",
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        )
        self.check(process, folder)

    def test_a_small_file_system(self, filled: Engine, folder: Path) -> None:
        """One of 16 kilobytes, where a user may mount one; elsewhere the limit stands for it."""
        folder.mkdir()
        mount = f"mount -t tmpfs -o size=16k none {folder}"
        ways = (["unshare", "--mount"], ["unshare", "--mount", "--map-root-user"])
        allowed = (
            way
            for way in ways
            if subprocess.run([*way, "sh", "-c", mount], check=False, capture_output=True).returncode == 0
        )
        unshared = next(allowed, None)
        if unshared is None:
            folder.rmdir()
            self.test_a_limit_on_the_size_of_files(filled, folder)
            return
        url = filled.url.render_as_string(hide_password=False)
        command = f'{mount} && "$0" -m sgdb backup --to {folder}/x; code=$?; ls -A {folder}; exit $code'
        process = subprocess.Popen(
            [*unshared, "sh", "-c", command, sys.executable],
            env=clean_environment(SGDB_DATABASE_URL=url),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.check(process, folder)

    def check(self, process: subprocess.Popen[str], folder: Path) -> None:
        """The claim."""
        out, said = process.communicate(timeout=60)
        assert process.returncode == DiskFullError.exit_code == 3, said
        assert "make room" in said
        assert out == ""
        assert names(folder) == []


def test_many_at_once(filled: Engine, folder: Path) -> None:
    """Backups do not stand in each other's way, nor do their proofs."""
    with ThreadPoolExecutor(4) as threads:
        making: list[Future[Backup]] = [threads.submit(make_backup, filled, folder) for _ in range(4)]
        made = [future.result() for future in making]
    assert len({backup.path for backup in made}) == 4
    assert len(list_backups(folder)[0]) == 4
    assert no_scratch_database_is_left(filled)

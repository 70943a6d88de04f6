"""PostgreSQL's own programs: which one is taken, what they are told, and that they end with their block."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from sgdb.database import client_programs
from sgdb.database.client_connection import client_connection
from sgdb.database.client_programs import fitting_program, newest_program
from sgdb.database.dump import Dumping, find_pg_dump, pg_dump, unpacked_rows
from sgdb.database.engine import make_engine, parse_url, transaction
from sgdb.database.own_tables import find_own_tables
from sgdb.database.programs import install_folder
from sgdb.errors import (
    BackupError,
    BusyError,
    ConfigError,
    DatabasePermissionError,
    DatabaseUnreachableError,
    EnvironmentFaultError,
    UnsupportedServerError,
)
from tests.backups import execute, held, opened, role, terminate, until
from tests.steps import ask


def program(folder: Path, name: str, version: str) -> None:
    """Puts a program into the folder that tells this version."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n")
    path.chmod(0o755)


def children() -> list[Path]:
    """The folders in /proc of this process's living children."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == os.getpid() and state != "Z":
            found.append(stat.parent)
    return found


@contextmanager
def dumping(engine: Engine, lock_timeout: float = 60) -> Iterator[Dumping]:
    """A pg_dump at work on the engine's database."""
    with transaction(engine, read_only=True) as connection:
        own = find_own_tables(connection)
        assert own is not None
        snapshot = connection.execute(text("SELECT pg_export_snapshot()")).scalar_one()
        found = find_pg_dump(connection)
        with pg_dump(connection, snapshot, own, program=found, lock_timeout=lock_timeout) as running:
            yield running


def waits(engine: Engine, who: str) -> bool:
    """Whether such a session waits for a lock in the engine's database."""
    query = (
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        " AND application_name = :who"
    )
    return bool(ask(engine, query, who=who))


class TestPrograms:
    def test_one_that_fits_and_the_newest(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """By its number and not by its spelling; the bundled one, unasked for others, as long as it fits."""
        bundled = fitting_program("pg_dump", 18)
        assert (bundled.path, bundled.major) == (install_folder() / "bin" / "pg_dump", 18)
        program(tmp_path / "old", "pg_dump", "9.6.24")
        program(tmp_path / "new", "pg_dump", "100.2 (Ubuntu 100.2-1)")
        monkeypatch.setenv("PATH", f"{tmp_path / 'old'}:{tmp_path / 'new'}:{os.environ['PATH']}")
        assert fitting_program("pg_dump", 18) == bundled
        for found in (fitting_program("pg_dump", 99), newest_program("pg_dump")):
            assert (found.path, found.version) == (tmp_path / "new" / "pg_dump", "100.2")

    def test_a_server_newer_than_every_program(self) -> None:
        """Is refused by naming what there is, and the way out."""
        with pytest.raises(UnsupportedServerError, match=r"PostgreSQL 99.*\(.*18\.") as caught:
            fitting_program("pg_dump", 99)
        assert "PostgreSQL 99" in str(caught.value.hint)

    def test_what_does_not_run_is_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither a broken program, nor one that says something else, nor a folder."""
        folder = tmp_path / "bin"
        program(folder, "pg_dump", "nothing")
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "pg_dump").write_bytes(b"\x7fELF broken")
        (tmp_path / "other" / "pg_dump").chmod(0o755)
        (tmp_path / "third" / "pg_dump").mkdir(parents=True)
        monkeypatch.setenv("PATH", os.pathsep.join(str(tmp_path / n) for n in ("bin", "other", "third")))
        assert newest_program("pg_dump").major >= 18

    def test_no_program_at_all(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Is a fault of the environment, with what to install."""
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(EnvironmentFaultError, match="no pg_imagined") as caught:
            newest_program("pg_imagined")
        assert "pip install" in str(caught.value.hint)
        with pytest.raises(EnvironmentFaultError, match="no pg_imagined"):
            fitting_program("pg_imagined", 14)

    def test_every_place_is_looked_at_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Links and doubled folders of the PATH do not make a program run twice; a wrapper never runs."""
        program(tmp_path / "a", "pg_dump", "17.1")
        (tmp_path / "b").symlink_to(tmp_path / "a")
        (tmp_path / "c").mkdir()
        (tmp_path / "pg_wrapper").write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / "c" / "pg_dump").symlink_to(tmp_path / "pg_wrapper")
        monkeypatch.setenv("PATH", os.pathsep.join(str(tmp_path / n) for n in ("a", "b", "c", "a")))
        ours = [path for path in client_programs._candidates("pg_dump") if tmp_path in path.parents]
        assert ours == [tmp_path / "a" / "pg_dump"]


class TestConnection:
    def test_the_way_is_the_same_and_the_password_nowhere_in_sight(self, engine: Engine) -> None:
        """Not in the arguments of pg_dump, not in its environment, not in a file with a name; and what the
        environment says about other servers does not reach it."""
        with role(engine) as url, opened(url) as other, held(engine):
            execute(engine, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {url.username}")
            password = str(url.password).encode()
            os.environ["PGHOST"] = "elsewhere.invalid"
            try:
                with dumping(other):
                    assert until(lambda: waits(engine, "pg_dump"))
                    (child,) = children()
                    seen = (child / "cmdline").read_bytes() + (child / "environ").read_bytes()
                    assert b"--snapshot=" in seen
                    assert password not in seen
                    assert b"PGHOST" not in seen
            finally:
                del os.environ["PGHOST"]

    def test_a_line_break_is_refused_and_not_cut(self, database_url: str) -> None:
        """A password file has one line a password."""
        url = parse_url(database_url)
        engine = make_engine(url.update_query_dict({"options": "-c geqo=on\n"}))
        with (
            opened(engine.url) as other,
            other.connect() as connection,
            pytest.raises(ConfigError, match="line break"),
            client_connection(connection),
        ):
            pass
        engine.dispose()


class TestDumping:
    def test_whatever_ends_the_block_ends_the_program(self, engine: Engine) -> None:
        """Nothing is left running."""
        with held(engine):
            with pytest.raises(KeyboardInterrupt), dumping(engine):
                assert until(lambda: waits(engine, "pg_dump"))
                raise KeyboardInterrupt
            assert children() == []

    def test_a_table_that_stays_locked(self, engine: Engine) -> None:
        """Is waited for as long as it is said."""
        with held(engine), dumping(engine, lock_timeout=0.2) as running, pytest.raises(BusyError):
            list(running.chunks)

    def test_a_connection_that_is_lost(self, engine: Engine) -> None:
        """Ends the chunks with an error, not as if that were all."""
        with held(engine), dumping(engine) as running:
            assert until(lambda: waits(engine, "pg_dump"))
            assert terminate(engine, "application_name = 'pg_dump'") == 1
            with pytest.raises(DatabaseUnreachableError):
                list(running.chunks)

    def test_a_snapshot_whose_session_has_gone(self, engine: Engine) -> None:
        """Is a lost connection, not a database that does not exist."""
        with transaction(engine, read_only=True) as connection:
            own = find_own_tables(connection)
            assert own is not None
            snapshot = connection.execute(text("SELECT pg_export_snapshot()")).scalar_one()
            found = find_pg_dump(connection)
        with (
            transaction(engine, read_only=True) as connection,
            pg_dump(connection, snapshot, own, program=found, lock_timeout=60) as running,
            pytest.raises(DatabaseUnreachableError),
        ):
            list(running.chunks)

    def test_a_table_that_may_not_be_read(self, engine: Engine) -> None:
        """Is what the user hears about, without the password."""
        with role(engine) as url, opened(url) as other, dumping(other) as running:
            with pytest.raises(DatabasePermissionError) as caught:
                list(running.chunks)
            assert str(url.password) not in str(caught.value)

    def test_being_stopped(self, engine: Engine) -> None:
        """The signal is named where the program has said nothing."""
        with (
            held(engine),
            dumping(engine) as running,
            pytest.raises(EnvironmentFaultError, match="SIGKILL"),
        ):
            assert until(lambda: waits(engine, "pg_dump"))
            running.stop()
            list(running.chunks)


class TestUnpacking:
    @pytest.mark.parametrize("content", [b"", b"PGDMP", b"no dump at all" * 100])
    def test_what_is_no_dump(self, tmp_path: Path, content: bytes) -> None:
        """Is refused with pg_restore's own words."""
        path = tmp_path / "x"
        path.write_bytes(content)
        with path.open("rb") as file, unpacked_rows(file) as blocks, pytest.raises(BackupError):
            list(blocks)

    def test_a_dump_of_a_later_program(self, engine: Engine, tmp_path: Path) -> None:
        """Is not damaged; the programs are too old."""
        with dumping(engine) as running:
            raw = bytearray(b"".join(running.chunks))
        raw[6] += 40  # the minor version of the archive's format
        path = tmp_path / "x"
        path.write_bytes(raw)
        with (
            path.open("rb") as file,
            unpacked_rows(file) as blocks,
            pytest.raises(EnvironmentFaultError, match="too old"),
        ):
            list(blocks)

    def test_leaving_early(self, engine: Engine, tmp_path: Path) -> None:
        """Ends pg_restore."""
        path = tmp_path / "x"
        with dumping(engine) as running:
            path.write_bytes(b"".join(running.chunks))
        with path.open("rb") as file, unpacked_rows(file) as blocks:
            assert next(blocks).table
        assert children() == []

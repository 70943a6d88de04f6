"""A disk that is full in the middle of the work: a sentence, exit 3, nothing half-written, nothing lost."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
import pytest

from sgdb.database import archives
from sgdb.database.engine import make_engine
from sgdb.errors import DiskFullError
from sgdb.operations.backup import list_
from sgdb.operations.export import ExportOptions, export
from sgdb.records import GameConfig
from sgdb.storage import PickleStorage
from tests.cli.conftest import clean_environment
from tests.legacy import write_legacy
from tests.steps import migrate
from tests.survival.child_server import ChildServer, environment_for, settings_for, short_folder
from tests.survival.conftest import DAMAGED
from tests.survival.contents import Contents, contents
from tests.survival.small_disk import SmallDisk, small_disk

pytestmark = pytest.mark.survival


def _room(*bytes_left: int) -> pytest.MarkDecorator:
    """Bytes left on the disk, which let different parts of the work still succeed."""
    return pytest.mark.parametrize("room", bytes_left)


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    """A disk of a few megabytes."""
    with short_folder() as folder, small_disk(folder, 8) as disk:
        yield disk


def _run(disk: SmallDisk, environment: dict[str, str], *arguments: object) -> tuple[int, str]:
    """Exit code and messages of a command that works on the disk."""
    command = [*disk.wrapper, sys.executable, "-m", "sgdb", *map(str, arguments)]
    done = subprocess.run(command, check=False, env=environment, cwd="/", capture_output=True, text=True)
    return done.returncode, done.stderr


def _require_named(ended: tuple[int, str]) -> None:
    code, said = ended
    assert code == 3, said
    assert "o space left" in said or "File too large" in said or "disk is full" in said
    assert "next: make room" in said
    assert "Traceback" not in said


def _names(disk: SmallDisk) -> set[str]:
    return {path.name for path in disk.path.rglob("*") if path.is_file()} - {"filler"}


@_room(0, 8_192, 30_000, 150_000)
def test_export(child_server: ChildServer, migrated: str, tmp_path: Path, disk: SmallDisk, room: int) -> None:
    """Files that are there are whole, nothing else is; with room, all of them come."""
    with child_server.database(migrated) as url:
        export(ExportOptions(tmp_path / "whole"), settings_for(url))
        whole = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
        disk.fill(room)
        command = ["export", "--all", "--to", disk.inside / "out", "--overwrite"]
        _require_named(_run(disk, environment_for(url), *command))
        there = {name: (disk.path / "out" / name).read_bytes() for name in _names(disk)}
        assert there.items() < whole.items()
        disk.make_room()
        assert _run(disk, environment_for(url), *command)[0] == 0
        assert _names(disk) == set(whole)


@_room(0, 8_192, 30_000, 150_000)
def test_export_over_a_file(
    child_server: ChildServer, migrated: str, tmp_path: Path, disk: SmallDisk, room: int
) -> None:
    """The file that was to be replaced stays as it was."""
    with child_server.database(migrated) as url:
        export(ExportOptions(tmp_path / "whole"), settings_for(url))
        for path in (tmp_path / "whole").iterdir():
            (disk.path / path.name).write_bytes(b"what was there before")
        disk.fill(room)
        _require_named(
            _run(disk, environment_for(url), "export", "--all", "--to", disk.inside, "--overwrite")
        )
        for path in (tmp_path / "whole").iterdir():
            assert (disk.path / path.name).read_bytes() in (b"what was there before", path.read_bytes())


@_room(0, 8_192, 30_000, 150_000)
def test_backup(
    child_server: ChildServer, migrated: str, moved: Contents, tmp_path: Path, disk: SmallDisk, room: int
) -> None:
    """No file looks like a backup, and none is left behind; with room, it is made."""
    with child_server.database(migrated) as url:
        settings = settings_for(url, disk.path)
        disk.fill(room)
        _require_named(_run(disk, environment_for(url, disk.inside), "backup"))
        assert _names(disk) == set()
        disk.make_room()
        assert _run(disk, environment_for(url, disk.inside), "backup")[0] == 0
        found = list_(None, settings)
        assert (len(found.backups), found.unusable) == (1, ())
        engine = make_engine(url)
        assert contents(engine) == moved
        engine.dispose()


def test_originals_of_a_rollback(
    child_server: ChildServer, folder: Path, tmp_path: Path, disk: SmallDisk
) -> None:
    """As long as an original cannot be written, its rows stay."""
    with child_server.database() as url:
        write_legacy(tmp_path / "gone.pkl", num_games=300)
        raw = (tmp_path / "gone.pkl").read_bytes()
        migrate(settings_for(url), tmp_path / "gone.pkl")
        (tmp_path / "gone.pkl").unlink()
        engine = make_engine(url)
        before = contents(engine)
        command = ["rollback", "--yes", "--originals", disk.inside / "originals"]
        disk.fill(8_192)
        _require_named(_run(disk, environment_for(url), *command))
        assert (contents(engine), _names(disk)) == (before, set())
        disk.make_room()
        assert _run(disk, environment_for(url), *command)[0] == 0
        assert (disk.path / "originals" / "gone.pkl").read_bytes() == raw
        engine.dispose()


def test_temporary_folder(
    child_server: ChildServer,
    folder: Path,
    moved: Contents,
    disk: SmallDisk,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An original that cannot be kept until it is stored ends the run; a rerun completes it."""
    monkeypatch.setattr(archives, "_IN_MEMORY", 20_000)
    monkeypatch.setattr("tempfile.tempdir", str(disk.path))
    with child_server.database() as url:
        settings, engine = settings_for(url), make_engine(url)
        migrate(settings, folder / "1.pkl")
        one = contents(engine)
        disk.fill(8_192)
        with pytest.raises(DiskFullError, match="cannot keep the compressed original"):
            migrate(settings, folder)
        disk.make_room()
        assert contents(engine) == one
        migrate(settings, folder)
        assert contents(engine) == moved
        engine.dispose()


_SAVER = """
import sys
from pathlib import Path
from sgdb.records import GameConfig
from sgdb.errors import DiskFullError
from sgdb.storage import PickleStorage
from sgdb.testing.contract import result

storage = PickleStorage(Path(sys.argv[1]), GameConfig(6, 6, 4), 1)
try:
    storage.save_results(sys.argv[2], [result(sys.argv[2], game_id) for game_id in range(int(sys.argv[3]))])
except DiskFullError as error:
    sys.exit(error.message)
"""


def test_saving_a_pickle(disk: SmallDisk, tmp_path: Path) -> None:
    """What was saved before is there, and nothing else; with room, saving goes on."""

    def save(bot: str, count: int) -> str:
        command = [*disk.wrapper, sys.executable, "-c", _SAVER, str(disk.inside / "set.pkl"), bot, str(count)]
        return subprocess.run(command, check=False, cwd="/", capture_output=True, text=True).stderr

    def saved() -> dict[str, int]:
        shutil.copy(disk.path / "set.pkl", tmp_path)
        data = PickleStorage(tmp_path / "set.pkl", GameConfig(6, 6, 4), 1).load_data()
        assert data is not None
        return {bot: len(rows) for bot, rows in data.results.items()}

    assert save("first", 20) == ""
    disk.fill()
    before = _names(disk)
    assert re.match("cannot write .*set[.]pkl: (No space left on device|File too large)", save("second", 300))
    assert _names(disk) == before
    disk.make_room()
    assert saved() == {"first": 20}
    assert save("second", 300) == ""
    assert saved() == {"first": 20, "second": 300}


@_room(60_000, 200_000, 600_000)
def test_rows_on_the_server(folder: Path, room: int) -> None:
    """The disk of the embedded server's tables."""
    with _home_on_a_small_disk(folder) as disk:
        disk.fill(room)
        _require_named(_migrate(disk, folder))


def test_transaction_log_on_the_server(folder: Path) -> None:
    """A server without room for its log goes down; what is said is why, and not only that it is gone."""
    with _home_on_a_small_disk(folder) as disk:
        if disk.is_real:
            sockets = disk.path / "h" / "postgres"
            with closing(psycopg2.connect(host=str(sockets), user="postgres", dbname="sgdb")) as connection:
                connection.autocommit = True
                connection.cursor().execute("SELECT pg_switch_wal()")
        disk.fill(0 if disk.is_real else 600_000)
        _require_named(_migrate(disk, folder))


@contextmanager
def _home_on_a_small_disk(folder: Path) -> Iterator[SmallDisk]:
    """An embedded server with one file in it. Proves after the block that nothing is lost, and that with room
    the rest comes."""
    with short_folder() as place, small_disk(place, 160) as disk:
        try:
            assert _run(disk, _at_home(disk), "init")[0] == 0
            assert _migrate(disk, folder / "1.pkl")[0] == 0
            if not disk.is_real:  # or it would go on without a limit
                assert _run(disk, _at_home(disk), "server", "stop")[0] == 0
            yield disk
            disk.make_room()
            if not disk.is_real:
                _run(disk, _at_home(disk), "server", "stop")
            assert _run(disk, _at_home(disk), "verify", folder / "1.pkl")[0] == 0
            code, said = _migrate(disk, folder)
            assert (code, f"error: rejected {DAMAGED}: " in said) == (1, True), said
            code, said = _run(disk, _at_home(disk), "verify", folder)
            assert (code, said.count("error: ")) == (1, 1), said
        finally:
            disk.make_room()
            _run(disk, _at_home(disk), "server", "stop")


def _at_home(disk: SmallDisk) -> dict[str, str]:
    return clean_environment(SGDB_HOME=str(disk.inside / "h"))


def _migrate(disk: SmallDisk, path: Path) -> tuple[int, str]:
    return _run(disk, _at_home(disk), "migrate-pickles", path)

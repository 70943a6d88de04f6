"""A PostgreSQL server that is a child of the test, so that killing it is real, and its death is seen.

It is set up as on a user's machine: what is committed is on disk (`fsync`, full pages in the log). The disk
itself may be memory, which is as good: what a killed process has written is the kernel's, and is not lost.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg2
from sqlalchemy import URL, create_engine, text

from sgdb.database.data_folder import DATABASE, SUPERUSER, require_data_folder
from sgdb.database.engine import make_engine
from sgdb.database.postmaster import remove_recycled_locks
from sgdb.database.programs import install_folder, program_folders
from sgdb.database.schema import upgrade
from sgdb.database.server_account import ServerAccount
from sgdb.settings import Settings, load_settings
from tests.cli.conftest import clean_environment
from tests.steps import ask, until

SETTINGS = {"fsync": "on", "full_page_writes": "on"}
PORT = 5432
_PLENTY_BYTES = 2 << 30
TEMPLATE = "survival_template"


class ChildServer:
    """A server on a data folder made by `make_data_folder`. `wrapper` is a command that runs the server,
    such as one that keeps it on a small disk; it has to become the server, not to start it."""

    def __init__(
        self, data_folder: Path, socket_folder: Path, *, wrapper: Sequence[str] | None = None
    ) -> None:
        self.data_folder = data_folder
        self.socket_folder = socket_folder
        self.log_file = socket_folder / "server.log"
        self.wrapper = wrapper
        self.process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = DATABASE) -> URL:
        """The address of a database."""
        query = {"host": str(self.socket_folder), "port": str(PORT)}
        return URL.create("postgresql+psycopg2", username=SUPERUSER, database=database, query=query)

    def start(self, *, must_run: bool = True) -> bool:
        """Starts it and waits until it takes connections, after its recovery; False if it ends instead."""
        assert self.process is None
        remove_recycled_locks(self.data_folder, self.socket_folder)
        command = [
            *(self.wrapper or ()),
            str(install_folder() / "bin" / "postgres"),
            *("-D", str(self.data_folder), "-k", str(self.socket_folder), "-p", str(PORT)),
        ]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                umask=0o077,
                start_new_session=True,
                **({} if self.wrapper else ServerAccount([]).process_options),
            )
        until(lambda: self._answers() or self._has_ended())
        if self._has_ended():
            self.process = None
            assert not must_run, self.log_file.read_text()
            return False
        return True

    def kill(self) -> None:
        """SIGKILL for the server and all its processes at once, as if the power were cut."""
        postmaster = psutil.Process(self._running().pid)
        postmaster.suspend()  # it must not start others meanwhile
        children = postmaster.children(recursive=True)
        for each in (*children, postmaster):
            with suppress(psutil.NoSuchProcess):
                each.kill()
        self._reap(children)

    def kill_postmaster(self) -> None:
        """SIGKILL for the first of its processes; the others end when they notice."""
        children = psutil.Process(self._running().pid).children(recursive=True)
        self._running().kill()
        self._reap(children)

    def stop_immediate(self) -> None:
        """Stops it without a tidy shutdown: sessions are thrown out in the middle of their work."""
        self._stop(signal.SIGQUIT)

    def stop(self) -> None:
        """Stops it tidily, sessions or not."""
        self._stop(signal.SIGINT)

    def restart(self) -> None:
        """Starts it again if it is down."""
        if self.process is not None and self._has_ended():
            self._reap([])
        if self.process is None:
            self.start()

    def run(self, *statements: str) -> None:
        """Runs statements that need no transaction, in a database that is there for it."""
        engine = create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                for statement in statements:
                    connection.execute(text(statement))
        finally:
            engine.dispose()

    @contextmanager
    def template(self, name: str) -> Iterator[URL]:
        """A new database with sgdb's tables, to be filled in the block and copied afterwards."""
        self.run(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        yield self.url(name)
        # A server logs a sequence's next values ahead of time, and believes that it has done so for a copy,
        # too: after a crash that gives out the same values again. A sequence that has been set logs anew.
        engine = make_engine(self.url(name))
        sequences = "SELECT setval(seqrelid::regclass, nextval(seqrelid::regclass)) FROM pg_sequence"
        with engine.begin() as connection:
            connection.execute(text(sequences))
        engine.dispose()

    def wait_until_alone(self) -> None:
        """Waits until nobody else is connected: the session of a killed command goes when its last statement
        ends."""
        others = (
            "SELECT 1 FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        engine = create_engine(self.url("postgres"))
        until(lambda: not ask(engine, others))
        engine.dispose()

    @contextmanager
    def database(self, template: str = TEMPLATE) -> Iterator[URL]:
        """A copy of a database, gone afterwards. A few milliseconds."""
        name = f"survival_{secrets.token_hex(6)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self.url(name)
        finally:
            self.restart()
            self.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _running(self) -> subprocess.Popen[bytes]:
        assert self.process is not None, "the server is not running"
        return self.process

    def _has_ended(self) -> bool:
        return self._running().poll() is not None

    def _answers(self) -> bool:
        try:
            psycopg2.connect(host=self.socket_folder, port=PORT, user=SUPERUSER, dbname="postgres").close()
        except psycopg2.OperationalError:
            return False
        return True

    def _stop(self, number: int) -> None:
        children = psutil.Process(self._running().pid).children(recursive=True)
        self._running().send_signal(number)
        self._reap(children)

    def _reap(self, children: list[psutil.Process]) -> None:
        """Until all are dead; whoever inherits the children may take its time to bury them."""
        self._running().wait(60)
        self.process = None
        until(lambda: all(_is_dead(child) for child in children))


def environment_for(url: URL, home: Path | None = None) -> dict[str, str]:
    """A command's environment in which this is the database, and this the home."""
    homes = {} if home is None else {"SGDB_HOME": str(home)}
    return clean_environment(SGDB_DATABASE_URL=url.render_as_string(hide_password=False), **homes)


def settings_for(url: URL, home: Path | None = None) -> Settings:
    """Settings in which this is the database, and this the home."""
    return load_settings({"database_url": url.render_as_string(hide_password=False), "home": home})


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder with a path short enough for a socket; in memory where there is plenty."""
    memory = Path("/dev/shm")
    is_plenty = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _PLENTY_BYTES
    with tempfile.TemporaryDirectory(prefix="sgdb-s-", dir=memory if is_plenty else None) as name:
        yield Path(name)


@contextmanager
def new_server() -> Iterator[ChildServer]:
    """A running server with sgdb's tables in the database `TEMPLATE`."""
    with short_folder() as folder:
        server = make_server(folder)
        server.start()
        try:
            server.run(f"CREATE DATABASE {TEMPLATE} ENCODING 'UTF8' TEMPLATE template0")
            engine = make_engine(server.url(TEMPLATE))
            upgrade(engine)
            engine.dispose()
            yield server
        finally:
            if server.process is not None:
                server.kill()


def make_server(folder: Path) -> ChildServer:
    """A server that was never started, below `folder`, which has a short path."""
    account = ServerAccount([])
    for programs in program_folders():
        account.let_read(programs)
    account.let_through(folder)
    sockets = folder / "s"
    sockets.mkdir(mode=0o700)
    account.own(sockets)
    data = folder / "data"
    require_data_folder(data, account, SETTINGS)
    return ChildServer(data, sockets)


def _is_dead(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True

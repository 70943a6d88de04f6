"""How PostgreSQL's own programs reach the server that a connection of ours has reached.

libpq has already gathered what URL, environment, service and password files say. All of it goes into a
service file, the password into a password file. Both have no name on disk: they are gone with the last
process that has them open, and neither a list of processes nor a folder of temporary files shows them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, cast

import psycopg2.extensions
from sqlalchemy import Connection

from sgdb.atomic import file_error
from sgdb.errors import ConfigError

_SERVICE = "sgdb"
# What the other file holds, what has been resolved, and what is the program's own business.
_LEFT_OUT = {
    "passfile",
    "password",
    "service",
    "servicefile",
    "application_name",
    "fallback_application_name",
}
# What libpq 14 does not know need not be named as long as it is as it always is.
_NEWER_DEFAULTS = {
    "gssdelegation": "0",
    "load_balance_hosts": "disable",
    "require_auth": "none",
    "sslcertmode": "allow",
    "sslnegotiation": "postgres",
    "min_protocol_version": "3.0",
    "max_protocol_version": "3.0",
}


@dataclass(frozen=True, slots=True)
class ClientConnection:
    """What a program needs: the value of --dbname, its environment, the descriptors it inherits."""

    dbname: str
    environment: dict[str, str]
    descriptors: tuple[int, ...]


@contextmanager
def client_connection(connection: Connection) -> Iterator[ClientConnection]:
    """For one program that connects to the same server and database, as the same user.

    Raises ConfigError for a setting that these files cannot hold.
    """
    driver_connection = cast("psycopg2.extensions.connection", connection.connection.driver_connection)
    info = driver_connection.info
    parameters = {
        name: value
        for name, value in info.dsn_parameters.items()
        if name not in _LEFT_OUT and _NEWER_DEFAULTS.get(name) != value
    }
    if "," in parameters.get("host", "") + parameters.get("port", ""):  # of several, the one that answered
        parameters |= {"host": info.host, "port": str(info.port)}
        parameters.pop("hostaddr", None)
    lines = [f"{name}={value}" for name, value in parameters.items()]
    password = (info.password or "").replace("\\", "\\\\").replace(":", "\\:")
    if any("\n" in line for line in (*lines, password)):
        raise ConfigError(
            "A line break in the database address or the password cannot be handed to pg_dump",
            hint="correct SGDB_DATABASE_URL, or choose another password",
        )
    with _unnamed(f"[{_SERVICE}]\n" + "\n".join(lines)) as service, _unnamed(f"*:*:*:*:{password}") as word:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        files = {"PGSERVICEFILE": service, "PGPASSFILE": word}
        yield ClientConnection(
            f"service={_SERVICE}",
            {**kept, **{name: f"/dev/fd/{file.fileno()}" for name, file in files.items()}, "LC_ALL": "C"},
            (service.fileno(), word.fileno()),
        )


@contextmanager
def _unnamed(content: str) -> Iterator[IO[bytes]]:
    with ExitStack() as stack:
        try:
            file = stack.enter_context(tempfile.TemporaryFile())
            file.write(content.encode() + b"\n")
            file.seek(0)
        except OSError as error:
            raise file_error(error, f"cannot write a temporary file in {tempfile.gettempdir()}") from error
        yield file

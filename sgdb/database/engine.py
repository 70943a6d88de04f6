"""From settings to an engine, and the one way to hold a transaction.

Nothing is committed anywhere else: whoever opens `transaction` decides what belongs together.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError

from sgdb.database.driver_errors import describe, translate, translated_errors
from sgdb.database.server import EmbeddedServer
from sgdb.errors import ConfigError, UnsupportedServerError
from sgdb.settings import ServerAddress, Settings

__all__ = [
    "ServerInfo",
    "address_of",
    "database_url",
    "describe",
    "lift_timeouts",
    "make_engine",
    "open_engine",
    "parse_url",
    "require_supported",
    "server_info",
    "transaction",
    "translate",
    "translated_errors",
    "undo",
]

DRIVER = "postgresql+psycopg2"
_POOL_NAME = "sgdb"
# A pool logs tracebacks of what it meets while it clears up after a lost connection. That it was lost is told
# by our own error, so they do not go to the terminal of a program that has not set up logging.
logging.getLogger(f"sqlalchemy.pool.impl.QueuePool.{_POOL_NAME}").addHandler(logging.NullHandler())
OLDEST_VERSION = 14
_URL_HINT = (
    "write it as postgresql://USER@HOST:PORT/DATABASE, with SGDB_PASSWORD beside it; in a URL, "
    "percent-encode special characters of the password (@ is %40, / is %2F)"
)


def parse_url(address: str) -> URL:
    """The URL that `address` spells, for psycopg2.

    Raises ConfigError, which never quotes the text since it may hold a password: no URL, another
    database system or driver, or no database name.
    """
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        # The original would show the text, and with it the password.
        raise ConfigError("The database address is no URL", hint=_URL_HINT) from None
    if url.drivername not in ("postgresql", "postgres", DRIVER):
        raise ConfigError(
            f"The database address starts with {url.drivername}://, but sgdb works with PostgreSQL only",
            hint=_URL_HINT,
        )
    # An unescaped @ or / in a password would go on as part of the host, and into messages.
    if url.host and set(url.host) & set("@/?#"):
        raise ConfigError("The database address has a malformed host", hint=_URL_HINT)
    if not url.database:
        raise ConfigError("The database address names no database", hint=_URL_HINT)
    return url.set(drivername=DRIVER)


def database_url(settings: Settings, *, on_notice: Callable[[str], None] | None = None) -> URL:
    """The address of the database that the settings ask for; starts the embedded server if it is that.

    `on_notice` receives sentences about what had to be changed on this machine for the embedded server.
    Raises ConfigError, and what `EmbeddedServer.ensure_running` raises. Does not connect.
    """
    address = settings.server_address
    if address is not None:
        return _external_url(address)
    server = EmbeddedServer(settings.home)
    try:
        return server.ensure_running()
    finally:
        if on_notice is not None:
            for notice in server.notices:
                on_notice(notice)


def address_of(settings: Settings) -> str:
    """The settings' database in words, without a password, and without connecting or starting anything."""
    address = settings.server_address
    return f"embedded server in {settings.home}" if address is None else describe(_external_url(address))


def _external_url(address: ServerAddress) -> URL:
    if address.url is not None:
        url = parse_url(address.url)
        has_password = bool(url.password or url.query.get("password"))
        return url if has_password or not address.password else url.set(password=address.password)
    url = URL.create(DRIVER, username=address.username, password=address.password, database=address.database)
    if address.host.startswith("/"):  # a folder with the server's socket
        return url.update_query_dict({"host": address.host, "port": str(address.port)})
    return url.set(host=address.host, port=address.port)


def make_engine(url: URL | str, *, connect_timeout: int = 5, lock_timeout: float | None = None) -> Engine:
    """An engine with a small pool; connections speak UTF-8 and live in UTC. Does not connect.

    `connect_timeout` and `lock_timeout` are seconds; without the latter, statements wait for locks as
    long as the server lets them. What the URL's own query says wins. Dispose of the engine after use.
    """
    if isinstance(url, str):
        url = parse_url(url)
    arguments: dict[str, Any] = {
        "connect_timeout": connect_timeout,
        "application_name": "sgdb",
        "client_encoding": "utf8",
    }
    engine = create_engine(
        url,
        connect_args={name: value for name, value in arguments.items() if name not in url.query},
        pool_logging_name=_POOL_NAME,
        pool_pre_ping=True,
        use_native_hstore=False,  # which would be looked for on every first connection
        pool_size=2,
        max_overflow=8,
    )

    # By statements: a connection pooler such as PgBouncer refuses options, and PGTZ would override them.
    @event.listens_for(engine, "connect")
    def set_up_session(session: Any, _: object) -> None:
        with session.cursor() as cursor:
            cursor.execute("SET TIME ZONE 'UTC'")
            if lock_timeout is not None:
                cursor.execute("SET lock_timeout = %s", [_milliseconds(lock_timeout)])
        session.commit()

    return engine


def open_engine(settings: Settings, *, on_notice: Callable[[str], None] | None = None) -> Engine:
    """The engine for the settings' database; see `database_url` for `on_notice` and errors."""
    return make_engine(database_url(settings, on_notice=on_notice), connect_timeout=settings.connect_timeout)


@contextmanager
def transaction(
    engine: Engine,
    *,
    read_only: bool = False,
    isolation: str | None = None,
    lock_timeout: float | None = None,
) -> Iterator[Connection]:
    """One transaction: committed when the block ends, rolled back when anything leaves it by exception.

    `read_only` makes it READ ONLY on the server, and REPEATABLE READ, so that all its queries see the
    same moment; `isolation` asks for another level by its SQL name. `lock_timeout` (seconds) bounds the
    wait for any lock in it. Errors of the driver come out as sgdb errors, those of the commit included:
    after a DatabaseUnreachableError from the commit itself it is unknown whether it took place.
    """
    options: dict[str, Any] = {}
    level = isolation or ("REPEATABLE READ" if read_only else None)
    if level:
        options["isolation_level"] = level
    if read_only:
        options["postgresql_readonly"] = True
    with translated_errors(engine.url), engine.connect() as plain:
        connection = plain.execution_options(**options)
        with connection.begin():
            if lock_timeout is not None:
                connection.execute(
                    text("SELECT set_config('lock_timeout', :wait, true)"),
                    {"wait": str(_milliseconds(lock_timeout))},
                )
            yield connection


def lift_timeouts(connection: Connection) -> None:
    """Lets the transaction take as long as it takes, whatever the server allows by itself; not for locks."""
    connection.execute(
        text(
            "SELECT set_config(name, '0', true) FROM pg_settings WHERE name IN"
            " ('statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')"
        )
    )


def undo(connection: Connection) -> None:
    """Takes back all that the transaction has done; the block around it then ends without an error."""
    ours = connection.get_transaction()
    assert ours is not None
    ours.rollback()


def _milliseconds(seconds: float) -> int:
    # Zero would mean "no limit" to the server, the opposite of a very short wait.
    return max(1, round(seconds * 1000))


class ServerInfo(NamedTuple):
    """A server's version as a number (180004 is 18.4) and the encoding of the connected database."""

    version: int
    encoding: str

    @property
    def major(self) -> int:
        """The major version, such as 18."""
        return self.version // 10_000

    @property
    def version_text(self) -> str:
        """The version as people write it, such as 18.4."""
        return f"{self.major}.{self.version % 10_000}"


def server_info(connection: Connection) -> ServerInfo:
    """Version and encoding of the server behind `connection`."""
    row = connection.execute(
        text("SELECT current_setting('server_version_num')::int, current_setting('server_encoding')")
    ).one()
    return ServerInfo(*row)


def require_supported(connection: Connection) -> ServerInfo:
    """The server's info, or UnsupportedServerError: PostgreSQL before 14, or an encoding but UTF8.

    Versions newer than the tested ones pass: PostgreSQL keeps what sgdb uses.
    """
    info = server_info(connection)
    where = describe(connection.engine.url)
    if info.major < OLDEST_VERSION:
        raise UnsupportedServerError(
            f"PostgreSQL {info.version_text} is too old ({where}): sgdb needs {OLDEST_VERSION} or newer",
            hint="upgrade the server, or unset SGDB_DATABASE_URL to use the embedded one",
        )
    if info.encoding != "UTF8":
        raise UnsupportedServerError(
            f"The database has encoding {info.encoding} ({where}): sgdb needs UTF8",
            hint=f"create another: CREATE DATABASE {connection.engine.url.database}_utf8 "
            "ENCODING 'UTF8' TEMPLATE template0",
        )
    return info

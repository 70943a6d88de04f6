"""Databases made for one proof and dropped after it.

Whoever makes one holds an advisory lock as long as it lives, which a server takes back with the session.
pg_locks shows such locks across databases, so anybody can tell a leftover from one that is in use, even
before its first session.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from sgdb.database.driver_errors import quoted, translated_errors
from sgdb.database.engine import make_engine, server_info
from sgdb.errors import DatabasePermissionError

_PREFIX = "sgdb_proof_"
_NAME = re.compile(rf"{_PREFIX}([0-9a-f]{{12}})")
# A fixed 16-bit number before the 48 bits of the name.
_LOCK = 0x7370 << 48


def may_create_databases(connection: Connection) -> bool:
    """Whether the user may create a scratch database."""
    query = "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
    return bool(connection.scalar(text(query)))


def require_right_to_create(connection: Connection) -> None:
    """Returns when `may_create_databases`; else raises DatabasePermissionError with the way out."""
    if not may_create_databases(connection):
        user = connection.scalar(text("SELECT current_user"))
        raise DatabasePermissionError(
            f"A proof needs a scratch database, and user {user} may not create databases",
            hint=f"have the server's administrator run: ALTER ROLE {quoted(str(user))} CREATEDB; or take an "
            "unproven backup: --no-prove",
        )


@contextmanager
def scratch_database(engine: Engine, *, connect_timeout: int = 5) -> Iterator[Engine]:
    """An empty database in UTF-8 on the same server; dropped at the end, also by force.

    First drops those that killed processes have left. If this process is killed, the next one does so.
    Raises DatabasePermissionError where the user may not create databases, or another error of the server.
    """
    with translated_errors(engine.url), engine.connect() as plain:
        administrator = plain.execution_options(isolation_level="AUTOCOMMIT")
        administrator.detach()  # its lock has to end with it, and not to go back into the pool
        require_right_to_create(administrator)
        administrator.execute(text("SET statement_timeout = 0"))
        _drop_leftovers(administrator)
        word = secrets.token_hex(6)
        name = _PREFIX + word
        administrator.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK | int(word, 16)})
        try:
            # In the locale C, which every server has and which goes with every encoding.
            provider = " LOCALE_PROVIDER libc" if server_info(administrator).major >= 15 else ""
            administrator.execute(
                text(
                    f"CREATE DATABASE {quoted(name)} TEMPLATE template0 ENCODING 'UTF8'"
                    f" LC_COLLATE 'C' LC_CTYPE 'C'{provider}"
                )
            )
            scratch = make_engine(engine.url.set(database=name), connect_timeout=connect_timeout)
            try:
                yield scratch
            finally:
                scratch.dispose()
        finally:
            with suppress(SQLAlchemyError):  # the server is away, and the next proof will do it
                administrator.execute(text(f"DROP DATABASE IF EXISTS {quoted(name)} WITH (FORCE)"))


def _drop_leftovers(administrator: Connection) -> None:
    held = {
        (high << 32) | low
        for high, low in administrator.execute(
            text(
                "SELECT CAST(classid AS bigint), CAST(objid AS bigint) FROM pg_locks"
                " WHERE locktype = 'advisory' AND objsubid = 1"
            )
        )
    }
    names = administrator.scalars(
        text("SELECT datname FROM pg_database WHERE starts_with(datname, :prefix)"), {"prefix": _PREFIX}
    ).all()
    for name in names:
        found = _NAME.fullmatch(name)
        if found and (_LOCK | int(found[1], 16)) not in held:
            try:
                administrator.execute(text(f"DROP DATABASE IF EXISTS {quoted(name)}"))
            except DBAPIError as error:  # another user's, or another process was faster
                if error.connection_invalidated:
                    raise

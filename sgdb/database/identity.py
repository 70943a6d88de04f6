"""Which database this is, told by itself: an address has many spellings, and rows go along with a copy."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, text


class Identity(NamedTuple):
    """A database's name, and the identifier that its server gave itself; None where it does not tell it."""

    name: str
    system: str | None


def database_identity(connection: Connection) -> Identity:
    """The identity of the database behind `connection`."""
    # Hosted servers may keep their identifier to themselves.
    allowed = connection.scalar(text("SELECT has_function_privilege('pg_control_system()', 'EXECUTE')"))
    system = None
    if allowed:
        system = str(connection.scalar(text("SELECT system_identifier FROM pg_control_system()")))
    return Identity(str(connection.scalar(text("SELECT current_database()"))), system)

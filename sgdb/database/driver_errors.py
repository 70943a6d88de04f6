"""Driver errors become sgdb errors here, by SQLSTATE.

What the driver says is kept as the cause; the message names the address and never a password, even
where the driver put one into its text. A failed connection carries no SQLSTATE (libpq reports text
only), so those are told apart by the server's English words; in any other language they stay
"unreachable", with the server's sentence quoted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import quote, quote_plus

import psycopg2
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from sgdb.database.no_room import says_no_room
from sgdb.errors import (
    AuthenticationError,
    BusyError,
    ConfigError,
    DatabaseMissingError,
    DatabasePermissionError,
    DatabaseUnreachableError,
    DiskFullError,
    EnvironmentFaultError,
    InternalError,
    SchemaError,
    SgdbError,
    UnsupportedServerError,
)


class _Rule(NamedTuple):
    error: type[SgdbError]
    says: str
    hint: str


_UNREACHABLE = _Rule(
    DatabaseUnreachableError,
    "No connection to the database",
    "see whether the server runs and the address is right: `sgdb server status` for the embedded server, "
    "SGDB_DATABASE_URL for any other",
)
_CONNECTION_LOST = _Rule(
    DatabaseUnreachableError,
    "The connection to the database was lost",
    "run the command again once the server is back; what was not committed has been rolled back",
)
_FULL_HOUSE = _Rule(
    DatabaseUnreachableError,
    "The server has no free connection",
    "run the command again later, or raise max_connections on the server",
)
_AUTHENTICATION = _Rule(
    AuthenticationError,
    "The server does not accept this user and password",
    "set SGDB_USERNAME and SGDB_PASSWORD (or SGDB_DATABASE_URL), or have pg_hba.conf allow this user",
)
_MISSING_DATABASE = _Rule(DatabaseMissingError, "The database does not exist", "create it with `sgdb init`")
_PERMISSION = _Rule(
    DatabasePermissionError,
    "The database user is not allowed to do this",
    "have the database's owner grant the right, or connect as the owner: SGDB_USERNAME",
)
_READ_ONLY = _Rule(
    DatabasePermissionError,
    "The server or the transaction is read-only",
    "connect to the primary server instead of a standby, and see default_transaction_read_only",
)
_SCHEMA = _Rule(
    SchemaError,
    "A table or column of sgdb is absent",
    "create or update the tables with `sgdb init`",
)
_DISK = _Rule(
    DiskFullError,
    "The database server's disk is full",
    "make room on the server's disk and run the command again",
)
_RESOURCES = _Rule(
    EnvironmentFaultError,
    "The database server is out of resources or damaged",
    "see the server's log (`sgdb server status` names the embedded server's) and run the command again",
)
_CONNECTION_OPTION = _Rule(
    ConfigError,
    "The database address has an option that PostgreSQL does not know",
    "correct what follows the ? in SGDB_DATABASE_URL",
)
_BUSY = _Rule(
    BusyError, "Another session is in the way", "run the command again when the other one has finished"
)
_CANCELLED = _Rule(
    EnvironmentFaultError,
    "The statement was cancelled on the server",
    "run the command again; if it repeats, look at statement_timeout for this user and database",
)
_ENCODING = _Rule(
    UnsupportedServerError,
    "The database cannot hold this text in its encoding",
    "use a database with encoding UTF8: `sgdb init` creates one",
)
_BUG = _Rule(
    InternalError,
    "The database gave an answer that sgdb does not understand",
    "run the command again with --debug and report the traceback",
)

# Looked up by the whole code first, then by its class (the first two characters).
_RULES = {
    "08": _CONNECTION_LOST,
    "25P03": _CONNECTION_LOST,
    "25P04": _CONNECTION_LOST,
    "57P01": _CONNECTION_LOST,
    "57P02": _CONNECTION_LOST,
    "57P03": _UNREACHABLE,
    "57P05": _CONNECTION_LOST,
    "53300": _FULL_HOUSE,
    "28": _AUTHENTICATION,
    "3D": _MISSING_DATABASE,
    "57P04": _MISSING_DATABASE,
    "42501": _PERMISSION,
    "25006": _READ_ONLY,
    "42P01": _SCHEMA,
    "42703": _SCHEMA,
    "3F": _SCHEMA,
    "53100": _DISK,
    "53": _RESOURCES,
    "58": _RESOURCES,
    "F0": _RESOURCES,
    "XX001": _RESOURCES,
    "XX002": _RESOURCES,
    "55P03": _BUSY,
    "55006": _BUSY,
    "40": _BUSY,
    "57014": _CANCELLED,
    "22P05": _ENCODING,
    "22021": _ENCODING,
}

_TRANSIENT = ("40001", "40P01", "53300", "57P03")
_TRANSIENT_WORDS = ("too many", "remaining connection slots", "the database system is starting up")

# In order: "role ... does not exist" must not be read as a missing database.
_CONNECTION_WORDS = (
    ("too many", _FULL_HOUSE),
    ("remaining connection slots", _FULL_HOUSE),
    ("authentication failed", _AUTHENTICATION),
    ("no password supplied", _AUTHENTICATION),
    ("pg_hba.conf", _AUTHENTICATION),
    ("not permitted to log in", _AUTHENTICATION),
    ('role "', _AUTHENTICATION),
    ("permission denied for database", _PERMISSION),
    ("does not exist", _MISSING_DATABASE),
    ("no space left on device", _DISK),
    ("server closed the connection", _CONNECTION_LOST),
    ("connection already closed", _CONNECTION_LOST),
    ("eof detected", _CONNECTION_LOST),
)

# What PostgreSQL's own programs say once they are connected; looked up before the words above.
_PROGRAM_WORDS = (
    ("lock timeout", _BUSY),
    ("due to statement timeout", _BUSY),  # pg_dump knows no other one than for its LOCK TABLE
    ("deadlock detected", _BUSY),
    ("permission denied", _PERMISSION),
    ("must be owner", _PERMISSION),
    ("no matching tables", _SCHEMA),
    ("terminating connection", _CONNECTION_LOST),
    ("connection reset", _CONNECTION_LOST),
    # The session that exported it has gone; the second is how servers before 17 say so.
    ('snapshot "', _CONNECTION_LOST),
    ("invalid snapshot identifier", _CONNECTION_LOST),
    ("canceling statement", _CANCELLED),
    ("invalid connection option", _CONNECTION_OPTION),
)


def describe(url: URL) -> str:
    """The address in words, without the password: `user@host:port/database`, or the socket folder."""
    # In the query stand a socket folder, or several hosts to be tried in turn.
    asked = url.query.get("host") or url.host or "localhost"
    host = asked if isinstance(asked, str) else ",".join(asked)
    if host.startswith("/"):
        return f"database {url.database} of the server in {host}"
    user = f"{url.username}@" if url.username else ""
    port = "" if ":" in host or "," in host else f":{url.port or 5432}"
    return f"{user}{host}{port}/{url.database}"


@contextmanager
def translated_errors(url: URL) -> Iterator[None]:
    """Errors of psycopg2 and SQLAlchemy leave this block as sgdb errors, the original as `__cause__`."""
    try:
        yield
    except (psycopg2.Error, SQLAlchemyError) as error:
        raise translate(error, url) from error


def translate(error: psycopg2.Error | SQLAlchemyError, url: URL) -> SgdbError:
    """The sgdb error for a driver error: always one with a hint, never one with a password."""
    driver_error: BaseException | None = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(driver_error, psycopg2.Error):
        rule = _rule(driver_error)
        said = driver_error.diag.message_primary or str(driver_error)
    else:
        rule, said = _BUG, str(error)
    said = " ".join(_without_passwords(said, url).split())
    return rule.error(f"{rule.says} ({describe(url)}): {said}", hint=rule.hint)


def translate_words(said: str, url: URL, program: str) -> SgdbError:
    """The sgdb error for the last words of one of PostgreSQL's own programs, run with English messages."""
    words = said.lower()
    said = " ".join(_without_passwords(said, url).split())
    for fragment, rule in (*_PROGRAM_WORDS, *_CONNECTION_WORDS):
        if fragment in words:
            return rule.error(f"{rule.says} ({describe(url)}): {said}", hint=rule.hint)
    return EnvironmentFaultError(
        f"{program} failed ({describe(url)}): {said}", hint="see to what it says and run the command again"
    )


def is_transient(error: SgdbError) -> bool:
    """Whether the server gave a transaction up, or would not begin one, for a reason that passes by itself.

    Deadlock, serialization failure, no free connection, still starting: in each of them nothing has been
    committed, so the whole transaction may be tried again.
    """
    cause = error.__cause__
    driver_error = cause.orig if isinstance(cause, DBAPIError) else cause
    if not isinstance(driver_error, psycopg2.Error):
        return False
    if driver_error.pgcode:
        return driver_error.pgcode in _TRANSIENT
    return any(words in str(driver_error).lower() for words in _TRANSIENT_WORDS)


def _rule(error: psycopg2.Error) -> _Rule:
    code = error.pgcode
    if code == "XX000" and says_no_room(str(error)):  # a quota has no code of its own
        return _DISK
    if code:
        return _RULES.get(code) or _RULES.get(code[:2]) or _BUG
    words = str(error).lower()
    # COPY reports a lost connection as a bare DatabaseError. Other classes without a code are misuse
    # of the driver, such as a value it cannot adapt.
    if isinstance(error, psycopg2.OperationalError) or type(error) is psycopg2.DatabaseError:
        return next((rule for fragment, rule in _CONNECTION_WORDS if fragment in words), _UNREACHABLE)
    if isinstance(error, psycopg2.ProgrammingError) and "connection option" in words:
        return _CONNECTION_OPTION
    if isinstance(error, psycopg2.InterfaceError) and "connection already closed" in words:
        return _CONNECTION_LOST
    return _BUG


def _without_passwords(text: str, url: URL) -> str:
    for password in (url.password, url.query.get("password"), url.query.get("sslpassword")):
        if isinstance(password, str) and password:
            for form in (password, quote(password, safe=""), quote_plus(password)):
                text = text.replace(form, "***")
    return text


def quoted(name: str) -> str:
    """An SQL identifier in quotes, for a statement that people will paste."""
    # SQLAlchemy's own quoting doubles every %, which is wrong in a statement that people will paste.
    return '"' + name.replace('"', '""') + '"'

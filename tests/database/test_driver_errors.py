"""No driver error gets past the translation, each with the right class, a hint and no password."""

from __future__ import annotations

import psycopg2
import pytest
from psycopg2 import errorcodes
from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import DBAPIError, ResourceClosedError

from sgdb.database.driver_errors import describe, translate, translated_errors
from sgdb.database.engine import make_engine
from sgdb.errors import (
    AuthenticationError,
    BusyError,
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

URL = make_url("postgresql+psycopg2://ann:s%40cret@db.example:5433/games")
SQLSTATES = sorted(
    {
        value
        for name, value in vars(errorcodes).items()
        if name.isupper() and len(str(value)) == 5 and value > "03"
    }
)
CLASSES = {
    "08006": DatabaseUnreachableError,
    "08001": DatabaseUnreachableError,
    "57P01": DatabaseUnreachableError,
    "57P03": DatabaseUnreachableError,
    "53300": DatabaseUnreachableError,
    "28P01": AuthenticationError,
    "28000": AuthenticationError,
    "3D000": DatabaseMissingError,
    "42501": DatabasePermissionError,
    "25006": DatabasePermissionError,
    "42P01": SchemaError,
    "42703": SchemaError,
    "3F000": SchemaError,
    "53100": DiskFullError,
    "53200": EnvironmentFaultError,
    "58030": EnvironmentFaultError,
    "XX001": EnvironmentFaultError,
    "57014": EnvironmentFaultError,
    "55P03": BusyError,
    "40001": BusyError,
    "40P01": BusyError,
    "22P05": UnsupportedServerError,
    "22021": UnsupportedServerError,
    "23505": InternalError,
    "42601": InternalError,
    "XX000": InternalError,
}


@pytest.fixture
def connection(empty_database: str) -> Connection:
    engine = make_engine(empty_database)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def raised_by_the_server(connection: Connection, sqlstate: str) -> DBAPIError:
    """The error as the driver makes it when a real server raises this SQLSTATE."""
    with pytest.raises(DBAPIError) as caught, connection.begin():
        connection.execute(
            text(
                f"DO $$ BEGIN RAISE EXCEPTION 'it went\n wrong: s@cret' USING ERRCODE = '{sqlstate}'; END $$"
            )
        )
    assert caught.value.orig.pgcode == sqlstate
    return caught.value


def test_every_sqlstate_becomes_an_error_of_ours(connection: Connection) -> None:
    """For each code that the driver knows: an sgdb error with address and hint, and without the password."""
    assert len(SQLSTATES) > 200
    for sqlstate in SQLSTATES:
        error = translate(raised_by_the_server(connection, sqlstate), URL)
        assert isinstance(error, SgdbError), sqlstate
        assert error.hint, sqlstate
        assert "ann@db.example:5433/games" in error.message
        assert "it went wrong" in error.message
        assert "s@cret" not in error.message
        if sqlstate in CLASSES:
            assert type(error) is CLASSES[sqlstate], sqlstate
    assert set(CLASSES) <= set(SQLSTATES)


@pytest.mark.parametrize("words", ["Disk quota exceeded", "File too large"])
def test_a_quota_is_a_full_disk(connection: Connection, words: str) -> None:
    """PostgreSQL reports it as an internal error, with the operating system's words."""
    raising = f"RAISE EXCEPTION 'could not extend file \"base/1/2\": {words}' USING ERRCODE = 'XX000'"
    with pytest.raises(DBAPIError) as caught, connection.begin():
        connection.execute(text(f"DO $$ BEGIN {raising}; END $$"))
    assert type(translate(caught.value, URL)) is DiskFullError


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ('FATAL:  password authentication failed for user "ann"', AuthenticationError),
        ("fe_sendauth: no password supplied", AuthenticationError),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "ann"', AuthenticationError),
        ('FATAL:  role "ann" does not exist', AuthenticationError),
        ('FATAL:  role "ann" is not permitted to log in', AuthenticationError),
        ('FATAL:  database "games" does not exist', DatabaseMissingError),
        ('FATAL:  permission denied for database "games"', DatabasePermissionError),
        ("FATAL:  sorry, too many clients already", DatabaseUnreachableError),
        ("FATAL:  remaining connection slots are reserved", DatabaseUnreachableError),
        ("Connection refused", DatabaseUnreachableError),
        ("timeout expired", DatabaseUnreachableError),
        ('could not translate host name "db.example" to address', DatabaseUnreachableError),
        ("FATAL:  Passwort-Authentifizierung fehlgeschlagen", DatabaseUnreachableError),
        ("server closed the connection unexpectedly", DatabaseUnreachableError),
        ("SSL SYSCALL error: EOF detected", DatabaseUnreachableError),
    ],
)
def test_failed_connections_are_told_apart_by_words(words: str, expected: type[SgdbError]) -> None:
    """Such errors have no SQLSTATE; what is not recognised counts as unreachable, with the words quoted."""
    error = translate(
        psycopg2.OperationalError(f'connection to server at "db.example" failed: {words}\n'), URL
    )
    assert type(error) is expected
    assert words.split("  ")[-1] in error.message
    assert error.hint


@pytest.mark.parametrize(
    ("original", "expected"),
    [
        (psycopg2.DatabaseError("server closed the connection unexpectedly"), DatabaseUnreachableError),
        (psycopg2.InterfaceError("connection already closed"), DatabaseUnreachableError),
        (psycopg2.InterfaceError("cursor already closed"), InternalError),
        (psycopg2.ProgrammingError("can't adapt type 'object'"), InternalError),
        (ResourceClosedError("This Connection is closed"), InternalError),
        (
            DBAPIError("SELECT 1", None, psycopg2.OperationalError("Connection refused")),
            DatabaseUnreachableError,
        ),
    ],
)
def test_errors_without_a_code(original: psycopg2.Error, expected: type[SgdbError]) -> None:
    """A lost connection is the surroundings' fault, misuse of the driver is ours."""
    with pytest.raises(expected) as caught, translated_errors(URL):
        raise original
    assert caught.value.__cause__ is original


def test_other_errors_pass_unchanged() -> None:
    """Neither our own errors nor a bug are touched."""
    for error in (BusyError("busy"), KeyError("bug"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, translated_errors(URL):
            raise error
        assert caught.value is error


@pytest.mark.parametrize(
    "address",
    [
        "postgresql+psycopg2://ann:s%40cret@db/games",
        "postgresql+psycopg2://ann@db/games?password=s%40cret",
        "postgresql+psycopg2://ann@db/games?sslpassword=s%40cret",
    ],
)
@pytest.mark.parametrize("form", ["s@cret", "s%40cret"])
def test_a_password_in_the_drivers_words_is_blotted_out(address: str, form: str) -> None:
    """Wherever the URL has it, and in plain or encoded form."""
    error = translate(psycopg2.OperationalError(f"invalid dsn: {form}"), make_url(address))
    assert form not in error.message
    assert "***" in error.message


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("postgresql+psycopg2://ann:s3cret@db:5433/games", "ann@db:5433/games"),
        ("postgresql+psycopg2:///games", "localhost:5432/games"),
        ("postgresql+psycopg2://ann@/games?host=/run/pg", "database games of the server in /run/pg"),
        ("postgresql+psycopg2://db/games?password=s3cret", "db:5432/games"),
        ("postgresql+psycopg2://ann@/games?host=a:1&host=b:2", "ann@a:1,b:2/games"),
    ],
)
def test_an_address_is_described_without_its_password(address: str, words: str) -> None:
    """Short enough for a message, complete enough to find the server."""
    assert describe(make_url(address)) == words

"""Creating the database itself, through the server's maintenance database."""

from __future__ import annotations

from sqlalchemy import URL

from sgdb.database.driver_errors import quoted, translated_errors
from sgdb.database.engine import make_engine
from sgdb.errors import ConfigError, DatabaseMissingError, DatabasePermissionError, SgdbError


def create_database(url: URL, *, connect_timeout: int = 5) -> bool:
    """Creates the database that `url` names, in UTF-8; returns False when it was there already.

    Safe when several processes try at once.

    Raises:
        ConfigError: the address names no database.
        DatabasePermissionError: the user may not; the hint is the statement for someone who may.
        EnvironmentFaultError: the server cannot be reached or refuses, each fault as its own class.
    """
    if not url.database:
        raise ConfigError(
            "The database address names no database", hint="end it with a name, as in postgresql://HOST/sgdb"
        )
    # Asked before the maintenance database, which hosted servers often close to their users.
    if _exists(url, connect_timeout):
        return False
    try:
        _execute_alone(url.set(database="postgres"), _create_statement(url), connect_timeout)
    except (DatabasePermissionError, DatabaseMissingError) as error:
        raise DatabasePermissionError(
            f"The database {url.database} does not exist, and could not be created: {error.message}",
            hint=f"have the server's administrator run: {_create_statement(url, owner=url.username)};",
        ) from error
    except SgdbError:
        # Another process may have been first; the server reports that in more than one way.
        if _exists(url, connect_timeout):
            return False
        raise
    return True


def _exists(url: URL, connect_timeout: int) -> bool:
    try:
        _execute_alone(url, "SELECT 1", connect_timeout)
    except DatabaseMissingError:
        return False
    return True


def _execute_alone(url: URL, statement: str, connect_timeout: int) -> None:
    """Executes one statement outside a transaction, on a connection that is closed afterwards."""
    engine = make_engine(url, connect_timeout=connect_timeout)
    try:
        with (
            translated_errors(url),
            engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        ):
            # The driver takes a bare % for a placeholder.
            connection.exec_driver_sql(statement.replace("%", "%%"))
    finally:
        engine.dispose()


def _create_statement(url: URL, *, owner: str | None = None) -> str:
    # template0, since only a copy of it may have another encoding than the server's own.
    ownership = f" OWNER {quoted(owner)}" if owner else ""
    return f"CREATE DATABASE {quoted(url.database or '')}{ownership} ENCODING 'UTF8' TEMPLATE template0"

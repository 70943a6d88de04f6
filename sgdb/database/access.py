"""The way every operation reaches a database that is ready for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from sgdb.database.engine import open_engine, require_supported, transaction
from sgdb.database.full_disk import full_disk_named
from sgdb.database.retry import retried
from sgdb.database.revisions import require_current
from sgdb.database.server import EmbeddedServer
from sgdb.errors import SchemaError
from sgdb.settings import Settings


@contextmanager
def ready_engine(
    settings: Settings,
    on_notice: Callable[[str], None] | None = None,
    require: Callable[[Connection], None] = require_current,
) -> Iterator[Engine]:
    """An engine on the settings' database, whose server and schema are what this program needs.

    `require` raises where the schema is not.
    A server that is starting, or has no free connection, is asked again for a while, and `on_notice` is told.
    Raises EnvironmentFaultError otherwise; an embedded server that has never been set up is not set up
    here. Its connections are closed at the end.
    """
    require_set_up(settings)
    engine = open_engine(settings, on_notice=on_notice)
    try:
        with full_disk_named(settings):
            retried(lambda: check_ready(engine, require), on_retry=on_notice)
            yield engine
    finally:
        engine.dispose()


def require_set_up(settings: Settings) -> None:
    """Raises SchemaError where an embedded server is to be used that has never been set up."""
    if settings.server_address is None and not EmbeddedServer(settings.home).is_set_up:
        raise SchemaError(
            f"there is no database yet (embedded server at {settings.home})",
            hint="set it up with `sgdb init`",
        )


def check_ready(engine: Engine, require: Callable[[Connection], None] = require_current) -> None:
    """Returns when server and schema are what this program needs; else raises EnvironmentFaultError.

    `require` raises where the schema is not.
    """
    with transaction(engine, read_only=True) as connection:
        require_supported(connection)
        require(connection)

"""The way every operation reaches a database that is ready for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from sgdb.database.engine import open_engine, require_supported, transaction
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
    Raises EnvironmentFaultError otherwise; an embedded server that has never been set up is not set up
    here. Its connections are closed at the end.
    """
    if settings.server_address is None and not EmbeddedServer(settings.home).is_set_up:
        raise SchemaError(
            f"there is no database yet (embedded server at {settings.home})",
            hint="set it up with `sgdb init`",
        )
    engine = open_engine(settings, on_notice=on_notice)
    try:
        with transaction(engine, read_only=True) as connection:
            require_supported(connection)
            require(connection)
        yield engine
    finally:
        engine.dispose()

"""The way every operation reaches a database that is ready for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from sgdb.database.engine import open_engine, require_supported, transaction
from sgdb.database.revisions import require_current
from sgdb.settings import Settings


@contextmanager
def ready_engine(settings: Settings, on_notice: Callable[[str], None] | None = None) -> Iterator[Engine]:
    """An engine on the settings' database, whose server and schema are what this program needs.

    Raises EnvironmentFaultError otherwise. Its connections are closed at the end.
    """
    engine = open_engine(settings, on_notice=on_notice)
    try:
        with transaction(engine, read_only=True) as connection:
            require_supported(connection)
            require_current(connection)
        yield engine
    finally:
        engine.dispose()

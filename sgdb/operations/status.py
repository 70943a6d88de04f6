"""`sgdb status`: where the database is, and how it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import Connection

from sgdb.database.engine import (
    database_url,
    describe,
    make_engine,
    require_supported,
    server_info,
    transaction,
)
from sgdb.database.provenance import last_run
from sgdb.database.revisions import SchemaStatus, state
from sgdb.database.server import EmbeddedServer
from sgdb.database.sizes import row_counts, sizes
from sgdb.errors import DatabaseMissingError, FileAccessError, UnsupportedServerError
from sgdb.progress import Progress, Silent
from sgdb.settings import Settings
from sgdb.storage.journal import Journal

_INIT = "sgdb init"
_STATES = {
    SchemaStatus.MISSING: ("no tables", _INIT),
    SchemaStatus.OUTDATED: ("outdated", _INIT),
    SchemaStatus.NEWER: ("newer", "pip install --upgrade sgdb"),
    SchemaStatus.CURRENT: ("ready", None),
}


@dataclass(frozen=True, slots=True)
class TableStatus:
    """One table: exact number of rows, bytes with its indexes."""

    table: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class StatusResult:
    """What is known; None where the server is down or the database is not there.

    `state` is "ready", or what keeps it from being so: "not set up", "stopped", "no database",
    "unsupported server", "no tables", "outdated" or "newer". `next_step` is the way out of that. `debts` are
    saves of dual storages that have not reached both sides, the oldest `owed_since`; `mismatches` are values
    on which the two sides differ.
    """

    address: str
    embedded: bool
    state: str
    next_step: str | None = None
    data_folder: str | None = None
    server_version: str | None = None
    encoding: str | None = None
    revision: str | None = None
    newest_revision: str | None = None
    database_bytes: int | None = None
    tables: tuple[TableStatus, ...] = ()
    runs: int | None = None
    last_run: dict[str, Any] | None = None
    pickle_dir: str | None = None
    debts: int = 0
    owed_since: str | None = None
    mismatches: int = 0

    def to_json(self) -> dict[str, Any]:
        """The command's JSON document."""
        return asdict(self) | {"tables": [asdict(table) for table in self.tables]}


def status(settings: Settings, progress: Progress | None = None) -> StatusResult:
    """Looks, and changes nothing: a stopped embedded server stays stopped.

    Rows are counted, not estimated. Raises EnvironmentFaultError when a server that should answer does
    not: unreachable, wrong password, no permission.
    """
    progress = progress or Silent()
    embedded = EmbeddedServer(settings.home) if settings.server_address is None else None
    result = StatusResult(
        address=f"embedded server in {settings.home}",
        embedded=embedded is not None,
        state="stopped",
        next_step="sgdb server start",
        data_folder=str(embedded.data_folder) if embedded else None,
        pickle_dir=None if settings.pickle_dir is None else str(settings.pickle_dir),
        **_journal(settings, progress),
    )
    if embedded is not None:
        found = embedded.status()
        if not found.running:
            result = replace(result, server_version=found.version)
            if not embedded.is_set_up:
                return replace(result, state="not set up", next_step=_INIT)
            return result
    url = database_url(settings, on_notice=progress.notice)
    result = replace(result, address=describe(url))
    engine = make_engine(url, connect_timeout=settings.connect_timeout)
    try:
        with transaction(engine, read_only=True) as connection:
            return _look(connection, result)
    except DatabaseMissingError:
        return replace(result, state="no database", next_step=_INIT)
    finally:
        engine.dispose()


def _journal(settings: Settings, progress: Progress) -> dict[str, Any]:
    """What dual storages have left; a journal that cannot be read is told, and no reason to tell no more."""
    journal = Journal(settings.journal_folder)
    try:
        debts, mismatches = journal.debts(), journal.mismatches()
    except FileAccessError as error:
        progress.notice(f"the journal cannot be read: {error.message}")
        return {}
    since = debts[0].since if debts else None
    return {"debts": sum(debt.saves for debt in debts), "owed_since": since, "mismatches": len(mismatches)}


def _look(connection: Connection, result: StatusResult) -> StatusResult:
    info = server_info(connection)
    result = replace(result, server_version=info.version_text, encoding=info.encoding)
    try:
        require_supported(connection)
    except UnsupportedServerError as error:
        return replace(result, state="unsupported server", next_step=error.hint)
    schema = state(connection)
    name, next_step = _STATES[schema.status]
    result = replace(
        result, state=name, next_step=next_step, revision=schema.current, newest_revision=schema.head
    )
    if schema.status is not SchemaStatus.CURRENT:
        return result
    rows, size = row_counts(connection), sizes(connection)
    return replace(
        result,
        database_bytes=size.database,
        tables=tuple(TableStatus(table, rows[table], size.tables[table]) for table in rows),
        runs=rows["runs"],
        last_run=last_run(connection),
    )

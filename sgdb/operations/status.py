"""`sgdb status`: where the database is, and how it is."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import Connection, Engine

from sgdb.database.blobs import file_totals
from sgdb.database.engine import (
    database_url,
    describe,
    make_engine,
    require_supported,
    server_info,
    transaction,
)
from sgdb.database.history import last_run, running
from sgdb.database.liveness import AT_WORK, BROKEN_OFF, broken_off
from sgdb.database.provenance import RUNNING, RecordedFile, recorded_files, recorded_path
from sgdb.database.revisions import SchemaStatus, state
from sgdb.database.runs import KIND
from sgdb.database.server import EmbeddedServer
from sgdb.database.sizes import row_counts, sizes
from sgdb.errors import DatabaseMissingError, FileAccessError, SgdbError, UnsupportedServerError
from sgdb.pickles.whereabouts import Whereabouts, look_for
from sgdb.progress import Progress, Silent
from sgdb.settings import Settings
from sgdb.storage.checkpoint_files import checkpoint_files
from sgdb.storage.journal import Journal
from sgdb.storage.training_notes import TrainingNotes

_INIT = "sgdb init"
_READY = "ready"
_STATES = {
    SchemaStatus.MISSING: ("no tables", _INIT),
    SchemaStatus.OUTDATED: ("outdated", _INIT),
    SchemaStatus.NEWER: ("newer", "pip install --upgrade sgdb"),
    SchemaStatus.CURRENT: (_READY, None),
}


@dataclass(frozen=True, slots=True)
class TableStatus:
    """One table: exact number of rows, bytes with its indexes."""

    table: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class FilesStatus:
    """What has become of the files that were migrated, by the paths they had then: `recorded` paths, of which
    `unchanged` hold what was migrated from them last; the paths that hold other bytes now, and those where
    nothing is left. `unreadable` are those that cannot be looked at, with the reason.
    """

    recorded: int
    unchanged: int
    changed: list[str]
    gone: list[str]
    unreadable: dict[str, str]


@dataclass(frozen=True, slots=True)
class CheckpointFilesStatus:
    """Bytes of checkpoints that lie in files, hence in no backup: how many contents, their bytes, and the
    folder of this database."""

    count: int
    bytes: int
    folder: str


@dataclass(frozen=True, slots=True)
class StatusResult:
    """What is known; None where the server is down or the database is not there.

    `state` is "ready", or what keeps it from being so: "not set up", "stopped", "no database",
    "unsupported server", "no tables", "outdated" or "newer". `next_step` is the way out of that.
    `last_run["status"]` is as `sgdb query runs` tells it, and `broken_off` are the runs of that status.
    `debts` are saves of dual storages that have not reached both sides, `training_debts` what trainings could
    not tell the database, the oldest of both `owed_since`; `mismatches` are values on which the two sides
    differ.
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
    broken_off: list[int] | None = None
    files: FilesStatus | None = None
    debts: int = 0
    owed_since: str | None = None
    mismatches: int = 0
    training_debts: int = 0
    checkpoint_files: CheckpointFilesStatus | None = None

    def to_json(self) -> dict[str, Any]:
        """The command's JSON document."""
        return asdict(self) | {"tables": [asdict(table) for table in self.tables]}


def status(settings: Settings, progress: Progress | None = None, *, check_files: bool = True) -> StatusResult:
    """Looks, and changes nothing: a stopped embedded server stays stopped.

    Rows are counted, not estimated. With `check_files`, the files that were migrated are looked for, and
    those of the right size read once. Raises EnvironmentFaultError when a server that should answer does not:
    unreachable, wrong password, no permission.
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
            result = _look(connection, result, settings)
            if result.state != _READY:
                return result
            recorded, unfinished = recorded_files(connection, KIND), running(connection)
        result = _with_runs(engine, result, unfinished)
        return replace(result, files=_look_for_all(recorded, progress)) if check_files else result
    except DatabaseMissingError:
        return replace(result, state="no database", next_step=_INIT)
    finally:
        engine.dispose()


def _journal(settings: Settings, progress: Progress) -> dict[str, Any]:
    """What dual storages and trainings have left; a journal that cannot be read is told, and no reason to
    tell no more."""
    journal = Journal(settings.journal_folder)

    def tell(error: SgdbError) -> None:
        progress.notice(f"the journal cannot be read: {error.message}")

    try:
        debts, mismatches = journal.debts(), journal.mismatches()
        notes = list(TrainingNotes(settings.journal_folder).read(None, tell))
    except FileAccessError as error:
        tell(error)
        return {}
    since = [debt.since for debt in debts] + [note.written_at for note in notes]
    return {
        "debts": sum(debt.saves for debt in debts),
        "training_debts": len(notes),
        "owed_since": min(since, default=None),
        "mismatches": len(mismatches),
    }


def _look(connection: Connection, result: StatusResult, settings: Settings) -> StatusResult:
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
        checkpoint_files=_checkpoint_files(connection, settings),
    )


def _checkpoint_files(connection: Connection, settings: Settings) -> CheckpointFilesStatus | None:
    count, size = file_totals(connection)
    folder = str(checkpoint_files(settings, connection).folder)
    return CheckpointFilesStatus(count, size, folder) if count else None


def _with_runs(engine: Engine, result: StatusResult, unfinished: list[int]) -> StatusResult:
    """The result with those of the unfinished runs that are at work no longer."""
    silent = broken_off(engine, unfinished)
    last = result.last_run
    if last is not None and last["status"] == RUNNING:
        last = last | {"status": BROKEN_OFF if last["id"] in silent else AT_WORK}
    return replace(result, last_run=last, broken_off=sorted(silent))


def _look_for_all(recorded: list[RecordedFile], progress: Progress) -> FilesStatus:
    newest = {file.path: file for file in recorded}
    found: Counter[Whereabouts] = Counter()
    changed, gone, unreadable = list[str](), list[str](), dict[str, str]()
    progress.start(sum(file.size_bytes for file in newest.values()), "B")
    try:
        for file in newest.values():
            path = recorded_path(file.path)
            look = look_for(path, file.sha256, file.size_bytes)
            progress.advance(file.size_bytes, path.name)
            found[look.whereabouts] += 1
            if look.whereabouts is Whereabouts.CHANGED:
                changed.append(file.path)
            elif look.whereabouts is Whereabouts.GONE:
                gone.append(file.path)
            elif look.error is not None:
                unreadable[file.path] = look.error
    finally:
        progress.finish()
    return FilesStatus(len(newest), found[Whereabouts.UNCHANGED], changed, gone, unreadable)

"""`sgdb stats`: how the database fares, and what somebody should see to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, text

from sgdb.database.access import ready_engine
from sgdb.database.activity import Activity, activity
from sgdb.database.backup_files import list_backups
from sgdb.database.backups import origin_of
from sgdb.database.driver_errors import describe
from sgdb.database.engine import address_of, server_info, transaction
from sgdb.database.manifest import Origin
from sgdb.database.own_tables import find_own_tables
from sgdb.database.revisions import require_current
from sgdb.database.sizes import database_size
from sgdb.database.upkeep import TableUpkeep, Upkeep, transaction_ids_used, upkeep
from sgdb.errors import BusyError, EnvironmentFaultError, FileAccessError, SgdbError
from sgdb.progress import Progress, Silent
from sgdb.settings import Settings
from sgdb.storage.journal import Journal
from sgdb.storage.training_notes import TrainingNotes
from sgdb.wording import counted

_LOCK_TIMEOUT = 0.2  # seconds that each locked table is waited for; whoever comes later waits behind us
_PATIENCE = "5s"  # for the table that tells the schema's revision, without which nothing can be told
_HOUR, _DAY = 3600.0, 86_400.0
# Smaller tables are a matter of moments, and the estimates are coarse.
MANY_ROWS = 10_000
MANY_BYTES = 100_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """From where on `reasons` speak of something. Ages in seconds, shares from 0 to 1.

    `backup_age` is that of the newest proven backup, `debt_age` that of the oldest save that has not reached
    both sides of a dual storage, or of what a training could not tell the database, `transaction_age` that of
    the oldest open transaction. `dead_rows` and `bloat` are shares of one table, and speak only of tables
    with MANY_ROWS dead rows, or MANY_BYTES to gain. `cache_hits` is the least share; the others are the most
    that is fine.
    """

    backup_age: float = 7 * _DAY
    debt_age: float = _HOUR
    transaction_age: float = _HOUR
    lock_wait: float = 60.0
    connections: float = 0.8
    dead_rows: float = 0.3
    bloat: float = 0.5
    sequences: float = 0.8
    transaction_ids: float = 0.5
    cache_hits: float = 0.0


@dataclass(frozen=True, slots=True)
class StatsOptions:
    """What is still fine."""

    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why somebody should look: the limit that was passed (or "index", or "mismatches"), a sentence, and what
    to do next."""

    limit: str
    says: str
    next_step: str


@dataclass(frozen=True, slots=True)
class DatabaseStats:
    """What the server says of itself and of sgdb's tables. `transaction_ids` is the share used up."""

    address: str
    server_version: str
    database_bytes: int
    transaction_ids: float
    activity: Activity
    upkeep: Upkeep

    def to_json(self) -> dict[str, Any]:
        """Its part of the command's document."""
        busy, kept = self.activity, self.upkeep
        return {
            "server_version": self.server_version,
            "started_at": _spelled(busy.started_at),
            "database_bytes": self.database_bytes,
            "transaction_ids_used": self.transaction_ids,
            "tables": [_table_json(table) for table in kept.tables],
            "indexes": [asdict(index) for index in kept.indexes],
            "missing_indexes": [asdict(index) for index in kept.missing_indexes],
            "sequences": [asdict(sequence) for sequence in kept.sequences],
            "connections": {
                "max": busy.connections.most,
                "used": busy.connections.used,
                "by_state": busy.connections.by_state,
            },
            "cache": {
                "hits": busy.cache.hits,
                "reads": busy.cache.reads,
                "hit_ratio": busy.cache.hit_ratio,
                "since": _spelled(busy.cache.since),
            },
            "deadlocks": busy.deadlocks,
            "transactions": [asdict(one) for one in busy.transactions],
            "waiting": [asdict(one) | {"blocked_by": list(one.blocked_by)} for one in busy.waiting],
            "statements": busy.statements and [asdict(one) for one in busy.statements],
        }


@dataclass(frozen=True, slots=True)
class LastBackup:
    """The newest proven backup of this database, and its age in seconds."""

    path: str
    created_at: datetime
    proven_at: datetime
    age: float


@dataclass(frozen=True, slots=True)
class StatsResult:
    """All of it. `fault` is why there is no `database`: no server, no schema, no right to look, or a lock.

    `unseen` are sentences on what this user, or this server, does not let one see. `debts` are saves of dual
    storages that have not reached both sides, `training_debts` what trainings could not tell the database,
    the oldest of both `owed_since`; `mismatches` are values on which the two sides differ.
    """

    address: str
    database: DatabaseStats | None
    fault: EnvironmentFaultError | BusyError | None
    backups_folder: str
    backup: LastBackup | None
    debts: int
    owed_since: datetime | None
    mismatches: int
    unseen: tuple[str, ...]
    reasons: tuple[Reason, ...]
    training_debts: int = 0

    @property
    def owed(self) -> str:
        """What is owed, in words; empty where nothing is."""
        kinds = {"save": self.debts, "training event": self.training_debts}
        return ", ".join(counted(number, what) for what, number in kinds.items() if number)

    def to_json(self) -> dict[str, Any]:
        """The command's JSON document."""
        backup = self.backup
        return {
            "address": self.address,
            **(self.database.to_json() if self.database else {}),
            "backups_folder": self.backups_folder,
            "backup": backup
            and {
                "path": backup.path,
                "created_at": _spelled(backup.created_at),
                "proven_at": _spelled(backup.proven_at),
                "age": backup.age,
            },
            "debts": self.debts,
            "owed_since": _spelled(self.owed_since),
            "mismatches": self.mismatches,
            "training_debts": self.training_debts,
            "unseen": list(self.unseen),
            "reasons": [asdict(reason) for reason in self.reasons],
        }


def stats(options: StatsOptions, settings: Settings, progress: Progress | None = None) -> StatsResult:
    """Looks at catalog and statistics, never at rows; changes nothing, and waits for no lock for long.

    An embedded server that is stopped is started, as by every command that asks the database. Where it cannot
    be asked, what lies on this machine is told all the same, and `fault` says why.
    """
    progress = progress or Silent()
    database: DatabaseStats | None = None
    fault: EnvironmentFaultError | BusyError | None = None
    origin: Origin | None = None
    unseen: list[str] = []
    try:
        with ready_engine(settings, progress.notice, _require_current_soon) as engine:
            with transaction(engine, read_only=True, lock_timeout=_LOCK_TIMEOUT) as connection:
                database, origin = _look(connection), origin_of(connection)
            unseen += database.activity.unseen
            unseen += _unseen(database.upkeep)
    except (EnvironmentFaultError, BusyError) as error:
        fault = error
    address = address_of(settings) if database is None else database.address
    backup, debts, mismatches = None, 0, 0
    since: list[str] = []
    try:
        backup = _last_backup(settings, origin or Origin(address, "", None))
    except FileAccessError as error:
        unseen.append(f"backups: {error.message}")
    try:
        journal = Journal(settings.journal_folder)
        owed = journal.debts()
        debts, mismatches = sum(debt.saves for debt in owed), len(journal.mismatches())
        since += [debt.since for debt in owed]
    except FileAccessError as error:
        unseen.append(f"debts of dual storages: {error.message}")
    notes = list(TrainingNotes(settings.journal_folder).read(None, _told_to(unseen)))
    since += [note.written_at for note in notes]
    found = StatsResult(
        address=address,
        database=database,
        fault=fault,
        backups_folder=str(settings.backups_folder),
        backup=backup,
        debts=debts,
        owed_since=min(map(datetime.fromisoformat, since), default=None),
        mismatches=mismatches,
        unseen=tuple(unseen),
        reasons=(),
        training_debts=len(notes),
    )
    return replace(found, reasons=tuple(_reasons(found, options.limits)))


def _told_to(unseen: list[str]) -> Callable[[SgdbError], object]:
    return lambda error: unseen.append(f"what trainings owe: {error.message}")


def _require_current_soon(connection: Connection) -> None:
    connection.execute(text("SELECT set_config('lock_timeout', :wait, true)"), {"wait": _PATIENCE})
    require_current(connection)


def _look(connection: Connection) -> DatabaseStats:
    own = find_own_tables(connection)
    assert own is not None
    return DatabaseStats(
        address=describe(connection.engine.url),
        server_version=server_info(connection).version_text,
        database_bytes=database_size(connection),
        transaction_ids=transaction_ids_used(connection),
        activity=activity(connection),
        upkeep=upkeep(connection, own),
    )


def _unseen(kept: Upkeep) -> Iterator[str]:
    for table in kept.unmeasured:
        yield f"the size of {table} as it is now: another session has locked it; told is what was noted last"
    if hidden := [one.sequence for one in kept.sequences if one.used is None]:
        yield f"how far these sequences have counted, for want of the right to read them: {', '.join(hidden)}"
    if guessed := [one.table for one in kept.tables if one.bloat_bytes is None and one.rows >= MANY_ROWS]:
        yield f"bloat of tables without statistics that this user may see: {', '.join(guessed)}"


def _last_backup(settings: Settings, origin: Origin) -> LastBackup | None:
    proven = [
        (backup.manifest.created_at, proven_at, str(backup.path))
        for backup in list_backups(settings.backups_folder)[0]
        if (proven_at := backup.manifest.proven_at) is not None and backup.manifest.origin.is_same(origin)
    ]
    if not proven:
        return None
    created_at, proven_at, path = max(proven)
    return LastBackup(path, created_at, proven_at, max(0.0, (datetime.now(UTC) - created_at).total_seconds()))


# -- reasons to look ------------------------------------------------------------------------------------


def _reasons(found: StatsResult, limits: Limits) -> Iterator[Reason]:
    if found.owed_since is not None:
        age = (datetime.now(UTC) - found.owed_since).total_seconds()
        if age > limits.debt_age:
            yield Reason(
                "debt_age",
                f"{found.owed} owed for {spelled_age(age)}",
                "sgdb sync",
            )
    if found.mismatches:
        yield Reason(
            "mismatches",
            f"{found.mismatches:,} values are others in a pickle than in the database",
            "sgdb query mismatches",
        )
    if found.database is None:
        return
    yield from _of_backups(found, found.database.upkeep, limits)
    yield from _of_activity(found.database.activity, limits)
    yield from _of_upkeep(found.database.upkeep, limits)
    if found.database.transaction_ids > limits.transaction_ids:
        yield Reason(
            "transaction_ids",
            f"{_percent(found.database.transaction_ids)} of the transaction ids are used up: autovacuum does"
            " not keep up, and at 100 % the server takes no more writes",
            "VACUUM (FREEZE);",
        )


def _of_backups(found: StatsResult, kept: Upkeep, limits: Limits) -> Iterator[Reason]:
    if found.backup is None:
        if any(table.rows for table in kept.tables):
            says = f"there is no proven backup of this database in {found.backups_folder}"
            yield Reason("backup_age", says, "sgdb backup")
    elif found.backup.age > limits.backup_age:
        says = f"the newest proven backup is {spelled_age(found.backup.age)} old"
        yield Reason("backup_age", says, "sgdb backup")


def _of_activity(busy: Activity, limits: Limits) -> Iterator[Reason]:
    if busy.connections.used > limits.connections * busy.connections.most:
        yield Reason(
            "connections",
            f"the server has {busy.connections.used:,} of at most {busy.connections.most:,} connections",
            "end what is idle, or raise max_connections: SELECT pid, usename, state FROM pg_stat_activity;",
        )
    for one in busy.transactions:
        if one.seconds > limits.transaction_age:
            who = f"of {one.user}" if one.pid is None else f"of {one.user} (pid {one.pid}, {one.state})"
            gid = one.query.replace("'", "''")
            ending = (
                f"COMMIT PREPARED or ROLLBACK PREPARED '{gid}';"
                if one.pid is None
                else f"SELECT pg_terminate_backend({one.pid});"
            )
            yield Reason(
                "transaction_age",
                f"a {'prepared ' if one.pid is None else ''}transaction {who} has been open for"
                f" {spelled_age(one.seconds)}, so no row that was deleted since can be cleared away",
                f"see whether it is still needed, otherwise end it: {ending}",
            )
    for waiting in busy.waiting:
        if waiting.seconds > limits.lock_wait:
            blockers = ", ".join(map(str, waiting.blocked_by)) or "nobody any more"
            yield Reason(
                "lock_wait",
                f"session {waiting.pid} has waited for {spelled_age(waiting.seconds)} for {waiting.wants},"
                f" behind {blockers}",
                "see what these do, and end them with pg_terminate_backend where they are not needed:"
                " SELECT pid, state, query FROM pg_stat_activity;",
            )
    if (ratio := busy.cache.hit_ratio) is not None and ratio < limits.cache_hits:
        yield Reason(
            "cache_hits",
            f"only {_percent(ratio)} of the blocks were found in the server's memory",
            "raise shared_buffers on the server",
        )


def _of_upkeep(kept: Upkeep, limits: Limits) -> Iterator[Reason]:
    for table in kept.tables:
        all_rows = table.rows + table.dead_rows
        if table.dead_rows >= MANY_ROWS and table.dead_rows > limits.dead_rows * all_rows:
            yield Reason(
                "dead_rows",
                f"{table.table} has {table.dead_rows:,} dead rows,"
                f" {_percent(table.dead_rows / all_rows)} of all",
                f"VACUUM (ANALYZE) {table.table};",
            )
        bloat = table.bloat_bytes or 0
        if bloat >= MANY_BYTES and bloat > limits.bloat * table.table_bytes:
            yield Reason(
                "bloat",
                f"about {bloat / 1e6:,.0f} MB of {table.table} are empty",
                f"VACUUM FULL {table.table}; when nobody needs the table",
            )
    for index in kept.indexes:
        if not index.valid:
            yield Reason(
                "index",
                f"index {index.index} on {index.table} is invalid: making it failed, and no query uses it",
                f"REINDEX INDEX CONCURRENTLY {index.address};",
            )
    for missing in kept.missing_indexes:
        says = f"{missing.table} lacks the index {missing.index}, which belongs to sgdb's schema"
        yield Reason("index", says, f"{missing.statement};")
    for sequence in kept.sequences:
        if sequence.used is not None and sequence.used > limits.sequences:
            of = f"{sequence.table}.{sequence.column}"
            left = sequence.max_value - (sequence.last_value or 0)
            says = f"{of} has {left:,} numbers left, {_percent(sequence.used)} are used up"
            yield Reason(
                "sequences",
                says,
                f"where the largest one in use is far lower, go on after that: ALTER TABLE {sequence.table}"
                f" ALTER COLUMN {sequence.column} RESTART WITH ...;",
            )


def spelled_age(seconds: float) -> str:
    """A time span as people say it: in seconds, minutes, hours or days."""
    for unit, length in (("days", _DAY), ("hours", _HOUR), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def _spelled(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds")


def _table_json(table: TableUpkeep) -> dict[str, Any]:
    return asdict(table) | {
        "bytes": table.bytes,
        "last_vacuum": _spelled(table.last_vacuum),
        "last_analyze": _spelled(table.last_analyze),
    }

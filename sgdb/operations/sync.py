"""`sgdb sync`: what dual storages and trainings owe is paid, and proven."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from sgdb.database.access import ready_engine
from sgdb.database.engine import address_of
from sgdb.errors import EnvironmentFaultError, SgdbError
from sgdb.progress import Progress, Silent
from sgdb.settings import Settings
from sgdb.storage.dual import settle
from sgdb.storage.journal import Debt, Journal, Pair
from sgdb.storage.pickle_files import PickleStorage
from sgdb.storage.postgres import PostgresStorage
from sgdb.storage.reconcile import Comparison, Gap, compare
from sgdb.storage.training_database import TrainingDatabase
from sgdb.storage.training_notes import TrainingNotes, settle_session


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """A dry run compares and changes nothing."""

    dry_run: bool = False


@dataclass(slots=True)
class SyncedSet:
    """One set with a debt or with recorded differences, and what became of it.

    `status` is "level" (both sides hold the same), "differs" (but for values that the two sides have
    otherwise, which are for a person to decide) or "owed" (`error` says why). `lacks`, `since` and `reason`
    are those of the debts. `to_database` and `to_pickle` count what each side got, or in a dry run would get.
    """

    pair: Pair
    lacks: list[str] = field(default_factory=list)
    since: str | None = None
    reason: str | None = None
    status: str = "owed"
    to_database: dict[str, int] = field(default_factory=lambda: {"games": 0, "results": 0})
    to_pickle: dict[str, int] = field(default_factory=lambda: {"games": 0, "results": 0})
    mismatches: int = 0
    error: str | None = None
    failure: SgdbError | None = None

    def to_json(self) -> dict[str, Any]:
        """The set's entry in the command's JSON."""
        config = self.pair.config
        return {
            "config": {
                "num_rows": config.num_rows,
                "num_cols": config.num_cols,
                "num_colors": config.num_colors,
            },
            "base_seed": self.pair.base_seed,
            "pickle": self.pair.pickle,
            "database": self.pair.database,
            "lacks": self.lacks,
            "since": self.since,
            "reason": self.reason,
            "status": self.status,
            "to_database": self.to_database,
            "to_pickle": self.to_pickle,
            "mismatches": self.mismatches,
            "error": self.error,
        }

    def _found(self, before: Comparison, after: Comparison) -> None:
        self.to_database, self.to_pickle = _counts(before.only_pickle), _counts(before.only_database)
        self.mismatches = len(after.differences)
        self.status = "differs" if after.differences else "level"

    def _failed(self, error: SgdbError) -> None:
        self.failure, self.error = error, error.message


def _counts(gap: Gap) -> dict[str, int]:
    return {"games": len(gap.games), "results": gap.result_count}


@dataclass(slots=True)
class SyncedSession:
    """One training with notes in the journal, and what became of them.

    `status` is "level" (nothing is owed any more) or "owed" (`error` says why). `paid` and `checkpoints` (of
    them) count what the database got, or in a dry run what there is; `said` are the conflicts among it.
    """

    uid: UUID
    name: str | None = None
    database: str | None = None
    since: str | None = None
    notes: int = 0
    status: str = "owed"
    paid: int = 0
    checkpoints: int = 0
    said: list[str] = field(default_factory=list)
    error: str | None = None
    failure: SgdbError | None = None

    def to_json(self) -> dict[str, Any]:
        """The training's entry in the command's JSON."""
        return {
            "uid": str(self.uid),
            "name": self.name,
            "database": self.database,
            "since": self.since,
            "notes": self.notes,
            "status": self.status,
            "paid": self.paid,
            "checkpoints": self.checkpoints,
            "conflicts": self.said,
            "error": self.error,
        }

    def _failed(self, error: SgdbError) -> None:
        self.failure, self.error = error, error.message


@dataclass(frozen=True, slots=True)
class SyncResult:
    """All sets and trainings that had something to make good."""

    dry_run: bool
    sets: list[SyncedSet]
    sessions: list[SyncedSession] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 when all is level; 1 when values differ or something is still owed, or the code of the fault
        in the surroundings that kept it from being paid."""
        everything: list[SyncedSet | SyncedSession] = [*self.sets, *self.sessions]
        for one in everything:
            if isinstance(one.failure, EnvironmentFaultError):
                return one.failure.exit_code
        are_level = all(one.status == "level" for one in everything)
        return 0 if are_level and not any(session.said for session in self.sessions) else 1

    def to_json(self) -> dict[str, Any]:
        """The command's JSON document."""
        return {
            "dry_run": self.dry_run,
            "sets": [one.to_json() for one in self.sets],
            "sessions": [one.to_json() for one in self.sessions],
        }


def sync(options: SyncOptions, settings: Settings, progress: Progress | None = None) -> SyncResult:
    """Brings pickle and database of every set with a debt, or with recorded differences, to the same state,
    and tells the database what trainings could not.

    Each side gets what only the other has; both are read again and compared; only then is the debt removed.
    Values that differ are left as they are and recorded. One set or training that cannot be helped does not
    stop the others. Raises EnvironmentFaultError when the database, or the journal itself, is not there.
    """
    progress = progress or Silent()
    journal, notes = Journal(settings.journal_folder), TrainingNotes(settings.journal_folder)
    sets, sessions = _sets(journal), _sessions(notes)
    if not sets and not sessions:
        return SyncResult(options.dry_run, [])
    with ready_engine(settings, progress.notice):
        pass  # or else every set would fail for the same reason
    progress.start(len(sets) + len(sessions), "debt")
    try:
        for one in sets:
            try:
                _sync(one, journal, settings, dry_run=options.dry_run)
            except SgdbError as error:
                one._failed(error)
            progress.advance(1, Path(one.pair.pickle).name)
        for training in sessions:
            try:
                _sync_session(training, notes, settings, dry_run=options.dry_run)
            except SgdbError as error:
                training._failed(error)
            progress.advance(1, str(training.uid))
    finally:
        progress.finish()
    return SyncResult(options.dry_run, sets, sessions)


def _sets(journal: Journal) -> list[SyncedSet]:
    """What there is to do, oldest debt first."""
    by_pair: dict[Pair, list[Debt]] = {}
    for debt in journal.debts():
        by_pair.setdefault(debt.pair, []).append(debt)
    for mismatch in journal.mismatches():
        by_pair.setdefault(mismatch.pair, [])
    return [
        SyncedSet(
            pair,
            lacks=sorted({debt.lacks for debt in debts}),
            since=debts[0].since if debts else None,
            reason=debts[-1].reason if debts else None,
        )
        for pair, debts in by_pair.items()
    ]


def _sync(one: SyncedSet, journal: Journal, settings: Settings, *, dry_run: bool) -> None:
    pair = one.pair
    if pair.database != address_of(settings):
        one.error = f"it is owed to another database: {pair.database}"
        return
    pickle = PickleStorage(pair.pickle, pair.config, pair.base_seed, lock_timeout=settings.lock_timeout)
    with PostgresStorage(settings, pair.config, pair.base_seed) as database:
        if dry_run:
            found = compare(pickle.load_data(), database.load_data())
            one._found(found, found)
            return
        done = settle(journal, pair, pickle, database, even=True)
        assert done is not None
        one._found(done.before, done.after)


def _sessions(notes: TrainingNotes) -> list[SyncedSession]:
    """The trainings that owe, as far as their notes can be read."""
    found = []
    for uid in notes.sessions():
        one = SyncedSession(uid)
        for note in notes.read(uid, one._failed):
            one.name, one.database = note.session.name, note.address
            one.since = one.since or note.written_at
            one.notes += 1
            one.checkpoints += note.event.kind == "checkpoint"
        found.append(one)
    return found


def _sync_session(one: SyncedSession, notes: TrainingNotes, settings: Settings, *, dry_run: bool) -> None:
    address = address_of(settings)
    if one.error is None and one.database != address:
        one.error = f"it is owed to another database: {one.database}"
    if dry_run:
        one.status = "level" if one.error is None else "owed"
        return
    notes.tidy()
    done = settle_session(notes, one.uid, address, TrainingDatabase(settings).write_plainly)
    one.paid, one.checkpoints, one.said = done.paid, done.checkpoints, done.said
    if done.failure is not None:
        one._failed(done.failure)
    elif notes.owes(one.uid):
        one.error = "its program is at work on it itself"
    else:
        one.status, one.error, one.failure = "level", None, None

"""`sgdb sync`: what dual storages owe is paid, and proven."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True, slots=True)
class SyncResult:
    """All sets that had something to make good."""

    dry_run: bool
    sets: list[SyncedSet]

    @property
    def exit_code(self) -> int:
        """0 when all is level; 1 when values differ or something is still owed, or the code of the fault
        in the surroundings that kept it from being paid."""
        for one in self.sets:
            if isinstance(one.failure, EnvironmentFaultError):
                return one.failure.exit_code
        return 0 if all(one.status == "level" for one in self.sets) else 1

    def to_json(self) -> dict[str, Any]:
        """The command's JSON document."""
        return {"dry_run": self.dry_run, "sets": [one.to_json() for one in self.sets]}


def sync(options: SyncOptions, settings: Settings, progress: Progress | None = None) -> SyncResult:
    """Brings pickle and database of every set with a debt, or with recorded differences, to the same state.

    Each side gets what only the other has; both are read again and compared; only then is the debt removed.
    Values that differ are left as they are and recorded. One set that cannot be helped does not stop the
    others. Raises EnvironmentFaultError when the database, or the journal itself, is not there.
    """
    progress = progress or Silent()
    journal = Journal(settings.journal_folder)
    sets = _sets(journal)
    if not sets:
        return SyncResult(options.dry_run, [])
    with ready_engine(settings, progress.notice):
        pass  # or else every set would fail for the same reason
    progress.start(len(sets), "set")
    try:
        for one in sets:
            try:
                _sync(one, journal, settings, dry_run=options.dry_run)
            except SgdbError as error:
                one._failed(error)
            progress.advance(1, Path(one.pair.pickle).name)
    finally:
        progress.finish()
    return SyncResult(options.dry_run, sets)


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

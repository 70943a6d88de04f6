"""`sgdb import`: a folder that `sgdb export` has written into the database, each set whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, update

from sgdb.database.access import ready_engine
from sgdb.database.bots import add_bots
from sgdb.database.details import Beside, add_beside, add_times
from sgdb.database.histories import add_histories, recorded_games
from sgdb.database.intake import Intake
from sgdb.database.models import BenchmarkSet
from sgdb.database.provenance import (
    complete_source_file,
    is_registered,
    make_source_file,
    path_text,
    record_rejection,
    require_same_extras,
)
from sgdb.database.runs import IMPORT, AnyRun, DryRun, RealRun
from sgdb.errors import ConflictError, FileAccessError, InputRefusedError, NotFoundError, SgdbError
from sgdb.interchange.folder_trainings import FolderTraining
from sgdb.interchange.reading import ExportedFolder, FolderSet
from sgdb.interchange.tables import GAMES, HISTORIES, RESULTS
from sgdb.interchange.training_intake import take_training
from sgdb.progress import Progress, Silent
from sgdb.records import BotPerformance, IdRuns
from sgdb.settings import Settings
from sgdb.storage.checkpoint_files import checkpoint_files
from sgdb.storage.checkpoint_saving import Destination

_COUNTS = ("read", "inserted", "identical", "rejected")
_KINDS = ("games", "results", "histories")
_STATUSES = ("imported", "identical", "rejected")
_RECORDED = {"imported": "migrated", "identical": "identical"}  # as every file that was taken is recorded


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """Which folder to import; a dry run does everything but the commit."""

    folder: Path
    dry_run: bool = False


def _zeros() -> dict[str, int]:
    return dict.fromkeys(_COUNTS, 0)


@dataclass(slots=True)
class SetReport:
    """What became of one set. The sums add up: read = inserted + identical + rejected."""

    config: dict[str, int]
    base_seed: int
    num_games: int
    status: str = "rejected"
    benchmark_set_id: int | None = None
    games: dict[str, int] = field(default_factory=_zeros)
    results: dict[str, int] = field(default_factory=_zeros)
    histories: dict[str, int] = field(default_factory=_zeros)
    notes: list[str] = field(default_factory=list)
    error: str | None = None
    refusal: SgdbError | None = None

    def to_json(self) -> dict[str, Any]:
        """The set's entry in the command's JSON."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "refusal"}

    def counts(self) -> dict[str, dict[str, int]]:
        """The sums by kind of row."""
        return {kind: getattr(self, kind) for kind in _KINDS}

    def _refuse(self, error: SgdbError) -> None:
        self.status, self.refusal, self.error = "rejected", error, error.message
        self.benchmark_set_id = None
        self.notes = []
        for counts in self.counts().values():
            read = counts["read"]
            counts.update(_zeros() | {"read": read, "rejected": read})


@dataclass(slots=True)
class TrainingReport:
    """What became of one training session and its checkpoints; of these the sums add up."""

    uid: str
    name: str | None
    bot: str
    status: str = "rejected"
    checkpoints: dict[str, int] = field(default_factory=_zeros)
    error: str | None = None
    refusal: SgdbError | None = None

    def to_json(self) -> dict[str, Any]:
        """The training's entry in the command's JSON."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "refusal"}

    def _refuse(self, error: SgdbError) -> None:
        self.status, self.refusal, self.error = "rejected", error, error.message
        read = self.checkpoints["read"]
        self.checkpoints = _zeros() | {"read": read, "rejected": read}


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import did; `format` is that of the folder's files. `without_weights` says that there are
    trainings in it that cannot be imported, since their checkpoints' bytes were left out."""

    run_id: int | None
    dry_run: bool
    seconds: float
    folder: Path
    format: str
    sets: list[SetReport]
    trainings: list[TrainingReport]
    without_weights: bool
    interrupted: bool

    @property
    def totals(self) -> dict[str, dict[str, int]]:
        """Sums over all sets."""
        totals = {
            kind: {name: sum(report.counts()[kind][name] for report in self.sets) for name in _COUNTS}
            for kind in _KINDS
        }
        checkpoints = [report.checkpoints for report in self.trainings]
        totals["checkpoints"] = {name: sum(each[name] for each in checkpoints) for name in _COUNTS}
        statuses = {
            "sets": [report.status for report in self.sets],
            "trainings": [report.status for report in self.trainings],
        }
        return totals | {
            kind: {status: found.count(status) for status in _STATUSES} for kind, found in statuses.items()
        }

    @property
    def exit_code(self) -> int:
        """0 when all is in, 130 when interrupted; 1 when a set or training was rejected, or the code of its
        own error when the folder has no other."""
        if self.interrupted:
            return 130
        reports: list[SetReport | TrainingReport] = [*self.sets, *self.trainings]
        rejected = [report.refusal for report in reports if report.refusal is not None]
        if not rejected:
            return 0
        if len(reports) == 1 and not isinstance(rejected[0], ConflictError):
            return rejected[0].exit_code
        return 1

    def to_json(self) -> dict[str, Any]:
        """The command's JSON document."""
        return {
            "run_id": self.run_id,
            "dry_run": self.dry_run,
            "seconds": round(self.seconds, 3),
            "folder": str(self.folder),
            "format": self.format,
            "sets": [report.to_json() for report in self.sets],
            "trainings": [report.to_json() for report in self.trainings],
            "without_weights": self.without_weights,
            "interrupted": self.interrupted,
            "totals": self.totals,
        }


def import_folder(
    options: ImportOptions, settings: Settings, progress: Progress | None = None
) -> ImportResult:
    """Imports a folder's sets and trainings, one transaction each; a dry run does the same in one that is
    rolled back, and of trainings only looks at what is there.

    A set or training that is refused is reported and does not stop the others. KeyboardInterrupt ends the run
    after the current one has been rolled back and is reported as `interrupted`. Raises NotFoundError,
    FileAccessError, ExportedFolderError or ValueRefusedError where the folder as a whole cannot be imported,
    and EnvironmentFaultError or BusyError when the database cannot go on.
    """
    progress = progress or Silent()
    started = time.monotonic()
    folder = ExportedFolder(options.folder)
    reports: list[SetReport] = []
    trainings: list[TrainingReport] = []

    def on_wait() -> None:
        progress.notice("waiting for another command: one at work on the same benchmark set, or a dry run")

    run: AnyRun
    with ready_engine(settings, progress.notice) as engine:
        if options.dry_run:
            run = DryRun(
                engine, lock_timeout=settings.lock_timeout, on_wait=on_wait, on_retry=progress.notice
            )
        else:
            run = RealRun(
                engine,
                lock_timeout=settings.lock_timeout,
                options={"folder": path_text(options.folder)},
                on_wait=on_wait,
                on_retry=progress.notice,
                kind=IMPORT,
            )
        work = _Import(folder, run, progress, reports, dry_run=options.dry_run)
        interrupted = work.go(_Trainings(folder, run, settings, trainings, dry_run=options.dry_run))
    return ImportResult(
        run_id=run.committed_id,
        dry_run=options.dry_run,
        seconds=time.monotonic() - started,
        folder=options.folder,
        format=folder.manifest.format,
        sets=reports,
        trainings=trainings,
        without_weights=folder.trainings is None,
        interrupted=interrupted,
    )


class _Import:
    def __init__(
        self,
        folder: ExportedFolder,
        run: AnyRun,
        progress: Progress,
        reports: list[SetReport],
        *,
        dry_run: bool,
    ) -> None:
        self._folder = folder
        self._run = run
        self._progress = progress
        self._reports = reports
        self._dry_run = dry_run

    def go(self, trainings: _Trainings) -> bool:
        """Takes one set after the other, then the trainings; returns whether it was interrupted."""
        sets, progress = self._folder.sets, self._progress
        progress.start(sum(one.size for one in sets), "B")
        try:
            with self._run.whole():
                for one in sets:
                    report = _report(one)
                    self._set(one, report)
                    self._reports.append(report)
                trainings.go()
        except KeyboardInterrupt:
            return True
        except SgdbError:
            if self._reports and not self._dry_run:
                done = len(self._reports)
                progress.notice(f"{done} of {len(sets)} sets were done before; what they brought is kept")
            raise
        finally:
            progress.finish()
        return False

    def _set(self, one: FolderSet, report: SetReport) -> None:
        label = str(one.entry)

        def take(connection: Connection) -> None:
            self._run.lock(connection, one.contents)
            _Taking(connection, self._run, self._folder, one, report).go()

        try:
            # A refusal is to come before the set's lock is held.
            one.read(lambda count: self._progress.advance(count, label))
            self._run.attempt(take)
        except (InputRefusedError, FileAccessError, NotFoundError) as error:
            self._refuse(one, report, error)

    def _refuse(self, one: FolderSet, report: SetReport, error: SgdbError) -> None:
        """Reports a refusal, and writes it down once."""
        run = self._run
        report._refuse(error)

        def record(connection: Connection) -> None:
            record_rejection(
                connection,
                run.ids,
                lambda: run.id(connection),
                self._folder.manifest_path,
                self._folder.sha256,
                f"{one.entry}: {error.message}",
                report.counts(),
            )

        run.attempt(record)


class _Trainings:
    """The folder's trainings, one transaction each."""

    def __init__(
        self,
        folder: ExportedFolder,
        run: AnyRun,
        settings: Settings,
        reports: list[TrainingReport],
        *,
        dry_run: bool,
    ) -> None:
        self._folder = folder
        self._run = run
        self._settings = settings
        self._reports = reports
        self._dry_run = dry_run

    def go(self) -> None:
        """Takes one after the other."""
        for training in self._folder.trainings or ():
            report = TrainingReport(str(training.uid), training.name, training.bot)
            report.checkpoints["read"] = len(training.checkpoints)
            try:
                self._run.attempt(partial(self._take, training, report))
            except (InputRefusedError, FileAccessError, NotFoundError) as error:
                report._refuse(error)
                self._run.attempt(partial(self._record, training, report))
            self._reports.append(report)

    def _take(self, training: FolderTraining, report: TrainingReport, connection: Connection) -> None:
        folder, run, settings = self._folder, self._run, self._settings
        source: list[int] = []

        def make_source() -> int:
            if not source:
                source.append(_make_source(connection, run, folder))
            return source[0]

        known = {name: folder.bots[name] for name in training.bots if name in folder.bots}
        add_bots(connection, run.ids, known, make_source)
        to = Destination(
            connection,
            checkpoint_files(settings, connection),
            settings.checkpoint_limit,
            settings.lock_timeout,
        )
        taken = take_training(to, training, folder.weights, make_source, dry_run=self._dry_run)
        report.status = "imported" if source else "identical"
        report.checkpoints.update(inserted=taken.inserted, identical=taken.identical)
        if source:
            complete_source_file(
                connection,
                source[0],
                status=_RECORDED[report.status],
                contents={"kind": "training", "uid": report.uid},
                counts={"checkpoints": report.checkpoints},
            )

    def _record(self, training: FolderTraining, report: TrainingReport, connection: Connection) -> None:
        """Writes a refusal down, once."""
        record_rejection(
            connection,
            self._run.ids,
            lambda: self._run.id(connection),
            self._folder.manifest_path,
            self._folder.sha256,
            f"{training}: {report.error}",
            {"checkpoints": report.checkpoints},
        )


def _make_source(connection: Connection, run: AnyRun, folder: ExportedFolder) -> int:
    return make_source_file(
        connection,
        run.ids,
        run.id(connection),
        folder.manifest_path,
        sha256=folder.sha256,
        size_bytes=folder.size,
    )


class _Taking:
    """One set on its way in, inside its transaction."""

    def __init__(
        self, connection: Connection, run: AnyRun, folder: ExportedFolder, one: FolderSet, report: SetReport
    ) -> None:
        self._connection = connection
        self._run = run
        self._folder = folder
        self._one = one
        self._report = report
        self._source: int | None = None
        self._brought: dict[str, IdRuns] = {}

    def go(self) -> None:
        """Takes all of it, or raises what refuses it."""
        connection, run, one, contents = self._connection, self._run, self._one, self._one.contents
        known = self._folder.bots
        add_bots(
            connection,
            run.ids,
            {key: known[key] for key, _ in contents.results if key in known},
            self._make_source,
        )
        intake = Intake(connection, run.ids, contents, self._make_source)
        intake.open()
        if not intake.is_new:
            require_same_extras(connection, intake.set_id, contents)
        self._name(intake)
        intake.add_games(one.games(), one.rows_of(GAMES), intake.games)
        intake.add_results(self._results(), one.rows_of(RESULTS))
        if one.has_times:
            for part in one.results():
                add_times(connection, intake.set_id, part.bot, part.times, self._source)
        self._moves(intake.set_id)
        self._account(intake)

    def _make_source(self) -> int:
        if self._source is None:
            self._source = _make_source(self._connection, self._run, self._folder)
        return self._source

    def _name(self, intake: Intake) -> None:
        """A new set is called what it was called where it comes from."""
        if intake.is_new and self._one.name is not None:
            self._connection.execute(
                update(BenchmarkSet)
                .where(BenchmarkSet.id == intake.set_id)
                .values(name=self._one.name, description=self._one.description)
            )

    def _results(self) -> Iterator[tuple[str, list[BotPerformance]]]:
        for part in self._one.results():
            yield part.bot, part.rows

    def _moves(self, set_id: int) -> None:
        there: dict[str, set[int]] = {}
        for bot, rows in self._one.moves():
            stored = there.setdefault(bot, set(recorded_games(self._connection, set_id, bot)))
            new = {row.game_id for row in rows} - stored
            if new:
                self._make_source()
            moves = {row.game_id: row.moves for row in rows}
            add_histories(self._connection, set_id, bot, moves, keys_from=self._run.ids)
            if self._one.has_reasons:
                beside = {row.game_id: Beside(*row[2:]) for row in rows if row[2:] != (None, None)}
                add_beside(self._connection, set_id, bot, beside, new)
            runs = self._brought.setdefault(bot, IdRuns())
            for index in sorted(new):
                runs.append(index)

    def _account(self, intake: Intake) -> None:
        """Fills the report in, and completes what is on record of the set."""
        one, report = self._one, self._report
        report.games.update(inserted=intake.games.inserted, identical=intake.games.identical)
        report.results.update(inserted=intake.results.inserted, identical=intake.results.identical)
        moved = sum(map(len, self._brought.values()))
        report.histories.update(inserted=moved, identical=report.histories["read"] - moved)
        wrote = self._source is not None or intake.wrote
        report.status = "imported" if wrote else "identical"
        # A dry run's keys are negative, and gone when it is over.
        report.benchmark_set_id = intake.set_id if intake.set_id > 0 else None
        report.notes = one.notes
        if not wrote and is_registered(
            self._connection, self._folder.sha256, intake.set_id, with_archive=False
        ):
            return
        counts: dict[str, Any] = report.counts()
        brought = [[bot, runs.pairs()] for bot, runs in self._brought.items()]
        counts["histories"] = {**report.histories, "brought": brought}
        if intake.extended_from is not None:
            counts["extended"] = {"benchmark_set_id": intake.set_id, "num_games_before": intake.extended_from}
        complete_source_file(
            self._connection,
            self._make_source(),
            status=_RECORDED[report.status],
            benchmark_set_id=intake.set_id,
            contents=one.contents.to_json(),
            counts=counts,
            notes=report.notes,
        )


def _report(one: FolderSet) -> SetReport:
    entry = one.entry
    config = {name: getattr(entry.config, name) for name in ("num_rows", "num_cols", "num_colors")}
    report = SetReport(config, entry.base_seed, entry.num_games)
    for kind, table in zip(_KINDS, (GAMES, RESULTS, HISTORIES), strict=True):
        report.counts()[kind]["read"] = one.rows_of(table)
    return report

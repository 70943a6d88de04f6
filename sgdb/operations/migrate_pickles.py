"""`sgdb migrate-pickles`: legacy pickles into the database, each file whole or not at all."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection

from sgdb.database.access import ready_engine
from sgdb.database.archives import Spool, store_archive
from sgdb.database.intake import Intake
from sgdb.database.provenance import (
    CHECKPOINT,
    WEIGHTS,
    complete_source_file,
    is_registered,
    make_source_file,
    path_text,
    record_rejection,
    require_same_extras,
)
from sgdb.database.runs import AnyRun, DryRun, RealRun
from sgdb.errors import (
    ConfigError,
    ConflictError,
    DamagedPickleError,
    FileAccessError,
    InputRefusedError,
    NotFoundError,
    SgdbError,
)
from sgdb.pickles.checkpoints import CheckpointFile, find_weights, is_checkpoint, require_weights_folders
from sgdb.pickles.files import FileSource
from sgdb.pickles.inert import shown
from sgdb.pickles.legacy import LegacyFile, Parts
from sgdb.pickles.selection import Selection, reading_work, select_files
from sgdb.progress import Progress, Silent
from sgdb.records import GameConfig
from sgdb.settings import Settings
from sgdb.storage.checkpoint_files import checkpoint_files
from sgdb.storage.checkpoint_intake import CheckpointIntake, ImaginaryFiles
from sgdb.storage.checkpoint_saving import Destination
from sgdb.storage.contents import Contents

_GAME_COUNTS = ("read", "inserted", "identical", "rejected", "regenerated")
_RESULT_COUNTS = ("read", "inserted", "identical", "rejected")
_CHECKPOINT_COUNTS = ("read", "inserted", "identical", "rejected")
_WEIGHTS = (".pth", ".pt")
_STATUSES = ("migrated", "identical", "rejected")


@dataclass(frozen=True, slots=True)
class MigratePicklesOptions:
    """What to migrate and how. Without paths the configured pickle folder is taken. The weights of a
    checkpoint are looked for beside its pickle, and then in `weights_dirs`."""

    paths: tuple[Path, ...] = ()
    dry_run: bool = False
    recursive: bool = False
    only: str | None = None
    set_base_seed: int | None = None
    fail_fast: bool = False
    archive: bool = True
    weights_dirs: tuple[Path, ...] = ()


@dataclass(slots=True)
class FileReport:
    """What became of one file, of `kind` "benchmark" or "checkpoint". The sums add up: read = inserted +
    identical + rejected."""

    path: Path
    kind: str = "benchmark"
    status: str = "rejected"
    sha256: str | None = None
    benchmark_set_id: int | None = None
    config: dict[str, int] | None = None
    base_seed: int | None = None
    num_games: int | None = None
    games: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_GAME_COUNTS, 0))
    results: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_RESULT_COUNTS, 0))
    training_session_id: int | None = None
    checkpoints: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_CHECKPOINT_COUNTS, 0))
    notes: list[str] = field(default_factory=list)
    error: str | None = None
    refusal: SgdbError | None = None

    def to_json(self) -> dict[str, Any]:
        """The file's entry in the command's JSON."""
        entry = {
            "path": str(self.path),
            "sha256": self.sha256,
            "status": self.status,
            "benchmark_set_id": self.benchmark_set_id,
            "config": self.config,
            "base_seed": self.base_seed,
            "num_games": self.num_games,
            "games": self.games,
            "results": self.results,
            "notes": self.notes,
            "error": self.error,
        }
        if self.kind == "benchmark":
            return entry
        return entry | {
            "kind": self.kind,
            "training_session_id": self.training_session_id,
            "checkpoints": self.checkpoints,
        }

    def _set_config(self, config: GameConfig) -> None:
        self.config = {name: getattr(config, name) for name in ("num_rows", "num_cols", "num_colors")}

    def _refuse(self, error: SgdbError) -> None:
        self.status = "rejected"
        self.refusal = error
        self.error = f"{self.path.name}: {error.message}"
        self.benchmark_set_id = self.training_session_id = None
        self.notes = []
        for counts in (self.games, self.results, self.checkpoints):
            read = counts["read"]
            counts.update(dict.fromkeys(counts, 0))
            counts["read"] = counts["rejected"] = read


@dataclass(frozen=True, slots=True)
class MigratePicklesResult:
    """What a run did."""

    run_id: int | None
    dry_run: bool
    seconds: float
    files: list[FileReport]
    selection: Selection
    interrupted: bool

    @property
    def totals(self) -> dict[str, dict[str, int]]:
        """Sums over all files."""
        reports = self.files
        return {
            "games": {name: sum(report.games[name] for report in reports) for name in _GAME_COUNTS},
            "results": {name: sum(report.results[name] for report in reports) for name in _RESULT_COUNTS},
            "checkpoints": {
                name: sum(report.checkpoints[name] for report in reports) for name in _CHECKPOINT_COUNTS
            },
            "files": {status: sum(report.status == status for report in reports) for status in _STATUSES},
        }

    @property
    def exit_code(self) -> int:
        """0 when all is in, 130 when interrupted; 1 when a file was rejected, or the code of its own error
        when that file was the one thing asked for."""
        if self.interrupted:
            return 130
        rejected = [report.refusal for report in self.files if report.refusal is not None]
        if not rejected:
            return 0
        if self.selection.single and not isinstance(rejected[0], ConflictError):
            return rejected[0].exit_code
        return 1

    def to_json(self) -> dict[str, Any]:
        """The command's JSON document."""
        return {
            "run_id": self.run_id,
            "dry_run": self.dry_run,
            "seconds": round(self.seconds, 3),
            "files": [report.to_json() for report in self.files],
            "skipped": self.selection.to_json(),
            "interrupted": self.interrupted,
            "totals": self.totals,
        }


def migrate_pickles(
    options: MigratePicklesOptions, settings: Settings, progress: Progress | None = None
) -> MigratePicklesResult:
    """Migrates files, one transaction each; a dry run does the same in one transaction that is rolled back.

    A file that is refused is reported and does not stop the others. KeyboardInterrupt ends the run after
    the current file has been rolled back and is reported as `interrupted`. Raises UsageError for paths
    or folders that do not exist, and EnvironmentFaultError or BusyError when the database cannot go on.
    """
    progress = progress or Silent()
    started = time.monotonic()
    paths = _paths(options, settings, progress)
    selection = select_files(paths, recursive=options.recursive, only=options.only)
    require_weights_folders(options.weights_dirs)

    def on_wait() -> None:
        progress.notice("waiting for another command: one at work on the same data, or a dry run")

    run: AnyRun
    with ready_engine(settings, progress.notice) as engine:
        if options.dry_run:
            run = DryRun(
                engine, lock_timeout=settings.lock_timeout, on_wait=on_wait, on_retry=progress.notice
            )
        else:
            recorded = {
                "paths": [path_text(path) for path in paths],
                "set_base_seed": options.set_base_seed,
                "archive": options.archive,
            }
            if options.weights_dirs:
                recorded["weights_dirs"] = [path_text(path) for path in options.weights_dirs]
            run = RealRun(
                engine,
                lock_timeout=settings.lock_timeout,
                options=recorded,
                on_wait=on_wait,
                on_retry=progress.notice,
            )
        migration = _Migration(options, settings, run, progress)
        interrupted = migration.go(selection)
    return MigratePicklesResult(
        run_id=run.committed_id,
        dry_run=options.dry_run,
        seconds=time.monotonic() - started,
        files=sorted(migration.reports, key=lambda report: report.path),
        selection=selection.without(migration.carried),
        interrupted=interrupted,
    )


def _paths(options: MigratePicklesOptions, settings: Settings, progress: Progress) -> tuple[Path, ...]:
    if options.paths:
        return options.paths
    if settings.pickle_dir is None:
        raise ConfigError(
            "no files were named, and no pickle folder is configured",
            hint="name files or folders, or set SGDB_PICKLE_DIR: sgdb migrate-pickles PATH",
        )
    progress.notice(f"no path given: taking the configured pickle folder {settings.pickle_dir}")
    return (settings.pickle_dir,)


@dataclass(frozen=True, slots=True)
class _Taken:
    """What a file comes to: where the rows of its `source` go, and what is written down about it."""

    source: Callable[[], int]
    wrote: bool
    set_id: int | None
    contents: dict[str, Any]
    counts: dict[str, Any]


class _Taker(Protocol):
    """Takes one file of one kind."""

    sha256: str
    size: int

    def read(self, source: FileSource, copy: Spool | None, on_bytes: Callable[[int], None]) -> None:
        """Reads the file once, outside of any transaction, and describes it in the report."""

    def lock(self, connection: Connection) -> None:
        """Keeps other writers out of where the file goes."""

    def take(
        self, connection: Connection, make_source: Callable[[], int], on_bytes: Callable[[int], None]
    ) -> _Taken:
        """Its rows, and what became of them into the report."""


class _BenchmarkTaker:
    """A benchmark: games and results into their set."""

    kind = "benchmark"

    def __init__(self, migration: _Migration, report: FileReport) -> None:
        self._run = migration.run
        self._base_seed = migration.options.set_base_seed
        self._report = report
        self._file: LegacyFile

    def read(self, source: FileSource, copy: Spool | None, on_bytes: Callable[[int], None]) -> None:
        file = LegacyFile.read(source, base_seed=self._base_seed, copy=copy, on_bytes=on_bytes)
        self._file, self.sha256, self.size = file, file.sha256, file.size
        report, contents = self._report, file.contents
        report.sha256 = file.sha256
        report._set_config(contents.config)
        report.base_seed, report.num_games = contents.base_seed, contents.num_games
        report.games["read"], report.results["read"] = len(contents.games), contents.result_count
        if len(file.missing):
            # A refusal is to come before the work of making boards, and without holding the set's lock.
            for _ in file.rows():
                pass

    def lock(self, connection: Connection) -> None:
        self._run.lock(connection, self._file.contents)

    def take(
        self, connection: Connection, make_source: Callable[[], int], on_bytes: Callable[[int], None]
    ) -> _Taken:
        file, contents = self._file, self._file.contents
        intake = Intake(connection, self._run.ids, contents, make_source)
        intake.open()
        if not intake.is_new:
            require_same_extras(connection, intake.set_id, contents)
        parts = Parts(file.rows(on_bytes))
        intake.add_games(parts.games(), len(contents.games.distinct()), intake.games)
        if len(file.missing):
            intake.add_games(file.regenerated_batches(), len(file.missing), intake.regenerated)
        intake.add_results(parts.results(), sum(len(runs.distinct()) for _, runs in contents.results))
        self._count(intake)
        return _Taken(
            lambda: intake.source,
            intake.wrote,
            intake.set_id,
            contents.to_json(),
            _counts(self._report, intake),
        )

    def _count(self, intake: Intake) -> None:
        report, contents = self._report, self._file.contents
        report.games["inserted"] = intake.games.inserted
        # A row that stands twice in the file with the same values is stored once.
        repeated = len(contents.games) - len(contents.games.distinct())
        report.games["identical"] = intake.games.identical + repeated
        report.games["regenerated"] = intake.regenerated.inserted
        repeated = sum(len(runs) - len(runs.distinct()) for _, runs in contents.results)
        report.results["inserted"] = intake.results.inserted
        report.results["identical"] = intake.results.identical + repeated
        report.status = "migrated" if intake.wrote else "identical"
        # A dry run's keys are negative, and gone when it is over.
        report.benchmark_set_id = intake.set_id if intake.set_id > 0 else None
        report.notes = self._file.notes


class _CheckpointTaker:
    """A checkpoint: its session, its values and its weights."""

    kind = "checkpoint"

    def __init__(self, migration: _Migration, report: FileReport) -> None:
        self._migration = migration
        self._run = migration.run
        self._report = report
        self._weights: Contents | None = None
        self._notes: list[str] = []
        self._file: CheckpointFile

    def read(self, source: FileSource, copy: Spool | None, on_bytes: Callable[[int], None]) -> None:
        file = CheckpointFile.read(source, copy=copy, on_bytes=on_bytes)
        self._file, self.sha256, self.size = file, file.sha256, file.size
        self._report.sha256 = file.sha256
        self._report.checkpoints["read"] = 1
        if file.checkpoint.config is not None:
            self._report._set_config(file.checkpoint.config)
        self._read_weights(source.path.parent)

    def _read_weights(self, beside: Path) -> None:
        """Looks for the weights, and reads them once for their hash."""
        name = self._file.checkpoint.weights_name
        if name is None:
            self._notes.append("it names no weights")
            return
        path = find_weights(name, (beside, *self._migration.options.weights_dirs))
        if path is None:
            self._notes.append(
                f"its weights {shown(name)} were not found beside it or in a folder given with --weights-dir"
            )
            return
        self._migration.carried.add(os.path.realpath(path))
        self._weights = Contents.given(path, f"weights {shown(path.name)}")

    def lock(self, connection: Connection) -> None:
        self._run.lock_experiment(connection, self._file.checkpoint.experiment)

    def take(
        self,
        connection: Connection,
        make_source: Callable[[], int],
        on_bytes: Callable[[int], None],  # noqa: ARG002 - all of it has been read
    ) -> _Taken:
        settings, checkpoint = self._migration.settings, self._file.checkpoint
        files = checkpoint_files(settings, connection)
        if self._migration.options.dry_run:
            files = ImaginaryFiles(files.folder)
        to = Destination(connection, files, settings.checkpoint_limit, settings.lock_timeout)
        intake = CheckpointIntake(to, self._run.ids, self._file, self._weights, make_source)
        intake.take()
        if intake.brought_weights:
            self._record_weights(connection, intake.source)
        report = self._report
        report.checkpoints["inserted"] = int(intake.inserted)
        report.checkpoints["identical"] = int(not intake.inserted)
        report.status = "migrated" if intake.wrote else "identical"
        report.training_session_id = intake.session_id if intake.session_id > 0 else None
        report.notes = [*self._file.notes, *self._notes, *intake.notes]
        contents = {
            "kind": CHECKPOINT,
            "experiment_name": checkpoint.experiment,
            "epoch": checkpoint.epoch,
        }
        counts: dict[str, Any] = {"checkpoints": report.checkpoints}
        if intake.weights_added is not None:
            counts["weights_added"] = intake.weights_added
        return _Taken(lambda: intake.source, intake.wrote, None, contents, counts)

    def _record_weights(self, connection: Connection, source_id: int) -> None:
        """A row for the file of the weights."""
        weights = self._weights
        assert weights is not None
        assert weights.path is not None
        row_id = make_source_file(
            connection,
            self._run.ids,
            self._run.id(connection),
            weights.path,
            sha256=weights.sha256,
            size_bytes=weights.size_bytes,
        )
        complete_source_file(connection, row_id, contents={"kind": WEIGHTS, "of": source_id})


# Who takes files of which kind.
_TAKERS: Mapping[str, type[_BenchmarkTaker | _CheckpointTaker]] = {
    _BenchmarkTaker.kind: _BenchmarkTaker,
    _CheckpointTaker.kind: _CheckpointTaker,
}


class _Migration:
    def __init__(
        self, options: MigratePicklesOptions, settings: Settings, run: AnyRun, progress: Progress
    ) -> None:
        self.options = options
        self.settings = settings
        self.run = run
        self.carried: set[str] = set()  # real paths of weights that a checkpoint has named
        self._progress = progress
        self._done: list[FileReport] = []
        self._refused: list[FileReport] = []

    @property
    def reports(self) -> list[FileReport]:
        """All files. Weights that were named themselves are no pickles, and need be none."""
        named = [report for report in self._refused if os.path.realpath(report.path) not in self.carried]
        return [*named, *self._done]

    def go(self, selection: Selection) -> bool:
        """Takes one file after the other; returns whether it was interrupted."""
        options, progress, files = self.options, self._progress, selection.files
        for path, error in selection.refused:
            report = FileReport(path)
            report._refuse(error)
            self._refused.append(report)
        if options.fail_fast and any(report.path.suffix not in _WEIGHTS for report in self._refused):
            return False
        progress.start(sum(map(reading_work, files)), "B")
        try:
            with self.run.whole():
                for path in files:
                    report = FileReport(path)
                    self._file(report)
                    self._done.append(report)
                    if options.fail_fast and report.status == "rejected":
                        break
        except KeyboardInterrupt:
            return True
        except SgdbError:
            if self._done and not options.dry_run:
                done = len(self._done)
                progress.notice(f"{done} of {len(files)} files were done before; what they brought is kept")
            raise
        finally:
            progress.finish()
        return False

    def _file(self, report: FileReport) -> None:
        path, spool, work = report.path, Spool(), _Work(self._progress, report.path)

        def take(connection: Connection) -> None:
            work.again_from(first_reading)
            taker.lock(connection)
            self._take(connection, taker, spool, report, work.did)

        try:
            source = FileSource(path)
            taker = self._taker(source, report)
            taker.read(source, spool if self.options.archive else None, work.did)
            first_reading = work.done
            self.run.attempt(take)
        except (InputRefusedError, FileAccessError, NotFoundError) as error:
            self._refuse(report, error)
        except Exception as error:
            # Rows that contradict what the first reading has announced: a bug, unless the file is another
            # one by now.
            if isinstance(error, SgdbError) or not _has_changed(path, report.sha256):
                raise
            self._refuse(report, DamagedPickleError("the file changed while it was read"))
        finally:
            spool.close()
        work.finish()

    def _taker(self, source: FileSource, report: FileReport) -> _Taker:
        """The taker of the file's kind, which its content decides."""
        report.kind = "checkpoint" if is_checkpoint(source) else "benchmark"
        return _TAKERS[report.kind](self, report)

    def _take(
        self,
        connection: Connection,
        taker: _Taker,
        spool: Spool,
        report: FileReport,
        on_bytes: Callable[[int], None],
    ) -> None:
        """One file's rows, original and bookkeeping, inside its transaction."""
        run, archive = self.run, self.options.archive

        def make_source() -> int:
            return make_source_file(
                connection,
                run.ids,
                run.id(connection),
                report.path,
                sha256=taker.sha256,
                size_bytes=taker.size,
            )

        taken = taker.take(connection, make_source, on_bytes)
        if taken.wrote or not is_registered(connection, taker.sha256, taken.set_id, with_archive=archive):
            archive_id = (
                store_archive(connection, run.ids, spool, taker.sha256, taker.size) if archive else None
            )
            complete_source_file(
                connection,
                taken.source(),
                status=report.status,
                benchmark_set_id=taken.set_id,
                archive_id=archive_id,
                contents=taken.contents,
                counts=taken.counts,
                notes=report.notes,
            )

    def _refuse(self, report: FileReport, error: SgdbError) -> None:
        """Reports a refusal, and writes it down once."""
        run = self.run
        report._refuse(error)
        said = report.error
        assert said is not None
        counts = {"games": report.games, "results": report.results}
        if report.kind == _CheckpointTaker.kind:
            counts = {"checkpoints": report.checkpoints}

        def record(connection: Connection) -> None:
            record_rejection(
                connection,
                run.ids,
                lambda: run.id(connection),
                report.path,
                report.sha256,
                said,
                counts,
            )

        run.attempt(record)


def _counts(report: FileReport, intake: Intake) -> dict[str, Any]:
    """The sums, and what the set declared before where the file has raised that."""
    counts: dict[str, Any] = {"games": report.games, "results": report.results}
    if intake.extended_from is not None:
        counts["extended"] = {"benchmark_set_id": intake.set_id, "num_games_before": intake.extended_from}
    return counts


class _Work:
    """How much of the reading of one file is done; what is done a second time is not reported again."""

    def __init__(self, progress: Progress, path: Path) -> None:
        self._progress = progress
        self._path = path
        self._reported = 0
        self.done = 0  # bytes

    def did(self, count: int) -> None:
        """So many bytes more have been read."""
        self.done += count
        fresh = self.done - self._reported
        if fresh > 0:
            self._reported = self.done
            self._progress.advance(fresh, self._path.name)

    def again_from(self, done: int) -> None:
        """What came after the first `done` bytes is done again."""
        self.done = done

    def finish(self) -> None:
        """Nothing more is read of this file, refused or not."""
        self._progress.advance(max(reading_work(self._path) - self._reported, 0), self._path.name)


def _has_changed(path: Path, sha256: str | None) -> bool:
    """Whether a file that was read has other bytes by now."""
    if sha256 is None:
        return False
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() != sha256
    except OSError:
        return True

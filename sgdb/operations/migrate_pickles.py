"""`sgdb migrate-pickles`: legacy pickles into the database, each file whole or not at all."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from sgdb.database.access import ready_engine
from sgdb.database.archives import Spool, store_archive
from sgdb.database.intake import Intake
from sgdb.database.provenance import (
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
from sgdb.pickles.files import FileSource
from sgdb.pickles.legacy import LegacyFile, Parts
from sgdb.pickles.selection import Selection, reading_work, select_files
from sgdb.progress import Progress, Silent
from sgdb.settings import Settings

_GAME_COUNTS = ("read", "inserted", "identical", "rejected", "regenerated")
_RESULT_COUNTS = ("read", "inserted", "identical", "rejected")
_STATUSES = ("migrated", "identical", "rejected")


@dataclass(frozen=True, slots=True)
class MigratePicklesOptions:
    """What to migrate and how. Without paths the configured pickle folder is taken."""

    paths: tuple[Path, ...] = ()
    dry_run: bool = False
    recursive: bool = False
    only: str | None = None
    set_base_seed: int | None = None
    fail_fast: bool = False
    archive: bool = True


@dataclass(slots=True)
class FileReport:
    """What became of one file. The sums add up: read = inserted + identical + rejected."""

    path: Path
    status: str = "rejected"
    sha256: str | None = None
    benchmark_set_id: int | None = None
    config: dict[str, int] | None = None
    base_seed: int | None = None
    num_games: int | None = None
    games: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_GAME_COUNTS, 0))
    results: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_RESULT_COUNTS, 0))
    notes: list[str] = field(default_factory=list)
    error: str | None = None
    refusal: SgdbError | None = None

    def to_json(self) -> dict[str, Any]:
        """The file's entry in the command's JSON."""
        return {
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

    def _describe(self, file: LegacyFile) -> None:
        contents = file.contents
        self.sha256 = file.sha256
        self.config = {
            "num_rows": contents.config.num_rows,
            "num_cols": contents.config.num_cols,
            "num_colors": contents.config.num_colors,
        }
        self.base_seed = contents.base_seed
        self.num_games = contents.num_games
        self.games["read"] = len(contents.games)
        self.results["read"] = contents.result_count

    def _count(self, file: LegacyFile, intake: Intake) -> None:
        contents = file.contents
        self.games["inserted"] = intake.games.inserted
        # A row that stands twice in the file with the same values is stored once.
        repeated = len(contents.games) - len(contents.games.distinct())
        self.games["identical"] = intake.games.identical + repeated
        self.games["regenerated"] = intake.regenerated.inserted
        repeated = sum(len(runs) - len(runs.distinct()) for _, runs in contents.results)
        self.results["inserted"] = intake.results.inserted
        self.results["identical"] = intake.results.identical + repeated
        self.status = "migrated" if intake.wrote else "identical"
        # A dry run's keys are negative, and gone when it is over.
        self.benchmark_set_id = intake.set_id if intake.set_id > 0 else None
        self.notes = file.notes

    def _refuse(self, error: SgdbError) -> None:
        self.status = "rejected"
        self.refusal = error
        self.error = f"{self.path.name}: {error.message}"
        self.benchmark_set_id = None
        self.notes = []
        for counts in (self.games, self.results):
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
    that do not exist, and EnvironmentFaultError or BusyError when the database cannot go on.
    """
    progress = progress or Silent()
    started = time.monotonic()
    paths = _paths(options, settings, progress)
    selection = select_files(paths, recursive=options.recursive, only=options.only)
    reports = []
    for path, error in selection.refused:
        reports.append(report := FileReport(path))
        report._refuse(error)

    def on_wait() -> None:
        progress.notice("waiting for another command: one at work on the same benchmark set, or a dry run")

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
            run = RealRun(
                engine,
                lock_timeout=settings.lock_timeout,
                options=recorded,
                on_wait=on_wait,
                on_retry=progress.notice,
            )
        interrupted = _Migration(options, run, progress, reports).go(selection.files)
    return MigratePicklesResult(
        run_id=run.committed_id,
        dry_run=options.dry_run,
        seconds=time.monotonic() - started,
        files=sorted(reports, key=lambda report: report.path),
        selection=selection,
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


class _Migration:
    def __init__(
        self, options: MigratePicklesOptions, run: AnyRun, progress: Progress, reports: list[FileReport]
    ) -> None:
        self._options = options
        self._run = run
        self._progress = progress
        self._reports = reports

    def go(self, files: list[Path]) -> bool:
        """Takes one file after the other; returns whether it was interrupted."""
        options, progress = self._options, self._progress
        if options.fail_fast and self._reports:
            return False
        done = 0
        progress.start(sum(map(reading_work, files)), "B")
        try:
            with self._run.whole():
                for path in files:
                    report = FileReport(path)
                    self._file(report)
                    self._reports.append(report)
                    done += 1
                    if options.fail_fast and report.status == "rejected":
                        break
        except KeyboardInterrupt:
            return True
        except SgdbError:
            if done and not options.dry_run:
                progress.notice(f"{done} of {len(files)} files were done before; what they brought is kept")
            raise
        finally:
            progress.finish()
        return False

    def _file(self, report: FileReport) -> None:
        path, spool, work = report.path, Spool(), _Work(self._progress, report.path)

        def take(connection: Connection) -> None:
            work.again_from(first_reading)
            self._run.lock(connection, file.contents)
            self._take(connection, file, spool, report, work.did)

        try:
            file = LegacyFile.read(
                FileSource(path),
                base_seed=self._options.set_base_seed,
                copy=spool if self._options.archive else None,
                on_bytes=work.did,
            )
            first_reading = work.done
            report._describe(file)
            if len(file.missing):
                # A refusal is to come before the work of making boards, and without holding the set's lock.
                for _ in file.rows():
                    pass
            self._run.attempt(take)
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

    def _take(
        self,
        connection: Connection,
        file: LegacyFile,
        spool: Spool,
        report: FileReport,
        on_bytes: Callable[[int], None],
    ) -> None:
        """One file's rows, original and bookkeeping, inside its transaction."""
        run, archive, contents = self._run, self._options.archive, file.contents

        def make_source() -> int:
            return make_source_file(
                connection,
                run.ids,
                run.id(connection),
                report.path,
                sha256=file.sha256,
                size_bytes=file.size,
            )

        intake = Intake(connection, run.ids, contents, make_source)
        intake.open()
        if not intake.is_new:
            require_same_extras(connection, intake.set_id, contents)
        parts = Parts(file.rows(on_bytes))
        intake.add_games(parts.games(), len(contents.games.distinct()), intake.games)
        if len(file.missing):
            intake.add_games(file.regenerated_batches(), len(file.missing), intake.regenerated)
        intake.add_results(parts.results(), sum(len(runs.distinct()) for _, runs in contents.results))
        report._count(file, intake)
        if intake.wrote or not is_registered(connection, file.sha256, intake.set_id, with_archive=archive):
            archive_id = (
                store_archive(connection, run.ids, spool, file.sha256, file.size) if archive else None
            )
            complete_source_file(
                connection,
                intake.source,
                status=report.status,
                benchmark_set_id=intake.set_id,
                archive_id=archive_id,
                contents=contents.to_json(),
                counts=_counts(report, intake),
                notes=report.notes,
            )

    def _refuse(self, report: FileReport, error: SgdbError) -> None:
        """Reports a refusal, and writes it down once."""
        run = self._run
        report._refuse(error)
        said = report.error
        assert said is not None

        def record(connection: Connection) -> None:
            record_rejection(
                connection,
                run.ids,
                lambda: run.id(connection),
                report.path,
                report.sha256,
                said,
                {"games": report.games, "results": report.results},
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

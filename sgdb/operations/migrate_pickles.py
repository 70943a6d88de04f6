"""`sgdb migrate-pickles`: legacy pickles into the database, each file whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine

from sgdb.database.access import ready_engine
from sgdb.database.archives import Spool, store_archive
from sgdb.database.engine import transaction
from sgdb.database.ids import DryRunIds, IdSource, SequenceIds
from sgdb.database.intake import Intake
from sgdb.database.provenance import (
    complete_source_file,
    finish_run,
    is_registered,
    is_rejection_recorded,
    make_run,
    make_source_file,
)
from sgdb.errors import (
    ConfigError,
    ConflictError,
    FileAccessError,
    InputRefusedError,
    NotAPickleError,
    SgdbError,
)
from sgdb.pickles.files import FileSource, find_files, what_it_is
from sgdb.pickles.legacy import Games, LegacyFile, Results
from sgdb.progress import Progress, Silent
from sgdb.records import BotPerformance, GameSnapshot
from sgdb.settings import Settings

KIND = "migrate-pickles"


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
    games: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("read", "inserted", "identical", "rejected", "regenerated"), 0)
    )
    results: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("read", "inserted", "identical", "rejected"), 0)
    )
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

    def _refuse(self, error: SgdbError) -> None:
        self.status = "rejected"
        self.refusal = error
        self.error = f"{self.path.name}: {error.message}"
        self.benchmark_set_id = None
        for counts in (self.games, self.results):
            read = counts["read"]
            counts.update(dict.fromkeys(counts, 0))
            counts["read"] = counts["rejected"] = read


@dataclass(frozen=True, slots=True)
class MigratePicklesResult:
    """What a run did. `skipped` are files that are no pickles, with the reason."""

    run_id: int | None
    dry_run: bool
    seconds: float
    files: list[FileReport]
    skipped: list[tuple[Path, str]]
    interrupted: bool
    single_file: bool

    @property
    def totals(self) -> dict[str, dict[str, int]]:
        """Sums over all files."""
        sums: dict[str, dict[str, int]] = {
            kind: {
                name: sum(getattr(report, kind)[name] for report in self.files)
                for name in getattr(FileReport(Path()), kind)
            }
            for kind in ("games", "results")
        }
        statuses = ("migrated", "identical", "rejected")
        sums["files"] = {status: sum(report.status == status for report in self.files) for status in statuses}
        return sums

    @property
    def exit_code(self) -> int:
        """0 when all is in, 130 when interrupted; 1 when a file was rejected, or the code of its own error
        when that file was the one thing asked for."""
        if self.interrupted:
            return 130
        rejected = [report.refusal for report in self.files if report.refusal is not None]
        if not rejected:
            return 0
        if self.single_file and not isinstance(rejected[0], ConflictError):
            return rejected[0].exit_code
        return 1

    def to_json(self) -> dict[str, Any]:
        """The command's JSON document."""
        return {
            "run_id": self.run_id,
            "dry_run": self.dry_run,
            "seconds": round(self.seconds, 3),
            "files": [report.to_json() for report in self.files],
            "skipped": [{"path": str(path), "reason": reason} for path, reason in self.skipped],
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
    files, skipped, reports = _select(paths, options)
    with ready_engine(settings, progress.notice) as engine:
        run = _DryRun(engine, settings) if options.dry_run else _Run(engine, settings, options)
        migration = _Migration(options, run, progress, reports)
        interrupted = migration.go(files)
    single = len(paths) == 1 and not paths[0].is_dir()
    return MigratePicklesResult(
        run_id=run.committed_id,
        dry_run=options.dry_run,
        seconds=time.monotonic() - started,
        files=sorted(reports, key=lambda report: report.path),
        skipped=skipped,
        interrupted=interrupted,
        single_file=single,
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


def _select(
    paths: Iterable[Path], options: MigratePicklesOptions
) -> tuple[list[Path], list[tuple[Path, str]], list[FileReport]]:
    """The pickles to read, what is skipped and why, and reports of files refused at first sight.

    In a folder, what is no pickle is skipped; a file that was named itself is refused.
    """
    files: list[Path] = []
    skipped: list[tuple[Path, str]] = []
    reports: list[FileReport] = []
    seen: set[Path] = set()
    for path in paths:
        named = not path.is_dir()
        for found in find_files(path, recursive=options.recursive, only=options.only):
            if (resolved := found.resolve()) in seen:
                continue
            seen.add(resolved)
            try:
                reason = what_it_is(FileSource(found))
            except NotAPickleError as error:
                reason = error.message
            except FileAccessError as error:
                reports.append(report := FileReport(found))
                report._refuse(error)
                continue
            if reason is None:
                files.append(found)
            elif named:
                reports.append(report := FileReport(found))
                report._refuse(NotAPickleError(f"not a pickle: {reason}"))
            else:
                skipped.append((found, reason))
    return files, skipped, reports


class _Run:
    """Real transactions, and a row in `runs` as soon as there is something to write down."""

    def __init__(self, engine: Engine, settings: Settings, options: MigratePicklesOptions) -> None:
        self.ids: IdSource = SequenceIds()
        self.committed_id: int | None = None
        self._engine = engine
        self._lock_timeout = settings.lock_timeout
        self._options = {
            "paths": [str(path) for path in options.paths],
            "set_base_seed": options.set_base_seed,
            "archive": options.archive,
        }
        self._pending_id: int | None = None

    def id(self, connection: Connection) -> int:
        """The run's id; its row is made in the transaction that first needs it."""
        run_id = self.committed_id or self._pending_id
        if run_id is None:
            run_id = self._pending_id = make_run(connection, self.ids, KIND, self._options)
        return run_id

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One file's transaction."""
        self._pending_id = None
        with transaction(self._engine, lock_timeout=self._lock_timeout) as connection:
            yield connection
        self.committed_id = self.committed_id or self._pending_id

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Around all files."""
        status = "failed"
        try:
            yield
            status = "done"
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        finally:
            if self.committed_id is not None:
                with transaction(self._engine) as connection:
                    finish_run(connection, self.committed_id, status)


class _DryRun:
    """The same in one transaction, with a savepoint a file, and a rollback at the end."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.ids: IdSource = DryRunIds()
        self.committed_id: int | None = None
        self._engine = engine
        self._lock_timeout = settings.lock_timeout
        self._connection: Connection
        self._run_id: int | None = None

    def id(self, connection: Connection) -> int:
        """The id of a run that will never have been."""
        if self._run_id is None:
            self._run_id = make_run(connection, self.ids, KIND, {})
        return self._run_id

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One file's savepoint."""
        before = self._run_id
        try:
            with self._connection.begin_nested():
                yield self._connection
        except BaseException:
            self._run_id = before  # the row went with the savepoint
            raise

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Around all files."""
        with transaction(self._engine, lock_timeout=self._lock_timeout) as connection:
            self._connection = connection
            try:
                yield
            finally:
                connection.get_transaction().rollback()  # type: ignore[union-attr]


class _Migration:
    def __init__(
        self,
        options: MigratePicklesOptions,
        run: _Run | _DryRun,
        progress: Progress,
        reports: list[FileReport],
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
        # Every file is gone over twice.
        progress.start(sum(2 * path.stat().st_size for path in files), "B")
        try:
            with self._run.whole():
                for path in files:
                    report = FileReport(path)
                    self._file(path, report)
                    self._reports.append(report)
                    if options.fail_fast and report.status == "rejected":
                        break
        except KeyboardInterrupt:
            return True
        finally:
            progress.finish()
        return False

    def _file(self, path: Path, report: FileReport) -> None:
        progress, spool, done = self._progress, Spool(), 0

        def on_bytes(count: int) -> None:
            nonlocal done
            done += count
            progress.advance(count, path.name)

        try:
            copy = spool if self._options.archive else None
            file = LegacyFile.read(
                FileSource(path), base_seed=self._options.set_base_seed, copy=copy, on_bytes=on_bytes
            )
            report._describe(file)
            with self._run.transaction() as connection:
                self._take(connection, file, spool, report, on_bytes)
            report.notes = file.notes
        except (InputRefusedError, FileAccessError) as error:
            report._refuse(error)
            self._record_rejection(report)
        finally:
            spool.close()
            progress.advance(max(2 * path.stat().st_size - done, 0) if path.exists() else 0, path.name)

    def _take(
        self, connection: Connection, file: LegacyFile, spool: Spool, report: FileReport, on_bytes: Any
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
                status="migrated",
            )

        intake = Intake(connection, run.ids, contents, make_source)
        intake.open()
        parts = _Parts(file.rows(on_bytes))
        intake.add_games(parts.games(), len(contents.games.distinct()), intake.games)
        if len(file.missing):
            intake.add_games(_batched(file.regenerated()), len(file.missing), intake.regenerated)
        intake.add_results(parts.results(), sum(len(runs.distinct()) for _, runs in contents.results))
        report._count(file, intake)
        report.status = "migrated" if intake.wrote else "identical"
        report.benchmark_set_id = None if intake.set_id < 0 else intake.set_id
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
                counts={"games": report.games, "results": report.results},
                notes=file.notes,
            )

    def _record_rejection(self, report: FileReport) -> None:
        """Writes down that a file was refused, once."""
        with self._run.transaction() as connection:
            assert report.error is not None
            if is_rejection_recorded(connection, report.path, report.sha256, report.error):
                return
            make_source_file(
                connection,
                self._run.ids,
                self._run.id(connection),
                report.path,
                sha256=report.sha256,
                status="rejected",
                error=report.error,
                counts={"games": report.games, "results": report.results},
            )


class _Parts:
    """Divides a file's rows into games and results, which follow one after the other."""

    def __init__(self, rows: Iterator[Games | Results]) -> None:
        self._rows = rows
        self._first_results: Results | None = None

    def games(self) -> Iterator[list[GameSnapshot]]:
        """All games; to be exhausted before `results`."""
        for part in self._rows:
            if isinstance(part, Results):
                self._first_results = part
                return
            if part.rows:
                yield part.rows

    def results(self) -> Iterator[tuple[str, list[BotPerformance]]]:
        """All results."""
        part = self._first_results
        while part is not None:
            if part.rows:
                yield part.key, part.rows
            following = next(self._rows, None)
            part = following if isinstance(following, Results) else None


def _batched(games: Iterator[GameSnapshot], size: int = 1000) -> Iterator[list[GameSnapshot]]:
    batch: list[GameSnapshot] = []
    for game in games:
        batch.append(game)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch

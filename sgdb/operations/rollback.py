"""`sgdb rollback`: takes back what one run of `migrate-pickles` brought, or goes back to a backup.

All of it or nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import Connection, Engine

from sgdb.atomic import atomic_file, make_folder
from sgdb.database.access import ready_engine
from sgdb.database.archives import write_archive
from sgdb.database.blobs import find_blob
from sgdb.database.engine import transaction, undo
from sgdb.database.ids import DryRunIds, SequenceIds
from sgdb.database.locks import lock_all_sets, lock_checkpoints, lock_tables
from sgdb.database.provenance import WEIGHTS, recorded_path
from sgdb.database.restore import RestoreResult, restore_backup
from sgdb.database.retry import retried
from sgdb.database.runs import IMPORT
from sgdb.database.taking_back import (
    TABLES,
    FileToTakeBack,
    RunToTakeBack,
    TakenBack,
    find_files,
    find_run,
    require_no_dependents,
    take_back,
)
from sgdb.errors import AlreadyExistsError, BusyError, LastCopyError, SgdbError
from sgdb.interchange.whereabouts import look_for_folder
from sgdb.pickles.whereabouts import Found, Whereabouts, look_for
from sgdb.progress import Progress, Silent
from sgdb.settings import Settings
from sgdb.storage.checkpoint_files import CheckpointFiles, checkpoint_files
from sgdb.storage.checkpoint_reading import read_weights

# Behind the locks, what their former holders have committed must be seen.
_ISOLATION = "READ COMMITTED"
_SHOWN = 5  # files named in a message


@dataclass(frozen=True, slots=True)
class RollbackOptions:
    """Which run to take back: None for the newest that brought something.

    Where the database has the last copy of a file, `originals` names a folder to write it to beforehand, and
    `discard_originals` lets it go.
    """

    run_id: int | None = None
    dry_run: bool = False
    originals: Path | None = None
    discard_originals: bool = False


@dataclass(frozen=True, slots=True)
class BackupRollbackOptions:
    """Which backup to put the database back to: the path of its dump."""

    path: Path
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class RolledBackFile:
    """What went of one file's rows, and where the file itself is: "on disk" at its path, "kept" for another
    run that has it too, "written" to `written_to`, or "discarded"."""

    path: str
    sha256: str
    benchmark_set_id: int | None
    games: int
    results: int
    original: str
    written_to: str | None = None
    checkpoints: int | None = None
    """None for a benchmark."""

    def to_json(self) -> dict[str, Any]:
        """The file's entry in the command's JSON."""
        names = self.__slots__ if self.checkpoints is not None else self.__slots__[:-1]
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class RollbackResult:
    """What was taken back: `run_id` is None, or `files` empty, where there was nothing. `kind` is the run's.

    `removed` counts rows that are gone; `kept` bots and configs of the run that stay because others use them.
    `rollback_run_id` is the run that the taking back itself is.
    """

    run_id: int | None
    dry_run: bool
    seconds: float
    kind: str | None = None
    rollback_run_id: int | None = None
    files: list[RolledBackFile] = field(default_factory=list)
    removed: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The command's JSON document."""
        return {
            "run_id": self.run_id,
            "rollback_run_id": self.rollback_run_id,
            "dry_run": self.dry_run,
            "seconds": round(self.seconds, 3),
            "files": [file.to_json() for file in self.files],
            "removed": self.removed,
            "kept": self.kept,
        }


def rollback(
    options: RollbackOptions, settings: Settings, progress: Progress | None = None
) -> RollbackResult:
    """Takes a run back in one transaction; a dry run does the same in one that is rolled back.

    A run that brought nothing is left as it is. Raises NotFoundError for an unknown run, UsageError for one
    that has been taken back, BusyError for one at work, DependentRowsError when others need what it brought,
    LastCopyError when the last copy of a file would be lost; nothing has been changed then. Originals are
    written before anything is removed, and may raise ArchiveError, AlreadyExistsError, DiskFullError or
    FileAccessError.
    """
    progress = progress or Silent()
    started = time.monotonic()
    with ready_engine(settings, progress.notice) as engine:
        with transaction(engine, read_only=True) as connection:
            run = find_run(connection, options.run_id)
            files = [] if run is None else find_files(connection, run.id)
            if run is None or not files:
                run_id = None if run is None else run.id
                return RollbackResult(run_id, options.dry_run, time.monotonic() - started)
            require_no_dependents(connection, run.id)
            weights = checkpoint_files(settings, connection)
            originals = _Originals(connection, options, weights, progress).account_for(run, files)
        taken = _TakingBack(engine, settings, options, progress).go(run.id, files)
    return RollbackResult(
        run_id=run.id,
        dry_run=options.dry_run,
        seconds=time.monotonic() - started,
        kind=run.kind,
        rollback_run_id=None if options.dry_run else taken.run_id,
        files=[_report(file, taken, originals[file.id]) for file in files],
        removed=taken.counts,
        kept=taken.kept,
    )


def rollback_to_backup(
    options: BackupRollbackOptions, settings: Settings, progress: Progress | None = None
) -> RestoreResult:
    """Puts sgdb's tables back to a backup, after one of what is there now; a dry run only looks.

    Promises and raises what `restore_backup` does.
    """
    return restore_backup(settings, options.path.absolute(), dry_run=options.dry_run, progress=progress)


def _report(file: FileToTakeBack, taken: TakenBack, original: _Original) -> RolledBackFile:
    return RolledBackFile(
        path=file.path,
        sha256=file.sha256,
        benchmark_set_id=file.benchmark_set_id,
        games=taken.games.get(file.id, 0),
        results=taken.results.get(file.id, 0),
        original=original.fate,
        written_to=None if original.written_to is None else str(original.written_to),
        checkpoints=None if file.kind is None else taken.checkpoints.get(file.id, 0),
    )


class _TakingBack:
    """The transaction that changes something, behind the locks that keep every other writer out."""

    def __init__(
        self, engine: Engine, settings: Settings, options: RollbackOptions, progress: Progress
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._timeout = settings.lock_timeout
        self._dry_run = options.dry_run
        self._progress = progress

    def go(self, run_id: int, files: list[FileToTakeBack]) -> TakenBack:
        """Takes the run back, whose files have been accounted for."""
        taken = retried(lambda: self._once(run_id, files), on_retry=self._progress.notice)
        if taken.in_files and not self._dry_run:
            self._remove_files(taken.in_files)
        return taken

    def _once(self, run_id: int, files: list[FileToTakeBack]) -> TakenBack:
        with transaction(self._engine, isolation=_ISOLATION, lock_timeout=self._timeout) as connection:
            lock_all_sets(connection, timeout=self._timeout, on_wait=self._on_wait)
            if any(file.kind for file in files):
                lock_checkpoints(connection, timeout=self._timeout, alone=True)
            lock_tables(connection, TABLES, timeout=self._timeout, on_wait=self._on_wait)
            run = find_run(connection, run_id, lock=True)
            if run is None or find_files(connection, run_id) != files:
                raise BusyError(
                    f"what is on record of run {run_id} has changed meanwhile",
                    hint=f"nothing was changed; run `sgdb rollback {run_id}` again",
                )
            heirs = require_no_dependents(connection, run_id)
            ids = DryRunIds() if self._dry_run else SequenceIds()
            taken = take_back(connection, ids, run, files, heirs)
            if self._dry_run:
                undo(connection)
            return taken

    def _remove_files(self, hashes: list[str]) -> None:
        """Removes weights that lie in files, unless somebody has come to need them since. The rows have gone
        by now: a file that stays is told, and no reason to fail."""

        def remove() -> None:
            with transaction(self._engine, isolation=_ISOLATION, lock_timeout=self._timeout) as connection:
                lock_checkpoints(connection, timeout=self._timeout, alone=True)
                files = checkpoint_files(self._settings, connection)
                for sha256 in hashes:
                    if find_blob(connection, sha256) is None:
                        files.remove(sha256)

        try:
            retried(remove, on_retry=self._progress.notice)
        except SgdbError as error:
            self._progress.notice(
                f"files of weights are left that nobody needs; `sgdb checkpoints prune` removes them: "
                f"{error.message}"
            )

    def _on_wait(self) -> None:
        self._progress.notice("waiting for another program that is writing to the database")


@dataclass(frozen=True, slots=True)
class _Original:
    """What becomes of a file itself."""

    fate: str
    written_to: Path | None = None


class _Originals:
    """Sees to it that no file is lost with the rows: its last copy may be in the database."""

    def __init__(
        self,
        connection: Connection,
        options: RollbackOptions,
        weights: CheckpointFiles,
        progress: Progress,
    ) -> None:
        self._connection = connection
        self._options = options
        self._weights = weights
        self._progress = progress

    def account_for(self, run: RunToTakeBack, files: list[FileToTakeBack]) -> dict[int, _Original]:
        """What becomes of each file, by its id. Writes what is to be written. Raises LastCopyError."""
        fates: dict[int, _Original] = {}
        lost: list[tuple[FileToTakeBack, Found]] = []
        for file, found in self._looked_for(run, files):
            if found is None:
                fates[file.id] = _Original("kept")
            elif found.whereabouts is Whereabouts.UNCHANGED:
                fates[file.id] = _Original("on disk")
            else:
                lost.append((file, found))
        to_write: list[FileToTakeBack] = []
        unsaved: list[tuple[FileToTakeBack, Found]] = []
        for file, found in lost:
            if self._options.originals is not None and _is_stored(file):
                to_write.append(file)
            else:
                unsaved.append((file, found))
        if unsaved and not self._options.discard_originals:
            raise _last_copy(run, unsaved)
        for file, _ in unsaved:
            fates[file.id] = _Original("discarded")
        return fates | self._write(to_write)

    def _looked_for(
        self, run: RunToTakeBack, files: list[FileToTakeBack]
    ) -> list[tuple[FileToTakeBack, Found | None]]:
        """Each file with what stands at its path now; None where it does not matter. An import has one file
        for all that it took, the manifest, which tells what else to look for, and how much that is."""
        is_import = run.kind == IMPORT
        look = look_for_folder if is_import else look_for
        found: dict[tuple[str, str], Found] = {}
        self._progress.start(0 if is_import else sum(file.size_bytes for file in files if file.is_last), "B")
        try:
            for file in files:
                key, path = (file.path, file.sha256), recorded_path(file.path)
                if file.is_last and key not in found:
                    on_bytes = _advancing(self._progress, path.name)
                    found[key] = look(path, file.sha256, file.size_bytes, on_bytes)
        finally:
            self._progress.finish()
        return [(file, found[file.path, file.sha256] if file.is_last else None) for file in files]

    def _write(self, files: list[FileToTakeBack]) -> dict[int, _Original]:
        """Writes stored originals, each whole and on disk before the next."""
        folder = self._options.originals
        written: dict[int, _Original] = {}
        taken: set[Path] = set()
        for file in files:
            assert folder is not None
            path = _free_path(folder, file, taken)
            taken.add(path)
            if not self._options.dry_run and not _holds(path, file.sha256):
                make_folder(folder)
                with atomic_file(path, overwrite=False) as out:
                    self._write_one(file, out)
            written[file.id] = _Original("written", path)
        return written

    def _write_one(self, file: FileToTakeBack, out: BinaryIO) -> None:
        if file.archive_id is not None:
            write_archive(self._connection, file.archive_id, out)
        else:
            for piece in read_weights(self._connection, self._weights, file.sha256):
                out.write(piece)


def _is_stored(file: FileToTakeBack) -> bool:
    """Whether the database has the file's bytes."""
    return file.archive_id is not None or file.kind == WEIGHTS


def _advancing(progress: Progress, name: str) -> Callable[[int], None]:
    return lambda count: progress.advance(count, name)


def _holds(path: Path, sha256: str) -> bool:
    """Whether this very file stands there already, perhaps since an earlier attempt."""
    return look_for(path, sha256).whereabouts is Whereabouts.UNCHANGED


def _free_path(folder: Path, file: FileToTakeBack, taken: set[Path]) -> Path:
    """Where a file's original goes: under its own name, where another has that with a piece of its hash in
    front. Raises AlreadyExistsError."""
    name = recorded_path(file.path).name
    for path in (folder / name, folder / f"{file.sha256[:8]}.{name}"):
        if path not in taken and (not os.path.lexists(path) or _holds(path, file.sha256)):
            return path
    raise AlreadyExistsError(
        f"{path} exists already, with other bytes; nothing was changed",
        hint="name another folder: --originals FOLDER",
    )


def _last_copy(run: RunToTakeBack, lost: list[tuple[FileToTakeBack, Found]]) -> LastCopyError:
    # An import has one file, the manifest, for each of its sets.
    named = list(
        dict.fromkeys(
            f"{file.path} ({_said(found)}{'' if _is_stored(file) else ', and no original is stored'})"
            for file, found in lost
        )
    )
    more = f"; and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
    if all(_is_stored(file) for file, _ in lost):
        hint = "have them written back first: --originals FOLDER"
    else:
        sets = {file.benchmark_set_id for file, _ in lost}
        is_short = None not in sets and len(sets) <= _SHOWN
        chosen = " ".join(f"--set {set_id}" for set_id in sorted(filter(None, sets))) if is_short else "--all"
        # A pickle holds less than a folder of tables: no moves, and no training that a program told of.
        form, asked = ("tables", " --format jsonl") if run.kind == IMPORT else ("pickles", "")
        hint = f"keep their rows as {form} first: sgdb export {chosen}{asked} --to FOLDER"
    return LastCopyError(
        f"taking run {run.id} back would destroy the last copy of {len(named)} of its files: "
        f"{'; '.join(named[:_SHOWN])}{more}",
        hint=f"nothing was changed; {hint}. Or let them go: --discard-originals",
    )


def _said(found: Found) -> str:
    said = {
        Whereabouts.GONE: "no longer there",
        Whereabouts.CHANGED: "there are other bytes now",
        Whereabouts.UNREADABLE: found.error or "unreadable",
    }[found.whereabouts]
    return said if found.below is None else f"{found.below} in its folder: {said}"

"""`sgdb verify`: every value of the files, or of their archived originals, against the rows; and the recorded
games against the rules, by playing them again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from sgdb.benchmark.replay import BotReplay, Replay, replay
from sgdb.database.access import ready_engine
from sgdb.database.archives import ArchiveStream, check_archive
from sgdb.database.checks import Check, Further, run_checks
from sgdb.database.compare import Difference
from sgdb.database.engine import transaction
from sgdb.database.experiments import EpochFile, epoch_files, pruned_epochs, weights_files
from sgdb.database.provenance import (
    SourceRow,
    path_text,
    recorded_files,
    recorded_path,
    sources,
)
from sgdb.database.runs import KIND as MIGRATION
from sgdb.errors import (
    ArchiveError,
    FileAccessError,
    InputRefusedError,
    NotAPickleError,
    NotFoundError,
    SgdbError,
    UsageError,
)
from sgdb.pickles.checkpoints import CheckpointFile, find_weights, is_checkpoint, require_weights_folders
from sgdb.pickles.files import FileSource, Source
from sgdb.pickles.inert import shown
from sgdb.pickles.legacy import LegacyFile
from sgdb.pickles.selection import Selection, reading_work, select_files
from sgdb.pickles.whereabouts import hash_file
from sgdb.progress import Progress, Silent
from sgdb.settings import Settings
from sgdb.storage.benchmark_compare import BenchmarkComparison
from sgdb.storage.checkpoint_compare import compare_file
from sgdb.storage.checkpoint_files import CheckpointFiles, checkpoint_files
from sgdb.storage.checkpoint_reading import describe_bytes, wrong_bytes
from sgdb.storage.contents import Contents as Bytes
from sgdb.wording import counted

__all__ = ["BotReplay", "FileVerdict", "Replay", "VerifyOptions", "VerifyResult", "verify"]

SHOWN_EXAMPLES = 20
_SHOWN_DIGITS = 16  # of a SHA-256's 64


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """What to verify: files, or without paths the whole database. `all_examples` keeps every difference.

    `replay` plays the recorded games again as well: those of the sets that the files belong to, or all.
    `sample` takes as many of each bot and set, `jobs` is the number of processes (default: one a core).
    Weights of checkpoints are looked for beside their pickles, in `weights_dirs`, and where they were.
    """

    paths: tuple[Path, ...] = ()
    recursive: bool = False
    only: str | None = None
    all_examples: bool = False
    replay: bool = False
    sample: int | None = None
    jobs: int | None = None
    weights_dirs: tuple[Path, ...] = ()


@dataclass(slots=True)
class FileVerdict:
    """What was found about one file: "equal", "different", "missing", "unreadable", or, of a checkpoint that
    was in the database and has been removed on purpose, "pruned". `notes` say what does not make it unequal,
    such as other bytes for the same values."""

    path: str
    kind: str = "benchmark"
    status: str = "equal"
    differences: int = 0
    examples: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: str | None = None
    refusal: SgdbError | None = None
    limit: int | None = SHOWN_EXAMPLES

    def add(self, difference: Difference) -> None:
        """Counts a difference, and keeps it as an example while there is room."""
        self.status = "different"
        self.differences += 1
        if self.limit is None or len(self.examples) < self.limit:
            self.examples.append(difference)

    def refuse(self, error: SgdbError) -> None:
        """The file cannot be read, which says nothing about the rows."""
        self.status, self.refusal, self.error = "unreadable", error, error.message

    def to_json(self) -> dict[str, Any]:
        """The file's entry in the command's JSON."""
        of_kind = {} if self.kind == "benchmark" else {"kind": self.kind}
        return of_kind | {
            "path": self.path,
            "status": self.status,
            "differences": self.differences,
            "examples": [example._asdict() for example in self.examples],
            "error": self.error,
            "notes": self.notes,
        }


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """All verdicts and checks, and what became of the recorded games where they were played again."""

    files: list[FileVerdict]
    checks: list[Check]
    selection: Selection
    replay: Replay | None = None

    @property
    def equal(self) -> bool:
        """Whether everything that was looked at is right. What nobody can play again is not wrong, nor what
        was pruned."""
        return (
            all(verdict.status in ("equal", "pruned") for verdict in self.files)
            and all(check.ok for check in self.checks)
            and (self.replay is None or not self.replay.different)
        )

    @property
    def exit_code(self) -> int:
        """0 or 1; the refusal's own code when the one file asked for cannot be read."""
        if self.selection.single and self.files and self.files[0].refusal is not None:
            return self.files[0].refusal.exit_code
        return 0 if self.equal else 1

    def to_json(self) -> dict[str, Any]:
        """The command's JSON document."""
        document = {
            "equal": self.equal,
            "files": [verdict.to_json() for verdict in self.files],
            "checks": [check._asdict() for check in self.checks],
            "skipped": self.selection.to_json(),
        }
        return document if self.replay is None else document | {"replay": self.replay.to_json()}


def verify(options: VerifyOptions, settings: Settings, progress: Progress | None = None) -> VerifyResult:
    """Compares in one read-only transaction, so that all of it sees the same moment.

    Raises UsageError for paths that do not exist and EnvironmentFaultError when the database is away.
    """
    if not options.paths and (options.only is not None or options.recursive):
        raise UsageError(
            "--only and --recursive choose among files, and no path was given", hint="name a folder"
        )
    if not options.replay and (options.sample is not None or options.jobs is not None):
        raise UsageError("--sample and --jobs are about playing games again", hint="add --replay")
    if any(number is not None and number < 1 for number in (options.sample, options.jobs)):
        raise UsageError("--sample and --jobs take numbers from 1")
    progress = progress or Silent()
    selection = select_files(options.paths, recursive=options.recursive, only=options.only)
    require_weights_folders(options.weights_dirs)
    limit = None if options.all_examples else SHOWN_EXAMPLES
    with ready_engine(settings, progress.notice) as engine, transaction(engine, read_only=True) as connection:
        files = checkpoint_files(settings, connection)
        verifier = _Verifier(connection, files, options.weights_dirs, progress, limit)
        if options.paths:
            selection = verifier.files(selection)
            if not verifier.verdicts:
                raise NotFoundError(
                    "no pickle was found, so nothing was compared",
                    hint="see --only, and --recursive for folders below",
                )
        else:
            verifier.archives()
        played = None
        if options.replay:
            played = replay(
                connection,
                progress,
                set_ids=verifier.set_ids if options.paths else None,
                sample=options.sample,
                jobs=options.jobs,
                most_examples=limit,
            )
    verdicts = sorted(verifier.verdicts, key=lambda verdict: verdict.path)
    return VerifyResult(verdicts, verifier.checks, selection, played)


class _ArchiveSource:
    """A stored original as a legacy file's bytes."""

    def __init__(self, connection: Connection, archive_id: int, path: str) -> None:
        self.name = Path(path).name
        self._connection = connection
        self._archive_id = archive_id

    @contextmanager
    def open(self) -> Iterator[ArchiveStream]:
        """The bytes from the beginning."""
        yield ArchiveStream(self._connection, self._archive_id)


class _Verifier:
    def __init__(
        self,
        connection: Connection,
        checkpoints: CheckpointFiles,
        weights_dirs: tuple[Path, ...],
        progress: Progress,
        limit: int | None,
    ) -> None:
        self._connection = connection
        self._weights_dirs = weights_dirs
        self._carried: set[str] = set()  # real paths of weights that were compared with their checkpoints
        self._progress = progress
        self._checkpoint_files = checkpoints
        self._limit = limit
        self._benchmarks = BenchmarkComparison(connection)
        self.verdicts: list[FileVerdict] = []
        self.checks: list[Check] = []

    @property
    def set_ids(self) -> set[int]:
        """The sets that the files belong to."""
        return self._benchmarks.set_ids

    def files(self, selection: Selection) -> Selection:
        """Files on disk. What is no pickle, but was one when it was migrated, is not passed over: returns the
        selection without it."""
        migrated = _migrated_from(self._connection)
        with self._bar(sum(map(reading_work, selection.files))):
            for path in selection.files:
                verdict = self._verdict(str(path))
                sha256 = self._file(FileSource(path), verdict, None, path)
                _compare_bytes(path, sha256, migrated.get(_resolved(path), []), verdict)
        selection = selection.without(self._carried)
        spoilt = [each for each in selection.skipped if _resolved(each[0]) in migrated]
        refused = [
            *selection.refused,
            *((path, NotAPickleError(f"migrated once, and now: {reason}")) for path, reason in spoilt),
        ]
        for path, error in refused:
            verdict = self._verdict(str(path))
            verdict.refuse(error)
            _compare_bytes(path, None, migrated.get(_resolved(path), []), verdict)
        return replace(selection, skipped=[each for each in selection.skipped if each not in spoilt])

    def archives(self) -> None:
        """The stored originals, and the database's own checks."""
        taken: dict[tuple[str, int], SourceRow] = {}
        for row in sources(self._connection):
            if row.kind != MIGRATION:
                continue
            known = taken.get((row.sha256, row.benchmark_set_id))
            if known is None or known.archive_id is None:
                taken[row.sha256, row.benchmark_set_id] = row
        kept: list[tuple[str, int, SourceRow | None]] = [
            (row.path, row.archive_id, row) for row in taken.values() if row.archive_id is not None
        ]
        of_checkpoints = self._archived_checkpoints()
        kept += [(path, archive_id, None) for path, archive_id in of_checkpoints if archive_id is not None]
        damaged = []
        with self._bar(0):
            for path, archive_id, recorded in kept:
                verdict = self._verdict(path)
                try:
                    check_archive(self._connection, archive_id)
                except ArchiveError as error:
                    verdict.refuse(error)
                    damaged.append(path)
                else:
                    self._file(_ArchiveSource(self._connection, archive_id, path), verdict, recorded)
        detail = f"{counted(len(kept) - len(damaged), 'original')} with matching SHA-256"
        if damaged:
            detail += f"; damaged: {', '.join(damaged)}"
        if without := len(taken) + len(of_checkpoints) - len(kept):
            detail += f"; {counted(without, 'file')} migrated without keeping the original"
        self.checks = [
            *run_checks(self._connection, self._of_checkpoints()),
            Check("archive hashes", not damaged, detail),
        ]

    def _of_checkpoints(self) -> Further:
        """Their bytes are there, in the database and in files, and are those that were stored."""
        wrong = wrong_bytes(self._connection, self._checkpoint_files, self._progress)
        return Further("checkpoints", wrong, lambda: describe_bytes(self._connection))

    def _archived_checkpoints(self) -> list[tuple[str, int | None]]:
        """Each content of a checkpoint's pickle once: its path and its original, if one of them is stored."""
        taken: dict[str, EpochFile] = {}
        for file in epoch_files(self._connection):
            known = taken.get(file.sha256)
            if known is None or known.archive_id is None:
                taken[file.sha256] = file
        return [(file.path, file.archive_id) for file in taken.values()]

    @contextmanager
    def _bar(self, total: int) -> Iterator[None]:
        self._progress.start(total, "B")
        try:
            yield
        finally:
            self._progress.finish()

    def _verdict(self, shown: str) -> FileVerdict:
        verdict = FileVerdict(shown, limit=self._limit)
        self.verdicts.append(verdict)
        return verdict

    def _file(
        self, source: Source, verdict: FileVerdict, row: SourceRow | None, path: Path | None = None
    ) -> str | None:
        """Compares one file; `row` is its record where that is known, otherwise it is looked for. `path` is
        where the file lies, None for a stored original. Returns the SHA-256 of what was read."""

        def on_bytes(count: int) -> None:
            self._progress.advance(count, source.name)

        def recorded_seed(sha256: str) -> int | None:
            found = row or self._record(sha256)
            return found.contents.base_seed if found else None

        try:
            if is_checkpoint(source):
                return self._checkpoint(CheckpointFile.read(source, on_bytes=on_bytes), path, verdict)
            file = LegacyFile.read(source, base_seed=recorded_seed, on_bytes=on_bytes)
            recorded = "" if path is None else path_text(path)
            found = self._benchmarks.compare(file, row or self._record(file.sha256), recorded, on_bytes)
            if found is None:
                verdict.status = "missing"
                return file.sha256
            for difference in found:
                verdict.add(difference)
        except (InputRefusedError, FileAccessError, NotFoundError) as error:
            verdict.refuse(error)
            return None
        return file.sha256

    def _checkpoint(self, file: CheckpointFile, path: Path | None, verdict: FileVerdict) -> str:
        """Compares a checkpoint; returns its SHA-256."""
        verdict.kind, weights = "checkpoint", None
        if path is not None and file.checkpoint.weights_name is not None:
            weights = self._find_weights(file, file.checkpoint.weights_name, path.parent, verdict)
        # Those of stored originals are read together, with those of all other checkpoints.
        files = None if path is None else self._checkpoint_files
        compared = compare_file(self._connection, file, weights, files)
        if compared is None:
            was_taken = bool(epoch_files(self._connection, sha256=file.sha256))
            key = (file.checkpoint.experiment, file.checkpoint.epoch)
            verdict.status = "pruned" if was_taken and key in self._pruned else "missing"
            return file.sha256
        differences, notes = compared
        verdict.notes += notes
        for difference in differences:
            verdict.add(difference)
        return file.sha256

    @cached_property
    def _pruned(self) -> set[tuple[str, int]]:
        return pruned_epochs(epoch_files(self._connection))

    def _find_weights(
        self, file: CheckpointFile, name: str, beside: Path, verdict: FileVerdict
    ) -> Bytes | None:
        found = find_weights(name, (beside, *self._weights_dirs))
        if found is None:
            own = {each.id for each in epoch_files(self._connection, sha256=file.sha256)}
            carried = [each for each in weights_files(self._connection) if each.of in own]
            places = (recorded_path(each.path) for each in reversed(carried))
            found = next((place for place in places if os.path.lexists(place)), None)
        if found is None:
            verdict.notes.append(f"its weights {shown(name)} were not found, and not compared")
            return None
        self._carried.add(_resolved(found))
        return Bytes.given(found, f"weights {shown(found.name)}")

    def _record(self, sha256: str) -> SourceRow | None:
        """What was written down last about this very content."""
        return next(reversed(sources(self._connection, sha256=sha256)), None)


def _migrated_from(connection: Connection) -> dict[str, list[str]]:
    """The SHA-256 of all pickles that were migrated from each path, oldest first."""
    migrated: dict[str, list[str]] = {}
    for file in recorded_files(connection, MIGRATION):
        if file.is_weights:
            continue
        migrated.setdefault(_resolved(recorded_path(file.path)), []).append(file.sha256)
    return migrated


def _resolved(path: Path) -> str:
    return os.path.realpath(path)


def _compare_bytes(path: Path, sha256: str | None, migrated: list[str], verdict: FileVerdict) -> None:
    """Notes it when the file has other bytes than were migrated from its path. `sha256` is None where they
    could not be read as a benchmark."""
    if not migrated:
        return
    try:
        found = sha256 or hash_file(path)
    except (FileAccessError, NotFoundError, InputRefusedError):  # which has been said
        return
    if found not in migrated:
        verdict.notes.append(
            "these are not the bytes that were migrated from here: their SHA-256 begins with "
            f"{found[:_SHOWN_DIGITS]}, that of the migrated file with {migrated[-1][:_SHOWN_DIGITS]}"
        )

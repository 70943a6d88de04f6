"""`sgdb export`: benchmark sets back into files: as pickles of the old system, as the stored originals, or as
a folder of tables in an open format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass
from itertools import islice
from pathlib import Path

from sqlalchemy import Connection

from sgdb.atomic import atomic_file, make_folder
from sgdb.database.access import ready_engine
from sgdb.database.archives import write_archive
from sgdb.database.engine import transaction
from sgdb.database.merging import lacks, merged_contents
from sgdb.database.provenance import set_ids, sources
from sgdb.database.runs import IMPORT
from sgdb.database.sets import StoredSet, describe_set, fetch_games, fetch_results, find_bots
from sgdb.errors import AlreadyExistsError, NotFoundError, UsageError
from sgdb.interchange.trainings import Trainings
from sgdb.interchange.writing import FolderWriter, HashedFile
from sgdb.pickles.writer import write_pickle
from sgdb.progress import Progress, Silent
from sgdb.records import BotPerformance, ExportFormat, GameSnapshot, IdRuns
from sgdb.settings import Settings
from sgdb.storage.checkpoint_files import checkpoint_files

_BATCH = 1000


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Which sets (None for all) go to which folder. With all sets a folder of tables also gets the trainings,
    and their checkpoints' bytes unless `weights` is False."""

    to: Path
    set_ids: tuple[int, ...] | None = None
    format: ExportFormat = ExportFormat.PICKLE
    overwrite: bool = False
    weights: bool = True


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """One file that was written. `benchmark_set_id` is None where it belongs to no single set."""

    path: Path
    benchmark_set_id: int | None
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ExportResult:
    """The files written; `without_original` are migrated files whose original was not kept."""

    files: list[ExportedFile]
    without_original: list[str]

    @property
    def exit_code(self) -> int:
        """0, or 1 when something asked for is not there."""
        return 1 if self.without_original else 0


@dataclass(frozen=True, slots=True)
class _Plan:
    """One file to write: a set as a pickle, or one of its originals."""

    path: Path
    stored: StoredSet
    archive_id: int | None = None


def export(
    options: ExportOptions,
    settings: Settings,
    progress: Progress | None = None,
    on_file: Callable[[ExportedFile], object] | None = None,
) -> ExportResult:
    """Writes each file atomically, all of them from the same moment of the database. `on_file` is called
    with each file once it is there; of a folder of tables the manifest comes last.

    Raises AlreadyExistsError before anything is written, NotFoundError for an unknown set,
    IncompleteSetError, ArchiveError, ValueRefusedError for what a format cannot hold, MissingPackageError,
    DiskFullError or FileAccessError.
    """
    progress = progress or Silent()
    if options.set_ids is not None and not options.set_ids:
        raise UsageError("no benchmark set was named", hint="give --set ID or --all")
    with ready_engine(settings, progress.notice) as engine, transaction(engine, read_only=True) as connection:
        wanted = set_ids(connection) if options.set_ids is None else list(dict.fromkeys(options.set_ids))
        stored = [describe_set(connection, set_id) for set_id in wanted]
        if options.format.is_folder:
            without = list[str]()
            total, written = _folder(connection, settings, options, stored)
        else:
            if options.format is ExportFormat.PICKLE:
                plans, without = _pickles(options.to, stored), list[str]()
            else:
                plans, without = _originals(connection, options.to, stored)
            _check_free(plans, options.overwrite)
            total, written = len(plans), _files(connection, options, plans)
        progress.start(total, "file")
        try:
            files = []
            for file in written:
                files.append(file)
                progress.advance(1, file.path.name)
                if on_file is not None:
                    on_file(file)
        finally:
            progress.finish()
    return ExportResult(files, without)


def _folder(
    connection: Connection, settings: Settings, options: ExportOptions, stored: list[StoredSet]
) -> tuple[int, Iterator[ExportedFile]]:
    """How many files a folder of tables will have, and these, each when it is written. Without sets and
    trainings there is no folder."""
    trainings = None
    if options.set_ids is None:
        files_of = checkpoint_files(settings, connection)
        trainings = Trainings(connection, files_of, with_bytes=options.weights)
    if not stored and (trainings is None or not trainings.sessions):
        return 0, iter(())
    writer = FolderWriter(
        connection, options.to, stored, options.format.value, trainings=trainings, overwrite=options.overwrite
    )
    files = (ExportedFile(file.path, file.set_id, file.sha256, file.size_bytes) for file in writer.write())
    return writer.file_count, files


def _files(connection: Connection, options: ExportOptions, plans: list[_Plan]) -> Iterator[ExportedFile]:
    """The files of these plans, each when it is written."""
    if plans:
        make_folder(options.to)
    for plan in plans:
        yield _write(connection, plan, options.overwrite)


def _pickles(folder: Path, stored: Iterable[StoredSet]) -> list[_Plan]:
    """A pickle a set, under the old system's name; a set that would take another's name gets its id."""
    plans: dict[str, _Plan] = {}
    for one in stored:
        stem = "_".join(map(str, ("benchmark", *astuple(one.config), one.base_seed)))
        name = f"{stem}.pkl" if f"{stem}.pkl" not in plans else f"{stem}.set{one.id}.pkl"
        plans[name] = _Plan(folder / name, one)
    return list(plans.values())


def _originals(
    connection: Connection, folder: Path, stored: Iterable[StoredSet]
) -> tuple[list[_Plan], list[str]]:
    """Every distinct original of the sets, under its own name; where two would share one, the later gets
    a piece of its hash. Also the paths of files whose original was not kept."""
    plans: dict[str, _Plan] = {}
    planned: set[str] = set()
    without: dict[str, None] = {}
    for one in stored:
        found = sources(connection, set_id=one.id)
        kept = {source.sha256 for source in found if source.archive_id is not None}
        for source in found:
            if source.kind == IMPORT:  # a manifest is no original
                continue
            if source.sha256 not in kept:
                without[source.path] = None
            if source.archive_id is None or source.sha256 in planned:
                continue
            planned.add(source.sha256)
            name = Path(source.path).name
            if name in plans:
                name = f"{source.sha256[:8]}.{name}"
            plans[name] = _Plan(folder / name, one, source.archive_id)
    if not plans and stored:
        raise NotFoundError(
            "no originals are stored: the files were migrated with --no-archive, or the sets came otherwise",
            hint="export the sets as pickles instead: --format pickle",
        )
    return list(plans.values()), list(without)


def _check_free(plans: Iterable[_Plan], overwrite: bool) -> None:
    there = [plan.path for plan in plans if plan.path.exists() or plan.path.is_symlink()]
    if there and not overwrite:
        what = f"{there[0]} exists" if len(there) == 1 else f"{there[0]} and {len(there) - 1} more exist"
        raise AlreadyExistsError(
            f"{what} already; nothing was written", hint="give --overwrite, or another --to"
        )


def _write(connection: Connection, plan: _Plan, overwrite: bool) -> ExportedFile:
    with atomic_file(plan.path, overwrite=overwrite) as file:
        out = HashedFile(file)
        if plan.archive_id is not None:
            write_archive(connection, plan.archive_id, out)
        else:
            exported = _ExportedSet(connection, plan.stored)
            write_pickle(out, exported.contents, exported.games(), exported.results())
    return ExportedFile(plan.path, plan.stored.id, out.sha256, out.size)


class _ExportedSet:
    """A set as one file."""

    def __init__(self, connection: Connection, stored: StoredSet) -> None:
        self._connection = connection
        self._set_id = stored.id
        self.contents = merged_contents(connection, stored)

    def games(self) -> Iterator[GameSnapshot]:
        """The games in the file's order."""
        for indexes in _batches(self.contents.games):
            stored = fetch_games(self._connection, self._set_id, indexes)
            for index in indexes:
                row = stored.get(index)
                if row is None:
                    raise lacks(self._set_id, f"game {index}")
                yield row.snapshot

    def results(self) -> Iterator[tuple[str, Iterator[BotPerformance]]]:
        """The keys in the file's order, with their rows."""
        bots = find_bots(self._connection, [key for key, _ in self.contents.results])
        for key, runs in self.contents.results:
            yield key, self._rows(key, bots.get(key), runs)

    def _rows(self, key: str, bot_id: int | None, runs: IdRuns) -> Iterator[BotPerformance]:
        for indexes in _batches(runs):
            stored = {} if bot_id is None else fetch_results(self._connection, self._set_id, bot_id, indexes)
            for index in indexes:
                row = stored.get(index)
                if row is None:
                    raise lacks(self._set_id, f"the result of {key!a} on game {index}")
                yield row.performance(key)


def _batches(runs: IdRuns) -> Iterator[list[int]]:
    numbers = iter(runs)
    while batch := list(islice(numbers, _BATCH)):
        yield batch

"""`sgdb export`: benchmark sets and trainings back into files: as pickles of the old system, as the stored
originals, or as a folder of tables in an open format."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection

from sgdb.atomic import atomic_file, make_folder, remove_leftovers
from sgdb.database.access import ready_engine
from sgdb.database.archives import write_archive
from sgdb.database.checkpoints import find_epoch
from sgdb.database.engine import transaction
from sgdb.database.experiments import (
    all_experiments,
    epoch_files,
    pruned_epochs,
    stored_content,
    weights_files,
)
from sgdb.database.merging import lacks, merged_contents
from sgdb.database.provenance import set_ids, sources
from sgdb.database.runs import IMPORT
from sgdb.database.sessions import get_session
from sgdb.database.sets import StoredSet, describe_set, fetch_games, fetch_results, find_bots
from sgdb.errors import AlreadyExistsError, DiskFullError, IncompleteSetError, NotFoundError, UsageError
from sgdb.interchange.trainings import Trainings
from sgdb.interchange.writing import FolderWriter, HashedFile
from sgdb.pickles.checkpoints import checkpoint_name
from sgdb.pickles.writer import write_checkpoint, write_pickle
from sgdb.progress import Progress, Silent
from sgdb.records import BotPerformance, ExportFormat, GameSnapshot, IdRuns
from sgdb.settings import Settings
from sgdb.storage.checkpoint_files import CheckpointFiles, checkpoint_files
from sgdb.storage.checkpoint_reading import read_weights

_BATCH = 1000


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Which sets and trainings, by id, uid or name, go to which folder (None for all).

    Of a training pickles and originals are what checkpoint files have brought, each with its weights. A
    folder of tables has all of it; the checkpoints' bytes unless `weights` is False.
    """

    to: Path
    set_ids: tuple[int, ...] | None = None
    format: ExportFormat = ExportFormat.PICKLE
    overwrite: bool = False
    sessions: tuple[str, ...] | None = ()
    weights: bool = True


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """One file that was written: of a set, or of a training, or of neither alone."""

    path: Path
    benchmark_set_id: int | None
    training_session_id: int | None
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
    """One file to write: its name, and what writes it. A content that is known goes by its SHA-256 where the
    name is taken."""

    name: str
    write: Callable[[_Sink], object]
    sha256: str = ""
    set_id: int | None = None
    session_id: int | None = None


def export(
    options: ExportOptions,
    settings: Settings,
    progress: Progress | None = None,
    on_file: Callable[[ExportedFile], object] | None = None,
) -> ExportResult:
    """Writes each file atomically, all of them from the same moment of the database. `on_file` is called
    with each file once it is there; of a folder of tables the manifest comes last.

    Raises AlreadyExistsError before anything is written, NotFoundError for an unknown set or training,
    IncompleteSetError, ArchiveError, CheckpointError, ValueRefusedError for what a format cannot hold,
    MissingPackageError, DiskFullError or FileAccessError.
    """
    progress = progress or Silent()
    if options.set_ids == () and options.sessions == ():
        raise UsageError("no benchmark set was named", hint="give --set ID, --session NAME or --all")
    with ready_engine(settings, progress.notice) as engine, transaction(engine, read_only=True) as connection:
        wanted = set_ids(connection) if options.set_ids is None else list(dict.fromkeys(options.set_ids))
        stored = [describe_set(connection, set_id) for set_id in wanted]
        weights = checkpoint_files(settings, connection)
        without: list[str] = []
        if options.format.is_folder:
            total, written = _folder(connection, weights, options, stored)
        else:
            trainings = _Trainings(connection, weights, options.sessions)
            if options.format is ExportFormat.PICKLE:
                plans = [*_pickles(connection, stored), *trainings.pickles()]
            else:
                plans, without = _originals(connection, stored, trainings)
            plans = _with_names(plans)
            _check_free(options.to, plans, options.overwrite)
            total, written = len(plans), _files(plans, options)
        progress.start(total, "file")
        try:
            files = []
            for file in written:
                files.append(file)
                progress.advance(1, file.path.name)
                if on_file is not None:
                    on_file(file)
        except DiskFullError as error:
            if not files or options.overwrite:
                raise
            hint = "make room, then run the command again with --overwrite: some files are there already"
            raise DiskFullError(error.message, hint=hint) from error
        finally:
            progress.finish()
    return ExportResult(files, without)


def _folder(
    connection: Connection, weights: CheckpointFiles, options: ExportOptions, stored: list[StoredSet]
) -> tuple[int, Iterator[ExportedFile]]:
    """How many files a folder of tables will have, and these, each when it is written. Without sets and
    trainings there is no folder."""
    named = options.sessions
    uids = None if named is None else {get_session(connection, name).uid for name in named}
    trainings = Trainings(connection, weights, uids, with_bytes=options.weights)
    if not stored and not trainings.sessions:
        return 0, iter(())
    writer = FolderWriter(
        connection, options.to, stored, options.format.value, trainings=trainings, overwrite=options.overwrite
    )
    files = (
        ExportedFile(file.path, file.set_id, None, file.sha256, file.size_bytes) for file in writer.write()
    )
    return writer.file_count, files


def _files(plans: list[_Plan], options: ExportOptions) -> Iterator[ExportedFile]:
    """The files of these plans, each when it is written."""
    if plans:
        make_folder(options.to)
        remove_leftovers(options.to, {plan.name for plan in plans})
    for plan in plans:
        yield _write(options.to / plan.name, plan, options.overwrite)


def _pickles(connection: Connection, stored: Iterable[StoredSet]) -> Iterator[_Plan]:
    """A pickle a set, under the old system's name; a set that would take another's name gets its id."""
    names: set[str] = set()
    for one in stored:
        stem = "_".join(map(str, ("benchmark", *astuple(one.config), one.base_seed)))
        name = f"{stem}.pkl" if f"{stem}.pkl" not in names else f"{stem}.set{one.id}.pkl"
        names.add(name)
        yield _Plan(name, partial(_write_set, connection, one), set_id=one.id)


def _write_set(connection: Connection, stored: StoredSet, out: _Sink) -> None:
    exported = _ExportedSet(connection, stored)
    write_pickle(out, exported.contents, exported.games(), exported.results())


def _originals(
    connection: Connection, stored: Iterable[StoredSet], trainings: _Trainings
) -> tuple[list[_Plan], list[str]]:
    """Every distinct original of the sets and trainings, and the paths of files whose original was not
    kept."""
    plans: list[_Plan] = []
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
            write = partial(write_archive, connection, source.archive_id)
            plans.append(_Plan(Path(source.path).name, write, source.sha256, set_id=one.id))
    plans += trainings.originals(without)
    if not plans and (stored or without):
        raise NotFoundError(
            "no originals are stored: the files were migrated with --no-archive, or the sets came otherwise",
            hint="export them as pickles instead: --format pickle",
        )
    return plans, list(without)


def _with_names(plans: Iterable[_Plan]) -> list[_Plan]:
    """The plans, each with a name of its own: where two would share one, the later gets a piece of its hash
    in front. The same content under the same name is written once."""
    named: dict[str, _Plan] = {}
    for plan in plans:
        name, digits = plan.name, 8
        while name in named and named[name].sha256 != plan.sha256:
            name = f"{plan.sha256[:digits]}.{plan.name}"
            digits += 8
        named.setdefault(name, replace(plan, name=name))
    return list(named.values())


def _check_free(folder: Path, plans: Iterable[_Plan], overwrite: bool) -> None:
    there = [folder / plan.name for plan in plans if os.path.lexists(folder / plan.name)]
    if there and not overwrite:
        what = f"{there[0]} exists" if len(there) == 1 else f"{there[0]} and {len(there) - 1} more exist"
        raise AlreadyExistsError(
            f"{what} already; nothing was written", hint="give --overwrite, or another --to"
        )


class _Sink(Protocol):
    def write(self, data: bytes, /) -> object:
        """Takes the next bytes."""


def _write(path: Path, plan: _Plan, overwrite: bool) -> ExportedFile:
    with atomic_file(path, overwrite=overwrite) as file:
        out = HashedFile(file)
        plan.write(out)
    return ExportedFile(path, plan.set_id, plan.session_id, out.sha256, out.size)


class _Trainings:
    """What checkpoint files have brought of some trainings, as files again: each pickle with its weights."""

    def __init__(self, connection: Connection, files: CheckpointFiles, named: tuple[str, ...] | None) -> None:
        self._connection = connection
        self._files = files
        found = all_experiments(connection)
        if named is not None:
            ids = {get_session(connection, name).id: name for name in named}
            found = [each for each in found if each.id in ids]
            if unknown := ids.keys() - {each.id for each in found}:
                raise NotFoundError(
                    f"no checkpoint file has brought the training {ids[min(unknown)]!a}",
                    hint="its checkpoints are written by `sgdb checkpoints get`",
                )
        self._sessions = {each.name: each.id for each in found}
        self._epochs = [each for each in epoch_files(connection) if each.experiment in self._sessions]
        self._pruned = pruned_epochs(self._epochs)

    def pickles(self) -> Iterator[_Plan]:
        """A pickle a checkpoint, under the old system's name."""
        brought = {
            (epoch.experiment, epoch.epoch): epoch for epoch in reversed(self._epochs) if epoch.brought
        }
        for epoch in sorted(brought.values()):
            session_id = self._sessions[epoch.experiment]
            checkpoint_id = find_epoch(self._connection, session_id, epoch.epoch)
            if checkpoint_id is None and (epoch.experiment, epoch.epoch) in self._pruned:
                continue
            if checkpoint_id is None:
                raise IncompleteSetError(
                    f"the checkpoint of {epoch.experiment!a} after epoch {epoch.epoch} is not there, which "
                    f"{epoch.path} has brought",
                    hint="migrating the file again brings it back",
                )
            write = partial(self._write_pickle, checkpoint_id)
            name = checkpoint_name(epoch.experiment, epoch.epoch) or Path(epoch.path).name
            yield _Plan(name, write, epoch.sha256, session_id=session_id)
        yield from self._weights()

    def originals(self, without: dict[str, None]) -> Iterator[_Plan]:
        """Every distinct original; the paths of those that were not kept are added to `without`."""
        kept = {epoch.sha256 for epoch in self._epochs if epoch.archive_id is not None}
        planned: set[str] = set()
        for epoch in self._epochs:
            if epoch.sha256 not in kept:
                without[epoch.path] = None
            if epoch.archive_id is None or epoch.sha256 in planned:
                continue
            planned.add(epoch.sha256)
            write = partial(write_archive, self._connection, epoch.archive_id)
            session_id = self._sessions[epoch.experiment]
            yield _Plan(Path(epoch.path).name, write, epoch.sha256, session_id=session_id)
        yield from self._weights()

    def _weights(self) -> Iterator[_Plan]:
        own = {
            epoch.id: epoch for epoch in self._epochs if (epoch.experiment, epoch.epoch) not in self._pruned
        }
        for weights in weights_files(self._connection):
            if weights.of in own:
                session_id = self._sessions[own[weights.of].experiment]
                write = partial(self._write_weights, weights.sha256)
                yield _Plan(Path(weights.path).name, write, weights.sha256, session_id=session_id)

    def _write_pickle(self, checkpoint_id: int, out: _Sink) -> None:
        write_checkpoint(out, stored_content(self._connection, checkpoint_id))

    def _write_weights(self, sha256: str, out: _Sink) -> None:
        for piece in read_weights(self._connection, self._files, sha256):
            out.write(piece)


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

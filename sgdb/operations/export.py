"""`sgdb export`: benchmark sets and checkpoints back into files, as pickles of the old system or as the
stored originals."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from sqlalchemy import Connection

from sgdb.atomic import atomic_file, make_folder
from sgdb.database.access import ready_engine
from sgdb.database.archives import write_archive
from sgdb.database.checkpoints import find_epoch
from sgdb.database.coverage import listed, stored_games, stored_results
from sgdb.database.engine import transaction
from sgdb.database.experiments import all_experiments, epoch_files, stored_content, weights_files
from sgdb.database.provenance import SourceRow, set_ids, sources
from sgdb.database.sessions import get_session
from sgdb.database.sets import StoredSet, describe_set, fetch_games, fetch_results, find_bots
from sgdb.errors import AlreadyExistsError, IncompleteSetError, NotFoundError, UsageError
from sgdb.pickles.checkpoints import checkpoint_name
from sgdb.pickles.writer import write_checkpoint, write_pickle
from sgdb.progress import Progress, Silent
from sgdb.records import BotPerformance, Contents, ExportFormat, GameSnapshot, IdRuns
from sgdb.settings import Settings
from sgdb.storage.checkpoint_files import CheckpointFiles, checkpoint_files
from sgdb.storage.checkpoint_reading import read_weights

_BATCH = 1000


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Which sets and trainings, by id, uid or name, go to which folder (None for all). Of a training that is
    what checkpoint files have brought, each with its weights."""

    to: Path
    set_ids: tuple[int, ...] | None = None
    format: ExportFormat = ExportFormat.PICKLE
    overwrite: bool = False
    sessions: tuple[str, ...] | None = ()


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """One file that was written: of a set, or of a training."""

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
    with each file once it is there.

    Raises AlreadyExistsError before anything is written, NotFoundError for an unknown set or training,
    IncompleteSetError, ArchiveError, CheckpointError, DiskFullError or FileAccessError.
    """
    progress = progress or Silent()
    if options.set_ids == () and options.sessions == ():
        raise UsageError("no benchmark set was named", hint="give --set ID, --session NAME or --all")
    with ready_engine(settings, progress.notice) as engine, transaction(engine, read_only=True) as connection:
        wanted = set_ids(connection) if options.set_ids is None else list(dict.fromkeys(options.set_ids))
        stored = [describe_set(connection, set_id) for set_id in wanted]
        trainings = _Trainings(connection, checkpoint_files(settings, connection), options.sessions)
        if options.format is ExportFormat.PICKLE:
            plans, without = [*_pickles(connection, stored), *trainings.pickles()], list[str]()
        else:
            plans, without = _originals(connection, stored, trainings)
        plans = _with_names(plans)
        _check_free(options.to, plans, options.overwrite)
        if plans:
            make_folder(options.to)
        progress.start(len(plans), "file")
        try:
            files = []
            for plan in plans:
                files.append(_write(options.to / plan.name, plan, options.overwrite))
                progress.advance(1, plan.name)
                if on_file is not None:
                    on_file(files[-1])
        finally:
            progress.finish()
    return ExportResult(files, without)


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
            if source.sha256 not in kept:
                without[source.path] = None
            if source.archive_id is None or source.sha256 in planned:
                continue
            planned.add(source.sha256)
            write = partial(write_archive, connection, source.archive_id)
            plans.append(_Plan(Path(source.path).name, write, source.sha256, set_id=one.id))
    plans += trainings.originals(without)
    if not plans and without:
        raise NotFoundError(
            "no originals are stored: the files were migrated with --no-archive",
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


class _Hashing:
    """Hashes and counts on the way to the file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes, /) -> int:
        self._hash.update(data)
        self.size += len(data)
        return self._file.write(data)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


def _write(path: Path, plan: _Plan, overwrite: bool) -> ExportedFile:
    with atomic_file(path, overwrite=overwrite) as file:
        out = _Hashing(file)
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

    def pickles(self) -> Iterator[_Plan]:
        """A pickle a checkpoint, under the old system's name."""
        brought = {
            (epoch.experiment, epoch.epoch): epoch for epoch in reversed(self._epochs) if epoch.brought
        }
        for epoch in sorted(brought.values()):
            session_id = self._sessions[epoch.experiment]
            checkpoint_id = find_epoch(self._connection, session_id, epoch.epoch)
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
        own = {epoch.id: epoch for epoch in self._epochs}
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
    """A set as one file: what its source files say, one after the other, then what came in otherwise."""

    def __init__(self, connection: Connection, stored: StoredSet) -> None:
        self._connection = connection
        self._set_id = stored.id
        found = sources(connection, set_id=stored.id)
        self.contents = self._merge(stored, found)

    def _merge(self, stored: StoredSet, found: list[SourceRow]) -> Contents:
        extra: dict[str, Any] = {}
        config_extra: dict[str, Any] = {}
        games: list[IdRuns] = []
        results: dict[str, list[IdRuns]] = {}
        for source in found:
            extra = {**source.contents.extra, **extra}
            config_extra = {**source.contents.config_extra, **config_extra}
            games.append(source.contents.games)
            for key, runs in source.contents.results:
                results.setdefault(key, []).append(runs)
        # What no file explains came in otherwise; boards drawn for results are explained by these.
        own = stored_games(self._connection, self._set_id).minus(listed(found)[0])
        for bot, stored_runs in stored_results(self._connection, self._set_id).items():
            results.setdefault(bot, []).append(stored_runs)
        return Contents(
            layout="C",
            config=stored.config,
            num_games=stored.num_games,
            base_seed=stored.base_seed,
            games=_one_after_the_other([*games, own]),
            results=tuple((key, _one_after_the_other(runs)) for key, runs in results.items()),
            extra=extra,
            config_extra=config_extra,
        )

    def games(self) -> Iterator[GameSnapshot]:
        """The games in the file's order."""
        for indexes in _batches(self.contents.games):
            stored = fetch_games(self._connection, self._set_id, indexes)
            for index in indexes:
                row = stored.get(index)
                if row is None:
                    raise self._incomplete(f"game {index}")
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
                    raise self._incomplete(f"the result of {key!a} on game {index}")
                yield row.performance(key)

    def _incomplete(self, what: str) -> IncompleteSetError:
        return IncompleteSetError(
            f"set {self._set_id} lacks {what}, which its source files have",
            hint="see `sgdb verify`; migrating the file again brings back what is missing",
        )


def _one_after_the_other(sequences: list[IdRuns]) -> IdRuns:
    """The first sequence as it is, then of each other what has not come yet, in its order."""
    merged = IdRuns(sequences[0].pairs())
    for runs in sequences[1:]:
        fresh = runs.minus(merged)
        if runs == runs.distinct():
            for start, stop in fresh.pairs():
                merged.extend(start, stop)
        else:
            pending = set(fresh)
            for number in runs:
                if number in pending:
                    pending.remove(number)
                    merged.append(number)
    return merged


def _batches(runs: IdRuns) -> Iterator[list[int]]:
    numbers = iter(runs)
    while batch := list(islice(numbers, _BATCH)):
        yield batch

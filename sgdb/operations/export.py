"""`sgdb export`: benchmark sets back into files, as pickles of the old system or as the stored originals."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import Connection

from sgdb.atomic import atomic_file, make_folder
from sgdb.database.access import ready_engine
from sgdb.database.archives import write_archive
from sgdb.database.coverage import listed, stored_games, stored_results
from sgdb.database.engine import transaction
from sgdb.database.provenance import SourceRow, set_ids, sources
from sgdb.database.sets import StoredSet, describe_set, fetch_games, fetch_results, find_bots
from sgdb.errors import AlreadyExistsError, IncompleteSetError, NotFoundError, UsageError
from sgdb.pickles.writer import write_pickle
from sgdb.progress import Progress, Silent
from sgdb.records import BotPerformance, Contents, ExportFormat, GameSnapshot, IdRuns
from sgdb.settings import Settings

_BATCH = 1000


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Which sets (None for all) go to which folder."""

    to: Path
    set_ids: tuple[int, ...] | None = None
    format: ExportFormat = ExportFormat.PICKLE
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """One file that was written."""

    path: Path
    benchmark_set_id: int
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
    with each file once it is there.

    Raises AlreadyExistsError before anything is written, NotFoundError for an unknown set,
    IncompleteSetError, ArchiveError, DiskFullError or FileAccessError.
    """
    progress = progress or Silent()
    if options.set_ids is not None and not options.set_ids:
        raise UsageError("no benchmark set was named", hint="give --set ID or --all")
    with ready_engine(settings, progress.notice) as engine, transaction(engine, read_only=True) as connection:
        wanted = set_ids(connection) if options.set_ids is None else list(dict.fromkeys(options.set_ids))
        stored = [describe_set(connection, set_id) for set_id in wanted]
        if options.format is ExportFormat.PICKLE:
            plans, without = _pickles(options.to, stored), list[str]()
        else:
            plans, without = _originals(connection, options.to, stored)
        _check_free(plans, options.overwrite)
        if plans:
            make_folder(options.to)
        progress.start(len(plans), "file")
        try:
            files = []
            for plan in plans:
                files.append(_write(connection, plan, options.overwrite))
                progress.advance(1, plan.path.name)
                if on_file is not None:
                    on_file(files[-1])
        finally:
            progress.finish()
    return ExportResult(files, without)


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
            if source.sha256 not in kept:
                without[source.path] = None
            if source.archive_id is None or source.sha256 in planned:
                continue
            planned.add(source.sha256)
            name = Path(source.path).name
            if name in plans:
                name = f"{source.sha256[:8]}.{name}"
            plans[name] = _Plan(folder / name, one, source.archive_id)
    if not plans and without:
        raise NotFoundError(
            "no originals are stored: the files were migrated with --no-archive",
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


def _write(connection: Connection, plan: _Plan, overwrite: bool) -> ExportedFile:
    with atomic_file(plan.path, overwrite=overwrite) as file:
        out = _Hashing(file)
        if plan.archive_id is not None:
            write_archive(connection, plan.archive_id, out)
        else:
            exported = _ExportedSet(connection, plan.stored)
            write_pickle(out, exported.contents, exported.games(), exported.results())
    return ExportedFile(plan.path, plan.stored.id, out.sha256, out.size)


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

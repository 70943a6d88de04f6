"""Taking a run of `migrate-pickles` or `import` back: what it brought goes, and nothing else.

Works inside the caller's transaction, which holds the locks on all sets and on `TABLES`. Every row knows the
file that brought it, so exactly the run's rows are met. What the run only changed is put back as well: the
declared size of sets that it extended.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Connection, and_, case, cast, delete, func, or_, select, update
from sqlalchemy.orm import aliased

from sgdb.database import totals
from sgdb.database.blobs import remove_unused
from sgdb.database.dependents import (
    Heirs,
    files_of,
    find_dependents,
    find_heirs,
    is_brought_history,
)
from sgdb.database.experiments import remove_epochs, weights_added
from sgdb.database.history import last_that_brought
from sgdb.database.ids import IdSource
from sgdb.database.liveness import at_work
from sgdb.database.models import (
    Archive,
    Base,
    BenchmarkSet,
    Blob,
    Bot,
    Game,
    GameConfigRow,
    GameHistory,
    GameResult,
    ModelCheckpoint,
    Run,
    SourceFile,
    TrainingSession,
)
from sgdb.database.provenance import (
    ROLLED_BACK,
    RUNNING,
    TAKEN,
    WEIGHTS,
    find_saved_source,
    finish_run,
    make_run,
    sources,
)
from sgdb.database.runs import IMPORT
from sgdb.database.runs import KIND as MIGRATION
from sgdb.errors import BusyError, DependentRowsError, NotFoundError, UsageError

KIND = "rollback"
KINDS = (MIGRATION, IMPORT)  # of the runs that can be taken back
# Nobody may add a row to any of them that depends on what is about to go. Totals follow from the others by
# triggers, which work with the rights of their owner: whoever takes a run back needs none on them.
TABLES = tuple(name for name in Base.metadata.tables if name not in totals.TABLES)
_SHOWN = 10  # dependents named in a message


class RunToTakeBack(NamedTuple):
    """A run that is not at work and has not been taken back yet."""

    id: int
    kind: str
    status: str


class FileToTakeBack(NamedTuple):
    """A file that the run has taken. `is_last`: with the run goes the last that the database has of it, its
    stored original or, without one, its rows; of weights, their bytes. `kind` is None for a benchmark."""

    id: int
    path: str
    sha256: str
    size_bytes: int
    benchmark_set_id: int | None
    archive_id: int | None
    is_last: bool
    kind: str | None


@dataclass(slots=True)
class TakenBack:
    """What went: rows of each kind, games, results and checkpoints also by file; and what stayed because
    others would have brought it too. `run_id` is the run that the taking back is itself. `in_files` are the
    hashes of bytes in files that no row names any more: the files go when this is committed."""

    run_id: int
    games: dict[int, int] = field(default_factory=dict)
    results: dict[int, int] = field(default_factory=dict)
    checkpoints: dict[int, int] = field(default_factory=dict)
    in_files: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)


def find_run(connection: Connection, run_id: int | None, *, lock: bool = False) -> RunToTakeBack | None:
    """The run of this number; without one the newest that brought something, None if there is none.

    With `lock`, others cannot change its row until the transaction ends. Raises NotFoundError, BusyError for
    a run at work, and UsageError for one that cannot be taken back.
    """
    if run_id is None:
        run_id = last_that_brought(connection, KINDS)
        if run_id is None:
            return None
    query = select(Run.kind, Run.status).where(Run.id == run_id)
    # Without waiting: a run that has its row locked is at work, and waits for the locks that we hold.
    row = connection.execute(query.with_for_update(nowait=True) if lock else query).first()
    if row is None:
        raise NotFoundError(f"there is no run {run_id}", hint="list them with `sgdb query runs`")
    if row.kind not in KINDS:
        raise UsageError(
            f"run {run_id} is a {row.kind}, and only runs of {' and '.join(KINDS)} can be taken back",
            hint="list them with `sgdb query runs`",
        )
    if row.status == ROLLED_BACK:
        raise UsageError(
            f"run {run_id} has been taken back already{_by(connection, run_id)}",
            hint=f"taking its files again brings everything back: sgdb {row.kind} FOLDER; "
            f"`sgdb query runs {run_id}` names them",
        )
    if row.status == RUNNING and at_work(connection, [run_id]):
        raise BusyError(
            f"run {run_id} is still at work",
            hint=f"wait for its end, or stop it (Ctrl-C), then run `sgdb rollback {run_id}`",
        )
    return RunToTakeBack(run_id, row.kind, row.status)


def _by(connection: Connection, run_id: int) -> str:
    query = select(Run.id).where(Run.kind == KIND, Run.options["run"].astext == str(run_id))
    found = connection.execute(query.order_by(Run.id.desc()).limit(1)).scalar()
    return f" by run {found}" if found is not None else ""


def find_files(connection: Connection, run_id: int) -> list[FileToTakeBack]:
    """The files that the run has taken; the refused ones have brought nothing."""
    other = aliased(SourceFile)
    elsewhere = (
        select(other.id)
        .where(other.archive_id == SourceFile.archive_id, other.run_id != SourceFile.run_id)
        .exists()
    )
    own = files_of(run_id)
    is_others = or_(ModelCheckpoint.source_file_id.is_(None), ModelCheckpoint.source_file_id.not_in(own))
    needed = (
        select(ModelCheckpoint.id)
        .where(
            ModelCheckpoint.weights_sha256 == SourceFile.sha256,
            is_others,
            ModelCheckpoint.id.not_in(weights_added(connection, run_id)),
        )
        .exists()
    )
    # Pruning may have removed the bytes already.
    is_there = select(Blob.sha256).where(Blob.sha256 == SourceFile.sha256).exists()
    kind = SourceFile.contents["kind"].astext
    query = (
        select(
            SourceFile.id,
            SourceFile.path,
            SourceFile.sha256,
            SourceFile.size_bytes,
            SourceFile.benchmark_set_id,
            SourceFile.archive_id,
            case((kind == WEIGHTS, and_(is_there, ~needed)), else_=~elsewhere),
            kind,
        )
        .where(SourceFile.run_id == run_id, SourceFile.status.in_(TAKEN))
        .order_by(SourceFile.id)
    )
    return [FileToTakeBack._make(row) for row in connection.execute(query)]


def require_no_dependents(connection: Connection, run_id: int) -> Heirs:
    """Raises DependentRowsError when others need what the run brought. Returns who inherits the rest."""
    heirs = find_heirs(connection, run_id)
    found = find_dependents(connection, run_id, heirs)
    if not found:
        return heirs
    named = "; ".join(map(str, found[:_SHOWN])) + (
        f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    )
    runs = sorted({each.run_id for each in found if each.run_id is not None}, reverse=True)
    hint = "nothing was changed; "
    if all(each.run_id is not None for each in found):
        hint += "take the later runs back first: " + ", ".join(f"sgdb rollback {run}" for run in runs[:3])
    else:
        hint += "rows that no run has brought are only removed by whoever wrote them"
    raise DependentRowsError(f"run {run_id} cannot be taken back, others need it: {named}", hint=hint)


def take_back(
    connection: Connection, ids: IdSource, run: RunToTakeBack, files: list[FileToTakeBack], heirs: Heirs
) -> TakenBack:
    """Removes what the run brought, and writes that down as a run of its own."""
    taken = TakenBack(make_run(connection, ids, KIND, {"run": run.id, "was": run.status}))
    _hand_on(connection, heirs)
    taken.kept = {"bots": len(heirs.bots), "configs": len(heirs.configs)}
    own = files_of(run.id)
    removed: dict[str, int] = {}
    if histories := connection.execute(delete(GameHistory).where(is_brought_history(run.id))).rowcount:
        removed["histories"] = histories
    taken.results = _remove_rows(connection, GameResult, own)
    taken.games = _remove_rows(connection, Game, own)
    removed |= _take_checkpoints_back(connection, run, files, taken)
    for name, table in (("sets", BenchmarkSet), ("bots", Bot), ("configs", GameConfigRow)):
        removed[name] = connection.execute(delete(table).where(table.source_file_id.in_(own))).rowcount
    extended = _extended(connection, run.id)
    connection.execute(
        update(SourceFile)
        .where(SourceFile.id.in_([file.id for file in files]))
        .values(status=ROLLED_BACK, benchmark_set_id=None, archive_id=None, contents=None)
    )
    for set_id, declared in extended.items():
        _lower(connection, set_id, declared)
    unused = select(SourceFile.id).where(SourceFile.archive_id == Archive.id).exists()
    archives = {file.archive_id for file in files if file.archive_id is not None}
    removed["originals"] = connection.execute(
        delete(Archive).where(Archive.id.in_(archives), ~unused)
    ).rowcount
    connection.execute(update(Run).where(Run.id == run.id).values(status=ROLLED_BACK))
    finish_run(connection, taken.run_id, "done")
    taken.counts = {"games": sum(taken.games.values()), "results": sum(taken.results.values()), **removed}
    return taken


def _take_checkpoints_back(
    connection: Connection, run: RunToTakeBack, files: list[FileToTakeBack], taken: TakenBack
) -> dict[str, int]:
    """Removes the run's checkpoints, its sessions, and the bytes that nobody needs any more; returns how many
    of each, of a run that had any."""
    if not any(file.kind for file in files):
        return {}
    own, added = files_of(run.id), weights_added(connection, run.id)
    taken.checkpoints, hashes = remove_epochs(connection, own, added)
    sessions = connection.execute(delete(TrainingSession).where(TrainingSession.source_file_id.in_(own)))
    blobs = remove_unused(connection, hashes)
    taken.in_files = [blob.sha256 for blob in blobs if blob.in_file]
    checkpoints = sum(taken.checkpoints.values())
    return {"sessions": sessions.rowcount, "checkpoints": checkpoints, "weights": len(blobs)}


def _hand_on(connection: Connection, heirs: Heirs) -> None:
    for table, inherited in ((Bot, heirs.bots), (GameConfigRow, heirs.configs)):
        for row_id, source_id in inherited.items():
            connection.execute(update(table).where(table.id == row_id).values(source_file_id=source_id))


def _remove_rows(connection: Connection, table: type[Game | GameResult], own: Any) -> dict[int, int]:
    """How many rows went, by the file that had brought them."""
    gone = delete(table).where(table.source_file_id.in_(own)).returning(table.source_file_id).cte("gone")
    counted = select(gone.c.source_file_id, func.count()).group_by(gone.c.source_file_id)
    return {row[0]: row[1] for row in connection.execute(counted)}


def _extended(connection: Connection, run_id: int) -> dict[int, int]:
    """The sets of others whose declared size is the run's, with that size."""
    declared: dict[int, int] = {}
    query = (
        select(BenchmarkSet.id, cast(SourceFile.contents["num_games"].astext, BigInteger))
        .join(SourceFile, SourceFile.benchmark_set_id == BenchmarkSet.id)
        .where(SourceFile.run_id == run_id, SourceFile.status.in_(TAKEN))
    )
    for set_id, num_games in connection.execute(query):
        declared[set_id] = max(num_games, declared.get(set_id, 0))
    sets = select(BenchmarkSet.id, BenchmarkSet.num_games).where(BenchmarkSet.id.in_(declared))
    return {row.id: row.num_games for row in connection.execute(sets) if row.num_games == declared[row.id]}


def _lower(connection: Connection, set_id: int, ours: int) -> None:
    """Gives a set that the run extended the size that is declared without it."""
    made_by = connection.execute(
        select(BenchmarkSet.source_file_id).where(BenchmarkSet.id == set_id)
    ).scalar_one()
    extension = SourceFile.counts["extended"]
    before = connection.execute(
        select(func.min(cast(extension["num_games_before"].astext, BigInteger))).where(
            extension["benchmark_set_id"].astext == str(set_id)
        )
    ).scalar_one()
    if made_by is None and before is None:  # made by hand with this size
        return
    saved = find_saved_source(connection, set_id)
    declared = [source.contents.num_games for source in sources(connection, set_id=set_id)]
    declared += [saved[1]] if saved is not None else []
    declared += [before] if before is not None else []
    if max(declared, default=ours) < ours:
        connection.execute(
            update(BenchmarkSet).where(BenchmarkSet.id == set_id).values(num_games=max(declared))
        )

"""`sgdb checkpoints`: what trainings have left, in and out, and what may go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine

from sgdb.atomic import atomic_file, remove_leftovers
from sgdb.database.access import ready_engine
from sgdb.database.blobs import find_blobs, remove_unused
from sgdb.database.checkpoints import (
    CheckpointBot,
    NewCheckpoint,
    Outcome,
    StoredCheckpoint,
    find_checkpoint_bots,
    find_checkpoints,
    get_checkpoint,
    remove_checkpoints,
)
from sgdb.database.engine import transaction, undo
from sgdb.database.experiments import note_pruned
from sgdb.database.locks import lock_checkpoints
from sgdb.database.retry import retried
from sgdb.database.sessions import StoredSession, find_sessions, get_session
from sgdb.errors import ConflictError, UsageError
from sgdb.progress import Progress, Silent
from sgdb.settings import Settings
from sgdb.storage.checkpoint_files import checkpoint_files
from sgdb.storage.checkpoint_reading import read_bytes, stored_bytes
from sgdb.storage.checkpoint_saving import Destination, save_checkpoint
from sgdb.storage.contents import Contents
from sgdb.storage.metrics import as_json
from sgdb.storage.retention import Candidate, Retention

# -- looking --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CheckpointResult:
    """One checkpoint and where it leads: the session that made it, and the bots that are it."""

    checkpoint: StoredCheckpoint
    session: StoredSession
    bots: list[CheckpointBot]

    def to_json(self) -> dict[str, Any]:
        """The command's JSON document."""
        return self.checkpoint.to_json() | {
            "lineage": {
                "session": self.session.to_json() | {"hyperparameters": self.session.hyperparameters},
                "bots": [bot._asdict() for bot in self.bots],
            }
        }


def list_checkpoints(
    session: str | None, settings: Settings, progress: Progress | None = None
) -> list[StoredCheckpoint]:
    """The checkpoints of one session, or of all, by session and epoch. Raises NotFoundError and UsageError
    as `get_session` does."""
    notice = (progress or Silent()).notice
    with ready_engine(settings, notice) as engine, transaction(engine, read_only=True) as connection:
        session_id = None if session is None else get_session(connection, session).id
        return find_checkpoints(connection, session_id=session_id)


def show_checkpoint(
    checkpoint_id: int, settings: Settings, progress: Progress | None = None
) -> CheckpointResult:
    """One checkpoint. Raises NotFoundError."""
    notice = (progress or Silent()).notice
    with ready_engine(settings, notice) as engine, transaction(engine, read_only=True) as connection:
        found = get_checkpoint(connection, checkpoint_id)
        (session,) = find_sessions(connection, session_id=found.session_id)
        return CheckpointResult(found, session, find_checkpoint_bots(connection, found.id))


# -- out and in -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GetOptions:
    """Which bytes go to which file; a file that is there is only replaced if that is allowed."""

    checkpoint_id: int
    to: Path
    optimizer: bool = False
    overwrite: bool = False


def get(options: GetOptions, settings: Settings, progress: Progress | None = None) -> dict[str, Any]:
    """Writes a checkpoint's weights, or its optimizer's state, into a file that gets its name when all of it
    is there and proven to be what was stored. Returns the command's JSON document.

    Raises NotFoundError, CheckpointError, AlreadyExistsError, FileAccessError, DiskFullError.
    """
    progress = progress or Silent()
    with ready_engine(settings, progress.notice) as engine, transaction(engine, read_only=True) as connection:
        found = get_checkpoint(connection, options.checkpoint_id)
        known = stored_bytes(found, optimizer=options.optimizer)
        files, written = checkpoint_files(settings, connection), 0
        remove_leftovers(options.to.parent, {options.to.name})
        progress.start(known.size_bytes or 0, "B")
        try:
            with atomic_file(options.to, overwrite=options.overwrite) as file:
                for piece in read_bytes(connection, files, found, optimizer=options.optimizer):
                    file.write(piece)
                    written += len(piece)
                    progress.advance(len(piece))
        finally:
            progress.finish()
    return {
        "checkpoint_id": found.id,
        "path": str(options.to.absolute()),
        "bytes": written,
        "sha256": known.sha256,
    }


@dataclass(frozen=True, slots=True)
class PutOptions:
    """A checkpoint out of files, for the session that is named by id, uid or name."""

    session: str
    epoch: int
    weights: Path | None = None
    optimizer: Path | None = None
    metrics: dict[str, Any] = field(default_factory=dict)


def put(options: PutOptions, settings: Settings, progress: Progress | None = None) -> dict[str, Any]:
    """Adds a checkpoint to a session; returns the command's JSON document.

    Raises UsageError where there is nothing to add, NotFoundError, ValueRefusedError, and ConflictError where
    the epoch has another checkpoint already.
    """
    if options.weights is None and options.optimizer is None and not options.metrics:
        raise UsageError("there is nothing to put", hint="give --weights FILE, --optimizer FILE or --metric")
    weights, optimizer = (
        None if path is None else Contents.given(path, what)
        for path, what in ((options.weights, "--weights"), (options.optimizer, "--optimizer"))
    )
    metrics = as_json(options.metrics, "--metric") or None
    notice = (progress or Silent()).notice
    with ready_engine(settings, notice) as engine:

        def add() -> tuple[int, Outcome]:
            with transaction(
                engine, isolation="READ COMMITTED", lock_timeout=settings.lock_timeout
            ) as connection:
                session = get_session(connection, options.session)
                new = NewCheckpoint(
                    session.id,
                    options.epoch,
                    weights.sha256 if weights else None,
                    optimizer.sha256 if optimizer else None,
                    metrics,
                    {"logged_at": datetime.now(UTC).isoformat()},
                )
                files = checkpoint_files(settings, connection)
                to = Destination(connection, files, settings.checkpoint_limit, settings.lock_timeout)
                outcome, other = save_checkpoint(to, new, [each for each in (weights, optimizer) if each])
                if outcome is Outcome.CONFLICT:
                    raise ConflictError(
                        f"session {session.id} has a checkpoint of epoch {options.epoch} with other {other}",
                        hint=f"nothing was changed; see `sgdb checkpoints list --session {session.id}`",
                    )
                return session.id, outcome

        session_id, outcome = retried(add, on_retry=notice)
    return {"session_id": session_id, "epoch": options.epoch, "status": outcome.value}


# -- pruning --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PruneOptions:
    """Which checkpoints of which session stay: the rules are those of `Retention`. A dry run only tells."""

    session: str
    last: int | None = None
    best: int | None = None
    metric: str | None = None
    lowest: bool = False
    every: int | None = None
    dry_run: bool = False


@dataclass(slots=True)
class PruneResult:
    """What goes, or went: checkpoints, and the bytes that no checkpoint needs any more, by hash with their
    size. `kept` has the reasons by epoch. `left_over` are files that no row names: of an earlier pruning that
    broke off, or of a save that did."""

    session: StoredSession
    dry_run: bool
    kept: dict[int, list[str]]
    pruned: list[StoredCheckpoint]
    freed: dict[str, int] = field(default_factory=dict)
    left_over: dict[str, int] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.pruned or self.freed or self.left_over)

    def to_json(self) -> dict[str, Any]:
        """The command's JSON document."""
        return {
            "session_id": self.session.id,
            "dry_run": self.dry_run,
            "kept": [{"epoch": epoch, "because": reasons} for epoch, reasons in self.kept.items()],
            "pruned": [checkpoint.to_json() for checkpoint in self.pruned],
            "freed_bytes": sum(self.freed.values()),
            "left_over": [{"sha256": sha256, "bytes": size} for sha256, size in self.left_over.items()],
        }


def prune(options: PruneOptions, settings: Settings, progress: Progress | None = None) -> PruneResult:
    """Removes a session's checkpoints but those that a rule keeps, and with them the bytes that no other
    checkpoint needs.

    Rows go first, in one transaction, and files when that is committed; what breaks off in between leaves
    files that the next pruning finds. A dry run does all but the commit. Raises UsageError, NotFoundError,
    and BusyError where others are at work on checkpoints for too long.
    """
    progress = progress or Silent()
    retention = Retention(options.last, options.best, options.metric, options.lowest, options.every)
    with ready_engine(settings, progress.notice) as engine:

        def remove() -> PruneResult:
            with _alone(engine, settings) as connection:
                result = _remove_rows(connection, options, retention)
                on_disk = _not_needed(connection, settings)
                result.left_over = {name: size for name, size in on_disk.items() if name not in result.freed}
                if options.dry_run:
                    undo(connection)
                return result

        result = retried(remove, on_retry=progress.notice)
        if not options.dry_run:
            with _alone(engine, settings) as connection:
                files = checkpoint_files(settings, connection)
                files.tidy()
                for sha256 in _not_needed(connection, settings):
                    files.remove(sha256)
        return result


@contextmanager
def _alone(engine: Engine, settings: Settings) -> Iterator[Connection]:
    """A transaction beside which nobody begins to need bytes of checkpoints."""
    wait = settings.lock_timeout
    with transaction(engine, isolation="READ COMMITTED", lock_timeout=wait) as connection:
        lock_checkpoints(connection, timeout=wait, alone=True)
        yield connection


def _remove_rows(connection: Connection, options: PruneOptions, retention: Retention) -> PruneResult:
    session = get_session(connection, options.session)
    checkpoints = find_checkpoints(connection, session_id=session.id)
    candidates = [Candidate(each.epoch, each.metrics, bool(each.bots)) for each in checkpoints]
    kept = retention.keep(candidates)
    pruned = [each for each in checkpoints if each.epoch not in kept]
    ids = [each.id for each in pruned]
    note_pruned(connection, ids)
    remove_checkpoints(connection, ids)
    freed = {blob.sha256: blob.size_bytes for blob in remove_unused(connection)}
    return PruneResult(session, options.dry_run, kept, pruned, freed)


def _not_needed(connection: Connection, settings: Settings) -> dict[str, int]:
    """The files that no row names, by hash with their size."""
    files = checkpoint_files(settings, connection)
    needed = {blob.sha256 for blob in find_blobs(connection) if blob.in_file}
    return {name: files.size_of(name) for name in files.hashes() if name not in needed}

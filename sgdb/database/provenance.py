"""Who brought what: runs and the files they looked at. Works inside the caller's transaction."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Connection, bindparam, cast, func, insert, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import aliased

import sgdb
from sgdb.database.ids import IdSource
from sgdb.database.models import BenchmarkSet, Run, SourceFile
from sgdb.errors import ConflictError
from sgdb.records import Contents

RUNNING = "running"
ROLLED_BACK = "rolled-back"
SAVED = "saved"
# What `kind` in the contents of a checkpoint's pickle says, and in those of the weights that belong to one.
CHECKPOINT = "checkpoint"
WEIGHTS = "weights"
# What a file that was taken may have become; the others have brought nothing that is there now.
TAKEN = ("migrated", "identical")
_ESCAPED_BYTE = re.compile(r"\\u(dc[89a-f][0-9a-f])")
_NEWEST_FILE = cast(SourceFile.contents["newest_file"].astext, BigInteger)
# Made once: to make a statement takes as long as to ask it, and every saving call needs these.
_SAVED_SOURCE = select(SourceFile.id, SourceFile.contents).where(
    SourceFile.benchmark_set_id == bindparam("set_id"), SourceFile.status == SAVED
)
_taken = aliased(SourceFile)
_FILES_NOTED = select(
    _NEWEST_FILE,
    select(func.coalesce(func.max(_taken.id), 0))
    .where(_taken.benchmark_set_id == bindparam("set_id"), _taken.status.in_(TAKEN))
    .scalar_subquery(),
).where(SourceFile.id == bindparam("saved_id"))


class SourceRow(NamedTuple):
    """One file that was taken, as recorded. `kind` is that of the run: of an import the file is a folder's
    manifest."""

    id: int
    path: str
    sha256: str
    benchmark_set_id: int
    archive_id: int | None
    contents: Contents
    kind: str


class RecordedFile(NamedTuple):
    """Where a file that was taken stood, and what it was. Weights of a checkpoint are carried, and no
    pickle."""

    path: str
    sha256: str
    size_bytes: int
    is_weights: bool


def path_text(path: Path) -> str:
    """An absolute path as text that PostgreSQL can hold, whatever bytes its name consists of."""
    return _storable(str(path.absolute()))


def recorded_path(text: str) -> Path:
    """The path that `path_text` made this text of."""
    restored = _ESCAPED_BYTE.sub(lambda escape: chr(int(escape[1], 16)), text)
    return Path(restored if _storable(restored) == text and not os.path.lexists(text) else text)


def _storable(text: str) -> str:
    """Text in which those bytes of a file's name that are no UTF-8 are written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def make_run(connection: Connection, ids: IdSource, kind: str, options: dict[str, Any]) -> int:
    """A new run, running."""
    (run_id,) = ids.take(connection, "runs", 1)
    connection.execute(
        insert(Run).values(id=run_id, kind=kind, sgdb_version=sgdb.__version__, options=options)
    )
    return run_id


def finish_run(connection: Connection, run_id: int, status: str) -> None:
    """Ends a run as "done", "interrupted" or "failed", unless it has been taken back."""
    running = (Run.id == run_id) & (Run.status == RUNNING)
    connection.execute(update(Run).where(running).values(status=status, finished_at=func.now()))


def make_source_file(
    connection: Connection, ids: IdSource, run_id: int, path: Path, *, sha256: str, size_bytes: int
) -> int:
    """A new row of source_files, whose other columns `complete_source_file` fills in; returns its id."""
    (source_id,) = ids.take(connection, "source_files", 1)
    connection.execute(
        insert(SourceFile).values(
            id=source_id,
            run_id=run_id,
            path=path_text(path),
            sha256=sha256,
            size_bytes=size_bytes,
            status="migrated",
        )
    )
    return source_id


def complete_source_file(connection: Connection, source_id: int, **values: Any) -> None:
    """Fills in what was not known yet when the row was made."""
    connection.execute(update(SourceFile).where(SourceFile.id == source_id).values(**values))


def find_saved_source(connection: Connection, set_id: int) -> tuple[int, int] | None:
    """The set's source for what programs store: its id, and the size that they declared."""
    row = connection.execute(_SAVED_SOURCE, {"set_id": set_id}).first()
    return (row.id, row.contents["num_games"]) if row else None


def make_saved_source(connection: Connection, ids: IdSource, num_games: int) -> int:
    """A new source for what programs store, of no set yet: `complete_source_file` names it."""
    run_id = make_run(connection, ids, "storage", {})
    finish_run(connection, run_id, "done")
    (source_id,) = ids.take(connection, "source_files", 1)
    connection.execute(
        insert(SourceFile).values(
            id=source_id, run_id=run_id, path="", status=SAVED, contents={"num_games": num_games}
        )
    )
    return source_id


def remember_files(connection: Connection, saved_id: int, set_id: int) -> None:
    """Notes on the set's source for programs which files had been taken into the set when one of them stored
    something last: what it found to be there already, it relies on from then on."""
    noted, newest = connection.execute(_FILES_NOTED, {"saved_id": saved_id, "set_id": set_id}).one()
    if noted is None or noted < newest:  # seldom: other writers of the set wait for this row
        note = SourceFile.contents.op("||")(cast({"newest_file": newest}, JSONB))
        connection.execute(update(SourceFile).where(SourceFile.id == saved_id).values(contents=note))


def has_saved_since(connection: Connection, set_id: int, source_id: int) -> bool:
    """Whether a program may have stored something in the set after this file was taken into it."""
    query = select(_NEWEST_FILE).where(SourceFile.benchmark_set_id == set_id, SourceFile.status == SAVED)
    return any(noted is None or noted >= source_id for noted in connection.execute(query).scalars())


def record_rejection(
    connection: Connection,
    ids: IdSource,
    run_id: Callable[[], int],
    path: Path,
    sha256: str | None,
    error: str,
    counts: dict[str, Any],
) -> None:
    """Writes down that a file was refused, unless the same refusal of the same file is on record."""
    same_bytes = SourceFile.sha256.is_(None) if sha256 is None else SourceFile.sha256 == sha256
    query = select(SourceFile.id).where(
        SourceFile.status == "rejected",
        SourceFile.path == path_text(path),
        SourceFile.error == _storable(error),
        same_bytes,
    )
    if connection.execute(query.limit(1)).first() is not None:
        return
    (source_id,) = ids.take(connection, "source_files", 1)
    connection.execute(
        insert(SourceFile).values(
            id=source_id,
            run_id=run_id(),
            path=path_text(path),
            sha256=sha256,
            status="rejected",
            error=_storable(error),
            counts=counts,
        )
    )


def is_registered(connection: Connection, sha256: str, set_id: int | None, *, with_archive: bool) -> bool:
    """Whether this very content is recorded as a source of the set, or of none, such as a checkpoint (with
    its original, if asked for)."""
    query = select(SourceFile.id).where(
        SourceFile.sha256 == sha256,
        SourceFile.benchmark_set_id == set_id,
        SourceFile.status.in_(TAKEN),
    )
    if with_archive:
        query = query.where(SourceFile.archive_id.is_not(None))
    return connection.execute(query.limit(1)).first() is not None


def sources(
    connection: Connection, *, set_id: int | None = None, sha256: str | None = None
) -> list[SourceRow]:
    """The files that were taken, oldest first; of one set or of one content where that is asked for."""
    query = (
        select(
            SourceFile.id,
            SourceFile.path,
            SourceFile.sha256,
            SourceFile.benchmark_set_id,
            SourceFile.archive_id,
            SourceFile.contents,
            Run.kind,
        )
        .join(Run, Run.id == SourceFile.run_id)
        .where(SourceFile.status.in_(TAKEN), SourceFile.benchmark_set_id.is_not(None))
        .order_by(SourceFile.id)
    )
    if set_id is not None:
        query = query.where(SourceFile.benchmark_set_id == set_id)
    if sha256 is not None:
        query = query.where(SourceFile.sha256 == sha256)
    return [
        SourceRow(
            row.id,
            row.path,
            row.sha256,
            row.benchmark_set_id,
            row.archive_id,
            Contents.from_json(row.contents),
            row.kind,
        )
        for row in connection.execute(query)
    ]


def recorded_files(connection: Connection, kind: str) -> list[RecordedFile]:
    """The files that runs of this kind have taken, oldest first, without what they hold."""
    query = (
        select(
            SourceFile.path,
            SourceFile.sha256,
            SourceFile.size_bytes,
            func.coalesce(SourceFile.contents["kind"].astext == WEIGHTS, False),
        )
        .join(Run, Run.id == SourceFile.run_id)
        .where(SourceFile.status.in_(TAKEN), Run.kind == kind)
        .order_by(SourceFile.id)
    )
    return [RecordedFile._make(row) for row in connection.execute(query)]


def set_ids(connection: Connection) -> list[int]:
    """All benchmark sets."""
    return list(connection.execute(select(BenchmarkSet.id).order_by(BenchmarkSet.id)).scalars())


def require_same_extras(connection: Connection, set_id: int, contents: Contents) -> None:
    """Raises ConflictError when another file of the set has another value for one of the further top-level
    entries or attributes of the config: one exported file could not hold both."""
    for source in sources(connection, set_id=set_id):
        for kind, ours, theirs in (
            ("top-level entry", contents.extra, source.contents.extra),
            ("attribute of the config", contents.config_extra, source.contents.config_extra),
        ):
            for name in ours.keys() & theirs.keys():
                if json.dumps(ours[name], sort_keys=True) != json.dumps(theirs[name], sort_keys=True):
                    raise ConflictError(
                        f"another file of the set ({source.path}) has another value for the {kind} {name!a}: "
                        f"file {ours[name]!a:.100}, database {theirs[name]!a:.100}",
                        hint="nothing was changed; migrate it into a database of its own to keep both",
                    )

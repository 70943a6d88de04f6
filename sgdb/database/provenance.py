"""Who brought what: runs and the files they looked at. Works inside the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, insert, select, update

import sgdb
from sgdb.database.ids import IdSource
from sgdb.database.models import BenchmarkSet, Run, SourceFile
from sgdb.errors import ConflictError
from sgdb.records import Contents

SAVED = "saved"
# What a file that was taken may have become; the others have brought nothing that is there now.
_TAKEN = ("migrated", "identical")


class SourceRow(NamedTuple):
    """One file that was taken, as recorded."""

    id: int
    path: str
    sha256: str
    benchmark_set_id: int
    archive_id: int | None
    contents: Contents


def path_text(path: Path) -> str:
    """An absolute path as text that PostgreSQL can hold, whatever bytes its name consists of."""
    return _storable(str(path.absolute()))


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
    """Ends a run as "done", "interrupted" or "failed"."""
    connection.execute(update(Run).where(Run.id == run_id).values(status=status, finished_at=func.now()))


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
    row = connection.execute(
        select(SourceFile.id, SourceFile.contents).where(
            SourceFile.benchmark_set_id == set_id, SourceFile.status == SAVED
        )
    ).first()
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


def is_registered(connection: Connection, sha256: str, set_id: int, *, with_archive: bool) -> bool:
    """Whether this very content is recorded as a source of the set (with its original, if asked for)."""
    query = select(SourceFile.id).where(
        SourceFile.sha256 == sha256,
        SourceFile.benchmark_set_id == set_id,
        SourceFile.status.in_(_TAKEN),
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
        )
        .where(SourceFile.status.in_(_TAKEN), SourceFile.benchmark_set_id.is_not(None))
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
        )
        for row in connection.execute(query)
    ]


def taken_paths(connection: Connection, paths: Collection[str]) -> set[str]:
    """Those of these paths, as recorded, from which files were taken."""
    query = select(SourceFile.path).where(SourceFile.status.in_(_TAKEN), SourceFile.path.in_(paths))
    return set(connection.execute(query).scalars())


def set_ids(connection: Connection) -> list[int]:
    """All benchmark sets."""
    return list(connection.execute(select(BenchmarkSet.id).order_by(BenchmarkSet.id)).scalars())


def last_run(connection: Connection) -> dict[str, Any] | None:
    """The newest run: id, kind, status, and when it started, as ISO 8601."""
    row = connection.execute(
        select(Run.id, Run.kind, Run.status, Run.started_at).order_by(Run.id.desc()).limit(1)
    ).first()
    if row is None:
        return None
    return {**row._mapping, "started_at": row.started_at.isoformat(timespec="seconds")}


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

"""What the runs did, as `sgdb query runs`, `status` and `rollback` tell it.

Works inside the caller's transaction. Of a run that says `running`, `liveness` knows whether it is at work.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Connection, cast, func, select

from sgdb.database.models import Run, SourceFile
from sgdb.database.provenance import ROLLED_BACK, RUNNING, TAKEN


def list_runs(connection: Connection) -> list[dict[str, Any]]:
    """All runs, oldest first, with their files by outcome and the sums of what these brought, also where
    that has been taken back."""

    def files(status: str) -> Any:
        return func.count(SourceFile.id).filter(SourceFile.status == status)

    def total(kind: str, name: str) -> Any:
        return cast(func.coalesce(func.sum(_counted(kind, name)), 0), BigInteger)

    query = (
        select(
            Run.id,
            Run.kind,
            Run.status,
            Run.started_at,
            Run.finished_at,
            files("migrated").label("migrated"),
            files("identical").label("identical"),
            files("rejected").label("rejected"),
            files(ROLLED_BACK).label("rolled_back"),
            total("games", "inserted").label("games_inserted"),
            total("games", "regenerated").label("games_regenerated"),
            total("results", "inserted").label("results_inserted"),
            total("checkpoints", "inserted").label("checkpoints_inserted"),
            Run.sgdb_version,
            Run.options,
        )
        .outerjoin(SourceFile, SourceFile.run_id == Run.id)
        .group_by(Run.id)
        .order_by(Run.id)
    )
    return [_timed(dict(row._mapping)) for row in connection.execute(query)]


def list_files(connection: Connection, run_id: int) -> list[dict[str, Any]]:
    """The files of a run in the order in which they were recorded."""
    query = (
        select(
            SourceFile.id,
            SourceFile.path,
            SourceFile.status,
            SourceFile.benchmark_set_id,
            SourceFile.sha256,
            SourceFile.size_bytes,
            func.coalesce(_counted("games", "inserted"), 0).label("games_inserted"),
            func.coalesce(_counted("games", "regenerated"), 0).label("games_regenerated"),
            func.coalesce(_counted("results", "inserted"), 0).label("results_inserted"),
            func.coalesce(_counted("checkpoints", "inserted"), 0).label("checkpoints_inserted"),
            SourceFile.archive_id.is_not(None).label("archived"),
            SourceFile.error,
            func.coalesce(SourceFile.notes, func.jsonb_build_array()).label("notes"),
        )
        .where(SourceFile.run_id == run_id)
        .order_by(SourceFile.id)
    )
    return [dict(row._mapping) for row in connection.execute(query)]


def _counted(kind: str, name: str) -> Any:
    return cast(SourceFile.counts[kind][name].astext, BigInteger)


def _timed(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its times as ISO 8601."""
    return {
        name: value.isoformat(timespec="seconds") if isinstance(value, datetime) else value
        for name, value in row.items()
    }


def run_exists(connection: Connection, run_id: int) -> bool:
    """Whether there is a run of this number."""
    return connection.execute(select(Run.id).where(Run.id == run_id)).first() is not None


def running(connection: Connection) -> list[int]:
    """The runs that have not said that they ended."""
    return list(connection.execute(select(Run.id).where(Run.status == RUNNING).order_by(Run.id)).scalars())


def last_run(connection: Connection) -> dict[str, Any] | None:
    """The newest run: id, kind, status, and when it started, as ISO 8601."""
    row = connection.execute(
        select(Run.id, Run.kind, Run.status, Run.started_at).order_by(Run.id.desc()).limit(1)
    ).first()
    return None if row is None else _timed(dict(row._mapping))


def last_that_brought(connection: Connection, kinds: Collection[str]) -> int | None:
    """The newest run of these kinds that brought something and has not been taken back."""
    query = (
        select(func.max(Run.id))
        .join(SourceFile, SourceFile.run_id == Run.id)
        .where(Run.kind.in_(kinds), Run.status != ROLLED_BACK, SourceFile.status.in_(TAKEN))
    )
    return connection.execute(query).scalar()

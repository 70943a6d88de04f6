"""How much there is: rows and bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Table, func, select

from sgdb.database.models import Base


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes on disk: each of sgdb's tables with its indexes, and the whole database."""

    tables: dict[str, int]
    database: int


def row_counts(connection: Connection) -> dict[str, int]:
    """The exact number of rows of each of sgdb's tables; reads them whole."""
    return _measured(connection, lambda table: select(func.count()).select_from(table).scalar_subquery())


def sizes(connection: Connection) -> Sizes:
    """Bytes on disk, of the tables and of the database; writes nothing."""
    return Sizes(
        tables=_measured(connection, lambda table: func.pg_total_relation_size(table.name)),
        database=database_size(connection),
    )


def database_size(connection: Connection) -> int:
    """Bytes on disk of all that is in the database; waits for no lock."""
    size: int = connection.execute(select(func.pg_database_size(func.current_database()))).scalar_one()
    return size


def _measured(connection: Connection, measure: Callable[[Table], ColumnElement[int]]) -> dict[str, int]:
    """What `measure` says of each table, all in one moment, in the order of the models."""
    tables = Base.metadata.tables
    values = connection.execute(select(*map(measure, tables.values()))).one()
    return dict(zip(tables, values, strict=True))

"""What sgdb's tables, indexes and sequences cost, and whether they are looked after.

All of it comes from the catalog and the server's statistics, so no row is read, however many there are.
Numbers of rows are the server's estimates. A table that is locked altogether is not waited for: its size is
then the one that the last VACUUM or ANALYZE has noted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Dialect, Index, PrimaryKeyConstraint, Table, UniqueConstraint, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import AddConstraint, CreateIndex

from sgdb.database.models import Base
from sgdb.database.own_tables import OwnTables

_LOCK_NOT_AVAILABLE = "55P03"
# https://www.postgresql.org/docs/current/storage-page-layout.html
_PAGE_HEADER, _LINE_POINTER, _ROW_HEADER, _ALIGNMENT = 24, 4, 23, 8
# Where transaction ids begin to mean the past as well as the future.
_TRANSACTION_IDS = 2**31

_TABLES = """
    SELECT c.oid, c.relname, c.relpages, c.reltuples, s.n_live_tup, s.n_dead_tup,
        greatest(s.last_vacuum, s.last_autovacuum) AS last_vacuum,
        greatest(s.last_analyze, s.last_autoanalyze) AS last_analyze,
        s.seq_scan, s.seq_tup_read, s.idx_scan, coalesce(t.relpages, 0) AS toast_pages,
        coalesce((SELECT option_value::int FROM pg_options_to_table(c.reloptions)
            WHERE option_name = 'fillfactor'), 100) AS fillfactor,
        current_setting('block_size')::int AS block_size
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
    LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
    WHERE n.nspname = :schema AND c.relname = ANY(:names) AND c.relkind = 'r'
"""
# Of columns that the user may not read, pg_stats has no line.
_WIDTHS = """
    SELECT a.attrelid, count(*) AS columns, count(s.attname) AS known,
        coalesce(sum((1 - s.null_frac) * s.avg_width), 0)::float8 AS width,
        coalesce(bool_or(s.null_frac > 0), false) AS has_nulls
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    LEFT JOIN pg_stats s ON s.schemaname = :schema AND s.tablename = c.relname AND s.attname = a.attname
    WHERE a.attrelid = ANY(:tables) AND a.attnum > 0 AND NOT a.attisdropped GROUP BY a.attrelid
"""
_INDEXES = """
    SELECT i.indrelid, i.indexrelid, c.relname, CAST(c.oid AS regclass)::text AS address, c.relpages,
        i.indisvalid AND i.indisready AS valid, i.indisunique, s.idx_scan
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    LEFT JOIN pg_stat_all_indexes s ON s.indexrelid = i.indexrelid
    WHERE i.indrelid = ANY(:tables) ORDER BY c.relname
"""
_SIZES = """
    SELECT pg_table_size(c.oid) - toast.bytes AS table_bytes, toast.bytes AS toast_bytes
    FROM pg_class c, LATERAL (
        SELECT coalesce(pg_total_relation_size(nullif(c.reltoastrelid, 0)), 0) AS bytes
    ) toast WHERE c.oid = :table
"""
_INDEX_SIZES = "SELECT indexrelid, pg_relation_size(indexrelid) FROM pg_index WHERE indrelid = :table"
_SEQUENCES = """
    SELECT c.relname, a.attname, s.seqmin, s.seqmax,
        has_sequence_privilege(s.seqrelid, 'USAGE, SELECT') AS visible,
        CASE WHEN has_sequence_privilege(s.seqrelid, 'USAGE, SELECT')
            THEN pg_sequence_last_value(CAST(s.seqrelid AS regclass)) END AS last_value
    FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid
    JOIN pg_depend d ON d.objid = s.seqrelid AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
    JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE d.refobjid = :table AND d.refclassid = 'pg_class'::regclass ORDER BY c.relname
"""


@dataclass(frozen=True, slots=True)
class TableUpkeep:
    """One table. Bytes are on disk; `toast_bytes` are those of large values. `rows` and `dead_rows` are
    estimates. `bloat_bytes` is what a table written anew would save, estimated from the last ANALYZE; None
    where there was none, or its results are hidden. `measured` is False where the table was locked, and the
    bytes are those noted last."""

    table: str
    rows: int
    dead_rows: int
    table_bytes: int
    toast_bytes: int
    index_bytes: int
    bloat_bytes: int | None
    last_vacuum: datetime | None
    last_analyze: datetime | None
    sequential_scans: int
    sequential_rows: int
    index_scans: int
    measured: bool

    @property
    def bytes(self) -> int:
        """All of it together."""
        return self.table_bytes + self.toast_bytes + self.index_bytes


@dataclass(frozen=True, slots=True)
class IndexUpkeep:
    """One index on one of sgdb's tables, sgdb's or not; `address` can be put into a statement. `scans` are
    since the server's statistics began. One that is `unique` is needed, however seldom it is looked into."""

    index: str
    address: str
    table: str
    bytes: int
    scans: int
    unique: bool
    valid: bool


@dataclass(frozen=True, slots=True)
class MissingIndex:
    """An index that sgdb's schema has and this database has not, and the statement that makes it."""

    index: str
    table: str
    statement: str


@dataclass(frozen=True, slots=True)
class SequenceUpkeep:
    """Numbers handed out by the sequence of one column. `used` is the share of all that it has; None, like
    `last_value`, where the user may not see it."""

    sequence: str
    table: str
    column: str
    last_value: int | None
    max_value: int
    used: float | None


@dataclass(frozen=True, slots=True)
class Upkeep:
    """All of sgdb's tables, in the order of the models, with what belongs to them.

    `unmeasured` are tables that were locked.
    """

    tables: tuple[TableUpkeep, ...]
    indexes: tuple[IndexUpkeep, ...]
    missing_indexes: tuple[MissingIndex, ...]
    sequences: tuple[SequenceUpkeep, ...]

    @property
    def unmeasured(self) -> list[str]:
        """The tables that were locked."""
        return [table.table for table in self.tables if not table.measured]


def upkeep(connection: Connection, own: OwnTables) -> Upkeep:
    """The state of these tables.

    The transaction's lock_timeout is how long each table that is locked is waited for.
    """
    rows = connection.execute(text(_TABLES), {"schema": own.schema, "names": list(own.tables)}).all()
    by_name = {row.relname: row for row in rows}
    oids = {"tables": [row.oid for row in rows]}
    widths = {row.attrelid: row for row in connection.execute(text(_WIDTHS), {"schema": own.schema, **oids})}
    found = connection.execute(text(_INDEXES), oids).all()
    tables: list[TableUpkeep] = []
    indexes: list[IndexUpkeep] = []
    sequences: list[SequenceUpkeep] = []
    for name in own.tables:
        row = by_name[name]
        of_table = [index for index in found if index.indrelid == row.oid]
        measured = _measure(connection, name, row.oid)
        if measured is None:
            measured = _Measured(
                table_bytes=row.relpages * row.block_size,
                toast_bytes=row.toast_pages * row.block_size,
                index_bytes={index.indexrelid: index.relpages * row.block_size for index in of_table},
                sequences=[],
                is_fresh=False,
            )
        tables.append(_table(row, widths.get(row.oid), measured))
        sequences += measured.sequences
        indexes += [
            IndexUpkeep(
                index=index.relname,
                address=index.address,
                table=name,
                bytes=measured.index_bytes.get(index.indexrelid, 0),
                scans=index.idx_scan or 0,
                unique=index.indisunique,
                valid=index.valid,
            )
            for index in of_table
        ]
    return Upkeep(
        tuple(tables), tuple(indexes), tuple(_missing(connection.dialect, own, indexes)), tuple(sequences)
    )


def transaction_ids_used(connection: Connection) -> float:
    """The share of the transaction ids that the database has used up since its oldest row was frozen.

    At 1 a server takes no more writes; autovacuum keeps it at about a tenth.
    """
    age = connection.scalar(
        text("SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database()")
    )
    return float(age or 0) / _TRANSACTION_IDS


def estimated_bloat(
    *, rows: float, pages: int, width: float, columns: int, has_nulls: bool, fillfactor: int, block_size: int
) -> int:
    """Bytes of a table's pages that its rows would not need if they were written anew, side by side.

    `width` is the mean of a row's values in bytes. Follows the layout of a page; padding between columns is
    left out, so a table without any bloat may seem to have a little.
    """
    header = _aligned(_ROW_HEADER + (math.ceil(columns / 8) if has_nulls else 0))
    row = header + _aligned(math.ceil(width)) + _LINE_POINTER
    on_a_page = max(1, int((block_size - _PAGE_HEADER) * fillfactor / 100 / row))
    return max(0, pages - math.ceil(rows / on_a_page)) * block_size


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


@dataclass(slots=True)
class _Measured:
    table_bytes: int
    toast_bytes: int
    index_bytes: dict[int, int]
    sequences: list[SequenceUpkeep]
    is_fresh: bool = True


def _measure(connection: Connection, name: str, oid: int) -> _Measured | None:
    """What can only be told with a lock on the table, the weakest there is; None where it is locked."""
    table = {"table": oid}
    try:
        with connection.begin_nested():
            sizes = connection.execute(text(_SIZES), table).one_or_none()
            index_sizes = connection.execute(text(_INDEX_SIZES), table).all()
            sequences = connection.execute(text(_SEQUENCES), table).all()
    except DBAPIError as error:
        if getattr(error.orig, "pgcode", None) != _LOCK_NOT_AVAILABLE:
            raise
        return None
    # The size of what has just been dropped is NULL.
    return _Measured(
        table_bytes=(sizes and sizes.table_bytes) or 0,
        toast_bytes=(sizes and sizes.toast_bytes) or 0,
        index_bytes={index: size or 0 for index, size in index_sizes},
        sequences=[_sequence(name, row) for row in sequences],
    )


def _table(row: Any, widths: Any, measured: _Measured) -> TableUpkeep:
    bloat = None
    if widths is not None and widths.known == widths.columns and row.reltuples >= 0:
        bloat = estimated_bloat(
            rows=row.reltuples,
            pages=row.relpages,
            width=widths.width,
            columns=widths.columns,
            has_nulls=widths.has_nulls,
            fillfactor=row.fillfactor,
            block_size=row.block_size,
        )
    return TableUpkeep(
        table=row.relname,
        # The counters are lost in a crash; what was noted then is better than nothing.
        rows=row.n_live_tup or max(0, round(row.reltuples)),
        dead_rows=row.n_dead_tup or 0,
        table_bytes=measured.table_bytes,
        toast_bytes=measured.toast_bytes,
        index_bytes=sum(measured.index_bytes.values()),
        bloat_bytes=bloat,
        last_vacuum=row.last_vacuum,
        last_analyze=row.last_analyze,
        sequential_scans=row.seq_scan or 0,
        sequential_rows=row.seq_tup_read or 0,
        index_scans=row.idx_scan or 0,
        measured=measured.is_fresh,
    )


def _sequence(table: str, row: Any) -> SequenceUpkeep:
    used = None
    if row.visible:
        used = (
            0.0
            if row.last_value is None
            else (row.last_value - row.seqmin + 1) / (row.seqmax - row.seqmin + 1)
        )
    return SequenceUpkeep(row.relname, table, row.attname, row.last_value, row.seqmax, used)


def _missing(dialect: Dialect, own: OwnTables, found: list[IndexUpkeep]) -> list[MissingIndex]:
    there = {(index.table, index.index) for index in found}
    return [
        MissingIndex(str(wanted.name), name, _statement(dialect, wanted))
        for name in own.tables
        for wanted in _wanted(Base.metadata.tables[name])
        if (name, wanted.name) not in there
    ]


_Wanted = Index | PrimaryKeyConstraint | UniqueConstraint


def _wanted(table: Table) -> list[_Wanted]:
    constraints = [
        one for one in table.constraints if isinstance(one, PrimaryKeyConstraint | UniqueConstraint)
    ]
    return sorted([*constraints, *table.indexes], key=lambda one: str(one.name))


def _statement(dialect: Dialect, wanted: _Wanted) -> str:
    element = CreateIndex(wanted) if isinstance(wanted, Index) else AddConstraint(wanted)
    return " ".join(str(element.compile(dialect=dialect)).split())

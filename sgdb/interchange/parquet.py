"""Apache Parquet, by pyarrow (the extra `sgdb[parquet]`), compressed with zstd.

Boards and moves are lists of lists of 32-bit integers, metadata is JSON text. Files that others wrote may
have other integer types, compressions and row groups.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from sgdb.errors import MissingPackageError, ValueRefusedError
from sgdb.interchange.strict_json import compact, loads
from sgdb.interchange.tables import (
    BATCH_ROWS,
    BATCH_TEXT,
    Kind,
    Row,
    Table,
    batches,
    checked,
    require_columns,
)

_GROUP_ROWS = 100_000  # of a row group, which is kept in memory until it is written
_GROUP_BYTES = 1 << 25  # of a row group in memory
_MAX_GROUP = 1 << 29  # bytes of a row group that is read, uncompressed
_MAX_VALUES = 1 << 27  # of one column in it, each cell of a board counted
_MAX_THRIFT = 1 << 26  # bytes or items of one piece of a file's description


def require_pyarrow() -> Any:
    """pyarrow with its Parquet part loaded. Raises MissingPackageError."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingPackageError(
            f"Parquet needs pyarrow, which cannot be loaded: {error}",
            hint="pip install 'sgdb[parquet]', or take --format jsonl or csv",
        ) from None
    return pyarrow


def write(file: BinaryIO, table: Table, rows: Iterable[Row]) -> int:
    """Writes the rows; returns how many. Raises ValueRefusedError for a board that is no list of lists of
    whole numbers."""
    pa = require_pyarrow()
    types = {
        Kind.INTEGER: pa.int64(),
        Kind.REAL: pa.float64(),
        Kind.BOOLEAN: pa.bool_(),
        Kind.TEXT: pa.string(),
        Kind.GRID: pa.list_(pa.list_(pa.int32())),
        Kind.JSON: pa.string(),
    }
    schema = pa.schema(
        [pa.field(column.name, types[column.kind], nullable=column.optional) for column in table.columns]
    )
    cells = [_CELLS.get(column.kind) for column in table.columns]
    large = [at for at, cell in enumerate(cells) if cell is not None]
    count = 0
    with pa.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        group: list[Any] = []
        for piece in _pieces(rows, large):
            group.append(_record_batch(pa, table, schema, cells, piece))
            if sum(batch.num_rows for batch in group) >= _GROUP_ROWS or _bytes(group) >= _GROUP_BYTES:
                writer.write_table(pa.Table.from_batches(group))
                group = []
            count += len(piece)
        if group:
            writer.write_table(pa.Table.from_batches(group))
    return count


def _bytes(group: list[Any]) -> int:
    return sum(batch.nbytes for batch in group)


def _record_batch(pa: Any, table: Table, schema: Any, cells: list[Any], rows: list[Row]) -> Any:
    arrays = []
    for field, cell, values in zip(schema, cells, zip(*rows, strict=True), strict=True):
        found = values if cell is None else [None if value is None else cell(value) for value in values]
        try:
            arrays.append(pa.array(found, field.type))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise ValueRefusedError(
                f"table {table.name}, column {field.name}: a value is no {field.type}: {error}",
                hint="export it with --format jsonl",
            ) from None
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _pieces(rows: Iterable[Row], large: list[int]) -> Iterator[list[Row]]:
    """The rows in lists that stay small, whatever their texts."""
    return batches((row, sum(len(row[at] or "") for at in large)) for row in rows)


def read(file: BinaryIO, table: Table) -> Iterator[list[Row]]:
    """The rows in batches. Raises ValueRefusedError."""
    pa = require_pyarrow()
    first = 1
    try:
        with pa.parquet.ParquetFile(
            file, thrift_string_size_limit=_MAX_THRIFT, thrift_container_size_limit=_MAX_THRIFT
        ) as source:
            require_columns(table, source.schema_arrow.names)
            size = _batch_size(source.metadata)
            for batch in source.iter_batches(size, columns=list(table.names), use_threads=False):
                columns = [
                    _values(batch.column(column.name).to_pylist(), column.kind, column.name, first)
                    for column in table.columns
                ]
                yield checked(table, list(zip(*columns, strict=True)), first)
                first += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise ValueRefusedError(f"no sound Parquet: {str(error).splitlines()[0]:.200}") from None


def _batch_size(metadata: Any) -> int:
    """How many rows to take at a time. Raises ValueRefusedError for groups of rows that are too large."""
    most = 1
    for at in range(metadata.num_row_groups):
        group = metadata.row_group(at)
        values = max((group.column(number).num_values for number in range(group.num_columns)), default=0)
        if group.total_byte_size > _MAX_GROUP or values > _MAX_VALUES:
            raise ValueRefusedError(f"row group {at} is too large to be read: write smaller ones")
        most = max(most, group.total_byte_size // max(group.num_rows, 1), values // max(group.num_rows, 1))
    return max(1, min(BATCH_ROWS, BATCH_TEXT // most))


def _values(values: list[Any], kind: Kind, name: str, first: int) -> list[Any]:
    """JSON text as values; all others as they are."""
    if kind is not Kind.JSON:
        return values
    found = []
    for number, value in enumerate(values, first):
        try:
            found.append(value if type(value) is not str else loads(value))
        except ValueRefusedError as error:
            raise ValueRefusedError(f"row {number}, column {name}: {error.message}") from None
    return found


_CELLS: dict[Kind, Any] = {Kind.GRID: json.loads, Kind.JSON: compact}

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
from sgdb.interchange.tables import BATCH_ROWS, BATCH_TEXT, Kind, Row, Table, checked, require_columns

_GROUP_ROWS = 50_000  # of a row group, which is made in memory
_GROUP_TEXT = 1 << 24  # characters of boards, moves and metadata in it
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
    count = 0
    with pa.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for group in _groups(rows, [at for at, cell in enumerate(cells) if cell is not None]):
            arrays = []
            for field, cell, values in zip(schema, cells, zip(*group, strict=True), strict=True):
                found = (
                    values if cell is None else [None if value is None else cell(value) for value in values]
                )
                try:
                    arrays.append(pa.array(found, field.type))
                except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                    raise ValueRefusedError(
                        f"table {table.name}, column {field.name}: a value cannot be written as "
                        f"{field.type}: {error}",
                        hint="export it with --format jsonl",
                    ) from None
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            count += len(group)
    return count


def _groups(rows: Iterable[Row], large: list[int]) -> Iterator[list[Row]]:
    """The rows in lists that stay small, whatever their texts."""
    group: list[Row] = []
    have = 0
    for row in rows:
        group.append(row)
        have += sum(len(row[at] or "") for at in large)
        if len(group) == _GROUP_ROWS or have >= _GROUP_TEXT:
            yield group
            group, have = [], 0
    if group:
        yield group


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

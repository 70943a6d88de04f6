"""JSON Lines (jsonlines.org): one JSON object a row, UTF-8, lines ended by a newline."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from sgdb.errors import ValueRefusedError
from sgdb.interchange.strict_json import compact, loads
from sgdb.interchange.tables import Kind, Row, Table, batches, checked, require_columns

MAX_LINE = 1 << 26  # bytes
_BOM = b"\xef\xbb\xbf"


def write(file: BinaryIO, table: Table, rows: Iterable[Row]) -> int:
    """Writes the rows; returns how many."""
    count = 0
    cells = [(f"{', ' if at else ''}{json.dumps(column.name)}: ", _CELLS[column.kind])
             for at, column in enumerate(table.columns)]  # fmt: skip
    for row in rows:
        parts = [
            name + ("null" if value is None else cell(value))
            for (name, cell), value in zip(cells, row, strict=True)
        ]
        file.write(f"{{{''.join(parts)}}}\n".encode())
        count += 1
    return count


def read(file: BinaryIO, table: Table) -> Iterator[list[Row]]:
    """The rows in batches. Raises ValueRefusedError naming the line."""
    first = 1
    for batch in batches(_rows(file, table)):
        yield checked(table, batch, first)
        first += len(batch)


def _rows(file: BinaryIO, table: Table) -> Iterator[tuple[Row, int]]:
    names = table.names
    number = 0
    while line := file.readline(MAX_LINE):
        number += 1
        if len(line) == MAX_LINE:
            raise ValueRefusedError(f"row {number}: longer than {MAX_LINE} bytes")
        if number == 1:
            line = line.removeprefix(_BOM)
        try:
            found = _object(line)
            if tuple(found) != names:
                require_columns(table, list(found))
        except ValueRefusedError as error:
            raise ValueRefusedError(f"row {number}: {error.message}") from None
        yield tuple([found[name] for name in names]), len(line)


def _object(line: bytes) -> dict[str, Any]:
    found = loads(line)
    if type(found) is not dict:
        raise ValueRefusedError("no JSON object")
    return found


_CELLS: dict[Kind, Any] = {
    Kind.INTEGER: str,
    Kind.REAL: repr,
    Kind.BOOLEAN: lambda value: "true" if value else "false",
    Kind.TEXT: lambda value: json.dumps(value, ensure_ascii=False),
    Kind.GRID: compact,
    Kind.JSON: compact,
}

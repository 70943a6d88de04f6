"""CSV (RFC 4180): UTF-8, a header, commas, lines ended by CRLF. Boards, moves and metadata are JSON text.

CSV knows no null. An empty cell is null where the column may be null, and otherwise the empty text. A text
of nothing but quotation marks (none of them, too) in a column that may be null is therefore written with two
more around it.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from sgdb.errors import ValueRefusedError
from sgdb.interchange.strict_json import compact, loads
from sgdb.interchange.tables import Column, Kind, Row, Table, batches, checked, require_columns
from sgdb.pickles.inert import shown

MAX_CELL = 1 << 26  # characters
_WHOLE = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]{1,400}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,4})?", re.ASCII)
_TRUTH = {"true": True, "false": False}


def write(file: BinaryIO, table: Table, rows: Iterable[Row]) -> int:
    """Writes header and rows; returns how many rows."""
    text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
    try:
        writer = csv.writer(text)
        writer.writerow(table.names)
        cells = [_writing(column) for column in table.columns]
        count = 0
        for row in rows:
            writer.writerow([cell(value) for cell, value in zip(cells, row, strict=True)])
            count += 1
    finally:
        text.detach()  # or the file would be closed with it
    return count


def read(file: BinaryIO, table: Table) -> Iterator[list[Row]]:
    """The rows in batches; lines may end in any way, and a byte order mark may stand first. Raises
    ValueRefusedError naming the row, the first after the header being 1."""
    # A limit of the whole process, which is never made smaller here.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_CELL))
    text = io.TextIOWrapper(file, "utf-8-sig", newline="")
    first = 1
    try:
        for batch in batches(_rows(text, table)):
            yield checked(table, batch, first)
            first += len(batch)
    except UnicodeDecodeError:
        raise ValueRefusedError(f"somewhere after row {first}: not UTF-8") from None
    finally:
        text.detach()


def _rows(text: io.TextIOWrapper, table: Table) -> Iterator[tuple[Row, int]]:
    reader = csv.reader(_lines(text), strict=True)
    number = 0
    try:
        header = next(reader, None)
        if header is None:
            raise ValueRefusedError("the header is missing")
        require_columns(table, header)
        places = [(header.index(column.name), column, _READING[column.kind]) for column in table.columns]
        for number, cells in enumerate(reader, 1):
            if len(cells) != len(header):
                raise ValueRefusedError(
                    f"row {number}: {len(cells)} cells where the header has {len(header)}"
                )
            row = tuple([_cell(cells[at], column, read, number) for at, column, read in places])
            yield row, sum(map(len, cells))
    except csv.Error as error:
        raise ValueRefusedError(f"row {number + 1}: {error}") from None


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    while line := text.readline(MAX_CELL):
        yield line


def _cell(cell: str, column: Column, read: Any, number: int) -> Any:
    if column.optional:
        if not cell:
            return None
        if column.kind is Kind.TEXT and not cell.strip('"') and len(cell) > 1:
            return cell[1:-1]
    try:
        return read(cell)
    except ValueRefusedError as error:
        raise ValueRefusedError(f"row {number}, column {column.name}: {error.message}") from None
    except ValueError:
        raise ValueRefusedError(
            f"row {number}, column {column.name}: {shown(cell)} is not {column.kind.value}"
        ) from None


def _whole(cell: str) -> int:
    if _WHOLE.fullmatch(cell) is None:
        raise ValueError(cell)
    return int(cell)


def _number(cell: str) -> float:
    if _NUMBER.fullmatch(cell) is None:
        raise ValueError(cell)
    return float(cell)


def _truth(cell: str) -> bool:
    found = _TRUTH.get(cell.lower())  # a spreadsheet writes them in capitals
    if found is None:
        raise ValueError(cell)
    return found


_READING: dict[Kind, Any] = {
    Kind.INTEGER: _whole,
    Kind.REAL: _number,
    Kind.BOOLEAN: _truth,
    Kind.TEXT: str,
    Kind.GRID: loads,
    Kind.JSON: loads,
}


def _writing(column: Column) -> Any:
    if column.kind is Kind.TEXT and column.optional:
        return _optional_text
    if column.kind is Kind.REAL:
        return lambda value: "" if value is None else repr(value)
    if column.kind is Kind.BOOLEAN:
        return lambda value: "true" if value else "false"
    if column.kind in (Kind.GRID, Kind.JSON):
        return lambda value: "" if value is None else compact(value)
    return lambda value: "" if value is None else value


def _optional_text(value: str | None) -> str:
    if value is None:
        return ""
    return value if value.strip('"') else f'"{value}"'

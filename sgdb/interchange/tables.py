"""The tables of an exported folder: their columns, and what a value in each may be.

Rows are tuples in the order of the columns. Writers are given rows as the database has them, with JSON as
text; readers give rows with JSON as values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sgdb.errors import ValueRefusedError
from sgdb.pickles.attributes import storable_text
from sgdb.pickles.inert import shown

INT64 = 2**63 - 1
BATCH_ROWS = 1000
BATCH_TEXT = 1 << 21  # characters of all rows that are read at a time
Row = tuple[Any, ...]


class Kind(Enum):
    """What a column holds. A GRID is a list of lists of whole numbers: a board, or moves as [row, column]."""

    INTEGER = "a whole number of 64 bits"
    REAL = "a finite number"
    BOOLEAN = "true or false"
    TEXT = "a text that can be stored"
    GRID = "a list of lists of whole numbers"
    JSON = "JSON"


@dataclass(frozen=True, slots=True)
class Column:
    """A column; one that is `optional` may be null."""

    name: str
    kind: Kind
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table. One that is `by_set` has a file a benchmark set, below a folder for each board shape."""

    name: str
    columns: tuple[Column, ...]
    by_set: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names in order."""
        return tuple(column.name for column in self.columns)


SETS = Table(
    "sets",
    (
        Column("num_rows", Kind.INTEGER),
        Column("num_cols", Kind.INTEGER),
        Column("num_colors", Kind.INTEGER),
        Column("base_seed", Kind.INTEGER),
        Column("num_games", Kind.INTEGER),
        Column("name", Kind.TEXT),
        Column("description", Kind.TEXT, optional=True),
    ),
    by_set=False,
)
BOTS = Table(
    "bots",
    (
        Column("name", Kind.TEXT),
        Column("bot_type", Kind.TEXT, optional=True),
        Column("version", Kind.TEXT, optional=True),
        Column("metadata", Kind.JSON, optional=True),
    ),
    by_set=False,
)
GAMES = Table(
    "games",
    (
        Column("base_seed", Kind.INTEGER),
        Column("game_index", Kind.INTEGER),
        Column("seed", Kind.INTEGER, optional=True),
        Column("board", Kind.GRID),
        Column("metadata", Kind.JSON, optional=True),
    ),
    by_set=True,
)
RESULTS = Table(
    "results",
    (
        Column("base_seed", Kind.INTEGER),
        Column("bot", Kind.TEXT),
        Column("game_index", Kind.INTEGER),
        Column("tiles_cleared", Kind.INTEGER),
        Column("singles_remaining", Kind.INTEGER),
        Column("moves_made", Kind.INTEGER),
        Column("completed", Kind.BOOLEAN),
        Column("execution_time_ms", Kind.REAL, optional=True),
        Column("metadata", Kind.JSON, optional=True),
    ),
    by_set=True,
)
HISTORIES = Table(
    "histories",
    (
        Column("base_seed", Kind.INTEGER),
        Column("bot", Kind.TEXT),
        Column("game_index", Kind.INTEGER),
        Column("moves", Kind.GRID),
        Column("board_states", Kind.JSON, optional=True),
        Column("decision_metadata", Kind.JSON, optional=True),
    ),
    by_set=True,
)
SESSIONS = Table(
    "sessions",
    (
        Column("uid", Kind.TEXT),
        Column("bot", Kind.TEXT),
        Column("name", Kind.TEXT, optional=True),
        Column("num_rows", Kind.INTEGER, optional=True),
        Column("num_cols", Kind.INTEGER, optional=True),
        Column("num_colors", Kind.INTEGER, optional=True),
        Column("start_time", Kind.TEXT),
        Column("end_time", Kind.TEXT, optional=True),
        Column("heartbeat_at", Kind.TEXT, optional=True),
        Column("status", Kind.TEXT),
        Column("hyperparameters", Kind.JSON),
        Column("final_metrics", Kind.JSON, optional=True),
        Column("metadata", Kind.JSON, optional=True),
    ),
    by_set=False,
)
CHECKPOINTS = Table(
    "checkpoints",
    (
        Column("session", Kind.TEXT),
        Column("epoch", Kind.INTEGER),
        Column("weights_sha256", Kind.TEXT, optional=True),
        Column("weights_bytes", Kind.INTEGER, optional=True),
        Column("optimizer_sha256", Kind.TEXT, optional=True),
        Column("optimizer_bytes", Kind.INTEGER, optional=True),
        Column("file_path", Kind.TEXT, optional=True),
        Column("bots", Kind.JSON),
        Column("metrics", Kind.JSON, optional=True),
        Column("metadata", Kind.JSON, optional=True),
    ),
    by_set=False,
)
TABLES = {table.name: table for table in (SETS, BOTS, GAMES, RESULTS, HISTORIES, SESSIONS, CHECKPOINTS)}

_TYPES: dict[Kind, set[type]] = {
    Kind.INTEGER: {int},
    Kind.REAL: {int, float},
    Kind.BOOLEAN: {bool},
    Kind.TEXT: {str},
    Kind.GRID: {list},
}


def require_columns(table: Table, found: Sequence[str]) -> None:
    """Raises ValueRefusedError unless these are the table's columns, in any order."""
    lacking = [name for name in table.names if name not in found]
    unknown = [name for name in found if name not in table.names]
    if lacking or unknown or len(set(found)) < len(found):
        said = [
            f"the columns {', '.join(map(shown, names))} are {what}"
            for names, what in ((lacking, "missing"), (unknown, "not known"))
            if names
        ]
        raise ValueRefusedError("; ".join(said) or "a column stands twice")


def checked(table: Table, rows: list[Row], first: int) -> list[Row]:
    """The rows, each value of which is one that its column may hold; `first` is the first row's number.

    Whole columns at a time; row by row only to name what is wrong. Raises ValueRefusedError.
    """
    for column, values in zip(table.columns, zip(*rows, strict=True), strict=True):
        types = set(map(type, values))
        if column.optional:
            types.discard(type(None))
        if types <= _TYPES.get(column.kind, types) and (column.optional or type(None) not in types):
            present = values if not column.optional else [value for value in values if value is not None]
            if all(map(_TESTS[column.kind], present)):
                continue
        for number, value in enumerate(values, first):
            _require(column, value, number)
    return rows


def _require(column: Column, value: Any, number: int) -> None:
    if value is None and column.optional:
        return
    fits = value is not None and type(value) in _TYPES.get(column.kind, {type(value)})
    if not fits or not _TESTS[column.kind](value):
        raise ValueRefusedError(
            f"row {number}, column {column.name}: {shown(value)} is not {column.kind.value}"
        )


_TESTS: dict[Kind, Any] = {
    Kind.INTEGER: lambda value: -INT64 - 1 <= value <= INT64,
    Kind.REAL: math.isfinite,
    Kind.BOOLEAN: lambda _: True,
    Kind.TEXT: storable_text,
    Kind.GRID: lambda _: True,  # whoever knows the board looks at every cell
    Kind.JSON: lambda _: True,  # looked at when it was read
}


def batches(rows: Iterator[tuple[Row, int]]) -> Iterator[list[Row]]:
    """The rows, each given with the length of its text, in lists that stay small."""
    batch: list[Row] = []
    have = 0
    for row, length in rows:
        batch.append(row)
        have += length
        if len(batch) == BATCH_ROWS or have >= BATCH_TEXT:
            yield batch
            batch, have = [], 0
    if batch:
        yield batch

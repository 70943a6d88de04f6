"""The formats by name, and each with its way to write and to read a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, NamedTuple

from sgdb.interchange import csv_files, jsonl, parquet
from sgdb.interchange.tables import Row, Table
from sgdb.records import ExportFormat


class Format(NamedTuple):
    """How tables are kept in files that end in `suffix`."""

    suffix: str
    write: Callable[[BinaryIO, Table, Iterable[Row]], int]
    read: Callable[[BinaryIO, Table], Iterator[list[Row]]]
    require: Callable[[], object] = bool
    """Raises MissingPackageError where a package that it takes is not installed."""


FORMATS: dict[str, Format] = {
    ExportFormat.JSONL: Format(".jsonl", jsonl.write, jsonl.read),
    ExportFormat.CSV: Format(".csv", csv_files.write, csv_files.read),
    ExportFormat.PARQUET: Format(".parquet", parquet.write, parquet.read, parquet.require_pyarrow),
}

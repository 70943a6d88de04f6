"""COPY: rows in bulk, as PostgreSQL's text format.

The format is that of the COPY chapter of PostgreSQL's manual: columns separated by tabs, NULL as \\N,
backslash, tab, newline and carriage return escaped.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, cast

import psycopg2
from sqlalchemy import Connection

_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_READ_SIZE = 1 << 16  # bytes psycopg2 asks for at a time


def json_cell(value: dict[str, Any] | None) -> str:
    """A JSON column's cell."""
    if value is None:
        return r"\N"
    return json.dumps(value, ensure_ascii=True, allow_nan=False).translate(_ESCAPES)


class _Reader:
    """Chunks as the file-like object that psycopg2 reads from. Keeps the exception that a chunk's making
    raised, because psycopg2 turns it into an error of its own."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._chunk = b""
        self._at = 0  # how much of the chunk has been read
        self.error: BaseException | None = None

    def read(self, size: int = -1, /) -> bytes:
        try:
            if self._at >= len(self._chunk):
                self._chunk, self._at = next(self._chunks, b""), 0
            start, self._at = self._at, self._at + size
            return self._chunk[start : self._at]
        except BaseException as error:
            self.error = error
            raise


class _LastWords:
    """Keeps what a server says when it ends a session in the middle of a COPY.

    psycopg2 stumbles when two errors come at once, the server's reason and the loss of the connection: it
    prints the first by way of `sys.excepthook`, where it would stand before our own message, and raises an
    error that says only that the connection is closed.
    """

    def __init__(self) -> None:
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._users = 0
        self._former = sys.excepthook

    @contextmanager
    def kept(self) -> Iterator[list[psycopg2.Error]]:
        """While this lasts, errors that psycopg2 would print in this thread come into the list instead."""
        self._mine.words = words = list[psycopg2.Error]()
        with self._lock:
            if not self._users:
                self._former, sys.excepthook = sys.excepthook, self._hook
            self._users += 1
        try:
            yield words
        finally:
            self._mine.words = None
            with self._lock:
                self._users -= 1
                if not self._users and sys.excepthook == self._hook:
                    sys.excepthook = self._former

    def _hook(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        words: list[psycopg2.Error] | None = getattr(self._mine, "words", None)
        cause = error if isinstance(error, psycopg2.Error) else error.__cause__
        if words is None or not isinstance(cause, psycopg2.Error):
            self._former(kind, error, trace)
        else:
            words.append(cause)


_last_words = _LastWords()


def copy_lines(connection: Connection, table: str, columns: tuple[str, ...], lines: Iterable[str]) -> None:
    """Copies lines (each one or more rows, with their newlines) into `table`.

    What the making of a line raises comes out as it is; the transaction is then lost, as after every
    failed statement. Nothing may be asked of `connection` while lines are made.
    """
    copy_chunks(connection, table, columns, _joined(lines))


def copy_chunks(
    connection: Connection, table: str, columns: tuple[str, ...], chunks: Iterator[bytes]
) -> None:
    """Copies rows whose lines come as UTF-8 in chunks (none of them empty, cut anywhere). Otherwise like
    `copy_lines`."""
    reader = _Reader(chunks)
    driver_connection = cast("psycopg2.extensions.connection", connection.connection.driver_connection)
    with driver_connection.cursor() as cursor, _last_words.kept() as words:
        try:
            # Whatever the session's own encoding, which the database's address may name.
            statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN (ENCODING 'UTF8')"
            cursor.copy_expert(statement, reader, _READ_SIZE)
        except psycopg2.Error as error:
            if driver_connection.closed:
                # Or SQLAlchemy, which has not seen this statement, fails over the rollback instead.
                connection.invalidate(error)
            if reader.error is not None:
                raise reader.error from None
            if words:
                raise words[0] from None
            # A signal that came while psycopg2 was sending strikes at the very entry of `read`, before
            # anything there could keep it.
            if "KeyboardInterrupt" in str(error):
                raise KeyboardInterrupt from None
            raise


def _joined(lines: Iterable[str]) -> Iterator[bytes]:
    """Lines put together, as many as psycopg2 asks for at a time."""
    parts, have = [], 0
    for line in lines:
        parts.append(line)
        have += len(line)
        if have >= _READ_SIZE:
            yield "".join(parts).encode()
            parts, have = [], 0
    if parts:
        yield "".join(parts).encode()

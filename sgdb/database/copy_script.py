"""Rows out of the SQL script that pg_restore makes of a dump's data.

The script is text with one kind of statement that matters here:

    COPY schema.table (column, ...) FROM stdin;
    rows in COPY's text format
    \\.

Everything else in it is left out: sgdb makes its tables itself, sets its sequences itself, and executes
nothing that a file says. In the rows every backslash begins an escape and none of these is a dot, so a
line `\\.` ends them and nothing else does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sgdb.database.manifest import OTHER_BACKUP
from sgdb.errors import BackupError

_LONGEST_LINE = 1 << 20  # bytes; of lines outside the rows, which hold names
_END = b"\n\\.\n"
_NAME = r'(?:"(?:[^"]|"")+"|[^\s".,()]+)'
_COPY = re.compile(rf"COPY (?:{_NAME}\.)?({_NAME}) \(({_NAME}(?:, {_NAME})*)\) FROM stdin;\n")


@dataclass(frozen=True, slots=True)
class CopyBlock:
    """The rows of one table: lines, in chunks that may cut them anywhere. Read them before the next block."""

    table: str
    columns: tuple[str, ...]
    chunks: Iterator[bytes]


def copy_blocks(script: Iterator[bytes]) -> Iterator[CopyBlock]:
    """The blocks of rows in a script, in its order. Keeps no rows. Raises BackupError where it breaks off."""
    reader = _Reader(script)
    while (line := reader.line()) is not None:
        if not line.startswith(b"COPY "):
            continue
        found = _COPY.fullmatch(line.decode("utf-8", "replace"))
        if found is None:
            raise BackupError(f"the dump has rows of an unknown form: {line[:200]!a}", hint=OTHER_BACKUP)
        rows = reader.rows()
        yield CopyBlock(_unquoted(found[1]), tuple(map(_unquoted, re.findall(_NAME, found[2]))), rows)
        for _ in rows:  # what the caller has left
            pass


class _Reader:
    def __init__(self, script: Iterator[bytes]) -> None:
        self._script = script
        self._buffer = b""

    def line(self) -> bytes | None:
        """The next line with its newline; None at the end."""
        while (at := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > _LONGEST_LINE:
                raise BackupError("the dump has a line that is too long to be one", hint=OTHER_BACKUP)
            more = next(self._script, None)
            if more is None:
                line, self._buffer = self._buffer, b""
                return line or None
            self._buffer += more
        line, self._buffer = self._buffer[: at + 1], self._buffer[at + 1 :]
        return line

    def rows(self) -> Iterator[bytes]:
        """The lines up to the end of the rows, in chunks that may cut them anywhere."""
        # The newline of the COPY statement, so that an end right at the beginning is found like any other.
        buffer, self._buffer = b"\n" + self._buffer, b""
        skip = 1
        while (at := buffer.find(_END)) < 0:
            cut = max(skip, len(buffer) - len(_END) + 1)  # the rest may be the beginning of the end
            if cut > skip:
                yield buffer[skip:cut]
                buffer, skip = buffer[cut:], 0
            more = next(self._script, None)
            if more is None:
                raise BackupError("the dump breaks off within a table's rows", hint=OTHER_BACKUP)
            buffer += more
        self._buffer = buffer[at + len(_END) :]
        if at + 1 > skip:
            yield buffer[skip : at + 1]


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name

"""Benchmark sets out of the database into a folder of tables, all from the caller's transaction.

Each file gets its name when it is whole, and the manifest comes last: a folder without one is no export.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import Connection

import sgdb
from sgdb.atomic import atomic_file, file_error, make_folder, remove_leftovers
from sgdb.database.coverage import stored_games
from sgdb.database.extracts import (
    extract_bots,
    extract_games,
    extract_histories,
    extract_results,
    has_histories,
    name_and_description,
)
from sgdb.database.merging import merged_contents, require_complete
from sgdb.database.revisions import current
from sgdb.database.sets import StoredSet
from sgdb.errors import AlreadyExistsError, FileAccessError, SgdbError
from sgdb.interchange.formats import FORMATS
from sgdb.interchange.manifest import MAX_BYTES, NAME, FileEntry, Manifest, SetEntry, is_below
from sgdb.interchange.tables import (
    BOTS,
    CHECKPOINTS,
    GAMES,
    HISTORIES,
    RESULTS,
    SESSIONS,
    SETS,
    Row,
    Table,
)
from sgdb.interchange.trainings import Trainings
from sgdb.records import Contents, GameConfig


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file that is there now; `set_id` is None for one that belongs to no single set."""

    path: Path
    set_id: int | None
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _PlannedSet:
    stored: StoredSet
    contents: Contents
    paths: dict[Table, str]


class HashedFile(io.RawIOBase):
    """Hashes and counts on the way to the file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        """Writes all of the data."""
        self._hash.update(data)
        self._file.write(data)
        self.size += len(data)
        return len(data)

    def tell(self) -> int:
        """How many bytes have been written."""
        return self.size

    @property
    def sha256(self) -> str:
        """Of what has been written so far."""
        return self._hash.hexdigest()


class FolderWriter:
    """One export of these sets to `folder`, with all `trainings` if they are given. `file_count` is how many
    files it will be.

    Raises MissingPackageError or IncompleteSetError, and AlreadyExistsError where a file stands that it may
    not `overwrite`: before anything is written.
    """

    def __init__(
        self,
        connection: Connection,
        folder: Path,
        sets: Sequence[StoredSet],
        format: str,
        *,
        trainings: Trainings | None = None,
        overwrite: bool,
    ) -> None:
        self._connection = connection
        self._folder = folder
        self._format = format
        self._overwrite = overwrite
        self._made: set[Path] = set()
        self._kind = FORMATS[format]
        self._kind.require()
        self._sets = self._planned(sets)
        self._trainings = trainings if trainings is not None and trainings.sessions else None
        tables = (SETS, BOTS) if self._trainings is None else (SETS, BOTS, SESSIONS, CHECKPOINTS)
        self._paths = [f"{table.name}{self._kind.suffix}" for table in tables]
        self._paths += [path for one in self._sets for path in one.paths.values()]
        if self._trainings is not None:
            self._paths += [path for path, _, _ in self._trainings.weights()]
        self.file_count = len(self._paths) + 1
        self._names = {Path(path).name for path in (NAME, *self._paths)}
        there = [path for path in (NAME, *self._paths) if os.path.lexists(folder / path)]
        if there and not overwrite:
            what = "exists" if len(there) == 1 else f"and {len(there) - 1} more exist"
            raise AlreadyExistsError(
                f"{folder / there[0]} {what} already; nothing was written",
                hint="give --overwrite, or another --to",
            )

    def _planned(self, sets: Iterable[StoredSet]) -> list[_PlannedSet]:
        planned: list[_PlannedSet] = []
        seen: dict[tuple[GameConfig, int], int] = {}
        for stored in sets:
            contents = merged_contents(self._connection, stored)
            require_complete(self._connection, stored.id, contents)
            number = seen[stored.config, stored.base_seed] = (
                seen.get((stored.config, stored.base_seed), 0) + 1
            )
            name = f"seed_{stored.base_seed}{'' if number == 1 else f'.{number}'}{self._kind.suffix}"
            config = stored.config
            below = f"num_rows={config.num_rows}/num_cols={config.num_cols}/num_colors={config.num_colors}"
            filled = {
                GAMES: bool(len(stored_games(self._connection, stored.id))),
                RESULTS: contents.result_count > 0,
                HISTORIES: has_histories(self._connection, stored.id),
            }
            paths = {table: f"{table.name}/{below}/{name}" for table, rows in filled.items() if rows}
            planned.append(_PlannedSet(stored, contents, paths))
        return planned

    def write(self) -> Iterator[WrittenFile]:
        """Writes one file after the other, and gives each when it is there.

        Raises DiskFullError, FileAccessError or ValueRefusedError; what is written by then stays, and is no
        export without its manifest.
        """
        self._make(self._folder)
        if self._overwrite:
            self._remove_former()
        files = {}
        names: dict[str, None] = {}
        for one in self._sets:
            names |= dict.fromkeys(key for key, _ in one.contents.results)
        tables = [(SETS, self._set_rows())]
        trainings = self._trainings
        weights: dict[str, FileEntry] | None = None
        if trainings is not None:
            names |= dict.fromkeys(trainings.bots())
            tables += [(SESSIONS, iter(trainings.sessions)), (CHECKPOINTS, trainings.rows())]
        for table, rows in (*tables, (BOTS, extract_bots(self._connection, names))):
            entry = self._table(f"{table.name}{self._kind.suffix}", table, rows)
            files[table.name] = entry
            yield self._written(entry, None)
        if trainings is not None and trainings.with_bytes:
            weights = {}
            for path, sha256, pieces in trainings.weights():
                weights[sha256] = entry = self._bytes(path, pieces)
                yield self._written(entry, None)
        entries = []
        for one in self._sets:
            of_set = {}
            for table, path in one.paths.items():
                rows = _EXTRACTS[table](self._connection, one.stored.id, one.stored.base_seed)
                of_set[table.name] = entry = self._table(path, table, rows)
                yield self._written(entry, one.stored.id)
            entries.append(
                SetEntry(one.stored.config, one.stored.base_seed, one.stored.num_games, one.contents, of_set)
            )
        manifest = Manifest(
            self._format,
            entries,
            files,
            weights,
            sgdb_version=sgdb.__version__,
            schema_revision=current(self._connection),
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        raw = manifest.to_bytes()
        with atomic_file(self._folder / NAME, overwrite=self._overwrite) as file:
            file.write(raw)
        yield WrittenFile(self._folder / NAME, None, hashlib.sha256(raw).hexdigest(), len(raw))

    def _make(self, folder: Path) -> None:
        """Has the folder there, without the hidden files of exports that were killed."""
        if folder not in self._made:
            make_folder(folder)
            remove_leftovers(folder, self._names)
            self._made.add(folder)

    def _set_rows(self) -> Iterator[Row]:
        for one in self._sets:
            config = one.stored.config
            yield (
                config.num_rows,
                config.num_cols,
                config.num_colors,
                one.stored.base_seed,
                one.stored.num_games,
                *name_and_description(self._connection, one.stored.id),
            )

    def _table(self, name: str, table: Table, rows: Iterable[Row]) -> FileEntry:
        path = self._folder / name
        self._make(path.parent)
        with atomic_file(path, overwrite=self._overwrite) as file:
            hashed = HashedFile(file)
            count = self._kind.write(hashed, table, rows)  # type: ignore[arg-type]
        return FileEntry(name, count, hashed.size, hashed.sha256)

    def _bytes(self, name: str, pieces: Iterable[bytes]) -> FileEntry:
        path = self._folder / name
        self._make(path.parent)
        with atomic_file(path, overwrite=self._overwrite) as file:
            hashed = HashedFile(file)
            for piece in pieces:
                hashed.write(piece)
        return FileEntry(name, 0, hashed.size, hashed.sha256)

    def _written(self, entry: FileEntry, set_id: int | None) -> WrittenFile:
        return WrittenFile(self._folder / entry.path, set_id, entry.sha256, entry.size_bytes)

    def _remove_former(self) -> None:
        """Takes a former export's manifest away, and those of its files that will not be written anew: they
        would be read as part of the new one by whoever reads all files of a folder."""
        path = self._folder / NAME
        try:
            former = _read_former(path)
            path.unlink(missing_ok=True)
            for entry in former.all_files() if former is not None else []:
                stale = self._folder / entry.path
                if entry.path not in self._paths and is_below(self._folder, stale.parent):
                    with suppress(FileNotFoundError, NotADirectoryError):
                        stale.unlink()
                        self._remove_empty(stale.parent)
        except OSError as error:
            raise file_error(error, f"cannot replace the export in {self._folder}") from error

    def _remove_empty(self, folder: Path) -> None:
        """Removes the folders below ours that are empty now, from here upwards."""
        with suppress(OSError):  # the first that holds something
            while folder != self._folder:
                folder.rmdir()
                folder = folder.parent


def _read_former(path: Path) -> Manifest | None:
    """The manifest that is to be replaced; None where it cannot be read, or is none. Raises FileAccessError
    for a pipe or a device, which would not be replaced, and may never answer."""
    if path.exists() and not path.is_file():
        raise FileAccessError(f"cannot write {path}: it is no regular file", hint="give another --to")
    try:
        with path.open("rb") as file:
            return Manifest.from_bytes(file.read(MAX_BYTES))
    except (FileNotFoundError, SgdbError):
        return None


_EXTRACTS: dict[Table, Callable[[Connection, int, int], Iterator[Row]]] = {
    GAMES: extract_games,
    RESULTS: extract_results,
    HISTORIES: extract_histories,
}

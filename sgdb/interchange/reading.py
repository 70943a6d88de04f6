"""A folder that `sgdb export` has written, read back: what it holds, and its rows as records.

Nothing is taken from a file whose bytes are not those that the manifest names. A set is gone over once by
`FolderSet.read`, which finds everything that is wrong with it, and then again for its rows; rows are never
kept, so memory does not depend on the files' size.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

from sgdb.database.bots import BotRow
from sgdb.database.coverage import listed
from sgdb.errors import ExportedFolderError, FileAccessError, NotFoundError, SgdbError, ValueRefusedError
from sgdb.interchange.folder_trainings import FolderTraining, read_trainings
from sgdb.interchange.formats import FORMATS
from sgdb.interchange.manifest import MAX_BYTES, NAME, FileEntry, Manifest, SetEntry, is_below
from sgdb.interchange.rows import MoveRow, SetRows, TimedResults
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
from sgdb.interchange.values import require_bot_name, require_metadata
from sgdb.pickles.inert import shown
from sgdb.pickles.rows import Notes
from sgdb.records import Contents, GameSnapshot, IdRuns
from sgdb.storage.contents import Contents as StoredContents

_CHUNK = 1 << 20
_MOST_SMALL_ROWS = 1_000_000  # of bots and sets, which are kept in memory
_T = TypeVar("_T")
OnBytes = Callable[[int], object]


class ExportedFolder:
    """A folder whose manifest has been read. `sha256` and `size` are the manifest's; `bots` are what the
    folder says about bots, by name; `sets` come in the manifest's order. `trainings` are None where the bytes
    of their checkpoints were left out."""

    def __init__(self, path: Path) -> None:
        """Raises NotFoundError, FileAccessError, ExportedFolderError, or ValueRefusedError."""
        self.path = path
        self.manifest_path = path / NAME
        raw = _manifest_bytes(path)
        self.sha256, self.size = hashlib.sha256(raw).hexdigest(), len(raw)
        self.manifest = Manifest.from_bytes(raw)
        self._format = FORMATS[self.manifest.format]
        self._format.require()
        self.bots: dict[str, BotRow] = {}
        for row in self._small(BOTS):
            bot = BotRow(*row)
            _require_bot(bot)
            if bot.name in self.bots:
                raise ValueRefusedError(f"bot {shown(bot.name)} stands twice")
            self.bots[bot.name] = bot
        self.sets = self._sets()
        self.trainings: list[FolderTraining] | None = None
        if SESSIONS.name not in self.manifest.files:
            self.trainings = []
        elif self.manifest.weights is not None:
            sessions, checkpoints = self._small(SESSIONS), self._small(CHECKPOINTS)
            self.trainings = read_trainings(sessions, checkpoints, self.manifest.weights)

    def weights(self, sha256: str) -> StoredContents:
        """The bytes of a checkpoint, which are proven when they are read. Raises ExportedFolderError or
        FileAccessError."""
        assert self.manifest.weights is not None
        entry = self.manifest.weights[sha256]
        with _verified(self.path, entry, None):
            return StoredContents(sha256, entry.size_bytes, path=self.path / entry.path)

    def _small(self, table: Table) -> list[Row]:
        entry = self.manifest.files.get(table.name)
        if entry is None:
            return []
        if entry.rows > _MOST_SMALL_ROWS:
            raise ExportedFolderError(f"{entry.path}: more than {_MOST_SMALL_ROWS} rows")
        return [row for batch in self._read(entry, table) for row in batch]

    def _sets(self) -> list[FolderSet]:
        rows = self._small(SETS)
        entries = self.manifest.sets
        identities = [
            (one.config.num_rows, one.config.num_cols, one.config.num_colors, one.base_seed, one.num_games)
            for one in entries
        ]
        if "sets" in self.manifest.files and [row[:5] for row in rows] != identities:
            raise ExportedFolderError(
                f"{self.manifest.files['sets'].path} names other sets than {NAME}, or in another order"
            )
        names: list[Row] = [row[5:] for row in rows] or [(None, None)] * len(entries)
        for name, _ in names:
            if name is not None and len(name) > 255:
                raise ValueRefusedError(f"the set's name {shown(name)} is longer than 255 characters")
        return [FolderSet(self._read, entry, *name) for entry, name in zip(entries, names, strict=True)]

    def _read(self, entry: FileEntry, table: Table, on_bytes: OnBytes | None = None) -> Iterator[list[Row]]:
        """The rows of one file, whose bytes are proven before the first and after the last of them."""
        count = 0
        with _verified(self.path, entry, on_bytes) as file:
            try:
                for batch in self._format.read(file, table):
                    count += len(batch)
                    if count > entry.rows:
                        break
                    yield batch
            except ValueRefusedError as error:
                raise ValueRefusedError(f"{entry.path}: {error.message}", hint=error.hint) from None
        if count != entry.rows:
            more = "more" if count > entry.rows else count
            raise ExportedFolderError(f"{entry.path}: {more} rows, but {NAME} says {entry.rows}")


class FolderSet:
    """One set of a folder. After `read`, `contents` is what it holds, `histories` the games with moves by
    bot, `has_times` and `has_reasons` whether there is anything beside results and moves, and `notes` are
    findings that do not refuse it."""

    def __init__(
        self,
        read_file: Callable[[FileEntry, Table, OnBytes | None], Iterator[list[Row]]],
        entry: SetEntry,
        name: str | None,
        description: str | None,
    ) -> None:
        self.entry = entry
        self.name = name
        self.description = description
        self.size = sum(file.size_bytes for file in entry.files.values())
        self.contents: Contents
        self.histories: dict[str, IdRuns] = {}
        self.notes: list[str] = []
        self.has_times = False
        self.has_reasons = False
        self._read_file = read_file

    def rows_of(self, table: Table) -> int:
        """How many rows the manifest says the set has in this table."""
        entry = self.entry.files.get(table.name)
        return 0 if entry is None else entry.rows

    def read(self, on_bytes: OnBytes | None = None) -> None:
        """Goes over all rows once and finds what is wrong with them. Raises InputRefusedError or
        FileAccessError."""
        findings = Notes()
        games, drawn = IdRuns(), IdRuns()
        for batch in self.games(on_bytes, findings):
            for game in batch:
                games.append(game.game_id)
                if (game.metadata or {}).get("origin") == "regenerated":
                    drawn.append(game.game_id)
        self._require_once(GAMES, None, games)
        results: dict[str, IdRuns] = {}
        for part in self.results(on_bytes, findings):
            _extend(results, part.bot, (row.game_id for row in part.rows))
            self.has_times = self.has_times or bool(part.times)
        histories: dict[str, IdRuns] = {}
        for bot, rows in self.moves(on_bytes, findings):
            _extend(histories, bot, (row.game_id for row in rows))
            self.has_reasons = self.has_reasons or any(row[2:] != (None, None) for row in rows)
        for table, ids, needed in (
            (RESULTS, results, dict.fromkeys(results, games)),
            (HISTORIES, histories, results),
        ):
            for bot, runs in ids.items():
                self._require_once(table, bot, runs)
                for index in runs.minus(needed.get(bot, IdRuns())):
                    raise ValueRefusedError(
                        f"{table.name} of bot {shown(bot)} on game {index}, for which there is no "
                        f"{'board' if table is RESULTS else 'result'}"
                    )
        self.histories = histories
        self.notes = findings.lines()
        self.contents = self._settled(games, drawn, results)

    def _require_once(self, table: Table, bot: str | None, ids: IdRuns) -> None:
        for index in ids.repeats():
            whose = "" if bot is None else f" of bot {shown(bot)}"
            raise ValueRefusedError(f"{table.name}{whose}: game {index} stands twice")

    def _settled(self, games: IdRuns, drawn: IdRuns, results: dict[str, IdRuns]) -> Contents:
        """The order of rows that the manifest tells, which has to be one of these rows; else the files'."""
        entry = self.entry
        if entry.contents is None:
            not_drawn = games if not len(drawn) else games.minus(drawn)
            return Contents(
                "C", entry.config, entry.num_games, entry.base_seed, not_drawn, tuple(results.items())
            )
        told_games, told_results = listed([entry.contents])
        told = {bot: runs for bot, runs in told_results.items() if len(runs)}
        if told_games != games.distinct() or told != {bot: ids.distinct() for bot, ids in results.items()}:
            raise ExportedFolderError(
                f"{entry}: the order in {NAME} is not one of the rows in the files",
                hint=f"export the set again, or leave its order out of {NAME}",
            )
        return entry.contents

    def games(
        self, on_bytes: OnBytes | None = None, findings: Notes | None = None
    ) -> Iterator[list[GameSnapshot]]:
        """The set's games in batches. Raises like `read`."""
        return self._named(GAMES, self._rows(findings).games(self._batches(GAMES, on_bytes)))

    def results(
        self, on_bytes: OnBytes | None = None, findings: Notes | None = None
    ) -> Iterator[TimedResults]:
        """The set's results in batches of one bot each. Raises like `read`."""
        return self._named(RESULTS, self._rows(findings).results(self._batches(RESULTS, on_bytes)))

    def moves(
        self, on_bytes: OnBytes | None = None, findings: Notes | None = None
    ) -> Iterator[tuple[str, list[MoveRow]]]:
        """The set's moves in batches of one bot each. Raises like `read`."""
        return self._named(HISTORIES, self._rows(findings).histories(self._batches(HISTORIES, on_bytes)))

    def _rows(self, findings: Notes | None) -> SetRows:
        return SetRows(self.entry.config, self.entry.base_seed, self.size, findings or Notes())

    def _batches(self, table: Table, on_bytes: OnBytes | None) -> Iterator[list[Row]]:
        entry = self.entry.files.get(table.name)
        return iter(()) if entry is None else self._read_file(entry, table, on_bytes)

    def _named(self, table: Table, rows: Iterator[_T]) -> Iterator[_T]:
        """The rows; what is refused of them bears the file's name."""
        entry = self.entry.files.get(table.name)
        try:
            yield from rows
        except ValueRefusedError as error:
            if entry is None or error.message.startswith(entry.path):
                raise
            raise ValueRefusedError(f"{entry.path}: {error.message}", hint=error.hint) from None


def _extend(found: dict[str, IdRuns], bot: str, ids: Iterator[int]) -> None:
    runs = found.setdefault(bot, IdRuns())
    for index in ids:
        runs.append(index)


def _require_bot(bot: BotRow) -> None:
    require_bot_name(bot.name, "bots")
    for name, value, most in (("bot_type", bot.bot_type, 100), ("version", bot.version, 50)):
        if value is not None and len(value) > most:
            raise ValueRefusedError(
                f"bot {shown(bot.name)}, {name}: {shown(value)} is longer than {most} characters"
            )
    if bot.metadata is not None:
        require_metadata(bot.metadata, f"bot {shown(bot.name)}, metadata")


def _manifest_bytes(folder: Path) -> bytes:
    path = folder / NAME
    if not os.path.lexists(path):
        if not os.path.lexists(folder):
            raise NotFoundError(f"no such folder: {folder}", hint="check the path")
        raise ExportedFolderError(
            f"{folder} has no {NAME}: it is no export, or one that broke off",
            hint="name a folder that `sgdb export --format jsonl|csv|parquet` has written",
        )
    with _opened(folder, NAME) as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise ExportedFolderError(f"{path} is larger than {MAX_BYTES} bytes")
    return raw


@contextmanager
def _opened(folder: Path, name: str) -> Iterator[BinaryIO]:
    """A regular file of the folder itself. Raises FileAccessError or ExportedFolderError."""
    path = folder / name
    try:
        if not is_below(folder, path):
            raise ExportedFolderError(f"{name} is a link that leads out of {folder}")
        # Looked at first, because opening alone does something to a pipe or a device.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ExportedFolderError(f"{path} is not a regular file")
        file = path.open("rb")
    except FileNotFoundError:
        raise ExportedFolderError(
            f"{path} is missing, which {NAME} names", hint="copy the folder whole, or export it again"
        ) from None
    except OSError as error:
        raise FileAccessError(
            f"cannot open {path}: {error.strerror}", hint="check its permissions"
        ) from error
    with file:
        yield file


@contextmanager
def _verified(folder: Path, entry: FileEntry, on_bytes: OnBytes | None) -> Iterator[BinaryIO]:
    """The file from its beginning, after it has been found to be the one that the manifest names; at the end
    it is looked at again, since somebody may have written to it. `on_bytes` is told of the first time."""
    with _opened(folder, entry.path) as file:
        _require_bytes(folder, entry, file, on_bytes)
        try:
            yield file
        except SgdbError:
            _require_bytes(folder, entry, file, None)
            raise
        _require_bytes(folder, entry, file, None)


def _require_bytes(folder: Path, entry: FileEntry, file: BinaryIO, on_bytes: OnBytes | None) -> None:
    try:
        file.seek(0)
        hashed, size = hashlib.sha256(), 0
        while size <= entry.size_bytes and (data := file.read(_CHUNK)):
            hashed.update(data)
            size += len(data)
            if on_bytes is not None:
                on_bytes(len(data))
        file.seek(0)
    except OSError as error:
        raise FileAccessError(f"cannot read {folder / entry.path}: {error.strerror}") from error
    if (size, hashed.hexdigest()) != (entry.size_bytes, entry.sha256):
        raise ExportedFolderError(
            f"{entry.path} is not the file that {NAME} describes: it was changed or damaged",
            hint="export the set again; if the change is meant, write the file's sha256, size_bytes and rows "
            f"into {NAME}",
        )

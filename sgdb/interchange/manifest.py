"""What a folder of exported tables holds: `manifest.json`, which is written last.

A manifest may have been written or changed by hand, so nothing in it is trusted.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from sgdb.errors import ExportedFolderError, SgdbError
from sgdb.interchange.formats import FORMATS
from sgdb.interchange.strict_json import loads
from sgdb.interchange.tables import INT64, TABLES
from sgdb.interchange.values import require_attributes, require_bot_name
from sgdb.pickles.inert import shown
from sgdb.records import Contents, GameConfig

NAME = "manifest.json"
WHAT = "sgdb export"
VERSION = 1
MAX_BYTES = 1 << 28
_INT32 = 2**31 - 1
_MOST_LISTED = 10**8  # games that an order may list, repeats included
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file: its path below the folder, with slashes, its rows, and its bytes."""

    path: str
    rows: int
    size_bytes: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """The entry as it stands in the manifest."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class SetEntry:
    """One benchmark set: what identifies it, the order of its rows, and its files by table.

    `contents` is None where the manifest does not tell the order.
    """

    config: GameConfig
    base_seed: int
    num_games: int
    contents: Contents | None
    files: Mapping[str, FileEntry]

    def __str__(self) -> str:
        return f"set {self.config}, base seed {self.base_seed}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """A folder's description; `format` is that of the files. `weights` are the bytes of checkpoints by their
    SHA-256, or None where they were left out."""

    format: str
    sets: list[SetEntry]
    files: Mapping[str, FileEntry] = field(default_factory=dict)
    weights: Mapping[str, FileEntry] | None = None
    sgdb_version: str | None = None
    schema_revision: str | None = None
    created_at: str | None = None

    def all_files(self) -> list[FileEntry]:
        """Every file but the manifest."""
        of_sets = (entry for one in self.sets for entry in one.files.values())
        return [*self.files.values(), *of_sets, *(self.weights or {}).values()]

    def to_bytes(self) -> bytes:
        """The file's content."""
        of_tables = [self.files, *(one.files for one in self.sets)]
        rows = {name: sum(files[name].rows for files in of_tables if name in files) for name in TABLES}
        document = {
            "what": WHAT,
            "version": VERSION,
            "format": self.format,
            "sgdb_version": self.sgdb_version,
            "schema_revision": self.schema_revision,
            "created_at": self.created_at,
            "rows": rows,
            "files": {name: entry.to_json() for name, entry in self.files.items()},
            "weights": None if self.weights is None else [one.to_json() for one in self.weights.values()],
            "sets": [_set_json(one) for one in self.sets],
        }
        return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_bytes(cls, raw: bytes) -> Manifest:
        """What `to_bytes` has written, or somebody by hand. Raises ExportedFolderError."""
        try:
            document = loads(raw.removeprefix(b"\xef\xbb\xbf"))
        except SgdbError as error:
            raise _damaged(error.message) from None
        reader = _Reader(document, "the manifest")
        if reader.entries.get("what") != WHAT:
            raise ExportedFolderError(
                f'{NAME} is not one of `sgdb export`: "what" is not "{WHAT}"',
                hint="name a folder that `sgdb export --format jsonl|csv|parquet` has written",
            )
        version = reader.number("version", 1, INT64)
        if version > VERSION:
            raise ExportedFolderError(
                f"the folder has version {version}, this program knows {VERSION}",
                hint="upgrade sgdb: pip install --upgrade sgdb",
            )
        format = reader.text("format")
        if format not in FORMATS:
            raise _damaged(f"{shown(format)} is no format ({', '.join(FORMATS)})")
        manifest = cls(
            format,
            [_set(_Reader(one, f"set {at}")) for at, one in enumerate(reader.items("sets"), 1)],
            _files(reader, {name for name, table in TABLES.items() if not table.by_set}),
            _weights(reader),
            *(reader.text(name, optional=True) for name in ("sgdb_version", "schema_revision", "created_at")),
        )
        paths = [entry.path for entry in manifest.all_files()]
        if len(set(paths)) < len(paths):
            raise _damaged("a file stands twice")
        return manifest


def _set_json(one: SetEntry) -> dict[str, Any]:
    assert one.contents is not None
    order = one.contents.to_json()
    config = one.config
    return {
        "num_rows": config.num_rows,
        "num_cols": config.num_cols,
        "num_colors": config.num_colors,
        "base_seed": one.base_seed,
        "num_games": one.num_games,
        "files": {name: entry.to_json() for name, entry in one.files.items()},
        "order": {name: order[name] for name in ("layout", "games", "results", "extra", "config_extra")},
    }


class _Reader:
    """One object of the manifest, whose entries are taken out by name and type."""

    def __init__(self, value: Any, where: str) -> None:
        if type(value) is not dict:
            raise _damaged(f"{where} is no object")
        self.entries: dict[str, Any] = value
        self.where = where

    def refused(self, name: str, what: str) -> ExportedFolderError:
        value = self.entries.get(name)
        return _damaged(f"{self.where}, {name}: {shown(value)} is not {what}")

    def number(self, name: str, low: int, high: int) -> int:
        value = self.entries.get(name)
        if type(value) is not int or not low <= value <= high:
            raise self.refused(name, f"a whole number from {low} to {high}")
        return value

    def text(self, name: str, *, optional: bool = False) -> Any:
        value = self.entries.get(name)
        if type(value) is not str and not (optional and value is None):
            raise self.refused(name, "a text")
        return value

    def items(self, name: str) -> list[Any]:
        value = self.entries.get(name)
        if type(value) is not list:
            raise self.refused(name, "a list")
        return value

    def below(self, name: str, value: Any) -> _Reader:
        return _Reader(value, f"{self.where}, {name}")


def _set(reader: _Reader) -> SetEntry:
    config = GameConfig(*(reader.number(name, 1, _INT32) for name in ("num_rows", "num_cols", "num_colors")))
    base_seed = reader.number("base_seed", -INT64 - 1, INT64)
    num_games = reader.number("num_games", 0, _INT32)
    contents = None
    if "order" in reader.entries:
        order = reader.below("order", reader.entries["order"])
        contents = _contents(order, config, base_seed, num_games)
    by_set = {name for name, table in TABLES.items() if table.by_set}
    return SetEntry(config, base_seed, num_games, contents, _files(reader, by_set))


def _files(reader: _Reader, known: set[str]) -> dict[str, FileEntry]:
    files = reader.below("files", reader.entries.get("files"))
    found = {}
    for name, value in files.entries.items():
        if name not in known:
            raise _damaged(f"{files.where}: {shown(name)} is no table that belongs there")
        found[name] = _file(files.below(name, value))
    return found


def _weights(reader: _Reader) -> dict[str, FileEntry] | None:
    if reader.entries.get("weights") is None:
        return None
    items = reader.items("weights")
    entries = [_file(_Reader(item, f"{reader.where}, weights {at}")) for at, item in enumerate(items, 1)]
    return {entry.sha256: entry for entry in entries}


def _file(entry: _Reader) -> FileEntry:
    path, sha256 = entry.text("path"), entry.text("sha256")
    if not _stays_below(path):
        raise entry.refused("path", "a path below the folder")
    if _SHA256.fullmatch(sha256) is None:
        raise entry.refused("sha256", "a SHA-256 in lower-case hexadecimal")
    rows, size = (entry.number(each, 0, INT64) for each in ("rows", "size_bytes"))
    return FileEntry(path, rows, size, sha256)


def _stays_below(path: str) -> bool:
    """Whether this is a relative path, spelled in the one way, that leads to no other folder."""
    parts = PurePosixPath(path).parts
    return (
        bool(parts)
        and len(path) <= 1000
        and str(PurePosixPath(path)) == path
        and not path.startswith("/")
        and ".." not in parts
        and not any(character in path for character in "\\:\0")
        and path != NAME
    )


def is_below(folder: Path, path: Path) -> bool:
    """Whether `path`, wherever links lead, is `folder` or lies in it."""
    real, top = os.path.realpath(path), os.path.realpath(folder)
    return os.path.commonpath([real, top]) == top


def _contents(order: _Reader, config: GameConfig, base_seed: int, num_games: int) -> Contents:
    if order.entries.get("layout") not in ("A", "B", "C", "D"):
        raise order.refused("layout", "one of the letters A to D")
    _require_runs(order, "games", order.items("games"))
    names = set()
    for item in order.items("results"):
        if type(item) is not list or len(item) != 2 or type(item[0]) is not str or item[0] in names:
            raise _damaged(f"{order.where}, results: {shown(item)} is not a bot and its games, once a bot")
        names.add(item[0])
        require_bot_name(item[0], order.where)
        _require_runs(order, "results", item[1])
    for name in ("extra", "config_extra"):
        require_attributes(order.entries.get(name), f"{order.where}, {name}")
    document = order.entries | {
        "config": [config.num_rows, config.num_cols, config.num_colors],
        "base_seed": base_seed,
        "num_games": num_games,
    }
    return Contents.from_json(document)


def _require_runs(order: _Reader, name: str, runs: Any) -> None:
    """Raises ExportedFolderError unless these are pairs of first game and the one after the last."""
    if type(runs) is not list:
        raise _damaged(f"{order.where}, {name}: {shown(runs)} is not a list of runs")
    total = 0
    for run in runs:
        sound = type(run) is list and len(run) == 2 and type(run[0]) is type(run[1]) is int
        if not sound or not 0 <= run[0] < run[1] <= _INT32 + 1:
            raise _damaged(f"{order.where}, {name}: {shown(run)} is not a run of games")
        total += run[1] - run[0]
    if total > _MOST_LISTED:
        raise _damaged(f"{order.where}, {name}: lists more than {_MOST_LISTED} games")


def _damaged(what: str) -> ExportedFolderError:
    return ExportedFolderError(
        f"{NAME}: {what}", hint="export the sets again: sgdb export --all --format jsonl --to FOLDER"
    )

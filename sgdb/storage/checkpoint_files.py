"""The folder of checkpoints that are too large for the database: files that bear their hash as a name.

    FOLDER/DATABASE/ab/abcdef...    the bytes with the SHA-256 abcdef...

DATABASE stands for the database whose rows name the files. Two databases may use one folder, and one of them
be a copy of the other: what one of them needs no more must not go from the other. Where a row's file is not
in its own database's folder, as after a copy, the path that the row remembers leads to it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Connection

from sgdb.atomic import atomic_file, file_error, make_folder, remove_leftovers, sync_folder
from sgdb.database.identity import database_identity
from sgdb.errors import AlreadyExistsError, CheckpointError
from sgdb.settings import Settings
from sgdb.storage.contents import Contents

_NAME = re.compile(r"[0-9a-f]{64}")
_PIECE = 1 << 20


class CheckpointFiles:
    """The files of one database. Any number of processes may use them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path_of(self, sha256: str) -> Path:
        """Where these bytes lie, or would lie."""
        return self.folder / sha256[:2] / sha256

    def keep(self, contents: Contents) -> Path:
        """Has the bytes on disk under their hash when it returns. What lies there already is read: if it is
        damaged, it is replaced. Raises DiskFullError, FileAccessError, and as `Contents.pieces` does."""
        path = self.path_of(contents.sha256)
        if self.is_sound(path, contents.sha256, contents.size_bytes):
            return path
        make_folder(path.parent)
        sync_folder(self.folder)
        remove_leftovers(path.parent)
        with suppress(AlreadyExistsError), atomic_file(path, overwrite=path.exists(), mode=0o444) as file:
            for piece in contents.pieces():
                file.write(piece)
        return path

    def find(self, sha256: str, size_bytes: int, recorded: str | None) -> Path | None:
        """The file with this hash and size, in the folder or where a row remembers it; not read."""
        paths = [self.path_of(sha256)] + ([Path(recorded)] if recorded else [])
        return next((path for path in paths if file_size(path) == size_bytes), None)

    def is_sound(self, path: Path, sha256: str, size_bytes: int) -> bool:
        """Whether the file at `path` holds the bytes with this hash; reads it if it has their size."""
        if file_size(path) != size_bytes:
            return False
        hashed = hashlib.sha256()
        try:
            for piece in read_file(path):
                hashed.update(piece)
        except CheckpointError:
            return False
        return hashed.hexdigest() == sha256

    def hashes(self) -> Iterator[str]:
        """The hashes of all files that are there."""
        for folder in _entries(self.folder):
            for path in _entries(folder):
                if _NAME.fullmatch(path.name) and path == self.path_of(path.name):
                    yield path.name

    def tidy(self) -> None:
        """Removes what killed processes have left half-written."""
        for folder in _entries(self.folder):
            remove_leftovers(folder)

    def size_of(self, sha256: str) -> int:
        """The bytes of a file; 0 when it has gone."""
        return file_size(self.path_of(sha256)) or 0

    def remove(self, sha256: str) -> None:
        """Removes a file, if it is there. Raises FileAccessError."""
        path = self.path_of(sha256)
        try:
            path.unlink(missing_ok=True)
            with suppress(OSError):
                path.parent.rmdir()  # if it was the last one
        except OSError as error:
            raise file_error(error, f"cannot remove {path}") from error


def checkpoint_files(settings: Settings, connection: Connection) -> CheckpointFiles:
    """The files of the database behind `connection`."""
    name, system = database_identity(connection)
    # A server that keeps its identifier to itself is known by its address.
    url = connection.engine.url
    server = system or f"{url.host}:{url.port}:{url.query.get('host')}"
    folder = hashlib.sha256(f"{server}\0{name}".encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return CheckpointFiles(settings.checkpoints_folder / folder)


def read_file(path: Path) -> Iterator[bytes]:
    """A regular file's bytes, a piece at a time. Raises CheckpointError."""
    if file_size(path) is None:
        raise CheckpointError(
            f"{path} cannot be read: it is not there, or no regular file", hint="see what has become of it"
        )
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {error.strerror}", hint="check the file and its permissions"
        ) from error


def file_size(path: Path) -> int | None:
    """The bytes of a regular file; None for anything else, and where nothing can be seen."""
    try:
        return path.stat().st_size if path.is_file() else None
    except (OSError, ValueError):
        return None


def _entries(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise file_error(error, f"cannot look into {folder}") from error

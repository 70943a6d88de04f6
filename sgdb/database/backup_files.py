"""Backups as files: a dump, and its manifest beside it under the same name with `.manifest.json`.

The manifest gets its name first. So a dump that bears its name is a whole one and has its manifest; a
manifest without a dump is what a killed process left, is no backup, and is replaced by the next of its
name. Giving and taking names in a folder is done by one process at a time.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from sgdb.atomic import Unfinished, atomic_file, file_error, locked_folder, sync_folder
from sgdb.database.manifest import OTHER_BACKUP, Manifest
from sgdb.errors import AlreadyExistsError, BackupError, FileAccessError, NotFoundError
from sgdb.progress import Progress, Silent

SUFFIX = ".dump"
MANIFEST_SUFFIX = ".manifest.json"
MODE = 0o600
FOLDER_MODE = 0o700
_CHUNK = 1 << 20  # bytes
_LARGEST_MANIFEST = 1 << 20  # bytes; a real one has a few thousand


@dataclass(frozen=True, slots=True)
class Backup:
    """A dump and what its manifest says. Whether the two belong together `checked_dump` tells."""

    path: Path
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Unusable:
    """A file that looks like a backup and is none."""

    path: Path
    reason: str


def manifest_path(dump: Path) -> Path:
    """Where the manifest of this dump is."""
    return dump.with_name(dump.name + MANIFEST_SUFFIX)


def default_name(moment: datetime) -> str:
    """The name of a backup made at this moment. Names sort by time."""
    return f"sgdb-{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}{SUFFIX}"


# -- reading ------------------------------------------------------------------------------------------


def read_backup(path: Path) -> Backup:
    """The backup of this name, of which only the manifest is read. The manifest's own name will do as well.

    Raises NotFoundError, FileAccessError, or BackupError where one of the two files is missing or the
    manifest is damaged.
    """
    if path.name.endswith(MANIFEST_SUFFIX) and not os.path.lexists(manifest_path(path)):
        path = path.with_name(path.name.removesuffix(MANIFEST_SUFFIX))
    beside = manifest_path(path)
    try:
        with _regular_file(beside) as file:
            raw = _read(file, _LARGEST_MANIFEST + 1, beside)
    except NotFoundError:
        with _regular_file(path):
            raise BackupError(
                f"{path} has no manifest: there is no {beside.name} beside it",
                hint=f"put the two files together again, or {OTHER_BACKUP}",
            ) from None
    try:
        with _regular_file(path):
            pass
    except NotFoundError:
        raise BackupError(
            f"{beside} has no dump: there is no {path.name} beside it",
            hint=f"put the two files together again, or {OTHER_BACKUP}",
        ) from None
    try:
        return Backup(path, Manifest.from_bytes(raw))
    except BackupError as error:
        raise BackupError(f"{beside}: {error.message}", hint=error.hint) from error.__cause__


@contextmanager
def checked_dump(backup: Backup, progress: Progress | None = None) -> Iterator[BinaryIO]:
    """The dump, open for reading, after every byte of it has been found to be as the manifest says.

    Raises BackupError where size or SHA-256 are others, NotFoundError or FileAccessError.
    """
    progress = progress or Silent()
    expected = backup.manifest.dump
    with _regular_file(backup.path) as file:
        size = os.fstat(file.fileno()).st_size
        if size != expected.size_bytes:
            raise BackupError(_wrong_size(backup, size), hint=OTHER_BACKUP)
        progress.start(size, "B")
        hashed = hashlib.sha256()
        try:
            while chunk := _read(file, _CHUNK, backup.path):
                hashed.update(chunk)
                progress.advance(len(chunk), "reading the backup")
        finally:
            progress.finish()
        if hashed.hexdigest() != expected.sha256:
            raise BackupError(
                f"{backup.path} is damaged: its SHA-256 is not the one that its manifest says",
                hint=OTHER_BACKUP,
            )
        file.seek(0)
        yield file


def list_backups(folder: Path) -> tuple[list[Backup], list[Unusable]]:
    """The backups of a folder, oldest first, and what only looks like one. Dumps are not read.

    A folder that is not there holds none. Raises FileAccessError.
    """
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208
    except FileNotFoundError:
        return [], []
    except OSError as error:
        raise FileAccessError(
            f"cannot list {folder}: {error.strerror}", hint="check the folder and its permissions"
        ) from error
    present = set(names)
    found: list[Backup] = []
    unusable: list[Unusable] = []
    for name in names:
        is_dump = name.endswith(SUFFIX) or f"{name}{MANIFEST_SUFFIX}" in present
        if not is_dump or name.startswith("."):
            continue
        path = folder / name
        try:
            backup = read_backup(path)
            size = path.stat().st_size
        except (BackupError, FileAccessError, NotFoundError, OSError) as error:
            unusable.append(Unusable(path, getattr(error, "message", str(error))))
            continue
        if size == backup.manifest.dump.size_bytes:
            found.append(backup)
        else:
            unusable.append(Unusable(path, _wrong_size(backup, size)))
    found.sort(key=lambda backup: (backup.manifest.created_at, backup.path.name))
    return found, unusable


def _wrong_size(backup: Backup, size: int) -> str:
    return f"{backup.path} has {size} bytes, its manifest says {backup.manifest.dump.size_bytes}"


# -- writing ------------------------------------------------------------------------------------------


def publish(unfinished: Unfinished, manifest: Manifest, path: Path, *, may_rename: bool) -> Backup:
    """Gives a dump that is on disk its name, and puts the manifest beside it.

    Where the name is taken, another one is found if `may_rename`; else raises AlreadyExistsError. Raises
    FileAccessError or DiskFullError. Whatever happens, nothing that looks like a backup stands there unless
    it is one.
    """
    try:
        with locked_folder(path.parent):
            path = _free(path, may_rename)
            with atomic_file(manifest_path(path), overwrite=True, mode=MODE) as file:
                file.write(manifest.to_bytes())
            try:
                unfinished.give_name(path, overwrite=False)
            except BaseException:
                with suppress(OSError):
                    manifest_path(path).unlink()
                raise
            sync_folder(path.parent)
    except OSError as error:
        raise file_error(error, f"cannot write {path}") from error
    return Backup(path, manifest)


def require_free(path: Path) -> None:
    """Returns when no backup has this name; else raises AlreadyExistsError."""
    if os.path.lexists(path):
        raise AlreadyExistsError(
            f"{path} exists already",
            hint="a backup never replaces a file: choose another name, or move that one away",
        )


def replace_manifest(backup: Backup, manifest: Manifest) -> Backup:
    """Writes down more about a backup, as long as it is still the one that was read.

    Raises BackupError when it is not, FileAccessError or DiskFullError.
    """
    with locked_folder(backup.path.parent):
        if read_backup(backup.path).manifest != backup.manifest:
            raise BackupError(
                f"{backup.path} has been replaced meanwhile",
                hint="run the command again on what is there now",
            )
        with atomic_file(manifest_path(backup.path), overwrite=True, mode=MODE) as file:
            file.write(manifest.to_bytes())
    return Backup(backup.path, manifest)


def prune(newest: Backup, keep: int, progress: Progress | None = None) -> tuple[list[Path], list[Unusable]]:
    """Deletes older proven backups of the same database in the folder of `newest`, so that `keep` are left.

    Only proven backups count, and only those whose every byte is as it should be; nothing else is ever
    deleted, least of all `newest`. Returns what was deleted, and the damaged ones that were met.
    """
    folder = newest.path.parent
    deleted: list[Path] = []
    damaged: list[Unusable] = []
    kept = 0
    with locked_folder(folder):
        for backup in reversed(list_backups(folder)[0]):
            if not backup.manifest.proven or not backup.manifest.origin.is_same(newest.manifest.origin):
                continue
            if kept >= keep:
                if backup.path != newest.path:
                    _delete(backup)
                    deleted.append(backup.path)
                continue
            try:
                if backup.path != newest.path:
                    with checked_dump(backup, progress):
                        pass
                kept += 1
            except (BackupError, FileAccessError, NotFoundError) as error:
                damaged.append(Unusable(backup.path, error.message))
    return deleted[::-1], damaged


def _delete(backup: Backup) -> None:
    try:
        backup.path.unlink(missing_ok=True)  # first: a dump alone looks like a backup
        manifest_path(backup.path).unlink(missing_ok=True)
        sync_folder(backup.path.parent)
    except OSError as error:
        raise file_error(error, f"cannot delete {backup.path}") from error


def _free(path: Path, may_rename: bool) -> Path:
    if not may_rename:
        require_free(path)
        return path
    number, free = 1, path
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


@contextmanager
def _regular_file(path: Path) -> Iterator[BinaryIO]:
    """A file open for reading; opening never waits, as it would for a pipe."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (FileNotFoundError, NotADirectoryError, ValueError):  # a path with a NUL is a ValueError
        raise NotFoundError(f"no such file: {path}", hint="`sgdb backup list` names the backups") from None
    except OSError as error:
        raise FileAccessError(
            f"cannot open {path}: {error.strerror}", hint="check the file's permissions"
        ) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BackupError(f"{path} is no regular file", hint=OTHER_BACKUP)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def _read(file: BinaryIO, size: int, path: Path) -> bytes:
    try:
        return file.read(size)
    except OSError as error:
        raise FileAccessError(
            f"cannot read {path}: {error.strerror}", hint="check the disk that the file is on"
        ) from error

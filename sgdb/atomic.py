"""Files that are either there whole or not there at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from sgdb.errors import AlreadyExistsError, DiskFullError, FileAccessError


@contextmanager
def atomic_file(path: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """A binary file that gets its name only after everything is written and on disk.

    Without `overwrite` a file that stands there already is left alone and AlreadyExistsError is raised,
    also when it appears while writing. Raises DiskFullError and FileAccessError; whatever happens,
    nothing half-written is left behind.
    """
    if not overwrite and os.path.lexists(path):
        raise _exists(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            _give_name(temporary, path, overwrite)
            _sync_folder(path.parent)
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()
    except OSError as error:
        raise file_error(error, f"cannot write {path}") from error


def make_folder(path: Path) -> None:
    """Makes a folder, and those above it, if it is not there. Raises FileAccessError or DiskFullError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise file_error(error, f"cannot make the folder {path}") from error


def file_error(error: OSError, what: str) -> DiskFullError | FileAccessError:
    """The sgdb error for an operating-system error while writing."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFullError(f"{what}: {error.strerror}", hint="make room, then run the command again")
    return FileAccessError(f"{what}: {error.strerror}", hint="check the folder and its permissions")


def _exists(path: Path) -> AlreadyExistsError:
    return AlreadyExistsError(f"{path} exists already", hint="give --overwrite to replace it")


def _give_name(temporary: Path, path: Path, overwrite: bool) -> None:
    if overwrite:
        temporary.replace(path)
        return
    try:
        os.link(temporary, path)  # unlike a rename, this never replaces
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV):
            raise
        if os.path.lexists(path):  # a file system without hard links
            raise _exists(path) from None
        temporary.replace(path)


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # some file systems cannot sync a folder; the rename itself has happened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

"""Files that are either there whole or not there at all.

A file is written under a hidden name, `.NAME.xxxxxxxx.part`, and gets its own when everything is on disk.
All the while its writer holds a lock on it, which the operating system takes back however the process
ends. So a hidden file that nobody holds was left behind by a process that was killed, and may go.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from sgdb.errors import AlreadyExistsError, DiskFullError, FileAccessError

_UNFINISHED = re.compile(r"\.(.+)\.[0-9a-f]{8}\.part", re.DOTALL)


@contextmanager
def atomic_file(path: Path, *, overwrite: bool, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A binary file that gets its name only after everything is written and on disk.

    Without `overwrite` a file that stands there already is left alone and AlreadyExistsError is raised,
    also when it appears while writing; with it, the new file takes over the old one's permissions. A folder,
    a device or a pipe is never replaced. Raises DiskFullError and FileAccessError; whatever happens, nothing
    half-written is left behind. `mode` is that of a new file, less the umask.
    """
    if not overwrite and os.path.lexists(path):
        raise _exists(path)
    if not _replaceable(path):  # a rename would put the file in the place of /dev/null for everybody
        raise FileAccessError(f"cannot write {path}: it is no regular file", hint="name another file")
    with _file_errors(path), unfinished_file(path, mode=mode) as unfinished:
        with suppress(FileNotFoundError):
            os.fchmod(unfinished.file.fileno(), stat.S_IMODE(path.stat().st_mode))
        yield unfinished.file
        unfinished.sync()
        unfinished.give_name(path, overwrite=overwrite)
        sync_folder(path.parent)


class Unfinished:
    """A file without its name yet. `path` is where it is meanwhile; `file` can be read as well."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.file = file

    def sync(self) -> None:
        """Returns when all that was written is on disk."""
        self.file.flush()
        os.fsync(self.file.fileno())

    def give_name(self, path: Path, *, overwrite: bool) -> None:
        """Puts the file under its name, in the same folder. Call `sync_folder` afterwards.

        Raises AlreadyExistsError, unless it may `overwrite`.
        """
        if overwrite:
            self.path.replace(path)
            return
        try:
            os.link(self.path, path)  # unlike a rename, this never replaces
        except FileExistsError:
            raise _exists(path) from None
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV):
                raise
            if os.path.lexists(path):  # a file system without hard links
                raise _exists(path) from None
            self.path.replace(path)


@contextmanager
def unfinished_file(path: Path, *, mode: int) -> Iterator[Unfinished]:
    """A hidden file beside `path`, which is to become its name; gone at the end if it was given none.

    What the operating system refuses comes out as the OSError it is.
    """
    hidden, descriptor = _create(path, mode)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield Unfinished(hidden, file)
    finally:
        with suppress(FileNotFoundError):
            hidden.unlink()


def remove_leftovers(folder: Path, of: Collection[str] | None = None) -> None:
    """Removes the hidden files that killed processes have left in `folder`, as far as it is allowed: in one
    that is not only ours, those that were to get one of the names `of`."""
    try:
        found = map(_UNFINISHED.fullmatch, os.listdir(folder))  # noqa: PTH208
    except OSError:
        return
    names = [match[0] for match in found if match and (of is None or match[1] in of)]
    flags = os.O_RDWR | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    for name in names:
        with suppress(OSError):
            descriptor = os.open(folder / name, flags)
            try:
                if stat.S_ISREG(os.fstat(descriptor).st_mode) and _lock(descriptor):
                    (folder / name).unlink()
            finally:
                os.close(descriptor)


def make_folder(path: Path, *, mode: int = 0o777) -> None:
    """Makes a folder, and those above it, if it is not there. Raises FileAccessError or DiskFullError.

    `mode` is that of the folder itself, less the umask, and of no folder that is there already.
    """
    try:
        path.mkdir(mode, parents=True, exist_ok=True)
    except OSError as error:
        raise file_error(error, f"cannot make the folder {path}") from error


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """While this lasts, no other process has `folder` locked; waits for one that has.

    Where the file system has no locks, none is taken.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise file_error(error, f"cannot open the folder {folder}") from error
    try:
        _lock(descriptor, wait=True)
        yield
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Makes a name given or taken in `folder` survive a power cut."""
    with suppress(OSError):  # some file systems cannot sync a folder; the rename itself has happened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def file_error(error: OSError, what: str) -> DiskFullError | FileAccessError:
    """The sgdb error for an operating-system error while writing."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFullError(f"{what}: {error.strerror}", hint="make room, then run the command again")
    return FileAccessError(f"{what}: {error.strerror}", hint="check the folder and its permissions")


@contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise file_error(error, f"cannot write {path}") from error


def _replaceable(path: Path) -> bool:
    """Whether nothing, a regular file, or a link to one of these stands at `path`."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:  # nothing there, or what the system will say when it is written
        return True


def _exists(path: Path) -> AlreadyExistsError:
    hint = "give --overwrite to replace it" if _replaceable(path) else "name another file"
    return AlreadyExistsError(f"{path} exists already", hint=hint)


def _create(path: Path, mode: int) -> tuple[Path, int]:
    while True:
        hidden = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        descriptor = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
        # Before it was locked, another process may have taken it for a leftover.
        with suppress(FileNotFoundError):
            if _lock(descriptor) is not False and hidden.stat().st_ino == os.fstat(descriptor).st_ino:
                return hidden, descriptor
        os.close(descriptor)


def _lock(descriptor: int, *, wait: bool = False) -> bool | None:
    """Locks the file until it is closed. False: another process holds it; None: there are no locks here."""
    try:
        import fcntl  # absent on Windows
    except ImportError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
